"""Containers and what is in them: look, stage what a model run would have left behind, let them expire.

Looking refreshes nothing, and makes no world.
"""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mockserver import admin, errors
from mockserver.control.bodies import document, multipart, uploaded
from mockserver.control.dependencies import TheMock
from mockserver.control.routes.files import CONTENT, Inline, PreviewBytes, contents, previewed
from mockserver.mock import Mock
from mockserver.schema.containers import ContainerDeleted, ContainerFileDeleted
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
    path="Any path; a relative one is below /mnt/data. With it the file is the assistant's unless `source` says otherwise.",
    source="`user` or `assistant`",
    bytes="What the API shows as `bytes`: `null`, or a number. The content's size, or for the assistant null, unless given.",
)


@router.get("", operation_id="findContainers")
async def find_containers(
    mock: TheMock, world: str, query: Annotated[admin.ContainerQuery, Query()]
) -> admin.FoundContainers:
    """Containers, newest first, filtered and counted, with what they hold and the time that they have left."""
    return await mock.worlds.look(world, admin.find_containers, query)


@router.post("", operation_id="stageContainer", openapi_extra=_CONTAINER)
async def stage_container(mock: TheMock, world: str, request: Request) -> admin.AdminContainer:
    """Make a container with its full state: the keys of a seed's container, files included."""
    scope = await asyncio.to_thread(_read, mock, await document(mock, request))
    placed = await apply.place(scope, mock.worlds, mock.uploads, mock.wall, world)
    return await mock.worlds.look(world, admin.find_container, placed.containers[-1])


@router.get("/{container_id}", operation_id="findContainer")
async def find_container(mock: TheMock, world: str, container_id: str) -> admin.AdminContainer:
    """One container as it is stored; looking at it is no activity."""
    return await mock.worlds.look(world, admin.find_container, container_id)


@router.delete("/{container_id}", operation_id="removeContainer")
async def remove_container(mock: TheMock, world: str, container_id: str) -> ContainerDeleted:
    """Delete a container with its files."""
    return await mock.worlds.change(world, admin.delete_container, container_id)


@router.post("/{container_id}/expire", operation_id="expireContainer")
async def expire_container(mock: TheMock, world: str, container_id: str) -> admin.AdminContainer:
    """Let it expire now. The clock stays; what its expiry counts from moves back."""
    await mock.worlds.change(world, admin.expire_container, container_id)
    return await mock.worlds.look(world, admin.find_container, container_id)


@router.post("/{container_id}/touch", operation_id="touchContainer")
async def touch_container(mock: TheMock, world: str, container_id: str) -> admin.AdminContainer:
    """Count as activity now, as a model run would. One that has expired stays so."""
    await mock.worlds.change(world, admin.touch_container, container_id)
    return await mock.worlds.look(world, admin.find_container, container_id)


@router.get("/{container_id}/files", operation_id="findContainerFiles")
async def find_container_files(
    mock: TheMock, world: str, container_id: str, query: Annotated[admin.Query, Query()]
) -> admin.FoundContainerFiles:
    """A container's files, newest first, filtered and counted; of one that has expired too."""
    return await mock.worlds.look(world, admin.find_container_files, container_id, query)


@router.post("/{container_id}/files", operation_id="stageContainerFile", openapi_extra=_FORM)
async def stage_container_file(
    mock: TheMock, world: str, container_id: str, request: Request
) -> admin.AdminContainerFile:
    """Put a file into a container, as the user or as the assistant. It is no activity."""
    async with uploaded(mock, request, "path", "source", "bytes") as form:
        path, source = form.fields.get("path") or None, form.fields.get("source")
        if path and len(path) > models.MAX_PATH:
            raise errors.BAD_PARAMETER(param="path", problem=f"path: at most {models.MAX_PATH} characters are taken")
        if source not in (None, "user", "assistant"):
            raise errors.BAD_PARAMETER(param="source", problem="source: write user or assistant")
        size = _bytes(form.fields["bytes"]) if "bytes" in form.fields else apply.AS_USUAL
        ids: list[str] = []

        def fill(put: Placement) -> None:
            if not put.has_container(container_id):
                raise errors.CONTAINER_NOT_FOUND(container_id=container_id)
            id = apply.put_file(
                put,
                container_id=container_id,
                id=None,
                seq=None,
                created_at=put.now,
                content=form.draft,
                size=form.draft.size,
                digest=form.draft.digest,
                name=form.filename,
                path=path,
                source=source,
                bytes=size,
            )
            ids.append(id)

        await mock.worlds.add(world, fill)
    return await mock.worlds.look(world, admin.find_container_file, container_id, ids[-1])


@router.get(
    "/{container_id}/files/{file_id}/content",
    operation_id="saveContainerFile",
    response_class=Response,
    responses={200: {"content": CONTENT}},
)
async def save_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, inline: Inline = False
) -> Response:
    """All of a content, to be saved; with `?inline=true` an image or a PDF to be shown. It is no activity."""
    opened = admin.open_container_file
    return contents(await mock.worlds.look(world, opened, container_id, file_id), inline)


@router.get("/{container_id}/files/{file_id}/preview", operation_id="previewContainerFile", response_class=Response)
async def preview_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, bytes: PreviewBytes = 64 * 1024
) -> Response:
    """The first bytes of a content, as plain text or as bytes, never as what a client called it."""
    preview = admin.preview_container_file
    return previewed(await mock.worlds.look(world, preview, container_id, file_id, bytes))


@router.delete("/{container_id}/files/{file_id}", operation_id="removeContainerFile")
async def remove_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> ContainerFileDeleted:
    """Delete a file of a container, running or expired. It is no activity."""
    return await mock.worlds.change(world, admin.delete_container_file, container_id, file_id)


def _read(mock: Mock, text: bytes) -> Scope:
    """Raises SeedError."""
    sent = Source(Path("body"), text, SENT)
    source = Source.of({"containers": [sent.values]}, sent)
    return loader.read_document(source, Nowhere(), mock.settings.max_upload, mock.settings.max_import)


def _bytes(text: str) -> int | None:
    if text == "null":
        return None
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    raise errors.BAD_PARAMETER(param="bytes", problem="bytes: write null or a number")
