"""Every operation on containers and Files through the official Python package, sync and async, over a socket.

The clients validate strictly: a response that doesn't match the types of the package fails the test.
"""

import asyncio
import hashlib
import inspect
import io
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import NOON, World, new_world

from mockserver import ids
from mockserver.server.serving import MockServer

HOUR = 3_600
DAY = 24 * HOUR

CONTENT = hashlib.shake_256(b"content").digest(3 * 1024 * 1024 + 7)
"""Pseudorandom, so that chunks in the wrong order are noticed."""


class Sdk:
    """A sync or async client, or one of its resources. Calls block and return the result."""

    def __init__(self, part: Any, runner: asyncio.Runner) -> None:
        self._part = part
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if inspect.isroutine(found):
            return lambda *args, **options: self._wait(found(*args, **options))
        return Sdk(found, self._runner)

    def _wait(self, result: Any) -> Any:
        async def wait(result: Awaitable[Any]) -> Any:
            return await result

        return self._runner.run(wait(result)) if inspect.isawaitable(result) else result

    def items(self, page: Any) -> list[Any]:
        """Return all items from this page on. The package requests the following pages."""

        async def collect() -> list[Any]:
            return [item async for item in page]

        return self._runner.run(collect()) if hasattr(page, "__aiter__") else list(page)

    def pages(self, page: Any) -> list[Any]:
        pages = [page]
        while pages[-1].has_next_page():
            pages.append(Sdk(pages[-1], self._runner).get_next_page())
        return pages

    def streamed(self, manager: Any) -> tuple[Any, list[bytes]]:
        """Return the response of a `with_streaming_response` call, and its body in chunks."""

        async def read() -> tuple[Any, list[bytes]]:
            async with manager as response:
                return response, [chunk async for chunk in response.iter_bytes(64 * 1024)]

        if hasattr(manager, "__aenter__"):
            return self._runner.run(read())
        with manager as response:
            return response, list(response.iter_bytes(64 * 1024))


Connect = Callable[..., Sdk]


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    opened: list[Sdk] = []
    with asyncio.Runner() as runner:

        def connect(world: World, **options: Any) -> Sdk:
            defaults = {"api_key": world.api_key, "max_retries": 0, "_strict_response_validation": True}
            opened.append(Sdk(request.param(base_url=world.base_url, **{**defaults, **options}), runner))
            return opened[-1]

        yield connect
        for sdk in opened:
            sdk.close()


@pytest.fixture
def sdk(connect: Connect, world: World) -> Sdk:
    return connect(world)


@pytest.fixture
def lax(connect: Connect, world: World) -> Sdk:
    """A client that accepts responses that don't match the types of the package."""
    return connect(world, _strict_response_validation=False)


@pytest.fixture
def live(connect: Connect, live_world: World) -> Sdk:
    return connect(live_world)


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[MockServer]:
    with MockServer(api_key=("sk-right-key-of-this-server",)) as running:
        yield running


# Containers


def test_create_container(sdk: Sdk, world: World) -> None:
    world.freeze()
    file = sdk.files.create(file=("data.csv", b"a,b\n"), purpose="user_data")
    container = sdk.containers.create(
        name="analysis",
        file_ids=[file.id],
        expires_after={"anchor": "last_active_at", "minutes": 15},
        memory_limit="4g",
        network_policy={
            "type": "allowlist",
            "allowed_domains": ["example.com"],
            "domain_secrets": [{"domain": "example.com", "name": "KEY", "value": "hidden"}],
        },
        skills=[{"type": "skill_reference", "skill_id": "openai-spreadsheets", "version": "2"}],
    )
    assert container.model_dump(exclude_unset=True) == {
        "id": container.id,
        "object": "container",
        "created_at": NOON,
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": 15},
        "last_active_at": NOON,
        "memory_limit": "4g",
        "name": "analysis",
        "network_policy": {"type": "allowlist", "allowed_domains": ["example.com"]},
    }
    (copy,) = sdk.containers.files.list(container.id).data
    assert copy.path == f"/mnt/data/{file.id}-data.csv"


def test_create_container_uses_the_defaults(sdk: Sdk) -> None:
    container = sdk.containers.create(name="plain")
    assert container.status == "running"
    assert container.expires_after.model_dump() == {"anchor": "last_active_at", "minutes": 20}
    assert container.memory_limit == "1g"
    assert "network_policy" not in container.model_fields_set


def test_retrieve_container(sdk: Sdk, world: World) -> None:
    world.freeze()
    created = sdk.containers.create(name="box")
    world.advance(60)
    retrieved = sdk.containers.retrieve(created.id)
    assert retrieved.model_dump() == {**created.model_dump(), "last_active_at": NOON + 60}


def test_list_containers(sdk: Sdk) -> None:
    assert sdk.containers.list().data == []
    ids = [sdk.containers.create(name=f"box {n % 2}").id for n in range(7)]
    newest_first = ids[::-1]

    def listed(**query: Any) -> list[str]:
        return [container.id for container in sdk.containers.list(**query).data]

    assert listed() == newest_first
    assert listed(order="asc") == ids
    assert listed(limit=3) == newest_first[:3]
    assert listed(after=newest_first[2], limit=3) == newest_first[3:6]
    assert listed(after=ids[2], order="asc") == ids[3:]
    assert listed(name="box 1") == newest_first[1::2]
    assert listed(name="box 1", after=newest_first[3], limit=1) == [newest_first[5]]
    assert listed(name="nobody's") == []


def test_container_pages_and_auto_pagination(sdk: Sdk) -> None:
    ids = [sdk.containers.create(name="box").id for _ in range(7)]
    pages = sdk.pages(sdk.containers.list(limit=3))
    assert [len(page.data) for page in pages] == [3, 3, 1]
    assert [page.has_more for page in pages] == [True, True, False]
    assert [container.id for container in sdk.items(sdk.containers.list(limit=3))] == ids[::-1]
    assert [container.id for container in sdk.items(sdk.containers.list(limit=2, order="asc"))] == ids


def test_pagination_is_stable_while_containers_are_created_and_deleted(sdk: Sdk) -> None:
    ids = [sdk.containers.create(name="box").id for _ in range(4)]
    page = sdk.containers.list(limit=2)
    sdk.containers.create(name="late")
    sdk.containers.delete(page.data[-1].id)
    assert [container.id for container in sdk.pages(page)[1].data] == ids[1::-1]


def test_delete_container(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    assert sdk.containers.delete(container.id) is None
    raw = sdk.containers.with_raw_response.delete(sdk.containers.create(name="box").id)
    assert raw.http_response.json()["object"] == "container.deleted"
    with pytest.raises(openai.NotFoundError):
        sdk.containers.retrieve(container.id)


# Container files


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (b"some,bytes\n", "upload"),
        (("table.csv", b"some,bytes\n"), "table.csv"),
        (("table.csv", b"some,bytes\n", "text/csv"), "table.csv"),
        (("прогноз €.csv", b"some,bytes\n"), "прогноз €.csv"),
        (('a "quoted" name.csv', b"some,bytes\n"), 'a "quoted" name.csv'),
        (("back\\slash.csv", b"some,bytes\n"), "back\\slash.csv"),
    ],
)
def test_upload_to_container(sdk: Sdk, world: World, file: Any, name: str) -> None:
    world.freeze()
    container = sdk.containers.create(name="box")
    uploaded = sdk.containers.files.create(container.id, file=file)
    digest = hashlib.blake2b(b"some,bytes\n", digest_size=16).hexdigest()
    assert uploaded.model_dump(exclude_unset=True) == {
        "id": uploaded.id,
        "object": "container.file",
        "created_at": NOON,
        "bytes": 11,
        "container_id": container.id,
        "path": f"/mnt/data/{digest}-{name}",
        "source": "user",
    }
    assert sdk.containers.files.content.retrieve(uploaded.id, container_id=container.id).content == b"some,bytes\n"


def test_upload_from_a_path_a_file_and_a_buffer(sdk: Sdk, tmp_path: Path) -> None:
    container = sdk.containers.create(name="box")
    path = tmp_path / "script.py"
    path.write_bytes(b"print(1)\n")
    with path.open("rb") as opened:
        for file in (path, opened, ("script.py", io.BytesIO(b"print(1)\n"))):
            uploaded = sdk.containers.files.create(container.id, file=file)
            assert uploaded.path.endswith("-script.py")
            assert uploaded.bytes == 9


def test_copy_a_file_into_a_container(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.files.create(file=("data.csv", b"a,b\n"), purpose="assistants")
    copy = sdk.containers.files.create(container.id, file_id=file.id)
    assert copy.id.startswith("cfile_")
    assert (copy.path, copy.bytes, copy.source) == (f"/mnt/data/{file.id}-data.csv", 4, "user")
    assert sdk.containers.files.content.retrieve(copy.id, container_id=container.id).content == b"a,b\n"


def test_retrieve_and_list_container_files(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    assert sdk.containers.files.list(container.id).data == []
    files = [sdk.containers.files.create(container.id, file=(f"{n}.txt", b"x" * n)) for n in range(5)]
    assert sdk.containers.files.retrieve(files[3].id, container_id=container.id).model_dump() == files[3].model_dump()
    listing = sdk.containers.files.list
    ids = [file.id for file in files]
    assert [file.id for file in listing(container.id).data] == ids[::-1]
    assert [file.id for file in listing(container.id, order="asc", after=ids[1], limit=2).data] == ids[2:4]
    assert [file.id for file in sdk.items(listing(container.id, limit=2))] == ids[::-1]
    assert [file.model_dump() for file in sdk.items(listing(container.id, limit=2, order="asc"))] == [
        file.model_dump() for file in files
    ]


def test_delete_container_file(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.containers.files.create(container.id, file=b"x")
    raw = sdk.containers.files.with_raw_response.delete(file.id, container_id=container.id)
    assert raw.http_response.json() == {"id": file.id, "object": "container.file.deleted", "deleted": True}
    assert sdk.containers.files.list(container.id).data == []
    for operation in (
        sdk.containers.files.retrieve,
        sdk.containers.files.delete,
        sdk.containers.files.content.retrieve,
    ):
        with pytest.raises(openai.NotFoundError):
            operation(file.id, container_id=container.id)


def test_container_file_content(sdk: Sdk, tmp_path: Path) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.containers.files.create(container.id, file=("grüße.txt", "grüße".encode()))
    content = sdk.containers.files.content.retrieve(file.id, container_id=container.id)
    assert content.text == "grüße"
    assert content.response.headers["content-type"] == "text/plain; charset=utf-8"
    assert content.response.headers["content-disposition"].startswith(
        'attachment; filename="file.txt"; filename*=UTF-8'
    )
    content.write_to_file(tmp_path / "copy")
    assert (tmp_path / "copy").read_text("utf-8") == "grüße"


def test_stream_container_file_content(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.containers.files.create(container.id, file=("big.bin", CONTENT))
    manager = sdk.containers.files.content.with_streaming_response.retrieve(file.id, container_id=container.id)
    response, chunks = sdk.streamed(manager)
    assert response.headers["content-length"] == str(len(CONTENT))
    assert len(chunks) > 40
    assert b"".join(chunks) == CONTENT


# Files


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data"])
def test_create_file(sdk: Sdk, world: World, purpose: str) -> None:
    world.freeze()
    name = "data.json" if purpose == "assistants" else "data.jsonl"
    file = sdk.files.create(file=(name, b"{}\n"), purpose=purpose)
    assert file.model_dump(exclude_unset=True) == {
        "object": "file",
        "id": file.id,
        "purpose": purpose,
        "filename": name,
        "bytes": 3,
        "created_at": NOON,
        "expires_at": NOON + 30 * DAY if purpose == "batch" else None,
        "status": "processed",
        "status_details": None,
    }


def test_create_file_of_purpose_evals(lax: Sdk) -> None:
    """The package sends this purpose, but its type of a File lacks it."""
    assert lax.files.create(file=b"{}", purpose="evals").purpose == "evals"


def test_file_expires(sdk: Sdk, world: World) -> None:
    world.freeze()
    file = sdk.files.create(
        file=("a.jsonl", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": HOUR}
    )
    assert file.expires_at == NOON + HOUR
    world.advance(HOUR - 1)
    assert sdk.files.retrieve(file.id).id == file.id
    world.advance(1)
    assert sdk.files.list().data == []
    for operation in (sdk.files.retrieve, sdk.files.content, sdk.files.delete):
        with pytest.raises(openai.NotFoundError):
            operation(file.id)


def test_retrieve_and_list_files(sdk: Sdk) -> None:
    assert sdk.files.list().data == []
    purposes = ["batch", "vision", "batch", "fine-tune", "batch"]
    files = [sdk.files.create(file=(f"{n}.jsonl", b"x"), purpose=purpose) for n, purpose in enumerate(purposes)]
    assert sdk.files.retrieve(files[1].id).model_dump() == files[1].model_dump()
    ids = [file.id for file in files]
    assert [file.id for file in sdk.files.list().data] == ids[::-1]
    assert [file.id for file in sdk.files.list(purpose="batch").data] == ids[::-2]
    assert [file.id for file in sdk.files.list(order="asc", after=ids[0], limit=2).data] == ids[1:3]
    assert [len(page.data) for page in sdk.pages(sdk.files.list(limit=2))] == [2, 2, 1]
    assert [file.id for file in sdk.items(sdk.files.list(limit=2))] == ids[::-1]
    assert [file.id for file in sdk.items(sdk.files.list(limit=1, purpose="batch", order="asc"))] == ids[::2]


def test_delete_file(sdk: Sdk) -> None:
    file = sdk.files.create(file=b"x", purpose="user_data")
    deleted = sdk.files.delete(file.id)
    assert deleted.model_dump() == {"id": file.id, "object": "file", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        sdk.files.delete(file.id)


@pytest.mark.parametrize("purpose", ["batch", "fine-tune", "vision"])
def test_file_content(sdk: Sdk, purpose: str) -> None:
    file = sdk.files.create(file=("data.jsonl", b'{"a": 1}\n'), purpose=purpose)
    content = sdk.files.content(file.id)
    assert content.content == b'{"a": 1}\n'
    assert content.response.headers["content-disposition"] == 'attachment; filename="data.jsonl"'


def test_stream_file_content(sdk: Sdk) -> None:
    file = sdk.files.create(file=("big.jsonl", CONTENT), purpose="fine-tune")
    _, chunks = sdk.streamed(sdk.files.with_streaming_response.content(file.id))
    assert b"".join(chunks) == CONTENT


@pytest.mark.parametrize("purpose", ["user_data", "assistants"])
def test_file_content_of_some_purposes_is_rejected(sdk: Sdk, purpose: str) -> None:
    file = sdk.files.create(file=b"x", purpose=purpose)
    with pytest.raises(openai.BadRequestError, match=f"Not allowed to download files of purpose: {purpose}"):
        sdk.files.content(file.id)


def test_wait_for_processing(sdk: Sdk) -> None:
    file = sdk.files.create(file=b"x", purpose="user_data")
    assert sdk.files.wait_for_processing(file.id, max_wait_seconds=1).status == "processed"


# Raw responses


def test_raw_responses_have_the_headers_of_the_live_api(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.files.create(file=b"x", purpose="vision")
    container_file = sdk.containers.files.create(container.id, file_id=file.id)
    in_container = {"container_id": container.id}
    responses = [
        sdk.containers.with_raw_response.create(name="other"),
        sdk.containers.with_raw_response.retrieve(container.id),
        sdk.containers.with_raw_response.list(),
        sdk.containers.files.with_raw_response.create(container.id, file=b"y"),
        sdk.containers.files.with_raw_response.retrieve(container_file.id, **in_container),
        sdk.containers.files.with_raw_response.list(container.id),
        sdk.containers.files.content.with_raw_response.retrieve(container_file.id, **in_container),
        sdk.containers.files.with_raw_response.delete(container_file.id, **in_container),
        sdk.containers.with_raw_response.delete(container.id),
        sdk.files.with_raw_response.create(file=b"z", purpose="vision"),
        sdk.files.with_raw_response.retrieve(file.id),
        sdk.files.with_raw_response.list(),
        sdk.files.with_raw_response.content(file.id),
        sdk.files.with_raw_response.delete(file.id),
    ]
    request_ids = {response.headers["x-request-id"] for response in responses}
    assert len(request_ids) == len(responses)
    for response in responses:
        assert response.status_code == 200
        assert response.headers["openai-version"] == "2020-10-01"
        assert int(response.headers["openai-processing-ms"]) >= 0
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["openai-organization"]
        assert response.headers["openai-project"]
        assert "x-mock-warning" not in response.headers


def test_raw_responses_can_be_parsed(sdk: Sdk) -> None:
    raw = sdk.containers.with_raw_response.create(name="box")
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().id == raw.http_response.json()["id"]
    page = sdk.containers.with_raw_response.list(limit=1).parse()
    assert [container.id for container in page.data] == [raw.parse().id]


def test_a_json_response_can_be_streamed(sdk: Sdk) -> None:
    response, chunks = sdk.streamed(sdk.containers.with_streaming_response.create(name="box"))
    assert response.status_code == 200
    assert b"".join(chunks).startswith(b'{\n  "id": "cntr_')


# Errors


UNKNOWN_ID = "cntr_000000000000819000000000000000000000000000000000"


@pytest.mark.parametrize(
    ("call", "kind", "fields"),
    [
        (
            lambda sdk: sdk.containers.retrieve(UNKNOWN_ID),
            openai.NotFoundError,
            (f"Container with id '{UNKNOWN_ID}' not found.", None, None),
        ),
        (
            lambda sdk: sdk.containers.delete(UNKNOWN_ID),
            openai.NotFoundError,
            (f"Container with id '{UNKNOWN_ID}' not found.", None, None),
        ),
        (
            lambda sdk: sdk.containers.files.create(UNKNOWN_ID, file=b"x"),
            openai.NotFoundError,
            (f"Container with id '{UNKNOWN_ID}' not found.", None, None),
        ),
        (
            lambda sdk: sdk.containers.create(name="box", extra_body={"foo": 1}),
            openai.BadRequestError,
            ("Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
        ),
        (
            lambda sdk: sdk.containers.create(name=7),
            openai.BadRequestError,
            ("Invalid type for 'name': expected a string, but got an integer instead.", "name", "invalid_type"),
        ),
        (
            lambda sdk: sdk.containers.create(name=openai.omit),
            openai.BadRequestError,
            ("Missing required parameter: 'name'.", "name", "missing_required_parameter"),
        ),
        (
            lambda sdk: sdk.containers.create(name="x", expires_after={"anchor": "last_active_at", "minutes": 0}),
            openai.BadRequestError,
            (
                "Invalid 'expires_after.minutes': integer below minimum value. "
                "Expected a value >= 1, but got 0 instead.",
                "expires_after.minutes",
                "integer_below_min_value",
            ),
        ),
        (
            lambda sdk: sdk.containers.list(limit=101),
            openai.BadRequestError,
            (
                "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
                "limit",
                "integer_above_max_value",
            ),
        ),
        (
            lambda sdk: sdk.containers.list(order="up"),
            openai.BadRequestError,
            ("Invalid value: 'up'. Supported values are: 'asc' and 'desc'.", "order", "invalid_value"),
        ),
        (
            lambda sdk: sdk.containers.list(after="x"),
            openai.BadRequestError,
            ("Invalid 'after': 'x'. Expected an ID that begins with 'cntr'.", "after", "invalid_value"),
        ),
        (
            lambda sdk: sdk.files.retrieve("file-nobody"),
            openai.NotFoundError,
            ("No such File object: file-nobody", "id", None),
        ),
        (
            lambda sdk: sdk.files.create(file=b"x", purpose="fun"),
            openai.BadRequestError,
            (
                "'fun' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'",
                "purpose",
                None,
            ),
        ),
    ],
)
def test_error_responses_raise_the_errors_of_the_package(
    sdk: Sdk, call: Callable[[Sdk], Any], kind: type[openai.APIStatusError], fields: tuple[str, str, str]
) -> None:
    with pytest.raises(kind) as caught:
        call(sdk)
    error, (message, param, code) = caught.value, fields
    assert type(error) is kind
    assert (error.type, error.param, error.code) == ("invalid_request_error", param, code)
    assert error.body == {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert error.request_id == error.response.headers["x-request-id"]


def test_an_unknown_container_file_is_an_error(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.containers.files.retrieve("cfile_0", container_id=container.id)
    assert caught.value.body == {
        "message": f"File cfile_0 not found on container {container.id}.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_a_wrong_key_is_rejected(connect: Connect, guarded_server: MockServer) -> None:
    sdk = connect(new_world(guarded_server), api_key="sk-wrong-key-of-somebody")
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.containers.list()
    assert caught.value.code == "invalid_api_key"
    assert "Incorrect API key provided: sk-wrong************body." in caught.value.message


def test_a_request_without_a_key_is_rejected(connect: Connect, guarded_server: MockServer) -> None:
    sdk = connect(new_world(guarded_server))
    with pytest.raises(openai.AuthenticationError, match="You didn't provide an API key") as caught:
        sdk.files.list(extra_headers={"Authorization": openai.Omit()})
    assert caught.value.code is None
    assert caught.value.response.headers["www-authenticate"] == 'Bearer realm="OpenAI API"'


def test_the_right_key_is_accepted(connect: Connect, guarded_server: MockServer) -> None:
    sdk = connect(new_world(guarded_server), api_key="sk-right-key-of-this-server")
    assert sdk.containers.create(name="box").name == "box"


# Differences between the published documentation and the live API


@pytest.mark.parametrize(
    ("rule", "shown", "warning"),
    [
        (
            {"anchor": "last_active_at", "minutes": 60},
            {"anchor": "last_active_at", "minutes": 60},
            "minutes-beyond-limit: the live API refuses expires_after.minutes above 20",
        ),
        (
            {"anchor": "created_at", "days": 7},
            {"anchor": "created_at", "minutes": 10_080},
            "created-at-expiry: the live API takes expires_after only as last_active_at and minutes",
        ),
        (
            {"anchor": "created_at", "minutes": 5},
            {"anchor": "created_at", "minutes": 5},
            "created-at-expiry: the live API takes expires_after only as last_active_at and minutes",
        ),
    ],
)
def test_expiry_that_the_live_api_rejects_is_accepted_with_a_warning(
    lax: Sdk, rule: dict[str, Any], shown: dict[str, Any], warning: str
) -> None:
    raw = lax.containers.with_raw_response.create(name="box", expires_after=rule)
    assert raw.headers["x-mock-warning"] == warning
    assert raw.http_response.json()["expires_after"] == shown
    again = lax.containers.with_raw_response.retrieve(raw.parse().id)
    assert "x-mock-warning" not in again.headers


def test_a_file_id_is_an_alias_of_its_newest_copy_in_the_container(sdk: Sdk) -> None:
    file = sdk.files.create(file=("a.txt", b"abc"), purpose="user_data")
    container = sdk.containers.create(name="box", file_ids=[file.id])
    newest = sdk.containers.files.create(container.id, file_id=file.id)
    in_container = {"container_id": container.id}
    responses = [
        sdk.containers.files.with_raw_response.retrieve(file.id, **in_container),
        sdk.containers.files.content.with_raw_response.retrieve(file.id, **in_container),
        sdk.containers.files.with_raw_response.delete(file.id, **in_container),
    ]
    assert responses[0].parse().id == newest.id
    assert responses[1].http_response.content == b"abc"
    for response in responses:
        assert response.headers["x-mock-warning"].startswith("file-id-alias: the live API answers 404")
    (older,) = sdk.containers.files.list(container.id).data
    assert older.id != newest.id
    assert sdk.files.retrieve(file.id).id == file.id


def test_the_live_profile_rejects_more_than_20_minutes(live: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        live.containers.create(name="box", expires_after={"anchor": "last_active_at", "minutes": 60})
    assert caught.value.body == {
        "message": "Invalid 'expires_after.minutes': integer above maximum value. "
        "Expected a value <= 20, but got 60 instead.",
        "type": "invalid_request_error",
        "param": "expires_after.minutes",
        "code": "integer_above_max_value",
    }


@pytest.mark.parametrize(
    ("rule", "param", "code"),
    [
        ({"anchor": "created_at", "minutes": 20}, "expires_after.anchor", "invalid_value"),
        ({"anchor": "last_active_at", "days": 1}, "expires_after.days", "unknown_parameter"),
    ],
)
def test_the_live_profile_rejects_other_forms_of_expiry(live: Sdk, rule: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        live.containers.create(name="box", expires_after=rule)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_the_live_profile_accepts_no_file_id_as_the_id_of_a_container_file(live: Sdk) -> None:
    file = live.files.create(file=b"x", purpose="user_data")
    container = live.containers.create(name="box", file_ids=[file.id])
    for operation in (
        live.containers.files.retrieve,
        live.containers.files.content.retrieve,
        live.containers.files.delete,
    ):
        with pytest.raises(openai.NotFoundError, match=f"File {file.id} not found on container {container.id}."):
            operation(file.id, container_id=container.id)


def test_digit_groups_in_container_ids_are_as_frequent_as_in_the_live_api() -> None:
    """Among 54 recorded ids, the groups occur 39, 7, 6 and 2 times."""
    seed = ids.world_seed("any", "any")
    groups = Counter(ids.container(seed, ordinal, NOON)[17:21] for ordinal in range(5_400))
    assert groups.keys() == {"8190", "8191", "8198", "8193"}
    for group, recorded in {"8190": 39, "8191": 7, "8198": 6, "8193": 2}.items():
        assert groups[group] == pytest.approx(recorded * 100, rel=0.2)
