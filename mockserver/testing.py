"""A server and its worlds for tests: over HTTP, in this process or elsewhere.

`Server` creates worlds; a `MockWorld` gives a test its clock, its faults and its journal. Only the standard library is
loaded, so that a test that needs no server of its own pays for none. Responses of the control plane are returned as
they are; `mockserver.control.models` describes them.

Durations are `"20m"`, `"PT20M"`, seconds or a timedelta; instants are `"2026-01-31T12:00:00Z"`, seconds since the epoch
or a datetime (without a zone: UTC).
"""

import base64
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

from mockserver import ids
from mockserver.client import Control as Control
from mockserver.client import MockError as MockError
from mockserver.client import query, server_url
from mockserver.clock import parse_duration
from mockserver.control import models
from mockserver.control.models import Change as Change
from mockserver.control.models import ClockChange as ClockChange
from mockserver.control.models import ClockState as ClockState
from mockserver.control.models import Exchange as Exchange
from mockserver.control.models import Finding as Finding
from mockserver.control.models import Message as Message
from mockserver.control.models import Placed as Placed
from mockserver.control.models import Rule as Rule

Duration = str | float | timedelta
Instant = str | float | datetime
Seed = str | Path | Mapping[str, Any]
"""A seed file, a directory of seed files, or the contents of a seed file as a mapping."""

CURRENT = "current-test"
"""The name of a world that stands for the world of the running test, on the server of the pytest plugin."""

Profile = str | Mapping[str, Any]
"""`live`, `live,delete_lag=5m`, or a mapping of switches, in which `base` names a profile."""


class ClockSetting(TypedDict, total=False):
    """A clock as in seeds: `at` or `offset`, and `rate` (0 is frozen, 60 is a minute each second)."""

    at: Instant
    offset: Duration
    rate: float


class Effect(TypedDict, total=False):
    """What a fault does. The manual describes each key under Faults."""

    error: str
    status: int
    body: Any
    headers: Mapping[str, str]
    retry_after: float
    latency: Duration | Mapping[Literal["min", "max"], Duration]
    drop: Literal["before_answer"]
    reset_after: int
    truncate_after: int
    dribble: float
    abort_upload_after: int
    rate_limit: Mapping[str, Any]
    stale_list: Duration
    has_more: bool
    empty_page: bool


Exchanges = list[Exchange]


class Wanted(TypedDict, total=False):
    """A filter of exchanges: operations (`CreateContainer`, `*File*`), methods, statuses (404, `4xx`, `400-409`), a text
    anywhere in the exchange, and the number after which to start. Give several values as a list."""

    operation: str | Sequence[str]
    method: str | Sequence[str]
    status: int | str | Sequence[int | str]
    text: str
    after: int


@contextmanager
def passing(code: str) -> Iterator[None]:
    """Ignore an error with this code."""
    try:
        yield
    except MockError as error:
        if error.code != code:
            raise


class Server:
    """A mock server that runs somewhere.

    server = Server("http://localhost:8080")
    with server.world() as world:
        client = OpenAI(base_url=world.base_url, api_key=world.api_key)

    `api_key` is one of the keys of a server that was started with `--api-key`; `token` is its `--control-token`.
    """

    url: str
    base_url: str

    def __init__(self, url: str, *, token: str | None = None, api_key: str | None = None) -> None:
        self._reach(server_url(url), token, api_key)

    def _reach(self, url: str, token: str | None, api_key: str | None) -> None:
        self.url = url
        self.base_url = f"{url}/v1"
        self.control = Control(url, token)
        self._key = api_key or "sk"

    def state(self) -> models.State:
        """Return `version`, `uptime_seconds`, `worlds` and more of the whole server."""
        state: models.State = self.control("GET", "state")
        return state

    def world(
        self,
        name: str | None = None,
        *,
        empty: bool = False,
        profile: Profile | None = None,
        frozen: bool | Instant = False,
        clock: ClockSetting | None = None,
        seed: Seed | Sequence[Seed] = (),
        folders: Sequence[Path] = (Path(),),
    ) -> "MockWorld":
        """Create a world, and replace the one of this name if there is one. Without a name it gets a unique one.

        The world starts with the objects of the server's seeds, unless `empty`, and those of `seed`. `frozen` is an
        instant, or True for now. Seeds are looked up in `folders`.
        """
        world = MockWorld(self, name or f"world-{ids.unique()}", folders)
        if name is not None:
            world.reset()
        world.prepare(empty=empty, profile=profile, frozen=frozen, clock=clock, seed=seed)
        return world

    def key(self, world: str) -> str:
        """Return an API key that selects a world."""
        return f"{self._key}-world-{world}"

    def close(self) -> None:
        """Close the connections that are kept. The next call opens a new one."""
        self.control.close()


class MockWorld:
    """A world on a mock server. As a context manager, it is deleted at the end.

    Clients take `base_url` and `api_key`; each of them alone selects the world, which is created on first use.
    """

    def __init__(self, server: Server, name: str, folders: Sequence[Path] = (Path(),)) -> None:
        self.server = server
        self.world = name
        self.base_url = f"{server.url}/w/{name}/v1"
        self.api_key = server.key(name)
        self.path = f"worlds/{quote(name, safe='')}"
        self._folders = folders
        self.clock = WorldClock(self)
        self.faults = Faults(self)
        self.journal = Journal(self)

    def __repr__(self) -> str:
        return f"<world {self.world} at {self.base_url}>"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which clients, and the command line, use this world."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.api_key,
            "MOCKSERVER_URL": self.server.url,
            "MOCKSERVER_WORLD": self.world,
        }

    def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> Any:
        """Call a route of the control plane below `/_mock/worlds/<this world>/`: `call("GET", "containers")`."""
        url = f"{self.path}/{path}".rstrip("/")
        try:
            return self.server.control(method, url, body, **more)
        except MockError as error:
            if error.code != "world_not_found":
                raise
        with passing("world_exists"):  # reading a world does not create it; another thread may
            self.server.control("POST", self.path)
        return self.server.control(method, url, body, **more)

    def prepare(
        self,
        *,
        empty: bool = False,
        profile: Profile | None = None,
        frozen: bool | Instant = False,
        clock: ClockSetting | None = None,
        seed: Seed | Sequence[Seed] = (),
    ) -> None:
        """Set the world up as `Server.world` does. If that fails, delete it."""
        if frozen is not False and clock:
            raise MockError("give either frozen or clock; a frozen clock is also clock={'at': …, 'rate': 0}")
        try:
            if empty:
                self.reset(empty=True)
            if profile is not None:
                self.set_profile(profile)
            if frozen is not False:
                self.clock.freeze(None if frozen is True else frozen)
            if clock:
                self.clock.set(clock)
            for each in [seed] if isinstance(seed, str | Path | Mapping) else seed:
                self.seed(each)
        except BaseException:
            self.delete()
            raise

    def state(self) -> models.WorldState:
        """Return `counts`, `clock`, `profile`, `snapshots` and more."""
        state: models.WorldState = self.call("GET")
        return state

    def reset(self, *, empty: bool = False) -> None:
        """Reset objects, clock, faults and journal to the state of the server's seeds, or to nothing."""
        self.call("POST", f"reset{query(empty=empty)}")

    def delete(self) -> None:
        """Delete the world, if it exists, with its snapshots."""
        with passing("world_not_found"):
            self.server.control("DELETE", self.path)

    def set_profile(self, profile: Profile | None) -> None:
        """Set the world's profile. None, and a mapping without `base`, start from the server's profile."""
        asked: dict[str, Any] = {"name": profile}
        if isinstance(profile, Mapping):
            switches = dict(profile)
            asked = {"name": switches.pop("base", None), "switches": switches}
        self.call("PUT", "profile", asked)

    def snapshot(self, name: str | None = None) -> "Snapshot":
        """Take a snapshot of objects, clock, profile, id sequence and faults."""
        name = name or f"snapshot-{ids.unique()}"
        self.call("PUT", f"snapshots/{quote(name, safe='')}")
        return Snapshot(self, name)

    def seed(self, seed: Seed) -> Placed:
        """Add the objects of a seed to the world. If the seed has an error, add nothing."""
        placed: Placed = self.call("POST", "place", _document(seed, self._folders))
        return placed

    def export(self, to: str | Path) -> None:
        """Write the world to an archive, for `import_` and `--seed`. An export that fails leaves no file."""
        path = Path(to)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                self.call("GET", "export", into=file)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def import_(self, archive: str | Path, *, replace: bool = True) -> None:
        """Replace the contents of the world by those of an archive, atomically, or add them."""
        with Path(archive).open("rb") as file:
            self.call("POST", f"import?replace={str(replace).lower()}", content=("application/zip", file))

    def add_assistant_file(
        self, container_id: str, path: str, content: bytes | str, bytes: int | None = None
    ) -> dict[str, Any]:
        """Add a file to a container as a model run does: with `source: assistant`, and `bytes` null by default.

        `path` may be relative to /mnt/data. Return the container file.
        """
        data = content.encode() if isinstance(content, str) else content
        fields = {"path": path, "source": "assistant", "bytes": "null" if bytes is None else str(bytes)}
        form = _form(fields, data)
        file: dict[str, Any] = self.call("POST", f"containers/{quote(container_id, safe='')}/files", content=form)
        return file

    def expire(self, container_id: str) -> None:
        """Expire a container now, without moving the clock."""
        self.call("POST", f"containers/{quote(container_id, safe='')}/expire")

    def verdict(self, ignore: Sequence[str] = ()) -> "Verdict":
        """Check the journal for mistakes of the client, apart from the findings to ignore."""
        verdict: models.Verdict = self.call("GET", f"verdict{query(ignore=ignore)}")
        lines = (line for each in verdict["findings"] for line in self._proven(each))
        return Verdict(verdict["ok"], verdict["findings"], "\n".join(lines))

    def _proven(self, finding: Finding) -> Iterator[str]:
        yield f"{finding['name']}: {finding['message']}"
        for number in finding["exchanges"][:5]:
            yield f"  {shown(self.journal.get(number))}"
        if more := len(finding["exchanges"]) - 5:
            yield f"  and {more} more" if more > 0 else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.delete()


class WorldClock:
    """A world's clock. Its changes return the ids of the objects that expired, or became valid again, because of them."""

    def __init__(self, world: MockWorld) -> None:
        self._world = world

    def state(self) -> ClockState:
        """Return the world's time, and the mode and rate of its clock."""
        state: ClockState = self._world.call("GET", "clock")
        return state

    def now(self) -> float:
        """Return the seconds since the epoch, by this clock."""
        return self.state()["now"]

    def freeze(self, at: Instant | None = None) -> ClockChange:
        """Stop the clock at its current time or at an instant."""
        return self._change("freeze", {} if at is None else {"at": at})

    def advance(self, by: Duration) -> ClockChange:
        """Move the clock forward by a duration. Its rate stays."""
        return self._change("advance", {"by": by})

    def offset(self, by: Duration) -> ClockChange:
        """Run ahead of the machine's clock by a duration, or behind it by a negative one."""
        return self._change("offset", {"by": by})

    def scale(self, rate: float) -> ClockChange:
        """Continue from the current time at another rate: 60 is a minute each second."""
        return self._change("scale", {"rate": rate})

    def resume(self) -> ClockChange:
        """Continue from the current time at the machine's rate."""
        return self._change("resume")

    def reset(self) -> ClockChange:
        """Return to the machine's time."""
        return self._change("reset")

    def set(self, to: ClockSetting) -> None:
        """Set the clock as in a seed: `{"at": "2026-01-31T12:00:00Z", "rate": 0}`."""
        if unknown := to.keys() - ClockSetting.__annotations__.keys() or ("at" in to and "offset" in to):
            raise MockError(f"a clock takes at or offset, and rate; not {unknown if unknown is not True else 'both'}")
        if "at" in to:
            self.freeze(to["at"])
        elif "offset" in to:
            self.offset(to["offset"])
        if "at" in to or "rate" in to:
            self.scale(to.get("rate", 1.0))

    def _change(self, how: str, body: Any = None) -> ClockChange:
        changed: ClockChange = self._world.call("POST", f"clock/{how}", body)
        return changed


class Faults:
    """The fault rules of a world. The first rule that matches a request and fires decides."""

    def __init__(self, world: MockWorld) -> None:
        self._world = world

    def add(
        self,
        *,
        operation: str | None = None,
        method: str | None = None,
        path: str | None = None,
        container: str | None = None,
        file: str | None = None,
        header: Mapping[str, str] | None = None,
        times: int | None = None,
        skip: int | None = None,
        probability: float | None = None,
        lapse_after: Duration | None = None,
        id: str | None = None,
        **effect: Unpack[Effect],
    ) -> Rule:
        """Add a rule: which requests it matches, how often it fires, and its effect.

        faults.add(error="rate_limited", times=2, retry_after=0)
        faults.add(operation="RetrieveContainerFileContent", truncate_after=1000)

        It fires at every match by default, else at most `times`, after `skip` matches, or with a `probability`.
        `lapse_after` is by the world's clock. Return the rule with its `id`.
        """
        match = {
            "operation": operation,
            "method": method,
            "path": path,
            "container": container,
            "file": file,
            "header": header,
        }
        bounds = {"id": id, "times": times, "skip": skip, "probability": probability, "lapse_after": lapse_after}
        rule = {"match": _given(match), **_given(bounds), "effect": effect}
        added: Rule = self._world.call("POST", "faults", rule)
        return added

    def list(self) -> list[Rule]:
        """Return the rules in the order in which they are tried."""
        rules: list[Rule] = self._world.call("GET", "faults")["data"]
        return rules

    def switch(self, id: str, enabled: bool) -> Rule:
        """Enable or disable a rule. It keeps its place and its counts."""
        rule: Rule = self._world.call("PATCH", f"faults/{quote(id, safe='')}", {"enabled": enabled})
        return rule

    def get(self, id: str) -> Rule:
        """Return a rule, with how often it `matched` and `fired`."""
        rule: Rule = self._world.call("GET", f"faults/{quote(id, safe='')}")
        return rule

    def remove(self, id: str) -> None:
        """Delete one rule."""
        self._world.call("DELETE", f"faults/{quote(id, safe='')}")

    def clear(self) -> None:
        """Delete all rules."""
        self._world.call("DELETE", "faults")


class Journal:
    """The exchanges of a world, oldest first; iterable. `Wanted` describes the filters."""

    def __init__(self, world: MockWorld) -> None:
        self._world = world

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self.filter())

    def __len__(self) -> int:
        return self.count()

    def list(self) -> Exchanges:
        """Return all exchanges."""
        return self.filter()

    def filter(self, **wanted: Unpack[Wanted]) -> Exchanges:
        """Return all exchanges that match: `journal.filter(operation="CreateContainer", status=429)`."""
        found: Exchanges = []
        while True:
            page: models.JournalPage = self._world.call("GET", f"journal{query(**wanted)}")
            found += page["data"]
            if not page["has_more"] or not page["data"]:
                return found
            wanted["after"] = found[-1]["number"]

    def get(self, number: int) -> Exchange:
        """Return one exchange, by its number."""
        exchange: Exchange = self._world.call("GET", f"journal/{number}")
        return exchange

    def last(self, count: int = 20) -> Exchanges:
        """Return the newest exchanges, oldest first."""
        page: models.JournalPage = self._world.call("GET", f"journal?last={count}")
        return page["data"]

    def count(self, **wanted: Unpack[Wanted]) -> int:
        """Return how many exchanges match."""
        counted: models.Count = self._world.call("GET", f"journal/count{query(**wanted)}")
        return counted["count"]

    def wait(self, count: int = 1, timeout: Duration = 10, **wanted: Unpack[Wanted]) -> Exchanges:
        """Wait, in real time, until `count` exchanges match. Raise TimeoutError, which shows the newest exchanges.

        In a coroutine, use `await asyncio.to_thread(journal.wait, …)`: the call blocks.
        """
        seconds = parse_duration(timeout) if isinstance(timeout, str) else _seconds(timeout)
        path = f"journal/wait{query(**wanted, count=count, timeout=seconds)}"
        try:
            page: models.JournalPage = self._world.call("GET", path, timeout=seconds + 30)
        except MockError as error:
            if error.code != "journal_timeout":
                raise
            raise TimeoutError(f"{error}\n{self.shown() or 'The journal is empty.'}") from None
        return page["data"]

    def clear(self) -> None:
        """Delete all exchanges."""
        self._world.call("DELETE", "journal")

    def shown(self, count: int = 20) -> str:
        """Return the newest exchanges as text, one on each line."""
        return "\n".join(map(shown, self.last(count)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored state of a world. As a context manager, it is restored and deleted at the end."""

    of: MockWorld
    name: str

    def restore(self) -> None:
        """Restore the snapshot atomically. This also clears the journal. It can be repeated."""
        self.of.call("POST", f"snapshots/{quote(self.name, safe='')}/restore")

    def delete(self) -> None:
        """Delete the snapshot; the world stays as it is."""
        self.of.call("DELETE", f"snapshots/{quote(self.name, safe='')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.restore()
        self.delete()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether nothing was found, the findings, and a text that shows each with its exchanges."""

    ok: bool
    findings: list[Finding]
    text: str

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return self.text or "No mistakes of the client were found."


def shown(exchange: Exchange) -> str:
    """Return an exchange in one line: `#3    18:04:00  POST   /v1/containers  429  2 ms  fault slow; Rate limit …`."""
    body = exchange["response"].get("body")
    error = body.get("error") if isinstance(body, dict) else None
    path = exchange["path"].removeprefix(f"/w/{exchange['world']}")
    query = f"?{exchange['query']}" if exchange["query"] else ""
    status = exchange["status"] or "---"
    words = [f"fault {exchange['fault']}"] if exchange["fault"] else []
    words += ["aborted"] if exchange["aborted"] else []
    words += [str(error["message"])[:120]] if isinstance(error, dict) and error.get("message") else []
    parts = [f"#{exchange['number']:<3}", _time(exchange["at"]), f"{exchange['method']:<6} {path}{query}", f"{status}"]
    parts += [f"{exchange['duration_ms']:.0f} ms", "; ".join(words)]
    return "  ".join(parts).rstrip()


def _time(seconds: float) -> str:
    """Return the time of day by the world's clock, or the seconds if no calendar has the date."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _seconds(duration: float | timedelta) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _form(fields: Mapping[str, str], file: bytes) -> tuple[str, bytes]:
    """Return a multipart body with its type. The boundary is random, so the file can't hold it."""
    boundary = f"mockserver-{ids.unique()}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode())
    parts += [file, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _document(seed: Seed, folders: Sequence[Path]) -> dict[str, Any]:
    """Return the contents of a seed, with the files that it names. Raise MockError, or SeedError with the line."""
    if isinstance(seed, Mapping):
        return {"version": 1, **seed}
    from mockserver.seeds.document import Source
    from mockserver.seeds.loader import SUFFIXES, read_seeds  # here, as it loads the rules of the API

    path = next((folder / seed for folder in folders if (folder / seed).exists()), None)
    if path is None:
        raise MockError(f"no seed {seed} in {' or '.join(str(each.resolve()) for each in folders)}")
    if path.suffix == ".zip":
        raise MockError(f"{path} is an archive; import it with import_()")
    read_seeds([path], sys.maxsize).close()
    documents = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
    if not documents:
        raise MockError(f"{path} contains no seed files; use a folder of plain files with --seed of a server")
    together: dict[str, Any] = {}
    for each in documents:
        for key, value in Source(each).values.items():
            put_in = _with_contents(key, value, each.parent)
            together[key] = together.get(key, []) + put_in if isinstance(put_in, list) else put_in
    return together


def _with_contents(key: str, value: Any, folder: Path) -> Any:
    if key == "containers":
        return [
            {**each, "files": _with_contents("files", each["files"], folder)} if "files" in each else each
            for each in value
        ]
    return [_with_content(each, folder) for each in value] if key == "files" else value


def _with_content(file: dict[str, Any], folder: Path) -> dict[str, Any]:
    if "from" not in file:
        return file
    content = base64.b64encode((folder / file["from"]).read_bytes()).decode()
    others = {key: value for key, value in file.items() if key != "from"}
    return {"filename": Path(file["from"]).name, **others, "base64": content}
