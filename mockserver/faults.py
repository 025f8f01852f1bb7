"""Faults: rules of what to break, where, and how many times.

A rule's counts live in its row and go up in a transaction, so that of many clients at once exactly as
many are hit as the rule says. The rules themselves are read with their world and kept with it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from mockserver import errors, ids
from mockserver.bounds import FewKeys
from mockserver.clock import CENTURIES, duration
from mockserver.storage import tables
from mockserver.storage.database import Insertion, Statement, Transaction, record

OPERATIONS = (
    "ListContainers",
    "CreateContainer",
    "RetrieveContainer",
    "DeleteContainer",
    "CreateContainerFile",
    "ListContainerFiles",
    "RetrieveContainerFile",
    "RetrieveContainerFileContent",
    "DeleteContainerFile",
    "ListFiles",
    "CreateFile",
    "DeleteFile",
    "RetrieveFile",
    "DownloadFile",
)
LISTS = frozenset(name for name in OPERATIONS if name.startswith("List"))

HEADER = "header"
"""Stands for the id of the rule where a request brought its own fault."""

MAX_HEADERS = 50
MAX_LATENCY = 600.0
MAX_BODY = 64 * 1024
"""Bytes of JSON."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,2000}")
_FRAMING = {"content-length", "transfer-encoding"}


class _Part(FewKeys):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _not_negative(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("a duration can't be negative here")
    return seconds


Seconds = Annotated[
    float,
    BeforeValidator(duration, json_schema_input_type=str | float),
    AfterValidator(_not_negative),
    Field(le=CENTURIES),
]
Octets = Annotated[int, Field(ge=0, le=1 << 53)]


def _operation(pattern: str) -> str:
    if not any(_like(operation, pattern) for operation in OPERATIONS):
        raise ValueError(f"{pattern[:80]!r} is no operation; there are {', '.join(OPERATIONS)}")
    return pattern


def _like(operation: str, pattern: str) -> bool:
    return fnmatchcase(operation.lower(), pattern.lower())


def _path(pattern: str) -> str:
    if pattern[:1] not in ("/", "*"):
        raise ValueError(f"{pattern[:80]!r} matches no path; write it as /containers/*, without /v1")
    return pattern


def _error(name: str) -> str:
    if name not in errors.CATALOGUE:
        raise ValueError(f"{name[:80]!r} is no error of the catalogue; there are {', '.join(errors.CATALOGUE)}")
    return name


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name[:80]!r} can't be sent as a header with that value")
        if name.lower() in _FRAMING:
            raise ValueError(f"{name} follows from the body; truncate_after makes a body shorter than it says")
    return headers


def _few(headers: object) -> object:
    """Before each of them is looked at."""
    if isinstance(headers, dict) and len(headers) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers are taken")
    return headers


def _bounded(body: Any) -> Any:
    try:
        size = len(json.dumps(body, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise ValueError("it holds half a surrogate pair, which can't be sent") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if size > MAX_BODY:
        raise ValueError(f"at most {MAX_BODY} bytes are taken")
    return body


class Latency(_Part):
    """Written as one duration, or with a `min` and a `max` between which it is drawn."""

    min: Seconds
    max: Seconds

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is more than max")
        if self.max > MAX_LATENCY:
            raise ValueError(f"at most {MAX_LATENCY:g} seconds are waited")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, both: SerializerFunctionWrapHandler) -> Any:
        return self.min if self.min == self.max else both(self)


def _one_or_two(value: Any) -> Any:
    return {"min": value, "max": value} if isinstance(value, str | int | float) else value


class RateLimit(_Part):
    requests: Annotated[int, Field(ge=0, le=1 << 53)]
    per: Annotated[Seconds, Field(gt=0)]


class Effect(_Part):
    """What happens to a request. All that is given happens to the same one."""

    error: Annotated[str, AfterValidator(_error)] | None = Field(
        None, description="a refusal of the catalogue below, by its name"
    )
    status: Annotated[int, Field(ge=200, le=599)] | None = Field(
        None,
        description="any status, in place of the error's; from 400 on with an error envelope unless `body` is given",
    )
    body: Annotated[Any, AfterValidator(_bounded)] = Field(
        None, description="any body: JSON, or a text as it stands; with status 200 unless one is given"
    )
    headers: Annotated[
        dict[str, str], Field(max_length=MAX_HEADERS), AfterValidator(_headers), BeforeValidator(_few)
    ] = Field({}, description="headers of the answer, in place of its own of these names")
    retry_after: Seconds | None = Field(
        None, description="the header `Retry-After`, in seconds; with an error, a status or a rate limit"
    )
    latency: Annotated[Latency, BeforeValidator(_one_or_two, json_schema_input_type=str | float | Latency)] | None = (
        Field(
            None,
            description="real time before anything else happens, at most ten minutes; drawn from `{min, max}` if given so",
        )
    )
    drop: Literal["before_answer"] | None = Field(
        None, description="`before_answer`: the connection is closed without an answer, and nothing was done"
    )
    reset_after: Octets | None = Field(None, description="the connection is reset after so many bytes of the body")
    truncate_after: Octets | None = Field(
        None,
        description="the connection is closed after so many bytes of the body, though `Content-Length` promised more",
    )
    dribble: Annotated[int, Field(ge=1, le=1 << 53)] | None = Field(
        None, description="the body comes at so many bytes a second"
    )
    abort_upload_after: Octets | None = Field(
        None, description="the connection is reset once so many bytes of the request's body have come in (POST only)"
    )
    rate_limit: RateLimit | None = Field(
        None,
        description="`{requests, per}`: so many pass in a window of the world's time, then `rate_limited` with `Retry-After`",
    )
    stale_list: Seconds | None = Field(
        None,
        description="what was deleted in the last so many seconds of the world's time is still listed (lists only)",
    )
    has_more: Literal[True] | None = Field(None, description="`true`: every page says that more follow (lists only)")
    empty_page: Literal[True] | None = Field(
        None, description="`true`: a page without data that says that more follow (lists only)"
    )

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        given = self.model_fields_set
        if not given or (self.model_dump(exclude_defaults=True) == {} and "body" not in given):
            raise ValueError("it has no effect; give one")
        if "retry_after" in given and not self.answers and self.rate_limit is None:
            raise ValueError("retry_after needs an error, a status or a rate_limit")
        if self.status in (204, 304) and {"body", "error"} & given:
            raise ValueError(f"an answer of status {self.status} has no body")
        for one, others in _EXCLUSIVE:
            if one & given and others & given:
                raise ValueError(f"{min(one & given)} and {min(others & given)} exclude each other")
        return self

    @property
    def answers(self) -> bool:
        """Whether it gives an answer in place of the operation's."""
        return bool(self.model_fields_set & _ANSWERS)

    @property
    def lists(self) -> bool:
        return bool(self.model_fields_set & _LISTS)


_ANSWERS = {"error", "status", "body"}
_LISTS = {"stale_list", "has_more", "empty_page"}
_EXCLUSIVE = (
    ({"drop"}, _ANSWERS | _LISTS | {"headers", "reset_after", "truncate_after", "dribble", "abort_upload_after"}),
    ({"reset_after"}, {"truncate_after"}),
    ({"abort_upload_after"}, _ANSWERS | _LISTS | {"rate_limit"}),
    (_LISTS, _ANSWERS | {"rate_limit"}),
)


class Match(_Part):
    """Which requests a rule is for: those that have all of this. Patterns take `*`, `?` and `[…]`."""

    operation: Annotated[str, Field(max_length=100), AfterValidator(_operation)] | None = Field(
        None, description="the API's operation id, or a pattern: `ListContainers`, `*File*`"
    )
    method: Literal["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"] | None = Field(
        None, description="`GET`, `POST`, …"
    )
    path: Annotated[str, Field(max_length=1_000), AfterValidator(_path)] | None = Field(
        None, description="a pattern of the path, without world and `/v1`: `/containers/*/files`"
    )
    container: Annotated[str, Field(max_length=1_000)] | None = Field(
        None, description="the container's id in the path"
    )
    file: Annotated[str, Field(max_length=1_000)] | None = Field(None, description="the file's id in the path")
    header: Annotated[
        dict[str, Annotated[str, Field(max_length=1_000)]], Field(max_length=20), BeforeValidator(_few)
    ] = Field({}, description="headers of the request, each with a pattern of its value")


_EVERYTHING = Match.model_validate({})


class NewRule(_Part):
    """A rule as it is asked for."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = Field(
        None, description="its name; made up unless given"
    )
    match: Annotated[Match, Field(description="which requests it is for; all unless given")] = _EVERYTHING
    skip: Annotated[int, Field(ge=0, le=1 << 53)] = Field(0, description="so many matching requests pass first")
    times: Annotated[int, Field(ge=1, le=1 << 53)] | None = Field(
        None, description="it fires so many times; always unless given"
    )
    probability: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="0 to 1; drawn from the world's id seed, so the same on every run"
    )
    lapse_after: Annotated[Seconds, Field(gt=0)] | None = Field(
        None, description="it ends so long after it was made, by the world's clock"
    )
    enabled: Annotated[
        bool, Field(description="false switches it off; it is no longer tried, and keeps its counts")
    ] = True
    effect: Effect = Field(description="what it does")

    @model_validator(mode="after")
    def _nameable(self) -> Self:
        if self.id == HEADER:
            raise ValueError(f"the id {HEADER!r} stands for faults that a request brings along")
        return self


@dataclass(frozen=True, slots=True)
class Target:
    """What rules look at of a request. Without an operation where it matched no route."""

    operation: str | None
    method: str
    path: str
    container: str | None
    file: str | None
    headers: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a world. Its counts are in its row."""

    id: str
    asked: NewRule
    lapses_at: float | None

    def matches(self, target: Target, now: float) -> bool:
        match, effect = self.asked.match, self.asked.effect
        return (
            self.asked.enabled
            and (self.lapses_at is None or now < self.lapses_at)
            and (match.operation is None or (target.operation is not None and _like(target.operation, match.operation)))
            and match.method in (None, target.method)
            and match.container in (None, target.container)
            and match.file in (None, target.file)
            and (match.path is None or fnmatchcase(target.path, match.path))
            and all(_has(target.headers, name, pattern) for name, pattern in match.header.items())
            and (not effect.lists or target.operation in LISTS)
            and (effect.abort_upload_after is None or target.method == "POST")
        )

    def fires(self, seed: bytes, matched: int, fired: int) -> bool:
        """At its `matched`th match, having fired so often before."""
        asked = self.asked
        if matched <= asked.skip or (asked.times is not None and fired >= asked.times):
            return False
        return asked.probability >= 1 or ids.draw(seed, f"fires:{self.id}", matched) < asked.probability


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that fires. `draw` is from 0 up to 1; `window` the rate limit's, with the seconds left of it."""

    id: str
    effect: Effect
    draw: float
    window_left: float | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule with how often it was looked at for a request that it matches, and how often it fired."""

    rule: Rule
    matched: int
    fired: int


_all = Statement("SELECT * FROM faults ORDER BY position", tables.Fault)
_last: Statement[tables.Fault] = Statement("SELECT count(*), max(position) FROM faults")
_new = record(tables.Fault)
_insert = Insertion(tables.Fault)
_exists: Statement[tables.Fault] = Statement("SELECT 1 FROM faults WHERE id = :id")
_remove: Statement[tables.Fault] = Statement("DELETE FROM faults WHERE id = :id")
_clear: Statement[tables.Fault] = Statement("DELETE FROM faults")
_set_rule: Statement[tables.Fault] = Statement("UPDATE faults SET rule = :rule WHERE id = :id")
_count_match: Statement[tables.Fault] = Statement(
    "UPDATE faults SET matched = matched + 1 WHERE id = :id RETURNING matched, fired, window_at, window_used"
)
_count_fire: Statement[tables.Fault] = Statement("UPDATE faults SET fired = fired + 1 WHERE id = :id")
_set_window: Statement[tables.Fault] = Statement(
    "UPDATE faults SET window_at = :began, window_used = :used WHERE id = :id"
)


# What rules there are


def load_rules(tx: Transaction) -> tuple[Rule, ...]:
    return tuple(counted.rule for counted in list_rules(tx))


def list_rules(tx: Transaction) -> list[Counted]:
    """A world's rules in the order in which they are tried."""
    return [Counted(_rule(row), row.matched, row.fired) for row in _all.all(tx)]


def add(tx: Transaction, world: str, asked: NewRule, now: float) -> str:
    """Add a rule behind the others of its world. Returns its id."""
    count, last = _last.tuple(tx) or (0, None)
    if count >= tables.MAX_FAULTS:
        raise errors.TOO_MANY_FAULTS(limit=tables.MAX_FAULTS)
    position = (last or 0) + 1
    id = asked.id or next(id for id in _names(position) if not _exists.tuple(tx, id=id))
    if _exists.tuple(tx, id=id):
        raise errors.FAULT_EXISTS(world=world, id=id)
    rule = asked.model_dump_json(exclude_unset=True)
    _insert.add(tx, _new(id=id, position=position, rule=rule, created_at=now))
    return id


def remove(tx: Transaction, world: str, id: str) -> None:
    if not _remove.run(tx, id=id):
        raise errors.FAULT_NOT_FOUND(world=world, id=id[:80])


def switch(tx: Transaction, world: str, id: str, enabled: bool) -> None:
    """Switch a rule off or on; it keeps its place and its counts."""
    found = next((each.rule.asked for each in list_rules(tx) if each.rule.id == id), None)
    if found is None:
        raise errors.FAULT_NOT_FOUND(world=world, id=id[:80])
    asked = NewRule.model_validate(found.model_dump(exclude_unset=True) | {"enabled": enabled})
    _set_rule.run(tx, id=id, rule=asked.model_dump_json(exclude_unset=True))


def clear(tx: Transaction) -> None:
    _clear.run(tx)


def _names(position: int) -> Iterator[str]:
    while True:
        yield f"fault-{position}"
        position += 1


def _rule(row: tables.Fault) -> Rule:
    asked = NewRule.model_validate_json(row.rule)
    return Rule(row.id, asked, None if asked.lapse_after is None else row.created_at + asked.lapse_after)


# What fires


def fire(
    write: Callable[[], AbstractContextManager[Transaction]],
    seed: bytes,
    rules: Sequence[Rule],
    target: Target,
    now: float,
) -> Hit | None:
    """The first rule that fires at a request, at the world's instant `now`. Counts in one transaction."""
    matching = [rule for rule in rules if rule.matches(target, now)]
    if not matching:
        return None
    with write() as tx:
        for rule in matching:
            counts = _count_match.tuple(tx, id=rule.id)
            if counts is None:  # deleted since it was read
                continue
            matched, fired, began, used = counts
            if not rule.fires(seed, matched, fired):
                continue
            left = None
            if limit := rule.asked.effect.rate_limit:
                if began is None or not began <= now < began + limit.per:
                    began, used = now, 0
                if used < limit.requests:
                    _set_window.run(tx, id=rule.id, began=began, used=used + 1)
                    continue
                left = began + limit.per - now
            _count_fire.run(tx, id=rule.id)
            return Hit(rule.id, rule.asked.effect, ids.draw(seed, f"draw:{rule.id}", matched), left)
    return None


def brought(header: bytes, draw: float) -> Hit:
    """The fault that a request brings along: JSON of an effect, or an error's name."""
    text = header.decode("utf-8", "replace").strip()
    try:
        effect = Effect.model_validate_json(text) if text.startswith("{") else Effect.model_validate({"error": text})
        if effect.rate_limit:
            raise errors.BAD_PARAMETER(
                param="x-mock-fault", problem="x-mock-fault: rate_limit takes a rule, which counts"
            )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in ("x-mock-fault", *first["loc"]))
        problem = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        raise errors.BAD_PARAMETER(param=where, problem=problem) from None
    return Hit(HEADER, effect, draw)


def _has(headers: Mapping[bytes, bytes], name: str, pattern: str) -> bool:
    value = headers.get(name.lower().encode("latin-1", "replace"))
    return value is not None and fnmatchcase(value.decode("latin-1"), pattern)
