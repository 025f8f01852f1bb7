"""What is said about a name that is not in a known set."""

import os
from difflib import SequenceMatcher

import click
import pytest

from mockserver.choices import MAX_SHOWN, nearest, unknown
from mockserver.cli import options
from mockserver.cli.main import main
from mockserver.settings import log_level

COLORS = ["red", "Green", "blue"]


def test_the_nearest_name_is_offered_before_all_of_them() -> None:
    assert unknown("color", "gren", COLORS) == (
        "unknown color 'gren'; did you mean 'Green'? choose one of: red, Green, blue"
    )


@pytest.mark.parametrize("name", ["GREEN", "green", "grEem"])
def test_case_does_not_matter(name: str) -> None:
    assert nearest(name, COLORS) == "Green"


@pytest.mark.parametrize(("name", "shown"), [("xyz", "'xyz'"), ("", "''"), (3, "3"), (["red"], "['red']")])
def test_nothing_is_offered_where_nothing_is_near(name: object, shown: str) -> None:
    assert unknown("color", name, COLORS) == f"unknown color {shown}; choose one of: red, Green, blue"


@pytest.mark.parametrize(
    ("kind", "rest"), [("error", "see docs/reference/errors.md for all"), ("color", "")], ids=["listed", "not listed"]
)
def test_a_good_guess_is_not_followed_by_many_names(kind: str, rest: str) -> None:
    many = [f"name{number}" for number in range(100)]
    assert unknown(kind, "nam7", many) == f"unknown {kind} 'nam7'; did you mean 'name7'? {rest}".rstrip()
    assert unknown(kind, "xyz", many).endswith(f"choose one of: {', '.join(many)}")


def test_a_name_where_none_is_known_has_to_go() -> None:
    assert unknown("key", "x", []) == "unknown key 'x'; remove it"


def test_no_number_is_near_another() -> None:
    assert unknown("status", "500", [400, 404]) == "unknown status '500'; choose one of: 400, 404"


def test_a_long_name_is_cut_before_it_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    set_name = SequenceMatcher.set_seq2

    def recorded(self: "SequenceMatcher[str]", name: str) -> None:
        compared.append(name)
        set_name(self, name)

    monkeypatch.setattr(SequenceMatcher, "set_seq2", recorded)
    message = unknown("color", "x" * 1_000_000, COLORS)
    assert max(map(len, compared)) == MAX_SHOWN
    assert message == f"unknown color '{'x' * MAX_SHOWN}'; choose one of: red, Green, blue"


def test_a_log_level_is_one_of_a_few() -> None:
    with pytest.raises(
        ValueError, match=r"unknown log level 'warnin'; did you mean 'warning'\? choose one of: debug, "
    ):
        log_level("warnin")


PLATFORM = (
    "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "PORT_8080_TCP_PORT",
    "PORT_8080_TCP_PROTO", "NAME", "ENV_PATH",
)  # fmt: skip  # what Kubernetes and Docker set for a service or a link of the name


def test_a_misspelled_variable_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [each for each in os.environ if each.startswith("MOCKSERVER_")]:
        monkeypatch.delenv(name)
    for name in (*PLATFORM, *("port", "url", "world", "quiet")):
        monkeypatch.setenv(f"MOCKSERVER_{name.upper()}", "1")
    monkeypatch.setenv("MOCKSERVER_MAX_UPLAOD", "1GB")
    options.warn_of_unknown_variables()
    assert capsys.readouterr().err == (
        "mockserver: MOCKSERVER_MAX_UPLAOD is ignored: unknown variable; did you mean MOCKSERVER_MAX_UPLOAD?\n"
    )


def test_no_command_has_a_variable_that_is_called_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables: set[str] = set()
    pending: list[click.Command] = [main]
    while pending:
        command = pending.pop()
        context = click.Context(command)
        variables |= {str(each.envvar) for each in command.get_params(context) if each.envvar}
        if isinstance(command, click.Group):
            found = (command.get_command(context, name) for name in command.list_commands(context))
            pending += filter(None, found)
    assert {"MOCKSERVER_SEED", "MOCKSERVER_JUNIT", "MOCKSERVER_WORLD"} <= variables
    for variable in variables:
        monkeypatch.setenv(variable, "x")
    options.warn_of_unknown_variables()
    assert capsys.readouterr().err == ""
