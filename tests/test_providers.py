"""The same API under every prefix, in Azure's words where Azure speaks, and as LiteLLM calls it."""

import asyncio
import base64
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import openai
import pytest
from conftest import World, error_message, new_world, ok

from mockserver.server.serving import MockServer
from mockserver.testing import MockWorld, Server

KEY = "sk-the-key-of-this-server"
CONTENT = b"to,answer\n6,42\n"

WRONG_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
WRONG_TOKEN = (
    "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), "
    "or have expired."
)
NO_ROUTE = {"error": {"code": "404", "message": "Resource not found"}}


@dataclass(frozen=True)
class Way:
    """A way to reach the same operations."""

    name: str
    prefix: str
    query: dict[str, str] = field(default_factory=dict)

    @property
    def azure(self) -> bool:
        return "openai" in self.prefix

    def client(self, world: World, **headers: str) -> httpx2.Client:
        """A plain client: `client.get("/containers")`."""
        given = headers or ({"api-key": "sk-test"} if self.azure else {"Authorization": "Bearer sk-test"})
        base = f"{world.server.url}/w/{world.name}{self.prefix}"
        if not self.prefix:
            mock = world.server.mock
            world.server.run(mock.worlds.set_profile(world.name, replace(mock.worlds.profile({}), bare_paths=True)))
        # Without certificates, which would take longer to load than most tests take.
        return httpx2.Client(base_url=base, headers=given, params=self.query, verify=False)


WAYS = [
    Way("openai", "/v1"),
    Way("bare", ""),
    Way("azure-v1", "/openai/v1"),
    Way("azure-v1-preview", "/openai/v1", {"api-version": "preview"}),
    Way("azure", "/openai", {"api-version": "2025-04-01-preview"}),
    Way("azure-foundry", "/api/projects/a-project/openai/v1"),
    Way("azure-after-a-slash", "//openai", {"api-version": "2025-04-01-preview"}),
]
AZURE = [way for way in WAYS if way.azure]

each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
each_azure = pytest.mark.parametrize("way", AZURE, ids=lambda way: way.name)


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[MockServer]:
    with MockServer(api_key=(KEY,)) as running:
        yield running


@pytest.fixture
def guarded(guarded_server: MockServer) -> World:
    return new_world(guarded_server)


@pytest.fixture
def mock(world: World) -> Iterator[MockWorld]:
    """The world as its control plane shows it."""
    server = Server(world.server.url)
    yield MockWorld(server, world.name)
    server.close()


def azures(answer: httpx2.Response, status: int, code: str) -> str:
    """The words of Azure's gateway, in its own shape."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert list(answer.json()["error"]) == ["code", "message"]
    assert answer.json()["error"]["code"] == code
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert "www-authenticate" not in answer.headers
    return str(answer.json()["error"]["message"])


# The operations


@each_way
def test_every_operation(live_world: World, way: Way) -> None:
    """As the live API takes them, hence without a warning."""
    with way.client(live_world) as client:
        container = ok(client.post("/containers", json={"name": "box"}))["id"]
        assert ok(client.get("/containers"))["first_id"] == container
        assert ok(client.get(f"/containers/{container}"))["name"] == "box"
        files = f"/containers/{container}/files"
        file = ok(client.post(files, files={"file": ("a.csv", CONTENT)}))["id"]
        assert ok(client.get(files))["first_id"] == file
        assert ok(client.get(f"{files}/{file}"))["bytes"] == len(CONTENT)
        assert client.get(f"{files}/{file}/content").content == CONTENT
        assert client.head(f"{files}/{file}/content").headers["content-length"] == str(len(CONTENT))
        upload = ok(client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))["id"]
        assert ok(client.post(files, json={"file_id": upload}))["path"] == f"/mnt/data/{upload}-a.csv"
        assert ok(client.get("/files"))["first_id"] == upload
        assert ok(client.get(f"/files/{upload}"))["purpose"] == "vision"
        assert client.get(f"/files/{upload}/content").content == CONTENT
        answers = [client.delete(path) for path in (f"{files}/{file}", f"/files/{upload}", f"/containers/{container}")]
        assert [ok(answer)["deleted"] for answer in answers] == [True] * 3
        assert not any("x-mock-warning" in answer.headers for answer in answers)


def test_all_prefixes_show_the_same_world(world: World) -> None:
    for way in WAYS:
        with way.client(world) as client:
            ok(client.post("/containers", json={"name": way.name}))
    names = [way.name for way in WAYS]
    for way in WAYS:
        with way.client(world) as client:
            assert [each["name"] for each in ok(client.get("/containers", params={"order": "asc"}))["data"]] == names


@each_way
def test_the_key_names_a_world(server: MockServer, way: Way) -> None:
    world = new_world(server)
    for headers in ({"api-key": f"sk-world-{world.name}"}, {"Authorization": f"Bearer sk-world-{world.name}"}):
        with httpx2.Client(base_url=f"{server.url}{way.prefix}", headers=headers, params=way.query) as client:
            ok(client.post("/containers", json={"name": "by key"}))
    with way.client(world) as client:
        assert len(ok(client.get("/containers"))["data"]) == 2


@each_way
def test_the_journal_tells_the_same(world: World, mock: MockWorld, way: Way) -> None:
    with way.client(world, **{"api-key": "sk-very-secret", "Authorization": "Bearer sk-also-secret"}) as client:
        client.get("/containers/cntr_none")
    entry = mock.journal.last(1)[0]
    assert (entry["operation"], entry["status"]) == ("RetrieveContainer", 404)
    assert entry["path"].endswith(f"{way.prefix}/containers/cntr_none")
    assert "secret" not in json.dumps(entry)


@each_way
def test_any_page_may_call(world: World, way: Way) -> None:
    asked = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    with way.client(world) as client:
        preflight = client.options("/containers", headers={**asked, "Access-Control-Request-Headers": "api-key"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-headers"] == "api-key"
        refused = client.get("/containers/cntr_none", headers={"Origin": "http://page.example"})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, "*")


# Azure's words


@each_azure
def test_the_right_key(guarded: World, way: Way) -> None:
    wrong = {"Authorization": "Bearer sk-wrong"}
    for headers in ({"api-key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"api-key": KEY, **wrong}):
        with way.client(guarded, **headers) as client:
            assert client.get("/containers").status_code == 200


@each_azure
def test_a_wrong_key(guarded: World, way: Way) -> None:
    with way.client(guarded, **{"api-key": "sk-wrong-key-of-somebody"}) as client:
        answer = client.get("/containers")
        assert azures(answer, 401, "401") == WRONG_KEY
        assert "sk-wrong" not in answer.text


@each_azure
@pytest.mark.parametrize("headers", [{"Authorization": "Bearer sk-wrong"}, {"X-Nothing": "at all"}])
def test_a_wrong_token_or_none(guarded: World, way: Way, headers: dict[str, str]) -> None:
    with way.client(guarded, **headers) as client:
        answer = client.get("/containers")
        assert answer.status_code == 401
        assert answer.json() == {"statusCode": 401, "message": WRONG_TOKEN}


@each_azure
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/foo"),
        ("POST", "/chat/completions"),
        ("GET", "/deployments/gpt/containers"),
        ("PUT", "/containers"),
        ("GET", "/containers/"),
        ("GET", "/containers/cntr_none"),
        ("DELETE", "/containers/cntr_none"),
        ("GET", "/containers/cntr_none/files/cfile_none/content"),
    ],
)
def test_what_is_not_there(world: World, way: Way, method: str, path: str) -> None:
    with way.client(world) as client:
        answer = client.request(method, path)
        azures(answer, 404, "404")
        assert answer.json() == NO_ROUTE
        assert "allow" not in answer.headers


@each_azure
def test_what_azure_says_about_files(world: World, way: Way) -> None:
    with way.client(world) as client:
        unknown = client.get("/files/assistant-none")
        assert error_message(unknown, 404, None) == "No such File object: assistant-none"
        assert list(unknown.json()) == ["error"]
        assert unknown.text.endswith("}\n")
        form = {"data": {"purpose": "vision"}, "files": {"file": ("a.csv", CONTENT, "")}}
        assert azures(client.post("/files", **form), 400, "invalidPayload").startswith("The file has no or an empty")
        form = {"data": {"purpose": "x"}, "files": {"file": ("a.csv", CONTENT)}}
        assert azures(client.post("/files", **form), 400, "invalidPayload") == "Invalid value for purpose."


@each_azure
def test_what_the_service_refuses_is_in_its_own_shape(world: World, way: Way) -> None:
    with way.client(world) as client:
        assert error_message(client.post("/containers", json={}), 400, "missing_required_parameter")
        assert error_message(client.get("/containers", params={"limit": 0}), 400, "integer_below_min_value")
        container = ok(client.post("/containers", json={"name": "box"}))["id"]
        world.advance(21 * 60)
        assert error_message(client.get(f"/containers/{container}/files"), 404, None) == "Container is expired."
        unknown = client.get("/containers", params={"after": "cntr_none"})
        assert error_message(unknown, 404, None) == "No such Container object: cntr_none"


@pytest.mark.parametrize("way", [way for way in WAYS if not way.azure], ids=lambda way: way.name)
def test_openai_keeps_its_own_words(guarded: World, way: Way) -> None:
    with way.client(guarded, Authorization=f"Bearer {KEY}") as client:
        assert "cntr_none" in error_message(client.get("/containers/cntr_none"), 404, None)
        assert "Invalid URL" in error_message(client.get("/openais"), 404, None)
    with way.client(guarded, Authorization="Bearer sk-wrong") as client:
        assert "sk-wrong" in error_message(client.get("/containers"), 401, "invalid_api_key")


VERSIONS = [
    ("/openai/v1", "2025-04-01-preview"),
    ("/openai/v1", "1"),
    ("/openai", None),
    ("/openai", ""),
    ("/openai", "preview"),
    ("/openai", "v1"),
    ("/openai", "2025-04"),
]


@pytest.mark.parametrize(("prefix", "version"), VERSIONS)
def test_a_version_that_azure_knows_not(world: World, live_world: World, prefix: str, version: str | None) -> None:
    way = Way("", prefix, {} if version is None else {"api-version": version})
    with way.client(world) as client:
        answer = client.get("/containers")
        assert ok(answer)["data"] == []
        assert answer.headers["x-mock-warning"].startswith("azure-any-version: ")
    with way.client(live_world) as client:
        answer = client.get("/containers")
        if prefix == "/openai":
            assert azures(answer, 404, "404") == "Resource not found"
        else:
            assert azures(answer, 400, "BadRequest") == "API version not supported"


@pytest.mark.parametrize("version", [None, "", "v1", "preview", "latest"])
def test_a_version_that_azure_knows(live_world: World, version: str | None) -> None:
    way = Way("", "/openai/v1", {} if version is None else {"api-version": version})
    with way.client(live_world) as client:
        answer = client.get("/containers")
        assert ok(answer)["data"] == []
        assert "x-mock-warning" not in answer.headers


# Faults


@each_way
def test_a_rate_limit(world: World, mock: MockWorld, way: Way) -> None:
    mock.faults.add(operation="ListContainers", error="rate_limited", retry_after=7, times=1)
    with way.client(world) as client:
        answer = client.get("/containers")
        assert answer.headers["retry-after"] == "7"
        if way.azure:
            version = way.query.get("api-version", "v1")
            assert azures(answer, 429, "429") == (
                f"Requests to the ListContainers Operation under Azure OpenAI API version {version} have exceeded "
                "call rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds."
            )
        else:
            assert error_message(answer, 429, "rate_limit_exceeded")
        assert client.get("/containers").status_code == 200


@each_way
def test_faults_by_path_and_by_header(world: World, mock: MockWorld, way: Way) -> None:
    mock.faults.add(path="/containers/*", status=404, times=1)
    with way.client(world) as client:
        made = ok(client.post("/containers", json={"name": "box"}))["id"]
        answer = client.get(f"/containers/{made}")
        assert (answer.json() == NO_ROUTE) is way.azure
        assert answer.status_code == 404
        denied = client.get("/containers", headers={"x-mock-fault": "wrong_key"})
        assert denied.status_code == 401
        assert (denied.json()["error"].get("message") == WRONG_KEY) is way.azure
        broken = client.get("/containers", headers={"x-mock-fault": "server_error"})
        assert (broken.status_code, broken.json()["error"]["type"]) == (500, "server_error")


# The official package's own classes for Azure


def tokens() -> str:
    return "a-token"


async def tokens_in_time() -> str:
    return "a-token"


Opened = Callable[[World], Any]

DATED = "2025-04-01-preview"


def resource(world: World) -> str:
    return f"{world.server.url}/w/{world.name}"


CLIENTS: dict[str, Callable[[type, World], Any]] = {
    "endpoint": lambda of, at: of(azure_endpoint=resource(at), api_version=DATED, api_key="k"),
    "endpoint with a slash": lambda of, at: of(azure_endpoint=resource(at) + "/", api_version=DATED, api_key="k"),
    "endpoint and deployment": lambda of, at: of(
        azure_endpoint=resource(at), azure_deployment="gpt", api_version=DATED, api_key="k"
    ),
    "base": lambda of, at: of(base_url=resource(at) + "/openai", api_version=DATED, api_key="k"),
    "base v1": lambda of, at: of(base_url=resource(at) + "/openai/v1/", api_version="preview", api_key="k"),
    "token": lambda of, at: of(azure_endpoint=resource(at), api_version=DATED, azure_ad_token="a-token"),
    "token provider": lambda of, at: of(
        azure_endpoint=resource(at),
        api_version=DATED,
        azure_ad_token_provider=tokens_in_time if of is openai.AsyncAzureOpenAI else tokens,
    ),
}


@pytest.fixture(params=[openai.AzureOpenAI, openai.AsyncAzureOpenAI], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a client, whose calls return what they come to, be it sync or async."""
    with asyncio.Runner() as runner:
        opened: list[Any] = []

        def finished(result: Any) -> Any:
            async def wait() -> Any:
                return await result

            return runner.run(wait()) if inspect.isawaitable(result) else result

        def connect(kind: str, world: World) -> Callable[..., Any]:
            client = CLIENTS[kind](request.param, world)
            opened.append(client)

            def call(name: str, /, *given: Any, **options: Any) -> Any:
                part = client.with_options(max_retries=0)
                for step in name.split("."):
                    part = getattr(part, step)
                return finished(part(*given, **options))

            return call

        yield connect
        for client in opened:
            finished(client.close())


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_packages_azure_client(connect: Callable[..., Any], live_world: World, kind: str) -> None:
    call = connect(kind, live_world)
    upload = call("files.create", file=("a.csv", CONTENT), purpose="vision").id
    box = call("containers.create", name="box", file_ids=[upload]).id
    assert call("containers.retrieve", box).name == "box"
    assert [each.id for each in call("containers.list", limit=5).data] == [box]
    file = call("containers.files.create", box, file=("b.csv", CONTENT)).id
    assert call("containers.files.create", box, file_id=upload).path == f"/mnt/data/{upload}-a.csv"
    assert call("containers.files.retrieve", file, container_id=box).bytes == len(CONTENT)
    assert len(call("containers.files.list", box).data) == 3
    assert call("containers.files.content.retrieve", file, container_id=box).read() == CONTENT
    call("containers.files.delete", file, container_id=box)
    assert [each.id for each in call("files.list").data] == [upload]
    assert call("files.retrieve", upload).purpose == "vision"
    assert call("files.content", upload).read() == CONTENT
    call("containers.delete", box)
    with pytest.raises(openai.NotFoundError) as refused:
        call("containers.retrieve", box)
    assert refused.value.body == NO_ROUTE["error"]
    assert call("files.delete", upload).deleted


@pytest.mark.parametrize(("kind", "body"), [("endpoint", WRONG_KEY), ("token", WRONG_TOKEN)])
def test_the_packages_azure_client_with_a_wrong_key(
    connect: Callable[..., Any], guarded: World, kind: str, body: str
) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        connect(kind, guarded)("containers.list")
    assert refused.value.body["message"] == body


def test_the_packages_own_client_at_azures_address(live_world: World) -> None:
    """As Azure's documentation has it since api-version went away."""
    live_world.freeze()
    with openai.OpenAI(base_url=resource(live_world) + "/openai/v1/", api_key="k", max_retries=0) as client:
        box = client.containers.create(name="box")
        assert client.containers.retrieve(box.id).to_dict() == box.to_dict()
        with pytest.raises(openai.NotFoundError, match="Resource not found"):
            client.containers.retrieve("cntr_none")


# LiteLLM

COMPOSED = "cntr_" + base64.b64encode(
    f"litellm:custom_llm_provider:azure;model_id:{'a' * 64};container_id:cntr_{'b' * 48}".encode()
).decode().rstrip("=")
"""An id as its proxy makes one up, to know which deployment it belongs to."""


@each_way
def test_a_long_id_is_looked_up(world: World, mock: MockWorld, way: Way) -> None:
    assert len(COMPOSED) == 237
    with way.client(world) as client:
        for path in (f"/containers/{COMPOSED}", f"/containers/{COMPOSED}/files"):
            unknown = client.get(path)
            assert unknown.status_code == 404
            if not way.azure:
                assert error_message(unknown, 404, None) == f"Container with id '{COMPOSED}' not found."
        mock.seed({"containers": [{"id": COMPOSED, "name": "box", "files": [{"path": "a.csv", "content": "1"}]}]})
        assert ok(client.get(f"/containers/{COMPOSED}"))["id"] == COMPOSED
        (file,) = ok(client.get(f"/containers/{COMPOSED}/files"))["data"]
        assert file["container_id"] == COMPOSED
        assert client.get(f"/containers/{COMPOSED}/files/{file['id']}/content").content == b"1"
        assert ok(client.get("/containers", params={"after": COMPOSED}))["data"] == []
        assert ok(client.delete(f"/containers/{COMPOSED}"))["id"] == COMPOSED


ROUTING = {"custom_llm_provider": "azure"}


@each_way
def test_where_litellm_should_send_it_is_ignored_in_query_and_header(live_world: World, way: Way) -> None:
    with way.client(live_world) as client:
        made = client.post("/containers", json={"name": "box"}, params={**way.query, **ROUTING})
        assert "x-mock-warning" not in made.headers
        ok(made)
        answer = client.get("/containers", params={**way.query, **ROUTING}, headers={"custom-llm-provider": "azure"})
        assert len(ok(answer)["data"]) == 1


@each_way
@pytest.mark.parametrize("routing", [ROUTING, {"model": "gpt"}, {**ROUTING, "model": "gpt"}])
def test_where_litellm_should_send_it_is_ignored_in_a_body(world: World, way: Way, routing: dict[str, str]) -> None:
    with way.client(world) as client:
        upload = ok(client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))["id"]
        made = client.post("/containers", json={"name": "box", **routing})
        files = f"/containers/{ok(made)['id']}/files"
        answers = [
            made,
            client.post(files, json={"file_id": upload, **routing}),
            client.post(files, files={"file": ("a.csv", CONTENT)}, data=routing),
            client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision", **routing}),
        ]
        for answer in answers:
            ok(answer)
            assert answer.headers["x-mock-warning"].startswith("litellm-keys: ")
        assert "x-mock-warning" not in client.get(files).headers


@pytest.mark.parametrize("key", ["custom_llm_provider", "model", "target_model_names"])
def test_the_live_api_refuses_it_in_a_body(live_world: World, key: str) -> None:
    client = live_world.http
    box = ok(client.post("/containers", json={"name": "box"}))["id"]
    upload = ok(client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))["id"]
    files = f"/containers/{box}/files"
    for answer in (
        client.post("/containers", json={"name": "box", key: "x"}),
        client.post(files, json={"file_id": upload, key: "x"}),
        client.post(files, files={"file": ("a.csv", CONTENT)}, data={key: "x"}),
    ):
        assert error_message(answer, 400, "unknown_parameter") == f"Unknown parameter: '{key}'."
    answer = client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision", key: "x"})
    assert key in error_message(answer, 400, None)
    assert len(ok(client.get("/containers"))["data"]) == 1
    assert ok(client.get(files))["data"] == []
    assert len(ok(client.get("/files"))["data"]) == 1


def test_another_unknown_key_is_still_refused_beside_it(world: World) -> None:
    answer = world.http.post("/containers", json={"name": "box", "custom_llm_provider": "azure", "foo": 1})
    assert error_message(answer, 400, "unknown_parameter") == "Unknown parameter: 'foo'."
