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

import httpx2
import pytest
from conftest import NOON, World, new_world, ok, refusal, stored
from test_durability import PATIENCE
from test_transfers import digest

from mockserver import schema
from mockserver.clock import Clock
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.storage.database import Database, Transaction
from mockserver.worlds import Call

BOX = schema.CreateContainer(name="box")
FREE_ID = "cntr_" + "0" * 48


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


def failing(patch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Let so many commits succeed, and none after them, as on a full disk."""
    commit, commits = Database._commit, itertools.count()

    def full(self: Database) -> None:
        if next(commits) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        commit(self)

    patch.setattr(Database, "_commit", full)


def test_what_is_rolled_back_is_not_in_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container would be created in the transaction that deletes it."""
    control = f"{world.server.url}/_mock/worlds/{world.name}"
    ok(httpx2.put(f"{control}/profile", json={"switches": {"any_id": True}}))
    with monkeypatch.context() as patch:
        failing(patch)
        refusal(world.http.delete(f"/containers/{FREE_ID}"), 500, "storage_failed")
    assert ok(world.http.get("/containers"))["data"] == []
    journal = ok(httpx2.get(f"{control}/journal"))["data"]
    assert [entry["objects"] for entry in journal if entry["method"] == "DELETE"] == [[]]


def test_what_was_deleted_is_deleted_although_its_content_has_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is removed in a transaction of its own, or by the next deletion."""
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        first, second = (
            world.openai.files.create(file=("a.txt", content), purpose="vision").id for content in (b"stays", b"goes")
        )
        with monkeypatch.context() as patch:
            failing(patch, after=1)
            assert world.http.delete(f"/files/{first}").status_code == 200
        assert stored(tmp_path).keys() == {digest(b"stays"), digest(b"goes")}
        assert world.http.delete(f"/files/{second}").status_code == 200
        assert stored(tmp_path) == {}


# Between two steps of one request


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    with closing(Mock(Settings(data=tmp_path))) as mock:
        yield mock


@contextmanager
def writing(mock: Mock) -> Iterator[None]:
    """A transaction of another thread."""
    with closing(Database.open(mock.database.path)) as other, other.transaction():
        yield


async def upload(mock: Mock, call: Call, content: bytes) -> str:
    form = NewFile(mock.blobs.put([content]), "a.txt", {"purpose": "vision"})
    return (await mock.run(mock.files.create, call, form))["id"]


@pytest.mark.parametrize("content", [b"small", b"large" * 10_000], ids=["row", "file"])
def test_contents_stay_while_rows_are_copied(mock: Mock, content: bytes) -> None:
    async def check() -> None:
        call = await mock.worlds.call("w")
        file = await upload(mock, call, content)
        with mock.blobs.held():
            await mock.run(mock.files.delete, call, file)
            assert stored(mock.directory)
        mock.blobs.release()
        assert not stored(mock.directory)

    asyncio.run(check())


def test_contents_stay_where_a_copy_begins_just_before_they_are_removed(mock: Mock) -> None:
    """A thread that removes contents has seen no copy, and gets the lock when there is one."""

    class Late(Database):
        @contextmanager
        def transaction(self) -> Iterator[Transaction]:
            with mock.blobs.held(), super().transaction() as tx:
                yield tx

    async def check() -> None:
        call = await mock.worlds.call("w")
        file = await upload(mock, call, b"bytes")
        with mock.blobs.held():
            await mock.run(mock.files.delete, call, file)

    asyncio.run(check())
    with closing(Late.open(mock.database.path)) as late:
        mock.blobs.release_in_batches(late)
    assert stored(mock.directory)
    mock.blobs.release()
    assert not stored(mock.directory)


def test_a_deletion_is_done_once_although_a_thread_writes_before_its_content_is_removed(
    mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it were repeated as busy, it would find nothing to delete."""
    release = mock.blobs.release

    def beside_a_writer() -> None:
        with writing(mock):
            release()

    async def check() -> None:
        call = await mock.worlds.call("w")
        file = await upload(mock, call, b"bytes")
        with monkeypatch.context() as patch:
            patch.setattr(mock.blobs, "release", beside_a_writer)
            assert (await mock.run(mock.files.delete, call, file))["deleted"] is True
        assert mock.blobs.loose
        mock.blobs.release()
        assert not stored(mock.directory)

    asyncio.run(check())


def test_a_use_counts_although_a_thread_is_writing(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    remember, tries = mock.containers._remember, itertools.count()

    def beside_a_writer(used: Any, now: int) -> None:
        if next(tries) == 0:
            with writing(mock):
                remember(used, now)
        remember(used, now)

    async def check() -> None:
        await mock.worlds.change_clock("w", lambda before: Clock(NOON, 0.0, 0.0))
        call = await mock.worlds.call("w")
        box = await mock.run(mock.containers.create, call, BOX)
        await mock.worlds.change_clock("w", lambda before: Clock(NOON + 60, 0.0, 0.0))
        monkeypatch.setattr(mock.containers, "_remember", beside_a_writer)
        await mock.run(mock.containers.retrieve, call, box["id"])
        await mock.worlds.change_clock("w", lambda before: Clock(NOON + 86_400, 0.0, 0.0))
        expired = await mock.run(mock.containers.retrieve, call, box["id"])
        assert (expired["status"], expired["last_active_at"]) == ("expired", NOON + 60)

    asyncio.run(check())
    assert next(tries) == 2


def test_a_world_that_was_created_meanwhile_counts(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    room = mock.worlds._make_room

    async def make_room(name: str) -> None:
        await room(name)
        if name == "own":
            await mock.worlds.resolve("other")

    monkeypatch.setattr(mock.worlds, "_maximum", 1)
    monkeypatch.setattr(mock.worlds, "_make_room", make_room)
    with pytest.raises(APIError) as refused:
        asyncio.run(mock.worlds.resolve("own"))
    assert refused.value.code == "too_many_worlds"
    assert mock.worlds.names() == ["other"]


def test_a_container_that_a_thread_placed_meanwhile_is_not_created_again(
    mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    conjured, found = mock.containers._conjured, []

    def placed_meanwhile(tx: Transaction, call: Call, id: str) -> Any:
        found.extend(conjured(tx, call, id) for _ in range(2))
        return found[1]

    async def check() -> None:
        call = await mock.worlds.call("w")
        await mock.worlds.set_profile("w", replace(call.world.profile, any_id=True))
        monkeypatch.setattr(mock.containers, "_conjured", placed_meanwhile)
        assert (await mock.run(mock.containers.retrieve, call, FREE_ID))["id"] == FREE_ID
        assert len((await mock.run(mock.containers.list, call, schema.ListContainers()))["data"]) == 1

    asyncio.run(check())
    assert found[0] == found[1]
