"""Worlds: list, create, read, reset, delete, retire.

Changing a world that does not exist creates it; reading one does not.
"""

import asyncio
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any, Self

import orjson
from fastapi import Query, Response
from pydantic import AfterValidator, BaseModel, Field, model_validator

from mockserver import control_errors, profiles
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.models import Names, Switches, WorldList, WorldState
from mockserver.control.routes.clocks import clock_state
from mockserver.mock import Mock
from mockserver.profiles import PROFILES, Profile
from mockserver.schema.values import Duration, not_negative
from mockserver.states import Summary

router = new_router("", "Worlds")

AT_ONCE = 20
"""Worlds of a list that are read and written without a pause."""


class WorldQuery(BaseModel):
    name: str | None = Field(None, description="Only the world of this name.")
    search: str = Field("", max_length=64, description="A part of the name; case is ignored.")
    limit: int | None = Field(None, ge=1, le=10_000, description="The most recently used ones, at most so many.")


class NewWorld(RequestModel):
    empty: bool = False
    fork_of: str | None = None
    snapshot: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.snapshot is not None and self.fork_of is None:
            raise ValueError("a snapshot needs fork_of, the world that it was taken of")
        if self.empty and self.fork_of is not None:
            raise ValueError("a fork is not empty; send fork_of or empty, not both")
        return self


class Retire(RequestModel):
    idle: Annotated[Duration, AfterValidator(not_negative)]


class ProfileChange(RequestModel):
    """Null and no switches: the server's profile."""

    name: str | None = Field(
        None,
        max_length=1_000,
        description=f"{', '.join(PROFILES)}; null is the server's profile. Switches can follow: `live,delete_lag=5m`.",
    )
    switches: Annotated[dict[str, Any], Switches()] = Field({})


@router.get("/worlds", responses={200: {"model": WorldList}})
async def list_worlds(mock: TheMock, query: Annotated[WorldQuery, Query()]) -> Response:
    """List worlds by name, with counts of their objects; with `limit`, the most recently used first."""
    wanted = query.search.lower()
    found = [name for name in mock.worlds.names() if query.name in (None, name) and wanted in name.lower()]
    total = len(found)
    if query.limit is not None:
        found = sorted(found, key=lambda name: -(mock.worlds.used(name) or 0))[: query.limit]
    data = []
    for start in range(0, len(found), AT_ONCE):
        summaries = await mock.worlds.summaries(found[start : start + AT_ONCE])
        data += [orjson.dumps(_state(mock, each)) for each in summaries]
        await asyncio.sleep(0)  # requests to worlds come in between
    return Response(b'{"data":[%b],"total":%d}' % (b",".join(data), total), media_type="application/json")


@router.get("/worlds/{world}")
async def get_world(mock: TheMock, world: str) -> WorldState:
    """Return one world, with counts of its objects."""
    for summary in await mock.worlds.summaries([world]):
        return _state(mock, summary)
    raise control_errors.WORLD_NOT_FOUND(name=world[:80])


@router.post("/worlds/{world}")
async def create_world(mock: TheMock, world: str, body: NewWorld = NewWorld()) -> WorldState:  # noqa: B008  # it is frozen, so all calls can share one
    """Create a world: from the seeds, empty, or as a copy of a world or of a snapshot of one."""
    await mock.worlds.create(world, empty=body.empty, fork_of=body.fork_of, snapshot=body.snapshot)
    return await get_world(mock, world)


@router.delete("/worlds/{world}")
async def delete_world(mock: TheMock, world: str) -> Names:
    """Delete a world with its snapshots. Its next use creates a new one."""
    await mock.worlds.delete(world)
    return Names(worlds=[world])


@router.post("/worlds/{world}/reset")
async def reset_world(mock: TheMock, world: str, empty: Annotated[bool, Query()] = False) -> WorldState:
    """Reset a world to the state of the seeds, or with `?empty=true` to nothing. This also clears the journal."""
    await mock.worlds.reset(world, empty=empty)
    return await get_world(mock, world)


@router.put("/worlds/{world}/profile")
async def set_profile(mock: TheMock, world: str, body: ProfileChange) -> WorldState:
    """Set a world's profile, or single switches of it; null is the server's profile."""
    await mock.worlds.set_profile(world, _profile(mock, body))
    return await get_world(mock, world)


@router.post("/all-worlds/retire")
async def retire_all_idle_worlds(mock: TheMock, body: Retire) -> Names:
    """Delete all worlds that were not used for a duration, except `default`."""
    return Names(worlds=await mock.worlds.retire(body.idle))


def key_stem(mock: Mock) -> str:
    """What the keys of worlds begin with. The server's own keys are secrets, so their place is shown instead."""
    return "<your key>" if mock.settings.api_key else "sk"


@lru_cache(maxsize=100)
def _shown(profile: Profile) -> tuple[dict[str, bool | int | str], str]:
    """Its switches, and the same in short; hardly any two of many worlds have different ones."""
    return asdict(profile), profiles.in_words(profile)


def _profile(mock: Mock, body: ProfileChange) -> Profile | None:
    if body.name is None and not body.switches:
        return None
    param = "switches" if body.name is None else "name"
    try:
        named = mock.worlds.profile({} if body.name is None else body.name)
        param = "switches"
        return profiles.read(body.switches, named)
    except ValueError as error:
        raise control_errors.BAD_PARAMETER(param=param, problem=error) from None


def _state(mock: Mock, world: Summary) -> WorldState:
    return WorldState(
        name=world.name,
        base_url=f"/w/{world.name}/v1",
        api_key=f"{key_stem(mock)}-world-{world.name}",
        counts=world.counts,  # type: ignore[typeddict-item]  # the counts have these keys
        used_at=mock.worlds.used(world.name),
        clock=clock_state(mock, world.clock) if world.clock else None,
        profile=_shown(world.profile)[0] if world.profile else None,
        profile_name=_shown(world.profile)[1] if world.profile else None,
        faults=world.faults,
        snapshots=mock.worlds.snapshots(world.name),
        exchanges=mock.journal.count(world.name),
        error=world.error,
    )
