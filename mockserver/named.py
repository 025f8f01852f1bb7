"""The ids that a recorded request names, and of what kind each is."""

import re
from collections.abc import Iterator

from mockserver.journal import Entry

KINDS = {
    "cntr": "a container",
    "cfile": "a container's file",
    "file": "a File",
    "skill": "a skill",
    "skillver": "a skill version",
}
PLACES = {kind: f"that of {name}" for kind, name in KINDS.items()} | {"version": "a version's number"}
_KIND = re.compile(r"(cntr|cfile|file|skill|skillver)[-_]")


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
    body = entry.shown["request"].get("body")
    if isinstance(body, dict):
        given = body.get("file_ids")
        for id in (body.get("file_id"), *(given if isinstance(given, list) else ())):
            if isinstance(id, str):
                yield id, "file"


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
