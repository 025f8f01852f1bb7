"""Data directories after kills, shutdowns and restarts, and those that a server can't use.

Each server is a process of its own. A test decides when to kill it by counting responses, never by waiting.
"""

import asyncio
import hashlib
import http.client
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import LONG_GRACE, stored
from rawhttp import TIMEOUT

from mockserver import files
from mockserver.context import Context
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.settings import ENVIRONMENT, Settings

DATA_UNUSABLE = 5
"""The exit code for a data directory that can't be used."""

STOPS = [signal.SIGTERM, signal.SIGINT]

Json = dict[str, Any]


@dataclass
class ServerProcess:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    startup: Json

    def client(self) -> httpx2.Client:
        headers = {"Authorization": "Bearer sk-test"}
        return httpx2.Client(base_url=self.startup["base_url"], headers=headers, timeout=TIMEOUT)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.startup["port"], timeout=TIMEOUT)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Stop the server with a signal, and return what it wrote since its startup line."""
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0, stderr
        return stdout + stderr

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT)


def command(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start `mockserver …` with warnings as errors, without settings of the environment."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "mockserver", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT)},
    )


def start_error(data: Path) -> str:
    """Return the line with which `mockserver serve` rejects a data directory."""
    process = command("serve", "--data", data, "--port", "0", "--json")
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stdout) == (DATA_UNUSABLE, ""), stderr
    assert stderr.startswith("mockserver: "), stderr
    assert stderr.count("\n") == 1, stderr
    return stderr


StartServer = Callable[..., ServerProcess]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    processes = []

    def start(data: Path | None, *flags: str) -> ServerProcess:
        where = ["--data", data] if data else []
        arguments = ("serve", "--host", "127.0.0.1", "--port", "0", "--json", "--quiet", *flags, *where)
        process = command(*arguments)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the server did not start: {process.communicate(timeout=TIMEOUT)[1]}")
        return ServerProcess(process, json.loads(line))

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=TIMEOUT)


# Kills


class ServerGone(Exception):
    """The server was killed before it responded, so it may or may not have processed the request."""


@dataclass
class Writer:
    """A client that creates and deletes objects until the server is killed, and keeps the responses by path.

    Each writer uses only its own objects, but some of their contents are those of other writers too.
    """

    number: int
    objects: dict[str, Json] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    maybe_deleted: set[str] = field(default_factory=set)
    """Objects whose DELETE got no response."""

    def run(self, server: ServerProcess, count_response: Callable[[], None]) -> None:
        create, upload, add, copy, delete = self._create, self._upload, self._add, self._copy, self._delete
        actions = [create, upload, add, copy, create, add, delete, upload, copy, add, delete]
        start = self.number % len(actions)
        with server.client() as self._client:
            for step, action in enumerate(itertools.cycle(actions[start:] + actions[:start])):
                try:
                    action(step)
                except ServerGone:
                    return
                count_response()

    def _send(self, method: str, path: str, **request: Any) -> Json:
        try:
            response = self._client.request(method, path, **request)
        except httpx2.TransportError:
            raise ServerGone from None
        assert response.status_code == 200, response.text
        return dict(response.json())

    def _record(self, list: str, created: Json, content: bytes | None = None) -> str:
        path = f"{list}/{created['id']}"
        self.objects[path] = created
        if content is not None:
            self.contents[path] = content
        return path

    def _create(self, step: int) -> str:
        files = [path.rpartition("/")[2] for path in self._paths_in("/files/")][: step % 3]
        return self._record("/containers", self._send("POST", "/containers", json={"name": "any", "file_ids": files}))

    def _upload(self, step: int) -> str:
        content = self._content(step)
        form = {"files": {"file": ("any.bin", content)}, "data": {"purpose": "vision"}}
        return self._record("/files", self._send("POST", "/files", **form), content)

    def _add(self, step: int) -> str:
        list, content = f"{self._container(step)}/files", self._content(step)
        return self._record(list, self._send("POST", list, files={"file": ("any.txt", content)}), content)

    def _copy(self, step: int) -> str:
        list, file = f"{self._container(step)}/files", self._file(step)
        return self._record(
            list, self._send("POST", list, json={"file_id": file.rpartition("/")[2]}), self.contents[file]
        )

    def _delete(self, step: int) -> None:
        paths = sorted(self.objects)
        path = paths[step % len(paths)]
        removed = {each for each in paths if each == path or each.startswith(f"{path}/")}
        self.maybe_deleted |= removed
        for each in removed:
            del self.objects[each]
        self._send("DELETE", path)
        self.maybe_deleted -= removed
        self.deleted |= removed

    def _paths_in(self, list: str) -> list[str]:
        return [path for path in self.objects if path.startswith(list) and path.count("/") == 2]

    def _container(self, step: int) -> str:
        paths = self._paths_in("/containers/")
        return paths[step % len(paths)] if paths else self._create(step)

    def _file(self, step: int) -> str:
        paths = self._paths_in("/files/")
        return paths[step % len(paths)] if paths else self._upload(step)

    def _content(self, step: int) -> bytes:
        """Return a content. The sizes cover empty contents, contents in rows and contents in files."""
        own = f"{self.number}-{step}-".encode()
        return (b"shared" * 1_000, own, b"", own * 20_000, own, own * 200_000)[step % 6]


def write_until_killed(server: ServerProcess, writers: list[Writer], until: int) -> None:
    """Run all writers, and kill the server at response number `until`, while other requests are in progress."""
    numbers = itertools.count(1)

    def count_response() -> None:
        if next(numbers) == until:
            server.process.kill()

    with ThreadPoolExecutor(len(writers)) as pool:
        for done in [pool.submit(writer.run, server, count_response) for writer in writers]:
            done.result(TIMEOUT * 4)
    server.kill()


LEFTOVER = b"leftover"


def add_crash_leftovers(data: Path) -> None:
    """Add all that a crash can leave: an unfinished upload, an unfinished state, a directory in the trash, contents
    without a row, a replaced state, a snapshot of a deleted world."""
    digest = hashlib.sha256(LEFTOVER).hexdigest()
    (world,) = data.glob("worlds/*-default")
    for path in (
        data / "uploads" / "4711",
        data / "uploads" / "1-state" / "world.db",
        data / "trash" / "2-3-deleted" / "world.db",
        data / "worlds" / "0-default" / "world.db",
        data / "snapshots" / "4-deleted@one" / "world.db",
        world / "contents" / digest[:2] / digest,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LEFTOVER)
    with closing(sqlite3.connect(world / "world.db")) as database, database:
        database.execute(
            "INSERT INTO contents VALUES (?, ?)", (hashlib.sha256(b"leftover row").hexdigest(), b"leftover row")
        )


def check_objects(client: httpx2.Client, writer: Writer) -> None:
    for path, created in writer.objects.items():
        found = client.get(path).json()
        for each in (found, created):
            each.pop("last_active_at", None)  # a GET refreshes it
        assert found == created
    for path in writer.objects.keys() & writer.contents.keys():
        assert client.get(f"{path}/content").content == writer.contents[path]
    for path in writer.deleted:
        assert client.get(path).status_code == 404


def listed(client: httpx2.Client, list: str) -> set[str]:
    """Return the paths of all objects of a list, page by page."""
    all_paths: set[str] = set()
    query: Json = {"limit": 100}
    while True:
        page = client.get(list, params=query).json()
        paths = {f"{list}/{each['id']}" for each in page["data"]}
        assert not paths & all_paths
        all_paths |= paths
        if not page["has_more"]:
            return all_paths
        query["after"] = page["last_id"]


def check_lists(client: httpx2.Client, writers: list[Writer], kills: int) -> None:
    """Check that lists have all objects that were acknowledged and none that was deleted.

    At each kill, every writer can have had one create request in progress, whose object may be there.
    """
    for list in ("/containers", "/files"):
        expected = {path for writer in writers for path in writer._paths_in(f"{list}/")}
        deleted, maybe_deleted = (
            set().union(*sets) for sets in zip(*((w.deleted, w.maybe_deleted) for w in writers), strict=True)
        )
        found = listed(client, list)
        assert expected <= found
        assert not found & deleted
        assert len(found - expected - maybe_deleted) <= kills * len(writers)


def open_all_worlds(client: httpx2.Client) -> None:
    """Open every world, which removes what an unclean shutdown left in it."""
    assert client.get(f"{str(client.base_url).removesuffix('/v1/')}/_mock/worlds").status_code == 200


def check_data_directory(data: Path) -> None:
    """Check that each world and snapshot is intact and the only one of its name, that each row has its content, and
    that nothing else is stored. All worlds must have been opened since the start."""
    states = [*data.glob("worlds/*"), *data.glob("snapshots/*")]
    names = [state.name.partition("-")[2] for state in states]
    assert len(names) == len(set(names))
    sizes: dict[str, int] = {}
    for state in states:
        with closing(sqlite3.connect(f"file:{state / 'world.db'}?mode=ro", uri=True)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            named = "SELECT digest, bytes FROM live_files UNION SELECT digest, bytes FROM live_container_files"
            sizes |= (own := dict(database.execute(named)))
            small = {digest for (digest,) in database.execute("SELECT digest FROM contents")}
            positions = (
                "SELECT seq FROM containers UNION ALL SELECT seq FROM container_files UNION ALL SELECT seq FROM files"
            )
            used = [seq for (seq,) in database.execute(positions)]
            assert len(used) == len(set(used))
            assert database.execute("SELECT ordinal FROM world").fetchone()[0] >= max(used, default=0)
        assert small | {path.name for path in state.glob("contents/*/*")} == own.keys()
    there = stored(data)
    assert {digest: len(content) for digest, content in there.items()} == sizes
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in there.items())
    assert not list((data / "uploads").iterdir())
    assert not list((data / "trash").iterdir())


@pytest.mark.parametrize(
    "rounds",
    [pytest.param([60], id="once"), pytest.param([400, 11, 233, 150, 1, 301, 97, 30, 60, 5] * 2 + [1_500], id="often")],
)
@pytest.mark.slow
def test_a_killed_server_loses_no_acknowledged_change(
    start_server: StartServer, tmp_path: Path, rounds: list[int]
) -> None:
    writers = [Writer(number) for number in range(6)]
    for kills, until in enumerate(rounds, 1):
        write_until_killed(start_server(tmp_path), writers, until)
        add_crash_leftovers(tmp_path)
        restarted = start_server(tmp_path)
        with restarted.client() as client:
            open_all_worlds(client)
            check_data_directory(tmp_path)
            for writer in writers:
                check_objects(client, writer)
            check_lists(client, writers, kills)
        assert restarted.stop() == ""
        check_data_directory(tmp_path)
    assert sum(len(writer.objects) + len(writer.deleted) for writer in writers) >= sum(rounds) * 0.6


def test_a_start_after_a_crash_removes_all_leftovers(tmp_path: Path) -> None:
    async def fill(mock: Mock) -> dict[str, bytes]:
        context = await mock.worlds.enter("default")
        await context.run(keep, mock, range(20), True)
        expected = stored(tmp_path)
        await context.run(keep, mock, range(20, 40), False)
        return expected

    def keep(context: Context, mock: Mock, numbers: range, named: bool) -> None:
        with context.write() as tx:
            for number in numbers:
                upload = mock.uploads.put([b"%d" % number * (1 if number % 2 else 20_000)])
                if named:
                    files.create_file(context, NewFile(upload, "a", {"purpose": "vision"}))
                else:
                    context.world.contents.keep(tx, upload)

    with closing(Mock(Settings(data=tmp_path))) as mock:
        expected = asyncio.run(fill(mock))
    assert len(expected) == 20
    assert len(stored(tmp_path)) == 40
    add_crash_leftovers(tmp_path)
    (tmp_path / "clean").unlink()  # as after a kill
    with closing(Mock(Settings(data=tmp_path))) as mock:
        asyncio.run(mock.worlds.enter("default"))
    assert stored(tmp_path) == expected
    check_data_directory(tmp_path)


@pytest.mark.parametrize("durable", [True, False])
def test_connections_use_wal_and_the_synchronous_mode_of_their_directory(tmp_path: Path, durable: bool) -> None:
    """With `--data`, a machine that stops must leave no damaged database; a temporary directory need not survive it.

    This holds on each connection that writes, also on those that threads open.
    """

    def pragmas(connection: sqlite3.Connection) -> tuple[str, int]:
        values = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
        return next(values)[0], next(values)[0]

    with closing(Mock(Settings(data=tmp_path / "data" if durable else None))) as mock:
        context = asyncio.run(mock.worlds.enter("default"))
        expected = ("wal", 1 if durable else 0)
        assert pragmas(context.read) == expected
        with closing(context.world.database.connect()) as connection:
            assert pragmas(connection) == expected


# Shutdown


@pytest.mark.slow
def test_a_restarted_server_serves_all_objects(start_server: StartServer, tmp_path: Path) -> None:
    data = tmp_path / "not" / "yet" / "there"
    writer = Writer(0)
    first = start_server(data)
    with first.client() as writer._client:
        for step in range(12):
            writer._create(step), writer._upload(step), writer._add(step), writer._copy(step)
        writer._delete(1)
        elsewhere = writer._send(
            "POST", first.startup["url"] + "/w/elsewhere/v1/containers", json={"name": "elsewhere"}
        )
    assert first.stop() == ""
    second = start_server(data)
    with second.client() as client:
        check_objects(client, writer)
        check_lists(client, [writer], kills=0)
        assert client.get(f"/containers/{elsewhere['id']}").status_code == 404
        there = client.get(f"{second.startup['url']}/w/elsewhere/v1/containers/{elsewhere['id']}")
        assert there.json()["name"] == "elsewhere"
        new_container = client.post("/containers", json={"name": "new"}).json()
        assert f"/containers/{new_container['id']}" not in writer.objects.keys() | writer.deleted


@pytest.mark.slow
@pytest.mark.parametrize("number", [*STOPS, signal.SIGHUP])
def test_a_temporary_data_directory_is_removed_at_shutdown(start_server: StartServer, number: int) -> None:
    server = start_server(None)
    data = Path(server.startup["data"])
    with server.client() as client:
        assert client.post("/files", files={"file": b"x"}, data={"purpose": "vision"}).status_code == 200
    assert [*data.glob("worlds/*-default/world.db")]
    assert server.stop(number) == ""
    assert not data.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
def test_shutdown_does_not_wait_for_idle_connections(start_server: StartServer, tmp_path: Path, number: int) -> None:
    server = start_server(tmp_path, *LONG_GRACE)
    idle = server.connect()
    idle.request("GET", "/health")
    assert idle.getresponse().read()
    assert server.stop(number) == ""
    idle.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
def test_a_server_can_be_stopped_right_after_its_startup_line(
    start_server: StartServer, tmp_path: Path, number: int
) -> None:
    assert start_server(tmp_path).stop(number) == ""


@pytest.mark.slow
def test_shutdown_ends_with_an_unfinished_upload(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    with socket.create_connection(("127.0.0.1", server.startup["port"]), TIMEOUT) as upload:
        upload.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\r\n"
        )
        assert upload.recv(100).startswith(b"HTTP/1.1 100")  # the server reads the body
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=TIMEOUT) == 0
    with start_server(tmp_path).client() as client:
        open_all_worlds(client)
    check_data_directory(tmp_path)


# Rejected data directories


@pytest.mark.slow
def test_a_second_server_on_a_data_directory_fails_to_start(start_server: StartServer, tmp_path: Path) -> None:
    first = start_server(tmp_path)
    with first.client() as client:
        created = client.post("/containers", json={"name": "mine"}).json()
        line = start_error(tmp_path)
        assert str(tmp_path) in line
        assert "in use" in line
        assert client.get(f"/containers/{created['id']}").status_code == 200
    first.stop()
    with start_server(tmp_path).client() as client:
        assert client.get(f"/containers/{created['id']}").status_code == 200


@pytest.mark.slow
def test_a_killed_server_leaves_its_data_directory_unlocked(start_server: StartServer, tmp_path: Path) -> None:
    start_server(tmp_path).kill()
    assert start_server(tmp_path).stop() == ""


@pytest.mark.slow
def test_a_data_directory_of_version_0_1_is_rejected_and_left_unchanged(tmp_path: Path) -> None:
    """Version 0.1 stored all worlds in one file."""
    with closing(sqlite3.connect(tmp_path / "mockserver.db")) as database:
        database.execute("CREATE TABLE worlds (id INTEGER)")
    before = (tmp_path / "mockserver.db").read_bytes()
    line = start_error(tmp_path)
    assert str(tmp_path) in line
    assert "mockserver 0.1" in line
    assert "mockserver export" in line
    assert "--data" in line
    assert [path.name for path in tmp_path.iterdir()] == ["mockserver.db"]
    assert (tmp_path / "mockserver.db").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("below", ["", "data"])
def test_a_data_path_that_cannot_be_a_directory_is_rejected(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    line = start_error(tmp_path / "file" / below)
    assert str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "mine"
