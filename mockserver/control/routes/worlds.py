"""Worlds: list, make, look at, reset, delete, retire.

What changes a world makes it first if there is none; what looks at one doesn't.
"""

from dataclasses import asdict
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, WithJsonSchema, model_validator

from mockserver import errors, profiles
from mockserver.control.dependencies import Asked, Duration, TheMock
from mockserver.control.routes.clocks import ClockState, clock_state
from mockserver.mock import Mock
from mockserver.profiles import PROFILES, SWITCHES, Profile
from mockserver.worlds import Summary

router = APIRouter(tags=["Worlds"])

_SWITCHES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        each.name: {
            "description": f"{each.meaning} Takes: {each.takes}. Known ({each.grade}): {each.evidence}",
            "default": each.default,
        }
        for each in SWITCHES.values()
    },
}


class Counts(BaseModel):
    files: int
    containers: int
    container_files: int


class WorldState(BaseModel):
    name: str
    base_url: str
    api_key: str
    counts: Counts | None = Field(description="Null where the world can't be used.")
    used_at: float | None
    """When it was last used, in seconds since the epoch by the machine's clock; null: not since the start."""
    clock: ClockState | None
    profile: Annotated[dict[str, bool | int | str], WithJsonSchema(_SWITCHES)] | None
    profile_name: str | None = Field(description="The same in short, as `--profile` takes it: `live,delete_lag=300`.")
    faults: int | None
    snapshots: list[str]
    exchanges: int = Field(description="That its journal remembers.")
    error: str | None = Field(description="Why the world can't be used: its file is damaged, or of a newer version.")


class WorldList(BaseModel):
    data: list[WorldState]
    total: int = Field(description="Of all that match, whatever the limit.")


class WorldQuery(BaseModel):
    name: str | None = Field(None, description="Just the world of this name, if there is one.")
    search: str = Field("", max_length=64, description="A part of the name, in any case.")
    limit: int | None = Field(None, ge=1, le=10_000, description="So many, and those that were used last.")


class NewWorld(Asked):
    empty: bool = False
    fork_of: str | None = None
    snapshot: str | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.snapshot is not None and self.fork_of is None:
            raise ValueError("a snapshot is one of the world that fork_of names")
        if self.empty and self.fork_of is not None:
            raise ValueError("a fork is not empty; leave out fork_of or empty")
        return self


class Retire(Asked):
    idle: Duration


class Names(BaseModel):
    worlds: list[str]


class ProfileChange(Asked):
    """Null and no switches: the server's own."""

    name: str | None = Field(
        None,
        max_length=1_000,
        description=f"{', '.join(PROFILES)}; null is the server's own. Switches may follow: `live,delete_lag=5m`.",
    )
    switches: Annotated[dict[str, Any], WithJsonSchema(_SWITCHES)] = Field({})


@router.get("/worlds", operation_id="listWorlds")
async def list_worlds(mock: TheMock, query: Annotated[WorldQuery, Query()]) -> WorldList:
    """All worlds by name, with what they hold; or so many, the last used first."""
    wanted = query.search.lower()
    found = [name for name in mock.worlds.names() if query.name in (None, name) and wanted in name.lower()]
    total = len(found)
    if query.limit is not None:
        found = sorted(found, key=lambda name: -(mock.worlds.used(name) or 0))[: query.limit]
    return WorldList(data=[_state(mock, each) for each in await mock.worlds.summaries(found)], total=total)


@router.get("/worlds/{world}", operation_id="getWorld")
async def get_world(mock: TheMock, world: str) -> WorldState:
    """One world, with what it holds."""
    if world not in mock.worlds.names():
        raise errors.WORLD_NOT_FOUND(name=world[:80])
    return await world_state(mock, world)


@router.post("/worlds/{world}", operation_id="createWorld")
async def create_world(mock: TheMock, world: str, asked: NewWorld = NewWorld()) -> WorldState:  # noqa: B008  # it is frozen, so one will do for all
    """Make a world: from the template, empty, or as a fork of a world or of a snapshot of one."""
    await mock.worlds.create(world, empty=asked.empty, fork_of=asked.fork_of, snapshot=asked.snapshot)
    return await world_state(mock, world)


@router.delete("/worlds/{world}", operation_id="deleteWorld")
async def delete_world(mock: TheMock, world: str) -> Names:
    """Delete a world with its snapshots. Its next use makes it anew."""
    await mock.worlds.delete(world)
    return Names(worlds=[world])


@router.post("/worlds/{world}/reset", operation_id="resetWorld")
async def reset_world(mock: TheMock, world: str, empty: Annotated[bool, Query()] = False) -> WorldState:
    """Back to the template, or with `?empty=true` to nothing; the journal is cleared."""
    await mock.worlds.reset(world, empty=empty)
    return await world_state(mock, world)


@router.put("/worlds/{world}/profile", operation_id="setProfile")
async def set_profile(mock: TheMock, world: str, asked: ProfileChange) -> WorldState:
    """Give a world a profile of its own, or single switches, or with null the server's."""
    await mock.worlds.set_profile(world, _profile(mock, asked))
    return await world_state(mock, world)


@router.post("/all-worlds/retire", operation_id="retireAllIdleWorlds")
async def retire_all_idle_worlds(mock: TheMock, asked: Retire) -> Names:
    """Delete all worlds that were not used for so long; `default` stays."""
    return Names(worlds=await mock.worlds.retire(asked.idle))


def _profile(mock: Mock, asked: ProfileChange) -> Profile | None:
    if asked.name is None and not asked.switches:
        return None
    param = "switches" if asked.name is None else "name"
    try:
        named = mock.worlds.profile({} if asked.name is None else asked.name)
        param = "switches"
        return profiles.read(asked.switches, named)
    except ValueError as error:
        raise errors.BAD_PARAMETER(param=param, problem=f"{param}: {error}") from None


async def world_state(mock: Mock, name: str) -> WorldState:
    (summary,) = await mock.worlds.summaries([name])
    return _state(mock, summary)


def _state(mock: Mock, world: Summary) -> WorldState:
    return WorldState(
        name=world.name,
        base_url=f"/w/{world.name}/v1",
        api_key=f"sk-world-{world.name}",
        counts=Counts(**world.counts) if world.counts else None,
        used_at=mock.worlds.used(world.name),
        clock=clock_state(mock, world.clock) if world.clock else None,
        profile=asdict(world.profile) if world.profile else None,
        profile_name=profiles.in_words(world.profile) if world.profile else None,
        faults=world.faults,
        snapshots=mock.worlds.snapshots(world.name),
        exchanges=mock.journal.count(world.name),
        error=world.error,
    )
