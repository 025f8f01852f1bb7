"""Requests that come in together share a commit: what each of them may rely on all the same."""

import asyncio
import errno
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import World, new_world, stored
from test_transfers import digest

from mockserver import errors, schema
from mockserver.database import Database
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.server import MockServer
from mockserver.worlds import Call

BOX = schema.CreateContainer(name="box")
NO_FILE = schema.CreateContainer(name="box", file_ids=["file-of-nobody"])
ROUNDS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with MockServer(data=tmp_path_factory.mktemp("data")) as server:
        yield server


class Together:
    """Work that is begun in one turn of the event loop, as that of requests which come in at the same time."""

    def __init__(self, world: World) -> None:
        self.mock: Mock = world.server.mock
        self.world = world
        self.commits = 0

    def __call__(self, *works: Callable[[Mock, Call], Coroutine[Any, Any, Any]]) -> list[Any]:
        async def all_of_it() -> list[Any]:
            call = await self.mock.worlds.call(self.world.name)
            self.mock.database.connection.set_trace_callback(self._count)
            try:
                return await asyncio.gather(*(work(self.mock, call) for work in works), return_exceptions=True)
            finally:
                self.mock.database.connection.set_trace_callback(None)

        return self.world.server.run(all_of_it())

    def _count(self, statement: str) -> None:
        self.commits += statement == "COMMIT"


@pytest.fixture
def together(server: MockServer) -> Iterator[Together]:
    with new_world(server) as world:
        yield Together(world)


async def create(mock: Mock, call: Call) -> Any:
    return await mock.run(mock.containers.create, call, BOX)


async def refused(mock: Mock, call: Call) -> Any:
    return await mock.run(mock.containers.create, call, NO_FILE)


async def count(mock: Mock, call: Call) -> Any:
    return len((await mock.run(mock.containers.list, call, schema.ListContainers(limit=100)))["data"])


async def upload(mock: Mock, call: Call, content: bytes) -> Any:
    draft = mock.blobs.put([content])
    with mock.blobs.keeping([draft]):
        return await mock.run(mock.files.create, call, NewFile(draft, "a.txt", {"purpose": "vision"}))


async def create_and_delete(mock: Mock, call: Call) -> Any:
    container = await create(mock, call)
    return await mock.run(mock.containers.delete, call, container["id"])


def there(world: World) -> list[str]:
    """The containers as another process would find them."""
    with closing(sqlite3.connect(world.server.mock.directory / "mockserver.db")) as database:
        rows = database.execute(
            "SELECT containers.id FROM containers JOIN worlds ON world = worlds.id WHERE worlds.name = ? ORDER BY seq",
            [world.name],
        )
        return [id for (id,) in rows]


def failing(patch: pytest.MonkeyPatch) -> None:
    def full(self: Database) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(Database, "_commit", full)


def failing_once(patch: pytest.MonkeyPatch) -> None:
    commit, failures = Database._commit, iter([True])

    def full_once(self: Database) -> None:
        if next(failures, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        commit(self)

    patch.setattr(Database, "_commit", full_once)


def test_one_commit_for_all_of_them(together: Together) -> None:
    made = together(*[create] * ROUNDS)
    assert together.commits == 1
    assert there(together.world) == [each["id"] for each in made]
    assert len({each["id"] for each in made}) == ROUNDS


def test_each_that_is_answered_is_durable(together: Together) -> None:
    """Also what only read, and saw what others had written."""
    world, seen = together.world, []

    async def look(mock: Mock, call: Call) -> None:
        seen.append((await count(mock, call), len(there(world))))

    async def create_and_look(mock: Mock, call: Call) -> None:
        made = await create(mock, call)
        seen.append((1, there(world).count(made["id"])))

    together(create, look, create_and_look, look)
    assert seen
    assert all(durable >= shown for shown, durable in seen)


def test_a_refusal_undoes_its_own_work_alone(together: Together) -> None:
    first, error, second = together(create, refused, create)
    assert isinstance(error, APIError)
    assert error.status == errors.REFERENCED_FILE_NOT_FOUND(file_id="x", param="x").status
    assert there(together.world) == [first["id"], second["id"]]


def test_what_needs_its_own_commit_ends_that_of_the_others(together: Together) -> None:
    made, deleted, another = together(create, create_and_delete, create)
    assert deleted["deleted"]
    assert there(together.world) == [made["id"], another["id"]]


def test_where_the_commit_fails_nobody_is_answered_and_nothing_kept(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = together(create)
    directory, contents = together.mock.directory, stored(together.mock.directory)
    small, large = b"small and lost", b"large and lost" * 10_000
    with monkeypatch.context() as patch:
        failing(patch)
        outcomes = together(
            create,
            lambda mock, call: upload(mock, call, small),
            lambda mock, call: upload(mock, call, large),
            count,
            create,
        )
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError, OSError, int, OSError]
    assert outcomes[3] == 1, "reading goes on, and sees nothing of what was lost"
    assert there(together.world) == [before["id"]]
    together.world.server.run(released(together.mock))
    assert stored(directory) == contents
    (after,) = together(create)
    assert there(together.world) == [before["id"], after["id"]]
    (again,) = together(lambda mock, call: upload(mock, call, large))
    assert again["bytes"] == len(large)
    assert digest(large) in stored(directory)


def test_nobody_goes_on_from_what_was_lost(together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor who commits what he has read of the others' himself, to write something of his own."""
    (before,) = together(create)
    database = together.mock.database

    def shown_and_noted(call: Call) -> int:
        shown = len(together.mock.containers.list(call, schema.ListContainers(limit=100))["data"])
        with database.transaction():
            return shown

    async def look(mock: Mock, call: Call) -> int:
        return await mock.run(shown_and_noted, call)

    with monkeypatch.context() as patch:
        failing_once(patch)
        lost, seen = together(create, look)
    assert isinstance(lost, OSError)
    assert seen == 1
    assert there(together.world) == [before["id"]]


async def released(mock: Mock) -> None:
    mock.blobs.release()


def test_a_commit_that_fails_in_the_midst_of_work_fails_it(together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever commits in between for reasons of its own."""
    (before,) = together(create)

    def create_and_more(call: Call) -> Any:
        made = together.mock.containers.create(call, BOX)
        with together.mock.database.transaction():
            return made

    with monkeypatch.context() as patch:
        failing_once(patch)
        (outcome,) = together(lambda mock, call: mock.run(create_and_more, call))
    assert isinstance(outcome, OSError)
    assert there(together.world) == [before["id"]]


def test_over_http_a_failed_commit_is_a_refusal_and_no_object(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = together.world.http
    kept = http.post("/containers", json={"name": "kept"}).json()
    with monkeypatch.context() as patch:
        failing(patch)
        answer = http.post("/containers", json={"name": "lost"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "storage_failed")
    assert [each["id"] for each in http.get("/containers").json()["data"]] == [kept["id"]]
    world = together.world
    journal = world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/journal").json()["data"]
    assert [len(entry["objects"]) for entry in journal if entry["method"] == "POST"] == [1, 0]


def test_what_was_deleted_is_deleted_although_its_content_has_to_stay(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content goes in a transaction of its own, and with the next that does."""
    contents = stored(together.mock.directory)
    first, second = together(
        *(lambda mock, call, content=content: upload(mock, call, content) for content in (b"stays", b"goes")),
    )
    commit, commits = Database._commit, 0

    def then_full(self: Database) -> None:
        nonlocal commits
        commits += 1
        if commits > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        commit(self)

    http = together.world.http
    with monkeypatch.context() as patch:
        patch.setattr(Database, "_commit", then_full)
        assert http.delete(f"/files/{first['id']}").status_code == 200
    assert commits == 2
    assert stored(together.mock.directory).keys() - contents.keys() == {digest(b"stays"), digest(b"goes")}
    assert http.delete(f"/files/{second['id']}").status_code == 200
    assert stored(together.mock.directory) == contents


def test_who_is_cancelled_takes_nothing_from_the_others(together: Together) -> None:
    async def leave(mock: Mock, call: Call) -> Any:
        task = asyncio.ensure_future(create(mock, call))
        await asyncio.sleep(0)
        task.cancel()
        return await asyncio.gather(task, return_exceptions=True)

    async def come_late(mock: Mock, call: Call) -> Any:
        await asyncio.sleep(0)
        return await create(mock, call)

    (left,), late = together(leave, come_late)
    assert isinstance(left, asyncio.CancelledError)
    assert together.commits == 1
    assert there(together.world)[-1] == late["id"]


def test_a_stop_commits_what_is_open(tmp_path: Path) -> None:
    async def leave_open(mock: Mock) -> str:
        call = await mock.worlds.call("default")
        made = mock.containers.create(call, BOX)["id"]
        mock.close()
        return made

    server = MockServer(data=tmp_path)
    mock = Mock(server.settings)
    made = asyncio.run(leave_open(mock))
    with MockServer(data=tmp_path) as server, World(server, "default") as world:
        assert world.http.get(f"/containers/{made}").status_code == 200
