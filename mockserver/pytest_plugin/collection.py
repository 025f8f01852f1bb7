"""The environment during collection, for clients that are created when a module is imported."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mockserver.pytest_plugin.configuration import MARKER, OPTIONS, external_url, setting
from mockserver.pytest_plugin.servers import endpoint, existing_endpoint, read_source

_UNREACHED = re.compile(r"APIConnectionError|ConnectError|ConnectionRefusedError|Connection refused")

_environment = pytest.StashKey[pytest.MonkeyPatch]()


def begin(config: pytest.Config) -> None:
    """Set the environment for collection, once, if the tests will need it."""
    if _environment in config.stash:
        return
    patch = config.stash[_environment] = pytest.MonkeyPatch()
    for name in OPTIONS:
        setting(config, name)  # a value that can't be used ends the run here
    when = setting(config, "mockserver_environment")
    if when == "always" or (when == "auto" and _is_used(config)):
        endpoint(config).set_environment(patch)


def end(config: pytest.Config) -> None:
    if _environment in config.stash:
        config.stash[_environment].undo()


@contextmanager
def module_environment(collector: pytest.Collector) -> Iterator[None]:
    """Restore the user's environment while a module is imported that reads OPENAI_API_KEY and uses no mock.

    Such a module may skip its tests if there is no key.
    """
    patch, target = collector.config.stash.get(_environment, None), existing_endpoint(collector.config)
    source = read_source(collector.path) if patch and target and isinstance(collector, pytest.Module) else b""
    if patch and target and b"OPENAI_API_KEY" in source and MARKER.encode() not in source:
        patch.undo()
        yield
        target.set_environment(patch)
    else:
        yield


def explain_failure(config: pytest.Config, report: pytest.CollectReport | pytest.TestReport) -> None:
    """Add to a report why a client found no server."""
    target = existing_endpoint(config)
    if target is None or target.external or target.served or not _UNREACHED.search(str(report.longrepr)):
        return
    text = (
        f"If a client that was made for {target.base_url} failed here, it found no server: it starts with the first "
        "test that uses the fixture openai_mock. Add openai_mock to the test or fixture that sends the request, and send none "
        "while modules are imported. Without OPENAI_BASE_URL during collection: mockserver_environment = never"
    )
    report.sections.append(("mock server", text))


def _is_used(config: pytest.Config) -> bool:
    """Return whether the configuration, or a file that collection would read, names the plugin."""
    if external_url(config)[0] or any(config.getini(name) for name in OPTIONS if name != "mockserver_environment"):
        return True
    places = config.known_args_namespace.file_or_dir or config.getini("testpaths") or ["."]
    return any(MARKER.encode() in read_source(file) for place in places for file in _test_files(str(place), config))


def _test_files(place: str, config: pytest.Config) -> Iterator[Path]:
    """Yield the files that pytest would import for an argument of its command line."""
    directory = config.invocation_params.dir
    path = directory / place.split("::")[0]
    if not path.exists():  # a package's name, or a pattern in testpaths
        path = directory
    yield path
    yield path / "conftest.py"
    yield from (folder / "conftest.py" for folder in path.parents if folder.is_relative_to(config.rootpath))
    patterns, skipped = ["conftest.py", *config.getini("python_files")], config.getini("norecursedirs")
    for folder, folders, files in os.walk(path):
        folders[:] = [
            each
            for each in folders
            if not any(fnmatch(each, pattern) for pattern in skipped) and not Path(folder, each, "pyvenv.cfg").exists()
        ]
        yield from (Path(folder, file) for file in files if any(fnmatch(file, pattern) for pattern in patterns))
