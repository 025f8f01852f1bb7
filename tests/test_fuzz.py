"""Hostile requests cause no internal error, hang, growth or leftovers.

`attacks.py` has handwritten requests by kind; Schemathesis and Hypothesis generate others. The tests count all of them,
and docs/internals/robustness.md gives the numbers.
"""

import http.client
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import pytest
import requests
import schemathesis
from attacks import KINDS, MIB, Attempt, Existing, forms, json_bodies, valid_requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from manual import tried
from rawhttp import TIMEOUT, form
from schemathesis.specs.openapi.checks import response_schema_conformance
from skill_bundles import zipped
from test_forms import DATA_PATHS

from mockserver.api.app import create_app
from mockserver.clock import stopwatch
from mockserver.server import protocol
from mockserver.server.serving import MockServer
from mockserver.settings import ENVIRONMENT
from mockserver.states import CLOSED_AT_ONCE, MAX_TASKS, OPEN_WORLDS

FAST_COUNT = 60
"""The number of requests of each kind in the fast tests, spread evenly."""
MAX_GROWTH = 12 * MIB
"""The memory that the allocator may keep after the largest requests, in bytes."""
ASSEMBLED = "requests that Hypothesis assembles from pieces"
GENERATED = "{}: valid and invalid requests that Schemathesis generates"

_numbers = itertools.count()


def client_of(port: int) -> httpx2.Client:
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer sk-test"}, timeout=TIMEOUT
    )


def create_existing(port: int, world: str) -> Existing:
    """Create a world with an object of each kind to attack."""
    with client_of(port) as client:
        base = f"/w/{world}/v1"
        container = client.post(f"{base}/containers", json={"name": "existing"}).json()["id"]
        upload = {"files": {"file": ("a.txt", b"content")}}
        container_file = client.post(f"{base}/containers/{container}/files", **upload).json()["id"]
        file = client.post(f"{base}/files", **upload, data={"purpose": "vision"}).json()["id"]
        new = {"bytes": 1, "filename": "a.txt", "purpose": "vision", "mime_type": "text/plain"}
        upload_id = client.post(f"{base}/uploads", json=new).json()["id"]
        skill = client.post(f"{base}/skills", files={"files": ("skill.zip", zipped())}).json()["id"]
        response = client.post(f"{base}/responses", json={"model": "m", "input": "a"}).json()["id"]
    return Existing(world, container, container_file, file, upload_id, skill, response)


@dataclass
class TargetServer:
    """A server in a process of its own, and the resources that it uses."""

    process: subprocess.Popen[bytes]
    port: int
    root: Path
    log: Path

    def client(self) -> httpx2.Client:
        return client_of(self.port)

    def create_existing(self, world: str) -> Existing:
        return create_existing(self.port, world)

    def usage(self) -> dict[str, int]:
        """Return the bytes of memory and the numbers of threads and open descriptors."""
        proc = Path("/proc") / str(self.process.pid)
        status = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", (proc / "status").read_text(), re.MULTILINE))
        return {
            "memory": int(status["VmRSS"]) * 1024,
            "threads": int(status["Threads"]),
            "descriptors": len([name for name in self.open_files() if "/worlds/" not in name]),
            "database": len([name for name in self.open_files() if "/worlds/" in name]),
        }

    def open_files(self) -> list[str]:
        """Return the targets of all open descriptors."""
        names = []
        for each in (Path("/proc") / str(self.process.pid) / "fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(each.readlink()))
        return sorted(names)

    def wait_for_idle(self) -> None:
        """Wait until the server has closed all connections; it reads on for a while after it rejected an upload."""
        until = stopwatch() + TIMEOUT
        while stopwatch() < until:
            with socket.create_connection(("127.0.0.1", self.port), TIMEOUT) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                while connection.recv(65536):
                    pass
            if self.usage()["descriptors"] <= self.baseline["descriptors"]:
                return

    def record_baseline(self) -> None:
        self.baseline = self.usage()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetServer]:
    root = tmp_path_factory.mktemp("root")
    (root / "tmp").mkdir()
    log = tmp_path_factory.mktemp("log") / "stderr"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT)}
    limits = ["--journal-bytes", "1MB", "--max-upload", "4MB", "--max-body", "4MB", "--log-level", "error"]
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "mockserver",
        "serve",
        "--port",
        "0",
        "--host",
        "127.0.0.1",
        "--json",
    ]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, *limits, "--data", root / "in" / "data"],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment | {"TMPDIR": str(root / "tmp")},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    running = TargetServer(process, json.loads(line)["port"], root, log)
    read_to_end(connect_and_send(running.port, b"GET /health HTTP/1.0\r\n\r\n"))  # the server closes this connection
    running.record_baseline()
    yield running
    process.terminate()
    process.communicate(timeout=TIMEOUT)
    assert log.read_text() == ""
    assert process.returncode == 0


def send_attempt(port: int, attempt: Attempt) -> str:
    """Send an attempt, check each response, and return the status of the last one or `none`."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = attempt.piece_size or len(attempt.data)
        with suppress(BrokenPipeError, ConnectionResetError):  # the server rejected it and closed the connection
            for start in range(0, len(attempt.data), step):
                connection.sendall(attempt.data[start : start + step])
            if not attempt.complete:
                connection.shutdown(socket.SHUT_WR)
        method = attempt.data.lstrip(b"\r\n").split(b" ", 1)[0].decode("latin-1")
        response_count = 0
        status = "none"
        with suppress(ConnectionResetError), connection.makefile("rb") as stream:
            while stream.peek(1)[:1]:
                response = http.client.HTTPResponse(OpenStream(stream), method=method)  # type: ignore[arg-type]  # it only calls makefile()
                response.begin()
                body = response.read()
                check_response(attempt, response, body)
                response_count += 1
                status = str(response.status)
                if attempt.complete or response.headers["connection"] == "close":
                    stream.read() if not attempt.complete else None
                    break
        assert response_count or not attempt.complete or len(attempt.data) > MIB, (
            f"no response to {attempt.data[:500]!r}"
        )
        return status


class OpenStream:
    """The part of a socket that http.client uses, over a stream that has more than one response."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, mode: str) -> Any:
        return _UnclosableStream(self._stream)


class _UnclosableStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Leave the stream open: the next response is read from it."""


def check_response(attempt: Attempt, response: http.client.HTTPResponse, body: bytes) -> None:
    description = f"{attempt.data[:500]!r}: {response.status} {body[:500]!r}"
    assert response.status < 500, description
    assert not [name for name, _ in response.getheaders() if name.lower() in ("x-evil", "set-cookie", "x")], description
    if response.status >= 400 and body:
        error = json.loads(body)["error"]
        assert list(error) == ["message", "type", "param", "code"], description
        assert len(body) < 8 * MIB, description


def check_no_leftovers(target: TargetServer, before: set[str]) -> None:
    """Check that the server uses no more resources than before, and that only valid worlds have been created."""
    target.wait_for_idle()
    now = target.usage()
    pool = min(32, (os.cpu_count() or 1) + 4)  # threads at most
    assert now["descriptors"] <= target.baseline["descriptors"], target.open_files()
    assert now["threads"] <= target.baseline["threads"] + pool
    # Each open world has its database, its log and the index of the log. SQLite keeps the descriptor of a connection of a
    # thread open until the last connection to the same file is closed (POSIX would drop their locks), or reuses it.
    assert now["database"] <= 4 * OPEN_WORLDS + 3 * MAX_TASKS * CLOSED_AT_ONCE + pool
    assert list((target.root / "in" / "data" / "uploads").iterdir()) == []
    assert list((target.root / "tmp").iterdir()) == []
    assert {path.name for path in target.root.iterdir()} == {"in", "tmp"}
    assert {path.name for path in (target.root / "in").iterdir()} == {"data"}
    data = target.root / "in" / "data"
    paths = [path.relative_to(data).as_posix() for path in data.rglob("*")]
    assert [path for path in paths if not DATA_PATHS.fullmatch(path)] == []
    assert target.process.poll() is None
    assert target.log.read_text() == ""
    with target.client() as client:
        created = {each["name"] for each in client.get("/_mock/worlds").json()["data"]} - before
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) for name in created)


def send_all(target: TargetServer, kind: str) -> int:
    """Send all attempts of a kind, and return their number."""
    with target.client() as client:
        before = {each["name"] for each in client.get("/_mock/worlds").json()["data"]}
    attempts = list(KINDS[kind](target.create_existing(next_world())))
    statuses = Counter(send_attempt(target.port, attempt) for attempt in attempts)
    check_no_leftovers(target, before)
    print(f"\n{kind}: {len(attempts):,} {dict(sorted(statuses.items()))}")
    assert len(statuses) > 1 or kind.startswith("valid"), "all attempts got the same status"
    return len(attempts)


def delete_worlds(target: TargetServer) -> None:
    with target.client() as client:
        for each in client.get("/_mock/worlds").json()["data"]:
            client.delete(f"/_mock/worlds/{each['name']}")


def next_world() -> str:
    return f"attacked-{next(_numbers):04}"  # of a fixed length, on which the number of attempts depends


@pytest.mark.parametrize("kind", KINDS)
def test_some_hostile_requests_of_each_kind_are_handled(server: MockServer, kind: str) -> None:
    attempts = list(KINDS[kind](create_existing(server.port, next_world())))
    for attempt in attempts[:: max(1, len(attempts) // FAST_COUNT)]:
        send_attempt(server.port, attempt)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_hostile_requests_of_each_kind_are_handled(target: TargetServer, kind: str) -> None:
    assert send_all(target, kind) == tried(kind), "the table in docs/internals/robustness.md is out of date"


@pytest.mark.slow
def test_hostile_requests_do_not_grow_the_memory(target: TargetServer) -> None:
    """Further rounds need no more memory than the first ones, in which each thread of the server allocates its share.

    The worlds of a round are deleted, as each open world has caches of its own.
    """

    def memory_after_rounds(count: int) -> int:
        for _ in range(count):
            for kind in KINDS:
                if not kind.startswith("valid"):
                    send_all(target, kind)
            delete_worlds(target)
        target.wait_for_idle()
        return target.usage()["memory"]

    before = memory_after_rounds(3)
    grown = memory_after_rounds(3) - before
    print(f"\ngrown by {grown / 1e6:.1f} MB over three further rounds")
    assert grown < MAX_GROWTH


def fragments(existing: Existing) -> list[bytes]:
    """Return the fragments of which Hypothesis assembles requests."""
    head, body = b"\r\n\r\n", b"--b\r\n"
    attempts = [
        each.data
        for kind in (forms, json_bodies)
        for each in islice(kind(existing), 0, None, 9)
        if len(each.data) < 5_000
    ]
    parts = [
        piece
        for each in [*attempts, *valid_requests(existing)]
        for piece in re.split(rb"(\r\n\r\n|\r\n|; |: )", each)
        if piece
    ]
    return sorted({*parts, head, body, b"\x00", b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Content-Length: 3"})


def send_assembled(port: int, examples: int) -> int:
    existing = create_existing(port, "put-together")
    count = 0
    request_lines = [valid_request[: valid_request.index(b"\r\n") + 2] for valid_request in valid_requests(existing)]

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(
        st.sampled_from(request_lines),
        st.lists(st.sampled_from(fragments(existing)) | st.binary(max_size=20), max_size=30),
    )
    def send(request_line: bytes, rest: list[bytes]) -> None:
        nonlocal count
        count += 1
        send_attempt(
            port,
            Attempt(
                request_line + b"Host: localhost\r\nAuthorization: Bearer sk-test\r\n" + b"".join(rest),
                complete=False,
            ),
        )

    send()
    return count


def test_some_assembled_requests_are_handled(server: MockServer) -> None:
    assert send_assembled(server.port, 100) >= 50


@pytest.mark.slow
def test_many_assembled_requests_are_handled(target: TargetServer) -> None:
    assert send_assembled(target.port, tried(ASSEMBLED)) >= tried(ASSEMBLED) * 0.9  # Hypothesis skips duplicates
    check_no_leftovers(target, set())


# Requests from the OpenAPI documents


def openapi_of(target: TargetServer, api: str) -> dict[str, Any]:
    if api == "control plane":
        with target.client() as client:
            return dict(client.get("/_mock/openapi.json").json())
    with MockServer() as server:
        return create_app(server.mock).openapi()


STREAMING_ROUTES = ("/stream", "/wait")
"""Routes whose responses wait for an event."""


def send_generated(target: TargetServer, api: str, examples: int, every: int = 1) -> int:
    """Send valid and invalid requests of each operation, check the responses, and return the number of requests."""
    prefix = "" if api == "control plane" else "/w/described/v1"
    base = f"http://127.0.0.1:{target.port}{prefix}"
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        session.headers["api-key"] = "sk-test"

        def send(case: Any) -> None:
            response = case.call(base_url=base, session=session, timeout=TIMEOUT)
            statuses[response.status_code] += 1
            description = f"{case.as_curl_command()}: {response.status_code} {response.content[:500]!r}"
            assert response.status_code < 500 or response.headers.get("x-mock-fault"), description
            if response.status_code >= 400 and case.method != "HEAD":
                assert list(response.json()["error"]) == ["message", "type", "param", "code"], description
            elif response.status_code == 200:
                case.validate_response(response, checks=(response_schema_conformance,))

        all = schemathesis.openapi.from_dict(openapi_of(target, api)).get_all_operations()
        for result in islice(all, 0, None, every):
            operation = result.ok()
            if operation.path.endswith(STREAMING_ROUTES):
                continue
            for mode in schemathesis.GenerationMode:
                with suppress(hypothesis.errors.Unsatisfiable):  # the operation has no invalid requests
                    settings(
                        max_examples=examples,
                        deadline=None,
                        database=None,
                        suppress_health_check=list(HealthCheck),
                        phases=[Phase.generate, Phase.shrink],
                    )(given(operation.as_strategy(generation_mode=mode))(send))()
    print(f"\n{api}: {statuses.total():,} {dict(sorted(statuses.items()))}")
    return statuses.total()


@pytest.mark.parametrize("api", ["API", "control plane"])
@pytest.mark.slow
def test_some_requests_generated_from_the_openapi_document_are_handled(target: TargetServer, api: str) -> None:
    assert send_generated(target, api, 2, every={"API": 4, "control plane": 16}[api]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("api", ["API", "control plane"])
def test_many_requests_generated_from_the_openapi_document_are_handled(target: TargetServer, api: str) -> None:
    assert send_generated(target, api, {"API": 60, "control plane": 15}[api]) >= tried(GENERATED.format(api))


# Connections


def connect_and_send(port: int, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    connection.sendall(data)
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    response = bytearray()
    with connection, suppress(ConnectionResetError):
        while received := connection.recv(65536):
            response += received
    return bytes(response)


UNFINISHED_REQUESTS = [
    b"",
    b"G",
    b"GET /v1/containers HTTP/1.1\r\nHost: x\r\nX: ",
    b"POST /v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\nContent-Length: 9\r\n\r\n{",
    b"POST /v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\nTransfer-Encoding: chunked\r\n\r\n5",
    b"POST /v1/files HTTP/1.1\r\nHost: x\r\napi-key: k\r\nContent-Length: 99999\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 5_000,
]


@pytest.mark.slow
def test_unfinished_requests_do_not_block_other_clients(target: TargetServer) -> None:
    """A slow-loris attack: hundreds of connections that stop at different stages, and then send single bytes."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(connect_and_send(target.port, UNFINISHED_REQUESTS[n % len(UNFINISHED_REQUESTS)]))
            for n in range(240)
        ]
        with target.client() as client:
            for connection in connections[1::7]:
                connection.sendall(b" ")
                created = client.post("/w/loris/v1/containers", json={"name": "box"})
                assert created.status_code == 200
    check_no_leftovers(target, set())
    with target.client() as client:
        assert client.get("/w/loris/v1/files").json()["data"] == []


async def connect_in_server_loop(port: int, data: bytes) -> socket.socket:
    """Run in the event loop of the server, so that the data has arrived when the server accepts the connection."""
    return connect_and_send(port, data)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", UNFINISHED_REQUESTS[2], b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /he"]
)
def test_an_incomplete_head_times_out(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    with MockServer() as server:
        response = read_to_end(server.run(connect_in_server_loop(server.port, sent)))
        assert response.count(b"HTTP/1.1 200 OK") == sent.count(b"/health ")
        assert response.count(b"HTTP/1.1") == response.count(b"HTTP/1.1 200")
        for _ in range(3):  # a complete head has no timeout
            response = read_to_end(server.run(connect_in_server_loop(server.port, b"GET /health HTTP/1.0\r\n\r\n")))
            assert response.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_head_timeout_does_not_apply_to_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    with MockServer() as server, server.run(connect_in_server_loop(server.port, UNFINISHED_REQUESTS[3])) as connection:
        slow = b'GET /v1/containers HTTP/1.0\r\napi-key: k\r\nX-Mock-Fault: {"latency": 0.2}\r\n\r\n'
        assert read_to_end(server.run(connect_in_server_loop(server.port, slow))).startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(b'        "')
        assert connection.recv(12) == b"HTTP/1.1 400"  # the invalid JSON was read to its end


def test_a_head_beyond_the_size_limit_returns_431(server: MockServer) -> None:
    line = b"GET /health HTTP/1.1\r\nHost: x\r\nX: "
    for size, status in ((protocol.HEAD_BYTES - 60, 200), (protocol.HEAD_BYTES, 431)):
        for step in (1_000, 50_000, 200_000):
            attempt = Attempt(line + b"y" * size + b"\r\n\r\n", piece_size=step)
            assert send_attempt(server.port, attempt) == str(status)
    response = read_to_end(connect_and_send(server.port, line + b"y" * 500_000))
    assert response.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] == "headers_too_large"


@pytest.mark.slow
@pytest.mark.parametrize("part", [b"0\r\nX: %b", b"5;%b", b"0\r\n%b"])
def test_chunk_extensions_and_trailers_are_bounded(target: TargetServer, part: bytes) -> None:
    """Send 32 MiB of them without a body. The first round shows how much memory the allocator keeps."""
    head = b"POST /v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\nTransfer-Encoding: chunked\r\n\r\n"
    padding = b"X: y\r\n" * 150_000 if part == b"0\r\n%b" else b"y" * MIB
    before = []
    for _ in range(3):
        with connect_and_send(target.port, head + part % padding) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(32):
                    connection.sendall(padding)
            response = read_to_end(connection)
        # The response is lost if the connection is reset while this client is still sending.
        assert response.startswith(b"HTTP/1.1 400 ") or response == b""
        target.wait_for_idle()
        before.append(target.usage()["memory"])
    assert max(before) - before[0] < MAX_GROWTH


def test_an_upload_in_chunks_of_one_byte_is_accepted(server: MockServer) -> None:
    body = form(('Content-Disposition: form-data; name="file"; filename="a"', b"x" * 100_000))
    body = (
        form(('Content-Disposition: form-data; name="purpose"', b"vision"), boundary="simple")[: -len("--simple--\r\n")]
        + body
    )
    head = b"POST /w/chunks/v1/files HTTP/1.1\r\nHost: x\r\napi-key: k\r\nTransfer-Encoding: chunked\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=simple\r\n\r\n"
    chunks = b"".join(b"00000001\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert send_attempt(server.port, Attempt(head + kind + chunks)) == "200"


def test_many_requests_in_one_packet_get_their_responses_in_order(server: MockServer) -> None:
    pipeline = b"".join(b"GET /w/p/v1/containers/%d HTTP/1.1\r\nHost: x\r\napi-key: k\r\n\r\n" % n for n in range(500))
    response = read_to_end(
        connect_and_send(server.port, pipeline + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    )
    found = [int(each) for each in re.findall(rb"Container with id '(\d+)' not found", response)]
    assert found == list(range(500))
    assert response.count(b"HTTP/1.1 200 OK") == 1


def test_a_request_before_invalid_bytes_gets_its_own_response_only(server: MockServer) -> None:
    """The client would take an error about the bytes after the request for the response to a later request."""
    body = b'{"name": "first"}'
    first = b"POST /w/front/v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    response = read_to_end(connect_and_send(server.port, first + b"\x00\x01 nonsense\r\n\r\n"))
    assert response.startswith(b"HTTP/1.1 200 OK")
    assert response.count(b"HTTP/1.1") == 1


@pytest.mark.slow
def test_connection_resets_leave_nothing_behind(target: TargetServer) -> None:
    existing = target.create_existing("resets")
    for valid_request in valid_requests(existing):
        for end in (*range(1, len(valid_request), 17), len(valid_request)):
            with connect_and_send(target.port, valid_request[:end]) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check_no_leftovers(target, set())


def test_too_many_headers_return_431(server: MockServer) -> None:
    line = b"GET /health HTTP/1.1\r\n"
    for count, status in ((1_000, "200"), (1_001, "431")):
        assert send_attempt(server.port, Attempt(line + b"X: y\r\n" * count + b"\r\n")) == status
