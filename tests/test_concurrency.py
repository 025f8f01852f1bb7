"""Concurrent requests, and threads that write between the steps of a request."""

import asyncio
import errno
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx2
import pytest
from conftest import NOON, World, error_message, new_world, ok, stored
from rawhttp import TIMEOUT
from test_transfers import digest

from mockserver import containers, context, files
from mockserver.clock import Clock
from mockserver.context import Context
from mockserver.context import World as WorldState
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.schema.containers import CreateContainer
from mockserver.server.serving import THREADS, MockServer
from mockserver.settings import Settings
from mockserver.storage import database
from mockserver.storage.contents import SMALL, Contents
from mockserver.storage.database import Transaction, connect, writing

NEW_CONTAINER = CreateContainer(name="box")
FREE_ID = "cntr_" + "0" * 48
FIRST_CONTENT, SECOND_CONTENT = b"s" * (SMALL + 1), b"g" * (SMALL + 1)
"""Contents that are files, as small ones are removed in the transaction of the deletion."""


def run_concurrently(server: MockServer, work: Callable[[httpx2.Client, int], Any], times: int) -> list[Any]:
    """Run `work` in several clients that start at the same time, and return the results."""
    barrier = threading.Barrier(times)

    def begin(number: int) -> Any:
        with httpx2.Client(base_url=server.url, headers={"api-key": "k"}, timeout=TIMEOUT) as client:
            barrier.wait(TIMEOUT)
            return work(client, number)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(begin, range(times)))


def names(client: httpx2.Client, world: str) -> list[str]:
    return [each["name"] for each in ok(client.get(f"/w/{world}/v1/containers?limit=100"))["data"]]


# Over sockets


def test_a_server_has_as_many_threads_on_a_large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite keeps a descriptor of a world for each of them, so with 32 threads those of 64 worlds are too many."""
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    barrier = threading.Barrier(THREADS)

    def work() -> int:
        barrier.wait(TIMEOUT)
        return threading.get_ident()

    async def works() -> list[int]:
        return await asyncio.gather(*(database.in_thread(work) for _ in range(6 * THREADS)))

    with MockServer() as server:
        assert len(set(server.run(works()))) == THREADS


def test_concurrent_creates_in_a_new_world_get_different_ids(world: World) -> None:
    def create(client: httpx2.Client, number: int) -> list[str]:
        path = f"/w/{world.name}/v1/containers"
        return [ok(client.post(path, json={"name": f"{number}-{step}"}))["id"] for step in range(8)]

    ids = list(itertools.chain(*run_concurrently(world.server, create, 8)))
    listed = [each["id"] for each in ok(world.http.get("/containers?limit=100"))["data"]]
    assert len(set(ids)) == 64
    assert sorted(listed) == sorted(ids)


def test_concurrent_clock_advances_add_up(world: World) -> None:
    world.freeze()

    def advance(client: httpx2.Client, number: int) -> None:
        for _ in range(5):
            ok(client.post(f"/_mock/worlds/{world.name}/clock/advance", json={"by": 1}))

    run_concurrently(world.server, advance, 8)
    assert world.openai.containers.create(name="box").created_at == NOON + 40


def test_concurrent_requests_create_no_more_worlds_than_allowed() -> None:
    with MockServer(max_worlds=5) as server:
        statuses = run_concurrently(
            server, lambda client, number: client.get(f"/w/w{number}/v1/containers").status_code, 16
        )
        assert Counter(statuses) == {200: 5, 429: 11}
        assert len(server.mock.worlds.names()) == 5


def test_concurrent_requests_that_retire_worlds_do_not_deadlock() -> None:
    """Each request creates a world that others have just removed, for which it needs the locks of several worlds."""
    with MockServer(max_worlds=3, world_ttl=0.001) as server:

        def create(client: httpx2.Client, start: int) -> list[int]:
            worlds = (f"/w/w{number % 8}/v1/containers" for number in range(start, start + 12))
            return [client.post(world, json={"name": "box"}).status_code for world in worlds]

        statuses = Counter(itertools.chain(*run_concurrently(server, create, 8)))
        assert statuses[200] > 20
        assert statuses.keys() <= {200, 409, 429}


@pytest.mark.parametrize(("size", "restores"), [(8, 20), pytest.param(6_000, 20, marks=pytest.mark.slow)])
def test_a_restore_is_atomic_for_concurrent_clients(server: MockServer, size: int, restores: int) -> None:
    """Clients read and write during restores. A large copy is made in a thread."""
    with new_world(server) as world, httpx2.Client(base_url=f"{server.url}/_mock/worlds/{world.name}") as control:
        container = world.openai.containers.create(name="in both").id
        ok(control.put("/snapshots/small"))
        many = {"version": 1, "containers": [{"name": "more", "repeat": size - 1}]}
        ok(control.post("/place", json=many, timeout=TIMEOUT))
        ok(control.put("/snapshots/large"))
        done = threading.Event()
        counts = set()

        def use(client: httpx2.Client, number: int) -> None:
            while not done.is_set():
                if number == 0:
                    for turn in range(restores):
                        name = ("small", "large")[turn % 2]
                        ok(control.post(f"/snapshots/{name}/restore", timeout=TIMEOUT))
                        assert len(names(client, world.name)) == (1, min(size, 100))[turn % 2]
                    done.set()
                elif number == 1:
                    files = f"/w/{world.name}/v1/containers/{container}/files"
                    file = ok(client.post(files, files={"file": b"any"}))["id"]
                    assert client.delete(f"{files}/{file}").status_code in (200, 404)
                else:
                    counts.add(len(names(client, world.name)))
                    ok(client.get(f"/w/{world.name}/v1/containers/{container}"))

        def use_and_finish(client: httpx2.Client, number: int) -> None:
            try:
                use(client, number)
            finally:
                done.set()

        run_concurrently(server, use_and_finish, 4)
        assert counts <= {1, min(size, 100)}


DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


def fail_commits(patch: pytest.MonkeyPatch) -> None:
    """Let each commit fail, as on a full disk."""

    @contextmanager
    def failing_writing(connection: Transaction) -> Iterator[Transaction]:
        is_nested = connection.in_transaction
        with writing(connection) as tx:
            yield tx
            if not is_nested:
                raise DISK_FULL

    patch.setattr(database, "writing", failing_writing)
    patch.setattr(context, "writing", failing_writing)


def test_objects_of_a_rolled_back_transaction_are_not_in_the_journal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `any_id`, the transaction that deletes an unknown container creates it first."""
    control = f"{world.server.url}/_mock/worlds/{world.name}"
    ok(httpx2.put(f"{control}/profile", json={"switches": {"any_id": True}}))
    with monkeypatch.context() as patch:
        fail_commits(patch)
        error_message(world.http.delete(f"/containers/{FREE_ID}"), 500, "storage_failed")
    assert ok(world.http.get("/containers"))["data"] == []
    journal = ok(httpx2.get(f"{control}/journal"))["data"]
    assert [entry["objects"] for entry in journal if entry["method"] == "DELETE"] == [[]]


def test_a_delete_succeeds_although_its_content_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is removed in a later transaction; if that fails, the next delete removes it."""
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        first, second = (
            world.openai.files.create(file=("a.txt", content), purpose="vision").id
            for content in (FIRST_CONTENT, SECOND_CONTENT)
        )
        with monkeypatch.context() as patch:
            patch.setattr(Contents, "remove", MagicMock(side_effect=DISK_FULL))
            assert world.http.delete(f"/files/{first}").status_code == 200
            server.run(server.mock.worlds.finish(trash=True))
        assert stored(tmp_path).keys() == {digest(FIRST_CONTENT), digest(SECOND_CONTENT)}
        assert world.http.delete(f"/files/{second}").status_code == 200
        server.run(server.mock.worlds.finish(trash=True))
        assert stored(tmp_path) == {}


# Between the steps of a request


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    with closing(Mock(Settings(data=tmp_path))) as mock:
        yield mock


@contextmanager
def write_transaction(world: WorldState) -> Iterator[None]:
    """Hold a write transaction on another connection."""
    with closing(connect(world.database.path)) as other, writing(other):
        yield


async def upload(mock: Mock, context: Context, content: bytes) -> str:
    form = NewFile(mock.uploads.put([content]), "a.txt", {"purpose": "vision"})
    return (await context.run(files.create_file, form))["id"]


def test_contents_are_not_removed_while_their_world_is_copied(mock: Mock) -> None:
    async def check() -> None:
        context = await mock.worlds.enter("w")
        file = await upload(mock, context, SECOND_CONTENT)
        with context.world.held():
            await context.run(files.delete_file, file)
            await mock.worlds.finish(trash=True)
            assert stored(mock.directory)
        await mock.worlds.finish(trash=True)
        assert not stored(mock.directory)

    asyncio.run(check())


def test_adding_objects_to_a_world_during_its_deletion_creates_it_again(mock: Mock) -> None:
    """The deletion waits for a copy, and the addition for the deletion. It then creates the world again."""

    async def check() -> None:
        before = (await mock.worlds.enter("w")).world
        with before.contents.held():
            deleting = asyncio.create_task(mock.worlds.delete("w"))
            await asyncio.sleep(0)
            adding = asyncio.create_task(mock.worlds.add("w", lambda put: None))
            await asyncio.sleep(0)
        await deleting
        await asyncio.wait_for(adding, TIMEOUT)
        assert before.ended
        assert mock.worlds.known("w") is adding.result() is not before

    asyncio.run(check())


def test_a_pending_removal_is_skipped_once_a_copy_has_started(mock: Mock) -> None:
    """The copy may have a new row that names the content, which was deleted in the world after that."""

    async def check() -> None:
        context = await mock.worlds.enter("w")
        file, removed = await upload(mock, context, SECOND_CONTENT), {digest(SECOND_CONTENT)}
        with context.world.held():
            await context.run(files.delete_file, file)
            context.world._remove(removed)
            assert stored(mock.directory).keys() == removed
        await mock.worlds.finish(trash=True)
        assert not stored(mock.directory)

    asyncio.run(check())


def test_contents_of_many_deleted_files_are_removed_in_the_background(mock: Mock) -> None:
    async def check() -> None:
        context = await mock.worlds.enter("w")
        container = (await context.run(containers.create_container, CreateContainer(name="box")))["id"]
        for number in range(20):
            form = NewFile(mock.uploads.put([b"%d" % number * 20_000]), "a.txt", {})
            await context.run(containers.create_container_file, container, form)
        await context.run(containers.delete_container, container)
        assert len(stored(mock.directory)) == 20, "no content was removed on the event loop"
        await mock.worlds.delete("w")
        await mock.worlds.finish(trash=True)
        assert not stored(mock.directory)

    asyncio.run(check())


def test_activity_is_recorded_although_a_thread_is_writing(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh, attempts = containers._refresh_all, itertools.count()

    def refresh_during_a_write(context: Context, *args: Any) -> None:
        if next(attempts) == 0:
            with write_transaction(context.world):
                refresh(context, *args)
        refresh(context, *args)

    async def check() -> None:
        await mock.worlds.change_clock("w", lambda before: Clock(NOON, 0.0, 0.0))
        context = await mock.worlds.enter("w")
        container = await context.run(containers.create_container, NEW_CONTAINER)
        await mock.worlds.change_clock("w", lambda before: Clock(NOON + 60, 0.0, 0.0))
        monkeypatch.setattr(containers, "_refresh_all", refresh_during_a_write)
        await context.run(containers.retrieve_container, container["id"])
        await mock.worlds.change_clock("w", lambda before: Clock(NOON + 86_400, 0.0, 0.0))
        expired = await context.run(containers.retrieve_container, container["id"])
        assert (expired["status"], expired["last_active_at"]) == ("expired", NOON + 60)

    asyncio.run(check())
    assert next(attempts) == 2


def test_long_calls_that_wait_for_a_writer_leave_the_threads_to_other_worlds(mock: Mock) -> None:
    async def check() -> list[Any]:
        context = await mock.worlds.enter("w")
        with write_transaction(context.world):
            calls = [replace(context, large=True).run(containers.create_container, NEW_CONTAINER) for _ in range(40)]
            waiting = asyncio.gather(*calls)
            await asyncio.sleep(0)
            for _ in range(3):
                await mock.worlds.look("other", lambda tx, world: None)
        return await waiting

    asyncio.run(mock.worlds.create("other"))
    assert len({each["id"] for each in asyncio.run(check())}) == 40


def test_worlds_being_created_count_toward_the_maximum(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock.worlds, "_maximum", 1)

    async def create() -> list[Any]:
        return await asyncio.gather(*(mock.worlds.create(f"w{n}") for n in range(3)), return_exceptions=True)

    first, *others = asyncio.run(create())
    assert first.name == "w0"
    assert [isinstance(each, APIError) and each.code for each in others] == ["too_many_worlds"] * 2
    assert mock.worlds.names() == ["w0"]


@pytest.mark.parametrize("kind", ["container", "container file", "file"])
def test_a_missing_object_is_created_once_although_a_thread_creates_it_too(
    mock: Mock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With `any_id`, two creations of the same id return the same object; the first stands for the thread's."""

    def create_twice(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_both(*args: Any) -> Any:
            results.extend(create(*args) for _ in range(2))
            return results[-1]

        return create_both

    async def check() -> None:
        context = await mock.worlds.enter("w")
        await mock.worlds.set_profile("w", replace(context.world.profile, any_id=True))
        container = (await context.run(containers.create_container, NEW_CONTAINER))["id"]
        for owner, name in (
            (containers, "_create_missing"),
            (containers, "_create_missing_file"),
            (files, "_create_missing"),
        ):
            monkeypatch.setattr(owner, name, create_twice(getattr(owner, name)))
        if kind == "container":
            created = await context.run(containers.retrieve_container, FREE_ID)
        elif kind == "file":
            created = await context.run(files.retrieve_file, FREE_ID)
        else:
            created = await context.run(containers.retrieve_container_file, container, FREE_ID)
        assert created["id"] == FREE_ID

    results: list[Any] = []
    asyncio.run(check())
    first, second = results
    assert first == second
