"""What a server owes its data directory: killed, stopped, restarted, shared, foreign or broken.

Every server here is a process of its own, as users run it. Moments are decided by counting what was
acknowledged, or by an answer; nothing waits for time to pass.
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

from mockserver import files
from mockserver.context import Context
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.settings import ENVIRONMENT, Settings

UNUSABLE = 5
"""The exit code for a data directory that can't be used."""
PATIENCE = 120.0
"""Seconds after which something that should long have happened fails the test."""

STOPS = [signal.SIGTERM, signal.SIGINT]

Json = dict[str, Any]


@dataclass
class Served:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    started: Json

    def client(self) -> httpx2.Client:
        headers = {"Authorization": "Bearer sk-test"}
        return httpx2.Client(base_url=self.started["base_url"], headers=headers, timeout=PATIENCE)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.started["port"], timeout=PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """A clean stop; returns what it said meanwhile, which should be nothing."""
        self.process.send_signal(number)
        said, complained = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, complained
        return said + complained

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


def command(*arguments: str | Path) -> subprocess.Popen[str]:
    """`mockserver …`, with warnings as errors and no settings from this machine's environment."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "mockserver", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT)},
    )


def start_error(data: Path) -> str:
    """The one line with which `serve` refuses a data directory."""
    process = command("serve", "--data", data, "--port", "0", "--json")
    said, complained = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (UNUSABLE, ""), complained
    assert complained.startswith("mockserver: "), complained
    assert complained.count("\n") == 1, complained
    return complained


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    processes = []

    def start(data: Path | None, *flags: str) -> Served:
        where = ["--data", data] if data else []
        arguments = ("serve", "--host", "127.0.0.1", "--port", "0", "--json", "--quiet", *flags, *where)
        process = command(*arguments)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the server did not start: {process.communicate(timeout=PATIENCE)[1]}")
        return Served(process, json.loads(line))

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=PATIENCE)


# --- Killed --------------------------------------------------------------------------------------


class Killed(Exception):
    """The server was gone before it answered: whether it did what was asked is anybody's guess."""


@dataclass
class Writer:
    """Makes and deletes objects as fast as it can, until the server dies under it, and keeps what it
    was told, by path. Writers touch only their own objects, but share some of the bytes."""

    number: int
    objects: dict[str, Json] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    """Told to go, without an answer."""

    def run(self, server: Served, acknowledge: Callable[[], None]) -> None:
        create, upload, add, copy, delete = self._create, self._upload, self._add, self._copy, self._delete
        actions = [create, upload, add, copy, create, add, delete, upload, copy, add, delete]
        start = self.number % len(actions)
        with server.client() as self._client:
            for step, action in enumerate(itertools.cycle(actions[start:] + actions[:start])):
                try:
                    action(step)
                except Killed:
                    return
                acknowledge()

    def _ask(self, method: str, path: str, **request: Any) -> Json:
        try:
            answer = self._client.request(method, path, **request)
        except httpx2.TransportError:
            raise Killed from None
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _made(self, list: str, made: Json, content: bytes | None = None) -> str:
        path = f"{list}/{made['id']}"
        self.objects[path] = made
        if content is not None:
            self.contents[path] = content
        return path

    def _create(self, step: int) -> str:
        files = [path.rpartition("/")[2] for path in self._own("/files/")][: step % 3]
        return self._made("/containers", self._ask("POST", "/containers", json={"name": "any", "file_ids": files}))

    def _upload(self, step: int) -> str:
        content = self._bytes(step)
        form = {"files": {"file": ("any.bin", content)}, "data": {"purpose": "vision"}}
        return self._made("/files", self._ask("POST", "/files", **form), content)

    def _add(self, step: int) -> str:
        list, content = f"{self._container(step)}/files", self._bytes(step)
        return self._made(list, self._ask("POST", list, files={"file": ("any.txt", content)}), content)

    def _copy(self, step: int) -> str:
        list, file = f"{self._container(step)}/files", self._file(step)
        return self._made(list, self._ask("POST", list, json={"file_id": file.rpartition("/")[2]}), self.contents[file])

    def _delete(self, step: int) -> None:
        some = sorted(self.objects)
        path = some[step % len(some)]
        gone = {each for each in some if each == path or each.startswith(f"{path}/")}
        self.doubtful |= gone
        for each in gone:
            del self.objects[each]
        self._ask("DELETE", path)
        self.doubtful -= gone
        self.deleted |= gone

    def _own(self, list: str) -> list[str]:
        return [path for path in self.objects if path.startswith(list) and path.count("/") == 2]

    def _container(self, step: int) -> str:
        some = self._own("/containers/")
        return some[step % len(some)] if some else self._create(step)

    def _file(self, step: int) -> str:
        some = self._own("/files/")
        return some[step % len(some)] if some else self._upload(step)

    def _bytes(self, step: int) -> bytes:
        """Of several sizes, around those at which the server goes about it differently."""
        own = f"{self.number}-{step}-".encode()
        return (b"shared" * 1_000, own, b"", own * 20_000, own, own * 200_000)[step % 6]


def hammer(server: Served, writers: list[Writer], until: int) -> None:
    """Everyone at once. Whoever receives acknowledgement number `until` kills the server, while the
    others' requests are under way."""
    acknowledged = itertools.count(1)

    def acknowledge() -> None:
        if next(acknowledged) == until:
            server.process.kill()

    with ThreadPoolExecutor(len(writers)) as pool:
        for done in [pool.submit(writer.run, server, acknowledge) for writer in writers]:
            done.result(PATIENCE * 4)
    server.kill()


NOBODYS = b"nobody's"


def leave_behind(data: Path) -> None:
    """What a crash can leave: half an upload, a half-built state, what was being removed, bytes whose row was never
    written, the state that another one has replaced, a snapshot of a deleted world."""
    digest = hashlib.sha256(NOBODYS).hexdigest()
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
        path.write_bytes(NOBODYS)
    with closing(sqlite3.connect(world / "world.db")) as database, database:
        database.execute("INSERT INTO contents VALUES (?, ?)", (hashlib.sha256(b"nor this").hexdigest(), b"nor this"))


def check_answers(client: httpx2.Client, writer: Writer) -> None:
    for path, made in writer.objects.items():
        shown = client.get(path).json()
        for each in (shown, made):
            each.pop("last_active_at", None)  # asking counts as activity
        assert shown == made
    for path in writer.objects.keys() & writer.contents.keys():
        assert client.get(f"{path}/content").content == writer.contents[path]
    for path in writer.deleted:
        assert client.get(path).status_code == 404


def listed(client: httpx2.Client, list: str) -> set[str]:
    """The paths of a whole list's objects, page by page."""
    found: set[str] = set()
    query: Json = {"limit": 100}
    while True:
        page = client.get(list, params=query).json()
        paths = {f"{list}/{each['id']}" for each in page["data"]}
        assert not paths & found
        found |= paths
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


def check_lists(client: httpx2.Client, writers: list[Writer], kills: int) -> None:
    """Lists have all that was acknowledged, nothing that was deleted, and little else: at each kill
    every writer can have had one creation under way."""
    for list in ("/containers", "/files"):
        kept = {path for writer in writers for path in writer._own(f"{list}/")}
        deleted, doubtful = (
            set().union(*sets) for sets in zip(*((w.deleted, w.doubtful) for w in writers), strict=True)
        )
        shown = listed(client, list)
        assert kept <= shown
        assert not shown & deleted
        assert len(shown - kept - doubtful) <= kills * len(writers)


def visit(client: httpx2.Client) -> None:
    """Open every world, which removes what an unclean stop left in it."""
    assert client.get(f"{str(client.base_url).removesuffix('/v1/')}/_mock/worlds").status_code == 200


def check_directory(data: Path) -> None:
    """Each world and each snapshot is sound and the only one of its name; each row has its bytes, and nothing else is
    there. The worlds have been opened since the start."""
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
def test_a_killed_server_has_lost_nothing_that_it_acknowledged(serve: Serve, tmp_path: Path, rounds: list[int]) -> None:
    writers = [Writer(number) for number in range(6)]
    for kills, until in enumerate(rounds, 1):
        hammer(serve(tmp_path), writers, until)
        leave_behind(tmp_path)
        restarted = serve(tmp_path)
        with restarted.client() as client:
            visit(client)
            check_directory(tmp_path)
            for writer in writers:
                check_answers(client, writer)
            check_lists(client, writers, kills)
        assert restarted.stop() == ""
        check_directory(tmp_path)
    assert sum(len(writer.objects) + len(writer.deleted) for writer in writers) >= sum(rounds) * 0.6


def test_a_start_removes_all_that_was_left_behind(tmp_path: Path) -> None:
    """However much that is, among however much that is not."""

    async def fill(mock: Mock) -> dict[str, bytes]:
        context = await mock.worlds.enter("default")
        await context.run(keep, mock, range(20), True)
        kept = stored(tmp_path)
        await context.run(keep, mock, range(20, 40), False)
        return kept

    def keep(context: Context, mock: Mock, numbers: range, named: bool) -> None:
        with context.write() as tx:
            for number in numbers:
                upload = mock.uploads.put([b"%d" % number * (1 if number % 2 else 20_000)])
                if named:
                    files.create_file(context, NewFile(upload, "a", {"purpose": "vision"}))
                else:
                    context.world.contents.keep(tx, upload)

    with closing(Mock(Settings(data=tmp_path))) as mock:
        kept = asyncio.run(fill(mock))
    assert len(kept) == 20
    assert len(stored(tmp_path)) == 40
    leave_behind(tmp_path)
    (tmp_path / "clean").unlink()  # as after a kill
    with closing(Mock(Settings(data=tmp_path))) as mock:
        asyncio.run(mock.worlds.enter("default"))
    assert stored(tmp_path) == kept
    check_directory(tmp_path)


@pytest.mark.parametrize("lasting", [True, False])
def test_what_is_to_last_is_written_so_that_it_lasts(tmp_path: Path, lasting: bool) -> None:
    """Ahead of the file, and handed to the disk at checkpoints: a machine that stops leaves no damaged database.

    On each connection that writes, also on those that threads open. A temporary directory's needn't outlive the
    machine.
    """

    def way(connection: sqlite3.Connection) -> tuple[str, int]:
        asked = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
        return next(asked)[0], next(asked)[0]

    with closing(Mock(Settings(data=tmp_path / "data" if lasting else None))) as mock:
        context = asyncio.run(mock.worlds.enter("default"))
        expected = ("wal", 1 if lasting else 0)
        assert way(context.read) == expected
        with closing(context.world.database.connect()) as connection:
            assert way(connection) == expected


# --- Stopped -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_restart_shows_everything_again(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "not" / "yet" / "there"
    writer = Writer(0)
    first = serve(data)
    with first.client() as writer._client:
        for step in range(12):
            writer._create(step), writer._upload(step), writer._add(step), writer._copy(step)
        writer._delete(1)
        elsewhere = writer._ask("POST", first.started["url"] + "/w/elsewhere/v1/containers", json={"name": "elsewhere"})
    assert first.stop() == ""
    second = serve(data)
    with second.client() as client:
        check_answers(client, writer)
        check_lists(client, [writer], kills=0)
        assert client.get(f"/containers/{elsewhere['id']}").status_code == 404
        there = client.get(f"{second.started['url']}/w/elsewhere/v1/containers/{elsewhere['id']}")
        assert there.json()["name"] == "elsewhere"
        again = client.post("/containers", json={"name": "new"}).json()
        assert f"/containers/{again['id']}" not in writer.objects.keys() | writer.deleted


@pytest.mark.slow
@pytest.mark.parametrize("number", [*STOPS, signal.SIGHUP])
def test_a_temporary_directory_is_removed_at_the_end(serve: Serve, number: int) -> None:
    server = serve(None)
    data = Path(server.started["data"])
    with server.client() as client:
        assert client.post("/files", files={"file": b"x"}, data={"purpose": "vision"}).status_code == 200
    assert [*data.glob("worlds/*-default/world.db")]
    assert server.stop(number) == ""
    assert not data.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
def test_a_stop_does_not_wait_for_idle_connections(serve: Serve, tmp_path: Path, number: int) -> None:
    server = serve(tmp_path, *LONG_GRACE)
    idle = server.connect()
    idle.request("GET", "/health")
    assert idle.getresponse().read()
    assert server.stop(number) == ""
    idle.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
def test_a_server_can_be_stopped_as_soon_as_it_has_said_where_it_is(serve: Serve, tmp_path: Path, number: int) -> None:
    assert serve(tmp_path).stop(number) == ""


@pytest.mark.slow
def test_a_stop_does_not_wait_for_ever_for_an_upload(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    with socket.create_connection(("127.0.0.1", server.started["port"]), PATIENCE) as upload:
        upload.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\r\n"
        )
        assert upload.recv(100).startswith(b"HTTP/1.1 100")  # it has begun to read
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=PATIENCE) == 0
    with serve(tmp_path).client() as client:
        visit(client)
    check_directory(tmp_path)


# --- Refused -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_directory_has_one_server(serve: Serve, tmp_path: Path) -> None:
    first = serve(tmp_path)
    with first.client() as client:
        made = client.post("/containers", json={"name": "mine"}).json()
        line = start_error(tmp_path)
        assert str(tmp_path) in line
        assert "in use" in line
        assert client.get(f"/containers/{made['id']}").status_code == 200
    first.stop()
    with serve(tmp_path).client() as client:
        assert client.get(f"/containers/{made['id']}").status_code == 200


@pytest.mark.slow
def test_a_killed_server_leaves_no_lock(serve: Serve, tmp_path: Path) -> None:
    serve(tmp_path).kill()
    assert serve(tmp_path).stop() == ""


@pytest.mark.slow
def test_a_directory_of_an_older_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """0.1 kept all worlds in one file."""
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
def test_a_path_that_can_be_no_directory_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    line = start_error(tmp_path / "file" / below)
    assert str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "mine"
