"""Worlds as directories: what a crash leaves, what a copy holds, what can't be used, and how many files are open."""

import asyncio
import errno
import gc
import hashlib
import io
import os
import resource
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from mockserver import containers, files, ids, states, uploads
from mockserver.clock import Clock, Wall
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.schema.containers import CreateContainer, ListContainers
from mockserver.schema.files import ListFiles
from mockserver.schema.uploads import CreateUpload
from mockserver.settings import Settings
from mockserver.states import MAX_TASKS
from mockserver.storage import bulk, directory, migrations, tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import SMALL, Uploads
from mockserver.storage.database import SMALL_DATABASE, Transaction, failure
from mockserver.storage.directory import EVERY_WORLD, Directory, DirectoryUnusable, usable
from mockserver.worlds import Worlds

LARGE = b"x" * (SMALL + 1)
LIFE: dict[str, Any] = {"memory_limit": "1g", "expires_anchor": "last_active_at", "expires_minutes": 0}


@contextmanager
def opened(path: Path, open_worlds: int = states.OPEN_WORLDS) -> Iterator[Worlds]:
    path.mkdir(exist_ok=True)
    wall = Wall()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "OPEN_WORLDS", open_worlds)
        usable_directory = stack.enter_context(usable(path))
        worlds = Worlds(usable_directory, Settings(data=path), wall, ended=lambda name: None)
        stack.callback(worlds.close)
        worlds.add_template(EVERY_WORLD, Clock(wall.now(), wall.now()), lambda put: None)
        yield worlds


async def add(worlds: Worlds, world: str, name: str) -> str:
    context = await worlds.enter(world)
    made = await context.run(containers.create_container, CreateContainer(name=name))
    return made["id"]


async def add_content(worlds: Worlds, world: str, content: bytes) -> str:
    context = await worlds.enter(world)
    upload = Uploads(worlds._directory.path / "uploads").put([content])
    try:
        form = NewFile(upload, "a.txt", {"purpose": "vision"})
        return (await context.run(files.create_file, form))["id"]
    finally:
        upload.discard()


async def add_upload(worlds: Worlds, world: str, content: bytes) -> None:
    """A pending upload with a part."""
    context = await worlds.enter(world)
    new = CreateUpload(bytes=len(content), filename="a.txt", purpose="vision", mime_type="text/plain")
    upload = await context.run(uploads.create_upload, new)
    part = Uploads(worlds._directory.path / "uploads").put([content])
    try:
        await context.run(uploads.add_upload_part, upload["id"], NewFile(part, "data", {}))
    finally:
        part.discard()


async def held(worlds: Worlds, world: str) -> list[str] | None:
    """The names of a world's containers, and its contents' digests; None where there is no such world."""
    if world not in worlds.names():
        return None
    context = Context(await worlds.find(world), worlds._current)
    listed = await context.run(containers.list_containers, ListContainers(limit=100))
    found = [each["name"] for each in listed["data"]]
    for file in (await context.run(files.list_files, ListFiles()))["data"]:
        with (await context.run(files.download_file, file["id"])).file as content:
            found.append(hashlib.sha256(content.read()).hexdigest())
    return sorted(found)


# A crash at any step


class Killed(BaseException):
    """The process ended here."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Nothing happens to the file system from its so manieth change on. Yields the changes that were made."""
    done: list[str] = []

    def guarded(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def guard(*args: Any, **options: Any) -> Any:
            if len(done) >= step:
                raise Killed(name)
            done.append(name)
            return change(*args, **options)

        return guard

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
            patch.setattr(owner, name, guarded(name, getattr(owner, name)))
        yield done


async def create(worlds: Worlds) -> None:
    await worlds.create("new")


async def create_with_a_row(worlds: Worlds) -> None:
    await add(worlds, "new", "first")


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
    await add(worlds, "kept", "later")


async def snapshot(worlds: Worlds) -> None:
    await worlds.take_snapshot("kept", "one")


async def upload(worlds: Worlds) -> None:
    await add_content(worlds, "kept", LARGE + b"more")


BEFORE = sorted(["a", "b", hashlib.sha256(LARGE).hexdigest()])
AT_SNAPSHOT = sorted(["a", hashlib.sha256(LARGE).hexdigest()])
UPLOADED = sorted([*BEFORE, hashlib.sha256(LARGE + b"more").hexdigest()])


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
"""For each act what its world may hold after a crash, and last what it holds without one."""
QUICK = (create_with_a_row, restore)


@pytest.mark.parametrize(
    ("act", "outcomes"),
    [
        pytest.param(act, outcomes, marks=() if act in QUICK else pytest.mark.slow, id=act.__name__)
        for act, outcomes in OUTCOMES.items()
    ],
)
def test_after_a_crash_at_any_step_a_world_is_the_old_one_or_the_new_one(
    tmp_path: Path, act: Callable[[Worlds], Awaitable[None]], outcomes: dict[str, list[list[str] | None]]
) -> None:
    async def prepare(worlds: Worlds) -> None:
        await add(worlds, "kept", "a")
        await add_content(worlds, "kept", LARGE)
        await worlds.take_snapshot("kept", "one")
        await worlds.take_snapshot("kept", "two")
        await add(worlds, "kept", "b")
        await worlds.finish(trash=True)

    async def attempt(worlds: Worlds, step: int) -> bool:
        """Whether it was done before the crash."""
        with killed_at(step):
            try:
                await act(worlds)
                await worlds.finish(trash=True)
            except Killed:
                return False
        return True

    async def check(worlds: Worlds) -> list[list[str] | None]:
        found = [await held(worlds, name) for name in outcomes]
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
    with opened(original) as worlds:
        asyncio.run(prepare(worlds))
    seen, step, done = [], 0, False
    while not done:
        data, after = tmp_path / f"data-{step}", tmp_path / f"after-{step}"
        shutil.copytree(original, data)
        with opened(data) as worlds:
            done = asyncio.run(attempt(worlds, step))
            shutil.copytree(data, after)  # what the next process finds
        (after / "clean").unlink(missing_ok=True)
        with opened(after) as worlds:
            seen.append(asyncio.run(check(worlds)))
            assert list((after / "uploads").iterdir()) == []
        with opened(after) as worlds:  # and it stays so
            assert asyncio.run(check(worlds)) == seen[-1]
        step += 1
    assert step > 1
    assert seen[-1] == [values[-1] for values in outcomes.values()]


# States that can't be removed


async def again(worlds: Worlds) -> None:
    await worlds.take_snapshot("kept", "one")
    await worlds.delete_snapshot("kept", "one")


async def reset_then_delete(worlds: Worlds) -> None:
    await worlds.reset("kept")
    await worlds.delete("kept")


@pytest.mark.parametrize("act", [delete_then_create, again, reset_then_delete])
def test_a_state_that_could_not_be_removed_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Worlds], Awaitable[None]]
) -> None:
    """What would bring it back fails, until it can be removed."""
    rename, stuck = Path.rename, set[str]()

    def fail(self: Path, target: Path) -> Path:
        if self.name in stuck:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    async def prepare(worlds: Worlds) -> None:
        await add(worlds, "kept", "a")
        await worlds.take_snapshot("kept", "one")

    async def check(worlds: Worlds) -> None:
        with pytest.raises(PermissionError):
            await act(worlds)
        stuck.clear()
        if act is delete_then_create:
            await add(worlds, "kept", "later")
        elif act is again:
            await worlds.delete_snapshot("kept", "one")
        else:
            await worlds.delete("kept")

    with opened(tmp_path) as worlds:
        asyncio.run(prepare(worlds))
        folder = tmp_path / ("worlds" if act is reset_then_delete else "snapshots")
        stuck.update(path.name for path in folder.iterdir())
        monkeypatch.setattr(Path, "rename", fail)
        asyncio.run(check(worlds))
    with opened(tmp_path) as worlds:
        assert worlds.snapshots("kept") == []
        assert worlds.exists("kept") is (act is not reset_then_delete)


def test_a_world_that_cant_be_deleted_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(worlds: Worlds) -> None:
        await add(worlds, "w", "before")
        before = worlds.known("w")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", MagicMock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
            with pytest.raises(PermissionError):
                await worlds.delete("w")
        await add(worlds, "w", "after")
        assert worlds.known("w") is before
        assert await held(worlds, "w") == ["after", "before"]

    with opened(tmp_path) as worlds:
        asyncio.run(check(worlds))


@pytest.mark.parametrize("kind", ["worlds", "snapshots"])
def test_what_others_put_beside_the_worlds_stays_and_is_none(tmp_path: Path, kind: str) -> None:
    foreign = {".DS_Store", "notes.txt", "7-file", "folder", "n-world"}
    with opened(tmp_path) as worlds:
        asyncio.run(add(worlds, "w", "a"))
        names = worlds.names()
    for name in foreign:
        (tmp_path / kind / name).mkdir() if name in ("folder", "n-world") else (tmp_path / kind / name).touch()
    for _ in range(2):
        with opened(tmp_path) as worlds:
            assert (worlds.names(), worlds.snapshots("")) == (names, [])
            asyncio.run(worlds.take_snapshot("w", "s"))
        assert {each.name for each in (tmp_path / kind).iterdir()} > foreign


def test_what_cant_be_removed_is_tried_once_and_again_with_the_next_trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def delete(worlds: Worlds, name: str) -> None:
        await add(worlds, name, "a")
        await worlds.delete(name)
        await worlds.finish(trash=True)

    with opened(tmp_path) as worlds:
        with monkeypatch.context() as patch:
            tried = list[Path]()
            patch.setattr(directory, "remove", tried.append)
            asyncio.run(delete(worlds, "first"))
        (first,) = (tmp_path / "trash").iterdir()
        assert tried == [first]
        asyncio.run(delete(worlds, "second"))
        assert not list((tmp_path / "trash").iterdir())


def test_a_stop_leaves_the_trash_to_the_next_start(tmp_path: Path) -> None:
    async def delete(worlds: Worlds) -> None:
        await add(worlds, "w", "a")
        await worlds.delete("w")
        await worlds.finish()

    with opened(tmp_path) as worlds:
        asyncio.run(delete(worlds))
        assert len(list((tmp_path / "trash").iterdir())) == 1
    with opened(tmp_path):
        assert not list((tmp_path / "trash").iterdir())


@pytest.mark.parametrize("method", ["trash", "remove"])
def test_work_in_the_background_that_fails_is_no_error_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """Where no more files can be open, or the disk fails."""

    async def delete(worlds: Worlds) -> None:
        await add(worlds, "w", "a")
        await worlds.delete("w")
        await worlds.finish(trash=True)
        gc.collect()

    owner = Directory if method == "trash" else directory
    monkeypatch.setattr(owner, method, MagicMock(side_effect=OSError(errno.EMFILE, "Too many open files")))
    with opened(tmp_path) as worlds:
        asyncio.run(delete(worlds))
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), "stale file handle"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "file name too long"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
        (TimeoutError(errno.ETIMEDOUT, "Timed out"), None),
        (io.UnsupportedOperation("not writable"), None),
    ],
)
def test_what_the_system_refuses_is_told_and_what_a_connection_or_a_program_does_is_not(
    error: OSError, problem: str | None
) -> None:
    assert failure(error) == problem


# Copies


@pytest.mark.parametrize("copies", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_copy_taken_while_contents_come_and_go_has_all_of_its_contents(tmp_path: Path, copies: int) -> None:
    async def churn(worlds: Worlds, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            ids = [await add_content(worlds, "kept", LARGE + str(number + n).encode()) for n in range(3)]
            context = await worlds.enter("kept")
            for id in ids[:2]:
                await context.run(files.delete_file, id)
            number += 3
            await asyncio.sleep(0)

    async def copy_often(worlds: Worlds) -> None:
        await add(worlds, "kept", "a")
        stop = asyncio.Event()
        writer = asyncio.create_task(churn(worlds, stop))
        for number in range(copies):
            await worlds.create(f"copy-{number}", fork_of="kept")
            await asyncio.sleep(0)
        stop.set()
        await writer
        for number in range(copies):
            assert await held(worlds, f"copy-{number}")  # reads every content

    with opened(tmp_path) as worlds:
        asyncio.run(copy_often(worlds))


def test_every_table_is_copied(tmp_path: Path) -> None:
    listed = {each.__tablename__ for each in tables.Listed.__subclasses__()}
    assert {"containers", "container_files", "files", "uploads", "upload_parts"} <= listed
    with opened(tmp_path) as worlds:

        async def copied() -> None:
            await add(worlds, "kept", "a")
            await add_content(worlds, "kept", b"small")
            await add_upload(worlds, "kept", LARGE)
            await worlds.create("copy", fork_of="kept")
            before, after = await worlds.summaries(["kept", "copy"])
            assert before.counts == after.counts
            assert before.counts is not None
            assert set(before.counts) == {*listed, "responses", "answers"}
            assert not {name for name in ("uploads", "upload_parts") if before.counts[name] != 1}

        asyncio.run(copied())


@pytest.mark.parametrize("count", [1, 4_000])
def test_every_time_moves_with_the_template(tmp_path: Path, count: int) -> None:
    """In a large database the indexes are created again for it."""
    now = 1_700_000_000
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"

    def fill(put: Placement) -> None:
        for number in range(count):
            put.add(tables.Container, created_at=now - number, last_active_at=now, name=f"box {number}", **LIFE)
        put.insert(tables.Fault, id="slow", position=1, rule='{"effect": {"latency": 1}}', created_at=float(now))
        removed = {"id": "gone", "seq": 0, "created_at": now, "last_active_at": now, "name": "gone"}
        put.insert(tables.Container, **removed, deleted_at=now, deleted_ordinal=1, **LIFE)

    with opened(tmp_path) as worlds, ExitStack() as stack:
        worlds.add_template("old", Clock(now, now), fill)
        states = worlds._template("old"), asyncio.run(worlds.enter("old")).world.directory
        before, after = (stack.enter_context(closing(sqlite3.connect(state / "world.db"))) for state in states)
        assert (os.path.getsize(states[0] / "world.db") > SMALL_DATABASE) is (count > 1)  # noqa: PTH202
        assert before.execute(schema).fetchall() == after.execute(schema).fetchall()
        assert after.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (moved,) = after.execute("SELECT clock_virtual FROM world").fetchone()
        for times in ("created_at, last_active_at, deleted_at FROM containers", "created_at FROM faults"):
            for old, new in zip(*(each.execute(f"SELECT {times}") for each in (before, after)), strict=True):
                assert [time if time is None else time + int(moved) - now for time in old] == list(new)


@pytest.mark.parametrize("later", [-3, 3])
def test_times_that_are_keys_move_although_others_stand_where_they_go(tmp_path: Path, later: int) -> None:
    now = int(Wall().now()) - later

    def fill(put: Placement) -> None:
        box = put.add(tables.Container, created_at=now, last_active_at=now, name="box", **LIFE)
        for number in range(40):
            put.insert(tables.Use, container_id=box.id, at=now + number, response_id="response")

    with opened(tmp_path) as worlds:
        worlds.add_template("old", Clock(now, now + 1), fill)
        asyncio.run(worlds.enter("old"))
        with closing(sqlite3.connect(worlds._directory.worlds["old"] / "world.db")) as moved:
            (at,) = moved.execute("SELECT clock_virtual FROM world").fetchone()
            ends = [end for (end,) in moved.execute("SELECT at FROM uses ORDER BY at")]
        assert ends == [int(at) + number for number in range(40)]
        assert at != now


@pytest.mark.parametrize("many", [bulk.MANY_IDS, 1])
def test_an_id_that_is_taken_is_not_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    columns = {"seq": None, "created_at": 1_700_000_000, "last_active_at": 1_700_000_000, "name": "box", **LIFE}

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

    monkeypatch.setattr(bulk, "MANY_IDS", many)
    with opened(tmp_path) as worlds:
        asyncio.run(place_all(worlds))


# Many worlds


@pytest.mark.parametrize("count", [60, pytest.param(3_000, marks=pytest.mark.slow)])
def test_many_short_worlds_keep_few_files_open(tmp_path: Path, count: int) -> None:
    async def many(worlds: Worlds) -> int:
        most = 0
        for number in range(count):
            await add(worlds, f"w{number}", "box")
            most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208  # not a directory of ours
            if number >= 20:
                await worlds.delete(f"w{number - 20}")
        await worlds.finish(trash=True)
        return most

    with opened(tmp_path, open_worlds=8) as worlds:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # as above
        most = asyncio.run(many(worlds))
        assert most < before + 3 * (8 + MAX_TASKS) + 10, "of each world the database, its log and the index of that"
        assert len(list((tmp_path / "worlds").iterdir())) == 20
        assert not list((tmp_path / "trash").iterdir())


@pytest.mark.parametrize(("limit", "most"), [(8, 1), (160, 10), (1_024, 64), (resource.RLIM_INFINITY, 64)])
def test_few_worlds_are_open_where_few_files_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    async def reached(worlds: Worlds) -> int:
        return max([len(worlds._open) for number in range(66) if await add(worlds, f"w{number}", "box")])

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    with opened(tmp_path) as worlds:
        assert asyncio.run(reached(worlds)) == most


def test_worlds_that_are_opened_at_once_leave_few_files_open(tmp_path: Path) -> None:
    async def visit(worlds: Worlds) -> int:
        for number in range(60):
            await add(worlds, f"w{number}", "box")
        await worlds.finish(trash=True)
        await asyncio.gather(*(add(worlds, f"w{number}", "more") for number in range(60)))
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # not a directory of ours

    async def list_often(worlds: Worlds) -> int:
        await worlds.finish(trash=True)
        await asyncio.gather(*(worlds.summaries(worlds.names()) for _ in range(5)))
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # as above

    with opened(tmp_path, open_worlds=8) as worlds:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # as above
        assert asyncio.run(visit(worlds)) <= before + 3 * (8 + MAX_TASKS) + 10
        assert asyncio.run(list_often(worlds)) <= before + 3 * 8 + 5, "a list opens no second connection"


def test_a_new_world_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write to a log would, on the event loop, for many milliseconds; later ones don't."""
    seen: list[int] = []
    start = Worlds._start

    def watched(self: Worlds, connection: Transaction, *args: Any, **options: Any) -> Any:
        seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        return start(self, connection, *args, **options)

    monkeypatch.setattr(Worlds, "_start", watched)
    with opened(tmp_path) as worlds:
        asyncio.run(add(worlds, "w", "box"))
        world = worlds.known("w")
        assert world
        assert seen == [0]
        assert world.database.connection.execute("PRAGMA synchronous").fetchone() == (1,)


def test_a_world_is_used_although_another_connection_to_it_is_being_closed(tmp_path: Path) -> None:
    """The last one writes the log back, and locks the file for that; also where it is not this server's."""

    async def use(worlds: Worlds) -> list[str] | None:
        await add(worlds, "w", "box")
        (world,) = [worlds.known("w")]
        assert world
        world.database.close()
        with closing(sqlite3.connect(world.database.path, isolation_level=None)) as closing_one:
            closing_one.execute("PRAGMA locking_mode=EXCLUSIVE")
            closing_one.execute("BEGIN EXCLUSIVE")
            using = asyncio.create_task(held(worlds, "w"))
            for _ in range(3):
                await asyncio.sleep(0)
            assert not using.done()
        return await using

    with opened(tmp_path) as worlds:
        assert asyncio.run(use(worlds)) == ["box"]


def test_a_world_whose_file_was_closed_is_opened_again(tmp_path: Path) -> None:
    async def visit(worlds: Worlds) -> None:
        contexts = []
        for number in range(5):
            await add(worlds, f"w{number}", f"box {number}")
            contexts.append(await worlds.enter(f"w{number}"))
        await worlds.finish(trash=True)
        for number, context in enumerate(contexts):  # those begun before their world was closed
            found = await context.run(containers.list_containers, ListContainers())
            assert [each["name"] for each in found["data"]] == [f"box {number}"]
        summaries = await worlds.summaries(worlds.names())
        assert [each.counts and each.counts["containers"] for each in summaries] == [1] * 5

    with opened(tmp_path, open_worlds=2) as worlds:
        asyncio.run(visit(worlds))


def test_names_that_differ_in_case_are_different_worlds(tmp_path: Path) -> None:
    async def both(worlds: Worlds) -> None:
        await add(worlds, "Box", "upper")
        await add(worlds, "box", "lower")
        await add(worlds, "con", "reserved by Windows")
        assert await held(worlds, "Box") == ["upper"]
        assert await held(worlds, "box") == ["lower"]

    for _ in range(2):
        with opened(tmp_path) as worlds:
            if not worlds.names():
                asyncio.run(both(worlds))
            assert worlds.names() == ["Box", "box", "con"]


# What can't be used


def test_the_layout_of_an_older_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mockserver.db").write_bytes(b"")
    with pytest.raises(DirectoryUnusable, match=r"mockserver 0\.1.*export"), opened(tmp_path):
        pass


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(DirectoryUnusable, match="in use"), opened(tmp_path):
        pass


def test_a_damaged_lock_is_neither_in_use_nor_read_only(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    (tmp_path / "lock").write_bytes(b"damaged " * 600)
    with pytest.raises(DirectoryUnusable, match=r"lock is damaged .*; empty that file \(it"), opened(tmp_path):
        pass
    (tmp_path / "lock").write_bytes(b"")
    with opened(tmp_path):
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


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_newer, "newer"),
        (_incomplete, "replaced_by"),
        (_not_a_database, "damaged"),
        (_damaged, "damaged"),
        (_gone, "missing"),
    ],
)
def test_a_world_that_cant_be_used_says_so_and_the_others_go_on(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    async def prepare(worlds: Worlds) -> None:
        for name in ("bad", "good"):
            await add(worlds, name, "box")
            await worlds.take_snapshot(name, "kept")

    async def check(worlds: Worlds) -> None:
        assert await held(worlds, "good") == ["box"]
        for _ in range(2):
            with pytest.raises(APIError, match=words) as found:
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
        assert await held(worlds, "bad") == ["box"]

    with opened(tmp_path) as worlds:
        asyncio.run(prepare(worlds))
    (path,) = tmp_path.glob("worlds/*-bad/world.db")
    damage(path)
    (tmp_path / "clean").unlink()
    with opened(tmp_path) as worlds:
        asyncio.run(check(worlds))


@pytest.mark.parametrize("repair", ["reset", "delete"])
def test_a_world_that_cant_be_used_can_be_reset_and_deleted(tmp_path: Path, repair: str) -> None:
    with opened(tmp_path) as worlds:
        asyncio.run(add(worlds, "bad", "box"))
    (path,) = tmp_path.glob("worlds/*-bad/world.db")
    _not_a_database(path)
    with opened(tmp_path) as worlds:
        asyncio.run(getattr(worlds, repair)("bad"))
        assert asyncio.run(held(worlds, "bad")) == ([] if repair == "reset" else None)


def test_a_world_is_opened_off_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have to be upgraded, which takes long for a large one."""
    threads = list[threading.Thread]()
    monkeypatch.setattr(migrations, "check", lambda *_, **__: threads.append(threading.current_thread()))
    for _ in range(2):
        with opened(tmp_path) as worlds:
            asyncio.run(add(worlds, "w", "box"))
    assert threads
    assert threading.main_thread() not in threads


def test_a_file_of_an_older_schema_is_upgraded(tmp_path: Path) -> None:
    """Version 3 had no uploads. Snapshots keep their version until they are restored."""

    async def prepare(worlds: Worlds) -> None:
        await add(worlds, "w", "box")
        await add_content(worlds, "w", LARGE)
        await worlds.take_snapshot("w", "kept")

    async def use(worlds: Worlds) -> None:
        assert len(await held(worlds, "w") or []) == 2
        await add_upload(worlds, "w", LARGE + b"part")
        (summary,) = await worlds.summaries(["w"])
        assert summary.counts
        assert (summary.counts["upload_parts"], summary.counts["files"]) == (1, 1)

    with opened(tmp_path) as worlds:
        asyncio.run(prepare(worlds))
    for path in (*tmp_path.glob("worlds/*/world.db"), *tmp_path.glob("snapshots/*/world.db")):
        with closing(sqlite3.connect(path)) as database:
            database.executescript(
                "DROP VIEW named_contents; DROP VIEW live_uploads; DROP VIEW live_upload_parts; DROP TABLE uploads;"
                "DROP TABLE upload_parts; CREATE VIEW named_contents AS SELECT digest FROM live_container_files "
                "UNION ALL SELECT digest FROM live_files; PRAGMA user_version=3; PRAGMA journal_mode=DELETE"
            )
    with opened(tmp_path) as worlds:
        (before,) = asyncio.run(worlds.summaries(["w"]))
        assert before.counts
        asyncio.run(use(worlds))
        asyncio.run(worlds.restore("w", "kept"))
        asyncio.run(use(worlds))
    (tmp_path / "clean").unlink()
    with opened(tmp_path) as worlds:  # after a crash, nothing that is named is removed
        asyncio.run(held(worlds, "w"))
        assert len(list(tmp_path.glob("worlds/*/contents/*/*"))) == 2


def test_a_small_content_that_was_damaged_is_not_sent(tmp_path: Path) -> None:
    async def download(worlds: Worlds, id: str) -> None:
        context = await worlds.enter("w")
        await context.run(files.download_file, id)

    with opened(tmp_path) as worlds:
        id = asyncio.run(add_content(worlds, "w", b"fine"))
    (path,) = tmp_path.glob("worlds/*/world.db")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE contents SET content = ?", (b"fire",))
    with opened(tmp_path) as worlds, pytest.raises(APIError) as found:
        asyncio.run(download(worlds, id))
    assert found.value.code == "world_unusable"


def test_what_a_crash_left_of_contents_is_removed_when_the_world_is_first_opened(tmp_path: Path) -> None:
    with opened(tmp_path) as worlds:
        asyncio.run(add_content(worlds, "w", LARGE))
    (state,) = tmp_path.glob("worlds/*")
    left = state / "contents" / "ab" / ("ab" + "0" * 62)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"left")
    with opened(tmp_path) as worlds:
        asyncio.run(held(worlds, "w"))
        assert left.exists(), "after an orderly stop nothing is searched"
    (tmp_path / "clean").unlink()
    with opened(tmp_path) as worlds:
        assert asyncio.run(held(worlds, "w")) == [hashlib.sha256(LARGE).hexdigest()]
        assert not left.exists()


async def ordinals(worlds: Worlds, world: str, count: int) -> list[int]:
    context = await worlds.enter(world)
    made = []
    for _ in range(count):
        with context.write() as tx:
            made.append(context.take(tx))
    return made


def test_ordinals_have_no_gap_after_a_restart_or_in_a_database_that_was_closed(tmp_path: Path) -> None:
    async def used() -> list[int]:
        with opened(tmp_path, open_worlds=1) as worlds:
            first = await ordinals(worlds, "a", 3)
            await ordinals(worlds, "another", 1)
            assert not (await worlds.find("a")).database.is_open
            await worlds.finish(trash=True)
            second = await ordinals(worlds, "a", 3)
            await ordinals(worlds, "another", 1)  # so that it is closed when the server stops
            return first + second

    assert asyncio.run(used()) + asyncio.run(used()) == list(range(1, 13))


def test_a_copy_goes_on_behind_the_last_ordinal(tmp_path: Path) -> None:
    async def copied() -> None:
        with opened(tmp_path) as worlds:
            assert await ordinals(worlds, "a", 3) == [1, 2, 3]
            await worlds.create("fork", fork_of="a")
            await worlds.take_snapshot("a", "kept")
            assert await ordinals(worlds, "a", 1) == await ordinals(worlds, "fork", 1) == [4]
            await worlds.restore("a", "kept")
            assert await ordinals(worlds, "a", 1) == [4]

    asyncio.run(copied())


def test_no_ordinal_is_used_again_after_a_failure_and_a_crash(tmp_path: Path) -> None:
    """Whatever fails: the row has one that is at least as high as all that are in use. A failed write leaves no gap, so
    that ids don't depend on it."""

    def stored_one(context: Context) -> int:
        with closing(sqlite3.connect(context.world.database.path)) as database:
            return int(database.execute("SELECT ordinal FROM world").fetchone()[0])

    async def used() -> None:
        with opened(tmp_path) as worlds:
            context = await worlds.enter("a")
            with suppress(ZeroDivisionError), context.write() as tx:
                context.take(tx, 1_000)
                raise ZeroDivisionError
            for number in range(200):
                (last,) = await ordinals(worlds, "a", 1)
                assert last == number + 1
                assert stored_one(context) >= last
                with suppress(ZeroDivisionError), context.write() as tx:
                    context.take(tx, number)
                    raise ZeroDivisionError
            for _ in range(200):
                await worlds.add("a", lambda put: setattr(put, "ordinal", put.ordinal + 1))
                assert await ordinals(worlds, "a", 1) == [last + 2]
                last += 2
                assert stored_one(context) >= last

    asyncio.run(used())


def test_no_reservation_outlives_the_transaction_that_made_it(tmp_path: Path) -> None:
    """Once it is rolled back, another thread can write, and would use what the row does not have."""

    async def reserved() -> list[int]:
        with opened(tmp_path) as worlds:
            context, found = await worlds.enter("a"), []
            context.read.set_trace_callback(lambda sql: found.append((sql, context.world.reserved)))
            with pytest.raises(ZeroDivisionError), context.write() as tx:
                divmod(context.take(tx), 0)
            return [reserved for sql, reserved in found if sql == "ROLLBACK"]

    assert asyncio.run(reserved()) == [0]
