"""Kills a mock at every line of what it does, and looks at what is left; `test_failures.py` runs this.

`python tests/kill_points.py DIRECTORY STRIDE [ACT…]` is one process that loads the program once. For each act (all of them,
unless some are named) and every STRIDE-th line of the program that the act runs through, it forks a process that dies
there as by `kill -9`. Whatever the line, the next start finds each world before the act or after it, and after it
where its end was reported. Then each row has its bytes, no other bytes are left, and nothing deleted is back. Prints,
as JSON, how many kills of each act were found undone and done.
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

LARGE_PART = len("part 0") * 40 * 200 * 3
"""What `content` makes of such a text."""

Act = Callable[[Mock], Awaitable[object]]
State = dict[str, Any]


class Still(Wall):
    """The machine's time stands still, so that what is done again is done at the same time and gets the same ids."""

    def now(self) -> float:
        return NOON


def opened(data: Path) -> Mock:
    return Mock(Settings(data=data), Still())


def content(mock: Mock, text: str, large: bool = False) -> Upload:
    return mock.uploads.put([(text * 40).encode() * (200 if large else 1)] * 3, blake2b=True)


def bundle(mock: Mock, text: str, large: bool = True) -> Bundle:
    return Bundle(content(mock, text, large), "skill", text)


async def box(context: Context) -> str:
    return (await context.run(containers.list_containers, ListContainers()))["data"][-1]["id"]


async def file(context: Context) -> str:
    return (await context.run(files.list_files, ListFiles()))["data"][-1]["id"]


async def prepare(mock: Mock) -> None:
    """Files and containers that share bytes, in two worlds; each has two snapshots and deleted objects."""
    for world in ("default", "other"):
        context = await mock.worlds.enter(world)
        await mock.worlds.change_clock(world, lambda before: FROZEN)
        shared = NewFile(content(mock, "shared", large=True), "a.txt", {"purpose": "vision"})
        made = await context.run(files.create_file, shared)
        for number in range(4):
            small = NewFile(content(mock, f"{world}-{number}"), "b.txt", {"purpose": "vision"})
            await context.run(files.create_file, small)
        for number in range(3):
            new = CreateContainer(name=f"box {number}", file_ids=[made["id"]])
            container = await context.run(containers.create_container, new)
            inside = NewFile(content(mock, f"in {number}", large=number == 0), "c.txt", {})
            await context.run(containers.create_container_file, container["id"], inside)
        new = CreateUpload(bytes=2 * LARGE_PART, filename="l.bin", purpose="vision", mime_type="text/plain")
        pending = await context.run(uploads.create_upload, new)
        for number in range(2):
            part = NewFile(content(mock, f"part {number}", large=True), "data", {})
            await context.run(uploads.add_upload_part, pending["id"], part)
        made = await context.run(skills.create_skill, NewSkill(bundle(mock, "skill"), {}))
        await context.run(skills.create_skill_version, made["id"], NewSkill(bundle(mock, "second", False), {}))
        named = {"type": "skill_reference", "skill_id": made["id"]}
        new = CreateContainer.model_validate({"name": "skilled", "skills": [named]})
        await context.run(containers.create_container, new)
        await mock.worlds.take_snapshot(world, "kept")
        (latest, *_) = (await context.run(files.list_files, ListFiles()))["data"]
        await context.run(files.delete_file, latest["id"])
        (latest, *_) = (await context.run(containers.list_containers, ListContainers()))["data"]
        await context.run(containers.delete_container, latest["id"])
        await mock.worlds.take_snapshot(world, "later")
    await mock.worlds.finish(trash=True)


async def upload(mock: Mock, text: str, large: bool) -> None:
    context = await mock.worlds.enter("default")
    await context.run(files.create_file, NewFile(content(mock, text, large), "n.txt", {"purpose": "vision"}))


async def upload_inside(mock: Mock, text: str, large: bool) -> None:
    context = await mock.worlds.enter("default")
    new = NewFile(content(mock, text, large), "n.txt", {})
    await context.run(containers.create_container_file, await box(context), new)


async def create_container(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    new = CreateContainer(name="new", file_ids=[await file(context)] * 2)
    await context.run(containers.create_container, new)


async def pending(mock: Mock) -> tuple[Context, str, list[str]]:
    """The upload of the default world, and its parts."""
    context = await mock.worlds.enter("default")
    (upload,) = (id for (id,) in context.read.execute("SELECT id FROM uploads"))
    return context, upload, [id for (id,) in context.read.execute("SELECT id FROM upload_parts ORDER BY seq")]


async def add_part(mock: Mock) -> None:
    context, upload, _ = await pending(mock)
    part = NewFile(content(mock, "part 2", large=True), "data", {})
    await context.run(uploads.add_upload_part, upload, part)


async def complete_upload(mock: Mock) -> None:
    context, upload, parts = await pending(mock)
    await uploads.complete_upload(context, upload, CompleteUpload(part_ids=parts), mock.uploads)


async def cancel_upload(mock: Mock) -> None:
    context, upload, _ = await pending(mock)
    await context.run(uploads.cancel_upload, upload)


async def delete_file(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(files.delete_file, await file(context))


async def delete_container(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(containers.delete_container, await box(context))


async def skill(context: Context) -> str:
    return (await context.run(skills.list_skills, ListSkills()))["data"][-1]["id"]


async def create_skill(mock: Mock, text: str, large: bool = True) -> None:
    context = await mock.worlds.enter("default")
    await context.run(skills.create_skill, NewSkill(bundle(mock, text, large), {}))


async def create_version(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    new = NewSkill(bundle(mock, "version"), {"default": "true"})
    await context.run(skills.create_skill_version, await skill(context), new)


async def delete_version(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(skills.delete_skill_version, await skill(context), "2")


async def delete_skill(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    await context.run(skills.delete_skill, await skill(context))


async def create_container_with_skills(mock: Mock) -> None:
    context = await mock.worlds.enter("default")
    named = {"type": "skill_reference", "skill_id": await skill(context), "version": "latest"}
    source = {"type": "base64", "media_type": "application/zip", "data": "UEs="}
    brought = {"type": "inline", "name": "x", "description": "x", "source": source}
    new = CreateContainer.model_validate({"name": "new", "skills": [named, brought]})
    await context.run(containers.create_container, new, Supplied({"skills[1]": bundle(mock, "inline")}))


async def delete_and_create(mock: Mock) -> None:
    await mock.worlds.delete("other")
    await mock.worlds.create("other")


def filling(mock: Mock) -> Callable[[Placement], None]:
    """For six Files, half of them with bytes that are files."""
    uploads = [content(mock, f"placed {number}", number % 2 == 0) for number in range(6)]

    def fill(put: Placement) -> None:
        for upload in uploads:
            own = {"bytes": upload.size, "filename": "p.txt", "purpose": "vision", "digest": upload.digest}
            put.add(tables.File, upload, created_at=put.now, **own)

    return fill


ACTS: dict[str, Act] = {
    "upload": lambda mock: upload(mock, "new", True),
    "small upload": lambda mock: upload(mock, "new", False),
    "upload of known bytes": lambda mock: upload(mock, "shared", True),
    "upload to a container": lambda mock: upload_inside(mock, "new", True),
    "small upload to a container": lambda mock: upload_inside(mock, "new", False),
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
    "restoring": lambda mock: mock.worlds.restore("default", "kept"),
    "reset": lambda mock: mock.worlds.reset("other"),
    "deletion of a world": lambda mock: mock.worlds.delete("other"),
    "deletion and creation": delete_and_create,
    "placing": lambda mock: mock.worlds.add("default", filling(mock), large=True),
    "import": lambda mock: mock.worlds.become("other", filling(mock), FROZEN, None),
    "clock": lambda mock: mock.worlds.change_clock("other", lambda before: Clock(NOON + 60, NOON, 0.0)),
}
BETWEEN = {"deletion and creation": "deletion of a world"}
"""Acts of two steps, with the act that is their first."""


async def whole(mock: Mock, act: Act, end: Callable[[], object] = lambda: None) -> None:
    """Do it, as for a request, report its end, and then do what goes on in the background."""
    await act(mock)
    end()
    await mock.worlds.finish(trash=True)


async def open_all(mock: Mock) -> None:
    """What an unclean stop left in a world is removed when it is first opened."""
    for name in mock.worlds.names():
        await mock.worlds.find(name)
    await mock.worlds.finish(trash=True)


def restart(data: Path) -> State:
    """What the next server finds."""
    with closing(opened(data)) as mock:
        asyncio.run(open_all(mock))
    for part in ("uploads", "trash"):
        assert not list((data / part).iterdir()), f"something is left in {part}/"
    check_bytes(data, exactly=True)
    return state(data)


def states(data: Path) -> Iterator[tuple[str, Path, sqlite3.Connection]]:
    """The worlds, by their names, and the snapshots, by `world@name`; read without any change to their files."""
    for path in sorted([*data.glob("worlds/*"), *data.glob("snapshots/*")]):
        with closing(sqlite3.connect(f"file:{path / 'world.db'}?mode=ro", uri=True)) as database:
            yield path.name.partition("-")[2], path, database


def state(data: Path) -> State:
    """Every row of every world and snapshot."""
    found: State = {}
    for name, _, database in states(data):
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert name not in found, f"{name} is there twice"
        found[name] = {
            each.name: database.execute(f"SELECT * FROM {each.name} ORDER BY 1, 2").fetchall()
            for each in tables.Table.metadata.sorted_tables
        }
    return found


def check_bytes(data: Path, exactly: bool) -> None:
    """Each row has its bytes; after a start nothing else is there."""
    for name, path, database in states(data):
        named = {digest for (digest,) in database.execute("SELECT digest FROM named_contents")}
        small = dict(database.execute("SELECT digest, content FROM contents"))
        large = {each.name: each.read_bytes() for each in path.glob("contents/*/*")}
        assert named <= small.keys() | large.keys(), f"a row of {name} has no bytes"
        for digest, content in (*small.items(), *large.items()):
            assert hashlib.sha256(content).hexdigest() == digest
        if exactly:
            assert named == small.keys() | large.keys(), f"bytes are left over in {name}"
            assert not small.keys() & large.keys(), f"bytes are kept twice in {name}"


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
    """What a process reports that does it, and dies there: "done" where it was, and behind that its lines, if it came
    to its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            mock = opened(data)
            took = lines(lambda: asyncio.run(whole(mock, act, lambda: os.write(writing, b"done "))), stop)
            os.write(writing, b"%d" % took)
            code = 0
        finally:
            os.kill(os.getpid(), signal.SIGKILL) if code == 0 else os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"it ended with {status}"
    return report


def kills(root: Path, name: str, offset: int, stride: int) -> Iterator[bool | None]:
    """Whether it was found done, for each place where it was killed; None where the first of two steps was."""
    base, data = root / "base", root / "data"

    def again() -> None:
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(base, data)

    def outcome(act: Act) -> tuple[State, int]:
        again()
        report = child(data, act, 0)
        return restart(data), int(report.removeprefix("done "))

    again()
    before = restart(data)
    after, total = outcome(ACTS[name])
    between = [outcome(ACTS[BETWEEN[name]])[0]] if name in BETWEEN else []
    assert before != after, "it does nothing"
    for stop in [*range(1 + offset % stride, total + 1, stride), total + 1000]:
        again()
        report = child(data, ACTS[name], stop)
        check_bytes(data, exactly=False)
        found = restart(data)
        assert found in (before, *between, after), f"killed at line {stop} of {total}: it is half done"
        assert found == after or not report, f"killed at line {stop} of {total}: its end was reported"
        assert restart(data) == found, f"killed at line {stop} of {total}: a second start finds something else"
        yield found == after if found in (before, after) else None


def main() -> None:
    root, stride = Path(sys.argv[1]), int(sys.argv[2])
    with closing(opened(root / "base")) as mock:
        asyncio.run(prepare(mock))
    report = {}
    for number, name in enumerate(sys.argv[3:] or ACTS):
        try:
            found = list(kills(root, name, number * 7, stride))
        except AssertionError as error:
            raise SystemExit(f"{name}: {error}") from error
        report[name] = {"undone": found.count(False), "done": found.count(True), "between": found.count(None)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
