"""Contents: immutable bytes named by their SHA-256. Small ones are rows, large ones files in `blobs/`.

A small upload is hashed in memory and inserted together with its object. A large one is written to
`uploads/` under a number while it is hashed, and renamed to its digest in the transaction that inserts
its row: the worst crash leaves bytes without a row, which the sweep at the next start removes, and
never a row without its bytes. No name that a client chose is ever a file's name.
"""

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import bindparam, delete, func, select

from mockserver.storage import tables
from mockserver.storage.database import Busy, Database, Insertion, Statement, Transaction, failure, record, table

_FILE = table(tables.File)
_COPY = table(tables.ContainerFile)
_CONTENT = table(tables.Content)
_used = Statement(
    select(_FILE.c.digest)
    .where(_FILE.c.digest == bindparam("digest"))
    .union_all(select(_COPY.c.digest).where(_COPY.c.digest == bindparam("digest")))
    .limit(1)
)
_this = _CONTENT.c.digest == bindparam("digest")
_new = record(tables.Content)
_insert = Insertion(tables.Content, if_new=True)
_find = Statement(select(_CONTENT.c.content).where(_this))
_size = Statement(select(func.length(_CONTENT.c.content)).where(_this))
_delete = Statement(delete(_CONTENT).where(_this))
_all = Statement(
    select(_CONTENT.c.digest)
    .where(_CONTENT.c.digest > bindparam("after"))
    .order_by(_CONTENT.c.digest)
    .limit(bindparam("limit"))
)

SMALL = 16 * 1024
"""The most bytes of a content that is a row: to make, rename and remove a file costs more than all else about it."""
_numbers = itertools.count()

PLACEHOLDER = b"Nobody uploaded this file.\n"
BATCH = 500
"""Blobs removed under one lock while others wait for it."""


@dataclass(slots=True)
class Draft:
    """Bytes on their way in. `blake2b` (of 16 bytes, in hexadecimal) only where it was asked for."""

    folder: Path
    file: BinaryIO | None = None
    """Where they are once they are many, or were to be a file from the beginning."""
    few: bytearray = field(default_factory=bytearray)
    """Where they are otherwise."""
    size: int = 0
    digest: str = ""
    blake2b: str = ""
    kept: bool = False

    @property
    def path(self) -> Path:
        """Of the file."""
        assert self.file
        return Path(self.file.name)

    def become_file(self) -> None:
        self.file = (self.folder / str(next(_numbers))).open("xb")
        self.file.write(self.few)
        self.few.clear()

    def discard(self) -> None:
        """Forget it, if it was not kept."""
        if self.file:
            with suppress(OSError):  # what was not written yet may have no room
                self.file.close()
            if not self.kept:
                self.path.unlink(missing_ok=True)


class Writer:
    """Writes and hashes a draft; every method may block on the disk and can run in any thread."""

    def __init__(self, draft: Draft, blake2b: bool) -> None:
        self._draft = draft
        self._sha256 = hashlib.sha256()
        self._blake2b = hashlib.blake2b(digest_size=16) if blake2b else None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        draft = self._draft
        draft.size += len(data)
        if draft.file is None and draft.size > SMALL:
            draft.become_file()
        if draft.file:
            draft.file.write(data)
        else:
            draft.few += data
        self._sha256.update(data)
        if self._blake2b:
            self._blake2b.update(data)

    def finish(self) -> Draft:
        draft = self._draft
        if draft.file:
            draft.file.close()
        draft.digest = self._sha256.hexdigest()
        draft.blake2b = self._blake2b.hexdigest() if self._blake2b else ""
        return draft


class Blobs:
    def __init__(self, directory: Path, database: Database) -> None:
        self._database = database
        self._dropped: set[str] = set()
        self._held = 0
        self._blobs = directory / "blobs"
        self._uploads = directory / "uploads"
        self._blobs.mkdir(exist_ok=True)
        self._uploads.mkdir(exist_ok=True)

    def begin(self, blake2b: bool = False, as_file: bool = False) -> tuple[Draft, Writer]:
        """`as_file` where even few bytes are not to be held in memory; they are kept in a file then."""
        draft = Draft(self._uploads)
        if as_file:
            draft.become_file()
        return draft, Writer(draft, blake2b)

    def put(self, pieces: Iterable[bytes], blake2b: bool = False, as_file: bool = False) -> Draft:
        draft, writer = self.begin(blake2b, as_file)
        try:
            for piece in pieces:
                writer.write(piece)
            return writer.finish()
        except BaseException:
            draft.discard()
            raise

    @contextmanager
    def placeholder(self) -> Iterator[Draft]:
        """Some bytes for a file that nobody uploaded; forgotten if nobody keeps them."""
        draft = self.put([PLACEHOLDER], blake2b=True)
        try:
            yield draft
        finally:
            draft.discard()

    def keep(self, tx: Transaction, draft: Draft) -> None:
        """Give a draft its place. Called in the write transaction that inserts its row, the same
        lock under which blobs are removed: no other world can delete the bytes in between."""
        if not draft.file:
            _insert.add(tx, _new(digest=draft.digest, content=bytes(draft.few)))
            return
        place = self._path(draft.digest)
        if place.exists():
            draft.path.unlink()  # to rename over a file has some file systems write it out first
        else:
            try:
                draft.path.replace(place)
            except FileNotFoundError:  # the first of its folder
                place.parent.mkdir(exist_ok=True)
                draft.path.replace(place)
        draft.kept = True

    def open(self, digest: str, tx: Transaction | None = None) -> BinaryIO:
        """For reading from the start; stays readable when the blob is removed meanwhile. Raises FileNotFoundError.

        Any thread but the event loop's passes the `tx` that it reads in.
        """
        content = _find.value(tx or self._database.snapshot, digest=digest)
        return self._path(digest).open("rb", buffering=0) if content is None else io.BytesIO(content)

    def size(self, digest: str, tx: Transaction) -> int:
        """Raises FileNotFoundError."""
        size = _size.value(tx, digest=digest)
        return self._path(digest).stat().st_size if size is None else int(size)

    @contextmanager
    def keeping(self, drafts: Sequence[Draft]) -> Iterator[None]:
        """Around a transaction that keeps drafts: where it fails in the end, no row names them to be found by."""
        try:
            yield
        except BaseException:
            self.dropped(draft.digest for draft in drafts if draft.kept)
            raise

    def dropped(self, digests: Iterable[str]) -> None:
        """These may be named by no row any more, once the transaction that says so is committed."""
        self._dropped.update(digests)

    @property
    def loose(self) -> int:
        """How much of what was dropped waits to be removed."""
        return len(self._dropped)

    def release(self) -> None:
        """Remove what was dropped and is named by no row, under the lock that `keep` takes too.

        Leaves it to the next time while someone else writes, or copies rows, or where the machine fails: the
        caller's work is done, and to raise here would have it repeated, or refused.
        """
        if self._dropped and not self._held:
            self._release(self._database, len(self._dropped))

    def release_in_batches(self, database: Database) -> None:
        """The same for many, in short transactions and in a thread."""
        while self._dropped and not self._held and self._release(database, BATCH):
            pass

    def _release(self, database: Database, count: int) -> bool:
        """Whether that could be done."""
        some: list[str] = []
        try:
            with database.transaction() as tx:
                some += (self._dropped.pop() for _ in range(min(count, len(self._dropped))))
                if self._held:  # since the caller asked: what was dropped after that may be in what is being copied
                    self._dropped.update(some)
                    return False
                for digest in some:
                    if not self._in_use(tx, digest):
                        with suppress(OSError):  # its object is gone all the same; the next start sweeps it up
                            self._remove(tx, digest)
        except Exception as error:
            self._dropped.update(some)
            if not isinstance(error, Busy) and failure(error) is None:
                raise
            return False
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remove nothing meanwhile: rows are being copied, and name their blobs only when that is done."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def sweep(self) -> None:
        """Remove what a crash left behind. Only while nobody else has the directory."""
        for upload in self._uploads.iterdir():
            upload.unlink()
        digests = self._digests()
        while some := list(itertools.islice(digests, BATCH)):
            with self._database.transaction() as tx:
                for digest in some:
                    if not self._in_use(tx, digest):
                        self._remove(tx, digest)

    def _digests(self) -> Iterator[str]:
        after = ""
        while some := _all.tuples(self._database.snapshot, after=after, limit=BATCH):
            yield from (digest for (digest,) in some)
            (after,) = some[-1]
        yield from (file.name for file in self._blobs.glob("??/*"))

    def _remove(self, tx: Transaction, digest: str) -> None:
        _delete.run(tx, digest=digest)
        self._path(digest).unlink(missing_ok=True)  # a small one may be both

    def _in_use(self, tx: Transaction, digest: str) -> bool:
        return _used.value(tx, digest=digest) is not None

    def _path(self, digest: str) -> Path:
        return self._blobs / digest[:2] / digest
