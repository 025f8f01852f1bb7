"""Answers: scripts of what `/responses` does, and for which requests.

Rules that were added to a world are tried before those of its seed, each in the order in which they were added. The
first that fits is used; how often is counted in the transaction of the run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product, repeat
from typing import Any, TypeVar

from pydantic_core import to_json

from mockserver import control_errors
from mockserver.caches import Cache
from mockserver.schema.answers import Figure, NewAnswer, fits
from mockserver.schema.values import STORED
from mockserver.storage import tables
from mockserver.storage.contents import Contents, Upload
from mockserver.storage.database import Insertion, Statement, Transaction

T = TypeVar("T")
Store = Callable[[Figure], Upload]
"""Stores the bytes that a rule describes."""
Target = Mapping[str, Any]
"""What rules look at of a request, by the names of the conditions of `When`. A condition has to be one of a list."""

_RULE = NewAnswer.model_fields.keys() - {"id"}
"""What the JSON of a rule has. Its id is a column."""

_all = Statement("SELECT * FROM answers ORDER BY seeded, position", tables.Answer)
_last = Statement("SELECT count(*), coalesce(max(position), 0) FROM answers")
_insert = Insertion(tables.Answer)
_insert_content = Insertion(tables.AnswerContent)
_digests = Statement("SELECT digest FROM answer_contents WHERE :id IS NULL OR answer_id = :id")
_delete_contents = Statement("DELETE FROM answer_contents WHERE :id IS NULL OR answer_id = :id")
_delete = Statement("DELETE FROM answers WHERE :id IS NULL OR id = :id")
_count = Statement("UPDATE answers SET matched = matched + 1, used = used + :used WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule with how often it matched a request that reached it, and how often it was used."""

    id: str
    rule: NewAnswer
    seeded: bool
    matched: int
    used: int

    @property
    def is_used_up(self) -> bool:
        return self.rule.times is not None and self.used >= self.rule.times


# What rules there are


def list_rules(tx: Transaction) -> list[Counted]:
    """A world's rules in the order in which they are tried."""
    return [Counted(row.id, _rule(row.rule), bool(row.seeded), row.matched, row.used) for row in _all.all(tx)]


def add(
    tx: Transaction,
    contents: Contents,
    world: str,
    asked: Sequence[NewAnswer],
    store: Store,
    states: Iterable[Mapping[str, Any]] = repeat({}),
    shared: bool = False,
) -> list[str]:
    """Add rules behind the others of their kind, all or none. Returns their ids.

    `states` has what differs in each row from that of a new rule. Whether seeded ones can be reached was checked when
    the seed was loaded.
    """
    present = list_rules(tx)
    if len(present) + len(asked) > tables.MAX_ANSWERS:
        raise control_errors.TOO_MANY_ANSWERS(limit=tables.MAX_ANSWERS)
    taken, given = {each.id for each in present}, {rule.id for rule in asked}
    tried = [(each.id, each.rule) for each in present if not each.seeded]
    _, last = _last.tuple(tx) or (0, 0)
    added = []
    for position, (rule, state) in enumerate(zip(asked, states, strict=False), last + 1):
        if rule.id in taken:
            raise control_errors.ANSWER_EXISTS(world=world, id=rule.id)
        names = (f"answer-{number}" for number in count(position))
        id = rule.id or next(name for name in names if name not in taken and name not in given)
        text, uploads = _described(rule, store)
        row = _insert.new(**{"id": id, "seeded": False, "position": position, "rule": text, **state})
        _insert.add(tx, row)
        for upload in uploads.values():
            _insert_content.add(tx, _insert_content.new(answer_id=id, digest=upload.digest))
            contents.keep(tx, upload, shared=shared)
        if not row.seeded:
            tried.append((id, rule))
        taken.add(id)
        added.append(id)
    if found := unreachable(tried):
        raise control_errors.ANSWER_UNREACHABLE(id=found[0], before=found[1])
    return added


def remove(tx: Transaction, contents: Contents, world: str, id: str | None) -> None:
    """Delete a rule, or with None all of them."""
    digests = [digest for (digest,) in _digests.tuples(tx, id=id)]
    _delete_contents.run(tx, id=id)
    if not _delete.run(tx, id=id) and id is not None:
        raise control_errors.ANSWER_NOT_FOUND(world=world, id=id[:80])
    contents.drop(tx, digests)


def unreachable(rules: Iterable[tuple[T, NewAnswer]]) -> tuple[T, T] | None:
    """The first rule that can never be used, and the one before it that takes all of its requests."""
    taking: dict[tuple[str, bool], T] = {}
    """By the conditions of a rule, and whether it takes only requests that allow a call."""
    for name, rule in rules:
        when = rule.when.model_dump_json(exclude_none=True)
        for before in product((when, "{}"), {False, rule.calls_a_tool}):
            if before in taking:
                return name, taking[before]
        if rule.times is None and rule.skip == 0:
            taking[when, rule.calls_a_tool] = name
    return None


def _described(rule: NewAnswer, store: Store) -> tuple[str, dict[str, Upload]]:
    """A rule as JSON that has digests in place of contents, and the contents by their digests."""
    uploads: dict[str, Upload] = {}
    described = rule.model_dump(include=_RULE, exclude_unset=True, by_alias=True)
    for step, values in zip(rule.each_step, described.get("steps") or [described], strict=False):
        shown = (*values.get("files", ()), *values.get("shows", ()))
        for figure, found in zip((*step.files, *step.shows), shown, strict=True):
            if found.get("delete"):
                continue
            upload = store(figure)
            upload = uploads.setdefault(upload.digest, upload)
            for source in figure.sources():
                del found[source]
            found |= {"digest": upload.digest, "size": upload.size}
    return to_json(described).decode(), uploads


def _parsed(text: str) -> tuple[NewAnswer, int]:
    """A rule, and its size: each of its parts takes a kilobyte or two, raw items twenty bytes a character."""
    rule = NewAnswer.model_validate_json(text, context=STORED)
    parts = 2 + len(rule.each_step) + sum(1 for _ in rule.figures())
    return rule, len(text.encode()) * (20 if rule.output else 2) + parts * 1_500


_rule = Cache(64 << 20, _parsed)


# What fits


def choose(tx: Transaction, target: Target) -> tuple[Counted | None, str]:
    """The first rule that fits, counted; or None and, for an error message, what came nearest."""
    near: list[str] = []
    for counted in list_rules(tx):
        missing = _misfit(counted.rule, target)
        if missing is None:
            used = counted.matched >= counted.rule.skip and not counted.is_used_up
            _count.run(tx, id=counted.id, used=used)
            if used:
                return counted, ""
            missing = "it is used up" if counted.is_used_up else f"it skips {counted.rule.skip} requests"
        near.append(f"'{counted.id}': {missing}")
    return None, "; ".join(near[:3])


def _misfit(rule: NewAnswer, target: Target) -> str | None:
    """Why a rule does not fit a request; None where it does."""
    when = rule.when
    if rule.calls_a_tool and target["tool"] == ["none"]:
        return "it makes a call, and the request allows no code interpreter or shell"
    for name in ("text", "instructions", "model"):
        wanted = getattr(when, name)
        if wanted is not None and not fits(wanted, target[name]):
            return f"{name} is not {wanted[:80]!r}"
    for name in ("tool", "container", "file", "turn", "continues", "background", "stream"):
        wanted, found = getattr(when, name), target[name]
        if wanted is not None and (wanted not in found if isinstance(found, list) else wanted != found):
            return f"{name} is {found[-5:] if isinstance(found, list) else found!r}, not {wanted!r}"
    for name, value in (when.metadata or {}).items():
        if (found := target["metadata"].get(name)) != value:
            return f"metadata.{name} is {found!r}, not {value!r}"
    return None
