"""Faults: rules of what to break, where, and how many times.

A rule's counts live in its row and go up in a transaction, so that of many clients at once exactly as
many are hit as the rule says. The rules themselves are read with their world and kept with it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from pydantic import ValidationError

from mockserver import control_errors, ids
from mockserver.schema.faults import HEADER, LISTS, Effect, NewRule, is_like
from mockserver.schema.values import STORED
from mockserver.storage import tables
from mockserver.storage.database import Insertion, Statement, Transaction


@dataclass(frozen=True, slots=True)
class Target:
    """What rules look at of a request. Without an operation where it matched no route."""

    operation: str | None
    method: str
    path: str
    container: str | None
    file: str | None
    headers: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a world. Its counts are in its row."""

    id: str
    asked: NewRule
    lapses_at: float | None
    in_progress: set[object] = field(default_factory=set, compare=False)
    """The matching requests of a rule that needs several at once. Of this server only, so not in its row."""

    @property
    def reached(self) -> bool:
        """Whether as many matching requests are in progress as the rule needs."""
        return self.asked.concurrent is None or len(self.in_progress) >= self.asked.concurrent

    def matches(self, target: Target, now: float) -> bool:
        match, effect = self.asked.match, self.asked.effect
        return (
            self.asked.enabled
            and (self.lapses_at is None or now < self.lapses_at)
            and (
                match.operation is None or (target.operation is not None and is_like(target.operation, match.operation))
            )
            and match.method in (None, target.method)
            and match.container in (None, target.container)
            and match.file in (None, target.file)
            and (match.path is None or fnmatchcase(target.path, match.path))
            and all(_has(target.headers, name, pattern) for name, pattern in match.header.items())
            and (not effect.lists or target.operation in LISTS)
            and (effect.abort_upload_after is None or target.method == "POST")
        )

    def fires(self, seed: bytes, matched: int, fired: int) -> bool:
        """At its `matched`th match, having fired so often before."""
        asked = self.asked
        if matched <= asked.skip or (asked.times is not None and fired >= asked.times):
            return False
        return asked.probability >= 1 or ids.draw(seed, f"fires:{self.id}", matched) < asked.probability


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that fires. `draw` is from 0 up to 1; `window` the rate limit's, with the seconds left of it."""

    id: str
    effect: Effect
    draw: float
    window_left: float | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule with how often it was looked at for a request that it matches, and how often it fired."""

    rule: Rule
    matched: int
    fired: int


_RULE = set(NewRule.model_fields)
_all = Statement("SELECT * FROM faults ORDER BY position", tables.Fault)
_last = Statement("SELECT count(*), max(position) FROM faults")
_insert = Insertion(tables.Fault)
_exists = Statement("SELECT 1 FROM faults WHERE id = :id")
_remove = Statement("DELETE FROM faults WHERE id = :id")
_clear = Statement("DELETE FROM faults")
_set_rule = Statement("UPDATE faults SET rule = :rule WHERE id = :id")
_count_match = Statement("UPDATE faults SET matched = matched + 1 WHERE id = :id")
_counts = Statement("SELECT matched, fired, window_at, window_used FROM faults WHERE id = :id")
"""Not by RETURNING, which takes ten times as long."""
_count_fire = Statement("UPDATE faults SET fired = fired + 1 WHERE id = :id")
_rearm = Statement(
    "UPDATE faults SET matched = 0, fired = 0, window_at = NULL, window_used = 0, created_at = :now WHERE id = :id"
)
_set_window = Statement("UPDATE faults SET window_at = :began, window_used = :used WHERE id = :id")


# What rules there are


def load_rules(tx: Transaction, before: Sequence[Rule] = ()) -> tuple[Rule, ...]:
    """Rules that are as `before` are the same objects, which know the requests in progress."""
    known = {rule.id: rule for rule in before}
    rules = [counted.rule for counted in list_rules(tx)]
    return tuple(known[rule.id] if known.get(rule.id) == rule else rule for rule in rules)


def list_rules(tx: Transaction) -> list[Counted]:
    """A world's rules in the order in which they are tried."""
    return [Counted(_rule(row), row.matched, row.fired) for row in _all.all(tx)]


def add(tx: Transaction, world: str, asked: NewRule, now: float, **state: Any) -> str:
    """Add a rule behind the others of its world. Returns its id. `state` are columns that differ from a new rule's."""
    present, last = _last.tuple(tx) or (0, None)
    if present >= tables.MAX_FAULTS:
        raise control_errors.TOO_MANY_FAULTS(limit=tables.MAX_FAULTS)
    position = (last or 0) + 1
    names = (f"fault-{number}" for number in count(position))
    id = asked.id or next(name for name in names if not _exists.tuple(tx, id=name))
    rule = asked.model_dump_json(exclude_unset=True, include=_RULE)
    if not _insert.add(tx, _insert.new(**{"id": id, "position": position, "rule": rule, "created_at": now, **state})):
        raise control_errors.FAULT_EXISTS(world=world, id=id)
    return id


def remove(tx: Transaction, world: str, id: str) -> None:
    if not _remove.run(tx, id=id):
        raise control_errors.FAULT_NOT_FOUND(world=world, id=id[:80])


def switch(tx: Transaction, world: str, id: str, enabled: bool) -> None:
    """Switch a rule off or on; it keeps its place and its counts."""
    found = next((each.rule.asked for each in list_rules(tx) if each.rule.id == id), None)
    if found is None:
        raise control_errors.FAULT_NOT_FOUND(world=world, id=id[:80])
    asked = NewRule.model_validate(found.model_dump(exclude_unset=True) | {"enabled": enabled}, context=STORED)
    _set_rule.run(tx, id=id, rule=asked.model_dump_json(exclude_unset=True))


def rearm(tx: Transaction, world: str, id: str, now: float) -> None:
    """Set the counts of a rule to 0 and begin its `lapse_after` now, so that it fires as when it was added."""
    if not _rearm.run(tx, id=id, now=now):
        raise control_errors.FAULT_NOT_FOUND(world=world, id=id[:80])


def clear(tx: Transaction) -> None:
    _clear.run(tx)


def _rule(row: tables.Fault) -> Rule:
    asked = NewRule.model_validate_json(row.rule, context=STORED)
    return Rule(row.id, asked, None if asked.lapse_after is None else row.created_at + asked.lapse_after)


# What fires


def fire(
    write: Callable[[], AbstractContextManager[Transaction]],
    seed: bytes,
    rules: Sequence[Rule],
    target: Target,
    now: float,
) -> Hit | None:
    """The first rule that fires at a request, at the world's instant `now`. Counts in one transaction."""
    matching = [rule for rule in rules if rule.matches(target, now) and rule.reached]
    if not matching:
        return None
    with write() as tx:
        for rule in matching:
            _count_match.run(tx, id=rule.id)
            counts = _counts.tuple(tx, id=rule.id)
            if counts is None:  # deleted since it was read
                continue
            matched, fired, began, used = counts
            if not rule.fires(seed, matched, fired):
                continue
            left = None
            if limit := rule.asked.effect.rate_limit:
                if began is None or not began <= now < began + limit.per:
                    began, used = now, 0
                if used < limit.requests:
                    _set_window.run(tx, id=rule.id, began=began, used=used + 1)
                    continue
                left = began + limit.per - now
            _count_fire.run(tx, id=rule.id)
            return Hit(rule.id, rule.asked.effect, ids.draw(seed, f"draw:{rule.id}", matched), left)
    return None


def brought(header: bytes, draw: float) -> Hit:
    """The fault that a request brings along: JSON of an effect, or an error's name."""
    text = header.decode("utf-8", "replace").strip()
    try:
        effect = Effect.model_validate_json(text) if text.startswith("{") else Effect.model_validate({"error": text})
        if effect.rate_limit:
            raise control_errors.BAD_PARAMETER(param="x-mock-fault", problem="rate_limit takes a rule, which counts")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in ("x-mock-fault", *first["loc"]))
        raise control_errors.BAD_PARAMETER(param=where, problem=first["msg"].removeprefix("Value error, ")) from None
    return Hit(HEADER, effect, draw)


def _has(headers: Mapping[bytes, bytes], name: str, pattern: str) -> bool:
    value = headers.get(name.lower().encode("latin-1", "replace"))
    return value is not None and fnmatchcase(value.decode("latin-1"), pattern)
