"""The API under the prefixes of OpenAI and Azure, errors in the format of each, and requests of LiteLLM."""

import asyncio
import base64
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import closing
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
NOT_FOUND = {"error": {"code": "404", "message": "Resource not found"}}


@dataclass(frozen=True)
class Endpoint:
    """A prefix and a query with which the same operations can be called."""

    name: str
    prefix: str
    query: dict[str, str] = field(default_factory=dict)

    @property
    def azure(self) -> bool:
        return "openai" in self.prefix

    def client(self, world: World, **headers: str) -> httpx2.Client:
        """Return a plain client: `client.get("/containers")`."""
        credentials = headers or ({"api-key": "sk-test"} if self.azure else {"Authorization": "Bearer sk-test"})
        base = f"{world.server.url}/w/{world.name}{self.prefix}"
        if not self.prefix:
            mock = world.server.mock
            world.server.run(mock.worlds.set_profile(world.name, replace(mock.worlds.profile({}), bare_paths=True)))
        # Loading certificates would take longer than most tests.
        return httpx2.Client(base_url=base, headers=credentials, params=self.query, verify=False)


ENDPOINTS = [
    Endpoint("openai", "/v1"),
    Endpoint("bare", ""),
    Endpoint("azure-v1", "/openai/v1"),
    Endpoint("azure-v1-preview", "/openai/v1", {"api-version": "preview"}),
    Endpoint("azure", "/openai", {"api-version": "2025-04-01-preview"}),
    Endpoint("azure-foundry", "/api/projects/a-project/openai/v1"),
    Endpoint("azure-after-a-slash", "//openai", {"api-version": "2025-04-01-preview"}),
]
AZURE_ENDPOINTS = [endpoint for endpoint in ENDPOINTS if endpoint.azure]

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
each_azure_endpoint = pytest.mark.parametrize("endpoint", AZURE_ENDPOINTS, ids=lambda endpoint: endpoint.name)


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[MockServer]:
    with MockServer(api_key=(KEY,)) as running:
        yield running


@pytest.fixture
def guarded(guarded_server: MockServer) -> World:
    return new_world(guarded_server)


@pytest.fixture
def mock(world: World) -> Iterator[MockWorld]:
    """A client of the world's control plane."""
    with closing(Server(world.server.url)) as server:
        yield MockWorld(server, world.name)


def azure_error(response: httpx2.Response, status: int, code: str) -> str:
    """Check that a response is an error of Azure's gateway, and return its message."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert list(response.json()["error"]) == ["code", "message"]
    assert response.json()["error"]["code"] == code
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert "www-authenticate" not in response.headers
    return str(response.json()["error"]["message"])


# The operations


@each_endpoint
def test_every_operation_of_containers_and_files_works_without_a_warning(live_world: World, endpoint: Endpoint) -> None:
    responses: list[httpx2.Response] = []
    with endpoint.client(live_world) as client:
        client.event_hooks = {"response": [responses.append]}
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
        for path in (f"{files}/{file}", f"/files/{upload}", f"/containers/{container}"):
            assert ok(client.delete(path))["deleted"] is True
    assert len(responses) == 16
    assert not any("x-mock-warning" in response.headers for response in responses)


def test_all_prefixes_lead_to_the_same_world(world: World) -> None:
    for endpoint in ENDPOINTS:
        with endpoint.client(world) as client:
            ok(client.post("/containers", json={"name": endpoint.name}))
    names = [endpoint.name for endpoint in ENDPOINTS]
    for endpoint in ENDPOINTS:
        with endpoint.client(world) as client:
            assert [each["name"] for each in ok(client.get("/containers", params={"order": "asc"}))["data"]] == names


@each_endpoint
def test_an_api_key_can_name_a_world(server: MockServer, endpoint: Endpoint) -> None:
    world = new_world(server)
    for headers in ({"api-key": f"sk-world-{world.name}"}, {"Authorization": f"Bearer sk-world-{world.name}"}):
        with httpx2.Client(base_url=f"{server.url}{endpoint.prefix}", headers=headers, params=endpoint.query) as client:
            ok(client.post("/containers", json={"name": "by key"}))
    with endpoint.client(world) as client:
        assert len(ok(client.get("/containers"))["data"]) == 2


@each_endpoint
def test_the_journal_records_operation_and_path_without_keys(world: World, mock: MockWorld, endpoint: Endpoint) -> None:
    with endpoint.client(world, **{"api-key": "sk-very-secret", "Authorization": "Bearer sk-also-secret"}) as client:
        client.get("/containers/cntr_none")
    entry = mock.journal.last(1)[0]
    assert (entry["operation"], entry["status"]) == ("RetrieveContainer", 404)
    assert entry["path"].endswith(f"{endpoint.prefix}/containers/cntr_none")
    assert "secret" not in json.dumps(entry)


@each_endpoint
def test_cors_allows_pages_of_any_origin(world: World, endpoint: Endpoint) -> None:
    headers = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    with endpoint.client(world) as client:
        preflight = client.options("/containers", headers={**headers, "Access-Control-Request-Headers": "api-key"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-headers"] == "api-key"
        response = client.get("/containers/cntr_none", headers={"Origin": "http://page.example"})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (404, "*")


# Errors of Azure


@each_azure_endpoint
def test_azure_accepts_the_right_key_in_either_header(guarded: World, endpoint: Endpoint) -> None:
    wrong = {"Authorization": "Bearer sk-wrong"}
    for headers in ({"api-key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"api-key": KEY, **wrong}):
        with endpoint.client(guarded, **headers) as client:
            assert client.get("/containers").status_code == 200


@each_azure_endpoint
def test_a_wrong_key_gets_the_error_of_azure(guarded: World, endpoint: Endpoint) -> None:
    with endpoint.client(guarded, **{"api-key": "sk-wrong-key-of-somebody"}) as client:
        response = client.get("/containers")
        assert azure_error(response, 401, "401") == WRONG_KEY
        assert "sk-wrong" not in response.text


@each_azure_endpoint
@pytest.mark.parametrize("headers", [{"Authorization": "Bearer sk-wrong"}, {"X-Nothing": "at all"}])
def test_a_wrong_or_missing_token_gets_the_error_of_azure(
    guarded: World, endpoint: Endpoint, headers: dict[str, str]
) -> None:
    with endpoint.client(guarded, **headers) as client:
        response = client.get("/containers")
        assert response.status_code == 401
        assert response.json() == {"statusCode": 401, "message": WRONG_TOKEN}


@each_azure_endpoint
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
def test_unknown_paths_methods_and_objects_get_the_404_of_azure(
    world: World, endpoint: Endpoint, method: str, path: str
) -> None:
    with endpoint.client(world) as client:
        response = client.request(method, path)
        azure_error(response, 404, "404")
        assert response.json() == NOT_FOUND
        assert "allow" not in response.headers


@each_azure_endpoint
def test_errors_of_files_have_the_messages_of_azure(world: World, endpoint: Endpoint) -> None:
    with endpoint.client(world) as client:
        unknown = client.get("/files/assistant-none")
        assert error_message(unknown, 404, None) == "No such File object: assistant-none"
        assert list(unknown.json()) == ["error"]
        assert unknown.text.endswith("}\n")
        form = {"data": {"purpose": "vision"}, "files": {"file": ("a.csv", CONTENT, "")}}
        assert azure_error(client.post("/files", **form), 400, "invalidPayload").startswith(
            "The file has no or an empty"
        )
        form = {"data": {"purpose": "x"}, "files": {"file": ("a.csv", CONTENT)}}
        assert azure_error(client.post("/files", **form), 400, "invalidPayload") == "Invalid value for purpose."


@each_azure_endpoint
def test_validation_errors_have_the_shape_of_openai_on_azure_too(world: World, endpoint: Endpoint) -> None:
    with endpoint.client(world) as client:
        assert error_message(client.post("/containers", json={}), 400, "missing_required_parameter")
        assert error_message(client.get("/containers", params={"limit": 0}), 400, "integer_below_min_value")
        container = ok(client.post("/containers", json={"name": "box"}))["id"]
        world.advance(21 * 60)
        assert error_message(client.get(f"/containers/{container}/files"), 404, None) == "Container is expired."
        unknown = client.get("/containers", params={"after": "cntr_none"})
        assert error_message(unknown, 404, None) == "No such Container object: cntr_none"


@pytest.mark.parametrize(
    "endpoint", [endpoint for endpoint in ENDPOINTS if not endpoint.azure], ids=lambda endpoint: endpoint.name
)
def test_openai_endpoints_return_no_errors_of_azure(guarded: World, endpoint: Endpoint) -> None:
    with endpoint.client(guarded, Authorization=f"Bearer {KEY}") as client:
        assert "cntr_none" in error_message(client.get("/containers/cntr_none"), 404, None)
        assert "Invalid URL" in error_message(client.get("/openais"), 404, None)
    with endpoint.client(guarded, Authorization="Bearer sk-wrong") as client:
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


@each_endpoint
def test_a_response_of_azure_has_content_filters_and_no_payer(world: World, endpoint: Endpoint) -> None:
    run = {"model": "gpt-5", "input": "hello", "background": True}
    with endpoint.client(world) as client:
        created = ok(client.post("/responses", json=run))
        found = [created, ok(client.get(f"/responses/{created['id']}"))]
        events = client.post("/responses", json=run | {"background": False, "stream": True}).text
        found += [json.loads(line[6:])["response"] for line in events.splitlines() if '"response"' in line]
    assert len(found) == 5
    for response in found:
        keys = list(response)
        after = keys[keys.index("background") + 1]
        assert ("content_filters" in keys) is endpoint.azure
        assert (after == "content_filters") is endpoint.azure
        assert endpoint.azure is False or "billing" not in keys


@pytest.mark.parametrize(("prefix", "version"), VERSIONS)
def test_an_unknown_api_version_gets_a_warning_or_an_error_of_the_live_profile(
    world: World, live_world: World, prefix: str, version: str | None
) -> None:
    endpoint = Endpoint("", prefix, {} if version is None else {"api-version": version})
    with endpoint.client(world) as client:
        response = client.get("/containers")
        assert ok(response)["data"] == []
        assert response.headers["x-mock-warning"].startswith("azure-any-version: ")
    with endpoint.client(live_world) as client:
        response = client.get("/containers")
        if prefix == "/openai":
            assert azure_error(response, 404, "404") == "Resource not found"
        else:
            assert azure_error(response, 400, "BadRequest") == "API version not supported"


@pytest.mark.parametrize("version", [None, "", "v1", "preview", "latest"])
def test_a_known_api_version_gets_no_warning(live_world: World, version: str | None) -> None:
    endpoint = Endpoint("", "/openai/v1", {} if version is None else {"api-version": version})
    with endpoint.client(live_world) as client:
        response = client.get("/containers")
        assert ok(response)["data"] == []
        assert "x-mock-warning" not in response.headers


# Faults


@each_endpoint
def test_a_rate_limit_fault_has_the_error_of_the_provider(world: World, mock: MockWorld, endpoint: Endpoint) -> None:
    mock.faults.add(operation="ListContainers", error="rate_limited", retry_after=7, times=1)
    with endpoint.client(world) as client:
        response = client.get("/containers")
        assert response.headers["retry-after"] == "7"
        if endpoint.azure:
            version = endpoint.query.get("api-version", "v1")
            assert azure_error(response, 429, "429") == (
                f"Requests to the ListContainers Operation under Azure OpenAI API version {version} have exceeded "
                "call rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds."
            )
        else:
            assert error_message(response, 429, "rate_limit_exceeded")
        assert client.get("/containers").status_code == 200


@each_endpoint
def test_faults_set_by_path_and_by_header_have_the_error_of_the_provider(
    world: World, mock: MockWorld, endpoint: Endpoint
) -> None:
    mock.faults.add(path="/containers/*", status=404, times=1)
    with endpoint.client(world) as client:
        container = ok(client.post("/containers", json={"name": "box"}))["id"]
        response = client.get(f"/containers/{container}")
        assert (response.json() == NOT_FOUND) is endpoint.azure
        assert response.status_code == 404
        denied = client.get("/containers", headers={"x-mock-fault": "wrong_key"})
        assert denied.status_code == 401
        assert (denied.json()["error"].get("message") == WRONG_KEY) is endpoint.azure
        broken = client.get("/containers", headers={"x-mock-fault": "server_error"})
        assert (broken.status_code, broken.json()["error"]["type"]) == (500, "server_error")


# The Azure clients of the official package


def token_provider() -> str:
    return "a-token"


async def async_token_provider() -> str:
    return "a-token"


API_VERSION = "2025-04-01-preview"


def resource_url(world: World) -> str:
    return f"{world.server.url}/w/{world.name}"


CLIENT_FACTORIES: dict[str, Callable[[type, World], Any]] = {
    "endpoint": lambda client, world: client(azure_endpoint=resource_url(world), api_version=API_VERSION, api_key="k"),
    "endpoint with a slash": lambda client, world: client(
        azure_endpoint=resource_url(world) + "/", api_version=API_VERSION, api_key="k"
    ),
    "endpoint and deployment": lambda client, world: client(
        azure_endpoint=resource_url(world), azure_deployment="gpt", api_version=API_VERSION, api_key="k"
    ),
    "base": lambda client, world: client(
        base_url=resource_url(world) + "/openai", api_version=API_VERSION, api_key="k"
    ),
    "base v1": lambda client, world: client(
        base_url=resource_url(world) + "/openai/v1/", api_version="preview", api_key="k"
    ),
    "token": lambda client, world: client(
        azure_endpoint=resource_url(world), api_version=API_VERSION, azure_ad_token="a-token"
    ),
    "token provider": lambda client, world: client(
        azure_endpoint=resource_url(world),
        api_version=API_VERSION,
        azure_ad_token_provider=async_token_provider if client is openai.AsyncAzureOpenAI else token_provider,
    ),
}


@pytest.fixture(params=[openai.AzureOpenAI, openai.AsyncAzureOpenAI], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a client and returns a function that calls its methods by name.

    Calls of async clients block and return the result.
    """
    with asyncio.Runner() as runner:
        opened: list[Any] = []

        def await_result(result: Any) -> Any:
            async def wait() -> Any:
                return await result

            return runner.run(wait()) if inspect.isawaitable(result) else result

        def connect(kind: str, world: World) -> Callable[..., Any]:
            client = CLIENT_FACTORIES[kind](request.param, world)
            opened.append(client)

            def call(name: str, /, *arguments: Any, **options: Any) -> Any:
                part = client.with_options(max_retries=0)
                for step in name.split("."):
                    part = getattr(part, step)
                return await_result(part(*arguments, **options))

            return call

        yield connect
        for client in opened:
            await_result(client.close())


@pytest.mark.parametrize("kind", CLIENT_FACTORIES)
def test_azure_clients_of_the_package_can_call_every_operation(
    connect: Callable[..., Any], live_world: World, kind: str
) -> None:
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
    with pytest.raises(openai.NotFoundError) as caught:
        call("containers.retrieve", box)
    assert caught.value.body == NOT_FOUND["error"]
    assert call("files.delete", upload).deleted


@pytest.mark.parametrize(("kind", "message"), [("endpoint", WRONG_KEY), ("token", WRONG_TOKEN)])
def test_azure_clients_of_the_package_raise_an_error_for_a_wrong_key(
    connect: Callable[..., Any], guarded: World, kind: str, message: str
) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        connect(kind, guarded)("containers.list")
    assert caught.value.body["message"] == message


def test_the_openai_client_can_use_the_v1_url_of_azure(live_world: World) -> None:
    """Azure documents this URL for clients that send no api-version."""
    live_world.freeze()
    with openai.OpenAI(base_url=resource_url(live_world) + "/openai/v1/", api_key="k", max_retries=0) as client:
        box = client.containers.create(name="box")
        assert client.containers.retrieve(box.id).to_dict() == box.to_dict()
        with pytest.raises(openai.NotFoundError, match="Resource not found"):
            client.containers.retrieve("cntr_none")


# LiteLLM

LITELLM_ID = "cntr_" + base64.b64encode(
    f"litellm:custom_llm_provider:azure;model_id:{'a' * 64};container_id:cntr_{'b' * 48}".encode()
).decode().rstrip("=")
"""An id as the proxy of LiteLLM creates it, to find the deployment that a container belongs to."""


@each_endpoint
def test_an_id_created_by_litellm_is_looked_up_like_others(world: World, mock: MockWorld, endpoint: Endpoint) -> None:
    assert len(LITELLM_ID) == 237
    with endpoint.client(world) as client:
        for path in (f"/containers/{LITELLM_ID}", f"/containers/{LITELLM_ID}/files"):
            unknown = client.get(path)
            assert unknown.status_code == 404
            if not endpoint.azure:
                assert error_message(unknown, 404, None) == f"Container with id '{LITELLM_ID}' not found."
        mock.seed({"containers": [{"id": LITELLM_ID, "name": "box", "files": [{"path": "a.csv", "content": "1"}]}]})
        assert ok(client.get(f"/containers/{LITELLM_ID}"))["id"] == LITELLM_ID
        (file,) = ok(client.get(f"/containers/{LITELLM_ID}/files"))["data"]
        assert file["container_id"] == LITELLM_ID
        assert client.get(f"/containers/{LITELLM_ID}/files/{file['id']}/content").content == b"1"
        assert ok(client.get("/containers", params={"after": LITELLM_ID}))["data"] == []
        assert ok(client.delete(f"/containers/{LITELLM_ID}"))["id"] == LITELLM_ID


LITELLM_ROUTING = {"custom_llm_provider": "azure"}


@each_endpoint
def test_routing_keys_of_litellm_in_query_and_header_are_ignored(live_world: World, endpoint: Endpoint) -> None:
    with endpoint.client(live_world) as client:
        created = client.post("/containers", json={"name": "box"}, params={**endpoint.query, **LITELLM_ROUTING})
        assert "x-mock-warning" not in created.headers
        ok(created)
        response = client.get(
            "/containers", params={**endpoint.query, **LITELLM_ROUTING}, headers={"custom-llm-provider": "azure"}
        )
        assert len(ok(response)["data"]) == 1


@each_endpoint
@pytest.mark.parametrize("routing", [LITELLM_ROUTING, {"model": "gpt"}, {**LITELLM_ROUTING, "model": "gpt"}])
def test_routing_keys_of_litellm_in_a_body_are_ignored_with_a_warning(
    world: World, endpoint: Endpoint, routing: dict[str, str]
) -> None:
    with endpoint.client(world) as client:
        upload = ok(client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))["id"]
        created = client.post("/containers", json={"name": "box", **routing})
        files = f"/containers/{ok(created)['id']}/files"
        responses = [
            created,
            client.post(files, json={"file_id": upload, **routing}),
            client.post(files, files={"file": ("a.csv", CONTENT)}, data=routing),
            client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision", **routing}),
        ]
        for response in responses:
            ok(response)
            assert response.headers["x-mock-warning"].startswith("litellm-keys: ")
        assert "x-mock-warning" not in client.get(files).headers


@pytest.mark.parametrize("key", ["custom_llm_provider", "model", "target_model_names"])
def test_the_live_profile_rejects_routing_keys_of_litellm_in_a_body(live_world: World, key: str) -> None:
    client = live_world.http
    box = ok(client.post("/containers", json={"name": "box"}))["id"]
    upload = ok(client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))["id"]
    files = f"/containers/{box}/files"
    for response in (
        client.post("/containers", json={"name": "box", key: "x"}),
        client.post(files, json={"file_id": upload, key: "x"}),
        client.post(files, files={"file": ("a.csv", CONTENT)}, data={key: "x"}),
    ):
        assert error_message(response, 400, "unknown_parameter") == f"Unknown parameter: '{key}'."
    response = client.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision", key: "x"})
    assert key in error_message(response, 400, None)
    assert len(ok(client.get("/containers"))["data"]) == 1
    assert ok(client.get(files))["data"] == []
    assert len(ok(client.get("/files"))["data"]) == 1


def test_an_unknown_key_beside_a_routing_key_of_litellm_is_rejected(world: World) -> None:
    response = world.http.post("/containers", json={"name": "box", "custom_llm_provider": "azure", "foo": 1})
    assert error_message(response, 400, "unknown_parameter") == "Unknown parameter: 'foo'."
