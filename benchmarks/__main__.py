"""Figures: the server beside what people would use instead.

python -m benchmarks --quick get post list upload-small
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.contests import CONTESTS, Contest, Metrics, Plan
from benchmarks.load import Cannot


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [contest.name for contest in CONTESTS]
    parser.add_argument("contests", nargs="*", metavar="CONTEST", help=f"only these of: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, help="measurements of each candidate, in turns with the others")
    parser.add_argument("--seconds", type=int, help="how long one measurement by wrk takes")
    parser.add_argument("--quick", action="store_true", help="less of everything: figures to work by, not to show")
    given = parser.parse_args()
    if unknown := set(given.contests) - set(names):
        parser.error(f"no contest is named {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not shutil.which("wrk"):
        parser.error("wrk is not at hand; install it (Debian, Ubuntu and Homebrew have it as wrk)")
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        plan = Plan(Path(folder))
        if given.quick:
            plan = replace(
                plan, rounds=3, seconds=1, spread=1_000, rows=100_000, upload=32 << 20, long_upload=64 << 20,
                exchanges=5_000,
            )  # fmt: skip
        plan = replace(plan, rounds=given.rounds or plan.rounds, seconds=given.seconds or plan.seconds)
        for contest in CONTESTS:
            if not given.contests or contest.name in given.contests:
                show(contest, run(contest, plan))


def run(contest: Contest, plan: Plan) -> dict[str, list[Metrics] | str]:
    """For each contestant its measurements, or why there are none."""
    told: dict[str, list[Metrics] | str] = {}
    with ExitStack() as stack:
        ready = {}
        for name, contestant in contest.contestants.items():
            try:
                ready[name] = stack.enter_context(contestant(plan))
                told[name] = []
            except Cannot as reason:
                told[name] = str(reason)
        for number in range(plan.rounds):
            names = list(ready)
            turn = number % len(names) if names else 0
            for name in names[turn:] + names[:turn]:
                progress(f"{contest.name}: round {number + 1}, {name}")
                try:
                    measurements = told[name]
                    assert isinstance(measurements, list)
                    measurements.append(ready[name]())
                except Cannot as reason:
                    told[name] = str(reason)
                    del ready[name]
        progress("")
    return told


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def show(contest: Contest, told: dict[str, list[Metrics] | str]) -> None:
    print(f"\n{contest.title}, {contest.unit}")
    base = told.get("server")
    for name, measured in told.items():
        if isinstance(measured, str):
            print(f"  {name:14} {measured}")
            continue
        rates = [each["rate"] for each in measured]
        middle = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        line = f"  {name:14} {middle['rate']:9,.0f}  ({min(rates):,.0f}-{max(rates):,.0f})"
        line += f"  p50 {middle['p50']:.2f} ms  p99 {middle['p99']:.2f} ms  cpu {middle['cpu']:.0f} µs"
        if isinstance(base, list) and name != "server":
            ratio = statistics.median(one["rate"] / other["rate"] for one, other in zip(base, measured, strict=False))
            cpu = statistics.median(other["cpu"] / one["cpu"] for one, other in zip(base, measured, strict=False))
            line += f"  server is {ratio:.2f} x, by cpu {cpu:.2f} x"
        print(line, flush=True)


if __name__ == "__main__":
    main()
