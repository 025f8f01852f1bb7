"""Record made-up exchanges, for tests of the journal and of the modules that read it."""

from collections.abc import Sequence
from functools import partial

from mockserver.clock import Clock
from mockserver.entries import record_of
from mockserver.journal import Journal, WorldJournal
from mockserver.redaction import NOTHING_SENT, Headers


def record(
    world_journal: WorldJournal,
    journal: Journal,
    response: bytes = b'""',
    *,
    operation: str | None = None,
    route: str = "/x",
    status: int = 200,
    wall: float = 1.0,
    headers: Headers = (),
    objects: Sequence[tuple[str, str]] = (),
    page: tuple[bool, str | None, str | None] | None = None,
) -> int:
    """Record a request without a body, in a world with the clock of the machine, and return its number."""
    shown = {
        "number": 0,
        "request_id": "req_1",
        "world": world_journal.world,
        "at": wall,
        "wall": wall,
        "operation": operation,
        "method": "GET",
        "path": f"/v1{route}",
        "query": b"",
        "status": status,
        "duration_ms": 1.0,
        "request": [(b"user-agent", b"of a test")],
        "response": headers,
        "fault": None,
        "answer": None,
        "error": None,
        "warnings": [],
        "container": None,
        "objects": [{"change": change, "id": id} for change, id in objects],
        "aborted": False,
    }
    make = partial(record_of, shown, route, NOTHING_SENT, response, False, Clock(wall, wall), page)
    return journal.record(world_journal, shown, route, make)
