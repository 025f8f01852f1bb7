"""Skills that tests send: folders, zips, inline skills and references."""

import base64
import io
import zipfile
from collections.abc import Mapping
from typing import Any

NAME, DESCRIPTION = "basic-math", "Add or multiply numbers."
MANIFEST = f"---\nname: {NAME}\ndescription: {DESCRIPTION}\n---\n# How to\n"


def manifest(name: str = NAME, description: str = DESCRIPTION, more: str = "") -> str:
    return f"---\nname: {name}\ndescription: {description}\n{more}---\n# How to\n"


def zipped(files: Mapping[str, str | bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip, by default of a skill with two files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in (files or {"math/SKILL.md": MANIFEST, "math/run.py": "print(1)\n"}).items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def folder(*names: str) -> list[tuple[str, bytes, str]]:
    """Return files of the skill in the form that the SDK uploads."""
    contents = {"SKILL.md": MANIFEST.encode()}
    return [
        (f"math/{name}", contents.get(name, name.encode()), "text/plain")
        for name in names or ("SKILL.md", "run.py", "assets/a.txt")
    ]


def skill_reference(skill_id: str, **version: Any) -> dict[str, Any]:
    return {"type": "skill_reference", "skill_id": skill_id, **version}


def inline_skill(content: bytes | None = None, name: str = NAME, description: str = DESCRIPTION) -> dict[str, Any]:
    data = base64.b64encode(zipped() if content is None else content).decode()
    source = {"type": "base64", "media_type": "application/zip", "data": data}
    return {"type": "inline", "name": name, "description": description, "source": source}


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
