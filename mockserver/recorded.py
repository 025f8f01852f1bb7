"""What recorded exchanges show: the ids that a request names, what failed and how, lists, uploads.

Also the words that the messages of findings share.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

from mockserver.answers import Counted
from mockserver.entries import Entry
from mockserver.schema.faults import LISTS
from mockserver.schema.responses import parts

_RETRYABLE = {408, 409, 429}
_UPLOADS = {"CreateFile", "CreateContainerFile"}


# A journal

_CREATED = {"CreateContainer": "cntr", "CreateUpload": "upload"}


def created(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the exchanges that created containers or uploads whose ids the client received, by id."""
    return {
        id: entry
        for entry in entries
        if entry.operation in _CREATED and not entry.aborted
        for change, id in entry.objects
        if change == "created" and kind_of(id) == _CREATED[entry.operation]
    }


class History:
    """Journal entries in the order in which the exchanges began."""

    def __init__(self, entries: Iterable[Entry], running: Container[str], rules: Sequence[Counted]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.wall)
        self.running = running
        self.rules = rules
        self._changes = [entry.wall for entry in self.entries if entry.objects]

    def changed(self, after: float, until: float) -> bool:
        """Whether an exchange that began between the two times changed something."""
        return bisect_right(self._changes, after) < bisect_left(self._changes, until)

    def of(self, *operations: str) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.operation in operations)

    def repeated(self, exactly: bool) -> Iterator[list[Entry]]:
        """Group the exchanges of each request that was sent more than once.

        Of a body that was not read only the length is known. Such requests are left out if requests must be
        `exactly` the same; otherwise they are equal to any request of that length.
        """
        same: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            length = entry.shown["request"]["headers"].get("content-length") if entry.method == "POST" else "0"
            if exactly and not is_unread(entry):
                same[entry.method, entry.route, entry.shown["query"], entry.identity].append(entry)
            elif not exactly and length is not None:
                same[entry.method, entry.route, entry.shown["query"], length].append(entry)
        return (group for group in same.values() if len(group) > 1)


# Ids

KINDS = {
    "cntr": "a container",
    "cfile": "a container's file",
    "file": "a File",
    "part": "a part of an upload",
    "skill": "a skill",
    "skillver": "a skill version",
    "upload": "an upload",
}
PLACES = {kind: f"that of {name}" for kind, name in KINDS.items()} | {"version": "a version's number"}
_KIND = re.compile(rf"({'|'.join(KINDS)})[-_]")


def ids_given(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the ids in a request's path and body, each with the kind that is expected there."""
    for name, id in entry.ids.items():
        kind = name.removesuffix("_id")
        if kind == "container":
            kind = "cntr"
        elif kind == "file" and "container_id" in entry.ids:
            kind = "cfile"
        if kind in PLACES:
            yield id, kind
    for id, number in skills_named(entry):
        yield id, "skill"
        yield number, "version"
    for key, kind in (("file_id", "file"), ("file_ids", "file"), ("part_ids", "part")):
        given = request_body(entry).get(key)
        yield from ((id, kind) for id in (given if isinstance(given, list) else [given]) if isinstance(id, str))


def skills_named(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the ids of skills in a request's body, each with the number of a version or an empty string."""
    body = request_body(entry)
    if entry.operation == "UpdateSkill" and isinstance(entry.shown["request"].get("body"), dict):
        yield entry.ids["skill_id"], str(body.get("default_version", ""))
    for skill in parts(body.get("skills")) if entry.operation == "CreateContainer" else ():
        if isinstance(id := skill.get("skill_id"), str):
            yield id, str(skill.get("version") or "")


def kind_of(id: str) -> str | None:
    match = _KIND.match(id)
    return match[1] if match else None


# What exchanges show


def request_body(entry: Entry) -> dict[str, Any]:
    """The JSON object or the form that was sent; empty for another body, and one that was too large to be kept."""
    return _mapping(entry.shown["request"].get("body"))


def response_body(entry: Entry) -> dict[str, Any]:
    """The JSON object that was returned; empty for another body, and one that was too large to be kept."""
    return _mapping(entry.shown["response"].get("body"))


def error(entry: Entry) -> dict[str, Any]:
    """The error of a response's envelope; empty if there is none, or a fault made it up."""
    return _mapping(response_body(entry).get("error")) if (entry.status or 0) >= 400 and not entry.made_up else {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def messages(entry: Entry) -> list[dict[str, Any]]:
    """The items of a run's input."""
    given = request_body(entry).get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) else parts(given)


def failed_response(entry: Entry) -> str | None:
    """The id of a response that was received as failed, as an object or in the last event of a stream."""
    if entry.failed or entry.made_up:
        return None
    body = response_body(entry)
    if isinstance(stream := entry.shown["response"].get("body"), str):
        name, _, data = stream.rstrip("\n").rpartition("\n\n")[2].partition("\ndata: ")
        body = json.loads(data)["response"] if name == "event: response.failed" else {}
    return body.get("id") if body.get("status") == "failed" else None


def is_final(entry: Entry) -> bool:
    """Whether it failed in a way that a retry can't fix."""
    if entry.status is None or entry.status < 400:
        return False
    if (advice := entry.shown["response"]["headers"].get("x-should-retry")) in ("true", "false"):
        return bool(advice == "false")
    return entry.status < 500 and entry.status not in _RETRYABLE


def is_unread(entry: Entry) -> bool:
    """Whether it failed before its body was read."""
    return entry.method == "POST" and entry.identity is None


def pairs(group: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pair each exchange with the first of the same request, as far as is known, that began after its end."""
    for number, one in enumerate(group):
        ended, read = one.ended, not is_unread(one)
        for other in islice(group, number + 1, None):
            if other.wall >= ended and not (read and not is_unread(other) and one.identity != other.identity):
                yield one, other
                break


def retry_delay(entry: Entry) -> float | None:
    """Return seconds, as SDKs read them: `retry-after-ms`, else `Retry-After` as a number or a date."""
    if entry.status is None or entry.status < 400 or entry.aborted:
        return None
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (given := entry.shown["response"]["headers"].get(header)) is None:
            continue
        with suppress(ValueError):
            return max(float(given), 0.0) * unit
        with suppress(ValueError):
            return max(parsedate_to_datetime(given).timestamp() - entry.ended, 0.0)
    return None


def found_something(page: Entry, entries: Sequence[Entry]) -> bool:
    """Whether some objects of a page were used later, but not all of several."""
    kind = _LISTED.get(page.operation or "", "file")
    later = islice(entries, bisect_right(entries, page.ended, key=lambda entry: entry.wall), None)
    used = {id for entry in later for id, wanted in ids_given(entry) if (kind_of(id) or wanted) == kind}
    shown = _listed(page)
    if shown is None:
        return bool(used)  # the page was too large to be kept
    return bool(shown & used) and (len(shown) == 1 or not shown <= used)


_LISTED = {
    "ListContainers": "cntr",
    "ListContainerFiles": "cfile",
    "ListSkills": "skill",
    "ListSkillVersions": "version",
}
"""The kind of what later requests name of a list's objects. Versions are named by their numbers."""


def _listed(page: Entry) -> set[str] | None:
    data = response_body(page).get("data")
    key = "version" if page.operation == "ListSkillVersions" else "id"
    return {each[key] for each in parts(data) if key in each} if isinstance(data, list) else None


def shown_gone(content: Entry, earlier: deque[Entry]) -> Entry | None:
    """Return the exchange whose response showed that the file is gone, if it is the latest about this file."""
    file = content.ids.get("file_id", "")
    for entry in reversed(earlier):
        if entry.ended > content.wall or entry.made_up or entry.aborted:
            continue
        if ("created", file) in entry.objects:
            return None
        if entry.operation in LISTS:
            shown = _listed(entry)
            if shown is not None and file in shown:
                return None
            if shown is not None and _is_whole(entry):
                return entry
        elif entry.operation in LOOKS and entry.ids.get("file_id") == file:
            return entry if entry.status == 404 else None
    return None


LOOKS = {"ListContainerFiles", "ListFiles", "RetrieveContainerFile", "RetrieveFile"}


def _is_whole(page: Entry) -> bool:
    """Whether a list shows all objects."""
    return (
        page.page is not None
        and not page.page[0]
        and not {"after", "before", "purpose"} & parse_qs(page.shown["query"]).keys()
    )


def uploaded_file(entry: Entry) -> dict[str, Any] | None:
    """Return the description of an uploaded file that was read to its end."""
    file = _mapping(request_body(entry).get("file")) if entry.operation in _UPLOADS else {}
    return file if file.get("sha256") else None


def has_expired(upload: Entry, now: float) -> bool:
    at = response_body(upload).get("expires_at")
    return isinstance(at, int) and at <= now


# Messages


def line(entry: Entry) -> str:
    return f"{entry.method} {entry.shown['path']}"


def counted(things: Sized, name: str) -> str:
    return f"1 {name} was" if len(things) == 1 else f"{len(things)} {name}s were"
