"""Profiles: what each switch does, how they are set, and what each set of them is for.

`EFFECTS` has a look at the same thing for each switch; the same test holds it against both ends of the
switch, and another that no switch is without one.
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


def behaving(world: World, asked: str | dict[str, Any]) -> World:
    """A world with a profile of its own."""
    world.server.run(world.server.mock.worlds.set_profile(world.name, profiles.read(asked)))
    return world


def made(world: World, **more: Any) -> Any:
    return ok(world.http.post("/containers", json={"name": "box", **more}))


def uploaded(world: World, purpose: str = "user_data") -> str:
    return str(ok(world.http.post("/files", files={"file": ("a.txt", b"abc")}, data={"purpose": purpose}))["id"])


def added(world: World, box: str, **form: Any) -> Any:
    return ok(world.http.post(f"/containers/{box}/files", **(form or {"files": {"file": ("b.txt", b"bcd")}})))


def listed(world: World, path: str = "/containers", **query: Any) -> list[str]:
    return [each["id"] for each in ok(world.http.get(path, params=query))["data"]]


def outcome(answer: httpx2.Response) -> tuple[Any, ...]:
    """What came of a request: its status, the code of the refusal, the codes of warnings."""
    warned = [each.partition(":")[0] for each in answer.headers.get_list("x-mock-warning")]
    refused = answer.status_code >= 400
    return (answer.status_code, answer.json()["error"]["code"] if refused else None, *warned)


# Each switch does what it says

Look = Callable[[World], object]


def _without_v1(world: World) -> object:
    bare = f"{world.server.url}/w/{world.name}"
    return [outcome(world.http.get(f"{bare}{path}")) for path in ("/containers", "/files")]


def _longer_than_an_hour(world: World) -> object:
    rule = {"anchor": "last_active_at", "minutes": 61}
    return outcome(world.http.post("/containers", json={"name": "box", "expires_after": rule}))


def _a_week_from_creation(world: World) -> object:
    return outcome(world.http.post("/containers", json={"name": "box", "expires_after": WEEK}))


def _by_the_id_of_the_file(world: World) -> object:
    file = uploaded(world)
    box = made(world, file_ids=[file])["id"]
    return outcome(world.http.get(f"/containers/{box}/files/{file}"))


def _in_front_of_the_oldest(world: World) -> object:
    first, second, _ = (made(world)["id"] for _ in range(3))
    answer = world.http.get("/containers", params={"before": first, "limit": 1})
    return [each["id"] == second for each in ok(answer)["data"]], *outcome(answer)


def _a_year_later(world: World) -> object:
    box = made(world)
    world.advance(366 * 86_400)
    return "expires_after" in box, ok(world.http.get(f"/containers/{box['id']}"))["status"]


def _what_is_shown_beyond(world: World) -> object:
    file = uploaded(world)
    box = made(world, file_ids=[file])
    added(world, box["id"])
    known = {"file": file, NOON + 20 * MINUTE: "in 20 minutes"}
    shown = [ok(world.http.get("/containers"))["data"][0], ok(world.http.get(f"/containers/{box['id']}")), box]
    inside = ok(world.http.get(f"/containers/{box['id']}/files"))["data"]
    inside.append(ok(world.http.get(f"/containers/{box['id']}/files/{inside[1]['id']}")))
    return (
        [(known.get(each.get("expires_at")), each.get("file_count")) for each in shown],
        ["is it" if each.get("file_id", "") == file else each.get("file_id", "no key") for each in inside],
    )


def _status(world: World) -> object:
    box = made(world)
    statuses = [box["status"], ok(world.http.get("/containers"))["data"][0]["status"]]
    world.advance(20 * MINUTE)
    return *statuses, ok(world.http.get(f"/containers/{box['id']}"))["status"]


def _files_of_an_expired_one(world: World) -> object:
    box = made(world)["id"]
    file = added(world, box)["id"]
    world.advance(20 * MINUTE)
    files = f"/containers/{box}/files"
    answers = [
        world.http.get(files),
        world.http.post(files, files={"file": ("late.txt", b"late")}),
        world.http.get(f"{files}/{file}"),
        world.http.get(f"{files}/{file}/content"),
        world.http.delete(f"{files}/{file}"),
    ]
    return {(outcome(each), each.json()["error"]["message"]) for each in answers}


def _an_expired_one_that_is_used(world: World) -> object:
    box = made(world, memory_limit="4g")["id"]
    added(world, box)
    world.advance(20 * MINUTE)
    answer = world.http.get(f"/containers/{box}/files")
    if answer.status_code != 200:
        return outcome(answer)
    assert ok(answer)["data"] == []
    new = added(world, box)["container_id"]
    assert new != box
    assert listed(world) == [new, box], "it appears, and one is enough"
    old, replaced = (ok(world.http.get(f"/containers/{id}")) for id in (box, new))
    assert (old["status"], replaced["status"], replaced["memory_limit"]) == ("expired", "running", "4g")
    assert listed(world, f"/containers/{box}/files") == listed(world, f"/containers/{new}/files") != []
    world.advance(20 * MINUTE)
    third = added(world, box)["container_id"]
    assert third not in (box, new), "and so on"
    assert added(world, new)["container_id"] == third
    ok(world.http.delete(f"/containers/{third}"))
    assert added(world, box)["container_id"] not in (box, new, third)
    return outcome(answer)


def _listed_after_expiry(world: World) -> object:
    made(world, expires_after={"anchor": "last_active_at", "minutes": 1})
    other = made(world)["id"]
    world.advance(MINUTE)
    page = ok(world.http.get("/containers", params={"limit": 1}))
    assert listed(world) == [other, *listed(world)[1:]]
    return len(listed(world)), page["has_more"]


def _after_being_listed(world: World) -> object:
    box = made(world)["id"]
    old = made(world, expires_after={"anchor": "last_active_at", "minutes": 1})["id"]
    world.advance(19 * MINUTE)
    listed(world)
    world.advance(19 * MINUTE)
    assert ok(world.http.get(f"/containers/{old}"))["status"] == "expired", "no list revives"
    return ok(world.http.get(f"/containers/{box}"))["status"]


def _after_creation(world: World) -> object:
    file = uploaded(world)
    box = made(world)["id"]
    added(world, box)
    assert listed(world, "/files") == [file], "Files are listed at once"
    assert len(listed(world, f"/containers/{box}/files")) == 1
    seen = []
    for _ in range(3):
        seen.append(box in listed(world))
        assert ok(world.http.get(f"/containers/{box}"))["id"] == box
        world.advance(150)
    return seen


def _a_file_as_text(world: World) -> object:
    """As the official command line client sends it."""
    answer = world.http.post(f"/containers/{made(world)['id']}/files", json={"file": "héllo\n"})
    if answer.status_code == 200:
        path = f"/containers/{answer.json()['container_id']}/files/{answer.json()['id']}/content"
        assert world.http.get(path).content == "héllo\n".encode()
    return outcome(answer)


def _after_deletion(world: World) -> object:
    box, file = made(world)["id"], uploaded(world)
    other = made(world)["id"]
    inside = added(world, other)["id"]
    paths = [f"/containers/{box}", f"/files/{file}", f"/containers/{other}/files/{inside}"]
    lists = ["/containers", "/files", f"/containers/{other}/files"]
    for path in paths:
        ok(world.http.delete(path))
        assert world.http.get(path).status_code == 404
    seen = []
    for _ in range(3):
        seen.append([id in listed(world, path) for id, path in zip((box, file, inside), lists, strict=True)])
        world.advance(150)
    return seen


def _an_id_of_another_shape(world: World) -> object:
    box = made(world)["id"]
    paths = ["/containers/x", f"/containers/{box}/files/x", "/files/x", "/containers/x/files"]
    known = ["/containers/cntr_x", f"/containers/{box}/files/cfile_x", "/files/file-x"]
    assert {world.http.get(path).status_code for path in known} == {404}
    return [(outcome(answer), answer.json()["error"]["param"]) for answer in map(world.http.get, paths)]


def _a_key_that_nobody_knows(world: World) -> object:
    box = made(world)["id"]
    allowed = {"type": "allowlist", "allowed_domains": ["example.com"], "allowlist": 1}
    skills = [{"type": "skill_reference", "skill_id": "openai-spreadsheets", "inline": {"skill_reference": 1}}]
    bodies = [
        {"name": "box", "foo": 1, "expires_after": {"anchor": "last_active_at", "minutes": 5, "foo": {"a": 1}}},
        {"name": "box", "network_policy": allowed, "skills": skills},
    ]
    answers = [world.http.post("/containers", json=body) for body in bodies]
    file = {"file": ("a.txt", b"a")}
    answers.append(world.http.post(f"/containers/{box}/files", files=file, data={"foo": "1"}))
    answers.append(world.http.post("/files", files=file, data={"foo": "1", "purpose": "vision"}))
    wrong = world.http.post("/containers", json={"name": 1, "foo": 1})
    assert wrong.status_code == 400, "what is wrong beside it stays wrong"
    return [outcome(answer) for answer in answers]


def _undated_where_a_date_belongs(world: World) -> object:
    url = world.base_url.removesuffix("/v1") + "/openai/containers"
    answers = [world.http.get(url, params=query) for query in ({}, {"api-version": "2025-04-01-preview"})]
    return [(each.status_code, "x-mock-warning" in each.headers) for each in answers]


def _what_litellm_keeps(world: World) -> object:
    box = made(world)["id"]
    keys = {"custom_llm_provider": "openai", "model": "any"}
    answers = [
        world.http.post("/containers", json={"name": "box", **keys}),
        world.http.post(f"/containers/{box}/files", files={"file": ("a.txt", b"a")}, data=keys),
    ]
    return [outcome(each) for each in answers]


def _a_private_file(world: World) -> object:
    return [
        outcome(world.http.get(f"/files/{uploaded(world, purpose)}/content")) for purpose in ("user_data", "assistants")
    ]


def _what_nobody_made(world: World) -> object:
    box = made(world)["id"]
    create = world.http.post("/containers", json={"name": "box", "file_ids": ["string"]})
    paths = [
        "/containers/container_id",
        "/containers/other/files",
        f"/containers/{box}/files/file_id",
        "/files/file_id",
    ]
    return [outcome(create), *(outcome(world.http.get(path)) for path in paths)]


def _behind_nothing(world: World) -> object:
    box = made(world)["id"]
    added(world, box)
    uploaded(world)
    paths = ["/containers", f"/containers/{box}/files", "/files"]
    return [outcome(world.http.get(path, params={"after": "after"})) for path in paths]


def _nothing_at_all(world: World) -> object:
    made(world)
    answers = [world.http.get(path, params={"limit": 0}) for path in ("/containers", "/files")]
    for minutes in ({"minutes": 0}, {"days": 0}):
        rule = {"anchor": "last_active_at", **minutes}
        answers.append(world.http.post("/containers", json={"name": "box", "expires_after": rule}))
    return [outcome(answer) for answer in answers], answers[0].json().get("data")


def _both_or_neither(world: World) -> object:
    box, file = made(world)["id"], uploaded(world)
    url, upload = f"/containers/{box}/files", {"file": ("b.txt", b"bcd")}
    answers = [
        world.http.post(url, json={}),
        world.http.post(url, files=upload, data={"file_id": file}),
        world.http.post(url, headers={"Content-Type": "multipart/form-data; boundary=x"}, content=b"--x--\r\n"),
    ]
    return [outcome(answer) for answer in answers]


def _another_md5(world: World) -> object:
    body = {"bytes": 0, "filename": "a.txt", "purpose": "vision", "mime_type": "text/plain"}
    upload = ok(world.http.post("/uploads", json=body))["id"]
    return outcome(world.http.post(f"/uploads/{upload}/complete", json={"part_ids": [], "md5": "md5"}))


def _a_new_skill(world: World) -> object:
    skill = ok(world.http.post("/skills", files=SKILL))["id"]
    seen = []
    for _ in range(3):
        seen.append((listed(world, "/skills"), listed(world, f"/skills/{skill}/versions")) != ([], []))
        world.advance(1)
    return seen


def _a_cursor_of_no_skill(world: World) -> object:
    answers = [world.http.get("/skills", params={"after": after}) for after in ("x", "skill_x")]
    return [answer.status_code for answer in answers]


def _an_inline_skill_on_several_lines(world: World) -> object:
    content = zipped({"m/SKILL.md": f"---\nname: {NAME}\ndescription: >-\n  Add or\n  multiply numbers.\n---\n"})
    source = {"type": "base64", "media_type": "application/zip", "data": base64.b64encode(content).decode()}
    skill = {"type": "inline", "name": NAME, "description": DESCRIPTION, "source": source}
    return outcome(world.http.post("/containers", json={"name": "box", "skills": [skill]}))


def _runs_that_lack_something(world: World) -> object:
    run = ok(world.http.post("/responses", json={"model": "m", "input": "x"}))["id"]
    answers = [
        world.http.post("/responses", json={"input": "x"}),
        world.http.post("/responses", json={"model": "m"}),
        world.http.post("/responses", json={"model": "m", "previous_response_id": run, "conversation": "conv_x"}),
        world.http.post(f"/responses/{run}/cancel"),
    ]
    stream = world.http.get(f"/responses/{run}?stream=true")
    return [outcome(answer) for answer in answers], stream.status_code


def _no_skill_at_all(world: World) -> object:
    created = world.http.post("/skills", files=SKILL).json()["id"]
    answers = [
        world.http.post("/skills", files={"files": b"Example data"}),
        world.http.post("/skills", json={}),
        world.http.post(f"/skills/{created}/versions", json={"default": True}),
    ]
    return [outcome(answer) for answer in answers]


SKILL = {"files": ("m.zip", zipped())}


# Runs of `/responses`

AUTO = [{"type": "code_interpreter", "container": {"type": "auto"}}]


def _script(world: World, **rule: Any) -> None:
    ok(world.http.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=rule))


def _run(world: World, **more: Any) -> httpx2.Response:
    return world.http.post("/responses", json={"model": "m", "input": "make a.csv", "tools": AUTO, **more})


def _without_a_script(world: World) -> object:
    answer = _run(world)
    return [item["type"] for item in answer.json()["output"]] if answer.status_code == 200 else outcome(answer)


def _after_its_container_expired(world: World) -> object:
    first = ok(_run(world))["id"]
    world.advance(21 * 60)
    return outcome(_run(world, previous_response_id=first))


def _without_a_call(world: World) -> object:
    _script(world, say="no call")
    ok(_run(world))
    return len(listed(world, "/containers"))


def _a_stream_that_fails(world: World) -> object:
    _script(world, steps=[{"say": "x"}, {"fail": "server_error"}])
    data = _run(world, stream=True).text.split("event: error\ndata: ")[1].split("\n")[0]
    return sorted(json.loads(data))


def _outputs_in_the_background(world: World) -> object:
    _script(world, code="1", logs="1\n")
    id = ok(_run(world, background=True, include=["code_interpreter_call.outputs"]))["id"]
    world.advance(10)
    return ok(world.http.get(f"/responses/{id}"))["output"][0]["outputs"]


def _a_stream_six_minutes_later(world: World) -> object:
    _script(world, say="x")
    with world.http.stream(
        "POST", "/responses", json={"model": "m", "input": "x", "background": True, "stream": True}
    ) as stream:
        parts = stream.iter_text()
        id = json.loads(next(parts).split("\n")[1].removeprefix("data: "))["response"]["id"]
        world.advance(6 * 60)
        list(parts)
    return world.http.get(f"/responses/{id}?stream=true").status_code


def _a_step_longer_than_its_container_lives(world: World) -> object:
    _script(world, code="1", takes="21m")
    return ok(_run(world))["status"]


EFFECTS: dict[str, tuple[Look, dict[Any, object]]] = {
    "max_minutes": (
        _longer_than_an_hour,
        {
            20: (400, "integer_above_max_value"),
            60: (400, "integer_above_max_value"),
            61: (200, None, "minutes-beyond-limit"),
        },
    ),
    "created_at_expiry": (
        _a_week_from_creation,
        {True: (200, None, "created-at-expiry"), False: (400, "invalid_value")},
    ),
    "file_id_alias": (_by_the_id_of_the_file, {True: (200, None, "file-id-alias"), False: (404, None)}),
    "before_cursor": (
        _in_front_of_the_oldest,
        {True: ([True], 200, None, "before-cursor"), False: ([False], 200, None)},
    ),
    "expiry_unasked": (_a_year_later, {True: (True, "expired"), False: (False, "running")}),
    "older_fields": (
        _what_is_shown_beyond,
        {
            True: ([("in 20 minutes", 2)] * 2 + [("in 20 minutes", 1)], ["no key", "is it", "is it"]),
            False: ([(None, None)] * 3, ["no key"] * 3),
        },
    ),
    "running_status": (
        _status,
        {"running": ("running", "running", "expired"), "active": ("active", "active", "expired")},
    ),
    "azure_any_version": (
        _undated_where_a_date_belongs,
        {True: [(200, True), (200, False)], False: [(404, False), (200, False)]},
    ),
    "litellm_keys": (
        _what_litellm_keeps,
        {True: [(200, None, "litellm-keys")] * 2, False: [(400, "unknown_parameter")] * 2},
    ),
    "text_as_file": (
        _a_file_as_text,
        {True: (200, None, "text-as-file"), False: (400, "unknown_parameter")},
    ),
    "file_routes_when_expired": (
        _files_of_an_expired_one,
        {status: {((status, None), "Container is expired.")} for status in (400, 404, 410)},
    ),
    "expired_replaced": (_an_expired_one_that_is_used, {True: (200, None, "expired-replaced"), False: (404, None)}),
    "expired_listed": (_listed_after_expiry, {True: (2, True), False: (1, False)}),
    "listing_prolongs": (_after_being_listed, {True: "running", False: "expired"}),
    "delete_lag": (
        _after_deletion,
        {
            0: [[False] * 3, [False] * 3, [False] * 3],
            "299s": [[True] * 3, [True] * 3, [False] * 3],
            301: [[True] * 3] * 3,
        },
    ),
    "create_lag": (
        _after_creation,
        {0: [True] * 3, "299s": [False, False, True], 301: [False] * 3},
    ),
    "id_prefixes": (
        _an_id_of_another_shape,
        {
            True: [((400, "invalid_value"), name) for name in ("container_id", "file_id", "file_id", "container_id")],
            False: [((404, None), None), ((404, None), None), ((404, None), "id"), ((404, None), None)],
        },
    ),
    "unknown_keys": (
        _a_key_that_nobody_knows,
        {True: [(200, None, "unknown-key")] * 4, False: [(400, "unknown_parameter")] * 3 + [(400, None)]},
    ),
    "private_downloads": (
        _a_private_file,
        {True: [(200, None, "private-download")] * 2, False: [(400, None)] * 2},
    ),
    "any_id": (_what_nobody_made, {True: [(200, None, "any-id")] * 5, False: [(400, None), *[(404, None)] * 4]}),
    "any_cursor": (_behind_nothing, {True: [(200, None, "any-cursor")] * 3, False: [(400, "invalid_value")] * 3}),
    "new_skill_lag": (
        _a_new_skill,
        {0: [True] * 3, "1s": [False, True, True], 2: [False, False, True]},
    ),
    "malformed_skill_cursor": (_a_cursor_of_no_skill, {404: [404, 404], 500: [500, 404]}),
    "folded_inline_skills": (_an_inline_skill_on_several_lines, {True: (200, None), False: (400, None)}),
    "any_skill": (
        _no_skill_at_all,
        {
            True: [(200, None, "any-skill")] * 3,
            False: [(400, None), *[(400, "missing_required_parameter")] * 2],
        },
    ),
    "zeros": (
        _nothing_at_all,
        {
            True: ([(200, None, "zero")] * 3 + [(200, None, "zero", "created-at-expiry")], []),
            False: ([(400, "integer_below_min_value")] * 4, None),
        },
    ),
    "any_file_form": (
        _both_or_neither,
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
        _runs_that_lack_something,
        {
            True: ([(200, None, "any-run")] * 4, 200),
            False: (
                [(400, "missing_required_parameter")] * 2 + [(400, "mutually_exclusive_parameters"), (400, None)],
                400,
            ),
        },
    ),
    "any_md5": (_another_md5, {True: (200, None, "any-md5"), False: (400, None)}),
    "unscripted": (
        _without_a_script,
        {
            "default": ["code_interpreter_call", "message"],
            "echo": ["message"],
            "refuse": (400, "no_answer"),
        },
    ),
    "auto_expired": (_after_its_container_expired, {"refuse": (400, None), "replace": (200, None)}),
    "auto_lazy": (_without_a_call, {True: 0, False: 1}),
    "flat_error_events": (
        _a_stream_that_fails,
        {
            True: ["code", "message", "param", "sequence_number", "type"],
            False: ["error", "sequence_number", "type"],
        },
    ),
    "background_outputs": (_outputs_in_the_background, {True: [{"type": "logs", "logs": "1\n"}], False: []}),
    "stream_minutes": (_a_stream_six_minutes_later, {5: 400, MAX_MINUTES: 200}),
    "kept_alive": (_a_step_longer_than_its_container_lives, {True: "completed", False: "failed"}),
    "bare_paths": (_without_v1, {True: [(200, None)] * 2, False: [(404, None)] * 2}),
}


@pytest.mark.parametrize(("switch", "value"), [(name, value) for name in EFFECTS for value in EFFECTS[name][1]])
def test_a_switch_does_what_it_says(world: World, switch: str, value: object) -> None:
    world.freeze()
    look, expected = EFFECTS[switch]
    assert look(behaving(world, {"base": "default", switch: value})) == expected[value]


def test_every_switch_has_its_test_with_its_default_and_another_effect() -> None:
    """A switch that does nothing shows the same at all of its values, and fails the test above."""
    assert EFFECTS.keys() == SWITCHES.keys()
    for name, (_, expected) in EFFECTS.items():
        told = list(map(repr, expected.values()))
        assert len(set(told)) > 1, f"{name}: no value of it makes a difference"
        if name != "max_minutes":
            assert getattr(PROFILES["default"], name) in expected
        if name not in ("max_minutes", "delete_lag", "create_lag", "new_skill_lag", "stream_minutes"):
            assert {str(value) for value in expected} == {
                *(SWITCHES[name].takes.replace("yes", "True").replace("no", "False")).split(", ")
            }


def test_a_container_that_asks_for_no_expiry_breaks_no_limit_of_it(world: World) -> None:
    assert made(behaving(world, "max_minutes=5"))["expires_after"] == {"anchor": "last_active_at", "minutes": 20}
    asked = {"anchor": "last_active_at", "minutes": 20}
    assert world.http.post("/containers", json={"name": "box", "expires_after": asked}).status_code == 400
    ok(_run(world))
    assert [each["expires_after"] for each in ok(world.http.get("/containers"))["data"]] == [asked] * 2


def test_what_was_deleted_and_has_expired_is_hidden_too(world: World) -> None:
    world.freeze()
    box = made(behaving(world, "delete_lag=1h,expired_listed=no"))["id"]
    ok(world.http.delete(f"/containers/{box}"))
    assert listed(world) == [box]
    world.advance(20 * MINUTE)
    assert listed(world) == []


def test_pages_are_full_whatever_was_deleted_and_has_expired(world: World) -> None:
    world.freeze()
    behaving(world, "delete_lag=1h,expired_listed=no")
    lasting = [made(world, expires_after={"anchor": "last_active_at", "minutes": 20})["id"] for _ in range(3)]
    for _ in range(3):
        short = made(world, expires_after={"anchor": "last_active_at", "minutes": 1})["id"]
        ok(world.http.delete(f"/containers/{short}"))
    ok(world.http.delete(f"/containers/{lasting[0]}"))
    world.advance(MINUTE)
    page = ok(world.http.get("/containers", params={"limit": 2}))
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (lasting[:0:-1], True)
    page = ok(world.http.get("/containers", params={"limit": 2, "after": page["last_id"]}))
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (lasting[:1], False)


def test_files_that_were_deleted_and_have_expired_are_hidden_too(world: World) -> None:
    world.freeze()
    behaving(world, "delete_lag=2h")
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    ids = []
    for fields in ({}, expiry):
        sent = world.http.post("/files", files={"file": b"x"}, data={"purpose": "vision", **fields})
        ids.append(ok(sent)["id"])
        ok(world.http.delete(f"/files/{ids[-1]}"))
    assert [each["id"] for each in ok(world.http.get("/files"))["data"]] == ids[::-1]
    world.advance(60 * MINUTE)
    assert [each["id"] for each in ok(world.http.get("/files"))["data"]] == ids[:1]


def test_what_stands_in_for_an_expired_file_leaves_nothing_of_it() -> None:
    with MockServer() as server, new_world(server) as world:
        behaving(world, "any_id=yes")
        expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600", "purpose": "vision"}
        file = ok(world.http.post("/files", files={"file": b"x" * 100_000}, data=expiry))["id"]
        world.advance(60 * MINUTE)
        assert ok(world.http.get(f"/files/{file}"))["filename"] == "placeholder.txt"
        ok(world.http.delete(f"/files/{file}"))
        server.run(server.mock.worlds.finish(trash=True))
        assert stored(server.mock.directory) == {}


def test_a_list_tells_when_the_expired_have_expired(world: World) -> None:
    world.freeze()
    behaving(world, "docs")
    box = made(world, expires_after={"anchor": "last_active_at", "minutes": 5})
    world.advance(10 * MINUTE)
    (shown,) = ok(world.http.get("/containers"))["data"]
    assert (shown["status"], shown["expires_at"]) == ("expired", box["created_at"] + 5 * MINUTE)
    assert shown["expires_at"] == ok(world.http.get(f"/containers/{box['id']}"))["expires_at"]


def test_what_has_come_again_is_listed_once(world: World) -> None:
    world.freeze()
    behaving(world, "delete_lag=1h,any_id=yes")
    for path in ("/containers", "/files"):
        for _ in range(2):
            ok(world.http.get(f"{path}/{path[1:5]}_again"))
            ok(world.http.delete(f"{path}/{path[1:5]}_again"))
        ok(world.http.get(f"{path}/{path[1:5]}_again"))
        assert [each["id"] for each in ok(world.http.get(path))["data"]] == [f"{path[1:5]}_again"]


def test_switches_work_together(world: World) -> None:
    """Of two that both have something to say, neither is forgotten."""
    world.freeze()
    behaving(world, "docs,any_id=yes,id_prefixes=yes,unknown_keys=yes,created_at_expiry=no,expired_replaced=yes")
    box = ok(world.http.get("/containers/any"))
    assert (box["status"], box["expires_at"], box["file_count"], "expires_after" in box) == ("active", None, 0, False)
    week = world.http.post("/containers", json={"name": "box", "foo": 1, "expires_after": WEEK})
    assert outcome(week) == (400, "invalid_value", "unknown-key"), "what is ignored is not what was wrong"
    rule = {"anchor": "last_active_at", "minutes": 1}
    old = made(world, expires_after=rule)["id"]
    world.advance(MINUTE)
    added(world, old)
    new = ok(world.http.get("/containers"))["data"][0]
    assert (new["id"] != old, new["expires_after"], new["expires_at"], new["file_count"]) == (
        True,
        rule,
        NOON + 2 * MINUTE,
        1,
    )


# What the profiles are


def test_the_profiles_differ_as_they_should() -> None:
    """`live` refuses what `default` lets in with a warning of the live API; the others start from `default`."""
    lets_in = {
        "max_minutes",
        "created_at_expiry",
        "file_id_alias",
        "before_cursor",
        "azure_any_version",
        "litellm_keys",
        "text_as_file",
        "bare_paths",
    }
    assert {name: changes(profile) for name, profile in PROFILES.items()} == {
        "default": {},
        "live": dict.fromkeys(lets_in, False) | {"max_minutes": 20},
        "docs": {"expiry_unasked": False, "older_fields": True, "running_status": "active"},
        "contract": dict.fromkeys(
            ("any_id", "any_cursor", "zeros", "any_file_form", "any_md5", "any_skill", "any_run"), True
        ),
    }


def changes(profile: Profile) -> dict[str, object]:
    return {
        name: getattr(profile, name)
        for name in SWITCHES
        if getattr(profile, name) != getattr(PROFILES["default"], name)
    }


def test_live_lets_in_nothing_that_is_warned_of() -> None:
    for warning in profiles.WARNINGS.values():
        assert getattr(PROFILES["live"], warning.switch) in (False, 20), warning.code


# How they are set

LAGGING = {"base": "live", "delete_lag": "5m", "file_routes_when_expired": 410}
IN_WORDS = "live,delete_lag=5m,file_routes_when_expired=410"
LAGGING_LIVE = {"max_minutes": 20, "delete_lag": 300, "file_routes_when_expired": 410, "zeros": False}


def switches(server: Server, world: str | None = None) -> dict[str, object]:
    """Of a world, as the control plane shows them: as far as they are `LAGGING_LIVE`'s."""
    shown = server.control("POST", f"worlds/{world or 'fresh'}")["profile"]
    assert shown.keys() == SWITCHES.keys()
    return {name: shown[name] for name in LAGGING_LIVE}


@pytest.mark.parametrize("asked", [LAGGING, IN_WORDS, " live , delete_lag = 300 , file_routes_when_expired=410"])
def test_a_server_takes_a_name_with_switches(asked: profiles.Requested) -> None:
    with MockServer(profile=asked) as server:
        assert switches(server) == LAGGING_LIVE


def test_the_command_line_and_the_environment_take_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: str) -> object:
        return main.serve.make_context("serve", [*arguments]).params["profile"]

    assert asked() == "default"
    assert asked("--profile", IN_WORDS) == IN_WORDS
    monkeypatch.setenv("MOCKSERVER_PROFILE", IN_WORDS)
    assert asked() == IN_WORDS
    assert asked("--profile", "docs") == "docs"


BAD = {
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


@pytest.mark.parametrize("asked", BAD)
def test_what_is_no_profile_is_told_with_what_there_is(server: MockServer, asked: str) -> None:
    with pytest.raises(click.UsageError, match=re.escape(BAD[asked])):
        main.serve.make_context("serve", ["--profile", asked])
    with pytest.raises(ValueError, match=re.escape(BAD[asked])):
        Mock(Settings(profile=asked))
    with pytest.raises(MockError, match=re.escape(BAD[asked])):
        server.world(profile=asked)


@pytest.mark.parametrize(
    ("asked", "problem"),
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
def test_over_http_it_is_told_which_part_is_wrong(server: MockServer, asked: dict[str, Any], problem: str) -> None:
    with pytest.raises(MockError) as caught:
        server.world("asked", profile=asked)
    assert str(caught.value).startswith(problem)
    assert (caught.value.status, caught.value.code) == (400, "invalid_parameter")


def test_a_world_has_its_own_and_can_have_the_servers_again(server: MockServer) -> None:
    with (
        MockServer(profile="live,zeros=yes") as own,
        own.world(profile=LAGGING) as world,
        own.world(profile=IN_WORDS) as other,
    ):
        assert switches(own, world.world + "-x") == LAGGING_LIVE | {
            "delete_lag": 0,
            "file_routes_when_expired": 404,
            "zeros": True,
        }
        for each in (world, other):
            assert {name: each.state()["profile"][name] for name in LAGGING_LIVE} == LAGGING_LIVE
        world.set_profile({"delete_lag": 7})
        told = world.state()["profile"]
        assert (told["max_minutes"], told["zeros"], told["delete_lag"]) == (20, True, 7), "the server's, changed"
        world.set_profile(None)
        assert world.state()["profile"] == other.server.control("POST", "worlds/another")["profile"]
        control = f"{own.url}/_mock/worlds/{other.world}/profile"
        told = ok(httpx2.put(control, json={"name": "docs,zeros=on", "switches": {"older_fields": False}}))
        assert changes(Profile(**told["profile"])) == {
            "expiry_unasked": False,
            "running_status": "active",
            "zeros": True,
        }


def test_seeds_set_it_for_all_worlds_and_for_one(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\n"
        "profile:\n  base: live\n  delete_lag: 5m\n  file_routes_when_expired: 410\n"
        "worlds:\n  strict:\n    profile: live\n  lax:\n    profile: {base: default, zeros: on}\n"
        "  own:\n    profile: {zeros: yes}\n"
    )
    with MockServer(seed=(seed,), profile="docs") as server:
        assert switches(server, "any") == LAGGING_LIVE
        assert switches(server, "strict")["delete_lag"] == 0
        assert changes(Profile(**server.control("POST", "worlds/lax")["profile"])) == {"zeros": True}
        assert changes(Profile(**server.control("POST", "worlds/own")["profile"])) == {
            **changes(PROFILES["docs"]),
            "zeros": True,
        }, "without a base it changes the server's"


@pytest.mark.parametrize("asked", ["contract", LAGGING, {"base": "docs", "older_fields": False}])
def test_it_comes_back_from_an_export(server: MockServer, tmp_path: Path, asked: profiles.Requested) -> None:
    archive = tmp_path / "world.zip"
    with server.world(profile=asked) as world, server.world() as other:
        before = world.state()["profile"]
        world.export(archive)
        with zipfile.ZipFile(archive) as packed:
            assert json.loads(packed.read("seed.yaml"))["profile"] == profiles.as_json(profiles.read(asked))
        other.import_(archive)
        assert other.state()["profile"] == before
        snapshot = other.snapshot()
        other.set_profile(None)
        snapshot.restore()
        assert other.state()["profile"] == before
    with MockServer(seed=(archive,)) as seeded:
        assert seeded.control("POST", "worlds/fresh")["profile"] == before


@pytest.mark.parametrize("asked", [*PROFILES, IN_WORDS, "docs,older_fields=no,running_status=running,zeros=yes"])
def test_it_is_told_in_words_that_can_be_asked_for(server: MockServer, asked: str) -> None:
    with server.world(profile=asked) as world:
        told = world.state()
        assert profiles.read(told["profile_name"]) == profiles.read(asked) == Profile(**told["profile"])
        assert asked not in PROFILES or told["profile_name"] == asked


def test_it_outlives_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with MockServer(data=tmp_path, profile="docs") as server:
            if "kept" not in [each["name"] for each in server.control("GET", "worlds")["data"]]:
                server.world("kept", profile=LAGGING)
            shown = server.control("GET", "worlds/kept")["profile"]
            assert {name: shown[name] for name in LAGGING_LIVE} == LAGGING_LIVE


def test_switches_that_another_version_had_are_passed_over() -> None:
    assert profiles.from_json('{"base": "live", "zeros": true, "no_more": 1}') == profiles.read("live,zeros=yes")


def test_what_never_expires_comes_back_from_an_export(server: MockServer, tmp_path: Path) -> None:
    with server.world(profile="docs") as world, server.world() as other:
        with openai.OpenAI(base_url=world.base_url, api_key=world.api_key) as client:
            box = client.containers.create(name="box").id
        world.export(tmp_path / "world.zip")
        other.import_(tmp_path / "world.zip")
        other.clock.advance("52w")
        with openai.OpenAI(base_url=other.base_url, api_key=other.api_key) as client:
            there = client.containers.retrieve(box)
        assert (there.status, there.expires_after) == ("active", None)
        assert other.call("GET", "containers?status=running")["total"] == 1
        assert other.clock.advance("52w")["expired_containers"] == []


def test_a_place_taken_by_a_successor_comes_back_from_an_export(server: MockServer, tmp_path: Path) -> None:
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


# Where they are told


def test_help_and_the_description_of_the_control_plane_tell_every_switch(server: MockServer) -> None:
    words = " ".join(CliRunner().invoke(main.serve, ["--help"]).output.split())
    document = ok(httpx2.get(f"{server.url}/_mock/openapi.json"))["components"]["schemas"]
    for schema in (
        document["ProfileChange"]["properties"]["switches"],
        document["WorldState"]["properties"]["profile"]["anyOf"][0],
    ):
        assert schema["properties"].keys() == SWITCHES.keys()
        for each in SWITCHES.values():
            assert f"{each.name}={profiles.worded(each.default)} ({each.takes}) {each.meaning}" in words
            described = schema["properties"][each.name]
            assert described["default"] == each.default
            assert each.meaning in described["description"]
            assert each.evidence in described["description"]
            assert each.evidence.partition(":")[0] in get_args(Grade)
