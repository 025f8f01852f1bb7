"""Programs from published documentation: each runs with a profile, and fails with `live`.

The exception under `live` shows what the live API rejects or does not do; a warning in the response headers shows what
`default` allows. A program runs in this process, and gets the base URL from the environment.
"""

import runpy
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from conftest import World, new_world, ok

from mockserver import profiles
from mockserver.server.serving import MockServer

FOLDER = Path(__file__).parent / "clients" / "documentation"
DAY = 86_400.0


@dataclass(frozen=True)
class Program:
    """A program: its profile, the warnings of its responses, and the exception that it raises with `live`."""

    name: str
    profile: str
    warnings: tuple[str, ...]
    exception: type[Exception]
    message: str
    second_run_after: float | None = None
    """Seconds on the world's clock after which it runs a second time."""

    def __str__(self) -> str:
        return self.name


PROGRAMS = [
    Program(
        "expires_days_after_creation",
        "default",
        ("created-at-expiry",),
        openai.BadRequestError,
        "Invalid value: 'created_at'. Supported values are: 'last_active_at'.",
    ),
    Program(
        "expires_after_hours",
        "default",
        ("minutes-beyond-limit",),
        openai.BadRequestError,
        "Expected a value <= 20, but got 60 instead.",
    ),
    Program(
        "file_by_the_id_it_was_copied_from",
        "default",
        ("file-id-alias",),
        openai.NotFoundError,
        r"File file-\w+ not found on container cntr_\w+\.",
    ),
    Program("pages_backwards", "default", ("before-cursor",), RuntimeError, "are not in front of box 1"),
    Program("fields_of_older_pages", "docs", (), AttributeError, "has no attribute 'file_count'"),
    Program("persists_until_deleted", "docs", (), openai.NotFoundError, "Container is expired.", second_run_after=DAY),
    Program("waits_until_active", "docs", (), RuntimeError, "not active but running"),
]


def test_all_programs_in_the_folder_are_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted(program.name for program in PROGRAMS)


def run(world: World, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", world.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    runpy.run_path(str(FOLDER / f"{program.name}.py"))
    if program.second_run_after is not None:
        world.advance(program.second_run_after)
        runpy.run_path(str(FOLDER / f"{program.name}.py"))


def warnings(world: World) -> set[str]:
    """Return the codes of all warnings in the responses of a world."""
    journal = ok(world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/journal"))["data"]
    assert journal
    headers = [each["response"]["headers"].get("x-mock-warning") for each in journal]
    return {each.partition(":")[0] for each in headers if each}


each_program = pytest.mark.parametrize("program", PROGRAMS, ids=str)


@pytest.mark.parametrize(
    ("program", "profile"),
    [(program, profile) for program in PROGRAMS for profile in {program.profile: 1, "docs": 1}],
    ids=str,
)
def test_a_program_runs_with_its_profile_and_with_docs(
    server: MockServer,
    program: Program,
    profile: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with new_world(server) as world:
        server.run(server.mock.worlds.set_profile(world.name, profiles.PROFILES[profile]))
        run(world, program, monkeypatch)
        assert warnings(world) == set(program.warnings)
    assert capsys.readouterr().out


@each_program
def test_a_program_fails_with_live(live_world: World, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(program.exception, match=program.message):
        run(live_world, program, monkeypatch)
    assert warnings(live_world) == set()
