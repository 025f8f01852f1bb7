"""Plain ASGI, nothing beneath it: what the socket, the loop and the parser leave to anyone."""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONTAINER = b"""{
  "id": "cntr_6a3c1c1024a8819892cfe6b854387cea0bb1797a3699251c",
  "object": "container",
  "created_at": 1782324240,
  "status": "running",
  "expires_after": {
    "anchor": "last_active_at",
    "minutes": 20
  },
  "last_active_at": 1782324240,
  "memory_limit": "1g",
  "name": "box"
}"""
PIECE = 1 << 20
"""Bytes that a thread gets at a time."""


async def constant(scope: Scope, receive: Receive, send: Send) -> None:
    """The same bytes, whatever is asked."""
    await _answer(send, CONTAINER)


async def discard(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads an upload and keeps nothing of it."""
    size = 0
    async for piece in _body(receive):
        size += len(piece)
    await _answer(send, b'{"bytes": %d}' % size)


async def hashing(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads an upload, computes both digests and writes the bytes, each in a thread, and no more than that."""
    sha256, blake2b = hashlib.sha256(), hashlib.blake2b(digest_size=16)
    size, gathered, work = 0, bytearray(), None
    with tempfile.TemporaryFile(dir=".") as file:

        async def hand_over() -> asyncio.Future[Any]:
            nonlocal gathered
            if work:
                await work
            piece, gathered = gathered, bytearray()
            steps = (sha256.update, blake2b.update, file.write)
            return asyncio.gather(*(asyncio.to_thread(step, piece) for step in steps))

        async for piece in _body(receive):
            size += len(piece)
            gathered += piece
            if len(gathered) >= PIECE:
                work = await hand_over()
        await (await hand_over())
    answer = {"bytes": size, "sha256": sha256.hexdigest(), "blake2b": blake2b.hexdigest()}
    await _answer(send, json.dumps(answer).encode())


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
