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
from typing import Any

import pytest
from conftest import World, ok

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
    assert [each for each in caplog.records if each.name == "mockserver.requests"] == []


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
