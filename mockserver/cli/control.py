"""The commands that are clients of the control plane: each sends a request and formats its response."""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import click

from mockserver.choices import valid_name
from mockserver.cli import output, reports
from mockserver.cli.answers import answer
from mockserver.cli.connection import ANY_WORLD, OPTIONAL_WORLD_ARGUMENT, WORLD_ARGUMENT, Target, command, sending
from mockserver.cli.options import (
    FAILED,
    Parsed,
    complete,
    complete_profile,
    die,
    operations,
    warn,
)
from mockserver.client import path_to, query, save


def _world(target: Target) -> Callable[[Any], Iterable[str]]:
    return functools.partial(output.world, target.control.url)


commands = click.Group()
"""Those of this module and of the answers, in the order of the help."""


# Worlds


@commands.group()
def world() -> None:
    """Manage worlds: isolated sets of objects, each with its own clock."""


@command(world, "list", where=None)
def list_worlds(target: Target) -> None:
    """List the worlds, with counts of their objects."""
    target.show(target.server("GET", "worlds"), output.worlds)


@command(world, "show", where=OPTIONAL_WORLD_ARGUMENT)
def show_world(target: Target) -> None:
    """Show a world: its base URL and API key, counts of its objects, clock and profile."""
    target.show(target("GET"), _world(target))


@command(world, "create", where=WORLD_ARGUMENT)
@click.option("--empty", is_flag=True, help="Create it without the objects of the seeds.")
@click.option("--fork-of", metavar="WORLD", help="World to copy.")
@click.option("--snapshot", metavar="NAME", help="Snapshot of that world to copy.")
def create_world(target: Target, empty: bool, fork_of: str | None, snapshot: str | None) -> None:
    """Create a world: from the seeds, empty, or as a copy of another world."""
    if (snapshot and not fork_of) or (empty and fork_of):
        raise click.UsageError("--snapshot needs --fork-of, and --empty excludes both")
    body = {"empty": empty, "fork_of": fork_of, "snapshot": snapshot}
    target.show(target("POST", body=body), _world(target))


@command(world, "delete", where=WORLD_ARGUMENT)
def delete_world(target: Target) -> None:
    """Delete a world with its snapshots; its next use creates a new one."""
    target.show(target("DELETE"), output.deleted)


@command(world, "profile")
@click.argument("profile", required=False, shell_complete=complete_profile)
def profile_world(target: Target, profile: str | None) -> None:
    """Set the profile of a world, as live or live,delete_lag=5m; without one, use the server's."""
    target.show(target("PUT", "profile", {"name": profile}), _world(target))


@command(world, "retire", where=None)
@click.option("--idle", required=True, metavar="DURATION", help="Least time since the last use: 90m, 1h.")
def retire_worlds(target: Target, idle: str) -> None:
    """Delete all worlds that were not used for a duration, except default."""
    target.show(target.server("POST", "all-worlds/retire", {"idle": idle}), output.deleted)


# The clock


_MAY_BE_NEGATIVE = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@commands.group()
def clock() -> None:
    """Show and move the clock of a world."""


@command(clock, "show")
def show_clock(target: Target) -> None:
    """Show a world's time."""
    target.show(target("GET", "clock"), output.clock)


@command(clock, "freeze", context_settings=_MAY_BE_NEGATIVE)
@click.argument("at", required=False)
def freeze_clock(target: Target, at: str | None) -> None:
    """Stop the clock at its current time, or at an instant such as 2026-01-31T12:00:00Z."""
    instant: str | float | None = at
    with suppress(ValueError):
        instant = float(at or "")
    target.show(target("POST", "clock/freeze", {} if at is None else {"at": instant}), output.clock)


@command(clock, "advance", context_settings=_MAY_BE_NEGATIVE)
@click.argument("by")
def advance_clock(target: Target, by: str) -> None:
    """Move the clock forward by a duration: 20m, 1h30m, PT20M or seconds."""
    target.show(target("POST", "clock/advance", {"by": by}), output.clock)


@command(clock, "offset", context_settings=_MAY_BE_NEGATIVE)
@click.argument("by")
def offset_clock(target: Target, by: str) -> None:
    """Run ahead of the machine's clock by a duration, or behind it: -1h."""
    target.show(target("POST", "clock/offset", {"by": by}), output.clock)


@command(clock, "scale", context_settings=_MAY_BE_NEGATIVE)
@click.argument("rate", type=float)
def scale_clock(target: Target, rate: float) -> None:
    """Continue from the current time at another rate: 60 is a minute each second."""
    target.show(target("POST", "clock/scale", {"rate": rate}), output.clock)


@command(clock, "resume")
def resume_clock(target: Target) -> None:
    """Continue from the current time at the machine's rate."""
    target.show(target("POST", "clock/resume"), output.clock)


@command(clock, "reset")
def reset_clock(target: Target) -> None:
    """Return to the machine's time."""
    target.show(target("POST", "clock/reset"), output.clock)


# Faults


@commands.group()
def fault() -> None:
    """Manage fault rules: which requests fail, how, and how often."""


_ID = click.argument("id", type=Parsed(valid_name))


@command(fault, "list")
def list_faults(target: Target) -> None:
    """List the rules in the order in which they are tried, with how often they matched and fired."""
    target.show(target("GET", "faults"), output.faults)


@command(fault, "show")
@_ID
def show_fault(target: Target, id: str) -> None:
    """Show one rule; with --json all of it."""
    target.show(target("GET", path_to("faults", id)), output.faults)


class _AddFault(click.Command):
    """Loads the models of faults when its options are needed: other commands start faster without them."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from mockserver.cli.fault_options import options

        return [*options(), *super().get_params(ctx)]


@command(fault, "add", cls=_AddFault)
def add_fault(target: Target, effect: dict[str, Any], **given: Any) -> None:
    """Add a rule: which requests it matches, how often it fires, and its effect.

    \b
      mockserver fault add --error rate_limited --retry-after 1 --times 2
      mockserver fault add --operation RetrieveContainerFileContent --truncate-after 1000
    """
    from mockserver.schema.faults import Match, NewRule

    given = {name: value for name, value in given.items() if value is not None and value != {}}
    match = {name: given.pop(name) for name in Match.model_fields if name in given}
    bounds = {name: given.pop(name) for name in NewRule.model_fields if name in given}
    if not effect | given:
        raise click.UsageError("give an effect: --error NAME, --latency DURATION, --drop, …")
    target.show(target("POST", "faults", {**bounds, "match": match, "effect": effect | given}), output.faults)


@command(fault, "switch")
@_ID
@click.argument("to", metavar="on/off", type=click.Choice(["on", "off"]))
def switch_fault(target: Target, id: str, to: str) -> None:
    """Enable or disable a rule; it keeps its place and its counts."""
    target.show(target("PATCH", path_to("faults", id), {"enabled": to == "on"}), output.faults)


@command(fault, "remove")
@_ID
def remove_fault(target: Target, id: str) -> None:
    """Remove a rule."""
    target.show(target("DELETE", path_to("faults", id)), output.faults)


@command(fault, "clear")
def clear_faults(target: Target) -> None:
    """Remove all rules of a world."""
    target.show(target("DELETE", "faults"), output.faults)


commands.add_command(answer)


# The journal


@commands.group()
def journal() -> None:
    """Show recorded requests and responses."""


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, metavar, kind, help in (
        ("--after", "NUMBER", int, "Only exchanges after this number."),
        ("--text", "TEXT", str, "A text in path, query, headers, bodies or ids."),
        ("--warning", "CODES", str, "Codes of warnings, or patterns: '*' is any."),
        ("--status", "STATUS", str, "Statuses: 404, 4xx, 400-409."),
        ("--method", "METHODS", str, "Methods: POST,DELETE."),
        ("--operation", "NAMES", str, "Operations: CreateContainer, Delete*."),
    ):
        names = complete(operations, several=True) if name == "--operation" else None
        command = click.option(name, metavar=metavar, type=kind, help=help, shell_complete=names)(command)
    failed = "Only errors, responses that were not completed, and requests without one."
    return click.option("--failed", is_flag=True, help=failed)(command)


@command(journal, "list")
@_filtered
@click.option("--last", type=int, metavar="N", help="The newest N; 20 unless --after or --limit is given.")
@click.option("--limit", type=int, metavar="N", help="The oldest N.")
@click.option("--before", type=int, metavar="NUMBER", help="Only exchanges before this number.")
def list_exchanges(target: Target, **wanted: Any) -> None:
    """List exchanges, the newest last."""
    if None not in (wanted["last"], wanted["limit"]):
        raise click.UsageError("give either --last or --limit: the newest or the oldest exchanges")
    if all(wanted[name] is None for name in ("last", "limit", "after")):
        wanted["last"] = 20
    lines = functools.partial(output.exchanges, newest=wanted["last"] is not None)
    target.show(target("GET", f"journal{query(**wanted)}"), lines)


@command(journal, "show", context_settings=_MAY_BE_NEGATIVE)
@click.argument("number", type=int)
def show_exchange(target: Target, number: int) -> None:
    """Show an exchange with its headers and bodies."""
    target.show(target("GET", f"journal/{number}"), output.exchange)


@command(journal, "count")
@_filtered
def count_exchanges(target: Target, **wanted: Any) -> None:
    """Count exchanges."""
    target.show(target("GET", f"journal/count{query(**wanted)}"), lambda response: [str(response["count"])])


def _say_if_new(target: Target) -> None:
    """Say that the world does not exist yet: a reader may come before its first request, or have mistyped the name."""
    if not target.server("GET", f"worlds{query(name=target.world)}")["total"]:
        warn(f"there is no world {target.world!r} yet; waiting for its first request")


@command(journal, "wait")
@_filtered
@click.option("--count", type=int, default=1, show_default=True, metavar="N", help="Number of exchanges to wait for.")
@click.option("--timeout", default="10s", show_default=True, metavar="DURATION", help="How long to wait at most.")
def wait_for_exchanges(target: Target, **wanted: Any) -> None:
    """Wait for exchanges; exit with 1 if there are too few in time."""
    _say_if_new(target)
    target.show(target("GET", f"journal/wait{query(**wanted)}", timeout=None), output.exchanges)


@command(journal, "follow")
@_filtered
def follow_exchanges(target: Target, **wanted: Any) -> None:
    """Print exchanges as they are recorded, until interrupted; with --json one on each line."""
    _say_if_new(target)
    with suppress(KeyboardInterrupt):
        for event, data in target.control.events(target.path(f"journal/stream{query(**wanted)}")):
            if event == "dropped":
                warn(f"{data['dropped']} exchanges came too fast to be kept")
            elif event == "exchange":
                line = json.dumps(data, ensure_ascii=False) if target.as_json else output.exchange_line(data)
                print(line, flush=True)


@command(journal, "clear")
def clear_journal(target: Target) -> None:
    """Clear the journal of a world."""
    target.show(target("DELETE", "journal"), lambda response: [f"deleted: {response['count']}"])


# Snapshots, archives, reset


@commands.group()
def snapshot() -> None:
    """Take and restore snapshots of a world."""


_NAME = click.argument("name", type=Parsed(valid_name))


@command(snapshot, "list")
def list_snapshots(target: Target) -> None:
    """List a world's snapshots."""
    target.show(target("GET", "snapshots"), output.snapshots)


@command(snapshot, "take")
@_NAME
def take_snapshot(target: Target, name: str) -> None:
    """Take a snapshot of a world."""
    target.show(target("PUT", path_to("snapshots", name)), output.snapshots)


@command(snapshot, "restore")
@_NAME
def restore_snapshot(target: Target, name: str) -> None:
    """Restore a snapshot atomically, with its clock."""
    target.show(target("POST", path_to("snapshots", name, "restore"), timeout=None), output.restored)


@command(snapshot, "delete")
@_NAME
def delete_snapshot(target: Target, name: str) -> None:
    """Delete a snapshot."""
    target.show(target("DELETE", path_to("snapshots", name)), output.snapshots)


@command(commands, "export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
def export_world(target: Target, file: str) -> None:
    """Write a world to an archive for `serve --seed` and `import`; - is the standard output."""

    def write(into: IO[bytes]) -> int:
        return int(target("GET", "export", into=into, timeout=None))

    if file == "-":
        write(sys.stdout.buffer)
        return
    try:
        size = save(file, write)
    except OSError as error:
        die(f"{file} can't be written ({error.strerror}); name another file", FAILED)
    target.show({"file": file, "bytes": size}, lambda done: [f"{done['file']}: {done['bytes']} bytes"])


@command(commands, "import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--add", is_flag=True, help="Add to the world's objects instead of replacing them.")
def import_world(target: Target, file: str, add: bool) -> None:
    """Replace a world's contents with those of an archive, or a seed file without other files; - is the standard input."""
    path = "import?replace=false" if add else "import"
    with click.open_file(file, "rb") as source, sending("the standard input" if file == "-" else file):
        imported = target("POST", path, content=("application/octet-stream", source), timeout=None)
    target.show(imported, _world(target))


@command(commands, "reset")
@click.option("--empty", is_flag=True, help="Reset it to nothing, without the objects of the seeds.")
def reset(target: Target, empty: bool) -> None:
    """Reset a world to the state of the seeds."""
    target.show(target("POST", f"reset{query(empty=empty)}", timeout=None), _world(target))


# The verdict


@command(commands, "verdict", where=ANY_WORLD)
@reports.options
def verdict(target: Target, ignore: Sequence[str], junit: Path | None, github: bool) -> None:
    """Report mistakes of clients in all worlds, or in one; exit with 1 if there are any."""
    found = reports.verdicts(target.control, ignore, [target.world] if target.world else [])
    ok = all(each["ok"] for each in found.values())
    if target.world:
        target.show(found[target.world], functools.partial(output.verdict, target.world))
    else:
        target.show({"ok": ok, "worlds": found}, output.verdicts)
    reports.write(found, ignore, junit, github, sys.stderr if target.as_json else None)
    if not ok:
        sys.exit(FAILED)
