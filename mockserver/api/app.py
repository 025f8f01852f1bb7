"""The application: the API's routes behind its front."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mockserver import __version__
from mockserver.api.middleware import Front
from mockserver.api.operation import Operation, Operations
from mockserver.api.routes import containers, files
from mockserver.mock import Mock

OUTSIDE = ("/health",)
"""Paths that are no part of the API."""


class App(FastAPI):
    """FastAPI for the OpenAPI document, with the API's operations behind our own front.

    What its router and its middleware would do is done there, or not wanted; they cost as much as an operation.
    """

    def __init__(self, mock: Mock, **options: Any) -> None:
        super().__init__(**options)
        self.operations: list[Operation] = []
        for route in (*containers.router.routes, *files.router.routes):
            assert isinstance(route, Operation), "the API's routes are all alike"
            self.operations.append(route)
        self._front = Front(Operations(self.operations), mock)
        self.add_route("/health", health, methods=["GET"])

    def openapi(self) -> dict[str, Any]:
        routes = [operation.described() for operation in self.operations]
        return get_openapi(title=self.title, version=self.version, servers=self.servers, routes=routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outside = scope["type"] != "http" or scope["path"] in OUTSIDE
        await (self.router if outside else self._front)(scope, receive, send)


def create_app(mock: Mock) -> App:
    return App(
        mock,
        title="OpenAI Containers API (mock)",
        version=__version__,
        servers=[{"url": "/v1"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "version": __version__})
