"""The schema of a world's file: created from the tables, checked and upgraded when a file is first opened."""

import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Index
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from mockserver.storage import tables
from mockserver.storage.database import Transaction, is_small, writing

SCHEMA_VERSION = 5
"""1 and 2 were those of mockserver 0.1, which kept all worlds in one file."""
FAR = 1 << 53
"""Seconds: no two times are so far apart."""
APPLICATION_ID = 0x6F636D73
"""Marks the file as this program's own (`ocms`), in SQLite's header."""


class Unusable(Exception):
    """A file that can't be used as a world's database; the message says why, as a part of a sentence."""

    @classmethod
    def of(cls, error: BaseException, file: Path) -> "Unusable | None":
        """Return an Unusable if an error says that the file can't be used, else None."""
        if isinstance(error, cls):
            return error
        if isinstance(error, OSError | sqlite3.OperationalError) and file.parent.is_dir() and not file.exists():
            return cls("is missing")
        damages = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in damages:
            return cls(f"is damaged ({error})")
        return None


@cache
def _schema() -> list[str]:
    statements = []
    for each in tables.Table.metadata.sorted_tables:
        statements.append(str(CreateTable(each).compile(dialect=dialect())).strip())
        statements += map(_create_index, sorted(each.indexes, key=lambda index: str(index.name)))
        if "deleted_at" in each.c:
            live = f"SELECT * FROM {each.name} WHERE deleted_at IS NULL"
            statements.append(f"CREATE VIEW live_{each.name} AS {live}")
    named = [
        f"SELECT digest FROM {'live_' if 'deleted_at' in each.c else ''}{each.name}"
        for each in tables.Table.metadata.sorted_tables
        if "digest" in each.c and each.name != tables.Content.__tablename__
    ]
    return [*statements, f"CREATE VIEW named_contents AS {' UNION ALL '.join(named)}"]


def _create_missing(connection: Transaction) -> None:
    """Create the tables, columns, indexes and views that a file does not have."""
    connection.execute("DROP VIEW IF EXISTS named_contents")
    for each in tables.Table.metadata.sorted_tables:
        there = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({each.name})")}
        if missing := [column for column in each.columns if there and column.name not in there]:
            connection.execute(f"DROP VIEW IF EXISTS live_{each.name}")  # it names the columns that there were
            for column in missing:
                connection.execute(f"ALTER TABLE {each.name} ADD COLUMN {_added(column)}")
    for statement in _schema():
        kind, rest = statement.removeprefix("CREATE ").split(" ", 1)
        connection.execute(f"CREATE {kind} IF NOT EXISTS {rest}")


def _added(column: Column[Any]) -> str:
    default = "" if column.nullable else " NOT NULL DEFAULT 0"
    return f"{column.name} {column.type.compile(dialect=dialect())}{default}"


STEPS: dict[int, Callable[[Transaction], None]] = {3: _create_missing, 4: _create_missing}
"""What takes a file of this version to the next one."""


def _create_index(index: Index) -> str:
    return str(CreateIndex(index).compile(dialect=dialect()))


def shift_times(tx: Transaction, seconds: int) -> None:
    """Move all times in a database, in a write transaction."""
    large = not is_small(tx)
    for each in tables.Table.metadata.sorted_tables:
        times = [column.name for column in each.c if column.info.get("time")]
        # In a large table each row changes a random page of each index; creating the index again is faster.
        indexes = [index for index in each.indexes if large and not set(index.columns.keys()).isdisjoint(times)]
        for index in indexes:
            tx.execute(f"DROP INDEX {index.name}")
        if times:
            moved = ", ".join(f"{column} = {column} + :seconds" for column in times)
            keyed = any(each.c[name].primary_key for name in times)
            for step in (
                (FAR, seconds - FAR) if keyed else (seconds,)
            ):  # in one step a row could meet the next one's key
                tx.execute(f"UPDATE {each.name} SET {moved}", {"seconds": step})  # names of ours
        for index in indexes:
            tx.execute(_create_index(index))


def create(connection: Transaction) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    with writing(connection):
        _create_missing(connection)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def is_older(connection: Transaction) -> bool:
    """Whether a file is of an older version that can be upgraded."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version in STEPS


def check(connection: Transaction, whole: bool) -> None:
    """Raises Unusable for a file that is damaged, newer, incomplete or another program's; upgrades an older one.

    `whole` reads every page of it, for a file that an unclean stop may have damaged.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise Unusable("is not a world's database")
    if version > SCHEMA_VERSION:
        raise Unusable(
            f"was written by a newer mockserver (schema {version}, this one reads up to {SCHEMA_VERSION}); upgrade it"
        )
    if whole and (problems := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise Unusable(f"is damaged ({problems})")
    while version < SCHEMA_VERSION:
        if version not in STEPS:
            raise Unusable(f"was written by a mockserver that is too old (schema {version})")
        with writing(connection):
            STEPS[version](connection)
            version += 1
            connection.execute(f"PRAGMA user_version={version}")
    stored = {sql.strip() for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
    if not stored.issuperset(_schema()):  # it was upgraded, or is incomplete
        for each in tables.Table.metadata.sorted_tables:
            there = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({each.name})")}
            if missing := [column.name for column in each.c if column.name not in there]:
                raise Unusable(f"is incomplete: its table {each.name} has no {', '.join(missing)}")
    if connection.execute("SELECT count(*) FROM world").fetchone() != (1,):
        raise Unusable("has no row of its world")
