"""/files, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import schema
from mockserver.api.forms import CONTENT, FILE_FORM
from mockserver.api.operation import FilesOperation, TheForm, TheMock, ThisCall

router = APIRouter(prefix="/files", tags=["Files"], route_class=FilesOperation)  # type: ignore[arg-type]  # made as a route is


@router.get("", operation_id="ListFiles")
async def list_files(mock: TheMock, call: ThisCall, query: Annotated[schema.ListFiles, Query()]) -> schema.FileList:
    return await mock.run(mock.files.list, call, query)


@router.post("", operation_id="CreateFile", openapi_extra=FILE_FORM)
async def create_file(mock: TheMock, call: ThisCall, form: TheForm) -> schema.File:
    async with form() as sent:
        return await mock.run(mock.files.create, call, sent)


@router.delete("/{file_id}", operation_id="DeleteFile")
async def delete_file(mock: TheMock, call: ThisCall, file_id: str) -> schema.FileDeleted:
    return await mock.run(mock.files.delete, call, file_id)


@router.get("/{file_id}", operation_id="RetrieveFile")
async def retrieve_file(mock: TheMock, call: ThisCall, file_id: str) -> schema.File:
    return await mock.run(mock.files.retrieve, call, file_id)


@router.head("/{file_id}/content", include_in_schema=False, **CONTENT)
@router.get("/{file_id}/content", operation_id="DownloadFile", **CONTENT)
async def download_file(mock: TheMock, call: ThisCall, file_id: str) -> schema.Content:
    return await mock.run(mock.files.content, call, file_id)
