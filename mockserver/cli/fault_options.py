"""The options of `fault add`, from the fields of the models that the control plane reads.

A field's name, type and description become the option's. The tables name the exceptions.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import click

from mockserver import errors
from mockserver.cli.options import Completion, Parsed, complete, operations
from mockserver.schema.faults import Effect, Match, NewRule
from mockserver.settings import size

Callback = Callable[[click.Context, click.Parameter, Any], object]


def _pairs(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    parts = [each.partition("=") for each in given]
    if not all(name and equals for name, equals, _ in parts):
        raise click.BadParameter("write NAME=VALUE")
    names = [name.lower() for name, _, _ in parts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.BadParameter(f"{twice} is given more than once; give it once")
    return {name: value for name, _, value in parts}


def _range(ctx: click.Context, param: click.Parameter, given: str | None) -> object:
    least, dots, most = (given or "").partition("..")
    return {"min": least, "max": most} if dots else given


def _rate(ctx: click.Context, param: click.Parameter, given: str | None) -> object:
    if given is None:
        return None
    requests, slash, per = given.partition("/")
    if not (requests.isdecimal() and slash):
        raise click.BadParameter("write 3/1m")
    return {"requests": int(requests), "per": per}


def _json_or_text(ctx: click.Context, param: click.Parameter, given: str | None) -> object:
    try:
        return None if given is None else json.loads(given)
    except ValueError:
        return given


def _json_object(ctx: click.Context, param: click.Parameter, given: str | None) -> dict[str, Any]:
    value = _json_or_text(ctx, param, given or "{}")
    if not isinstance(value, dict):
        raise click.BadParameter("write a JSON object")
    return value


METAVARS = {
    "operation": "NAME", "method": "METHOD", "path": "PATTERN", "container": "ID", "file": "ID", "id": "ID",
    "header": "NAME=PATTERN", "headers": "NAME=VALUE", "times": "N", "skip": "N", "probability": "P", "concurrent": "N", "error": "NAME",
    "status": "STATUS", "body": "BODY", "retry_after": "SECONDS", "rate_limit": "N/DURATION",
}  # fmt: skip
"""Durations and numbers of bytes need no entry."""
CALLBACKS: dict[str, Callback] = {"latency": _range, "rate_limit": _rate, "body": _json_or_text}
COMPLETIONS: dict[str, Completion] = {"operation": complete(operations), "error": complete(lambda: errors.CATALOGUE)}
FLAGS = {"headers": "--answer-header"}
"""`--header` matches requests."""
HELP = {"latency": " Write 200ms, 2s, or 0.5s..2s.", "rate_limit": " Write 3/1m."}
"""The form of a value whose description shows JSON."""


@cache
def options() -> list[click.Parameter]:
    """Return an option for each field, and `--effect`."""
    fields = [
        (name, schema)
        for model in (Match, NewRule, Effect)
        for name, schema in model.model_json_schema()["properties"].items()
        if name not in ("match", "effect", "enabled")
    ]
    return [
        *(_option(name, schema) for name, schema in fields),
        click.Option(["--off", "enabled"], flag_value=False, type=bool, default=None, help="Add the rule disabled."),
        click.Option(
            ["--effect"], metavar="JSON", callback=_json_object, help="All effects as the control plane takes them."
        ),
    ]


def _option(name: str, schema: dict[str, Any]) -> click.Option:
    given = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    flag, help = FLAGS.get(name, f"--{name.replace('_', '-')}"), _sentence(schema["description"]) + HELP.get(name, "")
    if "const" in given[0]:
        return click.Option([flag], flag_value=given[0]["const"], default=None, help=help)
    kinds = {kind.get("type") for kind in given}
    pairs = kinds == {"object"}
    metavar = METAVARS.get(name) or ("BYTES" if kinds == {"integer"} else "DURATION")
    type = int if kinds == {"integer"} else float if kinds == {"number"} else str
    return click.Option(
        [flag, name],
        type=Parsed(size) if metavar == "BYTES" else type,
        metavar=metavar,
        multiple=pairs,
        callback=_pairs if pairs else CALLBACKS.get(name),
        help=help,
        shell_complete=COMPLETIONS.get(name),
    )


def _sentence(description: str) -> str:
    """Return a description without the form of the JSON value with which it can start."""
    text = re.sub(r"^`[^`]*`: ", "", description).replace("`", "")
    return text[0].upper() + text[1:]
