"""The tables of a world's database. Each world has a file of its own, so no column names a world.

`seq` orders objects that share a second. Columns marked as `time` move with a world's instant when it is copied
from the template. Times are whole seconds since the epoch, as on the wire.

Deleted objects stay as rows for a while: they can still serve as cursors, and lists that lag still show them.
Rules read the view `live_<table>`, which leaves them out; only pagination and pruning read the tables.
"""

from typing import Any

from sqlalchemy import BigInteger, Float, Index, LargeBinary, PrimaryKeyConstraint, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class Table(SQLModel, registry=registry()):
    """Own metadata: a program that embeds the server may have SQLModel tables of its own."""


def _time(sa_type: Any = BigInteger, **options: Any) -> Any:
    return Field(sa_type=sa_type, sa_column_kwargs={"info": {"time": True}}, **options)


def _live(name: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=text("deleted_at IS NULL"))


def _deleted(name: str) -> Index:
    return Index(name, "deleted_ordinal", sqlite_where=text("deleted_at IS NOT NULL"))


_CLUSTERED = {"sqlite_with_rowid": False}
"""Rows live in the primary key's tree: a lookup by id descends one tree, not two."""


class World(Table, table=True):
    """The world itself: one row."""

    __tablename__ = "world"

    id: int = Field(default=1, primary_key=True)
    origin: str | None = None
    """`template` or `snapshot`: what the file was copied from, until its clock and ids were set at the first opening."""
    id_seed: bytes = Field(sa_type=LargeBinary)
    ordinal: int = Field(default=0, sa_type=BigInteger)
    """The last ordinal handed out, for ids and for `seq`."""
    clock_virtual: float
    clock_wall: float
    clock_rate: float
    clock_restarts: bool = False
    """Of a template: each new world starts at the template's instant, instead of as much later as it is created."""
    profile: str | None = None
    """JSON that `profiles.read` takes; null: the server's."""


class Listed(Table):
    """An object of a list, which stays as a row for a while when it is deleted."""

    id: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    created_at: int = _time()
    deleted_at: int | None = _time(default=None)
    deleted_ordinal: int | None = Field(default=None, sa_type=BigInteger)
    """The world's ordinal at the deletion: rows are pruned after so many later changes."""


class Container(Listed, table=True):
    __tablename__ = "containers"
    __table_args__ = (
        _live("containers_listed", "created_at", "seq"),
        _live("containers_named", "name", "created_at", "seq"),
        _deleted("containers_deleted"),
        _CLUSTERED,
    )

    last_active_at: int = _time()
    name: str
    memory_limit: str
    network_policy: str | None = None
    """JSON, as the API shows it."""
    expires_anchor: str
    expires_minutes: int
    replaced_by: str | None = None
    """The id of the container that took the place of this expired one."""


class ContainerFile(Listed, table=True):
    __tablename__ = "container_files"
    __table_args__ = (
        PrimaryKeyConstraint("container_id", "id"),  # in this order, so that a container's files stand together
        _live("container_files_listed", "container_id", "created_at", "seq"),
        _live("container_files_copied", "container_id", "file_id", "seq"),
        _live("container_files_contents", "digest"),
        _deleted("container_files_deleted"),
        _CLUSTERED,
    )

    container_id: str = Field(primary_key=True)
    bytes: int | None = Field(default=None, sa_type=BigInteger)
    path: str
    source: str
    digest: str
    """SHA-256 of the content, in hexadecimal."""
    file_id: str | None = None
    """The File that this is a copy of."""


class File(Listed, table=True):
    __tablename__ = "files"
    __table_args__ = (
        _live("files_listed", "created_at", "seq"),
        _live("files_purposed", "purpose", "created_at", "seq"),
        _live("files_contents", "digest"),
        _deleted("files_deleted"),
        _CLUSTERED,
    )

    expires_at: int | None = _time(default=None)
    bytes: int = Field(sa_type=BigInteger)
    filename: str
    purpose: str
    digest: str


class Upload(Listed, table=True):
    """An upload of the Uploads API. Whether a pending one has expired follows from `expires_at` and the clock."""

    __tablename__ = "uploads"
    __table_args__ = (
        _live("uploads_listed", "created_at", "seq"),
        _live("uploads_by_expiry", "status", "expires_at"),
        Index("uploads_ended", "seq", sqlite_where=text("status != 'pending'")),
        _deleted("uploads_deleted"),
        _CLUSTERED,
    )

    expires_at: int = _time()
    bytes: int = Field(sa_type=BigInteger)
    """What the parts must have in all."""
    filename: str
    purpose: str
    mime_type: str
    file_expires_after: int | None = None
    """Seconds from the creation of the upload to the expiry of the File that results; null: never."""
    status: str = "pending"
    """As stored: `expired` once its parts were removed."""
    file_id: str | None = None
    """The File that resulted."""


class UploadPart(Listed, table=True):
    """A part of a pending upload. When the upload ends, its parts are removed with it."""

    __tablename__ = "upload_parts"
    __table_args__ = (
        PrimaryKeyConstraint("upload_id", "id"),
        _live("upload_parts_contents", "digest"),
        _deleted("upload_parts_deleted"),
        _CLUSTERED,
    )

    upload_id: str = Field(primary_key=True)
    bytes: int = Field(sa_type=BigInteger)
    digest: str


class Content(Table, table=True):
    """The bytes of a small content; larger ones are files."""

    __tablename__ = "contents"

    digest: str = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)


MAX_FAULTS = 200
"""For one world."""


class Fault(Table, table=True):
    """A rule of what to break, and how often it matched and fired."""

    __tablename__ = "faults"
    __table_args__ = (_CLUSTERED,)

    id: str = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger)
    rule: str
    """JSON: a `schema.faults.NewRule`."""
    matched: int = Field(default=0, sa_type=BigInteger)
    fired: int = Field(default=0, sa_type=BigInteger)
    created_at: float = _time(Float)
    window_at: float | None = _time(Float, default=None)
    """When the window of a rate limit began, and how many requests it let through since."""
    window_used: int = Field(default=0, sa_type=BigInteger)
