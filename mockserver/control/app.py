"""The application of the control plane: its routes, middleware and error handlers."""

import asyncio
import logging
from importlib import import_module
from pkgutil import iter_modules

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Match

from mockserver import __version__, control_errors, errors
from mockserver.control import routes
from mockserver.control.access import Access
from mockserver.control.bodies import Bounded
from mockserver.control.routes import dashboard
from mockserver.control.routes.answers import ONE, SEVERAL
from mockserver.errors import APIError
from mockserver.events import OBJECTS
from mockserver.mock import Mock
from mockserver.routing import error_response
from mockserver.settings import SeedError
from mockserver.storage.database import FAILURES, failure

log = logging.getLogger("mockserver")


_BEFORE = ("dashboard", "docs", "state", "worlds", "changes", "clocks", "snapshots", "faults", "answers")
_AFTER = ("archives", "journal")
_WRITTEN = {each.name for each in iter_modules(routes.__path__)}
"""A kind of objects has no module before somebody writes it."""
ROUTERS: list[APIRouter] = [
    import_module(f"{routes.__name__}.{name}").router for name in (*_BEFORE, *OBJECTS, *_AFTER) if name in _WRITTEN
]
"""Those of the modules in `routes/`, in the order of the documentation."""


def create_control(mock: Mock) -> FastAPI:
    """Create the control plane. Faults don't apply to it, and the journal does not record it."""
    app = FastAPI(
        title="mockserver control plane",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        servers=[
            {"url": "..", "description": "this server"}
        ],  # relative to the document: a proxy may serve it below a path of its own
        openapi_url="/_mock/openapi.json",
        redirect_slashes=False,
        middleware=[Middleware(Access, mock=mock), Middleware(Bounded, mock=mock)],
        exception_handlers={
            APIError: _api_error,
            SeedError: _bad_seed,
            RequestValidationError: _invalid,
            HTTPException: _http_error,
            **dict.fromkeys(FAILURES, _storage_failed),
            Exception: _failed,
        },
    )
    app.state.mock = mock
    app.state.streams = asyncio.Semaphore(mock.settings.max_streams)
    for router in ROUTERS:  # not included, as FastAPI would describe each of their routes a second time
        app.router.routes += router.routes
    app.add_api_route("/", dashboard.show_entrance, include_in_schema=False)
    return app


MAX_SHOWN = 2_000
"""Characters of a name or a message that an error repeats."""
NOT_AN_OBJECT = {"missing", "model_attributes_type", "model_type", "dict_type"}
"""Pydantic's types of errors for a body that is missing, sent as a form (as by `curl -d`) or other JSON."""


async def _api_error(request: Request, error: APIError) -> Response:
    return error_response(error)


async def _bad_seed(request: Request, error: SeedError) -> Response:
    return error_response(control_errors.BAD_SEED(problem=str(error)))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    steps = [str(step)[:MAX_SHOWN] for step in first["loc"][1:] if step not in (ONE, SEVERAL)]
    where = ".".join(steps) or str(first["loc"][0])
    message = first["msg"].removeprefix("Value error, ")[:MAX_SHOWN]
    if first["type"] == "json_invalid":
        where, message = "body", f"not JSON: {first['ctx']['error']} at character {first['loc'][1]}"
    elif first["loc"] == ("body",) and first["type"] in NOT_AN_OBJECT:
        message = "send a JSON object, with the header 'Content-Type: application/json'"
    return error_response(control_errors.BAD_PARAMETER(param=where, problem=message))


async def _storage_failed(request: Request, error: Exception) -> Response:
    problem = failure(error)
    if problem is None:
        raise error
    log.error("%s %s: the data directory can't be used: %s", request.method, request.url.path, problem)
    return error_response(errors.STORAGE_FAILED(problem=problem))


async def _failed(request: Request, error: Exception) -> Response:
    """Return an error. Starlette raises the exception again, so that it is logged and the connection is closed."""
    return error_response(control_errors.CONTROL_FAILED())


async def _http_error(request: Request, error: HTTPException) -> Response:
    if isinstance(error.__cause__, APIError):  # raised while FastAPI read the body
        return error_response(error.__cause__)
    path = request.url.path
    if error.status_code == 404:
        return error_response(errors.UNKNOWN_URL(method=request.method, path=path))
    if error.status_code == 405:
        found = [each for each in request.app.routes if each.matches(request.scope)[0] is not Match.NONE]
        allowed = sorted({method for each in found for method in each.methods})  # Starlette names those of the first
        wrong = errors.WRONG_METHOD(allowed=" and ".join(allowed))
        wrong.headers["Allow"] = ", ".join(allowed)
        return error_response(wrong)
    return error_response(control_errors.BAD_PARAMETER(param="body", problem=str(error.detail)))
