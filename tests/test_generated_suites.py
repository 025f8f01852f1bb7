"""The calls of the SDKs' generated test suites, with the profile `contract`.

The suites use ids that were never created and no `/v1`, and call each operation with its required and with all
parameters, in every call style. Each response must have status 200 and a body that strict validation accepts.
"""

import asyncio
import re
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx2
import openai
import pytest
from conftest import World, ok
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mockserver.api.app import create_app
from mockserver.schema.faults import OPERATIONS
from mockserver.server.serving import MockServer

pytestmark = pytest.mark.filterwarnings(r"ignore:The `\.content\(\)` method should be used:DeprecationWarning")
"""Raised by `files.retrieve_content`, which is deprecated but still in the suites."""

CONTAINER = {"container_id": "container_id"}
FILE = {"file_id": "file_id"}
UPLOAD = {"bytes": 0, "filename": "filename", "mime_type": "mime_type", "purpose": "assistants"}
SKILL = {"skill_id": "skill_123"}
VERSION = {"version": "version"}
RESPONSE = {"response_id": "resp_677efb5139a88190b512bc3fef8e535d"}
PAGE = {"after": "after", "limit": 0, "order": "asc"}

CALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "containers.create",
        {"name": "name"},
        {
            "expires_after": {"anchor": "last_active_at", "minutes": 0},
            "file_ids": ["string"],
            "memory_limit": "1g",
            "network_policy": {"type": "disabled"},
            "skills": [{"skill_id": "x", "type": "skill_reference", "version": "version"}],
        },
    ),
    ("containers.retrieve", CONTAINER, {}),
    ("containers.list", {}, {**PAGE, "name": "name"}),
    ("containers.delete", CONTAINER, {}),
    ("containers.files.create", CONTAINER, {"file": b"Example data", "file_id": "file_id"}),
    ("containers.files.create", CONTAINER, {"file_id": "string"}),
    ("containers.files.create", CONTAINER, {"file": b"Example data"}),
    ("containers.files.retrieve", CONTAINER | FILE, {}),
    ("containers.files.list", CONTAINER, PAGE),
    ("containers.files.delete", CONTAINER | FILE, {}),
    ("containers.files.content.retrieve", CONTAINER | FILE, {}),
    (
        "files.create",
        {"file": b"Example data", "purpose": "assistants"},
        {"expires_after": {"anchor": "created_at", "seconds": 3600}},
    ),
    ("files.retrieve", FILE, {}),
    ("files.list", {}, {**PAGE, "purpose": "purpose"}),
    ("files.delete", FILE, {}),
    ("uploads.create", UPLOAD, {"expires_after": {"anchor": "created_at", "seconds": 3600}}),
    ("uploads.cancel", {"upload_id": "upload_abc123"}, {}),
    ("uploads.complete", {"upload_id": "upload_abc123", "part_ids": ["string"]}, {"md5": "md5"}),
    ("uploads.parts.create", {"upload_id": "upload_abc123", "data": b"Example data"}, {}),
    ("files.content", FILE, {}),
    ("files.retrieve_content", FILE, {}),
    ("skills.create", {}, {"files": [b"Example data"]}),
    ("skills.retrieve", SKILL, {}),
    ("skills.update", SKILL | {"default_version": "default_version"}, {}),
    ("skills.list", {}, PAGE),
    ("skills.delete", SKILL, {}),
    ("skills.content.retrieve", SKILL, {}),
    ("skills.versions.create", SKILL, {"default": True, "files": [b"Example data"]}),
    ("skills.versions.retrieve", SKILL | VERSION, {}),
    ("skills.versions.list", SKILL, PAGE | {"after": "skillver_123"}),
    ("skills.versions.delete", SKILL | VERSION, {}),
    ("skills.versions.content.retrieve", SKILL | VERSION, {}),
    (
        "responses.create",
        {},
        {
            "background": True,
            "context_management": [{"type": "type", "compact_threshold": 1000}],
            "conversation": "string",
            "include": ["file_search_call.results"],
            "input": "string",
            "instructions": "instructions",
            "max_output_tokens": 16,
            "max_tool_calls": 0,
            "metadata": {"foo": "string"},
            "model": "gpt-5.1",
            "parallel_tool_calls": True,
            "previous_response_id": "previous_response_id",
            "prompt": {"id": "id", "variables": {"foo": "string"}, "version": "version"},
            "prompt_cache_key": "prompt-cache-key-1234",
            "prompt_cache_retention": "in_memory",
            "reasoning": {"effort": "none", "generate_summary": "auto", "summary": "auto"},
            "safety_identifier": "safety-identifier-1234",
            "service_tier": "auto",
            "store": True,
            "stream": False,
            "stream_options": {"include_obfuscation": True},
            "temperature": 1,
            "text": {"format": {"type": "text"}, "verbosity": "low"},
            "tool_choice": "none",
            "tools": [
                {
                    "name": "name",
                    "parameters": {"foo": "bar"},
                    "strict": True,
                    "type": "function",
                    "defer_loading": True,
                    "description": "description",
                }
            ],
            "top_logprobs": 0,
            "top_p": 1,
            "truncation": "auto",
            "user": "user-1234",
        },
    ),
    (
        "responses.retrieve",
        RESPONSE,
        {"include": ["file_search_call.results"], "include_obfuscation": True, "starting_after": 0, "stream": False},
    ),
    ("responses.delete", RESPONSE, {}),
    ("responses.cancel", RESPONSE, {}),
    (
        "responses.input_items.list",
        {"response_id": "response_id"},
        {**PAGE, "include": ["file_search_call.results"]},
    ),
]
"""Operations, with their required and optional arguments."""

SKILLS = ("skills", "skills.content", "skills.versions", "skills.versions.content")

each_call = pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        pytest.param(name, required | chosen, id=f"{name}-{'-'.join(chosen) or 'required'}")
        for name, required, optional in CALLS
        for chosen in ([{}, optional] if optional else [{}])
    ],
)


@pytest.fixture(scope="session")
def suite_server() -> Iterator[MockServer]:
    with MockServer(profile="contract") as running:
        yield running


@pytest.fixture
def world(suite_server: MockServer, request: pytest.FixtureRequest) -> Iterator[World]:
    """Return a world that is selected by its key, so that paths have neither prefix nor world, as in the suites."""
    name = re.sub(r"[^A-Za-z0-9]", "-", request.node.name)[:60].strip("-")
    with World(suite_server, name, api_key=f"sk-world-{name}") as world:
        yield world


def resource(client: Any, operation: str, wrapper: str = "") -> Any:
    """Return the resource object of an operation, or its wrapper, such as `with_raw_response`."""
    for name in operation.split(".")[:-1]:
        client = getattr(client, name)
    return getattr(client, wrapper) if wrapper else client


def call(resource: Any, operation: str, arguments: dict[str, Any]) -> Any:
    return getattr(resource, operation.rpartition(".")[2])(**arguments)


def is_expected(operation: str, result: object) -> bool:
    """Return whether the result has the expected kind: None for deletions of responses and in containers, else an object."""
    return (result is None) is (operation.startswith(("containers.", "responses.")) and operation.endswith("delete"))


def test_every_operation_of_the_client_is_called() -> None:
    called = {name for name, _, _ in CALLS}
    with openai.OpenAI(api_key="any") as client:
        existing = {
            f"{prefix}.{name}"
            for prefix in (
                "containers",
                "containers.files",
                "containers.files.content",
                "files",
                "uploads",
                "uploads.parts",
                "responses",
                "responses.input_items",
                *SKILLS,
            )
            for name in vars(type(resource(client, f"{prefix}.x")))
            if name
            in (
                "create",
                "retrieve",
                "update",
                "list",
                "delete",
                "content",
                "retrieve_content",
                "complete",
                "cancel",
            )
        }
    nested = {"containers.files.content", "skills.content", "skills.versions.content"}  # resources, not operations
    assert called == existing - nested


@each_call
def test_a_synchronous_call_succeeds_in_every_style(world: World, operation: str, arguments: dict[str, Any]) -> None:
    with openai.OpenAI(
        base_url=world.server.url, api_key=world.api_key, max_retries=0, _strict_response_validation=True
    ) as client:
        for _ in range(2):  # a suite may run again on the same server
            assert is_expected(operation, call(resource(client, operation), operation, arguments))
        raw = call(resource(client, operation, "with_raw_response"), operation, arguments)
        assert (raw.http_response.status_code, raw.is_closed) == (200, True)
        assert raw.http_request.headers["X-Stainless-Lang"] == "python"
        assert is_expected(operation, raw.parse())
        with call(resource(client, operation, "with_streaming_response"), operation, arguments) as streamed:
            assert (streamed.http_response.status_code, streamed.is_closed) == (200, False)
            assert is_expected(operation, streamed.parse())
        assert streamed.is_closed


def test_streamed_responses_complete(world: World) -> None:
    with openai.OpenAI(
        base_url=world.server.url, api_key=world.api_key, max_retries=0, _strict_response_validation=True
    ) as client:
        for _ in range(2):
            for stream in (
                client.responses.create(stream=True),
                client.responses.retrieve(**RESPONSE, stream=True),
            ):
                assert [event.type for event in stream][-1] == "response.completed"


@each_call
def test_an_asynchronous_call_succeeds_in_every_style(world: World, operation: str, arguments: dict[str, Any]) -> None:
    async def call_in_all_styles() -> None:
        async with openai.AsyncOpenAI(
            base_url=world.server.url, api_key=world.api_key, max_retries=0, _strict_response_validation=True
        ) as client:
            assert is_expected(operation, await call(resource(client, operation), operation, arguments))
            raw = await call(resource(client, operation, "with_raw_response"), operation, arguments)
            assert raw.http_response.status_code == 200
            assert is_expected(operation, raw.parse())
            streaming = call(resource(client, operation, "with_streaming_response"), operation, arguments)
            async with streaming as streamed:
                assert streamed.http_response.status_code == 200
                assert is_expected(operation, await streamed.parse())

    asyncio.run(call_in_all_styles())


@each_call
def test_the_profile_live_rejects_calls_with_unknown_ids(
    live_world: World, operation: str, arguments: dict[str, Any]
) -> None:
    rejected = {"container_id", "file_id", "file_ids", "skill_id", "upload_id", "response_id", "after", "limit"}
    if rejected & arguments.keys() or operation in ("skills.create", "responses.create"):
        with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
            call(resource(live_world.openai, operation), operation, arguments)
    else:
        call(resource(live_world.openai, operation), operation, arguments)


# Other calls

IDS = st.one_of(
    st.sampled_from(["string", "id", "cntr_" + "0" * 48, "cfile_x", "file-abc123", "cntr_" + "a" * 232]),
    st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=64).filter(lambda text: text.strip(".")),
)


def all_operations(server: MockServer) -> list[tuple[str, str]]:
    paths = create_app(server.mock).openapi()["paths"]
    operations = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert len(operations) == len(OPERATIONS)
    return operations


@settings(max_examples=settings.default.max_examples // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(container_id=IDS, file_id=IDS, data=st.data())
def test_every_operation_accepts_any_id_in_any_order(
    world: World, container_id: str, file_id: str, data: st.DataObject
) -> None:
    for method, path in data.draw(st.permutations(all_operations(world.server))):
        url = path.format(
            container_id=container_id,
            file_id=file_id,
            upload_id=file_id,
            skill_id=container_id,
            version=file_id,
            response_id=container_id,
        )
        body: dict[str, Any] = {}
        if method == "POST" and path == "/files":
            body = {"files": {"file": ("a.txt", b"a")}, "data": {"purpose": "vision"}}
        elif path == "/uploads":
            body = {"json": UPLOAD}
        elif path.endswith("/parts"):
            body = {"files": {"data": b"a"}}
        elif path.startswith("/uploads/"):
            body = {"json": {"part_ids": ["string"], "md5": "md5"}}
        elif path == "/responses":
            body = {"json": {"previous_response_id": container_id}}
        elif method == "POST" and path.startswith("/skills"):
            body = {"json": {"default_version": file_id} if path == "/skills/{skill_id}" else {}}
        elif method == "POST":
            body = {"json": {"name": "box", "file_ids": [file_id]} if path == "/containers" else {"file_id": file_id}}
        response = world.http.request(method, url, **body)
        assert response.status_code == 200, f"{method} {url}: {response.text}"
        if method == "DELETE":
            expected = {"version": file_id} if "{version}" in path else {"id": container_id}
            assert response.json() == response.json() | ({"id": file_id} if "{file_id}" in path else expected)


def test_an_object_that_is_requested_is_created_and_stays(world: World) -> None:
    http, api = world.http, world.base_url
    content = http.get(f"{api}/containers/box/files/plot/content")
    assert content.content == b"Nobody uploaded this file.\n"
    assert [each["id"] for each in ok(http.get(f"{api}/containers"))["data"]] == ["box"]
    files = ok(http.get(f"{api}/containers/box/files"))["data"]
    assert [(each["id"], each["container_id"], each["bytes"]) for each in files] == [("plot", "box", 27)]
    world.freeze()
    world.advance(366 * 86_400)
    assert ok(http.get(f"{api}/containers/box"))["status"] == "running", "containers of suites do not expire"
    ok(http.delete(f"{api}/containers/box"))
    assert ok(http.get(f"{api}/containers"))["data"] == []
    assert ok(http.get(f"{api}/containers/box/files"))["data"] == [], "the container was created again, without files"
    ok(http.get(f"{api}/files/report"))
    assert [each["id"] for each in ok(http.get(f"{api}/files"))["data"]] == ["report"]


def test_the_control_plane_does_not_create_objects_that_it_is_asked_for(world: World) -> None:
    ok(world.http.get("/containers/box"))
    control = httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}")
    with control:
        for method, path in [
            ("GET", "/containers/other"),
            ("DELETE", "/containers/other"),
            ("DELETE", "/containers/box/files/other"),
            ("GET", "/files/other"),
            ("DELETE", "/files/other"),
        ]:
            assert control.request(method, path).status_code == 404
        assert ok(control.get("/containers"))["total"] == 1
        assert ok(control.get("/containers/box"))["expires_in"] is None
        ok(control.post("/containers/box/expire"))
        assert ok(control.get("/containers/box"))["status"] == "expired"


@pytest.mark.parametrize("id", ["a b", "%C3%BC", "x" * 257, "a%00b", "a%0Ab"])
def test_an_invalid_id_is_rejected_and_creates_no_object(world: World, id: str) -> None:
    """An import would reject these ids too."""
    assert world.http.get(f"/containers/{id}").status_code == 404
    assert world.http.get(f"/containers/box/files/{id}").status_code == 404
    assert world.http.get(f"/files/{id}").status_code == 404
    body = {"name": "box", "file_ids": [unquote(id)]}
    assert world.http.post("/containers", json=body).status_code == 400
    assert [each["id"] for each in ok(world.http.get("/containers"))["data"]] == ["box"]


def test_invalid_requests_are_rejected_with_the_profile_contract(world: World) -> None:
    for body in ({}, {"name": 1}, {"name": "box", "foo": 1}, {"name": "box", "memory_limit": "2g"}):
        assert world.http.post("/containers", json=body).status_code == 400
    assert world.http.get("/containers", params={"limit": -1}).status_code == 400
    assert world.http.get("/containers", params={"limit": 101}).status_code == 400
    assert world.http.get("/nothing").status_code == 404
