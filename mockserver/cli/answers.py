"""The commands of answers: what `/responses` does, and for which requests."""

import base64
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from mockserver import errors
from mockserver.choices import valid_name
from mockserver.cli.connection import Target, command, sending
from mockserver.cli.options import Parsed, complete, complete_file
from mockserver.cli.output import items_of, table, words
from mockserver.client import path_to
from mockserver.testing.documents import with_contents

_ID = click.argument("id", type=Parsed(valid_name))
_OWN = {"id", "when", "skip", "times", "seeded", "matched", "used"}
_READABLE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.group()
def answer() -> None:
    """Manage answers: scripts of what /responses does, and for which requests."""


def _lines(response: Any) -> Iterable[str]:
    return table(
        ["ANSWER", "FROM", "MATCHED", "USED", "HOW OFTEN", "WHEN", "WHAT"],
        map(_row, items_of(response)),
        "There are no answers.",
    )


def _row(rule: dict[str, Any]) -> tuple[Any, ...]:
    often = words({name: rule.get(name) for name in ("times", "skip")}) or "always"
    what = {name: value for name, value in rule.items() if name not in _OWN}
    if steps := what.pop("steps", None):
        what["steps"] = len(steps)
    if files := what.pop("files", None):
        what["files"] = " ".join(file["path"] for file in files)
    source = "seed" if rule["seeded"] else "world"
    when = words(rule.get("when", {})) or "every request"
    return rule["id"], source, rule["matched"], rule["used"], often, when, words(what)[:100]


@command(answer, "list")
def list_answers(target: Target) -> None:
    """List the answers in the order in which they are tried, with how often they matched and were used."""
    target.show(target("GET", "answers"), _lines)


@command(answer, "show")
@_ID
def show_answer(target: Target, id: str) -> None:
    """Show one answer; with --json all of it."""
    target.show(target("GET", path_to("answers", id)), _lines)


@command(answer, "add")
@click.argument("script", required=False, type=_READABLE)
@click.option("--when", metavar="TEXT", help="Part of the last user message, or /regular expression/.")
@click.option("--turn", type=click.IntRange(1), help="Turn of the conversation.")
@click.option("--say", metavar="TEXT", help="What the assistant says; {links} are links to the files it wrote.")
@click.option("--code", metavar="TEXT", help="Code that the call shows. It is not run.")
@click.option("--logs", metavar="TEXT", help="What the code prints.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="[PATH=]FILE",
    shell_complete=complete_file,
    help="Local file whose content the run writes below /mnt/data.",
)
@click.option("--takes", metavar="DURATION", help="Time that the call takes, by the world's clock.")
@click.option(
    "--fail",
    metavar="ERROR",
    shell_complete=complete(lambda: errors.CATALOGUE),
    help="Error to return before anything happens, instead of a response.",
)
@click.option("--times", type=click.IntRange(1), help="How often to use it; by default always.")
@click.option("--skip", type=click.IntRange(0), help="How many matching requests to pass first.")
@click.option("--id", type=Parsed(valid_name), help="Name of the answer.")
def add_answer(target: Target, script: Path | None, files: tuple[str, ...], **given: Any) -> None:
    """Add an answer from options, or one or more from a file in YAML or JSON.

    \b
      mockserver answer add --when "quarterly report" --file report.csv --say "Done: {links}"
      mockserver answer add answers.yaml
    """
    rule = {name: value for name, value in given.items() if value is not None}
    if files:
        rule["files"] = [_file(each) for each in files]
    if script and rule:
        raise click.UsageError("give either a file or options")
    if not script and not rule:
        raise click.UsageError("give a file, or what the run does: --say TEXT, --file FILE, --fail ERROR, …")
    if turn := rule.pop("turn", None):
        rule["when"] = {"turn": turn} | ({"text": rule["when"]} if "when" in rule else {})
    with sending(script) if script else nullcontext():
        added = target("POST", "answers", _read(script) if script else rule)
    target.show(added, _lines)


@command(answer, "remove")
@_ID
def remove_answer(target: Target, id: str) -> None:
    """Remove an answer."""
    target.show(target("DELETE", path_to("answers", id)), _lines)


@command(answer, "clear")
def clear_answers(target: Target) -> None:
    """Remove all answers of a world, those of its seed included."""
    target.show(target("DELETE", "answers"), _lines)


def _file(text: str) -> dict[str, str]:
    path, equals, source = text.partition("=")
    file = Path(source if equals else text)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}; name a local file with the content") from None
    return {"path": path if equals else file.name, "base64": base64.b64encode(content).decode()}


def _read(path: Path) -> Any:
    """Read answers from a file: a rule, a list of them, or a mapping with the key `answers`, as in a seed."""
    from mockserver.seeds.document import Source
    from mockserver.settings import SeedError

    try:
        values = Source(path).values
    except SeedError as error:
        raise click.UsageError(str(error)) from None
    if isinstance(values, dict) and "answers" in values:
        values = values["answers"]
    if values is None or values == []:
        raise click.UsageError(f"{path}: it has no answers; write a rule, or a list of rules")
    try:
        return with_contents("answers", values, path.parent)
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None
