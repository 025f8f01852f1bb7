"""The state of the server."""

import os
import platform
from contextlib import suppress
from pathlib import Path

from mockserver import __version__
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.models import State
from mockserver.storage.database import SQLITE_VERSION, in_thread
from mockserver.storage.directory import DATABASE
from mockserver.storage.migrations import SCHEMA_VERSION

router = new_router("", "State")


@router.get("/state")
async def get_state(mock: TheMock) -> State:
    """Return versions, uptime, counts and disk use of the server."""
    databases, contents = await in_thread(_sizes, mock.directory / "worlds")
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


def _sizes(directory: Path) -> tuple[list[int], list[int]]:
    """The sizes of the files of databases, and of contents."""
    databases, contents = list[int](), list[int]()
    for name, _, files in os.walk(
        directory
    ):  # unlike a glob, it goes on where a folder was removed since it was listed
        folder = Path(name)
        for file in files:
            with suppress(FileNotFoundError):
                if folder.parent.name == "contents":
                    contents.append((folder / file).stat().st_size)
                elif file.startswith(DATABASE):
                    databases.append((folder / file).stat().st_size)
    return databases, contents
