"""The commands of the control plane and `mockserver run` as processes, and the GitHub action."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml
from click.testing import CliRunner
from conftest import World
from test_testing import responding

from mockserver.cli import control, fault_options, main, output
from mockserver.schema import faults
from mockserver.server.serving import MockServer

pytestmark = pytest.mark.slow  # starts processes

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "fixtures" / "seeds"
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("MOCKSERVER_", "OPENAI_", "AZURE_")) and not name.lower().endswith("_proxy")
}
"""The environment without variables that the commands and clients of the API read."""
COMMAND = [sys.executable, "-m", "mockserver"]
Completed = subprocess.CompletedProcess[str]


def process(*arguments: str, **environment: str) -> Completed:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=ENVIRONMENT | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


class Client:
    """Run commands on one world: `client("clock", "freeze")` returns the output of `mockserver clock freeze`."""

    def __init__(self, world: World) -> None:
        self.environment = {"MOCKSERVER_URL": world.server.url, "MOCKSERVER_WORLD": world.name}

    def __call__(self, *arguments: str) -> str:
        done = process(*arguments, **self.environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def error(self, *arguments: str, code: int = 1) -> str:
        """Run a command that fails, and return what it prints to standard error."""
        done = process(*arguments, **self.environment)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert code == 2 or done.stderr.count("\n") == 1
        return done.stderr


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)


def cells(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


# Worlds, clocks, snapshots and archives


def test_worlds_are_listed_in_columns(world: World, client: Client) -> None:
    world.http.post("/containers", json={"name": "box"})
    heading, *lines = client("world", "list").splitlines()
    (line,) = (line for line in lines if cells(line)[0] == world.name)
    assert cells(heading)[:3] == ["WORLD", "FILES", "CONTAINERS"]
    assert cells(line)[1:3] == ["0", "1"]
    end = heading.index("CONTAINERS") + len("CONTAINERS")
    assert line[end - 1 : end + 1] == "1 ", "numbers are aligned to the right"


def test_a_world_can_be_created_forked_reset_and_deleted(world: World, client: Client) -> None:
    world.http.post("/containers", json={"name": "box"})
    fork = f"{world.name}-fork"
    assert cells(client("world", "create", fork, "--fork-of", world.name).splitlines()[4])[1] == "1 (0 files)"
    assert client.json("world", "show", fork)["counts"]["containers"] == 1
    assert "uploads     0 (0 parts)\n" in client("world", "show", fork)
    assert not client.json("world", "profile", "live", "--world", fork)["profile"]["created_at_expiry"]
    assert "already" in client.error("world", "create", fork)
    assert client("world", "delete", fork) == f"deleted: {fork}\n"
    assert "mockserver world list" in client.error("world", "show", fork)
    assert "--fork-of" in client.error("world", "create", fork, "--snapshot", "s", code=2)
    assert client.json("reset", "--empty")["counts"]["containers"] == 0


def test_a_clock_can_be_frozen_moved_scaled_and_reset(world: World, client: Client) -> None:
    assert client("clock", "freeze", "2026-06-24T18:04:00Z") == "clock  frozen 2026-06-24 18:04:00Z\n"
    assert client.json("clock", "freeze", "1782324240.5")["now"] == 1782324240.5
    box = world.openai.containers.create(name="box")
    lines = client("clock", "advance", "20m").splitlines()
    assert [cells(line) for line in lines] == [
        ["clock", "frozen 2026-06-24 18:24:00Z"],
        ["expired containers", box.id],
    ]
    assert client.json("clock", "show")["mode"] == "frozen"
    assert client.json("clock", "offset", "-1h")["mode"] == "offset"
    assert "scaled x60" in client("clock", "scale", "60")
    assert client.json("clock", "resume")["rate"] == 1
    assert client.json("clock", "reset")["mode"] == "real"
    assert "not a duration" in client.error("clock", "advance", "soon", code=2)
    for arguments in (["advance", "-5m"], ["advance", "--", "-5m"]):
        assert "to move it back, use offset" in client.error("clock", *arguments, code=2)


def test_a_snapshot_can_be_taken_restored_and_deleted(world: World, client: Client) -> None:
    world.http.post("/containers", json={"name": "kept"})
    assert cells(client("snapshot", "take", "before").splitlines()[1])[:2] == ["before", world.name]
    world.http.post("/containers", json={"name": "gone"})
    assert client("snapshot", "restore", "before").startswith(f"world     {world.name}\n")
    assert [each["name"] for each in world.http.get("/containers").json()["data"]] == ["kept"]
    assert client("snapshot", "delete", "before") == client("snapshot", "list") == "There are no snapshots.\n"
    assert "mockserver snapshot list" in client.error("snapshot", "restore", "before")


def test_a_world_can_be_exported_and_imported(world: World, client: Client, tmp_path: Path) -> None:
    box = world.openai.containers.create(name="box")
    world.openai.containers.files.create(box.id, file=("a.txt", b"bytes"))
    archive = tmp_path / "world.zip"
    assert client("export", str(archive)) == f"{archive}: {archive.stat().st_size} bytes\n"
    client("reset", "--empty")
    counts = client.json("import", str(archive))["counts"]
    assert {kind: number for kind, number in counts.items() if number} == {"containers": 1, "container_files": 1}
    assert world.openai.containers.retrieve(box.id).name == "box"
    assert client.json("import", "--add", str(SHIPPED / "minimal.yaml"))["counts"]["containers"] == 2
    assert [each.name for each in tmp_path.iterdir()] == ["world.zip"]
    pipe = f"{sys.executable} -m mockserver export - | {sys.executable} -m mockserver import - --world {world.name}-2"
    piped = subprocess.run(pipe, env=ENVIRONMENT | client.environment, shell=True, capture_output=True, text=True)
    assert (piped.returncode, piped.stderr) == (0, ""), piped
    assert client.json("world", "show", f"{world.name}-2")["counts"]["containers"] == 2
    (tmp_path / "bad.yaml").write_text("version: 1\nboxes: []\n")
    assert f"{tmp_path / 'bad.yaml'}:2: " in client.error("import", str(tmp_path / "bad.yaml"), code=4)
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:100])
    assert f"mockserver: {tmp_path / 'cut.zip'}: " in client.error("import", str(tmp_path / "cut.zip"), code=4)
    assert "another file" in client.error("export", str(tmp_path / "no" / "where.zip"))


# Faults and answers


def test_a_fault_can_be_added_listed_and_removed(world: World, client: Client) -> None:
    added = client.json("fault", "add", "--error", "rate_limited", "--retry-after", "2", "--times", "1")
    assert (added["effect"], added["times"]) == ({"error": "rate_limited", "retry_after": 2}, 1)
    assert world.http.get("/containers").headers["retry-after"] == "2"
    lines = client("fault", "list").splitlines()
    assert client("fault", "show", added["id"]).splitlines() == lines
    assert cells(lines[0]) == ["FAULT", "MATCHED", "FIRED", "HOW OFTEN", "WHERE", "WHAT"]
    assert cells(lines[1]) == [added["id"], "1", "1", "times=1", "every request", "error=rate_limited retry_after=2"]
    assert client("fault", "remove", added["id"]) == client("fault", "clear") == "There are no faults.\n"
    assert "mockserver fault list" in client.error("fault", "remove", added["id"])
    assert "unknown error 'no_such'; choose one of: " in client.error("fault", "add", "--error", "no_such", code=2)
    assert "--error" in client.error("fault", "add", "--times", "1", code=2)
    twice = ["--header", "a=1", "--header", "A=2", "--drop"]
    assert "a is given more than once" in client.error("fault", "add", *twice, code=2)


def test_every_field_of_a_fault_rule_has_an_option(client: Client) -> None:
    options = {
        "operation": "*File", "method": "get", "path": "/containers", "container": "c", "file": "f", "header": "x-a=b*",
        "id": "mine", "times": "2", "skip": "1", "probability": "0.5", "lapse_after": "1h",
        "error": "server_error", "status": "503", "body": '{"a": 1}', "answer_header": "x-b=c", "retry_after": "3",
        "latency": "0.1s..2s", "reset_after": "1", "dribble": "100", "rate_limit": "3/1m",
    }  # fmt: skip
    arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    rule = client.json("fault", "add", *arguments)
    assert rule["match"] == {
        "operation": "*File", "method": "GET", "path": "/containers", "container": "c", "file": "f",
        "header": {"x-a": "b*"},
    }  # fmt: skip
    assert {name: rule[name] for name in ("id", "times", "skip", "probability", "lapse_after")} == {
        "id": "mine", "times": 2, "skip": 1, "probability": 0.5, "lapse_after": 3600,
    }  # fmt: skip
    effect = {
        "error": "server_error", "status": 503, "body": {"a": 1}, "headers": {"x-b": "c"}, "retry_after": 3,
        "latency": {"min": 0.1, "max": 2}, "reset_after": 1, "dribble": 100, "rate_limit": {"requests": 3, "per": 60},
    }  # fmt: skip
    assert rule["effect"] == effect
    for arguments, expected in (
        (["--drop"], {"drop": "before_answer"}),
        (
            ["--has-more", "--empty-page", "--stale-list", "5m"],
            {"has_more": True, "empty_page": True, "stale_list": 300},
        ),
        (["--truncate-after", "9", "--effect", '{"latency": 1}'], {"truncate_after": 9, "latency": 1}),
        (["--abort-upload-after", "5KB"], {"abort_upload_after": 5_120}),
    ):
        added = client.json("fault", "add", *arguments)["effect"]
        assert added == expected
        effect |= added
    assert client.json("fault", "add", "--drop", "--id", "later", "--off")["enabled"] is False
    assert "off" in cells(client("fault", "switch", "later", "off").splitlines()[1])[3]
    assert client.json("fault", "switch", "later", "on")["enabled"] is True
    assert effect.keys() == faults.Effect.model_fields.keys(), "every effect has an option"
    fields = {*faults.Match.model_fields, *faults.NewRule.model_fields, *faults.Effect.model_fields} - {"match"}
    assert {each.name for each in control.add_fault.get_params(click.Context(control.add_fault))} - {
        "world", "url", "token", "as_json", "_click_default_help"
    } == fields  # fmt: skip
    helps = {each.name: each.help for each in fault_options.options() if isinstance(each, click.Option)}
    assert helps["truncate_after"] == (
        "Number of bytes of the body after which the connection is closed, though Content-Length promised more."
    )


def test_answers_can_be_added_from_options_and_from_files(tmp_path: Path, client: Client) -> None:
    (tmp_path / "report.csv").write_bytes(b"a,b\n")
    file = str(tmp_path / "report.csv")
    (added,) = client.json("answer", "add", "--when", "report", "--turn", "2", "--file", file, "--say", "Done.")["data"]
    assert added["when"] == {"turn": 2, "text": "report"}
    assert [(each["path"], each["size"]) for each in added["files"]] == [("/mnt/data/report.csv", 4)]
    script = tmp_path / "answers.yaml"
    script.write_text("{id: one, steps: [{code: c, files: [{path: out/a.csv, from: report.csv}], say: x}], times: 1}")
    (one,) = client.json("answer", "add", str(script))["data"]
    assert [(each["path"], each["size"]) for each in one["steps"][0]["files"]] == [("/mnt/data/out/a.csv", 4)]
    script.write_text("answers: [{id: two, when: hello, say: hi}, {id: three, say: x, skip: 1}]")
    lines = client("answer", "add", str(script)).splitlines()
    assert [cells(line)[0] for line in lines] == ["ANSWER", "two", "three"]
    assert [cells(line)[0] for line in client("answer", "list").splitlines()[1:]] == [
        added["id"],
        "one",
        "two",
        "three",
    ]
    assert cells(client("answer", "show", "one").splitlines()[1])[1:5] == ["world", "0", "0", "times=1"]
    assert "mockserver answer list" in client.error("answer", "remove", "four")
    assert client("answer", "remove", "one").count("\n") == 4
    assert client("answer", "clear") == "There are no answers.\n"

    script.write_text("[{say: x, files: [{path: a, from: gone.csv}]}]")
    assert f"{tmp_path / 'gone.csv'}: No such file" in client.error("answer", "add", str(script), code=2)
    for text in ("[hello]", "[{say: x, files: hello}]", "[{say: x, files: [{path: a, from: 3}]}]", "answers: 5"):
        script.write_text(text)
        assert client.error("answer", "add", str(script), code=2).startswith(f"mockserver: {script}: "), text
    for text in ("[]", "", "answers:"):
        script.write_text(text)
        assert f"{script}: it has no answers" in client.error("answer", "add", str(script), code=2), text
    client("answer", "add", "--say", "x", "--id", "all")
    assert "'never' can never be used" in client.error("answer", "add", "--say", "y", "--id", "never", code=2)
    assert "either a file or options" in client.error("answer", "add", str(script), "--say", "x", code=2)
    assert "--say" in client.error("answer", "add", code=2)
    assert client.error("answer", "add", "--when", "x", code=2).startswith("mockserver: say what the run does")


# Journal and verdict


@pytest.mark.parametrize(
    "arguments",
    [
        ["clock", "advance", "abc"],
        ["clock", "freeze", "tomorrow"],
        ["clock", "scale", "-1"],
        ["clock", "freeze", "-5m"],
        ["answer", "add", "--say", "It is done", "--fail", "rate_limited"],
        ["fault", "add", "--times", "0", "--drop"],
        ["fault", "add", "--path", "/v1/containers", "--drop"],
        ["journal", "list", "--method", "FOO"],
        ["journal", "list", "--status", "abc"],
        ["journal", "wait", "--timeout", "x"],
        ["world", "retire", "--idle", "-1m"],
    ],
    ids=" ".join,
)
def test_an_argument_that_the_server_rejects_is_a_usage_error(client: Client, arguments: list[str]) -> None:
    assert client.error(*arguments, code=2).startswith("mockserver: ")


def test_waiting_for_an_unknown_world_prints_a_warning(world: World, client: Client) -> None:
    done = process("journal", "wait", "--timeout", "0", MOCKSERVER_URL=world.server.url, MOCKSERVER_WORLD="typo")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "mockserver: there is no world 'typo' yet; waiting for its first request"


def test_the_journal_can_be_listed_counted_awaited_and_cleared(world: World, client: Client) -> None:
    box = world.openai.containers.create(name="box\x1b[2J")
    world.http.get("/containers/nope")
    lines = client("journal", "list").splitlines()
    assert cells(lines[0]) == ["NUMBER", "TIME", "STATUS", "MS", "REQUEST"]
    assert cells(lines[1])[4:] == [f"POST /w/{world.name}/v1/containers", f"created {box.id}"]
    assert cells(lines[2])[2] == "404"
    assert "Container with id 'nope' not found." in lines[2]
    assert [each["number"] for each in client.json("journal", "list", "--status", "4xx")["data"]] == [2]
    assert client("journal", "list", "--limit", "1").splitlines()[2] == "More with: --after 1"
    newest = client("journal", "list", "--last", "1").splitlines()
    assert (cells(newest[1])[0], newest[2]) == ("2", "Older ones with: --before 2")
    assert [cells(line)[0] for line in client("journal", "list", "--before", "2").splitlines()[1:]] == ["1"]
    assert len(client("journal", "list").splitlines()) == 3
    assert "either --last or --limit" in client.error("journal", "list", "--last", "3", "--limit", "2", code=2)
    assert [each["number"] for each in client.json("journal", "list", "--failed")["data"]] == [2]
    assert client("journal", "count", "--warning", "*") == "0\n"
    assert client("journal", "count", "--operation", "CreateContainer", "--method", "POST", "--text", "box") == "1\n"
    shown = client("journal", "show", "1").splitlines()
    assert {"operation   CreateContainer", "authorization: …", r'  "name": "box\u001b[2J"'} <= set(shown)
    assert client.json("journal", "wait", "--count", "2")["total"] == 2
    assert "2 of 3" in client.error("journal", "wait", "--count", "3", "--timeout", "0.1")
    assert "no exchange 9" in client.error("journal", "show", "9")
    assert client("journal", "clear") == "deleted: 2\n"
    assert client("journal", "list") == "There are no exchanges.\n"


def test_journal_follow_prints_exchanges_until_it_is_interrupted(world: World, client: Client) -> None:
    world.http.get("/containers")
    command = [*COMMAND, "journal", "follow", "--after", "0", "--json"]
    environment = ENVIRONMENT | client.environment
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as following:
        assert following.stdout
        assert following.stderr
        for number in (1, 2):
            assert json.loads(following.stdout.readline())["number"] == number
            world.http.get("/files")
        following.send_signal(signal.SIGINT)
        assert following.wait(120) == 0
        assert following.stderr.read() == ""


def test_the_verdict_is_printed_and_sets_the_exit_code(world: World, client: Client) -> None:
    world.http.get("/containers")
    assert client("verdict") == f"world {world.name}: nothing found\n"
    box = world.openai.containers.create(name="box")
    done = process("verdict", **client.environment)
    assert (done.returncode, done.stderr) == (1, "")
    heading, finding = done.stdout.splitlines()
    assert heading == f"world {world.name}: 1 found"
    assert finding.startswith("  container-never-deleted: ")
    assert finding.endswith(f"{box.id} [#2]")
    assert json.loads(process("verdict", "--json", **client.environment).stdout)["ok"] is False
    assert client.json("verdict", "--ignore", "container-never-deleted", "--ignore", "paging-stopped")["ok"]


def test_the_verdict_covers_all_worlds_unless_one_is_named(tmp_path: Path) -> None:
    def verdict(*arguments: str) -> tuple[int, str]:
        command = ["verdict", "--url", server.url, *arguments]
        done = CliRunner().invoke(main.main, command, env={"MOCKSERVER_WORLD": None})
        assert done.stderr == ""
        return done.exit_code, done.stdout

    with MockServer() as server:
        assert verdict() == (0, f"{output.NO_WORLDS}\n")
        for name in ("a", "b", "c"):
            server.world(name)
        assert verdict() == (0, "worlds a, b, c: nothing found\n")
        urllib.request.urlopen(
            urllib.request.Request(
                f"{server.url}/w/b/v1/containers",
                b'{"name": "left"}',
                {"Authorization": "Bearer k", "Content-Type": "application/json"},
            )
        ).close()
        code, printed = verdict()
        assert (code, printed.splitlines()[0], printed.splitlines()[-1]) == (
            1,
            "world b: 1 found",
            "worlds a, c: nothing found",
        )
        assert verdict("--world", "a") == (0, "world a: nothing found\n")
        assert verdict("--ignore", "container-never-deleted")[0] == 0
        code, printed = verdict("--json")
        assert {name: each["ok"] for name, each in json.loads(printed)["worlds"].items()} == {
            "a": True, "b": False, "c": True
        }  # fmt: skip
        assert (code, json.loads(printed)["ok"]) == (1, False)
        code, printed = verdict("--github", "--junit", str(tmp_path / "verdict.xml"))
        assert (code, printed.splitlines()[-1][:34]) == (1, "::warning title=mockserver%3A cont")
        (failure,) = ElementTree.parse(tmp_path / "verdict.xml").getroot().iter("failure")
        assert failure.get("type") == "container-never-deleted"
        done = CliRunner().invoke(main.main, ["verdict", "--github", "--json", "--url", server.url])
        assert json.loads(done.stdout)["ok"] is False
        assert done.stderr.startswith("::warning title=mockserver%3A cont")
        assert verdict("--ignore", "paging-stopped,container-never-deleted")[0] == 0
        done = CliRunner().invoke(main.main, ["verdict", "--ignore", "container-never-delted"])
        assert done.exit_code == 2
        assert "did you mean 'container-never-deleted'?" in done.stderr


def test_the_verdict_reports_a_damaged_world_beside_the_others(tmp_path: Path) -> None:
    with MockServer(data=tmp_path / "data") as server:
        for name in ("one", "two"):
            server.world(name)
    (damaged,) = (tmp_path / "data" / "worlds").glob("*-one/world.db")
    damaged.write_bytes(b"no database at all" * 1_000)
    with MockServer(data=tmp_path / "data") as server:
        done = process("verdict", "--url", server.url, "--junit", str(tmp_path / "verdict.xml"), "--github")
        assert (done.returncode, done.stderr) == (1, "")
        first, second, third, fourth = done.stdout.splitlines()
        assert (first, third) == ("world one: 1 found", "world two: nothing found")
        assert second.startswith("  world_unusable: The world 'one' can't be used: ")
        assert fourth.startswith("::warning title=mockserver%3A world_unusable::world one: The world 'one' can't")
        (failure,) = ElementTree.parse(tmp_path / "verdict.xml").getroot().iter("failure")
        assert failure.get("type") == "world_unusable"
        done = process("verdict", "--url", server.url, "--world", "one")
        assert (done.returncode, done.stdout) == (1, "")


# The URL and the token


@pytest.mark.parametrize("url", ["http://localhost:1", "localhost:1", "http://127.0.0.1:1/"])
def test_an_unreachable_server_is_an_error_that_says_what_to_do(url: str) -> None:
    done = process("world", "list", "--url", url)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "start one with `mockserver serve`" in done.stderr


def test_the_url_comes_from_the_flag_or_a_variable(world: World) -> None:
    url = world.server.url
    for arguments, environment in (
        (["--url", url], {"MOCKSERVER_URL": "http://localhost:1", "MOCKSERVER_PORT": "1"}),
        (["--url", f"{url}/v1"], {}),
        ([], {"MOCKSERVER_URL": url, "MOCKSERVER_PORT": "1"}),
        ([], {"MOCKSERVER_PORT": str(world.server.port), "HTTP_PROXY": "http://localhost:1"}),
    ):
        assert process("world", "list", "--json", *arguments, **environment).returncode == 0


@pytest.mark.parametrize("url", ["ftp://localhost", "http://", "http://localhost:x", "http://localhost:0", ""])
def test_an_invalid_url_is_a_usage_error(url: str) -> None:
    done = process("world", "list", "--url", url)
    assert done.returncode == 2
    assert "write it like http://localhost:8080" in done.stderr


def test_a_path_in_the_url_is_kept() -> None:
    response = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"data": []}'
    with responding(response) as (url, received):
        done = CliRunner().invoke(main.main, ["world", "list", "--url", f"{url}/mock/"])
    assert (done.exit_code, done.output) == (0, "There are no worlds yet. The first request to a world creates it.\n")
    assert received[0].startswith(b"GET /mock/_mock/worlds HTTP/1.1\r\n")


def test_the_control_token_is_sent_and_required() -> None:
    with MockServer(control_token="open-sesame") as server:
        assert process("world", "list", "--url", server.url, "--token", "open-sesame").returncode == 0
        assert process("world", "list", MOCKSERVER_URL=server.url, MOCKSERVER_CONTROL_TOKEN="open-sesame").stdout
        done = process("world", "list", "--url", server.url)
    assert done.returncode == 1
    assert "--token" in done.stderr


def test_every_command_sends_the_control_token(tmp_path: Path) -> None:
    archive = tmp_path / "world.zip"
    with MockServer(control_token="open-sesame") as server:
        for command in (
            ["world", "create", "blue"],
            ["world", "profile", "live"],
            ["world", "retire", "--idle", "1h"],
            ["clock", "freeze", "2026-06-24T18:04:00Z"],
            ["clock", "advance", "20m"],
            ["fault", "add", "--error", "rate_limited", "--id", "mine"],
            ["fault", "switch", "mine", "off"],
            ["fault", "clear"],
            ["snapshot", "take", "before"],
            ["snapshot", "restore", "before"],
            ["export", str(archive)],
            ["import", str(archive)],
            ["reset", "--empty"],
            ["journal", "list"],
            ["journal", "clear"],
            ["verdict"],
            ["world", "delete", "blue"],
        ):
            arguments = [*command, "--json", "--url", server.url, "--token", "open-sesame"]
            done = CliRunner().invoke(main.main, arguments)
            assert (done.exit_code, done.stderr) == (0, ""), command


@pytest.mark.parametrize("name", ["a/b", "/", "a b", ".a", "x" * 65])
def test_an_invalid_world_name_is_a_usage_error(client: Client, name: str) -> None:
    assert "can't be a name" in client.error("clock", "show", "--world", name, code=2)
    for arguments, environment in ((["--world", name], {}), ([], {"MOCKSERVER_WORLD": name})):
        done = process("run", *arguments, "--", "true", **environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert "can't be a name" in done.stderr


def test_control_characters_are_escaped_and_wide_characters_aligned() -> None:
    assert output.plain("a\x1b[2Jb\nc") == r"a\x1b[2Jb\nc"
    assert list(output.table(["NAME", "N"], [("箱", 1), ("box", 22)], "")) == ["NAME   N", "箱     1", "box   22"]


# mockserver run


def run(*arguments: str, **environment: str) -> Completed:
    return process("run", *arguments, **environment)


def python(program: str) -> list[str]:
    return ["--", sys.executable, "-c", program]


OPENAI = "import openai; client = openai.OpenAI(max_retries=0)\n"


def test_run_sets_the_environment_of_clients() -> None:
    others = {
        "AZURE_OPENAI_ENDPOINT": "https://example.com",
        "OPENAI_API_KEY": "sk-real",
        "OPENAI_API_TYPE": "azure",
        "OPENAI_API_BASE": "https://example.com/v1",
        "MOCKSERVER_PORT": "1",
        "MOCKSERVER_DATA": str(ROOT / "nowhere"),
        "no_proxy": "example.com",
    }
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    options = ["--api-key", "one", "--api-key", "two", "--world", "blue", "--control-token", "sesame"]
    environment = json.loads(run(*options, *python(program), **others).stdout)
    assert re.fullmatch(r"http://localhost:\d+", environment["MOCKSERVER_URL"])
    assert (
        environment["OPENAI_BASE_URL"] == environment["OPENAI_API_BASE"] == f"{environment['MOCKSERVER_URL']}/w/blue/v1"
    )
    assert environment["OPENAI_API_KEY"] == "one"
    assert (environment["MOCKSERVER_WORLD"], environment["MOCKSERVER_CONTROL_TOKEN"]) == ("blue", "sesame")
    assert environment["NO_PROXY"] == environment["no_proxy"] == "example.com,localhost,127.0.0.1"
    assert not {"AZURE_OPENAI_ENDPOINT", "OPENAI_API_TYPE"} & environment.keys()
    assert not (ROOT / "nowhere").exists()


def test_run_starts_a_server_with_the_options_of_serve() -> None:
    program = OPENAI + (
        "print(*(each.name for each in client.containers.list()))\n"
        "try: client.containers.create(name='x', expires_after={'anchor': 'last_active_at', 'minutes': 60})\n"
        "except openai.BadRequestError as error: print(error.param, flush=True)\n"
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'mockserver', 'clock', 'freeze'], check=True)\n"
        "sys.exit(7)"
    )
    done = run("--seed", str(SHIPPED / "minimal.yaml"), "--profile", "live", *python(program))
    assert (done.returncode, done.stderr) == (7, "")
    names, param, clock = done.stdout.splitlines()
    assert (names, param) == ("analysis", "expires_after.minutes")
    assert clock.startswith("clock  frozen")


@pytest.mark.parametrize(
    ("command", "code"),
    [(["no-such-command"], 127), ([str(ROOT / "README.md")], 126), ([], 2)],
)
def test_run_fails_if_the_command_cannot_be_started(command: list[str], code: int) -> None:
    done = run(*command)
    assert (done.returncode, done.stdout) == (code, "")
    assert code == 2 or done.stderr.startswith(f"mockserver: {command[0]}: ")


def test_run_prints_a_verdict_on_every_world() -> None:
    program = OPENAI + (
        "import os, sys\n"
        "base_url = os.environ['MOCKSERVER_URL'] + '/w/other/v1'\n"
        "openai.OpenAI(base_url=base_url).containers.create(name='left')\n"
        "sys.exit(int(sys.argv[1]))"
    )
    for exit_code, code in (("0", 1), ("7", 7)):
        done = run("--verdict", *python(program), exit_code)
        assert (done.returncode, done.stdout) == (code, "")
        assert "mockserver: world other: 1 found\nmockserver:   container-never-deleted: " in done.stderr


def test_run_does_not_start_the_command_if_no_verdict_is_possible() -> None:
    for arguments, code, words in ((["--ignore", "sloth"], 2, "unknown finding"), (["--host", "0.0.0.0"], 1, "closed")):
        done = run("--verdict", *arguments, "--", "echo", "started")
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr


def test_run_warns_that_the_variable_for_workers_is_ignored() -> None:
    for workers, warnings in (("2", 1), ("1", 0), ("", 0)):
        done = run("--", "echo", "started", MOCKSERVER_WORKERS=workers)
        assert (done.returncode, done.stdout) == (0, "started\n")
        assert done.stderr.count("MOCKSERVER_WORKERS is ignored") == done.stderr.count("\n") == warnings


def test_run_exits_like_serve_if_the_server_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 2\n")
    done = run("--seed", str(tmp_path / "bad.yaml"), "--", "echo", "started")
    assert (done.returncode, done.stdout) == (4, "")


def test_run_passes_standard_input_on_and_logs_to_standard_error(tmp_path: Path) -> None:
    program = OPENAI + (
        "import sys; print(sys.stdin.read())\n"
        "client.containers.create(name='x', expires_after={'anchor': 'last_active_at', 'minutes': 60})"
    )
    command = [*COMMAND, "run", "--data", str(tmp_path / "kept"), *python(program)]
    done = subprocess.run(command, env=ENVIRONMENT, input="typed", capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "typed\n")
    assert all(line.startswith("mockserver: WARNING ") for line in done.stderr.splitlines())
    assert list((tmp_path / "kept" / "worlds").glob("*/world.db"))


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """Start `mockserver run` in a session without a terminal, and wait until its program prints `ready`."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [*COMMAND, "run", *python(program)]
    with subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **pipes) as started:
        try:
            assert started.stdout
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


def test_run_forwards_signals_to_the_command() -> None:
    program = (
        "import os, signal, sys\n"
        "def end(number, _): os.write(1, b'got %d\\n' % number); sys.exit(9)\n"
        "signal.signal(signal.SIGINT, end); print('ready', flush=True)\n"
        "while True: signal.pause()"
    )
    with running(program) as started:
        started.send_signal(signal.SIGINT)
        assert started.wait(120) == 9
        assert started.stdout
        assert started.stdout.read() == f"got {int(signal.SIGINT)}\n"
    with running("import signal; print('ready', flush=True); signal.pause()") as started:
        started.send_signal(signal.SIGTERM)
        assert started.wait(120) == 128 + signal.SIGTERM


def test_ctrl_c_in_a_terminal_reaches_the_command_once() -> None:
    program = (
        "import os, signal\n"
        "reader, writer = os.pipe()\n"
        "os.set_blocking(writer, False)\n"
        "signal.set_wakeup_fd(writer)\n"  # writes a byte for each signal, while a handler may be called once for several
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "print('ready', flush=True)\n"
        "first = os.read(reader, 1)\n"
        "signal.sigtimedwait([signal.SIGTERM], 0.3)\n"
        "os.write(writer, b'.')\n"
        "print('times:', len(first + os.read(reader, 9)) - 1)"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*COMMAND, "run", *python(program)], ENVIRONMENT)
    with os.fdopen(terminal, "r+b", buffering=0) as tty:
        screen = b""
        while b"ready" not in screen:
            screen += tty.read(1000)
        tty.write(b"\x03")
        with suppress(OSError):  # reading a terminal fails once no process has it open
            while chunk := tty.read(1000):
                screen += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"times: 1\r\n" in screen


# The action


def action() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "action.yml").read_text())


def step(name: str, inputs: Mapping[str, str], environment: Mapping[str, str]) -> Completed:
    """Run a step of the action as GitHub's runner does."""
    described = action()
    (found,) = (each for each in described["runs"]["steps"] if each["name"] == name)
    assert found["shell"] == "bash"
    values = {name: each["default"] for name, each in described["inputs"].items()} | inputs
    own = {
        key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: values[m[1]], value)
        for key, value in found.get("env", {}).items()
    }
    assert "${{" not in found["run"] + "".join(own.values())
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]],
        env=ENVIRONMENT | environment | own,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of GitHub's runner. A server that the action starts is stopped."""
    environment = {"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": str(ROOT)}
    for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH"):
        (tmp_path / name).touch()
        environment[name] = str(tmp_path / name)
    yield environment
    started = tmp_path / "mockserver.json"
    if started.exists() and started.stat().st_size:
        os.kill(json.loads(started.read_text())["pid"], signal.SIGTERM)


@pytest.fixture
def installed(runner: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A runner on which the action has installed the command."""
    command = tmp_path / "mockserver-command" / "mockserver"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m mockserver "$@"\n')
    command.chmod(0o755)
    return runner


def exported(path: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in Path(path).read_text().splitlines())


def test_the_action_starts_a_server_and_exports_its_url(installed: dict[str, str]) -> None:
    inputs = {"seed": str(SHIPPED / "minimal.yaml"), "api-key": "k1,k2", "args": "--max-worlds 9\n--id-seed x"}
    done = step("Start mockserver", inputs, installed | {"no_proxy": "example.com"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    job = exported(installed["GITHUB_ENV"])
    assert job["OPENAI_API_KEY"] == "k1"
    assert job["NO_PROXY"] == job["no_proxy"] == "example.com,localhost,127.0.0.1"
    program = OPENAI + "print([each.name for each in client.containers.list()])"
    listed = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT | job, capture_output=True, text=True)
    assert listed.stdout == "['analysis']\n", listed.stderr
    assert process("world", "list", **job).returncode == 0
    assert exported(installed["GITHUB_OUTPUT"]) == {"url": job["MOCKSERVER_URL"], "base-url": job["OPENAI_BASE_URL"]}


def test_the_action_fails_with_the_servers_reason(installed: dict[str, str]) -> None:
    done = step("Start mockserver", {"profile": "lax"}, installed)
    assert done.returncode == 1
    assert re.search(r"^::error::.*choose one of: default, live", done.stdout, re.MULTILINE)
    assert exported(installed["GITHUB_ENV"]) == {}


def test_the_action_describes_itself() -> None:
    described = action()
    assert described["runs"]["using"] == "composite"
    assert all(each["description"] for kind in ("inputs", "outputs") for each in described[kind].values())
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == described["inputs"].keys()


def test_the_action_installs_the_command(runner: dict[str, str]) -> None:
    done = step("Install mockserver", {}, runner)
    assert done.returncode == 0, done.stderr
    done = step("Start mockserver", {}, runner)
    assert done.returncode == 0, done.stdout + done.stderr
    path = Path(runner["GITHUB_PATH"]).read_text().strip()
    listed = subprocess.run([f"{path}/mockserver", "world", "list"], env=ENVIRONMENT | exported(runner["GITHUB_ENV"]))
    assert listed.returncode == 0
    assert [each.name for each in Path(path).iterdir()] == ["mockserver"]
