"""When a container expires: which rules a request can set, and whether a row has expired at a time."""

from collections.abc import Iterable
from typing import cast

from mockserver import errors, profiles
from mockserver.context import Context
from mockserver.schema.containers import UNASKED_EXPIRY, CreateContainer
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction

MINUTES_A_DAY = 1_440
NEVER = 0
"""In `expires_minutes`: it never expires."""

_ACTIVE = (
    "CASE WHEN used_until > last_active_at THEN max(last_active_at, coalesce("
    "(SELECT max(at) FROM uses WHERE uses.container_id = id AND at <= :now), 0)) ELSE last_active_at END"
)
"""As `activity`, but for a container that expired between two steps of a run, which counts as used by the later one."""
EXPIRES_AT = f"(CASE expires_anchor WHEN 'created_at' THEN created_at ELSE {_ACTIVE} END + expires_minutes * 60)"
_uses = Statement("SELECT at FROM uses WHERE container_id = :container_id ORDER BY at")
UNEXPIRED = f"(expires_minutes = {NEVER} OR {EXPIRES_AT} > :now)"


def lifetime(context: Context, body: CreateContainer) -> tuple[str, int]:
    """Return the anchor and the minutes of a new container's `expires_after`. Raises APIError for what the profile rejects."""
    rule, profile = body.expires_after, context.world.profile
    if rule is UNASKED_EXPIRY:  # a run sets it, whatever the profile says
        asked = "expires_after" in body.model_fields_set
        return rule.anchor, rule.minutes if asked or profile.expiry_unasked else NEVER
    given = rule.model_fields_set
    anchors = ["last_active_at", "created_at"] if profile.created_at_expiry else ["last_active_at"]
    if rule.anchor not in anchors:
        raise errors.INVALID_VALUE(value=rule.anchor, supported="'last_active_at'", param="expires_after.anchor")
    if "days" in given and not profile.created_at_expiry:
        raise errors.UNKNOWN_PARAMETER(param="expires_after.days")
    if "days" in given and "minutes" in given:
        raise errors.MUTUALLY_EXCLUSIVE(param="expires_after.minutes", other="expires_after.days")
    if "days" in given:
        _check_range(context, "expires_after.days", rule.days, profiles.MAX_MINUTES // MINUTES_A_DAY)
    elif "minutes" in given:
        _check_range(context, "expires_after.minutes", rule.minutes, profile.max_minutes)
    else:
        raise errors.MISSING_PARAMETER(param="expires_after.minutes")
    if rule.anchor == "created_at" or "days" in given:
        context.warn(profiles.CREATED_AT_EXPIRY)
    elif rule.minutes > profiles.LIVE.max_minutes:
        context.warn(profiles.MINUTES_BEYOND_LIMIT)
    return rule.anchor, rule.days * MINUTES_A_DAY or rule.minutes


def _check_range(context: Context, param: str, value: int, limit: int) -> None:
    if value == NEVER and context.allows(profiles.ZERO):
        return
    if value < 1:
        raise errors.TOO_SMALL_INTEGER(param=param, limit=1, value=value)
    if value > limit:
        raise errors.TOO_LARGE_INTEGER(param=param, limit=limit, value=value)


def expires_at(row: tables.Container, active_at: int | None = None) -> int | None:
    """Return when a container expires unless it is used, or None for never. `active_at` replaces its `last_active_at`."""
    if row.expires_minutes == NEVER:
        return None
    active = row.last_active_at if active_at is None else active_at
    return (row.created_at if row.expires_anchor == "created_at" else active) + row.expires_minutes * 60


def expired(row: tables.Container, now: int) -> bool:
    at = expires_at(row)
    return at is not None and at <= now


def activity(row: tables.Container, now: int, ends: Iterable[int]) -> int:
    """Return when a container was last used, including by steps of runs that ended up to `now`, unless it had expired."""
    active = row.last_active_at
    for end in ends:
        at = expires_at(row, active)
        if end > now or (at is not None and at <= end):
            break
        active = max(active, end)
    return active


def used(tx: Transaction, row: tables.Container, now: int) -> tables.Container:
    """Return a container with `last_active_at` as of `now`: completed steps of background runs are activity."""
    if row.used_until is None or row.used_until <= row.last_active_at:
        return row
    ends = [at for (at,) in _uses.tuples(tx, container_id=row.id)]
    return cast(tables.Container, row._replace(last_active_at=activity(row, now, ends)))  # type: ignore[attr-defined]  # a record is a named tuple
