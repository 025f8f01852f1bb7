"""Measure the load time and size of the dashboard in a browser.

    python benchmarks/dashboard.py [--json FILE]

Each visit uses a new browser profile and a world with 10,000 containers.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, sync_playwright

from mockserver.server.serving import MockServer

VISITS = 15
MEASURE = """() => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter((each) => each.name.includes("/_mock/static/") || each.entryType === "navigation");
    return { paint, weight: loaded.reduce((sum, each) => sum + each.decodedBodySize, 0), requests: loaded.length };
}"""


def visit(browser: Browser, url: str) -> dict[str, float]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(f"{url}/_mock/")
        page.locator("main .rows > li").first.wait_for()
        rows: float = page.evaluate("performance.now()")
        return {**page.evaluate(MEASURE), "rows": rows}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    given = arguments.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with MockServer() as server, sync_playwright() as playwright:
        seed = {"containers": [{"name": "box {n}", "repeat": 10_000}]}
        httpx2.post(f"{server.url}/_mock/worlds/default/place", json=seed, timeout=60).raise_for_status()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        visit(browser, server.url)  # warm-up
        visits = [visit(browser, server.url) for _ in range(VISITS)]
        browser.close()
    figures = {
        "first_paint_ms": round(statistics.median(each["paint"] for each in visits)),
        "first_paint_worst_ms": round(max(each["paint"] for each in visits)),
        "first_rows_ms": round(statistics.median(each["rows"] for each in visits)),
        "weight_bytes": visits[0]["weight"],
        "requests": visits[0]["requests"],
    }
    for name, value in figures.items():
        print(f"{name:22} {value}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
