"""Generate tables of the manual from the code: `python docs/generate.py`, or `--check` to compare.

A table is placed between `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a key of TABLES. The JSON schema of
seeds is generated too.
"""

import inspect
import json
import re
import sys
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import yaml
from pydantic import BaseModel

from mockserver import control_errors, errors, profiles, pytest_plugin, testing, verdict
from mockserver.api.app import create_app
from mockserver.cli import main as cli
from mockserver.cli import options
from mockserver.control.app import create_control
from mockserver.mock import Mock
from mockserver.schema import faults
from mockserver.seeds.schema import seed_schema
from mockserver.settings import NAMES, Settings, environment_name, flag

DOCS = Path(__file__).parent
ROOT = DOCS.parent
SCHEMA = DOCS / "reference" / "seed.schema.json"
MARKER = re.compile(r"(?<=^<!-- generated: )([\w-]+)( -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)
SHARED = ("url", "token", "world", "as_json")
"""Options of all commands that call the control plane or print JSON."""


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [headings, ["---"] * len(headings), *rows]
    escaped = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in cells]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped).replace("| --- ", "|---").replace("---|\n", "---|\n")


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def first_line(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())


# The command line


def commands(group: click.Group = cli.main, path: str = "mockserver") -> Iterator[tuple[str, str, click.Command]]:
    """Yield each command that is not a group: its name, its usage without options, and the command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif command:
            arguments = command.collect_usage_pieces(click.Context(command))[1:]
            yield f"{path} {name}", " ".join([path, name, *arguments]).replace("...", "…"), command


def command_table() -> str:
    rows = [(code(usage), command.get_short_help_str(200)) for _, usage, command in commands()]
    return table(["command", "what it does"], rows)


def option_rows(command: click.Command, excluded: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    context = click.Context(command)
    for parameter in command.get_params(context):  # `params` is incomplete for `fault add`
        if not isinstance(parameter, click.Option) or "--help" in parameter.opts or parameter.name in excluded:
            continue
        if record := parameter.get_help_record(context):  # None for hidden options
            yield code(record[0]), code(parameter.envvar or ""), parameter.help or ""


def command_options() -> str:
    rows = [
        (code(name.removeprefix("mockserver ")), *row)
        for name, _, command in commands()
        for row in option_rows(command, (*NAMES, *SHARED, "quiet"))
    ]
    return table(["command", "option", "environment", "meaning"], rows)


def shared_options() -> str:
    """Return the options of `clock show`, which has only shared options."""
    command = next(command for name, _, command in commands() if name == "mockserver clock show")
    return table(["option", "environment", "meaning"], option_rows(command, ()))


def exit_codes() -> str:
    return table(["exit code", "meaning"], options.EXIT_CODES.items())


def settings() -> str:
    rows = [
        (code(flag(each.name)), code(environment_name(each.name)), code(each.metadata["shown"]), each.metadata["help"])
        for each in fields(Settings)
    ]
    for name in ("quiet", "json"):
        help = next(
            each.help for each in cli.serve.params if isinstance(each, click.Option) and flag(name) in each.opts
        )
        rows.append((code(flag(name)), code(environment_name(name)), "", str(help)))
    return table(["flag", "environment", "default", "meaning"], rows)


# Behavior


def switches() -> str:
    rows = [
        (
            code(each.name),
            each.meaning,
            each.takes,
            *(profiles.worded(getattr(profile, each.name)) for profile in profiles.PROFILES.values()),
            each.evidence,
        )
        for each in profiles.SWITCHES.values()
    ]
    return table(["switch", "what it does", "values", *map(code, profiles.PROFILES), "evidence of the live API"], rows)


def warnings() -> str:
    rows = [(code(name), each.live, code(each.switch)) for name, each in profiles.WARNINGS.items()]
    return table(["warning", "text", "switch"], rows)


def error_rows(catalogue: dict[str, errors.ErrorType]) -> str:
    rows = [(code(name), row.status, row.message, code(row.code or ""), row.grade) for name, row in catalogue.items()]
    return table(["error", "status", "message", "code", "grade"], rows)


def control_error_rows() -> str:
    types = [row for row in vars(control_errors).values() if isinstance(row, errors.ErrorType)]
    rows = sorted((code(row.code), row.status, row.message) for row in types)
    return table(["code", "status", "message"], rows)


def findings() -> str:
    rows = []
    for name, rule in verdict.FINDINGS.items():
        proof, innocent = (inspect.getdoc(rule) or "").split("Innocent: ")
        rows.append((code(name), proof, innocent))
    return table(["finding", "proof", "not a finding"], rows)


def model_fields(model: type[BaseModel], heading: str) -> str:
    rows = [(code(name), key["description"]) for name, key in model.model_json_schema()["properties"].items()]
    return table([heading, "meaning"], rows)


# Routes


def control_routes() -> str:
    with closing(Mock(Settings())) as mock:
        paths = create_control(mock).openapi()["paths"]
    rows = [
        (code(f"{method.upper()} {path}"), first_line(operation["description"]))
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    return table(["control route", "what it does"], rows)


def api_routes() -> str:
    with closing(Mock(Settings())) as mock:
        paths = create_app(mock).openapi()["paths"]
    rows = [
        (code(f"{method.upper()} {path}"), code(operation["operationId"]))
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    return table(["route", "operation"], rows)


# Seeds


_seed_schema = cache(seed_schema)


def seed_keys(name: str) -> str:
    """Return the keys of a part of a seed, except those that only exports write."""
    schema = _seed_schema()
    part = schema if name == "Document" else schema["$defs"][name]
    rows = [
        (code(key), ", ".join(_values(value)), _default(value.get("default")), value["description"])
        for key, value in part["properties"].items()
        if "Written by exports" not in value["description"]
    ]
    return table(["key", "value", "default", "meaning"], rows)


KINDS = {"object": "mapping", "array": "list", "string": "text", "boolean": "true or false"}


def _values(value: dict[str, Any]) -> list[str]:
    """Return the types or constants that a key accepts."""
    if "$ref" in value:
        return ["mapping"]
    if "anyOf" in value:
        kinds = {kind: None for each in value["anyOf"] for kind in _values(each)}
        return [kind for kind in kinds if kind != "null" and not (kind == "integer" and "number" in kinds)]
    if constants := value.get("enum", [value["const"]] if "const" in value else []):
        return [code(each) for each in constants]
    return [KINDS.get(value["type"], value["type"])]


def _default(value: Any) -> str:
    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if each is not None}
    return "" if value in (None, {}, []) else code(json.dumps(value))


# Python


def methods(owner: type) -> str:
    """Return the public properties and methods of a class, with the first paragraph of their docstrings."""
    rows = []
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            rows.append((code(name), first_line(value.__doc__)))
        elif inspect.isfunction(value):
            rows.append((code(f"{name}({_arguments(value)})"), first_line(value.__doc__)))
    return table(["name", "meaning"], rows)


def _arguments(function: Callable[..., Any]) -> str:
    shown = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        optional = "=…" if parameter.default is not parameter.empty else ""
        shown.append(f"{stars}{parameter.name}{optional}")
    return ", ".join(shown)


def pytest_marks() -> str:
    return table(["argument", "meaning"], [(code(name), help) for name, help in pytest_plugin.MARKS.items()])


def pytest_options() -> str:
    rows = [(code(name), help) for name, (_, help) in pytest_plugin.OPTIONS.items()]
    return table(["option", "meaning"], rows)


# Evidence and structure


def goldens() -> str:
    """Return the number of recorded exchanges that the tests replay, by file and grade."""
    rows: list[Sequence[object]] = []
    grades = get_args(errors.Grade)
    total: Counter[str] = Counter()
    for path in sorted((ROOT / "fixtures" / "contract").glob("*.yaml")):
        counts = Counter(each["grade"] for each in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader))
        total += counts
        rows.append((f"[`{path.name}`](../../fixtures/contract/{path.name})", counts.total(), *map(counts.get, grades)))
    rows.append(("total", total.total(), *map(total.get, grades)))
    return table(["file", "exchanges", *grades], [["" if cell is None else cell for cell in row] for row in rows])


def _recordings() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((ROOT / "fixtures" / "recordings").glob("*.yaml")):
        yield path, yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)


def recordings() -> str:
    """Return the recorded runs that the tests rebuild as scripts, by source."""
    rows = []
    for path, file in _recordings():
        turns = [turn for each in file["recordings"] for turn in each["turns"]]
        dates = sorted(each["date"][:7] for each in file["recordings"])
        streams = sum("events" in turn for turn in turns)
        source = file["recordings"][0]["source"].split()[0]
        name = f"[`{path.name}`](../../fixtures/recordings/{path.name})"
        rows.append((name, source, " to ".join(dict.fromkeys([dates[0], dates[-1]])), len(turns), streams))
    return table(["file", "source", "recorded", "responses", "streamed"], rows)


def differences() -> str:
    """Return the differences between the mock and recorded runs, with reasons."""
    sources_by_difference: dict[tuple[str, str], list[str]] = {}
    for path, file in _recordings():
        for difference, reason in file["differences"].items():
            sources_by_difference.setdefault((difference, reason), []).append(path.stem)
    kinds = {"added": "is sent", "missing": "is not sent", "value": "has another value", "order": "have another order"}
    rows = []
    for (difference, reason), sources in sorted(sources_by_difference.items()):
        where, _, kind = difference.partition(": ")
        what = "The keys of an event" if where == "event" else code(where.removeprefix("response."))
        rows.append((f"{what} {kinds[kind]}", reason, ", ".join(sources)))
    return table(["the mock", "reason", "recordings"], rows)


def layers() -> str:
    """Return the modules of the package by layer, as in test_house.py."""
    path = ROOT / "tests" / "test_house.py"
    match = re.search(r"^LAYERS.*?= (\{.*?^\})", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert match, f"{path.name} has no LAYERS"
    layers: dict[str, tuple[str, ...]] = literal_eval(match[1])
    package = ROOT / "mockserver"
    named = {name for modules in layers.values() for name in modules}
    others = {path.stem for path in package.glob("*.py")} - named - {"__init__"}
    rows = [
        (name, " ".join(code(f"{each}/" if (package / each).is_dir() else each) for each in modules or sorted(others)))
        for name, modules in layers.items()
    ]
    return table(["layer", "modules"], rows)


def dependencies() -> str:
    """Return the requirements of the package, with the comments of pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text("utf-8").split("\ndependencies = [\n")[1].split("\n]")[0]
    rows = re.findall(r'^ *"([\w-]+)([^;"]*)[^"]*", # (.*)$', project, re.MULTILINE)
    return table(["package", "versions", "used for"], [(code(name), code(range), why) for name, range, why in rows])


TABLES: dict[str, Callable[[], str]] = {
    "commands": command_table,
    "command-options": command_options,
    "shared-options": shared_options,
    "exit-codes": exit_codes,
    "settings": settings,
    "switches": switches,
    "warnings": warnings,
    "errors": lambda: error_rows(errors.CATALOGUE),
    "azure-errors": lambda: error_rows(errors.AZURE),
    "control-errors": control_error_rows,
    "findings": findings,
    "fault-rule": lambda: model_fields(faults.NewRule, "rule"),
    "fault-match": lambda: model_fields(faults.Match, "match"),
    "fault-effect": lambda: model_fields(faults.Effect, "effect"),
    "control-routes": control_routes,
    "api-routes": api_routes,
    "python-server": lambda: methods(testing.Server),
    "python-world": lambda: methods(testing.MockWorld),
    "python-clock": lambda: methods(testing.WorldClock),
    "python-faults": lambda: methods(testing.Faults),
    "python-answers": lambda: methods(testing.Answers),
    "python-journal": lambda: methods(testing.Journal),
    "python-snapshot": lambda: methods(testing.Snapshot),
    "pytest-marks": pytest_marks,
    "pytest-options": pytest_options,
    "goldens": goldens,
    "recordings": recordings,
    "differences": differences,
    "layers": layers,
    "dependencies": dependencies,
    "seed-document": lambda: seed_keys("Document"),
    "seed-file": lambda: seed_keys("File"),
    "seed-container": lambda: seed_keys("Container"),
    "seed-container-file": lambda: seed_keys("ContainerFile"),
    "seed-upload": lambda: seed_keys("Upload"),
    "seed-answer": lambda: seed_keys("Answer"),
    "seed-upload-part": lambda: seed_keys("UploadPart"),
    "seed-skill": lambda: seed_keys("Skill"),
    "seed-skill-version": lambda: seed_keys("SkillVersion"),
    "seed-skill-file": lambda: seed_keys("SkillFile"),
    "seed-container-skill": lambda: seed_keys("ContainerSkill"),
    "seed-expires-after": lambda: seed_keys("ExpiresAfter"),
    "seed-network-policy": lambda: seed_keys("NetworkPolicy"),
    "seed-clock": lambda: seed_keys("Clock"),
    "seed-generated": lambda: seed_keys("Generated"),
}


def update_tables(page: str) -> str:
    """Return the page with regenerated tables."""

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}{TABLES[match[1]]()}"

    return MARKER.sub(replace, page)


def generated_files() -> dict[Path, str]:
    """Return the expected content of all pages and of the schema."""
    pages = {path: update_tables(path.read_text("utf-8")) for path in sorted(DOCS.rglob("*.md"))}
    return pages | {SCHEMA: json.dumps(_seed_schema(), indent=2, ensure_ascii=False) + "\n"}


def main() -> None:
    files = generated_files()
    stale = {path: text for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text}
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: python docs/generate.py [--check]")
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)}: {'out of date; run: python docs/generate.py' if check else 'written'}")
        if not check:
            path.write_text(text, "utf-8")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
