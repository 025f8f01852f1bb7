"""Files of the Files API: read, add and delete them."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from mockserver.admin import files
from mockserver.admin.files import AdminFile, FileQuery, FoundFiles
from mockserver.control.bodies import multipart, uploaded
from mockserver.control.contents import PREVIEWED, Inline, PreviewBytes, contents, download, previewed
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.schema.files import FileDeleted, Purpose
from mockserver.storage import tables
from mockserver.storage.bulk import Placement

router = new_router("/worlds/{world}/files", "Files")


class NewFile(RequestModel):
    purpose: Purpose = "user_data"


@router.get("")
async def find_files(mock: TheMock, world: str, query: Annotated[FileQuery, Query()]) -> FoundFiles:
    """List Files, newest first, with filters."""
    return await mock.worlds.look(world, files.find_files, query)


@router.post("", openapi_extra=multipart(NewFile))
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
    return await mock.worlds.look(world, files.find_file, ids[-1])


@router.get("/{file_id}")
async def find_file(mock: TheMock, world: str, file_id: str) -> AdminFile:
    """Return one File."""
    return await mock.worlds.look(world, files.find_file, file_id)


@router.delete("/{file_id}")
async def remove_file(mock: TheMock, world: str, file_id: str) -> FileDeleted:
    """Delete a File. Its copies in containers stay."""
    return await mock.worlds.change(world, files.delete_file, file_id)


@router.get("/{file_id}/content", **download())
async def save_file(mock: TheMock, world: str, file_id: str, inline: Inline = False) -> Response:
    """Download a File's content, whatever its purpose, or show an image or PDF with `?inline=true`."""
    content = await mock.worlds.look(world, files.open_file, file_id)
    return contents(content, inline)


@router.get("/{file_id}/preview", response_class=Response)
async def preview_file(mock: TheMock, world: str, file_id: str, bytes: PreviewBytes = PREVIEWED) -> Response:
    """Return the first bytes of a File's content, whatever its purpose, as plain text or bytes."""
    preview = await mock.worlds.look(world, files.preview_file, file_id, bytes)
    return previewed(preview)
