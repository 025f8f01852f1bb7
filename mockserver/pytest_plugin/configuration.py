"""What users can set: options of the command line, pytest's configuration and the marker's arguments."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, NoReturn

import pytest

MARKER = "openai_mock"
"""The name of the marker and of the fixture."""
OPTIONS = {
    "mockserver_url": ("string", "URL of a mock server that runs elsewhere, to use instead of one of our own"),
    "mockserver_seed": ("paths", "seed files, or directories of them, that each test's world starts from"),
    "mockserver_profile": ("string", "a profile's name, with single switches as live,delete_lag=5m"),
    "mockserver_verdict": ("bool", "fail tests whose client misbehaved, as --mockserver-verdict does"),
    "mockserver_ignore": ("args", "findings that the verdict leaves out"),
    "mockserver_process": (
        "string",
        "where our own server runs: child (a process of its own), thread (of the tests' process), or auto, the "
        "default: child if gevent or eventlet patched the process, or tests use freezegun, time_machine or pyfakefs",
    ),
    "mockserver_environment": (
        "string",
        "whether OPENAI_BASE_URL and OPENAI_API_KEY are set during collection too, for clients made at import: "
        "always, never, or auto, the default: if a test file or conftest.py names openai_mock",
    ),
}
"""The settings in pytest's configuration: type and description."""
MARKS = {
    "seed": "a seed file beside the test's file, a dict like one, or a list of these, to start from",
    "empty": "True: without what the server's seeds describe",
    "profile": "a profile's name, with switches as live,delete_lag=5m; or a dict of switches and base",
    "frozen": "an instant at which the world's clock is frozen, or True for now",
    "clock": "the world's clock as seeds set it: a dict of at or offset, and rate",
    "verdict": "True or False: whether to fail the test if its client misbehaved",
    "ignore": "findings that the verdict leaves out, one or a list",
}
"""The marker's arguments and their descriptions."""
_KINDS: dict[str, tuple[type, ...]] = {
    "seed": (str, os.PathLike, Mapping),
    "empty": (bool,),
    "profile": (str, Mapping),
    "frozen": (bool, str, int, float, datetime),
    "clock": (Mapping,),
    "verdict": (bool,),
    "ignore": (str,),
}
"""The types of the marker's arguments, or of the elements of a list."""
CHOICES = {"mockserver_process": ("auto", "thread", "child"), "mockserver_environment": ("auto", "always", "never")}
"""The settings that take one of several values; the first is the default."""


def setting(config: pytest.Config, name: str) -> Any:
    """Return a setting from the command line or, if it is not given there, from the configuration."""
    try:
        value = _option(config, name) or config.getini(name) or CHOICES.get(name, ("",))[0]
    except (ValueError, pytest.UsageError) as error:  # neither names the setting
        raise pytest.UsageError(f"{name}: {error}; write true or false") from None
    if name in CHOICES and value not in CHOICES[name]:
        from mockserver.choices import unknown

        raise pytest.UsageError(f"{name}: {unknown('value', value, CHOICES[name])}")
    return value


def _option(config: pytest.Config, name: str) -> Any:
    """Return an option of the command line.

    Before conftest.py files are loaded, only `known_args_namespace` has it.
    """
    return getattr(config.known_args_namespace, name, None) or config.getoption(name, None)


def external_url(config: pytest.Config) -> tuple[str, str]:
    """Return the URL of a server that runs elsewhere, and where it was set; both empty without one."""
    found = {
        "--mockserver-url": _option(config, "mockserver_url"),
        "MOCKSERVER_URL": os.environ.get("MOCKSERVER_URL"),
        "mockserver_url": config.getini("mockserver_url"),
    }
    return next(((url, source) for source, url in found.items() if url), ("", ""))


def marks(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of a test's markers; those of the marker nearest to the test win."""
    merged: dict[str, Any] = {}
    for mark in item.iter_markers(MARKER):
        if mark.args:
            fail(f"@pytest.mark.{MARKER} takes its arguments by name: {', '.join(MARKS)}")
        check_names(f"@pytest.mark.{MARKER}", "argument", mark.kwargs, MARKS)
        for name, value in mark.kwargs.items():
            given = as_list(value) if name in ("seed", "ignore") else [value]
            if value is not None and not all(isinstance(each, _KINDS[name]) for each in given):
                fail(f"@pytest.mark.{MARKER}: {name}={value!r} can't be used; give {MARKS[name]}")
        merged = {**mark.kwargs, **merged}
    return {name: value for name, value in merged.items() if value is not None}


def check_names(where: str, kind: str, given: Iterable[str], known: Collection[str]) -> None:
    """Fail the test if a name is unknown."""
    from mockserver.choices import unknown

    for name in given:
        if name not in known:
            fail(f"{where}: {unknown(kind, name, known)}")


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence | Set) and not isinstance(value, str) else [value]


def fail(reason: str) -> NoReturn:
    """Fail the test with one line instead of a traceback."""
    raise pytest.fail.Exception(reason, pytrace=False) from None
