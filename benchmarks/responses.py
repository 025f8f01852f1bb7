"""Responses by script: their rate beside the requests that do the same by hand, many paced streams, large bodies.

    python -m benchmarks.responses [--rounds 5] [--seconds 3] [--streams 200]

A run makes one call that writes a file of 1 KiB into a new container, and cites it. By hand this is a POST of a
container and a POST of a file to a container. The contestants take turns in each round.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import candidates as by
from benchmarks.candidates import Running, install_peers, started
from benchmarks.load import FORM, UNIQUE, Request, form, hammer, paced
from mockserver.clock import stopwatch

AUTO = [{"type": "code_interpreter", "container": {"type": "auto"}}]
FILE = {"path": "report.csv", "generate": {"size": 1_024, "pattern": "text"}}
EVENTS = 100
PACE = 0.05
"""Seconds between the events of a paced stream."""
LARGE = 26 << 20
"""Bytes of a large body."""


def body(text: str, **more: object) -> bytes:
    return json.dumps({"model": "gpt-5", "input": text, **more}).encode()


def scripted(running: Running, *rules: object) -> None:
    Request("POST", "/_mock/worlds/default/answers", json.dumps(rules).encode()).ask(running.port)


# Rates


def runs(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/responses", body(f"report {UNIQUE.decode()}", tools=AUTO))]


def by_hand(running: Running) -> list[Request]:
    create = Request("POST", f"{running.base}/containers", b'{"name": "%b"}' % UNIQUE)
    id = json.loads(create.ask(running.port))["id"]
    content = form(UNIQUE + b"a" * 1_008, "report.csv")
    return [create, Request("POST", f"{running.base}/containers/{id}/files", content, FORM)]


def plain(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/responses", body("hello"))]


def rates(rounds: int, seconds: int, folder: Path) -> None:
    peers = install_peers()
    with ExitStack() as stack:
        contestants: dict[str, tuple[Running, list[Request]]] = {}
        for name, candidate, asked in (
            ("a run with a file", by.SERVER, runs),
            ("container and file by hand", by.SERVER, by_hand),
            ("a response without a tool", by.SERVER, plain),
            ("aimock, a response without a tool", by.AIMOCK, plain),
        ):
            if candidate is by.AIMOCK and peers:
                print(f"{name}: {peers}")
                continue
            running = stack.enter_context(started(candidate, folder / str(len(contestants))))
            if candidate is by.SERVER:
                scripted(
                    running,
                    {"when": "report", "files": [FILE], "say": "Done: {links}"},
                    {"when": "hello", "say": "Hello!"},
                )
            contestants[name] = running, asked(running)
            hammer(running.port, contestants[name][1], 1)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, (running, requests) in contestants.items():
                before = running.cpu()
                done = hammer(running.port, requests, seconds)
                count = done.requests / len(requests)
                measured[name].append((count / done.seconds, (running.cpu() - before) / count * 1e6))
        print("| what | rate, median | processor time | beside a run |\n|---|---|---|---|")
        first = measured["a run with a file"]
        for name, each in measured.items():
            ratio = statistics.median(one / other for (one, _), (other, _) in zip(first, each, strict=True))
            rate, cpu = (statistics.median(values) for values in zip(*each, strict=True))
            print(f"| {name} | {rate:,.0f} /s | {cpu:,.0f} µs | {ratio:.2f} × |")


# Streams


async def stream(running: Running, request: bytes, late: list[float]) -> None:
    """Read a paced stream, and note by how many milliseconds each event was late."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    first, seen, before = 0.0, 0, b""
    while not before.endswith(b"0\r\n\r\n"):
        before = (before + await reader.read(65_536))[-200_000:]
        count, now = before.count(b"\nevent: "), stopwatch()
        first = first or now
        late += [(now - first - (seen + number) * PACE) * 1_000 for number in range(count)]
        seen, before = seen + count, before[before.rfind(b"\nevent: ") + 1 :]
    writer.close()
    assert seen > EVENTS


def streams(count: int, folder: Path) -> None:
    late: list[float] = []

    async def all_at_once(running: Running) -> None:
        request = Request("POST", f"{running.base}/responses", body("slow", stream=True)).raw()
        await asyncio.gather(*(stream(running, request, late) for _ in range(count)))

    with started(by.SERVER, folder / "streams") as running:
        scripted(running, {"when": "slow", "say": "word " * EVENTS, "pace": PACE})
        asyncio.run(all_at_once(running))
        late.clear()
        before = running.resident()
        running.forget_peak()
        began, cpu = stopwatch(), running.cpu()
        asyncio.run(all_at_once(running))
        took, cpu = stopwatch() - began, running.cpu() - cpu
        late.sort()
        print(f"{count} streams, {len(late):,} events in {took:.1f} s, one each {PACE * 1_000:.0f} ms in each stream:")
        print(
            f"late by {late[len(late) // 2]:.1f} ms (median), {late[int(len(late) * 0.99)]:.1f} ms (p99), {late[-1]:.1f} ms (worst);"
        )
        print(f"{cpu / took:.0%} of a processor, {(running.peak() - before) / (1 << 20):.1f} MiB more memory")


# Large bodies


def messages(count: int, text: str) -> list[object]:
    return [{"role": "user", "content": text} for _ in range(count)]


BODIES: dict[str, Callable[[], dict[str, object]]] = {
    "a few long texts": lambda: {"input": messages(3, "word " * (LARGE // 15))},
    "texts that are not ASCII": lambda: {"input": messages(3, "é" * (LARGE // 6))},
    "4,500 messages": lambda: {"input": messages(4_500, "x" * (LARGE // 4_500))},
    "6,600 short messages": lambda: {"input": messages(6_600, "x")},
    "a file": lambda: {
        "input": [{"role": "user", "content": [{"type": "input_file", "filename": "a", "file_data": "abcd" * (LARGE // 4)}]}],
        "tools": AUTO,
    },
    "10 MB of instructions": lambda: {"input": "x", "instructions": "word " * 2_000_000},
    "10 MB of instructions, streamed": lambda: {"input": "x", "instructions": "word " * 2_000_000, "stream": True},
}  # fmt: skip


def large(rounds: int, folder: Path) -> None:
    """How long another world's GET waits at most while a large body is worked on, and the memory that this takes."""
    print("| body | bytes | longest wait of a GET, median and worst | memory |\n|---|---|---|---|")
    with started(by.SERVER, folder / "large") as running:
        other = Request("GET", "/w/other/v1/containers")
        other.ask(running.port)
        for name, make in BODIES.items():
            sent = json.dumps({"model": "gpt-5", **make()}, ensure_ascii=False).encode()
            waits, growth = [], 0.0
            for number in range(rounds):
                done = threading.Event()
                took: list[float] = []
                thread = threading.Thread(
                    target=lambda into=took, until=done: into.extend(paced(running.port, other, until.is_set))
                )
                before = running.resident()
                running.forget_peak()
                thread.start()
                Request("POST", f"/w/large-{number}/v1/responses", sent).ask(running.port)
                done.set()
                thread.join()
                waits.append(max(took))
                growth = max(growth, (running.peak() - before) / len(sent))
                Request("DELETE", f"/_mock/worlds/large-{number}").ask(running.port)
            print(
                f"| {name} | {len(sent) / 1e6:.1f} MB | {statistics.median(waits):.0f}, {max(waits):.0f} ms | {growth:.1f} × |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 5), ("seconds", 3), ("streams", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates(given.rounds, given.seconds, Path(folder))
        streams(given.streams, Path(folder))
        large(given.rounds, Path(folder))


if __name__ == "__main__":
    main()
