"""What many worlds cost one server, and how evenly a ring spreads worlds over many servers.

    python -m benchmarks.fleet [--worlds 9000] [--servers 1000] [--spread 1000000]

Each world has one container. Prints the constants from which the manual reckons what a thousand servers need.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.ring import Ring
from benchmarks.worlds import Server, served
from mockserver.clock import stopwatch


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def create(server: Server, numbers: range) -> None:
    for number in numbers:
        server.ask("POST", f"/w/job-{number}/v1/containers", {"name": "box"})


def measure(folder: Path, worlds: int) -> dict[str, float]:
    """Return bytes, files and seconds for each world, from a server that has so many."""
    data, few = folder / "data", 100
    with served(data, "--max-worlds", str(worlds + few)) as server:
        create(server, range(few))
        first = resident(server.process.pid)
        started = stopwatch()
        create(server, range(few, worlds))
        seconds, last = stopwatch() - started, resident(server.process.pid)
    paths = list((data / "worlds").rglob("*"))
    empty, full = start_seconds(folder / "empty", worlds), start_seconds(data, worlds)
    return {
        "memory for each world that was used": (last - first) / (worlds - few),
        "bytes on disk for each world": sum(path.stat().st_blocks * 512 for path in paths) / worlds,
        "files and directories for each world": len(paths) / worlds,
        "seconds for a new world, one after another": seconds / (worlds - few),
        "processor seconds of a start without worlds": empty,
        "processor seconds of a start for each world in its data": (full - empty) / worlds,
    }


def start_seconds(data: Path, worlds: int) -> float:
    """Return the least processor time of some starts, first response included."""
    took = []
    for _ in range(5):
        with served(data, "--max-worlds", str(worlds + 100)) as server:
            server.ask("GET", "/v1/containers")
            took.append(server.processor_time())
    return min(took)


def spread(servers: int, worlds: int) -> tuple[float, float, float]:
    """Return the share of the fullest and of the emptiest server of the mean, and the share of worlds that one more moves."""
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
    parser.add_argument("--worlds", type=int, default=9_000, help="on one server")
    parser.add_argument("--servers", type=int, default=1_000, help="on the ring")
    parser.add_argument("--spread", type=int, default=1_000_000, help="worlds on the ring")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        print("| constant | measured |\n|---|---|")
        for what, figure in measure(Path(folder), given.worlds).items():
            print(f"| {what} | {figure:,.6g} |")
    for servers in (3, 10, given.servers):
        fullest, emptiest, moved = spread(servers, given.spread)
        print(f"| {servers:,} servers: the fullest, the emptiest, by the mean | {fullest:.2f}, {emptiest:.2f} |")
        print(f"| {servers:,} servers: worlds that one more moves | {moved:.2%} |")


if __name__ == "__main__":
    main()
