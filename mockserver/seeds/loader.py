"""Seeds: files that describe what every new world holds from the start.

A seed is YAML or JSON, an exported archive, or a plain directory `<container name>/<file…>`. Seeds are
read and checked whole before anything is written; a mistake is told with its file, its line and what to
do. What is described at the top level goes into the template of every world, `worlds.<name>` into that
world's. The same documents can be placed into a world that is in use.
"""

import base64
import binascii
import gc
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from mockserver import ids, profiles, schema
from mockserver.bounds import FewKeys
from mockserver.clock import CENTURIES, Clock, Wall, duration, instant, parse_duration, within_bounds
from mockserver.context import World
from mockserver.faults import Effect, Match, NewRule
from mockserver.profiles import Profile
from mockserver.seeds import archive
from mockserver.seeds.archive import Archive
from mockserver.seeds.document import Source
from mockserver.settings import SeedError, size
from mockserver.storage import tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Upload, Uploads
from mockserver.storage.database import in_thread
from mockserver.storage.directory import EVERY_WORLD
from mockserver.worlds import NAME, Worlds

VERSION = 1
SUFFIXES = {".yaml", ".yml", ".json", archive.SUFFIX}
MAX_OBJECTS = 200_000
"""In a document that a server in use is sent."""
MAX_TEXT = 64 << 20
"""Bytes of names, paths and the like that `repeat` makes of such a document."""
AT_START = 10
"""So many times as many objects and bytes may a seed at the start have."""
MAX_NAME = 1_024
"""Characters of a name, as in the API."""
MAX_PATH = 5_000
"""Characters of a file name or a path: more than the header of a form can carry."""
LARGE = 500
"""Objects from which on placing them is kept off the event loop."""
LARGE_TEXT = 1 << 20
"""Bytes of their names and the like from which on it is, too."""
IN_MEMORY = 16 << 20
"""Bytes of small contents that wait in memory for their objects; more of them are files meanwhile."""


# The format


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a seed: so many seconds from the template's instant, or since the epoch."""

    seconds: float
    relative: bool

    def at(self, now: int) -> int:
        return int(within_bounds((now if self.relative else 0) + self.seconds // 1))


NOW = Moment(0, relative=True)


def _moment(value: object) -> Moment:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("write -19m, +2h, 2026-01-31T12:00:00Z, or seconds since 1970")
    if isinstance(value, str) and value[:1] in ("-", "+"):
        return Moment(parse_duration(value), relative=True)
    return Moment(instant(value), relative=False)


def _given_as_text(parse: Callable[[str], Any]) -> BeforeValidator:
    def read(value: object) -> object:
        return parse(value) if isinstance(value, str) else value

    return BeforeValidator(read, json_schema_input_type=int | float | str)


Time = Annotated[Moment, BeforeValidator(_moment, json_schema_input_type=int | str)]
Number = Annotated[int, Field(ge=0, le=1 << 53)]
Instant = Annotated[float, BeforeValidator(instant, json_schema_input_type=float | str)]
Second = Annotated[int, Field(ge=-CENTURIES, le=CENTURIES)]
Id = Annotated[str, Field(pattern=f"^{ids.FREE}$")]
Name = Annotated[str, Field(max_length=MAX_NAME)]
FileName = Annotated[str, Field(max_length=MAX_PATH)]


class _Part(FewKeys, BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True, defer_build=True)


def _sound_profile(asked: object) -> object:
    if asked is not None:
        profiles.read(asked)
    return asked


class _Clock(_Part):
    at: Instant | None = None
    offset: Annotated[float, BeforeValidator(duration, json_schema_input_type=float | str)] | None = None
    rate: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.at is not None and self.offset is not None:
            raise ValueError("give either at or offset")
        return self


class _Generated(_Part):
    size: Annotated[int, _given_as_text(size), Field(ge=0)]
    pattern: Literal["zeros", "text", "random"] = "text"


class _WithContent(_Part):
    content: str | None = None
    base64: str | None = None
    from_: FileName | None = Field(None, alias="from")
    generate: _Generated | None = None

    def sources(self) -> list[str]:
        given = {"content": self.content, "base64": self.base64, "from": self.from_, "generate": self.generate}
        return [name for name, value in given.items() if value is not None]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if len(self.sources()) != 1 and not getattr(self, "file", None):
            raise ValueError("give its bytes as one of content, base64, from, generate")
        if self.base64 is not None:
            try:
                base64.b64decode(self.base64, validate=True)
            except binascii.Error as error:
                raise ValueError(f"base64 is not valid ({error})") from None
        return self


class _Named(_WithContent):
    """Bytes with a file name, which `from` can give as well."""

    filename: FileName | None = None

    @property
    def name(self) -> str:
        return Path(self.from_ or "").name if self.filename is None else self.filename


class _File(_Named):
    ref: Name | None = None
    id: Id | None = None
    purpose: schema.Purpose = "user_data"
    created_at: Time = NOW
    expires_at: Time | None = None
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
    seq: Number | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.name and self.seq is None:
            raise ValueError("give it a filename")
        return self


class _ContainerFile(_Named):
    id: Id | None = None
    file: Name | None = None
    path: FileName | None = None
    source: Literal["user", "assistant"] | None = None
    bytes: Number | None = None
    created_at: Time | None = None
    file_id: Id | None = None
    """The File that its bytes were copied from, which may be gone."""
    seq: Number | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.file and (self.sources() or self.filename or self.path or self.source or self.file_id):
            raise ValueError("a copy of a File takes its bytes and name from it; leave out what follows from `file`")
        if not (self.file or self.path or self.name):
            raise ValueError("give it a filename, or for what the assistant wrote a path")
        return self


class _ExpiresAfter(_Part):
    anchor: Literal["last_active_at", "created_at"] = "last_active_at"
    minutes: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES)] | None = None
    days: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES // 1_440)] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.minutes is None) == (self.days is None):
            raise ValueError("give either minutes or days")
        return self


class _NetworkPolicy(_Part):
    type: Literal["disabled", "allowlist"]
    allowed_domains: (
        Annotated[list[Annotated[str, Field(max_length=253)]], Field(min_length=1, max_length=1_000, fail_fast=True)]
        | None
    ) = None


class _Container(_Part):
    ref: Name | None = None
    id: Id | None = None
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    created_at: Time | None = None
    last_active_at: Time | None = None
    expires_after: _ExpiresAfter | None = _ExpiresAfter(minutes=20)
    """Null: it never expires."""
    memory_limit: Literal["1g", "4g", "16g", "64g"] = "1g"
    network_policy: _NetworkPolicy | None = None
    files: Annotated[list[_ContainerFile], Field(fail_fast=True)] = []
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
    replaced_by: Id | None = None
    """Of an expired one, the id of the container that took its place."""
    seq: Number | None = None

    @model_validator(mode="after")
    def _has_short_names(self) -> Self:
        if len(_numbered(self.name, self.repeat)) > MAX_NAME:
            raise ValueError(f"with its number in it, its name has more than {MAX_NAME} characters")
        return self


class _Fault(NewRule):
    """A rule, and in an export what became of it."""

    matched: Number = 0
    fired: Number = 0
    created_at: Instant | None = None
    window_at: Instant | None = None
    window_used: Number = 0


def _columns(row: type[tables.Table]) -> dict[str, Any]:
    """Those of an exported row, as the fields of a model."""
    return {
        name: (field.annotation, ... if field.is_required() else field.default)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }


def _model(row: type[tables.Table]) -> type[_Part]:
    return create_model(f"_Exported{row.__name__}", __base__=_Part, **_columns(row))


SUCCESSORS = "successors"
"""In archives of version 0.1, the list that names what took the place of an expired container."""

_OBJECTS: dict[str, type[_Part]] = {
    "files": _model(tables.File),
    "containers": _model(tables.Container),
    SUCCESSORS: _model(tables.Container),
}
_OBJECT_INSIDE = _model(tables.ContainerFile)
_TABLES: dict[str, type[tables.Listed]] = {"files": tables.File, "containers": tables.Container}


class _Deleted(_Part):
    """What a deleted object was, and where in its list it stood."""

    list: str
    id: str
    seq: Number
    created_at: Second
    ordinal: Number
    deleted_at: Second
    object: dict[str, Any]

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _OBJECTS.get(self.list, _OBJECT_INSIDE).model_validate(self.object)
        return self


class _World(_Part):
    clock: _Clock | None = None
    profile: Annotated[Any, AfterValidator(_sound_profile)] = None
    """A profile's name, or a mapping of `base` and switches."""
    ordinal: Number | None = None
    """The last ordinal that was handed out, so that the ids to come are those that would have come."""
    faults: Annotated[list[_Fault], Field(fail_fast=True)] = []
    deleted: Annotated[list[_Deleted], Field(fail_fast=True)] = []
    files: Annotated[list[_File], Field(fail_fast=True)] = []
    containers: Annotated[list[_Container], Field(fail_fast=True)] = []


class Document(_World):
    version: int
    worlds: dict[str, _World] = {}


# Reading


class Contents(Protocol):
    """Where `from` leads. SeedErrors don't say where it was asked for."""

    def size(self, name: str) -> int: ...

    def pieces(self, name: str) -> Iterator[bytes]: ...


class Folder:
    """Files below the folder of a seed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self, name: str) -> int:
        return self._inside(name).stat().st_size

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._inside(name).open("rb") as file:
            yield from iter(partial(file.read, 1 << 20), b"")

    def _inside(self, name: str) -> Path:
        folder = self._path.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise SeedError(f"{name!r} leaves the seed's folder; move the file below {self._path}")
        if not path.is_file():
            raise SeedError(f"there is no file {name!r} below {self._path}; make it, or mend the path")
        return path


class Nowhere:
    """A document that a server was sent has no files beside it."""

    def size(self, name: str) -> int:
        raise SeedError(f"{name!r} can't be read from here; give the bytes inline, or send an archive that holds them")

    def pieces(self, name: str) -> Iterator[bytes]:
        raise SeedError(f"{name!r} can't be read from here")

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is said; its line is looked up when it is told."""

    source: Source | Path
    location: tuple[str | int, ...]
    contents: Contents

    def __str__(self) -> str:
        return str(self.source) if isinstance(self.source, Path) else self.source.at(*self.location)


@dataclass(slots=True)
class Scope:
    """What one template holds, each thing with the place that asks for it."""

    clock: tuple[_Clock, Place] | None = None
    profile: tuple[profiles.Asked, Place] | None = None
    ordinal: int = 0
    faults: list[tuple[_Fault, Place]] = field(default_factory=list)
    deleted: list[_Deleted] = field(default_factory=list)
    files: list[tuple[_File, Place]] = field(default_factory=list)
    containers: list[tuple[_Container, Place]] = field(default_factory=list)

    def with_(self, other: "Scope") -> "Scope":
        """Both together; what is set twice is an error that names both places."""
        for mine, its in ((self.clock, other.clock), (self.profile, other.profile)):
            if mine and its:
                raise SeedError(f"{its[1]}: set already at {mine[1]}; remove one of the two")
        return Scope(
            self.clock or other.clock,
            self.profile or other.profile,
            max(self.ordinal, other.ordinal),
            self.faults + other.faults,
            self.deleted + other.deleted,
            self.files + other.files,
            self.containers + other.containers,
        )

    def seqs(self) -> Iterator[int]:
        """Places in the order of lists, as far as they are given."""
        for file, _ in self.files:
            yield file.seq or 0
        for container, _ in self.containers:
            yield container.seq or 0
            yield from (inner.seq or 0 for inner in container.files)
        yield from (each.ordinal for each in self.deleted)

    def counts(self) -> tuple[int, int, int]:
        """Of Files, containers, and files in those."""
        files = sum(file.repeat or 1 for file, _ in self.files)
        containers = sum(container.repeat or 1 for container, _ in self.containers)
        return (
            files,
            containers,
            sum((container.repeat or 1) * len(container.files) for container, _ in self.containers),
        )

    def generated(self) -> int:
        """Bytes of contents that are longer than what describes them."""
        items: Iterator[tuple[_WithContent, int]] = chain(
            ((file, file.repeat or 1) for file, _ in self.files),
            ((inner, container.repeat or 1) for container, _ in self.containers for inner in container.files),
        )
        return sum(
            item.generate.size if item.generate else len(_numbered(item.content or "", repeat).encode()) * repeat
            for item, repeat in items
            if item.generate or _is_numbered(item)
        )

    def text(self) -> int:
        """Bytes of names, paths and policies, those of what is repeated as often as it is."""
        files = sum((file.repeat or 1) * _text(file, file.repeat) for file, _ in self.files)
        return files + sum(
            (container.repeat or 1)
            * (
                _text(container, container.repeat)
                + sum(map(len, (container.network_policy and container.network_policy.allowed_domains) or ()))
                + sum(_text(inner, container.repeat) for inner in container.files)
            )
            for container, _ in self.containers
        )

    def check_size(self, where: object, times: int = 1) -> None:
        """Raises SeedError."""
        for found, allowed, of in (
            (sum(self.counts()), MAX_OBJECTS * times, "objects"),
            (self.text(), MAX_TEXT * times, "bytes of names, repeated ones included,"),
        ):
            if found > allowed:
                raise SeedError(f"{where}: {found:,} {of} are more than {allowed:,}; repeat less, or split it")

    def summary(self) -> str:
        counts = zip(self.counts(), ("File", "container", "container file"), strict=True)
        parts = [f"{number:,} {what}{'' if number == 1 else 's'}" for number, what in counts if number]
        return ", ".join(parts) or "nothing"


@dataclass(slots=True)
class Seed:
    """All that the seeds say: for every world, and what single worlds have beside that."""

    everyone: Scope
    worlds: dict[str, Scope]
    archives: list[Archive] = field(default_factory=list)

    def close(self) -> None:
        """Its contents have been read."""
        for each in self.archives:
            each.close()

    def scopes(self) -> Iterator[tuple[str, Scope]]:
        yield EVERY_WORLD, self.everyone
        for name, own in self.worlds.items():
            overridden = Scope(
                None if own.clock else self.everyone.clock,
                None if own.profile else self.everyone.profile,
                self.everyone.ordinal,
                self.everyone.faults,
                self.everyone.deleted,
                self.everyone.files,
                self.everyone.containers,
            )
            yield name, overridden.with_(own)

    def apply(self, worlds: Worlds, uploads: Uploads, wall: Wall) -> None:
        """Make the templates that it describes. Contents first, each template's rows at once."""
        with Store(uploads) as store, closing(self):
            scopes = list(self.scopes())
            for _, scope in scopes:
                store.store(scope)
            for name, scope in scopes:
                clock, restarts = _clock(scope, wall.now())
                fill = partial(_fill, scope, store, Placed())
                worlds.add_template(name, clock, fill, restarts=restarts, profile=_profile(scope, worlds))

    def summary(self) -> str:
        more = [f"; in world {name} also {scope.summary()}" for name, scope in self.worlds.items()]
        return self.everyone.summary() + "".join(more)


def read_seeds(paths: Sequence[Path], max_file: int) -> Seed:
    """Read and check. `max_file` bounds each content, in bytes. Raises SeedError."""
    seed = Seed(Scope(), {})
    for path in paths:
        for everyone, worlds in _read(path, seed.archives):
            seed.everyone = seed.everyone.with_(everyone)
            for name, scope in worlds.items():
                seed.worlds[name] = seed.worlds.get(name, Scope()).with_(scope)
    for _, scope in seed.scopes():
        scope.check_size(", ".join(map(str, paths)), AT_START)
        _check(scope, max_file)
    return seed


def read_document(source: Source, contents: Contents, max_file: int, max_total: int) -> Scope:
    """Read and check what a server is sent for one world; it may leave out the version.

    `max_file` bounds each content, `max_total` all of them, in bytes.
    """
    if isinstance(source.values, dict):
        source.values.setdefault("version", VERSION)
        if source.values.get("worlds"):
            raise SeedError(f"{source.at('worlds')}: this goes into one world; place what is under its name by itself")
    with uncollected():
        document = _validated(source)
    scope = _scope(source, contents, document, ())
    scope.check_size(source.path)
    if (total := scope.generated()) > max_total:
        raise SeedError(f"{source.path}: its contents are {total:,} bytes, more than {max_total:,}; raise --max-import")
    _check(scope, max_file, alone=False)
    return scope


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection of garbage: with a large document it goes over a million new objects again and again, and all
    threads wait."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def every_problem(paths: Sequence[Path], max_file: int) -> list[str]:
    """Return one problem for each faulty file, or what is wrong with all of them together.

    The arguments are those of `read_seeds`.
    """
    problems: list[str] = []
    sound: list[list[Scope]] = []
    with closing(Seed(Scope(), {})) as opened:
        for path in chain.from_iterable(_documents(path) or [path] for path in paths):
            try:
                documents = list(_read(path, opened.archives))
                sound.append([scope for everyone, worlds in documents for scope in (everyone, *worlds.values())])
            except SeedError as error:
                problems.append(str(error))
        all_read = not problems  # else a name that is missing may stand in a file that could not be read
        names = set().union(*(_file_names(scope) for scopes in sound for scope in scopes))
        for scopes in sound:
            try:
                for scope in scopes:
                    _check(scope, max_file, alone=all_read, elsewhere=names)
            except SeedError as error:
                problems.append(str(error))
    if not problems:
        try:
            read_seeds(paths, max_file).close()
        except SeedError as error:
            problems.append(str(error))
    return problems


def _documents(folder: Path) -> list[Path]:
    """Return the seed files in a directory; none for a file and for a directory of plain files."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES and each.is_file())


def _file_names(scope: Scope) -> set[str]:
    """Return the refs and ids of its Files."""
    return {
        _numbered(name, n) for file, _ in scope.files for n in _numbers(file) for name in (file.ref, file.id) if name
    }


def _read(path: Path, archives: list[Archive]) -> Iterator[tuple[Scope, dict[str, Scope]]]:
    if path.is_dir():
        if files := _documents(path):
            yield from chain.from_iterable(_read(each, archives) for each in files)
        else:
            yield _read_folders(path), {}
    elif path.suffix == archive.SUFFIX:
        opened = Archive(path, path)
        archives.append(opened)
        with closing(opened):
            opened.verify()
            yield _read_document(Source(*opened.seed()), opened)
    elif path.suffix not in SUFFIXES and path.exists():
        raise SeedError(f"{path}: a seed's name ends in .yaml, .yml, .json or .zip; rename it")
    else:
        yield _read_document(Source(path), Folder(path.parent))


def _read_folders(path: Path) -> Scope:
    """A directory without seed files: each folder in it is a container that holds the folder's files."""
    scope = Scope()
    for folder in sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")):
        names = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
        shown = [name for name in names if not re.search(r"(^|/)\.", name)]
        files = [_ContainerFile.model_validate({"from": name, "filename": name}) for name in shown]
        scope.containers.append((_Container(name=folder.name, files=files), Place(folder, (), Folder(folder))))
    return scope


def _read_document(source: Source, contents: Contents) -> tuple[Scope, dict[str, Scope]]:
    document = _validated(source)
    worlds = {name: _scope(source, contents, world, ("worlds", name)) for name, world in document.worlds.items()}
    return _scope(source, contents, document, ()), worlds


def _validated(source: Source) -> Document:
    values = source.values
    if not isinstance(values, dict):
        raise SeedError(f"{source.path}:1: a seed is a mapping; start it with: version: {VERSION}")
    if isinstance(version := values.get("version"), int) and version > VERSION:
        where = source.at("version")
        raise SeedError(f"{where}: version {version} is newer than this mockserver's {VERSION}; upgrade it")
    try:
        document = Document.model_validate(values)
    except ValidationError as error:
        raise SeedError(_explained(source, error)) from None
    if document.version != VERSION:
        raise SeedError(f"{source.at('version')}: there is no version {document.version}; write {VERSION}")
    for name in document.worlds:
        if not NAME.fullmatch(name):
            where = source.at("worlds", name)
            raise SeedError(f"{where}: {name!r} can't name a world; use letters, digits, dots, hyphens")
    return document


def _scope(source: Source, contents: Contents, world: _World, at: tuple[str, ...]) -> Scope:
    def place(*steps: str | int) -> Place:
        return Place(source, (*at, *steps), contents)

    return Scope(
        (world.clock, place("clock")) if world.clock else None,
        (world.profile, place("profile")) if world.profile else None,
        world.ordinal or 0,
        [(fault, place("faults", n)) for n, fault in enumerate(world.faults)],
        world.deleted,
        [(file, place("files", n)) for n, file in enumerate(world.files)],
        [(container, place("containers", n)) for n, container in enumerate(world.containers)],
    )


# Checking what the format can't say


def _check(scope: Scope, max_file: int, alone: bool = True, elsewhere: Container[str] = ()) -> None:
    """References lead somewhere, names are used once, and every file is there and not too large.

    What is not `alone` may refer to Files that are in the world already; `elsewhere` are names in other scopes.
    """
    files: dict[str, Place] = {}
    containers: dict[str, Place] = {}
    faults: dict[str, Place] = {}
    places: dict[str, Place] = {}
    deleted = [(each.list, each.id) for each in scope.deleted]
    if len(set(deleted)) < len(deleted):
        raise SeedError("deleted: one object was deleted twice; remove one")
    for fault, place in scope.faults:
        _claim(faults, {fault.id} if fault.id else set(), place)
    for file, place in scope.files:
        _check_content(file, place, max_file)
        _check_seq(places, file, place)
        for n in _numbers(file):
            _claim(files, {_numbered(name, n) for name in (file.ref, file.id) if name}, place)
    for container, place in scope.containers:
        inside: dict[str, Place] = {}
        created, active = container.created_at or NOW, container.last_active_at or NOW
        given = container.created_at and container.seq is None  # an export may tell of one that was made to expire
        if given and created.relative == active.relative and created.seconds > active.seconds:
            raise SeedError(f"{place}: it was last active before it was created; mend created_at or last_active_at")
        _check_seq(places, container, place)
        for n in _numbers(container):
            _claim(containers, {_numbered(name, n) for name in (container.ref, container.id) if name}, place)
        for inner in container.files:
            if inner.file is None:
                _check_content(inner, place, max_file)
            elif alone and inner.file not in files and inner.file not in elsewhere:
                raise SeedError(f"{place}: no File has the ref or id {inner.file!r}; describe it under files")
            _check_seq(places, inner, place)
            _claim(inside, {inner.id} if inner.id else set(), place)


def _claim(taken: dict[str, Place], names: set[str], place: Place) -> None:
    for name in names:
        if name in taken:
            raise SeedError(
                f"{place}: {name!r} is taken at {taken[name]}; each ref and id names one object ({{n}} tells repeated ones apart)"
            )
        taken[name] = place


def _check_seq(taken: dict[str, Place], item: "_File | _Container | _ContainerFile", place: Place) -> None:
    if item.seq is None:
        return
    if getattr(item, "repeat", None):
        raise SeedError(f"{place}: what is repeated has no place of its own; leave out seq")
    _claim(taken, {f"seq {item.seq}"}, place)


def _check_content(item: _WithContent, place: Place, max_file: int) -> None:
    length = 0
    if item.from_ is not None:
        with _told(place):
            length = place.contents.size(item.from_)
    elif item.generate:
        length = item.generate.size
    elif item.content is not None:
        length = len(item.content.encode())
    if length > max_file:
        raise SeedError(
            f"{place}: {length:,} bytes are more than --max-upload allows ({max_file:,}); raise it, or shorten the file"
        )


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """What is wrong with a content, told with where it was asked for."""
    try:
        yield
    except SeedError as error:
        raise SeedError(f"{place}: {error}") from None
    except OSError as error:
        raise SeedError(f"{place}: {error.strerror}: {error.filename}") from error


# Planting


@dataclass(slots=True)
class Placed:
    """Ids of what was placed, in the order of the document."""

    files: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def place(
    scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str, *, only_objects: bool = False
) -> Placed:
    """Put all that a document describes into a world, at once; its clock and profile too, unless they
    are to stay. Relative times are relative to the world's."""
    placed = Placed()
    clock = _clock(scope, wall.now())[0] if scope.clock and not only_objects else None
    profile = None if only_objects else _profile(scope, worlds)
    large = sum(scope.counts()) > LARGE or scope.text() > LARGE_TEXT
    with Store(uploads) as store:
        await in_thread(store.store, scope)
        fill = partial(_fill, scope, store, placed)
        await worlds.add(name, fill, clock=clock, profile=profile, large=large)
    return placed


async def become(scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str) -> World:
    """Make a world what a document describes, in one step, instead of all that it was."""
    with Store(uploads) as store:
        await in_thread(store.store, scope)
        clock, _ = _clock(scope, wall.now())
        return await worlds.become(name, partial(_fill, scope, store, Placed()), clock, _profile(scope, worlds))


def _clock(scope: Scope, wall: float) -> tuple[Clock, bool]:
    """The clock, and whether every new world starts at its instant."""
    told = scope.clock[0] if scope.clock else _Clock()
    if told.at is not None:
        return Clock(told.at, wall, told.rate), True
    return Clock(wall + (told.offset or 0), wall, told.rate), False


def _profile(scope: Scope, worlds: Worlds) -> Profile | None:
    return worlds.profile(scope.profile[0]) if scope.profile else None


class Store:
    """The contents of documents on their way to becoming blobs. What no row kept is gone at the end."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._by_item: dict[tuple[int, int | str | None], Upload] = {}
        self._by_digest: dict[str, Upload] = {}
        self._in_memory = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for upload in self._by_digest.values():
            upload.discard()

    def store(self, scope: Scope) -> None:
        """May block on the disk, and can run in any thread."""
        for file, place in scope.files:
            for n in _numbers(file):
                self._store(file, place, n)
        for container, place in scope.containers:
            for inner in container.files:
                if inner.file is None:
                    for n in _numbers(container):
                        self._store(inner, place, n)

    def stored(self, item: _WithContent, place: Place, n: int | None) -> Upload:
        return self._by_item[self._key(item, place, n)]

    def _store(self, item: _WithContent, place: Place, n: int | None) -> None:
        key = self._key(item, place, n)
        if key in self._by_item:
            return
        with _told(place):
            upload = self._uploads.put(_pieces(item, place, n), blake2b=True, as_file=self._in_memory > IN_MEMORY)
        first = self._by_digest.setdefault(upload.digest, upload)
        if first is not upload:
            upload.discard()
        else:
            self._in_memory += len(upload.buffer)
        self._by_item[key] = first

    def _key(self, item: _WithContent, place: Place, n: int | None) -> tuple[int, int | str | None]:
        """Repeated objects have the same bytes, unless their number is in them."""
        if item.from_ is not None:
            return id(place.contents), item.from_
        return id(item), n if _is_numbered(item) else None


def _fill(scope: Scope, store: Store, placed: Placed, put: Placement) -> None:
    replaced = {each.id: each.object["id"] for each in scope.deleted if each.list == SUCCESSORS}
    filler = _Filler(store, put, placed, replaced)
    # Past those of an export, or the world that it is of would hand out its ids a second time.
    put.skip(max(chain([scope.ordinal], scope.seqs())))
    for fault, _ in scope.faults:
        filler.fault(fault)
    for file, place in scope.files:
        for n in _numbers(file):
            filler.file(file, place, n)
    for container, place in scope.containers:
        for n in _numbers(container):
            filler.container(container, place, n)
    if put.exact:
        for each in scope.deleted:
            if each.list != SUCCESSORS:
                row = _TABLES.get(each.list, tables.ContainerFile)
                put.deleted(row, **each.object, deleted_at=each.deleted_at, deleted_ordinal=each.ordinal)


class _Filler:
    """Puts a scope's objects into a world."""

    def __init__(self, store: Store, put: Placement, placed: Placed, replaced: Mapping[str, str]) -> None:
        self._placed = placed
        self._replaced = replaced
        self._store = store
        self._put = put
        self._files: dict[str, tuple[str, str, int, str, Upload | None]] = {}
        """Id, file name, size, digest and content of each File, by its ref and by its id."""

    def fault(self, fault: _Fault) -> None:
        state = {"matched", "fired", "created_at", "window_at", "window_used"}
        columns = fault.model_dump(include=state) | {
            "created_at": self._put.now if fault.created_at is None else fault.created_at
        }
        id = self._put.fault(id=fault.id, rule=fault.model_dump_json(exclude_unset=True, exclude=state), **columns)
        self._placed.faults.append(id)

    def file(self, file: _File, place: Place, n: int | None) -> None:
        content, name = self._store.stored(file, place, n), _numbered(file.name, n)
        id = self._put.file(
            id=_numbered(file.id, n) if file.id else None,
            seq=file.seq,
            content=content,
            created_at=file.created_at.at(self._put.now),
            expires_at=file.expires_at.at(self._put.now) if file.expires_at else None,
            bytes=content.size,
            filename=name,
            purpose=file.purpose,
            digest=content.digest,
        )
        self._placed.files.append(id)
        for key in (id, file.ref and _numbered(file.ref, n)):
            if key:
                self._files[key] = id, name, content.size, content.digest, content

    def container(self, container: _Container, place: Place, n: int | None) -> None:
        created, active = _times(container, self._put.now)
        rule, policy = container.expires_after, container.network_policy
        id = self._put.container(
            id=_numbered(container.id, n) if container.id else None,
            seq=container.seq,
            created_at=created,
            last_active_at=active,
            name=_numbered(container.name, n),
            memory_limit=container.memory_limit,
            network_policy=policy.model_dump_json(exclude_none=True) if policy else None,
            expires_anchor=rule.anchor if rule else "last_active_at",
            expires_minutes=(rule.minutes or (rule.days or 0) * 1_440) if rule else 0,
            replaced_by=container.replaced_by or self._replaced.get(container.id or ""),
        )
        self._placed.containers.append(id)
        for file in container.files:
            created_at = file.created_at.at(self._put.now) if file.created_at else active
            self._container_file(file, place, n, id, created_at)

    def _container_file(
        self, file: _ContainerFile, place: Place, n: int | None, container_id: str, created_at: int
    ) -> None:
        file_id = file.file_id
        if file.file:
            file_id, name, size, digest, content = self._copied(file.file, place)
            path: str | None = f"/mnt/data/{file_id}-{name}"
        else:
            content = self._store.stored(file, place, n)
            size, digest, path = content.size, content.digest, file.path
        put_file(
            self._put,
            container_id=container_id,
            id=file.id,
            seq=file.seq,
            created_at=created_at,
            content=content,
            size=size,
            digest=digest,
            name=_numbered(file.name, n),
            path=path,
            source=file.source or ("user" if file.file else None),
            bytes=file.bytes if "bytes" in file.model_fields_set else AS_USUAL,
            file_id=file_id,
        )

    def _copied(self, ref: str, place: Place) -> tuple[str, str, int, str, Upload | None]:
        if ref in self._files:
            return self._files[ref]
        if row := self._put.find_file(ref):
            return row.id, row.filename, row.bytes, row.digest, None
        raise SeedError(f"{place}: no File has the ref or id {ref!r}; describe it under files")


AS_USUAL: Any = object()
"""In place of a size: that of the content, or for what the assistant wrote null."""


def put_file(
    put: Placement,
    *,
    name: str,
    path: str | None,
    source: str | None,
    bytes: int | None,
    size: int,
    digest: str,
    content: Upload | None,
    file_id: str | None = None,
    **columns: Any,
) -> str:
    """Place a container's file. With a path it is the assistant's unless said otherwise."""
    source = source or ("assistant" if path else "user")
    if path is None and source == "assistant":
        path = name
    if path is None:
        assert content is not None  # only a copy has none, and it has a path
        path = f"/mnt/data/{content.blake2b}-{name}"
    if bytes is AS_USUAL:
        bytes = size if source == "user" else None
    return put.container_file(
        bytes=bytes,
        path=path if path.startswith("/") else f"/mnt/data/{path}",
        source=source,
        digest=digest,
        file_id=file_id,
        content=content,
        **columns,
    )


def _pieces(item: _WithContent, place: Place, n: int | None) -> Iterable[bytes]:
    if item.content is not None:
        return [_numbered(item.content, n).encode()]
    if item.base64 is not None:
        return [base64.b64decode(item.base64)]
    if item.generate:
        return _generated(item.generate)
    return place.contents.pieces(item.from_ or "")


def _generated(told: _Generated) -> Iterator[bytes]:
    """The same bytes for the same size and pattern, on every machine."""
    block = {
        "zeros": bytes(1 << 16),
        "text": b"".join(b"%07d The quick brown fox jumps over the lazy dog.\n" % line for line in range(1_000)),
        "random": ids.noise(told.size, 1 << 16),
    }[told.pattern]
    for start in range(0, told.size, len(block)):
        yield block[: told.size - start]


def _numbers(item: _File | _Container) -> Iterable[int | None]:
    """A number for each that it stands for; none where it is not repeated."""
    return [None] if item.repeat is None else range(1, item.repeat + 1)


def _is_numbered(item: _WithContent) -> bool:
    return item.content is not None and "{n}" in item.content


def _text(item: "_File | _Container | _ContainerFile", repeat: int | None) -> int:
    """Bytes of what names an object, at most; with the highest number in it, where it is repeated."""
    names = [item.id]
    if isinstance(item, _Container):
        names += [item.ref, item.name]
    elif isinstance(item, _ContainerFile):
        names += [item.filename or item.from_, item.path, item.file, item.file_id]
    else:
        names += [item.ref, item.filename or item.from_]
    return sum(len(_numbered(name, repeat).encode(errors="replace")) for name in names if name)


def _numbered(text: str, n: int | None) -> str:
    return text if n is None else text.replace("{n}", str(n))


def _times(container: _Container, now: int) -> tuple[int, int]:
    """When it was created and last active: each defaults to the other, both to now."""
    created, active = container.created_at, container.last_active_at
    return (created or active or NOW).at(now), (active or NOW).at(now)


# Words for mistakes


def _explained(source: Source, error: ValidationError) -> str:
    """The first thing wrong, in one line."""
    first = error.errors(include_url=False)[0]
    location = [step for step in first["loc"] if isinstance(step, int) or not step.startswith("function-")]
    where = source.at(*location)
    name = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {name!r}; known here are {', '.join(_known_keys(location[:-1]))}"
    if first["type"] == "missing":
        return f"{where}: {name!r} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {name and f'{name}: '}{message[0].lower()}{message[1:]}"


def _known_keys(location: Sequence[str | int]) -> list[str]:
    model: Any = Document
    for step in location:
        if isinstance(step, int) or model is dict:
            model = _World if model is dict else model
            continue
        model = dict if step == "worlds" else _MODELS[model, step]
    return [field.alias or name for name, field in model.model_fields.items()]


_MODELS: dict[tuple[Any, Any], Any] = {
    (model, name): kind
    for model in (Document, _World)
    for name, kind in (
        ("clock", _Clock),
        ("faults", _Fault),
        ("deleted", _Deleted),
        ("files", _File),
        ("containers", _Container),
    )
} | {
    (_File, "generate"): _Generated,
    (_ContainerFile, "generate"): _Generated,
    (_Fault, "match"): Match,
    (_Fault, "effect"): Effect,
    (_Container, "files"): _ContainerFile,
    (_Container, "expires_after"): _ExpiresAfter,
    (_Container, "network_policy"): _NetworkPolicy,
}
