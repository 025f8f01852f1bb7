"""The dashboard: a page that is a client of the control plane, with all files that it loads.

The files are in `static/`. The page itself contains no data, so it needs no token. Starlette's StaticFiles would take
the media types from the machine, where `.js` can be text/plain, which browsers then don't run.
"""

import hashlib
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Annotated, get_args

from fastapi import Header, Request
from pydantic_core import to_json
from starlette.responses import RedirectResponse, Response

from mockserver import errors, profiles
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.routes.worlds import key_stem
from mockserver.schema.faults import OPERATIONS
from mockserver.schema.files import Purpose

router = new_router()

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

IfNoneMatch = Annotated[str, Header(alias="if-none-match")]


@router.get("")
async def redirect_to_dashboard() -> Response:
    return RedirectResponse("_mock/")


@router.get("/")
async def show_dashboard(etags: IfNoneMatch = "") -> Response:
    return _file("index.html", etags)


@router.get("/static/facts.js")
async def get_facts(mock: TheMock, etags: IfNoneMatch = "") -> Response:
    """Return a module with the names and values that this version knows, so that the pages contain no copies."""
    facts = {
        "OPERATIONS": OPERATIONS,
        "ERRORS": list(errors.CATALOGUE),
        "WARNINGS": list(profiles.WARNINGS),
        "KEY": key_stem(mock),
        "PURPOSES": get_args(Purpose),
        "SWITCHES": [
            {"name": each.name, "meaning": each.meaning, "takes": each.takes} for each in profiles.SWITCHES.values()
        ],
        "PROFILES": {name: asdict(profile) for name, profile in profiles.PROFILES.items()},
        "SERVER_PROFILE": asdict(mock.worlds.profile({})),
    }
    module = b"".join(b"export const %b = %b;\n" % (name.encode(), to_json(value)) for name, value in facts.items())
    return _response(module, _tag(module), "js", etags)


@router.get("/static/{name}")
async def get_dashboard_asset(request: Request, name: str, etags: IfNoneMatch = "") -> Response:
    if name not in _assets():
        raise errors.UNKNOWN_URL(method="GET", path=request.url.path)
    return _file(name, etags)


async def show_entrance(etags: IfNoneMatch = "") -> Response:
    """Return the page for browsers at `/`, where the API has no route."""
    return _file("entrance.html", etags)


@cache
def _assets() -> dict[str, tuple[bytes, str]]:
    """Return contents and ETags by name."""
    found = {each.name: each.read_bytes() for each in files("mockserver.control").joinpath("static").iterdir()}
    return {name: (data, _tag(data)) for name, data in found.items()}


def _tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _file(name: str, etags: str) -> Response:
    return _response(*_assets()[name], name.rpartition(".")[2], etags)


def _response(data: bytes, tag: str, kind: str, etags: str) -> Response:
    headers = {**_HEADERS, "etag": tag}
    if tag in etags:
        return Response(None, 304, headers)
    return Response(data, 200, {**headers, "content-type": _TYPES[kind]})
