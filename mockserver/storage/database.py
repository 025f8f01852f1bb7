"""SQLite: one file, one writer at a time, statements compiled once.

Tables are declared with SQLModel and statements built with SQLAlchemy Core, but at run time a
statement is its SQL text on a kept `sqlite3` connection: a third of what Core's own execution costs.

Writes are durable against a killed process (WAL, `synchronous=NORMAL`), not against a power cut.
"""

import asyncio
import errno
import functools
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast

from sqlalchemy import Executable, Select, Table
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.schema import CreateIndex, CreateTable

from mockserver import clock
from mockserver.storage import tables

SCHEMA_VERSION = 2
"""2 brought the table of small contents."""
SQLITE_VERSION = sqlite3.sqlite_version
APPLICATION_ID = 0x6F636D73
"""Marks the file as this program's own (`ocms`), in SQLite's header."""

BUSY_SECONDS = 30.0
"""How long a write waits for another writer before it fails."""

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=tables.Table)
Transaction = sqlite3.Connection

_DIALECT = dialect(paramstyle="named")
_BY_PLACE = dialect(paramstyle="qmark")


class Unusable(Exception):
    """The data directory can't be served; the message says why and what to do."""


class Busy(Exception):
    """Another thread, or another program, is writing; nothing was done yet, so the work can simply be repeated."""


class Blocked(Exception):
    """Another one has been writing for so long that the work was given up."""


_FAILURES = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
}
_REFUSALS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def failure(error: BaseException) -> str | None:
    """What the machine has failed at, in words: the disk, its room, its permissions, the files that may be open.
    None where the error says no such thing."""
    if isinstance(error, Blocked):
        return "another program has been writing to the database all the time"
    if isinstance(error, sqlite3.Error):
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FAILURES else None
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return (error.strerror or str(error)).lower()
    return None


def table(row: type[tables.Table]) -> Table:
    return cast(Table, row.__table__)  # type: ignore[attr-defined]  # SQLModel adds it at run time


class Statement:
    """A statement, compiled once: when it is first run, since a start has use for few of them.

    Parameters are the names of its `bindparam`s.
    """

    _dialect = _DIALECT

    def __init__(self, statement: Executable) -> None:
        self._statement = statement

    @functools.cached_property
    def _compiled(self) -> Any:
        return self._statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]  # every Core statement has it

    @functools.cached_property
    def sql(self) -> str:
        return str(self._compiled)

    @functools.cached_property
    def _constants(self) -> dict[str, Any]:
        return {name: value for name, value in self._compiled.params.items() if value is not None}

    def run(self, tx: Transaction, **values: Any) -> int:
        """How many rows it changed."""
        return self._execute(tx, values).rowcount

    def tuples(self, tx: Transaction, **values: Any) -> list[tuple[Any, ...]]:
        return self._execute(tx, values).fetchall()

    def tuple(self, tx: Transaction, **values: Any) -> tuple[Any, ...] | None:
        """The first row; None where there is none."""
        found: tuple[Any, ...] | None = self._execute(tx, values).fetchone()
        return found

    def value(self, tx: Transaction, **values: Any) -> Any:
        """The first column of the first row; None where there is none."""
        found = self._execute(tx, values).fetchone()
        return None if found is None else found[0]

    def _execute(self, tx: Transaction, values: dict[str, Any]) -> sqlite3.Cursor:
        return tx.execute(self.sql, self._constants | values)


def record(row: type[R]) -> type[R]:
    """A named tuple with the columns of `row`, typed as `row`; all of them have to be given.

    What is read, and what is made to be written, are these: a SQLModel instance costs thirty times as
    much to make, and has nothing to add to a row that doesn't change.
    """
    return cast(type[R], _record(row))


@functools.cache  # in here, since it hides the type of what it returns
def _record(row: type[tables.Table]) -> type[Any]:
    return namedtuple(row.__name__, [column.name for column in table(row).columns])


class Rows(Statement, Generic[R]):
    """A selection of whole rows, each a `record`."""

    def __init__(self, statement: Select[Any], row: type[R]) -> None:
        super().__init__(statement)
        if [column.name for column in statement.selected_columns] != [column.name for column in table(row).columns]:
            raise TypeError(f"{self.sql} doesn't select the columns of {row.__name__}")
        # As a named tuple's own `_make`, which would look at the length of each row again.
        self._make: Callable[[Iterable[Any]], R] = functools.partial(tuple.__new__, record(row))  # type: ignore[type-var]  # a tuple

    def first(self, tx: Transaction, **values: Any) -> R | None:
        found = self.tuple(tx, **values)
        return None if found is None else self._make(found)

    def all(self, tx: Transaction, **values: Any) -> list[R]:
        return list(map(self._make, self._execute(tx, values)))


class Insertion(Statement, Generic[R]):
    """INSERT of whole rows. With `if_new`, of those whose key is not taken."""

    _dialect = _BY_PLACE  # a record is a tuple already

    def __init__(self, row: type[R], if_new: bool = False) -> None:
        whole = insert(table(row))
        super().__init__(whole.on_conflict_do_nothing() if if_new else whole)

    def add(self, tx: Transaction, row: R) -> bool:
        """Insert a `record`; whether that was done."""
        return tx.execute(self.sql, row).rowcount > 0  # type: ignore[arg-type]  # a record is a named tuple

    def add_all(self, tx: Transaction, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert `record`s, or other tuples of all columns in the order of the table."""
        tx.executemany(self.sql, rows)


class Database:
    """The database of a data directory; `open` creates it where there is none."""

    def __init__(self, path: Path, connection: Transaction, synchronous: str) -> None:
        self.path, self.connection, self._synchronous = path, connection, synchronous
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA cache_size=-4096")  # in KiB; the system keeps the file in memory anyway
        connection.execute("PRAGMA wal_autocheckpoint=4000")  # in pages: for a checkpoint everyone waits

    @classmethod
    def open(cls, path: Path, lasting: bool = True) -> Self:
        """One that is not `lasting` goes with this run of the server: nothing waits until the disk has it.
        Raises Unusable."""
        try:
            connection = _connect(path, wait=0)  # `run` waits, without holding up others
        except sqlite3.Error as error:
            raise Unusable(f"{path} can't be opened ({error}); name another directory with --data") from error
        try:
            version = _version(path, connection)
            database = cls(path, connection, "NORMAL" if lasting else "OFF")
            if version < SCHEMA_VERSION:
                database._create()
        except sqlite3.Error as error:
            connection.close()
            raise Unusable(
                f"{path} can't be used as a database ({error}); move it away, or name another directory with --data"
            ) from error
        except BaseException:
            connection.close()
            raise
        return database

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A write transaction, immediate: it sees the latest state and no one else changes it.

        Holds no `await` and no long work. Raises Busy before anything was done.
        """
        assert not self.connection.in_transaction, "transactions don't nest; see `joining`"
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise Busy from None
            raise
        try:
            yield self.connection
            self._commit()
        except BaseException:
            if self.connection.in_transaction:  # some failures, a full disk among them, have rolled back already
                self.connection.execute("ROLLBACK")
            raise

    def _commit(self) -> None:
        self.connection.execute("COMMIT")

    @contextmanager
    def joining(self, tx: Transaction) -> Iterator[Transaction]:
        """Write as part of a transaction that is open, or where `tx` only reads in one of its own."""
        if tx.in_transaction:
            yield tx
        else:
            with self.transaction() as own:
                yield own

    @property
    def snapshot(self) -> Transaction:
        """For reading by single statements, each of which sees one state of everything."""
        return self.connection

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A connection of its own that goes on seeing the state of this moment, whatever is written."""
        connection = _connect(self.path, wait=BUSY_SECONDS)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on the state stands
            yield connection
        finally:
            connection.close()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work bounded by a page of rows, right here: SQLite answers in tens of microseconds, a
        worker thread costs more. While another thread or program writes, it waits its turn.
        """
        deadline = 0.0
        while True:
            try:
                return work(*args, **kwargs)
            except Busy:
                deadline = deadline or clock.stopwatch() + BUSY_SECONDS
                if clock.stopwatch() > deadline:
                    raise Blocked from None
                await asyncio.sleep(0.001)

    async def run_bulk(self, work: Callable[Concatenate["Database", P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work of any size, in a thread and on a connection of its own, passed as first argument.

        It writes in several short transactions, between which everyone else gets theirs.
        """

        def bulk() -> T:
            with closing(_connect(self.path, wait=BUSY_SECONDS)) as connection:
                return work(Database(self.path, connection, self._synchronous), *args, **kwargs)

        return await in_thread(bulk)

    def _create(self) -> None:
        """The tables that are not there yet: all, or those that a newer version brought."""
        with self.transaction() as tx:
            for each in tables.Table.metadata.sorted_tables:
                tx.execute(str(CreateTable(each, if_not_exists=True).compile(dialect=_DIALECT)))
                for index in sorted(each.indexes, key=lambda index: str(index.name)):
                    tx.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT)))
            tx.execute(f"PRAGMA application_id={APPLICATION_ID}")
            tx.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` for what can't be left half done: who is cancelled meanwhile gets the result first, to put
    it where it belongs, and is cancelled the next time he waits for something else."""
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


def _version(path: Path, connection: Transaction) -> int:
    """Of the tables, once it is clear that they are ours; 0 where there are none. Changes nothing. Raises Unusable."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if objects and application != APPLICATION_ID:
        raise Unusable(f"{path} is another program's database; name another directory with --data")
    if version > SCHEMA_VERSION:
        raise Unusable(
            f"{path} was written by a newer mockserver (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade mockserver, or name another directory with --data"
        )
    return int(version)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the rest says with what


def _connect(path: Path, wait: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False, cached_statements=512)


@contextmanager
def directory_lock(path: Path) -> Iterator[None]:
    """One server for each data directory. Raises Unusable while another one holds it.

    An empty SQLite file in an exclusive transaction: a lock that works on every platform, and that
    the system releases when the process dies, however it dies.
    """
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if connection:
            connection.close()
        raise Unusable(
            f"{path.parent} is in use by another mockserver, or not writable ({error}); stop that one, or name "
            "another directory with --data"
        ) from error
    with closing(connection):
        yield
