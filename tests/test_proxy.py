"""The mock behind a proxy that serves it under a path prefix: pages, assets, redirects, clients and commands."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx2
import openai
import pytest
from click.testing import CliRunner
from conftest import ok

from mockserver.cli import main
from mockserver.server.serving import MockServer
from mockserver.testing import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

PREFIX = "/user/me/proxy/8080"
HTML = {"Accept": "text/html"}
SKILL = ("greet/SKILL.md", b"---\nname: greet\ndescription: Greet people.\n---\n")


class Proxy(ThreadingHTTPServer):
    """Forwards requests under PREFIX, and keeps or strips it. Rejects and records all other requests."""

    daemon_threads = True

    def __init__(self, server: MockServer, keep_prefix: bool) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.keep_prefix, self.port = keep_prefix, server.port
        self.url = f"http://localhost:{self.server_address[1]}{PREFIX}"
        self.outside: list[str] = []


class Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def forward(self) -> None:
        if self.path != PREFIX and not self.path.startswith(f"{PREFIX}/"):
            self.server.outside.append(self.path)
            self.send_error(404)
            return
        path = self.path if self.server.keep_prefix else self.path.removeprefix(PREFIX) or "/"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.port)
        upstream.request(self.command, path, body, dict(self.headers.items()))
        with closing(upstream), upstream.getresponse() as response:
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(OSError, http.client.HTTPException):  # the page was closed, or the server has stopped
                while block := response.read1():
                    self.wfile.write(block)
                    self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815  # names that the base class defines

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def running_proxy(server: MockServer, keep_prefix: bool) -> Iterator[Proxy]:
    with Proxy(server, keep_prefix) as proxy:
        thread = Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
    assert proxy.outside == []


@pytest.fixture(scope="module")
def prefixed_server() -> Iterator[MockServer]:
    with MockServer(path_prefix=f"{PREFIX}/", control_token="sesame") as server:
        yield server


@pytest.fixture(params=["strips", "keeps"])
def proxy(request: pytest.FixtureRequest, server: MockServer, prefixed_server: MockServer) -> Iterator[Proxy]:
    """Return a proxy; one that keeps the prefix forwards to a server with `path_prefix`."""
    keep_prefix = request.param == "keeps"
    with running_proxy(prefixed_server if keep_prefix else server, keep_prefix) as proxy:
        yield proxy


def token(proxy: Proxy) -> str | None:
    return "sesame" if proxy.keep_prefix else None


# Clients


def test_clients_work_with_the_url_of_the_proxy(proxy: Proxy) -> None:
    server = Server(f"{proxy.url}/v1/", token=token(proxy))
    with server.world() as world, openai.OpenAI(base_url=world.base_url, api_key=world.api_key) as client:
        container = client.containers.create(name="box")
        assert world.clock.advance("20m")["expired_containers"] == [container.id]
        assert [each["path"] for each in world.journal] == [f"/w/{world.world}/v1/containers"]
        document = httpx2.get(f"{proxy.url}/openapi.json")
        base_url = urljoin(str(document.url), document.json()["servers"][0]["url"])
        assert base_url == f"{proxy.url}/v1"
        assert ok(httpx2.get(f"{base_url}/containers", headers={"Authorization": f"Bearer {world.api_key}"}))
    server.close()


def test_commands_work_with_the_url_of_the_proxy(proxy: Proxy) -> None:
    environment = {"MOCKSERVER_CONTROL_TOKEN": token(proxy), "MOCKSERVER_WORLD": None}
    for command in (
        ["world", "create", "blue"],
        ["healthcheck"],
        ["verdict", "--world", "blue"],
        ["world", "delete", "blue"],
    ):
        completed = CliRunner().invoke(main.main, [*command, "--url", proxy.url], env=environment)
        assert (completed.exit_code, completed.stderr) == (0, "")


def test_the_server_strips_the_prefix_only_once_and_only_as_whole_segments(prefixed_server: MockServer) -> None:
    for path, status in (("/v1", 200), ("/%76%31", 200), ("x/v1", 404), (f"{PREFIX}/v1", 404)):
        response = httpx2.get(f"{prefixed_server.url}{PREFIX}{path}/containers", headers={"Authorization": "Bearer k"})
        assert response.status_code == status
    assert httpx2.get(f"{prefixed_server.url}/v1/containers", headers={"Authorization": "Bearer k"}).status_code == 200


@pytest.mark.slow
def test_the_pytest_plugin_works_with_the_url_of_the_proxy(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import openai\n"
        "def test_it(openai_mock):\n"
        "    openai.OpenAI().containers.create(name='box')\n"
        "    assert len(openai_mock.journal) == 1\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOCKSERVER_")}
    environment |= {"MOCKSERVER_CONTROL_TOKEN": "sesame"}
    command = [sys.executable, "-m", "pytest", "-q", f"--mockserver-url={proxy.url}/", "-p", "no:schemathesis"]
    completed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr


# Pages


def test_redirects_stay_below_the_prefix(proxy: Proxy) -> None:
    dashboard = httpx2.get(f"{proxy.url}/_mock", headers=HTML, follow_redirects=True)
    assert str(dashboard.url) == f"{proxy.url}/_mock/"
    entrance = httpx2.get(proxy.url if proxy.keep_prefix else f"{proxy.url}/", headers=HTML, follow_redirects=True)
    assert str(entrance.url) == f"{proxy.url}/"
    assert 'href="_mock/"' in entrance.text


@pytest.mark.slow
def test_the_dashboard_and_swagger_ui_work_behind_the_proxy(proxy: Proxy, page: "Page") -> None:
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{proxy.url}/")
    page.get_by_role("link", name="Dashboard").click()
    if proxy.keep_prefix:
        page.locator("dialog [name=token]").fill("sesame")
        page.locator("dialog [name=token]").press("Enter")
    page.locator("#connection.on").wait_for()
    page.reload()  # signs in with the cookie
    page.locator("#connection.on").wait_for()
    page.get_by_text(f"export OPENAI_BASE_URL={proxy.url}/v1").wait_for()
    httpx2.post(f"{proxy.url}/v1/containers", json={"name": "seen"}, headers={"Authorization": "Bearer k"})
    page.locator("main li", has_text="seen").wait_for()
    page.on("response", lambda response: response.status >= 400 and problems.append(response.url))
    skill = ok(httpx2.post(f"{proxy.url}/v1/skills", files=[("files[]", SKILL)], headers={"Authorization": "Bearer k"}))
    for link in page.locator("nav [data-view]").all():
        link.click()
        page.locator(f"nav [data-view={link.get_attribute('data-view')}][aria-current]").wait_for()
        page.locator("main li:visible, main .nothing:visible, main .card b, main .facts dd").first.wait_for()
    page.goto(f"{proxy.url}/_mock/#/default/skills/{skill['id']}")
    page.locator(".folder summary", has_text="Version 1").click()
    page.locator(".folder summary", has_text="SKILL.md").click()
    page.locator(".folder pre", has_text="Greet people.").wait_for()
    page.goto(f"{proxy.url}/_mock/docs#/State/getState")
    operation = page.locator("#operations-State-getState")
    operation.get_by_role("button", name="Execute").click()
    operation.get_by_text('"uptime_seconds"').first.wait_for()
    assert problems == []
