"""The control plane: worlds, snapshots, clocks, change events and access control over HTTP."""

import asyncio
import concurrent.futures
import errno
import io
import json
import os
import re
import shutil
import socket
import sqlite3
import threading
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import NOON, World, error_message, new_world, ok, stored

from mockserver import context, states, worlds
from mockserver.control.routes import containers
from mockserver.seeds import apply, loader
from mockserver.seeds.contents import Nowhere
from mockserver.seeds.document import Source
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.storage import contents, directory

HOUR = 3_600


@pytest.fixture(scope="session")
def control(server: MockServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.url}/_mock") as client:
        yield client


def container_names(world: World) -> list[str]:
    return [each["name"] for each in ok(world.http.get("/containers"))["data"]]


def create_container(world: World, name: str) -> dict[str, Any]:
    return ok(world.http.post("/containers", json={"name": name}))


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/worlds/none", ["DELETE", "GET", "POST"]),
        ("/worlds/none/clock/freeze", ["POST"]),
        ("/openapi.json", ["GET", "HEAD"]),
    ],
)
def test_a_405_response_lists_every_method_of_the_path(control: httpx2.Client, path: str, methods: list[str]) -> None:
    response = control.patch(path)
    assert (response.status_code, response.headers["allow"]) == (405, ", ".join(methods))
    assert f"Only {' and '.join(methods)} requests" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, b'{"by": "20m"}', "'Content-Type: application/json'"),
        ({"Content-Type": "application/json"}, b'"20m"', "send a JSON object"),
        ({}, b"", "send a JSON object"),
        ({"Content-Type": "application/json"}, b"{by: 20}", "not JSON: "),
    ],
    ids=["form content type", "JSON string", "empty body", "invalid JSON"],
)
def test_a_body_that_is_not_a_json_object_gets_an_error_that_says_what_to_send(
    world: World, control: httpx2.Client, headers: dict[str, str], body: bytes, message: str
) -> None:
    response = control.post(f"/worlds/{world.name}/clock/advance", content=body, headers=headers)
    assert message in error_message(response, 400, "invalid_parameter")
    assert response.json()["error"]["param"] == "body"


# Worlds


def test_a_world_can_be_created_retrieved_and_deleted(world: World, control: httpx2.Client) -> None:
    path = f"/worlds/{world.name}"
    error_message(control.get(path), 404, "world_not_found")
    ok(control.post(path))
    error_message(control.post(path), 409, "world_exists")
    error_message(control.post(path, json={"fork_of": "no-such-world"}), 409, "world_exists")
    box = create_container(world, "box")
    ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    state = ok(control.get(path))
    assert {kind: count for kind, count in state["counts"].items() if count} == {
        "containers": 1,
        "container_files": 1,
    }
    assert state["used_at"] is not None
    assert world.name in [each["name"] for each in ok(control.get("/worlds"))["data"]]
    ok(control.delete(path))
    error_message(control.get(path), 404, "world_not_found")
    assert container_names(world) == [], "the next request creates the world again"


def test_reading_a_world_does_not_count_as_use(world: World, control: httpx2.Client) -> None:
    ok(control.post(f"/worlds/{world.name}"))
    assert ok(control.get(f"/worlds/{world.name}"))["used_at"] is None


@pytest.mark.parametrize(
    ("body", "message"), [({"snapshot": "s"}, "fork_of"), ({"fork_of": "default", "empty": True}, "not empty")]
)
def test_contradictory_arguments_create_no_world(
    world: World, control: httpx2.Client, body: dict[str, Any], message: str
) -> None:
    assert message in error_message(control.post(f"/worlds/{world.name}", json=body), 400, "invalid_parameter")
    error_message(control.get(f"/worlds/{world.name}"), 404, "world_not_found")


def test_a_body_over_the_limit_is_rejected() -> None:
    """With a Content-Length and without one. Imports have a limit of their own."""
    document = b'{"version": 1, "containers": [], "files": []}' + b" " * 2_000
    with MockServer(max_body=1_000, max_import=10_000) as server, httpx2.Client(base_url=server.url) as client:
        paths = ("/_mock/worlds/new", "/_mock/worlds/w/faults", "/_mock/worlds/w/answers", "/_mock/worlds/w/place")
        for path in paths:
            for content in (document, iter([document[:50], document[50:]])):
                response = client.post(path, content=content, headers={"Content-Type": "application/json"})
                assert "1000 bytes" in error_message(response, 413, "request_too_large")
        for content in (document, iter([document])):
            ok(client.post("/_mock/worlds/w/import", content=content))
        assert "10000 bytes" in error_message(
            client.post("/_mock/worlds/w/import", content=document * 5), 413, "request_too_large"
        )


def test_a_fork_and_its_original_change_independently(world: World, server: MockServer, control: httpx2.Client) -> None:
    world.freeze()
    box = create_container(world, "shared")
    file = ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    with new_world(server) as other:
        ok(control.post(f"/worlds/{other.name}", json={"fork_of": world.name}))
        assert container_names(other) == ["shared"]
        content = f"/containers/{box['id']}/files/{file['id']}/content"
        assert other.http.get(content).content == b"bytes"
        created = create_container(other, "theirs")
        assert (container_names(world), container_names(other)) == (["shared"], ["theirs", "shared"])
        assert created["created_at"] == NOON
        assert create_container(world, "ours")["id"] != created["id"]
        ok(world.http.delete(f"/containers/{box['id']}"))
        assert other.http.get(content).content == b"bytes"


def test_reset_restores_the_template_or_empties_the_world(tmp_path: Any) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\ncontainers: [{name: seeded}]\nfiles: [{filename: a, purpose: vision, generate: {size: 1MB}}]\n"
    )
    data = tmp_path / "data"
    with MockServer(seed=(seed,), data=data) as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds/w"
        create_container(world, "mine")
        ok(httpx2.post(f"{control}/reset"))
        assert container_names(world) == ["seeded"]
        assert len(stored(data)) == 1
        ok(httpx2.post(f"{control}/reset?empty=true"))
        assert (container_names(world), stored(data)) == ([], {})
        ok(httpx2.delete(control))
        ok(httpx2.post(control, json={"empty": True}))
        assert (container_names(world), stored(data)) == ([], {})


@pytest.mark.parametrize("path", ["/worlds/{}", "/worlds/{}/reset", "/worlds/{}/clock/freeze"])
def test_invalid_world_names_are_rejected(control: httpx2.Client, path: str) -> None:
    for name in ("a" * 65, ".x", "a b"):
        error_message(control.post(path.format(name)), 400, "invalid_world_name")


def test_idle_worlds_are_retired_except_the_default_world(tmp_path: Any) -> None:
    with MockServer() as server, World(server, "busy") as busy, World(server, "idle") as idle:
        control = f"{server.url}/_mock"
        with World(server, "default") as default:
            create_container(default, "box")
        create_container(idle, "box")
        server.mock.worlds._used["idle"] -= HOUR  # instead of waiting
        server.mock.worlds._used["default"] -= HOUR
        create_container(busy, "box")
        assert ok(httpx2.post(f"{control}/all-worlds/retire", json={"idle": "59m"})) == {"worlds": ["idle"]}
        assert server.mock.worlds.names() == ["busy", "default"]


def test_a_world_that_was_just_created_is_not_idle() -> None:
    with MockServer() as server, httpx2.Client(base_url=f"{server.url}/_mock") as control:
        server.mock.worlds._started -= 2 * HOUR  # instead of waiting
        ok(control.post("/worlds/w", json={}))
        assert ok(control.post("/all-worlds/retire", json={"idle": "1h"})) == {"worlds": []}
        assert ok(control.get("/worlds/w"))["used_at"] is None
        server.mock.worlds._created["w"] -= HOUR
        assert ok(control.post("/all-worlds/retire", json={"idle": "1h"})) == {"worlds": ["w"]}
        ok(control.post("/worlds/w", json={}))
        assert ok(control.post("/all-worlds/retire", json={"idle": "1h"})) == {"worlds": []}


def test_only_worlds_that_are_still_idle_are_checked_before_they_are_retired() -> None:
    checked = []
    with MockServer() as server:
        worlds = server.mock.worlds

        async def use_the_other(name: str) -> None:
            checked.append(name)
            await worlds.enter("b")

        for name in "ab":
            ok(httpx2.post(f"{server.url}/_mock/worlds/{name}"))
        worlds.leaving = use_the_other
        assert server.run(worlds.retire(0.0)) == ["a"]
        assert checked == ["a"]


def test_at_max_worlds_an_idle_world_is_retired_for_a_new_one() -> None:
    with MockServer(max_worlds=2, world_ttl=600.0) as server:
        for name in ("a", "b"):
            with World(server, name) as world:
                create_container(world, "box")
        last = World(server, "c")
        error_message(httpx2.post(f"{server.url}/_mock/worlds/c/reset"), 429, "too_many_worlds")
        error_message(last.http.get("/containers"), 429, "too_many_worlds")
        server.mock.worlds._used["a"] -= 601  # instead of waiting
        create_container(last, "box")
        last.close()
        assert server.mock.worlds.names() == ["b", "c"]


def test_worlds_in_a_data_directory_never_go_idle_by_default(tmp_path: Any) -> None:
    assert Settings(data=tmp_path).idle_seconds == float("inf")
    assert Settings(data=tmp_path, world_ttl=5.0).idle_seconds == 5.0
    assert Settings().idle_seconds == HOUR


# Snapshots


def test_restoring_a_snapshot_restores_objects_contents_clock_and_future_ids(
    world: World, control: httpx2.Client
) -> None:
    snapshots = f"/worlds/{world.name}/snapshots"
    world.freeze()
    box = create_container(world, "before")
    file = ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    assert ok(control.put(f"{snapshots}/s"))["instant"] == NOON
    first = create_container(world, "after")
    ok(world.http.delete(f"/containers/{box['id']}"))
    world.advance(HOUR)
    for _ in range(2):
        assert ok(control.post(f"{snapshots}/s/restore"))["clock"]["now"] == NOON
        assert container_names(world) == ["before"]
        assert world.http.get(f"/containers/{box['id']}/files/{file['id']}/content").content == b"bytes"
        assert create_container(world, "after") == first, (
            "the clock and the ordinal are restored, so the id is the same"
        )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("import", "application/zip"),
        ("place", "application/json"),
        ("containers", "application/json"),
        ("files", "multipart/form-data; boundary=x"),
    ],
)
def test_a_client_that_disconnects_during_its_request_logs_nothing(
    caplog: pytest.LogCaptureFixture, path: str, kind: str
) -> None:
    head = f"POST /_mock/worlds/w/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nbytes'
    with MockServer() as server:
        ok(httpx2.get(f"{server.url}/_mock/state"))
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(f"{head}Content-Length: 100000\r\n\r\n{part}".encode())
        for _ in range(10):
            ok(httpx2.get(f"{server.url}/_mock/state"))
        assert not list(server.mock.directory.glob("uploads/*"))
    assert not caplog.records


def test_the_state_can_be_read_while_worlds_are_deleted(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory may be removed between listing and scanning it."""
    scandir = os.scandir

    def scan_removed(path: Any) -> Any:
        if "worlds" in str(path) and not str(path).endswith("worlds"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return scandir(path)

    create_container(world, "box")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scan_removed)
        assert ok(control.get("/state"))["database_bytes"] == 0
    assert ok(control.get("/state"))["database_bytes"] > 0


@pytest.mark.parametrize("after_copy", [False, True])
def test_forking_a_snapshot_that_is_deleted_meanwhile_returns_404(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch, after_copy: bool
) -> None:
    copy = directory.copy_closed

    def copy_and_delete(source: Path, target: Path) -> None:
        if after_copy:
            copy(source, target)
        ok(control.delete(f"/worlds/{world.name}/snapshots/s"))
        if not after_copy:
            copy(source, target)

    create_container(world, "box")
    ok(control.put(f"/worlds/{world.name}/snapshots/s"))
    fork = {"fork_of": world.name, "snapshot": "s"}
    with monkeypatch.context() as patch:
        patch.setattr(directory, "copy_closed", copy_and_delete)
        error_message(control.post(f"/worlds/{world.name}-fork", json=fork), 404, "snapshot_not_found")
    error_message(control.get(f"/worlds/{world.name}-fork"), 404, "world_not_found")


def test_restoring_a_snapshot_of_a_real_clock_gives_an_offset_clock(world: World, control: httpx2.Client) -> None:
    create_container(world, "box")
    ok(control.put(f"/worlds/{world.name}/snapshots/s"))
    clock = ok(control.post(f"/worlds/{world.name}/snapshots/s/restore"))["clock"]
    assert clock["mode"] == "offset"
    assert clock["now"] < world.server.mock.wall.now()


def test_snapshots_are_listed_replaced_forked_and_deleted(world: World, control: httpx2.Client) -> None:
    snapshots = f"/worlds/{world.name}/snapshots"
    ok(control.put(f"{snapshots}/one"))
    create_container(world, "box")
    ok(control.put(f"{snapshots}/two"))
    create_container(world, "another")
    ok(control.put(f"{snapshots}/one"))
    assert [each["name"] for each in ok(control.get(snapshots))["data"]] == ["two", "one"]
    with new_world(world.server) as fork:
        ok(control.post(f"/worlds/{fork.name}", json={"fork_of": world.name, "snapshot": "two"}))
        assert container_names(fork) == ["box"]
    ok(control.delete(f"{snapshots}/two"))
    error_message(control.delete(f"{snapshots}/two"), 404, "snapshot_not_found")
    error_message(control.post(f"{snapshots}/two/restore"), 404, "snapshot_not_found")
    error_message(control.put(f"{snapshots}/a b"), 400, "invalid_snapshot_name")
    ok(control.delete(f"/worlds/{world.name}"))
    create_container(world, "box")
    assert ok(control.get(snapshots))["data"] == [], "deleting the world deleted its snapshots"


def test_a_snapshot_survives_a_restart(tmp_path: Any) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        create_container(world, "before")
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/s"))
        create_container(world, "after")
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        ok(httpx2.post(f"{server.url}/_mock/worlds/w/snapshots/s/restore"))
        assert container_names(world) == ["before"]


@pytest.mark.parametrize("content", [b"small", b"large" * 10_000], ids=["row", "file"])
def test_deleting_a_world_deletes_its_contents(tmp_path: Any, content: bytes) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        box = create_container(world, "box")
        ok(world.http.post(f"/containers/{box['id']}/files", files={"file": content}))
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/s"))
        ok(httpx2.post(f"{server.url}/_mock/worlds/w/reset"))
        assert list(stored(tmp_path / "data").values()) == [content], "the snapshot still names it"
        ok(httpx2.delete(f"{server.url}/_mock/worlds/w"))
        assert not stored(tmp_path / "data")


MANY_CONTAINERS = (
    "version: 1\ncontainers: [{name: 'c-{n}', repeat: 2500, files: [{path: out.txt, content: 'of {n}'}]}]\n"
)


@pytest.mark.slow
def test_a_list_during_a_restore_shows_one_state_only(tmp_path: Any) -> None:
    """The world is large enough to be copied in batches."""
    (tmp_path / "seed.yaml").write_text(MANY_CONTAINERS)
    with MockServer(seed=(tmp_path / "seed.yaml",)) as server, World(server, "w") as world:
        control = httpx2.Client(base_url=f"{server.url}/_mock/worlds/w", timeout=60)
        ok(world.http.get("/containers"))
        ok(control.put("/snapshots/old"))
        ok(control.post("/reset?empty=true"))
        for _ in range(50):
            create_container(world, "new")
        ok(control.put("/snapshots/new"))
        done = threading.Event()

        def list_repeatedly() -> set[tuple[str, int]]:
            seen = set()
            with World(server, "w") as reader:
                while not done.is_set():
                    page = ok(reader.http.get("/containers?limit=100&order=asc"))
                    kinds = {each["name"].partition("-")[0] for each in page["data"]}
                    assert len(kinds) == 1
                    seen.add((kinds.pop(), len(page["data"])))
            return seen

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(list_repeatedly) for _ in range(4)]
            for _ in range(3):
                for name in ("old", "new"):
                    ok(control.post(f"/snapshots/{name}/restore"))
            done.set()
            for reader in readers:
                assert reader.result() <= {("c", 100), ("new", 50)}
        control.close()


CONTENT = "some words " * 2_000
"""Too large for a database row: it is stored as a file."""
LARGE_SEED = f"version: 1\ncontainers: [{{name: c, repeat: 3, files: [{{path: out.txt, content: {CONTENT}}}, {{path: b.txt, content: b}}]}}]\n"
OTHER_SEED = LARGE_SEED.replace("some words", "other words").encode()
PLACED = {"version": 1, "files": [{"filename": "a.txt", "content": CONTENT + "placed"}]}
UPLOADED = {"files": {"file": ("a.txt", CONTENT.encode() + b"uploaded")}}


@contextmanager
def disk_full_after(changes: int) -> Iterator[list[str]]:
    """Fail every change of files and databases after the first `changes` with ENOSPC; yield the names of all attempts."""
    attempts: list[str] = []

    def is_full(name: str) -> bool:
        attempts.append(name)
        return len(attempts) > changes

    class FullDatabase(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and self.total_changes and is_full(sql):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, *values)

    def limited(change: Callable[..., Any]) -> Callable[..., Any]:
        def change_or_fail(*args: Any, **options: Any) -> Any:
            if is_full(change.__name__):
                raise OSError(errno.ENOSPC, "No space left on device")
            return change(*args, **options)

        return change_or_fail

    with pytest.MonkeyPatch.context() as patch:
        connect = sqlite3.connect
        patch.setattr(
            sqlite3, "connect", lambda *args, **options: connect(*args, **{"factory": FullDatabase, **options})
        )
        for owner, name in ((Path, "mkdir"), (shutil, "copyfile"), (os, "link")):
            patch.setattr(owner, name, limited(getattr(owner, name)))
        yield attempts


def stored_state(data: Path) -> list[Any]:
    """Return the rows and content files of all worlds and snapshots, and the paths in `uploads` and `trash`."""
    found = []
    for state in sorted(
        [*data.glob("worlds/*"), *data.glob("snapshots/*")], key=lambda path: path.name.split("-", 1)[1]
    ):
        with closing(sqlite3.connect(f"file:{state / 'world.db'}?mode=ro", uri=True)) as database:
            tables = ("containers", "container_files", "files", "contents", "faults")
            rows = [database.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]
        files = sorted(path.name for path in state.glob("contents/*/*"))
        found.append((state.name.split("-", 1)[1], rows, files))
    return [*found, *data.glob("uploads/*"), *data.glob("trash/*")]


@pytest.mark.parametrize(
    ("method", "path", "request_body"),
    [
        ("POST", "/w/place", {"json": PLACED}),
        ("POST", "/w/files", UPLOADED),
        ("POST", "/w/import?replace=false", {"content": OTHER_SEED}),
        ("POST", "/w/import", {"content": OTHER_SEED}),
        ("POST", "/new/import", {"content": OTHER_SEED}),
        ("POST", "/new", {}),
        ("POST", "/new", {"json": {"fork_of": "w"}}),
        ("POST", "/new", {"json": {"fork_of": "w", "snapshot": "old"}}),
        ("PUT", "/w/snapshots/s", {}),
        ("POST", "/w/snapshots/old/restore", {}),
        ("POST", "/w/reset", {}),
    ],
)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.slow
def test_a_change_that_fails_on_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, request_body: dict[str, Any], large: bool
) -> None:
    """The disk is full at each of its changes in turn; the world is unchanged and no data of the request remains."""
    if large:
        monkeypatch.setattr(apply, "LARGE", 0)
        monkeypatch.setattr(states, "SMALL_DATABASE", 0)
    (tmp_path / "seed.yaml").write_text(LARGE_SEED)
    data = tmp_path / "data"
    with MockServer(seed=(tmp_path / "seed.yaml",), data=data) as server, World(server, "w") as world:
        box = ok(world.http.get("/containers"))["data"][0]["id"]
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/old"))
        ok(world.http.delete(f"/containers/{box}"))
        server.run(server.mock.worlds.finish(trash=True))
        before = stored_state(data)
        for completed in range(100):
            with disk_full_after(completed) as attempts:
                response = httpx2.request(method, f"{server.url}/_mock/worlds{path}", timeout=60, **request_body)
                server.run(server.mock.worlds.finish(trash=True))
            if response.status_code == 200:
                break
            error_message(response, 500, "storage_failed")
            assert stored_state(data) == before, attempts
            assert len(ok(world.http.get("/containers"))["data"]) == 2
        assert completed > 0
        assert stored_state(data) != before


def test_an_upload_that_fails_on_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with MockServer(data=data) as server, World(server, "w") as world:
        create_container(world, "box")
        before = stored_state(data)
        for completed in range(100):
            with disk_full_after(completed):
                response = world.http.post("/files", **UPLOADED, data={"purpose": "user_data"})
            if response.status_code == 200:
                break
            error_message(response, 500, "storage_failed")
            assert stored_state(data) == before
        assert completed > 0


@pytest.mark.parametrize(
    "operation", ["create", "fork", "fork of a snapshot", "snapshot", "restore", "reset", "import", "place"]
)
@pytest.mark.slow
def test_a_cancelled_operation_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """A shutdown that can't wait cancels it. It is cancelled in each of its thread calls in turn."""
    monkeypatch.setattr(apply, "LARGE", 0)
    monkeypatch.setattr(states, "SMALL_DATABASE", 0)
    (tmp_path / "seed.yaml").write_text(LARGE_SEED)
    started, proceed, in_thread = threading.Semaphore(0), threading.Semaphore(0), worlds.in_thread

    async def in_paused_thread(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        def wait_and_work() -> Any:
            started.release()
            assert proceed.acquire(timeout=60)
            return work(*args, **options)

        return await in_thread(wait_and_work)

    with MockServer(seed=(tmp_path / "seed.yaml",), data=tmp_path / "data") as server, World(server, "w") as world:
        mock = server.mock
        box = ok(world.http.get("/containers"))["data"][0]["id"]
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/old"))
        ok(world.http.delete(f"/containers/{box}"))
        scope = loader.read_document(Source(tmp_path / "seed.yaml", OTHER_SEED), Nowhere(), 1 << 20, 1 << 20)
        operations: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "create": lambda: mock.worlds.resolve("other"),
            "fork": lambda: mock.worlds.create("other", fork_of="w"),
            "fork of a snapshot": lambda: mock.worlds.create("other", fork_of="w", snapshot="old"),
            "snapshot": lambda: mock.worlds.take_snapshot("w", "s"),
            "restore": lambda: mock.worlds.restore("w", "old"),
            "reset": lambda: mock.worlds.reset("w"),
            "import": lambda: apply.become(scope, mock.worlds, mock.uploads, mock.wall, "w"),
            "place": lambda: apply.place(scope, mock.worlds, mock.uploads, mock.wall, "w"),
        }

        async def cancel_in(call: int) -> bool:
            """Cancel the operation in its thread call number `call`; return whether it got there."""
            with pytest.MonkeyPatch.context() as patch:
                for module in (worlds, states, context):
                    patch.setattr(module, "in_thread", in_paused_thread)
                task = asyncio.ensure_future(operations[operation]())
                waits = [asyncio.ensure_future(asyncio.to_thread(started.acquire)) for _ in range(call + 1)]
                for number, wait in enumerate(waits):
                    await asyncio.wait([task, wait], return_when=asyncio.FIRST_COMPLETED)
                    if task.done():
                        break
                    if number == call:
                        for _ in range(2):
                            task.cancel()
                            await asyncio.sleep(0)
                    proceed.release()
                reached = not task.done()
                for _ in waits:
                    started.release()
                for _ in range(10):
                    proceed.release()  # for all later calls
                await asyncio.wait([task])
                await asyncio.gather(*waits)
                await mock.worlds.finish(trash=True)
            while started.acquire(blocking=False) or proceed.acquire(blocking=False):
                pass
            return reached

        for call in range(10):
            before = stored_state(tmp_path / "data")
            reached = server.run(cancel_in(call))
            after = stored_state(tmp_path / "data")
            if not reached:
                break
            if after != before:  # the operation was completed
                if "other" in mock.worlds.names():
                    server.run(mock.worlds.delete("other"))
                elif operation == "snapshot":
                    server.run(mock.worlds.delete_snapshot("w", "s"))
                server.run(mock.worlds.finish(trash=True))
            assert not list((tmp_path / "data" / "uploads").iterdir())
            assert ok(world.http.get("/containers"))["data"]
        assert call > 0
        server.run(mock.worlds.restore("w", "old"))
        assert len(ok(world.http.get("/containers"))["data"]) == 3


def test_an_export_that_begins_during_a_restore_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restore moves the directory only after the export has copied all contents."""
    loading, continue_loading, linking, continue_linking = (threading.Event() for _ in range(4))

    def load(self: Any, *args: Any, load: Any = worlds.Worlds._load, **options: Any) -> Any:
        loading.set()
        assert continue_loading.wait(60)
        return load(self, *args, **options)

    def link(*args: Any, link: Any = contents.link) -> None:
        linking.set()
        assert continue_linking.wait(60)
        link(*args)

    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        ok(world.http.post("/files", **UPLOADED, data={"purpose": "user_data"}))
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/s"))

        async def export() -> list[str]:
            async with server.mock.worlds.copied("w") as directory:
                return [path.name for path in directory.glob("contents/*/*")]

        async def restore_and_export() -> list[str]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(worlds.Worlds, "_load", load)
                restoring = asyncio.ensure_future(server.mock.worlds.restore("w", "s"))
                await asyncio.to_thread(loading.wait)
                patch.setattr(contents, "link", link)
                exporting = asyncio.ensure_future(export())
                await asyncio.to_thread(linking.wait)
                continue_loading.set()
                for _ in range(100):
                    await asyncio.to_thread(int)  # enough time for the restore, if it did not wait
                waited = not restoring.done()
                continue_linking.set()
                await restoring
                assert waited
                return await exporting

        assert server.run(restore_and_export()) == list(stored(tmp_path / "data"))


@pytest.mark.slow
def test_a_world_can_be_replaced_during_uploads_downloads_and_exports(tmp_path: Path) -> None:
    """No concurrent upload, download or export fails, and all bytes arrive."""
    (tmp_path / "seed.yaml").write_text(LARGE_SEED)
    data = tmp_path / "data"
    with MockServer(seed=(tmp_path / "seed.yaml",), data=data) as server:
        control = f"{server.url}/_mock/worlds/w"
        done = threading.Event()
        counts = dict.fromkeys(("uploads", "downloads", "exports"), 0)

        def upload() -> None:
            with World(server, "w") as world:
                while not done.is_set():
                    content = f"{counts['uploads']} {CONTENT}".encode()
                    form = {"files": {"file": ("a.txt", content)}, "data": {"purpose": "vision"}}
                    response = world.http.post("/files", **form)
                    assert response.status_code == 200 or response.json()["error"]["code"] == "world_gone"
                    counts["uploads"] += 1

        def download() -> None:
            with World(server, "w") as world:
                while not done.is_set():
                    for file in ok(world.http.get("/files?limit=5"))["data"]:
                        response = world.http.get(f"/files/{file['id']}/content")
                        assert response.status_code == 404 or response.content.endswith(CONTENT.encode())
                        counts["downloads"] += response.status_code == 200

        def export() -> None:
            while not done.is_set():
                response = httpx2.get(f"{control}/export", timeout=60)
                if response.status_code == 404:
                    continue
                assert response.status_code == 200, response.text
                with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
                    assert archive.testzip() is None
                counts["exports"] += 1

        with World(server, "w") as world, concurrent.futures.ThreadPoolExecutor(4) as pool:
            ok(world.http.get("/containers"))
            ok(httpx2.put(f"{control}/snapshots/s"))
            clients = [pool.submit(client) for client in (upload, upload, download, export)]
            number = 0
            while number < 6 or (min(counts.values()) < 3 and not any(client.done() for client in clients)):
                ok(httpx2.post(f"{control}/snapshots/s/restore"))
                ok(world.http.get("/containers"))
                ok(httpx2.post(f"{control}/reset"))
                ok(httpx2.post(f"{control}/import", content=OTHER_SEED))
                if number % 3 == 0:
                    ok(httpx2.delete(control))
                    ok(world.http.get("/containers"))
                    ok(httpx2.put(f"{control}/snapshots/s"))
                number += 1
            done.set()
            for client in clients:
                client.result()
        server.run(server.mock.worlds.finish(trash=True))
        (state,) = data.glob("worlds/*-w")
        with closing(sqlite3.connect(f"file:{state / 'world.db'}?mode=ro", uri=True)) as database:
            named = {digest for (digest,) in database.execute("SELECT digest FROM named_contents")}
            small = {digest for (digest,) in database.execute("SELECT digest FROM contents")}
        assert {path.name for path in state.glob("contents/*/*")} == named - small
        assert not [*data.glob("uploads/*"), *data.glob("trash/*")]


@pytest.mark.slow
def test_a_fork_of_a_world_in_use_is_consistent(tmp_path: Any) -> None:
    """Writers create containers in pairs, so a copy that holds a second without its first is inconsistent."""
    (tmp_path / "seed.yaml").write_text(MANY_CONTAINERS)
    with MockServer(seed=(tmp_path / "seed.yaml",)) as server, World(server, "w") as world:
        ok(world.http.get("/containers"))
        done = threading.Event()

        def write(number: int) -> None:
            with World(server, "w") as writer:
                count = 0
                while not done.is_set():
                    for part in ("first", "second"):
                        create_container(writer, f"{number}.{count}.{part}")
                    count += 1

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write, number) for number in range(2)]
            for number in range(3):
                fork = httpx2.post(f"{server.url}/_mock/worlds/f{number}", json={"fork_of": "w"}, timeout=60)
                assert ok(fork)["counts"]["container_files"] == 2_500
            done.set()
            for writer in writers:
                writer.result()
        for number in range(3):
            with World(server, f"f{number}") as forked:
                found = {each.name for each in forked.openai.containers.list(limit=100)}
                seconds = {name.removesuffix("second") for name in found if name.endswith("second")}
                assert seconds <= {name.removesuffix("first") for name in found if name.endswith("first")}


def test_an_upload_into_a_world_that_is_deleted_meanwhile_returns_409(
    server: MockServer, control: httpx2.Client
) -> None:
    with new_world(server) as world, socket.create_connection(("127.0.0.1", server.port)) as client:
        create_container(world, "box")
        form = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n--b--\r\n'
        )
        head = (
            f"POST /w/{world.name}/v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(form)}\r\n\r\n"
        )
        client.sendall(head.encode() + form[:80])
        ok(world.http.get("/containers"))  # by then the server has resolved the world of the upload
        ok(control.delete(f"/worlds/{world.name}"))
        client.sendall(form[80:])
        response = b"".join(iter(lambda: client.recv(65_536), b""))
        assert response.startswith(b"HTTP/1.1 409"), response
        assert b'"code": "world_gone"' in response


# Clock


def test_a_clock_can_be_frozen_advanced_scaled_resumed_and_reset(world: World, control: httpx2.Client) -> None:
    clock = f"/worlds/{world.name}/clock"
    frozen = ok(control.post(f"{clock}/freeze", json={"at": "2026-06-24T18:04:00Z"}))
    assert (frozen["mode"], frozen["now"], frozen["iso"]) == ("frozen", NOON, "2026-06-24T18:04:00.000Z")
    box, file = create_container(world, "box"), world.openai.files.create(file=("a.jsonl", b"x"), purpose="batch")
    upload = world.openai.uploads.create(bytes=1, filename="a", mime_type="text/plain", purpose="vision")
    for by in ("19m", "PT59S", 0.5):
        assert ok(control.post(f"{clock}/advance", json={"by": by}))["expired_containers"] == []
    moved = ok(control.post(f"{clock}/advance", json={"by": 0.5}))
    assert moved["expired_containers"] == [box["id"]]
    assert ok(control.post(f"{clock}/advance", json={"by": "30d"}))["expired_files"] == [file.id]
    back = ok(control.post(f"{clock}/freeze", json={"at": NOON}))
    assert (back["revived_containers"], back["revived_files"]) == ([box["id"]], [file.id])
    assert back["revived_uploads"] == [upload.id]
    assert ok(control.post(f"{clock}/advance", json={"by": 3_599}))["expired_uploads"] == []
    assert ok(control.post(f"{clock}/advance", json={"by": 1}))["expired_uploads"] == [upload.id]
    assert ok(control.post(f"{clock}/scale", json={"rate": 60}))["mode"] == "scaled"
    assert ok(control.post(f"{clock}/resume"))["mode"] == "offset"
    assert ok(control.post(f"{clock}/offset", json={"by": "-1h"}))["mode"] == "offset"
    assert ok(control.post(f"{clock}/reset"))["mode"] == "real"
    assert ok(control.get(clock))["mode"] == "real"


@pytest.mark.parametrize("by", ["soon", "", True, None, [], "9" * 60])
def test_advancing_by_an_invalid_duration_is_rejected(world: World, control: httpx2.Client, by: Any) -> None:
    error_message(control.post(f"/worlds/{world.name}/clock/advance", json={"by": by}), 400, "invalid_parameter")


@pytest.mark.parametrize("by", ["-10m", -300, "-PT1S"])
def test_advancing_by_a_negative_duration_is_rejected(world: World, control: httpx2.Client, by: str | float) -> None:
    response = control.post(f"/worlds/{world.name}/clock/advance", json={"by": by})
    assert "by: a clock advances forward only; to move it back, use offset" in error_message(
        response, 400, "invalid_parameter"
    )


def test_retiring_worlds_by_a_negative_idle_time_is_rejected(control: httpx2.Client) -> None:
    response = control.post("/all-worlds/retire", json={"idle": "-1m"})
    assert "idle: a duration can't be negative" in error_message(response, 400, "invalid_parameter")


# Change events


class Changes:
    """A subscription to the events of `/_mock/changes`."""

    def __init__(self, server: MockServer) -> None:
        self._response = httpx2.stream("GET", f"{server.url}/_mock/changes", timeout=120)

    def __enter__(self) -> "Changes":
        self._lines = self._response.__enter__().iter_lines()
        assert next(self._lines) == ": what changes"
        return self

    def __exit__(self, *error: Any) -> None:
        self._response.__exit__(*error)

    def wait_for(self, world: str, *kinds: str) -> None:
        """Read events until all of these kinds have been published for a world."""
        missing = set(kinds)
        while missing:
            if (line := next(self._lines)).startswith("data: "):
                changed = json.loads(line.removeprefix("data: "))
                missing -= {*changed.get(world, []), *changed.get("*", [])}


ALL_KINDS = ("worlds", "clock", "containers", "files", "faults", "snapshots", "journal")


def test_every_change_is_published(world: World, server: MockServer, control: httpx2.Client) -> None:
    path = f"/worlds/{world.name}"
    with Changes(server) as changes:
        box = create_container(world, "box")
        changes.wait_for(world.name, *ALL_KINDS)  # the request created the world
        ok(world.http.get(f"/containers/{box['id']}"))
        changes.wait_for(world.name, "journal", "containers")
        ok(world.http.post("/files", files={"file": b"x"}, data={"purpose": "vision"}))
        changes.wait_for(world.name, "journal", "files", "worlds")
        ok(control.post(f"{path}/clock/advance", json={"by": "1m"}))
        changes.wait_for(world.name, "clock", "containers", "files")
        ok(control.post(f"{path}/faults", json={"effect": {"error": "server_error"}}))
        changes.wait_for(world.name, "faults")
        world.http.get("/containers")
        changes.wait_for(world.name, "faults", "journal")
        ok(control.post(f"{path}/containers/{box['id']}/touch"))
        changes.wait_for(world.name, "containers")
        ok(control.put(f"{path}/snapshots/s"))
        changes.wait_for(world.name, "snapshots")
        ok(control.delete(f"{path}/journal"))
        changes.wait_for(world.name, "journal")
        for change in ("snapshots/s/restore", "reset"):
            ok(control.post(f"{path}/{change}"))
            changes.wait_for(world.name, *ALL_KINDS)
        ok(control.delete(path))
        changes.wait_for(world.name, *ALL_KINDS)


def test_reading_containers_during_a_restore_shows_one_state_only(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.url}/_mock/worlds/{world.name}"
    box = ok(world.http.post("/containers", json={"name": "box"}))["id"]
    ok(httpx2.put(f"{url}/snapshots/s"))
    for path in ("/containers", f"/containers/{box}"):
        name = "_container" if path.endswith(box) else "_found"
        find, restores = getattr(containers, name), iter([True])

        def restore_and_find(*args: Any, find: Any = find, restores: Iterator[bool] = restores) -> Any:
            if next(restores, False):  # only at the first call
                server.run(server.mock.worlds.restore(world.name, "s"))
            return find(*args)

        monkeypatch.setattr(containers, name, restore_and_find)
        found = ok(httpx2.get(url + path))
        assert [each["id"] for each in found.get("data", [found])] == [box]


async def publish_many(server: MockServer, world: str) -> None:
    for _ in range(1_000):
        server.mock.events.publish(world, "journal")
        await asyncio.sleep(0)


def test_many_changes_are_published_in_few_events(world: World, server: MockServer) -> None:
    with Changes(server) as changes:
        server.run(publish_many(server, world.name))
        server.run(publish_snapshots_event(server, world.name))
        lines = 0
        for line in changes._lines:
            lines += line.startswith("data: ")
            if "snapshots" in line and "clock" not in line:
                break
        assert lines < 40


def test_requests_that_name_no_world_publish_no_events(
    world: World, server: MockServer, control: httpx2.Client
) -> None:
    with Changes(server) as changes:
        ok(control.post("/all-worlds/retire", json={"idle": "1h"}))
        ok(control.post("/session", json={"token": "any"}))
        server.run(publish_snapshots_event(server, world.name))
        changed: dict[str, Any] = {}
        while world.name not in changed:
            if (line := next(changes._lines)).startswith("data: "):
                changed |= json.loads(line.removeprefix("data: "))
        assert "retire" not in changed
        assert "" not in changed


async def publish_snapshots_event(server: MockServer, world: str) -> None:
    server.mock.events.publish(world, "snapshots")


def test_a_subscriber_that_disconnects_is_unsubscribed(server: MockServer, world: World) -> None:
    before = len(server.mock.events.subscribers)
    with Changes(server):
        create_container(world, "box")
    for _ in range(1_000):
        create_container(world, "box")  # the server notices it when it sends the next event
        if len(server.mock.events.subscribers) <= before:
            break
    assert len(server.mock.events.subscribers) <= before


def test_worlds_can_be_searched_and_are_sorted_by_last_use(server: MockServer, control: httpx2.Client) -> None:
    with new_world(server) as one, new_world(server) as other, new_world(server) as third:
        for world in (third, one, other):
            create_container(world, "box")

        def found(**query: Any) -> list[str]:
            return [each["name"] for each in ok(control.get("/worlds", params=query))["data"]]

        assert found(name=one.name) == found(search=one.name.upper()) == [one.name]
        assert found(name="no-such-world") == []
        page = ok(control.get("/worlds", params={"search": "test-", "limit": 2}))
        assert [each["name"] for each in page["data"]] == [other.name, one.name]
        assert page["total"] >= 3


# Access control


def test_browsers_must_send_x_mock_dashboard_to_change_anything(server: MockServer, control: httpx2.Client) -> None:
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {"Origin": server.url}, {"Sec-Fetch-Site": "same-origin"}, {"Cookie": "any=1"}):
        error_message(control.post("/worlds/x/reset", headers=headers), 403, "unmarked_request")
        error_message(control.delete("/worlds/x", headers=headers), 403, "unmarked_request")
    error_message(
        control.post("/worlds/x/reset", headers={"Origin": "http://evil", "x-mock-dashboard": "1"}),
        403,
        "forbidden_origin",
    )
    ok(control.post("/worlds/marked/reset", headers={**own, "x-mock-dashboard": "1"}))
    ok(control.delete("/worlds/marked"))


def test_a_cross_site_link_can_open_only_the_dashboard_page(control: httpx2.Client) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert control.get("/", headers=visit).status_code == 200
    error_message(control.get("/", headers={**visit, "Sec-Fetch-Dest": "iframe"}), 403, "forbidden_origin")
    error_message(control.get("/state", headers=visit), 403, "forbidden_origin")
    error_message(control.get("/static/app.js", headers={"Sec-Fetch-Site": "cross-site"}), 403, "forbidden_origin")


def test_a_session_sets_a_cookie_that_stands_for_the_token() -> None:
    with MockServer(control_token="secret") as server, httpx2.Client(base_url=f"{server.url}/_mock") as client:
        mark = {"x-mock-dashboard": "1"}
        assert client.get("/").status_code == 200, "the page itself holds no data"
        error_message(client.get("/state"), 401, "wrong_token")
        for wrong in ("", "secret2", "geheim é"):
            error_message(client.post("/session", json={"token": wrong}), 401, "wrong_token")
        assert not client.cookies
        session = client.post("/session", json={"token": "secret"})
        assert ok(session) == {"token_needed": True}
        cookie = session.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
        assert "secure" not in cookie.lower(), "browsers would not send it to this server"
        assert "path" not in cookie.lower(), "a proxy may serve the page below a path of its own"
        assert "secret" not in cookie
        assert str(server.port) in cookie, "browsers share cookies between ports"
        ok(client.get("/state"))
        error_message(client.get("/state", headers={"Host": "localhost:x"}), 403, "forbidden_host")
        error_message(client.post("/worlds/x/reset"), 403, "unmarked_request")
        ok(client.post("/worlds/x/reset", headers=mark))
        ok(client.delete("/session", headers=mark))
        error_message(client.get("/state"), 401, "wrong_token")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "attacker.example:8080"},
        {"Host": ""},
        {"Host": "localhost.attacker.example"},
        {"Host": "host.docker.internal.attacker.example"},
        {"Host": "attackerinternal.example"},
        {"Host": "mock.default.svc.attacker.example"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_from_other_origins_are_rejected(control: httpx2.Client, headers: dict[str, str]) -> None:
    response = control.get("/state", headers=headers)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    preflight = {"Origin": "https://attacker.example", "Access-Control-Request-Method": "POST"}
    response = control.options("/state", headers=preflight)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1:99",
        "[::1]:99",
        "mock",
        "a.localhost",
        "host.docker.internal",
        "host.containers.internal:8080",
        "gateway.docker.internal",
        "host.lima.internal",
        "host.rancher-desktop.internal",
        "host.minikube.internal",
        "mock.default.svc",
        "mock.default.svc.cluster.local:8080",
    ],
)
def test_local_and_internal_host_names_are_accepted(control: httpx2.Client, host: str) -> None:
    ok(control.get("/state", headers={"Host": host}))
    ok(control.get("/state", headers={"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}))


@pytest.mark.parametrize(
    "host", ["evil.test@localhost", "[::1].evil.test", "[::1", "localhost:80:90", "evil.test", "a b"]
)
def test_host_headers_that_only_resemble_a_local_name_are_rejected(control: httpx2.Client, host: str) -> None:
    error_message(control.get("/state", headers={"Host": host}), 403, "forbidden_host")


def test_allow_host_takes_names_and_patterns() -> None:
    with MockServer(allow_host=("mock.example", "*.mock.test", "pr-*.example")) as server:
        for host in ("mock.example:80", "MOCK.example.", "a.mock.test", "a.b.mock.test:1", "pr-12.example"):
            ok(httpx2.get(f"{server.url}/_mock/state", headers={"Host": host}))
        for host in ("a.mock.example", "mockXexample.test", "mock.test", "a.mock.test.example", "pr-1.example.org"):
            message = error_message(
                httpx2.get(f"{server.url}/_mock/state", headers={"Host": host}), 403, "forbidden_host"
            )
            assert f"--allow-host {host.lower()}" in message


def test_a_control_token_is_required_where_one_is_set() -> None:
    with MockServer(control_token="secret") as server:
        state = f"{server.url}/_mock/state"
        wrong = ("Bearer wrong", "secret2", "secret", "Basic secret", "Bearersecret")
        for headers in ({}, *({"Authorization": value} for value in wrong)):
            assert "secret" not in error_message(httpx2.get(state, headers=headers), 401, "wrong_token")
        for scheme in ("Bearer", "bearer", "BEARER"):
            ok(httpx2.get(state, headers={"Authorization": f"{scheme} secret"}))


def test_the_control_plane_is_closed_on_network_addresses_by_default() -> None:
    network = ("0.0.0.0",)
    with MockServer(host=network) as server:
        message = error_message(httpx2.get(f"{server.url}/_mock/state"), 403, "control_closed")
        assert "--control-token" in message
    with MockServer(host=network, control_open=True) as server:
        ok(httpx2.get(f"{server.url}/_mock/state"))
    with MockServer(host=network, control_token="t") as server:
        ok(httpx2.get(f"{server.url}/_mock/state", headers={"Authorization": "Bearer t"}))


# Query strings


def test_every_route_rejects_an_unknown_query_parameter(control: httpx2.Client) -> None:
    paths = ok(control.get("/openapi.json"))["paths"]
    routes = [(method, path) for path, methods in paths.items() for method in methods]
    assert len(routes) > 50
    for method, path in routes:
        path = re.sub(r"\{\w+\}", "1", path.removeprefix("/_mock"))
        response = control.request(method, f"{path}?foo=x", json=None if method == "get" else {})
        assert "foo: unknown key 'foo'; " in error_message(response, 400, "invalid_parameter"), path


def test_a_misspelled_query_parameter_changes_nothing_and_gets_a_suggestion(
    control: httpx2.Client, world: World
) -> None:
    create_container(world, "kept")
    path = f"/worlds/{world.name}"
    for route, suggestion in [
        ("import?replcae=false", "replace"),
        ("reset?emtpy=true", "empty"),
        ("faults?dryrun=true", "dry_run"),
    ]:
        response = control.post(f"{path}/{route}", json={"effect": {"error": "rate_limited"}})
        assert f"did you mean {suggestion!r}?" in error_message(response, 400, "invalid_parameter")
    assert container_names(world) == ["kept"]
    assert ok(control.get(f"{path}/faults"))["data"] == []


@pytest.mark.parametrize("query", ["reset?empty=true&empty=false", "journal/count?operation=List*&operation=Get*"])
def test_a_repeated_query_parameter_is_rejected(control: httpx2.Client, world: World, query: str) -> None:
    route, _, key = query.partition("?")
    response = control.request("POST" if route == "reset" else "GET", f"/worlds/{world.name}/{query}")
    assert "it is given more than once; give it once" in error_message(response, 400, "invalid_parameter")
    assert response.json()["error"]["param"] == key.partition("=")[0]
