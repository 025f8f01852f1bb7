"""Faults: rules of what to break, where, and how many times."""

from dataclasses import dataclass

from mockserver.database import Transaction


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule (to come)."""

    id: str


def load_rules(tx: Transaction, world: int) -> tuple[Rule, ...]:
    return ()
