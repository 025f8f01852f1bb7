"""What is sent to the control plane: multipart forms, and seeds with the files that they name."""

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mockserver import ids
from mockserver.client import MockError
from mockserver.client import __tracebackhide__ as __tracebackhide__

Seed = str | Path | Mapping[str, Any]
"""A seed file, a directory of seed files, or the contents of a seed file as a mapping."""


def form(fields: Mapping[str, str], file: bytes) -> tuple[str, bytes]:
    """Return a multipart body with its type. The boundary is random, so the file can't hold it."""
    boundary = f"mockserver-{ids.unique()}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode())
    parts += [file, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def document(seed: Seed, folders: Sequence[Path]) -> dict[str, Any]:
    """Return the contents of a seed, with the files that it names. Raise MockError, or SeedError with the line."""
    if isinstance(seed, Mapping):
        return {"version": 1, **seed}
    if not isinstance(seed, str | Path):
        raise MockError(f"{seed!r:.80} is not a seed; give the path of one, or a dict like one")
    from mockserver.seeds.document import Source
    from mockserver.seeds.loader import SUFFIXES, read_seeds  # here, as it loads the rules of the API

    path = next((folder / seed for folder in folders if (folder / seed).exists()), None)
    if path is None:
        raise MockError(f"no seed {seed} in {' or '.join(str(each.resolve()) for each in folders)}")
    if path.suffix == ".zip":
        raise MockError(f"{path} is an archive; import it with import_()")
    read_seeds([path], sys.maxsize).close()
    documents = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
    if not documents:
        raise MockError(f"{path} contains no seed files; use a folder of plain files with --seed of a server")
    together: dict[str, Any] = {}
    for each in documents:
        for key, value in Source(each).values.items():
            put_in = with_contents(key, value, each.parent)
            together[key] = together.get(key, []) + put_in if isinstance(put_in, list) else put_in
    return together


def with_contents(key: str, value: Any, folder: Path) -> Any:
    """Return the value of a key of a seed with the bytes of the files that it names by `from`. Raise OSError."""
    if key not in ("files", "skills", "versions", "containers", "answers", "steps", "shows"):
        return value
    if isinstance(value, list):
        return [with_contents(key, each, folder) for each in value]
    if not isinstance(value, dict):
        return value  # the server rejects it
    return {name: with_contents(name, part, folder) for name, part in _with_content(value, key, folder).items()}


def _with_content(item: dict[str, Any], key: str, folder: Path) -> dict[str, Any]:
    """Return a file or a skill with its bytes in place of `from`."""
    if not isinstance(item.get("from"), str):
        return item
    path, others = folder / item["from"], {name: value for name, value in item.items() if name != "from"}
    if path.is_dir():
        from mockserver.seeds.contents import Folder

        files = [{"path": name, "base64": _base64(path / name)} for name in Folder(folder).names(item["from"])]
        return {**others, "files": files}
    named = {"filename": path.name} if key == "files" and "path" not in item else {}
    return {**named, **others, "base64": _base64(path)}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
