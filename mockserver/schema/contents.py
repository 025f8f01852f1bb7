"""The bytes of a file as a response: their media type and disposition."""

import re
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ipynb": "application/x-ipynb+json",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "py": "text/x-python; charset=utf-8",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "wav": "audio/x-wav",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "text/xml; charset=utf-8",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
}


_OF_WINDOWS = re.compile(r"(?:[A-Za-z]:|\.\.?|\\)\\")


@dataclass(slots=True)
class Content:
    """The bytes of a file, open for reading, and the headers that describe them."""

    file: BinaryIO
    media_type: str | None
    disposition: str
    digest: str
    """SHA-256, in hexadecimal: the same bytes always have the same."""


def base_name(name: str) -> str:
    """Return a file name without its directories, which the live API discards.

    A backslash separates directories only where the name starts like a path of Windows; elsewhere it is a character.
    """
    if _OF_WINDOWS.match(name):
        name = name.rpartition("\\")[2]
    return name.rpartition("/")[2]


def media_type(name: str) -> str:
    """Return the media type for a file name's extension. The list of the machine is not used: it differs.

    Seen for `.txt`; the rest is a guess.
    """
    return _MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def container_media_type(name: str) -> str | None:
    """Return the media type of a container's file: none for `.csv` (seen), although the Files API may have one."""
    return None if name.lower().endswith(".csv") else media_type(name)


def masked_disposition(name: str) -> str:
    """Return the Content-Disposition of a container file (seen): `file`, and its real name only in `filename*`."""
    extension = re.search(r"\.[A-Za-z0-9]{1,16}$", name)
    return f'attachment; filename="file{extension.group() if extension else ""}"; filename*={_extended(name)}'


def disposition(name: str) -> str:
    """Return the Content-Disposition of a File (guess): its base name, also in `filename*` if it isn't plain ASCII."""
    name = name.rpartition("/")[2]
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return f'attachment; filename="{plain}"' + ("" if plain == name else f"; filename*={_extended(name)}")


def _extended(name: str) -> str:
    return "UTF-8''" + quote(name, safe="!#$&+-.^_`|~")
