"""Worlds as directories: crashes, failed removals, copies, open files, unusable files and migrations."""

import asyncio
import errno
import gc
import hashlib
import io
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx2
import pytest
from conftest import ok

from mockserver import containers, files, ids, states, uploads
from mockserver.clock import Clock, Wall
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.schema.containers import CreateContainer, ListContainers
from mockserver.schema.files import ListFiles
from mockserver.schema.uploads import CreateUpload
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.states import MAX_TASKS
from mockserver.storage import bulk, database, directory, migrations, tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import SMALL, Uploads
from mockserver.storage.database import SMALL_DATABASE, Transaction, failure
from mockserver.storage.directory import EVERY_WORLD, Directory, DirectoryUnusable, usable
from mockserver.worlds import Worlds

LARGE_CONTENT = b"x" * (SMALL + 1)
LIFETIME: dict[str, Any] = {"memory_limit": "1g", "expires_anchor": "last_active_at", "expires_minutes": 0}


@contextmanager
def open_directory(path: Path, open_worlds: int = states.OPEN_WORLDS) -> Iterator[Worlds]:
    path.mkdir(exist_ok=True)
    wall = Wall()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "OPEN_WORLDS", open_worlds)
        usable_directory = stack.enter_context(usable(path))
        worlds = Worlds(usable_directory, Settings(data=path), wall, ended=lambda name: None)
        stack.callback(worlds.close)
        worlds.add_template(EVERY_WORLD, Clock(wall.now(), wall.now()), lambda put: None)
        yield worlds


async def add_container(worlds: Worlds, world: str, name: str) -> str:
    context = await worlds.enter(world)
    created = await context.run(containers.create_container, CreateContainer(name=name))
    return created["id"]


async def add_content(worlds: Worlds, world: str, content: bytes) -> str:
    context = await worlds.enter(world)
    upload = Uploads(worlds._directory.path / "uploads").put([content])
    try:
        form = NewFile(upload, "a.txt", {"purpose": "vision"})
        return (await context.run(files.create_file, form))["id"]
    finally:
        upload.discard()


async def add_upload(worlds: Worlds, world: str, content: bytes) -> None:
    """Create a pending upload with one part."""
    context = await worlds.enter(world)
    new = CreateUpload(bytes=len(content), filename="a.txt", purpose="vision", mime_type="text/plain")
    upload = await context.run(uploads.create_upload, new)
    part = Uploads(worlds._directory.path / "uploads").put([content])
    try:
        await context.run(uploads.add_upload_part, upload["id"], NewFile(part, "data", {}))
    finally:
        part.discard()


async def read_world(worlds: Worlds, world: str) -> list[str] | None:
    """Return the sorted names of a world's containers and digests of its contents; None if the world does not exist."""
    if world not in worlds.names():
        return None
    context = Context(await worlds.find(world), worlds._current)
    page = await context.run(containers.list_containers, ListContainers(limit=100))
    found = [each["name"] for each in page["data"]]
    for file in (await context.run(files.list_files, ListFiles()))["data"]:
        with (await context.run(files.download_file, file["id"])).file as content:
            found.append(hashlib.sha256(content.read()).hexdigest())
    return sorted(found)


# Crashes


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def crash_after(changes: int) -> Iterator[None]:
    """Raise `Crash` at every change of the file system after the first `changes`."""
    made = 0

    def limited(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def change_or_crash(*args: Any, **options: Any) -> Any:
            nonlocal made
            if made >= changes:
                raise Crash(name)
            made += 1
            return change(*args, **options)

        return change_or_crash

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (Path, "rename"),
            (Path, "replace"),
            (Path, "mkdir"),
            (Path, "unlink"),
            (shutil, "copyfile"),
            (shutil, "rmtree"),
            (os, "link"),
        ):
            patch.setattr(owner, name, limited(name, getattr(owner, name)))
        yield


async def create(worlds: Worlds) -> None:
    await worlds.create("new")


async def create_with_a_row(worlds: Worlds) -> None:
    await add_container(worlds, "new", "first")


async def fork(worlds: Worlds) -> None:
    await worlds.create("new", fork_of="kept")


async def restore(worlds: Worlds) -> None:
    await worlds.restore("kept", "one")


async def reset(worlds: Worlds) -> None:
    await worlds.reset("kept")


async def delete(worlds: Worlds) -> None:
    await worlds.delete("kept")


async def delete_then_create(worlds: Worlds) -> None:
    await worlds.delete("kept")
    await add_container(worlds, "kept", "later")


async def snapshot(worlds: Worlds) -> None:
    await worlds.take_snapshot("kept", "one")


async def upload(worlds: Worlds) -> None:
    await add_content(worlds, "kept", LARGE_CONTENT + b"more")


BEFORE = sorted(["a", "b", hashlib.sha256(LARGE_CONTENT).hexdigest()])
AT_SNAPSHOT = sorted(["a", hashlib.sha256(LARGE_CONTENT).hexdigest()])
UPLOADED = sorted([*BEFORE, hashlib.sha256(LARGE_CONTENT + b"more").hexdigest()])


OUTCOMES: dict[Callable[[Worlds], Awaitable[None]], dict[str, list[list[str] | None]]] = {
    create: {"new": [None, []]},
    create_with_a_row: {"new": [None, [], ["first"]]},
    fork: {"new": [None, BEFORE]},
    restore: {"kept": [BEFORE, AT_SNAPSHOT]},
    reset: {"kept": [BEFORE, []]},
    delete: {"kept": [BEFORE, None]},
    delete_then_create: {"kept": [BEFORE, None, [], ["later"]]},
    snapshot: {"kept": [BEFORE]},
    upload: {"kept": [BEFORE, UPLOADED]},
}
"""By operation, the states of a world that are valid after a crash. The last one is the state without a crash."""
QUICK = (create_with_a_row, restore)


@pytest.mark.parametrize(
    ("operation", "outcomes"),
    [
        pytest.param(operation, outcomes, marks=() if operation in QUICK else pytest.mark.slow, id=operation.__name__)
        for operation, outcomes in OUTCOMES.items()
    ],
)
def test_operations_are_atomic_when_the_process_crashes_at_any_step(
    tmp_path: Path, operation: Callable[[Worlds], Awaitable[None]], outcomes: dict[str, list[list[str] | None]]
) -> None:
    async def prepare(worlds: Worlds) -> None:
        await add_container(worlds, "kept", "a")
        await add_content(worlds, "kept", LARGE_CONTENT)
        await worlds.take_snapshot("kept", "one")
        await worlds.take_snapshot("kept", "two")
        await add_container(worlds, "kept", "b")
        await worlds.finish(trash=True)

    async def attempt(worlds: Worlds, step: int) -> bool:
        """Crash after a number of changes; return whether the operation was completed before."""
        with crash_after(step):
            try:
                await operation(worlds)
                await worlds.finish(trash=True)
            except Crash:
                return False
        return True

    async def check(worlds: Worlds) -> list[list[str] | None]:
        found = [await read_world(worlds, name) for name in outcomes]
        for name, expected in zip(outcomes, found, strict=True):
            assert expected in outcomes[name]
        if "kept" in worlds.names():
            assert worlds.snapshots("kept") in (["one", "two"], ["two", "one"], [])
            if found[0] == ["later"]:
                assert worlds.snapshots("kept") == []
        else:
            assert worlds.snapshots("kept") == []
        return found

    original = tmp_path / "original"
    with open_directory(original) as worlds:
        asyncio.run(prepare(worlds))
    results, step, done = [], 0, False
    while not done:
        data, after = tmp_path / f"data-{step}", tmp_path / f"after-{step}"
        shutil.copytree(original, data)
        with open_directory(data) as worlds:
            done = asyncio.run(attempt(worlds, step))
            shutil.copytree(data, after)  # the state that the next process finds
        (after / "clean").unlink(missing_ok=True)
        with open_directory(after) as worlds:
            results.append(asyncio.run(check(worlds)))
            assert list((after / "uploads").iterdir()) == []
        with open_directory(after) as worlds:  # another start changes nothing
            assert asyncio.run(check(worlds)) == results[-1]
        step += 1
    assert step > 1
    assert results[-1] == [values[-1] for values in outcomes.values()]


# Failed removals


async def take_and_delete_snapshot(worlds: Worlds) -> None:
    await worlds.take_snapshot("kept", "one")
    await worlds.delete_snapshot("kept", "one")


async def reset_then_delete(worlds: Worlds) -> None:
    await worlds.reset("kept")
    await worlds.delete("kept")


@pytest.mark.parametrize("operation", [delete_then_create, take_and_delete_snapshot, reset_then_delete])
def test_a_deleted_state_that_could_not_be_removed_does_not_reappear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: Callable[[Worlds], Awaitable[None]]
) -> None:
    """Operations that would make it visible again fail until it can be removed."""
    rename, not_removable = Path.rename, set[str]()

    def fail(self: Path, target: Path) -> Path:
        if self.name in not_removable:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    async def prepare(worlds: Worlds) -> None:
        await add_container(worlds, "kept", "a")
        await worlds.take_snapshot("kept", "one")

    async def check(worlds: Worlds) -> None:
        with pytest.raises(PermissionError):
            await operation(worlds)
        not_removable.clear()
        if operation is delete_then_create:
            await add_container(worlds, "kept", "later")
        elif operation is take_and_delete_snapshot:
            await worlds.delete_snapshot("kept", "one")
        else:
            await worlds.delete("kept")

    with open_directory(tmp_path) as worlds:
        asyncio.run(prepare(worlds))
        folder = tmp_path / ("worlds" if operation is reset_then_delete else "snapshots")
        not_removable.update(path.name for path in folder.iterdir())
        monkeypatch.setattr(Path, "rename", fail)
        asyncio.run(check(worlds))
    with open_directory(tmp_path) as worlds:
        assert worlds.snapshots("kept") == []
        assert worlds.exists("kept") is (operation is not reset_then_delete)


def test_a_world_whose_deletion_fails_is_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(worlds: Worlds) -> None:
        await add_container(worlds, "w", "before")
        before = worlds.known("w")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", MagicMock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
            with pytest.raises(PermissionError):
                await worlds.delete("w")
        await add_container(worlds, "w", "after")
        assert worlds.known("w") is before
        assert await read_world(worlds, "w") == ["after", "before"]

    with open_directory(tmp_path) as worlds:
        asyncio.run(check(worlds))


@pytest.mark.parametrize("kind", ["worlds", "snapshots"])
def test_foreign_files_beside_the_worlds_are_ignored_and_kept(tmp_path: Path, kind: str) -> None:
    foreign = {".DS_Store", "notes.txt", "7-file", "folder", "n-world"}
    with open_directory(tmp_path) as worlds:
        asyncio.run(add_container(worlds, "w", "a"))
        names = worlds.names()
    for name in foreign:
        (tmp_path / kind / name).mkdir() if name in ("folder", "n-world") else (tmp_path / kind / name).touch()
    for _ in range(2):
        with open_directory(tmp_path) as worlds:
            assert (worlds.names(), worlds.snapshots("")) == (names, [])
            asyncio.run(worlds.take_snapshot("w", "s"))
        assert {each.name for each in (tmp_path / kind).iterdir()} > foreign


def test_removing_trash_is_retried_only_with_the_next_trash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def delete(worlds: Worlds, name: str) -> None:
        await add_container(worlds, name, "a")
        await worlds.delete(name)
        await worlds.finish(trash=True)

    with open_directory(tmp_path) as worlds:
        with monkeypatch.context() as patch:
            attempts = list[Path]()
            patch.setattr(directory, "remove", attempts.append)
            asyncio.run(delete(worlds, "first"))
        (first,) = (tmp_path / "trash").iterdir()
        assert attempts == [first]
        asyncio.run(delete(worlds, "second"))
        assert not list((tmp_path / "trash").iterdir())


def test_trash_that_a_stop_leaves_is_removed_at_the_next_start(tmp_path: Path) -> None:
    async def delete(worlds: Worlds) -> None:
        await add_container(worlds, "w", "a")
        await worlds.delete("w")
        await worlds.finish()

    with open_directory(tmp_path) as worlds:
        asyncio.run(delete(worlds))
        assert len(list((tmp_path / "trash").iterdir())) == 1
    with open_directory(tmp_path):
        assert not list((tmp_path / "trash").iterdir())


@pytest.mark.parametrize("method", ["trash", "remove"])
def test_failures_of_background_removal_are_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    async def delete(worlds: Worlds) -> None:
        await add_container(worlds, "w", "a")
        await worlds.delete("w")
        await worlds.finish(trash=True)
        gc.collect()

    owner = Directory if method == "trash" else directory
    monkeypatch.setattr(owner, method, MagicMock(side_effect=OSError(errno.EMFILE, "Too many open files")))
    with open_directory(tmp_path) as worlds:
        asyncio.run(delete(worlds))
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), "stale file handle"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "file name too long"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
        (TimeoutError(errno.ETIMEDOUT, "Timed out"), None),
        (io.UnsupportedOperation("not writable"), None),
    ],
)
def test_only_errors_of_the_file_system_are_storage_failures(error: OSError, reason: str | None) -> None:
    assert failure(error) == reason


# Copies


@pytest.mark.parametrize("copies", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_fork_during_uploads_and_deletions_has_all_of_its_contents(tmp_path: Path, copies: int) -> None:
    async def upload_and_delete(worlds: Worlds, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            ids = [await add_content(worlds, "kept", LARGE_CONTENT + str(number + n).encode()) for n in range(3)]
            context = await worlds.enter("kept")
            for id in ids[:2]:
                await context.run(files.delete_file, id)
            number += 3
            await asyncio.sleep(0)

    async def fork_repeatedly(worlds: Worlds) -> None:
        await add_container(worlds, "kept", "a")
        stop = asyncio.Event()
        writer = asyncio.create_task(upload_and_delete(worlds, stop))
        for number in range(copies):
            await worlds.create(f"copy-{number}", fork_of="kept")
            await asyncio.sleep(0)
        stop.set()
        await writer
        for number in range(copies):
            assert await read_world(worlds, f"copy-{number}")  # fails if a content is missing

    with open_directory(tmp_path) as worlds:
        asyncio.run(fork_repeatedly(worlds))


def test_a_fork_copies_every_table(tmp_path: Path) -> None:
    table_names = {each.__tablename__ for each in tables.Listed.__subclasses__()}
    assert {"containers", "container_files", "files", "uploads", "upload_parts"} <= table_names
    with open_directory(tmp_path) as worlds:

        async def copied() -> None:
            await add_container(worlds, "kept", "a")
            await add_content(worlds, "kept", b"small")
            await add_upload(worlds, "kept", LARGE_CONTENT)
            await worlds.create("copy", fork_of="kept")
            before, after = await worlds.summaries(["kept", "copy"])
            assert before.counts == after.counts
            assert before.counts is not None
            assert set(before.counts) == {*table_names, "responses", "answers"}
            assert not {name for name in ("uploads", "upload_parts") if before.counts[name] != 1}

        asyncio.run(copied())


def test_a_world_that_is_deleted_while_its_summary_is_read_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_directory(tmp_path) as worlds:
        asyncio.run(add_container(worlds, "w", "box"))
    with open_directory(tmp_path) as worlds:
        summarize = worlds._summarize

        async def list_while_deleting() -> None:
            loop = asyncio.get_running_loop()

            def deleted_first(*arguments: Any) -> Any:
                asyncio.run_coroutine_threadsafe(worlds.delete("w"), loop).result(60)
                return summarize(*arguments)

            monkeypatch.setattr(worlds, "_summarize", deleted_first)
            assert await worlds.summaries(["w"]) == []

        asyncio.run(list_while_deleting())


@pytest.mark.parametrize("count", [1, 4_000])
def test_all_times_of_a_template_are_shifted_for_a_new_world(tmp_path: Path, count: int) -> None:
    """In a large database the indexes are dropped and created again."""
    now = 1_700_000_000
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"

    def fill(put: Placement) -> None:
        for number in range(count):
            put.add(tables.Container, created_at=now - number, last_active_at=now, name=f"box {number}", **LIFETIME)
        put.insert(tables.Fault, id="slow", position=1, rule='{"effect": {"latency": 1}}', created_at=float(now))
        removed = {"id": "gone", "seq": 0, "created_at": now, "last_active_at": now, "name": "gone"}
        put.insert(tables.Container, **removed, deleted_at=now, deleted_ordinal=1, **LIFETIME)

    with open_directory(tmp_path) as worlds, ExitStack() as stack:
        worlds.add_template("old", Clock(now, now), fill)
        states = worlds._template("old"), asyncio.run(worlds.enter("old")).world.directory
        before, after = (stack.enter_context(closing(sqlite3.connect(state / "world.db"))) for state in states)
        assert (os.path.getsize(states[0] / "world.db") > SMALL_DATABASE) is (count > 1)  # noqa: PTH202
        assert before.execute(schema).fetchall() == after.execute(schema).fetchall()
        assert after.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (clock,) = after.execute("SELECT clock_virtual FROM world").fetchone()
        for times in ("created_at, last_active_at, deleted_at FROM containers", "created_at FROM faults"):
            for old, new in zip(*(each.execute(f"SELECT {times}") for each in (before, after)), strict=True):
                assert [time if time is None else time + int(clock) - now for time in old] == list(new)


@pytest.mark.parametrize("shift", [-3, 3])
def test_times_in_primary_keys_are_shifted_without_conflicts(tmp_path: Path, shift: int) -> None:
    now = int(Wall().now()) - shift

    def fill(put: Placement) -> None:
        box = put.add(tables.Container, created_at=now, last_active_at=now, name="box", **LIFETIME)
        for number in range(40):
            put.insert(tables.Use, container_id=box.id, at=now + number, response_id="response")

    with open_directory(tmp_path) as worlds:
        worlds.add_template("old", Clock(now, now + 1), fill)
        asyncio.run(worlds.enter("old"))
        with closing(sqlite3.connect(worlds._directory.worlds["old"] / "world.db")) as database:
            (clock,) = database.execute("SELECT clock_virtual FROM world").fetchone()
            times = [time for (time,) in database.execute("SELECT at FROM uses ORDER BY at")]
        assert times == [int(clock) + number for number in range(40)]
        assert clock != now


@pytest.mark.parametrize("many_ids", [bulk.MANY_IDS, 1])
def test_generated_ids_skip_ids_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many_ids: int) -> None:
    columns = {"seq": None, "created_at": 1_700_000_000, "last_active_at": 1_700_000_000, "name": "box", **LIFETIME}

    async def place(worlds: Worlds, id: str | None) -> str:
        placed: list[str] = []
        await worlds.add("w", lambda put: placed.append(put.add(tables.Container, id=id, **columns).id))
        return placed[0]

    async def place_all(worlds: Worlds) -> None:
        world = await worlds.resolve("w")
        first, third, fourth = (ids.container(world.id_seed, ordinal, columns["created_at"]) for ordinal in (1, 3, 4))
        assert await place(worlds, None) == first
        assert await place(worlds, third) == third
        with pytest.raises(APIError, match=third):
            await place(worlds, third)
        assert await place(worlds, None) == fourth

    monkeypatch.setattr(bulk, "MANY_IDS", many_ids)
    with open_directory(tmp_path) as worlds:
        asyncio.run(place_all(worlds))


# Many worlds


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("count", [60, pytest.param(3_000, marks=pytest.mark.slow)])
def test_many_short_lived_worlds_keep_few_files_open(tmp_path: Path, count: int) -> None:
    async def add_worlds(worlds: Worlds) -> int:
        most = 0
        for number in range(count):
            await add_container(worlds, f"w{number}", "box")
            most = max(most, count_open_files())
            if number >= 20:
                await worlds.delete(f"w{number - 20}")
        await worlds.finish(trash=True)
        return most

    with open_directory(tmp_path, open_worlds=8) as worlds:
        before = count_open_files()
        most = asyncio.run(add_worlds(worlds))
        assert most < before + 3 * (8 + MAX_TASKS) + 10, "each open world has a database, a log and its index open"
        assert len(list((tmp_path / "worlds").iterdir())) == 20
        assert not list((tmp_path / "trash").iterdir())


@pytest.mark.parametrize(("limit", "expected"), [(8, 1), (160, 10), (1_024, 64), (resource.RLIM_INFINITY, 64)])
def test_the_number_of_open_worlds_depends_on_the_descriptor_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, expected: int
) -> None:
    async def count_open(worlds: Worlds) -> int:
        return max([len(worlds._open) for number in range(66) if await add_container(worlds, f"w{number}", "box")])

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    with open_directory(tmp_path) as worlds:
        assert asyncio.run(count_open(worlds)) == expected


def test_opening_many_worlds_concurrently_leaves_few_files_open(tmp_path: Path) -> None:
    async def use_many(worlds: Worlds) -> int:
        for number in range(60):
            await add_container(worlds, f"w{number}", "box")
        await worlds.finish(trash=True)
        await asyncio.gather(*(add_container(worlds, f"w{number}", "more") for number in range(60)))
        return count_open_files()

    async def list_concurrently(worlds: Worlds) -> int:
        await worlds.finish(trash=True)
        await asyncio.gather(*(worlds.summaries(worlds.names()) for _ in range(5)))
        return count_open_files()

    with open_directory(tmp_path, open_worlds=8) as worlds:
        before = count_open_files()
        assert asyncio.run(use_many(worlds)) <= before + 3 * (8 + MAX_TASKS) + 10
        assert asyncio.run(list_concurrently(worlds)) <= before + 3 * 8 + 5, (
            "lists open no second connection to a world"
        )


def test_creating_a_world_does_not_sync_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write to a new log would sync on the event loop, which takes many milliseconds. Later writes don't."""
    modes: list[int] = []
    start = Worlds._start

    def start_and_record(self: Worlds, connection: Transaction, *args: Any, **options: Any) -> Any:
        modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        return start(self, connection, *args, **options)

    monkeypatch.setattr(Worlds, "_start", start_and_record)
    with open_directory(tmp_path) as worlds:
        asyncio.run(add_container(worlds, "w", "box"))
        world = worlds.known("w")
        assert world
        assert modes == [0]
        assert world.database.connection.execute("PRAGMA synchronous").fetchone() == (1,)


READ = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT name FROM containers').fetchall())"


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_another_process_can_read_a_kept_world_but_not_a_temporary_one(tmp_path: Path, kept: bool) -> None:
    with MockServer(data=tmp_path if kept else None) as server, server.world() as world:
        ok(httpx2.post(f"{world.base_url}/containers", headers={"api-key": "k"}, json={"name": "box"}))
        (path,) = server.mock.directory.glob("worlds/*/world.db")
        assert path.with_name("world.db-shm").exists() is kept, "the index of a temporary log is in memory"
        read = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True)
    assert (read.stdout if kept else read.stderr).endswith("[('box',)]\n" if kept else "database is locked\n")


def test_opening_a_world_waits_while_another_connection_locks_its_file(tmp_path: Path) -> None:
    """The last connection that is closed locks the file to checkpoint the log. It may be another program's."""

    async def use(worlds: Worlds) -> list[str] | None:
        await add_container(worlds, "w", "box")
        (world,) = [worlds.known("w")]
        assert world
        world.database.close()
        with closing(sqlite3.connect(world.database.path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            using = asyncio.create_task(read_world(worlds, "w"))
            for _ in range(3):
                await asyncio.sleep(0)
            assert not using.done()
        return await using

    with open_directory(tmp_path) as worlds:
        assert asyncio.run(use(worlds)) == ["box"]


def test_a_world_whose_file_was_closed_is_opened_again(tmp_path: Path) -> None:
    async def use_many(worlds: Worlds) -> None:
        contexts = []
        for number in range(5):
            await add_container(worlds, f"w{number}", f"box {number}")
            contexts.append(await worlds.enter(f"w{number}"))
        await worlds.finish(trash=True)
        for number, context in enumerate(contexts):  # created before their worlds were closed
            found = await context.run(containers.list_containers, ListContainers())
            assert [each["name"] for each in found["data"]] == [f"box {number}"]
        summaries = await worlds.summaries(worlds.names())
        assert [each.counts and each.counts["containers"] for each in summaries] == [1] * 5

    with open_directory(tmp_path, open_worlds=2) as worlds:
        asyncio.run(use_many(worlds))


def test_names_that_differ_in_case_are_different_worlds(tmp_path: Path) -> None:
    async def both(worlds: Worlds) -> None:
        await add_container(worlds, "Box", "upper")
        await add_container(worlds, "box", "lower")
        await add_container(worlds, "con", "reserved by Windows")
        assert await read_world(worlds, "Box") == ["upper"]
        assert await read_world(worlds, "box") == ["lower"]

    for _ in range(2):
        with open_directory(tmp_path) as worlds:
            if not worlds.names():
                asyncio.run(both(worlds))
            assert worlds.names() == ["Box", "box", "con"]


# Unusable files


def test_the_directory_layout_of_version_0_1_is_rejected_with_advice(tmp_path: Path) -> None:
    (tmp_path / "mockserver.db").write_bytes(b"")
    with pytest.raises(DirectoryUnusable, match=r"mockserver 0\.1.*export"), open_directory(tmp_path):
        pass


def test_a_directory_in_use_is_rejected(tmp_path: Path) -> None:
    with open_directory(tmp_path), pytest.raises(DirectoryUnusable, match="in use"), open_directory(tmp_path):
        pass


def test_a_damaged_lock_file_gets_an_error_of_its_own(tmp_path: Path) -> None:
    with open_directory(tmp_path):
        pass
    (tmp_path / "lock").write_bytes(b"damaged " * 600)
    with pytest.raises(DirectoryUnusable, match=r"lock is damaged .*; empty that file \(it"), open_directory(tmp_path):
        pass
    (tmp_path / "lock").write_bytes(b"")
    with open_directory(tmp_path):
        pass


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version=99")


def _incomplete(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP INDEX containers_named")
        database.execute("DROP VIEW live_containers")
        database.execute("ALTER TABLE containers DROP COLUMN replaced_by")


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1_000)


def _damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(4_096, len(content), 4_096):
        content[page : page + 64] = b"\xff" * 64
    path.write_bytes(content)


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_newer, "newer"),
        (_incomplete, "replaced_by"),
        (_not_a_database, "damaged"),
        (_damaged, "damaged"),
        (_missing, "missing"),
    ],
)
def test_an_unusable_world_raises_errors_while_other_worlds_work(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    async def prepare(worlds: Worlds) -> None:
        for name in ("bad", "good"):
            await add_container(worlds, name, "box")
            await worlds.take_snapshot(name, "kept")

    async def check(worlds: Worlds) -> None:
        assert await read_world(worlds, "good") == ["box"]
        for _ in range(2):
            with pytest.raises(APIError, match=message) as found:
                await worlds.enter("bad")
            assert (found.value.status, found.value.code) == (500, "world_unusable")
            assert found.value.headers == {"x-should-retry": "false"}
            assert "world.db" in found.value.message
        bad, good = await worlds.summaries(["bad", "good"])
        assert bad.error
        assert bad.counts is None
        assert good.counts
        assert {name: count for name, count in good.counts.items() if count} == {"containers": 1}
        await worlds.restore("bad", "kept")
        assert await read_world(worlds, "bad") == ["box"]

    with open_directory(tmp_path) as worlds:
        asyncio.run(prepare(worlds))
    (path,) = tmp_path.glob("worlds/*-bad/world.db")
    damage(path)
    (tmp_path / "clean").unlink()
    with open_directory(tmp_path) as worlds:
        asyncio.run(check(worlds))


@pytest.mark.parametrize("repair", ["reset", "delete"])
def test_an_unusable_world_can_be_reset_and_deleted(tmp_path: Path, repair: str) -> None:
    with open_directory(tmp_path) as worlds:
        asyncio.run(add_container(worlds, "bad", "box"))
    (path,) = tmp_path.glob("worlds/*-bad/world.db")
    _not_a_database(path)
    with open_directory(tmp_path) as worlds:
        asyncio.run(getattr(worlds, repair)("bad"))
        assert asyncio.run(read_world(worlds, "bad")) == ([] if repair == "reset" else None)


def test_a_world_is_opened_off_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration of a large database takes long."""
    threads = list[threading.Thread]()
    monkeypatch.setattr(migrations, "check", lambda *_, **__: threads.append(threading.current_thread()))
    for _ in range(2):
        with open_directory(tmp_path) as worlds:
            asyncio.run(add_container(worlds, "w", "box"))
    assert threads
    assert threading.main_thread() not in threads


def test_a_database_of_schema_version_3_is_migrated(tmp_path: Path) -> None:
    """Version 3 had no uploads. Snapshots are migrated when they are restored."""

    async def prepare(worlds: Worlds) -> None:
        await add_container(worlds, "w", "box")
        await add_content(worlds, "w", LARGE_CONTENT)
        await worlds.take_snapshot("w", "kept")

    async def use(worlds: Worlds) -> None:
        assert len(await read_world(worlds, "w") or []) == 2
        await add_upload(worlds, "w", LARGE_CONTENT + b"part")
        (summary,) = await worlds.summaries(["w"])
        assert summary.counts
        assert (summary.counts["upload_parts"], summary.counts["files"]) == (1, 1)

    with open_directory(tmp_path) as worlds:
        asyncio.run(prepare(worlds))
    for path in (*tmp_path.glob("worlds/*/world.db"), *tmp_path.glob("snapshots/*/world.db")):
        with closing(sqlite3.connect(path)) as database:
            database.executescript(
                "DROP VIEW named_contents; DROP VIEW live_uploads; DROP VIEW live_upload_parts; DROP TABLE uploads;"
                "DROP TABLE upload_parts; CREATE VIEW named_contents AS SELECT digest FROM live_container_files "
                "UNION ALL SELECT digest FROM live_files; PRAGMA user_version=3; PRAGMA journal_mode=DELETE"
            )
    with open_directory(tmp_path) as worlds:
        (before,) = asyncio.run(worlds.summaries(["w"]))
        assert before.counts
        asyncio.run(use(worlds))
        asyncio.run(worlds.restore("w", "kept"))
        asyncio.run(use(worlds))
    (tmp_path / "clean").unlink()
    with open_directory(tmp_path) as worlds:  # after a crash, contents that a row names stay
        asyncio.run(read_world(worlds, "w"))
        assert len(list(tmp_path.glob("worlds/*/contents/*/*"))) == 2


def test_downloading_a_damaged_small_content_raises_an_error(tmp_path: Path) -> None:
    async def download(worlds: Worlds, id: str) -> None:
        context = await worlds.enter("w")
        await context.run(files.download_file, id)

    with open_directory(tmp_path) as worlds:
        id = asyncio.run(add_content(worlds, "w", b"fine"))
    (path,) = tmp_path.glob("worlds/*/world.db")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE contents SET content = ?", (b"fire",))
    with open_directory(tmp_path) as worlds, pytest.raises(APIError) as found:
        asyncio.run(download(worlds, id))
    assert found.value.code == "world_unusable"


def test_contents_that_no_row_names_are_removed_when_a_world_is_first_opened_after_a_crash(tmp_path: Path) -> None:
    with open_directory(tmp_path) as worlds:
        asyncio.run(add_content(worlds, "w", LARGE_CONTENT))
    (state,) = tmp_path.glob("worlds/*")
    unnamed = state / "contents" / "ab" / ("ab" + "0" * 62)
    unnamed.parent.mkdir(exist_ok=True)
    unnamed.write_bytes(b"unnamed")
    with open_directory(tmp_path) as worlds:
        asyncio.run(read_world(worlds, "w"))
        assert unnamed.exists(), "after an orderly stop the contents are not checked"
    (tmp_path / "clean").unlink()
    with open_directory(tmp_path) as worlds:
        assert asyncio.run(read_world(worlds, "w")) == [hashlib.sha256(LARGE_CONTENT).hexdigest()]
        assert not unnamed.exists()


async def take_ordinals(worlds: Worlds, world: str, count: int) -> list[int]:
    context = await worlds.enter(world)
    taken = []
    for _ in range(count):
        with context.write() as tx:
            taken.append(context.world.take(tx))
    return taken


def test_ordinals_have_no_gaps_after_closing_a_database_or_restarting(tmp_path: Path) -> None:
    async def take_twice() -> list[int]:
        with open_directory(tmp_path, open_worlds=1) as worlds:
            first = await take_ordinals(worlds, "a", 3)
            await take_ordinals(worlds, "another", 1)
            assert not (await worlds.find("a")).database.is_open
            await worlds.finish(trash=True)
            second = await take_ordinals(worlds, "a", 3)
            await take_ordinals(worlds, "another", 1)  # closes the database of "a"
            return first + second

    assert asyncio.run(take_twice()) + asyncio.run(take_twice()) == list(range(1, 13))


def test_forks_and_snapshots_continue_after_the_last_ordinal(tmp_path: Path) -> None:
    async def copied() -> None:
        with open_directory(tmp_path) as worlds:
            assert await take_ordinals(worlds, "a", 3) == [1, 2, 3]
            await worlds.create("fork", fork_of="a")
            await worlds.take_snapshot("a", "kept")
            assert await take_ordinals(worlds, "a", 1) == await take_ordinals(worlds, "fork", 1) == [4]
            await worlds.restore("a", "kept")
            assert await take_ordinals(worlds, "a", 1) == [4]

    asyncio.run(copied())


def test_stored_ordinals_are_never_lower_than_those_in_use(tmp_path: Path) -> None:
    """Otherwise a process that follows a crash would use an ordinal again.

    Failed writes leave no gap, so ids don't depend on them.
    """

    def stored_ordinal(context: Context) -> int:
        with closing(sqlite3.connect(context.world.database.path)) as database:
            return int(database.execute("SELECT ordinal FROM world").fetchone()[0])

    async def take_and_fail() -> None:
        with open_directory(tmp_path) as worlds:
            context = await worlds.enter("a")
            with suppress(ZeroDivisionError), context.write() as tx:
                context.world.take(tx, 1_000)
                raise ZeroDivisionError
            for number in range(200):
                (last,) = await take_ordinals(worlds, "a", 1)
                assert last == number + 1
                assert stored_ordinal(context) >= last
                with suppress(ZeroDivisionError), context.write() as tx:
                    context.world.take(tx, number)
                    raise ZeroDivisionError
            for _ in range(200):
                await worlds.add("a", lambda put: setattr(put, "ordinal", put.ordinal + 1))
                assert await take_ordinals(worlds, "a", 1) == [last + 2]
                last += 2
                assert stored_ordinal(context) >= last

    asyncio.run(take_and_fail())


def test_an_ordinal_that_a_thread_takes_while_a_database_is_closed_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_directory(tmp_path) as worlds:

        async def close_while_writing() -> None:
            await add_container(worlds, "w", "box")
            call = await worlds.enter("w")
            world, writing = call.world, database.writing

            @contextmanager
            def followed(connection: Transaction) -> Iterator[Transaction]:
                with writing(connection) as tx:
                    yield tx
                monkeypatch.undo()
                with closing(world.database.connect()) as other:
                    thread = Context(world, lambda world: world, connection=other)
                    with thread.write() as tx:
                        world.take(tx)

            monkeypatch.setattr("mockserver.context.writing", followed)
            world.store_ordinal()
            (stored,) = call.read.execute("SELECT ordinal FROM world").fetchone()
            assert stored >= world.ordinal

        asyncio.run(close_while_writing())


def test_reserved_ordinals_are_discarded_before_the_rollback(tmp_path: Path) -> None:
    """After the rollback another thread can write, and must not use a reservation that the row does not contain."""

    async def reserved() -> list[int]:
        with open_directory(tmp_path) as worlds:
            context, found = await worlds.enter("a"), []
            context.read.set_trace_callback(lambda sql: found.append((sql, context.world.reserved)))
            with pytest.raises(ZeroDivisionError), context.write() as tx:
                divmod(context.world.take(tx), 0)
            return [reserved for sql, reserved in found if sql == "ROLLBACK"]

    assert asyncio.run(reserved()) == [0]
