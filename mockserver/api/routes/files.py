"""/files, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import files
from mockserver.api.multipart import read_form
from mockserver.api.openapi import CONTENT, FILE_FORM
from mockserver.api.operation import FilesOperation, TheContext, TheExchange
from mockserver.schema.contents import Content
from mockserver.schema.files import File, FileDeleted, FileList, ListFiles

router = APIRouter(prefix="/files", tags=["Files"], route_class=FilesOperation)


@router.get("")
async def list_files(context: TheContext, query: Annotated[ListFiles, Query()]) -> FileList:
    return await context.run(files.list_files, query)


@router.post("", openapi_extra=FILE_FORM)
async def create_file(exchange: TheExchange, context: TheContext) -> File:
    async with read_form(exchange) as sent:
        return await context.run(files.create_file, sent)


@router.delete("/{file_id}")
async def delete_file(context: TheContext, file_id: str) -> FileDeleted:
    return await context.run(files.delete_file, file_id)


@router.get("/{file_id}")
async def retrieve_file(context: TheContext, file_id: str) -> File:
    return await context.run(files.retrieve_file, file_id)


@router.head("/{file_id}/content", include_in_schema=False, **CONTENT)
@router.get("/{file_id}/content", **CONTENT)
async def download_file(context: TheContext, file_id: str) -> Content:
    return await context.run(files.download_file, file_id)
