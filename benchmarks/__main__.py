"""Figures: the server beside what people would use instead.

    python -m benchmarks                                  # all of it, some 20 minutes
    python -m benchmarks --quick get post list upload-small   # while working on it, two minutes

Needs Linux and wrk. Where npm is at hand, three other mocks take part; they are put into
benchmarks/node_modules.
"""

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.candidates import install_peers
from benchmarks.contests import CONTESTS, Contest, Told
from benchmarks.load import Cannot
from benchmarks.trials import Metrics, Plan

QUICK = "Quick: fewer and smaller of everything than the titles say; figures to work by, not to show."


def main() -> None:
    given = arguments()
    if given.again:
        tell(json.loads(given.again.read_text()), given)
        return
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        plan = Plan(Path(folder))
        if given.quick:
            plan = replace(
                plan, rounds=3, seconds=1, spread=1_000, rows=50_000, upload=32 << 20, long_upload=64 << 20,
                exchanges=5_000,
            )  # fmt: skip
        plan = replace(
            plan,
            rounds=given.rounds or plan.rounds,
            seconds=given.seconds or plan.seconds,
            without_peers="left out" if given.without_peers else install_peers() or "",
        )
        kept = {"machine": report.machine(), "rounds": plan.rounds, "quick": given.quick, "results": {}}
        for contest in CONTESTS:
            if not given.contests or contest.name in given.contests:
                kept["results"][contest.name] = run(contest, plan)
                if given.keep:
                    given.keep.write_text(json.dumps(kept))
    tell(kept, given)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [contest.name for contest in CONTESTS]
    parser.add_argument("contests", nargs="*", metavar="CONTEST", help=f"only these of: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, help="measurements of each candidate, in turns with the others")
    parser.add_argument("--seconds", type=int, help="how long one measurement by wrk takes")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--without-peers", action="store_true", help="leave out the mocks from npm")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write all measurements into a JSON file")
    parser.add_argument("--again", type=Path, metavar="FILE", help="measure nothing, tell what such a file has")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the picture, an SVG")
    parser.add_argument("--record", action="store_true", help="write table and picture into the manual")
    given = parser.parse_args()
    if unknown := set(given.contests) - set(names):
        parser.error(f"no contest is named {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not given.again and not shutil.which("wrk"):
        parser.error("wrk is not at hand; install it (apt-get install wrk, brew install wrk)")
    if given.record and (given.quick or given.contests):
        parser.error("--record is for a whole run, without --quick")
    return given


def run(contest: Contest, plan: Plan) -> Told:
    """Every contestant is made ready; then they take turns, each round beginning with another one."""
    told: dict[str, list[Metrics] | str] = {}
    with ExitStack() as stack:
        ready = {}
        for name, contestant in contest.contestants.items():
            progress(f"{contest.name}: {name} gets ready")
            try:
                ready[name] = stack.enter_context(contestant(plan))
            except Cannot as reason:
                told[name] = str(reason)
            else:
                told[name] = []
        for number in range(1 if contest.once else plan.rounds):
            names = list(ready)
            turn = number % len(names) if names else 0
            for name in names[turn:] + names[:turn]:
                progress(f"{contest.name}: round {number + 1}, {name}")
                measured = told[name]
                assert isinstance(measured, list)
                try:
                    measured.append(ready[name]())
                except Cannot as reason:
                    told[name] = str(reason)
                    del ready[name]
    progress("")
    return told


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def tell(kept: dict[str, Any], given: argparse.Namespace) -> None:
    results, about = kept["results"], kept["machine"]
    print(report.told(results, about, kept["rounds"]))
    if kept["quick"]:
        print(f"\n{QUICK}")
    if given.picture:
        given.picture.write_text(report.picture(results, about))
    if given.record:
        report.PICTURE.write_text(report.picture(results, about))
        report.record(results, about, kept["rounds"])


if __name__ == "__main__":
    main()
