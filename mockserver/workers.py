"""Several processes that serve one mock: forked, watched, started again where one dies, stopped together.

The parent prepares everything and answers nobody. It forks before there is any thread or event loop, so
that starting a process again takes milliseconds and what was imported is in memory once. A link to each
tells the parent that it is ready, and the process to stop; its other end closing says that the parent is gone.
"""

import asyncio
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mockserver.clock import stopwatch
from mockserver.mock import Mock
from mockserver.server import build, new_event_loop
from mockserver.worlds import TIDY_SECONDS

log = logging.getLogger("mockserver")

STOP_SECONDS = 10.0
"""A process that hasn't stopped by then is killed; it gives requests under way half as long."""
HASTE_SECONDS = 1.0
"""One that lives no longer is started again only after as long."""

_READY, _STOP = b"r", b"s"


class StartFailed(Exception):
    """A process could not be started, or died before it was ready; what it said of why is in the log."""


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    pid: int
    link: socket.socket
    ready: bool = False
    started: float = field(default_factory=stopwatch)


class Workers:
    """The processes of a server: one for each list of listening sockets."""

    def __init__(self, mock: Mock, sockets: Sequence[Sequence[socket.socket]]) -> None:
        self._mock = mock
        self._shared = mock.share(len(sockets))
        self._sockets = sockets
        self._running: dict[int, _Worker] = {}
        self._due: list[tuple[float, int]] = []
        """When to start which again."""

    def serve(self, asked: Callable[[], int], ready: Callable[[], None]) -> None:
        """Until it is `asked` to stop, once or more often; calls `ready` when all are. Raises StartFailed."""
        self._selector = selectors.DefaultSelector()
        woken, waking = socket.socketpair()
        with self._selector, woken, waking:
            for end in (woken, waking):
                end.setblocking(False)
            self._woken = woken
            self._selector.register(woken, selectors.EVENT_READ)
            handled = signal.signal(signal.SIGCHLD, lambda *_: None)  # a signal without a handler wakes nobody
            before = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
            try:
                self._watch(asked, ready)
            finally:
                self._stop(asked)
                signal.set_wakeup_fd(before)
                signal.signal(signal.SIGCHLD, handled or signal.SIG_DFL)

    def _watch(self, asked: Callable[[], int], ready: Callable[[], None]) -> None:
        count = len(self._sockets)
        for number in range(count):
            try:
                self._start(number)
            except OSError as error:
                raise StartFailed(
                    f"process {number + 1} of {count} can't be started ({error.strerror}); serve with fewer --workers, "
                    "or see to the limits of processes, memory and open files"
                ) from error
        told = False
        while not asked():
            if not told and all(worker.ready for worker in self._running.values()):
                told = True
                ready()
            self._wait(min((at for at, _ in self._due), default=None))
            for worker, status in self._ended():
                how = _told(status)
                if not told:
                    raise StartFailed(f"process {worker.number + 1} of {count} {how} before it was ready")
                log.warning("process %d %s; another one takes its place", worker.pid, how)
                haste = stopwatch() - worker.started < HASTE_SECONDS
                self._due.append((stopwatch() + HASTE_SECONDS if haste else 0.0, worker.number))
            for at, number in [each for each in self._due if each[0] <= stopwatch()]:
                self._due.remove((at, number))
                try:
                    self._start(number, again=True)
                except OSError as error:  # too many processes, too little memory: the others go on
                    log.warning("no process can be started (%s); trying again", error)
                    self._due.append((stopwatch() + HASTE_SECONDS, number))

    def _start(self, number: int, again: bool = False) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid:
            theirs.close()
            self._running[pid] = _Worker(number, pid, ours)
            self._selector.register(ours, selectors.EVENT_READ, self._running[pid])
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for sent in (signal.SIGINT, signal.SIGHUP):  # by a terminal to all; the parent tells when to stop
                signal.signal(sent, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._selector.close()
            ours.close()
            for other in self._running.values():
                other.link.close()  # or a parent that was killed would seem to live on
            for sockets in self._sockets:
                for each in sockets if sockets is not self._sockets[number] else ():
                    each.close()
            self._work(number, theirs, again)
            code = 0
        except BaseException:
            log.exception("process %d failed", os.getpid())
        finally:
            logging.shutdown()
            os._exit(code)  # all else that is open is the parent's

    def _work(self, number: int, link: socket.socket, again: bool) -> None:
        mock = self._mock
        mock.join(self._shared, number)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(mock, list(self._sockets[number]), link, again))
        mock.database.close()

    def _stop(self, asked: Callable[[], int]) -> None:
        for sockets in self._sockets:
            for each in sockets:
                each.close()  # whoever comes now is refused, as no process takes him
        told, until = 0, stopwatch() + STOP_SECONDS
        while self._running:
            while told < max(1, asked()):
                told += 1
                for worker in self._running.values():
                    with suppress(OSError):  # it has just ended
                        worker.link.send(_STOP)
            self._wait(until)
            self._ended()
            if stopwatch() >= until:
                log.warning("killing %d processes that don't stop", len(self._running))
                for pid in self._running:
                    os.kill(pid, signal.SIGKILL)
                until += STOP_SECONDS

    def _wait(self, until: float | None) -> None:
        """For a signal, a process that gets ready or ends, or that time."""
        left = None if until is None else max(0.0, until - stopwatch())
        for key, _ in self._selector.select(left):
            if key.fileobj is self._woken:
                self._woken.recv(4_096)
            elif _received(key.data.link) == _READY:
                key.data.ready = True
            else:
                self._selector.unregister(key.fileobj)

    def _ended(self) -> list[tuple[_Worker, int]]:
        """Those that have ended since, with how; what they left behind is put in order."""
        ended = []
        for worker in list(self._running.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if not pid:
                continue
            del self._running[pid]
            if worker.link in self._selector.get_map():
                self._selector.unregister(worker.link)
            worker.link.close()
            self._mock.blobs.abandon(pid)
            self._shared.bury(worker.number)
            ended.append((worker, status))
        return ended


async def _serve(mock: Mock, sockets: list[socket.socket], link: socket.socket, again: bool) -> None:
    server, loop = build(mock), asyncio.get_running_loop()
    orders = 0

    def stop() -> None:
        server.should_exit = True

    def obey() -> None:
        nonlocal orders
        said = link.recv(16)
        if not said:  # the parent is gone
            loop.remove_reader(link)
        orders += len(said)
        stop()
        server.force_exit = orders > 1

    link.setblocking(False)
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_reader(link, obey)
    link.send(_READY)
    tidying = asyncio.create_task(_tidy(mock)) if again else None
    await server.serve(sockets)
    if tidying:
        tidying.cancel()  # the next start does it


async def _tidy(mock: Mock) -> None:
    done = False
    while not done:
        await asyncio.sleep(TIDY_SECONDS)
        done = await mock.database.run_bulk(mock.blobs.sweep_in_batches)


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(1)
    except ConnectionError:
        return b""


def _told(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
