"""What a request carries, read and checked: query strings, JSON, and multipart forms as a stream.

Violations of a model become the API's own refusals here, and nowhere else.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mockserver import errors, profiles
from mockserver.api.exchange import Exchange, described
from mockserver.bounds import MAX_PARAMETERS, MAX_VALUES, Excess, JSONCounter
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.journal import NOTHING_SENT, body_sent, form_sent
from mockserver.schema import CreateContainerFile
from mockserver.storage.contents import Upload, Uploads, Writer

M = TypeVar("M", bound=BaseModel)

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what a client sends wrong is told to the client

BLOCK = 1 << 20
"""Bytes that are hashed and written at once, in a thread; those of a smaller file are so by the event loop."""
PREAMBLE_BYTES = 16 * 1024
"""How much may come in front of a form's first boundary, with that."""
MAX_JSON_BYTES = 1 << 20
"""Of a body without an inline skill and without a secret."""
_LARGE_KEYS = (b'"skills"', b'"domain_secrets"')
MAX_MISTAKES = 1_000
"""So many of Pydantic's errors are made into objects of some 600 bytes each; of more only their number is known."""
MAX_LEVELS = 200
"""Levels that the parser allows itself."""
MAX_SHOWN = 10_000
"""Characters of a value that an error repeats."""
MAX_FIELDS = 100
MAX_FIELD_BYTES = 1 << 20
"""For all the fields of a form together that are not a file."""

LITELLM_KEYS = ("custom_llm_provider", "model")
"""By which a client tells a LiteLLM proxy where to send a request; the proxy doesn't pass them on."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_QUOTED = re.compile(r"'([^']*)'")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_ESCAPE = re.compile(r"%([01][0-9A-Fa-f]|22|7[Ff])")
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "list_type": "an array",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
}
_TAGS = {"disabled", "allowlist", "skill_reference", "inline"}
"""Members of unions, which Pydantic names in the location of an error, and no client sent."""


# Query strings


def parse_query(model: type[M], query: bytes, context: Context) -> M:
    """Unknown keys and empty values are ignored; a key that counts may come once."""
    if not query:
        return cast(M, _unasked(model))
    if query.count(b"&") >= MAX_PARAMETERS:
        raise errors.TOO_MANY_PARAMETERS(limit=MAX_PARAMETERS)
    values: dict[str, Any] = {}
    for key, value in parse_qsl(query.decode("latin-1")):
        if (field := model.model_fields.get(key)) is None:
            continue
        if key in values:
            raise errors.DUPLICATE_PARAMETER(param=key)
        if field.annotation is int:
            if not _INTEGER.fullmatch(value):
                raise errors.WRONG_TYPE(param=key, expected="an integer", got="a string")
            values[key] = int(value)
        else:
            values[key] = value
    if "before" in values and not context.allows(profiles.BEFORE_CURSOR):
        del values["before"]
    if values.get("limit") == 0 and context.allows(profiles.ZERO):
        del values["limit"]
        return _validated(model, values).model_copy(update={"limit": 0})
    return _validated(model, values)


@cache
def _unasked(model: type[BaseModel]) -> BaseModel:
    return model()


# JSON


async def read_json(model: type[M], exchange: Exchange, limit: int) -> M:
    content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise errors.WRONG_CONTENT_TYPE(content_type=content_type)
    body = await _whole(exchange, limit)
    if len(body) > MAX_JSON_BYTES and not any(key in body for key in _LARGE_KEYS):
        raise errors.BODY_TOO_LARGE(limit=MAX_JSON_BYTES)
    values = _json_object(body)
    if len(body) > MAX_JSON_BYTES:
        await asyncio.sleep(0)  # to parse it and to validate it takes a tenth of a second each
    _without_litellms(values, exchange)
    return _validated_for(exchange.context, model, values)


def _json_object(body: bytes | bytearray) -> dict[str, Any]:
    """No body at all counts as `{}`; NaN, lone surrogates and nesting beyond 200 are not JSON."""
    try:
        value = from_json(body or b"{}", allow_inf_nan=False)
    except ValueError:
        raise errors.NOT_JSON() from None
    if not isinstance(value, dict):
        raise errors.NOT_AN_OBJECT(got=described(value))
    return value


def _without_litellms(values: dict[str, Any], exchange: Exchange) -> None:
    """Take out what a LiteLLM proxy keeps to itself, where the world's profile lets it in."""
    context = exchange.context
    if values.keys().isdisjoint(LITELLM_KEYS) or context is None or not context.allows(profiles.LITELLM_KEYS):
        return
    for key in LITELLM_KEYS:
        values.pop(key, None)


async def _whole(exchange: Exchange, limit: int) -> bytes | bytearray:
    """A JSON text. Its values are counted as it comes in, once there can be too many."""
    parts = bytearray()
    counter: JSONCounter | None = None
    while not exchange.complete:
        piece = await exchange.piece()
        parts += piece
        if len(parts) > limit:
            raise errors.BODY_TOO_LARGE(limit=limit)
        if counter:
            _count(counter, piece)
        elif len(parts) > MAX_VALUES:
            counter = JSONCounter(depth=MAX_LEVELS)
            _count(counter, parts)
    body = parts if counter else bytes(parts)
    exchange.sent = await body_sent(body)
    return body


def _count(counter: JSONCounter, piece: bytes | bytearray) -> None:
    try:
        counter.feed(piece)
    except Excess as excess:
        raise errors.BODY_HOLDS_TOO_MUCH(problem=excess) from None


def _validated(model: type[M], values: dict[str, Any]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(_mistakes(error, model, values)[0]) from None


def _mistakes(error: ValidationError, model: type[BaseModel], values: dict[str, Any]) -> list[ErrorDetails]:
    """Raises APIError where there are very many, which takes long to list."""
    if (count := error.error_count()) <= MAX_MISTAKES:
        return error.errors(include_url=False)
    if unknown := next((key for key in values if key not in model.model_fields), None):
        raise errors.UNKNOWN_PARAMETER(param=_cut(unknown))
    raise errors.BODY_HOLDS_TOO_MUCH(problem=f"{count:,} of its values are not as they have to be")


def _validated_for(context: Context | None, model: type[M], values: dict[str, Any]) -> M:
    """Without the keys that the model doesn't know, where the world's profile ignores them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes = _mistakes(error, model, values)
        unknown = [each["loc"] for each in mistakes if each["type"] == "extra_forbidden"]
        if not unknown or context is None or not context.allows(profiles.UNKNOWN_KEY):
            raise _refusal(mistakes[0]) from None
    for location in unknown:
        _remove(values, location)
    return _validated_for(context, model, values)


def _remove(values: Any, location: tuple[int | str, ...]) -> None:
    for step in location[:-1]:
        values = values if step in _TAGS else values[step]
    del values[location[-1]]


def _refusal(violation: ErrorDetails) -> APIError:
    """The API's words for the first thing that Pydantic finds wrong."""
    kind, given, context = violation["type"], violation["input"], violation.get("ctx", {})
    param = _path(violation["loc"])
    match kind:
        case "missing":
            return errors.MISSING_PARAMETER(param=param)
        case "extra_forbidden":
            return errors.UNKNOWN_PARAMETER(param=param)
        case "union_tag_not_found":
            return errors.MISSING_PARAMETER(param=f"{param}.type")
        case "union_tag_invalid" if not isinstance(tag := given["type"], str):
            return errors.WRONG_TYPE(param=f"{param}.type", expected="a string", got=described(tag))
        case "union_tag_invalid":
            supported = errors.listed(_QUOTED.findall(context["expected_tags"]))
            return errors.INVALID_VALUE(value=_cut(context["tag"]), supported=supported, param=f"{param}.type")
        case "literal_error" if isinstance(given, str):
            supported = errors.listed(_QUOTED.findall(context["expected"]))
            return errors.INVALID_VALUE(value=_cut(given), supported=supported, param=param)
        case "literal_error":
            return errors.WRONG_TYPE(param=param, expected="a string", got=described(given))
        case "string_too_short":
            return errors.EMPTY_STRING(param=param, limit=context["min_length"])
        case "string_too_long":
            return errors.TOO_LONG_STRING(param=param, limit=context["max_length"], length=len(given))
        case "too_short":
            return errors.EMPTY_ARRAY(param=param, limit=context["min_length"])
        case "too_long":
            return errors.TOO_LONG_ARRAY(param=param, limit=context["max_length"], length=len(given))
        case "less_than_equal":
            return errors.TOO_LARGE_INTEGER(param=param, limit=context["le"], value=_cut(str(given)))
        case "greater_than_equal":
            return errors.TOO_SMALL_INTEGER(param=param, limit=context["ge"], value=_cut(str(given)))
    return errors.WRONG_TYPE(param=param, expected=_EXPECTED[kind], got=described(given))


def _path(location: tuple[int | str, ...]) -> str:
    """`skills[0].source.data`."""
    path = ""
    for position, step in enumerate(location):
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _TAGS or position == len(location) - 1:
            path += f".{step}" if path else step
    return _cut(path)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


# Forms


@asynccontextmanager
async def read_form(exchange: Exchange, uploads: Uploads, blake2b: bool) -> AsyncIterator[NewFile]:
    """The form of an upload, its file hashed; that is gone afterwards if nobody kept it."""
    content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        form = _Form(exchange, uploads, blake2b)
        try:
            yield await form.read(options.get(b"boundary", b""))
        finally:
            if exchange.sent is NOTHING_SENT:
                form.tell()
            await form.discard()
    elif kind in (b"", b"application/json") and not exchange.files_api:
        body = await _whole(exchange, MAX_FIELD_BYTES)
        if not kind and not body.lstrip().startswith(b"{"):
            raise errors.INVALID_UPLOAD()
        values = _json_object(body)
        _without_litellms(values, exchange)
        sent = _validated_for(exchange.context, CreateContainerFile, values)
        fields = sent.model_dump(exclude_unset=True)
        yield NewFile(None, None, fields)
    else:
        raise errors.INVALID_UPLOAD()


class _Form:
    """A multipart parser, and where it puts what it finds."""

    def __init__(self, exchange: Exchange, uploads: Uploads, blake2b: bool) -> None:
        self._exchange = exchange
        self._limit = exchange.mock.settings.max_upload
        self._uploads = uploads
        self._blake2b = blake2b
        self._file: _Sink | None = None
        self._filename: str | None = None
        self._fields: dict[str, str] = {}
        self._field_bytes = 0
        self._ended = False
        # Of the part that is being parsed:
        self._header_name = self._header_value = self._disposition = self._content_type = b""
        self._name: str | None = None
        self._value = bytearray()
        self._in_file = False

    async def read(self, boundary: bytes) -> NewFile:
        if not boundary:
            raise errors.NOT_MULTIPART(why="The Content-Type names no boundary.")
        try:
            parser = MultipartParser(boundary, self._callbacks())
            piece = await self._opening(b"--" + boundary)
            while True:
                parser.write(piece)
                if self._file:
                    await self._file.flush()
                if self._exchange.complete:
                    break
                piece = await self._exchange.piece()
        except FormParserError as error:
            raise errors.NOT_MULTIPART(why=str(error).rstrip(".") + ".") from None
        if not self._ended:
            raise errors.NOT_MULTIPART(why="The body ends before its closing boundary.")
        upload = await self._file.finish() if self._file else None
        self.tell()
        _without_litellms(self._fields, self._exchange)
        return NewFile(upload, self._filename, self._fields)

    async def _opening(self, line: bytes) -> bytes:
        """The body's beginning without the words that may precede the first boundary (RFC 2046, 5.1.1), and that
        the parser refuses."""
        start = await self._exchange.piece()
        while not start.startswith(line):
            if (at := start.find(b"\n" + line, 0, PREAMBLE_BYTES)) >= 0:
                return start[at + 1 :]
            if self._exchange.complete or len(start) >= PREAMBLE_BYTES:
                break
            start += await self._exchange.piece()
        return start

    def tell(self) -> None:
        """The journal hears of what came, whole or not; the hash is the blob's."""
        size, digest = (self._file.size, self._file.digest) if self._file else (0, "")
        self._exchange.sent = form_sent(self._fields, self._filename, size, digest)

    async def discard(self) -> None:
        if self._file:
            await self._file.discard()

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_text,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._disposition = self._content_type = b""
        self._value = bytearray()
        self._in_file = False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        elif self._header_name.lower() == b"content-type":
            self._content_type = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        self._name, filename = _names(self._disposition)
        if self._name is None:
            raise errors.NOT_MULTIPART(why="A part has no name in its Content-Disposition.")
        if len(self._fields) >= MAX_FIELDS:
            raise errors.NOT_MULTIPART(why=f"At most {MAX_FIELDS} fields are taken.")
        if self._name in self._fields or (self._name == "file" and self._file):
            raise errors.DUPLICATE_PARAMETER(param=self._name)
        if self._name == "file":
            if filename is None and self._content_type:
                filename = "upload"  # Ruby and Java send what they have in memory with a type and without a name
            if filename is None:
                raise errors.WRONG_TYPE(param="file", expected="a file", got="a string")
            self._in_file = True
            self._filename = filename
            upload, writer = self._uploads.begin(self._blake2b)
            self._file = _Sink(upload, writer, self._limit)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self._file:
            self._file.take(memoryview(data)[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            raise errors.NOT_MULTIPART(why=f"At most {MAX_FIELD_BYTES} bytes are taken beside the file.")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if not self._in_file and self._name is not None:
            self._fields |= self._flattened(self._name, self._value)

    def _flattened(self, name: str, value: bytearray) -> dict[str, str]:
        """A field by its name; the members of an object that Ruby sends as JSON as `name[member]`."""
        if not self._content_type.startswith(b"application/json"):
            return {name: value.decode(errors="replace")}
        _count(JSONCounter(MAX_FIELDS, MAX_LEVELS), value)
        return {f"{name}[{key}]": str(member) for key, member in _json_object(value).items()}

    def _end(self) -> None:
        self._ended = True


class _Sink:
    """Bytes of a file on their way to the disk: one block is written while the other one fills.

    Both are used again and again: new memory for each block would cost as much as to copy what is in it.
    """

    def __init__(self, upload: Upload, writer: Writer, limit: int) -> None:
        self._upload = upload
        self._writer = writer
        self._limit = limit
        self.size = 0
        self._block, self._other = bytearray(), bytearray()
        self._filled = 0
        self._writing: asyncio.Future[None] | None = None

    @property
    def digest(self) -> str:
        """The SHA-256, empty until it has finished."""
        return self._upload.digest

    def take(self, data: memoryview) -> None:
        self.size += len(data)
        if self.size > self._limit:
            raise errors.FILE_TOO_LARGE(limit=self._limit)
        start, self._filled = self._filled, self._filled + len(data)
        if self._filled <= len(self._block):
            memoryview(self._block)[start : self._filled] = data
        else:
            del self._block[start:]
            self._block += data

    async def flush(self) -> None:
        if self._filled >= BLOCK:
            await self._written()
            block, filled = self._block, self._filled
            self._block, self._other, self._filled = self._other, block, 0
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, block, filled)

    async def finish(self) -> Upload:
        await self._written()
        self._write(self._block, self._filled)
        return self._writer.finish()

    async def discard(self) -> None:
        if self._writing:
            await asyncio.wait([self._writing])
        self._upload.discard()

    def _write(self, block: bytearray, filled: int) -> None:
        """Leaves no view of the block behind, which keeps it from growing: the thread may still hold what it was
        given when others hear that it is done."""
        with memoryview(block) as whole, whole[:filled] as data:
            self._writer.write(data)

    async def _written(self) -> None:
        if self._writing:
            await self._writing
            self._writing = None


def _names(disposition: bytes) -> tuple[str | None, str | None]:
    """The name and file name of a part, as each client writes them.

    `filename*` (RFC 5987, .NET) wins over `filename`; values come quoted or bare, with raw UTF-8,
    with `\\"` (Go) or with `%22` (browsers, Node, Python) for a quotation mark, and likewise for
    control characters. A `%` before anything else stands for itself.
    """
    found: dict[str, str] = {}
    for key, value in _PARAMETER.findall(disposition.decode(errors="replace")):
        found.setdefault(key.lower(), _unquoted(value))
    extended = found.get("filename*", "").split("'", 2)
    if len(extended) == 3 and extended[0].lower() == "utf-8":
        return found.get("name"), unquote_to_bytes(extended[2]).decode(errors="replace")
    return found.get("name"), found.get("filename")


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    else:
        value = value.strip()
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
