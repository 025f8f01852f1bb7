"""HTTPS: the official SDK, the command line, and unusable certificates and keys."""

import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
import trustme
from click.testing import CliRunner
from conftest import ok
from test_cli import run, serving

from mockserver.cli import main
from mockserver.client import Control, MockError
from mockserver.server.serving import BadCertificate, MockServer
from mockserver.testing import Server


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CA, a certificate for localhost with its key, a key that does not match, and files that are neither."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    paths = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key", "other", "text", "none")}
    authority.cert_pem.write_to_path(paths["ca"])
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(paths["key"])
    for part in certificate.cert_chain_pems:
        part.write_to_path(paths["cert"], append=True)
    authority.issue_cert("localhost").private_key_pem.write_to_path(paths["other"])
    paths["text"].write_text("neither a certificate nor a key")
    return paths | {"folder": folder}


@pytest.fixture(scope="module")
def tls_server(files: dict[str, Path]) -> Iterator[MockServer]:
    with MockServer(tls_cert=files["cert"], tls_key=files["key"]) as server:
        yield server


def ssl_context(files: dict[str, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files["ca"])


def test_the_sdk_works_over_https(tls_server: MockServer, files: dict[str, Path]) -> None:
    assert tls_server.base_url == f"https://localhost:{tls_server.port}/v1"
    with (
        tls_server.world() as world,
        httpx2.Client(verify=ssl_context(files)) as http,
        openai.OpenAI(base_url=world.base_url, api_key=world.api_key, http_client=http) as client,
    ):
        container = client.containers.create(name="box")
        data = os.urandom(300_000)
        file = client.containers.files.create(container.id, file=("a.bin", data))
        assert client.containers.files.content.retrieve(file.id, container_id=container.id).read() == data
        client.max_retries = 0
        world.faults.add(operation="RetrieveContainerFileContent", truncate_after=1_000)
        with pytest.raises(openai.APIConnectionError):
            client.containers.files.content.retrieve(file.id, container_id=container.id)
        world.faults.add(operation="ListContainers", drop="before_answer")
        with pytest.raises(openai.APIConnectionError):
            client.containers.list()
        assert [each["status"] for each in world.journal][:3] == [200, 200, 200]


def test_clients_reject_untrusted_certificates_and_names(
    tls_server: MockServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MockError, match=r"is not trusted \(.*SSL_CERT_FILE"):
        Control(tls_server.url)("GET", "state")
    monkeypatch.setenv("SSL_CERT_FILE", str(files["ca"]))
    server = Server(tls_server.base_url)
    assert server.state()["worlds"] >= 0
    server.close()
    with openai.OpenAI(base_url=tls_server.base_url, api_key="k") as client:
        client.containers.list()
    with pytest.raises(MockError, match=r"is not trusted .*a name that it is for"):
        Control(f"https://127.0.0.1:{tls_server.port}")("GET", "state")


def test_the_error_for_the_wrong_scheme_names_the_right_one(tls_server: MockServer, server: MockServer) -> None:
    with pytest.raises(MockError, match="a server with --tls-cert has https:// in its URL"):
        Control(f"http://localhost:{tls_server.port}")("GET", "state")
    with pytest.raises(MockError, match="a server without --tls-cert has http:// in its URL"):
        Control(f"https://localhost:{server.port}")("GET", "state")


def test_the_cookie_of_the_dashboard_is_sent_only_over_https(files: dict[str, Path]) -> None:
    with (
        MockServer(tls_cert=files["cert"], tls_key=files["key"], control_token="secret") as server,
        httpx2.Client(base_url=f"{server.url}/_mock", verify=ssl_context(files)) as http,
    ):
        session = http.post("/session", json={"token": "secret"})
        assert "Secure" in session.headers["set-cookie"].split("; ")
        assert http.get("/state").status_code == 200
        closed = http.delete("/session", headers={"x-mock-dashboard": "1"})
        assert "Secure" in closed.headers["set-cookie"].split("; ")
        assert http.get("/state").status_code == 401


def test_cli_commands_use_https(tls_server: MockServer, files: dict[str, Path]) -> None:
    port, cert = str(tls_server.port), str(files["cert"])
    for command, environment in (
        (["world", "list", "--url", tls_server.url], {}),
        (["world", "list"], {"MOCKSERVER_TLS_CERT": cert, "MOCKSERVER_PORT": port}),
        (["healthcheck", "--url", tls_server.url], {}),
        (["healthcheck", "--port", port, "--tls-cert", cert], {"SSL_CERT_FILE": None}),
        (["healthcheck"], {"SSL_CERT_FILE": None, "MOCKSERVER_TLS_CERT": cert, "MOCKSERVER_PORT": port}),
    ):
        done = CliRunner().invoke(main.main, command, env={"SSL_CERT_FILE": str(files["ca"]), **environment})
        assert (done.exit_code, done.stderr) == (0, ""), command
    for command, advice in (
        (["healthcheck", "--url", tls_server.url], "set SSL_CERT_FILE"),
        (["healthcheck", "--port", port], "has https:// in its URL"),
    ):
        done = CliRunner().invoke(main.main, command, env={"SSL_CERT_FILE": None})
        assert (done.exit_code, advice in done.stderr) == (1, True), done.stderr


INVALID_FILES = [
    ("cert", None, "--tls-cert and --tls-key are used together: give both, "),
    (None, "key", "--tls-cert and --tls-key are used together: give both, "),
    ("none", "key", "none.pem can't be read (No such file or directory); correct --tls-cert or --tls-key"),
    ("cert", "folder", " can't be read (Is a directory); correct --tls-cert or --tls-key"),
    ("cert", "other", "belong together (KEY_VALUES_MISMATCH); give both in PEM format"),
    ("text", "key", "give both in PEM format, and the key without a passphrase"),
    ("cert", "text", "give both in PEM format, and the key without a passphrase"),
    ("cert", "encrypted", "give both in PEM format, and the key without a passphrase"),
]


@pytest.mark.parametrize(("cert", "key", "message"), INVALID_FILES)
def test_unusable_certificates_and_keys_are_rejected_at_start(
    files: dict[str, Path], tmp_path: Path, cert: str | None, key: str | None, message: str
) -> None:
    from cryptography.hazmat.primitives import serialization as s

    private = s.load_pem_private_key(files["key"].read_bytes(), None)
    encrypted = private.private_bytes(
        s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.BestAvailableEncryption(b"word")
    )
    (tmp_path / "encrypted").write_bytes(encrypted)
    paths = files | {"encrypted": tmp_path / "encrypted"}
    with pytest.raises(BadCertificate) as raised:
        MockServer(
            tls_cert=paths[cert] if cert else None, tls_key=paths[key] if key else None, data=tmp_path / "data"
        ).__enter__()
    assert message in str(raised.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_serve_and_run_use_https_and_exit_with_2_without_a_key(files: dict[str, Path]) -> None:
    tls = ["--tls-cert", str(files["cert"]), "--tls-key", str(files["key"])]
    with serving(*tls) as (process, startup):
        assert startup["base_url"] == f"https://localhost:{startup['port']}/v1"
        response = httpx2.get(f"{startup['url']}/health", verify=ssl_context(files))
        assert ok(response)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert (process.wait(120), process.stderr.read()) == (0, "")  # type: ignore[union-attr]
    program = (
        "curl -sf --cacert $CA $OPENAI_BASE_URL/containers -H 'Authorization: Bearer k' && echo && echo $MOCKSERVER_URL"
    )
    done = run("run", "--verdict", *tls, "--", "sh", "-c", program, CA=str(files["ca"]))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("https://localhost:")
    for command in (["serve"], ["run", "--", "true"]):
        done = run(command[0], *tls[:2], *command[1:])
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
