"""Send responses with the live API's headers. Each is recorded in the journal."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from mockserver import errors
from mockserver.api.exchange import ClientGone, Exchange
from mockserver.api.preconditions import etag, is_current, wanted_range
from mockserver.api.providers import Headers
from mockserver.errors import APIError
from mockserver.schema.contents import Content

CHUNK = 256 * 1024
"""Bytes of content sent at a time."""

_JSON = (b"content-type", b"application/json")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


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


async def send_content(exchange: Exchange, content: Content) -> None:
    """Send a file's content: all of it, one range, or nothing for HEAD and for a client that has it. Closes the file."""
    with content.file as file:
        size, tag = file.seek(0, 2), etag(content.digest)
        if is_current(exchange, tag):
            await exchange.respond(304, [(b"etag", tag)], b"")
            return
        status, start, stop = _range(wanted_range(exchange, tag), size)
        headers = [(b"content-type", content.media_type.encode())] if content.media_type else []
        headers += [
            (b"content-length", b"%d" % (stop - start)),
            (b"content-disposition", content.disposition.encode()),
            (b"etag", tag),
        ]
        if b"range" in exchange.headers:
            headers.append((b"accept-ranges", b"bytes"))
        if status == 206:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
        await exchange.start(status, headers)
        if exchange.scope["method"] == "HEAD":
            start = stop
        length, connection = stop - start, exchange.connection
        file.seek(start)
        while start < stop:
            # Reading from the page cache takes some 50 µs, less than handing it to a thread.
            chunk = file.read(min(CHUNK, stop - start))
            if not chunk:
                raise OSError(f"{file.name} is shorter than it was")
            start += len(chunk)
            if connection.gone:
                connection.close()
                raise ClientGone
            if start >= stop:
                exchange.record(length)
            await exchange.send({"type": "http.response.body", "body": chunk, "more_body": True})
        exchange.record(length)
        await exchange.send({"type": "http.response.body", "body": b""})


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


def _range(header: bytes, size: int) -> tuple[int, int, int]:
    """Return the status, start and end of the range that a Range header names. Several ranges get the whole content."""
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
