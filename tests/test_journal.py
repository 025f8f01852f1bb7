"""The journal: its entries, redaction, filters, waiting, streams and bounds."""

import gc
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import httpx2
import pytest
from conftest import LONG_GRACE, NOON, World, error_message, new_world, ok
from hypothesis import given
from hypothesis import strategies as st
from journal_records import record
from rawhttp import Wire, form, request

from mockserver import containers
from mockserver.control import streams
from mockserver.control.routes.journal import AT_ONCE
from mockserver.entries import Entry
from mockserver.events import Events
from mockserver.journal import Journal
from mockserver.redaction import MAX_BODY
from mockserver.server.serving import MockServer

SECRET = "hunter2-of-the-tests"


class Reader:
    """Read the journal of a world through the control plane."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.url = f"{world.server.url}/_mock/worlds/{world.name}/journal"
        self.client = httpx2.Client()

    def get(self, path: str = "", **query: Any) -> Any:
        return ok(self.client.get(self.url + path, params=query))

    def all(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.get(**query)["data"])

    def last(self) -> dict[str, Any]:
        return dict(self.all()[-1])

    @contextmanager
    def stream(self, headers: dict[str, str] | None = None, **query: Any) -> Iterator[Iterator[dict[str, str]]]:
        """Open a stream and return an iterator of its events."""
        with self.client.stream("GET", f"{self.url}/stream", params=query, headers=headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            events = parse_events(response.iter_lines())
            assert "comment" in next(events)
            yield events


def parse_events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name or "comment"] = value
        else:
            yield event
            event = {}


@pytest.fixture
def journal(world: World) -> Iterator[Reader]:
    reader = Reader(world)
    with reader.client:
        yield reader


def create_container(world: World, name: str = "box") -> dict[str, Any]:
    return dict(ok(world.http.post("/containers", json={"name": name})))


# Entries


def test_an_entry_is_complete_when_the_response_arrives(world: World, journal: Reader) -> None:
    world.freeze()
    response = world.http.post("/containers?x=%41", json={"name": "é"})
    entry = journal.last()
    assert list(entry) == [
        "number",
        "request_id",
        "world",
        "at",
        "wall",
        "operation",
        "method",
        "path",
        "query",
        "status",
        "duration_ms",
        "request",
        "response",
        "fault",
        "answer",
        "error",
        "warnings",
        "container",
        "objects",
        "aborted",
    ]
    assert entry["number"] == 1
    assert entry["request_id"] == response.headers["x-request-id"]
    assert (entry["world"], entry["at"]) == (world.name, NOON)
    assert 0 <= world.server.mock.wall.now() - entry["wall"] < 3_600
    assert (entry["operation"], entry["method"]) == ("CreateContainer", "POST")
    assert (entry["path"], entry["query"]) == (f"/w/{world.name}/v1/containers", "x=%41")
    assert (entry["status"], entry["fault"], entry["aborted"]) == (200, None, False)
    assert 0 < entry["duration_ms"] < 3_600_000
    assert entry["request"]["body"] == {"name": "é"}
    assert entry["request"]["headers"]["content-type"] == "application/json"
    headers = {name: value for name, value in response.headers.items() if name != "date"}  # uvicorn adds it later
    assert entry["response"] == {"headers": headers, "body": response.json()}
    assert entry["objects"] == [{"change": "created", "id": response.json()["id"]}]
    assert journal.get("/1") == entry


def test_entries_list_the_objects_that_were_created_and_deleted(world: World, journal: Reader) -> None:
    file = ok(world.http.post("/files", files={"file": b"bytes"}, data={"purpose": "user_data"}))
    box = ok(world.http.post("/containers", json={"name": "box", "file_ids": [file["id"]]}))
    inside = world.http.get(f"/containers/{box['id']}/files").json()["data"][0]
    world.http.delete(f"/containers/{box['id']}/files/{inside['id']}")
    world.http.delete(f"/containers/{box['id']}")
    world.http.delete(f"/files/{file['id']}")
    changes = [[(each["change"], each["id"]) for each in entry["objects"]] for entry in journal.all()]
    assert changes == [
        [("created", file["id"])],
        [("created", inside["id"]), ("created", box["id"])],
        [],
        [("deleted", inside["id"])],
        [("deleted", box["id"])],
        [("deleted", file["id"])],
    ]


def test_a_rejected_request_touches_no_objects(world: World, journal: Reader) -> None:
    file = ok(world.http.post("/files", files={"file": b"bytes"}, data={"purpose": "user_data"}))
    response = world.http.post("/containers", json={"name": "box", "file_ids": [file["id"], "file-none"]})
    assert response.status_code == 400
    assert journal.last()["objects"] == []


def test_an_object_that_is_only_mentioned_is_not_recorded_as_created(
    world: World, server: MockServer, journal: Reader
) -> None:
    ok(world.http.put(f"{server.url}/_mock/worlds/{world.name}/profile", json={"name": "contract"}))
    response = world.http.post("/containers", json={"name": "box", "file_ids": ["file-a", "bad id/"]})
    assert response.status_code == 400
    assert journal.last()["objects"] == []


def test_numbers_are_counted_per_world_and_restart_on_reset_restore_and_delete(
    world: World, server: MockServer, journal: Reader
) -> None:
    other = World(server, f"{world.name}-other")
    for _ in range(2):
        create_container(world)
        create_container(other)
    assert [entry["number"] for entry in journal.all()] == [1, 2]
    other.close()
    assert journal.client.delete(journal.url).json() == {"count": 2}
    assert journal.all() == []
    create_container(world)
    assert [entry["number"] for entry in journal.all()] == [3]
    world_url = journal.url.removesuffix("/journal")
    ok(journal.client.put(f"{world_url}/snapshots/s"))
    for path in ("/reset", "/snapshots/s/restore"):
        ok(journal.client.post(world_url + path))
        assert journal.all() == []
        create_container(world)
        assert [entry["number"] for entry in journal.all()] == [1]
    ok(journal.client.delete(world_url))
    error_message(journal.client.get(journal.url), 404, "world_not_found")
    create_container(world)
    assert [entry["number"] for entry in journal.all()] == [1]


def test_requests_to_unknown_routes_are_recorded(world: World, journal: Reader) -> None:
    create_container(world)
    for method, path, status in (("GET", "/nope", 404), ("PUT", "/containers", 405), ("GET", "/containers/", 404)):
        assert world.http.request(method, path).status_code == status
        entry = journal.last()
        assert (entry["operation"], entry["status"], entry["objects"]) == (None, status, [])
        assert entry["path"].endswith(path)
        assert entry["response"]["body"]["error"]["message"]


def test_a_request_to_an_unknown_route_creates_no_world(world: World, journal: Reader) -> None:
    assert world.http.get("/nope").status_code == 404
    error_message(journal.client.get(journal.url), 404, "world_not_found")


def test_requests_without_a_key_and_preflights_are_not_recorded(world: World, journal: Reader) -> None:
    create_container(world)
    assert httpx2.get(f"{world.base_url}/containers").status_code == 401
    preflight = {"Origin": "http://x", "Access-Control-Request-Method": "GET"}
    assert httpx2.options(f"{world.base_url}/containers", headers=preflight).status_code == 200
    assert len(journal.all()) == 1


def test_rejected_head_and_range_requests_have_an_operation(world: World, journal: Reader) -> None:
    box = create_container(world)
    file = ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"bytes"}))
    content = f"/containers/{box['id']}/files/{file['id']}/content"
    world.http.head(content)
    assert (journal.last()["operation"], journal.last()["method"]) == ("RetrieveContainerFileContent", "HEAD")
    assert journal.last()["response"]["body_bytes"] == 0
    world.http.get(content, headers={"Range": "bytes=1-2"})
    assert (journal.last()["status"], journal.last()["response"]["body_bytes"]) == (206, 2)
    world.http.post("/containers", json={})
    assert (journal.last()["operation"], journal.last()["status"]) == ("CreateContainer", 400)
    world.http.get("/containers?limit=0")
    assert (journal.last()["operation"], journal.last()["query"]) == ("ListContainers", "limit=0")


def test_entries_name_the_fault_that_was_injected(world: World, journal: Reader) -> None:
    faults = f"{journal.url.removesuffix('/journal')}/faults"
    ok(journal.client.post(faults, json={"id": "busy", "times": 1, "effect": {"error": "rate_limited"}}))
    world.http.get("/containers")
    assert (journal.last()["fault"], journal.last()["status"]) == ("busy", 429)
    world.http.get("/containers", headers={"x-mock-fault": "server_error"})
    assert (journal.last()["fault"], journal.last()["status"]) == ("header", 500)
    world.http.get("/containers")
    assert journal.last()["fault"] is None


# Bodies


def test_an_uploaded_file_is_recorded_as_name_size_and_hash(world: World, journal: Reader) -> None:
    content = b"\x00\xff" * 300_000
    world.http.post("/files", files={"file": ("é.bin", content)}, data={"purpose": "user_data"})
    digest = hashlib.sha256(content).hexdigest()
    file = {"filename": "é.bin", "bytes": len(content), "sha256": digest}
    assert journal.last()["request"]["body"] == {"purpose": "user_data", "file": file}
    assert "body_bytes" not in journal.last()["request"]


def test_a_truncated_form_is_recorded_up_to_where_it_ends(world: World, journal: Reader) -> None:
    create_container(world)
    body = form(
        ('Content-Disposition: form-data; name="purpose"', b"user_data"),
        ('Content-Disposition: form-data; name="file"; filename="a.txt"', b"cut off"),
    )
    headers = {"Content-Type": "multipart/form-data; boundary=simple"}
    assert request(world, "POST", "/files", headers, body[:-4]).status == 400
    assert journal.last()["request"]["body"]["purpose"] == "user_data"
    assert journal.last()["request"]["body"]["file"] == {"filename": "a.txt", "bytes": 7, "sha256": None}


def test_a_form_with_many_fields_is_shortened(world: World, journal: Reader) -> None:
    fields = {f"field-{number}": "x" * 1_000 for number in range(90)}
    world.http.post("/files", files={"file": b"bytes"}, data=fields)
    shown = journal.last()["request"]["body"]
    assert len(shown) == 18
    assert shown["…"] == "74 fields more"
    assert len(shown["file"]) == 3


def test_large_bodies_are_recorded_as_size_and_hash(world: World, journal: Reader) -> None:
    for size in (MAX_BODY, MAX_BODY + 1, 2 << 20):
        body = b'{"name": "x", "skills": []%b}' % (b" " * (size - 27))
        world.http.post("/containers", content=body, headers={"Content-Type": "application/json"})
        sent = journal.last()["request"]
        assert journal.last()["status"] == 200
        if size == MAX_BODY:
            assert sent["body"] == {"name": "x", "skills": []}
        else:
            assert (sent["body_bytes"], sent["body_sha256"]) == (size, hashlib.sha256(body).hexdigest())
            assert "body" not in sent
    for _ in range(60):
        create_container(world)
    page = world.http.get("/containers?limit=100")
    assert journal.last()["response"]["body_bytes"] == len(page.content) > MAX_BODY
    assert "body" not in journal.last()["response"]


def test_request_bodies_that_are_not_json_are_recorded_as_text_or_size(world: World, journal: Reader) -> None:
    headers = {"Content-Type": "application/json"}
    world.http.post("/containers", content=b'{"name": ', headers=headers)
    assert journal.last()["request"]["body"] == '{"name": '
    world.http.post("/containers", content=b"\xff\xfe", headers=headers)
    assert journal.last()["request"]["body_bytes"] == 2
    world.http.post("/containers", content=b"", headers=headers)
    assert list(journal.last()["request"]) == ["headers"]
    world.http.post("/containers", content=b'{"name": 1' + b"0" * 4_000 + b"}", headers=headers)
    assert journal.last()["request"]["body"]["name"] == 10**4_000


DEEP = b"[" * 198 + b"1" + b"]" * 198
UNUSUAL_BODIES = {
    "with line breaks": (b'{"name":\r\n\t"a"}', {"name": "a"}),
    "with keys of an entry": (b'{"request":1,"request":2,"fault":3,"fault":4}', {"request": 2, "fault": 4}),
    "a duplicate key": (b'{"name": 1, "name": 2}', {"name": 2}),
    "deeply nested": (DEEP, json.loads(DEEP)),
    "NaN": (b'{"name": NaN}', '{"name": NaN}'),
    "a number too large for a float": (b'{"name": 1e400}', {"name": float("inf")}),
    "a number too large for a float beside a secret": (b'{"name": 1e400, "key": 1}', {"name": "Infinity", "key": "…"}),
}


@pytest.mark.parametrize("name", UNUSUAL_BODIES)
def test_an_entry_is_valid_single_line_json_for_any_request_body(name: str, world: World, journal: Reader) -> None:
    body, shown = UNUSUAL_BODIES[name]
    create_container(world)
    with journal.stream() as events:
        world.http.post("/containers", content=body, headers={"Content-Type": "application/json"})
        event = json.loads(next(events)["data"], parse_constant=pytest.fail)
    page = journal.client.get(journal.url)
    (_, entry) = json.loads(page.text, parse_constant=pytest.fail)["data"]
    assert entry == event
    assert entry["request"]["body"] == shown
    (brief,) = journal.get(last=1, brief=True)["data"]
    assert brief == {key: value for key, value in entry.items() if key not in ("request", "response")}
    assert len(journal.all(text="post /w/")) == 2
    ok(journal.client.get(f"{journal.url.removesuffix('/journal')}/verdict"))


@pytest.mark.parametrize("body", ["no\njson", {"text": "a\nb"}, ""])
def test_an_entry_is_valid_single_line_json_for_any_response_body_of_a_fault(
    body: Any, world: World, journal: Reader
) -> None:
    create_container(world)
    with journal.stream() as events:
        world.http.get("/containers", headers={"x-mock-fault": json.dumps({"status": 502, "body": body})})
        entry = json.loads(next(events)["data"])
    assert entry == journal.last()
    assert entry["response"].get("body", "") == body


# Secrets


def test_keys_in_headers_and_queries_are_redacted(journal: Reader, world: World) -> None:
    headers = {
        "Authorization": f"Bearer {SECRET}",
        "api-key": SECRET,
        "X-API-Key": SECRET,
        "Cookie": SECRET,
        "My-Token": SECRET,
        "Client-Secret": SECRET,
        "Proxy-Authorization": SECRET,
        "x-functions-key": SECRET,
        "x-key": SECRET,
        "x-pwd": SECRET,
        "x-session": SECRET,
        "x-" + "long" * 100: SECRET,
    }
    for query in (
        f"api-key={SECRET}&a=b",
        f"key={SECRET}",
        f"api%2Dkey={SECRET}",
        f"Token={SECRET}",
        f"a=b&access_token={SECRET}",
        f"sv=2024&Sig={SECRET}",
        f"code={SECRET}",
        f"X-Amz-Signature={SECRET}",
    ):
        assert httpx2.get(f"{world.base_url}/containers?{query}", headers=headers).status_code == 200
    assert SECRET not in journal.client.get(journal.url).text
    entry = journal.all()[0]
    assert entry["query"] == "api-key=…&a=b"
    assert journal.all()[-3]["query"] == "sv=2024&Sig=…"
    assert entry["request"]["headers"]["authorization"] == "…"
    assert journal.all(text=SECRET) == []


def test_secrets_that_a_response_repeats_are_redacted(world: World, journal: Reader) -> None:
    secret = "s3cr3t-value"
    policy = {"type": "allowlist", "domain_secrets": [{"domain": "a.test", "name": "N", "value": secret}]}
    server = {"type": "mcp", "server_label": "x", "authorization": secret, "headers": {"X-Key": secret}}
    body = {
        "model": "m",
        "input": "x",
        "tools": [server, {"type": "local_shell", "network_policy": policy}],
        "metadata": {"api_key": secret, "team": "blue"},
        "prompt": {"id": "p", "variables": {"password": {"type": "input_text", "text": secret}}},
    }
    headers = {"Referer": f"http://me:{secret}@localhost/?token={secret}&page=2"}
    shown = ok(world.http.post("/responses", json=body, headers=headers))
    assert shown["tools"][0] == {"type": "mcp", "server_label": "x"}
    assert shown["tools"][1]["network_policy"] == {"type": "allowlist"}
    assert shown["metadata"]["api_key"] == secret, "the client gets what it sent"
    entry = journal.last()
    assert secret not in json.dumps(entry)
    assert entry["request"]["headers"]["referer"] == "http://…@localhost/?token=…&page=2"
    assert entry["response"]["body"]["metadata"] == {"api_key": "…", "team": "blue"}
    assert entry["response"]["body"]["usage"] == shown["usage"]
    world.http.post("/responses", json=body | {"stream": True})
    assert secret not in json.dumps(journal.last())
    assert '"team":"blue"' in journal.last()["response"]["body"]


def test_a_response_too_deeply_nested_to_redact_is_recorded_as_size(world: World, journal: Reader) -> None:
    """An event nests parts of the request one level deeper than a body may be nested."""
    parameters: Any = {"token": "x"}
    for _ in range(196):
        parameters = {"a": parameters}
    tools = [{"type": "function", "name": "f", "parameters": parameters}]
    for stream in (True, False):
        body = {"model": "m", "input": "token", "stream": stream, "tools": tools}
        assert world.http.post("/responses", json=body).status_code == 200
    create_container(world)
    deep, _, last = journal.all()
    assert deep["response"].keys() >= {"body_bytes"}
    assert "body" not in deep["response"]
    assert last["number"] == 3


def container_with_secrets(value: Any) -> dict[str, Any]:
    policy = {"type": "allowlist", "allowed_domains": ["a.test"], "domain_secrets": value}
    return {"name": "box", "network_policy": policy}


SECRETS = [{"domain": "a.test", "name": "KEY", "value": SECRET}]
ESCAPED_KEY = "".join(f"\\u{ord(letter):04x}" for letter in "domain_secrets")
SECRETS_AS_JSON = json.dumps(container_with_secrets(SECRETS))
BODIES = {
    "as documented": SECRETS_AS_JSON,
    "escaped key": SECRETS_AS_JSON.replace("domain_secrets", ESCAPED_KEY),
    "escaped key of the value": SECRETS_AS_JSON.replace('"value"', '"\\u0076alue"'),
    "another case": SECRETS_AS_JSON.replace("domain_secrets", "Domain_Secrets").replace('"value"', '"VALUE"'),
    "duplicate key": SECRETS_AS_JSON.replace(
        '"domain_secrets"', f'"domain_secrets": [{{"value": "{SECRET}"}}], "domain_secrets"'
    ),
    "nested": json.dumps({"a": [[container_with_secrets(SECRETS)]]}),
    "not a list": json.dumps(container_with_secrets(SECRET)),
    "a list of texts": json.dumps(container_with_secrets([SECRET])),
    "an object": json.dumps(container_with_secrets({"a.test": SECRET})),
    "as a key": json.dumps(container_with_secrets({SECRET: 1})),
    "as a key in a list": json.dumps(container_with_secrets([{SECRET: 1, "name": "KEY"}])),
    "nested values": json.dumps(container_with_secrets([{"domain": {"x": SECRET}, "value": [[SECRET]]}])),
    "misspelled key": SECRETS_AS_JSON.replace("domain_secrets", "domainSecret"),
    "in another field": json.dumps({"name": "box", "allowed_domains": SECRETS}),
    "double-encoded": json.dumps(SECRETS_AS_JSON),
    "double-encoded policy": json.dumps({"name": "box", "network_policy": SECRETS_AS_JSON}),
    "double-encoded and malformed": json.dumps({"name": "box", "network_policy": SECRETS_AS_JSON[:-1]}),
    "cut off": SECRETS_AS_JSON[:-2],
    "cut off with escapes": SECRETS_AS_JSON.replace("domain_secrets", ESCAPED_KEY)[:-2],
    "with an extra comma": SECRETS_AS_JSON.replace("]", ",]"),
    "half a surrogate pair": SECRETS_AS_JSON.replace("box", "\\ud800"),
    "an array": json.dumps([container_with_secrets(SECRETS)]),
    "two documents": SECRETS_AS_JSON + SECRETS_AS_JSON,
    "large": json.dumps(container_with_secrets(SECRETS) | {"name": "x" * MAX_BODY}),
    "with a large skill": json.dumps(
        container_with_secrets(SECRETS) | {"skills": [{"type": "inline", "data": "x" * MAX_BODY}]}
    ),
    "deeply nested": "[" * 300 + SECRETS_AS_JSON + "]" * 300,
}


@pytest.mark.parametrize("name", BODIES)
def test_domain_secrets_are_redacted_in_valid_and_malformed_json(name: str, world: World, journal: Reader) -> None:
    world.http.post("/containers", content=BODIES[name], headers={"Content-Type": "application/json"})
    assert_redacted(journal, SECRET)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_domain_secrets_are_redacted_in_other_encodings(encoding: str, world: World, journal: Reader) -> None:
    world.http.post(
        "/containers", content=SECRETS_AS_JSON.encode(encoding), headers={"Content-Type": "application/json"}
    )
    assert_redacted(journal, SECRET)


@pytest.mark.parametrize("name", BODIES)
def test_domain_secrets_are_redacted_in_forms_and_in_json_sent_instead_of_a_form(
    name: str, world: World, journal: Reader
) -> None:
    box = create_container(world)
    fields = {"domain_secrets": SECRET, "note": BODIES[name]}
    for path in ("/files", f"/containers/{box['id']}/files"):
        world.http.post(path, files={"file": b"x"}, data=fields)
        world.http.post(path, content=BODIES[name])
        entries = journal.all(operation="Create*File")
        assert SECRET not in json.dumps([entry["request"] for entry in entries])


def assert_redacted(journal: Reader, secret: str) -> None:
    text = journal.client.get(journal.url).text
    assert len(journal.all()) >= 1
    assert secret not in text.replace("\\u0000", "").replace("\0", "")
    assert journal.all(text=secret) == []


def test_only_the_secrets_of_a_body_are_redacted(world: World, journal: Reader) -> None:
    world.http.post("/containers", json=container_with_secrets(SECRETS))
    assert journal.last()["request"]["body"] == container_with_secrets(
        [{"domain": "a.test", "name": "KEY", "value": "…"}]
    )
    world.http.post("/containers", json={"name": "my token, value and {secret}"})
    assert journal.last()["request"]["body"]["name"] != ""


def test_a_large_body_with_secrets_is_recorded_without_hash(world: World, journal: Reader) -> None:
    world.http.post("/containers", content=BODIES["large"], headers={"Content-Type": "application/json"})
    assert list(journal.last()["request"]) == ["headers", "body_bytes"]


# Aborted exchanges


def test_an_aborted_upload_is_recorded_as_aborted(world: World, journal: Reader) -> None:
    with Wire(world) as wire:
        boundary = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": "1000000"}
        wire.head("POST", "/files", boundary)
        wire.send(form(('Content-Disposition: form-data; name="file"; filename="a.txt"', b"x" * 5_000))[:-30])
        world.http.get("/containers")  # creates the world
    entry = journal.get("/wait", text="a.txt", method="POST")["data"][0]
    assert (entry["operation"], entry["status"], entry["aborted"]) == ("CreateFile", None, True)
    assert entry["request"]["body"]["file"]["sha256"] is None
    assert entry["response"] == {"headers": {}}


def test_an_aborted_download_is_recorded_as_aborted(world: World, journal: Reader) -> None:
    box = create_container(world)
    sent = {"file": ("big.bin", b"0123456789abcdef" * (2 << 20))}
    file = ok(world.http.post(f"/containers/{box['id']}/files", files=sent))
    with Wire(world) as wire:
        wire.head("GET", f"/containers/{box['id']}/files/{file['id']}/content", {})
        assert wire.socket.recv(1_000).startswith(b"HTTP/1.1 200")
    entry = journal.get("/wait", operation="RetrieveContainerFileContent")["data"][0]
    assert (entry["status"], entry["aborted"]) == (200, True)


@pytest.mark.parametrize(
    "effect",
    [{"drop": "before_answer"}, {"reset_after": 5}, {"truncate_after": 5}, {"status": 500, "truncate_after": 5}],
    ids=lambda effect: "+".join(effect),
)
def test_a_response_cut_off_by_a_fault_is_recorded_as_aborted(
    effect: dict[str, Any], world: World, journal: Reader
) -> None:
    create_container(world)
    with pytest.raises(httpx2.TransportError):
        world.http.get("/containers", headers={"x-mock-fault": json.dumps(effect)})
    entry = journal.get("/wait", operation="ListContainers")["data"][0]
    assert (entry["aborted"], entry["fault"]) == (True, "header")


def test_an_unhandled_exception_is_recorded_as_500(
    world: World, journal: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_container(world)

    def fail(*_: Any) -> None:
        raise RuntimeError("raised by a test")

    monkeypatch.setattr(containers, "list_containers", fail)
    assert world.http.get("/containers").status_code == 500
    assert (journal.last()["status"], journal.last()["aborted"]) == (500, False)


# Reading


def send_requests(world: World) -> None:
    box = create_container(world, "box")
    world.http.get(f"/containers/{box['id']}")
    world.http.get("/containers/cntr_nope")
    world.http.get("/containers?limit=0")
    world.http.get("/nope")
    world.http.delete(f"/containers/{box['id']}")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"operation": "RetrieveContainer"}, [2, 3]),
        ({"operation": "retrievecontainer,Create*"}, [1, 2, 3]),
        ({"method": "post,DELETE"}, [1, 6]),
        ({"status": "404"}, [3, 5]),
        ({"status": "4xx"}, [3, 4, 5]),
        ({"status": "200-399,400"}, [1, 2, 4, 6]),
        ({"text": "CNTR_NOPE"}, [3]),
        ({"text": "above|below"}, []),
        ({"text": "below minimum"}, [4]),
        ({"text": "limit=0"}, [4]),
        ({"text": '"box"'}, [1, 2]),
        ({"after": 4}, [5, 6]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 2, "after": 2}, [3, 4]),
        ({"last": 2}, [5, 6]),
        ({"last": 2, "status": "2xx"}, [2, 6]),
        ({"last": 2, "before": 5}, [3, 4]),
        ({"last": 2, "before": 3}, [1, 2]),
        ({"last": 2, "before": 1}, []),
        ({"last": 1, "before": 6, "status": "2xx"}, [2]),
        ({"after": 1, "before": 4}, [2, 3]),
        ({"after": 4, "before": 2}, []),
        ({"before": 99}, [1, 2, 3, 4, 5, 6]),
        ({"after": 99}, []),
    ],
)
def test_the_journal_can_be_filtered_and_paginated(
    query: dict[str, Any], numbers: list[int], world: World, journal: Reader
) -> None:
    send_requests(world)
    page = journal.get(**query)
    assert [entry["number"] for entry in page["data"]] == numbers
    filters = {key: value for key, value in query.items() if key not in ("limit", "last", "after", "before")}
    assert page["total"] == len(journal.all(**filters)) == journal.get("/count", **filters)["count"]
    bounds = {key: value for key, value in query.items() if key not in ("limit", "last")}
    assert page["has_more"] == (len(numbers) < len(journal.all(**bounds)))


def test_entries_have_errors_warnings_and_container_names_to_filter_by(world: World, journal: Reader) -> None:
    box = create_container(world, 'quoted ","fault":"name')["id"]
    ok(
        world.http.post(
            "/containers", json={"name": "long", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
        )
    )
    world.http.get("/containers/cntr_none")
    world.http.get(f"/containers/{box}/files", headers={"x-mock-fault": '{"status": 500, "body": {"error": "text"}}'})
    world.http.delete(f"/containers/{box}")
    with pytest.raises(httpx2.RemoteProtocolError):
        world.http.get("/containers", headers={"x-mock-fault": '{"truncate_after": 5}'})
    page = journal.get(brief=True)["data"]
    assert [(each["error"], each["warnings"], each["container"]) for each in page] == [
        (None, [], 'quoted ","fault":"name'),
        (None, ["minutes-beyond-limit"], "long"),
        ("Container with id 'cntr_none' not found.", [], None),
        (None, [], None),
        (None, [], 'quoted ","fault":"name'),
        (None, [], None),
    ]

    def numbers(**query: Any) -> list[int]:
        return [each["number"] for each in journal.all(**query)]

    assert numbers(failed=True) == [3, 4, 6]
    assert numbers(warning="*") == numbers(warning="zero,minutes-*") == [2]
    assert numbers(warning="*", failed=True) == []
    problem = error_message(journal.client.get(journal.url, params={"warning": "minute"}), 400, "invalid_parameter")
    assert "unknown warning 'minute'; choose one of: minutes-beyond-limit" in problem


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"method": "FOO"},
            "method: unknown method 'FOO'; choose one of: GET, HEAD, POST, DELETE, PUT, PATCH, OPTIONS",
        ),
        ({"method": "post,git"}, "method: unknown method 'git'; did you mean 'GET'?"),
        ({"status": "404,499-400"}, "status: '499-400' contains no status; write 400-499"),
    ],
)
def test_a_filter_that_can_match_nothing_is_rejected(query: dict[str, str], message: str, journal: Reader) -> None:
    for path in ("", "/count", "/wait", "/stream"):
        response = journal.client.get(journal.url + path, params=query)
        assert message in error_message(response, 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ('"name":"é"', [1, 2]),
        ('"name": "É"', [1, 2]),
        ("x-note: half a", [2]),
        ('half a "quote', [2]),
        ("POST /w/", [1, 2]),
        ("aborted", []),
        ("none", []),
    ],
)
def test_a_text_filter_ignores_case_escapes_and_spaces_of_json(
    text: str, numbers: list[int], world: World, journal: Reader
) -> None:
    for body, note in ((b'{"name":"\\u00e9"}', "whole"), ('{"name": "é"}'.encode(), 'half a "quote')):
        headers = {"Content-Type": "application/json", "X-Note": note}
        ok(world.http.post("/containers", content=body, headers=headers))
    assert [entry["number"] for entry in journal.all(text=text)] == numbers


def test_a_page_can_be_brief_and_without_a_total(world: World, journal: Reader) -> None:
    send_requests(world)
    page, brief = journal.get(last=3, status="2xx"), journal.get(last=3, status="2xx", brief=True, counted=False)
    assert [set(each) - set(short) for each, short in zip(page["data"], brief["data"], strict=True)] == [
        {"request", "response"}
    ] * 3
    assert (page["total"], brief["total"]) == (3, None)
    assert journal.get(counted=False)["total"] == 6, "a total that costs nothing is returned all the same"


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("?operation=CreateContainers", "operation"),
        ("?status=600", "status"),
        ("?limit=0", "limit"),
        ("?limit=x", "limit"),
        ("?after=-1", "after"),
        ("?colour=red", "colour"),
        ("/count?limit=3", "limit"),
        ("/wait?timeout=11m", "timeout"),
        ("/wait?timeout=soon", "timeout"),
        ("/wait?count=0", "count"),
        ("/one", "number"),
    ],
)
def test_invalid_parameters_are_rejected(path: str, param: str, world: World, journal: Reader) -> None:
    create_container(world)
    assert param in error_message(journal.client.get(journal.url + path), 400, "invalid_parameter")


def test_unknown_worlds_and_exchanges_are_404(world: World, journal: Reader) -> None:
    for path in ("", "/count", "/1"):
        error_message(journal.client.get(journal.url + path), 404, "world_not_found")
    create_container(world)
    for number in (0, 2, 10**30):
        error_message(journal.client.get(f"{journal.url}/{number}"), 404, "exchange_not_found")
    for path in ("wait", "stream"):
        url = journal.url.replace(world.name, "a b")
        error_message(journal.client.get(f"{url}/{path}"), 400, "invalid_world_name")


# Waiting


def test_wait_returns_when_enough_exchanges_match(world: World, journal: Reader) -> None:
    create_container(world, "first")
    assert [entry["number"] for entry in journal.get("/wait")["data"]] == [1]
    pages: list[Any] = []
    thread = threading.Thread(target=lambda: pages.append(journal.get("/wait", operation="Create*", count=3)))
    thread.start()
    create_container(world, "second")
    world.http.get("/containers")
    assert not pages
    create_container(world, "third")
    thread.join()
    assert [entry["number"] for entry in pages[0]["data"]] == [1, 2, 4]
    assert (pages[0]["has_more"], pages[0]["total"]) == (False, 3)


def test_wait_can_start_before_the_world_exists(world: World, journal: Reader) -> None:
    pages: list[Any] = []
    thread = threading.Thread(target=lambda: pages.append(journal.get("/wait", text="box")))
    thread.start()
    create_container(world)
    thread.join()
    assert pages[0]["total"] == 1


def test_wait_times_out_with_408(world: World, journal: Reader) -> None:
    create_container(world)
    response = journal.client.get(f"{journal.url}/wait?count=2&timeout=0.05")
    assert error_message(response, 408, "journal_timeout") == "After 0.05 s there were 1 of 2 such exchanges."


def test_wait_says_that_the_server_stopped() -> None:
    with MockServer() as server, new_world(server) as world:
        create_container(world)
        server.mock.journal.closing.set()
        response = httpx2.get(f"{server.url}/_mock/worlds/{world.name}/journal/wait?count=5&timeout=600")
    message = error_message(response, 503, "server_stopping")
    assert re.fullmatch(r"The server stopped after \d+\.\d s; until then there were 1 of 5 such exchanges\.", message)


def test_wait_after_a_future_number_ignores_exchanges_up_to_it(world: World, journal: Reader) -> None:
    for _ in range(3):
        world.http.get("/containers")
    response = journal.client.get(f"{journal.url}/wait?after=4&timeout=0.05")
    assert error_message(response, 408, "journal_timeout").startswith("After 0.05 s there were 0 of 1")
    for _ in range(2):
        world.http.get("/containers")
    assert [entry["number"] for entry in journal.get("/wait", after=4)["data"]] == [5]


def test_waiting_clients_that_disconnect_leave_no_state(world: World, journal: Reader) -> None:
    create_container(world)
    for _ in range(50):
        with Wire(world) as wire:
            wire.send(
                f"GET /_mock/worlds/{world.name}/journal/wait?text=never HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
    for _ in range(1_000):
        world.http.get("/containers")
        if not subscribed_to(world):
            break
    assert not subscribed_to(world)


def subscribed_to(world: World) -> bool:
    return any(each.world == world.name for each in set(world.server.mock.events.subscribers))


# Streams


def test_a_stream_sends_each_new_exchange(world: World, journal: Reader) -> None:
    create_container(world, "before")
    with journal.stream() as events:
        for name in ("one", "two"):
            create_container(world, name)
        for number, name in ((2, "one"), (3, "two")):
            event = next(events)
            assert (event["id"], event["event"]) == (str(number), "exchange")
            entry = json.loads(event["data"])
            assert entry["request"]["body"] == {"name": name}
            assert entry == journal.get(f"/{number}")


def test_a_stream_resumes_after_the_last_event_id(world: World, journal: Reader) -> None:
    for number in range(AT_ONCE * 2 + 5):
        create_container(world, f"{number}")
    with journal.stream({"Last-Event-ID": "3"}) as events:
        assert [next(events)["id"] for _ in range(AT_ONCE * 2)] == [str(4 + number) for number in range(AT_ONCE * 2)]
    with journal.stream(after=0, text='"7"') as events:
        assert next(events)["id"] == "8"


def test_a_stream_sends_cleared_when_the_journal_is_cleared_or_the_world_reset(world: World, journal: Reader) -> None:
    create_container(world)
    with journal.stream(after=0) as events:
        assert next(events)["id"] == "1"
        ok(journal.client.delete(journal.url))
        assert next(events)["event"] == "cleared"
        create_container(world)
        assert next(events)["id"] == "2"
        ok(journal.client.post(f"{journal.url.removesuffix('/journal')}/reset"))
        assert next(events)["event"] == "cleared"
        create_container(world)
        assert next(events)["id"] == "1"
    with journal.stream({"Last-Event-ID": "70"}) as events:
        assert next(events)["event"] == "cleared"
        assert next(events)["id"] == "1"


def test_a_slow_stream_reports_how_many_exchanges_were_dropped() -> None:
    """It continues with the exchanges that the journal still holds."""
    with MockServer(journal_entries=10) as server, World(server, "w") as world:
        reader = Reader(world)
        with reader.client, reader.stream() as events:
            server.run(record_at_once(world, 30))
            event = next(events)
            assert (event["event"], json.loads(event["data"])) == ("dropped", {"dropped": 20})
            assert [next(events)["id"] for _ in range(10)] == [str(number) for number in range(21, 31)]


async def record_at_once(world: World, count: int) -> None:
    """Record exchanges in one turn of the event loop, so that no stream can send any meanwhile."""
    await world.server.mock.worlds.resolve(world.name)
    journal = world.server.mock.journal
    for _ in range(count):
        record(journal.open(world.name), journal)


def test_an_idle_stream_sends_keep_alive_comments(world: World, journal: Reader, monkeypatch: Any) -> None:
    create_container(world)
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    with journal.stream() as events:
        assert [next(events).get("comment") for _ in range(3)] == ["still there"] * 3


@pytest.mark.parametrize("path", ["stream", "wait?text=never&timeout=9m"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_open_streams_and_waits_do_not_delay_shutdown(path: str, stop: signal.Signals) -> None:
    flags = ["--port", "0", "--host", "127.0.0.1", "--json", "--quiet", *LONG_GRACE]
    command = [sys.executable, "-m", "mockserver", "serve", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = json.loads(process.stdout.readline())["port"]
        with socket.create_connection(("127.0.0.1", port), 120) as reader:
            reader.sendall(f"GET /_mock/worlds/w/journal/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            if path == "stream":
                assert b"200" in reader.recv(1_000)
            else:
                httpx2.get(f"http://127.0.0.1:{port}/_mock/state").raise_for_status()
            process.send_signal(stop)
            with suppress(ConnectionResetError):  # if the server closes before the rest of the stream is read
                while reader.recv(1_000):
                    pass
            assert process.wait(120) == 0


def test_a_stream_that_its_client_does_not_read_does_not_delay_shutdown() -> None:
    with socket.socket() as reader, MockServer(shutdown_grace=600.0) as server, World(server, "w") as world:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(b"GET /_mock/worlds/w/journal/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in reader.recv(100)
        for _ in range(400):
            world.http.post("/containers", json={"name": "y" * 16_000})
    assert not server._thread.is_alive()


# Bounds


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("rrrrrcf"), st.integers(0, 3_000)), max_size=100))
def test_the_journal_keeps_the_latest_entries_within_its_bounds(steps: list[tuple[str, str, int]]) -> None:
    """Compare the journal with a list of its entries, oldest first. A few steps reach both of its low bounds."""
    journal, model, last = Journal(5, 8_000, Events()), [], dict.fromkeys("abc", 0)
    logs = {}
    for world, step, size in steps:
        if step == "r":
            logs[world] = journal.open(world)
            number = record(logs[world], journal, b'"%b"' % (b"x" * size))
            last[world] += 1
            assert number == last[world]
            model.append((world, number, size))
            while len(model) > 5 or sum(size_of(number, size) for _, number, size in model) > 8_000:
                del model[0]
        else:
            (journal.clear if step == "c" else journal.forget)(world)
            model = [each for each in model if each[0] != world]
            if step == "f":
                last[world] = 0
                if world in logs:
                    assert record(logs[world], journal) == 0
    entries = {world: [Entry(*each) for each in journal.records(world)] for world in "abc"}
    assert set(model) == {
        (world, entry.number, len(entry.shown["response"]["body"])) for world in "abc" for entry in entries[world]
    }
    for world in "abc":
        numbers = [entry.number for entry in entries[world]]
        assert numbers == sorted(numbers)
        assert all(journal.find(world, number).number == number for number in numbers)  # type: ignore[union-attr]
    for world in "abc":
        journal.forget(world)
    assert (journal._count, journal._bytes) == (0, 0)


@pytest.mark.parametrize("end", [Journal.clear, Journal.forget])
def test_cleared_entries_use_no_memory(end: Any) -> None:
    """They are also removed from the list that orders all entries, although the bounds are never reached."""
    journal = Journal(1_000_000, 1 << 40, Events())
    record(journal.open("other"), journal)
    for _ in range(5_000):
        record(journal.open("world"), journal)
        end(journal, "world")
    assert len(journal._order) < 2_000
    assert journal.count("other") == journal._count == 1


def test_aborting_an_entry_again_does_not_change_its_size() -> None:
    journal = Journal(10, 1 << 20, Events())
    world_journal = journal.open("a")
    numbers = [record(world_journal, journal) for _ in range(2)]
    for _ in range(2):
        journal.abort(world_journal, numbers[0])
    assert [Entry(*each).shown["aborted"] for each in journal.records("a")] == [True, False]
    assert journal._bytes == size_of(1, 0) + size_of(2, 0) - 1  # "true" is one byte shorter than "false"
    journal.abort(world_journal, 3)
    journal.forget("a")
    assert (journal._count, journal._bytes) == (0, 0)


def test_an_entry_uses_no_more_memory_than_is_counted_for_it() -> None:
    """The garbage collector does not track it. There are many, as other threads use memory meanwhile."""
    journal = Journal(3_000, 1 << 30, Events())
    world_journal = journal.open("world")
    record(world_journal, journal)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(2_000):
        record(world_journal, journal, b'"%b"' % (b"x" * 1_000))
    assert journal.count("world") == 2_001
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < journal._bytes
    gc.collect()
    assert not any(map(gc.is_tracked, journal.records("world")))


@cache
def base_size() -> int:
    journal = Journal(10, 1 << 20, Events())
    record(journal.open("a"), journal)
    assert journal.count("a") == 1
    return journal._bytes


def size_of(number: int, size: int) -> int:
    return base_size() + size + len(str(number)) - 1


def test_deleted_worlds_leave_no_state_in_the_journal() -> None:
    with MockServer() as server, httpx2.Client(base_url=server.url, headers={"api-key": "x"}) as client:
        for number in range(60):
            client.post(f"/w/w{number}/v1/containers", json={"name": "box"})
            ok(client.delete(f"/_mock/worlds/w{number}"))
        journal = server.mock.journal
        assert (journal._worlds, journal._count, journal._bytes) == ({}, 0, 0)


def test_an_exchange_that_ends_after_its_world_was_deleted_is_not_recorded(world: World, journal: Reader) -> None:
    box = create_container(world)
    sent = form(('Content-Disposition: form-data; name="file"; filename="a.txt"', b"bytes"))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": str(len(sent))}
    with Wire(world) as wire:
        wire.head("POST", f"/containers/{box['id']}/files", headers)
        wire.send(sent[:50])
        create_container(world)  # by the time of its response, the upload is in progress
        ok(journal.client.delete(journal.url.removesuffix("/journal")))
        wire.send(sent[50:])
        wire.response()
    assert world.name not in world.server.mock.journal._worlds


def test_a_request_creates_no_reference_cycles(world: World) -> None:
    """Collecting the cycles of a request would take longer than recording it."""
    create_container(world)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for path in ("/containers", "/containers/cntr_1", "/nope"):
            world.http.get(path)
        create_container(world)
        gc.collect()
        assert not {type(each).__name__ for each in gc.garbage} & {"Exchange", "RequestResponseCycle", "Protocol"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
