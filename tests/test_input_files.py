"""Files in the input of a response, and the containers in which they are put."""

import base64
from typing import Any

import pytest
from conftest import World, error_message, ok

AUTO = [{"type": "code_interpreter", "container": {"type": "auto"}}]
TEXT = {"type": "input_text", "text": "go"}


def inline(name: str | None, content: str) -> dict[str, Any]:
    """A file in the input with its bytes."""
    data = base64.b64encode(content.encode()).decode()
    return {"type": "input_file", "file_data": f"data:text/plain;base64,{data}"} | ({"filename": name} if name else {})


def image(content: str) -> dict[str, Any]:
    return {"type": "input_image", "image_url": f"data:image/png;base64,{base64.b64encode(content.encode()).decode()}"}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [TEXT, *parts]}


def respond(world: World, *items: dict[str, Any], **more: Any) -> Any:
    return ok(world.http.post("/responses", json={"model": "m", "input": [*items], **more}))


def call(response: Any) -> Any:
    return next(item for item in response["output"] if item["type"] == "code_interpreter_call")


def tool(container: str) -> list[dict[str, Any]]:
    return [{"type": "code_interpreter", "container": container}]


def new_container(world: World) -> str:
    return str(ok(world.http.post("/containers", json={"name": "box"}))["id"])


def new_file(world: World, content: str = "x", name: str = "a.csv") -> str:
    form = {"file": (name, content.encode())}
    return str(ok(world.http.post("/files", data={"purpose": "user_data"}, files=form))["id"])


def inputs(world: World, container: str) -> list[tuple[str, str]]:
    """Names and contents of the files that the user put into a container, the oldest first."""
    files = ok(world.http.get(f"/containers/{container}/files?order=asc"))["data"]
    return [
        (
            file["path"].removeprefix("/mnt/data/"),
            world.http.get(f"/containers/{container}/files/{file['id']}/content").text,
        )
        for file in files
        if file["source"] == "user"
    ]


def test_files_of_one_name_are_all_put_into_the_container(world: World) -> None:
    box = new_container(world)
    for content in ("old", "new", "new"):
        respond(world, user(inline("data.csv", content)), tools=tool(box))
    respond(world, user(inline("b.txt", "1"), inline("b.txt", "2")), tools=tool(box))
    assert inputs(world, box) == [("data.csv", "old"), ("data.csv", "new"), ("b.txt", "1"), ("b.txt", "2")]


def test_files_without_a_name_are_numbered(world: World) -> None:
    box = new_container(world)
    first = user(image("1"), image("2"), inline(None, "3"), inline(None, "4"))
    done = respond(world, first, tools=tool(box))["output"]
    expected = [("image.png", "1"), ("image-2.png", "2"), ("file", "3"), ("file-2", "4")]
    assert inputs(world, box) == expected
    respond(world, first, *done, user(image("5"), image("1")), tools=tool(box))
    assert inputs(world, box) == [*expected, ("image-3.png", "5")]


def test_a_repeated_file_does_not_replace_what_the_assistant_wrote(world: World) -> None:
    box = new_container(world)
    ok(world.http.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=[
        {"when": {"turn": 1}, "files": [{"path": "data.csv", "content": "changed"}], "say": "Done."},
        {"when": {"turn": 2}, "say": "[x](sandbox:/mnt/data/data.csv)"},
    ]))  # fmt: skip
    first = user(inline("data.csv", "old"))
    done = respond(world, first, tools=tool(box))["output"]
    again = respond(world, first, *done, user(), tools=tool(box))
    cited = again["output"][0]["content"][0]["annotations"][0]
    assert world.http.get(f"/containers/{box}/files/{cited['file_id']}/content").text == "changed"
    assert inputs(world, box) == []


@pytest.mark.parametrize("first", [{}, {"tools": AUTO, "tool_choice": "none"}])
@pytest.mark.parametrize("conversation", [False, True])
def test_a_new_container_has_the_files_of_earlier_turns(
    world: World, first: dict[str, Any], conversation: bool
) -> None:
    file, lost = new_file(world), new_file(world)
    more = {"conversation": "conv_1"} if conversation else {}
    parts = user({"type": "input_file", "file_id": file}, {"type": "input_file", "file_id": lost}, inline("b.txt", "b"))
    previous = respond(world, parts, **first, **more)
    ok(world.http.delete(f"/files/{lost}"))
    for turn in range(3):
        more = more if conversation else {"previous_response_id": previous["id"]}
        previous = respond(world, user(inline("c.txt", str(turn))), **more, **({"tools": AUTO} if turn else {}))
    expected = [(f"{file}-a.csv", "x"), ("b.txt", "b"), ("c.txt", "0"), ("c.txt", "1"), ("c.txt", "2")]
    assert inputs(world, call(previous)["container_id"]) == expected


def test_a_reused_container_gets_the_files_of_turns_without_one(world: World) -> None:
    first = respond(world, user(inline("a.txt", "a")), tools=AUTO)
    box = call(first)["container_id"]
    second = respond(world, user(inline("b.txt", "b")), previous_response_id=first["id"])
    for file in ok(world.http.get(f"/containers/{box}/files"))["data"]:
        ok(world.http.delete(f"/containers/{box}/files/{file['id']}"))
    respond(world, user(), previous_response_id=second["id"], tools=AUTO)
    assert inputs(world, box) == [("b.txt", "b")]  # the deleted one stays deleted


def test_each_container_of_a_chain_gets_the_files_of_turns_that_used_another_one(world: World) -> None:
    first = respond(world, user(), tools=AUTO)
    shell = [{"type": "shell", "environment": {"type": "container_auto"}}]
    second = respond(world, user(inline("b.txt", "b")), tools=shell, previous_response_id=first["id"])
    third = respond(world, user(), tools=AUTO, previous_response_id=second["id"])
    assert call(third)["container_id"] == call(first)["container_id"]
    assert inputs(world, call(first)["container_id"]) == [("b.txt", "b")]


def test_earlier_files_survive_an_export(world: World) -> None:
    first = respond(world, user(inline("a.txt", "a")))
    archive = world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/export").content
    other = World(world.server, f"{world.name}-copy")
    imported = world.http.post(f"{world.server.url}/_mock/worlds/{other.name}/import", content=archive)
    assert imported.is_success, imported.text
    with other:
        again = respond(other, user(), previous_response_id=first["id"], tools=AUTO)
        assert inputs(other, call(again)["container_id"]) == [("a.txt", "a")]


def test_a_long_chain_knows_its_newest_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockserver.runs.MAX_CARRIED", 2)
    previous: dict[str, Any] = {}
    for turn in range(4):
        previous = {"previous_response_id": respond(world, user(inline("a", str(turn))), **previous)["id"]}
    box = call(respond(world, user(), tools=AUTO, **previous))["container_id"]
    assert inputs(world, box) == [("a", "2"), ("a", "3")]
    monkeypatch.setattr("mockserver.inputs.MAX_EARLIER", 300)
    box = call(respond(world, user(), tools=AUTO, **previous))["container_id"]
    assert inputs(world, box) == [("a", "3")]


@pytest.mark.parametrize(
    ("part", "code", "message"),
    [
        ({"type": "input_file", "file_id": "file-no"}, None, "No such File object: file-no"),
        ({"type": "input_file", "filename": "a", "file_data": "!!!"}, "invalid_value", "not valid base64"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"tools": AUTO}, {"tools": AUTO, "tool_choice": "none"}])
@pytest.mark.parametrize("output", [False, True])
def test_invalid_files_are_rejected_with_and_without_a_container(
    world: World, part: dict[str, Any], code: str | None, message: str, more: dict[str, Any], output: bool
) -> None:
    item = {"type": "function_call_output", "call_id": "c", "output": [part]} if output else user(part)
    response = world.http.post("/responses", json={"model": "m", "input": [item], **more})
    assert message in error_message(response, 400, code)
    assert ok(world.http.get("/containers"))["data"] == []


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call_output", "call_id": "c", "output": [inline("a.txt", "a")]},
        {"type": "custom_tool_call_output", "call_id": "c", "output": [inline("a.txt", "a")]},
        {"role": "developer", "content": [inline("a.txt", "a")]},
        {"role": "system", "content": [inline("a.txt", "a")]},
    ],
)
def test_files_of_every_role_and_of_outputs_are_put_into_the_container(world: World, item: dict[str, Any]) -> None:
    assert inputs(world, call(respond(world, item, user(), tools=AUTO))["container_id"]) == [("a.txt", "a")]


def test_a_long_name_of_a_file_in_an_output_is_rejected(world: World) -> None:
    item = {"type": "function_call_output", "call_id": "c", "output": [inline("a" * 1_025, "a")]}
    response = world.http.post("/responses", json={"model": "m", "input": [item]})
    error_message(response, 400, "string_above_max_length")
    assert response.json()["error"]["param"] == "input[0].output[0].filename"


def test_a_run_without_a_call_uses_its_container(world: World) -> None:
    world.freeze()
    box = new_container(world)
    world.advance(60)
    respond(world, user(inline("a.txt", "a")), tools=tool(box), tool_choice="none")
    shown = next(
        each for each in ok(world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/containers"))["data"]
    )
    assert shown["last_active_at"] == shown["created_at"] + 60
    assert inputs(world, box) == [("a.txt", "a")]
