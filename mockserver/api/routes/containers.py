"""/containers, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import containers
from mockserver.api.bundles import read_skills
from mockserver.api.multipart import read_form
from mockserver.api.openapi import CONTAINER_FILE_FORM, CONTENT
from mockserver.api.operation import Operation, TheContext, TheExchange
from mockserver.schema.containers import (
    Container,
    ContainerDeleted,
    ContainerFile,
    ContainerFileDeleted,
    ContainerFileList,
    ContainerList,
    CreateContainer,
    ListContainers,
)
from mockserver.schema.contents import Content
from mockserver.schema.lists import Page

router = APIRouter(prefix="/containers", tags=["Containers"], route_class=Operation)


@router.get("")
async def list_containers(context: TheContext, query: Annotated[ListContainers, Query()]) -> ContainerList:
    return await context.run(containers.list_containers, query)


@router.post("")
async def create_container(exchange: TheExchange, context: TheContext, body: CreateContainer) -> Container:
    async with read_skills(exchange, context, {"": body.skills}) as supplied:
        return await context.run(containers.create_container, body, supplied)


@router.get("/{container_id}")
async def retrieve_container(context: TheContext, container_id: str) -> Container:
    return await context.run(containers.retrieve_container, container_id)


@router.delete("/{container_id}")
async def delete_container(context: TheContext, container_id: str) -> ContainerDeleted:
    return await context.run(containers.delete_container, container_id)


@router.post("/{container_id}/files", openapi_extra=CONTAINER_FILE_FORM)
async def create_container_file(exchange: TheExchange, context: TheContext, container_id: str) -> ContainerFile:
    await context.run(containers.use_container, container_id)
    async with read_form(exchange) as sent:
        return await context.run(containers.create_container_file, container_id, sent)


@router.get("/{container_id}/files")
async def list_container_files(
    context: TheContext, container_id: str, query: Annotated[Page, Query()]
) -> ContainerFileList:
    return await context.run(containers.list_container_files, container_id, query)


@router.get("/{container_id}/files/{file_id}")
async def retrieve_container_file(context: TheContext, container_id: str, file_id: str) -> ContainerFile:
    return await context.run(containers.retrieve_container_file, container_id, file_id)


@router.head("/{container_id}/files/{file_id}/content", include_in_schema=False, **CONTENT)
@router.get("/{container_id}/files/{file_id}/content", **CONTENT)
async def retrieve_container_file_content(context: TheContext, container_id: str, file_id: str) -> Content:
    return await context.run(containers.retrieve_container_file_content, container_id, file_id)


@router.delete("/{container_id}/files/{file_id}")
async def delete_container_file(context: TheContext, container_id: str, file_id: str) -> ContainerFileDeleted:
    return await context.run(containers.delete_container_file, container_id, file_id)
