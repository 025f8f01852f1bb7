"""One exchange: what is known of a request, and the one way in which it is answered.

Kept in the ASGI scope under `mockserver`. Every answer of the API, refusals and failures included,
leaves through `answer`, `refuse` or `stream`, with the headers of the live API.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from mockserver import errors, ids
from mockserver.api.providers import OPENAI, Dialect, Headers
from mockserver.clock import stopwatch
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.faults import Effect
from mockserver.journal import MAX_BODY, NOTHING_SENT, Log, Noted, Sent
from mockserver.schema import Content

if TYPE_CHECKING:
    from mockserver.mock import Mock

PIECE = 256 * 1024
"""Bytes of content sent at a time."""
WHOLE = "mockserver.whole"
"""In the message that starts an answer: the size of the body, which follows in one message and at once."""

_FIXED: Headers = [
    (b"openai-version", b"2020-10-01"),
    (b"openai-organization", b"org-mockserver"),
    (b"openai-project", b"proj_mockserver"),
    (b"x-content-type-options", b"nosniff"),
]
_CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"x-request-id, openai-processing-ms, openai-version, content-disposition, retry-after, x-mock-warning",
    ),
]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    __slots__ = (
        "_receive",
        "_send",
        "answered",
        "complete",
        "context",
        "dialect",
        "effect",
        "extra",
        "fault",
        "files_api",
        "headers",
        "log",
        "mock",
        "number",
        "operation",
        "page",
        "request_id",
        "scope",
        "sent",
        "started",
        "status",
        "told",
        "world",
    )

    def __init__(self, mock: "Mock", scope: Scope, receive: Receive, send: Send) -> None:
        self.mock = mock
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # the first of each name
        self.started = stopwatch()
        self.request_id = ids.request()
        self.world = ""
        self.dialect: Dialect = OPENAI
        self.context: Context | None = None
        self.files_api = False
        """Whether the answer is in the style of the Files API: a newline at the end, errors with `detail`."""
        self.fault: str | None = None
        """The id of the rule that fired, `header` for a fault that the request brought along."""
        self.effect: Effect | None = None
        self.extra: Headers = []
        """Headers of the answer by a fault, in place of its own of these names."""
        self.complete = False
        """Whether the request's body has been read to its end."""
        self.answered = False
        self.operation: str | None = None
        """The operation's id; None where no route matched."""
        self.log: Log | None = None
        """Where it will be recorded; set with the operation."""
        self.number: int | None = None
        """In the journal, once it was told."""
        self.sent: Sent = NOTHING_SENT
        """The request's body, as the journal will show it."""
        self.status: int | None = None
        self.told: Headers = []
        """Status and headers of the answer, once it was started."""
        self.page: tuple[bool, str | None, str | None] | None = None
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.complete = True
        return message

    async def piece(self) -> bytes:
        """Of the request's body the next piece, until it is `complete`: bytes, or a bytearray of the caller's own.

        Raises ClientGone, and APIError for a body that is compressed.
        """
        encoding = self.headers.get(b"content-encoding")
        if encoding and encoding.lower() != b"identity":
            raise errors.WRONG_CONTENT_ENCODING(encoding=encoding.decode("latin-1"))
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        return piece

    async def answer(self, resource: Mapping[str, Any]) -> None:
        body = self._ended(orjson.dumps(resource, option=orjson.OPT_INDENT_2))
        if resource["object"] == "list":
            self.page = resource["has_more"], resource["first_id"], resource["last_id"]
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._start(200, headers, len(body))
        self.record(body)
        await self._send({"type": "http.response.body", "body": body})

    @property
    def query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    async def refuse(self, error: APIError) -> None:
        error = self.dialect.said(error, self)
        extra = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        body = orjson.dumps(error.body(self.files_api), option=orjson.OPT_INDENT_2 if error.indent else None)
        body = body if error.indent is None else self._ended(body)
        await self.reply(error.status, body, [(b"content-type", b"application/json"), *extra])

    async def reply(self, status: int, body: bytes, headers: Headers) -> None:
        """An answer to a request whose body may not have been read: the connection takes what is left of it."""
        if status not in (204, 304):
            headers.insert(1, (b"content-length", b"%d" % len(body)))
        unread = not self.complete and self.scope["method"] == "POST"
        if unread:
            headers.append((b"connection", b"close"))
        await self._start(status, headers, None if unread else len(body))
        self.record(body)
        await self._send({"type": "http.response.body", "body": body})

    def pass_body_through(self, wrap: Callable[[Receive], Receive]) -> None:
        self._receive = wrap(self._receive)

    def pass_answer_through(self, wrap: Callable[[Send], Send]) -> None:
        self._send = wrap(self._send)

    async def stream(self, content: Content) -> None:
        """The bytes of a file: all, one range, or for HEAD none. Closes it."""
        with content.file as file:
            size = file.seek(0, 2)
            status, start, stop = _wanted(self.headers.get(b"range", b""), size)
            headers = [
                (b"content-type", content.media_type.encode()),
                (b"content-length", b"%d" % (stop - start)),
                (b"content-disposition", content.disposition.encode()),
                (b"accept-ranges", b"bytes"),
            ]
            if status == 206:
                headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
            await self._start(status, headers)
            if self.scope["method"] == "HEAD":
                start = stop
            left, connection = stop - start, self.scope.get("mockserver.connection")
            file.seek(start)
            while start < stop:
                # From the page cache a piece takes some 50 µs, less than handing it to a thread.
                piece = file.read(min(PIECE, stop - start))
                if not piece:
                    raise OSError(f"{file.name} is shorter than it was")
                start += len(piece)
                if connection and connection.gone:
                    connection.close()
                    raise ClientGone
                if start >= stop:
                    self.record(left)
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            self.record(left)
            await self._send({"type": "http.response.body", "body": b""})

    def record(self, answer: bytes | int | None, aborted: bool = False) -> None:
        """Tell the journal, once: before the client can have the whole answer and ask what is in it.

        Not what comes without a valid key, or names a world that there isn't.
        """
        if self.number is not None or not self.world:
            return
        scope, context, effect, journal = self.scope, self.context, self.effect, self.mock.journal
        if context is None or self.log is None:
            if (world := self.mock.worlds.known(self.world)) is None:
                return
            clock = world.clock
            self.log = journal.open(self.world)
        else:
            clock = context.clock
        duration = stopwatch() - self.started
        noted = Noted(
            self.request_id,
            self.world,
            self.operation,
            scope["method"],
            scope["raw_path"],
            scope["path"],
            scope["query_string"],
            clock,
            self.mock.wall.now() - duration,
            duration,
            self.status,
            scope["headers"],
            self.told,
            self.sent,
            len(answer) if isinstance(answer, bytes) and len(answer) > MAX_BODY else answer,
            context.touched if context else (),
            self.fault,
            effect is not None and (effect.answers or effect.lists or effect.rate_limit is not None),
            self.page,
            aborted,
        )
        self.number = journal.record(self.log, noted)

    def abandon(self) -> None:
        """The answer didn't come to its end, or there was none."""
        if self.number is None:
            self.record(None, aborted=True)
        elif self.log:
            self.mock.journal.abort(self.log, self.number)

    async def preflight(self) -> None:
        """The answer to a browser's question whether its page may call the API: any page may."""
        headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
            (b"access-control-allow-headers", self.headers.get(b"access-control-request-headers", b"authorization")),
            (b"access-control-max-age", b"600"),
            (b"content-length", b"0"),
        ]
        await self._start(200, headers)
        await self._send({"type": "http.response.body", "body": b""})

    def _ended(self, body: bytes) -> bytes:
        return body + b"\n" if self.files_api else body

    async def _start(self, status: int, headers: Headers, size: int | None = None) -> None:
        """`size` where the body comes whole and at once."""
        headers += standing_headers(self.request_id, self.started)
        if self.context:
            headers += [(b"x-mock-warning", str(warning).encode()) for warning in self.context.warnings]
        if b"origin" in self.headers:
            headers += _CORS
        if self.extra:
            replaced = {name for name, _ in self.extra}
            headers = [header for header in headers if header[0] not in replaced] + self.extra
        self.answered, self.status, self.told = True, status, headers
        message: Message = {"type": "http.response.start", "status": status, "headers": headers}
        if size is not None and self.effect is None:
            message[WHOLE] = size
        await self._send(message)


def unknown_url(scope: Scope) -> APIError:
    return errors.UNKNOWN_URL(method=scope["method"], path=scope["raw_path"].decode("ascii", "replace"))


def standing_headers(request_id: str, started: float) -> Headers:
    """What every answer carries."""
    took = (stopwatch() - started) * 1000
    return [(b"x-request-id", request_id.encode()), (b"openai-processing-ms", b"%d" % took), *_FIXED]


def _wanted(header: bytes, size: int) -> tuple[int, int, int]:
    """Status, start and end of what a Range header asks for; several ranges, or none, are the whole."""
    match = _RANGE.fullmatch(header.decode("latin-1").strip())
    if not match or match[1] == match[2] == "":
        return 200, 0, size
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if match[2] and int(match[2]) < start:
            return 200, 0, size
    if start >= stop:
        error = errors.RANGE_NOT_SATISFIABLE()
        error.headers["content-range"] = f"bytes */{size}"
        raise error
    return 206, start, stop


def of(scope: Scope) -> Exchange:
    exchange: Exchange = scope["mockserver"]
    return exchange


def described(value: Any) -> str:
    """`a string`, `an integer`, `null`: a JSON value's type, the way refusals word it."""
    if value is None:
        return "null"
    for kind, words in (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal"),
        (str, "a string"),
        (list, "an array"),
    ):
        if isinstance(value, kind):
            return words
    return "an object"
