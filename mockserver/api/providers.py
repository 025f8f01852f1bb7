"""The providers of the API: OpenAI, and Azure. The path selects one.

Azure has a gateway in front of its service. Errors about keys, routes, versions and rates come from the gateway, in
its own format. All other errors come from the service, in OpenAI's format.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from starlette.types import Scope

from mockserver import errors, profiles
from mockserver.errors import APIError
from mockserver.profiles import Profile, Warned

Headers = list[tuple[bytes, bytes]]

HINT_HEADER = b"x-mock-hint"
"""Says what to do about a request for a URL that the API doesn't know."""

_DATED = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")
_SERVICE = (errors.CONTAINER_EXPIRED.message, errors.UNKNOWN_CURSOR.message)
"""Errors 404 of the service, which the gateway passes on (guess); those of Files are seen."""
_SPACE = " \t"
"""What HTTP takes for white space around a header's value: a proxy that reads the key must find the same world."""
_UNDATED = ("", "v1", "latest", "preview")


class Request(Protocol):
    """The parts of an exchange that a provider needs."""

    extra: Headers
    files_api: bool
    headers: dict[bytes, bytes]
    operation: str | None
    scope: Scope


class Provider:
    """OpenAI, under `/v1`."""

    typed_files = False
    """Whether the file of a form needs a content type."""
    files_detail = True
    """Whether errors of the Files API repeat themselves under `detail`."""

    def key(self, headers: dict[bytes, bytes]) -> str:
        """Return the key that was sent; empty without one."""
        return _bearer(headers) or _api_key(headers)

    def check(self, request: Request, profile: Profile) -> Warned | None:
        """Raise APIError if a request lacks what this provider requires. Return what the response has to warn of."""
        return None

    def convert(self, error: APIError, request: Request) -> APIError:
        """Return an error as this provider sends it."""
        return error

    def shown(self, resource: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an object as this provider sends it."""
        return resource


class Bare(Provider):
    """OpenAI without a prefix, which the live API rejects."""

    def check(self, request: Request, profile: Profile) -> Warned | None:
        if not profile.bare_paths:
            request.files_api = False  # an unknown URL is of no operation
            request.extra.append((HINT_HEADER, b"the live API's paths begin with /v1: add it to the base URL"))
            raise errors.UNKNOWN_URL(method=request.scope["method"], path=api_path(request.scope))
        return None


class Azure(Provider):
    """Azure, under `/openai` with a dated `api-version`, or under `/openai/v1` without one."""

    typed_files = True
    files_detail = False

    def __init__(self, dated: bool) -> None:
        self._dated = dated

    def key(self, headers: dict[bytes, bytes]) -> str:
        return _api_key(headers) or _bearer(headers)

    def check(self, request: Request, profile: Profile) -> Warned | None:
        version = _version(request.scope["query_string"])
        if (_DATED.fullmatch(version) is not None) if self._dated else version in _UNDATED:
            return None
        if not getattr(profile, profiles.AZURE_ANY_VERSION.switch):
            raise errors.AZURE_NO_ROUTE() if self._dated else errors.AZURE_WRONG_VERSION()
        return profiles.AZURE_ANY_VERSION

    def convert(self, error: APIError, request: Request) -> APIError:
        if isinstance(error, errors.AzureError):
            return error
        if error.status == 401:
            converted = errors.AZURE_WRONG_KEY() if _api_key(request.headers) else errors.AZURE_WRONG_TOKEN()
        elif error.row is errors.UNKNOWN_PURPOSE:
            converted = errors.AZURE_WRONG_PURPOSE()
        elif error.status in (404, 405) and not request.files_api and not (error.row and error.row.message in _SERVICE):
            converted = errors.AZURE_NO_ROUTE()
        elif error.status == 429 and error.type == errors.RATE_LIMITED.type:
            converted = errors.AZURE_RATE_LIMITED(
                operation=request.operation or "requests",
                version=_version(request.scope["query_string"]) or "v1",
                wait=next((value.decode() for name, value in request.extra if name == b"retry-after"), "1"),
            )
        else:
            return error
        converted.headers = {name: value for name, value in error.headers.items() if name.lower() == "x-should-retry"}
        return converted

    def shown(self, resource: Mapping[str, Any]) -> Mapping[str, Any]:
        """Responses have no payer, and the results of a content filter (seen in JSON; in events a guess)."""
        if resource.get("object") != "response" or "background" not in resource:
            return resource
        shown: dict[str, Any] = {}
        for name, value in resource.items():
            if name != "billing":
                shown[name] = value
            if name == "background":
                shown["content_filters"] = None
        return shown


OPENAI, _BARE = Provider(), Bare()
_AZURE, _AZURE_V1 = Azure(dated=True), Azure(dated=False)

# Older clients put an endpoint that ends in a slash before `/openai`, and Azure accepts it. A project of Foundry is an
# endpoint with a path.
_PREFIX = re.compile(r"(?:/w/([^/]*))?(?:(/v1)|((?:/api/projects/[^/]+)?/+openai)(/v1)?)?(?=/|$)")
_WORLD = re.compile(r"/w/[^/]*(?=/)")


def select_provider(path: str, raw: bytes) -> tuple[Provider, str | None, str]:
    """Return a path's provider, the world that it names, and the rest, which is the operation's own path.

    An escaped slash stays escaped: it is a part of a name and separates nothing.
    """
    if b"%2" in raw:
        path = unquote(re.sub("%2f", "%252F", raw.decode("ascii"), flags=re.IGNORECASE))
    elif path.startswith("/v1/"):  # the path of nearly all clients
        return OPENAI, None, path[3:]
    match = _PREFIX.match(path)
    if match is None:
        return _BARE, None, path
    world, plain, azure, v1 = match.groups()
    provider = OPENAI if plain else _BARE if azure is None else _AZURE_V1 if v1 else _AZURE
    return provider, world, path[match.end() :] or "/"


def api_path(scope: Scope) -> str:
    """Return the path as it was sent, without the world, which the live API doesn't have."""
    path: str = scope["raw_path"].decode("ascii", "replace")
    return _WORLD.sub("", path, count=1) if path.startswith("/w/") else path


def _bearer(headers: dict[bytes, bytes]) -> str:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip(_SPACE) if scheme.lower() == "bearer" else ""


def _api_key(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"api-key", b"").decode("latin-1").strip(_SPACE)


def _version(query: bytes) -> str:
    return parse_qs(query.decode("latin-1")).get("api-version", [""])[0]
