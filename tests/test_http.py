"""HTTP requests of unusual clients and proxies, sent byte for byte over a socket.

Multipart forms are tested in test_forms.py, the error catalog in test_errors.py, contents and ranges in
test_transfers.py.
"""

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

import httpx2
import pytest
from conftest import World, new_world
from rawhttp import TIMEOUT, RawResponse, Wire, form, request

from mockserver import errors
from mockserver.server.protocol import Protocol
from mockserver.server.serving import MockServer

CREATE_BODY = b'{"name": "box"}'
JSON = {"Content-Type": "application/json"}
PREFIXES = ["/v1", "", "/openai/v1", "/openai"]

each_prefix = pytest.mark.parametrize("prefix", PREFIXES, ids=lambda prefix: prefix or "none")


class PersistentWire(Wire):
    """A keep-alive connection. Responses are read one at a time; the caller writes whole request lines."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.root = f"/w/{world.name}"
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._reader.close()
        super().__exit__(kind, value, at)

    def encoded(
        self,
        line: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
        sized: bool = True,
    ) -> bytes:
        """Encode a request. `$` in the request line is replaced by the path of the world.

        A dict of headers is added to the default ones, a list replaces them.
        """
        if not isinstance(headers, list):
            headers = list({"Host": "localhost", "Authorization": "Bearer sk-test", **(headers or {})}.items())
        if body and sized:
            headers = [*headers, ("Content-Length", str(len(body)))]
        version = "" if "HTTP/" in line else " HTTP/1.1"
        lines = [line.replace("$", self.root) + version, *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def send_request(
        self,
        line: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
        sized: bool = True,
    ) -> None:
        self.send(self.encoded(line, headers, body, sized))

    def response(self, method: str = "GET") -> RawResponse:
        start = self._reader.readline()
        assert start.startswith(b"HTTP/1.1 "), start
        headers = http.client.parse_headers(self._reader)
        length = 0 if method == "HEAD" else int(headers["content-length"] or 0)
        return RawResponse(int(start.split()[1]), headers, self._reader.read(length))

    def closed_by_server(self) -> bool:
        """Return whether the server closed the connection without sending more."""
        return self._reader.read(1) == b""

    def still_serves(self) -> bool:
        self.send_request("GET $/v1/containers")
        response = self.response()
        return response.status == 200 and response.json["object"] == "list"


@pytest.fixture
def container_id(world: World) -> str:
    return str(request(world, "POST", "/containers", JSON, CREATE_BODY).json["id"])


def names(world: World) -> list[str]:
    return [each["name"] for each in request(world, "GET", "/containers?order=asc").json["data"]]


# Paths


@each_prefix
@pytest.mark.parametrize(
    "path",
    [
        "/containers/",
        "//containers",
        "/containers//",
        "/containers//{container_id}",
        "/containers/{container_id}/",
        "/containers/{container_id}//files",
        "/containers/{container_id}/files/",
        "/containers/{container_id}/files//content",
        "/files/",
        "//files",
    ],
)
def test_an_extra_slash_in_a_path_returns_404(world: World, container_id: str, prefix: str, path: str) -> None:
    target = f"{prefix}{path.format(container_id=container_id)}?api-version=2025-04-01-preview"
    with PersistentWire(world) as wire:
        for method in ("GET", "POST", "DELETE"):
            wire.send_request(f"{method} ${target}")
            response = wire.response()
            assert response.status == 404
            if "openai" in prefix:
                assert response.error == {"code": "404", "message": "Resource not found"}
            else:
                assert response.error["message"] == f"Invalid URL ({method} {target.partition('?')[0]})"
            if response.headers["connection"] == "close":  # as a POST may have a body
                break
        else:
            assert wire.still_serves()
    assert names(world) == ["box"]


@pytest.mark.parametrize("target", ["//v1/containers", "/v1//containers", "/v1/v1/containers", "///"])
def test_an_extra_slash_before_a_prefix_returns_404(world: World, target: str) -> None:
    with PersistentWire(world) as wire:
        wire.send_request(f"GET {target}")
        assert wire.response().error["message"] == f"Invalid URL (GET {target})"


@each_prefix
def test_percent_escapes_in_a_path_are_decoded(world: World, container_id: str, prefix: str) -> None:
    with PersistentWire(world) as wire:
        wire.send_request(f"GET ${prefix}/%63ontainers/%63{container_id[1:]}?api-version=2025-04-01-preview")
        assert wire.response().json["id"] == container_id
        wire.send_request(
            f"GET ${prefix.replace('o', '%6f').replace('1', '%31')}/containers?api-version=2025-04-01-preview"
        )
        assert wire.response().json["first_id"] == container_id


@pytest.mark.parametrize("slash", ["%2F", "%2f"])
def test_an_escaped_slash_does_not_separate_path_segments(world: World, container_id: str, slash: str) -> None:
    """The SDKs escape the ids that they are given, so an id with a slash must not address another object."""
    response = request(world, "POST", f"/containers/{container_id}/files", form_headers(), form((FILE_PART, b"abc")))
    file = response.json["id"]
    with PersistentWire(world) as wire:
        for target in (
            f"$/v1/containers{slash}{container_id}",
            f"$/v1{slash}containers",
            f"$/v1/containers/{container_id}{slash}files",
        ):
            for method in ("GET", "DELETE"):
                wire.send_request(f"{method} {target}")
                assert wire.response().status == 404
        for method in ("GET", "DELETE"):
            wire.send_request(f"{method} $/v1/containers/{container_id}{slash}files{slash}{file}")
            message = wire.response().error["message"]
            assert message == errors.CONTAINER_NOT_FOUND(container_id=f"{container_id}%2Ffiles%2F{file}").message
        wire.send_request(f"GET $/v1/containers/{container_id}/files/{file}")
        assert wire.response().json["id"] == file


@pytest.mark.parametrize(
    ("given", "unescaped"),
    [
        ("..", ".."),
        ("%2e%2E", ".."),
        (".", "."),
        ("%25", "%"),
        ("%252F", "%2F"),
        ("%zz", "%zz"),
        ("%C3%A9", "é"),
        ("%ff", "\ufffd"),
        ("a%00", "a\0"),
        ("a+b", "a+b"),
        ("a;b=c", "a;b=c"),
    ],
)
def test_percent_escapes_in_an_id_are_decoded(world: World, given: str, unescaped: str) -> None:
    response = request(world, "GET", f"/containers/{given}")
    assert response.status == 404
    assert response.error["message"] == errors.CONTAINER_NOT_FOUND(container_id=unescaped).message


def test_a_request_target_in_absolute_form_is_accepted(world: World, container_id: str) -> None:
    """Clients send this form to a proxy."""
    with PersistentWire(world) as wire:
        for authority in ("localhost", "api.openai.com", "127.0.0.1:1"):
            wire.send_request(f"GET http://{authority}$/v1/containers?limit=1")
            assert wire.response().json["first_id"] == container_id
        wire.send_request("GET http://localhost/v1/foo?a=b")
        assert wire.response().error["message"] == "Invalid URL (GET /v1/foo)"


@pytest.mark.parametrize("query", ["?", "?limit", "?limit=", "?&&", "?=", "?limit=&after&order", "?%", "?a=%zz", "#x"])
def test_a_query_without_values_is_ignored(world: World, container_id: str, query: str) -> None:
    assert request(world, "GET", f"/containers{query}").json["first_id"] == container_id


# Methods


@pytest.mark.parametrize("method", ["get", "Get", "post", "BREW", "CONNECT"])
def test_an_unknown_method_returns_400(world: World, method: str) -> None:
    """Methods are case-sensitive."""
    with PersistentWire(world) as wire:
        wire.send_request(f"{method} $/v1/containers")
        response = wire.response()
        assert (response.status, response.error["message"]) == (400, "Invalid HTTP request received.")
        assert wire.closed_by_server()


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_method_override_headers_are_ignored(world: World, container_id: str, header: str) -> None:
    response = request(world, "GET", f"/containers/{container_id}", {header: "DELETE"})
    assert (response.status, response.json["object"]) == (200, "container")
    assert names(world) == ["box"]


# Headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "application/json;charset=UTF-8"},
        {"Content-Type": "Application/JSON"},
        {"Content-Type": "application/vnd.api+json"},
        {"Content-Type": " \tapplication/json \t"},
        {"Content-Encoding": "identity", **JSON},
        {"OpenAI-Beta": "assistants=v2", **JSON},
        {"OpenAI-Beta": "responses=v1, containers=v1", **JSON},
        {"OpenAI-Organization": "org-x", "OpenAI-Project": "proj_x", **JSON},
        {"X-Stainless-Lang": "python", "X-Stainless-Retry-Count": "1", "X-Stainless-Raw-Response": "true", **JSON},
        {"Idempotency-Key": "once", **JSON},
        {"Accept": "text/event-stream", "Accept-Encoding": "br, gzip", **JSON},
        {"Cookie": "a=b; c", "TE": "trailers", "DNT": "1", **JSON},
    ],
)
def test_unusual_headers_do_not_change_the_response(world: World, headers: dict[str, str]) -> None:
    response = request(world, "POST", "/containers", headers, CREATE_BODY)
    assert (response.status, response.json["name"]) == (200, "box")
    assert response.headers["content-type"] == "application/json"
    assert "content-encoding" not in response.headers
    assert "x-mock-warning" not in response.headers


@pytest.mark.parametrize(
    "kind", ["text/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_json_body_with_another_content_type_returns_400(world: World, kind: str) -> None:
    response = request(world, "POST", "/containers", {"Content-Type": kind}, CREATE_BODY)
    assert (response.status, response.error["code"]) == (400, "unsupported_content_type")
    assert names(world) == []


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "zstd", "deflate", "gzip, gzip"])
@pytest.mark.parametrize("upload", [False, True], ids=["json", "form"])
def test_a_compressed_body_returns_415_that_names_the_encoding(
    world: World, container_id: str, encoding: str, upload: bool
) -> None:
    path, headers, body = "/containers", JSON, CREATE_BODY
    if upload:
        path, headers, body = f"/containers/{container_id}/files", form_headers(), form((FILE_PART, b"abc"))
    response = request(world, "POST", path, {**headers, "Content-Encoding": encoding}, gzip.compress(body))
    assert (response.status, response.error["code"]) == (415, "unsupported_content_encoding")
    assert f"'{encoding}'" in response.error["message"]
    assert names(world) == ["box"]
    assert request(world, "GET", f"/containers/{container_id}/files").json["data"] == []


def test_the_first_of_repeated_headers_is_used(world: World, container_id: str) -> None:
    with PersistentWire(world) as wire:
        key = ("Authorization", f"Bearer sk-world-{world.name}")
        wire.send_request(
            "GET /v1/containers", [("Host", "a"), key, ("Authorization", "Bearer sk-world-other"), ("Host", "b")]
        )
        assert wire.response().json["first_id"] == container_id
        wire.send_request("POST $/v1/containers", [key, *JSON.items(), ("Content-Type", "text/plain")], CREATE_BODY)
        assert wire.response().status == 200


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "aUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER\t ", "Bearer   "])
def test_header_names_and_auth_schemes_are_case_insensitive(world: World, name: str, scheme: str) -> None:
    with PersistentWire(world) as wire:
        wire.send_request("GET $/v1/containers", [(name, f"{scheme.strip()} {scheme[7:]}sk-test ")])
        assert wire.response().status == 200


# Unread bodies


UNREAD_BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "sized": ({"Content-Length": "14"}, b'{"file_id": 1}'),
    "chunked": ({"Transfer-Encoding": "chunked"}, b'7\r\n{"file_\r\n7\r\nid": 1}\r\n0\r\n\r\n'),
    "large": ({"Content-Length": str(300_000)}, bytes(300_000)),
}


@pytest.mark.parametrize("unread_body", UNREAD_BODIES.values(), ids=UNREAD_BODIES)
@pytest.mark.parametrize("at_once", [True, False], ids=["with the head", "after the response"])
@each_prefix
def test_a_connection_stays_usable_after_an_unread_body(
    world: World, container_id: str, prefix: str, unread_body: tuple[dict[str, str], bytes], at_once: bool
) -> None:
    headers, body = unread_body
    version = "api-version=2025-04-01-preview"
    requests = [
        ("GET", "/containers", 200),
        ("GET", f"/containers/{container_id}", 200),
        ("GET", "/containers/cntr_none", 404),
        ("HEAD", "/files/file-none/content", 404),
        ("DELETE", "/containers/cntr_none", 404),
        ("GET", "/foo", 404),
        ("DELETE", f"/containers/{container_id}", 200),
    ]
    with PersistentWire(world) as wire:
        for method, path, status in requests:
            line = f"{method} ${prefix}{path}?{version}"
            if at_once:
                wire.send_request(line, {**JSON, **headers}, body, sized=False)
                assert wire.response(method).status == status
            else:
                wire.send_request(line, {**JSON, **headers})
                assert wire.response(method).status == status
                wire.send(body)
        assert wire.still_serves()


# Expect


INVITED = b"HTTP/1.1 100 Continue\r\n\r\n"
FILE_PART = 'Content-Disposition: form-data; name="file"; filename="a.txt"'


def form_headers() -> dict[str, str]:
    return {"Content-Type": "multipart/form-data; boundary=simple"}


@pytest.mark.parametrize("word", ["100-continue", "100-Continue"])
@each_prefix
def test_100_continue_is_sent_when_the_body_is_read(world: World, prefix: str, word: str) -> None:
    with PersistentWire(world) as wire:
        length = {"Content-Length": str(len(CREATE_BODY))}
        wire.send_request(f"POST ${prefix}/containers?api-version=2025-04-01", {**JSON, **length, "Expect": word})
        assert wire.response().status == 100
        wire.send(CREATE_BODY)
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


REJECTED_BY_HEAD: dict[str, tuple[str, dict[str, str], int]] = {
    "key": ("POST $/v1/containers", {"Authorization": "", **JSON}, 401),
    "Azure key": ("POST $/openai/v1/containers", {"Authorization": "", **JSON}, 401),
    "route": ("POST $/v1/foo", JSON, 404),
    "Azure route": ("POST $/openai/v1/foo", JSON, 404),
    "method": ("POST $/v1/containers/cntr_none", JSON, 405),
    "world": ("POST /w/-/v1/containers", JSON, 400),
    "type": ("POST $/v1/containers", {"Content-Type": "text/plain"}, 400),
    "encoding": ("POST $/v1/containers", {"Content-Encoding": "br", **JSON}, 415),
    "container": ("POST $/v1/containers/cntr_none/files", form_headers(), 404),
    "form": ("POST $/v1/files", JSON, 415),
    "boundary": ("POST $/v1/files", {"Content-Type": "multipart/form-data"}, 400),
    "fault": ("POST $/v1/files", {"X-Mock-Fault": "rate_limited", **form_headers()}, 429),
}


@pytest.mark.parametrize("rejected", REJECTED_BY_HEAD.values(), ids=REJECTED_BY_HEAD)
def test_a_request_rejected_by_its_head_gets_no_100_continue(
    world: World, rejected: tuple[str, dict[str, str], int]
) -> None:
    line, headers, status = rejected
    with PersistentWire(world) as wire:
        wire.send_request(line, {**headers, "Content-Length": "1000", "Expect": "100-continue"})
        response = wire.response()
        assert (response.status, response.headers["connection"]) == (status, "close")
        assert wire.closed_by_server()


def test_an_http_1_0_client_gets_no_100_continue(world: World) -> None:
    """HTTP/1.0 has no interim responses."""
    with PersistentWire(world) as wire:
        wire.send_request("POST $/v1/containers HTTP/1.0", {"Expect": "100-continue", **JSON}, CREATE_BODY)
        assert wire.response().json["name"] == "box"
        assert wire.closed_by_server()


@pytest.mark.parametrize("word", ["200-maybe", "", "100-continue, x"])
def test_other_expectations_are_ignored(world: World, word: str) -> None:
    with PersistentWire(world) as wire:
        wire.send_request("POST $/v1/containers", {"Expect": word, **JSON}, CREATE_BODY)
        assert wire.response().status == 200


def test_a_get_request_gets_no_100_continue(world: World) -> None:
    with PersistentWire(world) as wire:
        wire.send_request("GET $/v1/containers", {"Content-Length": "2", "Expect": "100-continue"})
        assert wire.response().status == 200
        wire.send(b"{}")
        assert wire.still_serves()


# Stalled bodies


@pytest.fixture(scope="module")
def impatient_server() -> Iterator[MockServer]:
    """A server with short timeouts for bodies and idle connections."""
    with MockServer(body_timeout=0.2) as server:
        server._server.config.timeout_keep_alive = 0.2
        yield server


SIZED_HEADERS, CHUNKED_HEADERS = {"Content-Length": "1000"}, {"Transfer-Encoding": "chunked"}
STALLED: dict[str, tuple[str, dict[str, str], bytes]] = {
    "JSON": ("POST $/v1/containers", {**JSON, **SIZED_HEADERS}, b'{"name":'),
    "no byte": ("POST $/v1/containers", {**JSON, **SIZED_HEADERS}, b""),
    "chunk": ("POST $/v1/containers", {**JSON, **CHUNKED_HEADERS}, b'8\r\n{"name":\r\n'),
    "chunk size": ("POST $/v1/containers", {**JSON, **CHUNKED_HEADERS}, b"8"),
    "before the last chunk": ("POST $/v1/containers", {**JSON, **CHUNKED_HEADERS}, b'f\r\n{"name": "box"}\r\n'),
    "form": ("POST $/v1/files", {**form_headers(), **SIZED_HEADERS}, b"--simple\r\n" + FILE_PART.encode()),
    "file": (
        "POST $/v1/files",
        {**form_headers(), **SIZED_HEADERS},
        b"--simple\r\n" + FILE_PART.encode() + b"\r\n\r\nabc",
    ),
    "after 100 Continue": ("POST $/v1/containers", {**JSON, **SIZED_HEADERS, "Expect": "100-continue"}, b""),
    "azure": ("POST $/openai/v1/containers", {**JSON, **SIZED_HEADERS}, b"{"),
    "control plane, JSON": ("POST /_mock/worlds/new", {**JSON, **SIZED_HEADERS}, b"{"),
    "control plane, form": ("POST /_mock/worlds/default/files", {**form_headers(), **SIZED_HEADERS}, b"--simple\r\n"),
    "control plane, seed": ("POST /_mock/worlds/default/place", {**JSON, **SIZED_HEADERS}, b"{"),
    "control plane, archive": ("POST /_mock/worlds/default/import", SIZED_HEADERS, b"PK"),
}


@pytest.mark.parametrize("stalled", STALLED.values(), ids=STALLED)
def test_a_stalled_body_returns_408(impatient_server: MockServer, stalled: tuple[str, dict[str, str], bytes]) -> None:
    line, headers, first_bytes = stalled
    with new_world(impatient_server) as world, PersistentWire(world) as wire:
        wire.send_request(line, headers, first_bytes, sized=False)
        response = wire.response()
        response = wire.response() if response.status == 100 else response
        assert (response.status, response.headers["connection"]) == (408, "close")
        assert response.error["code"] in ("request_timeout", "408")
        assert wire.closed_by_server()
        if "_mock" not in line:
            response = httpx2.get(f"{impatient_server.url}/_mock/worlds/{world.name}/journal")
            assert [each["status"] for each in response.json()["data"]] == [408]
    assert not list(impatient_server.mock.directory.glob("uploads/*"))


LARGE_BODY = CREATE_BODY + b" " * 100_000
"""Larger than the server's read buffer."""


def test_the_body_timeout_excludes_time_when_the_server_does_not_read() -> None:
    with MockServer(body_timeout=0.2) as server, new_world(server) as world, PersistentWire(world) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # large enough for the whole body
        wire.send_request("POST $/v1/containers", {**JSON, "X-Mock-Fault": '{"latency": 0.5}'}, LARGE_BODY)
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


@pytest.mark.slow
def test_a_body_that_keeps_arriving_does_not_time_out() -> None:
    """100 Continue is sent later than the timeout, and the pieces of the body together take longer than it."""
    with (
        MockServer(body_timeout=15.0, min_body_rate=0) as server,
        new_world(server) as world,
        PersistentWire(world) as wire,
    ):
        length = {"Content-Length": str(len(CREATE_BODY)), "Expect": "100-continue", "X-Mock-Fault": '{"latency": 16}'}
        wire.send_request("POST $/v1/containers", {**JSON, **length})
        assert wire.response().status == 100
        for start in range(0, len(CREATE_BODY), 5):
            world.http.get("/containers", headers={"X-Mock-Fault": '{"latency": 6}'})
            wire.send(CREATE_BODY[start : start + 5])
        assert wire.response().json["name"] == "box"


@pytest.mark.parametrize(
    "more",
    [b"x" * 10, b"x" * 1_000, b"x" * 1_000 + b"\r\n"],
    ids=["part of the body", "all of the body", "beyond the body"],
)
def test_bytes_of_an_unread_body_do_not_extend_the_idle_timeout(impatient_server: MockServer, more: bytes) -> None:
    with new_world(impatient_server) as world, PersistentWire(world) as wire:
        wire.send_request("GET $/v1/containers", SIZED_HEADERS)
        assert wire.response().status == 200
        wire.send(more)
        assert wire.closed_by_server()


# Chunked bodies


def chunked(*chunks: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    pieces = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return pieces + b"0" + extension + b"\r\n" + trailers + b"\r\n"


CHUNKED_BODIES = {
    "one": chunked(CREATE_BODY),
    "each byte": chunked(*(CREATE_BODY[i : i + 1] for i in range(len(CREATE_BODY)))),
    "extensions": chunked(CREATE_BODY[:5], CREATE_BODY[5:], extension=b";a=b;c;d=1"),
    "quoted extension": chunked(CREATE_BODY, extension=b';a="b c"'),
    "trailers": chunked(CREATE_BODY, trailers=b"X-Checksum: 1\r\nContent-Type: text/plain\r\n"),
    "upper-case sizes": chunked(CREATE_BODY).replace(b"f\r\n", b"F\r\n", 1),
    "leading zeros": b"000" + chunked(CREATE_BODY),
}


@pytest.mark.parametrize("body", CHUNKED_BODIES.values(), ids=CHUNKED_BODIES)
@each_prefix
def test_a_chunked_json_body_is_accepted(world: World, prefix: str, body: bytes) -> None:
    with PersistentWire(world) as wire:
        line = f"POST ${prefix}/containers?api-version=2025-04-01"
        wire.send_request(line, {"Transfer-Encoding": "chunked", **JSON}, body, sized=False)
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


@pytest.mark.parametrize("cut", range(0, len(CHUNKED_BODIES["trailers"]), 5))
def test_a_chunked_body_can_be_split_at_any_byte(world: World, cut: int) -> None:
    body = CHUNKED_BODIES["trailers"]
    with PersistentWire(world) as wire:
        wire.send_request("POST $/v1/containers", {"Transfer-Encoding": "chunked", **JSON}, body[:cut], sized=False)
        wire.send(body[cut:])
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Transfer-Encoding": "chunked"}, b"x\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"-1\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"2\r\n{}x\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"f" * 17 + b"\r\n"),
        ({"Transfer-Encoding": "chunked", "Content-Length": "15"}, chunked(CREATE_BODY)),
        ({"Content-Length": "+15"}, CREATE_BODY),
        ({"Content-Length": "1 5"}, CREATE_BODY),
        ({"Transfer-Encoding": "chunked, gzip"}, chunked(CREATE_BODY)),
        ({"Transfer-Encoding": "chunked", "transfer-encoding": "x"}, chunked(CREATE_BODY)),
    ],
)
def test_an_ambiguous_body_length_returns_400_and_closes_the_connection(
    world: World, headers: dict[str, str], body: bytes
) -> None:
    """Otherwise, bytes after the body could smuggle in another request."""
    with PersistentWire(world) as wire:
        wire.send_request("POST $/v1/containers", {**headers, **JSON}, body, sized=False)
        response = wire.response()
        assert (response.status, response.headers["connection"]) == (400, "close")
        assert wire.closed_by_server()
    assert names(world) == []


# Connections


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", "9.9"])
def test_an_unsupported_http_version_returns_400(world: World, version: str) -> None:
    with Wire(world) as wire:
        wire.send(
            b"GET /w/%b/v1/containers HTTP/%b\r\nHost: x\r\napi-key: k\r\n\r\n"
            % (world.name.encode(), version.encode())
        )
        response = wire.response("GET")
    assert (response.status, response.error["message"]) == (400, "Invalid HTTP request received.")


@pytest.mark.parametrize("times", [1, 40])
def test_pipelined_requests_get_their_responses_in_order(world: World, container_id: str, times: int) -> None:
    requests = times * [
        ("GET", f"/containers/{container_id}", b"", 200),
        ("POST", "/containers", CREATE_BODY, 200),
        ("GET", "/containers/cntr_none", b"", 404),
        ("HEAD", "/files/file-none/content", b"", 404),
        ("POST", "/containers", CREATE_BODY, 200),
        ("GET", "/containers", b"", 200),
    ]
    with PersistentWire(world) as wire:
        wire.send(b"".join(wire.encoded(f"{method} $/v1{path}", JSON, body) for method, path, body, _ in requests))
        responses = [wire.response(method) for method, *_ in requests]
    assert [response.status for response in responses] == [status for *_, status in requests]
    assert [len(response.json["data"]) for response in responses[5::6]] == [min(20, 3 + 2 * n) for n in range(times)]


def test_few_requests_of_a_pipeline_are_parsed_before_their_turn(world: World) -> None:
    """Each parsed request takes a hundred times the memory of its bytes."""
    pipeline = b"HEAD / HTTP/1.1\r\n\r\n" * 3_000
    wait = f"GET /_mock/worlds/{world.name}/journal/wait?timeout={TIMEOUT:.0f} HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def longest() -> int:
        connections = cast(set[Protocol], world.server._server.server_state.connections)
        return max(len(each.pipeline) for each in connections)

    with PersistentWire(world) as wire:
        wire.send(wait.encode() + pipeline)
        while not (parsed := world.server.run(longest())):
            pass
        assert parsed < 400
        assert world.http.get("/containers").status_code == 200  # for which the first request waits
        assert wire.response("GET").status == 200
        assert {wire.response("HEAD").status for _ in range(3_000)} == {401}


@pytest.mark.parametrize("large", [0, 450_000], ids=["small requests", "after a large body"])
def test_a_long_pipeline_is_processed(world: World, container_id: str, large: int) -> None:
    """The pipeline exceeds one read, so that reads begin and end in the middle of a head."""
    secret = {"domain": "d", "name": "n", "value": "a" * large}
    policy = {"type": "allowlist", "allowed_domains": ["d"], "domain_secrets": [secret]}
    count, padding = 1_000, {"X-Padding": "x" * 1_000}
    large_body = json.dumps({"name": "large", "network_policy": policy}).encode()
    with PersistentWire(world) as wire:
        pipeline = bytearray(wire.encoded("POST $/v1/containers", JSON, large_body) if large else b"")
        pipeline += wire.encoded(f"GET $/v1/containers/{container_id}", padding) * count

        async def fill_socket() -> None:
            """Send as much as the socket takes while the event loop of the server, which runs this, can't read."""
            wire.socket.setblocking(False)
            with suppress(BlockingIOError):
                while pipeline:
                    del pipeline[: wire.socket.send(pipeline)]
            wire.socket.settimeout(TIMEOUT)

        world.server.run(fill_socket())
        sending = threading.Thread(target=wire.socket.sendall, args=(bytes(pipeline),))
        sending.start()
        if large:
            assert wire.response().json["name"] == "large"
        for _ in range(count):
            assert wire.response().json["id"] == container_id
        sending.join()


@pytest.mark.parametrize("count", [2, 500])
def test_a_malformed_pipelined_request_gets_its_error_in_order(
    world: World, container_id: str, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    with PersistentWire(world) as wire:
        malformed = {**JSON, "Transfer-Encoding": "chunked"}
        wire.send(
            wire.encoded(f"GET $/v1/containers/{container_id}") * count
            + wire.encoded("POST $/v1/containers", malformed, b"no size", sized=False)
        )
        assert [wire.response().json["id"] for _ in range(count)] == [container_id] * count
        rejected = wire.response()
        assert (rejected.status, rejected.headers["connection"]) == (400, "close")
        assert wire.closed_by_server()
    assert [each.levelname for each in caplog.records] == ["WARNING"], "only the warning of invalid HTTP is logged"


def test_connection_close_closes_the_connection(world: World) -> None:
    with PersistentWire(world) as wire:
        for _ in range(3):
            assert wire.still_serves()
        wire.send_request("GET $/v1/containers", {"Connection": "close"})
        response = wire.response()
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert wire.closed_by_server()


@pytest.mark.parametrize("headers", [{}, {"Connection": "keep-alive"}, {"Connection": "close"}])
def test_an_http_1_0_connection_is_closed_after_one_response(
    world: World, container_id: str, headers: dict[str, str]
) -> None:
    with PersistentWire(world) as wire:
        wire.send_request("GET $/v1/containers HTTP/1.0", headers)
        response = wire.response()
        assert response.json["first_id"] == container_id
        assert response.headers["connection"] == "close"
        assert wire.closed_by_server()


def test_an_http_1_0_request_needs_no_host(world: World) -> None:
    with PersistentWire(world) as wire:
        wire.send_request("GET $/v1/containers HTTP/1.0", [("Authorization", "Bearer sk-test")])
        assert wire.response().status == 200


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_before_a_request_are_ignored(world: World, before: bytes) -> None:
    with PersistentWire(world) as wire:
        assert wire.still_serves()
        wire.send(before)
        assert wire.still_serves()


# Protocol upgrades


H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"}
WEBSOCKET = {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
UPGRADES = {"h2c": H2C, "websocket": WEBSOCKET, "two headers": {**H2C, "upgrade": "h3"}}


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("delivery", ["in one write", "body after head", "chunked", "byte by byte"])
def test_a_protocol_upgrade_is_ignored(world: World, upgrade: dict[str, str], delivery: str) -> None:
    """The HTTP client of the JDK sends one with its first request, also when that has a body."""
    framing = {"Transfer-Encoding": "chunked"} if delivery == "chunked" else {"Content-Length": str(len(CREATE_BODY))}
    body = chunked(CREATE_BODY) if delivery == "chunked" else CREATE_BODY
    with PersistentWire(world) as wire:
        for _ in range(2):
            if delivery == "byte by byte":
                for byte in wire.encoded("POST $/v1/containers", {**framing, **JSON, **upgrade}, body, sized=False):
                    wire.send(bytes([byte]))
            else:
                now, rest = (b"", body) if delivery == "body after head" else (body, b"")
                wire.send_request("POST $/v1/containers", {**framing, **JSON, **upgrade}, now, sized=False)
                wire.send(rest)
            response = wire.response()
            assert (response.status, response.json["name"]) == (200, "box")
            assert "upgrade" not in response.headers
        wire.send_request("GET $/v1/containers", upgrade)
        assert len(wire.response().json["data"]) == 2
        wire.send_request("GET $/v1/containers", {**upgrade, "Connection": f"{upgrade['Connection']}, close"})
        assert wire.response().headers["connection"] == "close"
        assert wire.closed_by_server()


def test_a_pipelined_protocol_upgrade_is_ignored(world: World, container_id: str) -> None:
    with PersistentWire(world) as wire:
        wire.send(
            wire.encoded(f"GET $/v1/containers/{container_id}")
            + wire.encoded("POST $/v1/containers", {**JSON, **H2C}, CREATE_BODY)
            + wire.encoded("GET $/v1/containers")
        )
        responses = [wire.response() for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 200]
    assert len(responses[2].json["data"]) == 2


def test_many_protocol_upgrades_in_one_packet_are_ignored(world: World) -> None:
    """A parser that handled each upgrade inside the one before would exceed Python's recursion limit."""
    many = 600  # still fits any socket buffer
    with PersistentWire(world) as wire:
        wire.send(b"HEAD / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" * many)
        statuses = [wire.response("HEAD").status for _ in range(many)]
        wire.send_request("GET $/v1/containers")
        assert (statuses, wire.response().status) == ([401] * many, 200)


def test_a_protocol_upgrade_is_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert request(world, "GET", "/containers", H2C).status == 200
    assert caplog.text == ""


# Combinations


def test_each_unusual_create_request_creates_one_container(world: World) -> None:
    requests: list[Callable[[PersistentWire], Any]] = [
        lambda wire: wire.send_request("POST $/v1/containers", {}, CREATE_BODY),
        lambda wire: wire.send_request("POST http://x$/openai/v1/containers", H2C, CREATE_BODY),
        lambda wire: wire.send_request("POST $//openai/containers?api-version=2025-04-01", JSON, CREATE_BODY),
        lambda wire: wire.send_request("POST $/containers HTTP/1.0", JSON, CREATE_BODY),
    ]
    for send in requests:
        with PersistentWire(world) as wire:
            send(wire)
            assert json.loads(wire.response().body)["name"] == "box"
    assert names(world) == ["box"] * len(requests)
