"""The Skills API, called through the official SDK where it can send the request."""

import io
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import openai
import pytest
from conftest import NOON, World, error_message, new_world, ok
from skill_bundles import DESCRIPTION, MANIFEST, NAME, folder, inline_skill, manifest, skill_reference, unzipped, zipped

from mockserver import bundles
from mockserver.server.serving import MockServer

LAYOUT_ERROR = "All files must be under a single top-level directory"


def create_skill(world: World, files: Any = None) -> Any:
    return world.openai.skills.create(files=files or ("math.zip", zipped()))


def post_form(world: World, path: str, parts: list[tuple[str, Any]], **data: str) -> httpx2.Response:
    return world.http.post(path, files=parts, data=data)


# Creation


@pytest.mark.parametrize(
    "files",
    [
        ("math.zip", zipped()),
        zipped(),
        [("math.zip", zipped())],
        folder(),
        [*folder(), *folder()],
        ("math.zip", zipped({"math/": "", "math/SKILL.md": MANIFEST, "__MACOSX/math/._SKILL.md": "x"})),
        ("math.zip", zipped(compression=zipfile.ZIP_DEFLATED)),
        ("math.zip", zipped({"Other_Folder/Skill.MD": MANIFEST.replace("\n", "\r\n")})),
        ("math.zip", zipped({"math/SKILL.md": "\ufeff" + MANIFEST, "math/sub/" * 20 + "x.txt": b"\0" * 100_000})),
    ],
    ids=["zip", "bytes", "zip in a list", "folder", "duplicate files", "macOS", "deflated", "CRLF", "BOM"],
)
def test_a_skill_can_be_created_from_zips_and_folders(world: World, files: Any) -> None:
    skill = create_skill(world, files)
    assert re.fullmatch(rf"skill_{skill.created_at:08x}[0-9a-f]{{24}}0[0-9a-f]{{15}}", skill.id)
    assert (skill.name, skill.description) == (NAME, DESCRIPTION)
    assert (skill.default_version, skill.latest_version) == ("1", "1")
    (version,) = world.openai.skills.versions.list(skill.id)
    assert re.fullmatch(rf"skillver_{skill.created_at:08x}[0-9a-f]{{24}}{skill.id[-16:]}", version.id)
    assert (version.skill_id, version.version, version.name) == (skill.id, "1", NAME)


def test_skill_objects_have_ordered_keys_and_no_trailing_newline(world: World) -> None:
    response = post_form(world, "/skills", [("files", ("m.zip", zipped()))])
    assert list(ok(response)) == [
        "id",
        "object",
        "created_at",
        "default_version",
        "description",
        "latest_version",
        "name",
    ]
    assert response.content.startswith(b'{\n  "id": "skill_')
    assert response.content.endswith(b"}")
    version = world.http.get(f"/skills/{response.json()['id']}/versions/1")
    assert list(ok(version)) == ["id", "object", "created_at", "description", "name", "skill_id", "version"]


def test_a_zip_is_returned_unchanged_and_a_folder_as_a_zip(world: World) -> None:
    sent = zipped(compression=zipfile.ZIP_DEFLATED)
    skill = create_skill(world, ("m.zip", sent))
    content = world.openai.skills.content.retrieve(skill.id)
    assert content.read() == sent
    assert content.response.headers["content-type"] == "application/zip"
    from_folder = create_skill(world, folder())
    archive = world.openai.skills.versions.content.retrieve("1", skill_id=from_folder.id).read()
    assert list(unzipped(archive)) == ["math/SKILL.md", "math/run.py", "math/assets/a.txt"]
    assert create_skill(world, ("m.zip", archive)).name == NAME, "the returned zip can be uploaded"
    assert world.http.head(f"/skills/{from_folder.id}/content").headers["content-length"] == str(len(archive))


def test_a_skill_with_a_large_file_is_stored_completely(world: World) -> None:
    big = bytes(range(256)) * 20_000
    skill = create_skill(world, [("m/SKILL.md", MANIFEST.encode()), ("m/big.bin", big), ("m/late.txt", b"late")])
    assert unzipped(world.openai.skills.content.retrieve(skill.id).read()) == {
        "m/SKILL.md": MANIFEST.encode(),
        "m/big.bin": big,
        "m/late.txt": b"late",
    }


def test_an_extended_filename_parameter_keeps_its_path(world: World) -> None:
    """.NET sends the path of a file in `filename*`."""
    names = [("SKILL.md", MANIFEST), ("assets/a.txt", "a")]
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="files[]"; filename="x"; '
        f"filename*=utf-8''math%2f{name.replace('/', '%2f')}\r\n\r\n{content}\r\n"
        for name, content in names
    ]
    response = world.http.post(
        "/skills",
        content="".join([*parts, "--b--\r\n"]),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    content = world.http.get(f"/skills/{ok(response)['id']}/content").content
    assert list(unzipped(content)) == ["math/SKILL.md", "math/assets/a.txt"]


def _zip_with_member(**changes: Any) -> bytes:
    """Return a zip whose second member has these attributes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("math/SKILL.md", MANIFEST)
        member = zipfile.ZipInfo("math/x")
        for name, value in changes.items():
            setattr(member, name, value)
        archive.writestr(member, "/etc/passwd")
    return out.getvalue()


def _encrypted_zip() -> bytes:
    content = bytearray(zipped())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _zip_bomb() -> bytes:
    return zipped({"m/SKILL.md": MANIFEST, "m/zeros": bytes(bundles.MAX_FILE)}, zipfile.ZIP_DEFLATED)


def _zip_with_wrong_size() -> bytes:
    """Return a zip whose table of contents states a larger size than its member has."""
    content = bytearray(zipped({"m/SKILL.md": MANIFEST, "m/a": "a" * 100}))
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 50_000)
    return bytes(content)


def _zip_with_duplicate_path(second: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/SKILL.md", MANIFEST)
        archive.writestr("m/a", "a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("m/a", second)
    return out.getvalue()


def _nested_aliases() -> str:
    levels = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    return f"---\nname: x\ndescription: x\na0: &a0 [x]\n{levels}metadata: *a39\n---\n"


INVALID_ZIPS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "no folder": (zipped({"SKILL.md": MANIFEST}), LAYOUT_ERROR),
    "two folders": (zipped({"a/SKILL.md": MANIFEST, "b/x": "x"}), LAYOUT_ERROR),
    "a file beside the folder": (zipped({"a/SKILL.md": MANIFEST, "x": "x"}), LAYOUT_ERROR),
    "no files": (zipped({"m/": ""}), "no files"),
    "no manifest": (zipped({"m/README.md": "x"}), "0 files named SKILL.md"),
    "two manifests": (zipped({"m/SKILL.md": MANIFEST, "m/sub/skill.md": MANIFEST}), "2 files named SKILL.md"),
    "a deep manifest": (zipped({"m/sub/SKILL.md": MANIFEST}), "folder of its folder"),
    "traversal": (zipped({"m/SKILL.md": MANIFEST, "m/../../x": "x"}), "leaves the archive"),
    "an absolute path": (zipped({"m/SKILL.md": MANIFEST, "/m/x": "x"}), "not a path inside"),
    "a drive": (zipped({"m/SKILL.md": MANIFEST, "C:/x": "x"}), "not a path inside"),
    "a link": (_zip_with_member(create_system=3, external_attr=(stat.S_IFLNK | 0o777) << 16), "not a regular file"),
    "a device": (_zip_with_member(create_system=3, external_attr=(stat.S_IFCHR | 0o777) << 16), "not a regular file"),
    "a zip inside": (zipped({"m/SKILL.md": MANIFEST, "m/inner.ZIP": zipped()}), "a zip inside"),
    "encrypted": (_encrypted_zip, "encrypted"),
    "unsupported compression": (zipped(compression=zipfile.ZIP_LZMA), "unsupported compression"),
    "a zip bomb": (_zip_bomb, "200 times as large"),
    "a wrong size": (_zip_with_wrong_size, "shorter than"),
    "a damaged member": (lambda: zipped().replace(b"print(1)", b"print(2)"), "can't be read"),
    "cut off": (lambda: zipped()[:-30], "can't be read"),
    "only a signature": (b"PK\x03\x04", "can't be read"),
    "a duplicate path": (lambda: _zip_with_duplicate_path("b"), "twice"),
    "too many files": (
        lambda: zipped({"m/SKILL.md": MANIFEST, **{f"m/{n}": "" for n in range(500)}}),
        "501 files",
    ),
    "a huge table of contents": (lambda: zipped({f"m/{n}/{'x' * 60_000}": "" for n in range(40)}), "table of contents"),
    "a long path": (zipped({"m/SKILL.md": MANIFEST, f"m/{'x' * 2_000}": ""}), "characters"),
    "a large file": (
        lambda: zipped({"m/SKILL.md": MANIFEST, "m/big": bytes(range(256)) * (bundles.MAX_FILE // 256) + b"x"}),
        "26,214,401 bytes",
    ),
}
INVALID_MANIFESTS: dict[str, tuple[str, str]] = {
    "no front matter": ("# Title\n", "no front matter"),
    "unclosed front matter": ("---\nname: a\ndescription: b\n", "no front matter"),
    "a list": ("---\n- name\n---\n", "not a mapping"),
    "empty": ("---\n\n---\n", "not a mapping"),
    "not YAML": ("---\nname: [\n---\n", "not valid YAML"),
    "not UTF-8": ("---\nname: \udcff\n---\n", "not valid YAML"),
    "two documents": ("---\nname: a\ndescription: b\n...\n--- x\n---\n", "not valid YAML"),
    "a tag": ("---\nname: !!python/object/apply:os.system [id]\ndescription: x\n---\n", "no text as name"),
    "no name": ("---\ndescription: x\n---\n", "no text as name"),
    "null": ("---\nname:\ndescription: x\n---\n", "no text as name"),
    "a mapping as description": ("---\nname: a\ndescription: {a: b}\n---\n", "no text as description"),
    "upper case": (manifest("Basic"), "1 to 64"),
    "two hyphens": (manifest("a--b"), "1 to 64"),
    "a hyphen at the end": (manifest("a-"), "1 to 64"),
    "a long name": (manifest("a" * 65), "1 to 64"),
    "an empty description": (manifest(description='""'), "1 to 1024"),
    "a long description": (manifest(description="x" * 1_025), "1 to 1024"),
    "a lone surrogate": (manifest(description='"\\ud800"'), "not valid YAML"),
    "long compatibility": (manifest(more=f"compatibility: {'x' * 501}\n"), "1 to 500"),
    "metadata": (manifest(more="metadata: x\n"), "must be a mapping"),
    "aliases of aliases": (_nested_aliases(), "a mapping"),
    "deep nesting": (f"---\nname: {'[' * 900}\n---\n", "levels"),
    "many values": (f"---\nname: [{'x,' * 2_000}]\n---\n", "levels"),
    "a long front matter": (f"---\nname: a\n{'# x' * 30_000}\n---\n", "no front matter in its first 64 KiB"),
}


@pytest.mark.parametrize("case", [*INVALID_ZIPS, *INVALID_MANIFESTS])
def test_invalid_skills_are_rejected(world: World, case: str) -> None:
    if case in INVALID_ZIPS:
        zip_or_factory, expected = INVALID_ZIPS[case]
        content = zip_or_factory if isinstance(zip_or_factory, bytes) else zip_or_factory()
    else:
        text, expected = INVALID_MANIFESTS[case]
        content = zipped({"m/SKILL.md": text.encode(errors="surrogateescape")})
    response = post_form(world, "/skills", [("files", ("m.zip", content))])
    message = error_message(response, 400, None if expected == LAYOUT_ERROR else "invalid_value")
    assert expected in message
    assert ok(world.http.get("/skills"))["data"] == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([("SKILL.md", MANIFEST), ("run.py", "x")], LAYOUT_ERROR),
        ([("m/SKILL.md", MANIFEST), ("m/../x", "x")], "leaves the archive"),
        ([("m/SKILL.md", MANIFEST), ("m\\x", "x")], "not a path inside"),
        ([("m/SKILL.md", MANIFEST), ("m/SKILL.md", MANIFEST + "x")], "sent twice"),
        ([("m/SKILL.md", MANIFEST), ("m/a.zip", "x")], "zip inside"),
        ([("SKILL.md", MANIFEST)], LAYOUT_ERROR),
        ([("m/a", "x")], "0 files"),
    ],
)
def test_invalid_folders_are_rejected_like_invalid_zips(
    world: World, files: list[tuple[str, str]], expected: str
) -> None:
    response = post_form(world, "/skills", [("files[]", file) for file in files])
    assert expected in error_message(response, 400, None if expected == LAYOUT_ERROR else "invalid_value")


def test_identical_duplicates_in_a_zip_are_accepted(world: World) -> None:
    assert create_skill(world, ("m.zip", _zip_with_duplicate_path("a"))).name == NAME


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"json": {}}, "missing_required_parameter", "files"),
        ({}, "missing_required_parameter", "files"),
        ({"json": {"files": ["text of a file"]}}, "invalid_type", "files"),
        ({"content": "--b--\r\n"}, "missing_required_parameter", "files"),
        (
            {"content": '--b\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext\r\n--b--\r\n'},
            "invalid_type",
            "files",
        ),
        ({"files": [("files", ("m.zip", zipped()))], "data": {"default": "true"}}, "unknown_parameter", "default"),
        ({"files": [("file", ("m.zip", zipped()))]}, "missing_required_parameter", "files"),
        ({"content": b"x", "headers": {"Content-Type": "application/zip"}}, None, "files"),
    ],
)
def test_requests_without_valid_files_are_rejected(world: World, body: dict[str, Any], code: str, param: str) -> None:
    if isinstance(body.get("content"), str):
        body["headers"] = {"Content-Type": "multipart/form-data; boundary=b"}
    response = world.http.post("/skills", **body)
    error_message(response, 400, code)
    assert response.json()["error"]["param"] == param


def test_a_form_with_more_than_1000_files_is_rejected(world: World) -> None:
    parts = [("files[]", (f"m/{n}", b"x")) for n in range(1_001)]
    assert "1000 files" in error_message(post_form(world, "/skills", parts), 400, None)


# Versions


def test_a_new_version_becomes_the_latest_and_on_request_the_default(world: World) -> None:
    client = world.openai
    skill = create_skill(world)
    for number, default in ((2, None), (3, True), (4, False)):
        options = {} if default is None else {"default": default}
        version = client.skills.versions.create(
            skill.id, files=("m.zip", zipped({"m/SKILL.md": manifest(f"skill-{number}")})), **options
        )
        assert (version.version, version.name, version.skill_id) == (str(number), f"skill-{number}", skill.id)
    shown = client.skills.retrieve(skill.id)
    assert (shown.default_version, shown.latest_version, shown.name) == ("3", "4", "skill-3")
    assert (shown.id, shown.created_at) == (skill.id, skill.created_at)
    assert client.skills.update(skill.id, default_version="1").name == NAME
    assert ok(world.http.post(f"/skills/{skill.id}", json={"default_version": 2}))["name"] == "skill-2"
    assert b"skill-2" in client.skills.content.retrieve(skill.id).read()
    assert [each.version for each in client.skills.versions.list(skill.id)] == ["4", "3", "2", "1"]
    assert [each.version for each in client.skills.versions.list(skill.id, order="asc", limit=1)] == [
        "1",
        "2",
        "3",
        "4",
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/skills/{id}", {"default_version": "9"}, 404, None),
        ("POST", "/skills/{id}", {"default_version": "latest"}, 400, "invalid_value"),
        ("POST", "/skills/{id}", {"default_version": True}, 400, "invalid_type"),
        ("POST", "/skills/{id}", {}, 400, "missing_required_parameter"),
        ("POST", "/skills/{id}", {"default_version": "1", "name": "x"}, 400, "unknown_parameter"),
        ("POST", "/skills/skill_x", {"default_version": "1"}, 404, None),
        ("GET", "/skills/{id}/versions/9", None, 404, None),
        ("GET", "/skills/{id}/versions/99999999999999999999", None, 404, None),
        ("GET", "/skills/{id}/versions/latest", None, 400, "invalid_value"),
        ("GET", "/skills/{id}/versions/0", None, 400, "invalid_value"),
        ("GET", "/skills/{id}/versions/01/content", None, 400, "invalid_value"),
        ("DELETE", "/skills/{id}/versions/-1", None, 400, "invalid_value"),
        ("DELETE", "/skills/{id}/versions/1", None, 400, "invalid_value"),
        ("DELETE", "/skills/skill_x", None, 404, None),
        ("GET", "/skills/skill_x/content", None, 404, None),
        ("GET", "/skills/skill_x/versions", None, 404, None),
        ("POST", "/skills/skill_x/versions", {}, 404, None),
        ("POST", "/skills/{id}/versions", {"default": True}, 400, "missing_required_parameter"),
    ],
)
def test_invalid_requests_for_versions_are_rejected(
    world: World, method: str, path: str, body: Mapping[str, Any] | None, status: int, code: str | None
) -> None:
    skill = create_skill(world)
    world.openai.skills.versions.create(skill.id, files=folder())
    options = {} if body is None else {"json": body}
    error_message(world.http.request(method, path.format(id=skill.id), **options), status, code)


def test_invalid_fields_of_a_new_version_are_rejected(world: World) -> None:
    skill = create_skill(world)
    for data, code in (({"default": "yes"}, "invalid_type"), ({"other": "x"}, "unknown_parameter")):
        error_message(
            post_form(world, f"/skills/{skill.id}/versions", [("files", ("m.zip", zipped()))], **data), 400, code
        )


def test_versions_can_be_deleted_and_their_numbers_are_not_reused(world: World) -> None:
    client = world.openai
    skill = create_skill(world)
    second = client.skills.versions.create(skill.id, files=folder())
    with pytest.raises(openai.BadRequestError) as raised:
        client.skills.versions.delete("1", skill_id=skill.id)
    assert (raised.value.param, raised.value.code) == ("version", "invalid_value")
    deleted = ok(world.http.delete(f"/skills/{skill.id}/versions/2"))
    assert deleted == {"id": second.id, "object": "skill.version.deleted", "deleted": True, "version": "2"}
    assert client.skills.retrieve(skill.id).latest_version == "1"
    assert client.skills.versions.create(skill.id, files=folder()).version == "3", "numbers are not reused"
    client.skills.versions.delete("3", skill_id=skill.id)
    client.skills.versions.delete("1", skill_id=skill.id)
    with pytest.raises(openai.NotFoundError):
        client.skills.retrieve(skill.id)


def test_deleting_a_skill_deletes_its_versions(world: World) -> None:
    skill = create_skill(world)
    deleted = ok(world.http.delete(f"/skills/{skill.id}"))
    assert deleted == {"id": skill.id, "object": "skill.deleted", "deleted": True}
    for path in ("", "/content", "/versions", "/versions/1", "/versions/1/content"):
        error_message(world.http.get(f"/skills/{skill.id}{path}"), 404, None)


# Lists


def test_skills_are_listed_and_paginated(world: World) -> None:
    world.freeze()
    ids = [create_skill(world).id for _ in range(3)]
    http = world.http
    empty = ok(http.get("/skills", params={"limit": 0}))
    assert empty == {"object": "list", "data": [], "first_id": None, "has_more": True, "last_id": None}
    assert list(empty) == ["object", "data", "first_id", "has_more", "last_id"]
    assert [each["id"] for each in ok(http.get("/skills"))["data"]] == ids[::-1]
    assert [each["id"] for each in ok(http.get(f"/skills?order=asc&after={ids[0]}&unknown=1"))["data"]] == ids[1:]
    assert [each.id for each in world.openai.skills.list(limit=1)] == ids[::-1]
    assert ok(http.get(f"/skills?after={ids[0]}&limit=0"))["has_more"] is False
    world.openai.skills.delete(ids[1])
    assert [each["id"] for each in ok(http.get(f"/skills?after={ids[1]}"))["data"]] == ids[:1], (
        "a deleted skill is still a cursor"
    )


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/skills?limit=101", 400, "integer_above_max_value", "<= 100"),
        ("/skills?limit=-1", 400, "integer_below_min_value", ">= 0"),
        ("/skills?order=up", 400, "invalid_value", "'asc' and 'desc'"),
        ("/skills?order=", 400, "invalid_value", "Invalid value: ''"),
        ("/skills?limit=1&limit=1", 400, "duplicate_parameter", "limit"),
        ("/skills?after=skill_x", 404, None, "Skill with id 'skill_x' not found."),
        ("/skills?after=x", 404, None, "Skill with id 'x' not found."),
        ("/skills/{id}/versions?after=x", 400, "invalid_value", "begins with 'skillver'"),
        ("/skills/{id}/versions?after=skillver_x", 404, None, "not found"),
        (
            "/skills/{id}/versions?after={other}",
            400,
            "invalid_value",
            "Skill version cursor does not match this skill.",
        ),
    ],
)
def test_invalid_queries_of_lists_are_rejected(
    world: World, path: str, status: int, code: str | None, message: str
) -> None:
    skill, other = create_skill(world), create_skill(world)
    (version,) = world.openai.skills.versions.list(other.id)
    response = world.http.get(path.format(id=skill.id, other=version.id))
    assert message in error_message(response, status, code)


def test_versions_are_listed_by_number_not_by_time(world: World) -> None:
    world.freeze()
    skill = create_skill(world)
    world.freeze(NOON - 3_600)
    world.openai.skills.versions.create(skill.id, files=folder())
    assert [each.version for each in world.openai.skills.versions.list(skill.id, limit=1)] == ["2", "1"]


# Profiles


def world_with_switches(server: MockServer, **switches: Any) -> World:
    world = new_world(server)
    ok(httpx2.put(f"{server.url}/_mock/worlds/{world.name}/profile", json={"name": "default", "switches": switches}))
    return world


def test_new_skill_lag_delays_the_listing_of_a_new_skill(server: MockServer) -> None:
    with world_with_switches(server, new_skill_lag="2s") as world:
        world.freeze()
        skill = create_skill(world)
        assert world.openai.skills.retrieve(skill.id).id == skill.id
        assert [*world.openai.skills.list()] == [*world.openai.skills.versions.list(skill.id)] == []
        world.advance(2)
        assert len([*world.openai.skills.list()]) == len([*world.openai.skills.versions.list(skill.id)]) == 1


def test_delete_lag_keeps_a_deleted_skill_in_lists(server: MockServer) -> None:
    with world_with_switches(server, delete_lag="5s") as world:
        world.freeze()
        skill = create_skill(world)
        world.openai.skills.versions.create(skill.id, files=folder())
        world.openai.skills.versions.delete("2", skill_id=skill.id)
        assert [each.version for each in world.openai.skills.versions.list(skill.id)] == ["2", "1"]
        world.openai.skills.delete(skill.id)
        assert [each.id for each in world.openai.skills.list()] == [skill.id]
        world.advance(5)
        assert [*world.openai.skills.list()] == []


def test_the_profile_can_make_a_malformed_cursor_a_500(server: MockServer, caplog: pytest.LogCaptureFixture) -> None:
    with world_with_switches(server, malformed_skill_cursor=500) as world:
        response = world.http.get("/skills?after=x")
        message = error_message(response, 500, None)
        assert response.headers["x-request-id"].removeprefix("req_") in message.replace("-", "")
        assert not caplog.records  # an intended 500 is not logged
        error_message(world.http.get("/skills?after=skill_x"), 404, None)


# In containers


FOLDED = zipped({"m/SKILL.md": f"---\nname: {NAME}\ndescription: >-\n  Add or\n  multiply numbers.\n---\n"})


@pytest.mark.parametrize(
    ("skills", "param", "message"),
    [
        ([skill_reference("skill_x")], "skills", "Skill with id 'skill_x' not found."),
        ([skill_reference("{id}", version="9")], "skills", "not found"),
        ([skill_reference("{id}", version="version")], "skills[0].version", "positive integer or 'latest'"),
        ([skill_reference("{id}", version=1)], "skills[0].version", "expected a string"),
        ([skill_reference("")], "skills[0].skill_id", "empty string"),
        ([skill_reference("x" * 65)], "skills[0].skill_id", "too long"),
        ([inline_skill(name="other")], None, "Inline skill name/description must match"),
        ([inline_skill(description="other")], None, "Inline skill name/description must match"),
        ([inline_skill(zipped({"SKILL.md": MANIFEST}))], None, LAYOUT_ERROR),
        ([inline_skill(), inline_skill(b"x")], "skills[1].source.data", "can't be read"),
        (
            [{**inline_skill(), "source": {**inline_skill()["source"], "data": "?"}}],
            "skills[0].source.data",
            "not Base64",
        ),
        ([skill_reference("x")] * 201, "skills", "array too long"),
    ],
)
def test_a_container_with_invalid_skills_is_rejected(
    world: World, skills: list[dict[str, Any]], param: str | None, message: str
) -> None:
    skill = create_skill(world)
    skills = [
        {**each, "skill_id": each["skill_id"].format(id=skill.id)} if "skill_id" in each else each for each in skills
    ]
    response = world.http.post("/containers", json={"name": "box", "skills": skills})
    assert message in error_message(response, 400, response.json()["error"]["code"])
    assert response.json()["error"]["param"] == param
    assert ok(world.http.get("/containers"))["data"] == []


def test_a_container_accepts_all_forms_of_skills(world: World) -> None:
    skill = create_skill(world)
    skills = [
        skill_reference(skill.id),
        skill_reference(skill.id, version=None),
        skill_reference(skill.id, version="1"),
        skill_reference(skill.id, version="latest"),
        skill_reference("openai-spreadsheets", version="latest"),
        inline_skill(),
        inline_skill(FOLDED),
    ]
    box = ok(world.http.post("/containers", json={"name": "box", "skills": skills}))
    assert "skills" not in box
    assert ok(world.http.get(f"/containers/{box['id']}/files"))["data"] == [], "skills are not files of the container"


def test_the_profile_can_reject_a_folded_description_of_an_inline_skill(server: MockServer) -> None:
    with world_with_switches(server, folded_inline_skills=False) as world:
        create_skill(world, ("m.zip", FOLDED))
        body = {"name": "box", "skills": [inline_skill(FOLDED)]}
        assert "must match" in error_message(world.http.post("/containers", json=body), 400, None)
        ok(world.http.post("/containers", json={"name": "box", "skills": [inline_skill()]}))


def test_curated_skills_are_configurable() -> None:
    with MockServer(curated_skill=("openai-docs",)) as server, new_world(server) as world:
        ok(world.http.post("/containers", json={"name": "box", "skills": [skill_reference("openai-docs")]}))
        body = {"name": "box", "skills": [skill_reference("openai-spreadsheets")]}
        error_message(world.http.post("/containers", json=body), 400, None)


@pytest.mark.parametrize("version", ["junk", "", "0", "-1"])
def test_the_version_of_a_curated_skill_is_a_positive_integer_or_latest(world: World, version: str) -> None:
    reference = {"type": "skill_reference", "skill_id": "openai-spreadsheets"}
    body = {"name": "box", "skills": [reference | {"version": "latest"}, reference | {"version": version}]}
    message = error_message(world.http.post("/containers", json=body), 400, "invalid_value")
    assert message.startswith("Invalid 'skills[1].version'"), message


def test_a_version_with_a_long_number_survives_an_export(server: MockServer, world: World) -> None:
    """The profile `contract` creates it. SQLite can't store its number."""
    long = "9" * 30
    control = f"{server.url}/_mock/worlds/{world.name}"
    ok(httpx2.put(f"{control}/profile", json={"name": "contract"}))
    assert ok(world.http.get(f"/skills/skill_id/versions/{long}"))["version"] == long
    ok(httpx2.post(f"{control}/import", content=httpx2.get(f"{control}/export").content))
    assert [each["version"] for each in ok(world.http.get("/skills/skill_id/versions"))["data"]] == [long, "1"]
