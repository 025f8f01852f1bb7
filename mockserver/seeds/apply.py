"""Place the objects of seeds into templates and worlds: first the contents, then all rows at once."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Any, Self

from mockserver import ids
from mockserver.clock import Clock, Wall
from mockserver.context import World
from mockserver.profiles import Profile
from mockserver.schema import sources
from mockserver.seeds import models
from mockserver.seeds.loader import Seed
from mockserver.seeds.scope import Place, Scope, located
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Upload, Uploads
from mockserver.storage.database import in_thread
from mockserver.worlds import Worlds

LARGE = 500
"""More objects than this are placed in a thread, not on the event loop."""


LARGE_TEXT = 1 << 20
"""More bytes of names than this are placed in a thread, too."""


IN_MEMORY = 16 << 20
"""Bytes of small contents that are kept in memory until their rows are placed; further ones become files."""


@dataclass(slots=True)
class Placed:
    """The ids of placed objects, in the order of the document."""

    files: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def make_templates(seed: Seed, worlds: Worlds, uploads: Uploads, wall: Wall) -> None:
    """Create the templates that a seed describes."""
    with Store(uploads) as store, closing(seed):
        scopes = list(seed.scopes())
        for _, scope in scopes:
            store.store(scope)
        for name, scope in scopes:
            clock, restarts = _clock(scope, wall.now())
            fill = partial(_fill, scope, store, Placed())
            worlds.add_template(name, clock, fill, restarts=restarts, profile=_profile(scope, worlds))


async def place(
    scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str, *, only_objects: bool = False
) -> Placed:
    """Place all objects of a document into a world at once, and set its clock and profile unless `only_objects`.

    Relative times are relative to the world's time.
    """
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
    """Replace a world's whole state by what a document describes, in one step."""
    with Store(uploads) as store:
        await in_thread(store.store, scope)
        clock, _ = _clock(scope, wall.now())
        return await worlds.become(name, partial(_fill, scope, store, Placed()), clock, _profile(scope, worlds))


def _clock(scope: Scope, wall: float) -> tuple[Clock, bool]:
    """Return the clock, and whether every new world starts at its instant."""
    given = scope.clock[0] if scope.clock else models.Clock()
    if given.at is not None:
        return Clock(given.at, wall, given.rate), True
    return Clock(wall + (given.offset or 0), wall, given.rate), False


def _profile(scope: Scope, worlds: Worlds) -> Profile | None:
    return worlds.profile(scope.profile[0]) if scope.profile else None


class Store:
    """The contents of documents until their rows are placed. What no row uses is discarded at the end."""

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
        """Store the contents of a scope. May block on the disk, and can run in any thread."""
        for file, place in scope.files:
            for n in models.numbers(file):
                self._store(file, place, n)
        for container, place in scope.containers:
            for inner in container.files:
                if inner.file is None:
                    for n in models.numbers(container):
                        self._store(inner, place, n)

    def stored(self, item: sources.WithContent, place: Place, n: int | None) -> Upload:
        return self._by_item[self._key(item, place, n)]

    def _store(self, item: sources.WithContent, place: Place, n: int | None) -> None:
        key = self._key(item, place, n)
        if key in self._by_item:
            return
        with located(place):
            upload = self._uploads.put(pieces(item, place, n), blake2b=True, as_file=self._in_memory > IN_MEMORY)
        first = self._by_digest.setdefault(upload.digest, upload)
        if first is not upload:
            upload.discard()
        else:
            self._in_memory += len(upload.buffer)
        self._by_item[key] = first

    def _key(self, item: sources.WithContent, place: Place, n: int | None) -> tuple[int, int | str | None]:
        """Return the key of an item's content: repeated objects share it unless their number is part of it."""
        if item.from_ is not None:
            return id(place.contents), item.from_
        return id(item), n if models.is_numbered(item) else None


def _fill(scope: Scope, store: Store, placed: Placed, put: Placement) -> None:
    replaced = {each.id: each.object["id"] for each in scope.deleted if each.list == models.SUCCESSORS}
    filler = _Filler(store, put, placed, replaced)
    # Start after the ordinals of an export: otherwise its ids would be used a second time.
    put.skip(max(chain([scope.ordinal], scope.seqs())))
    for fault, _ in scope.faults:
        filler.fault(fault)
    for file, place in scope.files:
        for n in models.numbers(file):
            filler.file(file, place, n)
    for container, place in scope.containers:
        for n in models.numbers(container):
            filler.container(container, place, n)
    if put.exact:
        for each in scope.deleted:
            if each.list != models.SUCCESSORS:
                row = models.TABLES.get(each.list, tables.ContainerFile)
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

    def fault(self, fault: models.Fault) -> None:
        state = {"matched", "fired", "created_at", "window_at", "window_used"}
        columns = fault.model_dump(include=state) | {
            "created_at": self._put.now if fault.created_at is None else fault.created_at
        }
        id = self._put.fault(id=fault.id, rule=fault.model_dump_json(exclude_unset=True, exclude=state), **columns)
        self._placed.faults.append(id)

    def file(self, file: models.File, place: Place, n: int | None) -> None:
        content, name = self._store.stored(file, place, n), models.numbered(file.name, n)
        id = self._put.file(
            id=models.numbered(file.id, n) if file.id else None,
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
        for key in (id, file.ref and models.numbered(file.ref, n)):
            if key:
                self._files[key] = id, name, content.size, content.digest, content

    def container(self, container: models.Container, place: Place, n: int | None) -> None:
        created, active = _times(container, self._put.now)
        rule, policy = container.expires_after, container.network_policy
        id = self._put.container(
            id=models.numbered(container.id, n) if container.id else None,
            seq=container.seq,
            created_at=created,
            last_active_at=active,
            name=models.numbered(container.name, n),
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
        self, file: models.ContainerFile, place: Place, n: int | None, container_id: str, created_at: int
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
            name=models.numbered(file.name, n),
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
"""Instead of a size: that of the content, or null if the assistant wrote it."""


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
    """Place a container's file. The default source is the assistant if there is a path, else the user."""
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


def pieces(item: sources.WithContent, place: Place | None = None, n: int | None = None) -> Iterable[bytes]:
    """Return the bytes that an item describes. Only one with a `place` can name a file."""
    if item.content is not None:
        return [models.numbered(item.content, n).encode()]
    if item.base64 is not None:
        return [base64.b64decode(item.base64)]
    if item.generate:
        return _generated(item.generate)
    assert place
    return place.contents.pieces(item.from_ or "")


def _generated(described: sources.Generated) -> Iterator[bytes]:
    """Yield bytes that are the same for the same size and pattern on every machine."""
    block = {
        "zeros": bytes(1 << 16),
        "text": b"".join(b"%07d The quick brown fox jumps over the lazy dog.\n" % line for line in range(1_000)),
        "random": ids.noise(described.size, 1 << 16),
    }[described.pattern]
    for start in range(0, described.size, len(block)):
        yield block[: described.size - start]


def _times(container: models.Container, now: int) -> tuple[int, int]:
    """Return when it was created and last active: the former defaults to the latter, which defaults to now."""
    created, active = container.created_at, container.last_active_at
    return (created or active or models.NOW).at(now), (active or models.NOW).at(now)
