"""The rules of the project, checked on the source code.

Each rule is a function that takes the sources of the package and yields violations. It is checked with the real sources,
which have no violations, and with invented sources that violate it.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from string import Formatter

import pytest
from fastapi import APIRouter

from mockserver import control_errors, errors, states
from mockserver.control.app import ROUTERS
from mockserver.control.models import Counts
from mockserver.events import OBJECTS
from mockserver.schema.errors import ErrorType
from mockserver.schema.faults import OPERATIONS
from mockserver.seeds.models import LISTS

ROOT = Path(__file__).parent.parent

LAYERS: dict[str, tuple[str, ...]] = {
    "facts": (
        "choices",
        "bounds",
        "caches",
        "clock",
        "ids",
        "errors",
        "control_errors",
        "samples",
        "switches",
        "profiles",
        "settings",
        "schema",
    ),
    "storage": ("storage",),
    "rules": (),
    "assembly": ("seeds", "mock"),
    "HTTP": ("routing", "api", "control"),
    "entrances": ("environment", "patched", "client", "testing", "server", "cli", "pytest_plugin", "__main__"),
}
"""The modules and packages of each layer, lowest first. A module that no layer lists belongs to *rules*. A module imports
only from its own and lower layers, and without cycles."""

ORDER = list(LAYERS)

FRAMEWORK = {"fastapi", "starlette", "uvicorn"}
STATEMENTS = {"sqlalchemy", "sqlmodel"}
INPUT_OUTPUT = {
    "http",
    "httptools",
    "logging",
    "multiprocessing",
    "python_multipart",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "urllib.request",
}
FORBIDDEN_IMPORTS: dict[str, set[str]] = {
    "facts": FRAMEWORK | STATEMENTS | INPUT_OUTPUT | {"asyncio", "click", "io", "os", "sqlite3", "yaml"},
    "storage": FRAMEWORK | (INPUT_OUTPUT - {"shutil"}) | {"click", "yaml"},
    "rules": FRAMEWORK | STATEMENTS | INPUT_OUTPUT | {"click", "os"},
    "assembly": FRAMEWORK | STATEMENTS | {"click", "http", "socket", "sqlite3", "subprocess", "urllib.request"},
    "HTTP": {"click", "sqlite3", "subprocess", "urllib.request", "yaml"} | STATEMENTS,
    "entrances": {"sqlite3"} | STATEMENTS,
}
"""Packages that a layer must not import: facts do no I/O; rules do not use HTTP or SQLAlchemy."""

VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "service", "services", "misc"}

Sources = dict[str, str]


def read_sources() -> Sources:
    sources = {}
    for path in (ROOT / "mockserver").rglob("*.py"):
        parts = path.relative_to(ROOT / "mockserver").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name or "mockserver"] = path.read_text("utf-8")
    return sources


SOURCES = read_sources()


def layer(module: str) -> str:
    first = module.split(".")[0]
    return next((name for name, members in LAYERS.items() if first in members), "rules")


parsed = cache(ast.parse)


@cache
def imports(source: str) -> list[str]:
    """Return the imported names with dots: `from a import b` is `a.b`."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            found += [f"{start}.{alias.name}" for alias in node.names]
    return found


def package_module(imported: str, sources: Sources) -> str | None:
    """Return the module of this package that an import loads, or None for other packages."""
    if imported.split(".")[0] != "mockserver":
        return None
    path = imported.split(".")[1:]
    while path and ".".join(path) not in sources:
        path.pop()
    return ".".join(path) or "mockserver"


def imports_point_down(sources: Sources) -> Iterator[str]:
    graph = {module: package_imports(module, source, sources) for module, source in sources.items()}
    for module, targets in graph.items():
        for target in targets:
            if ORDER.index(layer(target)) > ORDER.index(layer(module)):
                yield f"{module} imports {target}, which is in a higher layer"
            elif reaches(target, module, graph):
                yield f"{module} imports {target}, which imports it back"
        for imported in imports(sources[module]):
            if imported.startswith("."):
                yield f"{module}: {imported} is a relative import"


def package_imports(module: str, source: str, sources: Sources) -> set[str]:
    if module == "mockserver":  # imports its public names lazily
        return set()
    return {
        target
        for imported in imports(source)
        if (target := package_module(imported, sources)) not in (None, "mockserver")
    }


def reaches(start: str, goal: str, graph: dict[str, set[str]]) -> bool:
    seen, remaining = {start}, [start]
    while remaining:
        for target in graph.get(remaining.pop(), set()):
            if target == goal:
                return True
            if target not in seen:
                seen.add(target)
                remaining.append(target)
    return start == goal


def api_and_control_are_independent(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        for imported in imports(source):
            folders = {module.split(".")[0], (package_module(imported, sources) or "").split(".")[0]}
            if folders == {"api", "control"}:
                yield f"{module} imports {imported}: the API and the control plane must not import each other"


def no_forbidden_imports(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        for imported in imports(source) if module != "mockserver" else ():
            parts = imported.split(".")
            if {".".join(parts[: depth + 1]) for depth in range(len(parts))} & FORBIDDEN_IMPORTS[layer(module)]:
                yield f"{module} imports {imported}, which is forbidden in {layer(module)}"


def no_vague_names(sources: Sources) -> Iterator[str]:
    for module in sources:
        if VAGUE & {part.strip("_") for part in re.split(r"[._]", module)}:
            yield f"{module} has a vague name"


def modules_have_docstrings(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        if not ast.get_docstring(parsed(source)):
            yield f"{module} has no docstring"


def ignores_have_reasons(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        for number, line in enumerate(source.splitlines(), 1):
            for match in re.finditer(r"# (?:type: ignore|noqa|pragma|fmt: off|mypy:)[^#]*(# \S+ \S+)?", line):
                if not match[1]:
                    yield f"{module}:{number}: an ignore without a reason"


def routes_are_short_typed_operations(sources: Sources) -> Iterator[str]:
    """Route modules contain only operations. Each is typed, and at most three statements long."""
    for module in (each for each in sources if each.startswith("api.routes.")):
        for node in ast.parse(sources[module]).body:
            if isinstance(node, ast.AsyncFunctionDef):
                yield from (f"{module}.{node.name}: {problem}" for problem in operation_problems(node))
            elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.Expr):
                yield f"{module}:{node.lineno}: is not an operation"


def operation_problems(node: ast.AsyncFunctionDef) -> Iterator[str]:
    if not node.decorator_list:
        yield "is no route"
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    if node.returns is None or any(argument.annotation is None for argument in arguments):
        yield "has an argument or result without a type"
    statements = [each for top in node.body for each in ast.walk(top) if isinstance(each, ast.stmt)]
    if len(statements) > 3:
        yield f"has {len(statements)} statements"


def errors_have_all_values(sources: Sources) -> Iterator[str]:
    """An error is raised with a value for each placeholder of its message; otherwise formatting it fails with a 500."""
    for module, source in sources.items():
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call) and (error := error_type(node.func)):
                templates = f"{error.message} {error.param or ''}"
                missing = {name for _, name, _, _ in Formatter().parse(templates) if name}
                missing -= {keyword.arg for keyword in node.keywords}
                if missing and None not in {keyword.arg for keyword in node.keywords}:
                    yield f"{module}:{node.lineno}: has no value for {sorted(missing)}"


def error_type(called: ast.expr) -> ErrorType | None:
    """Return the error type of a call such as `errors.UNKNOWN_URL(…)`, or None for other calls."""
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        catalog = {"errors": errors, "control_errors": control_errors}.get(called.value.id)
        error = getattr(catalog, called.attr, None)
        return error if isinstance(error, ErrorType) else None
    return None


RULES: list[Callable[[Sources], Iterator[str]]] = [
    imports_point_down,
    api_and_control_are_independent,
    no_forbidden_imports,
    no_vague_names,
    modules_have_docstrings,
    ignores_have_reasons,
    routes_are_short_typed_operations,
    errors_have_all_values,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_sources_follow_a_rule(rule: Callable[[Sources], Iterator[str]]) -> None:
    assert not list(rule(SOURCES))


def test_all_modules_are_read() -> None:
    files = [path for path in (ROOT / "mockserver").rglob("*") if path.suffix == ".py"]
    assert len(SOURCES) == len(files) >= 20
    assert (
        sum(bool(package_module(imported, SOURCES)) for source in SOURCES.values() for imported in imports(source)) > 50
    )


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (imports_point_down, "worlds", "from mockserver.containers import Containers"),
        (imports_point_down, "storage.pagination", "def late():\n    from mockserver import worlds"),
        (imports_point_down, "worlds", "from mockserver import worlds"),
        (imports_point_down, "clock", "import mockserver.storage.tables"),
        (imports_point_down, "files", "if TYPE_CHECKING:\n    import mockserver.mock"),
        (imports_point_down, "api.operation", "from . import parsing"),
        (imports_point_down, "errors", "from mockserver.api import operation"),
        (api_and_control_are_independent, "api.operation", "from mockserver.control import routes"),
        (api_and_control_are_independent, "control", "from mockserver.api.operation import Operation"),
        (no_forbidden_imports, "containers", "from fastapi import HTTPException"),
        (no_forbidden_imports, "mock", "import starlette.types"),
        (no_forbidden_imports, "ids", "from os import urandom"),
        (no_forbidden_imports, "errors", "import urllib.request"),
        (no_forbidden_imports, "worlds", "import sqlalchemy"),
        (no_forbidden_imports, "api.routes.files", "from sqlalchemy import select"),
        (no_vague_names, "api.utils", '"""A docstring."""'),
        (no_vague_names, "world_manager", '"""A docstring."""'),
        (modules_have_docstrings, "clock", "import time"),
        (ignores_have_reasons, "clock", "x = 1  # type: ignore[assignment]"),
        (ignores_have_reasons, "clock", "x = 1  # noqa: S101"),
        (errors_have_all_values, "worlds", "raise errors.UNKNOWN_URL(method='GET')"),
        (errors_have_all_values, "worlds", "raise control_errors.WORLD_NOT_FOUND(world='a')"),
        (routes_are_short_typed_operations, "api.routes.files", "def shorten(text: str) -> str:\n    return text[:80]"),
        (routes_are_short_typed_operations, "api.routes.files", "async def list_files() -> None: ..."),
        (
            routes_are_short_typed_operations,
            "api.routes.files",
            "@router.get('')\nasync def list_files(mock) -> None: ...",
        ),
        (
            routes_are_short_typed_operations,
            "api.routes.files",
            "@router.get('')\nasync def list_files(): ...",
        ),
        (
            routes_are_short_typed_operations,
            "api.routes.containers",
            "@router.get('')\nasync def list_files() -> None:\n"
            "    async with a:\n        b()\n        c()\n        d()",
        ),
    ],
)
def test_a_rule_finds_a_violation(rule: Callable[[Sources], Iterator[str]], module: str, source: str) -> None:
    valid = dict.fromkeys([*SOURCES, "control.routes"], '"""A docstring."""')
    valid["containers"] = '"""A docstring."""\nimport mockserver.worlds'
    assert not any(module in violation for violation in rule(valid))
    assert any(module in violation for violation in rule({**valid, module: source}))


def test_every_operation_has_a_route_function() -> None:
    """The rules above do not notice functions that are missing or have no decorator."""
    names = [
        node.name
        for module in SOURCES
        if module.startswith("api.routes.")
        for node in ast.parse(SOURCES[module]).body
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert sorted(names) == sorted(re.sub(r"(?<!^)(?=[A-Z])", "_", each).lower() for each in OPERATIONS)


def test_the_files_of_a_resource_that_the_contributing_page_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    names = re.findall(r"`([\w/<>]+\.(?:py|js|html))`", text.split("| for | files |")[1].split("\n## ")[0])
    assert len(names) > 20
    for resource in ("files", "skills", "uploads"):
        paths = [ROOT / "mockserver" / name.replace("<resource>", resource) for name in names]
        assert [path.name for path in paths if not path.is_file()] == []


def test_the_control_plane_has_modules_routers_and_counts_for_each_kind_of_object() -> None:
    """Check the parts that are not derived from the tables."""
    assert "files" in OBJECTS
    for kind in OBJECTS:
        assert f"control.routes.{kind}" in SOURCES
    modules = [import_module(f"mockserver.{module}") for module in SOURCES if module.startswith("control.routes.")]
    routers = [each for module in modules for each in vars(module).values() if isinstance(each, APIRouter)]
    assert sorted(map(id, routers)) == sorted(map(id, ROUTERS))
    assert set(Counts.__annotations__) == set(states._counted)


def test_each_list_of_a_seed_is_defined_in_the_module_of_its_name() -> None:
    assert {"files", "containers", "skills", "uploads", "answers", "responses", "faults"} <= LISTS.keys()
    assert {key: entry.__module__ for key, entry in LISTS.items()} == {key: f"mockserver.seeds.{key}" for key in LISTS}


def test_ruff_bans_time_and_randomness_outside_clock_and_ids() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    banned = lint["flake8-tidy-imports"]["banned-api"]
    assert {"time.time", "time.monotonic", "datetime.datetime.now", "uuid", "random", "secrets"} <= set(banned)
    assert "TID" in lint["select"]
    allowed = {name for name, codes in lint["per-file-ignores"].items() if "TID251" in codes}
    assert allowed == {"mockserver/clock.py", "mockserver/ids.py"}


def test_no_test_sleeps() -> None:
    checked = 0
    for path in (ROOT / "tests").rglob("*.py"):
        if ".installed" in path.parts:
            continue
        checked += 1
        source = path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)) if "sleep" in source else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep":
                assert ast.unparse(node.args[0]) == "0", f"{path.name}:{node.lineno} sleeps"
    assert checked


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so the files of the repository are unknown")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


LOCAL_PATH = re.compile(rb"(?<![\w.-])/(?:work|farm|root|Users|home/(?!oai/)\w+)/|[A-Z]:\\\\?Users\\")
REGISTRY = re.compile(rb"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|proxy\.golang|repo1?\.maven")
LOCK = re.compile(r"(?:.*[.-])?lock(?:\.(?:json|yaml|toml|hcl))?|pylock.*\.toml|npm-shrinkwrap\.json")


def test_the_repository_has_no_local_paths_and_no_registry_urls() -> None:
    files = tracked_files()
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        for pattern in (LOCAL_PATH, REGISTRY):
            if match := pattern.search(content):
                line = content.count(b"\n", 0, match.start()) + 1
                pytest.fail(f"{path.relative_to(ROOT)}:{line} contains {match[0].decode()!r}")


def test_the_repository_has_no_lock_files() -> None:
    assert not [path.name for path in tracked_files() if LOCK.fullmatch(path.name)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (LOCAL_PATH, b"see /%b/x" % b"root"),
        (LOCAL_PATH, b'"/%b/ada/x"' % b"home"),
        (REGISTRY, b"https://pypi%borg/simple" % b"."),
    ],
)
def test_local_paths_and_registry_urls_are_detected(pattern: re.Pattern[bytes], text: bytes) -> None:
    assert pattern.search(text)
    assert not pattern.search(b"/mnt/data/work/x, tests/work/x, pip install mockserver")


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("uv.lock", True),
        ("package-lock.json", True),
        ("pnpm-lock.yaml", True),
        ("clock.py", False),
        ("constraints.txt", False),
    ],
)
def test_the_names_of_lock_files_are_detected(name: str, lock: bool) -> None:
    assert bool(LOCK.fullmatch(name)) is lock
