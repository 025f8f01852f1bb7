"""Request bodies that can be large: forms with a file, archives, seed documents."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mockserver import control_errors, errors
from mockserver.bounds import MAX_PARAMETERS, Excess, JSONCounter, has_lone_surrogate
from mockserver.control.contents import BINARY
from mockserver.control.dependencies import RequestModel
from mockserver.mock import Mock
from mockserver.routing import error_response
from mockserver.schema.contents import base_name
from mockserver.seeds import apply, loader
from mockserver.seeds.contents import Nowhere
from mockserver.seeds.document import SENT, Limits, Source
from mockserver.seeds.scope import Scope as SeedScope
from mockserver.settings import SeedError
from mockserver.storage.contents import Upload
from mockserver.storage.database import in_thread

MAX_JSON_BYTES = 1 << 20
"""The limit of a body, unless its route sets another."""
FIELD_BYTES = 64 * 1024
"""The limit of each form field that is not a file."""
MAX_FIELDS = 10
MAX_ANSWERS_BYTES = 24 << 20
"""The limit of answers, which hold files: 16 MiB as Base64, and texts. All worlds wait while their JSON is parsed."""
_ANSWERS = re.compile(r"/_mock/worlds/[^/]+/answers")
BLOCK = 512 * 1024

Fields = TypeVar("Fields", bound=RequestModel)
P = ParamSpec("P")


def described(contents: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that its route reads itself in OpenAPI, by its media types."""
    return {"requestBody": {"required": True, "content": contents}}


def json_like(example: object) -> dict[str, Any]:
    """Describe a seed document, or a part of one, by an example."""
    return {"application/json": {"schema": {"type": "object"}, "example": example}}


def multipart(fields: type[RequestModel]) -> dict[str, Any]:
    """Describe a form: its file and its other fields."""
    file = {"file": BINARY}
    properties = file | fields.model_json_schema()["properties"]
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return described({"multipart/form-data": {"schema": schema}})


async def _complete(request: Request, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a form, and check that it is complete, which Starlette's parser does not."""
    _, options = parse_options_header(request.headers["content-type"])
    tail = b""
    async for piece in pieces:
        tail = (tail + piece)[-1_000:]
        yield piece
    if b"--" + options.get(b"boundary", b"") + b"--" not in tail:
        raise control_errors.BAD_PARAMETER(param="body", problem="the form ends before its closing boundary")


@asynccontextmanager
async def uploaded(mock: Mock, request: Request, model: type[Fields]) -> AsyncIterator[tuple[Upload, str, Fields]]:
    """Receive a form: its `file`, the name of that, and its other fields. The file is deleted afterwards unless it was
    kept."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise control_errors.BAD_PARAMETER(param="body", problem="send multipart/form-data with a field 'file'")
    limit = mock.settings.max_upload
    over = errors.FILE_TOO_LARGE(limit=limit)
    stream = _complete(request, _limited(request, limit + (MAX_FIELDS + 1) * FIELD_BYTES, over))
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS, max_part_size=FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise control_errors.BAD_PARAMETER(param="body", problem=error.message) from None
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise control_errors.BAD_PARAMETER(
                param="file", problem="send the file with a file name, in the field 'file'"
            )
        if file.size is not None and file.size > limit:
            raise over
        try:
            fields = model(**{name: value for name, value in form.items() if name != "file"})
        except ValidationError as error:
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
        upload = await in_thread(mock.uploads.put, iter(partial(file.file.read, BLOCK), b""), blake2b=True)
    finally:
        await form.close()
    try:
        yield upload, base_name(file.filename or "") or "file", fields
    finally:
        upload.discard()


@asynccontextmanager
async def received(mock: Mock, request: Request, limit: int) -> AsyncIterator[Path]:
    """Receive a body of up to `limit` bytes as a file, which is deleted afterwards."""
    over = control_errors.TOO_MUCH(
        problem=f"The request body is too large. The maximum is {limit} bytes (--max-import)."
    )
    draft = mock.uploads.begin(as_file=True)
    try:
        block = bytearray()
        async for piece in _limited(request, limit, over):
            block += piece
            if len(block) >= BLOCK:
                await in_thread(draft.write, block)
                block = bytearray()
        draft.write(block)
        draft.finish()
        yield draft.path
    finally:
        draft.discard()


async def document(mock: Mock, request: Request) -> bytes:
    """Read a seed document, and count its values as it arrives."""
    limit = mock.settings.max_body
    body, counter, is_json = bytearray(), JSONCounter(SENT.json_values), False
    async for piece in _limited(request, limit, errors.BODY_TOO_LARGE(limit=limit)):
        is_json = is_json or (not body.strip() and piece.lstrip()[:1] in (b"{", b"["))
        body += piece
        if is_json:
            try:
                counter.feed(piece)
            except Excess as excess:
                raise SeedError(f"body: {excess}; use repeat, or send it in parts") from None
    return bytes(body)


async def add_objects(mock: Mock, request: Request, world: str, key: str | None = None) -> dict[str, list[str]]:
    """Add the objects of a seed document to a world; with a `key`, the one that it describes, as in the list of that key."""
    text = await document(mock, request)
    try:
        async with reading(read_seed, text, mock, SENT, key) as scope:
            return await apply.place(scope, mock.worlds, mock.uploads, mock.wall, world)
    except SeedError as error:  # of one object, which is a line mostly, the name of the key says where
        raise SeedError(re.sub("^body(:1)?: ", "", str(error)) if key else str(error)) from None


@asynccontextmanager
async def reading(read: Callable[P, SeedScope], *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[SeedScope]:
    """Read a seed document in a thread, and discard it afterwards. Meanwhile nothing is collected."""
    with loader.uncollected():
        scope = await asyncio.to_thread(read, *args, **kwargs)
        try:
            yield scope
        finally:
            await in_thread(scope.discard)


def read_seed(text: bytes, mock: Mock, limits: Limits, key: str | None = None) -> SeedScope:
    """Read a seed document. Raise SeedError."""
    source = Source(Path("body"), text, limits)
    if key:
        source.put_into(key)
    return loader.read_document(source, Nowhere(), mock.settings.max_upload, mock.settings.max_import)


class Bounded:
    """Limits a body to a megabyte of JSON, or of answers to several, with a bounded number of values, unless its route
    reads it with another limit."""

    def __init__(self, app: ASGIApp, mock: Mock) -> None:
        self._app = app
        self._max_body = mock.settings.max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("query_string", b"").count(b"&") >= MAX_PARAMETERS:
            await error_response(errors.TOO_MANY_PARAMETERS(limit=MAX_PARAMETERS))(scope, receive, send)
            return
        is_answers = _ANSWERS.fullmatch(scope.get("path", ""))
        limit = min(MAX_ANSWERS_BYTES if is_answers else MAX_JSON_BYTES, self._max_body)
        body, counter = bytearray(), JSONCounter()

        async def bounded() -> Message:
            message = await receive()
            piece = message.get("body", b"")
            body.extend(piece)
            if len(body) > limit:
                raise errors.BODY_TOO_LARGE(limit=limit)
            try:
                counter.feed(piece)
            except Excess as excess:
                raise errors.BODY_HOLDS_TOO_MUCH(problem=excess) from None
            if not message.get("more_body", False):
                _check_text(body)
            return message

        scope["mockserver.receive"] = receive
        await self._app(scope, bounded, send)


def _check_text(text: bytearray) -> None:
    """Raise an error for half a surrogate pair and for UTF-16, which the standard parser accepts and counts wrongly."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise control_errors.BAD_PARAMETER(param="body", problem=f"not JSON: byte {error.start} is not UTF-8") from None
    if b"\0" in text:
        raise control_errors.BAD_PARAMETER(param="body", problem="not JSON: a zero byte is not allowed")
    if has_lone_surrogate(text):
        raise control_errors.BAD_PARAMETER(
            param="body", problem="not JSON: half of a surrogate pair is not a character; remove its \\u escape"
        )


async def _limited(request: Request, limit: int, over: errors.APIError) -> AsyncGenerator[bytes, None]:
    """Yield a body as it arrives, of any kind, without the limits of JSON."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise over
    size = 0
    try:
        async for piece in Request(request.scope, request.scope["mockserver.receive"]).stream():
            size += len(piece)
            if size > limit:
                raise over
            yield piece
    except ClientDisconnect:  # nobody reads this
        raise control_errors.BAD_PARAMETER(param="body", problem="it ends before its length") from None
