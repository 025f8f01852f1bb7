"""Redaction: what the journal keeps of requests and responses, without their secrets.

A secret is recognized by its name: of a header, a parameter, a field or a member of an object, and in texts and URLs.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus

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
_IN_TEXTS = (
    r"auth(?!ors?\b)|cookie|token(?!iz)|secret|passw|passphrase|pwd|credential|session|jwt|"
    r"(?:api|subscription|access|private|functions|signing|encryption)[-_]?key"
)
_PUBLIC_KEYS = ("cache", "idempotency", "public", "primary", "foreign", "sort", "partition", "routing")
_NO_SECRET = "".join(f"(?<!{each})" for each in _PUBLIC_KEYS)
_SECRET_NAME = re.compile(rf"{_IN_TEXTS}|assertion$|oidc|{_NO_SECRET}[-_]key$|^(?:x-)?key$", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"""((?:(?:{_IN_TEXTS})[\w-]{{0,64}}|"value)(?:["\\]{{0,9}}\s?[:=]\s?|'\s?[:=]\s?(?=['"]))|\\u)(?!\s?Bearer YOUR_KEY)[^\n]+""",
    re.IGNORECASE,
)
"""A secret's name with its separator, and the rest of the line. The API quotes the names of its own parameters:
`Invalid type for 'max_output_tokens': expected …`. The bounds keep its time linear."""
_WORDS = rb'auth|cookie|token|secret|pass[wp]|pwd|credential|session|key|jwt|assertion|oidc|"value"|\\|@|sig=|code='
_SUSPICIOUS = re.compile(_WORDS)
"""Matches every body, in lower case, that contains one of the names above, or `value`; `\\` may escape one, and `@` ends
a password in a URL. Without regard to case it would take six times as long."""
_SUSPICIOUS_QUERY = re.compile(rb"%|sig|code|" + _WORDS)
_MARK = re.compile(r'[{":=]')
"""Separates names from values. A text without any has no secrets."""
_SCANNED = 2 * 1024
"""Bytes of a response up to which colons in its texts are looked for: in a list of 20 that takes 6 µs."""
_EQUALS, _BACKSLASH, _AT = b"=\\@"
_NO_QUOTE_OR_COLON = bytes(set(range(256)) - set(b'":'))
_URL = re.compile(r"[A-Za-z][\w+.-]*://\S*")
_USERINFO = re.compile(r"//[^/?#\s\"'<>\\]*@")
_BREAK = re.compile(r"([?#;=])")
_JSON = ("{", "[", '"')
_ESCAPED = "\\" * 10
"""In JSON that is a text of JSON more often than names are looked for."""
_MAX_NESTED = 3
"""How often a URL may be a parameter of another one, and is still shown."""
_DATA = re.compile(rb"^data: (.+)$", re.MULTILINE)
"""The line of an event that is JSON."""
_SECRET_PARAMETER = re.compile(rf"{_SECRET_NAME.pattern}|^(?:sig|code)$|signature", re.IGNORECASE)
"""In a query `sig` signs a URL and `code` is a function's key, in Azure; elsewhere `code` is an error's."""


class Sent(NamedTuple):
    """A request's body. `identity` is equal for equal bodies, and None if the body was not read."""

    size: int
    identity: int | None
    body: bytes = b""
    """The body, if it is kept: it is redacted when the entry is made."""
    form: bytes | None = None
    """What is shown of a form, as JSON."""
    digest: str | None = None


NOTHING_SENT = Sent(0, None)


async def large_body_sent(body: bytes | bytearray) -> Sent:
    """Describe a body of which only the size and the hash are kept. A very large one is hashed in a thread."""
    size = len(body)
    hashed = hashlib.sha256(body) if size <= _HASHED_INLINE else await asyncio.to_thread(hashlib.sha256, body)
    public = b"\\" not in body and b"domain_secrets" not in body  # the hash of a short secret reveals it
    return Sent(size, hash(hashed.digest()), digest=hashed.hexdigest() if public else None)


def form_sent(fields: Mapping[str, str], files: Sequence[tuple[str, int, str]], field: str) -> Sent:
    """Describe a form and its files: the name, size and SHA-256 of each, which is empty if it was not read to its end.
    A form that can hold several shows them as `files`, else the one by its `field`."""
    shown = _redacted_form(fields, MAX_BODY)
    described = [
        {"filename": redacted_text(name[:MAX_NAME]), "bytes": size, "sha256": digest or None}
        for name, size, digest in files[:MAX_FILES]
    ]
    if field == "files":
        shown[field] = described
        if more := len(files) - len(described):
            shown[HIDDEN] = f"{more} files more"
    elif described:
        shown[field] = described[0]
    total = sum(size for _, size, _ in files)
    identity = hash((*sorted(fields.items()), *files))
    return Sent(total, identity, form=to_json(shown) if shown or total else None)


def as_json(body: bytes) -> bytes:
    """Return JSON on one line: the body itself if it is JSON, else a JSON string of its text."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        return to_json(body.decode("utf-8", "replace"))
    return body.translate(None, b"\r\n")  # inside a JSON string both are escaped


def redacted_body(body: bytes) -> bytes | None:
    """Return a request's body as JSON, or None if it may contain a secret that can't be found."""
    try:
        if _SUSPICIOUS.search(body.lower()):
            return to_json(_redacted(from_json(body)), inf_nan_mode="strings")
        if not body.isascii():
            from_json(body)
    except (ValueError, RecursionError):  # the latter by JSON inside of JSON
        return None
    return None if b"\0" in body else as_json(body)  # it may be UTF-16


def redacted_response(body: bytes, repeats_names: bool) -> bytes | None:
    """Return a response without the secrets that it repeats of a request; None if they can't be found.

    `repeats_names` says whether it repeats names of members, too. It is JSON, events, or the text of a fault.
    """
    marked = repeats_names or _EQUALS in body or _BACKSLASH in body or _AT in body or body[:1] != b"{"
    if not marked and (len(body) > _SCANNED or body.translate(None, _NO_QUOTE_OR_COLON).find(b':":') < 0):
        return body  # nearly all end here, in half a microsecond
    if not _SUSPICIOUS.search(body.lower()):
        return body
    try:
        if body.startswith(b"{"):
            return to_json(_without_secrets(from_json(body)), inf_nan_mode="strings")
        if found := _DATA.findall(body):
            events = iter(_redacted_events([from_json(data) for data in found]))
            return _DATA.sub(lambda _: b"data: " + to_json(next(events)), body)
    except (ValueError, RecursionError):  # it may nest deeper than a request can
        return None
    return _redacted_lines(body.decode("utf-8", "replace")).encode()


def _redacted_events(events: list[Any]) -> list[Any]:
    """Redact events. A secret may be split into deltas that show no name: they are joined to find it."""
    texts: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if isinstance(event, dict) and isinstance(event.get("delta"), str):
            texts.setdefault(f"{event.get('type')} of {event.get('item_id')}", []).append(event)
    for deltas in texts.values():
        text = "".join(event["delta"] for event in deltas)
        if (shown := redacted_text(text)) != text and HIDDEN in shown:
            for event in deltas:
                event["delta"] = HIDDEN
    return [_without_secrets(event) for event in events]


def _without_secrets(value: Any, secret: bool = False) -> Any:
    """Numbers stay: responses count tokens."""
    if isinstance(value, list):
        return [_without_secrets(each, secret) for each in value]
    if isinstance(value, dict):
        return {
            key: _without_secrets(each, secret or _SECRET_NAME.search(key) is not None) for key, each in value.items()
        }
    if not isinstance(value, str) or not value:
        return value
    if secret:
        return HIDDEN
    return redacted_text(value)


def _redacted_lines(text: str) -> str:
    """Redact a text that is no JSON: of each line, what follows the name of a secret."""
    return _ASSIGNED.sub(rf"\g<1>{HIDDEN}", _USERINFO.sub(f"//{HIDDEN}@", text))


def _redacted_form(fields: Mapping[str, str], limit: int) -> dict[str, Any]:
    """Return the fields of a form, up to `limit` characters of names and values."""
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        limit -= len(name) + len(value)
        if limit < 0:
            shown[HIDDEN] = f"{len(fields) - len(shown)} fields more"
            break
        shown[name] = HIDDEN if _SECRET_NAME.search(name) else redacted_text(value)
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
        if "?" in text or "//" in text or name == "x-mock-fault":
            text = _redacted_value(text, _MAX_NESTED)
        shown[name] = f"{shown[name]}, {text}" if name in shown else text
    return shown


def redacted_query(query: str, nested: int = _MAX_NESTED) -> str:
    """Redact a query or a URL. Its parameters may be URLs; if too many are nested, they are hidden."""
    if not _SUSPICIOUS_QUERY.search(query.lower().encode()):
        return query
    if not nested:
        return HIDDEN
    parts = _USERINFO.sub(f"//{HIDDEN}@", query).split("&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        parts[-1] = HIDDEN
    return "&".join(_redacted_parameter(part, nested) for part in parts)


def _redacted_parameter(part: str, nested: int) -> str:
    pieces = _BREAK.split(part, MAX_PARAMETERS)
    if len(pieces) > 2 * MAX_PARAMETERS:
        pieces[-1] = HIDDEN
    for at in range(0, len(pieces) - 2, 2):
        if pieces[at + 1] == "=" and _SECRET_PARAMETER.search(unquote_plus(pieces[at])) and any(pieces[at + 2 :]):
            return "".join(pieces[: at + 2]) + HIDDEN
    part = "".join(pieces)
    name, equals, value = part.partition("=") if "=" in part else ("", "", part)
    text = unquote_plus(value)
    encoded = text != value
    shown = _redacted_value(text, nested - 1) if encoded or value.startswith(_JSON) else text
    if shown == text:
        shown = _redacted_lines(text)
    if shown == text:
        return part
    return name + equals + (HIDDEN.join(map(quote_plus, shown.split(HIDDEN))) if encoded else shown)


def _redacted_value(text: str, nested: int) -> str:
    """Redact the value of a header or of a parameter: a URL or JSON."""
    return redacted_text(text) if text.startswith(_JSON) else redacted_query(text, nested)


def _redacted(value: Any, name: str = "") -> Any:
    """Redact JSON. A list of domain secrets keeps their domains and names."""
    if _SECRET_NAME.search(name):
        secrets = value if name == "domain_secrets" and isinstance(value, list) else None
        return HIDDEN if secrets is None else [_redacted_secret(each) for each in secrets]
    if isinstance(value, dict):
        return {key: HIDDEN if key.lower() == "value" else _redacted(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return redacted_text(value) if isinstance(value, str) else value


def _redacted_secret(secret: Any) -> Any:
    if not isinstance(secret, dict):
        return HIDDEN
    known = {"domain": secret.get("domain"), "name": secret.get("name")}
    shown = {key: each for key, each in known.items() if isinstance(each, str)}
    return shown | {key if key == "value" else HIDDEN: HIDDEN for key in secret.keys() - shown.keys()}


def redacted_text(text: str) -> str:
    """Redact a text: a URL, JSON, which some clients encode twice, or any other."""
    if not _MARK.search(text) or not _SUSPICIOUS.search(text.lower().encode("utf-8", "replace")):
        return text
    if _URL.fullmatch(text):
        return redacted_query(text)
    try:
        inner = from_json(text)
        return to_json(_redacted(inner)).decode() if isinstance(inner, dict | list | str) else text
    except RecursionError:
        return HIDDEN
    except ValueError:
        return HIDDEN if _ESCAPED in text else _redacted_lines(text)


@lru_cache(1_024)
def _header_name(name: bytes) -> tuple[str, bool]:
    """Return the name in lower case, and whether its value is a secret."""
    text = name.decode("latin-1").lower()
    return text, _SECRET_NAME.search(text) is not None and not text.startswith("x-ratelimit-")
