"""The contents of seeds, until the rows of their objects are placed."""

from contextlib import ExitStack
from dataclasses import replace

from mockserver import bundles
from mockserver.bundles import Bundle
from mockserver.schema.sources import WithContent
from mockserver.seeds.contents import Bundle as Described
from mockserver.seeds.contents import Place, located, pieces_of, skill_files
from mockserver.seeds.scope import Scope
from mockserver.seeds.values import is_numbered, numbers
from mockserver.storage.contents import Upload, Uploads

IN_MEMORY = 16 << 20
"""Bytes of small contents that are kept in memory until their rows are placed; further ones become files."""


class Store:
    """The contents of documents until their rows are placed. What no row uses is discarded at the end."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._by_item: dict[tuple[int, int | str | None], Upload] = {}
        self._by_digest: dict[str, Upload] = {}
        self._bundles: dict[tuple[int, str | None], Bundle] = {}
        self._in_memory = 0

    def close(self) -> None:
        for upload in self._by_digest.values():
            upload.discard()

    def store(self, scope: Scope) -> None:
        """Store the contents of a scope. May block on the disk, and can run in any thread."""
        for item, place, repeat in scope.contents():
            if isinstance(item, Described):
                self._store_bundle(item, place)
            else:
                for n in numbers(repeat):
                    self._store(item, place, n)

    def stored(self, item: WithContent, place: Place, n: int | None) -> Upload:
        return self._by_item[self._key(item, place, n)]

    def bundle(self, item: Described, place: Place) -> Bundle:
        return self._bundles[self._bundle_key(item, place)]

    def _store_bundle(self, item: Described, place: Place) -> None:
        key = self._bundle_key(item, place)
        if key in self._bundles:
            return
        files: list[tuple[str, Upload]] = []
        with located(place), ExitStack() as stack:
            for path, pieces in skill_files(item, place):
                files.append((path, self._uploads.put(pieces)))
                stack.callback(files[-1][1].discard)
            bundle = bundles.read(files, self._uploads)
            if bundle.zip is files[0][1]:
                stack.pop_all()
        first = self._by_digest.setdefault(bundle.digest, bundle.zip)
        if first is not bundle.zip:
            bundle.zip.discard()
        self._bundles[key] = replace(bundle, zip=first)

    def _bundle_key(self, item: Described, place: Place) -> tuple[int, str | None]:
        return (id(item), None) if item.from_ is None else (id(place.contents), item.from_)

    def _store(self, item: WithContent, place: Place, n: int | None) -> None:
        key = self._key(item, place, n)
        if key in self._by_item:
            return
        with located(place):
            upload = self._uploads.put(pieces_of(item, place, n), blake2b=True, as_file=self._in_memory > IN_MEMORY)
        first = self._by_digest.setdefault(upload.digest, upload)
        if first is not upload:
            upload.discard()
        else:
            self._in_memory += len(upload.buffer)
        self._by_item[key] = first

    def _key(self, item: WithContent, place: Place, n: int | None) -> tuple[int, int | str | None]:
        """Return the key of an item's content: repeated objects share it unless their number is part of it."""
        if item.from_ is not None:
            return id(place.contents), item.from_
        return id(item), n if is_numbered(item) else None
