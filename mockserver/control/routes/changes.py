"""A stream of changes, for pages that show the current state of a world."""

import asyncio
from functools import partial

from pydantic_core import to_json
from starlette.responses import Response

from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.streams import EVENTS, Emit, Stream, event_or_keep_alive
from mockserver.mock import Mock

router = new_router("", "Worlds")

PAUSE = 0.1
"""Seconds between events. Changes in between are sent in one event."""


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
