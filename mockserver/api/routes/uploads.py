"""/uploads, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter

from mockserver import errors, uploads
from mockserver.api.multipart import FileField
from mockserver.api.openapi import PART_FORM
from mockserver.api.operation import FilesOperation, TheContext, TheForm, TheStorage
from mockserver.schema.uploads import MAX_PART_BYTES, CompleteUpload, CreateUpload, Upload, UploadPart

router = APIRouter(prefix="/uploads", tags=["Uploads"], route_class=FilesOperation)

PartForm = Annotated[TheForm, FileField("data", MAX_PART_BYTES, errors.PART_TOO_LARGE, plain=True)]


@router.post("", operation_id="CreateUpload")
async def create_upload(context: TheContext, body: CreateUpload) -> Upload:
    return await context.run(uploads.create_upload, body)


@router.post("/{upload_id}/parts", operation_id="AddUploadPart", openapi_extra=PART_FORM)
async def add_upload_part(context: TheContext, upload_id: str, form: PartForm) -> UploadPart:
    await context.run(uploads.use_upload, upload_id)
    async with form() as sent:
        return await context.run(uploads.add_upload_part, upload_id, sent)


@router.post("/{upload_id}/complete", operation_id="CompleteUpload")
async def complete_upload(context: TheContext, upload_id: str, body: CompleteUpload, storage: TheStorage) -> Upload:
    return await uploads.complete_upload(context, upload_id, body, storage)


@router.post("/{upload_id}/cancel", operation_id="CancelUpload")
async def cancel_upload(context: TheContext, upload_id: str) -> Upload:
    return await context.run(uploads.cancel_upload, upload_id)
