"""Expiry of containers and files by the clock of their world, and what deleting them removes."""

from collections.abc import Callable

import openai
import pytest
from conftest import NOON, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI
from rawhttp import Wire, form

MINUTE = 60
DAY = 86_400

Use = Callable[[OpenAI, str, str], object]

USES: dict[str, Use] = {
    "retrieving the container": lambda client, box, _: client.containers.retrieve(box),
    "adding a file": lambda client, box, _: client.containers.files.create(box, file=b"more"),
    "listing its files": lambda client, box, _: client.containers.files.list(box),
    "retrieving a file": lambda client, box, file: client.containers.files.retrieve(file, container_id=box),
    "downloading a file": lambda client, box, file: client.containers.files.content.retrieve(file, container_id=box),
    "deleting a file": lambda client, box, file: client.containers.files.delete(file, container_id=box),
}


def stored_activity(world: World, box: str) -> int:
    """Return the stored `last_active_at`, which a running container does not show."""
    world.advance(366 * DAY)
    return world.openai.containers.retrieve(box).last_active_at


@pytest.mark.parametrize("use", USES)
def test_each_operation_on_a_container_postpones_its_expiry(world: World, use: str) -> None:
    world.freeze()
    box = world.openai.containers.create(name="box").id
    file = world.openai.containers.files.create(box, file=b"bytes").id
    world.advance(19 * MINUTE)
    USES[use](world.openai, box, file)
    world.advance(19 * MINUTE)
    assert world.openai.containers.list().data[0].status == "running"
    assert stored_activity(world, box) == NOON + 19 * MINUTE


def test_listing_containers_does_not_postpone_their_expiry(world: World) -> None:
    world.freeze()
    box = world.openai.containers.create(name="box").id
    world.advance(19 * MINUTE)
    (listed,) = world.openai.containers.list().data
    assert (listed.status, listed.last_active_at) == ("running", NOON + 19 * MINUTE)
    world.advance(MINUTE)
    (listed,) = world.openai.containers.list().data
    assert (listed.status, listed.last_active_at) == ("expired", NOON + 20 * MINUTE)
    assert world.openai.containers.retrieve(box).last_active_at == NOON


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 20))
def test_a_container_expires_exactly_after_its_idle_minutes(world: World, minutes: int) -> None:
    world.freeze(NOON)
    rule = {"anchor": "last_active_at", "minutes": minutes}
    box = world.http.post("/containers", json={"name": "box", "expires_after": rule}).json()["id"]

    def status() -> str:
        listed = world.http.get("/containers", params={"limit": 1}).json()["data"][0]
        assert listed["id"] == box
        return str(listed["status"])

    world.advance(minutes * MINUTE - 1)
    assert status() == "running"
    world.advance(1)
    assert status() == "expired"
    world.advance(-1)
    assert status() == "running", "expiry is computed from the clock, so setting the clock back undoes it"


def test_last_active_at_is_updated_at_most_once_a_second(world: World) -> None:
    world.freeze(NOON)
    box = world.openai.containers.create(name="box").id
    world.advance(0.9)
    assert world.openai.containers.retrieve(box).last_active_at == NOON
    world.advance(0.1)
    assert world.openai.containers.retrieve(box).last_active_at == NOON + 1


@pytest.mark.parametrize("use", USES)
def test_setting_the_clock_back_keeps_the_latest_activity(world: World, use: str) -> None:
    world.freeze()
    box = world.openai.containers.create(name="box").id
    file = world.openai.containers.files.create(box, file=b"bytes").id
    world.freeze(NOON + 10 * MINUTE)
    world.openai.containers.retrieve(box)
    world.freeze(NOON + MINUTE)
    USES[use](world.openai, box, file)
    assert stored_activity(world, box) == NOON + 10 * MINUTE


@pytest.mark.parametrize("minutes", [19, 20])
def test_an_upload_counts_as_activity_when_it_completes(world: World, minutes: int) -> None:
    """The container is running when the upload begins, and may expire before it completes."""
    world.freeze()
    box = world.openai.containers.create(name="box").id
    body = form(('Content-Disposition: form-data; name="file"; filename="a"', b"bytes"))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Expect": "100-continue"}
    with Wire(world) as wire:
        wire.head("POST", f"/containers/{box}/files", {**headers, "Content-Length": str(len(body))})
        assert wire.socket.recv(100).startswith(b"HTTP/1.1 100 ")  # accepted: the server waits for the body
        world.advance(minutes * MINUTE)
        wire.send(body)
        response = wire.response()
    if minutes < 20:
        assert (response.status, response.json["created_at"]) == (200, NOON + 19 * MINUTE)
    else:
        assert (response.status, response.error["message"]) == (404, "Container is expired.")
    assert stored_activity(world, box) == (NOON + 19 * MINUTE if minutes < 20 else NOON)


def test_only_the_metadata_of_an_expired_container_is_available(world: World) -> None:
    world.freeze()
    client = world.openai
    box = client.containers.create(name="box", memory_limit="4g", network_policy={"type": "disabled"})
    file = client.containers.files.create(box.id, file=b"bytes").id
    world.advance(20 * MINUTE)
    for _ in range(2):  # retrieving the container does not make it run again
        expired = client.containers.retrieve(box.id)
        assert expired.status == "expired"
        assert expired.last_active_at == NOON
        assert expired.memory_limit == "4g"
        assert expired.network_policy.type == "disabled"
    for name, use in USES.items():
        if name != "retrieving the container":
            with pytest.raises(openai.NotFoundError, match=r"Container is expired\."):
                use(client, box.id, file)
    assert [each.id for each in client.containers.list()] == [box.id]
    client.containers.delete(box.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.retrieve(box.id)


def test_activity_does_not_postpone_an_expiry_counted_from_creation(world: World) -> None:
    world.freeze()
    rule = {"anchor": "created_at", "days": 7}
    box = world.http.post("/containers", json={"name": "box", "expires_after": rule}).json()
    assert box["expires_after"] == {"anchor": "created_at", "minutes": 7 * 24 * 60}
    world.advance(7 * DAY - 1)
    assert world.http.get(f"/containers/{box['id']}").json()["status"] == "running"
    world.advance(1)
    assert world.http.get(f"/containers/{box['id']}").json()["status"] == "expired"


def test_deleting_a_container_deletes_only_its_own_files(world: World) -> None:
    client = world.openai
    one, other = client.containers.create(name="one"), client.containers.create(name="other")
    deleted = client.containers.files.create(one.id, file=b"same bytes")
    kept = client.containers.files.create(other.id, file=b"same bytes")
    client.containers.delete(one.id)
    with pytest.raises(openai.NotFoundError, match=f"Container with id '{one.id}' not found"):
        client.containers.files.retrieve(deleted.id, container_id=one.id)
    assert client.containers.files.content.retrieve(kept.id, container_id=other.id).read() == b"same bytes"


def test_deleting_a_file_keeps_its_copies_in_containers(world: World) -> None:
    client = world.openai
    file = client.files.create(file=("a.txt", b"text"), purpose="user_data")
    box = client.containers.create(name="box", file_ids=[file.id])
    client.files.delete(file.id)
    (copy,) = client.containers.files.list(box.id).data
    assert client.containers.files.content.retrieve(copy.id, container_id=box.id).read() == b"text"
    with pytest.raises(openai.NotFoundError):
        client.containers.files.create(box.id, file_id=file.id)


def test_a_file_id_in_the_path_of_a_container_selects_the_newest_copy(world: World) -> None:
    file = world.openai.files.create(file=("a.txt", b"text"), purpose="user_data").id
    box = world.openai.containers.create(name="box").id
    older, newer = (world.openai.containers.files.create(box, file_id=file).id for _ in range(2))
    for copy_id in (newer, older):
        assert world.http.get(f"/containers/{box}/files/{file}").json()["id"] == copy_id
        assert world.http.delete(f"/containers/{box}/files/{file}").json()["id"] == file
        assert world.http.get(f"/containers/{box}/files/{copy_id}").status_code == 404
    assert world.http.get(f"/containers/{box}/files/{file}").status_code == 404


def test_no_container_is_created_if_one_of_its_files_is_unknown(world: World) -> None:
    known = world.openai.files.create(file=b"text", purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="No such File object: file-unknown"):
        world.openai.containers.create(name="box", file_ids=[known.id, "file-unknown"])
    assert world.openai.containers.list().data == []


def test_a_file_is_not_found_from_the_second_it_expires(world: World) -> None:
    world.freeze()
    client = world.openai
    hour = {"anchor": "created_at", "seconds": 3_600}
    file = client.files.create(file=b"text", purpose="vision", expires_after=hour)
    assert file.expires_at == NOON + 3_600
    world.advance(3_599)
    assert client.files.content(file.id).read() == b"text"
    world.advance(1)
    assert client.files.list().data == []
    for use in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
            use(file.id)


def test_batch_files_expire_after_30_days_by_default(world: World) -> None:
    world.freeze()
    batch = world.openai.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    other = world.openai.files.create(file=b"{}", purpose="user_data")
    assert (batch.expires_at, other.expires_at) == (NOON + 30 * DAY, None)
