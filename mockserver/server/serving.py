"""A real socket: how the mock is served, in this process or a thread of it."""

import asyncio
import ctypes
import errno
import itertools
import logging
import math
import os
import socket
import ssl
import sys
import threading
from collections.abc import Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import uvicorn

from mockserver.clock import Wall, stopwatch
from mockserver.mock import Mock
from mockserver.patched import patched_by
from mockserver.server.dispatch import Current, Dispatcher
from mockserver.server.protocol import DRAIN_BYTES, Protocol
from mockserver.settings import Options, SeedError, Settings, url
from mockserver.storage.database import descriptors
from mockserver.storage.directory import DirectoryUnusable
from mockserver.testing import MockError, Server

log = logging.getLogger("mockserver")

T = TypeVar("T")

START_SECONDS = 30.0
TICK_SECONDS = 0.1
"""Of uvicorn, which expects ten in a second."""
DESCRIPTORS = 32
"""How many files a server must be allowed to open: the event loop, its sockets, a database and some connections."""
THREADS = 6
"""Threads for long work. For each one that read a world while others did, SQLite keeps a descriptor of that world."""
M_ARENA_MAX = -8
"""`malloc.h` of glibc: how many arenas there may be, that of the main thread included."""
SWITCH_SECONDS = 0.0001
"""How long a thread can keep the interpreter's lock while another one waits for it."""


class CannotBind(Exception):
    """No socket could be opened, or too few files; the message says why and what to do."""


class _PortTaken(CannotBind):
    """Another port may be free."""


class BadCertificate(Exception):
    """The certificate or its key can't be used; the message says why and what to do."""


START_ERRORS = (BadCertificate, CannotBind, SeedError, DirectoryUnusable)
"""What prevents a start. The message says why and what to do."""


def bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Return a listening socket for each host, all on one port.

    A host is skipped if the machine doesn't have its address family, as long as another one can be opened.
    The host :: takes IPv4 connections too if it is the only one.
    """
    for _ in range(20):
        sockets: list[socket.socket] = []
        try:
            for host in hosts:
                chosen = sockets[0].getsockname()[1] if sockets else port
                optional = bool(sockets) or host != hosts[-1]
                if opened := _open(host, chosen, optional, both_families=tuple(hosts) == ("::",)):
                    sockets.append(opened)
                else:  # expected of a default, which names both families for every machine
                    level = logging.DEBUG if tuple(hosts) == Settings().host else logging.WARNING
                    log.log(level, "not listening on %s: this machine doesn't have its address family", host)
            return sockets
        except CannotBind as error:
            for each in sockets:
                each.close()
            if port or not sockets or not isinstance(error, _PortTaken):
                raise
    raise CannotBind(f"no port is free on all of {', '.join(hosts)}")


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the context for HTTPS, or None if the settings name no certificate. Raises BadCertificate."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise BadCertificate("--tls-cert and --tls-key are used together: give both, or neither for HTTP")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for file in (cert, key):
            file.open("rb").close()
        context.load_cert_chain(cert, key, password="")  # so that it asks for none on the terminal
    except ssl.SSLError as error:
        raise BadCertificate(
            f"{cert} and {key} are no certificate and key that belong together "
            f"({error.reason or error.strerror}); give both in PEM format, and the key without a passphrase"
        ) from None
    except OSError as error:
        raise BadCertificate(
            f"{error.filename} can't be read ({error.strerror}); correct --tls-cert or --tls-key"
        ) from None
    return context


def _open(host: str, port: int, optional: bool, both_families: bool = False) -> socket.socket | None:
    """Return a listening socket, or None if it is optional and its address family is missing."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With protocol 0 asyncio would leave Nagle's algorithm on, and every response would take 40 ms.
        opened = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        if optional and error.errno in _NO_FAMILY:
            return None
        raise CannotBind(f"can't listen on {host}: {error.strerror}; name another address with --host") from None
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both_families)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(2048)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        if optional and error.errno == errno.EADDRNOTAVAIL and not _has(family):
            return None
        reason = f"can't listen on {host} port {port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            raise _PortTaken(
                f"{reason}; stop what listens there, or name another port with --port (0 takes a free one)"
            ) from None
        raise CannotBind(f"{reason}; name another address with --host or port with --port") from None
    return opened


_NO_FAMILY = {errno.EAFNOSUPPORT, socket.EAI_FAMILY, getattr(socket, "EAI_ADDRFAMILY", socket.EAI_FAMILY)}


def _has(family: socket.AddressFamily) -> bool:
    """Return whether the machine has a loopback address of the family."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    except OSError:
        return False
    return True


class Opened(uvicorn.Server):
    """uvicorn's, but that signals are the program's: a stop by one is a clean end, not the signal's.

    A stop ends event streams and long polls at once. Then the server goes on for `shutdown_delay`, so that a proxy can
    see /health fail; only then it accepts no more connections, and requests in progress have `shutdown_grace` to end.
    """

    def __init__(
        self, config: uvicorn.Config, mock: Mock, protocol: type[Protocol], sockets: list[socket.socket]
    ) -> None:
        super().__init__(config)
        self.mock = mock
        self._protocol = protocol
        self.sockets = sockets
        settings, (address, port) = mock.settings, sockets[0].getsockname()[:2]
        host = settings.host[0] if len(sockets) == len(settings.host) else address
        self.url = url(host, port, tls=settings.tls_cert is not None)
        """Where a client on this machine reaches the first of the sockets."""
        self._stopped = asyncio.Event()
        self._ticks = itertools.count()
        """The numbers of uvicorn's ticks. At each tenth it sets the date of all responses."""

    def stop(self) -> None:
        """End the server at once, and not at uvicorn's next tick. For the thread of the event loop."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(next(self._ticks)):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopped.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.default_headers = self.config.encoded_headers  # else set after the first connections
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.mock.stopping = True
        self.mock.journal.close()
        await self._serve_on()
        await super().shutdown(sockets)
        await self.mock.worlds.finish()

    async def _serve_on(self) -> None:
        """Serve for `shutdown_delay`, each response the last one of its connection. A second signal ends this."""
        until = stopwatch() + self.mock.settings.shutdown_delay
        self._protocol.keeps_alive = False
        while stopwatch() < until and not self.force_exit:
            await self.on_tick(next(self._ticks))
            await asyncio.sleep(TICK_SECONDS)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def open_server(
    settings: Settings,
    wall: Wall | None = None,
    current: Current | None = None,
    listening: Sequence[socket.socket] = (),
    binds: bool = True,
) -> Opened:
    """Open everything that a server needs, the data last, so that a start that fails writes nothing.

    `listening` are sockets to serve on besides its own, which it opens if it `binds`. Raises START_ERRORS.
    """
    if (allowed := descriptors()) < DESCRIPTORS:
        raise CannotBind(
            f"this process may open {allowed} files, and a server needs {DESCRIPTORS}; raise it: ulimit -n 1024"
        )
    context = tls_context(settings)
    own = bind(settings.host, settings.port) if binds else []
    try:
        for each in listening:
            each.listen(2048)
            each.setblocking(False)
        mock = Mock(settings, wall)
    except BaseException:
        for each in own:
            each.close()
        raise

    class Bounded(Protocol):
        body_timeout, body_rate = mock.settings.body_timeout, mock.settings.min_body_rate
        drain_bytes = max(DRAIN_BYTES, mock.settings.max_upload, mock.settings.max_body)
        drain_import_bytes = max(drain_bytes, mock.settings.max_import)

    config = uvicorn.Config(
        Dispatcher(mock, current),
        http=Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=[("x-mock-server", settings.name)] if settings.name else [],
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace),
        timeout_keep_alive=75,
        ssl_context_factory=(lambda *_: context) if context else None,
    )
    return Opened(config, mock, Bounded, [*own, *listening])


class MockServer(Server):
    """A mock server in a thread of this process, as a context manager.

    with MockServer() as server:
        client = OpenAI(base_url=server.base_url, api_key="any")

    with MockServer() as server, server.world() as world:
        client = OpenAI(base_url=world.base_url, api_key=world.api_key)
        world.clock.advance("20m")
    """

    def __init__(
        self,
        settings: Settings | None = None,
        wall: Wall | None = None,
        *,
        current: Current | None = None,
        listening: Sequence[socket.socket] = (),
        **options: Unpack[Options],
    ) -> None:
        """Take settings, or `options` by the names of settings. Raises TypeError or ValueError for values they can't have.

        `listening` are sockets to serve on: instead of one of its own, or if `options` name a host or port besides.
        """
        if not isinstance(settings, Settings | None):
            raise TypeError(f"{settings!r:.80} is no Settings object; name the setting: MockServer(profile='live')")
        if settings and options:
            raise TypeError(f"give either settings or {', '.join(options)}, not both")
        given: dict[str, Any] = {"port": 0, "host": "127.0.0.1", **options}
        self.settings = settings or Settings(**given)
        self._wall = wall
        self._current = current
        self._listening = listening
        self._binds = not listening or bool({"host", "port"} & options.keys())
        self._process = 0
        """The process that runs it, while it runs."""

    def __enter__(self) -> Self:
        if self._process == os.getpid():
            raise RuntimeError(f"this server runs already, at {self.url}; make another one with MockServer()")
        if patched := patched_by():
            raise RuntimeError(
                f"{patched} has replaced the threads and sockets of this process, so a server in a thread would hang; "
                "start one with `mockserver serve` or `mockserver run`, and use mockserver.testing.Server(url)"
            )
        self._server = open_server(self.settings, self._wall, self._current, self._listening, self._binds)
        self.mock = self._server.mock
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._reach_own(self._server.url, self.settings)
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="mockserver", daemon=True)
        self._thread.start()
        self._process = os.getpid()
        if "freezegun" in sys.modules:
            with suppress(MockError):
                self.state()  # this loads the control plane, which can't be done while a test freezes time
        return self

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(self._server.sockets))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's own thread, between requests, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._process != os.getpid():  # a forked child ends its block too, and the server is its parent's
            return
        self._process = 0
        self.close()
        with suppress(RuntimeError):  # the thread has ended already
            self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(START_SECONDS + self.settings.shutdown_delay + self.settings.shutdown_grace)
        self.mock.close()


def share_fairly() -> None:
    """For a process that is the server's own: have threads hand over the interpreter's lock soon, and share memory.

    While a thread reads a large seed, a request that needs the lock a few times waits for a few of these intervals. By
    default glibc gives each thread an arena of its own, which keeps what a large body took: 60 MB for six of them.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    with suppress(OSError, AttributeError, TypeError):  # other C libraries have no arenas
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest loop that is installed, with threads that are not the more the more processors there are."""
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    return loop
