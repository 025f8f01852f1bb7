"""What commands print for people: a formatter for each response of the control plane."""

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mockserver.choices import some
from mockserver.clock import Wall, calendar
from mockserver.control import models
from mockserver.testing.journal import notes

# Lines


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Yield columns under headings, with numbers aligned right. A terminal's width cuts the last column."""
    cells = [[plain(cell) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    numeric = [all(row[at].lstrip("-").replace(".", "", 1).isdigit() for row in cells) for at in range(len(headings))]
    cells.insert(0, list(headings))
    widths = [max(width(row[at]) for row in cells) for at in range(len(headings))]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in cells:
        padded = [
            " " * (size - width(cell)) + cell if right else cell + " " * (size - width(cell))
            for cell, size, right in zip(row, widths, numeric, strict=True)
        ]
        yield cut("  ".join(padded).rstrip(), room)


def plain(value: object) -> str:
    """Return text for one line of a terminal, with control characters escaped. None is empty."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def width(text: str) -> int:
    """Return the number of columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def cut(text: str, room: int | None) -> str:
    if room is None or width(text) <= room:
        return text
    while text and width(text) > room - 1:
        text = text[:-1]
    return text + "…"


def pairs(rows: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Yield a line for each name and value, without empty values."""
    filled = [(name, plain(value)) for name, value in rows if value not in (None, "", [])]
    size = max((len(name) for name, _ in filled), default=0)
    return (f"{name:{size}}  {value}" for name, value in filled)


# Values


def instant(seconds: float | None) -> str:
    """`2026-06-24 18:04:00Z`"""
    if seconds is None:
        return ""
    date = calendar(seconds)
    return date.strftime("%Y-%m-%d %H:%M:%SZ") if date else f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """`45s`, `19m 20s`, `3h 5m`, `12d 4h`"""
    whole = int(seconds)
    sizes = [("d", whole // 86400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60)]
    first = next((at for at, (_, count) in enumerate(sizes) if count), 3)
    return " ".join(f"{count}{unit}" for unit, count in sizes[first : first + 2] if count or unit == sizes[first][0])


def ago(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(max(Wall().now() - seconds, 0))} ago"


def time(clock: models.ClockState) -> str:
    """`frozen 2026-06-24 18:04:00Z`"""
    rate = f" x{clock['rate']:g}" if clock["mode"] == "scaled" else ""
    return f"{clock['mode']}{rate} {instant(clock['now'])}"


def words(values: Mapping[str, Any]) -> str:
    """`error=rate_limited retry_after=2`"""
    given = {name: value for name, value in values.items() if value is not None and value != {}}
    return " ".join(name if value is True else f"{name}={_word(value)}" for name, value in given.items())


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# Responses

NO_WORLDS = "There are no worlds yet. The first request to a world creates it."


def worlds(response: models.WorldList) -> Iterator[str]:
    rows = [
        (
            each["name"],
            *((c["files"], c["containers"], c["container_files"]) if (c := each["counts"]) else (None, None, None)),
            each["faults"],
            len(each["snapshots"]),
            ago(each["used_at"]),
            time(each["clock"]) if each["clock"] else f"can't be used: {each['error']}",
        )
        for each in response["data"]
    ]
    headings = ["WORLD", "FILES", "CONTAINERS", "IN THEM", "FAULTS", "SNAPSHOTS", "USED", "CLOCK"]
    return table(headings, rows, NO_WORLDS)


def world(url: str, state: models.WorldState) -> Iterator[str]:
    counts, clock = state["counts"], state["clock"]
    return pairs(
        [
            ("world", state["name"]),
            ("base URL", url + state["base_url"]),
            ("API key", state["api_key"]),
            ("error", state["error"]),
            *(_counted(counts) if counts else ()),
            ("clock", clock and time(clock)),
            ("used", ago(state["used_at"]) or "not yet"),
            ("profile", state["profile_name"]),
            ("faults", state["faults"]),
            ("snapshots", ", ".join(state["snapshots"])),
        ]
    )


def _counted(counts: models.Counts) -> Iterator[tuple[str, object]]:
    yield "Files", counts["files"]
    yield "containers", f"{counts['containers']} ({_number(counts['container_files'], 'file')})"
    yield "uploads", f"{counts['uploads']} ({_number(counts['upload_parts'], 'part')})"
    yield "skills", f"{counts['skills']} ({_number(counts['skill_versions'], 'version')})"
    yield "responses", counts["responses"]
    yield "answers", counts["answers"]


def _number(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def deleted(response: models.Names) -> Iterator[str]:
    yield "deleted: " + (some(response["worlds"]) or "none")


def clock(response: Mapping[str, Any]) -> Iterator[str]:
    """Format a ClockState, or a ClockChange with the ids of the objects that changed."""
    changes = [
        (f"{change} {kind}", some(response.get(f"{change}_{key}", [])))
        for change in ("expired", "revived")
        for key, kind in (("containers", "containers"), ("files", "Files"), ("uploads", "uploads"))
    ]
    return pairs([("clock", time(response)), *changes])  # type: ignore[arg-type]  # both have these keys


def items_of(response: Any) -> list[Any]:
    """Return the objects of a list, or an object alone as a list."""
    found: list[Any] = response.get("data", [response])
    return found


def snapshots(response: models.SnapshotList | models.SnapshotState) -> Iterator[str]:
    rows = [(each["name"], each["world"], instant(each["instant"])) for each in items_of(response)]
    return table(["SNAPSHOT", "WORLD", "WORLD'S TIME"], rows, "There are no snapshots.")


def restored(response: models.Restored) -> Iterator[str]:
    return pairs([("world", response["world"]), ("snapshot", response["snapshot"]), ("clock", time(response["clock"]))])


def faults(response: models.RuleList | models.Rule) -> Iterator[str]:
    rows = [
        (
            rule["id"],
            rule["matched"],
            rule["fired"],
            words(
                {name: rule.get(name) for name in ("times", "skip", "probability", "concurrent", "lapse_after")}
                | {"lapsed": rule.get("lapsed") or None, "off": not rule.get("enabled", True) or None}
            )
            or "always",
            words(rule.get("match", {})) or "every request",
            words(rule["effect"]),
        )
        for rule in items_of(response)
    ]
    return table(["FAULT", "MATCHED", "FIRED", "HOW OFTEN", "WHERE", "WHAT"], rows, "There are no faults.")


def exchanges(page: models.JournalPage, newest: bool = False) -> Iterator[str]:
    found = page["data"]
    headings = ["NUMBER", "TIME", "STATUS", "MS", "REQUEST", ""]
    yield from table(headings, map(_exchange_row, found), "There are no exchanges.")
    if page["has_more"]:
        yield (
            f"Older ones with: --before {found[0]['number']}" if newest else f"More with: --after {found[-1]['number']}"
        )


def exchange_line(exchange: models.Exchange) -> str:
    return "  ".join(map(plain, _exchange_row(exchange))).rstrip()


def _exchange_row(exchange: models.Exchange) -> tuple[object, ...]:
    changes = [f"{each['change']} {each['id']}" for each in exchange["objects"]]
    return (
        exchange["number"],
        instant(exchange["at"]),
        exchange["status"] or "-",
        f"{exchange['duration_ms']:.1f}",
        _request(exchange),
        ", ".join([*notes(exchange), *changes]),
    )


def _request(exchange: models.Exchange) -> str:
    query = f"?{exchange['query']}" if exchange["query"] else ""
    return f"{exchange['method']} {exchange['path']}{query}"


def exchange(found: models.Exchange) -> Iterator[str]:
    yield from pairs(
        [
            ("number", found["number"]),
            ("operation", found["operation"]),
            ("world", f"{found['world']} {instant(found['at'])}"),
            ("took", f"{found['duration_ms']:.1f} ms"),
            ("request id", found["request_id"]),
            ("fault", found["fault"]),
            ("answer", found["answer"]),
            ("aborted", "yes" if found["aborted"] else ""),
            *((each["change"], each["id"]) for each in found["objects"]),
        ]
    )
    yield from _message(_request(found), found["request"])
    yield from _message(str(found["status"] or "no response"), found["response"])


def _message(first: str, message: models.Message) -> Iterator[str]:
    yield from ("", plain(first))
    yield from (plain(f"{name}: {value}") for name, value in message.get("headers", {}).items())
    if "body" in message:
        body = message["body"]
        text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
        yield from ("", *map(plain, text.splitlines()))
    elif "body_bytes" in message:
        digest = f", SHA-256 {message['body_sha256']}" if message.get("body_sha256") else ""
        yield from ("", f"({message['body_bytes']} bytes{digest})")


def verdicts(response: Mapping[str, Any]) -> Iterator[str]:
    """Format the verdicts of all worlds: each finding, then the worlds without one."""
    found: Mapping[str, models.Verdict] = response["worlds"]
    for name, each in found.items():
        if not each["ok"]:
            yield from verdict(name, each)
    if clean := [name for name, each in found.items() if each["ok"]]:
        yield f"world{'s' if len(clean) > 1 else ''} {some(clean)}: nothing found"
    if not found:
        yield NO_WORLDS


def verdict(world: str, response: models.Verdict) -> Iterator[str]:
    findings = response["findings"]
    yield f"world {world}: " + (f"{len(findings)} found" if findings else "nothing found")
    for each in findings:
        proof = some([f"#{number}" for number in each["exchanges"]])
        yield plain(f"  {each['name']}: {each['message']}" + (f" [{proof}]" if proof else ""))
