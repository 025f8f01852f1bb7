"""nginx, configured as in the guide *Many servers*, in front of the servers of a test."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from benchmarks.ring import Ring

FILES = Path(__file__).parents[1] / "docs" / "guides" / "many-servers"


def require_nginx() -> str:
    """Return the program. Without it the test is skipped, and fails in CI."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        assert os.environ.get("CI") != "true", "there is no nginx; .ci/run installs it"
        pytest.skip("needs nginx")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ring(ports: Mapping[str, int]) -> Ring:
    """Return a model of how nginx distributes worlds over these servers."""
    return Ring({name: f"127.0.0.1:{port}" for name, port in ports.items()})


class Nginx:
    """nginx with the files of the guide, whose ports are replaced, in a folder of its own."""

    def __init__(self, folder: Path, ports: Mapping[str, int], changes: Mapping[str, str] | None = None) -> None:
        """`ports` are those of the servers by name, `changes` the replacements for parts of nginx.conf."""
        program = require_nginx()
        self.port, self._folder = free_port(), folder
        folder.mkdir(exist_ok=True)
        configuration = (FILES / "nginx.conf").read_text()
        for old, new in {"listen 8080": f"listen 127.0.0.1:{self.port}", **(changes or {})}.items():
            assert old in configuration
            configuration = configuration.replace(old, new)
        (folder / "nginx.conf").write_text(configuration)
        self._set_servers(ports)
        settings = "daemon off; pid nginx.pid; error_log error.log warn;"
        self._command = [program, "-p", str(folder), "-c", "nginx.conf", "-g", settings]
        self.url = f"http://localhost:{self.port}"

    def _set_servers(self, ports: Mapping[str, int]) -> None:
        """Write servers.conf, with the lines of the guide's file repeated for each server."""
        worlds, *single = re.findall(
            r"^upstream .*?^}\n", (FILES / "servers.conf").read_text(), re.DOTALL | re.MULTILINE
        )
        line = re.findall(r".*:8081.*\n", worlds)[0]
        lines = [line.replace("8081", str(port)) for port in ports.values()]
        blocks = [single[0].replace("mock-0", name).replace("8081", str(port)) for name, port in ports.items()]
        text = re.sub(r"( *server .*\n)+", "".join(lines), worlds) + "".join(blocks)
        (self._folder / "servers.conf").write_text(text)
        self.ring = ring(ports)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command)
        while True:
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port), 60).close()
                return self
            assert self.process.poll() is None, self.log()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(60)

    def reload(self, ports: Mapping[str, int]) -> None:
        """Change the servers, and wait until only workers with the new configuration accept connections."""
        old = self.workers()
        self._set_servers(ports)
        self.process.send_signal(signal.SIGHUP)
        while any(_accepts_connections(pid) for pid in old) or not self.workers() - old:
            assert self.process.poll() is None

    def log(self) -> str:
        return (self._folder / "error.log").read_text()

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return set(map(int, children.split()))

    def peak_memory(self) -> int:
        """Return the peak memory of the largest worker in bytes."""
        return max(map(peak_memory, self.workers()))


def _accepts_connections(pid: int) -> bool:
    try:
        return "shutting down" not in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def peak_memory(pid: int) -> int:
    """Return the peak memory of a process in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10
