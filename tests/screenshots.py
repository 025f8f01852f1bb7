"""Pictures of the dashboard for the manual, light and dark, of a world that is the same on each run.

    pip install pillow && python tests/screenshots.py [DIRECTORY]

writes those of the manual to fixtures/screenshots/; or to a directory every view, wide and narrow.
"""

import io
import math
import shutil
import struct
import sys
import zlib
from pathlib import Path

import httpx2
from conftest import BROWSER_ARGUMENTS, BROWSERS, NOON, World, ok
from playwright.sync_api import Page, sync_playwright

from mockserver.server.serving import MockServer

PICTURES = Path(__file__).parent.parent / "fixtures" / "screenshots"
SALES = "month,region,orders,revenue,share\n" + "".join(
    f"{month},{region},{orders},{orders * 41.5:.2f},{orders / 40:.1f}%\n"
    for month, base in zip(
        ("January", "February", "March", "April", "May", "June"), (910, 987, 1104, 1260, 1201, 1377), strict=True
    )
    for region, orders in (("North", base), ('"South, islands"', base // 2))
)
NOTES = (
    "# What to look at\n\nRevenue in the south lags by a month.\nCompare March with April before the report goes out.\n"
)
REPORT = '{"quarter": "2026-Q2", "revenue": 418204.5, "growth": 0.137, "regions": ["North", "South"], "final": false, "notes": null}'


def chart() -> bytes:
    """A PNG of bars, so that the pictures show a picture."""
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


def fill(world: World) -> tuple[str, str, int]:
    """A plausible afternoon of someone's code. Answers with a container, a file in it and an exchange to show."""
    control = httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}")
    with control:
        world.freeze(NOON - 1_500)
        http = world.http
        sales = ok(
            http.post("/files", files={"file": ("sales-2026.csv", SALES.encode())}, data={"purpose": "user_data"})
        )
        ok(http.post("/files", files={"file": ("handbook.txt", NOTES.encode() * 40)}, data={"purpose": "assistants"}))
        ok(
            http.post(
                "/files", files={"file": ("evaluation.jsonl", b'{"input": 1}\n' * 900)}, data={"purpose": "evals"}
            )
        )
        ok(http.post("/containers", json={"name": "nightly import", "memory_limit": "4g"}))
        world.advance(300)
        old = ok(http.post("/containers", json={"name": "draft of the report", "file_ids": [sales["id"]]}))
        world.advance(240)
        ok(http.post("/containers", json={"name": "scratch"}))
        world.advance(640)
        ok(
            http.post(
                "/containers",
                json={
                    "name": "churn model",
                    "memory_limit": "16g",
                    "network_policy": {"type": "allowlist", "allowed_domains": ["example.com", "example.org"]},
                },
            )
        )
        http.get(f"/containers/{old['id']}")
        world.advance(240)
        box = ok(
            http.post(
                "/containers", json={"name": "quarterly analysis", "memory_limit": "4g", "file_ids": [sales["id"]]}
            )
        )
        inside = f"/containers/{box['id']}/files"
        ok(http.post(inside, files={"file": ("notes.md", NOTES.encode())}))
        world.advance(35)
        for path, content in (
            ("plots/revenue.png", chart()),
            ("out/report.json", REPORT.encode()),
            ("out/revenue-by-region.csv", SALES.encode()),
        ):
            ok(
                control.post(
                    f"/containers/{box['id']}/files", files={"file": (path, io.BytesIO(content))}, data={"path": path}
                )
            )
        ok(http.get(inside, params={"order": "asc"}))
        ok(
            control.post(
                "/faults",
                json={
                    "id": "busy",
                    "match": {"operation": "RetrieveContainerFileContent"},
                    "times": 2,
                    "effect": {"error": "rate_limited", "retry_after": 1},
                },
            )
        )
        ok(
            control.post(
                "/faults",
                json={"id": "slow-lists", "match": {"operation": "List*"}, "enabled": False, "effect": {"latency": 2}},
            )
        )
        ok(
            control.post(
                "/faults",
                json={
                    "id": "one-in-ten",
                    "match": {"operation": "CreateContainerFile"},
                    "probability": 0.1,
                    "effect": {"error": "server_error"},
                },
            )
        )
        for number in range(3):
            world.advance(40)
            made = ok(http.post("/containers", json={"name": f"worker {number + 1}", "memory_limit": "1g"}))
            ok(http.get(f"/containers/{made['id']}"))
            ok(http.post(f"/containers/{made['id']}/files", files={"file": ("task.json", b'{"task": %d}' % number)}))
        shown = next(each for each in ok(http.get(inside))["data"] if each["path"].endswith("region.csv"))
        for _ in range(3):
            world.advance(1.2)
            http.get(f"{inside}/{shown['id']}/content")
        http.get("/containers/cntr_of_yesterday")
        http.post("/containers", json={"name": "typo", "memory_limit": "3g"})
        ok(http.delete(f"/containers/{made['id']}"))
        ok(http.get("/containers", params={"limit": 20}))
        ok(control.put("/snapshots/before-the-report"))
        ok(control.put("/snapshots/with-faults"))
        (limited,) = ok(control.get("/journal", params={"status": "429", "last": 1}))["data"]
        return box["id"], shown["id"], limited["number"]


def settled(page: Page) -> None:
    page.locator("#live.on").wait_for()
    page.locator(".pane > *:visible, .rows li:visible, .empty:visible, .card b:visible").first.wait_for()
    page.wait_for_load_state("load")
    page.wait_for_timeout(1_000)  # for pictures, and for what moves


def save(picture: bytes, path: Path) -> None:
    """With as few colours as do, which makes it a third as large."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(picture)) as image:
        few = image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


def shoot(page: Page, url: str, name: str, place: str, scheme: str, width: int, directory: Path) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # light or dark
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{url}/_mock/#/{place}")
    settled(page)
    save(page.screenshot(), directory / f"{name}-{scheme}.png")


def main(directory: Path | None) -> None:
    program = next(filter(None, map(shutil.which, BROWSERS)))
    with MockServer(port=8080) as server, World(server, "reports") as world, sync_playwright() as playwright:
        box, file, exchange = fill(world)
        shown = {"container": f"reports/containers/{box}/{file}", "exchange": f"reports/journal/{exchange}"}
        every = {
            **shown,
            **{view: f"reports/{view}" for view in ("containers", "files", "journal", "faults", "world")},
            "empty": "fresh/containers",
        }
        browser = playwright.chromium.launch(executable_path=program, args=BROWSER_ARGUMENTS)
        page = browser.new_page()
        for scheme in ("light", "dark"):
            if directory is None:
                for name, place in shown.items():
                    shoot(page, server.url, name, place, scheme, 1280, PICTURES)
            else:
                for width in (1280, 400):
                    for name, place in every.items():
                        shoot(page, server.url, f"{name}-{width}", place, scheme, width, directory)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
