"""What the server is, and what it holds."""

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel

from mockserver import __version__
from mockserver.control.dependencies import TheMock
from mockserver.storage.database import SCHEMA_VERSION, SQLITE_VERSION, Database

router = APIRouter(tags=["State"])


class State(BaseModel):
    version: str
    python: str
    sqlite: str
    schema_version: int
    uptime_seconds: float
    pid: int
    worlds: int
    data: str
    temporary: bool
    database_bytes: int
    blobs: int
    blob_bytes: int


@router.get("/state", operation_id="getState")
async def get_state(mock: TheMock) -> State:
    """Versions, uptime, counts and disk use of the whole server."""
    count, total = await mock.database.run_bulk(_blobs, mock.directory)
    return State(
        version=__version__,
        python=platform.python_version(),
        sqlite=SQLITE_VERSION,
        schema_version=SCHEMA_VERSION,
        uptime_seconds=mock.wall.now() - mock.started,
        pid=os.getpid(),
        worlds=len(mock.worlds.names()),
        data=str(mock.directory),
        temporary=mock.settings.data is None,
        database_bytes=sum(_sizes(mock.directory.glob("mockserver.db*"))),
        blobs=count,
        blob_bytes=total,
    )


def _blobs(_: Database, directory: Path) -> tuple[int, int]:
    sizes = _sizes((directory / "blobs").glob("??/*"))
    return len(sizes), sum(sizes)


def _sizes(files: Iterable[Path]) -> list[int]:
    sizes = []
    for each in files:
        with suppress(FileNotFoundError):  # removed since it was listed
            sizes.append(each.stat().st_size)
    return sizes
