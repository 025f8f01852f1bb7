"""One request and its response, with the live API's headers. The ASGI scope has it under `mockserver`."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from mockserver import errors, ids
from mockserver.api.providers import OPENAI, Headers, Provider
from mockserver.clock import Clock, stopwatch
from mockserver.context import Context
from mockserver.entries import record_of
from mockserver.errors import APIError
from mockserver.faults import Rule
from mockserver.journal import WorldJournal
from mockserver.mock import Mock
from mockserver.redaction import MAX_BODY, NOTHING_SENT, Sent
from mockserver.schema.faults import Effect
from mockserver.worlds import NAME

COMPLETE = "mockserver.complete"
"""In the message that starts a response: whether the next message has its whole body."""

_PATH_LENGTH = 300
"""Characters of a path that the log shows."""

_JSON = (b"content-type", b"application/json")
_FIXED: Headers = [
    (b"openai-version", b"2020-10-01"),
    (b"openai-organization", b"org-mockserver"),
    (b"openai-project", b"proj_mockserver"),
    (b"x-content-type-options", b"nosniff"),
]
_OF_THE_KEY = (b"openai-organization", b"openai-project")
_CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"x-request-id, openai-processing-ms, openai-version, content-disposition, content-range, etag, retry-after, "
        b"x-mock-warning",
    ),
]


class ClientGone(Exception):
    """The client or a fault closed the connection before the response was complete."""


class Connection(Protocol):
    """What faults and streams need of a connection, beyond ASGI. `server.protocol.Connection` implements it."""

    @property
    def gone(self) -> bool:
        """Whether the client has closed it."""

    def close(self) -> None:
        """Send the bytes that were written, then close, even if the response is not complete."""

    async def reset(self) -> None:
        """Like `close`, but the client sees a reset."""

    async def wait(self, seconds: float) -> bool:
        """Wait for seconds of real time. Return False at once when the client has gone."""


class Exchange:
    """The state of one request and its response, which ends as an entry of the journal."""

    world = ""
    provider: Provider = OPENAI
    context: Context | None = None
    files_api = False
    """Whether the response is in the style of the Files API: a newline at the end, errors with `detail`."""
    ascii = False
    """Whether text in its JSON is escaped to ASCII."""
    fault: str | None = None
    """The id of the fault that fired; `header` for one from the request's X-Mock-Fault header."""
    effect: Effect | None = None
    counted: Sequence[Rule] = ()
    """The rules of faults that count it among the requests in progress."""
    complete = False
    """Whether the whole request body has been read."""
    operation: str | None = None
    """The operation's id; None where no route matched."""
    log: WorldJournal | None = None
    """The journal that records the exchange; set with the operation, and with it `clock`."""
    clock: Clock
    """The world's, as it was when the operation began."""
    number: int | None = None
    """The journal's number of the exchange; None until it is recorded."""
    sent: Sent = NOTHING_SENT
    """The request's body as the journal shows it."""
    status: int | None = None
    """The response's status; None until it is started."""
    page: tuple[bool, str | None, str | None] | None = None
    """For a list: `has_more`, `first_id` and `last_id`."""

    def __init__(self, mock: Mock, scope: Scope, receive: Receive, send: Send) -> None:
        self.mock = mock
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # the first of each name
        self.started = stopwatch()
        self.request_id = ids.request()
        self.extra: Headers = []
        """Headers that a fault sets. They replace the response's headers of the same names."""
        self.response_headers: Headers = []
        self.receive = receive
        self.send = send
        self.connection: Connection = scope["mockserver.connection"]

    def __str__(self) -> str:
        """One line for the log, without the query, headers and bodies."""
        path = self.scope["raw_path"].decode("ascii", "replace")[:_PATH_LENGTH]
        took = (stopwatch() - self.started) * 1000
        world = self.world if NAME.fullmatch(self.world) else "-"  # empty without a valid key
        fault = f" fault={self.fault}" if self.fault else ""
        return f"{self.scope['method']} {path} {self.status or '-'} {took:.1f}ms world={world}{fault}"

    async def read_chunk(self) -> bytes:
        """Return the next part of the request's body: bytes, or a bytearray that the caller may keep.

        To be called until the body is `complete`. Raises ClientGone, and APIError if the body is compressed.
        """
        encoding = self.headers.get(b"content-encoding")
        if encoding and encoding.lower() != b"identity":
            raise errors.WRONG_CONTENT_ENCODING(encoding=encoding.decode("latin-1"))
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def respond(self, status: int, headers: Headers, body: bytes, one_write: bool = True) -> None:
        """Send a complete response, head and body in one write if possible."""
        await self.start(status, headers, complete=one_write)
        self.record(body)
        await self.send({"type": "http.response.body", "body": body})

    def record(self, response: bytes | int | None, aborted: bool = False) -> None:
        """Record the exchange in the journal, once, before the client has the complete response.

        `response` is the body, or its size if it is a file's content. Requests without a valid key and requests to
        worlds that don't exist are not recorded.
        """
        if self.number is not None or not self.world:
            return
        scope, context, effect, journal = self.scope, self.context, self.effect, self.mock.journal
        if self.log is None:
            if (world := self.mock.worlds.known(self.world)) is None:
                return
            self.log, self.clock = journal.open(self.world), world.clock
        duration = stopwatch() - self.started
        wall = self.mock.wall.now() - duration
        shown = {
            "number": 0,
            "request_id": self.request_id,
            "world": self.world,
            "at": None,
            "wall": wall,
            "operation": self.operation,
            "method": scope["method"],
            "path": scope["raw_path"].decode("utf-8", "replace"),
            "query": scope["query_string"],
            "status": self.status,
            "duration_ms": round(duration * 1000, 3),
            "request": scope["headers"],
            "response": self.response_headers,
            "fault": self.fault,
            "answer": context.answer if context else None,
            "error": None,
            "warnings": [warning.code for warning in context.warnings] if context else (),
            "container": context.container if context else None,
            "objects": [{"change": change, "id": id} for change, id in context.touched] if context else (),
            "aborted": aborted,
        }
        if isinstance(response, bytes) and len(response) > MAX_BODY:
            response = len(response)
        made_up = effect is not None and (effect.answers or effect.lists or effect.rate_limit is not None)
        cited = context.cited if context else ()
        route = scope["path"]
        make = partial(record_of, shown, route, self.sent, response, made_up, self.clock, self.page, cited)
        self.number = journal.record(self.log, shown, route, make)

    def abort(self) -> None:
        """Record that the response was not completed."""
        if self.number is None:
            self.record(None, aborted=True)
        elif self.log:
            self.mock.journal.abort(self.log, self.number)

    async def start(self, status: int, headers: Headers, complete: bool = False) -> None:
        """Send status and headers. `complete` says whether the next message has the whole body."""
        headers += standing_headers(self.request_id, self.started)
        if status == 401:  # whose organization it is follows from the key
            headers = [header for header in headers if header[0] not in _OF_THE_KEY]
        if self.context:
            headers += [(b"x-mock-warning", str(warning).encode()) for warning in self.context.warnings]
            if self.context.answer:
                headers.append((b"x-mock-answer", self.context.answer.encode()))
        if b"origin" in self.headers:
            headers += _CORS
        elif self.files_api:
            headers.append(_CORS[0])
        if self.extra:
            replaced = {name for name, _ in self.extra}
            headers = [header for header in headers if header[0] not in replaced] + self.extra
        self.status, self.response_headers = status, headers
        complete = complete and self.effect is None
        await self.send({"type": "http.response.start", "status": status, "headers": headers, COMPLETE: complete})


def standing_headers(request_id: str, started: float) -> Headers:
    """Return the headers that every response has."""
    took = (stopwatch() - started) * 1000
    return [(b"x-request-id", request_id.encode()), (b"openai-processing-ms", b"%d" % took), *_FIXED]


# Responses


@dataclass(frozen=True, slots=True)
class JSON:
    """A resource."""

    resource: Mapping[str, Any]
    headers: Sequence[tuple[bytes, bytes]] = ()

    async def send(self, exchange: Exchange) -> None:
        resource, context = exchange.provider.shown(self.resource), exchange.context
        in_thread = context is not None and context.large
        body = await asyncio.to_thread(_json, resource, exchange) if in_thread else _json(resource, exchange)
        if resource["object"] == "list":
            exchange.page = resource["has_more"], resource["first_id"], resource["last_id"]
        await exchange.respond(200, [_JSON, (b"content-length", b"%d" % len(body)), *self.headers], body)


async def send_raw(exchange: Exchange, status: int, body: bytes, headers: Headers) -> None:
    """Send any status and body. The connection discards the part of the request's body that has not been read."""
    if status not in (204, 304):
        headers.insert(1, (b"content-length", b"%d" % len(body)))
    unread = not exchange.complete and exchange.scope["method"] == "POST"
    if unread:
        headers.append((b"connection", b"close"))
    await exchange.respond(status, headers, body, one_write=not unread)


async def send_error(exchange: Exchange, error: APIError) -> None:
    """Send an error as the provider does."""
    error = exchange.provider.convert(error, exchange)
    extra = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    if error.row and error.row.text:
        await send_raw(exchange, error.status, error.message.encode(), [(b"content-type", b"text/plain"), *extra])
        return
    shape = error.body(exchange.files_api and exchange.provider.files_detail)
    body = _json(shape, exchange) if error.indent else orjson.dumps(shape)
    await send_raw(exchange, error.status, body, [_JSON, *extra])


async def send_preflight(exchange: Exchange) -> None:
    """Respond to a CORS preflight: any page may call the API."""
    requested = exchange.headers.get(b"access-control-request-headers", b"authorization")
    headers = [
        (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
        (b"access-control-allow-headers", requested),
        (b"access-control-max-age", b"600"),
        (b"content-length", b"0"),
    ]
    await exchange.respond(200, headers, b"")


def _json(value: Mapping[str, Any], exchange: Exchange) -> bytes:
    if exchange.ascii:
        with suppress(TypeError):  # an integer of more than 64 bits
            if (body := orjson.dumps(value, option=orjson.OPT_INDENT_2)).isascii():
                return body
        return json.dumps(value, indent=2).encode()
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | (orjson.OPT_APPEND_NEWLINE if exchange.files_api else 0))
