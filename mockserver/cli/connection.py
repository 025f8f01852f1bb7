"""The server and the world that a command acts on: their options, and calls of the control plane."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import click

from mockserver.choices import valid_name
from mockserver.cli.options import BAD_SEED, FAILED, INVALID, Parsed, die, environment_option, from_environment
from mockserver.client import Control, MockError, path_to, server_url
from mockserver.settings import environment_name, key, port

RESPONSE_SECONDS = 60.0
"""How long a usual response may take. Commands that move contents or wait have no limit."""
NO_PORT = "no server can be reached at port 0; name its address with --url"

REMEDIES = {
    "world_not_found": "Its first use creates it. List the worlds with: mockserver world list",
    "snapshot_not_found": "List the snapshots with: mockserver snapshot list",
    "fault_not_found": "List the rules with: mockserver fault list",
    "answer_not_found": "List the answers with: mockserver answer list",
    "wrong_token": "Give the token with --token or MOCKSERVER_CONTROL_TOKEN.",
}
"""What to do about an error, by its code, in terms of commands."""


@dataclass(frozen=True)
class Target:
    control: Control
    world: str
    """Empty for all worlds."""
    as_json: bool

    def server(
        self, method: str, path: str, body: Any = None, timeout: float | None = RESPONSE_SECONDS, **more: Any
    ) -> Any:
        """Call a route of the server, and return the JSON of its response."""
        response = self.control(method, path, body, timeout=timeout, **more)
        if isinstance(response, bytes):
            die(f"the server at {self.control.url} is not a mock server; name another with --url", FAILED)
        return response

    def __call__(self, method: str, path: str = "", *body: Any, **more: Any) -> Any:
        """Call a route of the world, and return the JSON of its response."""
        return self.server(method, self.path(path), *body, **more)

    def path(self, path: str) -> str:
        return f"{path_to('worlds', self.world)}/{path}".rstrip("/")

    def show(self, response: Any, lines: Callable[[Any], Iterable[str]]) -> None:
        """Print a response as JSON, or as the lines that are made of it."""
        for line in [json.dumps(response, indent=2, ensure_ascii=False)] if self.as_json else lines(response):
            print(line)


@contextmanager
def errors_end_the_program() -> Iterator[None]:
    """Exit with the reason if the control plane returns an error or can't be reached."""
    try:
        yield
    except MockError as error:
        name = error.code or ""
        rejected = error.status == 400 or name.startswith("invalid_")
        code = BAD_SEED if name == "invalid_seed" else INVALID if rejected else FAILED
        die(f"{error.reason.removeprefix('body: ')} {REMEDIES.get(name, '')}".strip(), code)


@contextmanager
def sending(file: object) -> Iterator[None]:
    """Name the file that is sent in an error about its content, in place of the request's body."""
    try:
        yield
    except MockError as error:
        if not (error.code or "").startswith("invalid_"):
            raise
        reason = re.sub("^(body|archive)(?=:)", "", error.reason)
        reason = f"{file}{reason}" if reason[0] == ":" else f"{file}: {reason}"
        raise MockError(str(error), error.status, error.code, reason) from None


def _default_url() -> str:
    variable = environment_name("port")
    try:
        number = port(from_environment(variable) or "8080")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=variable) from None
    if not number:
        raise click.BadParameter(NO_PORT, param_hint=variable)
    return f"{'https' if from_environment(environment_name('tls_cert')) else 'http'}://localhost:{number}"


def server_address(text: str) -> str:
    """`server_url` for an option. Raises ValueError."""
    try:
        return server_url(text)
    except MockError as error:
        raise ValueError(str(error)) from None


def world_option(help: str, default: str | None = "default") -> Callable[[Any], Any]:
    return environment_option("world", help, default=default, show_default=True, type=Parsed(valid_name))


_WORLD = world_option("World to act on.")
ANY_WORLD = world_option("World to act on; all worlds by default.", default=None)
WORLD_ARGUMENT = click.argument("world", metavar="NAME", type=Parsed(valid_name))
OPTIONAL_WORLD_ARGUMENT = click.argument(
    "world", metavar="[NAME]", envvar="MOCKSERVER_WORLD", default="default", type=Parsed(valid_name)
)
_URL = environment_option(
    "url",
    "Address of the server.",
    default=_default_url,
    show_default="localhost, MOCKSERVER_PORT or 8080",
    type=Parsed(server_address),
)
_TOKEN = click.option(
    "--token",
    envvar="MOCKSERVER_CONTROL_TOKEN",
    show_envvar=True,
    type=Parsed(key),
    help="The --control-token of the server.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the control plane's response as JSON.")


def command(
    group: click.Group, name: str, where: Callable[[Any], Any] | None = _WORLD, **more: Any
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command of a group. It is passed the target that its options name.

    `where` is the option or argument that names the world.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        made: click.Command = group.command(name, **more)(function)
        made.callback = functools.partial(_call, function)
        for option in filter(None, (where, _URL, _TOKEN, _JSON)):
            option(made)
        return made

    return decorate


def _call(
    function: Callable[..., None], url: str, token: str | None, as_json: bool, world: str | None = None, **given: Any
) -> None:
    with errors_end_the_program(), closing(Control(url, token)) as control:
        function(Target(control, world or "", as_json), **given)
