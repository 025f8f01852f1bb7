"""Golden exchanges: what a client sends and gets, byte for byte, each with the evidence for it.

`fixtures/contract/*.yaml` are lists of exchanges. Each has a `name` (its world's as well, used once),
a `grade` and `evidence`, the raw `request` and the whole `response`, and where it needs them:

- `error`: the row of `mockserver.errors.CATALOGUE` that the answer is;
- `server`: settings other than the defaults;
- `setup`: what comes before, on a clock that stands still at 2026-06-24T18:04:00Z: requests
  (`POST /containers {"name": "box"}`, answered with 200), uploads (in the field `field`, else `file`), and moves of the clock
  (`advance: 20m`);
- `request_body`, `response_body`: a body that is not text, in base64;
- `crlf: true`: each newline in the request's body goes out as CR LF, as multipart wants it.

Newlines in the head stand for CR LF. A body is exact to its last byte: one that ends without a
newline stands in a `|-` block. `<masked>` is what no two answers share; its form is checked. The
phrase behind the status is left out.

`MOCKSERVER_RECORD=1 pytest tests/test_contract.py` writes the server's answers into the files. Read
every line of the difference against its evidence before you keep it: a recording proves nothing.
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

REFUSED = CATALOGUE | AZURE

MASKED = {
    "date": re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"),
    "x-request-id": re.compile(r"req_[0-9a-f]{32}"),
    "openai-processing-ms": re.compile(r"\d{1,6}"),
}

_REQUEST_ID = re.compile(rb"request ID [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""In the text of a 500."""

NOT_PROVOKED = {
    "stream_too_old": "needs a stream while the clock moves, which test_responses.py has",
    "body_holds_too_much": "needs a large body, which test_hostile_bodies.py sends",
    "too_many_parameters": "needs a long query, which test_hostile_bodies.py sends",
    "body_timed_out": "needs a body that stops coming, which test_http.py begins",
    "head_too_large": "needs 64 KiB of headers, which test_fuzz.py sends",
    "part_too_large": "needs a part of 64 MiB, which test_uploads.py sends",
    "upload_too_large": "needs 8 GiB, which test_uploads.py pretends to have",
    "world_gone": "needs a world deleted in mid-upload, which test_control.py does",
    "rate_limited": "needs a fault, which test_faults.py puts in",
    "storage_failed": "needs a disk that fails, which test_failures.py has",
    "world_unusable": "needs a file that is damaged, as in test_storage.py",
}
"""Refusals that no request provokes, and why."""

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
class Answer:
    """An answer as it came through the socket, but for what is masked in `head`."""

    head: str
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split()[1])


@dataclass(frozen=True)
class Golden:
    source: Path
    name: str
    grade: Grade
    evidence: str
    error: str | None
    server: dict[str, Any]
    setup: list[Any]
    request: bytes
    answer: Answer

    @property
    def method(self) -> str:
        return self.request.split()[0].decode("latin-1")

    @property
    def path(self) -> str:
        """Without its world, prefix and query."""
        target = [*self.request.split(), b""][1].decode("latin-1").partition("?")[0]
        return re.sub(r"^(/w/[^/]*)?(/openai)?(/v1)?", "", target)


class Unfounded(Exception):
    """An exchange that says too little, or what it doesn't mean."""


def load(source: Path, given: dict[str, Any]) -> Golden:
    name = given.get("name", "without a name")
    if unknown := given.keys() - KEYS:
        raise Unfounded(f"{source.name}: {name}: no such keys: {', '.join(sorted(unknown))}")
    for key in ("name", "evidence", "request", "response"):
        if not str(given.get(key) or "").strip():
            raise Unfounded(f"{source.name}: {name}: has no {key}")
    if given.get("grade") not in get_args(Grade):
        raise Unfounded(f"{source.name}: {name}: its grade must be one of {', '.join(get_args(Grade))}")
    head, _, text = given["request"].partition("\n\n")
    body = given.get("request_body") or (text.replace("\n", "\r\n") if given.get("crlf") else text).encode()
    request = head.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n" + body
    head, _, text = given["response"].partition("\n\n")
    golden = Golden(
        source,
        name,
        given["grade"],
        given["evidence"],
        given.get("error"),
        given.get("server", {}),
        given.get("setup", []),
        request,
        Answer(head.strip(), given.get("response_body") or text.encode()),
    )
    if golden.answer.status >= 400 and golden.error not in REFUSED:
        raise Unfounded(f"{source.name}: {name}: is an error, but not one of the catalogue")
    if golden.answer.status < 400 and golden.error:
        raise Unfounded(f"{source.name}: {name}: has an error, but is none")
    if golden.answer.status < 400 and name.encode() not in request:
        raise Unfounded(f"{source.name}: {name}: is not sent to the world of its name")
    return golden


def load_all() -> list[Golden]:
    return [
        load(source, given)
        for source in sorted(FIXTURES.glob("*.yaml"))
        for given in yaml.load(source.read_text(encoding="utf-8"), LOADER)
    ]


GOLDENS = load_all()


# Replaying


@pytest.fixture(scope="session")
def server_with(server: MockServer, live_server: MockServer) -> Iterator[Callable[[dict[str, Any]], MockServer]]:
    """Servers by their settings, each started once."""
    running = {"{}": server, str({"profile": "live"}): live_server}
    with ExitStack() as stack:

        def started(settings: dict[str, Any]) -> MockServer:
            options: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
            }
            if str(settings) not in running:
                running[str(settings)] = stack.enter_context(MockServer(**options))
            return running[str(settings)]

        yield started


def send(server: MockServer, request: bytes) -> bytes:
    """Everything that the server answers, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def masked(raw: bytes) -> Answer:
    """The answer, with what no two answers share checked for its form and taken out."""
    head, _, body = raw.partition(b"\r\n\r\n")
    # The hint names all that is emulated, and is tested in test_first_minutes.py.
    lines = [line for line in head.decode("ascii").split("\r\n") if not line.startswith("x-mock-hint: ")]
    # The phrase after the status is the Python version's: 3.13 renamed that of 413, among others.
    lines[0] = re.sub(r"^(HTTP/1\.1 \d{3}) .+$", r"\1", lines[0])
    for number, line in enumerate(lines[1:], 1):
        name, _, value = line.partition(": ")
        if name in MASKED:
            assert MASKED[name].fullmatch(value), line
            lines[number] = f"{name}: <masked>"
    return Answer("\n".join(lines), _REQUEST_ID.sub(b"request ID <masked>", body))


@pytest.fixture(scope="session")
def client() -> Iterator[httpx2.Client]:
    """One for all set-ups: to make a client takes longer than to replay an exchange."""
    with httpx2.Client(headers={"Authorization": "Bearer sk-golden"}) as client:
        yield client


def set_up(world: World, client: httpx2.Client, steps: list[Any]) -> None:
    for step in steps:
        if isinstance(step, str):
            method, path, body = re.fullmatch(r"(\S+) (\S+) ?(.*)", step).groups()  # type: ignore[union-attr]
            headers = {"Content-Type": "application/json"} if body else {}
            answer = client.request(method, world.base_url + path, content=body or None, headers=headers)
        elif "advance" in step:
            world.advance(parse_duration(step["advance"]))
            continue
        elif "answers" in step:
            answer = client.post(f"{world.server.url}/_mock/worlds/{world.name}/answers", json=step["answers"])
        else:
            form = dict(step)
            path, file = form.pop("upload"), (form.pop("filename"), form.pop("content"))
            answer = client.post(world.base_url + path, files={form.pop("field", "file"): file}, data=form)
        assert answer.status_code == 200, f"{step}: {answer.text}"


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: f"{golden.source.stem}-{golden.name}")
def test_golden(golden: Golden, server_with: Callable[[dict[str, Any]], MockServer], client: httpx2.Client) -> None:
    server = server_with(golden.server)
    world = World(server, golden.name)
    world.freeze()
    set_up(world, client, golden.setup)
    answer = masked(send(server, golden.request))
    if RECORDING:
        record(golden, answer)
        pytest.skip("recorded")
    assert answer.head == golden.answer.head
    assert answer.body == golden.answer.body


# What the files must hold


def test_names_are_used_once() -> None:
    names = [golden.name for golden in GOLDENS]
    assert names
    assert sorted(names) == sorted(set(names))


def operations(server: MockServer) -> dict[str, tuple[str, re.Pattern[str]]]:
    """Method and path of each operation by its id, as the application itself describes them."""
    described = create_app(server.mock).openapi()["paths"]
    found = {
        operation["operationId"]: (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
        for path, methods in described.items()
        for method, operation in methods.items()
    }
    assert len(found) == len(OPERATIONS)
    return found


def test_every_operation_succeeds_in_some_golden(server: MockServer) -> None:
    missing = [
        name
        for name, (method, path) in operations(server).items()
        if not any(
            golden.method == method and path.fullmatch(golden.path) and golden.answer.status == 200
            for golden in GOLDENS
        )
    ]
    assert missing == []


@pytest.mark.parametrize("resource", ["/containers/", "/files/", "/skills/"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 206), ("GET", 416)])
def test_contents_are_asked_for_in_every_way(resource: str, method: str, status: int) -> None:
    assert any(
        golden.path.startswith(resource)
        and golden.path.endswith("/content")
        and (golden.method, golden.answer.status) == (method, status)
        for golden in GOLDENS
    )


def test_every_refusal_is_in_some_golden() -> None:
    shown = {golden.error for golden in GOLDENS}
    assert len(CATALOGUE) > 30
    assert REFUSED.keys() - shown == NOT_PROVOKED.keys()


REFUSALS = [golden for golden in GOLDENS if golden.error]


@pytest.mark.parametrize("golden", REFUSALS, ids=lambda golden: f"{golden.source.stem}-{golden.name}")
def test_a_refusal_is_what_the_catalogue_says_and_as_well_known(golden: Golden) -> None:
    row = REFUSED[golden.error or ""]
    assert golden.grade == row.grade
    assert golden.answer.status == row.status
    if golden.method == "HEAD":
        return
    if row.text:
        assert golden.answer.body.decode() == row.message
        return
    body = yaml.safe_load(golden.answer.body)
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


# What the loader refuses

SOUND = {
    "name": "sound",
    "grade": "guess",
    "evidence": "Nobody has shown it.",
    "request": "GET /w/sound/v1/containers HTTP/1.1\n",
    "response": "HTTP/1.1 200\n\n",
}


def test_the_loader_takes_a_sound_exchange() -> None:
    assert load(Path("a.yaml"), SOUND).answer.status == 200


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"grade": None}, "its grade must be one of"),
        ({"grade": "certain"}, "its grade must be one of doc, seen, probe, stack, guess"),
        ({"evidence": None}, "has no evidence"),
        ({"evidence": " \n"}, "has no evidence"),
        ({"name": None}, "has no name"),
        ({"request": ""}, "has no request"),
        ({"response": ""}, "has no response"),
        ({"evidense": "typo"}, "no such keys: evidense"),
        ({"error": "not_json"}, "has an error, but is none"),
        ({"response": "HTTP/1.1 400\n\n"}, "is an error, but not one of the catalogue"),
        ({"response": "HTTP/1.1 400\n\n", "error": "no_such"}, "is an error, but not one of the catalogue"),
        ({"request": "GET /v1/containers HTTP/1.1\n"}, "is not sent to the world of its name"),
    ],
)
def test_the_loader_refuses(change: dict[str, Any], complaint: str) -> None:
    given = {key: value for key, value in {**SOUND, **change}.items() if value is not None}
    with pytest.raises(Unfounded, match=re.escape(complaint)):
        load(Path("a.yaml"), given)


# What no request provokes


def test_a_defect_gets_the_envelope_too(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defective(*_: object) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(containers, "retrieve_container", defective)
    request = (
        f"GET /w/{world.name}/v1/containers/cntr_x HTTP/1.1\r\nhost: localhost\r\n"
        "authorization: Bearer sk-golden\r\nconnection: close\r\n\r\n"
    )
    answer = masked(send(world.server, request.encode()))
    assert answer.head.split("\n") == [
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
    assert answer.body.decode().split("\n") == [
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


def write(source: Path, exchanges: list[dict[str, Any]]) -> None:
    text = yaml.dump(exchanges, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    source.write_text(re.sub(r"\n- name:", r"\n\n- name:", text), encoding="utf-8")


def record(golden: Golden, answer: Answer) -> None:
    exchanges = yaml.safe_load(golden.source.read_text(encoding="utf-8"))
    for given in exchanges:
        if given["name"] == golden.name:
            given.pop("response_body", None)
            body = readable(answer.body)
            given["response"] = f"{answer.head}\n\n{body}" if body else f"{answer.head}\n"
            if answer.body and body is None:
                given["response_body"] = answer.body
    write(golden.source, exchanges)


def readable(body: bytes) -> str | None:
    """As the text of a block, or None where that could not hold the very bytes."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character == "\n" for character in text) else None
