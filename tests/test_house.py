"""The house rules, read from the source itself.

Each rule is a function from the package's sources to what breaks it. It is held against the real
sources, and against made-up ones that break it: a rule that can't fail guards nothing.
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

RINGS: dict[str, tuple[str, ...]] = {
    "facts": (
        "choices",
        "bounds",
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
"""The modules and packages of each ring, the lowest ring first. A module that is named in none is a rule. A module
imports from lower rings, and within its ring or package without a circle."""

ORDER = list(RINGS)

FRAMEWORK = {"fastapi", "starlette", "uvicorn"}
STATEMENTS = {"sqlalchemy", "sqlmodel"}
OUTSIDE_WORLD = {
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
BARRED: dict[str, set[str]] = {
    "facts": FRAMEWORK | STATEMENTS | OUTSIDE_WORLD | {"asyncio", "click", "io", "os", "sqlite3", "yaml"},
    "storage": FRAMEWORK | (OUTSIDE_WORLD - {"shutil"}) | {"click", "yaml"},
    "rules": FRAMEWORK | STATEMENTS | OUTSIDE_WORLD | {"click", "os"},
    "assembly": FRAMEWORK | STATEMENTS | {"click", "http", "socket", "sqlite3", "subprocess", "urllib.request"},
    "HTTP": {"click", "sqlite3", "subprocess", "urllib.request", "yaml"} | STATEMENTS,
    "entrances": {"sqlite3"} | STATEMENTS,
}
"""What each ring never imports: facts do no I/O, rules know no HTTP and no SQLAlchemy."""

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


def ring(module: str) -> str:
    first = module.split(".")[0]
    return next((name for name, members in RINGS.items() if first in members), "rules")


parsed = cache(ast.parse)


@cache
def imports(source: str) -> list[str]:
    """Dotted names, each as deep as the source tells: `from a import b` is `a.b`."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            found += [f"{start}.{alias.name}" for alias in node.names]
    return found


def own(imported: str, sources: Sources) -> str | None:
    """The module of this package that an import brings in."""
    if imported.split(".")[0] != "mockserver":
        return None
    path = imported.split(".")[1:]
    while path and ".".join(path) not in sources:
        path.pop()
    return ".".join(path) or "mockserver"


def downward(sources: Sources) -> Iterator[str]:
    above = {module: own_imports(module, source, sources) for module, source in sources.items()}
    for module, targets in above.items():
        for target in targets:
            if ORDER.index(ring(target)) > ORDER.index(ring(module)):
                yield f"{module} imports {target}, which stands above it"
            elif reaches(target, module, above):
                yield f"{module} imports {target}, which imports it in turn"
        for imported in imports(sources[module]):
            if imported.startswith("."):
                yield f"{module}: {imported} is relative"


def own_imports(module: str, source: str, sources: Sources) -> set[str]:
    if module == "mockserver":  # its public names are imported when they are first used
        return set()
    return {target for imported in imports(source) if (target := own(imported, sources)) not in (None, "mockserver")}


def reaches(start: str, goal: str, above: dict[str, set[str]]) -> bool:
    seen, left = {start}, [start]
    while left:
        for target in above.get(left.pop(), set()):
            if target == goal:
                return True
            if target not in seen:
                seen.add(target)
                left.append(target)
    return start == goal


def api_and_control_apart(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        for imported in imports(source):
            folders = {module.split(".")[0], (own(imported, sources) or "").split(".")[0]}
            if folders == {"api", "control"}:
                yield f"{module} imports {imported}: the API and the control plane know nothing of each other"


def doors(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        for imported in imports(source) if module != "mockserver" else ():
            parts = imported.split(".")
            if {".".join(parts[: depth + 1]) for depth in range(len(parts))} & BARRED[ring(module)]:
                yield f"{module} imports {imported}, which is barred from {ring(module)}"


def named(sources: Sources) -> Iterator[str]:
    for module in sources:
        if VAGUE & {part.strip("_") for part in re.split(r"[._]", module)}:
            yield f"{module}: a name that says nothing"


def documented(sources: Sources) -> Iterator[str]:
    """What a module owns can't be told from its name."""
    for module, source in sources.items():
        if not ast.get_docstring(parsed(source)):
            yield f"{module} doesn't say what it owns"


def reasoned(sources: Sources) -> Iterator[str]:
    for module, source in sources.items():
        for number, line in enumerate(source.splitlines(), 1):
            for found in re.finditer(r"# (?:type: ignore|noqa|pragma|fmt: off|mypy:)[^#]*(# \S+ \S+)?", line):
                if not found[1]:
                    yield f"{module}:{number}: an ignore without its reason"


def routed(sources: Sources) -> Iterator[str]:
    """Routes read like the API reference: nothing in their modules but operations, each named after
    its operation, typed in and out, of three statements at most."""
    for module in (each for each in sources if each.startswith("api.routes.")):
        for node in ast.parse(sources[module]).body:
            if isinstance(node, ast.AsyncFunctionDef):
                yield from (f"{module}.{node.name}: {problem}" for problem in operation(node))
            elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.Expr):
                yield f"{module}:{node.lineno}: is no operation"


def operation(node: ast.AsyncFunctionDef) -> Iterator[str]:
    ids = [
        str(keyword.value.value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        for keyword in decorator.keywords
        if keyword.arg == "operation_id" and isinstance(keyword.value, ast.Constant)
    ]
    if [re.sub(r"(?<!^)(?=[A-Z])", "_", each).lower() for each in ids] != [node.name]:
        yield f"its name is not its operation's, {ids}"
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    if node.returns is None or any(argument.annotation is None for argument in arguments):
        yield "is not typed in and out"
    statements = [each for top in node.body for each in ast.walk(top) if isinstance(each, ast.stmt)]
    if len(statements) > 3:
        yield f"has {len(statements)} statements"


def filled(sources: Sources) -> Iterator[str]:
    """An error is raised with a value for each placeholder of its message, or it would be a 500."""
    for module, source in sources.items():
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call) and (error := error_type(node.func)):
                templates = f"{error.message} {error.param or ''}"
                missing = {name for _, name, _, _ in Formatter().parse(templates) if name}
                missing -= {keyword.arg for keyword in node.keywords}
                if missing and None not in {keyword.arg for keyword in node.keywords}:
                    yield f"{module}:{node.lineno}: has no value for {sorted(missing)}"


def error_type(called: ast.expr) -> ErrorType | None:
    """The error that is called by its name, as in `errors.UNKNOWN_URL(…)`."""
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        catalog = {"errors": errors, "control_errors": control_errors}.get(called.value.id)
        found = getattr(catalog, called.attr, None)
        return found if isinstance(found, ErrorType) else None
    return None


RULES: list[Callable[[Sources], Iterator[str]]] = [
    downward,
    api_and_control_apart,
    doors,
    named,
    documented,
    reasoned,
    routed,
    filled,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep(rule: Callable[[Sources], Iterator[str]]) -> None:
    assert not list(rule(SOURCES))


def test_every_module_was_looked_at() -> None:
    files = [path for path in (ROOT / "mockserver").rglob("*") if path.suffix == ".py"]
    assert len(SOURCES) == len(files) >= 20
    assert sum(bool(own(imported, SOURCES)) for source in SOURCES.values() for imported in imports(source)) > 50


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (downward, "worlds", "from mockserver.containers import Containers"),
        (downward, "storage.pagination", "def late():\n    from mockserver import worlds"),
        (downward, "worlds", "from mockserver import worlds"),
        (downward, "clock", "import mockserver.storage.tables"),
        (downward, "files", "if TYPE_CHECKING:\n    import mockserver.mock"),
        (downward, "api.operation", "from . import parsing"),
        (downward, "errors", "from mockserver.api import operation"),
        (api_and_control_apart, "api.operation", "from mockserver.control import routes"),
        (api_and_control_apart, "control", "from mockserver.api.operation import Operation"),
        (doors, "containers", "from fastapi import HTTPException"),
        (doors, "mock", "import starlette.types"),
        (doors, "ids", "from os import urandom"),
        (doors, "errors", "import urllib.request"),
        (doors, "worlds", "import sqlalchemy"),
        (doors, "api.routes.files", "from sqlalchemy import select"),
        (named, "api.utils", '"""Things."""'),
        (named, "world_manager", '"""Things."""'),
        (documented, "clock", "import time"),
        (reasoned, "clock", "x = 1  # type: ignore[assignment]"),
        (reasoned, "clock", "x = 1  # noqa: S101"),
        (filled, "worlds", "raise errors.UNKNOWN_URL(method='GET')"),
        (filled, "worlds", "raise control_errors.WORLD_NOT_FOUND(world='a')"),
        (routed, "api.routes.files", "def shorten(text: str) -> str:\n    return text[:80]"),
        (routed, "api.routes.files", "@router.get('', operation_id='ListFiles')\nasync def files() -> None: ..."),
        (
            routed,
            "api.routes.files",
            "@router.get('', operation_id='ListFiles')\nasync def list_files(mock) -> None: ...",
        ),
        (routed, "api.routes.files", "@router.get('', operation_id='ListFiles')\nasync def list_files(): ..."),
        (
            routed,
            "api.routes.containers",
            "@router.get('', operation_id='ListFiles')\nasync def list_files() -> None:\n"
            "    async with a:\n        b()\n        c()\n        d()",
        ),
    ],
)
def test_a_breach_is_found(rule: Callable[[Sources], Iterator[str]], module: str, source: str) -> None:
    sound = dict.fromkeys([*SOURCES, "control.routes"], '"""What it owns."""')
    sound["containers"] = '"""What it owns."""\nimport mockserver.worlds'
    assert not any(module in breach for breach in rule(sound))
    assert any(module in breach for breach in rule({**sound, module: source}))


def test_every_operation_is_a_route() -> None:
    """A route module that lost its decorators would keep every rule above."""
    names = [
        node.name
        for module in SOURCES
        if module.startswith("api.routes.")
        for node in ast.parse(SOURCES[module]).body
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert sorted(names) == sorted(re.sub(r"(?<!^)(?=[A-Z])", "_", each).lower() for each in OPERATIONS)


def test_the_files_of_a_resource_are_where_contributors_look_for_them() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    names = re.findall(r"`([\w/<>]+\.(?:py|js|html))`", text.split("| for | files |")[1].split("\n## ")[0])
    assert len(names) > 20
    for resource in ("files", "skills", "uploads"):
        paths = [ROOT / "mockserver" / name.replace("<resource>", resource) for name in names]
        assert [path.name for path in paths if not path.is_file()] == []


def test_the_control_plane_has_each_kind_of_objects() -> None:
    """It reads routes and kinds off the tables; these are what it can't read."""
    assert "files" in OBJECTS
    for kind in OBJECTS:
        assert f"control.routes.{kind}" in SOURCES
    modules = [import_module(f"mockserver.{module}") for module in SOURCES if module.startswith("control.routes.")]
    routers = [each for module in modules for each in vars(module).values() if isinstance(each, APIRouter)]
    assert sorted(map(id, routers)) == sorted(map(id, ROUTERS))
    assert set(Counts.__annotations__) == set(states._counted)


def test_what_seeds_know_of_a_resource_stands_in_the_module_of_its_name() -> None:
    assert {"files", "containers", "skills", "uploads", "answers", "responses", "faults"} <= LISTS.keys()
    assert {key: entry.__module__ for key, entry in LISTS.items()} == {key: f"mockserver.seeds.{key}" for key in LISTS}


def test_ruff_guards_the_doors_of_time_and_chance() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    banned = lint["flake8-tidy-imports"]["banned-api"]
    assert {"time.time", "time.monotonic", "datetime.datetime.now", "uuid", "random", "secrets"} <= set(banned)
    assert "TID" in lint["select"]
    opened = {name for name, codes in lint["per-file-ignores"].items() if "TID251" in codes}
    assert opened == {"mockserver/clock.py", "mockserver/ids.py"}


def test_no_test_sleeps() -> None:
    looked_at = 0
    for path in (ROOT / "tests").rglob("*.py"):
        if ".installed" in path.parts:
            continue
        looked_at += 1
        source = path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)) if "sleep" in source else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep":
                assert ast.unparse(node.args[0]) == "0", f"{path.name}:{node.lineno} sleeps"
    assert looked_at


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


MACHINE = re.compile(rb"(?<![\w.-])/(?:work|farm|root|Users|home/(?!oai/)\w+)/|[A-Z]:\\\\?Users\\")
REGISTRY = re.compile(rb"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|proxy\.golang|repo1?\.maven")
LOCK = re.compile(r"(?:.*[.-])?lock(?:\.(?:json|yaml|toml|hcl))?|pylock.*\.toml|npm-shrinkwrap\.json")


def test_the_repository_names_no_machine_and_no_registry() -> None:
    files = tracked()
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        for pattern in (MACHINE, REGISTRY):
            if found := pattern.search(content):
                line = content.count(b"\n", 0, found.start()) + 1
                pytest.fail(f"{path.relative_to(ROOT)}:{line} names {found[0].decode()!r}")


def test_the_repository_pins_nothing_in_lock_files() -> None:
    assert not [path.name for path in tracked() if LOCK.fullmatch(path.name)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (MACHINE, b"see /%b/x" % b"root"),
        (MACHINE, b'"/%b/ada/x"' % b"home"),
        (REGISTRY, b"https://pypi%borg/simple" % b"."),
    ],
)
def test_a_name_is_found(pattern: re.Pattern[bytes], text: bytes) -> None:
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
def test_a_lock_file_is_known(name: str, lock: bool) -> None:
    assert bool(LOCK.fullmatch(name)) is lock
