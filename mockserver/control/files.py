"""Files of the Files API: look at them, add and delete them."""

import codecs
from typing import Annotated, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mockserver import errors, schema, staging
from mockserver.control.answers import TheMock
from mockserver.control.uploads import multipart, uploaded
from mockserver.staging import Preview
from mockserver.worlds import Placement

router = APIRouter(prefix="/worlds/{world}/files", tags=["Files"])

PreviewBytes = Annotated[int, Query(ge=0, le=1 << 20)]

_PURPOSES = get_args(schema.Purpose)
_FORM = multipart(purpose=f"`user_data` unless given; one of {', '.join(_PURPOSES)}")


@router.get("", operation_id="findFiles")
async def find_files(mock: TheMock, world: str, query: Annotated[staging.FileQuery, Query()]) -> staging.FoundFiles:
    """Files, newest first, filtered and counted."""
    return await mock.database.run_bulk(mock.staging.find_files, mock.worlds.find(world), query)


@router.post("", operation_id="stageFile", openapi_extra=_FORM)
async def stage_file(mock: TheMock, world: str, request: Request) -> staging.StagedFile:
    """Add a File."""
    async with uploaded(mock, request, "purpose") as form:
        purpose = form.fields.get("purpose", "user_data")
        if purpose not in _PURPOSES:
            raise errors.BAD_PARAMETER(param="purpose", problem=f"purpose: write one of {', '.join(_PURPOSES)}")
        ids: list[str] = []

        def fill(put: Placement) -> None:
            id = put.file(
                id=None,
                seq=None,
                content=form.draft,
                created_at=put.now,
                expires_at=None,
                bytes=form.draft.size,
                filename=form.filename,
                purpose=purpose,
                digest=form.draft.digest,
            )
            ids.append(id)

        found = await mock.worlds.add(world, fill)
    return await mock.database.run_bulk(mock.staging.find_file, found, ids[-1])


@router.get("/{file_id}", operation_id="findFile")
async def find_file(mock: TheMock, world: str, file_id: str) -> staging.StagedFile:
    """One File."""
    return await mock.database.run_bulk(mock.staging.find_file, mock.worlds.find(world), file_id)


@router.delete("/{file_id}", operation_id="removeFile")
async def remove_file(mock: TheMock, world: str, file_id: str) -> schema.FileDeleted:
    """Delete a File; copies of it in containers stay."""
    return await mock.run(mock.staging.delete_file, mock.worlds.find(world), file_id)


@router.get("/{file_id}/preview", operation_id="previewFile", response_class=Response)
async def preview_file(mock: TheMock, world: str, file_id: str, bytes: PreviewBytes = 64 * 1024) -> Response:
    """The first bytes of a content, whatever its purpose, as plain text or as bytes."""
    preview = await mock.database.run_bulk(mock.staging.preview_file, mock.worlds.find(world), file_id, bytes)
    return previewed(preview)


def previewed(preview: Preview) -> Response:
    """Never in a type that a browser would do something with: the content is anybody's."""
    headers = {
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-content-size": str(preview.size),
    }
    kind = "text/plain; charset=utf-8" if _is_text(preview) else "application/octet-stream"
    return Response(preview.data, 200, {**headers, "content-type": kind})


def _is_text(preview: Preview) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(preview.data, final=len(preview.data) == preview.size)
    except UnicodeDecodeError:
        return False
    return b"\0" not in preview.data
