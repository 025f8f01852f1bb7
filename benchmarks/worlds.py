"""What worlds cost: a new one, forks, templates, lists; and requests to one world beside large work in another.

    python -m benchmarks.worlds [--rounds 5] [--quick]

The server is a process of its own, and so is the client whose latencies are measured. Prints two tables. On a busy
machine only the processor time can be compared, which is the server's in all of its threads.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.candidates import ROOT, environment
from mockserver import containers
from mockserver.clock import stopwatch
from mockserver.mock import Mock
from mockserver.schema.containers import CreateContainer
from mockserver.settings import Settings


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    rounds: int = 5
    seconds: float = 2.0
    """That a client measures beside one kind of work."""
    rows: int = 100_000
    files: int = 1_000
    closed: int = 1_000
    placed: int = 6_000
    deleted: int = 50_000


NOTHING = "nothing"
QUICK = Plan(2, 0.5, 5_000, 50, 100, 600, 2_500)

CLIENT = """
import json, socket, sys, time
port, base, path, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
head = "HTTP/1.1\\r\\nHost: localhost\\r\\napi-key: k\\r\\n"
body = '{"name": "box"}'
requests = [
    f"GET {path} {head}\\r\\n".encode(),
    f"POST {base}/containers {head}Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode(),
]
took = [[], []]
with socket.create_connection(("127.0.0.1", port)) as client:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for request, times in zip(requests, took):
            started = time.perf_counter()
            client.sendall(request)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            while not answer.endswith(b"}"):
                answer += client.recv(65536)
            times.append(time.perf_counter() - started)
            time.sleep(0.001)
print(json.dumps([sorted(times)[int(len(times) * 0.99)] for times in took]))
"""


Cost = tuple[float, float]
"""Seconds that something took, and seconds of the server's processor time."""


class Server:
    """A server process, and a connection to it."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--json", "--data", str(data), *options]
        # The log of requests is written, but not shown.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment()
        )
        assert self.process.stdout
        self.port = int(json.loads(self.process.stdout.readline())["port"])
        self.client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """The body of a success. What is sent is JSON, or bytes as they are."""
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if isinstance(body, bytes | None) else {"Content-Type": "application/json"}
        self.client.request(method, path, sent, {"api-key": "k", **kind})
        answer = self.client.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:500]
        return content

    def timed(self, method: str, path: str, body: object = None) -> Cost:
        started, before = stopwatch(), self.processor_time()
        self.ask(method, path, body)
        return stopwatch() - started, self.processor_time() - before

    def processor_time(self) -> float:
        """Seconds of all threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def served(data: Path, *options: str) -> Iterator[Server]:
    server = Server(data, *options)
    try:
        yield server
    finally:
        server.close()


def seed(plan: Plan, folder: Path) -> Path:
    """Templates of worlds: many rows, half as many, many large contents."""
    rows = [{"name": "c-{n}", "repeat": plan.rows}]
    less = [{"name": "c-{n}", "repeat": plan.deleted}]
    files = [{"filename": "f-{n}", "content": "x" * 20_000 + "{n}", "purpose": "vision", "repeat": plan.files}]
    worlds = {"rows": {"containers": rows}, "less": {"containers": less}, "files": {"files": files}}
    path = folder / "seed.json"
    path.write_text(json.dumps({"version": 1, "worlds": worlds}))
    return path


# What it costs alone


def new_worlds(plan: Plan) -> list[Cost]:
    """Of each of many worlds with its first row, in this process; older ones are closed meanwhile."""

    async def run(mock: Mock) -> list[Cost]:
        took = []
        for number in range(400 * plan.rounds):
            started, before = stopwatch(), time.process_time()
            context = await mock.worlds.enter(f"w{number}")
            await context.run(containers.create_container, CreateContainer(name="box"))
            took.append((stopwatch() - started, time.process_time() - before))
        await mock.worlds.finish()
        return took

    mock = Mock(Settings())
    try:
        return asyncio.run(run(mock))
    finally:
        mock.close()


def again_and_again(server: Server, plan: Plan, world: str, method: str, path: str, body: object) -> list[Cost]:
    """Of creating a world, which is deleted after each time."""
    took = []
    for _ in range(2 * plan.rounds):
        took.append(server.timed(method, path, body))
        server.ask("DELETE", f"/_mock/worlds/{world}")
    return took


def lists(plan: Plan, folder: Path) -> tuple[list[Cost], list[Cost]]:
    """Of the first list of worlds after a start, and of the next ones."""
    first, again = [], []
    with served(folder / "many", "--max-worlds", "2000") as server:
        for number in range(plan.closed):
            server.ask("POST", f"/w/w{number}/v1/containers", {"name": "box"})
    for _ in range(plan.rounds):
        with served(folder / "many", "--max-worlds", "2000") as server:
            first.append(server.timed("GET", "/_mock/worlds"))
            again += [server.timed("GET", "/_mock/worlds") for _ in range(3)]
    return first, again


# What it costs others


Work = Callable[[], object]


def works(server: Server, plan: Plan) -> dict[str, tuple[float, Callable[[], Work]]]:
    """By its name: the goal for the ratio, and what gets ready and returns the work, to be done over and over."""
    numbers = itertools.count()

    def creating(path: str, body: object = None) -> Callable[[], Work]:
        return lambda: lambda: server.ask("POST", path.format(n=next(numbers)), body)

    def of_template(world: str) -> Callable[[], Work]:
        return lambda: lambda: server.ask("POST", f"/_mock/worlds/{world}/reset")

    def listing() -> Work:
        for _ in range(200):
            server.ask("GET", f"/w/listed{next(numbers)}/v1/containers")
        return lambda: server.ask("GET", "/_mock/worlds")

    def importing() -> Work:
        archive = server.ask("GET", "/_mock/worlds/less/export")
        return lambda: server.ask("POST", "/_mock/worlds/imported/import", archive)

    def deleting() -> Work:
        left = [f"deleted{next(numbers)}" for _ in range(12)]
        for name in left:
            server.ask("POST", f"/_mock/worlds/{name}", {"fork_of": "less"})

        def delete() -> None:
            if left:
                server.ask("DELETE", f"/_mock/worlds/{left.pop()}")
            time.sleep(plan.seconds / 12)

        return delete

    box = {"path": "a.txt", "content": "{n}"}
    placed = {"containers": [{"name": "p {n}", "repeat": plan.placed // 2, "files": [box]}]}
    return {
        NOTHING: (1.0, lambda: lambda: time.sleep(0.01)),
        "new worlds": (5.0, creating("/w/new{n}/v1/containers", {"name": "box"})),
        f"forks of {plan.rows:,} rows": (5.0, creating("/_mock/worlds/fork{n}", {"fork_of": "rows"})),
        f"worlds from a template of {plan.rows:,} rows": (5.0, of_template("rows")),
        f"worlds from a template of {plan.files:,} large contents": (5.0, of_template("files")),
        "lists of 200 and more worlds": (5.0, listing),
        f"placing {plan.placed:,} objects": (10.0, creating("/_mock/worlds/placed{n}/place", placed)),
        f"imports of {plan.deleted:,} rows": (10.0, importing),
        f"exports of {plan.rows:,} rows": (10.0, lambda: lambda: server.ask("GET", "/_mock/worlds/rows/export")),
        f"deletions of {plan.deleted:,} rows": (10.0, deleting),
    }


def measure(server: Server, plan: Plan, work: Work) -> tuple[float, float, int]:
    """The p99 in seconds of GETs and of POSTs to one world while work is done in others, and how often it was done."""
    path = "/w/here/v1"
    box = json.loads(server.ask("POST", f"{path}/containers", {"name": "box"}))["id"]
    command = [sys.executable, "-c", CLIENT, str(server.port), path, f"{path}/containers/{box}", str(plan.seconds)]
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        while client.poll() is None:
            work()
            done += 1
        assert client.stdout
        gets, posts = json.loads(client.stdout.read())
    return gets, posts, done


def beside(plan: Plan, folder: Path) -> Iterator[str]:
    """The lines of a table: each kind of work, and the p99 of another world's requests as a ratio to alone."""
    measured: dict[str, list[tuple[float, float, int]]] = {}
    goals = {}
    for number in range(plan.rounds):
        options = ("--seed", str(seed(plan, folder)), "--max-worlds", "10000")
        with served(folder / f"beside{number}", *options) as server:
            for world in ("rows", "less", "files"):
                server.ask("GET", f"/w/{world}/v1/containers?limit=1")
            for name, (goal, prepare) in works(server, plan).items():
                goals[name] = goal
                measured.setdefault(name, []).append(measure(server, plan, prepare()))
                progress(f"round {number + 1}: {name}")
    for name, rounds in measured.items():
        p99s = [statistics.median(each) for each in list(zip(*rounds, strict=True))[:2]]
        alone = [statistics.median(each) for each in list(zip(*measured[NOTHING], strict=True))[:2]]
        ratios = [p99 / other for p99, other in zip(p99s, alone, strict=True)]
        shown = " | ".join(f"{p99 * 1000:.2f} ms ({ratio:.1f} ×)" for p99, ratio in zip(p99s, ratios, strict=True))
        verdict = (
            "" if name == NOTHING else f"≤ {goals[name]:.0f} × | {'yes' if max(ratios) <= goals[name] else '**no**'}"
        )
        times = statistics.median(each for _, _, each in rounds)
        yield f"| {name} | {times:.0f} | {shown} | {verdict or ' | '} |"


def alone(plan: Plan, folder: Path) -> Iterator[str]:
    """The lines of a table: what worlds cost while nothing else is done."""

    def line(name: str, costs: list[Cost], goal: float) -> str:
        seconds, processor = (sorted(each) for each in zip(*costs, strict=True))
        median, high = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
        times = [seconds[0], median, high, processor[0], statistics.median(processor)]
        met = f"≤ {goal:g} ms | {'yes' if median * 1000 <= goal else '**no**'}" if goal else " | "
        return f"| {name} | {len(seconds):,} | {' | '.join(f'{each * 1000:.2f} ms' for each in times)} | {met} |"

    yield line("a new world with its first row", new_worlds(plan), 1.0)
    with served(folder / "alone", "--seed", str(seed(plan, folder))) as server:
        server.ask("GET", "/w/rows/v1/containers?limit=1")
        fork = again_and_again(server, plan, "fork", "POST", "/_mock/worlds/fork", {"fork_of": "rows"})
        yield line(f"a fork of {plan.rows:,} rows", fork, 150.0)
        server.ask("DELETE", "/_mock/worlds/rows")
        for world, what in (("rows", f"{plan.rows:,} rows"), ("files", f"{plan.files:,} large contents")):
            took = again_and_again(server, plan, world, "GET", f"/w/{world}/v1/containers?limit=1", None)
            yield line(f"a new world from a template of {what}", took, 0)
    first, again = lists(plan, folder)
    yield line(f"the first list of {plan.closed:,} closed worlds", first, 500.0)
    yield line("the next ones", again, 50.0)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=__doc__)
    parser.add_argument("--rounds", type=int, help="measurements of each")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    given = parser.parse_args()
    plan = QUICK if given.quick else Plan()
    plan = replace(plan, rounds=given.rounds or plan.rounds)
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        heads = ["what", "measured", "best", "median", "p99", "processor, best", "median", "goal of the median", "met"]
        print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
        for each in alone(plan, Path(folder)):
            print(each, flush=True)
        print("\n| beside | times | p99 of GET | p99 of POST | goal | met |\n|---|---|---|---|---|---|")
        for each in beside(plan, Path(folder)):
            print(each, flush=True)


if __name__ == "__main__":
    main()
