"""A world's clock: read it, stop it, move it."""

from collections.abc import Callable, Sequence
from typing import Annotated, cast

from pydantic import AfterValidator, Field

from mockserver import containers, control_errors, files, uploads
from mockserver.clock import MAX_SECONDS, Clock, calendar
from mockserver.context import World
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.models import ClockChange, ClockState
from mockserver.mock import Mock
from mockserver.schema.values import Duration, Instant
from mockserver.storage.database import Transaction

EXPIRING = {"containers": containers.expiring, "files": files.expiring, "uploads": uploads.expiring}
"""What finds the objects that expire in a time of the world, by their kind."""

router = new_router("/worlds/{world}/clock", "Clock", ["clock", *EXPIRING])


class Freeze(RequestModel):
    at: Instant | None = None


def _forward(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("a clock advances forward only; to move it back, use offset, or freeze it at an instant")
    return seconds


class Advance(RequestModel):
    by: Annotated[Duration, AfterValidator(_forward)]


class Move(RequestModel):
    by: Duration


class Scale(RequestModel):
    rate: float = Field(ge=0, le=1_000_000)


@router.get("")
async def get_clock(mock: TheMock, world: str) -> ClockState:
    """Return a world's time, and the rate at which it passes."""
    return clock_state(mock, (await mock.worlds.find(world)).clock)


@router.post("/freeze")
async def freeze_clock(mock: TheMock, world: str, body: Freeze = Freeze()) -> ClockChange:  # noqa: B008  # it is frozen, so all calls can share one
    """Stop the clock at its current time or at an instant. If that is earlier, expired objects can become valid again."""
    return await _change(mock, world, lambda clock, wall: clock.frozen(wall, body.at))


@router.post("/advance")
async def advance_clock(mock: TheMock, world: str, body: Advance) -> ClockChange:
    """Move the clock forward by a duration. Its rate stays."""
    return await _change(mock, world, lambda clock, wall: _bounded(clock.advanced(wall, body.by)))


@router.post("/offset")
async def offset_clock(mock: TheMock, world: str, body: Move) -> ClockChange:
    """Run ahead of the machine's clock by a duration, or behind it by a negative one."""
    return await _change(mock, world, lambda _, wall: _bounded(Clock(wall + body.by, wall, 1.0)))


@router.post("/scale")
async def scale_clock(mock: TheMock, world: str, body: Scale) -> ClockChange:
    """Continue from the current time at another rate: 60 is a minute each second."""
    return await _change(mock, world, lambda clock, wall: Clock(clock.at(wall), wall, body.rate))


@router.post("/resume")
async def resume_clock(mock: TheMock, world: str) -> ClockChange:
    """Continue from the current time at the machine's rate."""
    return await _change(mock, world, lambda clock, wall: Clock(clock.at(wall), wall, 1.0))


@router.post("/reset")
async def reset_clock(mock: TheMock, world: str) -> ClockChange:
    """Return to the machine's time. If that is earlier, expired objects can become valid again."""
    return await _change(mock, world, lambda _, wall: Clock(wall, wall, 1.0))


def _bounded(clock: Clock) -> Clock:
    if abs(clock.virtual) > MAX_SECONDS:
        problem = f"the world's time would be more than {MAX_SECONDS:.0f} seconds from 1970; give a shorter duration"
        raise control_errors.BAD_PARAMETER(param="by", problem=problem)
    return clock


def clock_state(mock: Mock, clock: Clock) -> ClockState:
    now = clock.at(mock.wall.now())
    date = calendar(now)
    iso = date.isoformat(timespec="milliseconds").replace("+00:00", "Z") if date else ""
    return ClockState(mode=clock.mode, now=now, iso=iso, rate=clock.rate)


async def _change(mock: Mock, name: str, changed: Callable[[Clock, float], Clock]) -> ClockChange:
    wall = mock.wall.now()
    world, old = await mock.worlds.change_clock(name, lambda clock: changed(clock, wall))
    before = old.seconds(wall)
    after = world.clock.seconds(wall)
    early, late = min(before, after), max(before, after)

    did, did_not = ("expired", "revived") if after >= before else ("revived", "expired")

    def changed_objects(tx: Transaction, _: World) -> dict[str, Sequence[str]]:
        return {f"{did}_{kind}": expiring(tx, early, late) for kind, expiring in EXPIRING.items()}

    objects = await mock.worlds.look(name, changed_objects)
    none: dict[str, list[str]] = {f"{did_not}_{kind}": [] for kind in EXPIRING}
    return cast(ClockChange, {**clock_state(mock, world.clock), **objects, **none})
