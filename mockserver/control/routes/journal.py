"""The journal of a world: read it, wait for it, follow it; and the verdict on it."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field, field_validator
from pydantic_core import to_json
from starlette.responses import Response

from mockserver import admin, errors, verdict
from mockserver.clock import stopwatch
from mockserver.context import World
from mockserver.control.dependencies import Asked, Duration, TheMock
from mockserver.control.streams import ADMITTED, Emit, Stream, departure, happened
from mockserver.errors import APIError
from mockserver.faults import OPERATIONS
from mockserver.journal import Entries, Entry, Journal, Place, Wanted
from mockserver.mock import Mock
from mockserver.storage.database import Transaction
from mockserver.worlds import NAME

router = APIRouter(prefix="/worlds/{world}", tags=["Journal"])

MAX_WAIT = 600.0
MAX_PATTERNS = 1_000
"""Characters of patterns that are separated by commas."""
AT_ONCE = 100
"""Exchanges that are taken from the journal in one go, for a reader who follows it."""

_STATUS = re.compile(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", re.IGNORECASE)


class Filter(Asked):
    operation: str = Field(
        "", max_length=MAX_PATTERNS, description="Operation ids or patterns of them, separated by commas."
    )
    method: str = Field("", max_length=MAX_PATTERNS, description="Methods, separated by commas.")
    status: str = Field("", max_length=MAX_PATTERNS, description="`404`, `4xx`, `400-409`, separated by commas.")
    text: str = Field("", description="A part of the path, the query, a header, a body or an id, in any case.")
    after: int | None = Field(None, ge=0, le=1 << 53, description="Only exchanges behind this number.")

    @field_validator("operation")
    @classmethod
    def _known(cls, patterns: str) -> str:
        for pattern in _parts(patterns):
            if not _operations(pattern):
                raise ValueError(f"{pattern[:80]!r} is no operation; there are {', '.join(OPERATIONS)}")
        return patterns

    @field_validator("status")
    @classmethod
    def _statuses(cls, statuses: str) -> str:
        for status in _parts(statuses):
            if not _STATUS.fullmatch(status):
                raise ValueError(f"{status[:80]!r} is no status; write 404, 4xx or 400-409")
        return statuses

    def wanted(self) -> Wanted:
        return Wanted(
            frozenset(name for pattern in _parts(self.operation) for name in _operations(pattern)),
            frozenset(method.upper() for method in _parts(self.method)),
            tuple(_range(status) for status in _parts(self.status)),
            self.text,
        )


class Paged(Filter):
    limit: int = Field(1_000, ge=1, le=10_000)
    last: int | None = Field(None, ge=1, le=10_000, description="So many of the newest, in place of `limit`.")
    before: int | None = Field(None, ge=1, le=1 << 53, description="Only exchanges in front of this number.")
    brief: bool = Field(False, description="Without headers and bodies.")
    counted: bool = Field(True, description="Whether to tell the `total`, for which all of the journal is read.")


class Waited(Filter):
    count: int = Field(1, ge=1, description="Until so many match.")
    timeout: Duration = Field(10.0, ge=0, le=MAX_WAIT, description="In real time, ten minutes at most.")
    limit: int = Field(1_000, ge=1, le=10_000)


class Message(BaseModel):
    """A body is there as its JSON value, or as text; a large one, and a download, as its size."""

    headers: dict[str, str]
    body: Any = None
    body_bytes: int | None = None
    body_sha256: str | None = None


class Change(BaseModel):
    change: Literal["created", "changed", "deleted"]
    id: str


class Exchange(BaseModel):
    number: int
    request_id: str
    world: str
    at: float = Field(description="When it began, by the world's clock, in seconds since the epoch.")
    wall: float = Field(description="The same by the machine's clock.")
    operation: str | None = Field(description="The operation's id; null where no route matched.")
    method: str
    path: str
    query: str
    status: int | None
    duration_ms: float
    request: Message | None = Field(None, description="Not there in brief.")
    response: Message | None = Field(None, description="As the request.")
    fault: str | None = Field(description="The id of the fault that fired; `header` for one that the request brought.")
    objects: list[Change]
    aborted: bool = Field(description="The answer didn't come to its end.")


class JournalPage(BaseModel):
    data: list[Exchange]
    has_more: bool = Field(description="Whether more follow, or with `last` whether older ones do.")
    total: int | None = Field(description="Of all that match, whatever the page.")


class Count(BaseModel):
    count: int


class FindingState(BaseModel):
    name: str
    message: str
    exchanges: list[int]


class VerdictState(BaseModel):
    ok: bool
    findings: list[FindingState]


@router.get("/journal", operation_id="listExchanges", responses={200: {"model": JournalPage}})
async def list_exchanges(mock: TheMock, world: str, query: Annotated[Paged, Query()]) -> Response:
    """Exchanges, oldest first; `after` the last number of a page is the next one, `last` are the newest."""
    await mock.worlds.find(world)
    return await _page(mock, world, query)


@router.delete("/journal", operation_id="clearJournal")
async def clear_journal(mock: TheMock, world: str) -> Count:
    """Forget the exchanges; numbers go on. Answers with how many there were."""
    await mock.worlds.resolve(world)
    count = len(mock.journal.entries(world))
    mock.journal.clear(world)
    return Count(count=count)


@router.get("/journal/count", operation_id="countExchanges")
async def count_exchanges(mock: TheMock, world: str, query: Annotated[Filter, Query()]) -> Count:
    """How many there are."""
    await mock.worlds.find(world)
    entries = mock.journal.entries(world, query.after or 0)
    return Count(count=len(await asyncio.to_thread(_matching, entries, query.wanted())))


@router.get(
    "/journal/wait",
    operation_id="waitForExchanges",
    dependencies=[ADMITTED],
    responses={200: {"model": JournalPage}},
)
async def wait_for_exchanges(
    mock: TheMock, world: str, query: Annotated[Waited, Query()], request: Request
) -> Response:
    """Answer when so many match, those included that were there before; with 408 when the time is over."""
    _check(world)
    count = await _awaited(mock.journal, world, query, request)
    if count < query.count:
        raise errors.JOURNAL_TIMEOUT(timeout=f"{query.timeout:g}", count=count, wanted=query.count)
    return await _page(mock, world, Paged(**query.model_dump(exclude={"count", "timeout"})))


@router.get(
    "/journal/stream",
    operation_id="followExchanges",
    response_class=Response,
    dependencies=[ADMITTED],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_exchanges(
    mock: TheMock,
    world: str,
    query: Annotated[Filter, Query()],
    last_event_id: Annotated[int | None, Header(ge=0, le=1 << 53)] = None,
) -> Response:
    """Server-Sent Events: an `exchange` for each from now on, or from behind `after` or `Last-Event-ID`."""
    _check(world)
    after = query.after if last_event_id is None else last_event_id
    place, wanted = Place(mock.journal, world, after), query.wanted()

    async def feed(emit: Emit) -> None:
        with mock.journal.listening(world) as news:
            await emit(b": the exchanges of a world\n\n")
            while not mock.journal.closing.is_set():
                news.clear()
                for event in _events(place, wanted):
                    await emit(event)
                await happened(news, emit)

    return Stream(feed, mock.journal.closing)


@router.get("/journal/{number}", operation_id="getExchange", responses={200: {"model": Exchange}})
async def get_exchange(mock: TheMock, world: str, number: int) -> Response:
    """One exchange."""
    await mock.worlds.find(world)
    if entry := mock.journal.find(world, number):
        return _json(entry.shown())
    raise errors.EXCHANGE_NOT_FOUND(world=world, number=number)


@router.get("/verdict", operation_id="getVerdict", tags=["Verdict"])
async def get_verdict(
    mock: TheMock, world: str, ignore: Annotated[str, Query(description="Findings, separated by commas.")] = ""
) -> VerdictState:
    """What the client did wrong, by the journal, with the numbers of the exchanges that prove it."""
    ignored = list(_parts(ignore))
    if unknown := next((name for name in ignored if name not in verdict.FINDINGS), None):
        problem = f"ignore: {unknown[:80]!r} is no finding; there are {', '.join(verdict.FINDINGS)}"
        raise errors.BAD_PARAMETER(param="ignore", problem=problem)
    return await mock.worlds.look(world, _judged, mock.journal.entries(world), ignored)


def _judged(tx: Transaction, world: World, entries: Entries, ignored: list[str]) -> VerdictState:
    unpacked = list(entries)
    created = verdict.created_containers(unpacked)
    running = {id for id in created if _is_running(tx, world, id)}
    findings = verdict.judge(unpacked, running, ignored)
    told = [FindingState(name=each.name, message=each.message, exchanges=each.exchanges) for each in findings]
    return VerdictState(ok=not told, findings=told)


def _is_running(tx: Transaction, world: World, container_id: str) -> bool:
    try:
        return admin.find_container(tx, world, container_id)["status"] == "running"
    except APIError:
        return False


# Filters and pages


def _parts(text: str) -> Iterable[str]:
    return filter(None, (part.strip() for part in text.split(",")))


def _operations(pattern: str) -> list[str]:
    return [name for name in OPERATIONS if fnmatchcase(name.lower(), pattern.lower())]


def _range(status: str) -> tuple[int, int]:
    match = _STATUS.fullmatch(status)
    assert match, "it was checked"
    if match[1]:
        return int(match[1]) * 100, int(match[1]) * 100 + 99
    return int(match[2]), int(match[3] or match[2])


def _matching(entries: Entries, wanted: Wanted) -> list[Entry]:
    return [entry for entry in entries if wanted(entry)]


async def _page(mock: Mock, world: str, query: Paged) -> Response:
    return await asyncio.to_thread(_rendered, mock.journal.entries(world), query)


def _rendered(entries: Entries, query: Paged) -> Response:
    """In a thread: thousands of entries take a while. Those that the page doesn't need are left packed."""
    wanted = query.wanted()
    total = len(entries) if wanted.all else len(_matching(entries, wanted)) if query.counted else None
    start = max((query.after or 0) - entries.first + 1, 0)
    stop = len(entries) if query.before is None else max(min(query.before - entries.first, len(entries)), start)
    places = range(start, stop)
    matching = (entry for place in (reversed(places) if query.last else places) if wanted(entry := entries[place]))
    size = query.last or query.limit
    page = list(islice(matching, size + 1))
    more = len(page) > size
    page = page[:size][::-1] if query.last else page[:size]
    return _json({"data": [entry.shown(query.brief) for entry in page], "has_more": more, "total": total})


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


def _check(world: str) -> None:
    """A world that one waits for need not be there yet, but its name must be one."""
    if not NAME.fullmatch(world):
        raise errors.BAD_WORLD_NAME(name=world[:80])


# Waiting and following


async def _awaited(journal: Journal, world: str, query: Waited, request: Request) -> int:
    """How many match by the time that there are enough, the time is over, the client leaves, or the server stops."""
    place, wanted, until, count = (
        Place(journal, world, query.after or 0),
        query.wanted(),
        stopwatch() + query.timeout,
        0,
    )
    left = asyncio.create_task(departure(request.scope, request.receive))
    try:
        with journal.listening(world) as news:
            while True:
                news.clear()
                cleared, _, entries = place.read(AT_ONCE)
                count = (0 if cleared else count) + len(_matching(entries, wanted))
                rest = until - stopwatch()
                if count >= query.count or left.done() or journal.closing.is_set():
                    return count
                if len(entries) == AT_ONCE:
                    await asyncio.sleep(0)
                elif rest <= 0:
                    return count
                else:
                    told = asyncio.create_task(news.wait())
                    await asyncio.wait([told, left], timeout=rest, return_when=asyncio.FIRST_COMPLETED)
                    told.cancel()
    finally:
        left.cancel()


def _events(place: Place, wanted: Wanted) -> Iterator[bytes]:
    """All that there are by now."""
    entries: Entries | None = None
    while entries is None or len(entries) == AT_ONCE:
        cleared, gone, entries = place.read(AT_ONCE)
        if cleared:
            yield b"event: cleared\ndata: {}\n\n"
        if gone:
            yield b'event: dropped\ndata: {"dropped": %d}\n\n' % gone
        for entry in entries:
            if wanted(entry):
                yield b"id: %d\nevent: exchange\ndata: %b\n\n" % (entry.number, to_json(entry.shown()))
