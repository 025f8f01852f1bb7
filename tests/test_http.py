"""HTTP as odd clients and proxies speak it, byte for byte over a socket.

Forms and their chunks are in test_forms.py, what is refused in test_refusals.py, contents and ranges in
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
from typing import Any, Self

import httpx2
import pytest
from conftest import World, new_world
from rawhttp import TIMEOUT, RawResponse, Wire, form, request

from mockserver import errors
from mockserver.server.serving import MockServer

BOX = b'{"name": "box"}'
JSON = {"Content-Type": "application/json"}
PREFIXES = ["/v1", "", "/openai/v1", "/openai"]

each_prefix = pytest.mark.parametrize("prefix", PREFIXES, ids=lambda prefix: prefix or "none")


class Kept(Wire):
    """A connection that is read answer by answer, and whose request lines are given in full."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.root = f"/w/{world.name}"
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._reader.close()
        super().__exit__(kind, value, at)

    def ask(
        self,
        line: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
        sized: bool = True,
    ) -> None:
        """Send a request; `$` in its first line stands for the world's root. A list of headers is all of them."""
        given = headers
        if not isinstance(given, list):
            given = list({"Host": "localhost", "Authorization": "Bearer sk-test", **(headers or {})}.items())
        if body and sized:
            given = [*given, ("Content-Length", str(len(body)))]
        version = "" if "HTTP/" in line else " HTTP/1.1"
        lines = [line.replace("$", self.root) + version, *(f"{name}: {value}" for name, value in given)]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def response(self, method: str = "GET") -> RawResponse:
        start = self._reader.readline()
        assert start.startswith(b"HTTP/1.1 "), start
        headers = http.client.parse_headers(self._reader)
        length = 0 if method == "HEAD" else int(headers["content-length"] or 0)
        return RawResponse(int(start.split()[1]), headers, self._reader.read(length))

    def ended(self) -> bool:
        """Whether the server has closed the connection, with nothing left to read."""
        return self._reader.read(1) == b""

    def still_serves(self) -> bool:
        self.ask("GET $/v1/containers")
        answer = self.response()
        return answer.status == 200 and answer.json["object"] == "list"


@pytest.fixture
def box(world: World) -> str:
    return str(request(world, "POST", "/containers", JSON, BOX).json["id"])


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
        "/containers//{box}",
        "/containers/{box}/",
        "/containers/{box}//files",
        "/containers/{box}/files/",
        "/containers/{box}/files//content",
        "/files/",
        "//files",
    ],
)
def test_a_slash_too_many_makes_another_route(world: World, box: str, prefix: str, path: str) -> None:
    target = f"{prefix}{path.format(box=box)}?api-version=2025-04-01-preview"
    with Kept(world) as wire:
        for method in ("GET", "POST", "DELETE"):
            wire.ask(f"{method} ${target}")
            answer = wire.response()
            assert answer.status == 404
            if "openai" in prefix:
                assert answer.error == {"code": "404", "message": "Resource not found"}
            else:
                assert answer.error["message"] == f"Invalid URL ({method} {target.partition('?')[0]})"
            if answer.headers["connection"] == "close":  # what may have had a body
                break
        else:
            assert wire.still_serves()
    assert names(world) == ["box"]


@pytest.mark.parametrize("target", ["//v1/containers", "/v1//containers", "/v1/v1/containers", "///"])
def test_slashes_before_a_prefix(world: World, target: str) -> None:
    with Kept(world) as wire:
        wire.ask(f"GET {target}")
        assert wire.response().error["message"] == f"Invalid URL (GET {target})"


@each_prefix
def test_escapes_in_a_path_mean_their_characters(world: World, box: str, prefix: str) -> None:
    with Kept(world) as wire:
        wire.ask(f"GET ${prefix}/%63ontainers/%63{box[1:]}?api-version=2025-04-01-preview")
        assert wire.response().json["id"] == box
        wire.ask(f"GET ${prefix.replace('o', '%6f').replace('1', '%31')}/containers?api-version=2025-04-01-preview")
        assert wire.response().json["first_id"] == box


@pytest.mark.parametrize("slash", ["%2F", "%2f"])
def test_an_escaped_slash_parts_nothing(world: World, box: str, slash: str) -> None:
    """Else an id with one would name something else: the packages escape what they are given as an id."""
    answer = request(world, "POST", f"/containers/{box}/files", form_type(), form((FILE, b"abc")))
    file = answer.json["id"]
    with Kept(world) as wire:
        for target in (f"$/v1/containers{slash}{box}", f"$/v1{slash}containers", f"$/v1/containers/{box}{slash}files"):
            for method in ("GET", "DELETE"):
                wire.ask(f"{method} {target}")
                assert wire.response().status == 404
        for method in ("GET", "DELETE"):
            wire.ask(f"{method} $/v1/containers/{box}{slash}files{slash}{file}")
            message = wire.response().error["message"]
            assert message == errors.CONTAINER_NOT_FOUND(container_id=f"{box}%2Ffiles%2F{file}").message
        wire.ask(f"GET $/v1/containers/{box}/files/{file}")
        assert wire.response().json["id"] == file


@pytest.mark.parametrize(
    ("given", "shown"),
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
def test_an_id_is_what_its_escapes_mean(world: World, given: str, shown: str) -> None:
    answer = request(world, "GET", f"/containers/{given}")
    assert answer.status == 404
    assert answer.error["message"] == errors.CONTAINER_NOT_FOUND(container_id=shown).message


def test_a_target_in_absolute_form(world: World, box: str) -> None:
    """As clients send it to what they take for a proxy."""
    with Kept(world) as wire:
        for authority in ("localhost", "api.openai.com", "127.0.0.1:1"):
            wire.ask(f"GET http://{authority}$/v1/containers?limit=1")
            assert wire.response().json["first_id"] == box
        wire.ask("GET http://localhost/v1/foo?a=b")
        assert wire.response().error["message"] == "Invalid URL (GET /v1/foo)"


@pytest.mark.parametrize("query", ["?", "?limit", "?limit=", "?&&", "?=", "?limit=&after&order", "?%", "?a=%zz", "#x"])
def test_a_query_that_says_nothing(world: World, box: str, query: str) -> None:
    assert request(world, "GET", f"/containers{query}").json["first_id"] == box


# Methods


@pytest.mark.parametrize("method", ["get", "Get", "post", "BREW", "CONNECT"])
def test_a_method_that_is_none(world: World, method: str) -> None:
    """They are case-sensitive."""
    with Kept(world) as wire:
        wire.ask(f"{method} $/v1/containers")
        answer = wire.response()
        assert (answer.status, answer.error["message"]) == (400, "Invalid HTTP request received.")
        assert wire.ended()


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_not_overridden(world: World, box: str, header: str) -> None:
    answer = request(world, "GET", f"/containers/{box}", {header: "DELETE"})
    assert (answer.status, answer.json["object"]) == (200, "container")
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
def test_headers_that_change_nothing(world: World, headers: dict[str, str]) -> None:
    answer = request(world, "POST", "/containers", headers, BOX)
    assert (answer.status, answer.json["name"]) == (200, "box")
    assert answer.headers["content-type"] == "application/json"
    assert "content-encoding" not in answer.headers
    assert "x-mock-warning" not in answer.headers


@pytest.mark.parametrize(
    "kind", ["text/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_of_another_type(world: World, kind: str) -> None:
    answer = request(world, "POST", "/containers", {"Content-Type": kind}, BOX)
    assert (answer.status, answer.error["code"]) == (400, "unsupported_content_type")
    assert names(world) == []


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "zstd", "deflate", "gzip, gzip"])
@pytest.mark.parametrize("upload", [False, True], ids=["json", "form"])
def test_a_compressed_body_is_named_as_what_is_wrong(world: World, box: str, encoding: str, upload: bool) -> None:
    path, headers, body = "/containers", JSON, BOX
    if upload:
        path, headers, body = f"/containers/{box}/files", form_type(), form((FILE, b"abc"))
    answer = request(world, "POST", path, {**headers, "Content-Encoding": encoding}, gzip.compress(body))
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_encoding")
    assert f"'{encoding}'" in answer.error["message"]
    assert names(world) == ["box"]
    assert request(world, "GET", f"/containers/{box}/files").json["data"] == []


def test_the_first_of_a_header_counts(world: World, box: str) -> None:
    with Kept(world) as wire:
        key = ("Authorization", f"Bearer sk-world-{world.name}")
        wire.ask("GET /v1/containers", [("Host", "a"), key, ("Authorization", "Bearer sk-world-other"), ("Host", "b")])
        assert wire.response().json["first_id"] == box
        wire.ask("POST $/v1/containers", [key, *JSON.items(), ("Content-Type", "text/plain")], BOX)
        assert wire.response().status == 200


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "aUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER\t ", "Bearer   "])
def test_names_and_schemes_in_any_case(world: World, name: str, scheme: str) -> None:
    with Kept(world) as wire:
        wire.ask("GET $/v1/containers", [(name, f"{scheme.strip()} {scheme[7:]}sk-test ")])
        assert wire.response().status == 200


# Bodies where none belongs


FRAMES: dict[str, tuple[dict[str, str], bytes]] = {
    "sized": ({"Content-Length": "14"}, b'{"file_id": 1}'),
    "chunked": ({"Transfer-Encoding": "chunked"}, b'7\r\n{"file_\r\n7\r\nid": 1}\r\n0\r\n\r\n'),
    "large": ({"Content-Length": str(300_000)}, bytes(300_000)),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
@each_prefix
def test_a_connection_goes_on_after_a_body_that_nobody_reads(
    world: World, box: str, prefix: str, frame: tuple[dict[str, str], bytes], at_once: bool
) -> None:
    headers, body = frame
    version = "api-version=2025-04-01-preview"
    asked = [
        ("GET", "/containers", 200),
        ("GET", f"/containers/{box}", 200),
        ("GET", "/containers/cntr_none", 404),
        ("HEAD", "/files/file-none/content", 404),
        ("DELETE", "/containers/cntr_none", 404),
        ("GET", "/foo", 404),
        ("DELETE", f"/containers/{box}", 200),
    ]
    with Kept(world) as wire:
        for method, path, status in asked:
            line = f"{method} ${prefix}{path}?{version}"
            if at_once:
                wire.ask(line, {**JSON, **headers}, body, sized=False)
                assert wire.response(method).status == status
            else:
                wire.ask(line, {**JSON, **headers})
                assert wire.response(method).status == status
                wire.send(body)
        assert wire.still_serves()


# Expect


INVITED = b"HTTP/1.1 100 Continue\r\n\r\n"
FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"'


def form_type() -> dict[str, str]:
    return {"Content-Type": "multipart/form-data; boundary=simple"}


@pytest.mark.parametrize("word", ["100-continue", "100-Continue"])
@each_prefix
def test_a_body_is_asked_for_when_it_is_read(world: World, prefix: str, word: str) -> None:
    with Kept(world) as wire:
        length = {"Content-Length": str(len(BOX))}
        wire.ask(f"POST ${prefix}/containers?api-version=2025-04-01", {**JSON, **length, "Expect": word})
        assert wire.response().status == 100
        wire.send(BOX)
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


REFUSED_AT_ONCE: dict[str, tuple[str, dict[str, str], int]] = {
    "key": ("POST $/v1/containers", {"Authorization": "", **JSON}, 401),
    "azure's key": ("POST $/openai/v1/containers", {"Authorization": "", **JSON}, 401),
    "route": ("POST $/v1/foo", JSON, 404),
    "azure's route": ("POST $/openai/v1/foo", JSON, 404),
    "method": ("POST $/v1/containers/cntr_none", JSON, 405),
    "world": ("POST /w/-/v1/containers", JSON, 400),
    "type": ("POST $/v1/containers", {"Content-Type": "text/plain"}, 400),
    "encoding": ("POST $/v1/containers", {"Content-Encoding": "br", **JSON}, 415),
    "container": ("POST $/v1/containers/cntr_none/files", form_type(), 404),
    "form": ("POST $/v1/files", JSON, 415),
    "boundary": ("POST $/v1/files", {"Content-Type": "multipart/form-data"}, 400),
    "fault": ("POST $/v1/files", {"X-Mock-Fault": "rate_limited", **form_type()}, 429),
}


@pytest.mark.parametrize("refused", REFUSED_AT_ONCE.values(), ids=REFUSED_AT_ONCE)
def test_no_body_is_asked_for_that_is_refused(world: World, refused: tuple[str, dict[str, str], int]) -> None:
    line, headers, status = refused
    with Kept(world) as wire:
        wire.ask(line, {**headers, "Content-Length": "1000", "Expect": "100-continue"})
        answer = wire.response()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert wire.ended()


def test_an_old_client_is_not_asked(world: World) -> None:
    """HTTP/1.0 knows no answer before the answer."""
    with Kept(world) as wire:
        wire.ask("POST $/v1/containers HTTP/1.0", {"Expect": "100-continue", **JSON}, BOX)
        assert wire.response().json["name"] == "box"
        assert wire.ended()


@pytest.mark.parametrize("word", ["200-maybe", "", "100-continue, x"])
def test_other_expectations_are_not_met(world: World, word: str) -> None:
    with Kept(world) as wire:
        wire.ask("POST $/v1/containers", {"Expect": word, **JSON}, BOX)
        assert wire.response().status == 200


def test_where_nothing_is_read_nothing_is_asked_for(world: World) -> None:
    with Kept(world) as wire:
        wire.ask("GET $/v1/containers", {"Content-Length": "2", "Expect": "100-continue"})
        assert wire.response().status == 200
        wire.send(b"{}")
        assert wire.still_serves()


# Bodies that stop coming


@pytest.fixture(scope="module")
def hurried() -> Iterator[MockServer]:
    """A server that waits for no body."""
    with MockServer(body_timeout=0.2) as server:
        server._server.config.timeout_keep_alive = 0.2
        yield server


SIZED, CHUNKED = {"Content-Length": "1000"}, {"Transfer-Encoding": "chunked"}
STALLED: dict[str, tuple[str, dict[str, str], bytes]] = {
    "JSON": ("POST $/v1/containers", {**JSON, **SIZED}, b'{"name":'),
    "nothing": ("POST $/v1/containers", {**JSON, **SIZED}, b""),
    "chunks": ("POST $/v1/containers", {**JSON, **CHUNKED}, b'8\r\n{"name":\r\n'),
    "a chunk's length": ("POST $/v1/containers", {**JSON, **CHUNKED}, b"8"),
    "the last chunk": ("POST $/v1/containers", {**JSON, **CHUNKED}, b'f\r\n{"name": "box"}\r\n'),
    "form": ("POST $/v1/files", {**form_type(), **SIZED}, b"--simple\r\n" + FILE.encode()),
    "file": ("POST $/v1/files", {**form_type(), **SIZED}, b"--simple\r\n" + FILE.encode() + b"\r\n\r\nabc"),
    "invited": ("POST $/v1/containers", {**JSON, **SIZED, "Expect": "100-continue"}, b""),
    "azure": ("POST $/openai/v1/containers", {**JSON, **SIZED}, b"{"),
    "control plane, JSON": ("POST /_mock/worlds/new", {**JSON, **SIZED}, b"{"),
    "control plane, form": ("POST /_mock/worlds/default/files", {**form_type(), **SIZED}, b"--simple\r\n"),
    "control plane, seed": ("POST /_mock/worlds/default/place", {**JSON, **SIZED}, b"{"),
    "control plane, archive": ("POST /_mock/worlds/default/import", SIZED, b"PK"),
}


@pytest.mark.parametrize("stalled", STALLED.values(), ids=STALLED)
def test_a_body_that_stops_coming_is_refused(hurried: MockServer, stalled: tuple[str, dict[str, str], bytes]) -> None:
    line, headers, begun = stalled
    with new_world(hurried) as world, Kept(world) as wire:
        wire.ask(line, headers, begun, sized=False)
        answer = wire.response()
        answer = wire.response() if answer.status == 100 else answer
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.error["code"] in ("request_timeout", "408")
        assert wire.ended()
        if "_mock" not in line:
            answer = httpx2.get(f"{hurried.url}/_mock/worlds/{world.name}/journal")
            assert [each["status"] for each in answer.json()["data"]] == [408]
    assert not list(hurried.mock.directory.glob("uploads/*"))


SPACIOUS = BOX + b" " * 100_000
"""More than the server reads ahead."""


def test_the_time_in_which_the_server_takes_no_body_is_not_counted() -> None:
    with MockServer(body_timeout=0.2) as server, new_world(server) as world, Kept(world) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # all of it leaves at once
        wire.ask("POST $/v1/containers", {**JSON, "X-Mock-Fault": '{"latency": 0.5}'}, SPACIOUS)
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


@pytest.mark.slow
def test_a_body_that_keeps_coming_may_take_any_time() -> None:
    """Invited after longer than the server would wait, and sent in pieces that take longer together."""
    with (
        MockServer(body_timeout=15.0, min_body_rate=0) as server,
        new_world(server) as world,
        Kept(world) as wire,
    ):
        length = {"Content-Length": str(len(BOX)), "Expect": "100-continue", "X-Mock-Fault": '{"latency": 16}'}
        wire.ask("POST $/v1/containers", {**JSON, **length})
        assert wire.response().status == 100
        for start in range(0, len(BOX), 5):
            world.http.get("/containers", headers={"X-Mock-Fault": '{"latency": 6}'})
            wire.send(BOX[start : start + 5])
        assert wire.response().json["name"] == "box"


@pytest.mark.parametrize("more", [b"x" * 10, b"x" * 1_000, b"x" * 1_000 + b"\r\n"], ids=["part", "rest", "more"])
def test_a_connection_is_idle_however_much_comes_of_a_body_that_nobody_reads(hurried: MockServer, more: bytes) -> None:
    with new_world(hurried) as world, Kept(world) as wire:
        wire.ask("GET $/v1/containers", SIZED)
        assert wire.response().status == 200
        wire.send(more)
        assert wire.ended()


# Chunks


def chunked(*chunks: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    pieces = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return pieces + b"0" + extension + b"\r\n" + trailers + b"\r\n"


CHUNKS = {
    "one": chunked(BOX),
    "each byte": chunked(*(BOX[i : i + 1] for i in range(len(BOX)))),
    "extensions": chunked(BOX[:5], BOX[5:], extension=b";a=b;c;d=1"),
    "quoted extension": chunked(BOX, extension=b';a="b c"'),
    "trailers": chunked(BOX, trailers=b"X-Checksum: 1\r\nContent-Type: text/plain\r\n"),
    "upper-case sizes": chunked(BOX).replace(b"f\r\n", b"F\r\n", 1),
    "leading zeros": b"000" + chunked(BOX),
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
@each_prefix
def test_json_in_chunks(world: World, prefix: str, body: bytes) -> None:
    with Kept(world) as wire:
        line = f"POST ${prefix}/containers?api-version=2025-04-01"
        wire.ask(line, {"Transfer-Encoding": "chunked", **JSON}, body, sized=False)
        assert wire.response().json["name"] == "box"
        assert wire.still_serves()


@pytest.mark.parametrize("cut", range(0, len(CHUNKS["trailers"]), 5))
def test_chunks_in_two_parts(world: World, cut: int) -> None:
    body = CHUNKS["trailers"]
    with Kept(world) as wire:
        wire.ask("POST $/v1/containers", {"Transfer-Encoding": "chunked", **JSON}, body[:cut], sized=False)
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
        ({"Transfer-Encoding": "chunked", "Content-Length": "15"}, chunked(BOX)),
        ({"Content-Length": "+15"}, BOX),
        ({"Content-Length": "1 5"}, BOX),
        ({"Transfer-Encoding": "chunked, gzip"}, chunked(BOX)),
        ({"Transfer-Encoding": "chunked", "transfer-encoding": "x"}, chunked(BOX)),
    ],
)
def test_a_length_that_can_be_read_two_ways(world: World, headers: dict[str, str], body: bytes) -> None:
    """Refused, for what stands behind it might be smuggled; and the connection is not used again."""
    with Kept(world) as wire:
        wire.ask("POST $/v1/containers", {**headers, **JSON}, body, sized=False)
        answer = wire.response()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert wire.ended()
    assert names(world) == []


# Connections


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", "9.9"])
def test_a_version_that_is_not_spoken_here(world: World, version: str) -> None:
    with Wire(world) as wire:
        wire.send(
            b"GET /w/%b/v1/containers HTTP/%b\r\nHost: x\r\napi-key: k\r\n\r\n"
            % (world.name.encode(), version.encode())
        )
        answer = wire.response("GET")
    assert (answer.status, answer.error["message"]) == (400, "Invalid HTTP request received.")


def test_requests_in_a_pipeline_are_answered_in_order(world: World, box: str) -> None:
    asked = [
        ("GET", f"/containers/{box}", b"", 200),
        ("POST", "/containers", BOX, 200),
        ("GET", "/containers/cntr_none", b"", 404),
        ("HEAD", "/files/file-none/content", b"", 404),
        ("POST", "/containers", BOX, 200),
        ("GET", "/containers", b"", 200),
    ]
    with Kept(world) as wire:
        together = bytearray()
        wire.send = together.extend  # type: ignore[method-assign]  # gathers what is then sent at once
        for method, path, body, _ in asked:
            wire.ask(f"{method} $/v1{path}", JSON, body)
        wire.socket.sendall(together)
        answers = [wire.response(method) for method, *_ in asked]
    assert [answer.status for answer in answers] == [status for *_, status in asked]
    assert len(answers[-1].json["data"]) == 3


@pytest.mark.parametrize("large", [0, 450_000], ids=["of small requests", "behind a large body"])
def test_a_pipeline_of_any_length(world: World, box: str, large: int) -> None:
    """More than is read at once, so that a packet ends in one head and began in another."""
    secret = {"domain": "d", "name": "n", "value": "a" * large}
    policy = {"type": "allowlist", "allowed_domains": ["d"], "domain_secrets": [secret]}
    count, padding = 1_000, {"X-Padding": "x" * 1_000}
    with Kept(world) as wire:
        together = bytearray()
        wire.send = together.extend  # type: ignore[method-assign]  # gathers what is then sent at once
        if large:
            wire.ask("POST $/v1/containers", JSON, json.dumps({"name": "large", "network_policy": policy}).encode())
        for _ in range(count):
            wire.ask(f"GET $/v1/containers/{box}", padding)

        async def busy() -> None:
            wire.socket.setblocking(False)  # as much as the system takes, all of which waits to be read
            with suppress(BlockingIOError):
                while together:
                    del together[: wire.socket.send(together)]
            wire.socket.settimeout(TIMEOUT)

        world.server.run(busy())
        sending = threading.Thread(target=wire.socket.sendall, args=(bytes(together),))
        sending.start()
        if large:
            assert wire.response().json["name"] == "large"
        for _ in range(count):
            assert wire.response().json["id"] == box
        sending.join()


def test_what_breaks_off_in_a_pipeline_is_refused_in_its_turn(
    world: World, box: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Kept(world) as wire:
        together = bytearray()
        wire.send = together.extend  # type: ignore[method-assign]  # gathers what is then sent at once
        for _ in range(2):
            wire.ask(f"GET $/v1/containers/{box}")
        wire.ask("POST $/v1/containers", {**JSON, "Transfer-Encoding": "chunked"}, b"no size", sized=False)
        wire.socket.sendall(together)
        assert [wire.response().json["id"] for _ in range(2)] == [box, box]
        refused = wire.response()
        assert (refused.status, refused.headers["connection"]) == (400, "close")
        assert wire.ended()
    assert [each.levelname for each in caplog.records] == ["WARNING"], "that it is no HTTP, and nothing else"


def test_a_connection_ends_when_it_is_asked_to(world: World) -> None:
    with Kept(world) as wire:
        for _ in range(3):
            assert wire.still_serves()
        wire.ask("GET $/v1/containers", {"Connection": "close"})
        answer = wire.response()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.ended()


@pytest.mark.parametrize("headers", [{}, {"Connection": "keep-alive"}, {"Connection": "close"}])
def test_an_old_client_gets_one_answer(world: World, box: str, headers: dict[str, str]) -> None:
    """And is told that the connection ends, whatever it asked for."""
    with Kept(world) as wire:
        wire.ask("GET $/v1/containers HTTP/1.0", headers)
        answer = wire.response()
        assert answer.json["first_id"] == box
        assert answer.headers["connection"] == "close"
        assert wire.ended()


def test_an_old_client_names_no_host(world: World) -> None:
    with Kept(world) as wire:
        wire.ask("GET $/v1/containers HTTP/1.0", [("Authorization", "Bearer sk-test")])
        assert wire.response().status == 200


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_in_front_of_a_request(world: World, before: bytes) -> None:
    with Kept(world) as wire:
        assert wire.still_serves()
        wire.send(before)
        assert wire.still_serves()


# Offers to speak another protocol


H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"}
WEBSOCKET = {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
OFFERS = {"h2c": H2C, "websocket": WEBSOCKET, "twice": {**H2C, "upgrade": "h3"}}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("way", ["at once", "later", "chunked", "byte by byte"])
def test_an_offer_is_passed_over(world: World, offer: dict[str, str], way: str) -> None:
    """The JDK's own client makes it with its first request, body and all."""
    frame = {"Transfer-Encoding": "chunked"} if way == "chunked" else {"Content-Length": str(len(BOX))}
    body = chunked(BOX) if way == "chunked" else BOX
    with Kept(world) as wire:
        for _ in range(2):
            if way == "byte by byte":
                together = bytearray()
                wire.send = together.extend  # type: ignore[method-assign]  # gathers what is then sent in bytes
                wire.ask("POST $/v1/containers", {**frame, **JSON, **offer})
                del wire.send  # type: ignore[method-assign]  # the class's again
                for byte in together + body:
                    wire.send(bytes([byte]))
            else:
                now, rest = (b"", body) if way == "later" else (body, b"")
                wire.ask("POST $/v1/containers", {**frame, **JSON, **offer}, now, sized=False)
                wire.send(rest)
            answer = wire.response()
            assert (answer.status, answer.json["name"]) == (200, "box")
            assert "upgrade" not in answer.headers
        wire.ask("GET $/v1/containers", offer)
        assert len(wire.response().json["data"]) == 2
        wire.ask("GET $/v1/containers", {**offer, "Connection": f"{offer['Connection']}, close"})
        assert wire.response().headers["connection"] == "close"
        assert wire.ended()


def test_an_offer_in_a_pipeline(world: World, box: str) -> None:
    with Kept(world) as wire:
        together = bytearray()
        wire.send = together.extend  # type: ignore[method-assign]  # gathers what is then sent at once
        wire.ask(f"GET $/v1/containers/{box}")
        wire.ask("POST $/v1/containers", {**JSON, **H2C}, BOX)
        wire.ask("GET $/v1/containers")
        wire.socket.sendall(together)
        answers = [wire.response() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len(answers[2].json["data"]) == 2


def test_a_packet_full_of_offers(world: World) -> None:
    """More than Python has calls, should each be read within the one before; less than any socket's buffer."""
    many = 600
    with Kept(world) as wire:
        wire.send(b"HEAD / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" * many)
        answers = [wire.response("HEAD").status for _ in range(many)]
        wire.ask("GET $/v1/containers")
        assert (answers, wire.response().status) == ([401] * many, 200)


def test_an_offer_is_said_to_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert request(world, "GET", "/containers", H2C).status == 200
    assert caplog.text == ""


# All in one: what is understood is done, once


def test_what_odd_clients_make_is_there_once(world: World) -> None:
    makers: list[Callable[[Kept], Any]] = [
        lambda wire: wire.ask("POST $/v1/containers", {}, BOX),
        lambda wire: wire.ask("POST http://x$/openai/v1/containers", H2C, BOX),
        lambda wire: wire.ask("POST $//openai/containers?api-version=2025-04-01", JSON, BOX),
        lambda wire: wire.ask("POST $/containers HTTP/1.0", JSON, BOX),
    ]
    for make in makers:
        with Kept(world) as wire:
            make(wire)
            assert json.loads(wire.response().body)["name"] == "box"
    assert names(world) == ["box"] * len(makers)
