"""Containers and their files: read them, add what a model run would create, expire them.

Reading does not refresh `last_active_at`, and creates no world.
"""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mockserver import admin, control_errors, errors
from mockserver.control.bodies import document, multipart, uploaded
from mockserver.control.dependencies import TheMock
from mockserver.control.routes.files import CONTENT, Inline, PreviewBytes, contents, previewed
from mockserver.mock import Mock
from mockserver.schema.admin import (
    AdminContainer,
    AdminContainerFile,
    ContainerQuery,
    FoundContainerFiles,
    FoundContainers,
    NamedQuery,
)
from mockserver.schema.containers import ContainerDeleted, ContainerFileDeleted
from mockserver.schema.sources import MAX_PATH
from mockserver.seeds import apply, loader, models
from mockserver.seeds.document import SENT, Source
from mockserver.seeds.scope import Nowhere, Scope
from mockserver.storage.bulk import Placement

router = APIRouter(prefix="/worlds/{world}/containers", tags=["Containers"])

_CONTAINER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"name": "auto", "last_active_at": "-19m"}}
        },
    }
}
_FORM = multipart(
    path="Any path without `..`; a relative one is below /mnt/data. With a path, the default `source` is `assistant`.",
    source="`user` or `assistant`",
    bytes="The `bytes` that the API returns: `null` or a number. By default the content's size, or null for the assistant.",
)


@router.get("", operation_id="findContainers")
async def find_containers(mock: TheMock, world: str, query: Annotated[ContainerQuery, Query()]) -> FoundContainers:
    """List containers, newest first, with filters, the size of their files and the time until they expire."""
    return await mock.worlds.look(world, admin.find_containers, query)


@router.post("", operation_id="stageContainer", openapi_extra=_CONTAINER)
async def stage_container(mock: TheMock, world: str, request: Request) -> AdminContainer:
    """Create a container with its full state: the keys of a container in a seed, with files."""
    scope = await asyncio.to_thread(_read, mock, await document(mock, request))
    placed = await apply.place(scope, mock.worlds, mock.uploads, mock.wall, world)
    return await mock.worlds.look(world, admin.find_container, placed.containers[-1])


@router.get("/{container_id}", operation_id="findContainer")
async def find_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Return one container as it is stored. This does not refresh `last_active_at`."""
    return await mock.worlds.look(world, admin.find_container, container_id)


@router.delete("/{container_id}", operation_id="removeContainer")
async def remove_container(mock: TheMock, world: str, container_id: str) -> ContainerDeleted:
    """Delete a container with its files."""
    return await mock.worlds.change(world, admin.delete_container, container_id)


@router.post("/{container_id}/expire", operation_id="expireContainer")
async def expire_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Expire a container now. The clock stays; the time from which its expiry counts moves back."""
    await mock.worlds.change(world, admin.expire_container, container_id)
    return await mock.worlds.look(world, admin.find_container, container_id)


@router.post("/{container_id}/touch", operation_id="touchContainer")
async def touch_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Refresh `last_active_at`, as a model run does. An expired container stays expired."""
    await mock.worlds.change(world, admin.touch_container, container_id)
    return await mock.worlds.look(world, admin.find_container, container_id)


@router.get("/{container_id}/files", operation_id="findContainerFiles")
async def find_container_files(
    mock: TheMock, world: str, container_id: str, query: Annotated[NamedQuery, Query()]
) -> FoundContainerFiles:
    """List the files of a container, running or expired, newest first, with filters."""
    return await mock.worlds.look(world, admin.find_container_files, container_id, query)


@router.post("/{container_id}/files", operation_id="stageContainerFile", openapi_extra=_FORM)
async def stage_container_file(mock: TheMock, world: str, container_id: str, request: Request) -> AdminContainerFile:
    """Add a file to a container, as the user or the assistant. This does not refresh `last_active_at`."""
    async with uploaded(mock, request, "path", "source", "bytes") as form:
        path, source = form.fields.get("path") or None, form.fields.get("source")
        if path and len(path) > MAX_PATH:
            raise control_errors.BAD_PARAMETER(param="path", problem=f"path: send at most {MAX_PATH} characters")
        if path and models.leaves(path):
            raise control_errors.BAD_PARAMETER(
                param="path", problem="path: a path has no '..'; send the path that it leads to"
            )
        if source not in (None, "user", "assistant"):
            raise control_errors.BAD_PARAMETER(param="source", problem="source: choose one of: user, assistant")
        size = _bytes(form.fields["bytes"]) if "bytes" in form.fields else apply.AS_USUAL
        ids: list[str] = []

        def fill(put: Placement) -> None:
            if not put.has_container(container_id):
                raise errors.CONTAINER_NOT_FOUND(container_id=container_id)
            id = apply.put_file(
                put,
                form.draft,
                container_id=container_id,
                created_at=put.now,
                name=form.filename,
                path=path,
                source=source,
                bytes=size,
            )
            ids.append(id)

        await mock.worlds.add(world, fill)
    return await mock.worlds.look(world, admin.find_container_file, container_id, ids[-1])


@router.get("/{container_id}/files/{file_id}", operation_id="findContainerFile")
async def find_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> AdminContainerFile:
    """Return one file of a container, running or expired."""
    return await mock.worlds.look(world, admin.find_container_file, container_id, file_id)


@router.get(
    "/{container_id}/files/{file_id}/content",
    operation_id="saveContainerFile",
    response_class=Response,
    responses={200: {"content": CONTENT}},
)
async def save_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, inline: Inline = False
) -> Response:
    """Download a file's content, or show an image or PDF with `?inline=true`. This does not refresh `last_active_at`."""
    opened = admin.open_container_file
    return contents(await mock.worlds.look(world, opened, container_id, file_id), inline)


@router.get("/{container_id}/files/{file_id}/preview", operation_id="previewContainerFile", response_class=Response)
async def preview_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, bytes: PreviewBytes = 64 * 1024
) -> Response:
    """Return the first bytes of a file's content, as plain text or bytes, whatever the file's type."""
    preview = admin.preview_container_file
    return previewed(await mock.worlds.look(world, preview, container_id, file_id, bytes))


@router.delete("/{container_id}/files/{file_id}", operation_id="removeContainerFile")
async def remove_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> ContainerFileDeleted:
    """Delete a file of a container, running or expired. This does not refresh `last_active_at`."""
    return await mock.worlds.change(world, admin.delete_container_file, container_id, file_id)


def _read(mock: Mock, text: bytes) -> Scope:
    """Raise SeedError."""
    sent = Source(Path("body"), text, SENT)
    source = Source.of({"containers": [sent.values]}, sent)
    return loader.read_document(source, Nowhere(), mock.settings.max_upload, mock.settings.max_import)


def _bytes(text: str) -> int | None:
    if text == "null":
        return None
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    raise control_errors.BAD_PARAMETER(param="bytes", problem="bytes: send null or a number")
