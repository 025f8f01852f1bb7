"""Answers in seeds: scripts of what `/responses` does."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from mockserver import answers
from mockserver.schema.answers import Figure, NewAnswer
from mockserver.schema.values import Count, WithContent
from mockserver.seeds.contents import Place, located, size_of
from mockserver.seeds.entry import Checks, Entry, Export, Exported, Placing
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.contents import Contents, Upload
from mockserver.storage.database import Transaction
from mockserver.storage.tables import MAX_ANSWERS


class Answer(Entry, NewAnswer):
    """A script: for which requests of `/responses`, how often, and what the run does."""

    noun: ClassVar[str] = "answer"

    seeded: bool | None = None
    """Whether it comes from a seed. Written by exports."""
    matched: Count = 0
    """How many requests it matched. Written by exports."""
    used: Count = 0
    """How often it was used. Written by exports."""
    seq: Count | None = None
    """Position among the world's answers. Written by exports."""

    def contents(self) -> Iterable[WithContent]:
        return self.figures()

    @classmethod
    def check_all(cls, entries: "Sequence[tuple[Answer, Place]]", checks: Checks) -> None:
        if len(entries) > MAX_ANSWERS:
            place = entries[MAX_ANSWERS][1]
            raise SeedError(f"{place}: a world takes at most {MAX_ANSWERS:,} answers; remove some")
        super().check_all(entries, checks)
        kinds: dict[object, list[tuple[Place, Answer]]] = {}
        for answer, place in entries:
            kinds.setdefault((answer.seeded is False, place.location[:-1]), []).append((place, answer))
        for rules in kinds.values():
            if never := answers.unreachable(rules):
                raise SeedError(
                    f"{never[0]}: it can never be used, as the answer at {never[1]} takes all of its requests; "
                    "give that one times, or put this one before it"
                )

    def check(self, checks: Checks) -> None:
        super().check(checks)
        with located(checks.place):
            if any(figure.digest is not None for figure in self.figures()):
                raise SeedError("a seed has no digest; give the bytes as one of content, base64, from, generate")
            try:
                self.check_output(lambda figure: size_of(figure, checks.place))
            except ValueError as error:
                raise SeedError(str(error)) from None

    @classmethod
    def place_all(cls, entries: "Sequence[tuple[Answer, Place]]", into: Placing) -> None:
        rules = [answer for answer, _ in entries]
        places = {id(figure): place for answer, place in entries for figure in answer.figures()}
        states = [rule._state(into.put.exact) for rule in rules]

        def stored(figure: Figure) -> Upload:
            return into.store.stored(figure, places[id(figure)], None)

        def add(tx: Transaction, contents: Contents) -> None:
            into.ids[Answer] += answers.add(tx, contents, into.world, rules, stored, states, shared=True)

        if rules:
            into.put.later.append(add)

    def _state(self, exact: bool) -> dict[str, Any]:
        position = {"position": self.seq} if exact and self.seq is not None else {}
        seeded = exact if self.seeded is None else self.seeded
        return {"seeded": seeded, "matched": self.matched, "used": self.used, **position}

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Answer, "seeded, position"):
            rule: dict[str, Any] = json.loads(row.rule)
            for step in rule.get("steps") or [rule]:
                for figure in (*step.get("files", ()), *step.get("shows", ())):
                    if digest := figure.pop("digest", None):
                        del figure["size"]
                        figure |= out.content(digest)
            state = {"seeded": bool(row.seeded), "matched": row.matched, "used": row.used, "seq": row.position}
            yield rule | {"id": row.id} | state
