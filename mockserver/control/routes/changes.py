"""A stream of changes, for pages that show the current state of a world."""

import asyncio
from functools import partial

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.routes.clocks import EXPIRING
from mockserver.control.streams import EVENTS, Emit, Stream, event_or_keep_alive
from mockserver.events import KINDS, OBJECTS
from mockserver.mock import Mock

router = new_router("", "Worlds")

PAUSE = 0.1
"""Seconds between events. Changes in between are sent in one event."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_KINDS = {
    "answers": ("answers",),
    "clock": ("clock", *EXPIRING),
    "journal": ("journal",),
    **{kind: (kind, "worlds") for kind in (*OBJECTS, "faults")},
}
"""The kinds that a request changes, by the part of the path after the world's name. Others can change all kinds."""


@router.get("/changes", **EVENTS)
async def follow_changes(mock: TheMock) -> Response:
    """Follow Server-Sent Events: `changed`, with the kinds of objects that changed by world, at most ten a second."""
    return Stream(partial(_feed, mock), mock.journal.closing)


async def _feed(mock: Mock, emit: Emit) -> None:
    with mock.events.subscribed() as subscriber:
        await emit(b": what changes\n\n")
        while not mock.journal.closing.is_set():
            if changed := subscriber.take():
                await emit(b"event: changed\ndata: %b\n\n" % to_json(changed))
                await asyncio.sleep(PAUSE)
            else:
                await event_or_keep_alive(subscriber.changed, emit)


class Publisher:
    """Publishes what requests of the control plane change in a world, before their response is sent."""

    def __init__(self, app: ASGIApp, mock: Mock) -> None:
        self._app = app
        self._events = mock.events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        safe = scope["type"] != "http" or scope["method"] in _SAFE or b"dry_run=true" in scope["query_string"]
        if safe or not self._events.subscribers:
            await self._app(scope, receive, send)
            return
        _, _, part, world, *rest = f"{scope['path']}///".split("/")

        async def publish(message: Message) -> None:
            if part == "worlds" and message["type"] == "http.response.start" and message["status"] < 400:
                self._events.publish(world, *_KINDS.get(rest[0], KINDS))
            await send(message)

        await self._app(scope, receive, publish)
