"""Operations: the API's routes, and the router that finds them."""

import logging
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_args, get_type_hints

from fastapi import APIRouter, Depends
from fastapi.params import Query
from pydantic import BaseModel
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from mockserver import errors
from mockserver.api.exchange import Exchange
from mockserver.api.fault_injection import FAULT_HEADER, inject, reshape
from mockserver.api.parsing import MAX_JSON_BYTES, parse_query, read_json
from mockserver.api.providers import HINT_HEADER, OPENAI, api_path
from mockserver.api.rendering import JSON, send_content
from mockserver.api.streams import Stream
from mockserver.context import LARGE, Context
from mockserver.errors import APIError
from mockserver.routing import LateRoute
from mockserver.schema.contents import Content

log = logging.getLogger("mockserver")

NOT_EMULATED = ("/responses/compact", "/responses/input_tokens")
"""Operations of the API whose last segment would be taken for the id of a response."""
MAX_UNKNOWN = 100
"""Unknown paths that are logged, each once."""


def _given() -> None:
    """Mark a parameter that FastAPI must not describe as a part of the request; `Operation` passes it."""


TheContext = Annotated[Context, Depends(_given)]
TheExchange = Annotated[Exchange, Depends(_given)]
"""For operations that read a form or a folder of skills, or store large contents."""


class Operation(LateRoute):
    """An operation of the API.

    FastAPI describes it by its signature. Requests are handled here, since the API's errors and their order are not
    FastAPI's.
    """

    files_api = False
    ascii = False
    """Whether text in its JSON is escaped to ASCII."""
    max_body: int | None = MAX_JSON_BYTES
    """The largest body without skills and without secrets; None: as `--max-body` says."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.id = "".join(word.capitalize() for word in endpoint.__name__.split("_"))
        super().__init__(path, endpoint, **{**options, "name": self.id})
        types = get_type_hints(endpoint, include_extras=True)
        self._body: type[BaseModel] | None = types.get("body")
        self._takes_exchange = "exchange" in types
        others = ("context", "exchange", "body", "return")
        self._readers = {name: _reader(name, types[name]) for name in types if name not in others}
        self.lists = self.id.startswith("List")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["mockserver"]
        mock = exchange.mock
        exchange.files_api, exchange.ascii = self.files_api, self.ascii
        if exchange.provider is not OPENAI and not mock.worlds.exists(exchange.world):
            profile = await mock.worlds.profile_to_come(exchange.world)
            try:  # a request that is rejected creates no world
                exchange.provider.check(exchange, profile)
            except APIError:
                if not await inject(exchange, None):
                    raise
                return
        context = exchange.context = await mock.worlds.enter(exchange.world)
        context.request_id = exchange.request_id
        exchange.operation, exchange.clock = self.id, context.entered.clock
        exchange.log = mock.journal.open(exchange.world)
        if (context.entered.faults or FAULT_HEADER in exchange.headers) and await inject(exchange, self.id):
            return
        if exchange.provider is not OPENAI and (warning := exchange.provider.check(exchange, context.world.profile)):
            context.warn(warning)
        arguments = {name: reader(exchange, context) for name, reader in self._readers.items()}
        arguments["context"] = context
        if self._takes_exchange:
            arguments["exchange"] = exchange
        if self._body:
            arguments["body"] = await read_json(self._body, exchange, mock.settings.max_body, self.max_body)
            context.large = exchange.sent.size > LARGE
        result = await self.endpoint(**arguments)
        if isinstance(result, Content):
            await send_content(exchange, result)
        elif isinstance(result, (JSON, Stream)):
            await result.send(exchange)
        else:
            if exchange.effect and self.lists:
                result = reshape(exchange.effect, result)
            await JSON(result).send(exchange)


class FilesOperation(Operation):
    """An operation of the Files API, whose responses end in a newline and whose errors have a `detail`."""

    files_api = True


class ResponsesOperation(Operation):
    """An operation of the Responses API, whose JSON is ASCII and whose bodies hold long conversations."""

    ascii = True
    max_body = None


class TableRouter(APIRouter):
    """Finds a route by the number of segments in its path and the fixed ones among them.

    FastAPI would try one route's pattern after another. In this API's paths names and ids alternate, so the number of
    segments and the names determine the operations.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        super().__init__(redirect_slashes=False, routes=list(routes))
        self._table: dict[tuple[int | str, ...], tuple[list[str], dict[str, Operation]]] = {}
        self._unknown: set[str] = set()
        emulated: set[str] = set()
        for route in self.routes:
            if isinstance(route, Operation):
                names, ids = _split(route.path)
                emulated.add(f"/v1/{names[1]}")
                _, operations = self._table.setdefault(names, ([id.strip("{}") for id in ids], {}))
                operations |= dict.fromkeys(route.methods or (), route)
        self._hint = f"mockserver emulates {', '.join(sorted(emulated))}; /openapi.json lists all operations"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "mockserver" not in scope:  # a path outside of the API
            await super().__call__(scope, receive, send)
            return
        exchange: Exchange = scope["mockserver"]
        names, ids = _split(scope["path"])
        id_names, operations = self._table.get(names, ([], {}))
        if not operations or "" in ids or scope["path"] in NOT_EMULATED:
            if not await inject(exchange, None):
                self._give_hint(exchange, scope["raw_path"].decode("ascii", "replace"))
                raise errors.UNKNOWN_URL(method=scope["method"], path=api_path(scope))
            return
        scope["path_params"] = dict(zip(id_names, ids, strict=True))
        if operation := operations.get(scope["method"]):
            await operation.handle(scope, receive, send)
        elif not await inject(exchange, None):
            allowed = [method for method in ("GET", "HEAD", "POST", "DELETE") if method in operations]
            error = errors.WRONG_METHOD(allowed=" and ".join(allowed))
            error.headers["Allow"] = ", ".join(allowed)
            raise error

    def _give_hint(self, exchange: Exchange, path: str) -> None:
        """Say what is emulated: in a header, and for each path once in the log."""
        exchange.extra.append((HINT_HEADER, self._hint.encode()))
        own = exchange.scope["path"]
        if own not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(own)
            log.warning("%s %s is not emulated: %s (logged once)", exchange.scope["method"], path[:300], self._hint)


def _split(path: str) -> tuple[tuple[int | str, ...], list[str]]:
    """Return a path's number of segments with its fixed ones, and the ids between them."""
    parts = path.split("/")
    return (len(parts), *parts[1::2]), parts[2::2]


def _reader(name: str, annotation: Any) -> Callable[[Exchange, Context], Any]:
    """Return a function that gets an argument from a request, chosen by the annotation. Called once per route."""
    kind, *notes = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    if kind is str:
        return lambda exchange, context: exchange.scope["path_params"][name]
    if any(isinstance(note, Query) for note in notes):
        return lambda exchange, context: parse_query(kind, exchange.scope["query_string"], context)
    raise TypeError(f"{name}: {annotation} is not a part of a request")
