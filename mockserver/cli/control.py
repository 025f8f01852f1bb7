"""The control plane from the command line: each command is one request, and its answer for people to read.

With --json it is the control plane's own answer.
"""

import functools
import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import click

from mockserver import errors
from mockserver.cli.options import (
    FAILED,
    Parsed,
    complete,
    complete_profile,
    die,
    findings,
    from_environment,
    operations,
    valid_name,
)
from mockserver.clock import Wall
from mockserver.settings import environment_name, key, port

if TYPE_CHECKING:
    from http.client import HTTPResponse

ANSWER_SECONDS = 60.0
"""How long a usual answer may take; those that move contents or wait may take any time."""

REMEDIES = {
    "world_not_found": "Its first use makes it; those there are: mockserver world list",
    "snapshot_not_found": "Those there are: mockserver snapshot list",
    "fault_not_found": "Those there are: mockserver fault list",
    "wrong_token": "Here: --token, or MOCKSERVER_CONTROL_TOKEN.",
}
"""What to do about a refusal, by its code, where its message doesn't say it in terms of commands."""

Query = Mapping[str, object]


@dataclass(frozen=True)
class Server:
    """The control plane of a server, and the world that is meant."""

    url: str
    token: str | None = None
    world: str = "default"
    as_json: bool = False

    def here(self, *steps: str) -> str:
        """A path of the world's."""
        for name in (self.world, *steps):
            try:
                valid_name(name)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
        return "/".join(["/_mock/worlds", *(quote(step, safe="") for step in (self.world, *steps))])

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = ANSWER_SECONDS,
    ) -> Iterator["HTTPResponse"]:
        """A request and its answer, not yet read. Ends the program where there is none, or a refusal."""
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        given = {name: value for name, value in (query or {}).items() if value is not None}
        path += f"?{urlencode(given, doseq=True)}" if given else ""
        parts = urlsplit(self.url)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers = {**authorization, **(headers or {})}
        with closing(make(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)) as connection:
            try:
                connection.connect()
                if connection.sock:
                    connection.sock.settimeout(seconds)
                with suppress(
                    BrokenPipeError, ConnectionResetError
                ):  # refused before all was sent: the answer says why
                    connection.request(method, path, body, headers)
                answer = connection.getresponse()
            except TimeoutError:
                die(
                    f"{self.url} gave no answer within {seconds:g} seconds; is it the right one? name another with --url",
                    FAILED,
                )
            except (OSError, HTTPException) as error:
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                die(f"no server answers at {self.url} ({why}); start one with: mockserver serve", FAILED)
            with answer:
                if answer.status != 200:
                    self._refused(answer.status, answer.read())
                yield answer

    def ask(self, method: str, path: str, query: Query | None = None, asked: object = None, **options: Any) -> Any:
        """The answer's JSON, to a request with JSON or without a body."""
        body = None if asked is None else json.dumps(asked).encode()
        headers = {"Content-Type": "application/json"} if body else {}
        with self.exchange(method, path, query, body, headers, **options) as answer:
            return self.read(answer)

    def read(self, answer: "HTTPResponse") -> Any:
        try:
            return json.loads(answer.read())
        except ValueError:
            self._stranger(answer.status)

    def _refused(self, status: int, body: bytes) -> None:
        try:
            error = json.loads(body)["error"]
            message, code = error["message"], error["code"]
        except (ValueError, TypeError, KeyError):
            self._stranger(status)
        die(f"{message} {REMEDIES.get(code, '')}".strip(), FAILED)

    def _stranger(self, status: int) -> Any:
        die(f"what answers at {self.url} is no mockserver (status {status}); name another with --url", FAILED)

    def tell(self, answer: Any, told: Callable[[Any], Iterable[str]]) -> None:
        """Print an answer: as it is, or as `told` says it."""
        say([json.dumps(answer, indent=2, ensure_ascii=False)] if self.as_json else told(answer))


def say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


# What people read


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Columns under headings, numbers to the right; on a terminal the last column ends where it does."""
    cells = [[plain(cell) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    numeric = [all(row[at].lstrip("-").replace(".", "", 1).isdigit() for row in cells) for at in range(len(headings))]
    cells.insert(0, list(headings))
    widths = [max(width(row[at]) for row in cells) for at in range(len(headings))]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in cells:
        padded = [
            " " * (size - width(cell)) + cell if right else cell + " " * (size - width(cell))
            for cell, size, right in zip(row, widths, numeric, strict=True)
        ]
        yield cut("  ".join(padded).rstrip(), room)


def plain(value: object) -> str:
    """One line of a terminal: a name can't move its cursor. None is empty."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def width(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def cut(text: str, room: int | None) -> str:
    if room is None or width(text) <= room:
        return text
    while text and width(text) > room - 1:
        text = text[:-1]
    return text + "…"


def pairs(rows: Iterable[tuple[str, object]]) -> Iterator[str]:
    """A name and its value a line, without those that have none."""
    shown = [(name, plain(value)) for name, value in rows if value not in (None, "", [])]
    size = max((len(name) for name, _ in shown), default=0)
    return (f"{name:{size}}  {value}" for name, value in shown)


def instant(seconds: float | None) -> str:
    """`2026-06-24 18:04:00Z`"""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a clock can be set past the last year of calendars
        return f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """`45s`, `19m 20s`, `3h 5m`, `12d 4h`"""
    whole = int(abs(seconds))
    sizes = [("d", whole // 86400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60)]
    first = next((at for at, (_, count) in enumerate(sizes) if count), 3)
    shown = [f"{count}{unit}" for unit, count in sizes[first : first + 2] if count or unit == sizes[first][0]]
    return ("-" if seconds < 0 and whole else "") + " ".join(shown)


def ago(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(max(Wall().now() - seconds, 0))} ago"


def clock_words(clock: Mapping[str, Any]) -> str:
    rate = f" x{clock['rate']:g}" if clock["mode"] == "scaled" else ""
    return f"{clock['mode']}{rate} {instant(clock['now'])}"


def words(given: Mapping[str, Any]) -> str:
    """`error=rate_limited retry_after=2`"""
    said = {name: value for name, value in given.items() if value is not None and value != {}}
    return " ".join(name if value is True else f"{name}={_word(value)}" for name, value in said.items())


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# Options that the commands share


def _default_url() -> str:
    variable = environment_name("port")
    try:
        number = port(from_environment(variable) or "8080")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=variable) from None
    if not number:
        raise click.BadParameter("no server can be reached at port 0; name its address with --url", param_hint=variable)
    return f"http://localhost:{number}"


def _checked_url(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise click.BadParameter(f"{value!r} is not a server's address; write http://localhost:8080, without a path")
    return f"{parts.scheme}://{parts.netloc}"


def on_server(world: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the server that its options name; `world` where it acts on one."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(url: str, token: str | None, as_json: bool, world: str = "default", **given: Any) -> None:
            function(Server(url, token, world, as_json), **given)

        command = click.option("--json", "as_json", is_flag=True, help="Print the control plane's own answer.")(command)
        command = click.option(
            "--token",
            envvar="MOCKSERVER_CONTROL_TOKEN",
            show_envvar=True,
            type=Parsed(key),
            help="What the server's --control-token is.",
        )(command)
        command = click.option(
            "--url",
            envvar="MOCKSERVER_URL",
            show_envvar=True,
            default=_default_url,
            show_default="localhost, MOCKSERVER_PORT or 8080",
            callback=_checked_url,
            help="Address of the server.",
        )(command)
        if world:
            command = click.option(
                "--world",
                envvar="MOCKSERVER_WORLD",
                show_envvar=True,
                default="default",
                show_default=True,
                type=Parsed(valid_name),
                help="World to act on.",
            )(command)
        return command

    return decorate


_NAMED_WORLD = click.argument("name", envvar="MOCKSERVER_WORLD", default="default", type=Parsed(valid_name))


# Worlds


@click.group()
def world() -> None:
    """Universes of objects, each with its own clock."""


@world.command("list")
@on_server(world=False)
def list_worlds(server: Server) -> None:
    """List the worlds, with what they hold."""
    headings = ["WORLD", "FILES", "CONTAINERS", "IN THEM", "FAULTS", "SNAPSHOTS", "USED", "CLOCK"]
    server.tell(
        server.ask("GET", "/_mock/worlds"),
        lambda answer: table(
            headings,
            [
                (
                    each["name"],
                    *(each["counts"][kind] for kind in ("files", "containers", "container_files")),
                    each["faults"],
                    len(each["snapshots"]),
                    ago(each["used_at"]),
                    clock_words(each["clock"]),
                )
                for each in answer["data"]
            ],
            "There are no worlds yet; the first request to one makes it.",
        ),
    )


@world.command("show")
@_NAMED_WORLD
@on_server(world=False)
def show_world(server: Server, name: str) -> None:
    """Show a world: how clients reach it, what it holds."""
    server.tell(server.ask("GET", _of(server, name)), functools.partial(_told_world, server))


@world.command("create")
@click.argument("name")
@click.option("--empty", is_flag=True, help="Without what the seeds describe.")
@click.option("--fork-of", metavar="WORLD", help="As a copy of this world.")
@click.option("--snapshot", metavar="NAME", help="As that world was in this snapshot.")
@on_server(world=False)
def create_world(server: Server, name: str, empty: bool, fork_of: str | None, snapshot: str | None) -> None:
    """Make a world: from the seeds, empty, or as a fork of another."""
    if (snapshot and not fork_of) or (empty and fork_of):
        raise click.UsageError("--snapshot is one of --fork-of's, which isn't --empty")
    asked = {"empty": empty, "fork_of": fork_of, "snapshot": snapshot}
    server.tell(server.ask("POST", _of(server, name), asked=asked), functools.partial(_told_world, server))


@world.command("delete")
@click.argument("name")
@on_server(world=False)
def delete_world(server: Server, name: str) -> None:
    """Delete a world with its snapshots; its next use makes it anew."""
    server.tell(server.ask("DELETE", _of(server, name)), _deleted)


@world.command("profile")
@click.argument("profile", required=False, shell_complete=complete_profile)
@on_server()
def profile_world(server: Server, profile: str | None) -> None:
    """Give a world a profile of its own, as live or live,delete_lag=5m, or without one the server's."""
    answer = server.ask("PUT", server.here("profile"), asked={"name": profile})
    server.tell(answer, functools.partial(_told_world, server))


@world.command("retire")
@click.option("--idle", required=True, metavar="DURATION", help="Unused for so long, as 90m or 1h.")
@on_server(world=False)
def retire_worlds(server: Server, idle: str) -> None:
    """Delete all worlds that were not used for so long; default stays."""
    server.tell(server.ask("POST", "/_mock/all-worlds/retire", asked={"idle": idle}), _deleted)


def _of(server: Server, name: str) -> str:
    return Server(server.url, world=name).here()


def _deleted(answer: Any) -> Iterator[str]:
    yield "deleted: " + (some(answer["worlds"]) or "none")


def _told_world(server: Server, answer: Any) -> Iterator[str]:
    counts = answer["counts"]
    return pairs(
        [
            ("world", answer["name"]),
            ("base URL", server.url + answer["base_url"]),
            ("API key", answer["api_key"]),
            ("Files", counts["files"]),
            ("containers", f"{counts['containers']} with {counts['container_files']} files"),
            ("clock", clock_words(answer["clock"])),
            ("used", ago(answer["used_at"]) or "not yet"),
            ("profile", answer["profile_name"]),
            ("faults", answer["faults"]),
            ("snapshots", ", ".join(answer["snapshots"])),
        ]
    )


# The clock


@click.group()
def clock() -> None:
    """A world's time: hold it, move it."""


@clock.command("show")
@on_server()
def show_clock(server: Server) -> None:
    """Show the world's time."""
    server.tell(server.ask("GET", server.here("clock")), _told_clock)


@clock.command("freeze")
@click.argument("at", required=False)
@on_server()
def freeze_clock(server: Server, at: str | None) -> None:
    """Hold it still where it is, or at an instant, as 2026-01-31T12:00:00Z."""
    asked: dict[str, object] = {}
    if at is not None:
        with suppress(ValueError):
            asked = {"at": float(at)}
        asked = asked or {"at": at}
    _change_clock(server, "freeze", asked)


_MAY_BE_NEGATIVE = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@clock.command("advance")
@click.argument("by")
@on_server()
def advance_clock(server: Server, by: str) -> None:
    """Move it on by a duration: 20m, 1h30m, PT20M or seconds."""
    _change_clock(server, "advance", {"by": by})


@clock.command("offset", context_settings=_MAY_BE_NEGATIVE)
@click.argument("by")
@on_server()
def offset_clock(server: Server, by: str) -> None:
    """Run so far ahead of the machine's clock, or with -1h behind it."""
    _change_clock(server, "offset", {"by": by})


@clock.command("scale")
@click.argument("rate", type=float)
@on_server()
def scale_clock(server: Server, rate: float) -> None:
    """Go on at another rate: 60 is a minute a second."""
    _change_clock(server, "scale", {"rate": rate})


@clock.command("resume")
@on_server()
def resume_clock(server: Server) -> None:
    """Go on from here at the machine's rate."""
    _change_clock(server, "resume")


@clock.command("reset")
@on_server()
def reset_clock(server: Server) -> None:
    """Show the machine's time again."""
    _change_clock(server, "reset")


def _change_clock(server: Server, how: str, asked: object = None) -> None:
    server.tell(server.ask("POST", server.here("clock", how), asked=asked), _told_clock)


def _told_clock(answer: Any) -> Iterator[str]:
    changes = [
        (f"{change} {kind}", some(answer[f"{change}_{key}"]) if f"{change}_{key}" in answer else None)
        for change in ("expired", "revived")
        for key, kind in (("containers", "containers"), ("files", "Files"))
    ]
    return pairs([("clock", clock_words(answer)), *changes])


# Snapshots and state


@click.group()
def snapshot() -> None:
    """A world as it was, to go back to."""


@snapshot.command("list")
@on_server()
def list_snapshots(server: Server) -> None:
    """List a world's snapshots."""
    server.tell(server.ask("GET", server.here("snapshots")), _told_snapshots)


@snapshot.command("take")
@click.argument("name")
@on_server()
def take_snapshot(server: Server, name: str) -> None:
    """Keep the world as it is, under a name."""
    answer = server.ask("PUT", server.here("snapshots", name))
    server.tell(answer, lambda taken: _told_snapshots({"data": [taken]}))


@snapshot.command("restore")
@click.argument("name")
@on_server()
def restore_snapshot(server: Server, name: str) -> None:
    """Go back to a snapshot, its clock included."""
    answer = server.ask("POST", server.here("snapshots", name, "restore"), seconds=None)
    server.tell(
        answer,
        lambda done: pairs(
            [("world", done["world"]), ("snapshot", done["snapshot"]), ("clock", clock_words(done["clock"]))]
        ),
    )


@snapshot.command("delete")
@click.argument("name")
@on_server()
def delete_snapshot(server: Server, name: str) -> None:
    """Forget a snapshot."""
    server.tell(server.ask("DELETE", server.here("snapshots", name)), _told_snapshots)


def _told_snapshots(answer: Any) -> Iterator[str]:
    rows = [(each["name"], each["world"], instant(each["instant"])) for each in answer["data"]]
    return table(["SNAPSHOT", "WORLD", "WORLD'S TIME"], rows, "There are no snapshots.")


@click.command()
@click.option("--empty", is_flag=True, help="To nothing, without what the seeds describe.")
@on_server()
def reset(server: Server, empty: bool) -> None:
    """Take a world back to what the seeds describe."""
    answer = server.ask("POST", server.here("reset"), {"empty": "true" if empty else None}, seconds=None)
    server.tell(answer, functools.partial(_told_world, server))


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@on_server()
def export_world(server: Server, file: str) -> None:
    """Write a world to an archive that `serve --seed` and `import` take; - is the standard output."""
    with server.exchange("GET", server.here("export"), seconds=None) as answer:
        if file == "-":
            _copy(server, answer, sys.stdout.buffer)
            return
        part = Path(f"{file}.part")
        try:
            with part.open("wb") as target:
                size = _copy(server, answer, target)
            part.replace(file)
        except OSError as error:
            die(f"{file} can't be written ({error.strerror}); name another file", FAILED)
        finally:
            part.unlink(missing_ok=True)
    server.tell({"file": file, "bytes": size}, lambda done: [f"{done['file']}: {done['bytes']} bytes"])


def _copy(server: Server, answer: "HTTPResponse", target: IO[bytes]) -> int:
    """Returns how many bytes there were."""
    from http.client import HTTPException

    size = 0
    while True:
        try:
            piece = answer.read(1 << 18)
        except (OSError, HTTPException):
            die(f"the answer of {server.url} broke off after {size} bytes; try again", FAILED)
        if not piece:
            return size
        target.write(piece)
        size += len(piece)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--add", is_flag=True, help="In addition to what the world holds, not in place of it.")
@on_server()
def import_world(server: Server, file: str, add: bool) -> None:
    """Make a world what an archive, or a seed file that names no other files, says; - is the standard input."""
    headers = {"Content-Type": "application/octet-stream"}
    if file != "-" and Path(file).is_file():
        headers["Content-Length"] = str(Path(file).stat().st_size)
    query = {"replace": "false" if add else None}
    with (
        click.open_file(file, "rb") as source,
        server.exchange("POST", server.here("import"), query, source, headers, seconds=None) as answer,
    ):
        server.tell(server.read(answer), functools.partial(_told_world, server))


# Faults


@click.group()
def fault() -> None:
    """What to break, where, and how many times."""


@fault.command("list")
@on_server()
def list_faults(server: Server) -> None:
    """List the rules in the order in which they are tried, with how often they matched and fired."""
    server.tell(server.ask("GET", server.here("faults")), lambda answer: _told_faults(answer["data"]))


def _header(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("write NAME=VALUE")
    return {name: value for name, _, value in pairs}


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


MATCHES = (
    click.option(
        "--operation",
        metavar="NAME",
        help="Operation id or a pattern of it: CreateContainer, List*.",
        shell_complete=complete(operations),
    ),
    click.option("--method", metavar="METHOD", help="GET, POST, DELETE."),
    click.option("--path", metavar="PATTERN", help="Path without world and /v1: /containers/*/files."),
    click.option("--container", metavar="ID", help="The container's id in the path."),
    click.option("--file", metavar="ID", help="The file's id in the path."),
    click.option("--header", metavar="NAME=PATTERN", multiple=True, callback=_header, help="Header of the request."),
)
BOUNDS = (
    click.option("--id", metavar="ID", help="Name of the rule; made up unless given."),
    click.option("--times", type=int, metavar="N", help="Fire so many times; always unless given."),
    click.option("--skip", type=int, metavar="N", help="Let so many matching requests pass first."),
    click.option("--probability", type=float, metavar="P", help="Fire with a probability of 0 to 1."),
    click.option("--lapse-after", metavar="DURATION", help="End so long from now, by the world's clock."),
    click.option("--off", "enabled", flag_value=False, type=bool, default=None, help="Switched off at first."),
)
EFFECTS = (
    click.option(
        "--error",
        metavar="NAME",
        help="Refuse with an error of the manual's list: rate_limited.",
        shell_complete=complete(lambda: errors.CATALOGUE),
    ),
    click.option("--status", type=int, metavar="STATUS", help="Answer with this status."),
    click.option("--body", metavar="BODY", callback=_json_or_text, help="Answer with this body, JSON or text."),
    click.option(
        "--answer-header",
        "headers",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_header,
        help="Header of the answer.",
    ),
    click.option("--retry-after", metavar="SECONDS", help="The answer's Retry-After."),
    click.option("--latency", metavar="DURATION", callback=_range, help="Wait first: 2s, or any time of 0.5s..2s."),
    click.option("--drop", flag_value="before_answer", help="Close the connection without an answer."),
    click.option("--reset-after", type=int, metavar="BYTES", help="Reset the connection within the answer's body."),
    click.option("--truncate-after", type=int, metavar="BYTES", help="Close the connection within the answer's body."),
    click.option("--dribble", type=int, metavar="BYTES", help="Send the body at so many bytes a second."),
    click.option("--abort-upload-after", type=int, metavar="BYTES", help="Reset the connection within an upload."),
    click.option("--rate-limit", metavar="N/DURATION", callback=_rate, help="Let so many pass in each window: 3/1m."),
    click.option("--stale-list", metavar="DURATION", help="List what was deleted so recently."),
    click.option("--has-more", is_flag=True, default=None, help="Say on every page that more follow."),
    click.option("--empty-page", is_flag=True, default=None, help="Give pages without data that say that more follow."),
    click.option("--effect", metavar="JSON", callback=_json_object, help="All of that as the control plane takes it."),
)


def _all_of(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(options), command)


@fault.command("add")
@_all_of(*MATCHES, *BOUNDS, *EFFECTS)
@on_server()
def add_fault(server: Server, effect: dict[str, Any], **given: Any) -> None:
    """Add a rule: which requests it is for, how often it fires, what it does.

    \b
      mockserver fault add --error rate_limited --retry-after 1 --times 2
      mockserver fault add --operation RetrieveContainerFileContent --truncate-after 1000
    """
    given = {name: value for name, value in given.items() if value is not None and value != {}}
    match = {name: given.pop(name) for name in _MATCH if name in given}
    bounds = {name: given.pop(name) for name in _BOUNDS if name in given}
    if not effect | given:
        raise click.UsageError("say what it does: --error NAME, --latency DURATION, --drop, …")
    rule = {**bounds, "match": match, "effect": effect | given}
    server.tell(server.ask("POST", server.here("faults"), asked=rule), lambda answer: _told_faults([answer]))


_MATCH = ("operation", "method", "path", "container", "file", "header")
_BOUNDS = ("id", "times", "skip", "probability", "lapse_after", "enabled")
_SHOWN_BOUNDS = ("times", "skip", "probability", "lapse_after")


@fault.command("switch")
@click.argument("id")
@click.argument("to", metavar="on/off", type=click.Choice(["on", "off"]))
@on_server()
def switch_fault(server: Server, id: str, to: str) -> None:
    """Switch a rule off or on; it keeps its place and its counts."""
    answer = server.ask("PATCH", server.here("faults", id), asked={"enabled": to == "on"})
    server.tell(answer, lambda answer: _told_faults([answer]))


@fault.command("remove")
@click.argument("id")
@on_server()
def remove_fault(server: Server, id: str) -> None:
    """Remove a rule."""
    server.tell(server.ask("DELETE", server.here("faults", id)), lambda answer: _told_faults(answer["data"]))


@fault.command("clear")
@on_server()
def clear_faults(server: Server) -> None:
    """Remove all rules of a world."""
    server.tell(server.ask("DELETE", server.here("faults")), lambda answer: _told_faults(answer["data"]))


def _told_faults(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        (
            rule["id"],
            rule["matched"],
            rule["fired"],
            words(
                {name: rule[name] for name in _SHOWN_BOUNDS if name in rule}
                | {"lapsed": rule.get("lapsed") or None, "off": not rule.get("enabled", True) or None}
            )
            or "always",
            words(rule.get("match", {})) or "every request",
            words(rule["effect"]),
        )
        for rule in rules
    ]
    return table(["FAULT", "MATCHED", "FIRED", "HOW OFTEN", "WHERE", "WHAT"], rows, "There are no faults.")


# The journal


@click.group()
def journal() -> None:
    """What was asked of a world, and what it answered."""


FILTERS = (
    click.option(
        "--operation",
        metavar="NAMES",
        help="Of these operations: CreateContainer, Delete*.",
        shell_complete=complete(operations),
    ),
    click.option("--method", metavar="METHODS", help="Of these methods: POST,DELETE."),
    click.option("--status", metavar="STATUS", help="With these: 404, 4xx, 400-409."),
    click.option("--text", metavar="TEXT", help="With this in path, query, headers, bodies or ids."),
    click.option("--after", type=int, metavar="NUMBER", help="Behind this one."),
)


@journal.command("list")
@_all_of(
    *FILTERS,
    click.option("--last", type=int, metavar="N", help="The newest so many; 20 unless --after or --limit is given."),
    click.option("--limit", type=int, metavar="N", help="The oldest so many."),
)
@on_server()
def list_exchanges(server: Server, **wanted: Any) -> None:
    """List exchanges, the newest last."""
    if all(wanted[name] is None for name in ("last", "limit", "after")):
        wanted["last"] = 20
    server.tell(server.ask("GET", server.here("journal"), wanted), _told_exchanges)


@journal.command("show")
@click.argument("number", type=int)
@on_server()
def show_exchange(server: Server, number: int) -> None:
    """Show an exchange with its headers and bodies."""
    server.tell(server.ask("GET", server.here("journal", str(number))), _told_exchange)


@journal.command("count")
@_all_of(*FILTERS)
@on_server()
def count_exchanges(server: Server, **wanted: Any) -> None:
    """Tell how many exchanges there are."""
    server.tell(server.ask("GET", server.here("journal", "count"), wanted), lambda answer: [str(answer["count"])])


@journal.command("wait")
@_all_of(*FILTERS)
@click.option("--count", type=int, default=1, show_default=True, metavar="N", help="Until there are so many.")
@click.option("--timeout", default="10s", show_default=True, metavar="DURATION", help="Give up after so long.")
@on_server()
def wait_for_exchanges(server: Server, **wanted: Any) -> None:
    """Wait for exchanges; exit with 1 if they don't come in time."""
    server.tell(server.ask("GET", server.here("journal", "wait"), wanted, seconds=None), _told_exchanges)


@journal.command("follow")
@_all_of(*FILTERS)
@on_server()
def follow_exchanges(server: Server, **wanted: Any) -> None:
    """Print exchanges as they come, until it is interrupted; with --json one a line."""
    stream = server.exchange("GET", server.here("journal", "stream"), wanted, seconds=None)
    with suppress(KeyboardInterrupt), stream as answer:
        for event, data in _events(server, answer):
            if event == "dropped":
                print(f"mockserver: {data['dropped']} exchanges came too fast to be kept", file=sys.stderr)
            elif event == "exchange":
                said = json.dumps(data, ensure_ascii=False) if server.as_json else "  ".join(map(plain, _row(data)))
                print(said.rstrip(), flush=True)


def _events(server: Server, answer: "HTTPResponse") -> Iterator[tuple[str, Any]]:
    """Server-Sent Events by name, each with its data."""
    from http.client import HTTPException

    event = ""
    try:
        while line := answer.readline():
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                yield event, json.loads(value)
    except (OSError, HTTPException):
        die(f"{server.url} is gone", FAILED)


@journal.command("clear")
@on_server()
def clear_journal(server: Server) -> None:
    """Forget a world's exchanges."""
    server.tell(server.ask("DELETE", server.here("journal")), lambda answer: [f"forgotten: {answer['count']}"])


def _told_exchanges(answer: Any) -> Iterator[str]:
    entries = answer["data"]
    yield from table(["NUMBER", "TIME", "STATUS", "MS", "REQUEST", ""], map(_row, entries), "There are no exchanges.")
    if answer["has_more"]:
        yield f"More with: --after {entries[-1]['number']}"


def _row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    query = f"?{entry['query']}" if entry["query"] else ""
    body = entry["response"].get("body")
    error = body.get("error") if isinstance(body, dict) else None
    notes = [
        f"fault {entry['fault']}" if entry["fault"] else "",
        "aborted" if entry["aborted"] else "",
        str(error["message"])[:100] if isinstance(error, dict) and "message" in error else "",
        *(f"{each['change']} {each['id']}" for each in entry["objects"]),
    ]
    return (
        entry["number"],
        instant(entry["at"]),
        entry["status"] or "-",
        f"{entry['duration_ms']:.1f}",
        f"{entry['method']} {entry['path']}{query}",
        ", ".join(filter(None, notes)),
    )


def _told_exchange(entry: Any) -> Iterator[str]:
    query = f"?{entry['query']}" if entry["query"] else ""
    yield from pairs(
        [
            ("number", entry["number"]),
            ("operation", entry["operation"]),
            ("world", f"{entry['world']} {instant(entry['at'])}"),
            ("took", f"{entry['duration_ms']:.1f} ms"),
            ("request id", entry["request_id"]),
            ("fault", entry["fault"]),
            ("aborted", "yes" if entry["aborted"] else ""),
            *((each["change"], each["id"]) for each in entry["objects"]),
        ]
    )
    yield from _told_message(f"{entry['method']} {entry['path']}{query}", entry["request"])
    yield from _told_message(str(entry["status"] or "no answer"), entry["response"])


def _told_message(first: str, message: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", plain(first))
    yield from (plain(f"{name}: {value}") for name, value in message.get("headers", {}).items())
    if "body" in message:
        body = message["body"]
        text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
        yield from ("", *map(plain, text.splitlines()))
    elif "body_bytes" in message:
        digest = f", SHA-256 {message['body_sha256']}" if message.get("body_sha256") else ""
        yield from ("", f"({message['body_bytes']} bytes{digest})")


# The verdict


@click.command()
@click.option(
    "--ignore",
    multiple=True,
    metavar="FINDING",
    help="Leave out a finding, by its name.",
    shell_complete=complete(findings),
)
@on_server()
def verdict(server: Server, ignore: Sequence[str]) -> None:
    """Tell what clients did wrong in a world; exit with 1 if they did."""
    answer = _verdict(server, ignore)
    server.tell(answer, functools.partial(_told_verdict, server.world))
    if not answer["ok"]:
        sys.exit(FAILED)


def judge(server: Server, ignore: Sequence[str]) -> bool:
    """Whether clients did nothing wrong in any world; what they did is reported on stderr."""
    good = True
    for name in [each["name"] for each in server.ask("GET", "/_mock/worlds")["data"]]:
        answer = _verdict(replace(server, world=name), ignore)
        if not answer["ok"]:
            good = False
            for line in _told_verdict(name, answer):
                print(f"mockserver: {line}", file=sys.stderr)
    return good


def _verdict(server: Server, ignore: Sequence[str]) -> Any:
    return server.ask("GET", server.here("verdict"), {"ignore": ",".join(ignore) or None})


def _told_verdict(world: str, answer: Any) -> Iterator[str]:
    findings = answer["findings"]
    yield f"world {world}: " + (f"{len(findings)} found" if findings else "nothing found")
    for each in findings:
        yield plain(f"  {each['name']}: {each['message']} [{some([f'#{number}' for number in each['exchanges']])}]")


COMMANDS: tuple[click.Command, ...] = (
    world,
    clock,
    fault,
    journal,
    snapshot,
    export_world,
    import_world,
    reset,
    verdict,
)
