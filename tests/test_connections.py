"""How connections end: bodies that nobody reads, clients that close one side, bodies that are slow, many streams."""

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
from mockserver.server import connection
from mockserver.server.connection import Pace
from mockserver.server.serving import MockServer

MIB = 1024 * 1024
PROGRAMS = Path(__file__).parent / "rejected_upload"
JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=simple"}
BEGUN = b'--simple\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
UNNAMED = b"--simple\r\nContent-Disposition: form-data\r\n\r\n"
BOX = b'{"name": "box"}'


@pytest.fixture(scope="module")
def strict_server() -> Iterator[MockServer]:
    """A server that takes one key, and neither large uploads nor large JSON."""
    with MockServer(api_key=("sk-test",), max_upload=MIB, max_body=MIB) as running:
        yield running


@pytest.fixture
def strict_world(strict_server: MockServer) -> World:
    return new_world(strict_server)


# A client that begins with TLS


@pytest.mark.parametrize("first", [1, 1_000])
def test_a_client_that_begins_with_tls_is_logged_and_disconnected(caplog: pytest.LogCaptureFixture, first: int) -> None:
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    sent = hello.read()
    with MockServer() as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as opened:
                opened.sendall(sent[:first])
                while opened.recv(65536):
                    pass
    found = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert found == [
        "a client begins with TLS, which this port does not take; write http:// instead of https:// in its base URL "
        "(logged once a minute at most)"
    ]


# Bodies that nobody reads


CASES: dict[str, tuple[str, str, dict[str, str], bytes, int]] = {
    "unknown container": ("POST", "/containers/cntr_none/files", MULTIPART, BEGUN, 404),
    "unknown container, JSON": ("POST", "/containers/cntr_none/files", JSON, b'{"file_id": "', 404),
    "expired container": ("POST", "/containers/{expired}/files", MULTIPART, BEGUN, 404),
    "wrong key": ("POST", "/files", {**MULTIPART, "Authorization": "Bearer sk-wrong"}, BEGUN, 401),
    "wrong key, JSON": ("POST", "/containers", {**JSON, "Authorization": "Bearer sk-wrong"}, b'{"name": "', 401),
    "unknown URL": ("POST", "/nothing", MULTIPART, BEGUN, 404),
    "unknown URL, PUT": ("PUT", "/nothing", JSON, b'{"name": "', 404),
    "wrong method": ("POST", "/containers/cntr_none", JSON, b'{"name": "', 405),
    "wrong method, PUT": ("PUT", "/files", MULTIPART, BEGUN, 405),
    "wrong method, GET with a body": ("GET", "/nothing", JSON, b'{"name": "', 404),
    "large JSON": ("POST", "/containers", JSON, b'{"name": "', 413),
    "large upload": ("POST", "/files", MULTIPART, BEGUN, 413),
    "a part without a name": ("POST", "/files", MULTIPART, UNNAMED, 400),
    "compressed": ("POST", "/files", {**MULTIPART, "Content-Encoding": "gzip"}, BEGUN, 415),
    "fault": ("POST", "/files", {**MULTIPART, "X-Mock-Fault": "rate_limited"}, BEGUN, 429),
    "malformed chunk": ("POST", "/files", {**MULTIPART, "Transfer-Encoding": "chunked"}, b"no size\r\n", 400),
}
REST = 20 * MIB
"""More than a client's machine and the server's take before anybody reads it."""


def send_all(wire: Wire, size: int, chunked: bool = False) -> None:
    piece = bytes(64 * 1024)
    piece = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    for _ in range(size // (64 * 1024)):
        wire.send(piece)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_the_error_reaches_a_client_that_reads_after_it_has_sent_all(
    strict_world: World, case: tuple[str, str, dict[str, str], bytes, int], framing: str
) -> None:
    method, path, headers, begun, status = case
    if "{expired}" in path:
        box = request(strict_world, "POST", "/containers", JSON, BOX).json["id"]
        strict_world.advance(3_600)
        path = path.format(expired=box)
    chunked = framing == "chunked" or "Transfer-Encoding" in headers
    with Wire(strict_world) as wire:
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(begun) + REST)}
        wire.head(method, path, {**length, **headers})
        sound = chunked and "Transfer-Encoding" not in headers
        wire.send(b"%x\r\n%b\r\n" % (len(begun), begun) if sound else begun)
        send_all(wire, REST, chunked)
        wire.send(b"0\r\n\r\n" if chunked else b"")
        answer = wire.response(method)
        assert answer.status == status
        if method != "GET":
            assert answer.headers["connection"] == "close"
            assert wire.socket.recv(1) == b"", "it is closed, and not reset"


@pytest.mark.parametrize("path", ["/_mock/worlds/nothing/files", "/_mock/nothing", "/_mock/worlds/x/import"])
def test_the_control_plane_reads_on_likewise(world: World, path: str) -> None:
    with Wire(world) as wire:
        headers = "Host: other.example" if path.endswith("import") else "Host: localhost"
        wire.send(f"POST {path} HTTP/1.1\r\n{headers}\r\nContent-Length: {REST}\r\n\r\n".encode())
        send_all(wire, REST)
        assert wire.response().status in (400, 403, 404)
        assert wire.socket.recv(1) == b""


def test_the_sdk_gets_the_typed_error(strict_server: MockServer) -> None:
    content = bytes(20_000_000)
    with new_world(strict_server) as world:
        box = world.openai.containers.create(name="box").id
        with pytest.raises(openai.NotFoundError):
            world.openai.containers.files.create("cntr_none", file=content)
        with pytest.raises(openai.APIStatusError, match="too large"):
            world.openai.containers.files.create(box, file=content)
        with pytest.raises(openai.AuthenticationError):
            world.openai.with_options(api_key="sk-other").files.create(file=content, purpose="vision")
        world.advance(3_600)
        with pytest.raises(openai.NotFoundError, match="expired"):
            world.openai.containers.files.create(box, file=content)


def test_what_is_dropped_takes_no_memory_and_no_other_world_waits(world: World) -> None:
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


def test_an_abandoned_body_of_a_get_is_bounded(strict_world: World) -> None:
    """Its connection is kept, but not by a client that sends for ever."""
    with Wire(strict_world) as wire:
        wire.head("GET", "/containers", {"Content-Length": str(1 << 40)})
        assert wire.response("GET").status == 200
        with pytest.raises(ConnectionError):
            send_all(wire, 200 * MIB)


def test_trailers_of_an_ignored_body_take_little_memory(world: World) -> None:
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


def test_nothing_is_sent_after_the_response_when_its_body_turns_out_malformed(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"Transfer-Encoding": "chunked"})
        assert wire.response("GET").status == 200
        wire.send(b"no size\r\n")
        assert wire.socket.recv(1) == b""


@pytest.mark.parametrize(
    ("headers", "sent"), [({}, b"\r\n"), ({"Content-Length": "2"}, b"{}")], ids=["blank line", "ignored body"]
)
def test_bytes_that_begin_no_request_do_not_keep_a_connection_open(headers: dict[str, str], sent: bytes) -> None:
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
def test_faults_end_a_connection_cleanly_while_the_client_sends(world: World, effect: str) -> None:
    with Wire(world) as wire:
        wire.head("POST", "/files", {**MULTIPART, "X-Mock-Fault": effect, "Content-Length": str(len(BEGUN) + REST)})
        wire.send(BEGUN)
        send_all(wire, REST)
        received = b""
        while piece := wire.socket.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 503") == ("drop" not in effect)


def statuses(server: MockServer, *command: str | Path) -> Counter[str]:
    run = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=600, check=True)
    return Counter(line.split(" ", 2)[2] for line in run.stdout.splitlines())


@pytest.mark.slow
def test_node_gets_each_status(server: MockServer) -> None:
    require("", "", "", "node")
    assert statuses(server, "node", PROGRAMS / "node.mjs") == {"404": 80}


@pytest.mark.slow
def test_go_gets_each_status(server: MockServer) -> None:
    require("", "", "", "go")
    assert statuses(server, "go", "run", PROGRAMS / "main.go") == {"404": 40}


@pytest.mark.slow
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_curl_gets_each_status(server: MockServer, tmp_path: Path, expect: str) -> None:
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


# Clients that close their side


def half_closed(wire: Wire) -> bytes:
    """All that comes after the client has closed its side, to the end."""
    wire.socket.shutdown(socket.SHUT_WR)
    received = bytearray()
    while piece := wire.socket.recv(1 << 20):
        received += piece
    return bytes(received)


def parsed(received: bytes) -> RawResponse:
    head, _, body = received.partition(b"\r\n\r\n")
    headers = http.client.HTTPMessage()
    for line in head.decode().splitlines()[1:]:
        name, _, value = line.partition(": ")
        headers[name] = value
    return RawResponse(int(head.split()[1]), headers, body)


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "later"])
def test_a_client_that_closes_its_side_gets_its_response(world: World, pause: bool) -> None:
    with Wire(world) as wire:
        wire.head("POST", "/containers", {**JSON, "Content-Length": str(len(BOX))})
        wire.send(BOX[:-1])
        if pause:
            request(world, "GET", "/containers")
        wire.send(BOX[-1:])
        answer = parsed(half_closed(wire))
    assert (answer.status, answer.json["name"]) == (200, "box")


def test_a_download_is_completed_for_a_client_that_closes_its_side(world: World) -> None:
    content = bytes(range(256)) * 40_000
    part = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
    purpose = ('Content-Disposition: form-data; name="purpose"', b"vision")
    file = request(world, "POST", "/files", MULTIPART, form(purpose, (part, content))).json["id"]
    with Wire(world) as wire:
        wire.head("GET", f"/files/{file}/content", {})
        begun = wire.socket.recv(1_000)  # it is under way
        assert parsed(begun + half_closed(wire)).body == content
    with Wire(world) as wire:
        wire.send(f"GET /_mock/worlds/{world.name}/export HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert half_closed(wire).endswith(b"\r\n0\r\n\r\n")
    journal = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}/journal"))["data"]
    assert [each["aborted"] for each in journal] == [False, False]


def test_a_pipeline_is_completed_for_a_client_that_closes_its_side(world: World) -> None:
    with Wire(world) as wire:
        for _ in range(20):
            wire.head("GET", "/containers", {})
        received = half_closed(wire)
    assert received.count(b"HTTP/1.1 200 OK") == 20
    assert received.count(b"connection: close") == 1, "of the last response"


def test_a_slow_response_is_completed_for_a_client_that_closes_its_side(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"dribble": 1000}'})
        begun = wire.socket.recv(1)
        assert parsed(begun + half_closed(wire)).json["object"] == "list"


def test_such_a_client_that_leaves_in_the_middle_is_noticed(world: World) -> None:
    part = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
    purpose = ('Content-Disposition: form-data; name="purpose"', b"vision")
    file = request(world, "POST", "/files", MULTIPART, form(purpose, (part, bytes(20 * MIB)))).json["id"]
    with Wire(world) as wire:
        wire.head("GET", f"/files/{file}/content", {})
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.socket.recv(12) == b"HTTP/1.1 200"
    journal = f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"
    (left,) = ok(httpx2.get(journal, params={"operation": "DownloadFile"}))["data"]
    assert left["aborted"]


def test_a_stop_waits_for_no_client_that_is_still_sending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "DRAIN_TIMEOUT", TIMEOUT)
    dropped = {**MULTIPART, "X-Mock-Fault": '{"drop": "before_answer"}', "Content-Length": "999"}
    with ExitStack() as stack, MockServer() as server, new_world(server) as world:
        server._server.config.timeout_graceful_shutdown = 10
        wire = stack.enter_context(Wire(world))
        wire.head("POST", "/files", dropped)
        assert wire.socket.recv(1) == b"", "it is dropped, and drained"
    assert caplog.text == "", "nothing had to be cancelled"


def test_a_stop_does_not_wait_after_the_last_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DRAIN_TIMEOUT", TIMEOUT)
    with ExitStack() as stack:
        server = stack.enter_context(MockServer())
        wire = stack.enter_context(Wire(new_world(server)))
        wire.head("POST", "/files", {**MULTIPART, "Transfer-Encoding": "chunked"})
        wire.send(b"%x\r\n%b\r\n" % (len(BEGUN), BEGUN))
        ok(httpx2.get(f"{server.url}/health"))  # its request has begun
        stop(server)
        wire.send(b"%x\r\n%b\r\n" % (len(UNNAMED) + 2, b"\r\n" + UNNAMED))
        assert wire.response().status == 400
        server._thread.join(TIMEOUT)
        assert not server._thread.is_alive()


def stop(server: MockServer) -> None:
    """Begin to stop, and wait until no connection is taken any more."""
    server._server.should_exit = True
    with suppress(ConnectionError):
        while True:
            socket.create_connection(("127.0.0.1", server.port), TIMEOUT).close()


def test_what_is_asked_in_front_of_a_delayed_response_is_completed(world: World) -> None:
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"dribble": 1000}'})
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"latency": 600}'})
        received = half_closed(wire)
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert received.endswith(b"}")


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /v1/containers HTT",
        b"POST /v1/containers HTTP/1.1\r\nauthorization: Bearer k\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_client_without_a_whole_request_is_let_go(world: World, begun: bytes) -> None:
    with Wire(world) as wire:
        if not begun:
            wire.head("GET", "/containers", {})
            wire.response("GET")
        wire.send(begun)
        assert half_closed(wire) == b""


def test_a_fault_that_delays_the_response_takes_such_a_client_for_gone(world: World) -> None:
    """A client that has waited long enough closes its connection: that looks the same."""
    with Wire(world) as wire:
        wire.head("GET", "/containers", {"X-Mock-Fault": '{"latency": 600}'})
        assert half_closed(wire) == b""
    (left,) = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"))["data"]
    assert left["aborted"]


STREAMS = ["/_mock/changes", "/_mock/worlds/{}/journal/stream", "/_mock/worlds/{}/journal/wait?timeout=600"]


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("pause", [False, True], ids=["at once", "later"])
def test_nobody_follows_on_half_a_connection(world: World, path: str, pause: bool) -> None:
    with Wire(world) as wire:
        wire.send(f"GET {path.format(world.name)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if pause and "wait" not in path:
            assert wire.socket.recv(12) == b"HTTP/1.1 200"
        half_closed(wire)  # it ends


# Slow bodies


def test_the_pace_of_a_body() -> None:
    honest = Pace(120.0, 500)
    for _ in range(3_600):
        honest.count(1.0, 10 * 1024)
        honest.count(30.0, 300 * 1024)  # and one that comes in bursts
    assert honest.left == 120.0
    trickle = Pace(120.0, 500)
    trickle.count(1.0, 500 * MIB)  # what came fast before is no credit
    for _ in range(121):
        trickle.count(1.0, 1)
    assert trickle.left < 0
    silent = Pace(120.0, 0)
    silent.count(119.0, 1)
    assert silent.left == 120.0


@pytest.fixture(scope="module")
def hurried() -> Iterator[MockServer]:
    with MockServer(body_timeout=0.2, min_body_rate=1_000_000) as running:
        yield running


def trickled(wire: Wire) -> None:
    """Send a byte at a time until the server has something to say, or has closed the connection."""
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
def test_a_body_that_trickles_is_rejected(hurried: MockServer, path: str, framing: str) -> None:
    headers, begun = (MULTIPART, BEGUN) if path == "/files" else (JSON, b"{")
    length = {"Content-Length": "1000000"} if framing == "sized" else {"Transfer-Encoding": "chunked"}
    with Wire(new_world(hurried)) as wire:
        if path.startswith("/_mock"):
            lines = [f"{name}: {value}" for name, value in {"Host": "localhost", **headers, **length}.items()]
            wire.send("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode())
        else:
            wire.head("POST", path, {**headers, **length})
        wire.send(b"ffff\r\n" + begun if framing == "chunked" else begun)
        trickled(wire)
        answer = wire.response()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert "less than 1000000 bytes a second, for 0.2 seconds" in answer.error["message"]


def test_a_body_that_nobody_reads_may_not_trickle_either(hurried: MockServer) -> None:
    with Wire(new_world(hurried)) as wire:
        wire.head("GET", "/containers", {"Content-Length": "1000000"})
        assert wire.response("GET").status == 200
        trickled(wire)
        with suppress(ConnectionError):
            assert wire.socket.recv(1) == b""


# Many streams


@pytest.fixture
def crowded() -> Iterator[MockServer]:
    with MockServer(max_streams=2) as running:
        yield running


def test_streams_and_waits_are_bounded(crowded: MockServer) -> None:
    with new_world(crowded) as world, ExitStack() as stack:
        urls = [crowded.url + path.format(world.name) for path in STREAMS]
        client = stack.enter_context(httpx2.Client(timeout=TIMEOUT))
        first, _ = [stack.enter_context(client.stream("GET", url)) for url in urls[:2]]
        for url in urls:
            refused = client.get(url)
            assert "--max-streams" in error_message(refused, 503, "too_many_streams")
            assert refused.headers["retry-after"] == "1"
        ok(world.http.post("/containers", json={"name": "box"}))
        first.close()
        assert admitted(client, urls[0])


def test_a_wait_counts_until_it_ends(crowded: MockServer) -> None:
    with new_world(crowded) as world, httpx2.Client(timeout=TIMEOUT) as client:
        url, path = crowded.url + STREAMS[0], STREAMS[2].format(world.name)
        with Wire(world) as one, Wire(world) as other:
            for wire in (one, other):
                wire.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            # Until both wait. A stream that is opened before would take the place of one of them.
            for _ in range(10_000):
                ok(client.get(f"{crowded.url}/health"))
                if len(crowded.mock.events.subscribers) == 2:
                    break
            assert not admitted(client, url, wanted=False)
            ok(world.http.post("/containers", json={"name": "box"}))  # what both wait for
            assert (one.response().status, other.response().status) == (200, 200)
        for _ in range(3):  # nor does one count that fails
            error_message(client.get(f"{crowded.url}/_mock/worlds/-/journal/wait"), 400, "invalid_world_name")
        assert admitted(client, url)


def admitted(client: httpx2.Client, url: str, wanted: bool = True) -> bool:
    """Whether a stream can be opened; asked until it is as wanted, as what happened before takes a moment."""
    for _ in range(1_000):
        with client.stream("GET", url) as opened:
            if (opened.status_code == 200) == wanted:
                return wanted
    return not wanted


def test_streams_that_wait_take_a_bounded_share_of_the_server() -> None:
    """Each looks less often at its clock, the more there are."""
    waits: list[float] = []

    class Idle:
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
        client = cast(Any, Idle(number))
        assert all(await asyncio.gather(*(streams.poll(client) for _ in range(number))))
        return waits

    assert asyncio.run(wait_together(1_000))[-1] == 1_000 / streams.MAX_POLLS > streams.POLL_SECONDS
    assert asyncio.run(wait_together(1)) == [streams.POLL_SECONDS]


def test_a_stream_that_waits_ends_when_its_run_is_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    polls = threading.Semaphore(0)
    poll = streams.poll

    async def counted(client: Any) -> bool:
        polls.release()
        return await poll(client)

    monkeypatch.setattr(streams, "poll", counted)
    world.freeze()
    events = iter(world.openai.responses.create(model="m", input="a", background=True, stream=True))
    created = next(events)
    assert created.type == "response.created"
    for _ in range(3):  # so that it has found the run alive before
        assert polls.acquire(timeout=TIMEOUT)
    world.openai.responses.cancel(created.response.id)
    assert [event.type for event in events] == ["response.queued", "response.failed"]
