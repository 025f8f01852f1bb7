"""Responses: unscripted runs, chains, containers, storage, streams, background runs, answers, limits."""

import asyncio
import json
import threading
import tracemalloc
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from conftest import World, error_message, new_world, ok
from openai.types.responses import Response
from skill_bundles import inline_skill, zipped

from mockserver import answers as rules
from mockserver import containers, context, ids, responses, runs, transcript, unscripted
from mockserver.api import exchange, streams
from mockserver.api.streams import MAX_DELTAS
from mockserver.mock import STREAMS_AT_ONCE, Mock
from mockserver.responses import MAX_ECHO
from mockserver.schema import answers
from mockserver.schema.responses import MAX_TEXT
from mockserver.server.protocol import Connection
from mockserver.server.serving import MockServer
from mockserver.settings import Settings
from mockserver.testing.journal import notes

AUTO: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]
AUTO_WITH_MEMORY: Any = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}
FUNCTION: Any = {"type": "function", "name": "f", "parameters": {}}
LOCAL: Any = {"type": "shell", "environment": {"type": "local"}}
SHELL: Any = [{"type": "shell", "environment": {"type": "container_auto"}}]


def hosted_shell(*skills: dict[str, Any]) -> dict[str, Any]:
    """A shell tool with a container of its own that has skills."""
    return {"type": "shell", "environment": {"type": "container_auto", "skills": list(skills)}}


LOCAL_SKILL = {"name": "a", "description": "b", "path": "/skills/a"}


def local_shell(*skills: dict[str, Any]) -> dict[str, Any]:
    """A shell tool of the client with its skills."""
    return {"type": "shell", "environment": {"type": "local", "skills": list(skills)}}


def skill_named(name: str, padding: str = "") -> dict[str, Any]:
    manifest = f"---\nname: {name}\ndescription: Does things.\n---\n{padding}"
    return inline_skill(zipped({f"{name}/SKILL.md": manifest}), name, "Does things.")


def control_url(world: World, path: str = "") -> str:
    return f"{world.server.url}/_mock/worlds/{world.name}{path}"


def script(world: World, *rules: dict[str, Any]) -> None:
    """Add answers to a world."""
    ok(world.http.post(control_url(world, "/answers"), json=list(rules)))


def set_switch(world: World, name: str, value: object) -> None:
    ok(world.http.put(control_url(world, "/profile"), json={"switches": {name: value}}))


def run(world: World, prompt: str, **more: Any) -> Response:
    return world.openai.responses.create(model="gpt-5", input=prompt, **({"tools": AUTO} | more))


def container(response: Response) -> str:
    return next(item.container_id for item in response.output if item.type == "code_interpreter_call")


def file_paths(world: World, box: str) -> list[str]:
    return sorted(file["path"] for file in ok(world.http.get(f"/containers/{box}/files"))["data"])


def stream_events(world: World, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Create a streamed response and return its events."""
    response = world.http.post("/responses", json={"model": "gpt-5", "stream": True, **body})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "cache-control" not in response.headers
    return parse_events(response.text)


@contextmanager
def background_run(
    world: World, prompt: str = "go"
) -> Iterator[tuple[str, Callable[[], list[tuple[str, dict[str, Any]]]]]]:
    """Start a background run and read its first event. Yield its id, and a function that returns all its events."""
    body = {"model": "m", "input": prompt, "tools": AUTO, "stream": True, "background": True}
    with world.http.stream("POST", "/responses", json=body) as stream:
        parts = stream.iter_text()
        first = next(parts)
        id = json.loads(first.split("\n")[1].removeprefix("data: "))["response"]["id"]
        yield id, lambda: parse_events(first + "".join(parts))


def parse_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    assert text.endswith("\n\n")
    events = []
    for number, block in enumerate(text.removesuffix("\n\n").split("\n\n")):
        kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        assert next(iter(event)) == "type"
        assert [*event][1:] == sorted([*event][1:])
        assert event["sequence_number"] >= number
        events.append((event["type"], event))
    return events


# Unscripted runs


def test_files_named_in_the_prompt_are_written_and_cited(world: World) -> None:
    response = run(world, "Please make report.csv and out/plot.png", include=["code_interpreter_call.outputs"])
    call, message = response.output
    assert call.type == "code_interpreter_call"
    assert message.type == "message"
    assert call.outputs is not None
    assert call.outputs[0].model_dump() == {"type": "logs", "logs": "['plot.png', 'report.csv']\n"}
    text = message.content[0]
    assert text.type == "output_text"
    spans = [text.text[each.start_index : each.end_index] for each in text.annotations]  # type: ignore[union-attr]
    assert spans == ["sandbox:/mnt/data/report.csv", "sandbox:/mnt/data/out/plot.png"]
    for each in text.annotations:
        assert each.type == "container_file_citation"
        file = ok(world.http.get(f"/containers/{each.container_id}/files/{each.file_id}"))
        assert (file["source"], file["bytes"]) == ("assistant", None)
        assert world.openai.containers.files.content.retrieve(each.file_id, container_id=each.container_id).read()
    assert world.openai.containers.retrieve(call.container_id).name == "auto"


def test_the_same_input_has_the_same_text_code_and_usage_in_two_worlds(world: World) -> None:
    other = World(world.server, f"{world.name}-other")
    bodies = []
    for each in (world, other):
        each.freeze()
        text = each.http.post("/responses", json={"model": "m", "input": "a.csv", "tools": AUTO}).text
        body = json.loads(text)
        bodies.append((body["output"][1]["content"][0]["text"], body["output"][0]["code"], body["usage"]))
    other.close()
    assert bodies[0] == bodies[1]


def test_a_json_schema_gets_an_instance_that_matches_it(world: World) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}}},
        "required": ["name", "rows"],
        "additionalProperties": False,
        "$defs": {"row": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    }
    text: Any = {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": schema}}
    response = run(world, "make data.csv", text=text)
    assert json.loads(response.output_text) == {"name": "", "rows": []}
    assert file_paths(world, container(response)) == ["/mnt/data/data.csv"]


@pytest.mark.parametrize("more", [{"tools": []}, {"tool_choice": "none"}])
def test_a_run_without_a_tool_repeats_the_prompt(world: World, more: dict[str, Any]) -> None:
    response = run(world, "Grüße, 世界", **more)
    assert [item.type for item in response.output] == ["message"]
    assert response.output_text == "Grüße, 世界"


def test_code_in_the_prompt_is_returned_but_not_executed(world: World) -> None:
    response = run(world, "run\n```python\nprint(6 * 7)\n```", include=["code_interpreter_call.outputs"])
    call = response.output[0]
    assert call.type == "code_interpreter_call"
    assert call.code == "print(6 * 7)\n"
    assert call.outputs is not None
    assert "not run" in str(call.outputs[0])
    assert "42" not in str(call.outputs[0])


@pytest.mark.parametrize(("mode", "status"), [("echo", 200), ("refuse", 400)])
def test_the_switch_unscripted_repeats_the_prompt_or_rejects_the_request(world: World, mode: str, status: int) -> None:
    set_switch(world, "unscripted", mode)
    script(world, {"id": "other", "when": {"text": "elephants", "model": "gpt-5"}, "say": "x"})
    response = world.http.post("/responses", json={"model": "gpt-5", "input": "a.csv", "tools": AUTO})
    if status == 200:
        assert [item["type"] for item in ok(response)["output"]] == ["message"]
    else:
        assert "'other': text is not 'elephants'" in error_message(response, 400, "no_answer")


def test_a_rejected_request_counts_for_an_answer_that_skips_requests(world: World) -> None:
    set_switch(world, "unscripted", "refuse")
    script(world, {"skip": 1, "say": "hello"})
    body = {"model": "gpt-5", "input": "a", "tools": AUTO}
    error_message(world.http.post("/responses", json=body), 400, "no_answer")
    assert ok(world.http.get("/containers"))["data"] == []
    assert ok(world.http.post("/responses", json=body))["output"][0]["content"][0]["text"] == "hello"


# The response object


def test_keys_of_a_response_are_in_the_order_of_the_live_api_and_text_is_escaped(world: World) -> None:
    response = world.http.post("/responses", json={"model": "gpt-5", "input": "ü €", "metadata": {"a": "b"}})
    assert response.text.startswith('{\n  "id": "resp_')
    assert not response.text.endswith("\n")
    assert "\\u00fc \\u20ac" in response.text
    assert response.text.isascii()
    assert '"temperature": 1.0,' in response.text
    assert list(response.json()) == [
        *("id", "object", "created_at", "status", "background", "billing", "completed_at", "error"),
        *("frequency_penalty", "incomplete_details", "instructions", "max_output_tokens", "max_tool_calls", "model"),
        *("moderation", "output", "parallel_tool_calls", "presence_penalty", "previous_response_id"),
        *("prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store"),
        *("temperature", "text", "tool_choice", "tool_usage", "tools", "top_logprobs", "top_p", "truncation", "usage"),
        *("user", "metadata"),
    ]
    assert response.headers["x-ratelimit-limit-requests"]


def test_ids_of_a_chain_share_their_first_digits(world: World) -> None:
    first = run(world, "one.csv")
    second = run(world, "two.csv", previous_response_id=first.id)
    alone = run(world, "x", store=False)
    ids = [first.id, second.id, *(item.id or "" for item in (*first.output, *second.output))]
    assert {id.partition("_")[2][:18] for id in ids} == {first.id[5:23]}
    assert first.id[21:23] == "00"
    assert alone.id[21:23] == "01"
    assert {len(id.partition("_")[2]) for id in ids} == {50}


@pytest.mark.parametrize(
    ("body", "status", "param", "code", "message"),
    [
        ({"tools": [{"type": "code_interpreter"}]}, 400, "tools[0].container", "missing_required_parameter", "Missing"),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "files": []}}]},
            *(400, "tools[0].container.files", "unknown_parameter", "Unknown parameter"),
        ),
        (
            {"tools": [{"type": "function", "container": "x"}]},
            *(400, "tools[0].container", "unknown_parameter", "Unknown parameter"),
        ),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-x"] * 51}}]},
            *(400, "tools[0].container.file_ids", "array_above_max_length", "array too long"),
        ),
        (
            {"tools": [{"type": "code_interpreter", "container": "cntr_none"}]},
            *(404, None, None, "Container with id 'cntr_none' not found."),
        ),
        (
            {"previous_response_id": "resp_none"},
            *(400, "previous_response_id", "previous_response_not_found", "'resp_none' not found"),
        ),
        ({"input": [{"type": "item_reference", "id": "ci_none"}]}, 404, "input", None, "Item with id 'ci_none'"),
        (
            {"input": [{"type": "item_reference"}]},
            *(400, "input[0].id", "missing_required_parameter", "Missing required parameter: 'input[0].id'."),
        ),
        (
            {"input": [{"type": "reasoning", "id": "rs_none", "summary": []}]},
            *(404, "input", None, "Item with id 'rs_none' not found. Items are not persisted"),
        ),
        ({"input": 5}, 400, "input", "invalid_type", "Invalid type"),
        (
            {"instructions": 5},
            400,
            "instructions",
            "invalid_type",
            "Invalid type for 'instructions': expected an array",
        ),
        ({"tool_choice": 5}, 400, "tool_choice", "invalid_type", "Invalid type for 'tool_choice': expected an object"),
        ({"tools": [5]}, 400, "tools[0]", "invalid_type", "Invalid type for 'tools[0]': expected an object"),
        ({"tools": [{"type": 5}]}, 400, "tools[0].type", "invalid_type", "expected a string"),
        ({"tools": [{}]}, 400, "tools[0].type", "missing_required_parameter", "'tools[0].type'"),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-x"]}}]},
            *(400, "tools[0].container.file_ids", None, "No such File object: file-x"),
        ),
        (
            {"tools": [SHELL[0], hosted_shell({"type": "skill_reference", "skill_id": "skill_x"})]},
            *(400, "tools[1].environment.skills", None, "Skill with id 'skill_x' not found."),
        ),
        ({"model": None}, 400, "model", "invalid_type", "Invalid type"),
        ({"stream": "yes"}, 400, "stream", "invalid_type", "a boolean"),
        ({"sttream": True}, 400, "sttream", "unknown_parameter", "Unknown parameter: 'sttream'."),
        (
            {"temperature": 3},
            *(400, "temperature", "decimal_above_max_value", "Expected a value <= 2, but got 3 instead."),
        ),
        (
            {"top_p": -0.5},
            *(400, "top_p", "decimal_below_min_value", "Expected a value >= 0, but got -0.5 instead."),
        ),
        ({"metadata": {"k" * 65: "v"}}, 400, f"metadata.{'k' * 65}", "string_above_max_length", "length 64"),
        ({"tool_choice": "maybe"}, 400, "tool_choice", "invalid_value", "'maybe'"),
        ({"tool_choice": "required"}, 400, "tool_choice", None, "'required' must be specified with 'tools'"),
        ({"tool_choice": {"type": "shell"}}, 400, "tool_choice", None, "Tool choice 'shell' not found in 'tools'"),
        (
            {"tools": AUTO, "tool_choice": {"type": "shell"}},
            *(400, "tool_choice", None, "Tool choice 'shell' not found in 'tools' parameter."),
        ),
        (
            {"tools": AUTO, "tool_choice": {"type": "function", "name": "f"}},
            *(400, "tool_choice", None, "Tool choice 'function' not found in 'tools' parameter."),
        ),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}},
            *(400, "tool_choice", None, "Tool choice 'g' not found in 'tools' parameter."),
        ),
        (
            {"tools": AUTO, "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]}},
            *(400, "tool_choice", None, "Tool choice 'shell' not found in 'tools' parameter."),
        ),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function"}},
            *(400, "tool_choice.name", "missing_required_parameter", "Missing required parameter: 'tool_choice.name'."),
        ),
        ({"tools": AUTO, "tool_choice": {}}, 400, "tool_choice.type", "missing_required_parameter", "Missing"),
        (
            {"tools": AUTO, "tool_choice": {"type": "allowed_tools", "tools": [{"type": 5}]}},
            *(400, "tool_choice.tools[0].type", "invalid_type", "expected a string, but got an integer instead."),
        ),
        (
            {"tools": [local_shell({"type": "skill_reference", "skill_id": "skill_x"})]},
            *(400, "tools[0].environment.skills[0].name", "missing_required_parameter", "Missing"),
        ),
        (
            {"tools": [local_shell(LOCAL_SKILL | {"type": "skill_reference"})]},
            *(400, "tools[0].environment.skills[0].type", "unknown_parameter", "Unknown parameter"),
        ),
        (
            {"tools": [local_shell(*[LOCAL_SKILL] * 201)]},
            *(400, "tools[0].environment.skills", "array_above_max_length", "maximum length 200"),
        ),
        (
            {"input": [{"type": "message", "content": "x"}]},
            *(400, "input[0].role", "missing_required_parameter", "Missing required parameter: 'input[0].role'."),
        ),
        (
            {"input": [{"role": 5, "content": "x"}]},
            *(400, "input[0].role", "invalid_type", "'input[0].role': expected a string, but got an integer instead."),
        ),
        (
            {"input": [{"role": "tool", "content": "x"}]},
            400,
            "input[0].role",
            "invalid_value",
            "Invalid value: 'tool'.",
        ),
        ({"input": [{"role": "user"}]}, 400, "input[0].content", "missing_required_parameter", "'input[0].content'."),
        (
            {"input": [{"role": "user", "content": 5}]},
            *(400, "input[0].content", "invalid_type", "one of a string or array of objects, but got an integer"),
        ),
        ({"input": [{"role": "user", "content": ["x"]}]}, 400, "input[0].content[0]", "invalid_type", "an object"),
        ({"input": [{"type": 5}]}, 400, "input[0].type", "invalid_type", "expected a string, but got an integer"),
        ({"input": [{"type": None, "id": "ci_none"}]}, 404, "input", None, "Item with id 'ci_none' not found."),
    ],
)
def test_invalid_requests_are_rejected(
    world: World, body: dict[str, Any], status: int, param: str | None, code: str | None, message: str
) -> None:
    response = world.http.post("/responses", json={"model": "m", "input": "x", **body})
    assert message in error_message(response, status, code)
    assert response.json()["error"]["param"] == param


def test_null_parameters_get_their_defaults(world: World) -> None:
    nulls = (
        "instructions",
        "max_output_tokens",
        "metadata",
        "previous_response_id",
        "user",
        "include",
        "store",
        "text",
    )
    body = ok(world.http.post("/responses", json={"model": "m", "input": "x", **dict.fromkeys(nulls)}))
    assert body["store"] is True
    assert body["metadata"] == {}


# Containers


def test_each_way_to_continue_a_chain_keeps_its_container(world: World) -> None:
    first = run(world, "one.csv")
    box = container(first)
    replayed: Any = [*first.to_dict()["output"], {"role": "user", "content": "two.csv"}]  # type: ignore[misc]
    references: Any = [{"type": "item_reference", "id": item.id} for item in first.output]
    assert container(run(world, "two.csv", previous_response_id=first.id)) == box
    assert container(world.openai.responses.create(model="m", input=replayed, tools=AUTO)) == box
    by_reference = [*references, {"role": "user", "content": "three.csv"}]
    assert container(world.openai.responses.create(model="m", input=by_reference, tools=AUTO)) == box
    assert container(run(world, "four.csv")) != box


def test_a_conversation_keeps_its_container(world: World) -> None:
    first = run(world, "one.csv", conversation="conv_1")
    second = run(world, "two.csv", conversation={"id": "conv_1"})
    assert container(first) == container(second)
    assert second.conversation is not None
    assert second.conversation.id == "conv_1"


def test_an_expired_container_of_a_chain_is_an_error_or_replaced(world: World) -> None:
    world.freeze()
    first = run(world, "one.csv")
    items: Any = [*first.to_dict()["output"], {"role": "user", "content": "x"}]  # type: ignore[misc]
    world.advance(21 * 60)
    with pytest.raises(openai.BadRequestError, match="Container is expired"):
        run(world, "two.csv", previous_response_id=first.id)
    with pytest.raises(openai.BadRequestError, match=f"Expected container_id: {container(first)}"):
        world.openai.responses.create(model="m", input=items, tools=AUTO)
    set_switch(world, "auto_expired", "replace")
    assert container(run(world, "two.csv", previous_response_id=first.id)) != container(first)


def test_files_of_the_request_are_added_to_the_container(world: World) -> None:
    file = world.openai.files.create(file=("sales.csv", b"a,b\n"), purpose="user_data")
    tools: Any = [
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [file.id], "memory_limit": "4g"}}
    ]
    content: Any = [
        {"type": "input_text", "text": "look"},
        {"type": "input_file", "filename": "notes.txt", "file_data": "data:text/plain;base64,aGk="},
    ]
    response = world.openai.responses.create(model="m", input=[{"role": "user", "content": content}], tools=tools)
    box = container(response)
    assert {f"/mnt/data/{file.id}-sales.csv", "/mnt/data/notes.txt"} <= {*file_paths(world, box)}
    assert world.openai.containers.retrieve(box).memory_limit == "4g"


def test_reasoning_precedes_the_item_of_its_step(world: World) -> None:
    script(world, {"steps": [{"reasoning": True, "code": "1"}, {"reasoning": "Now I know.", "say": "One."}]})
    shown: list[list[dict[str, Any]]] = []
    for include in ([], ["reasoning.encrypted_content"]):
        body = {"model": "gpt-5", "input": "go", "tools": AUTO, "include": include}
        shown.append(ok(world.http.post("/responses", json=body))["output"])
    plain, hidden = shown
    kinds = ["reasoning", "code_interpreter_call", "reasoning", "message"]
    assert [item["type"] for item in plain] == [item["type"] for item in hidden] == kinds
    assert [*plain[2]] == ["id", "type", "summary"]
    assert [*hidden[2]] == ["id", "type", "content", "encrypted_content", "summary"]
    assert plain[2]["summary"] == hidden[2]["summary"] == [{"type": "summary_text", "text": "Now I know."}]


def test_an_answer_sets_the_phases_of_messages_and_the_usage(world: World) -> None:
    usage = {"input": 100, "cached": 60, "output": 20, "reasoning": 15}
    steps = [{"say": "I begin.", "phase": "commentary"}, {"say": '{"title": "x"}', "phase": "final_answer"}]
    script(world, {"steps": steps, "usage": usage})
    shown = ok(world.http.post("/responses", json={"model": "gpt-5.5", "input": "go"}))
    assert [[*item] for item in shown["output"]] == 2 * [["id", "type", "status", "content", "phase", "role"]]
    assert [item["phase"] for item in shown["output"]] == ["commentary", "final_answer"]
    assert shown["usage"] == {
        "input_tokens": 100,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 60},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 15},
        "total_tokens": 120,
    }


def test_the_tools_of_a_request_are_returned_unchanged(world: World) -> None:
    response = world.http.post("/responses", json={"model": "gpt-5", "input": "go", "tools": [AUTO_WITH_MEMORY]})
    assert json.dumps(ok(response)["tools"]) == json.dumps([AUTO_WITH_MEMORY])


def test_a_hosted_shell_runs_in_a_container_and_a_local_one_does_not(world: World) -> None:
    script(world, {"commands": ["ls", "cat a"], "logs": "hello\n", "files": [{"path": "a", "content": "b"}]})
    response = run(world, "go", tools=SHELL)
    call, output = response.output
    assert call.type == "shell_call"
    assert output.type == "shell_call_output"
    assert output.call_id == call.call_id
    assert output.output[-1].stdout == "hello\n"
    assert response.tools[0].to_dict() == {"type": "shell", "environment": call.environment.to_dict()}  # type: ignore[union-attr]
    local = run(world, "go", tools=[{"type": "shell", "environment": {"type": "local"}}])
    assert [item.type for item in local.output] == ["shell_call"]
    assert local.output[0].environment is None  # type: ignore[union-attr]


def test_each_hosted_shell_has_its_own_container_and_skills(world: World) -> None:
    tools: Any = [
        hosted_shell(skill_named("aaa")),
        {"type": "shell", "environment": {"type": "local"}},
        hosted_shell(skill_named("bbb")),
    ]
    for choice in ("auto", "none", {"type": "function", "name": "f"}):
        response = run(world, "go", tools=[*tools, FUNCTION], tool_choice=choice)
        shown = [tool.environment for tool in response.tools if tool.type == "shell"]
        assert [each and each.type for each in shown] == ["container_reference", "local", "container_reference"]
        for environment, name in ((shown[0], "aaa"), (shown[2], "bbb")):
            assert environment is not None
            assert environment.type == "container_reference"
            url = control_url(world, f"/containers/{environment.container_id}")
            assert [skill["name"] for skill in ok(world.http.get(url))["skills"]] == [name]
    missing = hosted_shell({"type": "skill_reference", "skill_id": "skill_x"})
    first = run(world, "go", tools=SHELL)
    body = {"model": "m", "input": "x", "tools": [missing], "previous_response_id": first.id}
    error = error_message(world.http.post("/responses", json=body), 400, None)  # although its container is used again
    assert error == "Skill with id 'skill_x' not found."
    mismatched = hosted_shell({**skill_named("bbb"), "description": "Does nothing."})
    body |= {"tools": [hosted_shell(skill_named("aaa")), mismatched]}
    error = error_message(world.http.post("/responses", json=body), 400, None)
    assert "Inline skill name/description must match" in error
    two_shells = ok(
        world.http.post(
            "/responses", json={"model": "m", "input": "x", "tools": [SHELL[0], hosted_shell(skill_named("a"))]}
        )
    )
    assert len({tool["environment"]["container_id"] for tool in two_shells["tools"]}) == 2


def test_moderation_is_returned_unchanged(world: World) -> None:
    body = {"model": "m", "input": "x", "moderation": {"model": "omni"}}
    assert ok(world.http.post("/responses", json=body))["moderation"] == {"model": "omni"}


# Storage


def test_reasoning_in_the_input_must_be_stored_or_include_its_content(world: World) -> None:
    script(world, {"steps": [{"reasoning": "I think.", "say": "done"}]})
    for more, status in (({}, 200), ({"store": False}, 404), ({"include": ["reasoning.encrypted_content"]}, 200)):
        body = {"model": "m", "input": "go", **more} | ({"store": False} if more else {})
        output = ok(world.http.post("/responses", json=body))["output"]
        again = {"model": "m", "input": [*output, {"role": "user", "content": "go on"}]}
        assert world.http.post("/responses", json=again).status_code == status


def test_a_stored_response_can_be_read_listed_and_deleted(world: World) -> None:
    posted = world.http.post("/responses", json={"model": "m", "input": "a.csv", "tools": AUTO})
    id = posted.json()["id"]
    assert world.http.get(f"/responses/{id}").text == posted.text
    second = run(world, "b.csv", previous_response_id=id)
    pages = world.openai.responses.input_items.list(second.id, limit=2)
    assert [item.type for item in pages] == ["message", "message", "code_interpreter_call", "message"]
    asc = world.http.get(f"/responses/{second.id}/input_items?order=asc&limit=1").json()
    assert asc["data"][0]["content"] == [{"type": "input_text", "text": "a.csv"}]
    assert asc["has_more"] is True
    assert ok(world.http.delete(f"/responses/{id}")) == {"id": id, "object": "response.deleted", "deleted": True}
    assert "not found" in error_message(world.http.get(f"/responses/{id}"), 404, None)
    run(world, "c.csv", previous_response_id=second.id)


def test_a_response_that_is_not_stored_is_not_found(world: World) -> None:
    response = run(world, "a.csv", store=False)
    error_message(world.http.get(f"/responses/{response.id}"), 404, None)
    reference: Any = [{"type": "item_reference", "id": response.output[0].id}]
    with pytest.raises(openai.NotFoundError, match="store"):
        world.openai.responses.create(model="m", input=reference, tools=AUTO)
    assert file_paths(world, container(response)) == ["/mnt/data/a.csv"]


# Streams


def test_a_stream_has_all_events_in_order(world: World) -> None:
    script(world, {"steps": [{"code": "x = 1", "files": [{"path": "a.txt", "content": "a"}]}, {"say": "See {links}"}]})
    stream = stream_events(world, {"input": "go", "tools": AUTO, "include": ["code_interpreter_call.outputs"]})
    kinds = [kind for index, (kind, _) in enumerate(stream) if index == 0 or stream[index - 1][0] != kind]
    call = "response.code_interpreter_call"
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", f"{call}.in_progress"),
        *(f"{call}_code.delta", f"{call}_code.done", f"{call}.interpreting", f"{call}.completed"),
        *("response.output_item.done", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.delta", "response.output_text.annotation.added", "response.output_text.done"),
        *("response.content_part.done", "response.output_item.done", "response.completed"),
    ]
    assert [event["sequence_number"] for _, event in stream] == [*range(len(stream))]
    assert "billing" not in stream[0][1]["response"]
    assert "tool_usage" in stream[0][1]["response"]
    short = [event for kind, event in stream if kind.endswith("delta") and len(event["delta"]) < 16]
    assert short
    assert all(len(event["delta"] + event["obfuscation"]) == 16 for event in short)
    joined = "".join(event["delta"] for kind, event in stream if kind == "response.output_text.delta")
    assert joined == "See [a.txt](sandbox:/mnt/data/a.txt)"


def test_the_stream_helper_of_the_sdk_rebuilds_the_response(world: World) -> None:
    with world.openai.responses.stream(model="m", input="make a.csv", tools=AUTO) as stream:
        final = stream.get_final_response()
    stored = world.openai.responses.retrieve(final.id)
    assert final.output_text == stored.output_text
    assert [item.id for item in final.output] == [item.id for item in stored.output]


def test_obfuscation_can_be_turned_off(world: World) -> None:
    stream = stream_events(world, {"input": "hello", "stream_options": {"include_obfuscation": False}})
    assert all("obfuscation" not in event for _, event in stream)


def test_the_journal_records_a_stream_as_text(world: World) -> None:
    sent = world.http.post("/responses", json={"model": "m", "input": "ü", "stream": True}).text
    assert ok(world.http.get(control_url(world, "/journal")))["data"][0]["response"]["body"] == sent
    assert ok(world.http.get(control_url(world, "/verdict")))["findings"] == []


def test_an_error_before_the_first_event_is_plain_json(world: World) -> None:
    body = {"model": "m", "input": "x", "stream": True, "tools": [{"type": "code_interpreter", "container": "cntr_no"}]}
    error_message(world.http.post("/responses", json=body), 404, None)


def test_the_stream_of_a_failed_run_ends_with_an_error(world: World) -> None:
    script(world, {"steps": [{"code": "a", "files": [{"path": "a", "content": "b"}]}, {"fail": "container_not_found"}]})
    stream = stream_events(world, {"input": "go", "tools": AUTO})
    (_, error), (kind, failed) = stream[-2:]
    assert list(error["error"]) == ["message", "param", "type", "code"]
    assert kind == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["usage"] is None
    stored = ok(world.http.get(f"/responses/{failed['response']['id']}"))
    assert stored["error"] == {"code": "server_error", "message": error["error"]["message"]}
    assert file_paths(world, stored["output"][0]["container_id"]) == ["/mnt/data/a"]


@pytest.mark.parametrize(
    ("name", "code", "kind"),
    [
        ("rate_limited", "rate_limit_exceeded", "requests"),
        ("server_error", "server_error", "server_error"),
        ("upstream_unavailable", "server_error", "server_error"),
        ("container_expired", "server_error", "invalid_request_error"),
    ],
)
def test_a_failed_response_has_the_code_of_its_error_event(world: World, name: str, code: str, kind: str) -> None:
    script(world, {"steps": [{"code": "a"}, {"fail": name}]})
    (_, error), (_, failed) = stream_events(world, {"input": "go", "tools": AUTO})[-2:]
    assert error["error"]["type"] == kind
    assert failed["response"]["error"] == {"code": code, "message": error["error"]["message"]}
    stored = ok(world.http.get(f"/responses/{failed['response']['id']}"))
    assert stored["error"] == failed["response"]["error"]


def test_errors_of_scripts_name_the_request_and_the_operation(world: World) -> None:
    script(
        world,
        {"when": "whole", "fail": "server_error"},
        {"when": "part", "steps": [{"code": "a"}, {"fail": "server_error"}]},
        {"when": "limit", "steps": [{"code": "a"}, {"fail": "rate_limited"}]},
    )
    for prompt in ("whole", "part"):
        response = world.http.post("/responses", json={"model": "m", "input": prompt, "tools": AUTO})
        assert ids.as_uuid(response.headers["x-request-id"]) in response.json()["error"]["message"]
    limited = ok(world.http.post("/responses", json={"model": "m", "input": "limit", "tools": AUTO}))
    assert limited["error"]["message"].startswith("Rate limit reached for CreateResponse in organization ")


@pytest.mark.parametrize(
    ("tier", "queued", "completed"),
    [(None, "auto", "default"), ("auto", "auto", "default"), ("default", "auto", "default"), ("flex", "flex", "flex")],
)
def test_the_service_tier_is_known_when_a_run_is_completed(
    world: World, tier: str | None, queued: str, completed: str
) -> None:
    body = {"model": "m", "input": "x", "service_tier": tier}
    assert ok(world.http.post("/responses", json=body))["service_tier"] == completed
    assert ok(world.http.post("/responses", json=body | {"background": True}))["service_tier"] == queued


def test_tokens_are_a_quarter_of_the_characters_of_all_texts_in_the_context(world: World) -> None:
    script(world, {"say": "12345678", "code": "1234", "logs": "123"})

    def tokens(prompt: Any, **more: Any) -> tuple[str, tuple[int, int]]:
        response = run(world, prompt, **more)
        assert response.usage is not None
        return response.id, (response.usage.input_tokens, response.usage.output_tokens)

    first, used = tokens("x")
    assert used == (1, 4)  # 1 and 4 + 3 + 8 characters
    second, used = tokens("y" * 4, previous_response_id=first, instructions="i" * 8)
    assert used == (7, 4)  # 1 + 15 + 4 + 8
    assert tokens("z", previous_response_id=second)[1] == (9, 4)  # 1 + 15 + 4 + 15 + 1: instructions are not inherited
    items: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]
    items.append({"type": "function_call_output", "call_id": "call_1", "output": "o" * 8})
    assert tokens(items)[1] == (2, 4)


def test_the_output_of_a_cancelled_run_is_not_in_the_context(world: World) -> None:
    world.freeze()
    first = run(world, "x", background=True)
    ok(world.http.post(f"/responses/{first.id}/cancel"))
    usage = run(world, "abcd", previous_response_id=first.id, tools=[]).usage
    assert usage is not None
    assert usage.input_tokens == 2


# Background runs


def test_the_state_of_a_background_run_depends_only_on_the_clock(world: World) -> None:
    world.freeze()
    script(
        world,
        {
            "steps": [
                {"code": "1", "files": [{"path": "a", "content": "a"}], "takes": "30s"},
                {"code": "2", "files": [{"path": "a", "content": "b"}, {"path": "b", "content": "b"}], "takes": "30s"},
                {"say": "done"},
            ]
        },
    )
    response = run(world, "go", background=True)
    assert (response.status, response.output, response.usage) == ("queued", [], None)
    box = world.openai.containers.list().data[0].id
    seen = []
    for step in (1, 29, 30, -30):
        world.advance(step)
        now = world.openai.responses.retrieve(response.id)
        seen.append((now.status, len(now.output), file_paths(world, box)))
    a, both = ["/mnt/data/a"], ["/mnt/data/a", "/mnt/data/b"]
    assert seen == [("in_progress", 0, []), ("in_progress", 1, a), ("completed", 3, both), ("in_progress", 1, a)]


def test_steps_of_a_background_run_postpone_the_expiry_of_the_container(world: World) -> None:
    world.freeze()
    script(world, {"steps": [{"code": "1", "takes": "15m"}, {"code": "2", "takes": "15m"}, {"say": "done"}]})
    run(world, "go", background=True)
    box = world.http.get("/containers").json()["data"][0]["id"]
    world.advance(49 * 60)
    state = world.http.get(control_url(world, f"/containers/{box}")).json()
    assert state["status"] == "running"
    world.advance(60)
    state = world.http.get(control_url(world, f"/containers/{box}")).json()
    assert state["status"] == "expired"


def test_the_container_of_a_background_run_can_be_expired_at_any_time(world: World) -> None:
    world.freeze()
    script(world, {"steps": [{"code": "1", "takes": "1m"}, {"code": "2", "takes": "1m"}, {"say": "done"}]})
    for minutes in (0, 1, 5):
        run(world, "go", background=True)
        world.advance(60 * minutes)
        box = world.http.get("/containers").json()["data"][0]["id"]
        state = control_url(world, f"/containers/{box}")
        assert world.http.post(f"{state}/expire").json()["status"] == "expired"
        world.advance(120)
        assert world.http.get(state).json()["status"] == "expired"
        assert world.http.get(f"/containers/{box}/files").status_code == 404


def test_a_cancelled_run_keeps_only_files_of_completed_steps(world: World) -> None:
    world.freeze()
    step = {"code": "1", "takes": "30s"}
    files = [[{"path": name, "content": name}] for name in "ab"]
    script(world, {"steps": [step | {"files": files[0]}, step | {"files": files[1]}, {"say": "done"}]})
    response = run(world, "go", background=True)
    world.advance(40)
    cancelled = world.openai.responses.cancel(response.id)
    assert (cancelled.status, cancelled.output) == ("cancelled", [])
    world.advance(100)
    assert file_paths(world, world.openai.containers.list().data[0].id) == ["/mnt/data/a"]
    assert world.openai.responses.cancel(response.id).status == "cancelled"
    done = run(world, "go", background=True)
    world.advance(100)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        world.openai.responses.cancel(done.id)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        world.openai.responses.cancel(run(world, "x", tools=[]).id)


def test_lists_that_lag_never_show_files_that_a_cancelled_run_did_not_write(world: World) -> None:
    world.freeze()
    set_switch(world, "delete_lag", 300)
    script(world, {"steps": [{"files": [{"path": "never", "content": ""}], "takes": "30s"}, {"say": "done"}]})
    response = run(world, "go", background=True)
    world.openai.responses.cancel(response.id)
    world.advance(60)
    assert file_paths(world, world.openai.containers.list().data[0].id) == []


def test_a_container_that_replaces_an_expired_one_is_not_wedged(world: World) -> None:
    world.freeze()
    set_switch(world, "expired_replaced", True)
    script(world, {"when": "wedge", "code": "1", "fail": {"wedge": True}}, {"say": "done"})
    tools = [{"type": "code_interpreter", "container": world.openai.containers.create(name="box").id}]
    run(world, "wedge it", tools=tools)
    with pytest.raises(openai.BadRequestError, match="There was an issue"):
        run(world, "go", tools=tools)
    world.advance(1_200)
    assert run(world, "go", tools=tools).status == "completed"


def test_a_cancelled_run_does_not_delete_files_of_later_steps(world: World) -> None:
    world.freeze()
    box = ok(world.http.post("/containers", json={"name": "box"}))["id"]
    paths = {}
    for name in ("one", "two"):
        file = ok(world.http.post(f"/containers/{box}/files", files={"file": (name, b"x")}))
        paths[name] = file["path"]
    tools = [{"type": "code_interpreter", "container": box}]
    script(
        world,
        *(
            {"when": name, "steps": [{"files": [{"path": path, "delete": True}], "takes": takes}]}
            for (name, path), takes in zip(paths.items(), ("10s", "20s"), strict=True)
        ),
    )
    one, two = (run(world, name, tools=tools, background=True) for name in paths)
    world.openai.responses.cancel(one.id)
    world.advance(60)
    assert world.openai.responses.retrieve(two.id).status == "completed"
    assert file_paths(world, box) == [paths["one"]]


def test_the_stream_of_a_background_run_can_be_resumed(world: World) -> None:
    world.freeze()
    script(world, {"steps": [{"code": "1", "takes": "5s"}, {"say": "done"}]})
    with background_run(world) as (id, rest):
        world.advance(10)
        whole = rest()
    assert [kind for kind, _ in whole[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert parse_events(world.http.get(f"/responses/{id}?stream=true&starting_after=5").text) == whole[6:]
    set_switch(world, "stream_minutes", 5)
    world.advance(6 * 60)
    assert "more than 5 minutes old" in error_message(
        world.http.get(f"/responses/{id}?stream=true"), 400, "invalid_request_error"
    )
    with pytest.raises(openai.BadRequestError, match="not created with background=true"):
        list(world.openai.responses.retrieve(run(world, "x", tools=[]).id, stream=True))


def test_the_stream_of_a_cancelled_run_ends_at_the_cancellation(world: World) -> None:
    world.freeze()
    script(world, {"steps": [{"code": "1", "takes": "5s"}, {"code": "2", "takes": "5s"}, {"say": "done"}]})
    with background_run(world) as (id, rest):
        world.advance(7)
        world.openai.responses.cancel(id)
        world.advance(60)  # immediately: the stream may not have read the clock again
        whole = rest()
    for after in (-1, 5, len(whole) - 2):
        url = f"/responses/{id}?stream=true" + (f"&starting_after={after}" if after >= 0 else "")
        assert parse_events(world.http.get(url).text) == whole[after + 1 :]
    assert [event["item"]["code"] for kind, event in whole if kind == "response.output_item.done"] == ["1"]
    kind, last = whole[-1]
    assert (kind, last["response"]["status"], last["response"]["output"]) == ("response.failed", "cancelled", [])
    assert world.http.get(f"/responses/{id}?stream=true&starting_after={len(whole) - 1}").text == ""


def test_a_stream_that_waits_for_a_frozen_clock_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "PATIENCE_SECONDS", 0.0)
    logged = threading.Event()
    monkeypatch.setattr(caplog.handler, "emit", lambda record: (caplog.records.append(record), logged.set()))
    world.freeze()
    with background_run(world) as (id, rest):
        assert logged.wait(30)
        world.advance(60)
        assert rest()[-1][0] == "response.completed"
    assert caplog.records[0].getMessage() == (
        f"the stream of {id} waits for the clock of world '{world.name}', which is frozen; advance it"
    )


def test_later_turns_do_not_include_items_after_a_cancellation(world: World) -> None:
    world.freeze()
    steps = [{"code": "1", "takes": "5s"}, {"say": "done", "takes": "5s"}]
    script(world, {"when": {"turn": 3}, "say": "third"}, {"steps": steps})
    first = run(world, "one", background=True)
    world.advance(20)
    box = container(world.openai.responses.retrieve(first.id))
    second = run(world, "two", background=True, previous_response_id=first.id, tools=SHELL)
    done = world.openai.responses.retrieve(first.id).output
    world.advance(7)
    partial = world.openai.responses.retrieve(second.id).output
    assert len(partial) > 0
    reference = {"model": "m", "input": [{"type": "item_reference", "id": partial[0].id}]}
    world.openai.responses.cancel(second.id)
    assert "not found" in error_message(world.http.post("/responses", json=reference), 404, None)
    third = run(world, "three", previous_response_id=second.id)
    assert container(third) == box
    kinds = [item.type for item in world.openai.responses.input_items.list(third.id, order="asc")]
    assert kinds == ["message", *(item.type for item in done), "message", "message"]
    assert run(world, "four", previous_response_id=third.id).output_text == "third"


def test_items_of_later_steps_cannot_be_referenced_yet(world: World) -> None:
    world.freeze()
    script(world, {"steps": [{"code": "1", "takes": "5s"}, {"say": "done", "takes": "5s"}]})
    response = run(world, "go", background=True)
    world.advance(20)
    message = world.openai.responses.retrieve(response.id).output[-1]
    body = {"model": "m", "input": [{"type": "item_reference", "id": message.id}]}
    world.advance(-12)
    error_message(world.http.post("/responses", json=body), 404, None)
    world.advance(12)
    ok(world.http.post("/responses", json=body))


def test_a_list_of_input_items_ignores_before_without_a_warning(world: World) -> None:
    path = f"/responses/{run(world, 'hello', tools=[]).id}/input_items"
    response = world.http.get(path, params={"before": "msg_none"})
    assert ok(response) == ok(world.http.get(path))
    assert "x-mock-warning" not in response.headers
    document = ok(httpx2.get(f"{world.server.url}/openapi.json"))["paths"]["/responses/{response_id}/input_items"][
        "get"
    ]
    assert [each["name"] for each in document["parameters"]] == ["response_id", "limit", "order", "after", "include"]


def test_input_items_are_listed_once_and_with_outputs_if_included(world: World) -> None:
    first = run(world, "print", include=[])
    call, message = first.output
    references = [{"type": "item_reference", "id": message.id}] * 2
    again = world.openai.responses.create(model="m", input=references, previous_response_id=first.id)  # type: ignore[arg-type]  # dicts
    items = list(world.openai.responses.input_items.list(again.id, limit=1))
    assert [item.id for item in items].count(message.id) == 1
    assert len(items) == 3
    ascending = list(world.openai.responses.input_items.list(again.id, limit=1, order="asc"))
    assert [item.id for item in ascending] == [item.id for item in items][::-1]
    for include, outputs in (([], None), (["code_interpreter_call.outputs"], [])):
        shown = {item.id: item for item in world.openai.responses.input_items.list(again.id, include=include)}  # type: ignore[arg-type]  # a literal
        assert (shown[call.id].to_dict()["outputs"] is None) is (outputs is None)
    world.freeze()
    with background_run(world, "make a.csv") as (id, _):
        pass
    world.advance(10)
    for query, known in (("", False), ("&include[]=code_interpreter_call.outputs", True)):
        streamed = parse_events(world.http.get(f"/responses/{id}?stream=true{query}").text)
        calls = [
            each["item"] for kind, each in streamed if kind == "response.output_item.done" and "code" in each["item"]
        ]
        assert [each["outputs"] is not None for each in calls] == [known]


def test_deleting_the_world_of_a_stream_ends_it_without_a_warning_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.freeze()
    script(world, {"code": "1", "takes": "5s", "say": "done"})
    with background_run(world) as (_, rest):
        world.server.run(world.server.mock.worlds.delete(world.name))
        with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
            rest()
    assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]


# The clock


def test_steps_advance_the_clock_and_can_expire_the_container(world: World) -> None:
    world.freeze()
    script(world, {"times": 1, "steps": [{"code": "1", "takes": "21m"}, {"say": "done"}]})
    response = run(world, "go")
    assert response.completed_at is not None
    assert response.completed_at - response.created_at == 21 * 60
    assert world.openai.containers.retrieve(container(response)).status == "expired"


# Answers


RAW: list[dict[str, Any]] = [
    {"type": "code_interpreter_call", "code": "1", "outputs": []},
    {"type": "shell_call", "action": {"commands": ["ls"], "max_output_length": None, "timeout_ms": None}},
    {
        "type": "shell_call_output",
        "output": [{"outcome": {"type": "exit", "exit_code": 0}, "stderr": "", "stdout": ""}],
    },
    {"type": "function_call", "name": "look_up", "arguments": "{}"},
]


def test_raw_items_get_ids_and_containers(world: World) -> None:
    world.freeze()
    script(world, {"when": {"turn": 1}, "output": RAW}, {"code": "2", "say": "done"})
    first = run(world, "go", tools=[*AUTO, *SHELL])
    code, shell, output, function = first.output
    assert code.type == "code_interpreter_call"
    assert shell.type == "shell_call"
    assert output.type == "shell_call_output"
    assert function.type == "function_call"
    assert [item.id.partition("_")[0] for item in first.output if item.id] == ["ci", "sh", "sho", "fc"]
    assert output.call_id == shell.call_id != function.call_id
    environment: Any = shell.environment
    assert environment.container_id != code.container_id

    for tools, box in ((AUTO, code.container_id), (SHELL, environment.container_id)):
        later: Any = run(world, "more", tools=tools, previous_response_id=first.id).output[0]
        assert (later.container_id if tools is AUTO else later.environment.container_id) == box


def test_raw_calls_postpone_the_expiry_of_their_container(world: World) -> None:
    world.freeze()
    script(world, {"output": RAW[:1]})
    turns = [run(world, "go")]
    for _ in range(3):
        world.advance(15 * 60)
        turns.append(run(world, "more", previous_response_id=turns[-1].id))
    assert len({container(turn) for turn in turns}) == 1


def test_raw_calls_of_a_local_shell_have_no_container(world: World) -> None:
    script(world, {"output": RAW[1:2]})
    (call,) = run(world, "go", tools=[{"type": "shell", "environment": {"type": "local"}}]).output
    assert call.type == "shell_call"
    assert call.environment is None


def test_answers_are_matched_in_order_and_counted(world: World) -> None:
    script(
        world,
        {"id": "second-turn", "when": {"turn": 2}, "say": "two"},
        {"id": "once", "when": "hello", "times": 1, "say": "once"},
        {"id": "skips", "when": "hello", "skip": 1, "times": 1, "say": "skips"},
        {"id": "pattern", "when": "/^h.llo/i", "say": "pattern"},
    )
    first = run(world, "Say HELLO")
    assert [first.output_text, *(run(world, "hello").output_text for _ in range(3))] == [
        *("once", "pattern", "skips", "pattern")
    ]
    assert run(world, "hello", previous_response_id=first.id).output_text == "two"
    shown = ok(world.http.get(control_url(world, "/answers")))["data"]
    assert {each["id"]: each["used"] for each in shown} == {
        "second-turn": 1,
        "once": 1,
        "skips": 1,
        "pattern": 2,
    }


def test_a_rejected_run_stores_no_content(world: World) -> None:
    script(world, {"fail": "rate_limited", "times": 1})
    skill = skill_named("aaa", padding="x" * 40_000)
    response = world.http.post("/responses", json={"model": "m", "input": "x", "tools": [hosted_shell(skill)]})
    assert "Rate limit reached for CreateResponse" in error_message(response, 429, "rate_limit_exceeded")
    world.server.run(world.server.mock.worlds.finish(trash=True))
    (state,) = (world.server.mock.directory / "worlds").glob(f"*-{world.name}")
    assert [each for each in state.glob("contents/*/*") if each.is_file()] == []
    ok(world.http.post("/responses", json={"model": "m", "input": "x", "tools": [hosted_shell(skill)]}))
    assert len([each for each in state.glob("contents/*/*") if each.is_file()]) == 1


def test_a_run_that_fails_at_once_creates_nothing_unless_it_is_streamed(world: World) -> None:
    script(world, {"when": "x", "times": 1, "fail": "rate_limited"})
    for stream in (False, True):
        response = world.http.post("/responses", json={"model": "m", "input": "x", "tools": AUTO, "stream": stream})
        assert response.status_code == (200 if stream else 429)
        assert len(world.openai.containers.list().data) == stream


@pytest.mark.parametrize(
    ("rule", "param", "message"),
    [
        ({"sya": "x"}, "sya", "did you mean 'say'"),
        ({"say": "x", "files": [{"path": "../x", "content": ""}]}, "files.0.path", "outside of /mnt/data"),
        ({"say": "x", "when": "/(/"}, "when.text", "not a regular expression"),
        ({"steps": [{"say": "[a](sandbox:/mnt/data/a)"}, {"files": [{"path": "a", "content": ""}]}]}, "body", "later"),
        ({"fail": "nope"}, "fail.error", "unknown error 'nope'"),
        ({"say": "x", "files": [{"path": "x", "from": "/etc/passwd"}]}, "files.from", "reads no files"),
        ({"id": "a"}, "body", "say what the run does"),
        ({"say": "x", "fail": "rate_limited"}, "body", "say can never happen"),
        (
            {"files": [{"path": "a", "content": ""}], "takes": 1, "fail": {"error": "rate_limited"}},
            "body",
            "files and takes",
        ),
        ({"steps": [{"say": "x"}], "fail": "rate_limited"}, "body", "{steps: [{say: …}, {fail: rate_limited}]}"),
        ({"usage": {"input": 1}, "fail": "rate_limited"}, "body", "usage can never happen"),
        ({"steps": [{"say": "x"}], "fail": {"wedge": True}}, "body", "write incomplete and wedge in a step"),
        ({"say": "x", "usage": 5}, "usage", "write a mapping; its keys are: input, cached, output, reasoning"),
        ({"say": "x", "turn": 2}, "turn", "unknown key 'turn'; write it under 'when'"),
    ],
)
def test_invalid_answers_are_rejected_with_the_name_of_the_field(
    world: World, rule: dict[str, Any], param: str, message: str
) -> None:
    response = world.http.post(control_url(world, "/answers"), json=rule)
    assert message in error_message(response, 400, "invalid_parameter")
    assert response.json()["error"]["param"] == param


def test_an_answer_can_write_files_of_more_than_a_megabyte(world: World) -> None:
    content = bytes(range(256)) * 8_000
    files = [{"path": "a.bin", "base64": b64encode(content).decode()}]
    script(world, {"say": "{links}", "files": files})
    (cited,) = run(world, "go").output[-1].content[0].annotations
    path = f"/containers/{cited.container_id}/files/{cited.file_id}/content"
    assert world.http.get(path).content == content
    fault = {"effect": {"error": "server_error"}, "id": "a" * (1 << 20)}
    response = world.http.post(control_url(world, "/faults"), json=fault)
    assert "1048576 bytes" in error_message(response, 413, "request_too_large")


def test_a_dry_run_checks_answers_and_adds_none(world: World) -> None:
    url = control_url(world, "/answers")
    rule = {"when": "x", "say": "y", "takes": "1m", "files": [{"path": "a.txt", "content": "a"}]}
    script(world, {"id": "only", "when": "z", "say": "z"})
    (read,) = ok(world.http.post(url, params={"dry_run": True}, json=rule))["data"]
    assert (read["when"], read["takes"], read["files"][0]["path"]) == ({"text": "x"}, 60, "/mnt/data/a.txt")
    error_message(world.http.post(url, params={"dry_run": True}, json={"id": "x"}), 400, "invalid_parameter")
    assert [each["id"] for each in ok(world.http.get(url))["data"]] == ["only"]


def test_changes_by_runs_and_uploads_are_published(world: World) -> None:
    run(world, "Create the world.")
    with world.server.mock.events.subscribed() as subscriber:
        run(world, "Write a.txt.")
        assert subscriber.take()[world.name] == ["answers", "containers", "journal", "worlds"]
        script(world, {"say": "x"})
        assert subscriber.take()[world.name] == ["answers"]
        body = {"bytes": 1, "filename": "x", "mime_type": "text/plain", "purpose": "user_data"}
        ok(world.http.post("/uploads", json=body))
        assert subscriber.take()[world.name] == ["files", "journal", "uploads", "worlds"]


def test_an_answer_that_can_never_be_used_is_rejected(world: World) -> None:
    script(world, {"id": "all", "say": "x"})
    response = world.http.post(control_url(world, "/answers"), json={"say": "y"})
    assert "'all' before it" in error_message(response, 400, "answer_unreachable")


def test_an_answer_without_a_call_can_follow_one_with_a_call(world: World) -> None:
    script(world, {"code": "1", "say": "called"}, {"say": "not called"})
    assert [run(world, "x", tools=tools).output_text for tools in (AUTO, [])] == ["called", "not called"]
    response = world.http.post(control_url(world, "/answers"), json={"code": "2"})
    error_message(response, 400, "answer_unreachable")


# Limits


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "object", "required": 5, "properties": []}, {}),
        ({"type": "object", "required": ["a", 1], "properties": {"a": 7}}, {"a": None}),
        ({"type": "array", "minItems": "3"}, []),
        ({"type": "string", "minLength": -(10**30), "format": []}, ""),
        ({"type": "integer", "minimum": "x", "exclusiveMinimum": 3}, 4),
        ({"type": "array", "minItems": 2, "items": {"const": "x" * unscripted.MAX_INSTANCE}}, [None]),
        ({"allOf": [{"$ref": "#"}] * 3}, None),
    ],
)
def test_malformed_and_endless_schemas_have_an_instance(schema: dict[str, Any], instance: object) -> None:
    assert unscripted.least(schema) == instance


def nested_arrays(schema: Any, levels: int = 3) -> Any:
    for _ in range(levels):
        schema = {"type": "array", "minItems": 100, "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["k" * 5_000]},
        {"type": "object", "required": ["é" * 90]},
        {"type": "object", "required": ["a"] * 15_000},
        {"type": "object", "required": list(range(15_000))},
        {"type": "integer", "minimum": 10**3_999},
        {"type": "integer", "exclusiveMinimum": 10**3_999},
        {"type": "array", "minItems": 10**3_999},
        {"type": "boolean"},
        {"allOf": [{}] * 1_000},
        {"$ref": "#" + "/x" * 25_000},
        {"enum": ["x" * 90_000]},
    ],
    ids=lambda schema: json.dumps(schema)[:50],
)
def test_a_schema_with_huge_instances_gets_a_short_one(world: World, schema: dict[str, Any]) -> None:
    format = {"type": "json_schema", "name": "n", "schema": nested_arrays(schema)}
    body = {"model": "m", "input": "x", "tools": AUTO, "text": {"format": format}}
    (part,) = ok(world.http.post("/responses", json=body))["output"][-1]["content"]
    json.loads(part["text"])
    assert len(part["text"]) < 8 * unscripted.MAX_INSTANCE


def test_a_run_lists_only_the_first_of_many_files(world: World) -> None:
    box = ok(world.http.post("/containers", json={"name": "box"}))["id"]
    for number in range(110):
        name = f"{number:03}" + "x" * 3_000
        ok(world.http.post(f"/containers/{box}/files", files={"file": (name, b"x")}))
    tools = [{"type": "code_interpreter", "container": box}]
    call, _ = run(world, "go", tools=tools, include=["code_interpreter_call.outputs"]).output
    assert call.type == "code_interpreter_call"
    assert call.outputs is not None
    (printed,) = call.outputs
    assert printed.type == "logs"
    assert printed.logs.endswith("] and 11 more\n")
    assert len(printed.logs) < 5 * unscripted.MAX_LISTED * unscripted.MAX_NAME


def test_a_run_with_large_stored_items_or_many_files_is_continued_in_a_thread(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loop = set()

    def record(*args: Any) -> Any:
        on_loop.add(threading.get_ident() == loop)
        return perform(*args)

    perform, loop = responses._perform, loop_thread(server)
    monkeypatch.setattr(responses, "_perform", record)
    files = [{"type": "input_file", "file_data": "AAAA", "filename": f"f{number}"} for number in range(40)]
    for content in (LARGE, files):
        message = {"role": "user", "content": content, "id": f"msg_{len(on_loop)}{type(content).__name__}"}
        first = world.http.post("/responses", json={"model": "m", "input": [message]})
        ok(first)
        on_loop.clear()
        again = {"model": "m", "tools": AUTO, "input": [{"type": "item_reference", "id": message["id"]}]}
        ok(world.http.post("/responses", json=again))
        assert on_loop == {False}
    ok(world.http.post("/responses", json={"model": "m", "input": "short"}))
    assert on_loop == {False, True}


def test_the_number_of_input_files_and_tools_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_INPUTS", 3)
    files = [{"type": "input_file", "file_data": "AAAA", "filename": f"f{number}"} for number in range(2)]
    body = {"model": "m", "input": [{"role": "user", "content": files}]}
    ok(world.http.post("/responses", json=body | {"tools": AUTO}))
    response = world.http.post("/responses", json=body | {"tools": AUTO * 2})
    assert "4 files for its containers, more than 3" in error_message(response, 400, "request_too_large")
    response = world.http.post("/responses", json={"model": "m", "input": "x", "tools": AUTO * 129})
    assert "maximum length 128" in error_message(response, 400, "array_above_max_length")
    long_name = [{"type": "input_file", "file_data": "AAAA", "filename": "f" * 1_025}]
    response = world.http.post("/responses", json={"model": "m", "input": [{"role": "user", "content": long_name}]})
    error_message(response, 400, "string_above_max_length")
    assert response.json()["error"]["param"] == "input[0].content[0].filename"


def test_placeholders_are_replaced_once_and_up_to_a_limit(world: World) -> None:
    script(world, {"when": "long", "say": "{text}" * 100}, {"say": "<{text}> {files}"})
    assert run(world, "{files}{text}", tools=[]).output_text == "<{files}{text}> "
    assert len(run(world, "long" * 10_000, tools=[]).output_text) == answers.MAX_TEXT


def test_placeholders_of_all_steps_share_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_OUTPUT", 25)
    script(
        world, {"steps": [{"say": "{text}"}, {"say": "no placeholder: whole"}, {"say": "{text}"}, {"say": "{text}"}]}
    )
    assert run(world, "0123456789", tools=[]).output_text == "0123456789no placeholder: whole012345678901234"


def test_the_number_of_citations_in_a_message_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_CITED", 2)
    script(world, {"files": [{"path": "a", "content": "x"}], "say": "[a](sandbox:/mnt/data/a) " * 3})
    content = run(world, "x").output[1].content[0]  # type: ignore[union-attr]
    assert [each.start_index for each in content.annotations] == [4, 29]  # type: ignore[union-attr]


def test_a_long_text_is_streamed_in_few_events(world: World) -> None:
    script(world, {"say": "a b " * 5_000})
    deltas = [event["delta"] for kind, event in stream_events(world, {"input": "x"}) if kind.endswith("text.delta")]
    assert "".join(deltas) == "a b " * 5_000
    assert len(deltas) <= MAX_DELTAS


def test_streams_in_progress_do_not_keep_the_words_of_their_texts(world: World) -> None:
    """The list of its words takes 20 times the memory of this text."""
    script(world, {"say": "ab " * 100_000, "pace": 0.05})
    count, streams = 5, []
    tracemalloc.start()
    try:
        with ExitStack() as stack:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                body = {"model": "m", "input": "x", "stream": True}
                stream = stack.enter_context(world.http.stream("POST", "/responses", json=body))
                streams.append(stream.iter_text())
                assert any("output_text.delta" in part for part in streams[-1])
            kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept / count < 3_000_000


def test_a_slow_regular_expression_is_matched_against_the_beginning_of_a_long_text(world: World) -> None:
    script(world, {"when": "/(ab?)+(b?){100}tail$/", "say": "slow"}, {"when": "tail", "say": "literal"})
    assert run(world, "abtail", tools=[]).output_text == "slow"
    assert run(world, "ab" * 200_000 + "tail", tools=[]).output_text == "literal"


# Raw items, links, tool choices


def test_raw_items_get_missing_keys(world: World) -> None:
    output: Any = [
        {"type": "message", "content": "plain"},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "parts"}, {"type": "refusal", "refusal": "no"}],
        },
        {"type": "reasoning"},
        {"type": "code_interpreter_call"},
        {"type": "code_interpreter_call", "code": None, "outputs": None, "container_id": "cntr_x"},
        {"type": "shell_call"},
        {"type": "shell_call_output"},
        {"type": "function_call", "name": "f", "arguments": '{"a": 1}'},
        {"type": "web_search_call", "action": {"type": "search", "query": "x", "queries": []}},
    ]
    script(world, {"when": "raw", "output": output})
    response = run(world, "raw")
    assert response.output_text == "plainparts"
    assert [item.type for item in response.output] == [item.get("type", "message") for item in output]
    call, output_of_call = response.output[5:7]
    assert call.call_id == output_of_call.call_id  # type: ignore[union-attr]
    with world.openai.responses.stream(model="m", input="raw", tools=AUTO) as stream:
        kinds = [event.type for event in stream]
        assert [item.type for item in stream.get_final_response().output] == [item.type for item in response.output]
    assert kinds.count("response.output_item.done") == len(output)
    index = kinds.index("response.function_call_arguments.delta")
    assert kinds[index - 1] == "response.output_item.added"
    assert kinds[index + 1 : index + 3] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ]
    assert run(world, "raw", tools=[]).output_text == "raw"


@pytest.mark.parametrize(("kind", "tools"), [("code_interpreter_call", AUTO), ("shell_call", SHELL)])
def test_a_raw_call_refers_to_the_container_and_counts_as_activity(world: World, kind: str, tools: Any) -> None:
    script(world, {"when": "raw", "output": [{"type": kind}]})
    world.freeze()
    first = run(world, "raw", tools=tools)
    world.advance(60)
    second = run(world, "raw", tools=tools, previous_response_id=first.id)
    (box,) = ok(world.http.get("/containers"))["data"]
    assert box["last_active_at"] == second.created_at
    for call in (first.output[0], second.output[0]):
        assert box["id"] in (
            call.to_dict().get("container_id"),
            (call.to_dict().get("environment") or {}).get("container_id"),
        )  # type: ignore[union-attr, attr-defined]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"type": 5}, "output 0: an item's type has to be a text"),
        ({"type": "message", "content": [5]}, "output 0: message: content.0: "),
        ({"type": "function_call"}, "output 0: function_call: name: Field required"),
        ({"type": "shell_call", "action": {"commands": [1]}}, "output 0: shell_call: action.commands.0: "),
        ({"type": "code_interpreter_call", "outputs": 5}, "output 0: code_interpreter_call: outputs: "),
        ({"type": "reasoning", "summary": ["x"]}, "output 0: reasoning: summary.0: "),
        ({"type": "unknown", "id": 5}, "output 0: unknown: id: "),
    ],
)
def test_invalid_raw_items_are_rejected(world: World, item: dict[str, Any], message: str) -> None:
    response = world.http.post(control_url(world, "/answers"), json={"output": [item]})
    assert message in error_message(response, 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("filename", "path"),
    [("a/b.txt", "b.txt"), ("C:\\x\\y.txt", "y.txt"), ("..", "file"), ("x/", "file"), ("a\0b", "file")],
)
def test_an_input_file_is_stored_directly_in_the_data_folder(world: World, filename: str, path: str) -> None:
    part = {"type": "input_file", "filename": filename, "file_data": "aGk="}
    body = {"model": "m", "tools": AUTO, "input": [{"role": "user", "content": [part]}]}
    box = ok(world.http.post("/responses", json=body))["output"][0]["container_id"]
    assert f"/mnt/data/{path}" in file_paths(world, box)


def test_repeated_items_are_listed_with_all_keys(world: World) -> None:
    items: list[dict[str, Any]] = [
        {"role": "user", "content": "go"},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "o"},
        {"type": "code_interpreter_call", "container_id": "cntr_1", "code": "a", "id": "ci_1"},
        {"type": "code_interpreter_call", "id": "ci_2", "code": None, "container_id": "cntr_1", "status": "failed"},
        {"type": "shell_call_output", "call_id": "call_1", "output": [], "status": None},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"type": "message", "role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a.png"}]},
    ]
    response = ok(world.http.post("/responses", json={"model": "m", "input": items}))
    listed = ok(world.http.get(f"/responses/{response['id']}/input_items?order=asc"))["data"]
    assert [[*item][:3] for item in listed] == [
        *[["id", "type", "status"]] * 6,
        ["id", "type", "summary"],
        *[["id", "type", "status"]] * 3,
    ]
    assert [*listed[8]["content"][0]] == ["type", "annotations", "logprobs", "text"]
    assert [*listed[3]] == [*listed[4]] == ["id", "type", "status", "code", "container_id", "outputs"]
    assert [item.get("status") for item in listed[3:7]] == ["completed", "failed", "completed", None]
    assert listed[3]["outputs"] is None
    assert len(world.openai.responses.input_items.list(response["id"]).data) == len(items)  # its types are checked


def test_the_ids_of_a_conversation_end_and_begin_with_the_same_digits(world: World) -> None:
    conversation = "conv_" + "68fa" * 8 + "aaaabbbbccccdddd"
    for _ in range(2):
        response = run(world, "x", conversation=conversation)
        for id in (response.id, *(item.id for item in response.output)):
            assert id is not None
            assert id.partition("_")[2].startswith("aaaabbbbccccdddd00")
    assert not run(world, "x", conversation="conv_x").id.startswith("resp_aaaa")


def test_a_text_of_open_brackets_is_searched_for_links_in_a_short_time(world: World) -> None:
    script(world, {"say": "{text}", "code": "a"})
    ok(world.http.post("/responses", json={"model": "m", "input": "[" * (1 << 20), "tools": AUTO}))


def test_links_with_titles_and_in_angle_brackets_are_cited(world: World) -> None:
    files = [{"path": path, "content": "x"} for path in ("x.txt", "a b.csv")]
    text = (
        'ü ![x](sandbox:/mnt/data/x.txt "t (1)") [x](<sandbox:/mnt/data/a b.csv>) [x]( sandbox:/mnt/data/x.txt (t) ) '
        "[x](<sandbox:/mnt/data/x.txt> 't') [x](sandbox:/mnt/data/a b.csv) [x](sandbox:/mnt/data/x.txt t)"
    )
    script(world, {"files": files, "say": text})
    content = run(world, "x").output[1].content[0]  # type: ignore[union-attr]
    spans = [content.text[each.start_index : each.end_index] for each in content.annotations]  # type: ignore[union-attr]
    plain, spaced = "sandbox:/mnt/data/x.txt", "sandbox:/mnt/data/a b.csv"
    assert spans == [plain, spaced, plain, plain]
    assert [each.filename for each in content.annotations] == ["x.txt", "a b.csv", "x.txt", "x.txt"]  # type: ignore[union-attr]


def test_links_with_special_characters_are_cited(world: World) -> None:
    files = [{"path": path, "content": "x"} for path in ("ü 1.csv", "a(1).csv", "b).csv", "[c].csv", "100%.csv")]
    script(
        world, {"files": files, "say": "{links}, [x](sandbox:/mnt/data/a(1).csv) [y](sandbox:/mnt/data/%C3%BC%201.csv)"}
    )
    content = run(world, "x").output[1].content[0]  # type: ignore[union-attr]
    cited = [(each.filename, content.text[each.start_index : each.end_index]) for each in content.annotations]  # type: ignore[union-attr]
    assert cited == [
        ("ü 1.csv", "sandbox:/mnt/data/ü%201.csv"),
        ("a(1).csv", "sandbox:/mnt/data/a%281%29.csv"),
        ("b).csv", "sandbox:/mnt/data/b%29.csv"),
        ("[c].csv", "sandbox:/mnt/data/[c].csv"),
        ("100%.csv", "sandbox:/mnt/data/100%25.csv"),
        ("a(1).csv", "sandbox:/mnt/data/a(1).csv"),
        ("ü 1.csv", "sandbox:/mnt/data/%C3%BC%201.csv"),
    ]


def test_a_prompt_can_name_the_full_path_of_a_file(world: World) -> None:
    response = run(world, "Save it as /mnt/data/out/a.csv")
    assert file_paths(world, container(response)) == ["/mnt/data/out/a.csv"]


TOOLS = [*AUTO, *SHELL, FUNCTION, {"type": "web_search"}]


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]}, ["shell_call", "shell_call_output", "message"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "code_interpreter"}]}, ["code_interpreter_call", "message"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, ["message"]),
        ({"type": "function", "name": "f"}, ["message"]),
        ({"type": "web_search_preview"}, ["message"]),
        ({"type": "shell"}, ["shell_call", "shell_call_output", "message"]),
        ("required", ["code_interpreter_call", "message"]),
    ],
)  # fmt: skip
def test_tool_choice_determines_which_tools_are_called(world: World, choice: Any, kinds: list[str]) -> None:
    assert [item.type for item in run(world, "x", tools=TOOLS, tool_choice=choice).output] == kinds


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("required", "shell_call"),
        ({"type": "shell"}, "shell_call"),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "shell"}]}, "shell_call"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]}, "message"),
        ("auto", "message"),
    ],
)
def test_a_local_shell_is_called_if_the_request_requires_it(world: World, choice: Any, kind: str) -> None:
    response = run(world, "x", tools=[local_shell(LOCAL_SKILL)], tool_choice=choice)
    assert [item.type for item in response.output] == [kind]


# Faults and the journal


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("effect", "status"),
    [
        ({"error": "rate_limited"}, 429),
        ({"status": 503}, 503),
        ({"latency": 0.001}, 200),
        ({"dribble": 1_000_000}, 200),
        ({"drop": "before_answer"}, None),
        ({"reset_after": 300}, None),
        ({"truncate_after": 300}, None),
    ],
)
def test_faults_apply_to_responses_and_streams(
    world: World, effect: dict[str, Any], status: int | None, streamed: bool
) -> None:
    control = control_url(world)
    ok(world.http.post(f"{control}/faults", json={"match": {"operation": "CreateResponse"}, "effect": effect}))
    body = {"model": "m", "input": "a.csv", "tools": AUTO, "stream": streamed}
    if status is None:
        with pytest.raises(httpx2.TransportError):
            world.http.post("/responses", json=body)
    else:
        response = world.http.post("/responses", json=body)
        assert response.status_code == status
        if status == 200 and streamed:
            assert parse_events(response.text)[-1][0] == "response.completed"
    entry = ok(world.http.get(f"{control}/journal/1"))
    assert entry["fault"]
    assert entry["aborted"] is (status is None)
    assert len(world.openai.containers.list().data) == (status == 200 or ("drop" not in effect and status is None))


def test_the_journal_records_the_answer_that_was_used(world: World) -> None:
    script(world, {"id": "hello", "say": "hi"})
    sent = world.http.post("/responses", json={"model": "m", "input": "x", "stream": True})
    run(world, "x", tools=[])
    control = control_url(world, "/journal")
    first, second = (ok(world.http.get(f"{control}/{number}")) for number in (1, 2))
    assert first["response"]["body"] == sent.text
    assert second["response"]["body"]["object"] == "response"
    assert first["answer"] == second["answer"] == sent.headers["x-mock-answer"] == "hello"
    assert notes(first) == ["answer hello"]


def test_delays_of_a_paced_stream_do_not_accumulate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = 0.0, []

    async def wait(connection: object, seconds: float) -> bool:
        nonlocal now
        waits.append(seconds)
        now += seconds + 0.01
        return True

    script(world, {"say": "one two", "pace": 0.05})
    monkeypatch.setattr(Connection, "wait", wait)
    monkeypatch.setattr(streams, "stopwatch", lambda: now)
    sent = stream_events(world, {"input": "x"})
    assert waits == pytest.approx([0.05] + [0.04] * (len(sent) - 2))


# Large bodies


LARGE = "x" * (context.LARGE + 1)


class BlockedRead:
    """Block each parsing of an input until the test resumes it."""

    def __init__(self) -> None:
        self.started, self.resume, self.threads = threading.Event(), threading.Event(), list[int]()
        self._read = transcript.read

    def __call__(self, *args: Any) -> Any:
        self.threads.append(threading.get_ident())
        self.started.set()
        assert self.resume.wait(600)
        return self._read(*args)


@pytest.fixture
def blocked_read(monkeypatch: pytest.MonkeyPatch) -> BlockedRead:
    blocked = BlockedRead()
    monkeypatch.setattr(transcript, "read", blocked)
    return blocked


def test_other_requests_are_served_while_a_large_body_is_processed(
    world: World, server: MockServer, blocked_read: BlockedRead
) -> None:
    large = RequestThread(lambda: world.http.post("/responses", json={"model": "m", "input": LARGE}))
    assert blocked_read.started.wait(600)
    with new_world(server) as other:
        ok(other.http.get("/containers"))
        ok(other.http.post("/containers", json={"name": "box"}))
    ok(world.http.get("/containers"))
    reset = RequestThread(lambda: world.http.post(control_url(world, "/reset")))
    writing = RequestThread(lambda: world.http.post("/containers", json={"name": "box"}))
    blocked_read.resume.set()
    response = ok(large.result())
    assert response["output"][0]["content"][0]["text"] == LARGE[:4_000]
    assert ok(reset.result())
    assert ok(writing.result())
    ok(world.http.post("/responses", json={"model": "m", "input": "small"}))
    assert [each == loop_thread(server) for each in blocked_read.threads] == [False, True]


def test_answers_search_a_long_prompt_of_an_earlier_turn_in_a_thread(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ok(world.http.post("/responses", json={"model": "m", "input": LARGE}))["id"]
    threads: list[int] = []
    choose = rules.choose

    def record_thread(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return choose(*args)

    monkeypatch.setattr(rules, "choose", record_thread)
    ok(world.http.post("/responses", json={"model": "m", "input": [], "previous_response_id": first}))
    ok(world.http.post("/responses", json={"model": "m", "input": "short", "previous_response_id": first}))
    assert [each == loop_thread(server) for each in threads] == [False, True]


def test_a_response_is_deleted_in_a_thread(world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    find = responses._found
    monkeypatch.setattr(responses, "_found", lambda *args: threads.append(threading.get_ident()) or find(*args))
    id = ok(world.http.post("/responses", json={"model": "m", "input": "x"}))["id"]
    ok(world.http.get(f"/responses/{id}"))
    ok(world.http.delete(f"/responses/{id}"))
    assert [each == loop_thread(server) for each in threads] == [True, False]
    error_message(world.http.get(f"/responses/{id}"), 404, None)


@pytest.mark.parametrize("count", [1, containers.MANY + 1])
def test_a_container_with_many_files_is_used_and_deleted_in_a_thread(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    box = {"name": "box", "files": [{"path": f"{n}.txt", "content": "x"} for n in range(count)]}
    (id,) = ok(world.http.post(control_url(world, "/place"), json={"version": 1, "containers": [box]}))["containers"]
    threads: list[int] = []
    monkeypatch.setattr(rules, "choose", lambda *args, choose=rules.choose: threads.append(threading.get_ident()) or choose(*args))  # fmt: skip
    monkeypatch.setattr(containers, "unmount", lambda *args: threads.append(threading.get_ident()) or ())
    ok(world.http.post("/responses", json={"model": "m", "input": "x", "tools": [{**AUTO[0], "container": id}]}))
    ok(world.http.delete(f"/containers/{id}"))
    assert [each == loop_thread(server) for each in threads] == [count == 1] * 2


def test_the_list_of_worlds_counts_responses_created_in_a_thread(
    world: World, server: MockServer, blocked_read: BlockedRead
) -> None:
    """Also if the database of the world was closed meanwhile, since those of other worlds were opened."""
    ok(world.http.get("/containers"))

    async def close() -> None:
        worlds = server.mock.worlds
        worlds._close([worlds._open.pop(world.name).detach()])

    def count_responses() -> int:
        worlds = ok(world.http.get(f"{server.url}/_mock/worlds"))["data"]
        return next(int(each["counts"]["responses"]) for each in worlds if each["name"] == world.name)

    large = RequestThread(lambda: world.http.post("/responses", json={"model": "m", "input": LARGE}))
    assert blocked_read.started.wait(600)
    server.run(close())
    assert count_responses() == 0
    blocked_read.resume.set()
    ok(large.result())
    assert count_responses() == 1


def test_a_large_response_is_serialized_in_a_thread(
    world: World, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(exchange, "_json", lambda *args, render=exchange._json: threads.append(threading.get_ident()) or render(*args))  # fmt: skip
    response = ok(world.http.post("/responses", json={"model": "m", "input": "x", "instructions": LARGE}))
    ok(world.http.get(f"/responses/{response['id']}/input_items"))
    ok(world.http.get("/containers"))
    assert [each == loop_thread(server) for each in threads] == [False, False, True]


def test_a_run_that_fails_in_a_thread_creates_nothing(world: World) -> None:
    before = ok(world.http.get("/containers"))["data"]
    long = {"input": LARGE, "instructions": "x" * MAX_ECHO, "tools": AUTO}
    message = error_message(world.http.post("/responses", json={"model": "m", **long}), 400, "request_too_large")
    assert "without its input it has more than 1,048,576 characters" in message
    assert ok(world.http.get("/containers"))["data"] == before


@pytest.mark.parametrize(
    ("input", "param"),
    [
        ("x" * (MAX_TEXT + 1), "input"),
        ([{"role": "user", "content": "x" * (MAX_TEXT + 1)}], "input[0].content"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "x" * (MAX_TEXT + 1)}]}], "input[0].content[0].text"),
    ],
)  # fmt: skip
def test_the_length_of_an_input_text_is_limited(world: World, input: Any, param: str) -> None:
    response = world.http.post("/responses", json={"model": "m", "input": input})
    message = error_message(response, 400, "string_above_max_length")
    assert message == (
        f"Invalid '{param}': string too long. Expected a string with maximum length 10485760, but got a string with "
        "length 10485761 instead."
    )
    assert response.json()["error"]["param"] == param


def test_ordinals_of_many_items_are_taken_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take = context.World.take
    monkeypatch.setattr(context.World, "take", lambda self, tx, count=1: taken.append(count) or take(self, tx, count))
    input = [{"role": "user", "content": "x"}] * 5_000
    response = ok(world.http.post("/responses", json={"model": "m", "input": input}))
    assert len(taken) < 10
    page = ok(world.http.get(f"/responses/{response['id']}/input_items?limit=100"))
    assert len({item["id"] for item in page["data"]}) == 100


def test_the_size_of_referenced_items_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ok(world.http.post("/responses", json={"model": "m", "input": LARGE}))
    item = ok(world.http.get(f"/responses/{first['id']}/input_items"))["data"][0]
    monkeypatch.setattr(transcript, "MAX_REFERENCED", 3 * len(LARGE))

    def request_with_references(times: int) -> httpx2.Response:
        return world.http.post(
            "/responses", json={"model": "m", "input": [{"type": "item_reference", "id": item["id"]}] * times}
        )

    ok(request_with_references(2))
    assert "the items that its input refers to" in error_message(request_with_references(3), 400, "request_too_large")


def test_a_page_of_large_items_is_short_and_the_next_one_continues(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_PAGE", 2 * len(LARGE))
    input: Any = [{"role": "user", "content": f"{number}{LARGE}"} for number in range(5)]
    first = world.openai.responses.create(model="m", input=input)
    second = world.openai.responses.create(model="m", input="and?", previous_response_id=first.id)
    for order in ("asc", "desc"):
        page = world.openai.responses.input_items.list(second.id, limit=100, order=order)  # type: ignore[arg-type]
        assert page.has_more
        assert len(page.data) < 4
        texts = [item.content[0].text[:1] for item in page if item.type == "message"]  # type: ignore[union-attr]
        assert "".join(texts) == ("012344a" if order == "asc" else "a443210")


def loop_thread(server: MockServer) -> int:
    async def ident() -> int:
        return threading.get_ident()

    return server.run(ident())


class RequestThread:
    """Send a request in a thread."""

    def __init__(self, work: Callable[[], httpx2.Response]) -> None:
        self._done: list[httpx2.Response] = []
        self._thread = threading.Thread(target=lambda: self._done.append(work()))
        self._thread.start()

    def result(self) -> httpx2.Response:
        self._thread.join(600)
        return self._done[0]


def test_few_streams_continue_in_one_turn_of_the_event_loop() -> None:
    """However many streams are due at once, so that other requests need not wait for all of them."""

    async def run_streams(mock: Mock) -> list[int]:
        exchange, continued, turn = SimpleNamespace(mock=mock), Counter[int](), 0

        async def stream() -> None:
            for _ in range(3):
                await streams._turn(exchange)  # type: ignore[arg-type]  # it uses no other attribute
                continued[turn] += 1

        tasks = [asyncio.create_task(stream()) for _ in range(100)]
        while not all(each.done() for each in tasks):
            turn += 1
            await asyncio.sleep(0)
        return list(continued.values())

    with closing(Mock(Settings())) as mock:
        streams_per_turn = asyncio.run(run_streams(mock))
    assert sum(streams_per_turn) == 300
    assert max(streams_per_turn) <= STREAMS_AT_ONCE


@pytest.mark.parametrize("cancelled", [False, True])
def test_large_responses_are_not_read_for_other_requests(world: World, cancelled: bool) -> None:
    """Neither on the way to a small one in a tree, nor those that were cancelled since the last one with an output."""
    run: Any = {"model": "m", "input": "x" * 1_000_000, "background": cancelled}
    id = None
    for _ in range(16):
        id = ok(world.http.post("/responses", json=run | ({"previous_response_id": id} if cancelled else {})))["id"]
        if cancelled:
            ok(world.http.post(f"/responses/{id}/cancel"))
            run["input"] = []
    before = bytes_read()
    small = ok(world.http.post("/responses", json={"model": "m", "input": "x", "previous_response_id": id}))
    ok(world.http.get(f"/responses/{small['id']}"))
    assert bytes_read() - before < 8_000_000


def bytes_read() -> int:
    """By this process, from its files."""
    proc = Path("/proc/self/io")
    if not proc.exists():
        pytest.skip("only Linux counts them")
    return int(proc.read_text().split()[1])
