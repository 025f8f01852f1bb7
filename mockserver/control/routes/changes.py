"""The stream of changes, for a page that shows worlds as they are."""

import asyncio
from functools import partial

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mockserver.control.dependencies import TheMock
from mockserver.control.streams import ADMITTED, Emit, Stream, happened
from mockserver.events import KINDS
from mockserver.mock import Mock

router = APIRouter(tags=["Worlds"])

PAUSE = 0.1
"""Seconds between events; changes in between are sent together."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_KINDS = {
    "clock": ("clock", "containers", "files"),
    "containers": ("containers", "worlds"),
    "faults": ("faults", "worlds"),
    "files": ("files", "worlds"),
    "journal": ("journal",),
}
"""What a request changes, by the part of the path behind the world's name; other requests may change anything."""


@router.get(
    "/changes",
    operation_id="followChanges",
    response_class=Response,
    dependencies=[ADMITTED],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_changes(mock: TheMock) -> Response:
    """Send Server-Sent Events `changed`, with the kinds of changes by world, at most ten a second."""
    return Stream(partial(_feed, mock), mock.journal.closing)


async def _feed(mock: Mock, emit: Emit) -> None:
    with mock.events.subscribed() as subscriber:
        await emit(b": what changes\n\n")
        while not mock.journal.closing.is_set():
            if changed := subscriber.take():
                await emit(b"event: changed\ndata: %b\n\n" % to_json(changed))
                await asyncio.sleep(PAUSE)
            else:
                await happened(subscriber.changed, emit)


class Publisher:
    """Middleware that publishes what control requests change in the world they name, before the response starts."""

    def __init__(self, app: ASGIApp, mock: Mock) -> None:
        self._app = app
        self._events = mock.events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _SAFE or not self._events.subscribers:
            await self._app(scope, receive, send)
            return
        _, _, part, world, *rest = f"{scope['path']}///".split("/")

        async def publish(message: Message) -> None:
            if part == "worlds" and message["type"] == "http.response.start" and message["status"] < 400:
                self._events.publish(world, *_KINDS.get(rest[0], KINDS))
            await send(message)

        await self._app(scope, receive, publish)
