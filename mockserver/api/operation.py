"""How an operation is called: one route class that reads what its function asks for, and answers.

FastAPI's routers collect the operations, and FastAPI writes the OpenAPI document from the functions' signatures.
A request is led to its function and handled here: the API's refusals, their words and their order are not FastAPI's.
"""

import inspect
from collections.abc import Callable, Container, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints

from fastapi import Depends
from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from mockserver import errors
from mockserver.api.exchange import Exchange, of, unknown_url
from mockserver.api.fault_injection import FAULT_HEADER, broken, reshaped
from mockserver.api.parsing import parse_query, read_form, read_json
from mockserver.api.providers import OPENAI
from mockserver.context import Context
from mockserver.faults import LISTS
from mockserver.files import NewFile
from mockserver.schema import Content

Form = Callable[[], AbstractAsyncContextManager[NewFile]]
"""The request's form, not yet read: `async with form() as sent`."""


def _given() -> None:
    """Tells FastAPI that a parameter is no part of the request; `Operation` fills it in."""


TheContext = Annotated[Context, Depends(_given)]
TheForm = Annotated[Form, Depends(_given)]


class Operation:
    """An operation of the API: what FastAPI's routers make of a function, in place of a route of theirs.

    What FastAPI itself would know of it is worked out for the OpenAPI document alone; no start should wait for it.
    """

    files_api = False

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: list[str], **options: Any) -> None:
        self.path, self.endpoint, self.methods, self._options = path, endpoint, methods, options
        self._operation = "".join(word.capitalize() for word in endpoint.__name__.split("_"))
        signature = inspect.signature(endpoint).parameters
        hints = get_type_hints(endpoint, include_extras=True)
        self._body: type[BaseModel] | None = hints.get("body")
        self._readers = {name: _reader(name, hints[name], self.files_api) for name in signature if name != "body"}

    def described(self) -> APIRoute:
        return APIRoute(self.path, self.endpoint, methods=self.methods, **self._options)

    async def call(self, exchange: Exchange) -> None:
        mock = exchange.mock
        exchange.files_api = self.files_api
        context = exchange.context = await mock.worlds.enter(exchange.world)
        exchange.operation, exchange.log = self._operation, mock.journal.open(exchange.world)
        if (context.entered.faults or FAULT_HEADER in exchange.headers) and await broken(exchange, self._operation):
            return
        if exchange.dialect is not OPENAI:
            exchange.dialect.admit(exchange)
        arguments = {name: reader(exchange, context) for name, reader in self._readers.items()}
        if self._body:
            arguments["body"] = await read_json(self._body, exchange, mock.settings.max_body)
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


class Operations:
    """Which operation a request is for, and the refusal of one that is for none.

    FastAPI would try one route's pattern after another. A path of this API is names and ids by turns, so that
    its length and its names tell at once which operations there are.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._places: dict[tuple[int | str, ...], _Place] = {}
        for operation in operations:
            names, ids = _split(operation.path)
            place = self._places.setdefault(names, _Place([id.strip("{}") for id in ids], {}))
            place.operations |= dict.fromkeys(operation.methods, operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = of(scope)
        names, ids = _split(scope["path"])
        place = self._places.get(names)
        if place is None or "" in ids:
            if not await broken(exchange, None):
                raise unknown_url(scope)
            return
        scope["path_params"] = dict(zip(place.ids, ids, strict=True))
        if operation := place.operations.get(scope["method"]):
            await operation.call(exchange)
        elif not await broken(exchange, None):
            raise _wrong_method(place.operations)


@dataclass(slots=True)
class _Place:
    """What can be done at a path: the names of the ids in it, and an operation for each method."""

    ids: list[str]
    operations: dict[str, Operation]


def _split(path: str) -> tuple[tuple[int | str, ...], list[str]]:
    """A path's length with its names, and the ids between them."""
    parts = path.split("/")
    return (len(parts), *parts[1::2]), parts[2::2]


def _reader(name: str, annotation: Any, files_api: bool) -> Callable[[Exchange, Context], Any]:
    """How to get an argument from a request, by its annotation. Made once for each route."""
    kind, *notes = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    if kind is str:
        return lambda exchange, context: exchange.scope["path_params"][name]
    if any(isinstance(note, Query) for note in notes):
        return lambda exchange, context: parse_query(kind, exchange.query, context)
    if kind is Form:
        return lambda exchange, context: lambda: read_form(exchange, exchange.mock.uploads, blake2b=not files_api)
    if kind is Context:
        return lambda exchange, context: context
    raise TypeError(f"{name}: {annotation} is nothing that a request has")


def _wrong_method(methods: Container[str]) -> errors.APIError:
    allowed = [method for method in ("GET", "HEAD", "POST", "DELETE") if method in methods]
    error = errors.WRONG_METHOD(allowed=" and ".join(allowed))
    error.headers["Allow"] = ", ".join(allowed)
    return error
