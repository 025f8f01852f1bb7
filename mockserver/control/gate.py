"""Who may control the server: programs of this machine, and no web page of another origin.

A page that a browser shows can send requests to localhost, or be given a name that leads there (DNS
rebinding). So the Host must be one that no stranger can own, and an Origin must be the server's.
"""

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from mockserver import errors
from mockserver.control.answers import refused
from mockserver.errors import APIError

if TYPE_CHECKING:
    from mockserver.mock import Mock

COOKIE = "mockserver_token"


class Gate:
    def __init__(self, app: ASGIApp, mock: "Mock") -> None:
        self._app = app
        settings = mock.settings
        self._hosts = set(settings.allow_host)
        self._token = settings.control_token
        self._closed = not self._token and not settings.control_open and not all(map(_is_loopback, settings.host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(HTTPConnection(scope))
            except APIError as error:
                await refused(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: HTTPConnection) -> None:
        host = request.headers.get("host", "")
        name = _host_name(host)
        if not (_is_own(name) or name in self._hosts):
            raise errors.FORBIDDEN_HOST(host=name[:80])
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise errors.FORBIDDEN_ORIGIN()
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise errors.FORBIDDEN_ORIGIN()
        if self._closed:
            raise errors.CONTROL_CLOSED()
        if self._token and not any(hmac.compare_digest(self._token, given) for given in _tokens(request)):
            raise errors.WRONG_TOKEN()


def _tokens(request: HTTPConnection) -> list[str]:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return [given for given in (bearer, request.cookies.get(COOKIE, "")) if given.isascii()]


def _host_name(host: str) -> str:
    """Without the port, in lower case; an IPv6 address without its brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_own(name: str) -> bool:
    """A name that leads here by itself: an address, localhost, a name without a dot (compose)."""
    if name in ("localhost", "host.docker.internal") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and "." not in name
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
