"""Files of the Files API in seeds."""

from collections.abc import Iterable
from typing import Self

from pydantic import model_validator

from mockserver.schema.files import Purpose
from mockserver.schema.values import WithContent
from mockserver.seeds.entry import Export, Exported, Named, Placing, Referable, described
from mockserver.seeds.values import NOW, Repeat, Time
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction

_find = Statement("SELECT * FROM live_files WHERE id = :id", tables.File)


class File(Referable, Named):
    """A File of the Files API."""

    noun = "File"

    purpose: Purpose = "user_data"
    """Purpose of the File."""
    created_at: Time = NOW
    """When it was created; by default when the world is created."""
    expires_at: Time | None = None
    """When it expires; by default never."""
    repeat: Repeat | None = None
    """Create this many objects. `{n}` in names, ids and contents is the number of each."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.name and self.seq is None:
            raise ValueError("give it a filename")
        return self

    def contents(self) -> Iterable[WithContent]:
        return [self]

    def texts(self) -> Iterable[str | None]:
        return [self.ref, self.id, self.filename or self.from_]

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
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.File):
            yield described(cls, tables.File, row) | out.content(row.digest)
