"""Answers in seeds: scripts of what `/responses` does."""

from collections.abc import Iterable

from mockserver.schema.answers import NewAnswer
from mockserver.schema.sources import WithContent
from mockserver.schema.values import Count
from mockserver.seeds.entry import Described


class Answer(Described, NewAnswer):
    """A script: for which requests of `/responses`, how often, and what the run does."""

    seeded: bool | None = None
    """Whether it comes from a seed. Written by exports."""
    matched: Count = 0
    """How many requests it fitted. Written by exports."""
    used: Count = 0
    """How often it was used. Written by exports."""
    seq: Count | None = None
    """Position among the world's answers. Written by exports."""

    def contents(self) -> Iterable[WithContent]:
        return self.figures()
