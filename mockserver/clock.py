"""Read, compute and parse times. The only module that reads the machine's clock.

Every instant here is in seconds since the Unix epoch. The wire has whole seconds, so
rules compare `Clock.seconds` and responses show them.
"""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

stopwatch = time.perf_counter
"""Return seconds for measuring how long something takes, from an arbitrary start."""


class Wall:
    """The machine's time, read once and continued by the monotonic clock.

    While the server runs, a step of the machine's clock (NTP, a laptop that wakes up) doesn't change when a
    container expires.
    """

    _time, _monotonic = staticmethod(time.time), staticmethod(time.monotonic)
    """Kept as attributes, because libraries that freeze time in a test's process replace the functions of `time`."""

    def __init__(self) -> None:
        self._anchor = self._time() - self._monotonic()

    def now(self) -> float:
        return self._anchor + self._monotonic()


def log_time() -> str:
    """Return the machine's local time in the form of `logging`: `2026-01-31 12:00:00,123`."""
    now = time.time()
    return f"{_local(int(now))},{int(now % 1 * 1000):03d}"


@lru_cache(1)
def _local(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


@dataclass(frozen=True, slots=True)
class Clock:
    """A world's time: it was `virtual` at `wall`, and `rate` virtual seconds pass in each second since then."""

    virtual: float = 0.0
    wall: float = 0.0
    rate: float = 1.0

    def at(self, wall: float) -> float:
        """Return the virtual time at a wall time; a fast clock stops at `MAX_SECONDS`."""
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
        """Return the clock stopped at its current time, or at an instant."""
        return Clock(self.at(wall) if at is None else at, wall, 0.0)

    def advanced(self, wall: float, seconds: float) -> "Clock":
        """Return the clock moved forward by virtual seconds, at the same rate."""
        return Clock(self.at(wall) + seconds, wall, self.rate)


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_SIMPLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[wdhms]))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])", re.ASCII)
_ISO = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

MAX_SECONDS = 253_402_300_799.0
"""The longest duration, and the farthest instant from 1970: the last second of the year 9999, past which dates end."""
MAX_TEXT = 100
"""Characters of a duration or an instant."""


def within_bounds(instant: float) -> float:
    """Return the nearest instant that can be represented."""
    return min(max(-MAX_SECONDS, instant), MAX_SECONDS)


def calendar(instant: float) -> datetime | None:
    """Return the date and time of an instant; None for a year that no calendar has."""
    try:
        return datetime.fromtimestamp(instant, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def later(instant: int, seconds: int) -> int:
    """Return the instant that many seconds later, or the last one that can be represented."""
    return int(within_bounds(instant + seconds))


def parse_duration(text: str) -> float:
    """Parse a duration into seconds: `20m`, `1h30m`, `PT20M` or `90`, with an optional sign. Raises ValueError."""
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
    """Return the seconds of a duration in JSON or YAML: a number, or text that `parse_duration` accepts."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("write 20m, PT20M or a number of seconds")
    if isinstance(value, str):
        return parse_duration(value)
    if not abs(value) <= MAX_SECONDS:  # not a number included
        raise ValueError(f"a duration is at most {MAX_SECONDS:.0f} seconds long")
    return float(value)


def instant(value: object) -> float:
    """Return the seconds since the epoch of an instant in JSON or YAML: a number, or text for `parse_instant`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("write 2026-01-31T12:00:00Z or seconds since 1970")
    if isinstance(value, str):
        return parse_instant(value)
    return _bounded_instant(value)


def parse_instant(text: str) -> float:
    """Parse an ISO 8601 date and time into seconds since the epoch; the default zone is UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text[:MAX_TEXT]!r} is not an instant; write 2026-01-31T12:00:00Z") from None
    return _bounded_instant((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _bounded_instant(seconds: float) -> float:
    if not abs(seconds) <= MAX_SECONDS:  # not a number included
        raise ValueError(f"an instant is at most {MAX_SECONDS:.0f} seconds from 1970")
    return float(seconds)
