"""Server-Sent Events: responses that last until the client disconnects or the server stops.

`fastapi.sse` does not end its streams when the server stops, and a client that does not read would delay the stop.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Depends, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mockserver import control_errors
from mockserver.control.dependencies import TheMock

KEEP_ALIVE = 15.0
"""Seconds without an event after which a comment keeps the stream alive."""
STOP_SECONDS = 0.5
"""How long a client can take to read its last events when the server stops."""

Emit = Callable[[bytes], Awaitable[None]]
Feed = Callable[[Emit], Coroutine[Any, Any, None]]
"""Sends events until there are no more."""


async def _counted(request: Request, mock: TheMock) -> AsyncIterator[None]:
    """Count a stream or wait until its response has ended. Raise an error if too many are open."""
    streams: asyncio.Semaphore = request.app.state.streams
    if streams.locked():
        raise control_errors.TOO_MANY_STREAMS(count=mock.settings.max_streams)
    async with streams:
        yield


COUNTED: Any = Depends(_counted)
"""A dependency of every route that waits for something."""
EVENTS: dict[str, Any] = {
    "response_class": Response,
    "dependencies": [COUNTED],
    "responses": {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
}
"""Describes a route that responds with a stream."""


async def client_disconnect(scope: Scope, receive: Receive) -> None:
    """Wait until the client disconnects, or closes its side of the connection."""
    if connection := scope.get("mockserver.connection"):
        connection.close_on_eof()
    while (await receive())["type"] != "http.disconnect":
        pass


async def event_or_keep_alive(event: asyncio.Event, emit: Emit) -> None:
    """Wait for the event, or send a comment when it is time to keep the stream alive."""
    try:
        async with asyncio.timeout(KEEP_ALIVE):
            await event.wait()
    except TimeoutError:
        await emit(b": still there\n\n")


class Stream(Response):
    def __init__(self, feed: Feed, closing: asyncio.Event) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._feed = feed
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def emit(event: bytes) -> None:
            await send({"type": "http.response.body", "body": event, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        fed = asyncio.create_task(self._feed(emit))
        ends = [asyncio.create_task(client_disconnect(scope, receive)), asyncio.create_task(self._closing.wait())]
        try:
            await asyncio.wait([fed, *ends], return_when=asyncio.FIRST_COMPLETED)
            if self._closing.is_set():
                await asyncio.wait([fed], timeout=STOP_SECONDS)
        finally:
            for task in (fed, *ends):
                task.cancel()
            await asyncio.wait([fed, *ends])
        if not fed.cancelled():
            fed.result()
            await send({"type": "http.response.body", "body": b""})
        elif self._closing.is_set() and (connection := scope.get("mockserver.connection")):
            connection.abort()  # a client that does not read would delay the stop
