"""No request gets out of its world, onto the disk, or from another origin's page into the control plane.

Whose a request is, is decided here anew and plainly: by the name behind `/w/`, else by the key, else `default`.
Whatever else it says, the rows of all other worlds stay as they were, and nothing of theirs is in the answer.
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
from test_forms import TREE

from mockserver.server.serving import MockServer

WORLDS = ("mine", "theirs", "default")
TABLES = (
    "world",
    "containers",
    "container_files",
    "files",
    "uploads",
    "upload_parts",
    "skills",
    "skill_versions",
    "faults",
    "contents",
)


@dataclass
class Scene:
    """Three worlds, each with things whose names and contents give it away."""

    server: MockServer
    data: Path
    ids: dict[str, dict[str, str]] = field(default_factory=dict)

    def furnish(self, world: str, key: str = "k") -> None:
        base = f"{self.server.url}/w/{world}/v1"
        upload = {"files": {"file": (f"secret-of-{world}.txt", f"content-of-{world}".encode())}}
        with httpx2.Client(headers={"Authorization": f"Bearer {key}"}) as client:
            container = client.post(f"{base}/containers", json={"name": f"secret-of-{world}"}).json()["id"]
            inside = client.post(f"{base}/containers/{container}/files", **upload).json()["id"]
            file = client.post(f"{base}/files", **upload, data={"purpose": "vision"}).json()["id"]
            new = {"bytes": 1, "filename": f"secret-of-{world}", "purpose": "vision", "mime_type": "text/plain"}
            pending = client.post(f"{base}/uploads", json=new).json()["id"]
            data = {"files": {"data": f"content-of-{world}".encode()}}
            part = client.post(f"{base}/uploads/{pending}/parts", **data).json()["id"]
            control = f"{self.server.url}/_mock/worlds/{world}"
            client.put(f"{control}/snapshots/kept").raise_for_status()
            rule = {"id": f"secret-of-{world}", "match": {"path": "/never"}, "effect": {"status": 500}}
            client.post(f"{control}/faults", json=rule).raise_for_status()
        self.ids[world] = {"container": container, "inside": inside, "file": file, "upload": pending, "part": part}

    def state(self, *more: str) -> dict[str, list[Any]]:
        """Every row of the worlds above, and of those that are named, with their snapshots', straight from the disk: the
        world's own last ordinal and deleted objects included. Of other worlds that there are, nothing."""
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
        counted = {}
        for world in WORLDS:
            self._connection.request("GET", f"/_mock/worlds/{world}/journal/count")
            answer = self._connection.getresponse()
            said = json.loads(answer.read())
            counted[world] = said["count"] if answer.status == 200 else -1
        return counted

    @cached_property
    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data = tmp_path_factory.mktemp("root") / "in" / "data"
    with MockServer(data=data) as server:
        scene = Scene(server, data)
        for world in WORLDS:
            scene.furnish(world)
        yield scene
        scene.close()


def owner(path: str, key: str) -> str:
    """The world whose request it is; of a control route, the world in it."""
    path = path.partition("?")[0]
    if control := re.match(r"/_mock/worlds/([^/]*)", path):
        return unquote(control[1])
    if named := re.match(r"/(?:w|%77)/([^/]*)", path):
        return unquote(named[1])
    return key.removeprefix("sk-world-") or "default" if key.startswith("sk-world-") else "default"


CLIMBS = [
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
CONTROL = [
    "/_mock/worlds/mine{climb}/containers", "/_mock/worlds/mine/snapshots/kept{climb}/restore", "/_mock/worlds/mine/faults{climb}",
    "/_mock/worlds/mine{climb}/journal", "/_mock/worlds/mine/containers/{container}", "/_mock/worlds/mine/containers/{container}/files/{inside}/preview",
    "/_mock/worlds/mine/files/{file}/preview", "/_mock/worlds/mine/faults/{climb}secret-of-theirs", "/_mock/worlds/mine{climb}/export",
    "/_mock/worlds/mine/containers/{container}/expire", "/_mock/worlds/mine{climb}/reset", "/_mock/worlds/mine{climb}",
    "/_mock/worlds/mine/snapshots/{climb}theirs", "/_mock/worlds/mine{climb}/clock/freeze", "/_mock/worlds/mine/files/{file}",
    "/_mock/worlds/mine/uploads/{upload}", "/_mock/worlds/mine{climb}/uploads",
]  # fmt: skip
KEYS = ["k", "sk-world-mine", "sk-world-mine/../theirs", "sk-world-mine%2f..%2ftheirs", "sk-world-", "sk-world-mine sk-world-theirs", "sk-world-mine,theirs", "sk-world-mine\x00theirs"]  # fmt: skip
HEADERS = [
    {}, {"X-World": "theirs"}, {"X-Original-URL": "/w/theirs/v1/containers"}, {"X-Rewrite-URL": "/w/theirs/v1/containers"},
    {"X-Forwarded-Prefix": "/w/theirs"}, {"Host": "theirs"}, {"Referer": "http://localhost/w/theirs/v1"},
    {"OpenAI-Project": "theirs"}, {"Cookie": "world=theirs"}, {"X-HTTP-Method-Override": "DELETE"},
]  # fmt: skip
ROUTES = [
    "/containers", "/containers?after={container}", "/containers?before={container}", "/containers?name=secret-of-theirs", "/files?after={file}",
    "/containers/{container}", "/containers/{container}/files", "/containers/{container}/files/{inside}", "/containers/{container}/files/{inside}/content",
    "/containers/{own}/files/{inside}", "/containers/{own}/files/{file}/content", "/containers/{own}/files?after={inside}", "/containers/{own}%2f..%2f{container}",
    "/containers/{own}/../{container}", "/containers/%2e%2e/{container}", "/files/{file}", "/files/{file}/content", "/files/..%2f{file}", "/files/{file}%00",
    "/files/../../../theirs/v1/files/{file}", "/containers/{container}%20", "/containers/{container};x", "/containers/" + "{container}".upper(),
    "/uploads/{upload}/parts", "/uploads/{upload}/complete", "/uploads/{upload}/cancel",
]  # fmt: skip
BODIES = [
    (None, b""),
    ("application/json", b'{"name": "new", "file_ids": ["{file}"]}'),
    ("application/json", b'{"file_id": "{file}"}'),
    ("application/json", b'{"file_id": "{inside}"}'),
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
def attempts(draw: st.DrawFn) -> tuple[str, str, str, dict[str, str], bytes]:
    """Method, path, key, headers and body, with placeholders for ids."""
    method = draw(st.sampled_from(["GET", "GET", "POST", "DELETE", "HEAD", "PUT"]))
    if draw(st.integers(0, 3)):
        path = draw(st.sampled_from(PREFIXES)) + draw(st.sampled_from([*ROUTES, *ROUTES, *CLIMBS]))
    else:
        path = draw(st.sampled_from(CONTROL)).replace("{climb}", draw(st.sampled_from(CLIMBS)))
    headers = dict(draw(st.sampled_from(HEADERS)))
    kind, body = draw(st.sampled_from(BODIES)) if method in ("POST", "PUT") else (None, b"")
    if kind:
        headers["Content-Type"] = kind
    return method, path, draw(st.sampled_from(KEYS)), headers, body


def filled(text: str, scene: Scene) -> str:
    for name, id in {**scene.ids["theirs"], "own": scene.ids["mine"]["container"]}.items():
        text = text.replace("{" + name + "}", id).replace("{" + name.upper() + "}", id.upper())
    return text


def send(scene: Scene, method: str, path: str, key: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """As it stands: no client that tidies up the path."""
    connection = http.client.HTTPConnection("127.0.0.1", scene.server.port, timeout=TIMEOUT)
    with closing(connection):
        connection.putrequest(method, path or "/", skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in {"Authorization": f"Bearer {key}", "Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read() + str(answer.headers).encode()


def trespass(scene: Scene, examples: int) -> Counter[int]:
    statuses: Counter[int] = Counter()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(attempts())
    def attempt(asked: tuple[str, str, str, dict[str, str], bytes]) -> None:
        method, path, key, headers, body = asked
        path, body = filled(path, scene), filled(body.decode("latin-1"), scene).encode("latin-1")
        if method == "POST" and path.endswith("/restore"):
            return  # of its own world's snapshot: that is what it is for
        own = owner(path, key)
        before, journals = scene.state(), scene.journals()
        status, said = send(scene, method, path, key, headers, body)
        after, remembered = scene.state(), scene.journals()
        what = f"{method} {path} with {key!r} {headers} {body!r} is of {own!r}: {status} {said[:500]!r}"
        assert status < 500, what
        for world in WORLDS:
            if world != own:
                assert after[world] == before[world], f"{what}, and changed {world}"
                assert remembered[world] == journals[world], f"{what}, and is in the journal of {world}"
                assert f"content-of-{world}".encode() not in said, f"{what}, and shows {world}"
                sent = f"{path} {headers}".encode() + body
                if f"secret-of-{world}".encode() not in sent and "/journal" not in path:  # where the sender said it
                    assert f"secret-of-{world}".encode() not in said, f"{what}, and shows {world}"
        strangers = after.keys() - before.keys()
        assert strangers <= {own}, what
        statuses[status] += 1
        if world_is_bare(after, own):
            for name in [own] if own in WORLDS else []:
                httpx2.delete(f"{scene.server.url}/_mock/worlds/{name}")
                scene.furnish(name)

    attempt()
    root = scene.data.parents[1]
    assert {each.name for each in root.iterdir()} == {"in"}
    assert {each.name for each in (root / "in").iterdir()} == {"data"}
    paths = [path.relative_to(scene.data).as_posix() for path in scene.data.rglob("*")]
    assert [path for path in paths if not TREE.fullmatch(path)] == []
    print(f"\n{statuses.total():,} attempts: {dict(sorted(statuses.items()))}")
    return statuses


def world_is_bare(state: dict[str, list[Any]], world: str) -> bool:
    """Whether an attempt on its own world was so successful that there is nothing left to attack it from."""
    return world in WORLDS and not (state.get(world) and state[world][1] and state[world][3])


def test_no_request_leaves_its_world(scene: Scene) -> None:
    statuses = trespass(scene, 25)
    assert statuses[200] > 0
    assert statuses[404] > 0


@pytest.mark.slow
def test_no_request_of_many_leaves_its_world(scene: Scene) -> None:
    assert trespass(scene, 1_000).total() >= tried("requests of one world")


def test_a_trespass_would_be_noticed(scene: Scene) -> None:
    """The control case: what the owner does changes and shows what the tests above look at."""
    before, journals = scene.state(), scene.journals()
    status, said = send(scene, "GET", "/w/theirs/v1/containers", "sk-world-mine", {}, b"")
    assert status == 200
    assert b"secret-of-theirs" in said
    kind = {"Content-Type": "application/json"}
    assert send(scene, "POST", "/w/theirs/v1/containers", "k", kind, b'{"name": "x"}')[0] == 200
    after, remembered = scene.state(), scene.journals()
    assert {world for world in WORLDS if after[world] != before[world]} == {"theirs"}
    assert {world for world in WORLDS if remembered[world] != journals[world]} == {"theirs"}


LOCKED: list[list[tuple[str, bytes]]] = [
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
DOORS = [
    ("GET", "/containers"), ("POST", "/containers"), ("GET", "/containers/{container}"), ("DELETE", "/containers/{container}"),
    ("GET", "/containers/{container}/files/{inside}/content"), ("POST", "/containers/{container}/files"), ("GET", "/files?api_key=unlocked&key=unlocked"),
    ("GET", "/files/{file}/content"), ("HEAD", "/files/{file}/content"), ("DELETE", "/files/{file}"), ("GET", "/nothing"), ("PUT", "/files"), ("OPTIONS", "/files"),
]  # fmt: skip


def test_nothing_is_told_or_done_without_a_key(tmp_path: Path) -> None:
    """However it is sent: behind a wrong name, scheme or spelling, as a part of something, or second."""
    with MockServer(data=tmp_path, api_key=("unlocked", "unlocked-too")) as server:
        scene = Scene(server, tmp_path)
        for world in ("theirs", "mine"):
            scene.furnish(world, "unlocked")
        before, prefixes = scene.state(), itertools.cycle(["/w/theirs/v1", "/w/theirs/openai/v1", "/w/new", "/v1"])
        for (headers, (method, path)), prefix in zip(itertools.product(LOCKED, DOORS), prefixes, strict=False):
            status, said = bare(server, method, filled(prefix + path, scene), headers)
            assert status == 401, f"{method} {path} with {headers}: {status} {said[:500]!r}"
            assert b"theirs" not in said.replace(b"sk-world-theirs", b"").replace(b"-theirs", b"")
        assert scene.state() == before
        assert len(LOCKED) * len(DOORS) >= tried("requests with no key")
        let_in = [
            [("Authorization", b"bearer  unlocked ")],
            [("api-key", b"unlocked-too")],
            [("Authorization", b"Bearer unlocked-world-theirs")],
        ]
        assert {bare(server, "GET", "/w/theirs/v1/containers", headers)[0] for headers in let_in} == {200}
        scene.close()


def bare(server: MockServer, method: str, path: str, headers: list[tuple[str, bytes]]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    with closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read() + str(answer.headers).encode()


def test_a_fork_and_its_origin_are_two_although_their_ids_are_the_same(scene: Scene) -> None:
    """Above, ids are different in each world, so that a statement which forgets the world finds nothing all the
    same. Here whatever is done to the twin is done to ids that its origin and its snapshots have too."""
    scene.furnish("origin")
    control = f"{scene.server.url}/_mock/worlds/twin"
    container, inside, file = (scene.ids["origin"][name] for name in ("container", "inside", "file"))
    with httpx2.Client(headers={"Authorization": "Bearer k"}, base_url=f"{scene.server.url}/w/twin/v1") as client:
        origin = f"{scene.server.url}/w/origin/v1"
        extra = client.post(f"{origin}/containers", json={"name": "extra", "file_ids": [file]}).json()["id"]
        (copy,) = client.get(f"{origin}/containers/{extra}/files").json()["data"]
        client.put(f"{scene.server.url}/_mock/worlds/origin/snapshots/late").raise_for_status()
        client.post(control, json={"fork_of": "origin"}).raise_for_status()
        before = scene.state("origin")["origin"]
        bytes_before = stored(scene.data)

        def does(method: str, path: str, **request: Any) -> None:
            was = scene.state("twin")["twin"]
            client.request(method, path, **request).raise_for_status()
            now = scene.state("twin", "origin")
            assert now["twin"] != was, f"{method} {path} does nothing"
            assert now["origin"] == before, f"{method} {path} is done to the origin too"

        does("POST", f"{control}/clock/advance", json={"by": "5m"})
        does("GET", f"/containers/{container}")
        does("POST", f"{control}/clock/advance", json={"by": "5m"})
        does("POST", f"/containers/{container}/files", files={"file": ("secret.txt", b"of the twin alone")})
        does("POST", f"/containers/{container}/files", json={"file_id": file})
        does("DELETE", f"/containers/{container}/files/{inside}")
        does("DELETE", f"/files/{file}")
        does("DELETE", f"/containers/{extra}/files/{copy['id']}")
        does("DELETE", f"/containers/{extra}")
        does("POST", f"{control}/containers/{container}/expire")
        does("DELETE", f"/containers/{container}")
        does("DELETE", f"{control}/faults")
        for list, gone in (("containers", container), ("files", file)):  # where the twin has a grave, no other has one
            assert client.get(f"/{list}", params={"after": gone}).status_code == 200
            assert client.get(f"{origin}/{list}", params={"after": gone}).status_code == 200
            elsewhere = f"{scene.server.url}/w/mine/v1/{list}"
            assert client.get(elsewhere, params={"after": gone}).status_code == 404
        client.delete(control).raise_for_status()
        assert scene.state("origin")["origin"] == before
        assert stored(scene.data) == bytes_before
        shown = client.get(f"{origin}/containers/{container}/files/{inside}/content")
        assert shown.content == b"content-of-origin"


# Pages of other origins


class _Site(http.server.BaseHTTPRequestHandler):
    """Somebody else's web site: any path is an empty page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the library's name

    def log_message(self, format: str, *args: object) -> None:
        """Quietly."""


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """The port of another origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


FETCHES = """
async ([control, world]) => {
  const tried = [];
  const read = [];
  const attempt = async (path, how) => {
    tried.push(path);
    try {
      const answer = await fetch(control + path, how);
      if (answer.type !== "opaque" && answer.type !== "opaqueredirect") read.push([path, await answer.text()]);
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
LOADS = """
async ([control, world]) => {
  const done = [];
  const load = (tag, set) => new Promise((resolve) => {
    const element = document.createElement(tag);
    element.onload = () => resolve(done.push([tag, "loaded"]));
    element.onerror = () => resolve(done.push([tag, "failed"]));
    set(element);
    document.body.append(element);
  });
  const where = control + `/worlds/${world}/containers`;
  await load("img", (each) => (each.src = where));
  await load("script", (each) => (each.src = where));
  await load("link", (each) => { each.rel = "stylesheet"; each.href = where; });
  await load("iframe", (each) => (each.src = control + "/docs"));
  let seen = "";
  try { seen = document.querySelector("iframe").contentDocument.body.innerText; } catch (error) {}
  await new Promise((resolve) => {
    const socket = new WebSocket(where.replace("http", "ws"));
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
FORMS = """
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
class Victim:
    """A server that a developer has running, with a world worth something."""

    server: MockServer
    scene: Scene

    @property
    def control(self) -> str:
        return f"http://localhost:{self.server.port}/_mock"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    with MockServer(data=tmp_path / "data", host=("127.0.0.1",)) as server:
        scene = Scene(server, tmp_path / "data")
        scene.furnish("theirs")
        yield Victim(server, scene)


@pytest.mark.slow
def test_a_page_of_another_origin_can_do_and_see_nothing(page: Page, victim: Victim, site: int) -> None:
    before = victim.scene.state()
    for origin in (f"http://127.0.0.1:{site}", f"http://evil.localhost:{site}"):
        page.goto(f"{origin}/")
        asked, read = page.evaluate(FETCHES, [victim.control, "theirs"])
        assert asked == tried("requests of a web page") / 3
        assert read == []
        done, seen = page.evaluate(LOADS, [victim.control, "theirs"])
        assert seen == ""
        assert {tag for tag, how in done if how == "loaded"} <= {"iframe"}  # a frame loads its refusal
        assert {tag for tag, _ in done} == {"img", "script", "link", "iframe", "websocket", "events"}
        with page.expect_response(lambda answer: "/files" in answer.url) as answer:
            page.evaluate(FORMS, [victim.control, "theirs"])
        assert answer.value.status == 403
        page.wait_for_load_state("networkidle")
        assert victim.scene.state() == before


@pytest.mark.slow
def test_a_page_whose_name_leads_here_can_do_and_see_nothing(context: BrowserContext, victim: Victim) -> None:
    """DNS rebinding: the page's own name now means this machine, so that to the browser all is of one origin."""
    before = victim.scene.state()
    page = context.new_page()

    def rebound(route: Any) -> None:
        """What the browser would send, to where the name now leads."""
        asked = route.request
        parts = urlsplit(asked.url)
        if parts.path == "/":
            route.fulfill(body="<body></body>", content_type="text/html")
            return
        headers = asked.all_headers() | {"host": parts.netloc}
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection("127.0.0.1", victim.server.port, timeout=TIMEOUT)
        with closing(connection):
            connection.request(asked.method, path, asked.post_data_buffer, headers)
            answer = connection.getresponse()
            statuses.append(answer.status)
            route.fulfill(status=answer.status, body=answer.read(), headers=dict(answer.getheaders()))

    statuses: list[int] = []
    name = f"http://evil.example:{victim.server.port}"
    page.route("http://evil.example:*/**", rebound)
    page.goto(f"{name}/")
    asked, read = page.evaluate(FETCHES, [f"{name}/_mock", "theirs"])
    assert asked == tried("requests of a web page") / 3
    page.wait_for_load_state("networkidle")
    page.unroute_all(behavior="wait")
    page.close()
    assert set(statuses) == {403}
    assert not [said for _, said in read if "secret" in said or "worlds" in said]
    assert victim.scene.state() == before


@pytest.mark.slow
def test_a_page_of_the_servers_own_can(page: Page, victim: Victim) -> None:
    """The control case: the same program, from the same origin, reads and changes; so its tricks do work."""
    before = victim.scene.state()
    page.goto(f"http://localhost:{victim.server.port}/health")
    _, read = page.evaluate(FETCHES, [victim.control, "theirs"])
    assert [said for path, said in read if path == "/worlds/theirs/containers" and "secret-of-theirs" in said]
    after = victim.scene.state()
    assert after["theirs"] != before["theirs"], read


@pytest.mark.slow
def test_a_page_of_another_origin_can_use_the_api(page: Page, victim: Victim, site: int) -> None:
    """Which is meant: browser SDKs need it. It shows too that the site's page does reach the server."""
    page.goto(f"http://127.0.0.1:{site}/")
    said = page.evaluate(
        "async (url) => (await fetch(url, {headers: {authorization: 'Bearer k'}})).text()",
        f"http://localhost:{victim.server.port}/w/theirs/v1/containers",
    )
    assert "secret-of-theirs" in said
