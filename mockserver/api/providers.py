"""The ways in which the API is spoken: OpenAI's own, and Azure's. The path selects one, once.

In front of Azure's service stands a gateway, which answers by itself what never reaches the service:
wrong keys, unknown routes, versions and rates. What the service refuses is in OpenAI's shape there too.
"""

import re
from typing import Protocol
from urllib.parse import parse_qs, unquote

from mockserver import errors, profiles
from mockserver.context import Context
from mockserver.errors import APIError

Headers = list[tuple[bytes, bytes]]

_DATED = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")
_UNDATED = ("", "v1", "latest", "preview")


class Asked(Protocol):
    """What a dialect needs to know of an exchange."""

    context: Context | None
    extra: Headers
    headers: dict[bytes, bytes]
    operation: str | None

    @property
    def query(self) -> bytes: ...


class Dialect:
    """OpenAI's own, under `/v1` or no prefix at all."""

    def key(self, headers: dict[bytes, bytes]) -> str:
        """The key that was sent, empty without one."""
        return _bearer(headers) or _api_key(headers)

    def admit(self, asked: Asked) -> None:
        """Raises APIError for what this dialect alone wants of a request."""

    def said(self, error: APIError, asked: Asked) -> APIError:
        """A refusal in this dialect's words."""
        return error


class Azure(Dialect):
    """Under `/openai` with a dated `api-version`, or under `/openai/v1` without one."""

    def __init__(self, dated: bool) -> None:
        self._dated = dated

    def key(self, headers: dict[bytes, bytes]) -> str:
        return _api_key(headers) or _bearer(headers)

    def admit(self, asked: Asked) -> None:
        version = _version(asked.query)
        if (_DATED.fullmatch(version) is not None) if self._dated else version in _UNDATED:
            return
        if asked.context is None or not asked.context.allows(profiles.AZURE_ANY_VERSION):
            raise errors.AZURE_NO_ROUTE() if self._dated else errors.AZURE_WRONG_VERSION()

    def said(self, error: APIError, asked: Asked) -> APIError:
        if isinstance(error, errors.AzureError):
            return error
        if error.status == 401:
            told = errors.AZURE_WRONG_KEY() if _api_key(asked.headers) else errors.AZURE_WRONG_TOKEN()
        elif error.status in (404, 405):
            told = errors.AZURE_NO_ROUTE()
        elif error.status == 429 and error.type == errors.RATE_LIMITED.type:
            told = errors.AZURE_RATE_LIMITED(
                operation=asked.operation or "requests",
                version=_version(asked.query) or "v1",
                wait=next((value.decode() for name, value in asked.extra if name == b"retry-after"), "1"),
            )
        else:
            return error
        told.headers = {name: value for name, value in error.headers.items() if name.lower() == "x-should-retry"}
        return told


OPENAI = Dialect()
_AZURE, _AZURE_V1 = Azure(dated=True), Azure(dated=False)

# Older clients put an endpoint that ends in a slash in front of `/openai`, and Azure takes it.
_PREFIX = re.compile(r"(?:/w/([^/]*))?(?:/v1|(/+openai)(/v1)?)?(?=/|$)")


def selected(path: str, raw: bytes) -> tuple[Dialect, str | None, str]:
    """The dialect that a path is in, the world that it names, and the operation's own path.

    An escaped slash is part of a name and parts none: it stays escaped.
    """
    if b"%2" in raw:
        path = unquote(re.sub("%2f", "%252F", raw.decode("ascii"), flags=re.IGNORECASE))
    elif path.startswith("/v1/"):  # what nearly all clients send
        return OPENAI, None, path[3:]
    match = _PREFIX.match(path)
    if match is None:
        return OPENAI, None, path
    world, azure, v1 = match.groups()
    dialect = OPENAI if azure is None else _AZURE_V1 if v1 else _AZURE
    return dialect, world, path[match.end() :] or "/"


def _bearer(headers: dict[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _api_key(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"api-key", b"").decode("latin-1").strip()


def _version(query: bytes) -> str:
    return parse_qs(query.decode("latin-1")).get("api-version", [""])[0]
