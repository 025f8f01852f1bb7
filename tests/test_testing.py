"""`mockserver.testing`: servers and worlds as Python objects, without the pytest plugin."""

import concurrent.futures
import errno
import gc
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from conftest import NOON, error_message, ok
from starlette.types import ASGIApp

from mockserver.environment import client_environment
from mockserver.mock import Mock
from mockserver.schema.faults import Effect as EffectModel
from mockserver.schema.faults import Match, NewRule
from mockserver.server import dispatch
from mockserver.server.dispatch import Current
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError
from mockserver.testing import Effect, MockError, MockWorld, Rule, Server

MINUTE = 60
ROOT = Path(__file__).parents[1]


@pytest.fixture
def mock(server: MockServer) -> Iterator[MockWorld]:
    with server.world() as world:
        yield world


@pytest.fixture
def client(mock: MockWorld) -> Iterator[openai.OpenAI]:
    """The official client with its default retries."""
    with openai.OpenAI(base_url=mock.base_url, api_key=mock.api_key) as client:
        yield client


def container_names(client: openai.OpenAI) -> list[str | None]:
    return [each.name for each in client.containers.list()]


def world_names(server: Server) -> list[str]:
    return [each["name"] for each in server.control("GET", "worlds")["data"]]


# Worlds


def test_a_world_is_deleted_at_the_end_of_its_with_block(server: MockServer) -> None:
    with server.world() as one, server.world() as other:
        assert one.world != other.world
        assert one.state()["counts"] == other.state()["counts"]
        assert {one.world, other.world} <= set(world_names(server))
    assert not {one.world, other.world} & set(world_names(server))


@pytest.mark.parametrize("source", ["base_url", "api_key"])
def test_a_world_can_be_chosen_by_url_or_by_api_key(server: MockServer, mock: MockWorld, source: str) -> None:
    options = {"base_url": mock.base_url, "api_key": "any"}
    if source == "api_key":
        options = {"base_url": server.base_url, "api_key": mock.api_key}
    with openai.OpenAI(**options) as client:
        client.containers.create(name="box")
    assert mock.state()["counts"]["containers"] == 1


def test_a_world_of_the_same_name_replaces_the_first(server: MockServer) -> None:
    with server.world("twice") as first:
        httpx2.post(f"{first.base_url}/containers", headers={"api-key": "sk"}, json={"name": "box"})
        assert server.world("twice").state()["counts"]["containers"] == 0


FORKING = """
import os, sys
from mockserver import MockServer

with MockServer() as server, server.world() as world, world.snapshot():
    child = os.fork()
    if child == 0:
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert world.state()["snapshots"], "a child that ends removes nothing"
    assert server.mock.directory.exists()
assert not server.mock.directory.exists()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_that_exits_leaves_the_server_and_the_world_of_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_a_server_that_runs_cannot_be_started_again(server: MockServer) -> None:
    with pytest.raises(RuntimeError, match="runs already, at http"), server:
        pytest.fail("it was started again")
    assert server.state()["version"]


def test_a_server_that_was_not_started_has_no_worlds_and_no_url() -> None:
    with pytest.raises(MockError, match="does not run yet; enter its `with` block first"):
        MockServer().world()
    with pytest.raises(AttributeError, match="does not run yet; enter its `with` block first"):
        print(MockServer().base_url)
    with pytest.raises(AttributeError, match="no attribute 'bas_url'"):
        print(MockServer().bas_url)  # type: ignore[attr-defined]  # type checkers find it


def test_an_argument_wins_over_a_seed(server: MockServer) -> None:
    seed = {"clock": {"at": 0, "rate": 60}, "profile": "docs", **SEED}
    with server.world(seed=seed, frozen=NOON, profile="live") as world, server.world(seed=seed) as other:
        state, seeded = world.state(), other.state()
        assert len(world.clock.advance("1m")["expired_containers"]) == 1, "times are relative to the argument's"
    assert (state["clock"]["now"], state["clock"]["mode"]) == (NOON, "frozen")
    assert seeded["clock"]["mode"] == "scaled"
    with server.world(profile="live") as live:
        assert state["profile"] == live.state()["profile"] != seeded["profile"]


@pytest.mark.parametrize("seed", [5, ["a.yaml"], None])
def test_a_value_that_is_no_seed_or_clock_is_an_error(mock: MockWorld, seed: Any) -> None:
    with pytest.raises(MockError, match="is not a seed; give the path of one, or a dict like one"):
        mock.seed(seed)
    with pytest.raises(MockError, match="is not a seed"):
        mock.server.world(seed=5)  # type: ignore[arg-type]
    with pytest.raises(MockError, match="is not a clock's setting; give a dict of at or offset, and rate"):
        mock.clock.set("2026-01-31")  # type: ignore[arg-type]


def test_no_world_is_left_if_its_settings_are_invalid(server: MockServer) -> None:
    before = world_names(server)
    with pytest.raises(
        MockError, match=r"unknown profile 'lively'; did you mean 'live'\? choose one of: default, live"
    ):
        server.world(profile="lively")
    with pytest.raises(MockError, match="either frozen or clock"):
        server.world(frozen=True, clock={"at": 0})
    assert world_names(server) == before


def test_a_world_uses_the_api_keys_and_the_token_of_its_server() -> None:
    with (
        MockServer(api_key=("K1", "K2"), control_token="token") as server,
        server.world("w") as world,
        openai.OpenAI(base_url=server.base_url, api_key=world.api_key) as client,
    ):
        client.containers.create(name="box")
        assert world.state()["counts"]["containers"] == 1
        with (
            closing(Server(server.url)) as without_token,
            pytest.raises(MockError, match="wants the token") as caught,
        ):
            without_token.state()
        assert (caught.value.status, caught.value.code) == (401, "wrong_token")


def test_a_running_server_can_be_used_by_url(server: MockServer) -> None:
    address = server.url.removeprefix("http://")
    given = (server.url, f"{server.url}/", server.base_url, f" {server.base_url}/", address, f"{address}/v1")
    shown = (f"{server.url}/_mock", f"{server.url}/_mock/#/journal", f"{server.url}/w/blue", f"{server.url}/w/blue/v1/")
    for url in given + shown:
        with closing(Server(url)) as running:
            assert running.base_url == server.base_url
            with running.world(frozen=NOON) as world:
                assert world.clock.now() == NOON


@pytest.mark.parametrize(
    "url",
    ["", None, "ftp://localhost", "http://", "http://localhost:port", "http://local host", "http://localhost/a\tb"],
)
def test_an_invalid_url_is_an_error(url: Any) -> None:
    with pytest.raises(MockError, match="is not the URL of a server; write it like http://localhost:8080"):
        Server(url)


def test_an_unreachable_server_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(MockError, match=f"no mock server responds at http://localhost:{port} .*`mockserver serve`"):
        Server(f"http://localhost:{port}").state()


@contextmanager
def responding(response: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that sends one response and closes the connection. Return its URL and the request it received."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond() -> None:
            with listener.accept()[0] as connection:
                received.append(connection.recv(10_000))
                connection.sendall(response)

        thread = threading.Thread(target=respond)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        thread.join()


HTML = b"Content-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>!"
ERROR_500 = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\n"
"""The head of a response whose body has 21 bytes."""


@pytest.mark.parametrize("status", [b"404 Not Found", b"200 OK"])
def test_a_server_that_is_no_mock_server_is_an_error(status: bytes) -> None:
    with (
        responding(b"HTTP/1.1 %b\r\n%b" % (status, HTML)) as (url, _),
        closing(Server(url)) as other,
        pytest.raises(MockError, match=f"is not a mock server: {status[:3].decode()} to GET /_mock/state"),
    ):
        other.state()


@pytest.mark.parametrize("token", ["sesame", None])
@pytest.mark.parametrize("settings", [{}, {"api_key": "sk-test"}], ids=["any key", "one key"])
@pytest.mark.parametrize("path", ["/nope", "/w/x/v1/nope"])
def test_the_error_for_a_url_with_a_path_of_the_api_does_not_show_the_token(
    token: str | None, settings: dict[str, Any], path: str
) -> None:
    with MockServer(**settings) as server, closing(Server(server.url + path, token=token)) as api:
        with pytest.raises(MockError, match=r"is not a mock server: 40[14] to GET /_mock/state; correct") as caught:
            api.state()
        assert "sesame" not in str(caught.value)


def test_an_unknown_route_of_the_control_plane_is_an_error_that_names_the_route(mock: MockWorld) -> None:
    with pytest.raises(MockError, match=r"^Invalid URL \(GET /_mock/worlds/.*/contaners\)"):
        mock.call("GET", "contaners")


def test_the_token_is_replaced_in_an_error_of_the_server() -> None:
    with (
        responding(ERROR_500 + b"failed for key sesame") as (url, _),
        closing(Server(url, token="sesame")) as failing,
        pytest.raises(MockError, match="failed for key TOKEN"),
    ):
        failing.state()


def test_an_error_500_refers_to_the_log_and_not_to_the_url() -> None:
    with (
        responding(ERROR_500 + b"Internal Server Error") as (url, _),
        closing(Server(url)) as failing,
        pytest.raises(MockError, match="failed: 500 to GET /_mock/state, Internal Server Error; see its log") as caught,
    ):
        failing.state()
    assert caught.value.status == 500
    assert "correct the URL" not in str(caught.value)


def test_a_path_in_the_url_is_kept() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    with responding(response) as (url, received), closing(Server(f"{url}/mock/v1")) as server:
        assert (server.state(), server.base_url) == ({}, f"{url}/mock/v1")
    assert received[0].startswith(b"GET /mock/_mock/state HTTP/1.1\r\n")


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"])
def test_an_interrupted_export_leaves_no_file(framing: bytes, tmp_path: Path) -> None:
    with (
        responding(b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\n" + framing + b"PK") as (url, _),
        closing(Server(url)) as server,
        pytest.raises(MockError, match="was lost"),
    ):
        MockWorld(server, "w").export(tmp_path / "world.zip")
    assert not list(tmp_path.iterdir())


def test_an_import_that_is_rejected_before_it_is_sent_whole_raises_the_error(tmp_path: Path) -> None:
    (tmp_path / "large.zip").write_bytes(bytes(16 << 20))
    error = json.dumps({"error": {"message": "It is too large.", "code": "request_too_large"}}).encode()
    head = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        error
    )
    with (
        responding(head + error) as (url, _),
        closing(Server(url)) as server,
        pytest.raises(MockError, match=r"It is too large\. \(413 to POST") as caught,
    ):
        MockWorld(server, "w").import_(tmp_path / "large.zip")
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")
    assert caught.value.reason == "It is too large."


@pytest.mark.slow
def test_clients_import_no_framework() -> None:
    program = (
        "import sys, mockserver.testing, mockserver.cli.control, mockserver.cli.run\n"
        "assert not {'pydantic', 'fastapi', 'starlette', 'sqlalchemy'} & sys.modules.keys(), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "storage_failed", "too many open files"),
        (TypeError("metaclass conflict"), "control_plane_failed", r"\(TypeError: metaclass conflict\)\. The next req"),
    ],
)
def test_a_control_plane_that_failed_to_load_is_loaded_again(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, code: str, message: str
) -> None:
    load = dispatch._load_control_plane
    problems = [problem, problem]

    def fail_at_first(mock: Mock) -> ASGIApp:
        if problems:
            raise problems.pop()
        return load(mock)

    with MockServer() as server:
        monkeypatch.setattr(dispatch, "_load_control_plane", fail_at_first)
        for _ in range(2):
            with pytest.raises(MockError, match=message) as caught:
                server.state()
            assert (caught.value.status, caught.value.code) == (500, code)
        assert server.state()["worlds"] == 0


@pytest.mark.slow
def test_a_control_plane_first_requested_in_frozen_time_works_afterwards() -> None:
    """Runs in another process, where the modules of the control plane aren't loaded yet."""
    program = """
from mockserver import MockServer
from mockserver.testing import MockError

with MockServer() as server:
    from freezegun import freeze_time
    with freeze_time("2020-01-01"):
        try:
            server.state()
        except MockError as error:
            assert (error.status, error.code) == (500, "control_plane_failed"), error
    with server.world() as world:
        world.clock.advance("20m")
with MockServer() as server, freeze_time("2020-01-01"), server.world() as world:
    world.faults.add(error="rate_limited")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_requests_to_the_server_use_no_proxy(server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with closing(Server(server.url)) as direct:
        assert direct.state()["version"]


@pytest.mark.parametrize("proxies", [{}, {"NO_PROXY": "example.com"}, {"no_proxy": "example.com,localhost"}])
def test_the_environment_of_clients_replaces_the_settings_of_the_user(proxies: dict[str, str]) -> None:
    user = {**proxies, "AZURE_OPENAI_API_KEY": "x", "OPENAI_API_TYPE": "azure", "OPENAI_API_KEY": "sk-real"}
    changes = client_environment(user, "http://localhost:1/v1", "sk-test")
    result = {name: value for name, value in {**user, **changes}.items() if value is not None}
    direct = "example.com,localhost,127.0.0.1" if proxies else "localhost,127.0.0.1"
    assert result == {
        "OPENAI_BASE_URL": "http://localhost:1/v1",
        "OPENAI_API_KEY": "sk-test",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


# The world of the current test


def test_the_url_of_the_current_test_leads_to_its_world() -> None:
    with (
        MockServer(current=Current("secret")) as server,
        server.world() as one,
        server.world() as other,
        httpx2.Client(headers={"Authorization": "Bearer sk-world-current-test"}) as client,
    ):
        urls = [f"{server.url}{path}/containers" for path in ("/w/current-test/v1", "/v1", "/w/current-test/openai/v1")]
        for url in urls:
            assert "that sends this request (GET" in error_message(client.get(url), 400, "no_current_test")
        for world in (one, other):
            server.control("PUT", f"current/secret/{world.world}")
            for url in urls:
                ok(client.post(url, json={"name": "box"}))
            assert world.state()["counts"]["containers"] == 3
        assert len(ok(client.get(f"{one.base_url}/containers"))["data"]) == 3, "the URL of a world leads to it"
        server.control("PUT", "current/secret/")
        error_message(client.get(urls[0]), 400, "no_current_test")


def test_only_a_request_with_the_secret_sets_the_current_world(server: MockServer) -> None:
    with MockServer(current=Current("secret")) as own:
        for each in (own, server):
            with pytest.raises(MockError) as caught:
                each.control("PUT", "current/guess/default")
            assert caught.value.status == 404
    with pytest.raises(MockError):
        server.control("PUT", "current/secret/default")


def test_a_connection_is_reused_and_closed(server: MockServer) -> None:
    client = Server(server.url)
    for _ in range(10):
        client.state()
        with pytest.raises(MockError):
            client.control("GET", "nowhere")
    assert len(client.control._idle) == 1
    first = client.control._idle[0][0]
    client.state()
    assert client.control._idle[0][0] is first
    client.close()
    del client
    gc.collect()  # would warn of an open socket, and warnings are errors


def test_a_connection_that_the_server_closed_is_not_reused() -> None:
    with MockServer() as first:
        client = Server(first.url)
        client.state()
    with MockServer(port=first.port):
        assert client.state()["worlds"] >= 0
    client.close()


def test_a_connection_with_connection_close_is_not_kept(server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Server(server.url)) as client:
        monkeypatch.setitem(client.control._headers, "Connection", "close")
        for _ in range(2):
            client.state()
        assert len(client.control._idle) == 0


# Clocks


def test_advancing_the_clock_expires_a_container(mock: MockWorld, client: openai.OpenAI) -> None:
    mock.clock.freeze()
    box = client.containers.create(name="box")
    assert mock.clock.advance("19m59s")["expired_containers"] == []
    assert mock.clock.advance("1s")["expired_containers"] == [box.id]
    assert client.containers.retrieve(box.id).status == "expired"


def test_patching_time_in_the_test_does_not_affect_the_server(mock: MockWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mock.clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    assert before <= mock.clock.now() < before + MINUTE


def test_durations_and_instants_are_accepted_in_every_form(mock: MockWorld) -> None:
    noon = datetime.fromtimestamp(NOON, UTC)
    for at in (NOON, float(NOON), noon, noon.replace(tzinfo=None), noon.isoformat(), "2026-06-24T18:04:00Z"):
        assert mock.clock.freeze(at)["now"] == NOON
    for by in (MINUTE, 60.0, "1m", "PT1M", timedelta(minutes=1)):
        before = mock.clock.now()
        assert mock.clock.advance(by)["now"] == before + MINUTE


def test_a_clock_can_be_offset_scaled_resumed_frozen_and_reset(mock: MockWorld) -> None:
    clock = mock.clock
    assert clock.state()["mode"] == "real"
    assert clock.offset("-1h")["mode"] == "offset"
    assert clock.scale(60)["rate"] == 60
    assert clock.resume()["mode"] == "offset"
    assert clock.freeze(NOON)["iso"] == "2026-06-24T18:04:00.000Z"
    assert clock.reset()["mode"] == "real"


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        ({"at": NOON, "rate": 0}, "frozen"),
        ({"at": NOON}, "offset"),
        ({"rate": 60}, "scaled"),
        ({"offset": "-1d"}, "offset"),
        ({"offset": timedelta(days=1), "rate": 0}, "frozen"),
    ],
)
def test_a_clock_can_be_set_like_in_a_seed(server: MockServer, setting: Any, mode: str) -> None:
    with server.world(clock=setting) as world:
        assert world.clock.state()["mode"] == mode
        if "at" in setting:
            assert world.clock.now() == pytest.approx(NOON, abs=3_600)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"at": 1, "offset": 1}, "clock: give either at or offset"),
        ({"speed": 2}, "clock: unknown key 'speed'; choose one of: at, offset, rate"),
    ],
)
def test_an_invalid_clock_is_an_error_and_changes_nothing(mock: MockWorld, setting: Any, message: str) -> None:
    with pytest.raises(MockError, match=message):
        mock.clock.set(setting)
    assert mock.clock.state()["mode"] == "real"


def test_setting_only_the_rate_keeps_the_current_time(mock: MockWorld) -> None:
    mock.clock.freeze(NOON)
    mock.clock.set({"rate": 60})
    assert mock.clock.now() == pytest.approx(NOON, abs=3_600)


# Snapshots and reset


def test_a_snapshot_can_be_restored_and_deleted(mock: MockWorld, client: openai.OpenAI) -> None:
    client.containers.create(name="before")
    mock.clock.freeze(NOON)
    with mock.snapshot() as snapshot:
        client.containers.create(name="within")
        mock.clock.advance("1h")
        snapshot.restore()
        assert container_names(client) == ["before"]
        client.containers.create(name="again")
    assert container_names(client) == ["before"]
    assert mock.clock.now() == NOON
    assert mock.state()["snapshots"] == []
    kept = mock.snapshot("kept")
    assert mock.state()["snapshots"] == ["kept"]
    kept.delete()
    with pytest.raises(MockError, match="no snapshot 'kept'"):
        kept.restore()


def test_reset_restores_the_seed_or_empties_the_world(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("version: 1\ncontainers: [{name: seeded}]\n")
    with MockServer(seed=(seed,)) as server, server.world() as world, server.world(empty=True) as empty:
        with openai.OpenAI(base_url=world.base_url, api_key="any") as client:
            client.containers.create(name="box")
            world.clock.freeze(NOON)
            world.reset()
            assert container_names(client) == ["seeded"]
            assert world.clock.state()["mode"] == "real"
            world.reset(empty=True)
            assert container_names(client) == []
        assert empty.state()["counts"]["containers"] == 0


def test_each_world_has_its_own_profile(server: MockServer) -> None:
    with server.world(profile="live") as live, server.world() as default:
        for world, status in ((live, 400), (default, 200)):
            body = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            response = httpx2.post(f"{world.base_url}/containers", headers={"api-key": "k"}, json=body)
            assert response.status_code == status


# Faults


def test_a_fault_can_be_added_read_switched_and_removed(mock: MockWorld, client: openai.OpenAI) -> None:
    rule = mock.faults.add(operation="ListContainers", status=418, times=1, id="teapot")
    assert rule["id"] == "teapot"
    assert mock.faults.list() == [rule]
    with pytest.raises(openai.APIStatusError) as caught:
        container_names(client)
    assert caught.value.status_code == 418
    assert container_names(client) == []
    assert mock.faults.switch("teapot", enabled=False)["enabled"] is False
    assert mock.faults.switch("teapot", enabled=True)["enabled"] is True
    counted = mock.faults.get("teapot")
    assert (counted["matched"], counted["fired"]) == (2, 1)
    mock.faults.remove("teapot")
    mock.faults.add(error="container_not_found", path="/containers/*", lapse_after=timedelta(minutes=1))
    mock.faults.clear()
    assert mock.faults.list() == []


def test_a_fault_can_be_added_disabled(mock: MockWorld, client: openai.OpenAI) -> None:
    rule = mock.faults.add(error="rate_limited", enabled=False)
    assert list(client.containers.list()) == []
    assert mock.faults.switch(rule["id"], enabled=True)["enabled"]
    assert rule["enabled"] is False


def test_an_invalid_fault_is_an_error(mock: MockWorld) -> None:
    with pytest.raises(
        MockError, match=r"unknown error 'rate_limitd'; did you mean 'rate_limited'\? see docs/reference/errors.md"
    ):
        mock.faults.add(error="rate_limitd")
    with pytest.raises(MockError, match="no effect"):
        mock.faults.add(operation="ListContainers")


def test_every_field_of_a_fault_rule_has_a_parameter() -> None:
    assert Effect.__annotations__.keys() == EffectModel.model_fields.keys()
    parameters = MockWorld(Server("http://localhost"), "w").faults.add.__annotations__.keys()
    assert parameters >= Match.model_fields.keys()
    assert Rule.__annotations__.keys() == NewRule.model_fields.keys() | {"matched", "fired", "lapsed"}


# Seeds, archives and files of the assistant

SEED: dict[str, Any] = {
    "files": [{"ref": "sales", "filename": "sales.csv", "content": "month,revenue\n"}],
    "containers": [{"name": "box", "last_active_at": "-19m", "files": [{"file": "sales"}]}],
}


def contents_by_name(mock: MockWorld, client: openai.OpenAI) -> dict[str, bytes]:
    """Return the contents of all container files by the last part of their names."""
    return {
        file.path.split("-")[-1]: client.containers.files.content.retrieve(file.id, container_id=box.id).read()
        for box in client.containers.list()
        for file in client.containers.files.list(box.id)
    }


def test_a_seed_can_be_added_to_a_world(mock: MockWorld, client: openai.OpenAI) -> None:
    client.containers.create(name="before")
    mock.clock.freeze()
    created = mock.seed(SEED)
    assert container_names(client) == ["before", "box"]
    assert created["containers"] == [client.containers.list(order="asc").data[0].id]
    assert contents_by_name(mock, client) == {"sales.csv": b"month,revenue\n"}


def test_times_of_a_seed_are_relative_to_the_clock_of_the_world(server: MockServer) -> None:
    with server.world(frozen=NOON, seed=SEED) as world:
        assert len(world.clock.advance("1m")["expired_containers"]) == 1


def test_a_seed_can_be_a_directory_of_files(server: MockServer, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_bytes(b"\xff\0notes")
    (tmp_path / "a.yaml").write_text("version: 1\nfiles: [{ref: notes, from: data/notes.txt}]\n")
    (tmp_path / "b.json").write_text(
        json.dumps({"version": 1, "containers": [{"name": "c", "files": [{"file": "notes"}, {"from": "a.yaml"}]}]})
    )
    with (
        server.world(seed=tmp_path) as world,
        openai.OpenAI(base_url=world.base_url, api_key="any") as client,
    ):
        contents = contents_by_name(world, client)
        assert contents["notes.txt"] == b"\xff\0notes"
        assert contents["a.yaml"].startswith(b"version: 1")


def test_an_invalid_seed_is_an_error_that_names_its_line(mock: MockWorld, tmp_path: Path) -> None:
    (tmp_path / "seed.yaml").write_text("version: 1\ncontainers:\n  - name: box\n    memory: 4g\n")
    with pytest.raises(
        SeedError, match=r"seed\.yaml:4: containers\.0: unknown key 'memory'; did you mean 'memory_limit'\?"
    ):
        mock.seed(tmp_path / "seed.yaml")
    with pytest.raises(MockError, match=r"no seed none\.yaml in"):
        mock.seed("none.yaml")
    with pytest.raises(MockError, match=r"containers\.0: unknown key 'memory'; did you mean 'memory_limit'\?"):
        mock.seed({"containers": [{"name": "box", "memory": "4g"}]})
    (tmp_path / "plain" / "box").mkdir(parents=True)
    with pytest.raises(MockError, match="contains no seed files"):
        mock.seed(tmp_path / "plain")


def test_a_world_can_be_exported_and_imported(
    server: MockServer, mock: MockWorld, client: openai.OpenAI, tmp_path: Path
) -> None:
    mock.clock.freeze(NOON)
    mock.seed(SEED)
    before = [each.model_dump() for each in client.containers.list()], contents_by_name(mock, client)
    mock.export(tmp_path / "world.zip")
    mock.reset()
    mock.import_(tmp_path / "world.zip")
    assert ([each.model_dump() for each in client.containers.list()], contents_by_name(mock, client)) == before
    with pytest.raises(MockError, match=r"world\.zip is an archive; import it with import_"):
        mock.seed(tmp_path / "world.zip")


def test_a_file_of_the_assistant_can_be_added(mock: MockWorld, client: openai.OpenAI) -> None:
    box = client.containers.create(name="auto")
    plot = mock.add_assistant_file(box.id, "plots/größe.png", b"\x89PNG\r\n--\0")
    assert (plot["path"], plot["source"], plot["bytes"]) == ("/mnt/data/plots/größe.png", "assistant", None)
    assert client.containers.files.content.retrieve(plot["id"], container_id=box.id).read() == b"\x89PNG\r\n--\0"
    sized = mock.add_assistant_file(box.id, "/mnt/data/text.txt", "text", bytes=4)
    assert client.containers.files.retrieve(sized["id"], container_id=box.id).bytes == 4
    with pytest.raises(MockError, match="Container with id 'cntr_x' not found"):
        mock.add_assistant_file("cntr_x", "text.txt", "text")
    with pytest.raises(MockError, match=r"Path\('plot.png'\) is not the content of a file; give text or bytes"):
        mock.add_assistant_file(box.id, "plot.png", Path("plot.png"))  # type: ignore[arg-type]  # rejected


def test_a_container_expires_on_demand(mock: MockWorld, client: openai.OpenAI) -> None:
    box = client.containers.create(name="box")
    mock.expire(box.id)
    assert client.containers.retrieve(box.id).status == "expired"


# Journal and verdict


def test_the_journal_shows_each_retry_of_a_client(mock: MockWorld, client: openai.OpenAI) -> None:
    mock.faults.add(error="rate_limited", times=2, retry_after=1, headers={"retry-after-ms": "1"})
    client.containers.create(name="box")
    attempts = mock.journal.filter(operation="CreateContainer")
    assert [each["status"] for each in attempts] == [429, 429, 200]
    assert [each["request"]["headers"]["x-stainless-retry-count"] for each in attempts] == ["0", "1", "2"]
    assert [each["response"]["headers"].get("retry-after") for each in attempts] == ["1", "1", None]
    assert mock.api_key not in json.dumps(list(mock.journal))


def test_the_journal_can_be_iterated_filtered_counted_and_cleared(mock: MockWorld, client: openai.OpenAI) -> None:
    journal = mock.journal
    assert (len(journal), journal.list(), journal.last(), journal.shown()) == (0, [], [], "")
    boxes = [client.containers.create(name=f"box {number}") for number in range(3)]
    container_names(client)
    assert len(journal) == journal.count() == 4
    assert [each["operation"] for each in journal] == [*["CreateContainer"] * 3, "ListContainers"]
    assert [each["number"] for each in journal.last(2)] == [3, 4]
    assert journal.count(operation="CreateContainer", text="box 1") == 1
    assert journal.get(2)["objects"] == [{"change": "created", "id": boxes[1].id}]
    assert journal.filter(method="GET", status=200) == journal.filter(after=3)
    assert journal.count(operation=["List*", "CreateContainer"], status=["2xx", 429]) == 4
    with pytest.raises(MockError, match="unknown operation 'CreateBox'"):
        journal.count(operation="CreateBox")
    assert re.fullmatch(r"#4    \d\d:\d\d:\d\d  GET    /v1/containers  200  \d+ ms", journal.shown(1))
    journal.clear()
    assert not list(journal)


def test_iterating_the_journal_reads_all_pages(mock: MockWorld, server: MockServer) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for _ in range(250):
            send(connection, "GET", f"/w/{mock.world}/v1/containers")
    assert [each["number"] for each in mock.journal] == list(range(1, 251))
    assert [each["number"] for each in mock.journal.last(3)] == [248, 249, 250]


def test_the_journal_can_wait_for_exchanges(mock: MockWorld, client: openai.OpenAI) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waited = threads.submit(mock.journal.wait, 2, "5m", operation="CreateContainer")
        for name in ("one", "two"):
            client.containers.create(name=name)
        assert len(waited.result()) == 2
    with pytest.raises(TimeoutError, match=r"#2 .*POST   /v1/containers  200"):
        mock.journal.wait(3, 0.01)


def test_the_verdict_prints_its_findings_and_their_exchanges(mock: MockWorld, client: openai.OpenAI) -> None:
    assert mock.verdict()
    client.containers.create(name="box")
    verdict = mock.verdict()
    assert not verdict.ok
    (finding,) = verdict.findings
    first, exchange = str(verdict).splitlines()
    assert first == f"{finding['name']}: {finding['message']}"
    assert re.fullmatch(r"  #1    \d\d:\d\d:\d\d  POST   /v1/containers  200  \d+ ms", exchange)
    assert mock.verdict(ignore=[finding["name"]]).ok
    assert str(mock.verdict(ignore=[finding["name"]])) == "No mistakes of the client were found."


# Many worlds at once


def send(connection: http.client.HTTPConnection, method: str, url: str, body: Any = None) -> tuple[int, Any]:
    connection.request(method, url, json.dumps(body), {"api-key": "any", "content-type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def use_a_world(server: MockServer, rounds: int, number: int) -> None:
    """Change the clock, the faults and the containers of a new world, and check that no other world affects them."""
    at, status_of_fault = NOON + number * 1_000_000, 500 + number
    with server.world() as world, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as client:
        containers = f"/w/{world.world}/v1/containers"
        for turn in range(rounds):
            world.clock.freeze(at)
            status, box = send(client, "POST", containers, {"name": f"{number}-{turn}"})
            assert (status, box["created_at"]) == (200, at)
            world.faults.add(status=status_of_fault, times=1)
            assert send(client, "GET", containers)[0] == status_of_fault
            assert [each["id"] for each in send(client, "GET", containers)[1]["data"]] == [box["id"]]
            assert world.clock.advance("20m")["expired_containers"] == [box["id"]]
            world.reset()
            assert send(client, "GET", containers)[1]["data"] == []


@pytest.mark.parametrize("rounds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_worlds_used_at_once_do_not_affect_each_other(server: MockServer, rounds: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        for future in [threads.submit(use_a_world, server, rounds, number) for number in range(32)]:
            future.result()
