"""Programs as documentation shows them, run unmodified: all they are told is where the API is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import World

CLIENTS = Path(__file__).parent / "clients"
PYTHON = sorted((CLIENTS / "python").glob("*.py"))
NODE = CLIENTS / "node"


def output(world: World, *command: str | Path) -> list[str]:
    """The lines that a program prints; its failure is the test's."""
    # Where the machine speaks to the network through a proxy, this address still needs none.
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": world.base_url,
        "OPENAI_API_KEY": "sk-test",
        "NO_PROXY": "localhost",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def assert_nothing_left(world: World) -> None:
    assert world.openai.containers.list().data == []
    assert world.openai.files.list().data == []


@pytest.mark.parametrize("program", PYTHON, ids=[path.stem for path in PYTHON])
def test_python(world: World, program: Path) -> None:
    lines = output(world, sys.executable, "-W", "error", program)
    assert len(lines) > 4
    assert lines[0].startswith("Created")
    assert_nothing_left(world)


def test_node(world: World) -> None:
    node = shutil.which("node")
    missing = ""
    if node is None:
        missing = "node is not installed"
    elif not (NODE / "node_modules" / "openai").is_dir():
        missing = "the packages are not installed: run `npm install --no-package-lock` in tests/clients/node"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if node is None or missing:
        pytest.skip(missing)
    lines = output(world, node, NODE / "containers.js")
    assert "Downloaded cities.csv, 38 bytes as they were sent" in lines
    assert lines[-1] == "Deleted the files and the container"
    assert_nothing_left(world)


def test_there_are_programs() -> None:
    """Without any, the tests above would pass."""
    assert [path.stem for path in PYTHON] == ["containers_async", "containers_sync"]
