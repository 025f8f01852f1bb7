"""Contents: whole, or their first bytes, as responses for browsers that must not trust them."""

import codecs
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, BinaryIO

from fastapi import Query
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mockserver.context import World
from mockserver.errors import APIError
from mockserver.schema.contents import disposition
from mockserver.storage.database import Transaction, in_thread

PreviewBytes = Annotated[int, Query(ge=0, le=1 << 20)]
PREVIEWED = 64 * 1024
"""Bytes of a preview unless more or fewer are asked for."""
Inline = Annotated[bool, Query()]
BINARY = {"type": "string", "format": "binary"}

PIECE = 256 * 1024
"""Bytes of a content that are sent at once."""

_SHOWN = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
"""Types that a browser may show, by their first bytes. No script can run in any of them."""
_SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'self'"
_PDF = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""Browsers don't show a PDF in a sandbox, but isolate it themselves."""


def size_of(tx: Transaction, world: World, digest: str) -> int:
    """Return the size of a content, 0 if it was deleted since its row was read."""
    try:
        return world.contents.size(tx, digest)
    except FileNotFoundError:
        return 0


def download(kind: str = "application/octet-stream") -> dict[str, Any]:
    """Describe a route that responds with bytes."""
    return {"response_class": Response, "responses": {200: {"content": {kind: {"schema": BINARY}}}}}


def preview(tx: Transaction, world: World, digest: str, length: int) -> Response:
    """Return the first bytes of a content."""
    try:
        with world.open(tx, digest) as file:
            return previewed(file.read(length), file.seek(0, 2))
    except FileNotFoundError:  # deleted since its row was read
        return previewed(b"", 0)


def previewed(data: bytes, size: int) -> Response:
    """Return the first bytes of a content of this size as plain text or bytes, never as a type that a browser would
    interpret: the content is not trusted."""
    headers = {
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-content-size": str(size),
    }
    kind = "text/plain; charset=utf-8" if _is_text(data, len(data) == size) else "application/octet-stream"
    return Response(data, 200, {**headers, "content-type": kind})


def _is_text(data: bytes, complete: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=complete)
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def send_content(
    tx: Transaction, world: World, digest: str, name: str, gone: APIError, inline: bool = False
) -> Response:
    """Return a response that closes the file at its end, after an error too. Raise `gone` if there is no content."""
    try:
        file = world.open(tx, digest)
    except FileNotFoundError:  # deleted since its row was read
        raise gone from None
    with ExitStack() as stack:
        stack.enter_context(file)
        kind = _shown(file.read(16)) if inline else None
        size = file.seek(0, 2)
        file.seek(0)
        headers = {
            "content-security-policy": _PDF if kind == "application/pdf" else _SANDBOX,
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
            "content-length": str(size),
            "content-disposition": "inline" if kind else disposition(name),
        }
        return _Contents(file, headers, kind or "application/octet-stream", stack.pop_all())


def _shown(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _SHOWN if start.startswith(magic)), None)


class _Contents(StreamingResponse):
    def __init__(self, file: BinaryIO, headers: dict[str, str], kind: str, stack: ExitStack) -> None:
        super().__init__(in_threads(iter(partial(file.read, PIECE), b"")), headers=headers, media_type=kind)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stack:
            await super().__call__(scope, receive, send)


async def in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Starlette would use a second pool of threads, which keeps up to 40 of them."""
    while (piece := await in_thread(next, pieces, None)) is not None:
        yield piece
