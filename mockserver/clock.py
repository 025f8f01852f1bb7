"""Time. The only module that asks the machine what time it is.

Every instant here is in seconds since the Unix epoch. The wire has whole seconds, so
`Clock.seconds` is what rules compare and answers show.
"""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

stopwatch = time.perf_counter
"""Seconds for measuring how long something took; says nothing of the date."""


class Wall:
    """The machine's time, read once and carried on by the monotonic clock.

    A step of the machine's clock (NTP, a laptop that wakes up) moves no container closer to its
    expiry while the server runs.
    """

    _time, _monotonic = staticmethod(time.time), staticmethod(time.monotonic)
    """Held here, where libraries that freeze a test's time, in whose process we may be, don't replace them."""

    def __init__(self) -> None:
        self._anchor = self._time() - self._monotonic()

    def now(self) -> float:
        return self._anchor + self._monotonic()


@dataclass(frozen=True, slots=True)
class Clock:
    """A world's time: `rate` virtual seconds pass for each second since `wall`, from `virtual` on."""

    virtual: float = 0.0
    wall: float = 0.0
    rate: float = 1.0

    def at(self, wall: float) -> float:
        """Never beyond `MAX_SECONDS`, where a fast clock stops."""
        instant = self.virtual + (wall - self.wall) * self.rate
        return instant if -MAX_SECONDS <= instant <= MAX_SECONDS else within_bounds(instant)

    def seconds(self, wall: float) -> int:
        return int(self.at(wall) // 1)

    @property
    def mode(self) -> Literal["real", "offset", "frozen", "scaled"]:
        """`real`, `offset`, `frozen` or `scaled`."""
        if self.rate == 0:
            return "frozen"
        if self.rate != 1:
            return "scaled"
        return "real" if self.virtual == self.wall else "offset"

    def frozen(self, wall: float, at: float | None = None) -> "Clock":
        """Standing still: where it is, or at an instant."""
        return Clock(self.at(wall) if at is None else at, wall, 0.0)

    def advanced(self, wall: float, seconds: float) -> "Clock":
        """Further by so many virtual seconds, and going on as before."""
        return Clock(self.at(wall) + seconds, wall, self.rate)


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_SIMPLE = re.compile(r"(?:\d+(?:\.\d+)?[wdhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")
_ISO = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

MAX_SECONDS = 253_402_300_799.0
"""The longest duration, and the farthest instant from 1970: the last second of the year 9999, past which dates end."""
MAX_TEXT = 100
"""Characters of a duration or an instant."""


def within_bounds(instant: float) -> float:
    """The nearest instant that can be represented."""
    return min(max(-MAX_SECONDS, instant), MAX_SECONDS)


def parse_duration(text: str) -> float:
    """Seconds in `20m`, `1h30m`, `PT20M` or `90`; a sign may lead. ValueError says what is wrong."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{text[:MAX_TEXT]!r} … is too long for a duration; write 20m, PT20M or a number of seconds")
    bare = text.strip()
    sign = -1.0 if bare[:1] == "-" else 1.0
    bare = bare[1:] if bare[:1] in ("-", "+") else bare
    if _NUMBER.fullmatch(bare):
        seconds = float(bare)
    elif _SIMPLE.fullmatch(bare):
        seconds = sum(float(n) * _UNITS[u] for n, u in _PART.findall(bare))
    elif (iso := _ISO.fullmatch(bare)) and any(iso.groups()):
        seconds = sum(float(n) * _UNITS[u] for u, n in iso.groupdict().items() if n)
    else:
        raise ValueError(f"{text!r} is not a duration; write 20m, 1h30m, PT20M or a number of seconds")
    if seconds > MAX_SECONDS:
        raise ValueError(f"{text!r} is longer than the {MAX_SECONDS:.0f} seconds that can be represented")
    return sign * seconds


def duration(value: object) -> float:
    """Seconds in a value of JSON or YAML: a number, or a text as `parse_duration` takes it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("write 20m, PT20M or a number of seconds")
    if isinstance(value, str):
        return parse_duration(value)
    if not abs(value) <= MAX_SECONDS:  # not a number included
        raise ValueError(f"a duration is at most {MAX_SECONDS:.0f} seconds long")
    return float(value)


def instant(value: object) -> float:
    """Seconds since the epoch in a value of JSON or YAML: a number, or a text as `parse_instant` takes it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("write 2026-01-31T12:00:00Z or seconds since 1970")
    if isinstance(value, str):
        return parse_instant(value)
    return _bounded_instant(value)


def parse_instant(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 date and time; without a zone it means UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text[:MAX_TEXT]!r} is not an instant; write 2026-01-31T12:00:00Z") from None
    return _bounded_instant((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _bounded_instant(seconds: float) -> float:
    if not abs(seconds) <= MAX_SECONDS:  # not a number included
        raise ValueError(f"an instant is at most {MAX_SECONDS:.0f} seconds from 1970")
    return float(seconds)
