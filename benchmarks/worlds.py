"""What worlds cost: a fresh one, a fork of many files, and GETs beside a fork of many rows.

    python benchmarks/worlds.py

Prints a table. The figures in docs/internals/benchmarks.md are from such a run.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mockserver.clock import Clock, stopwatch
from mockserver.mock import Mock
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.storage import tables
from mockserver.storage.database import Insertion, record

ROWS = 100_000
FILES = 1_000
SECONDS = 4.0


@contextmanager
def mock(**options: Any) -> Iterator[Mock]:
    opened = Mock(Settings(**options))
    try:
        yield opened
    finally:
        opened.close()


def fresh_worlds() -> list[float]:
    """Seconds for each of many worlds, from an empty template, first use included."""

    async def run(mock: Mock) -> list[float]:
        took = []
        for number in range(2_000):
            started = stopwatch()
            await mock.worlds.call(f"w{number}")
            took.append(stopwatch() - started)
        return took

    with mock() as opened:
        return asyncio.run(run(opened))


def fork_of_files() -> tuple[list[float], int]:
    """Seconds for forks of a world with 1,000 Files of 1 MB each, and bytes that a fork adds to the disk's contents."""

    async def run(mock: Mock) -> tuple[list[float], int]:
        call = await mock.worlds.call("source")
        for _ in range(FILES):
            draft = mock.blobs.put([os.urandom(1 << 20)])
            with mock.database.transaction() as tx:
                mock.blobs.keep(tx, draft)
                ordinal = mock.worlds.take(tx, call.world.id)
                row = record(tables.File)(
                    world=call.world.id, id=f"file-{ordinal}", seq=ordinal, created_at=0, expires_at=None,
                    bytes=draft.size, filename="f", purpose="vision", digest=draft.digest,
                )  # fmt: skip
                Insertion(tables.File).add(tx, row)
        contents = mock.directory / "blobs"
        before = sum(each.stat().st_size for each in contents.glob("??/*"))
        took = []
        for number in range(20):
            started = stopwatch()
            await mock.worlds.create(f"fork{number}", fork_of="source")
            took.append(stopwatch() - started)
        return took, sum(each.stat().st_size for each in contents.glob("??/*")) - before

    with mock() as opened:
        return asyncio.run(run(opened))


CLIENT = """
import json, socket, sys, time
port, path, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
request = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\napi-key: k\\r\\n\\r\\n".encode()
took = []
with socket.create_connection(("127.0.0.1", port)) as client:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        client.sendall(request)
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        while not answer.endswith(b"}"):
            answer += client.recv(65536)
        took.append(time.perf_counter() - started)
        time.sleep(0.001)
print(json.dumps(took))
"""


def gets_beside_forks() -> tuple[list[float], list[float], int]:
    """Seconds of GETs alone, and while a world of 100,000 rows is forked over and over; and how many forks."""
    rows = f"version: 1\nworlds: {{large: {{containers: [{{name: 'c-{{n}}', repeat: {ROWS}}}]}}}}\n"
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder) / "seed.yaml"
        seed.write_text(rows)
        with MockServer(seed=(seed,), data=Path(folder) / "data") as server:
            mock = server.mock
            server.run(mock.worlds.change_clock("here", lambda before: Clock(1_782_324_240, mock.wall.now(), 1.0)))
            asked = urllib.request.Request(
                f"{server.url}/w/here/v1/containers",
                b'{"name": "box"}',
                {"api-key": "k", "content-type": "application/json"},
            )
            with urllib.request.urlopen(asked) as answer:
                path = "/w/here/v1/containers/" + json.load(answer)["id"]
            server.run(mock.worlds.resolve("large"))

            def gets() -> subprocess.Popen[bytes]:
                command = [sys.executable, "-c", CLIENT, str(server.port), path, str(SECONDS)]
                return subprocess.Popen(command, stdout=subprocess.PIPE)

            alone, _ = gets().communicate()
            process, forks = gets(), 0
            while process.poll() is None:
                server.run(mock.worlds.create(f"fork{forks}", fork_of="large"))
                forks += 1
            beside, _ = process.communicate()
    return json.loads(alone), json.loads(beside), forks


def told(name: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    median, high = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"| {name} | {len(ordered):,} | {median * 1000:.2f} ms | {high * 1000:.2f} ms |"


def main() -> None:
    print("| what | measured | median | p99 |\n|---|---|---|---|")
    print(told("a fresh world, empty template", fresh_worlds()))
    forks, added = fork_of_files()
    print(told(f"a fork of {FILES:,} files of 1 MB ({added} bytes of content added)", forks))
    alone, beside, count = gets_beside_forks()
    print(told("GET a container, alone", alone))
    print(told(f"GET a container, beside {count} forks of {ROWS:,} rows", beside))


if __name__ == "__main__":
    main()
