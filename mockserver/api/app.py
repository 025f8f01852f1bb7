"""The application: the API's routes behind its front."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mockserver import __version__
from mockserver.api import containers, files
from mockserver.api.breaking import broken
from mockserver.api.exchange import of, unknown_url
from mockserver.api.middleware import Front
from mockserver.mock import Mock


class App(FastAPI):
    """FastAPI for the routing table and the OpenAPI document, behind our own front alone.

    What its middleware would do is done there, or not wanted; it costs as much as an operation.
    """

    def __init__(self, mock: Mock, **options: Any) -> None:
        super().__init__(**options)
        self._front = Front(self.router, mock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._front(scope, receive, send)


def create_app(mock: Mock) -> App:
    app = App(
        mock,
        title="OpenAI Containers API (mock)",
        version=__version__,
        servers=[{"url": "/v1"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    for router in (containers.router, files.router):
        app.router.routes.extend(router.routes)
    app.add_route("/health", health, methods=["GET"])
    app.router.default = no_route
    return app


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "version": __version__})


async def no_route(scope: Scope, receive: Receive, send: Send) -> None:
    if not await broken(of(scope), None):
        raise unknown_url(scope)
