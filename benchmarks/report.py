"""What a run is told as: tables, a picture, and the part of the manual that carries both."""

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
from benchmarks.contests import AIMOCK, CONTESTS, FASTAPI, IDIOMATIC, LOOP, PRISM, RUN, SERVER, STDY, Goal, Told, series
from mockserver.clock import Wall

Results = Mapping[str, Told]
"""By the names of contests."""

PAGE = ROOT / "docs" / "internals" / "benchmarks.md"
PICTURE = Path(__file__).with_name("figures.svg")
BEGIN, END = "<!-- figures: `python -m benchmarks --record` writes them -->", "<!-- end of the figures -->"
COLUMNS = (SERVER, FASTAPI, IDIOMATIC, STDY, PRISM, AIMOCK)


def machine() -> dict[str, str]:
    """What the figures depend on."""
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
    """MB that a digest takes in a second of processor time."""
    piece, took = os.urandom(16 << 20), []
    for _ in range(5):
        started = time.process_time()
        hashlib.new(digest, piece)
        took.append(time.process_time() - started)
    return len(piece) / min(took) / 1e6


# Tables


def goals(results: Results) -> str:
    lines = [
        "| what | compared with | median (range) | by processor time | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for contest in CONTESTS:
        for goal in contest.goals if contest.name in results else ():
            lines.append("| " + " | ".join(_judged(goal, results[contest.name])) + " |")
    return "\n".join(lines)


def _judged(goal: Goal, told: Told) -> list[str]:
    bound = f"{'≥' if goal.at_least else '≤'} {figure(goal.bound)} {goal.unit}"
    values = goal.measured(told)
    if not values:
        why = next((each for each in told.values() if isinstance(each, str)), "not measured")
        return [goal.what, goal.against, why, "", bound, "–"]
    cpu = goal.by_cpu(told) if goal.by_cpu else []
    return [
        goal.what,
        goal.against,
        f"{figure(statistics.median(values))} {goal.unit}{_range(values)}",
        f"{figure(statistics.median(cpu))} ×" if cpu else "",
        bound,
        "yes" if goal.met(values) else "**no**",
    ]


def candidates(results: Results) -> str:
    """Everyone side by side, a row for each contest."""
    lines = ["| | " + " | ".join(COLUMNS) + " | others |", "|---" * (len(COLUMNS) + 2) + "|"]
    for contest in CONTESTS:
        if told := results.get(contest.name):
            others = (f"{name}: {_cell(each)}" for name, each in told.items() if name not in COLUMNS)
            cells = [_cell(told[name]) if name in told else "" for name in COLUMNS]
            lines.append(f"| {contest.title} | " + " | ".join([*cells, "; ".join(others)]) + " |")
    return "\n".join(lines)


def _cell(measured: Sequence[Mapping[str, float]] | str) -> str:
    if isinstance(measured, str):
        return f"*{measured}*"
    middle = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
    parts = []
    if "rate" in middle:
        parts.append(f"**{figure(middle['rate'])}** {'MB/s' if 'growth' in middle else '/s'}")
    if "seconds" in middle:
        parts.append(f"**{middle['seconds']:.2f}** s")
    if "p50" in middle:
        parts.append(f"{figure(middle['p50'])}, {figure(middle['p99'])} ms")
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
    return f"{figure(micros)} µs" if micros < 10_000 else f"{figure(micros / 1e6)} s"


def figure(number: float) -> str:
    """With as many digits as mean something."""
    size = abs(number)
    return f"{number:,.0f}" if size >= 100 else f"{number:.1f}" if size >= 10 else f"{number:.2f}"


def _range(values: Sequence[float]) -> str:
    return f" ({figure(min(values))}–{figure(max(values))})" if len(values) > 1 else ""


# The manual


def told(results: Results, about: Mapping[str, str], rounds: int) -> str:
    node = f", Node {about['node']}" if about["node"] else ""
    busy = "" if float(about["load"]) < 1 else " Others were using the machine: rely on the ratios by processor time."
    return f"""\
{about["date"]}, {about["cores"]} cores of {about["cpu"]}, {about["kernel"]}, load {about["load"]} before the run; Python {about["python"]}, SQLite {about["sqlite"]}, FastAPI {about["fastapi"]}, SQLModel {about["sqlmodel"]}, uvicorn {about["uvicorn"]}{node}. SHA-256 alone {about["sha256"]} MB/s, BLAKE2b {about["blake2b"]} MB/s. Medians of {rounds} rounds.{busy}

![Throughput, latency, memory and start of all candidates](../../benchmarks/figures.svg)

{goals(results)}

<details>
<summary>All candidates, side by side</summary>

{candidates(results)}

In a cell, as far as it was measured: throughput · latency, median and 99th percentile · processor time of a request, transfer or start · most memory beyond what it had before · memory. In italics why there is no figure, as a rule what the candidate answered.

</details>"""


def record(results: Results, about: Mapping[str, str], rounds: int, page: Path = PAGE) -> None:
    """Replace what stands between the page's two markers."""
    text = page.read_text()
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise SystemExit(f"{page} has no {BEGIN} followed by {END}")
    page.write_text(f"{before}{BEGIN}\n{told(results, about, rounds)}\n{END}{after}")


# The picture

WIDTH, MARGIN, GAP, BAR, TOP = 1080, 28, 36, 19, 92
OWN, OWN_TOO, STATEFUL, STATELESS = "#0f766e", "#5eaaa2", "#d99a4e", "#c3ccd8"
LEGEND = ((OWN, "mockserver"), (STATEFUL, "keeps what it is given"), (STATELESS, "gives everyone the same answer"))
PANELS: tuple[tuple[str, str, str, str], ...] = (
    ("get", "GET a container", "rate", "requests a second"),
    ("post", "POST a container", "rate", "requests a second"),
    ("list", "List 20 of 1,000,000 containers", "rate", "requests a second"),
    ("upload-small", "Upload 1 KiB", "rate", "requests a second"),
    ("get-file", "GET a File", "rate", "requests a second"),
    ("get", "GET a container, 99th percentile", "p99", "ms; less is better"),
    ("upload", "Upload 200 MiB to /files", "rate", "MB/s"),
    ("upload-container", "Upload 200 MiB to a container", "rate", "MB/s"),
    ("download", "Download 200 MiB", "rate", "MB/s"),
    ("upload", "Memory that an upload of 200 MiB adds", "growth", "MiB; less is better"),
    ("start", "Process start to first answer", "seconds", "seconds; less is better"),
    ("start", "Memory after the first answer", "resident", "MB; less is better"),
)


def picture(results: Results, about: Mapping[str, str]) -> str:
    """Small charts, three in a row; whiskers from least to most, and a tick where the goal is."""
    across = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
    drawn, top = [], float(TOP)
    shown = [panel for panel in PANELS if panel[0] in results]
    for at in range(0, len(shown), 3):
        row = shown[at : at + 3]
        for column, panel in enumerate(row):
            drawn.append(_panel(panel, results[panel[0]], MARGIN + column * (across + GAP), top, across))
        top += 46 + BAR * max(len(_bars(results[name], key)) for name, _, key, _ in row) + 22
    height = round(top)
    caption = (
        f"{about['cores']} cores of {about['cpu']}, Python {about['python']}, {about['date']}; 16 connections; "
        "bars are medians, whiskers go from least to most"
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="-apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif">
<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>
{_text(MARGIN, 34, "mockserver beside what one would use instead", 19, bold=True)}
{_text(MARGIN, 53, caption, 11.5, "#64748b")}
{_legend()}
{"".join(drawn)}</svg>
"""


def _legend() -> str:
    drawn, left = [], float(MARGIN)
    for colour, words in LEGEND:
        drawn.append(f'<rect x="{left:.0f}" y="63" width="18" height="11" rx="2" fill="{colour}"/>')
        drawn.append(_text(left + 24, 73, words, 11, "#475569"))
        left += 24 + 6.4 * len(words) + 18
    drawn.append(_tick(left + 6, 63, 11))
    drawn.append(_text(left + 14, 73, "goal", 11, "#475569"))
    return "\n".join(drawn)


def _bars(told: Told, key: str) -> list[tuple[str, list[float] | str]]:
    """The contestants that have such a figure, and those that can't do what is asked."""
    bars: list[tuple[str, list[float] | str]] = []
    for name, measured in told.items():
        if isinstance(measured, str):
            bars.append((name, measured))
        elif key in measured[0]:
            bars.append((name, series(told, name, key)))
    return bars


def _panel(panel: tuple[str, str, str, str], told: Told, left: float, top: float, across: float) -> str:
    contest, title, key, unit = panel
    bars = _bars(told, key)
    start, room = left + 116, across - 116 - 52
    goal = _goal(contest, told, key)
    most = max((max(each) for _, each in bars if not isinstance(each, str)), default=0.0)
    most = max(most, goal or 0.0) or 1.0
    lines = [
        _text(left, top + 18, title, 13.5, bold=True),
        _text(left, top + 33, unit, 11, "#94a3b8"),
    ]
    for at, (name, measured) in enumerate(bars):
        y, own = top + 42 + at * BAR, name == SERVER
        ink = "#0f172a" if own else "#475569"
        lines.append(_text(start - 8, y + 12, _short(name), 11, ink, bold=own, anchor="end"))
        if isinstance(measured, str):
            lines.append(_text(start + 2, y + 12, measured[:34], 10.5, "#94a3b8", italic=True))
            continue
        middle = max(0.0, statistics.median(measured))
        least, largest = (start + room * max(0.0, edge) / most for edge in (min(measured), max(measured)))
        length = max(1.5, room * middle / most)
        lines.append(
            f'<rect x="{start:.1f}" y="{y + 2:.1f}" width="{length:.1f}" height="{BAR - 6}" rx="2" fill="{_colour(name)}"/>'
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
        lines.append(_text(after + 6, y + 12, figure(middle), 11, ink, bold=own))
    return "\n".join(lines) + "\n"


def _goal(contest: str, told: Told, key: str) -> float | None:
    """Where the hardest of the goals lies that are multiples of another's figure."""
    bounds = []
    for goal in next(each.goals for each in CONTESTS if each.name == contest):
        if goal.mark and goal.mark[1] == key and (values := series(told, *goal.mark)):
            bounds.append((goal.bound * statistics.median(values), goal.at_least))
    if not bounds:
        return None
    return max(bound for bound, _ in bounds) if bounds[0][1] else min(bound for bound, _ in bounds)


def _tick(x: float, y: float, height: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}v{height:.1f}" stroke="#be123c" stroke-width="2" stroke-dasharray="3 1.5"/>'


def _text(
    x: float,
    y: float,
    words: str,
    size: float,
    ink: str = "#0f172a",
    *,
    bold: bool = False,
    italic: bool = False,
    anchor: str = "start",
) -> str:
    style = (' font-weight="600"' if bold else "") + (' font-style="italic"' if italic else "")
    if anchor != "start":
        style += f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{ink}"{style}>{escape(words)}</text>'


def _short(name: str) -> str:
    return {PRISM: "prism-cli", AIMOCK: "aimock", STDY: "stdy", RUN: "run -- true"}.get(name, name)


def _colour(name: str) -> str:
    if name == SERVER:
        return OWN
    if name.startswith(SERVER):
        return OWN_TOO
    return STATEFUL if name in (IDIOMATIC, AIMOCK, LOOP) else STATELESS
