"""What the routes share: their routers, the mock, the models of requests."""

from collections.abc import AsyncIterator, Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from pydantic import ConfigDict

from mockserver import control_errors
from mockserver.bounds import KnownKeys
from mockserver.choices import MAX_SHOWN, unknown
from mockserver.control.access import SAFE
from mockserver.events import KINDS
from mockserver.mock import Mock
from mockserver.routing import LateRoute


class RequestModel(KnownKeys):
    """A request's body. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


async def _the_mock(request: Request) -> Mock:  # FastAPI would call a `def` in a thread for each request
    mock: Mock = request.app.state.mock
    return mock


TheMock = Annotated[Mock, Depends(_the_mock)]


def new_router(path: str = "", tag: str | None = None, changes: Iterable[str] = KINDS) -> APIRouter:
    """Return a router for a path below `/_mock`. Without a tag, its routes are not documented.

    `changes` are the kinds of what its requests can change in their world. They are published before the response is
    sent.
    """

    async def publish(request: Request, mock: TheMock) -> AsyncIterator[None]:
        yield
        only_reads = request.method in SAFE or "dry_run=true" in request.url.query
        if "world" in request.path_params and not only_reads:
            mock.events.publish(request.path_params["world"], *changes)

    return APIRouter(
        prefix=f"/_mock{path}",
        tags=[tag] if tag else None,
        include_in_schema=tag is not None,
        route_class=LateRoute,
        dependencies=[Depends(_known_query), Depends(publish, scope="function")] if tag else None,
        generate_unique_id_function=_operation_id,
    )


async def _known_query(request: Request) -> None:
    """Raise an error for a key in the query string that the route does not take, or that is there twice."""
    if not request.query_params:
        return
    params = request.scope["route"].dependant.query_params
    known = [name for each in params for name in getattr(each.field_info.annotation, "model_fields", [each.alias])]
    given = [key for key, _ in request.query_params.multi_items()]
    for key in given:
        if key not in known:
            raise control_errors.BAD_PARAMETER(param=key[:MAX_SHOWN], problem=unknown("key", key, known))
        if given.count(key) > 1:
            problem = "it is given more than once; give it once, with commas between values if it takes several"
            raise control_errors.BAD_PARAMETER(param=key, problem=problem)


def _operation_id(route: APIRoute) -> str:
    """Return the id of an operation: the name of its function as `findFiles`."""
    first, *words = route.name.split("_")
    return first + "".join(map(str.capitalize, words))
