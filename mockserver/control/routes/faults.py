"""Faults of a world: list, add, read, switch, delete."""

from typing import cast

from fastapi import APIRouter

from mockserver import errors, faults
from mockserver.context import World
from mockserver.control.dependencies import Asked, TheMock
from mockserver.control.models import Rule, RuleList
from mockserver.faults import Counted
from mockserver.mock import Mock
from mockserver.schema.faults import NewRule

router = APIRouter(prefix="/worlds/{world}/faults", tags=["Faults"])


class Switch(Asked):
    enabled: bool


@router.get("", operation_id="listFaults")
async def list_faults(mock: TheMock, world: str) -> RuleList:
    """List the rules in the order in which they are tried, with their counts."""
    return await _all(mock, world)


@router.post("", operation_id="addFault")
async def add_fault(mock: TheMock, world: str, asked: NewRule) -> Rule:
    """Add a rule after the existing ones."""
    id = await mock.worlds.change_faults(world, lambda tx, into: faults.add(tx, world, asked, into.instant()))
    return await _one(mock, world, id)


@router.get("/{id}", operation_id="getFault")
async def get_fault(mock: TheMock, world: str, id: str) -> Rule:
    """Return one rule, with its counts."""
    return await _one(mock, world, id)


@router.patch("/{id}", operation_id="switchFault")
async def switch_fault(mock: TheMock, world: str, id: str, asked: Switch) -> Rule:
    """Enable or disable a rule. It keeps its place and its counts."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.switch(tx, world, id, asked.enabled))
    return await _one(mock, world, id)


@router.delete("/{id}", operation_id="deleteFault")
async def delete_fault(mock: TheMock, world: str, id: str) -> RuleList:
    """Delete a rule. Return the remaining ones."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.remove(tx, world, id))
    return await _all(mock, world)


@router.delete("", operation_id="deleteFaults")
async def delete_faults(mock: TheMock, world: str) -> RuleList:
    """Delete all rules of a world."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.clear(tx))
    return RuleList(data=[])


async def _all(mock: Mock, name: str) -> RuleList:
    context = await mock.worlds.look_up(name)
    rules = await context.run(lambda context: faults.list_rules(context.read))
    return RuleList(data=[_state(context.world, each) for each in rules])


async def _one(mock: Mock, name: str, id: str) -> Rule:
    for each in (await _all(mock, name))["data"]:
        if each["id"] == id:
            return each
    raise errors.FAULT_NOT_FOUND(world=name, id=id[:80])


def _state(world: World, counted: Counted) -> Rule:
    rule = counted.rule
    lapsed = rule.lapses_at is not None and rule.lapses_at <= world.instant()
    asked = cast(Rule, rule.asked.model_dump(exclude_unset=True))
    return {**asked, "id": rule.id, "matched": counted.matched, "fired": counted.fired, "lapsed": lapsed}
