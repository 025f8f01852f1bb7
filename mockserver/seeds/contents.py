"""The contents that seeds describe: where their bytes come from, and where they stay until their rows are placed."""

import base64
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol, cast

from pydantic import Field

from mockserver import bundles, ids
from mockserver.bundles import BadBundle
from mockserver.schema.values import MAX_PATH, FileName, Generated, Part, WithContent, check_base64
from mockserver.seeds.document import Source
from mockserver.seeds.values import is_numbered, numbered, numbers
from mockserver.settings import SeedError
from mockserver.storage.contents import Upload, Uploads

IN_MEMORY = 16 << 20
"""Bytes of small contents that are kept in memory until their rows are placed; further ones become files."""


class Contents(Protocol):
    """The files that `from` names. Its SeedErrors don't contain the place in the seed."""

    def names(self, folder: str) -> list[str]:
        """Return the paths of the files in a folder, relative to it; none if it is not a folder."""
        ...

    def size(self, name: str) -> int: ...

    def pieces(self, name: str) -> Iterator[bytes]: ...


class Folder:
    """Files inside the folder of a seed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self, folder: str) -> list[str]:
        path = self._reached(folder)
        names = sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
        return [name for name in names if not re.search(r"(^|/)\.", name)]

    def size(self, name: str) -> int:
        return self._inside(name).stat().st_size

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._inside(name).open("rb") as file:
            yield from iter(partial(file.read, 1 << 20), b"")

    def _reached(self, name: str) -> Path:
        folder = self._path.resolve()
        try:
            path = (folder / name).resolve()
        except (ValueError, RuntimeError) as error:  # a null character, or links in a circle
            raise SeedError(f"{name!r} can't be a file ({error}); correct the path") from None
        if not path.is_relative_to(folder):
            raise SeedError(f"{name!r} leaves the seed's folder; move the file below {self._path}")
        return path

    def _inside(self, name: str) -> Path:
        path = self._reached(name)
        if not path.is_file():
            raise SeedError(f"there is no file {name!r} below {self._path}; create it, or correct the path")
        return path


class Nowhere(Folder):
    """The contents of a document that was sent to a server: there are no files beside it."""

    def __init__(self) -> None:
        super().__init__(Path())

    def _reached(self, name: str) -> Path:
        raise SeedError(
            f"{name!r} can't be read from here; give the bytes inline, or send an archive that contains them"
        )

    def close(self) -> None:
        """Do nothing: nothing is open."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a seed. Its line is looked up only when it is shown."""

    source: Source | Path
    location: tuple[str | int, ...]
    contents: Contents

    def __str__(self) -> str:
        return str(self.source) if isinstance(self.source, Path) else self.source.at(*self.location)


class SkillFile(WithContent):
    """A file of a skill."""

    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH)]
    """Path of the file in the skill's folder: `SKILL.md`, `scripts/run.py`."""


class Bundle(Part):
    """The files of a skill: a folder or a zip beside the seed, a zip in Base64, or files by their paths."""

    from_: FileName | None = Field(None, alias="from")
    """Path of the skill's folder or zip, relative to the seed and inside its folder."""
    base64: str | None = None
    """A zip of the skill's folder, as Base64."""
    files: Annotated[list[SkillFile], Field(fail_fast=True)] = []
    """Files of the skill, a `SKILL.md` among them."""

    def sources(self) -> int:
        if self.base64 is not None:
            check_base64(self.base64)
        return (self.from_ is not None) + (self.base64 is not None) + bool(self.files)


def check_content(item: WithContent | Bundle, place: Place, max_file: int) -> None:
    """Check the size of a content, and the folder of a skill. A skill's zip is checked when it is stored."""
    with located(place):
        if isinstance(item, Bundle):
            sizes = {f"skill/{file.path}": size_of(file, place) for file in item.files}
            if (folder := item.from_) is not None:
                names = place.contents.names(folder)
                sizes = {f"{Path(folder).name}/{name}": place.contents.size(f"{folder}/{name}") for name in names}
            if sizes:
                bundles.check_folder(sizes, dict(skill_files(item, place)))
            elif folder is not None and (size := place.contents.size(folder)) > bundles.MAX_ZIP:
                raise SeedError(f"{folder}: {size:,} bytes are more than a skill's zip may have ({bundles.MAX_ZIP:,})")
        elif (size := size_of(item, place)) > max_file:
            raise SeedError(
                f"{size:,} bytes are more than --max-upload allows ({max_file:,}); raise it, or shorten the file"
            )


def check_total(where: object, generated: int, max_total: int) -> None:
    """Check how many bytes contents have together that are longer than their descriptions."""
    if generated > max_total:
        raise SeedError(f"{where}: its contents are {generated:,} bytes, more than {max_total:,}; raise --max-import")


def size_of(item: WithContent, place: Place) -> int:
    """Return the size in bytes of a content, which is not numbered."""
    return item.length() if item.from_ is None else place.contents.size(item.from_)


def pieces_of(item: WithContent, place: Place | None = None, n: int | None = None) -> Iterable[bytes]:
    """Return the bytes that an item describes. Only one with a `place` can name a file."""
    if item.content is not None:
        return [numbered(item.content, n).encode()]
    if item.base64 is not None:
        return [base64.b64decode(item.base64)]
    if item.generate:
        return _generated(item.generate)
    assert place
    return place.contents.pieces(item.from_ or "")


def _generated(described: Generated) -> Iterator[bytes]:
    """Yield bytes that are the same for the same size and pattern on every machine."""
    block = {
        "zeros": bytes(1 << 16),
        "text": b"".join(b"%07d The quick brown fox jumps over the lazy dog.\n" % line for line in range(1_000)),
        "random": ids.noise(described.size, 1 << 16),
    }[described.pattern]
    for start in range(0, described.size, len(block)):
        yield block[: described.size - start]


def skill_files(item: Bundle, place: Place) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield the files of a skill, with their paths from its folder on, or its zip alone."""
    for file in item.files:
        yield f"skill/{file.path}", pieces_of(file, place, None)
    if item.base64 is not None:
        yield "skill.zip", [base64.b64decode(item.base64)]
    if item.from_ is not None:
        names = place.contents.names(item.from_)
        for name in names:
            yield f"{Path(item.from_).name}/{name}", place.contents.pieces(f"{item.from_}/{name}")
        if not names:
            yield "skill.zip", place.contents.pieces(item.from_)


@contextmanager
def located(place: Place) -> Iterator[None]:
    """Add the place in the seed to errors of a content."""
    try:
        yield
    except (SeedError, BadBundle) as error:
        raise SeedError(f"{place}: {'the skill is invalid: ' * isinstance(error, BadBundle)}{error}") from None
    except OSError as error:
        raise SeedError(f"{place}: {error.strerror}: {error.filename}") from error


class Store:
    """The contents of documents until their rows are placed. What no row uses is discarded at the end."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._found: dict[tuple[object, ...], Upload | bundles.Bundle] = {}
        """By the keys of what describes them."""
        self._by_digest: dict[str, Upload] = {}
        self._in_memory = 0

    def close(self) -> None:
        for upload in self._by_digest.values():
            upload.discard()

    def store(self, contents: Iterable[tuple[WithContent | Bundle, Place, int | None]]) -> None:
        """Store contents, each as often as it is repeated. May block on the disk, and can run in any thread."""
        for item, place, repeat in contents:
            for n in numbers(repeat):
                key = self._key(item, place, n)
                if key not in self._found:
                    with located(place):
                        self._found[key] = self._read(item, place, n)

    def stored(self, item: WithContent, place: Place, n: int | None) -> Upload:
        return cast(Upload, self._found[self._key(item, place, n)])

    def bundle(self, item: Bundle, place: Place) -> bundles.Bundle:
        return cast(bundles.Bundle, self._found[self._key(item, place, None)])

    def _key(self, item: WithContent | Bundle, place: Place, n: int | None) -> tuple[object, ...]:
        """Return the key of an item's content: repeated objects share it unless their number is part of it."""
        if item.from_ is not None:
            return isinstance(item, Bundle), id(place.contents), item.from_
        return id(item), n if is_numbered(item) else None

    def _read(self, item: WithContent | Bundle, place: Place, n: int | None) -> Upload | bundles.Bundle:
        if not isinstance(item, Bundle):
            pieces = pieces_of(item, place, n)
            return self._unique(self._uploads.put(pieces, blake2b=True, as_file=self._in_memory > IN_MEMORY))
        files: list[tuple[str, Upload]] = []
        with ExitStack() as stack:
            for path, pieces in skill_files(item, place):
                files.append((path, self._uploads.put(pieces)))
                stack.callback(files[-1][1].discard)
            bundle = bundles.read(files, self._uploads)
            if bundle.zip is files[0][1]:
                stack.pop_all()
        return replace(bundle, zip=self._unique(bundle.zip))

    def _unique(self, upload: Upload) -> Upload:
        """Return the first of equal contents, and discard the others."""
        first = self._by_digest.setdefault(upload.digest, upload)
        if first is not upload:
            upload.discard()
        else:
            self._in_memory += len(upload.buffer)
        return first
