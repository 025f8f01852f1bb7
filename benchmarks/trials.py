"""How one thing is measured of one candidate: it gets ready, then every call takes one measurement."""

import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import candidates as by
from benchmarks.candidates import Candidate, Running, started
from benchmarks.load import FORM, UNIQUE, Cannot, LargeForm, Request, download, form, hammer, paced
from mockserver.clock import Wall, stopwatch

Metrics = dict[str, float]
"""`rate` in requests or MB a second; `p50`, `p99`, `worst` in ms; `cpu` in µs of processor time a request or
transfer; `seconds`; `resident` and `after` in MB; `growth` in MiB."""
Measure = Callable[[], Metrics]


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    folder: Path
    rounds: int = 5
    seconds: int = 4
    spread: int = 10_000
    rows: int = 1_000_000
    few_rows: int = 1_000
    upload: int = 200 << 20
    long_upload: int = 500 << 20
    rate: float = 100e6
    """Bytes a second of an upload beside which something else is measured."""
    exchanges: int = 100_000
    without_peers: str = ""
    """Why the candidates from npm don't take part."""


Contestant = Callable[[Plan], AbstractContextManager[Measure]]
"""Gets ready, and gives what takes one measurement. Raises Cannot."""


# Small requests, by wrk


def hammered(candidate: Candidate, requests: Callable[[Running], list[Request]]) -> Contestant:
    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        with started(candidate, fresh(plan, candidate.name)) as running:
            yield hammering(running, requests(running), plan)

    return contestant


def hammering(running: Running, requests: list[Request], plan: Plan) -> Measure:
    requests[0].ask(running.port)
    hammer(running.port, requests, 1)

    def measure() -> Metrics:
        before = running.cpu()
        done = hammer(running.port, requests, plan.seconds)
        cpu = (running.cpu() - before) / done.requests * 1e6
        return {"rate": done.requests / done.seconds, "p50": done.p50, "p99": done.p99, "cpu": cpu}

    return measure


def fresh(plan: Plan, name: str) -> Path:
    return plan.folder / f"{name}-{os.urandom(4).hex()}"


def retrieving(running: Running) -> list[Request]:
    """One container, over and over."""
    created = json.loads(creating(running)[0].ask(running.port))
    return [Request("GET", f"{running.base}/containers/{created['id']}")]


def creating(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/containers", b'{"name": "%b"}' % UNIQUE)]


def uploading(running: Running) -> list[Request]:
    """1 KiB, never the same twice."""
    content = UNIQUE + os.urandom(1008).replace(b"@", b"a")
    body = form(content, "small.bin", purpose="vision")
    return [Request("POST", f"{running.base}/files", body, FORM)]


def constant(running: Running) -> list[Request]:
    return [Request("GET", f"{running.base}/containers/cntr_1")]


def retrieving_file(running: Running) -> list[Request]:
    created = json.loads(uploading(running)[0].ask(running.port))
    return [Request("GET", f"{running.base}/files/{created['id']}")]


def listing(running: Running) -> list[Request]:
    """What a mock without state makes of it."""
    return [Request("GET", f"{running.base}/containers?limit=20")]


# Many containers

Fill = Callable[[Path, int], list[str]]
"""Puts so many containers into a folder, and tells their ids, the oldest first."""


def filled(
    candidate: Candidate,
    fill: Fill,
    rows: Callable[[Plan], int],
    requests: Callable[[Running, list[str]], list[Request]],
) -> Contestant:
    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        folder = fresh(plan, candidate.name)
        folder.mkdir(parents=True)
        ids = fill(folder, rows(plan))
        with started(candidate, folder) as running:
            yield hammering(running, requests(running, ids), plan)

    return contestant


def paging(running: Running, ids: list[str]) -> list[Request]:
    """Pages of 20, the first one and those behind cursors all over the list, in no order."""
    cursors = sorted((ids[at * len(ids) // 500] for at in range(1, 500)), key=lambda each: each[::-1])
    first = f"{running.base}/containers?limit=20"
    return [Request("GET", path) for path in (first, *(f"{first}&after={id}" for id in cursors))]


def retrieving_all(running: Running, ids: list[str]) -> list[Request]:
    shuffled = sorted(ids, key=lambda each: each[::-1])
    return [Request("GET", f"{running.base}/containers/{id}") for id in shuffled]


def fill_server(folder: Path, count: int) -> list[str]:
    """A data directory whose default world has so many containers; their ids."""
    from mockserver import ids
    from mockserver.mock import Mock
    from mockserver.settings import Settings
    from mockserver.storage import tables
    from mockserver.storage.database import Insertion, record

    mock = Mock(Settings(data=folder / "data"))
    try:
        context = asyncio.run(mock.worlds.enter("default"))
        world = context.world
        now, named = world.now(), []
        with context.write() as tx:
            first = context.take(tx, count)
            new = record(tables.Container)

            def rows() -> Iterator[Any]:
                for at in range(count):
                    created = now - (count - at) // 10
                    named.append(ids.container(world.id_seed, first + at, created))
                    yield new(
                        id=named[-1], seq=first + at, created_at=created, last_active_at=now,
                        name=f"box {at}", memory_limit="1g", network_policy=None, expires_anchor="last_active_at",
                        expires_minutes=20,
                    )  # fmt: skip

            Insertion(tables.Container).add_all(tx, rows())
        return named
    finally:
        mock.close()


def fill_idiomatic(folder: Path, count: int) -> list[str]:
    """The yardstick's database, made by itself, then filled."""
    with started(by.IDIOMATIC, folder):
        pass
    now = int(Wall().now())
    named = [f"cntr_{at:032x}" for at in range(count)]
    with sqlite3.connect(folder / "database.db") as connection:
        connection.executemany(
            "INSERT INTO container (name, memory_limit, id, created_at, last_active_at, expires_minutes) "
            "VALUES (?, '1g', ?, ?, ?, 20)",
            ((f"box {at}", named[at], now - (count - at) // 10, now) for at in range(count)),
        )
    connection.close()
    return named


# Large bodies, by a socket


@cache
def large_form(folder: Path, size: int, **fields: str) -> LargeForm:
    return LargeForm(Path(tempfile.mkdtemp(dir=folder)) / "form", size, **fields)


def uploads(candidate: Candidate, into: str = "files") -> Contestant:
    """To `/files`, or into a container. Growth is from after two small ones to the most it ever had."""

    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        fields = {"purpose": "vision"} if into == "files" else {}
        large, small = (large_form(plan.folder, size, **fields) for size in (plan.upload, 1 << 20))
        with started(candidate, fresh(plan, candidate.name)) as running:
            path = f"{running.base}/files"
            if into == "container":
                path = f"{retrieving(running)[0].path}/files"
            for _ in range(2):
                small.upload(running.port, path)
            before = running.resident()

            def measure() -> Metrics:
                running.forget_peak()
                cpu = running.cpu()
                seconds, answer = large.upload(running.port, path)
                told = {
                    "rate": large.size / seconds / 1e6,
                    "cpu": (running.cpu() - cpu) * 1e6,
                    "growth": (running.peak() - before) / (1 << 20),
                }
                if candidate is by.SERVER:
                    Request("DELETE", f"{path}/{json.loads(answer)['id']}").ask(running.port)
                return told

            yield measure

    return contestant


def downloads(candidate: Candidate) -> Contestant:
    """Of what was uploaded to an earlier process, so that its growth is the download's alone."""

    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        folder = fresh(plan, candidate.name)
        large, small = (large_form(plan.folder, size, purpose="vision") for size in (plan.upload, 1 << 20))
        with started(candidate, folder) as running:
            paths = []
            for each in (large, small):
                told = json.loads(each.upload(running.port, f"{running.base}/files")[1])
                paths.append(f"{running.base}/files/{told.get('id', each.size)}/content")
                if candidate is by.FASTAPI:  # keeps no upload; its route gives what lies in its folder
                    shutil.copy(each.path, folder / str(each.size))
                    os.truncate(folder / str(each.size), each.size)
        with started(candidate, folder) as running:
            for _ in range(2):
                download(running.port, paths[1], small.size)
            before = running.resident()

            def measure() -> Metrics:
                running.forget_peak()
                cpu = running.cpu()
                seconds = download(running.port, paths[0], large.size)
                return {
                    "rate": large.size / seconds / 1e6,
                    "cpu": (running.cpu() - cpu) * 1e6,
                    "growth": (running.peak() - before) / (1 << 20),
                }

            yield measure

    return contestant


def beside(discarding: bool) -> Contestant:
    """GETs of the server while an upload runs at a capped rate, to itself or to a process that keeps nothing."""

    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        large = large_form(plan.folder, plan.long_upload, purpose="vision")
        with started(by.SERVER, fresh(plan, "server")) as server, started(by.DISCARD, fresh(plan, "d")) as other:
            request = retrieving(server)[0]
            port, path = (other.port, "/") if discarding else (server.port, f"{server.base}/files")
            command = [sys.executable, "-m", "benchmarks.load", str(port), path, str(large.path), str(plan.rate)]

            def measure() -> Metrics:
                large.change()
                with subprocess.Popen(command, cwd=by.ROOT, env=by.environment()) as upload:
                    took = sorted(paced(server.port, request, lambda: upload.poll() is not None))
                if upload.returncode:
                    raise Cannot("the upload failed")
                return {"p50": statistics.median(took), "p99": took[int(len(took) * 0.99)], "worst": took[-1]}

            yield measure

    return contestant


# Whole processes


def starts(candidate: Candidate, request: Callable[[Running], list[Request]] | None = None) -> Contestant:
    """From the start of the process to its first successful answer, and what memory it has then."""

    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        def measure() -> Metrics:
            begun = stopwatch()
            with started(candidate, fresh(plan, candidate.name)) as running:
                (request or creating)(running)[0].ask(running.port)
                seconds = stopwatch() - begun
                return {"seconds": seconds, "cpu": running.cpu() * 1e6, "resident": running.resident() / 1e6}

        measure()  # so that nothing has to be compiled
        yield measure

    return contestant


@contextmanager
def runs(plan: Plan) -> Iterator[Measure]:
    """`mockserver run -- true`, from its start to its end."""

    def measure() -> Metrics:
        begun = stopwatch()
        process = subprocess.Popen([*by.program("mockserver"), "run", "--", "true"], env=by.environment())
        _, status, usage = os.wait4(process.pid, 0)
        seconds = stopwatch() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Cannot(f"exit code {process.returncode}")
        return {"seconds": seconds, "cpu": (usage.ru_utime + usage.ru_stime) * 1e6}

    measure()
    yield measure


@contextmanager
def remembering(plan: Plan) -> Iterator[Measure]:
    """Memory at rest, and after so many exchanges of four kinds, far more than the journal remembers."""

    def measure() -> Metrics:
        with started(by.SERVER, fresh(plan, "server")) as running:
            requests = [make(running)[0] for make in (creating, retrieving, listing, uploading)]
            resting, done = running.resident(), 0
            while done < plan.exchanges:
                done += hammer(running.port, requests, plan.seconds).requests
            return {"resident": resting / 1e6, "after": running.resident() / 1e6, "exchanges": done}

    yield measure


def peer(contestant: Contestant) -> Contestant:
    """Of a candidate from npm."""

    @contextmanager
    def or_not(plan: Plan) -> Iterator[Measure]:
        if plan.without_peers:
            raise Cannot(plan.without_peers)
        with contestant(plan) as measure:
            yield measure

    return or_not
