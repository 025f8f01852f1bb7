"""Concurrent clients that compare all responses with the objects that they created.

While others delete, fork, restore, and abort uploads and downloads, a client finds each of its own objects unchanged,
exactly once in each list, with its complete content. Once all clients have deleted their objects, nothing is stored,
and no secret that they sent is found in any file. Requests vary in all that HTTP allows: the case of headers, chunks,
escapes, and the sizes of packets.
"""

import hashlib
import http.client
import json
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import stored
from manual import tried
from rawhttp import TIMEOUT
from test_durability import command
from test_fuzz import OpenStream

from mockserver.clock import stopwatch
from mockserver.server.serving import MockServer

WORLD = "storm"
SECRET = "hunter2-in-the-storm"


class Dice:
    """A random generator whose values depend on the seed only."""

    def __init__(self, seed: object) -> None:
        self._seed, self._draws = str(seed), 0

    def below(self, sides: int) -> int:
        self._draws += 1
        return int.from_bytes(hashlib.blake2b(f"{self._seed} {self._draws}".encode()).digest()) % sides

    def one_in(self, sides: int) -> bool:
        return self.below(sides) == 0

    def pick(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]

    def bytes(self, size: int) -> bytes:
        self._draws += 1
        return hashlib.shake_128(f"{self._seed} {self._draws}".encode()).digest(size)


def encoded_request(dice: Dice, method: str, path: str, headers: dict[str, str], body: bytes | None) -> bytes:
    """Encode a request in one of many equivalent forms."""
    target = path
    if dice.one_in(6) and not path.startswith("/_mock"):
        position = 1 + dice.below(len(path.partition("?")[0]) - 1)
        if path[position].isalnum():
            target = f"{path[:position]}%{ord(path[position]):02{dice.pick('xX')}}{path[position + 1 :]}"
    if dice.one_in(10):
        target = f"http://localhost{target}"
    lines = ["Host: localhost", *(f"X-Noise-{n}: {'n' * dice.below(200)}" for n in range(dice.below(3)))]
    chunked = body is not None and dice.one_in(3)
    if body is not None:
        headers = headers | ({"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))})
    for name, value in headers.items():
        name = dice.pick((name, name.lower(), name.upper()))
        line = f"{name}:{dice.pick((' ', '', '  ', chr(9)))}{value}{dice.pick(('', ' '))}"
        lines.insert(dice.below(len(lines) + 1), line)
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()
    return head + (b"".join(chunks(dice, body)) if body is not None and chunked else body or b"")


def chunks(dice: Dice, body: bytes) -> Iterator[bytes]:
    while body:
        size = dice.pick((1, 2, 7, 100, 5_000, 100_000))
        piece, body = body[:size], body[size:]
        yield b"%b%b\r\n%b\r\n" % (dice.pick((b"%x", b"0%X")) % len(piece), dice.pick((b"", b"", b";a=b")), piece)
    yield b"0\r\n%b\r\n" % dice.pick((b"", b"X-Trailer: y\r\n"))


def send_in_pieces(dice: Dice, connection: socket.socket, data: bytes) -> None:
    """Send data at once, or its beginning in small packets."""
    for _ in range(dice.below(2) * 20):
        size = dice.pick((1, 5, 50, 500))
        connection.sendall(data[:size])
        data = data[size:]
    connection.sendall(data)


class Client:
    def __init__(self, port: int, number: int, seed: object) -> None:
        self.number = number
        self.counts: Counter[str] = Counter()
        self.dice = Dice((seed, number))
        self.files: dict[str, bytes] = {}
        self.containers: dict[str, dict[str, bytes]] = {}
        """The contents of the files of each container."""
        self.created: dict[str, Any] = {}
        """The response to the creation of each container."""
        self.deleted: list[str] = []
        """The paths of the objects that were deleted last."""
        self._port = port
        self._connection: socket.socket | None = None
        self.actions: list[Callable[[], None]] = [
            *[self.create_container] * 3, *[self.upload] * 4, *[self.upload_to_container] * 4, *[self.copy_to_container] * 3, *[self.check_some] * 8, *[self.delete_some] * 6,
            self.check_lists, self.abort_upload, self.abort_download, self.delete_during_download, self.pipeline_requests, self.check_fork,
        ]  # fmt: skip

    def open(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "", world: str = WORLD) -> bytes:
        headers = {"Authorization": authorization(self.dice)} | ({"Content-Type": kind} if kind else {})
        return encoded_request(
            self.dice, method, path if path.startswith("/_mock") else f"/w/{world}/v1{path}", headers, body
        )

    def send(self, method: str, path: str, body: bytes | None = None, kind: str = "", **options: Any) -> Any:
        """Send a request and return the parsed response. `status` is the expected status if it isn't 200."""
        status, world = options.get("status", 200), options.get("world", WORLD)
        data = self.request(method, path, body, kind, world)
        if self._connection is None:
            self._connection = self.open()
        send_in_pieces(self.dice, self._connection, data)
        with http.client.HTTPResponse(self._connection, method=method) as response:
            response.begin()
            received = response.read()
            if response.headers["connection"] == "close":
                self.close()
        self.counts[f"{method} {response.status}"] += 1
        assert response.status == status, f"{data[:1_000]!r}: {response.status} {received[:1_000]!r}"
        return received if response.headers.get("content-type") != "application/json" else json.loads(received)

    def json(self, method: str, path: str, body: Any, **options: Any) -> Any:
        return self.send(method, path, json.dumps(body).encode(), "application/json", **options)

    def form(self, parts: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
        """Return a multipart body and its content type. Each part is its name, its file name and its content."""
        boundary = "b" + "".join(self.dice.pick("aZ0'()+_,-./:=?") for _ in range(self.dice.below(60))) + "d"
        disposition = 'Content-Disposition: form-data; name="{}"{}'
        body = b""
        for name, filename, content in parts:
            head = disposition.format(name, f'; filename="{filename}"' if filename else "")
            head += "\r\nContent-Type: text/plain" if filename and self.dice.one_in(3) else ""
            body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
        return body + f"--{boundary}--\r\n".encode(), f'multipart/form-data; boundary="{boundary}"'

    def content(self) -> bytes:
        """Return a content, some of which all clients share. The sizes are around those at which storage changes."""
        size = self.dice.pick((1, 1_000, 16_384, 16_385, 70_000))
        own = b"%d " % self.number + self.dice.bytes(10)
        return self.dice.pick((b"", b"shared" * size, b"common" * size, own, own + b"\r\n--z" * size, own * 150_000))

    # Actions

    def create_container(self) -> None:
        ids = [self.dice.pick(sorted(self.files)) for _ in range(self.dice.below(3)) if self.files]
        new = self.json("POST", "/containers", {"name": f"of {self.number}", "file_ids": ids})
        container_files = self.send("GET", f"/containers/{new['id']}/files?order=asc")["data"]
        assert [each["bytes"] for each in container_files] == [len(self.files[id]) for id in ids]
        self.containers[new["id"]] = {each["id"]: self.files[id] for each, id in zip(container_files, ids, strict=True)}
        self.created[new["id"]] = new

    def upload(self) -> None:
        content = self.content()
        name = hashlib.sha256(content).hexdigest()
        parts = [("purpose", "", b"vision"), ("file", name, content)][:: self.dice.pick((1, -1))]
        new = self.send("POST", "/files", *self.form(parts))
        assert new["bytes"] == len(content)
        self.files[new["id"]] = content

    def upload_to_container(self) -> None:
        if self.containers:
            container, content = self.dice.pick(sorted(self.containers)), self.content()
            new = self.send("POST", f"/containers/{container}/files", *self.form([("file", "a b", content)]))
            assert new["path"] == f"/mnt/data/{hashlib.blake2b(content, digest_size=16).hexdigest()}-a b"
            self.containers[container][new["id"]] = content

    def copy_to_container(self) -> None:
        if self.containers and self.files:
            container, file = self.dice.pick(sorted(self.containers)), self.dice.pick(sorted(self.files))
            new = self.json("POST", f"/containers/{container}/files", {"file_id": file})
            self.containers[container][new["id"]] = self.files[file]

    def check_some(self) -> None:
        if self.deleted:
            self.send("GET", self.dice.pick(self.deleted), status=404)
        if self.files:
            file = self.dice.pick(sorted(self.files))
            assert self.send("GET", f"/files/{file}/content") == self.files[file]
        if self.containers:
            container = self.dice.pick(sorted(self.containers))
            assert self.send("GET", f"/containers/{container}") | {"last_active_at": 0} == self.created[container] | {
                "last_active_at": 0
            }
            assert sorted(self.list_ids(f"/containers/{container}/files", 2)) == sorted(self.containers[container])
            if self.containers[container]:
                file = self.dice.pick(sorted(self.containers[container]))
                assert (
                    self.send("GET", f"/containers/{container}/files/{file}/content")
                    == self.containers[container][file]
                )

    def list_ids(self, path: str, limit: int, order: str = "asc") -> list[str]:
        ids, times, after = [], [], ""
        while True:
            page = self.send("GET", f"{path}?limit={limit}&order={order}{after}")
            ids += [each["id"] for each in page["data"]]
            times += [each["created_at"] for each in page["data"]]
            if not page["has_more"]:
                break
            assert page["data"], "a page that has more is never empty"
            after = f"&after={page['last_id']}"
        assert len(ids) == len(set(ids)), "an object is listed twice"
        assert times == sorted(times, reverse=order == "desc")
        return ids

    def check_lists(self) -> None:
        for path, own in (("/containers", self.containers), ("/files", self.files)):
            found = set(self.list_ids(path, self.dice.pick((5, 20, 100)), self.dice.pick(("asc", "desc"))))
            assert own.keys() <= found, "an own object is not listed"
            assert not {each.rpartition("/")[2] for each in self.deleted} & found, "a deleted object is listed"

    def delete_some(self) -> None:
        paths = [*(f"/files/{id}" for id in self.files), *(f"/containers/{id}" for id in self.containers)]
        paths += [
            f"/containers/{container}/files/{id}"
            for container, container_files in self.containers.items()
            for id in container_files
        ]
        if paths:
            self.delete(self.dice.pick(sorted(paths)))

    def delete(self, path: str) -> None:
        self.send("DELETE", path)
        _, kind, id, *container_file = path.split("/")
        if container_file:
            del self.containers[id][container_file[1]]
        else:
            del (self.files if kind == "files" else self.containers)[id]
        self.deleted = [*self.deleted[-20:], path]

    def abort_upload(self) -> None:
        """Send a part of an upload, and then close one direction of the connection, close it or reset it."""
        body, kind = self.form([("purpose", "", b"vision"), ("file", "torn", b"torn" + self.dice.bytes(200_000))])
        data = self.request("POST", "/files", body, kind)
        with self.open() as connection:
            connection.sendall(data[: 1 + self.dice.below(len(data) - 8)])
            if self.dice.one_in(2):
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
            else:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", self.dice.below(2), 0))
        self.counts["upload aborted"] += 1

    def abort_download(self) -> None:
        if self.files:
            largest = max(self.files, key=lambda file: len(self.files[file]))
            with self.open() as connection:
                connection.sendall(self.request("GET", f"/files/{largest}/content"))
                connection.recv(self.dice.pick((1, 100_000)))
            self.counts["download aborted"] += 1

    def delete_during_download(self) -> None:
        """The download must be complete or return 404."""
        content = self.dice.bytes(1_500_000)
        parts = [("purpose", "", b"vision"), ("file", hashlib.sha256(content).hexdigest(), content)]
        file = self.send("POST", "/files", *self.form(parts))["id"]
        with self.open() as connection:
            connection.sendall(self.request("GET", f"/files/{file}/content"))
            self.send("DELETE", f"/files/{file}")
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                received = response.read()
        assert response.status == 404 or (response.status, received) == (200, content)
        self.counts[f"deleted during download {response.status}"] += 1

    def pipeline_requests(self) -> None:
        """Send several requests before reading the responses."""
        ids = [*sorted(self.containers)[:3], *(path.split("/")[2] for path in self.deleted if path.count("/") == 2)]
        with self.open() as connection, connection.makefile("rb") as stream:
            send_in_pieces(self.dice, connection, b"".join(self.request("GET", f"/containers/{id}") for id in ids))
            for id in ids:
                with http.client.HTTPResponse(OpenStream(stream)) as response:  # type: ignore[arg-type]  # it only calls makefile()
                    response.begin()
                    assert id in response.read().decode()
                    assert response.status == (200 if id in self.containers else 404)
                self.counts["pipelined"] += 1

    def check_fork(self) -> None:
        """A fork made during other writes is consistent, and restoring its snapshot brings back deleted files."""
        if self.number > 1:
            return
        world = f"fork-{self.number}"
        control = f"/_mock/worlds/{world}"
        self.json("POST", control, {"fork_of": WORLD})
        page = "/files?limit=20"
        before = self.send("GET", page, world=world)
        self.send("PUT", f"{control}/snapshots/one", b"")
        for file in before["data"]:
            assert file["filename"] != "torn"
            content = self.send("GET", f"/files/{file['id']}/content", world=world)
            assert hashlib.sha256(content).hexdigest() == file["filename"]
            self.send("DELETE", f"/files/{file['id']}", world=world)
        self.send("POST", f"{control}/snapshots/one/restore", b"")
        assert self.send("GET", page, world=world) == before
        self.send("DELETE", control)

    def send_secrets(self) -> None:
        """Send secrets in all places where clients put them, also by mistake."""
        secrets = [{"domain": "a.example", "name": "n", "value": SECRET}]
        policy = {"type": "allowlist", "allowed_domains": ["a.example"], "domain_secrets": secrets}
        body = {"name": "container", "network_policy": policy}
        text = json.dumps(body)
        escaped = text.replace("domain_secrets", "".join(f"\\u{ord(letter):04x}" for letter in "domain_secrets"))
        world = f"secrets-{self.number}"
        self.json("POST", "/containers", body, world=world)
        self.send("POST", "/containers", escaped.encode(), "application/json", world=world)
        self.json("POST", "/containers", body | {"memory_limit": "9g"}, world=world, status=400)
        self.send("POST", "/containers", text[:-2].encode(), "application/json", world=world, status=400)
        self.json("POST", "/containers", {"name": "container", "password": [SECRET]}, world=world, status=400)
        self.send("GET", f"/containers?api_key={SECRET}&%61ccess_token={SECRET}", world=world)
        parts = [("api_key", "", SECRET.encode()), ("purpose", "", b"vision"), ("file", "a", b"")]
        self.send("POST", "/files", *self.form(parts), world=world, status=400)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.dice.pick(self.actions)()
        self.check_lists()

    def delete_all(self) -> None:
        for path in [*(f"/files/{id}" for id in self.files), *(f"/containers/{id}" for id in self.containers)]:
            self.send("DELETE", path)
        self.close()


def authorization(dice: Dice) -> str:
    return str(dice.pick(("Bearer {}", "bearer {}", "Bearer   {}")).format(f"sk-{SECRET}"))


@contextmanager
def server_process(data: Path) -> Iterator[int]:
    """Run a server and yield its port. It must stop cleanly and write nothing but its startup line."""
    process = command("serve", "--data", data, "--host", "127.0.0.1", "--port", "0", "--json", "--quiet")
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.terminate()
        assert process.communicate(timeout=TIMEOUT) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT)


@contextmanager
def server_in_this_process(data: Path) -> Iterator[int]:
    """Run a server in this process and yield its port."""
    with MockServer(data=data) as server:
        yield server.port


def run_clients(run_server: Callable[[Path], AbstractContextManager[int]], data: Path, count: int, steps: int) -> int:
    with run_server(data) as port:
        clients = [Client(port, number, steps) for number in range(count)]
        with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
            for client in clients:
                stack.callback(client.close)
            for done in [pool.submit(client.run, steps) for client in clients]:
                done.result()
        clients[0].send_secrets()
        for client in clients:
            client.delete_all()
        for list in ("/files", "/containers"):
            assert clients[0].send("GET", list)["data"] == []
        for world in (WORLD, "secrets-0"):
            journal = httpx2.get(f"http://127.0.0.1:{port}/_mock/worlds/{world}/journal?limit=1000").text
            assert re.search('"method": ?"POST"', journal)
            assert SECRET not in journal
        clients[0].send("DELETE", "/_mock/worlds/secrets-0")
        clients[0].close()
        eventually(lambda: check_nothing_stored(data))
        assert not [path for path in data.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    counts = sum((client.counts for client in clients), Counter[str]())
    print(f"\n{counts.total():,} requests: {dict(sorted(counts.items()))}")
    return counts.total()


def eventually(check: Callable[[], None]) -> None:
    """Repeat a check until it succeeds: aborted uploads are removed once the server notices the closed connection."""
    until = stopwatch() + TIMEOUT
    while True:
        try:
            return check()
        except (AssertionError, FileNotFoundError):  # a file is being removed
            if stopwatch() > until:
                raise


def check_nothing_stored(data: Path) -> None:
    assert not stored(data)
    assert not [*data.glob("uploads/*"), *data.glob("trash/*")]


def test_a_few_concurrent_clients_see_exactly_their_own_changes(tmp_path: Path) -> None:
    assert run_clients(server_in_this_process, tmp_path, count=3, steps=12) > 20


@pytest.mark.slow
def test_many_concurrent_clients_see_exactly_their_own_changes(tmp_path: Path) -> None:
    assert run_clients(server_process, tmp_path, count=10, steps=400) >= tried("requests of concurrent clients")
