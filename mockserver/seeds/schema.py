"""The format of seeds as a JSON Schema: for editors, for generators, and for the manual."""

from typing import Any

from mockserver import profiles
from mockserver.seeds.models import Document

OBJECTS = {
    "Document": "A seed file: the initial contents of new worlds.",
    "World": "Contents of one world in addition to those of every world.",
    "File": "A File of the Files API.",
    "Container": "A container with its files.",
    "ContainerFile": "A file in a container: a copy of a File, an upload, or what a model run wrote.",
    "Skill": "A skill with one version, or with several under `versions`.",
    "SkillVersion": "A version of a skill.",
    "SkillFile": "A file of a skill.",
    "ContainerSkill": "A skill in a container: one of this seed or of the world, or one of its own.",
    "ExpiresAfter": "When a container expires.",
    "NetworkPolicy": "What a container may reach; stored and shown only.",
    "Clock": "The clock of new worlds.",
    "Generated": "Bytes made by the server, the same on every run.",
    "Fault": "A fault rule: what to break, where, and how often.",
    "Match": "Which requests a rule applies to. Patterns take `*`, `?` and `[…]`.",
    "Effect": "What a fault does to a request.",
    "Latency": "A delay drawn from a range.",
    "RateLimit": "How many requests pass in each window of the world's time.",
    "Upload": "An upload of the Uploads API, with the parts that were sent.",
    "UploadPart": "A part of an upload.",
    "Deleted": "A deleted object. Written by exports.",
}
"""The description of each kind of object."""

_SEQ = "Position in the order of the world's lists. Written by exports."
_REPEAT = "Create this many objects. `{n}` in names, ids and contents is the number of each."
_CONTENT = {
    "content": "Content as text.",
    "base64": "Content as Base64.",
    "from": "Path of a file with the content, relative to the seed and inside its folder.",
    "generate": "Content made by the server.",
}
_BUNDLE = {
    "from": "Path of the skill's folder or zip, relative to the seed and inside its folder.",
    "base64": "A zip of the skill's folder, as Base64.",
    "files": "Files of the skill, a `SKILL.md` among them.",
}
_WORLD = {
    "clock": "Clock of new worlds; by default it shows real time.",
    "profile": "A profile's name, or a mapping of `base` and switches.",
    "ordinal": "Number of the last id that was made. Written by exports.",
    "faults": "Fault rules, in the order in which they are tried.",
    "deleted": "Deleted objects that lists still need as cursors. Written by exports.",
    "files": "Files of the Files API.",
    "skills": "Skills, each with its versions.",
    "containers": "Containers with their files.",
    "uploads": "Uploads with their parts.",
}
KEYS: dict[str, dict[str, str]] = {
    "Document": {
        **_WORLD,
        "version": "Version of the format: 1.",
        "worlds": "Single worlds by name, each with the keys above in addition to those of every world.",
    },
    "World": _WORLD,
    "File": {
        **_CONTENT,
        "ref": "Name for use in this seed. Ids and refs may stand in `containers[].files[].file`.",
        "id": "Id of the File; made by the server unless given.",
        "filename": "Name of the File; by default the name in `from`.",
        "purpose": "Purpose of the File.",
        "created_at": "When it was created; by default when the world is created.",
        "expires_at": "When it expires; by default never.",
        "repeat": _REPEAT,
        "seq": _SEQ,
    },
    "Container": {
        "ref": "Name for use in this seed.",
        "id": "Id of the container; made by the server unless given.",
        "name": "Name of the container.",
        "created_at": "When it was created; by default the time of its last use.",
        "last_active_at": "When it was last used; by default when the world is created.",
        "expires_after": "When it expires; null means never.",
        "memory_limit": "Memory of the container; stored and shown only.",
        "network_policy": "What it may reach; stored and shown only.",
        "files": "Files in the container.",
        "skills": "Skills in the container, as of now. The API never shows them.",
        "repeat": _REPEAT,
        "replaced_by": "Id of the container that took its place when it had expired. Written by exports.",
        "seq": _SEQ,
    },
    "ContainerFile": {
        **_CONTENT,
        "id": "Id of the container file; made by the server unless given.",
        "file": "Copy of this File, by its `ref` or `id`. Excludes every key that describes content or name.",
        "filename": "Name of an upload by the user; by default the name in `from`.",
        "path": "Path of a file that a model run wrote, relative to `/mnt/data`.",
        "source": "Who wrote it; by default `assistant` with `path`, else `user`.",
        "bytes": "The size that the API shows; by default null for the assistant's files, else the real size.",
        "created_at": "When it was created; by default the time of its container's last use.",
        "file_id": "Id of the File that it was copied from, which may no longer exist. Written by exports.",
        "seq": _SEQ,
    },
    "Upload": {
        "id": "Id of the upload; made by the server unless given.",
        "filename": "Name of the File that results.",
        "purpose": "Purpose of the File that results.",
        "bytes": "Size that the parts must have in all; by default the size of those that are given.",
        "mime_type": "Media type with which it was created.",
        "created_at": "When it was created; by default when the world is created.",
        "expires_at": "When it expires; by default an hour after its creation.",
        "file_expires_after": "Seconds from its creation to the expiry of the File that results; by default never.",
        "status": "Its status.",
        "file_id": "Id of the File that resulted. Written by exports.",
        "parts": "Parts that were sent, while it is pending.",
        "seq": _SEQ,
    },
    "UploadPart": {
        **_CONTENT,
        "id": "Id of the part; made by the server unless given.",
        "created_at": "When it was sent; by default the time of the creation of the upload.",
        "seq": _SEQ,
    },
    "Skill": {
        **_BUNDLE,
        "ref": "Name for use in this seed. Ids and refs may stand in `containers[].skills[].skill`.",
        "id": "Id of the skill; made by the server unless given.",
        "created_at": "When it was created; by default when the world is created.",
        "versions": "Versions of the skill, numbered from 1.",
        "default_version": "Number of the default version; by default the first one.",
        "last_number": "The highest number that a version ever had. Written by exports.",
        "seq": _SEQ,
    },
    "SkillVersion": {
        **_BUNDLE,
        "id": "Id of the version; made by the server unless given.",
        "version": "Number of the version; by default its place in the list.",
        "created_at": "When it was created; by default when the world is created.",
        "seq": _SEQ,
    },
    "SkillFile": {
        **_CONTENT,
        "path": "Path of the file in the skill's folder: `SKILL.md`, `scripts/run.py`.",
    },
    "ContainerSkill": {
        **_BUNDLE,
        "skill": "A skill of this seed or of the world, by its `ref` or `id`.",
        "version": "Number of the skill's version, or `latest`; by default its default version.",
        "skill_id": "Id of the skill that it was, which may no longer exist. Written by exports.",
    },
    "ExpiresAfter": {
        "anchor": "What the time is counted from.",
        "minutes": "Length in minutes. Give this or `days`.",
        "days": "Length in days. Give this or `minutes`.",
    },
    "NetworkPolicy": {
        "type": "Kind of policy.",
        "allowed_domains": "Domains that an allowlist names.",
    },
    "Clock": {
        "at": "Instant at which every new world starts, as 2026-01-31T12:00:00Z or seconds since 1970.",
        "offset": "How far the clock runs ahead of real time; negative for behind. Excludes `at`.",
        "rate": "Speed: 0 is frozen, 1 is real time, 60 is a minute each second.",
    },
    "Generated": {
        "size": "Size in bytes, or as 64KB, 1MB.",
        "pattern": "What the bytes are.",
    },
    "Fault": {
        "id": "Name of the rule; made by the server unless given.",
        "matched": "How often it was tried. Written by exports.",
        "fired": "How often it fired. Written by exports.",
        "created_at": "When it was created. Written by exports.",
        "window_at": "When the current window of its rate limit began. Written by exports.",
        "window_used": "Requests in that window. Written by exports.",
    },
    "Latency": {"min": "Shortest delay.", "max": "Longest delay."},
    "RateLimit": {"requests": "How many requests pass in a window.", "per": "Length of a window."},
    "Deleted": {
        "list": "The list that it was in.",
        "id": "Id of the object.",
        "seq": _SEQ,
        "created_at": "When it was created.",
        "ordinal": "Number of the change that deleted it.",
        "deleted_at": "When it was deleted.",
        "object": "The object.",
    },
}
"""The description of each key. Keys of faults that are missing here are described in their models."""

_NOT_STANDARD = {"title", "le", "ge", "lt", "gt"}
"""Keywords that Pydantic writes and JSON Schema does not have, and titles, which repeat the key."""


def seed_schema() -> dict[str, Any]:
    """Return the JSON Schema of seed files, with a description of every key."""
    schema: dict[str, Any] = _plain(Document.model_json_schema())
    objects = {_name(name): part for name, part in schema.pop("$defs").items()}
    for name, part in {"Document": schema, **objects}.items():
        part["description"] = OBJECTS[name]
        for key, meaning in KEYS.get(name, {}).items():
            part["properties"][key]["description"] = meaning
    for name in ("Document", "World"):
        part = schema if name == "Document" else objects[name]
        part["properties"]["profile"] = {"description": _WORLD["profile"], "anyOf": _profile()}
    for name in ("File", "Skill", "SkillVersion", "Upload"):
        del objects[name]["properties"]["created_at"]["default"]  # the model's own form of "now"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mockserver seed",
        **schema,
        "$defs": dict(sorted(objects.items())),
    }


def _plain(value: Any) -> Any:
    """Return a schema with the public names of objects, without keywords that say nothing."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(reference := value.get("$ref"), str):
        prefix, _, name = reference.rpartition("/")
        value = {**value, "$ref": f"{prefix}/{_name(name)}"}
    if "anyOf" in value:  # of a union that was written in two orders, Python keeps the one that was imported first
        value = {**value, "anyOf": sorted(value["anyOf"], key=lambda each: (each.get("type") == "null", str(each)))}
    return {
        key: {name: _plain(part) for name, part in each.items()} if key in ("properties", "$defs") else _plain(each)
        for key, each in value.items()
        if key not in _NOT_STANDARD and not (key == "default" and each is None)
    }


def _name(name: str) -> str:
    return name.removeprefix("_")


def _profile() -> list[dict[str, Any]]:
    switches = {
        each.name: {"description": f"{each.meaning} Takes {each.takes}."} for each in profiles.SWITCHES.values()
    }
    base = {"enum": list(profiles.PROFILES), "description": "The profile that the switches change."}
    return [
        {"type": "string"},
        {"type": "object", "properties": {"base": base, **switches}, "additionalProperties": False},
        {"type": "null"},
    ]
