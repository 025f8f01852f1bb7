"""Every setting, by flag and by environment: the value that a command receives, and values that make no sense."""

import json
import logging
import os
import re
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner, Result
from test_cli import serving

from mockserver.cli import main
from mockserver.server.serving import MockServer
from mockserver.settings import ENVIRONMENT, Settings, environment_name, path_prefix, size

LINK = "tcp://10.96.0.12:8080"
SERVICE_LINKS = {
    "MOCKSERVER_SERVICE_HOST": "10.96.0.12",
    "MOCKSERVER_SERVICE_PORT": "8080",
    "MOCKSERVER_PORT": LINK,
    "MOCKSERVER_PORT_8080_TCP": LINK,
    "MOCKSERVER_PORT_8080_TCP_PROTO": "tcp",
    "MOCKSERVER_PORT_8080_TCP_PORT": "8080",
    "MOCKSERVER_PORT_8080_TCP_ADDR": "10.96.0.12",
}
"""What Kubernetes sets in every pod beside a Service named `mockserver`."""


class Case(NamedTuple):
    good: str | tuple[str, ...]
    """A tuple is given as several flags, or as one variable with commas."""
    value: Any
    nonsense: str | None
    """None where every text is allowed."""


SWITCH = Case("yes", True, "maybe")
CASES = {
    "host": Case(("0.0.0.0", "::"), ("0.0.0.0", "::"), "127.0.0.1:8080"),
    "port": Case("9090", 9090, "abc"),
    "name": Case("mock-1.eu", "mock-1.eu", "mock 1"),
    "shutdown_delay": Case("1m", 60.0, "-5s"),
    "shutdown_grace": Case("0", 0.0, "soon"),
    "data": Case("some/where", Path("some/where"), None),
    "seed": Case(("a.yaml", "b"), (Path("a.yaml"), Path("b")), None),
    "api_key": Case(("one", "two"), ("one", "two"), "a key"),
    "tls_cert": Case("cert.pem", Path("cert.pem"), None),
    "tls_key": Case("key.pem", Path("key.pem"), None),
    "path_prefix": Case("/proxy/8080/", "/proxy/8080", "proxy"),
    "profile": Case("live,delete_lag=5m", "live,delete_lag=5m", "lax"),
    "max_streams": Case("7", 7, "0"),
    "min_body_rate": Case("2k", 2_048, "fast"),
    "max_upload": Case("1KB", 1024, "lots"),
    "max_body": Case("2MB", 2 << 20, "-1"),
    "body_timeout": Case("90s", 90.0, "0"),
    "max_import": Case("1g", 1 << 30, "1TB"),
    "max_worlds": Case("7", 7, "0"),
    "world_ttl": Case("never", float("inf"), "-5m"),
    "journal_entries": Case("8", 8, "1.5"),
    "journal_bytes": Case("3k", 3072, "some"),
    "curated_skill": Case(("openai-docs", "x.y"), ("openai-docs", "x.y"), "a b"),
    "control_token": Case("sesame", "sesame", "open sesame"),
    "control_open": SWITCH,
    "allow_host": Case(("Mock.example", "*.mock.test"), ("mock.example", "*.mock.test"), "*.example:8080"),
    "id_seed": Case("other", "other", None),
    "log_level": Case("INFO", "info", "loud"),
    "quiet": SWITCH,
    "as_json": SWITCH,
    "keep_open": SWITCH,
    "github": SWITCH,
    "verdict": SWITCH,
    "ignore": Case("use-after-expiry,paging-stopped", ["use-after-expiry", "paging-stopped"], "typo"),
    "junit": Case("out/verdict.xml", Path("out/verdict.xml"), None),
    "url": Case("localhost:9090", "http://localhost:9090", "ftp://localhost"),
    "token": Case("sesame", "sesame", "open sesame"),
    "world": Case("blue", "blue", "a/b"),
}
"""By the name of the parameter. A setting that isn't here fails below."""


def every_command(group: click.Group = main.main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name)


def find(path: Sequence[str]) -> click.Command:
    command: click.Command = main.main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)  # type: ignore[assignment]
    return command


SETTINGS = {each.name for each in fields(Settings)}
PARAMETERS = [
    (path, parameter)
    for path in every_command()
    for parameter in find(path).params
    if parameter.expose_value  # not --workers, which is there to be rejected
    and (parameter.envvar or (isinstance(parameter, click.Option) and parameter.name in SETTINGS))
]


def named(value: object) -> str:
    return str(value.name) if isinstance(value, click.Parameter) else " ".join(value)  # type: ignore[arg-type]


def invoke(path: Sequence[str], *arguments: str, **environment: str) -> Result:
    """Run a command in this process, with no variable of the mock server's but those given."""
    unset = {name: None for name in os.environ if name.startswith(ENVIRONMENT)}
    return CliRunner().invoke(main.main, [*path, *arguments], env={**unset, **environment})


def required(path: Sequence[str]) -> list[str]:
    """Arguments with which the command can be called, apart from the parameters under test."""
    given = []
    for parameter in find(path).params:
        if parameter.required:
            value = "on" if isinstance(parameter.type, click.Choice) else "1"
            value = __file__ if isinstance(parameter.type, click.Path) else value
            given += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
    return given


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command is called with, in place of doing anything."""
    found: dict[str, Any] = {}
    for path in every_command():
        monkeypatch.setattr(find(path), "callback", lambda **given: found.update(given))
    return found


def words(parameter: click.Parameter, texts: Sequence[str]) -> list[str]:
    """How a command line gives the values."""
    if isinstance(parameter, click.Argument):
        return list(texts)
    return [f"{parameter.opts[0]}={text}" for text in texts]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_python_takes_the_text_of_each_setting_and_its_value(name: str) -> None:
    good, value, nonsense = CASES[name]
    for given in (good, value):
        assert getattr(Settings(**{name: given}), name) == value
    if isinstance(value, tuple):
        assert getattr(Settings(**{name: good[0]}), name) == value[:1]
        assert getattr(Settings(**{name: list(value)}), name) == value
    if nonsense is not None:
        with pytest.raises(ValueError, match=rf"^{name}: "):
            Settings(**{name: nonsense})
    for wrong in (b"x", {1}, 1j):
        with pytest.raises(TypeError, match=rf"^{name} takes str.*, not {type(wrong).__name__}$"):
            Settings(**{name: wrong})


def test_python_takes_small_and_large_numbers() -> None:
    assert Settings(body_timeout=1e-5, shutdown_grace=5e-5).body_timeout == 1e-5
    assert Settings(world_ttl=float("inf")).world_ttl == float("inf")
    assert Settings(max_upload=10**12).max_upload == 10**12


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("port", 65_536), ("max_worlds", 0), ("max_upload", -1), ("max_body", True), ("body_timeout", 0), ("seed", "")],
)
def test_python_takes_no_value_that_a_command_refuses(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: "):
        MockServer(**{name: wrong})


def test_serve_takes_every_setting_by_environment() -> None:
    variables = {environment_name(name) for name in SETTINGS | {"quiet", "json"}}
    assert {parameter.envvar for parameter in find(["serve"]).params if parameter.expose_value} == variables


@pytest.mark.parametrize(("path", "parameter"), PARAMETERS, ids=named)
def test_a_value_arrives_by_flag_and_by_environment(
    path: tuple[str, ...], parameter: click.Parameter, received: dict[str, Any]
) -> None:
    case, name, variable = CASES[str(parameter.name)], str(parameter.name), str(parameter.envvar)
    texts = (case.good,) if isinstance(case.good, str) else case.good
    flags = [parameter.opts[0]] if case is SWITCH else words(parameter, texts)
    tried: list[tuple[list[str], dict[str, str], Any]] = [(flags, {}, case.value)]
    if parameter.envvar:
        tried.append(([], {variable: ",".join(texts)}, case.value))
        tried.append((flags, {variable: case.nonsense or "other"}, case.value))  # a flag wins
        invoke(path, *required(path))
        tried.append(([], {variable: ""}, received[name]))  # an empty variable is as none
        if case is SWITCH:
            tried += [([], {variable: text}, True) for text in ("1", "TRUE", "on")]
            tried += [([], {variable: text}, False) for text in ("0", "False", "off")]
    for arguments, environment, value in tried:
        received.clear()
        done = invoke(path, *arguments, *required(path), **environment)
        assert (done.exit_code, done.output) == (0, "")
        assert (received[name], type(received[name])) == (value, type(value))


@pytest.mark.parametrize(("path", "parameter"), PARAMETERS, ids=named)
def test_a_value_that_makes_no_sense_is_exit_code_2(
    path: tuple[str, ...], parameter: click.Parameter, received: dict[str, Any]
) -> None:
    nonsense = CASES[str(parameter.name)].nonsense
    tried: list[tuple[list[str], dict[str, str]]] = []
    if nonsense is not None:
        tried.append((words(parameter, [nonsense]), {}))
        if isinstance(parameter.envvar, str):
            tried.append(([], {parameter.envvar: nonsense}))
    for arguments, environment in tried:
        done = invoke(path, *arguments, *required(path), **environment)
        assert (done.exit_code, received) == (2, {})
        shown = {"NAME"} if isinstance(parameter, click.Argument) else {parameter.opts[0], *environment}
        assert any(each in done.stderr.splitlines()[-1] for each in shown), done.stderr


@pytest.mark.parametrize("variable", ["MOCKSERVER_QUIET", "MOCKSERVER_CONTROL_OPEN"])
def test_a_flag_whose_variable_makes_no_sense_says_what_to_give(variable: str, received: dict[str, Any]) -> None:
    done = invoke(["serve"], **{variable: "maybe"})
    assert (done.exit_code, received) == (2, {})
    assert "'maybe' is neither yes nor no; give 1 or 0" in done.stderr


@pytest.mark.parametrize("option", ["--data", "--seed"])
def test_an_empty_path_is_not_the_working_directory(option: str, received: dict[str, Any]) -> None:
    done = invoke(["serve"], option, "")
    assert (done.exit_code, received) == (2, {})
    assert "an empty path" in done.stderr


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning", "WARN", "error", "CRITICAL", "fatal"])
def test_log_levels_have_their_usual_names_in_any_case(level: str, received: dict[str, Any]) -> None:
    assert invoke(["serve"], MOCKSERVER_LOG_LEVEL=level).exit_code == 0
    assert getattr(logging, received["log_level"].upper()) == getattr(logging, level.upper())


def test_spaces_behind_a_comma_are_no_part_of_an_address(received: dict[str, Any]) -> None:
    assert invoke(["serve"], MOCKSERVER_HOST="0.0.0.0, ::, fe80::1%eth0").exit_code == 0
    assert received["host"] == ("0.0.0.0", "::", "fe80::1%eth0")


# Service links


@pytest.mark.parametrize("path", [["serve"], ["healthcheck"], ["verdict"], ["clock", "show"], ["world", "list"]])
def test_a_service_link_is_ignored_with_one_warning(path: list[str], received: dict[str, Any]) -> None:
    done = invoke(path, **SERVICE_LINKS)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"mockserver: MOCKSERVER_PORT={LINK} is ignored: ")
    assert done.stderr.count("\n") == 1
    assert received.get("port", 8080) == 8080
    assert received.get("url", "http://localhost:8080") == "http://localhost:8080"


def test_the_image_serves_both_families_in_a_pod_with_service_links(received: dict[str, Any]) -> None:
    image = dict(re.findall(r"\b(MOCKSERVER_\w+)=(\S+)", (Path(__file__).parents[1] / "Dockerfile").read_text()))
    done = invoke(["serve"], **image | SERVICE_LINKS)
    assert done.exit_code == 0
    settings = Settings(**{name: value for name, value in received.items() if name in SETTINGS})
    assert (settings.host, settings.port, settings.control_open) == (("0.0.0.0", "::"), 8080, True)
    assert (settings.data, settings.seed) == (Path("/data"), (Path("/seeds"),))


def test_a_service_link_that_nobody_reads_is_no_warning(received: dict[str, Any]) -> None:
    for path, arguments in (
        (["run"], ["--", "true"]),  # it takes a free port
        (["serve"], ["--port", "9090"]),
        (["verdict"], ["--url", "http://localhost:9090"]),
    ):
        done = invoke(path, *arguments, **SERVICE_LINKS)
        assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize("value", ["abc", "8080/tcp", "http://localhost:8080", "tcp://", "65536", "-1"])
@pytest.mark.parametrize("path", [["serve"], ["healthcheck"], ["verdict"]])
def test_a_port_that_a_person_wrote_wrong_is_exit_code_2(path: list[str], value: str, received: dict[str, Any]) -> None:
    done = invoke(path, MOCKSERVER_PORT=value)
    assert (done.exit_code, received) == (2, {})
    assert "MOCKSERVER_PORT" in done.stderr.splitlines()[-1]
    assert "is not a port" in done.stderr


def test_a_port_of_0_says_nothing_of_where_a_server_is(received: dict[str, Any]) -> None:
    done = invoke(["verdict"], MOCKSERVER_PORT="0")
    assert (done.exit_code, received) == (2, {})
    assert "--url" in done.stderr


# As processes


@pytest.mark.slow
def test_a_switch_in_the_environment_does_what_its_flag_does() -> None:
    environment = {"MOCKSERVER_HOST": "0.0.0.0"}
    for arguments, more, status in (
        ([], {}, 403),
        (["--control-open"], {}, 200),
        ([], {"MOCKSERVER_CONTROL_OPEN": "1"}, 200),
        ([], {"MOCKSERVER_CONTROL_OPEN": "0"}, 403),
    ):
        with serving(*arguments, **environment, **more) as (_, started):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{started['port']}/_mock/worlds") as response:
                    found = response.status
                    assert json.load(response)["total"] == 0
            except urllib.error.HTTPError as error:
                found = error.code
            assert found == status


@pytest.mark.parametrize("text", ["\u0661", "\u0661MB", "1.5MB", "-1", "1e3", "MB", ""])
def test_a_size_is_a_whole_number_in_ascii_digits(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(text)


@pytest.mark.parametrize("text", ["/..", "/./a", "/a/../b", "/a/.", "mock", "/a b", ""])
def test_a_path_that_no_client_keeps_is_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a proxy"):
        path_prefix(text)


def test_dots_in_a_name_are_allowed_in_a_prefix() -> None:
    assert path_prefix("/.hidden/..a/v1.2/") == "/.hidden/..a/v1.2"
