"""One exchange: what is known of a request and of its response, kept in the ASGI scope under `mockserver`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Scope, Send

from mockserver import errors, ids
from mockserver.api.providers import OPENAI, Headers, Provider
from mockserver.clock import stopwatch
from mockserver.context import Context
from mockserver.journal import WorldJournal
from mockserver.redaction import NOTHING_SENT, Sent
from mockserver.schema.faults import Effect

if TYPE_CHECKING:
    from mockserver.mock import Mock

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


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    __slots__ = (
        "_receive",
        "complete",
        "context",
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
        "provider",
        "request_id",
        "scope",
        "send",
        "sent",
        "started",
        "started_response",
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
        self.provider: Provider = OPENAI
        self.context: Context | None = None
        self.files_api = False
        """Whether the response is in the style of the Files API: a newline at the end, errors with `detail`."""
        self.fault: str | None = None
        """The id of the rule that fired, `header` for a fault that the request brought along."""
        self.effect: Effect | None = None
        self.extra: Headers = []
        """Headers of the answer by a fault, in place of its own of these names."""
        self.complete = False
        """Whether the request's body has been read to its end."""
        self.started_response = False
        self.operation: str | None = None
        """The operation's id; None where no route matched."""
        self.log: WorldJournal | None = None
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
        self.send = send

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

    @property
    def query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    async def send_whole(self, status: int, headers: Headers, body: bytes, at_once: bool = True) -> None:
        """A response whose body is known. `at_once` sends head and body in one write."""
        await self.start(status, headers, len(body) if at_once else None)
        self.record(body)
        await self.send({"type": "http.response.body", "body": body})

    def wrap_receive(self, wrap: Callable[[Receive], Receive]) -> None:
        self._receive = wrap(self._receive)

    def wrap_send(self, wrap: Callable[[Send], Send]) -> None:
        self.send = wrap(self.send)

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
        self.number = journal.record(
            self.log,
            request_id=self.request_id,
            operation=self.operation,
            method=scope["method"],
            path=scope["raw_path"],
            query=scope["query_string"],
            route=scope["path"],
            clock=clock,
            wall=self.mock.wall.now() - duration,
            duration=duration,
            status=self.status,
            request_headers=scope["headers"],
            sent=self.sent,
            response_headers=self.told,
            response=answer,
            objects=context.touched if context else (),
            fault=self.fault,
            made_up=effect is not None and (effect.answers or effect.lists or effect.rate_limit is not None),
            page=self.page,
            aborted=aborted,
        )

    def abandon(self) -> None:
        """The answer didn't come to its end, or there was none."""
        if self.number is None:
            self.record(None, aborted=True)
        elif self.log:
            self.mock.journal.abort(self.log, self.number)

    def with_newline(self, body: bytes) -> bytes:
        """As the Files API ends its bodies."""
        return body + b"\n" if self.files_api else body

    async def start(self, status: int, headers: Headers, size: int | None = None) -> None:
        """`size` where the body comes whole and at once."""
        headers += standing_headers(self.request_id, self.started)
        if self.context:
            headers += [(b"x-mock-warning", str(warning).encode()) for warning in self.context.warnings]
        if b"origin" in self.headers:
            headers += _CORS
        if self.extra:
            replaced = {name for name, _ in self.extra}
            headers = [header for header in headers if header[0] not in replaced] + self.extra
        self.started_response, self.status, self.told = True, status, headers
        message: Message = {"type": "http.response.start", "status": status, "headers": headers}
        if size is not None and self.effect is None:
            message[WHOLE] = size
        await self.send(message)


def standing_headers(request_id: str, started: float) -> Headers:
    """What every answer carries."""
    took = (stopwatch() - started) * 1000
    return [(b"x-request-id", request_id.encode()), (b"openai-processing-ms", b"%d" % took), *_FIXED]
