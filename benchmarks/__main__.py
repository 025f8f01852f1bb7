"""Measure the server and its alternatives.

    python -m benchmarks                                  # everything, about 20 minutes
    python -m benchmarks --quick get post list upload-small   # while you work on something, about 2 minutes

Needs Linux and wrk. If npm is available, three other mocks are installed into benchmarks/node_modules and
measured too.
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
from benchmarks.contests import CONTESTS, Contest, Measurements
from benchmarks.load import MeasurementError
from benchmarks.trials import Metrics, Parameters

QUICK_NOTE = "Quick run: sizes and counts are smaller than the titles say. Do not publish these figures."


def main() -> None:
    arguments = parse_arguments()
    if arguments.load:
        print_report(json.loads(arguments.load.read_text()), arguments)
        return
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        parameters = Parameters(Path(folder))
        if arguments.quick:
            parameters = replace(
                parameters, rounds=3, seconds=1, spread=1_000, rows=50_000, upload=32 << 20, long_upload=64 << 20,
                exchanges=5_000,
            )  # fmt: skip
        parameters = replace(
            parameters,
            rounds=arguments.rounds or parameters.rounds,
            seconds=arguments.seconds or parameters.seconds,
            without_peers="skipped" if arguments.without_peers else install_peers() or "",
        )
        saved = {
            "machine": report.describe_machine(),
            "rounds": parameters.rounds,
            "quick": arguments.quick,
            "results": {},
        }
        for contest in CONTESTS:
            if not arguments.contests or contest.name in arguments.contests:
                saved["results"][contest.name] = run(contest, parameters)
                if arguments.save:
                    arguments.save.write_text(json.dumps(saved))
    print_report(saved, arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [contest.name for contest in CONTESTS]
    parser.add_argument(
        "contests", nargs="*", metavar="CONTEST", help=f"run only these; choose from: {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, help="measurements of each candidate")
    parser.add_argument("--seconds", type=int, help="duration of one measurement with wrk")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and counts, fewer rounds")
    parser.add_argument("--without-peers", action="store_true", help="skip the mocks from npm")
    parser.add_argument("--save", type=Path, metavar="FILE", help="save all measurements as JSON")
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="measure nothing; report the measurements saved in a file"
    )
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write the chart as SVG")
    parser.add_argument("--record", action="store_true", help="write tables and chart into the manual")
    arguments = parser.parse_args()
    if unknown := set(arguments.contests) - set(names):
        parser.error(f"unknown contest: {', '.join(sorted(unknown))}; choose from: {', '.join(names)}")
    if not arguments.load and not shutil.which("wrk"):
        parser.error("wrk was not found; install it (apt-get install wrk, brew install wrk)")
    if arguments.record and (arguments.quick or arguments.contests):
        parser.error("--record needs a full run: omit --quick and the names of contests")
    return arguments


def run(contest: Contest, parameters: Parameters) -> Measurements:
    """Prepare all contestants, then measure each once per round. Each round starts with a different one."""
    measurements: dict[str, list[Metrics] | str] = {}
    with ExitStack() as stack:
        measures = {}
        for name, contestant in contest.contestants.items():
            progress(f"{contest.name}: prepare {name}")
            try:
                measures[name] = stack.enter_context(contestant(parameters))
            except MeasurementError as error:
                measurements[name] = str(error)
            else:
                measurements[name] = []
        for number in range(1 if contest.once else parameters.rounds):
            names = list(measures)
            first = number % len(names) if names else 0
            for name in names[first:] + names[:first]:
                progress(f"{contest.name}: round {number + 1}, {name}")
                measured = measurements[name]
                assert isinstance(measured, list)
                try:
                    measured.append(measures[name]())
                except MeasurementError as error:
                    measurements[name] = str(error)
                    del measures[name]
    progress("")
    return measurements


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def print_report(saved: dict[str, Any], arguments: argparse.Namespace) -> None:
    results, machine_info = saved["results"], saved["machine"]
    print(report.markdown(results, machine_info, saved["rounds"]))
    if saved["quick"]:
        print(f"\n{QUICK_NOTE}")
    if arguments.chart:
        arguments.chart.write_text(report.chart(results, machine_info))
    if arguments.record:
        report.CHART.write_text(report.chart(results, machine_info))
        report.record(results, machine_info, saved["rounds"])


if __name__ == "__main__":
    main()
