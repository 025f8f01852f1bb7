"""Every operation against every way to be wrong.

Each test takes one kind of wrong through the operations it concerns and checks of every answer: the
status, the words, the envelope to the last byte, the headers, and that nothing was changed by it.
What the words are known from stands with them in `mockserver.errors`.
"""

import base64
import http.client
import json
import re
import socket
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from conftest import World, new_world
from skill_bundles import DESCRIPTION, MANIFEST, NAME, zipped

from mockserver import errors
from mockserver.api.app import create_app
from mockserver.errors import APIError
from mockserver.schema import faults
from mockserver.server.serving import MockServer

JSON = "application/json"
FORM = "multipart/form-data; boundary=golden"

STANDARD = [
    ("openai-version", "2020-10-01"),
    ("openai-organization", "org-mockserver"),
    ("openai-project", "proj_mockserver"),
    ("x-content-type-options", "nosniff"),
]


OF_THE_KEY = ("openai-organization", "openai-project")
"""Where the key is wrong, the organization is not known."""


# The operations


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    """`{container}`, `{file}` and `{upload}` stand for what a `Scene` holds."""
    body: str | None = None
    content_type: str | None = None

    @property
    def files_api(self) -> bool:
        return self.path.startswith(("/files", "/uploads"))


def part(disposition: str, content: str = "hello") -> str:
    return f"--golden\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n"


FILE_PART = part('name="file"; filename="notes.txt"')
PURPOSE_PART = part('name="purpose"', "vision")
SKILL_PART = part('name="files[]"; filename="math/SKILL.md"', MANIFEST)
END = "--golden--\r\n"
PART = part('name="data"', "hello")
NEW_UPLOAD = '{"bytes": 0, "filename": "a.txt", "purpose": "vision", "mime_type": "text/plain"}'

OPERATIONS = [
    Operation("ListContainers", "GET", "/containers"),
    Operation("CreateContainer", "POST", "/containers", '{"name": "box"}', JSON),
    Operation("RetrieveContainer", "GET", "/containers/{container}"),
    Operation("DeleteContainer", "DELETE", "/containers/{container}"),
    Operation("CreateContainerFile", "POST", "/containers/{container}/files", FILE_PART + END, FORM),
    Operation("ListContainerFiles", "GET", "/containers/{container}/files"),
    Operation("RetrieveContainerFile", "GET", "/containers/{container}/files/{file}"),
    Operation("RetrieveContainerFileContent", "GET", "/containers/{container}/files/{file}/content"),
    Operation("HeadContainerFileContent", "HEAD", "/containers/{container}/files/{file}/content"),
    Operation("DeleteContainerFile", "DELETE", "/containers/{container}/files/{file}"),
    Operation("ListFiles", "GET", "/files"),
    Operation("CreateFile", "POST", "/files", PURPOSE_PART + FILE_PART + END, FORM),
    Operation("DeleteFile", "DELETE", "/files/{upload}"),
    Operation("RetrieveFile", "GET", "/files/{upload}"),
    Operation("DownloadFile", "GET", "/files/{upload}/content"),
    Operation("HeadFile", "HEAD", "/files/{upload}/content"),
    Operation("CreateUpload", "POST", "/uploads", NEW_UPLOAD, JSON),
    Operation("AddUploadPart", "POST", "/uploads/{pending}/parts", PART + END, FORM),
    Operation("CompleteUpload", "POST", "/uploads/{pending}/complete", '{"part_ids": []}', JSON),
    Operation("CancelUpload", "POST", "/uploads/{pending}/cancel"),
    Operation("CreateResponse", "POST", "/responses", '{"model": "m", "input": "x"}', JSON),
    Operation("GetResponse", "GET", "/responses/{response}"),
    Operation("DeleteResponse", "DELETE", "/responses/{response}"),
    Operation("CancelResponse", "POST", "/responses/{response}/cancel"),
    Operation("ListInputItems", "GET", "/responses/{response}/input_items"),
    Operation("CreateSkill", "POST", "/skills", SKILL_PART + END, FORM),
    Operation("ListSkills", "GET", "/skills"),
    Operation("RetrieveSkill", "GET", "/skills/{skill}"),
    Operation("UpdateSkill", "POST", "/skills/{skill}", '{"default_version": "1"}', JSON),
    Operation("DeleteSkill", "DELETE", "/skills/{skill}"),
    Operation("RetrieveSkillContent", "GET", "/skills/{skill}/content"),
    Operation("HeadSkillContent", "HEAD", "/skills/{skill}/content"),
    Operation("CreateSkillVersion", "POST", "/skills/{skill}/versions", SKILL_PART + END, FORM),
    Operation("ListSkillVersions", "GET", "/skills/{skill}/versions"),
    Operation("RetrieveSkillVersion", "GET", "/skills/{skill}/versions/1"),
    Operation("DeleteSkillVersion", "DELETE", "/skills/{skill}/versions/1"),
    Operation("RetrieveSkillVersionContent", "GET", "/skills/{skill}/versions/1/content"),
    Operation("HeadSkillVersionContent", "HEAD", "/skills/{skill}/versions/1/content"),
]
BY_NAME = {operation.name: operation for operation in OPERATIONS}
LISTS = [BY_NAME[name] for name in ("ListContainers", "ListContainerFiles", "ListFiles")]
UPLOADS = [BY_NAME[name] for name in ("CreateContainerFile", "CreateFile")]
CONTENTS = [each for each in OPERATIONS if each.path.endswith("/content") and "{skill}" not in each.path]


def each_of(operations: Iterable[Operation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: operation.name)


def each_with(placeholder: str) -> pytest.MarkDecorator:
    return each_of([each for each in OPERATIONS if placeholder in each.path])


each_operation = each_of(OPERATIONS)
each_list = each_of(LISTS)
each_upload = each_of(UPLOADS)
each_content = each_of(CONTENTS)


def test_the_table_has_every_operation(server: MockServer) -> None:
    described = {
        (operation["operationId"], method.upper())
        for methods in create_app(server.mock).openapi()["paths"].values()
        for method, operation in methods.items()
    }
    assert len(described) == len(faults.OPERATIONS)
    assert {(each.name, each.method) for each in OPERATIONS if each.method != "HEAD"} == described


# Asking, and what every refusal has in common


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @classmethod
    def read(cls, response: http.client.HTTPResponse) -> "Reply":
        body = response.read()
        return cls(response.status, [(name.lower(), value) for name, value in response.getheaders()], body)

    @classmethod
    def receive(cls, connection: socket.socket) -> "Reply":
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return cls.read(response)


@dataclass
class Scene:
    """A world on a clock that stands still, with a container, a file in it, a File, and an upload."""

    world: World
    key: str = "sk-test"
    container: str = ""
    file: str = ""
    upload: str = ""
    pending: str = ""
    skill: str = ""
    response: str = ""
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def __enter__(self) -> "Scene":
        self._connection = http.client.HTTPConnection("127.0.0.1", self.world.server.port, timeout=60)
        self.world.freeze()
        self.container = self.made("CreateContainer")
        self.file = self.made("CreateContainerFile")
        self.upload = self.made("CreateFile")
        self.pending = self.made("CreateUpload")
        self.skill = self.made("CreateSkill")
        self.response = self.made("CreateResponse")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._connection
        self._connection.close()

    def made(self, name: str) -> str:
        operation = BY_NAME[name]
        reply = self.ask(operation)
        assert reply.status == 200, reply
        return str(json.loads(reply.body)["id"])

    def path(self, operation: Operation, **ids: str) -> str:
        there = {"container": self.container, "file": self.file, "upload": self.upload}
        there |= {"pending": self.pending, "skill": self.skill, "response": self.response}
        return operation.path.format(**there | ids)

    def ask(
        self,
        operation: Operation,
        *,
        method: str | None = None,
        prefix: str | None = None,
        path: str | None = None,
        query: str = "",
        body: str | bytes | None = None,
        headers: dict[str, str] | None = None,
        key: str | None = "",
        **ids: str,
    ) -> Reply:
        """The operation as it should be, but for what is given."""
        assert self._connection
        sent: dict[str, str] = {}
        if key is not None:
            sent["Authorization"] = key or f"Bearer {self.key}"
        if body is None:
            body = operation.body
        if operation.content_type:
            sent["Content-Type"] = operation.content_type
        sent |= headers or {}
        sent = {name: value for name, value in sent.items() if value}
        target = (f"/w/{self.world.name}/v1" if prefix is None else prefix) + (
            self.path(operation, **ids) if path is None else path
        )
        self._connection.request(
            method or operation.method,
            target + query,
            body.encode() if isinstance(body, str) else body,
            sent,
        )
        return Reply.read(self._connection.getresponse())

    def state(self) -> list[bytes]:
        """All that can be seen of the world, without what two readings never share."""
        return [
            self.ask(each).body
            for each in (
                *LISTS,
                BY_NAME["ListSkills"],
                BY_NAME["ListSkillVersions"],
                BY_NAME["RetrieveContainerFileContent"],
                BY_NAME["DownloadFile"],
            )
        ]


@pytest.fixture
def scene(server: MockServer) -> Iterator[Scene]:
    with Scene(new_world(server)) as scene:
        yield scene


@pytest.fixture(scope="session")
def keyed_server() -> Iterator[MockServer]:
    with MockServer(api_key=("sk-right",)) as running:
        yield running


@pytest.fixture(scope="session")
def small_server() -> Iterator[MockServer]:
    """Takes uploads of 1,000 bytes and JSON of 2,000."""
    with MockServer(max_upload=1_000, max_body=2_000) as running:
        yield running


@dataclass(frozen=True)
class Wrong:
    """A way to be wrong, and the refusal it deserves: exactly, or where the reason is free, its row."""

    label: str
    expected: APIError | errors.ErrorType
    request: dict[str, Any]


def wrong(label: str, expected: APIError | errors.ErrorType, **request: Any) -> Wrong:
    return Wrong(label, expected, request)


def complaints(reply: Reply, expected: APIError | errors.ErrorType, files_api: bool, head: bool) -> Iterable[str]:
    """What is not as it must be in an answer that refuses."""
    if reply.status != expected.status:
        yield f"status {reply.status} instead of {expected.status}: {reply.body[:300]!r}"
        return
    names = [name for name, _ in reply.headers]
    if len(names) != len(set(names)):
        yield f"a header twice: {names}"
    if reply.header("content-type") != "application/json":
        yield f"content-type {reply.header('content-type')}"
    if not re.fullmatch(r"req_[0-9a-f]{32}", reply.header("x-request-id") or ""):
        yield f"x-request-id {reply.header('x-request-id')}"
    if not re.fullmatch(r"\d+", reply.header("openai-processing-ms") or ""):
        yield f"openai-processing-ms {reply.header('openai-processing-ms')}"
    standard = [pair for pair in STANDARD if expected.status != 401 or pair[0] not in OF_THE_KEY]
    if [pair for pair in reply.headers if pair[0] in dict(STANDARD)] != standard:
        yield f"headers {reply.headers}"
    if head:
        if reply.body:
            yield "a body for HEAD"
        return
    if reply.header("content-length") != str(len(reply.body)):
        yield f"content-length {reply.header('content-length')} for {len(reply.body)} bytes"
    try:
        given = json.loads(reply.body)
        error = given["error"]
        shown = APIError(expected.status, error["message"], error["type"], error["param"], error["code"])
    except (ValueError, KeyError, TypeError):
        yield f"no envelope: {reply.body[:300]!r}"
        return
    text = json.dumps(shown.body(files_api), indent=2, ensure_ascii=b"\\u00" in reply.body) + (
        "\n" if files_api else ""
    )
    if reply.body.decode() != text:
        yield f"envelope {reply.body!r} instead of {text!r}"
    if isinstance(expected, errors.ErrorType):
        pattern = re.sub(r"\\\{\w+\\\}", ".*", re.escape(expected.message))
        if not re.fullmatch(pattern, shown.message, re.DOTALL) or shown.code != expected.code:
            yield f"{shown.message!r} ({shown.code}) instead of {expected.message!r}"
    elif (shown.message, shown.type, shown.param, shown.code) != (
        expected.message,
        expected.type,
        expected.param,
        expected.code,
    ):
        yield f"{shown.body()} instead of {expected.body()}"


def sweep(scene: Scene, operation: Operation, wrongs: Iterable[Wrong], front: bool = False) -> None:
    """Every one of `wrongs` is refused as it should be, and changes nothing.

    `front`: refused before the operation is known, so without the Files API's own style.
    """
    found, tried = [], 0
    before = scene.state()
    for each in wrongs:
        tried += 1
        method = each.request.get("method", operation.method)
        reply = scene.ask(operation, **each.request)
        style = operation.files_api and not front
        found += [f"{each.label}: {problem}" for problem in complaints(reply, each.expected, style, method == "HEAD")]
    assert tried, "there was nothing to try"
    assert not found, "\n".join(found)
    assert scene.state() == before, "one of these changed something"


# Keys

WRONG_KEYS = [
    ("no header", None, errors.MISSING_KEY()),
    ("an empty token", "Bearer ", errors.MISSING_KEY()),
    ("another scheme", "Basic c2stcmlnaHQ=", errors.MISSING_KEY()),
    ("a short key", "Bearer fake_key", errors.WRONG_KEY(key="fake_key")),
    ("a long key", "Bearer sk-test-0123456789", errors.WRONG_KEY(key="sk-test-******6789")),
    ("the right key and more", "Bearer sk-right2", errors.WRONG_KEY(key="sk-right2")),
    ("the form that names a world", "Bearer sk-world-x", errors.WRONG_KEY(key="sk-world-x")),
]


@each_operation
def test_without_the_right_key(keyed_server: MockServer, operation: Operation) -> None:
    with Scene(new_world(keyed_server), key="sk-right") as scene:
        broken: dict[str, Any] = {"query": "?limit=x"}
        if operation.body:
            broken |= {"body": "{broken" * 50_000}
        wrongs = [
            wrong(f"{label}, {what}", expected, key=key, **request)
            for label, key, expected in WRONG_KEYS
            for what, request in (
                ("else right", {}),
                ("broken too", broken),
                ("of an unknown container", {"container": "cntr_none"}),
                ("of an impossible world", {"prefix": "/w/-x/v1"}),
                ("on no route", {"path": "/foo"}),
                ("by a wrong method", {"method": "PATCH"}),
            )
        ]
        sweep(scene, operation, wrongs, front=True)


@each_operation
def test_any_key_is_needed_even_where_any_will_do(scene: Scene, operation: Operation) -> None:
    sweep(scene, operation, [wrong(label, error, key=key) for label, key, error in WRONG_KEYS[:3]], front=True)


# Routes and worlds


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_unknown_routes(scene: Scene, method: str) -> None:
    paths = [
        "/",
        "/foo",
        "/containers/",
        "/container",
        "/Containers",
        "//containers",
        "/containers/{container}/",
        "/containers/{container}/file",
        "/containers/{container}/files/",
        "/containers/{container}/files/{file}/contents",
        "/containers/{container}/files/{file}/content/x",
        "/containers%2F{container}/x",
        "/files/",
        "/files/{upload}/",
        "/files/{upload}/content/",
        "/uploads/{pending}",
        "/uploads/{pending}/part",
        "/v1/containers",
        "/models",
    ]
    wrongs = []
    for path in paths:
        path = scene.path(Operation("", method, path))
        wrongs.append(wrong(path, errors.UNKNOWN_URL(method=method, path=f"/v1{path}"), method=method, path=path))
    sweep(scene, OPERATIONS[0], wrongs, front=True)


@pytest.mark.parametrize("route", ["/containers", "/containers/{container}/files", "/files", "/files/{upload}/content"])
def test_a_newline_at_the_end_makes_another_route(scene: Scene, route: str) -> None:
    """In a regular expression `$` also matches in front of one."""
    path = scene.path(Operation("", "GET", route)) + "%0A"
    expected = errors.UNKNOWN_URL(method="GET", path=f"/v1{path}")
    sweep(scene, OPERATIONS[0], [wrong(path, expected, path=path)], front=True)


ROUTES = {
    "/containers": ["GET", "POST"],
    "/containers/{container}": ["GET", "DELETE"],
    "/containers/{container}/files": ["GET", "POST"],
    "/containers/{container}/files/{file}": ["GET", "DELETE"],
    "/containers/{container}/files/{file}/content": ["GET", "HEAD"],
    "/files": ["GET", "POST"],
    "/files/{upload}": ["GET", "DELETE"],
    "/files/{upload}/content": ["GET", "HEAD"],
    "/uploads": ["POST"],
    "/uploads/{pending}/parts": ["POST"],
    "/uploads/{pending}/complete": ["POST"],
    "/uploads/{pending}/cancel": ["POST"],
}


@pytest.mark.parametrize("route", ROUTES)
def test_wrong_methods(scene: Scene, route: str) -> None:
    before = scene.state()
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        if method in ROUTES[route]:
            continue
        reply = scene.ask(Operation("", method, route))
        assert list(complaints(reply, errors.WRONG_METHOD, files_api=False, head=method == "HEAD")) == [], method
        assert sorted((reply.header("allow") or "").split(", ")) == sorted(ROUTES[route]), method
        assert scene.state() == before


@each_operation
def test_worlds_that_cannot_be(scene: Scene, operation: Operation) -> None:
    names = ["", "-x", ".x", "_x", "a b", "a\x00", "ü", "a\n", "a'\"", "x" * 65, "x" * 4_000, "*"]
    sweep(
        scene,
        operation,
        [
            wrong(repr(name[:70]), errors.BAD_WORLD_NAME(name=name[:80]), prefix=f"/w/{quote(name, safe='')}/v1")
            for name in names
        ]
        + [
            wrong(f"key {name!r}", errors.BAD_WORLD_NAME(name=name), prefix="/v1", key=f"Bearer sk-world-{name}")
            for name in ("-x", "a/b", "a b", "x" * 65)
        ],
    )


NO_HTTP = {
    "nonsense": b"NONSENSE\r\n\r\n",
    "an unknown method": b"BREW /v1/containers HTTP/1.1\r\n\r\n",
    "no version": b"GET /v1/containers\r\n\r\n",
    "a path with a space": b"GET /v1/con tainers HTTP/1.1\r\n\r\n",
    "a raw path beyond ASCII": b"GET /v1/containers/caf\xc3\xa9 HTTP/1.1\r\n\r\n",
    "a header without colon": b"GET /v1/containers HTTP/1.1\r\nnonsense\r\n\r\n",
    "a header with a zero byte": b"GET /v1/containers HTTP/1.1\r\nx: a\x00b\r\n\r\n",
    "a length that is no number": b"POST /v1/containers HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    "two lengths": b"POST /v1/containers HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000100") + b"\r\n\r\n",
}


def test_what_is_no_http(server: MockServer) -> None:
    found = []
    for label, request in NO_HTTP.items():
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(request)
            reply = Reply.receive(connection)
        problems = complaints(reply, errors.MALFORMED_HTTP(), files_api=False, head=False)
        found += [f"{label}: {problem}" for problem in problems]
    assert not found, "\n".join(found)


# Queries


def query_wrongs(files: bool) -> list[Wrong]:
    most = 10_000 if files else 100
    many = "x" * 5_000
    integer = {"param": "limit", "expected": "an integer", "got": "a string"}
    rows: list[tuple[str, APIError | errors.ErrorType]] = [
        ("limit=0", errors.TOO_SMALL_INTEGER(param="limit", limit=1, value=0)),
        ("limit=-1", errors.TOO_SMALL_INTEGER(param="limit", limit=1, value=-1)),
        (f"limit={most + 1}", errors.TOO_LARGE_INTEGER(param="limit", limit=most, value=most + 1)),
        (f"limit={10**29}", errors.TOO_LARGE_INTEGER(param="limit", limit=most, value=10**29)),
        *(
            (f"limit={quote(value)}", errors.WRONG_TYPE(**integer))
            for value in (
                "x",
                "1.0",
                "1e1",
                "0x10",
                "1_0",
                " 1",
                "1 ",
                "null",
                "true",
                "NaN",
                "\u0663",
                "\uff11",
                "[1]",
                many,
            )
        ),
        ("limit=%00", errors.WRONG_TYPE(**integer)),
        ("limit=%FF", errors.WRONG_TYPE(**integer)),
        *(
            (
                f"order={quote(value)}",
                errors.INVALID_VALUE(param="order", value=value, supported="'asc' and 'desc'"),
            )
            for value in ("x", "ASC", "asc ", "desc,asc", "'", "{value}", "箱", "\x00", many)
        ),
        ("limit=1&limit=1", errors.DUPLICATE_PARAMETER(param="limit")),
        ("order=asc&order=desc", errors.DUPLICATE_PARAMETER(param="order")),
        ("after=a&after=b", errors.DUPLICATE_PARAMETER(param="after")),
        ("before=a&limit=x&before=b", errors.WRONG_TYPE(**integer)),
    ]
    rows.append(
        ("purpose=a&purpose=a&purpose=b", errors.DUPLICATE_PARAMETER(param="purpose"))
        if files
        else ("limit=5&limit=6", errors.DUPLICATE_PARAMETER(param="limit"))
    )
    return [wrong(query[:60], expected, query=f"?{query}") for query, expected in rows]


@each_list
def test_wrong_queries(scene: Scene, operation: Operation) -> None:
    sweep(scene, operation, query_wrongs(operation.files_api))


@each_list
@pytest.mark.parametrize("param", ["after", "before"])
def test_wrong_cursors(scene: Scene, operation: Operation, param: str) -> None:
    own = {"ListContainers": "container", "ListContainerFiles": "file", "ListFiles": "upload"}[operation.name]
    prefix = {"container": "cntr", "file": "cfile", "upload": "file"}[own]
    kind = {"container": "Container", "file": "Container File", "upload": "File"}[own]
    foreign = [getattr(scene, kind) for kind in ("container", "file", "upload") if kind != own]
    alien = [*foreign, "x", "'", "%00", "箱", "{value}", "x" * 5_000, " ", prefix[:-1], prefix.upper()]
    lost = [prefix, f"{prefix}_none", f"{prefix}-none", f"{prefix}_" + "0" * 5_000, f"{prefix}_\x00", f"{prefix}' OR 1"]
    wrongs = [
        wrong(cursor[:60], errors.WRONG_CURSOR(param=param, value=cursor, prefix=prefix), query=_query(param, cursor))
        for cursor in alien
        if not cursor.startswith(prefix)
    ] + [
        wrong(cursor[:60], errors.UNKNOWN_CURSOR(param=param, resource=kind, value=cursor), query=_query(param, cursor))
        for cursor in lost
    ]
    sweep(scene, operation, wrongs)


def _query(param: str, value: str) -> str:
    return f"?{param}={quote(value, safe='')}"


def test_a_filter_can_stand_twice_with_the_same_value(scene: Scene) -> None:
    twice = scene.ask(BY_NAME["ListFiles"], query="?purpose=user_data&purpose=user_data")
    assert twice.body == scene.ask(BY_NAME["ListFiles"], query="?purpose=user_data").body


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?limit=",
        "?foo=1&foo=2",
        "?after=",
        "?before=&&",
        "?&&=&=x",
        "?LIMIT=0",
        "?limit[]=0",
        "?" + "x" * 9_000,
    ],
)
@each_list
def test_queries_that_say_nothing_are_no_wrong(scene: Scene, operation: Operation, query: str) -> None:
    assert scene.ask(operation, query=query).body == scene.ask(operation).body


@each_list
def test_limits_are_exact(scene: Scene, operation: Operation) -> None:
    most = 10_000 if operation.files_api else 100
    for limit in (1, most):
        assert scene.ask(operation, query=f"?limit={limit}").status == 200


# JSON

NOT_JSON = {
    "a brace too few": "{",
    "a comma too many": '{"name": "box",}',
    "single quotes": "{'name': 'box'}",
    "a bare word": '{"name": box}',
    "bare": "box",
    "two objects": "{}{}",
    "something behind it": '{"name": "box"} x',
    "a comment": '{"name": "box"} // x',
    "white space": " \r\n\t ",
    "NaN": '{"name": NaN}',
    "NaN alone": "NaN",
    "Infinity": '{"name": Infinity}',
    "minus Infinity": '{"name": -Infinity}',
    "a lone surrogate": '{"name": "\\ud800"}',
    "a surrogate the wrong way round": '{"name": "\\udc00\\ud800"}',
    "a surrogate in a key": '{"\\ud800": 1}',
    "a raw control character": '{"name": "a\x00"}',
    "a raw newline": '{"name": "a\n"}',
    "bad escapes": '{"name": "\\x41"}',
    "bytes that are no UTF-8": b'{"name": "\xff"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "box"}'.encode("utf-16"),
    "a byte order mark": '{"name": "box"}'.encode("utf-8-sig"),
    "arrays without end": "[" * 20_000,
    "arrays 10,000 deep": "[" * 10_000 + "]" * 10_000,
    "objects 1,000 deep": '{"name":' * 1_000 + "1" + "}" * 1_000,
    "a number of 5,000 digits": '{"name": 1' + "0" * 5_000 + "}",
    "a form": FILE_PART + END,
    "nothing but zero bytes": b"\x00" * 100,
}
NOT_OBJECTS = {
    "[]": "an array",
    '[{"name": "box"}]': "an array",
    '"box"': "a string",
    "5": "an integer",
    "1.5": "a decimal",
    "1e400": "a decimal",
    "true": "a boolean",
    "null": "null",
    " null ": "null",
}


@pytest.mark.parametrize("name", ["CreateContainer", "CreateContainerFile"])
def test_bodies_that_are_no_json_object(scene: Scene, name: str) -> None:
    operation = BY_NAME[name]
    as_json = {"Content-Type": JSON}
    wrongs = [wrong(label, errors.NOT_JSON(), body=body, headers=as_json) for label, body in NOT_JSON.items()] + [
        wrong(body, errors.NOT_AN_OBJECT(got=got), body=body, headers=as_json) for body, got in NOT_OBJECTS.items()
    ]
    sweep(scene, operation, wrongs)


def test_content_types_that_are_not_json(scene: Scene) -> None:
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [
            wrong(kind[:60], errors.WRONG_CONTENT_TYPE(content_type=kind), headers={"Content-Type": kind})
            for kind in (
                "text/plain",
                "text/json; charset=utf-8",
                "application/x-www-form-urlencoded",
                "application/jsonp",
                "application/json, text/plain",
                "multipart/form-data; boundary=x",
                "x",
                "{content_type}",
                "/",
                "é",
                "x" * 5_000,
            )
        ],
    )


# Fields

WHOLE: dict[str, Any] = {
    "name": "box",
    "file_ids": [],
    "expires_after": {"anchor": "last_active_at", "minutes": 5},
    "memory_limit": "1g",
    "network_policy": {
        "type": "allowlist",
        "allowed_domains": ["example.com"],
        "domain_secrets": [{"domain": "example.com", "name": "TOKEN", "value": "hidden"}],
    },
    "skills": [
        {"type": "skill_reference", "skill_id": "openai-spreadsheets", "version": "1"},
        {
            "type": "inline",
            "name": NAME,
            "description": DESCRIPTION,
            "source": {
                "type": "base64",
                "media_type": "application/zip",
                "data": base64.b64encode(zipped()).decode(),
            },
        },
    ],
}
TYPES = {
    "name": "a string",
    "file_ids": "an array",
    "file_ids[0]": "a string",
    "expires_after": "an object",
    "expires_after.anchor": "a string",
    "expires_after.minutes": "an integer",
    "expires_after.days": "an integer",
    "memory_limit": "a string",
    "network_policy": "an object",
    "network_policy.type": "a string",
    "network_policy.allowed_domains": "an array",
    "network_policy.allowed_domains[0]": "a string",
    "network_policy.domain_secrets": "an array",
    "network_policy.domain_secrets[0]": "an object",
    "network_policy.domain_secrets[0].domain": "a string",
    "network_policy.domain_secrets[0].name": "a string",
    "network_policy.domain_secrets[0].value": "a string",
    "skills": "an array",
    "skills[0]": "an object",
    "skills[0].type": "a string",
    "skills[0].skill_id": "a string",
    "skills[0].version": "a string",
    "skills[1].name": "a string",
    "skills[1].description": "a string",
    "skills[1].source": "an object",
    "skills[1].source.type": "a string",
    "skills[1].source.media_type": "a string",
    "skills[1].source.data": "a string",
}
NULLABLE = {"network_policy", "skills[0].version"}
VALUES: dict[str, Any] = {
    "null": None,
    "a boolean": True,
    "an integer": 5,
    "a decimal": 1.0,
    "a string": "5",
    "an array": [],
    "an object": {},
}
REQUIRED = [
    "name",
    "expires_after.anchor",
    "expires_after.minutes",
    "network_policy.type",
    "network_policy.allowed_domains",
    "network_policy.domain_secrets[0].domain",
    "network_policy.domain_secrets[0].name",
    "network_policy.domain_secrets[0].value",
    "skills[0].type",
    "skills[0].skill_id",
    "skills[1].name",
    "skills[1].description",
    "skills[1].source",
    "skills[1].source.type",
    "skills[1].source.media_type",
    "skills[1].source.data",
]
NOT_EMPTY = {
    "name": errors.EMPTY_STRING,
    "network_policy.allowed_domains": errors.EMPTY_ARRAY,
    "network_policy.domain_secrets": errors.EMPTY_ARRAY,
    "network_policy.domain_secrets[0].domain": errors.EMPTY_STRING,
    "network_policy.domain_secrets[0].name": errors.EMPTY_STRING,
    "network_policy.domain_secrets[0].value": errors.EMPTY_STRING,
    "skills[0].skill_id": errors.EMPTY_STRING,
    "skills[1].source.data": errors.EMPTY_STRING,
}
CHOICES = {
    "memory_limit": "'1g', '4g', '16g', and '64g'",
    "network_policy.type": "'disabled' and 'allowlist'",
    "skills[0].type": "'skill_reference' and 'inline'",
    "skills[1].source.type": "'base64'",
    "skills[1].source.media_type": "'application/zip'",
    "expires_after.anchor": "'last_active_at'",
}


def changed(path: str, value: Any = None, remove: bool = False) -> str:
    """The whole body with one field changed or removed, as JSON."""
    body = deepcopy(WHOLE)
    steps: list[Any] = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", path)]
    place = body
    for step in steps[:-1]:
        place = place[step]
    if remove:
        del place[steps[-1]]
    elif isinstance(place, list) and not place:
        place.append(value)
    else:
        place[steps[-1]] = value
    return json.dumps(body)


@pytest.mark.parametrize("path", TYPES)
def test_fields_of_each_wrong_type(scene: Scene, path: str) -> None:
    wrongs = [
        wrong(
            f"{path} is {got}",
            errors.WRONG_TYPE(param=path, expected=TYPES[path], got=got),
            body=changed(path, value),
        )
        for got, value in VALUES.items()
        if got != TYPES[path] and not (got == "null" and path in NULLABLE)
    ]
    sweep(scene, BY_NAME["CreateContainer"], wrongs)


def test_fields_that_are_missing(scene: Scene) -> None:
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [wrong(path, errors.MISSING_PARAMETER(param=path), body=changed(path, remove=True)) for path in REQUIRED]
        + [
            wrong("{}", errors.MISSING_PARAMETER(param="name"), body="{}"),
            wrong("no body", errors.MISSING_PARAMETER(param="name"), body=""),
        ],
    )


def test_fields_that_nobody_knows(scene: Scene) -> None:
    places = [
        "",
        "expires_after.",
        "network_policy.",
        "network_policy.domain_secrets[0].",
        "skills[0].",
        "skills[1].",
        "skills[1].source.",
    ]
    names = ["foo", "Name", "allowlist", "inline", "id", "expires_at", "__proto__", "箱"]
    rows = [place + name for place in places for name in names]
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [wrong(path, errors.UNKNOWN_PARAMETER(param=path), body=changed(path, 1)) for path in rows]
        + [
            wrong(
                f"key {key[:20]!r}",
                errors.UNKNOWN_PARAMETER(param=key),
                body=json.dumps({"name": "box", key: None}),
            )
            for key in ("a b", "a.b", "'", "{param}", "\x00", "x" * 5_000)
        ]
        + [
            wrong("an empty key", errors.UNKNOWN_PARAMETER, body='{"name": "box", "": 1}'),
            wrong(
                "allowed_domains of a disabled policy",
                errors.UNKNOWN_PARAMETER(param="network_policy.allowed_domains"),
                body='{"name": "box", "network_policy": {"type": "disabled", "allowed_domains": ["a"]}}',
            ),
        ],
    )


def test_fields_of_no_known_choice(scene: Scene) -> None:
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [
            wrong(
                f"{path} is {value[:20]!r}",
                errors.INVALID_VALUE(param=path, value=value, supported=supported),
                body=changed(path, value),
            )
            for path, supported in CHOICES.items()
            for value in ("x", "", "1G", " 1g", "DISABLED", "'", "{value}", "箱", "\x00", "x" * 5_000)
        ],
    )


def test_fields_that_are_empty(scene: Scene) -> None:
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [
            wrong(
                path,
                refusal(param=path, limit=1),
                body=changed(path, [] if refusal is errors.EMPTY_ARRAY else ""),
            )
            for path, refusal in NOT_EMPTY.items()
        ],
    )


def _strings(path: str, limit: int) -> tuple[Any, Any, APIError]:
    return "x" * limit, "x" * (limit + 1), errors.TOO_LONG_STRING(param=path, limit=limit, length=limit + 1)


def _arrays(path: str, limit: int, item: Any) -> tuple[Any, Any, APIError]:
    return [item] * limit, [item] * (limit + 1), errors.TOO_LONG_ARRAY(param=path, limit=limit, length=limit + 1)


def _low(path: str) -> tuple[Any, Any, APIError]:
    return 1, 0, errors.TOO_SMALL_INTEGER(param=path, limit=1, value=0)


def _high(path: str, limit: int) -> tuple[Any, Any, APIError]:
    return limit, limit + 1, errors.TOO_LARGE_INTEGER(param=path, limit=limit, value=limit + 1)


_SECRET = {"domain": "d", "name": "n", "value": "v"}
_SKILL = {"type": "skill_reference", "skill_id": "openai-spreadsheets"}
MINUTES = "expires_after.minutes"

BOUNDS: dict[str, tuple[str, tuple[Any, Any, APIError]]] = {
    "a name, high": ("name", _strings("name", 1_024)),
    "a secret, high": (
        "network_policy.domain_secrets[0].value",
        _strings("network_policy.domain_secrets[0].value", 10_485_760),
    ),
    "an allowed domain, high": (
        "network_policy.allowed_domains[0]",
        _strings("network_policy.allowed_domains[0]", 253),
    ),
    "allowed domains, high": (
        "network_policy.allowed_domains",
        _arrays("network_policy.allowed_domains", 1_000, "d"),
    ),
    "secrets, high": ("network_policy.domain_secrets", _arrays("network_policy.domain_secrets", 1_000, _SECRET)),
    "skills, high": ("skills", _arrays("skills", 200, _SKILL)),
    "minutes, low": (MINUTES, _low(MINUTES)),
    "minutes, high": (MINUTES, _high(MINUTES, 5_270_400)),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_both_sides_of_a_bound(scene: Scene, bound: str) -> None:
    path, (inside, outside, refusal) = BOUNDS[bound]
    create = BY_NAME["CreateContainer"]
    sweep(scene, create, [wrong(path, refusal, body=changed(path, outside))])
    assert scene.ask(create, body=changed(path, inside)).status == 200


@pytest.mark.slow
def test_both_sides_of_the_bound_of_inline_skills(scene: Scene) -> None:
    path, create = "skills[1].source.data", BY_NAME["CreateContainer"]
    inside, outside, refusal = _strings(path, 70_254_592)
    sweep(scene, create, [wrong(path, refusal, body=changed(path, outside))])
    assert scene.ask(create, body=changed(path, inside)).status == 400, "it is no zip"


@pytest.mark.parametrize("value", [-1, -(10**30), 5_270_401, 2**63, 2**64, 10**30, 10**4_000])
def test_minutes_far_out(scene: Scene, value: int) -> None:
    low = errors.TOO_SMALL_INTEGER(param=MINUTES, limit=1, value=value)
    high = errors.TOO_LARGE_INTEGER(param=MINUTES, limit=5_270_400, value=value)
    sweep(
        scene, BY_NAME["CreateContainer"], [wrong("minutes", low if value < 1 else high, body=changed(MINUTES, value))]
    )


def _expiry(rule: str) -> str:
    return f'{{"name": "box", "expires_after": {rule}}}'


def test_rules_of_expiry(scene: Scene) -> None:
    days = "expires_after.days"
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [
            wrong(rule, expected, body=_expiry(rule))
            for rule, expected in (
                ("{}", errors.MISSING_PARAMETER(param="expires_after.anchor")),
                ('{"minutes": 5}', errors.MISSING_PARAMETER(param="expires_after.anchor")),
                ('{"anchor": "last_active_at"}', errors.MISSING_PARAMETER(param=MINUTES)),
                ('{"anchor": "created_at"}', errors.MISSING_PARAMETER(param=MINUTES)),
                (
                    '{"anchor": "created_at", "minutes": 5, "days": 7}',
                    errors.MUTUALLY_EXCLUSIVE(param=MINUTES, other=days),
                ),
                ('{"anchor": "created_at", "days": 0}', errors.TOO_SMALL_INTEGER(param=days, limit=1, value=0)),
                (
                    '{"anchor": "created_at", "days": 3661}',
                    errors.TOO_LARGE_INTEGER(param=days, limit=3_660, value=3_661),
                ),
            )
        ],
    )
    for days_taken in (1, 3_660):
        assert (
            scene.ask(
                BY_NAME["CreateContainer"], body=_expiry(f'{{"anchor": "created_at", "days": {days_taken}}}')
            ).status
            == 200
        )


def test_rules_of_expiry_where_live(live_server: MockServer) -> None:
    with Scene(new_world(live_server)) as scene:
        create = BY_NAME["CreateContainer"]
        anchors = {"param": "expires_after.anchor", "supported": "'last_active_at'"}
        sweep(
            scene,
            create,
            [
                wrong(rule, expected, body=_expiry(rule))
                for rule, expected in (
                    (
                        '{"anchor": "last_active_at", "minutes": 21}',
                        errors.TOO_LARGE_INTEGER(param=MINUTES, limit=20, value=21),
                    ),
                    (
                        '{"anchor": "last_active_at", "minutes": 0}',
                        errors.TOO_SMALL_INTEGER(param=MINUTES, limit=1, value=0),
                    ),
                    ('{"anchor": "created_at", "minutes": 5}', errors.INVALID_VALUE(value="created_at", **anchors)),
                    ('{"anchor": "created_at", "days": 7}', errors.INVALID_VALUE(value="created_at", **anchors)),
                    (
                        '{"anchor": "last_active_at", "days": 7}',
                        errors.UNKNOWN_PARAMETER(param="expires_after.days"),
                    ),
                )
            ],
        )
        for minutes in (1, 20):
            rule = f'{{"anchor": "last_active_at", "minutes": {minutes}}}'
            assert scene.ask(create, body=_expiry(rule)).status == 200


def test_references_to_files_that_are_not_there(scene: Scene) -> None:
    """Whatever comes before the bad one in the list, nothing is made."""
    names = ["file-none", "", "cfile_none", "'", "箱", "\x00", "x" * 5_000, "{file_id}", scene.file, scene.container]
    sweep(
        scene,
        BY_NAME["CreateContainer"],
        [
            wrong(
                f"file_ids {name[:20]!r}",
                errors.LISTED_FILE_NOT_FOUND(file_id=name, param="file_ids"),
                body=json.dumps({"name": "box", "file_ids": [scene.upload, name]}),
            )
            for name in names
        ],
    )
    add = BY_NAME["CreateContainerFile"]
    sweep(
        scene,
        add,
        [
            wrong(
                f"file_id {name[:20]!r}",
                errors.REFERENCED_FILE_NOT_FOUND(file_id=name),
                body=json.dumps({"file_id": name}),
                headers={"Content-Type": JSON},
            )
            for name in names
        ]
        + [
            wrong(
                f"form with file_id {name[:20]!r}",
                errors.REFERENCED_FILE_NOT_FOUND(file_id=name, param="file_id"),
                body=part('name="file_id"', name) + END,
            )
            for name in names
        ],
    )


def test_adding_a_file_with_json(scene: Scene) -> None:
    sweep(
        scene,
        BY_NAME["CreateContainerFile"],
        [
            wrong(body, expected, body=body, headers={"Content-Type": JSON})
            for body, expected in (
                ("{}", errors.MISSING_EXCLUSIVE(param="file_id", other="file")),
                ("", errors.MISSING_EXCLUSIVE(param="file_id", other="file")),
                ('{"foo": 1}', errors.UNKNOWN_PARAMETER(param="foo")),
                ('{"file": ["x"]}', errors.UNKNOWN_PARAMETER(param="file")),
                ('{"file": "x", "foo": 1}', errors.UNKNOWN_PARAMETER(param="foo")),
                ('{"file": "x", "file_id": "y"}', errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id")),
                ('{"file_id": "x", "foo": 1}', errors.UNKNOWN_PARAMETER(param="foo")),
                *(
                    (
                        json.dumps({"file_id": value}),
                        errors.WRONG_TYPE(param="file_id", expected="a string", got=got),
                    )
                    for got, value in VALUES.items()
                    if got not in ("a string", "null")
                ),
            )
        ],
    )


# Ids

ODD_IDS = [
    "x",
    "0",
    "null",
    "undefined",
    "container_id",
    "é",
    "箱",
    "a b",
    " ",
    "'",
    '"',
    "' OR 1=1 --",
    "\x00",
    "a\x00b",
    "\n",
    "\x7f",
    "%",
    "%2F",
    "..",
    "a?b",
    "a#b",
    "{container_id}",
    "{0}",
    "\U0001f4e6",
    "cntr_" + "b" * 232,
    "file-" + "x" * 20_000,
]


@each_with("{container}")
def test_unknown_containers(scene: Scene, operation: Operation) -> None:
    odd = [*ODD_IDS, scene.container[:-1], scene.container + "0", scene.container.upper(), scene.file, scene.upload]
    sweep(
        scene,
        operation,
        [
            wrong(
                repr(id[:40]),
                errors.CONTAINER_NOT_FOUND(container_id=id),
                container=quote(id, safe="."),
            )
            for id in odd
        ]
        + [wrong("no UTF-8", errors.CONTAINER_NOT_FOUND(container_id="\ufffd"), container="%FF")],
    )


@each_with("{file}")
def test_unknown_files_in_a_container(scene: Scene, operation: Operation) -> None:
    odd = [*ODD_IDS, scene.file[:-1], scene.file + "0", scene.container, scene.upload]
    sweep(
        scene,
        operation,
        [
            wrong(
                repr(id[:40]),
                errors.CONTAINER_FILE_NOT_FOUND(file_id=id, container_id=scene.container),
                file=quote(id, safe="."),
            )
            for id in odd
        ],
    )


@each_with("{upload}")
def test_unknown_files(scene: Scene, operation: Operation) -> None:
    odd = [*ODD_IDS, scene.upload[:-1], scene.upload + "0", scene.file, scene.container]
    sweep(
        scene,
        operation,
        [wrong(repr(id[:40]), errors.FILE_NOT_FOUND(file_id=id), upload=quote(id, safe=".")) for id in odd],
    )


@each_with("{pending}")
def test_unknown_uploads(scene: Scene, operation: Operation) -> None:
    odd = [*ODD_IDS, scene.pending[:-1], scene.pending + "0", scene.upload, scene.container]
    sweep(
        scene,
        operation,
        [wrong(repr(id[:40]), errors.UPLOAD_NOT_FOUND(upload_id=id), pending=quote(id, safe=".")) for id in odd],
    )


@each_with("{")
def test_nothing_of_another_world_is_there(scene: Scene, server: MockServer, operation: Operation) -> None:
    other = new_world(server)
    other.freeze()
    reply = scene.ask(operation, prefix=f"/w/{other.name}/v1")
    expected = errors.CONTAINER_NOT_FOUND(container_id=scene.container)
    if "{pending}" in operation.path:
        expected = errors.UPLOAD_NOT_FOUND(upload_id=scene.pending)
    elif operation.files_api:
        expected = errors.FILE_NOT_FOUND(file_id=scene.upload)
    elif "{skill}" in operation.path:
        expected = errors.SKILL_NOT_FOUND(skill_id=scene.skill)
    elif "{response}" in operation.path:
        expected = errors.RESPONSE_NOT_FOUND(response_id=scene.response)
    assert list(complaints(reply, expected, operation.files_api, operation.method == "HEAD")) == []


@each_with("{")
def test_what_was_deleted_is_unknown(scene: Scene, operation: Operation) -> None:
    if "{file}" in operation.path:
        assert scene.ask(BY_NAME["DeleteContainerFile"]).status == 200
        gone: APIError = errors.CONTAINER_FILE_NOT_FOUND(file_id=scene.file, container_id=scene.container)
        sweep(scene, operation, [wrong("its file", gone)])
    if "{pending}" in operation.path:
        deleted = scene.ask(Operation("", "DELETE", f"/_mock/worlds/{scene.world.name}/uploads/{{pending}}"), prefix="")
        assert deleted.status == 200
        sweep(scene, operation, [wrong("it", errors.UPLOAD_NOT_FOUND(upload_id=scene.pending))])
    elif operation.files_api:
        assert scene.ask(BY_NAME["DeleteFile"]).status == 200
        sweep(scene, operation, [wrong("it", errors.FILE_NOT_FOUND(file_id=scene.upload))])
    elif "{response}" in operation.path:
        assert scene.ask(BY_NAME["DeleteResponse"]).status == 200
        sweep(scene, operation, [wrong("it", errors.RESPONSE_NOT_FOUND(response_id=scene.response))])
    elif "{skill}" in operation.path:
        assert scene.ask(BY_NAME["DeleteSkill"]).status == 200
        sweep(scene, operation, [wrong("it", errors.SKILL_NOT_FOUND(skill_id=scene.skill))])
    else:
        assert scene.ask(BY_NAME["DeleteContainer"]).status == 200
        gone = errors.CONTAINER_NOT_FOUND(container_id=scene.container)
        sweep(scene, operation, [wrong("its container", gone), wrong("and again", gone)])


@each_with("{container}")
def test_expired_containers(scene: Scene, operation: Operation) -> None:
    """Files are gone with it; what it was, and that it can be deleted, stays (doc)."""
    scene.world.advance(20 * 60)
    if operation.name in ("RetrieveContainer", "DeleteContainer"):
        assert scene.ask(operation).status == 200
        return
    sweep(
        scene,
        operation,
        [
            wrong("as it should be", errors.CONTAINER_EXPIRED()),
            wrong("an unknown file", errors.CONTAINER_EXPIRED(), file="cfile_none"),
            wrong("a range", errors.CONTAINER_EXPIRED(), headers={"Range": "bytes=99-"}),
        ],
    )


# Forms

HUGE = "x" * 20_000


def broken_forms(operation: Operation) -> list[Wrong]:
    """Forms that neither upload takes. `rest` makes a form whole that is not wrong otherwise."""
    rest = PURPOSE_PART if operation.files_api else ""
    row = errors.NOT_MULTIPART
    whole = rest + FILE_PART + END
    rows: list[tuple[str, APIError | errors.ErrorType, str | bytes, str | None]] = [
        ("no boundary", row(why="The Content-Type names no boundary."), whole, "multipart/form-data"),
        ("an empty boundary", row(why="The Content-Type names no boundary."), whole, "multipart/form-data; boundary="),
        ("another boundary", row, whole, "multipart/form-data; boundary=other"),
        ("a boundary of 300", row, whole, "multipart/form-data; boundary=" + "x" * 300),
        ("no body", row(why="The body ends before its closing boundary."), "", None),
        ("one byte", row, "-", None),
        ("JSON", row, '{"file_id": "x"}', None),
        ("text", row, "hello", None),
        ("cut in a boundary", row, "--gold", None),
        ("cut in a header", row, rest + "--golden\r\nContent-Dispo", None),
        ("cut behind the headers", row, rest + FILE_PART[: FILE_PART.index("hello")], None),
        ("cut in the file", row, rest + FILE_PART[:-4], None),
        ("no closing boundary", row(why="The body ends before its closing boundary."), rest + FILE_PART, None),
        ("a closing boundary with one dash", row, rest + FILE_PART + "--golden-", None),
        ("a closing boundary of another name", row, rest + FILE_PART + "--other--\r\n", None),
        ("newlines alone", row, whole.replace("\r\n", "\n"), None),
        ("a part without headers", row, rest + "--golden\r\n\r\nhello\r\n" + END, None),
        ("a part without name", row, rest + part('filename="notes.txt"') + END, None),
        ("a part without disposition", row, rest + "--golden\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END, None),
        ("a header without colon", row, rest + "--golden\r\nnonsense\r\n\r\nx\r\n" + END, None),
        ("a huge header", row, rest + part(f'name="file"; filename="{HUGE}"') + END, None),
        ("a thousand headers", row, rest + "--golden\r\n" + "X-A: b\r\n" * 1_000 + "\r\nx\r\n" + END, None),
        ("a huge field", row, rest + part('name="file_id"', "x" * (1 << 21)) + END, None),
        ("10,000 fields", row, rest + "".join(part(f'name="f{n}"', "x") for n in range(10_000)) + END, None),
        ("10,000 empty fields", row, rest + "".join(part(f'name="f{n}"', "") for n in range(10_000)) + END, None),
        ("the file twice", errors.DUPLICATE_PARAMETER(param="file"), rest + FILE_PART + FILE_PART + END, None),
        (
            "10,000 files",
            errors.DUPLICATE_PARAMETER(param="file"),
            rest + FILE_PART * 10_000 + END,
            None,
        ),
        (
            "a field twice",
            errors.DUPLICATE_PARAMETER(param="foo"),
            rest + part('name="foo"') * 2 + FILE_PART + END,
            None,
        ),
        (
            "a file that is a string",
            errors.WRONG_TYPE(param="file", expected="a file", got="a string"),
            rest + part('name="file"') + END,
            None,
        ),
        *(
            (f"content type {kind!r}", errors.INVALID_UPLOAD(field="file"), body, kind)
            for kind, body in (
                ("image/svg+xml", "<svg/>"),
                ("text/plain", "hello"),
                ("application/octet-stream", whole),
                ("application/x-www-form-urlencoded", "file_id=x"),
                ("multipart/mixed; boundary=golden", whole),
                ("multipart/form-datax; boundary=golden", whole),
            )
        ),
    ]
    return [
        wrong(label, expected, body=body, headers={"Content-Type": kind} if kind else {})
        for label, expected, body, kind in rows
    ]


@each_upload
def test_broken_forms(scene: Scene, operation: Operation) -> None:
    sweep(scene, operation, broken_forms(operation))
    assert leftovers(scene.world.server) == []


def leftovers(server: MockServer) -> list[Path]:
    """What uploads have left behind that nobody kept."""
    return list((server.mock.directory / "uploads").iterdir())


def test_forms_that_add_no_file_to_a_container(scene: Scene) -> None:
    copy = part('name="file_id"', scene.upload)
    sweep(
        scene,
        BY_NAME["CreateContainerFile"],
        [
            wrong(label, expected, body=body + END)
            for label, expected, body in (
                ("an empty form", errors.MISSING_EXCLUSIVE(param="file_id", other="file"), ""),
                ("both", errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id"), FILE_PART + copy),
                (
                    "both the other way round",
                    errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id"),
                    copy + FILE_PART,
                ),
                ("file_id twice", errors.DUPLICATE_PARAMETER(param="file_id"), copy + copy),
                ("an unknown field", errors.UNKNOWN_PARAMETER(param="foo"), FILE_PART + part('name="foo"')),
                ("a file by another name", errors.UNKNOWN_PARAMETER(param="f"), part('name="f"; filename="a.txt"')),
                ("a field of an odd name", errors.UNKNOWN_PARAMETER(param="{箱}"), FILE_PART + part('name="{箱}"')),
            )
        ],
    )
    assert leftovers(scene.world.server) == []


def field_parts(**fields: str) -> str:
    return "".join(part(f'name="{name}"', value) for name, value in fields.items())


def expiring(anchor: str | None, seconds: str | None) -> str:
    given = {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    return (
        field_parts(purpose="vision", **{name: value for name, value in given.items() if value is not None}) + FILE_PART
    )


def test_forms_that_make_no_file(scene: Scene) -> None:
    seconds = "expires_after.seconds"
    purposes = ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
    low, high = "is less than the minimum of 3600", "is greater than the maximum of 2592000"
    sweep(
        scene,
        BY_NAME["CreateFile"],
        [
            wrong(label, expected, body=body + END)
            for label, expected, body in (
                ("an empty form", errors.MISSING_FIELD(field="purpose"), ""),
                ("no purpose", errors.MISSING_FIELD(field="purpose"), FILE_PART),
                ("no file", errors.MISSING_FIELD(field="file"), PURPOSE_PART),
                (
                    "an unknown field",
                    errors.UNEXPECTED_FIELDS(fields="'foo' was"),
                    PURPOSE_PART + part('name="foo"') + FILE_PART,
                ),
                (
                    "a field of containers",
                    errors.UNEXPECTED_FIELDS(fields="'file_id' was"),
                    part('name="file_id"') + FILE_PART,
                ),
                *(
                    (
                        f"purpose {value[:20]!r}",
                        errors.UNKNOWN_PURPOSE(purpose=value, purposes=purposes),
                        field_parts(purpose=value) + FILE_PART,
                    )
                    for value in ("x", "", "Vision", " vision", "{purpose}", "箱", "'", HUGE)
                ),
                ("no anchor", errors.MISSING_FIELD(field="expires_after.anchor"), expiring(None, "3600")),
                ("no seconds", errors.MISSING_FIELD(field=seconds), expiring("created_at", None)),
                (
                    "another anchor",
                    errors.BAD_FIELD(
                        value="last_active_at",
                        problem="is not one of ['created_at']",
                        param="expires_after.anchor",
                    ),
                    expiring("last_active_at", "3600"),
                ),
                *(
                    (
                        f"seconds {value[:20]!r}",
                        errors.BAD_FIELD(value=value, problem="is not of type 'integer'", param=seconds),
                        expiring("created_at", value),
                    )
                    for value in ("x", "", "3600.0", "1e4", "-3600", "\u0663\u0666\u0660\u0660", " 3600", "9" * 5_000)
                ),
                *(
                    (
                        f"seconds {value}",
                        errors.BAD_FIELD(value=value, problem=problem, param=seconds),
                        expiring("created_at", value),
                    )
                    for value, problem in (("0", low), ("3599", low), ("2592001", high), ("9" * 19, high))
                ),
            )
        ],
    )
    assert leftovers(scene.world.server) == []
    for taken in ("3600", "2592000"):
        assert scene.ask(BY_NAME["CreateFile"], body=expiring("created_at", taken) + END).status == 200


def test_files_are_not_made_from_json(scene: Scene) -> None:
    for body in ("{}", '{"purpose": "vision"}', '{"file_id": "x"}', "[]", "{broken"):
        before = scene.state()
        reply = scene.ask(BY_NAME["CreateFile"], body=body, headers={"Content-Type": JSON})
        assert list(complaints(reply, errors.NOT_A_FORM(content_type=JSON), files_api=True, head=False)) == []
        assert scene.state() == before


# Sizes


@each_upload
def test_both_sides_of_the_largest_upload(small_server: MockServer, operation: Operation) -> None:
    rest = PURPOSE_PART if operation.files_api else ""
    with Scene(new_world(small_server)) as scene:

        def sized(size: int) -> str:
            return rest + part('name="file"; filename="a"', "x" * size) + END

        refusal = errors.FILE_TOO_LARGE(limit=1_000)
        # Behind the limit the server still reads a megabyte, so that a client that sends first gets to read.
        wrongs = [wrong(f"{size} bytes", refusal, body=sized(size)) for size in (1_001, 5_000, 900_000)]
        sweep(scene, operation, wrongs)
        assert leftovers(small_server) == []
        assert scene.ask(operation, body=sized(1_000)).status == 200


def test_both_sides_of_the_largest_body(small_server: MockServer) -> None:
    with Scene(new_world(small_server)) as scene:
        create, refusal = BY_NAME["CreateContainer"], errors.BODY_TOO_LARGE(limit=2_000)
        body = '{"name": "box"}'
        sweep(
            scene,
            create,
            [
                wrong(f"{size} bytes", refusal, body=content.ljust(size))
                for size in (2_001, 500_000)
                for content in (body, "{broken", "")
            ],
        )
        assert scene.ask(create, body=body.ljust(2_000)).status == 200


@each_upload
def test_an_upload_is_refused_as_soon_as_it_is_too_large(small_server: MockServer, operation: Operation) -> None:
    """The client has sent a thousandth of what it announced, and reads the answer at once."""
    rest = PURPOSE_PART if operation.files_api else ""
    with Scene(new_world(small_server)) as scene:
        before = scene.state()
        begun = rest + part('name="file"; filename="a"', "x" * 100_000)
        request = (
            f"POST /w/{scene.world.name}/v1{scene.path(operation)} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer sk-test\r\nContent-Type: {FORM}\r\nContent-Length: 100000000\r\n\r\n{begun}"
        )
        with socket.create_connection(("127.0.0.1", small_server.port), timeout=60) as connection:
            connection.sendall(request.encode())
            reply = Reply.receive(connection)
        expected = errors.FILE_TOO_LARGE(limit=1_000)
        assert list(complaints(reply, expected, operation.files_api, head=False)) == []
        assert leftovers(small_server) == []
        assert scene.state() == before


@each_upload
def test_a_client_that_leaves_in_the_middle_leaves_nothing(scene: Scene, operation: Operation) -> None:
    before = scene.state()
    rest = PURPOSE_PART if operation.files_api else ""
    request = (
        f"POST /w/{scene.world.name}/v1{scene.path(operation)} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer sk-test\r\nContent-Type: {FORM}\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", scene.world.server.port), timeout=60) as connection:
        connection.sendall(request.encode())
        # The server asks for the body only once it reads it: from here on the upload has begun.
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall((rest + FILE_PART[:-10]).encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert scene.state() == before
    assert leftovers(scene.world.server) == []


def test_a_refusal_comes_before_the_body_is_asked_for(scene: Scene) -> None:
    for path, status in (("/foo", b"404"), ("/containers/cntr_none/files", b"404")):
        request = (
            f"POST /w/{scene.world.name}/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-test\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", scene.world.server.port), timeout=60) as connection:
            connection.sendall(request.encode())
            assert connection.recv(100).split()[1] == status


# Ranges


@each_content
def test_ranges_that_cannot_be_satisfied(scene: Scene, operation: Operation) -> None:
    ranges = ["bytes=5-", "bytes=5-5", "bytes=99-100", "bytes=-0", f"bytes={10**17}-"]
    refusal = errors.RANGE_NOT_SATISFIABLE()
    sweep(scene, operation, [wrong(each, refusal, headers={"Range": each}) for each in ranges])
    for each in ranges:
        assert scene.ask(operation, headers={"Range": each}).header("content-range") == "bytes */5"


@each_content
@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("bytes=0-", (0, 5)),
        ("bytes=0-0", (0, 1)),
        ("bytes=4-", (4, 5)),
        ("bytes=1-99", (1, 5)),
        ("bytes=-1", (4, 5)),
        ("bytes=-99", (0, 5)),
        (f"bytes=0-{10**17}", (0, 5)),
        (f"bytes=-{10**17}", (0, 5)),
    ],
)
def test_ranges(scene: Scene, operation: Operation, asked: str, answered: tuple[int, int]) -> None:
    reply = scene.ask(operation, headers={"Range": asked})
    start, stop = answered
    assert reply.status == 206
    assert reply.header("content-range") == f"bytes {start}-{stop - 1}/5"
    assert reply.header("content-length") == str(stop - start)
    assert reply.body == (b"" if operation.method == "HEAD" else b"hello"[start:stop])


@each_content
def test_ranges_that_are_none_are_the_whole(scene: Scene, operation: Operation) -> None:
    """RFC 9110: a Range that is malformed, of another unit or more than wanted is ignored."""
    for asked in (
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=x-y",
        "bytes=3-1",
        "bytes=0-1,3-4",
        "bytes=0-0,99-",
        "bytes=1",
        "bytes=--1",
        "bytes=+0-1",
        "lines=0-1",
        "0-1",
        "bytes=0-1 x",
        "bytes=é-",
        "bytes=" + "9" * 5_000 + "-",
    ):
        reply = scene.ask(operation, headers={"Range": asked})
        assert (reply.status, reply.header("content-length")) == (200, "5"), asked
        assert reply.header("content-range") is None


# The order of refusals: in each row both are wrong, and the first is what is said

UNKNOWN = {"container": "cntr_none"}
BROKEN_FORM = {"body": FILE_PART}
BROKEN_JSON = {"body": "{broken", "headers": {"Content-Type": JSON}}

ORDER: list[tuple[str, str, str, dict[str, Any], APIError | errors.ErrorType]] = [
    ("key", "route", "ListContainers", {"key": None, "path": "/foo"}, errors.MISSING_KEY),
    ("key", "method", "ListContainers", {"key": None, "method": "PUT"}, errors.MISSING_KEY),
    ("key", "world", "ListContainers", {"key": None, "prefix": "/w/-x/v1"}, errors.MISSING_KEY),
    ("key", "query", "ListContainers", {"key": None, "query": "?limit=x"}, errors.MISSING_KEY),
    ("key", "container", "RetrieveContainer", {"key": None, **UNKNOWN}, errors.MISSING_KEY),
    ("key", "body", "CreateContainer", {"key": None, **BROKEN_JSON}, errors.MISSING_KEY),
    ("key", "form", "CreateContainerFile", {"key": None, **BROKEN_FORM}, errors.MISSING_KEY),
    ("route", "world", "ListContainers", {"path": "/foo", "prefix": "/w/-x/v1"}, errors.UNKNOWN_URL),
    ("route", "body", "CreateContainer", {"path": "/foo", **BROKEN_JSON}, errors.UNKNOWN_URL),
    ("method", "world", "ListContainers", {"method": "PUT", "prefix": "/w/-x/v1"}, errors.WRONG_METHOD),
    ("method", "query", "ListContainers", {"method": "PUT", "query": "?limit=x"}, errors.WRONG_METHOD),
    ("method", "container", "RetrieveContainer", {"method": "POST", **UNKNOWN}, errors.WRONG_METHOD),
    ("method", "body", "CreateContainer", {"method": "PUT", **BROKEN_JSON}, errors.WRONG_METHOD),
    ("world", "query", "ListContainers", {"prefix": "/w/-x/v1", "query": "?limit=x"}, errors.BAD_WORLD_NAME),
    ("world", "container", "RetrieveContainer", {"prefix": "/w/-x/v1", **UNKNOWN}, errors.BAD_WORLD_NAME),
    ("world", "body", "CreateContainer", {"prefix": "/w/-x/v1", **BROKEN_JSON}, errors.BAD_WORLD_NAME),
    ("query", "container", "ListContainerFiles", {"query": "?limit=x", **UNKNOWN}, errors.WRONG_TYPE),
    ("query", "cursor", "ListContainers", {"query": "?after=x&limit=0"}, errors.TOO_SMALL_INTEGER),
    ("container", "cursor", "ListContainerFiles", {"query": "?after=x", **UNKNOWN}, errors.CONTAINER_NOT_FOUND),
    ("container", "form", "CreateContainerFile", {**BROKEN_FORM, **UNKNOWN}, errors.CONTAINER_NOT_FOUND),
    ("container", "body", "CreateContainerFile", {**BROKEN_JSON, **UNKNOWN}, errors.CONTAINER_NOT_FOUND),
    (
        "container",
        "content type",
        "CreateContainerFile",
        {"headers": {"Content-Type": "text/plain"}, **UNKNOWN},
        errors.CONTAINER_NOT_FOUND,
    ),
    ("container", "file", "RetrieveContainerFile", {**UNKNOWN, "file": "cfile_none"}, errors.CONTAINER_NOT_FOUND),
    (
        "container",
        "range",
        "RetrieveContainerFileContent",
        {**UNKNOWN, "headers": {"Range": "bytes=99-"}},
        errors.CONTAINER_NOT_FOUND,
    ),
    (
        "file",
        "range",
        "RetrieveContainerFileContent",
        {"file": "cfile_none", "headers": {"Range": "bytes=99-"}},
        errors.CONTAINER_FILE_NOT_FOUND,
    ),
    (
        "content type",
        "body",
        "CreateContainer",
        {"body": "{broken", "headers": {"Content-Type": "text/plain"}},
        errors.WRONG_CONTENT_TYPE,
    ),
    (
        "field",
        "reference",
        "CreateContainer",
        {"body": '{"name": "box", "file_ids": ["file-none"], "foo": 1}'},
        errors.UNKNOWN_PARAMETER,
    ),
    (
        "expiry",
        "reference",
        "CreateContainer",
        {
            "body": '{"name": "box", "file_ids": ["file-none"],'
            ' "expires_after": {"anchor": "last_active_at", "minutes": 0}}'
        },
        errors.TOO_SMALL_INTEGER,
    ),
    (
        "form",
        "reference",
        "CreateContainerFile",
        {"body": part('name="file_id"', "file-none")},
        errors.NOT_MULTIPART,
    ),
    (
        "field",
        "reference",
        "CreateContainerFile",
        {"body": part('name="file_id"', "file-none") + part('name="foo"') + END},
        errors.UNKNOWN_PARAMETER,
    ),
    (
        "form",
        "purpose",
        "CreateFile",
        {"body": part('name="purpose"', "x") + FILE_PART},
        errors.NOT_MULTIPART,
    ),
]


@pytest.mark.parametrize(
    ("name", "request_", "expected"),
    [pytest.param(*row[2:], id=f"{row[2]}: {row[0]} before {row[1]}") for row in ORDER],
)
def test_the_order_of_refusals(
    scene: Scene, name: str, request_: dict[str, Any], expected: APIError | errors.ErrorType
) -> None:
    front = expected in (errors.MISSING_KEY, errors.UNKNOWN_URL, errors.WRONG_METHOD)
    sweep(scene, BY_NAME[name], [Wrong("both", expected, request_)], front)


@pytest.mark.parametrize(
    ("first", "second", "name", "request_", "expected"),
    [
        ("query", "expired", "ListContainerFiles", {"query": "?limit=x"}, errors.WRONG_TYPE),
        ("expired", "cursor", "ListContainerFiles", {"query": "?after=x"}, errors.CONTAINER_EXPIRED),
        ("expired", "form", "CreateContainerFile", BROKEN_FORM, errors.CONTAINER_EXPIRED),
        ("expired", "body", "CreateContainerFile", BROKEN_JSON, errors.CONTAINER_EXPIRED),
        ("expired", "file", "DeleteContainerFile", {"file": "cfile_none"}, errors.CONTAINER_EXPIRED),
        ("key", "expired", "RetrieveContainerFile", {"key": None}, errors.MISSING_KEY),
    ],
)
def test_the_order_of_refusals_of_an_expired_container(
    scene: Scene, first: str, second: str, name: str, request_: dict[str, Any], expected: errors.ErrorType
) -> None:
    scene.world.advance(20 * 60)
    sweep(scene, BY_NAME[name], [Wrong(f"{first} before {second}", expected, request_)])


def test_a_full_server_still_says_first_that_a_route_is_unknown() -> None:
    with MockServer(max_worlds=1) as server, Scene(new_world(server)) as scene:
        full = errors.TOO_MANY_WORLDS(count=1)
        another = {"prefix": "/w/another/v1"}
        sweep(
            scene,
            BY_NAME["ListContainers"],
            [
                wrong("no route", errors.UNKNOWN_URL, path="/foo", **another),
                wrong("no such method", errors.WRONG_METHOD, method="PUT", **another),
                wrong("a bad query", full, query="?limit=x", **another),
                wrong("a new world", full, **another),
                wrong("a new world by key", full, prefix="/v1", key="Bearer sk-world-another"),
            ],
        )
        assert server.mock.worlds.names() == [scene.world.name]


def test_what_is_refused_makes_no_world(server: MockServer) -> None:
    """Neither a stranger nor a typing error costs a place among `max_worlds`."""
    world = new_world(server)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for method, path, key in (
        ("GET", "/containers", None),
        ("GET", "/foo", "sk-test"),
        ("PUT", "/containers", "sk-test"),
        ("OPTIONS", "/files", "sk-test"),
    ):
        connection.request(
            method, f"/w/{world.name}/v1{path}", headers={"Authorization": f"Bearer {key}"} if key else {}
        )
        assert connection.getresponse().read()
    connection.close()
    assert world.name not in server.mock.worlds.names()


def test_unquoted_ids_come_back_as_they_were_meant(scene: Scene) -> None:
    """A percent-encoded id is the id: only a slash stays encoded, so that it parts nothing."""
    encoded = "".join(f"%{byte:02X}" for byte in scene.container.encode())
    assert unquote(encoded) == scene.container
    assert scene.ask(BY_NAME["RetrieveContainer"], container=encoded).status == 200
    expected = errors.CONTAINER_NOT_FOUND(container_id="a%2Fb")
    sweep(scene, BY_NAME["RetrieveContainer"], [wrong("a slash", expected, container="a%2Fb")])
