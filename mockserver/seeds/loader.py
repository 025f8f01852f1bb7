"""Read seeds: files that describe what every new world contains.

A seed is YAML or JSON, an exported archive, or a plain directory `<container name>/<file…>`. Seeds are
read and checked completely before anything is written; an error names the file, the line and what to do. The
top level goes into the template of every world, `worlds.<name>` into the template of that world. The same
documents can be placed into a world that is in use.
"""

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from mockserver.bounds import UNKNOWN_KEY
from mockserver.schema.values import STORED
from mockserver.seeds import archive, models
from mockserver.seeds.archive import Archive
from mockserver.seeds.containers import Container, ContainerFile
from mockserver.seeds.contents import Contents, Folder, Place, check_total
from mockserver.seeds.document import Source
from mockserver.seeds.models import LISTS
from mockserver.seeds.scope import Scope, check
from mockserver.settings import SeedError
from mockserver.storage.directory import EVERY_WORLD
from mockserver.worlds import NAME

VERSION = 1


SUFFIXES = {".yaml", ".yml", ".json", archive.SUFFIX}


_CLUTTER = re.compile(r"(^|/)(\.|thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
"""Hidden files, and those that file managers leave in folders."""

AT_START = 10
"""How many times larger seeds at the start may be than documents that are sent to a running server."""


@dataclass(slots=True)
class Seed:
    """The contents of all seeds: for every world, and additions for single worlds."""

    everyone: Scope = field(default_factory=Scope)
    worlds: dict[str, Scope] = field(default_factory=dict)
    archives: list[Archive] = field(default_factory=list)

    def close(self) -> None:
        """Close its archives."""
        for each in self.archives:
            each.close()

    def scopes(self) -> Iterator[tuple[str, Scope]]:
        yield EVERY_WORLD, self.everyone
        for name, own in self.worlds.items():
            both = self.everyone.with_(own, instead=True)
            both.lists["answers"] = own.lists["answers"] + self.everyone.lists["answers"]  # the first that fits is used
            yield name, both

    def summary(self) -> str:
        worlds = [
            f"; world {name}: {f'also {scope.summary()}' if any(scope.counts().values()) else 'the same objects'}"
            for name, scope in self.worlds.items()
        ]
        return self.everyone.summary() + "".join(worlds)


def read_seeds(paths: Sequence[Path], max_file: int) -> Seed:
    """Read and check seeds. `max_file` limits the size of each content in bytes. Raises SeedError."""
    seed = Seed()
    for path in paths:
        for name, scope in _read(path, seed.archives):
            if name == EVERY_WORLD:
                seed.everyone = seed.everyone.with_(scope)
            else:
                seed.worlds[name] = seed.worlds.get(name, Scope()).with_(scope)
    for _, scope in seed.scopes():
        scope.check_size(", ".join(map(str, paths)), AT_START)
        check(scope, max_file)
    return seed


def read_document(source: Source, contents: Contents, max_file: int, max_total: int) -> Scope:
    """Read and check a document for one world; it may leave out the version.

    `max_file` limits the size of each content, `max_total` that of all, in bytes. Raises SeedError.
    """
    if isinstance(source.values, dict):
        source.values.setdefault("version", VERSION)
        if source.values.get("worlds"):
            raise SeedError(f"{source.at('worlds')}: this goes into one world; send only what is under its name")
    with uncollected():
        document = _validated(source, contents)
        source.discard_values()
    scope = _scope(source, contents, document, ())
    scope.check_size(source.path)
    check_total(source.path, scope.generated(), max_total)
    check(scope, max_file, alone=False)
    return scope


@contextmanager
def uncollected() -> Iterator[None]:
    """Suspend garbage collection: with a large document it would visit a million new objects repeatedly, and all
    threads would wait."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def every_problem(paths: Sequence[Path], max_file: int) -> list[str]:
    """Return one problem for each faulty file; none if only all of them together have one.

    The arguments are those of `read_seeds`.
    """
    problems: list[str] = []
    valid: list[list[Scope]] = []

    @contextmanager
    def collecting() -> Iterator[None]:
        try:
            yield
        except SeedError as error:
            problems.append(str(error))

    with closing(Seed()) as opened:
        for path in chain.from_iterable(_documents(path) or [path] for path in paths):
            with collecting():
                valid.append([scope for _, scope in _read(path, opened.archives)])
        all_read = not problems  # else a missing name may be defined in a file that could not be read
        names = set().union(*(scope.names() for scopes in valid for scope in scopes))
        for scopes in valid:
            with collecting():
                for scope in scopes:
                    check(scope, max_file, alone=all_read, elsewhere=names)
    return problems


def _documents(folder: Path) -> list[Path]:
    """Return the seed files in a directory; none for a file and for a directory of plain files."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES and each.is_file())


def _read(path: Path, archives: list[Archive]) -> Iterator[tuple[str, Scope]]:
    """Yield the contents of every world, and additions for single ones."""
    if path.is_dir():
        if path.suffix in SUFFIXES:
            raise SeedError(f"{path} is a directory; name a file, or rename it if it holds files to start with")
        if files := _documents(path):
            yield from chain.from_iterable(_read(each, archives) for each in files)
        else:
            yield EVERY_WORLD, _read_folders(path)
    elif path.suffix == archive.SUFFIX:
        opened = Archive(path, path)
        archives.append(opened)
        with closing(opened):
            opened.verify()
            yield from _read_document(Source(*opened.seed()), opened)
    elif path.suffix not in SUFFIXES and path.exists():
        raise SeedError(f"{path}: a seed's name ends in .yaml, .yml, .json or .zip; rename it")
    else:
        yield from _read_document(Source(path), Folder(path.parent))


def _read_folders(path: Path) -> Scope:
    """Read a directory without seed files: each folder in it is a container with the folder's files."""
    scope = Scope()
    for each in sorted(path.iterdir()):
        if each.is_file() and not _CLUTTER.search(each.name):
            raise SeedError(f"{each} is in no folder, so in no container; move it into one, or name it in a seed file")
    for folder in sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")):
        contents = Folder(folder)
        names = [name for name in contents.names(".") if not _CLUTTER.search(name)]
        files = [ContainerFile.model_validate({"from": name, "filename": name}) for name in names]
        container = Container(name=folder.name, files=files)
        scope.lists["containers"].append((container, Place(folder, (), contents)))
    return scope


def _read_document(source: Source, contents: Contents) -> Iterator[tuple[str, Scope]]:
    document = _validated(source, contents)
    yield EVERY_WORLD, _scope(source, contents, document, ())
    for name, world in document.worlds.items():
        yield name, _scope(source, contents, world, ("worlds", name))


def _validated(source: Source, contents: Contents) -> models.Document:
    values = source.values
    if not isinstance(values, dict):
        problem = "the file is empty" if values is None else "a seed is a mapping"
        raise SeedError(f"{source.path}:1: {problem}; start it with: version: {VERSION}")
    if isinstance(version := values.get("version"), int) and version > VERSION:
        where = source.at("version")
        raise SeedError(f"{where}: version {version} is newer than this mockserver's {VERSION}; upgrade it")
    try:
        document = models.Document.model_validate(values, context=STORED if isinstance(contents, Archive) else None)
    except ValidationError as error:
        raise SeedError(_explained(source, error)) from None
    if document.version != VERSION:
        raise SeedError(f"{source.at('version')}: unknown version {document.version}; write {VERSION}")
    for name in document.worlds:
        if not NAME.fullmatch(name):
            where = source.at("worlds", name)
            raise SeedError(f"{where}: {name!r} can't name a world; use letters, digits, dots, underscores, hyphens")
    return document


def _scope(source: Source, contents: Contents, world: models.World, at: tuple[str, ...]) -> Scope:
    def place(*steps: str | int) -> Place:
        return Place(source, (*at, *steps), contents)

    return Scope(
        (world.clock, place("clock")) if world.clock else None,
        (world.profile, place("profile")) if world.profile else None,
        world.ordinal or 0,
        {name: [(item, place(name, n)) for n, item in enumerate(getattr(world, name))] for name in LISTS},
    )


def _explained(source: Source, error: ValidationError) -> str:
    """Return the first error in one line."""
    first = error.errors(include_url=False)[0]
    location = [step for step in first["loc"] if isinstance(step, int) or not step.startswith("function-")]
    where = source.at(*location)
    if first["type"] == UNKNOWN_KEY:
        del location[-1]  # the message names it
    name = ".".join(map(str, source.inside(location)))
    if first["type"] == "missing":
        return f"{where}: {name!r} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {name and f'{name}: '}{message[0].lower()}{message[1:]}"
