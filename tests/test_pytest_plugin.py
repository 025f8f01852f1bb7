"""The pytest plugin, as those meet it who installed the package: pytest run on test suites of their own."""

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
from mockserver.server.serving import MockServer

pytestmark = pytest.mark.slow  # starts a pytest of its own for each test

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is to be found, with the entry point that an installer would write."""
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

    def run_it(*arguments: str) -> pytest.RunResult:
        # Hypothesis' own plugin takes longer to load than all of these tests to run.
        return pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-W", "error", "-rA", *arguments)

    return run_it


def test_a_suite_of_tests_gets_what_it_asks_for(pytester: pytest.Pytester, run: Run) -> None:
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
            '''Knows nothing of a mock: it reads the environment, as every OpenAI client does.'''
            base, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]

            def call(method, path, body=None):
                headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
                data = json.dumps(body).encode() if body else None
                request = urllib.request.Request(base + path, data, headers, method=method)
                try:
                    with urllib.request.urlopen(request) as answer:
                        return answer.status, json.load(answer)
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

        seen = []

        def listed(application):
            return [each["name"] for each in application("GET", "/containers")[1]["data"]]

        def test_before():
            assert not {"OPENAI_BASE_URL", "OPENAI_API_KEY", "MOCKSERVER_URL", "MOCKSERVER_WORLD"} & os.environ.keys()

        def test_a_client_needs_no_change(openai_mock):
            with openai.OpenAI() as client:
                assert str(client.base_url).rstrip("/") == openai_mock.base_url
                box = client.containers.create(name="box")
                openai_mock.clock.freeze()
                assert openai_mock.clock.advance("20m")["expired_containers"] == [
                    each.id for each in client.containers.list(order="asc")
                ]
                assert client.containers.retrieve(box.id).status == "expired"

        def test_an_async_test_too(openai_mock):
            async def main():
                async with openai.AsyncOpenAI() as client:
                    await client.containers.create(name="box")
                    openai_mock.clock.freeze(0)
                    return (await client.containers.create(name="box")).created_at

            assert asyncio.run(main()) == 0

        @pytest.mark.parametrize("turn", ["a/b", "ä ö", "x" * 100])
        def test_worlds_are_fresh(openai_mock, application, turn):
            assert listed(application) == ["everywhere"]
            application("POST", "/containers", {"name": "box"})
            seen.append(openai_mock.world)

        def test_worlds_are_no_more(openai_mock_server):
            worlds = openai_mock_server.control("GET", "worlds")["data"]
            assert [each["name"] for each in worlds] == ["default"]
            assert len(set(seen)) == 3

        def test_the_server_is_ours(openai_mock_server):
            assert openai_mock_server.mock.settings.id_seed == "ours"
            assert openai_mock_server.mock.settings.max_upload == 1024

        def test_the_profile_is_the_suites(openai_mock, application):
            asked = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            assert application("POST", "/containers", asked)[0] == 400

        @pytest.mark.openai_mock(profile="default")
        def test_a_test_has_its_own(application):
            asked = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
            assert application("POST", "/containers", asked)[0] == 200

        @pytest.mark.parametrize("profile", [
            pytest.param(asked, marks=pytest.mark.openai_mock(profile=asked))
            for asked in ("live,delete_lag=5m", {"base": "live", "delete_lag": 300}, {"delete_lag": "5m"})
        ], ids=str)
        def test_or_the_suites_with_switches_of_its_own(openai_mock, application, profile):
            assert application("GET", "/containers")[0] == 200
            told = openai_mock.state()["profile"]
            assert (told["max_minutes"], told["delete_lag"]) == (20, 300)

        @pytest.mark.openai_mock(frozen="2026-01-31T12:00:00Z")
        class TestMarked:
            def test_the_class(self, application):
                assert application("POST", "/containers", {"name": "box"})[1]["created_at"] == 1769860800

            @pytest.mark.openai_mock(frozen=1)
            def test_the_nearest_wins(self, application):
                assert application("POST", "/containers", {"name": "box"})[1]["created_at"] == 1

            @pytest.mark.openai_mock(empty=True)
            def test_both(self, openai_mock, application):
                assert listed(application) == []
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

        def test_after():
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
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
"""


@pytest.mark.slow
def test_a_failed_test_shows_what_was_sent(pytester: pytest.Pytester, run: Run) -> None:
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
    assert text.count("GET    /v1/containers?limit=1  200") == 18, "the last 20, with the two that follow"
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


VERDICT = """
import pytest
from application import HTTPError, call

@pytest.fixture
def box(openai_mock):
    box = call("POST", "/containers", {"name": "box"})
    yield box
    call("DELETE", f"/containers/{box['id']}")

def test_cleans_up(box): ...

def test_leaves_one(openai_mock):
    call("POST", "/containers", {"name": "left"})

@pytest.mark.openai_mock(
    ignore={NAME}, seed=None, empty=None, profile=None, frozen=None, clock=None, verdict=None
)
def test_may_leave_one(openai_mock):
    call("POST", "/containers", {"name": "left"})

@pytest.mark.openai_mock(verdict=False)
def test_is_not_judged(openai_mock):
    call("POST", "/containers", {"name": "left"})

def test_fails_anyway(openai_mock):
    call("POST", "/containers", {"name": "left"})
    assert False

@pytest.mark.openai_mock(verdict=True)
def test_is_always_judged(openai_mock):
    call("POST", "/containers", {"name": "left"})
"""


@pytest.mark.slow
def test_a_client_that_misbehaves_fails_its_test(
    pytester: pytest.Pytester, run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "container-never-deleted"
    pytester.makepyfile(application=APPLICATION, test_it=VERDICT.replace("NAME", repr(name)))
    result = run("--mockserver-verdict")
    result.assert_outcomes(passed=5, failed=1, errors=2)
    result.stdout.re_match_lines(
        [
            r".* ERROR at teardown of test_leaves_one .*",
            r"The client misbehaved\.",
            rf"{name}: .*",
            r"  #1 .* POST   /v1/containers  200 .*",
            rf"If the test intends it: @pytest\.mark\.openai_mock\(ignore=\['{name}'\]\)",
            r".* ERROR at teardown of test_is_always_judged .*",
        ]
    )
    monkeypatch.setenv("MOCKSERVER_URL", server.url)  # a server of their own takes a second to load
    run().assert_outcomes(passed=5, failed=1, errors=1)
    pytester.makeini(f"[pytest]\nmockserver_verdict = true\nmockserver_ignore = {name}")
    run().assert_outcomes(passed=5, failed=1)


MISTAKES = {
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
    "@pytest.mark.openai_mock(ignore=['use-after-expiri'])": "*world can't be made: ignore: unknown finding 'use-after-expiri'; did *",
}


@pytest.mark.slow
def test_a_mark_that_can_not_be_is_told_in_a_line(pytester: pytest.Pytester, run: Run, server: MockServer) -> None:
    tests = "\n".join(f"{mark}\ndef test_{number}(): ..." for number, mark in enumerate(MISTAKES))
    pytester.makepyfile(f"import pytest\n{tests}")
    result = run("--tb=short", f"--mockserver-url={server.url}")
    result.assert_outcomes(errors=len(MISTAKES))
    result.stdout.fnmatch_lines(list(MISTAKES.values()))
    assert " or /" not in result.stdout.str(), "no folder is named twice"
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"colour": 1}, "openai_mock_settings: unknown setting 'colour'; choose one of: host, port, *"),
        ({"tls_cert": "a.pem"}, "openai_mock_settings: tls_cert can't be used, *"),
        pytest.param(
            {"profile": "lively"},
            "the mock server can't start: profile: unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"seed": ["none.yaml"]},
            "the mock server can't start: none.yaml: *; correct the path of the seed",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_setting_that_can_not_be_is_told_in_a_line(
    pytester: pytest.Pytester, run: Run, settings: dict[str, object], told: str
) -> None:
    fixture = f"@pytest.fixture(scope='session')\ndef openai_mock_settings(): return {settings!r}"
    pytester.makepyfile(f"import pytest\n{fixture}\ndef test_it(openai_mock): ...\ndef test_again(openai_mock): ...")
    result = run("--tb=short")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([told])


COUNTING = """
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


def told(result: pytest.RunResult, what: str) -> list[str]:
    return re.findall(rf"^{what} (.*)$", result.stdout.str(), re.MULTILINE)


@pytest.mark.slow
def test_each_worker_of_xdist_has_its_own_server(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(application=APPLICATION, test_it=COUNTING)
    result = run("-n2", "--dist=each")
    result.assert_outcomes(passed=16)
    assert len(set(told(result, "server"))) == 2
    assert len(told(result, "id")) == 16
    assert len(set(told(result, "id"))) == 8, "on a frozen clock ids are the same on every run"


@pytest.mark.parametrize("way", ["option", "environment", "configuration"])
@pytest.mark.slow
def test_a_server_elsewhere_is_used(
    pytester: pytest.Pytester, run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    before = server.mock.worlds.names()
    pytester.makefile(".yaml", seed="version: 1\ncontainers: [{name: everywhere}]\n")
    elsewhere = f"mockserver_url = {server.url}" if way == "configuration" else ""
    pytester.makeini(f"[pytest]\nmockserver_profile = live\n{elsewhere}")
    pytester.makepyfile(application=APPLICATION, test_it=COUNTING)
    if way == "environment":
        monkeypatch.setenv("MOCKSERVER_URL", server.url)
    result = run(*(["-n2", "--mockserver-url", server.base_url] if way == "option" else []))
    result.assert_outcomes(passed=8)
    assert set(told(result, "server")) == {server.url}
    assert len(told(result, "world")) == 8
    assert len(set(told(result, "world"))) == (2 if way == "option" else 1), "clients keep the world's name"
    assert len(set(told(result, "id"))) == 8
    assert server.mock.worlds.names() == before


def test_no_server_elsewhere_is_told(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_it(openai_mock): ...")
    result = run("--mockserver-url=http://localhost:9")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["no mock server responds at http://localhost:9 *. The URL is given by --mockserver-url; without it tests *"]
    )


def test_unused_it_loads_nothing() -> None:
    """Every run of pytest loads the plugin, wherever the package is installed."""
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


def test_unused_it_does_nothing(pytester: pytest.Pytester, run: Run) -> None:
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


@pytest.mark.slow
def test_it_explains_itself(run: Run) -> None:
    told = run("--markers").stdout.str() + run("--fixtures").stdout.str()
    assert all(f"{name}=…" in told for name in pytest_plugin.MARKS)
    assert re.search(r"^openai_mock_server .* -- .*pytest_plugin", told, re.MULTILINE)
    assert re.search(r"^openai_mock -- .*pytest_plugin", told, re.MULTILINE)
    help = run("--help").stdout.str()
    assert "--mockserver-url=URL" in help
    assert "--mockserver-verdict" in help
    assert all(name in help for name in pytest_plugin.OPTIONS)


# Clients that are made at any time


CLIENTS = """
import asyncio
import functools

import openai
from openai import AsyncOpenAI, OpenAI

client = OpenAI(max_retries=0)
asynchronous = AsyncOpenAI(max_retries=0, default_headers={"Connection": "close"})  # each test has a loop of its own

@functools.cache
def kept():
    return OpenAI(max_retries=0)

def send():
    client.containers.create(name="made at import")
    kept().containers.create(name="made once")
    openai.containers.create(name="the package's own")
    asyncio.run(send_asynchronously())

async def send_asynchronously():
    await asynchronous.containers.create(name="asynchronous")
"""

SENDING = """
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
    assert names == ["made at import", "made once", "the package's own", "asynchronous", "of the session"]
    assert openai_mock.state()["counts"]["containers"] == 5
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["thread", "child", "xdist", "elsewhere", "keys"])
def test_clients_send_to_the_current_tests_world(
    pytester: pytest.Pytester, run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    pytester.makepyfile(clients=CLIENTS, test_it=SENDING)
    if way == "keys":
        pytester.makeconftest(
            """
            import pytest

            @pytest.fixture(scope="session")
            def openai_mock_settings():
                return {"api_key": ["secret"]}
            """
        )
    if way in ("child", "keys"):  # the user's own key and proxies are not used
        monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = server.mock.worlds.names()
    options = {
        "child": ["--mockserver-process=child"],
        "xdist": ["-n2"],
        "elsewhere": [f"--mockserver-url={server.url}"],
    }
    run(*options.get(way, ["--mockserver-process=thread"])).assert_outcomes(passed=3)
    assert server.mock.worlds.names() == before


@pytest.mark.slow
def test_clients_outside_of_a_test_get_the_reason(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        clients=CLIENTS,
        test_early="from clients import client\nclient.containers.create(name='box')\n",
        test_it="""
        import pytest
        from clients import client

        def test_before():
            client.containers.create(name="box")

        @pytest.fixture(scope="session")
        def prepared():
            client.containers.create(name="box")

        def test_fixture(prepared, openai_mock): ...

        def test_inside(openai_mock):
            client.containers.create(name="box")

        def test_after():
            client.containers.create(name="box")
        """,
    )
    result = run("--continue-on-collection-errors", "--tb=short")
    result.assert_outcomes(passed=1, failed=2, errors=2)
    text = result.stdout.str()
    assert text.count("found no server: it starts with the first test that uses the fixture openai_mock.") == 2
    assert text.count("for whichever test is running, and no test that uses the fixture openai_mock is. Add") >= 2
    assert "that sends this request (POST /v1/containers)" in text


UNTOUCHED = """
import os
import pytest

assert "OPENAI_BASE_URL" not in os.environ
key = os.environ.get("OPENAI_API_KEY")

@pytest.mark.skipif(not key, reason="no key")
def test_the_real_api():
    assert os.environ["OPENAI_API_KEY"] == key == "sk-real"
"""


@pytest.mark.slow
@pytest.mark.parametrize("mocked", ["", "def test_mocked(openai_mock): ..."])
def test_tests_of_the_real_api_keep_their_environment(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch, mocked: str
) -> None:
    pytester.makepyfile(test_a=mocked, test_b=UNTOUCHED)
    run().assert_outcomes(passed=int(bool(mocked)), skipped=1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    run().assert_outcomes(passed=1 + bool(mocked))


@pytest.mark.parametrize(("when", "is_set"), [("auto", False), ("always", True), ("never", False)])
def test_the_environment_of_collection_can_be_chosen(
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
    ("option", "told"),
    [
        ("mockserver_environment", "unknown value 'sometimes'; choose one of: auto, *"),
        ("mockserver_process", "unknown value 'sometimes'; choose one of: auto, *"),
        ("mockserver_verdict", "*'sometimes'; write true or false"),
    ],
)
def test_an_unknown_choice_is_an_error(pytester: pytest.Pytester, run: Run, option: str, told: str) -> None:
    pytester.makeini(f"[pytest]\n{option} = sometimes")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: {told}"])


# Tests that patch their own process


@pytest.mark.slow
@pytest.mark.parametrize("process", ["auto", "thread"])
def test_a_frozen_process(pytester: pytest.Pytester, run: Run, process: str) -> None:
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


@pytest.mark.slow
def test_a_fake_file_system(pytester: pytest.Pytester, run: Run) -> None:
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


GREEN = ["-W", "ignore:Monkey-patching ssl", "-W", "ignore::DeprecationWarning"]


@pytest.mark.slow
def test_a_process_that_gevent_patched(pytester: pytest.Pytester, run: Run) -> None:
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

        def test_a_thread_of_its_own():
            from mockserver import MockServer

            with pytest.raises(RuntimeError, match="gevent has replaced the threads and sockets"), MockServer():
                pass
        """
    )
    run(*GREEN).assert_outcomes(passed=2)
    result = run(*GREEN, "--mockserver-process=thread", "-k", "test_it")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*can't run in a thread, for gevent has replaced threads *mockserver_process = child*"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"seed": ["none.yaml"]}, "the mock server can't start: none.yaml: *; correct the path of the seed"),
        (
            {"profile": "lively"},
            "the mock server can't start: profile: unknown profile 'lively'; did you mean 'live'? choose one of: default, live, docs, contract",
        ),
        ({"host": ["203.0.113.1"]}, "the mock server can't start: can't listen on 203.0.113.1 port 0: *"),
    ],
)
def test_why_a_child_process_does_not_start(
    pytester: pytest.Pytester, run: Run, settings: dict[str, object], reason: str
) -> None:
    fixture = f"@pytest.fixture(scope='session')\ndef openai_mock_settings(): return {settings!r}"
    pytester.makepyfile(f"import pytest\n{fixture}\ndef test_it(openai_mock): ...\ndef test_again(openai_mock): ...")
    result = run("--tb=short", "--mockserver-process=child")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([reason])


@pytest.mark.slow
def test_a_child_process_is_like_a_thread(pytester: pytest.Pytester, run: Run) -> None:
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_child_process_ends_with_a_killed_parent(pytester: pytest.Pytester, run: Run) -> None:
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
    patience = threading.Event()
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():  # empty: a zombie
        patience.wait(0.01)
