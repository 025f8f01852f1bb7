"""Golden exchanges: requests and their responses, byte for byte, each with evidence.

`fixtures/contract/*.yaml` are lists of exchanges. Each has a unique `name` (which is also the name of its world), a
`grade` and `evidence`, the raw `request` and the whole `response`. Optional keys are:

- `error`: the row of `mockserver.errors.CATALOGUE` for an error response;
- `server`: settings other than the defaults;
- `setup`: what happens before, on a clock that is frozen at 2026-06-24T18:04:00Z: requests that return 200
  (`POST /containers {"name": "box"}`), uploads (in the form field `field`, by default `file`), scripts of `/responses`
  (`answers`) and changes of the clock (`advance: 20m`);
- `request_body`, `response_body`: a binary body, in base64;
- `crlf: true`: newlines in the body of the request are sent as CR LF, as multipart requires.

Newlines in a head stand for CR LF. A body is exact to its last byte: one that ends without a newline is a `|-` block.
`<masked>` stands for values that differ in each response; their form is checked. The reason phrase after the status is
left out.

`MOCKSERVER_RECORD=1 pytest tests/test_contract.py` writes the responses of the server into the files. Compare every
changed line with its evidence before you commit it: a recording proves nothing.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
import yaml
from conftest import World

from mockserver import containers
from mockserver.api.app import create_app
from mockserver.clock import parse_duration
from mockserver.errors import AZURE, CATALOGUE, AzureErrorType, Grade
from mockserver.schema.faults import OPERATIONS
from mockserver.server.serving import MockServer

FIXTURES = Path(__file__).parent.parent / "fixtures" / "contract"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RECORDING = bool(os.environ.get("MOCKSERVER_RECORD"))

ERRORS = CATALOGUE | AZURE

MASKED = {
    "date": re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"),
    "x-request-id": re.compile(r"req_[0-9a-f]{32}"),
    "openai-processing-ms": re.compile(r"\d{1,6}"),
}

_REQUEST_ID = re.compile(rb"request ID [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""In the message of a 500."""

NOT_COVERED = {
    "stream_too_old": "needs a stream while the clock is advanced; see test_responses.py",
    "body_holds_too_much": "needs a large body; see test_hostile_bodies.py",
    "too_many_parameters": "needs a long query; see test_hostile_bodies.py",
    "body_timed_out": "needs a stalled body; see test_http.py",
    "head_too_large": "needs 64 KiB of headers; see test_fuzz.py",
    "part_too_large": "needs a part of 64 MiB; see test_uploads.py",
    "upload_too_large": "needs 8 GiB; see test_uploads.py",
    "world_gone": "needs a world that is deleted during an upload; see test_control.py",
    "rate_limited": "needs a fault; see test_faults.py",
    "storage_failed": "needs a disk failure; see test_failures.py",
    "world_unusable": "needs a damaged file; see test_failures.py",
}
"""Errors that no golden exchange has, and why."""

KEYS = {
    "name",
    "grade",
    "evidence",
    "error",
    "server",
    "setup",
    "crlf",
    "request",
    "request_body",
    "response",
    "response_body",
}


# Loading


@dataclass(frozen=True)
class Response:
    """A response as it was received, with variable values of `head` masked."""

    head: str
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split()[1])


@dataclass(frozen=True)
class Exchange:
    source: Path
    name: str
    grade: Grade
    evidence: str
    error: str | None
    server: dict[str, Any]
    setup: list[Any]
    request: bytes
    response: Response

    @property
    def method(self) -> str:
        return self.request.split()[0].decode("latin-1")

    @property
    def path(self) -> str:
        """The path without world, prefix and query."""
        target = [*self.request.split(), b""][1].decode("latin-1").partition("?")[0]
        return re.sub(r"^(/w/[^/]*)?(/openai)?(/v1)?", "", target)


class InvalidExchange(Exception):
    """An exchange with missing, unknown or contradictory keys."""


def load(source: Path, fields: dict[str, Any]) -> Exchange:
    name = fields.get("name", "without a name")
    if unknown := fields.keys() - KEYS:
        raise InvalidExchange(f"{source.name}: {name}: unknown keys: {', '.join(sorted(unknown))}")
    for key in ("name", "evidence", "request", "response"):
        if not str(fields.get(key) or "").strip():
            raise InvalidExchange(f"{source.name}: {name}: has no {key}")
    if fields.get("grade") not in get_args(Grade):
        raise InvalidExchange(f"{source.name}: {name}: its grade must be one of {', '.join(get_args(Grade))}")
    head, _, text = fields["request"].partition("\n\n")
    body = fields.get("request_body") or (text.replace("\n", "\r\n") if fields.get("crlf") else text).encode()
    request = head.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n" + body
    head, _, text = fields["response"].partition("\n\n")
    exchange = Exchange(
        source,
        name,
        fields["grade"],
        fields["evidence"],
        fields.get("error"),
        fields.get("server", {}),
        fields.get("setup", []),
        request,
        Response(head.strip(), fields.get("response_body") or text.encode()),
    )
    if exchange.response.status >= 400 and exchange.error not in ERRORS:
        raise InvalidExchange(f"{source.name}: {name}: is an error that is not in the catalog")
    if exchange.response.status < 400 and exchange.error:
        raise InvalidExchange(f"{source.name}: {name}: has an error, but a status below 400")
    if exchange.response.status < 400 and name.encode() not in request:
        raise InvalidExchange(f"{source.name}: {name}: is not sent to the world of its name")
    return exchange


def load_all() -> list[Exchange]:
    return [
        load(source, fields)
        for source in sorted(FIXTURES.glob("*.yaml"))
        for fields in yaml.load(source.read_text(encoding="utf-8"), LOADER)
    ]


EXCHANGES = load_all()


# Replaying


@pytest.fixture(scope="session")
def server_with(server: MockServer, live_server: MockServer) -> Iterator[Callable[[dict[str, Any]], MockServer]]:
    """Return the server with the given settings; each is started once."""
    running = {"{}": server, str({"profile": "live"}): live_server}
    with ExitStack() as stack:

        def start(settings: dict[str, Any]) -> MockServer:
            options: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
            }
            if str(settings) not in running:
                running[str(settings)] = stack.enter_context(MockServer(**options))
            return running[str(settings)]

        yield start


def send(server: MockServer, request: bytes) -> bytes:
    """Send a request, and return all that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def mask(raw: bytes) -> Response:
    """Parse a response, check the form of its variable values, and replace them."""
    head, _, body = raw.partition(b"\r\n\r\n")
    # The hint lists all emulated operations, and is tested in test_first_minutes.py.
    lines = [line for line in head.decode("ascii").split("\r\n") if not line.startswith("x-mock-hint: ")]
    # The reason phrase depends on the version of Python: 3.13 renamed that of 413, among others.
    lines[0] = re.sub(r"^(HTTP/1\.1 \d{3}) .+$", r"\1", lines[0])
    for number, line in enumerate(lines[1:], 1):
        name, _, value = line.partition(": ")
        if name in MASKED:
            assert MASKED[name].fullmatch(value), line
            lines[number] = f"{name}: <masked>"
    return Response("\n".join(lines), _REQUEST_ID.sub(b"request ID <masked>", body))


@pytest.fixture(scope="session")
def client() -> Iterator[httpx2.Client]:
    """A client for all setups: creating one takes longer than replaying an exchange."""
    with httpx2.Client(headers={"Authorization": "Bearer sk-golden"}) as client:
        yield client


def set_up(world: World, client: httpx2.Client, steps: list[Any]) -> None:
    for step in steps:
        if isinstance(step, str):
            method, path, body = re.fullmatch(r"(\S+) (\S+) ?(.*)", step).groups()  # type: ignore[union-attr]
            headers = {"Content-Type": "application/json"} if body else {}
            response = client.request(method, world.base_url + path, content=body or None, headers=headers)
        elif "advance" in step:
            world.advance(parse_duration(step["advance"]))
            continue
        elif "answers" in step:
            response = client.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=step["answers"])
        else:
            form = dict(step)
            path, file = form.pop("upload"), (form.pop("filename"), form.pop("content"))
            response = client.post(world.base_url + path, files={form.pop("field", "file"): file}, data=form)
        assert response.status_code == 200, f"{step}: {response.text}"


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: f"{exchange.source.stem}-{exchange.name}")
def test_the_response_equals_the_golden_exchange(
    exchange: Exchange, server_with: Callable[[dict[str, Any]], MockServer], client: httpx2.Client
) -> None:
    server = server_with(exchange.server)
    world = World(server, exchange.name)
    world.freeze()
    set_up(world, client, exchange.setup)
    response = mask(send(server, exchange.request))
    if RECORDING:
        record_response(exchange, response)
        pytest.skip("recorded")
    assert response.head == exchange.response.head
    assert response.body == exchange.response.body


# Coverage


def test_names_of_exchanges_are_unique() -> None:
    names = [exchange.name for exchange in EXCHANGES]
    assert names
    assert sorted(names) == sorted(set(names))


def operations(server: MockServer) -> dict[str, tuple[str, re.Pattern[str]]]:
    """Return the method and path of each operation by its id, from the OpenAPI document."""
    paths = create_app(server.mock).openapi()["paths"]
    found = {
        operation["operationId"]: (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert len(found) == len(OPERATIONS)
    return found


def test_every_operation_succeeds_in_some_exchange(server: MockServer) -> None:
    missing = [
        name
        for name, (method, path) in operations(server).items()
        if not any(
            exchange.method == method and path.fullmatch(exchange.path) and exchange.response.status == 200
            for exchange in EXCHANGES
        )
    ]
    assert missing == []


@pytest.mark.parametrize("resource", ["/containers/", "/files/", "/skills/"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 206), ("GET", 416)])
def test_contents_of_each_resource_are_covered_with_head_and_ranges(resource: str, method: str, status: int) -> None:
    assert any(
        exchange.path.startswith(resource)
        and exchange.path.endswith("/content")
        and (exchange.method, exchange.response.status) == (method, status)
        for exchange in EXCHANGES
    )


def test_every_error_of_the_catalog_is_in_some_exchange() -> None:
    covered = {exchange.error for exchange in EXCHANGES}
    assert len(CATALOGUE) > 30
    assert ERRORS.keys() - covered == NOT_COVERED.keys()


ERROR_EXCHANGES = [exchange for exchange in EXCHANGES if exchange.error]


@pytest.mark.parametrize("exchange", ERROR_EXCHANGES, ids=lambda exchange: f"{exchange.source.stem}-{exchange.name}")
def test_an_error_has_the_fields_and_the_grade_of_the_catalog(exchange: Exchange) -> None:
    row = ERRORS[exchange.error or ""]
    assert exchange.grade == row.grade
    assert exchange.response.status == row.status
    if exchange.method == "HEAD":
        return
    if row.text:
        assert exchange.response.body.decode() == row.message
        return
    body = yaml.safe_load(exchange.response.body)
    error = body.get("error", body)
    assert re.fullmatch(_any_words(row.message), error["message"])
    if isinstance(row, AzureErrorType):
        assert (error.get("code"), error.keys() & {"type", "param"}) == (row.code, set())
        return
    assert (error["type"], error["code"]) == (row.type, row.code)
    if row.param is None:
        assert error["param"] is None
    else:
        assert re.fullmatch(_any_words(row.param), error["param"])


def _any_words(template: str) -> str:
    return re.sub(r"\\\{\w+\\\}", ".*", re.escape(template))


# The loader

VALID = {
    "name": "valid",
    "grade": "guess",
    "evidence": "None.",
    "request": "GET /w/valid/v1/containers HTTP/1.1\n",
    "response": "HTTP/1.1 200\n\n",
}


def test_the_loader_accepts_a_valid_exchange() -> None:
    assert load(Path("a.yaml"), VALID).response.status == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grade": None}, "its grade must be one of"),
        ({"grade": "certain"}, "its grade must be one of doc, seen, probe, stack, guess"),
        ({"evidence": None}, "has no evidence"),
        ({"evidence": " \n"}, "has no evidence"),
        ({"name": None}, "has no name"),
        ({"request": ""}, "has no request"),
        ({"response": ""}, "has no response"),
        ({"evidense": "typo"}, "unknown keys: evidense"),
        ({"error": "not_json"}, "has an error, but a status below 400"),
        ({"response": "HTTP/1.1 400\n\n"}, "is an error that is not in the catalog"),
        ({"response": "HTTP/1.1 400\n\n", "error": "no_such"}, "is an error that is not in the catalog"),
        ({"request": "GET /v1/containers HTTP/1.1\n"}, "is not sent to the world of its name"),
    ],
)
def test_the_loader_rejects_invalid_exchanges(change: dict[str, Any], message: str) -> None:
    fields = {key: value for key, value in {**VALID, **change}.items() if value is not None}
    with pytest.raises(InvalidExchange, match=re.escape(message)):
        load(Path("a.yaml"), fields)


# Internal errors


def test_an_internal_error_returns_the_error_envelope(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defective(*_: object) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(containers, "retrieve_container", defective)
    request = (
        f"GET /w/{world.name}/v1/containers/cntr_x HTTP/1.1\r\nhost: localhost\r\n"
        "authorization: Bearer sk-golden\r\nconnection: close\r\n\r\n"
    )
    response = mask(send(world.server, request.encode()))
    assert response.head.split("\n") == [
        "HTTP/1.1 500",
        "date: <masked>",
        "content-type: application/json",
        "content-length: 369",
        "x-request-id: <masked>",
        "openai-processing-ms: <masked>",
        "openai-version: 2020-10-01",
        "openai-organization: org-mockserver",
        "openai-project: proj_mockserver",
        "x-content-type-options: nosniff",
        "connection: close",
    ]
    assert response.body.decode().split("\n") == [
        "{",
        '  "error": {',
        '    "message": "The server had an error processing your request. Sorry about that! You can retry your request, '
        "or contact us through our help center at help.openai.com if you keep seeing this error. (Please include the "
        'request ID <masked> in your email.)",',
        '    "type": "server_error",',
        '    "param": null,',
        '    "code": null',
        "  }",
        "}",
    ]
    assert "a secret of the server" in caplog.text


# Recording


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def write_exchanges(source: Path, exchanges: list[dict[str, Any]]) -> None:
    text = yaml.dump(exchanges, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    source.write_text(re.sub(r"\n- name:", r"\n\n- name:", text), encoding="utf-8")


def record_response(exchange: Exchange, response: Response) -> None:
    exchanges = yaml.safe_load(exchange.source.read_text(encoding="utf-8"))
    for fields in exchanges:
        if fields["name"] == exchange.name:
            fields.pop("response_body", None)
            body = printable_text(response.body)
            fields["response"] = f"{response.head}\n\n{body}" if body else f"{response.head}\n"
            if response.body and body is None:
                fields["response_body"] = response.body
    write_exchanges(exchange.source, exchanges)


def printable_text(body: bytes) -> str | None:
    """Return the body as text for a block of YAML, or None if YAML could not reproduce its bytes."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character == "\n" for character in text) else None
