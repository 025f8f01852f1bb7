"""Files of the Files API: find, read, add and delete them."""

from typing import Annotated, Literal

from fastapi import Query, Request
from starlette.responses import Response

from mockserver import errors, files
from mockserver.context import Context, World
from mockserver.control.bodies import multipart, uploaded
from mockserver.control.contents import PREVIEWED, Inline, PreviewBytes, download, preview, send_content
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.lists import Found, ListQuery, Search
from mockserver.schema.files import File, FileDeleted, Purpose
from mockserver.storage import tables
from mockserver.storage.database import Transaction

router = new_router("/worlds/{world}/files", "Files", ["files", "worlds"])


class AdminFile(File):
    """A File; it can be read here whatever its purpose."""


class FoundFiles(Found):
    data: list[AdminFile]


class FileQuery(ListQuery):
    purpose: str | None = None
    sort: Literal["created", "name", "size"] = "created"


class NewFile(RequestModel):
    purpose: Purpose = "user_data"


_files = Search(
    files.listing,
    tables.File,
    {"name": "filename", "size": "bytes"},
    "(:purpose IS NULL OR purpose = :purpose)",
    files.UNEXPIRED,
)


@router.get("")
async def find_files(mock: TheMock, world: str, query: Annotated[FileQuery, Query()]) -> FoundFiles:
    """List Files, newest first, with filters."""
    return await mock.worlds.look(world, _found, query)


@router.post("", openapi_extra=multipart(NewFile))
async def stage_file(mock: TheMock, world: str, request: Request) -> AdminFile:
    """Add a File."""
    async with uploaded(mock, request, NewFile) as (content, filename, fields):

        def add(context: Context) -> AdminFile:
            with context.write() as tx:
                row = files.store(context, tx, content, filename=filename, purpose=fields.purpose)
            return files.shown(row)

        return await mock.worlds.apply(world, add)


@router.get("/{file_id}")
async def find_file(mock: TheMock, world: str, file_id: str) -> AdminFile:
    """Return one File."""
    return await mock.worlds.look(world, lambda tx, state: files.shown(_file(tx, state, file_id)))


@router.delete("/{file_id}")
async def remove_file(mock: TheMock, world: str, file_id: str) -> FileDeleted:
    """Delete a File. Its copies in containers stay."""
    return await mock.worlds.change(world, _remove, file_id)


@router.get("/{file_id}/content", **download())
async def save_file(mock: TheMock, world: str, file_id: str, inline: Inline = False) -> Response:
    """Download a File's content, whatever its purpose, or show an image or PDF with `?inline=true`."""
    return await mock.worlds.look(world, _send, file_id, inline)


@router.get("/{file_id}/preview", response_class=Response)
async def preview_file(mock: TheMock, world: str, file_id: str, bytes: PreviewBytes = PREVIEWED) -> Response:
    """Return the first bytes of a File's content, whatever its purpose, as plain text or bytes."""
    return await mock.worlds.look(world, lambda tx, state: preview(tx, state, _file(tx, state, file_id).digest, bytes))


def _found(tx: Transaction, world: World, query: FileQuery) -> FoundFiles:
    rows, found = _files.find(tx, query, world.now())
    return FoundFiles(data=[files.shown(row) for row in rows], **found)


def _send(tx: Transaction, world: World, file_id: str, inline: bool) -> Response:
    row = _file(tx, world, file_id)
    return send_content(tx, world, row.digest, row.filename, errors.FILE_NOT_FOUND(file_id=file_id), inline)


def _remove(context: Context, file_id: str) -> FileDeleted:
    _file(context.read, context.world, file_id)  # a profile may create what is missing
    return files.delete_file(context, file_id)


def _file(tx: Transaction, world: World, file_id: str) -> tables.File:
    if row := files.find(tx, file_id, world.now()):
        return row
    raise errors.FILE_NOT_FOUND(file_id=file_id)
