"""Check a journal for mistakes of the client, with the exchanges that prove them.

A finding needs proof. Where a correct client could have caused the same exchanges, there is no finding;
each rule says what it treats as innocent. The rules read journal entries, and what is there now.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from urllib.parse import parse_qs

from mockserver import errors
from mockserver.answers import Counted
from mockserver.choices import some
from mockserver.entries import CONTENTS, Entry
from mockserver.recorded import (
    KINDS,
    LOOKS,
    PLACES,
    History,
    counted,
    created,
    error,
    failed_response,
    found_something,
    has_expired,
    ids_given,
    is_final,
    kind_of,
    line,
    messages,
    pairs,
    request_body,
    retry_delay,
    shown_gone,
    skills_named,
    uploaded_file,
)
from mockserver.schema.containers import UNASKED_MINUTES
from mockserver.schema.faults import LISTS
from mockserver.transcript import text_of

SOON = 30.0
"""Seconds within which the same request counts as a retry."""
EARLY = 0.05
"""Seconds by which a timer may fire early, or 2% of the wait."""
COPIES = 3
"""This many uploads of the same bytes are too many."""
LOOK_BACK = 200
"""How many earlier exchanges on the same files are searched for a response that shows that one is gone."""

Proof = tuple[str, Iterable[Entry]]
"""The message of a finding, and the exchanges that prove it."""


def check(
    entries: Sequence[Entry],
    running: Container[str],
    ignore: Container[str] = (),
    rules: Sequence[Counted] = (),
) -> list[tuple[str, str, list[int]]]:
    """Check a world's journal, and return the name and message of each finding, and the numbers of the exchanges that
    prove it. `running` are the ids of its containers that are running now, and of its uploads that are pending; `rules`
    are its answers."""
    history = History(entries, running, rules)
    return [
        (name, message, sorted({entry.number for entry in proof}))
        for name, rule in FINDINGS.items()
        if name not in ignore
        for message, proof in rule(history)
    ]


# Findings, in the order in which they are reported


def _container_never_deleted(history: History) -> Iterator[Proof]:
    """A container was created, is running now, and no DELETE was ever sent for it.

    Innocent: it expired or was deleted through the control plane; the client never received the id, or tried to
    delete it.
    """
    yield from _left(history, "container", "DeleteContainer", "never deleted")


def _left(history: History, kind: str, end: str, why: str) -> Iterator[Proof]:
    tried = {entry.ids.get(f"{kind}_id") for entry in history.of(end)}
    made = created(history.of(f"Create{kind.capitalize()}"))
    left = {id: entry for id, entry in made.items() if id not in tried and id in history.running}
    if left:
        yield f"{counted(left, kind)} created and {why}: {some(left)}", left.values()


def _use_after_expiry(history: History) -> Iterator[Proof]:
    """A request for a container's files returned `Container is expired.`

    Innocent: retrieving or deleting an expired container; errors made by a fault.
    """
    used: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        container = entry.ids.get("container_id")
        if container and error(entry).get("message") == errors.CONTAINER_EXPIRED.message:
            used[container].append(entry)
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
        if not found_something(page, history.entries):
            yield f"{page.shown['path']} has more, and the next page was never requested", [page]


def _retry_after_ignored(history: History) -> Iterator[Proof]:
    """The same request was sent again sooner than the `Retry-After` of its error allowed, by the machine's clock and
    by the world's.

    Innocent: a different request; concurrent requests.
    """
    for group in history.repeated(exactly=False):
        for failed, again in pairs(group):
            delay = retry_delay(failed)
            waited = max(again.wall - failed.ended, again.shown["at"] - failed.ended_at)
            if delay is not None and waited < delay - max(EARLY, delay * 0.02):
                message = (
                    f"{line(failed)} was to be retried after {delay:g} s and was retried after {max(waited, 0):.3g} s"
                )
                yield message, [failed, again]


def _retried_what_cannot_be_retried(history: History) -> Iterator[Proof]:
    """The same request was sent again within 30 s of a 4xx other than 408, 409 and 429, or of `x-should-retry: false`.

    Innocent: something was changed in between; the request succeeded in the end and no fault had caused the errors,
    so the client was polling; `x-should-retry: true`; concurrent requests.
    """
    for group in history.repeated(exactly=True):
        proof: list[Entry] = []
        last_success = max((entry.wall for entry in group if not entry.failed), default=0.0)
        for failed, again in pairs(group):
            waited_for = last_success >= again.wall and not failed.made_up
            soon = again.wall - failed.ended <= SOON and not history.changed(failed.wall, again.wall)
            if is_final(failed) and soon and not waited_for:
                proof += [failed, again]
        if proof:
            yield f"{line(proof[0])} returned {proof[0].status} and was sent again unchanged", proof


def _wrong_id_kind(history: History) -> Iterator[Proof]:
    """An id of one kind was sent in place of another kind and caused an error: a `cfile_` id in `/files/{file_id}`.

    Innocent: ids of an unknown form; the id of a File in a container, if the profile accepts it; a cited file in
    `/files/{file_id}`, which is a finding of its own.
    """
    wrong: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    cited = {file for entry in history.entries for _, file in entry.cited}
    for entry in history.entries:
        if entry.status in (400, 404) and not entry.made_up and not _cited_in_files_api(entry, cited):
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
        upload = uploaded_file(entry)
        if upload is None or entry.failed or not upload["bytes"]:
            continue
        key = (entry.ids.get("container_id", ""), upload["sha256"], str(request_body(entry).get("purpose", "")))
        there[key] = {id: copy for id, copy in there[key].items() if not has_expired(copy, entry.shown["at"])}
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
        upload = uploaded_file(entry)
        if upload and (origin := bodies.get(upload["sha256"])):
            yield f"the error that {line(origin)} returned was uploaded as a file", [origin, entry]
        earlier = looks[entry.ids.get("container_id", "")]
        if entry.operation in CONTENTS and (entry.status or 0) >= 400 and entry.digests:
            bodies |= dict.fromkeys(entry.digests, entry)
            missed = entry.status == 404 and entry.method == "GET" and not entry.made_up
            if missed and (shown := shown_gone(entry, earlier)):
                gone[entry.route] += [shown, entry]
        elif entry.operation in LOOKS or entry.objects:
            earlier.append(entry)
    for route, proof in gone.items():
        yield f"{route} was requested after a response had shown that this file is gone", proof


def _upload_left_pending(history: History) -> Iterator[Proof]:
    """An upload was created, is pending now, and was neither completed nor cancelled.

    Innocent: it expired or was deleted through the control plane; the client never received the id, or tried to
    cancel it.
    """
    yield from _left(history, "upload", "CancelUpload", "neither completed nor cancelled")


def _parts_dont_add_up(history: History) -> Iterator[Proof]:
    """Completing an upload returned 400 because of its `part_ids`, their size, or its `md5`.

    Innocent: completing an upload that is no longer pending; errors made by a fault.
    """
    for entry in history.of("CompleteUpload"):
        if entry.status == 400 and error(entry).get("param") in ("part_ids", "md5"):
            yield f"{line(entry)} failed: {error(entry)['message']}", [entry]


def _deleted_skill_used(history: History) -> Iterator[Proof]:
    """A container was created with a skill, or a skill's default version was set, and failed since the client had
    deleted that skill or version before.

    Innocent: reading or deleting what was deleted; errors made by a fault; skills that the client did not delete.
    """
    deleted: dict[tuple[str, str], Entry] = {}
    for entry in history.entries:
        skill, version = entry.ids.get("skill_id", ""), entry.ids.get("version", "")
        if entry.operation in ("DeleteSkill", "DeleteSkillVersion") and not entry.failed:
            deleted[skill, version] = entry
        elif entry.status in (400, 404) and not entry.made_up:
            for used, number in skills_named(entry):
                if gone := deleted.get((used, "")) or deleted.get((used, number)):
                    what = f"version {number} of {used}" if number else used
                    yield f"{what} was named by {line(entry)} after it had been deleted", [gone, entry]


def _answer_unused(history: History) -> Iterator[Proof]:
    """An answer was added to the world and never used, although responses were requested.

    Innocent: answers of a seed, which serve many tests; a journal without requests for responses.
    """
    runs = list(history.of("CreateResponse"))
    unused = [each.id for each in history.rules if not each.seeded and not each.used]
    if runs and unused:
        yield f"{counted(unused, 'answer')} added and never used: {some(unused)}", runs


def _answer_unexpected(history: History) -> Iterator[Proof]:
    """A response was requested that no answer of the world matched, after one had matched an earlier request, or with
    `unscripted: refuse`.

    Innocent: a world without answers; requests before the first that an answer matched, since the answers may have been
    added later; requests that failed for another reason.
    """
    scripted = False
    unexpected: list[Entry] = []
    for entry in history.of("CreateResponse") if history.rules else ():
        if entry.shown["answer"] is not None:
            scripted = True
        elif not entry.made_up and (error(entry).get("code") == "no_answer" or (scripted and not entry.failed)):
            unexpected.append(entry)
    if unexpected:
        yield f"{counted(unexpected, 'response')} requested that no answer matched", unexpected


def _citation_not_downloaded(history: History) -> Iterator[Proof]:
    """A response linked to files of a container, and the content of no file of that container was requested later.

    Innocent: displayed figures, which calls show too; responses that the client did not receive; downloads that failed.
    """
    cited: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        if entry.operation == "RetrieveContainerFileContent":
            cited.pop(entry.ids.get("container_id", ""), None)
        elif not entry.aborted and not entry.made_up:
            for container in dict.fromkeys(container for container, _ in entry.cited):
                cited[container].append(entry)
    for container, proof in cited.items():
        files = {file for entry in proof for box, file in entry.cited if box == container}
        yield f"{counted(files, 'file')} cited in {container} and never downloaded: {some(sorted(files))}", proof


def _cfile_in_files_api(history: History) -> Iterator[Proof]:
    """The id of a cited file was sent to `/files/{file_id}` and caused an error; it belongs to
    `/containers/{container_id}/files/{file_id}`.

    Innocent: ids that no response cited; profiles that accept the id; errors made by a fault.
    """
    cited: dict[str, tuple[str, Entry]] = {}
    for entry in history.entries:
        cited |= {file: (container, entry) for container, file in entry.cited}
        if (file := _cited_in_files_api(entry, cited)) is not None:
            container, origin = cited[file]
            message = f"{file} was sent to {line(entry)}; it is at /containers/{container}/files/{file}"
            yield message, [origin, entry]


def _cited_in_files_api(entry: Entry, cited: Container[str]) -> str | None:
    file = entry.ids.get("file_id")
    failed = entry.status in (400, 404) and not entry.made_up and "container_id" not in entry.ids
    return file if failed and file in cited else None


def _container_recreated_each_turn(history: History) -> Iterator[Proof]:
    """A conversation was sent again with its next message, without the call and without `previous_response_id`, so
    that it got a new container each time.

    Innocent: one message that begins several conversations; a turn 20 minutes after the one before, when its container
    may have expired; bodies that were too large to be kept.
    """
    begun: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.of("CreateResponse"):
        body = request_body(entry)
        texts = [text_of(item.get("content")) for item in messages(entry) if item.get("role") == "user"]
        continued = body.get("previous_response_id") or body.get("conversation")
        if not texts or continued or entry.failed or not any(kind_of(id) == "cntr" for _, id in entry.objects):
            continue
        known = begun[texts[0]]
        earlier = known[-1] if known else None
        turn = any(item.get("role") == "assistant" for item in messages(entry))
        if not turn or (earlier and entry.shown["at"] - earlier.ended_at >= UNASKED_MINUTES * 60):
            known.clear()
        known.append(entry)
        if turn and len(known) == 2:
            yield f"{line(entry)} repeated a conversation without its calls and got another container", known


def _failed_response_continued(history: History) -> Iterator[Proof]:
    """A request continued, by `previous_response_id`, a response that the client had received with status `failed`.

    Innocent: incomplete responses, which can be continued; streams that were too large to be kept; errors made by a
    fault.
    """
    failed: dict[str, Entry] = {}
    continued: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.of("CreateResponse", "GetResponse"):
        chain = str(request_body(entry).get("previous_response_id"))
        if chain in failed and failed[chain].ended <= entry.wall:
            continued[chain].append(entry)
        if (id := failed_response(entry)) is not None:
            failed.setdefault(id, entry)
    for chain, proof in continued.items():
        yield f"{chain} had failed and was continued", [failed[chain], *proof]


def _expired_chain_retried(history: History) -> Iterator[Proof]:
    """A `previous_response_id` was sent again after `Container is expired.`, and failed in the same way.

    Innocent: requests that name another container or no tool, and succeed; errors made by a fault; concurrent requests.
    """
    failed: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.of("CreateResponse"):
        chain = request_body(entry).get("previous_response_id")
        expired = error(entry).get("message") == errors.RUN_CONTAINER_EXPIRED.message
        if expired and isinstance(chain, str) and not (failed[chain] and entry.wall < failed[chain][0].ended):
            failed[chain].append(entry)
    for chain, proof in failed.items():
        if len(proof) > 1:
            yield f"{chain} was continued again after its container had expired", proof


FINDINGS: dict[str, Callable[[History], Iterator[Proof]]] = {
    name.strip("_").replace("_", "-"): rule
    for name, rule in list(globals().items())
    if getattr(rule, "__annotations__", None) == {"history": History, "return": Iterator[Proof]}
}
"""Every function above from a history to proofs, by its name."""
