"""What the processes of one server share beside the database: a piece of memory, and locks by name.

Each process keeps the worlds that it has opened. How many changes of worlds each has begun and ended
stands in the shared memory, so that the others know, for the price of comparing a few bytes, that what
they keep is still so (asking SQLite, by `PRAGMA data_version`, costs as much as reading the row anew, and
is answered with a change by every other write). A change is begun before it is committed and ended
afterwards: whoever sees neither in the course of his reading has read all of the old or all of the new.

The memory is anonymous and comes by fork. What a process that died had begun or held, its parent clears.
"""

import asyncio
import mmap
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import blake2b
from pathlib import Path

_COUNTS = struct.Struct("=QQ")
"""Changes of worlds that a process has begun, and ended."""
_HELD = struct.Struct("=Q")
_USE = struct.Struct("=qd")
"""A world, and when it was last used."""
_USES = 1 << 16
"""Places for uses. Worlds whose ids are as far apart share one."""
_POLL_SECONDS = 0.001


class Shared:
    """One for all processes of a server; `number` tells them apart, once each has taken its own."""

    def __init__(self, processes: int, locks: Path) -> None:
        self.processes = processes
        self.number = 0
        self._locks = locks
        self._held_at = processes * _COUNTS.size
        self._uses_at = self._held_at + processes * _HELD.size
        self._memory = mmap.mmap(-1, self._uses_at + _USES * _USE.size)
        self._seen = b""
        self._writing = threading.Lock()

    def take(self, number: int) -> None:
        """Be that one of the processes, from now on."""
        self.number = number
        self._seen = b""
        self._lock_file = self._locks.open("ab")

    def bury(self, number: int) -> None:
        """That process has died: whatever it was changing may have changed, and it holds nothing any more."""
        begun, ended = self._counts(number)
        self._count(number, max(begun, ended) + 1, max(begun, ended) + 1)
        self._hold(number, 0)

    # Changes of worlds

    def stamp(self) -> bytes:
        """Another one whenever a change was begun or ended."""
        return self._memory[: self._held_at]

    def settled(self, stamp: bytes) -> bool:
        """Whether no change was under way."""
        counts = struct.unpack(f"={self.processes * 2}Q", stamp)
        return counts[::2] == counts[1::2]

    def still(self) -> bool:
        """Whether nothing changed since this was asked before, and nothing is just changing."""
        stamp = self.stamp()
        if stamp == self._seen:
            return True
        self._seen = stamp if self.settled(stamp) else b""
        return False

    def begin(self) -> None:
        """Before the commit of a transaction that changes a world."""
        with self._writing:
            begun, ended = self._counts(self.number)
            self._count(self.number, begun + 1, ended)

    def end(self) -> None:
        """After it, however it went."""
        with self._writing:
            begun, ended = self._counts(self.number)
            self._count(self.number, begun, ended + 1)

    def _counts(self, number: int) -> tuple[int, int]:
        begun, ended = _COUNTS.unpack_from(self._memory, number * _COUNTS.size)
        return begun, ended

    def _count(self, number: int, begun: int, ended: int) -> None:
        _COUNTS.pack_into(self._memory, number * _COUNTS.size, begun, ended)

    # Uses of worlds

    def use(self, world: int, at: float) -> None:
        _USE.pack_into(self._memory, self._use(world), world, at)

    def used(self, world: int) -> float | None:
        """When it was used last, in whichever process; None also where a later world took its place."""
        whose, at = _USE.unpack_from(self._memory, self._use(world))
        return at if whose == world else None

    def idle(self, world: int, since: float) -> bool | None:
        """Whether it was not used since; None where that can't be told, because it never was."""
        whose, at = _USE.unpack_from(self._memory, self._use(world))
        return at <= since if whose else None

    def _use(self, world: int) -> int:
        return self._uses_at + world % _USES * _USE.size

    # Locks

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Let no process remove contents meanwhile. By one thread at a time, which may do it again."""
        self._hold(self.number, self._holds(self.number) + 1)
        try:
            yield
        finally:
            self._hold(self.number, self._holds(self.number) - 1)

    @property
    def held(self) -> bool:
        """Whether some process wants no contents removed."""
        return any(self._memory[self._held_at : self._uses_at])

    def _holds(self, number: int) -> int:
        return int(_HELD.unpack_from(self._memory, self._held_at + number * _HELD.size)[0])

    def _hold(self, number: int, times: int) -> None:
        _HELD.pack_into(self._memory, self._held_at + number * _HELD.size, times)

    @asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[None]:
        """Alone among the processes; within one of them the caller sees to it. A process that dies lets go."""
        import fcntl  # where there is fork, there is this

        place = int.from_bytes(blake2b(name.encode(), digest_size=7).digest())
        while True:
            try:
                fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                break
            except (BlockingIOError, PermissionError):
                await asyncio.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self._lock_file, fcntl.LOCK_UN, 1, place)
