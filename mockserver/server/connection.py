"""One connection: what faults do to it, how fast a body has to come, and how much of an unread body is drained."""

import asyncio
import socket
import struct
import sys
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from mockserver import errors
from mockserver.api.exchange import COMPLETE
from mockserver.clock import stopwatch

BODY_IGNORED = ("GET", "HEAD", "DELETE", "OPTIONS")
"""Methods whose bodies are ignored. Their connections stay open."""

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


class Held(FlowControl):
    """Flow control of a connection that reads nothing, whatever its requests and responses ask for."""

    def resume_reading(self) -> None:
        pass


class Connection(RequestResponseCycle):
    """uvicorn's cycle of a request and its response, as faults and streams use it too.

    It implements `api.exchange.Connection`. A complete response is sent in one write instead of two; its headers
    are the server's own and need none of uvicorn's checks.
    """

    _head = b""
    _pace: Pace | None = None
    _timed_out = False

    async def receive(self) -> Any:
        """Return the received body itself instead of a copy. Raises APIError if the rest does not come in time."""
        if not self.waiting_for_100_continue and self.body and not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            self.message_event.clear()
            body, self.body = self.body, b""  # type: ignore[assignment]  # as in on_headers_complete
            return {"type": "http.request", "body": body, "more_body": self.more_body}
        if not self.more_body or self.response_started or self.disconnected or self.message_event.is_set():
            return await super().receive()
        if (pace := self._pace) is None:
            pace = self._pace = Pace(self._protocol.body_timeout, self._protocol.body_rate)
        started = stopwatch()
        timer = asyncio.get_running_loop().call_later(pace.left, self._time_out)
        try:
            message = await super().receive()
        finally:
            timer.cancel()
        if message["type"] == "http.request":
            pace.count(stopwatch() - started, len(message["body"]))
            if self._timed_out and self.more_body and not message["body"]:
                raise errors.BODY_TIMED_OUT(seconds=f"{pace.timeout:g}", rate=pace.rate)
        return message

    @property
    def _protocol(self) -> Any:
        """The `server.protocol.Protocol` of an open connection. The transport forgets it when the connection is lost."""
        return self.transport.get_protocol()

    def _time_out(self) -> None:
        self._timed_out, self.keep_alive = True, False
        self.message_event.set()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if self.more_body and self.scope["method"] not in BODY_IGNORED:
                self.keep_alive = False  # not every client sends the rest of its body after the response
            if (
                not message.get(COMPLETE)
                or self.scope["method"] == "HEAD"
                or self.flow.write_paused
                or self.disconnected
                or not self.keep_alive
            ):
                await super().send(message)
                return
            headers = [b"%b: %b\r\n" % header for header in (*self.default_headers, *message["headers"])]
            self._head = b"".join([STATUS_LINE[message["status"]], *headers, b"\r\n"])
            self.response_started, self.waiting_for_100_continue = True, False
            return
        if self._head:
            self.transport.write(self._head + message["body"])
            self._head, self.response_complete = b"", True
            self.message_event.set()
            self.on_response()
            return
        if not (self.keep_alive or self.disconnected or message.get("more_body", False)):
            self.keep_alive, self.on_response = True, self._protocol.finish  # which drains the body, as uvicorn doesn't
        await super().send(message)

    @property
    def gone(self) -> bool:
        return self.disconnected or self.transport.is_closing()

    def close(self) -> None:
        self.disconnected = True  # so that uvicorn sends nothing further and logs no incomplete response
        if not self.transport.is_closing():
            self._protocol.finish()

    def close_on_eof(self) -> None:
        """Treat a client that closes its side as gone: no client of a stream or a long poll half-closes on purpose."""
        if not self.transport.is_closing():
            self._protocol.close_on_eof = True
            if self._protocol.half_closed:
                self.transport.close()

    def abort(self) -> None:
        """Close at once. Bytes not yet sent are lost."""
        self.disconnected = True
        self.transport.abort()

    async def reset(self) -> None:
        self.disconnected = True
        transport = self.transport
        deadline = stopwatch() + RESET_SECONDS
        while _unsent(transport) and stopwatch() < deadline and await self.wait(0.001):
            pass  # a reset discards bytes that are not yet sent
        if opened := transport.get_extra_info("socket"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
        transport.abort()

    async def wait(self, seconds: float) -> bool:
        if self.transport.is_closing():
            return False
        protocol = self._protocol
        protocol.delayed = not self.response_started
        if protocol.half_closed and protocol.delayed:
            self.close()
            return False
        protocol.gone = asyncio.get_running_loop().create_future()
        try:
            done, _ = await asyncio.wait([protocol.gone], timeout=seconds)
        finally:
            protocol.gone = None
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
