"""The dashboard in a real browser, used as people use it; and what it is served as."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from conftest import World, ok, refusal

from mockserver.server import MockServer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

STATIC = Path(__file__).parent.parent / "mockserver" / "control" / "static"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c6360f8cf50c0c0c00000090003008f5d5e9c0000000049454e44ae426082"
)
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


class Dashboard:
    """The page, with a world of its own. Whatever it does, it reaches no other origin and breaks no rule."""

    def __init__(self, page: "Page", world: World) -> None:
        self.page = page
        self.world = world
        self.problems: list[str] = []
        self.expected: list[str] = []
        """Parts of what the browser may complain of: it takes each refusal for a problem."""
        page.set_default_timeout(15_000)
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self._own(request.url))

    def _own(self, url: str) -> None:
        if not url.startswith((self.world.server.url + "/", "data:", "blob:", "chrome-extension://")):
            self.problems.append(f"a request to {url}")

    def open(self, *place: str) -> "Dashboard":
        self.page.goto(f"{self.world.server.url}/_mock/#/{'/'.join((self.world.name, *place))}")
        self.page.locator("#live.on").wait_for()
        return self

    def button(self, name: str) -> "Locator":
        return self.page.get_by_role("button", name=name, exact=True)

    def view(self, name: str) -> None:
        self.page.locator(f"nav [data-view={name}]").click()

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            field = self.page.locator(f"dialog[open] [name={name}]")
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def rows(self, *texts: str, of: str = "main .list > .rows") -> None:
        """The rows, as soon as there are these and no others: each has its text somewhere."""
        from playwright.sync_api import expect

        found = self.page.locator(f"{of} > li")
        expect(found).to_have_count(len(texts), timeout=15_000)
        for place, text in enumerate(texts):
            expect(found.nth(place)).to_contain_text(text, timeout=15_000)

    def shows(self, text: str, where: str = "body") -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(where)).to_contain_text(text, timeout=15_000)

    def copied(self) -> str:
        return str(self.page.evaluate("() => navigator.clipboard.readText()"))

    def control(self, method: str, path: str, **kwargs: Any) -> Any:
        return ok(httpx2.request(method, f"{self.world.server.url}/_mock/worlds/{self.world.name}{path}", **kwargs))


@pytest.fixture
def dashboard(page: "Page", world: World) -> Iterator[Dashboard]:
    shown = Dashboard(page, world)
    yield shown
    left = [each for each in shown.problems if not any(part in each for part in shown.expected)]
    assert left == []


def make(world: World, name: str, **body: Any) -> dict[str, Any]:
    return dict(ok(world.http.post("/containers", json={"name": name, **body})))


def put(world: World, container: str, name: str, content: bytes) -> dict[str, Any]:
    return dict(ok(world.http.post(f"/containers/{container}/files", files={"file": (name, content)})))


# How it is served


def test_it_is_served_so_that_nothing_else_can_act_in_it(server: MockServer) -> None:
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
    names = {each.name for each in STATIC.iterdir()}
    assert len(names) > 5
    for name in names:
        answer = httpx2.get(f"{server.url}/_mock/static/{name}")
        assert answer.content == (STATIC / name).read_bytes()
        assert (
            answer.headers["content-type"].split(";")[0]
            == {
                ".js": "text/javascript",
                ".css": "text/css",
                ".html": "text/html",
                ".svg": "image/svg+xml",
            }[Path(name).suffix]
        )
        again = httpx2.get(f"{server.url}/_mock/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    refusal(httpx2.get(f"{server.url}/_mock/static/..%2fgate.py"), 404, None)


def test_all_of_it_weighs_less_than_150_kb() -> None:
    assert 50_000 < sum(each.stat().st_size for each in STATIC.iterdir()) < 150_000


def test_every_module_is_asked_for_at_once() -> None:
    """So that the page doesn't wait for one to find out about the next."""
    page = (STATIC / "index.html").read_text()
    modules = {each.name for each in STATIC.glob("*.js")}
    assert {name for name in modules if f'href="/_mock/static/{name}"' in page} == modules - {"app.js"}


def test_a_browser_is_led_there_and_a_client_of_the_api_is_not(server: MockServer) -> None:
    html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = httpx2.get(f"{server.url}/", headers=html)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'href="/_mock/"' in page.text
    assert httpx2.get(f"{server.url}/_mock").headers["location"] == "/_mock/"
    for headers in ({}, {"Accept": "application/json"}):
        assert "Invalid URL" in refusal(
            httpx2.get(server.url, headers={"Authorization": "Bearer k", **headers}), 404, None
        )
    refusal(httpx2.get(f"{server.url}/", headers={**html, "Host": "attacker.example"}), 403, "forbidden_host")


# What happens, as it happens


def test_what_clients_do_shows_up_by_itself(dashboard: Dashboard, world: World) -> None:
    dashboard.open()
    dashboard.shows(f"export OPENAI_BASE_URL={world.server.url}/w/{world.name}/v1 OPENAI_API_KEY=sk-test")
    world.freeze()
    first = make(world, "first", memory_limit="4g", network_policy={"type": "disabled"})
    dashboard.rows("first")
    put(world, first["id"], "notes.txt", b"x" * 2048)
    make(world, "second")
    dashboard.rows("second", "first")
    row = dashboard.page.locator("main li", has_text="first")
    for text in ("20:00", "running", "1 file", "2.0 KB", "4g", "disabled"):
        assert text in row.inner_text()
    world.advance(19 * 60)
    make(world, "third")
    dashboard.button("+1 min").click()
    dashboard.shows("2 expired", "#said")
    dashboard.page.locator("main li:has(.over)", has_text="first").wait_for()
    dashboard.page.locator("main li:has(.fine)", has_text="third").wait_for()
    dashboard.view("journal")
    dashboard.rows("CreateContainer", "CreateContainer", "CreateContainerFile", "CreateContainer")
    world.http.get("/containers/cntr_nope")
    dashboard.rows("404", "200", "200", "200", "200")


HOSTILE = "<img src=x onerror=alert(1)>"
SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>parent.alert(1);alert(1)</script></svg>"


def test_what_clients_send_is_shown_and_never_runs(dashboard: Dashboard, world: World) -> None:
    ran: list[str] = []
    dashboard.page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    box = make(world, HOSTILE)
    for name in (HOSTILE, f"{HOSTILE}.html", "evil.svg", "evil.html", "evil.json", "evil.csv"):
        put(world, box["id"], name, SCRIPT if "json" not in name else json.dumps({HOSTILE: HOSTILE}).encode())
    ok(world.http.post("/files", files={"file": (f"{HOSTILE}.svg", SCRIPT)}, data={"purpose": "user_data"}))
    world.http.get(f"/containers/{HOSTILE}?after=<script>alert(1)</script>", headers={"x-evil": HOSTILE})
    dashboard.control(
        "POST", "/faults", json={"match": {"path": f"/{HOSTILE}"}, "effect": {"body": HOSTILE, "status": 500}}
    )
    dashboard.open("containers", box["id"])
    files = dashboard.page.locator(".inside a")
    files.nth(5).wait_for()
    dashboard.rows(HOSTILE)
    for place in range(6):
        files.nth(place).click()
        dashboard.page.locator(".file .preview > *").first.wait_for()
        assert dashboard.page.locator("main img, main script, main iframe").count() == 0
    dashboard.view("files")
    dashboard.page.locator("main li a").click()
    dashboard.shows("<script>parent.alert(1)", ".preview")
    dashboard.view("journal")
    dashboard.page.locator("main li a").first.click()
    dashboard.page.locator(".pane summary").first.click()
    dashboard.shows(HOSTILE, ".pane .headers >> nth=0")
    dashboard.view("faults")
    dashboard.shows(HOSTILE, "main .rows")
    for each in dashboard.control("GET", f"/containers/{box['id']}/files")["data"]:
        url = f"{world.server.url}/_mock/worlds/{world.name}/containers/{box['id']}/files/{each['id']}"
        dashboard.page.goto(f"{url}/preview")  # by itself, outside of the dashboard
        inline = httpx2.get(f"{url}/content?inline=true")
        assert inline.headers["content-type"] == "application/octet-stream"
        assert inline.headers["content-disposition"].startswith("attachment")
        assert inline.headers["content-security-policy"].startswith("sandbox;")
    assert ran == []
