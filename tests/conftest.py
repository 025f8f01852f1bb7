"""Fixtures: one server for the whole run, one world for each test."""

import gc
import itertools
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2
import openai
import pytest
from hypothesis import settings

from mockserver.clock import Clock
from mockserver.server import serving as server_module
from mockserver.server.serving import MockServer

server_module.START_SECONDS = 600.0  # long, like all timeouts of the tests: a busy machine must not fail them
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of servers are started: compile the bytecode once

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# No deadline: a busy machine must not fail tests. CI runs these tests again with --hypothesis-profile=many.
settings.register_profile("few", deadline=None, max_examples=25)
settings.register_profile("many", deadline=None, max_examples=200)
settings.load_profile("few")
for phase in ("connect", "read", "write", "pool"):
    setattr(httpx2._config.DEFAULT_TIMEOUT_CONFIG, phase, 60.0)  # as above

# Without the cache, each client would load the system's certificates, which takes longer than most tests.
_create_ssl_context = httpcore2.default_ssl_context
_cached_ssl_context = cache(lambda certificates, **options: _create_ssl_context(**options))
httpcore2.default_ssl_context = lambda **options: _cached_ssl_context(os.environ.get("SSL_CERT_FILE"), **options)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job; child processes would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_worlds = itertools.count()

LONG_GRACE = ("--shutdown-grace", "600")
"""Flags of a server that waits up to ten minutes for open requests when it stops. If it waits for one that it should not
wait for, the test times out."""

NOON = 1_782_324_240
"""A fixed instant for tests: 2026-06-24T18:04:00Z."""


class cached_once(cached_property):  # noqa: N801  # a decorator
    """A `cached_property` that computes its value only once when several threads read it, as up to CPython 3.11."""

    _lock = threading.RLock()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        with self._lock:
            return super().__get__(instance, owner)


@dataclass
class World:
    """A test's own world on a server, and clients for it."""

    server: MockServer
    name: str
    api_key: str = "sk-test"

    @property
    def base_url(self) -> str:
        return f"{self.server.url}/w/{self.name}/v1"

    @cached_once
    def http(self) -> httpx2.Client:
        """An HTTP client: `world.http.get("/containers")`."""
        return httpx2.Client(base_url=self.base_url, headers={"Authorization": f"Bearer {self.api_key}"})

    @cached_once
    def openai(self) -> openai.OpenAI:
        """The official client, which rejects responses that don't match its types."""
        return openai.OpenAI(
            base_url=self.base_url, api_key=self.api_key, max_retries=0, _strict_response_validation=True
        )

    def freeze(self, at: float = NOON) -> None:
        """Stop the world's clock at an instant in seconds since the epoch."""
        self._change_clock(lambda clock, now: Clock(at, now, 0.0))

    def advance(self, seconds: float) -> None:
        self._change_clock(lambda clock, now: clock.advanced(now, seconds))

    def _change_clock(self, change: Callable[[Clock, float], Clock]) -> None:
        mock = self.server.mock
        self.server.run(mock.worlds.change_clock(self.name, lambda clock: change(clock, mock.wall.now())))

    def close(self) -> None:
        for name in {"http", "openai"} & vars(self).keys():  # only those that were created
            getattr(self, name).close()

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_world(server: MockServer) -> World:
    return World(server, f"test-{os.getpid()}-{next(_worlds)}")


def stored(data: Path) -> dict[str, bytes]:
    """Return the contents in a data directory by digest: rows and files of all worlds and snapshots."""
    found: dict[str, bytes] = {}
    for state in (*data.glob("worlds/*"), *data.glob("snapshots/*")):
        with closing(sqlite3.connect(f"file:{state / 'world.db'}?mode=ro", uri=True)) as database:
            small = dict(database.execute("SELECT digest, content FROM contents"))
        large = {path.name: path.read_bytes() for path in state.glob("contents/*/*")}
        assert not small.keys() & large.keys()
        found |= small | large
    return found


def ok(response: httpx2.Response) -> Any:
    """Return the JSON of a successful response."""
    assert response.status_code == 200, response.text
    return response.json()


def error_message(response: httpx2.Response, status: int, code: str | None) -> str:
    """Check the status, the code and the shape of an error response, and return its message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == code
    return str(error["message"])


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors here, and not in the tests of the manual, which a reader may try in the clone: the clients in
    them are closed by the garbage collector."""
    config.addinivalue_line("filterwarnings", "error")


def pytest_collection_finish() -> None:
    gc.freeze()  # keeps full collections from traversing all modules and tests


@pytest.fixture(scope="session")
def server() -> Iterator[MockServer]:
    with MockServer() as running:
        yield running


@pytest.fixture(scope="session")
def live_server() -> Iterator[MockServer]:
    """A server that rejects what the live API rejects."""
    with MockServer(profile="live") as running:
        yield running


@pytest.fixture
def world(server: MockServer) -> Iterator[World]:
    with new_world(server) as world:
        yield world


@pytest.fixture
def live_world(live_server: MockServer) -> Iterator[World]:
    with new_world(live_server) as world:
        yield world


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """Start the system's Chromium.

    Module scope, because Playwright keeps an event loop running in the thread, so that tests of other modules could not
    run their own.
    """
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        assert os.environ.get("CI") != "true", "Chromium was not found; .ci/run installs it"
        pytest.skip("Chromium was not found")
    from playwright.sync_api import sync_playwright  # imported here because it is slow and rarely needed

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=BROWSER_ARGUMENTS, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: "Browser") -> "Iterator[BrowserContext]":
    """Return a new browser profile, without cookies or cache."""
    with chromium.new_context() as context:
        yield context


@pytest.fixture
def page(context: "BrowserContext") -> "Page":
    return context.new_page()
