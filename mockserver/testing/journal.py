"""The journal of a world: the exchanges that it recorded."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack, cast

from mockserver.client import MockError, query
from mockserver.client import __tracebackhide__ as __tracebackhide__
from mockserver.clock import calendar, parse_duration
from mockserver.control import models
from mockserver.control.models import Exchange

Duration = str | float | timedelta
Exchanges = list[Exchange]


class Wanted(TypedDict, total=False):
    """A filter of exchanges: operations (`CreateContainer`, `*File*`), methods, statuses (404, `4xx`, `400-409`), codes of
    warnings (`*` is any), only those that failed, a text anywhere in the exchange, and the number after which to start.
    Give several values as a list."""

    operation: str | Sequence[str]
    method: str | Sequence[str]
    status: int | str | Sequence[int | str]
    warning: str | Sequence[str]
    failed: bool
    text: str
    after: int


class Journal:
    """The exchanges of a world, oldest first; iterable. `Wanted` describes the filters."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """`call` sends a request below the world, see `MockWorld.call`."""
        self._call = call

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self.filter())

    def __len__(self) -> int:
        return self.count()

    def list(self) -> Exchanges:
        """Return all exchanges."""
        return self.filter()

    def filter(self, **wanted: Unpack[Wanted]) -> Exchanges:
        """Return all exchanges that match: `journal.filter(operation="CreateContainer", status=429)`."""
        found: Exchanges = []
        while True:
            page: models.JournalPage = self._call("GET", f"journal{query(**wanted)}")
            found += page["data"]
            if not page["has_more"] or not page["data"]:
                return found
            wanted["after"] = found[-1]["number"]

    def get(self, number: int) -> Exchange:
        """Return one exchange, by its number."""
        return cast(Exchange, self._call("GET", f"journal/{number}"))

    def last(self, count: int = 20) -> Exchanges:
        """Return the newest exchanges, oldest first."""
        page: models.JournalPage = self._call("GET", f"journal?last={count}")
        return page["data"]

    def count(self, **wanted: Unpack[Wanted]) -> int:
        """Return how many exchanges match."""
        counted: models.Count = self._call("GET", f"journal/count{query(**wanted)}")
        return counted["count"]

    def wait(self, count: int = 1, timeout: Duration = 10, **wanted: Unpack[Wanted]) -> Exchanges:
        """Wait, in real time, until `count` exchanges match. Raise TimeoutError, which shows the newest exchanges.

        In a coroutine, use `await asyncio.to_thread(journal.wait, …)`: the call blocks.
        """
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        seconds = parse_duration(timeout) if isinstance(timeout, str) else timeout
        path = f"journal/wait{query(**wanted, count=count, timeout=seconds)}"
        try:
            page: models.JournalPage = self._call("GET", path, timeout=seconds + 30)
        except MockError as error:
            if error.code != "journal_timeout":
                raise
            raise TimeoutError(f"{error}\n{self.shown() or 'The journal is empty.'}") from None
        return page["data"]

    def clear(self) -> None:
        """Delete all exchanges."""
        self._call("DELETE", "journal")

    def shown(self, count: int = 20) -> str:
        """Return the newest exchanges as text, one on each line."""
        return "\n".join(map(shown, self.last(count)))


def shown(exchange: Exchange) -> str:
    """Return an exchange in one line: `#3    18:04:00  POST   /v1/containers  429  2 ms  fault slow; Rate limit …`."""
    path = exchange["path"].removeprefix(f"/w/{exchange['world']}")
    query = f"?{exchange['query']}" if exchange["query"] else ""
    status = exchange["status"] or "---"
    parts = [f"#{exchange['number']:<3}", _time(exchange["at"]), f"{exchange['method']:<6} {path}{query}", f"{status}"]
    parts += [f"{exchange['duration_ms']:.0f} ms", "; ".join(notes(exchange))]
    return "  ".join(parts).rstrip()


def notes(exchange: Exchange) -> list[str]:
    """Return the answer that was used, the fault that fired, whether the response was aborted, and the message of an error."""
    body = exchange["response"].get("body")
    error = body.get("error") if isinstance(body, dict) else None
    found = [f"{name} {exchange[name]}" for name in ("answer", "fault") if exchange[name]]
    if exchange["aborted"]:
        found.append("aborted")
    if isinstance(error, dict) and error.get("message"):
        found.append(str(error["message"])[:120])
    return found


def _time(seconds: float) -> str:
    """Return the time of day by the world's clock, or the seconds if no calendar has the date."""
    date = calendar(seconds)
    return date.strftime("%H:%M:%S") if date else f"{seconds:.0f}"
