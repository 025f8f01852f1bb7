"""The package: its metadata, its public names, and the contents of sdist and wheel."""

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


def normalize(name: str) -> str:
    return name.lower().replace("_", "-")


def run_python(program: str) -> str:
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return completed.stdout.strip()


def test_the_dependencies_are_exactly_the_imported_packages() -> None:
    declared = {normalize(NAME.match(each)[0]) for each in PROJECT["dependencies"]}
    distributions = packages_distributions()
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
    # Only the plugin imports pytest, which loads it.
    external = imported - sys.stdlib_module_names - {"mockserver", "pytest"}
    assert len(external) > 10
    required = {normalize(name) for each in external for name in distributions[each]}
    assert declared - required == {"fastapi-offline"}, "it is not imported: only its static files are used"
    assert required <= declared


@pytest.mark.parametrize(
    "name", ["click", "fastapi", "fastapi-offline", "sqlalchemy", "sqlmodel", "starlette", "uvicorn"]
)
def test_a_package_whose_internals_are_used_has_an_upper_bound(name: str) -> None:
    (requirement,) = [each for each in PROJECT["dependencies"] if NAME.match(each)[0] == name]
    assert ",<" in requirement


def test_the_public_names_are_the_objects_of_their_modules() -> None:
    assert mockserver.MockServer is serving.MockServer
    assert mockserver.Server is testing.Server
    assert mockserver.MockWorld is testing.MockWorld
    assert mockserver.Settings is settings.Settings
    assert set(mockserver.__all__) <= set(dir(mockserver))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        mockserver.Nothing  # noqa: B018  # the access is what fails


def test_the_package_imports_nothing_until_a_name_is_used() -> None:
    program = "import sys; before = set(sys.modules); import mockserver; print(*(set(sys.modules) - before))"
    assert run_python(program) == "mockserver"
    program = "import sys; from mockserver import MockWorld, Server; print('fastapi' in sys.modules)"
    assert run_python(program) == "False", "a test that uses an external server does not need the framework"


def test_the_type_hints_of_server_options_accept_all_forms_of_a_setting() -> None:
    widened: dict[Any, Any] = {
        tuple[str, ...]: str | Sequence[str],
        tuple[Path, ...]: str | Path | Sequence[str | Path],
        Path | None: str | Path | None,
        int: int | str,
        float: float | str,
        float | None: float | str | None,
        bool: bool | str,
    }
    declared = get_type_hints(settings.Settings)
    assert get_type_hints(settings.Options) == {name: widened.get(kind, kind) for name, kind in declared.items()}


def test_a_server_rejects_settings_together_with_options() -> None:
    with pytest.raises(TypeError, match="give either settings or max_body, not both"):
        serving.MockServer(settings.Settings(port=0), max_body=1)


def test_a_server_rejects_a_setting_without_its_name() -> None:
    with pytest.raises(TypeError, match="'live' is no Settings object; name the setting"):
        serving.MockServer("live")  # type: ignore[arg-type]  # rejected


USER_PROGRAM = """\
from mockserver import MockServer, MockWorld, Server, Settings

with MockServer(max_upload=1 << 20, profile="live") as server, server.world(empty=True) as world:
    world.faults.add(error="rate_limited", times=2)
    moved: list[str] = world.clock.advance("20m")["expired_containers"]
remote: Server = server
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
def test_mypy_finds_mistakes_in_a_program_that_uses_the_package(tmp_path: Path) -> None:
    (tmp_path / "valid.py").write_text(USER_PROGRAM)
    for number, (correct, wrong, _) in enumerate(MISTAKES):
        (tmp_path / f"mistake{number}.py").write_text(USER_PROGRAM.replace(correct, wrong, 1))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "."]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.splitlines()
    assert not [line for line in lines if line.startswith("valid.py")]
    for number, (_, _, error) in enumerate(MISTAKES):
        found = [line for line in lines if line.startswith(f"mistake{number}.py")]
        assert any(error in line for line in found), (error, found)


@pytest.mark.slow
def test_sdist_and_wheel_contain_the_package_and_pass_twine_check(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    check = subprocess.run(twine, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout

    tracked = set(subprocess.check_output(["git", "ls-files", "-z", "mockserver"], cwd=ROOT, text=True).split("\0"))
    tracked -= {""}
    release = f"openai_containers_mock-{mockserver.__version__}"
    with zipfile.ZipFile(wheel) as archive:
        dist_info = {name for name in archive.namelist() if name.startswith(f"{release}.dist-info/")}
        assert set(archive.namelist()) - dist_info == tracked
        assert "mockserver/py.typed" in tracked
        assert f"{release}.dist-info/licenses/LICENSE" in dist_info
        assert b"mockserver = mockserver.cli.main:main" in archive.read(f"{release}.dist-info/entry_points.txt")
        metadata = message_from_bytes(archive.read(f"{release}.dist-info/METADATA"))
    assert metadata["Name"] == "openai-containers-mock"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "the mockserver authors"
    with tarfile.open(sdist) as source:
        names = {each.name.removeprefix(f"{release}/") for each in source.getmembers() if each.isfile()}
    others = {name for name in ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml") if (ROOT / name).exists()}
    assert names == tracked | others | {".gitignore", "PKG-INFO"}
