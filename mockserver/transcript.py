"""The context of a response: what was said and done before, as the request shows it.

It comes from the chain (`previous_response_id` or `conversation`) and from items that the request repeats or refers to.
Nothing is counted for a connection, so requests of parallel tests don't mix.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from mockserver import errors, ids, profiles
from mockserver.context import Context
from mockserver.errors import json_type
from mockserver.inputs import InputFile, check, files_of, text_at
from mockserver.schema.responses import CODE, MAX_TEXT, SHELL, Carried, CreateResponse, Item, parts, whole_part
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction
from mockserver.usage import characters

PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "code_interpreter_call": "ci",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "function_call": "fc",
    "function_call_output": "fco",
}
MAX_USER_TEXT = 1 << 20
"""Characters of the last user message that scripts look at."""
MAX_NAME = 1_024
"""Characters of a file's name (guess)."""
MAX_REFERENCED = 16 << 20
"""Characters of the items that an input refers to: it can refer to a large one over and over."""

_find = Statement("SELECT * FROM responses WHERE id = :id", tables.Response)
_before = Statement("SELECT * FROM responses WHERE id = :id AND ordinal < :ordinal", tables.Response)
_last_kept = Statement(  # reads the texts of one response only, however many were cancelled
    "WITH RECURSIVE earlier(id, previous_id, ordinal, cancelled_at) AS ("
    "SELECT id, previous_id, ordinal, cancelled_at FROM responses WHERE id = :id "
    "UNION ALL SELECT next.id, next.previous_id, next.ordinal, next.cancelled_at FROM earlier "
    "JOIN responses next ON next.id = earlier.previous_id AND next.ordinal < earlier.ordinal "
    "WHERE earlier.cancelled_at IS NOT NULL) "
    "SELECT * FROM responses WHERE id = (SELECT id FROM earlier WHERE cancelled_at IS NULL)",
    tables.Response,
)
_newest = Statement(
    "SELECT * FROM responses WHERE conversation = :conversation ORDER BY ordinal DESC LIMIT 1", tables.Response
)
_items = Statement("SELECT * FROM response_items WHERE id = :id", tables.ResponseItem)


@dataclass(slots=True)
class Transcript:
    previous: tables.Response | None
    chain: str
    turn: int
    """Of the response that follows: 1 + the assistant's turns in the context."""
    user_text: str
    containers: dict[str, str | None]
    """By kind of tool: the container of the last call."""
    next_id: str = ""
    """Of the response that follows."""
    items: list[Item] = field(default_factory=list)
    """The request's input as it is stored, references replaced by what they name."""
    replayed: set[str] = field(default_factory=set)
    """Containers that are known from repeated items."""
    files: list[InputFile] = field(default_factory=list)
    """Of this request's input."""
    carried: Carried = field(default_factory=Carried)

    @property
    def given(self) -> list[str]:
        """Ids of the answers that were used before."""
        return list(json.loads(self.previous.given)) if self.previous else []


def find(tx: Transaction, id: str) -> tables.Response | None:
    return _find.first(tx, id=id)


def before(tx: Transaction, row: tables.Response) -> tables.Response | None:
    """The response that a response continues. An import can name any, but only an older one counts: no circles."""
    return _before.first(tx, id=row.previous_id, ordinal=row.ordinal)


def is_complete(row: tables.Response, ends: int, now: int) -> bool:
    """Whether an item of a response's output that `ends` so late exists at an instant. A cancelled one has no items."""
    elapsed = now - row.created_at if row.background else row.takes
    return row.cancelled_at is None and elapsed >= max(row.starts, ends)


def read(context: Context, tx: Transaction, body: CreateResponse) -> Transcript:
    """Resolve the context of a request. Raises APIError where it refers to something unknown."""
    if body.previous_response_id and body.conversation and not context.allows(profiles.ANY_RUN):
        raise errors.MUTUALLY_EXCLUSIVE(param="previous_response_id", other="conversation")
    if not (body.model or body.prompt or context.allows(profiles.ANY_RUN)):
        raise errors.MISSING_PARAMETER(param="model")
    previous = None
    if id := body.previous_response_id:
        if (previous := find(tx, id)) is None and not context.creates_missing(id):
            raise errors.PREVIOUS_RESPONSE_NOT_FOUND(response_id=id)
    elif conversation := conversation_id(body):
        previous = _newest.first(tx, conversation=conversation)
    elif body.input is None and body.prompt is None and not context.allows(profiles.ANY_RUN):
        raise errors.MISSING_PARAMETER(param="input")
    given = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input or []
    items = _resolved(context, tx, given)
    last, carried = previous, Carried()
    if previous:
        carried = Carried.model_validate(json.loads(previous.details).get("carried", {}))
        carried.read += carried.written if previous.cancelled_at is None else 0
    if last and last.cancelled_at is not None:  # it has no output
        last = _last_kept.first(tx, id=last.id)
    seed = context.world.id_seed
    wanted = [previous is None, *(not isinstance(item.get("id"), str) for item in items), True]
    ordinals = count(context.world.take(tx, sum(wanted)))  # of the chain, of items without an id, of the response
    transcript = Transcript(
        previous,
        previous.chain if previous else ids.chain(seed, next(ordinals), conversation_id(body)),
        1 + (last.turn if last else 0),
        previous.user_text if previous else "",
        {CODE: last.code_container, SHELL: last.shell_container} if last else {},
        carried=carried,
    )
    now, in_turn, earlier = context.world.now(), False, 0
    with_files = []
    hosted: set[str] = set()
    """The ids of calls of a hosted shell, whose outputs come from the API."""
    for item in items:
        output = _is_output(item, hosted)
        transcript.turn += output and not in_turn
        in_turn = output
        earlier = len(transcript.files) if output else earlier
        kind = str(item["type"])
        if not isinstance(item.get("id"), str):
            id = ids.response_part(PREFIXES.get(kind, kind), seed, next(ordinals), transcript.chain, body.stored, now)
            item = {"id": id, **{key: value for key, value in item.items() if key != "id"}}
        if files := list(files_of(item)):
            transcript.files += files
            with_files.append(len(transcript.items))
        transcript.items.append(item)
        carried.read += characters(item)
        _note(transcript, item)
    transcript.next_id = ids.response_part("resp", seed, next(ordinals), transcript.chain, body.stored, now)
    for file in transcript.files[:earlier]:
        file.earlier = True
    check(context, tx, transcript.files)
    transcript.carried.files += [(transcript.next_id, position) for position in with_files]
    return transcript


def conversation_id(body: CreateResponse) -> str | None:
    conversation = body.conversation
    return conversation if conversation is None or isinstance(conversation, str) else conversation.id


def text_of(content: object) -> str:
    """The text of a message's content."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in parts(content) if "text" in part)


def _resolved(context: Context, tx: Transaction, given: list[Item]) -> list[Item]:
    """Items in the form in which they are stored, and for references the items that they name."""
    now = context.world.now()
    items, referenced = [], 0
    for position, raw in enumerate(given):
        where = f"input[{position}]"
        if raw.get("type") is None:  # SDKs may send null
            raw = {name: value for name, value in raw.items() if name != "type"}
            untyped = "message" if "role" in raw else "item_reference" if set(raw) == {"id"} else None
            raw |= {"type": untyped} if untyped else {}
        kind = text_at(raw, "type", where)
        id = raw.get("id")
        for name in ("content", "output"):
            for place, text, limit in _texts(raw.get(name), f"{where}.{name}"):
                if len(text) > limit:
                    raise errors.TOO_LONG_STRING(param=place, limit=limit, length=len(text))
        # What the API is to know of reasoning is encrypted in the item, or stored (seen).
        is_bare = kind == "reasoning" and id is not None and not raw.get("encrypted_content")
        if kind != "item_reference" and not (is_bare and not context.creates_missing(str(id))):
            items.append(_message(raw, where) if kind == "message" else _repeated(raw, kind))
            continue
        if id is None:
            raise errors.MISSING_PARAMETER(param=f"{where}.id")
        if (body := _stored_item(tx, str(id), now)) is None:
            raise errors.ITEM_NOT_FOUND(item_id=id)
        if (referenced := referenced + len(body)) > MAX_REFERENCED:
            problem = f"the items that its input refers to have more than {MAX_REFERENCED:,} characters"
            raise errors.BODY_HOLDS_TOO_MUCH(problem=problem)
        context.expect(referenced)
        items.append(json.loads(body))
    return items


def _stored_item(tx: Transaction, id: str, now: int) -> str | None:
    for item in _items.all(tx, id=id):
        row = None if not item.output else find(tx, item.response_id)
        if row is None or is_complete(row, item.ends, now):
            return item.body
    return None


def _message(raw: Item, where: str) -> Item:
    role, content = text_at(raw, "role", where), raw.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        supported = "'assistant', 'system', 'developer', and 'user'"
        raise errors.INVALID_VALUE(value=role[:100], supported=supported, param=f"{where}.role")
    if isinstance(content, str):
        content = [{"type": "output_text" if role == "assistant" else "input_text", "text": content}]
    elif "content" not in raw:
        raise errors.MISSING_PARAMETER(param=f"{where}.content")
    elif not isinstance(content, list):
        expected = "one of a string or array of objects"
        raise errors.WRONG_TYPE(param=f"{where}.content", expected=expected, got=json_type(content))
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise errors.WRONG_TYPE(param=f"{where}.content[{number}]", expected="an object", got=json_type(part))
    content = [whole_part(part) for part in content]
    rest = {key: value for key, value in raw.items() if key not in ("id", "type", "status", "content", "role")}
    item = {"id": raw.get("id"), "type": "message", "status": raw.get("status") or "completed", "content": content}
    return item | rest | {"role": role}


def _repeated(raw: Item, kind: str) -> Item:
    """An item with its first keys in the order of the wire, and those that it may lack. Calls and outputs have a status
    (doc), a call of the code interpreter always its six keys (seen)."""
    whole: Item = {"id": raw.get("id"), "type": kind}
    if kind.endswith(("_call", "_output")):
        whole["status"] = "completed"
    if kind == "code_interpreter_call":
        whole |= {"code": None, "container_id": None, "outputs": None}
    return whole | {
        key: value for key, value in raw.items() if key not in ("id", "type", "status") or value is not None
    }


def _texts(content: object, where: str) -> Iterator[tuple[str, str, int]]:
    """The texts and names in an item, with their places and greatest lengths."""
    for number, part in enumerate(content) if isinstance(content, list) else ():
        for key, limit in (("text", MAX_TEXT), ("filename", MAX_NAME)):
            if isinstance(part, dict) and isinstance(text := part.get(key), str):
                yield f"{where}[{number}].{key}", text, limit
    if isinstance(content, str):
        yield where, content, MAX_TEXT


def _is_output(item: Item, hosted: set[str]) -> bool:
    """Whether an item is the assistant's, so that it is a part of one of its turns."""
    kind, call_id = item["type"], str(item.get("call_id"))
    if kind == "message":
        return bool(item["role"] == "assistant")
    if kind == "shell_call" and _environment(item) is not None:
        hosted.add(call_id)
    return call_id in hosted if kind == "shell_call_output" else not str(kind).endswith("_output")


def _note(transcript: Transcript, item: Item) -> None:
    """What a run has to know of an item: the containers of calls, the last user message."""
    if item["type"] == "code_interpreter_call" and isinstance(id := item.get("container_id"), str):
        transcript.containers[CODE] = id
        transcript.replayed.add(id)
    elif item["type"] == "shell_call" and (id := _environment(item)):
        transcript.containers[SHELL] = id
        transcript.replayed.add(id)
    elif item["type"] == "message" and item["role"] == "user":
        transcript.user_text = text_of(item["content"])[:MAX_USER_TEXT]


def _environment(item: Item) -> str | None:
    """The container of a hosted shell call."""
    environment = item.get("environment")
    id = environment.get("container_id") if isinstance(environment, dict) else None
    return id if isinstance(id, str) else None
