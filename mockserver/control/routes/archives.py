"""All objects of a world: export them to an archive, import them, add them from a seed document."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from mockserver.control.bodies import add_objects, described, json_like, read_seed, reading, received
from mockserver.control.contents import BINARY, download, in_threads
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.models import Placed, WorldState
from mockserver.control.routes.worlds import get_world
from mockserver.mock import Mock
from mockserver.seeds import apply, archive, loader
from mockserver.seeds.archive import Archive
from mockserver.seeds.contents import Nowhere
from mockserver.seeds.document import IMPORTED, MAX_BYTES, Source
from mockserver.seeds.scope import Scope as Described
from mockserver.storage.database import in_thread

router = new_router("/worlds/{world}", "Archives")

_SEED = json_like({"version": 1, "containers": [{"name": "auto"}]})
_ARCHIVE = {"application/zip": {"schema": BINARY}, "application/yaml": {"schema": {"type": "string"}}}


async def _archived(mock: TheMock, world: str) -> AsyncIterator[Iterator[bytes]]:
    """Archive a private copy of a world, which is removed when the response has ended."""
    await mock.worlds.find(world)
    async with mock.worlds.copied(world) as directory:
        pieces = archive.write(directory)
        try:
            yield chain([await in_thread(next, pieces)], pieces)  # a world that is too large is refused before the head
        finally:
            await in_thread(pieces.close)


@router.get("/export", **download("application/zip"))
async def export_world(archived: Annotated[Iterator[bytes], Depends(_archived)], world: str) -> Response:
    """Export the world as it is now to a zip file, for an import or `--seed`."""
    headers = {"content-disposition": f'attachment; filename="{world}.zip"'}
    return StreamingResponse(in_threads(archived), headers=headers, media_type="application/zip")


@router.post("/import", openapi_extra=described(_ARCHIVE | _SEED))
async def import_world(
    mock: TheMock, world: str, request: Request, replace: Annotated[bool, Query()] = True
) -> WorldState:
    """Replace the world's contents by those of an archive or a seed document, atomically, and clear the journal; or add
    to them with `replace=false`."""
    async with received(mock, request, mock.settings.max_import) as path:
        with closing(await asyncio.to_thread(_open, path, mock)) as contents:
            async with reading(_read, path, contents, mock) as scope:
                if replace:
                    await apply.become(scope, mock.worlds, mock.uploads, mock.wall, world)
                else:
                    await apply.place(scope, mock.worlds, mock.uploads, mock.wall, world, only_objects=True)
    return await get_world(mock, world)


@router.post("/place", openapi_extra=described(_SEED))
async def place_seed(mock: TheMock, world: str, request: Request) -> Placed:
    """Add the objects of a seed document: all, or none if one has an error. Its clock and profile become the world's."""
    added = await add_objects(mock, request, world)
    return cast(Placed, {key: added[key] for key in Placed.__annotations__})


def _open(path: Path, mock: Mock) -> Archive | Nowhere:
    """Open an archive; a seed document contains no files. Raise SeedError."""
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    return Archive(path, Path("archive"), mock.settings.max_import) if is_archive else Nowhere()


def _read(path: Path, contents: Archive | Nowhere, mock: Mock) -> Described:
    """Read an archive's seed, or a seed document. Raise SeedError."""
    if isinstance(contents, Archive):
        limits = mock.settings.max_upload, mock.settings.max_import
        return loader.read_document(Source(*contents.seed(), IMPORTED), contents, *limits)
    with path.open("rb") as file:
        return read_seed(file.read(MAX_BYTES + 1), mock, IMPORTED)
