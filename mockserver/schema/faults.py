"""The format of fault rules: which requests match, how often a rule fires, and what it does."""

import json
import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from mockserver.choices import NAME, unknown, valid_name
from mockserver.clock import duration
from mockserver.schema.values import STORED, Count, ErrorName, Part, Seconds, Times, not_negative

OPERATIONS = (
    "ListContainers", "CreateContainer", "RetrieveContainer", "DeleteContainer",
    "CreateContainerFile", "ListContainerFiles", "RetrieveContainerFile", "RetrieveContainerFileContent",
    "DeleteContainerFile",
    "ListFiles", "CreateFile", "DeleteFile", "RetrieveFile", "DownloadFile",
    "CreateUpload", "AddUploadPart", "CompleteUpload", "CancelUpload",
    "CreateSkill", "ListSkills", "RetrieveSkill", "UpdateSkill", "DeleteSkill", "RetrieveSkillContent",
    "CreateSkillVersion", "ListSkillVersions", "RetrieveSkillVersion", "DeleteSkillVersion",
    "RetrieveSkillVersionContent",
    "CreateResponse", "GetResponse", "DeleteResponse", "CancelResponse", "ListInputItems",
)  # fmt: skip
"""The operations of each resource, in the order of the API reference."""
LISTS = frozenset(name for name in OPERATIONS if name.startswith("List"))
METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(OPERATIONS, ("POST",)),
    **{name: ("GET", "HEAD") for name in OPERATIONS if name.startswith(("List", "Retrieve", "Get", "Download"))},
    **{name: ("DELETE",) for name in OPERATIONS if name.startswith("Delete")},
}
Method = Literal["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]
IDS = {
    "container": frozenset(name for name in OPERATIONS if "Container" in name) - {"ListContainers", "CreateContainer"},
    "file": frozenset(name for name in OPERATIONS if "File" in name)
    - {"CreateContainerFile", "ListContainerFiles", "CreateFile", "ListFiles"},
}
"""The operations with the id of a container or of a file in their path."""
HEADER = "header"
"""The id that stands for a fault that a request brought in a header."""

MAX_HEADERS = 50
MAX_LATENCY = 600.0
MAX_BODY = 64 * 1024
"""Bytes of JSON."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,2000}")
_PREFIX = re.compile(r"(/w/[^/]+)?(/openai)?(/v1)?(?![\w-])")
_FRAMING = {"content-length", "transfer-encoding"}


class _Part(Part):
    model_config = ConfigDict(allow_inf_nan=False, defer_build=False)  # a route's body alone can't be built later


def _operation(pattern: str) -> str:
    if not any(is_like(operation, pattern) for operation in OPERATIONS):
        raise ValueError(unknown("operation", pattern, OPERATIONS))
    return pattern


def is_like(operation: str, pattern: str) -> bool:
    return fnmatchcase(operation.lower(), pattern.lower())


def _method(method: object) -> object:
    return method.upper() if isinstance(method, str) else method


def _path(pattern: str, info: ValidationInfo) -> str:
    if pattern[:1] not in ("/", "*"):
        raise ValueError(f"{pattern[:80]!r} matches no path; write it like /containers/*, without /v1")
    if info.context != STORED and (prefix := _PREFIX.match(pattern)) and prefix[0]:
        rest = pattern[prefix.end() :][:80] or "/*"
        raise ValueError(f"{pattern[:80]!r} matches no path; write {rest}, without {prefix[0][:80]}")
    return pattern


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name[:80]!r} can't be sent as a header with that value")
        if name.lower() in _FRAMING:
            raise ValueError(
                f"{name} is set from the body; use truncate_after for a body that is shorter than announced"
            )
    return headers


def _few(headers: object) -> object:
    """Reject too many headers before each is validated."""
    if isinstance(headers, dict) and len(headers) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers are allowed")
    return headers


Text = Annotated[str, Field(max_length=1_000)]
Headers = Annotated[dict[str, str], Field(max_length=MAX_HEADERS), AfterValidator(_headers), BeforeValidator(_few)]


def _bounded(body: Any) -> Any:
    try:
        size = len(json.dumps(body, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair can't be sent; remove its \\u escape") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if size > MAX_BODY:
        raise ValueError(f"at most {MAX_BODY} bytes are allowed")
    return body


class Latency(_Part):
    """A delay: one duration, or a `min` and a `max` between which it is drawn."""

    min: Seconds
    """Shortest delay."""
    max: Seconds
    """Longest delay."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is greater than max")
        if self.max > MAX_LATENCY:
            raise ValueError(f"at most {MAX_LATENCY:g} seconds are allowed")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, both: SerializerFunctionWrapHandler) -> Any:
        return self.min if self.min == self.max else both(self)


def _one_or_two(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        return value
    seconds = not_negative(duration(value))
    return {"min": seconds, "max": seconds}


Delay = Annotated[Latency, BeforeValidator(_one_or_two, json_schema_input_type=str | float | Latency)]


class RateLimit(_Part):
    """How many requests pass in each window of the world's time."""

    requests: Count
    """How many requests pass in a window."""
    per: Annotated[Seconds, Field(gt=0)]
    """Length of a window."""


class Effect(_Part):
    """What happens to a request. All given effects apply to the same request."""

    error: ErrorName | None = None
    """Name of an error in the manual's list, such as `rate_limited`."""
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Any status, in place of the error's; from 400 on with an error envelope unless `body` is given."""
    body: Annotated[Any, AfterValidator(_bounded)] = None
    """Any body: JSON, or text as it is; with status 200 unless `status` is given."""
    headers: Headers = {}
    """Headers of the response; they replace its own of the same names."""
    retry_after: Seconds | None = None
    """The header `Retry-After`, in seconds; with an error, a status or a rate limit."""
    latency: Delay | None = None
    """Real time to wait before anything else, at most ten minutes; drawn at random from `{min, max}`."""
    drop: Literal["before_answer"] | None = None
    """`before_answer`: close the connection without a response; the operation does nothing."""
    reset_after: Count | None = None
    """Number of bytes of the body after which the connection is reset."""
    truncate_after: Count | None = None
    """Number of bytes of the body after which the connection is closed, though `Content-Length` promised more."""
    dribble: Times | None = None
    """Number of bytes of the body to send each second."""
    abort_upload_after: Count | None = None
    """Number of bytes of the request's body after which the connection is reset (POST only)."""
    rate_limit: RateLimit | None = None
    """`{requests, per}`: number of requests that pass in each window of the world's time; others get `rate_limited`
    with `Retry-After`."""
    stale_list: Seconds | None = None
    """Duration of the world's time for which deleted objects are still listed (lists only)."""
    has_more: Literal[True] | None = None
    """`true`: every page has `has_more: true` (lists only)."""
    empty_page: Literal[True] | None = None
    """`true`: every page is empty and says that more follow (lists only)."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        given = self.model_fields_set
        if not given or (self.model_dump(exclude_defaults=True) == {} and "body" not in given):
            raise ValueError("it has no effect; give at least one")
        if "retry_after" in given and not self.answers and self.rate_limit is None:
            raise ValueError("retry_after needs an error, a status or a rate_limit")
        if self.status in (204, 304) and {"body", "error"} & given:
            raise ValueError(f"a response of status {self.status} has no body; remove error and body")
        for one, others in _EXCLUSIVE:
            if one & given and others & given:
                raise ValueError(f"{min(one & given)} and {min(others & given)} exclude each other; remove one")
        return self

    @property
    def answers(self) -> bool:
        """Whether it returns a response instead of the operation's."""
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
    """Which requests match a rule: those that match all of its keys. Patterns take `*`, `?` and `[…]`."""

    operation: Annotated[str, Field(max_length=100), AfterValidator(_operation)] | None = None
    """Operation id of the API, or a pattern: `CreateContainer`, `List*`."""
    method: Annotated[Method, BeforeValidator(_method)] | None = None
    """Method of the request, such as `GET`."""
    path: Annotated[Text, AfterValidator(_path)] | None = None
    """Pattern of the path, without world and `/v1`: `/containers/*/files`."""
    container: Text | None = None
    """Id of the container in the path."""
    file: Text | None = None
    """Id of the file in the path."""
    header: Annotated[dict[str, Text], Field(max_length=20), BeforeValidator(_few)] = {}
    """Headers of the request, each with a pattern of its value."""


_EVERYTHING = Match.model_validate({})


def _id(id: object) -> object:
    return valid_name(id) if isinstance(id, str) else id


class NewRule(_Part):
    """A rule as it is given by a client."""

    id: Annotated[str, Field(pattern=rf"^{NAME}$"), BeforeValidator(_id)] | None = None
    """Name of the rule; generated by default."""
    match: Match = _EVERYTHING
    """Which requests it matches; all by default."""
    skip: Count = 0
    """Number of matching requests to let pass first."""
    times: Times | None = None
    """Number of times that it fires; unlimited by default."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability of 0 to 1 that it fires; drawn from the world's id seed, so the same on every run."""
    concurrent: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Number of matching requests in progress from which it applies; each of them takes at least a tenth of a
    second, so that those that are sent together overlap."""
    lapse_after: Annotated[Seconds, Field(gt=0)] | None = None
    """Duration after which it ends, by the world's clock."""
    enabled: bool = True
    """False disables it: it is not tried, and keeps its counts."""
    effect: Effect
    """What it does."""

    @model_validator(mode="after")
    def _nameable(self) -> Self:
        if self.id == HEADER:
            raise ValueError(f"the id {HEADER!r} is reserved for faults in a request's header; choose another")
        return self

    @model_validator(mode="after")
    def _can_fire(self, info: ValidationInfo) -> Self:
        wanted = self.match.model_dump(exclude_none=True, include={"operation", "method", *IDS})
        effects = self.effect.model_fields_set & {*_LISTS, "abort_upload_after"}
        can_fire = any(map(self._fits, OPERATIONS)) or (not effects and wanted.keys() <= {"method"})  # at unknown paths
        if not can_fire and info.context != STORED:
            given = ", ".join([*(f"{name} {value}" for name, value in wanted.items()), *sorted(effects)])
            raise ValueError(f"it can never fire, as no operation fits all of: {given}; remove one of them")
        return self

    def _fits(self, operation: str) -> bool:
        match = self.match
        return (
            (match.operation is None or is_like(operation, match.operation))
            and match.method in (None, *METHODS[operation])
            and (match.container is None or operation in IDS["container"])
            and (match.file is None or operation in IDS["file"])
            and (not self.effect.lists or operation in LISTS)
            and (self.effect.abort_upload_after is None or "POST" in METHODS[operation])
        )
