"""The API's application: FastAPI, with the API's errors and authentication around the routes."""

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mockserver import __version__
from mockserver.api.middleware import Authenticate, Errors
from mockserver.api.operation import TableRouter
from mockserver.api.routes import containers, files, responses
from mockserver.mock import Mock


def create_app(mock: Mock) -> FastAPI:
    app = FastAPI(
        title="OpenAI Containers API (mock)",
        version=__version__,
        servers=[{"url": "/v1"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[Middleware(Errors, mock=mock), Middleware(Authenticate, mock=mock)],
    )

    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(app.openapi())

    outside = [Route("/health", health), Route("/openapi.json", openapi)]
    app.router = TableRouter([*containers.router.routes, *files.router.routes, *responses.router.routes, *outside])
    return app


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "version": __version__})
