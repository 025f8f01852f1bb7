"""The control plane: worlds, snapshots and clocks over HTTP, and who may use it."""

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


def names(world: World) -> list[str]:
    return [each["name"] for each in ok(world.http.get("/containers"))["data"]]


def make(world: World, name: str) -> dict[str, Any]:
    return ok(world.http.post("/containers", json={"name": name}))


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/worlds/none", ["DELETE", "GET", "POST"]),
        ("/worlds/none/clock/freeze", ["POST"]),
        ("/openapi.json", ["GET", "HEAD"]),
    ],
)
def test_a_wrong_method_is_told_every_method_of_the_path(control: httpx2.Client, path: str, methods: list[str]) -> None:
    response = control.patch(path)
    assert (response.status_code, response.headers["allow"]) == (405, ", ".join(methods))
    assert f"Only {' and '.join(methods)} requests" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, b'{"by": "20m"}', "'Content-Type: application/json'"),
        ({"Content-Type": "application/json"}, b'"20m"', "send a JSON object"),
        ({}, b"", "send a JSON object"),
        ({"Content-Type": "application/json"}, b"{by: 20}", "not JSON: "),
    ],
    ids=["curl -d", "a text", "nothing", "no JSON"],
)
def test_a_body_that_is_no_object_is_told_what_to_be(
    world: World, control: httpx2.Client, headers: dict[str, str], body: bytes, says: str
) -> None:
    answer = control.post(f"/worlds/{world.name}/clock/advance", content=body, headers=headers)
    assert says in error_message(answer, 400, "invalid_parameter")
    assert answer.json()["error"]["param"] == "body"


# Worlds


def test_a_world_can_be_made_looked_at_and_deleted(world: World, control: httpx2.Client) -> None:
    path = f"/worlds/{world.name}"
    error_message(control.get(path), 404, "world_not_found")
    ok(control.post(path))
    error_message(control.post(path), 409, "world_exists")
    error_message(control.post(path, json={"fork_of": "no-such-world"}), 409, "world_exists")
    box = make(world, "box")
    ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    told = ok(control.get(path))
    assert {kind: number for kind, number in told["counts"].items() if number} == {
        "containers": 1,
        "container_files": 1,
    }
    assert told["used_at"] is not None
    assert world.name in [each["name"] for each in ok(control.get("/worlds"))["data"]]
    ok(control.delete(path))
    error_message(control.get(path), 404, "world_not_found")
    assert names(world) == [], "its next use makes it anew"


def test_looking_at_a_world_is_no_use_of_it(world: World, control: httpx2.Client) -> None:
    ok(control.post(f"/worlds/{world.name}"))
    assert ok(control.get(f"/worlds/{world.name}"))["used_at"] is None


@pytest.mark.parametrize(
    ("asked", "words"), [({"snapshot": "s"}, "fork_of"), ({"fork_of": "default", "empty": True}, "not empty")]
)
def test_a_world_that_would_be_two_things_is_not_made(
    world: World, control: httpx2.Client, asked: dict[str, Any], words: str
) -> None:
    assert words in error_message(control.post(f"/worlds/{world.name}", json=asked), 400, "invalid_parameter")
    error_message(control.get(f"/worlds/{world.name}"), 404, "world_not_found")


def test_no_body_is_read_that_is_too_large() -> None:
    """However it is sent; an import has a limit of its own."""
    document = b'{"version": 1, "containers": [], "files": []}' + b" " * 2_000
    with MockServer(max_body=1_000, max_import=10_000) as server, httpx2.Client(base_url=server.url) as client:
        for path in ("/_mock/worlds/new", "/_mock/worlds/w/faults", "/_mock/worlds/w/place"):
            for content in (document, iter([document[:50], document[50:]])):
                answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
                assert "1000 bytes" in error_message(answer, 413, "request_too_large")
        for content in (document, iter([document])):
            ok(client.post("/_mock/worlds/w/import", content=content))
        assert "10000 bytes" in error_message(
            client.post("/_mock/worlds/w/import", content=document * 5), 413, "request_too_large"
        )


def test_a_fork_has_its_own_future(world: World, server: MockServer, control: httpx2.Client) -> None:
    world.freeze()
    box = make(world, "shared")
    file = ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    with new_world(server) as other:
        ok(control.post(f"/worlds/{other.name}", json={"fork_of": world.name}))
        assert names(other) == ["shared"]
        content = f"/containers/{box['id']}/files/{file['id']}/content"
        assert other.http.get(content).content == b"bytes"
        made = make(other, "theirs")
        assert (names(world), names(other)) == (["shared"], ["theirs", "shared"])
        assert made["created_at"] == NOON
        assert make(world, "ours")["id"] != made["id"]
        ok(world.http.delete(f"/containers/{box['id']}"))
        assert other.http.get(content).content == b"bytes"


def test_reset_goes_back_to_the_template_or_to_nothing(tmp_path: Any) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\ncontainers: [{name: seeded}]\nfiles: [{filename: a, purpose: vision, generate: {size: 1MB}}]\n"
    )
    data = tmp_path / "data"
    with MockServer(seed=(seed,), data=data) as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds/w"
        make(world, "mine")
        ok(httpx2.post(f"{control}/reset"))
        assert names(world) == ["seeded"]
        assert len(stored(data)) == 1
        ok(httpx2.post(f"{control}/reset?empty=true"))
        assert (names(world), stored(data)) == ([], {})
        ok(httpx2.delete(control))
        ok(httpx2.post(control, json={"empty": True}))
        assert (names(world), stored(data)) == ([], {})


@pytest.mark.parametrize("path", ["/worlds/{}", "/worlds/{}/reset", "/worlds/{}/clock/freeze"])
def test_names_that_name_no_world_are_refused(control: httpx2.Client, path: str) -> None:
    for name in ("a" * 65, ".x", "a b"):
        error_message(control.post(path.format(name)), 400, "invalid_world_name")


def test_idle_worlds_are_retired_and_the_default_stays(tmp_path: Any) -> None:
    with MockServer() as server, World(server, "busy") as busy, World(server, "idle") as idle:
        control = f"{server.url}/_mock"
        with World(server, "default") as default:
            make(default, "box")
        make(idle, "box")
        server.mock.worlds._used["idle"] -= HOUR  # in place of waiting for an hour
        server.mock.worlds._used["default"] -= HOUR
        make(busy, "box")
        assert ok(httpx2.post(f"{control}/all-worlds/retire", json={"idle": "59m"})) == {"worlds": ["idle"]}
        assert server.mock.worlds.names() == ["busy", "default"]


def test_a_world_that_was_just_created_is_not_idle() -> None:
    with MockServer() as server, httpx2.Client(base_url=f"{server.url}/_mock") as control:
        server.mock.worlds._started -= 2 * HOUR  # in place of waiting for two hours
        ok(control.post("/worlds/w", json={}))
        assert ok(control.post("/all-worlds/retire", json={"idle": "1h"})) == {"worlds": []}
        assert ok(control.get("/worlds/w"))["used_at"] is None
        server.mock.worlds._created["w"] -= HOUR
        assert ok(control.post("/all-worlds/retire", json={"idle": "1h"})) == {"worlds": ["w"]}
        ok(control.post("/worlds/w", json={}))
        assert ok(control.post("/all-worlds/retire", json={"idle": "1h"})) == {"worlds": []}


def test_at_the_cap_idle_worlds_make_room() -> None:
    with MockServer(max_worlds=2, world_ttl=600.0) as server:
        for name in ("a", "b"):
            with World(server, name) as world:
                make(world, "box")
        last = World(server, "c")
        error_message(httpx2.post(f"{server.url}/_mock/worlds/c/reset"), 429, "too_many_worlds")
        error_message(last.http.get("/containers"), 429, "too_many_worlds")
        server.mock.worlds._used["a"] -= 601  # in place of waiting for ten minutes
        make(last, "box")
        last.close()
        assert server.mock.worlds.names() == ["b", "c"]


def test_worlds_of_a_data_directory_stay_unless_told_otherwise(tmp_path: Any) -> None:
    assert Settings(data=tmp_path).idle_seconds == float("inf")
    assert Settings(data=tmp_path, world_ttl=5.0).idle_seconds == 5.0
    assert Settings().idle_seconds == HOUR


# Snapshots


def test_a_snapshot_brings_back_objects_contents_clock_and_ids_to_come(world: World, control: httpx2.Client) -> None:
    snapshots = f"/worlds/{world.name}/snapshots"
    world.freeze()
    box = make(world, "before")
    file = ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    assert ok(control.put(f"{snapshots}/s"))["instant"] == NOON
    first = make(world, "after")
    ok(world.http.delete(f"/containers/{box['id']}"))
    world.advance(HOUR)
    for _ in range(2):
        assert ok(control.post(f"{snapshots}/s/restore"))["clock"]["now"] == NOON
        assert names(world) == ["before"]
        assert world.http.get(f"/containers/{box['id']}/files/{file['id']}/content").content == b"bytes"
        assert make(world, "after") == first, "the same id at the same time"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("import", "application/zip"),
        ("place", "application/json"),
        ("containers", "application/json"),
        ("files", "multipart/form-data; boundary=x"),
    ],
)
def test_a_client_that_leaves_while_it_sends_leaves_nothing_in_the_log(
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
    """Where a folder is gone that was listed just now."""
    scandir = os.scandir

    def gone(path: Any) -> Any:
        if "worlds" in str(path) and not str(path).endswith("worlds"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return scandir(path)

    make(world, "box")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", gone)
        assert ok(control.get("/state"))["database_bytes"] == 0
    assert ok(control.get("/state"))["database_bytes"] > 0


@pytest.mark.parametrize("late", [False, True])
def test_a_snapshot_that_is_deleted_while_a_fork_copies_it_is_not_found(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    copy = directory.copy_closed

    def copy_meanwhile(source: Path, target: Path) -> None:
        if late:
            copy(source, target)
        ok(control.delete(f"/worlds/{world.name}/snapshots/s"))
        if not late:
            copy(source, target)

    make(world, "box")
    ok(control.put(f"/worlds/{world.name}/snapshots/s"))
    fork = {"fork_of": world.name, "snapshot": "s"}
    with monkeypatch.context() as patch:
        patch.setattr(directory, "copy_closed", copy_meanwhile)
        error_message(control.post(f"/worlds/{world.name}-fork", json=fork), 404, "snapshot_not_found")
    error_message(control.get(f"/worlds/{world.name}-fork"), 404, "world_not_found")


def test_a_real_clock_comes_back_as_an_offset_one(world: World, control: httpx2.Client) -> None:
    make(world, "box")
    ok(control.put(f"/worlds/{world.name}/snapshots/s"))
    clock = ok(control.post(f"/worlds/{world.name}/snapshots/s/restore"))["clock"]
    assert clock["mode"] == "offset"
    assert clock["now"] < world.server.mock.wall.now()


def test_snapshots_are_listed_replaced_forked_and_deleted(world: World, control: httpx2.Client) -> None:
    snapshots = f"/worlds/{world.name}/snapshots"
    ok(control.put(f"{snapshots}/one"))
    make(world, "box")
    ok(control.put(f"{snapshots}/two"))
    make(world, "another")
    ok(control.put(f"{snapshots}/one"))
    assert [each["name"] for each in ok(control.get(snapshots))["data"]] == ["two", "one"]
    with new_world(world.server) as fork:
        ok(control.post(f"/worlds/{fork.name}", json={"fork_of": world.name, "snapshot": "two"}))
        assert names(fork) == ["box"]
    ok(control.delete(f"{snapshots}/two"))
    error_message(control.delete(f"{snapshots}/two"), 404, "snapshot_not_found")
    error_message(control.post(f"{snapshots}/two/restore"), 404, "snapshot_not_found")
    error_message(control.put(f"{snapshots}/a b"), 400, "invalid_snapshot_name")
    ok(control.delete(f"/worlds/{world.name}"))
    make(world, "box")
    assert ok(control.get(snapshots))["data"] == [], "they went with their world"


def test_a_snapshot_survives_a_restart(tmp_path: Any) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        make(world, "before")
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/s"))
        make(world, "after")
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        ok(httpx2.post(f"{server.url}/_mock/worlds/w/snapshots/s/restore"))
        assert names(world) == ["before"]


@pytest.mark.parametrize("content", [b"small", b"large" * 10_000], ids=["row", "file"])
def test_the_contents_of_a_deleted_world_are_deleted_with_it(tmp_path: Any, content: bytes) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        box = make(world, "box")
        ok(world.http.post(f"/containers/{box['id']}/files", files={"file": content}))
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/s"))
        ok(httpx2.post(f"{server.url}/_mock/worlds/w/reset"))
        assert list(stored(tmp_path / "data").values()) == [content], "the snapshot needs it"
        ok(httpx2.delete(f"{server.url}/_mock/worlds/w"))
        assert not stored(tmp_path / "data")


LARGE = "version: 1\ncontainers: [{name: 'c-{n}', repeat: 2500, files: [{path: out.txt, content: 'of {n}'}]}]\n"


@pytest.mark.slow
def test_restoring_under_load_shows_all_of_the_old_or_all_of_the_new(tmp_path: Any) -> None:
    """Large enough to be copied in batches. Whoever lists sees one generation, whole."""
    (tmp_path / "seed.yaml").write_text(LARGE)
    with MockServer(seed=(tmp_path / "seed.yaml",)) as server, World(server, "w") as world:
        control = httpx2.Client(base_url=f"{server.url}/_mock/worlds/w", timeout=60)
        ok(world.http.get("/containers"))
        ok(control.put("/snapshots/old"))
        ok(control.post("/reset?empty=true"))
        for _ in range(50):
            make(world, "new")
        ok(control.put("/snapshots/new"))
        done = threading.Event()

        def watch() -> set[tuple[str, int]]:
            seen = set()
            with World(server, "w") as watcher:
                while not done.is_set():
                    page = ok(watcher.http.get("/containers?limit=100&order=asc"))
                    kinds = {each["name"].partition("-")[0] for each in page["data"]}
                    assert len(kinds) == 1
                    seen.add((kinds.pop(), len(page["data"])))
            return seen

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            watchers = [pool.submit(watch) for _ in range(4)]
            for _ in range(3):
                for name in ("old", "new"):
                    ok(control.post(f"/snapshots/{name}/restore"))
            done.set()
            for each in watchers:
                assert each.result() <= {("c", 100), ("new", 50)}
        control.close()


WORDS = "some words " * 2_000
"""More than is kept in the database."""
SEED = f"version: 1\ncontainers: [{{name: c, repeat: 3, files: [{{path: out.txt, content: {WORDS}}}, {{path: b.txt, content: b}}]}}]\n"
OTHER = SEED.replace("some words", "other words").encode()
PLACED = {"version": 1, "files": [{"filename": "a.txt", "content": WORDS + "placed"}]}
UPLOADED = {"files": {"file": ("a.txt", WORDS.encode() + b"uploaded")}}


@contextmanager
def full_disk(at: int) -> Iterator[list[str]]:
    """From the change number `at` on, of files as of databases, there is no space left. Yields the changes."""
    done: list[str] = []

    def count(name: str) -> bool:
        done.append(name)
        return len(done) > at

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and self.total_changes and count(sql):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, *values)

    def limited(change: Callable[..., Any]) -> Callable[..., Any]:
        def limit(*args: Any, **options: Any) -> Any:
            if count(change.__name__):
                raise OSError(errno.ENOSPC, "No space left on device")
            return change(*args, **options)

        return limit

    with pytest.MonkeyPatch.context() as patch:
        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **{"factory": Full, **options}))
        for owner, name in ((Path, "mkdir"), (shutil, "copyfile"), (os, "link")):
            patch.setattr(owner, name, limited(getattr(owner, name)))
        yield done


def everything(data: Path) -> list[Any]:
    """The rows and the contents of all worlds and snapshots, and what else is there."""
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
    ("method", "path", "sent"),
    [
        ("POST", "/w/place", {"json": PLACED}),
        ("POST", "/w/files", UPLOADED),
        ("POST", "/w/import?replace=false", {"content": OTHER}),
        ("POST", "/w/import", {"content": OTHER}),
        ("POST", "/new/import", {"content": OTHER}),
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
def test_what_a_full_disk_stops_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, sent: dict[str, Any], large: bool
) -> None:
    """Wherever the space ends: the world is as it was, and nothing of the request is on the disk."""
    if large:
        monkeypatch.setattr(apply, "LARGE", 0)
        monkeypatch.setattr(states, "SMALL_DATABASE", 0)
    (tmp_path / "seed.yaml").write_text(SEED)
    data = tmp_path / "data"
    with MockServer(seed=(tmp_path / "seed.yaml",), data=data) as server, World(server, "w") as world:
        box = ok(world.http.get("/containers"))["data"][0]["id"]
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/old"))
        ok(world.http.delete(f"/containers/{box}"))
        server.run(server.mock.worlds.finish(trash=True))
        before = everything(data)
        for at in range(100):
            with full_disk(at) as changes:
                answer = httpx2.request(method, f"{server.url}/_mock/worlds{path}", timeout=60, **sent)
                server.run(server.mock.worlds.finish(trash=True))
            if answer.status_code == 200:
                break
            error_message(answer, 500, "storage_failed")
            assert everything(data) == before, changes
            assert len(ok(world.http.get("/containers"))["data"]) == 2
        assert at > 0
        assert everything(data) != before


def test_an_upload_that_a_full_disk_stops_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with MockServer(data=data) as server, World(server, "w") as world:
        make(world, "box")
        before = everything(data)
        for at in range(100):
            with full_disk(at):
                answer = world.http.post("/files", **UPLOADED, data={"purpose": "user_data"})
            if answer.status_code == 200:
                break
            error_message(answer, 500, "storage_failed")
            assert everything(data) == before
        assert at > 0


@pytest.mark.parametrize(
    "work", ["create", "fork", "fork of a snapshot", "snapshot", "restore", "reset", "import", "place"]
)
@pytest.mark.slow
def test_what_is_cancelled_half_way_is_done_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """As a stop does that can't wait, while a thread is at each of its parts."""
    monkeypatch.setattr(apply, "LARGE", 0)
    monkeypatch.setattr(states, "SMALL_DATABASE", 0)
    (tmp_path / "seed.yaml").write_text(SEED)
    begun, go_on, part = threading.Semaphore(0), threading.Semaphore(0), worlds.in_thread

    async def in_parts(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        def waiting() -> Any:
            begun.release()
            assert go_on.acquire(timeout=60)
            return work(*args, **options)

        return await part(waiting)

    with MockServer(seed=(tmp_path / "seed.yaml",), data=tmp_path / "data") as server, World(server, "w") as world:
        mock = server.mock
        box = ok(world.http.get("/containers"))["data"][0]["id"]
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/old"))
        ok(world.http.delete(f"/containers/{box}"))
        scope = loader.read_document(Source(tmp_path / "seed.yaml", OTHER), Nowhere(), 1 << 20, 1 << 20)
        works: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "create": lambda: mock.worlds.resolve("other"),
            "fork": lambda: mock.worlds.create("other", fork_of="w"),
            "fork of a snapshot": lambda: mock.worlds.create("other", fork_of="w", snapshot="old"),
            "snapshot": lambda: mock.worlds.take_snapshot("w", "s"),
            "restore": lambda: mock.worlds.restore("w", "old"),
            "reset": lambda: mock.worlds.reset("w"),
            "import": lambda: apply.become(scope, mock.worlds, mock.uploads, mock.wall, "w"),
            "place": lambda: apply.place(scope, mock.worlds, mock.uploads, mock.wall, "w"),
        }

        async def cancelled(at: int) -> bool:
            """Whether it was cancelled while its part number `at` was under way."""
            with pytest.MonkeyPatch.context() as patch:
                for module in (worlds, states, context):
                    patch.setattr(module, "in_thread", in_parts)
                task = asyncio.ensure_future(works[work]())
                waits = [asyncio.ensure_future(asyncio.to_thread(begun.acquire)) for _ in range(at + 1)]
                for number, wait in enumerate(waits):
                    await asyncio.wait([task, wait], return_when=asyncio.FIRST_COMPLETED)
                    if task.done():
                        break
                    if number == at:
                        for _ in range(2):
                            task.cancel()
                            await asyncio.sleep(0)
                    go_on.release()
                reached = not task.done()
                for _ in waits:
                    begun.release()
                for _ in range(10):
                    go_on.release()  # for all that follow
                await asyncio.wait([task])
                await asyncio.gather(*waits)
                await mock.worlds.finish(trash=True)
            while begun.acquire(blocking=False) or go_on.acquire(blocking=False):
                pass
            return reached

        for at in range(10):
            before = everything(tmp_path / "data")
            reached = server.run(cancelled(at))
            after = everything(tmp_path / "data")
            if not reached:
                break
            if after != before:  # it was done as a whole
                if "other" in mock.worlds.names():
                    server.run(mock.worlds.delete("other"))
                elif work == "snapshot":
                    server.run(mock.worlds.delete_snapshot("w", "s"))
                server.run(mock.worlds.finish(trash=True))
            assert not list((tmp_path / "data" / "uploads").iterdir())
            assert ok(world.http.get("/containers"))["data"]
        assert at > 0
        server.run(mock.worlds.restore("w", "old"))
        assert len(ok(world.http.get("/containers"))["data"]) == 3


def test_an_export_that_begins_while_its_world_is_being_replaced_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that it copies is not moved before it has copied all contents."""
    loading, load_on, linking, link_on = (threading.Event() for _ in range(4))

    def load(self: Any, *args: Any, load: Any = worlds.Worlds._load, **options: Any) -> Any:
        loading.set()
        assert load_on.wait(60)
        return load(self, *args, **options)

    def link(*args: Any, link: Any = contents.link) -> None:
        linking.set()
        assert link_on.wait(60)
        link(*args)

    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        ok(world.http.post("/files", **UPLOADED, data={"purpose": "user_data"}))
        ok(httpx2.put(f"{server.url}/_mock/worlds/w/snapshots/s"))

        async def export() -> list[str]:
            async with server.mock.worlds.copied("w") as directory:
                return [path.name for path in directory.glob("contents/*/*")]

        async def both() -> list[str]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(worlds.Worlds, "_load", load)
                restoring = asyncio.ensure_future(server.mock.worlds.restore("w", "s"))
                await asyncio.to_thread(loading.wait)
                patch.setattr(contents, "link", link)
                exporting = asyncio.ensure_future(export())
                await asyncio.to_thread(linking.wait)
                load_on.set()
                for _ in range(100):
                    await asyncio.to_thread(int)  # time enough to be replaced in
                waited = not restoring.done()
                link_on.set()
                await restoring
                assert waited
                return await exporting

        assert server.run(both()) == list(stored(tmp_path / "data"))


@pytest.mark.slow
def test_a_world_in_use_can_be_replaced_at_any_moment(tmp_path: Path) -> None:
    """Uploads, downloads and exports are under way meanwhile: none fails, and all bytes are whole."""
    (tmp_path / "seed.yaml").write_text(SEED)
    data = tmp_path / "data"
    with MockServer(seed=(tmp_path / "seed.yaml",), data=data) as server:
        control = f"{server.url}/_mock/worlds/w"
        done = threading.Event()
        counts = dict.fromkeys(("uploads", "downloads", "exports"), 0)

        def upload() -> None:
            with World(server, "w") as world:
                while not done.is_set():
                    content = f"{counts['uploads']} {WORDS}".encode()
                    sent = {"files": {"file": ("a.txt", content)}, "data": {"purpose": "vision"}}
                    answer = world.http.post("/files", **sent)
                    assert answer.status_code == 200 or answer.json()["error"]["code"] == "world_gone"
                    counts["uploads"] += 1

        def download() -> None:
            with World(server, "w") as world:
                while not done.is_set():
                    for file in ok(world.http.get("/files?limit=5"))["data"]:
                        answer = world.http.get(f"/files/{file['id']}/content")
                        assert answer.status_code == 404 or answer.content.endswith(WORDS.encode())
                        counts["downloads"] += answer.status_code == 200

        def export() -> None:
            while not done.is_set():
                answer = httpx2.get(f"{control}/export", timeout=60)
                if answer.status_code == 404:
                    continue
                assert answer.status_code == 200, answer.text
                with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                    assert archive.testzip() is None
                counts["exports"] += 1

        with World(server, "w") as world, concurrent.futures.ThreadPoolExecutor(4) as pool:
            ok(world.http.get("/containers"))
            ok(httpx2.put(f"{control}/snapshots/s"))
            users = [pool.submit(each) for each in (upload, upload, download, export)]
            number = 0
            while number < 6 or (min(counts.values()) < 3 and not any(each.done() for each in users)):
                ok(httpx2.post(f"{control}/snapshots/s/restore"))
                ok(world.http.get("/containers"))
                ok(httpx2.post(f"{control}/reset"))
                ok(httpx2.post(f"{control}/import", content=OTHER))
                if number % 3 == 0:
                    ok(httpx2.delete(control))
                    ok(world.http.get("/containers"))
                    ok(httpx2.put(f"{control}/snapshots/s"))
                number += 1
            done.set()
            for each in users:
                each.result()
        server.run(server.mock.worlds.finish(trash=True))
        (w,) = data.glob("worlds/*-w")
        with closing(sqlite3.connect(f"file:{w / 'world.db'}?mode=ro", uri=True)) as database:
            named = {digest for (digest,) in database.execute("SELECT digest FROM named_contents")}
            small = {digest for (digest,) in database.execute("SELECT digest FROM contents")}
        assert {path.name for path in w.glob("contents/*/*")} == named - small
        assert not [*data.glob("uploads/*"), *data.glob("trash/*")]


@pytest.mark.slow
def test_a_fork_of_a_world_in_use_is_one_instant_of_it(tmp_path: Any) -> None:
    """Each writer makes pairs, the second only when it has the first: no copy may hold a second alone."""
    (tmp_path / "seed.yaml").write_text(LARGE)
    with MockServer(seed=(tmp_path / "seed.yaml",)) as server, World(server, "w") as world:
        ok(world.http.get("/containers"))
        done = threading.Event()

        def write(number: int) -> None:
            with World(server, "w") as writer:
                count = 0
                while not done.is_set():
                    for part in ("first", "second"):
                        make(writer, f"{number}.{count}.{part}")
                    count += 1

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write, number) for number in range(2)]
            for number in range(3):
                made = httpx2.post(f"{server.url}/_mock/worlds/f{number}", json={"fork_of": "w"}, timeout=60)
                assert ok(made)["counts"]["container_files"] == 2_500
            done.set()
            for each in writers:
                each.result()
        for number in range(3):
            with World(server, f"f{number}") as fork:
                found = {each.name for each in fork.openai.containers.list(limit=100)}
                seconds = {name.removesuffix("second") for name in found if name.endswith("second")}
                assert seconds <= {name.removesuffix("first") for name in found if name.endswith("first")}


def test_an_upload_into_a_world_that_is_deleted_meanwhile_is_told_so(
    server: MockServer, control: httpx2.Client
) -> None:
    with new_world(server) as world, socket.create_connection(("127.0.0.1", server.port)) as client:
        make(world, "box")
        form = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n--b--\r\n'
        )
        head = (
            f"POST /w/{world.name}/v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(form)}\r\n\r\n"
        )
        client.sendall(head.encode() + form[:80])
        ok(world.http.get("/containers"))  # so that the upload has been entered by then
        ok(control.delete(f"/worlds/{world.name}"))
        client.sendall(form[80:])
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 409"), answer
        assert b'"code": "world_gone"' in answer


# Clock


def test_a_clock_can_be_held_moved_and_let_go(world: World, control: httpx2.Client) -> None:
    clock = f"/worlds/{world.name}/clock"
    frozen = ok(control.post(f"{clock}/freeze", json={"at": "2026-06-24T18:04:00Z"}))
    assert (frozen["mode"], frozen["now"], frozen["iso"]) == ("frozen", NOON, "2026-06-24T18:04:00.000Z")
    box, file = make(world, "box"), world.openai.files.create(file=("a.jsonl", b"x"), purpose="batch")
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
def test_what_is_no_duration_is_refused(world: World, control: httpx2.Client, by: Any) -> None:
    error_message(control.post(f"/worlds/{world.name}/clock/advance", json={"by": by}), 400, "invalid_parameter")


@pytest.mark.parametrize("by", ["-10m", -300, "-PT1S"])
def test_an_advance_never_moves_a_clock_back(world: World, control: httpx2.Client, by: str | float) -> None:
    answer = control.post(f"/worlds/{world.name}/clock/advance", json={"by": by})
    assert "by: a clock advances forward only; to move it back, use offset" in error_message(
        answer, 400, "invalid_parameter"
    )


def test_no_world_is_idle_for_less_than_no_time(control: httpx2.Client) -> None:
    answer = control.post("/all-worlds/retire", json={"idle": "-1m"})
    assert "idle: a duration can't be negative" in error_message(answer, 400, "invalid_parameter")


# What changes


class Changes:
    """The events of `/_mock/changes`, once the stream is open."""

    def __init__(self, server: MockServer) -> None:
        self._answer = httpx2.stream("GET", f"{server.url}/_mock/changes", timeout=120)

    def __enter__(self) -> "Changes":
        self._lines = self._answer.__enter__().iter_lines()
        assert next(self._lines) == ": what changes"
        return self

    def __exit__(self, *error: Any) -> None:
        self._answer.__exit__(*error)

    def until(self, world: str, *kinds: str) -> None:
        """Until all of these are told of a world."""
        missing = set(kinds)
        while missing:
            if (line := next(self._lines)).startswith("data: "):
                told = json.loads(line.removeprefix("data: "))
                missing -= {*told.get(world, []), *told.get("*", [])}


EVERYTHING = ("worlds", "clock", "containers", "files", "faults", "snapshots", "journal")


def test_what_changes_is_told_as_it_does(world: World, server: MockServer, control: httpx2.Client) -> None:
    path = f"/worlds/{world.name}"
    with Changes(server) as changes:
        box = make(world, "box")
        changes.until(world.name, *EVERYTHING)  # there was no such world before
        ok(world.http.get(f"/containers/{box['id']}"))
        changes.until(world.name, "journal", "containers")
        ok(world.http.post("/files", files={"file": b"x"}, data={"purpose": "vision"}))
        changes.until(world.name, "journal", "files", "worlds")
        ok(control.post(f"{path}/clock/advance", json={"by": "1m"}))
        changes.until(world.name, "clock", "containers", "files")
        ok(control.post(f"{path}/faults", json={"effect": {"error": "server_error"}}))
        changes.until(world.name, "faults")
        world.http.get("/containers")
        changes.until(world.name, "faults", "journal")
        ok(control.post(f"{path}/containers/{box['id']}/touch"))
        changes.until(world.name, "containers")
        ok(control.put(f"{path}/snapshots/s"))
        changes.until(world.name, "snapshots")
        ok(control.delete(f"{path}/journal"))
        changes.until(world.name, "journal")
        for change in ("snapshots/s/restore", "reset"):
            ok(control.post(f"{path}/{change}"))
            changes.until(world.name, *EVERYTHING)
        ok(control.delete(path))
        changes.until(world.name, *EVERYTHING)


def test_who_looks_at_a_world_that_is_being_restored_sees_one_state(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.url}/_mock/worlds/{world.name}"
    box = ok(world.http.post("/containers", json={"name": "box"}))["id"]
    ok(httpx2.put(f"{url}/snapshots/s"))
    for path in ("/containers", f"/containers/{box}"):
        name = "_container" if path.endswith(box) else "_found"
        find, replaced = getattr(containers, name), iter([True])

        def find_late(*args: Any, find: Any = find, replaced: Iterator[bool] = replaced) -> Any:
            if next(replaced, False):
                server.run(server.mock.worlds.restore(world.name, "s"))
            return find(*args)

        monkeypatch.setattr(containers, name, find_late)
        seen = ok(httpx2.get(url + path))
        assert [each["id"] for each in seen.get("data", [seen])] == [box]


async def flood(server: MockServer, world: str) -> None:
    for _ in range(1_000):
        server.mock.events.publish(world, "journal")
        await asyncio.sleep(0)


def test_a_flood_of_changes_is_told_in_few_words(world: World, server: MockServer) -> None:
    with Changes(server) as changes:
        server.run(flood(server, world.name))
        server.run(news(server, world.name))
        lines = 0
        for line in changes._lines:
            lines += line.startswith("data: ")
            if "snapshots" in line and "clock" not in line:
                break
        assert lines < 40


def test_what_concerns_no_world_by_name_is_told_of_none(
    world: World, server: MockServer, control: httpx2.Client
) -> None:
    with Changes(server) as changes:
        ok(control.post("/all-worlds/retire", json={"idle": "1h"}))
        ok(control.post("/session", json={"token": "any"}))
        server.run(news(server, world.name))
        told: dict[str, Any] = {}
        while world.name not in told:
            if (line := next(changes._lines)).startswith("data: "):
                told |= json.loads(line.removeprefix("data: "))
        assert "retire" not in told
        assert "" not in told


async def news(server: MockServer, world: str) -> None:
    server.mock.events.publish(world, "snapshots")


def test_who_left_is_told_nothing_more(server: MockServer, world: World) -> None:
    before = len(server.mock.events.subscribers)
    with Changes(server):
        make(world, "box")
    while len(server.mock.events.subscribers) > before:
        make(world, "until it is noticed")


def test_worlds_can_be_searched_and_the_last_used_come_first(server: MockServer, control: httpx2.Client) -> None:
    with new_world(server) as one, new_world(server) as other, new_world(server) as third:
        for world in (third, one, other):
            make(world, "box")

        def found(**query: Any) -> list[str]:
            return [each["name"] for each in ok(control.get("/worlds", params=query))["data"]]

        assert found(name=one.name) == found(search=one.name.upper()) == [one.name]
        assert found(name="of-this-name-there-is-none") == []
        page = ok(control.get("/worlds", params={"search": "test-", "limit": 2}))
        assert [each["name"] for each in page["data"]] == [other.name, one.name]
        assert page["total"] >= 3


# Who may


def test_a_page_changes_nothing_without_the_header_that_no_other_origin_can_send(
    server: MockServer, control: httpx2.Client
) -> None:
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


def test_a_link_on_another_site_may_lead_to_the_dashboard_and_no_further(control: httpx2.Client) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert control.get("/", headers=visit).status_code == 200
    error_message(control.get("/", headers={**visit, "Sec-Fetch-Dest": "iframe"}), 403, "forbidden_origin")
    error_message(control.get("/state", headers=visit), 403, "forbidden_origin")
    error_message(control.get("/static/app.js", headers={"Sec-Fetch-Site": "cross-site"}), 403, "forbidden_origin")


def test_a_token_is_traded_for_a_cookie() -> None:
    with MockServer(control_token="secret") as server, httpx2.Client(base_url=f"{server.url}/_mock") as client:
        mark = {"x-mock-dashboard": "1"}
        assert client.get("/").status_code == 200, "the page itself shows nothing"
        error_message(client.get("/state"), 401, "wrong_token")
        for wrong in ("", "secret2", "geheim é"):
            error_message(client.post("/session", json={"token": wrong}), 401, "wrong_token")
        assert not client.cookies
        opened = client.post("/session", json={"token": "secret"})
        assert ok(opened) == {"token_needed": True}
        told = opened.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict"} <= set(told.split("; "))
        assert "path" not in told.lower(), "a proxy may serve the page below a path of its own"
        assert "secret" not in told
        assert str(server.port) in told, "cookies don't tell ports apart"
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
def test_a_page_of_another_origin_controls_nothing(control: httpx2.Client, headers: dict[str, str]) -> None:
    answer = control.get("/state", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    preflight = {"Origin": "https://attacker.example", "Access-Control-Request-Method": "POST"}
    answer = control.options("/state", headers=preflight)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


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
def test_names_that_no_stranger_can_own_are_let_in(control: httpx2.Client, host: str) -> None:
    ok(control.get("/state", headers={"Host": host}))
    ok(control.get("/state", headers={"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}))


@pytest.mark.parametrize(
    "host", ["evil.test@localhost", "[::1].evil.test", "[::1", "localhost:80:90", "evil.test", "a b"]
)
def test_what_only_looks_like_a_name_of_this_machine_is_rejected(control: httpx2.Client, host: str) -> None:
    error_message(control.get("/state", headers={"Host": host}), 403, "forbidden_host")


def test_a_host_can_be_allowed_by_name_and_by_pattern() -> None:
    with MockServer(allow_host=("mock.example", "*.mock.test", "pr-*.example")) as server:
        for host in ("mock.example:80", "MOCK.example.", "a.mock.test", "a.b.mock.test:1", "pr-12.example"):
            ok(httpx2.get(f"{server.url}/_mock/state", headers={"Host": host}))
        for host in ("a.mock.example", "mockXexample.test", "mock.test", "a.mock.test.example", "pr-1.example.org"):
            message = error_message(
                httpx2.get(f"{server.url}/_mock/state", headers={"Host": host}), 403, "forbidden_host"
            )
            assert f"--allow-host {host.lower()}" in message


def test_with_a_token_only_its_holder_gets_in() -> None:
    with MockServer(control_token="secret") as server:  # a test's
        state = f"{server.url}/_mock/state"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret2"}):
            assert "secret" not in error_message(httpx2.get(state, headers=headers), 401, "wrong_token")
        ok(httpx2.get(state, headers={"Authorization": "Bearer secret"}))


def test_on_an_address_of_the_network_it_is_closed_unless_told_otherwise() -> None:
    network = ("0.0.0.0",)  # what this test is about
    with MockServer(host=network) as server:
        message = error_message(httpx2.get(f"{server.url}/_mock/state"), 403, "control_closed")
        assert "--control-token" in message
    with MockServer(host=network, control_open=True) as server:
        ok(httpx2.get(f"{server.url}/_mock/state"))
    with MockServer(host=network, control_token="t") as server:  # a test's
        ok(httpx2.get(f"{server.url}/_mock/state", headers={"Authorization": "Bearer t"}))


# Query strings


def test_every_route_rejects_a_misspelled_key_before_it_does_anything(control: httpx2.Client) -> None:
    paths = ok(control.get("/openapi.json"))["paths"]
    routes = [(method, path) for path, methods in paths.items() for method in methods]
    assert len(routes) > 50
    for method, path in routes:
        path = re.sub(r"\{\w+\}", "1", path.removeprefix("/_mock"))
        answer = control.request(method, f"{path}?foo=x", json=None if method == "get" else {})
        assert "foo: unknown key 'foo'; " in error_message(answer, 400, "invalid_parameter"), path


def test_a_misspelled_key_destroys_nothing_and_is_corrected(control: httpx2.Client, world: World) -> None:
    make(world, "kept")
    at = f"/worlds/{world.name}"
    for route, near in [
        ("import?replcae=false", "replace"),
        ("reset?emtpy=true", "empty"),
        ("faults?dryrun=true", "dry_run"),
    ]:
        answer = control.post(f"{at}/{route}", json={"effect": {"error": "rate_limited"}})
        assert f"did you mean {near!r}?" in error_message(answer, 400, "invalid_parameter")
    assert names(world) == ["kept"]
    assert ok(control.get(f"{at}/faults"))["data"] == []


@pytest.mark.parametrize("query", ["reset?empty=true&empty=false", "journal/count?operation=List*&operation=Get*"])
def test_a_key_is_given_once(control: httpx2.Client, world: World, query: str) -> None:
    route, _, key = query.partition("?")
    answer = control.request("POST" if route == "reset" else "GET", f"/worlds/{world.name}/{query}")
    assert "it is given more than once; give it once" in error_message(answer, 400, "invalid_parameter")
    assert answer.json()["error"]["param"] == key.partition("=")[0]
