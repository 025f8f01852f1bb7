"""What several processes gain over one, in turns: GET and POST at several numbers of connections.

    python -m benchmarks.workers [--rounds N] [--seconds N]

The load generator runs on the same machine and takes its part of the processors.
"""

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import candidates as by
from benchmarks.candidates import Candidate, Running, started
from benchmarks.contests import creating, retrieving
from benchmarks.load import Request, hammer

PROCESSES = (1, 2)
CONNECTIONS = (16, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-")))
        servers = {count: stack.enter_context(started(several(count), folder / str(count))) for count in PROCESSES}
        print(f"{os.cpu_count()} processors, {given.rounds} rounds of {given.seconds} s")
        for name, requests in (("GET", retrieving), ("POST", creating)):
            asked = {count: requests(running) for count, running in servers.items()}
            for connections in CONNECTIONS:
                measure(name, servers, asked, connections, given.rounds, given.seconds)


def several(count: int) -> Candidate:
    command = by.SERVER.command
    workers = ["--workers", str(count)]
    return Candidate("server", f"{count} processes", lambda port, folder: [*command(port, folder), *workers], "/v1")


def measure(
    name: str,
    servers: dict[int, Running],
    asked: dict[int, list[Request]],
    connections: int,
    rounds: int,
    seconds: int,
) -> None:
    rates: dict[int, list[float]] = {count: [] for count in servers}
    late: dict[int, list[float]] = {count: [] for count in servers}
    work: dict[int, list[float]] = {count: [] for count in servers}
    for number in range(-1, rounds):  # the first doesn't count
        for count in (servers, reversed(servers))[number % 2]:
            before = servers[count].cpu()
            done = hammer(servers[count].port, asked[count], seconds if number >= 0 else 1, connections)
            if number >= 0:
                rates[count].append(done.requests / done.seconds)
                late[count].append(done.p99)
                work[count].append((servers[count].cpu() - before) / done.requests * 1e6)
    for count, measured in rates.items():
        line = f"{name:4} at {connections:2} connections, {count} process{'es' if count > 1 else '  '}"
        line += f"  {statistics.median(measured):7,.0f}/s ({min(measured):,.0f}-{max(measured):,.0f})"
        line += f"  p99 {statistics.median(late[count]):.1f} ms  cpu {statistics.median(work[count]):.0f} µs"
        if count > 1:
            ratios = [several / one for one, several in zip(rates[1], measured, strict=True)]
            line += f"  {statistics.median(ratios):.2f} x one ({min(ratios):.2f}-{max(ratios):.2f})"
        print(line, flush=True)


if __name__ == "__main__":
    main()
