"""/containers, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import schema
from mockserver.api.forms import CONTAINER_FILE_FORM, CONTENT
from mockserver.api.operation import Operation, TheForm, TheMock, ThisCall

router = APIRouter(prefix="/containers", tags=["Containers"], route_class=Operation)  # type: ignore[arg-type]  # made as a route is


@router.get("", operation_id="ListContainers")
async def list_containers(
    mock: TheMock, call: ThisCall, query: Annotated[schema.ListContainers, Query()]
) -> schema.ContainerList:
    return await mock.run(mock.containers.list, call, query)


@router.post("", operation_id="CreateContainer")
async def create_container(mock: TheMock, call: ThisCall, body: schema.CreateContainer) -> schema.Container:
    return await mock.run(mock.containers.create, call, body)


@router.get("/{container_id}", operation_id="RetrieveContainer")
async def retrieve_container(mock: TheMock, call: ThisCall, container_id: str) -> schema.Container:
    return await mock.run(mock.containers.retrieve, call, container_id)


@router.delete("/{container_id}", operation_id="DeleteContainer")
async def delete_container(mock: TheMock, call: ThisCall, container_id: str) -> schema.ContainerDeleted:
    return await mock.run(mock.containers.delete, call, container_id)


@router.post("/{container_id}/files", operation_id="CreateContainerFile", openapi_extra=CONTAINER_FILE_FORM)
async def create_container_file(
    mock: TheMock, call: ThisCall, container_id: str, form: TheForm
) -> schema.ContainerFile:
    await mock.run(mock.containers.use, call, container_id)
    async with form() as sent:
        return await mock.run(mock.containers.create_file, call, container_id, sent)


@router.get("/{container_id}/files", operation_id="ListContainerFiles")
async def list_container_files(
    mock: TheMock, call: ThisCall, container_id: str, query: Annotated[schema.Page, Query()]
) -> schema.ContainerFileList:
    return await mock.run(mock.containers.list_files, call, container_id, query)


@router.get("/{container_id}/files/{file_id}", operation_id="RetrieveContainerFile")
async def retrieve_container_file(
    mock: TheMock, call: ThisCall, container_id: str, file_id: str
) -> schema.ContainerFile:
    return await mock.run(mock.containers.retrieve_file, call, container_id, file_id)


@router.head("/{container_id}/files/{file_id}/content", include_in_schema=False, **CONTENT)
@router.get("/{container_id}/files/{file_id}/content", operation_id="RetrieveContainerFileContent", **CONTENT)
async def retrieve_container_file_content(
    mock: TheMock, call: ThisCall, container_id: str, file_id: str
) -> schema.Content:
    return await mock.run(mock.containers.file_content, call, container_id, file_id)


@router.delete("/{container_id}/files/{file_id}", operation_id="DeleteContainerFile")
async def delete_container_file(
    mock: TheMock, call: ThisCall, container_id: str, file_id: str
) -> schema.ContainerFileDeleted:
    return await mock.run(mock.containers.delete_file, call, container_id, file_id)
