"""The API's application: FastAPI, with the API's errors and authentication around the routes."""

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mockserver import __version__
from mockserver.api.middleware import Authenticate, Errors
from mockserver.api.operation import TableRouter
from mockserver.api.routes import containers, files, skills, uploads
from mockserver.mock import Mock

RESOURCES = (containers, files, uploads, skills)


def create_app(mock: Mock) -> FastAPI:
    app = FastAPI(
        title="OpenAI Containers API (mock)",
        version=__version__,
        servers=[{"url": "/v1"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )

    async def openapi(request: Request) -> JSONResponse:
        # Relative to the document: a proxy may serve it below a path of its own.
        return JSONResponse({**app.openapi(), "servers": [{"url": "v1"}]})

    outside = [Route("/health", health), Route("/openapi.json", openapi)]
    app.router = TableRouter([*(route for each in RESOURCES for route in each.router.routes), *outside])
    # Without FastAPI's own layers: `Errors` sends all errors, and no route uses what the others offer.
    app.middleware_stack = Errors(Authenticate(app.router, mock), ExceptionMiddleware(app.router), mock)
    return app


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "version": __version__})
