"""The command line in processes: output, settings, signals and exit codes."""

import errno
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from mockserver.cli import main
from mockserver.server.serving import CannotBind, MockServer, bind
from mockserver.settings import Settings

pytestmark = pytest.mark.slow  # starts processes

SEEDS = Path(__file__).parents[1] / "fixtures" / "seeds"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MOCKSERVER_")}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mockserver", *arguments]
    return subprocess.run(command, env=CLEAN | environment, capture_output=True, text=True, timeout=300)


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """Start a server process; yield it with the line of JSON that it printed."""
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--json", "--quiet", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=CLEAN | environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)
        finally:
            process.kill()


def get(url: str, key: str = "any") -> dict[str, object]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_urls_and_stops_cleanly(number: signal.Signals) -> None:
    with serving() as (process, started):
        assert started["base_url"] == f"http://localhost:{started['port']}/v1"
        assert get(f"{started['base_url']}/containers")["object"] == "list"
        assert get(f"{started['url']}/health")["status"] == "ok"
        process.send_signal(number)
        assert process.wait(120) == 0
        assert process.stderr.read() == ""
        assert not Path(str(started["data"])).exists(), "the temporary directory is removed at exit"


def test_serve_listens_on_both_loopback_addresses() -> None:
    with serving() as (_, started):
        for host in ("127.0.0.1", "[::1]") if has_ipv6() else ("127.0.0.1",):
            assert get(f"http://{host}:{started['port']}/health")["status"] == "ok"


# Addresses


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")


@contextmanager
def listening(hosts: tuple[str, ...], port: int = 0) -> Iterator[int]:
    """Listen on the hosts; yield the port."""
    sockets = bind(hosts, port)
    try:
        ports = {each.getsockname()[1] for each in sockets}
        assert len(ports) == 1
        yield ports.pop()
    finally:
        for each in sockets:
            each.close()


def reachable_addresses(port: int) -> list[str]:
    """Return the loopback addresses that accept connections on the port."""
    found = []
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port)).close()
        except OSError:
            continue
        found.append(host)
    return found


@needs_ipv6
@pytest.mark.parametrize(
    ("hosts", "reached"),
    [
        (("127.0.0.1",), ["127.0.0.1"]),
        (("::1",), ["::1"]),
        (("0.0.0.0",), ["127.0.0.1"]),
        (("::",), ["127.0.0.1", "::1"]),
        (("0.0.0.0", "::"), ["127.0.0.1", "::1"]),
        (("::", "0.0.0.0"), ["127.0.0.1", "::1"]),
        (("127.0.0.1", "::"), ["127.0.0.1", "::1"]),
        (("::1", "127.0.0.1"), ["127.0.0.1", "::1"]),
    ],
    ids=",".join,
)
def test_bind_listens_on_each_host(hosts: tuple[str, ...], reached: list[str]) -> None:
    with listening(hosts) as port:
        assert reachable_addresses(port) == reached


@needs_ipv6
@pytest.mark.parametrize("hosts", [("0.0.0.0", "::"), ("::",), ("::1", "127.0.0.1")], ids=",".join)
def test_a_server_is_reachable_over_ipv4_and_ipv6(hosts: tuple[str, ...]) -> None:
    with MockServer(host=hosts) as server:
        for url in (server.url, f"http://127.0.0.1:{server.port}", f"http://[::1]:{server.port}"):
            assert get(f"{url}/health")["status"] == "ok"


LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=["socket", "bind"])
def remove_family(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[socket.AddressFamily], None]:
    """Simulate a machine without an address family: the kernel creates no such sockets, or no address can be bound."""

    def remove(missing: socket.AddressFamily) -> None:
        class Socket(socket.socket):
            def __init__(self, family: int = -1, *arguments: int) -> None:
                if family == missing and request.param == "socket":
                    raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
                super().__init__(family, *arguments)

            def bind(self, address: tuple[object, ...]) -> None:
                if self.family == missing:
                    raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
                super().bind(address)

        monkeypatch.setattr("mockserver.server.serving.socket.socket", Socket)

    return remove


@pytest.mark.parametrize("missing", [socket.AF_INET6, pytest.param(socket.AF_INET, marks=needs_ipv6)])
def test_a_missing_address_family_is_skipped_while_another_opens(
    missing: socket.AddressFamily,
    remove_family: Callable[[socket.AddressFamily], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    remove_family(missing)
    (left,) = LOOPBACK.keys() - {missing}
    any_address = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
    for hosts in ((any_address[missing], LOOPBACK[left]), (LOOPBACK[left], any_address[missing])):
        caplog.clear()
        (opened,) = bind(hosts, 0)
        with opened:
            assert opened.getsockname()[0] == LOOPBACK[left]
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "address family" in record.getMessage()
    caplog.clear()
    for opened in bind(Settings().host, 0):
        opened.close()
    assert not caplog.records, "the default hosts contain both families on every machine"
    with pytest.raises(CannotBind, match="--host"):
        bind((LOOPBACK[missing], any_address[missing]), 0)


def test_the_url_of_a_server_has_an_address_that_it_listens_on(
    remove_family: Callable[[socket.AddressFamily], None],
) -> None:
    remove_family(socket.AF_INET6)
    with MockServer(host=("::1", "127.0.0.1")) as server:
        assert get(f"{server.url}/health")["status"] == "ok"


@needs_ipv6
@pytest.mark.parametrize("hosts", [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("::",)], ids=",".join)
def test_an_address_in_use_raises_an_error(hosts: tuple[str, ...]) -> None:
    with listening(("127.0.0.1",)) as port, pytest.raises(CannotBind, match="--port"):
        bind(hosts, port)


@pytest.mark.parametrize("hosts", [("192.0.2.1", "127.0.0.1"), ("127.0.0.1", "192.0.2.1")], ids=",".join)
def test_an_address_of_another_machine_raises_an_error_even_with_other_hosts(hosts: tuple[str, ...]) -> None:
    with pytest.raises(CannotBind, match=r"192\.0\.2\.1.*--host"):
        bind(hosts, 0)


def test_the_banner_shows_the_export_command_the_dashboard_and_the_seeded_objects() -> None:
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--seed", str(SEEDS / "minimal.yaml")]
    with subprocess.Popen(command, env=CLEAN, text=True, stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(10)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    banner = "".join(lines)
    assert "  export OPENAI_BASE_URL=http://localhost:" in banner
    assert re.search(r"http://localhost:\d+/_mock/$", banner, re.MULTILINE)
    assert "1 File, 1 container, 1 container file" in banner
    assert "removed at the end" in banner


@pytest.mark.parametrize(
    ("flags", "closed"), [((), True), (("--control-open",), False), (("--control-token=t",), False)]
)
def test_the_banner_says_whether_the_control_plane_is_closed(flags: tuple[str, ...], closed: bool) -> None:
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--host", "0.0.0.0", *flags]
    with subprocess.Popen(command, env=CLEAN, text=True, stdout=subprocess.PIPE) as process:
        while "Inspect" not in (line := process.stdout.readline()):
            assert line, "the server ended"
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert ("closed: give --control-token or --control-open" in line) is closed
    assert ("/_mock/" in line) is not closed


def test_the_banner_does_not_contain_api_keys() -> None:
    command = [sys.executable, "-m", "mockserver", "serve", "--port", "0", "--api-key", "very-secret"]
    with subprocess.Popen(command, env=CLEAN, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while "export" not in (line := process.stdout.readline()):
            assert line, "the server ended"
            assert "very-secret" not in line
        assert "very-secret" not in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_flags_take_precedence_over_the_environment() -> None:
    environment = {"MOCKSERVER_API_KEY": "one,two", "MOCKSERVER_SEED": str(SEEDS / "minimal.yaml")}
    with serving(**environment) as (_, started):
        for key in ("one", "two"):
            assert len(get(f"{started['base_url']}/containers", key)["data"]) == 1
    with serving("--api-key", "three", "--seed", str(SEEDS / "large.yaml"), **environment) as (_, started):
        assert len(get(f"{started['base_url']}/containers", "three")["data"]) == 20
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{started['base_url']}/containers", "one")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port", "http"], {}, "give 0 (any free one) to 65535"),
        (["--port", "65536"], {}, "give 0 (any free one) to 65535"),
        ([], {"MOCKSERVER_PORT": "x"}, "MOCKSERVER_PORT"),
        (["--max-upload", "lots"], {}, "give a number of bytes, or 512MB"),
        (["--profile", "lax"], {}, "unknown profile 'lax'; choose one of: default, live, docs, contract"),
        (["--max-worlds", "0"], {}, "from 1"),
        (["--api-key", ""], {}, "printable"),
        (["--body-timeout", "0"], {}, "not a positive duration"),
        (["--world-ttl", "-5m"], {}, "not a positive duration"),
        (["--log-level", "loud"], {}, "choose one of: debug"),
        (["--nonsense"], {}, "No such option"),
    ],
)
def test_an_invalid_value_is_exit_code_2(arguments: list[str], environment: dict, message: str) -> None:
    result = run("serve", *arguments, **environment)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize(("arguments", "environment"), [(["--workers", "2"], {}), ([], {"MOCKSERVER_WORKERS": "2"})])
def test_more_than_one_worker_is_exit_code_2(arguments: list[str], environment: dict) -> None:
    result = run("serve", *arguments, **environment)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    for text in ("--workers (MOCKSERVER_WORKERS)", "several servers", "--data", "--port", "proxy", "world's name"):
        assert text in result.stderr


@pytest.mark.parametrize(("arguments", "environment"), [(["--workers", "1"], {}), ([], {"MOCKSERVER_WORKERS": "1"})])
def test_one_worker_is_accepted_without_a_warning(arguments: list[str], environment: dict) -> None:
    with serving(*arguments, **environment) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert process.stderr.read() == ""
    assert "--workers" not in run("serve", "--help").stdout


def test_a_port_in_use_is_exit_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert "--port" in result.stderr


def test_an_address_of_another_machine_is_exit_code_3() -> None:
    result = run("serve", "--port", "0", "--host", "192.0.2.1")
    assert result.returncode == 3
    assert "--host" in result.stderr


def test_an_invalid_seed_is_exit_code_4(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nboxes: []\n")
    for command in (["serve", "--port", "0", "--seed"], ["validate"]):
        result = run(*command, str(tmp_path / "bad.yaml"))
        assert result.returncode == 4
        assert result.stderr.startswith(f"mockserver: {tmp_path / 'bad.yaml'}:2: unknown key 'boxes'")
        assert result.stderr.count("\n") == 1


def test_a_start_that_fails_creates_no_data_directory(tmp_path: Path) -> None:
    """An error of the port is reported before an error of the seed."""
    data, seed = tmp_path / "data", tmp_path / "bad.yaml"
    seed.write_text("version: 2\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ["--data", str(data), "--host", "127.0.0.1", "--port"]
        port = str(taken.getsockname()[1])
        for code, more in ((3, [port]), (3, [port, "--seed", str(seed)]), (4, ["0", "--seed", str(seed)])):
            result = run("serve", *options, *more)
            assert (result.returncode, result.stdout, result.stderr.count("\n")) == (code, "", 1)
            assert not data.exists()


def test_validate_prints_a_summary_of_a_seed() -> None:
    result = run("validate", str(SEEDS / "docs.yaml"))
    assert (result.returncode, result.stdout) == (0, "ok: 5 Files, 1 container, 1 container file\n")


def test_healthcheck_reports_by_its_exit_code() -> None:
    with serving() as (_, started):
        port = str(started["port"])
        assert run("healthcheck", "--port", port, "--wait", "120").returncode == 0
        assert run("healthcheck", "--wait", "120", MOCKSERVER_PORT=port, MOCKSERVER_HOST="0.0.0.0").returncode == 0
    result = run("healthcheck", "--port", "0")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no server can be reached at port 0" in result.stderr
    assert "0 chooses" not in run("healthcheck", "--help").stdout
    result = run("healthcheck", "--port", port, "--wait", "0.1")
    assert "(Connection refused)" in result.stderr
    assert result.returncode == 1
    assert "mockserver serve" in result.stderr
    assert f"localhost:{port}" in result.stderr
    assert f"[::1]:{port}" in result.stderr


def test_healthcheck_reads_the_url_unless_the_host_or_the_port_is_given() -> None:
    with MockServer() as server:
        elsewhere = {"MOCKSERVER_URL": "http://localhost:1"}
        for arguments, environment, code in (
            ([], {"MOCKSERVER_URL": server.base_url}, 0),
            ([], elsewhere, 1),
            (["--port", str(server.port)], elsewhere, 0),
            ([], {**elsewhere, "MOCKSERVER_HOST": "0.0.0.0", "MOCKSERVER_PORT": str(server.port)}, 0),
            (["--url", server.url], {**elsewhere, "MOCKSERVER_PORT": "1"}, 0),
        ):
            assert run("healthcheck", *arguments, **environment).returncode == code


@needs_ipv6
@pytest.mark.parametrize(
    ("listening", "checked"),
    [
        (("127.0.0.1",), ()),
        (("::1",), ()),
        (("::",), ("::",)),
        (("127.0.0.1",), ("::",)),
        (("127.0.0.1",), ("::1", "0.0.0.0")),
        (("::1",), ("0.0.0.0", "::")),
    ],
)
def test_healthcheck_tries_every_host(listening: tuple[str, ...], checked: tuple[str, ...]) -> None:
    with MockServer(host=listening) as server:
        flags = [f"--host={host}" for host in checked]
        for arguments, environment in ((flags, {}), ([], {"MOCKSERVER_HOST": ",".join(checked)})):
            command = ["healthcheck", "--wait", "60", "--port", str(server.port), *arguments]
            result = CliRunner().invoke(main.main, command, env={"MOCKSERVER_HOST": None} | environment)
            assert (result.exit_code, result.output) == (0, "")


def test_version_and_help_print_the_version_the_commands_and_the_exit_codes() -> None:
    assert run("version").stdout == run("--version").stdout
    top = run("--help").stdout
    for command in ("serve", "validate", "healthcheck", "version"):
        assert command in top
    assert "export OPENAI_BASE_URL" in top
    assert "Exit codes:" in run("serve", "--help").stdout


def test_a_warning_is_logged_once_and_api_keys_are_not_logged() -> None:
    with serving("--log-level", "debug") as (process, started):
        body = json.dumps({"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}).encode()
        headers = {"Authorization": "Bearer sk-very-secret", "Content-Type": "application/json"}
        for _ in range(3):
            with urllib.request.urlopen(
                urllib.request.Request(f"{started['base_url']}/containers", body, headers)
            ) as response:
                assert response.headers["x-mock-warning"].startswith("minutes-beyond-limit: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        log = process.stderr.read()
    assert log.count("minutes-beyond-limit") == 1
    assert "very-secret" not in log
