"""Faults of the machine: no room, no permission, no descriptors, a kill in mid-upload, a damaged database, a clock
that steps back. Whatever happens, the error says so in plain words, nothing that was acknowledged is lost, other
worlds are served, and the server goes on when the machine does.
"""

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
from rawhttp import form
from test_durability import PATIENCE, Serve, Served, check_directory, serve, start_error, visit

from mockserver.clock import Wall
from mockserver.server.serving import MockServer

PAGE = 4_096
ROOM = 700_000
"""Bytes of the largest file on a disk that is said to be full behind them."""

__all__ = ["serve"]  # the fixture


@dataclass
class Kept:
    """What was acknowledged: each object as it was told, and the bytes of those that have some."""

    objects: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def container(self, client: httpx2.Client, name: str = "box") -> httpx2.Response:
        life = {"anchor": "last_active_at", "minutes": 1_000_000}
        answer = client.post("/containers", json={"name": name, "expires_after": life})
        if answer.status_code == 200:
            self.objects[f"/containers/{answer.json()['id']}"] = answer.json()
        return answer

    def file(self, client: httpx2.Client, content: bytes) -> httpx2.Response:
        answer = client.post("/files", files={"file": ("a.bin", content)}, data={"purpose": "vision"})
        if answer.status_code == 200:
            path = f"/files/{answer.json()['id']}"
            self.objects[path], self.contents[path] = answer.json(), content
        return answer

    def check(self, client: httpx2.Client) -> None:
        assert self.objects
        for path, told in self.objects.items():
            shown = client.get(path).json()
            assert shown | {"last_active_at": 0} == told | {"last_active_at": 0}
        for path, content in self.contents.items():
            assert client.get(f"{path}/content").content == content


def noise(seed: object, size: int) -> bytes:
    return hashlib.shake_256(str(seed).encode()).digest(size)


@contextmanager
def limited(data: Path, kind: int, limit: int) -> Iterator[tuple[Served, Path]]:
    """A server to which the system gives only so much, and its log."""
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
        yield Served(process, json.loads(line)), log
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


# No room


def fill_up(client: httpx2.Client, kept: Kept) -> None:
    """Until nothing more can be stored."""
    for _ in range(3_000):
        if (answer := kept.container(client, "n" * 1_000)).status_code != 200:
            break
    message = error_message(answer, 500, "storage_failed")
    assert "--data" in message
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    data, kept = tmp_path / "data", Kept()
    with limited(data, resource.RLIMIT_FSIZE, ROOM) as (server, log), server.client() as client:
        clock = f"{server.started['url']}/_mock/worlds/default/clock/scale"
        ok(client.post(clock, json={"rate": 1_000}))  # so that each use is one that would have to be written down
        assert kept.container(client).status_code == 200
        assert kept.file(client, noise("fits", 1_000)).status_code == 200
        too_large = kept.file(client, noise("does not fit", 3 * ROOM))
        assert too_large.status_code == 500
        assert too_large.json()["error"]["code"] == too_large.json()["detail"]["code"] == "storage_failed"
        assert list((data / "uploads").iterdir()) == []
        assert kept.file(client, noise("fits too", 1_000)).status_code == 200
        fill_up(client, kept)
        kept.check(client)  # it goes on reading
        before = stored(data)
        error_message(kept.file(client, noise("has room, and its row has none", 100_000)), 500, "storage_failed")
        assert stored(data) == before
        failed = client.get(f"{server.started['url']}/_mock/worlds/default/journal?status=500&limit=1000").json()[
            "data"
        ]
        assert failed
        assert [each["objects"] for each in failed] == [[]] * len(failed)
        control = client.put(f"{server.started['url']}/_mock/worlds/default/snapshots/late")
        assert control.status_code in (200, 500)
        if control.status_code == 500:
            error_message(control, 500, "storage_failed")
    lines = log.read_text().splitlines()
    assert [line for line in lines if "can't be used" in line]
    with serve(data).client() as client:
        visit(client)
        check_directory(data)
        kept.check(client)
        assert kept.file(client, noise("now it does", 3 * ROOM)).status_code == 200
        kept.check(client)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True)
    if not made or made.returncode:
        pytest.skip("needs root, and a system that lets it mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_and_then_is_not(serve: Serve, small_disk: Path) -> None:
    kept, data = Kept(), small_disk / "data"
    server = serve(data)
    with server.client() as client:
        assert kept.container(client).status_code == 200
        (small_disk / "ballast").write_bytes(b"")
        with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1_024))
        refusals = {
            kept.file(client, noise("x", 500_000)).status_code,
            kept.file(client, noise("y", 500_000)).status_code,
        }
        assert refusals == {500}
        fill_up(client, kept)
        kept.check(client)
        (small_disk / "ballast").unlink()
        assert kept.file(client, noise("x", 500_000)).status_code == 200
        assert kept.container(client).status_code == 200
        kept.check(client)
    server.kill()
    with serve(data).client() as client:
        visit(client)
        kept.check(client)
    check_directory(data)


@pytest.mark.slow
@pytest.mark.parametrize("opened", [True, False])
def test_deleting_a_world_makes_room_on_a_full_disk(serve: Serve, small_disk: Path, opened: bool) -> None:
    """A world is deleted by renaming it, which needs no space; also one that no request has used since the start."""
    kept, data = Kept(), small_disk / "data"
    server = serve(data)
    with server.client() as client:
        large = {"files": {"file": ("a.bin", noise("large", 800_000))}, "data": {"purpose": "vision"}}
        ok(client.post(f"{server.started['url']}/w/large/v1/files", **large))
        ok(client.put(f"{server.started['url']}/_mock/worlds/large/snapshots/one"))
        kept.container(client)
    if not opened:
        server.stop()
        server = serve(data)
    control = f"{server.started['url']}/_mock/worlds"
    with server.client() as client:
        kept.check(client)  # SQLite can't open a file for the first time where there is no space
        with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1_024))
        fill_up(client, kept)
        for method, path, sent in (
            ("POST", "/default/reset", {}),
            ("POST", "/new", {"json": {}}),
            ("POST", "/new", {"json": {"fork_of": "default"}}),
            ("PUT", "/default/snapshots/late", {}),
            ("POST", "/default/clock/advance", {"json": {"by": "1m"}}),
        ):
            error_message(client.request(method, control + path, **sent), 500, "storage_failed")
        kept.check(client)
        listed = ok(client.get(control))["data"]
        assert {each["name"]: each["counts"] and each["counts"]["files"] for each in listed}.items() >= {("large", 1)}
        assert {each["name"] for each in listed} == {"default", "large"}
        if not opened:  # to open its database takes space for SQLite's index of the log
            for method, path, sent in (
                ("GET", "/w/large/v1/files", {}),
                ("POST", "/w/large/v1/containers", {"json": {"name": "box"}}),
                ("POST", "/_mock/worlds/large/clock/advance", {"json": {"by": "1m"}}),
                ("GET", "/_mock/worlds/large/files", {}),
            ):
                message = error_message(
                    client.request(method, server.started["url"] + path, **sent), 500, "storage_failed"
                )
                assert "--data" in message
        ok(client.delete(f"{control}/large"))
        assert {each["name"] for each in ok(client.get(control))["data"]} == {"default"}
        for _ in range(1_000):  # its files are removed in a thread
            if kept.file(client, noise("x", 500_000)).status_code == 200:
                break
        kept.check(client)
        ok(client.put(f"{control}/default/snapshots/late"))
    server.kill()
    with serve(data).client() as client:
        visit(client)
        kept.check(client)
    check_directory(data)


# No permission


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_is_refused(serve: Serve, small_disk: Path) -> None:
    data, kept = small_disk / "data", Kept()
    server = serve(data)
    with server.client() as client:
        kept.container(client)
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    line = start_error(data)
    assert str(data) in line
    assert "--data" in line
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    with serve(data).client() as client:
        kept.check(client)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the test above mounts a file system instead")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    line = start_error(data)
    assert str(data) in line
    assert "--data" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["worlds", "uploads"])
def test_a_directory_in_whose_place_a_file_is_is_refused(serve: Serve, tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    (data / "worlds").mkdir(parents=True)
    (data / "lock").touch()
    if (data / name).exists():
        (data / name).rmdir()
    (data / name).write_text("somebody's")
    assert "can't be used" in start_error(data)
    (data / name).unlink()
    with serve(data).client() as client:
        assert client.get("/files").status_code == 200


# No descriptors


@pytest.mark.slow
def test_more_connections_than_descriptors(serve: Serve, tmp_path: Path) -> None:
    data, kept = tmp_path / "data", Kept()
    with limited(data, resource.RLIMIT_NOFILE, 64) as (server, log):
        address = ("127.0.0.1", server.started["port"])
        with server.client() as client, ExitStack() as stack:
            kept.container(client)
            kept.file(client, b"before")
            for _ in range(150):
                stack.enter_context(socket.create_connection(address, PATIENCE))
            upload = kept.file(client, b"meanwhile")  # its connection is there already, its file can't be
            if upload.status_code != 200:
                error_message(upload, 500, "storage_failed")
        for _ in range(1_000):  # until those that left are noticed
            with suppress(httpx2.TransportError), server.client() as client:
                if kept.container(client).status_code == 200:
                    break
        with server.client() as client:
            assert kept.file(client, b"after").status_code == 200
            kept.check(client)
    assert "Traceback" not in log.read_text()
    with serve(data).client() as client:
        kept.check(client)
        visit(client)
    check_directory(data)


@pytest.mark.slow
def test_more_worlds_than_descriptors(tmp_path: Path) -> None:
    with limited(tmp_path / "data", resource.RLIMIT_NOFILE, 80) as (server, log), server.client() as client:
        for _ in range(2):
            for number in range(60):
                ok(client.post(f"{server.started['url']}/w/w{number}/v1/containers", json={"name": "box"}))
            counts = [each["counts"] for each in ok(client.get(f"{server.started['url']}/_mock/worlds"))["data"]]
        assert [each["containers"] for each in counts] == [2] * 60
    assert log.read_text() == ""


# Killed


def kill_at(serve: Serve, data: Path, kept: Kept, path: str, content: bytes, end: int) -> None:
    """Kill the server when it has got so much of an upload, and look at what it left when it is back."""
    parts = [('Content-Disposition: form-data; name="purpose"', b"vision")] if path == "/files" else []
    body = form(*parts, ('Content-Disposition: form-data; name="file"; filename="a.bin"', content))
    server = serve(data)
    with server.client() as client:
        if path != "/files":
            path = f"/containers/{kept.container(client).json()['id']}/files"
        head = (
            f"POST /v1{path} HTTP/1.1\r\nHost: x\r\napi-key: k\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=simple\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.started["port"]), PATIENCE) as upload:
            upload.sendall(head.encode() + body[:end])
            client.get("/files")  # it has most likely read by then what was sent before
            acknowledged = upload.recv(1_000).startswith(b"HTTP/1.1 200") if end >= len(body) else False
            server.kill()
    again = serve(data)
    with again.client() as client:
        visit(client)
        check_directory(data)
        kept.check(client)
        inside = client.get(path, params={"limit": 100}).json()["data"]
        found = [each for each in inside if f"{path}/{each['id']}" not in kept.objects]
        assert len(found) == acknowledged
        for each in found:
            name = f"{path}/{each['id']}"
            kept.objects[name], kept.contents[name] = each, content
        kept.check(client)
    again.kill()


def phases(size: int, count: int) -> list[int]:
    """Ends of what is sent: in the form's head, at every part of the content, in its closing, and behind it."""
    length = len(form(('Content-Disposition: form-data; name="file"; filename="a.bin"', bytes(size))))
    return sorted({1, 40, 100, *(length * n // count for n in range(1, count)), length - 12, length - 1, 10 * length})


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_killed_at_any_line_nothing_is_half_done(tmp_path: Path, half: int) -> None:
    """At every 14th line, which is as often as the manual says; in two halves, which can run beside each other."""
    program = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, "-W", "error", program, tmp_path, "14", *list(kill_points.ACTS)[half::2]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=program.parents[1])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for act, kills in found.items():
        assert kills["undone"], f"{act}: no kill came before it was done"
        assert kills["done"], f"{act}: no kill came after it was done"
        assert kills["between"] or act not in kill_points.BETWEEN, f"{act}: no kill came between its steps"
    count = sum(sum(kills.values()) for kills in found.values())
    print(f"\nkilled {count:,} times: {found}")
    assert count >= tried("kills at a line") / 2


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/files", "container"])
def test_killed_in_every_phase_of_an_upload(serve: Serve, tmp_path: Path, path: str) -> None:
    data = tmp_path / "data"
    kept = started(serve, data)
    ends = phases(1_500_000, 12)
    for end in ends:
        kill_at(serve, data, kept, path, noise((path, end), 1_500_000), end)
    print(f"\nkilled {len(ends)} times")


def started(serve: Serve, data: Path) -> Kept:
    """Something there already."""
    kept = Kept()
    server = serve(data)
    with server.client() as client:
        kept.container(client)
        kept.file(client, b"old")
    server.kill()
    return kept


# Damaged


def database(data: Path, world: str = "w") -> Path:
    (found,) = data.glob(f"worlds/*-{world}/world.db")
    return found


def damage(file: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(file.read_bytes())
    assert len(content) > 3 * PAGE
    change(content)
    file.write_bytes(content)


def noisy(start: int, stop: int) -> Callable[[bytearray], object]:
    def change(content: bytearray) -> None:
        last = stop or len(content)
        content[start:last] = noise("damage", last - start)

    return change


def cut(at: Callable[[bytearray], int]) -> Callable[[Path], None]:
    return lambda file: damage(file, lambda content: content.__delitem__(slice(at(content), None)))


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version=999")


def somebodys(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE notes (note TEXT)")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "header": (lambda file: damage(file, noisy(0, 100)), "is damaged"),
    "all but the first page": (lambda file: damage(file, noisy(PAGE, 0)), "is damaged"),
    "half of it": (cut(lambda content: len(content) // 2 // PAGE * PAGE), "is damaged"),
    "cut in the first page": (cut(lambda content: 1_000), "is damaged"),
    "empty": (cut(lambda content: 0), "is not a world's database"),
    "text": (lambda file: file.write_text("Dear diary,\n" * 1_000), "is damaged"),
    "gone": (lambda file: file.unlink(), "is missing"),
    "newer": (newer, "schema 999"),
    "another program's": (somebodys, "is not a world's database"),
}


@pytest.fixture(scope="module")
def two_worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept]:
    """A data directory with the worlds `default` and `w`, what is in both of them, and a snapshot of each, `kept`."""
    data, kept = tmp_path_factory.mktemp("two") / "data", Kept()
    with MockServer(data=data) as server, World(server, "default") as world:
        kept.file(world.http, noise("large", 100_000))
        for number in range(8):
            kept.container(world.http, "n" * 500)
            kept.file(world.http, noise(number, 2_000))
        for name in ("default", "w"):
            if name == "w":
                ok(httpx2.post(f"{server.url}/_mock/worlds/w", json={"fork_of": "default"}))
            ok(httpx2.put(f"{server.url}/_mock/worlds/{name}/snapshots/kept"))
    return data, kept


def served_copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "data"))


FEW_DAMAGES = ("header", "gone", "newer", "another program's")
"""One for each message; the others are for the slow tests."""


@pytest.mark.parametrize(
    ("how", "name"),
    [
        pytest.param(how, name, marks=() if how in FEW_DAMAGES else pytest.mark.slow)
        for how, name in [*((how, "w") for how in DAMAGES), ("text", "default")]
    ],
)
def test_a_damaged_world_is_told_and_left_alone_and_the_others_go_on(
    two_worlds: tuple[Path, Kept], tmp_path: Path, how: str, name: str
) -> None:
    (original, kept), (change, words) = two_worlds, DAMAGES[how]
    data, other = served_copy(original, tmp_path), "w" if name == "default" else "default"
    file = database(data, name)
    sound = file.read_bytes()
    change(file)
    (data / "clean").unlink()
    left = file.read_bytes() if file.exists() else None
    with MockServer(data=data) as server, World(server, name) as bad, World(server, other) as good:
        control = f"{server.url}/_mock/worlds"
        for path in ("/files", "/containers/any"):
            answer = bad.http.get(path)
            message = refusal_of(answer, 500, "world_unusable")
            assert answer.headers["x-should-retry"] == "false"
            assert str(file) in message
            assert words in message
        error_message(bad.http.post("/containers", json={"name": "box"}), 500, "world_unusable")
        for path in ("/containers", "/export", "/faults"):
            error_message(httpx2.get(f"{control}/{name}{path}"), 500, "world_unusable")
        error_message(httpx2.post(f"{control}/new", json={"fork_of": name}), 500, "world_unusable")
        error_message(httpx2.put(f"{control}/{name}/snapshots/late"), 500, "world_unusable")
        kept.check(good.http)
        shown = {each["name"]: each for each in ok(httpx2.get(control))["data"]}
        assert sorted(shown) == ["default", "w"]
        assert (words in shown[name]["error"], str(file) in shown[name]["error"]) == (True, True)
        assert ok(httpx2.get(f"{control}/{name}")) == shown[name]
        assert (shown[name]["counts"], shown[other]["error"]) == (None, None)
        counts = {kind: number for kind, number in shown[other]["counts"].items() if number}
        assert counts == {"containers": 8, "files": 9}
        assert [each["name"] for each in ok(httpx2.get(f"{control}/{name}/snapshots"))["data"]] == ["kept"]
    assert (file.read_bytes() if file.exists() else None) == left
    file.write_bytes(sound)  # from a backup
    with MockServer(data=data) as server, World(server, name) as world:
        kept.check(world.http)


def refusal_of(answer: httpx2.Response, status: int, code: str) -> str:
    """Of both APIs; the Files API's has details besides."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    return str(error["message"])


@pytest.mark.parametrize("repair", ["reset", "restore", "import", "delete"])
def test_a_damaged_world_can_be_replaced_and_deleted(
    two_worlds: tuple[Path, Kept], tmp_path: Path, repair: str
) -> None:
    data, kept = served_copy(two_worlds[0], tmp_path), two_worlds[1]
    damage(database(data), noisy(0, 0))
    with MockServer(data=data) as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds/w"
        refusal_of(world.http.get("/files"), 500, "world_unusable")
        if repair == "delete":
            ok(httpx2.delete(control))
            error_message(httpx2.get(control), 404, "world_not_found")
        elif repair == "restore":
            ok(httpx2.post(f"{control}/snapshots/kept/restore"))
            kept.check(world.http)
        elif repair == "import":
            ok(httpx2.post(f"{control}/import", content=b"version: 1\ncontainers: [{name: box}]"))
        else:
            ok(httpx2.post(f"{control}/reset"))
        if repair != "restore":
            expected = ["box"] if repair == "import" else []
            assert [each.name for each in world.openai.containers.list()] == expected
    with MockServer(data=data) as server, World(server, "w") as world:  # and it stays so
        assert world.http.get("/files").status_code == 200


def test_a_damaged_snapshot_replaces_nothing(two_worlds: tuple[Path, Kept], tmp_path: Path) -> None:
    data, kept = served_copy(two_worlds[0], tmp_path), two_worlds[1]
    (file,) = data.glob("snapshots/*-w@kept/world.db")
    damage(file, noisy(0, 0))
    with MockServer(data=data) as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds"
        for method, path, sent in (
            ("POST", "/w/snapshots/kept/restore", {}),
            ("POST", "/new", {"json": {"fork_of": "w", "snapshot": "kept"}}),
        ):
            message = error_message(httpx2.request(method, control + path, **sent), 500, "snapshot_unusable")
            assert str(file) in message
        error_message(httpx2.get(f"{control}/new"), 404, "world_not_found")
        shown = ok(httpx2.get(f"{control}/w/snapshots"))["data"]
        assert [each["name"] for each in shown] == ["kept"]
        kept.check(world.http)
        ok(httpx2.put(f"{control}/w/snapshots/kept"))
        ok(httpx2.post(f"{control}/w/snapshots/kept/restore"))
        kept.check(world.http)
    with MockServer(data=data) as server, World(server, "w") as world:
        kept.check(world.http)


@pytest.mark.slow
def test_a_log_that_was_cut_short_costs_only_what_was_in_it(serve: Serve, tmp_path: Path) -> None:
    """What is written ahead has checksums: SQLite takes it up to the damage, and all before is sound."""
    data, kept = tmp_path / "data", Kept()
    server = serve(data)
    with server.client() as client:
        for number in range(40):
            kept.container(client, f"n{number}")
    server.kill()
    log = database(data, "default").with_name("world.db-wal")
    damage(log, noisy(log.stat().st_size // 2, 0))
    with serve(data).client() as client:
        there = [each["name"] for each in client.get("/containers?limit=100&order=asc").json()["data"]]
        check_directory(data)
        assert there == [f"n{number}" for number in range(len(there))]
        assert 0 < len(there) < 40
        assert client.post("/containers", json={"name": "goes on"}).status_code == 200


def test_a_database_damaged_in_use_is_told(tmp_path: Path) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        many = {"containers": [{"name": "{n}" + "n" * 500, "repeat": 300}]}
        ok(httpx2.post(f"{server.url}/_mock/worlds/w/place", json=many))
        with closing(sqlite3.connect(database(tmp_path / "data"))) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(database(tmp_path / "data"), noisy(2 * PAGE, 0))
        connection = server.mock.worlds.known("w").database.connection
        connection.execute("PRAGMA cache_size=0")
        connection.execute("PRAGMA shrink_memory")
        answer = world.http.get("/containers?limit=100")
        assert answer.status_code == 500
        assert "malformed" in error_message(answer, 500, "world_unusable") or "not a database" in answer.text
        assert answer.headers["x-should-retry"] == "false"
        control = f"{server.url}/_mock/worlds"
        error_message(httpx2.get(f"{control}/w/containers"), 500, "world_unusable")
        assert "malformed" in ok(httpx2.get(control))["data"][0]["error"]
        assert httpx2.get(f"{server.url}/health").status_code == 200
        ok(httpx2.post(f"{control}/w/reset"))
        assert world.http.get("/containers").json()["data"] == []


def test_a_database_that_another_program_goes_on_writing_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockserver.context.BUSY_SECONDS", 0.01)
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        ok(world.http.post("/containers", json={"name": "before"}))
        with closing(sqlite3.connect(database(tmp_path / "data"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = world.http.post("/containers", json={"name": "meanwhile"})
            assert "another program" in error_message(answer, 500, "storage_failed")
        ok(world.http.post("/containers", json={"name": "after"}))
        assert [each.name for each in world.openai.containers.list()] == ["after", "before"]


def test_a_content_that_is_gone_is_told(tmp_path: Path) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
        kept = Kept()
        kept.file(world.http, noise("somebody tidies up", 50_000))
        (path,) = kept.contents
        for content in (tmp_path / "data").glob("worlds/*/contents/*/*"):
            content.unlink()
        error_message(world.http.get(f"{path}/content"), 500, "storage_failed")
        assert world.http.delete(path).status_code == 200


@pytest.mark.parametrize("to_container", [False, True])
def test_a_content_that_finds_no_place_leaves_nothing(tmp_path: Path, to_container: bool) -> None:
    """Neither a row without bytes nor bytes without a row: the one is written only with the other."""
    data, kept, content = tmp_path / "data", Kept(), b"has no place" * 5_000
    with MockServer(data=data) as server, World(server, "w") as world:
        box = kept.container(world.http).json()["id"]
        path = f"/containers/{box}/files" if to_container else "/files"
        place = database(data).parent / "contents" / hashlib.sha256(content).hexdigest()[:2]
        sent: dict[str, Any] = {"files": {"file": ("a.bin", content)}}
        sent |= {} if to_container else {"data": {"purpose": "vision"}}
        place.parent.mkdir(exist_ok=True)
        place.write_text("somebody's")
        error_message(world.http.post(path, **sent), 500, "storage_failed")
        assert world.http.get(path).json()["data"] == []
        assert list((data / "uploads").iterdir()) == []
        place.unlink()
        made = world.http.post(path, **sent).json()
        assert world.http.get(f"{path}/{made['id']}/content").content == content


def test_a_directory_that_went_away_is_told(tmp_path: Path) -> None:
    """Also where a connection of its own is opened for what is asked."""
    data = tmp_path / "data"
    with MockServer(data=data) as server, World(server, "w") as world:
        Kept().container(world.http)
        control = f"{server.url}/_mock/worlds/w"
        data.rename(tmp_path / "away")
        error_message(httpx2.get(f"{control}/containers"), 500, "storage_failed")
        assert ok(httpx2.get(control))["counts"]["containers"] == 1, "its database is open"
        (tmp_path / "away").rename(data)
        assert httpx2.get(control).json()["counts"]["containers"] == 1


# The clock


class Stepping(Wall):
    """A machine whose clock is set while the server runs, and whose other clock goes on."""

    time, since = float(NOON), 0.0

    def __init__(self) -> None:
        self._time, self._monotonic = lambda: self.time, lambda: self.since  # type: ignore[misc,assignment]  # in place of the machine's
        super().__init__()


def test_a_clock_that_is_set_back_moves_nothing(tmp_path: Path) -> None:
    wall = Stepping()
    with MockServer(data=tmp_path / "data", wall=wall) as server, World(server, "w") as world:
        box = world.openai.containers.create(name="box")
        assert box.created_at == NOON
        for step in (-7_200, 86_400, -1_000_000):
            wall.time = NOON + step
            wall.since += 60
            shown = world.openai.containers.retrieve(box.id)
            assert (shown.status, shown.last_active_at) == ("running", NOON + wall.since)
        wall.since += 20 * 60
        assert world.openai.containers.retrieve(box.id).status == "expired"


def test_a_clock_that_was_set_back_while_the_server_was_down(tmp_path: Path) -> None:
    """What was made is then of the future: it lives on, and for as long as it is used later than it was."""
    wall = Stepping()
    with MockServer(data=tmp_path / "data", wall=wall) as server, World(server, "w") as world:
        box = world.openai.containers.create(name="box")
    wall = Stepping()
    wall._anchor -= 3_600
    with MockServer(data=tmp_path / "data", wall=wall) as server, World(server, "w") as world:
        assert world.openai.containers.retrieve(box.id).status == "running"
        made = world.openai.containers.create(name="later, and earlier")
        assert made.id != box.id
        assert made.created_at == NOON - 3_600
        assert [each.id for each in world.openai.containers.list(limit=1)] == [box.id, made.id]
        wall.since += 3_600 + 20 * 60 - 1
        assert world.openai.containers.retrieve(made.id).status == "expired"
        assert world.openai.containers.retrieve(box.id).status == "running"
        wall.since += 20 * 60
        assert world.openai.containers.retrieve(box.id).status == "expired"
