"""Responses as server-sent events, derived from the object and its items.

The run is committed before the first event, so the stream only replays it. Of a run in the background each event waits
until the world's clock has come to it.
"""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import ceil
from typing import Any, cast

from pydantic_core import to_json

from mockserver import errors, profiles, responses
from mockserver.api.exchange import JSON, ClientGone, Connection, Exchange
from mockserver.clock import stopwatch
from mockserver.context import Context
from mockserver.redaction import MAX_BODY
from mockserver.responses import Created
from mockserver.schema.responses import OUTPUTS, Item, RetrieveResponse

POLL_SECONDS = 0.02
"""How often a stream in the background looks at the world's clock, unless very many do."""
MAX_POLLS = 2_000
"""How often all of them together look at it in a second. So the number of streams does not slow down other worlds."""
MAX_DELTAS = 1_000
"""The most events into which one text is split: a word each, or several words of a long text."""
PATIENCE_SECONDS = 5.0
"""How long a stream in the background waits for a frozen clock before the log says so."""
_TURN = 64
"""Events after which other requests get their turn, however fast the client reads."""
_LARGE = 64 * 1024
"""Bytes of an event after which other requests get their turn, too."""
_PAD = 16
"""Deltas are padded to a multiple of so many characters (seen)."""
_WORDS = re.compile(r"\s*\S+|\s+")

log = logging.getLogger("mockserver")

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of a response after a sequence number."""

    created: Created
    context: Context
    after: int = -1

    async def send(self, exchange: Exchange) -> None:
        row = self.created.row
        self.context.large = False  # a look at the clock is not
        recorded = bytearray()
        size, begun, reached = 0, stopwatch(), -1
        await exchange.start(200, [(b"content-type", b"text/event-stream; charset=utf-8")])
        for number, (offset, event) in enumerate(events(self.context, self.created)):
            due = row.created_at + offset
            cancelled = row.cancelled_at is not None and row.cancelled_at < due
            if number % _TURN == _TURN - 1:
                await _turn(exchange)
            if row.background and number > self.after and offset > reached and not cancelled:
                cancelled, reached = await self._is_cancelled(exchange, due), offset
            if cancelled:
                event = _end(self.context, self.created, "cancelled")
            if number <= self.after:
                if cancelled:
                    break
                continue
            if "response" in event:
                event["response"] = exchange.provider.shown(event["response"])
            wait = begun + number * row.pace - stopwatch() if row.pace else 0.0  # so that delays don't add up
            if wait > 0.0 and not await exchange.connection.wait(wait):
                raise ClientGone
            data = _encode(event, number, row.obfuscated and not row.background)
            size += len(data)
            recorded += data if size <= MAX_BODY else b""
            await exchange.send({"type": "http.response.body", "body": data, "more_body": True})
            if len(data) > _LARGE:
                await _turn(exchange)
            if event["type"] in _TERMINAL:
                break
        exchange.record(bytes(recorded) if size == len(recorded) else size)
        await exchange.send({"type": "http.response.body", "body": b""})

    async def _is_cancelled(self, exchange: Exchange, due: int) -> bool:
        """Wait until the world's clock has come to an instant. Returns whether the response was cancelled before."""
        context, cancelled, reached = self.context, False, False
        begun, warned = stopwatch(), False
        while not (cancelled or reached):
            reached = context.world.now() >= due
            # A database that was closed, as others are used more, is not opened at each look: nobody wrote to it.
            if reached or context.world.database.is_open:
                cancelled = await context.run(responses.is_cancelled, self.created.row.id, due)
            if not (cancelled or reached or await poll(exchange.connection)):
                raise ClientGone
            if not warned and context.world.clock.rate == 0 and stopwatch() - begun >= PATIENCE_SECONDS:
                warned = True
                log.warning(
                    "the stream of %s waits for the clock of world '%s', which is frozen; advance it",
                    self.created.row.id,
                    exchange.world,
                )
        await _turn(exchange)
        return cancelled


async def _turn(exchange: Exchange) -> None:
    """Let others have their turn. Few streams go on in the next one: when a clock moves, thousands can be due at once."""
    async with exchange.mock.turns:
        await asyncio.sleep(0)


_waiting: set[object] = set()


async def poll(connection: Connection) -> bool:
    """Wait until a stream looks at its world's clock again. Return whether the client is still there."""
    waiter = object()
    _waiting.add(waiter)
    try:
        return await connection.wait(max(POLL_SECONDS, len(_waiting) / MAX_POLLS))
    finally:
        _waiting.discard(waiter)


_LIMITS = [
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"30000000"),
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"29999900"),
    (b"x-ratelimit-reset-requests", b"6ms"),
    (b"x-ratelimit-reset-tokens", b"0s"),
]
"""On responses that are neither streamed nor in the background (seen; the values are a guess)."""


async def created_response(context: Context, created: Created) -> JSON | Stream:
    """Return a new response as JSON, or as the stream that was requested."""
    if created.row.streamed:
        return Stream(created, context)
    return JSON(await context.run(responses.shown, created), [] if created.row.background else _LIMITS)


async def stored_response(context: Context, found: Created, query: RetrieveResponse) -> JSON | Stream:
    """Return a stored response as JSON, or continue its stream. Raises APIError if that is not possible."""
    row = found.row
    if OUTPUTS in query.include:
        found = replace(found, row=row._replace(outputs=True))  # type: ignore[attr-defined]  # a record is a named tuple
    if query.stream != "true":
        return JSON(await context.run(responses.shown, found))
    if not row.background and not context.allows(profiles.ANY_RUN):
        raise errors.NOT_STREAMABLE()
    if not row.streamed and not context.allows(profiles.ANY_RUN):
        raise errors.NOT_STREAMED()
    if context.world.now() - row.created_at > context.world.profile.stream_minutes * 60:
        raise errors.STREAM_TOO_OLD()
    return Stream(found, context, query.starting_after)


_TERMINAL = {"response.completed", "response.failed", "response.incomplete"}


def events(context: Context, created: Created) -> Iterator[tuple[int, Event]]:
    """Every event with the seconds after the response's creation when it is due, without sequence numbers."""
    row = created.row
    first = "queued" if row.background else "in_progress"
    yield 0, _lifecycle("created", created, first)
    if row.background:
        yield 0, _lifecycle("queued", created, first)
    yield row.starts, _lifecycle("in_progress", created, "in_progress")
    for index, stored in enumerate(created.items):
        item = responses.with_outputs(context, row, json.loads(stored.body), row.outputs)
        for event in _ITEMS.get(item["type"], _plain)(item):
            yield stored.ends, {**event, "output_index": index}
        yield stored.ends, {"type": "response.output_item.done", "output_index": index, "item": item}
    if row.status == "failed":
        yield row.takes, _error(context, created)
    yield row.takes, _end(context, created, row.status if row.cancelled_at is None else "cancelled")


def _lifecycle(kind: str, created: Created, status: str) -> Event:
    response = cast(dict[str, Any], responses.frame(created.row, status))
    response.pop("billing")  # only in JSON (seen)
    return {"type": f"response.{kind}", "response": response}


def _end(context: Context, created: Created, status: str) -> Event:
    event = _lifecycle("failed" if status == "cancelled" else status, created, status)
    if status != "cancelled":
        row = created.row
        items = (json.loads(item.body) for item in created.items)
        event["response"]["output"] = [responses.with_outputs(context, row, item, row.outputs) for item in items]
    return event


def _error(context: Context, created: Created) -> Event:
    raised = json.loads(created.row.details)["raised"]
    if context.world.profile.flat_error_events:
        return {**raised, "type": "error", "code": raised["code"]}
    return {"type": "error", "error": {name: raised[name] for name in ("message", "param", "type", "code")}}


# Items: their events up to the last one. `events` adds that, and the index of the item.


def _added(item: Item, **begun: Any) -> Event:
    """The first event, which has some parts of the item as they are when it begins."""
    return {"type": "response.output_item.added", "item": item | begun}


def _plain(item: Item) -> Iterator[Event]:
    yield _added(item, status="in_progress")


def _reasoning(item: Item) -> Iterator[Event]:
    yield _added(item, summary=[])
    for number, part in enumerate(item["summary"]):
        here = {"item_id": item["id"], "summary_index": number}
        yield {"type": "response.reasoning_summary_part.added", **here, "part": part | {"text": ""}}
        yield from _deltas("response.reasoning_summary_text.delta", part["text"], here)
        yield {"type": "response.reasoning_summary_text.done", **here, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **here, "part": part}


def _code(item: Item) -> Iterator[Event]:
    kind, where = "response.code_interpreter_call", {"item_id": item["id"]}
    yield _added(item, status="in_progress", code="", outputs=None if item["outputs"] is None else [])
    yield {"type": f"{kind}.in_progress", **where}
    yield from _deltas(f"{kind}_code.delta", item["code"] or "", where)
    yield {"type": f"{kind}_code.done", **where, "code": item["code"] or ""}
    yield {"type": f"{kind}.interpreting", **where}
    yield {"type": f"{kind}.completed", **where}


def _shell(item: Item) -> Iterator[Event]:
    kind = "response.shell_call_command"
    # The limits of a local call come with its commands (seen).
    action: Item = {name: [] if name == "commands" else None for name in item["action"]}
    yield _added(item, status="in_progress", action=action)
    for number, command in enumerate(item["action"]["commands"]):
        here = {"command_index": number}
        yield {"type": f"{kind}.added", **here, "command": ""}
        yield from _deltas(f"{kind}.delta", command, here)
        yield {"type": f"{kind}.done", **here, "command": command}


def _shell_output(item: Item) -> Iterator[Event]:
    kind, where = "response.shell_call_output_content", {"item_id": item["id"]}
    yield _added(item, status="in_progress", output=[])
    for number, output in enumerate(item["output"]):
        for name in ("stdout", "stderr"):
            if output[name]:
                yield {"type": f"{kind}.delta", **where, "command_index": number, "delta": {name: output[name]}}
        yield {"type": f"{kind}.done", **where, "command_index": number, "output": [output]}


def _message(item: Item) -> Iterator[Event]:
    yield _added(item, status="in_progress", content=[])
    for number, part in enumerate(item["content"]):
        here = {"content_index": number, "item_id": item["id"]}
        if part["type"] != "output_text":
            yield {"type": "response.content_part.added", **here, "part": part}
            yield {"type": "response.content_part.done", **here, "part": part}
            continue
        text, annotations = part["text"], part.get("annotations", [])
        yield {"type": "response.content_part.added", **here, "part": part | {"annotations": [], "text": ""}}
        for event in _deltas("response.output_text.delta", text, here):
            yield {**event, "logprobs": []}
        for place, annotation in enumerate(annotations):
            kind = "response.output_text.annotation.added"
            yield {"type": kind, **here, "annotation": annotation, "annotation_index": place}
        yield {"type": "response.output_text.done", **here, "logprobs": [], "text": text}
        yield {"type": "response.content_part.done", **here, "part": part}


def _function(item: Item) -> Iterator[Event]:
    kind, where = "response.function_call_arguments", {"item_id": item["id"]}
    yield _added(item, status="in_progress", arguments="")
    yield from _deltas(f"{kind}.delta", item["arguments"], where)
    yield {"type": f"{kind}.done", **where, "arguments": item["arguments"], "name": item["name"]}


_ITEMS = {
    "code_interpreter_call": _code,
    "function_call": _function,
    "message": _message,
    "reasoning": _reasoning,
    "shell_call": _shell,
    "shell_call_output": _shell_output,
}


def _deltas(kind: str, text: str, where: dict[str, Any]) -> Iterator[Event]:
    """Cut a text where it is sent: a list of its words, kept while a client reads, would take 36 times its size."""
    step, start = max(1, ceil(sum(1 for _ in _WORDS.finditer(text)) / MAX_DELTAS)), 0
    for last in chain(islice(_WORDS.finditer(text), step - 1, None, step), [None]):
        end = last.end() if last else len(text)
        if start < end:
            yield {"type": kind, **where, "delta": text[start:end]}
        start = end


# Encoding


def _encode(event: Event, number: int, obfuscated: bool) -> bytes:
    """`type` first, the rest by name (seen); nested objects keep their order."""
    kind = event.pop("type")
    event["sequence_number"] = number
    if obfuscated and kind.endswith(".delta") and isinstance(event["delta"], str):
        event["obfuscation"] = _padding(len(event["delta"]), number)
    data = to_json({"type": kind, **dict(sorted(event.items()))})
    event["type"] = kind
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _padding(length: int, number: int) -> str:
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(letters[(number * 7 + place * 11) % len(letters)] for place in range(-length % _PAD))
