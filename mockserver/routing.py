"""What the API and the control plane share: the class of their routes, the check of a key, the response to an error."""

import hmac
from collections.abc import Callable
from threading import RLock
from typing import Any

from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.responses import Response
from starlette.routing import compile_path

from mockserver.schema.errors import APIError

_describing = RLock()
"""The OpenAPI document is made in a thread."""


class LateRoute(APIRoute):
    """A route that FastAPI describes when it is first used, or for the OpenAPI document.

    To do so for all routes would take a tenth of a start, and two thirds of the time until the control plane responds.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.path, self.endpoint, self.methods = path, endpoint, set(options["methods"])
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self._options = options

    def __getattr__(self, name: str) -> Any:
        """Return one of the attributes that are missing until FastAPI has described the route."""
        with _describing:
            if options := vars(self).pop("_options", None):
                super().__init__(self.path, self.endpoint, **options)
        return object.__getattribute__(self, name)


def same_secret(given: str, wanted: str) -> bool:
    """Compare keys or tokens, in a time that tells nothing about them."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def error_response(error: APIError) -> Response:
    """Return an error in the shape that all errors of the server have."""
    return Response(to_json(error.body(), indent=2), error.status, error.headers, "application/json")
