"""Measure the cost of worlds (create, fork, template, list), and latencies of one world during work in others.

    python -m benchmarks.worlds [--rounds 5] [--quick]

The server and the client whose latencies are measured run in separate processes. Prints two tables. On a busy machine
only the processor time is reliable; it covers all threads of the server.
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
class Parameters:
    """Sizes and counts of a run."""

    rounds: int = 5
    seconds: float = 2.0
    """Duration of the measurement during one kind of work."""
    rows: int = 100_000
    files: int = 1_000
    closed: int = 1_000
    placed: int = 6_000
    deleted: int = 50_000


IDLE = "none"
QUICK = Parameters(2, 0.5, 5_000, 50, 100, 600, 2_500)

CLIENT = """
import json, socket, sys, time
port, base, path, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
head = "HTTP/1.1\\r\\nHost: localhost\\r\\napi-key: k\\r\\n"
body = '{"name": "box"}'
requests = [
    f"GET {path} {head}\\r\\n".encode(),
    f"POST {base}/containers {head}Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode(),
]
latencies = [[], []]
with socket.create_connection(("127.0.0.1", port)) as client:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        for request, times in zip(requests, latencies):
            started = time.perf_counter()
            client.sendall(request)
            response = client.recv(65536)
            assert response.startswith(b"HTTP/1.1 200"), response
            while not response.endswith(b"}"):
                response += client.recv(65536)
            times.append(time.perf_counter() - started)
            time.sleep(0.001)
print(json.dumps([sorted(times)[int(len(times) * 0.99)] for times in latencies]))
"""


Cost = tuple[float, float]
"""Elapsed seconds, and seconds of the server's processor time."""


class Server:
    """A server process and a connection to it."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--json", "--data", str(data), *options]
        # The request log is written, because logging is part of the cost.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment()
        )
        assert self.process.stdout
        self.port = int(json.loads(self.process.stdout.readline())["port"])
        self.client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def send(self, method: str, path: str, body: object = None) -> bytes:
        """Send a body as JSON, or bytes unchanged, and return the response's body. Raise unless the status is 200."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if isinstance(body, bytes | None) else {"Content-Type": "application/json"}
        self.client.request(method, path, content, {"api-key": "k", **kind})
        response = self.client.getresponse()
        received = response.read()
        assert response.status == 200, received[:500]
        return received

    def measure(self, method: str, path: str, body: object = None) -> Cost:
        started, before = stopwatch(), self.processor_time()
        self.send(method, path, body)
        return stopwatch() - started, self.processor_time() - before

    def processor_time(self) -> float:
        """Return the processor time of all threads in seconds."""
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


def seed(parameters: Parameters, folder: Path) -> Path:
    """Write a seed with three templates: many rows, half as many rows, and many large contents."""
    rows = [{"name": "c-{n}", "repeat": parameters.rows}]
    less = [{"name": "c-{n}", "repeat": parameters.deleted}]
    files = [{"filename": "f-{n}", "content": "x" * 20_000 + "{n}", "purpose": "vision", "repeat": parameters.files}]
    worlds = {"rows": {"containers": rows}, "less": {"containers": less}, "files": {"files": files}}
    path = folder / "seed.json"
    path.write_text(json.dumps({"version": 1, "worlds": worlds}))
    return path


# Costs on an idle server


def new_worlds(parameters: Parameters) -> list[Cost]:
    """Measure creating many worlds with one row each, in this process, which closes older worlds meanwhile."""

    async def run(mock: Mock) -> list[Cost]:
        costs = []
        for number in range(400 * parameters.rounds):
            started, before = stopwatch(), time.process_time()
            context = await mock.worlds.enter(f"w{number}")
            await context.run(containers.create_container, CreateContainer(name="box"))
            costs.append((stopwatch() - started, time.process_time() - before))
        await mock.worlds.finish()
        return costs

    mock = Mock(Settings())
    try:
        return asyncio.run(run(mock))
    finally:
        mock.close()


def create_repeatedly(
    server: Server, parameters: Parameters, world: str, method: str, path: str, body: object
) -> list[Cost]:
    """Measure a request that creates a world; delete the world after each measurement."""
    costs = []
    for _ in range(2 * parameters.rounds):
        costs.append(server.measure(method, path, body))
        server.send("DELETE", f"/_mock/worlds/{world}")
    return costs


def lists(parameters: Parameters, folder: Path) -> tuple[list[Cost], list[Cost]]:
    """Measure the first list of worlds after a start, and later ones."""
    first, later = [], []
    with served(folder / "many", "--max-worlds", "2000") as server:
        for number in range(parameters.closed):
            server.send("POST", f"/w/w{number}/v1/containers", {"name": "box"})
    for _ in range(parameters.rounds):
        with served(folder / "many", "--max-worlds", "2000") as server:
            first.append(server.measure("GET", "/_mock/worlds"))
            later += [server.measure("GET", "/_mock/worlds") for _ in range(3)]
    return first, later


# Effect on other worlds


Work = Callable[[], object]


def work_kinds(server: Server, parameters: Parameters) -> dict[str, tuple[float, Callable[[], Work]]]:
    """Return, by name, the goal for the ratio and a function that prepares work to repeat."""
    numbers = itertools.count()

    def creating(path: str, body: object = None) -> Callable[[], Work]:
        return lambda: lambda: server.send("POST", path.format(n=next(numbers)), body)

    def of_template(world: str) -> Callable[[], Work]:
        return lambda: lambda: server.send("POST", f"/_mock/worlds/{world}/reset")

    def listing() -> Work:
        for _ in range(200):
            server.send("GET", f"/w/listed{next(numbers)}/v1/containers")
        return lambda: server.send("GET", "/_mock/worlds")

    def importing() -> Work:
        archive = server.send("GET", "/_mock/worlds/less/export")
        return lambda: server.send("POST", "/_mock/worlds/imported/import", archive)

    def deleting() -> Work:
        remaining = [f"deleted{next(numbers)}" for _ in range(12)]
        for name in remaining:
            server.send("POST", f"/_mock/worlds/{name}", {"fork_of": "less"})

        def delete() -> None:
            if remaining:
                server.send("DELETE", f"/_mock/worlds/{remaining.pop()}")
            time.sleep(parameters.seconds / 12)

        return delete

    box = {"path": "a.txt", "content": "{n}"}
    placed = {"containers": [{"name": "p {n}", "repeat": parameters.placed // 2, "files": [box]}]}
    return {
        IDLE: (1.0, lambda: lambda: time.sleep(0.01)),
        "new worlds": (5.0, creating("/w/new{n}/v1/containers", {"name": "box"})),
        f"forks of {parameters.rows:,} rows": (5.0, creating("/_mock/worlds/fork{n}", {"fork_of": "rows"})),
        f"worlds from a template of {parameters.rows:,} rows": (5.0, of_template("rows")),
        f"worlds from a template of {parameters.files:,} large contents": (5.0, of_template("files")),
        "lists of at least 200 worlds": (5.0, listing),
        f"placing {parameters.placed:,} objects": (10.0, creating("/_mock/worlds/placed{n}/place", placed)),
        f"imports of {parameters.deleted:,} rows": (10.0, importing),
        f"exports of {parameters.rows:,} rows": (10.0, lambda: lambda: server.send("GET", "/_mock/worlds/rows/export")),
        f"deletions of {parameters.deleted:,} rows": (10.0, deleting),
    }


def measure(server: Server, parameters: Parameters, work: Work) -> tuple[float, float, int]:
    """Return the p99 of GETs and POSTs to one world in seconds, and how often the work ran in other worlds meanwhile."""
    path = "/w/here/v1"
    box = json.loads(server.send("POST", f"{path}/containers", {"name": "box"}))["id"]
    command = [
        sys.executable,
        "-c",
        CLIENT,
        str(server.port),
        path,
        f"{path}/containers/{box}",
        str(parameters.seconds),
    ]
    repetitions = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        while client.poll() is None:
            work()
            repetitions += 1
        assert client.stdout
        gets, posts = json.loads(client.stdout.read())
    return gets, posts, repetitions


def effect_on_others(parameters: Parameters, folder: Path) -> Iterator[str]:
    """Yield table rows: each kind of work, and the p99 of another world's requests relative to an idle server."""
    measured: dict[str, list[tuple[float, float, int]]] = {}
    goals = {}
    for number in range(parameters.rounds):
        options = ("--seed", str(seed(parameters, folder)), "--max-worlds", "10000")
        with served(folder / f"effect{number}", *options) as server:
            for world in ("rows", "less", "files"):
                server.send("GET", f"/w/{world}/v1/containers?limit=1")
            for name, (goal, prepare) in work_kinds(server, parameters).items():
                goals[name] = goal
                measured.setdefault(name, []).append(measure(server, parameters, prepare()))
                progress(f"round {number + 1}: {name}")
    for name, rounds in measured.items():
        p99s = [statistics.median(each) for each in list(zip(*rounds, strict=True))[:2]]
        idle = [statistics.median(each) for each in list(zip(*measured[IDLE], strict=True))[:2]]
        ratios = [p99 / other for p99, other in zip(p99s, idle, strict=True)]
        shown = " | ".join(f"{p99 * 1000:.2f} ms ({ratio:.1f} ×)" for p99, ratio in zip(p99s, ratios, strict=True))
        verdict = "" if name == IDLE else f"≤ {goals[name]:.0f} × | {'yes' if max(ratios) <= goals[name] else '**no**'}"
        repetitions = statistics.median(each for _, _, each in rounds)
        yield f"| {name} | {repetitions:.0f} | {shown} | {verdict or ' | '} |"


def costs_when_idle(parameters: Parameters, folder: Path) -> Iterator[str]:
    """Yield table rows: the cost of each operation on an idle server."""

    def line(name: str, costs: list[Cost], goal: float) -> str:
        seconds, processor = (sorted(each) for each in zip(*costs, strict=True))
        median, high = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
        times = [seconds[0], median, high, processor[0], statistics.median(processor)]
        met = f"≤ {goal:g} ms | {'yes' if median * 1000 <= goal else '**no**'}" if goal else " | "
        return f"| {name} | {len(seconds):,} | {' | '.join(f'{each * 1000:.2f} ms' for each in times)} | {met} |"

    yield line("a new world with its first row", new_worlds(parameters), 1.0)
    with served(folder / "idle", "--seed", str(seed(parameters, folder))) as server:
        server.send("GET", "/w/rows/v1/containers?limit=1")
        fork = create_repeatedly(server, parameters, "fork", "POST", "/_mock/worlds/fork", {"fork_of": "rows"})
        yield line(f"a fork of {parameters.rows:,} rows", fork, 150.0)
        server.send("DELETE", "/_mock/worlds/rows")
        for world, what in (("rows", f"{parameters.rows:,} rows"), ("files", f"{parameters.files:,} large contents")):
            costs = create_repeatedly(server, parameters, world, "GET", f"/w/{world}/v1/containers?limit=1", None)
            yield line(f"a new world from a template of {what}", costs, 0)
    first, later = lists(parameters, folder)
    yield line(f"the first list of {parameters.closed:,} closed worlds", first, 500.0)
    yield line("later lists", later, 50.0)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=__doc__)
    parser.add_argument("--rounds", type=int, help="number of measurements")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and counts, fewer rounds")
    given = parser.parse_args()
    parameters = QUICK if given.quick else Parameters()
    parameters = replace(parameters, rounds=given.rounds or parameters.rounds)
    with tempfile.TemporaryDirectory(prefix="mockserver-benchmarks-") as folder:
        heads = ["what", "measured", "best", "median", "p99", "processor, best", "median", "goal of the median", "met"]
        print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
        for each in costs_when_idle(parameters, Path(folder)):
            print(each, flush=True)
        print(
            "\n| work in other worlds | repetitions | p99 of GET | p99 of POST | goal | met |\n|---|---|---|---|---|---|"
        )
        for each in effect_on_others(parameters, Path(folder)):
            print(each, flush=True)


if __name__ == "__main__":
    main()
