"""All objects of a world: export them to an archive, import them, add them from a seed document."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mockserver.control.bodies import document, received
from mockserver.control.dependencies import TheMock
from mockserver.control.models import Placed, WorldState
from mockserver.control.routes.worlds import world_state
from mockserver.mock import Mock
from mockserver.seeds import apply, archive, loader
from mockserver.seeds.archive import Archive
from mockserver.seeds.document import IMPORTED, MAX_BYTES, SENT, Limits, Source
from mockserver.seeds.scope import Nowhere
from mockserver.seeds.scope import Scope as Described
from mockserver.settings import SeedError
from mockserver.storage.database import in_thread

router = APIRouter(prefix="/worlds/{world}", tags=["Archives"])

_SEED = {
    "application/json": {"schema": {"type": "object"}, "example": {"version": 1, "containers": [{"name": "auto"}]}}
}
_ARCHIVE = {
    "application/zip": {"schema": {"type": "string", "format": "binary"}},
    "application/yaml": {"schema": {"type": "string"}},
}


@router.get(
    "/export",
    operation_id="exportWorld",
    response_class=Response,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def export_world(mock: TheMock, world: str) -> Response:
    """Export the world as it is now to a zip file, for an import or `--seed`."""
    await mock.worlds.find(world)
    return _Export(mock, world)


@router.post(
    "/import",
    operation_id="importWorld",
    openapi_extra={"requestBody": {"required": True, "content": {**_ARCHIVE, **_SEED}}},
)
async def import_world(
    mock: TheMock, world: str, request: Request, replace: Annotated[bool, Query()] = True
) -> WorldState:
    """Replace the world's contents by those of an archive or a seed document, atomically, or add with `replace=false`."""
    async with received(mock, request, mock.settings.max_import) as path:
        await _import(mock, world, path, replace)
    return await world_state(mock, world)


async def _import(mock: Mock, name: str, path: Path, replace: bool) -> None:
    with loader.uncollected():
        contents, scope = await asyncio.to_thread(_read, path, mock)
        try:
            with closing(contents):
                if replace:
                    await apply.become(scope, mock.worlds, mock.uploads, mock.wall, name)
                else:
                    await apply.place(scope, mock.worlds, mock.uploads, mock.wall, name, only_objects=True)
        finally:
            await in_thread(scope.discard)  # while nothing is collected


@router.post(
    "/place",
    operation_id="placeSeed",
    openapi_extra={"requestBody": {"required": True, "content": _SEED}},
)
async def place_seed(mock: TheMock, world: str, request: Request) -> Placed:
    """Add the objects of a seed document: all, or none if one has an error. Its clock and profile become the world's."""
    text = await document(mock, request)
    with loader.uncollected():
        scope = await asyncio.to_thread(_read_text, text, mock, SENT)
        try:
            placed = await apply.place(scope, mock.worlds, mock.uploads, mock.wall, world)
        finally:
            await in_thread(scope.discard)
    return cast(Placed, asdict(placed))


def _read(path: Path, mock: Mock) -> tuple[Archive | Nowhere, Described]:
    """Raise SeedError."""
    with path.open("rb") as file:
        head = file.read(2)
        text = b"" if head == b"PK" else head + file.read(MAX_BYTES)
    if head != b"PK":
        return Nowhere(), _read_text(text, mock, IMPORTED)
    opened = Archive(path, Path("archive"), mock.settings.max_import)
    try:
        limits = mock.settings.max_upload, mock.settings.max_import
        return opened, loader.read_document(Source(*opened.seed(), IMPORTED), opened, *limits)
    except SeedError:
        opened.close()
        raise


def _read_text(text: bytes, mock: Mock, limits: Limits) -> Described:
    """Raise SeedError."""
    source = Source(Path("body"), text, limits)
    return loader.read_document(source, Nowhere(), mock.settings.max_upload, mock.settings.max_import)


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Starlette would use a second pool of threads, which keeps up to 40 of them."""
    while (piece := await in_thread(next, pieces, None)) is not None:
        yield piece


class _Export(StreamingResponse):
    """Streams from a pinned world, and unpins it at the end, after an error too."""

    def __init__(self, mock: Mock, world: str) -> None:
        self._mock = mock
        self._world = world
        headers = {"content-disposition": f'attachment; filename="{world}.zip"'}
        super().__init__(iter(()), headers=headers, media_type="application/zip")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._mock.worlds.copied(self._world) as directory:
            pieces = archive.write(directory)
            self.body_iterator = _in_threads(pieces)
            try:
                await super().__call__(scope, receive, send)
            finally:
                await in_thread(pieces.close)
