"""The pytest plugin: a server for each run or xdist worker, and a world for each test.

Every pytest run loads it where the package is installed. So it imports nothing that pytest hasn't loaded until a
test uses a fixture.

Code under test may create its client at any time: when its module is imported, in a session's fixture, in an earlier
test. So the environment names one URL during the whole run. Its port is reserved before collection, and the server
forwards its requests to the world of the test that is running.
"""

import sys
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from mockserver.pytest_plugin import collection, servers
from mockserver.pytest_plugin.configuration import (
    CHOICES,
    MARKER,
    MARKS,
    OPTIONS,
    as_list,
    external_url,
    fail,
    marks,
    setting,
)

if TYPE_CHECKING:
    from mockserver.testing import MockWorld, Server

__all__ = ["MARKS", "OPTIONS"]

_world = pytest.StashKey["MockWorld"]()
_passed = pytest.StashKey[bool]()
_exchanges = pytest.StashKey[tuple[str, str]]()
"""The report's section on a world whose server has stopped."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mockserver", "a mock of the OpenAI Containers API")
    group.addoption("--mockserver-url", metavar="URL", help=f"{OPTIONS['mockserver_url'][1]} (also: MOCKSERVER_URL)")
    group.addoption(
        "--mockserver-process", choices=CHOICES["mockserver_process"], help=OPTIONS["mockserver_process"][1]
    )
    group.addoption("--mockserver-verdict", action="store_true", help="fail tests whose client misbehaved")
    for name, (kind, help) in OPTIONS.items():
        parser.addini(name, help, kind)  # type: ignore[arg-type]  # a dict's values are no Literals


def pytest_configure(config: pytest.Config) -> None:
    arguments = ", ".join(f"{name}=…" for name in MARKS)
    line = f"{MARKER}({arguments}): give the test a world of the mock server that is like this"
    config.addinivalue_line("markers", line)
    collection.begin(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    collection.end(config)
    endpoint = servers.existing_endpoint(config)
    if endpoint and endpoint.reserved:
        endpoint.reserved.close()


# Collection


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """A conftest.py may import the application, which then creates its client."""
    collection.begin(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.pluginmanager.hasplugin("dsession"):
        collection.end(session.config)  # xdist's workers collect, and inherit the environment


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    collection.end(config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    with collection.module_environment(collector):
        report = yield
    if report.failed:
        collection.explain_failure(collector.config, report)
    return report


# Fixtures


@pytest.fixture(scope="session")
def openai_mock_settings() -> dict[str, Any]:
    """Settings for our own server by name, as `{"max_upload": 1 << 20}`; made to be overridden in conftest.py."""
    return {}


@pytest.fixture(scope="session")
def openai_mock_server(request: pytest.FixtureRequest) -> Iterator["Server"]:
    """A mock server on a free port, one for the run or each xdist worker; or the one that runs elsewhere.

    It has `url`, `base_url`, `state()` and `world()`; our own, a MockServer, also `mock` and `run(coroutine)`.
    """
    config, settings = request.config, request.getfixturevalue("openai_mock_settings")
    if not isinstance(settings, Mapping):
        fail(f"openai_mock_settings: {settings!r:.80} can't be used; return a dict of settings")
    if external_url(config)[0]:
        running = servers.external_server(config)
        if settings:
            url, source = external_url(config)
            text = f"openai_mock_settings is ignored: the server at {url} ({source}) has its own settings"
            warnings.warn(pytest.PytestWarning(text), stacklevel=1)
    else:
        running = servers.own_server(request.session, settings)
    with running as server:
        servers.endpoint(config).served = True
        yield server
        for item in request.session.items:
            if _world in item.stash:
                item.stash[_exchanges] = servers.last_exchanges(item.stash[_world])
                _delete_world(item)


@pytest.fixture
def openai_mock(openai_mock_server: "Server", request: pytest.FixtureRequest) -> Iterator["MockWorld"]:
    """A new world of the mock server, which every OpenAI client finds by its environment, whenever it is created.

    `base_url`, `api_key`; `clock`: freeze, advance, offset, scale, resume, reset, now; `faults`: add, list,
    clear; `journal`: iterable, filter, wait, count, clear; `snapshot()`, `seed()`, `add_assistant_file()`,
    `expire()`, `verdict()`, `reset()`.
    """
    from mockserver.settings import SeedError
    from mockserver.testing import MockError

    item: pytest.Item = request.node
    config = item.config
    _delete_world(item)  # a plugin may run a test again
    given = marks(item)
    try:
        world = item.stash[_world] = servers.create_world(openai_mock_server, item, given)
        if ignored := _ignored(item, given):
            world.verdict(ignored)  # the server knows the names
    except (MockError, SeedError, OSError, ValueError) as error:
        fail(f"the test's world can't be made: {error}")
    endpoint = servers.endpoint(config)
    with pytest.MonkeyPatch.context() as patch, servers.current_world(openai_mock_server, endpoint, world):
        endpoint.set_environment(patch)
        for name, value in world.environment.items():
            patch.setenv(name, value)
        yield world
    if given.get("verdict", setting(config, "mockserver_verdict")) and item.stash.get(_passed, False):
        try:
            verdict = world.verdict(ignored)
        except MockError as error:
            fail(f"there is no verdict: {error}")
        if not verdict.ok:
            names = sorted({finding["name"] for finding in verdict.findings})
            fail(f"The client misbehaved.\n{verdict}\nIf the test intends it: @pytest.mark.{MARKER}(ignore={names})")


# Tests


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give a marked test the fixture if it doesn't request it, and start the server before other fixtures."""
    if _uses_mock(item):
        names = [name for name in item.fixturenames if name != "openai_mock_server"]  # type: ignore[attr-defined]  # it has them
        marked = [] if MARKER in names else [MARKER]
        item.fixturenames = ["openai_mock_server", *marked, *names]  # type: ignore[attr-defined]  # a copy: other cases of the test share the list


def _uses_mock(item: pytest.Item) -> bool:
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
        report.sections.append(servers.last_exchanges(item.stash[_world]))
    elif report.failed and _exchanges in item.stash:
        report.sections.append(item.stash[_exchanges])
    elif report.failed:
        collection.explain_failure(item.config, report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Set the environment before the test's other fixtures, and delete its world after the last report."""
    with pytest.MonkeyPatch.context() as patch:
        if _uses_mock(item):
            servers.endpoint(item.config).set_environment(patch)
            _remove_module_client(patch)
        try:
            return (yield)
        finally:
            _delete_world(item)


def _remove_module_client(patch: pytest.MonkeyPatch) -> None:
    """Remove the client that the openai package keeps for `openai.containers.create`: it may have another URL."""
    openai = sys.modules.get("openai")
    if getattr(openai, "_client", None) is not None:
        patch.setattr(openai, "_client", None)


def _delete_world(item: pytest.Item) -> None:
    world = item.stash.get(_world, None)
    if world is None:
        return
    from mockserver.testing import MockError

    del item.stash[_world]
    with suppress(MockError):  # if the server is gone, its worlds are too, and the tests have failed
        if servers.endpoint(item.config).external and _is_forgiven(item, world):
            world.journal.clear()  # `mockserver run --verdict` checks the journal of each world that is deleted
        world.delete()


def _ignored(item: pytest.Item, given: Mapping[str, Any]) -> list[str]:
    """Return the findings that the verdict of a test leaves out."""
    return [*item.config.getini("mockserver_ignore"), *as_list(given.get("ignore", ()))]


def _is_forgiven(item: pytest.Item, world: "MockWorld") -> bool:
    """Return whether nobody is to report the mistakes of a test's client: the test says so, or did not pass."""
    given = marks(item)
    if given.get("verdict") is False or not item.stash.get(_passed, False):
        return True
    ignored = _ignored(item, given)
    return bool(ignored) and world.verdict(ignored).ok
