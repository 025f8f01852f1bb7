"""How fast a body has to come, and how much of an unread body is drained."""

from mockserver.clock import stopwatch

DRAIN_SECONDS = 300.0
"""The longest time for which an unread body is drained."""
DRAIN_TIMEOUT = 10.0
"""How long an unread body may stop, or be slower than the lowest rate. The server's timeout applies if it is shorter."""


class Pace:
    """Checks that a body comes fast enough. `left` is how many seconds it may still be waited for.

    Each second of waiting takes one away; the bytes of one second at the lowest rate give one back.
    """

    __slots__ = ("left", "rate", "timeout")

    def __init__(self, timeout: float, rate: int) -> None:
        self.left = self.timeout = timeout
        self.rate = rate

    def count(self, seconds: float, size: int) -> None:
        left = self.left - seconds + size / self.rate if self.rate else self.timeout
        self.left = min(self.timeout, left)


class Drain:
    """Bounds how many bytes of an unread body are drained, and for how long."""

    __slots__ = ("_bytes_left", "_end", "_last", "_pace")

    def __init__(self, limit: int, timeout: float, rate: int) -> None:
        self._bytes_left = limit
        self._pace = Pace(min(timeout, DRAIN_TIMEOUT), rate)
        self._last = stopwatch()
        self._end = self._last + DRAIN_SECONDS

    def allows(self, size: int) -> bool:
        """Count bytes that were received. False if they are too many or came too late."""
        now = stopwatch()
        self._pace.count(now - self._last, size)
        self._last = now
        self._bytes_left -= size
        return self._bytes_left >= 0 and self.seconds_left() > 0

    def seconds_left(self) -> float:
        """Return within how many seconds the next bytes have to come."""
        now = stopwatch()
        return min(self._pace.left - (now - self._last), self._end - now)
