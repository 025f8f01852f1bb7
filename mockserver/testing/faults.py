"""The fault rules of a world."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict, Unpack, cast

from mockserver.client import __tracebackhide__ as __tracebackhide__
from mockserver.client import path_to
from mockserver.control.models import Rule
from mockserver.testing.journal import Duration


class Effect(TypedDict, total=False):
    """What a fault does. The manual describes each key under Faults."""

    error: str
    status: int
    body: Any
    headers: Mapping[str, str]
    retry_after: float
    latency: Duration | Mapping[Literal["min", "max"], Duration]
    drop: Literal["before_answer"]
    reset_after: int
    truncate_after: int
    dribble: float
    abort_upload_after: int
    rate_limit: Mapping[str, Any]
    stale_list: Duration
    has_more: bool
    empty_page: bool


class Faults:
    """The fault rules of a world. The first rule that matches a request and fires decides."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """`call` sends a request below the world, see `MockWorld.call`."""
        self._call = call

    def add(
        self,
        *,
        operation: str | None = None,
        method: str | None = None,
        path: str | None = None,
        container: str | None = None,
        file: str | None = None,
        header: Mapping[str, str] | None = None,
        times: int | None = None,
        skip: int | None = None,
        probability: float | None = None,
        concurrent: int | None = None,
        lapse_after: Duration | None = None,
        id: str | None = None,
        enabled: bool = True,
        **effect: Unpack[Effect],
    ) -> Rule:
        """Add a rule: which requests it matches, how often it fires, and its effect.

        faults.add(error="rate_limited", times=2, retry_after=0)
        faults.add(operation="RetrieveContainerFileContent", truncate_after=1000)

        It fires at every match by default, else at most `times`, after `skip` matches, or with a `probability`.
        With `concurrent` it only matches while so many of the requests are in progress at once. `lapse_after` is by the
        world's clock. Without `enabled` it waits for `switch`. Return the rule with its `id`.
        """
        match = _given(operation=operation, method=method, path=path, container=container, file=file, header=header)
        bounds = _given(
            id=id, times=times, skip=skip, probability=probability, concurrent=concurrent, lapse_after=lapse_after
        )
        return cast(
            Rule, self._call("POST", "faults", {"match": match, **bounds, "enabled": enabled, "effect": effect})
        )

    def list(self) -> list[Rule]:
        """Return the rules in the order in which they are tried."""
        return cast(list[Rule], self._call("GET", "faults")["data"])

    def switch(self, id: str, enabled: bool) -> Rule:
        """Enable or disable a rule. It keeps its place and its counts."""
        return cast(Rule, self._call("PATCH", path_to("faults", id), {"enabled": enabled}))

    def get(self, id: str) -> Rule:
        """Return a rule, with how often it `matched` and `fired`."""
        return cast(Rule, self._call("GET", path_to("faults", id)))

    def remove(self, id: str) -> None:
        """Delete one rule."""
        self._call("DELETE", path_to("faults", id))

    def clear(self) -> None:
        """Delete all rules."""
        self._call("DELETE", "faults")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
