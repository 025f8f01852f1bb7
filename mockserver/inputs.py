"""Files in the input of a response: found in its items, checked, and put into its containers.

Any file of the model's input is put into its containers (doc), so also those of earlier turns of the chain. Their
places in it are handed on from response to response, so that an ordinary continuation reads none of them.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from mockserver import containers, errors, files
from mockserver.context import Context
from mockserver.errors import json_type
from mockserver.schema.contents import base_name
from mockserver.schema.responses import Item, parts
from mockserver.storage import tables
from mockserver.storage.contents import Uploads
from mockserver.storage.database import Statement, Transaction

FOLDER = "/mnt/data"
FILE_COSTS = 4_000
"""Characters that are worked on in the time that it takes to add a file."""
MAX_EARLIER = 16 << 20
"""Characters of earlier items whose files are put into a container."""
_EXTENSION = re.compile(r"data:[\w-]{1,50}/([\w.+-]{1,50})[;,]")

newest_at = Statement(f"{containers.FILES} AND path = :path ORDER BY seq DESC LIMIT 1", tables.ContainerFile)
_named_like = Statement(f"{containers.FILES} AND path >= :stem AND path < :stem || '/'".replace("*", "path, digest", 1))
_body = Statement("SELECT body FROM response_items WHERE response_id = :id AND position = :position AND NOT output")


@dataclass(slots=True)
class InputFile:
    """A file in the input: a File by its id, or its name and bytes."""

    file_id: str | None
    name: str
    unnamed: bool = False
    """Whether the name is made up, and gets a number where it is taken."""
    data: str = ""
    """Its bytes as base64, until they are decoded."""
    content: bytes = b""
    earlier: bool = False
    """Whether it stands before something that the assistant did, and so was in the input of an earlier response."""

    def decode(self) -> None:
        """Raises ValueError for what is not base64, or not ASCII."""
        self.content, self.data = base64.b64decode(self.data, validate=True), ""


def files_of(item: Item) -> Iterator[InputFile]:
    """The files of a message of any role, or of the output of a call that the client made."""
    for part in (*parts(item.get("content")), *parts(item.get("output"))):
        if part.get("type") not in ("input_file", "input_image"):
            continue
        name, url = part.get("filename"), part.get("file_data") or part.get("image_url")
        if isinstance(id := part.get("file_id"), str):
            yield InputFile(id, str(name or ""))
        elif isinstance(url, str) and (url.startswith("data:") or "file_data" in part):
            kind = _EXTENSION.match(url)
            default = f"image.{kind[1] if kind else 'bin'}" if part["type"] == "input_image" else "file"
            yield InputFile(None, str(name or default), not name, url.rpartition(",")[2])


def text_at(values: Mapping[str, Any], key: str, where: str) -> str:
    """A text of an object of the request. Raises APIError if it is absent or something else."""
    if key not in values:
        raise errors.MISSING_PARAMETER(param=f"{where}.{key}")
    if not isinstance(text := values[key], str):
        raise errors.WRONG_TYPE(param=f"{where}.{key}", expected="a string", got=json_type(text))
    return text


def check(context: Context, tx: Transaction, given: Sequence[InputFile]) -> None:
    """Decode the files of a request. Raises APIError for one that is unknown or not valid, whether or not there is a
    container for it."""
    context.expect(len(given) * FILE_COSTS)
    for file_id in dict.fromkeys(file.file_id for file in given if file.file_id is not None):
        files.referenced(context, tx, file_id, "input")
    for file in given:
        try:
            file.decode()
        except ValueError:
            raise errors.INVALID_INPUT_FILE(param="input") from None


def earlier(context: Context, tx: Transaction, places: Sequence[Sequence[Any]], limit: int) -> list[InputFile]:
    """At most `limit` files of earlier turns, whose items stand in these places. Of too many or too large ones the
    newest; deleted ones are left out (guess)."""
    found: list[InputFile] = []
    size = 0
    for id, position in reversed(places):
        body = _body.value(tx, id=id, position=position) or "{}"  # {}: the response was deleted
        size += len(body)
        context.expect(size)
        if size > MAX_EARLIER or len(found) >= limit:
            break
        there = []
        for file in files_of(json.loads(body)):
            file.earlier = True
            with suppress(ValueError):  # it was valid when it was stored, except in an archive
                file.decode()
            if file.file_id is None or files.find(tx, file.file_id, context.world.now()):
                there.append(file)
        found = [*there, *found]
    return found[-limit:] if limit else []


@dataclass(slots=True)
class Placing:
    """Puts files of an input into one container. The path of those without an id is a guess."""

    context: Context
    tx: Transaction
    uploads: Uploads
    container_id: str
    is_new: bool
    """Whether the container was created for this response."""
    _names: dict[str, dict[str, int]] = field(default_factory=dict)
    """By the beginning of made-up names: those that are taken, with the number from which to look for a free one."""
    _contents: set[tuple[str, str]] = field(default_factory=set)
    """The digests and extensions of files with such names."""

    def put(self, given: Iterable[InputFile]) -> None:
        for file in given:
            if file.file_id is not None:
                add_copy(self.context, self.tx, self.container_id, file.file_id, "input")
            elif (path := self._path(file)) is not None:
                self._add(path, file.content)

    def _path(self, file: InputFile) -> str | None:
        """Where a file goes; None if the container has it."""
        name = base_name(file.name)
        path = f"{FOLDER}/" + ("file" if name in ("", ".", "..") or "\0" in name else name)
        digest = sha256(file.content).hexdigest()
        if file.unnamed:
            return self._numbered(path, digest)
        there = newest_at.first(self.tx, path=path, **self._here)
        # A repeated one may have been replaced by the assistant since.
        return None if there and (there.digest == digest or (file.earlier and not self.is_new)) else path

    def _numbered(self, path: str, digest: str) -> str | None:
        """`image.png`, `image-2.png`, …"""
        stem, dot, extension = path.partition(".")
        if (names := self._names.get(stem)) is None:
            rows = _named_like.tuples(self.tx, stem=stem, **self._here)
            names = self._names[stem] = {name: 2 for name, _ in rows}
            self._contents |= {(digest, name.partition(".")[2]) for name, digest in rows}
        if (digest, extension) in self._contents:
            return None
        self._contents.add((digest, extension))
        free = path
        while free in names:
            free, names[path] = f"{stem}-{names[path]}{dot}{extension}", names[path] + 1
        names[free] = 2
        return free

    def _add(self, path: str, content: bytes) -> None:
        upload = self.uploads.put([content])
        try:
            row = containers.add_file(self.context, self.tx, self.container_id, path, upload.size, upload.digest)
            self.context.touch("created", row.id)
            self.context.world.contents.keep(self.tx, upload)
        finally:
            upload.discard()

    @property
    def _here(self) -> dict[str, Any]:
        return {"container_id": self.container_id, "now": self.context.world.now()}


def add_copy(context: Context, tx: Transaction, container_id: str, file_id: str, param: str) -> None:
    """A copy of a File, if the container has none yet."""
    if not containers.newest_copy.first(tx, container_id=container_id, id=file_id, now=context.world.now()):
        context.touch("created", containers.copy(context, tx, container_id, file_id, param).id)
