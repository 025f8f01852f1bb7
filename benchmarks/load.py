"""Generate the load: `wrk` for small requests, a plain socket for large bodies."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mockserver.clock import stopwatch

LUA = Path(__file__).with_name("wrk.lua")
KEY = "sk-benchmark"
UNIQUE = b"@" * 16
"""A placeholder in a request; `wrk.lua` replaces it with a unique number."""
CONNECTIONS = 16
BOUNDARY = "benchmark-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class MeasurementError(Exception):
    """A candidate could not be measured; the message gives the reason, for example its error response."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"

    def raw(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}"]
        if self.body:
            lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def send(self, port: int) -> bytes:
        """Send the request and return the response's body. Raise MeasurementError unless it succeeds."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {KEY}"} | ({"Content-Type": self.content_type} if self.body else {})
        try:
            client.request(self.method, self.path, self.body or None, headers)
            return _success(client)
        except (OSError, http.client.HTTPException) as error:
            raise MeasurementError(_describe(error)) from error
        finally:
            client.close()


@dataclass(frozen=True)
class WrkResult:
    requests: int
    seconds: float
    p50: float
    p99: float
    """Latencies, in milliseconds."""


def run_wrk(port: int, requests: Sequence[Request], seconds: int, connections: int = CONNECTIONS) -> WrkResult:
    """Send the requests in turn, repeatedly, over several connections."""
    with tempfile.NamedTemporaryFile() as file:
        for each in requests:
            raw = each.raw()
            file.write(b"%d\n%b" % (len(raw), raw))
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", "-s", str(LUA)]
        command += [f"http://127.0.0.1:{port}", file.name, os.urandom(4).hex()]
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(next(line for line in completed.stdout.splitlines() if line.startswith("{")))
    if result["failed"] or result["broken"] or not result["requests"]:
        raise MeasurementError(
            f"{result['failed']} of {result['requests']} requests failed, {result['broken']} connections failed"
        )
    return WrkResult(result["requests"], result["seconds"], result["p50"], result["p99"])


def form(content: bytes, name: str = "data.bin", **fields: str) -> bytes:
    head, tail = _ends(name, fields)
    return head + content + tail


def _ends(name: str, fields: dict[str, str], file: str = "file") -> tuple[bytes, bytes]:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{file}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


class LargeForm:
    """A multipart form on disk with a file of random bytes, which change with each upload."""

    def __init__(self, path: Path, size: int, field: str = "file", **fields: str) -> None:
        head, tail = _ends("large.bin", fields, field)
        self.path, self.size, self._start = path, size, len(head)
        with path.open("wb") as file:
            file.write(head)
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
            file.write(tail)

    def change(self) -> None:
        with self.path.open("r+b") as file:
            file.seek(self._start)
            file.write(os.urandom(16))

    def upload(self, port: int, path: str) -> tuple[float, bytes]:
        """Upload the form; return the seconds until the response was received, and its body."""
        self.change()
        return send_form(port, path, self.path)


def send_form(port: int, path: str, form: Path, rate: float = float("inf")) -> tuple[float, bytes]:
    """Send a form, with at most `rate` bytes per second; return the seconds it took and the response's body."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        with form.open("rb") as file:
            started = stopwatch()
            client.putrequest("POST", path)
            client.putheader("Authorization", f"Bearer {KEY}")
            client.putheader("Content-Type", FORM)
            client.putheader("Content-Length", str(form.stat().st_size))
            client.endheaders()
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # a server that rejects the upload may respond and close early
                sent = 0
                while rate < float("inf") and (block := file.read(1 << 16)):
                    client.sock.sendall(block)
                    sent += len(block)
                    time.sleep(max(0.0, started + sent / rate - stopwatch()))
                client.sock.sendfile(file, sent)
            response = _success(client)
            return stopwatch() - started, response
    except (OSError, http.client.HTTPException) as error:
        raise MeasurementError(_describe(error)) from error
    finally:
        client.close()


def send_at_interval(port: int, request: Request, until: Callable[[], bool], interval: float = 0.002) -> list[float]:
    """Send a request every `interval` seconds on one connection; return the latencies in milliseconds."""
    raw, latencies = request.raw(), []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not until():
            started = stopwatch()
            client.sendall(raw)
            response = client.recv(65536)
            while not response.endswith(b"}"):
                response += client.recv(65536)
            if not response.startswith(b"HTTP/1.1 200"):
                raise MeasurementError(response[:40].decode("latin-1"))
            latencies.append((stopwatch() - started) * 1000)
            time.sleep(max(0.0, started + interval - stopwatch()))
    return latencies


def download(port: int, path: str, size: int) -> float:
    """Download content of a known size and discard it; return the seconds it took."""
    request = Request("GET", path).raw()
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        started = stopwatch()
        client.sendall(request)
        count = client.recv_into(buffer)
        while b"\r\n\r\n" not in buffer[:count]:
            count += client.recv_into(memoryview(buffer)[count:])
        head, _, rest = bytes(buffer[:count]).partition(b"\r\n\r\n")
        if head.split(b" ")[1] != b"200" or b"content-length: %d" % size not in head.lower():
            raise MeasurementError(head.split(b"\r\n")[0].decode("latin-1").partition(" ")[2])
        remaining = size - len(rest)
        while remaining:
            received = client.recv_into(buffer)
            if not received:
                raise MeasurementError("the content ended early")
            remaining -= received
        return stopwatch() - started


def _describe(error: Exception) -> str:
    return "connection reset" if isinstance(error, ConnectionError) else str(error) or type(error).__name__


def _success(client: http.client.HTTPConnection) -> bytes:
    response = client.getresponse()
    body = response.read()
    if response.status >= 300:
        raise MeasurementError(f"{response.status} {response.reason}")
    return body


if __name__ == "__main__":  # arguments: PORT PATH FORM BYTES_PER_SECOND
    send_form(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
