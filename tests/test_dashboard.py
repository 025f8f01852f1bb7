"""The dashboard, in a real browser."""

from conftest import World
from playwright.sync_api import Page


def test_a_browser_reaches_the_server(world: World, page: Page) -> None:
    page.goto(f"{world.server.url}/health")
    assert '"ok"' in page.content()
