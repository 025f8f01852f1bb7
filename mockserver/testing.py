"""A server and its worlds as tests hold them: over HTTP, in this process or elsewhere.

`Server` makes worlds; a `MockWorld` is what a test has of one: its clock, its faults, its journal.
Nothing but the standard library is loaded, so that holding a server costs no start of one. What the
control plane answers is handed on as it is; a TypedDict here tells its keys.

Durations are `"20m"`, `"PT20M"`, seconds or a timedelta; instants `"2026-01-31T12:00:00Z"`, seconds
since the epoch or a datetime (without a zone: UTC).
"""

import base64
import hashlib
import http.client
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote, urlencode, urlsplit

from mockserver import ids
from mockserver.clock import parse_duration, stopwatch

Duration = str | float | timedelta
Instant = str | float | datetime
Seed = str | Path | Mapping[str, Any]
"""A seed file, a directory of them or of plain files, or what would stand in one."""

CURRENT = "current-test"
"""A world's name which on the pytest plugin's own server stands for the world of the test that is running."""

Profile = str | Mapping[str, Any]
"""`live`, `live,delete_lag=5m`, or a mapping of switches and `base`, a profile's name."""


class ClockState(TypedDict):
    mode: Literal["real", "offset", "frozen", "scaled"]
    now: float
    """Seconds since the epoch, by the world's clock."""
    iso: str
    rate: float


class ClockChange(ClockState):
    """What moving the clock did, as ids."""

    expired_containers: list[str]
    expired_files: list[str]
    revived_containers: list[str]
    revived_files: list[str]


class ClockSetting(TypedDict, total=False):
    """A clock as seeds write it: `at` or `offset`, and `rate` (0 is frozen, 60 a minute a second)."""

    at: Instant
    offset: Duration
    rate: float


class Effect(TypedDict, total=False):
    """What a fault does; each key is told in the manual under Faults."""

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


class Rule(TypedDict, total=False):
    """A fault that is set: `id`, `match`, `effect`, how often it matched and fired, and its bounds."""

    id: str
    match: dict[str, Any]
    effect: dict[str, Any]
    matched: int
    fired: int
    times: int | None
    skip: int
    probability: float | None
    lapse_after: float | None
    enabled: bool


class Message(TypedDict, total=False):
    """Half of an exchange: `body`, or for large ones and contents its size, and an upload's hash."""

    headers: dict[str, str]
    body: Any
    body_bytes: int
    body_sha256: str


class Change(TypedDict):
    change: Literal["created", "changed", "deleted"]
    id: str


class Exchange(TypedDict):
    """An entry of the journal. `at` is by the world's clock, `wall` by the machine's, in seconds."""

    number: int
    request_id: str
    world: str
    at: float
    wall: float
    operation: str | None
    method: str
    path: str
    query: str
    status: int | None
    duration_ms: float
    request: Message
    response: Message
    fault: str | None
    objects: list[Change]
    aborted: bool


Exchanges = list[Exchange]


class Wanted(TypedDict, total=False):
    """Which exchanges: of operations (`CreateContainer`, `*File*`), with statuses (404, `4xx`, `400-409`),
    with a text anywhere in them, after a number. Several are a list."""

    operation: str | Sequence[str]
    method: str | Sequence[str]
    status: int | str | Sequence[int | str]
    text: str
    after: int


class Placed(TypedDict):
    """Ids of what a seed put into a world, in its order."""

    files: list[str]
    containers: list[str]
    faults: list[str]


class Finding(TypedDict):
    name: str
    message: str
    exchanges: list[int]


class MockError(Exception):
    """What the server refused, in its words, or why it can't be reached. `status` is None for the latter."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@contextmanager
def passing(code: str) -> Iterator[None]:
    """Let a refusal of that code pass."""
    try:
        yield
    except MockError as error:
        if error.code != code:
            raise


class Control:
    """Calls of a server's control plane. May be shared by threads; connections are kept for the next call."""

    IDLE_SECONDS = 30.0
    """How long a connection is good for another call: less than servers and proxies keep one."""

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise MockError(f"{url!r} is no server's URL; write it like http://localhost:8080")
        self.url = url
        self._host, self._prefix = parts.netloc.rpartition("@")[2], parts.path
        self._open = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._idle: deque[tuple[http.client.HTTPConnection, float, int]] = deque()

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: tuple[str, bytes] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """Ask for what is under `/_mock`, with a JSON body or, as `content`, a type and bytes.

        Returns the answer's JSON, or what else it is as bytes. Raises MockError. `timeout` is in seconds.
        """
        kind, data = content or ("application/json", None if body is None else _json(body))
        headers = self._headers | ({"Content-Type": kind} if data is not None else {})
        connection = self._connection()
        connection.timeout = timeout
        if connection.sock:
            connection.sock.settimeout(timeout)
        try:
            connection.request(method, f"{self._prefix}/_mock/{path}", data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise MockError(
                f"no mock server answers at {self.url} ({error or type(error).__name__}); start one there with "
                "`mockserver serve`, or mend the URL"
            ) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append((connection, stopwatch(), os.getpid()))
        if answer.status == 200 and answer.headers.get_content_type() != "application/json":
            return text
        return self._told(f"{method} /_mock/{path}", answer.status, text)

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    def _connection(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection, since, process = self._idle.pop()
            except IndexError:
                return self._open(self._host)
            if stopwatch() - since < self.IDLE_SECONDS and process == os.getpid():
                return connection
            connection.close()

    def _told(self, asked: str, status: int, text: bytes) -> Any:
        try:
            told = json.loads(text)
            if status < 400:
                return told
            error = told["error"]
            message, code = error["message"], error["code"]
        except (ValueError, LookupError, TypeError):
            if status >= 500:
                reason = " ".join(text[:200].decode(errors="replace").split()) or "without a message"
                raise MockError(
                    f"the server at {self.url} failed: {status} to {asked}, {reason}; its log says why", status
                ) from None
            raise MockError(
                f"what answers at {self.url} is no mockserver: {status} to {asked}; mend the URL", status
            ) from None
        raise MockError(f"{message} ({status} to {asked})", status, code)


class Server:
    """A mock server that runs somewhere.

    server = Server("http://localhost:8080")
    with server.world() as world:
        client = OpenAI(base_url=world.base_url, api_key=world.api_key)

    `api_key` is one of the server's own if it was started with `--api-key`, `token` that of its
    `--control-token`.
    """

    url: str
    base_url: str

    def __init__(self, url: str, *, token: str | None = None, api_key: str | None = None) -> None:
        self._reach(re.sub(r"/(v1/?)?$", "", url.strip()), token, api_key)

    def _reach(self, url: str, token: str | None, api_key: str | None) -> None:
        self.url = url
        self.base_url = f"{url}/v1"
        self.control = Control(url, token)
        self._key = api_key or "sk"

    def state(self) -> dict[str, Any]:
        """`version`, `uptime_seconds`, `worlds`, `blob_bytes` and more of the whole server."""
        told: dict[str, Any] = self.control("GET", "state")
        return told

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
        """A fresh world, in place of one of that name if there is one; without a name it gets a unique one.

        It holds what the server's seeds describe, or nothing if it is to be `empty`, and then what
        `seed` describes. `frozen` is an instant, or True for now. `folders` are where seeds are looked for.
        """
        world = MockWorld(self, name or f"world-{ids.unique()}", folders)
        if name is not None:
            world.reset()
        world.prepare(empty=empty, profile=profile, frozen=frozen, clock=clock, seed=seed)
        return world

    def key(self, world: str) -> str:
        """An API key that names a world."""
        return f"{self._key}-world-{world}"

    def close(self) -> None:
        """Close the connections that are kept; the next call opens one again."""
        self.control.close()


class MockWorld:
    """A world of its own on a mock server; as a context manager it is deleted at the end.

    `base_url` and `api_key` are for clients; either is enough to reach the world, which comes into
    being on its first use.
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
        """The variables that lead clients, and the command line, to this world."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.api_key,
            "MOCKSERVER_URL": self.server.url,
            "MOCKSERVER_WORLD": self.world,
        }

    def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> Any:
        """A route of the control plane below `/_mock/worlds/<this world>/`: `call("GET", "containers")`."""
        url = f"{self.path}/{path}".rstrip("/")
        try:
            return self.server.control(method, url, body, **more)
        except MockError as error:
            if error.code != "world_not_found":
                raise
        with passing("world_exists"):  # what only looks at a world makes none, but another thread may
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
        """Make it as `Server.world` does, or leave nothing of it."""
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

    def state(self) -> dict[str, Any]:
        """`counts`, `clock`, `profile`, `snapshots` and more."""
        told: dict[str, Any] = self.call("GET")
        return told

    def reset(self, *, empty: bool = False) -> None:
        """Back to what the server's seeds describe, or to nothing. Clock, faults and journal too."""
        self.call("POST", f"reset{_query(empty=empty)}")

    def delete(self) -> None:
        """Delete the world, if it exists, with its snapshots."""
        with passing("world_not_found"):
            self.server.control("DELETE", self.path)

    def set_profile(self, profile: Profile | None) -> None:
        """None is the server's own, and so is what a mapping without `base` changes."""
        asked: dict[str, Any] = {"name": profile}
        if isinstance(profile, Mapping):
            switches = dict(profile)
            asked = {"name": switches.pop("base", None), "switches": switches}
        self.call("PUT", "profile", asked)

    def snapshot(self, name: str | None = None) -> "Snapshot":
        """Keep the world as it is, to come back to it: objects, clock, profile, ids to come, faults."""
        name = name or f"snapshot-{ids.unique()}"
        self.call("PUT", f"snapshots/{quote(name, safe='')}")
        return Snapshot(self, name)

    def seed(self, seed: Seed) -> Placed:
        """Put what a seed describes into the world, all of it or, if it is refused, nothing."""
        told: Placed = self.call("POST", "place", _document(seed, self._folders))
        return told

    def export(self, to: str | Path) -> None:
        """Write the world as an archive, which `import_` takes back, and so does `--seed`."""
        Path(to).write_bytes(self.call("GET", "export"))

    def import_(self, archive: str | Path, *, replace: bool = True) -> None:
        """Make the world what an archive says, in one step, or add that to it."""
        content = "application/zip", Path(archive).read_bytes()
        self.call("POST", f"import?replace={str(replace).lower()}", content=content)

    def add_assistant_file(
        self, container_id: str, path: str, content: bytes | str, bytes: int | None = None
    ) -> dict[str, Any]:
        """Leave a file in a container as a model run would: `source: assistant`, and `bytes` null unless given.

        `path` may be relative to /mnt/data. Returns the container file.
        """
        data = content.encode() if isinstance(content, str) else content
        fields = {"path": path, "source": "assistant", "bytes": "null" if bytes is None else str(bytes)}
        form = _form(fields, data)
        told: dict[str, Any] = self.call("POST", f"containers/{quote(container_id, safe='')}/files", content=form)
        return told

    def expire(self, container_id: str) -> None:
        """Let a container expire now, without moving the clock."""
        self.call("POST", f"containers/{quote(container_id, safe='')}/expire")

    def verdict(self, ignore: Sequence[str] = ()) -> "Verdict":
        """What the client did wrong, by the journal, but for the findings to ignore."""
        told = self.call("GET", f"verdict{_query(ignore=','.join(ignore))}")
        findings: list[Finding] = told["findings"]
        return Verdict(bool(told["ok"]), findings, "\n".join(line for each in findings for line in self._proven(each)))

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
    """A world's clock. Moving it answers with what expired, or came back to life, by that."""

    def __init__(self, world: MockWorld) -> None:
        self._world = world

    def state(self) -> ClockState:
        """Return the world's time, and the mode and rate of its clock."""
        told: ClockState = self._world.call("GET", "clock")
        return told

    def now(self) -> float:
        """Seconds since the epoch, by this clock."""
        return self.state()["now"]

    def freeze(self, at: Instant | None = None) -> ClockChange:
        """Hold it still, where it is or at an instant."""
        return self._change("freeze", {} if at is None else {"at": at})

    def advance(self, by: Duration) -> ClockChange:
        """Move it on; it goes on, or stands still, as before."""
        return self._change("advance", {"by": by})

    def offset(self, by: Duration) -> ClockChange:
        """Run so far ahead of the machine's clock, or with a negative duration behind it."""
        return self._change("offset", {"by": by})

    def scale(self, rate: float) -> ClockChange:
        """Go on from here at another rate: 60 is a minute a second."""
        return self._change("scale", {"rate": rate})

    def resume(self) -> ClockChange:
        """Go on from here at the machine's rate."""
        return self._change("resume")

    def reset(self) -> ClockChange:
        """Show the machine's time again."""
        return self._change("reset")

    def set(self, to: ClockSetting) -> None:
        """As a seed does: `{"at": "2026-01-31T12:00:00Z", "rate": 0}`."""
        if unknown := to.keys() - ClockSetting.__annotations__.keys() or ("at" in to and "offset" in to):
            raise MockError(f"a clock takes at or offset, and rate; not {unknown if unknown is not True else 'both'}")
        if "at" in to:
            self.freeze(to["at"])
        elif "offset" in to:
            self.offset(to["offset"])
        if "at" in to or "rate" in to:
            self.scale(to.get("rate", 1.0))

    def _change(self, how: str, body: Any = None) -> ClockChange:
        told: ClockChange = self._world.call("POST", f"clock/{how}", body)
        return told


class Faults:
    """What to break in a world, where, and how many times; the first rule that matches and fires wins."""

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
        """Break what matches, always or so many `times`, after the first `skip`, or with a probability.

        faults.add(error="rate_limited", times=2, retry_after=0)
        faults.add(operation="RetrieveContainerFileContent", truncate_after=1000)

        `lapse_after` is on the world's clock. Returns the rule with its `id`.
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
        told: Rule = self._world.call("POST", "faults", rule)
        return told

    def list(self) -> list[Rule]:
        """In the order in which they are tried."""
        told: list[Rule] = self._world.call("GET", "faults")["data"]
        return told

    def switch(self, id: str, enabled: bool) -> Rule:
        """Off or on; it keeps its place and its counts."""
        told: Rule = self._world.call("PATCH", f"faults/{quote(id, safe='')}", {"enabled": enabled})
        return told

    def get(self, id: str) -> Rule:
        """One rule, with how often it `matched` and `fired`."""
        told: Rule = self._world.call("GET", f"faults/{quote(id, safe='')}")
        return told

    def remove(self, id: str) -> None:
        """Delete one rule."""
        self._world.call("DELETE", f"faults/{quote(id, safe='')}")

    def clear(self) -> None:
        """Delete all rules."""
        self._world.call("DELETE", "faults")


class Journal:
    """The exchanges of a world, oldest first; iterable. What is asked about them is in `Wanted`."""

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
        """All that match: `journal.filter(operation="CreateContainer", status=429)`."""
        found: Exchanges = []
        while True:
            page = self._world.call("GET", f"journal{_query(**wanted)}")
            found += page["data"]
            if not page["has_more"] or not page["data"]:
                return found
            wanted["after"] = found[-1]["number"]

    def get(self, number: int) -> Exchange:
        """Return one exchange, by its number."""
        told: Exchange = self._world.call("GET", f"journal/{number}")
        return told

    def last(self, count: int = 20) -> Exchanges:
        """The newest ones, oldest first."""
        told: Exchanges = self._world.call("GET", f"journal?last={count}")["data"]
        return told

    def count(self, **wanted: Unpack[Wanted]) -> int:
        """Return how many exchanges match."""
        told: int = self._world.call("GET", f"journal/count{_query(**wanted)}")["count"]
        return told

    def wait(self, count: int = 1, timeout: Duration = 10, **wanted: Unpack[Wanted]) -> Exchanges:
        """Wait, in real time, until so many match. Raises TimeoutError, which shows what there was instead.

        In a coroutine: `await asyncio.to_thread(journal.wait, …)`, or nothing else of its loop goes on.
        """
        seconds = parse_duration(timeout) if isinstance(timeout, str) else _seconds(timeout)
        query = _query(**wanted, count=count, timeout=seconds)
        try:
            told: Exchanges = self._world.call("GET", f"journal/wait{query}", timeout=seconds + 30)["data"]
        except MockError as error:
            if error.code != "journal_timeout":
                raise
            raise TimeoutError(f"{error}\n{self.shown() or 'The journal is empty.'}") from None
        return told

    def clear(self) -> None:
        """Delete all exchanges."""
        self._world.call("DELETE", "journal")

    def shown(self, count: int = 20) -> str:
        """The newest exchanges, a line each."""
        return "\n".join(map(shown, self.last(count)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a world to come back to; as a context manager it does so at the end, and is deleted."""

    of: MockWorld
    name: str

    def restore(self) -> None:
        """In one step for every client, as often as wanted; the journal is cleared."""
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
    """Whether the client behaved, what it did wrong, and that with its proof as text."""

    ok: bool
    findings: list[Finding]
    text: str

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return self.text or "The client behaved."


def shown(exchange: Exchange) -> str:
    """In one line: `#3    18:04:00  POST   /v1/containers  429  2 ms  fault slow; Rate limit reached …`."""
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
    """Of the day, by the world's clock; one that no calendar has as a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _query(**values: Any) -> str:
    """What is not given, empty or false is left out; several values are separated by commas."""
    given = {name: _written(value) for name, value in values.items() if value or value == 0}
    given = {name: text for name, text in given.items() if text}
    return f"?{urlencode(given)}" if given else ""


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    return ",".join(map(str, value)) if isinstance(value, list | tuple | set) else str(value)


def _json(body: Any) -> bytes:
    return json.dumps(body, default=_plain, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise MockError(f"{value!r} can't be sent as JSON; give text, numbers, lists and dicts")


def _seconds(duration: float | timedelta) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _form(fields: Mapping[str, str], file: bytes) -> tuple[str, bytes]:
    """A multipart body with its type. The boundary is a hash of the file, which so can't hold it."""
    boundary = f"mockserver-{hashlib.blake2b(file, digest_size=16).hexdigest()}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode())
    parts += [file, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _document(seed: Seed, folders: Sequence[Path]) -> dict[str, Any]:
    """What a seed says, with the files that it names put in. Raises MockError, and SeedError with the line."""
    if isinstance(seed, Mapping):
        return {"version": 1, **seed}
    from mockserver.seeds.document import Source
    from mockserver.seeds.loader import SUFFIXES, read_seeds  # here, for it loads the rules of the API

    path = next((folder / seed for folder in folders if (folder / seed).exists()), None)
    if path is None:
        raise MockError(f"there is no seed {seed} in {' or '.join(str(each.resolve()) for each in folders)}")
    if path.suffix == ".zip":
        raise MockError(f"{path} is an archive; give it to import_()")
    read_seeds([path], sys.maxsize).close()
    documents = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
    if not documents:
        raise MockError(f"{path} holds no seed files; a folder of plain files can only be a server's --seed")
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
    told = {key: value for key, value in file.items() if key != "from"}
    return {"filename": Path(file["from"]).name, **told, "base64": content}
