"""What a test holds of a server and of a world, without pytest's help."""

import concurrent.futures
import errno
import gc
import http.client
import json
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
from mockserver.schema.faults import Effect as EffectAsked
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
    with server.world() as made:
        yield made


@pytest.fixture
def client(mock: MockWorld) -> Iterator[openai.OpenAI]:
    """With the retries that it has unless told otherwise."""
    with openai.OpenAI(base_url=mock.base_url, api_key=mock.api_key) as made:
        yield made


def names(client: openai.OpenAI) -> list[str | None]:
    return [each.name for each in client.containers.list()]


def worlds(server: Server) -> list[str]:
    return [each["name"] for each in server.control("GET", "worlds")["data"]]


# Worlds


def test_a_world_lasts_as_long_as_its_block(server: MockServer) -> None:
    with server.world() as one, server.world() as other:
        assert one.world != other.world
        assert one.state()["counts"] == other.state()["counts"]
        assert {one.world, other.world} <= set(worlds(server))
    assert not {one.world, other.world} & set(worlds(server))


@pytest.mark.parametrize("how", ["base_url", "api_key"])
def test_the_url_and_the_key_both_lead_to_it(server: MockServer, mock: MockWorld, how: str) -> None:
    where = {"base_url": mock.base_url, "api_key": "any"}
    if how == "api_key":
        where = {"base_url": server.base_url, "api_key": mock.api_key}
    with openai.OpenAI(**where) as client:
        client.containers.create(name="box")
    assert mock.state()["counts"]["containers"] == 1


def test_a_world_of_the_same_name_is_a_fresh_one(server: MockServer) -> None:
    with server.world("twice") as first:
        httpx2.post(f"{first.base_url}/containers", headers={"api-key": "sk"}, json={"name": "box"})
        assert server.world("twice").state()["counts"]["containers"] == 0


def test_a_world_that_can_not_be_as_wanted_is_not_left_behind(server: MockServer) -> None:
    before = worlds(server)
    with pytest.raises(
        MockError, match=r"unknown profile 'lively'; did you mean 'live'\? choose one of: default, live"
    ):
        server.world(profile="lively")
    with pytest.raises(MockError, match="either frozen or clock"):
        server.world(frozen=True, clock={"at": 0})
    assert worlds(server) == before


def test_it_knows_a_servers_keys_and_token() -> None:
    with (
        MockServer(api_key=("K1", "K2"), control_token="token") as server,
        server.world("w") as world,
        openai.OpenAI(base_url=server.base_url, api_key=world.api_key) as client,
    ):
        client.containers.create(name="box")
        assert world.state()["counts"]["containers"] == 1
        stranger = Server(server.url)
        with pytest.raises(MockError, match="wants the token") as refused:
            stranger.state()
        assert (refused.value.status, refused.value.code) == (401, "wrong_token")
        stranger.close()


def test_a_server_elsewhere_is_held_in_the_same_way(server: MockServer) -> None:
    for url in (server.url, f"{server.url}/", server.base_url, f" {server.base_url}/"):
        elsewhere = Server(url)
        assert elsewhere.base_url == server.base_url
        with elsewhere.world(frozen=NOON) as world:
            assert world.clock.now() == NOON
        elsewhere.close()


@pytest.mark.parametrize("url", ["localhost:8080", "", "ftp://localhost", "http://", "http://localhost:port"])
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(MockError, match="is not the URL of a server; write it like http://localhost:8080"):
        Server(url)


def test_no_server_at_all_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MockError, match=f"no mock server responds at http://localhost:{port} .*`mockserver serve`"):
        Server(f"http://localhost:{port}").state()


@contextmanager
def responding(response: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends one response and closes the connection: its URL, and the request that it received."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def respond() -> None:
            with taken.accept()[0] as connection:
                received.append(connection.recv(10_000))
                connection.sendall(response)

        thread = threading.Thread(target=respond)
        thread.start()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}", received
        thread.join()


HTML = b"Content-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>!"


@pytest.mark.parametrize("status", [b"404 Not Found", b"200 OK"])
def test_another_server_is_told(status: bytes) -> None:
    with (
        responding(b"HTTP/1.1 %b\r\n%b" % (status, HTML)) as (url, _),
        closing(Server(url)) as stranger,
        pytest.raises(MockError, match=f"is not a mock server: {status[:3].decode()} to GET /_mock/state"),
    ):
        stranger.state()


@pytest.mark.parametrize("token", ["sesame", None])
@pytest.mark.parametrize("settings", [{}, {"api_key": "sk-test"}], ids=["any key", "one key"])
@pytest.mark.parametrize("path", ["/nope", "/w/x/v1/nope"])
def test_a_path_of_the_api_is_told_without_the_token(token: str | None, settings: dict[str, Any], path: str) -> None:
    with MockServer(**settings) as server, closing(Server(server.url + path, token=token)) as api:
        with pytest.raises(MockError, match=r"is not a mock server: 40[14] to GET /_mock/state; correct") as told:
            api.state()
        assert "sesame" not in str(told.value)


def test_an_unknown_route_of_the_control_plane_blames_no_url(mock: MockWorld) -> None:
    with pytest.raises(MockError, match=r"^Invalid URL \(GET /_mock/worlds/.*/contaners\)"):
        mock.call("GET", "contaners")


def test_a_server_that_fails_and_repeats_the_token_does_not_show_it() -> None:
    head = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\n"
    with (
        responding(head + b"failed for key sesame") as (url, _),
        closing(Server(url, token="sesame")) as failing,
        pytest.raises(MockError, match="failed for key TOKEN"),
    ):
        failing.state()


def test_a_server_that_fails_is_told_without_blaming_the_url() -> None:
    head = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\n"
    with (
        responding(head + b"Internal Server Error") as (url, _),
        closing(Server(url)) as failing,
        pytest.raises(MockError, match="failed: 500 to GET /_mock/state, Internal Server Error; see its log") as failed,
    ):
        failing.state()
    assert failed.value.status == 500
    assert "correct the URL" not in str(failed.value)


def test_a_path_of_the_url_is_kept() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    with responding(response) as (url, received), closing(Server(f"{url}/mock/v1")) as server:
        assert (server.state(), server.base_url) == ({}, f"{url}/mock/v1")
    assert received[0].startswith(b"GET /mock/_mock/state HTTP/1.1\r\n")


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"])
def test_an_export_that_breaks_off_leaves_no_file(framing: bytes, tmp_path: Path) -> None:
    with (
        responding(b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\n" + framing + b"PK") as (url, _),
        closing(Server(url)) as server,
        pytest.raises(MockError, match="was lost"),
    ):
        MockWorld(server, "w").export(tmp_path / "world.zip")
    assert not list(tmp_path.iterdir())


def test_an_upload_that_is_rejected_before_its_end_raises_the_error(tmp_path: Path) -> None:
    (tmp_path / "large.zip").write_bytes(bytes(16 << 20))
    error = json.dumps({"error": {"message": "It is too large.", "code": "request_too_large"}}).encode()
    head = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        error
    )
    with (
        responding(head + error) as (url, _),
        closing(Server(url)) as server,
        pytest.raises(MockError, match=r"It is too large\. \(413 to POST") as rejected,
    ):
        MockWorld(server, "w").import_(tmp_path / "large.zip")
    assert (rejected.value.status, rejected.value.code) == (413, "request_too_large")
    assert rejected.value.reason == "It is too large."


@pytest.mark.slow
def test_clients_load_no_framework() -> None:
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
            with pytest.raises(MockError, match=message) as failed:
                server.state()
            assert (failed.value.status, failed.value.code) == (500, code)
        assert server.state()["worlds"] == 0


@pytest.mark.slow
def test_a_control_plane_first_asked_for_in_frozen_time_works_afterwards() -> None:
    """In a process of its own, where the control plane's modules aren't loaded yet."""
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


def test_proxies_are_for_others(server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    elsewhere = Server(server.url)
    assert elsewhere.state()["version"]
    elsewhere.close()


@pytest.mark.parametrize("given", [{}, {"NO_PROXY": "example.com"}, {"no_proxy": "example.com,localhost"}])
def test_the_environment_of_clients(given: dict[str, str]) -> None:
    user = {**given, "AZURE_OPENAI_API_KEY": "x", "OPENAI_API_TYPE": "azure", "OPENAI_API_KEY": "sk-real"}
    changes = client_environment(user, "http://localhost:1/v1", "sk-test")
    left = {name: value for name, value in {**user, **changes}.items() if value is not None}
    direct = "example.com,localhost,127.0.0.1" if given else "localhost,127.0.0.1"
    assert left == {
        "OPENAI_BASE_URL": "http://localhost:1/v1",
        "OPENAI_API_KEY": "sk-test",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


# The world of the current test


def test_a_name_stands_for_one_world_after_another() -> None:
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
        elsewhere = ok(client.get(f"{one.base_url}/containers"))["data"]
        assert len(elsewhere) == 3, "a URL that names a world is no other's"
        server.control("PUT", "current/secret/")
        error_message(client.get(urls[0]), 400, "no_current_test")


def test_only_who_knows_the_secret_changes_the_current_world(server: MockServer) -> None:
    with MockServer(current=Current("secret")) as own:
        for each in (own, server):
            with pytest.raises(MockError) as failed:
                each.control("PUT", "current/guess/default")
            assert failed.value.status == 404
    with pytest.raises(MockError):
        server.control("PUT", "current/secret/default")


def test_connections_are_kept_and_closed(server: MockServer) -> None:
    held = Server(server.url)
    for _ in range(10):
        held.state()
        with pytest.raises(MockError):
            held.control("GET", "nowhere")
    assert len(held.control._idle) == 1
    first = held.control._idle[0][0]
    held.state()
    assert held.control._idle[0][0] is first
    held.close()
    del held
    gc.collect()  # an open socket would be a warning, which is an error


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    with MockServer() as first:
        held = Server(first.url)
        held.state()
    with MockServer(port=first.port):
        assert held.state()["worlds"] >= 0
    held.close()


def test_a_connection_that_a_proxy_closes_is_not_kept(server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Server(server.url)
    monkeypatch.setitem(held.control._headers, "Connection", "close")
    for _ in range(2):
        held.state()
    assert len(held.control._idle) == 0


# Clocks


def test_what_took_twenty_minutes_takes_no_time(mock: MockWorld, client: openai.OpenAI) -> None:
    box = client.containers.create(name="box")
    mock.clock.freeze()
    assert mock.clock.advance("19m59s")["expired_containers"] == []
    assert mock.clock.advance("1s")["expired_containers"] == [box.id]
    assert client.containers.retrieve(box.id).status == "expired"


def test_a_test_that_freezes_its_own_time_leaves_the_servers_alone(
    mock: MockWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mock.clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    assert before <= mock.clock.now() < before + MINUTE


def test_durations_and_instants_come_in_every_form(mock: MockWorld) -> None:
    noon = datetime.fromtimestamp(NOON, UTC)
    for at in (NOON, float(NOON), noon, noon.replace(tzinfo=None), noon.isoformat(), "2026-06-24T18:04:00Z"):
        assert mock.clock.freeze(at)["now"] == NOON
    for by in (MINUTE, 60.0, "1m", "PT1M", timedelta(minutes=1)):
        before = mock.clock.now()
        assert mock.clock.advance(by)["now"] == before + MINUTE


def test_a_clock_can_be_moved_in_every_way(mock: MockWorld) -> None:
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
def test_a_clock_is_set_as_in_a_seed(server: MockServer, setting: Any, mode: str) -> None:
    with server.world(clock=setting) as world:
        assert world.clock.state()["mode"] == mode
        if "at" in setting:
            assert world.clock.now() == pytest.approx(NOON, abs=3_600)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"at": 1, "offset": 1}, "clock: give either at or offset"),
        ({"speed": 2}, "clock: unknown key 'speed'; choose one of: at, offset, rate"),
    ],
)
def test_a_clock_that_can_not_be_set_is_an_error(mock: MockWorld, setting: Any, reason: str) -> None:
    with pytest.raises(MockError, match=reason):
        mock.clock.set(setting)
    assert mock.clock.state()["mode"] == "real"


def test_a_rate_alone_continues_from_the_time_of_the_world(mock: MockWorld) -> None:
    mock.clock.freeze(NOON)
    mock.clock.set({"rate": 60})
    assert mock.clock.now() == pytest.approx(NOON, abs=3_600)


# Snapshots and reset


def test_a_snapshot_is_come_back_to(mock: MockWorld, client: openai.OpenAI) -> None:
    client.containers.create(name="before")
    mock.clock.freeze(NOON)
    with mock.snapshot() as snapshot:
        client.containers.create(name="within")
        mock.clock.advance("1h")
        snapshot.restore()
        assert names(client) == ["before"]
        client.containers.create(name="again")
    assert names(client) == ["before"]
    assert mock.clock.now() == NOON
    assert mock.state()["snapshots"] == []
    kept = mock.snapshot("kept")
    assert mock.state()["snapshots"] == ["kept"]
    kept.delete()
    with pytest.raises(MockError, match="no snapshot 'kept'"):
        kept.restore()


def test_reset_takes_all_back(server: MockServer, tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("version: 1\ncontainers: [{name: seeded}]\n")
    with MockServer(seed=(seed,)) as seeded, seeded.world() as world, seeded.world(empty=True) as empty:
        with openai.OpenAI(base_url=world.base_url, api_key="any") as client:
            client.containers.create(name="box")
            world.clock.freeze(NOON)
            world.reset()
            assert names(client) == ["seeded"]
            assert world.clock.state()["mode"] == "real"
            world.reset(empty=True)
            assert names(client) == []
        assert empty.state()["counts"]["containers"] == 0


def test_a_profile_is_the_worlds_own(server: MockServer) -> None:
    with server.world(profile="live") as strict, server.world() as lax:
        for world, status in ((strict, 400), (lax, 200)):
            asked = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            assert (
                httpx2.post(f"{world.base_url}/containers", headers={"api-key": "k"}, json=asked).status_code == status
            )


# Faults


def test_a_fault_is_added_looked_at_and_removed(mock: MockWorld, client: openai.OpenAI) -> None:
    rule = mock.faults.add(operation="ListContainers", status=418, times=1, id="teapot")
    assert rule["id"] == "teapot"
    assert mock.faults.list() == [rule]
    with pytest.raises(openai.APIStatusError) as refused:
        names(client)
    assert refused.value.status_code == 418
    assert names(client) == []
    assert mock.faults.switch("teapot", enabled=False)["enabled"] is False
    assert mock.faults.switch("teapot", enabled=True)["enabled"] is True
    counted = mock.faults.get("teapot")
    assert (counted["matched"], counted["fired"]) == (2, 1)
    mock.faults.remove("teapot")
    mock.faults.add(error="container_not_found", path="/containers/*", lapse_after=timedelta(minutes=1))
    mock.faults.clear()
    assert mock.faults.list() == []


def test_a_fault_that_can_not_be_is_told(mock: MockWorld) -> None:
    with pytest.raises(
        MockError, match=r"unknown error 'rate_limitd'; did you mean 'rate_limited'\? see docs/reference/errors.md"
    ):
        mock.faults.add(error="rate_limitd")
    with pytest.raises(MockError, match="no effect"):
        mock.faults.add(operation="ListContainers")


def test_every_fault_that_there_is_can_be_added() -> None:
    assert Effect.__annotations__.keys() == EffectAsked.model_fields.keys()
    parameters = MockWorld(Server("http://localhost"), "w").faults.add.__annotations__.keys()
    assert parameters >= Match.model_fields.keys()
    assert Rule.__annotations__.keys() == NewRule.model_fields.keys() | {"matched", "fired", "lapsed"}


# Seeds and what a model run would leave behind

SEED: dict[str, Any] = {
    "files": [{"ref": "sales", "filename": "sales.csv", "content": "month,revenue\n"}],
    "containers": [{"name": "box", "last_active_at": "-19m", "files": [{"file": "sales"}]}],
}


def paths_in(mock: MockWorld, client: openai.OpenAI) -> dict[str, bytes]:
    return {
        inside.path.split("-")[-1]: client.containers.files.content.retrieve(inside.id, container_id=each.id).read()
        for each in client.containers.list()
        for inside in client.containers.files.list(each.id)
    }


def test_a_seed_can_be_put_into_a_world(mock: MockWorld, client: openai.OpenAI) -> None:
    client.containers.create(name="before")
    mock.clock.freeze()
    placed = mock.seed(SEED)
    assert names(client) == ["before", "box"]
    assert placed["containers"] == [client.containers.list(order="asc").data[0].id]
    assert paths_in(mock, client) == {"sales.csv": b"month,revenue\n"}


def test_a_seed_is_relative_to_the_worlds_time(server: MockServer) -> None:
    with server.world(frozen=NOON, seed=SEED) as world:
        assert len(world.clock.advance("1m")["expired_containers"]) == 1


def test_a_seed_may_be_files(server: MockServer, tmp_path: Path) -> None:
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
        found = paths_in(world, client)
        assert found["notes.txt"] == b"\xff\0notes"
        assert found["a.yaml"].startswith(b"version: 1")


def test_a_seed_that_can_not_be_is_told_with_its_line(mock: MockWorld, tmp_path: Path) -> None:
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


def test_a_world_is_written_and_read_back(
    server: MockServer, mock: MockWorld, client: openai.OpenAI, tmp_path: Path
) -> None:
    mock.clock.freeze(NOON)
    mock.seed(SEED)
    before = [each.model_dump() for each in client.containers.list()], paths_in(mock, client)
    mock.export(tmp_path / "world.zip")
    mock.reset()
    mock.import_(tmp_path / "world.zip")
    assert ([each.model_dump() for each in client.containers.list()], paths_in(mock, client)) == before
    with pytest.raises(MockError, match=r"world\.zip is an archive; import it with import_"):
        mock.seed(tmp_path / "world.zip")


def test_files_are_left_as_by_the_assistant(mock: MockWorld, client: openai.OpenAI) -> None:
    box = client.containers.create(name="auto")
    plot = mock.add_assistant_file(box.id, "plots/größe.png", b"\x89PNG\r\n--\0")
    assert (plot["path"], plot["source"], plot["bytes"]) == ("/mnt/data/plots/größe.png", "assistant", None)
    assert client.containers.files.content.retrieve(plot["id"], container_id=box.id).read() == b"\x89PNG\r\n--\0"
    sized = mock.add_assistant_file(box.id, "/mnt/data/text.txt", "text", bytes=4)
    assert client.containers.files.retrieve(sized["id"], container_id=box.id).bytes == 4
    with pytest.raises(MockError, match="Container with id 'cntr_x' not found"):
        mock.add_assistant_file("cntr_x", "text.txt", "text")


def test_a_container_expires_on_demand(mock: MockWorld, client: openai.OpenAI) -> None:
    box = client.containers.create(name="box")
    mock.expire(box.id)
    assert client.containers.retrieve(box.id).status == "expired"


# Journal and verdict


def test_a_client_that_retries_gets_through_and_the_journal_tells(mock: MockWorld, client: openai.OpenAI) -> None:
    mock.faults.add(error="rate_limited", times=2, retry_after=1, headers={"retry-after-ms": "1"})
    client.containers.create(name="box")
    attempts = mock.journal.filter(operation="CreateContainer")
    assert [each["status"] for each in attempts] == [429, 429, 200]
    assert [each["request"]["headers"]["x-stainless-retry-count"] for each in attempts] == ["0", "1", "2"]
    assert [each["response"]["headers"].get("retry-after") for each in attempts] == ["1", "1", None]
    assert mock.api_key not in json.dumps(list(mock.journal))


def test_the_journal_is_read_in_every_way(mock: MockWorld, client: openai.OpenAI) -> None:
    journal = mock.journal
    assert (len(journal), journal.list(), journal.last(), journal.shown()) == (0, [], [], "")
    boxes = [client.containers.create(name=f"box {number}") for number in range(3)]
    names(client)
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


def test_a_long_journal_is_read_to_its_end(mock: MockWorld, server: MockServer) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for _ in range(250):
            ask(connection, "GET", f"/w/{mock.world}/v1/containers")
    assert [each["number"] for each in mock.journal] == list(range(1, 251))
    assert [each["number"] for each in mock.journal.last(3)] == [248, 249, 250]


def test_the_journal_is_waited_for(mock: MockWorld, client: openai.OpenAI) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waited = threads.submit(mock.journal.wait, 2, "5m", operation="CreateContainer")
        for name in ("one", "two"):
            client.containers.create(name=name)
        assert len(waited.result()) == 2
    with pytest.raises(TimeoutError, match=r"(?s)CreateContainer|#2 .*POST   /v1/containers  200"):
        mock.journal.wait(3, 0.01)


def test_the_verdict_is_a_readable_report(mock: MockWorld, client: openai.OpenAI) -> None:
    assert mock.verdict()
    client.containers.create(name="box")
    verdict = mock.verdict()
    assert not verdict.ok
    (finding,) = verdict.findings
    first, proof = str(verdict).splitlines()
    assert first == f"{finding['name']}: {finding['message']}"
    assert re.fullmatch(r"  #1    \d\d:\d\d:\d\d  POST   /v1/containers  200  \d+ ms", proof)
    assert mock.verdict(ignore=[finding["name"]]).ok
    assert str(mock.verdict(ignore=[finding["name"]])) == "No mistakes of the client were found."


# Many at once


def ask(connection: http.client.HTTPConnection, method: str, url: str, body: Any = None) -> tuple[int, Any]:
    connection.request(method, url, json.dumps(body), {"api-key": "any", "content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def work_alone(server: MockServer, rounds: int, number: int) -> None:
    """In one world among many do everything that others must not notice, and notice nothing of theirs."""
    at, broken = NOON + number * 1_000_000, 500 + number
    with server.world() as world, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as client:
        containers = f"/w/{world.world}/v1/containers"
        for turn in range(rounds):
            world.clock.freeze(at)
            status, box = ask(client, "POST", containers, {"name": f"{number}-{turn}"})
            assert (status, box["created_at"]) == (200, at)
            world.faults.add(status=broken, times=1)
            assert ask(client, "GET", containers)[0] == broken
            assert [each["id"] for each in ask(client, "GET", containers)[1]["data"]] == [box["id"]]
            assert world.clock.advance("20m")["expired_containers"] == [box["id"]]
            world.reset()
            assert ask(client, "GET", containers)[1]["data"] == []


@pytest.mark.parametrize("rounds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_no_world_sees_another(server: MockServer, rounds: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        for done in [threads.submit(work_alone, server, rounds, number) for number in range(32)]:
            done.result()
