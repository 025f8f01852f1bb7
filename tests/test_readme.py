"""The README is short, and its two commands work in a clone on a machine that has nothing but Python.

What else it shows is checked with the pages of `docs/`, by `test_docs.py`.
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


def test_it_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_ci_runs_the_same_tests() -> None:
    command = TEST.rsplit(".venv/bin/", 1)[1]
    assert f'tested "pytest" {command}\n' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.fixture
def environment() -> dict[str, str]:
    """What a new terminal has. Where pip looks for packages stays."""
    kept = {"HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}
    ours = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    python = Path(sys._base_executable).parent
    return ours | {"PATH": os.pathsep.join([str(python), os.defpath]), "NO_PROXY": "localhost,127.0.0.1"}


@pytest.fixture
def clone(tmp_path: Path, environment: dict[str, str]) -> Path:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs git, and a clone")
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path, "hatchling"]
    if os.environ.get("CI") != "true" and subprocess.run(probe, env=environment, capture_output=True).returncode:
        pytest.skip("pip finds no packages here")
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    return tmp_path / "clone"


@pytest.mark.slow
def test_the_first_command_starts_the_server(clone: Path, environment: dict[str, str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running = subprocess.Popen(
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
        for line in running.stdout:
            printed.append(line)
            if f"http://localhost:{port}/v1" in line:
                break
        else:
            pytest.fail("".join(printed))
        # Then the quickstart in Python, with the client installed as the page says.
        subprocess.run([".venv/bin/pip", "install", "--quiet", "openai"], cwd=clone, env=environment, check=True)
        program = next(block for block in BLOCKS if block.language == "python")
        client = {"OPENAI_BASE_URL": f"http://localhost:{port}/v1", "OPENAI_API_KEY": "sk-test"}
        command = [".venv/bin/python", "-c", program.text]
        done = subprocess.run(command, cwd=clone, env=environment | client, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert matches(program.output, done.stdout), done.stdout
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)
        running.communicate()


@pytest.mark.slow
def test_the_second_command_runs_the_tests(clone: Path, environment: dict[str, str]) -> None:
    """Only a part of them: all run in CI."""
    part = {"PYTEST_ADDOPTS": "tests/test_contract.py"}
    done = subprocess.run(["sh", "-c", TEST], cwd=clone, env=environment | part, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^=+ \d+ passed", done.stdout, re.MULTILINE)
