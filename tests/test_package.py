"""The package: its metadata, its public names, and what the sdist and the wheel hold."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from email import message_from_bytes
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import mockserver
from mockserver import settings, testing
from mockserver.server import serving

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = re.compile(r"[A-Za-z0-9-]+")


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_every_import_is_declared() -> None:
    declared = {normal(NAME.match(each)[0]) for each in PROJECT["dependencies"]}
    homes = packages_distributions()
    imported = {
        name.split(".")[0]
        for path in (ROOT / "mockserver").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    outside = imported - sys.stdlib_module_names - {"mockserver", "pytest"}  # pytest loads the plugin
    assert len(outside) > 10
    needed = {normal(name) for each in outside for name in homes[each]}
    assert declared - needed == {"fastapi-offline"}, "of which only the static files are used"
    assert needed <= declared


@pytest.mark.parametrize(
    "name", ["click", "fastapi", "fastapi-offline", "sqlalchemy", "sqlmodel", "starlette", "uvicorn"]
)
def test_what_is_subclassed_or_undocumented_has_an_upper_bound(name: str) -> None:
    (requirement,) = [each for each in PROJECT["dependencies"] if NAME.match(each)[0] == name]
    assert ",<" in requirement


def test_the_public_names_are_those_of_their_modules() -> None:
    assert mockserver.MockServer is serving.MockServer
    assert mockserver.Server is testing.Server
    assert mockserver.MockWorld is testing.MockWorld
    assert mockserver.Settings is settings.Settings
    assert set(mockserver.__all__) <= set(dir(mockserver))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        mockserver.Nothing  # noqa: B018  # the access is what fails


def test_the_package_imports_nothing_until_a_name_is_used() -> None:
    loaded = "import sys; before = set(sys.modules); import mockserver; print(*(set(sys.modules) - before))"
    assert python(loaded) == "mockserver"
    held = "import sys; from mockserver import MockWorld, Server; print('fastapi' in sys.modules)"
    assert python(held) == "False", "a test that uses a server elsewhere doesn't load the framework"


def test_the_options_of_a_server_are_the_settings() -> None:
    wider: dict[Any, Any] = {
        tuple[str, ...]: str | Sequence[str],
        tuple[Path, ...]: str | Path | Sequence[str | Path],
        Path | None: str | Path | None,
        int: int | str,
        float: float | str,
        float | None: float | str | None,
        bool: bool | str,
    }
    declared = get_type_hints(settings.Settings)
    assert get_type_hints(settings.Options) == {name: wider.get(kind, kind) for name, kind in declared.items()}


def test_settings_and_options_exclude_each_other() -> None:
    with pytest.raises(TypeError, match="give either settings or max_body, not both"):
        serving.MockServer(settings.Settings(port=0), max_body=1)


USER = """\
from mockserver import MockServer, MockWorld, Server, Settings

with MockServer(max_upload=1 << 20, profile="live") as server, server.world(empty=True) as world:
    world.faults.add(error="rate_limited", times=2)
    moved: list[str] = world.clock.advance("20m")["expired_containers"]
elsewhere: Server = server
one: MockWorld = world
Settings(port=0)
"""


MISTAKES = [
    ("max_upload=", "max_uplaod=", 'Unexpected keyword argument "max_uplaod"'),
    ('"live"', "3", 'Argument "profile" to "MockServer" has incompatible type "int"'),
    ("empty=", "emtpy=", 'Unexpected keyword argument "emtpy"'),
    ("times=", "time=", 'Unexpected keyword argument "time"'),
    ('"expired_containers"', '"expired_container"', 'has no key "expired_container"'),
    ("MockWorld, Server, Settings", "MockWorlds, Server, Settings", 'has no attribute "MockWorlds"'),
]


@pytest.mark.slow
def test_mypy_finds_a_mistake_in_a_users_file(tmp_path: Path) -> None:
    (tmp_path / "sound.py").write_text(USER)
    for number, (correct, wrong, _) in enumerate(MISTAKES):
        (tmp_path / f"mistake{number}.py").write_text(USER.replace(correct, wrong, 1))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "."]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.splitlines()
    assert not [line for line in lines if line.startswith("sound.py")]
    for number, (_, _, error) in enumerate(MISTAKES):
        found = [line for line in lines if line.startswith(f"mistake{number}.py")]
        assert any(error in line for line in found), (error, found)


@pytest.mark.slow
def test_sdist_and_wheel_hold_the_package_and_pass_the_check(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    checked = subprocess.run(twine, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

    tracked = set(subprocess.check_output(["git", "ls-files", "-z", "mockserver"], cwd=ROOT, text=True).split("\0"))
    tracked -= {""}
    release = f"openai_containers_mock-{mockserver.__version__}"
    with zipfile.ZipFile(wheel) as packed:
        about = {name for name in packed.namelist() if name.startswith(f"{release}.dist-info/")}
        assert set(packed.namelist()) - about == tracked
        assert "mockserver/py.typed" in tracked
        assert f"{release}.dist-info/licenses/LICENSE" in about
        assert b"mockserver = mockserver.cli.main:main" in packed.read(f"{release}.dist-info/entry_points.txt")
        metadata = message_from_bytes(packed.read(f"{release}.dist-info/METADATA"))
    assert metadata["Name"] == "openai-containers-mock"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "the mockserver authors"
    with tarfile.open(sdist) as source:
        names = {each.name.removeprefix(f"{release}/") for each in source.getmembers() if each.isfile()}
    there = {name for name in ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml") if (ROOT / name).exists()}
    assert names == tracked | there | {".gitignore", "PKG-INFO"}
