"""Requests that come in together, and threads that write between them: what each may rely on."""

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
from test_transfers import digest

from mockserver import containers, context, files
from mockserver.clock import Clock
from mockserver.context import Context
from mockserver.context import World as State
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.schema.containers import CreateContainer
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.storage import database
from mockserver.storage.contents import SMALL, Contents
from mockserver.storage.database import Transaction, connect, writing

PATIENCE = 120.0
BOX = CreateContainer(name="box")
FREE_ID = "cntr_" + "0" * 48
STAYS, GOES = b"s" * (SMALL + 1), b"g" * (SMALL + 1)
"""Contents that are files: small ones are removed in the transaction of the deletion."""


def at_once(server: MockServer, work: Callable[[httpx2.Client, int], Any], times: int) -> list[Any]:
    """What so many clients return that begin together, each on a connection of its own."""
    together = threading.Barrier(times)

    def begin(number: int) -> Any:
        with httpx2.Client(base_url=server.url, headers={"api-key": "k"}, timeout=PATIENCE) as client:
            together.wait(PATIENCE)
            return work(client, number)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(begin, range(times)))


def names(client: httpx2.Client, world: str) -> list[str]:
    return [each["name"] for each in ok(client.get(f"/w/{world}/v1/containers?limit=100"))["data"]]


# Over sockets


def test_ids_created_at_once_in_a_new_world_are_all_different(world: World) -> None:
    def create(client: httpx2.Client, number: int) -> list[str]:
        path = f"/w/{world.name}/v1/containers"
        return [ok(client.post(path, json={"name": f"{number}-{step}"}))["id"] for step in range(8)]

    ids = list(itertools.chain(*at_once(world.server, create, 8)))
    listed = [each["id"] for each in ok(world.http.get("/containers?limit=100"))["data"]]
    assert len(set(ids)) == 64
    assert sorted(listed) == sorted(ids)


def test_clocks_that_are_advanced_at_once_have_made_all_the_moves(world: World) -> None:
    world.freeze()

    def advance(client: httpx2.Client, number: int) -> None:
        for _ in range(5):
            ok(client.post(f"/_mock/worlds/{world.name}/clock/advance", json={"by": 1}))

    at_once(world.server, advance, 8)
    assert world.openai.containers.create(name="box").created_at == NOON + 40


def test_there_are_never_more_worlds_than_allowed() -> None:
    with MockServer(max_worlds=5) as server:
        used = at_once(server, lambda client, number: client.get(f"/w/w{number}/v1/containers").status_code, 16)
        assert Counter(used) == {200: 5, 429: 11}
        assert len(server.mock.worlds.names()) == 5


def test_requests_that_make_room_for_their_worlds_do_not_wait_for_each_other() -> None:
    """All create worlds that the others have just removed; a circle of locks would stop the server."""
    with MockServer(max_worlds=3, world_ttl=0.001) as server:

        def create(client: httpx2.Client, start: int) -> list[int]:
            worlds = (f"/w/w{number % 8}/v1/containers" for number in range(start, start + 12))
            return [client.post(world, json={"name": "box"}).status_code for world in worlds]

        statuses = Counter(itertools.chain(*at_once(server, create, 8)))
        assert statuses[200] > 20
        assert statuses.keys() <= {200, 409, 429}


@pytest.mark.parametrize(("size", "restores"), [(8, 20), pytest.param(6_000, 20, marks=pytest.mark.slow)])
def test_a_restored_world_is_all_old_or_all_new(server: MockServer, size: int, restores: int) -> None:
    """Also for clients that write to it meanwhile. A large copy is made in a thread."""
    with new_world(server) as world, httpx2.Client(base_url=f"{server.url}/_mock/worlds/{world.name}") as control:
        both = world.openai.containers.create(name="in both").id
        ok(control.put("/snapshots/small"))
        more = {"version": 1, "containers": [{"name": "more", "repeat": size - 1}]}
        ok(control.post("/place", json=more, timeout=PATIENCE))
        ok(control.put("/snapshots/large"))
        done = threading.Event()
        seen = set()

        def use(client: httpx2.Client, number: int) -> None:
            while not done.is_set():
                if number == 0:
                    for turn in range(restores):
                        name = ("small", "large")[turn % 2]
                        ok(control.post(f"/snapshots/{name}/restore", timeout=PATIENCE))
                        assert len(names(client, world.name)) == (1, min(size, 100))[turn % 2]
                    done.set()
                elif number == 1:
                    files = f"/w/{world.name}/v1/containers/{both}/files"
                    file = ok(client.post(files, files={"file": b"any"}))["id"]
                    assert client.delete(f"{files}/{file}").status_code in (200, 404)
                else:
                    seen.add(len(names(client, world.name)))
                    ok(client.get(f"/w/{world.name}/v1/containers/{both}"))

        def use_to_the_end(client: httpx2.Client, number: int) -> None:
            try:
                use(client, number)
            finally:
                done.set()

        at_once(server, use_to_the_end, 4)
        assert seen <= {1, min(size, 100)}


FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(patch: pytest.MonkeyPatch) -> None:
    """Let no transaction be committed, as on a full disk."""

    @contextmanager
    def full(connection: Transaction) -> Iterator[Transaction]:
        inside = connection.in_transaction
        with writing(connection) as tx:
            yield tx
            if not inside:
                raise FULL

    patch.setattr(database, "writing", full)
    patch.setattr(context, "writing", full)


def test_what_is_rolled_back_is_not_in_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container would be created in the transaction that deletes it."""
    control = f"{world.server.url}/_mock/worlds/{world.name}"
    ok(httpx2.put(f"{control}/profile", json={"switches": {"any_id": True}}))
    with monkeypatch.context() as patch:
        failing(patch)
        error_message(world.http.delete(f"/containers/{FREE_ID}"), 500, "storage_failed")
    assert ok(world.http.get("/containers"))["data"] == []
    journal = ok(httpx2.get(f"{control}/journal"))["data"]
    assert [entry["objects"] for entry in journal if entry["method"] == "DELETE"] == [[]]


def test_what_was_deleted_is_deleted_although_its_content_has_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is removed in a transaction of its own, or by the next deletion."""
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        first, second = (
            world.openai.files.create(file=("a.txt", content), purpose="vision").id for content in (STAYS, GOES)
        )
        with monkeypatch.context() as patch:
            patch.setattr(Contents, "remove", MagicMock(side_effect=FULL))
            assert world.http.delete(f"/files/{first}").status_code == 200
            server.run(server.mock.worlds.finish(trash=True))
        assert stored(tmp_path).keys() == {digest(STAYS), digest(GOES)}
        assert world.http.delete(f"/files/{second}").status_code == 200
        server.run(server.mock.worlds.finish(trash=True))
        assert stored(tmp_path) == {}


# Between two steps of one request


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    with closing(Mock(Settings(data=tmp_path))) as mock:
        yield mock


@contextmanager
def writer(world: State) -> Iterator[None]:
    """A transaction of another connection."""
    with closing(connect(world.database.path)) as other, writing(other):
        yield


async def upload(mock: Mock, context: Context, content: bytes) -> str:
    form = NewFile(mock.uploads.put([content]), "a.txt", {"purpose": "vision"})
    return (await context.run(files.create_file, form))["id"]


def test_contents_stay_while_their_world_is_copied(mock: Mock) -> None:
    async def check() -> None:
        context = await mock.worlds.enter("w")
        file = await upload(mock, context, GOES)
        with context.world.held():
            await context.run(files.delete_file, file)
            await mock.worlds.finish(trash=True)
            assert stored(mock.directory)
        await mock.worlds.finish(trash=True)
        assert not stored(mock.directory)

    asyncio.run(check())


def test_objects_are_added_to_a_world_that_is_deleted_meanwhile(mock: Mock) -> None:
    """The deletion waits for a copy, and the addition for the deletion: then it creates the world."""

    async def check() -> None:
        before = (await mock.worlds.enter("w")).world
        with before.contents.held():
            deleting = asyncio.create_task(mock.worlds.delete("w"))
            await asyncio.sleep(0)
            adding = asyncio.create_task(mock.worlds.add("w", lambda put: None))
            await asyncio.sleep(0)
        await deleting
        await asyncio.wait_for(adding, PATIENCE)
        assert before.ended
        assert mock.worlds.known("w") is adding.result() is not before

    asyncio.run(check())


def test_no_content_is_removed_any_more_once_a_copy_has_begun(mock: Mock) -> None:
    """It may have been named again since, by a row that the copy has, and then deleted."""

    async def check() -> None:
        context = await mock.worlds.enter("w")
        file, removed = await upload(mock, context, GOES), {digest(GOES)}
        with context.world.held():
            await context.run(files.delete_file, file)
            context.world._remove(removed)
            assert stored(mock.directory).keys() == removed
        await mock.worlds.finish(trash=True)
        assert not stored(mock.directory)

    asyncio.run(check())


def test_a_request_that_deletes_many_large_files_removes_them_in_the_background(mock: Mock) -> None:
    async def check() -> None:
        context = await mock.worlds.enter("w")
        box = (await context.run(containers.create_container, CreateContainer(name="box")))["id"]
        for number in range(20):
            form = NewFile(mock.uploads.put([b"%d" % number * 20_000]), "a.txt", {})
            await context.run(containers.create_container_file, box, form)
        await context.run(containers.delete_container, box)
        assert len(stored(mock.directory)) == 20, "nothing was removed on the event loop"
        await mock.worlds.delete("w")
        await mock.worlds.finish(trash=True)
        assert not stored(mock.directory)

    asyncio.run(check())


def test_a_use_counts_although_a_thread_is_writing(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh, tries = containers._refresh_all, itertools.count()

    def beside_a_writer(context: Context, *used: Any) -> None:
        if next(tries) == 0:
            with writer(context.world):
                refresh(context, *used)
        refresh(context, *used)

    async def check() -> None:
        await mock.worlds.change_clock("w", lambda before: Clock(NOON, 0.0, 0.0))
        context = await mock.worlds.enter("w")
        box = await context.run(containers.create_container, BOX)
        await mock.worlds.change_clock("w", lambda before: Clock(NOON + 60, 0.0, 0.0))
        monkeypatch.setattr(containers, "_refresh_all", beside_a_writer)
        await context.run(containers.retrieve_container, box["id"])
        await mock.worlds.change_clock("w", lambda before: Clock(NOON + 86_400, 0.0, 0.0))
        expired = await context.run(containers.retrieve_container, box["id"])
        assert (expired["status"], expired["last_active_at"]) == ("expired", NOON + 60)

    asyncio.run(check())
    assert next(tries) == 2


def test_a_world_that_is_being_created_counts(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock.worlds, "_maximum", 1)

    async def create() -> list[Any]:
        return await asyncio.gather(*(mock.worlds.create(f"w{n}") for n in range(3)), return_exceptions=True)

    first, *others = asyncio.run(create())
    assert first.name == "w0"
    assert [isinstance(each, APIError) and each.code for each in others] == ["too_many_worlds"] * 2
    assert mock.worlds.names() == ["w0"]


@pytest.mark.parametrize("kind", ["container", "container file", "file"])
def test_an_object_that_a_thread_placed_meanwhile_is_not_created_again(
    mock: Mock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With a profile that creates what an id names; the first of the two is the thread's."""

    def twice(create: Callable[..., Any]) -> Callable[..., Any]:
        def placed_meanwhile(*args: Any) -> Any:
            found.extend(create(*args) for _ in range(2))
            return found[-1]

        return placed_meanwhile

    async def check() -> None:
        context = await mock.worlds.enter("w")
        await mock.worlds.set_profile("w", replace(context.world.profile, any_id=True))
        box = (await context.run(containers.create_container, BOX))["id"]
        for owner, name in (
            (containers, "_create_missing"),
            (containers, "_create_missing_file"),
            (files, "_create_missing"),
        ):
            monkeypatch.setattr(owner, name, twice(getattr(owner, name)))
        if kind == "container":
            made = await context.run(containers.retrieve_container, FREE_ID)
        elif kind == "file":
            made = await context.run(files.retrieve_file, FREE_ID)
        else:
            made = await context.run(containers.retrieve_container_file, box, FREE_ID)
        assert made["id"] == FREE_ID

    found: list[Any] = []
    asyncio.run(check())
    first, second = found
    assert first == second
