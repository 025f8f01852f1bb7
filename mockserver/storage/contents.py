"""Contents: immutable bytes named by their SHA-256, each world's in its own directory.

Small ones are rows, large ones are files in `contents/`. An upload is hashed while it is received: a small one in
memory, a large one in a numbered file in `uploads/`. It is put into place in the transaction that inserts its row, and
removed in a later one that finds no row naming it. So a crash can leave bytes that no row names, which are removed
when the world is next opened, but never a row without its bytes. A name that a client sent is never a file's name.
"""

import asyncio
import codecs
import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from mockserver.storage import tables
from mockserver.storage.database import Insertion, Statement, Transaction
from mockserver.storage.migrations import Unusable

SMALL = 16 * 1024
"""Bytes of the largest content that is stored as a row. To create, rename and remove a file is costly."""
PLACEHOLDER = b"Nobody uploaded this file.\n"

_numbers = itertools.count()
_insert = Insertion(tables.Content)
_find = Statement("SELECT content FROM contents WHERE digest = :digest")
_size = Statement("SELECT length(content) FROM contents WHERE digest = :digest")
_is_named = Statement("SELECT 1 FROM named_contents WHERE digest = :digest")
_delete = Statement(
    "DELETE FROM contents WHERE digest = :digest "
    "AND NOT EXISTS (SELECT 1 FROM named_contents WHERE named_contents.digest = :digest)"
)
_delete_unnamed = Statement("DELETE FROM contents WHERE digest NOT IN (SELECT digest FROM named_contents)")
_files_named = Statement("SELECT DISTINCT digest FROM named_contents WHERE digest NOT IN (SELECT digest FROM contents)")


@dataclass(slots=True, eq=False)
class Upload:
    """Bytes that are received, hashed and stored. Every method may block on the disk, and can run in any thread.

    `blake2b` has 16 bytes in hexadecimal, or is empty if it was not requested.
    """

    folder: Path
    _blake2b: hashlib.blake2b | None = None
    _sha256: Any = field(default_factory=hashlib.sha256)
    file: BinaryIO | None = None
    """Holds the bytes if they are many, or if a file was requested."""
    buffer: bytearray = field(default_factory=bytearray)
    """Holds the bytes otherwise."""
    size: int = 0
    digest: str = ""
    blake2b: str = ""
    kept: bool = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.size += len(data)
        if self.file is None and self.size > SMALL:
            self.become_file()
        if self.file:
            self.file.write(data)
        else:
            self.buffer += data
        self._sha256.update(data)
        if self._blake2b:
            self._blake2b.update(data)

    def finish(self) -> Self:
        if self.file:
            self.file.close()
        self.digest = self._sha256.hexdigest()
        self.blake2b = self._blake2b.hexdigest() if self._blake2b else ""
        self._sha256 = self._blake2b = None
        return self

    @property
    def path(self) -> Path:
        """Return the path of the file."""
        assert self.file
        return Path(self.file.name)

    def open(self) -> BinaryIO:
        """For reading, once it is finished; also several times."""
        return self.path.open("rb") if self.file else io.BytesIO(self.buffer)

    def is_utf8(self) -> bool:
        """Whether the bytes are UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.open() as file:
            try:
                while piece := file.read(1 << 20):
                    decoder.decode(piece)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return False
        return True

    def become_file(self) -> None:
        self.file = (self.folder / f"{os.getpid()}-{next(_numbers)}").open("xb")
        self.file.write(self.buffer)
        self.buffer.clear()

    def discard(self) -> None:
        """Remove the bytes, if they were not kept."""
        if self.file:
            with suppress(OSError):  # the disk may be full when buffered bytes are written
                self.file.close()
            if not self.kept:
                self.path.unlink(missing_ok=True)


class Uploads:
    """Creates uploads, before it is known which world they are for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, blake2b: bool = False, as_file: bool = False) -> Upload:
        """Start an upload. With `as_file`, even few bytes are not held in memory."""
        upload = Upload(self._folder, hashlib.blake2b(digest_size=16) if blake2b else None)
        if as_file:
            upload.become_file()
        return upload

    def put(self, pieces: Iterable[bytes], blake2b: bool = False, as_file: bool = False) -> Upload:
        upload = self.begin(blake2b, as_file)
        try:
            for piece in pieces:
                upload.write(piece)
            return upload.finish()
        except BaseException:
            upload.discard()
            raise


def small(content: bytes) -> Upload:
    """Bytes that the server makes, at most `SMALL`."""
    assert len(content) <= SMALL
    return Uploads(Path()).put([content], blake2b=True)


def placeholder() -> Upload:
    """Return the content of a file that nobody uploaded."""
    return small(PLACEHOLDER)


class Contents:
    """The contents of one world."""

    __slots__ = ("_kept", "_path", "_removing", "copiers", "dropped")

    def __init__(self, directory: Path) -> None:
        self._path = directory / "contents"
        self.dropped: set[str] = set()
        """Digests of files that possibly no row names."""
        self._kept: set[str] = set()
        """Files that were put into place in a transaction which is not committed yet."""
        self._removing = False
        self.copiers = 0
        """Copies of the world in progress. Their rows may name contents that are deleted meanwhile, so no file is removed."""

    def keep(self, tx: Transaction, upload: Upload, shared: bool = False) -> None:
        """Put an upload into place, in the write transaction that inserts its row. A `shared` one stays available for
        other worlds, and one whose bytes are there already until it is discarded."""
        if upload.size <= SMALL:  # by its size alone, so that no content is both a row and a file
            content = upload.path.read_bytes() if upload.file else bytes(upload.buffer)
            _insert.add(tx, _insert.new(digest=upload.digest, content=content))
            return
        place = self._place(upload.digest)
        if not place.exists():  # some file systems write a file out before another one is renamed over it
            _put(_link if shared else Path.replace, upload.path, place)
            upload.kept = not shared
        self._kept.add(upload.digest)

    def end(self, failed: bool) -> bool:
        """The transaction that kept files has ended. If it failed, possibly no row names them. Returns whether there
        are files that no row names."""
        if failed:
            self.dropped |= self._kept
        self._kept.clear()
        return bool(self.dropped)

    def open(self, tx: Transaction, digest: str) -> BinaryIO:
        """Open a content for reading. It stays readable if it is removed meanwhile.

        Raises FileNotFoundError, and Unusable for bytes that are not those that were stored.
        """
        content: bytes | None = _find.value(tx, digest=digest)
        if content is None:
            return self._place(digest).open("rb", buffering=0)
        if hashlib.sha256(content).hexdigest() != digest:  # SQLite's own check doesn't see damaged overflow pages
            raise Unusable("is damaged (a content has another digest)")
        return io.BytesIO(content)

    def size(self, tx: Transaction, digest: str) -> int:
        """Return the number of bytes. Raises FileNotFoundError."""
        size = _size.value(tx, digest=digest)
        return self._place(digest).stat().st_size if size is None else int(size)

    def drop(self, tx: Transaction, digests: Iterable[str]) -> None:
        """In the transaction that deletes rows: remove contents that no row names any more.

        Files are `dropped`, to be removed when the transaction has been committed.
        """
        for digest in digests:
            if not _delete.run(tx, digest=digest) and not _is_named.value(tx, digest=digest):
                self.dropped.add(digest)

    @property
    def loose(self) -> bool:
        """Whether there are files to remove, and neither a copy nor another removal prevents it."""
        return bool(self.dropped) and not self.copiers and not self._removing

    @contextmanager
    def removing(self) -> Iterator[set[str]]:
        """Yield the digests that were dropped. Those that are left in the set at the end are dropped again."""
        dropped, self.dropped, self._removing = self.dropped, set(), True
        try:
            yield dropped
        finally:
            self.dropped |= dropped
            self._removing = False

    def remove(self, tx: Transaction, digest: str) -> None:
        """Remove a file if no row names it, in a write transaction: nothing can be kept meanwhile."""
        if not _is_named.value(tx, digest=digest):
            with suppress(OSError):  # its object is gone all the same
                self._place(digest).unlink(missing_ok=True)

    def sweep(self, tx: Transaction) -> None:
        """Remove what a crash left behind, in a write transaction."""
        _delete_unnamed.run(tx)
        for file in self._path.glob("??/*"):
            if not _is_named.value(tx, digest=file.name):
                file.unlink(missing_ok=True)

    async def undisturbed(self) -> None:
        """Wait until no copy of the world is in progress and no file is removed, before its directory is moved."""
        while self.copiers or self._removing:  # noqa: ASYNC110  # copies take milliseconds, and hardly ever run at such a moment
            await asyncio.sleep(0.001)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remove no file within the block. For the thread of the event loop."""
        self.copiers += 1
        try:
            yield
        finally:
            self.copiers -= 1

    def _place(self, digest: str) -> Path:
        return self._path / digest[:2] / digest


def files_named(tx: Transaction) -> list[str]:
    """Return the digests of all contents that are files, from the rows that name them."""
    return [digest for (digest,) in _files_named.tuples(tx)]


def link(digests: Iterable[str], source: Path, target: Path) -> None:
    """Link contents into the directory of another world; copy them where links don't work."""
    for digest in digests:
        _put(_link, source / "contents" / digest[:2] / digest, target / "contents" / digest[:2] / digest)


def _link(original: Path, place: Path) -> None:
    try:
        os.link(original, place)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, or with too many of one file
        shutil.copyfile(original, place)


def _put(put: Callable[[Path, Path], object], original: Path, place: Path) -> None:
    try:
        put(original, place)
    except FileNotFoundError:  # the first of its folder
        place.parent.mkdir(parents=True, exist_ok=True)
        put(original, place)


def stored(directory: Path) -> list[str]:
    """Return the digests of the contents that are files, from the directory of a template or a snapshot."""
    return [file.name for file in (directory / "contents").glob("??/*")]
