"""What is measured, between whom, and what is to be reached."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import candidates as by
from benchmarks import trials
from benchmarks.trials import Contestant, Metrics, fill_idiomatic, fill_server, filled, hammered, peer

Told = Mapping[str, list[Metrics] | str]
"""For each contestant what was measured in each round, or why nothing was."""

SERVER = "mockserver"
ASGI, FASTAPI, IDIOMATIC = "bare ASGI", "bare FastAPI", "idiomatic"
STDY, PRISM, AIMOCK = "@stdy/cli", "@stoplight/prism-cli", "@copilotkit/aimock"


@dataclass(frozen=True)
class Goal:
    what: str
    measured: Callable[[Told], list[float]]
    """In each round."""
    bound: float
    against: str = ""
    unit: str = "×"
    at_least: bool = False
    by_cpu: Callable[[Told], list[float]] | None = None
    """The same as processor time has it."""
    mark: tuple[str, str] | None = None
    """What the bound is a multiple of: whose figure, and which."""

    def met(self, values: list[float]) -> bool:
        middle = statistics.median(values)
        return middle >= self.bound if self.at_least else middle <= self.bound


@dataclass(frozen=True)
class Contest:
    """Its contestants are measured in turns, round by round."""

    name: str
    title: str
    contestants: dict[str, Contestant]
    goals: tuple[Goal, ...] = ()
    once: bool = False
    """One round says it all."""


def series(told: Told, name: str, key: str) -> list[float]:
    measured = told.get(name, "")
    return [] if isinstance(measured, str) else [each[key] for each in measured]


def value(name: str, key: str) -> Callable[[Told], list[float]]:
    return lambda told: series(told, name, key)


def over(one: str, other: str, key: str, other_key: str = "") -> Callable[[Told], list[float]]:
    """Of two that were measured in the same round."""
    return lambda told: [
        first / second
        for first, second in zip(series(told, one, key), series(told, other, other_key or key), strict=False)
        if second  # a short run may take less processor time than can be measured
    ]


def minus(one: str, other: str, key: str) -> Callable[[Told], list[float]]:
    return lambda told: [
        first - second for first, second in zip(series(told, one, key), series(told, other, key), strict=False)
    ]


def faster(what: str, bound: float, than: str, against: str, one: str = SERVER) -> Goal:
    return Goal(
        what, over(one, than, "rate"), bound, against, at_least=True, by_cpu=over(than, one, "cpu"), mark=(than, "rate")
    )


def growing(what: str) -> Goal:
    def most(told: Told) -> list[float]:
        return sorted(series(told, SERVER, "growth"))[-1:]

    return Goal(f"{what}: memory growth", most, 8, unit="MiB")


FEW = f"{SERVER}, few"
ITSELF, ELSEWHERE = "beside an upload to itself", "beside an upload elsewhere"
RUN = "mockserver run -- true"
LOOP = "bare ASGI loop"
ROUTES = "FastAPI, all routes"

CONTESTS = [
    Contest(
        "get",
        "GET a container",
        {
            SERVER: hammered(by.SERVER, trials.retrieving),
            ASGI: hammered(by.ASGI, trials.constant),
            FASTAPI: hammered(by.FASTAPI, trials.constant),
            IDIOMATIC: hammered(by.IDIOMATIC, trials.retrieving),
            STDY: peer(hammered(by.STDY, trials.constant)),
            PRISM: peer(hammered(by.PRISM, trials.constant)),
            AIMOCK: peer(hammered(by.AIMOCK, trials.constant)),
        },
        (
            faster("GET a container", 1.0, FASTAPI, "bare FastAPI, a constant"),
            faster("GET a container", 10, IDIOMATIC, "idiomatic"),
            faster("GET a container", 0.8, STDY, "@stdy/cli, an example, kept nowhere"),
        ),
    ),
    Contest(
        "get-any",
        "GET any of 10,000 containers",
        {
            SERVER: filled(by.KEPT, fill_server, lambda plan: plan.spread, trials.retrieving_all),
            FASTAPI: hammered(by.FASTAPI, trials.constant),
            IDIOMATIC: filled(by.IDIOMATIC, fill_idiomatic, lambda plan: plan.spread, trials.retrieving_all),
        },
    ),
    Contest(
        "post",
        "POST a container",
        {
            SERVER: hammered(by.SERVER, trials.creating),
            FASTAPI: hammered(by.FASTAPI, trials.constant),
            IDIOMATIC: hammered(by.IDIOMATIC, trials.creating),
            STDY: peer(hammered(by.STDY, trials.creating)),
            PRISM: peer(hammered(by.PRISM, trials.creating)),
            AIMOCK: peer(hammered(by.AIMOCK, trials.creating)),
        },
        (
            faster("POST a container", 0.6, FASTAPI, "bare FastAPI, a constant"),
            faster("POST a container", 7, IDIOMATIC, "idiomatic"),
        ),
    ),
    Contest(
        "list",
        "list 20 of many (1,000,000) or few (1,000) containers, any page",
        {
            SERVER: filled(by.KEPT, fill_server, lambda plan: plan.rows, trials.paging),
            FEW: filled(by.KEPT, fill_server, lambda plan: plan.few_rows, trials.paging),
            FASTAPI: hammered(by.FASTAPI, trials.constant),
            IDIOMATIC: filled(by.IDIOMATIC, fill_idiomatic, lambda plan: plan.rows, trials.paging),
            STDY: peer(hammered(by.STDY, trials.listing)),
            PRISM: peer(hammered(by.PRISM, trials.listing)),
            AIMOCK: peer(hammered(by.AIMOCK, trials.listing)),
        },
        (
            Goal(
                "list 20 of 1,000,000",
                over(FEW, SERVER, "rate"),
                1.3,
                "the time on 1,000",
                by_cpu=over(SERVER, FEW, "cpu"),
            ),
            faster("list 20 of 1,000,000", 0.5, FASTAPI, "bare FastAPI, a constant"),
            faster("list 20 of 1,000,000", 10, IDIOMATIC, "idiomatic"),
            faster("list 20 of 1,000,000", 0.6, STDY, "@stdy/cli, an example, kept nowhere"),
        ),
    ),
    Contest(
        "upload-small",
        "upload 1 KiB to /files",
        {
            SERVER: hammered(by.SERVER, trials.uploading),
            FASTAPI: hammered(by.FASTAPI, trials.uploading),
            IDIOMATIC: hammered(by.IDIOMATIC, trials.uploading),
            STDY: peer(hammered(by.STDY, trials.uploading)),
            PRISM: peer(hammered(by.PRISM, trials.uploading)),
            AIMOCK: peer(hammered(by.AIMOCK, trials.uploading)),
        },
        (
            faster("upload 1 KiB", 6, IDIOMATIC, "idiomatic"),
            faster("upload 1 KiB", 0.7, AIMOCK, "@copilotkit/aimock, in memory"),
        ),
    ),
    Contest(
        "get-file",
        "GET a File",
        {
            SERVER: hammered(by.SERVER, trials.retrieving_file),
            IDIOMATIC: hammered(by.IDIOMATIC, trials.retrieving_file),
            STDY: peer(hammered(by.STDY, trials.retrieving_file)),
            PRISM: peer(hammered(by.PRISM, trials.retrieving_file)),
            AIMOCK: peer(hammered(by.AIMOCK, trials.retrieving_file)),
        },
        (faster("GET a File", 1.0, AIMOCK, "@copilotkit/aimock, in memory"),),
    ),
    Contest(
        "upload",
        "upload 200 MiB to /files",
        {
            SERVER: trials.uploads(by.SERVER),
            FASTAPI: trials.uploads(by.FASTAPI),
            IDIOMATIC: trials.uploads(by.IDIOMATIC),
            STDY: peer(trials.uploads(by.STDY)),
            PRISM: peer(trials.uploads(by.PRISM)),
            AIMOCK: peer(trials.uploads(by.AIMOCK)),
        },
        (
            faster("upload 200 MiB to /files", 1.5, FASTAPI, "Starlette's UploadFile, kept nowhere"),
            growing("upload 200 MiB to /files"),
        ),
    ),
    Contest(
        "upload-container",
        "upload 200 MiB to a container",
        {
            SERVER: trials.uploads(by.SERVER, "container"),
            LOOP: trials.uploads(by.HASHING),
            "bare ASGI, discards": trials.uploads(by.DISCARD),
        },
        (
            faster("upload 200 MiB to a container", 0.8, LOOP, "a bare ASGI loop with both digests"),
            growing("upload 200 MiB to a container"),
        ),
    ),
    Contest(
        "download",
        "download 200 MiB",
        {
            SERVER: trials.downloads(by.KEPT),
            FASTAPI: trials.downloads(by.FASTAPI),
            IDIOMATIC: trials.downloads(by.IDIOMATIC),
            AIMOCK: peer(trials.downloads(by.AIMOCK)),
        },
        (
            faster("download 200 MiB", 3, FASTAPI, "Starlette's FileResponse"),
            growing("download 200 MiB"),
        ),
    ),
    Contest(
        "start",
        "process start to first answer",
        {
            SERVER: trials.starts(by.SERVER),
            FASTAPI: trials.starts(by.FASTAPI),
            ROUTES: trials.starts(by.ROUTES),
            IDIOMATIC: trials.starts(by.IDIOMATIC),
            STDY: peer(trials.starts(by.STDY)),
            PRISM: peer(trials.starts(by.PRISM)),
            AIMOCK: peer(trials.starts(by.AIMOCK, trials.uploading)),
            RUN: trials.runs,
        },
        (
            Goal(
                "process start to first successful POST",
                over(SERVER, ROUTES, "seconds"),
                1.1,
                "bare FastAPI with as many routes, SQLModel imported",
                by_cpu=over(SERVER, ROUTES, "cpu"),
                mark=(ROUTES, "seconds"),
            ),
            Goal("`mockserver run -- true`", minus(RUN, SERVER, "seconds"), 0.3, "start +", unit="s"),
        ),
    ),
    Contest(
        "memory",
        "memory over 100,000 exchanges",
        {SERVER: trials.remembering},
        (
            Goal("memory at rest", value(SERVER, "resident"), 90, unit="MB"),
            Goal("memory after 100,000 exchanges", over(SERVER, SERVER, "after", "resident"), 1.15, "at rest"),
        ),
        once=True,
    ),
    Contest(
        "beside",
        "GET a container while 500 MB are uploaded",
        {ITSELF: trials.beside(discarding=False), ELSEWHERE: trials.beside(discarding=True)},
        (Goal("p99 of GET beside a capped upload", over(ITSELF, ELSEWHERE, "p99"), 3, "beside one elsewhere"),),
    ),
]
