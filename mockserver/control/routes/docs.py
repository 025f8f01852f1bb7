"""The documentation of the control plane as a page, with all files that it loads.

Swagger UI comes with the package fastapi-offline, of which only the files are used.
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

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mockserver control plane</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="page"></div>
<script src="static/theme.js"></script>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """const { theme } = document.documentElement.dataset;
const systemIsDark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme !== "light" && systemIsDark));

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    request.headers["x-mock-dashboard"] = "docs";
    return request;
  },
});
"""
_MEDIA_TYPES = {
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


@router.get("/docs")
async def show_docs() -> Response:
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
    return Response(_PAGE, 200, headers, "text/html")


@router.get("/docs/{name}")
async def get_docs_asset(request: Request, name: str) -> Response:
    if name not in _MEDIA_TYPES:
        raise errors.UNKNOWN_URL(method="GET", path=request.url.path)
    headers = {"cache-control": "max-age=3600", "x-content-type-options": "nosniff"}
    return Response(_START if name == "start.js" else _asset(name), 200, headers, _MEDIA_TYPES[name])


@cache
def _asset(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()
