"""Values of fault rules, answers and seeds: counts, durations, instants, names of errors."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from mockserver import errors
from mockserver.choices import unknown
from mockserver.clock import MAX_SECONDS, duration, instant


def not_negative(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("a duration can't be negative here; write 0 or more")
    return seconds


def _error(name: str) -> str:
    if name not in errors.CATALOGUE:
        raise ValueError(unknown("error", name, errors.CATALOGUE))
    return name


Count = Annotated[int, Field(ge=0, le=1 << 53)]
Times = Annotated[int, Field(ge=1, le=1 << 53)]
Duration = Annotated[float, BeforeValidator(duration, json_schema_input_type=str | float)]
"""Seconds; sent as `20m`, `1h30m`, `PT20M` or a number."""
Seconds = Annotated[Duration, AfterValidator(not_negative), Field(le=MAX_SECONDS)]
Instant = Annotated[float, BeforeValidator(instant, json_schema_input_type=str | float)]
"""Seconds since the epoch; sent as a number or as 2026-01-31T12:00:00Z."""
ErrorName = Annotated[str, AfterValidator(_error)]
