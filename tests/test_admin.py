"""Staging: what a model run would have left behind, put there by a test, and looked at without being used."""

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


def make(world: World, name: str = "box", **more: Any) -> str:
    return str(ok(world.http.post("/containers", json={"name": name, **more}))["id"])


def put(control: httpx2.Client, box: str, content: bytes = b"bytes", name: str = "a.txt", **fields: str) -> Any:
    return ok(control.post(f"/containers/{box}/files", files={"file": (name, content)}, data=fields))


# What a model run leaves behind


def test_what_a_model_run_left_behind_can_be_staged(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = ok(control.post("/containers", json={"name": "auto", "created_at": "-1h", "last_active_at": "-19m"}))
    assert (box["name"], box["created_at"], box["expires_in"]) == ("auto", NOON - 3_600, 60)
    put(control, box["id"], b"\x89PNG", path="plots/revenue.png", source="assistant")
    put(control, box["id"], b"# Report\n", path="/mnt/data/report.md", source="assistant", bytes="9")
    put(control, box["id"], b"a,b\n", name="sales.csv")
    put(control, box["id"], b"x", name="out.txt", source="assistant")
    put(control, box["id"], b"x", path="/mnt/data/odd\n", source="user", bytes="null")

    inside = f"/containers/{box['id']}/files"
    listed = {each["path"]: each for each in ok(world.http.get(inside))["data"]}
    plot = listed["/mnt/data/plots/revenue.png"]
    assert (plot["source"], plot["bytes"], plot["created_at"]) == ("assistant", None, NOON)
    content = world.openai.containers.files.content.retrieve(plot["id"], container_id=box["id"])
    assert content.read() == b"\x89PNG"
    report = listed["/mnt/data/report.md"]
    assert (report["source"], report["bytes"]) == ("assistant", 9)
    assert listed["/mnt/data/out.txt"]["bytes"] is None
    odd = listed["/mnt/data/odd\n"]
    assert (odd["source"], odd["bytes"]) == ("user", None)
    (upload,) = (each for path, each in listed.items() if path.endswith("-sales.csv"))
    assert (upload["source"], upload["bytes"]) == ("user", 4)


def test_the_status_is_told_in_the_words_of_the_filter_whatever_the_profile(
    world: World, control: httpx2.Client
) -> None:
    ok(control.put("/profile", json={"name": "docs"}))
    box = make(world)
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
    told = world.openai.containers.retrieve("cntr_mine")
    assert (told.memory_limit, told.expires_after.minutes) == ("4g", 5)
    paths = {each.path for each in world.openai.containers.files.list("cntr_mine")}
    assert paths == {f"/mnt/data/{file['id']}-a.csv", "/mnt/data/out.txt"}
    error_message(control.post("/containers", json=body), 409, "object_exists")
    assert "memory_limit" in error_message(
        control.post("/containers", json={"name": "a", "memory_limit": "2g"}), 400, "invalid_seed"
    )


def test_files_can_be_put_where_a_client_could_not(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = make(world)
    ok(control.post(f"/containers/{box}/expire"))
    file = put(control, box, b"late", path="late.txt")
    assert ok(control.get(f"/containers/{box}"))["status"] == "expired"
    ok(control.delete(f"/containers/{box}/files/{file['id']}"))
    assert ok(control.get(f"/containers/{box}/files"))["data"] == []


@pytest.mark.parametrize("kind", ["containers", "files", "container files"])
def test_an_id_that_was_staged_is_not_given_out_again(world: World, control: httpx2.Client, kind: str) -> None:
    """On a frozen clock it is known which ids a world gives out next, and a seed may hold them already."""

    def made() -> str:
        if kind == "containers":
            return make(world)
        form = {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "vision"} if kind == "files" else {}}
        path = "/files" if kind == "files" else "/containers/cntr_mine/files"
        return str(ok(world.http.post(path, **form))["id"])

    def place(*ids: str) -> None:
        things = [{"id": id, "filename": "b.txt", "content": "staged"} for id in ids]
        box = {"id": "cntr_mine", "name": "box", "files": things if kind == "container files" else []}
        boxes = [{"id": id, "name": "staged"} for id in ids] if kind == "containers" else []
        seed = {"version": 1, "containers": [box, *boxes], "files": things if kind == "files" else []}
        ok(control.post("/place", json=seed))

    world.freeze()
    place()
    first = [made() for _ in range(8)]
    ok(control.post("/reset?empty=true"))
    world.freeze()
    place(*first[4:6])
    second = [made() for _ in range(8)]
    assert not set(second) & set(first[4:6])
    assert set(second) & set(first), "it gave out others, so that this proved nothing"
    assert len(set(second)) == 8


# Time


def test_expiring_needs_no_time(world: World, control: httpx2.Client) -> None:
    world.freeze()
    day = {"anchor": "created_at", "days": 1}
    for box in (
        make(world),
        make(world, expires_after=day),
        make(world, expires_after={"anchor": "last_active_at", "minutes": 1}),
    ):
        assert ok(control.get(f"/containers/{box}"))["status"] == "running"
        told = ok(control.post(f"/containers/{box}/expire"))
        assert (told["status"], told["expires_in"]) == ("expired", 0)
        assert ok(control.post(f"/containers/{box}/expire")) == told, "twice is once"
        shown = ok(world.http.get(f"/containers/{box}"))
        assert shown["status"] == "expired"
        assert shown["expires_after"] == told["expires_after"], "what was asked for stays"
        with pytest.raises(openai.NotFoundError, match="expired"):
            world.openai.containers.files.list(box)
        error_message(control.post(f"/containers/{box}/touch"), 400, None)
    assert ok(control.get("/clock"))["now"] == NOON, "the clock stays"


def test_touching_is_activity(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = make(world)
    world.advance(19 * 60)
    assert ok(control.get(f"/containers/{box}"))["expires_in"] == 60
    told = ok(control.post(f"/containers/{box}/touch"))
    assert (told["expires_in"], told["last_active_at"]) == (1_200, NOON + 19 * 60)


def test_looking_is_no_activity(world: World, control: httpx2.Client) -> None:
    world.freeze()
    box = make(world)
    file = put(control, box)
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
    put(control, box)
    ok(control.delete(f"/containers/{box}/files/{file['id']}"))
    assert ok(control.get(f"/containers/{box}"))["last_active_at"] == NOON


def test_looking_makes_no_world(control: httpx2.Client) -> None:
    for path in ("/containers", "/containers/cntr_a", "/containers/cntr_a/files", "/files", "/files/file-a", "/export"):
        error_message(control.get(path), 404, "world_not_found")
    ok(control.post("/containers", json={"name": "auto"}))
    assert ok(control.get("/containers"))["total"] == 1


# Lists


def test_lists_are_filtered_paged_and_counted(world: World, control: httpx2.Client) -> None:
    world.freeze()
    for n in range(5):
        make(world, f"Report {n}")
    boxes = [make(world, "auto") for _ in range(4)]
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
    assert [each["id"] for each in rest["data"]] == seen[4:], "a deleted object is still a cursor"
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
def test_lists_are_sorted(world: World, control: httpx2.Client, path: str, sort: str, names: str) -> None:
    """Page by page, both ways, and on after an object that was deleted."""
    sizes = {"y": 30, "x": 20, "z": 10}
    for name, created, active, minutes in (("b", -60, -1, 5), ("c", -30, -3, 30), ("a", -10, -2, 20)):
        ages = {"created_at": f"{created}m", "last_active_at": f"{active}m", "expires_after": {"minutes": minutes}}
        files = [{"path": each, "content": "x" * size} for each, size in sizes.items()]
        ok(control.post("/containers", json={"id": f"cntr_{name}", "name": name, **ages, "files": files}))
    for name, size in sizes.items():
        ok(control.post("/files", files={"file": (name, b"x" * size)}))

    def found(order: str, **query: Any) -> list[dict[str, Any]]:
        return list(ok(control.get(f"/{path}", params={"sort": sort, "order": order, **query}))["data"])

    def shown(rows: list[dict[str, Any]]) -> str:
        return "".join((row.get("name") or row.get("filename") or row["path"])[-1] for row in rows)

    assert shown(found("asc")) == names
    assert shown(found("desc")) == names[::-1]
    first, second = found("asc", limit=2)
    assert shown(found("asc", after=first["id"], limit=1)) == names[1]
    ok(control.delete(f"/{path}/{second['id']}"))
    assert shown(found("asc", after=second["id"])) == names[2]


def test_one_file_of_a_container_is_read(world: World, control: httpx2.Client) -> None:
    box = make(world)
    file = put(control, box, path="out.txt")
    assert ok(control.get(f"/containers/{box}/files/{file['id']}")) == file
    error_message(control.get(f"/containers/{box}/files/cfile_none"), 404, None)


def test_files_are_filtered_paged_and_counted(world: World, control: httpx2.Client) -> None:
    for n, purpose in enumerate(["vision", "user_data", "vision"]):
        ok(control.post("/files", files={"file": (f"Sales {n}.csv", b"x" * n)}, data={"purpose": purpose}))
    page = ok(control.get("/files?purpose=vision&limit=1"))
    assert (page["total"], page["has_more"], page["data"][0]["filename"]) == (2, True, "Sales 2.csv")
    assert ok(control.get("/files?search=sales%201"))["total"] == 1
    box = make(world)
    for name in ("one.txt", "two.txt"):
        put(control, box, path=name)
    page = ok(control.get(f"/containers/{box}/files?search=ONE"))
    assert (page["total"], page["data"][0]["size"], page["data"][0]["bytes"]) == (1, 5, None)
    ok(control.delete(f"/files/{ok(control.get('/files'))['data'][0]['id']}"))
    assert ok(control.get("/files"))["total"] == 2


def test_the_files_of_a_container_are_paged_by_its_own(control: httpx2.Client) -> None:
    """The same id can be in two containers; the cursor is the one of this."""

    def inside(box: str, ages: range) -> dict[str, Any]:
        files = [{"id": f"cfile_{n}", "path": f"{n}", "content": "x", "created_at": f"-{n}m"} for n in ages]
        return {"id": box, "name": box, "files": files}

    both = [inside("cntr_young", range(1, 4)), inside("cntr_old", range(3, 6))]
    both[1]["files"][0]["created_at"] = "-9m"
    ok(control.post("/place", json={"containers": both}))
    for box, expected in (("cntr_young", [1, 2, 3]), ("cntr_old", [4, 5, 3])):
        seen, query, more = [], {"limit": 1}, True
        while more:
            page = ok(control.get(f"/containers/{box}/files", params=query))
            seen.append(page["data"][0]["id"])
            more, query = page["has_more"], {"limit": 1, "after": seen[-1]}
        assert seen == [f"cfile_{n}" for n in expected]
    error_message(control.get("/containers/cntr_young/files?after=cfile_5"), 400, "invalid_value")


def test_thousands_of_containers_are_counted_and_paged(world: World, control: httpx2.Client) -> None:
    box = {"name": "box {n}", "repeat": 3_000, "files": [{"path": "a.txt", "content": "four"}]}
    ok(control.post("/place", json={"containers": [box]}))
    page = ok(control.get("/containers?limit=50"))
    assert (page["total"], len(page["data"]), page["has_more"]) == (3_000, 50, True)
    assert {(each["file_count"], each["total_bytes"]) for each in page["data"]} == {(1, 4)}
    assert ok(control.get("/containers", params={"name": "box 2777"}))["total"] == 1


# Previews and uploads

CUT_OFF = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(2 << 20)


@pytest.mark.parametrize(
    ("content", "shown", "kind"),
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
def test_previews_are_harmless(world: World, control: httpx2.Client, content: bytes, shown: bytes, kind: str) -> None:
    box = make(world)
    file = put(control, box, content, name="page.html")
    upload = ok(control.post("/files", files={"file": ("page.html", content)}, data={"purpose": "user_data"}))
    for path in (f"/containers/{box}/files/{file['id']}/preview", f"/files/{upload['id']}/preview"):
        answer = control.get(path)
        assert answer.content == shown
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-security-policy"].startswith("sandbox")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-content-size"] == str(len(content))
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
def test_contents_are_saved_whole_and_only_pictures_and_pdfs_are_shown(
    world: World, control: httpx2.Client, content: bytes, kind: str | None
) -> None:
    world.freeze()
    box = make(world)
    file = put(control, box, content * 50_000, path="plots/ü.html")
    upload = ok(control.post("/files", files={"file": ("ü.html", content * 50_000)}, data={"purpose": "user_data"}))
    world.advance(300)
    for path in (f"/containers/{box}/files/{file['id']}/content", f"/files/{upload['id']}/content"):
        saved, shown = control.get(path), control.get(f"{path}?inline=true")
        assert saved.content == shown.content == content * 50_000
        assert saved.headers["content-type"] == "application/octet-stream"
        assert saved.headers["content-disposition"].startswith("attachment; filename=")
        assert "filename*=UTF-8''%C3%BC.html" in saved.headers["content-disposition"]
        assert shown.headers["content-type"] == (kind or "application/octet-stream")
        assert shown.headers["content-disposition"].startswith("inline" if kind else "attachment")
        for answer in (saved, shown):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["content-security-policy"].startswith("sandbox") == (
                answer.headers["content-type"] != "application/pdf"
            )
        error_message(control.get(path.replace("/files/", "/files/x")), 404, None)
    assert ok(control.get(f"/containers/{box}"))["last_active_at"] == NOON, "it is no activity"


def test_what_is_not_there_is_refused(world: World, control: httpx2.Client) -> None:
    box = make(world)
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
    ("sent", "param"),
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
        ({"content": CUT_OFF, "headers": {"content-type": "multipart/form-data; boundary=x"}}, "body"),
        ({"content": b"nothing", "headers": {"content-type": "multipart/form-data"}}, "body"),
    ],
)
def test_forms_that_make_no_sense_are_refused(
    world: World, control: httpx2.Client, sent: dict[str, Any], param: str
) -> None:
    box = make(world)
    answer = control.post(f"/containers/{box}/files", **sent)
    assert error_message(answer, 400, "invalid_parameter").startswith(f"{param}: ")
    assert ok(control.get(f"/containers/{box}"))["file_count"] == 0
    assert list((world.server.mock.directory / "uploads").iterdir()) == []


def test_uploads_are_limited_as_the_apis_are() -> None:
    with MockServer(max_upload=1_000) as server:
        files = f"{server.url}/_mock/worlds/w/files"
        assert ok(httpx2.post(files, files={"file": bytes(1_000)}))["bytes"] == 1_000
        error_message(httpx2.post(files, files={"file": bytes(1_001)}), 413, "file_too_large")
        error_message(httpx2.post(files, files={"file": bytes(2 << 20)}), 413, "file_too_large")
        headers = {"content-type": "multipart/form-data; boundary=x"}
        error_message(httpx2.post(files, content=iter([CUT_OFF]), headers=headers), 413, "file_too_large")
        assert list((server.mock.directory / "uploads").iterdir()) == []


# The page


def test_the_page_loads_nothing_from_elsewhere(server: MockServer) -> None:
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


def test_staged_names_have_no_directories_and_paths_stay_below_them(world: World, control: httpx2.Client) -> None:
    box = ok(control.post("/containers", json={"name": "box"}))["id"]
    for name in ("../../a.csv", "/etc/a.csv", "C:\\x\\a.csv"):
        assert ok(control.post("/files", files={"file": (name, b"x")}))["filename"] == "a.csv"
        assert put(control, box, name=name)["path"].endswith("-a.csv")
    for path in ("../a.csv", "/mnt/data/../../etc/a.csv", "x\\..\\..\\a.csv", ".."):
        answer = control.post(f"/containers/{box}/files", files={"file": b"x"}, data={"path": path})
        assert "no '..'" in error_message(answer, 400, "invalid_parameter")
        answer = control.post("/containers", json={"name": "x", "files": [{"path": path, "content": "x"}]})
        assert "no '..'" in error_message(answer, 400, "invalid_seed")
    assert put(control, box, path="a..b/..c.csv")["path"] == "/mnt/data/a..b/..c.csv"


@pytest.mark.parametrize("purpose", ["assistants_output", "batch_output"])
def test_files_that_the_api_itself_creates_can_be_staged(world: World, control: httpx2.Client, purpose: str) -> None:
    file = ok(control.post("/files", files={"file": ("out.jsonl", b"{}\n")}, data={"purpose": purpose}))
    assert [each.id for each in world.openai.files.list(purpose=purpose)] == [file["id"]]
    assert world.openai.files.content(file["id"]).read() == b"{}\n"
    answer = world.http.post("/files", files={"file": b"x"}, data={"purpose": purpose})
    assert "is not one of" in error_message(answer, 400, None)
