"""A server and its worlds for tests: over HTTP, in this process or elsewhere.

`Server` creates worlds; a `MockWorld` gives a test its clock, its faults and its journal. Only the standard library is
loaded, so that a test that needs no server of its own pays for none. Responses of the control plane are returned as
they are; `mockserver.control.models` describes them.

Durations are `"20m"`, `"PT20M"`, seconds or a timedelta; instants are `"2026-01-31T12:00:00Z"`, seconds since the epoch
or a datetime (without a zone: UTC).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, cast

from mockserver import ids
from mockserver.client import Control as Control
from mockserver.client import MockError as MockError
from mockserver.client import __tracebackhide__ as __tracebackhide__
from mockserver.client import path_to, query, save, server_url
from mockserver.control import models
from mockserver.control.models import Change as Change
from mockserver.control.models import ClockChange as ClockChange
from mockserver.control.models import ClockState as ClockState
from mockserver.control.models import Exchange as Exchange
from mockserver.control.models import Finding as Finding
from mockserver.control.models import Message as Message
from mockserver.control.models import Placed as Placed
from mockserver.control.models import Rule as Rule
from mockserver.testing.answers import Answers as Answers
from mockserver.testing.documents import Seed, document, form
from mockserver.testing.faults import Effect as Effect
from mockserver.testing.faults import Faults as Faults
from mockserver.testing.journal import Duration as Duration
from mockserver.testing.journal import Exchanges as Exchanges
from mockserver.testing.journal import Journal as Journal
from mockserver.testing.journal import Wanted as Wanted
from mockserver.testing.journal import shown as shown

if TYPE_CHECKING:
    from mockserver.settings import Settings

Instant = str | float | datetime
CURRENT = "current-test"
"""The name of a world that stands for the world of the running test, on the server of the pytest plugin."""

Profile = str | Mapping[str, Any]
"""`live`, `live,delete_lag=5m`, or a mapping of switches, in which `base` names a profile."""


class ClockSetting(TypedDict, total=False):
    """A clock as in seeds: `at` or `offset`, and `rate` (0 is frozen, 60 is a minute each second)."""

    at: Instant
    offset: Duration
    rate: float


@contextmanager
def ignoring(code: str) -> Iterator[None]:
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

    def _reach(self, url: str, token: str | None, api_key: str | None, certificate: Path | None = None) -> None:
        self.url = url
        self.base_url = f"{url}/v1"
        self.control = Control(url, token, certificate)
        self._key = api_key or "sk"

    def _reach_own(self, url: str, settings: "Settings") -> None:
        """Call a server that this process started."""
        self._reach(url, settings.control_token, next(iter(settings.api_key), None), settings.tls_cert)

    if not TYPE_CHECKING:  # with it, type checkers would accept any name

        def __getattr__(self, name: str) -> Any:
            """Explain why a server that was not started has no URL."""
            if name in ("url", "base_url", "control", "port", "mock"):
                raise AttributeError("this server does not run yet; enter its `with` block first", name=name, obj=self)
            return object.__getattribute__(self, name)

    def state(self) -> models.State:
        """Return `version`, `uptime_seconds`, `worlds` and more of the whole server."""
        return cast(models.State, self.control("GET", "state"))

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
        """Return a new world, which its first use creates. It replaces one of the same name; by default its name is unique.

        The world starts with the objects of the server's seeds, unless `empty`, and those of `seed`. `frozen` is an
        instant, or True for now. An argument wins over the clock or the profile of a seed. Seeds are looked up in
        `folders`.
        """
        if not hasattr(self, "control"):
            raise MockError("this server does not run yet; enter its `with` block first")
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
        self.path = path_to("worlds", name)
        self._folders = folders
        self._process = os.getpid()
        self.clock = WorldClock(self)
        self.faults = Faults(self.call)
        self.answers = Answers(self.call)
        self.answer = self.answers.add
        self.journal = Journal(self.call)

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
        with ignoring("world_exists"):  # reading a world does not create it; another thread may
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
            given = {"profile": profile is not None, "clock": frozen is not False or bool(clock)}
            for each in seed if isinstance(seed, Sequence) and not isinstance(seed, str) else [seed]:
                self._place(each, without=[key for key, is_given in given.items() if is_given])
        except BaseException:
            self.delete()
            raise

    def state(self) -> models.WorldState:
        """Return `counts`, `clock`, `profile`, `snapshots` and more."""
        return cast(models.WorldState, self.call("GET"))

    def reset(self, *, empty: bool = False) -> None:
        """Reset objects, clock, faults and journal to the state of the server's seeds, or to nothing."""
        self.call("POST", f"reset{query(empty=empty)}")

    def delete(self) -> None:
        """Delete the world, if it exists, with its snapshots."""
        with ignoring("world_not_found"):
            self.server.control("DELETE", self.path)

    def set_profile(self, profile: Profile | None) -> None:
        """Set the world's profile. None, and a mapping without `base`, start from the server's profile."""
        asked: dict[str, Any] = {"name": profile}
        if isinstance(profile, Mapping):
            switches = dict(profile)
            asked = {"name": switches.pop("base", None), "switches": switches}
        self.call("PUT", "profile", asked)

    def snapshot(self, name: str | None = None) -> "Snapshot":
        """Take a snapshot of objects, clock, profile, id sequence, faults and answers."""
        name = name or f"snapshot-{ids.unique()}"
        self.call("PUT", path_to("snapshots", name))
        return Snapshot(self, name)

    def seed(self, seed: Seed) -> Placed:
        """Add the objects of a seed to the world. If the seed has an error, add nothing."""
        return self._place(seed)

    def _place(self, seed: Seed, without: Sequence[str] = ()) -> Placed:
        """Place a seed, but not what it says about the keys that are left out."""
        described = document(seed, self._folders)
        placed = {key: value for key, value in described.items() if key not in without}
        return cast(Placed, self.call("POST", "place", placed))

    def export(self, to: str | Path) -> None:
        """Write the world to an archive, for `import_` and `--seed`. An export that fails leaves no file."""
        save(to, lambda file: int(self.call("GET", "export", into=file)))

    def import_(self, archive: str | Path, *, replace: bool = True) -> None:
        """Replace the contents of the world by those of an archive, atomically, and clear the journal; or add them."""
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
        try:
            type, body = form(fields, data)
        except TypeError:
            raise MockError(f"{content!r:.80} is not the content of a file; give text or bytes") from None
        return cast(
            dict[str, Any], self.call("POST", path_to("containers", container_id, "files"), content=(type, body))
        )

    def expire(self, container_id: str) -> None:
        """Expire a container now, without moving the clock."""
        self.call("POST", path_to("containers", container_id, "expire"))

    def verdict(self, ignore: Sequence[str] = ()) -> "Verdict":
        """Check the journal for mistakes of the client, apart from the findings to ignore."""
        verdict: models.Verdict = self.call("GET", f"verdict{query(ignore=ignore)}")
        lines = (line for each in verdict["findings"] for line in self._proven(each))
        return Verdict(verdict["ok"], verdict["findings"], "\n".join(lines))

    def _proven(self, finding: Finding) -> Iterator[str]:
        yield f"{finding['name']}: {finding['message']}"
        for number in finding["exchanges"][:5]:
            yield f"  {shown(self.journal.get(number))}"
        if (more := len(finding["exchanges"]) - 5) > 0:
            yield f"  and {more} more"

    def __enter__(self) -> Self:
        self._process = os.getpid()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process == os.getpid():  # a forked child ends its block too, and the world is its parent's
            self.delete()


class WorldClock:
    """A world's clock. Its changes return the ids of the objects that expired, or became valid again, because of them."""

    def __init__(self, world: MockWorld) -> None:
        self._world = world

    def state(self) -> ClockState:
        """Return the world's time, and the mode and rate of its clock."""
        return cast(ClockState, self._world.call("GET", "clock"))

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
        if not isinstance(to, Mapping):
            raise MockError(f"{to!r} is not a clock's setting; give a dict of at or offset, and rate")
        if to.keys() == {"rate"}:  # it continues from the world's time; a seed's clock begins at the machine's
            self.scale(to["rate"])
        else:
            self._world.seed({"clock": to})

    def _change(self, how: str, body: Any = None) -> ClockChange:
        return cast(ClockChange, self._world.call("POST", f"clock/{how}", body))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored state of a world. As a context manager, it is restored and deleted at the end."""

    of: MockWorld
    name: str
    _process: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)

    def restore(self) -> None:
        """Restore the snapshot atomically. This also clears the journal. It can be repeated."""
        self.of.call("POST", path_to("snapshots", self.name, "restore"))

    def delete(self) -> None:
        """Delete the snapshot; the world stays as it is."""
        self.of.call("DELETE", path_to("snapshots", self.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process == os.getpid():  # as for a world
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
