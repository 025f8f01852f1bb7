"""The undocumented parts of uvicorn that subclasses of its protocol and request cycle use.

If a new version of uvicorn fails here, change `server/protocol.py`.
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

from mockserver.server.protocol import Connection, Protocol
from mockserver.server.serving import MockServer

SUBCLASSES = [(Protocol, HttpToolsProtocol), (Connection, RequestResponseCycle)]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve nothing."""


def new_cycle() -> RequestResponseCycle:
    names = inspect.signature(RequestResponseCycle).parameters
    return RequestResponseCycle(**dict.fromkeys(names))  # type: ignore[arg-type]  # only its attributes matter


def new_protocol() -> HttpToolsProtocol:
    config = Config(application, interface="asgi3", log_config=None, lifespan="off")
    protocol = HttpToolsProtocol(config, ServerState(), {}, object())  # type: ignore[arg-type]  # it does not run
    protocol.on_message_begin()
    return protocol


def objects_by_expression() -> dict[str, object]:
    """Return objects of uvicorn by the expressions that our source uses for them."""
    flow = FlowControl(None)  # type: ignore[arg-type]  # as above
    by_class = {"Protocol": new_protocol(), "Connection": new_cycle()}
    shared = {"self.cycle": new_cycle(), "cycle": new_cycle(), "self.flow": flow, "self.server_state": ServerState()}
    return by_class | shared | {"self.parser": httptools.HttpRequestParser(object())}


@pytest.mark.parametrize("subclass", [subclass for subclass, _ in SUBCLASSES])
def test_all_used_attributes_of_uvicorn_exist(subclass: type) -> None:
    objects = objects_by_expression()
    objects["self"] = objects[subclass.__name__]
    own_names = {name for each in (Protocol, Connection) for name in (*vars(each), *each.__annotations__)}
    used = {
        (ast.unparse(node.value), node.attr)
        for node in ast.walk(ast.parse(inspect.getsource(subclass)))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in objects and node.attr not in own_names
    }
    assert ("self", "transport") in used, "no attribute was found in the source"
    assert {(owner, name) for owner, name in used if not hasattr(objects[owner], name)} == set()


@pytest.mark.parametrize(("subclass", "base"), SUBCLASSES)
def test_overridden_methods_have_the_parameters_of_uvicorn(subclass: type, base: type) -> None:
    overridden = [name for name in vars(subclass) if inspect.isfunction(vars(subclass)[name]) and name in vars(base)]
    assert len(overridden) > 1
    for name in overridden:
        parameters, original = (list(inspect.signature(getattr(each, name)).parameters) for each in (subclass, base))
        assert parameters == original, name


def test_requests_use_our_cycle_and_responses_are_sent_in_one_write() -> None:
    with MockServer() as server, socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
        for _ in range(3):
            client.sendall(b"GET /v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\n\r\n")
            received = client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            assert received.endswith(b"}"), "the first read has the head only"
        (connection,) = server._server.server_state.connections
        assert type(connection.cycle) is Connection

        async def idle() -> bool:
            return connection.cycle.response_complete and connection.timeout_keep_alive_task is not None

        assert server.run(idle())
