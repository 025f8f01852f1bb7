"""The Files API, as far as containers need it: Files, their contents, and which blobs are in use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from sqlalchemy import bindparam, delete, or_, select

from mockserver import errors, ids, profiles, schema
from mockserver.storage import tables
from mockserver.storage.blobs import Blobs, Draft
from mockserver.storage.database import Database, Insertion, Rows, Statement, Transaction, record, table
from mockserver.storage.pagination import Listing, ends
from mockserver.worlds import Call, Worlds

PURPOSES = list(get_args(schema.Purpose))
NOT_DOWNLOADABLE = {"assistants", "user_data"}
EXPIRY_SECONDS = range(3_600, 2_592_000 + 1)
BATCH_EXPIRY = 30 * 24 * 3_600
"""Files of purpose `batch` expire by themselves (doc)."""

_FILE = table(tables.File)
_here = (_FILE.c.world == bindparam("world"), _FILE.c.id == bindparam("id"))
unexpired = or_(_FILE.c.expires_at.is_(None), _FILE.c.expires_at > bindparam("now"))

_new = record(tables.File)
_insert = Insertion(tables.File, if_new=True)
_find = Rows(select(_FILE).where(*_here, unexpired), tables.File)
_expiring = Statement(
    select(_FILE.c.id)
    .where(_FILE.c.world == bindparam("world"))
    .where(_FILE.c.expires_at > bindparam("after"), _FILE.c.expires_at <= bindparam("until"))
    .order_by(_FILE.c.created_at, _FILE.c.seq)
)
_delete = Statement(delete(_FILE).where(*_here).returning(_FILE.c.digest))
_listing = Listing(tables.File, scope=("world",), prefix="file", live=unexpired)


@dataclass(slots=True)
class NewFile:
    """The form of an upload, as sent. `file` and `filename` are None where no file was sent."""

    file: Draft | None
    filename: str | None
    fields: dict[str, str]


class Files:
    def __init__(self, database: Database, blobs: Blobs, worlds: Worlds) -> None:
        self._database = database
        self._blobs = blobs
        self._worlds = worlds

    def create(self, call: Call, form: NewFile) -> schema.File:
        purpose, expiry = _checked(call, form)
        file, filename = form.file, form.filename
        if file is None or filename is None:
            raise errors.MISSING_FIELD(param="file")
        world, now = call.world, call.world.now()
        with self._database.transaction() as tx:
            row = self._worlds.insert(
                tx,
                world.id,
                _insert,
                lambda ordinal: _new(
                    world=world.id,
                    id=ids.file(world.id_seed, ordinal),
                    seq=ordinal,
                    created_at=now,
                    expires_at=now + expiry if expiry else None,
                    bytes=file.size,
                    filename=filename,
                    purpose=purpose,
                    digest=file.digest,
                ),
            )
            self._blobs.keep(tx, file)
        call.touch("created", row.id)
        return shown(row)

    def list(self, call: Call, query: schema.ListFiles) -> schema.FileList:
        now = call.world.now()
        values = {"world": call.world.id, "now": now}
        rows, more = _listing.page(
            self._database.snapshot, query, "files", values, call.still_listed(now), call.lets, purpose=query.purpose
        )
        first, last = ends(rows)
        data = [shown(row) for row in rows]
        return {"object": "list", "data": data, "has_more": more, "first_id": first, "last_id": last}

    def retrieve(self, call: Call, file_id: str) -> schema.File:
        return shown(self._found(self._database.snapshot, call, file_id))

    def delete(self, call: Call, file_id: str) -> schema.FileDeleted:
        with self._database.transaction() as tx:
            row = self._found(tx, call, file_id)
            _listing.bury(tx, row, "files", self._worlds.take(tx, call.world.id), call.world.now())
            _delete.run(tx, world=call.world.id, id=file_id)
            self._blobs.dropped([row.digest])
        self._blobs.release()
        call.touch("deleted", file_id)
        return {"object": "file", "deleted": True, "id": file_id}

    def content(self, call: Call, file_id: str) -> schema.Content:
        row = self._found(self._database.snapshot, call, file_id)
        if row.purpose in NOT_DOWNLOADABLE and not call.lets(profiles.PRIVATE_DOWNLOAD):
            raise errors.NOT_DOWNLOADABLE(purpose=row.purpose)
        return schema.Content(
            self._blobs.open(row.digest), "application/octet-stream", schema.disposition(row.filename)
        )

    def expiring(self, database: Database, world: int, after: int, until: int) -> Sequence[str]:
        """Ids of those that expire later than `after` and not later than `until`."""
        return [id for (id,) in _expiring.tuples(database.snapshot, world=world, after=after, until=until)]

    def find(self, tx: Transaction, call: Call, file_id: str) -> tables.File | None:
        """A File that has neither been deleted nor expired."""
        return _find.first(tx, world=call.world.id, id=file_id, now=call.world.now())

    def copied(self, tx: Transaction, call: Call, file_id: str, param: str) -> tables.File:
        """A File that is to be copied, named by a parameter of the request."""
        if row := self.find(tx, call, file_id):
            return row
        if call.conjures(file_id):
            return self._conjured(tx, call, file_id)
        raise errors.REFERENCED_FILE_NOT_FOUND(file_id=file_id, param=param)

    def _found(self, tx: Transaction, call: Call, file_id: str) -> tables.File:
        if row := self.find(tx, call, file_id):
            return row
        if call.conjures(file_id):
            return self._conjured(tx, call, file_id)
        raise call.missing("file_id", file_id, "file", errors.FILE_NOT_FOUND(file_id=file_id))

    def _conjured(self, tx: Transaction, call: Call, file_id: str) -> tables.File:
        """A File by an id that nobody created."""
        world = call.world
        with self._blobs.placeholder() as content, self._database.joining(tx) as tx:
            if there := self.find(tx, call, file_id):  # placed since, by a thread
                return there
            if digest := _delete.value(tx, world=world.id, id=file_id):  # it is not found, so it has expired
                self._blobs.dropped([digest])
            row = self._worlds.insert(
                tx,
                world.id,
                _insert,
                lambda ordinal: _new(
                    world=world.id,
                    id=file_id,
                    seq=ordinal,
                    created_at=world.now(),
                    expires_at=None,
                    bytes=content.size,
                    filename="placeholder.txt",
                    purpose="fine-tune",
                    digest=content.digest,
                ),
            )
            self._blobs.keep(tx, content)
        call.touch("created", file_id)
        return row


def _checked(call: Call, form: NewFile) -> tuple[str, int | None]:
    """The purpose of a new File, and the seconds until expiry if any."""
    fields = dict(form.fields)
    anchor, seconds = fields.pop("expires_after[anchor]", None), fields.pop("expires_after[seconds]", None)
    purpose = fields.pop("purpose", None)
    if fields and not call.lets(profiles.UNKNOWN_KEY):
        raise errors.UNEXPECTED_FIELD(param=next(iter(fields)))
    if purpose is None:
        raise errors.MISSING_FIELD(param="purpose")
    if purpose not in PURPOSES:
        raise errors.UNKNOWN_PURPOSE(purpose=purpose, purposes=PURPOSES)
    if anchor is None and seconds is None:
        return purpose, BATCH_EXPIRY if purpose == "batch" else None
    if anchor is None or seconds is None:
        raise errors.MISSING_FIELD(param="expires_after." + ("anchor" if anchor is None else "seconds"))
    if anchor != "created_at":
        raise errors.BAD_FIELD(value=anchor, problem="is not one of ['created_at']", param="expires_after.anchor")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 20):
        raise errors.BAD_FIELD(value=seconds, problem="is not of type 'integer'", param="expires_after.seconds")
    if int(seconds) not in EXPIRY_SECONDS:
        low, high = EXPIRY_SECONDS[0], EXPIRY_SECONDS[-1]
        problem = (
            f"is less than the minimum of {low}" if int(seconds) < low else f"is greater than the maximum of {high}"
        )
        raise errors.BAD_FIELD(value=seconds, problem=problem, param="expires_after.seconds")
    return purpose, int(seconds)


def shown(row: tables.File) -> schema.File:
    return {
        "object": "file",
        "id": row.id,
        "purpose": row.purpose,  # type: ignore[typeddict-item]  # checked when it came in
        "filename": row.filename,
        "bytes": row.bytes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "status": "processed",
        "status_details": None,
    }
