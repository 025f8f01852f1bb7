"""The application: the API's routes behind its front."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mockserver import __version__
from mockserver.api import containers, files
from mockserver.api.middleware import Front
from mockserver.api.route import Operations
from mockserver.mock import Mock

OUTSIDE = ("/health",)
"""Paths that are no part of the API."""


class App(FastAPI):
    """FastAPI for the list of routes and the OpenAPI document, behind our own front alone.

    What its middleware would do is done there, or not wanted; it costs as much as an operation.
    """

    def __init__(self, mock: Mock, **options: Any) -> None:
        super().__init__(**options)
        for router in (containers.router, files.router):
            self.router.routes.extend(router.routes)
        self._front = Front(Operations(self.router.routes), mock)
        self.add_route("/health", health, methods=["GET"])

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
