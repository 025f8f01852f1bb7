"""Errors and authentication: pure ASGI around the routes, before a body is read.

The order of errors starts here: preflights need no key, then an unknown key is an error, and only then is the route
looked up by the router.
"""

import hmac
import logging
import re
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from mockserver import errors
from mockserver.api.exchange import ClientGone, Exchange
from mockserver.api.providers import selected
from mockserver.api.rendering import Error, Preflight
from mockserver.errors import APIError
from mockserver.storage.database import failure
from mockserver.worlds import DEFAULT

if TYPE_CHECKING:
    from mockserver.mock import Mock

log = logging.getLogger("mockserver")

OUTSIDE = ("/health", "/openapi.json")
"""Paths that are no part of the API: without a key, in no world and in no journal."""

_WORLD_KEY = re.compile(r"sk-world-(.+)", re.DOTALL)


class Errors:
    """Opens the exchange, and sends every error and failure in the API's own shape."""

    def __init__(self, app: ASGIApp, mock: "Mock") -> None:
        self._app = app
        self._mock = mock
        self._warned: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OUTSIDE:
            await self._app(scope, receive, send)
            return
        exchange = scope["mockserver"] = Exchange(self._mock, scope, receive, send)
        try:
            await self._respond(exchange, scope, send)
        except ClientGone:
            log.debug("%s %s: the client left", scope["method"], scope["path"])
            exchange.abandon()
        except BaseException:
            exchange.abandon()
            raise
        self._log_warnings(exchange)

    async def _respond(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        try:
            await self._app(scope, exchange.receive, send)
        except ClientGone:
            raise
        except APIError as error:
            await Error(error).send(exchange)
        except Exception as error:
            problem = failure(error)
            if problem is None or exchange.started_response:
                log.exception("%s failed with %s %s", exchange.request_id, scope["method"], scope["path"])
            else:
                log.error("%s %s: the data directory can't be used: %s", scope["method"], scope["path"], problem)
            if exchange.started_response:
                raise  # too late for a response: uvicorn closes the connection
            await Error(errors.STORAGE_FAILED(problem=problem) if problem else errors.SERVER_ERROR()).send(exchange)

    def _log_warnings(self, exchange: Exchange) -> None:
        for warning in exchange.context.warnings if exchange.context else []:
            if warning.code not in self._warned:
                self._warned.add(warning.code)
                log.warning("%s (logged once; each such response carries it as x-mock-warning)", warning)


class Authenticate:
    """Checks the key, and determines the world and the API's own path from URL and key."""

    def __init__(self, app: ASGIApp, mock: "Mock") -> None:
        self._app = app
        self._keys = sorted(mock.settings.api_key, key=len, reverse=True)  # K-world-x may itself be a key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange | None = scope.get("mockserver")
        if exchange is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in exchange.headers:
            await Preflight().send(exchange)
            return
        exchange.provider, world, path = selected(scope["path"], scope["raw_path"])
        of_key = self._authenticate(exchange)
        exchange.world = of_key if world is None else world
        scope["path"] = path
        await self._app(scope, receive, send)

    def _authenticate(self, exchange: Exchange) -> str:
        """The world that the key names, `default` where it names none."""
        key = exchange.provider.key(exchange.headers)
        if not key:
            raise errors.MISSING_KEY()
        if not self._keys:
            match = _WORLD_KEY.fullmatch(key)
            return str(match[1]) if match else DEFAULT
        for allowed in self._keys:
            if _same(key, allowed):
                return DEFAULT
            stem, rest = key[: len(allowed)], key[len(allowed) :]
            if rest.startswith("-world-") and _same(stem, allowed):
                return rest.removeprefix("-world-")
        raise errors.WRONG_KEY(key=_masked(key))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _masked(key: str) -> str:
    """As the live API shows a wrong key: long ones as the first 8 characters, stars and the last 4."""
    shown = "".join(character if character.isprintable() else "?" for character in key)
    return shown if len(shown) <= 12 else f"{shown[:8]}{'*' * min(len(shown) - 12, 200)}{shown[-4:]}"
