"""Faults: the effects that clients see, the requests that rules match, and the routes that manage rules."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from conftest import NOON, World, error_message, new_world, ok
from rawhttp import Wire

from mockserver.api.app import create_app
from mockserver.clock import stopwatch
from mockserver.errors import CATALOGUE
from mockserver.schema import faults
from mockserver.server.serving import MockServer

KB = 1_024
MEGABYTE = b"0123456789abcdef" * 64 * KB
"""Larger than the buffers of a socket."""


class FaultsClient:
    """Manages the faults of a world through the control plane."""

    def __init__(self, world: World) -> None:
        self.url = f"{world.server.url}/_mock/worlds/{world.name}/faults"
        self.client = httpx2.Client()

    def add(self, effect: dict[str, Any], **rule: Any) -> dict[str, Any]:
        return ok(self.client.post(self.url, json={"effect": effect, **rule}))

    def counts(self, id: str = "fault-1") -> tuple[int, int]:
        """Return how often a rule matched and fired."""
        rule = ok(self.client.get(f"{self.url}/{id}"))
        return rule["matched"], rule["fired"]

    def wait_until_fired(self) -> None:
        """Wait for the first request to arrive and be broken."""
        for _ in range(10_000):
            if self.counts() == (1, 1):
                return
        pytest.fail("no request arrived")


@pytest.fixture
def rules(world: World) -> Iterator[FaultsClient]:
    faults_client = FaultsClient(world)
    with faults_client.client:
        yield faults_client


def fault_header(effect: dict[str, Any] | str) -> dict[str, str]:
    """Return the header that applies a fault to a single request."""
    return {"x-mock-fault": effect if isinstance(effect, str) else json.dumps(effect)}


def create_file(world: World, content: bytes = MEGABYTE) -> tuple[str, str]:
    """Create a container with a file; return the ids of both."""
    box = world.openai.containers.create(name="box")
    return box.id, world.openai.containers.files.create(box.id, file=content).id


def statuses(world: World, count: int, path: str = "/containers") -> list[int]:
    return [world.http.get(path).status_code for _ in range(count)]


# Effects on the official client


@pytest.mark.parametrize(
    ("effect", "exception"),
    [
        ({"error": "rate_limited"}, openai.RateLimitError),
        ({"error": "rate_limited", "retry_after": "1m"}, openai.RateLimitError),
        ({"status": 429}, openai.RateLimitError),
        ({"error": "server_error"}, openai.InternalServerError),
        ({"status": 503}, openai.InternalServerError),
        ({"status": 502, "body": "<html>Bad gateway"}, openai.InternalServerError),
        ({"error": "container_not_found"}, openai.NotFoundError),
        ({"error": "container_expired"}, openai.NotFoundError),
        ({"error": "wrong_key"}, openai.AuthenticationError),
        ({"status": 403}, openai.PermissionDeniedError),
        ({"status": 409}, openai.ConflictError),
        ({"status": 422}, openai.UnprocessableEntityError),
        ({"status": 418}, openai.APIStatusError),
        ({"drop": "before_answer"}, openai.APIConnectionError),
        ({"reset_after": 0}, openai.APIConnectionError),
        ({"truncate_after": 10}, openai.APIConnectionError),
        ({"latency": 60}, openai.APITimeoutError),
        ({"dribble": 1}, openai.APITimeoutError),
    ],
    ids=str,
)
def test_the_official_client_raises_the_exception_of_each_fault(
    world: World, effect: dict[str, Any], exception: type[Exception]
) -> None:
    client = world.openai.with_options(timeout=0.2 if exception is openai.APITimeoutError else 300)
    with pytest.raises(exception) as raised:
        client.containers.list(extra_headers=fault_header(effect))
    assert type(raised.value) is exception


@pytest.mark.parametrize(
    ("effect", "exception"),
    [
        ({"body": {"id": "cntr_1"}}, openai.APIResponseValidationError),
        ({"body": "{", "headers": {"content-type": "application/json"}}, json.JSONDecodeError),
    ],
    ids=str,
)
def test_the_official_client_raises_an_exception_for_a_malformed_body(
    world: World, effect: dict[str, Any], exception: type[Exception]
) -> None:
    with pytest.raises(exception):
        world.openai.containers.retrieve("cntr_1", extra_headers=fault_header(effect))


def test_the_official_client_retries_rate_limits_after_retry_after(world: World, rules: FaultsClient) -> None:
    rules.add({"error": "rate_limited", "retry_after": 0.05}, times=2)
    rules.add({"headers": {"x-third": "yes"}}, match={"header": {"x-stainless-retry-count": "2"}})
    started = stopwatch()
    response = world.openai.with_options(max_retries=2).containers.with_raw_response.list()
    assert stopwatch() - started >= 0.1
    assert response.headers["x-third"] == "yes"
    assert "x-should-retry" not in response.headers
    assert rules.counts() == (3, 2)


def test_a_rate_limit_error_has_a_retry_after_header_where_the_fault_sets_one(world: World) -> None:
    minute = world.http.get("/containers", headers=fault_header({"error": "rate_limited", "retry_after": "1m"}))
    assert minute.headers["retry-after"] == "60"
    error = minute.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
    assert error["message"].startswith("Rate limit reached for ListContainers in organization org-mockserver on ")
    assert "Please try again in 60s." in error["message"]
    month = world.http.get("/containers", headers=fault_header({"status": 429, "retry_after": "30d"}))
    assert month.headers["retry-after"] == "2592000"
    default = world.http.get("/containers", headers=fault_header("rate_limited"))
    assert default.status_code == 429
    assert "retry-after" not in default.headers


@pytest.mark.parametrize(
    ("effect", "exception"),
    [({"reset_after": 300_000}, httpx2.ReadError), ({"truncate_after": 300_000}, httpx2.RemoteProtocolError)],
    ids=str,
)
def test_a_download_breaks_off_after_the_given_bytes(
    world: World, effect: dict[str, Any], exception: type[Exception]
) -> None:
    """While it reads a body, the official client raises the exceptions of its HTTP library."""
    box, file = create_file(world)
    contents = world.openai.containers.files.content.with_streaming_response
    received = bytearray()

    def read(pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            received.extend(piece)

    with contents.retrieve(file, container_id=box, extra_headers=fault_header(effect)) as response:
        assert response.headers["content-length"] == str(len(MEGABYTE))
        with pytest.raises(exception):
            read(response.iter_bytes())
    assert bytes(received) == MEGABYTE[:300_000]


@pytest.mark.parametrize(
    "effect", [{"reset_after": len(MEGABYTE)}, {"truncate_after": len(MEGABYTE)}, {"dribble": 50_000_000}]
)
def test_a_body_that_is_not_longer_than_the_limit_arrives_completely(world: World, effect: dict[str, Any]) -> None:
    box, file = create_file(world)
    content = world.openai.containers.files.content.retrieve(file, container_id=box, extra_headers=fault_header(effect))
    assert content.read() == MEGABYTE
    assert world.openai.containers.retrieve(box).status == "running", "the connection can be used again"


def test_dribble_limits_the_rate_of_a_body(world: World) -> None:
    box, file = create_file(world, b"x" * 1_000)
    started = stopwatch()
    content = world.openai.containers.files.content.retrieve(
        file, container_id=box, extra_headers=fault_header({"dribble": 10_000})
    )
    assert content.read() == b"x" * 1_000
    assert stopwatch() - started >= 0.1


def test_an_aborted_upload_creates_no_file(world: World) -> None:
    box = world.openai.containers.create(name="box").id
    files = world.openai.containers.files
    with pytest.raises(openai.APIConnectionError):
        files.create(box, file=MEGABYTE * 8, extra_headers=fault_header({"abort_upload_after": 100_000}))
    assert files.list(box).data == []
    small = files.create(box, file=b"x", extra_headers=fault_header({"abort_upload_after": 100_000}))
    assert files.list(box).data[0].id == small.id, "the file is shorter than abort_upload_after"


def test_a_dropped_request_has_no_effect(world: World, rules: FaultsClient) -> None:
    rules.add({"drop": "before_answer"}, match={"method": "POST"}, times=1)
    with pytest.raises(openai.APIConnectionError):
        world.openai.containers.create(name="box")
    assert world.openai.containers.list().data == []
    world.openai.with_options(max_retries=1).containers.create(name="box")


def test_a_request_that_times_out_during_latency_has_no_effect(world: World, rules: FaultsClient) -> None:
    rules.add({"latency": "10m"}, match={"method": "POST"}, times=1)
    with pytest.raises(openai.APITimeoutError):
        world.openai.with_options(timeout=0.5).containers.create(name="box")
    rules.wait_until_fired()  # the server may not have read the request yet
    assert world.openai.containers.list().data == []


def test_latency_delays_an_error_response(world: World) -> None:
    started = stopwatch()
    effect = {"latency": {"min": "0.05", "max": 0.06}, "error": "server_error", "headers": {"X-Why": "because"}}
    response = world.http.get("/containers", headers=fault_header(effect))
    assert stopwatch() - started >= 0.05
    assert (response.status_code, response.headers["x-why"]) == (500, "because")


def test_a_stop_does_not_wait_for_latency() -> None:
    server = MockServer(shutdown_grace=600.0)
    with server, World(server, "w") as world, Wire(world) as wire, ThreadPoolExecutor(1) as pool:
        rules = FaultsClient(world)
        with rules.client:
            rules.add({"latency": "10m"})
            wire.head("GET", "/containers", {})
            rules.wait_until_fired()
        pool.submit(server._server.handle_exit, 15, None).result()
        assert wire.socket.recv(1) == b""
    assert not server._thread.is_alive()


# Lists


def test_stale_list_lists_deleted_containers_for_a_while(world: World, rules: FaultsClient) -> None:
    world.freeze()
    names = ["one", "two", "three", "four"]
    ids = [world.openai.containers.create(name=name).id for name in names]
    rules.add({"stale_list": "2m"}, match={"operation": "ListContainers"})
    for id in ids[1:3]:
        world.openai.containers.delete(id)
    listed = world.openai.containers.list(order="asc")
    assert [each.name for each in listed.data] == names
    with pytest.raises(openai.NotFoundError):
        world.openai.containers.retrieve(listed.data[1].id)
    for order in ("asc", "desc"):
        paged = [each.name for each in world.openai.containers.list(limit=1, order=order)]
        assert paged == (names if order == "asc" else names[::-1])
    assert [each.name for each in world.openai.containers.list(name="two").data] == ["two"]
    page = ok(world.http.get("/containers", params={"before": ids[3], "limit": 2, "order": "asc"}))
    assert [each["name"] for each in page["data"]] == ["two", "three"]
    world.advance(119)
    assert len(world.openai.containers.list().data) == 4
    world.advance(1)
    assert [each.name for each in world.openai.containers.list(order="asc").data] == ["one", "four"]


def test_stale_list_lists_deleted_files_for_a_while(world: World) -> None:
    box, container_file = create_file(world, b"x")
    file = world.openai.files.create(file=("a.txt", b"x"), purpose="vision")
    before = ok(world.http.get(f"/containers/{box}/files"))["data"], ok(world.http.get("/files"))["data"]
    world.openai.containers.files.delete(container_file, container_id=box)
    world.openai.files.delete(file.id)
    for path, objects in zip((f"/containers/{box}/files", "/files"), before, strict=True):
        assert ok(world.http.get(path))["data"] == []
        assert ok(world.http.get(path, headers=fault_header({"stale_list": "1h"})))["data"] == objects
    assert ok(world.http.get("/files?purpose=batch", headers=fault_header({"stale_list": "1h"})))["data"] == []


def test_the_has_more_effect_sets_has_more_on_every_page(world: World, rules: FaultsClient) -> None:
    """The official client stops at the first empty page. A loop that relies on `has_more` never stops."""
    for _ in range(3):
        world.openai.containers.create(name="box")
    rules.add({"has_more": True})
    assert len(list(world.openai.containers.list(limit=3))) == 3
    assert rules.counts() == (2, 2)
    after, pages = None, 0
    while pages < 10:
        page = world.openai.containers.list(limit=3, **({"after": after} if after else {}))
        after, pages = page.last_id, pages + 1  # type: ignore[attr-defined]
        if not page.has_more:
            break
    assert pages == 10


def test_the_official_client_stops_at_an_empty_page_that_claims_more(world: World, rules: FaultsClient) -> None:
    for _ in range(4):
        world.openai.containers.create(name="box")
    rules.add({"empty_page": True}, skip=1, times=1)
    assert len(list(world.openai.containers.list(limit=2))) == 2, "the client raises no error"
    rules.add({"empty_page": True}, times=1)
    page = ok(world.http.get("/containers"))
    assert page == {"object": "list", "data": [], "first_id": None, "has_more": True, "last_id": None}


# Matching and counts


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, "list create get files content head file lost put"),
        ({"operation": "ListContainers"}, "list"),
        ({"operation": "listcontainer*"}, "list files"),
        ({"operation": "RetrieveContainerFileContent"}, "content head"),
        ({"method": "GET"}, "list get files content file lost"),
        ({"method": "HEAD"}, "head"),
        ({"method": "PUT"}, "put"),
        ({"path": "/containers"}, "list create put"),
        ({"path": "/containers/*/files"}, "files"),
        ({"path": "/nowhere"}, "lost"),
        ({"container": "BOX"}, "get files content head"),
        ({"file": "FILE"}, "content head"),
        ({"file": "file-1"}, "file"),
        ({"container": "other"}, ""),
        ({"header": {"X-Which": "[cl]*"}}, "create content list lost"),
        ({"header": {"x-absent": "*"}}, ""),
        ({"method": "GET", "path": "*/files", "container": "BOX"}, "files"),
    ],
    ids=str,
)
def test_a_rule_matches_by_operation_method_path_ids_and_headers(
    world: World, rules: FaultsClient, match: dict[str, Any], expected: str
) -> None:
    box, file = create_file(world, b"x")
    requests = {
        "list": ("GET", "/containers"),
        "create": ("POST", "/containers"),
        "get": ("GET", f"/containers/{box}"),
        "files": ("GET", f"/containers/{box}/files"),
        "content": ("GET", f"/containers/{box}/files/{file}/content"),
        "head": ("HEAD", f"/containers/{box}/files/{file}/content"),
        "file": ("GET", "/files/file-1"),
        "lost": ("GET", "/nowhere"),
        "put": ("PUT", "/containers"),
    }
    known = {"BOX": box, "FILE": file}
    rules.add({"status": 418}, match={key: known.get(str(value), value) for key, value in match.items()})
    matched = {
        name
        for name, (method, path) in requests.items()
        if world.http.request(method, path, headers={"x-which": name}).status_code == 418
    }
    assert matched == set(expected.split())


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, "111111"),
        ({"times": 2}, "110000"),
        ({"skip": 3}, "000111"),
        ({"skip": 1, "times": 2}, "011000"),
        ({"probability": 0}, "000000"),
        ({"probability": 1, "times": 1}, "100000"),
    ],
    ids=str,
)
def test_times_skip_and_probability_decide_when_a_rule_fires(
    world: World, rules: FaultsClient, rule: dict[str, Any], expected: str
) -> None:
    rules.add({"status": 418}, **rule)
    assert "".join(str(int(status == 418)) for status in statuses(world, 6)) == expected
    assert rules.counts() == (6, expected.count("1"))


def test_probability_is_reproducible(world: World) -> None:
    runs = []
    for _ in range(2):
        with MockServer() as server, World(server, "w") as other:
            rules = FaultsClient(other)
            with rules.client:
                rules.add({"status": 418}, probability=0.5)
                runs.append(statuses(other, 40))
                assert rules.counts() == (40, runs[-1].count(418))
    assert runs[0] == runs[1]
    assert 8 <= runs[0].count(418) <= 32


def test_the_first_rule_that_fires_wins(world: World, rules: FaultsClient) -> None:
    rules.add({"status": 429}, times=2)
    rules.add({"status": 500}, times=1)
    rules.add({"status": 503}, skip=1)
    assert statuses(world, 5) == [429, 429, 500, 200, 503]
    assert [rules.counts(f"fault-{number}") for number in (1, 2, 3)] == [(5, 2), (3, 1), (2, 1)]


def test_times_limits_a_rule_for_concurrent_requests(world: World, rules: FaultsClient) -> None:
    rules.add({"status": 503}, times=5)
    start = threading.Barrier(32)

    def client(_: int) -> int:
        start.wait()
        return world.http.get("/containers").status_code

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(client, range(32))).count(503) == 5
    assert rules.counts() == (32, 5)


def test_lapse_after_uses_the_worlds_clock(world: World, rules: FaultsClient) -> None:
    world.freeze(NOON + 0.5)
    assert rules.add({"status": 418}, lapse_after="1m")["lapsed"] is False
    world.advance(59.75)
    assert statuses(world, 1) == [418]
    world.advance(0.25)
    assert statuses(world, 1) == [200]
    (rule,) = ok(rules.client.get(rules.url))["data"]
    assert (rule["matched"], rule["lapsed"], rule["lapse_after"]) == (1, True, 60)


def test_the_window_of_a_rate_limit_uses_the_worlds_clock(world: World, rules: FaultsClient) -> None:
    world.freeze()
    rules.add({"rate_limit": {"requests": 3, "per": "1m"}}, match={"operation": "ListContainers"})
    assert statuses(world, 3) == [200, 200, 200]
    world.advance(20.5)
    response = world.http.get("/containers")
    assert (response.status_code, response.headers["retry-after"]) == (429, "40")
    assert response.json()["error"]["message"] == (
        "Rate limit reached for ListContainers in organization org-mockserver on requests per min (RPM): Limit 3, "
        "Used 3, Requested 1. Please try again in 40s. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    world.openai.containers.create(name="not limited")
    world.advance(39.5)
    assert statuses(world, 4) == [200, 200, 200, 429]
    assert rules.counts() == (8, 2)
    world.freeze(NOON - 3_600)
    assert statuses(world, 1) == [200], "setting the clock back begins a new window"


def test_retry_after_of_a_rate_limit_is_scaled_with_the_worlds_clock(world: World, rules: FaultsClient) -> None:
    """A minute of a world whose clock runs a hundred times as fast is less than a second for the client."""
    ok(rules.client.post(rules.url.replace("faults", "clock/scale"), json={"rate": 100}))
    rules.add({"rate_limit": {"requests": 1, "per": "1m"}})
    client = world.openai.with_options(max_retries=1)
    calls = 0
    while not rules.counts()[1] and calls < 1_000:  # the machine may be slower than the window
        client.containers.list()
        calls += 1
    assert rules.counts() == (calls + 1, 1)


def test_a_rate_limit_holds_for_concurrent_requests(world: World, rules: FaultsClient) -> None:
    world.freeze()
    rules.add({"rate_limit": {"requests": 7, "per": "1m"}})

    def client(_: int) -> list[int]:
        return statuses(world, 5)

    with ThreadPoolExecutor(8) as pool:
        assert sum(each.count(200) for each in pool.map(client, range(8))) == 7


# Order of faults and other errors


def test_a_fault_applies_after_the_key_is_checked_and_before_other_errors(world: World, rules: FaultsClient) -> None:
    rules.add({"status": 418})
    assert httpx2.get(f"{world.base_url}/containers").status_code == 401
    for method, path in (("GET", "/nowhere"), ("PUT", "/containers"), ("GET", "/containers?limit=0")):
        assert world.http.request(method, path).status_code == 418
    for path, content in (("/containers", b"{"), ("/containers/none/files", b"no form")):
        assert world.http.post(path, content=content).status_code == 418
    assert httpx2.get(f"{world.server.url}/health", headers=fault_header("server_error")).status_code == 200
    assert httpx2.get(rules.url, headers=fault_header("server_error")).status_code == 200


def test_an_injected_fault_on_an_unknown_route_creates_no_world(server: MockServer) -> None:
    with new_world(server) as world:
        assert world.http.get("/nowhere", headers=fault_header({"status": 418})).status_code == 418
        assert world.http.get("/nowhere").status_code == 404
        assert world.name not in server.mock.worlds.names()


def test_a_client_receives_an_injected_error_during_a_large_upload(world: World, rules: FaultsClient) -> None:
    box = world.openai.containers.create(name="box").id
    rules.add({"error": "rate_limited"}, match={"operation": "CreateContainerFile"})
    with pytest.raises(openai.RateLimitError):
        world.openai.containers.files.create(box, file=MEGABYTE * 4)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_error_of_the_catalogue_can_be_injected(world: World, name: str) -> None:
    response = world.http.get("/files/some-file", headers=fault_header(name))
    row = CATALOGUE[name]
    if row.text:
        assert (response.status_code, response.text) == (row.status, row.message)
        return
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (row.status, row.type, row.code)
    assert "{" not in error["message"]
    assert response.json()["detail"]["message"] == error["message"]
    assert response.headers["x-request-id"]


# Custom responses


def test_a_fault_sets_status_headers_and_body(world: World) -> None:
    def get(effect: dict[str, Any]) -> httpx2.Response:
        return world.http.get("/containers", headers=fault_header(effect))

    response = get({"status": 299, "body": {"a": [1, "é"]}, "headers": {"Content-Type": "application/x"}})
    assert (response.status_code, response.text) == (299, '{\n  "a": [\n    1,\n    "é"\n  ]\n}')
    assert response.headers["content-type"] == "application/x"
    response = get({"error": "server_error", "body": "<html>"})
    assert (response.status_code, response.text) == (500, "<html>")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert get({"body": None}).text == "null"
    assert (get({"status": 204}).status_code, get({"status": 204}).content) == (204, b"")
    moved = get({"status": 302, "headers": {"Location": "/elsewhere"}})
    assert (moved.status_code, moved.headers["location"], moved.content) == (302, "/elsewhere", b"")
    listed = get({"headers": {"openai-version": "1999-01-01", "x-should-retry": "false"}})
    assert listed.json()["object"] == "list"
    assert (listed.headers.get_list("openai-version"), listed.headers["x-should-retry"]) == (["1999-01-01"], "false")


# Faults in a request header


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"latency": "x"}', "x-mock-fault.latency: 'x' is not a duration"),
        ("nonsense", "unknown error 'nonsense'; choose one of: missing_key, "),
        ("{", "Invalid JSON"),
        ("{}", "no effect"),
        ('{"colour": "red"}', "colour"),
        ('{"status": 99}', "status"),
        ('{"rate_limit": {"requests": 1, "per": 1}}', "takes a rule"),
        ("\xff", "unknown error"),
        ('{"eror": "x"}', "unknown key 'eror'; did you mean 'error'?"),
    ],
)
def test_an_invalid_fault_header_is_rejected(world: World, header: str, message: str) -> None:
    response = world.http.get("/containers", headers={"x-mock-fault": header.encode("latin-1")})
    assert message in error_message(response, 400, "invalid_parameter")


def test_a_fault_header_takes_precedence_over_rules_and_is_not_counted(world: World, rules: FaultsClient) -> None:
    rules.add({"status": 503})
    assert world.http.get("/containers", headers=fault_header({"status": 418})).status_code == 418
    assert rules.counts() == (0, 0)


def test_cors_allows_the_fault_header(world: World) -> None:
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-mock-fault"}
    response = world.http.options("/containers", headers={"Origin": "https://page.example", **preflight})
    assert "x-mock-fault" in response.headers["access-control-allow-headers"]


# Management of rules


def test_rules_can_be_added_retrieved_and_deleted(world: World, rules: FaultsClient) -> None:
    error_message(rules.client.get(rules.url), 404, "world_not_found")
    first = rules.add({"latency": 0.02}, id="slow", match={"path": "/files*"})
    assert first == {
        "id": "slow",
        "match": {"path": "/files*"},
        "effect": {"latency": 0.02},
        "matched": 0,
        "fired": 0,
        "lapsed": False,
    }
    second = rules.add({"latency": {"min": 0, "max": "1s"}, "error": "server_error"}, times=3, lapse_after="PT1M")
    assert second["id"] == "fault-2"
    assert second["effect"] == {"error": "server_error", "latency": {"min": 0, "max": 1}}
    assert ok(rules.client.get(rules.url)) == {"data": [first, second]}
    assert ok(rules.client.get(f"{rules.url}/fault-2")) == second
    duplicate = {key: first[key] for key in ("id", "effect")}
    assert "'slow'" in error_message(rules.client.post(rules.url, json=duplicate), 409, "fault_exists")
    assert ok(rules.client.delete(f"{rules.url}/slow")) == {"data": [second]}
    for method in ("GET", "DELETE"):
        error_message(rules.client.request(method, f"{rules.url}/slow"), 404, "fault_not_found")
    assert rules.add({"drop": "before_answer"})["id"] == "fault-3"
    assert ok(rules.client.delete(rules.url)) == {"data": []}
    assert ok(rules.client.get(rules.url)) == {"data": []}
    assert statuses(world, 1) == [200]


def test_a_disabled_rule_keeps_its_counts_until_it_is_enabled_again(world: World, rules: FaultsClient) -> None:
    rules.add({"error": "server_error"}, times=3)
    rules.add({"status": 503})
    rule = f"{rules.url}/fault-1"
    assert statuses(world, 1) == [500]
    off = ok(rules.client.patch(rule, json={"enabled": False}))
    assert (off["enabled"], off["times"], off["matched"], off["fired"]) == (False, 3, 1, 1)
    assert statuses(world, 2) == [503, 503]
    ok(rules.client.put(f"{rules.url.removesuffix('faults')}snapshots/off"))
    assert ok(rules.client.patch(rule, json={"enabled": True}))["enabled"]
    assert statuses(world, 3) == [500, 500, 503], "it keeps its position before the other rule"
    ok(rules.client.post(f"{rules.url.removesuffix('faults')}snapshots/off/restore"))
    assert statuses(world, 1) == [503]
    assert rules.add({"status": 418}, id="disabled", enabled=False)["enabled"] is False
    error_message(rules.client.patch(f"{rules.url}/nope", json={"enabled": True}), 404, "fault_not_found")
    error_message(rules.client.patch(rule, json={}), 400, "invalid_parameter")


def test_rearming_resets_the_counts_and_the_lapse_time_of_a_rule(world: World, rules: FaultsClient) -> None:
    world.freeze()
    rules.add({"error": "server_error"}, times=1, lapse_after=60)
    rule = f"{rules.url}/fault-1"
    assert statuses(world, 2) == [500, 200]
    armed = ok(rules.client.patch(rule, json={"rearm": True}))
    assert (armed["matched"], armed["fired"], armed["lapsed"]) == (0, 0, False)
    assert statuses(world, 2) == [500, 200]
    world.advance(60)
    assert ok(rules.client.get(rule))["lapsed"]
    assert not ok(rules.client.patch(rule, json={"rearm": True, "enabled": False}))["lapsed"]
    assert statuses(world, 1) == [200]
    ok(rules.client.patch(rule, json={"enabled": True}))
    assert statuses(world, 2) == [500, 200]
    error_message(rules.client.patch(f"{rules.url}/nope", json={"rearm": True}), 404, "fault_not_found")


def test_a_dry_run_validates_a_rule_without_adding_it(world: World, rules: FaultsClient) -> None:
    rule = {"effect": {"latency": "2m"}}
    dry = ok(rules.client.post(rules.url, params={"dry_run": True}, json=rule))
    assert dry == {"id": "", "effect": {"latency": 120}, "matched": 0, "fired": 0, "lapsed": False}
    error_message(rules.client.get(rules.url), 404, "world_not_found")
    response = rules.client.post(rules.url, params={"dry_run": True}, json={"effect": {"status": 42}})
    assert "effect.status" in error_message(response, 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "effect: Field required"),
        ({"error": "rate_limited"}, "unknown key 'error'; write it under 'effect'"),
        ({"operation": "ListFiles", "effect": {"status": 500}}, "unknown key 'operation'; write it under 'match'"),
        ({"effect": "rate_limited"}, "effect: write a mapping; its keys are: error, "),
        ({"effect": {}}, "effect: it has no effect"),
        ({"effect": {"headers": {}}}, "effect: it has no effect"),
        ({"effect": {"colour": 1}}, "effect.colour: unknown key 'colour'; choose one of: error, "),
        (
            {"effect": {"error": "server_eror"}},
            "unknown error 'server_eror'; did you mean 'server_error'? see docs/reference/errors.md for all",
        ),
        ({"effect": {"status": 199}}, "effect.status"),
        ({"effect": {"status": 600}}, "effect.status"),
        ({"effect": {"status": True}}, "effect.status"),
        ({"effect": {"status": "500"}}, "effect.status"),
        ({"effect": {"status": 204, "body": "x"}}, "has no body"),
        ({"effect": {"status": 304, "error": "server_error"}}, "has no body"),
        ({"effect": {"body": "x" * 70_000}}, "at most 65536 bytes"),
        ({"effect": {"body": "\ud800"}}, "surrogate"),
        ({"effect": {"headers": {"a b": "c"}}}, "can't be sent as a header"),
        ({"effect": {"headers": {"a": "b\r\nc: d"}}}, "can't be sent as a header"),
        ({"effect": {"headers": {"a": "…"}}}, "can't be sent as a header"),
        ({"effect": {"headers": {"Content-Length": "5"}}}, "truncate_after"),
        ({"effect": {"retry_after": 1}}, "retry_after needs an error"),
        ({"effect": {"error": "rate_limited", "retry_after": -1}}, "can't be negative"),
        ({"effect": {"latency": -1}}, "can't be negative"),
        ({"effect": {"latency": "soon"}}, "is not a duration"),
        ({"effect": {"latency": "11m"}}, "at most 600 seconds"),
        ({"effect": {"latency": {"min": 2, "max": 1}}}, "min is greater than max"),
        ({"effect": {"latency": {"min": 2}}}, "latency.max"),
        ({"effect": {"latency": [1, 2]}}, "effect.latency"),
        ({"effect": {"latency": True}}, "20m, PT20M or a number"),
        ({"effect": {"drop": "later"}}, "before_answer"),
        ({"effect": {"reset_after": -1}}, "reset_after"),
        ({"effect": {"truncate_after": 1.5}}, "truncate_after"),
        ({"effect": {"reset_after": 1, "truncate_after": 1}}, "exclude each other"),
        ({"effect": {"drop": "before_answer", "status": 500}}, "exclude each other"),
        ({"effect": {"has_more": True, "error": "server_error"}}, "exclude each other"),
        ({"effect": {"dribble": 0}}, "dribble"),
        ({"effect": {"abort_upload_after": -1}}, "abort_upload_after"),
        ({"effect": {"rate_limit": {"requests": -1, "per": 1}}}, "requests"),
        ({"effect": {"rate_limit": {"requests": 1, "per": 0}}}, "per"),
        ({"effect": {"rate_limit": {"requests": 1}}}, "per: Field required"),
        ({"effect": {"stale_list": -1}}, "can't be negative"),
        ({"effect": {"has_more": False}}, "has_more"),
        ({"effect": {"empty_page": "yes"}}, "empty_page"),
        (
            {"match": {"operation": "ListCats"}},
            "unknown operation 'ListCats'; did you mean 'ListContainers'? see docs/reference/control-plane.md for all",
        ),
        ({"match": {"operation": "listcontainer"}}, "did you mean 'ListContainers'? see "),
        ({"match": {"method": "FETCH"}}, "match.method"),
        ({"match": {"path": "containers"}}, "matches no path"),
        ({"match": {"path": "/v1/containers"}}, "matches no path; write /containers, without /v1"),
        ({"match": {"path": "/w/x/v1/files*"}}, "matches no path; write /files*, without /w/x/v1"),
        ({"match": {"path": "/openai/v1"}}, "matches no path; write /*, without /openai/v1"),
        (
            {"match": {"operation": "CreateContainer", "method": "GET"}},
            "it can never fire, as no operation fits all of: operation CreateContainer, method GET; remove one",
        ),
        ({"match": {"operation": "ListContainers", "container": "c"}}, "operation ListContainers, container c"),
        ({"match": {"operation": "Create*", "file": "f"}}, "operation Create*, file f"),
        ({"match": {"operation": "GetResponse"}, "effect": {"has_more": True}}, "operation GetResponse, has_more"),
        ({"match": {"method": "POST"}, "effect": {"stale_list": 1}}, "method POST, stale_list"),
        ({"match": {"container": "c"}, "effect": {"empty_page": True, "status": 500}}, "exclude each other"),
        ({"match": {"method": "GET"}, "effect": {"abort_upload_after": 1}}, "method GET, abort_upload_after"),
        ({"match": {"operation": "Delete*"}, "effect": {"abort_upload_after": 1}}, "Delete*, abort_upload_after"),
        (
            {"match": {"opration": "red"}},
            "match.opration: unknown key 'opration'; did you mean 'operation'? choose one",
        ),
        ({"tmies": 1}, "tmies: unknown key 'tmies'; did you mean 'times'? choose one of: id, match, "),
        ({"effect": {"latency": {"mn": 1}}}, "effect.latency.mn: unknown key 'mn'; did you mean 'min'? choose one"),
        ({"match": {"header": {"a": 1}}}, "match.header.a"),
        ({"times": 0}, "times"),
        ({"times": -1}, "times"),
        ({"times": 2**60}, "times"),
        ({"skip": -1}, "skip"),
        ({"probability": 1.1}, "probability"),
        ({"probability": -0.1}, "probability"),
        ({"lapse_after": 0}, "lapse_after"),
        ({"id": "a/b"}, "id: 'a/b' can't be a name; use up to 64 letters"),
        ({"id": "header"}, "is reserved for faults"),
        ({"fired": 1}, "fired"),
    ],
    ids=str,
)
def test_an_invalid_rule_is_rejected_with_the_reason(
    world: World, rules: FaultsClient, rule: dict[str, Any], message: str
) -> None:
    rule = rule if "effect" in rule or rule == {} else {"effect": {"status": 500}, **rule}
    response = rules.client.post(rules.url, content=json.dumps(rule), headers={"Content-Type": "application/json"})
    assert message in error_message(response, 400, "invalid_parameter")


@pytest.mark.parametrize(
    "rule",
    [
        {"match": {"method": "PUT"}, "effect": {"status": 500}},
        {"match": {"method": "HEAD", "operation": "DownloadFile"}, "effect": {"status": 500}},
        {"match": {"path": "/vector_stores"}, "effect": {"status": 500}},
        {"match": {"container": "c", "file": "f"}, "effect": {"status": 500}},
        {"match": {"container": "c"}, "effect": {"abort_upload_after": 1}},
    ],
    ids=str,
)
def test_an_unusual_rule_that_can_fire_is_accepted(world: World, rules: FaultsClient, rule: dict[str, Any]) -> None:
    assert ok(rules.client.post(rules.url, json=rule))["match"] == rule["match"]


def test_a_stored_rule_that_can_never_fire_can_still_be_read_and_changed(
    world: World, rules: FaultsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(faults.NewRule, "_fits", lambda *_: True)
        rules.add({"has_more": True}, match={"method": "POST"}, id="old")
    ok(rules.client.patch(f"{rules.url}/old", json={"enabled": False}))
    assert [each["id"] for each in ok(rules.client.get(rules.url))["data"]] == ["old"]
    assert statuses(world, 1) == [200]


def test_the_number_of_rules_is_limited(world: World, rules: FaultsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockserver.storage.tables.MAX_FAULTS", 2)
    for _ in range(2):
        rules.add({"status": 500})
    error_message(rules.client.post(rules.url, json={"effect": {"status": 500}}), 400, "too_many_faults")


def test_snapshots_and_forks_contain_rules_and_their_counts(world: World, rules: FaultsClient) -> None:
    control = rules.url.removesuffix("/faults")
    rules.add({"status": 418}, times=3)
    assert statuses(world, 1) == [418]
    ok(rules.client.put(f"{control}/snapshots/s"))
    assert statuses(world, 3) == [418, 418, 200]
    ok(rules.client.delete(rules.url))
    ok(rules.client.post(f"{control}/snapshots/s/restore"))
    assert rules.counts() == (1, 1)
    assert statuses(world, 3) == [418, 418, 200]
    with new_world(world.server) as fork:
        ok(rules.client.post(control.replace(world.name, fork.name), json={"fork_of": world.name, "snapshot": "s"}))
        assert statuses(fork, 3) == [418, 418, 200]
    ok(rules.client.post(f"{control}/reset"))
    assert ok(rules.client.get(rules.url)) == {"data": []}
    assert statuses(world, 1) == [200]


def test_adding_rules_does_not_change_generated_ids(world: World, rules: FaultsClient) -> None:
    world.freeze()
    control = rules.url.removesuffix("/faults")
    ok(rules.client.put(f"{control}/snapshots/s"))
    created = world.openai.containers.create(name="box").id
    ok(rules.client.post(f"{control}/snapshots/s/restore"))
    rules.add({"headers": {"x": "y"}})
    assert world.openai.containers.create(name="box").id == created


def test_rules_and_their_counts_survive_a_restart(tmp_path: Any) -> None:
    for expected in ([418, 418], [418, 200]):
        with MockServer(data=tmp_path / "data") as server, World(server, "w") as world:
            rules = FaultsClient(world)
            with rules.client:
                if expected == [418, 418]:
                    rules.add({"status": 418}, times=3)
                assert statuses(world, 2) == expected


def test_the_operations_of_rules_equal_those_of_the_openapi_document(server: MockServer) -> None:
    paths = create_app(server.mock).openapi()["paths"]
    operations = {each["operationId"] for path in paths.values() for each in path.values()}
    assert operations == set(faults.OPERATIONS)
    for path, methods in paths.items():
        for method, operation in methods.items():
            name = operation["operationId"]
            assert method.upper() in faults.METHODS[name]
            for kind, of_kind in faults.IDS.items():
                assert (f"{{{kind}_id}}" in path) == (name in of_kind)


def test_a_fault_that_breaks_a_connection_affects_no_other_connection(world: World) -> None:
    box, file = create_file(world)
    content = f"/containers/{box}/files/{file}/content"

    def get(number: int) -> int:
        effect = ({"reset_after": 1_000}, {"truncate_after": 1_000}, {"drop": "before_answer"}, None)[number % 4]
        try:
            return len(world.http.get(content, headers=fault_header(effect) if effect else {}).content)
        except httpx2.TransportError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(get, range(24))) == [0, 0, 0, len(MEGABYTE)] * 6


def test_a_fault_header_applies_only_to_its_own_pipelined_request(world: World) -> None:
    head = f"GET /w/{world.name}/v1/containers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n{{}}\r\n"
    with socket.create_connection(("127.0.0.1", world.server.port), 120) as client:
        slow = head.format('x-mock-fault: {"latency": 0.05}\r\n')
        client.sendall((slow + head.format('x-mock-fault: {"truncate_after": 4}\r\n') + head.format("")).encode())
        received = b"".join(iter(lambda: client.recv(65_536), b""))
    first, second = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b'"object": "list"' in first
    assert second.endswith(b"\r\n\r\n{\n  ")


# Concurrent requests


def test_a_concurrent_rule_fires_only_while_enough_requests_are_in_progress(world: World, rules: FaultsClient) -> None:
    """The content is larger than the buffers of the sockets, so a download is in progress until the client reads it."""
    box, file = create_file(world, MEGABYTE * 16)
    path = f"/containers/{box}/files/{file}/content"
    rules.add({"status": 500}, match={"operation": "RetrieveContainerFileContent"}, concurrent=3)
    with Wire(world) as one, Wire(world) as two:
        for wire in (one, two):
            wire.head("GET", path, {})
            assert wire.socket.recv(15, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK"
        assert statuses(world, 2, path) == [500, 500]
        assert statuses(world, 1) == [200], "the rule does not match other operations"
        assert rules.counts() == (2, 2)
    for _ in range(1_000):  # the server may not have noticed yet that both connections are closed
        if statuses(world, 1, path) == [200]:
            break
    else:
        pytest.fail("closed connections still count as requests in progress")


def test_requests_in_progress_still_count_after_other_rules_change(world: World, rules: FaultsClient) -> None:
    box, file = create_file(world, MEGABYTE * 16)
    path = f"/containers/{box}/files/{file}/content"
    rules.add({"status": 500}, match={"operation": "RetrieveContainerFileContent"}, concurrent=2)
    with Wire(world) as wire:
        wire.head("GET", path, {})
        assert wire.socket.recv(15, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK"
        rules.add({"status": 503}, match={"operation": "ListFiles"})
        ok(
            rules.client.post(
                f"{world.server.url}/_mock/worlds/{world.name}/import?replace=false", content=b"version: 1"
            )
        )
        assert statuses(world, 1, path) == [500]


def test_concurrent_small_downloads_overlap(world: World, rules: FaultsClient) -> None:
    box, file = create_file(world, b"small")
    path = f"/containers/{box}/files/{file}/content"
    rules.add({"error": "server_error"}, match={"operation": "*Content"}, concurrent=5)

    def download_concurrently(count: int) -> list[int]:
        wires = [Wire(world) for _ in range(count)]
        for wire in wires:
            wire.head("GET", path, {"Connection": "close"})
        found = [wire.response("GET").status for wire in wires]
        for wire in wires:
            wire.socket.close()
        return found

    assert download_concurrently(4) == [200] * 4
    assert any(500 in download_concurrently(8) for _ in range(10))


def test_upstream_unavailable_sends_the_plain_text_error_of_a_proxy(world: World) -> None:
    with pytest.raises(openai.InternalServerError, match="503") as raised:
        world.openai.containers.list(extra_headers=fault_header("upstream_unavailable"))
    response = raised.value.response
    assert (response.status_code, response.headers["content-type"]) == (503, "text/plain")
    assert response.text.startswith("upstream connect error or disconnect/reset before headers.")
