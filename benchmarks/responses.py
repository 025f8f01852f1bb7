"""Measure scripted responses: request rates, many paced streams, large bodies.

    python -m benchmarks.responses [--rounds 5] [--seconds 3] [--streams 200]

A run makes one call that writes a file of 1 KiB into a new container, and cites it. It is compared with the separate
requests that do the same: a POST of a container and a POST of a file. Each round measures every contestant once.
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

from benchmarks import candidates
from benchmarks.candidates import Running, install_peers, started
from benchmarks.load import FORM, UNIQUE, Request, form, run_wrk, send_at_interval
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


def set_answers(running: Running, *rules: object) -> None:
    Request("POST", "/_mock/worlds/default/answers", json.dumps(rules).encode()).send(running.port)


# Rates


def run_requests(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/responses", body(f"report {UNIQUE.decode()}", tools=AUTO))]


def separate_requests(running: Running) -> list[Request]:
    create = Request("POST", f"{running.base}/containers", b'{"name": "%b"}' % UNIQUE)
    id = json.loads(create.send(running.port))["id"]
    content = form(UNIQUE + b"a" * 1_008, "report.csv")
    return [create, Request("POST", f"{running.base}/containers/{id}/files", content, FORM)]


def plain_requests(running: Running) -> list[Request]:
    return [Request("POST", f"{running.base}/responses", body("hello"))]


def rates(rounds: int, seconds: int, folder: Path) -> None:
    peers = install_peers()
    with ExitStack() as stack:
        contestants: dict[str, tuple[Running, list[Request]]] = {}
        for name, candidate, make_requests in (
            ("a run with a file", candidates.SERVER, run_requests),
            ("separate requests for container and file", candidates.SERVER, separate_requests),
            ("a response without a tool", candidates.SERVER, plain_requests),
            ("aimock, a response without a tool", candidates.AIMOCK, plain_requests),
        ):
            if candidate is candidates.AIMOCK and peers:
                print(f"{name}: {peers}")
                continue
            running = stack.enter_context(started(candidate, folder / str(len(contestants))))
            if candidate is candidates.SERVER:
                set_answers(
                    running,
                    {"when": "report", "files": [FILE], "say": "Done: {links}"},
                    {"when": "hello", "say": "Hello!"},
                )
            contestants[name] = running, make_requests(running)
            run_wrk(running.port, contestants[name][1], 1)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, (running, requests) in contestants.items():
                before = running.cpu()
                result = run_wrk(running.port, requests, seconds)
                count = result.requests / len(requests)
                measured[name].append((count / result.seconds, (running.cpu() - before) / count * 1e6))
        print("| what | rate, median | processor time | rate of a run relative to it |\n|---|---|---|---|")
        first = measured["a run with a file"]
        for name, each in measured.items():
            ratio = statistics.median(one / other for (one, _), (other, _) in zip(first, each, strict=True))
            rate, cpu = (statistics.median(values) for values in zip(*each, strict=True))
            print(f"| {name} | {rate:,.0f} /s | {cpu:,.0f} µs | {ratio:.2f} × |")


# Streams


async def stream(running: Running, request: bytes, delays: list[float]) -> None:
    """Read a paced stream and record the delay of each event in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    first, seen, before = 0.0, 0, b""
    while not before.endswith(b"0\r\n\r\n"):
        before = (before + await reader.read(65_536))[-200_000:]
        count, now = before.count(b"\nevent: "), stopwatch()
        first = first or now
        delays += [(now - first - (seen + number) * PACE) * 1_000 for number in range(count)]
        seen, before = seen + count, before[before.rfind(b"\nevent: ") + 1 :]
    writer.close()
    assert seen > EVENTS


def streams(count: int, folder: Path) -> None:
    delays: list[float] = []

    async def run_all(running: Running) -> None:
        request = Request("POST", f"{running.base}/responses", body("slow", stream=True)).raw()
        await asyncio.gather(*(stream(running, request, delays) for _ in range(count)))

    with started(candidates.SERVER, folder / "streams") as running:
        set_answers(running, {"when": "slow", "say": "word " * EVENTS, "pace": PACE})
        asyncio.run(run_all(running))
        delays.clear()
        before = running.resident()
        running.reset_peak()
        started_at, cpu = stopwatch(), running.cpu()
        asyncio.run(run_all(running))
        took, cpu = stopwatch() - started_at, running.cpu() - cpu
        delays.sort()
        print(
            f"{count} streams, {len(delays):,} events in {took:.1f} s, one every {PACE * 1_000:.0f} ms in each stream:"
        )
        print(
            f"delayed by {delays[len(delays) // 2]:.1f} ms (median), {delays[int(len(delays) * 0.99)]:.1f} ms (p99), {delays[-1]:.1f} ms (worst);"
        )
        print(f"{cpu / took:.0%} of a processor, memory growth {(running.peak() - before) / (1 << 20):.1f} MiB")


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
    """Measure the longest wait of another world's GET while a large body is processed, and the memory growth."""
    print("| body | bytes | longest wait of a GET, median and worst | memory |\n|---|---|---|---|")
    with started(candidates.SERVER, folder / "large") as running:
        other = Request("GET", "/w/other/v1/containers")
        other.send(running.port)
        for name, make in BODIES.items():
            content = json.dumps({"model": "gpt-5", **make()}, ensure_ascii=False).encode()
            waits, growth = [], 0.0
            for number in range(rounds):
                done = threading.Event()
                latencies: list[float] = []
                thread = threading.Thread(
                    target=lambda latencies=latencies, done=done: latencies.extend(
                        send_at_interval(running.port, other, done.is_set)
                    )
                )
                before = running.resident()
                running.reset_peak()
                thread.start()
                Request("POST", f"/w/large-{number}/v1/responses", content).send(running.port)
                done.set()
                thread.join()
                waits.append(max(latencies))
                growth = max(growth, (running.peak() - before) / len(content))
                Request("DELETE", f"/_mock/worlds/large-{number}").send(running.port)
            print(
                f"| {name} | {len(content) / 1e6:.1f} MB | {statistics.median(waits):.0f}, {max(waits):.0f} ms | {growth:.1f} × |"
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
