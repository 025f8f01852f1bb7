"""The mock: everything that has state, built and owned in one place."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mockserver import profiles
from mockserver.clock import Clock, Wall
from mockserver.containers import Containers
from mockserver.events import News
from mockserver.files import Files
from mockserver.journal import Journal
from mockserver.settings import Settings
from mockserver.storage.blobs import Blobs
from mockserver.storage.database import Busy, Database, Unusable, directory_lock, failure
from mockserver.worlds import EVERYONE, Worlds

if TYPE_CHECKING:
    from mockserver.admin import Staging
    from mockserver.seeds.loader import Seed


class Mock:
    """What a server serves. Raises SeedError for a bad seed, and Unusable for a directory it can't use.

    Seeds are read whole before anything is written; `wall` is the machine's clock, or a test's.
    """

    def __init__(self, settings: Settings, wall: Wall | None = None) -> None:
        self.settings = settings
        self.wall = wall or Wall()
        self.started = self.wall.now()
        seed = _read(settings)
        self.seeded = seed.summary() if seed else "nothing"
        with ExitStack() as stack:
            self.directory = _directory(settings.data, stack)
            stack.enter_context(_usable(self.directory))
            stack.enter_context(directory_lock(self.directory / "lock"))
            if _lost_database(self.directory):
                raise Unusable(
                    f"{self.directory} has contents in blobs/ and no database that names them; put its mockserver.db "
                    "back, or name another directory with --data"
                )
            path = self.directory / "mockserver.db"
            self.database = stack.enter_context(closing(Database.open(path, lasting=bool(settings.data))))
            self._assemble()
            self.kept_worlds: Sequence[str] = self.worlds.names()
            self.worlds.clear_templates()
            if seed:
                seed.plant(self.worlds, self.blobs, self.wall)
            else:
                self.worlds.make_template(EVERYONE, Clock(self.started, self.started), lambda nothing: None)
            self.blobs.sweep()
            self._stack = stack.pop_all()

    def _assemble(self) -> None:
        settings = self.settings
        self.blobs = Blobs(self.directory, self.database)
        self.news = News()
        self.journal = Journal(settings.journal_entries, settings.journal_bytes, self.news)
        self.worlds = Worlds(
            self.database,
            self.blobs,
            self.wall,
            profile=profiles.read(settings.profile),
            id_seed=settings.id_seed,
            maximum=settings.max_worlds,
            idle_seconds=settings.idle_seconds,
            gone=self.journal.forget,
            started=self.started,
        )
        self.run = self.database.run
        self.files = Files(self.database, self.blobs, self.worlds)
        self.containers = Containers(self.database, self.blobs, self.worlds, self.files)

    @cached_property
    def staging(self) -> "Staging":
        """Made when the control plane first asks for it: a start has no use for it."""
        from mockserver.admin import Staging

        return Staging(self.database, self.blobs, self.worlds, self.containers, self.files)

    def close(self) -> None:
        self._stack.close()


def _read(settings: Settings) -> "Seed | None":
    if not settings.seed:
        return None
    from mockserver.seeds.loader import read_seeds  # with YAML and the models of its documents a tenth of a start

    return read_seeds(settings.seed, settings.max_upload)


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    """What the machine fails at while the mock starts is told as the directory's."""
    try:
        yield
    except Busy as error:
        raise Unusable(
            f"{directory} can't be used: another program is writing to its database; end it, or name another with --data"
        ) from error
    except Exception as error:
        if (problem := failure(error)) is None:
            raise
        raise Unusable(f"{directory} can't be used ({problem}); mend it, or name another with --data") from error


def _lost_database(directory: Path) -> bool:
    """Whether a new database would have the sweep take all contents for left over."""
    database = directory / "mockserver.db"
    return not (database.exists() and database.stat().st_size) and any(directory.glob("blobs/??/*"))


def _directory(data: Path | None, stack: ExitStack) -> Path:
    if data is None:
        path = Path(tempfile.mkdtemp(prefix="mockserver-"))
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(f"{data} can't be made a data directory ({error.strerror}); name another with --data") from error
    return data
