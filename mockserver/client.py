"""The HTTP client of the control plane, with nothing loaded but the standard library."""

import http.client
import json
import os
import re
import selectors
import socket
import ssl
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from mockserver.clock import stopwatch

CONNECT_SECONDS = 30.0
BLOCK = 256 * 1024
"""Bytes of a body that are read or written at a time."""


def _is_readable(idle: socket.socket) -> bool:
    """Whether the server has closed a connection on which no response is due."""
    with selectors.DefaultSelector() as selector:
        selector.register(idle, selectors.EVENT_READ)
        return bool(selector.select(0))


class MockError(Exception):
    """An error of the control plane, or the reason why it can't be reached, which has no `status`.

    `reason` is the message of the server alone, without the status and the request.
    """

    def __init__(
        self, message: str, status: int | None = None, code: str | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason or message


__tracebackhide__ = methodcaller("errisinstance", (MockError, TimeoutError))
"""Makes pytest show the line of the test, and not those of this module and of others that import this."""


class Control:
    """Calls the control plane of a server. Threads may share it; connections are kept for the next call.

    A path in `url` is kept: a proxy may serve the mock server below it. Proxies in the environment are ignored.
    `certificate` is the one that a server of this machine has; others are checked as `tls_context` says.
    """

    IDLE_SECONDS = 30.0
    """How long a connection is kept: shorter than servers and proxies keep one."""

    def __init__(self, url: str, token: str | None = None, certificate: Path | None = None) -> None:
        parts = _parts(url)
        self.url = url
        self._host, self._prefix = parts.netloc.rpartition("@")[2], parts.path
        self._open: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        if parts.scheme == "https":
            self._open = partial(http.client.HTTPSConnection, context=tls_context(certificate))
        self._token = token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._idle: deque[tuple[http.client.HTTPConnection, float, int]] = deque()

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: tuple[str, bytes | IO[bytes]] | None = None,
        into: IO[bytes] | None = None,
        timeout: float | None = 30.0,
    ) -> Any:
        """Send a request to a path below `/_mock`, with a JSON body or with `content`: its type, and bytes or a file.

        Return the JSON of the response, or its bytes if it is of another type. With `into`, write the body of the
        response there, and return the number of bytes. `timeout` is in seconds for each read and write; None waits
        without limit. Raise MockError.
        """
        try:
            return self._call(method, path, body, content, into, timeout)
        except MockError as error:
            raise error.with_traceback(None)  # noqa: B904  # pytest would show the frames of contextlib in it

    def _call(
        self,
        method: str,
        path: str,
        body: Any,
        content: tuple[str, bytes | IO[bytes]] | None,
        into: IO[bytes] | None,
        timeout: float | None,
    ) -> Any:
        with self._exchange(method, path, body, content, timeout) as response:
            if into is not None:
                size = 0
                while block := self._read(response.read, BLOCK):
                    size += into.write(block)
                if response.length:  # http.client raises nothing when a body read in blocks ends early
                    raise self._lost(http.client.IncompleteRead(b"", response.length))
                return size
            data = self._read(response.read)
            kind = response.headers.get_content_type()
            try:
                return json.loads(data) if kind in ("application/json", "text/html") else data
            except ValueError:
                raise self._not_a_mock_server(f"{method} /_mock/{path}", response.status) from None

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """Follow a stream of Server-Sent Events: yield the name and the data of each, until the server ends it."""
        name = ""
        with self._exchange("GET", path, None, None, None) as response:
            while line := self._read(response.readline):
                field, _, value = line.decode().rstrip("\r\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: Any, content: tuple[str, bytes | IO[bytes]] | None, timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and yield its response, which is not read yet. The connection is kept if all of it is read."""
        kind, data = content or ("application/json", None if body is None else _json(body))
        headers = self._headers | ({} if data is None else {"Content-Type": kind, **_length(data)})
        connection = self._connection()
        sent = False
        try:
            try:
                if connection.sock is None:
                    connection.timeout = CONNECT_SECONDS if timeout is None else timeout
                    connection.connect()
                connection.sock.settimeout(timeout)
                with suppress(BrokenPipeError, ConnectionResetError):  # an error can be sent before the body has ended
                    connection.request(method, f"{self._prefix}/_mock/{path}", data, headers)
                    sent = True
                response = connection.getresponse()
            except ssl.SSLCertVerificationError as error:
                raise MockError(
                    f"the certificate of the server at {self.url} is not trusted ({error.verify_message}); set "
                    "SSL_CERT_FILE to the file of the certificate or of its CA, and use a name that it is for"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                raise MockError(
                    f"no mock server responds at {self.url} ({reason(error)}); start one with `mockserver serve`, or "
                    "correct the URL"
                ) from error
            problem: MockError | None = None
            if response.status == 200:
                yield response
            else:
                problem = self._error(f"{method} /_mock/{path}", response.status, self._read(response.read))
        except BaseException:
            connection.close()
            raise
        if sent and response.isclosed() and connection.sock:  # without it, the response was the last on this connection
            self._idle.append((connection, stopwatch(), os.getpid()))
        else:
            connection.close()
        if problem:
            raise problem

    def _connection(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection, since, process = self._idle.pop()
            except IndexError:
                return self._open(self._host, blocksize=BLOCK)
            if stopwatch() - since < self.IDLE_SECONDS and process == os.getpid() and not _is_readable(connection.sock):
                return connection
            connection.close()

    def _read(self, read: Callable[..., bytes], *size: int) -> bytes:
        try:
            return read(*size)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> MockError:
        return MockError(
            f"the connection to the server at {self.url} was lost ({reason(error)}); check that it still runs, and try again"
        )

    def _error(self, request: str, status: int, body: bytes) -> MockError:
        try:
            error = json.loads(body)["error"]
            message, code = error["message"], error["code"]
        except (ValueError, LookupError, TypeError):
            if status < 500:
                return self._not_a_mock_server(request, status)
            text = " ".join(body.decode(errors="replace").split()).replace(self._token or "\0", "TOKEN")[:200]
            text = text or "without a message"
            return MockError(f"the server at {self.url} failed: {status} to {request}, {text}; see its log", status)
        # An API responds to a path of the control plane below it, and repeats what it takes for its key.
        elsewhere = message.startswith("Invalid URL") and " /_mock/" not in message
        if (status == 401 and code != "wrong_token") or elsewhere:
            return self._not_a_mock_server(request, status)
        return MockError(f"{message} ({status} to {request})", status, code, message)

    def _not_a_mock_server(self, request: str, status: int) -> MockError:
        return MockError(
            f"the server at {self.url} is not a mock server: {status} to {request}; correct the URL", status
        )


def save(file: str | Path, write: Callable[[IO[bytes]], int]) -> int:
    """Write a file, and return how many bytes. If that fails, leave no file."""
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as opened:
            size = write(opened)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return size


def tls_context(certificate: Path | None = None) -> ssl.SSLContext:
    """Return what checks a server's certificate: it has to be the given one, whatever name it is for, or else one that
    the system or SSL_CERT_FILE trusts."""
    context = ssl.create_default_context(cafile=certificate)
    if certificate:
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its CA need not be in the file
    return context


def server_url(url: str) -> str:
    """Return the URL of a server, of which people and variables give a base URL, the dashboard's, or one without
    `http://`. A path in front of these is a proxy's. Raise MockError."""
    given = url.strip() if isinstance(url, str) else ""
    parts = _parts(given if "://" in given else f"http://{given}", shown=url)
    path = re.sub(r"/(_mock(/.*)?|(w/[^/]+/?)?(v1/?)?)$", "", parts.path)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _parts(url: str, shown: object = None) -> SplitResult:
    """Return the parts of a server's URL. Raise MockError, which shows it as it was given."""
    with suppress(ValueError):
        parts = urlsplit(url)
        is_text = url.isprintable() and " " not in url  # which http.client can send
        if is_text and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise MockError(f"{shown or url!r} is not the URL of a server; write it like http://localhost:8080")


def path_to(*parts: str) -> str:
    """Return a path of parts that can hold any character."""
    return "/".join(quote(part, safe="") for part in parts)


def query(**values: Any) -> str:
    """Return a query string. A value that is None, empty or False is left out; several values become a list with commas."""
    given = {name: text for name, value in values.items() if (text := _text(value))}
    return f"?{urlencode(given)}" if given else ""


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "true" if value else ""
    return ",".join(map(str, value)) if isinstance(value, list | tuple | set) else str(value)


def _json(body: Any) -> bytes:
    return json.dumps(body, default=_plain, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise MockError(f"{value!r} can't be sent as JSON; give text, numbers, lists and dicts")


def _length(content: bytes | IO[bytes]) -> dict[str, str]:
    """Return the header for a regular file; other files are sent in chunks, and http.client knows the length of bytes."""
    with suppress(OSError, AttributeError):
        found = os.fstat(content.fileno())  # type: ignore[union-attr]  # bytes have none
        if stat.S_ISREG(found.st_mode):
            return {"Content-Length": str(found.st_size - content.tell())}  # type: ignore[union-attr]  # as above
    return {}


def reason(error: Exception) -> str:
    """Return why a connection failed, without the names of Python's exceptions."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; set SSL_CERT_FILE to it, or to that of its CA"
    if isinstance(error, TimeoutError):
        return "no response in time"
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or error.strerror}; a server without --tls-cert has http:// in its URL"
    if isinstance(error, http.client.RemoteDisconnected):
        return f"{error}; a server with --tls-cert has https:// in its URL"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
