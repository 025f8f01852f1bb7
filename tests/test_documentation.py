"""Programs as documentation in circulation has them: each runs under a profile, and fails under `live`.

What the live API refuses, or doesn't do, is asserted by the exception that ends the program there; what `default` lets
in, by the warning on the answer. A program is run in this process, told by the environment alone where the API is.
"""

import runpy
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from conftest import World, new_world, ok

from mockserver import profiles
from mockserver.server.serving import MockServer

PROGRAMS = Path(__file__).parent / "clients" / "documentation"
DAY = 86_400.0


@dataclass(frozen=True)
class Piece:
    """A piece of documentation: where its program runs, with which warning, and what ends it under `live`."""

    name: str
    profile: str
    warnings: tuple[str, ...]
    ends_with: type[Exception]
    message: str
    again_after: float | None = None
    """Run a second time so many seconds later."""

    def __str__(self) -> str:
        return self.name


PIECES = [
    Piece(
        "expires_days_after_creation",
        "default",
        ("created-at-expiry",),
        openai.BadRequestError,
        "Invalid value: 'created_at'. Supported values are: 'last_active_at'.",
    ),
    Piece(
        "expires_after_hours",
        "default",
        ("minutes-beyond-limit",),
        openai.BadRequestError,
        "Expected a value <= 20, but got 60 instead.",
    ),
    Piece(
        "file_by_the_id_it_was_copied_from",
        "default",
        ("file-id-alias",),
        openai.NotFoundError,
        r"File file-\w+ not found on container cntr_\w+\.",
    ),
    Piece("pages_backwards", "default", ("before-cursor",), RuntimeError, "are not in front of box 1"),
    Piece("fields_of_older_pages", "docs", (), AttributeError, "has no attribute 'file_count'"),
    Piece("persists_until_deleted", "docs", (), openai.NotFoundError, "Container is expired.", again_after=DAY),
    Piece("waits_until_active", "docs", (), RuntimeError, "not active but running"),
]


def test_there_is_a_program_for_each_piece() -> None:
    assert sorted(path.stem for path in PROGRAMS.glob("*.py")) == sorted(piece.name for piece in PIECES)


def run(world: World, piece: Piece, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", world.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    runpy.run_path(str(PROGRAMS / f"{piece.name}.py"))
    if piece.again_after is not None:
        world.advance(piece.again_after)
        runpy.run_path(str(PROGRAMS / f"{piece.name}.py"))


def warnings(world: World) -> set[str]:
    """The codes of all warnings that the world's answers carried."""
    journal = ok(world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/journal"))["data"]
    assert journal
    told = [each["response"]["headers"].get("x-mock-warning") for each in journal]
    return {each.partition(":")[0] for each in told if each}


each_piece = pytest.mark.parametrize("piece", PIECES, ids=str)


@pytest.mark.parametrize(
    ("piece", "profile"), [(piece, profile) for piece in PIECES for profile in {piece.profile: 1, "docs": 1}], ids=str
)
def test_a_program_runs_under_the_profile_that_is_for_it(
    server: MockServer, piece: Piece, profile: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_world(server) as world:
        server.run(server.mock.worlds.set_profile(world.name, profiles.PROFILES[profile]))
        run(world, piece, monkeypatch)
        assert warnings(world) == set(piece.warnings)
    assert capsys.readouterr().out


@each_piece
def test_it_fails_under_live(live_world: World, piece: Piece, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(piece.ends_with, match=piece.message):
        run(live_world, piece, monkeypatch)
    assert warnings(live_world) == set()
