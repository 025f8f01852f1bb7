"""Worlds: isolation, names, limits, ids, templates, clocks and copies."""

import errno
import http.client
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from conftest import NOON, World, error_message, new_world, ok, stored

from mockserver import ids
from mockserver.clock import Wall
from mockserver.server.serving import MockServer
from mockserver.storage import contents
from mockserver.storage.contents import SMALL

HOUR = 3_600
LARGE_CONTENT = bytes(SMALL + 1)


class ManualWall(Wall):
    """The machine's clock, which only the test advances."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


@pytest.fixture
def client(server: MockServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url) as client:
        yield client


def list_names(client: httpx2.Client, path: str, key: str) -> list[str]:
    response = client.get(f"{path}/containers", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.text
    return [each["name"] for each in response.json()["data"]]


def test_worlds_are_isolated_from_each_other(server: MockServer) -> None:
    with new_world(server) as one, new_world(server) as other:
        one.freeze()
        other.freeze()
        container = one.openai.containers.create(name="mine")
        file = one.openai.files.create(file=("a.txt", b"text"), purpose="user_data")
        for path in (f"/containers/{container.id}", f"/files/{file.id}", f"/containers/{container.id}/files"):
            assert one.http.get(path).status_code == 200
            assert other.http.get(path).status_code == 404
        assert other.openai.containers.list().data == []
        assert other.openai.containers.create(name="mine").id != container.id


def test_the_url_or_the_key_names_the_world_otherwise_it_is_default(world: World, client: httpx2.Client) -> None:
    world.openai.containers.create(name="here")
    by_key = f"sk-world-{world.name}"
    assert list_names(client, f"/w/{world.name}/v1", "any") == ["here"]
    assert list_names(client, f"/w/{world.name}", "any") == ["here"]
    assert list_names(client, "/v1", by_key) == ["here"]
    assert list_names(client, "", by_key) == ["here"]
    assert (
        list_names(client, "/w/default/v1", "any") == list_names(client, "/v1", "any") == list_names(client, "", "any")
    )


def test_the_url_takes_precedence_over_the_key(world: World, client: httpx2.Client) -> None:
    world.openai.containers.create(name="here")
    assert list_names(client, f"/w/{world.name}-other/v1", f"sk-world-{world.name}") == []


@pytest.mark.parametrize("name", ["a" * 65, ".hidden", "-x", "a b", "ä", "a:b", "..", "~", ""])
def test_invalid_world_names_in_urls_and_keys_are_rejected(client: httpx2.Client, name: str) -> None:
    in_url = client.get(f"/w/{quote(name)}/v1/containers", headers={"Authorization": "Bearer any"})
    in_key = client.get("/v1/containers", headers={"Authorization": b"Bearer sk-world-" + name.encode()})
    for response in [in_url, in_key] if name != ".." else [in_key]:  # the client normalizes /w/../v1
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_world_name"


@pytest.mark.parametrize("header", ["Authorization", "api-key"])
def test_only_spaces_and_tabs_are_stripped_from_a_key(world: World, header: str) -> None:
    """A proxy that routes by key must find the same world."""
    key, scheme = f"sk-world-{world.name}".encode(), b"Bearer " if header == "Authorization" else b""
    for around, status in ((b"", 200), (b" ", 200), (b"\t", 200), (b"\xa0", 400), (b"\x85", 400)):
        with closing(http.client.HTTPConnection("127.0.0.1", world.server.port)) as connection:
            # http.client sends the key as it is. Other clients strip it.
            connection.request("GET", "/v1/containers", headers={header: scheme + key + around})
            assert connection.getresponse().status == status


def test_requests_with_401_404_and_405_errors_create_no_world() -> None:
    with MockServer(api_key=("secret",), max_worlds=5) as server, httpx2.Client(base_url=server.url) as client:
        assert client.get("/w/new/v1/containers").status_code == 401
        assert client.get("/w/new/v1/nothing", headers={"api-key": "secret"}).status_code == 404
        assert client.put("/w/new/v1/containers", headers={"api-key": "secret"}).status_code == 405
        assert server.mock.worlds.names() == []


def test_only_configured_keys_and_the_world_keys_made_from_them_are_accepted() -> None:
    with MockServer(api_key=("secret", "secret-world")) as server, httpx2.Client(base_url=server.url) as client:

        def status(key: str) -> int:
            return client.get("/v1/containers", headers={"Authorization": f"Bearer {key}"}).status_code

        assert [status(key) for key in ("secret", "secret-world-a", "secret-world", "secret-world-world-b")] == [
            200
        ] * 4
        assert [status(key) for key in ("sk-world-a", "secret-", "secre", "secretx", "other-world-a")] == [401] * 5
        assert server.mock.worlds.names() == ["a", "b", "default"]


def test_at_max_worlds_a_new_world_is_rejected_and_existing_ones_work() -> None:
    with MockServer(max_worlds=2) as server, httpx2.Client(base_url=server.url, headers={"api-key": "k"}) as client:
        assert client.get("/w/a/v1/containers").status_code == 200
        assert client.get("/w/b/v1/containers").status_code == 200
        rejected = client.get("/w/c/v1/containers")
        assert rejected.status_code == 429
        assert "--max-worlds" in rejected.json()["error"]["message"]
        assert rejected.headers["x-should-retry"] == "false"
        assert client.get("/w/a/v1/containers").status_code == 200
        assert client.get("/v1/containers").status_code == 200, "the default world is always available"


def test_at_the_limit_of_snapshots_a_snapshot_can_still_be_replaced() -> None:
    with MockServer(max_worlds=1) as server, httpx2.Client(base_url=f"{server.url}/_mock/worlds/default") as control:
        assert control.post("/reset").status_code == 200
        assert control.put("/snapshots/s").status_code == 200
        assert control.put("/snapshots/s").status_code == 200
        message = error_message(control.put("/snapshots/another"), 429, "too_many_snapshots")
        assert "--max-worlds allows worlds (1)" in message


def test_the_error_names_the_limit_of_snapshots_where_more_exist_already(tmp_path: Path) -> None:
    for limit in (3, 1):
        with MockServer(max_worlds=limit, data=tmp_path) as server:
            control = f"{server.url}/_mock/worlds/default"
            ok(httpx2.post(f"{control}/reset"))
            for number in range(limit):
                ok(httpx2.put(f"{control}/snapshots/{number}"))
            message = error_message(httpx2.put(f"{control}/snapshots/another"), 429, "too_many_snapshots")
            assert f"--max-worlds allows worlds ({limit})" in message


def test_ids_in_a_frozen_world_are_reproducible() -> None:
    def create_ids() -> list[str]:
        with MockServer() as server, World(server, "same") as world:
            world.freeze()
            container = world.openai.containers.create(name="box")
            container_file = world.openai.containers.files.create(container.id, file=b"text")
            file = world.openai.files.create(file=b"text", purpose="user_data")
            return [container.id, container_file.id, file.id]

    assert create_ids() == create_ids()


def test_ids_have_the_formats_of_the_live_api() -> None:
    seed = ids.world_seed("any", "world")
    for ordinal in range(2_000):
        time = f"{NOON + ordinal:08x}"
        container = ids.container(seed, ordinal, NOON + ordinal)
        assert re.fullmatch(rf"cntr_{time}[0-9a-f]{{4}}81(90|91|93|98)[89ab][0-9a-f]{{15}}0[0-9a-f]{{15}}", container)
        container_file = ids.container_file(seed, ordinal, NOON + ordinal)
        assert re.fullmatch(rf"cfile_{time}[0-9a-f]{{4}}81(90|91|93|98)[89ab][0-9a-f]{{15}}", container_file)
        assert re.fullmatch(r"file-[0-9A-Za-z]{22}", ids.file(seed, ordinal))
    assert len({ids.file(seed, ordinal) for ordinal in range(2_000)}) == 2_000


NINETEEN_MINUTES_OLD = """
version: 1
containers:
  - {name: old, last_active_at: -19m, files: [{filename: a.txt, content: text}]}
"""


def test_seeded_ages_are_relative_to_the_creation_of_a_world(tmp_path: Path) -> None:
    """In a world created two hours after the start, a container that was seeded 19 minutes old is 19 minutes old."""
    seed = tmp_path / "seed.yaml"
    seed.write_text(NINETEEN_MINUTES_OLD)
    wall = ManualWall(float(NOON))
    with MockServer(wall=wall, seed=(seed,)) as server:
        wall.at += 2 * HOUR
        world = new_world(server)

        def status() -> str:
            (container,) = world.openai.containers.list().data
            return container.status

        assert status() == "running"
        wall.at += 59
        assert status() == "running"
        (listed,) = world.openai.containers.list().data
        assert listed.created_at == NOON + 2 * HOUR - 19 * 60
        wall.at += 1
        assert status() == "expired"
        assert world.openai.containers.retrieve(listed.id).last_active_at == NOON + 2 * HOUR - 19 * 60
        world.close()


@pytest.mark.parametrize(
    ("clock", "now", "after_an_hour"),
    [
        ("{at: 2026-01-31T12:00:00Z}", 1_769_860_800, 1_769_860_800 + HOUR),
        ("{at: 2026-01-31T12:00:00Z, rate: 0}", 1_769_860_800, 1_769_860_800),
        ("{at: 2026-01-31T12:00:00Z, rate: 60}", 1_769_860_800, 1_769_860_800 + 60 * HOUR),
        ("{offset: +3d}", NOON + 2 * HOUR + 72 * HOUR, NOON + 3 * HOUR + 72 * HOUR),
        ("{rate: 0}", NOON + 2 * HOUR, NOON + 2 * HOUR),
    ],
)
def test_a_seed_sets_the_clock_that_new_worlds_start_with(
    tmp_path: Path, clock: str, now: int, after_an_hour: int
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(f"{NINETEEN_MINUTES_OLD}\nclock: {clock}\n")
    wall = ManualWall(float(NOON))
    with MockServer(wall=wall, seed=(seed,)) as server:
        wall.at += 2 * HOUR
        world = new_world(server)
        (old,) = world.openai.containers.list().data
        assert old.status == "running"
        assert (old.last_active_at, old.created_at) == (now, now - 19 * 60)
        wall.at += HOUR
        assert world.openai.containers.create(name="new").created_at == after_an_hour
        world.close()


@pytest.mark.slow
def test_a_large_template_is_copied_completely(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\n"
        "files: [{filename: 'f-{n}', content: x, repeat: 2001}]\n"
        "containers: [{name: 'c-{n}', repeat: 2500, files: [{filename: a, content: x}, {filename: b, content: y}]}]\n"
    )
    with MockServer(seed=(seed,)) as server:
        for _ in range(2):
            with new_world(server) as world:
                found = list(world.openai.containers.list(limit=100, order="asc"))
                assert [each.name for each in found] == [f"c-{n}" for n in range(1, 2_501)]
                assert len(world.openai.files.list().data) == 2_001
                for container in (found[0], found[-1]):
                    assert len(world.openai.containers.files.list(container.id).data) == 2


@pytest.fixture
def world_with_objects(world: World) -> World:
    """A world with three containers and three Files, one of them too large for a row."""
    for name, content in (("a", b"bytes"), ("b", b"bytes"), ("c", LARGE_CONTENT)):
        world.openai.files.create(file=(name, content), purpose="vision")
        world.openai.containers.create(name=name)
    return world


def test_a_fork_excludes_changes_made_while_it_is_copied(
    server: MockServer, world_with_objects: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The world is changed after its rows have been copied, but before its contents are."""
    link = contents.link

    def change_and_link(*args: Any) -> None:
        for box in world_with_objects.openai.containers.list():
            world_with_objects.openai.containers.delete(box.id)
        for file in world_with_objects.openai.files.list():
            world_with_objects.openai.files.delete(file.id)
        world_with_objects.openai.containers.create(name="late")
        link(*args)

    with new_world(server) as copy:
        control = f"{server.url}/_mock/worlds/{copy.name}"
        with monkeypatch.context() as patch:
            patch.setattr(contents, "link", change_and_link)
            ok(httpx2.post(control, json={"fork_of": world_with_objects.name}))
        assert [each.name for each in copy.openai.containers.list()] == ["c", "b", "a"]
        bodies = [copy.openai.files.content(each.id).read() for each in copy.openai.files.list()]
        assert bodies == [LARGE_CONTENT, b"bytes", b"bytes"]
    assert [each.name for each in world_with_objects.openai.containers.list()] == ["late"]
    state = server.mock.worlds.known(world_with_objects.name)
    assert state
    server.run(server.mock.worlds.finish(trash=True))
    assert not list(state.directory.glob("contents/*/*")), "the deleted contents are removed once the copy is complete"


def test_a_fork_that_fails_leaves_nothing_behind(
    server: MockServer, world_with_objects: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def states() -> list[Path]:
        server.run(server.mock.worlds.finish(trash=True))
        return sorted(server.mock.directory.glob("*/*"))

    before = states()
    control = f"{server.url}/_mock/worlds/{world_with_objects.name}-copy"
    with monkeypatch.context() as patch:
        patch.setattr(contents, "link", raise_disk_full)  # called after all rows have been copied
        error_message(httpx2.post(control, json={"fork_of": world_with_objects.name}), 500, "storage_failed")
    assert states() == before
    assert httpx2.post(control, json={"fork_of": world_with_objects.name}).status_code == 200


def test_deleting_a_world_with_many_contents_deletes_all_of_them(tmp_path: Path) -> None:
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        for number in range(20):
            content = b"%d" % number * (1 if number % 2 else 20_000)
            world.openai.files.create(file=("a", content), purpose="vision")
        assert len(stored(tmp_path)) == 20
        assert httpx2.delete(f"{server.url}/_mock/worlds/w").status_code == 200
        assert stored(tmp_path) == {}
        server.run(server.mock.worlds.finish(trash=True))
        assert list((tmp_path / "trash").iterdir()) == []


def test_objects_created_after_a_restore_or_in_a_fork_are_listed_first(server: MockServer, world: World) -> None:
    """The order holds within one second, and a restored world generates the same ids again."""
    control = f"{server.url}/_mock/worlds"
    world.freeze()
    for name in "ab":
        world.openai.containers.create(name=name)
    world.openai.containers.delete(world.openai.containers.create(name="gone").id)  # its id must not be generated again
    assert httpx2.put(f"{control}/{world.name}/snapshots/kept").status_code == 200
    first = world.openai.containers.create(name="c").id
    assert httpx2.post(f"{control}/{world.name}/snapshots/kept/restore").status_code == 200
    assert world.openai.containers.create(name="c").id == first
    with new_world(server) as copy:
        assert httpx2.post(f"{control}/{copy.name}", json={"fork_of": world.name}).status_code == 200
        copy.openai.containers.create(name="d")
        assert [each.name for each in copy.openai.containers.list()] == ["d", "c", "b", "a"]
    assert [each.name for each in world.openai.containers.list()] == ["c", "b", "a"]


def test_worlds_have_independent_clocks(server: MockServer) -> None:
    with new_world(server) as past, new_world(server) as future:
        past.freeze(NOON)
        future.freeze(NOON + 1_000_000)
        assert past.openai.containers.create(name="box").created_at == NOON
        assert future.openai.containers.create(name="box").created_at == NOON + 1_000_000


def test_the_clock_of_a_world_survives_a_restart(tmp_path: Path) -> None:
    with MockServer(data=tmp_path / "data") as server, World(server, "kept") as world:
        world.freeze(NOON)
    with MockServer(data=tmp_path / "data") as server, World(server, "kept") as world:
        assert world.openai.containers.create(name="box").created_at == NOON
