"""SQLite: a file for each world, statements as SQL text, named tuples for rows.

The tables are SQLModel classes, from which the schema and the columns of rows come. A statement is executed as text
on a connection that is kept: a quarter of what SQLAlchemy Core's execution costs, a twentieth of a Session's.

Writes are durable against a killed process (WAL, `synchronous=NORMAL`), not against a power failure.
"""

import asyncio
import functools
import os
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Generic, ParamSpec, cast

from sqlalchemy import Table
from typing_extensions import TypeVar

from mockserver.storage import tables

SQLITE_VERSION = sqlite3.sqlite_version
BUSY_SECONDS = 30.0
"""How long a write waits for another one to the same world before it fails."""
CACHED_STATEMENTS = 256
"""Prepared statements that a connection keeps."""

SMALL_DATABASE = 1 << 20
"""Bytes: a database that is no larger is copied and counted on the event loop, in less than a millisecond."""

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=tables.Table, default=tables.Table)
Transaction = sqlite3.Connection


class Busy(Exception):
    """Another connection writes to the same world, or is being closed; nothing was done yet, so the work can be
    repeated."""


class Blocked(Exception):
    """Another connection has been writing for so long that the work was given up."""


_SQLITE_FAILURES = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
}


FAILURES: tuple[type[Exception], ...] = (OSError, sqlite3.Error, Blocked)
"""Errors for which `failure` may return a text."""


def failure(error: BaseException) -> str | None:
    """Return what failed: the disk, its space, its permissions, the number of open files. None for other errors."""
    if isinstance(error, Blocked):
        return "a long change of this world, or another program, keeps writing to its database"
    if isinstance(error, sqlite3.Error):
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_FAILURES else None
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError):
        return (error.strerror or str(error)).lower()
    return None


# Rows and statements


def table(row: type[tables.Table]) -> Table:
    return cast(Table, row.__table__)  # type: ignore[attr-defined]  # SQLModel adds it at run time


def columns(row: type[tables.Table]) -> list[str]:
    return [column.name for column in table(row).columns]


def record(row: type[R]) -> type[R]:
    """Return a named tuple with the columns of `row`, typed as `row`.

    Rows that are read or inserted are such tuples. An instance of a SQLModel class costs thirty times as much.
    """
    return cast(type[R], _record(row))


@functools.cache  # in here, since it hides the type of what it returns
def _record(row: type[tables.Table]) -> type[Any]:
    defaults = [getattr(column.default, "arg", None) for column in table(row).columns]
    return namedtuple(row.__name__, columns(row), defaults=defaults)


class Statement(Generic[R]):
    """A statement as SQL text, with named parameters: `Statement("SELECT * FROM live_files WHERE id = :id", File)`.

    `SELECT *` means the columns of `row`, in their order; results are its `record`s. A statement whose results are not
    whole rows needs no `row`.
    """

    def __init__(self, sql: str, row: type[R] | None = None) -> None:
        self.sql = sql
        if row:
            self.sql = sql.replace("SELECT *", f"SELECT {', '.join(columns(row))}", 1)
            # As a named tuple's own `_make`, which would compare the length of each row again.
            self._make: Callable[[Iterable[Any]], R] = functools.partial(tuple.__new__, record(row))  # type: ignore[type-var]  # a tuple

    def run(self, tx: Transaction, **values: Any) -> int:
        """Execute it. Returns how many rows changed."""
        return tx.execute(self.sql, values).rowcount

    def first(self, tx: Transaction, **values: Any) -> R | None:
        found = tx.execute(self.sql, values).fetchone()
        return None if found is None else self._make(found)

    def all(self, tx: Transaction, **values: Any) -> list[R]:
        return list(map(self._make, tx.execute(self.sql, values)))

    def rows(self, tx: Transaction, **values: Any) -> Iterator[R]:
        """Return an iterator that reads one row after another."""
        return map(self._make, tx.execute(self.sql, values))

    def tuples(self, tx: Transaction, **values: Any) -> list[tuple[Any, ...]]:
        return tx.execute(self.sql, values).fetchall()

    def tuple(self, tx: Transaction, **values: Any) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = tx.execute(self.sql, values).fetchone()
        return found

    def value(self, tx: Transaction, **values: Any) -> Any:
        """Return the first column of the first row; None if there is none."""
        found = tx.execute(self.sql, values).fetchone()
        return None if found is None else found[0]


class Insertion(Generic[R]):
    """INSERT of a whole row. A row with the same key is replaced if it is of a deleted object, else kept."""

    def __init__(self, row: type[R]) -> None:
        self.row = row
        self.new = record(row)
        """Makes a row to insert."""
        names, keys = columns(row), [column.name for column in table(row).primary_key]
        values = ", ".join("?" * len(names))
        conflict = "DO NOTHING"
        if issubclass(row, tables.Listed):
            updates = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
            conflict = f"({', '.join(keys)}) DO UPDATE SET {updates} WHERE deleted_at IS NOT NULL"
        self.sql = f"INSERT INTO {table(row).name} ({', '.join(names)}) VALUES ({values}) ON CONFLICT {conflict}"

    def add(self, tx: Transaction, row: R) -> bool:
        """Insert a `record`. Returns whether it was inserted."""
        return tx.execute(self.sql, row).rowcount > 0  # type: ignore[arg-type]  # a record is a named tuple

    def add_all(self, tx: Transaction, rows: Iterable[R]) -> None:
        tx.executemany(self.sql, rows)  # type: ignore[arg-type]  # records are named tuples


# Connections


def connect(
    path: Path, wait: float = BUSY_SECONDS, create: bool = False, exclusive: bool = False
) -> sqlite3.Connection:
    """A connection without implicit transactions, which waits `wait` seconds for other writers. Raises sqlite3.Error.

    While one is open that is `exclusive`, no other process can open the file. Then the index of its log is kept in
    memory: one file less to create and to remove, and no system call for a lock.
    """
    vfs = "&vfs=unix-excl" if exclusive and os.name == "posix" else ""
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}{vfs}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS
    )
    try:
        connection.execute("PRAGMA synchronous=OFF")  # nothing waits for the disk
    except BaseException:
        connection.close()
        raise
    return connection


def connect_closed(path: Path) -> sqlite3.Connection:
    """For reading a file that nobody writes to: locks nothing, and creates no other file beside it."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )


def is_small(tx: Transaction) -> bool:
    return int(tx.execute("PRAGMA page_count").fetchone()[0]) * 4096 <= SMALL_DATABASE


def descriptors() -> int:
    """How many files this process can have open."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _as_busy(error: sqlite3.OperationalError) -> Exception:
    return Busy() if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY else error


@contextmanager
def writing(connection: Transaction) -> Iterator[Transaction]:
    """A write transaction; inside another one, a part of it. Raises Busy before anything was done."""
    if connection.in_transaction:
        yield connection
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        raise _as_busy(error) from None
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures, a full disk among them, have rolled back already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(path: Path) -> Iterator[Transaction]:
    """A connection of its own, for any thread, that sees the state of one moment whatever is written meanwhile."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN")
        yield connection


class Database:
    """The database of one world. The connection is opened when it is first needed, and can be closed at any time
    between two transactions; then it is opened again."""

    __slots__ = ("_connection", "_durable", "_exclusive", "_opening", "path")

    def __init__(
        self, path: Path, durable: bool, opening: Callable[["Database"], None] = lambda database: None
    ) -> None:
        """A database that isn't `durable` ends with the server: no write waits for the disk, and no other process has to
        read it. `opening` is called for each connection that is opened."""
        self.path = path
        self._durable = durable
        self._exclusive = not durable
        self._opening = opening
        self._connection: Transaction | None = None

    @property
    def connection(self) -> Transaction:
        """The connection for the thread of the event loop. Each statement outside a transaction sees one state. Raises
        Busy."""
        return self._connection or self._open()

    def connect(self, wait: float = BUSY_SECONDS) -> Transaction:
        """Another connection, for a thread that writes."""
        connection = connect(self.path, wait, exclusive=self._exclusive)
        if self._durable:
            connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _open(self) -> Transaction:
        try:
            connection = self.connect(wait=0)  # `run` waits, without holding up others
        except sqlite3.OperationalError as error:
            raise _as_busy(error) from None  # a thread closes another connection, which writes the log back
        try:
            connection.execute("PRAGMA cache_size=-2048")  # in KiB; the system keeps the file in memory anyway
            connection.execute("PRAGMA wal_autocheckpoint=4000")  # in pages: everyone waits for a checkpoint
            self._opening(self)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Open it, and let no write wait for the disk meanwhile."""
        durable, self._durable = self._durable, False
        try:
            yield
        finally:
            self._durable = durable
            if durable and self._connection:
                self._connection.execute("PRAGMA synchronous=NORMAL")

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def detach(self) -> Transaction | None:
        """Hand over the connection, to be closed in a thread: that writes the log back into the file."""
        connection, self._connection = self._connection, None
        return connection

    def close(self) -> None:
        if connection := self.detach():
            connection.close()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` for work that must be completed: a caller that is cancelled meanwhile gets the result first,
    and is cancelled at its next `await`."""
    done = asyncio.get_running_loop().run_in_executor(None, functools.partial(work, *args, **kwargs))
    cancelled = 0
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            cancelled += 1
    if cancelled and (task := asyncio.current_task()):
        for _ in range(cancelled):
            task.uncancel()
            task.cancel()
    return done.result()
