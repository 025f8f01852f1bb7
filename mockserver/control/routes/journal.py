"""The journal of a world: read it, wait for entries, follow it; and its verdict."""

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, starmap
from typing import Annotated, get_args

import orjson
from fastapi import Header, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from mockserver import answers, containers, control_errors, uploads, verdict
from mockserver.choices import unknown
from mockserver.clock import stopwatch
from mockserver.context import World
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.models import Count, Exchange, Finding, JournalPage, Verdict
from mockserver.control.streams import COUNTED, EVENTS, Emit, Stream, client_disconnect, event_or_keep_alive
from mockserver.entries import Entry, Filter, Record
from mockserver.expiry import expired
from mockserver.journal import Cursor
from mockserver.mock import Mock
from mockserver.profiles import WARNINGS
from mockserver.recorded import created
from mockserver.schema.faults import OPERATIONS, Method, is_like
from mockserver.schema.values import Duration
from mockserver.storage.database import Transaction
from mockserver.worlds import check_name

router = new_router("/worlds/{world}", "Journal", ["journal"])

MAX_WAIT = 600.0
MAX_PATTERNS = 1_000
"""Characters of a list of patterns."""
AT_ONCE = 100
"""Entries that a reader who follows the journal takes at a time."""

_STATUS = re.compile(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", re.IGNORECASE | re.ASCII)

Several = Annotated[str, Field(max_length=MAX_PATTERNS)]


def _names(kind: str, known: Collection[str]) -> AfterValidator:
    def check(patterns: str) -> str:
        for pattern in _parts(patterns):
            if not _matching(pattern, known):
                raise ValueError(unknown(kind, pattern, known))
        return patterns

    return AfterValidator(check)


def _methods(methods: str) -> str:
    for method in _parts(methods):
        if method.upper() not in get_args(Method):
            raise ValueError(unknown("method", method, get_args(Method)))
    return methods


def _statuses(statuses: str) -> str:
    for status in _parts(statuses):
        if not _STATUS.fullmatch(status):
            raise ValueError(f"{status[:80]!r} is not a status; write 404, 4xx or 400-409")
        least, most = _range(status)
        if least > most:
            raise ValueError(f"{status!r} contains no status; write {most}-{least}")
    return statuses


class Filtered(RequestModel):
    operation: Annotated[Several, _names("operation", OPERATIONS)] = Field(
        "", description="Operation ids or patterns, separated by commas."
    )
    method: Annotated[Several, AfterValidator(_methods)] = Field("", description="Methods, separated by commas.")
    status: Annotated[Several, AfterValidator(_statuses)] = Field(
        "", description="`404`, `4xx`, `400-409`, separated by commas."
    )
    warning: Annotated[Several, _names("warning", WARNINGS)] = Field(
        "", description="Codes of `x-mock-warning` or patterns, separated by commas."
    )
    failed: bool = Field(False, description="Only errors, responses that were not completed, and requests without one.")
    text: str = Field(
        "", max_length=1_000, description="A part of the path, the query, a header, a body or an id, in any case."
    )
    after: int | None = Field(None, ge=0, le=1 << 53, description="Only exchanges with greater numbers.")

    def filter(self) -> Filter:
        return Filter(
            _all_matching(self.operation, OPERATIONS),
            frozenset(method.upper() for method in _parts(self.method)),
            tuple(_range(status) for status in _parts(self.status)),
            _all_matching(self.warning, WARNINGS),
            self.failed,
            self.text,
        )


class Paged(Filtered):
    limit: int = Field(1_000, ge=1, le=10_000)
    last: int | None = Field(None, ge=1, le=10_000, description="Return this many of the newest, in place of `limit`.")
    before: int | None = Field(None, ge=1, le=1 << 53, description="Only exchanges with smaller numbers.")
    brief: bool = Field(False, description="Without headers and bodies.")
    counted: bool = Field(True, description="Whether to return `total`, for which the whole journal is read.")


class Waited(Filtered):
    count: int = Field(1, ge=1, description="Wait until this many match.")
    timeout: Duration = Field(10.0, ge=0, le=MAX_WAIT, description="In real time, at most ten minutes.")
    limit: int = Field(1_000, ge=1, le=10_000)


@router.get("/journal", responses={200: {"model": JournalPage}})
async def list_exchanges(mock: TheMock, world: str, query: Annotated[Paged, Query()]) -> Response:
    """List exchanges, oldest first; `after` a page's last number comes the next page, `last` returns the newest."""
    await mock.worlds.find(world)
    return await _page(mock, world, query)


@router.delete("/journal")
async def clear_journal(mock: TheMock, world: str) -> Count:
    """Delete the exchanges, and return how many there were. Their numbers are not used again."""
    await mock.worlds.resolve(world)
    count = mock.journal.count(world)
    mock.journal.clear(world)
    return Count(count=count)


@router.get("/journal/count")
async def count_exchanges(mock: TheMock, world: str, query: Annotated[Filtered, Query()]) -> Count:
    """Count exchanges."""
    await mock.worlds.find(world)
    entries = starmap(Entry, mock.journal.records(world, query.after or 0))
    return Count(count=await asyncio.to_thread(_count, entries, query.filter()))


@router.get("/journal/wait", dependencies=[COUNTED], responses={200: {"model": JournalPage}})
async def wait_for_exchanges(
    mock: TheMock, world: str, query: Annotated[Waited, Query()], request: Request
) -> Response:
    """Wait until `count` exchanges match, earlier ones included; return 408 after the timeout."""
    check_name(world)
    start = stopwatch()
    count = await _awaited(mock, world, query, request)
    if count < query.count and mock.journal.closing.is_set():
        raise control_errors.JOURNAL_CLOSED(waited=f"{stopwatch() - start:.1f}", count=count, wanted=query.count)
    if count < query.count:
        raise control_errors.JOURNAL_TIMEOUT(timeout=f"{query.timeout:g}", count=count, wanted=query.count)
    return await _page(mock, world, Paged(**query.model_dump(exclude={"count", "timeout"})))


@router.get("/journal/stream", **EVENTS)
async def follow_exchanges(
    mock: TheMock,
    world: str,
    query: Annotated[Filtered, Query()],
    last_event_id: Annotated[int | None, Header(ge=0, le=1 << 53)] = None,
) -> Response:
    """Send each exchange as a Server-Sent Event `exchange`, from now on or after `after` or `Last-Event-ID`."""
    check_name(world)
    after = query.after if last_event_id is None else last_event_id
    cursor, matches = Cursor(mock.journal, world, after), query.filter()

    async def feed(emit: Emit) -> None:
        with mock.events.subscribed(world) as subscriber:
            await emit(b": the exchanges of a world\n\n")
            while not mock.journal.closing.is_set():
                subscriber.take()
                for events in _events(cursor, matches):
                    await emit(events)
                await event_or_keep_alive(subscriber.changed, emit)

    return Stream(feed, mock.journal.closing)


@router.get("/journal/{number}", responses={200: {"model": Exchange}})
async def get_exchange(mock: TheMock, world: str, number: int) -> Response:
    """Get an exchange."""
    await mock.worlds.find(world)
    if entry := mock.journal.find(world, number):
        return _json(entry.json)
    raise control_errors.EXCHANGE_NOT_FOUND(world=world, number=number)


@router.get("/verdict", tags=["Verdict"])
async def get_verdict(
    mock: TheMock, world: str, ignore: Annotated[str, Query(description="Findings, separated by commas.")] = ""
) -> Verdict:
    """Check the journal for mistakes of the client; each finding has the numbers of the exchanges that prove it."""
    ignored = list(_parts(ignore))
    for name in ignored:
        if name not in verdict.FINDINGS:
            raise control_errors.BAD_PARAMETER(param="ignore", problem=unknown("finding", name, verdict.FINDINGS))
    return await judged(mock, world, ignored)


async def judged(mock: Mock, world: str, ignored: Sequence[str]) -> Verdict:
    """Check the journal of a world by the world's present state."""
    return await mock.worlds.look(world, _verdict, mock.journal.records(world), ignored)


def _verdict(tx: Transaction, world: World, records: list[Record], ignored: Sequence[str]) -> Verdict:
    entries = list(starmap(Entry, records))
    running = {id for id in created(entries) if _is_running(tx, world, id)}
    findings = [
        Finding(name=name, message=message, exchanges=exchanges)
        for name, message, exchanges in verdict.check(entries, running, ignored, answers.list_rules(tx))
    ]
    return Verdict(ok=not findings, findings=findings)


def _is_running(tx: Transaction, world: World, id: str) -> bool:
    """Return whether a container is running, or an upload pending."""
    now = world.now()
    if id.startswith("upload"):
        upload = uploads.find(tx, id)
        return upload is not None and uploads.shown(upload, now)["status"] == "pending"
    container = containers.find(tx, id, now)
    return container is not None and not expired(container, now)


# Filters and pages


def _parts(text: str) -> Iterable[str]:
    return filter(None, (part.strip() for part in text.split(",")))


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if is_like(name, pattern)]


def _all_matching(patterns: str, names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for pattern in _parts(patterns) for name in _matching(pattern, names))


def _range(status: str) -> tuple[int, int]:
    match = _STATUS.fullmatch(status)
    assert match, "it was checked"
    if match[1]:
        return int(match[1]) * 100, int(match[1]) * 100 + 99
    return int(match[2]), int(match[3] or match[2])


def _count(entries: Iterable[Entry], matches: Filter) -> int:
    return sum(map(matches, entries))


async def _page(mock: Mock, world: str, query: Paged) -> Response:
    return await asyncio.to_thread(_rendered, mock.journal.records(world), query)


def _rendered(records: Sequence[Record], query: Paged) -> Response:
    """Render a page. Runs in a thread: to filter thousands of entries takes a while."""
    matches, size = query.filter(), query.last or query.limit
    total: int | None = len(records)
    if not matches.matches_all:
        total = _count(starmap(Entry, records), matches) if query.counted else None
    first = records[0][0] if records else 1
    start = max((query.after or 0) - first + 1, 0)
    stop = len(records) if query.before is None else max(min(query.before - first, len(records)), start)
    places = range(start, stop)
    matching = (
        entry for place in (reversed(places) if query.last else places) if matches(entry := Entry(*records[place]))
    )
    page = list(islice(matching, size + 1))
    more = len(page) > size
    page = page[:size][::-1] if query.last else page[:size]
    data = b",".join([entry.brief if query.brief else entry.json for entry in page])
    return _json(b'{"data":[%b],"has_more":%b,"total":%b}' % (data, orjson.dumps(more), orjson.dumps(total)))


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


# Waiting and following


async def _awaited(mock: Mock, world: str, query: Waited, request: Request) -> int:
    """Count the matches until they are enough, the time is over, the client leaves, or the server stops."""
    after, matches, until, count = query.after or 0, query.filter(), stopwatch() + query.timeout, 0
    cursor = Cursor(mock.journal, world, after)
    left = asyncio.create_task(client_disconnect(request.scope, request.receive))
    try:
        with mock.events.subscribed(world) as subscriber:
            while True:
                subscriber.take()
                cleared, _, entries = cursor.read(AT_ONCE)
                later = (entry for entry in entries if entry.number > after)  # it reads all where there are none yet
                new = await asyncio.to_thread(_count, later, matches) if query.text else _count(later, matches)
                count = (0 if cleared else count) + new
                rest = until - stopwatch()
                if count >= query.count or left.done() or mock.journal.closing.is_set():
                    return count
                if len(entries) == AT_ONCE:
                    await asyncio.sleep(0)
                elif rest <= 0:
                    return count
                else:
                    change = asyncio.create_task(subscriber.changed.wait())
                    await asyncio.wait([change, left], timeout=rest, return_when=asyncio.FIRST_COMPLETED)
                    change.cancel()
    finally:
        left.cancel()


def _events(cursor: Cursor, matches: Filter) -> Iterator[bytes]:
    """Yield events for all entries that there are by now, many at a time."""
    entries: list[Entry] | None = None
    while entries is None or len(entries) == AT_ONCE:
        cleared, lost, entries = cursor.read(AT_ONCE)
        events = [b"event: cleared\ndata: {}\n\n"] if cleared else []
        if lost:
            events.append(b'event: dropped\ndata: {"dropped": %d}\n\n' % lost)
        events += [
            b"id: %d\nevent: exchange\ndata: %b\n\n" % (entry.number, entry.json) for entry in entries if matches(entry)
        ]
        if events:
            yield b"".join(events)
