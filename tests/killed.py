"""Kills a mock at every line of what it does, and looks at what is left; `test_machine.py` runs this.

`python tests/killed.py DIRECTORY STRIDE [ACT…]` is one process that loads the program once and, for each act (all of
them, unless some are named) and every so-manieth line of the program's that it runs through, forks another one that
dies there as by `kill -9`.
Whatever the line, the next start finds all of the act done or nothing of it, and all of it where that was said. Then
it finds the bytes of each row and no others, and none of what a half-done copy wrote. Prints, as JSON, of how many
kills which act was found undone and done.
"""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import mockserver
from mockserver.clock import Clock, Wall
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.schema import CreateContainer
from mockserver.settings import Settings
from mockserver.storage import copies

NOON = 1_782_324_240.0
PROGRAM = str(Path(mockserver.__file__).parent)
TABLES = ("files", "containers", "container_files", "tombstones", "faults")

Act = Callable[[Mock], object]
State = dict[str, Any]


class Still(Wall):
    """The machine's time stands still, so that what is done again is done at the same time and gets the same ids."""

    def now(self) -> float:
        return NOON


def opened(data: Path) -> Mock:
    return Mock(Settings(data=data), Still())


def content(mock: Mock, text: str, large: bool = False) -> Any:
    pieces = [(text * 40).encode() * (200 if large else 1)] * 3
    return mock.blobs.put(pieces, blake2b=True)


def call(mock: Mock, world: str = "default") -> Any:
    return asyncio.run(mock.worlds.call(world))


def box(mock: Mock, world: str = "default") -> str:
    return str(mock.containers.list(call(mock, world), mockserver.schema.ListContainers())["data"][-1]["id"])


def file(mock: Mock) -> str:
    return str(mock.files.list(call(mock), mockserver.schema.ListFiles())["data"][-1]["id"])


def prepare(mock: Mock) -> None:
    """Files and containers that share bytes, within a world and with another one; snapshots of both."""
    for world in ("default", "other"):
        here = call(mock, world)
        made = mock.files.create(here, NewFile(content(mock, "shared", large=True), "a.txt", {"purpose": "vision"}))
        for number in range(4):
            mock.files.create(here, NewFile(content(mock, f"{world}-{number}"), "b.txt", {"purpose": "vision"}))
        for number in range(3):
            container = mock.containers.create(here, CreateContainer(name=f"box {number}", file_ids=[made["id"]]))
            inside = content(mock, f"in {number}", large=number == 0)
            mock.containers.create_file(here, container["id"], NewFile(inside, "c.txt", {}))
        asyncio.run(mock.worlds.change_clock(world, lambda before: Clock(NOON, NOON, 0.0)))
        asyncio.run(mock.worlds.take_snapshot(world, "kept"))
    mock.files.delete(call(mock), mock.files.list(call(mock), mockserver.schema.ListFiles())["data"][0]["id"])
    mock.containers.delete(call(mock), mock.containers.list(call(mock), mockserver.schema.ListContainers())["data"][0]["id"])  # fmt: skip


def run(mock: Mock, act: tuple[Any, ...]) -> None:
    """As for a request: in the event loop."""
    asyncio.run(mock.run(*act))


def upload(mock: Mock, text: str, large: bool) -> tuple[Any, ...]:
    return mock.files.create, call(mock), NewFile(content(mock, text, large), "n.txt", {"purpose": "vision"})


def addition(mock: Mock, text: str, large: bool) -> tuple[Any, ...]:
    return mock.containers.create_file, call(mock), box(mock), NewFile(content(mock, text, large), "n.txt", {})


ACTS: dict[str, Act] = {
    "upload": lambda mock: run(mock, upload(mock, "new", True)),
    "small upload": lambda mock: run(mock, upload(mock, "new", False)),
    "upload of known bytes": lambda mock: run(mock, upload(mock, "shared", True)),
    "upload to a container": lambda mock: run(mock, addition(mock, "new", True)),
    "small upload to a container": lambda mock: run(mock, addition(mock, "new", False)),
    "new container with files": lambda mock: run(
        mock, (mock.containers.create, call(mock), CreateContainer(name="new", file_ids=[file(mock)] * 2))
    ),
    "deletion of a File": lambda mock: mock.files.delete(call(mock), file(mock)),
    "deletion of a container": lambda mock: mock.containers.delete(call(mock), box(mock)),
    "first use of a world": lambda mock: call(mock, "new"),
    "fork": lambda mock: asyncio.run(mock.worlds.create("new", fork_of="default")),
    "snapshot": lambda mock: asyncio.run(mock.worlds.take_snapshot("default", "kept")),
    "restoring": lambda mock: asyncio.run(mock.worlds.restore("default", "kept")),
    "reset": lambda mock: asyncio.run(mock.worlds.reset("other")),
    "clock": lambda mock: asyncio.run(mock.worlds.change_clock("other", lambda before: Clock(NOON + 60, NOON, 0.0))),
}


def state(data: Path) -> State:
    """Every row of every world that has a name, by that; and of each snapshot."""
    with closing(sqlite3.connect(data / "mockserver.db")) as database:
        database.row_factory = sqlite3.Row
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        found: State = {}
        known = []
        for row in database.execute("SELECT * FROM worlds").fetchall():
            world = dict(row)
            known.append(id := world.pop("id"))
            if world["template_of"] is not None:
                continue
            of = world["name"] or f"{world['snapshot_of']}, {world['snapshot']}"
            assert of != "None, None", "a copy that was never finished is still there"
            world["id_seed"] = world["id_seed"].hex()
            found[of] = {"world": world}
            for table in TABLES:
                rows = database.execute(f"SELECT * FROM {table} WHERE world = ? ORDER BY 2, 3", [id]).fetchall()
                found[of][table] = [list(row)[1:] for row in rows]
        for table in TABLES:
            worlds = {row[0] for row in database.execute(f"SELECT DISTINCT world FROM {table}")}
            assert worlds <= set(known), f"{table} has rows of no world"
        return found


def check_bytes(data: Path, exactly: bool) -> None:
    """Each row has its bytes; after a start nothing else is there."""
    with closing(sqlite3.connect(data / "mockserver.db")) as database:
        named = {
            row[0] for row in database.execute("SELECT digest FROM files UNION SELECT digest FROM container_files")
        }
        small = {f"contents/{digest}": content for digest, content in database.execute("SELECT * FROM contents")}
    blobs = small | {str(path): path.read_bytes() for path in (data / "blobs").glob("*/*")}
    there = {Path(where).name for where in blobs}
    assert named <= there, "a row has no bytes"
    for where, content in blobs.items():
        assert hashlib.sha256(content).hexdigest() == Path(where).name
    if exactly:
        assert named == there, "bytes are left over"
        assert len(blobs) == len(there), "bytes are kept twice"
        assert not list((data / "uploads").iterdir()), "an upload is left over"


def lines(act: Callable[[], object], stop: int) -> int:
    """Do it, and die at its line number `stop`, counted over all threads; returns how many lines there are."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(PROGRAM):
            return None
        if event == "line":
            count += 1
            if count == stop:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # as documented
    return count


def child(data: Path, act: Act, stop: int) -> str:
    """What a process says that does it, and dies there: how many lines it took, or nothing."""
    said, say = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            mock = opened(data)
            took = lines(lambda: act(mock), stop)
            os.write(say, b"%d" % took)
            code = 0
        finally:
            os.kill(os.getpid(), signal.SIGKILL) if code == 0 else os._exit(code)
    os.close(say)
    with os.fdopen(said) as hears:
        told = hears.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"it ended with {status}"
    return told


def kills(root: Path, act: Act, offset: int, stride: int) -> Iterator[bool]:
    """Whether it was found done, for each place where it was killed."""
    base, data = root / "base", root / "data"

    def again() -> None:
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(base, data)

    again()
    opened(data).close()
    before = state(data)
    again()
    total = int(child(data, act, 0))
    opened(data).close()
    after = state(data)
    assert before != after, "it does nothing"
    check_bytes(data, exactly=True)
    for stop in [*range(1 + offset % stride, total + 1, stride), total + 1]:
        again()
        told = child(data, act, stop)
        check_bytes(data, exactly=False)
        opened(data).close()
        found = state(data)
        assert found in (before, after), f"killed at line {stop} of {total}: it is half done"
        assert found == after or not told, f"killed at line {stop} of {total}: it was said to be done"
        check_bytes(data, exactly=True)
        yield found == after


def main() -> None:
    root, stride = Path(sys.argv[1]), int(sys.argv[2])
    copies.BATCH = 3  # so that the few rows here are copied as many are
    mock = opened(root / "base")
    prepare(mock)
    mock.close()
    told = {}
    for number, name in enumerate(sys.argv[3:] or ACTS):
        try:
            found = list(kills(root, ACTS[name], number * 7, stride))
        except AssertionError as error:
            raise SystemExit(f"{name}: {error}") from error
        told[name] = {"undone": found.count(False), "done": found.count(True)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
