"""Faults of a world: list, add, read, switch, delete."""

from typing import Annotated, Literal, Self, cast

from fastapi import Query
from pydantic import Field, model_validator

from mockserver import control_errors, faults
from mockserver.context import World
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.models import Rule, RuleList
from mockserver.faults import Counted
from mockserver.schema.faults import NewRule
from mockserver.storage.database import Transaction

router = new_router("/worlds/{world}/faults", "Faults", ["faults", "worlds"])


class RuleChange(RequestModel):
    enabled: bool | None = None
    rearm: Literal[True] | None = Field(None, description="Set its counts to 0, and begin its `lapse_after` now.")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.enabled is None and self.rearm is None:
            raise ValueError("it changes nothing; send enabled or rearm")
        return self


@router.get("")
async def list_faults(mock: TheMock, world: str) -> RuleList:
    """List the rules in the order in which they are tried, with their counts."""
    context = await mock.worlds.look_up(world)
    rules = await context.run(lambda context: faults.list_rules(context.read))
    return RuleList(data=[_state(each, context.world.instant()) for each in rules])


@router.post("")
async def add_fault(
    mock: TheMock,
    world: str,
    body: NewRule,
    dry_run: Annotated[bool, Query(description="Only check the rule, and return it as read.")] = False,
) -> Rule:
    """Add a rule after the existing ones."""
    if dry_run:
        return _state(Counted(faults.Rule(body.id or "", body, None), 0, 0))
    id = await mock.worlds.change_faults(world, lambda tx, into: faults.add(tx, world, body, into.instant()))
    return await get_fault(mock, world, id)


@router.get("/{id}")
async def get_fault(mock: TheMock, world: str, id: str) -> Rule:
    """Return one rule, with its counts."""
    for each in (await list_faults(mock, world))["data"]:
        if each["id"] == id:
            return each
    raise control_errors.FAULT_NOT_FOUND(world=world, id=id[:80])


@router.patch("/{id}")
async def switch_fault(mock: TheMock, world: str, id: str, body: RuleChange) -> Rule:
    """Enable or disable a rule, or re-arm it. It keeps its place, and its counts unless it is re-armed."""

    def change(tx: Transaction, of: World) -> None:
        if body.enabled is not None:
            faults.switch(tx, world, id, body.enabled)
        if body.rearm:
            faults.rearm(tx, world, id, of.instant())

    await mock.worlds.change_faults(world, change)
    return await get_fault(mock, world, id)


@router.delete("/{id}")
async def delete_fault(mock: TheMock, world: str, id: str) -> RuleList:
    """Delete a rule. Return the remaining ones."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.remove(tx, world, id))
    return await list_faults(mock, world)


@router.delete("")
async def delete_faults(mock: TheMock, world: str) -> RuleList:
    """Delete all rules of a world."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.clear(tx))
    return RuleList(data=[])


def _state(counted: Counted, now: float = 0) -> Rule:
    rule = counted.rule
    lapsed = rule.lapses_at is not None and rule.lapses_at <= now
    body = cast(Rule, rule.asked.model_dump(exclude_unset=True))
    return {**body, "id": rule.id, "matched": counted.matched, "fired": counted.fired, "lapsed": lapsed}
