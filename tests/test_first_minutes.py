"""What somebody sees who starts the server for the first time: the log, hints, and the list of worlds."""

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

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MOCKSERVER_")}
SECRET = "sk-7f3a9-very-secret"  # no credential of anything

Lines = Callable[[], list[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[MockServer]:
    """A server of these tests alone, so that its log is theirs."""
    with MockServer() as running:
        yield running


@pytest.fixture
def lines(world: World, caplog: pytest.LogCaptureFixture) -> Lines:
    """The lines on requests of this test's world, which are complete when the next request is sent."""
    caplog.set_level(logging.INFO, "mockserver.requests")

    def read() -> list[str]:
        world.http.get("/containers/last")  # on the connection of the others: it is handled after they were logged
        found = [each.getMessage() for each in caplog.records if each.name == "mockserver.requests"]
        return [line for line in found if "/containers/last" not in line]  # that of the test before may come late

    return read


# The log of requests


def test_a_request_is_one_line(world: World, lines: Lines) -> None:
    ok(world.http.post("/containers", params={"token": SECRET}, json={"name": SECRET}))
    line = lines()[0]
    assert re.fullmatch(rf"POST /w/{world.name}/v1/containers 200 \d+\.\dms world={world.name}", line)


def test_a_line_names_the_fault_that_fired(world: World, lines: Lines) -> None:
    rule = world.server.control("POST", f"worlds/{world.name}/faults", {"effect": {"status": 503}})
    world.http.get("/containers")
    world.server.control("DELETE", f"worlds/{world.name}/faults/{rule['id']}")
    assert lines()[0].endswith(f" world={world.name} fault={rule['id']}")


def test_a_request_without_a_valid_key_is_logged_too(world: World, lines: Lines) -> None:
    world.http.get("/containers", headers={"Authorization": ""})
    assert re.fullmatch(rf"GET /w/{world.name}/v1/containers 401 \d+\.\dms world=-", lines()[0])


def test_no_name_of_a_world_breaks_a_line(world: World, lines: Lines) -> None:
    url = f"{world.server.url}/v1/containers"
    world.http.get(url, headers={"Authorization": "Bearer sk-world-a b=c"})
    assert re.fullmatch(r"GET /v1/containers 400 \d+\.\dms world=-", lines()[0])


def test_nothing_is_logged_by_default(world: World, caplog: pytest.LogCaptureFixture) -> None:
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
    with subprocess.Popen(command, env=CLEAN | variables, **pipes) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["base_url"]
        headers = {"Authorization": f"Bearer {SECRET}"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/containers", headers=headers)) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=120)
    found = re.findall(r"^\S+ \S+ INFO GET /v1/containers 200 \d+\.\dms world=default$", log, re.MULTILINE)
    assert len(found) == logged
    assert SECRET not in log
    if "debug" not in arguments:
        assert log.count("\n") == logged


@pytest.mark.slow
def test_a_log_that_nobody_reads_stops_no_request() -> None:
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--host", "127.0.0.1", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=CLEAN, **pipes) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["base_url"]
        with httpx2.Client(headers={"api-key": "k"}, timeout=60) as client:
            for _ in range(1_500):  # a pipe takes some 700 lines
                assert client.get(f"{url}/containers?limit=1").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    reads, writes = os.pipe()
    log = Log(writes)
    for number in range(40_000):
        log.request(f"{number} {'x' * 40}")
    with ThreadPoolExecutor() as pool, os.fdopen(reads) as reader:
        read = pool.submit(reader.read)
        log.close()
        os.close(writes)
        found = read.result()
    numbers = [int(number) for number in re.findall(r" INFO (\d+) x{40}$", found, re.MULTILINE)]
    dropped = re.findall(
        r" WARNING (\d+) lines of the log were dropped: nothing read them in time$", found, re.MULTILINE
    )
    assert numbers == sorted(set(numbers))
    assert (len(numbers) + sum(map(int, dropped)), len(numbers) + len(dropped)) == (40_000, found.count("\n"))
    assert MAX_UNWRITTEN / 2 < len(found) < 2 * MAX_UNWRITTEN + 200_000


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    log = Log(writes)
    log.request("line")
    log.close()
    os.close(writes)


# Hints

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
HINT = (
    "mockserver emulates /v1/containers, /v1/files, /v1/responses, /v1/skills, /v1/uploads; "
    "/openapi.json lists all operations"
)


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", ""])
def test_what_is_not_emulated_gets_a_hint(world: World, prefix: str) -> None:
    url = f"{world.server.url}/w/{world.name}{prefix}/chat/completions"
    response = world.http.post(url, json=CHAT)
    assert (response.status_code, response.headers["x-mock-hint"]) == (404, HINT)


def test_the_hint_changes_nothing_else(world: World) -> None:
    response = world.http.post(f"{world.server.url}/v1/chat/completions", json=CHAT)
    message = "Invalid URL (POST /v1/chat/completions)"
    expected = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    assert response.json() == {"error": expected}


def test_other_errors_get_no_hint(world: World) -> None:
    for response in (world.http.get("/containers/cntr_1"), world.http.put("/containers")):
        assert response.status_code in (404, 405)
        assert "x-mock-hint" not in response.headers


def test_each_unknown_path_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with MockServer() as server:
        for number in (1, 1, *range(2, 2 * MAX_UNKNOWN)):
            world.http.post(f"{server.url}/w/{world.name}/v1/embeddings/e_{number}?token={SECRET}")
    found = [each for each in caplog.records if "is not emulated" in each.getMessage()]
    first = f"POST /w/{world.name}/v1/embeddings/e_1 is not emulated: {HINT} (logged once)"
    assert (found[0].levelname, found[0].getMessage()) == ("WARNING", first)
    assert len({each.getMessage() for each in found}) == len(found) == MAX_UNKNOWN


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


def test_a_world_decides_on_paths_without_v1(world: World) -> None:
    url = f"{world.server.url}/w/{world.name}/containers"
    world.server.control("PUT", f"worlds/{world.name}/profile", {"switches": {"bare_paths": False}})
    assert world.http.get(url).status_code == 404
    world.server.control("PUT", f"worlds/{world.name}/profile", {"switches": {"bare_paths": True}})
    assert world.http.get(url).status_code == 200


# Worlds that a seed describes, before their first use

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


def test_a_listed_world_is_the_same_when_it_is_used(seeded: MockServer) -> None:
    before = worlds(seeded)["blue"]
    with World(seeded, "blue") as blue:
        assert {each["name"] for each in ok(blue.http.get("/containers"))["data"]} == {"everywhere", "one", "two"}
    after = worlds(seeded)["blue"]
    assert directories(seeded) == ["blue"]
    differences = {key for key in before if before[key] != after[key]}
    assert differences == {"used_at", "exchanges"}


def test_a_listed_world_can_be_looked_into_forked_and_created(seeded: MockServer) -> None:
    assert seeded.control("GET", "worlds/blue/containers")["total"] == 3
    assert seeded.control("POST", "worlds/green", {"fork_of": "default"})["counts"]["containers"] == 1
    seeded.control("DELETE", "worlds/default")
    assert seeded.control("POST", "worlds/default", {"empty": True})["counts"]["containers"] == 0
    assert worlds(seeded).keys() == {"blue", "default", "green"}


@pytest.mark.parametrize("used", [False, True])
def test_a_deleted_world_is_not_listed_until_it_is_used(seeded: MockServer, used: bool) -> None:
    with World(seeded, "blue") as blue:
        if used:
            ok(blue.http.get("/containers"))
        seeded.control("DELETE", "worlds/blue")
        assert worlds(seeded).keys() == {"default"}
        assert len(ok(blue.http.get("/containers"))["data"]) == 3
    assert worlds(seeded).keys() == {"blue", "default"}


def test_a_request_for_an_unknown_url_creates_no_listed_world(seeded: MockServer) -> None:
    with World(seeded, "blue") as blue:
        assert blue.http.get("/nothing").status_code == 404
    assert directories(seeded) == []


def test_a_server_without_seeds_lists_no_world() -> None:
    with MockServer() as server:
        assert worlds(server) == {}
