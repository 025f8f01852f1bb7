"""Seeds: files that describe what every new world holds from the start.

A seed is YAML or JSON, or a plain directory `<container name>/<file…>`. Seeds are read and checked
whole before anything is written; a mistake is told with its file, its line and what to do. What is
described at the top level goes into the template of every world, `worlds.<name>` into that world's.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mockserver import ids, schema
from mockserver.blobs import Blobs
from mockserver.clock import Clock, Wall, parse_duration, parse_instant
from mockserver.profiles import PROFILES
from mockserver.settings import size
from mockserver.sources import SeedError, Source
from mockserver.worlds import EVERYONE, NAME, Placement, Worlds

VERSION = 1
SUFFIXES = {".yaml", ".yml", ".json"}


# The format


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a seed: so many seconds from the template's instant, or since the epoch."""

    seconds: float
    relative: bool

    def at(self, now: int) -> int:
        return int((now if self.relative else 0) + self.seconds // 1)


NOW = Moment(0, relative=True)


def _moment(value: object) -> Moment:
    if isinstance(value, int) and not isinstance(value, bool):
        return Moment(value, relative=False)
    if not isinstance(value, str):
        raise ValueError("write -19m, +2h, 2026-01-31T12:00:00Z, or seconds since 1970")
    if value[:1] in ("-", "+"):
        return Moment(parse_duration(value), relative=True)
    return Moment(parse_instant(value), relative=False)


def _given_as_text(parse: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


Time = Annotated[Moment, BeforeValidator(_moment)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:={}-]{1,256}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class _Clock(_Part):
    at: Annotated[float, _given_as_text(parse_instant)] | None = None
    offset: Annotated[float, _given_as_text(parse_duration)] | None = None
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
    from_: str | None = Field(None, alias="from")
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

    filename: str | None = None

    @property
    def name(self) -> str:
        return self.filename or Path(self.from_ or "").name


class _File(_Named):
    ref: str | None = None
    id: Id | None = None
    purpose: schema.Purpose = "user_data"
    created_at: Time = NOW
    expires_at: Time | None = None
    repeat: Annotated[int, Field(ge=1, le=100_000)] = 1

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.name:
            raise ValueError("give it a filename")
        return self


class _ContainerFile(_Named):
    id: Id | None = None
    file: str | None = None
    path: str | None = None
    source: Literal["user", "assistant"] | None = None
    bytes: Annotated[int, Field(ge=0)] | None = None
    created_at: Time | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.file and (self.sources() or self.filename or self.path or self.source):
            raise ValueError("a copy of a File takes its bytes and name from it; leave out what follows from `file`")
        if not (self.file or self.path or self.name):
            raise ValueError("give it a filename, or for what the assistant wrote a path")
        return self


class _ExpiresAfter(_Part):
    anchor: Literal["last_active_at", "created_at"] = "last_active_at"
    minutes: Annotated[int, Field(ge=1, le=schema.MAX_MINUTES)] | None = None
    days: Annotated[int, Field(ge=1, le=schema.MAX_MINUTES // 1_440)] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.minutes is None) == (self.days is None):
            raise ValueError("give either minutes or days")
        return self


class _NetworkPolicy(_Part):
    type: Literal["disabled", "allowlist"]
    allowed_domains: Annotated[list[str], Field(min_length=1)] | None = None


class _Container(_Part):
    ref: str | None = None
    id: Id | None = None
    name: Annotated[str, Field(min_length=1)]
    created_at: Time | None = None
    last_active_at: Time | None = None
    expires_after: _ExpiresAfter = _ExpiresAfter(minutes=20)
    memory_limit: Literal["1g", "4g", "16g", "64g"] = "1g"
    network_policy: _NetworkPolicy | None = None
    files: list[_ContainerFile] = []
    repeat: Annotated[int, Field(ge=1, le=100_000)] = 1


class _World(_Part):
    clock: _Clock | None = None
    profile: Literal["default", "live"] | None = None
    files: list[_File] = []
    containers: list[_Container] = []


class _Document(_World):
    version: int
    worlds: dict[str, _World] = {}


# Reading


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file something is said; `folder` is what `from` is relative to."""

    path: Path
    line: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(slots=True)
class Scope:
    """What one template holds, each thing with the place that asks for it."""

    clock: tuple[_Clock, Place] | None = None
    profile: tuple[str, Place] | None = None
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
            self.files + other.files,
            self.containers + other.containers,
        )

    def summary(self) -> str:
        files = sum(file.repeat for file, _ in self.files)
        containers = sum(container.repeat for container, _ in self.containers)
        inside = sum(container.repeat * len(container.files) for container, _ in self.containers)
        counts = ((files, "File"), (containers, "container"), (inside, "container file"))
        parts = [f"{number:,} {what}{'' if number == 1 else 's'}" for number, what in counts if number]
        return ", ".join(parts) or "nothing"


@dataclass(slots=True)
class Seed:
    """All that the seeds say: for every world, and what single worlds have beside that."""

    everyone: Scope
    worlds: dict[str, Scope]

    def scopes(self) -> Iterator[tuple[str, Scope]]:
        yield EVERYONE, self.everyone
        for name, own in self.worlds.items():
            overridden = Scope(
                None if own.clock else self.everyone.clock,
                None if own.profile else self.everyone.profile,
                self.everyone.files,
                self.everyone.containers,
            )
            yield name, overridden.with_(own)

    def summary(self) -> str:
        more = [f"; in world {name} also {scope.summary()}" for name, scope in self.worlds.items()]
        return self.everyone.summary() + "".join(more)


def read_seeds(paths: Sequence[Path], max_file: int) -> Seed:
    """Read and check. `max_file` bounds each content, in bytes. Raises SeedError."""
    seed = Seed(Scope(), {})
    for path in paths:
        for everyone, worlds in _read(path):
            seed.everyone = seed.everyone.with_(everyone)
            for name, scope in worlds.items():
                seed.worlds[name] = seed.worlds.get(name, Scope()).with_(scope)
    for _, scope in seed.scopes():
        _check(scope, max_file)
    return seed


def _read(path: Path) -> Iterator[tuple[Scope, dict[str, Scope]]]:
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
        if files:
            yield from chain.from_iterable(map(_read, files))
        else:
            yield _read_folders(path), {}
    elif path.suffix not in SUFFIXES and path.exists():
        raise SeedError(f"{path}: a seed's name ends in .yaml, .yml or .json; rename it")
    else:
        yield _read_document(path)


def _read_folders(path: Path) -> Scope:
    """A directory without seed files: each folder in it is a container that holds the folder's files."""
    scope = Scope()
    for folder in sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")):
        names = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
        shown = [name for name in names if not re.search(r"(^|/)\.", name)]
        files = [_ContainerFile.model_validate({"from": name, "filename": name}) for name in shown]
        scope.containers.append((_Container(name=folder.name, files=files), Place(folder, 0, folder)))
    return scope


def _read_document(path: Path) -> tuple[Scope, dict[str, Scope]]:
    source = Source(path)
    values = source.values
    if not isinstance(values, dict):
        raise SeedError(f"{path}:1: a seed is a mapping; start it with: version: {VERSION}")
    if isinstance(version := values.get("version"), int) and version > VERSION:
        where = source.at("version")
        raise SeedError(f"{where}: version {version} is newer than this mockserver's {VERSION}; upgrade it")
    try:
        document = _Document.model_validate(values)
    except ValidationError as error:
        raise SeedError(_explained(source, error)) from None
    if document.version != VERSION:
        raise SeedError(f"{source.at('version')}: there is no version {document.version}; write {VERSION}")
    for name in document.worlds:
        if not NAME.fullmatch(name):
            where = source.at("worlds", name)
            raise SeedError(f"{where}: {name!r} can't name a world; use letters, digits, dots, hyphens")
    worlds = {name: _scope(source, world, ("worlds", name)) for name, world in document.worlds.items()}
    return _scope(source, document, ()), worlds


def _scope(source: Source, world: _World, at: tuple[str, ...]) -> Scope:
    def place(*steps: str | int) -> Place:
        return Place(source.path, source.line(*at, *steps), source.path.parent)

    return Scope(
        (world.clock, place("clock")) if world.clock else None,
        (world.profile, place("profile")) if world.profile else None,
        [(file, place("files", n)) for n, file in enumerate(world.files)],
        [(container, place("containers", n)) for n, container in enumerate(world.containers)],
    )


# Checking what the format can't say


def _check(scope: Scope, max_file: int) -> None:
    """References lead somewhere, names are used once, and every file is there and not too large."""
    files: dict[str, Place] = {}
    containers: dict[str, Place] = {}
    for file, place in scope.files:
        _check_content(file, place, max_file)
        for n in _numbers(file):
            _claim(files, {_numbered(name, n) for name in (file.ref, file.id) if name}, place)
    for container, place in scope.containers:
        inside: dict[str, Place] = {}
        created, active = container.created_at or NOW, container.last_active_at or NOW
        if container.created_at and created.relative == active.relative and created.seconds > active.seconds:
            raise SeedError(f"{place}: it was last active before it was created; mend created_at or last_active_at")
        for n in _numbers(container):
            _claim(containers, {_numbered(name, n) for name in (container.ref, container.id) if name}, place)
        for inner in container.files:
            if inner.file is None:
                _check_content(inner, place, max_file)
            elif inner.file not in files:
                raise SeedError(f"{place}: no File has the ref or id {inner.file!r}; describe it under files")
            _claim(inside, {inner.id} if inner.id else set(), place)


def _claim(taken: dict[str, Place], names: set[str], place: Place) -> None:
    for name in names:
        if name in taken:
            raise SeedError(
                f"{place}: {name!r} is taken at {taken[name]}; each ref and id names one object ({{n}} tells repeated ones apart)"
            )
        taken[name] = place


def _check_content(item: _WithContent, place: Place, max_file: int) -> None:
    length = 0
    if item.from_ is not None:
        length = _inside(item.from_, place).stat().st_size
    elif item.generate:
        length = item.generate.size
    elif item.content is not None:
        length = len(item.content.encode())
    if length > max_file:
        raise SeedError(
            f"{place}: {length:,} bytes are more than --max-upload allows ({max_file:,}); raise it, or shorten the file"
        )


def _inside(name: str, place: Place) -> Path:
    folder = place.folder.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise SeedError(f"{place}: {name!r} leaves the seed's folder; move the file below {place.folder}")
    if not path.is_file():
        raise SeedError(f"{place}: there is no file {name!r} below {place.folder}; make it, or mend the path")
    return path


# Planting


def plant(seed: Seed, worlds: Worlds, blobs: Blobs, wall: Wall) -> None:
    """Make the templates that the seed describes. Contents first, each template's rows at once."""
    for name, scope in seed.scopes():
        clock, restarts = _clock(scope.clock[0] if scope.clock else _Clock(), wall.now())
        profile = PROFILES[scope.profile[0]] if scope.profile else None
        with worlds.place(name, clock, restarts, profile) as put:
            _Planter(put, blobs).plant(scope)


def _clock(told: _Clock, wall: float) -> tuple[Clock, bool]:
    if told.at is not None:
        return Clock(told.at, wall, told.rate), True
    return Clock(wall + (told.offset or 0), wall, told.rate), False


@dataclass(frozen=True, slots=True)
class _Stored:
    digest: str
    size: int
    blake2b: str


class _Planter:
    """Puts a scope's objects into a template."""

    def __init__(self, put: Placement, blobs: Blobs) -> None:
        self._put = put
        self._blobs = blobs
        self._files: dict[str, tuple[str, str, _Stored]] = {}
        """Id, file name and content of each File, by its ref and by its id."""

    def plant(self, scope: Scope) -> None:
        for file, place in scope.files:
            for n in _numbers(file):
                self._file(file, place, n)
        for container, place in scope.containers:
            for n in _numbers(container):
                self._container(container, place, n)

    def _file(self, file: _File, place: Place, n: int) -> None:
        stored, name = self._store(file, place, n), _numbered(file.name, n)
        id = self._put.file(
            id=_numbered(file.id, n) if file.id else None,
            created_at=file.created_at.at(self._put.now),
            expires_at=file.expires_at.at(self._put.now) if file.expires_at else None,
            bytes=stored.size,
            filename=name,
            purpose=file.purpose,
            digest=stored.digest,
        )
        for key in (id, file.ref and _numbered(file.ref, n)):
            if key:
                self._files[key] = id, name, stored

    def _container(self, container: _Container, place: Place, n: int) -> None:
        created, active = _times(container, self._put.now)
        rule, policy = container.expires_after, container.network_policy
        id = self._put.container(
            id=_numbered(container.id, n) if container.id else None,
            created_at=created,
            last_active_at=active,
            name=_numbered(container.name, n),
            memory_limit=container.memory_limit,
            network_policy=policy.model_dump_json(exclude_none=True) if policy else None,
            expires_anchor=rule.anchor,
            expires_minutes=rule.minutes or (rule.days or 0) * 1_440,
        )
        for file in container.files:
            self._container_file(file, place, n, id, file.created_at.at(self._put.now) if file.created_at else active)

    def _container_file(self, file: _ContainerFile, place: Place, n: int, container_id: str, created_at: int) -> None:
        file_id = None
        if file.file:
            file_id, name, stored = self._files[file.file]
            path = f"/mnt/data/{file_id}-{name}"
        else:
            stored = self._store(file, place, n)
            path = f"/mnt/data/{stored.blake2b}-{_numbered(file.name, n)}"
        if file.path:
            path = file.path if file.path.startswith("/") else f"/mnt/data/{file.path}"
        source = file.source or ("assistant" if file.path else "user")
        self._put.container_file(
            id=file.id,
            container_id=container_id,
            created_at=created_at,
            bytes=stored.size if source == "user" and file.bytes is None else file.bytes,
            path=path,
            source=source,
            digest=stored.digest,
            file_id=file_id,
        )

    def _store(self, item: _WithContent, place: Place, n: int) -> _Stored:
        try:
            draft = self._blobs.put(_pieces(item, place, n), blake2b=True)
        except OSError as error:
            raise SeedError(f"{place}: {error.strerror}: {error.filename}") from error
        self._blobs.keep(draft)
        return _Stored(draft.digest, draft.size, draft.blake2b)


def _pieces(item: _WithContent, place: Place, n: int) -> Iterable[bytes]:
    if item.content is not None:
        return [_numbered(item.content, n).encode()]
    if item.base64 is not None:
        return [base64.b64decode(item.base64)]
    if item.generate:
        return _generated(item.generate)
    return _read_pieces(_inside(item.from_ or "", place))


def _read_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(partial(file.read, 1 << 20), b"")


def _generated(told: _Generated) -> Iterator[bytes]:
    """The same bytes for the same size and pattern, on every machine."""
    block = {
        "zeros": bytes(1 << 16),
        "text": b"".join(b"%07d The quick brown fox jumps over the lazy dog.\n" % line for line in range(1_000)),
        "random": ids.noise(told.size, 1 << 16),
    }[told.pattern]
    for start in range(0, told.size, len(block)):
        yield block[: told.size - start]


def _numbers(item: _File | _Container) -> range:
    return range(1, item.repeat + 1)


def _numbered(text: str, n: int) -> str:
    return text.replace("{n}", str(n))


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
    return f"{where}: {name}: {message[0].lower()}{message[1:]}"


def _known_keys(location: Sequence[str | int]) -> list[str]:
    model: Any = _Document
    for step in location:
        if isinstance(step, int) or model is dict:
            model = _World if model is dict else model
            continue
        model = dict if step == "worlds" else _MODELS[model, step]
    return [field.alias or name for name, field in model.model_fields.items()]


_MODELS: dict[tuple[Any, Any], Any] = {
    (model, name): kind
    for model in (_Document, _World)
    for name, kind in (("clock", _Clock), ("files", _File), ("containers", _Container))
} | {
    (_File, "generate"): _Generated,
    (_ContainerFile, "generate"): _Generated,
    (_Container, "files"): _ContainerFile,
    (_Container, "expires_after"): _ExpiresAfter,
    (_Container, "network_policy"): _NetworkPolicy,
}
