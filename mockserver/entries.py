"""Entries of the journal: the JSON of an exchange that readers are shown, made once, and a few private facts."""

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from pydantic_core import to_json

from mockserver.clock import Clock
from mockserver.redaction import (
    Sent,
    as_json,
    redacted_body,
    redacted_headers,
    redacted_query,
    redacted_response,
    redacted_text,
)

MAX_MESSAGE = 500
"""Characters of an error's message that an entry repeats outside of its response."""
_WORD = re.compile(r"\w+")
_ID_NAMES = {"versions": "version"}
"""What the id behind a name in a path is called, where it isn't the name's singular with `_id`."""
CONTENTS = {"DownloadFile", "RetrieveContainerFileContent"}
"""Operations that return the bytes of a file."""
COMPLETE, ABORTED = b"false}", b"true}"
"""How the JSON of an entry ends, by its last member, `aborted`."""

Record = tuple[Any, ...]
"""An entry as it is kept: the fields of `Entry` in a plain tuple, which the garbage collector stops tracking."""


@dataclass(eq=False)
class Entry:
    """A recorded exchange. `json` is what readers are shown; the other fields are private facts."""

    number: int
    json: bytes
    operation: str | None
    method: str
    status: int | None
    route: str
    """The path as the API reference writes it: without world and version."""
    identity: int | None
    """Of the request's body: see `Sent`."""
    made_up: bool
    """Whether a fault made up the response."""
    rate: float
    """Of the world's clock."""
    warnings: tuple[str, ...]
    """Codes of the headers `x-mock-warning`."""
    page: tuple[bool, str | None, str | None] | None
    """For a list: `has_more`, `first_id`, `last_id`."""
    digests: tuple[str, ...]
    """For an error in place of content: the SHA-256 of its body, and of its body without a newline at the end."""
    cited: tuple[tuple[str, str], ...] = ()
    """The containers and files that a response's text links to."""

    @cached_property
    def shown(self) -> dict[str, Any]:
        return dict(json.loads(self.json))  # takes numbers of any size, and any depth that was recorded

    @property
    def brief(self) -> bytes:
        """The JSON without `request` and `response`. Only bodies can contain the same keys, and they lie between."""
        return self.json[: self.json.index(b',"request":')] + self.json[self.json.rindex(b',"fault":') :]

    @property
    def aborted(self) -> bool:
        return self.json.endswith(ABORTED)

    @property
    def failed(self) -> bool:
        """Whether the client received an error, no response, or a part of one."""
        return self.status is None or self.status >= 400 or self.aborted

    @cached_property
    def wall(self) -> float:
        """When the exchange began, in seconds by the machine's clock."""
        return float(self.shown["wall"])

    @cached_property
    def ended(self) -> float:
        """When the exchange ended, by the machine's clock."""
        return self.wall + float(self.shown["duration_ms"]) / 1000

    @property
    def ended_at(self) -> float:
        """When the exchange ended, by the world's clock if nobody changed it."""
        return float(self.shown["at"]) + (self.ended - self.wall) * self.rate

    @cached_property
    def objects(self) -> list[tuple[str, str]]:
        """What was `created`, `changed` or `deleted`, with its id."""
        return [(each["change"], each["id"]) for each in self.shown["objects"]]

    @cached_property
    def ids(self) -> dict[str, str]:
        """The ids in the path, by the names of the API reference: `container_id`, `file_id`, `upload_id`."""
        parts = self.route.split("/") if self.operation else []
        pairs = zip(parts[1::2], parts[2::2], strict=False)
        return {_ID_NAMES.get(name, f"{name.removesuffix('s')}_id"): id for name, id in pairs}

    def has(self, text: str) -> bool:
        """Whether the path, query, headers, bodies, objects or ids contain the text, in any case."""
        text, raw = text.lower(), self.json.decode().lower()
        if "\\" not in raw and not all(word in raw for word in _WORD.findall(text)):
            return False  # to parse the JSON of all entries would take ten times as long
        shown = self.shown
        pieces = [f"{self.method} {shown['path']}?{shown['query']}", self.operation or "", shown["fault"] or ""]
        pieces += [shown["request_id"], *(id for _, id in self.objects)]
        for message in (shown["request"], shown["response"]):
            pieces += [f"{name}: {value}" for name, value in message["headers"].items()]
            if isinstance(body := message.get("body"), str):
                pieces.append(body)
            elif body is not None:  # with and without spaces, whichever the client sent
                pieces += [to_json(body, inf_nan_mode="strings").decode(), json.dumps(body, ensure_ascii=False)]
        return text in "\n".join(pieces).lower()


@dataclass(frozen=True, slots=True)
class Filter:
    """Matches the entries that meet all conditions. `statuses` are ranges that include both ends."""

    operations: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    statuses: tuple[tuple[int, int], ...] = ()
    warnings: frozenset[str] = frozenset()
    failed: bool = False
    text: str = ""

    @property
    def matches_all(self) -> bool:
        return self == Filter()

    def __call__(self, entry: Entry) -> bool:
        return (
            (not self.operations or entry.operation in self.operations)
            and (not self.methods or entry.method in self.methods)
            and (not self.statuses or any(low <= (entry.status or 0) <= high for low, high in self.statuses))
            and (not self.warnings or not self.warnings.isdisjoint(entry.warnings))
            and (not self.failed or entry.failed)
            and (not self.text or entry.has(self.text))
        )


# Making them


def record_of(
    shown: dict[str, Any],
    route: str,
    sent: Sent,
    response: bytes | int | None,
    made_up: bool,
    clock: Clock,
    page: tuple[bool, str | None, str | None] | None = None,
    cited: Sequence[tuple[str, str]] = (),
) -> Record:
    """`shown` is the entry as readers are shown it, but for what takes long and is made here: its `query` is as it was
    sent, and it has headers for `request` and `response`, and neither `at` nor `error`. `response` is the body, its size, or None."""
    operation, status, fault = shown["operation"], shown["status"], shown["fault"]
    shown["at"] = clock.at(shown["wall"])
    shown["query"] = redacted_query(shown["query"].decode("utf-8", "replace"))
    shown["request"] = {"headers": redacted_headers(shown["request"]), **_request_body(sent)}
    if shown["container"]:
        shown["container"] = redacted_text(shown["container"])
    visible = response
    if isinstance(response, bytes):
        visible = redacted_response(response, repeats_names=fault is not None or route.startswith("/responses"))
        visible = len(response) if visible is None else visible
    shown["response"] = {"headers": redacted_headers(shown["response"]), **_response_body(visible, fault)}
    digests: tuple[str, ...] = ()
    if status and status >= 400:
        shown["error"] = _error_message(visible)
        if operation in CONTENTS and isinstance(response, bytes):
            digests = tuple(hashlib.sha256(body).hexdigest() for body in (response, response.rstrip()) if body)
    text = bytes(memoryview(orjson.dumps(shown)))  # a copy: what orjson returns takes 8 KiB whatever its length
    method, warnings = sys.intern(shown["method"]), tuple(shown["warnings"])
    facts = (
        operation,
        method,
        status,
        route,
        sent.identity,
        made_up,
        clock.rate,
        warnings,
        page,
        digests,
        tuple(cited),
    )
    return (shown["number"], text, *facts)


def _request_body(sent: Sent) -> dict[str, Any]:
    if (shown := redacted_body(sent.body) if sent.body else sent.form) is not None:
        return {"body": orjson.Fragment(shown)}
    if not sent.size:
        return {}
    size = {"body_bytes": sent.size}
    return size | {"body_sha256": sent.digest} if sent.digest else size


def _response_body(response: bytes | int | None, fault: str | None) -> dict[str, Any]:
    if response is None or response == b"":
        return {}
    if isinstance(response, int):
        return {"body_bytes": response}
    # The API's own responses are JSON with line breaks, or events; those of a fault may be anything.
    own = not fault and response.startswith(b"{")
    return {"body": orjson.Fragment(response.replace(b"\n", b"") if own else as_json(response))}


def _error_message(response: bytes | int | None) -> str | None:
    """Return the message of an error's envelope. A body that a fault sets may be anything."""
    try:
        message = orjson.loads(response)["error"]["message"] if isinstance(response, bytes) else None
    except (ValueError, TypeError, LookupError):
        return None
    return message[:MAX_MESSAGE] if isinstance(message, str) else None
