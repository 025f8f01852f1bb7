"""Uploads: Files that are sent in parts.

The parts of a pending upload are contents of its world. Completing puts them together as one content in a thread, a
few megabytes at a time, and stores that as a File in the same transaction that ends the upload and removes its parts.
So whenever the server is killed, the upload is either pending with all its parts, or completed with its File.

Whether an upload has expired is computed from its row and the world's clock. The next operations on uploads of the
world remove its parts; from then on it stays expired, even if the clock is set back. One that has ended is forgotten after
10,000 later changes of its world, as deleted objects are.
"""

import hashlib
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice

from mockserver import errors, files, profiles
from mockserver.clock import later
from mockserver.context import DROP_COSTS, Context, World
from mockserver.files import NewFile
from mockserver.schema.contents import base_name
from mockserver.schema.uploads import MAX_BYTES, CompleteUpload, CreateUpload, Upload, UploadPart
from mockserver.storage import pagination, tables
from mockserver.storage.contents import Upload as Incoming
from mockserver.storage.contents import Uploads
from mockserver.storage.database import Insertion, Statement, Transaction, in_thread
from mockserver.storage.pagination import Listing

LIFETIME = 3_600
"""Seconds until a pending upload expires (seen)."""
ENDED_AT_ONCE = 100
"""Expired uploads that one operation ends."""
PIECE = 1 << 20
"""Bytes of a part that are read at once."""
PIECES = 16
"""Pieces that are written before the thread is free for other work."""

_insert = Insertion(tables.Upload)
_find = Statement("SELECT * FROM live_uploads WHERE id = :id", tables.Upload)
_expired = Statement(
    "SELECT id FROM live_uploads WHERE status = 'pending' AND expires_at <= :now ORDER BY id != :id LIMIT :limit"
)
_expiring = Statement(
    "SELECT id FROM live_uploads WHERE status = 'pending' AND expires_at > :after AND expires_at <= :until "
    "ORDER BY created_at, seq"
)
_set_status = Statement("UPDATE uploads SET status = :status, file_id = :file_id WHERE id = :id")
_prune = Statement("DELETE FROM uploads WHERE status != 'pending' AND seq < :oldest")
_insert_part = Insertion(tables.UploadPart)
_parts = Statement("SELECT * FROM live_upload_parts WHERE upload_id = :upload_id ORDER BY seq", tables.UploadPart)
_received = Statement("SELECT count(*), coalesce(sum(bytes), 0) FROM live_upload_parts WHERE upload_id = :upload_id")
_delete_parts = Statement("DELETE FROM upload_parts WHERE upload_id = :upload_id")
listing = Listing(tables.Upload, "upload", "Upload")


def create_upload(context: Context, body: CreateUpload) -> Upload:
    if body.purpose not in files.PURPOSES:
        raise errors.UNKNOWN_PURPOSE(purpose=body.purpose, purposes=files.PURPOSES)
    _end_expired(context)
    with context.write() as tx:
        row = _insert_upload(context, tx, body)
        _prune.run(tx, oldest=row.seq - pagination.KEPT_DELETED)
    return shown(row, row.created_at)


def _insert_upload(context: Context, tx: Transaction, body: CreateUpload, id: str | None = None) -> tables.Upload:
    """`id` is made up unless given."""
    now, after = context.world.now(), body.expires_after
    row = context.insert(
        tx,
        _insert,
        id,
        created_at=now,
        expires_at=later(now, LIFETIME),
        bytes=body.bytes,
        filename=body.filename,
        purpose=body.purpose,
        mime_type=body.mime_type,
        file_expires_after=after.seconds if after else files.default_lifetime(body.purpose),
    )
    context.touch("created", row.id)
    return row


def use_upload(context: Context, upload_id: str) -> None:
    """Raise APIError for an upload that takes no parts."""
    _end_expired(context, upload_id)
    _pending(context, upload_id)


def add_upload_part(context: Context, upload_id: str, form: NewFile) -> UploadPart:
    if (unknown := next(iter(form.fields), None)) and not context.allows(profiles.UNKNOWN_KEY):
        raise errors.UNEXPECTED_FIELDS(fields=f"'{unknown}' was")
    if (data := form.file) is None:
        raise errors.MISSING_FIELD(field="data")
    _end_expired(context, upload_id)
    world, now = context.world, context.world.now()
    with context.write() as tx:
        upload = _pending(context, upload_id)
        if received(tx, upload.id)[1] + data.size > MAX_BYTES:
            raise errors.UPLOAD_TOO_LARGE(limit=MAX_BYTES)
        row = context.insert(
            tx,
            _insert_part,
            created_at=now,
            upload_id=upload.id,
            bytes=data.size,
            digest=data.digest,
        )
        world.contents.keep(tx, data)
        context.touch("created", row.id)
    return {"id": row.id, "object": "upload.part", "created_at": row.created_at, "upload_id": row.upload_id}


async def complete_upload(context: Context, upload_id: str, body: CompleteUpload, storage: Uploads) -> Upload:
    """Store the parts as one File, in the order of `part_ids`. Meanwhile the upload can't be changed."""
    upload, parts = await context.run(_chosen, upload_id, body.part_ids)
    world = context.world
    if upload.id in world.completing:  # since it was chosen in a thread
        raise errors.UPLOAD_ENDED(upload_id=upload.id, state="being completed")
    world.completing.add(upload.id)
    try:
        try:
            content, md5 = await _put_together(world, parts, storage, body.md5 is not None)
        except (FileNotFoundError, sqlite3.Error):
            _unchanged(context, upload.id, parts)
            if world.ended:  # by a restore, which brought the same parts back
                raise errors.WORLD_GONE() from None
            raise
        try:
            if body.md5 is not None and body.md5.lower() != md5 and not context.allows(profiles.ANY_MD5):
                raise errors.WRONG_MD5(value=body.md5[:100], md5=md5)
            return await context.run(_store, upload.id, parts, content)
        finally:
            await in_thread(content.discard)
    finally:
        world.completing.discard(upload.id)


def cancel_upload(context: Context, upload_id: str) -> Upload:
    _end_expired(context, upload_id)
    with context.write() as tx:
        row = _pending(context, upload_id)
        _end(context, tx, row.id, "cancelled")
        context.touch("changed", row.id)
    return shown(row, context.world.now(), "cancelled")


def find(tx: Transaction, upload_id: str) -> tables.Upload | None:
    return _find.first(tx, id=upload_id)


def expiring(tx: Transaction, after: int, until: int) -> Sequence[str]:
    """Ids of the pending ones that expire later than `after` and not later than `until`."""
    return [id for (id,) in _expiring.tuples(tx, after=after, until=until)]


def received(tx: Transaction, upload_id: str) -> tuple[int, int]:
    """The number of an upload's parts, and their bytes."""
    count, size = _received.tuple(tx, upload_id=upload_id) or (0, 0)
    return count, size


def remove(context: Context, tx: Transaction, upload_id: str) -> None:
    """Delete an upload with its parts, which no request of the API can."""
    _end(context, tx, upload_id, "cancelled")
    context.delete(tx, listing, id=upload_id)


def shown(row: tables.Upload, now: int, status: str | None = None) -> Upload:
    """As the API shows it, without its File; `status` where it has changed since the row was read."""
    expired = row.status == "pending" and row.expires_at <= now
    return {
        "id": row.id,
        "object": "upload",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "filename": row.filename,
        "purpose": row.purpose,  # type: ignore[typeddict-item]  # checked when it came in
        "status": status or ("expired" if expired else row.status),  # type: ignore[typeddict-item]  # one of these
        "expires_at": row.expires_at,
    }


def _pending(context: Context, upload_id: str) -> tables.Upload:
    """An upload that can be changed. Raises APIError."""
    world, row = context.world, find(context.read, upload_id)
    if upload_id in world.completing:
        raise errors.UPLOAD_ENDED(upload_id=upload_id, state="being completed")
    if row and row.status == "pending":
        return row
    if context.creates_missing(upload_id):
        return _create_missing(context, upload_id)
    if row is None:
        raise context.missing("upload_id", upload_id, "upload", errors.UPLOAD_NOT_FOUND(upload_id=upload_id))
    raise _ended(row)


def _ended(row: tables.Upload) -> errors.APIError:
    if row.status == "expired":
        return errors.UPLOAD_EXPIRED(upload_id=row.id)
    return errors.UPLOAD_ENDED(
        upload_id=row.id, state=f"{row.status}{f' as File {row.file_id}' if row.file_id else ''}"
    )


def _create_missing(context: Context, upload_id: str) -> tables.Upload:
    """An empty upload with an id that names none, or one that has ended."""
    with context.write() as tx:
        if find(tx, upload_id):
            remove(context, tx, upload_id)
        body = CreateUpload(filename="placeholder.txt", purpose="fine-tune", bytes=0, mime_type="text/plain")
        return _insert_upload(context, tx, body, upload_id)


def _end_expired(context: Context, upload_id: str = "") -> None:
    """End this upload if it has expired, and others that have."""
    expired = _expired.tuples(context.read, now=context.world.now(), id=upload_id, limit=ENDED_AT_ONCE)
    if ended := [id for (id,) in expired if id not in context.world.completing]:
        with context.write() as tx:
            context.expect(sum(received(tx, id)[0] for id in ended) * DROP_COSTS)
            for id in ended:
                _end(context, tx, id, "expired")


def _end(context: Context, tx: Transaction, upload_id: str, status: str, file_id: str | None = None) -> None:
    """Give an upload its last status, and remove its parts."""
    digests = [part.digest for part in _parts.all(tx, upload_id=upload_id)]
    context.expect(len(digests) * DROP_COSTS)
    _delete_parts.run(tx, upload_id=upload_id)
    _set_status.run(tx, id=upload_id, status=status, file_id=file_id)
    context.world.contents.drop(tx, digests)


# Completing


def _chosen(context: Context, upload_id: str, part_ids: Sequence[str]) -> tuple[tables.Upload, list[tables.UploadPart]]:
    """A pending upload, and its parts in their order. Raises APIError if they don't add up."""
    _end_expired(context, upload_id)
    there = {part.id: part for part in _parts.all(context.read, upload_id=upload_id)}  # first: its end removes them
    upload = _pending(context, upload_id)
    chosen: dict[str, tables.UploadPart] = {}
    for id in part_ids:
        if id in chosen:
            raise errors.INVALID_PART(part_id=id[:100], problem="it is given twice")
        if id in there:
            chosen[id] = there[id]
        elif not context.creates_missing(id):
            raise errors.INVALID_PART(part_id=id[:100], problem="it is not a part of this upload")
    if (size := sum(part.bytes for part in chosen.values())) != upload.bytes:
        raise errors.WRONG_UPLOAD_SIZE(size=size, bytes=upload.bytes)
    return upload, list(chosen.values())


async def _put_together(
    world: World, parts: Sequence[tables.UploadPart], storage: Uploads, with_md5: bool
) -> tuple[Incoming, str]:
    """The content of all parts, and its MD5. Other work that waits for a thread gets its turn in between."""
    content = storage.begin()
    md5 = hashlib.md5(usedforsecurity=False)
    pieces = _pieces(world, parts)

    def write_some() -> bool:
        """Returns whether there was anything left to write."""
        before = content.size
        for piece in islice(pieces, PIECES):
            content.write(piece)
            if with_md5:
                md5.update(piece)
        return content.size > before

    try:
        while await in_thread(write_some):
            pass
        return await in_thread(content.finish), md5.hexdigest()
    except BaseException:
        await in_thread(content.discard)
        raise
    finally:
        await in_thread(pieces.close)


def _pieces(world: World, parts: Sequence[tables.UploadPart]) -> Generator[bytes]:
    with closing(world.database.connect()) as tx:
        for part in parts:
            with world.open(tx, part.digest) as file:
                yield from iter(partial(file.read, PIECE), b"")


def _store(context: Context, upload_id: str, parts: Sequence[tables.UploadPart], content: Incoming) -> Upload:
    with context.write() as tx:
        upload = _unchanged(context, upload_id, parts)
        file = files.store(
            context,
            tx,
            content,
            filename=base_name(upload.filename) or "upload",
            purpose=upload.purpose,
            created_at=upload.created_at,
            lifetime=upload.file_expires_after,
        )
        _end(context, tx, upload_id, "completed", file.id)
        context.touch("changed", upload_id)
        context.touch("created", file.id)
    return {**shown(upload, upload.created_at, "completed"), "file": files.shown(file)}


def _unchanged(context: Context, upload_id: str, parts: Sequence[tables.UploadPart]) -> tables.Upload:
    """The upload that is being completed. Raises APIError if it was deleted, or its world replaced, meanwhile."""
    if (upload := find(context.read, upload_id)) is None:
        raise errors.UPLOAD_NOT_FOUND(upload_id=upload_id)
    if upload.status != "pending":
        raise _ended(upload)
    if not set(parts) <= set(_parts.all(context.read, upload_id=upload_id)):
        raise errors.WORLD_GONE()
    return upload
