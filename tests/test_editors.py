"""The JSON schema of seeds, the OpenAPI document, `mockserver validate`, and shell completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
from click.shell_completion import CompletionItem, ShellComplete
from click.testing import CliRunner, Result

from mockserver import errors, profiles
from mockserver.cli import main
from mockserver.schema.faults import OPERATIONS
from mockserver.seeds.document import Source
from mockserver.seeds.schema import seed_schema
from mockserver.verdict import FINDINGS

ROOT = Path(__file__).parent.parent
SHIPPED_SEEDS = sorted((ROOT / "fixtures" / "seeds").glob("*.yaml"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main.main, arguments)


def complete(line: str) -> list[CompletionItem]:
    """Return what a shell offers for the last word of a line."""
    *arguments, incomplete = line.split(" ")
    shell = ShellComplete(main.main, {}, "mockserver", "_MOCKSERVER_COMPLETE")
    return shell.get_completions(arguments, incomplete)


# Documents


def test_the_schema_describes_every_key_of_a_seed() -> None:
    schema = json.loads(run("schema").stdout)
    parts = {"Document": schema, **schema["$defs"]}
    undescribed = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, value in [("", part), *part["properties"].items()]
        if not value.get("description")
    ]
    assert undescribed == []
    assert len(parts) > 30


def test_the_schema_accepts_the_shipped_seeds_and_rejects_invalid_ones() -> None:
    validator = jsonschema_rs.validator_for(seed_schema())
    assert len(SHIPPED_SEEDS) == 4
    for path in SHIPPED_SEEDS:
        assert [str(each) for each in validator.iter_errors(Source(path).values)] == [], path.name
    for invalid in (
        {},
        {"version": 1, "boxes": []},
        {"version": 1, "containers": [{"name": "box", "memory_limit": "2g"}]},
        {"version": 1, "profile": {"base": "nope"}},
        {"version": 1, "files": [{"filename": "a", "content": "b", "created_at": []}]},
    ):
        assert not validator.is_valid(invalid), invalid


def test_each_shipped_seed_names_a_file_with_the_schema() -> None:
    schema = seed_schema()
    for path in SHIPPED_SEEDS:
        name = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert json.loads((path.parent / name).read_text()) == schema


def test_openapi_prints_all_operations_of_the_api() -> None:
    document = json.loads(run("openapi").stdout)
    operations = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert set(OPERATIONS) == set(operations)


# Seeds


def test_validate_reports_every_invalid_file(tmp_path: Path) -> None:
    valid, key, purpose, broken, missing = (tmp_path / f"{n}.yaml" for n in "abcde")
    valid.write_text("version: 1\nfiles:\n  - {ref: one, filename: a.txt, content: a}\n")
    key.write_text("version: 1\nboxes: []\n")
    purpose.write_text("version: 1\nfiles:\n  - {filename: a.txt, content: a, purpose: nope}\n")
    broken.write_text("version: [1\n")
    missing.write_text("version: 1\ncontainers:\n  - {name: box, files: [{from: nothing.txt}]}\n")
    for paths in ([tmp_path], [valid, key, purpose, broken, missing]):
        done = run("validate", *map(str, paths))
        assert (done.exit_code, done.stdout) == (4, "")
        lines = done.stderr.splitlines()
        assert [line.split(":")[1].strip() for line in lines] == [str(each) for each in (key, purpose, broken, missing)]


def test_validate_reports_every_reference_to_an_unknown_file(tmp_path: Path) -> None:
    files, valid, unknown_two, unknown_three = (tmp_path / f"{n}.yaml" for n in "abcd")
    files.write_text("version: 1\nfiles:\n  - {ref: 'one-{n}', filename: a.txt, content: a, repeat: 2}\n")
    valid.write_text("version: 1\ncontainers:\n  - {name: box, files: [{file: one-2}]}\n")
    assert run("validate", str(tmp_path)).stdout == "ok: 2 Files, 1 container, 1 container file\n"
    unknown_two.write_text("version: 1\ncontainers:\n  - {name: box, files: [{file: two}]}\n")
    unknown_three.write_text("version: 1\ncontainers:\n  - {name: box, files: [{file: three}]}\n")
    lines = run("validate", str(tmp_path)).stderr.splitlines()
    assert len(lines) == 2
    assert "'two'" in lines[0]
    assert "'three'" in lines[1]


def test_validate_reports_an_id_that_two_files_use(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("version: 1\ncontainers:\n  - {name: box, id: cntr_box}\n")
    (line,) = run("validate", str(tmp_path)).stderr.splitlines()
    assert "'cntr_box' is already used at" in line


# Completion


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("mockserver fault add --error rate", ["rate_limited"]),
        ("mockserver fault add --error ", list(errors.CATALOGUE)),
        ("mockserver fault add --operation List", [name for name in OPERATIONS if name.startswith("List")]),
        ("mockserver journal count --operation CreateFile,Delete", ["CreateFile,Delete…"]),
        ("mockserver serve --profile li", ["live", "litellm_keys=", "listing_prolongs="]),
        ("mockserver serve --profile ", list(profiles.PROFILES)),
        ("mockserver serve --profile live,delete", ["live,delete_lag="]),
        ("mockserver serve --profile any_id=", ["any_id=yes", "any_id=no"]),
        ("mockserver run --profile docs,running_status=a", ["docs,running_status=active"]),
        ("mockserver world profile c", ["contract", "created_at_expiry=", "create_lag="]),
        ("mockserver verdict --ignore wrong", ["wrong-id-kind"]),
        ("mockserver verdict --ignore paging-stopped,wrong", ["paging-stopped,wrong-id-kind"]),
        ("mockserver fault add --operation CreateFile,Del", []),
        ("mockserver run --ignore ", list(FINDINGS)),
        ("mockserver val", ["validate"]),
        ("mockserver serve --log-level w", ["warning"]),
        ("mockserver answer add --fail rate", ["rate_limited"]),
        ("mockserver fault switch slow ", ["on", "off"]),
    ],
)
def test_a_shell_completes_commands_and_values(line: str, completions: list[str]) -> None:
    deletes = [f"CreateFile,{name}" for name in OPERATIONS if name.startswith("Delete")]
    expected = [each for name in completions for each in (deletes if name.endswith("…") else [name])]
    assert [item.value for item in complete(line.removeprefix("mockserver "))] == expected


@pytest.mark.parametrize(
    "line", ["serve --seed ", "serve --tls-cert ", "run --data ", "answer add --file ", "answer add ", "validate "]
)
def test_a_shell_completes_file_names(line: str) -> None:
    assert [item.type for item in complete(f"{line}fix")] == ["file"]


@pytest.mark.slow
def test_bash_completes_after_the_command_in_the_documentation() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    (line,) = [part for part in page.split("`") if "bash_source" in part]
    script = f"{line}; COMP_WORDS=(mockserver verdict --ignore wrong); COMP_CWORD=3; _mockserver_completion mockserver"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-c", f'{script}; echo "${{COMPREPLY[@]}}"']
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "wrong-id-kind\n"), done.stderr
