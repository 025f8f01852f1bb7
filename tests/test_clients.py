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
SENDS = ("client", "version", "keys of its requests", "a second turn has", "result")
"""Of the table of clients of `/responses`."""
RECORDING = bool(os.environ.get("MOCKSERVER_RECORD"))
JAVA = INSTALLED / "openai-java"
LITELLM = INSTALLED / "litellm"
LITELLM_OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""Else it looks up prices on the network."""
DOCUMENTED = [CLIENTS / "python" / f"containers_{kind}.py" for kind in ("async", "sync")]

SKILL_REFUSALS = {("CreateSkill", 400), ("RetrieveSkill", 404)}
"""Of a skill without a folder, and of one that was deleted."""
USUAL_REFUSALS = frozenset({("RetrieveContainer", 404), ("ListContainers", 400)})
"""By operation: of a container that was deleted, and with a limit of 1000."""


@dataclass(frozen=True)
class Program:
    command: tuple[str | Path, ...]
    prints: str
    """A file in `tests/clients/` with the whole output, in which … stands for anything within a line. Programs of
    `/responses` have none: all of them print the same."""


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
    packed = [] if folder == "openai-node" else [CLIENTS / "node" / "basic_math.zip"]  # before 7.5 it drops folders
    programs = tuple(
        Program((*command, INSTALLED / folder / "programs" / f"{each}.mjs", *more), f"node/{each}.txt")
        for each, more in (("workflow", []), ("skills", packed))
    )
    refusals = USUAL_REFUSALS | SKILL_REFUSALS
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
        environment=LITELLM_OFFLINE,
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


def responses(name: str, language: str, folder: str, manifest: str, package: str, program: str) -> Client:
    """A client of `/responses`: two turns in one container, streamed and not, and a cited file of each downloaded."""
    command: tuple[str | Path, ...] = (INSTALLED / folder / "bin" / "python", CLIENTS / "python" / program)
    if program.endswith(".mjs"):
        linked = INSTALLED / folder / "programs" / program
        command = ("node", "--preserve-symlinks", "--preserve-symlinks-main", linked)
    return Client(
        name,
        language,
        folder,
        manifest,
        package,
        (Program(command, ""),),
        tool="node" if program.endswith(".mjs") else None,
        environment=LITELLM_OFFLINE if folder == "litellm" else {},
    )


def installed(name: str, folder: str, manifest: str, package: str, program: str) -> Client:
    return responses(name, "responses", folder, manifest, package, program)


RESPONSES = [
    responses("Python `openai`", "python", "openai-python-3", "python/openai-3.txt", "openai==", "responses_openai.py"),
    installed("Python `openai-agents`", "agents-python", "python/agents.txt", "openai-agents==", "responses_agents.py"),
    installed(
        "`langchain-openai`", "langchain-python", "python/langchain.txt", "langchain-openai==", "responses_langchain.py"
    ),
    installed(
        "`pydantic-ai`",
        "pydantic-ai-python",
        "python/pydantic-ai.txt",
        "pydantic-ai-slim==",
        "responses_pydantic_ai.py",
    ),
    responses("LiteLLM library", "litellm", "litellm", "litellm/requirements.txt", "litellm==", "responses_litellm.py"),
    installed(
        "`llama-index-llms-openai`",
        "llamaindex-python",
        "python/llamaindex.txt",
        "llama-index-llms-openai==",
        "responses_llamaindex.py",
    ),
    responses("Node `openai`", "node", "openai-node", "node/package.json", '"openai"', "responses_openai.mjs"),
    installed(
        "`@openai/agents`", "agents-node", "node/agents/package.json", '"@openai/agents"', "responses_agents.mjs"
    ),
    installed(
        "`@langchain/openai`",
        "langchain-node",
        "node/langchain/package.json",
        '"@langchain/openai"',
        "responses_langchain.mjs",
    ),
    installed("`ai` with `@ai-sdk/openai`", "ai-node", "node/ai/package.json", '"ai"', "responses_ai.mjs"),
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


OF_RESPONSES = {"CreateResponse", "GetResponse", "DeleteResponse", "CancelResponse", "ListInputItems"}
"""Operations that have clients of their own, and another table."""


def assert_nothing_left(world: World) -> None:
    """Looked up where the journal doesn't see it."""
    counts = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}"))["counts"]
    counts.pop("uploads")  # the API deletes none of those that have ended
    assert not any(counts.values()), counts


def operations(server: MockServer) -> list[str]:
    paths = create_app(server.mock).openapi()["paths"].values()
    names = [operation["operationId"] for each in paths for operation in each.values()]
    assert len(names) == len(OPERATIONS)
    return [name for name in names if name not in OF_RESPONSES]


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


def sends(client: Client, world: World) -> list[str]:
    """What the second table says of the client, by the journal. It has to show that everything worked."""
    mock = f"{world.server.url}/_mock/worlds/{world.name}"
    entries = ok(httpx2.get(f"{mock}/journal?limit=10000"))["data"]
    assert not [each for each in entries if each["operation"] is None or each["status"] != 200 or each["aborted"]]
    assert ok(httpx2.get(f"{mock}/verdict"))["findings"] == []
    bodies = [each["request"]["body"] for each in entries if each["operation"] == "CreateResponse"]
    streamed = sum(bool(body.get("stream")) for body in bodies)
    downloads = {each["path"] for each in entries if each["operation"] == "RetrieveContainerFileContent"}
    assert min(streamed, len(bodies) - streamed) >= 2
    assert len(downloads) >= 4
    keys = {key for body in bodies for key in body} - {"previous_response_id"}
    items = {item.get("type") for body in bodies if isinstance(body["input"], list) for item in body["input"]}
    ways = [each for each in ("code_interpreter_call", "item_reference") if each in items]
    ways += ["previous_response_id"] if any(body.get("previous_response_id") for body in bodies) else []
    return [
        client.name,
        client.version,
        ", ".join(f"`{each}`" for each in sorted(keys)),
        " or ".join(f"`{each}`" for each in ways),
        f"{len(bodies)} runs, {streamed} streamed, {len(downloads)} downloads",
    ]


# The tables


def table(headings: tuple[str, ...] = HEADINGS) -> tuple[str, dict[str, list[str]], str]:
    """The page before the rows, the rows by client, and the rest."""
    head = f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}\n"
    before, head, after = PAGE.read_text(encoding="utf-8").partition(head)
    assert head, f"{PAGE.name} has no table of clients"
    lines = re.match(r"(?:\|.*\n)*", after)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    return before + head, {row[0]: row for row in rows}, after[len(lines) :]


def record(row: list[str], headings: tuple[str, ...] = HEADINGS) -> None:
    assert "PYTEST_XDIST_WORKER" not in os.environ, "record with one process, which writes the page alone"
    before, rows, after = table(headings)
    rows[row[0]] = row
    clients = ALL if headings == HEADINGS else RESPONSES
    lines = [f"| {' | '.join(rows[client.name])} |\n" for client in clients if client.name in rows]
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


@pytest.mark.parametrize("client", RESPONSES, ids=lambda each: f"{each.folder}-{each.version}")
def test_client_of_responses(live_world: World, client: Client) -> None:
    """Two turns in one container. The program compares the containers, and downloads what is cited."""
    require(client.language, client.folder, client.manifest, client.tool)
    for program in client.programs:
        output = run(live_world, program.command, client.environment)
        assert re.fullmatch(r"(\w+: report\.csv 19, plot\.png 67\n){2,}", output), output
    measured = sends(client, live_world)
    if RECORDING:
        record(measured, SENDS)
    assert table(SENDS)[1].get(client.name) == measured, "record it with MOCKSERVER_RECORD=1"


def test_the_tables_have_these_clients() -> None:
    assert list(table()[1]) == [client.name for client in ALL]
    assert list(table(SENDS)[1]) == [client.name for client in RESPONSES]


@pytest.mark.parametrize("program", DOCUMENTED, ids=lambda path: path.stem)
def test_as_documented(world: World, program: Path) -> None:
    lines = run(world, (sys.executable, "-W", "error", program), {}).splitlines()
    assert len(lines) > 4
    assert lines[0].startswith("Created")
    assert_nothing_left(world)
