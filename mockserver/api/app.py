"""The API's application: FastAPI, with the API's errors and authentication around the routes."""

import asyncio

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from mockserver import __version__
from mockserver.api.operation import Middleware, TableRouter
from mockserver.api.routes import containers, files, responses, skills, uploads
from mockserver.mock import Mock

RESOURCES = (containers, files, uploads, skills, responses)


def serve_app(mock: Mock) -> ASGIApp:
    """Return the application as it is served: with `Middleware` in place of FastAPI's own."""
    return Middleware(create_app(mock), mock)


def create_app(mock: Mock) -> FastAPI:
    app = FastAPI(
        title="OpenAI Containers API (mock)",
        version=__version__,
        servers=[{"url": "/v1"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )

    async def openapi(request: Request) -> JSONResponse:
        document = await asyncio.to_thread(app.openapi)  # the first takes a tenth of a second
        # Relative to the document: a proxy may serve it below a path of its own.
        return JSONResponse({**document, "servers": [{"url": "v1"}]})

    async def health(request: Request) -> JSONResponse:
        status = "stopping" if mock.stopping else "ok"
        return JSONResponse({"status": status, "version": __version__}, 503 if mock.stopping else 200)

    outside = [Route("/health", health), Route("/openapi.json", openapi)]
    app.router = TableRouter([*(route for each in RESOURCES for route in each.router.routes), *outside])
    return app
