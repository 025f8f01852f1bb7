"""uvicorn's HTTP protocol and its cycle of a request: with bounds, the API's own errors for malformed requests, and faults."""

import asyncio
import logging
import math
import socket
import struct
import sys
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mockserver import errors, ids
from mockserver.api.exchange import COMPLETE, standing_headers
from mockserver.clock import stopwatch
from mockserver.server.pace import Drain, Pace

log = logging.getLogger("mockserver")

HEAD_BYTES = 64 * 1024
"""The longest request line and headers taken, together."""
HEADERS = 1_000
"""The most headers taken."""
HEAD_SECONDS = 60.0
"""How long a client may take to send them. On a new connection the time starts when it is opened."""
FRAMING_BYTES = 128 * 1024
"""The most bytes between two pieces of a body, or after the last one: chunk extensions and trailers."""
PIPELINED = 64
"""How many requests may wait for the responses before theirs. Further ones are not parsed yet."""
SLICE = 4 * 1024
"""How many bytes are parsed before requests are counted again."""
DRAIN_BYTES = 64 << 20
"""How many bytes of an unread body are drained, if the server's limits for bodies are lower."""
DRAIN_OVERHEAD = 4 << 20
"""How many bytes framing and the fields of a form may add to the largest body."""
BODY_IGNORED = ("GET", "HEAD", "DELETE", "OPTIONS")
"""Methods whose bodies are ignored. Their connections stay open."""

RESET_SECONDS = 5.0
"""How long a reset waits until the client has acknowledged the bytes sent before."""
LINGER = "hh" if sys.platform == "win32" else "ii"
"""The layout of `struct linger`."""
TLS_RECORD = b"\x16"
"""The first byte of a client that begins with TLS."""
TLS_SECONDS = 60.0
"""How often at most such clients are logged."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also bounds heads and bodies in size and time and applies faults to the connection.

    Malformed HTTP gets an error in the API's format. Offers of another protocol are ignored: the JDK's client offers
    HTTP/2 with its first request.
    """

    body_timeout: float
    """How long a body may stop, or be slower than `body_rate`, while it is waited for."""
    body_rate: int
    """The lowest rate of a body, in bytes a second; 0 for none."""
    drain_bytes: int
    drain_import_bytes: int
    """How much of an unread body is drained; the control plane imports archives, which are larger."""
    keeps_alive = True
    """Whether a connection may have another request after the one that begins now."""
    tls_logged = -math.inf
    """When the server last logged a client that begins with TLS."""
    half_closed = False
    """Whether the client has closed its side and waits for responses."""
    close_on_eof = False
    """Whether a client that closes its side counts as gone."""
    gone: asyncio.Future[None] | None = None
    """Set while a fault delays a response; done when the client has gone."""
    delayed = False
    """Whether the response that `gone` delays has not started."""
    _rejected = False
    """Whether an error was sent for malformed HTTP. Further bytes are not parsed."""
    _in_head = False
    _large = False
    """Whether the head that this packet completes may be too large."""
    _pending = 0
    """Bytes of the packets that came since one began a head, or completed one or a piece of a body."""
    _unparsed: list[memoryview]
    """What was received and is not parsed, the next bytes last. Nothing is read until it is empty."""
    _deadline: asyncio.TimerHandle | None = None
    _drain: Drain | None = None
    _stopping = False
    """Whether the server stops: then it only waits for requests that it has received."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)
        self._unparsed = []

    def data_received(self, data: bytes) -> None:
        if self._drain and not self._drain.allows(len(data)):
            self.transport.close()
            return
        if self._rejected:
            return
        left = self._unparsed
        left.insert(0, memoryview(data))  # of which a part costs no copy
        while left and len(self.pipeline) < PIPELINED:
            piece = left.pop()
            if len(piece) > SLICE:  # the parser can't stop after a request
                left.append(piece[SLICE:])
                piece = piece[:SLICE]
            self._pending += len(piece)
            self._large = self._in_head or len(piece) > HEAD_BYTES
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:  # it stops at a request that offers another protocol
                left += [piece[upgrade.args[0] :], memoryview(self._without_upgrade())]
            except httptools.HttpParserError as error:
                self._log_malformed(piece)
                cause = error.__context__  # what a callback raised
                self._reject(cause if isinstance(cause, errors.APIError) else errors.MALFORMED_HTTP())
                return
            if self._pending > (HEAD_BYTES if self._in_head else FRAMING_BYTES):
                self._reject(errors.HEAD_TOO_LARGE(limit=HEAD_BYTES) if self._in_head else errors.MALFORMED_HTTP())
                return
        if left:
            self.flow.pause_reading()
            self.flow.__class__ = Held
            self._cancel_deadline()  # the rest of a head may be there
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()  # not for bytes that begin no request: the connection stays idle
        self._in_head, self._pending = True, 0

    def _log_malformed(self, piece: memoryview) -> None:
        if self.cycle or self._pending > len(piece) or piece[:1] != TLS_RECORD:
            self.logger.warning("Invalid HTTP request received.")
        elif stopwatch() - self.tls_logged >= TLS_SECONDS:
            type(self).tls_logged = stopwatch()
            log.warning(
                "a client begins with TLS, which this port does not take; write http:// instead of https:// in its base "
                "URL (logged once a minute at most)"
            )

    def _without_upgrade(self) -> bytes:
        """Return the request's head without its offer, to be parsed again.

        The parser does not parse the body of a request that offers another protocol.
        """
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
        return b"\r\n".join([*lines, b"", b""])

    def on_headers_complete(self) -> None:
        self._in_head, self._pending = False, 0
        if self._deadline:
            self._cancel_deadline()
        self._unset_keepalive_if_required()  # set since the head began if the response before it was completed
        if len(self.headers) > HEADERS or (
            self._large and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES
        ):
            raise errors.HEAD_TOO_LARGE(limit=HEAD_BYTES)
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise ValueError("the HTTP version is not supported")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this server is not a proxy")
            return
        if version == "1.0":
            self.expect_100_continue = False
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and self.keeps_alive
        self.cycle.__class__ = Connection  # uvicorn creates its own; the task that runs it starts later
        self.cycle.body = b""  # type: ignore[assignment]  # the first bytes replace it without a copy
        self.scope["mockserver.connection"] = self.cycle  # type: ignore[typeddict-unknown-key]  # our own key
        self.headers = []  # so that trailers are not added to the request's headers

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        if isinstance(self.cycle.body, bytes) and self.cycle.body:
            self.cycle.body = bytearray(self.cycle.body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self.cycle.more_body = False  # uvicorn doesn't say so once there is a response
            if self._drain:
                self._drain = None
                self._cancel_deadline()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and self.cycle.response_complete:
            self._start_drain()
        if self._unparsed and not self.transport.is_closing():
            self.flow.__class__ = FlowControl
            self.data_received(b"")

    def finish(self) -> None:
        """Close the connection. While the client is sending, close one side and drain: a reset would lose the response."""
        if not (self._rejected or self.cycle.more_body) or self._stopping or self.transport.is_closing():
            self.transport.close()
            return
        self._rejected = True
        self._discard_unparsed()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_drain()

    def _discard_unparsed(self) -> None:
        self._unparsed.clear()
        self.flow.__class__ = FlowControl

    def _start_drain(self) -> None:
        """Read and discard what the client still sends, within bounds."""
        imports = (self.scope or {}).get("path", "").startswith("/_mock/")
        limit = (self.drain_import_bytes if imports else self.drain_bytes) + DRAIN_OVERHEAD
        self._drain = Drain(limit, self.body_timeout, self.body_rate)
        self._watch_drain()

    def _watch_drain(self) -> None:
        if self._drain is None:
            return
        self._cancel_deadline()
        if (left := self._drain.seconds_left()) > 0:
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
        if self.gone and self.delayed:
            return False
        self.half_closed, cycle.keep_alive = True, False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unparsed.clear()
        self._cancel_deadline()
        if self.gone and not self.gone.done():
            self.gone.set_result(None)

    def shutdown(self) -> None:
        if self.gone:
            self.transport.abort()  # a fault may delay the response for minutes
        elif self._drain:
            self.transport.close()
        self._stopping = True
        super().shutdown()

    def _reject(self, error: errors.APIError) -> None:
        self._rejected, self._in_head, cycle = True, False, self.cycle
        self._discard_unparsed()
        if cycle and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False  # the request before it gets its own response, and no other
            return
        if cycle and cycle.more_body and cycle.response_started:  # the client has received the response or a part of it
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
            self.finish()
            return
        body = orjson.dumps(error.body(), option=orjson.OPT_INDENT_2)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *standing_headers(ids.request(), stopwatch()),
            (b"connection", b"close"),
        ]
        if self.pipeline:  # the requests before it get their responses first

            async def respond(scope: Any, receive: Any, send: Any) -> None:
                await send({"type": "http.response.start", "status": error.status, "headers": headers})
                await send({"type": "http.response.body", "body": body})

            self.pipeline[0] = (cycle, respond)
            return
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body]))
        if cycle and not cycle.response_complete:
            cycle.disconnected = True  # the rest of the body will not come
            cycle.message_event.set()
        self.finish()


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
