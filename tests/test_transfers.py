"""Bytes on their way in and out: streamed, exact, shared on the disk, and gone when nobody needs them."""

import asyncio
import hashlib
import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import World, new_world, ok, stored
from rawhttp import TIMEOUT, RawResponse, Wire, form, request

from mockserver.server.serving import MockServer
from mockserver.storage.contents import Upload

LIMIT = 1_000
"""The largest upload that the small server takes."""

MIB = 1024 * 1024
HEAD = 'Content-Disposition: form-data; name="file"; filename="data.bin"'
MULTIPART = {"Content-Type": "multipart/form-data; boundary=simple"}
PURPOSE = ('Content-Disposition: form-data; name="purpose"', b"vision")

CONTENTS = {
    "empty": b"",
    "one byte": b"\n",
    "text": b"line\r\n--simple-but-not-the-boundary\r\n",
    "every byte": bytes(range(256)) * 5,
    "one block": bytes(512 * 1024),
    "several MB": hashlib.shake_256(b"several").digest(5 * MIB + 11),
}


def noise(seed: str, size: int = 10_000) -> bytes:
    """Content that no other test has, so that what is stored of it is this test's alone."""
    return hashlib.shake_256(seed.encode()).digest(size)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def keeping_server(directory: Path) -> Iterator[MockServer]:
    """A server of this module's own, so that nobody else's bytes are in its directory."""
    with MockServer(data=directory) as running:
        yield running


@pytest.fixture
def world(keeping_server: MockServer) -> World:
    return new_world(keeping_server)


@pytest.fixture(scope="module")
def small_server() -> Iterator[MockServer]:
    with MockServer(max_upload=LIMIT) as running:
        yield running


@pytest.fixture
def small_world(small_server: MockServer) -> World:
    return new_world(small_server)


def new_container(world: World) -> str:
    """The path of a new container."""
    answer = request(world, "POST", "/containers", {"Content-Type": "application/json"}, b'{"name": "box"}')
    assert answer.status == 200
    return f"/containers/{answer.json['id']}"


def upload(world: World, path: str, content: bytes) -> RawResponse:
    """Add a file to a container, or to the Files."""
    parts = [PURPOSE] if path == "/files" else []
    return request(world, "POST", path, MULTIPART, form(*parts, (HEAD, content)))


def uploaded(world: World, path: str, content: bytes) -> str:
    """The same, and the path of what came of it."""
    answer = upload(world, path, content)
    assert answer.status == 200, answer.body
    assert answer.json["bytes"] == len(content)
    return f"{path}/{answer.json['id']}"


def copied(world: World, container: str, file: str) -> str:
    body = b'{"file_id": "%s"}' % file.removeprefix("/files/").encode()
    answer = request(world, "POST", f"{container}/files", {"Content-Type": "application/json"}, body)
    assert answer.status == 200
    return f"{container}/files/{answer.json['id']}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def delete(world: World, path: str) -> None:
    assert request(world, "DELETE", path).status == 200
    world.server.run(world.server.mock.worlds.finish(trash=True))


def until(world: World, true: Callable[[], bool]) -> None:
    """Let the server do other things until something has come true; no time is waited for."""
    for _ in range(2_000):
        if true():
            return
        request(world, "GET", "/containers")
    raise AssertionError("it never came true")


# In and out


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("route", ["container", "files"])
def test_bytes_come_back_as_they_went_in(world: World, directory: Path, route: str, content: bytes) -> None:
    path = uploaded(world, "/files" if route == "files" else f"{new_container(world)}/files", content)
    answer = request(world, "GET", f"{path}/content")
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(content))
    assert answer.body == content
    assert stored(directory)[digest(content)] == content
    assert list((directory / "uploads").iterdir()) == []


@pytest.mark.parametrize("size", [1, 1_000, 64 * 1024 + 1, 3 * MIB])
def test_chunks_of_any_size(world: World, size: int) -> None:
    content = noise("chunks", 3 * MIB if size > 1 else 500)
    body = form((HEAD, content))
    with Wire(world) as wire:
        path = f"{new_container(world)}/files"
        wire.head("POST", path, {**MULTIPART, "Transfer-Encoding": "chunked"})
        for start in range(0, len(body), size):
            chunk = body[start : start + size]
            wire.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        wire.send(b"0\r\n\r\n")
        answer = wire.response()
    assert request(world, "GET", f"{path}/{answer.json['id']}/content").body == content


def test_many_uploads_at_once_do_not_mix(world: World) -> None:
    path = f"{new_container(world)}/files"
    contents = [noise(f"mix {n}", 300_000) for n in range(8)]
    bodies = [form((HEAD, content)) for content in contents]
    wires = [Wire(world) for _ in bodies]
    for wire, body in zip(wires, bodies, strict=True):
        wire.head("POST", path, {**MULTIPART, "Content-Length": str(len(body))})
    for start in range(0, max(map(len, bodies)), 50_000):
        for wire, body in zip(wires, bodies, strict=True):
            wire.send(body[start : start + 50_000])
    for wire, content in zip(wires, contents, strict=True):
        with wire:
            answer = wire.response()
        assert answer.json["path"].split("/")[-1].startswith(hashlib.blake2b(content, digest_size=16).hexdigest())
        assert request(world, "GET", f"{path}/{answer.json['id']}/content").body == content


class Lingering(ThreadPoolExecutor):
    """Threads that go on holding what they were given when they have long done it, as any may for a moment."""

    def __init__(self) -> None:
        super().__init__(2)
        self._held: list[Any] = []

    def submit(self, work: Callable[..., Any], /, *given: Any, **more: Any) -> Future[Any]:
        self._held.append((work, given, more))
        return super().submit(work, *given, **more)


def test_threads_that_are_slow_to_let_go_hold_up_no_upload() -> None:
    async def use(executor: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().set_default_executor(executor)

    content = noise("lingering", 4 * MIB) * 4
    body = form(PURPOSE, (HEAD, content))
    with MockServer() as server:
        server.run(use(Lingering()))
        world = new_world(server)
        with Wire(world) as wire:
            wire.head("POST", "/files", {**MULTIPART, "Content-Length": str(len(body))})
            start, size = 0, 1_000
            while start < len(body):  # by pieces of many sizes, so that no block is as large as the last
                wire.send(body[start : start + size])
                start, size = start + size, size * 7 % 400_009
            answer = wire.response()
        assert answer.status == 200, answer.body
        assert request(world, "GET", f"/files/{answer.json['id']}/content").body == content


# Clients that leave


@pytest.mark.parametrize("route", ["container", "files"])
@pytest.mark.parametrize("sent", [200, 100_000, 2 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves_in_the_middle_leaves_nothing(
    world: World, directory: Path, route: str, sent: int, chunked: bool, abruptly: bool
) -> None:
    path = "/files" if route == "files" else f"{new_container(world)}/files"
    uploads, before = directory / "uploads", stored(directory)
    body = form(PURPOSE, (HEAD, noise("left", 3 * MIB))) if route == "files" else form((HEAD, noise("left", 3 * MIB)))
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    with Wire(world) as wire:
        wire.head("POST", path, {**MULTIPART, **length})
        wire.send(b"%x\r\n%s\r\n" % (sent, body[:sent]) if chunked else body[:sent])
        until(world, lambda: list(uploads.iterdir()) != [] or sent < MIB)  # less is in memory still
        if abruptly:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    journal = f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"
    (left,) = ok(httpx2.get(journal, params={"method": "POST", "text": "data.bin"}))["data"]
    assert left["aborted"]
    assert list(uploads.iterdir()) == []
    assert request(world, "GET", path).json["data"] == []
    assert stored(directory) == before


def test_a_client_that_leaves_a_download_disturbs_nobody(world: World) -> None:
    content = noise("download", 8 * MIB)
    path = uploaded(world, "/files", content)
    for _ in range(3):
        with Wire(world) as wire:
            wire.head("GET", f"{path}/content", {})
            assert wire.socket.recv(1_000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert request(world, "GET", f"{path}/content").body == content


# Limits


@pytest.mark.parametrize("route", ["container", "files"])
def test_the_largest_upload(small_world: World, route: str) -> None:
    path = "/files" if route == "files" else f"{new_container(small_world)}/files"
    uploaded(small_world, path, bytes(LIMIT))
    refused = upload(small_world, path, bytes(LIMIT + 1))
    assert refused.status == 413
    assert refused.error == {
        "message": "File is too large. The maximum is 1000 bytes.",
        "type": "invalid_request_error",
        "param": "file",
        "code": "file_too_large",
    }
    assert ("detail" in refused.json) == (route == "files")
    assert len(request(small_world, "GET", path).json["data"]) == 1
    assert list((small_world.server.mock.directory / "uploads").iterdir()) == []


def test_a_refusal_reaches_a_client_that_is_still_sending(small_world: World) -> None:
    path = f"{new_container(small_world)}/files"
    refused = upload(small_world, path, bytes(MIB // 2))
    assert refused.status == 413
    assert refused.headers["connection"] == "close"


def refused_early(wire: Wire, path: str) -> None:
    """An upload that is refused while its client has yet to send most of it, and has not read the answer."""
    wire.head("POST", path, {**MULTIPART, "Content-Length": str(1 << 40)})
    wire.send(form((HEAD, bytes(2 * LIMIT)))[:-20])
    assert wire.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 413"


def test_a_client_may_go_on_sending_before_it_reads_that_it_was_refused(small_world: World) -> None:
    """On a connection that is closed on what is sent, it would fail to send, and not get to read."""
    with Wire(small_world) as wire:
        refused_early(wire, f"{new_container(small_world)}/files")
        for _ in range(20):
            request(small_world, "GET", "/files")  # time enough to close the connection
            wire.send(bytes(10_000))
        assert wire.response().status == 413


def test_a_client_that_does_not_end_is_let_go(small_world: World) -> None:
    path = f"{new_container(small_world)}/files"
    with Wire(small_world) as wire:
        refused_early(wire, path)
        with pytest.raises(ConnectionError):
            wire.send(bytes(500 * MIB))


def test_one_block_is_written_after_the_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk is, and however fast the next one comes."""
    write, writing, overlaps = Upload.write, threading.Lock(), []

    def slowly(self: Upload, data: bytes) -> None:
        overlaps.append(not writing.acquire(blocking=False))
        threading.Event().wait(0.05)  # as long as the next block takes to come in
        write(self, data)
        if not overlaps[-1]:
            writing.release()

    monkeypatch.setattr(Upload, "write", slowly)
    content = noise("blocks", 4 * MIB)
    file = uploaded(world, "/files", content)
    assert overlaps == [False] * len(overlaps)
    assert len(overlaps) > 2
    assert request(world, "GET", f"{file}/content").body == content


def test_what_is_being_written_when_its_client_leaves_is_removed_afterwards(
    world: World, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, goes_on, written = Upload.write, threading.Event(), threading.Event(), threading.Event()

    def held_up(self: Upload, data: bytes) -> None:
        begun.set()
        assert goes_on.wait(TIMEOUT)
        write(self, data)
        written.set()

    monkeypatch.setattr(Upload, "write", held_up)
    with Wire(world) as wire:
        wire.head("POST", "/files", {**MULTIPART, "Content-Length": str(1 << 30)})
        wire.send(form(PURPOSE, (HEAD, bytes(MIB + MIB // 2)))[:-20])  # one block, and a part of the next
        assert begun.wait(TIMEOUT)
    for _ in range(20):  # by then the server has noticed
        request(world, "GET", "/files")
    goes_on.set()
    assert written.wait(TIMEOUT)
    journal = f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"
    ok(httpx2.get(journal, params={"operation": "CreateFile", "count": 1, "timeout": TIMEOUT}, timeout=2 * TIMEOUT))
    assert list((directory / "uploads").iterdir()) == []


def test_an_upload_that_is_too_large_ends_early(small_world: World) -> None:
    """The answer comes while most of the body is still to be sent."""
    path = f"{new_container(small_world)}/files"
    with Wire(small_world) as wire:
        wire.head("POST", path, {**MULTIPART, "Content-Length": str(1 << 40)})
        wire.send(form((HEAD, bytes(2 * LIMIT)))[:-20])
        assert wire.response().status == 413


def test_an_upload_to_nowhere_ends_early(world: World) -> None:
    with Wire(world) as wire:
        wire.head("POST", "/containers/cntr_unknown/files", {**MULTIPART, "Content-Length": str(1 << 40)})
        assert wire.response().status == 404


# Shared contents


@pytest.fixture(params=[10_000, 100_000], ids=["row", "file"])
def size(request: pytest.FixtureRequest) -> int:
    """Of contents that are kept in the database, and in files."""
    return int(request.param)


def test_the_same_bytes_are_kept_once(world: World, directory: Path, size: int) -> None:
    content = noise(f"once {size}", size)
    before = stored(directory)
    container, other = new_container(world), new_container(world)
    for path in (f"{container}/files", f"{container}/files", f"{other}/files", "/files", "/files"):
        uploaded(world, path, content)
    copied(world, other, uploaded(world, "/files", content))
    assert list(stored(directory).items() - before.items()) == [(digest(content), content)]


def test_bytes_go_with_the_last_that_needs_them(world: World, directory: Path, size: int) -> None:
    content = noise(f"last {size}", size)
    container = new_container(world)
    first, second = (uploaded(world, f"{container}/files", content) for _ in range(2))
    delete(world, first)
    assert request(world, "GET", f"{second}/content").body == content
    delete(world, second)
    assert digest(content) not in stored(directory)


def test_bytes_stay_while_a_file_has_them(world: World, directory: Path, size: int) -> None:
    content = noise(f"file {size}", size)
    container = new_container(world)
    file = uploaded(world, "/files", content)
    delete(world, copied(world, container, file))
    assert request(world, "GET", f"{file}/content").body == content
    delete(world, file)
    assert digest(content) not in stored(directory)


def test_bytes_stay_while_another_world_has_them(world: World, directory: Path, size: int) -> None:
    content = noise(f"worlds {size}", size)
    other = new_world(world.server)
    mine = uploaded(world, f"{new_container(world)}/files", content)
    others = uploaded(other, f"{new_container(other)}/files", content)
    delete(world, mine)
    assert request(other, "GET", f"{others}/content").body == content
    delete(other, others)
    assert digest(content) not in stored(directory)


def test_a_container_takes_its_bytes_along(world: World, directory: Path, size: int) -> None:
    mine, shared = noise(f"mine {size}", size), noise(f"shared {size}", size)
    container = new_container(world)
    uploaded(world, f"{container}/files", mine)
    uploaded(world, f"{container}/files", shared)
    file = uploaded(world, "/files", shared)
    delete(world, container)
    assert digest(mine) not in stored(directory)
    assert request(world, "GET", f"{file}/content").body == shared


def test_deleting_a_file_leaves_its_copies(world: World, directory: Path, size: int) -> None:
    content = noise(f"copies {size}", size)
    container = new_container(world)
    file = uploaded(world, "/files", content)
    copy = copied(world, container, file)
    delete(world, file)
    assert request(world, "GET", f"{file}/content").status == 404
    assert request(world, "GET", f"{copy}/content").body == content
    delete(world, copy)
    assert digest(content) not in stored(directory)


def test_bytes_being_downloaded_arrive_although_they_are_deleted(world: World) -> None:
    content = noise("midway", 8 * MIB)
    path = uploaded(world, f"{new_container(world)}/files", content)
    with Wire(world) as wire:
        wire.head("GET", f"{path}/content", {})
        wire.socket.recv(1, socket.MSG_PEEK)
        delete(world, path)
        assert wire.response("GET").body == content


# HEAD and Range


@pytest.fixture
def contents(world: World) -> list[str]:
    """The paths of ten bytes as a container's file and as a File."""
    paths = (f"{new_container(world)}/files", "/files")
    return [f"{uploaded(world, path, b'0123456789')}/content" for path in paths]


def compared(answer: RawResponse) -> tuple[int, list[tuple[str, str]]]:
    own = ("date", "x-request-id", "openai-processing-ms")
    return answer.status, [(name, value) for name, value in answer.headers.items() if name.lower() not in own]


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=2-4"}, {"Range": "bytes=10-"}])
def test_head_shows_gets_headers(world: World, contents: list[str], headers: dict[str, str]) -> None:
    unknown = [path.replace("/content", "0/content") for path in contents]
    for path in (*contents, *unknown, "/containers/cntr_unknown/files/cfile_unknown/content"):
        shown = request(world, "HEAD", path, headers)
        assert compared(shown) == compared(request(world, "GET", path, headers))
        assert shown.body == b""


def test_a_connection_goes_on_after_head(world: World, contents: list[str]) -> None:
    """A HEAD that sent a body would be taken for the next answer."""
    with httpx2.Client(base_url=world.base_url, headers={"Authorization": "Bearer sk-test"}) as client:
        for path in contents:
            assert client.head(path).headers["content-length"] == "10"
            assert client.get(path).content == b"0123456789"


@pytest.mark.parametrize(
    ("asked", "given", "body"),
    [
        ("bytes=0-0", "bytes 0-0/10", b"0"),
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=0-", "bytes 0-9/10", b"0123456789"),
        ("bytes=8-100", "bytes 8-9/10", b"89"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=-100", "bytes 0-9/10", b"0123456789"),
    ],
)
def test_a_range(world: World, contents: list[str], asked: str, given: str, body: bytes) -> None:
    for path in contents:
        answer = request(world, "GET", path, {"Range": asked})
        assert answer.status == 206
        assert answer.headers["content-range"] == given
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.body == body


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=4-2", "bytes=-", "bytes=x-y", "lines=1-2", "bytes", ""])
def test_a_range_of_another_kind_gives_the_whole(world: World, contents: list[str], asked: str) -> None:
    for path in contents:
        answer = request(world, "GET", path, {"Range": asked})
        assert answer.status == 200
        assert "content-range" not in answer.headers
        assert answer.body == b"0123456789"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_that_lies_outside(world: World, contents: list[str], asked: str) -> None:
    for path in contents:
        answer = request(world, "GET", path, {"Range": asked})
        assert answer.status == 416
        assert answer.headers["content-range"] == "bytes */10"
        assert answer.headers["content-type"] == "application/json"
        assert answer.error["type"] == "invalid_request_error"


def test_a_range_of_a_large_file(world: World) -> None:
    content = noise("ranges", 3 * MIB)
    path = uploaded(world, "/files", content)
    parts = [
        request(world, "GET", f"{path}/content", {"Range": f"bytes={start}-{start + 999_999}"}).body
        for start in range(0, len(content), 1_000_000)
    ]
    assert b"".join(parts) == content


# Memory


PROGRAM = """
import sys
from mockserver.server.serving import MockServer
with MockServer() as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process's memory is read from /proc")
def test_the_largest_files_take_little_memory() -> None:
    """512 MiB, the live API's limit, up and down through a server in a process of its own."""
    size = 512 * MIB
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin
        assert process.stdout
        client = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()))
        try:
            # What the server needs anyway is there before the measurement.
            exchanged(client, "POST", "/files", *pieces(MIB)).read()
            before = peak(process.pid)
            sent = hashlib.sha256()
            length, body = pieces(size, sent)
            created = exchanged(client, "POST", "/files", length, body)
            assert created.status == 200
            file_id = json.loads(created.read())["id"]
            received = hashlib.sha256()
            download = exchanged(client, "GET", f"/files/{file_id}/content")
            while piece := download.read(MIB):
                received.update(piece)
            assert received.digest() == sent.digest()
            assert peak(process.pid) - before < 64 * MIB
        finally:
            client.close()
            process.stdin.close()


def pieces(size: int, digest: Any = None) -> tuple[int, Iterator[bytes]]:
    """The length of a form with a file of so many bytes, and the form; nothing in it repeats."""
    start, end = form(PURPOSE, (HEAD, b"|")).split(b"|")

    def generate() -> Iterator[bytes]:
        yield start
        for number in range(size // MIB):
            piece = number.to_bytes(8) * (MIB // 8)
            if digest:
                digest.update(piece)
            yield piece
        yield end

    return len(start) + size + len(end), generate()


def exchanged(
    client: http.client.HTTPConnection, method: str, path: str, length: int = 0, body: Iterator[bytes] | None = None
) -> http.client.HTTPResponse:
    sized = {**MULTIPART, "Content-Length": str(length)} if body else {}
    client.request(method, f"/v1{path}", body, {"Authorization": "Bearer sk-test", **sized})
    return client.getresponse()


def peak(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
