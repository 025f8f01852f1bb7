"""Several servers behind nginx with the files of the guide: all requests of a world must reach the same server.

Most tests use servers in this process, which is faster; some start processes.
"""

import hashlib
import http.client
import inspect
import itertools
import os
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx2
import openai
import pytest
import test_sdk
import yaml
from conftest import World
from installed import require
from manual import tried
from nginx import FILES, Nginx, peak_memory, ring
from test_cli import serving

from mockserver.server.serving import MockServer
from mockserver.settings import NAMES as NAMES_OF_SETTINGS
from mockserver.settings import environment_name, period
from mockserver.testing import Server

pytestmark = pytest.mark.slow  # starts nginx

NAMES = ("mock-0", "mock-1", "mock-2")
HEADER = "x-mock-server"
KEY = "K-of-a-team"


MIB = 1 << 20
TIMEOUT = 600


class Cluster(NamedTuple):
    nginx: Nginx
    servers: dict[str, MockServer]
    reference: MockServer
    """A server without a proxy, whose behavior is compared with that of the others."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from run_cluster(tmp_path_factory)


@pytest.fixture(scope="module")
def cluster_with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Servers that accept only two keys, behind a proxy that is configured for these keys."""
    yield from run_cluster(tmp_path_factory, (KEY, "other-key"), {"sk-world-": f"(?:{KEY}|other-key)-world-"})


def run_cluster(
    factory: pytest.TempPathFactory, keys: Sequence[str] = (), changes: dict[str, str] | None = None
) -> Iterator[Cluster]:
    with ExitStack() as stack:
        reference, *servers = (
            stack.enter_context(MockServer(name=name, api_key=tuple(keys))) for name in ("reference", *NAMES)
        )
        ports = {name: server.port for name, server in zip(NAMES, servers, strict=True)}
        nginx = stack.enter_context(Nginx(factory.mktemp("nginx"), ports, changes))
        yield Cluster(nginx, dict(zip(NAMES, servers, strict=True)), reference)


# Choice of the server


@dataclass(frozen=True)
class WorldRequest:
    """A request that names a world, possibly in an invalid way."""

    path: str
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    body: str = '{"name": "box"}'

    def __str__(self) -> str:
        return f"{self.path} {' '.join(f'{name}: {value}' for name, value in self.headers)}"


def world_requests(key: str) -> Iterator[WorldRequest]:
    """Yield requests that name worlds in many ways, with a key of the server."""
    anonymous = (("Authorization", f"Bearer {key}"),)
    prefixes = (
        "/v1", "", "/openai/v1", "/openai", "//openai/v1", "/api/projects/one/openai/v1", "/api/projects/a%2eb/openai/v1",
        "/v%31", "/%6fpenai/v1", "/api/projects/%6fne/openai", "/api/%70rojects/one/%6fpenai/v1", "///openai",
    )  # fmt: skip
    query = {True: "?api-version=2025-04-01-preview", False: ""}
    paths = [f"{prefix}/containers{query[prefix.endswith('openai')]}" for prefix in prefixes]
    keys: list[tuple[tuple[str, str], ...]] = [
        (),
        anonymous,
        (("Authorization", f"Bearer {key}-world-one"),),
        (("authorization", f"bEaReR   {key}-world-Two.2 "),),
        (("api-key", f"{key}-world-three"),),
        (("Authorization", f"Bearer {key}-world-bearer"), ("api-key", f"{key}-world-api-key")),
        (("Authorization", f"Bearer {key}"), ("api-key", f"{key}-world-api-key")),
        (("Authorization", f"Bearer {key}-world-bearer"), ("api-key", key)),
        (("Authorization", f"Basic {key}-world-basic"), ("api-key", f"{key}-world-api-key")),
    ]
    for path, headers in itertools.product(paths, keys):
        yield WorldRequest(path, headers)
    for name in ("one", "Two.2", "x_y-z", "0", "n" * 64, "N" * 65, "", ".", "..", "a b", "a,b", "default", "%41", "w"):
        yield WorldRequest("/v1/containers", (("Authorization", f"Bearer {key}-world-{name}"),))
        yield WorldRequest("/openai/v1/containers", (("api-key", f"{key}-world-{name}"),))
    for world_key in (f"{key}-World-x", f"{key}-world", f"{key}-world-a-world-b", f"{key}x-world-a", f"x{key}-world-a",
                "other-world-a", key.upper(), f"{key.upper()}-world-a", f"{key}-world-old", f"{key}-world-old-world-c",
                f"\t{key}-world-tab\t", f"{key}-world-nbsp\xa0", f"{key} -world-x", f"Bearer {key}-world-x"):  # fmt: skip
        yield WorldRequest("/v1/containers", (("Authorization", f"Bearer {world_key}"),))
        yield WorldRequest("/v1/containers", (("api-key", world_key),))
    yield WorldRequest("/v1/containers", (("Authorization", f"Bearer\t{key}-world-tab"),))
    yield WorldRequest("/v1/containers", (("api-key", f"{key}-world-first"), ("api-key", f"{key}-world-second")))
    for world in ("a", "A.b_c-9", "%61", "a%2eb", "a%2Db", "%", "%4", "%2561", "a%2Fb", "a%2fb", "%2e%2e", "..", ".", "",
                  "a%20b", "a+b", "a;b", "a%3Fb", "a%23b", "a%0a", "a%00", "%C3%A4", "n" * 64, "N" * 65, "-a", "default",
                  "v1", "openai", "w"):  # fmt: skip
        for prefix in ("/v1", "", "/openai/v1", "//openai/v1", "/%76%31", "/api/projects/p/openai/v1"):
            if prefix in ("/v1", "/openai/v1") or world in ("a", "%61", "v1", "w"):
                other = (("Authorization", f"Bearer {key}-world-other"),)
                yield WorldRequest(f"/w/{world}{prefix}/containers", other)
    for path in (
        "/%77/a/v1/containers", "/%77/%61/v1/containers", "/W/a/v1/containers", "/w%2fa/v1/containers",
        "//w/a/v1/containers", "/w//a/v1/containers", "/w/a//v1/containers", "/./w/a/v1/containers",
        "/w/a/../w/b/v1/containers", "/w/a/%2e%2e/b/v1/containers", "/w/a/v1/./containers", "/v1/w/a/containers",
        "/w/a/w/b/v1/containers", "/w/a", "/w", "/", "/w/a?x=/w/b/", "/w/a/v1/containers?world=b", "/w/a/v1/containers#/w/b",
        "/v1/containers?path=/w/b/v1/", "/v1/containers?%2fw%2fb", "/v1?/w/a/", "http://localhost/w/a/v1/containers",
        "http://localhost/v1/containers", "/v1/w%2fa/containers", "/openai%2fv1/containers", "/w/a%2Fv1/containers",
    ):  # fmt: skip
        yield WorldRequest(path, (("Authorization", f"Bearer {key}-world-other"),))
    for path in (  # nginx decodes the slashes and dots of these ids
        "/v1/files/x%2F..%2F..%2F..%2Fw%2Fb%2Fv1", "/w/a/v1/files/x%2f..%2f..%2f..%2f..%2fb%2fv1",
        "/%76%31/files/x%2F..%2F..%2F..%2Fw%2Fb%2Fv1", "/%77/a/v1/files/x%2F..%2F..%2F..%2Fb", "/v1/files/..", "/v%31/files/..",
        "/w/a/v1/files/..", "/w/%61/v1/files/..", "/w/%61/v1/files/x%2Fy", "/w/a/v1/files/x%2Fy",
    ):  # fmt: skip
        yield WorldRequest(path, (("Authorization", f"Bearer {key}-world-other"),), "GET", "")
        conflict = (("Authorization", f"Bearer {key}-world-bearer"), ("api-key", f"{key}-world-api-key"))
        yield WorldRequest(path.replace("/w%2F", "/openai%2F"), conflict, "GET", "")
    for path in ("worlds/a/reset", "worlds/%61/reset", "worlds/A.b%2dc/reset", "%77orlds/a/reset", "worlds/a%2Freset",
                 "worlds%2fa/reset", "worlds//reset", "worlds/-/reset", "worlds/a/reset?empty=true", "worlds/worlds/reset",
                 "worlds/a/../b/reset", "worlds/a", "worlds/w", f"worlds/{'n' * 64}/reset"):  # fmt: skip
        yield WorldRequest(f"/_mock/{path}", (), "POST", "")
        yield WorldRequest(f"/%5fmock/{path}", (("Authorization", f"Bearer {key}-world-other"),), "POST", "")


def request(port: int, world_request: WorldRequest) -> tuple[int, http.client.HTTPMessage]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection._validate_path = lambda path: None  # type: ignore[attr-defined]  # send paths as they are
        connection.putrequest(world_request.method, world_request.path, skip_accept_encoding=True)
        body = world_request.body.encode()
        for name, value in (*world_request.headers, ("Content-Length", str(len(body)))):
            connection.putheader(name, value.encode("latin-1"))
        if body:
            connection.putheader("Content-Type", "application/json")
        connection.endheaders(body)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers


def pop_worlds(server: MockServer) -> list[str]:
    """Return the worlds that requests have created, and delete them."""
    worlds = server.mock.worlds  # without HTTP, as this runs a thousand times
    names = worlds.names()
    for name in names:
        server.run(worlds.delete(name))
    return names


def check_routing(cluster: Cluster, key: str) -> None:
    requests = list(dict.fromkeys(world_requests(key)))
    assert len(requests) == tried("spellings of worlds' names, valid and invalid, routed by nginx and by the server")
    errors: list[str] = []
    rejected: list[str] = []
    worlds: set[str] = set()
    for world_request in requests:
        direct, _ = request(cluster.reference.port, world_request)
        expected = pop_worlds(cluster.reference)
        status, headers = request(cluster.nginx.port, world_request)
        found = {name: names for name, server in cluster.servers.items() if (names := pop_worlds(server))}
        if status == 400 and HEADER not in headers:
            rejected += [str(world_request)] * len(expected)
            if found:
                errors.append(f"{world_request}: rejected, but created {found}")
        elif found != ({cluster.nginx.ring[expected[0]]: expected} if expected else {}) or status != direct:
            errors.append(f"{world_request}: {status} and {found}, expected {direct} and {expected}")
        elif expected and headers[HEADER] not in found:
            errors.append(f"{world_request}: {headers[HEADER]} responded, but {found}")
        worlds |= {*expected}
    assert not errors, "\n".join(errors)
    assert len(worlds) > 10
    assert all("%2f" in each.lower() for each in rejected), rejected


def test_nginx_and_the_server_choose_the_same_world(cluster: Cluster) -> None:
    check_routing(cluster, "sk")


def test_nginx_and_a_server_with_keys_choose_the_same_world(cluster_with_keys: Cluster) -> None:
    check_routing(cluster_with_keys, KEY)


def test_the_ring_model_is_balanced_and_moves_few_worlds_to_a_new_server() -> None:
    """The other tests compare nginx with this model, so it must have the properties that the guide promises."""
    names = [f"world-{number}" for number in range(3_000)]
    before = ring({"a": 8081, "b": 8082, "c": 8083})
    after = ring({"a": 8081, "b": 8082, "c": 8083, "d": 8084})
    assert all(700 < sum(before[name] == server for name in names) < 1_300 for server in "abc")
    moved = [name for name in names if before[name] != after[name]]
    assert 500 < len(moved) < 1_000
    assert {after[name] for name in moved} == {"d"}


# The tests of the official SDK


@dataclass
class WorldByURL(World):
    proxy: str = ""

    @property
    def base_url(self) -> str:
        return f"{self.proxy}/w/{self.name}/v1"


class WorldByKey(WorldByURL):
    @property
    def base_url(self) -> str:
        return f"{self.proxy}/v1"


_numbers = itertools.count()


@pytest.fixture(params=[WorldByURL, WorldByKey])
def world(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world behind the proxy. Its `server` is the one that the ring model chooses."""
    name = f"sdk-{next(_numbers)}"
    server = cluster.servers[cluster.nginx.ring[name]]
    with request.param(server, name, f"sk-world-{name}", cluster.nginx.url) as world:
        yield world
    others = [each for each in cluster.servers.values() if each is not server]
    assert not [each for each in others if name in each.mock.worlds.names()]


connect, sdk, lax = test_sdk.connect, test_sdk.sdk, test_sdk.lax
_OTHER_SERVERS = {"live", "guarded_server", "server", "live_server"}
SUITE = {
    name: test
    for name, test in vars(test_sdk).items()
    if name.startswith("test_") and not _OTHER_SERVERS & inspect.signature(test).parameters.keys()
}
assert len(SUITE) > 25
globals().update(SUITE)


def test_the_testing_api_controls_worlds_through_the_proxy(cluster: Cluster) -> None:
    with closing(Server(cluster.nginx.url)) as proxy:
        for _ in range(6):
            with proxy.world(frozen=True) as world, openai.OpenAI(base_url=world.base_url, api_key="k") as client:
                container = client.containers.create(name="box")
                assert world.clock.advance("20m")["expired_containers"] == [container.id]
                world.faults.add(error="rate_limited", times=1)
                with pytest.raises(openai.RateLimitError):
                    client.with_options(max_retries=0).containers.list()
                assert [each["status"] for each in world.journal] == [200, 429]
                holders = [each for each in cluster.servers.values() if world.world in each.mock.worlds.names()]
                assert holders == [cluster.servers[cluster.nginx.ring[world.world]]]
            assert world.world not in holders[0].mock.worlds.names()


# Bodies and streams


def test_nginx_forwards_a_request_body_while_it_is_sent(cluster: Cluster) -> None:
    """The server receives the first half of the body before the client sends the second half."""
    head = b'--simple\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    rest = b'\r\n--simple\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--simple--\r\n'
    half = b"x" * (1 << 20)
    server = cluster.servers[cluster.nginx.ring["up"]]

    def received() -> int:
        size = 0
        for path in (server.mock.directory / "uploads").iterdir():
            with suppress(FileNotFoundError):  # a new world is built there and then moved
                size += path.stat().st_size
        return size

    with socket.create_connection(("127.0.0.1", cluster.nginx.port), TIMEOUT) as client:
        length = len(head) + 2 * len(half) + len(rest)
        client.sendall(
            b"POST /w/up/v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\nConnection: close\r\n"
            b"Content-Type: multipart/form-data; boundary=simple\r\nContent-Length: %d\r\n\r\n" % length
        )
        client.sendall(head + half)
        while received() < len(half) // 2:
            pass
        client.sendall(half + rest)
        assert b"".join(iter(lambda: client.recv(10_000), b"")).startswith(b"HTTP/1.1 200 ")


def test_an_early_error_for_an_upload_reaches_the_client(cluster_with_keys: Cluster) -> None:
    """The server responds before it has read the body, which the client keeps sending."""
    head = {"Authorization": "Bearer wrong", "Content-Type": "multipart/form-data; boundary=b"}
    with closing(http.client.HTTPConnection("127.0.0.1", cluster_with_keys.nginx.port, timeout=TIMEOUT)) as connection:
        connection.request("POST", "/v1/files", itertools.repeat(bytes(MIB), 50), head, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, b"Incorrect API key" in response.read()) == (401, True)


def test_nginx_forwards_each_event_of_a_response_at_once(cluster: Cluster) -> None:
    """The second event comes a minute later, so a proxy that buffers would not deliver the first one."""
    rule = {"when": "slow", "say": "At last.", "pace": "1m"}
    httpx2.post(f"{cluster.nginx.url}/_mock/worlds/slow/answers", json=rule).raise_for_status()
    body = {"input": "slow", "model": "m", "stream": True}
    url = f"{cluster.nginx.url}/w/slow/v1/responses"
    with httpx2.stream("POST", url, json=body, headers={"Authorization": "Bearer k"}) as response:
        assert response.headers[HEADER] == cluster.nginx.ring["slow"]
        assert next(response.iter_lines()) == "event: response.created"


def test_nginx_forwards_journal_events_and_long_polls_at_once(cluster: Cluster) -> None:
    proxy, key = cluster.nginx.url, {"Authorization": "Bearer sk-world-watched"}
    journal = f"{proxy}/_mock/worlds/watched/journal"
    httpx2.get(f"{proxy}/v1/containers", headers=key).raise_for_status()
    with httpx2.stream("GET", f"{journal}/stream", timeout=TIMEOUT) as stream, ThreadPoolExecutor(1) as pool:
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        waiting = pool.submit(httpx2.get, f"{journal}/wait?method=POST&timeout=9m", timeout=TIMEOUT)
        httpx2.post(f"{proxy}/v1/containers", json={"name": "box"}, headers=key).raise_for_status()
        assert "event: exchange" in lines
        assert len(waiting.result().json()["data"]) == 1
    with httpx2.stream("GET", f"{proxy}/servers/mock-1/_mock/changes", timeout=TIMEOUT) as stream:
        assert next(stream.iter_lines()) == ": what changes"


def test_a_stream_closed_by_the_client_is_unsubscribed_at_the_server(cluster: Cluster) -> None:
    server = cluster.servers["mock-2"]
    with httpx2.stream("GET", f"{cluster.nginx.url}/servers/mock-2/_mock/changes", timeout=TIMEOUT) as stream:
        lines = stream.iter_lines()  # a reference to it keeps the stream open
        assert next(lines) == ": what changes"
        assert server.mock.events.subscribers
    while server.mock.events.subscribers:
        pass


def test_the_proxy_serves_health_and_the_dashboard_of_each_server(cluster: Cluster) -> None:
    assert HEADER not in httpx2.get(f"{cluster.nginx.url}/health").headers
    for name in NAMES:
        state = httpx2.get(f"{cluster.nginx.url}/servers/{name}/_mock/state")
        assert state.json()["name"] == state.headers[HEADER] == name
        page = httpx2.get(f"{cluster.nginx.url}/servers/{name}/_mock/", headers={"Accept": "text/html"})
        assert page.status_code == 200
    assert httpx2.get(f"{cluster.nginx.url}/servers/mock-9/_mock/state").status_code == 502


# Processes


class ServerProcesses:
    """Servers in processes of their own, each with its data directory and port, behind a proxy."""

    def __init__(self, folder: Path, stack: ExitStack, *names: str) -> None:
        self._folder, self._stack = folder, stack
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.ports: dict[str, int] = {}
        for name in names:
            self.start(name)
        self.nginx = stack.enter_context(Nginx(folder / "nginx", self.ports))

    def start(self, name: str) -> None:
        """Start a server, on the same port as before if it was stopped."""
        flags = ["--name", name, "--data", str(self._folder / name), "--port", str(self.ports.get(name, 0))]
        process, startup = self._stack.enter_context(serving(*flags))
        self.processes[name], self.ports[name] = process, int(str(startup["port"]))

    def stop(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)
        self.processes[name].wait()

    def worlds(self, name: str) -> set[str]:
        response = httpx2.get(f"http://127.0.0.1:{self.ports[name]}/_mock/worlds")
        return {each["name"] for each in response.json()["data"]}


@pytest.fixture
def server_processes(tmp_path: Path) -> Iterator[ServerProcesses]:
    with ExitStack() as stack:
        yield ServerProcesses(tmp_path, stack, *NAMES)


LARGE = 200 * MIB


@pytest.mark.alone
def test_large_contents_need_little_memory_in_nginx_and_the_server(server_processes: ServerProcesses) -> None:
    url, key = f"{server_processes.nginx.url}/w/large/v1", {"Authorization": "Bearer k"}
    server = server_processes.processes[server_processes.nginx.ring["large"]]
    with httpx2.Client(base_url=url, headers=key, timeout=TIMEOUT) as client:
        for size in (MIB, LARGE):  # the small ones first, so that all code is loaded
            block, digest = os.urandom(MIB), hashlib.sha256()
            head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            before = peak_memory(server.pid), server_processes.nginx.peak_memory()

            def body(block: bytes = block, size: int = size, head: bytes = head) -> Iterator[bytes]:
                yield head
                yield from itertools.repeat(block, size // MIB)
                yield b"\r\n--b--\r\n"

            container = client.post("/containers", json={"name": "box"}).json()["id"]
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            file = client.post(f"/containers/{container}/files", content=body(), headers=kind)
            assert file.json()["bytes"] == size
            with client.stream("GET", f"/containers/{container}/files/{file.json()['id']}/content") as response:
                for piece in response.iter_bytes():
                    digest.update(piece)
            expected = hashlib.sha256()
            for _ in range(size // MIB):
                expected.update(block)
            assert digest.digest() == expected.digest()
        growth = peak_memory(server.pid) - before[0], server_processes.nginx.peak_memory() - before[1]
        assert growth[0] < 32 * MIB
        assert growth[1] < 8 * MIB
    assert "temporary file" not in server_processes.nginx.log(), "nginx buffered a body in a file"


class Load:
    """Clients, each with a world of its own, that create containers until the block ends.

    Each request opens a new connection: after a reload of nginx, only new connections get to the new workers.
    """

    def __init__(self, server_processes: ServerProcesses, worlds: Sequence[str]) -> None:
        self._url = server_processes.nginx.url
        self._stop = Event()
        self._progress = Condition()
        self.acknowledged: dict[str, list[str]] = {world: [] for world in worlds}
        """The ids of the containers whose creation each world acknowledged."""
        self.counts: Counter[tuple[str, int, str | None]] = Counter()
        """The number of responses by world, status and server."""

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(len(self.acknowledged))
        self._clients = [self._pool.submit(self._use, world) for world in self.acknowledged]
        self.progress()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()

    def _use(self, world: str) -> None:
        by_url, key = f"{self._url}/w/{world}/v1", f"sk-world-{world}"
        for number in itertools.count():
            base, bearer = (by_url, "any") if number % 2 else (f"{self._url}/v1", key)
            headers = {"Authorization": f"Bearer {bearer}", "Connection": "close"}
            response = httpx2.post(f"{base}/containers", json={"name": "box"}, headers=headers, timeout=TIMEOUT)
            with self._progress:
                self.counts[world, response.status_code, response.headers.get(HEADER)] += 1
                if response.status_code == 200:
                    self.acknowledged[world].append(response.json()["id"])
                self._progress.notify_all()
            if self._stop.is_set():
                return

    def progress(self, requests: int = 10) -> None:
        """Wait until each world has had this many further requests."""
        with self._progress:
            before = {world: self._count(world) for world in self.acknowledged}
            while any(self._count(world) < count + requests for world, count in before.items()):
                assert self._progress.wait(TIMEOUT)
                assert not any(client.done() for client in self._clients), "a client failed"

    def _count(self, world: str) -> int:
        return sum(count for (name, _, _), count in self.counts.items() if name == world)


def containers(server_processes: ServerProcesses, world: str) -> set[str]:
    with openai.OpenAI(base_url=f"{server_processes.nginx.url}/w/{world}/v1", api_key="k") as client:
        return {container.id for container in client.containers.list(limit=100)}


WORLDS = [f"job-{number}" for number in range(12)]


def test_stopping_and_restarting_a_server_affects_only_its_own_worlds(server_processes: ServerProcesses) -> None:
    assignment = server_processes.nginx.ring
    stopped = assignment[WORLDS[0]]
    affected = [world for world in WORLDS if assignment[world] == stopped]
    others = [world for world in WORLDS if assignment[world] != stopped]
    assert affected
    assert others
    with Load(server_processes, WORLDS) as load:
        for number in (signal.SIGKILL, signal.SIGTERM):
            server_processes.stop(stopped, number)
            load.progress()  # the worlds of the stopped server return errors
            server_processes.start(stopped)
            load.progress(requests=20)
    counts = set(load.counts)
    assert {each for each in counts if each[0] in others} == {(world, 200, assignment[world]) for world in others}
    assert {each for each in counts if each[0] in affected and each[2]} == {(world, 200, stopped) for world in affected}
    failed = {each for each in counts if not each[2]}
    assert failed == {(world, 502, None) for world in affected}
    for name in NAMES:
        assert server_processes.worlds(name) == {world for world in WORLDS if assignment[world] == name}
    for world in WORLDS:
        assert set(load.acknowledged[world]) <= containers(server_processes, world)
    assert sum(load.counts.values()) >= tried(
        "requests to three servers behind nginx while one is killed, stopped and restarted"
    )


def test_adding_a_server_affects_only_the_worlds_that_move_to_it(server_processes: ServerProcesses) -> None:
    before = server_processes.nginx.ring
    server_processes.start("mock-3")
    after = ring(server_processes.ports)
    moving = [f"moved-{number}" for number in range(200) if before[f"moved-{number}"] != after[f"moved-{number}"]][:3]
    staying = [world for world in WORLDS if before[world] == after[world]]
    assert {after[world] for world in moving} == {"mock-3"}
    assert len(staying) > 3
    created = {}
    for world in moving:
        client = openai.OpenAI(base_url=f"{server_processes.nginx.url}/w/{world}/v1", api_key="k")
        with client:
            created[world] = client.containers.create(name="kept").id
    with Load(server_processes, staying) as load:
        for world in moving:  # as in the guide
            old = f"http://127.0.0.1:{server_processes.ports[before[world]]}/_mock/worlds/{world}"
            archive = httpx2.get(f"{old}/export").raise_for_status().content
            new = f"http://127.0.0.1:{server_processes.ports['mock-3']}/_mock/worlds/{world}"
            httpx2.post(f"{new}/import", content=archive).raise_for_status()
        server_processes.nginx.reload(server_processes.ports)
        load.progress(requests=20)
        for world in moving:
            httpx2.delete(
                f"http://127.0.0.1:{server_processes.ports[before[world]]}/_mock/worlds/{world}"
            ).raise_for_status()
    assert set(load.counts) == {(world, 200, before[world]) for world in staying}
    for world in moving:
        assert containers(server_processes, world) == {created[world]}
    for name in server_processes.ports:
        assert server_processes.worlds(name) == {world for world in (*staying, *moving) if after[world] == name}
    for world in staying:
        assert set(load.acknowledged[world]) == containers(server_processes, world)
    assert sum(load.counts.values()) >= tried("requests to three servers behind nginx while a fourth is added")


# Envoy and Kubernetes


LUA = """
local separator = "\\31"
for line in io.lines() do
  local target, authorization, key = line:match("^(.-)" .. separator .. "(.-)" .. separator .. "(.*)$")
  print(world_of(target, authorization ~= "" and authorization or nil, key ~= "" and key or nil))
end
"""


def test_the_envoy_script_and_the_server_choose_the_same_world(cluster: Cluster, tmp_path: Path) -> None:
    require("", "", "", "lua5.1")
    envoy = yaml.safe_load((FILES / "envoy.yaml").read_text())
    (listener,) = envoy["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    script = manager["http_filters"][0]["typed_config"]["default_source_code"]["inline_string"]
    (tmp_path / "world.lua").write_text(script + LUA)
    requests, lines, expected = list(dict.fromkeys(world_requests("sk"))), [], []
    for world_request in requests:
        headers: dict[str, str] = {}
        for name, value in world_request.headers:  # Envoy joins headers of the same name
            headers[name.lower()] = ",".join(filter(None, (headers.get(name.lower()), value)))
        target = world_request.path.removeprefix("http://localhost")
        lines.append("\x1f".join((target, headers.get("authorization", ""), headers.get("api-key", ""))))
        request(cluster.reference.port, world_request)
        expected.append(pop_worlds(cluster.reference))
    command = ["lua5.1", str(tmp_path / "world.lua")]
    done = subprocess.run(command, input="\n".join(lines).encode("latin-1"), capture_output=True, check=True)
    chosen = done.stdout.decode("latin-1").splitlines()
    errors = [
        f"{each}: {found}, expected {worlds}"
        for each, found, worlds in zip(requests, chosen, expected, strict=True)
        if worlds and worlds != [found]
    ]
    assert not errors, "\n".join(errors)


def test_the_envoy_configuration_never_moves_a_world_to_another_server() -> None:
    envoy = yaml.safe_load((FILES / "envoy.yaml").read_text())["static_resources"]
    for cluster in envoy["clusters"]:
        assert not {"health_checks", "outlier_detection"} & cluster.keys()
    ring = envoy["clusters"][0]
    assert ring["lb_policy"] == "RING_HASH"
    assert ring["common_lb_config"]["consistent_hashing_lb_config"] == {"use_hostname_for_hashing": True}
    manager = envoy["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    routes = [each["route"] for each in host["routes"] if "route" in each]
    assert all("retry_policy" not in each for each in (host, *routes))
    assert {each["cluster"] for each in routes} == {each["name"] for each in envoy["clusters"]}
    assert [each["hash_policy"] for each in routes if each["cluster"] == "worlds"] == [
        [{"header": {"header_name": "x-mock-world"}}]
    ]


def test_the_kubernetes_manifests_are_consistent() -> None:
    found: dict[tuple[str, str], Any] = {}
    for each in yaml.safe_load_all((FILES / "kubernetes.yaml").read_text()):
        found[each["kind"], each["metadata"]["name"]] = each
    servers, proxy = found["StatefulSet", "mock"]["spec"], found["Deployment", "mock-proxy"]["spec"]
    names = [f"mock-{number}" for number in range(servers["replicas"])]
    # The configuration of nginx is the guide's, with the services of the pods as addresses.
    text = re.sub(r"^#.*\n|\n(?=\n)", "", (FILES / "servers.conf").read_text(), flags=re.MULTILINE)
    for name, port in zip(names, (8081, 8082, 8083), strict=True):
        text = text.replace(f"127.0.0.1:{port}", f"{name}:8080")
    assert found["ConfigMap", "mock-proxy-servers"]["data"] == {"servers.conf": text}
    assert proxy["strategy"] == {"type": "Recreate"}
    sources = proxy["template"]["spec"]["volumes"][0]["projected"]["sources"]
    assert [each["configMap"]["name"] for each in sources] == ["mock-proxy", "mock-proxy-servers"]
    # Selectors, ports, probes and volumes match.
    for spec in (servers, proxy):
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        (container,) = spec["template"]["spec"]["containers"]
        assert [port["name"] for port in container["ports"]] == ["http"]
        assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        volumes = spec["template"]["spec"].get("volumes", [])
        claims = [claim["metadata"] for claim in spec.get("volumeClaimTemplates", [])]
        assert mounts == {each["name"] for each in (*volumes, *claims)}
    headless = found["Service", servers["serviceName"]]["spec"]
    assert (headless["clusterIP"], headless["selector"]) == ("None", servers["selector"]["matchLabels"])
    for name in names:
        service = found["Service", name]["spec"]
        assert service["selector"] == {"statefulset.kubernetes.io/pod-name": name}
        assert service["publishNotReadyAddresses"], "a pod keeps its worlds while it restarts"
    assert found["Service", "mock-proxy"]["spec"]["selector"] == proxy["selector"]["matchLabels"]
    (container,) = servers["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in container["env"]}
    assert variables.keys() <= {environment_name(name) for name in NAMES_OF_SETTINGS}
    assert variables["MOCKSERVER_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    grace = period(variables["MOCKSERVER_SHUTDOWN_GRACE"]["value"])
    assert grace < servers["template"]["spec"]["terminationGracePeriodSeconds"]
