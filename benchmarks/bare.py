"""Bare ASGI applications: the upper bound that the socket, the event loop and the HTTP parser allow."""

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
BLOCK_SIZE = 1 << 20
"""Bytes that are hashed and written at a time."""


async def constant(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the same response to every request."""
    await _respond(send, CONTAINER)


async def discard(scope: Scope, receive: Receive, send: Send) -> None:
    """Read an upload and discard it."""
    size = 0
    async for chunk in _body(receive):
        size += len(chunk)
    await _respond(send, b'{"bytes": %d}' % size)


async def hashing(scope: Scope, receive: Receive, send: Send) -> None:
    """Read an upload, compute two digests and write the bytes, each in a thread."""
    sha256, blake2b = hashlib.sha256(), hashlib.blake2b(digest_size=16)
    size, buffer, work = 0, bytearray(), None
    with tempfile.TemporaryFile(dir=".") as file:

        async def process_buffer() -> asyncio.Future[Any]:
            nonlocal buffer
            if work:
                await work
            block, buffer = buffer, bytearray()
            steps = (sha256.update, blake2b.update, file.write)
            return asyncio.gather(*(asyncio.to_thread(step, block) for step in steps))

        async for chunk in _body(receive):
            size += len(chunk)
            buffer += chunk
            if len(buffer) >= BLOCK_SIZE:
                work = await process_buffer()
        await (await process_buffer())
    result = {"bytes": size, "sha256": sha256.hexdigest(), "blake2b": blake2b.hexdigest()}
    await _respond(send, json.dumps(result).encode())


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _respond(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
