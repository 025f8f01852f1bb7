"""ASGI middleware around the routes: authentication and errors, before a body is read.

Preflights need no key. Then the key is checked, and only then the router finds the route.
"""

import logging
import re

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from mockserver import errors, ids
from mockserver.api.exchange import ClientGone, Exchange
from mockserver.api.providers import select_provider
from mockserver.api.rendering import send_error, send_preflight
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.mock import Mock
from mockserver.routing import same_secret
from mockserver.storage.database import failure
from mockserver.worlds import DEFAULT

log = logging.getLogger("mockserver")
requests = logging.getLogger("mockserver.requests")

OUTSIDE = ("/health", "/openapi.json")
"""Paths outside of the API. They need no key, create no world and are not recorded."""

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
