"""Which face of the mock a request is for: the API's, or the control plane's."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from mockserver.api.app import create_app
from mockserver.mock import Mock


class Faces:
    """What is under /_mock goes to the control plane, all else to the API.

    At / the API has nothing, and clients of it are told so; who looks there with a browser is led on.
    The control plane takes as long to load as the API; it is loaded when it is first asked for.
    """

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._api = create_app(mock)
        self._control: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        controls = path.startswith("/_mock/") or path == "/_mock" or (path == "/" and _is_visit(scope))
        try:
            if controls:
                if self._control is None:
                    self._control = asyncio.ensure_future(asyncio.to_thread(_control_plane, self._mock))
                app = await asyncio.shield(self._control)
                await app(scope, receive, send)
            else:
                await self._api(scope, receive, send)
        finally:
            for own in ("mockserver", "mockserver.connection"):
                scope.pop(own, None)  # what knows the scope: without cycles a request leaves nothing to collect


def _is_visit(scope: Scope) -> bool:
    wants = (value for name, value in scope["headers"] if name == b"accept")
    return scope["method"] == "GET" and any(b"text/html" in value for value in wants)


def _control_plane(mock: Mock) -> ASGIApp:
    from mockserver.control.app import create_control

    return create_control(mock)
