"""The answers of a world: what `/responses` does, and for which requests."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, cast

from mockserver.client import __tracebackhide__ as __tracebackhide__
from mockserver.client import path_to
from mockserver.control.models import Answer
from mockserver.testing.journal import Duration

Contents = str | bytes | Mapping[str, Any]
"""Text, bytes, or a mapping with `content`, `base64` or `generate`, and `bytes`, as in a seed."""


class Step(TypedDict, total=False):
    """A call, or what the assistant says, or both. The manual describes each key under Scripts."""

    code: str
    commands: Sequence[str]
    logs: str
    value: str
    raises: str
    exit: int
    stderr: str
    timeout: bool
    files: Mapping[str, Contents | None]
    shows: Sequence[Contents]
    takes: Duration
    say: str
    cite: bool
    phase: str
    reasoning: bool | str
    fail: str | Mapping[str, Any]


class Answers:
    """The answers of a world. The first that fits a request is used."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """`call` sends a request below the world, see `MockWorld.call`."""
        self._call = call

    def add(
        self,
        when: str | Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        skip: int | None = None,
        times: int | None = None,
        steps: Sequence[Step] | None = None,
        usage: Mapping[str, int] | None = None,
        output: Sequence[Mapping[str, Any]] | None = None,
        pace: Duration | None = None,
        **step: Unpack[Step],
    ) -> Answer:
        """Add an answer: for which requests, how often, and what the run does.

        answers.add("quarterly report", files={"report.csv": "month,revenue\\n"}, say="Done: {links}")
        answers.add({"turn": 2}, steps=[{"code": "plot()", "takes": "8s"}, {"say": "There it is."}], times=1)

        `files` maps paths below /mnt/data to contents; None deletes the file. Return the answer with its `id`.
        """
        rule: dict[str, Any] = {"when": when, "id": id, "skip": skip, "times": times, "usage": usage, "pace": pace}
        rule |= {"output": output, "steps": None if steps is None else [_step(each) for each in steps], **_step(step)}
        added: list[Answer] = self._call(
            "POST", "answers", {name: value for name, value in rule.items() if value is not None}
        )["data"]
        return added[0]

    def list(self) -> list[Answer]:
        """Return the answers in the order in which they are tried, with how often each `matched` and was `used`."""
        return cast(list[Answer], self._call("GET", "answers")["data"])

    def get(self, id: str) -> Answer:
        """Return one answer."""
        return cast(Answer, self._call("GET", path_to("answers", id)))

    def remove(self, id: str) -> None:
        """Delete one answer."""
        self._call("DELETE", path_to("answers", id))

    def clear(self) -> None:
        """Delete all answers, those of the seed included."""
        self._call("DELETE", "answers")


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step as the control plane takes it: files as a list, contents in JSON."""
    written: dict[str, Any] = dict(step)
    if isinstance(files := step.get("files"), Mapping):
        written["files"] = [
            {"path": path, "delete": True} if each is None else {"path": path, **_source(each)}
            for path, each in files.items()
        ]
    if "shows" in step:
        written["shows"] = [_source(each) for each in step["shows"]]
    return written


def _source(contents: Contents) -> Mapping[str, Any]:
    if isinstance(contents, bytes):
        return {"base64": base64.b64encode(contents).decode()}
    return {"content": contents} if isinstance(contents, str) else contents
