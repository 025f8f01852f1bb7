"""What the control plane is sent that may be large: forms with a file, archives, seed documents."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mockserver import errors
from mockserver.blobs import Draft
from mockserver.database import in_thread
from mockserver.mock import Mock

FIELD_BYTES = 64 * 1024
"""For each field of a form that is no file."""
MAX_FIELDS = 10
BLOCK = 512 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A form's file, hashed, and its other fields."""

    draft: Draft
    filename: str
    fields: dict[str, str]


def multipart(**fields: str) -> dict[str, Any]:
    """How a form is described in OpenAPI: its file, and its optional fields with what they are."""
    properties: dict[str, Any] = {"file": {"type": "string", "format": "binary"}}
    properties |= {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class _Broken(MultiPartException):
    """Why a body breaks off, in the one kind of exception on which Starlette's parser closes its files."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


async def _whole(request: Request, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A form up to its end, which Starlette's parser doesn't ask for."""
    _, options = parse_options_header(request.headers["content-type"])
    tail = b""
    try:
        async for piece in pieces:
            tail = (tail + piece)[-1_000:]
            yield piece
    except Exception as error:
        raise _Broken(error) from None
    if b"--" + options.get(b"boundary", b"") + b"--" not in tail:
        raise _Broken(_bad("body", "it ends before its closing boundary"))


@asynccontextmanager
async def uploaded(mock: Mock, request: Request, *allowed: str) -> AsyncIterator[Upload]:
    """A form with a `file` and some of the `allowed` fields. The file is gone afterwards if nobody kept it."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise _bad("body", "send multipart/form-data with a field 'file'")
    limit = mock.settings.max_upload
    over = errors.FILE_TOO_LARGE(limit=limit)
    stream = _whole(request, _limited(request, limit + (MAX_FIELDS + 1) * FIELD_BYTES, over))
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS, max_part_size=FIELD_BYTES)
    try:
        form = await parser.parse()
    except _Broken as broken:
        raise broken.reason from None
    except MultiPartException as error:
        raise _bad("body", error.message) from None
    with ExitStack() as stack:
        try:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise _bad("file", "send the file with a file name, in the field 'file'")
            if file.size is not None and file.size > limit:
                raise over
            fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
            for name in fields:
                if name not in allowed:
                    raise _bad(name, f"there is no field {name[:80]!r}; known are file, {', '.join(allowed)}")
            read = partial(file.file.read, BLOCK)
            draft = await in_thread(mock.blobs.put, iter(read, b""), blake2b=True)
            stack.callback(draft.discard)
        finally:
            await form.close()
        yield Upload(draft, file.filename or "file", fields)


@asynccontextmanager
async def received(mock: Mock, request: Request, limit: int) -> AsyncIterator[Path]:
    """A body of up to `limit` bytes as a file, which is gone afterwards."""
    over = errors.TOO_MUCH(problem=f"The request body is too large. The maximum is {limit} bytes (--max-import).")
    draft, writer = mock.blobs.begin(as_file=True)
    try:
        block = bytearray()
        async for piece in _limited(request, limit, over):
            block += piece
            if len(block) >= BLOCK:
                await in_thread(writer.write, block)
                block = bytearray()
        writer.write(block)
        writer.finish()
        yield draft.path
    finally:
        draft.discard()


async def document(mock: Mock, request: Request) -> bytes:
    """A seed document, read whole."""
    limit = mock.settings.max_body
    body = bytearray()
    async for piece in _limited(request, limit, errors.BODY_TOO_LARGE(limit=limit)):
        body += piece
    return bytes(body)


@dataclass(slots=True)
class _Bound:
    limit: int
    over: errors.APIError


class Bounded:
    """No body is longer than `max_body`, unless it is read with a limit of its own."""

    def __init__(self, app: ASGIApp, mock: Mock) -> None:
        self._app = app
        self._limit = mock.settings.max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bound = scope["mockserver.bound"] = _Bound(self._limit, errors.BODY_TOO_LARGE(limit=self._limit))
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > bound.limit:
                raise bound.over
            return message

        await self._app(scope, bounded, send)


async def _limited(request: Request, limit: int, over: errors.APIError) -> AsyncGenerator[bytes, None]:
    if int(request.headers.get("content-length", "0")) > limit:
        raise over
    bound: _Bound = request.scope["mockserver.bound"]
    bound.limit, bound.over = limit, over
    async for piece in request.stream():
        yield piece


def _bad(param: str, problem: str) -> errors.APIError:
    return errors.BAD_PARAMETER(param=param, problem=f"{param}: {problem}")
