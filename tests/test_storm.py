"""Many clients at once, each of which knows what it made and writes HTTP in every way that is legal.

Whatever the others do meanwhile (delete, fork, restore, break off uploads, leave downloads), a client finds its own
objects as it left them, at once and in every list, once; all bytes are whole. In the end, when everybody has removed
what was his, nothing is left, and no secret that was sent is found anywhere. Nobody is told apart by how he writes:
case of headers, chunks, escapes, and how many packets it comes in.
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
    """The same throws for the same seed."""

    def __init__(self, seed: object) -> None:
        self._seed, self._thrown = str(seed), 0

    def below(self, sides: int) -> int:
        self._thrown += 1
        return int.from_bytes(hashlib.blake2b(f"{self._seed} {self._thrown}".encode()).digest()) % sides

    def one_in(self, sides: int) -> bool:
        return self.below(sides) == 0

    def pick(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]

    def bytes(self, size: int) -> bytes:
        self._thrown += 1
        return hashlib.shake_128(f"{self._seed} {self._thrown}".encode()).digest(size)


def written(dice: Dice, method: str, path: str, headers: dict[str, str], body: bytes | None) -> bytes:
    """A request in one of the many forms that mean the same."""
    target = path
    if dice.one_in(6) and not path.startswith("/_mock"):
        place = 1 + dice.below(len(path.partition("?")[0]) - 1)
        if path[place].isalnum():
            target = f"{path[:place]}%{ord(path[place]):02{dice.pick('xX')}}{path[place + 1 :]}"
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


def sent(dice: Dice, connection: socket.socket, data: bytes) -> None:
    """In one go, or its beginning in small packets."""
    for _ in range(dice.below(2) * 20):
        size = dice.pick((1, 5, 50, 500))
        connection.sendall(data[:size])
        data = data[size:]
    connection.sendall(data)


class Client:
    def __init__(self, port: int, number: int, seed: object) -> None:
        self.number = number
        self.asked: Counter[str] = Counter()
        self.dice = Dice((seed, number))
        self.files: dict[str, bytes] = {}
        self.boxes: dict[str, dict[str, bytes]] = {}
        """Each with the contents of its files."""
        self.shown: dict[str, Any] = {}
        self.gone: list[str] = []
        self._port = port
        self._connection: socket.socket | None = None
        self.actions: list[Callable[[], None]] = [
            *[self.make] * 3, *[self.upload] * 4, *[self.add] * 4, *[self.copy] * 3, *[self.look] * 8, *[self.remove] * 6,
            self.walk, self.break_off, self.leave, self.delete_under_way, self.ask_at_once, self.fork,
        ]  # fmt: skip

    def open(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "", world: str = WORLD) -> bytes:
        headers = {"Authorization": dice_key(self.dice)} | ({"Content-Type": kind} if kind else {})
        return written(self.dice, method, path if path.startswith("/_mock") else f"/w/{world}/v1{path}", headers, body)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", **how: Any) -> Any:
        """The answer, JSON read; `status` if it should not be 200."""
        status, world = how.get("status", 200), how.get("world", WORLD)
        data = self.request(method, path, body, kind, world)
        if self._connection is None:
            self._connection = self.open()
        sent(self.dice, self._connection, data)
        with http.client.HTTPResponse(self._connection, method=method) as response:
            response.begin()
            said = response.read()
            if response.headers["connection"] == "close":
                self.close()
        self.asked[f"{method} {response.status}"] += 1
        assert response.status == status, f"{data[:1_000]!r}: {response.status} {said[:1_000]!r}"
        return said if response.headers.get("content-type") != "application/json" else json.loads(said)

    def json(self, method: str, path: str, body: Any, **how: Any) -> Any:
        return self.ask(method, path, json.dumps(body).encode(), "application/json", **how)

    def form(self, parts: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
        """Of parts given by name, file name and content."""
        boundary = "b" + "".join(self.dice.pick("aZ0'()+_,-./:=?") for _ in range(self.dice.below(60))) + "d"
        disposition = 'Content-Disposition: form-data; name="{}"{}'
        whole = b""
        for name, filename, content in parts:
            head = disposition.format(name, f'; filename="{filename}"' if filename else "")
            head += "\r\nContent-Type: text/plain" if filename and self.dice.one_in(3) else ""
            whole += f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
        return whole + f"--{boundary}--\r\n".encode(), f'multipart/form-data; boundary="{boundary}"'

    def content(self) -> bytes:
        """Some that others have too, at the same time; of several sizes around those that matter."""
        size = self.dice.pick((1, 1_000, 16_384, 16_385, 70_000))
        own = b"%d " % self.number + self.dice.bytes(10)
        return self.dice.pick((b"", b"shared" * size, b"common" * size, own, own + b"\r\n--z" * size, own * 150_000))

    # What it does

    def make(self) -> None:
        ids = [self.dice.pick(sorted(self.files)) for _ in range(self.dice.below(3)) if self.files]
        made = self.json("POST", "/containers", {"name": f"of {self.number}", "file_ids": ids})
        inside = self.ask("GET", f"/containers/{made['id']}/files?order=asc")["data"]
        assert [each["bytes"] for each in inside] == [len(self.files[id]) for id in ids]
        self.boxes[made["id"]] = {each["id"]: self.files[id] for each, id in zip(inside, ids, strict=True)}
        self.shown[made["id"]] = made

    def upload(self) -> None:
        content = self.content()
        name = hashlib.sha256(content).hexdigest()
        parts = [("purpose", "", b"vision"), ("file", name, content)][:: self.dice.pick((1, -1))]
        made = self.ask("POST", "/files", *self.form(parts))
        assert made["bytes"] == len(content)
        self.files[made["id"]] = content

    def add(self) -> None:
        if self.boxes:
            box, content = self.dice.pick(sorted(self.boxes)), self.content()
            made = self.ask("POST", f"/containers/{box}/files", *self.form([("file", "a b", content)]))
            assert made["path"] == f"/mnt/data/{hashlib.blake2b(content, digest_size=16).hexdigest()}-a b"
            self.boxes[box][made["id"]] = content

    def copy(self) -> None:
        if self.boxes and self.files:
            box, file = self.dice.pick(sorted(self.boxes)), self.dice.pick(sorted(self.files))
            made = self.json("POST", f"/containers/{box}/files", {"file_id": file})
            self.boxes[box][made["id"]] = self.files[file]

    def look(self) -> None:
        if self.gone:
            self.ask("GET", self.dice.pick(self.gone), status=404)
        if self.files:
            file = self.dice.pick(sorted(self.files))
            assert self.ask("GET", f"/files/{file}/content") == self.files[file]
        if self.boxes:
            box = self.dice.pick(sorted(self.boxes))
            assert self.ask("GET", f"/containers/{box}") | {"last_active_at": 0} == self.shown[box] | {
                "last_active_at": 0
            }
            assert sorted(self.listed(f"/containers/{box}/files", 2)) == sorted(self.boxes[box])
            if self.boxes[box]:
                file = self.dice.pick(sorted(self.boxes[box]))
                assert self.ask("GET", f"/containers/{box}/files/{file}/content") == self.boxes[box][file]

    def listed(self, path: str, limit: int, order: str = "asc") -> list[str]:
        ids, times, after = [], [], ""
        while True:
            page = self.ask("GET", f"{path}?limit={limit}&order={order}{after}")
            ids += [each["id"] for each in page["data"]]
            times += [each["created_at"] for each in page["data"]]
            if not page["has_more"]:
                break
            assert page["data"], "a page that has more is never empty"
            after = f"&after={page['last_id']}"
        assert len(ids) == len(set(ids)), "something is listed twice"
        assert times == sorted(times, reverse=order == "desc")
        return ids

    def walk(self) -> None:
        for path, own in (("/containers", self.boxes), ("/files", self.files)):
            found = set(self.listed(path, self.dice.pick((5, 20, 100)), self.dice.pick(("asc", "desc"))))
            assert own.keys() <= found, "something of mine is not listed"
            assert not {each.rpartition("/")[2] for each in self.gone} & found, "something is listed that I deleted"

    def remove(self) -> None:
        things = [*(f"/files/{id}" for id in self.files), *(f"/containers/{id}" for id in self.boxes)]
        things += [f"/containers/{box}/files/{id}" for box, inside in self.boxes.items() for id in inside]
        if things:
            self.delete(self.dice.pick(sorted(things)))

    def delete(self, path: str) -> None:
        self.ask("DELETE", path)
        _, kind, id, *inside = path.split("/")
        if inside:
            del self.boxes[id][inside[1]]
        else:
            del (self.files if kind == "files" else self.boxes)[id]
        self.gone = [*self.gone[-20:], path]

    def break_off(self) -> None:
        """Half an upload, and then no more of it; or nobody any more."""
        body, kind = self.form([("purpose", "", b"vision"), ("file", "torn", b"torn" + self.dice.bytes(200_000))])
        data = self.request("POST", "/files", body, kind)
        with self.open() as opened:
            opened.sendall(data[: 1 + self.dice.below(len(data) - 8)])
            if self.dice.one_in(2):
                opened.shutdown(socket.SHUT_WR)
                opened.recv(1)
            else:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", self.dice.below(2), 0))
        self.asked["broken off"] += 1

    def leave(self) -> None:
        if self.files:
            largest = max(self.files, key=lambda file: len(self.files[file]))
            with self.open() as opened:
                opened.sendall(self.request("GET", f"/files/{largest}/content"))
                opened.recv(self.dice.pick((1, 100_000)))
            self.asked["left"] += 1

    def delete_under_way(self) -> None:
        """All of it comes, or it is not there: never a part."""
        content = self.dice.bytes(1_500_000)
        parts = [("purpose", "", b"vision"), ("file", hashlib.sha256(content).hexdigest(), content)]
        file = self.ask("POST", "/files", *self.form(parts))["id"]
        with self.open() as opened:
            opened.sendall(self.request("GET", f"/files/{file}/content"))
            self.ask("DELETE", f"/files/{file}")
            with http.client.HTTPResponse(opened) as response:
                response.begin()
                said = response.read()
        assert response.status == 404 or (response.status, said) == (200, content)
        self.asked[f"deleted under way {response.status}"] += 1

    def ask_at_once(self) -> None:
        """Several requests in a row, and then their answers."""
        ids = [*sorted(self.boxes)[:3], *(path.split("/")[2] for path in self.gone if path.count("/") == 2)]
        with self.open() as opened, opened.makefile("rb") as stream:
            sent(self.dice, opened, b"".join(self.request("GET", f"/containers/{id}") for id in ids))
            for id in ids:
                with http.client.HTTPResponse(OpenStream(stream)) as response:  # type: ignore[arg-type]  # it only reads
                    response.begin()
                    assert id in response.read().decode()
                    assert response.status == (200 if id in self.boxes else 404)
                self.asked["at once"] += 1

    def fork(self) -> None:
        """A copy of everything, in the midst of it all, is whole; and comes back as it was when it is restored."""
        if self.number > 1:
            return
        world = f"fork-{self.number}"
        control = f"/_mock/worlds/{world}"
        self.json("POST", control, {"fork_of": WORLD})
        page = "/files?limit=20"
        before = self.ask("GET", page, world=world)
        self.ask("PUT", f"{control}/snapshots/one", b"")
        for file in before["data"]:
            assert file["filename"] != "torn"
            content = self.ask("GET", f"/files/{file['id']}/content", world=world)
            assert hashlib.sha256(content).hexdigest() == file["filename"]
            self.ask("DELETE", f"/files/{file['id']}", world=world)
        self.ask("POST", f"{control}/snapshots/one/restore", b"")
        assert self.ask("GET", page, world=world) == before
        self.ask("DELETE", control)

    def tell_secrets(self) -> None:
        """In all the places where one may stand, or stands by mistake."""
        secrets = [{"domain": "a.example", "name": "n", "value": SECRET}]
        policy = {"type": "allowlist", "allowed_domains": ["a.example"], "domain_secrets": secrets}
        body = {"name": "box", "network_policy": policy}
        text = json.dumps(body)
        spelt = text.replace("domain_secrets", "".join(f"\\u{ord(letter):04x}" for letter in "domain_secrets"))
        world = f"secrets-{self.number}"
        self.json("POST", "/containers", body, world=world)
        self.ask("POST", "/containers", spelt.encode(), "application/json", world=world)
        self.json("POST", "/containers", body | {"memory_limit": "9g"}, world=world, status=400)
        self.ask("POST", "/containers", text[:-2].encode(), "application/json", world=world, status=400)
        self.json("POST", "/containers", {"name": "box", "password": [SECRET]}, world=world, status=400)
        self.ask("GET", f"/containers?api_key={SECRET}&%61ccess_token={SECRET}", world=world)
        parts = [("api_key", "", SECRET.encode()), ("purpose", "", b"vision"), ("file", "a", b"")]
        self.ask("POST", "/files", *self.form(parts), world=world, status=400)

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self.dice.pick(self.actions)()
        self.walk()

    def clear_up(self) -> None:
        for path in [*(f"/files/{id}" for id in self.files), *(f"/containers/{id}" for id in self.boxes)]:
            self.ask("DELETE", path)
        self.close()


def dice_key(dice: Dice) -> str:
    return str(dice.pick(("Bearer {}", "bearer {}", "Bearer   {}")).format(f"sk-{SECRET}"))


@contextmanager
def served(data: Path) -> Iterator[int]:
    """The port of a server that ends in peace, and has said nothing."""
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
def served_here(data: Path) -> Iterator[int]:
    """The port of a server in this process."""
    with MockServer(data=data) as server:
        yield server.port


def storm(serving: Callable[[Path], AbstractContextManager[int]], data: Path, clients: int, steps: int) -> int:
    with serving(data) as port:
        some = [Client(port, number, steps) for number in range(clients)]
        with ExitStack() as stack, ThreadPoolExecutor(clients) as pool:
            for client in some:
                stack.callback(client.close)
            for done in [pool.submit(client.go, steps) for client in some]:
                done.result()
        some[0].tell_secrets()
        for client in some:
            client.clear_up()
        for list in ("/files", "/containers"):
            assert some[0].ask("GET", list)["data"] == []
        for world in (WORLD, "secrets-0"):
            told = httpx2.get(f"http://127.0.0.1:{port}/_mock/worlds/{world}/journal?limit=1000").text
            assert re.search('"method": ?"POST"', told)
            assert SECRET not in told
        some[0].ask("DELETE", "/_mock/worlds/secrets-0")
        some[0].close()
        eventually(lambda: left(data))
        assert not [path for path in data.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    asked = sum((client.asked for client in some), Counter[str]())
    print(f"\n{asked.total():,} requests: {dict(sorted(asked.items()))}")
    return asked.total()


def eventually(check: Callable[[], None]) -> None:
    """What a client left behind is removed when the server notices that it is gone."""
    until = stopwatch() + TIMEOUT
    while True:
        try:
            return check()
        except (AssertionError, FileNotFoundError):  # as it is removed at this moment
            if stopwatch() > until:
                raise


def left(data: Path) -> None:
    assert not stored(data)
    assert not [*data.glob("uploads/*"), *data.glob("trash/*")]


def test_clients_at_once_find_what_is_theirs(tmp_path: Path) -> None:
    assert storm(served_here, tmp_path, clients=3, steps=12) > 20


@pytest.mark.slow
def test_many_clients_at_once_find_what_is_theirs(tmp_path: Path) -> None:
    assert storm(served, tmp_path, clients=10, steps=400) >= tried("requests of clients at once")
