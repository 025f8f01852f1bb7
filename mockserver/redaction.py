"""Redaction: what the journal keeps of requests and responses, without their secrets.

A secret is recognized by its name: of a header, a parameter, a field or a member of an object.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from pydantic_core import from_json, to_json

from mockserver.bounds import MAX_PARAMETERS

Headers = Sequence[tuple[bytes, bytes]]

HIDDEN = "…"
"""Replaces a secret."""
MAX_BODY = 16 * 1024
"""Bytes of a body that are kept. Of a larger body the size is kept, and the hash of a request's."""
MAX_FILES = 50
"""Files of one form that are described."""
MAX_NAME = 1_024
"""Characters of a file's name that are kept."""

_HASHED_INLINE = 1 << 20
_MAX_HEADER_NAME = 100
"""Bytes. The value of a header with a longer name is hidden."""
_SECRET_NAME = re.compile(
    r"auth|cookie|token|secret|passw|pwd|credential|session|"
    r"(?:api|subscription|access|private|functions)[-_]?key|^(?:x-)?key$",
    re.IGNORECASE,
)
_WORDS = rb'auth|cookie|token|secret|passw|pwd|credential|session|key|"value"|\\'
_SUSPICIOUS = re.compile(_WORDS)
"""Matches every body, in lower case, that contains one of the names above, or `value`; `\\` may escape one. Without
regard to case it would take six times as long."""
_SUSPICIOUS_QUERY = re.compile(rb"%|sig|code|" + _WORDS)
_USERINFO = re.compile(r"//[^/?#]*@")
_DATA = re.compile(rb"^data: (.+)$", re.MULTILINE)
"""The line of an event that is JSON."""
_SECRET_PARAMETER = re.compile(rf"{_SECRET_NAME.pattern}|^(?:sig|code)$|signature", re.IGNORECASE)
"""In a query `sig` signs a URL and `code` is a function's key, in Azure; elsewhere `code` is an error's."""


class Sent(NamedTuple):
    """A request's body. `shown` is JSON, or None if only the size is kept.

    `identity` is equal for equal bodies, and None if the body was not read.
    """

    shown: bytes | None
    size: int
    identity: int | None
    digest: str | None = None


NOTHING_SENT = Sent(None, 0, None)


async def body_sent(body: bytes | bytearray) -> Sent:
    """Describe a body that was read whole. A large body is hashed in a thread."""
    size = len(body)
    if size > MAX_BODY:
        hashed = hashlib.sha256(body) if size <= _HASHED_INLINE else await asyncio.to_thread(hashlib.sha256, body)
        public = b"\\" not in body and b"domain_secrets" not in body  # the hash of a short secret reveals it
        return Sent(None, size, hash(hashed.digest()), hashed.hexdigest() if public else None)
    body = bytes(body)
    return Sent(_redacted_body(body) if body else None, size, hash(body))


def form_sent(fields: Mapping[str, str], files: Sequence[tuple[str, int, str]], field: str = "file") -> Sent:
    """Describe a form and its files: the name, size and SHA-256 of each, which is empty if it was not read to its end.
    A form that can hold several shows them as `files`, else the one by its `field`."""
    shown = _redacted_form(fields, MAX_BODY)
    described = [
        {"filename": name[:MAX_NAME], "bytes": size, "sha256": digest or None}
        for name, size, digest in files[:MAX_FILES]
    ]
    if field == "files":
        shown[field] = described
        if more := len(files) - len(described):
            shown[HIDDEN] = f"{more} files more"
    elif described:
        shown[field] = described[0]
    total = sum(size for _, size, _ in files)
    return Sent(to_json(shown) if shown or total else None, total, hash((*sorted(fields.items()), *files)))


def as_json(body: bytes) -> bytes:
    """Return JSON on one line: the body itself if it is JSON, else a JSON string of its text."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        return to_json(body.decode("utf-8", "replace"))
    return body.translate(None, b"\r\n")  # inside a JSON string both are escaped


def _redacted_body(body: bytes) -> bytes | None:
    """Return a request's body as JSON, or None if it may contain a secret that can't be found."""
    try:
        if _SUSPICIOUS.search(body.lower()):
            return to_json(_redacted(from_json(body)), inf_nan_mode="strings")
        if not body.isascii():
            from_json(body)
    except (ValueError, RecursionError):  # the latter by JSON inside of JSON
        return None
    return None if b"\0" in body else as_json(body)  # it may be UTF-16


def redacted_response(body: bytes) -> bytes | None:
    """Return a response of the API without the texts that it repeats of a request under the name of a secret; None if
    it nests deeper than a request can."""
    if not _SUSPICIOUS.search(body.lower()):
        return body
    try:
        if body.startswith(b"{"):
            return to_json(_without_secrets(from_json(body)))
        return _DATA.sub(lambda line: b"data: " + to_json(_without_secrets(from_json(line[1]))), body)
    except ValueError:
        return None


def _without_secrets(value: Any, secret: bool = False) -> Any:
    """Numbers stay: responses count tokens."""
    if isinstance(value, list):
        return [_without_secrets(each, secret) for each in value]
    if isinstance(value, dict):
        return {
            key: _without_secrets(each, secret or _SECRET_NAME.search(key) is not None) for key, each in value.items()
        }
    return HIDDEN if secret and isinstance(value, str) and value else value


def _redacted_form(fields: Mapping[str, str], limit: int) -> dict[str, Any]:
    """Return the fields of a form, up to `limit` characters of names and values."""
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        limit -= len(name) + len(value)
        if limit < 0:
            shown[HIDDEN] = f"{len(fields) - len(shown)} fields more"
            break
        shown[name] = HIDDEN if _SECRET_NAME.search(name) else _redacted_text(value)
    return shown


def redacted_headers(headers: Headers) -> dict[str, str]:
    """Return headers by their lower-case names; repeated ones are joined by commas."""
    shown: dict[str, str] = {}
    for raw, value in headers:
        name, secret = _header_name(raw) if len(raw) <= _MAX_HEADER_NAME else (raw.decode("latin-1").lower(), True)
        try:
            text = HIDDEN if secret else value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        if name in ("referer", "origin"):
            address, mark, query = _USERINFO.sub(f"//{HIDDEN}@", text).partition("?")
            text = address + mark + redacted_query(query)
        shown[name] = f"{shown[name]}, {text}" if name in shown else text
    return shown


def redacted_query(query: str) -> str:
    if not _SUSPICIOUS_QUERY.search(query.lower().encode()):
        return query
    first = query.split("&", MAX_PARAMETERS)
    if len(first) > MAX_PARAMETERS:
        first[-1] = HIDDEN
    parts = [(part, *part.partition("=")) for part in first]
    return "&".join(
        f"{name}={HIDDEN}" if value and _SECRET_PARAMETER.search(unquote_plus(name)) else part
        for part, name, _, value in parts
    )


def _redacted(value: Any, name: str = "") -> Any:
    """Redact JSON. A list of domain secrets keeps their domains and names."""
    if _SECRET_NAME.search(name):
        secrets = value if name == "domain_secrets" and isinstance(value, list) else None
        return HIDDEN if secrets is None else [_redacted_secret(each) for each in secrets]
    if isinstance(value, dict):
        return {key: HIDDEN if key.lower() == "value" else _redacted(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return _redacted_text(value) if isinstance(value, str) else value


def _redacted_secret(secret: Any) -> Any:
    if not isinstance(secret, dict):
        return HIDDEN
    known = {"domain": secret.get("domain"), "name": secret.get("name")}
    shown = {key: each for key, each in known.items() if isinstance(each, str)}
    return shown | {key if key == "value" else HIDDEN: HIDDEN for key in secret.keys() - shown.keys()}


def _redacted_text(text: str) -> str:
    """Redact JSON inside of a text: some clients encode twice."""
    if not any(mark in text for mark in '{":='):
        return text
    try:
        inner = from_json(text)
    except ValueError:
        return HIDDEN if _SECRET_NAME.search(text) or "\\u" in text else text
    return to_json(_redacted(inner)).decode() if isinstance(inner, dict | list | str) else text


@lru_cache(1_024)
def _header_name(name: bytes) -> tuple[str, bool]:
    """Return the name in lower case, and whether its value is a secret."""
    text = name.decode("latin-1").lower()
    return text, _SECRET_NAME.search(text) is not None
