"""The bytes of files as responses: entity tags, conditional requests and ranges (RFC 9110, sections 13 and 14)."""

import re

from mockserver import errors
from mockserver.api.exchange import ClientGone, Exchange
from mockserver.schema.contents import Content

CHUNK = 256 * 1024
"""Bytes of content sent at a time."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TAG = re.compile(rb'[ \t,]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


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


def etag(digest: str) -> bytes:
    """Return the strong entity tag of a content."""
    return b'"%b"' % digest.encode()


def is_current(exchange: Exchange, tag: bytes) -> bool:
    """Whether If-None-Match names what the client has already: by weak comparison, or any by `*`."""
    sent = [value for name, value in exchange.scope["headers"] if name == b"if-none-match"]
    header = b",".join(sent)
    return header.strip() == b"*" or tag in _tags(header)


def wanted_range(exchange: Exchange, tag: bytes) -> bytes:
    """Return the Range header, empty where there is none or where If-Range names other bytes.

    If-Range compares strongly. A date names other bytes, since contents have no date of modification.
    """
    condition = exchange.headers.get(b"if-range")
    if condition is not None and condition.strip() != tag:
        return b""
    return exchange.headers.get(b"range", b"")


def _tags(header: bytes) -> list[bytes]:
    """Return the opaque tags of a list, none if it is malformed."""
    found, end = [], 0
    while match := _TAG.match(header, end):
        found.append(match[1])
        end = match.end()
    return [] if header[end:].strip(b" \t,") else found


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
