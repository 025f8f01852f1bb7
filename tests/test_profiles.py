"""Profiles: the effect of each switch, the switches of each profile, and the ways to set them.

`OBSERVATIONS` maps each switch to a function that observes its effect, and to the expected result at each value.
"""

import base64
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import httpx2
import openai
import pytest
from click.testing import CliRunner
from conftest import NOON, World, new_world, ok, stored
from skill_bundles import DESCRIPTION, NAME, zipped

from mockserver import profiles
from mockserver.cli import main
from mockserver.errors import Grade
from mockserver.mock import Mock
from mockserver.profiles import MAX_MINUTES, PROFILES, SWITCHES, Profile
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.testing import MockError, Server

MINUTE = 60
WEEK = {"anchor": "created_at", "days": 7}


def with_profile(world: World, profile: str | dict[str, Any]) -> World:
    """Set the profile of a world and return the world."""
    world.server.run(world.server.mock.worlds.set_profile(world.name, profiles.read(profile)))
    return world


def create_container(world: World, **fields: Any) -> Any:
    return ok(world.http.post("/containers", json={"name": "box", **fields}))


def upload_file(world: World, purpose: str = "user_data") -> str:
    return str(ok(world.http.post("/files", files={"file": ("a.txt", b"abc")}, data={"purpose": purpose}))["id"])


def add_file(world: World, box: str, **form: Any) -> Any:
    return ok(world.http.post(f"/containers/{box}/files", **(form or {"files": {"file": ("b.txt", b"bcd")}})))


def list_ids(world: World, path: str = "/containers", **query: Any) -> list[str]:
    return [each["id"] for each in ok(world.http.get(path, params=query))["data"]]


def outcome(response: httpx2.Response) -> tuple[Any, ...]:
    """Return the status of a response, the code of its error or None, and the codes of its warnings."""
    warnings = [each.partition(":")[0] for each in response.headers.get_list("x-mock-warning")]
    failed = response.status_code >= 400
    return (response.status_code, response.json()["error"]["code"] if failed else None, *warnings)


# Effects of the switches

Observe = Callable[[World], object]


def _requests_without_v1(world: World) -> object:
    base_url = f"{world.server.url}/w/{world.name}"
    return [outcome(world.http.get(f"{base_url}{path}")) for path in ("/containers", "/files")]


def _expiry_of_61_minutes(world: World) -> object:
    rule = {"anchor": "last_active_at", "minutes": 61}
    return outcome(world.http.post("/containers", json={"name": "box", "expires_after": rule}))


def _expiry_counted_from_creation(world: World) -> object:
    return outcome(world.http.post("/containers", json={"name": "box", "expires_after": WEEK}))


def _container_file_by_file_id(world: World) -> object:
    file = upload_file(world)
    box = create_container(world, file_ids=[file])["id"]
    return outcome(world.http.get(f"/containers/{box}/files/{file}"))


def _page_before_the_oldest(world: World) -> object:
    first, second, _ = (create_container(world)["id"] for _ in range(3))
    response = world.http.get("/containers", params={"before": first, "limit": 1})
    return [each["id"] == second for each in ok(response)["data"]], *outcome(response)


def _container_after_a_year(world: World) -> object:
    box = create_container(world)
    world.advance(366 * 86_400)
    return "expires_after" in box, ok(world.http.get(f"/containers/{box['id']}"))["status"]


def _older_fields(world: World) -> object:
    file = upload_file(world)
    box = create_container(world, file_ids=[file])
    add_file(world, box["id"])
    known = {NOON + 20 * MINUTE: "in 20 minutes"}
    containers = [ok(world.http.get("/containers"))["data"][0], ok(world.http.get(f"/containers/{box['id']}")), box]
    files = ok(world.http.get(f"/containers/{box['id']}/files"))["data"]
    files.append(ok(world.http.get(f"/containers/{box['id']}/files/{files[1]['id']}")))
    return (
        [(known.get(each.get("expires_at")), each.get("file_count")) for each in containers],
        ["file id" if each.get("file_id", "") == file else each.get("file_id", "no key") for each in files],
    )


def _statuses(world: World) -> object:
    box = create_container(world)
    statuses = [box["status"], ok(world.http.get("/containers"))["data"][0]["status"]]
    world.advance(20 * MINUTE)
    return *statuses, ok(world.http.get(f"/containers/{box['id']}"))["status"]


def _file_routes_of_an_expired_container(world: World) -> object:
    box = create_container(world)["id"]
    file = add_file(world, box)["id"]
    world.advance(20 * MINUTE)
    files = f"/containers/{box}/files"
    responses = [
        world.http.get(files),
        world.http.post(files, files={"file": ("late.txt", b"late")}),
        world.http.get(f"{files}/{file}"),
        world.http.get(f"{files}/{file}/content"),
        world.http.delete(f"{files}/{file}"),
    ]
    return {(outcome(each), each.json()["error"]["message"]) for each in responses}


def _use_of_an_expired_container(world: World) -> object:
    box = create_container(world, memory_limit="4g")["id"]
    add_file(world, box)
    world.advance(20 * MINUTE)
    response = world.http.get(f"/containers/{box}/files")
    if response.status_code != 200:
        return outcome(response)
    assert ok(response)["data"] == []
    new = add_file(world, box)["container_id"]
    assert new != box
    assert list_ids(world) == [new, box], "the replacement is listed, and there is only one"
    old, replaced = (ok(world.http.get(f"/containers/{id}")) for id in (box, new))
    assert (old["status"], replaced["status"], replaced["memory_limit"]) == ("expired", "running", "4g")
    assert list_ids(world, f"/containers/{box}/files") == list_ids(world, f"/containers/{new}/files") != []
    world.advance(20 * MINUTE)
    third = add_file(world, box)["container_id"]
    assert third not in (box, new), "the replacement expired and is replaced, too"
    assert add_file(world, new)["container_id"] == third
    ok(world.http.delete(f"/containers/{third}"))
    assert add_file(world, box)["container_id"] not in (box, new, third)
    return outcome(response)


def _list_after_expiry(world: World) -> object:
    create_container(world, expires_after={"anchor": "last_active_at", "minutes": 1})
    other = create_container(world)["id"]
    world.advance(MINUTE)
    page = ok(world.http.get("/containers", params={"limit": 1}))
    listed = list_ids(world)
    assert listed[0] == other
    return len(listed), page["has_more"]


def _status_after_listing(world: World) -> object:
    box = create_container(world)["id"]
    old = create_container(world, expires_after={"anchor": "last_active_at", "minutes": 1})["id"]
    world.advance(19 * MINUTE)
    list_ids(world)
    world.advance(19 * MINUTE)
    assert ok(world.http.get(f"/containers/{old}"))["status"] == "expired", "a list revives no expired container"
    return ok(world.http.get(f"/containers/{box}"))["status"]


def _lists_after_creation(world: World) -> object:
    file = upload_file(world)
    box = create_container(world)["id"]
    add_file(world, box)
    assert list_ids(world, "/files") == [file], "the lag does not apply to Files"
    assert len(list_ids(world, f"/containers/{box}/files")) == 1
    seen = []
    for _ in range(3):
        seen.append(box in list_ids(world))
        assert ok(world.http.get(f"/containers/{box}"))["id"] == box
        world.advance(150)
    return seen


def _file_sent_as_text(world: World) -> object:
    """The official command line client sends files as text in JSON."""
    response = world.http.post(f"/containers/{create_container(world)['id']}/files", json={"file": "héllo\n"})
    if response.status_code == 200:
        path = f"/containers/{response.json()['container_id']}/files/{response.json()['id']}/content"
        assert world.http.get(path).content == "héllo\n".encode()
    return outcome(response)


def _lists_after_deletion(world: World) -> object:
    box, file = create_container(world)["id"], upload_file(world)
    other = create_container(world)["id"]
    container_file = add_file(world, other)["id"]
    paths = [f"/containers/{box}", f"/files/{file}", f"/containers/{other}/files/{container_file}"]
    lists = ["/containers", "/files", f"/containers/{other}/files"]
    for path in paths:
        ok(world.http.delete(path))
        assert world.http.get(path).status_code == 404
    seen = []
    for _ in range(3):
        seen.append([id in list_ids(world, path) for id, path in zip((box, file, container_file), lists, strict=True)])
        world.advance(150)
    return seen


def _ids_without_a_prefix(world: World) -> object:
    box = create_container(world)["id"]
    paths = ["/containers/x", f"/containers/{box}/files/x", "/files/x", "/containers/x/files"]
    known = ["/containers/cntr_x", f"/containers/{box}/files/cfile_x", "/files/file-x"]
    assert {world.http.get(path).status_code for path in known} == {404}
    return [(outcome(each), each.json()["error"]["param"]) for each in map(world.http.get, paths)]


def _unknown_keys(world: World) -> object:
    box = create_container(world)["id"]
    allowed = {"type": "allowlist", "allowed_domains": ["example.com"], "allowlist": 1}
    skills = [{"type": "skill_reference", "skill_id": "openai-spreadsheets", "inline": {"skill_reference": 1}}]
    bodies = [
        {"name": "box", "foo": 1, "expires_after": {"anchor": "last_active_at", "minutes": 5, "foo": {"a": 1}}},
        {"name": "box", "network_policy": allowed, "skills": skills},
    ]
    responses = [world.http.post("/containers", json=body) for body in bodies]
    file = {"file": ("a.txt", b"a")}
    responses.append(world.http.post(f"/containers/{box}/files", files=file, data={"foo": "1"}))
    responses.append(world.http.post("/files", files=file, data={"foo": "1", "purpose": "vision"}))
    invalid = world.http.post("/containers", json={"name": 1, "foo": 1})
    assert invalid.status_code == 400, "other errors are still reported"
    return [outcome(each) for each in responses]


def _azure_requests_without_api_version(world: World) -> object:
    url = world.base_url.removesuffix("/v1") + "/openai/containers"
    responses = [world.http.get(url, params=query) for query in ({}, {"api-version": "2025-04-01-preview"})]
    return [(each.status_code, "x-mock-warning" in each.headers) for each in responses]


def _litellm_keys(world: World) -> object:
    box = create_container(world)["id"]
    keys = {"custom_llm_provider": "openai", "model": "any"}
    responses = [
        world.http.post("/containers", json={"name": "box", **keys}),
        world.http.post(f"/containers/{box}/files", files={"file": ("a.txt", b"a")}, data=keys),
    ]
    return [outcome(each) for each in responses]


def _private_downloads(world: World) -> object:
    return [
        outcome(world.http.get(f"/files/{upload_file(world, purpose)}/content"))
        for purpose in ("user_data", "assistants")
    ]


def _unknown_ids(world: World) -> object:
    box = create_container(world)["id"]
    create = world.http.post("/containers", json={"name": "box", "file_ids": ["string"]})
    paths = [
        "/containers/container_id",
        "/containers/other/files",
        f"/containers/{box}/files/file_id",
        "/files/file_id",
    ]
    return [outcome(create), *(outcome(world.http.get(path)) for path in paths)]


def _unknown_cursors(world: World) -> object:
    box = create_container(world)["id"]
    add_file(world, box)
    upload_file(world)
    paths = ["/containers", f"/containers/{box}/files", "/files"]
    return [outcome(world.http.get(path, params={"after": "after"})) for path in paths]


def _zeros(world: World) -> object:
    create_container(world)
    responses = [world.http.get(path, params={"limit": 0}) for path in ("/containers", "/files")]
    for minutes in ({"minutes": 0}, {"days": 0}):
        rule = {"anchor": "last_active_at", **minutes}
        responses.append(world.http.post("/containers", json={"name": "box", "expires_after": rule}))
    return [outcome(each) for each in responses], responses[0].json().get("data")


def _both_or_no_file_parameters(world: World) -> object:
    box, file = create_container(world)["id"], upload_file(world)
    url, upload = f"/containers/{box}/files", {"file": ("b.txt", b"bcd")}
    responses = [
        world.http.post(url, json={}),
        world.http.post(url, files=upload, data={"file_id": file}),
        world.http.post(url, headers={"Content-Type": "multipart/form-data; boundary=x"}, content=b"--x--\r\n"),
    ]
    return [outcome(each) for each in responses]


def _wrong_md5(world: World) -> object:
    body = {"bytes": 0, "filename": "a.txt", "purpose": "vision", "mime_type": "text/plain"}
    upload = ok(world.http.post("/uploads", json=body))["id"]
    return outcome(world.http.post(f"/uploads/{upload}/complete", json={"part_ids": [], "md5": "md5"}))


def _lists_after_skill_creation(world: World) -> object:
    skill = ok(world.http.post("/skills", files=SKILL))["id"]
    seen = []
    for _ in range(3):
        seen.append((list_ids(world, "/skills"), list_ids(world, f"/skills/{skill}/versions")) != ([], []))
        world.advance(1)
    return seen


def _malformed_skill_cursor(world: World) -> object:
    return [world.http.get("/skills", params={"after": after}).status_code for after in ("x", "skill_x")]


def _inline_skill_with_folded_description(world: World) -> object:
    content = zipped({"m/SKILL.md": f"---\nname: {NAME}\ndescription: >-\n  Add or\n  multiply numbers.\n---\n"})
    source = {"type": "base64", "media_type": "application/zip", "data": base64.b64encode(content).decode()}
    skill = {"type": "inline", "name": NAME, "description": DESCRIPTION, "source": source}
    return outcome(world.http.post("/containers", json={"name": "box", "skills": [skill]}))


def _incomplete_runs(world: World) -> object:
    run = ok(world.http.post("/responses", json={"model": "m", "input": "x"}))["id"]
    responses = [
        world.http.post("/responses", json={"input": "x"}),
        world.http.post("/responses", json={"model": "m"}),
        world.http.post("/responses", json={"model": "m", "previous_response_id": run, "conversation": "conv_x"}),
        world.http.post(f"/responses/{run}/cancel"),
    ]
    stream = world.http.get(f"/responses/{run}?stream=true")
    return [outcome(each) for each in responses], stream.status_code


def _incomplete_skills(world: World) -> object:
    created = world.http.post("/skills", files=SKILL).json()["id"]
    responses = [
        world.http.post("/skills", files={"files": b"Example data"}),
        world.http.post("/skills", json={}),
        world.http.post(f"/skills/{created}/versions", json={"default": True}),
    ]
    return [outcome(each) for each in responses]


SKILL = {"files": ("m.zip", zipped())}


# Effects on runs of `/responses`

AUTO = [{"type": "code_interpreter", "container": {"type": "auto"}}]


def _add_answer(world: World, **rule: Any) -> None:
    ok(world.http.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=rule))


def _create_response(world: World, **fields: Any) -> httpx2.Response:
    return world.http.post("/responses", json={"model": "m", "input": "create a.csv", "tools": AUTO, **fields})


def _unscripted_response(world: World) -> object:
    response = _create_response(world)
    return [item["type"] for item in response.json()["output"]] if response.status_code == 200 else outcome(response)


def _response_after_its_container_expired(world: World) -> object:
    first = ok(_create_response(world))["id"]
    world.advance(21 * 60)
    return outcome(_create_response(world, previous_response_id=first))


def _containers_without_a_call(world: World) -> object:
    _add_answer(world, say="no call")
    ok(_create_response(world))
    return len(list_ids(world, "/containers"))


def _keys_of_an_error_event(world: World) -> object:
    _add_answer(world, steps=[{"say": "x"}, {"fail": "server_error"}])
    data = _create_response(world, stream=True).text.split("event: error\ndata: ")[1].split("\n")[0]
    return sorted(json.loads(data))


def _background_outputs(world: World) -> object:
    _add_answer(world, code="1", logs="1\n")
    id = ok(_create_response(world, background=True, include=["code_interpreter_call.outputs"]))["id"]
    world.advance(10)
    return ok(world.http.get(f"/responses/{id}"))["output"][0]["outputs"]


def _stream_after_six_minutes(world: World) -> object:
    _add_answer(world, say="x")
    with world.http.stream(
        "POST", "/responses", json={"model": "m", "input": "x", "background": True, "stream": True}
    ) as stream:
        parts = stream.iter_text()
        id = json.loads(next(parts).split("\n")[1].removeprefix("data: "))["response"]["id"]
        world.advance(6 * 60)
        list(parts)
    return world.http.get(f"/responses/{id}?stream=true").status_code


def _step_longer_than_the_container_lifetime(world: World) -> object:
    _add_answer(world, code="1", takes="21m")
    return ok(_create_response(world))["status"]


OBSERVATIONS: dict[str, tuple[Observe, dict[Any, object]]] = {
    "max_minutes": (
        _expiry_of_61_minutes,
        {
            20: (400, "integer_above_max_value"),
            60: (400, "integer_above_max_value"),
            61: (200, None, "minutes-beyond-limit"),
        },
    ),
    "created_at_expiry": (
        _expiry_counted_from_creation,
        {True: (200, None, "created-at-expiry"), False: (400, "invalid_value")},
    ),
    "file_id_alias": (_container_file_by_file_id, {True: (200, None, "file-id-alias"), False: (404, None)}),
    "before_cursor": (
        _page_before_the_oldest,
        {True: ([True], 200, None, "before-cursor"), False: ([False], 200, None)},
    ),
    "expiry_unasked": (_container_after_a_year, {True: (True, "expired"), False: (False, "running")}),
    "older_fields": (
        _older_fields,
        {
            True: ([("in 20 minutes", 2)] * 2 + [("in 20 minutes", 1)], ["no key", "file id", "file id"]),
            False: ([(None, None)] * 3, ["no key"] * 3),
        },
    ),
    "running_status": (
        _statuses,
        {"running": ("running", "running", "expired"), "active": ("active", "active", "expired")},
    ),
    "azure_any_version": (
        _azure_requests_without_api_version,
        {True: [(200, True), (200, False)], False: [(404, False), (200, False)]},
    ),
    "litellm_keys": (
        _litellm_keys,
        {True: [(200, None, "litellm-keys")] * 2, False: [(400, "unknown_parameter")] * 2},
    ),
    "text_as_file": (
        _file_sent_as_text,
        {True: (200, None, "text-as-file"), False: (400, "unknown_parameter")},
    ),
    "file_routes_when_expired": (
        _file_routes_of_an_expired_container,
        {status: {((status, None), "Container is expired.")} for status in (400, 404, 410)},
    ),
    "expired_replaced": (_use_of_an_expired_container, {True: (200, None, "expired-replaced"), False: (404, None)}),
    "expired_listed": (_list_after_expiry, {True: (2, True), False: (1, False)}),
    "listing_prolongs": (_status_after_listing, {True: "running", False: "expired"}),
    "delete_lag": (
        _lists_after_deletion,
        {
            0: [[False] * 3, [False] * 3, [False] * 3],
            "299s": [[True] * 3, [True] * 3, [False] * 3],
            301: [[True] * 3] * 3,
        },
    ),
    "create_lag": (
        _lists_after_creation,
        {0: [True] * 3, "299s": [False, False, True], 301: [False] * 3},
    ),
    "id_prefixes": (
        _ids_without_a_prefix,
        {
            True: [((400, "invalid_value"), name) for name in ("container_id", "file_id", "file_id", "container_id")],
            False: [((404, None), None), ((404, None), None), ((404, None), "id"), ((404, None), None)],
        },
    ),
    "unknown_keys": (
        _unknown_keys,
        {True: [(200, None, "unknown-key")] * 4, False: [(400, "unknown_parameter")] * 3 + [(400, None)]},
    ),
    "private_downloads": (
        _private_downloads,
        {True: [(200, None, "private-download")] * 2, False: [(400, None)] * 2},
    ),
    "any_id": (_unknown_ids, {True: [(200, None, "any-id")] * 5, False: [(400, None), *[(404, None)] * 4]}),
    "any_cursor": (_unknown_cursors, {True: [(200, None, "any-cursor")] * 3, False: [(400, "invalid_value")] * 3}),
    "new_skill_lag": (
        _lists_after_skill_creation,
        {0: [True] * 3, "1s": [False, True, True], 2: [False, False, True]},
    ),
    "malformed_skill_cursor": (_malformed_skill_cursor, {404: [404, 404], 500: [500, 404]}),
    "folded_inline_skills": (_inline_skill_with_folded_description, {True: (200, None), False: (400, None)}),
    "any_skill": (
        _incomplete_skills,
        {
            True: [(200, None, "any-skill")] * 3,
            False: [(400, None), *[(400, "missing_required_parameter")] * 2],
        },
    ),
    "zeros": (
        _zeros,
        {
            True: ([(200, None, "zero")] * 3 + [(200, None, "zero", "created-at-expiry")], []),
            False: ([(400, "integer_below_min_value")] * 4, None),
        },
    ),
    "any_file_form": (
        _both_or_no_file_parameters,
        {
            True: [(200, None, "any-file-form")] * 3,
            False: [
                (400, "missing_mutually_exclusive_parameters"),
                (400, "mutually_exclusive_parameters"),
                (400, "missing_mutually_exclusive_parameters"),
            ],
        },
    ),
    "any_run": (
        _incomplete_runs,
        {
            True: ([(200, None, "any-run")] * 4, 200),
            False: (
                [(400, "missing_required_parameter")] * 2 + [(400, "mutually_exclusive_parameters"), (400, None)],
                400,
            ),
        },
    ),
    "any_md5": (_wrong_md5, {True: (200, None, "any-md5"), False: (400, None)}),
    "unscripted": (
        _unscripted_response,
        {
            "default": ["code_interpreter_call", "message"],
            "echo": ["message"],
            "refuse": (400, "no_answer"),
        },
    ),
    "auto_expired": (_response_after_its_container_expired, {"refuse": (400, None), "replace": (200, None)}),
    "auto_lazy": (_containers_without_a_call, {True: 0, False: 1}),
    "flat_error_events": (
        _keys_of_an_error_event,
        {
            True: ["code", "message", "param", "sequence_number", "type"],
            False: ["error", "sequence_number", "type"],
        },
    ),
    "background_outputs": (_background_outputs, {True: [{"type": "logs", "logs": "1\n"}], False: []}),
    "stream_minutes": (_stream_after_six_minutes, {5: 400, MAX_MINUTES: 200}),
    "kept_alive": (_step_longer_than_the_container_lifetime, {True: "completed", False: "failed"}),
    "bare_paths": (_requests_without_v1, {True: [(200, None)] * 2, False: [(404, None)] * 2}),
}


@pytest.mark.parametrize(
    ("switch", "value"), [(name, value) for name in OBSERVATIONS for value in OBSERVATIONS[name][1]]
)
def test_each_value_of_a_switch_has_its_effect(world: World, switch: str, value: object) -> None:
    world.freeze()
    observe, expected = OBSERVATIONS[switch]
    assert observe(with_profile(world, {"base": "default", switch: value})) == expected[value]


def test_every_switch_is_observed_at_all_of_its_values() -> None:
    assert OBSERVATIONS.keys() == SWITCHES.keys()
    for name, (_, expected) in OBSERVATIONS.items():
        assert len(set(map(repr, expected.values()))) > 1, f"{name}: all values have the same effect"
        if name != "max_minutes":
            assert getattr(PROFILES["default"], name) in expected
        if name not in ("max_minutes", "delete_lag", "create_lag", "new_skill_lag", "stream_minutes"):
            assert {str(value) for value in expected} == {
                *(SWITCHES[name].takes.replace("yes", "True").replace("no", "False")).split(", ")
            }


def test_max_minutes_does_not_apply_to_the_default_expiry(world: World) -> None:
    assert create_container(with_profile(world, "max_minutes=5"))["expires_after"] == {
        "anchor": "last_active_at",
        "minutes": 20,
    }
    expiry = {"anchor": "last_active_at", "minutes": 20}
    assert world.http.post("/containers", json={"name": "box", "expires_after": expiry}).status_code == 400
    ok(_create_response(world))
    assert [each["expires_after"] for each in ok(world.http.get("/containers"))["data"]] == [expiry] * 2


def test_without_expired_listed_a_lagging_list_hides_deleted_containers_that_expired(world: World) -> None:
    world.freeze()
    box = create_container(with_profile(world, "delete_lag=1h,expired_listed=no"))["id"]
    ok(world.http.delete(f"/containers/{box}"))
    assert list_ids(world) == [box]
    world.advance(20 * MINUTE)
    assert list_ids(world) == []


def test_pages_are_full_although_they_skip_deleted_and_expired_containers(world: World) -> None:
    world.freeze()
    with_profile(world, "delete_lag=1h,expired_listed=no")
    lasting = [
        create_container(world, expires_after={"anchor": "last_active_at", "minutes": 20})["id"] for _ in range(3)
    ]
    for _ in range(3):
        short = create_container(world, expires_after={"anchor": "last_active_at", "minutes": 1})["id"]
        ok(world.http.delete(f"/containers/{short}"))
    ok(world.http.delete(f"/containers/{lasting[0]}"))
    world.advance(MINUTE)
    page = ok(world.http.get("/containers", params={"limit": 2}))
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (lasting[:0:-1], True)
    page = ok(world.http.get("/containers", params={"limit": 2, "after": page["last_id"]}))
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (lasting[:1], False)


def test_delete_lag_does_not_list_deleted_files_that_expired(world: World) -> None:
    world.freeze()
    with_profile(world, "delete_lag=2h")
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    ids = []
    for fields in ({}, expiry):
        file = ok(world.http.post("/files", files={"file": b"x"}, data={"purpose": "vision", **fields}))
        ids.append(file["id"])
        ok(world.http.delete(f"/files/{ids[-1]}"))
    assert [each["id"] for each in ok(world.http.get("/files"))["data"]] == ids[::-1]
    world.advance(60 * MINUTE)
    assert [each["id"] for each in ok(world.http.get("/files"))["data"]] == ids[:1]


def test_a_placeholder_for_an_expired_file_frees_its_contents() -> None:
    with MockServer() as server, new_world(server) as world:
        with_profile(world, "any_id=yes")
        expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600", "purpose": "vision"}
        file = ok(world.http.post("/files", files={"file": b"x" * 100_000}, data=expiry))["id"]
        world.advance(60 * MINUTE)
        assert ok(world.http.get(f"/files/{file}"))["filename"] == "placeholder.txt"
        ok(world.http.delete(f"/files/{file}"))
        server.run(server.mock.worlds.finish(trash=True))
        assert stored(server.mock.directory) == {}


def test_lists_contain_expires_at_of_expired_containers(world: World) -> None:
    world.freeze()
    with_profile(world, "docs")
    box = create_container(world, expires_after={"anchor": "last_active_at", "minutes": 5})
    world.advance(10 * MINUTE)
    (container,) = ok(world.http.get("/containers"))["data"]
    assert (container["status"], container["expires_at"]) == ("expired", box["created_at"] + 5 * MINUTE)
    assert container["expires_at"] == ok(world.http.get(f"/containers/{box['id']}"))["expires_at"]


def test_a_deleted_object_that_any_id_creates_again_is_listed_once(world: World) -> None:
    world.freeze()
    with_profile(world, "delete_lag=1h,any_id=yes")
    for path in ("/containers", "/files"):
        for _ in range(2):
            ok(world.http.get(f"{path}/{path[1:5]}_again"))
            ok(world.http.delete(f"{path}/{path[1:5]}_again"))
        ok(world.http.get(f"{path}/{path[1:5]}_again"))
        assert [each["id"] for each in ok(world.http.get(path))["data"]] == [f"{path[1:5]}_again"]


def test_switches_can_be_combined(world: World) -> None:
    world.freeze()
    with_profile(world, "docs,any_id=yes,id_prefixes=yes,unknown_keys=yes,created_at_expiry=no,expired_replaced=yes")
    box = ok(world.http.get("/containers/any"))
    assert (box["status"], box["expires_at"], box["file_count"], "expires_after" in box) == ("active", None, 0, False)
    week = world.http.post("/containers", json={"name": "box", "foo": 1, "expires_after": WEEK})
    assert outcome(week) == (400, "invalid_value", "unknown-key"), "an error keeps the warnings of other switches"
    rule = {"anchor": "last_active_at", "minutes": 1}
    old = create_container(world, expires_after=rule)["id"]
    world.advance(MINUTE)
    add_file(world, old)
    new = ok(world.http.get("/containers"))["data"][0]
    assert (new["id"] != old, new["expires_after"], new["expires_at"], new["file_count"]) == (
        True,
        rule,
        NOON + 2 * MINUTE,
        1,
    )


# Switches of the profiles


def test_each_profile_changes_the_documented_switches() -> None:
    """`live` rejects what `default` accepts with a warning. The other profiles are based on `default`."""
    accepted_with_warning = {
        "max_minutes",
        "created_at_expiry",
        "file_id_alias",
        "before_cursor",
        "azure_any_version",
        "litellm_keys",
        "text_as_file",
        "bare_paths",
    }
    assert {name: changed_switches(profile) for name, profile in PROFILES.items()} == {
        "default": {},
        "live": dict.fromkeys(accepted_with_warning, False) | {"max_minutes": 20},
        "docs": {"expiry_unasked": False, "older_fields": True, "running_status": "active"},
        "contract": dict.fromkeys(
            ("any_id", "any_cursor", "zeros", "any_file_form", "any_md5", "any_skill", "any_run"), True
        ),
    }


def changed_switches(profile: Profile) -> dict[str, object]:
    return {
        name: getattr(profile, name)
        for name in SWITCHES
        if getattr(profile, name) != getattr(PROFILES["default"], name)
    }


def test_live_rejects_whatever_default_warns_of() -> None:
    for warning in profiles.WARNINGS.values():
        assert getattr(PROFILES["live"], warning.switch) in (False, 20), warning.code


# Ways to set a profile

CUSTOM_PROFILE = {"base": "live", "delete_lag": "5m", "file_routes_when_expired": 410}
CUSTOM_PROFILE_TEXT = "live,delete_lag=5m,file_routes_when_expired=410"
CUSTOM_SWITCHES = {"max_minutes": 20, "delete_lag": 300, "file_routes_when_expired": 410, "zeros": False}


def world_switches(server: Server, world: str | None = None) -> dict[str, object]:
    """Create a world; return those of its switches that are in `CUSTOM_SWITCHES`, as the control plane shows them."""
    profile = server.control("POST", f"worlds/{world or 'fresh'}")["profile"]
    assert profile.keys() == SWITCHES.keys()
    return {name: profile[name] for name in CUSTOM_SWITCHES}


@pytest.mark.parametrize(
    "profile", [CUSTOM_PROFILE, CUSTOM_PROFILE_TEXT, " live , delete_lag = 300 , file_routes_when_expired=410"]
)
def test_a_server_accepts_a_profile_with_switches(profile: profiles.Requested) -> None:
    with MockServer(profile=profile) as server:
        assert world_switches(server) == CUSTOM_SWITCHES


def test_serve_accepts_a_profile_by_flag_and_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def profile(*arguments: str) -> object:
        return main.serve.make_context("serve", [*arguments]).params["profile"]

    assert profile() == "default"
    assert profile("--profile", CUSTOM_PROFILE_TEXT) == CUSTOM_PROFILE_TEXT
    monkeypatch.setenv("MOCKSERVER_PROFILE", CUSTOM_PROFILE_TEXT)
    assert profile() == CUSTOM_PROFILE_TEXT
    assert profile("--profile", "docs") == "docs"


INVALID_PROFILES = {
    "lively": "unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract",
    "live,lag=5m": "unknown switch 'lag'; choose one of: max_minutes, created_at_expiry, file_id_alias",
    "live,delete_lga=5m": "unknown switch 'delete_lga'; did you mean 'delete_lag'? see `mockserver serve --help` for all",
    "live,zeros": "'zeros' has no value; write switches after a profile, as in live,delete_lag=5m",
    "live,zeros=maybe": "zeros: 'maybe' is neither yes nor no",
    "live,zeros=yes,zeros=no": "'zeros' is set twice",
    "live,delete_lag=long": "delete_lag: 'long' is not a duration; write 20m, 1h30m, PT20M or a number of seconds",
    "live,delete_lag=-1s": "delete_lag: '-1s' is not a duration of whole seconds up to ten years",
    "live,delete_lag=0.5": "delete_lag: '0.5' is not a duration of whole seconds up to ten years",
    "live,file_routes_when_expired=500": "file_routes_when_expired: unknown value '500'; choose one of: 400, 404, 410",
    "live,running_status=ready": "running_status: unknown value 'ready'; choose one of: running, active",
    "live,max_minutes=0": "max_minutes: '0' is not a whole number from 1 to 5270400",
    "": "unknown profile ''; choose one of: default, live, docs, contract",
}


@pytest.mark.parametrize("profile", INVALID_PROFILES)
def test_an_invalid_profile_gets_an_error_with_suggestions(server: MockServer, profile: str) -> None:
    with pytest.raises(click.UsageError, match=re.escape(INVALID_PROFILES[profile])):
        main.serve.make_context("serve", ["--profile", profile])
    with pytest.raises(ValueError, match=re.escape(INVALID_PROFILES[profile])):
        Mock(Settings(profile=profile))
    with pytest.raises(MockError, match=re.escape(INVALID_PROFILES[profile])):
        server.world(profile=profile)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"base": ["live"]}, "name: "),
        (
            {"base": "lively"},
            "name: unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract",
        ),
        ({"lag": 1}, "switches: unknown switch 'lag'; choose one of: max_minutes"),
        ({"base": "live", "zeros": 1}, "switches: zeros: 1 is neither yes nor no"),
        ({"base": "live", "zeros": None}, "switches: zeros: None is neither yes nor no"),
        ({"max_minutes": 20.5}, "switches: max_minutes: 20.5 is not a whole number"),
        ({"delete_lag": True}, "switches: delete_lag: write 20m, PT20M or a number of seconds"),
    ],
)
def test_an_invalid_profile_in_a_request_gets_an_error_that_names_the_parameter(
    server: MockServer, profile: dict[str, Any], message: str
) -> None:
    with pytest.raises(MockError) as caught:
        server.world("invalid", profile=profile)
    assert str(caught.value).startswith(message)
    assert (caught.value.status, caught.value.code) == (400, "invalid_parameter")


def test_the_profile_of_a_world_can_be_set_changed_and_cleared(server: MockServer) -> None:
    with (
        MockServer(profile="live,zeros=yes") as own,
        own.world(profile=CUSTOM_PROFILE) as world,
        own.world(profile=CUSTOM_PROFILE_TEXT) as other,
    ):
        assert world_switches(own, world.world + "-x") == CUSTOM_SWITCHES | {
            "delete_lag": 0,
            "file_routes_when_expired": 404,
            "zeros": True,
        }
        for each in (world, other):
            assert {name: each.state()["profile"][name] for name in CUSTOM_SWITCHES} == CUSTOM_SWITCHES
        world.set_profile({"delete_lag": 7})
        profile = world.state()["profile"]
        assert (profile["max_minutes"], profile["zeros"], profile["delete_lag"]) == (20, True, 7), (
            "switches without a base change the server's profile"
        )
        world.set_profile(None)
        assert world.state()["profile"] == other.server.control("POST", "worlds/another")["profile"]
        control = f"{own.url}/_mock/worlds/{other.world}/profile"
        state = ok(httpx2.put(control, json={"name": "docs,zeros=on", "switches": {"older_fields": False}}))
        assert changed_switches(Profile(**state["profile"])) == {
            "expiry_unasked": False,
            "running_status": "active",
            "zeros": True,
        }


def test_seeds_set_profiles_of_all_worlds_and_of_single_worlds(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\n"
        "profile:\n  base: live\n  delete_lag: 5m\n  file_routes_when_expired: 410\n"
        "worlds:\n  strict:\n    profile: live\n  lax:\n    profile: {base: default, zeros: on}\n"
        "  own:\n    profile: {zeros: yes}\n"
    )
    with MockServer(seed=(seed,), profile="docs") as server:
        assert world_switches(server, "any") == CUSTOM_SWITCHES
        assert world_switches(server, "strict")["delete_lag"] == 0
        assert changed_switches(Profile(**server.control("POST", "worlds/lax")["profile"])) == {"zeros": True}
        assert changed_switches(Profile(**server.control("POST", "worlds/own")["profile"])) == {
            **changed_switches(PROFILES["docs"]),
            "zeros": True,
        }, "switches without a base change the server's profile"


@pytest.mark.parametrize("profile", ["contract", CUSTOM_PROFILE, {"base": "docs", "older_fields": False}])
def test_exports_imports_and_snapshots_keep_the_profile(
    server: MockServer, tmp_path: Path, profile: profiles.Requested
) -> None:
    archive = tmp_path / "world.zip"
    with server.world(profile=profile) as world, server.world() as other:
        before = world.state()["profile"]
        world.export(archive)
        with zipfile.ZipFile(archive) as packed:
            assert json.loads(packed.read("seed.yaml"))["profile"] == profiles.as_json(profiles.read(profile))
        other.import_(archive)
        assert other.state()["profile"] == before
        snapshot = other.snapshot()
        other.set_profile(None)
        snapshot.restore()
        assert other.state()["profile"] == before
    with MockServer(seed=(archive,)) as seeded:
        assert seeded.control("POST", "worlds/fresh")["profile"] == before


@pytest.mark.parametrize(
    "profile", [*PROFILES, CUSTOM_PROFILE_TEXT, "docs,older_fields=no,running_status=running,zeros=yes"]
)
def test_profile_name_describes_the_profile_in_a_form_that_can_be_parsed(server: MockServer, profile: str) -> None:
    with server.world(profile=profile) as world:
        state = world.state()
        assert profiles.read(state["profile_name"]) == profiles.read(profile) == Profile(**state["profile"])
        assert profile not in PROFILES or state["profile_name"] == profile


def test_the_profile_of_a_world_survives_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with MockServer(data=tmp_path, profile="docs") as server:
            if "kept" not in [each["name"] for each in server.control("GET", "worlds")["data"]]:
                server.world("kept", profile=CUSTOM_PROFILE)
            profile = server.control("GET", "worlds/kept")["profile"]
            assert {name: profile[name] for name in CUSTOM_SWITCHES} == CUSTOM_SWITCHES


def test_stored_switches_that_no_longer_exist_are_ignored() -> None:
    assert profiles.from_json('{"base": "live", "zeros": true, "no_more": 1}') == profiles.read("live,zeros=yes")


def test_exports_keep_containers_without_expiry(server: MockServer, tmp_path: Path) -> None:
    with server.world(profile="docs") as world, server.world() as other:
        with openai.OpenAI(base_url=world.base_url, api_key=world.api_key) as client:
            box = client.containers.create(name="box").id
        world.export(tmp_path / "world.zip")
        other.import_(tmp_path / "world.zip")
        other.clock.advance("52w")
        with openai.OpenAI(base_url=other.base_url, api_key=other.api_key) as client:
            imported = client.containers.retrieve(box)
        assert (imported.status, imported.expires_after) == ("active", None)
        assert other.call("GET", "containers?status=running")["total"] == 1
        assert other.clock.advance("52w")["expired_containers"] == []


def test_exports_keep_the_replacement_of_an_expired_container(server: MockServer, tmp_path: Path) -> None:
    with server.world(profile="expired_replaced=yes") as world, server.world() as other:
        seed = {"clock": {"rate": 0}, "containers": [{"id": "cntr_old", "name": "box", "last_active_at": "-20m"}]}
        world.seed(seed)
        with openai.OpenAI(base_url=world.base_url, api_key=world.api_key) as client:
            new = client.containers.files.create("cntr_old", file=b"late").container_id
        world.export(tmp_path / "world.zip")
        other.import_(tmp_path / "world.zip")
        with openai.OpenAI(base_url=other.base_url, api_key=other.api_key) as client:
            (file,) = client.containers.files.list("cntr_old").data
        assert file.container_id == new != "cntr_old"


# Documentation


def test_help_and_the_openapi_document_describe_every_switch(server: MockServer) -> None:
    help_text = " ".join(CliRunner().invoke(main.serve, ["--help"]).output.split())
    document = ok(httpx2.get(f"{server.url}/_mock/openapi.json"))["components"]["schemas"]
    for schema in (
        document["ProfileChange"]["properties"]["switches"],
        document["WorldState"]["properties"]["profile"]["anyOf"][0],
    ):
        assert schema["properties"].keys() == SWITCHES.keys()
        for each in SWITCHES.values():
            assert f"{each.name}={profiles.worded(each.default)} ({each.takes}) {each.meaning}" in help_text
            property = schema["properties"][each.name]
            assert property["default"] == each.default
            assert each.meaning in property["description"]
            assert each.evidence in property["description"]
            assert each.evidence.partition(":")[0] in get_args(Grade)
