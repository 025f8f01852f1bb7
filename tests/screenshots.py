"""Take screenshots of the dashboard, light and dark, of a world that is the same on each run.

    pip install pillow && python tests/screenshots.py [DIRECTORY]

Without a directory, the screenshots of the manual are written to fixtures/screenshots/. With one, every view and
dialog is written to it, each in a wide and a narrow window.
"""

import base64
import io
import math
import shutil
import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import httpx2
from conftest import BROWSER_ARGUMENTS, BROWSERS, NOON, World, ok
from playwright.sync_api import Page, sync_playwright
from skill_bundles import MANIFEST, zipped

from mockserver.server.serving import MockServer

SCREENSHOTS = Path(__file__).parent.parent / "fixtures" / "screenshots"
SALES_CSV = "month,region,orders,revenue,share\n" + "".join(
    f"{month},{region},{orders},{orders * 41.5:.2f},{orders / 40:.1f}%\n"
    for month, base in zip(
        ("January", "February", "March", "April", "May", "June"), (910, 987, 1104, 1260, 1201, 1377), strict=True
    )
    for region, orders in (("North", base), ('"South, islands"', base // 2))
)
NOTES = (
    "# What to look at\n\nRevenue in the south lags by a month.\nCompare March with April before the report goes out.\n"
)
REPORT_JSON = '{"quarter": "2026-Q2", "revenue": 418204.5, "growth": 0.137, "regions": ["North", "South"], "final": false, "notes": null}'


def chart() -> bytes:
    """Draw a bar chart, and return it as PNG."""
    width, height = 520, 280
    rows = []
    for y in range(height):
        row = bytearray(b"\0")
        for x in range(width):
            bar, within = divmod(x - 40, 76)
            top = height - 30 - (60 + 28 * bar + 14 * math.sin(bar * 2.2))
            inside = 0 <= bar < 6 and within < 50 and top <= y < height - 30
            row += bytes((11, 92, 184) if inside else (223, 227, 232) if y == height - 30 else (255, 255, 255))
        rows.append(bytes(row))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(rows), 9))
        + chunk(b"IEND", b"")
    )


LONG_NAME = "evaluation of the retrieval pipeline against the archive of support tickets, 2026-06-24"
NAMES = ("churn model", "draft of the report", LONG_NAME, "nightly import", "scratch", "support bot", "tax forms")


def populate(world: World) -> dict[str, str]:
    """Send requests like a program would, and return the path of each page to show by the name of its screenshot."""
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}") as control:
        return _populate(world, control)


def _populate(world: World, control: httpx2.Client) -> dict[str, str]:
    http = world.http

    def create(name: str, **body: object) -> str:
        return str(ok(http.post("/containers", json={"name": name, **body}))["id"])

    def fault(id: str, **rule: object) -> None:
        ok(control.post("/faults", json={"id": id, **rule}))

    world.freeze(NOON - 7_400)
    paths = _uploads(world)
    sales = ok(
        http.post("/files", files={"file": ("sales-2026.csv", SALES_CSV.encode())}, data={"purpose": "user_data"})
    )
    for name, purpose, content in (
        ("handbook.txt", "assistants", NOTES.encode() * 40),
        ("evaluation.jsonl", "evals", b'{"input": 1}\n' * 900),
        ("minutes-of-the-quarterly-meeting-of-the-board-of-directors-2026-06-24.pdf", "user_data", b"%PDF-1.4\n"),
        ("training.jsonl", "fine-tune", b'{"messages": []}\n' * 70_000),
    ):
        ok(http.post("/files", files={"file": (name, content)}, data={"purpose": purpose}))
    for number in range(36):
        id = create(f"{NAMES[number % 7]} {number + 1}", memory_limit=("1g", "4g", "16g")[number % 3])
        if number % 4 == 0:
            ok(http.post(f"/containers/{id}/files", files={"file": ("task.json", b'{"task": 1}')}))
        world.advance(45)
    expired = create("weekly import")
    world.advance(1_300)
    http.get(f"/containers/{expired}/files")
    create("churn model", network_policy={"type": "allowlist", "allowed_domains": ["example.com", "example.org"]})
    world.advance(240)
    analysis = create("quarterly analysis", memory_limit="4g", file_ids=[sales["id"]])
    files = f"/containers/{analysis}/files"
    ok(http.post(files, files={"file": ("notes.md", NOTES.encode())}))
    world.advance(35)
    for path, content in (
        ("plots/revenue.png", chart()),
        ("out/report.json", REPORT_JSON.encode()),
        ("out/revenue-by-region.csv", SALES_CSV.encode()),
    ):
        form = {"files": {"file": (path, io.BytesIO(content))}, "data": {"path": path}}
        ok(control.post(f"/containers/{analysis}/files", **form))
    ok(http.get(files, params={"order": "asc"}))
    content = {"operation": "RetrieveContainerFileContent"}
    fault("busy", match=content, times=2, effect={"error": "rate_limited", "retry_after": 1})
    fault("cut", match=content, times=1, effect={"truncate_after": 100})
    fault("slow-lists", match={"operation": "List*"}, enabled=False, effect={"latency": {"min": 0.5, "max": 2}})
    fault("one-in-ten", match={"operation": "CreateContainerFile"}, probability=0.1, effect={"error": "server_error"})
    for number in range(3):
        world.advance(40)
        worker = create(f"worker {number + 1}")
        ok(http.get(f"/containers/{worker}"))
        http.post(f"/containers/{worker}/files", files={"file": ("task.json", b'{"task": %d}' % number)})
    downloaded = next(each["id"] for each in ok(http.get(files))["data"] if each["path"].endswith("region.csv"))
    for _ in range(4):
        world.advance(1.2)
        with suppress(httpx2.RemoteProtocolError):
            http.get(f"{files}/{downloaded}/content")
    http.get("/containers/cntr_of_yesterday")
    http.post("/containers", json={"name": "typo", "memory_limit": "3g"})
    create("long run", expires_after={"anchor": "last_active_at", "minutes": 60})
    ok(http.delete(f"/containers/{worker}"))
    paths |= _skills(world) | _responses(world, control)
    ok(http.get("/containers", params={"limit": 20, "order": "asc", "after": analysis}))
    ok(control.put("/snapshots/before-the-report"))
    ok(control.put("/snapshots/with-faults"))
    (limited,) = ok(control.get("/journal", params={"status": "429", "last": 1}))["data"]
    return {"container": f"containers/{analysis}/{downloaded}", "exchange": f"journal/{limited['number']}"} | paths


def _uploads(world: World) -> dict[str, str]:
    """Create an upload of each status."""
    http = world.http

    def create(name: str, size: int, purpose: str = "user_data", kind: str = "text/csv") -> str:
        body = {"filename": name, "bytes": size, "purpose": purpose, "mime_type": kind}
        return str(ok(http.post("/uploads", json=body))["id"])

    def part(upload: str, data: bytes) -> str:
        return str(ok(http.post(f"/uploads/{upload}/parts", files={"data": data}))["id"])

    part(create("archive-of-last-year.csv", 1 << 20), bytes(300_000))
    world.advance(3_700)
    done = create("sales-2025.csv", 2 * len(SALES_CSV))
    world.advance(20)
    parts = [part(done, SALES_CSV.encode()) for _ in range(2)]
    ok(http.post(f"/uploads/{done}/complete", json={"part_ids": parts}))
    cancelled = create("wrong-file.jsonl", 5_000_000, "fine-tune", "application/jsonl")
    ok(http.post(f"/uploads/{cancelled}/cancel"))
    world.advance(90)
    pending = create(
        "recordings-of-all-support-calls-of-the-second-quarter-2026.jsonl", 734_003_200, "batch", "application/jsonl"
    )
    for size in (64, 64, 12):
        part(pending, bytes(size << 10))
    return {"upload": f"uploads/{pending}", "upload-completed": f"uploads/{done}"}


def _skills(world: World) -> dict[str, str]:
    """Create skills with several versions, and a container that uses them."""
    http = world.http

    def bundle(name: str, description: str, **files: str) -> dict[str, tuple[str, bytes]]:
        head = f"---\nname: {name}\ndescription: {description}\n---\n# How to\n\nRead `rules.md` before you start.\n"
        return {
            "files": (
                f"{name}.zip",
                zipped({f"{name}/SKILL.md": head, **{f"{name}/{each}": text for each, text in files.items()}}),
            )
        }

    style = ok(
        http.post(
            "/skills",
            files=bundle("house-style", "Write reports in the style of the company.", **{"rules.md": NOTES}),
        )
    )["id"]
    world.advance(30)
    tables = ok(
        http.post("/skills", files=bundle("tables", "Read and write large tables.", **{"run.py": "print(1)\n"}))
    )["id"]
    world.advance(60)
    newer = "Write reports in the style of the company, with its colors, its templates for figures and its rules for numbers, dates and names."
    files = bundle("house-style", newer, **{"rules.md": NOTES, "assets/template.html": "<h1>{title}</h1>\n" * 40})
    ok(http.post(f"/skills/{style}/versions", files=files))
    inline = zipped({"math/SKILL.md": MANIFEST, "math/run.py": "print(1)\n"})
    source = {"type": "base64", "media_type": "application/zip", "data": base64.b64encode(inline).decode()}
    skills = [
        {"type": "skill_reference", "skill_id": style},
        {"type": "skill_reference", "skill_id": tables, "version": "latest"},
        {"type": "inline", "name": "basic-math", "description": "Add or multiply numbers.", "source": source},
    ]
    box = ok(http.post("/containers", json={"name": "report writer", "skills": skills}))["id"]
    return {"skill": f"skills/{style}", "container-skills": f"containers/{box}"}


def _responses(world: World, control: httpx2.Client) -> dict[str, str]:
    """Add answers, and send requests that use them: as JSON, as a stream, in the background, and some that fail."""
    http = world.http
    for rule in (
        {
            "id": "report",
            "when": "quarterly report",
            "code": "df.to_csv('report.csv')",
            "logs": "36 rows\n",
            "files": [{"path": "report.csv", "content": SALES_CSV}],
            "takes": 8,
            "say": "The report is ready: {links}",
        },
        {
            "id": "second-turn",
            "when": {"turn": 2},
            "steps": [
                {"code": "plot()", "takes": 4, "shows": [{"base64": base64.b64encode(chart()).decode()}]},
                {"say": "Here is the chart."},
            ],
            "times": 1,
        },
        {"id": "breaks", "when": "/delete|drop/i", "fail": {"error": "server_error"}, "times": 2},
        {"id": "slow", "when": "night", "steps": [{"code": "train()", "takes": 600}, {"say": "Done."}], "times": 5},
    ):
        ok(control.post("/answers", json=rule))
    auto = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    run = {"model": "gpt-5", "tools": auto}
    first = ok(http.post("/responses", json={**run, "input": "Write the quarterly report."}))
    again = {**run, "input": "And now a chart.", "previous_response_id": first["id"], "stream": True}
    with http.stream("POST", "/responses", json=again) as response:
        response.read()
    world.advance(20)
    ok(http.post("/responses", json={**run, "input": "Train it over night.", "background": True}))
    http.post("/responses", json={**run, "input": "Delete everything."})
    http.post("/responses", json={**run, "input": "And now?", "previous_response_id": "resp_of_yesterday"})
    (streamed,) = ok(control.get("/journal", params={"text": "response.completed", "last": 1}))["data"]
    return {"exchange-stream": f"journal/{streamed['number']}"}


def wait_until_settled(page: Page) -> None:
    page.locator("#connection.on").wait_for()
    page.locator(".pane > *:visible, .rows li:visible, .empty:visible, .card b:visible").first.wait_for()
    page.wait_for_load_state("load")
    page.mouse.move(640, 799)  # where nothing changes under the pointer
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(700)  # until images are loaded and transitions have ended


def save(screenshot: bytes, path: Path) -> None:
    """Save a screenshot with 128 colors, which makes the file a third as large."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(screenshot)) as image:
        reduced = image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)


def set_appearance(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # light or dark
    page.set_viewport_size({"width": width, "height": 800})


VIEWS = ("containers", "files", "uploads", "skills", "journal", "faults", "answers", "verdict", "world")
IN_MANUAL = ("container", "container-skills", "exchange", "upload")
DIALOGS = {
    "clock": ("containers", "#clock .face"),
    "fault": ("faults", "main .primary"),
    "answer": ("answers", "main .primary"),
    "profile": ("world", "main button:text-is('Profile')"),
    "worlds": ("containers", "#world"),
}


def main(directory: Path | None) -> None:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)))
    with MockServer(port=0) as server, World(server, "reports") as world, sync_playwright() as playwright:
        paths = {name: f"reports/{path}" for name, path in populate(world).items()}
        for name in ("ci-1042-unit-tests", "ci-1042-integration-tests-with-a-long-name", "demo"):
            ok(httpx2.post(f"{server.url}/_mock/worlds/{name}"))
        manual = {name: path for name, path in paths.items() if name in IN_MANUAL} | {"answers": "reports/answers"}
        dialogs, widths = {"fault": DIALOGS["fault"]}, (1280,)
        if directory:
            paths |= {view: f"reports/{view}" for view in VIEWS} | {"empty": "fresh/containers"}
            dialogs, widths = DIALOGS, (1280, 400)
        else:
            paths = manual
        browser = playwright.chromium.launch(executable_path=browser_path, args=BROWSER_ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        for scheme in ("light", "dark"):
            for width in widths:
                suffix = f"-{width}-{scheme}" if directory else f"-{scheme}"
                set_appearance(page, scheme, width)
                for name, path in paths.items():
                    page.goto(f"{server.url}/_mock/#/{path}")
                    wait_until_settled(page)
                    save(page.screenshot(), (directory or SCREENSHOTS) / f"{name}{suffix}.png")
                for name, (view, opener) in dialogs.items():
                    page.goto(f"{server.url}/_mock/#/reports/{view}")
                    wait_until_settled(page)
                    page.locator(opener).click()
                    page.wait_for_timeout(300)
                    save(page.screenshot(), (directory or SCREENSHOTS) / f"{name}{suffix}.png")
                    page.keyboard.press("Escape")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
