"""Skills in seeds, each with its versions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mockserver import skills
from mockserver.schema.values import Count
from mockserver.seeds.contents import Bundle, Place
from mockserver.seeds.entry import Listed, Placing, Referable
from mockserver.seeds.rows import Export, given, live, text
from mockserver.seeds.values import NOW, SkillNumber, Time
from mockserver.storage import tables
from mockserver.storage.database import Transaction

_exported = live(tables.Skill)
_exported_versions = live(tables.SkillVersion, "number, seq")


class SkillVersion(Listed, Bundle):
    """A version of a skill."""

    version: SkillNumber | None = None
    """Number of the version; by default its place in the list."""
    created_at: Time = NOW
    """When it was created; by default when the world is created."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() != 1:
            raise ValueError("give its files as one of from, base64, files")
        return self


class Skill(Referable, Bundle):
    """A skill with one version, or with several under `versions`."""

    kind = "skill"

    created_at: Time = NOW
    """When it was created; by default when the world is created."""
    versions: Annotated[list[SkillVersion], Field(fail_fast=True)] = []
    """Versions of the skill, numbered from 1."""
    default_version: SkillNumber | None = None
    """Number of the default version; by default the first one."""
    last_number: Count = 0
    """The highest number that a version ever had. Written by exports."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() + bool(self.versions) != 1:
            raise ValueError("give its files as one of from, base64, files, or give versions")
        labels = self.labels()
        if len(set(labels)) < len(labels):
            raise ValueError("two versions have the same number; give each its own")
        if self.default_version not in (None, *labels):
            raise ValueError(f"default_version is none of its versions; choose one of: {', '.join(labels)}")
        return self

    def inside(self) -> Sequence[Listed]:
        return self.versions

    def contents(self) -> Iterable[Bundle]:
        return self.every_version()

    def counts(self) -> Iterable[tuple[str, int]]:
        return [("skill version", len(self.labels()))]

    def every_version(self) -> Sequence["SkillVersion | Skill"]:
        """Return its versions; the skill itself if it describes only one."""
        return self.versions or [self]

    def labels(self) -> list[str]:
        """Return the numbers of its versions, in their order."""
        return [each.version or str(n) for n, each in enumerate(self.versions, 1)] or ["1"]

    def place(self, place: Place, n: int | None, into: Placing) -> None:
        versions = [
            (int(label) if label.isdecimal() else n, label, version, into.store.bundle(version, place))
            for n, (label, version) in enumerate(zip(self.labels(), self.every_version(), strict=True), 1)
        ]
        last, latest, *_ = max(versions, key=lambda each: each[0])
        default = self.default_version or min(versions, key=lambda each: each[0])[1]  # as by the API
        shown = next(bundle for _, label, _, bundle in versions if label == default)
        row = into.add(
            tables.Skill,
            self,
            name=shown.name,
            description=shown.description,
            default_version=default,
            latest_version=latest,
            last_number=max(last, self.last_number),
        )
        rows = []
        for number, label, version, bundle in versions:
            item = version if isinstance(version, SkillVersion) else SkillVersion.model_construct()
            own = {"created_at": version.created_at.at(into.put.now), "version": label, "number": number}
            own |= {"skill_id": row.id, "name": bundle.name, "description": bundle.description}
            rows.append(into.add(tables.SkillVersion, item, bundle.zip, **own))
        into.ids[Skill].append(row.id)
        for name in {row.id} | self.names():
            into.found[Skill, name] = row, rows

    @classmethod
    def find(cls, tx: Transaction, id: str) -> Any:
        row = skills.find(tx, id)
        return row and (row, skills.find_versions(tx, id))

    @classmethod
    def export(cls, out: Export) -> Iterator[str]:
        for row in _exported.rows(out.tx):
            described = given(row, "id", "created_at", "default_version", "last_number", "seq")
            described["versions"] = [
                given(each, "id", "version", "created_at", "seq") | out.content(each.digest)
                for each in _exported_versions.all(out.tx, owner=row.id)
            ]
            yield text(described)
