"""The log of `serve`: lines that a thread writes to the standard error, so that no request waits for who reads them."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from mockserver.clock import log_time
from mockserver.mock import Mock

MAX_UNWRITTEN = 1 << 20
"""Characters that wait to be written. Further lines are dropped, and counted."""
PAUSE = 0.02
"""Seconds between two writes, so that many lines are one write. A line after a pause is written at once."""
CLOSE_SECONDS = 1.0
"""How long the end of the server waits for who reads the last lines."""


class Log:
    """A stream for `logging`, and the lines on requests, which need no more of `logging` than their form."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()
        self._lines: list[str] = []
        self._size = self._dropped = 0
        self._waiting, self._closing = Event(), Event()
        self._thread = Thread(target=self._run, name="mockserver log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        with self._lock:
            if self._size + len(line) > MAX_UNWRITTEN:
                self._dropped += 1
                return
            self._size += len(line)
            self._lines.append(line)
        if not self._waiting.is_set():
            self._waiting.set()

    def flush(self) -> None:
        """Do nothing: the thread writes."""

    def request(self, line: str) -> None:
        self.write(f"{log_time()} INFO {line}\n")

    def close(self) -> None:
        self._closing.set()
        self._waiting.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._lines):
            self._waiting.wait()
            self._waiting.clear()
            with self._lock:
                lines, dropped = self._lines, self._dropped
                self._lines, self._size, self._dropped = [], 0, 0
            if dropped:
                lines.append(
                    f"{log_time()} WARNING {dropped} lines of the log were dropped: nothing read them in time\n"
                )
            rest = "".join(lines).encode("utf-8", "backslashreplace")
            with suppress(OSError):  # there is no other place to write that
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            self._closing.wait(PAUSE)


@contextmanager
def log_by_thread(mock: Mock) -> Iterator[None]:
    """Have a thread write what is logged. The root's handlers must exist already."""
    if sys.stderr is None:  # it is closed, and its descriptor may be that of any file
        yield
        return
    log = Log(sys.stderr.fileno())
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    for handler in handlers:
        handler.setStream(log)
    mock.log_request = log.request
    try:
        yield
    finally:
        log.close()
        for handler in handlers:
            handler.setStream(sys.stderr)
