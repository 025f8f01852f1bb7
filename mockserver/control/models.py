"""The responses of the control plane: each shape once, for its routes, the client, tests and the command line.

Only the standard library is loaded here, for clients import this module too. A `Doc` in an annotation becomes the
field's description in the OpenAPI document.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Required

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from typing import TypedDict
else:
    from typing_extensions import TypedDict  # the one that Pydantic takes on Python 3.11


@dataclass(frozen=True)
class Doc:
    """A description of a field for the OpenAPI document."""

    description: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.description}


class Switches:
    """Describes the switches of a profile in the OpenAPI document."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        from mockserver.profiles import SWITCHES

        properties = {
            each.name: {
                "description": f"{each.meaning} Takes: {each.takes}. Known: {each.evidence}",
                "default": each.default,
            }
            for each in SWITCHES.values()
        }
        return {"type": "object", "additionalProperties": False, "properties": properties}


# The server


class State(TypedDict):
    name: Annotated[str | None, Doc("The server's `--name`.")]
    version: str
    python: str
    sqlite: str
    schema_version: int
    uptime_seconds: float
    pid: int
    worlds: int
    data: str
    temporary: bool
    database_bytes: int
    contents: Annotated[int, Doc("Number of contents that are files, since they are too large for a row.")]
    content_bytes: int


class Session(TypedDict):
    token_needed: Annotated[bool, Doc("Whether the server was started with `--control-token`.")]


# Worlds


class ClockState(TypedDict):
    mode: Literal["real", "offset", "frozen", "scaled"]
    now: Annotated[float, Doc("Seconds since the epoch, by the world's clock.")]
    iso: Annotated[str, Doc("The same in ISO 8601; empty for a year that no calendar has.")]
    rate: Annotated[float, Doc("Seconds that pass in the world for each second of the machine.")]


class ClockChange(ClockState):
    """A clock that was changed, with the ids of the objects that expired or became valid again because of it."""

    expired_containers: list[str]
    expired_files: list[str]
    expired_uploads: list[str]
    revived_containers: list[str]
    revived_files: list[str]
    revived_uploads: list[str]


class Counts(TypedDict):
    files: int
    containers: int
    container_files: int
    uploads: int
    upload_parts: int
    skills: int
    skill_versions: int
    responses: int
    answers: int


class WorldState(TypedDict):
    name: str
    base_url: Annotated[str, Doc("The path of the base URL for clients; the server's address comes before it.")]
    api_key: str
    counts: Annotated[Counts | None, Doc("Null if the world can't be used.")]
    used_at: Annotated[
        float | None,
        Doc(
            "When it was last used, in seconds since the epoch by the machine's clock; null: not since the server's start."
        ),
    ]
    clock: ClockState | None
    profile: Annotated[dict[str, bool | int | str], Switches()] | None
    profile_name: Annotated[str | None, Doc("The profile as `--profile` takes it: `live,delete_lag=300`.")]
    faults: int | None
    snapshots: list[str]
    exchanges: Annotated[int, Doc("Number of exchanges in its journal.")]
    error: Annotated[str | None, Doc("Why the world can't be used: its file is damaged, or of a newer version.")]


class WorldList(TypedDict):
    data: list[WorldState]
    total: Annotated[int, Doc("Number of worlds that match, whatever the limit.")]


class Names(TypedDict):
    worlds: list[str]


class Placed(TypedDict):
    """Ids of the objects that were added, in the order of the document."""

    files: list[str]
    skills: list[str]
    containers: list[str]
    faults: list[str]
    answers: list[str]


class SnapshotState(TypedDict):
    name: str
    world: str
    instant: Annotated[
        float | None,
        Doc("The world's time when it was taken, in seconds since the epoch; null if its file can't be read."),
    ]


class SnapshotList(TypedDict):
    data: list[SnapshotState]


class Restored(TypedDict):
    world: str
    snapshot: str
    clock: ClockState


# Faults


class Rule(TypedDict, total=False):
    """A rule as it was added, with its counts. Keys that were not sent when it was added are left out."""

    id: Required[str]
    match: Annotated[dict[str, Any], Doc("Which requests it is for, as in the request that added it.")]
    skip: int
    times: int | None
    probability: float
    concurrent: int | None
    lapse_after: float | None
    enabled: bool
    effect: Required[Annotated[dict[str, Any], Doc("What it does, as in the request that added it.")]]
    matched: Required[Annotated[int, Doc("How many requests matched it.")]]
    fired: Required[Annotated[int, Doc("How often it fired.")]]
    lapsed: Required[Annotated[bool, Doc("Whether its time is over, by the world's clock.")]]


class RuleList(TypedDict):
    data: list[Rule]


# Answers


class Answer(TypedDict, total=False):
    """An answer as it was added, with its counts. Contents are shown as their digest and size."""

    id: Required[str]
    when: Annotated[dict[str, Any], Doc("Which requests it is for.")]
    skip: int
    times: int | None
    steps: list[dict[str, Any]] | None
    output: list[dict[str, Any]] | None
    usage: dict[str, Any] | None
    pace: float
    code: str | None
    commands: list[str] | None
    logs: str | None
    value: str | None
    raises: str | None
    exit: int | None
    stderr: str | None
    timeout: bool
    files: list[dict[str, Any]]
    shows: list[dict[str, Any]]
    takes: float
    say: str | None
    phase: str | None
    cite: bool
    reasoning: bool | str
    fail: dict[str, Any] | None
    seeded: Required[Annotated[bool, Doc("Whether it comes from a seed.")]]
    matched: Required[Annotated[int, Doc("How many requests it matched.")]]
    used: Required[Annotated[int, Doc("How often it was used.")]]


class AnswerList(TypedDict):
    data: list[Answer]


# The journal


class Message(TypedDict, total=False):
    """A request or a response. A large body, and a content, is described by its size and, of an upload, its hash."""

    headers: dict[str, str]
    body: Annotated[Any, Doc("The body's JSON value, or its text.")]
    body_bytes: int | None
    body_sha256: str | None


class Change(TypedDict):
    change: Literal["created", "changed", "deleted"]
    id: str


class Exchange(TypedDict):
    """A request with its response, as recorded in the journal."""

    number: int
    request_id: str
    world: str
    at: Annotated[float, Doc("When it began, by the world's clock, in seconds since the epoch.")]
    wall: Annotated[float, Doc("When it began, by the machine's clock.")]
    operation: Annotated[str | None, Doc("The operation's id; null if no route matched.")]
    method: str
    path: str
    query: str
    status: Annotated[int | None, Doc("Null if no response was sent.")]
    duration_ms: float
    request: NotRequired[Annotated[Message, Doc("Left out with `brief`.")]]
    response: NotRequired[Annotated[Message, Doc("Left out with `brief`.")]]
    fault: Annotated[str | None, Doc("Id of the fault that fired; `header` for one sent in a header.")]
    answer: Annotated[str | None, Doc("Id of the script that was used.")]
    error: Annotated[str | None, Doc("The message of the error that was returned, at most 500 characters.")]
    warnings: Annotated[list[str], Doc("Codes of the response's headers `x-mock-warning`.")]
    container: Annotated[str | None, Doc("Name of the container that the request created, used or deleted.")]
    objects: Annotated[list[Change], Doc("The objects that it created, changed or deleted.")]
    aborted: Annotated[bool, Doc("Whether the response was not sent to its end.")]


class JournalPage(TypedDict):
    data: list[Exchange]
    has_more: Annotated[bool, Doc("Whether more follow, or with `last` whether there are older ones.")]
    total: Annotated[int | None, Doc("Number of exchanges that match, whatever the page.")]


class Count(TypedDict):
    count: int


class Finding(TypedDict):
    """A mistake of the client, with the numbers of the exchanges that prove it."""

    name: str
    message: str
    exchanges: list[int]


class Verdict(TypedDict):
    ok: Annotated[bool, Doc("Whether nothing was found.")]
    findings: list[Finding]
