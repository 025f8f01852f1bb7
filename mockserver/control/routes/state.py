"""The state of the server."""

import os
import platform
from contextlib import suppress
from pathlib import Path

from mockserver import __version__
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.models import State
from mockserver.storage.database import SQLITE_VERSION, in_thread
from mockserver.storage.migrations import SCHEMA_VERSION

router = new_router("", "State")


@router.get("/state")
async def get_state(mock: TheMock) -> State:
    """Return versions, uptime, counts and disk use of the server."""
    worlds = mock.directory / "worlds"
    databases = await in_thread(_sizes, worlds, "*/world.db*")
    contents = await in_thread(_sizes, worlds, "*/contents/??/*")
    return State(
        name=mock.settings.name,
        version=__version__,
        python=platform.python_version(),
        sqlite=SQLITE_VERSION,
        schema_version=SCHEMA_VERSION,
        uptime_seconds=mock.wall.now() - mock.started,
        pid=os.getpid(),
        worlds=len(mock.worlds.names()),
        data=str(mock.directory),
        temporary=mock.settings.data is None,
        database_bytes=sum(databases),
        contents=len(contents),
        content_bytes=sum(contents),
    )


def _sizes(directory: Path, pattern: str) -> list[int]:
    sizes = []
    for each in directory.glob(pattern):
        with suppress(FileNotFoundError):  # removed since it was listed
            sizes.append(each.stat().st_size)
    return sizes
