"""The control plane's routes of containers and files: staging, expiry, lists, previews and downloads."""

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from conftest import NOON, World, error_message, ok

from mockserver.server.serving import MockServer


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}") as client:
        yield client


def create_container(world: World, name: str = "box", **fields: Any) -> str:
    return str(ok(world.http.post("/containers", json={"name": name, **fields}))["id"])


def add_file(control: httpx2.Client, box: str, content: bytes = b"bytes", name: str = "a.txt", **fields: str) -> Any:
    return ok(control.post(f"/containers/{box}/files", files={"file": (name, content)}, data=fields))


# Staging


def test_containers_and_files_can_be_staged_as_a_model_run_leaves_them(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = ok(control.post("/containers", json={"name": "auto", "created_at": "-1h", "last_active_at": "-19m"}))
    assert (box["name"], box["created_at"], box["expires_in"]) == ("auto", NOON - 3_600, 60)
    add_file(control, box["id"], b"\x89PNG", path="plots/revenue.png", source="assistant")
    add_file(control, box["id"], b"# Report\n", path="/mnt/data/report.md", source="assistant", bytes="9")
    add_file(control, box["id"], b"a,b\n", name="sales.csv")
    add_file(control, box["id"], b"x", name="out.txt", source="assistant")
    add_file(control, box["id"], b"x", path="/mnt/data/newline\n", source="user", bytes="null")

    by_path = {each["path"]: each for each in ok(world.http.get(f"/containers/{box['id']}/files"))["data"]}
    plot = by_path["/mnt/data/plots/revenue.png"]
    assert (plot["source"], plot["bytes"], plot["created_at"]) == ("assistant", None, NOON)
    content = world.openai.containers.files.content.retrieve(plot["id"], container_id=box["id"])
    assert content.read() == b"\x89PNG"
    report = by_path["/mnt/data/report.md"]
    assert (report["source"], report["bytes"]) == ("assistant", 9)
    assert by_path["/mnt/data/out.txt"]["bytes"] is None
    newline = by_path["/mnt/data/newline\n"]
    assert (newline["source"], newline["bytes"]) == ("user", None)
    (upload,) = (each for path, each in by_path.items() if path.endswith("-sales.csv"))
    assert (upload["source"], upload["bytes"]) == ("user", 4)


def test_the_status_has_the_values_of_the_filter_in_every_profile(world: World, control: httpx2.Client) -> None:
    ok(control.put("/profile", json={"name": "docs"}))
    box = create_container(world)
    assert ok(world.http.get(f"/containers/{box}"))["status"] == "active"
    found = ok(control.get("/containers", params={"status": "running"}))["data"]
    assert [(each["id"], each["status"]) for each in found] == [(box, "running")]


def test_a_container_is_staged_with_its_files(world: World, control: httpx2.Client) -> None:
    file = ok(control.post("/files", files={"file": ("a.csv", b"a,b\n")}, data={"purpose": "vision"}))
    body = {
        "id": "cntr_mine",
        "name": "auto",
        "memory_limit": "4g",
        "expires_after": {"minutes": 5},
        "network_policy": {"type": "allowlist", "allowed_domains": ["example.com"]},
        "files": [{"file": file["id"]}, {"path": "out.txt", "content": "out", "bytes": 3}],
    }
    box = ok(control.post("/containers", json=body))
    assert (box["id"], box["file_count"], box["total_bytes"]) == ("cntr_mine", 2, 7)
    retrieved = world.openai.containers.retrieve("cntr_mine")
    assert (retrieved.memory_limit, retrieved.expires_after.minutes) == ("4g", 5)
    paths = {each.path for each in world.openai.containers.files.list("cntr_mine")}
    assert paths == {f"/mnt/data/{file['id']}-a.csv", "/mnt/data/out.txt"}
    error_message(control.post("/containers", json=body), 409, "object_exists")
    assert "memory_limit" in error_message(
        control.post("/containers", json={"name": "a", "memory_limit": "2g"}), 400, "invalid_seed"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"name": "a", "expires_after": {"minutes": "5"}}', "expires_after.minutes: input should be a valid integer"),
        ('{"memory_limit": "1g"}', "'name' is missing; add it"),
        ("5", "write a mapping; its keys are: id, ref, name, "),
        ("name: a\nfiles:\n  - {path: b, contents: c}\n", "body:3: files.0: unknown key 'contents'"),
    ],
)
def test_an_error_of_one_object_names_its_keys(control: httpx2.Client, body: str, message: str) -> None:
    response = control.post("/containers", content=body)
    assert error_message(response, 400, "invalid_seed").startswith(message)


def test_files_can_be_added_to_and_deleted_from_expired_containers(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = create_container(world)
    ok(control.post(f"/containers/{box}/expire"))
    file = add_file(control, box, b"late", path="late.txt")
    assert ok(control.get(f"/containers/{box}"))["status"] == "expired"
    ok(control.delete(f"/containers/{box}/files/{file['id']}"))
    assert ok(control.get(f"/containers/{box}/files"))["data"] == []


@pytest.mark.parametrize("kind", ["containers", "files", "container files"])
def test_generated_ids_skip_staged_ids(world: World, control: httpx2.Client, kind: str) -> None:
    """On a frozen clock generated ids are predictable, so a seed can contain ids that the world would generate next."""

    def create_object() -> str:
        if kind == "containers":
            return create_container(world)
        form = {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "vision"} if kind == "files" else {}}
        path = "/files" if kind == "files" else "/containers/cntr_mine/files"
        return str(ok(world.http.post(path, **form))["id"])

    def place(*ids: str) -> None:
        files = [{"id": id, "filename": "b.txt", "content": "staged"} for id in ids]
        box = {"id": "cntr_mine", "name": "box", "files": files if kind == "container files" else []}
        boxes = [{"id": id, "name": "staged"} for id in ids] if kind == "containers" else []
        seed = {"version": 1, "containers": [box, *boxes], "files": files if kind == "files" else []}
        ok(control.post("/place", json=seed))

    world.freeze()
    place()
    first = [create_object() for _ in range(8)]
    ok(control.post("/reset?empty=true"))
    world.freeze()
    place(*first[4:6])
    second = [create_object() for _ in range(8)]
    assert not set(second) & set(first[4:6])
    assert set(second) & set(first), "the ids are not predictable, so the staged ids could not collide"
    assert len(set(second)) == 8


# Expiry and activity


def test_a_container_can_be_expired_without_advancing_the_clock(world: World, control: httpx2.Client) -> None:
    world.freeze()
    day = {"anchor": "created_at", "days": 1}
    for box in (
        create_container(world),
        create_container(world, expires_after=day),
        create_container(world, expires_after={"anchor": "last_active_at", "minutes": 1}),
    ):
        assert ok(control.get(f"/containers/{box}"))["status"] == "running"
        expired = ok(control.post(f"/containers/{box}/expire"))
        assert (expired["status"], expired["expires_in"]) == ("expired", 0)
        assert ok(control.post(f"/containers/{box}/expire")) == expired, "expiring is idempotent"
        retrieved = ok(world.http.get(f"/containers/{box}"))
        assert retrieved["status"] == "expired"
        assert retrieved["expires_after"] == expired["expires_after"], "the requested lifetime is unchanged"
        with pytest.raises(openai.NotFoundError, match="expired"):
            world.openai.containers.files.list(box)
        error_message(control.post(f"/containers/{box}/touch"), 400, None)
    assert ok(control.get("/clock"))["now"] == NOON, "the clock is unchanged"


def test_touching_a_container_refreshes_last_active_at(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = create_container(world)
    world.advance(19 * 60)
    assert ok(control.get(f"/containers/{box}"))["expires_in"] == 60
    touched = ok(control.post(f"/containers/{box}/touch"))
    assert (touched["expires_in"], touched["last_active_at"]) == (1_200, NOON + 19 * 60)


def test_reading_through_the_control_plane_does_not_refresh_last_active_at(
    world: World, control: httpx2.Client
) -> None:
    world.freeze()
    box = create_container(world)
    file = add_file(control, box)
    upload = ok(control.post("/files", files={"file": b"x"}))
    world.advance(600)
    for path in (
        "/containers",
        f"/containers/{box}",
        f"/containers/{box}/files",
        f"/containers/{box}/files/{file['id']}/preview",
        "/files",
        f"/files/{upload['id']}",
        f"/files/{upload['id']}/preview",
    ):
        assert control.get(path).status_code == 200, path
        assert ok(control.get(f"/containers/{box}"))["last_active_at"] == NOON, path
    add_file(control, box)
    ok(control.delete(f"/containers/{box}/files/{file['id']}"))
    assert ok(control.get(f"/containers/{box}"))["last_active_at"] == NOON


def test_reading_through_the_control_plane_creates_no_world(control: httpx2.Client) -> None:
    for path in ("/containers", "/containers/cntr_a", "/containers/cntr_a/files", "/files", "/files/file-a", "/export"):
        error_message(control.get(path), 404, "world_not_found")
    ok(control.post("/containers", json={"name": "auto"}))
    assert ok(control.get("/containers"))["total"] == 1


# Lists


def test_containers_are_filtered_paginated_and_counted(world: World, control: httpx2.Client) -> None:
    world.freeze()
    for n in range(5):
        create_container(world, f"Report {n}")
    boxes = [create_container(world, "auto") for _ in range(4)]
    ok(control.post(f"/containers/{boxes[0]}/expire"))

    def found(**query: Any) -> tuple[list[str], int]:
        page = ok(control.get("/containers", params=query))
        return [each["name"] for each in page["data"]], page["total"]

    assert found(name="auto") == (["auto"] * 4, 4)
    assert found(name="aut") == ([], 0)
    assert found(search="REPORT") == ([f"Report {n}" for n in (4, 3, 2, 1, 0)], 5)
    assert found(search=boxes[1]) == (["auto"], 1)
    assert found(status="expired") == (["auto"], 1)
    assert found(status="running", limit=2) == (["auto"] * 2, 8)
    seen, after, more = [], {}, True
    while more:
        page = ok(control.get("/containers", params={"limit": 2, **after}))
        assert (page["total"], len(page["data"]) <= 2) == (9, True)
        seen += [each["id"] for each in page["data"]]
        more, after = page["has_more"], {"after": page["data"][-1]["id"]}
    assert len(seen) == len(set(seen)) == 9
    ok(control.delete(f"/containers/{seen[3]}"))
    rest = ok(control.get("/containers", params={"after": seen[3]}))
    assert [each["id"] for each in rest["data"]] == seen[4:], "a deleted object is a valid cursor"
    error_message(control.get("/containers?after=nothing"), 400, "invalid_value")
    for wrong in ("limit=0", "limit=1001", "status=active", "limit=x"):
        error_message(control.get(f"/containers?{wrong}"), 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("path", "sort", "names"),
    [
        ("containers", "created", "bca"),
        ("containers", "name", "abc"),
        ("containers", "active", "cab"),
        ("containers", "expires", "bac"),
        ("files", "name", "xyz"),
        ("files", "size", "zxy"),
        ("containers/cntr_a/files", "name", "xyz"),
    ],
)
def test_lists_can_be_sorted_in_both_directions(
    world: World, control: httpx2.Client, path: str, sort: str, names: str
) -> None:
    """Sorted pages also continue after a deleted object."""
    sizes = {"y": 30, "x": 20, "z": 10}
    for name, created, active, minutes in (("b", -60, -1, 5), ("c", -30, -3, 30), ("a", -10, -2, 20)):
        ages = {"created_at": f"{created}m", "last_active_at": f"{active}m", "expires_after": {"minutes": minutes}}
        files = [{"path": each, "content": "x" * size} for each, size in sizes.items()]
        ok(control.post("/containers", json={"id": f"cntr_{name}", "name": name, **ages, "files": files}))
    for name, size in sizes.items():
        ok(control.post("/files", files={"file": (name, b"x" * size)}))

    def found(order: str, **query: Any) -> list[dict[str, Any]]:
        return list(ok(control.get(f"/{path}", params={"sort": sort, "order": order, **query}))["data"])

    def last_letters(rows: list[dict[str, Any]]) -> str:
        return "".join((row.get("name") or row.get("filename") or row["path"])[-1] for row in rows)

    assert last_letters(found("asc")) == names
    assert last_letters(found("desc")) == names[::-1]
    first, second = found("asc", limit=2)
    assert last_letters(found("asc", after=first["id"], limit=1)) == names[1]
    ok(control.delete(f"/{path}/{second['id']}"))
    assert last_letters(found("asc", after=second["id"])) == names[2]


def test_a_file_of_a_container_can_be_retrieved(world: World, control: httpx2.Client) -> None:
    box = create_container(world)
    file = add_file(control, box, path="out.txt")
    assert ok(control.get(f"/containers/{box}/files/{file['id']}")) == file
    error_message(control.get(f"/containers/{box}/files/cfile_none"), 404, None)


def test_files_are_filtered_paginated_and_counted(world: World, control: httpx2.Client) -> None:
    for n, purpose in enumerate(["vision", "user_data", "vision"]):
        ok(control.post("/files", files={"file": (f"Sales {n}.csv", b"x" * n)}, data={"purpose": purpose}))
    page = ok(control.get("/files?purpose=vision&limit=1"))
    assert (page["total"], page["has_more"], page["data"][0]["filename"]) == (2, True, "Sales 2.csv")
    assert ok(control.get("/files?search=sales%201"))["total"] == 1
    box = create_container(world)
    for name in ("one.txt", "two.txt"):
        add_file(control, box, path=name)
    page = ok(control.get(f"/containers/{box}/files?search=ONE"))
    assert (page["total"], page["data"][0]["size"], page["data"][0]["bytes"]) == (1, 5, None)
    ok(control.delete(f"/files/{ok(control.get('/files'))['data'][0]['id']}"))
    assert ok(control.get("/files"))["total"] == 2


def test_pages_of_a_containers_files_use_cursors_of_that_container(control: httpx2.Client) -> None:
    """Files of two containers can have the same id."""

    def container(box: str, ages: range) -> dict[str, Any]:
        files = [{"id": f"cfile_{n}", "path": f"{n}", "content": "x", "created_at": f"-{n}m"} for n in ages]
        return {"id": box, "name": box, "files": files}

    containers = [container("cntr_young", range(1, 4)), container("cntr_old", range(3, 6))]
    containers[1]["files"][0]["created_at"] = "-9m"
    ok(control.post("/place", json={"containers": containers}))
    for box, expected in (("cntr_young", [1, 2, 3]), ("cntr_old", [4, 5, 3])):
        seen, query, more = [], {"limit": 1}, True
        while more:
            page = ok(control.get(f"/containers/{box}/files", params=query))
            seen.append(page["data"][0]["id"])
            more, query = page["has_more"], {"limit": 1, "after": seen[-1]}
        assert seen == [f"cfile_{n}" for n in expected]
    error_message(control.get("/containers/cntr_young/files?after=cfile_5"), 400, "invalid_value")


def test_thousands_of_containers_are_counted_and_paginated(world: World, control: httpx2.Client) -> None:
    box = {"name": "box {n}", "repeat": 3_000, "files": [{"path": "a.txt", "content": "four"}]}
    ok(control.post("/place", json={"containers": [box]}))
    page = ok(control.get("/containers?limit=50"))
    assert (page["total"], len(page["data"]), page["has_more"]) == (3_000, 50, True)
    assert {(each["file_count"], each["total_bytes"]) for each in page["data"]} == {(1, 4)}
    assert ok(control.get("/containers", params={"name": "box 2777"}))["total"] == 1


# Previews, downloads and uploads

INCOMPLETE_FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(2 << 20)


@pytest.mark.parametrize(
    ("content", "preview", "kind"),
    [
        (b"text", b"text", "text/plain; charset=utf-8"),
        ("\u00fc".encode() * 40_000, "\u00fc".encode() * 32_768, "text/plain; charset=utf-8"),
        (b"x" + "\u00fc".encode() * 40_000, (b"x" + "\u00fc".encode() * 40_000)[:65_536], "text/plain; charset=utf-8"),
        (b"<script>alert(1)</script>", b"<script>alert(1)</script>", "text/plain; charset=utf-8"),
        (b"\x89PNG\r\n", b"\x89PNG\r\n", "application/octet-stream"),
        (b"a\0b", b"a\0b", "application/octet-stream"),
        (b"\xc3", b"\xc3", "application/octet-stream"),
        (b"", b"", "text/plain; charset=utf-8"),
    ],
)
def test_previews_cannot_run_scripts_and_are_limited_in_size(
    world: World, control: httpx2.Client, content: bytes, preview: bytes, kind: str
) -> None:
    box = create_container(world)
    file = add_file(control, box, content, name="page.html")
    upload = ok(control.post("/files", files={"file": ("page.html", content)}, data={"purpose": "user_data"}))
    for path in (f"/containers/{box}/files/{file['id']}/preview", f"/files/{upload['id']}/preview"):
        response = control.get(path)
        assert response.content == preview
        assert response.headers["content-type"] == kind
        assert response.headers["content-security-policy"].startswith("sandbox")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-content-size"] == str(len(content))
        assert control.get(f"{path}?bytes=2").content == content[:2]
        for wrong in ("-1", str((1 << 20) + 1), "x"):
            error_message(control.get(f"{path}?bytes={wrong}"), 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", None),
        (b"<!doctype html><script>alert(1)</script>", None),
        (b"", None),
    ],
)
def test_contents_are_downloads_unless_images_or_pdfs_are_requested_inline(
    world: World, control: httpx2.Client, content: bytes, kind: str | None
) -> None:
    world.freeze()
    box = create_container(world)
    file = add_file(control, box, content * 50_000, path="plots/ü.html")
    upload = ok(control.post("/files", files={"file": ("ü.html", content * 50_000)}, data={"purpose": "user_data"}))
    world.advance(300)
    for path in (f"/containers/{box}/files/{file['id']}/content", f"/files/{upload['id']}/content"):
        attachment, inline = control.get(path), control.get(f"{path}?inline=true")
        assert attachment.content == inline.content == content * 50_000
        assert attachment.headers["content-type"] == "application/octet-stream"
        assert attachment.headers["content-disposition"].startswith("attachment; filename=")
        assert "filename*=UTF-8''%C3%BC.html" in attachment.headers["content-disposition"]
        assert inline.headers["content-type"] == (kind or "application/octet-stream")
        assert inline.headers["content-disposition"].startswith("inline" if kind else "attachment")
        for response in (attachment, inline):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert response.headers["content-security-policy"].startswith("sandbox") == (
                response.headers["content-type"] != "application/pdf"
            )
        error_message(control.get(path.replace("/files/", "/files/x")), 404, None)
    assert ok(control.get(f"/containers/{box}"))["last_active_at"] == NOON, "downloads are not activity"


def test_unknown_containers_and_files_are_rejected(world: World, control: httpx2.Client) -> None:
    box = create_container(world)
    for method, path in (
        ("GET", "/containers/cntr_x"),
        ("DELETE", "/containers/cntr_x"),
        ("POST", "/containers/cntr_x/expire"),
        ("POST", "/containers/cntr_x/touch"),
        ("GET", "/containers/cntr_x/files"),
        ("GET", f"/containers/{box}/files/cfile_x/preview"),
        ("DELETE", f"/containers/{box}/files/cfile_x"),
        ("GET", "/files/file-x"),
        ("DELETE", "/files/file-x"),
        ("GET", "/files/file-x/preview"),
    ):
        error_message(control.request(method, path), 404, None)
    error_message(control.post("/containers/cntr_x/files", files={"file": b"x"}), 404, None)
    assert list((world.server.mock.directory / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"json": {"file": "x"}}, "body"),
        ({"files": {"other": b"x"}}, "file"),
        ({"data": {"file": "text"}, "files": {"x": b""}}, "file"),
        ({"files": {"file": b"x"}, "data": {"bytes": "-1"}}, "bytes"),
        ({"files": {"file": b"x"}, "data": {"bytes": "many"}}, "bytes"),
        ({"files": {"file": b"x"}, "data": {"source": "model"}}, "source"),
        ({"files": {"file": b"x"}, "data": {"bytes": "1" * 16}}, "bytes"),
        ({"files": {"file": b"x"}, "data": {"path": "x" * 5_001}}, "path"),
        ({"files": {"file": b"x"}, "data": {"colour": "red"}}, "colour"),
        ({"files": [("file", b"x"), ("file", b"y")]}, "body"),
        ({"content": b"nothing", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "body"),
        ({"content": INCOMPLETE_FORM, "headers": {"content-type": "multipart/form-data; boundary=x"}}, "body"),
        ({"content": b"nothing", "headers": {"content-type": "multipart/form-data"}}, "body"),
    ],
)
def test_invalid_forms_are_rejected(world: World, control: httpx2.Client, form: dict[str, Any], param: str) -> None:
    box = create_container(world)
    response = control.post(f"/containers/{box}/files", **form)
    assert error_message(response, 400, "invalid_parameter").startswith(f"{param}: ")
    assert ok(control.get(f"/containers/{box}"))["file_count"] == 0
    assert list((world.server.mock.directory / "uploads").iterdir()) == []


def test_max_upload_limits_uploads_through_the_control_plane() -> None:
    with MockServer(max_upload=1_000) as server:
        files = f"{server.url}/_mock/worlds/w/files"
        assert ok(httpx2.post(files, files={"file": bytes(1_000)}))["bytes"] == 1_000
        error_message(httpx2.post(files, files={"file": bytes(1_001)}), 413, "file_too_large")
        error_message(httpx2.post(files, files={"file": bytes(2 << 20)}), 413, "file_too_large")
        headers = {"content-type": "multipart/form-data; boundary=x"}
        error_message(httpx2.post(files, content=iter([INCOMPLETE_FORM]), headers=headers), 413, "file_too_large")
        assert list((server.mock.directory / "uploads").iterdir()) == []


# The documentation page


def test_the_documentation_page_loads_nothing_from_other_hosts(server: MockServer) -> None:
    page = httpx2.get(f"{server.url}/_mock/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "//" not in page.text.replace("<!doctype html>", "")
    for name, kind in (("swagger-ui.css", "css"), ("swagger-ui-bundle.js", "javascript"), ("start.js", "javascript")):
        assert f'="docs/{name}"' in page.text
        asset = httpx2.get(f"{server.url}/_mock/docs/{name}")
        assert kind in asset.headers["content-type"]
    assert 'url: "openapi.json"' in asset.text
    assert httpx2.get(f"{server.url}/_mock/openapi.json").status_code == 200
    assert httpx2.get(f"{server.url}/_mock/docs/redoc.standalone.js").status_code == 404


def test_staged_names_are_stripped_of_directories_and_paths_must_not_contain_dot_dot(
    world: World, control: httpx2.Client
) -> None:
    box = ok(control.post("/containers", json={"name": "box"}))["id"]
    for name in ("../../a.csv", "/etc/a.csv", "C:\\x\\a.csv"):
        assert ok(control.post("/files", files={"file": (name, b"x")}))["filename"] == "a.csv"
        assert add_file(control, box, name=name)["path"].endswith("-a.csv")
    for path in ("../a.csv", "/mnt/data/../../etc/a.csv", "x\\..\\..\\a.csv", ".."):
        response = control.post(f"/containers/{box}/files", files={"file": b"x"}, data={"path": path})
        assert "no '..'" in error_message(response, 400, "invalid_parameter")
        response = control.post("/containers", json={"name": "x", "files": [{"path": path, "content": "x"}]})
        assert "no '..'" in error_message(response, 400, "invalid_seed")
    assert add_file(control, box, path="a..b/..c.csv")["path"] == "/mnt/data/a..b/..c.csv"


@pytest.mark.parametrize("purpose", ["assistants_output", "batch_output"])
def test_files_with_output_purposes_can_be_staged(world: World, control: httpx2.Client, purpose: str) -> None:
    file = ok(control.post("/files", files={"file": ("out.jsonl", b"{}\n")}, data={"purpose": purpose}))
    assert [each.id for each in world.openai.files.list(purpose=purpose)] == [file["id"]]
    assert world.openai.files.content(file["id"]).read() == b"{}\n"
    response = world.http.post("/files", files={"file": b"x"}, data={"purpose": purpose})
    assert "is not one of" in error_message(response, 400, None)
