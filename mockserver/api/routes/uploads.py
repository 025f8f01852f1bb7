"""/uploads, in the order of the API reference."""

from fastapi import APIRouter

from mockserver import errors, uploads
from mockserver.api.multipart import FileField, read_form
from mockserver.api.openapi import PART_FORM
from mockserver.api.operation import FilesOperation, TheContext, TheExchange
from mockserver.schema.uploads import MAX_PART_BYTES, CompleteUpload, CreateUpload, Upload, UploadPart

router = APIRouter(prefix="/uploads", tags=["Uploads"], route_class=FilesOperation)

PART = FileField("data", MAX_PART_BYTES, errors.PART_TOO_LARGE, plain=True)


@router.post("")
async def create_upload(context: TheContext, body: CreateUpload) -> Upload:
    return await context.run(uploads.create_upload, body)


@router.post("/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_upload_part(exchange: TheExchange, context: TheContext, upload_id: str) -> UploadPart:
    await context.run(uploads.use_upload, upload_id)
    async with read_form(exchange, PART) as sent:
        return await context.run(uploads.add_upload_part, upload_id, sent)


@router.post("/{upload_id}/complete")
async def complete_upload(exchange: TheExchange, context: TheContext, upload_id: str, body: CompleteUpload) -> Upload:
    return await uploads.complete_upload(context, upload_id, body, exchange.mock.uploads)


@router.post("/{upload_id}/cancel")
async def cancel_upload(context: TheContext, upload_id: str) -> Upload:
    return await context.run(uploads.cancel_upload, upload_id)
