"""The contests: what is measured, for which candidates, and with which goals."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import candidates, trials
from benchmarks.trials import (
    Contestant,
    Metrics,
    fill_idiomatic,
    fill_server,
    peer,
    populated_contestant,
    wrk_contestant,
)

Measurements = Mapping[str, list[Metrics] | str]
"""By contestant: the metrics of each round, or the reason why it could not be measured."""

SERVER = "mockserver"
ASGI, FASTAPI, IDIOMATIC = "bare ASGI", "bare FastAPI", "idiomatic"
STDY, PRISM, AIMOCK = "@stdy/cli", "@stoplight/prism-cli", "@copilotkit/aimock"


@dataclass(frozen=True)
class Goal:
    what: str
    values: Callable[[Measurements], list[float]]
    """Returns one value for each round."""
    bound: float
    baseline: str = ""
    unit: str = "×"
    at_least: bool = False
    cpu_values: Callable[[Measurements], list[float]] | None = None
    """Returns the same ratio computed from processor time."""
    reference: tuple[str, str] | None = None
    """Contestant and metric that the bound is a multiple of; the chart draws the goal there."""

    def met(self, values: list[float]) -> bool:
        median = statistics.median(values)
        return median >= self.bound if self.at_least else median <= self.bound


@dataclass(frozen=True)
class Contest:
    """One thing to measure. In each round, every contestant is measured once."""

    name: str
    title: str
    contestants: dict[str, Contestant]
    goals: tuple[Goal, ...] = ()
    once: bool = False
    """Whether one round is enough."""


def metric_values(measurements: Measurements, name: str, key: str) -> list[float]:
    measured = measurements.get(name, "")
    return [] if isinstance(measured, str) else [each[key] for each in measured]


def metric(name: str, key: str) -> Callable[[Measurements], list[float]]:
    return lambda measurements: metric_values(measurements, name, key)


def ratio(one: str, other: str, key: str, other_key: str = "") -> Callable[[Measurements], list[float]]:
    """Return a function that divides two metrics of the same round."""
    return lambda measurements: [
        first / second
        for first, second in zip(
            metric_values(measurements, one, key), metric_values(measurements, other, other_key or key), strict=False
        )
        if second  # the processor time of a short run may be measured as 0
    ]


def difference(one: str, other: str, key: str) -> Callable[[Measurements], list[float]]:
    return lambda measurements: [
        first - second
        for first, second in zip(
            metric_values(measurements, one, key), metric_values(measurements, other, key), strict=False
        )
    ]


def throughput_goal(what: str, bound: float, other: str, baseline: str) -> Goal:
    return Goal(
        what,
        ratio(SERVER, other, "rate"),
        bound,
        baseline,
        at_least=True,
        cpu_values=ratio(other, SERVER, "cpu"),
        reference=(other, "rate"),
    )


def memory_growth_goal(what: str) -> Goal:
    def maximum(measurements: Measurements) -> list[float]:
        return sorted(metric_values(measurements, SERVER, "growth"))[-1:]

    return Goal(f"{what}: memory growth", maximum, 8, unit="MiB")


FEW = f"{SERVER}, few"
SAME_SERVER, OTHER_PROCESS = "upload to the same server", "upload to another process"
RUN = "mockserver run -- true"
LOOP = "bare ASGI loop"
ROUTES = "FastAPI, all routes"

CONTESTS = [
    Contest(
        "get",
        "GET a container",
        {
            SERVER: wrk_contestant(candidates.SERVER, trials.retrieve_requests),
            ASGI: wrk_contestant(candidates.ASGI, trials.constant_requests),
            FASTAPI: wrk_contestant(candidates.FASTAPI, trials.constant_requests),
            IDIOMATIC: wrk_contestant(candidates.IDIOMATIC, trials.retrieve_requests),
            STDY: peer(wrk_contestant(candidates.STDY, trials.constant_requests)),
            PRISM: peer(wrk_contestant(candidates.PRISM, trials.constant_requests)),
            AIMOCK: peer(wrk_contestant(candidates.AIMOCK, trials.constant_requests)),
        },
        (
            throughput_goal("GET a container", 1.0, FASTAPI, "bare FastAPI, a constant response"),
            throughput_goal("GET a container", 10, IDIOMATIC, "idiomatic"),
            throughput_goal("GET a container", 0.8, STDY, "@stdy/cli, an example, not stored"),
        ),
    ),
    Contest(
        "get-any",
        "GET any of 10,000 containers",
        {
            SERVER: populated_contestant(
                candidates.PERSISTENT, fill_server, lambda parameters: parameters.spread, trials.retrieve_any_requests
            ),
            FASTAPI: wrk_contestant(candidates.FASTAPI, trials.constant_requests),
            IDIOMATIC: populated_contestant(
                candidates.IDIOMATIC, fill_idiomatic, lambda parameters: parameters.spread, trials.retrieve_any_requests
            ),
        },
    ),
    Contest(
        "post",
        "POST a container",
        {
            SERVER: wrk_contestant(candidates.SERVER, trials.create_requests),
            FASTAPI: wrk_contestant(candidates.FASTAPI, trials.constant_requests),
            IDIOMATIC: wrk_contestant(candidates.IDIOMATIC, trials.create_requests),
            STDY: peer(wrk_contestant(candidates.STDY, trials.create_requests)),
            PRISM: peer(wrk_contestant(candidates.PRISM, trials.create_requests)),
            AIMOCK: peer(wrk_contestant(candidates.AIMOCK, trials.create_requests)),
        },
        (
            throughput_goal("POST a container", 0.6, FASTAPI, "bare FastAPI, a constant response"),
            throughput_goal("POST a container", 7, IDIOMATIC, "idiomatic"),
        ),
    ),
    Contest(
        "list",
        "list 20 of many (1,000,000) or few (1,000) containers, any page",
        {
            SERVER: populated_contestant(
                candidates.PERSISTENT, fill_server, lambda parameters: parameters.rows, trials.page_requests
            ),
            FEW: populated_contestant(
                candidates.PERSISTENT, fill_server, lambda parameters: parameters.few_rows, trials.page_requests
            ),
            FASTAPI: wrk_contestant(candidates.FASTAPI, trials.constant_requests),
            IDIOMATIC: populated_contestant(
                candidates.IDIOMATIC, fill_idiomatic, lambda parameters: parameters.rows, trials.page_requests
            ),
            STDY: peer(wrk_contestant(candidates.STDY, trials.list_requests)),
            PRISM: peer(wrk_contestant(candidates.PRISM, trials.list_requests)),
            AIMOCK: peer(wrk_contestant(candidates.AIMOCK, trials.list_requests)),
        },
        (
            Goal(
                "list 20 of 1,000,000",
                ratio(FEW, SERVER, "rate"),
                1.3,
                "the time on 1,000",
                cpu_values=ratio(SERVER, FEW, "cpu"),
            ),
            throughput_goal("list 20 of 1,000,000", 0.5, FASTAPI, "bare FastAPI, a constant response"),
            throughput_goal("list 20 of 1,000,000", 10, IDIOMATIC, "idiomatic"),
            throughput_goal("list 20 of 1,000,000", 0.6, STDY, "@stdy/cli, an example, not stored"),
        ),
    ),
    Contest(
        "upload-small",
        "upload 1 KiB to /files",
        {
            SERVER: wrk_contestant(candidates.SERVER, trials.upload_requests),
            FASTAPI: wrk_contestant(candidates.FASTAPI, trials.upload_requests),
            IDIOMATIC: wrk_contestant(candidates.IDIOMATIC, trials.upload_requests),
            STDY: peer(wrk_contestant(candidates.STDY, trials.upload_requests)),
            PRISM: peer(wrk_contestant(candidates.PRISM, trials.upload_requests)),
            AIMOCK: peer(wrk_contestant(candidates.AIMOCK, trials.upload_requests)),
        },
        (
            throughput_goal("upload 1 KiB", 6, IDIOMATIC, "idiomatic"),
            throughput_goal("upload 1 KiB", 0.7, AIMOCK, "@copilotkit/aimock, in memory"),
        ),
    ),
    Contest(
        "get-file",
        "GET a File",
        {
            SERVER: wrk_contestant(candidates.SERVER, trials.retrieve_file_requests),
            IDIOMATIC: wrk_contestant(candidates.IDIOMATIC, trials.retrieve_file_requests),
            STDY: peer(wrk_contestant(candidates.STDY, trials.retrieve_file_requests)),
            PRISM: peer(wrk_contestant(candidates.PRISM, trials.retrieve_file_requests)),
            AIMOCK: peer(wrk_contestant(candidates.AIMOCK, trials.retrieve_file_requests)),
        },
        (throughput_goal("GET a File", 1.0, AIMOCK, "@copilotkit/aimock, in memory"),),
    ),
    Contest(
        "upload",
        "upload 200 MiB to /files",
        {
            SERVER: trials.uploads(candidates.SERVER),
            FASTAPI: trials.uploads(candidates.FASTAPI),
            IDIOMATIC: trials.uploads(candidates.IDIOMATIC),
            STDY: peer(trials.uploads(candidates.STDY)),
            PRISM: peer(trials.uploads(candidates.PRISM)),
            AIMOCK: peer(trials.uploads(candidates.AIMOCK)),
        },
        (
            throughput_goal("upload 200 MiB to /files", 1.5, FASTAPI, "Starlette's UploadFile, not stored"),
            memory_growth_goal("upload 200 MiB to /files"),
        ),
    ),
    Contest(
        "upload-container",
        "upload 200 MiB to a container",
        {
            SERVER: trials.uploads(candidates.SERVER, "container"),
            LOOP: trials.uploads(candidates.HASHING),
            "bare ASGI, discards": trials.uploads(candidates.DISCARD),
        },
        (
            throughput_goal("upload 200 MiB to a container", 0.8, LOOP, "a bare ASGI loop with both digests"),
            memory_growth_goal("upload 200 MiB to a container"),
        ),
    ),
    Contest(
        "download",
        "download 200 MiB",
        {
            SERVER: trials.downloads(candidates.PERSISTENT),
            FASTAPI: trials.downloads(candidates.FASTAPI),
            IDIOMATIC: trials.downloads(candidates.IDIOMATIC),
            AIMOCK: peer(trials.downloads(candidates.AIMOCK)),
        },
        (
            throughput_goal("download 200 MiB", 3, FASTAPI, "Starlette's FileResponse"),
            memory_growth_goal("download 200 MiB"),
        ),
    ),
    Contest(
        "start",
        "process start to first response",
        {
            SERVER: trials.process_starts(candidates.SERVER),
            FASTAPI: trials.process_starts(candidates.FASTAPI),
            ROUTES: trials.process_starts(candidates.ROUTES),
            IDIOMATIC: trials.process_starts(candidates.IDIOMATIC),
            STDY: peer(trials.process_starts(candidates.STDY)),
            PRISM: peer(trials.process_starts(candidates.PRISM)),
            AIMOCK: peer(trials.process_starts(candidates.AIMOCK, trials.upload_requests)),
            RUN: trials.run_command,
        },
        (
            Goal(
                "process start to first successful POST",
                ratio(SERVER, ROUTES, "seconds"),
                1.1,
                "bare FastAPI with as many routes, SQLModel imported",
                cpu_values=ratio(SERVER, ROUTES, "cpu"),
                reference=(ROUTES, "seconds"),
            ),
            Goal("`mockserver run -- true`", difference(RUN, SERVER, "seconds"), 0.3, "beyond the start", unit="s"),
        ),
    ),
    Contest(
        "memory",
        "memory over 100,000 exchanges",
        {SERVER: trials.memory_growth},
        (
            Goal("idle memory", metric(SERVER, "resident"), 90, unit="MB"),
            Goal("memory after 100,000 exchanges", ratio(SERVER, SERVER, "after", "resident"), 1.15, "idle memory"),
        ),
        once=True,
    ),
    Contest(
        "get-during-upload",
        "GET a container during an upload of 500 MB",
        {
            SAME_SERVER: trials.during_upload(to_other_process=False),
            OTHER_PROCESS: trials.during_upload(to_other_process=True),
        },
        (
            Goal(
                "p99 of GET during an upload at a limited rate",
                ratio(SAME_SERVER, OTHER_PROCESS, "p99"),
                3,
                "an upload to another process",
            ),
        ),
    ),
]
