"""Following what changes: one stream for a page that shows a world as it is."""

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
"""Seconds between events; what happens meanwhile is told together."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_KINDS = {
    "clock": ("clock", "containers", "files"),
    "containers": ("containers", "worlds"),
    "faults": ("faults", "worlds"),
    "files": ("files", "worlds"),
    "journal": ("journal",),
}
"""What a request changes, by the part of the path that follows the world's name; others may change anything."""


@router.get(
    "/changes",
    operation_id="followChanges",
    response_class=Response,
    dependencies=[ADMITTED],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_changes(mock: TheMock) -> Response:
    """Server-Sent Events: `changed`, with the kinds of what did by world, ten times a second at most."""
    return Stream(partial(_told, mock), mock.journal.closing)


async def _told(mock: Mock, emit: Emit) -> None:
    with mock.news.followed() as follower:
        await emit(b": what changes\n\n")
        while not mock.journal.closing.is_set():
            if changed := follower.take():
                await emit(b"event: changed\ndata: %b\n\n" % to_json(changed))
                await asyncio.sleep(PAUSE)
            else:
                await happened(follower.heard, emit)


class Teller:
    """Tells what the control plane's own requests change in the world they name, before they are answered."""

    def __init__(self, app: ASGIApp, mock: Mock) -> None:
        self._app = app
        self._news = mock.news

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _SAFE or not self._news.followers:
            await self._app(scope, receive, send)
            return
        _, _, part, world, *rest = f"{scope['path']}///".split("/")

        async def tell(message: Message) -> None:
            if part == "worlds" and message["type"] == "http.response.start" and message["status"] < 400:
                self._news.tell(world, *_KINDS.get(rest[0], KINDS))
            await send(message)

        await self._app(scope, receive, tell)
