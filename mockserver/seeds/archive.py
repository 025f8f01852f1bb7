"""Write a world as a zip file of `seed.yaml` and `blobs/<sha256>`, as a stream, and read such archives.

Archives come from anybody, so their limits are checked before they are trusted: the number of members, their
sizes, their compression ratios, and their names, which must stay inside the archive.
"""

import json
import math
import re
import zipfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from mockserver import zips
from mockserver.seeds.document import MAX_BYTES
from mockserver.seeds.faults import FAULT_STATE
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.contents import Contents
from mockserver.storage.database import Statement, Transaction, columns, connect_closed
from mockserver.storage.directory import DATABASE

SUFFIX = ".zip"
SEEDS = ("seed.yaml", "seed.yml", "seed.json")
MAX_MEMBERS = 200_000
MAX_DIRECTORY = 32 << 20
"""Bytes of a zip file's own table of contents."""
_BLOB = re.compile(r"blobs/([0-9a-f]{64})")


# Reading


class Archive:
    """The members of an archive. `shown` is its name in the SeedErrors that everything here raises."""

    def __init__(self, path: Path, shown: Path, max_total: float = math.inf) -> None:
        self.path = path
        self.shown = shown
        self._zip: zipfile.ZipFile | None = None
        self._stack = ExitStack()
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            with self._failing():
                self._read_directory(max_total)
        except SeedError:
            self.close()
            raise

    def _read_directory(self, max_total: float) -> None:
        total = 0
        for member in self._open().infolist():
            name = member.filename
            if member.is_dir():
                continue
            if problem := zips.problem(member):
                raise SeedError(f"{self.shown}: member {name[:200]!r} {problem}")
            if name in self._members:
                raise SeedError(f"{self.shown}: duplicate member {name[:200]!r}; remove one")
            self._members[name] = member
            total += member.file_size
        if len(self._members) > MAX_MEMBERS:
            raise SeedError(f"{self.shown}: {len(self._members):,} members are more than {MAX_MEMBERS:,}")
        if total > max_total:
            raise SeedError(
                f"{self.shown}: its contents are {total:,} bytes, more than {max_total:,.0f}; raise --max-import"
            )

    def seed(self) -> tuple[Path, bytes]:
        """Return the document, and its name for errors."""
        found = [name for name in SEEDS if name in self._members]
        if len(found) != 1:
            raise SeedError(
                f"{self.shown}: it contains {len(found)} of {', '.join(SEEDS)}; put exactly one at its top level"
            )
        if self.size(found[0]) > MAX_BYTES:
            raise SeedError(f"{self.shown}/{found[0]}: more than {MAX_BYTES:,} bytes")
        return self.shown / found[0], b"".join(self.pieces(found[0]))

    def names(self, folder: str) -> list[str]:
        return [name[len(folder) + 1 :] for name in self._members if name.startswith(f"{folder}/")]

    def size(self, name: str) -> int:
        if name not in self._members:
            raise SeedError(f"there is no member {name!r} in {self.shown}; add it, or correct the path")
        return self._members[name].file_size

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes, and check the digest if its name contains one."""
        digest = sha256() if (blob := _BLOB.fullmatch(name)) else None
        with self._failing():
            self.size(name)
            with self._open().open(self._members[name]) as member:
                while piece := member.read(zips.PIECE):
                    if digest:
                        digest.update(piece)
                    yield piece
        if digest and blob and digest.hexdigest() != blob[1]:
            raise SeedError(f"{self.shown}: the SHA-256 of {name} differs from its name; create the archive again")

    def verify(self) -> None:
        """Read all members, so that errors are raised before anything is written."""
        for name in self._members:
            for _ in self.pieces(name):
                pass

    def close(self) -> None:
        """Close the file; reading opens it again."""
        self._stack.close()
        self._zip = None

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None:
            with ExitStack() as stack:
                file = stack.enter_context(zips.Bounded(self.path, MAX_DIRECTORY))
                self._zip = stack.enter_context(zipfile.ZipFile(file))
                self._stack = stack.pop_all()
        return self._zip

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except zips.FAILURES as error:
            raise SeedError(f"{self.shown}: it can't be read as a zip archive ({error}); create it again") from None


# Writing


def write(directory: Path) -> Generator[bytes]:
    """Yield the archive of a world from a private copy of its directory, in pieces.

    May block on the disk, and can run in any thread.
    """
    out = _Out()
    digests: dict[str, None] = {}
    contents = Contents(directory)
    with closing(connect_closed(directory / DATABASE)) as tx, zipfile.ZipFile(out, "w") as archive:
        with archive.open(zips.new_member(SEEDS[0], zipfile.ZIP_DEFLATED), "w", force_zip64=True) as member:
            for line in _document(tx, digests):
                member.write(line.encode())
                yield from out.take(zips.PIECE)
        for digest in digests:
            with contents.open(tx, digest) as file:
                size = file.seek(0, 2)
                file.seek(0)
                with archive.open(
                    zips.new_member(f"blobs/{digest}"), "w", force_zip64=size > zipfile.ZIP64_LIMIT
                ) as member:
                    while piece := file.read(zips.PIECE):
                        member.write(piece)
                        yield from out.take(zips.PIECE)
    yield from out.take(0)


class _Out:
    """A write-only buffer for a zip file, which can't seek."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def write(self, data: bytes, /) -> int:
        self._buffer += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: only `take` empties the buffer."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def take(self, least: int) -> Iterator[bytes]:
        """Yield the buffered bytes if there are at least this many."""
        if self._buffer and len(self._buffer) >= least:
            data, self._buffer = bytes(self._buffer), bytearray()
            yield data


_world = Statement("SELECT * FROM world", tables.World)
_files = Statement("SELECT * FROM live_files ORDER BY created_at, seq", tables.File)
_containers = Statement("SELECT * FROM live_containers ORDER BY created_at, seq", tables.Container)
_container_files = Statement(
    "SELECT * FROM live_container_files WHERE container_id = :container_id ORDER BY created_at, seq",
    tables.ContainerFile,
)
_uploads = Statement("SELECT * FROM live_uploads ORDER BY created_at, seq", tables.Upload)
_parts = Statement(
    "SELECT * FROM live_upload_parts WHERE upload_id = :upload_id ORDER BY created_at, seq", tables.UploadPart
)
_skills = Statement("SELECT * FROM live_skills ORDER BY created_at, seq", tables.Skill)
_skill_versions = Statement(
    "SELECT * FROM live_skill_versions WHERE skill_id = :skill_id ORDER BY number, seq", tables.SkillVersion
)
_container_skills = Statement(
    "SELECT * FROM container_skills WHERE container_id = :container_id ORDER BY position", tables.ContainerSkill
)
_faults = Statement("SELECT * FROM faults ORDER BY position", tables.Fault)
_uses = Statement("SELECT * FROM uses WHERE container_id = :container_id ORDER BY at, response_id", tables.Use)
_answers = Statement("SELECT * FROM answers ORDER BY seeded, position", tables.Answer)
_responses = Statement("SELECT * FROM responses ORDER BY ordinal", tables.Response)
_items = Statement(
    "SELECT * FROM response_items WHERE response_id = :response_id ORDER BY position", tables.ResponseItem
)
_deleted = {
    row: Statement(f"SELECT * FROM {row.__tablename__} WHERE deleted_at IS NOT NULL", row)
    for row in tables.Listed.__subclasses__()
}


def _document(tx: Transaction, digests: dict[str, None]) -> Iterator[str]:
    """Yield `seed.yaml` with one line for each object, and collect the digests of the contents.

    It is JSON, which is also YAML and faster to read.
    """
    world = _world.first(tx)
    assert world, "it is a world's database"
    yield '{"version": 1,\n'
    yield f'"clock": {_text({"at": world.clock_virtual, "rate": world.clock_rate})},\n'
    if world.profile:
        yield f'"profile": {_text(json.loads(world.profile))},\n'
    yield f'"ordinal": {world.ordinal},\n'
    yield from _lines("faults", (_text(_fault(row)) for row in _faults.rows(tx)))
    yield from _lines("deleted", map(_text, _deleted_objects(tx)))
    yield from _lines("files", (_text(_file(row, digests)) for row in _files.rows(tx)))
    yield from _lines("skills", (_text(_skill(tx, row, digests)) for row in _skills.rows(tx)))
    yield from _lines("uploads", (_text(_upload(tx, row, digests)) for row in _uploads.rows(tx)))
    yield from _lines("answers", (_text(_answer(row, digests)) for row in _answers.rows(tx)))
    yield from _lines("responses", (_text(_response(tx, row)) for row in _responses.rows(tx)))
    yield from _lines("containers", (_container(tx, row, digests) for row in _containers.rows(tx)), "}\n")


def _lines(name: str, objects: Iterator[str], end: str = ",\n") -> Iterator[str]:
    yield f'"{name}": ['
    for number, each in enumerate(objects):
        yield (",\n" if number else "\n") + each
    yield f"]{end}"


def _pick(row: tables.Table, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _given(row: tables.Table, *names: str) -> dict[str, Any]:
    """Return the columns that are not null."""
    return {name: value for name, value in _pick(row, *names).items() if value is not None}


def _from(digest: str, digests: dict[str, None]) -> dict[str, str]:
    digests[digest] = None
    return {"from": f"blobs/{digest}"}


def _file(row: tables.File, digests: dict[str, None]) -> dict[str, Any]:
    described = _pick(row, "id", "filename", "purpose", "created_at") | _given(row, "expires_at")
    return described | {"seq": row.seq} | _from(row.digest, digests)


def _container(tx: Transaction, row: tables.Container, digests: dict[str, None]) -> str:
    lifetime = {"anchor": row.expires_anchor, "minutes": row.expires_minutes} if row.expires_minutes else None
    described = {
        **_pick(row, "id", "name", "created_at", "last_active_at"),
        "expires_after": lifetime,
        "memory_limit": row.memory_limit,
        **({} if row.network_policy is None else {"network_policy": json.loads(row.network_policy)}),
        **_given(row, "replaced_by", "used_until"),
        **({"wedged": True} if row.wedged else {}),
        "seq": row.seq,
    }
    if uses := _uses.all(tx, container_id=row.id):
        described["uses"] = [_pick(each, "at", "response_id") for each in uses]
    if skills := _container_skills.all(tx, container_id=row.id):
        described["skills"] = [_given(each, "skill_id", "version") | _from(each.digest, digests) for each in skills]
    inside = _container_files.rows(tx, container_id=row.id)
    files = "".join(_lines("files", (_text(_container_file(each, digests)) for each in inside), "}"))
    return f"{_text(described)[:-1]}, {files}"


def _container_file(row: tables.ContainerFile, digests: dict[str, None]) -> dict[str, Any]:
    described = _pick(row, "id", "path", "source", "bytes", "created_at")
    more = _given(row, "file_id", "response_id", "visible_from", "visible_until")
    return described | more | {"seq": row.seq} | _from(row.digest, digests)


def _upload(tx: Transaction, row: tables.Upload, digests: dict[str, None]) -> dict[str, Any]:
    names = (name for name in columns(tables.Upload) if not name.startswith("deleted_"))
    parts = [
        _pick(part, "id", "created_at", "seq") | _from(part.digest, digests)
        for part in _parts.all(tx, upload_id=row.id)
    ]
    return _given(row, *names) | {"parts": parts}


def _skill(tx: Transaction, row: tables.Skill, digests: dict[str, None]) -> dict[str, Any]:
    versions = [
        _pick(each, "id", "version", "created_at", "seq") | _from(each.digest, digests)
        for each in _skill_versions.all(tx, skill_id=row.id)
    ]
    return _pick(row, "id", "created_at", "default_version", "last_number", "seq") | {"versions": versions}


def _fault(row: tables.Fault) -> dict[str, Any]:
    """Return a rule as it was given, and its state."""
    rule: dict[str, Any] = json.loads(row.rule)
    return rule | {"id": row.id} | _pick(row, *sorted(FAULT_STATE))


def _answer(row: tables.Answer, digests: dict[str, None]) -> dict[str, Any]:
    """Return a rule with its contents, and its state."""
    rule: dict[str, Any] = json.loads(row.rule)
    for step in rule.get("steps") or [rule]:
        for given in (*step.get("files", ()), *step.get("shows", ())):
            if digest := given.pop("digest", None):
                del given["size"]
                given |= _from(digest, digests)
    state = {"seeded": bool(row.seeded), "matched": row.matched, "used": row.used, "seq": row.position}
    return rule | {"id": row.id} | state


def _response(tx: Transaction, row: tables.Response) -> dict[str, Any]:
    items = [_columns(tables.ResponseItem, each) for each in _items.all(tx, response_id=row.id)]
    for item in items:
        del item["response_id"], item["position"]
    return {"object": _columns(tables.Response, row), "items": items}


def _columns(row: type[tables.Table], found: Any) -> dict[str, Any]:
    """Return the columns of a row of an object, as JSON has them: SQLite has no true and false."""
    return {
        name: bool(getattr(found, name)) if field.annotation is bool else getattr(found, name)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }


def _deleted_objects(tx: Transaction) -> list[dict[str, Any]]:
    """Return deleted objects with their positions in their lists, in the order of the deletions."""
    found = []
    for row, deleted in _deleted.items():
        for each in deleted.rows(tx):
            kept = _columns(row, each)
            name = tables.list_of(row, kept.get(tables.owner(row) or "", ""))
            when = {"ordinal": each.deleted_ordinal, "deleted_at": each.deleted_at}
            found.append({"list": name, **_pick(each, "id", "seq", "created_at"), **when, "object": kept})
    return sorted(found, key=lambda each: (each["ordinal"], each["list"], each["id"]))


_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON allows and YAML doesn't."""


def _text(value: Any) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
