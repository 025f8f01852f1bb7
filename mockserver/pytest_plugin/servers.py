"""The server of a test run, the URL that the environment names, and the worlds of the tests."""

import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mockserver.pytest_plugin.configuration import as_list, check_names, external_url, fail, setting

if TYPE_CHECKING:
    from mockserver.testing import MockWorld, Server

SHOWN = 20
"""How many exchanges the report of a failed test shows."""
PATCHING = {"time_machine": {"time_machine"}, "pyfakefs": {"fs", "fs_class", "fs_module", "fs_session"}}
"""Libraries that replace time or files while a test runs, and their fixtures. Their plugins load them in every run."""

_endpoint = pytest.StashKey["Endpoint"]()


@dataclass
class Endpoint:
    """The URL and key in the environment. They name one world, which stands for each test's world in turn."""

    url: str
    world: str
    api_key: str
    external: bool
    """Whether the server runs elsewhere."""
    reserved: socket.socket | None = None
    """The socket that our own server will use. Until it starts, connections are refused at once."""
    secret: str = ""
    """Allows to change the world that our own server uses for the name."""
    served: bool = False
    """Whether the server has been started."""

    @property
    def base_url(self) -> str:
        return f"{self.url}/w/{self.world}/v1"

    def set_environment(self, patch: pytest.MonkeyPatch) -> None:
        from mockserver.environment import client_environment

        for name, value in client_environment(os.environ, self.base_url, self.api_key).items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)


def endpoint(config: pytest.Config) -> Endpoint:
    """Return this process's endpoint. The first call creates it."""
    if found := existing_endpoint(config):
        return found
    from mockserver.client import MockError, server_url
    from mockserver.ids import unique
    from mockserver.testing import CURRENT

    if url := external_url(config)[0]:
        # A world of another server can't change its name, so the tests' worlds have one name, one after another.
        name, key = f"pytest-{unique()}", _server_key() or "sk"
        with suppress(MockError):  # the first test that uses it says what is wrong
            url = server_url(url)
        created = Endpoint(url, name, f"{key}-world-{name}", external=True)
    else:
        reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        reserved.bind(("127.0.0.1", 0))
        url = f"http://localhost:{reserved.getsockname()[1]}"
        created = Endpoint(url, CURRENT, f"sk-world-{CURRENT}", external=False, reserved=reserved)
    config.stash[_endpoint] = created
    return created


def existing_endpoint(config: pytest.Config) -> Endpoint | None:
    return config.stash.get(_endpoint, None)


def _server_key() -> str:
    return os.environ.get("MOCKSERVER_API_KEY", "").split(",")[0]


@contextmanager
def external_server(config: pytest.Config) -> Iterator["Server"]:
    from mockserver.testing import MockError, MockWorld, Server

    url, source = external_url(config)
    try:
        server = Server(url, token=os.environ.get("MOCKSERVER_CONTROL_TOKEN"), api_key=_server_key() or None)
        server.state()
    except MockError as error:
        fail(f"{error}. The URL is given by {source}; without it tests get a server of their own.")
    with closing(server):
        yield server
        with suppress(MockError):  # a request after the last test creates the world again
            MockWorld(server, endpoint(config).world).delete()


@contextmanager
def own_server(session: pytest.Session, settings: Mapping[str, Any]) -> Iterator["Server"]:
    """Start a server in a thread, or in a child process if tests replace parts of this one."""
    from mockserver.ids import unique
    from mockserver.patched import patched_by
    from mockserver.settings import NAMES, Settings

    config = session.config
    target = endpoint(config)
    options: dict[str, Any] = {
        "seed": tuple(config.getini("mockserver_seed")),
        "profile": setting(config, "mockserver_profile") or "default",
        **settings,
    }
    check_names("openai_mock_settings", "setting", options, NAMES)
    if options.get("tls_cert"):
        fail(
            "openai_mock_settings: tls_cert can't be used, as the environment names the server before it is known; start "
            "one with `mockserver serve --tls-cert …` and name it with --mockserver-url"
        )
    try:
        keys = Settings(**options).api_key
    except (TypeError, ValueError) as error:
        fail(f"the mock server can't start: {error}")
    if keys:
        options["api_key"] = (*keys, target.api_key)

    process, patched = setting(config, "mockserver_process"), patched_by()
    if process == "thread" and patched:
        fail(
            f"the mock server can't run in a thread, for {patched} has replaced threads and sockets here; set "
            "mockserver_process = child, or leave it at auto"
        )
    assert target.reserved, "only our own server needs a socket"
    target.secret = unique() + unique()
    in_child = process == "child" or (process == "auto" and (patched or _may_patch(session)))
    with ExitStack() as stack:
        server: Server
        from mockserver.server.child import START_SECONDS, ChildServer, StartFailed
        from mockserver.testing import MockError

        if in_child:
            try:
                server = stack.enter_context(ChildServer(options, target.reserved, target.secret))
            except (StartFailed, OSError) as error:
                fail(f"the mock server can't start: {error}")
        else:
            from mockserver.server.dispatch import Current  # these load the framework, which takes a second
            from mockserver.server.serving import START_ERRORS, MockServer

            try:
                current = Current(target.secret)
                server = stack.enter_context(MockServer(current=current, listening=[target.reserved], **options))
                # This loads the control plane, before a test can replace time or files in this process.
                server.control("GET", "state", timeout=START_SECONDS)
            except (*START_ERRORS, MockError) as error:
                fail(f"the mock server can't start: {error}")
        yield server


def read_source(file: Path) -> bytes:
    """Return a file's content; empty if it is missing or a directory."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _may_patch(session: pytest.Session) -> bool:
    """Return whether tests use a library that replaces time or files in their process."""
    if "freezegun" in sys.modules:
        return True
    fixtures = set[str]().union(*PATCHING.values())
    if any(fixtures.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        return True
    conftests = {Path(getattr(each, "__file__", None) or "") for each in session.config.pluginmanager.get_plugins()}
    files = {item.path for item in session.items} | {each for each in conftests if each.name == "conftest.py"}
    return any(name.encode() in source for source in map(read_source, files) for name in PATCHING)


@contextmanager
def current_world(server: "Server", target: Endpoint, world: "MockWorld") -> Iterator[None]:
    """Make requests to the endpoint go to a world."""
    if target.external:  # the world has the endpoint's name
        yield
        return
    server.control("PUT", f"current/{target.secret}/{world.world}")
    yield
    server.control("PUT", f"current/{target.secret}/")


def create_world(server: "Server", item: pytest.Item, marks: Mapping[str, Any]) -> "MockWorld":
    """Create a test's world.

    On our own server its name is the same in every run, and so are its ids on a frozen clock.
    """
    from mockserver.testing import MockWorld

    target = endpoint(item.config)
    words = re.sub(r"[^A-Za-z0-9]+", "-", item.name).strip("-")[:40] or "test"
    name = f"{words}-{blake2b(item.nodeid.encode(), digest_size=4).hexdigest()}"
    world = MockWorld(
        server,
        target.world if target.external else name,
        folders=list(dict.fromkeys((item.path.parent, item.config.rootpath))),
    )
    world.base_url, world.api_key = target.base_url, target.api_key
    start = {name: marks[name] for name in ("empty", "profile", "frozen", "clock") if name in marks}
    if target.external:
        world.delete()  # a request between tests creates it again
        _configure(world, item.config, start)
    world.prepare(seed=as_list(marks.get("seed", ())), **start)
    return world


def _configure(world: "MockWorld", config: pytest.Config, start: dict[str, Any]) -> None:
    """Give a world of another server what the template of our own has, and adapt the marks, which come after that."""
    from mockserver.profiles import parsed

    empty, profile = start.pop("empty", False), setting(config, "mockserver_profile")
    world.prepare(empty=empty, profile=profile or None)
    seeds = [] if empty else config.getini("mockserver_seed")
    for seed in seeds:
        if seed.suffix == ".zip":
            world.import_(seed)  # with its clock and profile, which no other seed of the configuration can have then
    world.prepare(seed=[seed for seed in seeds if seed.suffix != ".zip"])
    if profile and (marked := start.get("profile")):
        base, switches = parsed(marked) if isinstance(marked, str) else (marked.get("base"), marked)
        if base is None:  # switches change the profile of the configuration, which is that of our own server
            base, under = parsed(profile)
            start["profile"] = {**under, **switches, "base": base}


def last_exchanges(world: "MockWorld") -> tuple[str, str]:
    """Return the title and the text of a report's section."""
    from mockserver.testing import MockError

    try:
        lines = world.journal.shown(SHOWN) or "none: no request reached it"
    except MockError as error:
        lines = f"can't be shown: {error}"
    return f"last exchanges in world {world.world}", lines
