"""The benchmarks run, and their report matches the manual. No test checks performance."""

import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import contests, report, routes
from benchmarks.contests import CONTESTS, Contest
from mockserver.api.app import RESOURCES

ROOT = Path(__file__).parents[1]
MACHINE = dict.fromkeys(
    ("date", "cpu", "cores", "kernel", "python", "sqlite", "node", "sha256", "blake2b"), "<known>"
) | {"load": "0.1", "fastapi": "1", "uvicorn": "2", "sqlmodel": "3"}
KEYS = ("rate", "p50", "p99", "worst", "cpu", "seconds", "resident", "after", "growth")


def fake_measurements(contest: Contest, rounds: int = 3) -> report.Measurements:
    """Metrics that differ by contestant and round; the last contestant has an error."""
    measurements = {
        name: [dict.fromkeys(KEYS, 100.0 * (at + 1) + number) for number in range(rounds)]
        for at, name in enumerate(contest.contestants)
    }
    return measurements | {list(measurements)[-1]: "404 <Not Found>"}


RESULTS = {contest.name: fake_measurements(contest) for contest in CONTESTS}


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_table_in_the_manual_lists_every_goal_with_its_baseline() -> None:
    text = report.PAGE.read_text()
    table = text.partition(report.BEGIN)[2].partition("| what | compared with |")[2].partition("\n\n")[0]
    documented = [[row[0], row[1], row[4]] for row in cells(table)]
    assert documented == [[row[0], row[1], row[4]] for row in cells(report.goal_table(RESULTS))]
    assert len(documented) == sum(len(contest.goals) for contest in CONTESTS)


def test_a_ratio_compares_the_same_round_and_its_median_decides_whether_the_goal_is_met() -> None:
    rates = {
        "mockserver": (10, 90, 40), "bare FastAPI": (10, 100, 20), "idiomatic": (1, 30, 5), "@stdy/cli": (10, 100, 50),
    }  # fmt: skip
    measurements = {name: [{"rate": each, "cpu": 1 / each} for each in values] for name, values in rates.items()}
    first, second, third = cells(report.goal_table({"get": measurements}))
    assert first[2:] == ["1.00 × (0.90–2.00)", "1.00 ×", "≥ 1.00 ×", "yes"]
    assert second[2:] == ["8.00 × (3.00–10.0)", "8.00 ×", "≥ 10.0 ×", "**no**"]
    assert third[2:] == ["0.90 × (0.80–1.00)", "0.90 ×", "≥ 0.80 ×", "yes"]


def test_a_contestant_that_could_not_be_measured_shows_the_reason() -> None:
    (row,) = cells(
        report.goal_table(
            {"get-during-upload": {contests.SAME_SERVER: [{"p99": 1}], contests.OTHER_PROCESS: "the upload failed"}}
        )
    )
    assert row[2:] == ["the upload failed", "", "≤ 3.00 ×", "–"]
    assert "*404 <Not Found>*" in report.candidate_table(RESULTS)


def test_record_replaces_the_text_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.record(RESULTS, MACHINE, 3, page)
        lines = page.read_text().splitlines()
        assert (lines[0], lines[-1], lines.count(report.BEGIN), "old" in lines) == ("before", "after", 1, False)
        assert report.goal_table(RESULTS) in page.read_text()
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="end of the figures"):
        report.record(RESULTS, MACHINE, 3, page)


def test_the_chart_shows_all_panels_medians_and_errors() -> None:
    drawing = ElementTree.fromstring(report.chart(RESULTS, MACHINE))
    texts = {each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {title for _, title, _, _ in report.PANELS} < texts
    get = RESULTS["get"]["mockserver"]
    assert not isinstance(get, str)
    assert report.format_number(statistics.median(each["rate"] for each in get)) in texts
    assert "404 <Not Found>" in texts


def test_the_bare_application_has_as_many_routes_as_the_api() -> None:
    assert sum(len(each.router.routes) for each in RESOURCES) == routes.ROUTES
    assert (
        sum(each.path.startswith(("/containers", "/files", "/resources")) for each in routes.app.routes)
        == routes.ROUTES
    )  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_fleet_benchmark_runs() -> None:
    command = [sys.executable, "-m", "benchmarks.fleet", "--worlds", "120", "--servers", "4", "--spread", "1000"]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    table = [line.strip("|").split("|") for line in completed.stdout.splitlines()[2:]]
    assert len(table) == 12
    assert all(re.search(r"\d", figure) for _, figure in table)


@pytest.mark.slow
@pytest.mark.alone
def test_all_contests_run(tmp_path: Path) -> None:
    if not shutil.which("wrk"):
        assert os.environ.get("CI") != "true", "needs wrk"
        pytest.skip("needs wrk")
    saved, chart = tmp_path / "saved.json", tmp_path / "figures.svg"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--without-peers"]
    completed = subprocess.run([*command, "--save", saved, "--chart", chart], cwd=ROOT, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    results = json.loads(saved.read_text())["results"]
    assert list(results) == [contest.name for contest in CONTESTS]
    for contest in CONTESTS:
        for name, measured in results[contest.name].items():
            if measured == "skipped":
                continue
            assert isinstance(measured, list), f"{contest.name}, {name}: {measured}"
            (metrics,) = measured
            assert metrics, f"{contest.name}, {name}"
            assert all(math.isfinite(each) for each in metrics.values()), metrics
    assert report.goal_table(results) in completed.stdout
    ElementTree.parse(chart)
