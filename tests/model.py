"""An in-memory model of the API and its worlds, as simple as possible; `test_model.py` compares the server with it.

The model shares no code with the server. An operation returns the expected body of its response, or raises
`ModelError`. Only ids come from the server. The model checks that they have the right format, are new in their world,
and repeat when a world is at the same second and the same ordinal again.
"""

import copy
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
SERVER_ERROR = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
    "through our help center at help.openai.com if you keep seeing this error. (Please include the request ID "
    "{request_id} in your email.)"
)
ASSISTANTS_EXTENSIONS = [
    "c",
    "cpp",
    "css",
    "csv",
    "docx",
    "gif",
    "go",
    "html",
    "java",
    "jpeg",
    "jpg",
    "js",
    "json",
    "md",
    "pdf",
    "php",
    "pkl",
    "png",
    "pptx",
    "py",
    "rb",
    "tar",
    "tex",
    "ts",
    "txt",
    "webp",
    "xlsx",
    "xml",
    "zip",
]


class ModelError(Exception):
    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": type, "param": param, "code": code}


def missing_parameter(param: str) -> ModelError:
    return ModelError(400, f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


MISSING_FILE = ModelError(
    400,
    "Missing mutually exclusive parameters: 'file_id'. Ensure you are providing exactly one of: 'file_id' or 'file'.",
    "file_id",
    "missing_mutually_exclusive_parameters",
)


def unknown_parameter(param: str) -> ModelError:
    return ModelError(400, f"Unknown parameter: '{param}'.", param, "unknown_parameter")


def invalid_type(param: str, expected: str, got: str) -> ModelError:
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return ModelError(400, message, param, "invalid_type")


def invalid_value(param: str, value: str, supported: str) -> ModelError:
    return ModelError(400, f"Invalid value: '{value}'. Supported values are: {supported}.", param, "invalid_value")


def out_of_range(param: str, value: int, low: int, high: int) -> ModelError:
    above = value > high
    kind, sign, limit = ("above maximum", "<=", high) if above else ("below minimum", ">=", low)
    message = f"Invalid '{param}': integer {kind} value. Expected a value {sign} {limit}, but got {value} instead."
    return ModelError(400, message, param, "integer_above_max_value" if above else "integer_below_min_value")


def file_not_found(file_id: str, param: str = "id") -> ModelError:
    return ModelError(400 if param == "file_ids" else 404, f"No such File object: {file_id}", param)


@dataclass
class Item:
    id: str
    created_at: int
    seq: int

    @property
    def sort_key(self) -> tuple[int, int]:
        return self.created_at, self.seq


@dataclass
class Container(Item):
    name: str
    anchor: str
    minutes: int
    memory_limit: str
    policy: Json | None
    last_active_at: int
    files: dict[str, "ContainerFile"] = field(default_factory=dict)

    @property
    def expires_at(self) -> int:
        return (self.created_at if self.anchor == "created_at" else self.last_active_at) + self.minutes * 60

    def as_json(self, now: int, active_at: int | None = None) -> Json:
        fields = {
            "id": self.id,
            "object": "container",
            "created_at": self.created_at,
            "status": "expired" if now >= self.expires_at else "running",
            "expires_after": {"anchor": self.anchor, "minutes": self.minutes},
            "last_active_at": self.last_active_at if active_at is None else active_at,
            "memory_limit": self.memory_limit,
            "name": self.name,
        }
        return fields if self.policy is None else fields | {"network_policy": self.policy}


@dataclass
class ContainerFile(Item):
    """A file in a container."""

    container_id: str
    path: str
    content: bytes
    file_id: str | None = None

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "object": "container.file",
            "created_at": self.created_at,
            "bytes": len(self.content),
            "container_id": self.container_id,
            "path": self.path,
            "source": "user",
        }


@dataclass
class File(Item):
    purpose: str
    filename: str
    content: bytes
    expires_at: int | None

    def as_json(self) -> Json:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.content),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": "processed",
            "status_details": None,
        }


@dataclass
class Upload(Item):
    purpose: str
    filename: str
    bytes: int
    file_seconds: int | None
    status: str = "pending"
    file_id: str | None = None
    parts: dict[str, bytes] = field(default_factory=dict)

    @property
    def expires_at(self) -> int:
        return self.created_at + 3_600

    def end(self, status: str) -> None:
        self.status = status
        self.parts = {}

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "expires_at": self.expires_at,
        }


@dataclass
class Version(Item):
    number: int
    name: str
    content: bytes

    def as_json(self, skill_id: str) -> Json:
        return {
            "id": self.id,
            "object": "skill.version",
            "created_at": self.created_at,
            "description": f"It is {self.name}.",
            "name": self.name,
            "skill_id": skill_id,
            "version": str(self.number),
        }


@dataclass
class Skill(Item):
    versions: dict[int, Version] = field(default_factory=dict)
    default: int = 1
    last: int = 0

    def as_json(self) -> Json:
        name = self.versions[self.default].name
        return {
            "id": self.id,
            "object": "skill",
            "created_at": self.created_at,
            "default_version": str(self.default),
            "description": f"It is {name}.",
            "latest_version": str(max(self.versions)),
            "name": name,
        }


@dataclass
class Fault:
    operation: str
    status: int
    remaining: int


@dataclass
class World:
    virtual: float
    anchor: float
    rate: float = 1.0
    ordinal: int = 0
    containers: dict[str, Container] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    skills: dict[str, Skill] = field(default_factory=dict)
    deleted_sort_keys: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """By list and id. A deleted object remains a valid cursor."""
    faults: list[Fault] = field(default_factory=list)

    def at(self, wall: float) -> float:
        return self.virtual + (wall - self.anchor) * self.rate

    def set_clock(self, virtual: float, wall: float, rate: float) -> None:
        self.virtual, self.anchor, self.rate = virtual, wall, rate

    def mark_deleted(self, list: str, item: Item) -> None:
        self.ordinal += 1
        self.deleted_sort_keys.setdefault(list, {})[item.id] = item.sort_key


class Model:
    def __init__(self, wall: float) -> None:
        self.wall = wall
        """The machine's time, which only the test advances."""
        self.worlds: dict[str, World] = {}
        self.snapshots: dict[str, dict[str, World]] = {}
        self._accepted_ids: dict[tuple[str, str, int, int], str] = {}

    # Worlds

    def get_or_create(self, name: str) -> World:
        return self.worlds.setdefault(name, World(self.wall, self.wall))

    def get(self, name: str) -> World:
        if name in self.worlds:
            return self.worlds[name]
        raise ModelError(404, f"There is no world '{name}'.", code="world_not_found")

    def now(self, world: World) -> int:
        return math.floor(world.at(self.wall))

    def reset(self, name: str) -> None:
        self.worlds[name] = World(self.wall, self.wall)

    def delete_world(self, name: str) -> Json:
        self.get(name)
        del self.worlds[name]
        self.snapshots.pop(name, None)
        return {"worlds": [name]}

    def fork(self, name: str, of: str, snapshot: str | None) -> None:
        if name in self.worlds:
            raise ModelError(409, f"There is a world '{name}' already; reset it instead.", code="world_exists")
        if snapshot is None:
            self.worlds[name] = copy.deepcopy(self.get(of))
        else:
            self.worlds[name] = self._load_snapshot(of, snapshot)

    def take_snapshot(self, name: str, snapshot: str) -> Json:
        saved = copy.deepcopy(self.get_or_create(name))
        saved.set_clock(saved.at(self.wall), self.wall, saved.rate)
        snapshots = self.snapshots.setdefault(name, {})
        snapshots.pop(snapshot, None)  # a replaced snapshot moves to the end of the list
        snapshots[snapshot] = saved
        return {"name": snapshot, "world": name, "instant": saved.virtual}

    def restore(self, name: str, snapshot: str) -> Json:
        self.worlds[name] = self._load_snapshot(name, snapshot)
        return {"world": name, "snapshot": snapshot, "clock": self.clock(name)}

    def _load_snapshot(self, name: str, snapshot: str) -> World:
        saved = self.snapshots.get(name, {}).get(snapshot)
        if saved is None:
            raise ModelError(404, f"World '{name}' has no snapshot '{snapshot}'.", code="snapshot_not_found")
        restored = copy.deepcopy(saved)
        restored.anchor = self.wall
        return restored

    def clock(self, name: str) -> Json:
        world = self.get(name)
        now = world.at(self.wall)
        mode = "real" if world.virtual == world.anchor else "offset"
        mode = "frozen" if world.rate == 0 else "scaled" if world.rate != 1 else mode
        iso = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"mode": mode, "now": now, "iso": iso, "rate": world.rate}

    def change_clock(self, name: str, change: Callable[[World, float], tuple[float, float]]) -> Json:
        """`change` returns the new instant and the new rate."""
        world = self.get_or_create(name)
        before = self.now(world)
        virtual, rate = change(world, self.wall)
        world.set_clock(virtual, self.wall, rate)
        after = self.now(world)
        low, high = min(before, after), max(before, after)
        pending = {upload.id: upload for upload in world.uploads.values() if upload.status == "pending"}
        crossed: dict[str, list[str]] = {"containers": [], "files": [], "uploads": []}
        for kind, items in (("containers", world.containers), ("files", world.files), ("uploads", pending)):
            for each in sorted(items.values(), key=lambda each: each.sort_key):
                if each.expires_at is not None and low < each.expires_at <= high:
                    crossed[kind].append(each.id)
        none: dict[str, list[str]] = {"containers": [], "files": [], "uploads": []}
        expired, revived = (crossed, none) if after >= before else (none, crossed)
        return self.clock(name) | {
            "expired_containers": expired["containers"],
            "expired_files": expired["files"],
            "expired_uploads": expired["uploads"],
            "revived_containers": revived["containers"],
            "revived_files": revived["files"],
            "revived_uploads": revived["uploads"],
        }

    def world_state(self, name: str) -> Json:
        """Return the fields of the control plane's world state that the model covers."""
        world = self.get(name)
        return {
            "name": name,
            "counts": {
                "files": len(world.files),
                "containers": len(world.containers),
                "container_files": sum(len(each.files) for each in world.containers.values()),
                "uploads": len(world.uploads),
                "upload_parts": sum(len(each.parts) for each in world.uploads.values()),
                "skills": len(world.skills),
                "skill_versions": sum(len(each.versions) for each in world.skills.values()),
                "responses": 0,
                "answers": 0,
            },
            "clock": self.clock(name),
            "faults": len(world.faults),
            "snapshots": list(self.snapshots.get(name, {})),
        }

    # Faults and ids

    def raise_fault(self, name: str, operation: str) -> None:
        """Raise the error of the first fault that fires for an operation. The server does this before anything else."""
        for fault in self.get_or_create(name).faults:
            if fault.operation == operation and fault.remaining:
                fault.remaining -= 1
                raise ModelError(fault.status, SERVER_ERROR, type="server_error")

    def accept_id(self, name: str, kind: str, pattern: str, existing: Iterable[str], id: str) -> tuple[str, int, int]:
        """Check an id of the server; return it with the second and the ordinal of its creation."""
        world = self.worlds[name]
        world.ordinal += 1
        now = self.now(world)
        assert re.fullmatch(pattern.format(time=f"{now & 0xFFFFFFFF:08x}"), id), id
        assert id not in existing
        assert self._accepted_ids.setdefault((name, kind, world.ordinal, now if kind != "file" else 0), id) == id
        return id, now, world.ordinal

    # Containers

    def create_container(self, name: str, body: Json, id: str, copies: Callable[[], list[str]]) -> Json:
        """Create a container. `copies` returns the ids of its initial files, in the order of `file_ids`."""
        world = self.worlds[name]
        file_ids = body.get("file_ids", [])
        for file_id in file_ids:
            self._file(world, file_id, file_not_found(file_id, "file_ids"))
        expiry = body.get("expires_after", {"anchor": "last_active_at", "minutes": 20})
        id, now, seq = self.accept_id(
            name, "container", "cntr_{time}[0-9a-f]{{24}}0[0-9a-f]{{15}}", world.containers, id
        )
        container = world.containers[id] = Container(
            id,
            now,
            seq,
            name=body["name"],
            anchor=expiry["anchor"],
            minutes=expiry["minutes"] if "minutes" in expiry else expiry["days"] * 1440,
            memory_limit=body.get("memory_limit", "1g"),
            policy=body.get("network_policy"),
            last_active_at=now,
        )
        for file_id, copied in zip(file_ids, copies(), strict=True):
            self._copy(name, container, file_id, copied)
        return container.as_json(now)

    def list_containers(self, name: str, query: Mapping[str, str]) -> Json:
        world = self.worlds[name]
        now = self.now(world)
        named = [each for each in world.containers.values() if query.get("name") in (None, each.name)]
        page = list_page(named, world.containers, world.deleted_sort_keys.get("containers", {}), query, "cntr", 20, 100)
        return page.as_json([each.as_json(now, active_at=now) for each in page.rows])

    def retrieve_container(self, name: str, id: str) -> Json:
        world = self.worlds[name]
        container, now = self._container(world, id), self.now(world)
        if now >= container.expires_at:
            return container.as_json(now)
        retrieved = container.as_json(now, active_at=now)
        container.last_active_at = max(container.last_active_at, now)
        return retrieved

    def delete_container(self, name: str, id: str) -> Json:
        world = self.worlds[name]
        world.mark_deleted("containers", self._container(world, id))
        del world.containers[id]
        return {"id": id, "object": "container.deleted", "deleted": True}

    def _container(self, world: World, id: str) -> Container:
        if id in world.containers:
            return world.containers[id]
        raise ModelError(404, f"Container with id '{id}' not found.")

    def use_container(self, name: str, id: str) -> Container:
        world = self.worlds[name]
        container, now = self._container(world, id), self.now(world)
        if now >= container.expires_at:
            raise ModelError(404, "Container is expired.")
        container.last_active_at = max(container.last_active_at, now)
        return container

    # Files in containers

    def add_file(self, name: str, container_id: str, filename: str, content: bytes, id: str) -> Json:
        container = self.use_container(name, container_id)
        path = f"/mnt/data/{hashlib.blake2b(content, digest_size=16).hexdigest()}-{base_name(filename)}"
        return self._add(name, container, id, path, content).as_json()

    def copy_file(self, name: str, container_id: str, file_id: str, id: str) -> Json:
        return self._copy(name, self.use_container(name, container_id), file_id, id).as_json()

    def _copy(self, name: str, container: Container, file_id: str, id: str) -> ContainerFile:
        file = self._file(self.worlds[name], file_id, file_not_found(file_id, "file_id"))
        return self._add(name, container, id, f"/mnt/data/{file.id}-{file.filename}", file.content, file.id)

    def _add(
        self, name: str, container: Container, id: str, path: str, content: bytes, file_id: str | None = None
    ) -> ContainerFile:
        id, now, seq = self.accept_id(name, "container file", "cfile_{time}[0-9a-f]{{24}}", container.files, id)
        file = container.files[id] = ContainerFile(id, now, seq, container.id, path, content, file_id)
        return file

    def list_container_files(self, name: str, container_id: str, query: Mapping[str, str]) -> Json:
        check_page_query(query, 100)
        container = self.use_container(name, container_id)
        deleted_sort_keys = self.worlds[name].deleted_sort_keys.get(f"containers/{container_id}", {})
        page = list_page(list(container.files.values()), container.files, deleted_sort_keys, query, "cfile", 20, 100)
        return page.as_json([each.as_json() for each in page.rows])

    def container_file(self, name: str, container_id: str, file_id: str) -> ContainerFile:
        """Return a file in a container by its id, or the newest copy of a File by the id of that File."""
        container = self.use_container(name, container_id)
        if file_id in container.files:
            return container.files[file_id]
        copies = [each for each in container.files.values() if each.file_id == file_id]
        if copies:
            return max(copies, key=lambda each: each.seq)
        raise ModelError(404, f"File {file_id} not found on container {container_id}.")

    def delete_container_file(self, name: str, container_id: str, file_id: str) -> Json:
        world = self.worlds[name]
        last_active_at = world.containers[container_id].last_active_at if container_id in world.containers else 0
        try:
            file = self.container_file(name, container_id, file_id)
        except ModelError as raised:
            if raised.status == 404 and container_id in world.containers:
                world.containers[container_id].last_active_at = last_active_at  # a failed deletion is not activity
            raise
        world.mark_deleted(f"containers/{container_id}", file)
        del world.containers[container_id].files[file.id]
        return {"id": file_id, "object": "container.file.deleted", "deleted": True}

    # Files

    def create_file(self, name: str, filename: str, content: bytes, purpose: str, seconds: int | None, id: str) -> Json:
        world, filename = self.worlds[name], base_name(filename)
        extension = filename.rpartition(".")[2] if "." in filename else ""
        if purpose == "assistants" and extension and extension not in ASSISTANTS_EXTENSIONS:
            supported = ", ".join(f'"{each}"' for each in ASSISTANTS_EXTENSIONS)
            raise ModelError(400, f"Invalid extension {extension}. Supported formats: {supported}")
        if purpose == "batch" and extension != "jsonl":
            raise ModelError(400, "Invalid file format for Batch API. Must be .jsonl")
        if purpose == "batch" and b"\xff" in content:
            raise ModelError(400, "Invalid file for Batch API. Must be utf-8 encoded")
        seconds = 30 * 86_400 if seconds is None and purpose == "batch" else seconds
        id, now, seq = self.accept_id(name, "file", "file-[0-9A-Za-z]{{22}}", world.files, id)
        expires_at = None if seconds is None else now + seconds
        file = world.files[id] = File(id, now, seq, purpose, filename, content, expires_at)
        return file.as_json()

    def list_files(self, name: str, query: Mapping[str, str]) -> Json:
        world = self.worlds[name]
        now = self.now(world)
        live = [each for each in world.files.values() if each.expires_at is None or now < each.expires_at]
        live = [each for each in live if query.get("purpose") in (None, each.purpose)]
        page = list_page(live, world.files, world.deleted_sort_keys.get("files", {}), query, "file", 10_000, 10_000)
        return {
            "object": "list",
            "data": [each.as_json() for each in page.rows],
            "has_more": page.more,
            "first_id": page.first,
            "last_id": page.last,
        }

    def file(self, name: str, id: str) -> File:
        return self._file(self.worlds[name], id, file_not_found(id))

    def _file(self, world: World, id: str, error: ModelError) -> File:
        file = world.files.get(id)
        if file is None or (file.expires_at is not None and self.now(world) >= file.expires_at):
            raise error
        return file

    def delete_file(self, name: str, id: str) -> Json:
        world = self.worlds[name]
        world.mark_deleted("files", self.file(name, id))
        del world.files[id]
        return {"object": "file", "deleted": True, "id": id}

    def download(self, name: str, id: str) -> File:
        file = self.file(name, id)
        if file.purpose in ("assistants", "user_data"):
            raise ModelError(400, f"Not allowed to download files of purpose: {file.purpose}")
        return file

    # Uploads

    def create_upload(self, name: str, body: Json, id: str) -> Json:
        world = self.worlds[name]
        self._expire_uploads(world)
        seconds = body["expires_after"]["seconds"] if "expires_after" in body else None
        seconds = 30 * 86_400 if seconds is None and body["purpose"] == "batch" else seconds
        id, now, seq = self.accept_id(name, "upload", "upload_{time}[0-9a-f]{{24}}", world.uploads, id)
        upload = world.uploads[id] = Upload(id, now, seq, body["purpose"], body["filename"], body["bytes"], seconds)
        return upload.as_json()

    def _expire_uploads(self, world: World) -> None:
        """Expire pending uploads for good. Every operation on uploads does this first."""
        for upload in world.uploads.values():
            if upload.status == "pending" and upload.expires_at <= self.now(world):
                upload.end("expired")

    def pending_upload(self, name: str, id: str) -> Upload:
        world = self.worlds[name]
        self._expire_uploads(world)
        if (upload := world.uploads.get(id)) is None:
            raise ModelError(404, f"No such Upload object: {id}", "id")
        if upload.status == "expired":
            raise ModelError(410, f"Upload {id} has expired. Create another one.")
        if upload.status != "pending":
            state = upload.status + (f" as File {upload.file_id}" if upload.file_id else "")
            message = f"Upload {id} is already {state}. Only a pending upload can be changed; create another one."
            raise ModelError(400, message)
        return upload

    def add_part(self, name: str, upload_id: str, content: bytes, id: str) -> Json:
        upload = self.pending_upload(name, upload_id)
        id, now, _ = self.accept_id(name, "part", "part_{time}[0-9a-f]{{24}}", upload.parts, id)
        upload.parts[id] = content
        return {"id": id, "object": "upload.part", "created_at": now, "upload_id": upload_id}

    def complete_upload(self, name: str, upload_id: str, part_ids: list[str], md5: str | None, file_id: str) -> Json:
        upload, world = self.pending_upload(name, upload_id), self.worlds[name]
        for index, id in enumerate(part_ids):
            if id in part_ids[:index]:
                raise ModelError(400, f"Invalid part '{id}': it is given twice.", "part_ids")
            if id not in upload.parts:
                raise ModelError(400, f"Invalid part '{id}': it is not a part of this upload.", "part_ids")
        content = b"".join(upload.parts[id] for id in part_ids)
        if len(content) != upload.bytes:
            message = (
                f"The parts have {len(content)} bytes in all, but the upload was created with {upload.bytes} bytes."
            )
            raise ModelError(400, message, "part_ids")
        if md5 is not None and md5 != (actual := hashlib.md5(content).hexdigest()):
            raise ModelError(400, f"'{md5}' is not the MD5 of the content, which is '{actual}'.", "md5")
        id, _, seq = self.accept_id(name, "file", "file-[0-9A-Za-z]{{22}}", world.files, file_id)
        expires_at = None if upload.file_seconds is None else upload.created_at + upload.file_seconds
        file = File(id, upload.created_at, seq, upload.purpose, upload.filename, content, expires_at)
        world.files[id] = file
        upload.end("completed")
        upload.file_id = id
        return upload.as_json() | {"file": file.as_json()}

    def cancel_upload(self, name: str, id: str) -> Json:
        upload = self.pending_upload(name, id)
        upload.end("cancelled")
        return upload.as_json()

    # Skills

    def create_skill(self, name: str, skill_name: str, content: bytes, id: str, version_id: str) -> Json:
        world = self.worlds[name]
        id, now, seq = self.accept_id(name, "skill", "skill_{time}[0-9a-f]{{24}}0[0-9a-f]{{15}}", world.skills, id)
        skill = world.skills[id] = Skill(id, now, seq)
        self._add_version(name, skill, skill_name, content, version_id)
        return skill.as_json()

    def create_version(self, name: str, skill_id: str, skill_name: str, content: bytes, default: bool, id: str) -> Json:
        skill = self.skill(name, skill_id)
        version = self._add_version(name, skill, skill_name, content, id)
        skill.default = version.number if default else skill.default
        return version.as_json(skill_id)

    def _add_version(self, name: str, skill: Skill, skill_name: str, content: bytes, id: str) -> Version:
        pattern = "skillver_{time}[0-9a-f]{{24}}" + skill.id[-16:]
        existing = [each.id for each in skill.versions.values()]
        id, now, seq = self.accept_id(name, "version", pattern, existing, id)
        skill.last += 1
        version = skill.versions[skill.last] = Version(id, now, seq, skill.last, skill_name, content)
        return version

    def skill(self, name: str, id: str) -> Skill:
        if id in self.worlds[name].skills:
            return self.worlds[name].skills[id]
        raise ModelError(404, f"Skill with id '{id}' not found.")

    def version(self, name: str, skill_id: str, number: str, param: str = "version") -> Version:
        if not re.fullmatch("[1-9][0-9]*", number):
            raise ModelError(
                400, f"Invalid '{param}': '{number}'. Expected a positive integer.", param, "invalid_value"
            )
        skill = self.skill(name, skill_id)
        if int(number) in skill.versions:
            return skill.versions[int(number)]
        raise ModelError(404, f"Skill version '{number}' not found.")

    def set_default(self, name: str, skill_id: str, number: str) -> Json:
        version = self.version(name, skill_id, number, "default_version")
        skill = self.skill(name, skill_id)
        skill.default = version.number
        return skill.as_json()

    def delete_skill(self, name: str, id: str) -> Json:
        world = self.worlds[name]
        world.mark_deleted("skills", self.skill(name, id))
        del world.skills[id]
        return {"id": id, "object": "skill.deleted", "deleted": True}

    def delete_version(self, name: str, skill_id: str, number: str) -> Json:
        version = self.version(name, skill_id, number)
        skill = self.skill(name, skill_id)
        if len(skill.versions) == 1:
            self.delete_skill(name, skill_id)
        elif version.number == skill.default:
            raise ModelError(400, "Cannot delete the default skill version.", "version", "invalid_value")
        else:
            self.worlds[name].ordinal += 1
            del skill.versions[version.number]
        return {"id": version.id, "object": "skill.version.deleted", "deleted": True, "version": number}

    def list_skills(self, name: str, query: Mapping[str, str]) -> Json:
        world = self.worlds[name]
        return self._skill_page(list(world.skills.values()), lambda each: each.as_json(), query)

    def list_versions(self, name: str, skill_id: str, query: Mapping[str, str]) -> Json:
        self._check_skill_query(query)
        skill = self.skill(name, skill_id)
        versions = [skill.versions[number] for number in sorted(skill.versions)]
        return self._skill_page(versions, lambda each: each.as_json(skill_id), query, by_number=True)

    def _check_skill_query(self, query: Mapping[str, str]) -> None:
        """Check `limit` and `order`. Unlike other lists, these accept a limit of 0."""
        check_page_query(
            {**query, "limit": query["limit"] if query.get("limit") not in (None, "0") else "1"}, 100, minimum=0
        )

    def _skill_page(
        self, items: list[Any], as_json: Callable[[Any], Json], query: Mapping[str, str], by_number: bool = False
    ) -> Json:
        """Return the first page. The model covers no cursors of skills."""
        self._check_skill_query(query)
        rows = items if by_number else sorted(items, key=lambda each: each.sort_key)
        rows = rows if query.get("order", "desc") == "asc" else rows[::-1]
        limit = int(query.get("limit", 20))
        page = Page(rows[:limit], len(rows) > limit)
        return page.as_json([as_json(each) for each in page.rows])


@dataclass
class Page:
    rows: list[Any]
    more: bool

    @property
    def first(self) -> str | None:
        return self.rows[0].id if self.rows else None

    @property
    def last(self) -> str | None:
        return self.rows[-1].id if self.rows else None

    def as_json(self, data: list[Json]) -> Json:
        return {
            "object": "list",
            "data": data,
            "first_id": self.first,
            "has_more": self.more,
            "last_id": self.last,
        }


def check_page_query(query: Mapping[str, str], maximum: int, minimum: int = 1) -> None:
    limit, order = query.get("limit", "1"), query.get("order", "asc")
    if not re.fullmatch("[+-]?[0-9]+", limit):
        raise invalid_type("limit", "an integer", "a string")
    if not minimum <= int(limit) <= maximum:
        raise out_of_range("limit", int(limit), minimum, maximum)
    if order not in ("asc", "desc"):
        raise invalid_value("order", order, "'asc' and 'desc'")


def list_page(
    items: list[Any],
    all: Mapping[str, Item],
    deleted_sort_keys: Mapping[str, tuple[int, int]],
    query: Mapping[str, str],
    prefix: str,
    limit: int,
    maximum: int,
) -> Page:
    """Return the page that a query selects. Deleted objects are valid cursors."""
    check_page_query(query, maximum)
    limit, order = int(query.get("limit", limit)), query.get("order", "desc")
    sort_keys = dict(deleted_sort_keys) | {id: item.sort_key for id, item in all.items()}
    for name in ("after", "before"):
        if name in query and query[name] not in sort_keys:
            value = query[name]
            if not value.startswith(prefix):
                message = f"Invalid '{name}': '{value}'. Expected an ID that begins with '{prefix}'."
                raise ModelError(400, message, name, "invalid_value")
            kind = {"cntr": "Container", "cfile": "Container File", "file": "File"}[prefix]
            raise ModelError(404, f"No such {kind} object: {value}", name)
    rows = sorted(items, key=lambda each: each.sort_key, reverse=order == "desc")
    sign = 1 if order == "asc" else -1

    def is_beyond(sort_key: tuple[int, int], cursor: tuple[int, int]) -> bool:
        return sort_key > cursor if sign > 0 else sort_key < cursor

    if "after" in query:
        rows = list(itertools.dropwhile(lambda each: not is_beyond(each.sort_key, sort_keys[query["after"]]), rows))
    if "before" in query:
        rows = [each for each in rows if is_beyond(sort_keys[query["before"]], each.sort_key)]
        if "after" not in query:
            return Page(rows[-limit:], len(rows) > limit)
    return Page(rows[:limit], len(rows) > limit)


def base_name(name: str) -> str:
    """Strip the directories of a file name, as the API does."""
    return re.split(r"[/\\]" if re.match(r"[A-Z]:", name) else "/", name)[-1]


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def conditional_download(content: bytes, condition: str | None, tag: str) -> tuple[int, bytes]:
    """Return the status and body of a conditional download.

    `condition` is `if-none-match`, or `if-range` for all bytes but the first.
    """
    if condition is None or tag != etag(content):
        return 200, content
    if condition == "if-none-match":
        return 304, b""
    if len(content) < 2:
        raise ModelError(416, "The requested range is not satisfiable.")
    return 206, content[1:]


def content_disposition(path: str) -> str:
    """Return the Content-Disposition header of a container file's content."""
    name = path.rpartition("/")[2]
    extension = re.search(r"\.[A-Za-z0-9]{1,16}$", name)
    return f"attachment; filename=\"file{extension[0] if extension else ''}\"; filename*=UTF-8''{quote(name)}"
