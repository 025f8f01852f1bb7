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

    model_config = {"defer_build": True}  # rows are named tuples: no validator is ever needed


def _time(sa_type: Any = BigInteger, **options: Any) -> Any:
    return Field(sa_type=sa_type, sa_column_kwargs={"info": {"time": True}}, **options)


def _live(name: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=text("deleted_at IS NULL"))


class World(Table, table=True):
    """The world itself: one row."""

    __tablename__ = "world"

    id: int = Field(default=1, primary_key=True)
    origin: str | None = None
    """`template` or `snapshot`: what the file was copied from, until its clock and ids were set at the first opening."""
    id_seed: bytes = Field(sa_type=LargeBinary)
    ordinal: int = Field(default=0, sa_type=BigInteger)
    """No higher one was handed out, for ids and for `seq`."""
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
    used_until: int | None = _time(default=None)
    """The end of the last step of a run in the background: until then, the rows of `uses` are activity as well."""
    wedged: bool = False
    """Whether every call in it fails, by a script."""


class ContainerFile(Listed, table=True):
    __tablename__ = "container_files"
    __table_args__ = (
        PrimaryKeyConstraint("container_id", "id"),  # in this order, so that a container's files stand together
        _live("container_files_listed", "container_id", "created_at", "seq"),
        _live("container_files_copied", "container_id", "file_id", "seq"),
        _live("container_files_at", "container_id", "path", "seq"),
        Index("container_files_written", "response_id", sqlite_where=text("response_id IS NOT NULL")),
    )

    container_id: str = Field(primary_key=True)
    bytes: int | None = Field(default=None, sa_type=BigInteger)
    path: str
    source: str
    digest: str
    """SHA-256 of the content, in hexadecimal."""
    file_id: str | None = None
    """The File that this is a copy of."""
    response_id: str | None = None
    """The response whose run wrote it."""
    visible_from: int | None = _time(default=None)
    """Not shown before this instant: when a run in the background writes it. Null: at once."""
    visible_until: int | None = _time(default=None)
    """Not shown from this instant on: when a run in the background replaces or deletes it."""
    hidden_by: str | None = None
    """The response of that run."""


class File(Listed, table=True):
    __tablename__ = "files"
    __table_args__ = (
        _live("files_listed", "created_at", "seq"),
        _live("files_purposed", "purpose", "created_at", "seq"),
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
    __table_args__ = (PrimaryKeyConstraint("upload_id", "id"),)

    upload_id: str = Field(primary_key=True)
    bytes: int = Field(sa_type=BigInteger)
    digest: str


class Skill(Listed, table=True):
    """A skill. Its name and description are those of its default version."""

    __tablename__ = "skills"
    __table_args__ = (_live("skills_listed", "created_at", "seq"),)

    name: str
    description: str
    default_version: str
    latest_version: str
    last_number: int = Field(sa_type=BigInteger)
    """The highest number that a version ever had: none is used again."""


class SkillVersion(Listed, table=True):
    __tablename__ = "skill_versions"
    __table_args__ = (
        PrimaryKeyConstraint("skill_id", "id"),
        _live("skill_versions_numbered", "skill_id", "number"),
    )

    skill_id: str = Field(primary_key=True)
    version: str
    """As the API shows it: the number, unless a profile created it with a name that is not a number."""
    number: int = Field(sa_type=BigInteger)
    name: str
    description: str
    digest: str
    """Of the zip with its files."""


class ContainerSkill(Table, table=True):
    """A skill in a container, as it was when the container was created."""

    __tablename__ = "container_skills"

    container_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    skill_id: str | None = None
    """Null where the zip came with the request."""
    version: str | None = None
    name: str
    description: str
    path: str
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


class Response(Table, table=True):
    """A response, with what a later one of its chain has to know of the context up to its end."""

    __tablename__ = "responses"
    __table_args__ = (Index("responses_of_conversation", "conversation", "ordinal"),)

    id: str = Field(primary_key=True)
    ordinal: int = Field(sa_type=BigInteger)
    created_at: int = _time()
    chain: str
    previous_id: str | None = None
    conversation: str | None = None
    background: bool = False
    streamed: bool = False
    obfuscated: bool = True
    pace: float = 0.0
    """Seconds of real time between the events of a stream."""
    status: str
    """At the end of the run."""
    outputs: bool = False
    """Whether the outputs of calls are included."""
    starts: int = 0
    """Seconds after `created_at` when a run in the background starts."""
    takes: int = 0
    """Seconds after `created_at` when the run ends."""
    cancelled_at: int | None = _time(default=None)
    answer: str | None = None
    """The id of the answer that was given."""
    given: str = "[]"
    """JSON: the ids of all answers that were given in the chain."""
    turn: int = 1
    """The assistant's turns in the context, this response's included."""
    code_container: str | None = None
    """The container of the last code interpreter call in the context."""
    shell_container: str | None = None
    request: str
    """JSON: the keys of the object that repeat the request. Long texts come last: SQLite reads them on the way to what
    is behind them."""
    details: str
    """JSON: `usage`, `error`, `incomplete_details`, as of the end of the run; and `carried`, for later responses."""
    user_text: str = ""
    """The last user message."""


class ResponseItem(Table, table=True):
    """An item of a response: first the input's, then the output's."""

    __tablename__ = "response_items"
    __table_args__ = (
        PrimaryKeyConstraint("response_id", "position"),
        Index("response_items_referenced", "id"),
    )

    response_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    id: str
    output: bool
    ends: int = 0
    """Seconds after the response's `created_at` when it is complete."""
    body: str
    """JSON, as the API shows it once it is complete, with all outputs."""


class Use(Table, table=True):
    """The end of a step that a run in the background takes in a container: activity of it."""

    __tablename__ = "uses"
    __table_args__ = (PrimaryKeyConstraint("container_id", "at", "response_id"),)

    container_id: str = Field(primary_key=True)
    at: int = _time(primary_key=True)
    response_id: str = Field(primary_key=True)


MAX_ANSWERS = 1_000
"""For one world."""


class Answer(Table, table=True):
    """A rule of what `/responses` does, and how often it matched and was used."""

    __tablename__ = "answers"

    id: str = Field(primary_key=True)
    seeded: bool = False
    """Rules of a seed are tried after those that were added to the world."""
    position: int = Field(sa_type=BigInteger)
    rule: str
    """JSON: a `schema.answers.NewAnswer` whose contents are digests."""
    matched: int = Field(default=0, sa_type=BigInteger)
    used: int = Field(default=0, sa_type=BigInteger)


class AnswerContent(Table, table=True):
    """A content that an answer writes or shows."""

    __tablename__ = "answer_contents"
    __table_args__ = (PrimaryKeyConstraint("answer_id", "digest"),)

    answer_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)


WITH_ROWID = {str(row.__tablename__) for row in (World, Content, Response, ResponseItem, Answer)}
"""Tables with one row, or with large ones."""

# The indexes that every table with such a column has: for pruning, and for whether a content is still named.
for each in Table.metadata.tables.values():
    listed = "deleted_at" in each.c
    if listed:
        Index(f"{each.name}_deleted", each.c.deleted_ordinal, sqlite_where=text("deleted_at IS NOT NULL"))
    if "digest" in each.c and not each.c.digest.primary_key:
        Index(f"{each.name}_contents", each.c.digest, sqlite_where=text("deleted_at IS NULL") if listed else None)
    # Rows live in the primary key's tree, so that a lookup by id descends one tree; large rows would make it deep, and
    # be read as a whole on the way to others.
    each.dialect_options["sqlite"]["with_rowid"] = each.name in WITH_ROWID


def owner(row: type[Table]) -> str | None:
    """Return the column beside `id` in a primary key: it names the object inside of which the id is unique."""
    names = (column.name for column in Table.metadata.tables[str(row.__tablename__)].primary_key)
    return next((name for name in names if name != "id"), None)


def list_of(row: type[Listed], owner_id: str = "") -> str:
    """Return the name of a list in seeds and exports: `files`, `containers/<id>`."""
    column = owner(row)
    return f"{column.removesuffix('_id')}s/{owner_id}" if column else str(row.__tablename__)


def live(row: type[Table]) -> str:
    """Return the view that leaves out deleted objects, or the table if it has none."""
    return f"{'live_' if issubclass(row, Listed) else ''}{row.__tablename__}"
