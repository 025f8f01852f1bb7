"""Clients as users have them: each of a pinned version, run with programs of `tests/clients/` against a world.

All that a program is told is where the API is. Its output is checked, and then the world's journal, which says what
the client really sent. The table in docs/fidelity/clients.md is a record of these runs. `tests/clients/install` installs
the clients, and `MOCKSERVER_RECORD=1 pytest -m "" tests/test_clients.py` writes the table.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from conftest import World, ok
from installed import CLIENTS, INSTALLED, require
from manual import DOCS, matches

from mockserver.api.app import create_app
from mockserver.schema.faults import OPERATIONS
from mockserver.server.serving import MockServer

pytestmark = pytest.mark.slow  # starts processes

PAGE = DOCS / "fidelity" / "clients.md"
HEADINGS = ("client", "version", "operations", "result")
RECORDING = bool(os.environ.get("MOCKSERVER_RECORD"))
JAVA = INSTALLED / "openai-java"
LITELLM = INSTALLED / "litellm"
DOCUMENTED = [CLIENTS / "python" / f"containers_{kind}.py" for kind in ("async", "sync")]

SKILL_REFUSALS = {("CreateSkill", 400), ("RetrieveSkill", 404)}
"""Of a skill without a folder, and of one that was deleted."""
USUAL_REFUSALS = frozenset({("RetrieveContainer", 404), ("ListContainers", 400)})
"""By operation: of a container that was deleted, and with a limit of 1000."""


@dataclass(frozen=True)
class Program:
    command: tuple[str | Path, ...]
    prints: str
    """A file in `tests/clients/` with the whole output, in which … stands for anything within a line."""


@dataclass(frozen=True)
class Client:
    name: str
    """As the table calls it."""
    language: str
    """What `tests/clients/install` is to be told to install it; nothing for what the machine itself has."""
    folder: str
    """Where that is, in `tests/clients/.installed/`."""
    manifest: str
    """What pins it, in `tests/clients/`."""
    package: str
    """What stands before its version there."""
    programs: tuple[Program, ...]
    """Run one after another, in one world."""
    tool: str | None = None
    """A program that the machine must have."""
    environment: Mapping[str, str] = field(default_factory=dict)
    refusals: Set[tuple[str, int]] = USUAL_REFUSALS
    """All that the programs provoke."""
    sources: str | None = None
    """The folder that its programs were compiled from, in `tests/clients/`."""
    slow: bool = False
    """Whether it takes more than a few seconds."""

    @property
    def version(self) -> str:
        if not self.manifest:
            return "any"
        found = re.search(rf"{re.escape(self.package)}\D*?(\d[\w.+-]*)", (CLIENTS / self.manifest).read_text())
        assert found, f"{self.manifest} pins no version of {self.package}"
        return found[1]


def python(name: str, major: int) -> Client:
    folder = f"openai-python-{major}"
    command = (INSTALLED / folder / "bin" / "python", "-W", "error")
    programs = tuple(
        Program((*command, CLIENTS / "python" / f"{each}.py"), f"python/{each}.txt")
        for each in ("workflow", "workflow_async", "responses", *(["skills"] if major > 1 else []))
    )
    refusals = USUAL_REFUSALS | {("RetrieveContainerFileContent", 404)}
    refusals |= SKILL_REFUSALS if major > 1 else set()
    return Client(
        name, "python", folder, f"python/openai-{major}.txt", "openai==", programs, refusals=refusals, slow=major < 3
    )


def node(name: str, folder: str, manifest: str) -> Client:
    # The program is reached by a link beside the packages, so that any version can run the same one.
    command = ("node", "--preserve-symlinks", "--preserve-symlinks-main")
    skills = folder == "openai-node"  # before 7.5 the client drops the folders of files
    programs = tuple(
        Program((*command, INSTALLED / folder / "programs" / f"{each}.mjs"), f"node/{each}.txt")
        for each in ("workflow", *(["skills"] if skills else []))
    )
    refusals = USUAL_REFUSALS | (SKILL_REFUSALS if skills else set())
    return Client(name, "node", folder, manifest, '"openai"', programs, tool="node", refusals=refusals)


def litellm(name: str, *command: str | Path) -> Client:
    program = str(command[-1])
    run = Program((*command[:-1], CLIENTS / "litellm" / f"{program}.py"), f"litellm/{program}.txt")
    return Client(
        name,
        "litellm",
        "litellm",
        "litellm/requirements.txt",
        "litellm==",
        (run,),
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # else it looks up prices on the network
        slow=True,  # it takes seconds to import
    )


ALL = [
    python("Python `openai`", 3),
    python("Python `openai` 2", 2),
    python("Python `openai` 1", 1),
    node("Node `openai`", "openai-node", "node/package.json"),
    node("Node `openai` 6", "openai-node-6", "node/before-6.22/package.json"),
    litellm("LiteLLM library", LITELLM / "bin" / "python", "workflow"),
    litellm(
        "Python `openai` by LiteLLM proxy", CLIENTS / "litellm" / "behind_proxy", LITELLM / "bin" / "python", "proxied"
    ),
    Client(
        "Azure Foundry `azure-ai-projects`",
        "foundry",
        "azure-ai-projects",
        "foundry/requirements.txt",
        "azure-ai-projects==",
        (
            Program(
                (
                    INSTALLED / "azure-ai-projects" / "bin" / "python",
                    "-W",
                    "error",
                    CLIENTS / "foundry" / "workflow.py",
                ),
                "foundry/workflow.txt",
            ),
        ),
        slow=True,
    ),
    Client(
        "curl",
        "",
        "",
        "",
        "",
        tuple(
            Program(("bash", CLIENTS / "curl" / f"{each}.sh"), f"curl/{each}.txt") for each in ("workflow", "skills")
        ),
        tool="curl",
        refusals=USUAL_REFUSALS | SKILL_REFUSALS,
    ),
    Client(
        "Go `openai-go`",
        "go",
        "openai-go",
        "go/go.mod",
        "github.com/openai/openai-go/v3",
        (Program((INSTALLED / "openai-go" / "containers",), "go/workflow.txt"),),
        tool="go",
        refusals=USUAL_REFUSALS | SKILL_REFUSALS,
        sources="go",
    ),
    Client(
        "Java `openai-java`",
        "java",
        "openai-java",
        "java/pom.xml",
        "<artifactId>openai-java</artifactId>",
        (
            Program(
                ("java", "-XX:TieredStopAtLevel=1", "-cp", f"{JAVA}/classes:{JAVA}/lib/*", "Workflow"),
                "java/workflow.txt",
            ),
        ),
        tool="java",
        refusals=USUAL_REFUSALS | SKILL_REFUSALS,
        sources="java",
    ),
]


# Running


def run(world: World, command: tuple[str | Path, ...], environment: Mapping[str, str]) -> str:
    """What a program prints; its failure is the test's, and so is anything that it warns of."""
    told = {
        "OPENAI_BASE_URL": world.base_url,
        "OPENAI_API_KEY": world.api_key,
        # Where the machine speaks to the network through a proxy, this address still needs none.
        "NO_PROXY": "localhost",
        "no_proxy": "localhost",
    }
    ours = {"PYTHONPATH", "VIRTUAL_ENV", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS"}
    others = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        command,
        env={**others, **told, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def assert_nothing_left(world: World) -> None:
    """Looked up where the journal doesn't see it."""
    counts = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}"))["counts"]
    assert not any(counts.values()), counts


def operations(server: MockServer) -> list[str]:
    paths = create_app(server.mock).openapi()["paths"].values()
    names = [operation["operationId"] for each in paths for operation in each.values()]
    assert len(names) == len(OPERATIONS)
    return names


def row(client: Client, world: World) -> list[str]:
    """What the table says of the client, by the journal of the world that its programs were run in."""
    page = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}/journal?limit=10000"))
    assert page["total"] == len(page["data"])
    unmatched = [f"{each['method']} {each['path']}" for each in page["data"] if each["operation"] is None]
    assert not unmatched
    assert not [each for each in page["data"] if each["aborted"]]
    answers = {(each["operation"], each["status"]) for each in page["data"]}
    assert {answer for answer in answers if answer[1] >= 400} == client.refusals
    driven = {operation for operation, status in answers if status < 400}
    every = operations(world.server)
    missing = ", ".join(f"`{each}`" for each in every if each not in driven)
    refused = " and ".join(str(status) for status in sorted({status for _, status in client.refusals}))
    return [
        client.name,
        client.version,
        f"{len(driven)} of {len(every)}{missing and ': not '}{missing}",
        f"works, catches {refused}" if refused else "works",
    ]


# The table


def table() -> tuple[str, dict[str, list[str]], str]:
    """The page before the rows, the rows by client, and the rest."""
    head = f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}\n"
    before, head, after = PAGE.read_text(encoding="utf-8").partition(head)
    assert head, f"{PAGE.name} has no table of clients"
    lines = re.match(r"(?:\|.*\n)*", after)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    return before + head, {row[0]: row for row in rows}, after[len(lines) :]


def record(row: list[str]) -> None:
    assert "PYTEST_XDIST_WORKER" not in os.environ, "record with one process, which writes the page alone"
    before, rows, after = table()
    rows[row[0]] = row
    lines = [f"| {' | '.join(rows[client.name])} |\n" for client in ALL if client.name in rows]
    PAGE.write_text(before + "".join(lines) + after, encoding="utf-8")


# The tests


CASES = [
    pytest.param(
        each, id="-".join(re.findall(r"\w+", each.name.lower())), marks=[pytest.mark.slow] if each.slow else []
    )
    for each in ALL
]


@pytest.mark.parametrize("client", CASES)
def test_client(live_world: World, client: Client) -> None:
    """Against the mock as strict as the live API, so that the programs are what users can go by."""
    require(client.language, client.folder, client.sources or client.manifest, client.tool)
    for program in client.programs:
        output = run(live_world, program.command, client.environment)
        assert matches((CLIENTS / program.prints).read_text(encoding="utf-8"), output), output
    assert_nothing_left(live_world)
    measured = row(client, live_world)
    if RECORDING:
        record(measured)
    assert table()[1].get(client.name) == measured, "record it with MOCKSERVER_RECORD=1"


def test_the_table_has_these_clients() -> None:
    assert list(table()[1]) == [client.name for client in ALL]


@pytest.mark.parametrize("program", DOCUMENTED, ids=lambda path: path.stem)
def test_as_documented(world: World, program: Path) -> None:
    lines = run(world, (sys.executable, "-W", "error", program), {}).splitlines()
    assert len(lines) > 4
    assert lines[0].startswith("Created")
    assert_nothing_left(world)
