"""Skill bundles: a folder with a SKILL.md, sent as files or as a zip, checked and stored as one zip.

Bundles come from anybody. Nothing of them is ever extracted to disk; what is read of them is bounded in bytes and in
time, and runs in a thread. The order of checks is that of the live API: the layout first, then the front matter.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from mockserver import zips
from mockserver.storage.contents import Upload, Uploads

MAX_ZIP = 50 << 20
"""Bytes of a zip (doc)."""
MAX_FILES = 500
"""Files of a version (doc)."""
MAX_FILE = 25 << 20
"""Bytes of each file (doc; that it does not mean all files together is a guess)."""
MAX_UNPACKED = 500 << 20
"""Bytes of all files together. A limit of this server, so that checking a bundle takes seconds at most."""
MAX_PATH = 1_024
"""Characters of a path."""
MAX_DIRECTORY = 2 << 20
"""Bytes of a zip's table of contents."""
MAX_FRONT_MATTER = 64 << 10
MAX_NODES, MAX_DEPTH = 1_000, 20
"""Of the YAML in the front matter."""

MANIFEST = "skill.md"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_IGNORED = "__MACOSX/"
"""What macOS adds to zips (guess: the live API ignores it)."""
_FRONT = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NULL = "tag:yaml.org,2002:null"


class BadBundle(Exception):
    """Files are no skill; the message says why, as a part of a sentence."""


class BadLayout(BadBundle):
    """Files are not all under one folder."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A zip, and what the front matter of its SKILL.md says. `folded`: its description takes several lines."""

    zip: Upload
    name: str
    description: str
    folded: bool = False

    @property
    def digest(self) -> str:
        return self.zip.digest


# Reading what was sent: for a thread


def read(files: Sequence[tuple[str, Upload]], uploads: Uploads) -> Bundle:
    """Check the files of a form: a zip, or the files of a folder by their paths. Raises BadBundle.

    A file that is there twice with the same bytes counts once: openai-python 2.19 to 2.30 sends each one twice.
    """
    once: dict[str, Upload] = {}
    for name, upload in files:
        if once.setdefault(name, upload).digest != upload.digest:
            raise BadBundle(f"{name[:200]!r} was sent twice, with different bytes; send it once")
    if len(once) == 1:
        (upload,) = once.values()
        with upload.open() as file:
            start = file.read(4)
        if start in _ZIP:
            return read_zip(upload)
    return pack(once, uploads)


def read_zip(upload: Upload) -> Bundle:
    """Check a zip, and read all of it, so that its files can be read later. Raises BadBundle."""
    if upload.size > MAX_ZIP:
        raise BadBundle(f"its zip has {upload.size:,} bytes; {MAX_ZIP:,} is the maximum")
    with _opened(upload) as archive:
        members, front = _members(archive), b""
        manifest = _check({name: member.file_size for name, member in members.items()})
        for name, member in members.items():
            with archive.open(member) as file:
                start = file.read(MAX_FRONT_MATTER)
                front = start if name == manifest else front
                size = len(start) + sum(map(len, iter(lambda: file.read(zips.PIECE), b"")))
            if size != member.file_size:
                raise BadBundle(f"{name[:200]!r} is shorter than its zip says; create it again")
        return Bundle(upload, *_front_matter(front))


def pack(files: Mapping[str, Upload], uploads: Uploads) -> Bundle:
    """Check the files of a folder, and store them as a zip with the same paths (guess). Raises BadBundle."""
    for name in files:
        if why := zips.name_problem(name):
            raise BadBundle(f"{name[:200]!r} {why}")
    manifest = _check({name: upload.size for name, upload in files.items()})
    with files[manifest].open() as file:
        described = _front_matter(file.read(MAX_FRONT_MATTER))
    return Bundle(_zipped(files, uploads), *described)


def check_folder(sizes: dict[str, int], files: Mapping[str, Iterable[bytes]]) -> None:
    """Check the files of a folder without storing them; of their bytes only the manifest's are read. Raises BadBundle."""
    manifest = b"".join(files[_check(sizes)])
    _front_matter(manifest[:MAX_FRONT_MATTER])


def placeholder(name: str = "placeholder") -> Bundle:
    """Return a skill that nobody uploaded."""
    name = name if _NAME.fullmatch(name) else "placeholder"
    description = "Nobody uploaded this skill."
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(zips.new_member(f"{name}/SKILL.md"), f"---\nname: {name}\ndescription: {description}\n---\n")
    upload = Uploads(Path()).put([zipped.getvalue()])  # small, so that it stays in memory
    return Bundle(upload, name, description)


def _check(sizes: dict[str, int]) -> str:
    """Check paths and sizes. Returns the path of the manifest."""
    if not sizes:
        raise BadBundle("it has no files; send a folder with a SKILL.md")
    if len({path.partition("/")[0] for path in sizes}) > 1 or any("/" not in path for path in sizes):
        raise BadLayout("all files must be under a single top-level directory")
    if len(sizes) > MAX_FILES:
        raise BadBundle(f"it has {len(sizes):,} files; {MAX_FILES} is the maximum")
    for path, size in sizes.items():
        if len(path) > MAX_PATH:
            raise BadBundle(f"a path has {len(path):,} characters; {MAX_PATH:,} is the maximum")
        if path.lower().endswith(".zip"):
            raise BadBundle(f"{path[:200]!r} is a zip inside of a skill; unpack it")
        if size > MAX_FILE:
            raise BadBundle(f"{path[:200]!r} has {size:,} bytes; {MAX_FILE:,} is the maximum")
    if (total := sum(sizes.values())) > MAX_UNPACKED:
        raise BadBundle(f"its files have {total:,} bytes; {MAX_UNPACKED:,} is the maximum")
    manifests = [path for path in sizes if path.rpartition("/")[2].lower() == MANIFEST]
    if len(manifests) != 1:
        raise BadBundle(f"it has {len(manifests)} files named SKILL.md; put exactly one directly into its folder")
    if manifests[0].count("/") != 1:
        raise BadBundle("its SKILL.md is in a folder of its folder; put it directly into the skill's folder")
    return manifests[0]


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a zip by their paths."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename
        if member.is_dir() or name.startswith(_IGNORED):
            continue
        if why := zips.problem(member):
            raise BadBundle(f"{name[:200]!r} {why}")
        first = found.setdefault(name, member)
        if (first.CRC, first.file_size) != (member.CRC, member.file_size):
            raise BadBundle(f"{name[:200]!r} is in the zip twice, with different bytes; remove one")
    return found


def _zipped(files: Mapping[str, Upload], uploads: Uploads) -> Upload:
    # Stored and not deflated, so that the same files become the same zip on every machine. A file that can seek, as
    # Java can't read a stored member whose size stands behind it.
    built = uploads.begin(as_file=True)
    try:
        assert built.file
        with zipfile.ZipFile(built.file, "w") as archive:
            for name, upload in files.items():
                with upload.open() as source, archive.open(zips.new_member(name), "w") as member:
                    while piece := source.read(zips.PIECE):
                        member.write(piece)
        built.file.flush()
        with built.path.open("rb") as done:
            return uploads.put(iter(lambda: done.read(zips.PIECE), b""))
    finally:
        built.discard()


@contextmanager
def _opened(upload: Upload) -> Iterator[zipfile.ZipFile]:
    try:
        source = zips.Bounded(upload.path, MAX_DIRECTORY) if upload.file else upload.open()
        with source, zipfile.ZipFile(source) as archive:
            yield archive
    except zips.FAILURES as error:
        raise BadBundle(f"its zip can't be read ({error}); create it again") from None


# Front matter


def _front_matter(start: bytes) -> tuple[str, str, bool]:
    """Return name and description of a manifest, and whether the latter takes several lines."""
    import yaml  # here: a server without skills starts faster

    found = _FRONT.search(start)
    if not found:
        where = "" if len(start) < MAX_FRONT_MATTER else f" in its first {MAX_FRONT_MATTER >> 10} KiB"
        advice = "start it with a line ---, name, description and a line ---"
        raise BadBundle(f"its SKILL.md has no front matter{where}; {advice}")
    try:
        values = _mapping(yaml, found[1].decode())
        name, (description, folded) = _text(yaml, values, "name")[0], _text(yaml, values, "description")
        description.encode()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise BadBundle(f"the front matter of its SKILL.md is not valid YAML ({why}); correct it") from None
    if len(name) > 64 or not _NAME.fullmatch(name):
        raise BadBundle(f"the name {name[:80]!r} in its SKILL.md is not 1 to 64 of a-z, 0-9 and single hyphens between")
    if not 1 <= len(description.strip()) <= len(description) <= 1_024:
        raise BadBundle(f"the description in its SKILL.md has {len(description):,} characters; write 1 to 1024")
    if "compatibility" in values and not 1 <= len(_text(yaml, values, "compatibility")[0]) <= 500:
        raise BadBundle("`compatibility` in its SKILL.md must have 1 to 500 characters")
    if "metadata" in values and not isinstance(values["metadata"], yaml.MappingNode):
        raise BadBundle("`metadata` in its SKILL.md must be a mapping")
    return name, description, folded


def _mapping(yaml: Any, text: str) -> dict[str, Any]:
    """Return the nodes of a YAML mapping. Aliases are never expanded, so they can't make it larger."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = nodes = 0
    for event in yaml.parse(text, Loader=loader):  # before a tree is built, which takes one call for each level
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise BadBundle(f"the front matter of its SKILL.md has more than {MAX_NODES} values or {MAX_DEPTH} levels")
    root = yaml.compose(text, Loader=loader)
    if not isinstance(root, yaml.MappingNode):
        raise BadBundle("the front matter of its SKILL.md is not a mapping; write name: and description:")
    return {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}


def _text(yaml: Any, values: dict[str, Any], key: str) -> tuple[str, bool]:
    node = values.get(key)
    if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL:
        raise BadBundle(f"the front matter of its SKILL.md has no text as {key}; add it")
    return node.value, node.style in ("|", ">") or node.start_mark.line != node.end_mark.line


# Reading what was stored


def list_members(file: BinaryIO) -> dict[str, int]:
    """Return the sizes of the files of a stored zip, by their paths below the skill's folder and in their order."""
    with zipfile.ZipFile(file) as archive:
        members = _members(archive)
    return {path.partition("/")[2]: members[path].file_size for path in sorted(members)}


@contextmanager
def open_member(file: BinaryIO, path: str) -> Iterator[IO[bytes]]:
    """Open a file of a stored zip. Raises KeyError."""
    with zipfile.ZipFile(file) as archive:
        found = {name.partition("/")[2]: member for name, member in _members(archive).items()}
        with archive.open(found[path]) as member:
            yield member
