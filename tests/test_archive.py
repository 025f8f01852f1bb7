"""Export, import and `place`: the whole state of a world goes out, comes back, and nothing else does."""

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

LIMIT = 1 << 20


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}", timeout=60) as client:
        yield client


def counts(control: httpx2.Client) -> dict[str, int]:
    """How many objects of each kind there are, without kinds of which there are none."""
    return some(ok(control.get(str(control.base_url).rstrip("/"))))


def some(state: dict[str, Any]) -> dict[str, int]:
    return {kind: number for kind, number in state["counts"].items() if number}


def exported(control: httpx2.Client) -> bytes:
    answer = control.get("/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    return answer.content


def imported(control: httpx2.Client, data: bytes, **query: Any) -> Any:
    return ok(control.post("/import", content=data, params=query))


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return file.getvalue()


def answers(world: World) -> list[tuple[str, int, bytes]]:
    """All that the API says of a world: every page, object and content."""
    said: list[tuple[str, int, bytes]] = []

    def ask(path: str) -> dict[str, Any]:
        answer = world.http.get(path)
        said.append((path, answer.status_code, answer.content))
        return answer.json() if "json" in answer.headers.get("content-type", "") else {}

    def all_of(path: str) -> Iterator[str]:
        for order in ("asc", "desc"):
            after, more = "", True
            while more:
                page = ask(f"{path}?limit=3&order={order}{after}")
                if order == "asc":
                    yield from (each["id"] for each in page.get("data", []))
                more, after = page.get("has_more", False), f"&after={page.get('last_id')}"

    for id in all_of("/files"):
        ask(f"/files/{id}")
        ask(f"/files/{id}/content")
    for id in all_of("/containers"):
        ask(f"/containers/{id}")
        for inside in all_of(f"/containers/{id}/files"):
            ask(f"/containers/{id}/files/{inside}")
            ask(f"/containers/{id}/files/{inside}/content")
    return said


def populate(world: World, control: httpx2.Client) -> dict[str, str]:
    """A world with something of everything. Returns ids by what they are."""
    world.freeze(NOON)
    file = ok(world.http.post("/files", files={"file": ("a.csv", b"a,b\n")}, data={"purpose": "vision"}))
    gone = ok(world.http.post("/files", files={"file": ("gone {n}\u2028\x7f.txt", b"gone")}, data={"purpose": "evals"}))
    body = {"name": "caf\u00e9 {n} \U0001f600 \x00\x85", "file_ids": [file["id"], gone["id"]], "memory_limit": "4g"}
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
    other = ok(world.http.post("/containers", json={"name": "auto", "network_policy": policy, "expires_after": days}))
    expired = ok(world.http.post("/containers", json={"name": "expired"}))
    ok(control.post(f"/containers/{expired['id']}/expire"))
    ok(world.http.delete(f"/files/{gone['id']}"))
    buried = ok(world.http.post("/containers", json={"name": "buried"}))
    ok(world.http.delete(f"/containers/{buried['id']}"))
    ok(control.put("/profile", json={"name": "live"}))
    rule = {"id": "once", "match": {"operation": "DeleteFile"}, "times": 2, "effect": {"status": 500}}
    ok(control.post("/faults", json=rule))
    assert world.http.delete("/files/file-x").status_code == 500
    return {"file": file["id"], "box": box["id"], "other": other["id"], "buried": buried["id"]}


def test_a_world_comes_back_byte_for_byte(world: World, control: httpx2.Client) -> None:
    ids = populate(world, control)
    before, faults = answers(world), ok(control.get("/faults"))
    page = f"/containers?after={ids['buried']}"
    behind = world.http.get(page).content
    clock = ok(control.get("/clock"))
    data = exported(control)
    assert exported(control) == data, "the same world is the same archive"
    made = ok(world.http.post("/containers", json={"name": "next"}))

    ok(control.post("/reset?empty=true"))
    assert ok(world.http.get("/containers"))["data"] == []
    told = imported(control, data)
    assert some(told) == {"files": 1, "containers": 3, "container_files": 4}
    assert told["profile"]["max_minutes"] == 20
    assert answers(world) == before
    assert world.http.get(page).content == behind, "a deleted object is still a cursor"
    assert ok(control.get("/clock")) == clock
    assert ok(control.get("/faults")) == faults
    assert ok(world.http.post("/containers", json={"name": "next"})) == made, "and the next id is the same"
    assert world.http.delete("/files/file-x").status_code == 500
    assert world.http.delete("/files/file-x").status_code == 404, "the fault's count came along"


def test_serve_takes_an_export_back(world: World, control: httpx2.Client, tmp_path: Path) -> None:
    populate(world, control)
    before, data = answers(world), exported(control)
    seed = tmp_path / "world.zip"
    seed.write_bytes(data)
    assert read_seeds([seed], LIMIT).summary() == "1 File, 3 containers, 4 container files"
    with MockServer(seed=(seed,)) as server, World(server, world.name) as same, World(server, "other") as other:
        assert answers(same) == before
        assert answers(other) == before
        made = ok(same.http.post("/containers", json={"name": "next"}))
    assert ok(world.http.post("/containers", json={"name": "next"})) == made


OF_VERSION_0_1 = """{"version": 1,
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
"""What version 0.1 exported of a world in which an expired container was replaced, and of each list one was deleted."""


@pytest.mark.parametrize("way", ["import", "seed"])
def test_an_export_of_version_0_1_is_taken(world: World, control: httpx2.Client, tmp_path: Path, way: str) -> None:
    kept, inside = b"kept", b"inside"
    contents = {f"blobs/{hashlib.sha256(content).hexdigest()}": content for content in (kept, inside)}
    data = zipped({"seed.yaml": OF_VERSION_0_1.encode(), **contents})
    expired, gone, new = (
        "cntr_6b0a57e8af1d8191a74d745b46c30fdb061ff02afedfbf30",
        "cntr_6b0a57e87b428198b8534301e08578aa0ee793e79aaa1965",
        "cntr_6b0a58604b238190b0b76f2384340f700d8fd5c50d360333",
    )

    def check(world: World) -> None:
        listed = ok(world.http.get("/containers"))["data"]
        assert [(each["id"], each["status"]) for each in listed] == [
            (new, "running"),
            (gone, "running"),  # as lists lag by an hour
            (expired, "expired"),
        ]
        assert [each["filename"] for each in ok(world.http.get("/files"))["data"]] == ["gone.txt", "a.txt"]
        assert world.http.get(f"/containers/{gone}").status_code == 404
        (file,) = ok(world.http.get(f"/containers/{expired}/files"))["data"]
        assert file["container_id"] == new, "it took the place of the expired one"
        content = world.http.get(f"/containers/{new}/files/{file['id']}/content")
        assert content.content == inside
        after = world.http.get(f"/containers/{new}/files", params={"after": "cfile_6b0a57e8c269819186a1ed9d0eeb76d1"})
        assert after.status_code == 404, "that one was deleted from another list"
        world.advance(7_200)
        assert [each["filename"] for each in ok(world.http.get("/files"))["data"]] == ["a.txt"]
        behind = ok(world.http.get("/files", params={"after": "file-0VfOQueD2tvKp5tMyc5zVn"}))["data"]
        assert [each["filename"] for each in behind] == ["a.txt"], "a deleted object is still a cursor"

    if way == "import":
        assert some(imported(control, data)) == {"files": 1, "containers": 2, "container_files": 2}
        again = exported(control)
        imported(control, again)
        assert exported(control) == again
        with zipfile.ZipFile(io.BytesIO(again)) as opened:
            document = json.loads(opened.read("seed.yaml"))
        assert [each.get("replaced_by") for each in document["containers"]] == [new, None]
        assert [each["list"] for each in document["deleted"]] == [f"containers/{expired}", "files", "containers"]
        check(world)
    else:
        seed = tmp_path / "world.zip"
        seed.write_bytes(data)
        with MockServer(seed=(seed,)) as server, World(server, "w") as seeded:
            check(seeded)


def test_an_archive_holds_a_seed_and_each_content_once(world: World, control: httpx2.Client) -> None:
    populate(world, control)
    with zipfile.ZipFile(io.BytesIO(exported(control))) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert names[0] == "seed.yaml"
        assert len(set(names)) == len(names) == 5
        for name in names[1:]:
            assert name == f"blobs/{hashlib.sha256(opened.read(name)).hexdigest()}"
        document = json.loads(opened.read("seed.yaml"))
    assert document["clock"] == {"at": NOON + 60.0, "rate": 0.0}
    assert document["ordinal"] >= 11
    inside = document["containers"][0]["files"]
    assert [each["bytes"] for each in inside] == [4, 4, 2560, None]
    assert inside[1]["file_id"].startswith("file-"), "of a File that is gone"


def test_a_real_clock_becomes_an_offset_one(world: World, control: httpx2.Client) -> None:
    box = ok(world.http.post("/containers", json={"name": "box"}))
    data = exported(control)
    imported(control, data)
    assert ok(control.get("/clock"))["mode"] == "offset"
    assert ok(world.http.get(f"/containers/{box['id']}"))["created_at"] == box["created_at"]


def test_adding_keeps_what_is_there(world: World, server: MockServer, control: httpx2.Client) -> None:
    populate(world, control)
    data = exported(control)
    with new_world(server) as other, httpx2.Client(base_url=f"{server.url}/_mock/worlds/{other.name}") as its:
        other.freeze(NOON + 500)
        ok(other.http.post("/containers", json={"name": "mine"}))
        imported(its, data, replace=False)
        names = [each["name"] for each in ok(other.http.get("/containers"))["data"]]
        assert len(names) == 4
        assert names[0] == "mine"
        assert ok(its.get("/clock"))["now"] == NOON + 500, "the clock stays"
        message = error_message(its.post("/import", content=data, params={"replace": False}), 409, "object_exists")
        assert "file-" in message or "cntr_" in message or "once" in message
        assert len(ok(other.http.get("/containers"))["data"]) == 4
        made = [ok(other.http.post("/containers", json={"name": f"new {n}"}))["id"] for n in range(20)]
        assert len(set(made)) == 20


def test_ids_that_were_added_are_not_handed_out_again(world: World, control: httpx2.Client) -> None:
    world.freeze(NOON)
    for n in range(5):
        ok(world.http.post("/containers", json={"name": f"{n}"}))
    data = exported(control)
    ok(control.post("/reset?empty=true"))
    imported(control, data, replace=False)
    world.freeze(NOON)
    made = [ok(world.http.post("/containers", json={"name": "new"}))["id"] for _ in range(10)]
    assert len({each["id"] for each in ok(world.http.get("/containers"))["data"]} | set(made)) == 15


def test_import_makes_the_world_if_there_is_none(world: World, control: httpx2.Client) -> None:
    error_message(control.get("/export"), 404, "world_not_found")
    told = imported(control, b"version: 1\ncontainers:\n  - name: from yaml\n    created_at: -5m\n")
    assert told["counts"]["containers"] == 1
    (box,) = ok(world.http.get("/containers"))["data"]
    assert box["name"] == "from yaml"
    imported(control, json.dumps({"containers": [{"name": "from json"}]}).encode())
    (box,) = ok(world.http.get("/containers"))["data"]
    assert box["name"] == "from json"


def test_place_puts_everything_there_or_nothing(world: World, control: httpx2.Client) -> None:
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
    told = ok(control.get(f"/containers/{placed['containers'][0]}"))
    assert (told["name"], told["last_active_at"], told["file_count"]) == ("auto", NOON - 19 * 60, 2)
    assert world.http.get("/files").status_code == 500
    again = {"containers": [{"name": "more", "files": [{"file": placed["files"][0]}]}]}
    ok(control.post("/place", json=again))
    assert ok(control.get("/clock"))["now"] == NOON, "without a clock it stays"

    clash = {"containers": [{"name": "new"}, {"name": "again", "id": placed["containers"][0]}]}
    error_message(control.post("/place", json=clash), 409, "object_exists")
    fault = {"id": "slow", "effect": {"latency": 1}}
    assert control.post("/place", json={"faults": [fault]}).json()["faults"] == ["slow"]
    error_message(control.post("/place", json={"faults": [fault]}), 409, "fault_exists")
    unknown = {"containers": [{"name": "new", "files": [{"file": "file-unknown"}]}]}
    assert "file-unknown" in error_message(control.post("/place", json=unknown), 400, "invalid_seed")
    assert ok(control.get("/containers"))["total"] == 2
    assert drafts(world) == []


def test_many_can_be_placed_at_once(world: World, control: httpx2.Client) -> None:
    files = [{"filename": "{n}.txt", "content": "number {n}"}, {"path": "same.bin", "generate": {"size": "1KB"}}]
    placed = ok(control.post("/place", json={"containers": [{"name": "box {n}", "repeat": 1_000, "files": files}]}))
    assert len(set(placed["containers"])) == 1_000
    assert counts(control) == {"containers": 1_000, "container_files": 2_000}
    assert drafts(world) == []


@pytest.mark.parametrize(
    ("document", "told"),
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
def test_documents_that_cant_be_used_are_refused_whole(
    world: World, control: httpx2.Client, document: bytes, told: str
) -> None:
    ok(world.http.post("/containers", json={"name": "stays"}))
    for path in ("/place", "/import", "/import?replace=false"):
        assert told in error_message(control.post(path, content=document), 400, "invalid_seed")
    assert counts(control) == {"containers": 1}
    assert drafts(world) == []


SEED = b"version: 1\nfiles:\n  - {from: blobs/%s, filename: a}\n"
DIGEST = hashlib.sha256(b"bytes").hexdigest()
MEMBERS = {"seed.yaml": SEED % DIGEST.encode(), f"blobs/{DIGEST}": b"bytes"}


def renamed(name: str) -> bytes:
    """An archive with a member of a name that Python wouldn't write."""
    return zipped({**MEMBERS, "x" * len(name): b""}).replace(b"x" * len(name), name.encode())


def twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as out:
            for name in ("seed.yaml", "a", "a"):
                out.writestr(name, MEMBERS.get(name, b""))
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped(MEMBERS))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def linked() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        link = zipfile.ZipInfo("data")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "/etc/passwd")
        for name, data in MEMBERS.items():
            out.writestr(name, data)
    return file.getvalue()


def with_directory_of(size: int) -> bytes:
    data = zipped(MEMBERS)
    end = data.rindex(b"PK\x05\x06")
    return data[:end] + bytes(size) + data[end : end + 12] + size.to_bytes(4, "little") + data[end + 16 :]


BAD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no zip": (lambda: b"PK nonsense", "can't be read as a zip"),
    "a cut one": (lambda: zipped(MEMBERS)[:-30], "can't be read as a zip"),
    "a member damaged": (lambda: zipped({**MEMBERS, "seed.yaml": b"version: 1\n"}).replace(b"ver", b"vex", 1), "CRC"),
    "no seed": (lambda: zipped({"a": b""}), "contains 0 of seed.yaml"),
    "two seeds": (lambda: zipped({**MEMBERS, "seed.json": b"{}"}), "contains 2 of seed.yaml"),
    "a wrong digest": (lambda: zipped({**MEMBERS, f"blobs/{DIGEST}": b"other"}), "differs from its name"),
    "a missing member": (lambda: zipped({"seed.yaml": MEMBERS["seed.yaml"]}), "there is no member"),
    "an absolute name": (lambda: renamed("/etc/x"), "not a path inside"),
    "a drive": (lambda: renamed("C:/x"), "not a path inside"),
    "a backslash": (lambda: renamed("..\\x"), "not a path inside"),
    "a name that climbs": (lambda: renamed("a/../../x"), "leaves the archive"),
    "a name twice": (twice, "duplicate member"),
    "an encrypted member": (encrypted, "encrypted"),
    "a link": (linked, "not a regular file"),
    "another compression": (lambda: zipped(MEMBERS, zipfile.ZIP_LZMA), "store it or deflate it"),
    "a bomb": (lambda: zipped({**MEMBERS, "bomb": bytes(8 << 20)}, zipfile.ZIP_DEFLATED), "times as large"),
    "too large a directory": (lambda: with_directory_of(archive.MAX_DIRECTORY + 1), "table of contents"),
    "a mistake in its seed": (lambda: zipped({"seed.yaml": b"version: 1\nfile: []\n"}), "archive/seed.yaml:2"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_archives_that_cant_be_used_are_refused_whole(
    world: World, control: httpx2.Client, tmp_path: Path, case: str
) -> None:
    make, told = BAD_ARCHIVES[case]
    data = make()
    ok(world.http.post("/containers", json={"name": "stays"}))
    for replace in (True, False):
        answer = control.post("/import", content=data, params={"replace": replace})
        assert told in error_message(answer, 400, "invalid_seed")
    assert counts(control) == {"containers": 1}
    assert drafts(world) == []
    path = tmp_path / "bad.zip"
    path.write_bytes(data)
    with pytest.raises(SeedError, match=r"bad\.zip"):
        read_seeds([path], LIMIT)


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a//b"])
def test_a_member_is_named_safely_in_both_of_its_fields(name: str) -> None:
    """A zip can have a name in Unicode besides, which only Python 3.12 and later reads."""
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


def test_an_archive_packed_by_hand_is_taken(world: World, control: httpx2.Client) -> None:
    seed = b"version: 1\ncontainers:\n- name: box\n  files:\n  - {from: data/report.py}\n"
    imported(control, zipped({"data/": b"", "seed.yml": seed, "data/report.py": b"print()\n"}, zipfile.ZIP_DEFLATED))
    (box,) = ok(world.http.get("/containers"))["data"]
    (file,) = ok(world.http.get(f"/containers/{box['id']}/files"))["data"]
    assert file["path"].endswith("-report.py")


def test_what_is_too_much_is_refused() -> None:
    with MockServer(max_import=2_000, max_upload=1_000) as server:
        url = f"{server.url}/_mock/worlds/w/import"
        error_message(httpx2.post(url, content=zipped({**MEMBERS, "a": bytes(2_000)})), 413, "request_too_large")
        error_message(httpx2.post(url, content=iter([bytes(1_500)] * 2)), 413, "request_too_large")
        packed = zipped({**MEMBERS, "a": bytes(2_000)}, zipfile.ZIP_DEFLATED)
        assert "--max-import" in error_message(httpx2.post(url, content=packed), 400, "invalid_seed")
        large = hashlib.sha256(bytes(1_500)).hexdigest()
        members = {"seed.yaml": SEED % large.encode(), f"blobs/{large}": bytes(1_500)}
        packed = zipped(members, zipfile.ZIP_DEFLATED)
        assert "--max-upload" in error_message(httpx2.post(url, content=packed), 400, "invalid_seed")
        assert list((server.mock.directory / "uploads").iterdir()) == []


def drafts(world: World) -> list[Path]:
    """Uploads that are still waiting, of tests on this server: none between requests."""
    return list((world.server.mock.directory / "uploads").iterdir())


def copies(world: World) -> list[Path]:
    """Private copies of worlds, of exports under way."""
    return list(world.server.mock.directory.glob("uploads/*-state"))


@pytest.mark.slow
def test_an_export_shows_one_instant_while_the_world_is_used(world: World, control: httpx2.Client) -> None:
    """Each writer keeps as many files in its container as in the Files API; an export never sees a difference."""
    world.freeze(NOON)
    stop = threading.Event()
    files = [{"filename": f"{n}", "content": f"first {n}"} for n in range(600)]
    ok(control.post("/place", json={"files": files}))

    def churn(number: int) -> int:
        turns = 0
        with World(world.server, world.name) as own:
            while not stop.is_set():
                body = f"{number} {turns}".encode()
                made = ok(own.http.post("/files", files={"file": ("same", body)}, data={"purpose": "vision"}))
                ok(own.http.delete(f"/files/{made['id']}"))
                turns += 1
        return turns

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        churning = [pool.submit(churn, number) for number in range(3)]
        try:
            archives = [exported(control) for _ in range(8)]
        finally:
            stop.set()
        assert all(each.result() for each in churning)
    for data in archives:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            assert opened.testzip() is None
            document = json.loads(opened.read("seed.yaml"))
            named = {each["from"] for each in document["files"]}
            assert named == set(opened.namelist()) - {"seed.yaml"}
            latest = {each["seq"] for each in document["files"]} | {each["ordinal"] for each in document["deleted"]}
            assert len(latest) + len(document["deleted"]) == max(latest), "every ordinal in use is told of"
            assert max(latest) <= document["ordinal"], "the writers go on while the copy is made"


def test_an_export_uses_the_one_pool_of_threads(world: World, control: httpx2.Client) -> None:
    world.openai.containers.create(name="box")
    before = set(threading.enumerate())
    assert control.get("/export").status_code == 200
    assert [each for each in set(threading.enumerate()) - before if "AnyIO" in each.name] == []


@pytest.mark.slow
def test_a_client_that_leaves_an_export_leaves_nothing_behind() -> None:
    with MockServer() as server, World(server, "w") as world:
        control = f"{server.url}/_mock/worlds/w"
        for n in range(4):
            ok(world.http.post("/files", files={"file": bytes([n]) * (4 << 20)}, data={"purpose": "vision"}))
        # A receive buffer of a fixed size: one that the kernel lets grow can take the archive whole.
        small = httpx2.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)])
        with httpx2.Client(transport=small) as client, client.stream("GET", f"{control}/export") as answer:
            pieces = answer.iter_raw()  # to let go of it is to leave
            assert next(pieces)
            assert len(copies(world)) == 1
        # The server hears of it only after the client has gone; its next requests wait for it.
        for _ in range(10_000):
            ok(httpx2.get(control))
            if not copies(world):
                break
        assert copies(world) == []
        assert len(exported_by(server)) > 16 << 20


def exported_by(server: MockServer) -> bytes:
    return httpx2.get(f"{server.url}/_mock/worlds/w/export").content


def test_a_client_sees_all_of_the_old_or_all_of_the_new(world: World, control: httpx2.Client) -> None:
    first = json.dumps({"containers": [{"name": "old", "repeat": 40}]}).encode()
    second = json.dumps({"containers": [{"name": "new", "repeat": 30}]}).encode()
    imported(control, first)
    stop = threading.Event()

    def look() -> list[list[str]]:
        seen = []
        with World(world.server, world.name) as own:
            while not stop.is_set():
                seen.append([each["name"] for each in ok(own.http.get("/containers?limit=100"))["data"]])
        return seen

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for _ in range(4):
                imported(control, second)
                imported(control, first)
        finally:
            stop.set()
        for each in looking:
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


def act(world: World, control: httpx2.Client, steps: list[tuple[Any, ...]]) -> None:
    """Whatever can't be done is refused, which is as good as anything else."""
    files, boxes = ["file-none"], ["cntr_none"]
    for kind, *given_ in steps:
        match kind:
            case "file":
                name, content, purpose = given_
                answer = world.http.post("/files", files={"file": (name, content)}, data={"purpose": purpose})
                files.append(ok(answer)["id"])
            case "container":
                name, minutes, created = given_
                rule = {"anchor": "created_at" if created else "last_active_at", "minutes": minutes}
                boxes.append(ok(world.http.post("/containers", json={"name": name, "expires_after": rule}))["id"])
            case "upload":
                box, content = given_
                world.http.post(f"/containers/{boxes[box % len(boxes)]}/files", files={"file": content})
            case "copy":
                box, file = given_
                body = {"file_id": files[file % len(files)]}
                world.http.post(f"/containers/{boxes[box % len(boxes)]}/files", json=body)
            case "assistant":
                box, path, content, size = given_
                data = {"path": path} | ({"bytes": size} if size else {})
                control.post(f"/containers/{boxes[box % len(boxes)]}/files", files={"file": content}, data=data)
            case "advance":
                world.advance(given_[0])
            case "expire":
                control.post(f"/containers/{boxes[given_[0] % len(boxes)]}/expire")
            case "delete file":
                control.delete(f"/files/{files[given_[0] % len(files)]}")
            case "delete container":
                control.delete(f"/containers/{boxes[given_[0] % len(boxes)]}")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
@pytest.mark.slow
def test_random_worlds_come_back(world: World, control: httpx2.Client, steps: list[tuple[Any, ...]]) -> None:
    ok(control.post("/reset?empty=true"))
    world.freeze(NOON)
    act(world, control, steps)
    data = exported(control)
    before = answers(world)
    made = ok(world.http.post("/containers", json={"name": "next"}))
    ok(control.post("/reset?empty=true"))
    imported(control, data)
    assert exported(control) == data
    assert answers(world) == before
    assert ok(world.http.post("/containers", json={"name": "next"})) == made


def test_an_archive_keeps_a_rule_that_new_ones_may_not_be_like(world: World, control: httpx2.Client) -> None:
    """An earlier version took it."""
    seed = b'{"version": 1, "faults": [{"match": {"path": "/v1/files"}, "effect": {"status": 500}}]}'
    imported(control, zipped({"seed.yaml": seed}))
    (rule,) = ok(control.get("/faults"))["data"]
    assert rule["match"] == {"path": "/v1/files"}
    imported(control, exported(control))
    refused = control.post("/import?replace=false", content=seed, headers={"Content-Type": "application/json"})
    assert "matches no path" in error_message(refused, 400, "invalid_seed")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 1_100_000, id="that shrinks much"),
        pytest.param("\u00e9\n" * 900_000, id="of lines", marks=pytest.mark.slow),
        pytest.param('"' * 1_900_000, id="of quotes", marks=pytest.mark.slow),
        pytest.param("\n\x7f" * 150_000, id="of controls", marks=pytest.mark.slow),
    ],
)
def test_a_world_with_long_inputs_comes_back(world: World, control: httpx2.Client, tmp_path: Path, text: str) -> None:
    world.freeze(NOON)
    made = [ok(world.http.post("/responses", json={"model": "m", "input": text})) for _ in range(2)]
    data = exported(control)
    ok(control.post("/reset?empty=true"))
    imported(control, data)
    assert exported(control) == data
    (item,) = ok(world.http.get(f"/responses/{made[1]['id']}/input_items"))["data"]
    assert item["content"][0]["text"] == text
    seed = tmp_path / "world.zip"
    seed.write_bytes(data)
    assert read_seeds([seed], LIMIT).summary() == "2 responses"


@pytest.mark.parametrize(
    ("limit", "allowed", "told"),
    [
        ("MAX_BYTES", 1_000, "more than 1,000 bytes"),
        ("MAX_OBJECTS", 3, "more than 3 objects"),
        ("MAX_MEMBERS", 3, "more than 2 contents"),
        ("IMPORTED", dataclasses.replace(IMPORTED, json_values=30), "more than 30 values"),
    ],
)
def test_a_world_that_no_import_would_take_is_not_exported(
    world: World, control: httpx2.Client, monkeypatch: pytest.MonkeyPatch, limit: str, allowed: Any, told: str
) -> None:
    populate(world, control)
    with monkeypatch.context() as patch:
        patch.setattr(archive, limit, allowed)
        with pytest.raises(SeedError, match=f"larger than an import takes: it holds {told}.*; delete"):
            world.server.run(first_piece(world))
        message = error_message(control.get("/export"), 400, "invalid_seed")
        assert "larger than an import takes" in message
    exported(control)


async def first_piece(world: World) -> bytes:
    async with world.server.mock.worlds.copied(world.name) as directory:
        with closing(archive.write(directory)) as pieces:
            return next(pieces)
