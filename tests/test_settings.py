"""Every setting by flag and by environment: the value that a command receives, and invalid values."""

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
"""The variables that Kubernetes sets in every pod of a namespace with a Service named `mockserver`."""


class Case(NamedTuple):
    valid: str | tuple[str, ...]
    """A tuple is passed as several flags, or as one variable with commas."""
    value: Any
    invalid: str | None
    """None where every text is allowed."""


BOOLEAN = Case("yes", True, "maybe")
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
    "control_open": BOOLEAN,
    "allow_host": Case(("Mock.example", "*.mock.test"), ("mock.example", "*.mock.test"), "*.example:8080"),
    "id_seed": Case("other", "other", "\udcff"),
    "log_level": Case("INFO", "info", "loud"),
    "quiet": BOOLEAN,
    "as_json": BOOLEAN,
    "keep_open": BOOLEAN,
    "github": BOOLEAN,
    "verdict": BOOLEAN,
    "ignore": Case("use-after-expiry,paging-stopped", ["use-after-expiry", "paging-stopped"], "typo"),
    "junit": Case("verdict.xml", Path("verdict.xml"), "no-such-directory/verdict.xml"),
    "url": Case("localhost:9090", "http://localhost:9090", "ftp://localhost"),
    "token": Case("sesame", "sesame", "open sesame"),
    "world": Case("blue", "blue", "a/b"),
}
"""By the name of the parameter. A setting that is missing here fails the tests below."""


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
    if parameter.expose_value  # --workers exists only to be rejected
    and (parameter.envvar or (isinstance(parameter, click.Option) and parameter.name in SETTINGS))
]


def parameter_id(value: object) -> str:
    return str(value.name) if isinstance(value, click.Parameter) else " ".join(value)  # type: ignore[arg-type]


def invoke(path: Sequence[str], *arguments: str, **environment: str) -> Result:
    """Run a command in this process, with those variables of the mock server only that are passed."""
    unset = {name: None for name in os.environ if name.startswith(ENVIRONMENT)}
    return CliRunner().invoke(main.main, [*path, *arguments], env={**unset, **environment})


def required(path: Sequence[str]) -> list[str]:
    """Return the required arguments of a command."""
    arguments = []
    for parameter in find(path).params:
        if parameter.required:
            value = "on" if isinstance(parameter.type, click.Choice) else "1"
            value = __file__ if isinstance(parameter.type, click.Path) else value
            arguments += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
    return arguments


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The parameters that a command receives. The commands themselves are replaced."""
    parameters: dict[str, Any] = {}
    for path in every_command():
        monkeypatch.setattr(find(path), "callback", lambda **options: parameters.update(options))
    return parameters


def as_arguments(parameter: click.Parameter, texts: Sequence[str]) -> list[str]:
    """Return the arguments that pass values on the command line."""
    if isinstance(parameter, click.Argument):
        return list(texts)
    return [f"{parameter.opts[0]}={text}" for text in texts]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_settings_accept_the_text_and_the_value_of_each_setting(name: str) -> None:
    valid, value, invalid = CASES[name]
    for accepted in (valid, value):
        assert getattr(Settings(**{name: accepted}), name) == value
    if isinstance(value, tuple):
        assert getattr(Settings(**{name: valid[0]}), name) == value[:1]
        assert getattr(Settings(**{name: list(value)}), name) == value
    if invalid is not None:
        with pytest.raises(ValueError, match=rf"^{name}: "):
            Settings(**{name: invalid})
    for wrong in (b"x", {1}, 1j):
        with pytest.raises(TypeError, match=rf"^{name} takes str.*, not {type(wrong).__name__}$"):
            Settings(**{name: wrong})


def test_settings_accept_small_and_large_numbers() -> None:
    assert Settings(body_timeout=1e-5, shutdown_grace=5e-5).body_timeout == 1e-5
    assert Settings(world_ttl=float("inf")).world_ttl == float("inf")
    assert Settings(max_upload=10**12).max_upload == 10**12


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("port", 65_536), ("max_worlds", 0), ("max_upload", -1), ("max_body", True), ("body_timeout", 0), ("seed", "")],
)
def test_mockserver_rejects_the_values_that_a_command_rejects(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: "):
        MockServer(**{name: wrong})


def test_serve_has_an_environment_variable_for_every_setting() -> None:
    variables = {environment_name(name) for name in SETTINGS | {"quiet", "json"}}
    assert {parameter.envvar for parameter in find(["serve"]).params if parameter.expose_value} == variables


@pytest.mark.parametrize(("path", "parameter"), PARAMETERS, ids=parameter_id)
def test_a_command_receives_values_by_flag_and_by_environment(
    path: tuple[str, ...], parameter: click.Parameter, received: dict[str, Any]
) -> None:
    case, name, variable = CASES[str(parameter.name)], str(parameter.name), str(parameter.envvar)
    texts = (case.valid,) if isinstance(case.valid, str) else case.valid
    flags = [parameter.opts[0]] if case is BOOLEAN else as_arguments(parameter, texts)
    calls: list[tuple[list[str], dict[str, str], Any]] = [(flags, {}, case.value)]
    if parameter.envvar:
        calls.append(([], {variable: ",".join(texts)}, case.value))
        calls.append((flags, {variable: case.invalid or "other"}, case.value))  # a flag takes precedence
        invoke(path, *required(path))
        calls.append(([], {variable: ""}, received[name]))  # an empty variable is ignored
        if case is BOOLEAN:
            calls += [([], {variable: text}, True) for text in ("1", "TRUE", "on")]
            calls += [([], {variable: text}, False) for text in ("0", "False", "off")]
    for arguments, environment, value in calls:
        received.clear()
        result = invoke(path, *arguments, *required(path), **environment)
        assert (result.exit_code, result.output) == (0, "")
        assert (received[name], type(received[name])) == (value, type(value))


@pytest.mark.parametrize(("path", "parameter"), PARAMETERS, ids=parameter_id)
def test_an_invalid_value_by_flag_or_environment_is_exit_code_2(
    path: tuple[str, ...], parameter: click.Parameter, received: dict[str, Any]
) -> None:
    invalid = CASES[str(parameter.name)].invalid
    calls: list[tuple[list[str], dict[str, str]]] = []
    if invalid is not None:
        calls.append((as_arguments(parameter, [invalid]), {}))
        if isinstance(parameter.envvar, str):
            calls.append(([], {parameter.envvar: invalid}))
    for arguments, environment in calls:
        result = invoke(path, *arguments, *required(path), **environment)
        assert (result.exit_code, received) == (2, {})
        expected = {"NAME"} if isinstance(parameter, click.Argument) else {parameter.opts[0], *environment}
        assert any(each in result.stderr.splitlines()[-1] for each in expected), result.stderr


@pytest.mark.parametrize("variable", ["MOCKSERVER_QUIET", "MOCKSERVER_CONTROL_OPEN"])
def test_an_invalid_variable_of_a_flag_gets_an_error_with_valid_values(variable: str, received: dict[str, Any]) -> None:
    result = invoke(["serve"], **{variable: "maybe"})
    assert (result.exit_code, received) == (2, {})
    assert "'maybe' is neither yes nor no; give 1 or 0" in result.stderr


@pytest.mark.parametrize("option", ["--data", "--seed"])
def test_an_empty_path_is_rejected(option: str, received: dict[str, Any]) -> None:
    result = invoke(["serve"], option, "")
    assert (result.exit_code, received) == (2, {})
    assert "an empty path" in result.stderr


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning", "WARN", "error", "CRITICAL", "fatal"])
def test_log_levels_have_the_names_of_the_logging_module_in_any_case(level: str, received: dict[str, Any]) -> None:
    assert invoke(["serve"], MOCKSERVER_LOG_LEVEL=level).exit_code == 0
    assert getattr(logging, received["log_level"].upper()) == getattr(logging, level.upper())


def test_spaces_after_a_comma_are_stripped_from_addresses(received: dict[str, Any]) -> None:
    assert invoke(["serve"], MOCKSERVER_HOST="0.0.0.0, ::, fe80::1%eth0").exit_code == 0
    assert received["host"] == ("0.0.0.0", "::", "fe80::1%eth0")


# Service links


@pytest.mark.parametrize("path", [["serve"], ["healthcheck"], ["verdict"], ["clock", "show"], ["world", "list"]])
def test_a_service_link_is_ignored_with_one_warning(path: list[str], received: dict[str, Any]) -> None:
    result = invoke(path, **SERVICE_LINKS)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith(f"mockserver: MOCKSERVER_PORT={LINK} is ignored: ")
    assert result.stderr.count("\n") == 1
    assert received.get("port", 8080) == 8080
    assert received.get("url") in (None, "http://localhost:8080")


def test_the_docker_image_listens_on_ipv4_and_ipv6_in_a_pod_with_service_links(received: dict[str, Any]) -> None:
    image = dict(re.findall(r"\b(MOCKSERVER_\w+)=(\S+)", (Path(__file__).parents[1] / "Dockerfile").read_text()))
    result = invoke(["serve"], **image | SERVICE_LINKS)
    assert result.exit_code == 0
    settings = Settings(**{name: value for name, value in received.items() if name in SETTINGS})
    assert (settings.host, settings.port, settings.control_open) == (("0.0.0.0", "::"), 8080, True)
    assert (settings.data, settings.seed) == (Path("/data"), (Path("/seeds"),))


def test_a_service_link_causes_no_warning_where_the_port_is_not_read(received: dict[str, Any]) -> None:
    for path, arguments in (
        (["run"], ["--", "true"]),  # uses a free port
        (["serve"], ["--port", "9090"]),
        (["verdict"], ["--url", "http://localhost:9090"]),
    ):
        result = invoke(path, *arguments, **SERVICE_LINKS)
        assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("value", ["abc", "8080/tcp", "http://localhost:8080", "tcp://", "65536", "-1"])
@pytest.mark.parametrize("path", [["serve"], ["healthcheck"], ["verdict"]])
def test_an_invalid_port_variable_that_is_not_a_service_link_is_exit_code_2(
    path: list[str], value: str, received: dict[str, Any]
) -> None:
    result = invoke(path, MOCKSERVER_PORT=value)
    assert (result.exit_code, received) == (2, {})
    assert "MOCKSERVER_PORT" in result.stderr.splitlines()[-1]
    assert "is not a port" in result.stderr


def test_a_client_command_rejects_port_0(received: dict[str, Any]) -> None:
    result = invoke(["verdict"], MOCKSERVER_PORT="0")
    assert (result.exit_code, received) == (2, {})
    assert "--url" in result.stderr


# In processes


@pytest.mark.slow
def test_control_open_has_the_same_effect_by_flag_and_by_environment() -> None:
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
def test_an_invalid_size_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(text)


@pytest.mark.parametrize("text", ["/..", "/./a", "/a/../b", "/a/.", "mock", "/a b", ""])
def test_an_invalid_path_prefix_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a proxy"):
        path_prefix(text)


def test_names_with_dots_are_allowed_in_a_path_prefix() -> None:
    assert path_prefix("/.hidden/..a/v1.2/") == "/.hidden/..a/v1.2"


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "a\0", "\udcff"])
def test_a_host_that_no_lookup_accepts_is_rejected(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host; give an address"):
        Settings(host=host)
