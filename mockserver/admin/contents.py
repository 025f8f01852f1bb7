"""Contents as the control plane shows them: whole, or their first bytes."""

from dataclasses import dataclass

from mockserver import errors
from mockserver.context import World
from mockserver.schema.contents import Content, disposition, media_type
from mockserver.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class Preview:
    """The first bytes of a content, and its size."""

    data: bytes
    size: int


def preview(tx: Transaction, world: World, digest: str, length: int) -> Preview:
    try:
        with world.open(tx, digest) as file:
            return Preview(file.read(length), file.seek(0, 2))
    except FileNotFoundError:  # deleted since its row was read
        return Preview(b"", 0)


def open_content(tx: Transaction, world: World, digest: str, name: str, gone: errors.APIError) -> Content:
    try:
        return Content(world.open(tx, digest), media_type(name), disposition(name), digest)
    except FileNotFoundError:  # deleted since its row was read
        raise gone from None


def size_of(tx: Transaction, world: World, digest: str) -> int:
    """Return the size of a content, 0 if it was deleted since its row was read."""
    try:
        return world.contents.size(tx, digest)
    except FileNotFoundError:
        return 0
