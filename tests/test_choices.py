"""Messages about unknown names, and the names that they suggest."""

import os
from difflib import SequenceMatcher

import click
import pytest

from mockserver.choices import MAX_SHOWN, nearest, unknown
from mockserver.cli import options
from mockserver.cli.main import main
from mockserver.settings import log_level

COLORS = ["red", "Green", "blue"]


def test_an_unknown_name_gets_the_nearest_name_and_all_choices() -> None:
    assert unknown("color", "gren", COLORS) == (
        "unknown color 'gren'; did you mean 'Green'? choose one of: red, Green, blue"
    )


@pytest.mark.parametrize("name", ["GREEN", "green", "grEem"])
def test_the_nearest_name_is_found_regardless_of_case(name: str) -> None:
    assert nearest(name, COLORS) == "Green"


@pytest.mark.parametrize(("name", "shown"), [("xyz", "'xyz'"), ("", "''"), (3, "3"), (["red"], "['red']")])
def test_nothing_is_suggested_if_no_name_is_similar(name: object, shown: str) -> None:
    assert unknown("color", name, COLORS) == f"unknown color {shown}; choose one of: red, Green, blue"


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("error", "see docs/reference/errors.md for all"), ("color", "")],
    ids=["documented", "not documented"],
)
def test_a_suggestion_is_not_followed_by_a_long_list_of_names(kind: str, ending: str) -> None:
    many = [f"name{number}" for number in range(100)]
    assert unknown(kind, "nam7", many) == f"unknown {kind} 'nam7'; did you mean 'name7'? {ending}".rstrip()
    assert unknown(kind, "xyz", many).endswith(f"choose one of: {', '.join(many)}")


def test_a_suggestion_is_not_repeated_as_the_only_choice() -> None:
    assert unknown("key", "emtpy", ["empty"]) == "unknown key 'emtpy'; did you mean 'empty'?"
    assert unknown("key", "other", ["empty"]) == "unknown key 'other'; choose one of: empty"


def test_the_message_says_to_remove_the_name_if_there_are_no_choices() -> None:
    assert unknown("key", "x", []) == "unknown key 'x'; remove it"


def test_numbers_are_never_suggested() -> None:
    assert unknown("status", "500", [400, 404]) == "unknown status '500'; choose one of: 400, 404"


def test_a_long_name_is_truncated_before_it_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    set_seq2 = SequenceMatcher.set_seq2

    def record(self: "SequenceMatcher[str]", name: str) -> None:
        compared.append(name)
        set_seq2(self, name)

    monkeypatch.setattr(SequenceMatcher, "set_seq2", record)
    message = unknown("color", "x" * 1_000_000, COLORS)
    assert max(map(len, compared)) == MAX_SHOWN
    assert message == f"unknown color '{'x' * MAX_SHOWN}'; choose one of: red, Green, blue"


def test_an_unknown_log_level_is_rejected_with_the_choices() -> None:
    with pytest.raises(
        ValueError, match=r"unknown log level 'warnin'; did you mean 'warning'\? choose one of: debug, "
    ):
        log_level("warnin")


PLATFORM_VARIABLES = (
    "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "PORT_8080_TCP_PORT",
    "PORT_8080_TCP_PROTO", "NAME", "ENV_PATH",
)  # fmt: skip  # set by Kubernetes and Docker for a service or container named mockserver


def test_a_misspelled_environment_variable_causes_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [each for each in os.environ if each.startswith("MOCKSERVER_")]:
        monkeypatch.delenv(name)
    for name in (*PLATFORM_VARIABLES, *("port", "url", "world", "quiet")):
        monkeypatch.setenv(f"MOCKSERVER_{name.upper()}", "1")
    monkeypatch.setenv("MOCKSERVER_MAX_UPLAOD", "1GB")
    options.warn_of_unknown_variables()
    assert capsys.readouterr().err == (
        "mockserver: MOCKSERVER_MAX_UPLAOD is ignored: unknown variable; did you mean MOCKSERVER_MAX_UPLOAD?\n"
    )


def test_environment_variables_of_all_commands_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables: set[str] = set()
    pending: list[click.Command] = [main]
    while pending:
        command = pending.pop()
        context = click.Context(command)
        variables |= {str(each.envvar) for each in command.get_params(context) if each.envvar}
        if isinstance(command, click.Group):
            subcommands = (command.get_command(context, name) for name in command.list_commands(context))
            pending += filter(None, subcommands)
    assert {"MOCKSERVER_SEED", "MOCKSERVER_JUNIT", "MOCKSERVER_WORLD"} <= variables
    for variable in variables:
        monkeypatch.setenv(variable, "x")
    options.warn_of_unknown_variables()
    assert capsys.readouterr().err == ""
