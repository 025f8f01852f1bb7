"""The journal: what was asked and answered, bounded and redacted.

An exchange is noted as it was, and kept a little later: without what is secret, and packed into one
object, which no collection of garbage goes over and which costs the memory that it says. Packing many
in a row takes half the time of packing each at once. What readers see is made when one reads. The
entries of all worlds share two bounds, their number and their bytes; the oldest go first.

All methods are for the thread of the event loop, but `Entries`, once had, may be read in any.
"""

import asyncio
import hashlib
import marshal
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from pydantic_core import from_json, to_json

from mockserver.bounds import MAX_PARAMETERS
from mockserver.clock import Clock
from mockserver.events import KINDS, News

Headers = Sequence[tuple[bytes, bytes]]

MAX_BODY = 16 * 1024
"""Bytes of a body that are kept; of a larger one only its size, and the hash of a request's."""
MAX_NAME = 1_024
"""Characters of a file's name that are kept."""
AT_ONCE = 64
"""So many exchanges are packed in a row, unless someone reads before."""
HIDDEN = "…"
"""Stands where a secret stood."""
_HIDDEN = HIDDEN.encode()

_OVERHEAD = 100
"""Bytes that an entry takes beside those that it is packed in."""
_HASHED_INLINE = 1 << 20
_SECRET_NAME = re.compile(
    r"auth|cookie|token|secret|passw|credential|(?:api|subscription|access|private)[-_]?key|^key$", re.IGNORECASE
)
_SUSPICIOUS = re.compile(rb'auth|cookie|token|secret|passw|credential|key|"value"|\\', re.IGNORECASE)
"""What a body or query has in it wherever one of the names above, or `value`, is in it; `\\` may spell one."""


# What was sent


Shown = bytes | dict[str, Any] | None
"""A request's body as it is kept; None where only the size is."""


class Sent(NamedTuple):
    """A request's body. `identity` tells bodies apart."""

    shown: Shown
    size: int
    identity: int
    digest: str | None = None


NOTHING_SENT = Sent(None, 0, 0)


async def body_sent(body: bytes | bytearray) -> Sent:
    """A body that was read whole. Never blocks for long: what is large is hashed in a thread."""
    size = len(body)
    if size > MAX_BODY:
        hashed = hashlib.sha256(body) if size <= _HASHED_INLINE else await asyncio.to_thread(hashlib.sha256, body)
        told = b"\\" not in body and b"domain_secrets" not in body  # the hash of a short secret is the secret
        return Sent(None, size, hash(hashed.digest()), hashed.hexdigest() if told else None)
    body = bytes(body)
    return Sent(_redacted_body(body), size, hash(body))


def form_sent(fields: Mapping[str, str], filename: str | None, size: int, digest: str) -> Sent:
    """A form, its file described: `digest` is the blob's, and empty where the file didn't come to its end."""
    left = MAX_BODY
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        left -= len(name) + len(value)
        if left < 0:
            shown[HIDDEN] = f"{len(fields) - len(shown)} fields more"
            break
        shown[name] = HIDDEN if _SECRET_NAME.search(name) else _redacted_text(value)
    if filename is not None:
        shown["file"] = {"filename": filename[:MAX_NAME], "bytes": size, "sha256": digest or None}
    return Sent(shown, size, hash((*sorted(fields.items()), filename, size, digest)))


def _redacted_body(body: bytes) -> bytes | None:
    """The body without secrets; None where it can't be told what they are, because it is not JSON."""
    suspicious = _SUSPICIOUS.search(body)
    try:
        value = from_json(body) if suspicious or not body.isascii() else None
        if suspicious:
            return to_json(_redacted(value))
    except (ValueError, RecursionError):  # the latter by JSON inside of JSON
        return None
    return None if b"\0" in body else body  # it may be UTF-16


def _redacted(value: Any, name: str = "") -> Any:
    """Secrets are told by their names. Of a list of domain secrets the domains and names stay."""
    if _SECRET_NAME.search(name):
        secrets = value if name == "domain_secrets" and isinstance(value, list) else None
        return HIDDEN if secrets is None else [_redacted_secret(each) for each in secrets]
    if isinstance(value, dict):
        return {key: HIDDEN if key.lower() == "value" else _redacted(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return _redacted_text(value) if isinstance(value, str) else value


def _redacted_secret(secret: Any) -> Any:
    if not isinstance(secret, dict):
        return HIDDEN
    known = {"domain": secret.get("domain"), "name": secret.get("name")}
    shown = {key: each for key, each in known.items() if isinstance(each, str)}
    return shown | {key if key == "value" else HIDDEN: HIDDEN for key in secret.keys() - shown.keys()}


def _redacted_text(text: str) -> str:
    """JSON inside of a text, as sent by clients that encode twice."""
    if not any(mark in text for mark in '{":='):
        return text
    try:
        inner = from_json(text)
    except ValueError:
        return HIDDEN if _SECRET_NAME.search(text) or "\\u" in text else text
    return to_json(_redacted(inner)).decode() if isinstance(inner, dict | list | str) else text


@lru_cache(1_024)
def _is_secret(header: bytes) -> bool:
    return _SECRET_NAME.search(header.decode("latin-1")) is not None


def _kept_headers(headers: Headers) -> bytes:
    """Names and values by turns, a line each, without secrets."""
    return b"\n".join(
        [line for name, value in headers for line in (name, _HIDDEN if len(name) > 100 or _is_secret(name) else value)]
    )


def _kept_query(query: str) -> str:
    """Without secrets."""
    if not query or ("%" not in query and not _SUSPICIOUS.search(query.encode())):
        return query
    first = query.split("&", MAX_PARAMETERS)
    if len(first) > MAX_PARAMETERS:
        first[-1] = HIDDEN
    parts = [(part, *part.partition("=")) for part in first]
    return "&".join(
        f"{name}={HIDDEN}" if value and _SECRET_NAME.search(unquote_plus(name)) else part
        for part, name, _, value in parts
    )


# Entries


class Noted(NamedTuple):
    """An exchange as it was. The fields are described where they are kept, in `Entry`."""

    request_id: str
    world: str
    operation: str | None
    method: str
    path: bytes
    route: str
    query: bytes
    clock: Clock
    wall: float
    duration: float
    status: int | None
    request_headers: Headers
    response_headers: Headers
    sent: Sent
    answer: bytes | int | None
    touched: Sequence[tuple[str, str]]
    fault: str | None
    made_up: bool
    page: tuple[bool, str | None, str | None] | None
    aborted: bool


def _packed(noted: Noted) -> bytes:
    """All fields of an `Entry` but the last."""
    shown, size, identity, digest = noted.sent
    return marshal.dumps(
        (
            noted.request_id,
            noted.world,
            noted.operation,
            noted.method,
            noted.path.decode("utf-8", "replace"),
            noted.route,
            _kept_query(noted.query.decode("utf-8", "replace")),
            noted.clock.at(noted.wall),
            noted.clock.rate,
            noted.wall,
            noted.duration,
            noted.status,
            _kept_headers(noted.request_headers),
            b"\n".join(chain.from_iterable(noted.response_headers)),
            shown,
            size,
            identity,
            digest,
            noted.answer,
            tuple(noted.touched),
            noted.fault,
            noted.made_up,
            noted.page,
            noted.aborted,
        )
    )


class Entry(NamedTuple):
    """An exchange that is kept."""

    request_id: str
    world: str
    operation: str | None
    method: str
    path: str
    route: str
    """The path as the API reference writes it: without world and version."""
    query: str
    at: float
    """When it began, by the world's clock as it was then; `wall` by the machine's."""
    rate: float
    """Of the world's clock."""
    wall: float
    duration: float
    status: int | None
    request_headers: bytes
    """Names and values by turns, a line each."""
    response_headers: bytes
    body: Shown
    body_size: int
    body_identity: int
    body_digest: str | None
    answer: bytes | int | None
    """The body of the answer, or its size; None where there was none."""
    touched: tuple[tuple[str, str], ...]
    fault: str | None
    """The id of the rule that fired; `made_up` says whether that made up the answer."""
    made_up: bool
    page: tuple[bool, str | None, str | None] | None
    """What the answer of a list says of more: `has_more`, `first_id`, `last_id`."""
    aborted: bool
    number: int = 0

    @property
    def ids(self) -> dict[str, str]:
        """What stands in the path, by the reference's names: `container_id`, `file_id`."""
        parts = self.route.split("/") if self.operation else []
        names = {2: "container_id", 4: "file_id"} if parts[1:2] == ["containers"] else {2: "file_id"}
        return {name: parts[place] for place, name in names.items() if place < len(parts)}

    @property
    def ended(self) -> float:
        """By the machine's clock."""
        return self.wall + self.duration

    @property
    def ended_at(self) -> float:
        """By the world's clock, if that was left alone."""
        return self.at + self.duration * self.rate

    def header(self, name: str) -> str | None:
        """Of the request, the first of that name."""
        return _first(self.request_headers, name)

    def answer_header(self, name: str) -> str | None:
        return _first(self.response_headers, name)

    def request(self) -> Any:
        """The request's body as far as it is kept: JSON as its value, else text."""
        return _parsed(self.body) if isinstance(self.body, bytes) else self.body

    def response(self) -> Any:
        return _parsed(self.answer) if isinstance(self.answer, bytes) else None

    def shown(self, brief: bool = False) -> dict[str, Any]:
        """As readers see it; in brief without headers and bodies, which cost the most to show."""
        shown = {
            "number": self.number,
            "request_id": self.request_id,
            "world": self.world,
            "at": self.at,
            "wall": self.wall,
            "operation": self.operation,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
            "duration_ms": round(self.duration * 1000, 3),
        }
        if not brief:
            shown["request"] = {"headers": _shown_headers(self.request_headers)} | self._request_body()
            shown["response"] = {"headers": _shown_headers(self.response_headers)} | self._response_body()
        return shown | {
            "fault": self.fault,
            "objects": [{"change": change, "id": id} for change, id in self.touched],
            "aborted": self.aborted,
        }

    def _request_body(self) -> dict[str, Any]:
        if not self.body and not self.body_size:
            return {}
        if self.body is not None:
            return {"body": self.request()}
        size = {"body_bytes": self.body_size}
        return size | {"body_sha256": self.body_digest} if self.body_digest else size

    def _response_body(self) -> dict[str, Any]:
        if self.answer is None or self.answer == b"":
            return {}
        return {"body_bytes": self.answer} if isinstance(self.answer, int) else {"body": self.response()}

    def has(self, text: str) -> bool:
        """Whether the text is in it, in any case: in its path, query, headers, bodies, objects or ids."""
        pieces = [
            f"{self.method} {self.path}?{self.query}\n{self.operation}\n{self.request_id}\n{self.fault}".encode(),
            *(f"{name}: {value}".encode() for name, value in _lines(self.request_headers)),
            *(f"{name}: {value}".encode() for name, value in _lines(self.response_headers)),
            *(id.encode() for _, id in self.touched),
        ]
        for body in (self.body, self.answer):
            if isinstance(body, dict):
                pieces.append(to_json(body))
            elif isinstance(body, bytes):
                pieces.append(to_json(_parsed(body)) if b"\\" in body else body)
        return text.lower().encode() in b"\n".join(pieces).decode("utf-8", "replace").lower().encode()


def _lines(headers: bytes) -> Iterator[tuple[str, str]]:
    lines = iter(headers.split(b"\n") if headers else ())
    for name, value in zip(lines, lines, strict=True):
        yield name.decode("latin-1").lower(), HIDDEN if _is_secret(name) else _text(value)


def _first(headers: bytes, wanted: str) -> str | None:
    return next((value for name, value in _lines(headers) if name == wanted), None)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _shown_headers(headers: bytes) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, value in _lines(headers):
        shown[name] = f"{shown[name]}, {value}" if name in shown else value
    return shown


def _parsed(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError:
        return body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries a reader asks for: those of which all holds. `statuses` are ranges, ends included."""

    operations: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    statuses: tuple[tuple[int, int], ...] = ()
    text: str = ""

    @property
    def all(self) -> bool:
        return not (self.operations or self.methods or self.statuses or self.text)

    def __call__(self, entry: Entry) -> bool:
        return (
            (not self.operations or entry.operation in self.operations)
            and (not self.methods or entry.method in self.methods)
            and (not self.statuses or any(low <= (entry.status or 0) <= high for low, high in self.statuses))
            and (not self.text or entry.has(self.text))
        )


# Where they are kept


@dataclass(slots=True, eq=False)
class Log:
    """One world's entries, packed, oldest first. `ended` once the world's state has: nothing more is taken."""

    entries: deque[bytes] = field(default_factory=deque)
    last: int = 0
    """The newest number given; those before it were given to the entries before it."""
    cleared: int = 0
    """The newest number when it was last cleared."""
    stale: int = 0
    """How many of the first places that it has in the order of all entries are of entries that were cleared."""
    ended: bool = False


class Entries(Sequence[Entry]):
    """Some entries that follow each other, of which the first has the number `first`. Unpacks what is asked for."""

    def __init__(self, first: int, packed: list[bytes]) -> None:
        self.first = first
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self._packed))
            return Entries(self.first + start, self._packed[start:stop])
        return _unpacked(self._packed[place], self.first + place % len(self._packed))


def _unpacked(packed: bytes, number: int) -> Entry:
    fields = marshal.loads(packed)  # noqa: S302  # packed here, and by nobody else
    return Entry._make((*fields, number))


def _changes(noted: Noted) -> Iterator[str]:
    """Kinds of what an exchange changed. To use a container is to change when it was last active."""
    yield "journal"
    if noted.fault:
        yield "faults"
    if noted.operation and "Container" in noted.operation and noted.operation != "ListContainers":
        yield "containers"
    elif noted.touched:
        yield "files"
    if noted.touched:
        yield "worlds"


class Journal:
    """Holds at most `entries` entries, of at most `size` bytes together."""

    def __init__(self, entries: int, size: int, news: News) -> None:
        self._entries = entries
        self._size = size
        self._followed = news
        self._count = 0
        self._bytes = 0
        self._noted: list[tuple[Log, Noted]] = []
        self._logs: dict[str, Log] = {}
        self._order: deque[Log] = deque()
        """The log of each entry, oldest first, over all worlds."""
        self._news: dict[str, set[asyncio.Event]] = {}
        self.closing = asyncio.Event()

    def open(self, world: str) -> Log:
        """Where an exchange in that world will be recorded; its state must be there."""
        if log := self._logs.get(world):
            return log
        log = self._logs[world] = Log()
        self._followed.tell(world, *KINDS)
        return log

    def record(self, log: Log, noted: Noted) -> int:
        """Take an exchange that is complete; returns its number. Not if its world's state has ended: 0."""
        if log.ended:
            return 0
        log.last += 1
        self._noted.append((log, noted))
        if len(self._noted) >= AT_ONCE:
            self._keep()
        if noted.world in self._news:
            self._tell(noted.world)
        if self._followed.followers:
            self._followed.tell(noted.world, *_changes(noted))
        return log.last

    def abort(self, log: Log, number: int) -> None:
        """An exchange that was recorded came to no good end after all."""
        self._keep()
        place = number - log.last - 1
        if 0 < -place <= len(log.entries):
            aborted = _unpacked(log.entries[place], number)._replace(aborted=True)
            log.entries[place] = marshal.dumps(tuple(aborted)[:-1])

    def entries(self, world: str, after: int = 0, limit: int | None = None) -> Entries:
        """What there is of a world, oldest first, from behind that number on."""
        self._keep()
        log = self._logs.get(world)
        if log is None:
            return Entries(1, [])
        count = min(max(log.last - after, 0), len(log.entries))
        start = len(log.entries) - count
        stop = len(log.entries) if limit is None else min(start + limit, len(log.entries))
        return Entries(log.last - count + 1, list(islice(log.entries, start, stop)))

    def count(self, world: str) -> int:
        self._keep()
        log = self._logs.get(world)
        return len(log.entries) if log else 0

    def find(self, world: str, number: int) -> Entry | None:
        found = self.entries(world, number - 1, limit=1)
        return found[0] if found and found[0].number == number else None

    def log(self, world: str) -> Log | None:
        return self._logs.get(world)

    def clear(self, world: str) -> None:
        """Forget the entries; the numbers go on."""
        self._keep()
        if log := self._logs.get(world):
            self._empty(log)
            self._tell(world)
        self._followed.tell(world, "journal")

    def forget(self, world: str) -> None:
        """A world's state ended, and with it what is remembered of it. Its numbers start anew."""
        self._keep()
        if log := self._logs.pop(world, None):
            log.ended = True
            self._empty(log)
            self._tell(world)
        self._followed.tell(world, *KINDS)

    @contextmanager
    def listening(self, world: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something changes in a world's journal, or the journal closes."""
        event = asyncio.Event()
        self._news.setdefault(world, set()).add(event)
        try:
            yield event
        finally:
            self._news[world].discard(event)
            if not self._news[world]:
                del self._news[world]

    def close(self) -> None:
        """Let go of everybody who waits."""
        self.closing.set()
        for world in self._news:
            self._tell(world)

    def _keep(self) -> None:
        for log, noted in self._noted:
            packed = _packed(noted)
            log.entries.append(packed)
            self._order.append(log)
            self._count += 1
            self._bytes += len(packed) + _OVERHEAD
        self._noted.clear()
        while self._count > self._entries or self._bytes > self._size:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        log = self._order.popleft()
        if log.stale:
            log.stale -= 1
            return
        self._bytes -= len(log.entries.popleft()) + _OVERHEAD
        self._count -= 1

    def _empty(self, log: Log) -> None:
        self._count -= len(log.entries)
        self._bytes -= sum(map(len, log.entries)) + _OVERHEAD * len(log.entries)
        log.stale += len(log.entries)
        log.cleared = log.last
        log.entries.clear()
        if len(self._order) > 2 * self._count + 1_000:
            self._order = deque(self._live())

    def _live(self) -> Iterator[Log]:
        """The order without the places of entries that were cleared."""
        for log in self._order:
            if log.stale:
                log.stale -= 1
            else:
                yield log

    def _tell(self, world: str) -> None:
        for event in self._news.get(world, ()):
            event.set()


class Place:
    """Where a reader of a world's journal has come to: behind the number `after`, or None for the end.

    The journal itself is what a slow reader's backlog is kept in; a reader that is too slow finds the oldest gone.
    """

    def __init__(self, journal: Journal, world: str, after: int | None) -> None:
        self._journal = journal
        self._world = world
        self._log = journal.log(world)
        self._cleared = self._log.cleared if self._log else 0
        last = self._log.last if self._log else 0
        self.after = last if after is None else after

    def read(self, limit: int) -> tuple[bool, int, Entries]:
        """Go on: whether the journal was cleared since, how many are gone unread, and the next ones."""
        log = self._journal.log(self._world)
        cleared = self._log is not None and log is not self._log
        if cleared or (log and self.after > log.last):
            cleared, self.after, self._cleared = True, 0, 0
        self._log = log
        if log is None:
            return cleared, 0, Entries(1, [])
        cleared = cleared or log.cleared > self._cleared or 0 < self.after < log.cleared
        self._cleared = log.cleared
        self.after = max(self.after, log.cleared)
        entries = self._journal.entries(self._world, self.after, limit)
        gone = (entries.first if entries else log.last + 1) - self.after - 1
        self.after += gone + len(entries)
        return cleared, gone, entries
