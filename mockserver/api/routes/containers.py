"""/containers, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import containers, schema
from mockserver.api.forms import CONTAINER_FILE_FORM, CONTENT
from mockserver.api.operation import Operation, TheContext, TheForm

router = APIRouter(prefix="/containers", tags=["Containers"], route_class=Operation)


@router.get("", operation_id="ListContainers")
async def list_containers(
    context: TheContext, query: Annotated[schema.ListContainers, Query()]
) -> schema.ContainerList:
    return await context.run(containers.list_containers, query)


@router.post("", operation_id="CreateContainer")
async def create_container(context: TheContext, body: schema.CreateContainer) -> schema.Container:
    return await context.run(containers.create_container, body)


@router.get("/{container_id}", operation_id="RetrieveContainer")
async def retrieve_container(context: TheContext, container_id: str) -> schema.Container:
    return await context.run(containers.retrieve_container, container_id)


@router.delete("/{container_id}", operation_id="DeleteContainer")
async def delete_container(context: TheContext, container_id: str) -> schema.ContainerDeleted:
    return await context.run(containers.delete_container, container_id)


@router.post("/{container_id}/files", operation_id="CreateContainerFile", openapi_extra=CONTAINER_FILE_FORM)
async def create_container_file(context: TheContext, container_id: str, form: TheForm) -> schema.ContainerFile:
    await context.run(containers.use_container, container_id)
    async with form() as sent:
        return await context.run(containers.create_container_file, container_id, sent)


@router.get("/{container_id}/files", operation_id="ListContainerFiles")
async def list_container_files(
    context: TheContext, container_id: str, query: Annotated[schema.Page, Query()]
) -> schema.ContainerFileList:
    return await context.run(containers.list_container_files, container_id, query)


@router.get("/{container_id}/files/{file_id}", operation_id="RetrieveContainerFile")
async def retrieve_container_file(context: TheContext, container_id: str, file_id: str) -> schema.ContainerFile:
    return await context.run(containers.retrieve_container_file, container_id, file_id)


@router.head("/{container_id}/files/{file_id}/content", include_in_schema=False, **CONTENT)
@router.get("/{container_id}/files/{file_id}/content", operation_id="RetrieveContainerFileContent", **CONTENT)
async def retrieve_container_file_content(context: TheContext, container_id: str, file_id: str) -> schema.Content:
    return await context.run(containers.retrieve_container_file_content, container_id, file_id)


@router.delete("/{container_id}/files/{file_id}", operation_id="DeleteContainerFile")
async def delete_container_file(context: TheContext, container_id: str, file_id: str) -> schema.ContainerFileDeleted:
    return await context.run(containers.delete_container_file, container_id, file_id)
