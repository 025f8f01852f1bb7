"""The candidates: the command that starts each one, and the processor time and memory of its process."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import MeasurementError
from mockserver.clock import stopwatch

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).with_name("node_modules")
PEER_VERSIONS = {"@stdy/cli": "0.22.2", "@stoplight/prism-cli": "5.16.0", "@copilotkit/aimock": "1.43.0"}
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0


@dataclass(frozen=True)
class Candidate:
    name: str
    label: str
    command: Callable[[int, Path], Sequence[str]]
    """Returns the command line for a port and a folder for its data."""
    base: str = ""
    """The path before `/containers`."""


@dataclass(frozen=True)
class Running:
    process: "subprocess.Popen[bytes]"
    port: int
    base: str
    folder: Path

    @property
    def pids(self) -> list[int]:
        """The process and all of its descendants."""
        found, index = [self.process.pid], 0
        while index < len(found):
            for children in Path(f"/proc/{found[index]}/task").glob("*/children"):
                found += map(int, children.read_text().split())
            index += 1
        return found

    def cpu(self) -> float:
        """Return the processor time so far in seconds, user and system."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def resident(self) -> int:
        """Return the resident memory in bytes."""
        return sum(memory(pid, "VmRSS") for pid in self.pids)

    def peak(self) -> int:
        """Return the peak of resident memory in bytes, since the start or the last `reset_peak`."""
        return sum(memory(pid, "VmHWM") for pid in self.pids)

    def reset_peak(self) -> None:
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def memory(pid: int, name: str) -> int:
    """Return a figure of `/proc/PID/status` in bytes: `VmRSS` (resident) or `VmHWM` (its peak)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def environment() -> dict[str, str]:
    """Return the environment of all processes: default settings, and bytecode is written as for installed packages."""
    dropped = ("MOCKSERVER_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def started(candidate: Candidate, folder: Path, *more: str) -> Iterator[Running]:
    """Start a candidate, wait until it accepts connections, and stop it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    port = unused_port()
    command = [*candidate.command(port, folder), *more]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
    try:
        wait_for(process, port, folder)
        yield Running(process, port, candidate.base, folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    """Wait until a process accepts a connection. Raise MeasurementError if it exits or takes too long."""
    deadline = stopwatch() + START_SECONDS
    while stopwatch() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.002)
    last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:] if (folder / "log").exists() else []
    raise MeasurementError(f"failed to start: {''.join(last)[:120] or 'no output'}")


def program(name: str) -> list[str]:
    """Return the command that is installed next to the running Python, or else `python -m`."""
    script = Path(sys.executable).with_name(name)
    return [str(script)] if script.exists() else [sys.executable, "-m", name]


def _own(target: str) -> Callable[[int, Path], Sequence[str]]:
    return lambda port, folder: [sys.executable, "-m", "benchmarks.serve", target, str(port), str(folder)]


def _peer(package: str, name: str, *arguments: str) -> Callable[[int, Path], Sequence[str]]:
    """Return a command of an npm package; replaces `{port}`, `{home}` and `{description}` in its arguments."""

    def command(port: int, folder: Path) -> Sequence[str]:
        home = PEERS / package
        script = home / json.loads((home / "package.json").read_text())["bin"][name]
        description = folder / "openapi.json"
        if "{description}" in arguments:
            description.write_text(json.dumps(openapi_document()))
        formatted = [each.format(port=port, home=home, description=description) for each in arguments]
        return ["node", str(script), *formatted]

    return command


SERVER = Candidate(
    "server",
    "mockserver",
    lambda port, folder: [*program("mockserver"), "serve", "--quiet", "--port", str(port)],
    "/v1",
)
PERSISTENT = Candidate(
    "server",
    "mockserver",
    lambda port, folder: [*SERVER.command(port, folder), "--data", str(folder / "data")],
    "/v1",
)
ASGI = Candidate("asgi", "bare ASGI", _own("benchmarks.bare:constant"))
FASTAPI = Candidate("fastapi", "bare FastAPI", _own("benchmarks.plain:app"))
ROUTES = Candidate("routes", "FastAPI, all routes", _own("benchmarks.routes:app"))
IDIOMATIC = Candidate("idiomatic", "idiomatic", _own("benchmarks.idiomatic:app"))
HASHING = Candidate("hashing", "bare ASGI loop", _own("benchmarks.bare:hashing"))
DISCARD = Candidate("discard", "bare ASGI, discards", _own("benchmarks.bare:discard"))
STDY = Candidate(
    "stdy", "@stdy/cli", _peer("@stdy/cli", "steady", "--quiet", "--host", "127.0.0.1", "-p", "{port}", "{description}")
)
PRISM = Candidate(
    "prism",
    "@stoplight/prism-cli",
    _peer("@stoplight/prism-cli", "prism", "mock", "-v", "error", "-p", "{port}", "{description}"),
)
AIMOCK = Candidate(
    "aimock",
    "@copilotkit/aimock",
    _peer("@copilotkit/aimock", "llmock", "--log-level", "silent", "-f", "{home}/fixtures", "-p", "{port}"),
    "/v1",
)


def install_peers() -> str | None:
    """Install the peers into `node_modules`; return the reason if that fails, else None."""
    if not shutil.which("npm"):
        return "npm was not found"
    packages = [f"{name}@{version}" for name, version in PEER_VERSIONS.items()]
    marker = PEERS / ".installed"
    if marker.exists() and marker.read_text() == " ".join(packages):
        return None
    command = ["npm", "install", "--prefix", str(PEERS.parent), "--no-save", "--no-package-lock", "--no-audit"]
    completed = subprocess.run([*command, "--no-fund", "--ignore-scripts", *packages], capture_output=True, text=True)
    if completed.returncode:
        return f"npm install failed: {completed.stderr.strip().splitlines()[-1:]}"
    marker.write_text(" ".join(packages))
    return None


def openapi_document() -> object:
    """Return the server's OpenAPI document."""
    from mockserver.api.app import create_app
    from mockserver.mock import Mock
    from mockserver.settings import Settings

    mock = Mock(Settings())
    try:
        return create_app(mock).openapi()
    finally:
        mock.close()
