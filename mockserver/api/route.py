"""How an operation is called: one route class that reads what its function asks for, and answers.

FastAPI keeps the routing table and writes the OpenAPI document from the functions' signatures. The
request itself is handled here: the API's refusals, their words and their order are not FastAPI's.
"""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, get_args, get_type_hints

from fastapi import Depends
from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from mockserver import errors, worlds
from mockserver.api.bodies import parse_query, read_form, read_json
from mockserver.api.breaking import FAULT_HEADER, broken, reshaped
from mockserver.api.dialects import OPENAI
from mockserver.api.exchange import Exchange, of, unknown_url
from mockserver.faults import LISTS
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.schema import Content

Form = Callable[[], AbstractAsyncContextManager[NewFile]]
"""The request's form, not yet read: `async with form() as sent`."""


def _given() -> None:
    """Tells FastAPI that a parameter is no part of the request; `Operation` fills it in."""


TheMock = Annotated[Mock, Depends(_given)]
ThisCall = Annotated[worlds.Call, Depends(_given)]
TheForm = Annotated[Form, Depends(_given)]


class Operation(APIRoute):
    """An operation of the API."""

    files_api = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._stem = path.partition("{")[0]
        self._operation = "".join(word.capitalize() for word in endpoint.__name__.split("_"))
        self._readers = {
            name: _reader(name, annotation, self.files_api)
            for name, annotation in get_type_hints(endpoint, include_extras=True).items()
            if name in inspect.signature(endpoint).parameters
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Starlette's; what FastAPI adds to it is for routers inside of routers."""
        return Route.matches(self, scope) if scope["path"].startswith(self._stem) else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = of(scope)
        if scope["path"].endswith("\n") and not self.path.endswith("}"):  # Starlette's patterns overlook it
            raise unknown_url(scope)
        if scope["method"] not in (self.methods or ()):
            if await broken(exchange, None):
                return
            raise _wrong_method(scope, self.path)
        exchange.files_api = self.files_api
        exchange.call = await exchange.mock.worlds.call(exchange.world)
        exchange.operation, exchange.log = self._operation, exchange.mock.journal.open(exchange.world)
        if (exchange.call.entered.faults or FAULT_HEADER in exchange.headers) and await broken(
            exchange, self._operation
        ):
            return
        if exchange.dialect is not OPENAI:
            exchange.dialect.admit(exchange)
        arguments = {name: await reader(exchange) for name, reader in self._readers.items()}
        result = await self.endpoint(**arguments)
        if exchange.effect and self._operation in LISTS:
            result = reshaped(exchange.effect, result)
        if isinstance(result, Content):
            await exchange.stream(result)
        else:
            await exchange.answer(result)


class FilesOperation(Operation):
    """An operation of the Files API, whose answers end in a newline and whose errors have a `detail`."""

    files_api = True


def _reader(name: str, annotation: Any, files_api: bool) -> Callable[[Exchange], Awaitable[Any]]:
    """How to get an argument from a request, by its annotation. Made once for each route."""
    kind, *notes = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)

    async def path(exchange: Exchange) -> Any:
        return exchange.scope["path_params"][name]

    async def query(exchange: Exchange) -> Any:
        assert exchange.call is not None  # the route has entered its world
        return parse_query(kind, exchange.scope["query_string"], exchange.call)

    async def body(exchange: Exchange) -> Any:
        return await read_json(kind, exchange, exchange.mock.settings.max_body)

    async def form(exchange: Exchange) -> Form:
        return lambda: read_form(exchange, exchange.mock.blobs, blake2b=not files_api)

    async def the_mock(exchange: Exchange) -> Any:
        return exchange.mock

    async def this_call(exchange: Exchange) -> Any:
        return exchange.call

    if kind is str:
        return path
    if any(isinstance(note, Query) for note in notes):
        return query
    if kind is Form:
        return form
    if kind is Mock:
        return the_mock
    if kind is worlds.Call:
        return this_call
    if issubclass(kind, BaseModel):
        return body
    raise TypeError(f"{name}: {annotation} is nothing that a request has")


def _wrong_method(scope: Scope, path: str) -> errors.APIError:
    methods = {method for route in scope["app"].router.routes if route.path == path for method in route.methods}
    allowed = [method for method in ("GET", "HEAD", "POST", "DELETE") if method in methods]
    error = errors.WRONG_METHOD(allowed=" and ".join(allowed))
    error.headers["Allow"] = ", ".join(allowed)
    return error
