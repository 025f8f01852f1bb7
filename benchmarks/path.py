"""Count the functions and modules of mockserver that a request of POST /v1/containers passes.

    python -m benchmarks.path

The server runs in a thread and gets requests over one kept connection. After some warm ones, one request is counted by
`sys.setprofile` in the server's thread: from its first bytes until the connection is idle again. Each call of a
function that is defined in `mockserver/` counts, as often as it is called: methods, properties and lambdas too, but no
comprehensions. A coroutine that is resumed does not count again, and other packages' functions do not count at all. A
module counts once.
"""

import inspect
import json
import socket
import sys
from collections import Counter
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from types import CodeType, FrameType

import mockserver
from mockserver.server.serving import MockServer

PACKAGE = Path(mockserver.__file__).parent
RESUMED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
COMPREHENSIONS = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"}
BODY = json.dumps({"name": "box"}).encode()
REQUEST = (
    b"POST /v1/containers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-test\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
WARM = 20

Call = tuple[str, str, int]
"""Module, qualified name and depth among the calls of the package."""


def main() -> None:
    calls = counted()
    for module, name, depth in calls:
        print(f"{'  ' * depth}{module}:{name}")
    modules = Counter(module for module, _, _ in calls)
    print(f"\n{len(calls)} calls of {len({call[:2] for call in calls})} functions in {len(modules)} modules:")
    print(", ".join(f"{module} {count}" for module, count in modules.most_common()))


def counted() -> list[Call]:
    with MockServer() as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        for _ in range(WARM):
            send(client)
        calls: list[Call] = []
        running(server, lambda: sys.setprofile(recorder(calls)))
        send(client)
        running(server, lambda: sys.setprofile(None))
    return calls


def running(server: MockServer, function: Callable[[], None]) -> None:
    """Call a function in the server's thread."""

    async def run() -> None:
        function()

    server.run(run())


def recorder(calls: list[Call]) -> Callable[[FrameType, str, object], None]:
    started: set[int] = set()

    def record(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_name in COMPREHENSIONS or not (name := module(code)):
            return
        if code.co_flags & RESUMED:
            if id(frame) in started:
                return
            started.add(id(frame))
            kept.append(frame)
        calls.append((name, code.co_qualname, depth(frame)))

    kept: list[FrameType] = []  # so that no other frame gets the same id
    return record


def depth(frame: FrameType) -> int:
    above, count = frame.f_back, 0
    while above:
        count += bool(module(above.f_code))
        above = above.f_back
    return count


def module(code: CodeType) -> str:
    """Return the module of the package that defines a function; empty for other packages."""
    path = Path(code.co_filename)
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts) if path.is_relative_to(PACKAGE) else ""


def send(client: socket.socket) -> None:
    client.sendall(REQUEST)
    with HTTPResponse(client, method="POST") as response:
        response.begin()
        assert (response.status, bool(response.read())) == (200, True)


if __name__ == "__main__":
    main()
