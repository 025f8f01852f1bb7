"""Snapshots of a world: take, list, restore, delete."""

from fastapi import APIRouter
from pydantic import BaseModel

from mockserver.control.dependencies import TheMock
from mockserver.control.routes.clocks import ClockState, clock_state
from mockserver.mock import Mock
from mockserver.worlds import Snapshot

router = APIRouter(prefix="/worlds/{world}/snapshots", tags=["Snapshots"])


class SnapshotState(BaseModel):
    name: str
    world: str
    instant: float | None
    """The world's time when it was taken, in seconds since the epoch; null: its file can't be read."""


class SnapshotList(BaseModel):
    data: list[SnapshotState]


class Restored(BaseModel):
    world: str
    snapshot: str
    clock: ClockState


@router.get("", operation_id="listSnapshots")
async def list_snapshots(mock: TheMock, world: str) -> SnapshotList:
    """A world's snapshots, oldest first."""
    return await _all(mock, world)


@router.put("/{snapshot}", operation_id="takeSnapshot")
async def take_snapshot(mock: TheMock, world: str, snapshot: str) -> SnapshotState:
    """Keep the world as it is: objects, clock, profile, ids to come, faults. An older one of that name is replaced."""
    await mock.worlds.resolve(world)
    return _state(await mock.worlds.take_snapshot(world, snapshot))


@router.post("/{snapshot}/restore", operation_id="restoreSnapshot")
async def restore_snapshot(mock: TheMock, world: str, snapshot: str) -> Restored:
    """Go back to it, in one step for every client; the clock too, and the journal is cleared."""
    restored = await mock.worlds.restore(world, snapshot)
    return Restored(world=world, snapshot=snapshot, clock=clock_state(mock, restored.clock))


@router.delete("/{snapshot}", operation_id="deleteSnapshot")
async def delete_snapshot(mock: TheMock, world: str, snapshot: str) -> SnapshotList:
    """Forget it. Answers with those that are left."""
    await mock.worlds.delete_snapshot(world, snapshot)
    return await _all(mock, world)


async def _all(mock: Mock, world: str) -> SnapshotList:
    return SnapshotList(data=[_state(each) for each in await mock.worlds.list_snapshots(world)])


def _state(snapshot: Snapshot) -> SnapshotState:
    return SnapshotState(name=snapshot.name, world=snapshot.world, instant=snapshot.instant)
