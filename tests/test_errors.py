"""Error responses: every operation with every kind of invalid request.

Each test sends one kind of invalid request to the operations it concerns. It checks the status, the message, the whole
body, the headers, and that the request changed nothing. `mockserver.errors` says where each message is known from.
"""

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
from skill_bundles import MANIFEST, inline_skill

from mockserver import errors
from mockserver.api.app import create_app
from mockserver.errors import APIError
from mockserver.schema import faults
from mockserver.server.serving import MockServer

JSON = "application/json"
FORM = "multipart/form-data; boundary=golden"

STANDARD_HEADERS = [
    ("openai-version", "2020-10-01"),
    ("openai-organization", "org-mockserver"),
    ("openai-project", "proj_mockserver"),
    ("x-content-type-options", "nosniff"),
]


KEY_HEADERS = ("openai-organization", "openai-project")
"""Headers that a 401 lacks: without a valid key the organization is unknown."""


# The operations


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    """A placeholder such as `{container}` stands for an id that a `Client` holds."""
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


def test_the_tests_cover_every_operation(server: MockServer) -> None:
    described = {
        (operation["operationId"], method.upper())
        for methods in create_app(server.mock).openapi()["paths"].values()
        for method, operation in methods.items()
    }
    assert len(described) == len(faults.OPERATIONS)
    assert {(each.name, each.method) for each in OPERATIONS if each.method != "HEAD"} == described


# Sending requests and checking error responses


@dataclass(frozen=True)
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @classmethod
    def read(cls, response: http.client.HTTPResponse) -> "Response":
        body = response.read()
        return cls(response.status, [(name.lower(), value) for name, value in response.getheaders()], body)

    @classmethod
    def receive(cls, connection: socket.socket) -> "Response":
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return cls.read(response)


@dataclass
class Client:
    """A client of a world whose clock is frozen, and the ids of one object of each kind."""

    world: World
    key: str = "sk-test"
    container: str = ""
    file: str = ""
    upload: str = ""
    pending: str = ""
    skill: str = ""
    response: str = ""
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def __enter__(self) -> "Client":
        self._connection = http.client.HTTPConnection("127.0.0.1", self.world.server.port, timeout=60)
        self.world.freeze()
        self.container = self.create("CreateContainer")
        self.file = self.create("CreateContainerFile")
        self.upload = self.create("CreateFile")
        self.pending = self.create("CreateUpload")
        self.skill = self.create("CreateSkill")
        self.response = self.create("CreateResponse")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._connection
        self._connection.close()

    def create(self, name: str) -> str:
        operation = BY_NAME[name]
        response = self.send(operation)
        assert response.status == 200, response
        return str(json.loads(response.body)["id"])

    def path(self, operation: Operation, **ids: str) -> str:
        own = {"container": self.container, "file": self.file, "upload": self.upload}
        own |= {"pending": self.pending, "skill": self.skill, "response": self.response}
        return operation.path.format(**own | ids)

    def send(
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
    ) -> Response:
        """Send a valid request of the operation, except for what is given."""
        assert self._connection
        all_headers: dict[str, str] = {}
        if key is not None:
            all_headers["Authorization"] = key or f"Bearer {self.key}"
        if body is None:
            body = operation.body
        if operation.content_type:
            all_headers["Content-Type"] = operation.content_type
        all_headers |= headers or {}
        all_headers = {name: value for name, value in all_headers.items() if value}
        target = (f"/w/{self.world.name}/v1" if prefix is None else prefix) + (
            self.path(operation, **ids) if path is None else path
        )
        self._connection.request(
            method or operation.method,
            target + query,
            body.encode() if isinstance(body, str) else body,
            all_headers,
        )
        return Response.read(self._connection.getresponse())

    def read_world(self) -> list[bytes]:
        """Read the lists and contents of the world, without headers, which differ each time."""
        return [
            self.send(each).body
            for each in (
                *LISTS,
                BY_NAME["ListSkills"],
                BY_NAME["ListSkillVersions"],
                BY_NAME["RetrieveContainerFileContent"],
                BY_NAME["DownloadFile"],
            )
        ]


@pytest.fixture
def client(server: MockServer) -> Iterator[Client]:
    with Client(new_world(server)) as client:
        yield client


@pytest.fixture(scope="session")
def keyed_server() -> Iterator[MockServer]:
    with MockServer(api_key=("sk-right",)) as running:
        yield running


@pytest.fixture(scope="session")
def small_server() -> Iterator[MockServer]:
    """A server with low limits: 1,000 bytes for uploads, 2,000 bytes for JSON."""
    with MockServer(max_upload=1_000, max_body=2_000) as running:
        yield running


@dataclass(frozen=True)
class Case:
    """An invalid request and the error that is expected for it."""

    label: str
    expected: APIError | errors.ErrorType
    """An `ErrorType` where the values in its message may differ."""
    request: dict[str, Any]


def case(label: str, expected: APIError | errors.ErrorType, **request: Any) -> Case:
    return Case(label, expected, request)


def differences(
    response: Response, expected: APIError | errors.ErrorType, files_api: bool, head: bool
) -> Iterable[str]:
    """Yield each difference between a response and the expected error response."""
    if response.status != expected.status:
        yield f"status {response.status} instead of {expected.status}: {response.body[:300]!r}"
        return
    names = [name for name, _ in response.headers]
    if len(names) != len(set(names)):
        yield f"duplicate headers: {names}"
    if response.header("content-type") != "application/json":
        yield f"content-type {response.header('content-type')}"
    if not re.fullmatch(r"req_[0-9a-f]{32}", response.header("x-request-id") or ""):
        yield f"x-request-id {response.header('x-request-id')}"
    if not re.fullmatch(r"\d+", response.header("openai-processing-ms") or ""):
        yield f"openai-processing-ms {response.header('openai-processing-ms')}"
    standard = [pair for pair in STANDARD_HEADERS if expected.status != 401 or pair[0] not in KEY_HEADERS]
    if [pair for pair in response.headers if pair[0] in dict(STANDARD_HEADERS)] != standard:
        yield f"headers {response.headers}"
    if head:
        if response.body:
            yield "a body in the response to HEAD"
        return
    if response.header("content-length") != str(len(response.body)):
        yield f"content-length {response.header('content-length')} for {len(response.body)} bytes"
    try:
        error = json.loads(response.body)["error"]
        shown = APIError(expected.status, error["message"], error["type"], error["param"], error["code"])
    except (ValueError, KeyError, TypeError):
        yield f"not an error: {response.body[:300]!r}"
        return
    text = json.dumps(shown.body(files_api), indent=2, ensure_ascii=b"\\u00" in response.body) + (
        "\n" if files_api else ""
    )
    if response.body.decode() != text:
        yield f"body {response.body!r} instead of {text!r}"
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


def check_errors(client: Client, operation: Operation, cases: Iterable[Case], before_routing: bool = False) -> None:
    """Send each invalid request; check its error response, and that nothing changes.

    `before_routing`: the error is raised before the operation is known, so never in the style of the Files API.
    """
    found, sent = [], 0
    before = client.read_world()
    for each in cases:
        sent += 1
        method = each.request.get("method", operation.method)
        response = client.send(operation, **each.request)
        style = operation.files_api and not before_routing
        found += [
            f"{each.label}: {problem}" for problem in differences(response, each.expected, style, method == "HEAD")
        ]
    assert sent, "no request was sent"
    assert not found, "\n".join(found)
    assert client.read_world() == before, "a rejected request changed the world"


# Keys

WRONG_KEYS = [
    ("no header", None, errors.MISSING_KEY()),
    ("an empty token", "Bearer ", errors.MISSING_KEY()),
    ("another scheme", "Basic c2stcmlnaHQ=", errors.MISSING_KEY()),
    ("a short key", "Bearer fake_key", errors.WRONG_KEY(key="fake_key")),
    ("a long key", "Bearer sk-test-0123456789", errors.WRONG_KEY(key="sk-test-******6789")),
    ("the right key and more", "Bearer sk-right2", errors.WRONG_KEY(key="sk-right2")),
    ("a key that names a world", "Bearer sk-world-x", errors.WRONG_KEY(key="sk-world-x")),
]


@each_operation
def test_requests_without_a_valid_key_are_rejected_first(keyed_server: MockServer, operation: Operation) -> None:
    with Client(new_world(keyed_server), key="sk-right") as client:
        invalid: dict[str, Any] = {"query": "?limit=x"}
        if operation.body:
            invalid |= {"body": "{broken" * 50_000}
        cases = [
            case(f"{label}, {what}", expected, key=key, **request)
            for label, key, expected in WRONG_KEYS
            for what, request in (
                ("otherwise valid", {}),
                ("invalid query and body", invalid),
                ("unknown container", {"container": "cntr_none"}),
                ("invalid world name", {"prefix": "/w/-x/v1"}),
                ("unknown route", {"path": "/foo"}),
                ("wrong method", {"method": "PATCH"}),
            )
        ]
        check_errors(client, operation, cases, before_routing=True)


@each_operation
def test_a_server_that_accepts_any_key_still_requires_one(client: Client, operation: Operation) -> None:
    check_errors(
        client, operation, [case(label, error, key=key) for label, key, error in WRONG_KEYS[:3]], before_routing=True
    )


# Routes and worlds


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_unknown_routes_are_404(client: Client, method: str) -> None:
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
    cases = []
    for path in paths:
        path = client.path(Operation("", method, path))
        cases.append(case(path, errors.UNKNOWN_URL(method=method, path=f"/v1{path}"), method=method, path=path))
    check_errors(client, OPERATIONS[0], cases, before_routing=True)


@pytest.mark.parametrize("route", ["/containers", "/containers/{container}/files", "/files", "/files/{upload}/content"])
def test_a_path_with_a_trailing_newline_is_404(client: Client, route: str) -> None:
    """A router that matches with `$` would accept it: `$` also matches before a trailing newline."""
    path = client.path(Operation("", "GET", route)) + "%0A"
    expected = errors.UNKNOWN_URL(method="GET", path=f"/v1{path}")
    check_errors(client, OPERATIONS[0], [case(path, expected, path=path)], before_routing=True)


ALLOWED_METHODS = {
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


@pytest.mark.parametrize("route", ALLOWED_METHODS)
def test_a_wrong_method_is_405_with_the_allowed_methods(client: Client, route: str) -> None:
    before = client.read_world()
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        if method in ALLOWED_METHODS[route]:
            continue
        response = client.send(Operation("", method, route))
        assert list(differences(response, errors.WRONG_METHOD, files_api=False, head=method == "HEAD")) == [], method
        assert sorted((response.header("allow") or "").split(", ")) == sorted(ALLOWED_METHODS[route]), method
        assert client.read_world() == before


@each_operation
def test_invalid_world_names_are_rejected(client: Client, operation: Operation) -> None:
    names = ["", "-x", ".x", "_x", "a b", "a\x00", "ü", "a\n", "a'\"", "x" * 65, "x" * 4_000, "*"]
    check_errors(
        client,
        operation,
        [
            case(repr(name[:70]), errors.BAD_WORLD_NAME(name=name[:80]), prefix=f"/w/{quote(name, safe='')}/v1")
            for name in names
        ]
        + [
            case(f"key {name!r}", errors.BAD_WORLD_NAME(name=name), prefix="/v1", key=f"Bearer sk-world-{name}")
            for name in ("-x", "a/b", "a b", "x" * 65)
        ],
    )


MALFORMED_HTTP = {
    "nonsense": b"NONSENSE\r\n\r\n",
    "an unknown method": b"BREW /v1/containers HTTP/1.1\r\n\r\n",
    "no version": b"GET /v1/containers\r\n\r\n",
    "a path with a space": b"GET /v1/con tainers HTTP/1.1\r\n\r\n",
    "a raw path beyond ASCII": b"GET /v1/containers/caf\xc3\xa9 HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET /v1/containers HTTP/1.1\r\nnonsense\r\n\r\n",
    "a header with a zero byte": b"GET /v1/containers HTTP/1.1\r\nx: a\x00b\r\n\r\n",
    "a length that is not a number": b"POST /v1/containers HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    "two content lengths": b"POST /v1/containers HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000100") + b"\r\n\r\n",
}


def test_malformed_http_is_rejected(server: MockServer) -> None:
    found = []
    for label, request in MALFORMED_HTTP.items():
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(request)
            response = Response.receive(connection)
        problems = differences(response, errors.MALFORMED_HTTP(), files_api=False, head=False)
        found += [f"{label}: {problem}" for problem in problems]
    assert not found, "\n".join(found)


# Queries


def invalid_queries(files: bool) -> list[Case]:
    maximum = 10_000 if files else 100
    many = "x" * 5_000
    integer = {"param": "limit", "expected": "an integer", "got": "a string"}
    rows: list[tuple[str, APIError | errors.ErrorType]] = [
        ("limit=0", errors.TOO_SMALL_INTEGER(param="limit", limit=1, value=0)),
        ("limit=-1", errors.TOO_SMALL_INTEGER(param="limit", limit=1, value=-1)),
        (f"limit={maximum + 1}", errors.TOO_LARGE_INTEGER(param="limit", limit=maximum, value=maximum + 1)),
        (f"limit={10**29}", errors.TOO_LARGE_INTEGER(param="limit", limit=maximum, value=10**29)),
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
    return [case(query[:60], expected, query=f"?{query}") for query, expected in rows]


@each_list
def test_invalid_query_parameters_are_rejected(client: Client, operation: Operation) -> None:
    check_errors(client, operation, invalid_queries(operation.files_api))


@each_list
@pytest.mark.parametrize("param", ["after", "before"])
def test_invalid_and_unknown_cursors_are_rejected(client: Client, operation: Operation, param: str) -> None:
    own = {"ListContainers": "container", "ListContainerFiles": "file", "ListFiles": "upload"}[operation.name]
    prefix = {"container": "cntr", "file": "cfile", "upload": "file"}[own]
    kind = {"container": "Container", "file": "Container File", "upload": "File"}[own]
    foreign = [getattr(client, kind) for kind in ("container", "file", "upload") if kind != own]
    invalid = [*foreign, "x", "'", "%00", "箱", "{value}", "x" * 5_000, " ", prefix[:-1], prefix.upper()]
    unknown = [
        prefix,
        f"{prefix}_none",
        f"{prefix}-none",
        f"{prefix}_" + "0" * 5_000,
        f"{prefix}_\x00",
        f"{prefix}' OR 1",
    ]
    cases = [
        case(
            cursor[:60],
            errors.WRONG_CURSOR(param=param, value=cursor, prefix=prefix),
            query=_cursor_query(param, cursor),
        )
        for cursor in invalid
        if not cursor.startswith(prefix)
    ] + [
        case(
            cursor[:60],
            errors.UNKNOWN_CURSOR(param=param, resource=kind, value=cursor),
            query=_cursor_query(param, cursor),
        )
        for cursor in unknown
    ]
    check_errors(client, operation, cases)


def _cursor_query(param: str, value: str) -> str:
    return f"?{param}={quote(value, safe='')}"


def test_a_filter_may_be_repeated_with_the_same_value(client: Client) -> None:
    twice = client.send(BY_NAME["ListFiles"], query="?purpose=user_data&purpose=user_data")
    assert twice.body == client.send(BY_NAME["ListFiles"], query="?purpose=user_data").body


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
def test_empty_and_unknown_query_parameters_are_ignored(client: Client, operation: Operation, query: str) -> None:
    assert client.send(operation, query=query).body == client.send(operation).body


@each_list
def test_the_smallest_and_largest_limit_of_a_page_are_accepted(client: Client, operation: Operation) -> None:
    maximum = 10_000 if operation.files_api else 100
    for limit in (1, maximum):
        assert client.send(operation, query=f"?limit={limit}").status == 200


# JSON

NOT_JSON = {
    "a missing brace": "{",
    "an extra comma": '{"name": "box",}',
    "single quotes": "{'name': 'box'}",
    "a bare word": '{"name": box}',
    "a bare word alone": "box",
    "two objects": "{}{}",
    "text after the object": '{"name": "box"} x',
    "a comment": '{"name": "box"} // x',
    "white space": " \r\n\t ",
    "NaN": '{"name": NaN}',
    "NaN alone": "NaN",
    "Infinity": '{"name": Infinity}',
    "minus Infinity": '{"name": -Infinity}',
    "a lone surrogate": '{"name": "\\ud800"}',
    "surrogates in reverse order": '{"name": "\\udc00\\ud800"}',
    "a surrogate in a key": '{"\\ud800": 1}',
    "a raw control character": '{"name": "a\x00"}',
    "a raw newline": '{"name": "a\n"}',
    "an invalid escape": '{"name": "\\x41"}',
    "invalid UTF-8": b'{"name": "\xff"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "box"}'.encode("utf-16"),
    "a byte order mark": '{"name": "box"}'.encode("utf-8-sig"),
    "20,000 arrays that are not closed": "[" * 20_000,
    "arrays 10,000 deep": "[" * 10_000 + "]" * 10_000,
    "objects 1,000 deep": '{"name":' * 1_000 + "1" + "}" * 1_000,
    "a number of 5,000 digits": '{"name": 1' + "0" * 5_000 + "}",
    "a form": FILE_PART + END,
    "zero bytes only": b"\x00" * 100,
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
def test_bodies_that_are_not_json_objects_are_rejected(client: Client, name: str) -> None:
    operation = BY_NAME[name]
    as_json = {"Content-Type": JSON}
    cases = [case(label, errors.NOT_JSON(), body=body, headers=as_json) for label, body in NOT_JSON.items()] + [
        case(body, errors.NOT_AN_OBJECT(got=got), body=body, headers=as_json) for body, got in NOT_OBJECTS.items()
    ]
    check_errors(client, operation, cases)


def test_content_types_other_than_json_are_rejected(client: Client) -> None:
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [
            case(kind[:60], errors.WRONG_CONTENT_TYPE(content_type=kind), headers={"Content-Type": kind})
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

FULL_BODY: dict[str, Any] = {
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
        inline_skill(),
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
SUPPORTED_VALUES = {
    "memory_limit": "'1g', '4g', '16g', and '64g'",
    "network_policy.type": "'disabled' and 'allowlist'",
    "skills[0].type": "'skill_reference' and 'inline'",
    "skills[1].source.type": "'base64'",
    "skills[1].source.media_type": "'application/zip'",
    "expires_after.anchor": "'last_active_at'",
}


def changed_body(path: str, value: Any = None, remove: bool = False) -> str:
    """The full body as JSON, with one field changed or removed."""
    body = deepcopy(FULL_BODY)
    steps: list[Any] = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", path)]
    parent = body
    for step in steps[:-1]:
        parent = parent[step]
    if remove:
        del parent[steps[-1]]
    elif isinstance(parent, list) and not parent:
        parent.append(value)
    else:
        parent[steps[-1]] = value
    return json.dumps(body)


@pytest.mark.parametrize("path", TYPES)
def test_fields_of_the_wrong_type_are_rejected(client: Client, path: str) -> None:
    cases = [
        case(
            f"{path} is {got}",
            errors.WRONG_TYPE(param=path, expected=TYPES[path], got=got),
            body=changed_body(path, value),
        )
        for got, value in VALUES.items()
        if got != TYPES[path] and not (got == "null" and path in NULLABLE)
    ]
    check_errors(client, BY_NAME["CreateContainer"], cases)


def test_missing_required_fields_are_rejected(client: Client) -> None:
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [case(path, errors.MISSING_PARAMETER(param=path), body=changed_body(path, remove=True)) for path in REQUIRED]
        + [
            case("{}", errors.MISSING_PARAMETER(param="name"), body="{}"),
            case("no body", errors.MISSING_PARAMETER(param="name"), body=""),
        ],
    )


def test_unknown_fields_are_rejected(client: Client) -> None:
    parents = [
        "",
        "expires_after.",
        "network_policy.",
        "network_policy.domain_secrets[0].",
        "skills[0].",
        "skills[1].",
        "skills[1].source.",
    ]
    names = ["foo", "Name", "allowlist", "inline", "id", "expires_at", "__proto__", "箱"]
    rows = [parent + name for parent in parents for name in names]
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [case(path, errors.UNKNOWN_PARAMETER(param=path), body=changed_body(path, 1)) for path in rows]
        + [
            case(
                f"key {key[:20]!r}",
                errors.UNKNOWN_PARAMETER(param=key),
                body=json.dumps({"name": "box", key: None}),
            )
            for key in ("a b", "a.b", "'", "{param}", "\x00", "x" * 5_000)
        ]
        + [
            case("an empty key", errors.UNKNOWN_PARAMETER, body='{"name": "box", "": 1}'),
            case(
                "allowed_domains of a disabled policy",
                errors.UNKNOWN_PARAMETER(param="network_policy.allowed_domains"),
                body='{"name": "box", "network_policy": {"type": "disabled", "allowed_domains": ["a"]}}',
            ),
        ],
    )


def test_fields_with_unsupported_values_are_rejected(client: Client) -> None:
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [
            case(
                f"{path} is {value[:20]!r}",
                errors.INVALID_VALUE(param=path, value=value, supported=supported),
                body=changed_body(path, value),
            )
            for path, supported in SUPPORTED_VALUES.items()
            for value in ("x", "", "1G", " 1g", "DISABLED", "'", "{value}", "箱", "\x00", "x" * 5_000)
        ],
    )


def test_empty_fields_are_rejected(client: Client) -> None:
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [
            case(
                path,
                error(param=path, limit=1),
                body=changed_body(path, [] if error is errors.EMPTY_ARRAY else ""),
            )
            for path, error in NOT_EMPTY.items()
        ],
    )


def _string_bounds(path: str, limit: int) -> tuple[Any, Any, APIError]:
    return "x" * limit, "x" * (limit + 1), errors.TOO_LONG_STRING(param=path, limit=limit, length=limit + 1)


def _array_bounds(path: str, limit: int, item: Any) -> tuple[Any, Any, APIError]:
    return [item] * limit, [item] * (limit + 1), errors.TOO_LONG_ARRAY(param=path, limit=limit, length=limit + 1)


def _minimum(path: str) -> tuple[Any, Any, APIError]:
    return 1, 0, errors.TOO_SMALL_INTEGER(param=path, limit=1, value=0)


def _maximum(path: str, limit: int) -> tuple[Any, Any, APIError]:
    return limit, limit + 1, errors.TOO_LARGE_INTEGER(param=path, limit=limit, value=limit + 1)


_SECRET = {"domain": "d", "name": "n", "value": "v"}
_SKILL = {"type": "skill_reference", "skill_id": "openai-spreadsheets"}
MINUTES = "expires_after.minutes"

BOUNDS: dict[str, tuple[str, tuple[Any, Any, APIError]]] = {
    "a name, maximum": ("name", _string_bounds("name", 1_024)),
    "a secret, maximum": (
        "network_policy.domain_secrets[0].value",
        _string_bounds("network_policy.domain_secrets[0].value", 10_485_760),
    ),
    "an allowed domain, maximum": (
        "network_policy.allowed_domains[0]",
        _string_bounds("network_policy.allowed_domains[0]", 253),
    ),
    "allowed domains, maximum": (
        "network_policy.allowed_domains",
        _array_bounds("network_policy.allowed_domains", 1_000, "d"),
    ),
    "secrets, maximum": (
        "network_policy.domain_secrets",
        _array_bounds("network_policy.domain_secrets", 1_000, _SECRET),
    ),
    "skills, maximum": ("skills", _array_bounds("skills", 200, _SKILL)),
    "minutes, minimum": (MINUTES, _minimum(MINUTES)),
    "minutes, maximum": (MINUTES, _maximum(MINUTES, 5_270_400)),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_field_at_its_limit_is_accepted_and_beyond_it_rejected(client: Client, bound: str) -> None:
    path, (inside, outside, expected) = BOUNDS[bound]
    create = BY_NAME["CreateContainer"]
    check_errors(client, create, [case(path, expected, body=changed_body(path, outside))])
    assert client.send(create, body=changed_body(path, inside)).status == 200


@pytest.mark.slow
def test_inline_skill_data_beyond_the_maximum_length_is_rejected(client: Client) -> None:
    path, create = "skills[1].source.data", BY_NAME["CreateContainer"]
    inside, outside, expected = _string_bounds(path, 70_254_592)
    check_errors(client, create, [case(path, expected, body=changed_body(path, outside))])
    assert client.send(create, body=changed_body(path, inside)).status == 400, "the data is not a zip"


@pytest.mark.parametrize("value", [-1, -(10**30), 5_270_401, 2**63, 2**64, 10**30, 10**4_000])
def test_expiry_minutes_far_out_of_range_are_rejected(client: Client, value: int) -> None:
    too_small = errors.TOO_SMALL_INTEGER(param=MINUTES, limit=1, value=value)
    too_large = errors.TOO_LARGE_INTEGER(param=MINUTES, limit=5_270_400, value=value)
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [case("minutes", too_small if value < 1 else too_large, body=changed_body(MINUTES, value))],
    )


def _expiry(rule: str) -> str:
    return f'{{"name": "box", "expires_after": {rule}}}'


def test_invalid_expiry_rules_are_rejected(client: Client) -> None:
    days = "expires_after.days"
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [
            case(rule, expected, body=_expiry(rule))
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
    for days_allowed in (1, 3_660):
        assert (
            client.send(
                BY_NAME["CreateContainer"], body=_expiry(f'{{"anchor": "created_at", "days": {days_allowed}}}')
            ).status
            == 200
        )


def test_the_live_profile_rejects_expiry_rules_that_the_live_api_rejects(live_server: MockServer) -> None:
    with Client(new_world(live_server)) as client:
        create = BY_NAME["CreateContainer"]
        anchors = {"param": "expires_after.anchor", "supported": "'last_active_at'"}
        check_errors(
            client,
            create,
            [
                case(rule, expected, body=_expiry(rule))
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
            assert client.send(create, body=_expiry(rule)).status == 200


def test_references_to_unknown_files_are_rejected(client: Client) -> None:
    """No container is created, even if valid ids come first in the list."""
    names = ["file-none", "", "cfile_none", "'", "箱", "\x00", "x" * 5_000, "{file_id}", client.file, client.container]
    check_errors(
        client,
        BY_NAME["CreateContainer"],
        [
            case(
                f"file_ids {name[:20]!r}",
                errors.LISTED_FILE_NOT_FOUND(file_id=name, param="file_ids"),
                body=json.dumps({"name": "box", "file_ids": [client.upload, name]}),
            )
            for name in names
        ],
    )
    add = BY_NAME["CreateContainerFile"]
    check_errors(
        client,
        add,
        [
            case(
                f"file_id {name[:20]!r}",
                errors.REFERENCED_FILE_NOT_FOUND(file_id=name),
                body=json.dumps({"file_id": name}),
                headers={"Content-Type": JSON},
            )
            for name in names
        ]
        + [
            case(
                f"form with file_id {name[:20]!r}",
                errors.REFERENCED_FILE_NOT_FOUND(file_id=name, param="file_id"),
                body=part('name="file_id"', name) + END,
            )
            for name in names
        ],
    )


def test_adding_a_file_to_a_container_with_invalid_json_is_rejected(client: Client) -> None:
    check_errors(
        client,
        BY_NAME["CreateContainerFile"],
        [
            case(body, expected, body=body, headers={"Content-Type": JSON})
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

UNKNOWN_IDS = [
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
def test_unknown_containers_are_404(client: Client, operation: Operation) -> None:
    ids = [
        *UNKNOWN_IDS,
        client.container[:-1],
        client.container + "0",
        client.container.upper(),
        client.file,
        client.upload,
    ]
    check_errors(
        client,
        operation,
        [
            case(
                repr(id[:40]),
                errors.CONTAINER_NOT_FOUND(container_id=id),
                container=quote(id, safe="."),
            )
            for id in ids
        ]
        + [case("invalid UTF-8", errors.CONTAINER_NOT_FOUND(container_id="\ufffd"), container="%FF")],
    )


@each_with("{file}")
def test_unknown_files_in_a_container_are_404(client: Client, operation: Operation) -> None:
    ids = [*UNKNOWN_IDS, client.file[:-1], client.file + "0", client.container, client.upload]
    check_errors(
        client,
        operation,
        [
            case(
                repr(id[:40]),
                errors.CONTAINER_FILE_NOT_FOUND(file_id=id, container_id=client.container),
                file=quote(id, safe="."),
            )
            for id in ids
        ],
    )


@each_with("{upload}")
def test_unknown_files_are_404(client: Client, operation: Operation) -> None:
    ids = [*UNKNOWN_IDS, client.upload[:-1], client.upload + "0", client.file, client.container]
    check_errors(
        client,
        operation,
        [case(repr(id[:40]), errors.FILE_NOT_FOUND(file_id=id), upload=quote(id, safe=".")) for id in ids],
    )


@each_with("{pending}")
def test_unknown_uploads_are_404(client: Client, operation: Operation) -> None:
    ids = [*UNKNOWN_IDS, client.pending[:-1], client.pending + "0", client.upload, client.container]
    check_errors(
        client,
        operation,
        [case(repr(id[:40]), errors.UPLOAD_NOT_FOUND(upload_id=id), pending=quote(id, safe=".")) for id in ids],
    )


@each_with("{")
def test_objects_of_another_world_are_not_found(client: Client, server: MockServer, operation: Operation) -> None:
    other = new_world(server)
    other.freeze()
    response = client.send(operation, prefix=f"/w/{other.name}/v1")
    expected = errors.CONTAINER_NOT_FOUND(container_id=client.container)
    if "{pending}" in operation.path:
        expected = errors.UPLOAD_NOT_FOUND(upload_id=client.pending)
    elif operation.files_api:
        expected = errors.FILE_NOT_FOUND(file_id=client.upload)
    elif "{skill}" in operation.path:
        expected = errors.SKILL_NOT_FOUND(skill_id=client.skill)
    elif "{response}" in operation.path:
        expected = errors.RESPONSE_NOT_FOUND(response_id=client.response)
    assert list(differences(response, expected, operation.files_api, operation.method == "HEAD")) == []


@each_with("{")
def test_deleted_objects_are_not_found(client: Client, operation: Operation) -> None:
    if "{file}" in operation.path:
        assert client.send(BY_NAME["DeleteContainerFile"]).status == 200
        not_found: APIError = errors.CONTAINER_FILE_NOT_FOUND(file_id=client.file, container_id=client.container)
        check_errors(client, operation, [case("its file", not_found)])
    if "{pending}" in operation.path:
        deleted = client.send(
            Operation("", "DELETE", f"/_mock/worlds/{client.world.name}/uploads/{{pending}}"), prefix=""
        )
        assert deleted.status == 200
        check_errors(client, operation, [case("it", errors.UPLOAD_NOT_FOUND(upload_id=client.pending))])
    elif operation.files_api:
        assert client.send(BY_NAME["DeleteFile"]).status == 200
        check_errors(client, operation, [case("it", errors.FILE_NOT_FOUND(file_id=client.upload))])
    elif "{response}" in operation.path:
        assert client.send(BY_NAME["DeleteResponse"]).status == 200
        check_errors(client, operation, [case("it", errors.RESPONSE_NOT_FOUND(response_id=client.response))])
    elif "{skill}" in operation.path:
        assert client.send(BY_NAME["DeleteSkill"]).status == 200
        check_errors(client, operation, [case("it", errors.SKILL_NOT_FOUND(skill_id=client.skill))])
    else:
        assert client.send(BY_NAME["DeleteContainer"]).status == 200
        not_found = errors.CONTAINER_NOT_FOUND(container_id=client.container)
        check_errors(client, operation, [case("its container", not_found), case("a second time", not_found)])


@each_with("{container}")
def test_files_of_an_expired_container_are_unavailable(client: Client, operation: Operation) -> None:
    """As documented: its files are unavailable, but the container can still be retrieved and deleted."""
    client.world.advance(20 * 60)
    if operation.name in ("RetrieveContainer", "DeleteContainer"):
        assert client.send(operation).status == 200
        return
    check_errors(
        client,
        operation,
        [
            case("otherwise valid", errors.CONTAINER_EXPIRED()),
            case("an unknown file", errors.CONTAINER_EXPIRED(), file="cfile_none"),
            case("a range", errors.CONTAINER_EXPIRED(), headers={"Range": "bytes=99-"}),
        ],
    )


# Forms

HUGE = "x" * 20_000


def malformed_forms(operation: Operation) -> list[Case]:
    """Forms that both operations reject. `rest` completes a form, so that it has one error only."""
    rest = PURPOSE_PART if operation.files_api else ""
    row = errors.NOT_MULTIPART
    complete = rest + FILE_PART + END
    rows: list[tuple[str, APIError | errors.ErrorType, str | bytes, str | None]] = [
        ("no boundary", row(why="The Content-Type names no boundary."), complete, "multipart/form-data"),
        (
            "an empty boundary",
            row(why="The Content-Type names no boundary."),
            complete,
            "multipart/form-data; boundary=",
        ),
        ("another boundary", row, complete, "multipart/form-data; boundary=other"),
        ("a boundary of 300", row, complete, "multipart/form-data; boundary=" + "x" * 300),
        ("no body", row(why="The body ends before its closing boundary."), "", None),
        ("one byte", row, "-", None),
        ("JSON", row, '{"file_id": "x"}', None),
        ("text", row, "hello", None),
        ("cut in a boundary", row, "--gold", None),
        ("cut in a header", row, rest + "--golden\r\nContent-Dispo", None),
        ("cut after the headers", row, rest + FILE_PART[: FILE_PART.index("hello")], None),
        ("cut in the file", row, rest + FILE_PART[:-4], None),
        ("no closing boundary", row(why="The body ends before its closing boundary."), rest + FILE_PART, None),
        ("a closing boundary with one dash", row, rest + FILE_PART + "--golden-", None),
        ("a closing boundary with another name", row, rest + FILE_PART + "--other--\r\n", None),
        ("line feeds without carriage returns", row, complete.replace("\r\n", "\n"), None),
        ("a part without headers", row, rest + "--golden\r\n\r\nhello\r\n" + END, None),
        ("a part without a name", row, rest + part('filename="notes.txt"') + END, None),
        ("a part without a disposition", row, rest + "--golden\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END, None),
        ("a header without a colon", row, rest + "--golden\r\nnonsense\r\n\r\nx\r\n" + END, None),
        ("a huge header", row, rest + part(f'name="file"; filename="{HUGE}"') + END, None),
        ("a thousand headers", row, rest + "--golden\r\n" + "X-A: b\r\n" * 1_000 + "\r\nx\r\n" + END, None),
        ("a huge field", row, rest + part('name="file_id"', "x" * (1 << 21)) + END, None),
        ("10,000 fields", row, rest + "".join(part(f'name="f{n}"', "x") for n in range(10_000)) + END, None),
        ("10,000 empty fields", row, rest + "".join(part(f'name="f{n}"', "") for n in range(10_000)) + END, None),
        ("two files", errors.DUPLICATE_PARAMETER(param="file"), rest + FILE_PART + FILE_PART + END, None),
        (
            "10,000 files",
            errors.DUPLICATE_PARAMETER(param="file"),
            rest + FILE_PART * 10_000 + END,
            None,
        ),
        (
            "a duplicate field",
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
                ("application/octet-stream", complete),
                ("application/x-www-form-urlencoded", "file_id=x"),
                ("multipart/mixed; boundary=golden", complete),
                ("multipart/form-datax; boundary=golden", complete),
            )
        ),
    ]
    return [
        case(label, expected, body=body, headers={"Content-Type": kind} if kind else {})
        for label, expected, body, kind in rows
    ]


@each_upload
def test_malformed_forms_are_rejected(client: Client, operation: Operation) -> None:
    check_errors(client, operation, malformed_forms(operation))
    assert leftovers(client.world.server) == []


def leftovers(server: MockServer) -> list[Path]:
    """Files of uploads that are still on disk."""
    return list((server.mock.directory / "uploads").iterdir())


def test_adding_a_file_to_a_container_with_an_invalid_form_is_rejected(client: Client) -> None:
    copy = part('name="file_id"', client.upload)
    check_errors(
        client,
        BY_NAME["CreateContainerFile"],
        [
            case(label, expected, body=body + END)
            for label, expected, body in (
                ("an empty form", errors.MISSING_EXCLUSIVE(param="file_id", other="file"), ""),
                ("both", errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id"), FILE_PART + copy),
                (
                    "both the other way round",
                    errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id"),
                    copy + FILE_PART,
                ),
                ("two file_ids", errors.DUPLICATE_PARAMETER(param="file_id"), copy + copy),
                ("an unknown field", errors.UNKNOWN_PARAMETER(param="foo"), FILE_PART + part('name="foo"')),
                (
                    "a file in a field of another name",
                    errors.UNKNOWN_PARAMETER(param="f"),
                    part('name="f"; filename="a.txt"'),
                ),
                (
                    "a field with unusual characters",
                    errors.UNKNOWN_PARAMETER(param="{箱}"),
                    FILE_PART + part('name="{箱}"'),
                ),
            )
        ],
    )
    assert leftovers(client.world.server) == []


def field_parts(**fields: str) -> str:
    return "".join(part(f'name="{name}"', value) for name, value in fields.items())


def expiry_form(anchor: str | None, seconds: str | None) -> str:
    expiry = {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    return (
        field_parts(purpose="vision", **{name: value for name, value in expiry.items() if value is not None})
        + FILE_PART
    )


def test_creating_a_file_with_an_invalid_form_is_rejected(client: Client) -> None:
    seconds = "expires_after.seconds"
    purposes = ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
    too_small, too_large = "is less than the minimum of 3600", "is greater than the maximum of 2592000"
    check_errors(
        client,
        BY_NAME["CreateFile"],
        [
            case(label, expected, body=body + END)
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
                ("no anchor", errors.MISSING_FIELD(field="expires_after.anchor"), expiry_form(None, "3600")),
                ("no seconds", errors.MISSING_FIELD(field=seconds), expiry_form("created_at", None)),
                (
                    "another anchor",
                    errors.BAD_FIELD(
                        value="last_active_at",
                        problem="is not one of ['created_at']",
                        param="expires_after.anchor",
                    ),
                    expiry_form("last_active_at", "3600"),
                ),
                *(
                    (
                        f"seconds {value[:20]!r}",
                        errors.BAD_FIELD(value=value, problem="is not of type 'integer'", param=seconds),
                        expiry_form("created_at", value),
                    )
                    for value in ("x", "", "3600.0", "1e4", "-3600", "\u0663\u0666\u0660\u0660", " 3600", "9" * 5_000)
                ),
                *(
                    (
                        f"seconds {value}",
                        errors.BAD_FIELD(value=value, problem=problem, param=seconds),
                        expiry_form("created_at", value),
                    )
                    for value, problem in (
                        ("0", too_small),
                        ("3599", too_small),
                        ("2592001", too_large),
                        ("9" * 19, too_large),
                    )
                ),
            )
        ],
    )
    assert leftovers(client.world.server) == []
    for allowed in ("3600", "2592000"):
        assert client.send(BY_NAME["CreateFile"], body=expiry_form("created_at", allowed) + END).status == 200


def test_files_cannot_be_created_from_json(client: Client) -> None:
    for body in ("{}", '{"purpose": "vision"}', '{"file_id": "x"}', "[]", "{broken"):
        before = client.read_world()
        response = client.send(BY_NAME["CreateFile"], body=body, headers={"Content-Type": JSON})
        assert list(differences(response, errors.NOT_A_FORM(content_type=JSON), files_api=True, head=False)) == []
        assert client.read_world() == before


# Sizes


@each_upload
def test_an_upload_of_the_maximum_size_is_accepted_and_a_larger_one_rejected(
    small_server: MockServer, operation: Operation
) -> None:
    rest = PURPOSE_PART if operation.files_api else ""
    with Client(new_world(small_server)) as client:

        def upload_of(size: int) -> str:
            return rest + part('name="file"; filename="a"', "x" * size) + END

        expected = errors.FILE_TOO_LARGE(limit=1_000)
        # The server reads on beyond the limit, so that a client that sends its whole body first gets the error.
        cases = [case(f"{size} bytes", expected, body=upload_of(size)) for size in (1_001, 5_000, 900_000)]
        check_errors(client, operation, cases)
        assert leftovers(small_server) == []
        assert client.send(operation, body=upload_of(1_000)).status == 200


def test_json_of_the_maximum_size_is_accepted_and_a_larger_body_rejected(small_server: MockServer) -> None:
    with Client(new_world(small_server)) as client:
        create, expected = BY_NAME["CreateContainer"], errors.BODY_TOO_LARGE(limit=2_000)
        body = '{"name": "box"}'
        check_errors(
            client,
            create,
            [
                case(f"{size} bytes", expected, body=content.ljust(size))
                for size in (2_001, 500_000)
                for content in (body, "{broken", "")
            ],
        )
        assert client.send(create, body=body.ljust(2_000)).status == 200


@each_upload
def test_an_upload_is_rejected_as_soon_as_it_is_too_large(small_server: MockServer, operation: Operation) -> None:
    """The error is sent although the client has sent only a thousandth of the announced length."""
    rest = PURPOSE_PART if operation.files_api else ""
    with Client(new_world(small_server)) as client:
        before = client.read_world()
        beginning = rest + part('name="file"; filename="a"', "x" * 100_000)
        request = (
            f"POST /w/{client.world.name}/v1{client.path(operation)} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer sk-test\r\nContent-Type: {FORM}\r\nContent-Length: 100000000\r\n\r\n{beginning}"
        )
        with socket.create_connection(("127.0.0.1", small_server.port), timeout=60) as connection:
            connection.sendall(request.encode())
            response = Response.receive(connection)
        expected = errors.FILE_TOO_LARGE(limit=1_000)
        assert list(differences(response, expected, operation.files_api, head=False)) == []
        assert leftovers(small_server) == []
        assert client.read_world() == before


@each_upload
def test_an_aborted_upload_stores_nothing(client: Client, operation: Operation) -> None:
    before = client.read_world()
    rest = PURPOSE_PART if operation.files_api else ""
    request = (
        f"POST /w/{client.world.name}/v1{client.path(operation)} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer sk-test\r\nContent-Type: {FORM}\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", client.world.server.port), timeout=60) as connection:
        connection.sendall(request.encode())
        # The server sends 100 when it begins to read the body: the upload is in progress from here on.
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall((rest + FILE_PART[:-10]).encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert client.read_world() == before
    assert leftovers(client.world.server) == []


def test_an_error_is_sent_instead_of_100_continue(client: Client) -> None:
    for path, status in (("/foo", b"404"), ("/containers/cntr_none/files", b"404")):
        request = (
            f"POST /w/{client.world.name}/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-test\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", client.world.server.port), timeout=60) as connection:
            connection.sendall(request.encode())
            assert connection.recv(100).split()[1] == status


# Ranges


@each_content
def test_ranges_that_cannot_be_satisfied_are_416(client: Client, operation: Operation) -> None:
    ranges = ["bytes=5-", "bytes=5-5", "bytes=99-100", "bytes=-0", f"bytes={10**17}-"]
    expected = errors.RANGE_NOT_SATISFIABLE()
    check_errors(client, operation, [case(each, expected, headers={"Range": each}) for each in ranges])
    for each in ranges:
        assert client.send(operation, headers={"Range": each}).header("content-range") == "bytes */5"


@each_content
@pytest.mark.parametrize(
    ("requested", "returned"),
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
def test_a_range_returns_that_part_of_the_content(
    client: Client, operation: Operation, requested: str, returned: tuple[int, int]
) -> None:
    response = client.send(operation, headers={"Range": requested})
    start, stop = returned
    assert response.status == 206
    assert response.header("content-range") == f"bytes {start}-{stop - 1}/5"
    assert response.header("content-length") == str(stop - start)
    assert response.body == (b"" if operation.method == "HEAD" else b"hello"[start:stop])


@each_content
def test_malformed_and_multiple_ranges_are_ignored(client: Client, operation: Operation) -> None:
    """RFC 9110: a `Range` that is malformed or of an unknown unit is ignored. Several ranges are not supported."""
    for header in (
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
        response = client.send(operation, headers={"Range": header})
        assert (response.status, response.header("content-length")) == (200, "5"), header
        assert response.header("content-range") is None


# The order of errors: each row has a request with two errors, of which the response reports the first

UNKNOWN = {"container": "cntr_none"}
MALFORMED_FORM = {"body": FILE_PART}
MALFORMED_JSON = {"body": "{broken", "headers": {"Content-Type": JSON}}

ORDER: list[tuple[str, str, str, dict[str, Any], APIError | errors.ErrorType]] = [
    ("key", "route", "ListContainers", {"key": None, "path": "/foo"}, errors.MISSING_KEY),
    ("key", "method", "ListContainers", {"key": None, "method": "PUT"}, errors.MISSING_KEY),
    ("key", "world", "ListContainers", {"key": None, "prefix": "/w/-x/v1"}, errors.MISSING_KEY),
    ("key", "query", "ListContainers", {"key": None, "query": "?limit=x"}, errors.MISSING_KEY),
    ("key", "container", "RetrieveContainer", {"key": None, **UNKNOWN}, errors.MISSING_KEY),
    ("key", "body", "CreateContainer", {"key": None, **MALFORMED_JSON}, errors.MISSING_KEY),
    ("key", "form", "CreateContainerFile", {"key": None, **MALFORMED_FORM}, errors.MISSING_KEY),
    ("route", "world", "ListContainers", {"path": "/foo", "prefix": "/w/-x/v1"}, errors.UNKNOWN_URL),
    ("route", "body", "CreateContainer", {"path": "/foo", **MALFORMED_JSON}, errors.UNKNOWN_URL),
    ("method", "world", "ListContainers", {"method": "PUT", "prefix": "/w/-x/v1"}, errors.WRONG_METHOD),
    ("method", "query", "ListContainers", {"method": "PUT", "query": "?limit=x"}, errors.WRONG_METHOD),
    ("method", "container", "RetrieveContainer", {"method": "POST", **UNKNOWN}, errors.WRONG_METHOD),
    ("method", "body", "CreateContainer", {"method": "PUT", **MALFORMED_JSON}, errors.WRONG_METHOD),
    ("world", "query", "ListContainers", {"prefix": "/w/-x/v1", "query": "?limit=x"}, errors.BAD_WORLD_NAME),
    ("world", "container", "RetrieveContainer", {"prefix": "/w/-x/v1", **UNKNOWN}, errors.BAD_WORLD_NAME),
    ("world", "body", "CreateContainer", {"prefix": "/w/-x/v1", **MALFORMED_JSON}, errors.BAD_WORLD_NAME),
    ("query", "container", "ListContainerFiles", {"query": "?limit=x", **UNKNOWN}, errors.WRONG_TYPE),
    ("query", "cursor", "ListContainers", {"query": "?after=x&limit=0"}, errors.TOO_SMALL_INTEGER),
    ("container", "cursor", "ListContainerFiles", {"query": "?after=x", **UNKNOWN}, errors.CONTAINER_NOT_FOUND),
    ("container", "form", "CreateContainerFile", {**MALFORMED_FORM, **UNKNOWN}, errors.CONTAINER_NOT_FOUND),
    ("container", "body", "CreateContainerFile", {**MALFORMED_JSON, **UNKNOWN}, errors.CONTAINER_NOT_FOUND),
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
def test_the_order_of_errors(
    client: Client, name: str, request_: dict[str, Any], expected: APIError | errors.ErrorType
) -> None:
    before_routing = expected in (errors.MISSING_KEY, errors.UNKNOWN_URL, errors.WRONG_METHOD)
    check_errors(client, BY_NAME[name], [Case("both", expected, request_)], before_routing)


@pytest.mark.parametrize(
    ("first", "second", "name", "request_", "expected"),
    [
        ("query", "expired", "ListContainerFiles", {"query": "?limit=x"}, errors.WRONG_TYPE),
        ("expired", "cursor", "ListContainerFiles", {"query": "?after=x"}, errors.CONTAINER_EXPIRED),
        ("expired", "form", "CreateContainerFile", MALFORMED_FORM, errors.CONTAINER_EXPIRED),
        ("expired", "body", "CreateContainerFile", MALFORMED_JSON, errors.CONTAINER_EXPIRED),
        ("expired", "file", "DeleteContainerFile", {"file": "cfile_none"}, errors.CONTAINER_EXPIRED),
        ("key", "expired", "RetrieveContainerFile", {"key": None}, errors.MISSING_KEY),
    ],
)
def test_the_order_of_errors_of_an_expired_container(
    client: Client, first: str, second: str, name: str, request_: dict[str, Any], expected: errors.ErrorType
) -> None:
    client.world.advance(20 * 60)
    check_errors(client, BY_NAME[name], [Case(f"{first} before {second}", expected, request_)])


def test_an_unknown_route_is_reported_before_too_many_worlds() -> None:
    with MockServer(max_worlds=1) as server, Client(new_world(server)) as client:
        too_many = errors.TOO_MANY_WORLDS(count=1)
        another = {"prefix": "/w/another/v1"}
        check_errors(
            client,
            BY_NAME["ListContainers"],
            [
                case("an unknown route", errors.UNKNOWN_URL, path="/foo", **another),
                case("a wrong method", errors.WRONG_METHOD, method="PUT", **another),
                case("a bad query", too_many, query="?limit=x", **another),
                case("a new world", too_many, **another),
                case("a new world by key", too_many, prefix="/v1", key="Bearer sk-world-another"),
            ],
        )
        assert server.mock.worlds.names() == [client.world.name]


def test_rejected_requests_create_no_world(server: MockServer) -> None:
    """A missing key or a wrong URL must not use up one of `max_worlds`."""
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


def test_ids_are_percent_decoded_except_slashes(client: Client) -> None:
    """A slash stays encoded, so that it does not separate segments of the path."""
    encoded = "".join(f"%{byte:02X}" for byte in client.container.encode())
    assert unquote(encoded) == client.container
    assert client.send(BY_NAME["RetrieveContainer"], container=encoded).status == 200
    expected = errors.CONTAINER_NOT_FOUND(container_id="a%2Fb")
    check_errors(client, BY_NAME["RetrieveContainer"], [case("a slash", expected, container="a%2Fb")])
