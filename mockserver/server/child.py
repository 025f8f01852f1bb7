"""A server in a child process, for a process whose tests replace time, files, threads or sockets.

The parent sends one line of JSON to the child's standard input and keeps that open: when it is closed,
because the parent ended, the child stops. What prevents a start is one line of JSON on
the child's standard output.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from mockserver.settings import Settings, url
from mockserver.testing import MockError, Server

START_SECONDS = 60.0
STOP_SECONDS = 10.0

# The package's folder comes last in the path, so that nothing beside it takes the place of another module.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from mockserver.server.child import main; main()"


class StartFailed(Exception):
    """The child process didn't start to serve; the message says why."""


class ChildServer(Server):
    """A mock server in a child process, as a context manager.

    It serves on a socket that is bound already, and on the settings' host and port if they are given.
    """

    def __init__(self, options: Mapping[str, Any], bound: socket.socket, secret: str) -> None:
        self.settings = Settings(**options)
        self._options = options
        self._bound = bound
        self._secret = secret

    def __enter__(self) -> Self:
        port = self._bound.getsockname()[1]
        inherits = sys.platform != "win32"
        order = {"options": self._options, "secret": self._secret, "port": port}
        if inherits:
            self._bound.listen(2048)
            order["socket"] = self._bound.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._bound.fileno()] if inherits else (),
            start_new_session=True,  # Ctrl+C in a terminal is for the tests, which stop the child when they end
        )
        self._bound.close()
        self._owner = os.getpid()
        host, named = self.settings.host[0], self._options.get("port") and self.settings.port
        self._reach_own(url(host if named else "127.0.0.1", named or port), self.settings)
        try:
            assert self._process.stdin, "it is a pipe"
            self._process.stdin.write(json.dumps(order, default=str).encode() + b"\n")
            self._process.stdin.flush()
            self.control("GET", "state", timeout=START_SECONDS)
        except (MockError, OSError) as error:
            raise StartFailed(self._reason(error)) from None
        except BaseException:
            self._stop()
            raise
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("mock", "run"):
            raise AttributeError(
                f"this mock server runs in a child process, so it has no `{name}`; use its control plane, or set "
                "mockserver_process = thread"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._owner != os.getpid():  # a forked child ends its block too, and the server is its parent's
            return
        self.close()
        self._stop()

    def _stop(self) -> bytes:
        """Return what the child wrote."""
        try:
            output, _ = self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        return output

    def _reason(self, error: Exception) -> str:
        output = self._stop()
        with suppress(ValueError, LookupError):
            return str(json.loads(output)["error"])
        if isinstance(error, MockError) and error.status is not None:
            return str(error)
        if isinstance(error.__cause__, TimeoutError):
            return f"its child process doesn't respond within {START_SECONDS:.0f} s"
        return f"its child process ended with exit code {self._process.returncode}; its standard error says why"


def main() -> None:
    """Serve as the line on standard input says, until standard input ends."""
    if sys.platform != "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints must not stand between the lines for the parent
    order = json.loads(sys.stdin.readline())

    from mockserver.server.dispatch import Current
    from mockserver.server.serving import START_ERRORS, MockServer, bind, share_fairly

    share_fairly()
    try:
        if "socket" in order:
            listening = [socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, order["socket"])]
        else:
            listening = bind(["127.0.0.1"], order["port"])
        current = Current(order["secret"])
        with MockServer(current=current, listening=listening, **order["options"]):
            sys.stdin.read()
    except START_ERRORS as error:
        output.write(json.dumps({"error": str(error)}))
        output.flush()
        sys.exit(1)
    os._exit(0)  # all is closed; taking the interpreter apart would take another 0.2 s
