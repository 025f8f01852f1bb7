"""What puts load on a candidate, the same for all: `wrk` for requests, a plain socket for large bodies."""

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
"""In a request, what `wrk.lua` replaces with a number of which there is only one."""
CONNECTIONS = 16
BOUNDARY = "benchmark-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Cannot(Exception):
    """A candidate can't do what is measured; the message says what it answered instead."""


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

    def ask(self, port: int) -> bytes:
        """The answer's body. Raises Cannot where it is no success."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {KEY}"} | ({"Content-Type": self.content_type} if self.body else {})
        try:
            client.request(self.method, self.path, self.body or None, headers)
            return _success(client)
        except (OSError, http.client.HTTPException) as error:
            raise Cannot(_worded(error)) from error
        finally:
            client.close()


@dataclass(frozen=True)
class Hammered:
    requests: int
    seconds: float
    p50: float
    p99: float
    """Latencies, in milliseconds."""


def hammer(port: int, requests: Sequence[Request], seconds: int, connections: int = CONNECTIONS) -> Hammered:
    """The requests in turn, over and over, on so many connections at once."""
    with tempfile.NamedTemporaryFile() as file:
        for each in requests:
            raw = each.raw()
            file.write(b"%d\n%b" % (len(raw), raw))
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", "-s", str(LUA)]
        command += [f"http://127.0.0.1:{port}", file.name, os.urandom(4).hex()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    if told["failed"] or told["broken"] or not told["requests"]:
        raise Cannot(f"{told['failed']} of {told['requests']} requests failed, {told['broken']} broke off")
    return Hammered(told["requests"], told["seconds"], told["p50"], told["p99"])


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
    """A form on disk whose file has so many bytes of noise; each upload of it has other content."""

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
        """Seconds until the answer is here, and the answer."""
        self.change()
        return send_form(port, path, self.path)


def send_form(port: int, path: str, form: Path, rate: float = float("inf")) -> tuple[float, bytes]:
    """Seconds until the answer is here, and the answer; at no more than so many bytes a second. Raises Cannot."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        with form.open("rb") as file:
            started = stopwatch()
            client.putrequest("POST", path)
            client.putheader("Authorization", f"Bearer {KEY}")
            client.putheader("Content-Type", FORM)
            client.putheader("Content-Length", str(form.stat().st_size))
            client.endheaders()
            with suppress(BrokenPipeError, ConnectionResetError):  # one that refuses may say so and hang up
                sent = 0
                while rate < float("inf") and (piece := file.read(1 << 16)):
                    client.sock.sendall(piece)
                    sent += len(piece)
                    time.sleep(max(0.0, started + sent / rate - stopwatch()))
                client.sock.sendfile(file, sent)
            answer = _success(client)
            return stopwatch() - started, answer
    except (OSError, http.client.HTTPException) as error:
        raise Cannot(_worded(error)) from error
    finally:
        client.close()


def paced(port: int, request: Request, until: Callable[[], bool], interval: float = 0.002) -> list[float]:
    """Milliseconds that each of a row of requests took, one every so many seconds on one connection."""
    raw, took = request.raw(), []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not until():
            started = stopwatch()
            client.sendall(raw)
            answer = client.recv(65536)
            while not answer.endswith(b"}"):
                answer += client.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise Cannot(answer[:40].decode("latin-1"))
            took.append((stopwatch() - started) * 1000)
            time.sleep(max(0.0, started + interval - stopwatch()))
    return took


def download(port: int, path: str, size: int) -> float:
    """Seconds until a content of so many bytes is here. What came is thrown away."""
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
            raise Cannot(head.split(b"\r\n")[0].decode("latin-1").partition(" ")[2])
        left = size - len(rest)
        while left:
            got = client.recv_into(buffer)
            if not got:
                raise Cannot("the content ended early")
            left -= got
        return stopwatch() - started


def _worded(error: Exception) -> str:
    return "connection reset" if isinstance(error, ConnectionError) else str(error) or type(error).__name__


def _success(client: http.client.HTTPConnection) -> bytes:
    answer = client.getresponse()
    body = answer.read()
    if answer.status >= 300:
        raise Cannot(f"{answer.status} {answer.reason}")
    return body


if __name__ == "__main__":  # an upload in a process of its own: PORT PATH FORM BYTES_A_SECOND
    send_form(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
