"""Snapshots of a world: take, list, restore, delete."""

from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.models import Restored, SnapshotList, SnapshotState
from mockserver.control.routes.clocks import clock_state
from mockserver.states import Snapshot

router = new_router("/worlds/{world}/snapshots", "Snapshots")


@router.get("")
async def list_snapshots(mock: TheMock, world: str) -> SnapshotList:
    """List a world's snapshots, oldest first."""
    return SnapshotList(data=[_state(each) for each in await mock.worlds.list_snapshots(world)])


@router.put("/{snapshot}")
async def take_snapshot(mock: TheMock, world: str, snapshot: str) -> SnapshotState:
    """Take a snapshot of objects, clock, profile, id sequence, faults and answers. It replaces one of the same name."""
    await mock.worlds.resolve(world)
    return _state(await mock.worlds.take_snapshot(world, snapshot))


@router.post("/{snapshot}/restore")
async def restore_snapshot(mock: TheMock, world: str, snapshot: str) -> Restored:
    """Restore a snapshot atomically, with its clock. This also clears the journal."""
    restored = await mock.worlds.restore(world, snapshot)
    return Restored(world=world, snapshot=snapshot, clock=clock_state(mock, restored.clock))


@router.delete("/{snapshot}")
async def delete_snapshot(mock: TheMock, world: str, snapshot: str) -> SnapshotList:
    """Delete a snapshot. Return the remaining ones."""
    await mock.worlds.delete_snapshot(world, snapshot)
    return await list_snapshots(mock, world)


def _state(snapshot: Snapshot) -> SnapshotState:
    return SnapshotState(name=snapshot.name, world=snapshot.world, instant=snapshot.instant)
