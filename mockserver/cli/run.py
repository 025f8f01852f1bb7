"""`mockserver run`: run a command with a server of its own, which its clients find by their environment."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mockserver.cli import options, output, reports
from mockserver.cli.connection import errors_end_the_program, world_option
from mockserver.cli.options import EPILOG, FAILED, NOT_EXECUTABLE, NOT_FOUND, die
from mockserver.control.models import Verdict
from mockserver.environment import client_environment
from mockserver.settings import Settings, environment_name

log = logging.getLogger("mockserver")

_OWN = {"host": Settings().host, "port": 0, "data": None, "name": None, "shutdown_delay": 0.0}
"""Settings for which the environment is ignored: it describes another server, which others share."""

_FROM_TERMINAL = ("SIGINT", "SIGQUIT")


@click.command(epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@options.settings(private=_OWN, log_level="warning")  # the command's own output stays readable
@world_option("World that the command's clients use.")
@options.environment_option(
    "verdict",
    "Report mistakes of clients in any world, and fail if there are any. Without it, --junit and --github only report them.",
    is_flag=True,
)
@reports.options
@options.environment_option(
    "keep_open", "If the command or the verdict fails, keep the server running until Ctrl-C.", is_flag=True
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: Sequence[str],
    world: str,
    verdict: bool,
    ignore: Sequence[str],
    junit: Path | None,
    github: bool,
    keep_open: bool,
    **given: Any,
) -> None:
    """Run a command with a server of its own, and pass on its exit code.

    The server uses a free port and temporary data unless --port and --data are given, and stops when
    the command ends. The command's clients find it by OPENAI_BASE_URL, OPENAI_API_KEY and MOCKSERVER_URL:

    \b
      mockserver run -- npm test
      mockserver run --seed seeds/ --verdict -- pytest -x
      mockserver run --keep-open --junit verdict.xml -- pytest -x
    """
    relay = _Relay()
    settings = options.starting(given, "mockserver: %(levelname)s %(message)s")
    if os.environ.get(several := environment_name("workers"), "1") not in ("", "1"):
        log.warning("%s is ignored; a server is one process", several)

    from mockserver.server.serving import MockServer

    reports_verdicts = verdict or junit or github
    with options.start_errors_end_the_program(), errors_end_the_program(), MockServer(settings) as server:
        if reports_verdicts:
            server.state()  # a closed control plane is an error before the command runs
            deleted = reports.Deleted(server.mock, ignore)
        code = relay.run(command, command_environment(os.environ, server.url, world, settings))
        found: dict[str, Verdict] = {}
        if reports_verdicts:
            found = deleted.verdicts() | reports.verdicts(server.control, ignore)
            if deleted.dropped:
                options.warn(f"{deleted.dropped} more findings, in worlds that were deleted later, are not listed")
        if verdict and not print_findings(found) and code == 0:
            code = FAILED
        reports.write(found, ignore, junit, github)
        if keep_open and code and not relay.stopped:
            options.warn(f"failed with exit code {code}; see {server.url}/_mock/ and stop the server with Ctrl-C")
            relay.wait()
    sys.stderr.flush()
    os._exit(code)  # all is closed; a usual exit would take another 0.2 s


def print_findings(found: Mapping[str, Verdict]) -> bool:
    """Print what was found to the standard error. Return whether that is nothing."""
    for name, verdict in found.items():
        if not verdict["ok"]:
            for line in output.verdict(name, verdict):
                print(f"mockserver: {line}", file=sys.stderr)
    return all(verdict["ok"] for verdict in found.values())


def command_environment(given: Mapping[str, str], url: str, world: str, settings: Settings) -> dict[str, str]:
    """Return the command's environment, in which every OpenAI client finds the server and no other."""
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
    """Passes signals on to the command. A signal before its start prevents the start.

    A signal that is ignored here stays ignored in the command. A terminal sends its signals to the command too.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early = 0
        self.stopped = False
        """Whether a signal has come."""
        for name in (*_FROM_TERMINAL, "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._pass_on)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run the command and return its exit code, as shells do: 128 plus the number of the signal that ended it."""
        if self._early:
            return 128 + self._early
        try:
            self._process = subprocess.Popen(
                command, env=environment, close_fds=False
            )  # descriptors that make passes on stay open
        except FileNotFoundError:
            die(f"{command[0]}: command not found", NOT_FOUND)
        except OSError as error:
            die(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE)
        if self._early:
            self._pass_on(self._early)
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def wait(self) -> None:
        """Wait for a signal, after the command has ended."""
        while not self.stopped:
            time.sleep(0.1)  # a handler may not use the locks of threading

    def _pass_on(self, number: int, _: object = None) -> None:
        self.stopped = True
        if self._process is None:
            self._early = number
        elif signal.Signals(number).name not in _FROM_TERMINAL or not _in_foreground():
            self._process.send_signal(number)


def _in_foreground() -> bool:
    """Return whether a terminal sends its signals to this process, and so to the command."""
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
