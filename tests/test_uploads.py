"""Uploads: states, parts, completion, and the removal of their contents."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import openai
import pytest
from conftest import NOON, World, error_message, new_world, ok, stored
from rawhttp import Wire, form, request

from mockserver import uploads
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.schema.uploads import CompleteUpload, CreateUpload
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.storage import pagination
from mockserver.storage.contents import Contents

T = TypeVar("T")

HOUR = 3_600
MIB = 1 << 20
FORM_HEADERS = {"Content-Type": "multipart/form-data; boundary=simple"}
DATA_PART_HEAD = 'Content-Disposition: form-data; name="data"'


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}") as client:
        yield client


def pseudorandom(seed: str, size: int = 30_000) -> bytes:
    """Return pseudorandom content, by default so large that it is stored as a file and not in a row."""
    return hashlib.shake_256(seed.encode()).digest(size)


def create(world: World, size: int, **more: Any) -> str:
    body = {"bytes": size, "filename": "a.bin", "purpose": "vision", "mime_type": "text/plain", **more}
    return str(ok(world.http.post("/uploads", json=body))["id"])


def add_part(world: World, upload: str, content: bytes) -> str:
    return str(ok(world.http.post(f"/uploads/{upload}/parts", files={"data": content}))["id"])


def complete(world: World, upload: str, *part_ids: str, **more: Any) -> httpx2.Response:
    return world.http.post(f"/uploads/{upload}/complete", json={"part_ids": part_ids, **more})


def with_own_client(world: World, call: Callable[..., T], *arguments: Any) -> T:
    """Call a function in another thread, which must not share the client of the test."""
    with World(world.server, world.name) as own:
        return call(own, *arguments)


def try_operations(world: World, upload: str) -> list[httpx2.Response]:
    """Add a part, complete and cancel, and return the responses."""
    return [
        world.http.post(f"/uploads/{upload}/parts", files={"data": b"more"}),
        complete(world, upload),
        world.http.post(f"/uploads/{upload}/cancel"),
    ]


def contents_of(world: World) -> set[bytes]:
    """Return all contents that the server stores for a world."""
    world.server.run(world.server.mock.worlds.finish(trash=True))
    known = world.server.mock.worlds.known(world.name)
    assert known
    large = {path.read_bytes() for path in (known.directory / "contents").glob("*/*")}
    rows = world.server.run(_rows(known.database))
    return large | rows


async def _rows(database: Any) -> set[bytes]:
    return {content for (content,) in database.connection.execute("SELECT content FROM contents")}


# States


def test_operations_on_an_upload_in_each_state(world: World) -> None:
    world.freeze()
    completed, cancelled, expired = (create(world, 0) for _ in range(3))
    file = ok(complete(world, completed))["file"]["id"]
    assert ok(world.http.post(f"/uploads/{cancelled}/cancel"))["status"] == "cancelled"
    for response in try_operations(world, completed):
        assert f"already completed as File {file}." in error_message(response, 400, None)
    for response in try_operations(world, cancelled):
        assert "already cancelled." in error_message(response, 400, None)
    world.advance(HOUR - 1)
    pending = create(world, 0)
    add_part(world, expired, b"in time")
    world.advance(1)
    for response in try_operations(world, expired):
        assert error_message(response, 410, None) == f"Upload {expired} has expired. Create another one."
    for response in try_operations(world, "upload_none"):
        assert error_message(response, 404, None) == "No such Upload object: upload_none"
    assert [response.status_code for response in try_operations(world, pending)] == [200, 200, 400]
    with new_world(world.server) as other:
        for response in try_operations(other, pending):
            assert response.status_code == 404


def test_an_expired_upload_stays_expired_and_its_contents_are_removed(world: World) -> None:
    world.freeze()
    upload, content = create(world, 30_000), pseudorandom("expires")
    part = add_part(world, upload, content)
    world.advance(HOUR)
    assert contents_of(world) == {content}
    world.freeze()
    assert contents_of(world) == {content}, "contents are removed only by a request after the expiry"
    world.advance(HOUR)
    create(world, 1)
    assert contents_of(world) == set()
    world.freeze()
    assert complete(world, upload, part).status_code == 410


def test_an_operation_ends_a_few_expired_uploads_and_the_one_in_its_path(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "ENDED_AT_ONCE", 2)
    world.freeze()
    expired = [create(world, 30_000) for _ in range(6)]
    for upload in expired:
        add_part(world, upload, pseudorandom(upload))
    world.advance(HOUR)
    create(world, 1)
    assert len(contents_of(world)) == 4
    assert world.http.post(f"/uploads/{expired[-1]}/cancel").status_code == 410
    assert len(contents_of(world)) == 2
    assert pseudorandom(expired[-1]) not in contents_of(world)
    world.freeze()
    assert world.http.post(f"/uploads/{expired[-1]}/cancel").status_code == 410, "it stays expired"


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("ends", ["cancelled", "expired", "deleted skill"])
def test_many_parts_and_versions_are_removed_in_a_thread(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch, count: int, ends: str
) -> None:
    parts = [{"content": f"{n}"} for n in range(count)]
    upload = {
        "id": "upload_a",
        "filename": "a.bin",
        "created_at": "-61m" if ends == "expired" else "-1m",
        "parts": parts,
    }
    manifests = [f"---\nname: a\ndescription: {n}\n---" for n in range(count)]
    skill = {"id": "skill_a", "versions": [{"files": [{"path": "SKILL.md", "content": each}]} for each in manifests]}
    ok(control.post("/place", json={"version": 1, "uploads": [upload], "skills": [skill]}))
    threads: list[str] = []
    drop = Contents.drop
    monkeypatch.setattr(Contents, "drop", lambda *args: threads.append(threading.current_thread().name) or drop(*args))
    if ends == "cancelled":
        ok(world.http.post("/uploads/upload_a/cancel"))
    elif ends == "expired":
        create(world, 1)
    else:
        ok(world.http.delete("/skills/skill_a"))
    assert [each == "mockserver" for each in threads] == [count == 1]


def test_the_file_of_an_upload_expires_as_requested(world: World) -> None:
    world.freeze()
    batch = create(world, 0, purpose="batch")
    short = create(world, 0, expires_after={"anchor": "created_at", "seconds": HOUR})
    world.advance(100)
    assert ok(complete(world, batch))["file"]["expires_at"] == NOON + 30 * 24 * HOUR
    file = ok(complete(world, short))["file"]
    assert (file["created_at"], file["expires_at"]) == (NOON, NOON + HOUR)
    world.advance(HOUR)
    assert world.http.get(f"/files/{file['id']}").status_code == 404


def test_uploads_that_ended_long_ago_are_pruned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "KEPT_DELETED", 3)
    ended, pending = create(world, 0), create(world, 0)
    ok(world.http.post(f"/uploads/{ended}/cancel"))
    create(world, 0)
    assert complete(world, ended).status_code == 400
    create(world, 0)
    create(world, 0)
    assert complete(world, ended).status_code == 404
    assert complete(world, pending).status_code == 200


# Creating


@pytest.mark.parametrize(
    ("change", "param", "message"),
    [
        ({"purpose": "x"}, "purpose", "'x' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', "),
        ({"purpose": 1}, "purpose", "Invalid type for 'purpose': expected a string, but got an integer instead."),
        ({"bytes": -1}, "bytes", "Invalid 'bytes': integer below minimum value. Expected a value >= 0,"),
        ({"bytes": (8 << 30) + 1}, "bytes", "Invalid 'bytes': integer above maximum value. Expected a value <= 8589"),
        ({"bytes": "1"}, "bytes", "Invalid type for 'bytes'"),
        ({"filename": ""}, "filename", "Invalid 'filename': empty string."),
        ({"mime_type": ""}, "mime_type", "Invalid 'mime_type': empty string."),
        ({"status": "completed"}, "status", "Unknown parameter: 'status'."),
        ({"expires_after": {"anchor": "created_at"}}, "expires_after.seconds", "Missing required parameter"),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 3_599}},
            "expires_after.seconds",
            "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 3599",
        ),
        (
            {"expires_after": {"anchor": "last_active_at", "seconds": HOUR}},
            "expires_after.anchor",
            "Invalid value: 'last_active_at'.",
        ),
    ],
)
def test_an_invalid_upload_is_rejected(world: World, change: dict[str, Any], param: str, message: str) -> None:
    body = {"bytes": 1, "filename": "a", "purpose": "vision", "mime_type": "text/plain"} | change
    response = world.http.post("/uploads", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(message)
    assert response.json()["detail"] == {"message": error["message"], "code": error["code"]}


# Parts


@pytest.mark.parametrize(
    "head",
    [
        DATA_PART_HEAD,
        f'{DATA_PART_HEAD}; filename="part.bin"',
        f'{DATA_PART_HEAD}; filename=""',
        f"{DATA_PART_HEAD}\r\nContent-Type: application/octet-stream",
        "content-disposition: form-data; name=data; filename=data; filename*=utf-8''data",
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_part_is_accepted_in_every_form(world: World, head: str, chunked: bool) -> None:
    content = pseudorandom(head, 20_000)
    upload, body = create(world, len(content)), form((head, content))
    path = f"/uploads/{upload}/parts"
    if chunked:
        with Wire(world) as wire:
            wire.head("POST", path, {**FORM_HEADERS, "Transfer-Encoding": "chunked"})
            for start in range(0, len(body), 7_000):
                chunk = body[start : start + 7_000]
                wire.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            wire.send(b"0\r\n\r\n")
            response = wire.response()
    else:
        response = request(world, "POST", path, FORM_HEADERS, body)
    assert response.status == 200, response.body
    assert list(response.json) == ["id", "object", "created_at", "upload_id"]
    file = ok(complete(world, upload, response.json["id"]))["file"]["id"]
    assert world.http.get(f"/files/{file}/content").content == content


def test_a_request_without_exactly_one_part_is_rejected(world: World) -> None:
    upload = create(world, 1)
    path = f"/uploads/{upload}/parts"
    for body, headers, message in (
        (form(("Content-Disposition: form-data; name=other", b"x")), FORM_HEADERS, "('other' was unexpected)"),
        (form((DATA_PART_HEAD, b"x"), (DATA_PART_HEAD, b"x")), FORM_HEADERS, "Duplicate parameter: 'data'"),
        (b"--simple--\r\n", FORM_HEADERS, "'data' is a required property"),
        (b"{}", {"Content-Type": "application/json"}, "Invalid Content-Type header (application/json)"),
    ):
        response = request(world, "POST", path, headers, body)
        assert response.status == (415 if body == b"{}" else 400)
        assert message in response.error["message"]
    assert contents_of(world) == set()


@pytest.mark.slow
def test_a_part_of_64_mib_is_accepted_and_a_larger_one_rejected(world: World) -> None:
    size = 64 * MIB
    upload = create(world, size)
    add_part(world, upload, bytes(size))
    response = world.http.post(f"/uploads/{upload}/parts", files={"data": bytes(size + 1)})
    assert error_message(response, 400, None) == "The part is too large. The maximum is 67108864 bytes."
    assert response.json()["error"]["param"] == "data"


def test_max_upload_limits_each_part_and_not_their_sum() -> None:
    with MockServer(max_upload=1_000) as server, new_world(server) as world:
        upload = create(world, 2_000)
        parts = [add_part(world, upload, bytes(1_000)) for _ in range(2)]
        response = world.http.post(f"/uploads/{upload}/parts", files={"data": bytes(1_001)})
        assert error_message(response, 413, "file_too_large") == "File is too large. The maximum is 1000 bytes."
        assert ok(complete(world, upload, *parts))["file"]["bytes"] == 2_000


def test_the_sum_of_all_parts_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    upload = create(world, 1)
    add_part(world, upload, b"12345")
    response = world.http.post(f"/uploads/{upload}/parts", files={"data": b"678901"})
    assert error_message(response, 400, None) == "The parts have more than 10 bytes in all."
    add_part(world, upload, b"67890")


# Completing


def test_parts_are_joined_in_the_order_of_part_ids(world: World) -> None:
    contents = [pseudorandom(str(number), size) for number, size in enumerate((40_000, 1, 0, 3 * MIB, 16_384))]
    upload = create(world, sum(map(len, contents)))
    with ThreadPoolExecutor(3) as pool:  # so that they may arrive in any order
        parts = list(pool.map(lambda content: with_own_client(world, add_part, upload, content), contents))
    add_part(world, upload, b"left out")
    order = [3, 0, 2, 4, 1]
    whole = b"".join(contents[number] for number in order)
    md5 = hashlib.md5(whole, usedforsecurity=False).hexdigest().upper()
    completed = ok(complete(world, upload, *(parts[number] for number in order), md5=md5))
    assert world.http.get(f"/files/{completed['file']['id']}/content").content == whole
    assert ok(world.http.get(f"/files/{completed['file']['id']}")) == completed["file"]
    assert contents_of(world) == {whole}
    box = ok(world.http.post("/containers", json={"name": "box", "file_ids": [completed["file"]["id"]]}))
    ok(world.http.delete(f"/files/{completed['file']['id']}"))
    (copy,) = ok(world.http.get(f"/containers/{box['id']}/files"))["data"]
    assert copy["bytes"] == len(whole)
    ok(world.http.delete(f"/containers/{box['id']}"))
    assert contents_of(world) == set()


@pytest.mark.parametrize(
    ("sent", "stored_name"), [("../../etc/pass\nwd", "pass\nwd"), ("C:\\x\\y.txt", "y.txt"), ("a/", "upload")]
)
def test_the_directories_of_a_file_name_are_discarded(world: World, sent: str, stored_name: str) -> None:
    upload = create(world, 1, filename=sent)
    file = ok(complete(world, upload, add_part(world, upload, b"x")))["file"]
    assert file["filename"] == stored_name
    container = ok(world.http.post("/containers", json={"name": "box", "file_ids": [file["id"]]}))["id"]
    (copied,) = ok(world.http.get(f"/containers/{container}/files"))["data"]
    assert copied["path"] == f"/mnt/data/{file['id']}-{stored_name}"


def test_an_invalid_completion_is_rejected_and_leaves_the_upload_pending(world: World) -> None:
    upload, other = create(world, 8), create(world, 4)
    one, two, foreign = (
        add_part(world, upload, b"1234"),
        add_part(world, upload, b"5678"),
        add_part(world, other, b"1234"),
    )
    for part_ids, more, param, message in (
        ([one], {}, "part_ids", "The parts have 4 bytes in all, but the upload was created with 8 bytes."),
        ([one, one], {}, "part_ids", f"Invalid part '{one}': it is given twice."),
        ([one, foreign], {}, "part_ids", f"Invalid part '{foreign}': it is not a part of this upload."),
        ([], {}, "part_ids", "The parts have 0 bytes"),
        ([one, two], {"md5": "md5"}, "md5", "'md5' is not the MD5 of the content, which is '25d55ad283aa400af464c76"),
        ([one, two], {"md6": ""}, "md6", "Unknown parameter: 'md6'."),
        ([1], {}, "part_ids[0]", "Invalid type for 'part_ids[0]'"),
    ):
        response = world.http.post(f"/uploads/{upload}/complete", json={"part_ids": part_ids, **more})
        assert message in error_message(response, 400, response.json()["error"]["code"])
        assert response.json()["error"]["param"] == param
    assert ok(world.http.get("/files"))["data"] == []
    assert ok(complete(world, upload, one, two))["status"] == "completed"


def test_a_retry_after_a_lost_response_gets_an_error_that_names_the_file(world: World) -> None:
    """The official client retries a request that got no response."""
    upload = create(world, 2)
    part = add_part(world, upload, b"12")
    control = f"{world.server.url}/_mock/worlds/{world.name}"
    rule = {"match": {"operation": "CompleteUpload"}, "times": 1, "effect": {"reset_after": 0}}
    ok(httpx2.post(f"{control}/faults", json=rule))
    with pytest.raises(openai.BadRequestError) as caught:
        world.openai.with_options(max_retries=1).uploads.complete(upload, part_ids=[part])
    (file,) = ok(world.http.get("/files"))["data"]
    assert f"already completed as File {file['id']}." in caught.value.message
    assert ok(httpx2.get(f"{control}/journal/count?operation=CompleteUpload"))["count"] == 2


@pytest.fixture
def blocked_completion(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Block each completion in its thread: it sets the first event, then waits for the second."""
    started, resume = threading.Event(), threading.Event()
    read_parts = uploads._pieces

    def wait_and_read(*arguments: Any) -> Any:
        started.set()
        assert resume.wait(60)
        yield from read_parts(*arguments)

    monkeypatch.setattr(uploads, "_pieces", wait_and_read)
    yield started, resume
    resume.set()


def test_other_requests_are_served_while_an_upload_is_completed(
    world: World, blocked_completion: tuple[threading.Event, threading.Event]
) -> None:
    started, resume = blocked_completion
    world.freeze()
    upload, content = create(world, 30_000), pseudorandom("whole")
    part = add_part(world, upload, content)
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(with_own_client, world, complete, upload, part)
        assert started.wait(60)
        for response in try_operations(world, upload):
            assert "already being completed." in error_message(response, 400, None)
        ok(world.http.post("/containers", json={"name": "meanwhile"}))
        ok(httpx2.post(f"{world.server.url}/_mock/worlds/{world.name}-fork", json={"fork_of": world.name}))
        with new_world(world.server) as other:
            ok(other.http.get("/containers"))
        world.advance(HOUR)  # the completion started before the expiry
        create(world, 1)
        resume.set()
        assert ok(completing.result())["status"] == "completed"
    with World(world.server, f"{world.name}-fork") as fork:
        assert ok(complete(fork, upload, part))["file"]["bytes"] == 30_000, "the fork was created before the completion"


def test_files_of_parts_are_not_removed_on_the_event_loop(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing a file of 64 MiB takes milliseconds."""
    threads: list[threading.Thread] = []
    remove = Contents.remove

    def record_thread(self: Contents, *arguments: Any) -> None:
        threads.append(threading.current_thread())
        remove(self, *arguments)

    monkeypatch.setattr(Contents, "remove", record_thread)
    world.freeze()
    ended = [create(world, 30_000) for _ in range(4)]
    parts = [add_part(world, upload, pseudorandom(upload)) for upload in ended]
    ok(complete(world, ended[0], parts[0]))
    ok(world.http.post(f"/uploads/{ended[1]}/cancel"))
    ok(control.delete(f"/uploads/{ended[2]}"))
    assert contents_of(world) == {pseudorandom(ended[0]), pseudorandom(ended[3])}
    world.advance(HOUR)
    create(world, 1)
    assert contents_of(world) == {pseudorandom(ended[0])}
    assert len(threads) >= 3
    assert world.server._thread not in threads


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("DELETE", "/uploads/{upload}", 404, "No such Upload object"),
        ("POST", "/reset", 404, "No such Upload object"),
        ("POST", "/snapshots/before/restore", 409, "Send it again"),
        ("POST", "/snapshots/with-part/restore", 409, "Send it again"),
        ("DELETE", "", 409, "Send it again"),
    ],
)
def test_completing_an_upload_fails_if_it_or_its_world_is_replaced_meanwhile(
    world: World,
    control: httpx2.Client,
    blocked_completion: tuple[threading.Event, threading.Event],
    method: str,
    path: str,
    status: int,
    message: str,
) -> None:
    started, resume = blocked_completion
    upload = create(world, 30_000)
    ok(control.put("/snapshots/before"))
    part = add_part(world, upload, pseudorandom("whole"))
    ok(control.put("/snapshots/with-part"))
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(with_own_client, world, complete, upload, part)
        assert started.wait(60)
        changed = control.request(method, str(control.base_url).rstrip("/") + path.format(upload=upload))
        resume.set()
        ok(changed)
        assert message in error_message(completing.result(), status, completing.result().json()["error"]["code"])
    assert ok(world.http.get("/files"))["data"] == []
    assert not list(world.server.mock.directory.glob("uploads/*"))


def test_completing_an_upload_fails_if_a_state_where_it_is_cancelled_is_restored_meanwhile(
    world: World, control: httpx2.Client, blocked_completion: tuple[threading.Event, threading.Event]
) -> None:
    started, resume = blocked_completion
    upload = create(world, 30_000)
    part = add_part(world, upload, pseudorandom("whole"))
    ok(control.put("/snapshots/pending"))
    ok(world.http.post(f"/uploads/{upload}/cancel"))
    ok(control.put("/snapshots/cancelled"))
    ok(control.post("/snapshots/pending/restore"))
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(with_own_client, world, complete, upload, part)
        assert started.wait(60)
        changed = control.post("/snapshots/cancelled/restore")
        resume.set()
        ok(changed)
        assert "cancelled" in error_message(completing.result(), 400, completing.result().json()["error"]["code"])


def test_one_of_two_requests_in_threads_that_complete_an_upload_succeeds(tmp_path: Path) -> None:
    """A request with a large body runs in a thread."""

    async def check(mock: Mock) -> None:
        context = await mock.worlds.enter("w")
        new = CreateUpload(bytes=6, filename="a.bin", purpose="vision", mime_type="text/plain")
        for _ in range(20):
            upload = (await context.run(uploads.create_upload, new))["id"]
            part = NewFile(mock.uploads.put([b"a part"]), "data", {})
            body = CompleteUpload(part_ids=[(await context.run(uploads.add_upload_part, upload, part))["id"]])
            contexts = [Context(context.world, context.current, large=True) for _ in range(2)]
            results = await asyncio.gather(
                *(uploads.complete_upload(each, upload, body, mock.uploads) for each in contexts),
                return_exceptions=True,
            )
            error = next(each for each in results if isinstance(each, APIError))
            (completed,) = (each for each in results if not isinstance(each, BaseException))
            assert completed["status"] == "completed"
            assert error.status == 400
            assert "complete" in error.message

    with closing(Mock(Settings(data=tmp_path))) as mock:
        asyncio.run(check(mock))


def test_a_lost_content_fails_the_request_and_a_part_can_be_sent_again(world: World) -> None:
    upload = create(world, 30_000)
    part = add_part(world, upload, pseudorandom("lost"))
    known = world.server.mock.worlds.known(world.name)
    assert known
    (lost,) = (known.directory / "contents").glob("*/*")
    lost.unlink()
    error_message(complete(world, upload, part), 500, "storage_failed")
    again = add_part(world, upload, pseudorandom("lost"))
    assert ok(complete(world, upload, again))["file"]["bytes"] == 30_000


# The official client


def test_upload_file_chunked_of_the_official_client(world: World, tmp_path: Path) -> None:
    content = pseudorandom("chunked", 100_000)
    (tmp_path / "large.bin").write_bytes(content)
    helper = world.openai.uploads.upload_file_chunked
    large = helper(file=tmp_path / "large.bin", mime_type="text/plain", purpose="vision", part_size=30_000)
    assert (large.status, large.filename) == ("completed", "large.bin")
    assert large.file
    assert world.openai.files.content(large.file.id).read() == content
    empty = helper(file=b"", filename="empty", bytes=0, mime_type="text/plain", purpose="vision")
    assert empty.file
    assert empty.file.bytes == 0


# Snapshots, exports, seeds and the control plane


def test_a_pending_upload_survives_snapshots_exports_and_seeds(
    world: World, control: httpx2.Client, tmp_path: Path
) -> None:
    world.freeze()
    small, large = b"small", pseudorandom("large")
    upload = create(
        world, 30_005, filename="caf\u00e9 {n}.bin", expires_after={"anchor": "created_at", "seconds": HOUR}
    )
    parts = [add_part(world, upload, small), add_part(world, upload, large)]
    done = create(world, 0)
    ok(complete(world, done))
    deleted = create(world, 0)
    ok(control.delete(f"/uploads/{deleted}"))
    before = ok(control.get("/uploads"))
    ok(control.put("/snapshots/kept"))
    archive = control.get("/export").content
    finished = ok(complete(world, upload, *parts))
    assert contents_of(world) == {small + large, b""}
    ok(control.post("/snapshots/kept/restore"))
    assert contents_of(world) == {small, large, b""}
    ok(control.post("/reset?empty=true"))
    ok(control.post("/import", content=archive))
    assert control.get("/export").content == archive
    assert ok(control.get("/uploads")) == before
    assert ok(complete(world, upload, *parts)) == finished
    (tmp_path / "seed.zip").write_bytes(archive)
    with MockServer(seed=(tmp_path / "seed.zip",)) as server, new_world(server) as seeded:
        assert ok(complete(seeded, upload, *parts))["file"]["bytes"] == 30_005
    ok(httpx2.post(f"{control.base_url}copy".replace(f"{world.name}/", f"{world.name}-")))
    with World(world.server, f"{world.name}-copy") as copy:
        control_of_copy = f"{world.server.url}/_mock/worlds/{copy.name}"
        ok(httpx2.post(f"{control_of_copy}/import?replace=false", content=archive))
        copy.freeze()
        assert ok(complete(copy, upload, *parts))["file"]["bytes"] == 30_005
        conflict = httpx2.post(f"{control_of_copy}/import?replace=false", content=archive)
        assert conflict.status_code == 409


def test_a_seed_can_contain_uploads(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\nclock: {at: 2026-06-24T18:04:00Z, rate: 0}\nuploads:\n"
        "  - {id: upload_1, filename: a.txt, created_at: -59m, parts: [{id: part_1, content: one}, {content: two}]}\n"
        "  - {id: upload_2, filename: b.txt, created_at: -60m, bytes: 7, purpose: batch}\n"
    )
    with MockServer(seed=(seed,)) as server, new_world(server) as world:
        assert complete(world, "upload_2").status_code == 410
        assert "have 3 bytes in all, but the upload was created with 6" in complete(world, "upload_1", "part_1").text
        add_part(world, "upload_1", b"")
    seed.write_text("version: 1\nuploads:\n  - {filename: a, status: completed, parts: [{content: one}]}\n")
    with pytest.raises(Exception, match=r"seed.yaml:3: uploads.0: only a pending upload has parts"):
        MockServer(seed=(seed,)).__enter__()


def test_the_control_plane_lists_and_deletes_uploads(world: World, control: httpx2.Client) -> None:
    world.freeze()
    old = create(world, 5, filename="old.txt")
    add_part(world, old, b"12345")
    world.advance(HOUR - 10)
    new, done = create(world, 30_000, filename="new.bin"), create(world, 0)
    part = add_part(world, new, pseudorandom("large"))
    file = ok(complete(world, done))["file"]
    listed = ok(control.get("/uploads"))
    assert [each["id"] for each in listed["data"]] == [done, new, old]
    assert (listed["total"], listed["has_more"]) == (3, False)
    assert listed["data"][0]["file"] == file
    shown = ok(control.get(f"/uploads/{new}"))
    assert shown == listed["data"][1]
    assert (shown["status"], shown["mime_type"]) == ("pending", "text/plain")
    assert (shown["parts"], shown["part_bytes"]) == (1, 30_000)
    world.advance(10)
    for status, ids in (("pending", [new]), ("expired", [old]), ("completed", [done]), ("cancelled", [])):
        assert [each["id"] for each in ok(control.get(f"/uploads?status={status}"))["data"]] == ids
    assert [each["id"] for each in ok(control.get("/uploads?search=NEW"))["data"]] == [new]
    assert [each["id"] for each in ok(control.get(f"/uploads?limit=1&after={done}"))["data"]] == [new]
    for upload in (new, old, done):
        assert ok(control.delete(f"/uploads/{upload}")) == {"id": upload, "object": "upload", "deleted": True}
    assert complete(world, new, part).status_code == 404
    assert control.get(f"/uploads/{new}").status_code == control.delete(f"/uploads/{new}").status_code == 404
    assert contents_of(world) == {b""}, "the File still exists"


def test_a_data_directory_keeps_no_contents_of_ended_uploads(tmp_path: Path) -> None:
    with MockServer(data=tmp_path) as server, new_world(server) as world:
        world.freeze()
        contents = [pseudorandom(str(number)) for number in range(4)]
        for number, content in enumerate(contents):
            upload = create(world, len(content))
            part = add_part(world, upload, content)
            if number == 0:
                ok(world.http.post(f"/uploads/{upload}/cancel"))
            elif number == 1:
                ok(complete(world, upload, part))
    assert sorted(stored(tmp_path).values()) == sorted(contents[1:]), "pending uploads survive a restart"
    with MockServer(data=tmp_path) as server, World(server, world.name) as world:
        world.advance(HOUR)
        create(world, 1)
    assert list(stored(tmp_path).values()) == [contents[1]]
