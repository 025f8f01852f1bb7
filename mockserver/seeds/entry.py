"""An entry of a seed: what its lists have in common."""

from collections.abc import Iterable
from pathlib import Path

from mockserver.schema.sources import FileName, Part, WithContent
from mockserver.schema.values import Count
from mockserver.seeds.contents import Bundle
from mockserver.seeds.values import Id, Name, numbered


class Described(Part):
    """An entry of a seed's lists."""

    def inside(self) -> "Iterable[Listed]":
        """Return the listed objects inside of it."""
        return ()

    def contents(self) -> Iterable[WithContent]:
        """Return what describes its bytes, and those of the objects inside of it."""
        return ()

    def bundles(self) -> "Iterable[Bundle]":
        """Return what describes the files of its skills."""
        return ()


class Listed(Described):
    """An object of a list."""

    id: Id | None = None
    """Its id; made by the server unless given."""
    seq: Count | None = None
    """Position in the order of the world's lists. Written by exports."""


class Referable(Listed):
    """An object that other parts of the seed can name."""

    ref: Name | None = None
    """Name for use in this seed."""

    def names(self, n: int | None = None) -> set[str]:
        """Return its ref and its id, as far as they are given; `n` is its number if it is repeated."""
        return {numbered(name, n) for name in (self.ref, self.id) if name}


class Named(WithContent):
    """Bytes with a file name, which may come from `from`."""

    filename: FileName | None = None
    """Name of the file; by default the name in `from`."""

    @property
    def name(self) -> str:
        return Path(self.from_ or "").name if self.filename is None else self.filename
