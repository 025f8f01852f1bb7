"""Count the functions and modules of mockserver that handle one POST /v1/containers.

    python -m benchmarks.path

The server runs in a thread and receives requests over one keep-alive connection. After some warm-up requests,
`sys.setprofile` records the calls of one request in the server's thread, until the connection is idle again. Every
call of a function defined in `mockserver/` counts, including methods, properties and lambdas, but not comprehensions,
resumed coroutines or functions of other packages. A module counts once.
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
WARM_UP = 20

Call = tuple[str, str, int]
"""Module, qualified name, and depth counted in calls of the package."""


def main() -> None:
    calls = record_calls()
    for module, name, depth in calls:
        print(f"{'  ' * depth}{module}:{name}")
    modules = Counter(module for module, _, _ in calls)
    print(f"\n{len(calls)} calls of {len({call[:2] for call in calls})} functions in {len(modules)} modules:")
    print(", ".join(f"{module} {count}" for module, count in modules.most_common()))


def record_calls() -> list[Call]:
    with MockServer() as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        for _ in range(WARM_UP):
            send(client)
        calls: list[Call] = []
        run_in_server(server, lambda: sys.setprofile(profiler(calls)))
        send(client)
        run_in_server(server, lambda: sys.setprofile(None))
    return calls


def run_in_server(server: MockServer, function: Callable[[], None]) -> None:
    """Call a function in the server's thread."""

    async def run() -> None:
        function()

    server.run(run())


def profiler(calls: list[Call]) -> Callable[[FrameType, str, object], None]:
    started: set[int] = set()

    def record(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_name in COMPREHENSIONS or not (name := module(code)):
            return
        if code.co_flags & RESUMED:
            if id(frame) in started:
                return
            started.add(id(frame))
            counted.append(frame)
        calls.append((name, code.co_qualname, depth(frame)))

    counted: list[FrameType] = []  # keeps the frames alive, so that ids stay unique
    return record


def depth(frame: FrameType) -> int:
    caller, count = frame.f_back, 0
    while caller:
        count += bool(module(caller.f_code))
        caller = caller.f_back
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
