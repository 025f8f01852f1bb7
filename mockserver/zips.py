"""Read and write zip files of anybody: members with safe names and sizes, and a bounded table of contents."""

import re
import stat
import struct
import zipfile
import zlib
from io import FileIO
from pathlib import Path

MAX_RATIO = 200
"""The largest compression ratio of a member that is larger than `RATIO_FREE` bytes."""
RATIO_FREE = 1 << 20
PIECE = 256 * 1024
"""Bytes that are read or written at once."""
FAILURES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
"""What `zipfile` raises for a file that is not a valid zip."""

_ENCRYPTED = 0x1


class Bounded(FileIO):
    """A file that reads no more at once than a table of contents may have."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path)
        self._limit = limit

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self._limit:
            raise zipfile.BadZipFile(f"its table of contents is {size:,} bytes")
        return super().read(-1 if size is None else size)


def name_problem(name: str) -> str | None:
    """Return why a name is rejected, and what to do."""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name or "\0" in name:
        return "has a name that is not a path inside the archive; rename it"
    if {"", ".", ".."} & set(name.split("/")):
        return "has a name that leaves the archive, or has empty or dot segments; rename it"
    return None


def problem(member: zipfile.ZipInfo, free: int = RATIO_FREE) -> str | None:
    """Return why a member is rejected, and what to do. Up to `free` bytes, its compression ratio is not bounded."""
    # Since Python 3.12 the second one can come from another field of the zip.
    if why := name_problem(member.orig_filename) or name_problem(member.filename):
        return why
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted; create the archive without a password"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "has an unsupported compression; store it or deflate it"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is not a regular file; remove it"
    if member.file_size > max(free, MAX_RATIO * member.compress_size):
        return f"is more than {MAX_RATIO} times as large as in the archive; store it uncompressed"
    return None


def new_member(name: str, how: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """Describe a member without time and machine, so that the same contents become the same archive."""
    member = zipfile.ZipInfo(name)
    member.compress_type = how
    member.create_system = 3
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member
