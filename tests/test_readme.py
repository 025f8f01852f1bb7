"""The manual: what it says can be checked, and is."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import httpx2
import pytest
import yaml
from conftest import World
from installed import require
from manual import ROOT, blocks, matches, rows
from pydantic import BaseModel
from test_house import RINGS

from mockserver import errors, faults, profiles, pytest_plugin, testing, verdict
from mockserver.api.app import create_app
from mockserver.cli import main, options
from mockserver.control.app import create_control
from mockserver.seeds.loader import read_seeds
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError, Settings, environment_name, flag

README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next of its level or above."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match[2]


def tried(attack: str) -> int:
    """How many attacks of a kind the README says that there were; the kind by the words that it begins with."""
    found = [row for row in rows(section("How true it is"), "attack") if row[0].startswith(attack)]
    assert len(found) == 1, f"{attack!r} begins {len(found)} rows"
    return int(found[0][1].replace(",", ""))


@pytest.fixture
def environment(world: World) -> dict[str, str]:
    azure = world.base_url.removesuffix("/v1")
    return os.environ | {
        "OPENAI_BASE_URL": world.base_url,
        "OPENAI_API_KEY": "sk-test",
        "AZURE_OPENAI_ENDPOINT": azure,
    }


def test_the_curl_tour_gives_what_it_says(environment: dict[str, str]) -> None:
    (command,), (expected,) = blocks(section("curl"), "sh"), blocks(section("curl"), "json")
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert matches(expected, done.stdout), done.stdout


@pytest.mark.parametrize("title", ["Python", "Azure", "Faults"])
def test_the_python_programs_give_what_they_say(title: str, environment: dict[str, str]) -> None:
    program, expected = blocks(section(title), "python")[0], blocks(section(title), "text")[0]
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert matches(expected, done.stdout), done.stdout


def test_the_node_tour_gives_what_it_says(environment: dict[str, str]) -> None:
    node_modules = require("node", "openai-node", "node/package.json", "node")
    program, expected = blocks(section("Node"), "js")[0], blocks(section("Node"), "text")[0]
    command = ["node", "--input-type=module", "-e", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=node_modules)
    assert done.returncode == 0, done.stderr
    assert matches(expected, done.stdout), done.stdout


def test_the_settings_are_all_there_as_they_are() -> None:
    told = [
        [f"`{flag(each.name)}`", f"`{environment_name(each.name)}`", each.metadata["shown"], each.metadata["help"]]
        for each in fields(Settings)
    ]
    for option in ("quiet", "json"):
        help = next(each.help for each in main.serve.params if flag(option) in each.opts)
        told.append([f"`{flag(option)}`", f"`{environment_name(option)}`", "", help])
    assert [
        [name, variable, shown.strip("`"), help] for name, variable, shown, help in rows(section("Settings"), "flag")
    ] == told


@pytest.mark.parametrize(
    "setting", [each for each in fields(Settings) if each.metadata["shown"]], ids=lambda each: each.name
)
def test_defaults_are_shown_as_they_are(setting: object) -> None:
    parse, shown = setting.metadata["parse"], setting.metadata["shown"]
    parsed = tuple(map(parse, shown.split(","))) if setting.metadata["many"] else parse(shown)
    assert parsed == setting.default


def commands(group: click.Group = main.main, path: str = "mockserver") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its usage: its name and arguments, without its options."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            arguments = command.collect_usage_pieces(click.Context(command))[1:]
            yield " ".join([path, name, *arguments]).replace("...", "…"), command


def test_the_commands_are_all_there() -> None:
    told = {row[0].strip("`"): row[1] for row in rows(section("Commands"), "command")}
    written = re.compile(r" \[--(?:[^][]|\[[^]]*\])*\]| --[\w-]+ [A-Z]+| --(?= )")
    usages = {written.sub("", row): row for row in told}
    real = dict(commands())
    assert {usage: told[row] for usage, row in usages.items()} == {
        usage: command.get_short_help_str(200) for usage, command in real.items()
    }
    for usage, row in usages.items():
        known = {name for each in real[usage].params for name in each.opts}
        assert set(re.findall(r"--[\w-]+", row)) <= known, f"{row}: {usage} has other options"


def test_the_inputs_of_the_action_are_all_there() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    told = {name.strip("`"): help for name, help in rows(section("In CI"), "input")}
    assert told == {name: each["description"] for name, each in inputs.items()}


def test_the_exit_codes_are_all_there() -> None:
    assert {int(code): meaning for code, meaning in rows(section("Commands"), "exit code")} == options.EXIT_CODES


def test_the_profiles_are_all_there() -> None:
    assert [row[0].strip("`") for row in rows(section("Profiles"), "profile")] == list(profiles.PROFILES)


def test_the_switches_are_all_there_as_they_are() -> None:
    assert rows(section("Profiles"), "switch") == [
        [
            f"`{each.name}`",
            each.meaning,
            each.takes,
            *(profiles.worded(getattr(profile, each.name)) for profile in profiles.PROFILES.values()),
            f"{each.grade}: {each.evidence}",
        ]
        for each in profiles.SWITCHES.values()
    ]


def test_the_ways_to_set_a_profile_are_sound() -> None:
    text = section("Profiles")
    (document,) = map(yaml.safe_load, blocks(text, "yaml"))
    profiles.read(document["profile"])
    asked = re.findall(r"(?:--profile|world profile|_profile =|profile=\"?) ?([^\s`\")]+)", text)
    assert len(asked) == 6
    for each in asked:
        profiles.read(each)


def test_every_warning_leads_to_a_line() -> None:
    assert rows(section("Profiles"), "warning") == [
        [f"`{code}`", each.live, f"`{each.switch}`"] for code, each in profiles.WARNINGS.items()
    ]
    assert {each.switch for each in profiles.WARNINGS.values()} < profiles.SWITCHES.keys()


@pytest.mark.parametrize(
    ("title", "heading", "catalogue"),
    [("How true it is", "refusal", errors.CATALOGUE), ("Dialects", "Azure's refusal", errors.AZURE)],
    ids=["openai", "azure"],
)
def test_every_refusal_is_there_with_its_grade(title: str, heading: str, catalogue: dict[str, errors.Refusal]) -> None:
    told = rows(section(title), heading)
    expected = [
        [f"`{name}`", str(row.status), row.message.replace("|", "\\|"), row.code or "", row.grade]
        for name, row in catalogue.items()
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert told == expected, f"the table should be:\n{table}"


def test_every_route_of_the_api_is_there(server: MockServer) -> None:
    told = {row[0].strip("`"): row[1].split(", ") for row in rows(section("Dialects"), "route")}
    expected: dict[str, list[str]] = {}
    for operation in create_app(server.mock).operations:
        expected.setdefault(operation.path, []).extend(operation.methods)
    assert len(expected) == 8
    assert {path: sorted(methods) for path, methods in told.items()} == {
        path: sorted(methods) for path, methods in expected.items()
    }


def test_every_control_route_is_there(server: MockServer) -> None:
    paths = create_control(server.mock).openapi()["paths"]
    expected = [
        [f"`{method.upper()} {path}`", operation["description"].splitlines()[0]]
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert rows(section("Control plane"), "control route") == expected, f"the table should be:\n{table}"


@pytest.mark.parametrize(
    ("heading", "model"), [("rule", faults.NewRule), ("match", faults.Match), ("effect", faults.Effect)]
)
def test_every_fault_is_there(heading: str, model: type[BaseModel]) -> None:
    expected = [[f"`{name}`", str(field.description)] for name, field in model.model_fields.items()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert rows(section("Faults"), heading) == expected, f"the table should be:\n{table}"


@pytest.mark.parametrize("title", ["Control plane", "Faults", "Staging", "Export and import"])
def test_the_control_tour_works(title: str, server: MockServer, tmp_path: Path) -> None:
    (script,) = blocks(section(title), "sh")
    httpx2.post(f"{server.url}/_mock/worlds/demo/reset").raise_for_status()
    script = script.replace("http://localhost:8080", server.url).replace("curl -s", "curl -sf")
    (tmp_path / "README.md").write_text(README)
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_what_pytest_takes_is_all_there() -> None:
    text = section("From pytest")
    marks = [[f"`{name}`", help] for name, help in pytest_plugin.MARKS.items()]
    options = [[f"`{name}`", help] for name, (_, help) in pytest_plugin.OPTIONS.items()]
    assert (rows(text, "mark"), rows(text, "option")) == (marks, options)
    told = re.findall(r"`(\w+)", "".join(row[0] for row in rows(text, "of `openai_mock`")))
    world = testing.MockWorld(testing.Server("http://localhost"), "name")
    assert told
    assert set(told) <= set(dir(world))


def test_the_findings_are_all_there_with_what_proves_them() -> None:
    expected = []
    for name, rule in verdict.FINDINGS.items():
        proof, innocent = (" ".join(part.split()) for part in inspect.getdoc(rule).split("Innocent: "))
        expected.append([f"`{name}`", proof, innocent])
    table = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert rows(section("Verdict"), "finding") == expected, f"the table should be:\n{table}"


def test_the_journals_tour_works(server: MockServer) -> None:
    (script,) = blocks(section("Journal"), "sh")
    httpx2.post(f"{server.url}/_mock/worlds/demo/reset").raise_for_status()
    script = script.replace("http://localhost:8080", server.url).replace("curl -s", "curl -sf")
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_seed_that_it_shows_is_the_shipped_one() -> None:
    (shown,) = blocks(section("Seeds"), "yaml")
    shipped = (ROOT / "fixtures" / "seeds" / "minimal.yaml").read_text()
    assert shown == re.sub(r"^#.*\n", "", shipped, flags=re.MULTILINE)


def test_the_mistake_in_a_seed_is_told_as_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seed.yaml").write_text("version: 1\ncontainers:\n  - name: box\n    memory: 4g\n")
    with pytest.raises(SeedError) as refused:
        read_seeds([Path("seed.yaml")], 1)
    assert f"mockserver: {refused.value}\n" == blocks(section("Seeds"), "text")[0]


def test_every_dependency_earns_a_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[a-z0-9-]+", each)[0] for each in project["dependencies"]}
    told = {name for row in rows(section("Working on it"), "dependency") for name in re.findall(r"`([^`]+)`", row[0])}
    assert told == names


def test_every_module_is_in_its_ring() -> None:
    told = [re.findall(r"`([^`]+)`", row[1]) for row in rows(section("Working on it"), "ring")]
    rings = [[name for name in ring if "." not in name] for ring in RINGS]
    packages = {name: f"{name}/" for name in ("api", "control", "storage", "seeds", "server", "cli")}
    entries = [[packages.get(name, name) for name in ring if name not in ("mockserver", "__main__")] for ring in rings]
    assert told == entries


def test_the_two_commands_name_what_is_there() -> None:
    start, check = blocks(README.split("**Contents")[0], "sh")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "pip install . " in start
    assert ".venv/bin/mockserver serve" in start
    assert "mockserver" in project["scripts"]
    assert "'.[test]'" in check
    assert "test" in project["optional-dependencies"]
    assert (ROOT / ".ci" / "constraints.txt").exists()
    command = check.rsplit(".venv/bin/", 1)[1].strip()
    assert f'tested "pytest" {command}\n' in (ROOT / ".ci" / "run").read_text(), "CI runs the same test command"
