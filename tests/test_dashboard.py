"""The dashboard in a real browser, and the files that the server sends for it."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
import pytest
from conftest import World, error_message, new_world, ok
from journal_records import record
from skill_bundles import MANIFEST, zipped

from mockserver.server.serving import MockServer

pytestmark = pytest.mark.slow  # drives a browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

TIMEOUT_MS = 60_000
"""Milliseconds to wait for an element before the test fails."""
CODE_INTERPRETER: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]
STATIC = Path(__file__).parent.parent / "mockserver" / "control" / "static"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060"
    "00000004000167aa93e80000000049454e44ae426082"
)
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


class Dashboard:
    """The page of one world.

    `problems` collects requests to other origins, and errors and warnings in the browser's console.
    """

    def __init__(self, page: "Page", world: World) -> None:
        self.page = page
        self.world = world
        self.problems: list[str] = []
        self.expected: list[str] = []
        """Parts of console messages that are no problem: the browser logs each error response."""
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self._check_origin(request.url))

    def _check_origin(self, url: str) -> None:
        viewer = ("chrome://", "chrome-extension://")  # the PDF viewer that comes with Chromium
        if not url.startswith((self.world.server.url + "/", *viewer)):
            self.problems.append(f"a request to {url}")

    def open(self, *path: str) -> "Dashboard":
        self.page.goto(f"{self.world.server.url}/_mock/#/{'/'.join((self.world.name, *path))}")
        self.page.locator("#connection.on").wait_for()
        return self

    def button(self, name: str) -> "Locator":
        return self.page.get_by_role("button", name=name, exact=True)

    def open_view(self, name: str) -> None:
        """Open a view, and wait until it has taken the place of the one before."""
        self.page.locator(f"nav [data-view={name}]").click()
        self.page.locator(f"nav [data-view={name}][aria-current=page]").wait_for()

    def fill_form(self, **values: str) -> None:
        for name, value in values.items():
            field = self.page.locator(f"dialog[open] [name={name}]")
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def expect_rows(self, *texts: str, within: str = "main .split > .list > .rows") -> None:
        """Wait until the list has as many rows as texts, and each row contains its text."""
        from playwright.sync_api import expect

        found = self.page.locator(f"{within} > li")
        expect(found).to_have_count(len(texts), timeout=TIMEOUT_MS)
        for index, text in enumerate(texts):
            expect(found.nth(index)).to_contain_text(text, timeout=TIMEOUT_MS)

    def expect_text(self, text: str, within: str = "body") -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(within)).to_contain_text(text, timeout=TIMEOUT_MS)

    def expect_fact(self, term: str, value: str) -> None:
        from playwright.sync_api import expect

        found = self.page.locator(f"dt:text-is({term!r}) + dd")
        expect(found).to_have_text(value, timeout=TIMEOUT_MS)

    def expect_range(self, text: str | re.Pattern[str]) -> None:
        """Wait until the pager shows this range of rows."""
        from playwright.sync_api import expect

        expect(self.page.locator(".split > .list > .pager span")).to_have_text(text, timeout=TIMEOUT_MS)

    def bounding_boxes(self, selector: str) -> list[dict[str, Any]]:
        """Measure all matching elements at the same moment."""
        return list(
            self.page.locator(selector).evaluate_all(
                "found => found.map(each => each.getBoundingClientRect().toJSON())"
            )
        )

    def clipboard(self) -> str:
        return str(self.page.evaluate("() => navigator.clipboard.readText()"))

    def control(self, method: str, path: str, **kwargs: Any) -> Any:
        return ok(httpx2.request(method, f"{self.world.server.url}/_mock/worlds/{self.world.name}{path}", **kwargs))


@pytest.fixture
def dashboard(page: "Page", world: World) -> Iterator[Dashboard]:
    dashboard = Dashboard(page, world)
    yield dashboard
    unexpected = [each for each in dashboard.problems if not any(part in each for part in dashboard.expected)]
    assert unexpected == []


def create_container(world: World, name: str, **body: Any) -> dict[str, Any]:
    return dict(ok(world.http.post("/containers", json={"name": name, **body})))


def upload_file(world: World, container: str, name: str, content: bytes) -> dict[str, Any]:
    return dict(ok(world.http.post(f"/containers/{container}/files", files={"file": (name, content)})))


# Serving


def test_the_page_has_a_strict_security_policy_and_static_files_have_etags(server: MockServer) -> None:
    page = httpx2.get(f"{server.url}/_mock/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert (STATIC.parent / "access.py").exists()
    error_message(httpx2.get(f"{server.url}/_mock/static/..%2faccess.py"), 404, None)
    names = {each.name for each in STATIC.iterdir()}
    assert len(names) > 5
    for name in names:
        response = httpx2.get(f"{server.url}/_mock/static/{name}")
        assert response.content == (STATIC / name).read_bytes()
        assert (
            response.headers["content-type"].split(";")[0]
            == {
                ".js": "text/javascript",
                ".css": "text/css",
                ".html": "text/html",
                ".svg": "image/svg+xml",
            }[Path(name).suffix]
        )
        again = httpx2.get(f"{server.url}/_mock/static/{name}", headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_all_static_files_together_are_smaller_than_150_kb() -> None:
    assert 50_000 < sum(each.stat().st_size for each in STATIC.iterdir()) < 150_000


def test_the_page_preloads_every_module() -> None:
    """Otherwise the browser would find out about a module only once it has loaded another that imports it."""
    page = (STATIC / "index.html").read_text()
    modules = {each.name for each in STATIC.glob("*.js")} - {"theme.js"} | {"facts.js"}
    assert {name for name in modules if f'href="static/{name}"' in page} == modules - {"app.js"}


def test_the_root_url_links_browsers_to_the_dashboard_and_sends_api_clients_an_error(server: MockServer) -> None:
    html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = httpx2.get(f"{server.url}/", headers=html)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'href="_mock/"' in page.text
    assert httpx2.get(f"{server.url}/_mock").headers["location"] == "_mock/"
    for headers in ({}, {"Accept": "application/json"}):
        assert "Invalid URL" in error_message(
            httpx2.get(server.url, headers={"Authorization": "Bearer k", **headers}), 404, None
        )
    error_message(httpx2.get(f"{server.url}/", headers={**html, "Host": "attacker.example"}), 403, "forbidden_host")


# Live updates


def test_the_page_updates_while_clients_send_requests(dashboard: Dashboard, world: World) -> None:
    dashboard.open()
    dashboard.expect_text("Real time", "#clock .mode")
    dashboard.expect_text("Connected", "#connection")
    dashboard.expect_text(f"export OPENAI_BASE_URL={world.server.url}/w/{world.name}/v1 OPENAI_API_KEY=sk-test")
    world.freeze()
    first = create_container(world, "first", memory_limit="4g", network_policy={"type": "disabled"})
    dashboard.expect_rows("first")
    upload_file(world, first["id"], "notes.txt", b"x" * 2048)
    create_container(world, "second")
    dashboard.expect_rows("second", "first")
    dashboard.expect_text("Profile: default", "#profile")
    row = dashboard.page.locator("main li", has_text="first")
    for text in ("20:00", "1 file", "2.0 KB", "4g", "disabled", f"cntr_{first['id'][5:9]}…{first['id'][-6:]}"):
        assert text in (row.text_content() or "")
    assert row.evaluate("row => row.offsetHeight") == 36
    world.advance(19 * 60)
    create_container(world, "third")
    dashboard.button("+1 min").click()
    dashboard.expect_text("2 expired", "#notice")
    dashboard.page.locator("main li:has(.over)", has_text="first").wait_for()
    dashboard.page.locator("main li:has(.fine)", has_text="third").wait_for()
    dashboard.open_view("journal")
    dashboard.expect_rows("CreateContainer", "CreateContainer", "CreateContainerFile", "CreateContainer")
    world.http.get("/containers/cntr_nope")
    dashboard.expect_rows("Container with id 'cntr_nope' not found.", "third", "second", "first", "first")


HOSTILE = "<img src=x onerror=alert(1)>"
HOSTILE_SVG = (
    b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>parent.alert(1);alert(1)</script></svg>"
)


def test_markup_and_scripts_sent_by_clients_are_shown_but_never_run(dashboard: Dashboard, world: World) -> None:
    alerts: list[str] = []
    dashboard.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    box = create_container(world, HOSTILE)
    for name in (HOSTILE, f"{HOSTILE}.html", "evil.svg", "evil.html", "evil.json", "evil.csv"):
        upload_file(
            world, box["id"], name, HOSTILE_SVG if "json" not in name else json.dumps({HOSTILE: HOSTILE}).encode()
        )
    ok(world.http.post("/files", files={"file": (f"{HOSTILE}.svg", HOSTILE_SVG)}, data={"purpose": "user_data"}))
    world.http.get(f"/containers/{HOSTILE}?after=<script>alert(1)</script>", headers={"x-evil": HOSTILE})
    dashboard.control(
        "POST", "/faults", json={"match": {"path": f"/{HOSTILE}"}, "effect": {"body": HOSTILE, "status": 500}}
    )
    dashboard.open("containers", box["id"])
    files = dashboard.page.locator(".object .list a")
    files.nth(5).wait_for()
    dashboard.expect_rows(HOSTILE)
    for index in range(6):
        files.nth(index).click()
        dashboard.page.locator(".file .preview > *").first.wait_for()
        assert dashboard.page.locator("main img, main script, main iframe").count() == 0
    dashboard.open_view("files")
    dashboard.page.locator("main li.row a").click()
    dashboard.expect_text("<script>parent.alert(1)", ".preview")
    dashboard.open_view("journal")
    dashboard.page.locator("main li.row a").first.click()
    dashboard.page.locator(".pane summary").first.click()
    dashboard.expect_text(HOSTILE, ".pane .headers >> nth=0")
    dashboard.open_view("faults")
    dashboard.expect_text(HOSTILE, "main .rows")
    for each in dashboard.control("GET", f"/containers/{box['id']}/files")["data"]:
        url = f"{world.server.url}/_mock/worlds/{world.name}/containers/{box['id']}/files/{each['id']}"
        dashboard.page.goto(f"{url}/preview")  # as a page of its own, outside of the dashboard
        inline = httpx2.get(f"{url}/content?inline=true")
        assert inline.headers["content-type"] == "application/octet-stream"
        assert inline.headers["content-disposition"].startswith("attachment")
        assert inline.headers["content-security-policy"].startswith("sandbox;")
    assert alerts == []


# Worlds


def test_worlds_can_be_switched_and_created(dashboard: Dashboard, world: World, server: MockServer) -> None:
    page = dashboard.page
    with new_world(server) as other:
        create_container(other, "theirs")
        dashboard.open()
        dashboard.expect_text("Create the world")
        dashboard.button("Create the world").click()
        dashboard.expect_text("No containers yet")
        page.keyboard.press("w")
        page.get_by_role("searchbox", name="Search worlds").fill(other.name)
        row = page.locator(".switcher li", has_text=other.name)
        dashboard.expect_text("1 container, 0 files", ".switcher")
        create_container(other, "theirs too")
        dashboard.expect_text("2 containers, 0 files", ".switcher")
        row.get_by_role("button").click()
        dashboard.expect_rows("theirs too", "theirs")
        assert f"#/{other.name}/containers" in page.url
        page.locator("#world").click()
        dashboard.button("New world").click()
        dashboard.fill_form(name="no spaces allowed")
        dashboard.expected = ["400"]
        dashboard.button("Create").click()
        dashboard.expect_text("Invalid world name", "dialog .problem")
        dashboard.fill_form(name=f"{other.name}-new")
        dashboard.button("Create").click()
        dashboard.expect_text("No containers yet")
        assert f"#/{other.name}-new/" in page.url
        page.go_back()
        dashboard.expect_rows("theirs too", "theirs")


# Clock


def test_the_clock_can_be_frozen_moved_scaled_and_reset(dashboard: Dashboard, world: World) -> None:
    world.freeze()
    create_container(world, "box")
    dashboard.open()
    dashboard.expect_text("2026-06-24 18:04:00 UTC", "#clock")
    for name, shown in (("+1 min", "18:05:00"), ("+5 min", "18:10:00"), ("+20 min", "18:30:00")):
        dashboard.button(name).click()
        dashboard.expect_text(shown, "#clock")
    dashboard.page.locator("li .ring.over").wait_for()
    dashboard.button("Resume").click()
    dashboard.expect_text("Offset", "#clock .mode")
    dashboard.page.keyboard.press("f")
    dashboard.expect_text("Frozen", "#clock .mode")
    dashboard.page.locator("#clock .face").click()
    for action, values, shown in (
        ("Freeze: Freeze at (UTC)", {"at": "2026-06-24T18:04:00"}, "18:04:00"),
        ("Move: Move forward by", {"by": "1.5", "by_unit": "h"}, "19:34:00"),
        ("Set: Seconds that pass in each second", {"rate": "60"}, "60 × as fast"),
        ("Set: Differ from real time by", {"offset": "2", "offset_unit": "d", "sign": "-"}, "Offset"),
        ("Reset: Show real time", {}, "Real time"),
    ):
        dashboard.fill_form(**values)
        dashboard.button(action).click()
        dashboard.expect_text(shown, "#clock")
    dashboard.expected = ["400"]
    dashboard.fill_form(rate="10000000")
    dashboard.button("Set: Seconds that pass in each second").click()
    dashboard.expect_text("rate: Input should be less than or equal to 1000000", "dialog .problem")
    dashboard.page.keyboard.press("Escape")


def test_the_remaining_time_of_a_container_counts_down(dashboard: Dashboard, world: World) -> None:
    world.freeze()
    create_container(world, "box")
    dashboard.open()
    dashboard.expect_text("20:00", "main li .left")
    dashboard.control("POST", "/clock/advance", json={"by": "15m"})
    dashboard.expect_text("5:00", "main li .left")
    dashboard.control("POST", "/clock/resume")
    dashboard.page.locator("li .ring.little").wait_for()  # less than a quarter of the time is left
    dashboard.control("POST", "/clock/scale", json={"rate": 600})
    dashboard.page.locator("li .ring.over").wait_for()
    dashboard.expect_text("Expired", "main li .left")


# Containers


def test_containers_can_be_created_searched_touched_expired_and_deleted(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    world.freeze()
    create_container(world, "alpha")
    dashboard.open()
    page.keyboard.press("n")
    dashboard.fill_form(name="beta", memory_limit="16g", network="disabled", minutes="90")
    dashboard.button("Create").click()
    dashboard.expect_text("2026-06-24 19:34:00 UTC, 90 minutes after its last use", ".pane")
    (beta,) = (each for each in ok(world.http.get("/containers"))["data"] if each["name"] == "beta")
    assert (beta["memory_limit"], beta["network_policy"]) == ("16g", {"type": "disabled"})
    page.keyboard.press("Escape")
    page.locator("main li", has_text="beta").locator(".copyable").click()
    dashboard.expect_text("Id copied", "#notice")
    assert dashboard.clipboard() == beta["id"]
    search = page.get_by_role("searchbox", name="Search name or id")
    search.fill("ALP")
    dashboard.expect_rows("alpha")
    search.fill("nothing like it")
    dashboard.expect_text("No container matches.")
    search.fill("")
    dashboard.expect_rows("beta", "alpha")
    page.get_by_role("link", name="alpha").click()
    world.advance(600)
    dashboard.button("Touch").click()
    dashboard.expect_text("2026-06-24 18:14:00 UTC", ".pane")
    dashboard.button("Expire now").click()
    page.locator(".pane .ring.over").wait_for()
    assert dashboard.button("Touch").is_disabled()
    page.keyboard.press("Escape")
    page.get_by_label("Status").select_option("expired")
    dashboard.expect_rows("alpha")
    page.get_by_role("link", name="alpha").click()
    dashboard.button("Delete").click()
    dashboard.expect_text("No container matches.")
    assert [each["name"] for each in ok(world.http.get("/containers"))["data"]] == ["beta"]
    assert [each["operation"] for each in dashboard.control("GET", "/journal")["data"]] == [
        "CreateContainer",
        "ListContainers",
        "ListContainers",
    ], "the journal has no requests of the dashboard"


def test_a_list_can_be_sorted_and_several_rows_deleted_at_once(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    world.freeze()
    dashboard.control("POST", "/place", json={"containers": [{"name": "box {n}", "repeat": 60}]})
    dashboard.open()
    dashboard.expect_range("1–50 of 60")
    first = page.locator("main .rows > li").first
    for name in ("box 1", "box 9"):
        dashboard.button("Sort by Name").click()
        first.get_by_role("link", name=name, exact=True).wait_for()
    dashboard.button("Next").click()
    dashboard.expect_range("51–60 of 60")
    dashboard.expect_text("box 18", "main .rows > li >> nth=0")
    page.get_by_label("Select box 18").check()
    page.get_by_label("Select box 16").check()
    dashboard.button("Delete 2").click()
    dashboard.expect_text("Delete 2 containers?", "dialog[open]")
    page.locator("dialog[open]").get_by_role("button", name="Delete").click()
    dashboard.expect_range("51–58 of 58")
    page.get_by_label("Select all containers of this page").check()
    dashboard.button("Delete 8").wait_for()
    dashboard.button("Previous").click()
    dashboard.expect_range("1–50 of 58")
    assert not page.get_by_role("button", name="Delete").is_visible(), "the rows of another page are not selected"
    page.get_by_role("link", name="box 19").click()
    dashboard.expect_text("box 19", ".pane h2")
    row = page.locator("main .rows > li.selected")
    assert row.evaluate("row => row.getBoundingClientRect().bottom <= row.parentElement.getBoundingClientRect().bottom")
    page.reload()
    dashboard.expect_range("1–50 of 58")


def test_the_row_of_the_open_object_is_scrolled_into_view(dashboard: Dashboard, world: World) -> None:
    boxes = dashboard.control("POST", "/place", json={"containers": [{"name": "box {n}", "repeat": 45}]})["containers"]
    dashboard.open("containers", boxes[0])  # the last row of the list
    row = dashboard.page.locator("main .rows > li.selected")
    row.wait_for()
    visible = (
        "row => { const { top, bottom } = row.getBoundingClientRect(); return top > 100 && bottom < innerHeight - 40; }"
    )
    dashboard.page.wait_for_function(f"({visible})(document.querySelector('li.selected'))")


def test_the_chosen_theme_survives_a_reload(dashboard: Dashboard) -> None:
    page = dashboard.page
    page.emulate_media(color_scheme="light")
    dashboard.open()
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    dashboard.button("Theme: system").click()
    assert page.evaluate(background) == light
    dashboard.button("Theme: light").click()
    assert page.evaluate(background) != light
    page.reload()
    dashboard.button("Theme: dark").wait_for()
    assert page.evaluate(background) != light
    dashboard.button("Theme: dark").click()
    assert page.evaluate(background) == light


def test_the_api_documentation_uses_the_theme_of_the_dashboard(dashboard: Dashboard) -> None:
    page = dashboard.open().page
    colors = []
    for scheme, theme in (("light", "system"), ("dark", "light"), ("dark", "system"), ("light", "dark")):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        page.goto(f"{dashboard.world.server.url}/_mock/docs")
        page.locator(".opblock").first.wait_for()
        colors.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    light, also_light, dark, also_dark = colors
    assert (also_light, also_dark) == (light, dark)
    assert dark != light


def test_a_profile_and_its_switches_can_be_set(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    create_container(world, "box")
    dashboard.open("world")
    for base, values, shown in (
        ("live", {}, "live"),
        (
            "live",
            {"delete_lag": "5", "delete_lag_unit": "m", "file_routes_when_expired": "400"},
            "live,file_routes_when_expired=400,delete_lag=300",
        ),
        ("docs", {}, "docs"),
        ("", {}, "default"),
    ):
        dashboard.button("Profile").click()
        dashboard.fill_form(base=base)
        assert page.locator("dialog [name=zeros]").is_checked() is False
        dashboard.fill_form(**values)
        dashboard.button("Set").click()
        page.locator("dialog[open]").wait_for(state="detached")
        dashboard.expect_fact("Profile", shown.split(",")[0])
        found = dashboard.control("GET", "")
        assert found["profile_name"].startswith(shown)
    assert found["profile"]["delete_lag"] == 0


def test_a_container_that_never_expires_is_shown_without_a_limit(dashboard: Dashboard, world: World) -> None:
    dashboard.control("PUT", "/profile", json={"name": "docs"})
    create_container(world, "forever")
    dashboard.open()
    dashboard.expect_text("No limit", "main li")
    dashboard.page.get_by_role("link", name="forever").click()
    dashboard.expect_text("never", ".pane")


# Files


def test_the_preview_of_a_file_depends_on_its_content(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    box = create_container(world, "box")["id"]
    shown = {
        "notes.txt": (b"one\ntwo <b>three</b>", "pre", "two <b>three</b>"),
        "data.json": (b'{"a": [1, true, null], "b": "<i>"}', "pre.json .key", '"a"'),
        "table.csv": (b'name,count\n"a, ""b""",3\n', "table td", 'a, "b"'),
        "raw.bin": (b"\x00\x01\xffABC", "pre", "00 01 ff 41"),
        "nothing.txt": (b"", "p", "The file is empty."),
    }
    ids = {name: upload_file(world, box, name, content)["id"] for name, (content, _, _) in shown.items()}
    dashboard.open("containers", box)
    for name, (_, selector, text) in shown.items():
        page.locator(f".object .list a[data-id={ids[name]}]").click()
        dashboard.expect_text(text, f".file .preview {selector} >> nth=0")
    for name in ("picture.png", "png.txt"):
        id = upload_file(world, box, name, PNG)["id"]
        page.locator(f".object .list a[data-id={id}]").click()
        picture = page.locator(".file img")
        picture.wait_for()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    long = upload_file(world, box, "long.txt", b"line of text\n" * 20_000)["id"]
    page.locator(f".object .list a[data-id={long}]").click()
    dashboard.expect_text("The first of 254 KB.", ".preview")
    dashboard.button("Show more").click()
    page.locator(".preview p").wait_for(state="detached")
    assert page.locator(".preview pre").inner_text().count("line of text") == 20_000


def test_a_pdf_is_shown_by_the_viewer_of_the_browser(dashboard: Dashboard, world: World) -> None:
    box = create_container(world, "box")["id"]
    file = upload_file(world, box, "paper.pdf", PDF)["id"]
    with dashboard.page.expect_response(lambda response: "inline" in response.url) as waited:
        dashboard.open("containers", box, file)
    assert waited.value.headers["content-type"] == "application/pdf"
    assert waited.value.headers["x-content-type-options"] == "nosniff"
    assert dashboard.page.locator("iframe.pdf").is_visible()
    other = httpx2.get(waited.value.url.replace(file, upload_file(world, box, "paper.html", b"<p>" + PDF)["id"]))
    assert other.headers["content-type"] == "application/octet-stream"


def test_container_files_can_be_uploaded_dropped_downloaded_and_deleted(
    dashboard: Dashboard, world: World, tmp_path: Path
) -> None:
    page = dashboard.page
    box = create_container(world, "box")["id"]
    dashboard.open("containers", box)
    dashboard.expect_text("No files yet.", ".pane")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "its.txt").write_text("its")
    page.get_by_label("Upload as user").set_input_files(tmp_path / "mine.txt")
    dashboard.expect_rows("mine.txt", within=".object .list > .rows")
    page.get_by_label("Upload as assistant").set_input_files(tmp_path / "its.txt")
    dashboard.expect_rows("its.txt", "mine.txt", within=".object .list > .rows")
    drop(page, ".object", "as assistant", "dropped.txt")
    dashboard.expect_rows("dropped.txt", "its.txt", "mine.txt", within=".object .list > .rows")
    files = ok(world.http.get(f"/containers/{box}/files"))["data"]
    assert [(each["source"], each["bytes"]) for each in files] == [
        ("assistant", None),
        ("assistant", None),
        ("user", 4),
    ]
    assert files[0]["path"] == "/mnt/data/dropped.txt"
    page.locator(".object .list a").nth(1).click()
    with page.expect_download() as waited:
        page.locator(".file").get_by_role("link", name="Download").click()
    assert waited.value.suggested_filename == "its.txt"
    assert waited.value.path().read_text() == "its"
    page.locator(".file").get_by_role("button", name="Delete").click()
    dashboard.expect_rows("dropped.txt", "mine.txt", within=".object .list > .rows")


def drop(page: "Page", over: str, zone: str, name: str) -> None:
    """Drop a file from the desktop on an upload zone."""
    page.evaluate(
        """([over, zone, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["dropped"], name));
            const fire = (element, kind) =>
                element.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
            fire(document.querySelector(over), "dragenter");
            const target = [...document.querySelectorAll(".zone")].find(
                (each) => each.checkVisibility() && each.textContent.endsWith(zone));
            fire(target, "dragenter");
            fire(target, "dragover");
            fire(target, "drop");
        }""",
        [over, zone, name],
    )


def test_an_object_is_deleted_after_the_requests_in_progress_for_it(dashboard: Dashboard, world: World) -> None:
    """Otherwise they get 404 if the server handles the deletion first, which the browser logs as an error."""
    page = dashboard.page
    box = create_container(world, "box")["id"]
    dashboard.open("containers", box)
    dashboard.expect_text("box", ".pane h2")
    methods: list[str] = []
    held: list[Any] = []
    page.on("request", lambda request: methods.append(request.method))
    with page.expect_request(lambda request: request.url.endswith(box)):
        page.route(
            f"**/containers/{box}",
            lambda route: held.append(route) if route.request.method == "GET" else route.continue_(),
        )
        ok(world.http.post(f"/containers/{box}/files", files={"file": ("a.txt", b"a")}))
    dashboard.button("Delete").click()
    page.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
    assert "DELETE" not in methods
    for route in held:
        route.continue_()
    dashboard.expect_rows()
    assert "DELETE" in methods


def test_files_of_the_files_api_can_be_uploaded_dropped_filtered_and_deleted(
    dashboard: Dashboard, world: World, tmp_path: Path
) -> None:
    page = dashboard.page
    world.freeze()
    dashboard.open("files")
    dashboard.expect_text("No files yet")
    (tmp_path / "cases.jsonl").write_text('{"a": 1}\n')
    page.get_by_label("Purpose of uploads").select_option("evals")
    page.get_by_label("Upload", exact=True).set_input_files(tmp_path / "cases.jsonl")
    dashboard.expect_rows("cases.jsonl")
    drop(page, ".list", "Upload", "more.txt")
    dashboard.expect_rows("more.txt", "cases.jsonl")
    page.get_by_label("Purpose", exact=True).select_option("user_data")
    dashboard.expect_text("No file matches.")
    page.get_by_label("Purpose", exact=True).select_option("")
    page.get_by_role("link", name="cases.jsonl").click()
    dashboard.expect_text('"a": 1', ".preview")
    dashboard.expect_text("evals", ".pane")
    dashboard.button("Delete").click()
    dashboard.expect_rows("more.txt")
    assert [each["filename"] for each in ok(world.http.get("/files"))["data"]] == ["more.txt"]


# Journal


def test_the_journal_can_be_filtered_and_links_to_objects(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    box = create_container(world, "box")
    upload_file(world, box["id"], "notes.txt", b"bytes")
    world.http.get("/containers/cntr_nope")
    world.http.get("/containers", headers={"x-mock-fault": "server_error"})
    dashboard.open("journal")
    dashboard.expect_rows("500", "404", "box", "box")
    with pytest.raises(httpx2.RemoteProtocolError):
        world.http.get("/files", headers={"x-mock-fault": '{"truncate_after": 5}'})
    ok(world.http.get("/containers?before=" + box["id"]))
    dashboard.expect_rows("before-cursor", "aborted", "500", "404", "box", "box")
    dashboard.button("Errors only").click()
    dashboard.expect_rows("aborted", "500", "Container with id 'cntr_nope' not found.")
    dashboard.button("Errors only").click()
    page.get_by_label("Warning").select_option("*")
    dashboard.expect_rows("before-cursor")
    page.get_by_label("Warning").select_option("")
    dashboard.button("Clear").click()
    dashboard.expect_text("No requests yet")
    for send in (
        lambda: create_container(world, "box"),
        lambda: upload_file(world, box["id"], "notes.txt", b"bytes"),
        lambda: world.http.get("/containers/cntr_nope"),
        lambda: world.http.get("/containers", headers={"x-mock-fault": "server_error"}),
    ):
        send()
    dashboard.expect_rows("500", "404", "200", "200")
    page.get_by_label("Operation").select_option("CreateContainerFile")
    dashboard.expect_rows("CreateContainerFile")
    page.get_by_label("Operation").select_option("")
    page.get_by_label("Status").select_option("5xx")
    dashboard.expect_rows("header")
    world.http.get("/containers", headers={"x-mock-fault": "server_error"})
    dashboard.expect_rows("500", "500")
    page.get_by_label("Status").select_option("")
    page.get_by_role("searchbox").fill("cntr_nope")
    dashboard.expect_rows("404")
    page.get_by_role("searchbox").fill("")
    dashboard.expect_rows("500", "500", "404", "200", "200")
    page.locator("main li a").nth(4).click()
    dashboard.expect_text('"memory_limit"', ".pane .half >> nth=1")
    page.locator(".pane summary").first.click()
    assert "Bearer" not in page.locator(".pane").inner_text()
    page.locator(".pane .linked a").click()
    dashboard.expect_text("box", ".pane h2")
    dashboard.open_view("journal")
    page.locator("main li.row a").nth(3).click()
    page.locator(".pane .linked a").click()
    dashboard.expect_text("notes.txt", ".pane .file h2")
    dashboard.open_view("journal")
    dashboard.button("Clear").click()
    dashboard.expect_text("No requests yet")


def test_an_exchange_can_be_copied_as_a_curl_command_and_as_python_code(
    dashboard: Dashboard, world: World, tmp_path: Path
) -> None:
    page = dashboard.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    awkward = 'it\'s "quoted" é $HOME `x` \\ <b>'
    (tmp_path / "it's.txt").write_bytes(b"bytes")
    file = ok(world.http.post("/files", files={"file": ("it's.txt", b"bytes")}, data={"purpose": "vision"}))
    box = create_container(
        world, awkward, expires_after={"anchor": "last_active_at", "minutes": 5}, file_ids=[file["id"]]
    )
    container_file = upload_file(world, box["id"], "it's.txt", b"bytes")
    world.http.get("/containers", params={"limit": 7, "order": "asc"})
    world.http.get(f"/containers/{box['id']}/files/{container_file['id']}")
    world.http.get(f"/containers/{box['id']}/files/{container_file['id']}/content")
    world.http.get("/files")
    world.http.get(f"/files/{file['id']}")
    skill = ok(world.http.post("/skills", files=[("files[]", ("math/SKILL.md", MANIFEST.encode()))]))
    (tmp_path / "SKILL.md").write_text(MANIFEST)
    world.http.get(f"/skills/{skill['id']}/versions/1")
    world.http.get(f"/skills/{skill['id']}/content")
    upload = {"bytes": 10, "filename": "x.txt", "mime_type": "text/plain", "purpose": "user_data"}
    upload_id = ok(world.http.post("/uploads", json=upload))["id"]
    ok(world.http.post(f"/uploads/{upload_id}/parts", files={"data": ("it's.txt", b"bytes")}))
    ok(world.http.post("/responses", json={"model": "gpt-5", "input": "hello"}))
    dated = {"api-version": "2025-04-01-preview"}
    for prefix, query in (("openai", dated), ("openai/v1", {}), ("api/projects/p/openai/v1", {"api-version": "v1"})):
        containers = f"{world.server.url}/w/{world.name}/{prefix}/containers"
        ok(world.http.post(containers, params=query, json={"name": "azure"}))
        ok(world.http.get(containers, params={"limit": 7, **query}))
        ok(world.http.get(f"{containers}/{box['id']}", params=query))
    count = 14 + 9
    recorded = dashboard.control("GET", f"/journal?last={count}")["data"]
    dashboard.open("journal")
    commands: dict[str, list[str]] = {"curl": [], "Python": []}
    for exchange in recorded:
        page.evaluate("place => { location.hash = place }", f"#/{world.name}/journal/{exchange['number']}")
        dashboard.expect_text(exchange["request_id"], ".pane")
        for name, copied in commands.items():
            dashboard.button(f"Copy as {name}").click()
            dashboard.expect_text(f"{name} copied", "#notice")
            copied.append(dashboard.clipboard())
    for name, copied in commands.items():
        run(name, copied, tmp_path)
        for exchange, repeated in zip(
            recorded, dashboard.control("GET", f"/journal?last={count}")["data"], strict=True
        ):
            for key in ("operation", "method", "path", "query", "status"):
                assert exchange[key] == repeated[key], (name, exchange)
            if exchange["operation"] != "CreateFile":
                assert repeated["request"].get("body") == exchange["request"].get("body")


def run(language: str, programs: list[str], directory: Path) -> None:
    """Run all programs in one process, because each process would have to load the client."""
    command = [sys.executable, "-c", f"for each in {programs!r}: exec(each, {{}})"]
    if language == "curl":
        command = ["bash", "-ec", "\n".join(programs)]
    environment = {**os.environ, "OPENAI_API_KEY": "sk-test", "NO_PROXY": "localhost"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr


def test_the_example_requests_shown_in_an_empty_world_succeed(
    dashboard: Dashboard, world: World, tmp_path: Path
) -> None:
    page = dashboard.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown: dict[str, list[str]] = {"curl": [], "Python": [], "Node": []}
    for view in ("containers", "files", "uploads", "skills"):
        dashboard.open(view)
        for language, copied in shown.items():
            page.get_by_role("tab", name=language).click()
            dashboard.button(f"Copy the {language} example").click()
            dashboard.expect_text(f"{language} copied", "#notice")
            copied.append(dashboard.clipboard())
    page.get_by_role("tab", name="Node").press("ArrowRight")
    dashboard.expect_text("export OPENAI_BASE_URL", "[role=tabpanel]")
    for language in ("curl", "Python"):
        run(language, shown[language], tmp_path)
    created = dashboard.control("GET", "/journal")["data"]
    steps = ("AddUploadPart", "CompleteUpload")
    first = ("CreateContainer", "CreateFile", "CreateUpload")
    assert [each["operation"] for each in created] == [*first, "CreateSkill", *first, *steps, "CreateSkill"]
    assert {each["status"] for each in created} == {200}
    for program in shown["Node"]:
        assert f'new OpenAI({{ baseURL: "{world.base_url}", apiKey: "sk-test" }})' in program


def test_an_exchange_can_be_copied_as_a_seed(dashboard: Dashboard, world: World, server: MockServer) -> None:
    page = dashboard.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    world.freeze()
    file = ok(world.http.post("/files", files={"file": ("f.txt", b"bytes")}, data={"purpose": "user_data"}))
    box = create_container(
        world, 'odd: "name" #1', network_policy={"type": "allowlist", "allowed_domains": ["example.com"]}
    )
    container_file = upload_file(world, box["id"], "notes.txt", b"bytes")
    ok(world.http.get(f"/containers/{box['id']}/files"))
    world.http.get("/containers", headers={"x-mock-fault": '{"error": "rate_limited", "retry_after": 3}'})
    content = f"/containers/{box['id']}/files/{container_file['id']}/content"
    for cut in ('{"truncate_after": 0}', '{"error": "rate_limited", "retry_after": 3, "truncate_after": 5}'):
        with pytest.raises(httpx2.TransportError):
            world.http.get(content, headers={"x-mock-fault": cut})
    seeds = []
    for number in (1, 2, 4, 5, 6, 7):
        dashboard.open("journal", str(number))
        page.reload()
        dashboard.button("Copy as seed").click()
        dashboard.expect_text("seed copied", "#notice")
        seeds.append(dashboard.clipboard())
    with new_world(server) as other:
        control = f"{server.url}/_mock/worlds/{other.name}"
        other.freeze()
        for seed in seeds[:2]:
            ok(httpx2.post(f"{control}/import?replace=false", content=seed))
        assert ok(other.http.get(f"/files/{file['id']}"))["filename"] == "f.txt"
        assert ok(other.http.get("/containers"))["data"] == [box]
        ok(httpx2.delete(f"{control}/containers/{box['id']}"))
        ok(httpx2.post(f"{control}/import?replace=false", content=seeds[2]))
        assert (
            ok(other.http.get(f"/containers/{box['id']}/files/{container_file['id']}"))["path"]
            == container_file["path"]
        )
        ok(httpx2.post(f"{control}/import?replace=false", content=seeds[3]))
        failed = other.http.get("/containers")
        assert (failed.status_code, failed.headers["retry-after"]) == (429, "3")
        ok(other.http.get("/containers"))
        for seed in seeds[4:]:
            ok(httpx2.post(f"{control}/import?replace=false", content=seed))
            with pytest.raises(httpx2.TransportError):
                other.http.get(content)
            assert other.http.get(content).status_code == 200


# Faults


def test_faults_can_be_added_counted_disabled_and_deleted(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    dashboard.open("faults")
    dashboard.expect_text("No faults.")
    assert dashboard.button("Delete all").is_disabled()
    page.get_by_role("button", name="429 twice").click()
    dashboard.expect_rows("rate_limited", within="main .rows")
    assert [world.http.get("/containers").status_code for _ in range(3)] == [429, 429, 200]
    dashboard.expect_text("2 times fired of 2", ".fired")
    dashboard.expect_text("3 times matched", ".matched")
    dashboard.expect_text("used up", "main .rows")
    dashboard.button("Re-arm fault-1").click()
    dashboard.expect_text("0 times fired of 2", ".fired")
    assert [world.http.get("/containers").status_code for _ in range(3)] == [429, 429, 200]
    dashboard.button("New fault").click()
    dashboard.fill_form(operation="List*", effect='{"status":503}', times="", skip="1")
    dashboard.expect_text("Valid. List*: returns status 503, after 1 request", "dialog .state")
    dashboard.button("Add").click()
    dashboard.expect_rows("rate_limited", "returns status 503, after 1 request", within="main .rows")
    assert [world.http.get("/containers").status_code for _ in range(2)] == [200, 503]
    page.get_by_role("switch").nth(1).click()
    page.locator("main .rows > li").nth(1).locator("[aria-checked=false]").wait_for()
    assert world.http.get("/containers").status_code == 200
    page.get_by_role("switch").nth(1).click()
    page.locator("main .rows > li").nth(1).locator("[aria-checked=true]").wait_for()
    assert world.http.get("/containers").status_code == 503
    dashboard.expected = ["400"]
    dashboard.button("New fault").click()
    dashboard.fill_form(latency="1.5", latency_unit="m", effect="{}", percent="50")
    dashboard.expect_text("Every request: waits 90 seconds, 1 time, with a probability of 50%", "dialog .state")
    dashboard.fill_form(rule='{"effect": {"error": "no such thing"}}')
    dashboard.expect_text("effect.error: unknown error 'no such thing'", "dialog .state.bad")
    dashboard.fill_form(rule="{")
    dashboard.expect_text("not JSON", "dialog .state.bad")
    dashboard.button("Add").click()
    dashboard.expect_text("not JSON", "dialog .problem")
    dashboard.fill_form(rule='{"id": "mine",\n "effect": {"status": 418, "latency": {"min": 0.5, "max": 60}}}')
    dashboard.expect_text("returns status 418, waits 0.5 seconds to 1 minute", "dialog .state.good")
    dashboard.button("Add").click()
    dashboard.expect_rows("rate_limited", "503", "mine", within="main .rows")
    dashboard.button("Copy mine").click()
    dashboard.expect_text("Valid. Every request: returns status 418", "dialog .state")
    page.keyboard.press("Escape")
    dashboard.button("Delete mine").click()
    dashboard.expect_rows("rate_limited", "503", within="main .rows")
    dashboard.button("Delete all").click()
    dashboard.expect_text("No faults.")
    assert dashboard.button("Delete all").is_disabled()
    for number in range(1, page.locator(".common").count() + 1):
        page.locator(".common").nth(number - 1).click()
        dashboard.expect_rows(*[""] * number, within="main .rows")
    assert number == 8


# Uploads, skills and answers


def test_uploads_and_skills_show_their_parts_files_and_versions(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    upload = world.openai.uploads.create(bytes=10, filename="x.txt", mime_type="text/plain", purpose="user_data")
    skill = world.openai.skills.create(files=("math.zip", zipped()))
    world.openai.skills.versions.create(skill.id, files=("math.zip", zipped()))
    dashboard.open("uploads", upload.id)
    dashboard.expect_rows("pending")
    part = world.openai.uploads.parts.create(upload.id, data=b"0123456789")
    dashboard.expect_fact("Parts", "1 with 10 of 10 bytes")
    file = world.openai.uploads.complete(upload.id, part_ids=[part.id]).file
    dashboard.expect_rows("completed")
    assert file
    dashboard.expect_fact("File", file.id)
    page.locator(".pane a", has_text=file.id).click()
    dashboard.expect_text("0123456789", ".preview")
    dashboard.open_view("uploads")
    page.locator("main li a").click()
    dashboard.button("Delete").click()
    dashboard.expect_text("No uploads yet")
    dashboard.open_view("skills")
    dashboard.expect_rows("2 versions")
    page.locator("main li a").click()
    page.locator(".folder > summary").first.wait_for()
    assert page.locator(".folder > summary").all_text_contents() == ["Version 2 latest", "Version 1 default"]
    page.locator(".folder > summary").nth(1).click()
    page.locator(".folder li summary", has_text="run.py").click()
    dashboard.expect_text("print(1)", ".folder .preview")
    world.openai.skills.update(skill.id, default_version="2")
    dashboard.expect_text("Version 2 default, latest", ".folders")
    with page.expect_download() as download:
        page.locator(".folder").first.locator("summary").first.click()
        page.get_by_role("link", name="Download Version 2").click()
    assert download.value.path().read_bytes() == zipped()
    box = create_container(world, "box", skills=[{"type": "skill_reference", "skill_id": skill.id}])
    dashboard.button("Delete").click()
    dashboard.expect_text("No skills yet")
    dashboard.open("containers", box["id"])
    page.locator(".folder > summary", has_text="basic-math version 2").click()
    page.locator(".folder li summary", has_text="SKILL.md").click()
    dashboard.expect_text("Add or multiply numbers.", ".folder .preview")


def test_answers_can_be_added_counted_and_deleted(dashboard: Dashboard, world: World) -> None:
    dashboard.open("answers")
    dashboard.expect_text("No answers.")
    dashboard.button("New answer").click()
    dashboard.fill_form(when="report", times="2")
    dashboard.expect_text(
        "Valid. “report”: writes report.csv, says “The report is in {links}.”, 2 times", "dialog .state"
    )
    dashboard.button("Add").click()
    dashboard.expect_rows("writes report.csv", within="main .rows")
    run = partial(world.openai.responses.create, model="gpt-5", input="The report, please.", tools=CODE_INTERPRETER)
    run()
    dashboard.expect_text("1 times used of 2", ".fired")
    run()
    dashboard.expect_text("used up", "main .rows")
    dashboard.expected = ["400"]
    dashboard.button("New answer").click()
    dashboard.fill_form(rule='{"say": "x", "sai": "y"}')
    dashboard.expect_text("did you mean", "dialog .state.bad")
    dashboard.fill_form(
        rule='{"id": "wait", "when": {"turn": 2}, "steps": [{"code": "x", "takes": "1m"}, {"say": "[a](sandbox:/a)"}]}'
    )
    dashboard.expect_text("Valid. turn 2: runs code, takes 1 minute, says “a”", "dialog .state.good")
    dashboard.button("Add").click()
    dashboard.expect_rows("report", "wait", within="main .rows")
    dashboard.button("Delete wait").click()
    dashboard.expect_rows("report", within="main .rows")
    dashboard.open_view("journal")
    dashboard.expect_rows("answer answer-1", "answer answer-1")
    dashboard.open_view("answers")
    dashboard.button("Delete all").click()
    dashboard.expect_text("No answers.")


@pytest.mark.parametrize("container", [{"type": "auto"}, "cntr_box", "container-abc123"])
def test_an_exchange_links_to_the_files_that_its_run_created(
    dashboard: Dashboard, world: World, container: Any
) -> None:
    page = dashboard.page
    if isinstance(container, str):
        dashboard.control("POST", "/import", json={"version": 1, "containers": [{"id": container, "name": "box"}]})
    tools = [{"type": "code_interpreter", "container": container}]
    for stream, number in ((False, "1"), (True, "2")):
        name = f"{number}.txt"  # a file of the same name would replace the one that the page shows
        dashboard.control("POST", "/answers", json={"files": [{"path": name, "content": "written"}], "times": 1})
        body = {"model": "gpt-5", "input": "write", "tools": tools, "stream": stream}
        assert world.http.post("/responses", json=body).status_code == 200
        dashboard.open("journal", number)
        page.locator(".pane .linked", has_text="resp_").wait_for()
        assert page.locator(".pane .linked a", has_text="resp_").count() == 0, "a response has no page"
        page.locator(".pane .linked a", has_text="cfile_").click()
        dashboard.expect_fact("Path", f"/mnt/data/{name}")
        dashboard.expect_text("written", ".preview")


# The page of a world


def test_the_page_of_a_world_updates_when_a_client_adds_an_answer(dashboard: Dashboard, world: World) -> None:
    create_container(world, "box")
    dashboard.open("world")
    dashboard.expect_fact("Answers", "0")
    dashboard.control("POST", "/answers", json={"say": "Hello."})
    dashboard.expect_fact("Answers", "1")


def test_a_world_shows_its_verdict_and_can_be_copied_reset_and_deleted(
    dashboard: Dashboard, world: World, tmp_path: Path
) -> None:
    page = dashboard.page
    world.freeze()
    box = create_container(world, "box")
    dashboard.open("verdict")
    dashboard.expect_text("1 finding", "nav [data-view=verdict]")
    dashboard.expect_text("container-never-deleted", ".card")
    page.locator(".card a").first.click()
    dashboard.expect_text("CreateContainer", ".pane h2")
    dashboard.open_view("world")
    dashboard.button("Take a snapshot").click()
    dashboard.fill_form(name="before")
    dashboard.button("Take").click()
    dashboard.expect_rows("before", within="main .rows")
    ok(world.http.delete(f"/containers/{box['id']}"))
    dashboard.expect_text("ok", "nav [data-view=verdict]")
    dashboard.expect_fact("Containers", "0")
    with page.expect_download() as waited:
        page.get_by_role("link", name="Export").click()
    assert waited.value.suggested_filename == f"{world.name}.zip"
    assert "seed.yaml" in zipfile.ZipFile(io.BytesIO(waited.value.path().read_bytes())).namelist()
    dashboard.button("Restore before").click()
    dashboard.expect_fact("Containers", "1")
    archive = tmp_path / "world.zip"
    archive.write_bytes(waited.value.path().read_bytes())
    dashboard.button("Import").click()
    page.locator("dialog[open] input[type=file]").set_input_files(archive)
    page.locator("dialog[open]").get_by_role("button", name="Import").click()
    dashboard.expect_fact("Containers", "0")
    dashboard.button("Fork before").click()
    dashboard.fill_form(name=f"{world.name}-fork")
    page.locator("dialog[open]").get_by_role("button", name="Fork").click()
    page.wait_for_url(f"**/#/{world.name}-fork/world")
    dashboard.expect_fact("Containers", "1")
    dashboard.button("Reset").click()
    page.locator("dialog[open]").get_by_role("button", name="Reset").click()
    dashboard.expect_fact("Containers", "0")
    dashboard.expected = ["404"]  # the page may request the deleted world once more
    dashboard.button("Delete world").click()
    page.locator("dialog[open]").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/#/default/world")


def test_a_world_that_does_not_exist_can_only_be_created(dashboard: Dashboard, world: World) -> None:
    actions = ("Take a snapshot", "Fork", "Reset", "Delete world")
    dashboard.open("world")
    dashboard.expect_text("It does not exist yet.", "main")
    assert not any(dashboard.button(name).is_enabled() for name in actions[:1])
    assert not any(dashboard.button(name).is_visible() for name in actions[1:])
    assert not dashboard.page.get_by_role("link", name="Export").is_visible()
    dashboard.button("Create the world").click()
    dashboard.expect_fact("Containers", "0")
    assert all(dashboard.button(name).is_enabled() for name in actions)
    assert not dashboard.button("Create the world").is_visible()
    dashboard.expected = ["404"]  # the page may request the deleted world once more
    ok(httpx2.delete(f"{world.server.url}/_mock/worlds/{world.name}"))
    dashboard.button("Delete world").wait_for(state="hidden")


@pytest.mark.parametrize("name", ["two words", "-dash", "a" * 65])
def test_an_invalid_world_name_shows_an_error_and_no_commands(dashboard: Dashboard, name: str) -> None:
    page = dashboard.page
    page.goto(f"{dashboard.world.server.url}/_mock/#/{quote(name)}/containers")
    dashboard.expect_text("No world can have this name")
    assert "OPENAI_BASE_URL" not in page.locator("body").inner_text()
    dashboard.open_view("world")
    dashboard.expect_text("No world can have this name")
    assert "/v1" not in page.locator("body").inner_text()
    assert not page.locator("#clock").is_visible()
    dashboard.button("Choose a world").click()
    page.get_by_role("searchbox", name="Search worlds").fill(dashboard.world.name)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/#/{dashboard.world.name}/world")
    dashboard.expect_text("It does not exist yet.", "main")
    assert page.locator("#clock").is_visible()


@pytest.mark.parametrize("width", [400, 1280])
def test_action_buttons_stay_on_one_line(dashboard: Dashboard, world: World, width: int) -> None:
    page = dashboard.page
    page.set_viewport_size({"width": width, "height": 800})
    dashboard.open("containers", create_container(world, "a container with a name that is rather long")["id"])
    dashboard.button("Touch").wait_for()
    name, *buttons, close = dashboard.bounding_boxes(".title h2, .title button")
    assert len(buttons) == 3
    assert len({each["y"] for each in buttons}) == 1
    assert close["y"] < name["bottom"]
    dashboard.open_view("world")
    dashboard.button("Delete world").wait_for()
    reset_and_delete = dashboard.bounding_boxes("main button:is(:text-is('Reset'), :text-is('Delete world'))")
    assert [each["y"] for each in reset_and_delete] == [reset_and_delete[0]["y"]] * 2


LONG_FILENAME = "recordings-of-all-calls.jsonl"
TRUNCATED = "found => found.filter(each => each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1).map(each => each.textContent)"


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1280, 500)])
@pytest.mark.parametrize("view", ["answers", "faults"])
def test_the_buttons_and_the_validation_of_a_long_form_stay_visible(
    dashboard: Dashboard, view: str, width: int, height: int
) -> None:
    page = dashboard.page
    page.set_viewport_size({"width": width, "height": height})
    dashboard.open(view)
    dashboard.button(f"New {view[:-1]}").click()
    dashboard.expect_text("Valid.", "dialog .state.good")
    form, shown = page.locator("dialog[open]"), "dialog[open] .state, dialog[open] .actions button"
    assert form.evaluate("dialog => dialog.scrollHeight > dialog.clientHeight"), "the form can be scrolled"
    for position in ("0", "dialog.scrollHeight"):
        form.evaluate(f"dialog => dialog.scrollTop = {position}")
        (dialog,) = dashboard.bounding_boxes("dialog[open]")
        state, cancel, add = dashboard.bounding_boxes(shown)
        assert max(state["bottom"], cancel["bottom"], add["bottom"]) <= dialog["bottom"] <= height
        assert (
            page.evaluate("([x, y]) => document.elementFromPoint(x, y).textContent", [add["x"] + 5, add["y"] + 5])
            == "Add"
        )
        assert state["right"] <= cancel["left"] or state["bottom"] <= cancel["top"]


@pytest.mark.parametrize("width", [400, 1280])
def test_names_and_ids_of_the_open_object_are_not_truncated(dashboard: Dashboard, world: World, width: int) -> None:
    page = dashboard.page
    page.set_viewport_size({"width": width, "height": 800})
    body = {"bytes": 10, "filename": LONG_FILENAME, "mime_type": "text/plain", "purpose": "user_data"}
    upload = ok(world.http.post("/uploads", json=body))["id"]
    box = create_container(world, "analysis of the quarter")["id"]
    file = upload_file(world, box, LONG_FILENAME, b"x")["id"]
    world.http.get(f"/containers/{box}/files/{file}/content")
    for path in (("uploads", upload), ("containers", box), ("containers", box, file), ("journal", "4")):
        dashboard.open(*path)
        page.locator(".pane .title h2").nth(len(path) - 2).wait_for()
        assert page.locator(".pane .title h2, .pane dd .copyable").evaluate_all(TRUNCATED) == [], path
    shown = page.locator(".pane .title h2").evaluate("heading => heading.innerText")
    assert shown.replace("\n", "") == "RetrieveContainerFileContent"


def test_badges_are_not_truncated_and_differ_in_color_from_the_selected_row(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    dashboard.control("POST", "/faults", json={"id": "cut", "effect": {"latency": 0}})
    dashboard.control("POST", "/answers", json={"id": "first", "say": "x"})
    create_container(world, "a container with a name that is rather long")
    ok(world.http.post("/responses", json={"model": "gpt-5", "input": "report"}))
    dashboard.open("journal", "1")
    dashboard.expect_rows("answer first", "fault cut")
    assert page.locator(".details .pill.fault").evaluate_all(TRUNCATED) == []
    body = {"bytes": 10, "filename": "x", "mime_type": "text/plain", "purpose": "user_data"}
    upload = ok(world.http.post("/uploads", json=body))["id"]
    for path, badge in ((("journal", "2"), ".answer"), (("uploads", upload), ".pending")):
        dashboard.open(*path)
        row = page.locator(f".rows > .selected:has({badge})")
        row.wait_for()
        color = "element => getComputedStyle(element).backgroundColor"
        assert row.evaluate(color) != row.locator(badge).evaluate(color)


def test_numbers_have_a_unit_where_a_list_has_no_header(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    world.openai.skills.create(files=("math.zip", zipped()))
    for width, shown in ((400, "1 version"), (1280, "1")):
        page.set_viewport_size({"width": width, "height": 800})
        dashboard.open("skills")
        dashboard.expect_rows("basic-math")
        (box,) = dashboard.bounding_boxes("main .rows .unit")
        assert ("1 version" if box["width"] > 1 else "1") == shown
        assert page.locator("main .list > .head").is_visible() == (width > 400)


@pytest.mark.parametrize("width", [320, 400, 520, 768, 1024, 1100, 1280, 1920])
def test_no_column_overflows_at_any_window_width(dashboard: Dashboard, world: World, width: int) -> None:
    paths = [path for path in populate(world) if path[0] not in ("faults", "answers", "verdict", "world")]
    world.http.delete(f"/containers/{create_container(world, 'box')['id']}")
    dashboard.page.set_viewport_size({"width": width, "height": 800})
    for path in paths:
        dashboard.open(*path)
        dashboard.page.locator("main .list:visible > .rows > li, .pane > *:visible").first.wait_for()
        wide = "found => found.filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.outerHTML)"
        shown = "main .rows:visible, main .rows:visible > li, main .rows .request:visible"
        assert dashboard.page.locator(shown).evaluate_all(wide) == [], path
    for change, body in (("resume", None), ("scale", {"rate": 3600})):
        dashboard.control("POST", f"/clock/{change}", json=body)
        dashboard.open("containers")
        dashboard.page.locator("main .list:visible > .rows > li").first.wait_for()
        assert dashboard.page.locator("header").evaluate_all(wide) == [], change


def test_an_empty_list_has_no_header_and_no_pager(dashboard: Dashboard, world: World) -> None:
    page, header_and_pager = dashboard.page, "main :is(.head, .pager)"
    dashboard.control("POST", "")
    for view, message in (
        ("containers", "No containers yet"),
        ("faults", "No faults."),
        ("world", "No snapshots yet."),
    ):
        dashboard.open(view)
        dashboard.expect_text(message, "main")
        assert page.locator(f"{header_and_pager}:visible").count() == 0, view
    create_container(world, "box")
    dashboard.control("POST", "/faults", json={"effect": {"latency": 1}})
    dashboard.control("PUT", "/snapshots/one")
    for view, parts in (("containers", 2), ("faults", 1), ("world", 1)):
        dashboard.open(view)
        page.locator("main .rows > li").wait_for()
        assert page.locator(f"{header_and_pager}:visible").count() == parts, view
    dashboard.open("containers")
    page.get_by_role("searchbox").fill("nope")
    dashboard.expect_text("No container matches.", "main")
    assert page.locator(f"{header_and_pager}:visible").count() == 0


def test_navigation_entries_have_one_height_in_a_narrow_window(dashboard: Dashboard, world: World) -> None:
    dashboard.page.set_viewport_size({"width": 400, "height": 800})
    for number in range(12):
        create_container(world, f"box {number}")
    dashboard.open("containers")
    dashboard.expect_text("12", "nav [data-view=containers]")
    assert len({box["height"] for box in dashboard.bounding_boxes("nav a[data-view]")}) == 1
    assert len({box["y"] for box in dashboard.bounding_boxes("nav a[data-view]")}) == 2


def test_an_upload_shows_its_expiry_and_parts_only_while_they_apply(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    create = partial(world.openai.uploads.create, mime_type="text/plain", purpose="user_data")
    large = create(bytes=734_003_200, filename="large.txt")
    dashboard.open("uploads", large.id)
    dashboard.expect_fact("Size", "700 MB (734,003,200 bytes)")
    dashboard.expect_fact("Parts", "0 with 0 of 734,003,200 bytes")
    assert page.locator("dt:text-is('Expires')").count() == 1
    world.openai.uploads.cancel(large.id)
    dashboard.expect_text("cancelled", ".pane .title")
    assert page.locator(".pane dt:is(:text-is('Expires'), :text-is('Parts'))").count() == 0
    late = create(bytes=10, filename="late.txt")
    dashboard.control("POST", "/clock/advance", json={"by": "2h"})
    dashboard.open("uploads", late.id)
    dashboard.expect_fact("Size", "10 bytes")
    dashboard.expect_text("expired", ".pane .title")
    assert page.locator("dt:text-is('Expired')").count() == 1


def test_the_page_of_a_world_shows_counts_and_aligned_snapshots(dashboard: Dashboard, world: World) -> None:
    box = create_container(world, "box")["id"]
    upload_file(world, box, "a.txt", b"a")
    dashboard.control("PUT", "/snapshots/one")
    dashboard.open("world")
    dashboard.expect_fact("Containers", "1 with 1 file")
    dashboard.expect_fact("Skills", "0")
    dashboard.expect_fact("Responses", "0")
    head, row = dashboard.bounding_boxes(".c-snapshots > :nth-child(2)")
    assert head["x"] == row["x"]


# Keyboard


def test_rows_views_and_search_can_be_used_with_the_keyboard(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    for name in ("one", "two", "three"):
        create_container(world, name)
    dashboard.open()
    dashboard.expect_rows("three", "two", "one")
    for key in ("j", "ArrowDown", "k", "Enter"):
        page.keyboard.press(key)
    dashboard.expect_text("three", ".pane h2")
    page.keyboard.press("j")
    dashboard.expect_text("two", ".pane h2")
    page.keyboard.press("ArrowUp")
    dashboard.expect_text("three", ".pane h2")
    page.keyboard.press("Escape")
    page.locator(".pane > *").first.wait_for(state="detached")
    page.keyboard.press("/")
    page.keyboard.type("one")
    dashboard.expect_rows("one")
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    dashboard.expect_rows("CreateContainer", "CreateContainer", "CreateContainer")
    page.keyboard.press("?")
    dashboard.expect_text("next", "dialog.keys")
    page.keyboard.press("Escape")
    page.locator("dialog.keys").wait_for(state="detached")


def test_a_keyboard_shortcut_works_right_after_a_dialog_closes(dashboard: Dashboard) -> None:
    page = dashboard.open().page
    page.keyboard.press("w")
    page.locator("dialog[open] input").wait_for()
    page.evaluate("""() => {
        document.querySelector("dialog[open]").close();
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "?", bubbles: true }));
    }""")
    page.locator("dialog.keys").wait_for()


# Large worlds, accessibility and failures


def test_10_000_containers_and_100_000_exchanges_are_shown_in_pages(page: "Page") -> None:
    with MockServer(journal_entries=200_000, journal_bytes=500 << 20) as server, World(server, "large") as world:
        dashboard = Dashboard(page, world)
        dashboard.control("POST", "/place", json={"containers": [{"name": "box {n}", "repeat": 10_000}]}, timeout=60)
        world.http.get("/containers?limit=1")

        async def fill() -> None:
            journal = server.mock.journal
            log, now = journal.open("large"), server.mock.wall.now()
            for number in range(100_000):
                operation = "ListContainers" if number % 1_000 else "DeleteContainer"
                record(log, journal, operation=operation, route="/containers", wall=now)

        server.run(fill())
        dashboard.open()
        dashboard.expect_range("1–50 of 10,000")
        dashboard.button("Next").click()
        dashboard.expect_range("51–100 of 10,000")
        assert page.locator("main .rows > li").count() == 50
        page.get_by_role("searchbox").fill("box 9999")
        dashboard.expect_rows("box 9999")
        dashboard.open_view("journal")
        dashboard.expect_range("1–50 of 100,001")
        dashboard.button("Next").click()
        dashboard.expect_range("51–100 of 100,001")
        create_container(world, "created while the journal is open")
        dashboard.expect_range("51–100 of 100,002")
        dashboard.button("Previous").click()
        dashboard.expect_text("CreateContainer", "main .rows > li >> nth=0")
        page.get_by_label("Operation").select_option("DeleteContainer")
        dashboard.expect_range(re.compile(r"1–50 of 100( or more)?$"))
        dashboard.button("Next").click()
        dashboard.expect_text("51–100 of 100", ".pager")
        assert dashboard.button("Next").is_disabled()
        assert dashboard.problems == []


VIEWS = ("containers", "files", "uploads", "skills", "journal", "faults", "answers", "verdict", "world")


def populate(world: World) -> list[tuple[str, ...]]:
    """Create objects of every kind, and return the paths of the pages that show them."""
    control = f"{world.server.url}/_mock/worlds/{world.name}"
    box = create_container(world, "a container with a rather long name, as is usual")
    expired = create_container(world, "expired")
    ok(httpx2.post(f"{control}/containers/{expired['id']}/expire"))
    table = upload_file(world, box["id"], "table.csv", b"a,b\n1,2\n")
    picture = upload_file(world, box["id"], "picture.png", PNG)
    file = ok(
        world.http.post("/files", files={"file": ("data.json", b'{"a": [1, "b", null]}')}, data={"purpose": "evals"})
    )
    skill = ok(world.http.post("/skills", files={"files": ("math.zip", zipped())}))
    skilled = create_container(world, "skilled", skills=[{"type": "skill_reference", "skill_id": skill["id"]}])
    upload = {"bytes": 10, "filename": "large.jsonl", "mime_type": "text/plain", "purpose": "batch"}
    pending = ok(world.http.post("/uploads", json=upload))
    rule = {"id": "report", "when": "report", "times": 1, "say": "x" * 100}
    ok(httpx2.post(f"{control}/answers", json=rule))
    answered = ok(world.http.post("/responses", json={"model": "gpt-5", "input": "report"}))
    assert answered["output"][0]["content"][0]["text"] == "x" * 100
    number = ok(httpx2.get(f"{control}/journal"))["data"][-1]["number"]
    ok(httpx2.post(f"{control}/faults", json={"effect": {"error": "server_error"}, "times": 1}))
    ok(httpx2.post(f"{control}/faults", json={"effect": {"latency": 1}, "enabled": False}))
    world.http.get("/containers")
    ok(httpx2.put(f"{control}/snapshots/one"))
    return [
        *((view,) for view in VIEWS),
        ("containers", box["id"]),
        ("containers", box["id"], table["id"]),
        ("containers", box["id"], picture["id"]),
        ("containers", expired["id"]),
        ("containers", skilled["id"]),
        ("files", file["id"]),
        ("uploads", pending["id"]),
        ("skills", skill["id"]),
        ("journal", "1"),
        ("journal", str(number + 1)),
        ("journal", str(number)),
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_every_page_is_accessible_and_fits_the_window(
    width: int, scheme: str, chromium: "Browser", world: World
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    paths = [*populate(world), ("containers", "cntr_nope")]
    # axe is injected as a script, which the security policy of the page blocks.
    with chromium.new_context(
        bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    ) as context:
        dashboard = Dashboard(context.new_page(), world)
        for path in paths:
            dashboard.open(*path)
            dashboard.page.locator(
                ".pane > *:visible, main .rows > li:visible, main .nothing:visible, .card b"
            ).first.wait_for()
            if len(path) > 2:
                dashboard.page.locator(".preview > *").first.wait_for()
            elif path[0] == "containers" and path[1:] not in ((), ("cntr_nope",)):
                dashboard.page.locator(".object h2").wait_for()
            for summary in dashboard.page.locator(".folder > summary").all()[:1]:
                summary.click()
                dashboard.page.locator(".folder li").first.wait_for()
            assert_accessible(Axe().run(dashboard.page), path)
            assert dashboard.page.evaluate(TOO_WIDE) == [], path
            assert dashboard.page.evaluate("document.querySelector('header').offsetHeight") < 52, (
                "the header is one line"
            )
        dashboard.page.goto("about:blank")  # the focus may be in a frame of the last page, which would get the keys
        dashboard.open()
        dashboard.page.locator("main .rows > li").first.wait_for()
        for key in ("w", "n", "?"):
            dashboard.page.keyboard.press(key)
            dashboard.page.locator("dialog[open]").wait_for()
            assert_accessible(Axe().run(dashboard.page), ("key", key))
            dashboard.page.keyboard.press("Escape")
            dashboard.page.locator("dialog[open]").wait_for(state="detached")


TOO_WIDE = """() => [...document.querySelectorAll("html, main, nav, .plain-view, .list, .pane, .card, .object, header")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.outerHTML.slice(0, 100))"""


def assert_accessible(found: Any, path: tuple[str, ...]) -> None:
    violations = [
        f"{rule['id']}: {each['html']} {each['failureSummary']}"
        for rule in found.response["violations"]
        for each in rule["nodes"]
    ]
    assert violations == [], (path, *violations)
    assert len(found.response["passes"]) > 10


def test_updates_cause_no_layout_shift(dashboard: Dashboard, world: World) -> None:
    page = dashboard.page
    box = create_container(world, "box")
    page.add_init_script(
        """window.shift = 0;
        new PerformanceObserver((list) => { for (const each of list.getEntries()) shift += each.value; })
            .observe({ type: "layout-shift", buffered: true });"""
    )
    for view in VIEWS:
        dashboard.open(view)
        page.locator("main .rows > li:visible, main .nothing:visible, .card b, .facts dd").first.wait_for()
    dashboard.open()
    dashboard.expect_rows("box")
    for number in range(3):
        upload_file(world, box["id"], f"{number}.txt", b"x")
        dashboard.expect_text(f"{number + 1} file", "main li")
    dashboard.button("Freeze").click()
    dashboard.expect_text("Frozen", "#clock .mode")
    assert page.evaluate("shift") < 0.1, "what browsers rate as good"


def test_a_lost_connection_is_shown(page: "Page") -> None:
    with MockServer() as server, World(server, "w") as world:
        dashboard = Dashboard(page, world)
        create_container(world, "box")
        dashboard.open()
        dashboard.expect_rows("box")
    dashboard.expect_text("Not connected", "#connection")
    dashboard.button("+1 min").click()
    dashboard.expect_text("The server does not respond.", "#notice.bad")
    dashboard.expect_rows("box")


def test_the_dashboard_asks_for_the_control_token_once(page: "Page", context: "BrowserContext") -> None:
    token = "hunter2-of-the-tests"
    with MockServer(control_token=token) as server, World(server, "w") as world:
        create_container(world, "box")
        dashboard = Dashboard(page, world)
        page.goto(f"{server.url}/_mock/#/w/containers")
        dashboard.fill_form(token="wrong")
        dashboard.button("Enter").click()
        dashboard.expect_text("wants the token", "dialog .problem")
        dashboard.fill_form(token=token)
        dashboard.button("Enter").click()
        dashboard.expect_rows("box")
        page.locator("#connection.on").wait_for()
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/_mock")
        assert token not in cookie["value"]
        assert page.evaluate("document.cookie") == ""
        page.reload()
        dashboard.expect_rows("box")
        dashboard.button("Freeze").click()
        dashboard.expect_text("Frozen", "#clock .mode")
        assert all("401" in problem for problem in dashboard.problems)


NO_MISTAKES = "No mistakes found"


def test_the_verdict_is_unknown_while_the_control_plane_is_closed(page: "Page") -> None:
    with MockServer(host="0.0.0.0") as server:
        page.goto(f"{server.url}/_mock/#/default/verdict")
        for _ in range(2):
            page.locator(".card .problem", has_text="--control-token").wait_for()
            assert NO_MISTAKES not in page.locator("main").inner_text()
            page.get_by_role("button", name="Check again").click()


def test_the_verdict_is_unknown_until_the_token_was_entered(page: "Page") -> None:
    token = "hunter2-of-the-tests"
    with MockServer(control_token=token) as server, World(server, "w") as world:
        create_container(world, "box")
        dashboard = Dashboard(page, world)
        page.goto(f"{server.url}/_mock/#/w/verdict")
        page.locator("dialog[open]").wait_for()
        page.keyboard.press("Escape")
        dashboard.expect_text("wants the token", ".card")
        assert NO_MISTAKES not in page.locator("main").inner_text()
        dashboard.button("Check again").click()
        dashboard.fill_form(token=token)
        dashboard.button("Enter").click()
        dashboard.expect_text("container-never-deleted", ".card")
        page.evaluate("location.hash = '#/another/verdict'")
        dashboard.expect_text(NO_MISTAKES, ".card")


def test_the_verdict_of_another_world_is_unknown_without_a_server(page: "Page") -> None:
    with MockServer() as server, World(server, "w") as world:
        dashboard = Dashboard(page, world)
        create_container(world, "box")
        dashboard.open("verdict")
        dashboard.expect_text("container-never-deleted", ".card")
    dashboard.expect_text("Not connected", "#connection")
    page.evaluate("location.hash = '#/another/verdict'")
    dashboard.expect_text("The server does not respond.", ".card")
    assert NO_MISTAKES not in page.locator("main").inner_text()


def test_the_place_of_a_key_is_shown_on_a_server_with_keys(page: "Page") -> None:
    key = "secret-of-the-tests"
    with MockServer(api_key=key) as server:
        worlds = f"{server.url}/_mock/worlds"
        responses = [httpx2.post(f"{worlds}/blue"), httpx2.get(f"{worlds}/blue"), httpx2.get(worlds)]
        responses.append(httpx2.get(f"{server.url}/_mock/static/facts.js"))
        assert [each.status_code for each in responses] == [200] * 4
        assert not any(key in each.text for each in responses)
        shown = responses[1].json()["api_key"]
        assert shown == "<your key>-world-blue"
        headers = {"Authorization": f"Bearer {shown.replace('<your key>', key)}"}
        ok(httpx2.post(f"{server.base_url}/containers", headers=headers, json={"name": "box"}))
        assert httpx2.get(f"{worlds}/blue").json()["counts"]["containers"] == 1
        dashboard = Dashboard(page, World(server, "blue", api_key=key))
        for name in ("blue", "absent"):
            page.goto(f"{server.url}/_mock/#/{name}/world")
            dashboard.expect_fact("API key", f"<your key>-world-{name}")
        page.goto(f"{server.url}/_mock/#/absent/containers")
        for language, example in (
            ("curl", "OPENAI_API_KEY='<your key>'"),
            ("Python", 'api_key="<your key>"'),
            ("Node", 'apiKey: "<your key>"'),
        ):
            page.get_by_role("tab", name=language).click()
            dashboard.expect_text(example, "[role=tabpanel]")
