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
    "Answer": "A script: for which requests of `/responses`, how often, and what the run does.",
    "When": "Which requests an answer is for: those that meet all conditions.",
    "Step": "A call, or what the assistant says, or both in this order.",
    "WrittenFile": "A file that a step writes or deletes.",
    "Figure": "A figure that a step displays.",
    "Fail": "How a run fails. Give one key.",
    "Tokens": "Tokens that the response shows.",
    "Use": "The end of a step of a run in the background. Written by exports.",
    "Response": "A response with its items. Written by exports.",
    "ResponseItem": "An item of a response. Written by exports.",
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
    "answers": "Scripts of what `/responses` does, in the order in which they are tried.",
    "responses": "Responses with their items. Written by exports.",
}
_STEP = {
    "code": "Code that the call shows. It is not run.",
    "commands": "Commands of a shell call.",
    "logs": "What is printed.",
    "value": "The value of the last expression.",
    "raises": "An exception: the call has no outputs then.",
    "exit": "Exit code of a shell call.",
    "stderr": "What a shell call prints as errors.",
    "timeout": "Whether a shell call times out.",
    "files": "Files that it writes or deletes.",
    "shows": "Figures that it displays.",
    "takes": "How long it takes, by the world's clock.",
    "say": "What the assistant says. `{links}`, `{text}`, `{files}` and `{container}` are filled in.",
    "cite": "Whether links to files of the container are cited.",
    "phase": "`phase` of the message, which newer models have; by default none.",
    "reasoning": "`true` or a summary: an item before the call or the text.",
    "fail": "How the run fails; a text is the name of an error.",
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
        "used_until": "End of the last step of runs in the background. Written by exports.",
        "wedged": "Whether each call of a run in it fails, although it is running.",
        "uses": "Ends of steps of runs in the background. Written by exports.",
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
        "response_id": "Id of the response whose run wrote it. Written by exports.",
        "visible_from": "When a run in the background writes it. Written by exports.",
        "visible_until": "When a run in the background replaces or deletes it. Written by exports.",
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
    "Answer": {
        **_STEP,
        "id": "Name of the answer; made by the server unless given.",
        "when": "Which requests it is for; a text is a part of the last user message. By default all.",
        "skip": "How many matching requests to pass first.",
        "times": "How often to use it; by default always.",
        "steps": "What the run does, in order. The keys of a single step can stand in the answer itself.",
        "usage": "Tokens that the response shows; by default a quarter of the characters.",
        "output": "Raw items instead of steps.",
        "pace": "Real time between the events of a stream.",
        "seeded": "Whether it comes from a seed. Written by exports.",
        "matched": "How many requests it fitted. Written by exports.",
        "used": "How often it was used. Written by exports.",
        "seq": _SEQ,
    },
    "When": {
        "text": "In the last user message: a part of it in any case, or `/…/`, a regular expression.",
        "instructions": "In the instructions, likewise.",
        "model": "In the name of the model, likewise.",
        "tool": "What the request allows.",
        "container": "Id or name of the container.",
        "file": "Name of a file in the container or the input.",
        "turn": "1 for the first turn of a conversation, 2 for the second.",
        "continues": "Id of an answer that was used before in this conversation.",
        "metadata": "Pairs of the request's metadata.",
        "background": "Whether it runs in the background.",
        "stream": "Whether it is streamed.",
    },
    "Step": _STEP,
    "Figure": _CONTENT,
    "WrittenFile": {
        **_CONTENT,
        "path": "Path of the file, relative to `/mnt/data`.",
        "bytes": "The size that the API shows; by default null.",
        "delete": "Delete the file instead.",
    },
    "Fail": {
        "error": "Name of an error.",
        "incomplete": "The response is incomplete, for this reason.",
        "wedge": "Each later call in the container fails.",
    },
    "Tokens": {
        "input": "Tokens of the input.",
        "cached": "Of these, tokens that were cached; by default 0.",
        "output": "Tokens of the output.",
        "reasoning": "Of these, tokens of reasoning; by default 0.",
    },
    "Use": {"at": "When the step ends.", "response_id": "Id of the response."},
    "Response": {"object": "The response as it is stored.", "items": "Items of its input and its output."},
    "ResponseItem": {
        "id": "Id of the item.",
        "output": "Whether it is of the output.",
        "body": "The item as JSON.",
        "ends": "Seconds from the creation of the response until it is complete.",
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
    for name in ("Figure", "WrittenFile"):
        for key in ("digest", "size"):
            del objects[name]["properties"][key]  # of those that are stored
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
