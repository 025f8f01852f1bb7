"""The verdict: each finding is reported for a client with that defect, and not for a similar client without it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from conftest import NOON, World, ok
from journal_records import record
from skill_bundles import folder

from mockserver.clock import stopwatch
from mockserver.entries import Entry
from mockserver.events import Events
from mockserver.journal import Journal
from mockserver.verdict import FINDINGS, check

MINUTES = 60


class VerdictClient:
    """Read the verdict on a world, and change the world through the control plane."""

    def __init__(self, world: World) -> None:
        self.url = f"{world.server.url}/_mock/worlds/{world.name}"
        self.client = httpx2.Client()

    def findings(self, ignore: str = "") -> list[dict[str, Any]]:
        verdict = ok(self.client.get(f"{self.url}/verdict", params={"ignore": ignore}))
        assert verdict["ok"] == (not verdict["findings"])
        return list(verdict["findings"])

    def exchanges(self, name: str) -> list[list[int]]:
        """Return the exchanges of each finding of that name."""
        return [each["exchanges"] for each in self.findings() if each["name"] == name]

    def names(self) -> set[str]:
        return {each["name"] for each in self.findings(ignore="container-never-deleted")}

    def add_fault(self, effect: dict[str, Any], **rule: Any) -> None:
        ok(self.client.post(f"{self.url}/faults", json={"effect": effect, **rule}))


@pytest.fixture
def verdict(world: World) -> Iterator[VerdictClient]:
    verdict_client = VerdictClient(world)
    with verdict_client.client:
        yield verdict_client


def create_container(world: World, name: str = "box", **body: Any) -> str:
    return str(ok(world.http.post("/containers", json={"name": name, **body}))["id"])


def upload_to_container(world: World, container: str, content: bytes, name: str = "a.txt") -> str:
    return str(ok(world.http.post(f"/containers/{container}/files", files={"file": (name, content)}))["id"])


def create_file(world: World, content: bytes, purpose: str = "user_data") -> str:
    return str(ok(world.http.post("/files", files={"file": ("a.txt", content)}, data={"purpose": purpose}))["id"])


def test_a_correct_client_has_no_findings(world: World, verdict: VerdictClient) -> None:
    client = world.openai
    file = client.files.create(file=("a.txt", b"bytes"), purpose="user_data")
    for number in range(3):
        container = client.containers.create(name=f"box {number}", file_ids=[file.id])
        inside = client.containers.files.create(container.id, file=b"more bytes")
        assert client.containers.files.content.retrieve(inside.id, container_id=container.id).read() == b"more bytes"
        assert len(list(client.containers.files.list(container.id, limit=1))) == 2
        client.containers.files.delete(inside.id, container_id=container.id)
        client.containers.delete(container.id)
    assert [each.name for each in client.containers.list(limit=1)] == []
    client.files.delete(file.id)
    new = {"bytes": 5, "filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain"}
    uploads = [client.uploads.create(**new) for _ in range(2)]
    parts = [client.uploads.parts.create(each.id, data=b"bytes") for each in uploads]
    client.uploads.complete(uploads[0].id, part_ids=[parts[0].id])
    client.uploads.cancel(uploads[1].id)
    assert verdict.findings() == []


def test_a_world_without_exchanges_has_no_findings(world: World, verdict: VerdictClient) -> None:
    assert verdict.client.get(f"{verdict.url}/verdict").status_code == 404
    verdict.client.post(verdict.url)
    assert verdict.findings() == []


def test_findings_can_be_ignored_by_name(world: World, verdict: VerdictClient) -> None:
    create_container(world)
    world.http.get("/files/cfile_1")
    assert [each["name"] for each in verdict.findings()] == ["container-never-deleted", "wrong-id-kind"]
    assert [each["name"] for each in verdict.findings("container-never-deleted")] == ["wrong-id-kind"]
    assert verdict.findings("wrong-id-kind, container-never-deleted") == []
    response = verdict.client.get(f"{verdict.url}/verdict?ignore=wrong-id-kind,typo")
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(
        "ignore: unknown finding 'typo'; choose one of: container-never-"
    )


def test_clearing_the_journal_clears_the_verdict(world: World, verdict: VerdictClient) -> None:
    create_container(world)
    assert verdict.findings()
    verdict.client.delete(f"{verdict.url}/journal")
    assert verdict.findings() == []


# container-never-deleted


def test_never_deleting_containers_is_a_finding(world: World, verdict: VerdictClient) -> None:
    ids = [create_container(world) for _ in range(3)]
    world.http.delete(f"/containers/{ids[1]}")
    (finding,) = verdict.findings()
    assert finding["name"] == "container-never-deleted"
    assert finding["exchanges"] == [1, 3]
    assert finding["message"] == f"2 containers were created and never deleted: {ids[0]}, {ids[2]}"


def container_expires(world: World, verdict: VerdictClient) -> None:
    world.freeze()
    create_container(world)
    world.advance(20 * MINUTES)


def container_is_expired_through_the_control_plane(world: World, verdict: VerdictClient) -> None:
    assert verdict.client.post(f"{verdict.url}/containers/{create_container(world)}/expire").status_code == 200


def container_is_deleted_through_the_control_plane(world: World, verdict: VerdictClient) -> None:
    assert verdict.client.delete(f"{verdict.url}/containers/{create_container(world)}").status_code == 200


def container_is_created_through_the_control_plane(world: World, verdict: VerdictClient) -> None:
    assert verdict.client.post(f"{verdict.url}/containers", json={"name": "auto"}).status_code == 200
    world.http.get("/containers?limit=1")


def deletion_fails_by_a_fault(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"error": "server_error"}, match={"method": "DELETE"})
    assert world.http.delete(f"/containers/{create_container(world)}").status_code == 500


def response_is_lost(world: World, verdict: VerdictClient) -> None:
    with pytest.raises(httpx2.TransportError):
        world.http.post("/containers", json={"name": "box"}, headers={"x-mock-fault": '{"reset_after": 0}'})
    assert len(world.http.get("/containers").json()["data"]) == 1


@pytest.mark.parametrize(
    "event",
    [
        container_expires,
        container_is_expired_through_the_control_plane,
        container_is_deleted_through_the_control_plane,
        container_is_created_through_the_control_plane,
        deletion_fails_by_a_fault,
        response_is_lost,
    ],
)
def test_containers_that_need_no_deletion_are_no_finding(
    event: Callable[..., None], world: World, verdict: VerdictClient
) -> None:
    event(world, verdict)
    assert verdict.exchanges("container-never-deleted") == []


# use-after-expiry


@pytest.fixture
def expired(world: World) -> str:
    world.freeze()
    container = create_container(world)
    upload_to_container(world, container, b"bytes")
    world.advance(20 * MINUTES)
    return container


def test_using_an_expired_container_is_a_finding(world: World, expired: str, verdict: VerdictClient) -> None:
    world.http.get(f"/containers/{expired}/files")
    world.http.post(f"/containers/{expired}/files", files={"file": b"x"})
    world.http.get(f"/containers/{expired}/files/cfile_1/content")
    (finding,) = verdict.findings()
    assert (finding["name"], finding["exchanges"]) == ("use-after-expiry", [3, 4, 5])
    assert finding["message"] == f"{expired} was used after it had expired"


def test_retrieving_listing_and_deleting_an_expired_container_is_no_finding(
    world: World, expired: str, verdict: VerdictClient
) -> None:
    world.http.get(f"/containers/{expired}")
    world.http.get("/containers")
    world.http.delete(f"/containers/{expired}")
    assert verdict.findings() == []


def test_an_expiry_error_of_a_fault_is_no_finding(world: World, verdict: VerdictClient) -> None:
    container = create_container(world)
    verdict.add_fault({"error": "container_expired"})
    world.http.get(f"/containers/{container}/files")
    assert verdict.names() == set()


def test_a_latency_fault_does_not_hide_a_finding(world: World, expired: str, verdict: VerdictClient) -> None:
    world.http.get(f"/containers/{expired}/files", headers={"x-mock-fault": '{"latency": 0.001}'})
    assert verdict.names() == {"use-after-expiry"}


# paging-stopped


@pytest.fixture
def containers(world: World) -> list[str]:
    """25 containers, the newest first."""
    return [create_container(world, f"box {number}") for number in range(25)][::-1]


def list_containers(world: World, **query: Any) -> dict[str, Any]:
    return dict(ok(world.http.get("/containers", params=query)))


def reads_only_the_first_page(world: World, containers: list[str]) -> None:
    assert len(list_containers(world)["data"]) == 20


def stops_after_two_pages(world: World, containers: list[str]) -> None:
    list_containers(world, limit=10, after=list_containers(world, limit=10)["last_id"])


def deletes_only_the_first_page(world: World, containers: list[str]) -> None:
    for each in list_containers(world)["data"]:
        world.http.delete(f"/containers/{each['id']}")


def stops_paginating_backward(world: World, containers: list[str]) -> None:
    list_containers(world, limit=5, before=containers[-1])


def stops_and_lists_with_a_filter(world: World, containers: list[str]) -> None:
    stops_after_two_pages(world, containers)
    list_containers(world, name="box 3")


@pytest.mark.parametrize(
    "client",
    [
        reads_only_the_first_page,
        stops_after_two_pages,
        deletes_only_the_first_page,
        stops_paginating_backward,
        stops_and_lists_with_a_filter,
    ],
)
def test_stopping_pagination_early_is_a_finding(
    client: Callable[..., None], world: World, containers: list[str], verdict: VerdictClient
) -> None:
    client(world, containers)
    (finding,) = verdict.findings(ignore="container-never-deleted")
    assert finding["name"] == "paging-stopped"
    assert len(finding["exchanges"]) == 1


def reads_all_pages(world: World, containers: list[str]) -> None:
    assert len(list(world.openai.containers.list(limit=7))) == 25
    assert len(list(world.openai.containers.list())) == 25


def reads_only_the_newest(world: World, containers: list[str]) -> None:
    list_containers(world, limit=1)
    list_containers(world, limit=20, order="asc")


def stops_at_the_container_that_it_uses(world: World, containers: list[str]) -> None:
    for container in world.openai.containers.list(limit=4):
        if container.name == "box 11":
            world.openai.containers.retrieve(container.id)
            break


def uses_a_container_of_the_first_page(world: World, containers: list[str]) -> None:
    found = next(each for each in world.openai.containers.list() if each.name == "box 20")
    world.openai.containers.files.list(found.id)


def deletes_until_the_list_is_empty(world: World, containers: list[str]) -> None:
    while page := list_containers(world)["data"]:
        for each in page:
            world.http.delete(f"/containers/{each['id']}")


def starts_again_and_reads_all_pages(world: World, containers: list[str]) -> None:
    stops_after_two_pages(world, containers)
    assert len(list(world.openai.containers.list(limit=9))) == 25


def fails_to_read_the_next_page(world: World, containers: list[str]) -> None:
    page = list_containers(world)
    world.http.get("/containers", params={"after": page["last_id"]}, headers={"x-mock-fault": "server_error"})


def ignores_an_injected_has_more(world: World, containers: list[str]) -> None:
    last = list_containers(world, limit=20)["last_id"]
    stuck = {"x-mock-fault": '{"has_more": true}'}
    world.http.get("/containers", params={"limit": 20, "after": last}, headers=stuck)


@pytest.mark.parametrize(
    "client",
    [
        reads_all_pages,
        reads_only_the_newest,
        stops_at_the_container_that_it_uses,
        uses_a_container_of_the_first_page,
        deletes_until_the_list_is_empty,
        starts_again_and_reads_all_pages,
        fails_to_read_the_next_page,
        ignores_an_injected_has_more,
    ],
)
def test_complete_pagination_is_no_finding(
    client: Callable[..., None], world: World, containers: list[str], verdict: VerdictClient
) -> None:
    client(world, containers)
    assert verdict.names() == set()


def test_pagination_is_checked_separately_for_each_list(world: World, verdict: VerdictClient) -> None:
    container = create_container(world)
    for number in range(3):
        upload_to_container(world, container, b"bytes %d" % number)
    page = world.http.get(f"/containers/{container}/files?limit=1").json()
    world.http.get(f"/containers/{container}/files", params={"limit": 1, "after": page["last_id"]})
    list_containers(world)
    world.http.get("/files")
    assert verdict.exchanges("paging-stopped") == [[6]]


# retry-after-ignored


def test_retrying_before_retry_after_is_a_finding(world: World, verdict: VerdictClient) -> None:
    create_container(world)
    verdict.add_fault({"error": "rate_limited", "retry_after": 300}, times=2)
    for _ in range(3):
        world.http.get("/containers")
    (one, other) = [each for each in verdict.findings() if each["name"] == "retry-after-ignored"]
    assert (one["exchanges"], other["exchanges"]) == ([2, 3], [3, 4])
    path = f"/w/{world.name}/v1/containers"
    assert one["message"].startswith(f"GET {path} was to be retried after 300 s and was retried after ")


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after-ms": "9000"},
        {"retry-after-ms": "9000", "retry-after": "0"},
        {"retry-after": "Fri, 01 Jan 2199 00:00:00 GMT"},
        {"retry-after-ms": "x", "retry-after": "9"},
    ],
    ids=lambda headers: "+".join(headers),
)
def test_every_form_of_retry_after_is_recognized(headers: dict[str, str], world: World, verdict: VerdictClient) -> None:
    create_container(world)
    verdict.add_fault({"status": 503, "headers": headers}, times=1)
    for _ in range(2):
        world.http.post("/files", files={"file": b"x"}, data={"purpose": "user_data"})
    assert verdict.names() == {"retry-after-ignored"}


def waits_as_the_sdk_does(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"error": "rate_limited", "retry_after": 0.1}, times=2)
    started = stopwatch()
    client = world.openai.with_options(max_retries=2)
    assert client.containers.create(name="box").status == "running"
    assert stopwatch() - started >= 0.2


def waits_by_the_clock_of_the_world(world: World, verdict: VerdictClient) -> None:
    world.freeze()
    verdict.add_fault({"rate_limit": {"requests": 1, "per": "1m"}})
    for _ in range(2):
        response = world.http.get("/containers?limit=1")
    world.advance(float(response.headers["retry-after"]))
    assert world.http.get("/containers?limit=1").status_code == 200


def sends_a_different_request(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"error": "rate_limited", "retry_after": 30}, times=1)
    world.http.get("/containers?limit=1")
    world.http.get("/containers?limit=2")
    world.http.post("/containers?limit=1", json={"name": "box"})


def may_retry_immediately(world: World, verdict: VerdictClient) -> None:
    for advice in ({"retry-after": "0"}, {"retry-after": "soon"}, {"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}):
        effect = json.dumps({"status": 503, "headers": advice})
        for _ in range(2):
            world.http.get("/containers?limit=1", headers={"x-mock-fault": effect})


def uploads_different_content(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"error": "rate_limited", "retry_after": 30}, times=1)
    for content in (b"one", b"another"):
        world.http.post("/files", files={"file": content}, data={"purpose": "user_data"})


@pytest.mark.parametrize(
    "client",
    [
        uploads_different_content,
        waits_as_the_sdk_does,
        waits_by_the_clock_of_the_world,
        sends_a_different_request,
        may_retry_immediately,
    ],
)
def test_respecting_retry_after_is_no_finding(
    client: Callable[..., None], world: World, verdict: VerdictClient
) -> None:
    create_container(world)
    client(world, verdict)
    assert verdict.names() == set()


# retried-what-cannot-be-retried


def test_retrying_a_permanent_error_is_a_finding(world: World, verdict: VerdictClient) -> None:
    create_container(world)
    for _ in range(3):
        world.http.post("/containers", json={"name": ""})
    for _ in range(2):
        world.http.get("/nope")
    assert verdict.exchanges("retried-what-cannot-be-retried") == [[2, 3, 4], [5, 6]]


def retries_a_404(world: World, verdict: VerdictClient) -> None:
    for _ in range(2):
        world.http.get("/containers/cntr_1")


def retries_an_invalid_upload(world: World, verdict: VerdictClient) -> None:
    for _ in range(2):
        world.http.post("/files", files={"file": b"x"}, data={"purpose": "nonsense"})


def retries_the_400_of_a_fault(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"error": "server_error", "status": 400}, times=1)
    for _ in range(2):
        world.http.get("/containers?limit=1")


def retries_despite_x_should_retry_false(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"status": 503, "headers": {"x-should-retry": "false"}}, times=1)
    for _ in range(2):
        world.http.get("/containers?limit=1")


@pytest.mark.parametrize(
    "client",
    [retries_a_404, retries_an_invalid_upload, retries_the_400_of_a_fault, retries_despite_x_should_retry_false],
)
def test_futile_retries_are_a_finding(client: Callable[..., None], world: World, verdict: VerdictClient) -> None:
    create_container(world)
    client(world, verdict)
    assert verdict.exchanges("retried-what-cannot-be-retried") == [[2, 3]]
    assert verdict.names() == {"retried-what-cannot-be-retried"}


def retries_temporary_errors(world: World, verdict: VerdictClient) -> None:
    for status in (408, 409, 429, 500, 503):
        for _ in range(2):
            world.http.get(f"/containers?limit=1&x={status}", headers={"x-mock-fault": json.dumps({"status": status})})


def retries_because_of_x_should_retry_true(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"status": 400, "headers": {"x-should-retry": "true"}}, times=2)
    assert len(world.openai.with_options(max_retries=2).containers.list(limit=1).data) == 1


def corrects_its_request(world: World, verdict: VerdictClient) -> None:
    world.http.post("/containers", json={"name": ""})
    world.http.delete(f"/containers/{create_container(world, 'box')}")


def corrects_a_secret(world: World, verdict: VerdictClient) -> None:
    for secret in ("", 7):
        policy = {"domain": "a.test", "name": "KEY", "value": secret}
        body = {"type": "allowlist", "allowed_domains": ["a.test"], "domain_secrets": [policy]}
        assert world.http.post("/containers", json={"name": "box", "network_policy": body}).status_code == 400


def retrieves_again_after_a_change(world: World, verdict: VerdictClient) -> None:
    world.http.get("/containers/cntr_1")
    world.http.delete(f"/containers/{create_container(world)}")
    world.http.get("/containers/cntr_1")


def polls_until_the_container_exists(world: World, verdict: VerdictClient) -> None:
    body = {"name": "auto", "id": "cntr_staged"}
    for _ in range(3):
        assert world.http.get("/containers/cntr_staged").status_code == 404
    assert verdict.client.post(f"{verdict.url}/containers", json=body).status_code == 200
    assert world.http.get("/containers/cntr_staged").status_code == 200


def uploads_to_an_unknown_container(world: World, verdict: VerdictClient) -> None:
    """The server rejects both without reading them, so it cannot know whether they are the same."""
    for content in (b"one", b"two"):
        assert world.http.post("/containers/cntr_1/files", files={"file": content}).status_code == 404


def deletes_twice(world: World, verdict: VerdictClient) -> None:
    container = create_container(world)
    for status in (200, 404):
        assert world.http.delete(f"/containers/{container}").status_code == status


@pytest.mark.parametrize(
    "client",
    [
        retries_temporary_errors,
        retries_because_of_x_should_retry_true,
        corrects_its_request,
        corrects_a_secret,
        retrieves_again_after_a_change,
        polls_until_the_container_exists,
        uploads_to_an_unknown_container,
        deletes_twice,
    ],
)
def test_reasonable_retries_are_no_finding(client: Callable[..., None], world: World, verdict: VerdictClient) -> None:
    create_container(world)
    client(world, verdict)
    assert verdict.names() == set()


# wrong-id-kind


def test_sending_ids_of_the_wrong_kind_is_a_finding(world: World, verdict: VerdictClient) -> None:
    container = create_container(world)
    inside = upload_to_container(world, container, b"bytes")
    with pytest.raises(openai.NotFoundError):
        world.openai.files.content(inside)
    for path in (f"/files/{inside}", f"/files/{container}", f"/containers/{inside}", "/containers/file-1/files"):
        assert world.http.get(path).status_code == 404
    assert world.http.post("/containers", json={"name": "box", "file_ids": [inside]}).status_code == 400
    assert world.http.post(f"/containers/{container}/files", json={"file_id": container}).status_code == 404
    assert verdict.exchanges("wrong-id-kind") == [[3, 4, 8], [5, 9], [6], [7]]
    messages = [each["message"] for each in verdict.findings() if each["name"] == "wrong-id-kind"]
    assert messages[0] == f"{inside} is the id of a container's file and was sent in place of that of a File"


def test_a_file_id_in_the_path_of_a_container_is_a_finding_only_if_it_is_rejected(
    live_world: World, world: World
) -> None:
    for each, is_finding in ((world, False), (live_world, True)):
        verdict_client = VerdictClient(each)
        with verdict_client.client:
            file = create_file(each, b"bytes")
            container = create_container(each, file_ids=[file])
            each.http.get(f"/containers/{container}/files/{file}")
            assert verdict_client.names() == ({"wrong-id-kind"} if is_finding else set())


def test_unknown_ids_without_a_recognizable_kind_are_no_finding(world: World, verdict: VerdictClient) -> None:
    create_container(world)
    for path in ("/containers/container_abc", "/files/whatever", "/files/file-gone", f"/containers/{'x' * 200}"):
        assert world.http.get(path).status_code == 404
    world.http.get("/files/cfile_1", headers={"x-mock-fault": "file_not_found"})
    assert verdict.names() == set()


def test_confusing_ids_of_skills_and_versions_is_a_finding(world: World, verdict: VerdictClient) -> None:
    skill = world.openai.skills.create(files=folder())
    (version,) = world.openai.skills.versions.list(skill.id)
    assert world.http.get(f"/skills/{version.id}").status_code == 404
    assert world.http.get(f"/skills/{skill.id}/versions/{version.id}").status_code == 400
    assert world.http.get(f"/files/{skill.id}").status_code == 404
    body = {"name": "box", "skills": [{"type": "skill_reference", "skill_id": "cntr_1"}]}
    assert world.http.post("/containers", json=body).status_code == 400
    assert verdict.exchanges("wrong-id-kind") == [[3], [4], [5], [6]]
    messages = [each["message"] for each in verdict.findings()]
    assert messages[1] == f"{version.id} is the id of a skill version and was sent in place of a version's number"


# deleted-skill-used


def test_using_a_deleted_skill_is_a_finding(world: World, verdict: VerdictClient) -> None:
    client = world.openai
    skill, other = client.skills.create(files=folder()), client.skills.create(files=folder())
    client.skills.versions.create(skill.id, files=folder(), default=True)
    client.skills.versions.delete("1", skill_id=skill.id)
    client.skills.delete(other.id)
    for named in ({"skill_id": skill.id, "version": "1"}, {"skill_id": other.id}):
        body = {"name": "box", "skills": [{"type": "skill_reference", **named}]}
        assert world.http.post("/containers", json=body).status_code == 400
    assert world.http.post(f"/skills/{skill.id}", json={"default_version": 1}).status_code == 404
    assert verdict.exchanges("deleted-skill-used") == [[4, 6], [5, 7], [4, 8]]
    message = verdict.findings()[0]["message"]
    assert message.startswith(f"version 1 of {skill.id} was named by POST ")


def test_retrieving_a_deleted_skill_version_is_no_finding(world: World, verdict: VerdictClient) -> None:
    client = world.openai
    skill = client.skills.create(files=folder())
    client.skills.versions.create(skill.id, files=folder(), default=True)
    client.skills.versions.delete("1", skill_id=skill.id)
    for path in (f"/skills/{skill.id}/versions/1", f"/skills/{skill.id}/versions/1/content"):
        assert world.http.get(path).status_code == 404
    create_container(world, skills=[{"type": "skill_reference", "skill_id": skill.id}])
    body = {"name": "box", "skills": [{"type": "skill_reference", "skill_id": "skill_other"}]}
    assert world.http.post("/containers", json=body).status_code == 400
    assert verdict.names() == set()


def test_pagination_may_stop_at_a_skill_version_that_is_used(world: World, verdict: VerdictClient) -> None:
    skill = world.openai.skills.create(files=folder())
    for _ in range(2):
        world.openai.skills.versions.create(skill.id, files=folder())
    path = f"/skills/{skill.id}/versions?limit=1"
    after = world.http.get(path).json()["last_id"]
    found = world.http.get(f"{path}&after={after}").json()["data"][0]["version"]
    assert verdict.names() == {"paging-stopped"}
    world.http.get(f"/skills/{skill.id}/versions/{found}")
    assert verdict.names() == set()


# same-bytes-uploaded-again


def test_uploading_the_same_bytes_repeatedly_is_a_finding(world: World, verdict: VerdictClient) -> None:
    container = create_container(world)
    for number in range(4):
        upload_to_container(world, container, b"bytes", f"{number}.txt")
        create_file(world, b"bytes")
    findings = [each for each in verdict.findings() if each["name"] == "same-bytes-uploaded-again"]
    assert [each["exchanges"] for each in findings] == [[2, 4, 6, 8], [3, 5, 7, 9]]
    assert findings[0]["message"] == f"the same bytes were uploaded 4 times to {container}"
    assert findings[1]["message"] == "the same bytes were uploaded 4 times to the Files API"


def uploads_different_bytes(world: World) -> None:
    container = create_container(world)
    for number in range(5):
        upload_to_container(world, container, b"bytes %d" % number)


def uploads_to_different_destinations(world: World) -> None:
    for purpose in ("user_data", "assistants", "vision"):
        create_file(world, b"bytes", purpose)
        upload_to_container(world, create_container(world), b"bytes")


def uploads_empty_files(world: World) -> None:
    container = create_container(world)
    for number in range(5):
        upload_to_container(world, container, b"", f"{number}/__init__.py")


def retries_a_failed_upload(world: World) -> None:
    container = create_container(world)
    for _ in range(4):
        effect = {"x-mock-fault": "server_error"}
        world.http.post(f"/containers/{container}/files", files={"file": b"bytes"}, headers=effect)
    upload_to_container(world, container, b"bytes")


def deletes_each_upload(world: World) -> None:
    container = create_container(world)
    for _ in range(4):
        inside = upload_to_container(world, container, b"bytes")
        world.http.delete(f"/containers/{container}/files/{inside}")
        world.http.delete(f"/files/{create_file(world, b'bytes')}")


def uploads_again_after_expiry(world: World) -> None:
    world.freeze()
    fields = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    for _ in range(4):
        assert world.http.post("/files", files={"file": b"bytes"}, data=fields).status_code == 200
        world.advance(3_600)


def copies_a_file(world: World) -> None:
    file = create_file(world, b"bytes")
    container = create_container(world)
    for _ in range(4):
        assert world.http.post(f"/containers/{container}/files", json={"file_id": file}).status_code == 200


@pytest.mark.parametrize(
    "client",
    [
        uploads_different_bytes,
        uploads_to_different_destinations,
        uploads_empty_files,
        retries_a_failed_upload,
        deletes_each_upload,
        uploads_again_after_expiry,
        copies_a_file,
    ],
)
def test_necessary_uploads_are_no_finding(client: Callable[..., None], world: World, verdict: VerdictClient) -> None:
    client(world)
    assert verdict.names() == set()


# error-body-as-content


@pytest.fixture
def container_and_file(world: World) -> tuple[str, str]:
    """A container and a file in it."""
    container = create_container(world)
    return container, upload_to_container(world, container, b"bytes")


@pytest.mark.parametrize("stripped", [False, True])
def test_uploading_an_error_body_as_a_file_is_a_finding(
    stripped: bool, world: World, container_and_file: tuple[str, str], verdict: VerdictClient
) -> None:
    container, _ = container_and_file
    body = world.http.get(f"/containers/{container}/files/cfile_gone/content").content
    upload_to_container(world, container, body.rstrip() if stripped else body)
    (finding,) = verdict.findings(ignore="container-never-deleted")
    assert (finding["name"], finding["exchanges"]) == ("error-body-as-content", [3, 4])


def test_uploading_the_error_body_of_a_fault_is_a_finding(
    world: World, container_and_file: tuple[str, str], verdict: VerdictClient
) -> None:
    path = "/containers/{}/files/{}/content".format(*container_and_file)
    body = world.http.get(path, headers={"x-mock-fault": "container_file_not_found"}).content
    create_file(world, body)
    assert verdict.exchanges("error-body-as-content") == [[3, 4]]


def list_shows_the_deletion(world: World, container: str, file: str) -> None:
    assert world.http.get(f"/containers/{container}/files").json()["data"] == []


def retrieve_shows_the_deletion(world: World, container: str, file: str) -> None:
    assert world.http.get(f"/containers/{container}/files/{file}").status_code == 404


@pytest.mark.parametrize("learn", [list_shows_the_deletion, retrieve_shows_the_deletion])
def test_downloading_a_container_file_known_to_be_deleted_is_a_finding(
    learn: Callable[..., None], world: World, container_and_file: tuple[str, str], verdict: VerdictClient
) -> None:
    container, file = container_and_file
    assert verdict.client.delete(f"{verdict.url}/containers/{container}/files/{file}").status_code == 200
    learn(world, container, file)
    assert world.http.get(f"/containers/{container}/files/{file}/content").status_code == 404
    assert verdict.exchanges("error-body-as-content") == [[3, 4]]
    assert verdict.names() == {"error-body-as-content"}


def test_downloading_a_file_known_to_be_deleted_is_a_finding(world: World, verdict: VerdictClient) -> None:
    file = create_file(world, b"bytes", "vision")
    world.http.delete(f"/files/{file}")
    world.http.get("/files")
    world.http.get(f"/files/{file}/content")
    assert verdict.exchanges("error-body-as-content") == [[3, 4]]


def file_is_deleted_after_the_list(world: World, container: str, file: str) -> None:
    world.http.get(f"/containers/{container}/files")
    world.http.delete(f"/containers/{container}/files/{file}")


def files_are_never_listed(world: World, container: str, file: str) -> None:
    world.http.delete(f"/containers/{container}/files/{file}")
    world.http.get("/containers?limit=1")


def list_is_stale(world: World, container: str, file: str) -> None:
    world.http.delete(f"/containers/{container}/files/{file}")
    stale = {"x-mock-fault": '{"stale_list": "1h"}'}
    assert len(world.http.get(f"/containers/{container}/files", headers=stale).json()["data"]) == 1


@pytest.mark.parametrize("event", [file_is_deleted_after_the_list, files_are_never_listed, list_is_stale])
def test_downloading_a_file_that_may_still_exist_is_no_finding(
    event: Callable[..., None], world: World, container_and_file: tuple[str, str], verdict: VerdictClient
) -> None:
    container, file = container_and_file
    event(world, container, file)
    assert world.http.get(f"/containers/{container}/files/{file}/content").status_code == 404
    assert verdict.names() == set()


def test_downloading_a_file_created_after_the_list_is_no_finding(
    world: World, container_and_file: tuple[str, str], verdict: VerdictClient
) -> None:
    container, _ = container_and_file
    world.http.get(f"/containers/{container}/files")
    body = {"path": "report.pdf", "source": "assistant"}
    response = verdict.client.post(f"{verdict.url}/containers/{container}/files", files={"file": b"x"}, data=body)
    content = f"/containers/{container}/files/{response.json()['id']}/content"
    assert world.http.get(content).content == b"x"
    assert world.http.head(f"/containers/{container}/files/cfile_1/content").status_code == 404
    assert verdict.names() == set()


# Long journals


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_long_journal_is_checked(count: int) -> None:
    """The verdict on 10,000 exchanges takes about a second; comparing each exchange with all others, minutes."""
    journal = Journal(count, 1 << 30, Events())
    world_journal = journal.open("w")
    retry, page = (b"retry-after", b"9"), b'{"data": [{"id": "cfile_%d"}], "has_more": true}'
    for number in range(count):
        operation, route, status, headers, response, shown = (
            ("RetrieveContainerFileContent", f"/containers/c/files/cfile_{number}/content", 404, [], b"{}", None),
            ("ListContainerFiles", "/containers/c/files", 200, [], page % number, (True, "a", "b")),
            ("RetrieveContainer", "/containers/cntr_1", 429, [retry], b"{}", None),
            ("RetrieveContainerFile", "/containers/c/files/cfile_1", 404, [], b"{}", None),
        )[number % 4]
        record(
            world_journal,
            journal,
            response,
            operation=operation,
            route=route,
            status=status,
            wall=NOON + number / 1_000,
            headers=headers,
            objects=[("deleted", f"cfile_{number}")] if number % 7 == 0 else [],
            page=shown,
        )
    entries = [Entry(*each) for each in journal.records("w")]
    assert len(entries) == count
    assert {name for name, _, _ in check(entries, running=set())} >= {"retry-after-ignored", "paging-stopped"}


# upload-left-pending


def create_upload(world: World, *parts: bytes) -> tuple[str, list[str]]:
    new = {"bytes": 5, "filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain"}
    id = world.http.post("/uploads", json=new).json()["id"]
    part_ids = [world.http.post(f"/uploads/{id}/parts", files={"data": part}).json()["id"] for part in parts]
    return id, part_ids


def test_leaving_uploads_pending_is_a_finding(world: World, verdict: VerdictClient) -> None:
    ids = [create_upload(world, b"bytes")[0] for _ in range(2)]
    world.http.post(f"/uploads/{ids[0]}/complete", json={"part_ids": []})
    (finding,) = [each for each in verdict.findings() if each["name"] == "upload-left-pending"]
    assert finding["exchanges"] == [1, 3]
    assert finding["message"] == f"2 uploads were created and neither completed nor cancelled: {', '.join(ids)}"


def upload_expires(world: World, verdict: VerdictClient) -> None:
    world.freeze()
    create_upload(world)
    world.advance(60 * MINUTES)


def upload_is_deleted_through_the_control_plane(world: World, verdict: VerdictClient) -> None:
    assert verdict.client.delete(f"{verdict.url}/uploads/{create_upload(world)[0]}").status_code == 200


def cancellation_fails_by_a_fault(world: World, verdict: VerdictClient) -> None:
    verdict.add_fault({"error": "server_error"}, match={"operation": "CancelUpload"})
    assert world.http.post(f"/uploads/{create_upload(world)[0]}/cancel").status_code == 500


@pytest.mark.parametrize(
    "event", [upload_expires, upload_is_deleted_through_the_control_plane, cancellation_fails_by_a_fault]
)
def test_uploads_that_need_not_be_cancelled_are_no_finding(
    event: Callable[..., None], world: World, verdict: VerdictClient
) -> None:
    event(world, verdict)
    assert verdict.names() == set()


# parts-dont-add-up


def test_completing_an_upload_with_wrong_parts_or_md5_is_a_finding(world: World, verdict: VerdictClient) -> None:
    id, parts = create_upload(world, b"byte")
    world.http.post(f"/uploads/{id}/complete", json={"part_ids": parts})
    last = world.http.post(f"/uploads/{id}/parts", files={"data": b"s"}).json()["id"]
    world.http.post(f"/uploads/{id}/complete", json={"part_ids": [*parts, last], "md5": "0"})
    assert world.http.post(f"/uploads/{id}/complete", json={"part_ids": [*parts, last]}).status_code == 200
    assert verdict.exchanges("parts-dont-add-up") == [[3], [5]]


def test_completing_an_upload_twice_or_with_a_fault_is_no_finding(world: World, verdict: VerdictClient) -> None:
    id, parts = create_upload(world, b"bytes")
    verdict.add_fault({"error": "wrong_md5"}, match={"operation": "CompleteUpload"}, times=1)
    for status in (400, 200, 400):
        assert world.http.post(f"/uploads/{id}/complete", json={"part_ids": parts}).status_code == status
    assert verdict.exchanges("parts-dont-add-up") == []


def test_confusing_ids_of_uploads_files_and_parts_is_a_finding(world: World, verdict: VerdictClient) -> None:
    id, _ = create_upload(world, b"bytes")
    world.http.get(f"/files/{id}")
    world.http.post("/uploads/file-1/cancel")
    world.http.post(f"/uploads/{id}/complete", json={"part_ids": [id]})
    messages = [each["message"] for each in verdict.findings() if each["name"] == "wrong-id-kind"]
    assert messages == [
        f"{id} is the id of an upload and was sent in place of that of a File",
        "file-1 is the id of a File and was sent in place of that of an upload",
        f"{id} is the id of an upload and was sent in place of that of a part of an upload",
    ]


def test_every_finding_has_tests_that_report_it() -> None:
    sections = re.split(r"^# ([a-z-]+)$", Path(__file__).read_text(), flags=re.MULTILINE)
    for name, section in zip(sections[1::2], sections[2::2], strict=True):
        assert f'"{name}"' in section or name not in FINDINGS, f"no test in the section of {name} reports it"
    assert {*FINDINGS} <= {*sections[1::2]}


# Responses

CODE: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]


def script(world: World, *rules: dict[str, Any]) -> None:
    ok(world.http.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=list(rules)))


def run(world: World, input: Any, status: int = 200, **more: Any) -> dict[str, Any]:
    response = world.http.post("/responses", json={"model": "m", "input": input, **more})
    assert response.status_code == status, response.text
    return dict(response.json()) if not more.get("stream") else {}


def only_finding(verdict: VerdictClient, name: str) -> list[list[int]]:
    """Return the exchanges of a finding; check that it is the only one but containers that stay, as those of runs do."""
    assert {each["name"] for each in verdict.findings()} <= {name, "container-never-deleted"}
    return verdict.exchanges(name)


# answer-unused


def test_an_answer_that_is_never_used_is_a_finding(world: World, verdict: VerdictClient) -> None:
    script(world, {"id": "never", "when": "elephants", "say": "x"}, {"id": "used", "times": 1, "say": "y"})
    assert verdict.findings() == []
    run(world, "hello")
    assert only_finding(verdict, "answer-unused") == [[1]]
    run(world, "elephants")
    assert verdict.findings() == []


# answer-unexpected


def test_a_run_that_matches_no_answer_is_a_finding(world: World, verdict: VerdictClient) -> None:
    run(world, "before there were answers")
    script(world, {"when": "one", "say": "x"})
    run(world, "two, perhaps before there were answers")
    run(world, "one")
    assert verdict.findings() == []
    run(world, "two")
    assert only_finding(verdict, "answer-unexpected") == [[4]]
    run(world, "one", 404, tools=[{"type": "code_interpreter", "container": "cntr_none"}])
    switches = {"switches": {"unscripted": "refuse"}}
    assert verdict.client.put(f"{verdict.url}/profile", json=switches).status_code == 200
    run(world, "three", 400)
    assert only_finding(verdict, "answer-unexpected") == [[4, 6]]


# citation-not-downloaded


@pytest.mark.parametrize("mode", ["json", "stream", "background"])
def test_not_downloading_a_cited_file_is_a_finding(world: World, verdict: VerdictClient, mode: str) -> None:
    world.freeze()
    response = run(
        world, "write a.csv and b.csv " + "long " * 2_000, tools=CODE, **({} if mode == "json" else {mode: True})
    )
    exchange = 1
    if mode == "background":
        assert verdict.exchanges("citation-not-downloaded") == []
        world.advance(10)
        world.http.get(f"/responses/{response['id']}")
        exchange = 2
    assert only_finding(verdict, "citation-not-downloaded") == [[exchange]]
    container = world.http.get("/containers").json()["data"][0]["id"]
    file = world.http.get(f"/containers/{container}/files").json()["data"][0]["id"]
    world.http.get(f"/containers/{container}/files/{file}/content")
    assert only_finding(verdict, "citation-not-downloaded") == []


# cfile-in-files-api


def test_requesting_a_cited_container_file_from_the_files_api_is_a_finding(
    world: World, verdict: VerdictClient
) -> None:
    message = run(world, "write a.csv", tools=CODE)["output"][-1]
    (cited,) = message["content"][0]["annotations"]
    world.http.get(f"/containers/{cited['container_id']}/files/{cited['file_id']}/content")
    assert verdict.findings() == []
    world.http.get(f"/files/{cited['file_id']}/content")
    assert only_finding(verdict, "cfile-in-files-api") == [[1, 3]]
    assert "wrong-id-kind" not in verdict.names()


# container-recreated-each-turn


@pytest.mark.parametrize("correct", [None, "chain", "replayed", "late"])
def test_creating_a_container_in_each_turn_is_a_finding(
    world: World, verdict: VerdictClient, correct: str | None
) -> None:
    """The client repeats only the texts, so that nothing in its input refers to the container."""
    world.freeze()
    script(world, {"code": "x = 1", "say": "done"})
    first = run(world, "count", tools=CODE)
    run(world, "count", tools=CODE)  # another conversation that begins with the same message
    call = first["output"][:1] if correct == "replayed" else []
    more = {"previous_response_id": first["id"]} if correct == "chain" else {}
    if correct == "late":
        world.advance(21 * MINUTES)
    history = [{"role": "user", "content": "count"}, *call, {"role": "assistant", "content": "done"}]
    run(world, [*history, {"role": "user", "content": "again"}], tools=CODE, **more)
    assert only_finding(verdict, "container-recreated-each-turn") == ([] if correct else [[2, 3]])


# failed-response-continued


@pytest.mark.parametrize("stream", [False, True])
def test_continuing_a_failed_response_is_a_finding(world: World, verdict: VerdictClient, stream: bool) -> None:
    fails = {"when": "fail", "steps": [{"say": "So far."}, {"fail": "server_error"}]}
    ends = {"when": "long", "steps": [{"say": "So far."}, {"fail": {"incomplete": "max_output_tokens"}}]}
    script(world, fails, ends, {"say": "ok"})
    completed = run(world, "one")["id"]
    failed = world.http.post("/responses", json={"model": "m", "input": "fail", "stream": stream}).text
    id = re.findall(r"resp_\w+", failed)[0]
    incomplete = run(world, "long")["id"]
    for valid in (completed, incomplete):
        run(world, "go on", previous_response_id=valid)
    assert only_finding(verdict, "failed-response-continued") == []
    for _ in range(2):
        run(world, "go on", previous_response_id=id)
    assert only_finding(verdict, "failed-response-continued") == [[2, 6, 7]]


# expired-chain-retried


def test_continuing_an_expired_chain_again_is_a_finding(world: World, verdict: VerdictClient) -> None:
    world.freeze()
    script(world, {"code": "x = 1", "say": "done"})
    first = run(world, "one", tools=CODE)["id"]
    world.advance(21 * MINUTES)
    run(world, "two", 400, tools=CODE, previous_response_id=first)
    assert verdict.exchanges("expired-chain-retried") == []
    run(world, "two, please", 400, tools=CODE, previous_response_id=first)
    assert only_finding(verdict, "expired-chain-retried") == [[2, 3]]
