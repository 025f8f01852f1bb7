"""Access to the pinned clients that `tests/clients/install` installs."""

import os
import shutil
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
INSTALLED = CLIENTS / ".installed"


def require(language: str, folder: str, manifest: str, tool: str | None = None) -> Path:
    """Return the folder if it was installed from the current manifest; else skip the test, or fail it in CI.

    Without a language, only the tool is required.
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
    """Return whether a copied file, or all files of a copied folder, equal the original."""
    copied, expected = (
        {each.relative_to(path): each.read_bytes() for each in (path, *path.rglob("*")) if each.is_file()}
        for path in (copy, original)
    )
    return copied == expected
