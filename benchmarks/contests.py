"""What is measured: contests, each between candidates that do the same thing in the same rounds."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import candidates as by
from benchmarks.candidates import Candidate, Running, started
from benchmarks.load import FORM, UNIQUE, Request, form, hammer
from mockserver.clock import Wall

Metrics = dict[str, float]
"""`rate` in requests or megabytes a second, `p50` and `p99` in ms, `cpu` in µs a request, and others."""
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
    exchanges: int = 100_000


Contestant = Callable[[Plan], AbstractContextManager[Measure]]
"""Gets ready, and gives what takes one measurement. Raises Cannot."""


@dataclass(frozen=True)
class Contest:
    name: str
    title: str
    contestants: dict[str, Contestant]
    unit: str = "requests/s"
    rounds: int | None = None
    """How many make sense; None: as many as are asked for."""


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


def retrieving_any(count: int) -> Callable[[Running], list[Request]]:
    def requests(running: Running) -> list[Request]:
        hammer(running.port, creating(running), 1)
        post, ids = creating(running)[0], []
        import http.client

        client = http.client.HTTPConnection("127.0.0.1", running.port)
        for _ in range(count):
            client.request("POST", post.path, post.body, {"api-key": "k", "content-type": post.content_type})
            ids.append(json.load(client.getresponse())["id"])
        client.close()
        return [Request("GET", f"{running.base}/containers/{id}") for id in ids]

    return requests


def creating(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/containers", b'{"name": "%b"}' % UNIQUE)]


def uploading(running: Running) -> list[Request]:
    """1 KiB, never the same twice."""
    content = UNIQUE + os.urandom(1008).replace(b"@", b"a")
    body = form(content, "small.bin", purpose="vision")
    return [Request("POST", f"{running.base}/files", body, FORM)]


def constant(running: Running) -> list[Request]:
    return [Request("GET", f"{running.base}/containers/cntr_1")]


# Lists


def listing(fill: Callable[[Path, int], list[str]], candidate: Candidate, rows: Callable[[Plan], int]) -> Contestant:
    """Pages of 20, at the beginning and behind cursors all over the list."""

    @contextmanager
    def contestant(plan: Plan) -> Iterator[Measure]:
        folder = fresh(plan, candidate.name)
        folder.mkdir(parents=True)
        count = rows(plan)
        ids = fill(folder, count)
        with started(candidate, folder) as running:
            path = f"{running.base}/containers?limit=20"
            pages = [path] + [f"{path}&after={ids[at * count // 500]}" for at in range(1, 500)]
            pages.sort(key=lambda path: hash(path[::-1]))
            yield hammering(running, [Request("GET", each) for each in pages], plan)

    return contestant


def fill_server(folder: Path, count: int) -> list[str]:
    """A data directory whose default world has so many containers; their ids."""
    from mockserver import ids, tables
    from mockserver.database import insertion
    from mockserver.mock import Mock
    from mockserver.settings import Settings

    mock = Mock(Settings(data=folder / "data"))
    try:
        world = asyncio.run(mock.worlds.call("default")).world
        now, named = world.now(), []
        with mock.database.transaction() as tx:
            first = mock.worlds.take(tx, world.id, count)
            row = tables.Container(
                world=world.id, id="", seq=0, created_at=now, last_active_at=now, name="", memory_limit="1g",
                expires_anchor="last_active_at", expires_minutes=20,
            ).model_dump()  # fmt: skip

            def rows() -> Iterator[dict[str, object]]:
                for at in range(count):
                    created = now - (count - at) // 10
                    named.append(ids.container(world.id_seed, first + at, created))
                    yield row | {"id": named[-1], "seq": first + at, "created_at": created, "name": f"box {at}"}

            insertion(tables.Container).run_all(tx, rows())
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


CONTESTS = [
    Contest(
        "get",
        "GET a container",
        {
            "server": hammered(by.SERVER, retrieving),
            "asgi": hammered(by.ASGI, constant),
            "fastapi": hammered(by.FASTAPI, constant),
            "idiomatic": hammered(by.IDIOMATIC, retrieving),
        },
    ),
    Contest(
        "post",
        "POST a container",
        {
            "server": hammered(by.SERVER, creating),
            "fastapi": hammered(by.FASTAPI, constant),
            "idiomatic": hammered(by.IDIOMATIC, creating),
        },
    ),
    Contest(
        "list",
        "list 20 of many containers, any page",
        {
            "server": listing(fill_server, by.KEPT, lambda plan: plan.rows),
            "server, few": listing(fill_server, by.KEPT, lambda plan: plan.few_rows),
            "fastapi": hammered(by.FASTAPI, constant),
            "idiomatic": listing(fill_idiomatic, by.IDIOMATIC, lambda plan: plan.rows),
        },
    ),
    Contest(
        "upload-small",
        "upload 1 KiB",
        {
            "server": hammered(by.SERVER, uploading),
            "fastapi": hammered(by.FASTAPI, uploading),
            "idiomatic": hammered(by.IDIOMATIC, uploading),
        },
    ),
]
