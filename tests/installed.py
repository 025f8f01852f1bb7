"""What `tests/clients/install` has put there: clients of pinned versions, for tests that need them."""

import os
import shutil
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
INSTALLED = CLIENTS / ".installed"


def require(language: str, folder: str, manifest: str, tool: str | None = None) -> Path:
    """The folder, if it was installed from the manifest as it stands; else the test is skipped, and fails in CI."""
    missing = ""
    made_from = INSTALLED / folder / "manifest"
    if tool and not shutil.which(tool):
        missing = f"needs {tool}, and then `tests/clients/install {language}`"
    elif not made_from.exists() or made_from.read_bytes() != (CLIENTS / manifest).read_bytes():
        missing = f"needs `tests/clients/install {language}`"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return INSTALLED / folder
