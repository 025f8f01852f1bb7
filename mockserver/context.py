"""A world as calls see it, and one call in it."""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Concatenate, ParamSpec, TypeVar

from mockserver import errors, ids, profiles
from mockserver.clock import Clock, Wall, stopwatch
from mockserver.faults import Rule
from mockserver.profiles import Profile, Warned
from mockserver.storage import tables
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
)
from mockserver.storage.migrations import Unusable

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=tables.Table)

_FREE_ID = re.compile(ids.FREE)
_take: Statement[tables.World] = Statement("UPDATE world SET ordinal = ordinal + :count RETURNING ordinal")


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
    faults: tuple[Rule, ...] = ()
    ended: bool = False
    """Whether it was deleted, or another state took its place."""

    def now(self) -> int:
        """Whole seconds since the epoch, by the world's own clock."""
        return self.clock.seconds(self.wall.now())

    def instant(self) -> float:
        """The same with its fraction."""
        return self.clock.at(self.wall.now())

    def open(self, tx: Transaction, digest: str) -> BinaryIO:
        """A content for reading. Raises FileNotFoundError, and APIError where the bytes are damaged."""
        try:
            return self.contents.open(tx, digest)
        except Unusable as error:
            raise unusable(self.name, self.database.path, error) from error

    def release(self) -> None:
        """Remove the files of contents that were deleted, or whose transaction failed. Left to the next time while a
        thread writes, inside a transaction, and where the machine fails: what the caller did is done."""
        try:
            if not self.database.connection.in_transaction:
                with self.database.write() as tx:
                    self.contents.release(tx)
        except Exception as error:
            if not isinstance(error, Busy) and failure(error) is None:
                raise


def unusable(name: str, file: Path, error: Exception) -> Exception:
    """An APIError where the error says that the world's file is damaged or of another version, else the error."""
    problem = Unusable.of(error, file)
    return errors.WORLD_UNUSABLE(name=name, file=file, problem=problem) if problem else error


@dataclass(slots=True)
class Context:
    """One call: its world, what its response will warn of, and what it did to which objects.

    Rules take it as their first argument. It looks its world up again each time: while a body was read, the world may
    have been reset or restored.
    """

    entered: World
    current: Callable[[World], World]
    clock: Clock = field(init=False)
    """The world's, as it was when the call began."""
    warnings: list[Warned] = field(default_factory=list)
    touched: list[tuple[str, str]] = field(default_factory=list)
    """`created`, `changed` or `deleted`, and an id."""
    container: str | None = None
    """The name of the container that it is about."""
    stale_since: int | None = None
    """By a fault: lists still show what was deleted after this instant."""

    def __post_init__(self) -> None:
        self.clock = self.entered.clock

    async def run(self, work: Callable[Concatenate["Context", P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a rule, right here: SQLite responds in tens of microseconds, a thread costs more. While a large write
        to the same world is under way in a thread, wait for it."""
        deadline = 0.0
        while True:
            try:
                return work(self, *args, **kwargs)
            except Busy:
                deadline = deadline or stopwatch() + BUSY_SECONDS
                if stopwatch() > deadline:
                    raise Blocked from None
                await asyncio.sleep(0.001)
            except sqlite3.DatabaseError as error:
                raise unusable(self.entered.name, self.entered.database.path, error) from error

    @property
    def world(self) -> World:
        """Raises APIError where it was deleted meanwhile."""
        world = self.entered
        return self.current(world) if world.ended else world

    @property
    def read(self) -> Transaction:
        """For reading by single statements, each of which sees one state."""
        return self.world.database.connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A write transaction; inside of another one, a part of that. Holds no `await` and no long work.

        Where it fails, what the call touched in it is forgotten. Raises Busy before anything was done.
        """
        world, before = self.world, len(self.touched)
        try:
            with world.database.write() as tx:
                yield tx
        except BaseException:
            del self.touched[before:]
            world.contents.rolled_back()
            if world.contents.loose:
                world.release()
            raise
        if not tx.in_transaction:
            world.contents.committed()
            if world.contents.loose:
                world.release()

    def take(self, tx: Transaction, count: int = 1) -> int:
        """The first of `count` new ordinals."""
        return int(_take.value(tx, count=count)) - count + 1

    def insert(self, tx: Transaction, insertion: Insertion[R], make: Callable[[int], R]) -> R:
        """The row that `make` makes of the next ordinal. An ordinal whose id an object of a seed or an import has is
        skipped."""
        while True:
            row = make(self.take(tx))
            if insertion.add(tx, row):
                return row

    def deleted_since(self, now: int) -> int | None:
        """Objects deleted after this instant are still listed, by the profile or a fault."""
        lag = self.world.profile.delete_lag
        if not lag:
            return self.stale_since
        return now - lag if self.stale_since is None else min(now - lag, self.stale_since)

    def allows(self, oddity: Warned) -> bool:
        """Whether the world's profile allows it; then the response warns of it."""
        if not getattr(self.world.profile, oddity.switch):
            return False
        self.warn(oddity)
        return True

    def creates_missing(self, id: str) -> bool:
        """Whether an object is to be created with an id that names nothing."""
        return bool(_FREE_ID.fullmatch(id)) and self.allows(profiles.ANY_ID)

    def missing(self, param: str, id: str, prefix: str, error: errors.APIError) -> errors.APIError:
        """The error for an id in a path that names nothing: by default the one given."""
        if self.world.profile.id_prefixes and not id.startswith(prefix):
            return errors.WRONG_ID(param=param, value=id, prefix=prefix)
        return error

    def warn(self, warning: Warned) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def touch(self, how: str, id: str) -> None:
        self.touched.append((how, id))
