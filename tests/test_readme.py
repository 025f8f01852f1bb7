"""The README is short, and its two commands work in a clone on a machine that has only Python.

`test_docs.py` checks the rest of the README together with the pages of `docs/`.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from manual import ROOT, matches, page_blocks

MAX_LINES = 200
BLOCKS = page_blocks(ROOT / "README.md")
START, TEST = (block.text.strip() for block in BLOCKS if ".venv/bin/" in block.text)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = TEST.rsplit(".venv/bin/", 1)[1]
    assert f'tested "pytest" {command}\n' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the variables of a new terminal, with pip's settings."""
    kept = {"HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}
    inherited = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    python = Path(sys._base_executable).parent
    return inherited | {"PATH": os.pathsep.join([str(python), os.defpath]), "NO_PROXY": "localhost,127.0.0.1"}


@pytest.fixture
def clone(tmp_path: Path, environment: dict[str, str]) -> Path:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone")
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path, "hatchling"]
    if os.environ.get("CI") != "true" and subprocess.run(probe, env=environment, capture_output=True).returncode:
        pytest.skip("pip cannot download packages")
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    return tmp_path / "clone"


@pytest.mark.slow
def test_the_first_command_starts_a_server_that_runs_the_quickstart(clone: Path, environment: dict[str, str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    process = subprocess.Popen(
        ["sh", "-c", START],
        cwd=clone,
        env=environment | {"MOCKSERVER_PORT": port},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if f"http://localhost:{port}/v1" in line:
                break
        else:
            pytest.fail("".join(printed))
        # Run the Python quickstart with the client that the page installs.
        subprocess.run([".venv/bin/pip", "install", "--quiet", "openai"], cwd=clone, env=environment, check=True)
        program = next(block for block in BLOCKS if block.language == "python")
        client = {"OPENAI_BASE_URL": f"http://localhost:{port}/v1", "OPENAI_API_KEY": "sk-test"}
        command = [".venv/bin/python", "-c", program.text]
        completed = subprocess.run(command, cwd=clone, env=environment | client, capture_output=True, text=True)
        assert completed.returncode == 0, completed.stderr
        assert matches(program.output, completed.stdout), completed.stdout
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


@pytest.mark.slow
def test_the_second_command_runs_the_tests_and_those_of_a_reader(clone: Path, environment: dict[str, str]) -> None:
    """Run only one file, because CI runs the whole suite; then the README's own test, saved in the clone."""
    selection = {"PYTEST_ADDOPTS": "tests/test_contract.py"}
    completed = subprocess.run(
        ["sh", "-c", TEST], cwd=clone, env=environment | selection, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert re.search(r"^=+ \d+ passed", completed.stdout, re.MULTILINE)
    example = next(block for block in BLOCKS if "def test_a_container_expires" in block.text)
    (clone / "test_expiry.py").write_text(example.text)
    path = {"PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"}
    for command in ("pytest -q test_expiry.py", "mockserver run --verdict -- pytest -q test_expiry.py"):
        completed = subprocess.run(
            ["sh", "-c", command], cwd=clone, env=environment | path, capture_output=True, text=True
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        assert "1 passed" in completed.stdout
