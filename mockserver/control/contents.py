"""Responses with the content of a file, or with its first bytes, for browsers that must not trust it."""

import codecs
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, BinaryIO

from fastapi import Query
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mockserver.admin.contents import Preview
from mockserver.schema.contents import Content
from mockserver.storage.database import in_thread

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


def download(media_type: str = "application/octet-stream") -> dict[str, Any]:
    """Describe a route that responds with bytes."""
    return {"response_class": Response, "responses": {200: {"content": {media_type: {"schema": BINARY}}}}}


def previewed(preview: Preview) -> Response:
    """Return plain text or bytes, never a type that a browser would interpret: the content is not trusted."""
    headers = {
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-content-size": str(preview.size),
    }
    kind = "text/plain; charset=utf-8" if _is_text(preview) else "application/octet-stream"
    return Response(preview.data, 200, {**headers, "content-type": kind})


def _is_text(preview: Preview) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(preview.data, final=len(preview.data) == preview.size)
    except UnicodeDecodeError:
        return False
    return b"\0" not in preview.data


def contents(content: Content, inline: bool) -> Response:
    """Return a response that closes the file at its end, after an error too."""
    with ExitStack() as stack:
        file = stack.enter_context(content.file)
        kind = _shown(file.read(16)) if inline else None
        size = file.seek(0, 2)
        file.seek(0)
        headers = {
            "content-security-policy": _PDF if kind == "application/pdf" else _SANDBOX,
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
            "content-length": str(size),
            "content-disposition": "inline" if kind else content.disposition,
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
