"""Parse multipart forms as a stream: a file is hashed and written while it is received."""

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from mockserver import errors, profiles
from mockserver.api.exchange import Exchange
from mockserver.api.parsing import drop_proxy_keys, json_object, read_body, validate_for
from mockserver.errors import ErrorType
from mockserver.files import NewFile
from mockserver.redaction import NOTHING_SENT, form_sent
from mockserver.schema.containers import CreateContainerFile
from mockserver.schema.contents import base_name
from mockserver.storage.contents import Upload

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # errors of a form are sent to the client

BLOCK = 1 << 19
"""How many bytes are hashed and written at once, in a thread. Smaller files are written by the event loop."""
PREAMBLE_BYTES = 16 * 1024
"""The most bytes of the text before a form's first boundary, with the boundary."""
MAX_FIELDS = 100
MAX_FIELD_BYTES = 1 << 20
"""The most bytes of all fields together, without the file."""

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_ESCAPE = re.compile(r"%([01][0-9A-Fa-f]|22|7[Ff])")


@dataclass(frozen=True, slots=True)
class FileField:
    """The field of a form that is its file, or its files."""

    name: str = "file"
    limit: float = math.inf
    """Bytes of all files, beside what `--max-upload` allows."""
    too_large: ErrorType = errors.FILE_TOO_LARGE
    """The error for a file beyond `limit`."""
    plain: bool = False
    """Whether the file may be a plain field, without a file name and a type."""
    most: int = 1
    """Files in a form. If there can be several, the field is also called `name[]`, and file names can be paths."""


FILE = FileField()


@asynccontextmanager
async def read_form(exchange: Exchange, field: FileField = FILE) -> AsyncIterator[NewFile]:
    """Read an upload's form and hash its file. The file is deleted at the end if it was not stored."""
    content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        async with FormReader(exchange, field, blake2b=not exchange.files_api).reading(options) as form:
            if not form.files:
                yield NewFile(None, None, form.fields)
                return
            file = form.files[0]
            utf8 = form.fields.get("purpose") != "batch" or await asyncio.to_thread(file.upload.is_utf8)
            yield NewFile(file.upload, file.filename, form.fields, utf8)
    elif exchange.files_api and kind == b"application/json":
        raise errors.NOT_A_FORM(content_type=content_type)
    elif exchange.files_api or kind not in (b"", b"application/json"):
        raise errors.INVALID_UPLOAD(field=field.name)
    else:
        values = await read_json_fields(exchange, kind, field.name)
        upload = _text_as_file(exchange, values)
        try:
            sent = validate_for(exchange.context, CreateContainerFile, values)
            yield NewFile(upload, "upload", sent.model_dump(exclude_unset=True))
        finally:
            if upload:
                upload.discard()


async def read_json_fields(exchange: Exchange, kind: bytes, field: str) -> dict[str, Any]:
    """Read the fields of a form from JSON, which some clients send where they have no file, or lose it (sdk)."""
    body = await read_body(exchange, MAX_FIELD_BYTES)
    if kind not in (b"", b"application/json") or (not kind and body.strip() and not body.lstrip().startswith(b"{")):
        raise errors.INVALID_UPLOAD(field=field)
    values = json_object(body)
    drop_proxy_keys(values, exchange)
    return values


def _text_as_file(exchange: Exchange, values: dict[str, Any]) -> Upload | None:
    """Take the file out of a JSON body that has it as text, if the world's profile accepts that."""
    text, context = values.get("file"), exchange.context
    if not isinstance(text, str) or context is None or not context.allows(profiles.TEXT_AS_FILE):
        return None
    del values["file"]
    return exchange.mock.uploads.put([text.encode()], blake2b=True)


class FormReader:
    """The parser of one multipart form, with its `files` and `fields`."""

    def __init__(self, exchange: Exchange, field: FileField, blake2b: bool = False) -> None:
        self._exchange = exchange
        self._field = field
        self._left = min(field.limit, exchange.mock.settings.max_upload)
        self._blake2b = blake2b
        self.files: list[SentFile] = []
        self.fields: dict[str, str] = {}
        self._unfinished: list[SentFile] = []
        self._field_bytes = 0
        # The part that is being parsed:
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name: str | None = None
        self._value = bytearray()
        self._file: SentFile | None = None

    @asynccontextmanager
    async def reading(self, options: Mapping[bytes, bytes]) -> AsyncIterator[Self]:
        """Read the form whole. What of its files was not stored at the end is deleted."""
        try:
            await self._read(options.get(b"boundary", b""))
            yield self
        finally:
            if self._exchange.sent is NOTHING_SENT:
                self._record()
            for file in self.files:
                await file.discard()

    async def _read(self, boundary: bytes) -> None:
        if not boundary:
            raise errors.NOT_MULTIPART(why="The Content-Type names no boundary.")
        callbacks: Any = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_text,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
        }
        try:
            parser = MultipartParser(boundary, callbacks)
            chunk = await self._skip_preamble(b"--" + boundary)
            while True:
                parser.write(chunk)
                while self._unfinished and self._unfinished[0].ended:
                    await self._unfinished.pop(0).finish()
                if self._unfinished:
                    await self._unfinished[0].flush()
                if self._exchange.complete:
                    break
                chunk = await self._exchange.read_chunk()
        except FormParserError as error:
            raise errors.NOT_MULTIPART(why=str(error).rstrip(".") + ".") from None
        if parser.state != MultipartState.END:
            raise errors.NOT_MULTIPART(why="The body ends before its closing boundary.")
        self._record()
        drop_proxy_keys(self.fields, self._exchange)

    async def _skip_preamble(self, line: bytes) -> bytes:
        """Return the beginning of the body without the text that may precede the first boundary.

        RFC 2046, 5.1.1, allows such a text; the parser does not.
        """
        start = await self._exchange.read_chunk()
        while not start.startswith(line):
            if (at := start.find(b"\n" + line, 0, PREAMBLE_BYTES)) >= 0:
                return start[at + 1 :]
            if self._exchange.complete or len(start) >= PREAMBLE_BYTES:
                break
            start += await self._exchange.read_chunk()
        return start

    def _record(self) -> None:
        """Set what the journal shows of the form, whether or not it was received completely."""
        files = [(each.filename, each.size, each.upload.digest) for each in self.files]
        self._exchange.sent = form_sent(self.fields, files, self._field.name)

    def _part_begin(self) -> None:
        self._headers = {}
        self._value = bytearray()
        self._file = None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        self._name, filename = _names(self._headers.get(b"content-disposition", b""))
        content_type = self._headers.get(b"content-type")
        if self._name is None:
            raise errors.NOT_MULTIPART(why="A part has no name in its Content-Disposition.")
        if len(self.fields) >= MAX_FIELDS:
            raise errors.NOT_MULTIPART(why=f"At most {MAX_FIELDS} fields are taken.")
        several = self._field.most > 1
        is_file = self._name == self._field.name or (several and self._name == f"{self._field.name}[]")
        if self._name in self.fields or (is_file and self.files and not several):
            raise errors.DUPLICATE_PARAMETER(param=self._name)
        if is_file:
            if len(self.files) >= self._field.most:
                raise errors.NOT_MULTIPART(why=f"At most {self._field.most} files are taken.")
            if filename is None and (content_type or self._field.plain):
                filename = "upload"  # Ruby and Java send files from memory with a type and without a name
            if filename is None:
                raise errors.WRONG_TYPE(param=self._name, expected="a file", got="a string")
            filename = filename if several else base_name(filename)
            if not filename and not self._field.plain:
                raise errors.MISSING_FILENAME()
            if not content_type and self._exchange.files_api and self._exchange.provider.typed_files:
                raise errors.AZURE_UNTYPED_FILE()
            self._file = SentFile(filename, self._exchange.mock.uploads.begin(self._blake2b))
            self.files.append(self._file)
            self._unfinished.append(self._file)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._left -= end - start
            if self._left < 0:
                maximum = self._exchange.mock.settings.max_upload
                own = self._field.limit < maximum
                raise self._field.too_large(limit=self._field.limit) if own else errors.FILE_TOO_LARGE(limit=maximum)
            self._file.add(memoryview(data)[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            raise errors.NOT_MULTIPART(why=f"At most {MAX_FIELD_BYTES} bytes are taken beside the file.")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._file:
            self._file.ended = True
        elif self._name is not None:
            self.fields[self._name] = self._value.decode(errors="replace")


class SentFile:
    """A file of a form, which is written while it is received: one block in a thread while the next one comes.

    Two blocks take turns: allocating each one costs 10 % more CPU time on a large upload.
    """

    def __init__(self, filename: str, upload: Upload) -> None:
        self.filename = filename
        self.upload = upload
        self.size = 0
        self.ended = False
        """Whether all of it was received."""
        self._block, self._other = bytearray(), bytearray()
        self._filled = 0
        self._writing: asyncio.Future[None] | None = None

    def add(self, data: memoryview) -> None:
        self.size += len(data)
        start, self._filled = self._filled, self._filled + len(data)
        if self._filled <= len(self._block):
            memoryview(self._block)[start : self._filled] = data
        else:
            del self._block[start:]
            self._block += data

    async def flush(self) -> None:
        """Start to write the block if it is full. Wait for the other one first."""
        if self._filled >= BLOCK:
            await self._other_written()
            block, filled = self._block, self._filled
            self._block, self._other, self._filled = self._other, block, 0
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, block, filled)

    async def finish(self) -> None:
        await self._other_written()
        self._write(self._block, self._filled)
        self._block, self._other = bytearray(), bytearray()
        self.upload.finish()

    async def discard(self) -> None:
        if self._writing:
            await asyncio.wait([self._writing])
        self.upload.discard()

    def _write(self, block: bytearray, filled: int) -> None:
        """Write a part of a block. Release the views of it, because a bytearray with views can't grow."""
        with memoryview(block) as whole, whole[:filled] as data:
            self.upload.write(data)

    async def _other_written(self) -> None:
        if self._writing:
            await self._writing
            self._writing = None


def _names(disposition: bytes) -> tuple[str | None, str | None]:
    """Return the name and the file name of a part, as the different clients write them.

    `filename*` (RFC 5987, .NET) wins over `filename`; values are quoted or bare, in raw UTF-8,
    with `\\"` (Go) or with `%22` (browsers, Node, Python) for a quotation mark, and likewise for
    control characters. A `%` before anything else stands for itself.
    """
    found: dict[str, str] = {}
    for key, value in _PARAMETER.findall(disposition.decode(errors="replace")):
        found.setdefault(key.lower(), _unquote(value))
    extended = found.get("filename*", "").split("'", 2)
    if len(extended) == 3 and extended[0].lower() == "utf-8":
        return found.get("name"), unquote_to_bytes(extended[2]).decode(errors="replace")
    return found.get("name"), found.get("filename")


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    else:
        value = value.strip()
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
