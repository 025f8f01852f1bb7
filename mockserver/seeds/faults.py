"""Fault rules in seeds."""

import json

from mockserver import faults
from mockserver.schema.faults import NewRule
from mockserver.schema.values import Count, Instant
from mockserver.seeds.entry import Entry, Export, Exported, Placing
from mockserver.storage import tables
from mockserver.storage.contents import Contents
from mockserver.storage.database import Transaction


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

    def place(self, into: Placing) -> None:
        def add(tx: Transaction, contents: Contents) -> None:
            state = self.model_dump(include=FAULT_STATE, exclude_none=True)
            into.ids[Fault].append(faults.add(tx, into.world, self, into.put.now, **state))

        into.put.later.append(add)

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Fault, "position"):
            state = {name: getattr(row, name) for name in sorted(FAULT_STATE)}
            yield json.loads(row.rule) | {"id": row.id} | state


FAULT_STATE = Fault.model_fields.keys() - NewRule.model_fields.keys()
