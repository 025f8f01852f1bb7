"""What a run does without a script: always the same for the same request, and useful for a first try.

It writes the files that the prompt names, and links to them; a final text of a schema is the least instance of it. No
code is run.
"""

import json
import re
from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from mockserver.sample_files import SAMPLES
from mockserver.schema.answers import Step, WrittenFile, container_path
from mockserver.schema.responses import CreateResponse
from mockserver.storage.contents import Upload, small

MAX_ECHO = 4_000
"""Characters of the prompt that are repeated."""
MAX_FILES = 5
MAX_DEPTH = 30
"""Of a schema that refers to itself."""
MAX_INSTANCE = 20_000
"""Values, names and characters of an instance of a schema, and of the references on the way: one that refers to itself
has no end."""
MAX_NUMBER = 10**18
MAX_LISTED = 100
"""File names that a call prints, each up to `MAX_NAME` characters."""
MAX_NAME = 255
NOT_RUN = "mockserver: this code was not run\n"

_NAME = re.compile(rf"(?:/mnt/data/)?[\w-][\w./-]{{0,200}}\.(?:{'|'.join(SAMPLES)})\b", re.IGNORECASE)
_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


def steps(
    body: CreateResponse, prompt: str, paths: Sequence[str], calls: bool, only_echo: bool
) -> tuple[list[Step], dict[str, Upload]]:
    """The steps of a run, and the contents that they write, by digest. `paths` are those of the container's files."""
    schema = _schema(body)
    text = json.dumps(least(schema)) if schema is not None else prompt[:MAX_ECHO]
    if not calls or only_echo:
        return [Step(say=text)], {}
    uploads: dict[str, Upload] = {}
    files = []
    for path, content in _files(prompt, paths).items():
        upload = small(content)
        uploads[upload.digest] = upload
        files.append(WrittenFile.model_validate({"path": path, "digest": upload.digest, "size": upload.size}))
    fenced = _FENCED.search(prompt)
    names = sorted({path.rpartition("/")[2] for path in [*paths, *(file.path for file in files)]})
    listed = f"{[name[:MAX_NAME] for name in names[:MAX_LISTED]]}"
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    call: dict[str, Any] = {"logs": f"{NOT_RUN if fenced else ''}{listed}{more}\n", "files": files}
    if fenced:
        call["code"] = fenced[1]
    return [Step(**call), Step(say=text if schema is not None else "Done: {links}")], uploads


def _files(prompt: str, paths: Sequence[str]) -> dict[str, bytes]:
    """The files that a prompt names and that are not there yet, each with a small valid content."""
    there = {path.rpartition("/")[2] for path in paths}
    found: dict[str, bytes] = {}
    for match in _NAME.finditer(prompt[:MAX_ECHO]):
        try:
            path = container_path(match[0])
        except ValueError:
            continue
        name = path.rpartition("/")[2]
        if path not in paths and name not in there and not any(known.endswith(f"-{name}") for known in there):
            found[path] = SAMPLES[name.rpartition(".")[2].lower()]
        if len(found) == MAX_FILES:
            break
    if not found and not any(path.endswith("/answer.txt") for path in paths):
        found["/mnt/data/answer.txt"] = prompt[:MAX_ECHO].encode(errors="replace") + b"\n"
    return found


def _schema(body: CreateResponse) -> Any:
    """The schema that the final text has to fit, or None."""
    wanted = (body.text or {}).get("format")
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object"}
    return wanted.get("schema", {}) if wanted.get("type") == "json_schema" else None


def least(schema: Any) -> Any:
    """The least instance of a JSON schema: first choices, required keys only, empty lists, lowest numbers.

    A schema may be anything; what makes no sense counts as absent, and what lies beyond `MAX_INSTANCE` is null.
    """
    return _Least(schema).of(schema)


class _Least:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = MAX_INSTANCE

    def of(self, schema: Any, depth: int = 0) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self._left < 0:
            return None
        if isinstance(reference := schema.get("$ref"), str):
            self._left -= len(reference)
            return self.of(_resolve(self._root, reference), depth + 1)
        for key in ("const", "default"):
            if key in schema:
                return self._fitting(schema[key])
        if isinstance(choices := schema.get("enum"), list) and choices:
            return self._fitting(choices[0])
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(parts := schema.get(key), list) and parts:
                return self._combined(parts, depth) if key == "allOf" else self.of(parts[0], depth + 1)
        kinds = schema.get("type", "object" if "properties" in schema else None)
        return self._typed(kinds[0] if isinstance(kinds, list) and kinds else kinds, schema, depth)

    def _fitting(self, value: Any) -> Any:
        self._left -= len(json.dumps(value))
        return value if self._left >= 0 else None

    def _typed(self, kind: object, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                properties, required = schema.get("properties"), schema.get("required")
                known = properties if isinstance(properties, Mapping) else {}
                found = {}
                for name in required if isinstance(required, list) else []:
                    self._left -= 1
                    if isinstance(name, str) and self._fitting(name) is not None:
                        found[name] = self.of(known.get(name, {}), depth + 1)
                    if self._left <= 0:
                        break
                return found
            case "array":
                items = schema.get("items", {})
                return [self.of(items, depth + 1) for _ in range(_count(schema, "minItems", 100)) if self._left > 0]
            case "string":
                example = _FORMATS.get(str(schema.get("format")))
                return self._fitting("x" * _count(schema, "minLength", 1_000) if example is None else example)
            case "integer" | "number":
                least, above = _number(schema.get("minimum")), _number(schema.get("exclusiveMinimum"))
                return least if least is not None else 0 if above is None else floor(above) + 1
            case "boolean":
                return False
        return None

    def _combined(self, parts: list[Any], depth: int) -> Any:
        values = [self.of(part, depth + 1) for part in parts if self._left > 0]
        if all(isinstance(value, dict) for value in values):
            return {key: value for part in values for key, value in part.items()}
        return values[0]


def _count(schema: Mapping[str, Any], key: str, most: int) -> int:
    return max(0, min(int(_number(schema.get(key)) or 0), most))


def _number(value: Any) -> int | float | None:
    """A number of a usual size."""
    return value if type(value) in (int, float) and -MAX_NUMBER < value < MAX_NUMBER else None


_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "user@example.com",
    "time": "12:00:00Z",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def _resolve(root: Any, reference: str) -> Any:
    """What `#/$defs/Name` refers to; None for a reference to another document."""
    found = root
    for key in reference.removeprefix("#").strip("/").split("/") if reference != "#" else []:
        found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
