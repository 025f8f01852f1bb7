"""Uploads and downloads: streaming, contents that files share, HEAD and ranges."""

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
from nginx import peak_memory
from rawhttp import TIMEOUT, RawResponse, Wire, form, request

from mockserver.server.serving import MockServer
from mockserver.storage.contents import Upload

MAX_UPLOAD = 1_000
"""The largest upload that `small_server` accepts, in bytes."""

MIB = 1024 * 1024
FILE_PART = 'Content-Disposition: form-data; name="file"; filename="data.bin"'
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


def unique_content(seed: str, size: int = 10_000) -> bytes:
    """Return a content that no other test stores."""
    return hashlib.shake_256(seed.encode()).digest(size)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server_with_data(directory: Path) -> Iterator[MockServer]:
    """A server of this module only, so that its directory has no contents of other tests."""
    with MockServer(data=directory) as running:
        yield running


@pytest.fixture
def world(server_with_data: MockServer) -> World:
    return new_world(server_with_data)


@pytest.fixture(scope="module")
def small_server() -> Iterator[MockServer]:
    with MockServer(max_upload=MAX_UPLOAD) as running:
        yield running


@pytest.fixture
def small_world(small_server: MockServer) -> World:
    return new_world(small_server)


def new_container(world: World) -> str:
    """Create a container and return its path."""
    response = request(world, "POST", "/containers", {"Content-Type": "application/json"}, b'{"name": "box"}')
    assert response.status == 200
    return f"/containers/{response.json['id']}"


def upload(world: World, path: str, content: bytes) -> RawResponse:
    """Upload a file to a container or to the Files API."""
    parts = [PURPOSE] if path == "/files" else []
    return request(world, "POST", path, MULTIPART, form(*parts, (FILE_PART, content)))


def upload_file(world: World, path: str, content: bytes) -> str:
    """Upload a file and return its path."""
    response = upload(world, path, content)
    assert response.status == 200, response.body
    assert response.json["bytes"] == len(content)
    return f"{path}/{response.json['id']}"


def copy_file(world: World, container: str, file: str) -> str:
    """Copy a File to a container and return the path of the copy."""
    body = b'{"file_id": "%s"}' % file.removeprefix("/files/").encode()
    response = request(world, "POST", f"{container}/files", {"Content-Type": "application/json"}, body)
    assert response.status == 200
    return f"{container}/files/{response.json['id']}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def delete(world: World, path: str) -> None:
    """Delete an object, and wait until its contents are removed."""
    assert request(world, "DELETE", path).status == 200
    world.server.run(world.server.mock.worlds.finish(trash=True))


def poll_until(world: World, condition: Callable[[], bool]) -> None:
    """Send requests until a condition is true, so that the server can proceed."""
    for _ in range(2_000):
        if condition():
            return
        request(world, "GET", "/containers")
    raise AssertionError("the condition was never true")


# Contents


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("route", ["container", "files"])
def test_a_downloaded_content_equals_the_upload(world: World, directory: Path, route: str, content: bytes) -> None:
    path = upload_file(world, "/files" if route == "files" else f"{new_container(world)}/files", content)
    response = request(world, "GET", f"{path}/content")
    assert response.status == 200
    assert response.headers["content-length"] == str(len(content))
    assert response.body == content
    assert stored(directory)[digest(content)] == content
    assert list((directory / "uploads").iterdir()) == []


@pytest.mark.parametrize("size", [1, 1_000, 64 * 1024 + 1, 3 * MIB])
def test_an_upload_in_chunks_of_any_size_is_stored(world: World, size: int) -> None:
    content = unique_content("chunks", 3 * MIB if size > 1 else 500)
    body = form((FILE_PART, content))
    with Wire(world) as wire:
        path = f"{new_container(world)}/files"
        wire.head("POST", path, {**MULTIPART, "Transfer-Encoding": "chunked"})
        for start in range(0, len(body), size):
            chunk = body[start : start + size]
            wire.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        wire.send(b"0\r\n\r\n")
        response = wire.response()
    assert request(world, "GET", f"{path}/{response.json['id']}/content").body == content


def test_concurrent_uploads_do_not_mix_their_contents(world: World) -> None:
    path = f"{new_container(world)}/files"
    contents = [unique_content(f"mix {n}", 300_000) for n in range(8)]
    bodies = [form((FILE_PART, content)) for content in contents]
    wires = [Wire(world) for _ in bodies]
    for wire, body in zip(wires, bodies, strict=True):
        wire.head("POST", path, {**MULTIPART, "Content-Length": str(len(body))})
    for start in range(0, max(map(len, bodies)), 50_000):
        for wire, body in zip(wires, bodies, strict=True):
            wire.send(body[start : start + 50_000])
    for wire, content in zip(wires, contents, strict=True):
        with wire:
            response = wire.response()
        assert response.json["path"].split("/")[-1].startswith(hashlib.blake2b(content, digest_size=16).hexdigest())
        assert request(world, "GET", f"{path}/{response.json['id']}/content").body == content


class HoldingExecutor(ThreadPoolExecutor):
    """An executor whose threads never drop the arguments of their calls, as any thread may for a moment."""

    def __init__(self) -> None:
        super().__init__(2)
        self._references: list[Any] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._references.append((work, args, kwargs))
        return super().submit(work, *args, **kwargs)


def test_an_upload_works_while_threads_keep_references_to_its_blocks() -> None:
    async def use(executor: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().set_default_executor(executor)

    content = unique_content("lingering", 4 * MIB) * 4
    body = form(PURPOSE, (FILE_PART, content))
    with MockServer() as server:
        server.run(use(HoldingExecutor()))
        world = new_world(server)
        with Wire(world) as wire:
            wire.head("POST", "/files", {**MULTIPART, "Content-Length": str(len(body))})
            start, size = 0, 1_000
            while start < len(body):  # in pieces of many sizes, so that blocks differ in size
                wire.send(body[start : start + size])
                start, size = start + size, size * 7 % 400_009
            response = wire.response()
        assert response.status == 200, response.body
        assert request(world, "GET", f"/files/{response.json['id']}/content").body == content


# Aborted transfers


@pytest.mark.parametrize("route", ["container", "files"])
@pytest.mark.parametrize("sent", [200, 100_000, 2 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_aborted_upload_stores_nothing(
    world: World, directory: Path, route: str, sent: int, chunked: bool, reset: bool
) -> None:
    path = "/files" if route == "files" else f"{new_container(world)}/files"
    uploads, before = directory / "uploads", stored(directory)
    body = (
        form(PURPOSE, (FILE_PART, unique_content("left", 3 * MIB)))
        if route == "files"
        else form((FILE_PART, unique_content("left", 3 * MIB)))
    )
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    with Wire(world) as wire:
        wire.head("POST", path, {**MULTIPART, **length})
        wire.send(b"%x\r\n%s\r\n" % (sent, body[:sent]) if chunked else body[:sent])
        poll_until(world, lambda: list(uploads.iterdir()) != [] or sent < MIB)  # less than a block is still in memory
        if reset:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    journal = f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"
    (entry,) = ok(httpx2.get(journal, params={"method": "POST", "text": "data.bin"}))["data"]
    assert entry["aborted"]
    assert list(uploads.iterdir()) == []
    assert request(world, "GET", path).json["data"] == []
    assert stored(directory) == before


def test_an_aborted_download_does_not_affect_others(world: World) -> None:
    content = unique_content("download", 8 * MIB)
    path = upload_file(world, "/files", content)
    for _ in range(3):
        with Wire(world) as wire:
            wire.head("GET", f"{path}/content", {})
            assert wire.socket.recv(1_000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert request(world, "GET", f"{path}/content").body == content


# Limits


@pytest.mark.parametrize("route", ["container", "files"])
def test_an_upload_beyond_the_limit_returns_413(small_world: World, route: str) -> None:
    path = "/files" if route == "files" else f"{new_container(small_world)}/files"
    upload_file(small_world, path, bytes(MAX_UPLOAD))
    rejected = upload(small_world, path, bytes(MAX_UPLOAD + 1))
    assert rejected.status == 413
    assert rejected.error == {
        "message": "File is too large. The maximum is 1000 bytes.",
        "type": "invalid_request_error",
        "param": "file",
        "code": "file_too_large",
    }
    assert ("detail" in rejected.json) == (route == "files")
    assert len(request(small_world, "GET", path).json["data"]) == 1
    assert list((small_world.server.mock.directory / "uploads").iterdir()) == []


def test_the_error_for_a_too_large_upload_reaches_the_client(small_world: World) -> None:
    path = f"{new_container(small_world)}/files"
    rejected = upload(small_world, path, bytes(MIB // 2))
    assert rejected.status == 413
    assert rejected.headers["connection"] == "close"


def send_rejected_upload(wire: Wire, path: str) -> None:
    """Send the beginning of an upload that the server rejects, and wait for the response without reading it."""
    wire.head("POST", path, {**MULTIPART, "Content-Length": str(1 << 40)})
    wire.send(form((FILE_PART, bytes(2 * MAX_UPLOAD)))[:-20])
    assert wire.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 413"


def test_a_client_that_keeps_sending_still_receives_the_error(small_world: World) -> None:
    """If the server closed the connection at once, the client could neither send more nor read the error."""
    with Wire(small_world) as wire:
        send_rejected_upload(wire, f"{new_container(small_world)}/files")
        for _ in range(20):
            request(small_world, "GET", "/files")  # so that the server has time to close the connection
            wire.send(bytes(10_000))
        assert wire.response().status == 413


def test_a_client_that_never_stops_sending_is_disconnected(small_world: World) -> None:
    path = f"{new_container(small_world)}/files"
    with Wire(small_world) as wire:
        send_rejected_upload(wire, path)
        with pytest.raises(ConnectionError):
            wire.send(bytes(500 * MIB))


def test_blocks_of_an_upload_are_written_one_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is slower here than the next block arrives."""
    write, writing, overlaps = Upload.write, threading.Lock(), []

    def slow_write(self: Upload, data: bytes) -> None:
        overlaps.append(not writing.acquire(blocking=False))
        threading.Event().wait(0.05)  # longer than the next block takes to arrive
        write(self, data)
        if not overlaps[-1]:
            writing.release()

    monkeypatch.setattr(Upload, "write", slow_write)
    content = unique_content("blocks", 4 * MIB)
    file = upload_file(world, "/files", content)
    assert overlaps == [False] * len(overlaps)
    assert len(overlaps) > 2
    assert request(world, "GET", f"{file}/content").body == content


def test_an_upload_aborted_during_a_write_is_removed_after_the_write(
    world: World, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, started, released, written = Upload.write, threading.Event(), threading.Event(), threading.Event()

    def blocked_write(self: Upload, data: bytes) -> None:
        started.set()
        assert released.wait(TIMEOUT)
        write(self, data)
        written.set()

    monkeypatch.setattr(Upload, "write", blocked_write)
    with Wire(world) as wire:
        wire.head("POST", "/files", {**MULTIPART, "Content-Length": str(1 << 30)})
        wire.send(form(PURPOSE, (FILE_PART, bytes(MIB + MIB // 2)))[:-20])  # one block and part of the next
        assert started.wait(TIMEOUT)
    for _ in range(20):  # so that the server notices the closed connection
        request(world, "GET", "/files")
    released.set()
    assert written.wait(TIMEOUT)
    journal = f"{world.server.url}/_mock/worlds/{world.name}/journal/wait"
    ok(httpx2.get(journal, params={"operation": "CreateFile", "count": 1, "timeout": TIMEOUT}, timeout=2 * TIMEOUT))
    assert list((directory / "uploads").iterdir()) == []


def test_a_too_large_upload_is_rejected_before_all_of_it_was_sent(small_world: World) -> None:
    path = f"{new_container(small_world)}/files"
    with Wire(small_world) as wire:
        wire.head("POST", path, {**MULTIPART, "Content-Length": str(1 << 40)})
        wire.send(form((FILE_PART, bytes(2 * MAX_UPLOAD)))[:-20])
        assert wire.response().status == 413


def test_an_upload_to_an_unknown_container_is_rejected_before_it_was_sent(world: World) -> None:
    with Wire(world) as wire:
        wire.head("POST", "/containers/cntr_unknown/files", {**MULTIPART, "Content-Length": str(1 << 40)})
        assert wire.response().status == 404


# Shared contents


@pytest.fixture(params=[10_000, 100_000], ids=["row", "file"])
def size(request: pytest.FixtureRequest) -> int:
    """The size of contents that are rows, and of contents that are files."""
    return int(request.param)


def test_equal_contents_are_stored_once(world: World, directory: Path, size: int) -> None:
    content = unique_content(f"once {size}", size)
    before = stored(directory)
    container, other = new_container(world), new_container(world)
    for path in (f"{container}/files", f"{container}/files", f"{other}/files", "/files", "/files"):
        upload_file(world, path, content)
    copy_file(world, other, upload_file(world, "/files", content))
    assert list(stored(directory).items() - before.items()) == [(digest(content), content)]


def test_a_content_is_removed_with_the_last_file_that_has_it(world: World, directory: Path, size: int) -> None:
    content = unique_content(f"last {size}", size)
    container = new_container(world)
    first, second = (upload_file(world, f"{container}/files", content) for _ in range(2))
    delete(world, first)
    assert request(world, "GET", f"{second}/content").body == content
    delete(world, second)
    assert digest(content) not in stored(directory)


def test_a_content_is_kept_while_a_file_has_it(world: World, directory: Path, size: int) -> None:
    content = unique_content(f"file {size}", size)
    container = new_container(world)
    file = upload_file(world, "/files", content)
    delete(world, copy_file(world, container, file))
    assert request(world, "GET", f"{file}/content").body == content
    delete(world, file)
    assert digest(content) not in stored(directory)


def test_a_content_is_kept_while_another_world_has_it(world: World, directory: Path, size: int) -> None:
    content = unique_content(f"worlds {size}", size)
    other = new_world(world.server)
    mine = upload_file(world, f"{new_container(world)}/files", content)
    others = upload_file(other, f"{new_container(other)}/files", content)
    delete(world, mine)
    assert request(other, "GET", f"{others}/content").body == content
    delete(other, others)
    assert digest(content) not in stored(directory)


def test_deleting_a_container_removes_its_contents_unless_shared(world: World, directory: Path, size: int) -> None:
    mine, shared = unique_content(f"mine {size}", size), unique_content(f"shared {size}", size)
    container = new_container(world)
    upload_file(world, f"{container}/files", mine)
    upload_file(world, f"{container}/files", shared)
    file = upload_file(world, "/files", shared)
    delete(world, container)
    assert digest(mine) not in stored(directory)
    assert request(world, "GET", f"{file}/content").body == shared


def test_deleting_a_file_keeps_its_copies(world: World, directory: Path, size: int) -> None:
    content = unique_content(f"copies {size}", size)
    container = new_container(world)
    file = upload_file(world, "/files", content)
    copy = copy_file(world, container, file)
    delete(world, file)
    assert request(world, "GET", f"{file}/content").status == 404
    assert request(world, "GET", f"{copy}/content").body == content
    delete(world, copy)
    assert digest(content) not in stored(directory)


def test_a_download_completes_although_its_file_is_deleted(world: World) -> None:
    content = unique_content("midway", 8 * MIB)
    path = upload_file(world, f"{new_container(world)}/files", content)
    with Wire(world) as wire:
        wire.head("GET", f"{path}/content", {})
        wire.socket.recv(1, socket.MSG_PEEK)
        delete(world, path)
        assert wire.response("GET").body == content


# HEAD and Range


@pytest.fixture
def contents(world: World) -> list[str]:
    """The paths of the contents of a container file and a File, of ten bytes each."""
    paths = (f"{new_container(world)}/files", "/files")
    return [f"{upload_file(world, path, b'0123456789')}/content" for path in paths]


def comparable(response: RawResponse) -> tuple[int, list[tuple[str, str]]]:
    """Return the status and the headers, without those that differ between any two responses."""
    variable = ("date", "x-request-id", "openai-processing-ms")
    return response.status, [(name, value) for name, value in response.headers.items() if name.lower() not in variable]


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=2-4"}, {"Range": "bytes=10-"}])
def test_head_returns_the_headers_of_get(world: World, contents: list[str], headers: dict[str, str]) -> None:
    unknown = [path.replace("/content", "0/content") for path in contents]
    for path in (*contents, *unknown, "/containers/cntr_unknown/files/cfile_unknown/content"):
        head = request(world, "HEAD", path, headers)
        assert comparable(head) == comparable(request(world, "GET", path, headers))
        assert head.body == b""


def test_a_connection_stays_usable_after_head(world: World, contents: list[str]) -> None:
    """The client would take a body of a HEAD response for the next response."""
    with httpx2.Client(base_url=world.base_url, headers={"Authorization": "Bearer sk-test"}) as client:
        for path in contents:
            assert client.head(path).headers["content-length"] == "10"
            assert client.get(path).content == b"0123456789"


@pytest.mark.parametrize(
    ("range_header", "content_range", "body"),
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
def test_a_range_returns_part_of_the_content(
    world: World, contents: list[str], range_header: str, content_range: str, body: bytes
) -> None:
    for path in contents:
        response = request(world, "GET", path, {"Range": range_header})
        assert response.status == 206
        assert response.headers["content-range"] == content_range
        assert response.headers["content-length"] == str(len(body))
        assert response.headers["accept-ranges"] == "bytes"
        assert response.body == body


@pytest.mark.parametrize(
    "range_header", ["bytes=0-1,4-5", "bytes=4-2", "bytes=-", "bytes=x-y", "lines=1-2", "bytes", ""]
)
def test_unsupported_ranges_return_the_whole_content(world: World, contents: list[str], range_header: str) -> None:
    for path in contents:
        response = request(world, "GET", path, {"Range": range_header})
        assert response.status == 200
        assert "content-range" not in response.headers
        assert response.body == b"0123456789"


@pytest.mark.parametrize("range_header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_beyond_the_content_returns_416(world: World, contents: list[str], range_header: str) -> None:
    for path in contents:
        response = request(world, "GET", path, {"Range": range_header})
        assert response.status == 416
        assert response.headers["content-range"] == "bytes */10"
        assert response.headers["content-type"] == "application/json"
        assert response.error["type"] == "invalid_request_error"


def test_ranges_of_a_large_file_add_up_to_its_content(world: World) -> None:
    content = unique_content("ranges", 3 * MIB)
    path = upload_file(world, "/files", content)
    parts = [
        request(world, "GET", f"{path}/content", {"Range": f"bytes={start}-{start + 999_999}"}).body
        for start in range(0, len(content), 1_000_000)
    ]
    assert b"".join(parts) == content


# Memory


SERVER_PROGRAM = """
import sys
from mockserver.server.serving import MockServer
with MockServer() as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read from /proc")
def test_a_file_of_512_mib_needs_little_memory() -> None:
    """512 MiB is the limit of the live API. The server runs in a process of its own."""
    size = 512 * MIB
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin
        assert process.stdout
        client = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()))
        try:
            # The first upload allocates what the server needs in any case.
            send_request(client, "POST", "/files", *large_form(MIB)).read()
            before = peak_memory(process.pid)
            sent = hashlib.sha256()
            length, body = large_form(size, sent)
            created = send_request(client, "POST", "/files", length, body)
            assert created.status == 200
            file_id = json.loads(created.read())["id"]
            received = hashlib.sha256()
            download = send_request(client, "GET", f"/files/{file_id}/content")
            while piece := download.read(MIB):
                received.update(piece)
            assert received.digest() == sent.digest()
            assert peak_memory(process.pid) - before < 64 * MIB
        finally:
            client.close()
            process.stdin.close()


def large_form(size: int, digest: Any = None) -> tuple[int, Iterator[bytes]]:
    """Return the length of a form with a file of `size` bytes, and the form in pieces, all of which differ."""
    start, end = form(PURPOSE, (FILE_PART, b"|")).split(b"|")

    def generate() -> Iterator[bytes]:
        yield start
        for number in range(size // MIB):
            piece = number.to_bytes(8) * (MIB // 8)
            if digest:
                digest.update(piece)
            yield piece
        yield end

    return len(start) + size + len(end), generate()


def send_request(
    client: http.client.HTTPConnection, method: str, path: str, length: int = 0, body: Iterator[bytes] | None = None
) -> http.client.HTTPResponse:
    sized = {**MULTIPART, "Content-Length": str(length)} if body else {}
    client.request(method, f"/v1{path}", body, {"Authorization": "Bearer sk-test", **sized})
    return client.getresponse()
