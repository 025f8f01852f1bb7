"""The log of requests, hints in error responses, base URLs without /v1, and seeded worlds before their first use."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import World, ok

from mockserver.api.operation import MAX_UNKNOWN
from mockserver.cli.log import MAX_UNWRITTEN, Log
from mockserver.server.serving import MockServer

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MOCKSERVER_")}
SECRET = "sk-7f3a9-very-secret"  # not a real key

Lines = Callable[[], list[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[MockServer]:
    """A server for this module only, so that no other test writes to its log."""
    with MockServer() as running:
        yield running


@pytest.fixture
def lines(world: World, caplog: pytest.LogCaptureFixture) -> Lines:
    """Return a function that returns the lines of the log, once all earlier requests of the test are logged."""
    caplog.set_level(logging.INFO, "mockserver.requests")

    def read() -> list[str]:
        world.http.get("/containers/last")  # on the same connection, so it is handled after the others are logged
        messages = [each.getMessage() for each in caplog.records if each.name == "mockserver.requests"]
        # The last request of an earlier test may be logged late.
        return [line for line in messages if "/containers/last" not in line]

    return read


# The log of requests


def test_each_request_is_one_line_of_the_log(world: World, lines: Lines) -> None:
    ok(world.http.post("/containers", params={"token": SECRET}, json={"name": SECRET}))
    line = lines()[0]
    assert re.fullmatch(rf"POST /w/{world.name}/v1/containers 200 \d+\.\dms world={world.name}", line)


def test_a_line_of_the_log_names_the_fault_that_fired(world: World, lines: Lines) -> None:
    rule = world.server.control("POST", f"worlds/{world.name}/faults", {"effect": {"status": 503}})
    world.http.get("/containers")
    world.server.control("DELETE", f"worlds/{world.name}/faults/{rule['id']}")
    assert lines()[0].endswith(f" world={world.name} fault={rule['id']}")


def test_a_request_without_a_valid_key_is_logged_without_a_world(world: World, lines: Lines) -> None:
    world.http.get("/containers", headers={"Authorization": ""})
    assert re.fullmatch(rf"GET /w/{world.name}/v1/containers 401 \d+\.\dms world=-", lines()[0])


def test_an_invalid_world_name_in_a_key_is_not_logged(world: World, lines: Lines) -> None:
    url = f"{world.server.url}/v1/containers"
    world.http.get(url, headers={"Authorization": "Bearer sk-world-a b=c"})
    assert re.fullmatch(r"GET /v1/containers 400 \d+\.\dms world=-", lines()[0])


def test_requests_are_not_logged_by_default(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ok(world.http.get("/containers"))
    world.http.get("/containers/last")
    assert [each for each in caplog.records if world.name in each.getMessage()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables", "logged"),
    [
        ([], {}, True),
        (["--quiet"], {}, False),
        (["--quiet", "--log-level", "debug"], {}, False),
        ([], {"MOCKSERVER_QUIET": "1"}, False),
        (["--log-level", "warning"], {}, False),
    ],
)
def test_serve_logs_requests_unless_it_is_quiet(arguments: list[str], variables: dict[str, str], logged: bool) -> None:
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--json", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT | variables, **pipes) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["base_url"]
        headers = {"Authorization": f"Bearer {SECRET}"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/containers", headers=headers)) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=120)
    requests = re.findall(r"^\S+ \S+ INFO GET /v1/containers 200 \d+\.\dms world=default$", log, re.MULTILINE)
    assert len(requests) == logged
    assert SECRET not in log
    if "debug" not in arguments:
        assert log.count("\n") == logged


@pytest.mark.slow
def test_requests_succeed_while_nothing_reads_the_log() -> None:
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--host", "127.0.0.1", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["base_url"]
        with httpx2.Client(headers={"api-key": "k"}, timeout=60) as client:
            for _ in range(1_500):  # a pipe holds some 700 lines
                assert client.get(f"{url}/containers?limit=1").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_log_lines_that_are_not_read_in_time_are_dropped_and_counted() -> None:
    read_end, write_end = os.pipe()
    log = Log(write_end)
    for number in range(40_000):
        log.request(f"{number} {'x' * 40}")
    with ThreadPoolExecutor() as pool, os.fdopen(read_end) as reader:
        reading = pool.submit(reader.read)
        log.close()
        os.close(write_end)
        output = reading.result()
    numbers = [int(number) for number in re.findall(r" INFO (\d+) x{40}$", output, re.MULTILINE)]
    dropped = re.findall(
        r" WARNING (\d+) lines of the log were dropped: nothing read them in time$", output, re.MULTILINE
    )
    assert numbers == sorted(set(numbers))
    assert len(numbers) + sum(map(int, dropped)) == 40_000
    assert len(numbers) + len(dropped) == output.count("\n")
    assert MAX_UNWRITTEN / 2 < len(output) < 2 * MAX_UNWRITTEN + 200_000


def test_a_log_whose_reader_has_closed_raises_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = Log(write_end)
    log.request("line")
    log.close()
    os.close(write_end)


# Hints

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
HINT = (
    "mockserver emulates /v1/containers, /v1/files, /v1/responses, /v1/skills, /v1/uploads; "
    "/openapi.json lists all operations"
)


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", ""])
def test_a_path_that_is_not_emulated_gets_a_hint(world: World, prefix: str) -> None:
    url = f"{world.server.url}/w/{world.name}{prefix}/chat/completions"
    response = world.http.post(url, json=CHAT)
    assert (response.status_code, response.headers["x-mock-hint"]) == (404, HINT)


@pytest.mark.parametrize("operation", ["input_tokens", "compact"])
def test_an_operation_of_responses_that_is_not_emulated_gets_a_hint(world: World, operation: str) -> None:
    response = world.http.post(f"/responses/{operation}", json={"model": "gpt-5", "input": "hello"})
    assert (response.status_code, response.headers["x-mock-hint"]) == (404, HINT)
    assert response.json()["error"]["message"].startswith("Invalid URL (POST ")


def test_a_response_with_a_hint_has_the_body_of_the_live_api(world: World) -> None:
    response = world.http.post(f"{world.server.url}/v1/chat/completions", json=CHAT)
    message = "Invalid URL (POST /v1/chat/completions)"
    expected = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    assert response.json() == {"error": expected}


def test_errors_of_emulated_paths_have_no_hint(world: World) -> None:
    for response in (world.http.get("/containers/cntr_1"), world.http.put("/containers")):
        assert response.status_code in (404, 405)
        assert "x-mock-hint" not in response.headers


def test_each_unknown_path_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with MockServer() as server:
        for number in (1, 1, *range(2, 2 * MAX_UNKNOWN)):
            world.http.post(f"{server.url}/w/{world.name}/v1/embeddings/e_{number}?token={SECRET}")
    records = [each for each in caplog.records if "is not emulated" in each.getMessage()]
    first = f"POST /w/{world.name}/v1/embeddings/e_1 is not emulated: {HINT} (logged once)"
    assert (records[0].levelname, records[0].getMessage()) == ("WARNING", first)
    assert len({each.getMessage() for each in records}) == len(records) == MAX_UNKNOWN


# Base URLs without /v1


@pytest.mark.parametrize("path", ["/containers", "/files"])
def test_a_path_without_v1_is_accepted(world: World, path: str) -> None:
    response = world.http.get(f"{world.server.url}/w/{world.name}{path}")
    assert ok(response)["object"] == "list"
    assert "x-mock-hint" not in response.headers


@pytest.mark.parametrize("path", ["/containers", "/files"])
def test_the_live_profile_rejects_a_path_without_v1(live_world: World, path: str) -> None:
    bare = f"/w/{live_world.name}{path}"
    response = live_world.http.get(live_world.server.url + bare)
    expected = {"message": f"Invalid URL (GET {path})", "type": "invalid_request_error", "param": None, "code": None}
    assert (response.status_code, response.json()) == (404, {"error": expected})
    assert response.headers["x-mock-hint"] == "the live API's paths begin with /v1: add it to the base URL"
    assert response.text == live_world.http.get(f"{path}/a/b/c/d").text.replace("/v1", "").replace("/a/b/c/d", "")
    assert ok(live_world.http.get(path))["object"] == "list"


@pytest.mark.parametrize(
    "path", ["/containers", "/openai/containers?api-version=none", "/openai/v1/files?api-version=1"]
)
def test_a_path_that_the_live_profile_rejects_creates_no_world(path: str) -> None:
    with MockServer(profile="live") as server, httpx2.Client(headers={"api-key": "k"}) as client:
        assert client.get(f"{server.url}/w/new{path}").status_code in (400, 404)
        fault = {"X-Mock-Fault": "server_error"}
        assert client.get(f"{server.url}/w/new{path}", headers=fault).status_code == 500
        assert [each["name"] for each in server.control("GET", "worlds")["data"]] == []
        assert ok(client.get(f"{server.url}/w/new/v1/containers"))["data"] == []
        assert [each["name"] for each in server.control("GET", "worlds")["data"]] == ["new"]


def test_the_profile_of_a_world_decides_whether_paths_without_v1_are_accepted(world: World) -> None:
    url = f"{world.server.url}/w/{world.name}/containers"
    world.server.control("PUT", f"worlds/{world.name}/profile", {"switches": {"bare_paths": False}})
    assert world.http.get(url).status_code == 404
    world.server.control("PUT", f"worlds/{world.name}/profile", {"switches": {"bare_paths": True}})
    assert world.http.get(url).status_code == 200


# Seeded worlds, before their first use

SEED = """
version: 1
containers: [{name: everywhere}]
worlds:
  blue:
    containers: [{name: one}, {name: two}]
    clock: {at: "2026-06-24T18:04:00Z", rate: 0}
    profile: live
"""


@pytest.fixture
def seeded(tmp_path: Path) -> Iterator[MockServer]:
    (tmp_path / "seed.yaml").write_text(SEED)
    with MockServer(seed=(tmp_path / "seed.yaml",), data=tmp_path / "data") as server:
        yield server


def directories(server: MockServer) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in (server.mock.directory / "worlds").iterdir())


def worlds(server: MockServer) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in server.control("GET", "worlds")["data"]}


def test_seeded_worlds_are_listed_before_their_first_use(seeded: MockServer) -> None:
    listed = worlds(seeded)
    assert {name: each["counts"]["containers"] for name, each in listed.items()} == {"blue": 3, "default": 1}
    assert listed["blue"]["profile_name"] == "live"
    assert listed["blue"]["clock"]["now"] == 1_782_324_240
    assert {each["used_at"] for each in listed.values()} == {None}
    assert seeded.state()["worlds"] == 2
    assert seeded.control("GET", "worlds/blue") == listed["blue"]
    assert directories(seeded) == []


def test_a_seeded_world_does_not_change_when_it_is_first_used(seeded: MockServer) -> None:
    before = worlds(seeded)["blue"]
    with World(seeded, "blue") as blue:
        assert {each["name"] for each in ok(blue.http.get("/containers"))["data"]} == {"everywhere", "one", "two"}
    after = worlds(seeded)["blue"]
    assert directories(seeded) == ["blue"]
    differences = {key for key in before if before[key] != after[key]}
    assert differences == {"used_at", "exchanges"}


def test_a_seeded_world_can_be_read_forked_and_created_again_before_its_first_use(seeded: MockServer) -> None:
    assert seeded.control("GET", "worlds/blue/containers")["total"] == 3
    assert seeded.control("POST", "worlds/green", {"fork_of": "default"})["counts"]["containers"] == 1
    seeded.control("DELETE", "worlds/default")
    assert seeded.control("POST", "worlds/default", {"empty": True})["counts"]["containers"] == 0
    assert worlds(seeded).keys() == {"blue", "default", "green"}


@pytest.mark.parametrize("used", [False, True])
def test_a_deleted_seeded_world_is_listed_again_once_it_is_used(seeded: MockServer, used: bool) -> None:
    with World(seeded, "blue") as blue:
        if used:
            ok(blue.http.get("/containers"))
        seeded.control("DELETE", "worlds/blue")
        assert worlds(seeded).keys() == {"default"}
        assert len(ok(blue.http.get("/containers"))["data"]) == 3
    assert worlds(seeded).keys() == {"blue", "default"}


def test_a_request_for_an_unknown_path_creates_no_directory_of_a_seeded_world(seeded: MockServer) -> None:
    with World(seeded, "blue") as blue:
        assert blue.http.get("/nothing").status_code == 404
    assert directories(seeded) == []


def test_a_server_without_seeds_lists_no_world() -> None:
    with MockServer() as server:
        assert worlds(server) == {}
