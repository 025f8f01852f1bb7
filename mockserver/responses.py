"""The Responses API, as far as containers need it: runs by script instead of a model, stored, polled and continued.

A run is planned completely and committed in one transaction before the first byte of its response, streamed or not. A
run in the background is a function of its row and the world's clock, evaluated when it is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from mockserver import answers, errors, ids, profiles, runs, transcript, unscripted
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.runs import Run
from mockserver.schema.answers import Step
from mockserver.schema.lists import listed
from mockserver.schema.responses import (
    CODE,
    ERROR_CODES,
    MAX_ECHO,
    MAX_TEXT,
    OUTPUTS,
    SHELL,
    UNASKED_MODEL,
    Carried,
    CreateResponse,
    InputItemList,
    Item,
    ListInputItems,
    Response,
    ResponseDeleted,
    Usage,
    parts,
)
from mockserver.skills import NOTHING, Supplied
from mockserver.storage import tables
from mockserver.storage.contents import Uploads
from mockserver.storage.database import Insertion, Statement
from mockserver.tools import Tool, allowed_tools, check_tools, declared_tools, is_call_required, shown_tool
from mockserver.usage import characters, usage

QUEUED_SECONDS = 1
"""How long a run in the background is queued, by the world's clock."""
BACKGROUND_SECONDS = 2
"""The shortest run in the background."""
MAX_PAGE = MAX_TEXT
"""Characters after which a page of input items ends, whatever its limit."""
MAX_GIVEN = 1_000
"""Answers of a chain that `continues` finds, the newest ones."""

_insert = Insertion(tables.Response)
_insert_item = Insertion(tables.ResponseItem)
_items = Statement(
    "SELECT * FROM response_items WHERE response_id = :id AND output = :output ORDER BY position", tables.ResponseItem
)
_places = Statement(
    "SELECT id, position, ends FROM response_items WHERE response_id = :id AND output = :output ORDER BY position"
)
_item_at = Statement(
    "SELECT * FROM response_items WHERE response_id = :id AND position = :position", tables.ResponseItem
)
_is_cancelled = Statement("SELECT coalesce(cancelled_at < :due, 0) FROM responses WHERE id = :id")
_delete = Statement("DELETE FROM responses WHERE id = :id")
_delete_items = Statement("DELETE FROM response_items WHERE response_id = :id")
_cancel = Statement("UPDATE responses SET cancelled_at = :now WHERE id = :id")

_KEYS = tuple(Response.__annotations__)
_NONE = {"image_tokens": 0, "text_tokens": 0}
_TOOL_USAGE = {
    "image_gen": {
        "input_tokens": 0, "input_tokens_details": _NONE, "output_tokens": 0, "output_tokens_details": _NONE,
        "total_tokens": 0,
    },
    "web_search": {"num_requests": 0},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Created:
    """A response whose run is committed."""

    row: tables.Response
    items: list[tables.ResponseItem]
    """Of the output."""


@dataclass
class _Rejected(Exception):
    """Ends the transaction of a run that a script rejects."""

    error: APIError
    target: answers.Target


# In the order of the API reference


def create_response(context: Context, body: CreateResponse, uploads: Uploads, supplied: Supplied = NOTHING) -> Created:
    """Raises APIError where a script rejects the request; what the scripts counted is kept then."""
    try:
        return _create(context, body, uploads, supplied)
    except _Rejected as rejected:
        with context.write() as tx:
            answers.choose(tx, rejected.target)  # again, as its counts were rolled back too
        raise rejected.error from None


def _create(context: Context, body: CreateResponse, uploads: Uploads, supplied: Supplied) -> Created:
    now, background = context.world.now(), bool(body.background)
    check_tools(context, body)
    clock = None
    with context.write() as tx:
        before = transcript.read(context, tx, body)
        id = before.next_id
        tools = declared_tools(context, tx, body, before, supplied)
        request = json.dumps(_echo(body, tools))
        if len(request) > MAX_ECHO:
            raise errors.BODY_HOLDS_TOO_MUCH(problem=f"without its input it has more than {MAX_ECHO:,} characters")
        run = Run(context, tx, body, before, allowed_tools(body, tools.values()), tools.values())
        context.expect(len(before.user_text))  # in which answers search, also where it is of an earlier turn
        target = _target(run)
        answer, nearest = answers.choose(tx, target)
        context.answer = answer.id if answer else None
        if answer is None and context.world.profile.unscripted == "refuse":
            raise _Rejected(errors.UNSCRIPTED(problem=nearest or "The world has no answers."), target)
        if answer and answer.rule.rejects:
            raise _Rejected(runs.scripted(context, answer.rule.rejects), target)
        run.add_inputs(uploads)
        _perform(run, answer)
        takes = max(BACKGROUND_SECONDS, ceil(run.at)) if background else ceil(run.at)
        if run.at and not background:
            clock = context.advance(tx, run.at)
        items = [_row(id, position, item, False) for position, item in enumerate(before.items)]
        done = [_row(id, len(items) + n, item, True, ends) for n, (item, ends) in enumerate(run.items)]
        carried = before.carried
        carried.written = sum(characters(item) for item, _ in run.items)
        read = carried.read + characters(body.instructions)
        tokens = usage(answer.rule.usage if answer else None, read, carried.written)
        given = [*before.given, *([answer.id] if answer else [])]
        row = _insert.new(
            id=id,
            ordinal=context.world.take(tx),
            created_at=now,
            chain=before.chain,
            previous_id=before.previous.id if before.previous else None,
            conversation=transcript.conversation_id(body),
            background=background,
            streamed=bool(body.stream),
            obfuscated=body.stream_options is None or body.stream_options.include_obfuscation is not False,
            pace=answer.rule.pace if answer else 0.0,
            request=request,
            status=run.status,
            details=_details(tokens, carried, run.error, run.incomplete),
            outputs=OUTPUTS in (body.include or []),
            starts=QUEUED_SECONDS if background else 0,
            takes=takes,
            answer=answer.id if answer else None,
            given=json.dumps(given[-MAX_GIVEN:]),
            turn=before.turn,
            user_text=before.user_text,
            code_container=run.containers.get(CODE) or before.containers.get(CODE),
            shell_container=run.containers.get(SHELL) or before.containers.get(SHELL),
        )
        context.cited = [] if background else _cited(done)
        if body.stored or background:
            _insert.add(tx, row)
            _insert_item.add_all(tx, [*items, *done])
            context.touch("created", id)
    if clock:
        context.world.clock = clock
    return Created(row, done)


def retrieve_response(context: Context, response_id: str) -> Created:
    row = _found(context, response_id)
    items = _items.all(context.read, id=row.id, output=True)
    context.expect(len(row.request) + sum(len(item.body) for item in items))
    if _status(row, context.world.now()) in ("completed", "failed", "incomplete"):
        context.cited = _cited(items)
    return Created(row, items)


def delete_response(context: Context, response_id: str) -> ResponseDeleted:
    with context.write() as tx:
        row = _found(context, response_id)
        if _status(row, context.world.now()) in ("queued", "in_progress"):
            raise errors.DELETE_IN_FLIGHT()
        _delete.run(tx, id=row.id)
        _delete_items.run(tx, id=row.id)
        context.touch("deleted", row.id)
    return {"id": response_id, "object": "response.deleted", "deleted": True}


def cancel_response(context: Context, response_id: str) -> Created:
    now = context.world.now()
    with context.write() as tx:
        row = _found(context, response_id)
        status = _status(row, now)
        if not row.background and not context.allows(profiles.ANY_RUN):
            raise errors.CANCEL_SYNCHRONOUS()
        if status in ("completed", "failed", "incomplete") and not context.allows(profiles.ANY_RUN):
            raise errors.CANCEL_FINISHED(status=status)
        if status != "cancelled":
            _cancel.run(tx, id=row.id, now=now)
            runs.cancel(context, tx, row.id)
            context.touch("changed", row.id)
    return retrieve_response(context, response_id)


def is_cancelled(context: Context, response_id: str, due: int) -> bool:
    """Whether a response was cancelled before an instant, or was deleted since it was read."""
    return _is_cancelled.value(context.read, id=response_id, due=due) in (None, 1)


def list_input_items(context: Context, response_id: str, query: ListInputItems) -> InputItemList:
    """The whole context, newest first: this input, then earlier outputs and inputs; not this output."""
    tx, now, newest_first = context.read, context.world.now(), query.order == "desc"
    chain = [(_found(context, response_id), False)]
    while previous := transcript.before(tx, chain[-1][0]):
        previous = previous._replace(request="", details="", user_text="")  # type: ignore[attr-defined]  # a record is a named tuple; a chain can have thousands
        chain += [(previous, True), (previous, False)]

    found: dict[str, tuple[tables.Response, int]] = {}
    """Response and position of each item, the oldest first; of one that stands twice, the oldest place."""
    for row, output in reversed(chain):
        for id, position, ends in _places.tuples(tx, id=row.id, output=output):
            if not output or transcript.is_complete(row, ends, now):
                found.setdefault(id, (row, position))
    ids = list(reversed(found) if newest_first else found)
    if query.after in found:
        del ids[: ids.index(query.after) + 1]
    elif query.after is not None and not context.allows(profiles.ANY_CURSOR):
        raise errors.UNKNOWN_CURSOR(param="after", resource="Item", value=query.after)
    data: list[Item] = []
    size, more = 0, False
    for id in ids:
        row, position = found[id]
        item = _item_at.first(tx, id=row.id, position=position)
        assert item
        size += len(item.body)
        if more := len(data) == query.limit or bool(data and size > MAX_PAGE):
            break
        data.append(with_outputs(context, row, _body(item), OUTPUTS in query.include))
    return listed(data, more)


# What the run does


def _target(run: Run) -> answers.Target:
    body, before = run.body, run.before
    names = [path.rpartition("/")[2] for container in run.used for path in run.paths(container)]
    return {
        "text": before.user_text,
        "instructions": body.instructions if isinstance(body.instructions, str) else "",
        "model": body.model,
        "tool": [tool.kind for tool in run.tools] or ["none"],
        "container": [text for row in run.used for text in (row.id, row.name)],
        "file": [*(file.name for file in before.files), *names],
        "turn": before.turn,
        "continues": before.given,
        "metadata": body.metadata or {},
        "background": run.background,
        "stream": bool(body.stream),
    }


def _perform(run: Run, answer: answers.Counted | None) -> None:
    if answer and answer.rule.output:
        run.add_raw(answer.rule.output)
    elif answer:
        run.take(answer.rule.each_step)
    else:
        only_echo = run.context.world.profile.unscripted == "echo"
        paths = run.paths(run.used[0]) if run.used else []
        if run.tools and not run.used and not only_echo and is_call_required(run.body):  # a shell of the client
            run.take([Step(commands=["ls"])])
            return
        steps, run.keep = unscripted.steps(run.body, run.before.user_text, paths, bool(run.used), only_echo)
        run.take(steps)


def _details(tokens: Usage, carried: Carried, error: APIError | None = None, incomplete: str | None = None) -> str:
    """What the object shows at the end of the run beside its output, and what later ones need, as JSON."""
    code = error and error.code
    details = {
        "error": error and {"code": code if code in ERROR_CODES else "server_error", "message": error.message},
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "usage": tokens,
        "raised": error and {**error.body()["error"], **({"type": "server_error"} if error.status >= 500 else {})},
        "carried": carried.model_dump(),
    }
    return json.dumps(details)


_AS_SENT = (
    *("instructions", "max_output_tokens", "max_tool_calls", "moderation", "prompt", "prompt_cache_key"),
    *("prompt_cache_retention", "safety_identifier", "service_tier", "user"),
)
_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "model": UNASKED_MODEL,
    "parallel_tool_calls": True,
    "store": True,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "truncation": "disabled",
}


def _echo(body: CreateResponse, tools: Mapping[int, Tool]) -> dict[str, Any]:
    """The keys of the object that repeat the request, with their defaults."""
    given = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
    return {
        **{name: given.get(name) for name in _AS_SENT},
        **{name: given.get(name, default) for name, default in _DEFAULTS.items()},
        "reasoning": {"context": None, "effort": None, "summary": None, **given.get("reasoning", {})},
        "temperature": float(given.get("temperature", 1.0)),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **given.get("text", {})},
        "tools": [shown_tool(tool, tools.get(position)) for position, tool in enumerate(given.get("tools", []))],
        "top_p": float(given.get("top_p", 1.0)),
    }


# Showing


def shown(context: Context, created: Created) -> Response:
    """The object at the world's present instant."""
    now, row = context.world.now(), created.row
    status = _status(row, now)
    items = [item for item in created.items if transcript.is_complete(row, item.ends, now)]
    output = [with_outputs(context, row, _body(item), row.outputs) for item in items]
    return {**frame(row, status), "output": output}


def frame(row: tables.Response, status: str) -> Response:
    """The object in a status, with an empty output."""
    sent, details = json.loads(row.request), json.loads(row.details)
    ended, tier = status not in ("queued", "in_progress"), sent["service_tier"]
    values = {
        **sent,
        "id": row.id,
        "object": "response",
        "created_at": row.created_at,
        "status": status,
        "background": bool(row.background),
        "billing": {"payer": "developer"},
        "completed_at": row.created_at + row.takes if status == "completed" else None,
        "conversation": {"id": row.conversation} if row.conversation else None,
        "error": details["error"] if status == "failed" else None,
        "frequency_penalty": 0.0,
        "incomplete_details": details["incomplete_details"] if status == "incomplete" else None,
        "moderation": sent.get("moderation"),
        "output": [],
        "presence_penalty": 0.0,
        "previous_response_id": None if row.conversation else row.previous_id,
        "service_tier": tier if tier not in (None, "auto", "default") else "default" if ended else "auto",
        "tool_usage": _TOOL_USAGE,
        "usage": details["usage"] if status in ("completed", "incomplete") else None,
    }
    absent = {name for name in ("conversation", "prompt") if values[name] is None}
    return {name: values[name] for name in _KEYS if name not in absent}  # type: ignore[return-value]  # the keys of Response


def with_outputs(context: Context, row: tables.Response, item: Item, included: bool) -> Item:
    """An item as it is shown: the outputs of a call only on request."""
    if item["type"] != "code_interpreter_call" or "outputs" not in item:
        return item
    if not included:
        return {**item, "outputs": None}
    return item if not row.background or context.world.profile.background_outputs else {**item, "outputs": []}


def _status(row: tables.Response, now: int) -> str:
    if row.cancelled_at is not None:
        return "cancelled"
    elapsed = now - row.created_at
    if not row.background or elapsed >= row.takes:
        return row.status
    return "queued" if elapsed < row.starts else "in_progress"


def _found(context: Context, response_id: str) -> tables.Response:
    if row := transcript.find(context.read, response_id):
        return row
    if context.creates_missing(response_id):
        return _create_missing(context, response_id)
    raise errors.RESPONSE_NOT_FOUND(response_id=response_id)


def _create_missing(context: Context, response_id: str) -> tables.Response:
    """A response without output, for an id that nobody created."""
    with context.write() as tx:
        ordinal = context.world.take(tx)
        row = _insert.new(
            id=response_id,
            ordinal=ordinal,
            created_at=context.world.now(),
            chain=ids.chain(context.world.id_seed, ordinal),
            request=json.dumps(_echo(CreateResponse(), {})),
            status="completed",
            details=_details(usage(None, 0, 0), Carried()),
        )
        _insert.add(tx, row)
        context.touch("created", response_id)
    return row


def _row(response_id: str, position: int, item: Item, output: bool, ends: int = 0) -> tables.ResponseItem:
    body = json.dumps(item, ensure_ascii=False)
    return _insert_item.new(
        response_id=response_id, position=position, id=item["id"], output=output, body=body, ends=ends
    )


def _cited(items: Sequence[tables.ResponseItem]) -> list[tuple[str, str]]:
    """The containers and files that texts link to; not displayed figures, which calls show too."""
    messages = (_body(row) for row in items if '"container_file_citation"' in row.body)
    contents = (part for item in messages for part in parts(item.get("content")))
    return [
        (str(each.get("container_id")), str(each.get("file_id")))
        for part in contents
        for each in parts(part.get("annotations"))
        if each.get("end_index")
    ]


def _body(row: tables.ResponseItem) -> Item:
    item: Item = json.loads(row.body)
    return item
