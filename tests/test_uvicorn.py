"""What the connection relies on in uvicorn, whose protocol and request cycle are subclassed and not documented.

A version of uvicorn that fails here needs changes of `server/protocol.py` or `server/connection.py`.
"""

import ast
import inspect
import socket
from typing import Any

import httptools
import pytest
from rawhttp import TIMEOUT
from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mockserver.server.connection import Connection
from mockserver.server.protocol import Protocol
from mockserver.server.serving import MockServer

SUBCLASSES = [(Protocol, HttpToolsProtocol), (Connection, RequestResponseCycle)]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve nothing."""


def cycle() -> RequestResponseCycle:
    names = inspect.signature(RequestResponseCycle).parameters
    return RequestResponseCycle(**dict.fromkeys(names))  # type: ignore[arg-type]  # only its attributes matter


def protocol() -> HttpToolsProtocol:
    config = Config(application, interface="asgi3", log_config=None, lifespan="off")
    made = HttpToolsProtocol(config, ServerState(), {}, object())  # type: ignore[arg-type]  # it does not run
    made.on_message_begin()
    return made


def parts() -> dict[str, object]:
    """Return uvicorn's objects by the expressions for them in the source."""
    flow = FlowControl(None)  # type: ignore[arg-type]  # as above
    own = {"Protocol": protocol(), "Connection": cycle()}
    shared = {"self.cycle": cycle(), "cycle": cycle(), "self.flow": flow, "self.server_state": ServerState()}
    return own | shared | {"self.parser": httptools.HttpRequestParser(object())}


@pytest.mark.parametrize("own", [own for own, _ in SUBCLASSES])
def test_the_attributes_that_are_used_exist(own: type) -> None:
    found = parts()
    found["self"] = found[own.__name__]
    mine = {name for each in (Protocol, Connection) for name in (*vars(each), *each.__annotations__)}
    used = {
        (ast.unparse(node.value), node.attr)
        for node in ast.walk(ast.parse(inspect.getsource(own)))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in found and node.attr not in mine
    }
    assert ("self", "transport") in used, "the source is read"
    assert {(owner, name) for owner, name in used if not hasattr(found[owner], name)} == set()


@pytest.mark.parametrize(("own", "theirs"), SUBCLASSES)
def test_methods_that_are_replaced_take_the_same_arguments(own: type, theirs: type) -> None:
    replaced = [name for name in vars(own) if inspect.isfunction(vars(own)[name]) and name in vars(theirs)]
    assert len(replaced) > 1
    for name in replaced:
        mine, original = (list(inspect.signature(getattr(each, name)).parameters) for each in (own, theirs))
        assert mine == original, name


def test_a_request_is_run_by_our_cycle_and_its_response_is_one_write() -> None:
    with MockServer() as server, socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as opened:
        for _ in range(3):
            opened.sendall(b"GET /v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\n\r\n")
            received = opened.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            assert received.endswith(b"}"), "the head alone would be the first of two writes"
        (made,) = server._server.server_state.connections
        assert type(made.cycle) is Connection

        async def idle() -> bool:
            return made.cycle.response_complete and made.timeout_keep_alive_task is not None

        assert server.run(idle())
