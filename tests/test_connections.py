"""The end of connections: unread bodies, half-closed connections, slow bodies, many streams."""

import asyncio
import http.client
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import httpx2
import openai
import pytest
from conftest import World, error_message, new_world, ok
from installed import require
from rawhttp import TIMEOUT, RawResponse, Wire, form, request

from mockserver.api import streams
from mockserver.server import pace
from mockserver.server.pace import Pace
from mockserver.server.serving import MockServer

MIB = 1024 * 1024
PROGRAMS = Path(__file__).parent / "rejected_upload"
JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=simple"}
FORM_START = b'--simple\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
UNNAMED_PART = b"--simple\r\nContent-Disposition: form-data\r\n\r\n"
CREATE_BODY = b'{"name": "box"}'


@pytest.fixture(scope="module")
def strict_server() -> Iterator[MockServer]:
    """A server that accepts one key, no large uploads and no large JSON."""
    with MockServer(api_key=("sk-test",), max_upload=MIB, max_body=MIB) as running:
        yield running


@pytest.fixture
def strict_world(strict_server: MockServer) -> World:
    return new_world(strict_server)


# TLS on an HTTP port


@pytest.mark.parametrize("first", [1, 1_000])
def test_a_tls_client_on_an_http_port_is_logged_and_disconnected(caplog: pytest.LogCaptureFixture, first: int) -> None:
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    sent = hello.read()
    with MockServer() as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
                client.sendall(sent[:first])
                while client.recv(65536):
                    pass
    found = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert found == [
        "a client begins with TLS, which this port does not take; write http:// instead of https:// in its base URL "
        "(logged once a minute at most)"
    ]


# Unread bodies


REJECTED_REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes, int]] = {
    "unknown container": ("POST", "/containers/cntr_none/files", MULTIPART, FORM_START, 404),
    "unknown container, JSON": ("POST", "/containers/cntr_none/files", JSON, b'{"file_id": "', 404),
    "expired container": ("POST", "/containers/{expired}/files", MULTIPART, FORM_START, 404),
    "wrong key": ("POST", "/files", {**MULTIPART, "Authorization": "Bearer sk-wrong"}, FORM_START, 401),
    "wrong key, JSON": ("POST", "/containers", {**JSON, "Authorization": "Bearer sk-wrong"}, b'{"name": "', 401),
    "unknown URL": ("POST", "/nothing", MULTIPART, FORM_START, 404),
    "unknown URL, PUT": ("PUT", "/nothing", JSON, b'{"name": "', 404),
    "wrong method": ("POST", "/containers/cntr_none", JSON, b'{"name": "', 405),
    "wrong method, PUT": ("PUT", "/files", MULTIPART, FORM_START, 405),
    "wrong method, GET with a body": ("GET", "/nothing", JSON, b'{"name": "', 404),
    "large JSON": ("POST", "/containers", JSON, b'{"name": "', 413),
    "large upload": ("POST", "/files", MULTIPART, FORM_START, 413),
    "part without a name": ("POST", "/files", MULTIPART, UNNAMED_PART, 400),
    "compressed": ("POST", "/files", {**MULTIPART, "Content-Encoding": "gzip"}, FORM_START, 415),
    "fault": ("POST", "/files", {**MULTIPART, "X-Mock-Fault": "rate_limited"}, FORM_START, 429),
    "malformed chunk": ("POST", "/files", {**MULTIPART, "Transfer-Encoding": "chunked"}, b"no size\r\n", 400),
}
REST_SIZE = 20 * MIB
"""More than the socket buffers of the client and the server hold."""


def send_all(wire: Wire, size: int, chunked: bool = False) -> None:
    piece = bytes(64 * 1024)
    piece = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    for _ in range(size // (64 * 1024)):
        wire.send(piece)


@pytest.mark.parametrize("case", REJECTED_REQUESTS.values(), ids=REJECTED_REQUESTS)
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_an_error_reaches_a_client_that_reads_after_sending_its_whole_body(
    strict_world: World, case: tuple[str, str, dict[str, str], bytes, int], framing: str
) -> None:
    method, path, headers, first_bytes, status = case
    if "{expired}" in path:
        container = request(strict_world, "POST", "/containers", JSON, CREATE_BODY).json["id"]
        strict_world.advance(3_600)
        path = path.format(expired=container)
    chunked = framing == "chunked" or "Transfer-Encoding" in headers
    with Wire(strict_world) as wire:
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(first_bytes) + REST_SIZE)}
        wire.head(method, path, {**length, **headers})
        valid_chunks = chunked and "Transfer-Encoding" not in headers
        wire.send(b"%x\r\n%b\r\n" % (len(first_bytes), first_bytes) if valid_chunks else first_bytes)
        send_all(wire, REST_SIZE, chunked)
        wire.send(b"0\r\n\r\n" if chunked else b"")
        response = wire.response(method)
        assert response.status == status
        if method != "GET":
            assert response.headers["connection"] == "close"
            assert wire.socket.recv(1) == b"", "the connection is closed, not reset"


@pytest.mark.parametrize("path", ["/_mock/worlds/nothing/files", "/_mock/nothing", "/_mock/worlds/x/import"])
def test_an_error_of_the_control_plane_reaches_a_client_that_sends_its_whole_body(world: World, path: str) -> None:
    with Wire(world) as wire:
        headers = "Host: other.example" if path.endswith("import") else "Host: localhost"
        wire.send(f"POST {path} HTTP/1.1\r\n{headers}\r\nContent-Length: {REST_SIZE}\r\n\r\n".encode())
        send_all(wire, REST_SIZE)
        assert wire.response().status in (400, 403, 404)
        assert wire.socket.recv(1) == b""


def test_the_sdk_raises_typed_errors_for_rejected_uploads(strict_server: MockServer) -> None:
    content = bytes(20_000_000)
    with new_world(strict_server) as world:
        container = world.openai.containers.create(name="box").id
        with pytest.raises(openai.NotFoundError):
            world.openai.containers.files.create("cntr_none", file=content)
        with pytest.raises(openai.APIStatusError, match="too large"):
            world.openai.containers.files.create(container, file=content)
        with pytest.raises(openai.AuthenticationError):
            world.openai.with_options(api_key="sk-other").files.create(file=content, purpose="vision")
        world.advance(3_600)
        with pytest.raises(openai.NotFoundError, match="expired"):
            world.openai.containers.files.create(container, file=content)


def test_a_discarded_body_needs_no_memory_and_blocks_no_other_world(world: World) -> None:
    with Wire(world) as wire, new_world(world.server) as other:
        wire.head("POST", "/nothing", {"Content-Length": str(100 * MIB)})
        assert wire.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 404"
        tracemalloc.start()
        try:
            for _ in range(4):
                send_all(wire, 5 * MIB)
                assert request(other, "GET", "/containers").status == 200
            assert tracemalloc.get_traced_memory()[1] < 4 * MIB
        finally:
            tracemalloc.stop()
        assert wire.response().status == 404


def test_an_endless_body_of_a_get_request_is_disconnected(strict_world: World) -> None:
    """The connection of a GET request is kept, but not while its client keeps sending."""
    with Wire(strict_world) as wire:
        wire.head("GET", "/containers", {"Content-Length": str(1 << 40)})
        assert wire.response("GET").status == 200
        with pytest.raises(ConnectionError):
            send_all(wire, 200 * MIB)


def test_trailers_of_an_ignored_body_need_little_memory(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"Transfer-Encoding": "chunked"})
        assert wire.response("GET").status == 200
        wire.send(b"0\r\n")
        trailers = b"X: y\r\n" * 150_000
        tracemalloc.start()
        try:
            for _ in range(6):
                wire.send(trailers)
                ok(httpx2.get(f"{world.server.url}/health"))
            assert tracemalloc.get_traced_memory()[1] < 16 * MIB
        finally:
            tracemalloc.stop()


def test_a_malformed_ignored_body_gets_no_second_response(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"Transfer-Encoding": "chunked"})
        assert wire.response("GET").status == 200
        wire.send(b"no size\r\n")
        assert wire.socket.recv(1) == b""


@pytest.mark.parametrize(
    ("headers", "sent"), [({}, b"\r\n"), ({"Content-Length": "2"}, b"{}")], ids=["blank line", "ignored body"]
)
def test_bytes_that_start_no_request_do_not_extend_keep_alive(headers: dict[str, str], sent: bytes) -> None:
    with MockServer() as server, new_world(server) as world:
        server._server.config.timeout_keep_alive = 0.2
        with Wire(world) as wire:
            wire.head("GET", "/containers", headers)
            assert wire.response("GET").status == 200
            wire.send(sent)
            assert wire.socket.recv(1) == b""


@pytest.mark.parametrize(
    "effect", ['{"status": 503}', '{"truncate_after": 9, "status": 503}', '{"drop": "before_answer"}']
)
def test_faults_close_a_connection_cleanly_while_the_client_sends(world: World, effect: str) -> None:
    with Wire(world) as wire:
        wire.head(
            "POST", "/files", {**MULTIPART, "X-Mock-Fault": effect, "Content-Length": str(len(FORM_START) + REST_SIZE)}
        )
        wire.send(FORM_START)
        send_all(wire, REST_SIZE)
        received = b""
        while piece := wire.socket.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 503") == ("drop" not in effect)


def client_statuses(server: MockServer, *command: str | Path) -> Counter[str]:
    run = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=600, check=True)
    return Counter(line.split(" ", 2)[2] for line in run.stdout.splitlines())


@pytest.mark.slow
def test_node_receives_the_status_of_each_rejected_upload(server: MockServer) -> None:
    require("", "", "", "node")
    assert client_statuses(server, "node", PROGRAMS / "node.mjs") == {"404": 80}


@pytest.mark.slow
def test_go_receives_the_status_of_each_rejected_upload(server: MockServer) -> None:
    require("", "", "", "go")
    assert client_statuses(server, "go", "run", PROGRAMS / "main.go") == {"404": 40}


@pytest.mark.slow
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_curl_receives_the_status_of_each_rejected_upload(server: MockServer, tmp_path: Path, expect: str) -> None:
    require("", "", "", "curl")
    for size in (2_000_000, 20_000_000):
        (tmp_path / "file").write_bytes(bytes(size))
        for path in ("/v1/containers/cntr_none/files", "/v1/nothing"):
            for _ in range(10):
                url = server.url + path
                command = ["curl", "-sS", "-H", expect, "-H", "Authorization: Bearer x", "-F", f"file=@{tmp_path}/file"]
                command += ["-o", "/dev/null", "-w", "%{http_code}", url]
                run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
                assert run.stdout == "404", run.stderr


# Half-closed connections


def read_after_half_close(wire: Wire) -> bytes:
    """Close the client's side of the connection, and return all that the server sends until it closes its own."""
    wire.socket.shutdown(socket.SHUT_WR)
    received = bytearray()
    while piece := wire.socket.recv(1 << 20):
        received += piece
    return bytes(received)


def parse_response(received: bytes) -> RawResponse:
    head, _, body = received.partition(b"\r\n\r\n")
    headers = http.client.HTTPMessage()
    for line in head.decode().splitlines()[1:]:
        name, _, value = line.partition(": ")
        headers[name] = value
    return RawResponse(int(head.split()[1]), headers, body)


@pytest.mark.parametrize("pause", [False, True], ids=["one read", "two reads"])
def test_a_half_closed_connection_receives_its_response(world: World, pause: bool) -> None:
    with Wire(world) as wire:
        wire.head("POST", "/containers", {**JSON, "Content-Length": str(len(CREATE_BODY))})
        wire.send(CREATE_BODY[:-1])
        if pause:
            request(world, "GET", "/containers")
        wire.send(CREATE_BODY[-1:])
        response = parse_response(read_after_half_close(wire))
    assert (response.status, response.json["name"]) == (200, "box")


def test_a_half_closed_connection_receives_its_whole_download(world: World) -> None:
    content = bytes(range(256)) * 40_000
    part = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
    purpose = ('Content-Disposition: form-data; name="purpose"', b"vision")
    file = request(world, "POST", "/files", MULTIPART, form(purpose, (part, content))).json["id"]
    with Wire(world) as wire:
        wire.head("GET", f"/files/{file}/content", {})
        first_bytes = wire.socket.recv(1_000)  # the download is in progress
        assert parse_response(first_bytes + read_after_half_close(wire)).body == content
    with Wire(world) as wire:
        wire.send(f"GET /_mock/worlds/{world.name}/export HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert read_after_half_close(wire).endswith(b"\r\n0\r\n\r\n")
    journal = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}/journal"))["data"]
    assert [each["aborted"] for each in journal] == [False, False]


@pytest.mark.parametrize("count", [20, 500])
def test_a_half_closed_connection_receives_all_pipelined_responses(world: World, count: int) -> None:
    with Wire(world) as wire:
        for _ in range(count):
            wire.head("GET", "/containers", {})
        received = read_after_half_close(wire)
    assert received.count(b"HTTP/1.1 200 OK") == count
    assert received.count(b"connection: close") == 1, "only the last response closes the connection"


def test_a_half_closed_connection_receives_a_slow_response(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"dribble": 1000}'})
        first_bytes = wire.socket.recv(1)
        assert parse_response(first_bytes + read_after_half_close(wire)).json["object"] == "list"


def test_an_aborted_download_on_a_half_closed_connection_is_recorded(world: World) -> None:
    part = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
    purpose = ('Content-Disposition: form-data; name="purpose"', b"vision")
    file = request(world, "POST", "/files", MULTIPART, form(purpose, (part, bytes(20 * MIB)))).json["id"]
    with Wire(world) as wire:
        wire.head("GET", f"/files/{file}/content", {})
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.socket.recv(12) == b"HTTP/1.1 200"
    journal = f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"
    (entry,) = ok(httpx2.get(journal, params={"operation": "DownloadFile"}))["data"]
    assert entry["aborted"]


def test_shutdown_does_not_wait_for_clients_that_keep_sending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "DRAIN_TIMEOUT", TIMEOUT)
    dropped = {**MULTIPART, "X-Mock-Fault": '{"drop": "before_answer"}', "Content-Length": "999"}
    with ExitStack() as stack, MockServer() as server, new_world(server) as world:
        server._server.config.timeout_graceful_shutdown = 10
        wire = stack.enter_context(Wire(world))
        wire.head("POST", "/files", dropped)
        assert wire.socket.recv(1) == b"", "the connection is dropped, and its body discarded"
    assert caplog.text == "", "no request was cancelled"


def test_shutdown_does_not_wait_after_the_last_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "DRAIN_TIMEOUT", TIMEOUT)
    with ExitStack() as stack:
        server = stack.enter_context(MockServer())
        wire = stack.enter_context(Wire(new_world(server)))
        wire.head("POST", "/files", {**MULTIPART, "Transfer-Encoding": "chunked"})
        wire.send(b"%x\r\n%b\r\n" % (len(FORM_START), FORM_START))
        ok(httpx2.get(f"{server.url}/health"))  # by then the server has started the upload
        begin_shutdown(server)
        wire.send(b"%x\r\n%b\r\n" % (len(UNNAMED_PART) + 2, b"\r\n" + UNNAMED_PART))
        assert wire.response().status == 400
        server._thread.join(TIMEOUT)
        assert not server._thread.is_alive()


def begin_shutdown(server: MockServer) -> None:
    """Begin the shutdown, and wait until no connection is accepted."""
    server._server.should_exit = True
    with suppress(ConnectionError):
        while True:
            socket.create_connection(("127.0.0.1", server.port), TIMEOUT).close()


def test_a_half_closed_connection_receives_the_responses_before_a_delayed_one(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"dribble": 1000}'})
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"latency": 600}'})
        received = read_after_half_close(wire)
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert received.endswith(b"}")


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"",
        b"GET /v1/containers HTT",
        b"POST /v1/containers HTTP/1.1\r\nauthorization: Bearer k\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_half_closed_connection_without_a_complete_request_is_closed(world: World, first_bytes: bytes) -> None:
    with Wire(world) as wire:
        if not first_bytes:
            wire.head("GET", "/containers", {})
            wire.response("GET")
        wire.send(first_bytes)
        assert read_after_half_close(wire) == b""


def test_a_half_closed_connection_aborts_a_request_with_a_delay_fault(world: World) -> None:
    """The server can't distinguish it from a client that timed out and closed its connection."""
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"latency": 600}'})
        assert read_after_half_close(wire) == b""
    (entry,) = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"))["data"]
    assert entry["aborted"]


STREAM_PATHS = ["/_mock/changes", "/_mock/worlds/{}/journal/stream", "/_mock/worlds/{}/journal/wait?timeout=600"]


@pytest.mark.parametrize("path", STREAM_PATHS)
@pytest.mark.parametrize("pause", [False, True], ids=["before the response", "after the response head"])
def test_a_half_closed_connection_ends_streams_and_long_polls(world: World, path: str, pause: bool) -> None:
    with Wire(world) as wire:
        wire.send(f"GET {path.format(world.name)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if pause and "wait" not in path:
            assert wire.socket.recv(12) == b"HTTP/1.1 200"
        read_after_half_close(wire)  # returns once the server closes the connection


# Slow bodies


def test_pace_counts_only_seconds_below_the_minimum_rate() -> None:
    fast = Pace(120.0, 500)
    for _ in range(3_600):
        fast.count(1.0, 10 * 1024)
        fast.count(30.0, 300 * 1024)  # a body that arrives in bursts
    assert fast.left == 120.0
    slow = Pace(120.0, 500)
    slow.count(1.0, 500 * MIB)  # fast seconds do not offset slow ones
    for _ in range(121):
        slow.count(1.0, 1)
    assert slow.left < 0
    silent = Pace(120.0, 0)
    silent.count(119.0, 1)
    assert silent.left == 120.0


@pytest.fixture(scope="module")
def impatient_server() -> Iterator[MockServer]:
    with MockServer(body_timeout=0.2, min_body_rate=1_000_000) as running:
        yield running


def send_slowly(wire: Wire) -> None:
    """Send a byte at a time until the server responds or closes the connection."""
    wire.socket.settimeout(0.01)
    with suppress(ConnectionError):
        while True:
            wire.send(b" ")
            with suppress(TimeoutError):
                wire.socket.recv(1, socket.MSG_PEEK)
                break
    wire.socket.settimeout(TIMEOUT)


@pytest.mark.parametrize("path", ["/containers", "/files", "/_mock/worlds/x", "/_mock/worlds/default/import"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_body_below_the_minimum_rate_returns_408(impatient_server: MockServer, path: str, framing: str) -> None:
    headers, first_bytes = (MULTIPART, FORM_START) if path == "/files" else (JSON, b"{")
    length = {"Content-Length": "1000000"} if framing == "sized" else {"Transfer-Encoding": "chunked"}
    with Wire(new_world(impatient_server)) as wire:
        if path.startswith("/_mock"):
            lines = [f"{name}: {value}" for name, value in {"Host": "localhost", **headers, **length}.items()]
            wire.send("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode())
        else:
            wire.head("POST", path, {**headers, **length})
        wire.send(b"ffff\r\n" + first_bytes if framing == "chunked" else first_bytes)
        send_slowly(wire)
        response = wire.response()
    assert (response.status, response.error["code"]) == (408, "request_timeout")
    assert "less than 1000000 bytes a second, for 0.2 seconds" in response.error["message"]


def test_an_ignored_body_below_the_minimum_rate_is_disconnected(impatient_server: MockServer) -> None:
    with Wire(new_world(impatient_server)) as wire:
        wire.head("GET", "/containers", {"Content-Length": "1000000"})
        assert wire.response("GET").status == 200
        send_slowly(wire)
        with suppress(ConnectionError):
            assert wire.socket.recv(1) == b""


# Many streams


@pytest.fixture
def server_with_two_streams() -> Iterator[MockServer]:
    with MockServer(max_streams=2) as running:
        yield running


def test_too_many_streams_return_503(server_with_two_streams: MockServer) -> None:
    with new_world(server_with_two_streams) as world, ExitStack() as stack:
        urls = [server_with_two_streams.url + path.format(world.name) for path in STREAM_PATHS]
        client = stack.enter_context(httpx2.Client(timeout=TIMEOUT))
        first, _ = [stack.enter_context(client.stream("GET", url)) for url in urls[:2]]
        for url in urls:
            rejected = client.get(url)
            assert "--max-streams" in error_message(rejected, 503, "too_many_streams")
            assert rejected.headers["retry-after"] == "1"
        ok(world.http.post("/containers", json={"name": "box"}))
        first.close()
        assert can_open_stream(client, urls[0])


def test_a_long_poll_counts_as_a_stream_until_it_ends(server_with_two_streams: MockServer) -> None:
    with new_world(server_with_two_streams) as world, httpx2.Client(timeout=TIMEOUT) as client:
        url, path = server_with_two_streams.url + STREAM_PATHS[0], STREAM_PATHS[2].format(world.name)
        with Wire(world) as one, Wire(world) as other:
            for wire in (one, other):
                wire.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            # Until both wait: a stream that is opened earlier would use the place of one of them.
            for _ in range(10_000):
                ok(client.get(f"{server_with_two_streams.url}/health"))
                if len(server_with_two_streams.mock.events.subscribers) == 2:
                    break
            assert not can_open_stream(client, url, expected=False)
            ok(world.http.post("/containers", json={"name": "box"}))  # both long polls wait for this request
            assert (one.response().status, other.response().status) == (200, 200)
        for _ in range(3):  # a failed long poll does not count
            error_message(
                client.get(f"{server_with_two_streams.url}/_mock/worlds/-/journal/wait"), 400, "invalid_world_name"
            )
        assert can_open_stream(client, url)


def can_open_stream(client: httpx2.Client, url: str, expected: bool = True) -> bool:
    """Return whether a stream can be opened. Retries until that is as expected, as the server needs a moment."""
    for _ in range(1_000):
        with client.stream("GET", url) as stream:
            if (stream.status_code == 200) == expected:
                return expected
    return not expected


def test_many_idle_streams_poll_less_often() -> None:
    """The more streams there are, the longer each sleeps between two polls of its clock."""
    waits: list[float] = []

    class IdleClient:
        def __init__(self, number: int) -> None:
            self._number = number
            self._all_wait = asyncio.Event()

        async def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == self._number:
                self._all_wait.set()
            await self._all_wait.wait()
            return True

    async def wait_together(number: int) -> list[float]:
        waits.clear()
        client = cast(Any, IdleClient(number))
        assert all(await asyncio.gather(*(streams.poll(client) for _ in range(number))))
        return waits

    assert asyncio.run(wait_together(1_000))[-1] == 1_000 / streams.MAX_POLLS > streams.POLL_SECONDS
    assert asyncio.run(wait_together(1)) == [streams.POLL_SECONDS]


def test_cancelling_a_run_ends_its_waiting_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    polls = threading.Semaphore(0)
    poll = streams.poll

    async def counted_poll(client: Any) -> bool:
        polls.release()
        return await poll(client)

    monkeypatch.setattr(streams, "poll", counted_poll)
    world.freeze()
    events = iter(world.openai.responses.create(model="m", input="a", background=True, stream=True))
    created = next(events)
    assert created.type == "response.created"
    for _ in range(3):  # until the stream has polled the active run several times
        assert polls.acquire(timeout=TIMEOUT)
    world.openai.responses.cancel(created.response.id)
    assert [event.type for event in events] == ["response.queued", "response.failed"]
