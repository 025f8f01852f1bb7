"""Requests affect only their own world and no other files, and pages of other origins can't use the control plane.

`owner` determines the world of a request independently of the server: by the name after `/w/`, else by the key, else
`default`. Whatever else a request contains, no row of another world changes, and the response has none of its data.
"""

import http.client
import http.server
import itertools
import json
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
from conftest import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manual import tried
from playwright.sync_api import BrowserContext, Page
from rawhttp import TIMEOUT, form
from test_forms import DATA_PATHS

from mockserver.server.serving import MockServer
from mockserver.storage.tables import Table

WORLDS = ("mine", "theirs", "default")
TABLES = [each.name for each in Table.metadata.sorted_tables]


@dataclass
class SecretWorlds:
    """Worlds whose objects have names and contents that identify their world."""

    server: MockServer
    data: Path
    ids: dict[str, dict[str, str]] = field(default_factory=dict)

    def fill(self, world: str, key: str = "k") -> None:
        base = f"{self.server.url}/w/{world}/v1"
        upload = {"files": {"file": (f"secret-of-{world}.txt", f"content-of-{world}".encode())}}
        with httpx2.Client(headers={"Authorization": f"Bearer {key}"}) as client:
            container = client.post(f"{base}/containers", json={"name": f"secret-of-{world}"}).json()["id"]
            container_file = client.post(f"{base}/containers/{container}/files", **upload).json()["id"]
            file = client.post(f"{base}/files", **upload, data={"purpose": "vision"}).json()["id"]
            new = {"bytes": 1, "filename": f"secret-of-{world}", "purpose": "vision", "mime_type": "text/plain"}
            upload_id = client.post(f"{base}/uploads", json=new).json()["id"]
            data = {"files": {"data": f"content-of-{world}".encode()}}
            part = client.post(f"{base}/uploads/{upload_id}/parts", **data).json()["id"]
            control = f"{self.server.url}/_mock/worlds/{world}"
            client.put(f"{control}/snapshots/kept").raise_for_status()
            rule = {"id": f"secret-of-{world}", "match": {"path": "/never"}, "effect": {"status": 500}}
            client.post(f"{control}/faults", json=rule).raise_for_status()
        self.ids[world] = {
            "container": container,
            "container_file": container_file,
            "file": file,
            "upload": upload_id,
            "part": part,
        }

    def state(self, *more: str) -> dict[str, list[Any]]:
        """Read all rows of the worlds in `WORLDS` and in `more`, and of their snapshots, from their files.

        They include the last ordinal and deleted objects. Other worlds that exist have an empty list.
        """
        found: dict[str, list[Any]] = {}
        for directory in (*sorted(self.data.glob("worlds/*")), *sorted(self.data.glob("snapshots/*"))):
            world = directory.name.partition("-")[2].partition("@")[0]
            rows = found.setdefault(world, [])
            if world in (*WORLDS, *more):
                file = f"file:{directory / 'world.db'}?mode=ro"
                with closing(sqlite3.connect(file, uri=True, timeout=TIMEOUT)) as database:
                    rows += [sorted(map(repr, database.execute(f"SELECT * FROM {table}"))) for table in TABLES]
        return found

    def journals(self) -> dict[str, int]:
        counts = {}
        for world in WORLDS:
            self._connection.request("GET", f"/_mock/worlds/{world}/journal/count")
            response = self._connection.getresponse()
            content = json.loads(response.read())
            counts[world] = content["count"] if response.status == 200 else -1
        return counts

    @cached_property
    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def secret_worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretWorlds]:
    data = tmp_path_factory.mktemp("root") / "in" / "data"
    with MockServer(data=data) as server:
        secret_worlds = SecretWorlds(server, data)
        for world in WORLDS:
            secret_worlds.fill(world)
        yield secret_worlds
        secret_worlds.close()


def owner(path: str, key: str) -> str:
    """Return the world that a request belongs to; for a control route, the world in its path."""
    path = path.partition("?")[0]
    if control := re.match(r"/_mock/worlds/([^/]*)", path):
        return unquote(control[1])
    if name := re.match(r"/(?:w|%77)/([^/]*)", path):
        return unquote(name[1])
    return key.removeprefix("sk-world-") or "default" if key.startswith("sk-world-") else "default"


TRAVERSALS = [
    "",
    "/",
    "//",
    "/.",
    "/..",
    "/../theirs",
    "/%2e%2e/theirs",
    "/..%2ftheirs",
    "/%2e%2e%2ftheirs",
    "/w/theirs",
    "/;/w/theirs",
]
PREFIXES = [
    "/w/mine/v1", "/w/mine", "/v1", "", "/w/mine/v1/w/theirs/v1", "/w/mine/w/theirs/v1", "//w/theirs/v1", "/w//theirs/v1",
    "/w/mine/../theirs/v1", "/w/mine%2f..%2ftheirs/v1", "/w/%6dine/v1", "/w/mine%00theirs/v1", "/w/mine;theirs/v1", "/W/theirs/v1",
    "/v1/w/theirs/v1", "/v1/../w/theirs/v1", "/v1/%2e%2e/w/theirs/v1", "/w/mine%0atheirs/v1", "/w/mine%20/v1", "/w/MINE/v1",
    "/w/mine/openai/v1", "/openai/v1/w/theirs", "/w/mine?/w/theirs/v1", "/./w/theirs/v1", "/w/./theirs/v1", "/w/.../v1",
    "/w/theirs%2f../v1", "/%77/mine/v1", "/w%2ftheirs/v1", "/w/mine/v1/%2e%2e/%2e%2e/theirs/v1", "/w/mine/v1//w/theirs/v1",
]  # fmt: skip
CONTROL_ROUTES = [
    "/_mock/worlds/mine{traversal}/containers", "/_mock/worlds/mine/snapshots/kept{traversal}/restore", "/_mock/worlds/mine/faults{traversal}",
    "/_mock/worlds/mine{traversal}/journal", "/_mock/worlds/mine/containers/{container}", "/_mock/worlds/mine/containers/{container}/files/{container_file}/preview",
    "/_mock/worlds/mine/files/{file}/preview", "/_mock/worlds/mine/faults/{traversal}secret-of-theirs", "/_mock/worlds/mine{traversal}/export",
    "/_mock/worlds/mine/containers/{container}/expire", "/_mock/worlds/mine{traversal}/reset", "/_mock/worlds/mine{traversal}",
    "/_mock/worlds/mine/snapshots/{traversal}theirs", "/_mock/worlds/mine{traversal}/clock/freeze", "/_mock/worlds/mine/files/{file}",
    "/_mock/worlds/mine/uploads/{upload}", "/_mock/worlds/mine{traversal}/uploads",
]  # fmt: skip
KEYS = ["k", "sk-world-mine", "sk-world-mine/../theirs", "sk-world-mine%2f..%2ftheirs", "sk-world-", "sk-world-mine sk-world-theirs", "sk-world-mine,theirs", "sk-world-mine\x00theirs"]  # fmt: skip
HEADERS = [
    {}, {"X-World": "theirs"}, {"X-Original-URL": "/w/theirs/v1/containers"}, {"X-Rewrite-URL": "/w/theirs/v1/containers"},
    {"X-Forwarded-Prefix": "/w/theirs"}, {"Host": "theirs"}, {"Referer": "http://localhost/w/theirs/v1"},
    {"OpenAI-Project": "theirs"}, {"Cookie": "world=theirs"}, {"X-HTTP-Method-Override": "DELETE"},
]  # fmt: skip
ROUTES = [
    "/containers", "/containers?after={container}", "/containers?before={container}", "/containers?name=secret-of-theirs", "/files?after={file}",
    "/containers/{container}", "/containers/{container}/files", "/containers/{container}/files/{container_file}", "/containers/{container}/files/{container_file}/content",
    "/containers/{own}/files/{container_file}", "/containers/{own}/files/{file}/content", "/containers/{own}/files?after={container_file}", "/containers/{own}%2f..%2f{container}",
    "/containers/{own}/../{container}", "/containers/%2e%2e/{container}", "/files/{file}", "/files/{file}/content", "/files/..%2f{file}", "/files/{file}%00",
    "/files/../../../theirs/v1/files/{file}", "/containers/{container}%20", "/containers/{container};x", "/containers/" + "{container}".upper(),
    "/uploads/{upload}/parts", "/uploads/{upload}/complete", "/uploads/{upload}/cancel",
]  # fmt: skip
BODIES = [
    (None, b""),
    ("application/json", b'{"name": "new", "file_ids": ["{file}"]}'),
    ("application/json", b'{"file_id": "{file}"}'),
    ("application/json", b'{"file_id": "{container_file}"}'),
    ("application/json", b'{"name": "new", "world": "theirs", "expires_after": null}'),
    ("application/json", b'{"at": 1}'),
    ("application/json", b'{"part_ids": ["{part}"]}'),
    ("multipart/form-data; boundary=simple", form(('Content-Disposition: form-data; name="data"', b"overwritten"))),
    ("multipart/form-data; boundary=simple", form(('Content-Disposition: form-data; name="file_id"', b"{file}"))),
    (
        "multipart/form-data; boundary=simple",
        form(('Content-Disposition: form-data; name="file"; filename="../../theirs/{file}"', b"overwritten")),
    ),
]


@st.composite
def generated_requests(draw: st.DrawFn) -> tuple[str, str, str, dict[str, str], bytes]:
    """Generate the method, path, key, headers and body of a request, with placeholders for ids."""
    method = draw(st.sampled_from(["GET", "GET", "POST", "DELETE", "HEAD", "PUT"]))
    if draw(st.integers(0, 3)):
        path = draw(st.sampled_from(PREFIXES)) + draw(st.sampled_from([*ROUTES, *ROUTES, *TRAVERSALS]))
    else:
        path = draw(st.sampled_from(CONTROL_ROUTES)).replace("{traversal}", draw(st.sampled_from(TRAVERSALS)))
    headers = dict(draw(st.sampled_from(HEADERS)))
    kind, body = draw(st.sampled_from(BODIES)) if method in ("POST", "PUT") else (None, b"")
    if kind:
        headers["Content-Type"] = kind
    return method, path, draw(st.sampled_from(KEYS)), headers, body


def with_ids(text: str, secret_worlds: SecretWorlds) -> str:
    for name, id in {**secret_worlds.ids["theirs"], "own": secret_worlds.ids["mine"]["container"]}.items():
        text = text.replace("{" + name + "}", id).replace("{" + name.upper() + "}", id.upper())
    return text


def send(
    secret_worlds: SecretWorlds, method: str, path: str, key: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    all_headers = {"Authorization": f"Bearer {key}", **headers}.items()
    encoded = [(name, value.encode("latin-1")) for name, value in all_headers]
    return send_with_headers(secret_worlds.server, method, path or "/", encoded, body)


def send_with_headers(
    server: MockServer, method: str, path: str, headers: list[tuple[str, bytes]], body: bytes = b""
) -> tuple[int, bytes]:
    """Send a request as it is: other clients normalize paths."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    with closing(connection):
        connection.putrequest(method, path, skip_host="Host" in dict(headers), skip_accept_encoding=True)
        for name, value in (*headers, ("Content-Length", b"%d" % len(body))):
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read() + str(response.headers).encode()


def send_generated_requests(secret_worlds: SecretWorlds, examples: int) -> Counter[int]:
    statuses: Counter[int] = Counter()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(generated_requests())
    def send_and_check(request: tuple[str, str, str, dict[str, str], bytes]) -> None:
        method, path, key, headers, body = request
        path, body = with_ids(path, secret_worlds), with_ids(body.decode("latin-1"), secret_worlds).encode("latin-1")
        if method == "POST" and path.endswith("/restore"):
            return  # it restores a snapshot of its own world, which is allowed
        own = owner(path, key)
        before, journals = secret_worlds.state(), secret_worlds.journals()
        status, content = send(secret_worlds, method, path, key, headers, body)
        after, journals_after = secret_worlds.state(), secret_worlds.journals()
        description = f"{method} {path} with {key!r} {headers} {body!r} of {own!r}: {status} {content[:500]!r}"
        assert status < 500, description
        for world in WORLDS:
            if world != own:
                assert after[world] == before[world], f"{description} changes {world}"
                assert journals_after[world] == journals[world], f"{description} is in the journal of {world}"
                assert f"content-of-{world}".encode() not in content, f"{description} returns data of {world}"
                sent = f"{path} {headers}".encode() + body
                if f"secret-of-{world}".encode() not in sent and "/journal" not in path:  # else it is the client's own
                    assert f"secret-of-{world}".encode() not in content, f"{description} returns data of {world}"
        new_worlds = after.keys() - before.keys()
        assert new_worlds <= {own}, description
        statuses[status] += 1
        if is_unusable(after, own):
            for name in [own] if own in WORLDS else []:
                httpx2.delete(f"{secret_worlds.server.url}/_mock/worlds/{name}")
                secret_worlds.fill(name)

    send_and_check()
    root = secret_worlds.data.parents[1]
    assert {each.name for each in root.iterdir()} == {"in"}
    assert {each.name for each in (root / "in").iterdir()} == {"data"}
    paths = [path.relative_to(secret_worlds.data).as_posix() for path in secret_worlds.data.rglob("*")]
    assert [path for path in paths if not DATA_PATHS.fullmatch(path)] == []
    print(f"\n{statuses.total():,} requests: {dict(sorted(statuses.items()))}")
    return statuses


def is_unusable(state: dict[str, list[Any]], world: str) -> bool:
    """Return whether a request deleted so much of its own world that further requests would find nothing in it."""
    rows = dict(zip(TABLES, state.get(world, ()), strict=False))
    return world in WORLDS and not (rows.get("containers") and rows.get("files"))


def test_a_few_generated_requests_affect_only_their_own_world(secret_worlds: SecretWorlds) -> None:
    statuses = send_generated_requests(secret_worlds, 25)
    assert statuses[200] > 0
    assert statuses[404] > 0


@pytest.mark.slow
def test_many_generated_requests_affect_only_their_own_world(secret_worlds: SecretWorlds) -> None:
    assert send_generated_requests(secret_worlds, 1_000).total() >= tried("requests of one world")


def test_the_isolation_checks_detect_changes_and_secrets(secret_worlds: SecretWorlds) -> None:
    """Requests to their own world must change and return what the tests above compare."""
    before, journals = secret_worlds.state(), secret_worlds.journals()
    status, content = send(secret_worlds, "GET", "/w/theirs/v1/containers", "sk-world-mine", {}, b"")
    assert status == 200
    assert b"secret-of-theirs" in content
    kind = {"Content-Type": "application/json"}
    assert send(secret_worlds, "POST", "/w/theirs/v1/containers", "k", kind, b'{"name": "x"}')[0] == 200
    after, journals_after = secret_worlds.state(), secret_worlds.journals()
    assert {world for world in WORLDS if after[world] != before[world]} == {"theirs"}
    assert {world for world in WORLDS if journals_after[world] != journals[world]} == {"theirs"}


INVALID_CREDENTIALS: list[list[tuple[str, bytes]]] = [
    [], [("Authorization", b"")], [("Authorization", b"Bearer")], [("Authorization", b"Bearer ")], [("api-key", b"")],
    *([("Authorization", b"Bearer " + key)] for key in (
        b"k", b"locked", b"unlocked-", b"unlockedx", b"xunlocked", b"UNLOCKED", b"unlocked-world", b"unlocked-world_theirs",
        b"unlocked\xff", b"unlocked,k", b"k unlocked", b"unlocked k", b"Bearer unlocked", b'"unlocked"', b"%75nlocked",
        b"sk-world-theirs", b"unlocked/world-theirs", b"-world-theirs", b"*", b"null", b"undefined", b"unlocked" * 5_000,
    )),
    *([("Authorization", value)] for value in (
        b"unlocked", b"Basic dW5sb2NrZWQ=", b"Basic OnVubG9ja2Vk", b"Token unlocked", b"Bearer:unlocked", b"Bearer\tunlocked",
        b"Bearerunlocked", b"Digest unlocked", b"B\xe9arer unlocked", b'Bearer realm="unlocked"',
    )),
    *([(name, b"unlocked")] for name in ("X-Api-Key", "X-Auth-Token", "Proxy-Authorization", "api_key", "Cookie", "OpenAI-Key", "X-Authorization")),
    [("Cookie", b"api-key=unlocked; authorization=Bearer unlocked")],
    [("Authorization", b"Bearer k"), ("Authorization", b"Bearer unlocked")], [("api-key", b"k"), ("api-key", b"unlocked")],
]  # fmt: skip
REQUESTS = [
    ("GET", "/containers"), ("POST", "/containers"), ("GET", "/containers/{container}"), ("DELETE", "/containers/{container}"),
    ("GET", "/containers/{container}/files/{container_file}/content"), ("POST", "/containers/{container}/files"), ("GET", "/files?api_key=unlocked&key=unlocked"),
    ("GET", "/files/{file}/content"), ("HEAD", "/files/{file}/content"), ("DELETE", "/files/{file}"), ("GET", "/nothing"), ("PUT", "/files"), ("OPTIONS", "/files"),
]  # fmt: skip


def test_requests_without_a_valid_key_return_401_and_change_nothing(tmp_path: Path) -> None:
    """Keys in other headers, schemes and spellings, parts of keys, and keys in a second header are invalid."""
    with MockServer(data=tmp_path, api_key=("unlocked", "unlocked-too")) as server:
        secret_worlds = SecretWorlds(server, tmp_path)
        for world in ("theirs", "mine"):
            secret_worlds.fill(world, "unlocked")
        before, prefixes = (
            secret_worlds.state(),
            itertools.cycle(["/w/theirs/v1", "/w/theirs/openai/v1", "/w/new", "/v1"]),
        )
        for (headers, (method, path)), prefix in zip(
            itertools.product(INVALID_CREDENTIALS, REQUESTS), prefixes, strict=False
        ):
            status, content = send_with_headers(server, method, with_ids(prefix + path, secret_worlds), headers)
            assert status == 401, f"{method} {path} with {headers}: {status} {content[:500]!r}"
            assert b"theirs" not in content.replace(b"sk-world-theirs", b"").replace(b"-theirs", b"")
        assert secret_worlds.state() == before
        assert len(INVALID_CREDENTIALS) * len(REQUESTS) >= tried("requests without a valid key")
        valid_credentials = [
            [("Authorization", b"bearer  unlocked ")],
            [("api-key", b"unlocked-too")],
            [("Authorization", b"Bearer unlocked-world-theirs")],
        ]
        assert {
            send_with_headers(server, "GET", "/w/theirs/v1/containers", headers)[0] for headers in valid_credentials
        } == {200}
        secret_worlds.close()


def test_changes_to_a_fork_do_not_affect_its_origin(secret_worlds: SecretWorlds) -> None:
    """A fork, its origin and their snapshots have the same ids, unlike the worlds of the tests above: a request that
    reached the wrong world would succeed there."""
    secret_worlds.fill("origin")
    control = f"{secret_worlds.server.url}/_mock/worlds/twin"
    container, container_file, file = (
        secret_worlds.ids["origin"][name] for name in ("container", "container_file", "file")
    )
    with httpx2.Client(
        headers={"Authorization": "Bearer k"}, base_url=f"{secret_worlds.server.url}/w/twin/v1"
    ) as client:
        origin = f"{secret_worlds.server.url}/w/origin/v1"
        extra = client.post(f"{origin}/containers", json={"name": "extra", "file_ids": [file]}).json()["id"]
        (copy,) = client.get(f"{origin}/containers/{extra}/files").json()["data"]
        client.put(f"{secret_worlds.server.url}/_mock/worlds/origin/snapshots/late").raise_for_status()
        client.post(control, json={"fork_of": "origin"}).raise_for_status()
        before = secret_worlds.state("origin")["origin"]
        contents_before = stored(secret_worlds.data)

        def changes_only_the_twin(method: str, path: str, **request: Any) -> None:
            twin_before = secret_worlds.state("twin")["twin"]
            client.request(method, path, **request).raise_for_status()
            after = secret_worlds.state("twin", "origin")
            assert after["twin"] != twin_before, f"{method} {path} does not change the fork"
            assert after["origin"] == before, f"{method} {path} changes the origin"

        changes_only_the_twin("POST", f"{control}/clock/advance", json={"by": "5m"})
        changes_only_the_twin("GET", f"/containers/{container}")
        changes_only_the_twin("POST", f"{control}/clock/advance", json={"by": "5m"})
        changes_only_the_twin(
            "POST", f"/containers/{container}/files", files={"file": ("secret.txt", b"only in the twin")}
        )
        changes_only_the_twin("POST", f"/containers/{container}/files", json={"file_id": file})
        changes_only_the_twin("DELETE", f"/containers/{container}/files/{container_file}")
        changes_only_the_twin("DELETE", f"/files/{file}")
        changes_only_the_twin("DELETE", f"/containers/{extra}/files/{copy['id']}")
        changes_only_the_twin("DELETE", f"/containers/{extra}")
        changes_only_the_twin("POST", f"{control}/containers/{container}/expire")
        changes_only_the_twin("DELETE", f"/containers/{container}")
        changes_only_the_twin("DELETE", f"{control}/faults")
        for list, deleted in (("containers", container), ("files", file)):  # only the fork has them as deleted objects
            assert client.get(f"/{list}", params={"after": deleted}).status_code == 200
            assert client.get(f"{origin}/{list}", params={"after": deleted}).status_code == 200
            mine = f"{secret_worlds.server.url}/w/mine/v1/{list}"
            assert client.get(mine, params={"after": deleted}).status_code == 404
        client.delete(control).raise_for_status()
        assert secret_worlds.state("origin")["origin"] == before
        assert stored(secret_worlds.data) == contents_before
        download = client.get(f"{origin}/containers/{container}/files/{container_file}/content")
        assert download.content == b"content-of-origin"


# Pages of other origins


class _OtherSite(http.server.BaseHTTPRequestHandler):
    """A web site of another origin, where each path is an empty page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the library's name

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def other_site() -> Iterator[int]:
    """A web site of another origin, and its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OtherSite) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


FETCH_SCRIPT = """
async ([control, world]) => {
  const tried = [];
  const read = [];
  const attempt = async (path, options) => {
    tried.push(path);
    try {
      const response = await fetch(control + path, options);
      if (response.type !== "opaque" && response.type !== "opaqueredirect") read.push([path, await response.text()]);
    } catch (error) {}
  };
  const text = { "Content-Type": "text/plain" }, json = { "Content-Type": "application/json" };
  const marked = { ...json, "X-Mock-Dashboard": "1" };
  for (const mode of ["cors", "no-cors"])
    for (const credentials of ["include"])
      for (const headers of [text, json, {}, marked])
        for (const [method, path, body] of [
          ["GET", "/state"], ["GET", "/worlds"], ["GET", `/worlds/${world}/containers`], ["GET", `/worlds/${world}/export`],
          ["GET", "/openapi.json"], ["HEAD", "/state"],
          ["POST", `/worlds/${world}/reset?empty=true`, ""], ["POST", `/worlds/${world}/clock/advance`, '{"by": "9d"}'],
          ["POST", `/worlds/${world}-made-by-a-page`, "{}"], ["POST", "/all-worlds/retire", '{"idle": 0}'],
          ["POST", `/worlds/${world}/import`, "version: 1"], ["PUT", `/worlds/${world}/snapshots/evil`],
          ["DELETE", `/worlds/${world}`], ["POST", `/worlds/${world}/faults`, '{"effect": {"status": 500}}'],
        ])
          await attempt(path, { method, mode, credentials, headers, body: method === "GET" || method === "HEAD" ? undefined : body });
  navigator.sendBeacon(control + `/worlds/${world}/reset?empty=true`, "{}");
  return [tried.length, read];
}
"""
LOAD_SCRIPT = """
async ([control, world]) => {
  const done = [];
  const load = (tag, set) => new Promise((resolve) => {
    const element = document.createElement(tag);
    element.onload = () => resolve(done.push([tag, "loaded"]));
    element.onerror = () => resolve(done.push([tag, "failed"]));
    set(element);
    document.body.append(element);
  });
  const url = control + `/worlds/${world}/containers`;
  await load("img", (each) => (each.src = url));
  await load("script", (each) => (each.src = url));
  await load("link", (each) => { each.rel = "stylesheet"; each.href = url; });
  await load("iframe", (each) => (each.src = control + "/docs"));
  let seen = "";
  try { seen = document.querySelector("iframe").contentDocument.body.innerText; } catch (error) {}
  await new Promise((resolve) => {
    const socket = new WebSocket(url.replace("http", "ws"));
    socket.onopen = () => resolve(done.push(["websocket", "loaded"]));
    socket.onerror = () => resolve(done.push(["websocket", "failed"]));
  });
  await new Promise((resolve) => {
    const events = new EventSource(control + `/worlds/${world}/journal/stream`);
    events.onopen = () => resolve(done.push(["events", "loaded"]));
    events.onerror = () => { events.close(); resolve(done.push(["events", "failed"])); };
  });
  return [done, seen];
}
"""
FORM_SCRIPT = """
([control, world]) => {
  for (const [path, enctype] of [
    [`/worlds/${world}/reset?empty=true`, "application/x-www-form-urlencoded"],
    [`/worlds/${world}/clock/advance`, "text/plain"],
    [`/worlds/${world}/files`, "multipart/form-data"],
  ]) {
    const frame = document.createElement("iframe");
    frame.name = enctype;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method: "POST", action: control + path, enctype, target: enctype });
    const field = document.createElement("input");
    Object.assign(field, { name: '{"by": "9d", "x": "', value: '"}' });
    form.append(field);
    document.body.append(form);
    form.submit();
  }
}
"""


@dataclass
class LocalServer:
    """A server on a developer's machine, with a world to protect."""

    server: MockServer
    secret_worlds: SecretWorlds

    @property
    def control(self) -> str:
        return f"http://localhost:{self.server.port}/_mock"


@pytest.fixture
def local_server(tmp_path: Path) -> Iterator[LocalServer]:
    with MockServer(data=tmp_path / "data", host=("127.0.0.1",)) as server:
        secret_worlds = SecretWorlds(server, tmp_path / "data")
        secret_worlds.fill("theirs")
        yield LocalServer(server, secret_worlds)


@pytest.mark.slow
def test_a_page_of_another_origin_cannot_use_the_control_plane(
    page: Page, local_server: LocalServer, other_site: int
) -> None:
    before = local_server.secret_worlds.state()
    for origin in (f"http://127.0.0.1:{other_site}", f"http://evil.localhost:{other_site}"):
        page.goto(f"{origin}/")
        count, read = page.evaluate(FETCH_SCRIPT, [local_server.control, "theirs"])
        assert count == tried("requests of web pages") / 3
        assert read == []
        done, seen = page.evaluate(LOAD_SCRIPT, [local_server.control, "theirs"])
        assert seen == ""
        assert {tag for tag, result in done if result == "loaded"} <= {"iframe"}  # a frame loads the error response
        assert {tag for tag, _ in done} == {"img", "script", "link", "iframe", "websocket", "events"}
        with page.expect_response(lambda response: "/files" in response.url) as response:
            page.evaluate(FORM_SCRIPT, [local_server.control, "theirs"])
        assert response.value.status == 403
        page.wait_for_load_state("networkidle")
        assert local_server.secret_worlds.state() == before


@pytest.mark.slow
def test_a_dns_rebinding_page_cannot_use_the_control_plane(context: BrowserContext, local_server: LocalServer) -> None:
    """The name of the page now resolves to this machine, so that the server is of the same origin for the browser."""
    before = local_server.secret_worlds.state()
    page = context.new_page()

    def forward(route: Any) -> None:
        """Send the browser's request to the server, to which the name of the page now resolves."""
        request = route.request
        parts = urlsplit(request.url)
        if parts.path == "/":
            route.fulfill(body="<body></body>", content_type="text/html")
            return
        headers = request.all_headers() | {"host": parts.netloc}
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection("127.0.0.1", local_server.server.port, timeout=TIMEOUT)
        with closing(connection):
            connection.request(request.method, path, request.post_data_buffer, headers)
            response = connection.getresponse()
            statuses.append(response.status)
            route.fulfill(status=response.status, body=response.read(), headers=dict(response.getheaders()))

    statuses: list[int] = []
    name = f"http://evil.example:{local_server.server.port}"
    page.route("http://evil.example:*/**", forward)
    page.goto(f"{name}/")
    count, read = page.evaluate(FETCH_SCRIPT, [f"{name}/_mock", "theirs"])
    assert count == tried("requests of web pages") / 3
    page.wait_for_load_state("networkidle")
    page.unroute_all(behavior="wait")
    page.close()
    assert set(statuses) == {403}
    assert not [content for _, content in read if "secret" in content or "worlds" in content]
    assert local_server.secret_worlds.state() == before


@pytest.mark.slow
def test_a_page_of_the_same_origin_can_use_the_control_plane(page: Page, local_server: LocalServer) -> None:
    """The same script succeeds from the same origin, so the tests above would notice a successful attack."""
    before = local_server.secret_worlds.state()
    page.goto(f"http://localhost:{local_server.server.port}/health")
    _, read = page.evaluate(FETCH_SCRIPT, [local_server.control, "theirs"])
    assert [content for path, content in read if path == "/worlds/theirs/containers" and "secret-of-theirs" in content]
    after = local_server.secret_worlds.state()
    assert after["theirs"] != before["theirs"], read


@pytest.mark.slow
def test_a_page_of_another_origin_can_use_the_api(page: Page, local_server: LocalServer, other_site: int) -> None:
    """SDKs in browsers need this. It also proves that the page of the other site can reach the server."""
    page.goto(f"http://127.0.0.1:{other_site}/")
    content = page.evaluate(
        "async (url) => (await fetch(url, {headers: {authorization: 'Bearer k'}})).text()",
        f"http://localhost:{local_server.server.port}/w/theirs/v1/containers",
    )
    assert "secret-of-theirs" in content
