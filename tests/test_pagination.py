"""Lists: walking the pages yields exactly the list, whatever happens in between."""

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


class Box:
    """A frozen world driven in process, and what it should hold, oldest first."""

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        self.name = f"paging-{next(_names)}"
        self.time = NOON
        self.made: list[Container] = []
        self.tick(0)

    def tick(self, seconds: int) -> None:
        self.time += seconds
        asyncio.run(self.mock.worlds.change_clock(self.name, lambda before: Clock(self.time, 0.0, 0.0)))
        self.context = asyncio.run(self.mock.worlds.enter(self.name))

    def make(self, name: str) -> None:
        body = CreateContainer(name=name, expires_after=ExpiresAfter(anchor="last_active_at", minutes=1))
        self.made.append(containers.create_container(self.context, body))

    def delete(self, container: Container) -> None:
        containers.delete_container(self.context, container["id"])
        self.made.remove(container)

    def page(self, **query: object) -> ContainerList:
        return containers.list_containers(self.context, ListContainers.model_validate(query))

    def walk(self, direction: str, cursor: str | None = None, **query: object) -> Iterator[ContainerList]:
        """Pages by the cursor `after` or `before`, until one says that it has no more."""
        while True:
            page = self.page(**query, **{direction: cursor})
            yield page
            if not page["has_more"]:
                return
            assert page["data"], "a page that has more is never empty"
            cursor = page["last_id"] if direction == "after" else page["first_id"]


steps = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["a", "b", "b"])), max_size=30)


@given(steps, st.integers(1, 7), st.sampled_from(["asc", "desc"]), st.sampled_from([None, "a", "b", "c"]))
def test_walking_forward_yields_exactly_the_list(mock: Mock, steps, limit, order, name) -> None:
    box = Box(mock)
    for seconds, each in steps:
        box.tick(seconds)
        box.make(each)
    expected = [each["id"] for each in box.made if name in (None, each["name"])]
    expected = expected if order == "asc" else expected[::-1]

    pages = list(box.walk("after", limit=limit, order=order, name=name))

    assert [each["id"] for page in pages for each in page["data"]] == expected
    assert all(len(page["data"]) == limit for page in pages[:-1])
    assert pages[-1]["data"] or not expected, "there was no more to come"
    for page in pages:
        ids = [each["id"] for each in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@given(steps, st.integers(1, 7), st.sampled_from(["asc", "desc"]), st.data())
def test_walking_backward_yields_all_that_stands_before_the_cursor(mock: Mock, steps, limit, order, data) -> None:
    box = Box(mock)
    for seconds, each in [*steps, (0, "a")]:
        box.tick(seconds)
        box.make(each)
    everything = [each["id"] for each in box.made]
    everything = everything if order == "asc" else everything[::-1]
    start = data.draw(st.sampled_from(everything))

    pages = list(box.walk("before", start, limit=limit, order=order))

    assert pages[-1]["data"] or everything[0] == start, "there was no more to come"
    assert [each["id"] for page in reversed(pages) for each in page["data"]] == everything[: everything.index(start)]


@given(steps, st.integers(1, 4), st.sampled_from(["asc", "desc"]), st.data())
def test_what_stays_is_seen_once_whatever_comes_and_goes_between_pages(mock: Mock, steps, limit, order, data) -> None:
    box = Box(mock)
    for seconds, each in steps:
        box.tick(seconds)
        box.make(each)
    stayed = {each["id"] for each in box.made}
    seen: list[str] = []
    for page in box.walk("after", limit=limit, order=order):
        seen += [each["id"] for each in page["data"]]
        for _ in range(data.draw(st.integers(0, 2))):
            if box.made and data.draw(st.booleans()):
                gone = data.draw(st.sampled_from(box.made))
                stayed.discard(gone["id"])
                box.delete(gone)
            else:
                box.tick(data.draw(st.integers(0, 1)))
                box.make("new")

    assert stayed <= set(seen)
    assert len(seen) == len(set(seen))


def test_deleting_each_container_while_paging_over_them_deletes_all(world: World) -> None:
    for number in range(25):
        world.openai.containers.create(name=f"box {number}")
    for container in world.openai.containers.list(limit=3):
        world.openai.containers.delete(container.id)
    assert world.openai.containers.list().data == []


@pytest.mark.parametrize("kind", ["containers", "files", "files of a container"])
def test_a_deleted_object_is_a_cursor_while_its_world_hands_out_so_many_ordinals(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """However old it was when it was deleted; and afterwards it takes no room."""
    monkeypatch.setattr(pagination, "KEPT_DELETED", 20)

    def deleted(tx: Transaction, state: State) -> int:
        tables = ("containers", "files", "container_files")
        count = "SELECT count(*) FROM {} WHERE deleted_at IS NOT NULL"
        return sum(tx.execute(count.format(each)).fetchone()[0] for each in tables)

    with new_world(server) as elsewhere:
        quiet = elsewhere.openai.containers.create(name="box").id
        elsewhere.openai.containers.delete(quiet)
    path, sent = f"/{kind}", {"files": {"file": b"bytes"}, "data": {"purpose": "vision"}}
    if kind == "containers":
        sent = {"json": {"name": "box"}}
    elif kind != "files":
        path, sent = f"/containers/{world.openai.containers.create(name='box').id}/files", {"files": {"file": b"bytes"}}
    ids = [ok(world.http.post(path, **sent))["id"] for _ in range(40)][::-1]  # so that the oldest is deleted last

    def is_cursor(id: str) -> bool:
        return world.http.get(path, params={"after": id}).status_code == 200

    for id in ids[:20]:
        ok(world.http.delete(f"{path}/{id}"))
    assert is_cursor(ids[0])
    for id in ids[20:]:
        ok(world.http.delete(f"{path}/{id}"))
    assert [is_cursor(id) for id in (ids[0], ids[15], ids[25], ids[-1])] == [False, False, True, True]
    assert server.run(server.mock.worlds.look(world.name, deleted)) <= 21
    with elsewhere:
        assert elsewhere.http.get("/containers", params={"after": quiet}).status_code == 200


def test_what_was_deleted_from_one_list_is_no_cursor_of_another(world: World) -> None:
    client = world.openai
    one, other = client.containers.create(name="one").id, client.containers.create(name="other").id
    inside = client.containers.files.create(one, file=b"bytes").id
    file = client.files.create(file=b"bytes", purpose="vision").id
    lists = {"/containers": one, "/files": file, f"/containers/{one}/files": inside}
    client.containers.files.delete(inside, container_id=one)
    client.files.delete(file)
    for path, cursor in itertools.product([*lists, f"/containers/{other}/files"], lists.values()):
        if cursor != one:  # not deleted yet, as its files are listed here
            expected = 200 if cursor == lists.get(path) else 404 if cursor == inside and "/files" in path[1:] else 400
            assert world.http.get(path, params={"after": cursor}).status_code == expected
    client.containers.delete(one)
    for path in ("/containers", "/files", f"/containers/{other}/files"):
        assert world.http.get(path, params={"after": one}).status_code == (200 if path == "/containers" else 400)


def test_after_and_before_together_mean_what_lies_between(world: World) -> None:
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
def test_a_page_begins_at_its_cursor(mock: Mock, seconds: int) -> None:
    """What SQLite does for a page doesn't depend on how many containers are newer or older, or as old."""
    box = Box(mock)
    for number in range(300):
        box.tick(seconds)
        for name in "abcd":
            box.make(f"{name} {number}")
    steps: list[int] = []
    for order, cursor, place in itertools.product(["asc", "desc"], ["after", "before"], [2, 600, -3]):
        steps.append(0)

        def count() -> None:
            steps[-1] += 1

        box.context.read.set_progress_handler(count, 10)
        box.page(order=order, **{cursor: box.made[place]["id"]})
    box.context.read.set_progress_handler(None, 0)
    assert max(steps) < 200


def test_a_million_rows_page_by_index_and_not_by_scanning(mock: Mock) -> None:
    """The plan of every page's statement is a search of an index, and sorts nothing."""
    box = Box(mock)
    box.make("a")
    container, connection = box.made[0], box.context.read
    plans: list[str] = []

    def explain(sql: str) -> None:
        if "FROM containers" in sql and "ORDER BY" in sql:  # the position of a cursor is looked up by its key
            plans.append(sql)

    connection.set_trace_callback(explain)
    for order, cursor, name in itertools.product(["asc", "desc"], ["after", "before"], [None, "a"]):
        box.page(order=order, name=name, **{cursor: container["id"]})
    connection.set_trace_callback(None)

    assert len(plans) == 8
    for sql in plans:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SEARCH" in plan
        assert "(created_at,seq)" in plan, plan
        assert "TEMP B-TREE" not in plan
