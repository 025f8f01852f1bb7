"""One connection: what faults do to it, how fast a body has to come, and how much of an unread body is drained."""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mockserver.clock import stopwatch

RESET_SECONDS = 5.0
"""How long a reset waits until the client has acknowledged the bytes sent before."""
DRAIN_SECONDS = 300.0
"""The longest time for which an unread body is drained."""
DRAIN_TIMEOUT = 10.0
"""How long an unread body may stop, or be slower than the lowest rate. The server's timeout applies if it is shorter."""
LINGER = "hh" if sys.platform == "win32" else "ii"
"""The layout of `struct linger`."""


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


@dataclass(slots=True)
class Client:
    """The client's side of a connection."""

    half_closed: bool = False
    """Whether the client has closed its side and waits for responses."""
    close_on_eof: bool = False
    """Whether a client that closes its side counts as gone."""
    delayed: bool = False
    """Whether the response that `gone` delays has not started."""
    gone: asyncio.Future[None] | None = None
    """Set while a fault delays a response; done when the client has gone."""


class Connection:
    """The connection of one request, as faults and streams use it. Implements `api.fault_injection.Connection`."""

    __slots__ = ("_client", "_cycle", "_finish", "_transport")

    def __init__(
        self, transport: asyncio.Transport, cycle: RequestResponseCycle, client: Client, finish: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._cycle = cycle
        self._client = client
        self._finish = finish

    @property
    def gone(self) -> bool:
        return self._cycle.disconnected or self._transport.is_closing()

    def close(self) -> None:
        self._cycle.disconnected = True  # so that uvicorn sends nothing further and logs no incomplete response
        self._finish()

    def close_on_eof(self) -> None:
        """Treat a client that closes its side as gone: no client of a stream or a long poll half-closes on purpose."""
        self._client.close_on_eof = True
        if self._client.half_closed:
            self._transport.close()

    def abort(self) -> None:
        """Close at once. Bytes not yet sent are lost."""
        self._cycle.disconnected = True
        self._transport.abort()

    async def reset(self) -> None:
        self._cycle.disconnected = True
        transport = self._transport
        deadline = stopwatch() + RESET_SECONDS
        while _unsent(transport) and stopwatch() < deadline and await self.wait(0.001):
            pass  # a reset discards bytes that are not yet sent
        if opened := transport.get_extra_info("socket"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
        transport.abort()

    async def wait(self, seconds: float) -> bool:
        client = self._client
        if self._transport.is_closing():
            return False
        client.delayed = not self._cycle.response_started
        if client.half_closed and client.delayed:
            self.close()
            return False
        client.gone = asyncio.get_running_loop().create_future()
        try:
            done, _ = await asyncio.wait([client.gone], timeout=seconds)
        finally:
            client.gone = None
        return not done


def _unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes the client has not acknowledged; where the system doesn't say, how many are buffered."""
    buffered = transport.get_write_buffer_size()
    opened = transport.get_extra_info("socket")
    if buffered or opened is None or sys.platform != "linux":
        return buffered
    from fcntl import ioctl
    from termios import TIOCOUTQ

    return int(struct.unpack("i", ioctl(opened.fileno(), TIOCOUTQ, b"\0" * 4))[0])
