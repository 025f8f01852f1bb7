"""The ids that a recorded request names, and of what kind each is."""

import re
from collections.abc import Iterator

from mockserver.journal import Entry

KINDS = {
    "cntr": "a container",
    "cfile": "a container's file",
    "file": "a File",
    "part": "a part of an upload",
    "skill": "a skill",
    "skillver": "a skill version",
    "upload": "an upload",
}
PLACES = {kind: f"that of {name}" for kind, name in KINDS.items()} | {"version": "a version's number"}
_KIND = re.compile(rf"({'|'.join(KINDS)})[-_]")


def ids_given(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the ids in a request's path and body, each with the kind that is expected there."""
    if "container_id" in entry.ids:
        yield entry.ids["container_id"], "cntr"
    if "skill_id" in entry.ids:
        yield entry.ids["skill_id"], "skill"
    if "version" in entry.ids:
        yield entry.ids["version"], "version"
    for id, number in skills_named(entry):
        yield id, "skill"
        yield number, "version"
    if "file_id" in entry.ids:
        yield entry.ids["file_id"], "cfile" if "container_id" in entry.ids else "file"
    if "upload_id" in entry.ids:
        yield entry.ids["upload_id"], "upload"
    body = entry.shown["request"].get("body")
    if isinstance(body, dict):
        for key, kind in (("file_id", "file"), ("file_ids", "file"), ("part_ids", "part")):
            given = body.get(key)
            yield from ((id, kind) for id in (given if isinstance(given, list) else [given]) if isinstance(id, str))


def skills_named(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the ids of skills in a request's body, each with the number of a version or an empty string."""
    body = entry.shown["request"].get("body")
    if not isinstance(body, dict):
        return
    if entry.operation == "UpdateSkill":
        yield entry.ids["skill_id"], str(body.get("default_version", ""))
    skills = body.get("skills") if entry.operation == "CreateContainer" else None
    for skill in skills if isinstance(skills, list) else ():
        if isinstance(skill, dict) and isinstance(id := skill.get("skill_id"), str):
            yield id, str(skill.get("version") or "")


def kind_of(id: str) -> str | None:
    match = _KIND.match(id)
    return match[1] if match else None
