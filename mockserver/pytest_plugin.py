"""The pytest plugin: a server for each run or xdist worker, and a world of its own for each test.

Loaded by every pytest run where the package is installed: so it loads nothing itself that pytest
hasn't, until a test asks for a fixture.
"""

import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from mockserver.testing import MockWorld, Server

MARKER = "openai_mock"
OPTIONS = {
    "mockserver_url": ("string", "URL of a mock server that runs elsewhere, to use instead of one of our own"),
    "mockserver_seed": ("paths", "seed files, or directories of them, that each test's world starts from"),
    "mockserver_profile": ("string", "a profile's name, with single switches as live,delete_lag=5m"),
    "mockserver_verdict": ("bool", "fail tests whose client misbehaved, as --mockserver-verdict does"),
    "mockserver_ignore": ("args", "findings that the verdict leaves out"),
}
"""What can be set in pytest's configuration: the type, and what it is for."""
MARKS = {
    "seed": "a seed file beside the test's file, a dict like one, or a list of these, to start from",
    "empty": "True: without what the server's seeds describe",
    "profile": "a profile's name, with switches as live,delete_lag=5m; or a dict of switches and base",
    "frozen": "an instant at which the world's clock stands still, or True for now",
    "clock": "the world's clock as seeds set it: a dict of at or offset, and rate",
    "verdict": "True or False: whether to fail the test if its client misbehaved",
    "ignore": "findings that the verdict leaves out, one or a list",
}
"""What the marker takes."""
SHOWN = 20
"""How many exchanges a failed test shows."""

_world = pytest.StashKey["MockWorld"]()
_passed = pytest.StashKey[bool]()
_last_words = pytest.StashKey[tuple[str, str]]()
"""What a report would show of a world whose server has stopped."""
_open = pytest.StashKey[set[pytest.Item]]()
"""The tests whose worlds are still there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mockserver", "a mock of the OpenAI Containers API")
    group.addoption("--mockserver-url", metavar="URL", help=f"{OPTIONS['mockserver_url'][1]} (also: MOCKSERVER_URL)")
    group.addoption("--mockserver-verdict", action="store_true", help="fail tests whose client misbehaved")
    for name, (kind, help) in OPTIONS.items():
        parser.addini(name, help, kind)  # type: ignore[arg-type]  # a dict's values are no Literals


def pytest_configure(config: pytest.Config) -> None:
    takes = ", ".join(f"{name}=…" for name in MARKS)
    config.addinivalue_line("markers", f"{MARKER}({takes}): give the test a world of the mock server that is like this")
    config.stash.setdefault(_open, set())


# What tests ask for


@pytest.fixture(scope="session")
def openai_mock_settings() -> dict[str, Any]:
    """Settings for our own server by name, as `{"max_upload": 1 << 20}`; made to be overridden in conftest.py."""
    return {}


@pytest.fixture(scope="session")
def openai_mock_server(request: pytest.FixtureRequest) -> Iterator["Server"]:
    """A mock server on a free port, one for the run or each xdist worker; or the one that runs elsewhere.

    It has `url`, `base_url`, `state()` and `world()`; our own, a MockServer, also `mock` and `run(coroutine)`.
    """
    config = request.config
    where, url = _elsewhere(config)
    own = {} if url else request.getfixturevalue("openai_mock_settings")
    with _reached(where, url) if url else _started(config, own) as server:
        yield server
        still_open = config.stash[_open]
        for item in tuple(still_open):
            item.stash[_last_words] = _exchanges(item.stash[_world])
            _close(item)


@pytest.fixture
def openai_mock(openai_mock_server: "Server", request: pytest.FixtureRequest) -> Iterator["MockWorld"]:
    """A fresh world of the mock server, to which the environment leads every OpenAI client.

    `base_url`, `api_key`; `clock`: freeze, advance, offset, scale, resume, reset, now; `faults`: add, list,
    clear; `journal`: iterable, filter, wait, count, clear; `snapshot()`, `seed()`, `add_assistant_file()`,
    `expire()`, `verdict()`, `reset()`.
    """
    from mockserver.testing import MockError

    item: pytest.Item = request.node
    _close(item)  # it is run again: each time is the first
    marks = _marks(item)
    try:
        world = _made(openai_mock_server, item, marks)
    except (MockError, ValueError) as error:
        _fail(f"the test's world can't be made: {error}")
    item.stash[_world] = world
    item.config.stash[_open].add(item)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        yield world
    if marks.get("verdict", _judging(item.config)) and item.stash.get(_passed, False):
        ignored = [*item.config.getini("mockserver_ignore"), *_listed(marks.get("ignore", ()))]
        try:
            verdict = world.verdict(ignored)
        except MockError as error:
            _fail(f"there is no verdict: {error}")
        if not verdict.ok:
            _fail(f"The client misbehaved.\n{verdict}\nWhere it is meant to: @pytest.mark.{MARKER}(ignore=[…])")


# What happens around a test


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marked test gets a world though it doesn't name the fixture."""
    names = getattr(item, "fixturenames", None)
    if names is not None and MARKER not in names and item.get_closest_marker(MARKER):
        item.fixturenames = [MARKER, *names]  # type: ignore[attr-defined]  # a copy: other cases of the test share the list


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[_passed] = report.passed
    if report.failed and _world in item.stash:
        report.sections.append(_exchanges(item.stash[_world]))
    elif report.failed and _last_words in item.stash:
        report.sections.append(item.stash[_last_words])
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The world stays until the test's last report is made."""
    try:
        return (yield)
    finally:
        _close(item)


# Servers and worlds


def _elsewhere(config: pytest.Config) -> tuple[str, str]:
    """Who names a server that runs already, and its URL; empty where nobody does."""
    told = {
        "--mockserver-url": config.getoption("mockserver_url"),
        "MOCKSERVER_URL": os.environ.get("MOCKSERVER_URL"),
        "mockserver_url": config.getini("mockserver_url"),
    }
    return next(((where, url) for where, url in told.items() if url), ("", ""))


@contextmanager
def _reached(where: str, url: str) -> Iterator["Server"]:
    from mockserver.testing import MockError, Server

    key = os.environ.get("MOCKSERVER_API_KEY", "").split(",")[0]
    try:
        server = Server(url, token=os.environ.get("MOCKSERVER_CONTROL_TOKEN"), api_key=key or None)
        server.state()
    except MockError as error:
        _fail(f"{error}. The URL is given by {where}; without it tests get a server of their own.")
    with closing(server):
        yield server


@contextmanager
def _started(config: pytest.Config, settings: Mapping[str, Any]) -> Iterator["Server"]:
    from dataclasses import fields

    from mockserver.settings import Settings

    parse = {each.name: each.metadata["parse"] for each in fields(Settings)}
    options = {"seed": tuple(config.getini("mockserver_seed")), "profile": _profile(config) or "default", **settings}
    if unknown := sorted(options.keys() - parse.keys()):
        _fail(f"openai_mock_settings: there is no setting {', '.join(unknown)}, but {', '.join(parse)}")
    try:
        given = {name: _parsed(parse[name], value) for name, value in options.items()}
    except ValueError as error:
        _fail(f"the mock server can't start: {error}")

    from mockserver.server import CannotBind, MockServer  # these load the framework, which takes a second
    from mockserver.settings import SeedError

    with ExitStack() as stack:
        try:
            server = stack.enter_context(MockServer(**given))
        except (SeedError, CannotBind) as error:
            _fail(f"the mock server can't start: {error}")
        yield server


def _made(server: "Server", item: pytest.Item, marks: Mapping[str, Any]) -> "MockWorld":
    """Where all worlds are ours, one is called the same on each run, and so are its ids on a frozen clock."""
    from mockserver.ids import unique
    from mockserver.testing import MockWorld

    words = re.sub(r"[^A-Za-z0-9]+", "-", item.name).strip("-")[:40] or "test"
    name = f"{words}-{blake2b(item.nodeid.encode(), digest_size=4).hexdigest()}"
    seeds, profile = _listed(marks.get("seed", ())), marks.get("profile")
    if _elsewhere(item.config)[1]:
        name = f"{name}-{unique()}"
        seeds = [*item.config.getini("mockserver_seed"), *seeds]  # which our own server has in its template
        profile = profile or _profile(item.config) or None
    world = MockWorld(server, name, folders=(item.path.parent, item.config.rootpath))
    world.prepare(
        empty=marks.get("empty", False),
        profile=profile,
        frozen=marks.get("frozen", False),
        clock=marks.get("clock"),
        seed=seeds,
    )
    return world


def _close(item: pytest.Item) -> None:
    world = item.stash.get(_world, None)
    if world is None:
        return
    from mockserver.testing import MockError

    del item.stash[_world]
    item.config.stash[_open].discard(item)
    with suppress(MockError):  # a server that is gone took its worlds along, and the tests have told
        world.delete()


def _exchanges(world: "MockWorld") -> tuple[str, str]:
    """A report's section: its title and its lines."""
    from mockserver.testing import MockError

    try:
        lines = world.journal.shown(SHOWN) or "none: no request reached it"
    except MockError as error:
        lines = f"can't be shown: {error}"
    return f"last exchanges in world {world.world}", lines


# What is asked for in configuration and marks


def _profile(config: pytest.Config) -> str:
    profile: str = config.getini("mockserver_profile")
    return profile


def _judging(config: pytest.Config) -> bool:
    return bool(config.getoption("mockserver_verdict") or config.getini("mockserver_verdict"))


def _marks(item: pytest.Item) -> dict[str, Any]:
    """What the markers say together; the one nearest to the test wins."""
    together: dict[str, Any] = {}
    for mark in item.iter_markers(MARKER):
        if mark.args:
            _fail(f"@pytest.mark.{MARKER} takes its arguments by name: {', '.join(MARKS)}")
        if unknown := sorted(mark.kwargs.keys() - MARKS.keys()):
            _fail(f"@pytest.mark.{MARKER} takes no {', '.join(unknown)}, but {', '.join(MARKS)}")
        together = {**mark.kwargs, **together}
    return together


def _parsed(parse: Callable[[str], Any], value: Any) -> Any:
    """A setting's value, which may be written as for the command line."""
    if isinstance(value, list | tuple):
        return tuple(_parsed(parse, each) for each in value)
    return parse(value) if isinstance(value, str) else value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _fail(why: str) -> NoReturn:
    pytest.fail(why, pytrace=False)
