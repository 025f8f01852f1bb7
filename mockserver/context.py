"""A world as calls see it, and one call in it."""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

from mockserver import errors, ids, profiles
from mockserver.clock import Clock, Wall, stopwatch
from mockserver.faults import Rule
from mockserver.profiles import Profile, Warned
from mockserver.schema.lists import Page
from mockserver.storage import tables
from mockserver.storage.bulk import NEW_ID, set_ordinal
from mockserver.storage.contents import Contents
from mockserver.storage.database import (
    BUSY_SECONDS,
    Blocked,
    Busy,
    Database,
    Insertion,
    Statement,
    Transaction,
    failure,
    in_thread,
    writing,
)
from mockserver.storage.migrations import Unusable
from mockserver.storage.pagination import L, Listing

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=tables.Table)

_FREE_ID = re.compile(ids.FREE)
set_clock = Statement("UPDATE world SET clock_virtual = :virtual, clock_wall = :wall, clock_rate = :rate")
LARGE = 64 * 1024
"""Bytes of a body, or characters that a rule works on, for which a thread costs little beside the work."""
DROP_COSTS = 400
"""Characters that are worked on in the time that it takes to drop a content."""
RESERVED = 64
"""Ordinals that are reserved at once."""


@dataclass(slots=True, eq=False)
class World:
    """The present state of a world. A reset, restored or imported world is another one of the same name."""

    name: str
    directory: Path
    database: Database
    contents: Contents
    wall: Wall
    clock: Clock
    id_seed: bytes
    profile: Profile
    background: Callable[[Coroutine[Any, Any, None]], None]
    """Goes on with some work after the call."""
    ordinal: int
    """The last one that was handed out, for ids and for `seq`. It changes in write transactions alone."""
    reserved: int
    """The one that the row has: after a crash, the next ordinal comes behind it. So most transactions don't write it."""
    faults: tuple[Rule, ...] = ()
    completing: set[str] = field(default_factory=set)
    """Uploads whose parts are being put together."""
    waiting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of the long calls that wait for another thread to write, one tries again."""
    ended: bool = False
    """Whether it was deleted, or another state took its place."""

    def now(self) -> int:
        """Whole seconds since the epoch, by the world's own clock."""
        return self.clock.seconds(self.wall.now())

    def instant(self) -> float:
        """The same with its fraction."""
        return self.clock.at(self.wall.now())

    def take(self, tx: Transaction, count: int = 1) -> int:
        """Return the first of `count` new ordinals, in a write transaction."""
        self.ordinal += count
        if self.ordinal > self.reserved:
            self.reserved = self.ordinal + RESERVED
            set_ordinal.run(tx, ordinal=self.reserved)
        return self.ordinal - count + 1

    def store_ordinal(self) -> None:
        """Give back the ordinals that are reserved and were not used, before the database is closed. Where that fails,
        there is a gap."""
        if self.reserved > self.ordinal and self.database.is_open:
            with attempt(), writing(self.database.connection) as tx:
                self.reserved = 0  # before another thread can take an ordinal
                set_ordinal.run(tx, ordinal=self.ordinal)

    def open(self, tx: Transaction, digest: str) -> BinaryIO:
        """A content for reading. Raises FileNotFoundError, and APIError where the bytes are damaged."""
        try:
            return self.contents.open(tx, digest)
        except Unusable as error:
            raise unusable(self.name, self.database.path, error) from error

    def tidy(self) -> None:
        """Remove the files that no row names, in the background. While the world is copied, the end of that does it."""
        if self.contents.loose and not self.ended:
            self.background(self._tidy())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remove no file of a content within the block. For the thread of the event loop."""
        try:
            with self.contents.held():
                yield
        finally:
            self.tidy()

    async def _tidy(self) -> None:
        """Where it fails, the next time removes them."""
        contents = self.contents
        while contents.loose and not self.ended:
            with contents.removing() as dropped:
                await in_thread(self._remove, dropped)

    def _remove(self, digests: set[str]) -> None:
        """Until a copy of the world begins. Other writes get their turn in between."""
        with closing(self.database.connect()) as connection:
            while digests and not self.contents.copiers:
                digest = next(iter(digests))
                with writing(connection) as tx:
                    self.contents.remove(tx, digest)
                digests.discard(digest)


@contextmanager
def attempt() -> Iterator[None]:
    """Ignore that a thread is writing, or that the machine fails."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, Busy) and failure(error) is None:
            raise


def unusable(name: str, file: Path, error: Exception) -> Exception:
    """Return an APIError if the error says that the world's file is damaged or of another version, else the error."""
    problem = Unusable.of(error, file)
    return errors.WORLD_UNUSABLE(name=name, file=file, problem=problem) if problem else error


class Large(Exception):
    """A rule is too long for the event loop; nothing was done yet, so it can be called again in a thread."""


@dataclass(slots=True)
class Context:
    """One call: its world, the warnings of its response, and the objects that it created, changed or deleted.

    Rules take it as their first argument. It looks up its world each time, as the world may have been reset or restored
    while a body was read.
    """

    entered: World
    current: Callable[[World], World]
    warnings: list[Warned] = field(default_factory=list)
    touched: list[tuple[str, str]] = field(default_factory=list)
    """`created`, `changed` or `deleted`, and an id."""
    request_id: str = ""
    answer: str | None = None
    """The id of the script that was used."""
    cited: list[tuple[str, str]] = field(default_factory=list)
    """The containers and files that a response's text links to."""
    container: str | None = None
    """The name of the container that it is about."""
    stale_since: int | None = None
    """Set by a fault: lists still show objects that were deleted after this instant."""
    large: bool = False
    """Whether the rule can take long, as that of a large body."""
    connection: Transaction | None = None
    """That of the thread in which it runs."""

    async def run(self, work: Callable[Concatenate["Context", P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a rule on the event loop: SQLite takes tens of microseconds, a thread costs more. Wait while a thread
        writes to the same world. The rule of a `large` call runs in a thread."""
        if self.large:
            return await self.run_in_thread(work, *args, **kwargs)
        deadline = 0.0
        while True:
            try:
                return work(self, *args, **kwargs)
            except Large:
                self.large = True
                return await self.run_in_thread(work, *args, **kwargs)
            except Busy:
                deadline = deadline or stopwatch() + BUSY_SECONDS
                if stopwatch() > deadline:
                    raise Blocked from None
                await asyncio.sleep(0.001)
            except sqlite3.DatabaseError as error:
                raise unusable(self.entered.name, self.entered.database.path, error) from error

    async def run_in_thread(self, work: Callable[Concatenate["Context", P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run` for a rule that takes long: in a thread, on a connection of its own. While another thread writes to the
        same world, it waits without a thread, which other worlds may need."""
        with suppress(Busy):
            return await self._in_thread(work, *args, **kwargs)
        deadline = stopwatch() + BUSY_SECONDS
        async with self.world.waiting:
            while True:
                try:
                    return await self._in_thread(work, *args, **kwargs)
                except Busy:
                    if stopwatch() > deadline:
                        raise Blocked from None
                    await asyncio.sleep(0.01)

    async def _in_thread(self, work: Callable[Concatenate["Context", P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """No other state takes the place of the world's meanwhile. Raises Busy before anything was done."""
        world = self.entered = self.world

        def run() -> T:
            with closing(world.database.connect()) as self.connection:
                self.connection.execute("PRAGMA busy_timeout=0")  # opening it waits, if a thread closes another one
                return work(self, *args, **kwargs)

        try:
            with world.held():
                try:
                    return await in_thread(run)
                finally:
                    self.connection = None
                    with attempt():  # opened again: a list may have kept counts that are old now
                        _ = world.database.connection
        except sqlite3.DatabaseError as error:
            raise unusable(world.name, world.database.path, error) from error

    def expect(self, size: int) -> None:
        """Say how many characters a rule is going to work on, before it changes anything but in its transaction."""
        if size > LARGE and self.connection is None:
            raise Large

    @property
    def world(self) -> World:
        """The world as it is now. Raises APIError if it was deleted."""
        world = self.entered
        return self.current(world) if world.ended else world

    @property
    def read(self) -> Transaction:
        """A connection for reading. Each statement sees one state."""
        return self.connection or self.world.database.connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A write transaction; inside another one, a part of it. It must contain no `await` and no long work.

        If it fails, the objects that the call touched in it are forgotten. Raises Busy before anything was done.
        """
        world, before = self.world, len(self.touched)
        try:
            connection = self.connection or world.database.connection
            inner = connection.in_transaction
            with writing(connection) as tx:
                ordinal = world.ordinal
                try:
                    yield tx
                except BaseException:
                    world.reserved = 0  # before the row has an older one again, and another thread takes an ordinal
                    if tx.in_transaction and not inner:  # else other writes can have taken some
                        world.ordinal = ordinal
                    raise
        except BaseException:
            del self.touched[before:]
            world.reserved = 0  # it was not committed
            if world.contents.end(failed=True):
                world.tidy()
            raise
        if not tx.in_transaction and world.contents.end(failed=False):
            world.tidy()

    def advance(self, tx: Transaction, seconds: float) -> Clock:
        """Move the world's time forward in a transaction. Returns the clock, to be the world's when that is committed."""
        clock = self.world.clock.advanced(self.world.wall.now(), seconds)
        set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
        return clock

    def insert(self, tx: Transaction, insertion: Insertion[R], id: str | None = None, **columns: Any) -> R:
        """Insert an object with the next ordinal, and with the id that follows from it unless one is given. Ordinals
        whose id an object of a seed or an import has are skipped."""
        world, new_id = self.world, NEW_ID[insertion.row]
        while True:
            ordinal = world.take(tx)
            row = insertion.new(**columns, id=id or new_id(world.id_seed, ordinal, **columns), seq=ordinal)  # type: ignore[call-arg]  # R is of a list
            if insertion.add(tx, row):
                return row

    def page(
        self, listing: Listing[L], query: Page, values: Mapping[str, object], **filters: str | None
    ) -> tuple[list[L], bool]:
        """`Listing.page` of this world: a profile or a fault can have objects listed that were deleted lately."""
        since, lag = self.stale_since, self.world.profile.delete_lag
        if lag:
            since = self.world.now() - lag if since is None else min(self.world.now() - lag, since)
        return listing.page(self.read, query, values, since, self.allows, **filters)

    def delete(self, tx: Transaction, listing: Listing[L], **this: str) -> None:
        world = self.world
        listing.delete(tx, world.take(tx), world.now(), **this)

    def allows(self, oddity: Warned) -> bool:
        """Return whether the world's profile allows it; then the response has a warning."""
        if not getattr(self.world.profile, oddity.switch):
            return False
        self.warn(oddity)
        return True

    def creates_missing(self, id: str) -> bool:
        """Return whether an object is created for an unknown id."""
        return bool(_FREE_ID.fullmatch(id)) and self.allows(profiles.ANY_ID)

    def missing(self, param: str, id: str, prefix: str, error: errors.APIError) -> errors.APIError:
        """Return the error for an unknown id in a path: by default `error`."""
        if self.world.profile.id_prefixes and not id.startswith(prefix):
            return errors.WRONG_ID(param=param, value=id, prefix=prefix)
        return error

    def warn(self, warning: Warned) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def touch(self, how: str, id: str) -> None:
        self.touched.append((how, id))
