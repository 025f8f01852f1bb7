"""Several processes on one data directory: what one does, all others know at once, whichever of them dies.

Every test talks to each process by a connection of its own, and knows from its answer which one it has.
"""

import asyncio
import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import NOON, ok, refusal, stored
from test_durability import (
    PATIENCE,
    UNUSABLE,
    Killed,
    Writer,
    check_answers,
    check_directory,
    check_lists,
    leave_behind,
)

from mockserver import schema, worlds
from mockserver.clock import Clock, stopwatch
from mockserver.database import Database, directory_lock
from mockserver.errors import APIError
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.server import MockServer
from mockserver.settings import Settings
from mockserver.sharing import Shared

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="several processes are forked")

WORKERS = 3
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MOCKSERVER_")}

_names = count()


@dataclass
class Several:
    """A server of several processes."""

    process: "subprocess.Popen[str]"
    started: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.started["url"]).replace("localhost", "127.0.0.1")

    def connect(self) -> httpx2.Client:
        """One connection, which leads to one and the same process as long as that lives."""
        return httpx2.Client(
            base_url=self.url,
            headers={"Authorization": "Bearer sk-test"},
            limits=httpx2.Limits(max_connections=1, keepalive_expiry=None),
            timeout=PATIENCE,
        )

    def pid(self, client: httpx2.Client) -> int:
        return int(ok(client.get("/_mock/state"))["pid"])

    @contextmanager
    def each(self, without: frozenset[int] = frozenset()) -> Iterator[dict[int, httpx2.Client]]:
        """A connection to each process, by its pid, as soon as there are so many but for those `without`."""
        with ExitStack() as stack:
            found: dict[int, httpx2.Client] = {}
            until = stopwatch() + PATIENCE
            while len(found) < WORKERS:
                assert stopwatch() < until, f"only {len(found)} processes answer"
                client = self.connect()
                pid = self.pid(client)
                if pid in found or pid in without:
                    client.close()
                else:
                    stack.callback(client.close)
                    found[pid] = client
            yield found

    def stop(self, number: int = signal.SIGTERM) -> str:
        """A clean stop; returns what it said, which should be nothing."""
        self.process.send_signal(number)
        said, complained = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, complained
        return said + complained


AS_EVER = ("-m", "mockserver")


def command(*arguments: str | Path, program: Sequence[str] = AS_EVER) -> "subprocess.Popen[str]":
    call = [sys.executable, "-W", "error", *program, "serve", "--port", "0", "--json", *arguments]
    return subprocess.Popen(call, env=CLEAN, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Killed, where it doesn't end by itself as it should."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(*arguments: str | Path, workers: int = WORKERS, program: Sequence[str] = AS_EVER) -> Iterator[Several]:
    with command("--host", "127.0.0.1", "--workers", str(workers), *arguments, program=program) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                pytest.fail(f"the server did not start: {process.communicate(timeout=PATIENCE)[1]}")
            yield Several(process, json.loads(line))
        finally:
            process.terminate()  # its processes go with it
            process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def several() -> Iterator[Several]:
    with serving() as server:
        yield server


@pytest.fixture
def world() -> str:
    return f"world-{next(_names)}"


@pytest.fixture
def each(several: Several) -> Iterator[list[httpx2.Client]]:
    """A connection to each process."""
    with several.each() as clients:
        yield list(clients.values())


def at_once(work: Callable[[int], Any], times: int) -> list[Any]:
    """So many threads that begin together."""
    together = threading.Barrier(times)

    def begin(number: int) -> Any:
        together.wait(PATIENCE)
        return work(number)

    with ThreadPoolExecutor(times) as pool:
        return [done.result(PATIENCE * 4) for done in [pool.submit(begin, number) for number in range(times)]]


def names(client: httpx2.Client, world: str) -> list[str]:
    return [each["name"] for each in ok(client.get(f"/w/{world}/v1/containers", params={"limit": 100}))["data"]]


def create(client: httpx2.Client, world: str, name: str = "box") -> dict[str, Any]:
    return dict(ok(client.post(f"/w/{world}/v1/containers", json={"name": name})))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- One state -----------------------------------------------------------------------------------


def test_the_processes_are_several_and_say_so(several: Several) -> None:
    with several.each() as clients:
        assert len(clients) == WORKERS
        assert several.started["pid"] not in clients, "the parent answers nobody"
        for client in clients.values():
            state = ok(client.get("/_mock/state"))
            assert (state["workers"], state["data"]) == (WORKERS, several.started["data"])


def test_what_one_process_did_all_others_show_at_once(each: list[httpx2.Client], world: str) -> None:
    for step in range(12):
        maker, other, third = islice(cycle(each), step % WORKERS, step % WORKERS + 3)
        made = create(maker, world, f"box {step}")
        path = f"/w/{world}/v1/containers/{made['id']}"
        file = ok(other.post(f"{path}/files", files={"file": ("a.txt", f"content {step}".encode())}))
        assert third.get(f"{path}/files/{file['id']}/content").content == f"content {step}".encode()
        assert ok(maker.delete(f"{path}/files/{file['id']}"))["deleted"]
        refusal(third.get(f"{path}/files/{file['id']}/content"), 404, None)
        assert ok(third.delete(path))["deleted"]
        refusal(other.get(path), 404, None)
        refusal(maker.get(path), 404, None)


def test_a_clock_that_one_moved_has_moved_for_all(each: list[httpx2.Client], world: str) -> None:
    for step in range(12):
        mover, *others = islice(cycle(each), step % WORKERS, step % WORKERS + 3)
        ok(mover.post(f"/_mock/worlds/{world}/clock/freeze", json={"at": NOON + step}))
        path = f"/w/{world}/v1/containers/{create(others[0], world)['id']}"
        assert [ok(client.get(path))["created_at"] for client in each] == [NOON + step] * WORKERS
        ok(others[1].post(f"/_mock/worlds/{world}/clock/advance", json={"by": "20m"}))
        assert [ok(client.get(path))["status"] for client in each] == ["expired"] * WORKERS
        ok(others[0].put(f"/_mock/worlds/{world}/profile", json={"name": "live" if step % 2 else None}))
        for client in each:
            long = {"name": "long", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            assert client.post(f"/w/{world}/v1/containers", json=long).status_code == (400 if step % 2 else 200)


def test_clocks_that_are_moved_at_once_have_made_all_the_moves(several: Several, world: str) -> None:
    with several.each() as clients:
        ok(next(iter(clients.values())).post(f"/_mock/worlds/{world}/clock/freeze", json={"at": NOON}))

    def move(number: int) -> None:
        with several.connect() as client:
            for _ in range(5):
                ok(client.post(f"/_mock/worlds/{world}/clock/advance", json={"by": 1}))

    at_once(move, 12)
    with several.each() as clients:
        assert {ok(client.get(f"/_mock/worlds/{world}/clock"))["now"] for client in clients.values()} == {NOON + 60}


def test_ids_made_at_once_in_a_world_that_nobody_had_used_are_all_different(several: Several, world: str) -> None:
    with ExitStack() as stack:
        clients = [client for _ in range(4) for client in stack.enter_context(several.each()).values()]
        made = at_once(
            lambda number: [create(clients[number], world, f"{number}-{step}")["id"] for step in range(15)], 12
        )
    ids = [id for each in made for id in each]
    assert len(set(ids)) == len(ids) == 180
    with several.connect() as client:
        listed: list[str] = []
        query: dict[str, Any] = {"limit": 100}
        while True:
            page = ok(client.get(f"/w/{world}/v1/containers", params=query))
            listed += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        assert sorted(listed) == sorted(ids)
        worlds = [each["name"] for each in ok(client.get("/_mock/worlds"))["data"]]
        assert worlds.count(world) == 1


def test_a_fault_fires_as_often_as_it_says_wherever_the_requests_go(several: Several, world: str) -> None:
    with several.each() as clients:
        one, other, third = clients.values()
        fault = {"match": {"operation": "ListContainers"}, "times": 5, "effect": {"status": 503}}
        refused = other.post(f"/_mock/worlds/{world}/faults", json=fault)
        id = ok(refused)["id"]
        statuses: list[int] = []

        def ask(number: int) -> None:
            with several.connect() as client:
                statuses.extend(client.get(f"/w/{world}/v1/containers").status_code for _ in range(10))

        at_once(ask, 12)
        assert Counter(statuses) == {503: 5, 200: 115}
        assert ok(third.get(f"/_mock/worlds/{world}/faults/{id}"))["fired"] == 5
        for adder, remover, client in ((one, other, third), (third, one, other)) * 3:
            id = ok(adder.post(f"/_mock/worlds/{world}/faults", json={"effect": {"status": 418}}))["id"]
            assert client.get(f"/w/{world}/v1/containers").status_code == 418
            ok(remover.delete(f"/_mock/worlds/{world}/faults/{id}"))
            assert client.get(f"/w/{world}/v1/containers").status_code == 200


@pytest.mark.slow
def test_there_are_never_more_worlds_than_allowed() -> None:
    with serving("--max-worlds", "5") as server:
        with ExitStack() as stack:
            clients = [client for _ in range(6) for client in stack.enter_context(server.each()).values()]
            used = at_once(lambda number: clients[number].get(f"/w/one-of-many-{number}/v1/containers"), 16)
        assert Counter(answer.status_code for answer in used) == {200: 5, 429: 11}
        with server.connect() as client:
            assert len(ok(client.get("/_mock/worlds"))["data"]) == 5


@pytest.mark.slow
def test_who_makes_room_for_a_world_waits_for_nobody_who_waits_for_him() -> None:
    """All want to make worlds that the others have just made room for."""
    with serving("--max-worlds", "3", "--world-ttl", "0.001") as server:

        def make(start: int) -> Counter[int]:
            names = islice(cycle(f"/w/w{number}/v1/containers" for number in range(8)), start, start + 100)
            with server.connect() as client:
                return Counter(client.post(name, json={"name": "box"}).status_code for name in names)

        answers = sum(at_once(make, 12), Counter[int]())
        assert answers[200] > 100
        assert answers.keys() <= {200, 409, 429}


def test_uses_are_known_to_all_when_worlds_are_retired(each: list[httpx2.Client], world: str) -> None:
    first, second, third = each
    create(first, world)
    used = [ok(client.get(f"/_mock/worlds/{world}"))["used_at"] for client in each]
    assert used[0] is not None
    assert set(used) == {used[0]}
    create(second, world)
    assert ok(third.get(f"/_mock/worlds/{world}"))["used_at"] > used[0]
    assert world not in ok(third.post("/_mock/all-worlds/retire", json={"idle": "1h"}))["worlds"]
    assert world in ok(third.post("/_mock/all-worlds/retire", json={"idle": 0}))["worlds"]
    for client in each:
        refusal(client.get(f"/_mock/worlds/{world}"), 404, "world_not_found")
    assert names(second, world) == []


# --- Replaced ------------------------------------------------------------------------------------


def restored_under_traffic(several: Several, world: str, sizes: tuple[int, int], restores: int) -> None:
    """Readers and writers, each on a process of its own, while another one goes to and fro."""
    with several.each() as clients:
        mover, *others = clients.values()
        both = create(mover, world, "in both")["id"]
        boxes = [{"name": "first", "repeat": sizes[0] - 1}]
        ok(mover.post(f"/_mock/worlds/{world}/place", json={"version": 1, "containers": boxes}))
        ok(mover.put(f"/_mock/worlds/{world}/snapshots/first"))
        ok(mover.post(f"/_mock/worlds/{world}/reset", params={"empty": "true"}))
        ok(mover.post(f"/_mock/worlds/{world}/snapshots/first/restore"))
        boxes = [{"name": "second", "repeat": sizes[1] - sizes[0]}]
        ok(mover.post(f"/_mock/worlds/{world}/place", json={"version": 1, "containers": boxes}))
        ok(mover.put(f"/_mock/worlds/{world}/snapshots/second"))
        done = threading.Event()
        seen: Counter[int] = Counter()

        def read(client: httpx2.Client) -> None:
            while not done.is_set():
                total = ok(client.get(f"/w/{world}/v1/containers", params={"limit": 100}))
                seen[len(total["data"])] += 1
                ok(client.get(f"/w/{world}/v1/containers/{both}"))

        def write(client: httpx2.Client) -> None:
            while not done.is_set():
                file = ok(client.post(f"/w/{world}/v1/containers/{both}/files", files={"file": b"any"}))
                status = client.delete(f"/w/{world}/v1/containers/{both}/files/{file['id']}").status_code
                assert status in (200, 404), status  # it was made before the world went back

        with ThreadPoolExecutor(4) as pool, several.each() as more:
            work = [pool.submit(read, client) for client in others]
            work += [pool.submit(write, client) for client in list(more.values())[:2]]
            try:
                for step in range(restores):
                    ok(mover.post(f"/_mock/worlds/{world}/snapshots/{('first', 'second')[step % 2]}/restore"))
                    for client in (mover, *more.values())[:: len(more)]:
                        shown = len(ok(client.get(f"/w/{world}/v1/containers", params={"limit": 100}))["data"])
                        assert shown == min(100, sizes[step % 2])
                    failed = next((each for each in work if each.done()), None)
                    assert failed is None, failed and failed.exception()
            finally:
                done.set()
            for each in work:
                each.result(PATIENCE)
        assert set(seen) == {min(100, size) for size in sizes}, seen


def test_a_restored_world_is_all_old_or_all_new_in_every_process(several: Several, world: str) -> None:
    restored_under_traffic(several, world, (3, 8), restores=40)


@pytest.mark.slow
def test_a_large_restored_world_is_all_old_or_all_new_in_every_process(several: Several, world: str) -> None:
    restored_under_traffic(several, world, (50, 6_000), restores=30)


def test_a_world_that_was_reset_or_deleted_is_so_for_all(each: list[httpx2.Client], world: str) -> None:
    for step in range(9):
        one, other, third = islice(cycle(each), step % WORKERS, step % WORKERS + 3)
        create(one, world)
        create(other, world)
        assert len(names(third, world)) == 2
        if step % 2:
            ok(other.post(f"/_mock/worlds/{world}/reset"))
        else:
            ok(other.delete(f"/_mock/worlds/{world}"))
        assert [names(client, world) for client in each] == [[]] * WORKERS


# --- Contents ------------------------------------------------------------------------------------


def contents_under_traffic(data: Path, steps: int) -> None:
    """Uploads and deletions, of the same bytes too, while worlds that name them are forked and removed."""
    writers = [Writer(number) for number in range(6)]
    done = threading.Event()
    with serving("--data", data) as server:
        with server.connect() as client:
            ok(client.get("/v1/containers"))  # or there would be no world to fork yet
        acknowledged = count(1)

        def write(writer: Writer) -> None:
            with server.connect() as client:
                client.base_url = f"{server.url}/v1"
                writer._client = client
                writer._create(0)
                actions = [writer._upload, writer._add, writer._copy, writer._delete, writer._create, writer._delete]
                for step in count(writer.number):
                    if next(acknowledged) > steps:
                        return
                    actions[step % len(actions)](step)

        def fork(number: int) -> None:
            with server.connect() as client:
                for turn in count():
                    if turn and done.is_set():
                        return
                    ok(client.post(f"/_mock/worlds/copy-{number}", json={"fork_of": "default"}))
                    copied = f"/w/copy-{number}/v1/files"
                    for each in ok(client.get(copied, params={"limit": 20, "purpose": "vision"}))["data"]:
                        assert len(client.get(f"{copied}/{each['id']}/content").content) == each["bytes"]
                    ok(client.delete(f"/_mock/worlds/copy-{number}"))

        with ThreadPoolExecutor(8) as pool:
            forking = [pool.submit(fork, number) for number in range(2)]
            writing = [pool.submit(write, writer) for writer in writers]
            try:
                for each in writing:
                    each.result(PATIENCE * 10)
            finally:
                done.set()
            for each in forking:
                each.result(PATIENCE)
        with server.each() as clients:
            for client, writer in zip(cycle(clients.values()), writers, strict=False):
                client.base_url = f"{server.url}/v1"
                check_answers(client, writer)
                check_lists(client, writers, kills=0)
        eventually(lambda: check_directory(data))
        assert server.stop() == ""


def eventually(check: Callable[[], None]) -> None:
    """Contents that were in somebody's way when they were dropped are removed a moment later."""
    until = stopwatch() + PATIENCE
    while True:
        try:
            check()
        except AssertionError:
            if stopwatch() > until:
                raise
        else:
            return


@pytest.mark.slow
def test_no_bytes_are_lost_or_left_over_between_the_processes(tmp_path: Path) -> None:
    contents_under_traffic(tmp_path, steps=150)


@pytest.mark.slow
def test_no_bytes_are_lost_or_left_over_between_the_processes_in_the_long_run(tmp_path: Path) -> None:
    contents_under_traffic(tmp_path, steps=3_000)


# --- Lives and deaths ----------------------------------------------------------------------------


def killed_under_traffic(data: Path, kills: int, each_after: int) -> None:
    """One process after the other dies while writers write; those on others must not notice."""
    writers = [Writer(number) for number in range(6)]
    with serving("--data", data) as server:
        acknowledged = count(1)
        due = threading.Semaphore(0)
        done = threading.Event()

        def write(writer: Writer) -> None:
            actions = [writer._create, writer._upload, writer._add, writer._create, writer._copy, writer._delete]
            while not done.is_set():
                with server.connect() as client:
                    client.base_url = f"{server.url}/v1"
                    writer._client = client
                    try:
                        for step in count(writer.number):
                            if done.is_set():
                                return
                            actions[step % len(actions) if writer.objects else 0](step)
                            if next(acknowledged) % each_after == 0:
                                due.release()
                    except Killed:
                        continue

        dead: set[int] = set()
        with ThreadPoolExecutor(len(writers)) as pool:
            writing = [pool.submit(write, writer) for writer in writers]
            try:
                for _ in range(kills):
                    assert due.acquire(timeout=PATIENCE)
                    with server.each(frozenset(dead)) as clients:
                        pid = next(iter(clients))
                    os.kill(pid, signal.SIGKILL)
                    dead.add(pid)
                with server.each(frozenset(dead)) as clients:
                    assert len(clients) == WORKERS
            finally:
                done.set()
            for each in writing:
                each.result(PATIENCE)
        with server.connect() as client:
            client.base_url = f"{server.url}/v1"
            for writer in writers:
                check_answers(client, writer)
            check_lists(client, writers, kills)
        eventually(lambda: check_directory(data))
        server.process.terminate()
        complaints = server.process.communicate(timeout=PATIENCE)[1]
        assert server.process.returncode == 0
        assert {f"process {pid} was ended by SIGKILL" in complaints for pid in dead} == {True}
    check_directory(data)


@pytest.mark.slow
def test_what_a_killed_process_had_under_way_is_put_in_order(tmp_path: Path) -> None:
    """Half an upload, a copy for whose sake contents were held, and contents whose rows were not written."""
    with serving("--data", tmp_path) as server, server.each() as clients:
        (pid, victim), (_, other), _ = clients.items()
        boxes = {"version": 1, "containers": [{"name": "box", "repeat": 20_000}]}
        ok(other.post("/_mock/worlds/large/place", json=boxes, timeout=PATIENCE * 4))
        file = ok(other.post("/v1/files", files={"file": b"doomed"}, data={"purpose": "vision"}))
        ok(other.post("/v1/files", files={"file": b"kept"}, data={"purpose": "vision"}))
        with connected_to(server, pid) as upload:
            upload.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 99000000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
                b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 3_000_000
            )
            eventually(lambda: _assert(list((tmp_path / "uploads").glob(f"{pid}-*"))))
            leave_behind(tmp_path)
            (tmp_path / "uploads" / "4711-0").unlink()  # that is of another server
            with ThreadPoolExecutor(1) as pool:
                copied = pool.submit(victim.post, "/_mock/worlds/copy", json={"fork_of": "large"})
                database = sqlite3.connect(f"file:{tmp_path / 'mockserver.db'}?mode=ro", uri=True)
                half_made = "SELECT count(*) FROM worlds WHERE coalesce(name, template_of, snapshot) IS NULL"
                eventually(lambda: _assert(database.execute(half_made).fetchone()[0]))
                os.kill(pid, signal.SIGKILL)
                database.close()
                with pytest.raises(httpx2.TransportError):
                    copied.result(PATIENCE)
        ok(other.delete(f"/v1/files/{file['id']}"))
        eventually(lambda: check_directory(tmp_path))


def _assert(held: object) -> None:
    assert held


def connected_to(server: Several, pid: int) -> socket.socket:
    until = stopwatch() + PATIENCE
    while stopwatch() < until:
        connection = socket.create_connection(("127.0.0.1", server.started["port"]), PATIENCE)
        if server_of(connection) == pid:
            return connection
        connection.close()
    raise AssertionError(f"no connection leads to process {pid}")


def server_of(connection: socket.socket) -> int:
    """The process at the other end of a connection, which can be used further."""
    connection.sendall(b"GET /_mock/state HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while b"}" not in answer:
        answer += connection.recv(65_536)
    return int(json.loads(answer.partition(b"\r\n\r\n")[2])["pid"])


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced_and_takes_nothing_along(tmp_path: Path) -> None:
    killed_under_traffic(tmp_path, kills=2, each_after=40)


UNABLE_TO_FORK_TWICE = f"""
import errno, os, signal
from mockserver.cli import main

real, forks = os.fork, 0

def fork():
    global forks
    forks += 1
    if {WORKERS} < forks <= {WORKERS} + 2:
        raise BlockingIOError(errno.EAGAIN, "no more processes")
    return real()

os.fork = fork
main(standalone_mode=False)
assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
"""


NO_SECOND_PROCESS = """
import errno, itertools, os
from mockserver.cli import main

real, forks = os.fork, itertools.count(1)

def fork():
    if next(forks) == 2:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return real()

os.fork = fork
main()
"""

DEAD_AT_ONCE = """
import os, signal
from mockserver import workers
from mockserver.cli import main

workers.Workers._work = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


@pytest.mark.parametrize(
    ("program", "words"),
    [(NO_SECOND_PROCESS, ("process 2 of 2", "--workers")), (DEAD_AT_ONCE, ("of 2 was ended by SIGKILL",))],
    ids=["fork", "death"],
)
def test_processes_that_cannot_be_started_are_told(tmp_path: Path, program: str, words: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    with ended(command("--workers", "2", "--data", data, program=("-c", program))) as process:
        said, complained = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (6, "")
    assert complained.count("\n") == 1
    assert all(each in complained for each in words)
    with directory_lock(data / "lock"):
        pass  # whatever was started has ended too


@pytest.mark.slow
def test_a_process_that_cannot_be_started_again_is_tried_again_while_the_others_serve() -> None:
    with serving(program=("-c", UNABLE_TO_FORK_TWICE)) as server:
        with server.each() as clients:
            pid = next(iter(clients))
            os.kill(pid, signal.SIGKILL)
        with server.each(frozenset({pid})):
            pass
        ended, *failed = server.stop().splitlines()
        assert f"process {pid} was ended by SIGKILL" in ended
        assert ["no more processes" in line for line in failed] == [True, True]


@pytest.mark.slow
def test_processes_that_are_killed_again_and_again_take_nothing_along(tmp_path: Path) -> None:
    killed_under_traffic(tmp_path, kills=12, each_after=150)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))]
)
def test_all_stop_together(number: int) -> None:
    with serving() as server, server.each() as clients:  # with connections that are idle
        data = Path(server.started["data"])
        assert (data / "mockserver.db").exists()
        assert server.stop(number) == ""
        assert not any(map(alive, clients))
        assert not data.exists()


@pytest.mark.slow
def test_a_terminal_that_interrupts_them_all_stops_them_cleanly() -> None:
    with serving() as server, server.each() as clients:
        for pid in clients:
            os.kill(pid, signal.SIGINT)
        assert server.stop(signal.SIGINT) == ""
        assert not any(map(alive, clients))


@pytest.mark.slow
def test_a_directory_has_one_server_even_after_its_parent_was_killed(tmp_path: Path) -> None:
    def refused() -> str:
        with ended(command("--data", tmp_path)) as second:
            said, complained = second.communicate(timeout=PATIENCE)
        assert (second.returncode, said, complained.count("\n")) == (UNUSABLE, "", 1), complained
        assert "in use" in complained
        return complained

    with serving("--data", tmp_path) as server, server.each() as clients:
        made = create(next(iter(clients.values())), "default")
        refused()
        sleeper = next(iter(clients))
        os.kill(sleeper, signal.SIGSTOP)  # it can't end by itself
        try:
            server.process.kill()
            server.process.wait(PATIENCE)
            assert "killed" in refused()
        finally:
            os.kill(sleeper, signal.SIGCONT)
        until = stopwatch() + PATIENCE
        while any(map(alive, clients)):
            assert stopwatch() < until, "they go on without their parent"
    with serving("--data", tmp_path) as server, server.connect() as client:
        assert ok(client.get(f"/v1/containers/{made['id']}"))["name"] == "box"


@pytest.mark.slow
def test_a_port_has_one_server() -> None:
    with serving(workers=2) as server:
        with ended(command("--port", str(server.started["port"]), "--host", "127.0.0.1", "--workers", "2")) as second:
            said, complained = second.communicate(timeout=PATIENCE)
        assert (second.returncode, said) == (3, ""), complained
        assert "--port" in complained


# --- What needs one process ----------------------------------------------------------------------


def test_the_journal_and_all_that_is_read_from_it_ask_for_one_process(several: Several, world: str) -> None:
    with several.connect() as client:
        create(client, world)
        paths = ok(client.get("/_mock/openapi.json"))["paths"]
        refused = 0
        for path, methods in paths.items():
            if path.startswith("/_mock/worlds/{world}/") and path.split("/")[4] in ("journal", "verdict"):
                for method in methods:
                    answer = client.request(method, path.format(world=world, number=1))
                    assert "--workers" in refusal(answer, 501, "needs_one_process")
                    refused += 1
        assert refused >= 7


def test_a_change_in_any_process_is_told_to_who_follows_one(several: Several, world: str) -> None:
    with several.each() as clients:
        follower, *others = clients.values()
        with follower.stream("GET", "/_mock/changes", timeout=PATIENCE) as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": what changes"
            for client in others:
                create(client, world)
                told = next(line for line in lines if line.startswith("data: "))
                assert "containers" in json.loads(told.removeprefix("data: "))["*"]


def test_a_server_in_a_thread_is_one_process() -> None:
    with pytest.raises(ValueError, match="--workers"):
        MockServer(workers=2)


def test_one_worker_is_the_ordinary_server() -> None:
    with serving(workers=1) as server, server.connect() as client:
        assert server.pid(client) == server.started["pid"]
        assert (
            ok(client.get("/_mock/worlds/default/journal/wait", params={"timeout": 0, "count": 1}))
            if names(client, "default") == []
            else None
        )


# --- In between ----------------------------------------------------------------------------------
#
# What happens between two steps of a process: two of them in this one, so that a test can hold the one
# where it wants it and let the other one act.


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Mock, Mock]]:
    mock = Mock(Settings(data=tmp_path))
    first, shared = mock, mock.share(2)
    second, others = copy(mock), copy(shared)
    for one, number, own in ((first, 0, shared), (second, 1, others)):
        one.join(own, number)
    try:
        yield first, second
    finally:
        for one in (first, second):
            one.database.close()
        for each in (shared, others):
            each._lock_file.close()
        mock.close()


def elsewhere(work: Coroutine[Any, Any, Any]) -> None:
    """Let the other process do something, from beginning to end, in the midst of what this one does."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result(PATIENCE)


BOX = schema.CreateContainer(name="box")


def test_who_read_while_the_world_was_replaced_reads_again(two: tuple[Mock, Mock]) -> None:
    first, second = two
    tries: list[int] = []

    async def check() -> None:
        call = await first.worlds.call("w")
        await first.run(first.containers.create, call, BOX)
        await second.worlds.take_snapshot("w", "one")
        await first.run(first.containers.create, call, BOX)

        def read(call: worlds.Call) -> schema.ContainerList:
            tries.append(call.world.id)
            if len(tries) == 1:
                elsewhere(second.worlds.restore("w", "one"))
            return first.containers.list(call, schema.ListContainers())

        assert len((await first.run(read, call))["data"]) == 1

    asyncio.run(check())
    assert len(set(tries)) == len(tries) == 2


def test_who_was_refused_while_the_world_was_replaced_asks_again(two: tuple[Mock, Mock]) -> None:
    first, second = two
    ran: list[str] = []

    async def check() -> None:
        call = await first.worlds.call("w")
        box = await first.run(first.containers.create, call, BOX)
        await second.worlds.take_snapshot("w", "one")

        def delete(call: worlds.Call) -> schema.ContainerDeleted:
            ran.append(box["id"])
            if len(ran) == 1:
                elsewhere(second.worlds.restore("w", "one"))
            return first.containers.delete(call, box["id"])

        assert (await first.run(delete, call))["id"] == box["id"]
        call = await second.worlds.call("w")
        assert (await second.run(second.containers.list, call, schema.ListContainers()))["data"] == []

    asyncio.run(check())
    assert len(ran) == 2


def test_what_was_written_before_the_world_was_replaced_is_not_written_again(two: tuple[Mock, Mock]) -> None:
    first, second = two
    deleted: list[str] = []

    async def check() -> None:
        call = await first.worlds.call("w")
        box = await first.run(first.containers.create, call, BOX)

        def delete(call: worlds.Call) -> schema.ContainerDeleted:
            gone = first.containers.delete(call, box["id"])
            deleted.append(gone["id"])
            elsewhere(second.worlds.reset("w"))
            return gone

        assert (await first.run(delete, call))["deleted"]
        assert (await first.run(first.containers.list, call, schema.ListContainers()))["data"] == []

    asyncio.run(check())
    assert len(deleted) == 1


def test_who_replaces_a_world_waits_for_the_commit_that_others_share(two: tuple[Mock, Mock]) -> None:
    first, second = two

    async def check() -> None:
        call = await first.worlds.call("w")
        creating = [asyncio.ensure_future(first.run(first.containers.create, call, BOX)) for _ in range(3)]
        await asyncio.sleep(0)  # all have written, none of it is committed
        resetting = asyncio.ensure_future(asyncio.to_thread(elsewhere, second.worlds.reset("w")))
        assert len({box["id"] for box in await asyncio.gather(*creating)}) == 3
        await resetting
        assert (await first.run(first.containers.list, call, schema.ListContainers()))["data"] == []

    asyncio.run(check())


@pytest.mark.parametrize("content", [b"small", b"large" * 10_000], ids=["row", "file"])
def test_contents_stay_as_long_as_another_process_copies_rows(
    two: tuple[Mock, Mock], tmp_path: Path, content: bytes
) -> None:
    first, second = two

    async def check() -> None:
        call = await first.worlds.call("w")
        form = NewFile(first.blobs.put([content]), "a.txt", {"purpose": "vision"})
        file = await first.run(first.files.create, call, form)
        with second.blobs.held():
            await first.run(first.files.delete, call, file["id"])
            assert stored(tmp_path), "it may be what is being copied"
        assert first.worlds._tidying
        await asyncio.wait_for(first.worlds._tidying, PATIENCE)
        assert not stored(tmp_path)

    asyncio.run(check())


def test_what_was_to_be_removed_meanwhile_takes_the_place_of_no_commit(
    two: tuple[Mock, Mock], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove it ends the transaction that requests share: whether that went well they hear all the same."""
    first, second = two

    def full(self: Database) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def check() -> None:
        call = await first.worlds.call("w")
        form = NewFile(first.blobs.put([b"small"]), "a.txt", {"purpose": "vision"})
        file = await first.run(first.files.create, call, form)
        with second.blobs.held():
            await first.run(first.files.delete, call, file["id"])
        assert first.blobs.loose
        with monkeypatch.context() as patch:
            patch.setattr(Database, "_commit", full)
            with pytest.raises(OSError, match="No space"):
                await first.run(first.containers.create, call, BOX)
        assert (await first.run(first.containers.list, call, schema.ListContainers()))["data"] == []

    asyncio.run(check())


def test_a_deletion_is_done_once_although_another_process_writes_before_its_contents_are_removed(
    two: tuple[Mock, Mock], tmp_path: Path
) -> None:
    """Said to be busy, it would be repeated, and find nothing to delete."""
    first, second = two
    release = first.blobs.release

    def beside_a_writer() -> None:
        with second.database.transaction():
            release()

    async def check() -> None:
        call = await first.worlds.call("w")
        form = NewFile(first.blobs.put([b"bytes"]), "a.txt", {"purpose": "vision"})
        file = await first.run(first.files.create, call, form)
        first.blobs.release = beside_a_writer  # type: ignore[method-assign]
        assert (await first.run(first.files.delete, call, file["id"]))["deleted"] is True
        assert first.blobs.loose
        first.blobs.release = release  # type: ignore[method-assign]
        first.blobs.release()
        assert not stored(tmp_path)

    asyncio.run(check())


def test_a_use_counts_although_another_process_writes_just_then(two: tuple[Mock, Mock]) -> None:
    first, second = two
    remember = first.containers._remember
    tries: list[int] = []

    def beside_a_writer(used: Any, now: int) -> None:
        tries.append(now)
        with ExitStack() as stack:
            if len(tries) == 1:
                stack.enter_context(second.database.transaction())
            remember(used, now)

    async def check() -> None:
        await first.worlds.change_clock("w", lambda before: Clock(NOON, 0.0, 0.0))
        box = await first.run(first.containers.create, await first.worlds.call("w"), BOX)
        await first.worlds.change_clock("w", lambda before: Clock(NOON + 60, 0.0, 0.0))
        first.containers._remember = beside_a_writer  # type: ignore[method-assign]
        await first.run(first.containers.retrieve, await first.worlds.call("w"), box["id"])
        await second.worlds.change_clock("w", lambda before: Clock(NOON + 86_400, 0.0, 0.0))
        expired = await second.run(second.containers.retrieve, await second.worlds.call("w"), box["id"])
        assert (expired["status"], expired["last_active_at"]) == ("expired", NOON + 60)

    asyncio.run(check())
    assert len(tries) == 2


def test_what_was_to_be_removed_when_a_copy_began_is_removed_later(two: tuple[Mock, Mock], tmp_path: Path) -> None:
    first, second = two
    is_held = first.blobs._is_held

    async def check() -> None:
        call = await first.worlds.call("w")
        form = NewFile(first.blobs.put([b"bytes"]), "a.txt", {"purpose": "vision"})
        file = await first.run(first.files.create, call, form)
        with ExitStack() as copying:

            def just_before() -> bool:
                """The other one begins to copy when this one has asked, and has yet to get the lock."""
                first.blobs._is_held = is_held  # type: ignore[method-assign]
                copying.enter_context(second.blobs.held())
                return False

            first.blobs._is_held = just_before  # type: ignore[method-assign]
            await first.run(first.files.delete, call, file["id"])
            assert stored(tmp_path), "it may be what is being copied"
        first.blobs.release()
        assert not stored(tmp_path)

    asyncio.run(check())


def test_a_container_that_another_process_deletes_meanwhile_is_not_shown_as_empty(two: tuple[Mock, Mock]) -> None:
    first, second = two

    async def check() -> None:
        call, theirs = await first.worlds.call("w"), await second.worlds.call("w")
        box = await first.run(first.containers.create, call, BOX)
        use = first.containers.use

        def used(call: worlds.Call, id: str) -> str:
            there = use(call, id)
            elsewhere(second.run(second.containers.delete, theirs, id))
            return there

        first.containers.use = used  # type: ignore[method-assign]
        with pytest.raises(APIError) as refused:
            await first.run(first.containers.list_files, call, box["id"], schema.Page())
        assert refused.value.status == 404

    asyncio.run(check())


def test_a_world_that_another_process_made_meanwhile_counts(two: tuple[Mock, Mock]) -> None:
    first, second = two

    async def check() -> None:
        first.worlds._maximum = second.worlds._maximum = 1
        room = first.worlds._make_room

        async def make_room(name: str) -> None:
            await room(name)
            elsewhere(second.worlds.resolve("other"))

        first.worlds._make_room = make_room  # type: ignore[method-assign]
        with pytest.raises(APIError) as refused:
            await first.worlds.resolve("own")
        assert refused.value.code == "too_many_worlds"
        assert first.worlds.names() == ["other"]

    asyncio.run(check())


def test_a_container_that_two_made_up_at_once_is_one(two: tuple[Mock, Mock]) -> None:
    first, second = two
    id = "cntr_" + "0" * 48

    async def check() -> None:
        call = await first.worlds.call("w")
        await first.worlds.set_profile("w", replace(call.world.profile, any_id=True))
        theirs = await second.worlds.call("w")
        find, found = first.containers._found, []

        def conjured(tx: Any, call: worlds.Call, id: str) -> Any:
            elsewhere(second.run(second.containers.retrieve, theirs, id))
            found.append(first.containers.__class__._conjured(first.containers, tx, call, id))
            return found[0]

        first.containers._conjured = conjured  # type: ignore[method-assign]
        assert (await first.run(first.containers.retrieve, call, id))["id"] == id
        assert find(first.database.snapshot, call, id).seq == found[0].seq

    asyncio.run(check())


def test_what_a_process_had_begun_or_held_when_it_died_stops_nobody(tmp_path: Path) -> None:
    shared = Shared(2, tmp_path / "lock")
    shared.take(1)
    before = shared.stamp()
    assert shared.settled(before)
    shared.begin()
    assert not shared.settled(shared.stamp())
    assert not shared.still()
    assert not shared.still(), "nothing is known while something changes"
    with shared.holding(), shared.holding():
        assert shared.held
    assert not shared.held
    shared._hold(1, 2)  # as if it had died in there
    shared.bury(1)
    assert shared.settled(shared.stamp())
    assert shared.stamp() != before, "what it was changing may have changed"
    assert not shared.held
    assert not shared.still()
    assert shared.still()
    shared._lock_file.close()
