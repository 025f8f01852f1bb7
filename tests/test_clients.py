"""Pinned versions of clients run the programs of `tests/clients/` against a world.

A program gets only the base URL and a key. The tests check its output, and the requests in the world's journal. The
tables in docs/fidelity/clients.md record these runs. `tests/clients/install` installs the clients, and
`MOCKSERVER_RECORD=1 pytest -m "" tests/test_clients.py` writes the tables.
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
RESPONSES_HEADINGS = ("client", "version", "keys of its requests", "a second turn has", "result")
RECORD = bool(os.environ.get("MOCKSERVER_RECORD"))
JAVA = INSTALLED / "openai-java"
LITELLM = INSTALLED / "litellm"
LITELLM_OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""Keeps LiteLLM from downloading prices."""
DOCUMENTED = [CLIENTS / "python" / f"containers_{kind}.py" for kind in ("async", "sync")]

SKILL_ERRORS = {("CreateSkill", 400), ("RetrieveSkill", 404)}
"""For a skill without a folder, and for a deleted one."""
COMMON_ERRORS = frozenset({("RetrieveContainer", 404), ("ListContainers", 400)})
"""For a deleted container, and for a limit of 1000."""


@dataclass(frozen=True)
class Program:
    command: tuple[str | Path, ...]
    output: str
    """A file in `tests/clients/` with the expected output, in which … matches any text within a line. Empty for programs
    of `/responses`, which all print the same."""


@dataclass(frozen=True)
class Client:
    name: str
    """The name in the table."""
    language: str
    """The argument of `tests/clients/install`; empty for what is part of the system."""
    folder: str
    """Its folder in `tests/clients/.installed/`."""
    manifest: str
    """The file in `tests/clients/` that pins its version."""
    package: str
    """The text before its version in the manifest."""
    programs: tuple[Program, ...]
    """Run in sequence, in one world."""
    tool: str | None = None
    """A command that must be available."""
    environment: Mapping[str, str] = field(default_factory=dict)
    errors: Set[tuple[str, int]] = COMMON_ERRORS
    """Operation and status of all error responses that the programs cause."""
    sources: str | None = None
    """The folder in `tests/clients/` with the sources of compiled programs."""

    @property
    def version(self) -> str:
        if not self.manifest:
            return "any"
        match = re.search(rf"{re.escape(self.package)}\D*?(\d[\w.+-]*)", (CLIENTS / self.manifest).read_text())
        assert match, f"{self.manifest} pins no version of {self.package}"
        return match[1]


def python(name: str, major: int) -> Client:
    folder = f"openai-python-{major}"
    command = (INSTALLED / folder / "bin" / "python", "-W", "error")
    programs = tuple(
        Program((*command, CLIENTS / "python" / f"{each}.py"), f"python/{each}.txt")
        for each in ("workflow", "workflow_async", "responses", *(["skills"] if major > 1 else []))
    )
    errors = COMMON_ERRORS | {("RetrieveContainerFileContent", 404)}
    errors |= SKILL_ERRORS if major > 1 else set()
    return Client(name, "python", folder, f"python/openai-{major}.txt", "openai==", programs, errors=errors)


def node(name: str, folder: str, manifest: str) -> Client:
    # The programs are linked next to the packages, so that all versions can run the same ones.
    command = ("node", "--preserve-symlinks", "--preserve-symlinks-main")
    # Before 7.5 the client drops folders, so the program uploads a zip.
    archive = [] if folder == "openai-node" else [CLIENTS / "node" / "basic_math.zip"]
    programs = tuple(
        Program((*command, INSTALLED / folder / "programs" / f"{each}.mjs", *more), f"node/{each}.txt")
        for each, more in (("workflow", []), ("skills", archive))
    )
    errors = COMMON_ERRORS | SKILL_ERRORS
    return Client(name, "node", folder, manifest, '"openai"', programs, tool="node", errors=errors)


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
    )


CLIENTS_OF_ALL_OPERATIONS = [
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
        errors=COMMON_ERRORS | SKILL_ERRORS,
    ),
    Client(
        "Go `openai-go`",
        "go",
        "openai-go",
        "go/go.mod",
        "github.com/openai/openai-go/v3",
        (Program((INSTALLED / "openai-go" / "containers",), "go/workflow.txt"),),
        tool="go",
        errors=COMMON_ERRORS | SKILL_ERRORS,
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
        errors=COMMON_ERRORS | SKILL_ERRORS,
        sources="java",
    ),
]


def responses_client(name: str, language: str, folder: str, manifest: str, package: str, program: str) -> Client:
    """Return a client of `/responses`: it runs two turns in one container, streamed and not, and downloads the cited files."""
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


def library_client(name: str, folder: str, manifest: str, package: str, program: str) -> Client:
    return responses_client(name, "responses", folder, manifest, package, program)


RESPONSES_CLIENTS = [
    responses_client(
        "Python `openai`", "python", "openai-python-3", "python/openai-3.txt", "openai==", "responses_openai.py"
    ),
    library_client(
        "Python `openai-agents`", "agents-python", "python/agents.txt", "openai-agents==", "responses_agents.py"
    ),
    library_client(
        "`langchain-openai`", "langchain-python", "python/langchain.txt", "langchain-openai==", "responses_langchain.py"
    ),
    library_client(
        "`pydantic-ai`",
        "pydantic-ai-python",
        "python/pydantic-ai.txt",
        "pydantic-ai-slim==",
        "responses_pydantic_ai.py",
    ),
    responses_client(
        "LiteLLM library", "litellm", "litellm", "litellm/requirements.txt", "litellm==", "responses_litellm.py"
    ),
    library_client(
        "`llama-index-llms-openai`",
        "llamaindex-python",
        "python/llamaindex.txt",
        "llama-index-llms-openai==",
        "responses_llamaindex.py",
    ),
    responses_client("Node `openai`", "node", "openai-node", "node/package.json", '"openai"', "responses_openai.mjs"),
    library_client(
        "`@openai/agents`", "agents-node", "node/agents/package.json", '"@openai/agents"', "responses_agents.mjs"
    ),
    library_client(
        "`@langchain/openai`",
        "langchain-node",
        "node/langchain/package.json",
        '"@langchain/openai"',
        "responses_langchain.mjs",
    ),
    library_client("`ai` with `@ai-sdk/openai`", "ai-node", "node/ai/package.json", '"ai"', "responses_ai.mjs"),
]


# Run the programs


def run(world: World, command: tuple[str | Path, ...], environment: Mapping[str, str]) -> str:
    """Run a program and return its output. Fail if it fails or prints warnings."""
    api = {
        "OPENAI_BASE_URL": world.base_url,
        "OPENAI_API_KEY": world.api_key,
        # A proxy in the environment must not be used for localhost.
        "NO_PROXY": "localhost",
        "no_proxy": "localhost",
    }
    dropped = {"PYTHONPATH", "VIRTUAL_ENV", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS"}
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    completed = subprocess.run(
        command,
        env={**inherited, **api, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert completed.stderr == ""
    return completed.stdout


RESPONSES_OPERATIONS = {"CreateResponse", "GetResponse", "DeleteResponse", "CancelResponse", "ListInputItems"}
"""Operations that other clients and a separate table cover."""


def assert_no_objects_left(world: World) -> None:
    """Check through the control plane, which the journal does not record."""
    counts = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}"))["counts"]
    counts.pop("uploads")  # the API cannot delete uploads
    assert not any(counts.values()), counts


def operations(server: MockServer) -> list[str]:
    paths = create_app(server.mock).openapi()["paths"].values()
    names = [operation["operationId"] for each in paths for operation in each.values()]
    assert len(names) == len(OPERATIONS)
    return [name for name in names if name not in RESPONSES_OPERATIONS]


def row(client: Client, world: World) -> list[str]:
    """Return the client's row of the first table, from the journal of the world."""
    page = ok(httpx2.get(f"{world.server.url}/_mock/worlds/{world.name}/journal?limit=10000"))
    assert page["total"] == len(page["data"])
    unmatched = [f"{each['method']} {each['path']}" for each in page["data"] if each["operation"] is None]
    assert not unmatched
    assert not [each for each in page["data"] if each["aborted"]]
    statuses = {(each["operation"], each["status"]) for each in page["data"]}
    assert {each for each in statuses if each[1] >= 400} == client.errors
    called = {operation for operation, status in statuses if status < 400}
    all_operations = operations(world.server)
    missing = ", ".join(f"`{each}`" for each in all_operations if each not in called)
    caught = " and ".join(str(status) for status in sorted({status for _, status in client.errors}))
    return [
        client.name,
        client.version,
        f"{len(called)} of {len(all_operations)}{missing and ': not '}{missing}",
        f"works, catches {caught}" if caught else "works",
    ]


def responses_row(client: Client, world: World) -> list[str]:
    """Check in the journal that all requests succeeded, and return the client's row of the second table."""
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
    history = [each for each in ("code_interpreter_call", "item_reference") if each in items]
    history += ["previous_response_id"] if any(body.get("previous_response_id") for body in bodies) else []
    return [
        client.name,
        client.version,
        ", ".join(f"`{each}`" for each in sorted(keys)),
        " or ".join(f"`{each}`" for each in history),
        f"{len(bodies)} runs, {streamed} streamed, {len(downloads)} downloads",
    ]


# The tables


def table(headings: tuple[str, ...] = HEADINGS) -> tuple[str, dict[str, list[str]], str]:
    """Return the page before the rows, the rows by client, and the rest."""
    head = f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}\n"
    before, head, after = PAGE.read_text(encoding="utf-8").partition(head)
    assert head, f"{PAGE.name} has no table of clients"
    lines = re.match(r"(?:\|.*\n)*", after)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    return before + head, {row[0]: row for row in rows}, after[len(lines) :]


def record(row: list[str], headings: tuple[str, ...] = HEADINGS) -> None:
    assert "PYTEST_XDIST_WORKER" not in os.environ, "record without xdist: its workers would overwrite the page"
    before, rows, after = table(headings)
    rows[row[0]] = row
    clients = CLIENTS_OF_ALL_OPERATIONS if headings == HEADINGS else RESPONSES_CLIENTS
    lines = [f"| {' | '.join(rows[client.name])} |\n" for client in clients if client.name in rows]
    PAGE.write_text(before + "".join(lines) + after, encoding="utf-8")


# The tests


@pytest.mark.parametrize(
    "client", CLIENTS_OF_ALL_OPERATIONS, ids=lambda each: "-".join(re.findall(r"\w+", each.name.lower()))
)
def test_the_programs_of_a_client_work_and_call_the_recorded_operations(live_world: World, client: Client) -> None:
    """Use the profile `live`, because users copy these programs."""
    require(client.language, client.folder, client.sources or client.manifest, client.tool)
    for program in client.programs:
        output = run(live_world, program.command, client.environment)
        assert matches((CLIENTS / program.output).read_text(encoding="utf-8"), output), output
    assert_no_objects_left(live_world)
    actual = row(client, live_world)
    if RECORD:
        record(actual)
    assert table()[1].get(client.name) == actual, "record it with MOCKSERVER_RECORD=1"


@pytest.mark.parametrize("client", RESPONSES_CLIENTS, ids=lambda each: f"{each.folder}-{each.version}")
def test_a_client_of_responses_reuses_the_container_and_downloads_cited_files(
    live_world: World, client: Client
) -> None:
    require(client.language, client.folder, client.manifest, client.tool)
    for program in client.programs:
        output = run(live_world, program.command, client.environment)
        assert re.fullmatch(r"(\w+: report\.csv 19, plot\.png 67\n){2,}", output), output
    actual = responses_row(client, live_world)
    if RECORD:
        record(actual, RESPONSES_HEADINGS)
    assert table(RESPONSES_HEADINGS)[1].get(client.name) == actual, "record it with MOCKSERVER_RECORD=1"


def test_the_tables_list_all_clients() -> None:
    assert list(table()[1]) == [client.name for client in CLIENTS_OF_ALL_OPERATIONS]
    assert list(table(RESPONSES_HEADINGS)[1]) == [client.name for client in RESPONSES_CLIENTS]


@pytest.mark.parametrize("program", DOCUMENTED, ids=lambda path: path.stem)
def test_the_documented_program_runs(world: World, program: Path) -> None:
    lines = run(world, (sys.executable, "-W", "error", program), {}).splitlines()
    assert len(lines) > 4
    assert lines[0].startswith("Created")
    assert_no_objects_left(world)
