"""Render the results of a run: Markdown tables, an SVG chart, and the section of the manual that contains both."""

import hashlib
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

from benchmarks.candidates import ROOT
from benchmarks.contests import (
    AIMOCK,
    CONTESTS,
    FASTAPI,
    IDIOMATIC,
    LOOP,
    PRISM,
    RUN,
    SERVER,
    STDY,
    Goal,
    Measurements,
    metric_values,
)
from mockserver.clock import Wall

Results = Mapping[str, Measurements]
"""The measurements of each contest, by its name."""

PAGE = ROOT / "docs" / "internals" / "benchmarks.md"
CHART = Path(__file__).with_name("figures.svg")
BEGIN, END = "<!-- figures: `python -m benchmarks --record` writes them -->", "<!-- end of the figures -->"
COLUMNS = (SERVER, FASTAPI, IDIOMATIC, STDY, PRISM, AIMOCK)


def describe_machine() -> dict[str, str]:
    """Return the hardware and software versions that the figures depend on."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in described if line.startswith("model name")]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout if shutil.which("node") else ""
    return {
        "date": datetime.fromtimestamp(Wall().now(), UTC).date().isoformat(),
        "cpu": models[0] if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "node": node.strip().removeprefix("v"),
        "sha256": f"{_speed('sha256'):.0f}",
        "blake2b": f"{_speed('blake2b'):.0f}",
        **{name: version(name) for name in ("fastapi", "uvicorn", "sqlmodel")},
    }


def _speed(digest: str) -> float:
    """Return MB per second of processor time for a hash function."""
    block, seconds = os.urandom(16 << 20), []
    for _ in range(5):
        started = time.process_time()
        hashlib.new(digest, block)
        seconds.append(time.process_time() - started)
    return len(block) / min(seconds) / 1e6


# Tables


def goal_table(results: Results) -> str:
    lines = [
        "| what | compared with | median (range) | by processor time | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for contest in CONTESTS:
        for goal in contest.goals if contest.name in results else ():
            lines.append("| " + " | ".join(_goal_row(goal, results[contest.name])) + " |")
    return "\n".join(lines)


def _goal_row(goal: Goal, measurements: Measurements) -> list[str]:
    bound = f"{'≥' if goal.at_least else '≤'} {format_number(goal.bound)} {goal.unit}"
    values = goal.values(measurements)
    if not values:
        reason = next((each for each in measurements.values() if isinstance(each, str)), "not measured")
        return [goal.what, goal.baseline, reason, "", bound, "–"]
    cpu = goal.cpu_values(measurements) if goal.cpu_values else []
    return [
        goal.what,
        goal.baseline,
        f"{format_number(statistics.median(values))} {goal.unit}{_range(values)}",
        f"{format_number(statistics.median(cpu))} ×" if cpu else "",
        bound,
        "yes" if goal.met(values) else "**no**",
    ]


def candidate_table(results: Results) -> str:
    """Return a table with a row for each contest and a column for each main candidate."""
    lines = ["| | " + " | ".join(COLUMNS) + " | others |", "|---" * (len(COLUMNS) + 2) + "|"]
    for contest in CONTESTS:
        if measurements := results.get(contest.name):
            others = (f"{name}: {_cell(each)}" for name, each in measurements.items() if name not in COLUMNS)
            cells = [_cell(measurements[name]) if name in measurements else "" for name in COLUMNS]
            lines.append(f"| {contest.title} | " + " | ".join([*cells, "; ".join(others)]) + " |")
    return "\n".join(lines)


def _cell(measured: Sequence[Mapping[str, float]] | str) -> str:
    if isinstance(measured, str):
        return f"*{measured}*"
    middle = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
    parts = []
    if "rate" in middle:
        parts.append(f"**{format_number(middle['rate'])}** {'MB/s' if 'growth' in middle else '/s'}")
    if "seconds" in middle:
        parts.append(f"**{middle['seconds']:.2f}** s")
    if "p50" in middle:
        parts.append(f"{format_number(middle['p50'])}, {format_number(middle['p99'])} ms")
    if "cpu" in middle:
        parts.append(_duration(middle["cpu"]))
    if "growth" in middle:
        parts.append(f"+{max(0.0, *(each['growth'] for each in measured)):.1f} MiB")
    if "resident" in middle:
        parts.append(f"{middle['resident']:.0f} MB")
    if "after" in middle:
        parts.append(f"then {middle['after']:.0f} MB")
    return " · ".join(parts)


def _duration(micros: float) -> str:
    return f"{format_number(micros)} µs" if micros < 10_000 else f"{format_number(micros / 1e6)} s"


def format_number(number: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 up."""
    size = abs(number)
    return f"{number:,.0f}" if size >= 100 else f"{number:.1f}" if size >= 10 else f"{number:.2f}"


def _range(values: Sequence[float]) -> str:
    return f" ({format_number(min(values))}–{format_number(max(values))})" if len(values) > 1 else ""


# The manual


def markdown(results: Results, machine_info: Mapping[str, str], rounds: int) -> str:
    node = f", Node {machine_info['node']}" if machine_info["node"] else ""
    busy = (
        ""
        if float(machine_info["load"]) < 1
        else " The machine was under other load: rely on the ratios of processor time."
    )
    return f"""\
{machine_info["date"]}, {machine_info["cores"]} cores of {machine_info["cpu"]}, {machine_info["kernel"]}, load {machine_info["load"]} before the run; Python {machine_info["python"]}, SQLite {machine_info["sqlite"]}, FastAPI {machine_info["fastapi"]}, SQLModel {machine_info["sqlmodel"]}, uvicorn {machine_info["uvicorn"]}{node}. SHA-256 alone {machine_info["sha256"]} MB/s, BLAKE2b {machine_info["blake2b"]} MB/s. Medians of {rounds} rounds.{busy}

![Throughput, latency, memory and start of all candidates](../../benchmarks/figures.svg)

{goal_table(results)}

<details>
<summary>All candidates, side by side</summary>

{candidate_table(results)}

Each cell shows what was measured: throughput · latency, median and 99th percentile · processor time per request, transfer or start · peak memory growth · memory. Italics give the reason for a missing figure, usually the candidate's error response.

</details>"""


def record(results: Results, machine_info: Mapping[str, str], rounds: int, page: Path = PAGE) -> None:
    """Replace the text between the two markers of the page."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} has no {BEGIN} followed by {END}")
    page.write_text(f"{before}{BEGIN}\n{markdown(results, machine_info, rounds)}\n{END}{after}")


# The chart

WIDTH, MARGIN, GAP, BAR, TOP = 1080, 28, 36, 19, 92
OWN, OWN_VARIANT, STATEFUL, STATELESS = "#0f766e", "#5eaaa2", "#d99a4e", "#c3ccd8"
LEGEND = ((OWN, "mockserver"), (STATEFUL, "stateful"), (STATELESS, "stateless"))
PANELS: tuple[tuple[str, str, str, str], ...] = (
    ("get", "GET a container", "rate", "requests per second"),
    ("post", "POST a container", "rate", "requests per second"),
    ("list", "List 20 of 1,000,000 containers", "rate", "requests per second"),
    ("upload-small", "Upload 1 KiB", "rate", "requests per second"),
    ("get-file", "GET a File", "rate", "requests per second"),
    ("get", "GET a container, 99th percentile", "p99", "ms; lower is better"),
    ("upload", "Upload 200 MiB to /files", "rate", "MB/s"),
    ("upload-container", "Upload 200 MiB to a container", "rate", "MB/s"),
    ("download", "Download 200 MiB", "rate", "MB/s"),
    ("upload", "Memory that an upload of 200 MiB adds", "growth", "MiB; lower is better"),
    ("start", "Process start to first response", "seconds", "seconds; lower is better"),
    ("start", "Memory after the first response", "resident", "MB; lower is better"),
)


def chart(results: Results, machine_info: Mapping[str, str]) -> str:
    """Draw bar charts, three in a row, with whiskers for the range and a tick for the goal."""
    width = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
    drawn, top = [], float(TOP)
    shown = [panel for panel in PANELS if panel[0] in results]
    for at in range(0, len(shown), 3):
        row = shown[at : at + 3]
        for column, panel in enumerate(row):
            drawn.append(_panel(panel, results[panel[0]], MARGIN + column * (width + GAP), top, width))
        top += 46 + BAR * max(len(_bars(results[name], key)) for name, _, key, _ in row) + 22
    height = round(top)
    caption = (
        f"{machine_info['cores']} cores of {machine_info['cpu']}, Python {machine_info['python']}, {machine_info['date']}; 16 connections; "
        "bars show medians, whiskers the range"
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="-apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif">
<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>
{_text(MARGIN, 34, "mockserver compared with alternatives", 19, bold=True)}
{_text(MARGIN, 53, caption, 11.5, "#64748b")}
{_legend()}
{"".join(drawn)}</svg>
"""


def _legend() -> str:
    drawn, left = [], float(MARGIN)
    for color, label in LEGEND:
        drawn.append(f'<rect x="{left:.0f}" y="63" width="18" height="11" rx="2" fill="{color}"/>')
        drawn.append(_text(left + 24, 73, label, 11, "#475569"))
        left += 24 + 6.4 * len(label) + 18
    drawn.append(_tick(left + 6, 63, 11))
    drawn.append(_text(left + 14, 73, "goal", 11, "#475569"))
    return "\n".join(drawn)


def _bars(measurements: Measurements, key: str) -> list[tuple[str, list[float] | str]]:
    """Return the values of a metric for each contestant, or the reason why it could not be measured."""
    bars: list[tuple[str, list[float] | str]] = []
    for name, measured in measurements.items():
        if isinstance(measured, str):
            bars.append((name, measured))
        elif key in measured[0]:
            bars.append((name, metric_values(measurements, name, key)))
    return bars


def _panel(panel: tuple[str, str, str, str], measurements: Measurements, left: float, top: float, width: float) -> str:
    contest, title, key, unit = panel
    bars = _bars(measurements, key)
    start, room = left + 116, width - 116 - 52
    goal = _goal(contest, measurements, key)
    most = max((max(each) for _, each in bars if not isinstance(each, str)), default=0.0)
    most = max(most, goal or 0.0) or 1.0
    lines = [
        _text(left, top + 18, title, 13.5, bold=True),
        _text(left, top + 33, unit, 11, "#94a3b8"),
    ]
    for at, (name, measured) in enumerate(bars):
        y, own = top + 42 + at * BAR, name == SERVER
        color = "#0f172a" if own else "#475569"
        lines.append(_text(start - 8, y + 12, _short(name), 11, color, bold=own, anchor="end"))
        if isinstance(measured, str):
            lines.append(_text(start + 2, y + 12, measured[:34], 10.5, "#94a3b8", italic=True))
            continue
        middle = max(0.0, statistics.median(measured))
        least, largest = (start + room * max(0.0, edge) / most for edge in (min(measured), max(measured)))
        length = max(1.5, room * middle / most)
        lines.append(
            f'<rect x="{start:.1f}" y="{y + 2:.1f}" width="{length:.1f}" height="{BAR - 6}" rx="2" fill="{_color(name)}"/>'
        )
        if largest - least > 2:
            lines.append(
                f'<path d="M{least:.1f} {y + 8.5:.1f}H{largest:.1f}M{least:.1f} {y + 6:.1f}v5M{largest:.1f} {y + 6:.1f}v5" stroke="#0f172a" stroke-opacity=".45" fill="none"/>'
            )
        after = max(start + length, largest)
        if own and goal:
            lines.append(_tick(start + room * goal / most, y, BAR - 2))
            if start + room * goal / most < after + 48:
                after = max(after, start + room * goal / most)
        lines.append(_text(after + 6, y + 12, format_number(middle), 11, color, bold=own))
    return "\n".join(lines) + "\n"


def _goal(contest: str, measurements: Measurements, key: str) -> float | None:
    """Return the strictest of the goals that are multiples of another contestant's figure."""
    bounds = []
    for goal in next(each.goals for each in CONTESTS if each.name == contest):
        if goal.reference and goal.reference[1] == key and (values := metric_values(measurements, *goal.reference)):
            bounds.append((goal.bound * statistics.median(values), goal.at_least))
    if not bounds:
        return None
    return max(bound for bound, _ in bounds) if bounds[0][1] else min(bound for bound, _ in bounds)


def _tick(x: float, y: float, height: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}v{height:.1f}" stroke="#be123c" stroke-width="2" stroke-dasharray="3 1.5"/>'


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    color: str = "#0f172a",
    *,
    bold: bool = False,
    italic: bool = False,
    anchor: str = "start",
) -> str:
    style = (' font-weight="600"' if bold else "") + (' font-style="italic"' if italic else "")
    if anchor != "start":
        style += f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{style}>{escape(text)}</text>'


def _short(name: str) -> str:
    return {PRISM: "prism-cli", AIMOCK: "aimock", STDY: "stdy", RUN: "run -- true"}.get(name, name)


def _color(name: str) -> str:
    if name == SERVER:
        return OWN
    if name.startswith(SERVER):
        return OWN_VARIANT
    return STATEFUL if name in (IDIOMATIC, AIMOCK, LOOP) else STATELESS
