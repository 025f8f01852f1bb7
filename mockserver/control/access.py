"""Access control: programs of this machine can control the server, web pages of other origins can't.

A page in a browser can send requests to localhost, or be given a host name that resolves to it (DNS rebinding). So the
Host must be a name that no attacker can own, and an Origin must be the server's. Requests of a browser that change
something need a header besides, which a page of another origin can't send.
"""

import hashlib
import hmac
import ipaddress
import re

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from mockserver import control_errors
from mockserver.errors import APIError
from mockserver.mock import Mock
from mockserver.routing import error_response, same_secret

MARK = "x-mock-dashboard"
"""The header of requests by which pages change something. Another origin would need a preflight to send it."""

_PRIVATE = (".localhost", ".internal", ".svc", ".svc.cluster.local")
"""Domains that are reserved for this machine and its network. Container engines call their host by a name such as
host.docker.internal, host.containers.internal or host.lima.internal; the others are Kubernetes services."""
_HOST = re.compile(r"(?:\[([^\]@/?#]+)\]|([^\[\]@/?#:\\\s]+))(?::\d*)?")
"""A name or an address, and a port."""
SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN_PAGES = ("/", "/_mock", "/_mock/")


def cookie_name(request: HTTPConnection) -> str:
    """Return a name with the port, as a browser sends a host's cookies to all of its ports."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"mockserver_{port if port.isdigit() and port.isascii() else 80}"


def cookie_value(token: str) -> str:
    """Return a value that opens the control plane and does not reveal the token."""
    return hmac.new(token.encode(), b"cookie", hashlib.sha256).hexdigest()


class Access:
    def __init__(self, app: ASGIApp, mock: Mock) -> None:
        self._app = app
        settings = mock.settings
        allowed = "|".join(map(re.escape, settings.allow_host)).replace(r"\*", ".*")
        self._allows = re.compile(allowed).fullmatch if allowed else lambda name: False
        self._token = settings.control_token
        self._closed = settings.control_closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(HTTPConnection(scope))
            except APIError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: HTTPConnection) -> None:
        host = request.headers.get("host", "")
        name = _host_name(host)
        if not (_is_private(name) or self._allows(name)):
            raise control_errors.FORBIDDEN_HOST(host=(name or host)[:80])
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise control_errors.FORBIDDEN_ORIGIN()
        site = request.headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and not _is_navigation(request):
            raise control_errors.FORBIDDEN_ORIGIN()
        if request.scope["method"] not in SAFE and _is_browser(request) and MARK not in request.headers:
            raise control_errors.UNMARKED_REQUEST()
        path = request.scope["path"]
        if path in _OPEN_PAGES or path.startswith("/_mock/static/"):
            return
        if self._closed:
            raise control_errors.CONTROL_CLOSED()
        if self._token and path != "/_mock/session" and not _is_authorized(request, self._token):
            raise control_errors.WRONG_TOKEN()


def _is_navigation(request: HTTPConnection) -> bool:
    """Return whether a user follows a link to the dashboard, whose page shows and changes nothing."""
    return (
        request.scope["method"] == "GET"
        and request.scope["path"] in _OPEN_PAGES
        and request.headers.get("sec-fetch-mode") == "navigate"
        and request.headers.get("sec-fetch-dest") == "document"
    )


def _is_browser(request: HTTPConnection) -> bool:
    return any(name in request.headers for name in ("origin", "sec-fetch-site", "cookie"))


def _is_authorized(request: HTTPConnection, token: str) -> bool:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    cookie = request.cookies.get(cookie_name(request), "")
    return (scheme.lower() == "bearer" and same_secret(bearer.strip(), token)) or same_secret(
        cookie, cookie_value(token)
    )


def _host_name(host: str) -> str:
    """Return the host in lower case, without the port and the brackets of an IPv6 address."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower().rstrip(".") if match else ""


def _is_private(name: str) -> bool:
    """Return whether no attacker can own the name: an address, a name without a dot (as in Compose), or a name in a
    domain that the public DNS never has."""
    if name.endswith(_PRIVATE):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and "." not in name
    return True
