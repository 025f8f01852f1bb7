"""The entity tags of contents, and the conditions of requests for them (RFC 9110, section 13)."""

import re

from mockserver.api.exchange import Exchange

_TAG = re.compile(rb'[ \t,]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


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
