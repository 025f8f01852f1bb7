"""The values in seeds: times, names, ids, and the numbers of repeated objects."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo

from mockserver import ids
from mockserver.clock import MAX_SECONDS, instant, parse_duration, within_bounds
from mockserver.schema.lists import MAX_NAME
from mockserver.schema.skills import VersionLabel
from mockserver.schema.values import STORED, WithContent


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a seed, in seconds from the template's instant or since the epoch."""

    seconds: float
    relative: bool

    def at(self, now: int) -> int:
        return int(within_bounds((now if self.relative else 0) + self.seconds // 1))


NOW = Moment(0, relative=True)


def _moment(value: object, info: ValidationInfo) -> Moment:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("write -19m, +2h, 2026-01-31T12:00:00Z, or seconds since 1970")
    if isinstance(value, str) and value[:1] in ("-", "+"):
        return Moment(parse_duration(value), relative=True)
    if isinstance(value, int) and value < 0 and info.context != STORED:  # an export may have it, of a world's clock
        raise ValueError(f"{value} is not an instant; write {value}m for minutes ago, or 1969-12-31T00:00:00Z")
    return Moment(instant(value), relative=False)


Time = Annotated[Moment, BeforeValidator(_moment, json_schema_input_type=int | str)]
Second = Annotated[int, Field(ge=-MAX_SECONDS, le=MAX_SECONDS)]
Id = Annotated[str, Field(pattern=f"^{ids.FREE}$")]
Name = Annotated[str, Field(max_length=MAX_NAME)]
Repeat = Annotated[int, Field(ge=1, le=100_000)]


SkillNumber = Annotated[VersionLabel, Field(pattern=f"^{ids.FREE}$")]
"""Usually a number, from 1."""


def numbers(repeat: int | None) -> Iterable[int | None]:
    """Return the numbers of the objects that a repeated one describes; None alone if it is not repeated."""
    return [None] if repeat is None else range(1, repeat + 1)


def is_numbered(item: object) -> bool:
    """Whether the number of a repeated object is part of its content."""
    return isinstance(item, WithContent) and item.content is not None and "{n}" in item.content


def numbered(text: str, n: int | None) -> str:
    return text if n is None else text.replace("{n}", str(n))
