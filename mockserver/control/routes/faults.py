"""Faults of a world: list, add, look at, delete."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from mockserver import errors, faults
from mockserver.context import World
from mockserver.control.dependencies import Asked, TheMock
from mockserver.faults import Counted
from mockserver.mock import Mock
from mockserver.schema.faults import NewRule

router = APIRouter(prefix="/worlds/{world}/faults", tags=["Faults"])


class FaultState(NewRule):
    id: str
    matched: int = Field(description="How often it was looked at for a request that it matches.")
    fired: int
    lapsed: bool = Field(description="Whether its time is over, by the world's clock.")


class FaultList(BaseModel):
    data: list[FaultState]


class Switch(Asked):
    enabled: bool


@router.get("", operation_id="listFaults", response_model_exclude_unset=True)
async def list_faults(mock: TheMock, world: str) -> FaultList:
    """The rules in the order in which they are tried, with their counts."""
    return await _all(mock, world)


@router.post("", operation_id="addFault", response_model_exclude_unset=True)
async def add_fault(mock: TheMock, world: str, asked: NewRule) -> FaultState:
    """Add a rule behind the others."""
    id = await mock.worlds.change_faults(world, lambda tx, into: faults.add(tx, world, asked, into.instant()))
    return await _one(mock, world, id)


@router.get("/{id}", operation_id="getFault", response_model_exclude_unset=True)
async def get_fault(mock: TheMock, world: str, id: str) -> FaultState:
    """One rule, with its counts."""
    return await _one(mock, world, id)


@router.patch("/{id}", operation_id="switchFault", response_model_exclude_unset=True)
async def switch_fault(mock: TheMock, world: str, id: str, asked: Switch) -> FaultState:
    """Switch a rule off or on. It keeps its place and its counts."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.switch(tx, world, id, asked.enabled))
    return await _one(mock, world, id)


@router.delete("/{id}", operation_id="deleteFault", response_model_exclude_unset=True)
async def delete_fault(mock: TheMock, world: str, id: str) -> FaultList:
    """Delete a rule. Answers with those that are left."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.remove(tx, world, id))
    return await _all(mock, world)


@router.delete("", operation_id="deleteFaults")
async def delete_faults(mock: TheMock, world: str) -> FaultList:
    """Delete all rules of the world."""
    await mock.worlds.change_faults(world, lambda tx, of: faults.clear(tx))
    return FaultList(data=[])


async def _all(mock: Mock, name: str) -> FaultList:
    context = await mock.worlds.look_up(name)
    rules = await context.run(lambda context: faults.list_rules(context.read))
    return FaultList(data=[_state(context.world, each) for each in rules])


async def _one(mock: Mock, name: str, id: str) -> FaultState:
    for each in (await _all(mock, name)).data:
        if each.id == id:
            return each
    raise errors.FAULT_NOT_FOUND(world=name, id=id[:80])


def _state(world: World, counted: Counted) -> FaultState:
    rule = counted.rule
    lapsed = rule.lapses_at is not None and rule.lapses_at <= world.instant()
    asked = {name: getattr(rule.asked, name) for name in rule.asked.model_fields_set}
    return FaultState.model_construct(
        **(asked | {"id": rule.id, "matched": counted.matched, "fired": counted.fired, "lapsed": lapsed})
    )
