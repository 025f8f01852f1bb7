"""Files of the Files API: read, add and delete them."""

import asyncio
import codecs
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mockserver import admin
from mockserver.admin import Preview
from mockserver.control.bodies import multipart, uploaded
from mockserver.control.dependencies import RequestModel, TheMock
from mockserver.schema.admin import AdminFile, FileQuery, FoundFiles
from mockserver.schema.contents import Content
from mockserver.schema.files import FileDeleted, Purpose
from mockserver.storage import tables
from mockserver.storage.bulk import Placement

router = APIRouter(prefix="/worlds/{world}/files", tags=["Files"])

PreviewBytes = Annotated[int, Query(ge=0, le=1 << 20)]
Inline = Annotated[bool, Query()]
CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

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


class NewFile(RequestModel):
    purpose: Purpose = "user_data"


@router.get("", operation_id="findFiles")
async def find_files(mock: TheMock, world: str, query: Annotated[FileQuery, Query()]) -> FoundFiles:
    """List Files, newest first, with filters."""
    return await mock.worlds.look(world, admin.find_files, query)


@router.post("", operation_id="stageFile", openapi_extra=multipart(NewFile))
async def stage_file(mock: TheMock, world: str, request: Request) -> AdminFile:
    """Add a File."""
    async with uploaded(mock, request, NewFile) as form:
        ids: list[str] = []

        def fill(put: Placement) -> None:
            row = put.add(
                tables.File,
                form.draft,
                created_at=put.now,
                expires_at=None,
                bytes=form.draft.size,
                filename=form.filename,
                purpose=form.fields.purpose,
            )
            ids.append(row.id)

        await mock.worlds.add(world, fill)
    return await mock.worlds.look(world, admin.find_file, ids[-1])


@router.get("/{file_id}", operation_id="findFile")
async def find_file(mock: TheMock, world: str, file_id: str) -> AdminFile:
    """Return one File."""
    return await mock.worlds.look(world, admin.find_file, file_id)


@router.delete("/{file_id}", operation_id="removeFile")
async def remove_file(mock: TheMock, world: str, file_id: str) -> FileDeleted:
    """Delete a File. Its copies in containers stay."""
    return await mock.worlds.change(world, admin.delete_file, file_id)


@router.get(
    "/{file_id}/content", operation_id="saveFile", response_class=Response, responses={200: {"content": CONTENT}}
)
async def save_file(mock: TheMock, world: str, file_id: str, inline: Inline = False) -> Response:
    """Download a File's content, whatever its purpose, or show an image or PDF with `?inline=true`."""
    content = await mock.worlds.look(world, admin.open_file, file_id)
    return contents(content, inline)


@router.get("/{file_id}/preview", operation_id="previewFile", response_class=Response)
async def preview_file(mock: TheMock, world: str, file_id: str, bytes: PreviewBytes = 64 * 1024) -> Response:
    """Return the first bytes of a File's content, whatever its purpose, as plain text or bytes."""
    preview = await mock.worlds.look(world, admin.preview_file, file_id, bytes)
    return previewed(preview)


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
        super().__init__(_pieces(file), headers=headers, media_type=kind)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stack:
            await super().__call__(scope, receive, send)


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece
