"""Rows. An integer world id leads every primary key but that of contents, which all worlds share.

`seq` orders objects that share a second. Columns marked as `time` move with a world's instant when
it is forked from the template. Times are whole seconds since the epoch, as on the wire.
"""

from typing import Any

from sqlalchemy import BigInteger, Float, Index, LargeBinary
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class Table(SQLModel, registry=registry()):
    """Own metadata: a program that embeds the server may have SQLModel tables of its own."""


def _time(sa_type: Any = BigInteger, **options: Any) -> Any:
    return Field(sa_type=sa_type, sa_column_kwargs={"info": {"time": True}}, **options)


_CLUSTERED = {"sqlite_with_rowid": False}
"""Rows live in the primary key's tree: a lookup by id descends one tree, not two."""


class World(Table, table=True):
    """A world, or with a null name what no request can reach: a template, a snapshot, a half-made copy."""

    __tablename__ = "worlds"
    __table_args__ = (Index("worlds_snapshots", "snapshot_of", "snapshot", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    name: str | None = Field(default=None, unique=True)
    template_of: str | None = Field(default=None, unique=True)
    """`*` for the template of every world; a name for that world's own."""
    snapshot_of: str | None = None
    """The name of the world that this is a snapshot of."""
    snapshot: str | None = None
    """The snapshot's own name."""
    id_seed: bytes = Field(sa_type=LargeBinary)
    ordinal: int = Field(default=0, sa_type=BigInteger)
    """The last ordinal handed out, for ids and for `seq`."""
    clock_virtual: float
    clock_wall: float
    clock_rate: float
    clock_restarts: bool = False
    """Of a template: each new world starts at the template's instant, instead of as much later as it is."""
    profile: str | None = None
    """JSON of what `profiles.read` takes; null: the server's."""


class Container(Table, table=True):
    __tablename__ = "containers"
    __table_args__ = (
        Index("containers_listed", "world", "created_at", "seq"),
        Index("containers_named", "world", "name", "created_at", "seq"),
        _CLUSTERED,
    )

    world: int = Field(primary_key=True)
    id: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    created_at: int = _time()
    last_active_at: int = _time()
    name: str
    memory_limit: str
    network_policy: str | None = None
    """JSON, as shown."""
    expires_anchor: str
    expires_minutes: int


class ContainerFile(Table, table=True):
    __tablename__ = "container_files"
    __table_args__ = (
        Index("container_files_listed", "world", "container_id", "created_at", "seq"),
        Index("container_files_copied", "world", "container_id", "file_id", "seq"),
        Index("container_files_blobs", "digest"),
        _CLUSTERED,
    )

    world: int = Field(primary_key=True)
    container_id: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    created_at: int = _time()
    bytes: int | None = Field(default=None, sa_type=BigInteger)
    path: str
    source: str
    digest: str
    """SHA-256 of the content, in hexadecimal."""
    file_id: str | None = None
    """The File that this is a copy of."""


class File(Table, table=True):
    __tablename__ = "files"
    __table_args__ = (
        Index("files_listed", "world", "created_at", "seq"),
        Index("files_purposed", "world", "purpose", "created_at", "seq"),
        Index("files_blobs", "digest"),
        _CLUSTERED,
    )

    world: int = Field(primary_key=True)
    id: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    created_at: int = _time()
    expires_at: int | None = _time(default=None)
    bytes: int = Field(sa_type=BigInteger)
    filename: str
    purpose: str
    digest: str


class Content(Table, table=True):
    """The bytes of a small content; see `blobs`."""

    __tablename__ = "contents"

    digest: str = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)


class Tombstone(Table, table=True):
    """Where a deleted object stood in its list, so that it can still serve as a cursor."""

    __tablename__ = "tombstones"
    __table_args__ = (Index("tombstones_age", "world", "ordinal"), _CLUSTERED)

    world: int = Field(primary_key=True)
    list: str = Field(primary_key=True)
    """`containers`, `files` or `containers/<container id>`."""
    id: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    created_at: int = _time()
    ordinal: int = Field(sa_type=BigInteger)
    deleted_at: int = _time()
    row: str
    """JSON of the object as it was, for lists that a fault makes stale."""


class Fault(Table, table=True):
    """A rule of what to break, and how often it matched and fired."""

    __tablename__ = "faults"
    __table_args__ = (_CLUSTERED,)

    world: int = Field(primary_key=True)
    id: str = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger)
    rule: str
    """JSON: a `faults.NewRule`."""
    matched: int = Field(default=0, sa_type=BigInteger)
    fired: int = Field(default=0, sa_type=BigInteger)
    created_at: float = _time(Float)
    window_at: float | None = _time(Float, default=None)
    """When the window of a rate limit began, and how many requests it let through since."""
    window_used: int = Field(default=0, sa_type=BigInteger)
