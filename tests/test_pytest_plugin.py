"""The pytest plugin as installed: each test runs pytest on a test suite of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from mockserver import pytest_plugin
from mockserver.cli import reports
from mockserver.server.serving import MockServer

pytestmark = pytest.mark.slow  # starts a pytest of its own for each test

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the metadata and the entry point that an installer would write."""
    folder = tmp_path_factory.mktemp("installed")
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = folder / "mockserver_plugin-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mockserver-plugin\nVersion: 0\n")
    lines = ["[pytest11]", *(f"{name} = {module}" for name, module in entry.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def run(pytester: pytest.Pytester, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), str(ROOT)]))
    for name in ("MOCKSERVER_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)

    def run_pytest(*arguments: str) -> pytest.RunResult:
        # The plugin of Hypothesis takes longer to load than these tests take to run.
        return pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-W", "error", "-rA", *arguments)

    return run_pytest


def test_a_suite_can_use_the_fixtures_settings_and_marks(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makefile(".yaml", seed="version: 1\ncontainers: [{name: everywhere}]\n")
    pytester.makefile(
        ".toml",
        pyproject="""
        [tool.pytest.ini_options]
        addopts = ["--strict-markers", "--strict-config"]
        mockserver_seed = ["seed.yaml"]
        mockserver_profile = "live"
        """,
    )
    pytester.makeconftest(
        """
        import json
        import os
        import urllib.request
        from urllib.error import HTTPError

        import pytest

        @pytest.fixture(scope="session")
        def openai_mock_settings():
            return {"max_upload": "1KB", "id_seed": "ours"}

        @pytest.fixture
        def application():
            '''Calls the API at the URL and with the key of the environment, as every OpenAI client does.'''
            base, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]

            def call(method, path, body=None):
                headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
                data = json.dumps(body).encode() if body else None
                request = urllib.request.Request(base + path, data, headers, method=method)
                try:
                    with urllib.request.urlopen(request) as response:
                        return response.status, json.load(response)
                except HTTPError as error:
                    with error:
                        return error.code, json.load(error)

            return call
        """
    )
    pytester.makepyfile(
        test_it="""
        import asyncio
        import os

        import openai
        import pytest

        worlds = []

        def container_names(application):
            return [each["name"] for each in application("GET", "/containers")[1]["data"]]

        def test_the_environment_is_clean_before():
            assert not {"OPENAI_BASE_URL", "OPENAI_API_KEY", "MOCKSERVER_URL", "MOCKSERVER_WORLD"} & os.environ.keys()

        def test_an_openai_client(openai_mock):
            with openai.OpenAI() as client:
                assert str(client.base_url).rstrip("/") == openai_mock.base_url
                box = client.containers.create(name="box")
                openai_mock.clock.freeze()
                assert openai_mock.clock.advance("20m")["expired_containers"] == [
                    each.id for each in client.containers.list(order="asc")
                ]
                assert client.containers.retrieve(box.id).status == "expired"

        def test_an_async_client(openai_mock):
            async def main():
                async with openai.AsyncOpenAI() as client:
                    await client.containers.create(name="box")
                    openai_mock.clock.freeze(0)
                    return (await client.containers.create(name="box")).created_at

            assert asyncio.run(main()) == 0

        @pytest.mark.parametrize("text", ["a/b", "ä ö", "x" * 100])
        def test_each_test_gets_a_new_world(openai_mock, application, text):
            assert container_names(application) == ["everywhere"]
            application("POST", "/containers", {"name": "box"})
            worlds.append(openai_mock.world)

        def test_worlds_are_deleted_after_their_test(openai_mock_server):
            listed = openai_mock_server.control("GET", "worlds")["data"]
            assert [each["name"] for each in listed] == ["default"]
            assert len(set(worlds)) == 3

        def test_the_server_has_the_settings_of_the_suite(openai_mock_server):
            assert openai_mock_server.mock.settings.id_seed == "ours"
            assert openai_mock_server.mock.settings.max_upload == 1024

        def test_the_profile_comes_from_the_configuration(openai_mock, application):
            body = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            assert application("POST", "/containers", body)[0] == 400

        @pytest.mark.openai_mock(profile="default")
        def test_a_mark_sets_the_profile(application):
            body = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            assert application("POST", "/containers", body)[0] == 200

        @pytest.mark.parametrize("profile", [
            pytest.param(profile, marks=pytest.mark.openai_mock(profile=profile))
            for profile in ("live,delete_lag=5m", {"base": "live", "delete_lag": 300}, {"delete_lag": "5m"})
        ], ids=str)
        def test_a_mark_sets_switches_of_the_profile(openai_mock, application, profile):
            assert application("GET", "/containers")[0] == 200
            shown = openai_mock.state()["profile"]
            assert (shown["max_minutes"], shown["delete_lag"]) == (20, 300)

        @pytest.mark.openai_mock(frozen="2026-01-31T12:00:00Z")
        class TestMarked:
            def test_the_mark_of_the_class(self, application):
                assert application("POST", "/containers", {"name": "box"})[1]["created_at"] == 1769860800

            @pytest.mark.openai_mock(frozen=1)
            def test_the_nearest_mark_wins(self, application):
                assert application("POST", "/containers", {"name": "box"})[1]["created_at"] == 1

            @pytest.mark.openai_mock(empty=True)
            def test_both_marks(self, openai_mock, application):
                assert container_names(application) == []
                assert openai_mock.clock.state()["mode"] == "frozen"

        @pytest.mark.openai_mock(clock={"offset": "-1d", "rate": 60})
        def test_a_clock(openai_mock):
            assert openai_mock.clock.state()["mode"] == "scaled"

        @pytest.mark.parametrize(
            "marked", [pytest.param(True, marks=pytest.mark.openai_mock(frozen=True)), pytest.param(False)]
        )
        def test_a_mark_of_one_case(request, marked):
            assert ("openai_mock" in request.fixturenames) is marked
            assert ("OPENAI_BASE_URL" in os.environ) is marked

        def test_the_environment_is_clean_after():
            assert not {"OPENAI_BASE_URL", "OPENAI_API_KEY", "MOCKSERVER_URL", "MOCKSERVER_WORLD"} & os.environ.keys()
        """
    )
    run().assert_outcomes(passed=20)


APPLICATION = """
import json
import os
import urllib.request
from contextlib import suppress
from urllib.error import HTTPError

def call(method, path, body=None):
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + path, data, headers, method=method)
    with urllib.request.urlopen(request) as response:
        return json.load(response)
"""


def test_the_report_of_a_failed_test_shows_its_last_exchanges(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(application=APPLICATION)
    pytester.makepyfile(
        """
        import pytest
        from application import HTTPError, call, suppress

        def test_passes(openai_mock):
            call("POST", "/containers", {"name": "of another test"})

        def test_fails(openai_mock):
            for _ in range(25):
                call("GET", "/containers?limit=1")
            box = call("POST", "/containers", {"name": "box"})
            openai_mock.faults.add(error="rate_limited", id="slow_down")
            with suppress(HTTPError) as error:
                call("DELETE", f"/containers/{box['id']}")
            assert False

        def test_sends_nothing(openai_mock):
            assert False

        @pytest.fixture
        def cleanup(openai_mock):
            yield
            try:
                call("DELETE", "/containers/cntr_x")
            except HTTPError as error:
                error.close()
                raise RuntimeError("cleanup")

        def test_fails_at_the_end(cleanup):
            pass
        """
    )
    result = run("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
    result.assert_outcomes(passed=2, failed=2, errors=1)
    text = result.stdout.str()
    assert "of another test" not in text
    assert text.count("GET    /v1/containers?limit=1  200") == 18, (
        "20 exchanges are shown, of which the last two are others"
    )
    result.stdout.re_match_lines(
        [
            r".* ERROR at teardown of test_fails_at_the_end .*",
            r"-+ last exchanges in world test-fails-at-the-end-[0-9a-f]{8} -+",
            r"#1 .*  DELETE /v1/containers/cntr_x  404  \d+ ms  Container with id 'cntr_x' not found\.",
            r".* test_fails .*",
            r"-+ last exchanges in world test-fails-[0-9a-f]{8} -+",
            r"#26 .*  POST   /v1/containers  200  \d+ ms",
            r"#27 .*  DELETE /v1/containers/cntr_\w+  429  \d+ ms  fault slow_down; Rate limit reached .*",
            r".* test_sends_nothing .*",
            r"-+ last exchanges in world test-sends-nothing-.*-+",
            r"none: no request reached it",
        ],
        consecutive=False,
    )


def test_the_report_of_a_wrong_call_shows_the_line_of_the_test(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        def test_misspells_an_effect(openai_mock):
            openai_mock.faults.add(eror="rate_limited")

        def test_misspells_a_duration(openai_mock):
            openai_mock.clock.advance("5 minutes")

        def test_waits_for_nothing(openai_mock):
            openai_mock.journal.wait(timeout=0)
        """
    )
    result = run()
    result.assert_outcomes(failed=3)
    shown = re.findall(r"^(\S+\.py):\d+: \w+", result.stdout.str(), re.MULTILINE)
    assert shown == ["test_the_report_of_a_wrong_call_shows_the_line_of_the_test.py"] * 3, (
        "no line of the mock's client"
    )


VERDICT_TESTS = """
import pytest
from application import HTTPError, call

@pytest.fixture
def box(openai_mock):
    box = call("POST", "/containers", {"name": "box"})
    yield box
    call("DELETE", f"/containers/{box['id']}")

def test_cleans_up(box): ...

def test_leaves_a_container(openai_mock):
    call("POST", "/containers", {"name": "left"})

@pytest.mark.openai_mock(
    ignore={NAME}, seed=None, empty=None, profile=None, frozen=None, clock=None, verdict=None
)
def test_may_leave_a_container(openai_mock):
    call("POST", "/containers", {"name": "left"})

@pytest.mark.openai_mock(verdict=False)
def test_without_a_verdict(openai_mock):
    call("POST", "/containers", {"name": "left"})

def test_fails_anyway(openai_mock):
    call("POST", "/containers", {"name": "left"})
    assert False

@pytest.mark.openai_mock(verdict=True)
def test_with_a_verdict(openai_mock):
    call("POST", "/containers", {"name": "left"})
"""


def test_a_test_fails_if_the_verdict_has_findings(
    pytester: pytest.Pytester, run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "container-never-deleted"
    pytester.makepyfile(application=APPLICATION, test_it=VERDICT_TESTS.replace("NAME", repr(name)))
    result = run("--mockserver-verdict")
    result.assert_outcomes(passed=5, failed=1, errors=2)
    result.stdout.re_match_lines(
        [
            r".* ERROR at teardown of test_leaves_a_container .*",
            r"The client misbehaved\.",
            rf"{name}: .*",
            r"  #1 .* POST   /v1/containers  200 .*",
            rf"If the test intends it: @pytest\.mark\.openai_mock\(ignore=\['{name}'\]\)",
            r".* ERROR at teardown of test_with_a_verdict .*",
        ]
    )
    monkeypatch.setenv("MOCKSERVER_URL", server.url)  # to start another server would take a second
    run().assert_outcomes(passed=5, failed=1, errors=1)
    pytester.makeini(f"[pytest]\nmockserver_verdict = true\nmockserver_ignore = {name}")
    run().assert_outcomes(passed=5, failed=1)


INVALID_MARKS = {
    "@pytest.mark.openai_mock(frozn=True)": (
        "@pytest.mark.openai_mock: unknown argument 'frozn'; did you mean 'frozen'? choose one of: seed, empty, *"
    ),
    "@pytest.mark.openai_mock('live')": "@pytest.mark.openai_mock takes its arguments by name: seed, empty, *",
    "@pytest.mark.openai_mock(profile='lively')": "*world can't be made: name: unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract *",
    "@pytest.mark.openai_mock(frozen='noon')": "*world can't be made: at: 'noon' is not an instant; write 2026-*",
    "@pytest.mark.openai_mock(frozen=True, clock={'rate': 0})": "*world can't be made: give either frozen or clock;*",
    "@pytest.mark.openai_mock(seed='none.yaml')": "*world can't be made: no seed none.yaml in *",
    "@pytest.mark.openai_mock(verdict='false')": "@pytest.mark.openai_mock: verdict='false' can't be used; give True or *",
    "@pytest.mark.openai_mock(empty='no')": "@pytest.mark.openai_mock: empty='no' can't be used; give True: *",
    "@pytest.mark.openai_mock(seed=['a.yaml', 1])": "@pytest.mark.openai_mock: seed=?'a.yaml', 1? can't be used; give a *",
    "@pytest.mark.openai_mock(frozen={})": "@pytest.mark.openai_mock: frozen={} can't be used; give an instant *",
    "@pytest.mark.openai_mock(seed='bad.yaml')": "*world can't be made: *bad.yaml:1: version 2 is newer *",
    "@pytest.mark.openai_mock(seed='lost.yaml')": "*world can't be made: *lost.bin*",
    "@pytest.mark.openai_mock(ignore=['use-after-expiri'])": "*world can't be made: ignore: unknown finding 'use-after-expiri'; did *",
}


def test_an_invalid_mark_is_an_error_of_one_line(pytester: pytest.Pytester, run: Run, server: MockServer) -> None:
    tests = "\n".join(f"{mark}\ndef test_{number}(): ..." for number, mark in enumerate(INVALID_MARKS))
    pytester.makepyfile(f"import pytest\n{tests}")
    pytester.makefile(".yaml", bad="version: 2", lost="version: 1\nfiles: [{from: lost.bin}]")
    result = run("--tb=short", f"--mockserver-url={server.url}")
    result.assert_outcomes(errors=len(INVALID_MARKS))
    result.stdout.fnmatch_lines(list(INVALID_MARKS.values()))
    assert " or /" not in result.stdout.str(), "no directory is named twice"
    assert "Traceback" not in result.stdout.str()


def make_suite_with(pytester: pytest.Pytester, settings: dict[str, object]) -> None:
    """Write two tests that use a server with these settings."""
    fixture = f"@pytest.fixture(scope='session')\ndef openai_mock_settings(): return {settings!r}"
    pytester.makepyfile(f"import pytest\n{fixture}\ndef test_it(openai_mock): ...\ndef test_again(openai_mock): ...")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": 1}, "openai_mock_settings: unknown setting 'colour'; choose one of: host, port, *"),
        (None, "openai_mock_settings: None can't be used; return a dict of settings"),  # type: ignore[arg-type]
        ({"tls_cert": "a.pem"}, "openai_mock_settings: tls_cert can't be used, *"),
        (
            {"profile": "lively"},
            "the mock server can't start: profile: unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract",
        ),
        ({"seed": ["none.yaml"]}, "the mock server can't start: none.yaml: *; correct the path of the seed"),
    ],
)
def test_an_invalid_setting_is_an_error_of_one_line(
    pytester: pytest.Pytester, run: Run, settings: dict[str, object], message: str
) -> None:
    make_suite_with(pytester, settings)
    result = run("--tb=short")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([message])


PRINTING_TESTS = """
import os
import pytest
from application import call

@pytest.mark.openai_mock(frozen="2026-01-31T12:00:00Z")
@pytest.mark.parametrize("number", range(8))
def test_it(number, openai_mock, openai_mock_server):
    box = call("POST", "/containers", {"name": "box"})
    print("server", openai_mock_server.url)
    print("world", openai_mock.world)
    print("id", number, box["id"])
"""


def printed(result: pytest.RunResult, label: str) -> list[str]:
    return re.findall(rf"^{label} (.*)$", result.stdout.str(), re.MULTILINE)


def test_each_xdist_worker_has_its_own_server(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(application=APPLICATION, test_it=PRINTING_TESTS)
    result = run("-n2", "--dist=each")
    result.assert_outcomes(passed=16)
    assert len(set(printed(result, "server"))) == 2
    assert len(printed(result, "id")) == 16
    assert len(set(printed(result, "id"))) == 8, "on a frozen clock, ids are the same on every run"


@pytest.mark.parametrize("source", ["option", "environment", "configuration"])
def test_a_running_server_can_be_used_by_url(
    pytester: pytest.Pytester, run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    before = server.mock.worlds.names()
    pytester.makefile(".yaml", seed="version: 1\ncontainers: [{name: everywhere}]\n")
    url = f"mockserver_url = {server.url}" if source == "configuration" else ""
    pytester.makeini(f"[pytest]\nmockserver_profile = live\n{url}")
    pytester.makepyfile(application=APPLICATION, test_it=PRINTING_TESTS)
    if source == "environment":
        monkeypatch.setenv("MOCKSERVER_URL", server.url)
    result = run(*(["-n2", "--mockserver-url", server.base_url] if source == "option" else []))
    result.assert_outcomes(passed=8)
    assert set(printed(result, "server")) == {server.url}
    assert len(printed(result, "world")) == 8
    assert len(set(printed(result, "world"))) == (2 if source == "option" else 1), "clients keep the name of the world"
    assert len(set(printed(result, "id"))) == 8
    assert server.mock.worlds.names() == before


LEAKING_TESTS = """
import pytest
from application import call

def leak():
    call("POST", "/containers", {"name": "left"})

def test_leaks(openai_mock): leak()

@pytest.mark.openai_mock(ignore="container-never-deleted")
def test_ignores_it(openai_mock): leak()

@pytest.mark.openai_mock(verdict=False)
def test_has_no_verdict(openai_mock): leak()

@pytest.mark.xfail
def test_fails(openai_mock):
    leak()
    assert False
"""


def test_a_running_server_sees_the_mistakes_that_a_test_does_not_forgive(
    pytester: pytest.Pytester, run: Run, tmp_path: Path
) -> None:
    pytester.makepyfile(application=APPLICATION, test_it=LEAKING_TESTS)
    with MockServer() as server:
        deleted = reports.Deleted(server.mock, [])
        run("--mockserver-url", server.url).assert_outcomes(passed=3, xfailed=1)
        (verdict,) = deleted.verdicts().values()
    assert [each["name"] for each in verdict["findings"]] == ["container-never-deleted"]


CONFIGURED_TESTS = """
import pytest
from application import call

def state(world):
    names = sorted(each["name"] for each in call("GET", "/containers")["data"])
    state = world.state()
    return names, state["profile"]["delete_lag"], state["profile"]["max_minutes"], state["clock"]["iso"][:10]

def test_the_configuration(openai_mock):
    assert state(openai_mock) == (["archived", "seeded"], 0, 20, "2026-01-01")

@pytest.mark.openai_mock(empty=True)
def test_empty(openai_mock):
    assert state(openai_mock)[:1] == ([],)

@pytest.mark.openai_mock(profile={"delete_lag": "5m"})
def test_switches(openai_mock):
    assert state(openai_mock) == (["archived", "seeded"], 300, 20, "2026-01-01")

@pytest.mark.openai_mock(profile="delete_lag=5m")
def test_switches_as_text(openai_mock):
    assert state(openai_mock) == (["archived", "seeded"], 300, 20, "2026-01-01")

@pytest.mark.openai_mock(profile="default,delete_lag=5m", frozen="2026-03-03", seed="mark.yaml")
def test_a_mark_wins_over_seeds(openai_mock):
    names, *rest = state(openai_mock)
    assert names == ["archived", "marked", "seeded"]
    assert rest == [300, 5_270_400, "2026-03-03"]
"""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own server", "running server"])
def test_the_configuration_means_the_same_on_every_server(
    pytester: pytest.Pytester, run: Run, server: MockServer, elsewhere: bool
) -> None:
    pytester.makefile(
        ".yaml",
        seed="version: 1\ncontainers: [{name: seeded}]\n",
        mark="version: 1\nprofile: live\nclock: {at: 2026-02-02, rate: 0}\ncontainers: [{name: marked}]\n",
    )
    archived = {"containers": [{"name": "archived"}]}
    with server.world(frozen="2026-01-01", profile="live", seed=archived) as world:
        world.export(pytester.path / "world.zip")
    pytester.makeini("[pytest]\nmockserver_profile = live\nmockserver_seed = world.zip seed.yaml\n")
    pytester.makepyfile(application=APPLICATION, test_it=CONFIGURED_TESTS)
    run(*(["--mockserver-url", server.url] if elsewhere else [])).assert_outcomes(passed=5)


def test_settings_for_our_own_server_cause_a_warning_with_a_running_one(
    pytester: pytest.Pytester, run: Run, server: MockServer
) -> None:
    make_suite_with(pytester, {"max_upload": "1KB"})
    result = run("-W", "default", "--mockserver-url", server.url)
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines([f"*openai_mock_settings is ignored: the server at {server.url} (--mockserver-url) *"])


@pytest.mark.parametrize("url", ["http://localhost:1 /", "ftp://localhost"])
def test_an_invalid_url_is_an_error_of_one_line(pytester: pytest.Pytester, run: Run, url: str) -> None:
    pytester.makepyfile("def test_it(openai_mock): ...")
    result = run(f"--mockserver-url={url}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["'*' is not the URL of a server; write it like http://localhost:8080. The URL is *"])


def test_an_unreachable_server_is_an_error_that_names_its_url(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_it(openai_mock): ...")
    result = run("--mockserver-url=http://localhost:9")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["no mock server responds at http://localhost:9 *. The URL is given by --mockserver-url; without it tests *"]
    )


def test_importing_the_plugin_loads_no_other_module() -> None:
    """Where the package is installed, every run of pytest imports the plugin."""
    program = """
import sys, pytest
before = set(sys.modules)
import mockserver.pytest_plugin
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    own, *parts = done.stdout.split()
    assert own == "mockserver"
    assert all(part.startswith("mockserver.pytest_plugin") for part in parts)


def test_a_suite_without_the_fixtures_loads_no_server(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            loaded = {each for each in sys.modules if each.startswith("mockserver.")}
            assert "mockserver.pytest_plugin" in loaded
            assert all(each.startswith("mockserver.pytest_plugin") for each in loaded)
            assert "fastapi" not in sys.modules
        """
    )
    run().assert_outcomes(passed=1)


def test_pytest_help_lists_the_marks_fixtures_and_options(run: Run) -> None:
    listed = run("--markers").stdout.str() + run("--fixtures").stdout.str()
    assert all(f"{name}=…" in listed for name in pytest_plugin.MARKS)
    assert re.search(r"^openai_mock_server .* -- .*pytest_plugin", listed, re.MULTILINE)
    assert re.search(r"^openai_mock -- .*pytest_plugin", listed, re.MULTILINE)
    help = run("--help").stdout.str()
    assert "--mockserver-url=URL" in help
    assert "--mockserver-verdict" in help
    assert all(name in help for name in pytest_plugin.OPTIONS)


# Clients that are created before their test


CLIENTS_MODULE = """
import asyncio
import functools

import openai
from openai import AsyncOpenAI, OpenAI

client = OpenAI(max_retries=0)
asynchronous = AsyncOpenAI(max_retries=0, default_headers={"Connection": "close"})  # each test has its own event loop

@functools.cache
def cached_client():
    return OpenAI(max_retries=0)

def send():
    client.containers.create(name="created at import")
    cached_client().containers.create(name="cached")
    openai.containers.create(name="default client")
    asyncio.run(send_asynchronously())

async def send_asynchronously():
    await asynchronous.containers.create(name="asynchronous")
"""

SENDING_TESTS = """
import os

import openai
import pytest
from clients import send

@pytest.fixture(scope="session")
def session_client():
    with openai.OpenAI(max_retries=0) as client:
        yield client

@pytest.mark.parametrize("number", range(3))
def test_it(session_client, openai_mock, number):
    assert os.environ["OPENAI_BASE_URL"] == openai_mock.base_url
    send()
    session_client.containers.create(name="of the session")
    names = [each["request"]["body"]["name"] for each in openai_mock.journal]
    assert names == ["created at import", "cached", "default client", "asynchronous", "of the session"]
    assert openai_mock.state()["counts"]["containers"] == 5
"""


@pytest.mark.parametrize("setup", ["thread", "child", "xdist", "url", "api_key"])
def test_clients_created_at_any_time_send_to_the_world_of_the_current_test(
    pytester: pytest.Pytester, run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch, setup: str
) -> None:
    pytester.makepyfile(clients=CLIENTS_MODULE, test_it=SENDING_TESTS)
    if setup == "api_key":
        pytester.makeconftest(
            """
            import pytest

            @pytest.fixture(scope="session")
            def openai_mock_settings():
                return {"api_key": ["secret"]}
            """
        )
    if setup in ("child", "api_key"):  # keys and proxies of the environment must not be used
        monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = server.mock.worlds.names()
    options = {
        "child": ["--mockserver-process=child"],
        "xdist": ["-n2"],
        "url": [f"--mockserver-url={server.url}"],
    }
    run(*options.get(setup, ["--mockserver-process=thread"])).assert_outcomes(passed=3)
    assert server.mock.worlds.names() == before


def test_requests_outside_of_a_test_get_an_error_that_names_the_cause(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        clients=CLIENTS_MODULE,
        test_early="from clients import client\nclient.containers.create(name='box')\n",
        test_it="""
        import pytest
        from clients import client

        def test_before_the_server_starts():
            client.containers.create(name="box")

        @pytest.fixture(scope="session")
        def early():
            client.containers.create(name="box")

        def test_a_session_fixture(early, openai_mock): ...

        def test_inside(openai_mock):
            client.containers.create(name="box")

        def test_without_the_fixture():
            client.containers.create(name="box")
        """,
    )
    result = run("--continue-on-collection-errors", "--tb=short")
    result.assert_outcomes(passed=1, failed=2, errors=2)
    text = result.stdout.str()
    assert text.count("found no server: it starts with the first test that uses the fixture openai_mock.") == 2
    assert text.count("for whichever test is running, and no test that uses the fixture openai_mock is. Add") >= 2
    assert "that sends this request (POST /v1/containers)" in text


REAL_API_TESTS = """
import os
import pytest

assert "OPENAI_BASE_URL" not in os.environ
key = os.environ.get("OPENAI_API_KEY")

@pytest.mark.skipif(not key, reason="no key")
def test_the_real_api():
    assert os.environ["OPENAI_API_KEY"] == key == "sk-real"
"""


@pytest.mark.parametrize("mocked", ["", "def test_mocked(openai_mock): ..."])
def test_tests_without_the_fixtures_keep_their_environment(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch, mocked: str
) -> None:
    pytester.makepyfile(test_a=mocked, test_b=REAL_API_TESTS)
    run().assert_outcomes(passed=int(bool(mocked)), skipped=1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    run().assert_outcomes(passed=1 + bool(mocked))


@pytest.mark.parametrize(("when", "is_set"), [("auto", False), ("always", True), ("never", False)])
def test_a_setting_controls_the_environment_during_collection(
    pytester: pytest.Pytester, run: Run, when: str, is_set: bool
) -> None:
    pytester.makeini(f"[pytest]\nmockserver_environment = {when}")
    pytester.makeconftest("import os\nearly = 'OPENAI_BASE_URL' in os.environ")
    pytester.makepyfile(
        f"import os\nimport conftest\nduring = 'OPENAI_BASE_URL' in os.environ\n"
        f"def test_it():\n    assert conftest.early is during is {is_set}\n"
        f"    assert 'OPENAI_BASE_URL' not in os.environ\n"
    )
    run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("mockserver_environment", "unknown value 'sometimes'; choose one of: auto, *"),
        ("mockserver_process", "unknown value 'sometimes'; choose one of: auto, *"),
        ("mockserver_verdict", "*'sometimes'; write true or false"),
    ],
)
def test_an_unknown_value_of_an_option_is_a_usage_error(
    pytester: pytest.Pytester, run: Run, option: str, message: str
) -> None:
    pytester.makeini(f"[pytest]\n{option} = sometimes")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: {message}"])


# Tests that patch their own process


@pytest.mark.parametrize("process", ["auto", "thread"])
def test_freezegun_does_not_affect_the_server(pytester: pytest.Pytester, run: Run, process: str) -> None:
    pytester.makepyfile(
        """
        import datetime

        from freezegun import freeze_time
        from openai import OpenAI

        def test_frozen(openai_mock, openai_mock_server):
            with freeze_time("2020-01-01"), OpenAI(max_retries=0) as client:
                box = client.containers.create(name="box")
                assert client.containers.retrieve(box.id).status == "running"
                assert len(openai_mock.journal) == 2
                openai_mock.faults.add(error="rate_limited", times=1)
                with openai_mock.snapshot():
                    openai_mock.clock.advance("20m")
                assert openai_mock.verdict().findings is not None
            assert box.created_at > datetime.datetime(2026, 1, 1).timestamp()

        def test_afterwards(openai_mock):
            assert openai_mock.faults.list() == []
            assert openai_mock.seed({"containers": [{"name": "box"}]})["containers"]
        """
    )
    run(f"--mockserver-process={process}", "-W", "default::DeprecationWarning").assert_outcomes(passed=2)


def test_pyfakefs_does_not_affect_the_server(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from openai import OpenAI

        def test_fake(fs, openai_mock):
            with OpenAI(max_retries=0) as client:
                box = client.containers.create(name="box")
                content = b"x" * (1 << 20)
                file = client.containers.files.create(box.id, file=("large.bin", content))
                assert client.containers.files.content.retrieve(file.id, container_id=box.id).read() == content
            assert openai_mock.verdict() is not None

        def test_afterwards(openai_mock):
            assert openai_mock.state()["counts"]["containers"] == 0
        """
    )
    run().assert_outcomes(passed=2)


GEVENT_WARNINGS = ["-W", "ignore:Monkey-patching ssl", "-W", "ignore::DeprecationWarning"]


def test_a_process_patched_by_gevent_gets_a_server_in_a_child_process(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest("from gevent import monkey\nmonkey.patch_all()")
    pytester.makepyfile(
        """
        import pytest
        from openai import OpenAI

        def test_it(openai_mock, openai_mock_server):
            with OpenAI(max_retries=0) as client:
                client.containers.create(name="box")
            assert len(openai_mock.journal) == 1
            with pytest.raises(AttributeError, match="child process, so it has no `mock`; .* mockserver_process = thr"):
                openai_mock_server.mock

        def test_a_server_in_a_thread():
            from mockserver import MockServer

            with pytest.raises(RuntimeError, match="gevent has replaced the threads and sockets"), MockServer():
                pass
        """
    )
    run(*GEVENT_WARNINGS).assert_outcomes(passed=2)
    result = run(*GEVENT_WARNINGS, "--mockserver-process=thread", "-k", "test_it")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*can't run in a thread, for gevent has replaced threads *mockserver_process = child*"]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": ["none.yaml"]}, "the mock server can't start: none.yaml: *; correct the path of the seed"),
        (
            {"profile": "lively"},
            "the mock server can't start: profile: unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract",
        ),
        ({"host": ["203.0.113.1"]}, "the mock server can't start: can't listen on 203.0.113.1 port 0: *"),
    ],
)
def test_a_child_process_that_fails_to_start_reports_the_reason(
    pytester: pytest.Pytester, run: Run, settings: dict[str, object], message: str
) -> None:
    make_suite_with(pytester, settings)
    result = run("--tb=short", "--mockserver-process=child")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([message])


def test_a_server_in_a_child_process_supports_the_same_settings_and_verdict(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makefile(".yaml", seed="version: 1\ncontainers: [{name: everywhere}]\n")
    pytester.makeini(
        "[pytest]\nmockserver_seed = seed.yaml\nmockserver_profile = live\nmockserver_verdict = true\n"
        "mockserver_process = child"
    )
    pytester.makepyfile(
        application=APPLICATION,
        test_it="""
        import os
        import pytest
        from application import call

        @pytest.fixture(scope="session")
        def openai_mock_settings():
            return {"id_seed": "ours", "max_upload": 1024}

        @pytest.mark.openai_mock(verdict=False, frozen=0)
        def test_settings(openai_mock, openai_mock_server):
            assert [each["name"] for each in call("GET", "/containers")["data"]] == ["everywhere"]
            assert openai_mock.state()["profile"]["max_minutes"] == 20
            assert openai_mock_server.settings.max_upload == 1024
            assert call("POST", "/containers", {"name": "box"})["created_at"] == 0

        def test_verdict(openai_mock):
            call("POST", "/containers", {"name": "left"})
        """,
    )
    result = run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["The client misbehaved.", "container-never-deleted: *"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_process_ends_when_its_parent_is_killed(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import os, signal

        def test_it(openai_mock_server, openai_mock):
            print(openai_mock_server._process.pid, file=open("pid", "w"), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = run("--mockserver-process=child", "-p", "no:cacheprovider")
    assert result.ret == -signal.SIGKILL
    child = int((pytester.path / "pid").read_text())
    pause = threading.Event()
    while (
        Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes()
    ):  # a zombie has an empty one
        pause.wait(0.01)
