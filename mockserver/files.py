"""The Files API, as far as containers need it: Files and their contents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import get_args

from mockserver import errors, profiles
from mockserver.clock import later
from mockserver.context import Context
from mockserver.schema.contents import Content, disposition
from mockserver.schema.files import MAX_EXPIRY, MIN_EXPIRY, File, FileDeleted, FileList, ListFiles, UploadPurpose
from mockserver.schema.lists import listed
from mockserver.storage import contents, tables
from mockserver.storage.contents import Upload
from mockserver.storage.database import Insertion, Statement, Transaction
from mockserver.storage.pagination import Listing

PURPOSES = list(get_args(UploadPurpose))
EXTENSIONS = "c cpp css csv docx gif go html java jpeg jpg js json md pdf php pkl png pptx py rb tar tex ts txt webp xlsx xml zip"
"""Those of Files with the purpose `assistants` (seen, openai/openai-dotnet issue 270)."""
NOT_DOWNLOADABLE = {"assistants", "user_data"}
BATCH_EXPIRY = 30 * 24 * 3_600
"""Files of purpose `batch` expire by default (doc)."""

UNEXPIRED = "(expires_at IS NULL OR expires_at > :now)"

_insert = Insertion(tables.File)
_find = Statement(f"SELECT * FROM live_files WHERE id = :id AND {UNEXPIRED}", tables.File)
_find_any = Statement("SELECT * FROM live_files WHERE id = :id", tables.File)
_expiring = Statement(
    "SELECT id FROM live_files WHERE expires_at > :after AND expires_at <= :until ORDER BY created_at, seq"
)
listing = Listing(tables.File, "file", "File", live=UNEXPIRED)


@dataclass(slots=True)
class NewFile:
    """The form of an upload, as sent. `file` and `filename` are None where no file was sent."""

    file: Upload | None
    filename: str | None
    fields: dict[str, str]
    utf8: bool = True
    """Whether the content is UTF-8. Only looked at where the purpose needs it."""


def create_file(context: Context, form: NewFile) -> File:
    purpose, expiry = _checked(context, form)
    file, filename = form.file, form.filename
    if file is None or filename is None:
        raise errors.MISSING_FIELD(field="file")
    _check_format(purpose, filename, form.utf8)
    with context.write() as tx:
        row = store(context, tx, file, filename=filename, purpose=purpose, lifetime=expiry)
    context.touch("created", row.id)
    return shown(row)


def list_files(context: Context, query: ListFiles) -> FileList:
    rows, more = context.page(listing, query, {"now": context.world.now()}, purpose=query.purpose)
    data = [shown(row) for row in rows]
    return {"object": "list", "data": data, "has_more": more, **listed(data, more)}  # the ids stand last


def retrieve_file(context: Context, file_id: str) -> File:
    return shown(_found(context, file_id))


def delete_file(context: Context, file_id: str) -> FileDeleted:
    with context.write() as tx:
        row = _found(context, file_id)
        context.delete(tx, listing, id=file_id)
        context.world.contents.drop(tx, [row.digest])
        context.touch("deleted", file_id)
    return {"object": "file", "deleted": True, "id": file_id}


def download_file(context: Context, file_id: str) -> Content:
    row = _found(context, file_id)
    if row.purpose in NOT_DOWNLOADABLE and not context.allows(profiles.PRIVATE_DOWNLOAD):
        raise errors.NOT_DOWNLOADABLE(purpose=row.purpose)
    content = context.world.open(context.read, row.digest)
    return Content(content, "application/octet-stream", disposition(row.filename), row.digest)


def store(
    context: Context,
    tx: Transaction,
    content: Upload,
    *,
    filename: str,
    purpose: str,
    lifetime: int | None = None,
    created_at: int | None = None,
    id: str | None = None,
) -> tables.File:
    """Insert a File and put its content into place. By default it is created now and never expires.

    `lifetime` is the number of seconds until it expires.
    """
    world = context.world
    created = world.now() if created_at is None else created_at
    row = context.insert(
        tx,
        _insert,
        id,
        created_at=created,
        expires_at=later(created, lifetime) if lifetime else None,
        bytes=content.size,
        filename=filename,
        purpose=purpose,
        digest=content.digest,
    )
    world.contents.keep(tx, content)
    return row


def default_lifetime(purpose: str) -> int | None:
    """Return the seconds until a File without `expires_after` expires, or None if it never does."""
    return BATCH_EXPIRY if purpose == "batch" else None


def find(tx: Transaction, file_id: str, now: int) -> tables.File | None:
    """Return a File that has neither been deleted nor expired."""
    return _find.first(tx, id=file_id, now=now)


def expiring(tx: Transaction, after: int, until: int) -> Sequence[str]:
    """Return the ids of Files that expire after `after` and not after `until`."""
    return [id for (id,) in _expiring.tuples(tx, after=after, until=until)]


def referenced(context: Context, tx: Transaction, file_id: str, param: str) -> tables.File:
    """Return the File that the parameter `param` of a request names. Raises APIError."""
    if row := find(tx, file_id, context.world.now()):
        return row
    if context.creates_missing(file_id):
        return _create_missing(context, file_id)
    if param == "file_id":
        raise errors.REFERENCED_FILE_NOT_FOUND(file_id=file_id)
    raise errors.LISTED_FILE_NOT_FOUND(file_id=file_id, param=param)


def _found(context: Context, file_id: str) -> tables.File:
    if row := find(context.read, file_id, context.world.now()):
        return row
    if context.creates_missing(file_id):
        return _create_missing(context, file_id)
    raise context.missing("file_id", file_id, "file", errors.FILE_NOT_FOUND(file_id=file_id))


def _create_missing(context: Context, file_id: str) -> tables.File:
    """Create a File for an unknown id."""
    world, content = context.world, contents.placeholder()
    with context.write() as tx:
        if found := find(tx, file_id, world.now()):  # a thread placed it meanwhile
            return found
        if expired := _find_any.first(tx, id=file_id):
            context.delete(tx, listing, id=file_id)
            world.contents.drop(tx, [expired.digest])
        row = store(context, tx, content, filename="placeholder.txt", purpose="fine-tune", id=file_id)
        context.touch("created", file_id)
    return row


def _checked(context: Context, form: NewFile) -> tuple[str, int | None]:
    """Check the fields of a form. Return the purpose, and the seconds until the File expires, or None for never."""
    fields = dict(form.fields)
    anchor, seconds = fields.pop("expires_after[anchor]", None), fields.pop("expires_after[seconds]", None)
    purpose = fields.pop("purpose", None)
    if fields and not context.allows(profiles.UNKNOWN_KEY):
        names = ", ".join(f"'{name}'" for name in fields)
        raise errors.UNEXPECTED_FIELDS(fields=f"{names} {'was' if len(fields) == 1 else 'were'}")
    if purpose is None:
        raise errors.MISSING_FIELD(field="purpose")
    if purpose not in PURPOSES:
        raise errors.UNKNOWN_PURPOSE(purpose=purpose, purposes=PURPOSES)
    if anchor is None and seconds is None:
        return purpose, default_lifetime(purpose)
    if anchor is None or seconds is None:
        raise errors.MISSING_FIELD(field="expires_after." + ("anchor" if anchor is None else "seconds"))
    if anchor != "created_at":
        raise errors.BAD_FIELD(value=anchor, problem="is not one of ['created_at']", param="expires_after.anchor")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 20):
        raise errors.BAD_FIELD(value=seconds, problem="is not of type 'integer'", param="expires_after.seconds")
    if not MIN_EXPIRY <= int(seconds) <= MAX_EXPIRY:
        low = int(seconds) < MIN_EXPIRY
        limit = f"less than the minimum of {MIN_EXPIRY}" if low else f"greater than the maximum of {MAX_EXPIRY}"
        raise errors.BAD_FIELD(value=seconds, problem=f"is {limit}", param="expires_after.seconds")
    return purpose, int(seconds)


def _check_format(purpose: str, filename: str, utf8: bool) -> None:
    """Raise APIError for a file that its purpose does not take."""
    extension = PurePosixPath(filename).suffix[1:]
    if purpose == "assistants" and extension and extension.lower() not in EXTENSIONS.split():
        supported = ", ".join(f'"{each}"' for each in EXTENSIONS.split())
        raise errors.WRONG_EXTENSION(extension=extension, supported=supported)
    if purpose == "batch" and extension.lower() != "jsonl":
        raise errors.NOT_JSONL()
    if purpose == "batch" and not utf8:
        raise errors.NOT_UTF8()


def shown(row: tables.File) -> File:
    """As the API shows it."""
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
