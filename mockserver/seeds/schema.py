"""The format of seeds as a JSON Schema: for editors, for generators, and for the manual."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from mockserver import profiles
from mockserver.seeds.models import Document
from mockserver.seeds.values import Moment

_NOT_STANDARD = {"title", "le", "ge", "lt", "gt"}
"""Keywords that Pydantic writes and JSON Schema does not have, and titles, which repeat the key."""


class _Schema(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return None if isinstance(dft, Moment) else super().encode_default(dft)  # the model's own form of "now"


def seed_schema() -> dict[str, Any]:
    """Return the JSON Schema of seed files, with a description of every key."""
    schema: dict[str, Any] = _plain(Document.model_json_schema(schema_generator=_Schema))
    objects = schema.pop("$defs")
    for part in (schema, objects["World"]):
        part["properties"]["profile"]["anyOf"] = _profile()
    for name in ("Figure", "WrittenFile"):
        for key in ("digest", "size"):
            del objects[name]["properties"][key]  # of those that are stored
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mockserver seed",
        **schema,
        "$defs": dict(sorted(objects.items())),
    }


def _plain(value: Any) -> Any:
    """Return a schema without keywords that say nothing."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "anyOf" in value:  # of a union that was written in two orders, Python keeps the one that was imported first
        value = {**value, "anyOf": sorted(value["anyOf"], key=lambda each: (each.get("type") == "null", str(each)))}
    return {
        key: {name: _plain(part) for name, part in each.items()} if key in ("properties", "$defs") else _plain(each)
        for key, each in value.items()
        if key not in _NOT_STANDARD and not (key == "default" and each is None)
    }


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
