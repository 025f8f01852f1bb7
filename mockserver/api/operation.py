"""What a request passes, in this order: `Middleware`, `TableRouter`, and the `Operation` that is its route.

A preflight needs no key. Then the key is checked, and only then the router finds the route.
"""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_args, get_type_hints

from fastapi import APIRouter, Depends, FastAPI
from fastapi.params import Query
from pydantic import BaseModel
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from mockserver import errors, ids
from mockserver.api.contents import send_content
from mockserver.api.exchange import JSON, ClientGone, Exchange, send_error, send_preflight
from mockserver.api.fault_injection import FAULT_HEADER, inject, reshape
from mockserver.api.parsing import MAX_JSON_BYTES, parse_query, read_json
from mockserver.api.providers import HINT_HEADER, OPENAI, api_path, select_provider
from mockserver.api.streams import Stream
from mockserver.context import LARGE, Context
from mockserver.errors import APIError
from mockserver.mock import Mock
from mockserver.routing import LateRoute, same_secret
from mockserver.schema.contents import Content
from mockserver.storage.database import failure
from mockserver.worlds import DEFAULT

log = logging.getLogger("mockserver")
requests = logging.getLogger("mockserver.requests")

OUTSIDE = ("/health", "/openapi.json")
"""Paths outside of the API. They need no key, create no world and are not recorded."""
NOT_EMULATED = ("/responses/compact", "/responses/input_tokens")
"""Operations of the API whose last segment would be taken for the id of a response."""
MAX_UNKNOWN = 100
"""Unknown paths that are logged, each once."""

_WORLD_KEY = re.compile(r"sk-world-(.*)", re.DOTALL)


class Middleware:
    """Creates the exchange, checks its key, finds its world, and sends every error in the API's format."""

    def __init__(self, app: FastAPI, mock: Mock) -> None:
        self._app = app
        self._mock = mock
        self._keys = sorted(mock.settings.api_key, key=len, reverse=True)  # K-world-x may itself be a key
        self._warned: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OUTSIDE:
            await self._app(scope, receive, send)
            return
        exchange = scope["mockserver"] = Exchange(self._mock, scope, receive, send)
        try:
            try:
                if scope["method"] == "OPTIONS" and b"access-control-request-method" in exchange.headers:
                    await send_preflight(exchange)
                else:
                    self._find_world(exchange)
                    await self._app.router(scope, receive, send)
            except Exception as error:
                await self._send_error(exchange, error)
        except ClientGone:
            log.debug("%s %s: the client closed the connection", scope["method"], scope["path"])
            exchange.abort()
        except BaseException:
            exchange.abort()
            raise
        finally:
            for rule in exchange.counted:
                rule.in_progress.discard(exchange)
            if requests.isEnabledFor(logging.INFO):
                self._mock.log_request(str(exchange))
        if exchange.context and exchange.context.warnings:
            self._log_warnings(exchange.context)

    async def _send_error(self, exchange: Exchange, error: Exception) -> None:
        """Send the API's error for an exception. Raise the exception again if it is too late for a response."""
        if isinstance(error, ClientGone):
            raise error
        if isinstance(error, APIError) and exchange.status is not None:  # of a stream whose world was deleted
            log.debug("%s %s: ended by: %s", exchange.scope["method"], exchange.scope["path"], error)
            exchange.abort()
            exchange.connection.close()
            return
        if not isinstance(error, APIError):
            scope, problem, started = exchange.scope, failure(error), exchange.status is not None
            intended = isinstance(error, errors.IntendedFailure)
            if not intended and (problem is None or started):
                log.exception("%s failed with %s %s", exchange.request_id, scope["method"], scope["path"])
            elif not intended:
                log.error("%s %s: the data directory can't be used: %s", scope["method"], scope["path"], problem)
            if started:
                raise error  # uvicorn closes the connection
            error = (
                errors.STORAGE_FAILED(problem=problem)
                if problem
                else errors.SERVER_ERROR(request_id=ids.as_uuid(exchange.request_id))
            )
        await send_error(exchange, error)

    def _log_warnings(self, context: Context) -> None:
        for warning in context.warnings:
            if warning.code not in self._warned:
                self._warned.add(warning.code)
                log.warning("%s (logged once; each such response carries it as x-mock-warning)", warning)

    def _find_world(self, exchange: Exchange) -> None:
        """Determine the world and the API's own path from URL and key. Raises APIError for a wrong key."""
        scope = exchange.scope
        exchange.provider, world, path = select_provider(scope["path"], scope["raw_path"])
        key_world = self._authenticate(exchange)
        exchange.world = key_world if world is None else world
        scope["path"] = path

    def _authenticate(self, exchange: Exchange) -> str:
        """Check the key and return the world that it names, by default `default`. Raises APIError."""
        key = exchange.provider.key(exchange.headers)
        if not key:
            raise errors.MISSING_KEY()
        if not self._keys:
            match = _WORLD_KEY.fullmatch(key)
            return str(match[1]) if match else DEFAULT
        for allowed in self._keys:
            if same_secret(key, allowed):
                return DEFAULT
            stem, rest = key[: len(allowed)], key[len(allowed) :]
            if rest.startswith("-world-") and same_secret(stem, allowed):
                return rest.removeprefix("-world-")
        raise errors.WRONG_KEY(key=_mask(key))


def _mask(key: str) -> str:
    """Mask a wrong key as the live API does: of a long one, show the first 8 and the last 4 characters."""
    shown = "".join(character if character.isprintable() else "?" for character in key)
    return shown if len(shown) <= 12 else f"{shown[:8]}{'*' * min(len(shown) - 12, 200)}{shown[-4:]}"


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
    """Split a path. Return its key in the table, the number of segments and the fixed ones, and the ids between them."""
    parts = path.split("/")
    return (len(parts), *parts[1::2]), parts[2::2]


def _given() -> None:
    """Mark a parameter that `Operation` passes, so that FastAPI does not describe it as a part of the request."""


TheContext = Annotated[Context, Depends(_given)]
TheExchange = Annotated[Exchange, Depends(_given)]
"""For operations that read a form or a folder of skills, or store large contents."""


class Operation(LateRoute):
    """An operation of the API.

    Its id is the name of its function: `CreateContainer` of `create_container`. FastAPI describes it by its signature.
    Requests are handled here, since the API's errors and their order are not FastAPI's.
    """

    files_api = False
    ascii = False
    """Whether text in its JSON is escaped to ASCII."""
    max_body: int | None = MAX_JSON_BYTES
    """The largest body without skills and without secrets; None: as `--max-body` says."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.id = "".join(word.capitalize() for word in endpoint.__name__.split("_"))
        super().__init__(path, endpoint, **{**options, "name": self.id, "operation_id": self.id})
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


def _reader(name: str, annotation: Any) -> Callable[[Exchange, Context], Any]:
    """Return a function that gets an argument from a request, chosen by the annotation. Called once per route."""
    kind, *notes = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    if kind is str:
        return lambda exchange, context: exchange.scope["path_params"][name]
    if any(isinstance(note, Query) for note in notes):
        return lambda exchange, context: parse_query(kind, exchange.scope["query_string"], context)
    raise TypeError(f"{name}: {annotation} is not a part of a request")
