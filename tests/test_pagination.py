"""Lists: following the pages returns exactly the list, whatever changes in between."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from conftest import NOON, World, error_message, new_world, ok
from hypothesis import given
from hypothesis import strategies as st

from mockserver import containers
from mockserver.clock import Clock
from mockserver.context import World as State
from mockserver.mock import Mock
from mockserver.schema.containers import Container, ContainerList, CreateContainer, ExpiresAfter, ListContainers
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.storage import pagination
from mockserver.storage.database import Transaction

_names = itertools.count()


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    mock = Mock(Settings())
    yield mock
    mock.close()


class FrozenWorld:
    """A world with a frozen clock, used in process, and the containers it should have, oldest first."""

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        self.name = f"pagination-{next(_names)}"
        self.time = NOON
        self.created: list[Container] = []
        self.advance(0)

    def advance(self, seconds: int) -> None:
        self.time += seconds
        asyncio.run(self.mock.worlds.change_clock(self.name, lambda before: Clock(self.time, 0.0, 0.0)))
        self.context = asyncio.run(self.mock.worlds.enter(self.name))

    def create(self, name: str) -> None:
        body = CreateContainer(name=name, expires_after=ExpiresAfter(anchor="last_active_at", minutes=1))
        self.created.append(containers.create_container(self.context, body))

    def delete(self, container: Container) -> None:
        containers.delete_container(self.context, container["id"])
        self.created.remove(container)

    def page(self, **query: object) -> ContainerList:
        return containers.list_containers(self.context, ListContainers.model_validate(query))

    def pages(self, direction: str, cursor: str | None = None, **query: object) -> Iterator[ContainerList]:
        """Yield the pages `after` or `before` a cursor, up to the one that says that there are no more."""
        while True:
            page = self.page(**query, **{direction: cursor})
            yield page
            if not page["has_more"]:
                return
            assert page["data"], "a page that has more is never empty"
            cursor = page["last_id"] if direction == "after" else page["first_id"]


steps = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["a", "b", "b"])), max_size=30)


@given(steps, st.integers(1, 7), st.sampled_from(["asc", "desc"]), st.sampled_from([None, "a", "b", "c"]))
def test_following_pages_forward_returns_exactly_the_list(mock: Mock, steps, limit, order, name) -> None:
    frozen = FrozenWorld(mock)
    for seconds, each in steps:
        frozen.advance(seconds)
        frozen.create(each)
    expected = [each["id"] for each in frozen.created if name in (None, each["name"])]
    expected = expected if order == "asc" else expected[::-1]

    pages = list(frozen.pages("after", limit=limit, order=order, name=name))

    assert [each["id"] for page in pages for each in page["data"]] == expected
    assert all(len(page["data"]) == limit for page in pages[:-1])
    assert pages[-1]["data"] or not expected, "the page before the last one said that there were more"
    for page in pages:
        ids = [each["id"] for each in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@given(steps, st.integers(1, 7), st.sampled_from(["asc", "desc"]), st.data())
def test_following_pages_backward_returns_everything_before_the_cursor(mock: Mock, steps, limit, order, data) -> None:
    frozen = FrozenWorld(mock)
    for seconds, each in [*steps, (0, "a")]:
        frozen.advance(seconds)
        frozen.create(each)
    everything = [each["id"] for each in frozen.created]
    everything = everything if order == "asc" else everything[::-1]
    start = data.draw(st.sampled_from(everything))

    pages = list(frozen.pages("before", start, limit=limit, order=order))

    assert pages[-1]["data"] or everything[0] == start, "the page before the last one said that there were more"
    assert [each["id"] for page in reversed(pages) for each in page["data"]] == everything[: everything.index(start)]


@given(steps, st.integers(1, 4), st.sampled_from(["asc", "desc"]), st.data())
def test_objects_that_remain_are_listed_once_despite_changes_between_pages(
    mock: Mock, steps, limit, order, data
) -> None:
    frozen = FrozenWorld(mock)
    for seconds, each in steps:
        frozen.advance(seconds)
        frozen.create(each)
    remaining = {each["id"] for each in frozen.created}
    seen: list[str] = []
    for page in frozen.pages("after", limit=limit, order=order):
        seen += [each["id"] for each in page["data"]]
        for _ in range(data.draw(st.integers(0, 2))):
            if frozen.created and data.draw(st.booleans()):
                deleted_container = data.draw(st.sampled_from(frozen.created))
                remaining.discard(deleted_container["id"])
                frozen.delete(deleted_container)
            else:
                frozen.advance(data.draw(st.integers(0, 1)))
                frozen.create("new")

    assert remaining <= set(seen)
    assert len(seen) == len(set(seen))


def test_deleting_each_listed_container_while_paginating_deletes_all(world: World) -> None:
    for number in range(25):
        world.openai.containers.create(name=f"box {number}")
    for container in world.openai.containers.list(limit=3):
        world.openai.containers.delete(container.id)
    assert world.openai.containers.list().data == []


@pytest.mark.parametrize("kind", ["containers", "files", "files of a container"])
def test_a_deleted_object_is_a_cursor_until_its_world_has_changed_often_enough(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The age of the object at its deletion does not matter. Its row is removed when it is no longer a cursor."""
    monkeypatch.setattr(pagination, "KEPT_DELETED", 20)

    def count_deleted(tx: Transaction, state: State) -> int:
        tables = ("containers", "files", "container_files")
        count = "SELECT count(*) FROM {} WHERE deleted_at IS NOT NULL"
        return sum(tx.execute(count.format(each)).fetchone()[0] for each in tables)

    with new_world(server) as quiet_world:
        quiet_id = quiet_world.openai.containers.create(name="box").id
        quiet_world.openai.containers.delete(quiet_id)
    path, arguments = f"/{kind}", {"files": {"file": b"bytes"}, "data": {"purpose": "vision"}}
    if kind == "containers":
        arguments = {"json": {"name": "box"}}
    elif kind != "files":
        box = world.openai.containers.create(name="box").id
        path, arguments = f"/containers/{box}/files", {"files": {"file": b"bytes"}}
    newest_last = [ok(world.http.post(path, **arguments))["id"] for _ in range(40)]
    ids = newest_last[::-1]  # so that the oldest is deleted last

    def is_cursor(id: str) -> bool:
        return world.http.get(path, params={"after": id}).status_code == 200

    for id in ids[:20]:
        ok(world.http.delete(f"{path}/{id}"))
    assert is_cursor(ids[0])
    for id in ids[20:]:
        ok(world.http.delete(f"{path}/{id}"))
    assert [is_cursor(id) for id in (ids[0], ids[15], ids[25], ids[-1])] == [False, False, True, True]
    assert server.run(server.mock.worlds.look(world.name, count_deleted)) <= 21
    with quiet_world:
        assert quiet_world.http.get("/containers", params={"after": quiet_id}).status_code == 200


def test_an_object_deleted_from_one_list_is_not_a_cursor_of_another(world: World) -> None:
    client = world.openai
    one, other = client.containers.create(name="one").id, client.containers.create(name="other").id
    inside = client.containers.files.create(one, file=b"bytes").id
    file = client.files.create(file=b"bytes", purpose="vision").id
    lists = {"/containers": one, "/files": file, f"/containers/{one}/files": inside}
    client.containers.files.delete(inside, container_id=one)
    client.files.delete(file)
    for path, cursor in itertools.product([*lists, f"/containers/{other}/files"], lists.values()):
        if cursor != one:  # it is deleted below, since the list of its files is needed here
            expected = 200 if cursor == lists.get(path) else 404 if cursor == inside and "/files" in path[1:] else 400
            assert world.http.get(path, params={"after": cursor}).status_code == expected
    client.containers.delete(one)
    for path in ("/containers", "/files", f"/containers/{other}/files"):
        assert world.http.get(path, params={"after": one}).status_code == (200 if path == "/containers" else 400)


def test_after_and_before_together_select_the_objects_between_them(world: World) -> None:
    ids = [world.openai.containers.create(name="box").id for _ in range(6)]
    page = world.http.get("/containers", params={"order": "asc", "after": ids[1], "before": ids[4]}).json()
    assert [each["id"] for each in page["data"]] == ids[2:4]
    assert page["has_more"] is False


@pytest.mark.parametrize("cursor", ["msg_none", "%00", "x" * 5_000])
def test_an_unknown_cursor_of_input_items_is_404(world: World, cursor: str) -> None:
    response = world.openai.responses.create(model="m", input="a")
    message = error_message(world.http.get(f"/responses/{response.id}/input_items?after={cursor}"), 404, None)
    assert message.startswith("No such Item object: ")


@pytest.mark.parametrize("seconds", [1, 0])
def test_the_cost_of_a_page_does_not_depend_on_its_position(mock: Mock, seconds: int) -> None:
    """However many containers are newer, older, or created in the same second."""
    frozen = FrozenWorld(mock)
    for number in range(300):
        frozen.advance(seconds)
        for name in "abcd":
            frozen.create(f"{name} {number}")
    counts: list[int] = []
    for order, cursor, position in itertools.product(["asc", "desc"], ["after", "before"], [2, 600, -3]):
        counts.append(0)

        def count() -> None:
            counts[-1] += 1

        frozen.context.read.set_progress_handler(count, 10)
        frozen.page(order=order, **{cursor: frozen.created[position]["id"]})
    frozen.context.read.set_progress_handler(None, 0)
    assert max(counts) < 200


def test_pages_are_read_through_an_index_without_sorting(mock: Mock) -> None:
    frozen = FrozenWorld(mock)
    frozen.create("a")
    container, connection = frozen.created[0], frozen.context.read
    plans: list[str] = []

    def explain(sql: str) -> None:
        if "FROM containers" in sql and "ORDER BY" in sql:  # not the statement that looks up the cursor by its id
            plans.append(sql)

    connection.set_trace_callback(explain)
    for order, cursor, name in itertools.product(["asc", "desc"], ["after", "before"], [None, "a"]):
        frozen.page(order=order, name=name, **{cursor: container["id"]})
    connection.set_trace_callback(None)

    assert len(plans) == 8
    for sql in plans:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SEARCH" in plan
        assert "(created_at,seq)" in plan, plan
        assert "TEMP B-TREE" not in plan
