"""Every operation through the official Python package, sync and async, over a socket.

The clients validate strictly: an answer that doesn't fit the package's own types fails the test.
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
"""A few megabytes that don't repeat."""


class Sdk:
    """A client or a resource of it, used the same way be it sync or async: calls return what they come to."""

    def __init__(self, part: Any, runner: asyncio.Runner) -> None:
        self._part = part
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if inspect.isroutine(found):
            return lambda *args, **options: self._finished(found(*args, **options))
        return Sdk(found, self._runner)

    def _finished(self, result: Any) -> Any:
        async def wait(result: Awaitable[Any]) -> Any:
            return await result

        return self._runner.run(wait(result)) if inspect.isawaitable(result) else result

    def every(self, page: Any) -> list[Any]:
        """All items from this page on: the package fetches the pages behind it."""

        async def collect() -> list[Any]:
            return [item async for item in page]

        return self._runner.run(collect()) if hasattr(page, "__aiter__") else list(page)

    def pages(self, page: Any) -> list[Any]:
        found = [page]
        while found[-1].has_next_page():
            found.append(Sdk(found[-1], self._runner).get_next_page())
        return found

    def streamed(self, manager: Any) -> tuple[Any, list[bytes]]:
        """What a `with_streaming_response` call gives: the response, and its body in pieces."""

        async def read() -> tuple[Any, list[bytes]]:
            async with manager as response:
                return response, [piece async for piece in response.iter_bytes(64 * 1024)]

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
    """For answers that the package's own types don't know."""
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


def test_create_container_with_a_name_only(sdk: Sdk) -> None:
    container = sdk.containers.create(name="plain")
    assert container.status == "running"
    assert container.expires_after.model_dump() == {"anchor": "last_active_at", "minutes": 20}
    assert container.memory_limit == "1g"
    assert "network_policy" not in container.model_fields_set


def test_retrieve_container(sdk: Sdk, world: World) -> None:
    world.freeze()
    created = sdk.containers.create(name="box")
    world.advance(60)
    found = sdk.containers.retrieve(created.id)
    assert found.model_dump() == {**created.model_dump(), "last_active_at": NOON + 60}


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


def test_every_page_of_containers(sdk: Sdk) -> None:
    ids = [sdk.containers.create(name="box").id for _ in range(7)]
    pages = sdk.pages(sdk.containers.list(limit=3))
    assert [len(page.data) for page in pages] == [3, 3, 1]
    assert [page.has_more for page in pages] == [True, True, False]
    assert [container.id for container in sdk.every(sdk.containers.list(limit=3))] == ids[::-1]
    assert [container.id for container in sdk.every(sdk.containers.list(limit=2, order="asc"))] == ids


def test_pages_hold_although_containers_come_and_go(sdk: Sdk) -> None:
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


def test_upload_of_what_can_be_read(sdk: Sdk, tmp_path: Path) -> None:
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
    assert [file.id for file in sdk.every(listing(container.id, limit=2))] == ids[::-1]
    assert [file.model_dump() for file in sdk.every(listing(container.id, limit=2, order="asc"))] == [
        file.model_dump() for file in files
    ]


def test_delete_container_file(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.containers.files.create(container.id, file=b"x")
    raw = sdk.containers.files.with_raw_response.delete(file.id, container_id=container.id)
    assert raw.http_response.json() == {"id": file.id, "object": "container.file.deleted", "deleted": True}
    assert sdk.containers.files.list(container.id).data == []
    for gone in (sdk.containers.files.retrieve, sdk.containers.files.delete, sdk.containers.files.content.retrieve):
        with pytest.raises(openai.NotFoundError):
            gone(file.id, container_id=container.id)


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
    response, pieces = sdk.streamed(manager)
    assert response.headers["content-length"] == str(len(CONTENT))
    assert len(pieces) > 40
    assert b"".join(pieces) == CONTENT


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
    """The package sends it, but its type of a File doesn't list it."""
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
    for gone in (sdk.files.retrieve, sdk.files.content, sdk.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(file.id)


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
    assert [file.id for file in sdk.every(sdk.files.list(limit=2))] == ids[::-1]
    assert [file.id for file in sdk.every(sdk.files.list(limit=1, purpose="batch", order="asc"))] == ids[::2]


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
    _, pieces = sdk.streamed(sdk.files.with_streaming_response.content(file.id))
    assert b"".join(pieces) == CONTENT


@pytest.mark.parametrize("purpose", ["user_data", "assistants"])
def test_content_that_may_not_be_downloaded(sdk: Sdk, purpose: str) -> None:
    file = sdk.files.create(file=b"x", purpose=purpose)
    with pytest.raises(openai.BadRequestError, match=f"Not allowed to download files of purpose: {purpose}"):
        sdk.files.content(file.id)


def test_wait_for_processing(sdk: Sdk) -> None:
    file = sdk.files.create(file=b"x", purpose="user_data")
    assert sdk.files.wait_for_processing(file.id, max_wait_seconds=1).status == "processed"


# Raw responses


def test_raw_responses_show_what_the_live_api_sends_along(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    file = sdk.files.create(file=b"x", purpose="vision")
    inside = sdk.containers.files.create(container.id, file_id=file.id)
    place = {"container_id": container.id}
    answers = [
        sdk.containers.with_raw_response.create(name="other"),
        sdk.containers.with_raw_response.retrieve(container.id),
        sdk.containers.with_raw_response.list(),
        sdk.containers.files.with_raw_response.create(container.id, file=b"y"),
        sdk.containers.files.with_raw_response.retrieve(inside.id, **place),
        sdk.containers.files.with_raw_response.list(container.id),
        sdk.containers.files.content.with_raw_response.retrieve(inside.id, **place),
        sdk.containers.files.with_raw_response.delete(inside.id, **place),
        sdk.containers.with_raw_response.delete(container.id),
        sdk.files.with_raw_response.create(file=b"z", purpose="vision"),
        sdk.files.with_raw_response.retrieve(file.id),
        sdk.files.with_raw_response.list(),
        sdk.files.with_raw_response.content(file.id),
        sdk.files.with_raw_response.delete(file.id),
    ]
    request_ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(request_ids) == len(answers)
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["openai-version"] == "2020-10-01"
        assert int(answer.headers["openai-processing-ms"]) >= 0
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["openai-organization"]
        assert answer.headers["openai-project"]
        assert "x-mock-warning" not in answer.headers


def test_a_raw_response_parses_to_what_the_call_returns(sdk: Sdk) -> None:
    raw = sdk.containers.with_raw_response.create(name="box")
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().id == raw.http_response.json()["id"]
    page = sdk.containers.with_raw_response.list(limit=1).parse()
    assert [container.id for container in page.data] == [raw.parse().id]


def test_a_streamed_response_of_json(sdk: Sdk) -> None:
    response, pieces = sdk.streamed(sdk.containers.with_streaming_response.create(name="box"))
    assert response.status_code == 200
    assert b"".join(pieces).startswith(b'{\n  "id": "cntr_')


# Refusals


UNKNOWN = "cntr_000000000000819000000000000000000000000000000000"


@pytest.mark.parametrize(
    ("call", "kind", "fields"),
    [
        (
            lambda sdk: sdk.containers.retrieve(UNKNOWN),
            openai.NotFoundError,
            (f"Container with id '{UNKNOWN}' not found.", None, None),
        ),
        (
            lambda sdk: sdk.containers.delete(UNKNOWN),
            openai.NotFoundError,
            (f"Container with id '{UNKNOWN}' not found.", None, None),
        ),
        (
            lambda sdk: sdk.containers.files.create(UNKNOWN, file=b"x"),
            openai.NotFoundError,
            (f"Container with id '{UNKNOWN}' not found.", None, None),
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
def test_refusals_are_the_packages_errors(
    sdk: Sdk, call: Callable[[Sdk], Any], kind: type[openai.APIStatusError], fields: tuple[str, str, str]
) -> None:
    with pytest.raises(kind) as caught:
        call(sdk)
    error, (message, param, code) = caught.value, fields
    assert type(error) is kind
    assert (error.type, error.param, error.code) == ("invalid_request_error", param, code)
    assert error.body == {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert error.request_id == error.response.headers["x-request-id"]


def test_an_unknown_file_of_a_container(sdk: Sdk) -> None:
    container = sdk.containers.create(name="box")
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.containers.files.retrieve("cfile_0", container_id=container.id)
    assert caught.value.body == {
        "message": f"File cfile_0 not found on container {container.id}.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_a_wrong_key(connect: Connect, guarded_server: MockServer) -> None:
    sdk = connect(new_world(guarded_server), api_key="sk-wrong-key-of-somebody")
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.containers.list()
    assert caught.value.code == "invalid_api_key"
    assert "Incorrect API key provided: sk-wrong************body." in caught.value.message


def test_no_key(connect: Connect, guarded_server: MockServer) -> None:
    sdk = connect(new_world(guarded_server))
    with pytest.raises(openai.AuthenticationError, match="You didn't provide an API key") as caught:
        sdk.files.list(extra_headers={"Authorization": openai.Omit()})
    assert caught.value.code is None
    assert caught.value.response.headers["www-authenticate"] == 'Bearer realm="OpenAI API"'


def test_the_right_key(connect: Connect, guarded_server: MockServer) -> None:
    sdk = connect(new_world(guarded_server), api_key="sk-right-key-of-this-server")
    assert sdk.containers.create(name="box").name == "box"


# Where published documentation and the live API differ


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
def test_expiry_beyond_the_live_api_is_taken_with_a_warning(
    lax: Sdk, rule: dict[str, Any], shown: dict[str, Any], warning: str
) -> None:
    raw = lax.containers.with_raw_response.create(name="box", expires_after=rule)
    assert raw.headers["x-mock-warning"] == warning
    assert raw.http_response.json()["expires_after"] == shown
    again = lax.containers.with_raw_response.retrieve(raw.parse().id)
    assert "x-mock-warning" not in again.headers


def test_the_id_of_a_file_stands_for_its_newest_copy(sdk: Sdk) -> None:
    file = sdk.files.create(file=("a.txt", b"abc"), purpose="user_data")
    container = sdk.containers.create(name="box", file_ids=[file.id])
    newest = sdk.containers.files.create(container.id, file_id=file.id)
    inside = {"container_id": container.id}
    answers = [
        sdk.containers.files.with_raw_response.retrieve(file.id, **inside),
        sdk.containers.files.content.with_raw_response.retrieve(file.id, **inside),
        sdk.containers.files.with_raw_response.delete(file.id, **inside),
    ]
    assert answers[0].parse().id == newest.id
    assert answers[1].http_response.content == b"abc"
    for answer in answers:
        assert answer.headers["x-mock-warning"].startswith("file-id-alias: the live API answers 404")
    (older,) = sdk.containers.files.list(container.id).data
    assert older.id != newest.id
    assert sdk.files.retrieve(file.id).id == file.id


def test_the_live_api_refuses_more_than_twenty_minutes(live: Sdk) -> None:
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
def test_the_live_api_refuses_other_expiry(live: Sdk, rule: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        live.containers.create(name="box", expires_after=rule)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_the_live_api_knows_no_file_by_another_id(live: Sdk) -> None:
    file = live.files.create(file=b"x", purpose="user_data")
    container = live.containers.create(name="box", file_ids=[file.id])
    for operation in (
        live.containers.files.retrieve,
        live.containers.files.content.retrieve,
        live.containers.files.delete,
    ):
        with pytest.raises(openai.NotFoundError, match=f"File {file.id} not found on container {container.id}."):
            operation(file.id, container_id=container.id)


def test_ids_have_the_groups_of_the_live_api_in_their_proportions() -> None:
    """Of 54 ids that were seen: 39, 7, 6 and 2."""
    seed = ids.world_seed("any", "any")
    groups = Counter(ids.container(seed, ordinal, NOON)[17:21] for ordinal in range(5_400))
    assert groups.keys() == {"8190", "8191", "8198", "8193"}
    for group, seen in {"8190": 39, "8191": 7, "8198": 6, "8193": 2}.items():
        assert groups[group] == pytest.approx(seen * 100, rel=0.2)
