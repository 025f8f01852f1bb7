"""The connection: uvicorn's protocol, with bounds, the API's own refusals, and what faults do to it."""

import asyncio
import socket
import struct
import sys
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mockserver import errors, ids
from mockserver.api.exchange import WHOLE, standing_headers
from mockserver.clock import stopwatch

RESET_SECONDS = 5.0
"""How long a connection that is to be reset waits for its client to take what was sent before."""
RECEIVE_BYTES = 256 * 1024
"""The most that is read at once."""
HEAD_BYTES = 64 * 1024
"""The longest request line and headers taken, together."""
HEADERS = 1_000
"""The most headers taken. Each has more than one byte, so that fewer bytes need no count."""
HEAD_SECONDS = 60.0
"""How long they may take to come in; for a connection's first ones from its beginning."""
FRAMING_BYTES, FRAMING_RATIO = RECEIVE_BYTES + 128 * 1024, 16
"""What a body may come wrapped in, chunk by chunk and with its trailers: the ratio allows chunks of one byte. What
was read together with the head counts, even what precedes it."""
DRAIN_BYTES = 64 << 20
"""How much of an unread body is drained, if the server's limits for bodies are lower."""
DRAIN_OVERHEAD = 4 << 20
"""What framing and the fields of a form may add to the largest body."""
DRAIN_SECONDS = 300.0
"""The longest time for which an unread body is drained."""
DRAIN_PATIENCE = 10.0
"""How long an unread body may stop, or be slower than the least rate."""
BODILESS = ("GET", "HEAD", "DELETE", "OPTIONS")
"""Methods whose bodies are ignored. The connection is kept."""
LINGER = "hh" if sys.platform == "win32" else "ii"
"""The layout of `struct linger`."""


class Protocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """uvicorn's, but that what is no HTTP gets the API's envelope too, that heads are bounded in size and time, that
    faults reach the connection, and that an offer of another protocol (the JDK's client offers HTTP/2 with its first
    request) is passed over."""

    received: memoryview
    """What has just come in, on whichever connection of the server: it is taken out before anything else is read."""
    body_seconds: float
    """How long a body may stop, or be slower than `body_rate`, while it is waited for."""
    body_rate: int
    """The least rate of a body, in bytes a second; 0 for none."""
    drain_bytes: int
    drain_import_bytes: int
    """How much of an unread body is drained; the control plane imports archives, which are larger."""
    delaying = False
    """Whether the response that `waiting` delays has not started."""
    closing = False
    """Whether the response that has just been written is the last one."""
    close_on_eof = False
    """Whether a client that closes its side counts as gone."""
    half_closed = False
    """Whether the client has closed its side and waits for responses."""
    waiting: asyncio.Future[None] | None = None
    """Done when the client has gone, while a fault holds up an answer."""
    _refusal: errors.APIError | None = None
    _refused = False
    _in_head = False
    _all_head = False
    """Whether this packet, as far as it was read, is of one head."""
    _head_at_least = _head_at_most = 0
    """Bytes of the head in earlier packets; the first of them may have held other things too."""
    _packet = _received = _body = 0
    """Bytes of this packet; since the last head, of all packets and of the body in them."""
    _deadline: asyncio.TimerHandle | None = None
    _in_body = False
    """Whether more of the last request's body is to come."""
    _draining: "_Draining | None" = None
    _stopping = False
    """Whether the server stops, and waits for requests under way but for nothing else."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.received

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self.received[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        if self._draining and not self._draining.takes(len(data)):
            self.transport.close()
            return
        if self._refused:
            return
        self._all_head, self._packet = self._in_head, len(data)
        self._feed(data)
        self._received += self._packet
        if self._in_head:
            self._head_at_least += len(data) if self._all_head else 0
            self._head_at_most += len(data)
            if self._head_at_least > HEAD_BYTES:
                self._refuse(errors.HEAD_TOO_LARGE(limit=HEAD_BYTES))
            elif self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        elif self._received > FRAMING_BYTES + FRAMING_RATIO * self._body and not self._refused:
            self._refuse(errors.MALFORMED_HTTP())
        elif (
            self.timeout_keep_alive_task is None
            and self.cycle
            and self.cycle.response_complete
            and not (self._draining or self._refused)
        ):
            # What came is nothing to be answered, as a body that nobody reads: the connection is idle as before.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._all_head, self._head_at_least, self._head_at_most = True, False, 0, 0

    def _feed(self, data: bytes | memoryview) -> None:
        self._unset_keepalive_if_required()
        while data:  # again for each offer in it
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as offer:
                data = self._pass_over(data[offer.args[0] :])
            except httptools.HttpParserError:
                data = b""
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("")

    def _pass_over(self, rest: bytes | memoryview) -> bytes:
        """What to read again, as if the request had not offered to speak otherwise: the parser gave up on its body."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in tokens if token.lower() not in (b"upgrade", b"http2-settings"))
            if name not in (b"upgrade", b"http2-settings") and (value or name != b"connection"):
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*lines, b"", b""]) + rest

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._received = self._body = 0
        self._cancel_deadline()
        if self._head_at_most + self._packet > HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEAD_BYTES or len(self.headers) > HEADERS:
                self._refusal = errors.HEAD_TOO_LARGE(limit=HEAD_BYTES)
                raise ValueError("the head is too large")
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise ValueError("the request line names no version that is spoken here")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
            return
        if version == "1.0":
            self.expect_100_continue = False
        super().on_headers_complete()
        self._in_body = True
        self.cycle.__class__ = _Cycle  # uvicorn makes its own; the task that runs it starts later
        self.cycle.body = b""  # type: ignore[assignment]  # what is added to that is not copied
        self.scope["mockserver.connection"] = _Connection(self, self.cycle)  # type: ignore[typeddict-unknown-key]  # our own key
        self.headers = []  # trailers are no headers, nor for the journal to remember

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if isinstance(self.cycle.body, bytes) and self.cycle.body:
            self.cycle.body = bytearray(self.cycle.body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._in_body = False
            if self._draining:
                self._draining = None
                self._cancel_deadline()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.closing:
            self.server_state.total_requests += 1
            self.finish()
            return
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            self._drain()

    def finish(self) -> None:
        """Close the connection. While the client is sending, close one side and drain: a reset would lose the response."""
        if not (self._in_body or self._refused) or self._stopping or self.transport.is_closing():
            self.transport.close()
            return
        self._refused = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._drain()

    def _drain(self) -> None:
        """Read and discard what the client still sends, within bounds."""
        imports = (self.scope or {}).get("path", "").startswith("/_mock/")
        limit = (self.drain_import_bytes if imports else self.drain_bytes) + DRAIN_OVERHEAD
        self._draining = _Draining(limit, min(self.body_seconds, DRAIN_PATIENCE), self.body_rate)
        self._watch_drain()

    def _watch_drain(self) -> None:
        if self._draining is None:
            return
        self._cancel_deadline()
        if (left := self._draining.left()) > 0:
            self._deadline = self.loop.call_later(left, self._watch_drain)
        else:
            self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's always closes
        """Keep a connection whose client has sent complete requests and then closed its side, until it is served.

        While a fault delays the response, such a client counts as gone: one that gives up waiting looks the same.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.close_on_eof:
            return False
        if self.waiting and self.delaying:
            return False
        self.half_closed, cycle.keep_alive = True, False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel_deadline()
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(None)

    def shutdown(self) -> None:
        if self.waiting:
            self.transport.abort()  # nobody wants to wait for minutes until the server stops
        elif self._draining:
            self.transport.close()
        self._stopping = True
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or errors.MALFORMED_HTTP())

    def _refuse(self, error: errors.APIError) -> None:
        self._refused, self._in_head = True, False
        if self.cycle and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False  # what was asked in front of it gets its own answer, and no other
            return
        if self._in_body and self.cycle.response_started:  # the client has its response, or a part of it
            self.cycle.disconnected = not self.cycle.response_complete
            self.cycle.message_event.set()
            self.finish()
            return
        body = orjson.dumps(error.body(), option=orjson.OPT_INDENT_2)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *standing_headers(ids.request(), stopwatch()),
            (b"connection", b"close"),
        ]
        if self.pipeline:  # those in front of it are answered first

            async def refuse(scope: Any, receive: Any, send: Any) -> None:
                await send({"type": "http.response.start", "status": error.status, "headers": headers})
                await send({"type": "http.response.body", "body": body})

            self.pipeline[0] = (self.cycle, refuse)
            return
        headers = [*self.server_state.default_headers, *headers]
        reason = HTTPStatus(error.status).phrase.encode()
        lines = [b"HTTP/1.1 %d %b" % (error.status, reason), *(b"%b: %b" % header for header in headers), b"", body]
        self.transport.write(b"\r\n".join(lines))
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the rest of the body that it waits for won't come
            self.cycle.message_event.set()
        self.finish()


class _Cycle(RequestResponseCycle):
    """uvicorn's, but that an answer which comes whole leaves in one write, not in two.

    The headers of such an answer are the server's own, and need none of uvicorn's checks.
    """

    _head = b""
    _pace: "_Pace | None" = None
    _given_up = False

    async def receive(self) -> Any:
        """With the body as it was gathered, instead of a copy. Raises APIError where no more of it comes."""
        if not self.waiting_for_100_continue and self.body and not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            self.message_event.clear()
            body, self.body = self.body, b""  # type: ignore[assignment]  # as at the beginning
            return {"type": "http.request", "body": body, "more_body": self.more_body}
        if not self.more_body or self.response_started or self.message_event.is_set():
            return await super().receive()
        if (pace := self._pace) is None:
            protocol = self._protocol()
            pace = self._pace = _Pace(protocol.body_seconds, protocol.body_rate)
        since = stopwatch()
        waiting = asyncio.get_running_loop().call_later(pace.left, self._give_up)
        try:
            message = await super().receive()
        finally:
            waiting.cancel()
        if message["type"] == "http.request":
            pace.count(stopwatch() - since, len(message["body"]))
            if self._given_up and self.more_body and not message["body"]:
                raise errors.BODY_TIMED_OUT(seconds=f"{pace.patience:g}", rate=pace.rate)
        return message

    def _protocol(self) -> Protocol:
        protocol = self.transport.get_protocol()
        assert isinstance(protocol, Protocol)
        return protocol

    def _give_up(self) -> None:
        self._given_up, self.keep_alive = True, False
        self.message_event.set()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if self.more_body and self.scope["method"] not in BODILESS:
                self.keep_alive = False  # not every client sends the rest of its body after the response
            size = message.get(WHOLE)
            if (
                size is None
                or self.scope["method"] == "HEAD"
                or self.flow.write_paused
                or self.disconnected
                or not self.keep_alive
            ):
                await super().send(message)
                return
            head = [STATUS_LINE[message["status"]]]
            for name, value in (*self.default_headers, *message["headers"]):
                head += (name, b": ", value, b"\r\n")
            head.append(b"\r\n")
            self._head = b"".join(head)
            self.response_started, self.waiting_for_100_continue = True, False
            self.chunked_encoding, self.expected_content_length = False, len(self._head) + size
            return
        if self._head:
            message, self._head = {**message, "body": self._head + message["body"]}, b""
        if not (self.keep_alive or self.disconnected or message.get("more_body", False)):
            self.keep_alive = self._protocol().closing = True  # it closes more gently than uvicorn would here
        await super().send(message)


class _Pace:
    """Whether a body comes fast enough: how many seconds it may still be waited for.

    Each second of waiting takes one away, the bytes of each second at the least rate give one back.
    """

    __slots__ = ("left", "patience", "rate")

    def __init__(self, patience: float, rate: int) -> None:
        self.left = self.patience = patience
        self.rate = rate

    def count(self, seconds: float, size: int) -> None:
        left = self.left - seconds + size / self.rate if self.rate else self.patience
        self.left = min(self.patience, left)


class _Draining:
    """How much more of an unread body is drained, and for how long."""

    __slots__ = ("_left", "_pace", "_since", "_until")

    def __init__(self, limit: int, patience: float, rate: int) -> None:
        self._left = limit
        self._pace = _Pace(patience, rate)
        self._since = stopwatch()
        self._until = self._since + DRAIN_SECONDS

    def takes(self, size: int) -> bool:
        now = stopwatch()
        self._pace.count(now - self._since, size)
        self._since = now
        self._left -= size
        return self._left >= 0 and self.left() > 0

    def left(self) -> float:
        """Seconds within which more has to come."""
        now = stopwatch()
        return min(self._pace.left - (now - self._since), self._until - now)


class _Connection:
    """What faults do to a connection: see `api.breaking.Connection`."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    @property
    def gone(self) -> bool:
        return self._cycle.disconnected or self._protocol.transport.is_closing()

    def close(self) -> None:
        self._cycle.disconnected = True  # uvicorn sends nothing further, and misses nothing
        self._protocol.finish()

    def close_on_eof(self) -> None:
        """Treat a client that closes its side as gone: no client of a stream or a long poll half-closes on purpose."""
        self._protocol.close_on_eof = True
        if self._protocol.half_closed:
            self._protocol.transport.close()

    def abort(self) -> None:
        """At once, whatever the client has taken of what was sent."""
        self._cycle.disconnected = True
        self._protocol.transport.abort()

    async def reset(self) -> None:
        self._cycle.disconnected = True
        transport = self._protocol.transport
        until = stopwatch() + RESET_SECONDS
        while _unsent(transport) and stopwatch() < until and await self.wait(0.001):
            pass  # a reset throws away what the client hasn't been sent yet
        if opened := transport.get_extra_info("socket"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
        transport.abort()

    async def wait(self, seconds: float) -> bool:
        protocol = self._protocol
        if protocol.transport.is_closing():
            return False
        protocol.delaying = not self._cycle.response_started
        if protocol.half_closed and protocol.delaying:
            self.close()
            return False
        protocol.waiting = protocol.loop.create_future()
        try:
            done, _ = await asyncio.wait([protocol.waiting], timeout=seconds)
        finally:
            protocol.waiting = None
        return not done


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes written that the client's machine has not acknowledged, as far as the system tells."""
    buffered = transport.get_write_buffer_size()
    opened = transport.get_extra_info("socket")
    if buffered or opened is None or sys.platform != "linux":
        return buffered
    from fcntl import ioctl
    from termios import TIOCOUTQ

    return int(struct.unpack("i", ioctl(opened.fileno(), TIOCOUTQ, b"\0" * 4))[0])
