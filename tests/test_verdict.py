"""The verdict: each finding, fired by a client that is wrong, and not by one that looks like it."""

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


class Judge:
    """The verdict on a world."""

    def __init__(self, world: World) -> None:
        self.url = f"{world.server.url}/_mock/worlds/{world.name}"
        self.client = httpx2.Client()

    def findings(self, ignore: str = "") -> list[dict[str, Any]]:
        verdict = ok(self.client.get(f"{self.url}/verdict", params={"ignore": ignore}))
        assert verdict["ok"] == (not verdict["findings"])
        return list(verdict["findings"])

    def proofs(self, name: str) -> list[list[int]]:
        """The exchanges of each finding of that name."""
        return [each["exchanges"] for each in self.findings() if each["name"] == name]

    def names(self) -> set[str]:
        return {each["name"] for each in self.findings(ignore="container-never-deleted")}

    def break_it(self, effect: dict[str, Any], **rule: Any) -> None:
        ok(self.client.post(f"{self.url}/faults", json={"effect": effect, **rule}))


@pytest.fixture
def verdict(world: World) -> Iterator[Judge]:
    judge = Judge(world)
    with judge.client:
        yield judge


def make(world: World, name: str = "box", **body: Any) -> str:
    return str(ok(world.http.post("/containers", json={"name": name, **body}))["id"])


def upload(world: World, container: str, content: bytes, name: str = "a.txt") -> str:
    return str(ok(world.http.post(f"/containers/{container}/files", files={"file": (name, content)}))["id"])


def add_file(world: World, content: bytes, purpose: str = "user_data") -> str:
    return str(ok(world.http.post("/files", files={"file": ("a.txt", content)}, data={"purpose": purpose}))["id"])


def test_a_client_that_does_all_of_it_right(world: World, verdict: Judge) -> None:
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


def test_a_world_without_exchanges_is_innocent(world: World, verdict: Judge) -> None:
    assert verdict.client.get(f"{verdict.url}/verdict").status_code == 404
    verdict.client.post(verdict.url)
    assert verdict.findings() == []


def test_findings_can_be_left_out(world: World, verdict: Judge) -> None:
    make(world)
    world.http.get("/files/cfile_1")
    assert [each["name"] for each in verdict.findings()] == ["container-never-deleted", "wrong-id-kind"]
    assert [each["name"] for each in verdict.findings("container-never-deleted")] == ["wrong-id-kind"]
    assert verdict.findings("wrong-id-kind, container-never-deleted") == []
    answer = verdict.client.get(f"{verdict.url}/verdict?ignore=wrong-id-kind,typo")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(
        "ignore: unknown finding 'typo'; choose one of: container-never-"
    )


def test_clearing_the_journal_clears_the_verdict(world: World, verdict: Judge) -> None:
    make(world)
    assert verdict.findings()
    verdict.client.delete(f"{verdict.url}/journal")
    assert verdict.findings() == []


# container-never-deleted


def test_containers_that_stay(world: World, verdict: Judge) -> None:
    ids = [make(world) for _ in range(3)]
    world.http.delete(f"/containers/{ids[1]}")
    (finding,) = verdict.findings()
    assert finding["name"] == "container-never-deleted"
    assert finding["exchanges"] == [1, 3]
    assert finding["message"] == f"2 containers were created and never deleted: {ids[0]}, {ids[2]}"


def expires(world: World, verdict: Judge) -> None:
    world.freeze()
    make(world)
    world.advance(20 * MINUTES)


def is_expired_by_the_test(world: World, verdict: Judge) -> None:
    assert verdict.client.post(f"{verdict.url}/containers/{make(world)}/expire").status_code == 200


def is_removed_by_the_test(world: World, verdict: Judge) -> None:
    assert verdict.client.delete(f"{verdict.url}/containers/{make(world)}").status_code == 200


def is_staged_by_the_test(world: World, verdict: Judge) -> None:
    assert verdict.client.post(f"{verdict.url}/containers", json={"name": "auto"}).status_code == 200
    world.http.get("/containers?limit=1")


def was_to_be_deleted(world: World, verdict: Judge) -> None:
    verdict.break_it({"error": "server_error"}, match={"method": "DELETE"})
    assert world.http.delete(f"/containers/{make(world)}").status_code == 500


def was_never_answered(world: World, verdict: Judge) -> None:
    with pytest.raises(httpx2.TransportError):
        world.http.post("/containers", json={"name": "box"}, headers={"x-mock-fault": '{"reset_after": 0}'})
    assert len(world.http.get("/containers").json()["data"]) == 1


@pytest.mark.parametrize(
    "happens",
    [
        expires,
        is_expired_by_the_test,
        is_removed_by_the_test,
        is_staged_by_the_test,
        was_to_be_deleted,
        was_never_answered,
    ],
)
def test_containers_that_need_no_deletion(happens: Callable[..., None], world: World, verdict: Judge) -> None:
    happens(world, verdict)
    assert verdict.proofs("container-never-deleted") == []


# use-after-expiry


@pytest.fixture
def expired(world: World) -> str:
    world.freeze()
    container = make(world)
    upload(world, container, b"bytes")
    world.advance(20 * MINUTES)
    return container


def test_use_after_expiry(world: World, expired: str, verdict: Judge) -> None:
    world.http.get(f"/containers/{expired}/files")
    world.http.post(f"/containers/{expired}/files", files={"file": b"x"})
    world.http.get(f"/containers/{expired}/files/cfile_1/content")
    (finding,) = verdict.findings()
    assert (finding["name"], finding["exchanges"]) == ("use-after-expiry", [3, 4, 5])
    assert finding["message"] == f"{expired} was used after it had expired"


def test_looking_at_what_has_expired_is_no_use(world: World, expired: str, verdict: Judge) -> None:
    world.http.get(f"/containers/{expired}")
    world.http.get("/containers")
    world.http.delete(f"/containers/{expired}")
    assert verdict.findings() == []


def test_an_expiry_that_a_fault_made_up_is_no_use(world: World, verdict: Judge) -> None:
    container = make(world)
    verdict.break_it({"error": "container_expired"})
    world.http.get(f"/containers/{container}/files")
    assert verdict.names() == set()


def test_a_fault_that_only_slows_hides_nothing(world: World, expired: str, verdict: Judge) -> None:
    world.http.get(f"/containers/{expired}/files", headers={"x-mock-fault": '{"latency": 0.001}'})
    assert verdict.names() == {"use-after-expiry"}


# paging-stopped


@pytest.fixture
def many(world: World) -> list[str]:
    """25 containers, the newest first."""
    return [make(world, f"box {number}") for number in range(25)][::-1]


def listed(world: World, **query: Any) -> dict[str, Any]:
    return dict(ok(world.http.get("/containers", params=query)))


def takes_one_page_for_all(world: World, many: list[str]) -> None:
    assert len(listed(world)["data"]) == 20


def stops_on_its_way(world: World, many: list[str]) -> None:
    listed(world, limit=10, after=listed(world, limit=10)["last_id"])


def deletes_what_one_page_shows(world: World, many: list[str]) -> None:
    for each in listed(world)["data"]:
        world.http.delete(f"/containers/{each['id']}")


def stops_walking_backwards(world: World, many: list[str]) -> None:
    listed(world, limit=5, before=many[-1])


def ends_another_walk(world: World, many: list[str]) -> None:
    stops_on_its_way(world, many)
    listed(world, name="box 3")


@pytest.mark.parametrize(
    "client",
    [takes_one_page_for_all, stops_on_its_way, deletes_what_one_page_shows, stops_walking_backwards, ends_another_walk],
)
def test_paging_that_stops(client: Callable[..., None], world: World, many: list[str], verdict: Judge) -> None:
    client(world, many)
    (finding,) = verdict.findings(ignore="container-never-deleted")
    assert finding["name"] == "paging-stopped"
    assert len(finding["exchanges"]) == 1


def walks_to_the_end(world: World, many: list[str]) -> None:
    assert len(list(world.openai.containers.list(limit=7))) == 25
    assert len(list(world.openai.containers.list())) == 25


def looks_at_the_newest(world: World, many: list[str]) -> None:
    listed(world, limit=1)
    listed(world, limit=20, order="asc")


def finds_what_it_searches(world: World, many: list[str]) -> None:
    for container in world.openai.containers.list(limit=4):
        if container.name == "box 11":
            world.openai.containers.retrieve(container.id)
            break


def finds_it_on_the_first_page(world: World, many: list[str]) -> None:
    found = next(each for each in world.openai.containers.list() if each.name == "box 20")
    world.openai.containers.files.list(found.id)


def deletes_until_none_is_left(world: World, many: list[str]) -> None:
    while page := listed(world)["data"]:
        for each in page:
            world.http.delete(f"/containers/{each['id']}")


def walks_again_from_the_start(world: World, many: list[str]) -> None:
    stops_on_its_way(world, many)
    assert len(list(world.openai.containers.list(limit=9))) == 25


def goes_on_and_fails(world: World, many: list[str]) -> None:
    page = listed(world)
    world.http.get("/containers", params={"after": page["last_id"]}, headers={"x-mock-fault": "server_error"})


def sees_through_a_stuck_list(world: World, many: list[str]) -> None:
    last = listed(world, limit=20)["last_id"]
    stuck = {"x-mock-fault": '{"has_more": true}'}
    world.http.get("/containers", params={"limit": 20, "after": last}, headers=stuck)


@pytest.mark.parametrize(
    "client",
    [
        walks_to_the_end,
        looks_at_the_newest,
        finds_what_it_searches,
        finds_it_on_the_first_page,
        deletes_until_none_is_left,
        walks_again_from_the_start,
        goes_on_and_fails,
        sees_through_a_stuck_list,
    ],
)
def test_paging_that_is_done(client: Callable[..., None], world: World, many: list[str], verdict: Judge) -> None:
    client(world, many)
    assert verdict.names() == set()


def test_each_list_is_its_own(world: World, verdict: Judge) -> None:
    container = make(world)
    for number in range(3):
        upload(world, container, b"bytes %d" % number)
    page = world.http.get(f"/containers/{container}/files?limit=1").json()
    world.http.get(f"/containers/{container}/files", params={"limit": 1, "after": page["last_id"]})
    listed(world)
    world.http.get("/files")
    assert verdict.proofs("paging-stopped") == [[6]]


# retry-after-ignored


def test_retry_after_ignored(world: World, verdict: Judge) -> None:
    make(world)
    verdict.break_it({"error": "rate_limited", "retry_after": 300}, times=2)
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
def test_retry_after_in_all_its_forms(headers: dict[str, str], world: World, verdict: Judge) -> None:
    make(world)
    verdict.break_it({"status": 503, "headers": headers}, times=1)
    for _ in range(2):
        world.http.post("/files", files={"file": b"x"}, data={"purpose": "user_data"})
    assert verdict.names() == {"retry-after-ignored"}


def waits_as_sdks_do(world: World, verdict: Judge) -> None:
    verdict.break_it({"error": "rate_limited", "retry_after": 0.1}, times=2)
    began = stopwatch()
    client = world.openai.with_options(max_retries=2)
    assert client.containers.create(name="box").status == "running"
    assert stopwatch() - began >= 0.2


def waits_by_the_world_s_clock(world: World, verdict: Judge) -> None:
    world.freeze()
    verdict.break_it({"rate_limit": {"requests": 1, "per": "1m"}})
    for _ in range(2):
        answer = world.http.get("/containers?limit=1")
    world.advance(float(answer.headers["retry-after"]))
    assert world.http.get("/containers?limit=1").status_code == 200


def asks_for_something_else(world: World, verdict: Judge) -> None:
    verdict.break_it({"error": "rate_limited", "retry_after": 30}, times=1)
    world.http.get("/containers?limit=1")
    world.http.get("/containers?limit=2")
    world.http.post("/containers?limit=1", json={"name": "box"})


def is_told_to_retry_at_once(world: World, verdict: Judge) -> None:
    for advice in ({"retry-after": "0"}, {"retry-after": "soon"}, {"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}):
        effect = json.dumps({"status": 503, "headers": advice})
        for _ in range(2):
            world.http.get("/containers?limit=1", headers={"x-mock-fault": effect})


def uploads_something_else(world: World, verdict: Judge) -> None:
    verdict.break_it({"error": "rate_limited", "retry_after": 30}, times=1)
    for content in (b"one", b"another"):
        world.http.post("/files", files={"file": content}, data={"purpose": "user_data"})


@pytest.mark.parametrize(
    "client",
    [
        uploads_something_else,
        waits_as_sdks_do,
        waits_by_the_world_s_clock,
        asks_for_something_else,
        is_told_to_retry_at_once,
    ],
)
def test_retry_after_respected(client: Callable[..., None], world: World, verdict: Judge) -> None:
    make(world)
    client(world, verdict)
    assert verdict.names() == set()


# retried-what-cannot-be-retried


def test_retrying_what_is_refused_for_good(world: World, verdict: Judge) -> None:
    make(world)
    for _ in range(3):
        world.http.post("/containers", json={"name": ""})
    for _ in range(2):
        world.http.get("/nope")
    assert verdict.proofs("retried-what-cannot-be-retried") == [[2, 3, 4], [5, 6]]


def retries_a_404(world: World, verdict: Judge) -> None:
    for _ in range(2):
        world.http.get("/containers/cntr_1")


def retries_an_upload(world: World, verdict: Judge) -> None:
    for _ in range(2):
        world.http.post("/files", files={"file": b"x"}, data={"purpose": "nonsense"})


def retries_what_a_fault_refused(world: World, verdict: Judge) -> None:
    verdict.break_it({"error": "server_error", "status": 400}, times=1)
    for _ in range(2):
        world.http.get("/containers?limit=1")


def retries_against_advice(world: World, verdict: Judge) -> None:
    verdict.break_it({"status": 503, "headers": {"x-should-retry": "false"}}, times=1)
    for _ in range(2):
        world.http.get("/containers?limit=1")


@pytest.mark.parametrize(
    "client", [retries_a_404, retries_an_upload, retries_what_a_fault_refused, retries_against_advice]
)
def test_retries_that_are_in_vain(client: Callable[..., None], world: World, verdict: Judge) -> None:
    make(world)
    client(world, verdict)
    assert verdict.proofs("retried-what-cannot-be-retried") == [[2, 3]]
    assert verdict.names() == {"retried-what-cannot-be-retried"}


def retries_what_can_be(world: World, verdict: Judge) -> None:
    for status in (408, 409, 429, 500, 503):
        for _ in range(2):
            world.http.get(f"/containers?limit=1&x={status}", headers={"x-mock-fault": json.dumps({"status": status})})


def retries_on_advice(world: World, verdict: Judge) -> None:
    verdict.break_it({"status": 400, "headers": {"x-should-retry": "true"}}, times=2)
    assert len(world.openai.with_options(max_retries=2).containers.list(limit=1).data) == 1


def corrects_its_request(world: World, verdict: Judge) -> None:
    world.http.post("/containers", json={"name": ""})
    world.http.delete(f"/containers/{make(world, 'box')}")


def corrects_its_secret(world: World, verdict: Judge) -> None:
    for secret in ("", 7):
        policy = {"domain": "a.test", "name": "KEY", "value": secret}
        body = {"type": "allowlist", "allowed_domains": ["a.test"], "domain_secrets": [policy]}
        assert world.http.post("/containers", json={"name": "box", "network_policy": body}).status_code == 400


def looks_again_after_a_change(world: World, verdict: Judge) -> None:
    world.http.get("/containers/cntr_1")
    world.http.delete(f"/containers/{make(world)}")
    world.http.get("/containers/cntr_1")


def waits_until_it_is_there(world: World, verdict: Judge) -> None:
    staged = {"name": "auto", "id": "cntr_staged"}
    for _ in range(3):
        assert world.http.get("/containers/cntr_staged").status_code == 404
    assert verdict.client.post(f"{verdict.url}/containers", json=staged).status_code == 200
    assert world.http.get("/containers/cntr_staged").status_code == 200


def uploads_to_what_is_gone(world: World, verdict: Judge) -> None:
    """Refused unread, so nobody knows whether they were the same."""
    for content in (b"one", b"two"):
        assert world.http.post("/containers/cntr_1/files", files={"file": content}).status_code == 404


def deletes_twice(world: World, verdict: Judge) -> None:
    container = make(world)
    for status in (200, 404):
        assert world.http.delete(f"/containers/{container}").status_code == status


@pytest.mark.parametrize(
    "client",
    [
        retries_what_can_be,
        retries_on_advice,
        corrects_its_request,
        corrects_its_secret,
        looks_again_after_a_change,
        waits_until_it_is_there,
        uploads_to_what_is_gone,
        deletes_twice,
    ],
)
def test_retries_that_make_sense(client: Callable[..., None], world: World, verdict: Judge) -> None:
    make(world)
    client(world, verdict)
    assert verdict.names() == set()


# wrong-id-kind


def test_ids_of_the_wrong_kind(world: World, verdict: Judge) -> None:
    container = make(world)
    inside = upload(world, container, b"bytes")
    with pytest.raises(openai.NotFoundError):
        world.openai.files.content(inside)
    for path in (f"/files/{inside}", f"/files/{container}", f"/containers/{inside}", "/containers/file-1/files"):
        assert world.http.get(path).status_code == 404
    assert world.http.post("/containers", json={"name": "box", "file_ids": [inside]}).status_code == 400
    assert world.http.post(f"/containers/{container}/files", json={"file_id": container}).status_code == 404
    assert verdict.proofs("wrong-id-kind") == [[3, 4, 8], [5, 9], [6], [7]]
    messages = [each["message"] for each in verdict.findings() if each["name"] == "wrong-id-kind"]
    assert messages[0] == f"{inside} is the id of a container's file and was sent in place of that of a File"


def test_a_file_s_id_in_a_container_is_wrong_where_it_is_refused(live_world: World, world: World) -> None:
    for each, wrong in ((world, False), (live_world, True)):
        judge = Judge(each)
        with judge.client:
            file = add_file(each, b"bytes")
            container = make(each, file_ids=[file])
            each.http.get(f"/containers/{container}/files/{file}")
            assert judge.names() == ({"wrong-id-kind"} if wrong else set())


def test_ids_of_unknown_shape_are_not_judged(world: World, verdict: Judge) -> None:
    make(world)
    for path in ("/containers/container_abc", "/files/whatever", "/files/file-gone", f"/containers/{'x' * 200}"):
        assert world.http.get(path).status_code == 404
    world.http.get("/files/cfile_1", headers={"x-mock-fault": "file_not_found"})
    assert verdict.names() == set()


def test_ids_of_skills_of_the_wrong_kind(world: World, verdict: Judge) -> None:
    skill = world.openai.skills.create(files=folder())
    (version,) = world.openai.skills.versions.list(skill.id)
    assert world.http.get(f"/skills/{version.id}").status_code == 404
    assert world.http.get(f"/skills/{skill.id}/versions/{version.id}").status_code == 400
    assert world.http.get(f"/files/{skill.id}").status_code == 404
    body = {"name": "box", "skills": [{"type": "skill_reference", "skill_id": "cntr_1"}]}
    assert world.http.post("/containers", json=body).status_code == 400
    assert verdict.proofs("wrong-id-kind") == [[3], [4], [5], [6]]
    messages = [each["message"] for each in verdict.findings()]
    assert messages[1] == f"{version.id} is the id of a skill version and was sent in place of a version's number"


# deleted-skill-used


def test_a_skill_that_was_deleted_is_used(world: World, verdict: Judge) -> None:
    client = world.openai
    skill, other = client.skills.create(files=folder()), client.skills.create(files=folder())
    client.skills.versions.create(skill.id, files=folder(), default=True)
    client.skills.versions.delete("1", skill_id=skill.id)
    client.skills.delete(other.id)
    for named in ({"skill_id": skill.id, "version": "1"}, {"skill_id": other.id}):
        body = {"name": "box", "skills": [{"type": "skill_reference", **named}]}
        assert world.http.post("/containers", json=body).status_code == 400
    assert world.http.post(f"/skills/{skill.id}", json={"default_version": 1}).status_code == 404
    assert verdict.proofs("deleted-skill-used") == [[4, 6], [5, 7], [4, 8]]
    message = verdict.findings()[0]["message"]
    assert message.startswith(f"version 1 of {skill.id} was named by POST ")


def test_a_deleted_skill_may_be_looked_for(world: World, verdict: Judge) -> None:
    client = world.openai
    skill = client.skills.create(files=folder())
    client.skills.versions.create(skill.id, files=folder(), default=True)
    client.skills.versions.delete("1", skill_id=skill.id)
    for path in (f"/skills/{skill.id}/versions/1", f"/skills/{skill.id}/versions/1/content"):
        assert world.http.get(path).status_code == 404
    make(world, skills=[{"type": "skill_reference", "skill_id": skill.id}])
    body = {"name": "box", "skills": [{"type": "skill_reference", "skill_id": "skill_other"}]}
    assert world.http.post("/containers", json=body).status_code == 400
    assert verdict.names() == set()


def test_a_version_that_was_found_ends_the_search(world: World, verdict: Judge) -> None:
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


def test_the_same_bytes_again_and_again(world: World, verdict: Judge) -> None:
    container = make(world)
    for number in range(4):
        upload(world, container, b"bytes", f"{number}.txt")
        add_file(world, b"bytes")
    findings = [each for each in verdict.findings() if each["name"] == "same-bytes-uploaded-again"]
    assert [each["exchanges"] for each in findings] == [[2, 4, 6, 8], [3, 5, 7, 9]]
    assert findings[0]["message"] == f"the same bytes were uploaded 4 times to {container}"
    assert findings[1]["message"] == "the same bytes were uploaded 4 times to the Files API"


def uploads_different_bytes(world: World) -> None:
    container = make(world)
    for number in range(5):
        upload(world, container, b"bytes %d" % number)


def uploads_to_different_places(world: World) -> None:
    for purpose in ("user_data", "assistants", "vision"):
        add_file(world, b"bytes", purpose)
        upload(world, make(world), b"bytes")


def uploads_empty_files(world: World) -> None:
    container = make(world)
    for number in range(5):
        upload(world, container, b"", f"{number}/__init__.py")


def retries_its_upload(world: World) -> None:
    container = make(world)
    for _ in range(4):
        effect = {"x-mock-fault": "server_error"}
        world.http.post(f"/containers/{container}/files", files={"file": b"bytes"}, headers=effect)
    upload(world, container, b"bytes")


def cleans_up_each_time(world: World) -> None:
    container = make(world)
    for _ in range(4):
        inside = upload(world, container, b"bytes")
        world.http.delete(f"/containers/{container}/files/{inside}")
        world.http.delete(f"/files/{add_file(world, b'bytes')}")


def uploads_again_when_expired(world: World) -> None:
    world.freeze()
    fields = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    for _ in range(4):
        assert world.http.post("/files", files={"file": b"bytes"}, data=fields).status_code == 200
        world.advance(3_600)


def copies_a_file(world: World) -> None:
    file = add_file(world, b"bytes")
    container = make(world)
    for _ in range(4):
        assert world.http.post(f"/containers/{container}/files", json={"file_id": file}).status_code == 200


@pytest.mark.parametrize(
    "client",
    [
        uploads_different_bytes,
        uploads_to_different_places,
        uploads_empty_files,
        retries_its_upload,
        cleans_up_each_time,
        uploads_again_when_expired,
        copies_a_file,
    ],
)
def test_uploads_that_are_needed(client: Callable[..., None], world: World, verdict: Judge) -> None:
    client(world)
    assert verdict.names() == set()


# error-body-as-content


@pytest.fixture
def holding(world: World) -> tuple[str, str]:
    """A container and a file in it."""
    container = make(world)
    return container, upload(world, container, b"bytes")


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_an_error_that_was_written_to_a_file(
    ending: bytes, world: World, holding: tuple[str, str], verdict: Judge
) -> None:
    container, _ = holding
    body = world.http.get(f"/containers/{container}/files/cfile_gone/content").content
    upload(world, container, body.rstrip() if ending else body)
    (finding,) = verdict.findings(ignore="container-never-deleted")
    assert (finding["name"], finding["exchanges"]) == ("error-body-as-content", [3, 4])


def test_the_error_of_a_fault_that_was_written_to_a_file(
    world: World, holding: tuple[str, str], verdict: Judge
) -> None:
    path = "/containers/{}/files/{}/content".format(*holding)
    body = world.http.get(path, headers={"x-mock-fault": "container_file_not_found"}).content
    add_file(world, body)
    assert verdict.proofs("error-body-as-content") == [[3, 4]]


def a_listing_said_so(world: World, container: str, file: str) -> None:
    assert world.http.get(f"/containers/{container}/files").json()["data"] == []


def retrieving_it_said_so(world: World, container: str, file: str) -> None:
    assert world.http.get(f"/containers/{container}/files/{file}").status_code == 404


@pytest.mark.parametrize("told", [a_listing_said_so, retrieving_it_said_so])
def test_content_of_what_is_known_to_be_gone(
    told: Callable[..., None], world: World, holding: tuple[str, str], verdict: Judge
) -> None:
    container, file = holding
    assert verdict.client.delete(f"{verdict.url}/containers/{container}/files/{file}").status_code == 200
    told(world, container, file)
    assert world.http.get(f"/containers/{container}/files/{file}/content").status_code == 404
    assert verdict.proofs("error-body-as-content") == [[3, 4]]
    assert verdict.names() == {"error-body-as-content"}


def test_content_of_a_file_that_is_known_to_be_gone(world: World, verdict: Judge) -> None:
    file = add_file(world, b"bytes", "vision")
    world.http.delete(f"/files/{file}")
    world.http.get("/files")
    world.http.get(f"/files/{file}/content")
    assert verdict.proofs("error-body-as-content") == [[3, 4]]


def was_deleted_unnoticed(world: World, container: str, file: str) -> None:
    world.http.get(f"/containers/{container}/files")
    world.http.delete(f"/containers/{container}/files/{file}")


def was_never_listed(world: World, container: str, file: str) -> None:
    world.http.delete(f"/containers/{container}/files/{file}")
    world.http.get("/containers?limit=1")


def the_listing_lags(world: World, container: str, file: str) -> None:
    world.http.delete(f"/containers/{container}/files/{file}")
    stale = {"x-mock-fault": '{"stale_list": "1h"}'}
    assert len(world.http.get(f"/containers/{container}/files", headers=stale).json()["data"]) == 1


@pytest.mark.parametrize("happens", [was_deleted_unnoticed, was_never_listed, the_listing_lags])
def test_content_of_what_is_not_known_to_be_gone(
    happens: Callable[..., None], world: World, holding: tuple[str, str], verdict: Judge
) -> None:
    container, file = holding
    happens(world, container, file)
    assert world.http.get(f"/containers/{container}/files/{file}/content").status_code == 404
    assert verdict.names() == set()


def test_what_came_after_the_notice_counts(world: World, holding: tuple[str, str], verdict: Judge) -> None:
    container, _ = holding
    world.http.get(f"/containers/{container}/files")
    staged = {"path": "report.pdf", "source": "assistant"}
    placed = verdict.client.post(f"{verdict.url}/containers/{container}/files", files={"file": b"x"}, data=staged)
    content = f"/containers/{container}/files/{placed.json()['id']}/content"
    assert world.http.get(content).content == b"x"
    assert world.http.head(f"/containers/{container}/files/cfile_1/content").status_code == 404
    assert verdict.names() == set()


# The whole


def test_a_long_journal_is_judged() -> None:
    """Whatever a client does, its verdict is a matter of a second; where one exchange were held against all
    others, of minutes."""
    journal = Journal(10_000, 1 << 30, Events())
    log = journal.open("w")
    retry, page = (b"retry-after", b"9"), b'{"data": [{"id": "cfile_%d"}], "has_more": true}'
    for number in range(10_000):
        operation, route, status, headers, response, shown = (
            ("RetrieveContainerFileContent", f"/containers/c/files/cfile_{number}/content", 404, [], b"{}", None),
            ("ListContainerFiles", "/containers/c/files", 200, [], page % number, (True, "a", "b")),
            ("RetrieveContainer", "/containers/cntr_1", 429, [retry], b"{}", None),
            ("RetrieveContainerFile", "/containers/c/files/cfile_1", 404, [], b"{}", None),
        )[number % 4]
        record(
            log,
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
    assert len(entries) == 10_000
    assert {name for name, _, _ in check(entries, running=set())} >= {"retry-after-ignored", "paging-stopped"}


# upload-left-pending


def upload_in_parts(world: World, *parts: bytes) -> tuple[str, list[str]]:
    new = {"bytes": 5, "filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain"}
    id = world.http.post("/uploads", json=new).json()["id"]
    sent = [world.http.post(f"/uploads/{id}/parts", files={"data": part}).json()["id"] for part in parts]
    return id, sent


def test_uploads_that_stay(world: World, verdict: Judge) -> None:
    ids = [upload_in_parts(world, b"bytes")[0] for _ in range(2)]
    world.http.post(f"/uploads/{ids[0]}/complete", json={"part_ids": []})
    (finding,) = [each for each in verdict.findings() if each["name"] == "upload-left-pending"]
    assert finding["exchanges"] == [1, 3]
    assert finding["message"] == f"2 uploads were created and neither completed nor cancelled: {', '.join(ids)}"


def upload_expires(world: World, verdict: Judge) -> None:
    world.freeze()
    upload_in_parts(world)
    world.advance(60 * MINUTES)


def upload_is_removed_by_the_test(world: World, verdict: Judge) -> None:
    assert verdict.client.delete(f"{verdict.url}/uploads/{upload_in_parts(world)[0]}").status_code == 200


def upload_was_to_be_cancelled(world: World, verdict: Judge) -> None:
    verdict.break_it({"error": "server_error"}, match={"operation": "CancelUpload"})
    assert world.http.post(f"/uploads/{upload_in_parts(world)[0]}/cancel").status_code == 500


@pytest.mark.parametrize("happens", [upload_expires, upload_is_removed_by_the_test, upload_was_to_be_cancelled])
def test_uploads_that_need_no_end(happens: Callable[..., None], world: World, verdict: Judge) -> None:
    happens(world, verdict)
    assert verdict.names() == set()


# parts-dont-add-up


def test_parts_that_dont_add_up(world: World, verdict: Judge) -> None:
    id, parts = upload_in_parts(world, b"byte")
    world.http.post(f"/uploads/{id}/complete", json={"part_ids": parts})
    last = world.http.post(f"/uploads/{id}/parts", files={"data": b"s"}).json()["id"]
    world.http.post(f"/uploads/{id}/complete", json={"part_ids": [*parts, last], "md5": "0"})
    assert world.http.post(f"/uploads/{id}/complete", json={"part_ids": [*parts, last]}).status_code == 200
    assert verdict.proofs("parts-dont-add-up") == [[3], [5]]


def test_completing_what_has_ended_or_is_made_to_fail_is_no_finding(world: World, verdict: Judge) -> None:
    id, parts = upload_in_parts(world, b"bytes")
    verdict.break_it({"error": "wrong_md5"}, match={"operation": "CompleteUpload"}, times=1)
    for status in (400, 200, 400):
        assert world.http.post(f"/uploads/{id}/complete", json={"part_ids": parts}).status_code == status
    assert verdict.proofs("parts-dont-add-up") == []


def test_ids_of_uploads_that_were_taken_for_others(world: World, verdict: Judge) -> None:
    id, _ = upload_in_parts(world, b"bytes")
    world.http.get(f"/files/{id}")
    world.http.post("/uploads/file-1/cancel")
    world.http.post(f"/uploads/{id}/complete", json={"part_ids": [id]})
    messages = [each["message"] for each in verdict.findings() if each["name"] == "wrong-id-kind"]
    assert messages == [
        f"{id} is the id of an upload and was sent in place of that of a File",
        "file-1 is the id of a File and was sent in place of that of an upload",
        f"{id} is the id of an upload and was sent in place of that of a part of an upload",
    ]


def test_every_finding_has_its_tests() -> None:
    source = Path(__file__).read_text()
    for name in FINDINGS:
        assert f"# {name}\n" in source


# Responses

CODE: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]


def script(world: World, *rules: dict[str, Any]) -> None:
    ok(world.http.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=list(rules)))


def run(world: World, given: Any, status: int = 200, **more: Any) -> dict[str, Any]:
    answer = world.http.post("/responses", json={"model": "m", "input": given, **more})
    assert answer.status_code == status, answer.text
    return dict(answer.json()) if not more.get("stream") else {}


def finding(verdict: Judge, name: str) -> list[list[int]]:
    """The proofs of a finding, and no other finding of a response."""
    found = {each["name"] for each in verdict.findings()} & {*list(FINDINGS)[-7:]}
    assert found <= {name}
    return verdict.proofs(name)


# answer-unused


def test_answers_that_are_never_used(world: World, verdict: Judge) -> None:
    script(world, {"id": "never", "when": "elephants", "say": "x"}, {"id": "used", "times": 1, "say": "y"})
    assert verdict.findings() == []
    run(world, "hello")
    assert finding(verdict, "answer-unused") == [[1]]
    run(world, "elephants")
    assert verdict.findings() == []


# answer-unexpected


def test_a_run_that_no_answer_fits(world: World, verdict: Judge) -> None:
    run(world, "before there were answers")
    script(world, {"when": "one", "say": "x"})
    run(world, "two, perhaps before there were answers")
    run(world, "one")
    assert verdict.findings() == []
    run(world, "two")
    assert finding(verdict, "answer-unexpected") == [[4]]
    run(world, "one", 404, tools=[{"type": "code_interpreter", "container": "cntr_none"}])
    switches = {"switches": {"unscripted": "refuse"}}
    assert verdict.client.put(f"{verdict.url}/profile", json=switches).status_code == 200
    run(world, "three", 400)
    assert finding(verdict, "answer-unexpected") == [[4, 6]]


# citation-not-downloaded


@pytest.mark.parametrize("how", ["json", "stream", "background"])
def test_citations_that_are_not_downloaded(world: World, verdict: Judge, how: str) -> None:
    world.freeze()
    given = run(world, "write a.csv and b.csv " + "long " * 2_000, tools=CODE, **({} if how == "json" else {how: True}))
    exchange = 1
    if how == "background":
        assert verdict.proofs("citation-not-downloaded") == []
        world.advance(10)
        world.http.get(f"/responses/{given['id']}")
        exchange = 2
    assert finding(verdict, "citation-not-downloaded") == [[exchange]]
    container = world.http.get("/containers").json()["data"][0]["id"]
    file = world.http.get(f"/containers/{container}/files").json()["data"][0]["id"]
    world.http.get(f"/containers/{container}/files/{file}/content")
    assert finding(verdict, "citation-not-downloaded") == []


# cfile-in-files-api


def test_a_cited_file_in_the_files_api(world: World, verdict: Judge) -> None:
    message = run(world, "write a.csv", tools=CODE)["output"][-1]
    (cited,) = message["content"][0]["annotations"]
    world.http.get(f"/containers/{cited['container_id']}/files/{cited['file_id']}/content")
    assert verdict.findings() == []
    world.http.get(f"/files/{cited['file_id']}/content")
    assert finding(verdict, "cfile-in-files-api") == [[1, 3]]
    assert "wrong-id-kind" not in verdict.names()


# container-recreated-each-turn


@pytest.mark.parametrize("right", [None, "chain", "replayed", "late"])
def test_a_container_for_each_turn(world: World, verdict: Judge, right: str | None) -> None:
    """Only the texts are repeated, and nothing names the container."""
    world.freeze()
    script(world, {"code": "x = 1", "say": "done"})
    first = run(world, "count", tools=CODE)
    run(world, "count", tools=CODE)  # another conversation that begins in the same way
    call = first["output"][:1] if right == "replayed" else []
    more = {"previous_response_id": first["id"]} if right == "chain" else {}
    if right == "late":
        world.advance(21 * MINUTES)
    asked = [{"role": "user", "content": "count"}, *call, {"role": "assistant", "content": "done"}]
    run(world, [*asked, {"role": "user", "content": "again"}], tools=CODE, **more)
    assert finding(verdict, "container-recreated-each-turn") == ([] if right else [[2, 3]])


# failed-response-continued


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_response_that_is_continued(world: World, verdict: Judge, stream: bool) -> None:
    fails = {"when": "fail", "steps": [{"say": "So far."}, {"fail": "server_error"}]}
    ends = {"when": "long", "steps": [{"say": "So far."}, {"fail": {"incomplete": "max_output_tokens"}}]}
    script(world, fails, ends, {"say": "ok"})
    begun = run(world, "one")["id"]
    failed = world.http.post("/responses", json={"model": "m", "input": "fail", "stream": stream}).text
    id = re.findall(r"resp_\w+", failed)[0]
    incomplete = run(world, "long")["id"]
    for innocent in (begun, incomplete):
        run(world, "go on", previous_response_id=innocent)
    assert finding(verdict, "failed-response-continued") == []
    for _ in range(2):
        run(world, "go on", previous_response_id=id)
    assert finding(verdict, "failed-response-continued") == [[2, 6, 7]]


# expired-chain-retried


def test_an_expired_chain_that_is_continued_again(world: World, verdict: Judge) -> None:
    world.freeze()
    script(world, {"code": "x = 1", "say": "done"})
    first = run(world, "one", tools=CODE)["id"]
    world.advance(21 * MINUTES)
    run(world, "two", 400, tools=CODE, previous_response_id=first)
    assert verdict.proofs("expired-chain-retried") == []
    run(world, "two, please", 400, tools=CODE, previous_response_id=first)
    assert finding(verdict, "expired-chain-retried") == [[2, 3]]
