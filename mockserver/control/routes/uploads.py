"""Uploads of the Uploads API, which the API itself can't list: read and delete them."""

from typing import Annotated

from fastapi import Query

from mockserver.admin import uploads
from mockserver.admin.uploads import AdminUpload, FoundUploads, UploadDeleted, UploadQuery
from mockserver.control.dependencies import TheMock, new_router

router = new_router("/worlds/{world}/uploads", "Uploads")


@router.get("")
async def find_uploads(mock: TheMock, world: str, query: Annotated[UploadQuery, Query()]) -> FoundUploads:
    """List uploads, newest first, with filters, and the number and bytes of their parts."""
    return await mock.worlds.look(world, uploads.find_uploads, query)


@router.get("/{upload_id}")
async def find_upload(mock: TheMock, world: str, upload_id: str) -> AdminUpload:
    """Return one upload."""
    return await mock.worlds.look(world, uploads.find_upload, upload_id)


@router.delete("/{upload_id}")
async def remove_upload(mock: TheMock, world: str, upload_id: str) -> UploadDeleted:
    """Delete an upload with its parts. The File of a completed one stays."""
    return await mock.worlds.change(world, uploads.delete_upload, upload_id)
