"""Hostile requests, and what they must not do: no failure of the server's own, no hang, no growth, nothing left behind.

`attacks.py` holds those that were thought of, by their kind; Schemathesis and Hypothesis make up others. All are
counted, and docs/internals/robustness.md says how many there are.
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
from attacks import KINDS, MIB, Attempt, Existing, jsons, multiparts, samples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from manual import tried
from rawhttp import TIMEOUT, form
from schemathesis.specs.openapi.checks import response_schema_conformance
from skill_bundles import zipped
from test_forms import TREE

from mockserver.api.app import create_app
from mockserver.clock import stopwatch
from mockserver.server import protocol
from mockserver.server.serving import MockServer
from mockserver.settings import ENVIRONMENT
from mockserver.states import CLOSED_AT_ONCE, MAX_TASKS, OPEN_WORLDS

FEW = 60
"""Of each kind in the fast tests, spread over all of it."""
GROWTH = 12 * MIB
"""What the allocator may keep of the largest requests."""
ADDED = "requests that Hypothesis puts together of pieces"
BY_SCHEMA = "{}: requests by Schemathesis, as the description has them and as it forbids them"

_grounds = itertools.count()


def client_of(port: int) -> httpx2.Client:
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer sk-test"}, timeout=TIMEOUT
    )


def create_existing(port: int, world: str) -> Existing:
    """A world with something in it to attack."""
    with client_of(port) as client:
        base = f"/w/{world}/v1"
        container = client.post(f"{base}/containers", json={"name": "existing"}).json()["id"]
        upload = {"files": {"file": ("a.txt", b"content")}}
        inside = client.post(f"{base}/containers/{container}/files", **upload).json()["id"]
        file = client.post(f"{base}/files", **upload, data={"purpose": "vision"}).json()["id"]
        new = {"bytes": 1, "filename": "a.txt", "purpose": "vision", "mime_type": "text/plain"}
        pending = client.post(f"{base}/uploads", json=new).json()["id"]
        skill = client.post(f"{base}/skills", files={"files": ("skill.zip", zipped())}).json()["id"]
        response = client.post(f"{base}/responses", json={"model": "m", "input": "a"}).json()["id"]
    return Existing(world, container, inside, file, pending, skill, response)


@dataclass
class Target:
    """A server in a process of its own, and what it has of the machine."""

    process: subprocess.Popen[bytes]
    port: int
    root: Path
    log: Path

    def client(self) -> httpx2.Client:
        return client_of(self.port)

    def create_existing(self, world: str) -> Existing:
        return create_existing(self.port, world)

    def has(self) -> dict[str, int]:
        """Bytes of memory, and counts of open descriptors and threads."""
        proc = Path("/proc") / str(self.process.pid)
        status = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", (proc / "status").read_text(), re.MULTILINE))
        return {
            "memory": int(status["VmRSS"]) * 1024,
            "threads": int(status["Threads"]),
            "descriptors": len([name for name in self.opened() if "/worlds/" not in name]),
            "database": len([name for name in self.opened() if "/worlds/" in name]),
        }

    def opened(self) -> list[str]:
        """What the descriptors are of."""
        names = []
        for each in (Path("/proc") / str(self.process.pid) / "fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(each.readlink()))
        return sorted(names)

    def settle(self) -> None:
        """Until all connections of the past are closed; what a refused client may still send is waited for."""
        until = stopwatch() + TIMEOUT
        while stopwatch() < until:
            with socket.create_connection(("127.0.0.1", self.port), TIMEOUT) as opened:
                opened.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                while opened.recv(65536):
                    pass
            if self.has()["descriptors"] <= self.at_rest["descriptors"]:
                return

    def rest(self) -> None:
        self.at_rest = self.has()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
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
    running = Target(process, json.loads(line)["port"], root, log)
    read(hold(running.port, b"GET /health HTTP/1.0\r\n\r\n"))  # whose connection it closes itself
    running.rest()
    yield running
    process.terminate()
    process.communicate(timeout=TIMEOUT)
    assert log.read_text() == ""
    assert process.returncode == 0


def fire(port: int, attempt: Attempt) -> str:
    """What came of it: the status of the answer, or that there was none."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = attempt.pieces or len(attempt.data)
        with suppress(BrokenPipeError, ConnectionResetError):  # refused, and not waited for
            for start in range(0, len(attempt.data), step):
                opened.sendall(attempt.data[start : start + step])
            if not attempt.complete:
                opened.shutdown(socket.SHUT_WR)
        method = attempt.data.lstrip(b"\r\n").split(b" ", 1)[0].decode("latin-1")
        answers = 0
        status = "none"
        with suppress(ConnectionResetError), opened.makefile("rb") as stream:
            while stream.peek(1)[:1]:
                response = http.client.HTTPResponse(_Reading(stream), method=method)  # type: ignore[arg-type]  # it only reads
                response.begin()
                body = response.read()
                check(attempt, response, body)
                answers += 1
                status = str(response.status)
                if attempt.complete or response.headers["connection"] == "close":
                    stream.read() if not attempt.complete else None
                    break
        assert answers or not attempt.complete or len(attempt.data) > MIB, f"no answer to {attempt.data[:500]!r}"
        return status


class _Reading:
    """What http.client wants of a socket, over a stream that goes on behind the answer."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, mode: str) -> Any:
        return _Kept(self._stream)


class _Kept:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Not what others go on reading."""


def check(attempt: Attempt, response: http.client.HTTPResponse, body: bytes) -> None:
    shown = f"{attempt.data[:500]!r}: {response.status} {body[:500]!r}"
    assert response.status < 500, shown
    assert not [name for name, _ in response.getheaders() if name.lower() in ("x-evil", "set-cookie", "x")], shown
    if response.status >= 400 and body:
        error = json.loads(body)["error"]
        assert list(error) == ["message", "type", "param", "code"], shown
        assert len(body) < 8 * MIB, shown


def check_nothing_left(target: Target, before: set[str]) -> None:
    """The server is as it was, but for what was asked of it."""
    target.settle()
    now = target.has()
    pool = min(32, (os.cpu_count() or 1) + 4)  # threads at most
    assert now["descriptors"] <= target.at_rest["descriptors"], target.opened()
    assert now["threads"] <= target.at_rest["threads"] + pool
    # Of each open world the database, its log and its index. SQLite closes the database of a thread's connection only
    # with the last one to the same file (as POSIX would drop their locks), or uses it again for the next connection.
    assert now["database"] <= 4 * OPEN_WORLDS + 3 * MAX_TASKS * CLOSED_AT_ONCE + pool
    assert list((target.root / "in" / "data" / "uploads").iterdir()) == []
    assert list((target.root / "tmp").iterdir()) == []
    assert {path.name for path in target.root.iterdir()} == {"in", "tmp"}
    assert {path.name for path in (target.root / "in").iterdir()} == {"data"}
    data = target.root / "in" / "data"
    paths = [path.relative_to(data).as_posix() for path in data.rglob("*")]
    assert [path for path in paths if not TREE.fullmatch(path)] == []
    assert target.process.poll() is None
    assert target.log.read_text() == ""
    with target.client() as client:
        made = {each["name"] for each in client.get("/_mock/worlds").json()["data"]} - before
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) for name in made)


def attack(target: Target, kind: str) -> int:
    """Send all of a kind; returns how many."""
    with target.client() as client:
        before = {each["name"] for each in client.get("/_mock/worlds").json()["data"]}
    attempts = list(KINDS[kind](target.create_existing(next_name())))
    came = Counter(fire(target.port, attempt) for attempt in attempts)
    check_nothing_left(target, before)
    print(f"\n{kind}: {len(attempts):,} {dict(sorted(came.items()))}")
    assert len(came) > 1 or kind.startswith("sound"), "all were answered alike"
    return len(attempts)


def delete_worlds(target: Target) -> None:
    with target.client() as client:
        for each in client.get("/_mock/worlds").json()["data"]:
            client.delete(f"/_mock/worlds/{each['name']}")


def next_name() -> str:
    return f"attacked-{next(_grounds):04}"  # of one length, as the counts depend on it


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_requests(server: MockServer, kind: str) -> None:
    """A few of each kind."""
    attempts = list(KINDS[kind](create_existing(server.port, next_name())))
    for attempt in attempts[:: max(1, len(attempts) // FEW)]:
        fire(server.port, attempt)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_hostile_requests(target: Target, kind: str) -> None:
    assert attack(target, kind) == tried(kind), "the table in docs/internals/robustness.md is out of date"


@pytest.mark.slow
def test_hostile_requests_leave_no_growth(target: Target) -> None:
    """Further rounds of everything large take no more memory than the first ones, in which each thread of the server
    gets its share. The worlds of a round are deleted: each open one has caches of its own."""

    def memory_after_rounds(count: int) -> int:
        for _ in range(count):
            for kind in KINDS:
                if not kind.startswith("sound"):
                    attack(target, kind)
            delete_worlds(target)
        target.settle()
        return target.has()["memory"]

    before = memory_after_rounds(3)
    grown = memory_after_rounds(3) - before
    print(f"\ngrown by {grown / 1e6:.1f} MB over three further rounds")
    assert grown < GROWTH


def pieces(existing: Existing) -> list[bytes]:
    """What Hypothesis puts requests together of."""
    head, body = b"\r\n\r\n", b"--b\r\n"
    some = [
        each.data
        for kind in (multiparts, jsons)
        for each in islice(kind(existing), 0, None, 9)
        if len(each.data) < 5_000
    ]
    parts = [
        piece for each in [*some, *samples(existing)] for piece in re.split(rb"(\r\n\r\n|\r\n|; |: )", each) if piece
    ]
    return sorted({*parts, head, body, b"\x00", b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Content-Length: 3"})


def put_together(port: int, examples: int) -> int:
    on = create_existing(port, "put-together")
    count = 0
    starts = [sample[: sample.index(b"\r\n") + 2] for sample in samples(on)]

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(st.sampled_from(starts), st.lists(st.sampled_from(pieces(on)) | st.binary(max_size=20), max_size=30))
    def shoot(start: bytes, rest: list[bytes]) -> None:
        nonlocal count
        count += 1
        fire(
            port,
            Attempt(start + b"Host: localhost\r\nAuthorization: Bearer sk-test\r\n" + b"".join(rest), complete=False),
        )

    shoot()
    return count


def test_requests_put_together(server: MockServer) -> None:
    assert put_together(server.port, 100) >= 50


@pytest.mark.slow
def test_many_requests_put_together(target: Target) -> None:
    assert put_together(target.port, tried(ADDED)) >= tried(ADDED) * 0.9  # it may see one twice
    check_nothing_left(target, set())


# From the descriptions


def described(target: Target, which: str) -> dict[str, Any]:
    if which == "control plane":
        with target.client() as client:
            return dict(client.get("/_mock/openapi.json").json())
    with MockServer() as server:
        return create_app(server.mock).openapi()


ENDLESS = ("/stream", "/wait")
"""Routes whose answers wait for something to happen."""


def by_schema(target: Target, which: str, examples: int, every: int = 1) -> int:
    """Requests of each operation as its description has them, and as it forbids them; answers are as described."""
    prefix = "" if which == "control plane" else "/w/described/v1"
    base = f"http://127.0.0.1:{target.port}{prefix}"
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        session.headers["api-key"] = "sk-test"

        def send(case: Any) -> None:
            answer = case.call(base_url=base, session=session, timeout=TIMEOUT)
            statuses[answer.status_code] += 1
            shown = f"{case.as_curl_command()}: {answer.status_code} {answer.content[:500]!r}"
            assert answer.status_code < 500 or answer.headers.get("x-mock-fault"), shown
            if answer.status_code >= 400 and case.method != "HEAD":
                assert list(answer.json()["error"]) == ["message", "type", "param", "code"], shown
            elif answer.status_code == 200:
                case.validate_response(answer, checks=(response_schema_conformance,))

        all = schemathesis.openapi.from_dict(described(target, which)).get_all_operations()
        for found in islice(all, 0, None, every):
            operation = found.ok()
            if operation.path.endswith(ENDLESS):
                continue
            for mode in schemathesis.GenerationMode:
                with suppress(hypothesis.errors.Unsatisfiable):  # nothing of it can be wrong
                    settings(
                        max_examples=examples,
                        deadline=None,
                        database=None,
                        suppress_health_check=list(HealthCheck),
                        phases=[Phase.generate, Phase.shrink],
                    )(given(operation.as_strategy(generation_mode=mode))(send))()
    print(f"\n{which}: {statuses.total():,} {dict(sorted(statuses.items()))}")
    return statuses.total()


@pytest.mark.parametrize("which", ["API", "control plane"])
@pytest.mark.slow
def test_requests_by_the_description(target: Target, which: str) -> None:
    assert by_schema(target, which, 2, every={"API": 4, "control plane": 16}[which]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("which", ["API", "control plane"])
def test_many_requests_by_the_description(target: Target, which: str) -> None:
    assert by_schema(target, which, {"API": 60, "control plane": 15}[which]) >= tried(BY_SCHEMA.format(which))


# Connections


def hold(port: int, data: bytes) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    opened.sendall(data)
    return opened


def read(opened: socket.socket) -> bytes:
    """Up to the end."""
    answer = bytearray()
    with opened, suppress(ConnectionResetError):
        while received := opened.recv(65536):
            answer += received
    return bytes(answer)


HELD = [
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
def test_connections_that_never_finish_hold_up_nobody(target: Target) -> None:
    """Slow-loris: hundreds of connections that stop at every stage, and then send a byte here and there."""
    with ExitStack() as stack:
        held = [stack.enter_context(hold(target.port, HELD[n % len(HELD)])) for n in range(240)]
        with target.client() as client:
            for opened in held[1::7]:
                opened.sendall(b" ")
                made = client.post("/w/loris/v1/containers", json={"name": "box"})
                assert made.status_code == 200
    check_nothing_left(target, set())
    with target.client() as client:
        assert client.get("/w/loris/v1/files").json()["data"] == []


async def held(port: int, data: bytes) -> socket.socket:
    """In the server's own thread: what is sent is there when the connection is taken."""
    return hold(port, data)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HELD[2], b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /he"])
def test_a_head_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    with MockServer() as server:
        answer = read(server.run(held(server.port, sent)))
        assert answer.count(b"HTTP/1.1 200 OK") == sent.count(b"/health ")
        assert answer.count(b"HTTP/1.1") == answer.count(b"HTTP/1.1 200")
        for _ in range(3):  # nor is a head that has come held to its time
            answer = read(server.run(held(server.port, b"GET /health HTTP/1.0\r\n\r\n")))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_is_not_held_to_the_time_of_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    with MockServer() as server, server.run(held(server.port, HELD[3])) as opened:
        slow = b'GET /v1/containers HTTP/1.0\r\napi-key: k\r\nX-Mock-Fault: {"latency": 0.2}\r\n\r\n'
        assert read(server.run(held(server.port, slow))).startswith(b"HTTP/1.1 200 OK\r\n")
        opened.sendall(b'        "')
        assert opened.recv(12) == b"HTTP/1.1 400"  # of what is no JSON: it was read to its end


def test_a_head_has_a_largest_size(server: MockServer) -> None:
    line = b"GET /health HTTP/1.1\r\nHost: x\r\nX: "
    for size, status in ((protocol.HEAD_BYTES - 60, 200), (protocol.HEAD_BYTES, 431)):
        for step in (1_000, 50_000, 200_000):
            attempt = Attempt(line + b"y" * size + b"\r\n\r\n", pieces=step)
            assert fire(server.port, attempt) == str(status)
    answer = read(hold(server.port, line + b"y" * 500_000))
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "headers_too_large"


@pytest.mark.slow
@pytest.mark.parametrize("wrapping", [b"0\r\nX: %b", b"5;%b", b"0\r\n%b"])
def test_chunk_extensions_and_trailers_are_bounded(target: Target, wrapping: bytes) -> None:
    """Send 32 MiB of them without a body. The first round shows what the allocator keeps."""
    head = b"POST /v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\nTransfer-Encoding: chunked\r\n\r\n"
    filling = b"X: y\r\n" * 150_000 if wrapping == b"0\r\n%b" else b"y" * MIB
    before = []
    for _ in range(3):
        with hold(target.port, head + wrapping % filling) as opened:
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(32):
                    opened.sendall(filling)
            answer = read(opened)
        assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""  # reset, if we were still sending
        target.settle()
        before.append(target.has()["memory"])
    assert max(before) - before[0] < GROWTH


def test_the_smallest_chunks_are_not_too_much(server: MockServer) -> None:
    body = form(('Content-Disposition: form-data; name="file"; filename="a"', b"x" * 100_000))
    body = (
        form(('Content-Disposition: form-data; name="purpose"', b"vision"), boundary="simple")[: -len("--simple--\r\n")]
        + body
    )
    head = b"POST /w/chunks/v1/files HTTP/1.1\r\nHost: x\r\napi-key: k\r\nTransfer-Encoding: chunked\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=simple\r\n\r\n"
    chunks = b"".join(b"00000001\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert fire(server.port, Attempt(head + kind + chunks)) == "200"


def test_requests_in_one_packet_are_answered_in_order(server: MockServer) -> None:
    asked = b"".join(b"GET /w/p/v1/containers/%d HTTP/1.1\r\nHost: x\r\napi-key: k\r\n\r\n" % n for n in range(500))
    answer = read(hold(server.port, asked + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    found = [int(each) for each in re.findall(rb"Container with id '(\d+)' not found", answer)]
    assert found == list(range(500))
    assert answer.count(b"HTTP/1.1 200 OK") == 1


def test_what_was_asked_in_front_of_nonsense_is_answered(server: MockServer) -> None:
    """The refusal of what is behind it would be taken for its answer."""
    body = b'{"name": "first"}'
    first = b"POST /w/front/v1/containers HTTP/1.1\r\nHost: x\r\napi-key: k\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    answer = read(hold(server.port, first + b"\x00\x01 nonsense\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.slow
def test_a_client_that_resets_at_every_point(target: Target) -> None:
    existing = target.create_existing("resets")
    for sample in samples(existing):
        for end in (*range(1, len(sample), 17), len(sample)):
            with hold(target.port, sample[:end]) as opened:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check_nothing_left(target, set())


def test_a_head_has_a_largest_number_of_headers(server: MockServer) -> None:
    line = b"GET /health HTTP/1.1\r\n"
    for count, status in ((1_000, "200"), (1_001, "431")):
        assert fire(server.port, Attempt(line + b"X: y\r\n" * count + b"\r\n")) == status
