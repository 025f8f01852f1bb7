"""The contestants: each starts a candidate, and then takes one measurement per call."""

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

from benchmarks import candidates
from benchmarks.candidates import Candidate, Running, started
from benchmarks.load import (
    FORM,
    UNIQUE,
    LargeForm,
    MeasurementError,
    Request,
    download,
    form,
    run_wrk,
    send_at_interval,
)
from mockserver.clock import Wall, stopwatch

Metrics = dict[str, float]
"""`rate` in requests or MB per second; `p50`, `p99`, `worst` in ms; `cpu` in µs of processor time per request or
transfer; `seconds`; `resident` and `after` in MB; `growth` in MiB."""
Measure = Callable[[], Metrics]


@dataclass(frozen=True)
class Parameters:
    """Sizes and counts of a run."""

    folder: Path
    rounds: int = 5
    seconds: int = 4
    spread: int = 10_000
    rows: int = 1_000_000
    few_rows: int = 1_000
    upload: int = 200 << 20
    long_upload: int = 500 << 20
    rate: float = 100e6
    """Bytes per second of the upload of `during_upload`."""
    exchanges: int = 100_000
    without_peers: str = ""
    """The reason for skipping the candidates from npm; empty if they take part."""


Contestant = Callable[[Parameters], AbstractContextManager[Measure]]
"""Prepares a candidate and yields the function that takes one measurement. Raises MeasurementError."""


# Small requests, sent by wrk


def wrk_contestant(candidate: Candidate, requests: Callable[[Running], list[Request]]) -> Contestant:
    @contextmanager
    def contestant(parameters: Parameters) -> Iterator[Measure]:
        with started(candidate, new_folder(parameters, candidate.name)) as running:
            yield wrk_measurement(running, requests(running), parameters)

    return contestant


def wrk_measurement(running: Running, requests: list[Request], parameters: Parameters) -> Measure:
    requests[0].send(running.port)
    run_wrk(running.port, requests, 1)

    def measure() -> Metrics:
        before = running.cpu()
        result = run_wrk(running.port, requests, parameters.seconds)
        cpu = (running.cpu() - before) / result.requests * 1e6
        return {"rate": result.requests / result.seconds, "p50": result.p50, "p99": result.p99, "cpu": cpu}

    return measure


def new_folder(parameters: Parameters, name: str) -> Path:
    return parameters.folder / f"{name}-{os.urandom(4).hex()}"


def retrieve_requests(running: Running) -> list[Request]:
    """Return a request that always retrieves the same container."""
    created = json.loads(create_requests(running)[0].send(running.port))
    return [Request("GET", f"{running.base}/containers/{created['id']}")]


def create_requests(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/containers", b'{"name": "%b"}' % UNIQUE)]


def upload_requests(running: Running) -> list[Request]:
    """Return a request that uploads 1 KiB, with different content each time."""
    content = UNIQUE + os.urandom(1008).replace(b"@", b"a")
    body = form(content, "small.bin", purpose="vision")
    return [Request("POST", f"{running.base}/files", body, FORM)]


def constant_requests(running: Running) -> list[Request]:
    return [Request("GET", f"{running.base}/containers/cntr_1")]


def retrieve_file_requests(running: Running) -> list[Request]:
    created = json.loads(upload_requests(running)[0].send(running.port))
    return [Request("GET", f"{running.base}/files/{created['id']}")]


def list_requests(running: Running) -> list[Request]:
    """Return a request for the first page, for mocks without state."""
    return [Request("GET", f"{running.base}/containers?limit=20")]


# Many containers

Fill = Callable[[Path, int], list[str]]
"""Creates a number of containers in a folder and returns their ids, oldest first."""


def populated_contestant(
    candidate: Candidate,
    fill: Fill,
    rows: Callable[[Parameters], int],
    requests: Callable[[Running, list[str]], list[Request]],
) -> Contestant:
    @contextmanager
    def contestant(parameters: Parameters) -> Iterator[Measure]:
        folder = new_folder(parameters, candidate.name)
        folder.mkdir(parents=True)
        ids = fill(folder, rows(parameters))
        with started(candidate, folder) as running:
            yield wrk_measurement(running, requests(running, ids), parameters)

    return contestant


def page_requests(running: Running, ids: list[str]) -> list[Request]:
    """Return requests for pages of 20: the first, and those after 499 cursors spread over the list, shuffled."""
    cursors = sorted((ids[at * len(ids) // 500] for at in range(1, 500)), key=lambda each: each[::-1])
    first = f"{running.base}/containers?limit=20"
    return [Request("GET", path) for path in (first, *(f"{first}&after={id}" for id in cursors))]


def retrieve_any_requests(running: Running, ids: list[str]) -> list[Request]:
    shuffled = sorted(ids, key=lambda each: each[::-1])
    return [Request("GET", f"{running.base}/containers/{id}") for id in shuffled]


def fill_server(folder: Path, count: int) -> list[str]:
    """Create a data directory with containers in its default world; return their ids."""
    from mockserver import ids
    from mockserver.mock import Mock
    from mockserver.settings import Settings
    from mockserver.storage import tables
    from mockserver.storage.database import Insertion, record

    mock = Mock(Settings(data=folder / "data"))
    try:
        context = asyncio.run(mock.worlds.enter("default"))
        world = context.world
        now, created_ids = world.now(), []
        with context.write() as tx:
            first = context.world.take(tx, count)
            new = record(tables.Container)

            def rows() -> Iterator[Any]:
                for at in range(count):
                    created = now - (count - at) // 10
                    created_ids.append(ids.container(world.id_seed, first + at, created))
                    yield new(
                        id=created_ids[-1], seq=first + at, created_at=created, last_active_at=now,
                        name=f"box {at}", memory_limit="1g", network_policy=None, expires_anchor="last_active_at",
                        expires_minutes=20,
                    )  # fmt: skip

            Insertion(tables.Container).add_all(tx, rows())
        return created_ids
    finally:
        mock.close()


def fill_idiomatic(folder: Path, count: int) -> list[str]:
    """Let the idiomatic application create its database, then insert containers; return their ids."""
    with started(candidates.IDIOMATIC, folder):
        pass
    now = int(Wall().now())
    created_ids = [f"cntr_{at:032x}" for at in range(count)]
    with sqlite3.connect(folder / "database.db") as connection:
        connection.executemany(
            "INSERT INTO container (name, memory_limit, id, created_at, last_active_at, expires_minutes) "
            "VALUES (?, '1g', ?, ?, ?, 20)",
            ((f"box {at}", created_ids[at], now - (count - at) // 10, now) for at in range(count)),
        )
    connection.close()
    return created_ids


# Large bodies, sent over a socket


@cache
def large_form(folder: Path, size: int, **fields: str) -> LargeForm:
    return LargeForm(Path(tempfile.mkdtemp(dir=folder)) / "form", size, **fields)


def uploads(candidate: Candidate, target: str = "files") -> Contestant:
    """Upload to `/files` or into a container. Memory growth is measured from the state after two small uploads."""

    @contextmanager
    def contestant(parameters: Parameters) -> Iterator[Measure]:
        fields = {"purpose": "vision"} if target == "files" else {}
        large, small = (large_form(parameters.folder, size, **fields) for size in (parameters.upload, 1 << 20))
        with started(candidate, new_folder(parameters, candidate.name)) as running:
            path = f"{running.base}/files"
            if target == "container":
                path = f"{retrieve_requests(running)[0].path}/files"
            for _ in range(2):
                small.upload(running.port, path)
            before = running.resident()

            def measure() -> Metrics:
                running.reset_peak()
                cpu = running.cpu()
                seconds, response = large.upload(running.port, path)
                metrics = {
                    "rate": large.size / seconds / 1e6,
                    "cpu": (running.cpu() - cpu) * 1e6,
                    "growth": (running.peak() - before) / (1 << 20),
                }
                if candidate is candidates.SERVER:
                    Request("DELETE", f"{path}/{json.loads(response)['id']}").send(running.port)
                return metrics

            yield measure

    return contestant


def downloads(candidate: Candidate) -> Contestant:
    """Download what an earlier process received, so that memory growth is caused by the download alone."""

    @contextmanager
    def contestant(parameters: Parameters) -> Iterator[Measure]:
        folder = new_folder(parameters, candidate.name)
        large, small = (large_form(parameters.folder, size, purpose="vision") for size in (parameters.upload, 1 << 20))
        with started(candidate, folder) as running:
            paths = []
            for each in (large, small):
                created = json.loads(each.upload(running.port, f"{running.base}/files")[1])
                paths.append(f"{running.base}/files/{created.get('id', each.size)}/content")
                if candidate is candidates.FASTAPI:  # does not store uploads; its route sends files of its folder
                    shutil.copy(each.path, folder / str(each.size))
                    os.truncate(folder / str(each.size), each.size)
        with started(candidate, folder) as running:
            for _ in range(2):
                download(running.port, paths[1], small.size)
            before = running.resident()

            def measure() -> Metrics:
                running.reset_peak()
                cpu = running.cpu()
                seconds = download(running.port, paths[0], large.size)
                return {
                    "rate": large.size / seconds / 1e6,
                    "cpu": (running.cpu() - cpu) * 1e6,
                    "growth": (running.peak() - before) / (1 << 20),
                }

            yield measure

    return contestant


def during_upload(to_other_process: bool) -> Contestant:
    """Send GETs during an upload at a limited rate, to the same server or to a process that discards it."""

    @contextmanager
    def contestant(parameters: Parameters) -> Iterator[Measure]:
        large = large_form(parameters.folder, parameters.long_upload, purpose="vision")
        with (
            started(candidates.SERVER, new_folder(parameters, "server")) as server,
            started(candidates.DISCARD, new_folder(parameters, "d")) as other,
        ):
            request = retrieve_requests(server)[0]
            port, path = (other.port, "/") if to_other_process else (server.port, f"{server.base}/files")
            command = [sys.executable, "-m", "benchmarks.load", str(port), path, str(large.path), str(parameters.rate)]

            def measure() -> Metrics:
                large.change()
                with subprocess.Popen(command, cwd=candidates.ROOT, env=candidates.environment()) as upload:
                    latencies = sorted(send_at_interval(server.port, request, lambda: upload.poll() is not None))
                if upload.returncode:
                    raise MeasurementError("the upload failed")
                return {
                    "p50": statistics.median(latencies),
                    "p99": latencies[int(len(latencies) * 0.99)],
                    "worst": latencies[-1],
                }

            yield measure

    return contestant


# Whole processes


def process_starts(candidate: Candidate, request: Callable[[Running], list[Request]] | None = None) -> Contestant:
    """Measure the time from process start to the first successful response, and the memory at that point."""

    @contextmanager
    def contestant(parameters: Parameters) -> Iterator[Measure]:
        def measure() -> Metrics:
            started_at = stopwatch()
            with started(candidate, new_folder(parameters, candidate.name)) as running:
                (request or create_requests)(running)[0].send(running.port)
                seconds = stopwatch() - started_at
                return {"seconds": seconds, "cpu": running.cpu() * 1e6, "resident": running.resident() / 1e6}

        measure()  # compiles the bytecode
        yield measure

    return contestant


@contextmanager
def run_command(parameters: Parameters) -> Iterator[Measure]:
    """Measure a complete `mockserver run -- true`."""

    def measure() -> Metrics:
        started_at = stopwatch()
        process = subprocess.Popen(
            [*candidates.program("mockserver"), "run", "--", "true"], env=candidates.environment()
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = stopwatch() - started_at
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise MeasurementError(f"exit code {process.returncode}")
        return {"seconds": seconds, "cpu": (usage.ru_utime + usage.ru_stime) * 1e6}

    measure()
    yield measure


@contextmanager
def memory_growth(parameters: Parameters) -> Iterator[Measure]:
    """Measure idle memory, and memory after far more exchanges than the journal keeps."""

    def measure() -> Metrics:
        with started(candidates.SERVER, new_folder(parameters, "server")) as running:
            requests = [
                make(running)[0] for make in (create_requests, retrieve_requests, list_requests, upload_requests)
            ]
            idle, done = running.resident(), 0
            while done < parameters.exchanges:
                done += run_wrk(running.port, requests, parameters.seconds).requests
            return {"resident": idle / 1e6, "after": running.resident() / 1e6, "exchanges": done}

    yield measure


def peer(contestant: Contestant) -> Contestant:
    """Skip a candidate from npm where the peers are not installed."""

    @contextmanager
    def peer_contestant(parameters: Parameters) -> Iterator[Measure]:
        if parameters.without_peers:
            raise MeasurementError(parameters.without_peers)
        with contestant(parameters) as measure:
            yield measure

    return peer_contestant
