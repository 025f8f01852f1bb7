"""The application: the API's routes behind its front."""

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mockserver import __version__
from mockserver.api import containers, files
from mockserver.api.breaking import broken
from mockserver.api.exchange import of, unknown_url
from mockserver.api.middleware import Front
from mockserver.mock import Mock


def create_app(mock: Mock) -> FastAPI:
    app = FastAPI(
        title="OpenAI Containers API (mock)",
        version=__version__,
        servers=[{"url": "/v1"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=[Middleware(Front, mock=mock)],
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
