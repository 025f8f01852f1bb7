"""The parts that all commands share: an option for each setting, exit codes, warnings and errors."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from mockserver import profiles
from mockserver.choices import MAX_SHOWN, nearest
from mockserver.settings import ENVIRONMENT, LOG_LEVELS, NAMES, Settings, environment_name, flag, path

FAILED, INVALID, CANNOT_BIND, BAD_SEED, UNUSABLE_DATA, NOT_EXECUTABLE, NOT_FOUND = 1, 2, 3, 4, 5, 126, 127

EXIT_CODES = {
    0: "stopped by SIGINT, SIGTERM or SIGHUP, or done",
    FAILED: "no healthy server responds, it returns another error, or its verdict is not ok",
    INVALID: "invalid option, environment variable or argument, or a certificate that can't be used",
    CANNOT_BIND: "no socket could be opened on the host and port, or the process may open too few files",
    BAD_SEED: "invalid seed; nothing was written",
    UNUSABLE_DATA: "unusable data directory: in use, newer, damaged, not writable, or of another program",
    NOT_EXECUTABLE: "run: the command can't be executed",
    NOT_FOUND: "run: the command was not found",
}
SWITCHES_HELP = "\b\nSwitches of --profile, with their defaults:\n" + "\n".join(
    f"  {each.name}={profiles.worded(each.default)}  ({each.takes})\n      {each.meaning}"
    for each in profiles.SWITCHES.values()
)
EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())


_OTHER_VARIABLES = ("quiet", "json", "workers", "url", "world", "keep_open", "verdict", "ignore", "junit", "github")
"""Environment variables of commands that are not settings."""

_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def from_environment(variable: str) -> str | None:
    """Return the value of a variable, or None if it is unset, empty or a service link.

    Kubernetes sets MOCKSERVER_PORT=tcp://10.96.0.12:8080 in every pod beside a Service named `mockserver`, and
    Docker does for a link of that name; both win over the ENV of an image.
    """
    value = os.environ.get(variable)
    if value and _SERVICE_LINK.fullmatch(value):
        warn(
            f"{variable}={value} is ignored: it is a service link of Kubernetes or Docker; to choose a value, use a "
            "flag, or set enableServiceLinks: false in the pod"
        )
        return None
    return value or None


def warn_of_unknown_variables() -> None:
    """Warn of each environment variable whose name is almost that of an option; others may be a platform's."""
    known = [name.upper() for name in (*NAMES, *_OTHER_VARIABLES)]
    for variable in os.environ:
        name = variable.removeprefix(ENVIRONMENT)
        if variable.startswith(ENVIRONMENT) and name not in known and (near := nearest(name, known)):
            warn(f"{variable[:MAX_SHOWN]} is ignored: unknown variable; did you mean {ENVIRONMENT}{near}?")


class _Option(click.Option):
    """An option whose environment variable a platform may have set for another purpose."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return from_environment(self.envvar) if isinstance(self.envvar, str) else None


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic only in its type stubs
    """The type of a setting's option; the message of the parser's ValueError is shown."""

    envvar_list_splitter = ","

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.name = {"str": "text", "valid_name": "name", "server_address": "url"}.get(
            name := parse.__name__.lstrip("_"), name
        )
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return complete_file(ctx, param, incomplete) if self._parse is path else []


class _YesOrNo(click.types.BoolParamType):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        try:
            return bool(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is neither yes nor no; give 1 or 0", param, ctx)


_YES_OR_NO = _YesOrNo()


def environment_option(name: str, help: str, *parameter: str, **more: Any) -> Callable[[Any], Any]:
    """Return an option that is no setting, but can be given by an environment variable too."""
    variable = environment_name(name)
    if more.get("is_flag"):
        more["type"] = _YES_OR_NO
    return click.option(flag(name), *parameter, envvar=variable, show_envvar=True, help=help, **more)


Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def complete(names: Callable[[], Iterable[str]], several: bool = False) -> Completion:
    """Complete a name in a shell; where several are taken, also after a comma. The names are loaded only then."""

    def completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [before + comma + name for name in names() if name.startswith(last)]

    return completed


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the path of a file or directory."""
    return [CompletionItem(incomplete, type="file")]


def operations() -> Iterable[str]:
    from mockserver.schema.faults import OPERATIONS

    return OPERATIONS


def findings() -> Iterable[str]:
    from mockserver.verdict import FINDINGS

    return FINDINGS


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a profile, then of switches and their values: `live,delete_lag=5m`."""
    before, comma, last = incomplete.rpartition(",")
    name, equals, value = last.partition("=")
    if equals and name in profiles.SWITCHES:
        takes = profiles.SWITCHES[name].takes
        found = [f"{name}={each}" for each in takes.split(", ") if " " not in each and each.startswith(value)]
    else:
        found = [f"{each}=" for each in profiles.SWITCHES if each.startswith(last)]
        if not comma:
            found = [each for each in profiles.PROFILES if each.startswith(last)] + (found if last else [])
    return [before + comma + each for each in found]


_COMPLETIONS: dict[str, Completion] = {"profile": complete_profile, "log_level": complete(lambda: LOG_LEVELS)}


def settings(
    *only: str, private: Mapping[str, Any] | None = None, help: Mapping[str, str] | None = None, **defaults: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each setting, or for `only` some.

    `private` settings have no environment variable; it maps them to their defaults. `help` and `defaults` are the
    command's.
    """
    private = private or {}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for setting in reversed(fields(Settings)):
            if only and setting.name not in only:
                continue
            has_variable = setting.name not in private
            default = {**defaults, **private}.get(setting.name, setting.default)
            shown = setting.metadata["shown"] if default == setting.default else str(default)
            parse = setting.metadata["parse"]
            is_flag = parse is profiles.yes_or_no  # click ignores the variable of a flag of any other type
            command = click.option(
                flag(setting.name),
                cls=_Option,
                is_flag=is_flag,
                type=_YES_OR_NO if is_flag else Parsed(parse),
                default=default,
                multiple=setting.metadata["many"],
                help=(help or {}).get(setting.name, setting.metadata["help"]),
                envvar=environment_name(setting.name) if has_variable else None,
                show_envvar=has_variable,
                show_default=shown or False,
                shell_complete=_COMPLETIONS.get(setting.name),
            )(command)
        return command

    return decorate


def starting(given: Mapping[str, Any], log_format: str) -> Settings:
    """Return the settings of a server that is about to start in this process, and set the log and the process up."""
    settings = Settings(**given)
    logging.basicConfig(level=settings.log_level.upper(), format=log_format)
    if settings.log_level == "info":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)  # at info it says only that it starts and stops

    from mockserver.server.serving import share_fairly

    share_fairly()
    return settings


@contextmanager
def start_errors_end_the_program() -> Iterator[None]:
    """Exit with the reason and its code if a server can't start."""
    from mockserver.server.serving import BadCertificate, CannotBind
    from mockserver.settings import SeedError
    from mockserver.storage.directory import DirectoryUnusable

    try:
        yield
    except BadCertificate as error:
        die(error, INVALID)
    except CannotBind as error:
        die(error, CANNOT_BIND)
    except SeedError as error:
        die(error, BAD_SEED)
    except DirectoryUnusable as error:
        die(error, UNUSABLE_DATA)


def warn(reason: object) -> None:
    """Print one line to stderr."""
    print(f"mockserver: {' '.join(str(reason).split())}", file=sys.stderr)


def die(reason: object, code: int) -> NoReturn:
    """Print the reason in one line and exit."""
    warn(reason)
    sys.exit(code)
