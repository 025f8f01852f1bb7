"""Bodies, values and headers that are meant to block or break the server."""

import gc
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from conftest import NOON, World, error_message, ok
from hypothesis import given, settings
from hypothesis import strategies as st

from mockserver import bounds
from mockserver.api import parsing
from mockserver.bounds import MAX_DEPTH, MAX_ESCAPES, MAX_PARAMETERS, MAX_RUN, MAX_VALUES, Excess, JSONCounter
from mockserver.clock import MAX_SECONDS
from mockserver.seeds import contents, loader
from mockserver.seeds.document import SENT, Source
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError

JSON = "application/json"
TOKEN = "right"
ENVELOPE = {"message", "type", "param", "code"}


@pytest.fixture(scope="module")
def control(server: MockServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.url}/_mock", headers={"Content-Type": JSON}) as client:
        yield client


def many_keys(count: int) -> bytes:
    return json.dumps({"name": "box", **{f"key{n}": 1 for n in range(count)}}).encode()


# The counter of JSON values


def is_within_limits(text: bytes, size: int, values: int = MAX_VALUES, depth: int = MAX_DEPTH) -> bool:
    """Return whether a text, fed in pieces of `size` bytes, is within the limits."""
    json_counter = JSONCounter(values, depth)
    try:
        for start in range(0, len(text), size):
            json_counter.feed(text[start : start + size])
    except Excess:
        return False
    return True


def count_values(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(len(inner), isinstance(value, dict | list)) + sum(map(count_values, inner))


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


VALUES = st.recursive(
    st.none() | st.text(alphabet='a\\"[]{},:é') | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='b\\",{'), inner),
)


@settings(max_examples=50)
@given(VALUES, st.integers(1, 9))
def test_the_counter_counts_values_and_depth_exactly(value: Any, size: int) -> None:
    text, values, depth = json.dumps(value, ensure_ascii=False).encode(), count_values(value), depth_of(value)
    assert is_within_limits(text, size, values, depth)
    assert values == 0 or not is_within_limits(text, size, values - 1, depth)
    assert depth == 0 or not is_within_limits(text, size, values, depth - 1)


def test_the_counter_limits_escapes_but_not_the_length_of_strings() -> None:
    assert is_within_limits(b'["' + b",[{" * 100_000 + b'"]', 1 << 20)
    assert is_within_limits(b'["' + b"\\/" * MAX_ESCAPES + b'"]', 1 << 20)
    assert not is_within_limits(b'["' + b"\\/" * (MAX_ESCAPES + 1) + b'"]', 1 << 20)


def test_the_counter_limits_consecutive_values_between_objects() -> None:
    row = b"1," * (MAX_RUN - 1)
    assert is_within_limits(b"[" + row + b"{}," + row + b"1]", 1 << 20, values=1 << 30)
    assert not is_within_limits(b"[" + row + row + b"1]", 1 << 20, values=1 << 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\ud83d\ude00"', False),
        (r'"\\ud83d"', False),
        (r'"\ud83d"', True),
        (r'"\ude00"', True),
        (r'"\\\ud83d\\ude00"', True),
        (r'"\uD83D\uD83D\uDE00"', True),
    ],
)
def test_lone_surrogates_are_detected(text: str, expected: bool) -> None:
    assert bounds.has_lone_surrogate(text.encode()) is expected


# Bodies of the API


class CallCounter:
    """Wraps a parser and counts the calls from other threads than the test's."""

    def __init__(self, parser: Any) -> None:
        self.parser, self.calls, self._own = parser, 0, threading.get_ident()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += threading.get_ident() != self._own
        return self.parser(*args, **kwargs)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> CallCounter:
    counter = CallCounter(parsing.from_json)
    monkeypatch.setattr(parsing, "from_json", counter)
    return counter


TOO_LARGE = {
    "keys": many_keys(30_000),
    "elements": b'{"name":"box","file_ids":[' + b"1," * 30_000 + b"1]}",
    "objects": b'{"name":"box","skills":[' + b"{}," * 15_000 + b"{}]}",
    "depth": b'{"name":' + b"[" * 300 + b" " * 30_000,
}


@pytest.mark.parametrize("body", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_body_with_too_many_values_is_rejected_before_it_is_parsed(
    world: World, parser: CallCounter, body: bytes
) -> None:
    for path in ("/containers", f"/containers/{ok(world.http.post('/containers', json={'name': 'box'}))['id']}/files"):
        parser.calls = 0
        response = world.http.post(path, content=body, headers={"Content-Type": JSON})
        error_message(response, 400, "request_too_large")
        assert parser.calls == 0
    assert len(ok(world.http.get("/containers"))["data"]) == 1


def test_the_largest_body_that_the_schema_allows_is_accepted(world: World) -> None:
    reference = {"type": "skill_reference", "skill_id": "openai-spreadsheets"}
    secret = {"domain": "d", "name": "n", "value": "v"}
    policy = {"type": "allowlist", "allowed_domains": ["d"] * 1_000, "domain_secrets": [secret] * 1_000}
    body = {"name": "box", "network_policy": policy, "skills": [reference] * 200}
    ok(world.http.post("/containers", json=body))


def test_a_body_with_very_many_violations_is_rejected_as_too_large(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating an error object for each violation would take too long."""
    monkeypatch.setattr(parsing, "MAX_VIOLATIONS", 10)
    response = world.http.post("/containers", content=many_keys(11), headers={"Content-Type": JSON})
    assert error_message(response, 400, "unknown_parameter") == "Unknown parameter: 'key0'."
    response = world.http.post("/containers", json={"name": "box", "file_ids": [1] * 11})
    assert "11 of its values" in error_message(response, 400, "request_too_large")


def test_only_bodies_with_skills_or_secrets_may_exceed_a_megabyte(world: World, parser: CallCounter) -> None:
    long = "x" * (1 << 20)
    response = world.http.post("/containers", json={"name": long})
    assert "1048576 bytes" in error_message(response, 413, "request_too_large")
    assert parser.calls == 0
    source = {"type": "base64", "media_type": "application/zip", "data": long}
    skill = {"type": "inline", "name": "s", "description": "d", "source": source}
    response = world.http.post("/containers", json={"name": "box", "skills": [skill]})
    assert "can't be read" in error_message(response, 400, "invalid_value"), "the body was parsed"


def test_deeply_nested_json_in_strings_does_not_break_the_journal(world: World) -> None:
    text = '"key"'
    for _ in range(10):
        text = "[" * 190 + f'"key",{json.dumps(text)}' + "]" * 190
    assert len(text) < 16_384
    response = world.http.post("/containers", content=f'{{"name": {text}}}', headers={"Content-Type": JSON})
    error_message(response, 400, "invalid_type")


@pytest.mark.parametrize("path", ["/containers", "/files"])
def test_too_many_query_parameters_return_400_and_are_cut_in_the_journal(
    world: World, control: httpx2.Client, path: str
) -> None:
    longest_query = "&".join(["x=1"] * MAX_PARAMETERS)
    ok(world.http.get(f"{path}?{longest_query}"))
    error_message(world.http.get(f"{path}?{longest_query}&key=1&key=2"), 400, "request_too_large")
    entries = ok(control.get(f"/worlds/{world.name}/journal"))["data"]
    assert [each["query"] for each in entries] == [longest_query, f"{longest_query}&…"]


# Bodies of the control plane


def test_a_control_body_with_too_many_values_is_rejected_before_it_is_parsed(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/worlds/{world.name}"
    ok(control.post(path))
    counter = CallCounter(json.loads)
    monkeypatch.setattr(json, "loads", counter)
    for action in ("/clock/freeze", "/faults", "/clock/scale"):
        error_message(control.post(path + action, content=many_keys(30_000)), 400, "request_too_large")
        error_message(
            control.post(path + action, content=b'{"at":"' + b"x" * (1 << 20) + b'"}'), 413, "request_too_large"
        )
        error_message(
            control.post(path + action, content=b'{"at":' + b"[" * 200 + b"]" * 200 + b"}"), 400, "request_too_large"
        )
    error_message(
        control.post(f"{path}/place", content=b'{"containers":[' + b"1," * 300_000 + b"1]}"), 400, "invalid_seed"
    )
    error_message(control.post(f"{path}/containers", content=b"[" * 200), 400, "invalid_seed")
    assert counter.calls == 0
    longest_query = "&".join(["x=1"] * MAX_PARAMETERS)
    assert "unknown key" in error_message(control.get(f"{path}?{longest_query}"), 400, "invalid_parameter")
    error_message(control.get(f"{path}?{longest_query}&x=1"), 400, "request_too_large")


def test_control_bodies_in_utf_16_and_utf_32_are_rejected(world: World, control: httpx2.Client) -> None:
    """The standard parser would detect these encodings, but the counter can't read them."""
    for encoding in ("utf-16", "utf-16-le", "utf-32-be"):
        response = control.post(f"/worlds/{world.name}/clock/freeze", content='{"at": 1}'.encode(encoding))
        assert "body: not JSON" in error_message(response, 400, "invalid_parameter")


def test_only_the_first_of_many_unknown_keys_is_reported(world: World, control: httpx2.Client) -> None:
    body = json.dumps({"at": 5, **{f"key{n}": 1 for n in range(1_000)}}).encode()
    response = control.post(f"/worlds/{world.name}/clock/freeze", content=body)
    assert error_message(response, 400, "invalid_parameter") == "key0: unknown key 'key0'; choose one of: at"
    response = control.post(
        f"/worlds/{world.name}/faults", json={"effect": {"headers": {f"x{n}": 1 for n in range(99)}}}
    )
    assert error_message(response, 400, "invalid_parameter") == "effect.headers: at most 50 headers are allowed"


# Seed documents


def place(world: World, control: httpx2.Client, document: Any) -> httpx2.Response:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return control.post(f"/worlds/{world.name}/place", content=content)


LONG_DOCUMENTS = {
    "container name": {"containers": [{"name": "x" * 1_025}]},
    "numbered container name": {"containers": [{"name": "{n}" * 300, "repeat": 5_000}]},
    "file name": {"files": [{"filename": "x" * 5_001, "content": ""}]},
    "path": {"containers": [{"name": "box", "files": [{"path": "x" * 5_001, "content": ""}]}]},
    "reference": {"files": [{"filename": "f", "ref": "x" * 1_025, "content": ""}]},
    "domain": {"containers": [{"name": "b", "network_policy": {"type": "allowlist", "allowed_domains": ["x" * 254]}}]},
    "repeated names": {"containers": [{"name": "{n}" + "x" * 1_000, "repeat": 100_000}]},
    "repeated references": {"files": [{"filename": "f", "ref": "{n}" + "x" * 1_000, "content": "", "repeat": 99_999}]},
    "repeated paths": {
        "containers": [{"name": "b", "repeat": 99_999, "files": [{"path": "x" * 1_000, "content": ""}]}]
    },
    "repeated domains": {
        "containers": [
            {
                "name": "b",
                "repeat": 99_999,
                "network_policy": {"type": "allowlist", "allowed_domains": ["x" * 250] * 100},
            }
        ]
    },
    "repeated contents": {"files": [{"filename": "f", "content": "{n}" * 30_000, "repeat": 100_000}]},
}


@pytest.mark.parametrize("document", LONG_DOCUMENTS.values(), ids=LONG_DOCUMENTS)
def test_seed_documents_with_too_long_names_or_contents_are_rejected(
    world: World, control: httpx2.Client, document: Any
) -> None:
    error_message(place(world, control, document), 400, "invalid_seed")
    response = control.post(f"/worlds/{world.name}/import", content=json.dumps(document).encode())
    error_message(response, 400, "invalid_seed")


def test_names_of_the_maximum_length_of_the_api_can_be_placed(world: World, control: httpx2.Client) -> None:
    ok(
        place(
            world,
            control,
            {"containers": [{"name": "x" * 1_024}], "files": [{"filename": "箱" * 1_024, "content": ""}]},
        )
    )


LARGE_YAML = {
    "too many values": b"x: [" + b"a," * 60_000 + b"]",
    "too many bytes": b"x: '" + b"a" * (1 << 20) + b"'",
    "aliases of aliases": b"a: &a [" + b"x," * 99 + b"x]\nb: &b [" + b"*a," * 99 + b"*a]\nc: [" + b"*b," * 99 + b"*b]",
    "aliases of a long text": b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 999 + b"*a]",
    "directives": b"%TAG !a! b\n" * 20 + b"---\na: 1",
    "directives with other line breaks": b"%TAG !a! b\r" * 20 + b"--- {version: 1}\r",
    "directives with Unicode line breaks": "%TAG !a! b\u0085%TAG !b! b\u2028".encode() * 20 + b"--- {version: 1}\n",
    "depth": b"x: " + b"[" * 10_000,
}


@pytest.mark.parametrize("document", LARGE_YAML.values(), ids=LARGE_YAML)
def test_too_large_yaml_is_rejected(world: World, control: httpx2.Client, document: bytes) -> None:
    message = error_message(place(world, control, document), 400, "invalid_seed")
    reasons = ("more than", "too deeply", "nesting depth", "up to")  # "nesting depth" is PyYAML's, from 6.0.4 on
    assert any(reason in message for reason in reasons)
    error_message(control.post(f"/worlds/{world.name}/import", content=document), 400, "invalid_seed")


def test_large_invalid_json_is_not_parsed_as_yaml(world: World, control: httpx2.Client) -> None:
    """The YAML parser, which would find the position of the error, is too slow for it."""
    document = b'{"files": [{"filename": "f", "content": "' + b"x" * (1 << 20) + b'"}], }'
    assert "not JSON" in error_message(place(world, control, document), 400, "invalid_seed")


def test_validation_of_a_document_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    original = loader._explained
    monkeypatch.setattr(
        loader, "_explained", lambda source, error: (counts.append(error.error_count()), original(source, error))[1]
    )
    for document in (
        {"containers": [{}] * 500},
        {"files": [1] * 500},
        {"containers": [{"name": "b", "files": [1] * 500}]},
    ):
        source = Source(Path("body"), json.dumps(document).encode(), SENT)
        with pytest.raises(SeedError):
            loader.read_document(source, contents.Nowhere(), 1 << 20, 1 << 20)
    assert len(counts) == 3
    assert max(counts) < 5


def test_documents_are_loaded_outside_the_event_loop(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another world is served while a document is loaded."""

    read: list[str] = []

    class Slow(Source):
        def __init__(self, *args: Any) -> None:
            read.append("read")
            other = f"{world.server.url}/w/{world.name}-other/v1/containers"
            ok(httpx2.get(other, headers={"Authorization": "Bearer k"}))
            super().__init__(*args)

    monkeypatch.setattr("mockserver.control.bodies.Source", Slow)
    ok(place(world, control, {"containers": [{"name": "box"}]}))
    ok(control.post(f"/worlds/{world.name}/containers", json={"name": "box"}))
    assert len(read) == 2


def test_garbage_collection_is_disabled_during_an_import(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection would traverse all objects of a large document while all worlds wait."""
    gc_enabled: list[bool] = []
    check = loader.check
    monkeypatch.setattr(loader, "check", lambda *args, **kw: (gc_enabled.append(gc.isenabled()), check(*args, **kw)))
    assert gc.isenabled()
    for document in ({"containers": [{"name": "b"}]}, {"files": [{"filename": "f", "from": "nowhere"}]}):
        control.post(f"/worlds/{world.name}/import", content=json.dumps(document).encode())
        assert gc.isenabled()
    assert gc_enabled == [False, False]


def test_seed_files_with_too_many_objects_are_rejected(tmp_path: Any) -> None:
    path = tmp_path / "seed.json"
    for repeat in (30, 3):
        containers = [{"name": "{n}" + "x" * 1_000, "repeat": 100_000}] * repeat
        path.write_text(json.dumps({"version": 1, "containers": containers}))
        if repeat == 30:
            with pytest.raises(SeedError, match="objects are more than"):
                loader.read_seeds([path], 1 << 20)
        else:
            assert loader.read_seeds([path], 1 << 20).everyone.counts()["container"] == 300_000


# Instants and durations


OUT_OF_RANGE = [
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "1e19",
    "9" * 400,
    "-" + "9" * 400,
    str(int(MAX_SECONDS) + 1),
    '"9999-12-31T23:59:59-01:00"',
]


@pytest.mark.parametrize("value", OUT_OF_RANGE, ids=lambda value: value[:12])
def test_instants_and_durations_out_of_range_are_rejected(world: World, control: httpx2.Client, value: str) -> None:
    world.freeze()
    clock = f"/worlds/{world.name}/clock"
    for action, key in (("freeze", "at"), ("advance", "by"), ("offset", "by"), ("scale", "rate")):
        error_message(
            control.post(f"{clock}/{action}", content=f'{{"{key}": {value}}}'.encode()), 400, "invalid_parameter"
        )
    for document in (
        f'{{"clock": {{"at": {value}}}}}',
        f'{{"clock": {{"offset": {value}}}}}',
        f'{{"containers": [{{"name": "b", "created_at": {value}}}]}}',
        f'{{"containers": [{{"name": "b", "last_active_at": {value}}}]}}',
        f'{{"files": [{{"filename": "f", "content": "", "expires_at": {value}}}]}}',
        f'{{"faults": [{{"effect": {{"status": 500}}, "created_at": {value}}}]}}',
        f'{{"faults": [{{"effect": {{"status": 500}}, "lapse_after": {value}}}]}}',
        f'{{"profile": {{"delete_lag": {value}}}}}',
    ):
        error_message(place(world, control, document.encode()), 400, "invalid_seed")
    fault = f'{{"effect": {{"status": 500, "retry_after": {value}}}}}'
    error_message(control.post(f"/worlds/{world.name}/faults", content=fault.encode()), 400, "invalid_parameter")
    error_message(control.post("/all-worlds/retire", content=f'{{"idle": {value}}}'.encode()), 400, "invalid_parameter")
    assert ok(control.get(clock))["now"] == NOON
    ok(world.http.post("/containers", json={"name": "box"}))


def test_a_clock_cannot_be_advanced_out_of_range(world: World, control: httpx2.Client) -> None:
    clock = f"/worlds/{world.name}/clock"
    for sign in (1, -1):
        ok(control.post(f"{clock}/freeze", json={"at": sign * MAX_SECONDS}))
        if sign == 1:
            response = control.post(f"{clock}/advance", json={"by": 1})
            assert "from 1970" in error_message(response, 400, "invalid_parameter")
        response = control.post(f"{clock}/offset", json={"by": sign * MAX_SECONDS})
        assert (response.status_code == 400) == (sign == 1)
        ok(world.http.post("/containers", json={"name": "box"}))
        ok(world.http.get("/containers"))
    ok(control.post(f"{clock}/reset"))


def test_a_world_at_the_latest_instant_can_be_exported_and_imported(world: World, control: httpx2.Client) -> None:
    ok(control.post(f"/worlds/{world.name}/clock/freeze", json={"at": MAX_SECONDS}))
    fields = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = ok(world.http.post("/files", data=fields, files={"file": ("a.txt", b"a")}))
    upload = {"bytes": 1, "filename": "a.txt", "mime_type": "text/plain", "purpose": "vision"}
    assert file["expires_at"] == ok(world.http.post("/uploads", json=upload))["expires_at"] == MAX_SECONDS
    archive = control.get(f"/worlds/{world.name}/export").content
    imported = ok(control.post(f"/worlds/{world.name}-2/import", content=archive))
    assert (imported["counts"]["files"], imported["counts"]["uploads"]) == (1, 1)


# Malformed headers and text for every route of the control plane


class Route(NamedTuple):
    method: str
    path: str
    queries: list[str]
    keys: list[str]


@pytest.fixture(scope="module")
def server_with_token() -> Iterator[MockServer]:
    """A separate server, as some routes affect all worlds."""
    with MockServer(control_token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def routes(server_with_token: MockServer) -> list[Route]:
    document = ok(
        httpx2.get(f"{server_with_token.url}/_mock/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
    )
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            queries = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get(JSON, {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            keys = list(document["components"]["schemas"].get(name, {}).get("properties", {})) or ["containers", "name"]
            found.append(Route(method.upper(), path, queries, keys if content else []))
    assert len(found) > 40
    return found


class RawConnection:
    """A connection for requests that client libraries reject. It is opened again after it was closed."""

    def __init__(self, server: MockServer) -> None:
        self._port = server.port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def error_of(self, method: str, target: str, headers: dict[str, bytes], body: bytes = b"") -> str:
        """Send a request. Return a description of the response if it is neither a success nor a valid error."""
        sent = {"Host": b"localhost", "Authorization": f"Bearer {TOKEN}".encode(), "Content-Length": b"%d" % len(body)}
        lines = [f"{method} {target} HTTP/1.1".encode()]
        lines += [name.encode() + b": " + value for name, value in {**sent, **headers}.items()]
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"\r\n".join([*lines, b"", body]))
        with http.client.HTTPResponse(self._socket, method=method) as response:
            response.begin()
            is_stream = response.getheader("content-type", "").startswith("text/event-stream")
            text = b"" if is_stream else response.read()
            if (
                is_stream
                or response.will_close
                or response.status >= 400
                or response.getheader("connection") == "close"
            ):
                self.close()
        if response.status < 400 or (response.status < 500 and set(json.loads(text)["error"]) == ENVELOPE):
            return ""
        return f"{method} {target[:80]} {headers} {body[:80]!r}: {response.status} {text[:200]!r}"


@pytest.fixture
def connection(server_with_token: MockServer) -> Iterator[RawConnection]:
    with closing(RawConnection(server_with_token)) as connection:
        yield connection


def target_of(route: Route, value: str = "x") -> str:
    parts = ["w" if part == "{world}" else value if part.startswith("{") else part for part in route.path.split("/")]
    return "/".join(parts) + ("?timeout=0" if "timeout" in route.queries else "")


MALFORMED_HEADERS: list[tuple[str, bytes]] = [
    (name, value)
    for name, values in {
        "Origin": [b"http://[", b"http://[::1", b"http://]", b"null", b"\xff", b"http://localhost:\xb2", b"//", b""],
        "Host": [b"[", b"localhost:[", b"\xff", b"", b"localhost:" + b"9" * 400, b"a b", b"localhost:\xb2", b"[::1"],
        "Sec-Fetch-Site": [b"\xff", b"cross-site", b""],
        "Content-Type": [
            b"multipart/form-data",
            b"multipart/form-data; boundary=",
            b"multipart/form-data; boundary=\xff",
            b"multipart/form-data; boundary=x; charset=none",
            b"application/json; charset=none",
            b"\xff",
            b";=;",
            b"",
        ],
        "Content-Length": [b"-1", b"x", b"1e3", b"9" * 30, b"\xb2", b""],
        "Last-Event-ID": [b"x", b"-1", b"9" * 400, b"\xff", b""],
        "If-None-Match": [b"\xff", b"x" * 9_000, b'"', b"*"],
        "Authorization": [b"\xff", b"Bearer \xff", b"Bearer", b"Basic \xff\xff", b""],
        "Cookie": [b'mockserver_80="\\777', b"=;;=", b"\xff=\xff", b"mockserver_80=" + b"x" * 9_000],
        "x-mock-dashboard": [b"\xff"],
    }.items()
    for value in values
]


each_step = pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow, id="all")])
"""Tests every seventh pair of a route and a value, which has each route and each value; slow tests use all pairs."""


@each_step
def test_malformed_headers_cause_no_internal_error(connection: RawConnection, routes: list[Route], step: int) -> None:
    assert len(MALFORMED_HEADERS) % 7, "otherwise each route would always get the same values"
    errors = [
        error
        for route, (name, value) in islice(product(routes, MALFORMED_HEADERS), 0, None, step)
        if (error := connection.error_of(route.method, target_of(route), {name: value}, b"{}" if route.keys else b""))
    ]
    assert not errors, "\n".join(errors)


MALFORMED_TEXTS = {
    "lone surrogate": rb'"\ud800"',
    "lone surrogate as bytes": b'"\xed\xa0\x80"',
    "escaped null": rb'"\u0000"',
    "very long": b'"' + b"x" * 100_000 + b'"',
    "infinite number": b"1e400",
    "many digits": b"9" * 400,
    "more than 64 bits": b"-9223372036854775809",
    "NaN": b"NaN",
    "list": b"[[[[1]]]]",
    "object": rb'{"path": "/\ud800"}',
    "depth": b"[" * 90 + b"]" * 90,
    "unclosed pattern": b'"*[!"',
}


FAULT_BODIES = [
    b'{"effect": {"status": 500}, "match": {"path": %b}}',
    b'{"effect": {"status": 500}, "match": {"operation": %b}}',
    b'{"effect": {"status": 500}, "match": {"container": %b}}',
    b'{"effect": {"status": 500}, "match": {"header": {"a": %b}}}',
    b'{"effect": {"status": 500, "headers": {"a": %b}}}',
    b'{"effect": {"body": %b}}',
]


def test_malformed_text_in_json_causes_no_internal_error(connection: RawConnection, routes: list[Route]) -> None:
    errors = []
    for route in routes:
        forms = [f'{{"{key}": '.encode() + b"%b}" for key in route.keys]
        for form in forms + (FAULT_BODIES if route.path.endswith("/faults") and route.keys else []):
            for text in MALFORMED_TEXTS.values():
                headers = {"Content-Type": JSON.encode()}
                errors.append(connection.error_of(route.method, target_of(route), headers, form % text))
    assert not any(errors), "\n".join(filter(None, errors))


def _target_with_query(route: Route, query: str, value: str) -> str:
    target = target_of(route)
    return (
        f"{target.partition('?')[0]}?timeout={value}"
        if query == "timeout"
        else (f"{target}{'&' if '?' in target else '?'}{query}={value}")
    )


MALFORMED_PARTS = ["%ED%A0%80", "%00", "x" * 5_000, "%FF", "..", "%2e%2e%2f", "9" * 400, "-1", "1e400", "NaN", "%", "'"]


@each_step
def test_malformed_text_in_paths_and_queries_causes_no_internal_error(
    connection: RawConnection, routes: list[Route], step: int
) -> None:
    requests = []
    for route in routes:
        path = target_of(route).replace("/w/", "/{world}/").replace("/w?", "/{world}?")
        requests += [(route.method, path.replace("{world}", part)) for part in MALFORMED_PARTS]
        requests += [(route.method, target_of(route, part)) for part in MALFORMED_PARTS]
        requests += [
            (route.method, _target_with_query(route, query, part))
            for query in route.queries
            for part in MALFORMED_PARTS
        ]
    errors = [error for method, target in requests[::step] if (error := connection.error_of(method, target, {}))]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("body", [rb'{"token": "\ud800"}', b'{"token": "\xed\xa0\x80"}'])
def test_a_token_with_a_lone_surrogate_returns_400(server_with_token: MockServer, body: bytes) -> None:
    response = httpx2.post(f"{server_with_token.url}/_mock/session", content=body, headers={"Content-Type": JSON})
    assert "body: not JSON" in error_message(response, 400, "invalid_parameter")
    assert httpx2.post(f"{server_with_token.url}/_mock/session", json={"token": "😀"}).status_code == 401


def test_a_malformed_origin_is_forbidden(control: httpx2.Client) -> None:
    error_message(control.get("/worlds", headers={"Origin": "http://["}), 403, "forbidden_origin")
