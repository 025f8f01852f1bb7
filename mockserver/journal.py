"""The journal: recorded requests and responses, bounded and without secrets.

An entry is the JSON that readers are shown, made once, and a few private facts for filters and the verdict. Up to
`UNWRITTEN` entries are made together: that takes half as long, and nobody has read them yet. The entries of all worlds share two bounds, their number and their bytes; the oldest
are dropped first.

All methods must be called in the thread of the event loop. Records and entries may be read in any thread.
"""

import asyncio
import hashlib
import json
import re
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import orjson
from pydantic_core import to_json

from mockserver.clock import Clock
from mockserver.events import KINDS, Events
from mockserver.redaction import MAX_BODY, Headers, Sent, as_json, redacted_headers, redacted_query

UNWRITTEN = 64
"""Exchanges that have ended and whose entries are not yet made. A reader has them made first."""
_OVERHEAD = 280
"""Bytes that a record takes beside its JSON and its route."""
MAX_MESSAGE = 500
"""Characters of an error's message that an entry repeats outside of its response."""
_WORD = re.compile(r"\w+")
_ID_NAMES = {"versions": "version"}
"""What the id behind a name in a path is called, where it isn't the name's singular with `_id`."""
_CONTENTS = {"DownloadFile", "RetrieveContainerFileContent"}
_COMPLETE, _ABORTED = b"false}", b"true}"
"""How the JSON of an entry ends, by its last member, `aborted`."""


# Entries

Record = tuple[Any, ...]
"""An entry as it is kept: the fields of `Entry` in a plain tuple, which the garbage collector stops tracking."""


class Finished(NamedTuple):
    """An exchange that has ended. The fields without a description are described in `Entry`."""

    request_id: str
    operation: str | None
    method: str
    path: bytes
    """As sent, like `query`."""
    query: bytes
    route: str
    clock: Clock
    """Of the world."""
    wall: float
    """When it began, by the machine's clock."""
    duration: float
    """In seconds."""
    status: int | None
    request_headers: Headers
    sent: Sent
    response_headers: Headers
    response: bytes | int | None
    """The body, its size, or None."""
    objects: Sequence[tuple[str, str]] = ()
    """Changes with ids."""
    fault: str | None = None
    answer: str | None = None
    warnings: Sequence[str] = ()
    """Codes."""
    container: str | None = None
    """A name."""
    made_up: bool = False
    page: tuple[bool, str | None, str | None] | None = None
    cited: Sequence[tuple[str, str]] = ()
    aborted: bool = False


@dataclass(eq=False)
class Entry:
    """A recorded exchange. `json` is what readers are shown; the other fields are private facts."""

    number: int
    json: bytes
    operation: str | None
    method: str
    status: int | None
    route: str
    """The path as the API reference writes it: without world and version."""
    identity: int | None
    """Of the request's body: see `Sent`."""
    made_up: bool
    """Whether a fault made up the response."""
    rate: float
    """Of the world's clock."""
    warnings: tuple[str, ...]
    """Codes of the headers `x-mock-warning`."""
    page: tuple[bool, str | None, str | None] | None
    """For a list: `has_more`, `first_id`, `last_id`."""
    digests: tuple[str, ...]
    """For an error in place of content: the SHA-256 of its body, and of its body without a newline at the end."""
    cited: tuple[tuple[str, str], ...] = ()
    """The containers and files that a response's text links to."""

    @cached_property
    def shown(self) -> dict[str, Any]:
        return dict(json.loads(self.json))  # takes numbers of any size, and any depth that was recorded

    @property
    def brief(self) -> bytes:
        """The JSON without `request` and `response`. Only bodies can contain the same keys, and they lie between."""
        return self.json[: self.json.index(b',"request":')] + self.json[self.json.rindex(b',"fault":') :]

    @property
    def aborted(self) -> bool:
        return self.json.endswith(_ABORTED)

    @property
    def failed(self) -> bool:
        """Whether the client received an error, no response, or a part of one."""
        return self.status is None or self.status >= 400 or self.aborted

    @cached_property
    def wall(self) -> float:
        """When the exchange began, in seconds by the machine's clock."""
        return float(self.shown["wall"])

    @cached_property
    def ended(self) -> float:
        """When the exchange ended, by the machine's clock."""
        return self.wall + float(self.shown["duration_ms"]) / 1000

    @property
    def ended_at(self) -> float:
        """When the exchange ended, by the world's clock if nobody changed it."""
        return float(self.shown["at"]) + (self.ended - self.wall) * self.rate

    @cached_property
    def objects(self) -> list[tuple[str, str]]:
        """What was `created`, `changed` or `deleted`, with its id."""
        return [(each["change"], each["id"]) for each in self.shown["objects"]]

    @cached_property
    def ids(self) -> dict[str, str]:
        """The ids in the path, by the names of the API reference: `container_id`, `file_id`, `upload_id`."""
        parts = self.route.split("/") if self.operation else []
        pairs = zip(parts[1::2], parts[2::2], strict=False)
        return {_ID_NAMES.get(name, f"{name.removesuffix('s')}_id"): id for name, id in pairs}

    def has(self, text: str) -> bool:
        """Whether the path, query, headers, bodies, objects or ids contain the text, in any case."""
        text, raw = text.lower(), self.json.decode().lower()
        if "\\" not in raw and not all(word in raw for word in _WORD.findall(text)):
            return False  # to parse the JSON of all entries would take ten times as long
        shown = self.shown
        pieces = [f"{self.method} {shown['path']}?{shown['query']}", self.operation or "", shown["fault"] or ""]
        pieces += [shown["request_id"], *(id for _, id in self.objects)]
        for message in (shown["request"], shown["response"]):
            pieces += [f"{name}: {value}" for name, value in message["headers"].items()]
            if isinstance(body := message.get("body"), str):
                pieces.append(body)
            elif body is not None:  # with and without spaces, whichever the client sent
                pieces += [to_json(body, inf_nan_mode="strings").decode(), json.dumps(body, ensure_ascii=False)]
        return text in "\n".join(pieces).lower()


@dataclass(frozen=True, slots=True)
class Filter:
    """Matches the entries that meet all conditions. `statuses` are ranges that include both ends."""

    operations: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    statuses: tuple[tuple[int, int], ...] = ()
    warnings: frozenset[str] = frozenset()
    failed: bool = False
    text: str = ""

    @property
    def matches_all(self) -> bool:
        return self == _EVERYTHING

    def __call__(self, entry: Entry) -> bool:
        return (
            (not self.operations or entry.operation in self.operations)
            and (not self.methods or entry.method in self.methods)
            and (not self.statuses or any(low <= (entry.status or 0) <= high for low, high in self.statuses))
            and (not self.warnings or not self.warnings.isdisjoint(entry.warnings))
            and (not self.failed or entry.failed)
            and (not self.text or entry.has(self.text))
        )


_EVERYTHING = Filter()


# Where they are kept


@dataclass(slots=True, eq=False)
class WorldJournal:
    """One world's records, oldest first. `ended` is set when the world's state is gone: it takes no more records."""

    world: str
    records: deque[Record] = field(default_factory=deque)
    last: int = 0
    """The newest number. Numbers have no gaps."""
    cleared: int = 0
    """The newest number when the journal was last cleared."""
    stale: int = 0
    """How many of its oldest places in the order of all records belong to records that were cleared."""
    ended: bool = False


class Journal:
    """Holds at most `entries` entries, of at most `size` bytes together."""

    def __init__(self, entries: int, size: int, events: Events) -> None:
        self._entries = entries
        self._size = size
        self._events = events
        self._count = 0
        self._bytes = 0
        self._worlds: dict[str, WorldJournal] = {}
        self._unwritten: list[tuple[WorldJournal, int, Finished]] = []
        self._order: deque[WorldJournal] = deque()
        """The journal of each record, oldest first, over all worlds."""
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.closing = asyncio.Event()

    def open(self, world: str) -> WorldJournal:
        """Return the journal of a world, whose state must exist."""
        if log := self._worlds.get(world):
            return log
        log = self._worlds[world] = WorldJournal(world)
        self._events.publish(world, *KINDS)
        return log

    def record(self, log: WorldJournal, exchange: Finished) -> int:
        """Record an exchange, and return its number, or 0 if the world's state is gone."""
        if log.ended:
            return 0
        log.last += 1
        self._unwritten.append((log, log.last, exchange))
        if len(self._unwritten) >= UNWRITTEN:
            self._write()
        if log.world in self._waiting:
            self._wake(log.world)
        if self._events.subscribers:
            self._events.publish(log.world, *_changes(exchange.operation, bool(exchange.objects), exchange.fault))
        return log.last

    def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for log, number, exchange in unwritten:
            record = _record(number, log.world, exchange)
            log.records.append(record)
            self._order.append(log)
            self._count += 1
            self._bytes += _cost(record)
        while self._count > self._entries or self._bytes > self._size:
            self._drop_oldest()

    def abort(self, log: WorldJournal, number: int) -> None:
        """Mark an exchange, already recorded, whose response did not come to its end."""
        self._write()
        place = number - log.last - 1
        if 0 < -place <= len(log.records) and not (entry := Entry(*log.records[place])).aborted:
            text = entry.json.removesuffix(_COMPLETE) + _ABORTED
            self._bytes += len(text) - len(entry.json)
            log.records[place] = (number, text, *log.records[place][2:])

    def records(self, world: str, after: int = 0, limit: int | None = None) -> list[Record]:
        """Return the records of a world whose numbers are greater than `after`, oldest first."""
        self._write()
        if (log := self._worlds.get(world)) is None:
            return []
        start = max(len(log.records) - max(log.last - after, 0), 0)
        return list(islice(log.records, start, None if limit is None else start + limit))

    def count(self, world: str) -> int:
        self._write()
        log = self._worlds.get(world)
        return len(log.records) if log else 0

    def find(self, world: str, number: int) -> Entry | None:
        found = self.records(world, number - 1, limit=1)
        return Entry(*found[0]) if found and found[0][0] == number else None

    def log(self, world: str) -> WorldJournal | None:
        return self._worlds.get(world)

    def clear(self, world: str) -> None:
        """Delete the entries of a world. Its next number stays the same."""
        if log := self._worlds.get(world):
            self._empty(log)
            self._wake(world)
        self._events.publish(world, "journal")

    def forget(self, world: str) -> None:
        """Delete the journal of a world whose state is gone. Its numbers start at 1 again."""
        if log := self._worlds.pop(world, None):
            log.ended = True
            self._empty(log)
            self._wake(world)
        self._events.publish(world, *KINDS)

    @contextmanager
    def watched(self, world: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when a world's journal changes, or when the journal closes."""
        event = asyncio.Event()
        self._waiting.setdefault(world, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[world].discard(event)
            if not self._waiting[world]:
                del self._waiting[world]

    def close(self) -> None:
        """Wake all who wait."""
        self.closing.set()
        for world in self._waiting:
            self._wake(world)

    def _drop_oldest(self) -> None:
        log = self._order.popleft()
        if log.stale:
            log.stale -= 1
            return
        self._bytes -= _cost(log.records.popleft())
        self._count -= 1

    def _empty(self, log: WorldJournal) -> None:
        self._write()
        self._count -= len(log.records)
        self._bytes -= sum(map(_cost, log.records))
        log.stale += len(log.records)
        log.cleared = log.last
        log.records.clear()
        if len(self._order) > 2 * self._count + 1_000:
            self._order = deque(self._live())

    def _live(self) -> Iterator[WorldJournal]:
        """The order without the places of records that were cleared."""
        for log in self._order:
            if log.stale:
                log.stale -= 1
            else:
                yield log

    def _wake(self, world: str) -> None:
        for event in self._waiting.get(world, ()):
            event.set()


def _record(number: int, world: str, exchange: Finished) -> Record:
    clock, operation, status, response = exchange.clock, exchange.operation, exchange.status, exchange.response
    shown = {
        "number": number,
        "request_id": exchange.request_id,
        "world": world,
        "at": clock.at(exchange.wall),
        "wall": exchange.wall,
        "operation": operation,
        "method": exchange.method,
        "path": exchange.path.decode("utf-8", "replace"),
        "query": redacted_query(exchange.query.decode("utf-8", "replace")) if exchange.query else "",
        "status": status,
        "duration_ms": round(exchange.duration * 1000, 3),
        "request": {"headers": redacted_headers(exchange.request_headers), **_request_body(exchange.sent)},
        "response": {
            "headers": redacted_headers(exchange.response_headers),
            **_response_body(response, exchange.fault),
        },
        "fault": exchange.fault,
        "answer": exchange.answer,
        "error": _error_message(response) if status and status >= 400 else None,
        "warnings": exchange.warnings,
        "container": exchange.container,
        "objects": [{"change": change, "id": id} for change, id in exchange.objects],
        "aborted": exchange.aborted,
    }
    digests: tuple[str, ...] = ()
    if operation in _CONTENTS and status and status >= 400 and isinstance(response, bytes):
        digests = tuple(hashlib.sha256(body).hexdigest() for body in (response, response.rstrip()) if body)
    text = bytes(memoryview(orjson.dumps(shown)))  # a copy: what orjson returns takes 8 KiB whatever its length
    identity, made_up, page = exchange.sent.identity, exchange.made_up, exchange.page
    method, codes = sys.intern(exchange.method), tuple(exchange.warnings)
    facts = (
        operation,
        method,
        status,
        exchange.route,
        identity,
        made_up,
        clock.rate,
        codes,
        page,
        digests,
        tuple(exchange.cited),
    )
    return number, text, *facts


def _request_body(sent: Sent) -> dict[str, Any]:
    if sent.shown is not None:
        return {"body": orjson.Fragment(sent.shown)}
    if not sent.size:
        return {}
    size = {"body_bytes": sent.size}
    return size | {"body_sha256": sent.digest} if sent.digest else size


def _response_body(response: bytes | int | None, fault: str | None) -> dict[str, Any]:
    if response is None or response == b"":
        return {}
    if isinstance(response, int) or len(response) > MAX_BODY:
        return {"body_bytes": response if isinstance(response, int) else len(response)}
    # The API's own responses are JSON with line breaks, or events; those of a fault may be anything.
    own = not fault and response.startswith(b"{")
    return {"body": orjson.Fragment(response.replace(b"\n", b"") if own else as_json(response))}


def _error_message(response: bytes | int | None) -> str | None:
    """Return the message of an error's envelope. A body that a fault sets may be anything."""
    try:
        message = orjson.loads(response)["error"]["message"] if isinstance(response, bytes) else None
    except (ValueError, TypeError, LookupError):
        return None
    return message[:MAX_MESSAGE] if isinstance(message, str) else None


def _changes(operation: str | None, changed: bool, fault: str | None) -> Iterator[str]:
    """The kinds of what an exchange changed. To use a container changes its `last_active_at`."""
    yield "journal"
    if fault:
        yield "faults"
    operation = operation or ""
    if "Response" in operation:
        yield from ("answers", "containers")
    elif "Container" in operation and operation != "ListContainers":
        yield "containers"
    elif "Upload" in operation:
        yield from ("uploads", "files")
    elif changed:
        yield "skills" if "Skill" in operation else "files"
    if changed:
        yield "worlds"


def _cost(record: Record) -> int:
    return len(record[1]) + len(record[5]) + _OVERHEAD


class Cursor:
    """A reader's position in a world's journal: behind the number `after`, or at the end for None.

    The journal keeps the backlog of a slow reader; a reader that is too slow loses the oldest entries.
    """

    def __init__(self, journal: Journal, world: str, after: int | None) -> None:
        self._journal = journal
        self._world = world
        self._log = journal.log(world)
        self._cleared = self._log.cleared if self._log else 0
        last = self._log.last if self._log else 0
        self.after = last if after is None else after

    def read(self, limit: int) -> tuple[bool, int, list[Entry]]:
        """Return whether the journal was cleared since, how many entries were lost unread, and the next entries."""
        log = self._journal.log(self._world)
        cleared = self._log is not None and log is not self._log
        if cleared or (log and self.after > log.last):
            cleared, self.after, self._cleared = True, 0, 0
        self._log = log
        if log is None:
            return cleared, 0, []
        cleared = cleared or log.cleared > self._cleared or 0 < self.after < log.cleared
        self._cleared = log.cleared
        self.after = max(self.after, log.cleared)
        entries = [Entry(*record) for record in self._journal.records(self._world, self.after, limit)]
        lost = (entries[0].number if entries else log.last + 1) - self.after - 1
        self.after += lost + len(entries)
        return cleared, lost, entries
