"""What the control plane's routes share: the mock, how durations are written, how refusals look."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BeforeValidator, ConfigDict
from pydantic_core import to_json
from starlette.responses import Response

from mockserver.bounds import FewKeys
from mockserver.clock import duration, instant
from mockserver.errors import APIError
from mockserver.mock import Mock


class Asked(FewKeys):
    """A request's body: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


async def _the_mock(request: Request) -> Mock:  # not `def`: FastAPI would go through a thread for each request
    mock: Mock = request.app.state.mock
    return mock


TheMock = Annotated[Mock, Depends(_the_mock)]
Duration = Annotated[float, BeforeValidator(duration, json_schema_input_type=str | float)]
"""Seconds; written `20m`, `1h30m`, `PT20M` or as a number."""
Instant = Annotated[float, BeforeValidator(instant, json_schema_input_type=str | float)]
"""Seconds since the epoch; written so, or as 2026-01-31T12:00:00Z."""


def refused(error: APIError) -> Response:
    """A refusal in the one shape that all of the server's have."""
    return Response(to_json(error.body(), indent=2), error.status, error.headers, "application/json")
