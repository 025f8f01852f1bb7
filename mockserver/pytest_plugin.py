"""The pytest plugin: a server for each run or xdist worker, and a world of its own for each test.

Loaded by every pytest run where the package is installed: so it loads nothing itself that pytest
hasn't, until a test asks for a fixture.

Code under test may make its client at any time: when its module is imported, in a session's fixture, in
an earlier test. So the environment leads all clients of a run to one URL, whose port is reserved before
collection, and the server has that URL stand for the world of the test that is running.
"""

import os
import re
import socket
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
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
    "mockserver_process": (
        "string",
        "where our own server runs: child (a process of its own), thread (of the tests' process), or auto, the "
        "default: child if gevent or eventlet patched the process, or tests use freezegun, time_machine or pyfakefs",
    ),
    "mockserver_environment": (
        "string",
        "whether OPENAI_BASE_URL and OPENAI_API_KEY are set during collection too, for clients made at import: "
        "always, never, or auto, the default: if a test file or conftest.py names openai_mock",
    ),
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
CHOICES = {"mockserver_process": ("auto", "thread", "child"), "mockserver_environment": ("auto", "always", "never")}
SHOWN = 20
"""How many exchanges a failed test shows."""
PATCHING = {"time_machine": {"time_machine"}, "pyfakefs": {"fs", "fs_class", "fs_module", "fs_session"}}
"""Libraries that replace time or files while a test runs, and their fixtures. Their plugins load them in every run."""
START_SECONDS = 60.0
"""How long a server may take until it responds."""

_UNREACHED = re.compile(r"APIConnectionError|ConnectError|ConnectionRefusedError|Connection refused")

_world = pytest.StashKey["MockWorld"]()
_passed = pytest.StashKey[bool]()
_last_words = pytest.StashKey[tuple[str, str]]()
"""What a report would show of a world whose server has stopped."""
_open = pytest.StashKey[set[pytest.Item]]()
"""The tests whose worlds are still there."""
_target = pytest.StashKey["_Target"]()
_collecting = pytest.StashKey[pytest.MonkeyPatch]()
"""The environment of collection."""
_serving = pytest.StashKey[bool]()
"""Whether the server has been started."""


@dataclass
class _Target:
    """Where the environment leads clients: to a world's name which stands for each test's world in turn."""

    url: str
    world: str
    api_key: str
    elsewhere: bool
    bound: socket.socket | None = None
    """What our own server is going to serve on. Until then connections are refused, at once."""
    secret: str = ""
    """With which our own server lets the name stand for another world."""

    @property
    def base_url(self) -> str:
        return f"{self.url}/w/{self.world}/v1"

    def lead(self, patch: pytest.MonkeyPatch) -> None:
        from mockserver.environment import client_environment

        for name, value in client_environment(os.environ, self.base_url, self.api_key).items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mockserver", "a mock of the OpenAI Containers API")
    group.addoption("--mockserver-url", metavar="URL", help=f"{OPTIONS['mockserver_url'][1]} (also: MOCKSERVER_URL)")
    group.addoption(
        "--mockserver-process", choices=CHOICES["mockserver_process"], help=f"{OPTIONS['mockserver_process'][1]}"
    )
    group.addoption("--mockserver-verdict", action="store_true", help="fail tests whose client misbehaved")
    for name, (kind, help) in OPTIONS.items():
        parser.addini(name, help, kind)  # type: ignore[arg-type]  # a dict's values are no Literals


def pytest_configure(config: pytest.Config) -> None:
    takes = ", ".join(f"{name}=…" for name in MARKS)
    config.addinivalue_line("markers", f"{MARKER}({takes}): give the test a world of the mock server that is like this")
    config.stash.setdefault(_open, set())
    _begin(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    _end_collection(config)
    target = config.stash.get(_target, None)
    if target and target.bound:
        target.bound.close()


# The environment of collection


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """A conftest.py may import the application, whose client is made then."""
    _begin(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.pluginmanager.hasplugin("dsession"):
        _end_collection(session.config)  # xdist's workers collect, and inherit the environment


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    _end_collection(config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    with _own_environment(collector):
        report = yield
    if report.failed:
        _explain(collector.config, report)
    return report


def _begin(config: pytest.Config) -> None:
    """Set the environment for collection, once, if the tests are going to need it."""
    if _collecting in config.stash:
        return
    patch = config.stash[_collecting] = pytest.MonkeyPatch()
    for name in CHOICES:
        _choice(config, name)
    when = _choice(config, "mockserver_environment")
    if when == "always" or (when == "auto" and _is_used(config)):
        _aim(config).lead(patch)


def _end_collection(config: pytest.Config) -> None:
    if _collecting in config.stash:
        config.stash[_collecting].undo()


def _is_used(config: pytest.Config) -> bool:
    """Whether the configuration, or a file that collection would read, names the plugin."""
    if _elsewhere(config)[1] or any(config.getini(name) for name in OPTIONS if name != "mockserver_environment"):
        return True
    given = config.known_args_namespace
    places = given.file_or_dir or config.getini("testpaths") or ["."]
    here = config.invocation_params.dir
    for place in places:
        path = here / str(place).split("::")[0]
        if not path.exists():  # a package's name, or a pattern in testpaths
            path = here
        above = [path, *path.parents]
        above = above[: above.index(config.rootpath) + 1] if config.rootpath in above else above[:1]
        if any(_names_fixture(folder / "conftest.py") for folder in above) or _names_fixture(path):
            return True
        patterns = ["conftest.py", *config.getini("python_files")]
        skipped = config.getini("norecursedirs")
        for folder, folders, files in os.walk(path):
            folders[:] = [
                each
                for each in folders
                if not any(fnmatch(each, pattern) for pattern in skipped)
                and not Path(folder, each, "pyvenv.cfg").exists()
            ]
            for file in files:
                if any(fnmatch(file, pattern) for pattern in patterns) and _names_fixture(Path(folder, file)):
                    return True
    return False


def _names_fixture(file: Path) -> bool:
    return MARKER.encode() in _source(file)


def _source(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # none there, or a folder
        return b""


@contextmanager
def _own_environment(collector: pytest.Collector) -> Iterator[None]:
    """Leave the user's own environment to a module that looks for a key and uses no mock: its skipif holds."""
    patch = collector.config.stash.get(_collecting, None)
    if patch is None or not isinstance(collector, pytest.Module) or _target not in collector.config.stash:
        yield
        return
    source = _source(collector.path)
    if b"OPENAI_API_KEY" not in source or MARKER.encode() in source:
        yield
        return
    patch.undo()
    yield
    collector.config.stash[_target].lead(patch)


def _explain(config: pytest.Config, report: pytest.CollectReport | pytest.TestReport) -> None:
    """Say why a client that the environment led to the server found none."""
    target = config.stash.get(_target, None)
    if target is None or target.elsewhere or config.stash.get(_serving, False):
        return
    if _UNREACHED.search(str(report.longrepr)):
        why = (
            f"If a client that was made for {target.base_url} failed here, it found no server: it starts with the first "
            "test that uses the fixture openai_mock. Add openai_mock to the test or fixture that sends the request, and send none "
            "while modules are imported. Without OPENAI_BASE_URL during collection: mockserver_environment = never"
        )
        report.sections.append(("mock server", why))


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
    target = _aim(config)
    with _reached(where, url, target) if url else _started(request.session, own, target) as server:
        config.stash[_serving] = True
        yield server
        still_open = config.stash[_open]
        for item in tuple(still_open):
            item.stash[_last_words] = _exchanges(item.stash[_world])
            _close(item)


@pytest.fixture
def openai_mock(openai_mock_server: "Server", request: pytest.FixtureRequest) -> Iterator["MockWorld"]:
    """A fresh world of the mock server, to which the environment leads every OpenAI client, whenever it is made.

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
    target = _aim(item.config)
    with pytest.MonkeyPatch.context() as patch, _standing(openai_mock_server, target, world):
        target.lead(patch)
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
    """A marked test gets a world though it doesn't name the fixture; the server starts before other fixtures."""
    if _uses(item):
        names = [name for name in item.fixturenames if name != "openai_mock_server"]  # type: ignore[attr-defined]  # it has them
        marked = [] if MARKER in names else [MARKER]
        item.fixturenames = ["openai_mock_server", *marked, *names]  # type: ignore[attr-defined]  # a copy: other cases of the test share the list


def _uses(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", None)
    return names is not None and (MARKER in names or item.get_closest_marker(MARKER) is not None)


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
    elif report.failed:
        _explain(item.config, report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The environment leads clients of all the test's fixtures; the world stays until its last report is made."""
    with pytest.MonkeyPatch.context() as patch:
        if _uses(item):
            _aim(item.config).lead(patch)
            _forget_module_client(patch)
        try:
            return (yield)
        finally:
            _close(item)


def _forget_module_client(patch: pytest.MonkeyPatch) -> None:
    """Set aside the client that the openai package keeps for `openai.containers.create`: it may be anywhere's."""
    openai = sys.modules.get("openai")
    if getattr(openai, "_client", None) is not None:
        patch.setattr(openai, "_client", None)


# Servers and worlds


def _elsewhere(config: pytest.Config) -> tuple[str, str]:
    """Who names a server that runs already, and its URL; empty where nobody does."""
    told = {
        "--mockserver-url": _option(config, "mockserver_url"),
        "MOCKSERVER_URL": os.environ.get("MOCKSERVER_URL"),
        "mockserver_url": config.getini("mockserver_url"),
    }
    return next(((where, url) for where, url in told.items() if url), ("", ""))


def _option(config: pytest.Config, name: str) -> Any:
    """An option of the command line, which before conftest.py files are loaded is known in one place alone."""
    return getattr(config.known_args_namespace, name, None) or config.getoption(name, None)


def _choice(config: pytest.Config, name: str) -> str:
    """What is chosen for one of CHOICES, on the command line or in the configuration."""
    choice: str = _option(config, name) or config.getini(name) or CHOICES[name][0]
    if choice not in CHOICES[name]:
        raise pytest.UsageError(f"{name}: unknown value {choice!r}; choose one of: {', '.join(CHOICES[name])}")
    return choice


def _aim(config: pytest.Config) -> _Target:
    """Where clients are led in this process; found out once."""
    if _target in config.stash:
        return config.stash[_target]
    from mockserver.ids import unique
    from mockserver.testing import CURRENT

    if url := _elsewhere(config)[1]:
        # A world of another server can't change its name, so each test's has the same one, one after another.
        name, stem = f"pytest-{unique()}", _server_key() or "sk"
        target = _Target(re.sub(r"/(v1/?)?$", "", url.strip()), name, f"{stem}-world-{name}", elsewhere=True)
    else:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.bind(("127.0.0.1", 0))
        url = f"http://localhost:{bound.getsockname()[1]}"
        target = _Target(url, CURRENT, f"sk-world-{CURRENT}", elsewhere=False, bound=bound)
    config.stash[_target] = target
    return target


def _server_key() -> str:
    return os.environ.get("MOCKSERVER_API_KEY", "").split(",")[0]


@contextmanager
def _reached(where: str, url: str, target: _Target) -> Iterator["Server"]:
    from mockserver.testing import MockError, MockWorld, Server

    try:
        server = Server(url, token=os.environ.get("MOCKSERVER_CONTROL_TOKEN"), api_key=_server_key() or None)
        server.state()
    except MockError as error:
        _fail(f"{error}. The URL is given by {where}; without it tests get a server of their own.")
    with closing(server):
        yield server
        with suppress(MockError):  # what clients sent after the last test made it again
            MockWorld(server, target.world).delete()


@contextmanager
def _started(session: pytest.Session, settings: Mapping[str, Any], target: _Target) -> Iterator["Server"]:
    from mockserver.ids import unique
    from mockserver.patched import patched_by
    from mockserver.settings import NAMES, SeedError, parsed
    from mockserver.testing import MockError

    config = session.config
    options = {"seed": tuple(config.getini("mockserver_seed")), "profile": _profile(config) or "default", **settings}
    if unknown := sorted(options.keys() - set(NAMES)):
        _fail(f"openai_mock_settings: there is no setting {', '.join(unknown)}, but {', '.join(NAMES)}")
    try:
        given = parsed(options)
    except ValueError as error:
        _fail(f"the mock server can't start: {error}")
    if keys := given.get("api_key"):
        options["api_key"] = given["api_key"] = (*keys, target.api_key)

    chosen, patched = _choice(config, "mockserver_process"), patched_by()
    if chosen == "thread" and patched:
        _fail(
            f"the mock server can't run in a thread, for {patched} has replaced threads and sockets here; set "
            "mockserver_process = child, or leave it at auto"
        )
    secret = unique() + unique()
    assert target.bound, "it is our own server's"
    with ExitStack() as stack:
        server: Server
        if chosen == "child" or (chosen == "auto" and (patched or _may_patch(session))):
            from mockserver.server.child import ChildServer, StartFailed

            try:
                server = stack.enter_context(ChildServer(options, target.bound, secret))
            except (StartFailed, OSError) as error:
                _fail(f"the mock server can't start: {error}")
        else:
            from mockserver.server.faces import Current  # these load the framework, which takes a second
            from mockserver.server.serving import CannotBind, MockServer

            try:
                current = Current(secret)
                server = stack.enter_context(MockServer(current=current, listening=[target.bound], **given))
                # This loads the control plane, before a test can replace time or files in this process.
                server.control("GET", "state", timeout=START_SECONDS)
            except (SeedError, CannotBind, MockError) as error:
                _fail(f"the mock server can't start: {error}")
        target.secret = secret
        yield server


def _may_patch(session: pytest.Session) -> bool:
    """Whether tests use a library that replaces time or files in their process."""
    if "freezegun" in sys.modules:
        return True
    fixtures = set[str]().union(*PATCHING.values())
    if any(fixtures.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        return True
    conftests = {Path(getattr(each, "__file__", None) or "") for each in session.config.pluginmanager.get_plugins()}
    files = {item.path for item in session.items} | {each for each in conftests if each.name == "conftest.py"}
    return any(name.encode() in source for source in map(_source, files) for name in PATCHING)


@contextmanager
def _standing(server: "Server", target: _Target, world: "MockWorld") -> Iterator[None]:
    """Let the name that clients are led to stand for a world."""
    if target.elsewhere:
        yield
        return
    server.control("PUT", f"current/{target.secret}/{world.world}")
    yield
    server.control("PUT", f"current/{target.secret}/")


def _made(server: "Server", item: pytest.Item, marks: Mapping[str, Any]) -> "MockWorld":
    """Where all worlds are ours, one is called the same on each run, and so are its ids on a frozen clock."""
    from mockserver.testing import MockWorld

    target = _aim(item.config)
    words = re.sub(r"[^A-Za-z0-9]+", "-", item.name).strip("-")[:40] or "test"
    name = f"{words}-{blake2b(item.nodeid.encode(), digest_size=4).hexdigest()}"
    seeds, profile = _listed(marks.get("seed", ())), marks.get("profile")
    if target.elsewhere:
        name = target.world
        seeds = [*item.config.getini("mockserver_seed"), *seeds]  # which our own server has in its template
        profile = profile or _profile(item.config) or None
    world = MockWorld(server, name, folders=(item.path.parent, item.config.rootpath))
    world.base_url, world.api_key = target.base_url, target.api_key
    if target.elsewhere:
        world.delete()  # what a client sent between tests made it again
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


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _fail(why: str) -> NoReturn:
    raise pytest.fail.Exception(why, pytrace=False) from None  # the line says it all
