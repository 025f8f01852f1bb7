"""Uploads: states, parts in every form, completion, and what becomes of their bytes."""

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
SIMPLE = {"Content-Type": "multipart/form-data; boundary=simple"}
DATA = 'Content-Disposition: form-data; name="data"'


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}") as client:
        yield client


def noise(seed: str, size: int = 30_000) -> bytes:
    """Content that is large enough for a file of its own."""
    return hashlib.shake_256(seed.encode()).digest(size)


def create(world: World, size: int, **more: Any) -> str:
    body = {"bytes": size, "filename": "a.bin", "purpose": "vision", "mime_type": "text/plain", **more}
    return str(ok(world.http.post("/uploads", json=body))["id"])


def send(world: World, upload: str, content: bytes) -> str:
    return str(ok(world.http.post(f"/uploads/{upload}/parts", files={"data": content}))["id"])


def complete(world: World, upload: str, *part_ids: str, **more: Any) -> httpx2.Response:
    return world.http.post(f"/uploads/{upload}/complete", json={"part_ids": part_ids, **more})


def beside(world: World, work: Callable[..., T], *arguments: Any) -> T:
    """Call it in another thread, with a client of its own."""
    with World(world.server, world.name) as own:
        return work(own, *arguments)


def operations(world: World, upload: str) -> list[httpx2.Response]:
    return [
        world.http.post(f"/uploads/{upload}/parts", files={"data": b"more"}),
        complete(world, upload),
        world.http.post(f"/uploads/{upload}/cancel"),
    ]


def kept(world: World) -> set[bytes]:
    """The bytes that the server keeps of a world."""
    world.server.run(world.server.mock.worlds.finish(trash=True))
    known = world.server.mock.worlds.known(world.name)
    assert known
    large = {path.read_bytes() for path in (known.directory / "contents").glob("*/*")}
    rows = world.server.run(_rows(known.database))
    return large | rows


async def _rows(database: Any) -> set[bytes]:
    return {content for (content,) in database.connection.execute("SELECT content FROM contents")}


# States


def test_what_each_state_returns(world: World) -> None:
    world.freeze()
    completed, cancelled, expired = (create(world, 0) for _ in range(3))
    file = ok(complete(world, completed))["file"]["id"]
    assert ok(world.http.post(f"/uploads/{cancelled}/cancel"))["status"] == "cancelled"
    for response in operations(world, completed):
        assert f"already completed as File {file}." in error_message(response, 400, None)
    for response in operations(world, cancelled):
        assert "already cancelled." in error_message(response, 400, None)
    world.advance(HOUR - 1)
    pending = create(world, 0)
    send(world, expired, b"in time")
    world.advance(1)
    for response in operations(world, expired):
        assert error_message(response, 410, None) == f"Upload {expired} has expired. Create another one."
    for response in operations(world, "upload_none"):
        assert error_message(response, 404, None) == "No such Upload object: upload_none"
    assert [response.status_code for response in operations(world, pending)] == [200, 200, 400]
    with new_world(world.server) as other:
        for response in operations(other, pending):
            assert response.status_code == 404


def test_an_expired_upload_loses_its_parts_and_stays_expired(world: World) -> None:
    world.freeze()
    upload, content = create(world, 30_000), noise("expires")
    part = send(world, upload, content)
    world.advance(HOUR)
    assert kept(world) == {content}
    world.freeze()
    assert kept(world) == {content}, "nothing was looked at while it had expired"
    world.advance(HOUR)
    create(world, 1)
    assert kept(world) == set()
    world.freeze()
    assert complete(world, upload, part).status_code == 410


def test_one_operation_ends_few_of_many_expired_uploads_and_the_one_that_it_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "ENDED_AT_ONCE", 2)
    world.freeze()
    expired = [create(world, 30_000) for _ in range(6)]
    for upload in expired:
        send(world, upload, noise(upload))
    world.advance(HOUR)
    create(world, 1)
    assert len(kept(world)) == 4
    assert world.http.post(f"/uploads/{expired[-1]}/cancel").status_code == 410
    assert len(kept(world)) == 2
    assert noise(expired[-1]) not in kept(world)
    world.freeze()
    assert world.http.post(f"/uploads/{expired[-1]}/cancel").status_code == 410, "it stays expired"


def test_the_file_lives_as_long_as_was_asked_for(world: World) -> None:
    world.freeze()
    batch = create(world, 0, purpose="batch")
    short = create(world, 0, expires_after={"anchor": "created_at", "seconds": HOUR})
    world.advance(100)
    assert ok(complete(world, batch))["file"]["expires_at"] == NOON + 30 * 24 * HOUR
    file = ok(complete(world, short))["file"]
    assert (file["created_at"], file["expires_at"]) == (NOON, NOON + HOUR)
    world.advance(HOUR)
    assert world.http.get(f"/files/{file['id']}").status_code == 404


def test_uploads_that_ended_long_ago_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
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
    ("change", "param", "words"),
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
def test_what_can_not_be_created(world: World, change: dict[str, Any], param: str, words: str) -> None:
    body = {"bytes": 1, "filename": "a", "purpose": "vision", "mime_type": "text/plain"} | change
    response = world.http.post("/uploads", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(words)
    assert response.json()["detail"] == {"message": error["message"], "code": error["code"]}


# Parts


@pytest.mark.parametrize(
    "head",
    [
        DATA,
        f'{DATA}; filename="part.bin"',
        f'{DATA}; filename=""',
        f"{DATA}\r\nContent-Type: application/octet-stream",
        "content-disposition: form-data; name=data; filename=data; filename*=utf-8''data",
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_part_may_have_any_form(world: World, head: str, chunked: bool) -> None:
    content = noise(head, 20_000)
    upload, body = create(world, len(content)), form((head, content))
    path = f"/uploads/{upload}/parts"
    if chunked:
        with Wire(world) as wire:
            wire.head("POST", path, {**SIMPLE, "Transfer-Encoding": "chunked"})
            for start in range(0, len(body), 7_000):
                piece = body[start : start + 7_000]
                wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            wire.send(b"0\r\n\r\n")
            answer = wire.response()
    else:
        answer = request(world, "POST", path, SIMPLE, body)
    assert answer.status == 200, answer.body
    assert list(answer.json) == ["id", "object", "created_at", "upload_id"]
    file = ok(complete(world, upload, answer.json["id"]))["file"]["id"]
    assert world.http.get(f"/files/{file}/content").content == content


def test_what_is_no_part(world: World) -> None:
    upload = create(world, 1)
    path = f"/uploads/{upload}/parts"
    for body, headers, words in (
        (form(("Content-Disposition: form-data; name=other", b"x")), SIMPLE, "('other' was unexpected)"),
        (form((DATA, b"x"), (DATA, b"x")), SIMPLE, "Duplicate parameter: 'data'"),
        (b"--simple--\r\n", SIMPLE, "'data' is a required property"),
        (b"{}", {"Content-Type": "application/json"}, "Invalid Content-Type header (application/json)"),
    ):
        answer = request(world, "POST", path, headers, body)
        assert answer.status == (415 if body == b"{}" else 400)
        assert words in answer.error["message"]
    assert kept(world) == set()


@pytest.mark.slow
def test_a_part_of_64_mib_passes_and_a_larger_one_does_not(world: World) -> None:
    size = 64 * MIB
    upload = create(world, size)
    send(world, upload, bytes(size))
    response = world.http.post(f"/uploads/{upload}/parts", files={"data": bytes(size + 1)})
    assert error_message(response, 400, None) == "The part is too large. The maximum is 67108864 bytes."
    assert response.json()["error"]["param"] == "data"


def test_the_operators_limit_holds_for_parts_and_not_for_their_sum() -> None:
    with MockServer(max_upload=1_000) as server, new_world(server) as world:
        upload = create(world, 2_000)
        parts = [send(world, upload, bytes(1_000)) for _ in range(2)]
        response = world.http.post(f"/uploads/{upload}/parts", files={"data": bytes(1_001)})
        assert error_message(response, 413, "file_too_large") == "File is too large. The maximum is 1000 bytes."
        assert ok(complete(world, upload, *parts))["file"]["bytes"] == 2_000


def test_all_parts_together_have_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    upload = create(world, 1)
    send(world, upload, b"12345")
    response = world.http.post(f"/uploads/{upload}/parts", files={"data": b"678901"})
    assert error_message(response, 400, None) == "The parts have more than 10 bytes in all."
    send(world, upload, b"67890")


# Completing


def test_parts_are_joined_in_the_order_that_is_asked_for(world: World) -> None:
    contents = [noise(str(number), size) for number, size in enumerate((40_000, 1, 0, 3 * MIB, 16_384))]
    upload = create(world, sum(map(len, contents)))
    with ThreadPoolExecutor(3) as pool:  # in whatever order they arrive
        parts = list(pool.map(lambda content: beside(world, send, upload, content), contents))
    send(world, upload, b"left out")
    order = [3, 0, 2, 4, 1]
    whole = b"".join(contents[number] for number in order)
    md5 = hashlib.md5(whole, usedforsecurity=False).hexdigest().upper()
    completed = ok(complete(world, upload, *(parts[number] for number in order), md5=md5))
    assert world.http.get(f"/files/{completed['file']['id']}/content").content == whole
    assert ok(world.http.get(f"/files/{completed['file']['id']}")) == completed["file"]
    assert kept(world) == {whole}
    box = ok(world.http.post("/containers", json={"name": "box", "file_ids": [completed["file"]["id"]]}))
    ok(world.http.delete(f"/files/{completed['file']['id']}"))
    (copy,) = ok(world.http.get(f"/containers/{box['id']}/files"))["data"]
    assert copy["bytes"] == len(whole)
    ok(world.http.delete(f"/containers/{box['id']}"))
    assert kept(world) == set()


def test_what_does_not_add_up_leaves_the_upload_as_it_is(world: World) -> None:
    upload, other = create(world, 8), create(world, 4)
    one, two, foreign = send(world, upload, b"1234"), send(world, upload, b"5678"), send(world, other, b"1234")
    for part_ids, more, param, words in (
        ([one], {}, "part_ids", "The parts have 4 bytes in all, but the upload was created with 8 bytes."),
        ([one, one], {}, "part_ids", f"Invalid part '{one}': it is given twice."),
        ([one, foreign], {}, "part_ids", f"Invalid part '{foreign}': it is not a part of this upload."),
        ([], {}, "part_ids", "The parts have 0 bytes"),
        ([one, two], {"md5": "md5"}, "md5", "'md5' is not the MD5 of the content, which is '25d55ad283aa400af464c76"),
        ([one, two], {"md6": ""}, "md6", "Unknown parameter: 'md6'."),
        ([1], {}, "part_ids[0]", "Invalid type for 'part_ids[0]'"),
    ):
        response = world.http.post(f"/uploads/{upload}/complete", json={"part_ids": part_ids, **more})
        assert words in error_message(response, 400, response.json()["error"]["code"])
        assert response.json()["error"]["param"] == param
    assert ok(world.http.get("/files"))["data"] == []
    assert ok(complete(world, upload, one, two))["status"] == "completed"


def test_a_retry_after_a_lost_response_is_told_the_file(world: World) -> None:
    """The official client retries, since it saw no response."""
    upload = create(world, 2)
    part = send(world, upload, b"12")
    control = f"{world.server.url}/_mock/worlds/{world.name}"
    rule = {"match": {"operation": "CompleteUpload"}, "times": 1, "effect": {"reset_after": 0}}
    ok(httpx2.post(f"{control}/faults", json=rule))
    with pytest.raises(openai.BadRequestError) as failed:
        world.openai.with_options(max_retries=1).uploads.complete(upload, part_ids=[part])
    (file,) = ok(world.http.get("/files"))["data"]
    assert f"already completed as File {file['id']}." in failed.value.message
    assert ok(httpx2.get(f"{control}/journal/count?operation=CompleteUpload"))["count"] == 2


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Completing waits, in its thread, for the second event, and sets the first one before."""
    begun, go_on = threading.Event(), threading.Event()
    pieces = uploads._pieces

    def waiting(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        yield from pieces(*arguments)

    monkeypatch.setattr(uploads, "_pieces", waiting)
    yield begun, go_on
    go_on.set()


def test_completing_holds_nobody_up(world: World, stuck: tuple[threading.Event, threading.Event]) -> None:
    begun, go_on = stuck
    world.freeze()
    upload, content = create(world, 30_000), noise("whole")
    part = send(world, upload, content)
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(beside, world, complete, upload, part)
        assert begun.wait(60)
        for response in operations(world, upload):
            assert "already being completed." in error_message(response, 400, None)
        ok(world.http.post("/containers", json={"name": "meanwhile"}))
        ok(httpx2.post(f"{world.server.url}/_mock/worlds/{world.name}-fork", json={"fork_of": world.name}))
        with new_world(world.server) as other:
            ok(other.http.get("/containers"))
        world.advance(HOUR)  # it was in time
        create(world, 1)
        go_on.set()
        assert ok(completing.result())["status"] == "completed"
    with World(world.server, f"{world.name}-fork") as fork:
        assert ok(complete(fork, upload, part))["file"]["bytes"] == 30_000, "the copy was made before"


def test_files_of_parts_are_removed_off_the_event_loop(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove a file of 64 MiB takes milliseconds."""
    removed: list[threading.Thread] = []
    remove = Contents.remove

    def watched(self: Contents, *arguments: Any) -> None:
        removed.append(threading.current_thread())
        remove(self, *arguments)

    monkeypatch.setattr(Contents, "remove", watched)
    world.freeze()
    ended = [create(world, 30_000) for _ in range(4)]
    parts = [send(world, upload, noise(upload)) for upload in ended]
    ok(complete(world, ended[0], parts[0]))
    ok(world.http.post(f"/uploads/{ended[1]}/cancel"))
    ok(control.delete(f"/uploads/{ended[2]}"))
    assert kept(world) == {noise(ended[0]), noise(ended[3])}
    world.advance(HOUR)
    create(world, 1)
    assert kept(world) == {noise(ended[0])}
    assert len(removed) >= 3
    assert world.server._thread not in removed


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("DELETE", "/uploads/{upload}", 404, "No such Upload object"),
        ("POST", "/reset", 404, "No such Upload object"),
        ("POST", "/snapshots/before/restore", 409, "Send it again"),
        ("DELETE", "", 409, "Send it again"),
    ],
)
def test_what_is_completed_while_its_world_changes(
    world: World,
    control: httpx2.Client,
    stuck: tuple[threading.Event, threading.Event],
    method: str,
    path: str,
    status: int,
    words: str,
) -> None:
    begun, go_on = stuck
    upload = create(world, 30_000)
    ok(control.put("/snapshots/before"))
    part = send(world, upload, noise("whole"))
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(beside, world, complete, upload, part)
        assert begun.wait(60)
        changed = control.request(method, str(control.base_url).rstrip("/") + path.format(upload=upload))
        go_on.set()
        ok(changed)
        assert words in error_message(completing.result(), status, completing.result().json()["error"]["code"])
    assert ok(world.http.get("/files"))["data"] == []
    assert not list(world.server.mock.directory.glob("uploads/*"))


def test_an_upload_that_was_cancelled_in_the_state_that_comes_meanwhile_is_told(
    world: World, control: httpx2.Client, stuck: tuple[threading.Event, threading.Event]
) -> None:
    begun, go_on = stuck
    upload = create(world, 30_000)
    part = send(world, upload, noise("whole"))
    ok(control.put("/snapshots/pending"))
    ok(world.http.post(f"/uploads/{upload}/cancel"))
    ok(control.put("/snapshots/cancelled"))
    ok(control.post("/snapshots/pending/restore"))
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(beside, world, complete, upload, part)
        assert begun.wait(60)
        changed = control.post("/snapshots/cancelled/restore")
        go_on.set()
        ok(changed)
        assert "cancelled" in error_message(completing.result(), 400, completing.result().json()["error"]["code"])


def test_of_two_long_requests_that_complete_an_upload_one_does(tmp_path: Path) -> None:
    """Their bodies are so large that both are worked on in threads."""

    async def check(mock: Mock) -> None:
        context = await mock.worlds.enter("w")
        new = CreateUpload(bytes=6, filename="a.bin", purpose="vision", mime_type="text/plain")
        for _ in range(20):
            upload = (await context.run(uploads.create_upload, new))["id"]
            part = NewFile(mock.uploads.put([b"a part"]), "data", {})
            body = CompleteUpload(part_ids=[(await context.run(uploads.add_upload_part, upload, part))["id"]])
            contexts = [Context(context.world, context.current, large=True) for _ in range(2)]
            both = await asyncio.gather(
                *(uploads.complete_upload(each, upload, body, mock.uploads) for each in contexts),
                return_exceptions=True,
            )
            refused = next(each for each in both if isinstance(each, APIError))
            (done,) = (each for each in both if not isinstance(each, BaseException))
            assert done["status"] == "completed"
            assert refused.status == 400
            assert "complete" in refused.message

    with closing(Mock(Settings(data=tmp_path))) as mock:
        asyncio.run(check(mock))


def test_bytes_that_were_lost_fail_the_request_and_nothing_else(world: World) -> None:
    upload = create(world, 30_000)
    part = send(world, upload, noise("lost"))
    known = world.server.mock.worlds.known(world.name)
    assert known
    (lost,) = (known.directory / "contents").glob("*/*")
    lost.unlink()
    error_message(complete(world, upload, part), 500, "storage_failed")
    again = send(world, upload, noise("lost"))
    assert ok(complete(world, upload, again))["file"]["bytes"] == 30_000


# The official client


def test_the_helper_for_large_files(world: World, tmp_path: Path) -> None:
    content = noise("chunked", 100_000)
    (tmp_path / "large.bin").write_bytes(content)
    helper = world.openai.uploads.upload_file_chunked
    large = helper(file=tmp_path / "large.bin", mime_type="text/plain", purpose="vision", part_size=30_000)
    assert (large.status, large.filename) == ("completed", "large.bin")
    assert large.file
    assert world.openai.files.content(large.file.id).read() == content
    empty = helper(file=b"", filename="empty", bytes=0, mime_type="text/plain", purpose="vision")
    assert empty.file
    assert empty.file.bytes == 0


# Copies, and the control plane


def test_a_pending_upload_is_a_part_of_its_world(world: World, control: httpx2.Client, tmp_path: Path) -> None:
    world.freeze()
    small, large = b"small", noise("large")
    upload = create(
        world, 30_005, filename="caf\u00e9 {n}.bin", expires_after={"anchor": "created_at", "seconds": HOUR}
    )
    parts = [send(world, upload, small), send(world, upload, large)]
    done = create(world, 0)
    ok(complete(world, done))
    gone = create(world, 0)
    ok(control.delete(f"/uploads/{gone}"))
    before = ok(control.get("/uploads"))
    ok(control.put("/snapshots/kept"))
    archive = control.get("/export").content
    finished = ok(complete(world, upload, *parts))
    assert kept(world) == {small + large, b""}
    ok(control.post("/snapshots/kept/restore"))
    assert kept(world) == {small, large, b""}
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
        address = f"{world.server.url}/_mock/worlds/{copy.name}"
        ok(httpx2.post(f"{address}/import?replace=false", content=archive))
        copy.freeze()
        assert ok(complete(copy, upload, *parts))["file"]["bytes"] == 30_005
        taken = httpx2.post(f"{address}/import?replace=false", content=archive)
        assert taken.status_code == 409


def test_a_seed_may_hold_an_upload(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\nclock: {at: 2026-06-24T18:04:00Z, rate: 0}\nuploads:\n"
        "  - {id: upload_1, filename: a.txt, created_at: -59m, parts: [{id: part_1, content: one}, {content: two}]}\n"
        "  - {id: upload_2, filename: b.txt, created_at: -60m, bytes: 7, purpose: batch}\n"
    )
    with MockServer(seed=(seed,)) as server, new_world(server) as world:
        assert complete(world, "upload_2").status_code == 410
        assert "have 3 bytes in all, but the upload was created with 6" in complete(world, "upload_1", "part_1").text
        send(world, "upload_1", b"")
    seed.write_text("version: 1\nuploads:\n  - {filename: a, status: completed, parts: [{content: one}]}\n")
    with pytest.raises(Exception, match=r"seed.yaml:3: uploads.0: only a pending upload has parts"):
        MockServer(seed=(seed,)).__enter__()


def test_the_control_plane_lists_and_deletes_uploads(world: World, control: httpx2.Client) -> None:
    world.freeze()
    old = create(world, 5, filename="old.txt")
    send(world, old, b"12345")
    world.advance(HOUR - 10)
    new, done = create(world, 30_000, filename="new.bin"), create(world, 0)
    part = send(world, new, noise("large"))
    file = ok(complete(world, done))["file"]
    found = ok(control.get("/uploads"))
    assert [each["id"] for each in found["data"]] == [done, new, old]
    assert (found["total"], found["has_more"]) == (3, False)
    assert found["data"][0]["file"] == file
    shown = ok(control.get(f"/uploads/{new}"))
    assert shown == found["data"][1]
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
    assert kept(world) == {b""}, "the File stays"


def test_nothing_of_an_upload_is_left(tmp_path: Path) -> None:
    with MockServer(data=tmp_path) as server, new_world(server) as world:
        world.freeze()
        contents = [noise(str(number)) for number in range(4)]
        for number, content in enumerate(contents):
            upload = create(world, len(content))
            part = send(world, upload, content)
            if number == 0:
                ok(world.http.post(f"/uploads/{upload}/cancel"))
            elif number == 1:
                ok(complete(world, upload, part))
    assert sorted(stored(tmp_path).values()) == sorted(contents[1:]), "pending ones survive a restart"
    with MockServer(data=tmp_path) as server, World(server, world.name) as world:
        world.advance(HOUR)
        create(world, 1)
    assert list(stored(tmp_path).values()) == [contents[1]]
