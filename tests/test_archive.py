"""Export, import and `place` of the control plane."""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import socket
import struct
import sys
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import NOON, World, error_message, new_world, ok
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mockserver import zips
from mockserver.seeds import archive
from mockserver.seeds.document import IMPORTED
from mockserver.seeds.loader import read_seeds
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError

MAX_UPLOAD = 1 << 20


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}", timeout=60) as client:
        yield client


def counts(control: httpx2.Client) -> dict[str, int]:
    return nonzero_counts(ok(control.get(str(control.base_url).rstrip("/"))))


def nonzero_counts(state: dict[str, Any]) -> dict[str, int]:
    """Return the number of objects of each kind, without kinds of which there are none."""
    return {kind: number for kind, number in state["counts"].items() if number}


def export_world(control: httpx2.Client) -> bytes:
    response = control.get("/export")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    return response.content


def import_archive(control: httpx2.Client, data: bytes, **query: Any) -> Any:
    return ok(control.post("/import", content=data, params=query))


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return file.getvalue()


def read_all(world: World) -> list[tuple[str, int, bytes]]:
    """Return path, status and body of every page, File, container and content that the API returns of a world."""
    responses: list[tuple[str, int, bytes]] = []

    def get(path: str) -> dict[str, Any]:
        response = world.http.get(path)
        responses.append((path, response.status_code, response.content))
        return response.json() if "json" in response.headers.get("content-type", "") else {}

    def list_ids(path: str) -> Iterator[str]:
        for order in ("asc", "desc"):
            after, more = "", True
            while more:
                page = get(f"{path}?limit=3&order={order}{after}")
                if order == "asc":
                    yield from (each["id"] for each in page.get("data", []))
                more, after = page.get("has_more", False), f"&after={page.get('last_id')}"

    for id in list_ids("/files"):
        get(f"/files/{id}")
        get(f"/files/{id}/content")
    for id in list_ids("/containers"):
        get(f"/containers/{id}")
        for file in list_ids(f"/containers/{id}/files"):
            get(f"/containers/{id}/files/{file}")
            get(f"/containers/{id}/files/{file}/content")
    return responses


def populate(world: World, control: httpx2.Client) -> str:
    """Create Files, containers, container files, a profile and a fault. Return the id of a deleted container."""
    world.freeze(NOON)
    file = ok(world.http.post("/files", files={"file": ("a.csv", b"a,b\n")}, data={"purpose": "vision"}))
    deleted_file = ok(
        world.http.post("/files", files={"file": ("gone {n}\u2028\x7f.txt", b"gone")}, data={"purpose": "evals"})
    )
    body = {
        "name": "caf\u00e9 {n} \U0001f600 \x00\x85",
        "file_ids": [file["id"], deleted_file["id"]],
        "memory_limit": "4g",
    }
    box = ok(world.http.post("/containers", json=body))
    ok(world.http.post(f"/containers/{box['id']}/files", files={"file": ("up.bin", bytes(range(256)) * 10)}))
    ok(
        control.post(
            f"/containers/{box['id']}/files",
            files={"file": b"plot"},
            data={"path": "deep/er.png", "source": "assistant"},
        )
    )
    world.advance(60)
    policy = {"type": "allowlist", "allowed_domains": ["example.com"]}
    days = {"anchor": "created_at", "days": 3}
    ok(world.http.post("/containers", json={"name": "auto", "network_policy": policy, "expires_after": days}))
    expired = ok(world.http.post("/containers", json={"name": "expired"}))
    ok(control.post(f"/containers/{expired['id']}/expire"))
    ok(world.http.delete(f"/files/{deleted_file['id']}"))
    deleted = ok(world.http.post("/containers", json={"name": "deleted"}))
    ok(world.http.delete(f"/containers/{deleted['id']}"))
    ok(control.put("/profile", json={"name": "live"}))
    rule = {"id": "once", "match": {"operation": "DeleteFile"}, "times": 2, "effect": {"status": 500}}
    ok(control.post("/faults", json=rule))
    assert world.http.delete("/files/file-x").status_code == 500
    return deleted["id"]


def test_export_and_import_restore_a_world_exactly(world: World, control: httpx2.Client) -> None:
    deleted = populate(world, control)
    before, faults = read_all(world), ok(control.get("/faults"))
    page = f"/containers?after={deleted}"
    page_after_deleted = world.http.get(page).content
    clock = ok(control.get("/clock"))
    data = export_world(control)
    assert export_world(control) == data, "two exports of an unchanged world are identical"
    created = ok(world.http.post("/containers", json={"name": "next"}))

    ok(control.post("/reset?empty=true"))
    assert ok(world.http.get("/containers"))["data"] == []
    state = import_archive(control, data)
    assert nonzero_counts(state) == {"files": 1, "containers": 3, "container_files": 4}
    assert state["profile"]["max_minutes"] == 20
    assert read_all(world) == before
    assert world.http.get(page).content == page_after_deleted, "a deleted object is still a cursor"
    assert ok(control.get("/clock")) == clock
    assert ok(control.get("/faults")) == faults
    assert ok(world.http.post("/containers", json={"name": "next"})) == created, "the next id is the same"
    assert world.http.delete("/files/file-x").status_code == 500
    assert world.http.delete("/files/file-x").status_code == 404, "the count of the fault is restored"


def test_an_export_can_be_used_as_a_seed_of_the_server(world: World, control: httpx2.Client, tmp_path: Path) -> None:
    populate(world, control)
    before, data = read_all(world), export_world(control)
    seed = tmp_path / "world.zip"
    seed.write_bytes(data)
    assert read_seeds([seed], MAX_UPLOAD).summary() == "1 File, 3 containers, 4 container files"
    with MockServer(seed=(seed,)) as server, World(server, world.name) as same, World(server, "other") as other:
        assert read_all(same) == before
        assert read_all(other) == before
        created = ok(same.http.post("/containers", json={"name": "next"}))
    assert ok(world.http.post("/containers", json={"name": "next"})) == created


SEED_OF_VERSION_0_1 = """{"version": 1,
"clock": {"at": 1795840096.5, "rate": 0.0},
"profile": {"base": "default", "expired_replaced": true, "delete_lag": 3600},
"ordinal": 11,
"faults": [],
"deleted": [
{"list": "containers/cntr_6b0a57e8af1d8191a74d745b46c30fdb061ff02afedfbf30", "id": "cfile_6b0a57e8c269819186a1ed9d0eeb76d1", "seq": 6, "created_at": 1795839976, "ordinal": 7, "deleted_at": 1795839976, "object": {"container_id": "cntr_6b0a57e8af1d8191a74d745b46c30fdb061ff02afedfbf30", "id": "cfile_6b0a57e8c269819186a1ed9d0eeb76d1", "seq": 6, "created_at": 1795839976, "bytes": 11, "path": "/mnt/data/c41d4468063ba25216a56046f381e4ca-in.txt", "source": "user", "digest": "b7d2d38b289151977a236196b916dabb933c3907ed47707af967a9802496a35a", "file_id": null}},
{"list": "files", "id": "file-0VfOQueD2tvKp5tMyc5zVn", "seq": 2, "created_at": 1795839976, "ordinal": 8, "deleted_at": 1795839976, "object": {"id": "file-0VfOQueD2tvKp5tMyc5zVn", "seq": 2, "created_at": 1795839976, "expires_at": null, "bytes": 4, "filename": "gone.txt", "purpose": "vision", "digest": "283bb9deef02e6843abfb538efa1eca70801bd8a701c3f98191e123496339247"}},
{"list": "containers", "id": "cntr_6b0a57e87b428198b8534301e08578aa0ee793e79aaa1965", "seq": 4, "created_at": 1795839976, "ordinal": 9, "deleted_at": 1795839976, "object": {"id": "cntr_6b0a57e87b428198b8534301e08578aa0ee793e79aaa1965", "seq": 4, "created_at": 1795839976, "last_active_at": 1795839976, "name": "deleted", "memory_limit": "1g", "network_policy": null, "expires_anchor": "last_active_at", "expires_minutes": 20}},
{"list": "successors", "id": "cntr_6b0a57e8af1d8191a74d745b46c30fdb061ff02afedfbf30", "seq": 10, "created_at": 1795840096, "ordinal": 10, "deleted_at": 1795840096, "object": {"id": "cntr_6b0a58604b238190b0b76f2384340f700d8fd5c50d360333", "seq": 10, "created_at": 1795840096, "last_active_at": 1795840096, "name": "box", "memory_limit": "1g", "network_policy": null, "expires_anchor": "last_active_at", "expires_minutes": 1}}],
"files": [
{"id": "file-fDqosTFKUf2Jtb0E6gI5Ux", "filename": "a.txt", "purpose": "vision", "created_at": 1795839976, "seq": 1, "from": "blobs/79f076abdd19a752db7267bfff2f9022161d120dea919fdaca2ffdfc24ca8c96"}],
"containers": [
{"id": "cntr_6b0a57e8af1d8191a74d745b46c30fdb061ff02afedfbf30", "name": "box", "created_at": 1795839976, "last_active_at": 1795839976, "expires_after": {"anchor": "last_active_at", "minutes": 1}, "memory_limit": "1g", "seq": 3, "files": [
{"id": "cfile_6b0a57e88e3b81989eb5a3af82d91dd1", "path": "/mnt/data/b79dbc35ec42f09ea624a05ebcbb84a5-in.txt", "source": "user", "bytes": 6, "created_at": 1795839976, "seq": 5, "from": "blobs/106b086224a4d945eae25f7be3805a931a873270326dd868b0e41f71ee9fff72"}]},
{"id": "cntr_6b0a58604b238190b0b76f2384340f700d8fd5c50d360333", "name": "box", "created_at": 1795840096, "last_active_at": 1795840096, "expires_after": {"anchor": "last_active_at", "minutes": 1}, "memory_limit": "1g", "seq": 10, "files": [
{"id": "cfile_6b0a5860d5e18198bd834f95635ac8bb", "path": "/mnt/data/b79dbc35ec42f09ea624a05ebcbb84a5-new.txt", "source": "user", "bytes": 6, "created_at": 1795840096, "seq": 11, "from": "blobs/106b086224a4d945eae25f7be3805a931a873270326dd868b0e41f71ee9fff72"}]}]}
"""
"""The seed that version 0.1 exported of a world with a replaced expired container and a deleted object in each list."""


@pytest.mark.parametrize("source", ["import", "seed"])
def test_an_export_of_version_0_1_can_be_imported(
    world: World, control: httpx2.Client, tmp_path: Path, source: str
) -> None:
    content, content_in_container = b"kept", b"inside"
    contents = {f"blobs/{hashlib.sha256(each).hexdigest()}": each for each in (content, content_in_container)}
    data = zipped({"seed.yaml": SEED_OF_VERSION_0_1.encode(), **contents})
    expired, deleted, replacement = (
        "cntr_6b0a57e8af1d8191a74d745b46c30fdb061ff02afedfbf30",
        "cntr_6b0a57e87b428198b8534301e08578aa0ee793e79aaa1965",
        "cntr_6b0a58604b238190b0b76f2384340f700d8fd5c50d360333",
    )

    def check(world: World) -> None:
        listed = ok(world.http.get("/containers"))["data"]
        assert [(each["id"], each["status"]) for each in listed] == [
            (replacement, "running"),
            (deleted, "running"),  # the profile delays deletions in lists by an hour
            (expired, "expired"),
        ]
        assert [each["filename"] for each in ok(world.http.get("/files"))["data"]] == ["gone.txt", "a.txt"]
        assert world.http.get(f"/containers/{deleted}").status_code == 404
        (file,) = ok(world.http.get(f"/containers/{expired}/files"))["data"]
        assert file["container_id"] == replacement, "it replaced the expired container"
        download = world.http.get(f"/containers/{replacement}/files/{file['id']}/content")
        assert download.content == content_in_container
        response = world.http.get(
            f"/containers/{replacement}/files", params={"after": "cfile_6b0a57e8c269819186a1ed9d0eeb76d1"}
        )
        assert response.status_code == 404, "the cursor was deleted from another list"
        world.advance(7_200)
        assert [each["filename"] for each in ok(world.http.get("/files"))["data"]] == ["a.txt"]
        after_deleted = ok(world.http.get("/files", params={"after": "file-0VfOQueD2tvKp5tMyc5zVn"}))["data"]
        assert [each["filename"] for each in after_deleted] == ["a.txt"], "a deleted object is still a cursor"

    if source == "import":
        assert nonzero_counts(import_archive(control, data)) == {"files": 1, "containers": 2, "container_files": 2}
        again = export_world(control)
        import_archive(control, again)
        assert export_world(control) == again
        with zipfile.ZipFile(io.BytesIO(again)) as opened:
            document = json.loads(opened.read("seed.yaml"))
        assert [each.get("replaced_by") for each in document["containers"]] == [replacement, None]
        assert [each["list"] for each in document["deleted"]] == [f"containers/{expired}", "files", "containers"]
        check(world)
    else:
        seed = tmp_path / "world.zip"
        seed.write_bytes(data)
        with MockServer(seed=(seed,)) as server, World(server, "w") as seeded:
            check(seeded)


def test_an_archive_contains_a_seed_and_each_content_once(world: World, control: httpx2.Client) -> None:
    populate(world, control)
    with zipfile.ZipFile(io.BytesIO(export_world(control))) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert names[0] == "seed.yaml"
        assert len(set(names)) == len(names) == 5
        for name in names[1:]:
            assert name == f"blobs/{hashlib.sha256(opened.read(name)).hexdigest()}"
        document = json.loads(opened.read("seed.yaml"))
    assert document["clock"] == {"at": NOON + 60.0, "rate": 0.0}
    assert document["ordinal"] >= 11
    files = document["containers"][0]["files"]
    assert [each["bytes"] for each in files] == [4, 4, 2560, None]
    assert files[1]["file_id"].startswith("file-"), "the id of the deleted File is kept"


def test_importing_a_real_clock_sets_an_offset_clock(world: World, control: httpx2.Client) -> None:
    box = ok(world.http.post("/containers", json={"name": "box"}))
    data = export_world(control)
    import_archive(control, data)
    assert ok(control.get("/clock"))["mode"] == "offset"
    assert ok(world.http.get(f"/containers/{box['id']}"))["created_at"] == box["created_at"]


def test_a_world_before_1970_can_be_imported(world: World, control: httpx2.Client) -> None:
    ok(control.post("/clock/freeze", json={"at": "1969-06-01T00:00:00Z"}))
    box = ok(world.http.post("/containers", json={"name": "old"}))
    assert box["created_at"] < 0
    import_archive(control, export_world(control))
    assert ok(world.http.get(f"/containers/{box['id']}")) == box


def test_import_without_replace_keeps_the_objects_and_the_clock(
    world: World, server: MockServer, control: httpx2.Client
) -> None:
    populate(world, control)
    data = export_world(control)
    with (
        new_world(server) as other,
        httpx2.Client(base_url=f"{server.url}/_mock/worlds/{other.name}") as control_of_other,
    ):
        other.freeze(NOON + 500)
        ok(other.http.post("/containers", json={"name": "mine"}))
        import_archive(control_of_other, data, replace=False)
        names = [each["name"] for each in ok(other.http.get("/containers"))["data"]]
        assert len(names) == 4
        assert names[0] == "mine"
        assert ok(control_of_other.get("/clock"))["now"] == NOON + 500, "the clock is unchanged"
        message = error_message(
            control_of_other.post("/import", content=data, params={"replace": False}), 409, "object_exists"
        )
        assert "file-" in message or "cntr_" in message or "once" in message
        assert len(ok(other.http.get("/containers"))["data"]) == 4
        created = [ok(other.http.post("/containers", json={"name": f"new {n}"}))["id"] for n in range(20)]
        assert len(set(created)) == 20


def test_new_ids_differ_from_the_ids_of_imported_objects(world: World, control: httpx2.Client) -> None:
    world.freeze(NOON)
    for n in range(5):
        ok(world.http.post("/containers", json={"name": f"{n}"}))
    data = export_world(control)
    ok(control.post("/reset?empty=true"))
    import_archive(control, data, replace=False)
    world.freeze(NOON)
    created = [ok(world.http.post("/containers", json={"name": "new"}))["id"] for _ in range(10)]
    assert len({each["id"] for each in ok(world.http.get("/containers"))["data"]} | set(created)) == 15


def test_import_creates_a_world_that_does_not_exist(world: World, control: httpx2.Client) -> None:
    error_message(control.get("/export"), 404, "world_not_found")
    state = import_archive(control, b"version: 1\ncontainers:\n  - name: from yaml\n    created_at: -5m\n")
    assert state["counts"]["containers"] == 1
    (box,) = ok(world.http.get("/containers"))["data"]
    assert box["name"] == "from yaml"
    import_archive(control, json.dumps({"containers": [{"name": "from json"}]}).encode())
    (box,) = ok(world.http.get("/containers"))["data"]
    assert box["name"] == "from json"


def test_place_creates_all_objects_or_none(world: World, control: httpx2.Client) -> None:
    document: dict[str, Any] = {
        "clock": {"at": NOON, "rate": 0},
        "profile": "live",
        "faults": [{"match": {"operation": "ListFiles"}, "effect": {"error": "server_error"}}],
        "files": [{"ref": "sales", "filename": "sales.csv", "content": "a,b\n"}],
        "containers": [
            {"name": "auto", "last_active_at": "-19m", "files": [{"file": "sales"}, {"path": "out.png", "base64": ""}]}
        ],
    }
    placed = ok(control.post("/place", json=document))
    assert [len(placed[name]) for name in ("files", "containers", "faults")] == [1, 1, 1]
    shown = ok(control.get(f"/containers/{placed['containers'][0]}"))
    assert (shown["name"], shown["last_active_at"], shown["file_count"]) == ("auto", NOON - 19 * 60, 2)
    assert world.http.get("/files").status_code == 500
    again = {"containers": [{"name": "more", "files": [{"file": placed["files"][0]}]}]}
    ok(control.post("/place", json=again))
    assert ok(control.get("/clock"))["now"] == NOON, "a document without a clock does not change it"

    clash = {"containers": [{"name": "new"}, {"name": "again", "id": placed["containers"][0]}]}
    error_message(control.post("/place", json=clash), 409, "object_exists")
    fault = {"id": "slow", "effect": {"latency": 1}}
    assert control.post("/place", json={"faults": [fault]}).json()["faults"] == ["slow"]
    error_message(control.post("/place", json={"faults": [fault]}), 409, "fault_exists")
    unknown = {"containers": [{"name": "new", "files": [{"file": "file-unknown"}]}]}
    assert "file-unknown" in error_message(control.post("/place", json=unknown), 400, "invalid_seed")
    assert ok(control.get("/containers"))["total"] == 2
    assert pending_uploads(world) == []


def test_place_creates_thousands_of_objects_at_once(world: World, control: httpx2.Client) -> None:
    files = [{"filename": "{n}.txt", "content": "number {n}"}, {"path": "same.bin", "generate": {"size": "1KB"}}]
    placed = ok(control.post("/place", json={"containers": [{"name": "box {n}", "repeat": 1_000, "files": files}]}))
    assert len(set(placed["containers"])) == 1_000
    assert counts(control) == {"containers": 1_000, "container_files": 2_000}
    assert pending_uploads(world) == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "correct the YAML"),
        (b"", "the file is empty"),
        (b"[]", "a seed is a mapping"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"containers": [{"name": 1}]}', "containers.0.name"),
        (b'{"containers": [], "containers": []}', "duplicate key"),
        (b'{"containers": [{"name": "\\ud800"}]}', "surrogate"),
        (b'{"ordinal": 99999999999999999999}', "ordinal"),
        (b'{"worlds": {"a": {}}}', "this goes into one world"),
        (b'{"files": [{"from": "/etc/passwd"}]}', "can't be read from here"),
        (b'{"containers": [{"name": "a", "files": [{"from": "../x"}]}]}', "can't be read from here"),
        (b'{"files": [{"filename": "a", "generate": {"size": "513MB"}}]}', "--max-upload"),
        (b'{"files": [{"filename": "{n}", "content": "{n}", "repeat": 100000}], "containers": [{"name": "a", "repeat": 100000}, {"name": "b"}]}', "objects are more than"),
        (b'{"containers": [{"name": "a", "files": [' + b",".join([b'{"path": "a", "generate": {"size": "500MB"}}'] * 9) + b"]}]}", "--max-import"),
        (b'{"deleted": [{"list": "files", "id": "a", "seq": 1, "created_at": 1, "ordinal": 1, "deleted_at": 1, "object": {}}]}', "deleted.0"),
        (b'{"deleted": [{"list": "boxes", "id": "a", "seq": 1, "created_at": 1, "ordinal": 1, "deleted_at": 1, "object": {}}]}', "'boxes' is no list"),
    ],
)  # fmt: skip  # a table
def test_an_invalid_document_is_rejected_and_changes_nothing(
    world: World, control: httpx2.Client, document: bytes, message: str
) -> None:
    ok(world.http.post("/containers", json={"name": "stays"}))
    for path in ("/place", "/import", "/import?replace=false"):
        assert message in error_message(control.post(path, content=document), 400, "invalid_seed")
    assert counts(control) == {"containers": 1}
    assert pending_uploads(world) == []


SEED = b"version: 1\nfiles:\n  - {from: blobs/%s, filename: a}\n"
DIGEST = hashlib.sha256(b"bytes").hexdigest()
VALID_MEMBERS = {"seed.yaml": SEED % DIGEST.encode(), f"blobs/{DIGEST}": b"bytes"}


def with_member_named(name: str) -> bytes:
    """Return an archive with a member name that `zipfile` would not write."""
    return zipped({**VALID_MEMBERS, "x" * len(name): b""}).replace(b"x" * len(name), name.encode())


def with_duplicate_member() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as out:
            for name in ("seed.yaml", "a", "a"):
                out.writestr(name, VALID_MEMBERS.get(name, b""))
    return file.getvalue()


def with_encrypted_member() -> bytes:
    data = bytearray(zipped(VALID_MEMBERS))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def with_symbolic_link() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        link = zipfile.ZipInfo("data")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "/etc/passwd")
        for name, data in VALID_MEMBERS.items():
            out.writestr(name, data)
    return file.getvalue()


def with_table_of_contents_of(size: int) -> bytes:
    data = zipped(VALID_MEMBERS)
    end = data.rindex(b"PK\x05\x06")
    return data[:end] + bytes(size) + data[end : end + 12] + size.to_bytes(4, "little") + data[end + 16 :]


BAD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no zip": (lambda: b"PK nonsense", "can't be read as a zip"),
    "truncated": (lambda: zipped(VALID_MEMBERS)[:-30], "can't be read as a zip"),
    "damaged member": (
        lambda: zipped({**VALID_MEMBERS, "seed.yaml": b"version: 1\n"}).replace(b"ver", b"vex", 1),
        "CRC",
    ),
    "no seed": (lambda: zipped({"a": b""}), "contains 0 of seed.yaml"),
    "two seeds": (lambda: zipped({**VALID_MEMBERS, "seed.json": b"{}"}), "contains 2 of seed.yaml"),
    "wrong digest": (lambda: zipped({**VALID_MEMBERS, f"blobs/{DIGEST}": b"other"}), "differs from its name"),
    "missing member": (lambda: zipped({"seed.yaml": VALID_MEMBERS["seed.yaml"]}), "there is no member"),
    "absolute name": (lambda: with_member_named("/etc/x"), "not a path inside"),
    "name with a drive": (lambda: with_member_named("C:/x"), "not a path inside"),
    "name with a backslash": (lambda: with_member_named("..\\x"), "not a path inside"),
    "name that leaves the archive": (lambda: with_member_named("a/../../x"), "leaves the archive"),
    "duplicate name": (with_duplicate_member, "duplicate member"),
    "encrypted member": (with_encrypted_member, "encrypted"),
    "symbolic link": (with_symbolic_link, "not a regular file"),
    "unsupported compression": (lambda: zipped(VALID_MEMBERS, zipfile.ZIP_LZMA), "store it or deflate it"),
    "zip bomb": (lambda: zipped({**VALID_MEMBERS, "bomb": bytes(8 << 20)}, zipfile.ZIP_DEFLATED), "times as large"),
    "table of contents too large": (lambda: with_table_of_contents_of(archive.MAX_DIRECTORY + 1), "table of contents"),
    "invalid seed": (lambda: zipped({"seed.yaml": b"version: 1\nfile: []\n"}), "archive/seed.yaml:2"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_an_invalid_archive_is_rejected_and_changes_nothing(
    world: World, control: httpx2.Client, tmp_path: Path, case: str
) -> None:
    make, message = BAD_ARCHIVES[case]
    data = make()
    ok(world.http.post("/containers", json={"name": "stays"}))
    for replace in (True, False):
        response = control.post("/import", content=data, params={"replace": replace})
        assert message in error_message(response, 400, "invalid_seed")
    assert counts(control) == {"containers": 1}
    assert pending_uploads(world) == []
    path = tmp_path / "bad.zip"
    path.write_bytes(data)
    with pytest.raises(SeedError, match=r"bad\.zip"):
        read_seeds([path], MAX_UPLOAD)


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a//b"])
def test_both_names_of_a_zip_member_are_checked(name: str) -> None:
    """A member can have a second name, in Unicode, which only Python 3.12 and later reads."""
    path = struct.pack("<BL", 1, zlib.crc32(b"a.txt")) + name.encode()
    file, member = io.BytesIO(), zipfile.ZipInfo("a.txt")
    member.extra = struct.pack("<HH", 0x7075, len(path)) + path
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(member, b"")
    (member,) = zipfile.ZipFile(file).infolist()
    if sys.version_info < (3, 12):
        member.filename = name
    assert member.orig_filename == "a.txt"
    assert zips.problem(member) is not None


def test_an_archive_packed_by_hand_can_be_imported(world: World, control: httpx2.Client) -> None:
    seed = b"version: 1\ncontainers:\n- name: box\n  files:\n  - {from: data/report.py}\n"
    import_archive(
        control, zipped({"data/": b"", "seed.yml": seed, "data/report.py": b"print()\n"}, zipfile.ZIP_DEFLATED)
    )
    (box,) = ok(world.http.get("/containers"))["data"]
    (file,) = ok(world.http.get(f"/containers/{box['id']}/files"))["data"]
    assert file["path"].endswith("-report.py")


def test_import_enforces_max_import_and_max_upload() -> None:
    with MockServer(max_import=2_000, max_upload=1_000) as server:
        url = f"{server.url}/_mock/worlds/w/import"
        error_message(httpx2.post(url, content=zipped({**VALID_MEMBERS, "a": bytes(2_000)})), 413, "request_too_large")
        error_message(httpx2.post(url, content=iter([bytes(1_500)] * 2)), 413, "request_too_large")
        packed = zipped({**VALID_MEMBERS, "a": bytes(2_000)}, zipfile.ZIP_DEFLATED)
        assert "--max-import" in error_message(httpx2.post(url, content=packed), 400, "invalid_seed")
        large = hashlib.sha256(bytes(1_500)).hexdigest()
        members = {"seed.yaml": SEED % large.encode(), f"blobs/{large}": bytes(1_500)}
        packed = zipped(members, zipfile.ZIP_DEFLATED)
        assert "--max-upload" in error_message(httpx2.post(url, content=packed), 400, "invalid_seed")
        assert list((server.mock.directory / "uploads").iterdir()) == []


def pending_uploads(world: World) -> list[Path]:
    """Return the files of uploads that the server is receiving or has not stored yet."""
    return list((world.server.mock.directory / "uploads").iterdir())


def export_copies(world: World) -> list[Path]:
    """Return the private copies of worlds that exports in progress read."""
    return list(world.server.mock.directory.glob("uploads/*-state"))


@pytest.mark.slow
def test_an_export_is_consistent_while_clients_write(world: World, control: httpx2.Client) -> None:
    """Writers create and delete Files all the time. Each archive has the contents of exactly the Files in its seed,
    and every ordinal up to its latest belongs to a File, to a deleted File or to its deletion.
    """
    world.freeze(NOON)
    stop = threading.Event()
    files = [{"filename": f"{n}", "content": f"first {n}"} for n in range(600)]
    ok(control.post("/place", json={"files": files}))

    def write(number: int) -> int:
        rounds = 0
        with World(world.server, world.name) as own:
            while not stop.is_set():
                body = f"{number} {rounds}".encode()
                created = ok(own.http.post("/files", files={"file": ("same", body)}, data={"purpose": "vision"}))
                ok(own.http.delete(f"/files/{created['id']}"))
                rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        try:
            archives = [export_world(control) for _ in range(8)]
        finally:
            stop.set()
        assert all(each.result() for each in writers)
    for data in archives:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            assert opened.testzip() is None
            document = json.loads(opened.read("seed.yaml"))
            contents = {each["from"] for each in document["files"]}
            assert contents == set(opened.namelist()) - {"seed.yaml"}
            ordinals = {each["seq"] for each in document["files"]} | {each["ordinal"] for each in document["deleted"]}
            assert len(ordinals) + len(document["deleted"]) == max(ordinals), "every ordinal in use is in the document"
            assert max(ordinals) <= document["ordinal"], "the writers go on during the export"


def test_an_export_uses_the_thread_pool_of_the_server(world: World, control: httpx2.Client) -> None:
    world.openai.containers.create(name="box")
    before = set(threading.enumerate())
    assert control.get("/export").status_code == 200
    assert [each for each in set(threading.enumerate()) - before if "AnyIO" in each.name] == []


@pytest.mark.slow
def test_a_client_that_disconnects_during_an_export_leaves_no_copy() -> None:
    with MockServer() as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds/w"
        for n in range(4):
            ok(world.http.post("/files", files={"file": bytes([n]) * (4 << 20)}, data={"purpose": "vision"}))
        # A receive buffer of a fixed size, because one that the kernel enlarges could hold the whole archive.
        small = httpx2.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)])
        with httpx2.Client(transport=small) as client, client.stream("GET", f"{control}/export") as response:
            chunks = response.iter_raw()  # leaving the `with` block closes the connection
            assert next(chunks)
            assert len(export_copies(world)) == 1
        # The server notices the closed connection only later.
        for _ in range(10_000):
            ok(httpx2.get(control))
            if not export_copies(world):
                break
        assert export_copies(world) == []
        assert len(httpx2.get(f"{control}/export").content) > 16 << 20


def test_import_is_atomic_for_other_clients(world: World, control: httpx2.Client) -> None:
    first = json.dumps({"containers": [{"name": "old", "repeat": 40}]}).encode()
    second = json.dumps({"containers": [{"name": "new", "repeat": 30}]}).encode()
    import_archive(control, first)
    stop = threading.Event()

    def read() -> list[list[str]]:
        lists = []
        with World(world.server, world.name) as own:
            while not stop.is_set():
                lists.append([each["name"] for each in ok(own.http.get("/containers?limit=100"))["data"]])
        return lists

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for _ in range(4):
                import_archive(control, second)
                import_archive(control, first)
        finally:
            stop.set()
        for each in readers:
            for names in each.result():
                assert names in (["old"] * 40, ["new"] * 30)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
CONTENTS = st.sampled_from([b"", b"one", b"two", bytes(range(256)), "drei \u00fc".encode()])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("file"), NAMES, CONTENTS, st.sampled_from(["vision", "user_data", "evals"])),
        st.tuples(st.just("container"), NAMES, st.integers(1, 40), st.booleans()),
        st.tuples(st.just("upload"), st.integers(0, 9), CONTENTS),
        st.tuples(st.just("copy"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("assistant"), st.integers(0, 9), NAMES, CONTENTS, st.sampled_from(["null", "7", None])),
        st.tuples(st.just("advance"), st.integers(1, 700)),
        st.tuples(st.just("expire"), st.integers(0, 9)),
        st.tuples(st.just("delete file"), st.integers(0, 9)),
        st.tuples(st.just("delete container"), st.integers(0, 9)),
    ),
    max_size=14,
)


def run_steps(world: World, control: httpx2.Client, steps: list[tuple[Any, ...]]) -> None:
    """Send the requests of the steps. Requests for unknown or expired objects get an error, which is ignored."""
    files, boxes = ["file-none"], ["cntr_none"]
    for kind, *arguments in steps:
        match kind:
            case "file":
                name, content, purpose = arguments
                response = world.http.post("/files", files={"file": (name, content)}, data={"purpose": purpose})
                files.append(ok(response)["id"])
            case "container":
                name, minutes, created = arguments
                rule = {"anchor": "created_at" if created else "last_active_at", "minutes": minutes}
                boxes.append(ok(world.http.post("/containers", json={"name": name, "expires_after": rule}))["id"])
            case "upload":
                box, content = arguments
                world.http.post(f"/containers/{boxes[box % len(boxes)]}/files", files={"file": content})
            case "copy":
                box, file = arguments
                body = {"file_id": files[file % len(files)]}
                world.http.post(f"/containers/{boxes[box % len(boxes)]}/files", json=body)
            case "assistant":
                box, path, content, size = arguments
                data = {"path": path} | ({"bytes": size} if size else {})
                control.post(f"/containers/{boxes[box % len(boxes)]}/files", files={"file": content}, data=data)
            case "advance":
                world.advance(arguments[0])
            case "expire":
                control.post(f"/containers/{boxes[arguments[0] % len(boxes)]}/expire")
            case "delete file":
                control.delete(f"/files/{files[arguments[0] % len(files)]}")
            case "delete container":
                control.delete(f"/containers/{boxes[arguments[0] % len(boxes)]}")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
@pytest.mark.slow
def test_export_and_import_restore_random_worlds_exactly(
    world: World, control: httpx2.Client, steps: list[tuple[Any, ...]]
) -> None:
    ok(control.post("/reset?empty=true"))
    world.freeze(NOON)
    run_steps(world, control, steps)
    data = export_world(control)
    before = read_all(world)
    created = ok(world.http.post("/containers", json={"name": "next"}))
    ok(control.post("/reset?empty=true"))
    import_archive(control, data)
    assert export_world(control) == data
    assert read_all(world) == before
    assert ok(world.http.post("/containers", json={"name": "next"})) == created


def test_an_archive_may_contain_a_fault_rule_that_is_no_longer_accepted(world: World, control: httpx2.Client) -> None:
    """Earlier versions accepted the rule."""
    seed = b'{"version": 1, "faults": [{"match": {"path": "/v1/files"}, "effect": {"status": 500}}]}'
    import_archive(control, zipped({"seed.yaml": seed}))
    (rule,) = ok(control.get("/faults"))["data"]
    assert rule["match"] == {"path": "/v1/files"}
    import_archive(control, export_world(control))
    response = control.post("/import?replace=false", content=seed, headers={"Content-Type": "application/json"})
    assert "matches no path" in error_message(response, 400, "invalid_seed")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 1_100_000, id="compressible"),
        pytest.param("\u00e9\n" * 900_000, id="line breaks", marks=pytest.mark.slow),
        pytest.param('"' * 1_900_000, id="quotes", marks=pytest.mark.slow),
        pytest.param("\n\x7f" * 150_000, id="control characters", marks=pytest.mark.slow),
    ],
)
def test_export_and_import_restore_long_inputs_exactly(
    world: World, control: httpx2.Client, tmp_path: Path, text: str
) -> None:
    world.freeze(NOON)
    created = [ok(world.http.post("/responses", json={"model": "m", "input": text})) for _ in range(2)]
    data = export_world(control)
    ok(control.post("/reset?empty=true"))
    import_archive(control, data)
    assert export_world(control) == data
    (item,) = ok(world.http.get(f"/responses/{created[1]['id']}/input_items"))["data"]
    assert item["content"][0]["text"] == text
    seed = tmp_path / "world.zip"
    seed.write_bytes(data)
    assert read_seeds([seed], MAX_UPLOAD).summary() == "2 responses"


def document_of(control: httpx2.Client) -> Any:
    """Return the document of an export."""
    with zipfile.ZipFile(io.BytesIO(export_world(control))) as opened:
        return json.loads(opened.read("seed.yaml"))


@pytest.mark.parametrize(
    "body", ["{}", "[]", "null", '{"type": 1}', '{"type": "message"}', '{"type": "message", "content": 5}']
)
def test_a_response_that_could_not_be_shown_is_not_imported(world: World, control: httpx2.Client, body: str) -> None:
    ok(world.http.post("/responses", json={"model": "m", "input": "hello"}))
    document = document_of(control)
    (item,) = (item for item in document["responses"][0]["items"] if item["output"])
    item["body"] = body
    assert "as exports write it" in error_message(control.post("/import", json=document), 400, "invalid_seed")


@pytest.mark.parametrize("body", ['{"type": "message"}', '{"type": "message", "id": 5}'])
def test_an_item_of_an_input_that_could_not_be_listed_is_not_imported(
    world: World, control: httpx2.Client, body: str
) -> None:
    ok(world.http.post("/responses", json={"model": "m", "input": "hello"}))
    document = document_of(control)
    (item,) = (item for item in document["responses"][0]["items"] if not item["output"])
    item["body"] = body
    assert "as exports write it" in error_message(control.post("/import", json=document), 400, "invalid_seed")


@pytest.mark.parametrize("cancelled", [False, True])
def test_responses_that_continue_each_other_in_a_circle_can_be_used(
    world: World, control: httpx2.Client, cancelled: bool
) -> None:
    run = {"model": "m", "input": "hello", "background": cancelled}
    first = ok(world.http.post("/responses", json=run))["id"]
    if cancelled:
        ok(world.http.post(f"/responses/{first}/cancel"))
    second = ok(world.http.post("/responses", json=run | {"previous_response_id": first}))["id"]
    if cancelled:
        ok(world.http.post(f"/responses/{second}/cancel"))
    document = document_of(control)
    document["responses"][0]["object"]["previous_id"] = second
    ok(control.post("/import", json=document))
    for id in (first, second):
        assert len(ok(world.http.get(f"/responses/{id}/input_items"))["data"]) >= 1
        ok(world.http.post("/responses", json=run | {"previous_response_id": id}))


def test_containers_that_replace_each_other_in_a_circle_are_found(world: World, control: httpx2.Client) -> None:
    ok(control.put("/profile", json={"switches": {"expired_replaced": True}}))
    first, second = (f"cntr_{digit * 48}" for digit in "ab")
    expired = {"name": "box", "last_active_at": "-2h"}
    circle = [{"id": first, "replaced_by": second, **expired}, {"id": second, "replaced_by": first, **expired}]
    ok(control.post("/place", json={"containers": [*circle, {"id": "cntr_own", "replaced_by": "cntr_own", **expired}]}))
    for id in (first, second, "cntr_own"):
        assert ok(world.http.get(f"/containers/{id}/files"))["data"] == []


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_BYTES", 1_000, "more than 1,000 bytes"),
        ("MAX_OBJECTS", 3, "more than 3 objects"),
        ("MAX_MEMBERS", 3, "more than 2 contents"),
        ("IMPORTED", dataclasses.replace(IMPORTED, json_values=30), "more than 30 values"),
    ],
)
def test_a_world_larger_than_an_import_accepts_is_not_exported(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch, limit: str, value: Any, message: str
) -> None:
    populate(world, control)
    with monkeypatch.context() as patch:
        patch.setattr(archive, limit, value)
        with pytest.raises(SeedError, match=f"larger than an import takes: it holds {message}.*; delete"):
            world.server.run(first_chunk(world))
        assert "larger than an import takes" in error_message(control.get("/export"), 400, "invalid_seed")
    export_world(control)


async def first_chunk(world: World) -> bytes:
    async with world.server.mock.worlds.copied(world.name) as directory:
        with closing(archive.write(directory)) as chunks:
            return next(chunks)
