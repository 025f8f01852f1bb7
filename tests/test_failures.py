"""Failures of the machine: a full disk, missing permissions, too few descriptors, kills, damaged databases, a clock
that is set back.

In each of them, the error says what is wrong, no acknowledged object is lost, other worlds are served, and the server
works again once the cause is removed.
"""

import errno
import hashlib
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import kill_points
import pytest
from conftest import NOON, World, error_message, ok, stored
from manual import tried
from rawhttp import TIMEOUT, form
from test_durability import (
    ServerProcess,
    StartServer,
    check_data_directory,
    open_all_worlds,
    start_error,
    start_server,
)

from mockserver.clock import Wall
from mockserver.server.serving import MockServer
from mockserver.storage.database import Database

PAGE = 4_096
FILE_SIZE_LIMIT = 700_000
"""The largest file that a limited server can write, in bytes: beyond it, writes fail as on a full disk."""

__all__ = ["start_server"]  # a fixture


@dataclass
class Acknowledged:
    """What the server acknowledged: each object as in the response, and the contents of files."""

    objects: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def container(self, client: httpx2.Client, name: str = "box") -> httpx2.Response:
        life = {"anchor": "last_active_at", "minutes": 1_000_000}
        response = client.post("/containers", json={"name": name, "expires_after": life})
        if response.status_code == 200:
            self.objects[f"/containers/{response.json()['id']}"] = response.json()
        return response

    def file(self, client: httpx2.Client, content: bytes) -> httpx2.Response:
        response = client.post("/files", files={"file": ("a.bin", content)}, data={"purpose": "vision"})
        if response.status_code == 200:
            path = f"/files/{response.json()['id']}"
            self.objects[path], self.contents[path] = response.json(), content
        return response

    def check(self, client: httpx2.Client) -> None:
        assert self.objects
        for path, created in self.objects.items():
            found = client.get(path).json()
            assert found | {"last_active_at": 0} == created | {"last_active_at": 0}
        for path, content in self.contents.items():
            assert client.get(f"{path}/content").content == content


def random_bytes(seed: object, size: int) -> bytes:
    return hashlib.shake_256(str(seed).encode()).digest(size)


@contextmanager
def server_with_limit(data: Path, kind: int, limit: int) -> Iterator[tuple[ServerProcess, Path]]:
    """Run a server with a resource limit, and yield it and its log."""
    log = data.parent / "stderr"
    code = (
        f"import resource, sys; resource.setrlimit({kind}, ({limit}, {limit})); "
        "from mockserver.cli.main import main; sys.argv[0] = 'mockserver'; main()"
    )
    arguments = ["serve", "--data", data, "--host", "127.0.0.1", "--port", "0", "--json", "--quiet"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield ServerProcess(process, json.loads(line)), log
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT)


# Full disks


def fill_disk(client: httpx2.Client, acknowledged: Acknowledged) -> None:
    """Create containers until one can't be stored."""
    for _ in range(3_000):
        if (response := acknowledged.container(client, "n" * 1_000)).status_code != 200:
            break
    message = error_message(response, 500, "storage_failed")
    assert "--data" in message
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.slow
def test_a_full_disk_returns_storage_failed_and_loses_no_acknowledged_object(
    start_server: StartServer, tmp_path: Path
) -> None:
    data, acknowledged = tmp_path / "data", Acknowledged()
    with server_with_limit(data, resource.RLIMIT_FSIZE, FILE_SIZE_LIMIT) as (server, log), server.client() as client:
        clock = f"{server.startup['url']}/_mock/worlds/default/clock/scale"
        ok(client.post(clock, json={"rate": 1_000}))  # so that each request would update last_active_at
        assert acknowledged.container(client).status_code == 200
        assert acknowledged.file(client, random_bytes("fits", 1_000)).status_code == 200
        too_large = acknowledged.file(client, random_bytes("does not fit", 3 * FILE_SIZE_LIMIT))
        assert too_large.status_code == 500
        assert too_large.json()["error"]["code"] == too_large.json()["detail"]["code"] == "storage_failed"
        assert list((data / "uploads").iterdir()) == []
        assert acknowledged.file(client, random_bytes("fits too", 1_000)).status_code == 200
        fill_disk(client, acknowledged)
        acknowledged.check(client)  # reads still work
        before = stored(data)
        error_message(
            acknowledged.file(client, random_bytes("content that fits, row that does not", 100_000)),
            500,
            "storage_failed",
        )
        for _ in range(1_000):  # until the thread that removes the content is done
            if stored(data) == before:
                break
            client.get("/files")
        assert stored(data) == before
        failed = client.get(f"{server.startup['url']}/_mock/worlds/default/journal?status=500&limit=1000").json()[
            "data"
        ]
        assert failed
        assert [each["objects"] for each in failed] == [[]] * len(failed)
        control = client.put(f"{server.startup['url']}/_mock/worlds/default/snapshots/late")
        assert control.status_code in (200, 500)
        if control.status_code == 500:
            error_message(control, 500, "storage_failed")
    lines = log.read_text().splitlines()
    assert [line for line in lines if "can't be used" in line]
    with start_server(data).client() as client:
        open_all_worlds(client)
        check_data_directory(data)
        acknowledged.check(client)
        assert acknowledged.file(client, random_bytes("fits without the limit", 3 * FILE_SIZE_LIMIT)).status_code == 200
        acknowledged.check(client)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of two megabytes."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], capture_output=True)
    if not done or done.returncode:
        pytest.skip("mounting a file system needs root")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


@pytest.mark.slow
def test_the_server_stores_again_once_a_full_disk_has_space(start_server: StartServer, small_disk: Path) -> None:
    acknowledged, data = Acknowledged(), small_disk / "data"
    server = start_server(data)
    with server.client() as client:
        assert acknowledged.container(client).status_code == 200
        (small_disk / "ballast").write_bytes(b"")
        with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1_024))
        for seed in ("x", "y"):
            assert acknowledged.file(client, random_bytes(seed, 500_000)).status_code == 500
        fill_disk(client, acknowledged)
        acknowledged.check(client)
        (small_disk / "ballast").unlink()
        assert acknowledged.file(client, random_bytes("x", 500_000)).status_code == 200
        assert acknowledged.container(client).status_code == 200
        acknowledged.check(client)
    server.kill()
    with start_server(data).client() as client:
        open_all_worlds(client)
        acknowledged.check(client)
    check_data_directory(data)


@pytest.mark.slow
@pytest.mark.parametrize("world_is_open", [True, False])
def test_deleting_a_world_frees_space_on_a_full_disk(
    start_server: StartServer, small_disk: Path, world_is_open: bool
) -> None:
    """A world is deleted by renaming it, which needs no space, even if no request has opened it since the start."""
    acknowledged, data = Acknowledged(), small_disk / "data"
    server = start_server(data)
    with server.client() as client:
        large = {"files": {"file": ("a.bin", random_bytes("large", 800_000))}, "data": {"purpose": "vision"}}
        ok(client.post(f"{server.startup['url']}/w/large/v1/files", **large))
        ok(client.put(f"{server.startup['url']}/_mock/worlds/large/snapshots/one"))
        acknowledged.container(client)
    if not world_is_open:
        server.stop()
        server = start_server(data)
    control = f"{server.startup['url']}/_mock/worlds"
    with server.client() as client:
        acknowledged.check(client)  # opens the world: SQLite can't open a file on a full disk
        with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1_024))
        fill_disk(client, acknowledged)
        for method, path, sent in (
            ("POST", "/default/reset", {}),
            ("POST", "/new", {"json": {}}),
            ("POST", "/new", {"json": {"fork_of": "default"}}),
            ("PUT", "/default/snapshots/late", {}),
            ("POST", "/default/clock/advance", {"json": {"by": "1m"}}),
        ):
            error_message(client.request(method, control + path, **sent), 500, "storage_failed")
        acknowledged.check(client)
        listed = ok(client.get(control))["data"]
        assert {each["name"]: each["counts"] and each["counts"]["files"] for each in listed}.items() >= {("large", 1)}
        assert {each["name"] for each in listed} == {"default", "large"}
        if not world_is_open:  # opening its database needs space for the index of SQLite's log
            for method, path, sent in (
                ("GET", "/w/large/v1/files", {}),
                ("POST", "/w/large/v1/containers", {"json": {"name": "box"}}),
                ("POST", "/_mock/worlds/large/clock/advance", {"json": {"by": "1m"}}),
                ("GET", "/_mock/worlds/large/files", {}),
            ):
                message = error_message(
                    client.request(method, server.startup["url"] + path, **sent), 500, "storage_failed"
                )
                assert "--data" in message
        ok(client.delete(f"{control}/large"))
        assert {each["name"] for each in ok(client.get(control))["data"]} == {"default"}
        for _ in range(1_000):  # until the thread that removes its files is done
            if acknowledged.file(client, random_bytes("x", 500_000)).status_code == 200:
                break
        acknowledged.check(client)
        ok(client.put(f"{control}/default/snapshots/late"))
    server.kill()
    with start_server(data).client() as client:
        open_all_worlds(client)
        acknowledged.check(client)
    check_data_directory(data)


# Missing permissions


@pytest.mark.slow
def test_a_read_only_data_directory_is_rejected_at_start(start_server: StartServer, small_disk: Path) -> None:
    data, acknowledged = small_disk / "data", Acknowledged()
    server = start_server(data)
    with server.client() as client:
        acknowledged.container(client)
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    line = start_error(data)
    assert str(data) in line
    assert "--data" in line
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    with start_server(data).client() as client:
        acknowledged.check(client)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere; see the test with a read-only mount")
def test_a_data_directory_without_write_permission_is_rejected_at_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    line = start_error(data)
    assert str(data) in line
    assert "--data" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["worlds", "uploads"])
def test_a_file_in_place_of_a_subdirectory_is_rejected_at_start(
    start_server: StartServer, tmp_path: Path, name: str
) -> None:
    data = tmp_path / "data"
    (data / "worlds").mkdir(parents=True)
    (data / "lock").touch()
    if (data / name).exists():
        (data / name).rmdir()
    (data / name).write_text("other")
    assert "can't be used" in start_error(data)
    (data / name).unlink()
    with start_server(data).client() as client:
        assert client.get("/files").status_code == 200


# Too few descriptors


@pytest.mark.slow
def test_the_server_recovers_from_more_connections_than_descriptors(start_server: StartServer, tmp_path: Path) -> None:
    data, acknowledged = tmp_path / "data", Acknowledged()
    with server_with_limit(data, resource.RLIMIT_NOFILE, 64) as (server, log):
        address = ("127.0.0.1", server.startup["port"])
        with server.client() as client, ExitStack() as stack:
            acknowledged.container(client)
            acknowledged.file(client, b"before")
            for _ in range(150):
                stack.enter_context(socket.create_connection(address, TIMEOUT))
            upload = acknowledged.file(client, b"during")  # its connection is open, but its file may not be
            if upload.status_code != 200:
                error_message(upload, 500, "storage_failed")
        for _ in range(1_000):  # until the server has noticed the closed connections
            with suppress(httpx2.TransportError), server.client() as client:
                if acknowledged.container(client).status_code == 200:
                    break
        with server.client() as client:
            assert acknowledged.file(client, b"after").status_code == 200
            acknowledged.check(client)
    assert "Traceback" not in log.read_text()
    with start_server(data).client() as client:
        acknowledged.check(client)
        open_all_worlds(client)
    check_data_directory(data)


@pytest.mark.slow
def test_the_server_serves_more_worlds_than_it_has_descriptors(tmp_path: Path) -> None:
    with server_with_limit(tmp_path / "data", resource.RLIMIT_NOFILE, 80) as (server, log), server.client() as client:
        for _ in range(2):
            for number in range(60):
                ok(client.post(f"{server.startup['url']}/w/w{number}/v1/containers", json={"name": "box"}))
            counts = [each["counts"] for each in ok(client.get(f"{server.startup['url']}/_mock/worlds"))["data"]]
        assert [each["containers"] for each in counts] == [2] * 60
    assert log.read_text() == ""


# Kills


def kill_during_upload(
    start_server: StartServer, data: Path, acknowledged: Acknowledged, path: str, content: bytes, position: int
) -> None:
    """Kill the server after `position` bytes of an upload, restart it, and check all objects and the data directory."""
    parts = [('Content-Disposition: form-data; name="purpose"', b"vision")] if path == "/files" else []
    body = form(*parts, ('Content-Disposition: form-data; name="file"; filename="a.bin"', content))
    server = start_server(data)
    with server.client() as client:
        if path != "/files":
            path = f"/containers/{acknowledged.container(client).json()['id']}/files"
        head = (
            f"POST /v1{path} HTTP/1.1\r\nHost: x\r\napi-key: k\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=simple\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.startup["port"]), TIMEOUT) as upload:
            upload.sendall(head.encode() + body[:position])
            client.get("/files")  # by its response the server has most likely read the bytes that were sent before
            succeeded = upload.recv(1_000).startswith(b"HTTP/1.1 200") if position >= len(body) else False
            server.kill()
    restarted = start_server(data)
    with restarted.client() as client:
        open_all_worlds(client)
        check_data_directory(data)
        acknowledged.check(client)
        inside = client.get(path, params={"limit": 100}).json()["data"]
        found = [each for each in inside if f"{path}/{each['id']}" not in acknowledged.objects]
        assert len(found) == succeeded
        for each in found:
            name = f"{path}/{each['id']}"
            acknowledged.objects[name], acknowledged.contents[name] = each, content
        acknowledged.check(client)
    restarted.kill()


def kill_positions(size: int, count: int) -> list[int]:
    """Return the numbers of bytes to send before a kill: within the head of the form, at `count` steps through the
    content, within the closing boundary, and beyond the end."""
    length = len(form(('Content-Disposition: form-data; name="file"; filename="a.bin"', bytes(size))))
    return sorted({1, 40, 100, *(length * n // count for n in range(1, count)), length - 12, length - 1, 10 * length})


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_a_kill_at_any_line_leaves_each_operation_undone_or_complete(tmp_path: Path, half: int) -> None:
    """A kill at every 14th line gives the number that the manual names. The two halves can run in parallel."""
    program = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, "-W", "error", program, tmp_path, "14", *list(kill_points.OPERATIONS)[half::2]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=program.parents[1])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for operation, kills in found.items():
        assert kills["undone"], f"{operation}: no kill left it undone"
        assert kills["complete"], f"{operation}: no kill left it complete"
        assert kills["between"] or operation not in kill_points.FIRST_STEPS, f"{operation}: no kill between its steps"
    count = sum(sum(kills.values()) for kills in found.values())
    print(f"\nkilled {count:,} times: {found}")
    assert count >= tried("kills, each at") / 2


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/files", "container"])
def test_a_kill_at_any_position_of_an_upload_leaves_no_partial_file(
    start_server: StartServer, tmp_path: Path, path: str
) -> None:
    data = tmp_path / "data"
    acknowledged = killed_server(start_server, data)
    positions = kill_positions(1_500_000, 12)
    for position in positions:
        kill_during_upload(start_server, data, acknowledged, path, random_bytes((path, position), 1_500_000), position)
    print(f"\nkilled {len(positions)} times")


def killed_server(start_server: StartServer, data: Path) -> Acknowledged:
    """Kill a server that has stored some objects, and return those."""
    acknowledged = Acknowledged()
    server = start_server(data)
    with server.client() as client:
        acknowledged.container(client)
        acknowledged.file(client, b"old")
    server.kill()
    return acknowledged


# Damaged databases


def database(data: Path, world: str = "w") -> Path:
    (file,) = data.glob(f"worlds/*-{world}/world.db")
    return file


def damage(file: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(file.read_bytes())
    assert len(content) > 3 * PAGE
    change(content)
    file.write_bytes(content)


def overwrite(start: int, stop: int) -> Callable[[bytearray], object]:
    def change(content: bytearray) -> None:
        last = stop or len(content)
        content[start:last] = random_bytes("damage", last - start)

    return change


def truncate(at: Callable[[bytearray], int]) -> Callable[[Path], None]:
    return lambda file: damage(file, lambda content: content.__delitem__(slice(at(content), None)))


def set_newer_schema(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version=999")


def replace_with_other_database(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE notes (note TEXT)")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "header": (lambda file: damage(file, overwrite(0, 100)), "is damaged"),
    "all but the first page": (lambda file: damage(file, overwrite(PAGE, 0)), "is damaged"),
    "second half missing": (truncate(lambda content: len(content) // 2 // PAGE * PAGE), "is damaged"),
    "truncated in the first page": (truncate(lambda content: 1_000), "is damaged"),
    "empty": (truncate(lambda content: 0), "is not a world's database"),
    "text": (lambda file: file.write_text("Dear diary,\n" * 1_000), "is damaged"),
    "missing": (lambda file: file.unlink(), "is missing"),
    "newer schema": (set_newer_schema, "schema 999"),
    "another program's database": (replace_with_other_database, "is not a world's database"),
}


@pytest.fixture(scope="module")
def two_worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Acknowledged]:
    """A data directory with two worlds, `default` and `w`, that have the same objects and a snapshot `kept` each, and
    these objects."""
    data, acknowledged = tmp_path_factory.mktemp("two") / "data", Acknowledged()
    with MockServer(data=data) as server, World(server, "default") as world:
        acknowledged.file(world.http, random_bytes("large", 100_000))
        for number in range(8):
            acknowledged.container(world.http, "n" * 500)
            acknowledged.file(world.http, random_bytes(number, 2_000))
        for name in ("default", "w"):
            if name == "w":
                ok(httpx2.post(f"{server.url}/_mock/worlds/w", json={"fork_of": "default"}))
            ok(httpx2.put(f"{server.url}/_mock/worlds/{name}/snapshots/kept"))
    return data, acknowledged


def copy_of(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "data"))


FAST_DAMAGE = ("header", "missing", "newer schema", "another program's database")
"""One for each message; tests of the others are slow."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=() if kind in FAST_DAMAGE else pytest.mark.slow)
        for kind, name in [*((kind, "w") for kind in DAMAGE), ("text", "default")]
    ],
)
def test_a_damaged_world_returns_world_unusable_and_other_worlds_are_served(
    two_worlds: tuple[Path, Acknowledged], tmp_path: Path, kind: str, name: str
) -> None:
    (original, acknowledged), (change, reason) = two_worlds, DAMAGE[kind]
    data, other = copy_of(original, tmp_path), "w" if name == "default" else "default"
    file = database(data, name)
    intact = file.read_bytes()
    change(file)
    (data / "clean").unlink()
    damaged = file.read_bytes() if file.exists() else None
    with MockServer(data=data) as server, World(server, name) as bad, World(server, other) as good:
        control = f"{server.url}/_mock/worlds"
        for path in ("/files", "/containers/any"):
            response = bad.http.get(path)
            message = error_message_of_any_api(response, 500, "world_unusable")
            assert response.headers["x-should-retry"] == "false"
            assert str(file) in message
            assert reason in message
        error_message(bad.http.post("/containers", json={"name": "box"}), 500, "world_unusable")
        for path in ("/containers", "/export", "/faults"):
            error_message(httpx2.get(f"{control}/{name}{path}"), 500, "world_unusable")
        error_message(httpx2.post(f"{control}/new", json={"fork_of": name}), 500, "world_unusable")
        error_message(httpx2.put(f"{control}/{name}/snapshots/late"), 500, "world_unusable")
        acknowledged.check(good.http)
        listed = {each["name"]: each for each in ok(httpx2.get(control))["data"]}
        assert sorted(listed) == ["default", "w"]
        assert (reason in listed[name]["error"], str(file) in listed[name]["error"]) == (True, True)
        assert ok(httpx2.get(f"{control}/{name}")) == listed[name]
        assert (listed[name]["counts"], listed[other]["error"]) == (None, None)
        counts = {kind: number for kind, number in listed[other]["counts"].items() if number}
        assert counts == {"containers": 8, "files": 9}
        assert [each["name"] for each in ok(httpx2.get(f"{control}/{name}/snapshots"))["data"]] == ["kept"]
    assert (file.read_bytes() if file.exists() else None) == damaged
    file.write_bytes(intact)  # as from a backup
    with MockServer(data=data) as server, World(server, name) as world:
        acknowledged.check(world.http)


def error_message_of_any_api(response: httpx2.Response, status: int, code: str) -> str:
    """Check an error response and return its message, also of the Files API, whose errors have more fields."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return str(error["message"])


@pytest.mark.parametrize("repair", ["reset", "restore", "import", "delete"])
def test_a_damaged_world_can_be_replaced_and_deleted(
    two_worlds: tuple[Path, Acknowledged], tmp_path: Path, repair: str
) -> None:
    data, acknowledged = copy_of(two_worlds[0], tmp_path), two_worlds[1]
    damage(database(data), overwrite(0, 0))
    with MockServer(data=data) as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds/w"
        error_message_of_any_api(world.http.get("/files"), 500, "world_unusable")
        if repair == "delete":
            ok(httpx2.delete(control))
            error_message(httpx2.get(control), 404, "world_not_found")
        elif repair == "restore":
            ok(httpx2.post(f"{control}/snapshots/kept/restore"))
            acknowledged.check(world.http)
        elif repair == "import":
            ok(httpx2.post(f"{control}/import", content=b"version: 1\ncontainers: [{name: box}]"))
        else:
            ok(httpx2.post(f"{control}/reset"))
        if repair != "restore":
            expected = ["box"] if repair == "import" else []
            assert [each.name for each in world.openai.containers.list()] == expected
    with MockServer(data=data) as server, World(server, "w") as world:  # the repair survives a restart
        assert world.http.get("/files").status_code == 200


def test_a_damaged_snapshot_returns_snapshot_unusable_and_changes_no_world(
    two_worlds: tuple[Path, Acknowledged], tmp_path: Path
) -> None:
    data, acknowledged = copy_of(two_worlds[0], tmp_path), two_worlds[1]
    (file,) = data.glob("snapshots/*-w@kept/world.db")
    damage(file, overwrite(0, 0))
    with MockServer(data=data) as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds"
        for method, path, sent in (
            ("POST", "/w/snapshots/kept/restore", {}),
            ("POST", "/new", {"json": {"fork_of": "w", "snapshot": "kept"}}),
        ):
            message = error_message(httpx2.request(method, control + path, **sent), 500, "snapshot_unusable")
            assert str(file) in message
        error_message(httpx2.get(f"{control}/new"), 404, "world_not_found")
        listed = ok(httpx2.get(f"{control}/w/snapshots"))["data"]
        assert [each["name"] for each in listed] == ["kept"]
        acknowledged.check(world.http)
        ok(httpx2.put(f"{control}/w/snapshots/kept"))
        ok(httpx2.post(f"{control}/w/snapshots/kept/restore"))
        acknowledged.check(world.http)
    with MockServer(data=data) as server, World(server, "w") as world:
        acknowledged.check(world.http)


@pytest.mark.slow
def test_a_damaged_write_ahead_log_loses_only_its_last_changes(start_server: StartServer, tmp_path: Path) -> None:
    """The log has checksums: SQLite replays it up to the damage."""
    data, acknowledged = tmp_path / "data", Acknowledged()
    server = start_server(data)
    with server.client() as client:
        for number in range(40):
            acknowledged.container(client, f"n{number}")
    server.kill()
    log = database(data, "default").with_name("world.db-wal")
    damage(log, overwrite(log.stat().st_size // 2, 0))
    with start_server(data).client() as client:
        there = [each["name"] for each in client.get("/containers?limit=100&order=asc").json()["data"]]
        check_data_directory(data)
        assert there == [f"n{number}" for number in range(len(there))]
        assert 0 < len(there) < 40
        assert client.post("/containers", json={"name": "after"}).status_code == 200


def test_a_database_damaged_while_open_returns_world_unusable(tmp_path: Path) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        many = {"containers": [{"name": "{n}" + "n" * 500, "repeat": 300}]}
        ok(httpx2.post(f"{server.url}/_mock/worlds/w/place", json=many))
        with closing(sqlite3.connect(database(tmp_path / "data"))) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(database(tmp_path / "data"), overwrite(2 * PAGE, 0))
        connection = server.mock.worlds.known("w").database.connection
        connection.execute("PRAGMA cache_size=0")
        connection.execute("PRAGMA shrink_memory")
        response = world.http.get("/containers?limit=100")
        assert response.status_code == 500
        assert "malformed" in error_message(response, 500, "world_unusable") or "not a database" in response.text
        assert response.headers["x-should-retry"] == "false"
        control = f"{server.url}/_mock/worlds"
        error_message(httpx2.get(f"{control}/w/containers"), 500, "world_unusable")
        assert "malformed" in ok(httpx2.get(control))["data"][0]["error"]
        assert httpx2.get(f"{server.url}/health").status_code == 200
        ok(httpx2.post(f"{control}/w/reset"))
        assert world.http.get("/containers").json()["data"] == []


def test_a_database_locked_by_another_program_returns_storage_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockserver.context.BUSY_SECONDS", 0.01)
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        ok(world.http.post("/containers", json={"name": "before"}))
        with closing(sqlite3.connect(database(tmp_path / "data"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            response = world.http.post("/containers", json={"name": "during"})
            assert "another program" in error_message(response, 500, "storage_failed")
        ok(world.http.post("/containers", json={"name": "after"}))
        assert [each.name for each in world.openai.containers.list()] == ["after", "before"]


def test_a_missing_content_file_returns_storage_failed(tmp_path: Path) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        acknowledged = Acknowledged()
        acknowledged.file(world.http, random_bytes("large", 50_000))
        (path,) = acknowledged.contents
        for content in (tmp_path / "data").glob("worlds/*/contents/*/*"):
            content.unlink()
        error_message(world.http.get(f"{path}/content"), 500, "storage_failed")
        assert world.http.delete(path).status_code == 200


def test_work_in_a_thread_succeeds_although_no_other_connection_can_be_opened_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MockServer(data=tmp_path) as server:
        worlds = server.mock.worlds

        def fail(_: Database) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        async def work_in_thread() -> None:
            context = await worlds.enter("w")
            context.large = True
            connection = context.world.database.detach()
            assert connection
            connection.close()
            monkeypatch.setattr(Database, "_open", fail)
            assert await context.run(lambda context: "done") == "done"

        server.run(work_in_thread())


@pytest.mark.parametrize("to_container", [False, True])
def test_an_upload_whose_content_cannot_be_stored_leaves_no_row_and_no_bytes(
    tmp_path: Path, to_container: bool
) -> None:
    data, acknowledged, content = tmp_path / "data", Acknowledged(), b"large" * 10_000
    with MockServer(data=data) as server, World(server, "w") as world:
        box = acknowledged.container(world.http).json()["id"]
        path = f"/containers/{box}/files" if to_container else "/files"
        place = database(data).parent / "contents" / hashlib.sha256(content).hexdigest()[:2]
        sent: dict[str, Any] = {"files": {"file": ("a.bin", content)}}
        sent |= {} if to_container else {"data": {"purpose": "vision"}}
        place.parent.mkdir(exist_ok=True)
        place.write_text("a file in place of a directory")
        error_message(world.http.post(path, **sent), 500, "storage_failed")
        assert world.http.get(path).json()["data"] == []
        assert list((data / "uploads").iterdir()) == []
        place.unlink()
        created = world.http.post(path, **sent).json()
        assert world.http.get(f"{path}/{created['id']}/content").content == content


def test_a_moved_data_directory_returns_storage_failed(tmp_path: Path) -> None:
    """Also for a request that opens a connection of its own."""
    data = tmp_path / "data"
    with MockServer(data=data) as server, World(server, "w") as world:
        Acknowledged().container(world.http)
        control = f"{server.url}/_mock/worlds/w"
        data.rename(tmp_path / "away")
        error_message(httpx2.get(f"{control}/containers"), 500, "storage_failed")
        assert ok(httpx2.get(control))["counts"]["containers"] == 1, "the database is still open"
        (tmp_path / "away").rename(data)
        assert httpx2.get(control).json()["counts"]["containers"] == 1


# The clock


class AdjustableWall(Wall):
    """A clock of the machine that a test sets, with a monotonic clock that it advances."""

    time, elapsed = float(NOON), 0.0

    def __init__(self) -> None:
        self._time, self._monotonic = lambda: self.time, lambda: self.elapsed  # type: ignore[misc,assignment]  # instead of the machine's
        super().__init__()


def test_setting_the_machine_clock_does_not_move_world_clocks(tmp_path: Path) -> None:
    wall = AdjustableWall()
    with MockServer(data=tmp_path / "data", wall=wall) as server, World(server, "w") as world:
        box = world.openai.containers.create(name="box")
        assert box.created_at == NOON
        for step in (-7_200, 86_400, -1_000_000):
            wall.time = NOON + step
            wall.elapsed += 60
            found = world.openai.containers.retrieve(box.id)
            assert (found.status, found.last_active_at) == ("running", NOON + wall.elapsed)
        wall.elapsed += 20 * 60
        assert world.openai.containers.retrieve(box.id).status == "expired"


def test_objects_of_the_future_expire_after_the_machine_clock_was_set_back(tmp_path: Path) -> None:
    """A container created before the change has times in the future, and counts its lifetime from them."""
    wall = AdjustableWall()
    with MockServer(data=tmp_path / "data", wall=wall) as server, World(server, "w") as world:
        box = world.openai.containers.create(name="box")
    wall = AdjustableWall()
    wall._anchor -= 3_600
    with MockServer(data=tmp_path / "data", wall=wall) as server, World(server, "w") as world:
        assert world.openai.containers.retrieve(box.id).status == "running"
        created = world.openai.containers.create(name="created later, at an earlier time")
        assert created.id != box.id
        assert created.created_at == NOON - 3_600
        assert [each.id for each in world.openai.containers.list(limit=1)] == [box.id, created.id]
        wall.elapsed += 3_600 + 20 * 60 - 1
        assert world.openai.containers.retrieve(created.id).status == "expired"
        assert world.openai.containers.retrieve(box.id).status == "running"
        wall.elapsed += 20 * 60
        assert world.openai.containers.retrieve(box.id).status == "expired"
