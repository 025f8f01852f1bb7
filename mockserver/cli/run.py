"""`mockserver run`: a server for as long as a command runs, which finds it by its environment."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from mockserver.cli import options
from mockserver.cli.control import Server, judge
from mockserver.cli.options import BAD_SEED, CANNOT_BIND, EPILOG, FAILED, NOT_EXECUTABLE, NOT_FOUND, UNUSABLE_DATA, die
from mockserver.environment import client_environment
from mockserver.settings import Settings, environment_name

log = logging.getLogger("mockserver")

_OWN = {"host": Settings().host, "port": 0, "data": None}
"""What the environment says of these is about another server, the one that others share."""

_FROM_TERMINAL = ("SIGINT", "SIGQUIT")


@click.command(epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@options.settings(private=_OWN)
@click.option(
    "--world",
    envvar="MOCKSERVER_WORLD",
    show_envvar=True,
    default="default",
    show_default=True,
    type=options.Parsed(options.valid_name),
    help="World that the command's clients use.",
)
@click.option("--verdict", is_flag=True, help="Fail with a report if clients did something wrong, in any world.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="FINDING",
    help="What the verdict is to leave out.",
    shell_complete=options.complete(options.findings),
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: Sequence[str], world: str, verdict: bool, ignore: Sequence[str], **given: Any) -> None:
    """Run a command with a server of its own, and pass on its exit code.

    The server takes a free port, holds temporary data unless --data names a directory, and ends with
    the command, which finds it by OPENAI_BASE_URL, OPENAI_API_KEY and MOCKSERVER_URL:

    \b
      mockserver run -- npm test
      mockserver run --seed seeds/ --verdict -- pytest -x
    """
    relay = _Relay()
    settings = Settings(**given)
    logging.basicConfig(level=settings.log_level.upper(), format="mockserver: %(levelname)s %(message)s")
    if os.environ.get(several := environment_name("workers"), "1") not in ("", "1"):
        log.warning("%s is ignored; a server is one process", several)

    from mockserver.server.serving import CannotBind, MockServer
    from mockserver.settings import SeedError
    from mockserver.storage.directory import DirectoryUnusable
    from mockserver.verdict import FINDINGS

    for name in ignore:
        if name not in FINDINGS:
            raise click.BadParameter(f"{name!r} is no finding; there are {', '.join(FINDINGS)}", param_hint="--ignore")
    try:
        with MockServer(settings) as server:
            control = Server(server.url, settings.control_token, world)
            if verdict:
                control.ask("GET", "/_mock/worlds")  # a closed control plane is told before the command runs
            code = relay.run(command, surroundings(os.environ, server.url, world, settings))
            if verdict and not judge(control, ignore) and code == 0:
                code = FAILED
    except CannotBind as error:
        die(error, CANNOT_BIND)
    except SeedError as error:
        die(error, BAD_SEED)
    except DirectoryUnusable as error:
        die(error, UNUSABLE_DATA)
    sys.stderr.flush()
    os._exit(code)  # all is closed; taking the interpreter apart would take another 0.2 s


def surroundings(given: Mapping[str, str], url: str, world: str, settings: Settings) -> dict[str, str]:
    """The command's environment: one in which every OpenAI client finds the server and nothing else."""
    base_url = f"{url}/v1" if world == "default" else f"{url}/w/{world}/v1"
    changes: dict[str, str | None] = {
        **client_environment(given, base_url, settings.api_key[0] if settings.api_key else "sk-test"),
        "MOCKSERVER_URL": url,
        "MOCKSERVER_WORLD": world,
    }
    if settings.control_token:
        changes["MOCKSERVER_CONTROL_TOKEN"] = settings.control_token
    return {name: value for name, value in {**given, **changes}.items() if value is not None}


class _Relay:
    """Passes signals on to the command; one that comes earlier keeps it from being started.

    A signal that is ignored here stays so in the command. What a terminal sends reaches the command by itself.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early = 0
        for name in (*_FROM_TERMINAL, "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._pass_on)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """The command's exit code, as shells have it: 128 and the number of the signal that ended it."""
        if self._early:
            return 128 + self._early
        try:
            self._process = subprocess.Popen(command, env=environment, close_fds=False)  # what make hands down stays
        except FileNotFoundError:
            die(f"{command[0]}: command not found", NOT_FOUND)
        except OSError as error:
            die(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE)
        if self._early:
            self._pass_on(self._early)
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def _pass_on(self, number: int, _: object = None) -> None:
        if self._process is None:
            self._early = number
        elif signal.Signals(number).name not in _FROM_TERMINAL or not _in_foreground():
            self._process.send_signal(number)


def _in_foreground() -> bool:
    """Whether a terminal sends its signals to this process, and so to the command beside it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
