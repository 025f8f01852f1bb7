"""The journal: what it remembers, what it never does, how it is read, awaited and followed."""

import gc
import hashlib
import json
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
from conftest import LONG_GRACE, NOON, World, error_message, ok
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
    """A world's journal, as the control plane shows it."""

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
        """The events, once the stream is open."""
        with self.client.stream("GET", f"{self.url}/stream", params=query, headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = blocks(answer.iter_lines())
            assert "comment" in next(events)
            yield events


def blocks(lines: Iterator[str]) -> Iterator[dict[str, str]]:
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


def make(world: World, name: str = "box") -> dict[str, Any]:
    return dict(ok(world.http.post("/containers", json={"name": name})))


# What it remembers


def test_an_exchange_is_there_as_soon_as_it_is_answered(world: World, journal: Reader) -> None:
    world.freeze()
    answer = world.http.post("/containers?x=%41", json={"name": "é"})
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
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert (entry["world"], entry["at"]) == (world.name, NOON)
    assert 0 <= world.server.mock.wall.now() - entry["wall"] < 3_600
    assert (entry["operation"], entry["method"]) == ("CreateContainer", "POST")
    assert (entry["path"], entry["query"]) == (f"/w/{world.name}/v1/containers", "x=%41")
    assert (entry["status"], entry["fault"], entry["aborted"]) == (200, None, False)
    assert 0 < entry["duration_ms"] < 3_600_000
    assert entry["request"]["body"] == {"name": "é"}
    assert entry["request"]["headers"]["content-type"] == "application/json"
    assert entry["response"] == {"headers": dict(answer.headers.items() - {date(answer)}), "body": answer.json()}
    assert entry["objects"] == [{"change": "created", "id": answer.json()["id"]}]
    assert journal.get("/1") == entry


def date(answer: httpx2.Response) -> tuple[str, str]:
    """What uvicorn adds."""
    return "date", answer.headers["date"]


def test_it_knows_what_was_done_to_which_objects(world: World, journal: Reader) -> None:
    file = ok(world.http.post("/files", files={"file": b"bytes"}, data={"purpose": "user_data"}))
    box = ok(world.http.post("/containers", json={"name": "box", "file_ids": [file["id"]]}))
    inside = world.http.get(f"/containers/{box['id']}/files").json()["data"][0]
    world.http.delete(f"/containers/{box['id']}/files/{inside['id']}")
    world.http.delete(f"/containers/{box['id']}")
    world.http.delete(f"/files/{file['id']}")
    done = [[(each["change"], each["id"]) for each in entry["objects"]] for entry in journal.all()]
    assert done == [
        [("created", file["id"])],
        [("created", inside["id"]), ("created", box["id"])],
        [],
        [("deleted", inside["id"])],
        [("deleted", box["id"])],
        [("deleted", file["id"])],
    ]


def test_what_was_refused_has_made_nothing(world: World, journal: Reader) -> None:
    file = ok(world.http.post("/files", files={"file": b"bytes"}, data={"purpose": "user_data"}))
    refused = world.http.post("/containers", json={"name": "box", "file_ids": [file["id"], "file-none"]})
    assert refused.status_code == 400
    assert journal.last()["objects"] == []


def test_nor_has_it_made_what_it_mentioned(world: World, server: MockServer, journal: Reader) -> None:
    ok(world.http.put(f"{server.url}/_mock/worlds/{world.name}/profile", json={"name": "contract"}))
    refused = world.http.post("/containers", json={"name": "box", "file_ids": ["file-a", "bad id/"]})
    assert refused.status_code == 400
    assert journal.last()["objects"] == []


def test_numbers_are_per_world_and_start_anew_with_it(world: World, server: MockServer, journal: Reader) -> None:
    other = World(server, f"{world.name}-other")
    for _ in range(2):
        make(world)
        make(other)
    assert [entry["number"] for entry in journal.all()] == [1, 2]
    other.close()
    assert journal.client.delete(journal.url).json() == {"count": 2}
    assert journal.all() == []
    make(world)
    assert [entry["number"] for entry in journal.all()] == [3]
    world_url = journal.url.removesuffix("/journal")
    ok(journal.client.put(f"{world_url}/snapshots/s"))
    for how in ("/reset", "/snapshots/s/restore"):
        ok(journal.client.post(world_url + how))
        assert journal.all() == []
        make(world)
        assert [entry["number"] for entry in journal.all()] == [1]
    ok(journal.client.delete(world_url))
    error_message(journal.client.get(journal.url), 404, "world_not_found")
    make(world)
    assert [entry["number"] for entry in journal.all()] == [1]


def test_what_matches_no_route_is_remembered_too(world: World, journal: Reader) -> None:
    make(world)
    for method, path, status in (("GET", "/nope", 404), ("PUT", "/containers", 405), ("GET", "/containers/", 404)):
        assert world.http.request(method, path).status_code == status
        entry = journal.last()
        assert (entry["operation"], entry["status"], entry["objects"]) == (None, status, [])
        assert entry["path"].endswith(path)
        assert entry["response"]["body"]["error"]["message"]


def test_what_names_no_world_makes_none(world: World, journal: Reader) -> None:
    assert world.http.get("/nope").status_code == 404
    error_message(journal.client.get(journal.url), 404, "world_not_found")


def test_without_a_key_nothing_is_remembered(world: World, journal: Reader) -> None:
    make(world)
    assert httpx2.get(f"{world.base_url}/containers").status_code == 401
    preflight = {"Origin": "http://x", "Access-Control-Request-Method": "GET"}
    assert httpx2.options(f"{world.base_url}/containers", headers=preflight).status_code == 200
    assert len(journal.all()) == 1


def test_refusals_and_heads_have_their_operation(world: World, journal: Reader) -> None:
    box = make(world)
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


def test_faults_are_named(world: World, journal: Reader) -> None:
    faults = f"{journal.url.removesuffix('/journal')}/faults"
    ok(journal.client.post(faults, json={"id": "busy", "times": 1, "effect": {"error": "rate_limited"}}))
    world.http.get("/containers")
    assert (journal.last()["fault"], journal.last()["status"]) == ("busy", 429)
    world.http.get("/containers", headers={"x-mock-fault": "server_error"})
    assert (journal.last()["fault"], journal.last()["status"]) == ("header", 500)
    world.http.get("/containers")
    assert journal.last()["fault"] is None


# Bodies


def test_an_upload_is_told_by_its_hash(world: World, journal: Reader) -> None:
    content = b"\x00\xff" * 300_000
    world.http.post("/files", files={"file": ("é.bin", content)}, data={"purpose": "user_data"})
    digest = hashlib.sha256(content).hexdigest()
    described = {"filename": "é.bin", "bytes": len(content), "sha256": digest}
    assert journal.last()["request"]["body"] == {"purpose": "user_data", "file": described}
    assert "body_bytes" not in journal.last()["request"]


def test_a_form_that_is_refused_is_told_as_far_as_it_came(world: World, journal: Reader) -> None:
    make(world)
    body = form(
        ('Content-Disposition: form-data; name="purpose"', b"user_data"),
        ('Content-Disposition: form-data; name="file"; filename="a.txt"', b"cut off"),
    )
    headers = {"Content-Type": "multipart/form-data; boundary=simple"}
    assert request(world, "POST", "/files", headers, body[:-4]).status == 400
    assert journal.last()["request"]["body"]["purpose"] == "user_data"
    assert journal.last()["request"]["body"]["file"] == {"filename": "a.txt", "bytes": 7, "sha256": None}


def test_a_form_of_many_fields_is_cut(world: World, journal: Reader) -> None:
    fields = {f"field-{number}": "x" * 1_000 for number in range(90)}
    world.http.post("/files", files={"file": b"bytes"}, data=fields)
    told = journal.last()["request"]["body"]
    assert len(told) == 18
    assert told["…"] == "74 fields more"
    assert len(told["file"]) == 3


def test_large_bodies_are_told_by_size_and_hash(world: World, journal: Reader) -> None:
    for size in (MAX_BODY, MAX_BODY + 1, 2 << 20):
        body = b'{"name": "x", "skills": []%b}' % (b" " * (size - 27))
        world.http.post("/containers", content=body, headers={"Content-Type": "application/json"})
        told = journal.last()["request"]
        assert journal.last()["status"] == 200
        if size == MAX_BODY:
            assert told["body"] == {"name": "x", "skills": []}
        else:
            assert (told["body_bytes"], told["body_sha256"]) == (size, hashlib.sha256(body).hexdigest())
            assert "body" not in told
    for _ in range(60):
        make(world)
    page = world.http.get("/containers?limit=100")
    assert journal.last()["response"]["body_bytes"] == len(page.content) > MAX_BODY
    assert "body" not in journal.last()["response"]


def test_what_is_no_json_is_shown_as_text(world: World, journal: Reader) -> None:
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
ODD = {
    "with line breaks": (b'{"name":\r\n\t"a"}', {"name": "a"}),
    "with the keys of an entry": (b'{"request":1,"request":2,"fault":3,"fault":4}', {"request": 2, "fault": 4}),
    "a key twice": (b'{"name": 1, "name": 2}', {"name": 2}),
    "deeply nested": (DEEP, json.loads(DEEP)),
    "no number": (b'{"name": NaN}', '{"name": NaN}'),
    "too large a number": (b'{"name": 1e400}', {"name": float("inf")}),
    "too large a number beside a secret": (b'{"name": 1e400, "key": 1}', {"name": "Infinity", "key": "…"}),
}


@pytest.mark.parametrize("name", ODD)
def test_an_entry_is_valid_json_on_one_line_whatever_was_sent(name: str, world: World, journal: Reader) -> None:
    body, shown = ODD[name]
    make(world)
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
def test_so_it_is_when_a_fault_answers(body: Any, world: World, journal: Reader) -> None:
    make(world)
    with journal.stream() as events:
        world.http.get("/containers", headers={"x-mock-fault": json.dumps({"status": 502, "body": body})})
        entry = json.loads(next(events)["data"])
    assert entry == journal.last()
    assert entry["response"].get("body", "") == body


# Secrets


def test_no_key_is_ever_in_it(journal: Reader, world: World) -> None:
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


def test_what_a_response_repeats_of_a_secret_is_hidden(world: World, journal: Reader) -> None:
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


def test_what_a_response_nests_too_deep_to_be_looked_at_is_a_size(world: World, journal: Reader) -> None:
    """Events repeat the request a level deeper than the body may be."""
    parameters: Any = {"token": "x"}
    for _ in range(196):
        parameters = {"a": parameters}
    tools = [{"type": "function", "name": "f", "parameters": parameters}]
    for stream in (True, False):
        body = {"model": "m", "input": "token", "stream": stream, "tools": tools}
        assert world.http.post("/responses", json=body).status_code == 200
    make(world)
    deep, _, last = journal.all()
    assert deep["response"].keys() >= {"body_bytes"}
    assert "body" not in deep["response"]
    assert last["number"] == 3


def secrets(value: Any) -> dict[str, Any]:
    policy = {"type": "allowlist", "allowed_domains": ["a.test"], "domain_secrets": value}
    return {"name": "box", "network_policy": policy}


GIVEN = [{"domain": "a.test", "name": "KEY", "value": SECRET}]
ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in "domain_secrets")
TEXT = json.dumps(secrets(GIVEN))
BODIES = {
    "as documented": TEXT,
    "escaped key": TEXT.replace("domain_secrets", ESCAPED),
    "escaped values' key": TEXT.replace('"value"', '"\\u0076alue"'),
    "another case": TEXT.replace("domain_secrets", "Domain_Secrets").replace('"value"', '"VALUE"'),
    "twice": TEXT.replace('"domain_secrets"', f'"domain_secrets": [{{"value": "{SECRET}"}}], "domain_secrets"'),
    "twice, nested": json.dumps({"a": [[secrets(GIVEN)]]}),
    "not a list": json.dumps(secrets(SECRET)),
    "a list of texts": json.dumps(secrets([SECRET])),
    "an object": json.dumps(secrets({"a.test": SECRET})),
    "as a key": json.dumps(secrets({SECRET: 1})),
    "as a key in a list": json.dumps(secrets([{SECRET: 1, "name": "KEY"}])),
    "deeper": json.dumps(secrets([{"domain": {"x": SECRET}, "value": [[SECRET]]}])),
    "misspelt": TEXT.replace("domain_secrets", "domainSecret"),
    "misplaced": json.dumps({"name": "box", "allowed_domains": GIVEN}),
    "encoded twice": json.dumps(TEXT),
    "encoded twice inside": json.dumps({"name": "box", "network_policy": TEXT}),
    "encoded twice and broken": json.dumps({"name": "box", "network_policy": TEXT[:-1]}),
    "cut off": TEXT[:-2],
    "cut off with escapes": TEXT.replace("domain_secrets", ESCAPED)[:-2],
    "with a comma too many": TEXT.replace("]", ",]"),
    "half a surrogate pair": TEXT.replace("box", "\\ud800"),
    "an array": json.dumps([secrets(GIVEN)]),
    "two documents": TEXT + TEXT,
    "large": json.dumps(secrets(GIVEN) | {"name": "x" * MAX_BODY}),
    "a skill too many": json.dumps(secrets(GIVEN) | {"skills": [{"type": "inline", "data": "x" * MAX_BODY}]}),
    "deeply nested": "[" * 300 + TEXT + "]" * 300,
}


@pytest.mark.parametrize("name", BODIES)
def test_no_domain_secret_is_ever_in_it(name: str, world: World, journal: Reader) -> None:
    world.http.post("/containers", content=BODIES[name], headers={"Content-Type": "application/json"})
    assert_untold(journal, SECRET)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_nor_in_another_encoding(encoding: str, world: World, journal: Reader) -> None:
    world.http.post("/containers", content=TEXT.encode(encoding), headers={"Content-Type": "application/json"})
    assert_untold(journal, SECRET)


@pytest.mark.parametrize("name", BODIES)
def test_nor_in_forms_or_where_json_stands_for_a_form(name: str, world: World, journal: Reader) -> None:
    box = make(world)
    fields = {"domain_secrets": SECRET, "note": BODIES[name]}
    for path in ("/files", f"/containers/{box['id']}/files"):
        world.http.post(path, files={"file": b"x"}, data=fields)
        world.http.post(path, content=BODIES[name])
        told = journal.client.get(journal.url, params={"operation": "Create*File"}).json()["data"]
        assert SECRET not in json.dumps([entry["request"] for entry in told])


def assert_untold(journal: Reader, secret: str) -> None:
    told = journal.client.get(journal.url).text
    assert len(journal.all()) >= 1
    assert secret not in told.replace("\\u0000", "").replace("\0", "")
    assert journal.all(text=secret) == []


def test_what_is_no_secret_of_a_body_stays(world: World, journal: Reader) -> None:
    world.http.post("/containers", json=secrets(GIVEN))
    assert journal.last()["request"]["body"] == secrets([{"domain": "a.test", "name": "KEY", "value": "…"}])
    world.http.post("/containers", json={"name": "my token, value and {secret}"})
    assert journal.last()["request"]["body"]["name"] != ""


def test_the_hash_of_a_large_body_with_secrets_is_not_told(world: World, journal: Reader) -> None:
    world.http.post("/containers", content=BODIES["large"], headers={"Content-Type": "application/json"})
    assert list(journal.last()["request"]) == ["headers", "body_bytes"]


# Ends that are none


def test_a_client_that_leaves_in_mid_upload(world: World, journal: Reader) -> None:
    with Wire(world) as wire:
        boundary = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": "1000000"}
        wire.head("POST", "/files", boundary)
        wire.send(form(('Content-Disposition: form-data; name="file"; filename="a.txt"', b"x" * 5_000))[:-30])
        world.http.get("/containers")  # so that the world is there
    entry = journal.get("/wait", text="a.txt", method="POST")["data"][0]
    assert (entry["operation"], entry["status"], entry["aborted"]) == ("CreateFile", None, True)
    assert entry["request"]["body"]["file"]["sha256"] is None
    assert entry["response"] == {"headers": {}}


def test_a_client_that_leaves_in_mid_download(world: World, journal: Reader) -> None:
    box = make(world)
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
def test_an_answer_that_a_fault_cuts_is_aborted(effect: dict[str, Any], world: World, journal: Reader) -> None:
    make(world)
    with pytest.raises(httpx2.TransportError):
        world.http.get("/containers", headers={"x-mock-fault": json.dumps(effect)})
    entry = journal.get("/wait", operation="ListContainers")["data"][0]
    assert (entry["aborted"], entry["fault"]) == (True, "header")


def test_a_failure_of_the_server_is_remembered(world: World, journal: Reader, monkeypatch: Any, caplog: Any) -> None:
    make(world)

    def fails(*_: Any) -> None:
        raise RuntimeError("of this test")

    monkeypatch.setattr(containers, "list_containers", fails)
    assert world.http.get("/containers").status_code == 500
    assert (journal.last()["status"], journal.last()["aborted"]) == (500, False)


# Reading


def fill(world: World) -> None:
    box = make(world, "box")
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
def test_it_can_be_filtered_and_paged(query: dict[str, Any], numbers: list[int], world: World, journal: Reader) -> None:
    fill(world)
    page = journal.get(**query)
    assert [entry["number"] for entry in page["data"]] == numbers
    filters = {key: value for key, value in query.items() if key not in ("limit", "last", "after", "before")}
    assert page["total"] == len(journal.all(**filters)) == journal.get("/count", **filters)["count"]
    bounds = {key: value for key, value in query.items() if key not in ("limit", "last")}
    assert page["has_more"] == (len(numbers) < len(journal.all(**bounds)))


def test_an_entry_has_the_error_the_warnings_and_the_name_of_the_container(world: World, journal: Reader) -> None:
    box = make(world, 'odd ","fault":"name')["id"]
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
        (None, [], 'odd ","fault":"name'),
        (None, ["minutes-beyond-limit"], "long"),
        ("Container with id 'cntr_none' not found.", [], None),
        (None, [], None),
        (None, [], 'odd ","fault":"name'),
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
def test_a_text_is_found_however_it_was_written(text: str, numbers: list[int], world: World, journal: Reader) -> None:
    for body, note in ((b'{"name":"\\u00e9"}', "whole"), ('{"name": "é"}'.encode(), 'half a "quote')):
        headers = {"Content-Type": "application/json", "X-Note": note}
        ok(world.http.post("/containers", content=body, headers=headers))
    assert [entry["number"] for entry in journal.all(text=text)] == numbers


def test_a_page_can_be_had_in_brief_and_uncounted(world: World, journal: Reader) -> None:
    fill(world)
    page, brief = journal.get(last=3, status="2xx"), journal.get(last=3, status="2xx", brief=True, counted=False)
    assert [set(each) - set(short) for each, short in zip(page["data"], brief["data"], strict=True)] == [
        {"request", "response"}
    ] * 3
    assert (page["total"], brief["total"]) == (3, None)
    assert journal.get(counted=False)["total"] == 6, "what costs nothing is told"


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
def test_what_makes_no_sense_is_refused(path: str, param: str, world: World, journal: Reader) -> None:
    make(world)
    assert param in error_message(journal.client.get(journal.url + path), 400, "invalid_parameter")


def test_what_is_not_there_is_not_found(world: World, journal: Reader) -> None:
    for path in ("", "/count", "/1"):
        error_message(journal.client.get(journal.url + path), 404, "world_not_found")
    make(world)
    for number in (0, 2, 10**30):
        error_message(journal.client.get(f"{journal.url}/{number}"), 404, "exchange_not_found")
    for path in ("wait", "stream"):
        url = journal.url.replace(world.name, "a b")
        error_message(journal.client.get(f"{url}/{path}"), 400, "invalid_world_name")


# Waiting


def test_waiting_ends_when_enough_match(world: World, journal: Reader) -> None:
    make(world, "first")
    assert [entry["number"] for entry in journal.get("/wait")["data"]] == [1]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(journal.get("/wait", operation="Create*", count=3)))
    thread.start()
    make(world, "second")
    world.http.get("/containers")
    assert not found
    make(world, "third")
    thread.join()
    assert [entry["number"] for entry in found[0]["data"]] == [1, 2, 4]
    assert (found[0]["has_more"], found[0]["total"]) == (False, 3)


def test_waiting_for_what_comes_makes_no_world(world: World, journal: Reader) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(journal.get("/wait", text="box")))
    thread.start()
    make(world)
    thread.join()
    assert found[0]["total"] == 1


def test_waiting_in_vain_says_so(world: World, journal: Reader) -> None:
    make(world)
    answer = journal.client.get(f"{journal.url}/wait?count=2&timeout=0.05")
    assert error_message(answer, 408, "journal_timeout") == "After 0.05 s there were 1 of 2 such exchanges."


def test_waiting_behind_the_last_exchange_is_for_what_comes_after_that_one(world: World, journal: Reader) -> None:
    for _ in range(3):
        world.http.get("/containers")
    answer = journal.client.get(f"{journal.url}/wait?after=4&timeout=0.05")
    assert error_message(answer, 408, "journal_timeout").startswith("After 0.05 s there were 0 of 1")
    for _ in range(2):
        world.http.get("/containers")
    assert [entry["number"] for entry in journal.get("/wait", after=4)["data"]] == [5]


def test_of_a_thousand_waiting_clients_that_leave_nothing_stays(world: World, journal: Reader) -> None:
    make(world)
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


# Following


def test_a_stream_tells_each_exchange(world: World, journal: Reader) -> None:
    make(world, "before")
    with journal.stream() as events:
        for name in ("one", "two"):
            make(world, name)
        for number, name in ((2, "one"), (3, "two")):
            event = next(events)
            assert (event["id"], event["event"]) == (str(number), "exchange")
            entry = json.loads(event["data"])
            assert entry["request"]["body"] == {"name": name}
            assert entry == journal.get(f"/{number}")


def test_a_stream_goes_on_where_it_was(world: World, journal: Reader) -> None:
    for number in range(AT_ONCE * 2 + 5):
        make(world, f"{number}")
    with journal.stream({"Last-Event-ID": "3"}) as events:
        assert [next(events)["id"] for _ in range(AT_ONCE * 2)] == [str(4 + number) for number in range(AT_ONCE * 2)]
    with journal.stream(after=0, text='"7"') as events:
        assert next(events)["id"] == "8"


def test_a_stream_tells_of_the_end_of_what_it_told(world: World, journal: Reader) -> None:
    make(world)
    with journal.stream(after=0) as events:
        assert next(events)["id"] == "1"
        ok(journal.client.delete(journal.url))
        assert next(events)["event"] == "cleared"
        make(world)
        assert next(events)["id"] == "2"
        ok(journal.client.post(f"{journal.url.removesuffix('/journal')}/reset"))
        assert next(events)["event"] == "cleared"
        make(world)
        assert next(events)["id"] == "1"
    with journal.stream({"Last-Event-ID": "70"}) as events:
        assert next(events)["event"] == "cleared"
        assert next(events)["id"] == "1"


def test_a_slow_reader_is_told_what_it_lost() -> None:
    """What it has not been sent, because it takes nothing, is what the journal still holds."""
    with MockServer(journal_entries=10) as server, World(server, "w") as world:
        reader = Reader(world)
        with reader.client, reader.stream() as events:
            server.run(busy(world, 30))
            event = next(events)
            assert (event["event"], json.loads(event["data"])) == ("dropped", {"dropped": 20})
            assert [next(events)["id"] for _ in range(10)] == [str(number) for number in range(21, 31)]


async def busy(world: World, count: int) -> None:
    """So many exchanges, before anything else gets its turn."""
    await world.server.mock.worlds.resolve(world.name)
    journal = world.server.mock.journal
    for _ in range(count):
        record(journal.open(world.name), journal)


def test_a_quiet_stream_says_that_it_is_there(world: World, journal: Reader, monkeypatch: Any) -> None:
    make(world)
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    with journal.stream() as events:
        assert [next(events).get("comment") for _ in range(3)] == ["still there"] * 3


@pytest.mark.parametrize("path", ["stream", "wait?text=never&timeout=9m"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_server_doesnt_wait_for_who_waits(path: str, stop: signal.Signals, tmp_path: Any) -> None:
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
            with suppress(ConnectionResetError):  # where the end of the stream is not read at once
                while reader.recv(1_000):
                    pass
            assert process.wait(120) == 0


def test_nor_for_who_doesnt_read() -> None:
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
def test_what_is_kept_is_bounded_and_what_was_last(steps: list[tuple[str, str, int]]) -> None:
    """Against a list of all that was recorded, oldest first. Bounds so narrow that a few steps come up to both."""
    journal, model, last = Journal(5, 8_000, Events()), [], dict.fromkeys("abc", 0)
    logs = {}
    for world, step, size in steps:
        if step == "r":
            logs[world] = journal.open(world)
            number = record(logs[world], journal, b'"%b"' % (b"x" * size))
            last[world] += 1
            assert number == last[world]
            model.append((world, number, size))
            while len(model) > 5 or sum(cost(number, size) for _, number, size in model) > 8_000:
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
def test_what_was_cleared_takes_no_room(end: Any) -> None:
    """Nor its place in the order of all, while the bounds are never come up to."""
    journal = Journal(1_000_000, 1 << 40, Events())
    record(journal.open("other"), journal)
    for _ in range(5_000):
        record(journal.open("world"), journal)
        end(journal, "world")
    assert len(journal._order) < 2_000
    assert journal.count("other") == journal._count == 1


def test_an_aborted_entry_takes_no_more_room() -> None:
    journal = Journal(10, 1 << 20, Events())
    log = journal.open("a")
    numbers = [record(log, journal) for _ in range(2)]
    for _ in range(2):
        journal.abort(log, numbers[0])
    assert [Entry(*each).shown["aborted"] for each in journal.records("a")] == [True, False]
    assert journal._bytes == cost(1, 0) + cost(2, 0) - 1
    journal.abort(log, 3)
    journal.forget("a")
    assert (journal._count, journal._bytes) == (0, 0)


def test_an_entry_takes_the_memory_that_is_counted_for_it() -> None:
    """And costs the garbage collector nothing."""
    journal = Journal(1_000, 1 << 30, Events())
    log = journal.open("world")
    record(log, journal)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(500):
        record(log, journal, b'"%b"' % (b"x" * 1_000))
    assert journal.count("world") == 501
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < journal._bytes
    gc.collect()
    assert not any(map(gc.is_tracked, journal.records("world")))


@cache
def base_cost() -> int:
    journal = Journal(10, 1 << 20, Events())
    record(journal.open("a"), journal)
    assert journal.count("a") == 1
    return journal._bytes


def cost(number: int, size: int) -> int:
    return base_cost() + size + len(str(number)) - 1


def test_many_short_worlds_leave_nothing(tmp_path: Any) -> None:
    with MockServer() as server, httpx2.Client(base_url=server.url, headers={"api-key": "x"}) as client:
        for number in range(60):
            client.post(f"/w/w{number}/v1/containers", json={"name": "box"})
            ok(client.delete(f"/_mock/worlds/w{number}"))
        journal = server.mock.journal
        assert (journal._worlds, journal._count, journal._bytes) == ({}, 0, 0)


def test_an_exchange_that_outlives_its_world_is_forgotten(world: World, journal: Reader) -> None:
    box = make(world)
    sent = form(('Content-Disposition: form-data; name="file"; filename="a.txt"', b"bytes"))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": str(len(sent))}
    with Wire(world) as wire:
        wire.head("POST", f"/containers/{box['id']}/files", headers)
        wire.send(sent[:50])
        make(world)  # by now the upload has begun
        ok(journal.client.delete(journal.url.removesuffix("/journal")))
        wire.send(sent[50:])
        wire.response()
    assert world.name not in world.server.mock.journal._worlds


def test_a_request_leaves_nothing_to_collect(world: World) -> None:
    """Garbage in cycles would cost each request more than its entry in the journal does."""
    make(world)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for path in ("/containers", "/containers/cntr_1", "/nope"):
            world.http.get(path)
        make(world)
        gc.collect()
        assert not {type(each).__name__ for each in gc.garbage} & {"Exchange", "RequestResponseCycle", "Protocol"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
