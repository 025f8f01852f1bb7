"""The README and the pages of `docs/`: every link has a target, every file parses, every program and shell block runs.

How to write a page so that it can be checked:

- If the sentence before a block ends with a file name in backquotes and a colon, the block is the content of that file.
- A Python block without a file's name is a complete program. The tests run it with `OPENAI_BASE_URL` set.
- Files with tests that use `openai_mock` are run by pytest. Other files are run by the page's shell blocks.
- The `sh` blocks of a page are one script, run in a folder with the page's files. `localhost:8080` is an empty server.
- A shell block with `.venv/bin/` installs a clone. Only `test_readme.py` runs it.
- A command in backquotes within a sentence is parsed, but not run. Commands with placeholders (`<name>`, `NAME`) are
  skipped.
- A `text` or `json` block directly after a program or shell block is its complete output, in which … matches any
  text within a line.
"""

import configparser
import gc
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import httpx2
import pytest
import yaml
from conftest import MockServer
from installed import CLIENTS, INSTALLED, require
from manual import DOCS, PAGES, ROOT, Block, anchors, links, matches, page_blocks, rows
from nginx import require_nginx

from mockserver import profiles, testing
from mockserver.cli import main as cli
from mockserver.control.routes.journal import Filtered
from mockserver.pytest_plugin import MARKS, OPTIONS
from mockserver.schema.faults import NewRule
from mockserver.seeds.loader import read_seeds
from mockserver.settings import NAMES, environment_name

MAX_LINES = 400
MAX_HELPER_LINES = 40
BLOCKS = {page: page_blocks(page) for page in PAGES}
PROGRAMS = {"python", "js", "go", "java"}
DATA = {"yaml", "json", "toml", "ini", "xml"}
TEXT = {"sh", "text", "http", "mermaid", ""}
CLIENTS_BY_LANGUAGE = {  # arguments of `require` for programs in a language
    "js": ("node", "openai-node", "node/package.json", "node"),
    "go": ("go", "openai-go", "go", "go"),
    "java": ("java", "openai-java", "java", "javac"),
}
OTHER_VARIABLES = {
    f"MOCKSERVER_{name}"
    for name in ("URL", "WORLD", "QUIET", "JSON", "VERDICT", "IGNORE", "JUNIT", "GITHUB", "KEEP_OPEN")
}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def each_page(pages: Any = PAGES, marks: Any = ()) -> Any:
    return pytest.mark.parametrize("page", [pytest.param(each, id=name(each), marks=marks) for each in pages])


def each_block(*languages: str, marks: Callable[[Block], Any] = lambda _: ()) -> Any:
    """Run a test for every block in these languages."""
    return pytest.mark.parametrize(
        ("page", "block"),
        [
            pytest.param(page, block, id=f"{name(page)}:{block.line}", marks=marks(block))
            for page, found in BLOCKS.items()
            for block in found
            if block.language in languages
        ],
    )


def save_files(page: Path, folder: Path) -> None:
    for block in BLOCKS[page]:
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def pages_with(*languages: str) -> list[Path]:
    return [page for page, found in BLOCKS.items() if {block.language for block in found} & set(languages)]


def clean_environment() -> dict[str, str]:
    """Return this run's environment without the variables that clients and servers read."""
    prefixes = ("OPENAI_", "AZURE_", "MOCKSERVER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


# Links and format


@each_page()
def test_every_link_has_a_target(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} is outside the repository"
        assert target.exists(), f"{link}: file not found"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: heading not found"


def test_the_index_lists_every_page() -> None:
    listed = {(DOCS / link).resolve() for link in links((DOCS / "README.md").read_text(encoding="utf-8"))}
    assert not [name(page) for page in PAGES if page not in listed | {DOCS / "README.md", ROOT / "README.md"}]


@each_page()
def test_a_page_is_short_and_starts_with_its_title(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES
    assert lines[0].startswith("# ")
    unknown = {block.language for block in BLOCKS[page]} - PROGRAMS - DATA - TEXT
    assert not unknown, f"{unknown}: choose one of: {PROGRAMS | DATA | TEXT}"


@each_page()
def test_environment_variables_and_pytest_options_on_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {environment_name(each) for each in NAMES} | OTHER_VARIABLES
    assert not set(re.findall(r"\bMOCKSERVER_[A-Z_]+", text)) - known
    assert not set(re.findall(r"(?<![.\w])mockserver_\w+", text)) - OPTIONS.keys()


@each_block("js", "go", "java")
def test_a_program_is_run_by_another_block_of_its_page(page: Path, block: Block) -> None:
    assert block.file, "end the sentence before the block with the file's name in backquotes and a colon"
    stem = Path(block.file).name.split(".")[0]
    others = [each.text for each in BLOCKS[page] if each is not block]
    by_folder = {"js": "npx vitest", "go": "go test", "java": "javac"}[block.language]
    assert any(stem in other or by_folder in other for other in others), f"nothing runs {block.file}"


@pytest.mark.parametrize("file", ["mock.mjs", "world_test.go", "World.java"])
def test_a_helper_file_is_short(file: str) -> None:
    (block,) = (block for blocks in BLOCKS.values() for block in blocks if block.file == file)
    assert len(block.text.splitlines()) <= MAX_HELPER_LINES


# Tables


def guide(file: str) -> str:
    return (DOCS / "guides" / file).read_text(encoding="utf-8")


def test_the_pytest_guide_shows_existing_attributes_and_all_arguments_of_the_mark() -> None:
    shown = re.findall(r"`(\w+)", "".join(row[0] for row in rows(guide("pytest.md"), "attribute")))
    world = testing.MockWorld(testing.Server("http://localhost"), "name")
    assert shown
    assert set(shown) <= set(dir(world))
    assert [row[0].strip("`") for row in rows(guide("pytest.md"), "argument")] == list(MARKS)


def test_the_python_api_page_names_all_public_attributes_and_journal_filters() -> None:
    page = (DOCS / "reference" / "python-api.md").read_text(encoding="utf-8")
    with MockServer() as server, server.world() as world:
        public = {name for each in (server, world) for name in dir(each) if not name.startswith("_")}
    assert public <= set(re.findall(r"`(?:server\.|world\.)?(\w+)", page))
    (filters,) = re.findall(r"Filters are (.*?), as in", page)
    assert set(re.findall(r"`(\w+)`", filters)) == Filtered.model_fields.keys() | {"before"}


def test_the_ci_guide_lists_all_inputs_of_the_action() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    assert [row[0].strip("`") for row in rows(guide("ci.md"), "input")] == list(inputs)


def test_the_docker_guide_lists_all_variables_of_the_image() -> None:
    stage = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows(guide("docker.md"), "variable")}
    assert shown == dict(re.findall(r"\b(MOCKSERVER_\w+)=(\S+)", stage))


def test_the_profiles_page_lists_all_profiles() -> None:
    page = (DOCS / "reference" / "profiles.md").read_text(encoding="utf-8")
    assert [row[0].strip("`") for row in rows(page, "profile")] == list(profiles.PROFILES)


@each_page()
def test_profiles_on_a_page_are_valid(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"(?:--profile|world profile|_profile =|\bprofile=\"?|\bprofile:) ?([\w,=]+)", text)
    assert shown or page.name != "profiles.md"
    for each in shown:
        profiles.read(each)


def test_the_seed_of_the_guide_equals_minimal_yaml() -> None:
    seed = next(block.text for block in BLOCKS[DOCS / "guides" / "seeds.md"] if block.file == "seed.yaml")
    shipped = (ROOT / "fixtures" / "seeds" / "minimal.yaml").read_text(encoding="utf-8")
    assert seed == re.sub(r"^#.*\n", "", shipped, flags=re.MULTILINE)


def test_the_fault_effects_of_the_errors_guide_are_valid() -> None:
    effects = [cell for row in rows(guide("errors.md"), "you want") for cell in re.findall(r"`({.*?})`", row[1])]
    assert len(effects) > 10
    for each in effects:
        NewRule.model_validate({"effect": json.loads(each)})


# Files in other languages


@each_block(*DATA)
def test_a_file_parses(page: Path, block: Block, tmp_path: Path) -> None:
    if block.language == "yaml":
        for document in yaml.safe_load_all(block.text):
            check_yaml(document, page, tmp_path)
    elif block.language == "toml":
        check_pytest_options(tomllib.loads(block.text)["tool"]["pytest"]["ini_options"])
    elif block.language == "ini":
        parser = configparser.ConfigParser()
        parser.read_string(block.text)
        check_pytest_options(parser["pytest"])
    elif block.language == "xml":
        pom = re.sub(r"\s+", "", (CLIENTS / "java" / "pom.xml").read_text())
        assert ElementTree.fromstring(block.text).tag == "dependency"
        assert re.sub(r"\s+", "", block.text) in pom, "the tests use another version"
    elif "…" not in block.text:
        json.loads(block.text)


def check_pytest_options(options: Any) -> None:
    used = {option for option in options if option.startswith("mockserver")}
    assert used
    assert used <= OPTIONS.keys()


def check_yaml(document: Any, page: Path, folder: Path) -> None:
    assert isinstance(document, dict)
    if document.get("version") == 1:  # a seed, which may refer to other files of the page
        save_files(page, folder)
        (folder / "checked.yaml").write_text(yaml.safe_dump(document))
        read_seeds([folder / "checked.yaml"], 1 << 20)
    for step in steps(document):
        if step.get("uses", "").startswith("./"):
            inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
            assert set(step.get("with", {})) <= inputs.keys()
    if "litellm_settings" in document:
        assert document == yaml.safe_load((CLIENTS / "litellm" / "config.yaml").read_text())


def steps(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in document.get("jobs", {}).values():
        yield from job["steps"]


# Python


@pytest.fixture
def manual_server(server: MockServer) -> MockServer:
    httpx2.post(f"{server.url}/_mock/worlds/default/reset?empty=true").raise_for_status()
    return server


def starts_server(block: Block) -> Any:
    return [pytest.mark.slow] if "MockServer(" in block.text else []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@each_block("python", marks=starts_server)
def test_a_python_program_prints_what_the_page_shows(
    page: Path,
    block: Block,
    manual_server: MockServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = compile(block.text.replace("http://localhost:8080", manual_server.url), f"{name(page)}:{block.line}", "exec")
    if block.file:
        return  # pytest runs it below, or a shell block does
    save_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for variable in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(variable)
    monkeypatch.setenv("OPENAI_BASE_URL", manual_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    exec(code, {"__name__": "__main__"})
    gc.collect()  # closes unused clients here, where their ResourceWarnings are ignored
    if block.output is not None:
        output = capsys.readouterr().out
        assert matches(block.output, output), output


@pytest.mark.slow
@each_page([page for page in PAGES if any("openai_mock" in each.text for each in BLOCKS[page] if each.file)])
def test_the_pytest_files_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    save_files(page, tmp_path)
    (tmp_path / "pytest.ini").touch()
    plugins = ["-p", "no:hypothesispytest", "-p", "no:schemathesis"]  # importing them takes longer than the tests
    # The examples do not close their clients, so garbage collection may warn about the socket.
    warnings = ["-W", "error", "-W", "ignore:unclosed <socket:ResourceWarning"]
    command = [sys.executable, "-m", "pytest", "-q", *warnings, *plugins]
    completed = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr


@each_block("python")
def test_arguments_of_the_openai_mock_mark_exist(page: Path, block: Block) -> None:
    for arguments in re.findall(r"mark\.openai_mock\((.*?)\)\n", block.text, re.DOTALL):
        assert set(re.findall(r"(?:^|, )(\w+)=", arguments)) <= MARKS.keys()


# Shell


@each_page()
def test_commands_within_sentences_have_valid_names_options_and_values(page: Path) -> None:
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in re.findall(r"`(mockserver [a-z][^`]*)`", text):
        if not re.search(r"<|…|--help|\b[A-Z]{3,}\b", line):
            parse_command(shlex.split(line)[1:])


def parse_command(arguments: list[str]) -> None:
    command: click.Command | None = cli.main
    context = click.Context(cli.main)
    while isinstance(command, click.Group) and arguments:
        command = command.get_command(context, arguments.pop(0))
    assert command, "unknown command"
    if arguments:
        with command.make_context(command.name, arguments):
            pass


PORTS = ("8080", "4000", "8081", "8082", "8083", "8084", "8090", "8443")
"""Ports of servers and proxies in the manual. The tests replace them with free ports."""
SEPARATOR = "\036"  # a control character that no program prints


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@each_page(pages_with("sh"), marks=pytest.mark.slow)
def test_the_shell_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    shell = [block for block in BLOCKS[page] if block.language == "sh" and ".venv/bin/" not in block.text]
    require("", "", "", "curl")
    for language in sorted({block.language for block in BLOCKS[page]} & CLIENTS_BY_LANGUAGE.keys()):
        require(*CLIENTS_BY_LANGUAGE[language])
    if any("litellm" in block.text for block in shell):
        require("litellm", "litellm", "litellm/requirements.txt")
    if any("nginx -p" in block.text for block in shell):
        require_nginx()
    ports = {shown: free_port() for shown in PORTS}

    folder, state = tmp_path / "page", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    save_files(page, folder)
    for configuration in (DOCS / "guides").glob("*/*.*"):
        copy = folder / configuration.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(configuration.read_bytes())
    for file in folder.rglob("*.*"):
        file.write_text(replace_ports(file.read_text(encoding="utf-8"), ports), encoding="utf-8")
    for each in ("README.md", "fixtures"):
        (folder / each).symlink_to(ROOT / each)
    script = [f". {ROOT}/tests/pages/prelude.sh", "mockserver serve"]
    for block in shell:
        script += [f"printf '{SEPARATOR}'", replace_ports(block.text, ports)]

    environment = clean_environment() | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHON": sys.executable,
        "ROOT": str(ROOT),
        "STATE": str(state),
        "INSTALLED": str(INSTALLED),
        "MOCKSERVER_PORT": ports["8080"],
        "PROXY_PORT": ports["4000"],
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
        "CGO_ENABLED": "0",
        "GOFLAGS": "'-gcflags=github.com/openai/openai-go/...=-N -l' -mod=mod",  # as `tests/clients/install` compiles
        "GOPROXY": "off",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise LiteLLM downloads prices
    }
    code, printed, errors = run_script("\n".join(script), folder, environment, state)
    assert code == 0, printed + errors
    for block, part in zip(shell, printed.split(SEPARATOR)[1:], strict=True):
        if block.output is not None:
            assert matches(block.output, part), f"line {block.line}: {part}"


def replace_ports(text: str, ports: dict[str, str]) -> str:
    """Replace the ports that the manual shows, but not the port inside a container (`8080:8080`)."""
    for shown, port in ports.items():
        text = re.sub(rf"(?<!\d{{4}}:)\b{shown}\b", port, text)
    return text


def run_script(script: str, folder: Path, environment: dict[str, str], state: Path) -> tuple[int, str, str]:
    """Run a bash script, end the processes that it leaves, and return its exit code, output and errors."""
    output, errors = state / "output", state / "errors"
    # Files, because servers that outlive the script would keep a pipe open.
    with output.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=600)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    return code, output.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")
