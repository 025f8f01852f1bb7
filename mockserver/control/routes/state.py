"""The server: the session of a browser, and its state."""

import os
import platform
from contextlib import suppress
from pathlib import Path

from fastapi import Request, Response

from mockserver import __version__, control_errors
from mockserver.control.access import cookie_name, cookie_value
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.models import Session, State
from mockserver.routing import same_secret
from mockserver.storage.database import SQLITE_VERSION, in_thread
from mockserver.storage.directory import DATABASE
from mockserver.storage.migrations import SCHEMA_VERSION

router = new_router("", "State")


class Login(RequestModel):
    token: str


@router.post("/session")
async def open_session(mock: TheMock, body: Login, request: Request, response: Response) -> Session:
    """Exchange the token for a cookie that no script can read and no other site can use."""
    token = mock.settings.control_token
    if token is not None:
        if not same_secret(body.token, token):
            raise control_errors.WRONG_TOKEN()
        _set_cookie(request, response, cookie_value(token))
    return Session(token_needed=token is not None)


@router.delete("/session")
async def close_session(mock: TheMock, request: Request, response: Response) -> Session:
    """Delete the cookie."""
    _set_cookie(request, response, "", max_age=0)
    return Session(token_needed=mock.settings.control_token is not None)


def _set_cookie(request: Request, response: Response, value: str, max_age: int | None = None) -> None:
    secure = request.url.scheme == "https"
    # Without a path, browsers take that of the request, which can have a prefix of a proxy.
    response.set_cookie(
        cookie_name(request), value, max_age, path=None, secure=secure, httponly=True, samesite="strict"
    )


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
