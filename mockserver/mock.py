"""The mock: everything that has state, built and owned in one place."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from mockserver.clock import Clock, Wall
from mockserver.events import Events
from mockserver.journal import Journal
from mockserver.settings import Settings
from mockserver.storage.contents import Uploads
from mockserver.storage.directory import EVERY_WORLD, DirectoryUnusable, usable
from mockserver.worlds import Worlds

if TYPE_CHECKING:
    from mockserver.seeds.loader import Seed


STREAMS_AT_ONCE = 8
"""Streams of events that go on in one turn of the event loop, for a millisecond each."""


class Mock:
    """What a server serves. Raises SeedError for a bad seed, and DirectoryUnusable for a directory it can't use.

    Seeds are read whole before anything is written; `wall` is the machine's clock, or a test's.
    """

    def __init__(self, settings: Settings, wall: Wall | None = None) -> None:
        self.settings = settings
        self.log_request: Callable[[str], None] = logging.getLogger("mockserver.requests").info
        self.wall = wall or Wall()
        self.started = self.wall.now()
        self.turns = asyncio.Semaphore(STREAMS_AT_ONCE)
        self.stopping = False
        """Whether the server is about to end: it goes on for a while, and `/health` says so."""
        seed = _read(settings)
        self.seeded = seed.summary() if seed else "nothing"
        with ExitStack() as stack:
            self.directory = _directory(settings.data, stack)
            states = stack.enter_context(usable(self.directory))
            self.uploads = Uploads(self.directory / "uploads")
            self.events = Events()
            self.journal = Journal(settings.journal_entries, settings.journal_bytes, self.events)
            self.worlds = Worlds(states, settings, self.wall, ended=self.journal.forget)
            stack.enter_context(closing(self.worlds))
            self.kept_worlds = self.worlds.names()
            if seed:
                from mockserver.seeds.apply import make_templates

                make_templates(seed, self.worlds, self.uploads, self.wall)
                self.worlds.list_seeded()
            else:
                self.worlds.add_template(EVERY_WORLD, Clock(self.started, self.started), lambda nothing: None)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()


def _read(settings: Settings) -> "Seed | None":
    if not settings.seed:
        return None
    from mockserver.seeds.loader import read_seeds  # with YAML and the models of its documents a tenth of a start

    return read_seeds(settings.seed, settings.max_upload)


def _directory(data: Path | None, stack: ExitStack) -> Path:
    if data is None:
        try:
            path = Path(tempfile.mkdtemp(prefix="mockserver-"))
        except OSError as error:
            raise DirectoryUnusable(
                f"no temporary directory can be created ({error.strerror}); set TMPDIR to a directory that can be "
                "written, or name one for the data with --data"
            ) from error
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DirectoryUnusable(
            f"{data} can't be created as a data directory ({error.strerror}); name another one with --data"
        ) from error
    return data
