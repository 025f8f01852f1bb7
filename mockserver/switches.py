"""A switch of a profile: its description, its values, and how they are parsed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mockserver.choices import unknown
from mockserver.clock import duration

MAX_MINUTES = 10 * 366 * 24 * 60
"""The longest expiry of a container: ten years."""

Value = bool | int | str


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch and its description. `takes` names its values; `read` parses one and raises ValueError.

    `evidence` says how the behavior of the live API is known, by a grade of `errors`, and what is known.
    """

    name: str
    default: Value
    meaning: str
    takes: str
    read: Callable[[object], Value]
    evidence: str


def yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    values = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in values:
        return values[value.lower()]
    raise ValueError(f"{cut(value)} is neither yes nor no")


def one_of(*values: int | str) -> "Read":
    def read(value: object) -> int | str:
        for each in values:
            if str(value) == str(each):
                return each
        raise ValueError(unknown("value", value, values))

    return ", ".join(map(str, values)), read


def _minutes(value: object) -> int:
    text = str(value)
    if text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= MAX_MINUTES:
        return int(text)
    raise ValueError(f"{cut(value)} is not a whole number from 1 to {MAX_MINUTES}")


def _seconds(value: object) -> int:
    seconds = duration(value)
    if not 0 <= seconds <= MAX_MINUTES * 60 or seconds != int(seconds):
        raise ValueError(f"{cut(value)} is not a duration of whole seconds up to ten years")
    return int(seconds)


def cut(value: object) -> str:
    return repr(value)[:80]


Read = tuple[str, Callable[[object], Value]]
"""The names of a switch's values, and a function that parses one from text, JSON or YAML."""

YES_OR_NO: Read = ("yes, no", yes_or_no)
MINUTES: Read = (f"1 to {MAX_MINUTES}", _minutes)
SECONDS: Read = ("a duration", _seconds)


def switch(default: Value, meaning: str, evidence: str, takes: Read = YES_OR_NO) -> Any:
    return field(default=default, metadata={"switch": (default, meaning, *takes, evidence)})
