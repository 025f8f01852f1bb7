"""Containers and their files: read them, add what a model run would create, expire them.

Reading does not refresh `last_active_at`, and creates no world.
"""

from typing import Annotated, Literal

from fastapi import Query, Request
from pydantic import AfterValidator, BeforeValidator, Field
from starlette.responses import Response

from mockserver import errors
from mockserver.admin import containers
from mockserver.admin.containers import (
    AdminContainer,
    AdminContainerFile,
    ContainerQuery,
    FoundContainerFiles,
    FoundContainers,
)
from mockserver.admin.lists import NamedQuery
from mockserver.control.bodies import add_objects, described, json_like, multipart, uploaded
from mockserver.control.contents import PREVIEWED, Inline, PreviewBytes, contents, download, previewed
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.schema.containers import ContainerDeleted, ContainerFileDeleted
from mockserver.schema.values import MAX_PATH
from mockserver.seeds.containers import file_columns, leaves
from mockserver.storage import tables
from mockserver.storage.bulk import Placement

router = new_router("/worlds/{world}/containers", "Containers")

_CONTAINER = described(json_like({"name": "auto", "last_active_at": "-19m"}))


def _below(path: str) -> str:
    if leaves(path):
        raise ValueError("a path has no '..'; send the path that it leads to")
    return path


class NewContainerFile(RequestModel):
    path: Annotated[
        Annotated[str, Field(max_length=MAX_PATH), AfterValidator(_below)] | None,
        Field(description="A relative one is below /mnt/data. With a path, the default `source` is `assistant`."),
    ] = None
    source: Literal["user", "assistant"] | None = None
    bytes: Annotated[
        Annotated[int, Field(ge=0, lt=10**15)] | None,
        BeforeValidator(lambda text: None if text == "null" else text),
        Field(description="What the API returns; `null` is possible. By default the size, or null for the assistant."),
    ] = None


@router.get("")
async def find_containers(mock: TheMock, world: str, query: Annotated[ContainerQuery, Query()]) -> FoundContainers:
    """List containers, newest first, with filters, the size of their files and the time until they expire."""
    return await mock.worlds.look(world, containers.find_containers, query)


@router.post("", openapi_extra=_CONTAINER)
async def stage_container(mock: TheMock, world: str, request: Request) -> AdminContainer:
    """Create a container with its full state: the keys of a container in a seed, with files."""
    added = await add_objects(mock, request, world, "containers")
    return await mock.worlds.look(world, containers.find_container, added["containers"][-1])


@router.get("/{container_id}")
async def find_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Return one container as it is stored. This does not refresh `last_active_at`."""
    return await mock.worlds.look(world, containers.find_container, container_id)


@router.delete("/{container_id}")
async def remove_container(mock: TheMock, world: str, container_id: str) -> ContainerDeleted:
    """Delete a container with its files."""
    return await mock.worlds.change(world, containers.delete_container, container_id)


@router.post("/{container_id}/expire")
async def expire_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Expire a container now. The clock stays; the time from which its expiry counts moves back."""
    await mock.worlds.change(world, containers.expire_container, container_id)
    return await mock.worlds.look(world, containers.find_container, container_id)


@router.post("/{container_id}/touch")
async def touch_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Refresh `last_active_at`, as a model run does. An expired container stays expired."""
    await mock.worlds.change(world, containers.touch_container, container_id)
    return await mock.worlds.look(world, containers.find_container, container_id)


@router.get("/{container_id}/files")
async def find_container_files(
    mock: TheMock, world: str, container_id: str, query: Annotated[NamedQuery, Query()]
) -> FoundContainerFiles:
    """List the files of a container, running or expired, newest first, with filters."""
    return await mock.worlds.look(world, containers.find_container_files, container_id, query)


@router.post("/{container_id}/files", openapi_extra=multipart(NewContainerFile))
async def stage_container_file(mock: TheMock, world: str, container_id: str, request: Request) -> AdminContainerFile:
    """Add a file to a container, as the user or the assistant. This does not refresh `last_active_at`."""
    async with uploaded(mock, request, NewContainerFile) as form:
        ids: list[str] = []

        def fill(put: Placement) -> None:
            if not put.has_container(container_id):
                raise errors.CONTAINER_NOT_FOUND(container_id=container_id)
            columns = file_columns(form.fields, form.filename, form.draft)
            own = {"container_id": container_id, "created_at": put.now}
            ids.append(put.add(tables.ContainerFile, form.draft, **own, **columns).id)

        await mock.worlds.add(world, fill)
    return await mock.worlds.look(world, containers.find_container_file, container_id, ids[-1])


@router.get("/{container_id}/files/{file_id}")
async def find_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> AdminContainerFile:
    """Return one file of a container, running or expired."""
    return await mock.worlds.look(world, containers.find_container_file, container_id, file_id)


@router.get("/{container_id}/files/{file_id}/content", **download())
async def save_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, inline: Inline = False
) -> Response:
    """Download a file's content, or show an image or PDF with `?inline=true`. This does not refresh `last_active_at`."""
    opened = containers.open_container_file
    return contents(await mock.worlds.look(world, opened, container_id, file_id), inline)


@router.get("/{container_id}/files/{file_id}/preview", response_class=Response)
async def preview_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, bytes: PreviewBytes = PREVIEWED
) -> Response:
    """Return the first bytes of a file's content, as plain text or bytes, whatever the file's type."""
    preview = containers.preview_container_file
    return previewed(await mock.worlds.look(world, preview, container_id, file_id, bytes))


@router.delete("/{container_id}/files/{file_id}")
async def remove_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> ContainerFileDeleted:
    """Delete a file of a container, running or expired. This does not refresh `last_active_at`."""
    return await mock.worlds.change(world, containers.delete_container_file, container_id, file_id)
