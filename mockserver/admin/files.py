"""Files of the Files API: find, read and delete them."""

from typing import Literal

from mockserver import errors, files
from mockserver.admin.contents import Preview, open_content, preview
from mockserver.admin.lists import Found, Query, Search
from mockserver.context import Context, World
from mockserver.schema.contents import Content
from mockserver.schema.files import File, FileDeleted
from mockserver.storage import tables
from mockserver.storage.database import Transaction


class AdminFile(File):
    """A File; it can be read here whatever its purpose."""


class FoundFiles(Found):
    data: list[AdminFile]


class FileQuery(Query):
    purpose: str | None = None
    sort: Literal["created", "name", "size"] = "created"


_files = Search(
    files.listing,
    tables.File,
    {"name": "filename", "size": "bytes"},
    "(:purpose IS NULL OR purpose = :purpose)",
    files.UNEXPIRED,
)


def find_files(tx: Transaction, world: World, query: FileQuery) -> FoundFiles:
    rows, found = _files.find(tx, query, world.now())
    return FoundFiles(data=[files.shown(row) for row in rows], **found)


def find_file(tx: Transaction, world: World, file_id: str) -> AdminFile:
    return files.shown(_file(tx, world, file_id))


def preview_file(tx: Transaction, world: World, file_id: str, length: int) -> Preview:
    return preview(tx, world, _file(tx, world, file_id).digest, length)


def open_file(tx: Transaction, world: World, file_id: str) -> Content:
    row = _file(tx, world, file_id)
    return open_content(tx, world, row.digest, row.filename, errors.FILE_NOT_FOUND(file_id=file_id))


def delete_file(context: Context, file_id: str) -> FileDeleted:
    _file(context.read, context.world, file_id)  # a profile may create what is missing
    return files.delete_file(context, file_id)


def _file(tx: Transaction, world: World, file_id: str) -> tables.File:
    if row := files.find(tx, file_id, world.now()):
        return row
    raise errors.FILE_NOT_FOUND(file_id=file_id)
