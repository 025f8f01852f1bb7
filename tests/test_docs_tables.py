"""The generated tables of the manual are up to date, and `docs/generate.py` detects those that are not."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import fields

import pytest
from manual import PAGES, ROOT

from mockserver import errors, profiles, verdict
from mockserver.schema import faults
from mockserver.settings import NAMES, Settings, flag

specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(specification)
specification.loader.exec_module(generate)


def first_cells(table: str) -> list[str]:
    return [row.split("|")[1].strip(" `") for row in table.splitlines()[2:]]


def test_all_generated_files_are_up_to_date() -> None:
    stale = [path.name for path, text in generate.generated_files().items() if path.read_text("utf-8") != text]
    assert stale == [], "run: python docs/generate.py"


def test_every_table_is_used_once_and_every_marker_names_a_table() -> None:
    marked = [name for page in PAGES for name in re.findall(r"<!-- generated: (.*?) -->", page.read_text("utf-8"))]
    assert sorted(marked) == sorted(generate.TABLES)
    ends = sum(page.read_text("utf-8").count("<!-- end -->") for page in PAGES)
    assert ends == len(marked)


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("settings", [*map(flag, NAMES), "--quiet", "--json"]),
        ("switches", list(profiles.SWITCHES)),
        ("warnings", list(profiles.WARNINGS)),
        ("errors", list(errors.CATALOGUE)),
        ("azure-errors", list(errors.AZURE)),
        ("findings", list(verdict.FINDINGS)),
        ("fault-effect", list(faults.Effect.model_fields)),
    ],
)
def test_a_table_has_a_row_for_each_definition(table: str, names: list[str]) -> None:
    assert first_cells(generate.TABLES[table]()) == names


@pytest.mark.parametrize(
    "setting", [each for each in fields(Settings) if each.metadata["shown"]], ids=lambda each: each.name
)
def test_the_displayed_default_of_a_setting_parses_to_its_default(setting: object) -> None:
    parse, shown = setting.metadata["parse"], setting.metadata["shown"]
    parsed = tuple(map(parse, shown.split(","))) if setting.metadata["many"] else parse(shown)
    assert parsed == setting.default


def test_every_warning_has_a_switch() -> None:
    assert {each.switch for each in profiles.WARNINGS.values()} < profiles.SWITCHES.keys()


def test_every_table_has_rows_and_every_row_has_all_cells() -> None:
    tables = re.compile(r"<!-- generated: (.*?) -->\n(.*?)<!-- end -->", re.DOTALL)
    for name, table in (found for page in PAGES for found in tables.findall(page.read_text("utf-8"))):
        head, line, *rows = table.splitlines()
        cells = [len(re.split(r"(?<!\\)\|", row)) for row in (head, line, *rows)]
        assert rows, name
        assert len(set(cells)) == 1, name


def test_outdated_tables_of_a_page_are_replaced() -> None:
    page = (
        "# Page\n<!-- generated: exit-codes -->\nold\n<!-- end -->\ntext\n<!-- generated: settings -->\n<!-- end -->\n"
    )
    updated = generate.update_tables(page)
    assert "old" not in updated
    assert generate.exit_codes() in updated
    assert generate.settings() in updated
    assert updated.startswith("# Page\n<!-- generated: exit-codes -->\n| exit code |")
    assert generate.update_tables(updated) == updated


@pytest.mark.slow
def test_the_command_checks_for_differences_and_rejects_unknown_options() -> None:
    completed = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (completed.returncode, completed.stdout) == (0, ""), completed.stderr
    misspelled = subprocess.run(
        [sys.executable, "docs/generate.py", "--chekc"], cwd=ROOT, capture_output=True, text=True
    )
    assert (misspelled.returncode, misspelled.stderr) == (1, "usage: python docs/generate.py [--check]\n")
