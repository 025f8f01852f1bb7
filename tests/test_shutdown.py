"""The name of a server, and its shutdown as clients and proxies see it."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from conftest import World, new_world, ok
from rawhttp import Wire, form
from test_cli import serving

from mockserver.server.serving import MockServer

HEADER = "x-mock-server"
KEY = {"Authorization": "Bearer sk-test"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=simple"}


# The name


def test_every_response_has_the_name_of_its_server() -> None:
    with MockServer(name="mock-1") as server, httpx2.Client(base_url=server.url, headers=KEY) as client:
        file = ok(client.post("/v1/files", files={"file": b"bytes"}, data={"purpose": "vision"}))["id"]
        responses = [
            client.get("/health"),
            client.get("/openapi.json"),
            client.get(f"/v1/files/{file}"),
            client.get(f"/v1/files/{file}/content"),
            client.get("/v1/nothing"),
            client.get("/v1/files", headers={"Authorization": ""}),
            client.get("/v1/files", headers={"Origin": "http://page.example.test"}),
            client.options("/v1/files", headers={"Origin": "null", "Access-Control-Request-Method": "GET"}),
            client.post("/v1/responses", json={"input": "Hello", "model": "m", "stream": True}),
            client.get("/_mock/"),
            client.get("/_mock/state"),
            client.get("/_mock/nothing"),
            client.get("/", headers={"Accept": "text/html"}),
        ]
        assert {response.status_code for response in responses} == {200, 401, 404}
        assert [response.headers.get_list(HEADER) for response in responses] == [["mock-1"]] * len(responses)
        assert client.get("/_mock/state").json()["name"] == "mock-1"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"no HTTP\r\n\r\n")
            assert b"\r\nx-mock-server: mock-1\r\n" in connection.recv(10_000)
        (entry, *_) = client.get("/_mock/worlds/default/journal").json()["data"]
        assert HEADER not in entry["response"]["headers"], "otherwise journals of several servers could not be compared"


def test_responses_of_an_unnamed_server_have_no_name_header(server: MockServer) -> None:
    response = httpx2.get(f"{server.url}/_mock/state")
    assert HEADER not in response.headers
    assert response.json()["name"] is None


# Shutdown


@contextmanager
def shutting_down(server: MockServer) -> Iterator[None]:
    """Begin the shutdown of a server, and run the block during its delay."""
    server._server.should_exit = True
    while httpx2.get(f"{server.url}/health").status_code == 200:
        pass
    try:
        yield
    finally:
        server._server.force_exit = True


def test_requests_are_served_during_the_shutdown_delay_while_health_returns_503() -> None:
    server = MockServer(shutdown_delay=600.0)
    with server, shutting_down(server), new_world(server) as world:
        response = httpx2.get(f"{server.url}/health")
        assert (response.status_code, response.json()["status"]) == (503, "stopping")
        for _ in range(2):  # the client opens a new connection each time
            response = world.http.post("/containers", json={"name": "late"})
            assert ok(response)["name"] == "late"
            assert response.headers["connection"] == "close"
            assert httpx2.get(f"{server.url}/_mock/state").headers["connection"] == "close"
    assert not server._thread.is_alive()


def test_a_keep_alive_connection_is_closed_after_its_next_response_during_shutdown() -> None:
    server = MockServer(shutdown_delay=600.0)
    with server, socket.create_connection(("127.0.0.1", server.port)) as client:
        request = b"GET /v1/containers/none HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(request)
        assert b"\r\nconnection: close\r\n" not in client.recv(1_000_000)
        with shutting_down(server):
            client.sendall(request)
            received = b"".join(iter(lambda: client.recv(1_000_000), b""))
            assert received.startswith(b"HTTP/1.1 401 ")
            assert b"\r\nconnection: close\r\n" in received


def test_event_streams_and_long_polls_end_when_the_shutdown_begins() -> None:
    server = MockServer(shutdown_delay=600.0)
    with server, new_world(server) as world:
        ok(world.http.get("/containers"))
        journal = f"{server.url}/_mock/worlds/{world.name}/journal"
        sizes: list[int] = []

        def read_stream(url: str) -> None:
            with httpx2.stream("GET", url, timeout=600) as response:
                sizes.append(sum(map(len, response.iter_bytes())))

        urls = [f"{journal}/stream", f"{server.url}/_mock/changes", f"{journal}/wait?text=never&timeout=10m"]
        readers = [Thread(target=read_stream, args=(url,)) for url in urls]
        for reader in readers:
            reader.start()
        while httpx2.get(f"{server.url}/_mock/state").status_code != 200 or open_streams(server) < len(urls):
            pass
        with shutting_down(server):
            for reader in readers:
                reader.join(600)
            assert len(sizes) == len(urls)
            assert server._thread.is_alive(), "the delay has not ended"


def open_streams(server: MockServer) -> int:
    """Return the number of responses in progress."""
    return sum(
        connection.cycle is not None and not connection.cycle.response_complete
        for connection in list(server._server.server_state.connections)
    )


def test_requests_in_progress_are_completed_during_shutdown() -> None:
    body = form(
        ('Content-Disposition: form-data; name="purpose"', b"user_data"),
        ('Content-Disposition: form-data; name="file"; filename="a"', b"bytes"),
    )
    with MockServer(shutdown_grace=600.0) as server, World(server, "w") as world, Wire(world) as wire:
        wire.head("POST", "/files", {**MULTIPART, "Expect": "100-continue", "Content-Length": str(len(body))})
        assert wire.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        server._server.should_exit = True
        with suppress(ConnectionError):  # until no connection is accepted
            while True:
                socket.create_connection(("127.0.0.1", server.port), 60).close()
        wire.send(body)
        assert wire.response().status == 200
    assert not server._thread.is_alive()


def test_requests_beyond_the_grace_period_are_cut_off_without_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as connections:
        with MockServer(shutdown_grace=0.0) as server:
            wire = connections.enter_context(Wire(World(server, "w")))
            wire.head("POST", "/files", {**MULTIPART, "Expect": "100-continue", "Content-Length": "100"})
            assert wire.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        assert wire.socket.recv(100) == b""
    assert not server._thread.is_alive()
    assert [record.exc_info for record in caplog.records if record.exc_info] == []


# Signals


@pytest.mark.slow
def test_a_signal_starts_the_shutdown_delay_and_a_second_one_ends_it() -> None:
    with serving(MOCKSERVER_SHUTDOWN_DELAY="1h", MOCKSERVER_NAME="mock-1") as (process, startup):
        assert httpx2.get(f"{startup['url']}/health").headers[HEADER] == "mock-1"
        process.send_signal(signal.SIGTERM)
        while httpx2.get(f"{startup['url']}/health").status_code == 200:
            pass
        command = [sys.executable, "-m", "mockserver", "healthcheck", "--url", str(startup["url"])]
        failed = subprocess.run(command, capture_output=True, text=True)
        assert (failed.returncode, "503" in failed.stderr) == (1, True)
        assert ok(httpx2.get(f"{startup['base_url']}/containers", headers=KEY))["data"] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert process.stderr.read() == ""


def test_a_start_that_fails_at_a_socket_leaves_nothing_open(tmp_path: Path) -> None:
    closed = socket.socket()
    closed.close()
    with pytest.raises(OSError, match="Bad file descriptor") as failed, MockServer(data=tmp_path, listening=[closed]):
        pass
    with MockServer(data=tmp_path):
        assert failed.value  # its traceback refers to all that the first server opened
