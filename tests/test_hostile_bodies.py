"""Bodies, values and headers that are made to stall a server or to break it."""

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


# The count itself


def counted(text: bytes, size: int, values: int = MAX_VALUES, depth: int = MAX_DEPTH) -> bool:
    """Whether a text that comes in pieces of that size is within the limits."""
    counter = JSONCounter(values, depth)
    try:
        for start in range(0, len(text), size):
            counter.feed(text[start : start + size])
    except Excess:
        return False
    return True


def members(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(len(inner), isinstance(value, dict | list)) + sum(map(members, inner))


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


VALUES = st.recursive(
    st.none() | st.text(alphabet='a\\"[]{},:é') | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='b\\",{'), inner),
)


@settings(max_examples=50)
@given(VALUES, st.integers(1, 9))
def test_values_and_levels_are_counted_exactly_whatever_is_in_strings(value: Any, size: int) -> None:
    text, many, deep = json.dumps(value, ensure_ascii=False).encode(), members(value), levels(value)
    assert counted(text, size, many, deep)
    assert many == 0 or not counted(text, size, many - 1, deep)
    assert deep == 0 or not counted(text, size, many, deep - 1)


def test_long_strings_cost_nothing_and_escapes_are_bounded() -> None:
    assert counted(b'["' + b",[{" * 100_000 + b'"]', 1 << 20)
    assert counted(b'["' + b"\\/" * MAX_ESCAPES + b'"]', 1 << 20)
    assert not counted(b'["' + b"\\/" * (MAX_ESCAPES + 1) + b'"]', 1 << 20)


def test_values_in_a_row_are_bounded_where_an_object_ends_they_start_anew() -> None:
    row = b"1," * (MAX_RUN - 1)
    assert counted(b"[" + row + b"{}," + row + b"1]", 1 << 20, values=1 << 30)
    assert not counted(b"[" + row + row + b"1]", 1 << 20, values=1 << 30)


@pytest.mark.parametrize(
    ("text", "is_half"),
    [
        (r'"\ud83d\ude00"', False),
        (r'"\\ud83d"', False),
        (r'"\ud83d"', True),
        (r'"\ude00"', True),
        (r'"\\\ud83d\\ude00"', True),
        (r'"\uD83D\uD83D\uDE00"', True),
    ],
)
def test_half_a_surrogate_pair_is_found(text: str, is_half: bool) -> None:
    assert bounds.has_lone_surrogate(text.encode()) is is_half


# Bodies of the API


class Spy:
    """Stands for a parser, and remembers how often it was called by others than the test."""

    def __init__(self, parser: Any) -> None:
        self.parser, self.calls, self._own = parser, 0, threading.get_ident()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += threading.get_ident() != self._own
        return self.parser(*args, **kwargs)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy(parsing.from_json)
    monkeypatch.setattr(parsing, "from_json", spy)
    return spy


TOO_MUCH = {
    "keys": many_keys(30_000),
    "elements": b'{"name":"box","file_ids":[' + b"1," * 30_000 + b"1]}",
    "objects": b'{"name":"box","skills":[' + b"{}," * 15_000 + b"{}]}",
    "levels": b'{"name":' + b"[" * 300 + b" " * 30_000,
}


@pytest.mark.parametrize("body", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_body_that_holds_too_much_is_refused_before_it_is_parsed(world: World, parser: Spy, body: bytes) -> None:
    for path in ("/containers", f"/containers/{ok(world.http.post('/containers', json={'name': 'box'}))['id']}/files"):
        parser.calls = 0
        answer = world.http.post(path, content=body, headers={"Content-Type": JSON})
        error_message(answer, 400, "request_too_large")
        assert parser.calls == 0
    assert len(ok(world.http.get("/containers"))["data"]) == 1


def test_as_much_as_the_schema_allows_is_taken(world: World) -> None:
    reference = {"type": "skill_reference", "skill_id": "openai-spreadsheets"}
    secret = {"domain": "d", "name": "n", "value": "v"}
    policy = {"type": "allowlist", "allowed_domains": ["d"] * 1_000, "domain_secrets": [secret] * 1_000}
    body = {"name": "box", "network_policy": policy, "skills": [reference] * 200}
    ok(world.http.post("/containers", json=body))


def test_very_many_mistakes_are_not_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would be made into an object."""
    monkeypatch.setattr(parsing, "MAX_VIOLATIONS", 10)
    answer = world.http.post("/containers", content=many_keys(11), headers={"Content-Type": JSON})
    assert error_message(answer, 400, "unknown_parameter") == "Unknown parameter: 'key0'."
    answer = world.http.post("/containers", json={"name": "box", "file_ids": [1] * 11})
    assert "11 of its values" in error_message(answer, 400, "request_too_large")


def test_a_megabyte_is_enough_without_a_skill_or_a_secret(world: World, parser: Spy) -> None:
    long = "x" * (1 << 20)
    answer = world.http.post("/containers", json={"name": long})
    assert "1048576 bytes" in error_message(answer, 413, "request_too_large")
    assert parser.calls == 0
    source = {"type": "base64", "media_type": "application/zip", "data": long}
    skill = {"type": "inline", "name": "s", "description": "d", "source": source}
    answer = world.http.post("/containers", json={"name": "box", "skills": [skill]})
    assert "can't be read" in error_message(answer, 400, "invalid_value"), "it was parsed"


def test_json_inside_of_json_inside_of_json_does_not_break_the_journal(world: World) -> None:
    text = '"key"'
    for _ in range(10):
        text = "[" * 190 + f'"key",{json.dumps(text)}' + "]" * 190
    assert len(text) < 16_384
    answer = world.http.post("/containers", content=f'{{"name": {text}}}', headers={"Content-Type": JSON})
    error_message(answer, 400, "invalid_type")


@pytest.mark.parametrize("path", ["/containers", "/files"])
def test_query_parameters_are_bounded_in_the_journal_too(world: World, control: httpx2.Client, path: str) -> None:
    most = "&".join(["x=1"] * MAX_PARAMETERS)
    ok(world.http.get(f"{path}?{most}"))
    error_message(world.http.get(f"{path}?{most}&key=1&key=2"), 400, "request_too_large")
    kept = ok(control.get(f"/worlds/{world.name}/journal"))["data"]
    assert [each["query"] for each in kept] == [most, f"{most}&…"]


# Bodies of the control plane


def test_a_control_body_is_counted_before_it_is_parsed(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/worlds/{world.name}"
    ok(control.post(path))
    spy = Spy(json.loads)
    monkeypatch.setattr(json, "loads", spy)
    for to in ("/clock/freeze", "/faults", "/clock/scale"):
        error_message(control.post(path + to, content=many_keys(30_000)), 400, "request_too_large")
        error_message(control.post(path + to, content=b'{"at":"' + b"x" * (1 << 20) + b'"}'), 413, "request_too_large")
        error_message(
            control.post(path + to, content=b'{"at":' + b"[" * 200 + b"]" * 200 + b"}"), 400, "request_too_large"
        )
    error_message(
        control.post(f"{path}/place", content=b'{"containers":[' + b"1," * 300_000 + b"1]}"), 400, "invalid_seed"
    )
    error_message(control.post(f"{path}/containers", content=b"[" * 200), 400, "invalid_seed")
    assert spy.calls == 0
    most = "&".join(["x=1"] * MAX_PARAMETERS)
    assert "unknown key" in error_message(control.get(f"{path}?{most}"), 400, "invalid_parameter")
    error_message(control.get(f"{path}?{most}&x=1"), 400, "request_too_large")


def test_a_control_body_in_utf_16_is_no_way_around_the_count(world: World, control: httpx2.Client) -> None:
    """The standard parser guesses the encoding by the zeros."""
    for encoding in ("utf-16", "utf-16-le", "utf-32-be"):
        answer = control.post(f"/worlds/{world.name}/clock/freeze", content='{"at": 1}'.encode(encoding))
        assert "body: not JSON" in error_message(answer, 400, "invalid_parameter")


def test_the_first_of_many_unknown_keys_is_reported(world: World, control: httpx2.Client) -> None:
    body = json.dumps({"at": 5, **{f"key{n}": 1 for n in range(1_000)}}).encode()
    answer = control.post(f"/worlds/{world.name}/clock/freeze", content=body)
    assert error_message(answer, 400, "invalid_parameter") == "key0: unknown key 'key0'; choose one of: at"
    answer = control.post(f"/worlds/{world.name}/faults", json={"effect": {"headers": {f"x{n}": 1 for n in range(99)}}})
    assert error_message(answer, 400, "invalid_parameter") == "effect.headers: at most 50 headers are allowed"


# Seed documents


def placed(world: World, control: httpx2.Client, document: Any) -> httpx2.Response:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return control.post(f"/worlds/{world.name}/place", content=content)


LONG = {
    "a container's name": {"containers": [{"name": "x" * 1_025}]},
    "a name and its number": {"containers": [{"name": "{n}" * 300, "repeat": 5_000}]},
    "a file name": {"files": [{"filename": "x" * 5_001, "content": ""}]},
    "a path": {"containers": [{"name": "box", "files": [{"path": "x" * 5_001, "content": ""}]}]},
    "a reference": {"files": [{"filename": "f", "ref": "x" * 1_025, "content": ""}]},
    "a domain": {
        "containers": [{"name": "b", "network_policy": {"type": "allowlist", "allowed_domains": ["x" * 254]}}]
    },
    "names, repeated": {"containers": [{"name": "{n}" + "x" * 1_000, "repeat": 100_000}]},
    "references, repeated": {"files": [{"filename": "f", "ref": "{n}" + "x" * 1_000, "content": "", "repeat": 99_999}]},
    "paths, repeated": {
        "containers": [{"name": "b", "repeat": 99_999, "files": [{"path": "x" * 1_000, "content": ""}]}]
    },
    "domains, repeated": {
        "containers": [
            {
                "name": "b",
                "repeat": 99_999,
                "network_policy": {"type": "allowlist", "allowed_domains": ["x" * 250] * 100},
            }
        ]
    },
    "contents, repeated": {"files": [{"filename": "f", "content": "{n}" * 30_000, "repeat": 100_000}]},
}


@pytest.mark.parametrize("document", LONG.values(), ids=LONG)
def test_what_names_an_object_is_bounded_however_often_it_is_repeated(
    world: World, control: httpx2.Client, document: Any
) -> None:
    error_message(placed(world, control, document), 400, "invalid_seed")
    answer = control.post(f"/worlds/{world.name}/import", content=json.dumps(document).encode())
    error_message(answer, 400, "invalid_seed")


def test_names_as_long_as_the_api_takes_them_can_be_placed(world: World, control: httpx2.Client) -> None:
    ok(
        placed(
            world,
            control,
            {"containers": [{"name": "x" * 1_024}], "files": [{"filename": "箱" * 1_024, "content": ""}]},
        )
    )


YAML = {
    "too many values": b"x: [" + b"a," * 60_000 + b"]",
    "too many bytes": b"x: '" + b"a" * (1 << 20) + b"'",
    "aliases of aliases": b"a: &a [" + b"x," * 99 + b"x]\nb: &b [" + b"*a," * 99 + b"*a]\nc: [" + b"*b," * 99 + b"*b]",
    "aliases of a long text": b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 999 + b"*a]",
    "directives": b"%TAG !a! b\n" * 20 + b"---\na: 1",
    "levels": b"x: " + b"[" * 10_000,
}


@pytest.mark.parametrize("document", YAML.values(), ids=YAML)
def test_yaml_is_bounded(world: World, control: httpx2.Client, document: bytes) -> None:
    message = error_message(placed(world, control, document), 400, "invalid_seed")
    says = ("more than", "too deeply", "nesting depth", "up to")  # the third one by PyYAML from 6.0.4 on
    assert any(word in message for word in says)
    error_message(control.post(f"/worlds/{world.name}/import", content=document), 400, "invalid_seed")


def test_large_json_is_no_yaml(world: World, control: httpx2.Client) -> None:
    """For a mistake in it, the slow reader is not asked where it is."""
    document = b'{"files": [{"filename": "f", "content": "' + b"x" * (1 << 20) + b'"}], }'
    assert "not JSON" in error_message(placed(world, control, document), 400, "invalid_seed")


def test_only_the_first_of_many_mistakes_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    explained = loader._explained
    monkeypatch.setattr(
        loader, "_explained", lambda source, error: (counts.append(error.error_count()), explained(source, error))[1]
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


def test_a_document_is_read_off_the_event_loop(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is being read, another world answers."""

    read: list[str] = []

    class Slow(Source):
        def __init__(self, *args: Any) -> None:
            read.append("once more")
            other = f"{world.server.url}/w/{world.name}-other/v1/containers"
            ok(httpx2.get(other, headers={"Authorization": "Bearer k"}))
            super().__init__(*args)

    monkeypatch.setattr("mockserver.control.bodies.Source", Slow)
    ok(placed(world, control, {"containers": [{"name": "box"}]}))
    ok(control.post(f"/worlds/{world.name}/containers", json={"name": "box"}))
    assert len(read) == 3, "the container is read once more, as part of a document"


def test_no_garbage_is_collected_while_a_document_is_imported(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection would go over all of a large document's objects, and all worlds would wait."""
    collected: list[bool] = []
    check = loader.check
    monkeypatch.setattr(loader, "check", lambda *args, **kw: (collected.append(gc.isenabled()), check(*args, **kw)))
    assert gc.isenabled()
    for document in ({"containers": [{"name": "b"}]}, {"files": [{"filename": "f", "from": "nowhere"}]}):
        control.post(f"/worlds/{world.name}/import", content=json.dumps(document).encode())
        assert gc.isenabled()
    assert collected == [False, False]


def test_a_seed_at_the_start_is_bounded_too(tmp_path: Any) -> None:
    path = tmp_path / "seed.json"
    for repeat in (30, 3):
        containers = [{"name": "{n}" + "x" * 1_000, "repeat": 100_000}] * repeat
        path.write_text(json.dumps({"version": 1, "containers": containers}))
        if repeat == 30:
            with pytest.raises(SeedError, match="objects are more than"):
                loader.read_seeds([path], 1 << 20)
        else:
            assert loader.read_seeds([path], 1 << 20).everyone.counts()["container"] == 300_000


# Instants


BEYOND = [
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


@pytest.mark.parametrize("value", BEYOND, ids=lambda value: value[:12])
def test_instants_and_durations_beyond_all_time_are_refused(world: World, control: httpx2.Client, value: str) -> None:
    world.freeze()
    clock = f"/worlds/{world.name}/clock"
    for to, key in (("freeze", "at"), ("advance", "by"), ("offset", "by"), ("scale", "rate")):
        error_message(control.post(f"{clock}/{to}", content=f'{{"{key}": {value}}}'.encode()), 400, "invalid_parameter")
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
        error_message(placed(world, control, document.encode()), 400, "invalid_seed")
    fault = f'{{"effect": {{"status": 500, "retry_after": {value}}}}}'
    error_message(control.post(f"/worlds/{world.name}/faults", content=fault.encode()), 400, "invalid_parameter")
    error_message(control.post("/all-worlds/retire", content=f'{{"idle": {value}}}'.encode()), 400, "invalid_parameter")
    assert ok(control.get(clock))["now"] == NOON
    ok(world.http.post("/containers", json={"name": "box"}))


def test_a_clock_does_not_leave_all_time_by_steps(world: World, control: httpx2.Client) -> None:
    clock = f"/worlds/{world.name}/clock"
    for sign in (1, -1):
        ok(control.post(f"{clock}/freeze", json={"at": sign * MAX_SECONDS}))
        if sign == 1:
            answer = control.post(f"{clock}/advance", json={"by": 1})
            assert "from 1970" in error_message(answer, 400, "invalid_parameter")
        answer = control.post(f"{clock}/offset", json={"by": sign * MAX_SECONDS})
        assert (answer.status_code == 400) == (sign == 1)
        ok(world.http.post("/containers", json={"name": "box"}))
        ok(world.http.get("/containers"))
    ok(control.post(f"{clock}/reset"))


def test_a_world_at_the_end_of_time_can_be_exported_and_imported(world: World, control: httpx2.Client) -> None:
    ok(control.post(f"/worlds/{world.name}/clock/freeze", json={"at": MAX_SECONDS}))
    lasting = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = ok(world.http.post("/files", data=lasting, files={"file": ("a.txt", b"a")}))
    upload = {"bytes": 1, "filename": "a.txt", "mime_type": "text/plain", "purpose": "vision"}
    assert file["expires_at"] == ok(world.http.post("/uploads", json=upload))["expires_at"] == MAX_SECONDS
    archive = control.get(f"/worlds/{world.name}/export").content
    imported = ok(control.post(f"/worlds/{world.name}-2/import", content=archive))
    assert (imported["counts"]["files"], imported["counts"]["uploads"]) == (1, 1)


# Headers and text, of every route of the control plane


class Route(NamedTuple):
    method: str
    path: str
    queries: list[str]
    keys: list[str]


@pytest.fixture(scope="module")
def guarded() -> Iterator[MockServer]:
    """A server of its own: some of its routes are for all worlds."""
    with MockServer(control_token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def routes(guarded: MockServer) -> list[Route]:
    answer = httpx2.get(f"{guarded.url}/_mock/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
    told = ok(answer)
    found = []
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            queries = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get(JSON, {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            keys = list(told["components"]["schemas"].get(name, {}).get("properties", {})) or ["containers", "name"]
            found.append(Route(method.upper(), path, queries, keys if content else []))
    assert len(found) > 40
    return found


class Line:
    """A connection that sends what a client library would refuse to, and is made again when it has been closed."""

    def __init__(self, server: MockServer) -> None:
        self._port = server.port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def complaint(self, method: str, target: str, headers: dict[str, bytes], body: bytes = b"") -> str:
        """What is wrong with the response, if anything is."""
        sent = {"Host": b"localhost", "Authorization": f"Bearer {TOKEN}".encode(), "Content-Length": b"%d" % len(body)}
        lines = [f"{method} {target} HTTP/1.1".encode()]
        lines += [name.encode() + b": " + value for name, value in {**sent, **headers}.items()]
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"\r\n".join([*lines, b"", body]))
        with http.client.HTTPResponse(self._socket, method=method) as response:
            response.begin()
            endless = response.getheader("content-type", "").startswith("text/event-stream")
            text = b"" if endless else response.read()
            if endless or response.will_close or response.status >= 400 or response.getheader("connection") == "close":
                self.close()
        if response.status < 400 or (response.status < 500 and set(json.loads(text)["error"]) == ENVELOPE):
            return ""
        return f"{method} {target[:80]} {headers} {body[:80]!r}: {response.status} {text[:200]!r}"


@pytest.fixture
def line(guarded: MockServer) -> Iterator[Line]:
    with closing(Line(guarded)) as line:
        yield line


def targets(route: Route, value: str = "x") -> str:
    parts = ["w" if part == "{world}" else value if part.startswith("{") else part for part in route.path.split("/")]
    return "/".join(parts) + ("?timeout=0" if "timeout" in route.queries else "")


HEADERS: list[tuple[str, bytes]] = [
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


share = pytest.mark.parametrize("share", [7, pytest.param(1, marks=pytest.mark.slow, id="all")])
"""Of all pairs of a route and a value every seventh, which is each route and each value with some; or all."""


@share
def test_every_route_takes_malformed_headers(line: Line, routes: list[Route], share: int) -> None:
    assert len(HEADERS) % 7, "else every seventh would always be with the same values"
    complaints = [
        told
        for route, (name, value) in islice(product(routes, HEADERS), 0, None, share)
        if (told := line.complaint(route.method, targets(route), {name: value}, b"{}" if route.keys else b""))
    ]
    assert not complaints, "\n".join(complaints)


TEXTS = {
    "half a surrogate pair": rb'"\ud800"',
    "half a pair as bytes": b'"\xed\xa0\x80"',
    "an escaped zero": rb'"\u0000"',
    "very long": b'"' + b"x" * 100_000 + b'"',
    "beyond all numbers": b"1e400",
    "many digits": b"9" * 400,
    "beyond 64 bits": b"-9223372036854775809",
    "no number": b"NaN",
    "a list": b"[[[[1]]]]",
    "an object": rb'{"path": "/\ud800"}',
    "levels": b"[" * 90 + b"]" * 90,
    "odd pattern": b'"*[!"',
}


FAULTS = [
    b'{"effect": {"status": 500}, "match": {"path": %b}}',
    b'{"effect": {"status": 500}, "match": {"operation": %b}}',
    b'{"effect": {"status": 500}, "match": {"container": %b}}',
    b'{"effect": {"status": 500}, "match": {"header": {"a": %b}}}',
    b'{"effect": {"status": 500, "headers": {"a": %b}}}',
    b'{"effect": {"body": %b}}',
]


def test_every_route_takes_malformed_text_in_json(line: Line, routes: list[Route]) -> None:
    complaints = []
    for route in routes:
        forms = [f'{{"{key}": '.encode() + b"%b}" for key in route.keys]
        for form in forms + (FAULTS if route.path.endswith("/faults") and route.keys else []):
            for text in TEXTS.values():
                headers = {"Content-Type": JSON.encode()}
                complaints.append(line.complaint(route.method, targets(route), headers, form % text))
    assert not any(complaints), "\n".join(filter(None, complaints))


def _asking(route: Route, query: str, value: str) -> str:
    target = targets(route)
    return (
        f"{target.partition('?')[0]}?timeout={value}"
        if query == "timeout"
        else (f"{target}{'&' if '?' in target else '?'}{query}={value}")
    )


PARTS = ["%ED%A0%80", "%00", "x" * 5_000, "%FF", "..", "%2e%2e%2f", "9" * 400, "-1", "1e400", "NaN", "%", "'"]


@share
def test_every_route_takes_malformed_text_in_path_and_query(line: Line, routes: list[Route], share: int) -> None:
    asked = []
    for route in routes:
        path = targets(route).replace("/w/", "/{world}/").replace("/w?", "/{world}?")
        asked += [(route.method, path.replace("{world}", part)) for part in PARTS]
        asked += [(route.method, targets(route, part)) for part in PARTS]
        asked += [(route.method, _asking(route, query, part)) for query in route.queries for part in PARTS]
    complaints = [told for method, target in asked[::share] if (told := line.complaint(method, target, {}))]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("body", [rb'{"token": "\ud800"}', b'{"token": "\xed\xa0\x80"}'])
def test_half_a_surrogate_pair_is_no_token(guarded: MockServer, body: bytes) -> None:
    answer = httpx2.post(f"{guarded.url}/_mock/session", content=body, headers={"Content-Type": JSON})
    assert "body: not JSON" in error_message(answer, 400, "invalid_parameter")
    assert httpx2.post(f"{guarded.url}/_mock/session", json={"token": "😀"}).status_code == 401


def test_an_origin_that_is_none_is_another_one(control: httpx2.Client) -> None:
    error_message(control.get("/worlds", headers={"Origin": "http://["}), 403, "forbidden_origin")
