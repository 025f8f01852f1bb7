"""What `tests/clients/install` has put there: clients of pinned versions, for tests that need them."""

import os
import shutil
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
INSTALLED = CLIENTS / ".installed"


def require(language: str, folder: str, manifest: str, tool: str | None = None) -> Path:
    """The folder, if it was installed from the manifest as it stands; else the test is skipped, and fails in CI.

    Without a language it takes nothing but the tool.
    """
    missing = ""
    if tool and not shutil.which(tool):
        missing = f"needs {tool}" + (language and f", and then `tests/clients/install {language}`")
    elif language and not same(INSTALLED / folder / "manifest", CLIENTS / manifest):
        missing = f"needs `tests/clients/install {language}`"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return INSTALLED / folder


def same(copy: Path, original: Path) -> bool:
    """Whether a file, or a folder with all that is in it, is as it was when it was copied."""
    ours, theirs = (
        {each.relative_to(path): each.read_bytes() for each in (path, *path.rglob("*")) if each.is_file()}
        for path in (copy, original)
    )
    return ours == theirs
