"""Skills in seeds, each with its versions."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mockserver import skills
from mockserver.schema.values import Count
from mockserver.seeds.contents import Bundle
from mockserver.seeds.entry import Export, Exported, Listed, Placing, Referable, described, given
from mockserver.seeds.values import NOW, SkillNumber, Time
from mockserver.storage import tables
from mockserver.storage.database import Transaction


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

    noun = "skill"

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
        labels = [str(each.version) for each in self.each_version]
        if len(set(labels)) < len(labels):
            raise ValueError("two versions have the same number; give each its own")
        if self.default_version not in (None, *labels):
            raise ValueError(f"default_version is none of its versions; choose one of: {', '.join(labels)}")
        return self

    def inside(self) -> Sequence[Listed]:
        return self.versions

    def contents(self) -> Iterable[Bundle]:
        return self.each_version

    def counts(self) -> Iterable[tuple[str, int]]:
        return [("skill version", len(self.each_version))]

    @cached_property
    def each_version(self) -> list[SkillVersion]:
        """Its versions, each with its number; the only one if the skill itself has its keys."""
        only = {name: getattr(self, name) for name in ("created_at", "from_", "base64", "files")}
        given = self.versions or [SkillVersion.model_construct(**only)]
        return [each.model_copy(update={"version": each.version or str(n)}) for n, each in enumerate(given, 1)]

    def place(self, into: Placing) -> None:
        bundles = {str(each.version): into.store.bundle(each, into.place) for each in self.each_version}
        numbers = {
            label: int(label) if label.isdecimal() and len(label) <= skills.MAX_DIGITS else n
            for n, label in enumerate(bundles, 1)
        }
        latest = max(numbers, key=numbers.__getitem__)
        default = self.default_version or min(numbers, key=numbers.__getitem__)  # as by the API
        own = {"default_version": default, "latest_version": latest, **given(bundles[default], "name", "description")}
        row = into.add(tables.Skill, self, last_number=max(numbers[latest], self.last_number), **own)
        rows = []
        for each in self.each_version:
            label = str(each.version)
            own = {"skill_id": row.id, "number": numbers[label], **given(bundles[label], "name", "description")}
            rows.append(into.add(tables.SkillVersion, each, bundles[label].zip, **own))
        into.ids[Skill].append(row.id)
        into.name(self, row.id, (row, rows))

    @classmethod
    def find(cls, tx: Transaction, id: str) -> Any:
        row = skills.find(tx, id)
        return row and (row, skills.find_versions(tx, id))

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Skill):
            versions = [
                described(SkillVersion, tables.SkillVersion, each) | out.content(each.digest)
                for each in out.rows(tables.SkillVersion, "number, seq", row.id)
            ]
            yield described(cls, tables.Skill, row) | {"versions": versions}
