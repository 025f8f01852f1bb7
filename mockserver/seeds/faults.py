"""Fault rules in seeds."""

from collections.abc import Iterable

from mockserver.schema.faults import NewRule
from mockserver.schema.values import Count
from mockserver.seeds.entry import Entry
from mockserver.seeds.values import Instant


class Fault(Entry, NewRule):
    """A fault rule: what to break, where, and how often."""

    matched: Count = 0
    """How often it was tried. Written by exports."""
    fired: Count = 0
    """How often it fired. Written by exports."""
    created_at: Instant | None = None
    """When it was created. Written by exports."""
    window_at: Instant | None = None
    """When the current window of its rate limit began. Written by exports."""
    window_used: Count = 0
    """Requests in that window. Written by exports."""

    def names(self, n: int | None = None) -> Iterable[str | None]:
        return [self.id]


FAULT_STATE = Fault.model_fields.keys() - NewRule.model_fields.keys()
