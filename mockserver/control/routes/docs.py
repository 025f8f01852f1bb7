"""The documentation of the control plane as a page, with all files that it loads.

Swagger UI comes with the package fastapi-offline, of which only the files are used. The page and what starts it are in
`control/docs/`.
"""

from functools import cache
from importlib.resources import files

from fastapi import Request
from starlette.responses import Response

from mockserver import errors
from mockserver.control.dependencies import new_router

router = new_router()

_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets inline styles, and needs no other script than its own."""

_MEDIA_TYPES = {
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


@router.get("/docs")
async def show_docs() -> Response:
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
    return Response(_asset("index.html"), 200, headers, "text/html")


@router.get("/docs/{name}")
async def get_docs_asset(request: Request, name: str) -> Response:
    if name not in _MEDIA_TYPES:
        raise errors.UNKNOWN_URL(method="GET", path=request.url.path)
    headers = {"cache-control": "max-age=3600", "x-content-type-options": "nosniff"}
    return Response(_asset(name), 200, headers, _MEDIA_TYPES[name])


@cache
def _asset(name: str) -> bytes:
    package, folder = ("fastapi_offline", "static") if name.startswith("swagger") else ("mockserver.control", "docs")
    return files(package).joinpath(folder, name).read_bytes()
