"""The verdict: what a client did wrong, by the journal, with the exchanges that prove it.

A finding needs proof. Where the same exchanges could come from a client that is right, there is none;
each rule says what it takes for innocent. Nothing is asked of anybody: entries in, findings out.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs

from mockserver import errors
from mockserver.journal import Entry

SOON = 30.0
"""Seconds within which the same request again is a retry."""
EARLY = 0.05
"""Seconds by which timers may be early, or 2% of the wait."""
COPIES = 3
"""So many uploads of the same bytes are too many."""

_RETRYABLE = {408, 409, 429}
_UPLOADS = {"CreateFile", "CreateContainerFile"}
_CONTENTS = {"DownloadFile", "RetrieveContainerFileContent"}
_LISTS = {"ListContainers", "ListContainerFiles", "ListFiles"}
_KINDS = {"cntr": "a container", "cfile": "a container's file", "file": "a File"}
_KIND = re.compile(r"(cntr|cfile|file)[-_]")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something done wrong. `exchanges` are numbers in the journal."""

    name: str
    message: str
    exchanges: list[int]


Proof = tuple[str, Iterable[Entry]]
"""What was done wrong, and where."""


def judge(entries: Sequence[Entry], running: Container[str], ignore: Container[str] = ()) -> list[Finding]:
    """What is wrong in a world's journal; `running` are the ids of those of its containers that run now."""
    history = History(sorted(entries, key=lambda entry: entry.wall), running)
    return [
        Finding(name, message, sorted({entry.number for entry in proof}))
        for name, rule in FINDINGS.items()
        if name not in ignore
        for message, proof in rule(history)
    ]


def created_containers(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Containers that clients made and know of, by id."""
    return {
        id: entry
        for entry in entries
        if entry.operation == "CreateContainer" and not entry.aborted
        for change, id in entry.touched
        if change == "created" and _kind(id) == "cntr"
    }


@dataclass(slots=True)
class History:
    """Exchanges in the order in which they began."""

    entries: list[Entry]
    running: Container[str]

    def of(self, *operations: str) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.operation in operations)

    def repeated(self) -> Iterator[list[Entry]]:
        """Each request that was sent more than once, with all of its exchanges."""
        same: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            same[entry.method, entry.route, entry.query, entry.body_size, entry.body_identity].append(entry)
        return (group for group in same.values() if len(group) > 1)


# Findings, in the order in which they are reported


def _container_never_deleted(history: History) -> Iterator[Proof]:
    """A container was created, is running now, and no DELETE of it was ever sent.

    Innocent: it expired or was removed by the control plane; the client never saw the id, or tried to delete it.
    """
    tried = {entry.ids.get("container_id") for entry in history.of("DeleteContainer")}
    made = created_containers(history.entries)
    left = {id: entry for id, entry in made.items() if id not in tried and id in history.running}
    if left:
        yield f"{_counted(left, 'container')} created and never deleted: {_some(left)}", left.values()


def _use_after_expiry(history: History) -> Iterator[Proof]:
    """A request for a container's files was answered `Container is expired.`

    Innocent: retrieving or deleting an expired container, and errors that a fault made up.
    """
    used: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        if "container_id" in entry.ids and _error(entry) == errors.CONTAINER_EXPIRED.message and not entry.made_up:
            used[entry.ids["container_id"]].append(entry)
    for id, uses in used.items():
        yield f"{id} was used after it had expired", uses


def _paging_stopped(history: History) -> Iterator[Proof]:
    """The last page that was asked of a list has `has_more`, and nobody went on; with a cursor, or no `limit`.

    Innocent: a first page with an explicit `limit`; having come to the end of that list since, or before an
    answer that a fault made up; having used some objects of that page, but not all: a search that found.
    """
    lists: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.of(*_LISTS):
        lists[entry.route].append(entry)
    for pages in lists.values():
        last = pages[-1]
        if last.page is None or not last.page[0] or last.made_up or last.aborted:
            continue
        query = parse_qs(last.query)
        if not {"after", "before"} & query.keys() and "limit" in query:
            continue
        if not _found_something(last, history):
            proof = [page for page in pages if page.page and page.page[2] in query.get("after", [])]
            yield f"{last.path} said that there is more, and nobody asked for it", [*proof[-1:], last]


def _retry_after_ignored(history: History) -> Iterator[Proof]:
    """The same request came again sooner than the `Retry-After` of its refusal had asked for.

    The wait counts by the machine's or by the world's clock, whichever went further. Innocent: another
    request; requests that were under way together.
    """
    for group in history.repeated():
        for number, refused in enumerate(group):
            asked = _retry_after(refused)
            again = next((entry for entry in group[number + 1 :] if entry.wall >= refused.ended), None)
            if asked is None or again is None:
                continue
            waited = max(again.wall - refused.ended, again.at - refused.ended_at)
            if waited < asked - max(EARLY, asked * 0.02):
                message = f"{_line(refused)} was to be retried after {asked:g} s and was after {max(waited, 0):.3g} s"
                yield message, [refused, again]


def _retried_what_cannot_be_retried(history: History) -> Iterator[Proof]:
    """The same request came again within 30 s of a 4xx other than 408, 409 and 429, or of `x-should-retry: false`.

    Innocent: something was changed in between; it succeeded in the end though no fault was in the way, so that it
    was waited for; `x-should-retry: true`; requests that were under way together.
    """
    for group in history.repeated():
        proof: list[Entry] = []
        for number, refused in enumerate(group):
            if not _final(refused):
                continue
            later = [entry for entry in group[number + 1 :] if entry.wall >= refused.ended]
            again = later[0] if later else None
            if again is None or again.wall - refused.ended > SOON or _changed_between(refused, again, history):
                continue
            if not refused.made_up and any(_succeeded(entry) for entry in later):
                continue
            proof += [refused, again]
        if proof:
            yield f"{_line(proof[0])} was refused with {proof[0].status} and sent again as it was", proof


def _wrong_id_kind(history: History) -> Iterator[Proof]:
    """An id of one kind stood where another kind belongs, and was refused: a `cfile_` id in `/files/{file_id}`.

    Innocent: ids of unknown shape; the id of a File in a container, where the profile takes it.
    """
    wrong: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in history.entries:
        if entry.status in (400, 404) and not entry.made_up:
            for id, wanted in _ids_given(entry):
                if (kind := _kind(id)) and kind != wanted:
                    message = f"{id} is the id of {_KINDS[kind]} and was given for that of {_KINDS[wanted]}"
                    wrong[id, message].append(entry)
    for (_, message), uses in wrong.items():
        yield message, uses


def _same_bytes_uploaded_again(history: History) -> Iterator[Proof]:
    """The same bytes were uploaded three times or more to one container, or to the Files API for one purpose.

    Innocent: empty files; uploads that were refused; copies that were deleted before the next one, or expired.
    """
    there: dict[tuple[str, ...], list[tuple[str, Entry]]] = defaultdict(list)
    proven: dict[tuple[str, ...], list[Entry]] = {}
    for entry in history.entries:
        gone = {id for change, id in entry.touched if change == "deleted"}
        for copies in there.values() if gone else ():
            copies[:] = [copy for copy in copies if copy[0] not in gone]
        if (upload := _upload(entry)) is None or not _succeeded(entry) or not upload["bytes"]:
            continue
        key = (entry.ids.get("container_id", ""), _purpose(entry), upload["sha256"])
        there[key] = [copy for copy in there[key] if not _expired(copy[1], entry.at)]
        there[key] += [(id, entry) for change, id in entry.touched if change == "created"]
        if len(there[key]) >= COPIES:
            proven[key] = [copy for _, copy in there[key]]
    for (container, *_), uploads in proven.items():
        place = container or "the Files API"
        yield f"the same bytes were uploaded {len(uploads)} times to {place}", uploads


def _error_body_as_content(history: History) -> Iterator[Proof]:
    """The body of an error, answered where content was asked for, was uploaded as a file; or content was asked of
    a file, and refused with 404, after a full listing of its files, or a 404 on retrieving it, had said it is gone.

    Innocent: a 404 on content without such notice; a listing that was not to the end.
    """
    bodies: dict[str, Entry] = {}
    for entry in history.entries:
        upload = _upload(entry)
        if upload and (origin := bodies.get(upload["sha256"])):
            yield f"the error that {_line(origin)} was answered with was uploaded as a file", [origin, entry]
        if entry.operation in _CONTENTS and (entry.status or 0) >= 400 and isinstance(entry.answer, bytes):
            for body in {entry.answer, entry.answer.rstrip()} - {b""}:
                bodies[hashlib.sha256(body).hexdigest()] = entry
    told: dict[str, list[Entry]] = defaultdict(list)
    for number, entry in enumerate(history.entries):
        missed = entry.operation in _CONTENTS and entry.status == 404 and entry.method == "GET" and not entry.made_up
        if missed and (notice := _told_gone(entry, history.entries[:number])):
            told[entry.route] += [notice, entry]
    for route, proof in told.items():
        yield f"{route} was asked for after the client had been told that this file is gone", proof


FINDINGS: dict[str, Callable[[History], Iterator[Proof]]] = {
    "container-never-deleted": _container_never_deleted,
    "use-after-expiry": _use_after_expiry,
    "paging-stopped": _paging_stopped,
    "retry-after-ignored": _retry_after_ignored,
    "retried-what-cannot-be-retried": _retried_what_cannot_be_retried,
    "wrong-id-kind": _wrong_id_kind,
    "same-bytes-uploaded-again": _same_bytes_uploaded_again,
    "error-body-as-content": _error_body_as_content,
}


# What exchanges say


def _succeeded(entry: Entry) -> bool:
    return entry.status is not None and entry.status < 400 and not entry.aborted


def _error(entry: Entry) -> str | None:
    """The message of an error's envelope."""
    if entry.status is None or entry.status < 400:
        return None
    body = entry.response()
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("message") if isinstance(error, dict) else None


def _final(entry: Entry) -> bool:
    """Refused in a way that sending it again can't mend."""
    if entry.status is None or entry.status < 400:
        return False
    if (advice := entry.answer_header("x-should-retry")) in ("true", "false"):
        return advice == "false"
    return entry.status < 500 and entry.status not in _RETRYABLE


def _changed_between(one: Entry, other: Entry, history: History) -> bool:
    return any(entry.touched and one.wall <= entry.wall <= other.wall for entry in history.entries)


def _retry_after(entry: Entry) -> float | None:
    """Seconds, as SDKs read them: `retry-after-ms`, else `Retry-After` as a number or a date."""
    if entry.status is None or entry.status < 400 or entry.aborted:
        return None
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (given := entry.answer_header(header)) is None:
            continue
        try:
            return max(float(given), 0.0) * unit
        except ValueError:
            pass
        try:
            return max(parsedate_to_datetime(given).timestamp() - entry.ended, 0.0)
        except ValueError:
            pass
    return None


def _found_something(page: Entry, history: History) -> bool:
    """Whether some, but not all, of a page's objects were used after it."""
    shown = _listed(page)
    if not shown:
        return False
    used = {id for entry in history.entries if entry.wall >= page.ended for id, _ in _ids_given(entry)}
    return bool(shown & used) and not shown <= used


def _listed(page: Entry) -> set[str]:
    body = page.response()
    data = body.get("data") if isinstance(body, dict) else None
    return {each["id"] for each in data if isinstance(each, dict) and "id" in each} if isinstance(data, list) else set()


def _told_gone(content: Entry, before: Sequence[Entry]) -> Entry | None:
    """The answer that said so, if it is the latest that says anything of this file."""
    container, file = content.ids.get("container_id"), content.ids.get("file_id", "")
    for entry in reversed(before):
        if entry.ended > content.wall or entry.made_up or entry.aborted:
            continue
        if any(id == file for change, id in entry.touched if change == "created"):
            return None
        if entry.operation not in _LOOKS or entry.ids.get("container_id") != container:
            continue
        if entry.operation in _LISTS:
            if entry.status != 200 or (file in _listed(entry)):
                return None
            if isinstance(entry.answer, bytes) and _is_whole(entry):
                return entry
        elif entry.ids.get("file_id") == file:
            return entry if entry.status == 404 else None
    return None


_LOOKS = {"ListContainerFiles", "ListFiles", "RetrieveContainerFile", "RetrieveFile"}


def _is_whole(page: Entry) -> bool:
    """Whether a listing shows all there is."""
    return (
        page.page is not None and not page.page[0] and not {"after", "before", "purpose"} & parse_qs(page.query).keys()
    )


def _upload(entry: Entry) -> dict[str, Any] | None:
    """The file that came with a form, all of it."""
    body = entry.request() if entry.operation in _UPLOADS else None
    file = body.get("file") if isinstance(body, dict) else None
    return file if isinstance(file, dict) and file.get("sha256") else None


def _purpose(entry: Entry) -> str:
    body = entry.request()
    return str(body.get("purpose", "")) if isinstance(body, dict) else ""


def _expired(upload: Entry, now: float) -> bool:
    body = upload.response()
    at = body.get("expires_at") if isinstance(body, dict) else None
    return isinstance(at, int) and at <= now


def _ids_given(entry: Entry) -> Iterator[tuple[str, str]]:
    """The ids in a request's path and body, each with the kind that belongs there."""
    if "container_id" in entry.ids:
        yield entry.ids["container_id"], "cntr"
    if "file_id" in entry.ids:
        yield entry.ids["file_id"], "cfile" if "container_id" in entry.ids else "file"
    body = entry.request()
    if isinstance(body, dict):
        given = body.get("file_ids")
        for id in (body.get("file_id"), *(given if isinstance(given, list) else ())):
            if isinstance(id, str):
                yield id, "file"


def _kind(id: str) -> str | None:
    match = _KIND.match(id)
    return match[1] if match else None


# Words


def _line(entry: Entry) -> str:
    return f"{entry.method} {entry.path}"


def _counted(things: Sequence[Any] | dict[str, Any], name: str) -> str:
    return f"1 {name} was" if len(things) == 1 else f"{len(things)} {name}s were"


def _some(ids: Iterable[str]) -> str:
    shown = list(ids)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
