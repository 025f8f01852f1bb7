"""The data directory: the states of worlds are directories, which are put into place and removed by renaming them.

    lock                             one server for each data directory
    clean                            written by an orderly stop, removed by a start
    templates/<n>-<world or _>/      rebuilt from the seeds at each start
    worlds/<n>-<name>/               world.db and contents/
    snapshots/<n>-<world>@<name>/
    uploads/                         uploads that are being received, and states that are being built
    trash/                           what is being removed

`<n>` counts up, so that names which differ in case never collide; of two states of one world the one with the higher
number is the newer one. The file system is the registry: a state is built under `uploads/` and renamed into place.
"""

import itertools
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from mockserver.storage import contents, migrations
from mockserver.storage.database import Transaction, connect, failure, writing

DATABASE = "world.db"
EVERY_WORLD = "_"
"""The template of every world that has none of its own; no world can have this name."""

Kind = Literal["templates", "worlds", "snapshots"]

_NUMBERED = re.compile(r"(\d+)-(.+)")
_PARTS = ("worlds", "templates", "snapshots", "uploads", "trash")  # worlds first: `_is_other` looks for it


class DirectoryUnusable(Exception):
    """The data directory can't be used; the message says why, and what to do."""


class Directory:
    """Where the states of worlds are. All methods are quick, and for the thread of the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.templates: dict[str, Path] = {}
        self.worlds: dict[str, Path] = {}
        self.snapshots: dict[str, dict[str, Path]] = {}
        self._left: dict[str, list[Path]] = {}
        """By world: states of it and its snapshots that were removed, but could not be renamed."""
        self.unclean = not (path / "clean").exists() and (path / "worlds").exists()
        """Whether the last server was killed."""
        for part in _PARTS:
            (path / part).mkdir(exist_ok=True)
        (path / "clean").unlink(missing_ok=True)
        highest = self._read()
        self._numbers = itertools.count(highest + 1)

    def _read(self) -> int:
        """Register what exists, and remove what a crash or the last server left. Returns the highest number."""
        highest = 0
        for part in ("templates", "uploads", "trash"):
            for left in (self.path / part).iterdir():
                highest = max(highest, _number(left))
                remove(left)
        kinds: tuple[Kind, ...] = ("worlds", "snapshots")
        for kind in kinds:
            for state in sorted((self.path / kind).iterdir(), key=_number):
                highest = max(highest, _number(state))
                if not (_NUMBERED.fullmatch(state.name) and state.is_dir()):
                    continue  # somebody else's, such as .DS_Store
                name = state.name.partition("-")[2]
                if older := self._register(kind, name, state):
                    self._remove_now(name, older)
        for name in [name for name in self.snapshots if name not in self.worlds]:
            for state in self.snapshots.pop(name).values():
                self._remove_now(name, state)
        return highest

    def _remove_now(self, name: str, state: Path) -> None:
        remove(state)
        if state.exists():
            self._left.setdefault(name.partition("@")[0], []).append(state)

    def _register(self, kind: Kind, name: str, state: Path) -> Path | None:
        """Returns the older state of that name."""
        if kind == "snapshots":
            world, _, name = name.partition("@")
            states = self.snapshots.setdefault(world, {})
        else:
            states = getattr(self, kind)
        older: Path | None = states.pop(name, None)
        states[name] = state  # at the end: snapshots are listed in the order in which they were taken
        return older

    def build(self) -> Path:
        """A new directory to build a state in."""
        path = self.path / "uploads" / f"{next(self._numbers)}-state"
        path.mkdir()
        return path

    def place(self, built: Path, kind: Kind, name: str) -> Path:
        """Put a state into place, where the next start finds it. Nothing in it may be open.

        `register` makes it the current one for this server; where the state turns out unusable, `discard` it.
        """
        assert not (built / f"{DATABASE}-wal").exists(), "a state is closed before it is placed"
        if kind == "worlds" and name not in self.worlds:
            self._discard_left(name)
        state = self.path / kind / f"{next(self._numbers)}-{name}"
        built.rename(state)
        return state

    def register(self, kind: Kind, name: str, state: Path) -> None:
        """Make it the current state of that name; the one before it goes into the trash."""
        if older := self._register(kind, name, state):
            self._discard_or_leave(name.partition("@")[0], older)

    def remove_world(self, name: str) -> None:
        """The renaming of the world's directory is what deletes it; its snapshots follow."""
        self._discard_left(name)
        self.discard(self.worlds[name])
        del self.worlds[name]
        for state in self.snapshots.pop(name, {}).values():
            self._discard_or_leave(name, state)

    def remove_snapshot(self, world: str, name: str) -> None:
        self._discard_left(world)
        self.discard(self.snapshots[world][name])
        del self.snapshots[world][name]

    def _discard_or_leave(self, world: str, state: Path) -> None:
        """The next start removes what is left: its number is not the highest, or it is a snapshot of no world."""
        try:
            self.discard(state)
        except OSError:
            self._left.setdefault(world, []).append(state)

    def _discard_left(self, world: str) -> None:
        """Before anything changes by which the next start would take what was left for the present state."""
        while left := self._left.get(world):
            with suppress(FileNotFoundError):
                self.discard(left[-1])
            left.pop()
        self._left.pop(world, None)

    def discard(self, state: Path) -> None:
        """Rename it into the trash."""
        state.rename(self.path / "trash" / f"{next(self._numbers)}-{state.name}")

    def trash(self) -> set[Path]:
        """What is left to `remove`."""
        return set((self.path / "trash").iterdir())

    def close(self) -> None:
        """An orderly stop, when every database is closed."""
        with suppress(OSError):
            (self.path / "clean").touch()


def _number(path: Path) -> int:
    match = _NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else 0


def remove(path: Path) -> None:
    """Remove it as far as possible. May take long; for any thread."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def create(directory: Path) -> None:
    """An empty database in a directory that was built."""
    with closing(connect(directory / DATABASE, create=True)) as connection:
        migrations.create(connection)


def copy_closed(source: Path, target: Path) -> None:
    """Copy a state that nobody has open: a template, a snapshot."""
    has, log = os.listdir(source), f"{DATABASE}-wal"  # noqa: PTH208  # a new world waits for it: pathlib takes twice as long
    assert log not in has or not (source / log).stat().st_size, "templates and snapshots are closed for good"
    shutil.copyfile(source / DATABASE, target / DATABASE)
    if "contents" in has:
        contents.link(contents.stored(source), source, target)


def copy_open(source: Path, target: Path, change: Callable[[Transaction], object]) -> None:
    """Copy a state that is in use, as it is at one moment; `change` is applied to the copy. For a thread.

    Meanwhile the source may remove no contents.
    """
    with closing(connect(source / DATABASE)) as original, closing(connect(target / DATABASE, create=True)) as copy:
        original.backup(copy)  # in one step: smaller ones start over at each write to the original
        with writing(copy):
            change(copy)
        digests = contents.files_named(copy)
    contents.link(digests, source, target)


@contextmanager
def usable(path: Path) -> Iterator[Directory]:
    """The data directory, locked for this server. Raises DirectoryUnusable."""
    if (path / "mockserver.db").exists():
        raise DirectoryUnusable(
            f"{path} was written by mockserver 0.1, which kept all worlds in one file; export its worlds with that "
            "version (`mockserver export`), import them into a new directory, and name that one with --data"
        )
    if linked := [part for part in _PARTS if (path / part).is_symlink()]:
        raise DirectoryUnusable(
            f"{path / linked[0]} is a symbolic link, and a start removes what is in some of these directories; replace "
            "it by a directory, or name the directory that it links to, or one beside it, with --data"
        )
    try:
        if _is_other(path):
            raise DirectoryUnusable(
                f"{path} contains files of another program; name a new or empty directory with --data"
            )
        with _lock(path / "lock"):
            directory = Directory(path)
            yield directory
            directory.close()
    except (OSError, sqlite3.Error) as error:
        if (problem := failure(error)) is None:
            raise
        raise DirectoryUnusable(
            f"{path} can't be used ({problem}); fix that, or name another directory with --data"
        ) from error


def _is_other(path: Path) -> bool:
    """Return whether a directory holds anything visible and was not made by a server, which begins with `lock`."""
    found = {each.name for each in path.iterdir() if not each.name.startswith(".")} - {"lock", "lost+found"}
    return bool(found) and not ((path / "lock").is_file() and "worlds" in found)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An empty SQLite file in an exclusive transaction: a lock that works on every platform, and that the system
    releases when the process dies."""
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if connection:
            connection.close()
        problem = f"{path} can't be opened for writing ({error}); change its owner or permissions"
        if (code := getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY:
            problem = f"{path.parent} is in use by another mockserver; stop that one"
        elif code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            problem = f"{path} is damaged ({error}); empty that file (it holds no data, but must exist)"
        raise DirectoryUnusable(f"{problem}, or name another directory with --data") from error
    with closing(connection):
        yield
