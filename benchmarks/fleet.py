"""Measure the cost of many worlds on one server, and how evenly consistent hashing distributes worlds.

    python -m benchmarks.fleet [--worlds 9000] [--servers 1000] [--spread 1000000]

Each world has one container. The manual estimates the needs of a thousand servers from the printed constants.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.candidates import memory
from benchmarks.ring import Ring
from benchmarks.worlds import Server, served
from mockserver.clock import stopwatch


def create(server: Server, numbers: range) -> None:
    for number in numbers:
        server.send("POST", f"/w/job-{number}/v1/containers", {"name": "box"})


def measure(folder: Path, worlds: int) -> dict[str, float]:
    """Return the memory, disk space, files and time for each world, measured on a server with many."""
    data, warm_up = folder / "data", 100
    with served(data, "--max-worlds", str(worlds + warm_up)) as server:
        create(server, range(warm_up))
        first = memory(server.process.pid, "VmRSS")
        started = stopwatch()
        create(server, range(warm_up, worlds))
        seconds, last = stopwatch() - started, memory(server.process.pid, "VmRSS")
    paths = list((data / "worlds").rglob("*"))
    empty, full = start_seconds(folder / "empty", worlds), start_seconds(data, worlds)
    return {
        "bytes of memory for each used world": (last - first) / (worlds - warm_up),
        "bytes on disk for each world": sum(path.stat().st_blocks * 512 for path in paths) / worlds,
        "files and directories for each world": len(paths) / worlds,
        "seconds to create a world, sequentially": seconds / (worlds - warm_up),
        "processor seconds of a start without worlds": empty,
        "processor seconds of a start for each stored world": (full - empty) / worlds,
    }


def start_seconds(data: Path, worlds: int) -> float:
    """Return the minimum processor time of five starts, including the first response."""
    times = []
    for _ in range(5):
        with served(data, "--max-worlds", str(worlds + 100)) as server:
            server.send("GET", "/v1/containers")
            times.append(server.processor_time())
    return min(times)


def spread(servers: int, worlds: int) -> tuple[float, float, float]:
    """Return the load of the fullest and emptiest server relative to the mean, and the share of worlds that move to one more server."""
    names = [f"mock-{number}" for number in range(servers + 1)]
    before, after = (Ring({name: f"{name}:8080" for name in names[:count]}) for count in (servers, servers + 1))
    counts, moved = Counter(dict.fromkeys(names[:-1], 0)), 0
    for world in (f"job-{number}" for number in range(worlds)):
        counts[before[world]] += 1
        moved += before[world] != after[world]
    mean = worlds / servers
    return max(counts.values()) / mean, min(counts.values()) / mean, moved / worlds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--worlds", type=int, default=9_000, help="number of worlds on one server")
    parser.add_argument("--servers", type=int, default=1_000, help="number of servers to distribute worlds over")
    parser.add_argument("--spread", type=int, default=1_000_000, help="number of worlds to distribute")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        print("| constant | measured |\n|---|---|")
        for what, figure in measure(Path(folder), given.worlds).items():
            print(f"| {what} | {figure:,.6g} |")
    for servers in (3, 10, given.servers):
        fullest, emptiest, moved = spread(servers, given.spread)
        print(f"| {servers:,} servers: fullest and emptiest, relative to the mean | {fullest:.2f}, {emptiest:.2f} |")
        print(f"| {servers:,} servers: worlds that move when one is added | {moved:.2%} |")


if __name__ == "__main__":
    main()
