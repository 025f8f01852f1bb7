"""Write a world as a zip file of `seed.yaml` and `blobs/<sha256>`, as a stream, and read such archives.

Archives come from anybody, so their limits are checked before they are trusted: the number of members, their
sizes, their compression ratios, and their names, which must stay inside the archive.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from mockserver import zips
from mockserver.bounds import Excess, JSONCounter
from mockserver.seeds.containers import Container
from mockserver.seeds.document import IMPORTED, MAX_BYTES
from mockserver.seeds.entry import Export
from mockserver.seeds.models import LISTS
from mockserver.seeds.scope import MAX_OBJECTS
from mockserver.settings import SeedError
from mockserver.states import read_row
from mockserver.storage.contents import Contents
from mockserver.storage.database import connect_closed
from mockserver.storage.directory import DATABASE

SUFFIX = ".zip"
SEEDS = ("seed.yaml", "seed.yml", "seed.json")
MAX_MEMBERS = 200_000
MAX_DIRECTORY = 32 << 20
"""Bytes of a zip file's own table of contents."""
_BLOB = re.compile(r"blobs/([0-9a-f]{64})")


# Reading


class Archive:
    """The members of an archive. `shown` is its name in the SeedErrors that everything here raises."""

    def __init__(self, path: Path, shown: Path, max_total: float = math.inf) -> None:
        self.path = path
        self.shown = shown
        self._zip: zipfile.ZipFile | None = None
        self._stack = ExitStack()
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            with self._failing():
                self._read_directory(max_total)
        except SeedError:
            self.close()
            raise

    def _read_directory(self, max_total: float) -> None:
        total = 0
        for member in self._open().infolist():
            name = member.filename
            if member.is_dir():
                continue
            if problem := zips.problem(member, free=MAX_BYTES if name in SEEDS else zips.RATIO_FREE):
                raise self._error(f"member {name[:200]!r} {problem}")
            if name in self._members:
                raise self._error(f"duplicate member {name[:200]!r}; remove one")
            self._members[name] = member
            total += member.file_size
        if len(self._members) > MAX_MEMBERS:
            raise self._error(f"{len(self._members):,} members are more than {MAX_MEMBERS:,}")
        if total > max_total:
            raise self._error(f"its contents are {total:,} bytes, more than {max_total:,.0f}; raise --max-import")

    def seed(self) -> tuple[Path, bytes]:
        """Return the document, and its name for errors."""
        found = [name for name in SEEDS if name in self._members]
        if len(found) != 1:
            raise self._error(f"it contains {len(found)} of {', '.join(SEEDS)}; put exactly one at its top level")
        if self.size(found[0]) > MAX_BYTES:
            raise SeedError(f"{self.shown}/{found[0]}: more than {MAX_BYTES:,} bytes")
        return self.shown / found[0], b"".join(self.pieces(found[0]))

    def names(self, folder: str) -> list[str]:
        return [name[len(folder) + 1 :] for name in self._members if name.startswith(f"{folder}/")]

    def size(self, name: str) -> int:
        if name not in self._members:
            raise SeedError(f"there is no member {name!r} in {self.shown}; add it, or correct the path")
        return self._members[name].file_size

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes, and check the digest if its name contains one."""
        digest = sha256() if (blob := _BLOB.fullmatch(name)) else None
        with self._failing():
            self.size(name)
            with self._open().open(self._members[name]) as member:
                while piece := member.read(zips.PIECE):
                    if digest:
                        digest.update(piece)
                    yield piece
        if digest and blob and digest.hexdigest() != blob[1]:
            raise self._error(f"the SHA-256 of {name} differs from its name; create the archive again")

    def verify(self) -> None:
        """Read all members, so that errors are raised before anything is written."""
        for name in self._members:
            for _ in self.pieces(name):
                pass

    def close(self) -> None:
        """Close the file; reading opens it again."""
        self._stack.close()
        self._zip = None

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None:
            with ExitStack() as stack:
                file = stack.enter_context(zips.Bounded(self.path, MAX_DIRECTORY))
                self._zip = stack.enter_context(zipfile.ZipFile(file))
                self._stack = stack.pop_all()
        return self._zip

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except zips.FAILURES as error:
            raise self._error(f"it can't be read as a zip archive ({error}); create it again") from None

    def _error(self, problem: str) -> SeedError:
        return SeedError(f"{self.shown}: {problem}")


# Writing


def write(directory: Path) -> Generator[bytes]:
    """Yield the archive of a world from a private copy of its directory, in pieces.

    Raises SeedError before the first piece if no import would take it. May block on the disk, and can run in any
    thread.
    """
    buffer = _Buffer()
    contents = Contents(directory)
    with closing(connect_closed(directory / DATABASE)) as tx, zipfile.ZipFile(buffer, "w") as archive:
        out = Export(tx)
        with archive.open(zips.new_member(SEEDS[0], zipfile.ZIP_DEFLATED), "w", force_zip64=True) as member:
            for line in _importable(out):
                member.write(line)
        for digest in out.digests:
            with contents.open(tx, digest) as file:
                size = file.seek(0, 2)
                file.seek(0)
                with archive.open(
                    zips.new_member(f"blobs/{digest}"), "w", force_zip64=size > zipfile.ZIP64_LIMIT
                ) as member:
                    while piece := file.read(zips.PIECE):
                        member.write(piece)
                        yield from buffer.take(zips.PIECE)
    yield from buffer.take(0)


class _Buffer(io.RawIOBase):
    """A buffer for a zip file that is written from its start to its end."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # zipfile writes bytes
        self._buffer += data
        return len(data)

    def take(self, least: int) -> Iterator[bytes]:
        """Yield the buffered bytes if there are at least this many."""
        if self._buffer and len(self._buffer) >= least:
            data, self._buffer = bytes(self._buffer), bytearray()
            yield data


def _importable(out: Export) -> Iterator[bytes]:
    """Yield the document. Raises SeedError as soon as it is more than an import takes."""
    counter, size = JSONCounter(IMPORTED.json_values, escapes=IMPORTED.json_escapes), 0
    try:
        for line in _document(out):
            text = line.encode()
            size += len(text)
            counter.feed(text)
            for found, allowed, of in (
                (size, MAX_BYTES, "bytes besides the contents of files"),
                (out.objects, MAX_OBJECTS, "objects"),
                (len(out.digests), MAX_MEMBERS - 1, "contents"),
            ):
                if found > allowed:
                    raise Excess(f"it holds more than {allowed:,} {of}")
            yield text
    except Excess as excess:
        raise SeedError(
            f"the world is larger than an import takes: {excess}; delete objects that it can do without, such as "
            "responses, or keep it as a snapshot"
        ) from None


def _document(out: Export) -> Iterator[str]:
    """Yield `seed.yaml` with one line for each object. It is JSON, which is also YAML and faster to read."""
    world = read_row(out.tx)
    yield '{"version": 1,\n'
    yield f'"clock": {_text({"at": world.clock_virtual, "rate": world.clock_rate})},\n'
    if world.profile:
        yield f'"profile": {_text(json.loads(world.profile))},\n'
    yield f'"ordinal": {world.ordinal},\n'
    for key in sorted(LISTS, key=lambda key: LISTS[key] is Container):  # the largest list last
        yield from _lines(key, LISTS[key].export(out), "}\n" if LISTS[key] is Container else ",\n")


def _lines(key: str, entries: Iterator[dict[str, Any]], end: str) -> Iterator[str]:
    yield f'"{key}": ['
    for number, entry in enumerate(entries):
        yield (",\n" if number else "\n") + _entry(entry)
    yield f"]{end}"


def _entry(entry: dict[str, Any]) -> str:
    *_, last = entry
    if not isinstance(entry[last], Iterator):
        return _text(entry)
    inside = "".join(_lines(last, entry.pop(last), "}"))
    return f"{_text(entry)[:-1]}, {inside}"


_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON allows and YAML doesn't."""


def _text(value: Any) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
