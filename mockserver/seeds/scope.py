"""Collect what seeds describe for one world, each object with its place in the seeds, and check it as a whole."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

from mockserver import answers, profiles
from mockserver.schema.sources import WithContent
from mockserver.seeds import answers as seeded_answers
from mockserver.seeds import containers as seeded_containers
from mockserver.seeds import exported, models
from mockserver.seeds import faults as seeded_faults
from mockserver.seeds import files as seeded_files
from mockserver.seeds import skills as seeded_skills
from mockserver.seeds import uploads as seeded_uploads
from mockserver.seeds.contents import Bundle, Place, check_bundle, check_content, located
from mockserver.seeds.entry import Described, Listed
from mockserver.seeds.values import NOW, is_numbered, numbered, numbers
from mockserver.settings import SeedError
from mockserver.storage.tables import MAX_ANSWERS

MAX_OBJECTS = 200_000
"""Objects in a document that is sent to a running server."""


MAX_TEXT = 64 << 20
"""Bytes of names and paths in such a document, each counted as often as it is repeated."""


@dataclass(slots=True)
class Scope:
    """What one template contains, each object with its place in the seeds."""

    clock: tuple[models.Clock, Place] | None = None
    profile: tuple[profiles.Requested, Place] | None = None
    ordinal: int = 0
    faults: list[tuple[seeded_faults.Fault, Place]] = field(default_factory=list)
    deleted: list[tuple[exported.Deleted, Place]] = field(default_factory=list)
    files: list[tuple[seeded_files.File, Place]] = field(default_factory=list)
    skills: list[tuple[seeded_skills.Skill, Place]] = field(default_factory=list)
    containers: list[tuple[seeded_containers.Container, Place]] = field(default_factory=list)
    uploads: list[tuple[seeded_uploads.Upload, Place]] = field(default_factory=list)
    answers: list[tuple[seeded_answers.Answer, Place]] = field(default_factory=list)
    responses: list[tuple[exported.Response, Place]] = field(default_factory=list)

    def with_(self, other: "Scope") -> "Scope":
        """Return both together. A value that is set twice is an error that names both places."""
        for mine, its in ((self.clock, other.clock), (self.profile, other.profile)):
            if mine and its:
                raise SeedError(f"{its[1]}: already set at {mine[1]}; remove one of the two")
        return Scope(
            self.clock or other.clock,
            self.profile or other.profile,
            max(self.ordinal, other.ordinal),
            **{name: getattr(self, name) + getattr(other, name) for name in LISTS},
        )

    def discard(self) -> None:
        """Free all objects, one after another, in a thread: many that are freed at once hold up all threads."""
        for name in LISTS:
            objects: list[Any] = getattr(self, name)
            while objects:
                objects.pop()

    def described(self) -> Iterator[tuple[Described, Place]]:
        """Yield the entries of all lists that can have objects or bytes inside."""
        for name in LISTS:
            yield from (each for each in getattr(self, name) if isinstance(each[0], Described))

    def listed(self) -> Iterator[tuple[Listed, Place]]:
        """Yield the objects that have a position in a list."""
        for item, place in self.described():
            if isinstance(item, Listed):
                yield item, place
            yield from ((inner, place) for inner in item.inside())

    def contents(self) -> Iterator[tuple[WithContent, Place, int | None]]:
        """Yield what describes bytes, and how often it is repeated."""
        for item, place in self.described():
            yield from ((content, place, getattr(item, "repeat", None)) for content in item.contents())

    def bundles(self) -> Iterator[tuple[Bundle, Place]]:
        """Yield what describes the files of a skill."""
        for item, place in self.described():
            yield from ((bundle, place) for bundle in item.bundles())

    def last_seq(self) -> int:
        """Return the highest ordinal that an object of an export has."""
        positions = (item.seq or 0 for item, _ in self.listed())
        responses = (int(each.object["ordinal"]) for each, _ in self.responses)
        return max(chain([self.ordinal], positions, responses, (each.ordinal for each, _ in self.deleted)))

    def counts(self) -> dict[str, int]:
        """Return how many objects it describes, by their kinds in the singular."""
        return {
            "File": sum(file.repeat or 1 for file, _ in self.files),
            "container": sum(container.repeat or 1 for container, _ in self.containers),
            "container file": sum(
                (container.repeat or 1) * (len(container.files) + len(container.skills))
                for container, _ in self.containers
            ),
            "skill version": sum(len(skill.labels()) for skill, _ in self.skills),
            "upload": len(self.uploads),
            "answer": len(self.answers),
            "response": len(self.responses),
        }

    def generated(self) -> int:
        """Return the size in bytes of contents that are longer than their descriptions."""
        return sum(
            item.generate.size if item.generate else len(numbered(item.content or "", repeat).encode()) * (repeat or 1)
            for item, _, repeat in self.contents()
            if item.generate or is_numbered(item)
        )

    def text(self) -> int:
        """Return the size in bytes of names, paths, policies and items, each counted as often as it is repeated."""
        items = sum(len(item.body) for response, _ in self.responses for item in response.items)
        files = items + sum((file.repeat or 1) * _text_size(file, file.repeat) for file, _ in self.files)
        return files + sum(
            (container.repeat or 1)
            * (
                _text_size(container, container.repeat)
                + sum(map(len, (container.network_policy and container.network_policy.allowed_domains) or ()))
                + sum(_text_size(inner, container.repeat) for inner in container.files)
            )
            for container, _ in self.containers
        )

    def check_size(self, where: object, times: int = 1) -> None:
        """Raise SeedError if there are too many objects or too long names."""
        for found, allowed, of in (
            (sum(self.counts().values()), MAX_OBJECTS * times, "objects"),
            (self.text(), MAX_TEXT * times, "bytes of names, repeated ones included,"),
        ):
            if found > allowed:
                raise SeedError(f"{where}: {found:,} {of} are more than {allowed:,}; repeat less, or split it")

    def summary(self) -> str:
        parts = [f"{n:,} {kind}{'' if n == 1 else 's'}" for kind, n in self.counts().items() if n]
        return ", ".join(parts) or "nothing"


def _text_size(
    item: seeded_files.File | seeded_containers.Container | seeded_containers.ContainerFile, repeat: int | None
) -> int:
    """Return the largest size of an object's names in bytes, with the highest number if it is repeated."""
    names = [item.id]
    if isinstance(item, seeded_containers.Container):
        names += [item.ref, item.name]
    elif isinstance(item, seeded_containers.ContainerFile):
        names += [item.filename or item.from_, item.path, item.file, item.file_id]
    else:
        names += [item.ref, item.filename or item.from_]
    return sum(len(numbered(name, repeat).encode(errors="replace")) for name in names if name)


LISTS = [each.name for each in fields(Scope) if each.default_factory is list]
"""The keys of a seed that are lists of objects."""


def check(scope: Scope, max_file: int, alone: bool = True, elsewhere: Container[str] = ()) -> None:
    """Check that references are valid, names unique, and all files present and not too large. Raises SeedError.

    If the scope is not `alone`, it may refer to Files that exist in the world; `elsewhere` are names in other scopes.
    """
    deleted: set[tuple[str, str]] = set()
    for gone, place in scope.deleted:
        if (gone.list, gone.id) in deleted:
            raise SeedError(f"{place}: this object was deleted twice; remove one")
        deleted.add((gone.list, gone.id))
    for item, place, _ in scope.contents():
        check_content(item, place, max_file)
    for bundle, place in scope.bundles():
        check_bundle(bundle, place)
    positions: dict[str, Place] = {}
    for listed, place in scope.listed():
        if listed.seq is None:
            continue
        if getattr(listed, "repeat", None):
            raise SeedError(f"{place}: repeated objects have no fixed position; remove seq")
        _claim(positions, place, f"seq {listed.seq}")
    faults: dict[str, Place] = {}
    for fault, place in scope.faults:
        _claim(faults, place, fault.id)
    files: dict[str, Place] = {}
    for file, place in scope.files:
        for n in numbers(file.repeat):
            _claim(files, place, *file.names(n))
    skills: dict[str, Place] = {}
    for skill, place in scope.skills:
        versions: dict[str, Place] = {}
        _claim(skills, place, *skill.names())
        for version in skill.versions:
            _claim(versions, place, version.id)
    containers: dict[str, Place] = {}
    for container, place in scope.containers:
        created, active = container.created_at or NOW, container.last_active_at or NOW
        given = container.created_at and container.seq is None  # an export may contain one whose expiry was forced
        if given and created.relative == active.relative and created.seconds > active.seconds:
            raise SeedError(f"{place}: it was last active before it was created; correct created_at or last_active_at")
        for n in numbers(container.repeat):
            _claim(containers, place, *container.names(n))
        inside: dict[str, Place] = {}
        for inner in container.files:
            if alone and inner.file is not None and inner.file not in files and inner.file not in elsewhere:
                raise SeedError(f"{place}: no File has the ref or id {inner.file!r}; describe it under files")
            _claim(inside, place, inner.id)
        for own in container.skills:
            if alone and own.skill is not None and own.skill not in skills and own.skill not in elsewhere:
                raise SeedError(f"{place}: no skill has the ref or id {own.skill!r}; describe it under skills")
    uploads: dict[str, Place] = {}
    for upload, place in scope.uploads:
        _claim(uploads, place, upload.id, *(part.id for part in upload.parts))
    _check_answers(scope.answers)


def _check_answers(found: list[tuple[seeded_answers.Answer, Place]]) -> None:
    claimed: dict[str, Place] = {}
    kinds: dict[object, list[tuple[Place, seeded_answers.Answer]]] = {}
    for number, (answer, place) in enumerate(found, 1):
        if number > MAX_ANSWERS:
            raise SeedError(f"{place}: a world takes at most {MAX_ANSWERS:,} answers; remove some")
        _claim(claimed, place, answer.id)
        for figure in answer.figures():
            if figure.digest is not None:
                raise SeedError(
                    f"{place}: a seed has no digest; give the bytes as one of content, base64, from, generate"
                )
        with located(place):
            named = {id(figure): figure.from_ for figure in answer.figures() if figure.from_ is not None}
            try:
                answer.check_output({figure: place.contents.size(name) for figure, name in named.items()})
            except ValueError as error:
                raise SeedError(str(error)) from None
        kinds.setdefault((answer.seeded is False, place.location[:-1]), []).append((place, answer))
    for rules in kinds.values():
        if never := answers.unreachable(rules):
            raise SeedError(
                f"{never[0]}: it can never be used, as the answer at {never[1]} takes all of its requests; "
                "give that one times, or put this one before it"
            )


def _claim(used: dict[str, Place], place: Place, *names: str | None) -> None:
    for name in filter(None, names):
        if name in used:
            raise SeedError(
                f"{place}: {name!r} is already used at {used[name]}; give each object its own ref and id (for repeated objects, use {{n}})"
            )
        used[name] = place
