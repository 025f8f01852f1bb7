"""`mockserver run`: reports of the verdict for other programs, and `--keep-open`."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openai
import pytest
from test_commands import COMMAND, ENVIRONMENT, OPENAI, python, run

from mockserver.cli import reports
from mockserver.server.serving import MockServer
from mockserver.verdict import FINDINGS

pytestmark = pytest.mark.slow  # starts processes

NEVER_DELETED = "container-never-deleted"
LEAVES_A_CONTAINER = OPENAI + "client.containers.create(name='left')\n"
FINDINGS_BY_WORLD = {
    "default": [
        {"name": NEVER_DELETED, "message": "100% <b>&\x1b[2J,\r\nnext: \ufffe", "exchanges": [3, 4]},
        {"name": NEVER_DELETED, "message": "again", "exchanges": []},
    ],
    "other": [],
}


def test_a_junit_report_has_a_case_for_each_world_and_finding() -> None:
    (suite,) = ElementTree.fromstring(reports.junit(FINDINGS_BY_WORLD, ["use-after-expiry"]))
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": str(2 * len(FINDINGS)), "failures": "1", "skipped": "2", "errors": "0"}
    cases = [(case.get("classname"), case.get("name")) for case in suite]
    assert cases == [(f"mockserver.{world}", name) for world in FINDINGS_BY_WORLD for name in FINDINGS]


def test_a_junit_report_is_valid_xml_whatever_a_message_contains() -> None:
    (failure,) = ElementTree.fromstring(reports.junit(FINDINGS_BY_WORLD, [])).iter("failure")
    first = "100% <b>&\\x1b[2J,\r\nnext: \\ufffe [#3, #4]"
    assert failure.get("message") == first
    assert failure.text is not None
    assert failure.text.splitlines()[-1] == "again"


def test_github_annotations_are_escaped() -> None:
    first, second = reports.annotations(FINDINGS_BY_WORLD)
    message = "world default: 100%25 <b>&\\x1b[2J,%0D%0Anext: \\ufffe [#3, #4]"
    assert first == f"::warning title=mockserver%3A {NEVER_DELETED}::{message}"
    assert second.endswith("::world default: again")


def test_reports_without_verdict_do_not_fail_the_run(tmp_path: Path) -> None:
    file = tmp_path / "verdict.xml"
    done = run("--junit", str(file), "--github", *python(LEAVES_A_CONTAINER))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"::warning title=mockserver%3A {NEVER_DELETED}::world default: .*\n", done.stdout)
    (failure,) = ElementTree.parse(file).getroot().iter("failure")
    assert failure.get("type") == NEVER_DELETED


def test_reports_and_the_verdict_use_the_same_ignored_findings(tmp_path: Path) -> None:
    variables = {"MOCKSERVER_JUNIT": str(tmp_path / "verdict.xml"), "MOCKSERVER_GITHUB": "1"}
    done = run("--verdict", "--ignore", NEVER_DELETED, *python(LEAVES_A_CONTAINER), **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list(ElementTree.parse(tmp_path / "verdict.xml").getroot().iter("skipped"))) == 1
    assert run(*python(LEAVES_A_CONTAINER), MOCKSERVER_VERDICT="1", **variables).returncode == 1
    assert len(list(ElementTree.parse(tmp_path / "verdict.xml").getroot().iter("failure"))) == 1


def test_a_variable_names_findings_to_ignore() -> None:
    variables = {"MOCKSERVER_VERDICT": "1", "MOCKSERVER_IGNORE": f"use-after-expiry,{NEVER_DELETED}"}
    done = run(*python(LEAVES_A_CONTAINER), **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("folder", ["file", "missing"])
def test_a_report_in_no_directory_is_an_error_before_the_command_runs(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    done = run("--junit", str(tmp_path / folder / "verdict.xml"), "--", "echo", "it ran")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / folder} is not a directory; create it" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


USES_A_WORLD = (
    OPENAI
    + """
import os
from mockserver import Server

with Server(os.environ["MOCKSERVER_URL"]).world("own") as world:
    openai.OpenAI(base_url=world.base_url).containers.create(name="left")
    {before_the_end}
"""
)


@pytest.mark.parametrize(
    ("before_the_end", "code"), [("pass", 1), ("world.journal.clear()", 0), ("world.reset()", 0)], ids=str
)
def test_the_verdict_covers_worlds_that_the_command_deletes(before_the_end: str, code: int, tmp_path: Path) -> None:
    program = USES_A_WORLD.format(before_the_end=before_the_end)
    done = run("--verdict", "--junit", str(tmp_path / "verdict.xml"), *python(program))
    assert done.returncode == code
    found = re.findall(
        rf"^mockserver: world own \(deleted\): 1 found\nmockserver:   {NEVER_DELETED}: ", done.stderr, re.M
    )
    assert len(found) == code
    assert len(list(ElementTree.parse(tmp_path / "verdict.xml").getroot().iter("failure"))) == code
    assert run("--verdict", "--ignore", NEVER_DELETED, *python(program)).returncode == 0


def test_findings_of_deleted_worlds_are_kept_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_KEPT", 2)
    with MockServer() as server:
        deleted = reports.Deleted(server.mock, [])
        for number in range(3):
            with server.world(f"w{number}") as world:
                openai.OpenAI(base_url=world.base_url, api_key="any").containers.create(name="left")
        assert (list(deleted.verdicts()), deleted.dropped) == (["w0 (deleted)", "w1 (deleted)"], 1)


def test_a_verdict_that_fails_does_not_keep_a_world_from_being_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("no verdict")

    with MockServer() as server:
        deleted = reports.Deleted(server.mock, [])
        with server.world("w") as world:
            openai.OpenAI(base_url=world.base_url, api_key="any").containers.create(name="left")
            monkeypatch.setattr("mockserver.control.routes.journal.judged", fail)
        assert not server.mock.worlds.exists("w")
        assert [each["message"] for each in deleted.verdicts()["w (deleted)"]["findings"]] == ["no verdict"]


def test_a_world_that_is_used_while_it_is_checked_is_not_retired(monkeypatch: pytest.MonkeyPatch) -> None:
    with MockServer() as server:
        client = openai.OpenAI(base_url=f"{server.url}/w/w/v1", api_key="any")
        client.containers.create(name="before")

        async def use(_: str) -> None:
            await server.mock.worlds.enter("w")

        server.mock.worlds.leaving = use
        assert server.run(server.mock.worlds.retire(0.0)) == []
        assert len(client.containers.list().data) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_keep_open_keeps_the_server_after_a_failed_command_until_a_signal(number: signal.Signals) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [*COMMAND, "run", "--keep-open", "--", sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **pipes) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            (url,) = re.findall(r"^mockserver: failed with exit code 7; see (http://\S+/)_mock/ .*Ctrl-C$", line)
            with urllib.request.urlopen(f"{url}health") as response:
                assert response.status == 200
            assert process.poll() is None
            process.send_signal(number)
            assert (process.wait(120), process.stderr.read()) == (7, "")
        finally:
            process.kill()


def test_keep_open_stops_the_server_after_a_command_that_succeeds_or_is_terminated() -> None:
    done = run("--keep-open", "--", "true")
    assert (done.returncode, done.stderr) == (0, "")
    stop = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"
    done = run("--keep-open", *python(stop))
    assert (done.returncode, done.stderr) == (143, "")
