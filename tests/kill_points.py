"""Kill a mock at every line of its operations, and check what the next start finds; `test_failures.py` runs this.

`python tests/kill_points.py DIRECTORY STRIDE [OPERATION…]` loads the program once. For each operation (by default all)
and every STRIDE-th line of the program that the operation executes, it forks a process that is killed at that line.
The next start must find all worlds as they were before the operation or after it, and after it if the process had
reported its end. Each row must have its content, and no other content may be left. The output is JSON: for each
operation, how many kills left it undone, between its two steps, and complete.
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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import mockserver
from mockserver import containers, files, skills, uploads
from mockserver.bundles import Bundle
from mockserver.clock import Clock, Wall
from mockserver.context import Context
from mockserver.files import NewFile
from mockserver.mock import Mock
from mockserver.schema.containers import CreateContainer, ListContainers
from mockserver.schema.files import ListFiles
from mockserver.schema.skills import ListSkills
from mockserver.schema.uploads import CompleteUpload, CreateUpload
from mockserver.settings import Settings
from mockserver.skills import NewSkill, Supplied
from mockserver.storage import tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Upload

NOON = 1_782_324_240.0
FROZEN = Clock(NOON, NOON, 0.0)
PROGRAM = str(Path(mockserver.__file__).parent)

PART_SIZE = len("part 0") * 40 * 200 * 3
"""The size of a large content that `put_content` stores for the text `part 0`."""

Operation = Callable[[Mock], Awaitable[object]]
State = dict[str, Any]


class FrozenWall(Wall):
    """A fixed time of the machine, so that each run of an operation creates the same ids and times."""

    def now(self) -> float:
        return NOON


def open_mock(data: Path) -> Mock:
    return Mock(Settings(data=data), FrozenWall())


def put_content(mock: Mock, text: str, large: bool = False) -> Upload:
    return mock.uploads.put([(text * 40).encode() * (200 if large else 1)] * 3, blake2b=True)


def put_bundle(mock: Mock, text: str, large: bool = True) -> Bundle:
    return Bundle(put_content(mock, text, large), "skill", text)


async def last_container_id(context: Context) -> str:
    return (await context.run(containers.list_containers, ListContainers()))["data"][-1]["id"]


async def last_file_id(context: Context) -> str:
    return (await context.run(files.list_files, ListFiles()))["data"][-1]["id"]


async def prepare(mock: Mock) -> None:
    """Fill two worlds with files and containers that share contents, with deleted objects and with two snapshots."""
    for world in ("default", "other"):
        context = await mock.worlds.enter(world)
        await mock.worlds.change_clock(world, lambda before: FROZEN)
        shared = NewFile(put_content(mock, "shared", large=True), "a.txt", {"purpose": "vision"})
        created = await context.run(files.create_file, shared)
        for number in range(4):
            small = NewFile(put_content(mock, f"{world}-{number}"), "b.txt", {"purpose": "vision"})
            await context.run(files.create_file, small)
        for number in range(3):
            new = CreateContainer(name=f"box {number}", file_ids=[created["id"]])
            container = await context.run(containers.create_container, new)
            inside = NewFile(put_content(mock, f"in {number}", large=number == 0), "c.txt", {})
            await context.run(containers.create_container_file, container["id"], inside)
        new = CreateUpload(bytes=2 * PART_SIZE, filename="l.bin", purpose="vision", mime_type="text/plain")
        pending = await context.run(uploads.create_upload, new)
        for number in range(2):
            part = NewFile(put_content(mock, f"part {number}", large=True), "data", {})
            await context.run(uploads.add_upload_part, pending["id"], part)
        created = await context.run(skills.create_skill, NewSkill(put_bundle(mock, "skill"), {}))
        await context.run(skills.create_skill_version, created["id"], NewSkill(put_bundle(mock, "second", False), {}))
        reference = {"type": "skill_reference", "skill_id": created["id"]}
        new = CreateContainer.model_validate({"name": "skilled", "skills": [reference]})
        await context.run(containers.create_container, new)
        await mock.worlds.take_snapshot(world, "kept")
        (latest, *_) = (await context.run(files.list_files, ListFiles()))["data"]
        await context.run(files.delete_file, latest["id"])
        (latest, *_) = (await context.run(containers.list_containers, ListContainers()))["data"]
        await context.run(containers.delete_container, latest["id"])
        await mock.worlds.take_snapshot(world, "later")
    await mock.worlds.finish(trash=True)


async def upload_file(mock: Mock, text: str, large: bool) -> None:
    context = await mock.worlds.enter("default")
    await context.run(files.create_file, NewFile(put_content(mock, text, large), "n.txt", {"purpose": "vision"}))


async def upload_container_file(mock: Mock, text: str, large: bool) -> None:
    context = await mock.worlds.enter("default")
    new = NewFile(put_content(mock, text, large), "n.txt", {})
    await context.run(containers.create_container_file, await last_container_id(context), new)


async def create_container(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    new = CreateContainer(name="new", file_ids=[await last_file_id(context)] * 2)
    await context.run(containers.create_container, new)


async def pending_upload(mock: Mock) -> tuple[Context, str, list[str]]:
    """Return the pending upload of the default world, and the ids of its parts."""
    context = await mock.worlds.enter("default")
    (upload,) = (id for (id,) in context.read.execute("SELECT id FROM uploads"))
    return context, upload, [id for (id,) in context.read.execute("SELECT id FROM upload_parts ORDER BY seq")]


async def add_part(mock: Mock) -> None:
    context, upload, _ = await pending_upload(mock)
    part = NewFile(put_content(mock, "part 2", large=True), "data", {})
    await context.run(uploads.add_upload_part, upload, part)


async def complete_upload(mock: Mock) -> None:
    context, upload, parts = await pending_upload(mock)
    await uploads.complete_upload(context, upload, CompleteUpload(part_ids=parts), mock.uploads)


async def cancel_upload(mock: Mock) -> None:
    context, upload, _ = await pending_upload(mock)
    await context.run(uploads.cancel_upload, upload)


async def delete_file(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(files.delete_file, await last_file_id(context))


async def delete_container(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(containers.delete_container, await last_container_id(context))


async def last_skill_id(context: Context) -> str:
    return (await context.run(skills.list_skills, ListSkills()))["data"][-1]["id"]


async def create_skill(mock: Mock, text: str, large: bool = True) -> None:
    context = await mock.worlds.enter("default")
    await context.run(skills.create_skill, NewSkill(put_bundle(mock, text, large), {}))


async def create_version(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    new = NewSkill(put_bundle(mock, "version"), {"default": "true"})
    await context.run(skills.create_skill_version, await last_skill_id(context), new)


async def delete_version(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(skills.delete_skill_version, await last_skill_id(context), "2")


async def delete_skill(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(skills.delete_skill, await last_skill_id(context))


async def create_container_with_skills(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    reference = {"type": "skill_reference", "skill_id": await last_skill_id(context), "version": "latest"}
    source = {"type": "base64", "media_type": "application/zip", "data": "UEs="}
    inline = {"type": "inline", "name": "x", "description": "x", "source": source}
    new = CreateContainer.model_validate({"name": "new", "skills": [reference, inline]})
    await context.run(containers.create_container, new, Supplied({"skills[1]": put_bundle(mock, "inline")}))


async def delete_and_create(mock: Mock) -> None:
    await mock.worlds.delete("other")
    await mock.worlds.create("other")


def file_placement(mock: Mock) -> Callable[[Placement], None]:
    """Return a function that adds six Files, half of which have contents that are files."""
    uploads = [put_content(mock, f"placed {number}", number % 2 == 0) for number in range(6)]

    def fill(put: Placement) -> None:
        for upload in uploads:
            own = {"bytes": upload.size, "filename": "p.txt", "purpose": "vision", "digest": upload.digest}
            put.add(tables.File, upload, created_at=put.now, **own)

    return fill


OPERATIONS: dict[str, Operation] = {
    "upload": lambda mock: upload_file(mock, "new", True),
    "small upload": lambda mock: upload_file(mock, "new", False),
    "upload of a stored content": lambda mock: upload_file(mock, "shared", True),
    "upload to a container": lambda mock: upload_container_file(mock, "new", True),
    "small upload to a container": lambda mock: upload_container_file(mock, "new", False),
    "new container with files": create_container,
    "part of an upload": add_part,
    "completion of an upload": complete_upload,
    "cancellation of an upload": cancel_upload,
    "deletion of a File": delete_file,
    "deletion of a container": delete_container,
    "new skill": lambda mock: create_skill(mock, "new"),
    "new small skill": lambda mock: create_skill(mock, "new", large=False),
    "new skill version": create_version,
    "deletion of a skill version": delete_version,
    "deletion of a skill": delete_skill,
    "new container with skills": create_container_with_skills,
    "first use of a world": lambda mock: mock.worlds.enter("new"),
    "fork": lambda mock: mock.worlds.create("new", fork_of="default"),
    "fork of a snapshot": lambda mock: mock.worlds.create("new", fork_of="default", snapshot="kept"),
    "snapshot": lambda mock: mock.worlds.take_snapshot("default", "kept"),
    "deletion of a snapshot": lambda mock: mock.worlds.delete_snapshot("default", "kept"),
    "restore": lambda mock: mock.worlds.restore("default", "kept"),
    "reset": lambda mock: mock.worlds.reset("other"),
    "deletion of a world": lambda mock: mock.worlds.delete("other"),
    "deletion and creation": delete_and_create,
    "placement": lambda mock: mock.worlds.add("default", file_placement(mock), large=True),
    "import": lambda mock: mock.worlds.become("other", file_placement(mock), FROZEN, None),
    "clock": lambda mock: mock.worlds.change_clock("other", lambda before: Clock(NOON + 60, NOON, 0.0)),
}
FIRST_STEPS = {"deletion and creation": "deletion of a world"}
"""The first step of each operation that has two: an operation itself."""


async def run_operation(mock: Mock, operation: Operation, end: Callable[[], object] = lambda: None) -> None:
    """Run an operation as a request does, call `end`, and then finish the work in the background."""
    await operation(mock)
    end()
    await mock.worlds.finish(trash=True)


async def open_all(mock: Mock) -> None:
    """Open each world, which removes what an unclean shutdown left in it."""
    for name in mock.worlds.names():
        await mock.worlds.find(name)
    await mock.worlds.finish(trash=True)


def restart(data: Path) -> State:
    """Start a mock, check the directory, and return the state that it found."""
    with closing(open_mock(data)) as mock:
        asyncio.run(open_all(mock))
    for part in ("uploads", "trash"):
        assert not list((data / part).iterdir()), f"{part}/ is not empty"
    check_contents(data, exact=True)
    return read_state(data)


def databases(data: Path) -> Iterator[tuple[str, Path, sqlite3.Connection]]:
    """Yield the names, directories and read-only databases of all worlds and of all snapshots (`world@name`)."""
    for path in sorted([*data.glob("worlds/*"), *data.glob("snapshots/*")]):
        with closing(sqlite3.connect(f"file:{path / 'world.db'}?mode=ro", uri=True)) as database:
            yield path.name.partition("-")[2], path, database


def read_state(data: Path) -> State:
    """Return every row of every world and snapshot."""
    found: State = {}
    for name, _, database in databases(data):
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert name not in found, f"two directories are named {name}"
        found[name] = {
            each.name: database.execute(f"SELECT * FROM {each.name} ORDER BY 1, 2").fetchall()
            for each in tables.Table.metadata.sorted_tables
        }
    return found


def check_contents(data: Path, exact: bool) -> None:
    """Check that each row has its content and, if `exact`, that there are no other contents."""
    for name, path, database in databases(data):
        referenced = {digest for (digest,) in database.execute("SELECT digest FROM named_contents")}
        small = dict(database.execute("SELECT digest, content FROM contents"))
        large = {each.name: each.read_bytes() for each in path.glob("contents/*/*")}
        assert referenced <= small.keys() | large.keys(), f"a row of {name} has no content"
        for digest, content in (*small.items(), *large.items()):
            assert hashlib.sha256(content).hexdigest() == digest
        if exact:
            assert referenced == small.keys() | large.keys(), f"no row of {name} references some contents"
            assert not small.keys() & large.keys(), f"a content is stored twice in {name}"


def kill_at_line(operation: Callable[[], object], kill_line: int) -> int:
    """Run an operation and kill this process at line number `kill_line` of it; lines of all threads count.

    Returns the number of lines, if it is smaller than that or `kill_line` is 0.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(PROGRAM):
            return None
        if event == "line":
            count += 1
            if count == kill_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        operation()
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # as documented
    return count


def run_in_child(data: Path, operation: Operation, kill_line: int) -> str:
    """Run an operation in a process that is killed at that line, and return what it reported.

    The report is empty, or `done ` once the operation has ended, followed by the number of lines if no line killed it.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            mock = open_mock(data)
            line_count = kill_at_line(
                lambda: asyncio.run(run_operation(mock, operation, lambda: os.write(writing, b"done "))), kill_line
            )
            os.write(writing, b"%d" % line_count)
            code = 0
        finally:
            os.kill(os.getpid(), signal.SIGKILL) if code == 0 else os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"the process ended with {status}"
    return report


def kill_results(root: Path, name: str, offset: int, stride: int) -> Iterator[bool | None]:
    """Yield, for each kill, whether the operation was found complete; None if only the first of its steps was."""
    base, data = root / "base", root / "data"

    def restore_base() -> None:
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(base, data)

    def complete_run(operation: Operation) -> tuple[State, int]:
        restore_base()
        report = run_in_child(data, operation, 0)
        return restart(data), int(report.removeprefix("done "))

    restore_base()
    before = restart(data)
    after, total = complete_run(OPERATIONS[name])
    between = [complete_run(OPERATIONS[FIRST_STEPS[name]])[0]] if name in FIRST_STEPS else []
    assert before != after, "the operation changes nothing"
    for kill_line in [*range(1 + offset % stride, total + 1, stride), total + 1000]:
        restore_base()
        report = run_in_child(data, OPERATIONS[name], kill_line)
        check_contents(data, exact=False)
        found = restart(data)
        assert found in (before, *between, after), (
            f"killed at line {kill_line} of {total}: the operation is partly done"
        )
        assert found == after or not report, (
            f"killed at line {kill_line} of {total}: the operation is undone, but its end was reported"
        )
        assert restart(data) == found, f"killed at line {kill_line} of {total}: a second start finds another state"
        yield found == after if found in (before, after) else None


def main() -> None:
    root, stride = Path(sys.argv[1]), int(sys.argv[2])
    with closing(open_mock(root / "base")) as mock:
        asyncio.run(prepare(mock))
    report = {}
    for number, name in enumerate(sys.argv[3:] or OPERATIONS):
        try:
            found = list(kill_results(root, name, number * 7, stride))
        except AssertionError as error:
            raise SystemExit(f"{name}: {error}") from error
        report[name] = {"undone": found.count(False), "complete": found.count(True), "between": found.count(None)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
