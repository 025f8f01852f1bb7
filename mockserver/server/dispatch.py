"""The application that uvicorn serves: the API, and the control plane under /_mock."""

import asyncio
import logging
from dataclasses import dataclass
from typing import ClassVar

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mockserver.api.app import serve_app
from mockserver.errors import STORAGE_FAILED, ErrorType
from mockserver.mock import Mock
from mockserver.routing import error_response
from mockserver.schema.errors import ControlErrorType
from mockserver.storage.database import failure
from mockserver.testing import CURRENT

log = logging.getLogger("mockserver")

CONTROL_NOT_LOADED = ControlErrorType(
    500,
    "The control plane can't be loaded ({problem}). The next request loads it again. Code that replaces time, files "
    "or modules in this process can prevent it: end that first, or run the server in a process of its own.",
    type="server_error",
    code="control_plane_failed",
)
NO_CURRENT_TEST = ErrorType(
    400,
    "This client was made for whichever test is running, and no test that uses the fixture openai_mock is. Add "
    "openai_mock to the test or fixture that sends this request ({method} {path}).",
    "guess",
    code="no_current_test",
    headers=(("x-should-retry", "false"),),
)


@dataclass(slots=True)
class Current:
    """The world that the name `current-test` stands for; empty if it stands for none.

    PUT /_mock/current/<secret>/<world> changes it.
    """

    secret: str
    world: str = ""

    _prefix: ClassVar[str] = f"/w/{CURRENT}/"
    _key: ClassVar[bytes] = f"sk-world-{CURRENT}".encode()

    def change(self, scope: Scope) -> bool:
        """Change the world if the request is one that does so. Return whether it is."""
        stem, _, world = scope["path"].rpartition("/")
        if scope["method"] != "PUT" or stem != f"/_mock/current/{self.secret}":
            return False
        self.world = world
        return True

    def is_named(self, scope: Scope) -> bool:
        """Return whether a request names it, by its URL or else by its key."""
        path: str = scope["path"]
        if path.startswith("/w/"):
            return path.startswith(self._prefix)
        return any(
            name in (b"authorization", b"api-key") and value.rpartition(b" ")[2] == self._key
            for name, value in scope["headers"]
        )

    def redirect(self, scope: Scope) -> None:
        """Replace the name in a request's path by the world that it stands for."""
        scope["path"] = f"/w/{self.world}/" + scope["path"].removeprefix(self._prefix).removeprefix("/")
        raw = scope["raw_path"].removeprefix(self._prefix.encode()).removeprefix(b"/")
        scope["raw_path"] = f"/w/{self.world}/".encode() + raw


class Dispatcher:
    """Sends requests under /_mock to the control plane and all others to the API.

    The API has nothing at /, so its clients get an error there; browsers are redirected to the dashboard. The control
    plane takes as long to load as the API, so it is loaded at its first request.
    """

    def __init__(self, mock: Mock, current: Current | None = None) -> None:
        self._mock = mock
        self._api = serve_app(mock)
        self._current = current
        self._prefix = (mock.settings.path_prefix or "").rstrip("/")
        self._control: ASGIApp | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._prefix and _remove_prefix(scope, self._prefix):
            await RedirectResponse(f"{self._prefix}/")(scope, receive, send)  # where relative links lead below it
            return
        path = scope["path"]
        controls = path.startswith("/_mock/") or path == "/_mock" or (path == "/" and _is_browser(scope))
        try:
            if controls:
                app = await self._control_plane(scope)
            else:
                app = self._current_world(scope, self._current) if self._current else self._api
            await app(scope, receive, send)
        except asyncio.CancelledError:  # the server's grace is over: uvicorn would log it as a failure of ours
            scope["mockserver.connection"].abort()
        finally:
            scope.pop("mockserver", None)  # both refer to the scope: without cycles, no garbage is left to collect
            scope.pop("mockserver.connection", None)

    def _current_world(self, scope: Scope, current: Current) -> ASGIApp:
        """Send a request that names the current world to that world, and an error if there is none."""
        if not current.is_named(scope):
            return self._api
        if not current.world:
            path = scope["path"].removeprefix(f"/w/{CURRENT}")
            return error_response(NO_CURRENT_TEST(method=scope["method"], path=path))
        current.redirect(scope)
        return self._api

    async def _control_plane(self, scope: Scope) -> ASGIApp:
        if self._current and self._current.change(scope):
            return Response(b"{}", media_type="application/json")
        async with self._loading:
            try:
                if self._control is None:
                    self._control = await asyncio.to_thread(_load_control_plane, self._mock)
                return self._control
            except Exception as error:  # its cause, such as too many open files, may be over at the next request
                log.exception("the control plane can't be loaded")
                if problem := failure(error):
                    return error_response(STORAGE_FAILED(problem=problem))
                return error_response(CONTROL_NOT_LOADED(problem=f"{type(error).__name__}: {error}"[:300]))


def _remove_prefix(scope: Scope, prefix: str) -> bool:
    """Remove the prefix that a proxy kept from a request's path. Return whether the path is the prefix alone."""
    rest: bytes = scope["raw_path"].removeprefix(prefix.encode())
    if rest != scope["raw_path"] and rest.startswith(b"/"):
        scope["path"], scope["raw_path"] = scope["path"].removeprefix(prefix), rest
    return not rest


def _is_browser(scope: Scope) -> bool:
    wants = (value for name, value in scope["headers"] if name == b"accept")
    return scope["method"] == "GET" and any(b"text/html" in value for value in wants)


def _load_control_plane(mock: Mock) -> ASGIApp:
    from mockserver.control.app import create_control

    return create_control(mock)
