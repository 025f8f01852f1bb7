"""The benchmarks run, and report what the manual says. How fast anything is, is no test's business."""

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
ABOUT = dict.fromkeys(
    ("date", "cpu", "cores", "kernel", "python", "sqlite", "node", "sha256", "blake2b"), "<known>"
) | {"load": "0.1", "fastapi": "1", "uvicorn": "2", "sqlmodel": "3"}
KEYS = ("rate", "p50", "p99", "worst", "cpu", "seconds", "resident", "after", "growth")


def made_up(contest: Contest, rounds: int = 3) -> report.Told:
    """Figures that differ by contestant and round, and one contestant that can't."""
    told = {
        name: [dict.fromkeys(KEYS, 100.0 * (at + 1) + number) for number in range(rounds)]
        for at, name in enumerate(contest.contestants)
    }
    return told | {list(told)[-1]: "404 <Not Found>"}


RESULTS = {contest.name: made_up(contest) for contest in CONTESTS}


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_manual_names_every_goal_and_what_it_is_held_against() -> None:
    text = report.PAGE.read_text()
    table = text.partition(report.BEGIN)[2].partition("| what | compared with |")[2].partition("\n\n")[0]
    told = [[row[0], row[1], row[4]] for row in cells(table)]
    assert told == [[row[0], row[1], row[4]] for row in cells(report.goals(RESULTS))]
    assert len(told) == sum(len(contest.goals) for contest in CONTESTS)


def test_a_ratio_is_one_of_neighbours_and_decides_by_its_median() -> None:
    measured = {
        "mockserver": (10, 90, 40), "bare FastAPI": (10, 100, 20), "idiomatic": (1, 30, 5), "@stdy/cli": (10, 100, 50),
    }  # fmt: skip
    told = {name: [{"rate": each, "cpu": 1 / each} for each in rates] for name, rates in measured.items()}
    first, second, third = cells(report.goals({"get": told}))
    assert first[2:] == ["1.00 × (0.90–2.00)", "1.00 ×", "≥ 1.00 ×", "yes"]
    assert second[2:] == ["8.00 × (3.00–10.0)", "8.00 ×", "≥ 10.0 ×", "**no**"]
    assert third[2:] == ["0.90 × (0.80–1.00)", "0.90 ×", "≥ 0.80 ×", "yes"]


def test_what_could_not_be_measured_says_why() -> None:
    (row,) = cells(report.goals({"beside": {contests.ITSELF: [{"p99": 1}], contests.ELSEWHERE: "the upload failed"}}))
    assert row[2:] == ["the upload failed", "", "≤ 3.00 ×", "–"]
    assert "*404 <Not Found>*" in report.candidates(RESULTS)


def test_recording_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.record(RESULTS, ABOUT, 3, page)
        lines = page.read_text().splitlines()
        assert (lines[0], lines[-1], lines.count(report.BEGIN), "old" in lines) == ("before", "after", 1, False)
        assert report.goals(RESULTS) in page.read_text()
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="end of the figures"):
        report.record(RESULTS, ABOUT, 3, page)


def test_the_picture_shows_every_figure() -> None:
    drawn = ElementTree.fromstring(report.picture(RESULTS, ABOUT))
    words = {each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {title for _, title, _, _ in report.PANELS} < words
    get = RESULTS["get"]["mockserver"]
    assert not isinstance(get, str)
    assert report.figure(statistics.median(each["rate"] for each in get)) in words
    assert "404 <Not Found>" in words


def test_the_bare_application_has_as_many_routes() -> None:
    assert sum(len(each.router.routes) for each in RESOURCES) == routes.ROUTES
    assert (
        sum(each.path.startswith(("/containers", "/files", "/resources")) for each in routes.app.routes)
        == routes.ROUTES
    )  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_many_worlds_cost_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.fleet", "--worlds", "120", "--servers", "4", "--spread", "1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = [line.strip("|").split("|") for line in done.stdout.splitlines()[2:]]
    assert len(table) == 12
    assert all(re.search(r"\d", figure) for _, figure in table)


@pytest.mark.slow
@pytest.mark.alone
def test_all_contests_run(tmp_path: Path) -> None:
    if not shutil.which("wrk"):
        assert os.environ.get("CI") != "true", "needs wrk"
        pytest.skip("needs wrk")
    kept, picture = tmp_path / "kept.json", tmp_path / "figures.svg"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--without-peers"]
    done = subprocess.run([*command, "--keep", kept, "--picture", picture], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(kept.read_text())["results"]
    assert list(results) == [contest.name for contest in CONTESTS]
    for contest in CONTESTS:
        for name, measured in results[contest.name].items():
            if measured == "left out":
                continue
            assert isinstance(measured, list), f"{contest.name}, {name}: {measured}"
            (figures,) = measured
            assert figures, f"{contest.name}, {name}"
            assert all(math.isfinite(each) for each in figures.values()), figures
    assert report.goals(results) in done.stdout
    ElementTree.parse(picture)
