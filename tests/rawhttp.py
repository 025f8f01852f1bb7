"""Send requests as bytes over a socket: requests that client libraries don't send, responses that they would hide."""

import http.client
import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from conftest import World

TIMEOUT = 120.0
"""Seconds to wait for a response before the test fails."""


@dataclass
class RawResponse:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Wire:
    """One connection to the server of a world, for one request."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.socket = socket.create_connection(("127.0.0.1", world.server.port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def head(self, method: str, path: str, headers: dict[str, str]) -> None:
        lines = [f"{method} /w/{self._world.name}/v1{path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in {"Authorization": "Bearer sk-test", **headers}.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self, method: str = "POST") -> RawResponse:
        response = http.client.HTTPResponse(self.socket, method=method)
        with response:
            response.begin()
            return RawResponse(response.status, response.msg, response.read())


def request(
    world: World, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> RawResponse:
    sized = {"Content-Length": str(len(body))} if body else {}
    with Wire(world) as wire:
        wire.head(method, path, {**sized, **(headers or {})})
        wire.send(body)
        return wire.response(method)


def form(*parts: tuple[str, bytes], boundary: str = "simple") -> bytes:
    """Encode a multipart body. Each part is its header lines and its content."""
    separator = b"--" + boundary.encode()
    body = b"".join(separator + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return body + separator + b"--\r\n"
