"""Files of the Files API in seeds."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from mockserver.schema.files import Purpose
from mockserver.schema.sources import WithContent
from mockserver.seeds.entry import Export, Named, Placing, Referable, given, live, text, text_size
from mockserver.seeds.values import NOW, Time
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction

_exported = live(tables.File)
_find = Statement("SELECT * FROM live_files WHERE id = :id", tables.File)


class File(Referable, Named):
    """A File of the Files API."""

    kind = "File"

    purpose: Purpose = "user_data"
    """Purpose of the File."""
    created_at: Time = NOW
    """When it was created; by default when the world is created."""
    expires_at: Time | None = None
    """When it expires; by default never."""
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Create this many objects. `{n}` in names, ids and contents is the number of each."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.name and self.seq is None:
            raise ValueError("give it a filename")
        return self

    def contents(self) -> Iterable[WithContent]:
        return [self]

    def text(self) -> int:
        return (self.repeat or 1) * text_size([self.ref, self.id, self.filename or self.from_], self.repeat)

    def place(self, into: Placing) -> None:
        content = into.stored(self)
        own = {"id": self.id and into.numbered(self.id), "filename": into.numbered(self.name)}
        row = into.add(tables.File, self, content, bytes=content.size, **own)
        into.ids[File].append(row.id)
        into.name(self, row.id, row)

    @classmethod
    def find(cls, tx: Transaction, id: str) -> tables.File | None:
        return _find.first(tx, id=id)

    @classmethod
    def export(cls, out: Export) -> Iterator[str]:
        for row in _exported.rows(out.tx):
            described = given(row, "id", "filename", "purpose", "created_at", "expires_at", "seq")
            yield text(described | out.content(row.digest))
