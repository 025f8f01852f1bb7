"""Check a journal for mistakes of the client, with the exchanges that prove them.

A finding needs proof. Where a correct client could have caused the same exchanges, there is no finding;
each rule says what it treats as innocent. The rules read journal entries and nothing else.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

from mockserver import errors
from mockserver.journal import Entry
from mockserver.named import KINDS, PLACES, ids_given, kind_of, skills_named
from mockserver.schema.faults import LISTS

SOON = 30.0
"""Seconds within which the same request counts as a retry."""
EARLY = 0.05
"""Seconds by which a timer may fire early, or 2% of the wait."""
COPIES = 3
"""This many uploads of the same bytes are too many."""
LOOK_BACK = 200
"""How many earlier exchanges on the same files are searched for a response that shows that one is gone."""

_RETRYABLE = {408, 409, 429}
_UPLOADS = {"CreateFile", "CreateContainerFile"}
_CONTENTS = {"DownloadFile", "RetrieveContainerFileContent"}
_LISTS = {"ListContainers", "ListContainerFiles", "ListFiles"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake of the client. `exchanges` are numbers in the journal."""

    name: str
    message: str
    exchanges: list[int]


Proof = tuple[str, Iterable[Entry]]
"""The message of a finding, and the exchanges that prove it."""


def check(entries: Sequence[Entry], running: Container[str], ignore: Container[str] = ()) -> list[Finding]:
    """Check a world's journal; `running` are the ids of its containers that are running now, and of its uploads that
    are pending."""
    history = History(entries, running)
    return [
        Finding(name, message, sorted({entry.number for entry in proof}))
        for name, rule in FINDINGS.items()
        if name not in ignore
        for message, proof in rule(history)
    ]


_CREATED = {"CreateContainer": "cntr", "CreateUpload": "upload"}


def created(entries: Iterable[Entry], *operations: str) -> dict[str, Entry]:
    """Return the exchanges that created containers or uploads whose ids the client received, by id."""
    return {
        id: entry
        for entry in entries
        if entry.operation in (operations or _CREATED) and not entry.aborted
        for change, id in entry.objects
        if change == "created" and kind_of(id) == _CREATED[entry.operation or ""]
    }


class History:
    """Journal entries in the order in which the exchanges began."""

    def __init__(self, entries: Iterable[Entry], running: Container[str]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.wall)
        self.running = running
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
            if exactly and not _is_unread(entry):
                same[entry.method, entry.route, entry.shown["query"], entry.identity].append(entry)
            elif not exactly and length is not None:
                same[entry.method, entry.route, entry.shown["query"], length].append(entry)
        return (group for group in same.values() if len(group) > 1)


# Findings, in the order in which they are reported


def _container_never_deleted(history: History) -> Iterator[Proof]:
    """A container was created, is running now, and no DELETE was ever sent for it.

    Innocent: it expired or was deleted through the control plane; the client never received the id, or tried to
    delete it.
    """
    tried = {entry.ids.get("container_id") for entry in history.of("DeleteContainer")}
    made = created(history.entries, "CreateContainer")
    left = {id: entry for id, entry in made.items() if id not in tried and id in history.running}
    if left:
        yield f"{_counted(left, 'container')} created and never deleted: {_some(left)}", left.values()


def _use_after_expiry(history: History) -> Iterator[Proof]:
    """A request for a container's files returned `Container is expired.`

    Innocent: retrieving or deleting an expired container; errors made by a fault.
    """
    used: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        if "container_id" in entry.ids and _error(entry) == errors.CONTAINER_EXPIRED.message and not entry.made_up:
            used[entry.ids["container_id"]].append(entry)
    for id, uses in used.items():
        yield f"{id} was used after it had expired", uses


def _paging_stopped(history: History) -> Iterator[Proof]:
    """The last page that was requested of a list has `has_more`, and the next page was never requested, although a
    cursor had been used before, or no `limit` was given.

    Innocent: a first page with an explicit `limit`; reaching the end of that list later; pages made by a fault;
    using some objects of that page, but not all of several: a search that succeeded.
    """
    stopped: dict[tuple[str, ...], Entry] = {}
    for page in history.of(*LISTS):
        query = parse_qs(page.shown["query"])
        cursors = {*query.get("after", []), *query.get("before", [])}
        walk = (page.route, *(f"{key}={query[key]}" for key in sorted(query.keys() & {"name", "purpose"})))
        if page.page is None or page.made_up or page.aborted:
            if walk in stopped and cursors & {*(stopped[walk].page or ())}:
                del stopped[walk]
        elif not page.page[0]:
            stopped.pop(walk, None)
        elif cursors or "limit" not in query:
            stopped[walk] = page
    for page in stopped.values():
        if not _found_something(page, history):
            yield f"{page.shown['path']} has more, and the next page was never requested", [page]


def _retry_after_ignored(history: History) -> Iterator[Proof]:
    """The same request was sent again sooner than the `Retry-After` of its error allowed, by the machine's clock and
    by the world's.

    Innocent: a different request; concurrent requests.
    """
    for group in history.repeated(exactly=False):
        for failed, again in _pairs(group):
            delay = _retry_after(failed)
            waited = max(again.wall - failed.ended, again.shown["at"] - failed.ended_at)
            if delay is not None and waited < delay - max(EARLY, delay * 0.02):
                message = (
                    f"{_line(failed)} was to be retried after {delay:g} s and was retried after {max(waited, 0):.3g} s"
                )
                yield message, [failed, again]


def _retried_what_cannot_be_retried(history: History) -> Iterator[Proof]:
    """The same request was sent again within 30 s of a 4xx other than 408, 409 and 429, or of `x-should-retry: false`.

    Innocent: something was changed in between; the request succeeded in the end and no fault had caused the errors,
    so the client was polling; `x-should-retry: true`; concurrent requests.
    """
    for group in history.repeated(exactly=True):
        proof: list[Entry] = []
        last_success = max((entry.wall for entry in group if _succeeded(entry)), default=0.0)
        for failed, again in _pairs(group):
            waited_for = last_success >= again.wall and not failed.made_up
            soon = again.wall - failed.ended <= SOON and not history.changed(failed.wall, again.wall)
            if _final(failed) and soon and not waited_for:
                proof += [failed, again]
        if proof:
            yield f"{_line(proof[0])} returned {proof[0].status} and was sent again unchanged", proof


def _wrong_id_kind(history: History) -> Iterator[Proof]:
    """An id of one kind was sent in place of another kind and caused an error: a `cfile_` id in `/files/{file_id}`.

    Innocent: ids of an unknown form; the id of a File in a container, if the profile accepts it.
    """
    wrong: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in history.entries:
        if entry.status in (400, 404) and not entry.made_up:
            for id, wanted in ids_given(entry):
                if (kind := kind_of(id)) and kind != wanted:
                    message = f"{id} is the id of {KINDS[kind]} and was sent in place of {PLACES[wanted]}"
                    wrong[id, message].append(entry)
    for (_, message), uses in wrong.items():
        yield message, uses


def _same_bytes_uploaded_again(history: History) -> Iterator[Proof]:
    """The same bytes were uploaded three times or more to one container, or to the Files API for one purpose.

    Innocent: empty files; uploads that failed; copies that were deleted, or had expired, before the next upload.
    """
    there: dict[tuple[str, ...], dict[str, Entry]] = defaultdict(dict)
    places: dict[str, tuple[str, ...]] = {}
    proven: dict[tuple[str, ...], list[Entry]] = {}
    for entry in history.entries:
        for change, id in entry.objects:
            if change == "deleted" and id in places:
                there[places[id]].pop(id, None)
        upload = _upload(entry)
        if upload is None or not _succeeded(entry) or not upload["bytes"]:
            continue
        key = (entry.ids.get("container_id", ""), upload["sha256"], _purpose(entry))
        there[key] = {id: copy for id, copy in there[key].items() if not _expired(copy, entry.shown["at"])}
        for change, id in entry.objects:
            if change == "created":
                there[key][id], places[id] = entry, key
        if len(there[key]) >= COPIES:
            proven[key] = list(there[key].values())
    for (container, *_), uploads in proven.items():
        yield f"the same bytes were uploaded {len(uploads)} times to {container or 'the Files API'}", uploads


def _error_body_as_content(history: History) -> Iterator[Proof]:
    """The body of an error, returned in place of a file's content, was uploaded as a file; or content was requested
    and returned 404 after a list of all files, or a 404 on retrieving the file, had shown that the file is gone.

    Innocent: a 404 on content without such a response before; a list that didn't show all files.
    """
    bodies: dict[str, Entry] = {}
    gone: dict[str, list[Entry]] = defaultdict(list)
    looks: dict[str, deque[Entry]] = defaultdict(lambda: deque(maxlen=LOOK_BACK))
    for entry in history.entries:
        upload = _upload(entry)
        if upload and (origin := bodies.get(upload["sha256"])):
            yield f"the error that {_line(origin)} returned was uploaded as a file", [origin, entry]
        earlier = looks[entry.ids.get("container_id", "")]
        if entry.operation in _CONTENTS and (entry.status or 0) >= 400 and entry.digests:
            bodies |= dict.fromkeys(entry.digests, entry)
            missed = entry.status == 404 and entry.method == "GET" and not entry.made_up
            if missed and (shown := _shown_gone(entry, earlier)):
                gone[entry.route] += [shown, entry]
        elif entry.operation in _LOOKS or entry.objects:
            earlier.append(entry)
    for route, proof in gone.items():
        yield f"{route} was requested after a response had shown that this file is gone", proof


def _upload_left_pending(history: History) -> Iterator[Proof]:
    """An upload was created, is pending now, and was neither completed nor cancelled.

    Innocent: it expired or was deleted through the control plane; the client never received the id, or tried to
    cancel it.
    """
    tried = {entry.ids.get("upload_id") for entry in history.of("CancelUpload")}
    made = created(history.entries, "CreateUpload")
    left = {id: entry for id, entry in made.items() if id not in tried and id in history.running}
    if left:
        yield f"{_counted(left, 'upload')} created and neither completed nor cancelled: {_some(left)}", left.values()


def _parts_dont_add_up(history: History) -> Iterator[Proof]:
    """Completing an upload returned 400 because of its `part_ids`, their size, or its `md5`.

    Innocent: completing an upload that is no longer pending; errors made by a fault.
    """
    for entry in history.of("CompleteUpload"):
        if entry.status == 400 and not entry.made_up and _response(entry)["error"]["param"] in ("part_ids", "md5"):
            yield f"{_line(entry)} failed: {_error(entry)}", [entry]


def _deleted_skill_used(history: History) -> Iterator[Proof]:
    """A container was created with a skill, or a skill's default version was set, and failed since the client had
    deleted that skill or version before.

    Innocent: reading or deleting what was deleted; errors made by a fault; skills that the client did not delete.
    """
    deleted: dict[tuple[str, str], Entry] = {}
    for entry in history.entries:
        skill, version = entry.ids.get("skill_id", ""), entry.ids.get("version", "")
        if entry.operation in ("DeleteSkill", "DeleteSkillVersion") and _succeeded(entry):
            deleted[skill, version] = entry
        elif entry.status in (400, 404) and not entry.made_up:
            for used, number in skills_named(entry):
                if gone := deleted.get((used, "")) or deleted.get((used, number)):
                    what = f"version {number} of {used}" if number else used
                    yield f"{what} was named by {_line(entry)} after it had been deleted", [gone, entry]


FINDINGS: dict[str, Callable[[History], Iterator[Proof]]] = {
    "container-never-deleted": _container_never_deleted,
    "use-after-expiry": _use_after_expiry,
    "paging-stopped": _paging_stopped,
    "retry-after-ignored": _retry_after_ignored,
    "retried-what-cannot-be-retried": _retried_what_cannot_be_retried,
    "wrong-id-kind": _wrong_id_kind,
    "same-bytes-uploaded-again": _same_bytes_uploaded_again,
    "error-body-as-content": _error_body_as_content,
    "upload-left-pending": _upload_left_pending,
    "parts-dont-add-up": _parts_dont_add_up,
    "deleted-skill-used": _deleted_skill_used,
}


# What exchanges show


def _succeeded(entry: Entry) -> bool:
    return entry.status is not None and entry.status < 400 and not entry.aborted


def _request(entry: Entry) -> Any:
    return entry.shown["request"].get("body")


def _response(entry: Entry) -> Any:
    return entry.shown["response"].get("body")


def _error(entry: Entry) -> str | None:
    """The message of an error's envelope."""
    if entry.status is None or entry.status < 400:
        return None
    body = _response(entry)
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("message") if isinstance(error, dict) else None


def _final(entry: Entry) -> bool:
    """Whether it failed in a way that a retry can't fix."""
    if entry.status is None or entry.status < 400:
        return False
    if (advice := entry.shown["response"]["headers"].get("x-should-retry")) in ("true", "false"):
        return bool(advice == "false")
    return entry.status < 500 and entry.status not in _RETRYABLE


def _is_unread(entry: Entry) -> bool:
    """Whether it failed before its body was read."""
    return entry.method == "POST" and entry.identity is None


def _pairs(group: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pair each exchange with the first of the same request, as far as is known, that began after its end."""
    for number, one in enumerate(group):
        ended, read = one.ended, not _is_unread(one)
        for other in islice(group, number + 1, None):
            if other.wall >= ended and not (read and not _is_unread(other) and one.identity != other.identity):
                yield one, other
                break


def _retry_after(entry: Entry) -> float | None:
    """Return seconds, as SDKs read them: `retry-after-ms`, else `Retry-After` as a number or a date."""
    if entry.status is None or entry.status < 400 or entry.aborted:
        return None
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (given := entry.shown["response"]["headers"].get(header)) is None:
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
    """Whether some objects of a page were used later, but not all of several."""
    kind = _LISTED.get(page.operation or "", "file")
    later = islice(history.entries, bisect_right(history.entries, page.ended, key=lambda entry: entry.wall), None)
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
    body = _response(page)
    data = body.get("data") if isinstance(body, dict) else None
    key = "version" if page.operation == "ListSkillVersions" else "id"
    return {each[key] for each in data if isinstance(each, dict) and key in each} if isinstance(data, list) else None


def _shown_gone(content: Entry, earlier: deque[Entry]) -> Entry | None:
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
        elif entry.operation in _LOOKS and entry.ids.get("file_id") == file:
            return entry if entry.status == 404 else None
    return None


_LOOKS = {"ListContainerFiles", "ListFiles", "RetrieveContainerFile", "RetrieveFile"}


def _is_whole(page: Entry) -> bool:
    """Whether a list shows all objects."""
    return (
        page.page is not None
        and not page.page[0]
        and not {"after", "before", "purpose"} & parse_qs(page.shown["query"]).keys()
    )


def _upload(entry: Entry) -> dict[str, Any] | None:
    """Return the description of an uploaded file that was read to its end."""
    body = _request(entry) if entry.operation in _UPLOADS else None
    file = body.get("file") if isinstance(body, dict) else None
    return file if isinstance(file, dict) and file.get("sha256") else None


def _purpose(entry: Entry) -> str:
    body = _request(entry)
    return str(body.get("purpose", "")) if isinstance(body, dict) else ""


def _expired(upload: Entry, now: float) -> bool:
    body = _response(upload)
    at = body.get("expires_at") if isinstance(body, dict) else None
    return isinstance(at, int) and at <= now


# Messages


def _line(entry: Entry) -> str:
    return f"{entry.method} {entry.shown['path']}"


def _counted(things: Sequence[Any] | dict[str, Any], name: str) -> str:
    return f"1 {name} was" if len(things) == 1 else f"{len(things)} {name}s were"


def _some(ids: Iterable[str]) -> str:
    shown = list(ids)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
