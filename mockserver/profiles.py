"""Switches for behaviour on which reality and documentation disagree, and the named sets of them.

Each switch is told once, here: what it does, its default, what is known of the live API and how well.
The manual, `--help` and the control plane's description take it from here, or are compared with it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mockserver.choices import unknown
from mockserver.clock import duration
from mockserver.errors import Grade

MAX_MINUTES = 10 * 366 * 24 * 60
"""The longest expiry of a container: ten years."""

Value = bool | int | str
Asked = str | Mapping[str, Any]
"""`live`, `live,delete_lag=5m`, or a mapping of switches and `base`, a profile's name."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What is told of a switch. `takes` are its values in words; `read` raises ValueError."""

    name: str
    default: Value
    meaning: str
    takes: str
    read: Callable[[object], Value]
    grade: Grade
    evidence: str


def yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    told = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in told:
        return told[value.lower()]
    raise ValueError(f"{_cut(value)} is neither yes nor no")


def _one_of(*values: int | str) -> "Read":
    def read(value: object) -> int | str:
        for each in values:
            if str(value) == str(each):
                return each
        raise ValueError(unknown("value", value, values))

    return ", ".join(map(str, values)), read


def _minutes(value: object) -> int:
    text = str(value)
    if text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= MAX_MINUTES:
        return int(text)
    raise ValueError(f"{_cut(value)} is no whole number from 1 to {MAX_MINUTES}")


def _seconds(value: object) -> int:
    seconds = duration(value)
    if not 0 <= seconds <= MAX_MINUTES * 60 or seconds != int(seconds):
        raise ValueError(f"{_cut(value)} is no duration of whole seconds up to ten years")
    return int(seconds)


def _cut(value: object) -> str:
    return repr(value)[:80]


Read = tuple[str, Callable[[object], Value]]
"""The values of a switch in words, and what reads one from text, JSON or YAML."""

YES_OR_NO: Read = ("yes, no", yes_or_no)
MINUTES: Read = (f"1 to {MAX_MINUTES}", _minutes)
SECONDS: Read = ("a duration", _seconds)


def _switch(default: Value, meaning: str, grade: Grade, evidence: str, takes: Read = YES_OR_NO) -> Any:
    return field(default=default, metadata={"told": (default, meaning, *takes, grade, evidence)})


@dataclass(frozen=True, slots=True)
class Profile:
    """How a world behaves where there is more than one answer. A rule asks for its switch, never for a
    profile's name; a switch that is a yes lets in, or does, what its name says.
    """

    # What documentation in circulation shows, and the live API does not do

    max_minutes: int = _switch(
        MAX_MINUTES,
        "The largest `expires_after.minutes`; above 20 with a warning.",
        "probe",
        "20 was measured; older pages show 60 and 120.",
        MINUTES,
    )
    created_at_expiry: bool = _switch(
        True,
        "Take `expires_after` from `created_at`, or in `days`; it expires by that rule.",
        "doc",
        "Published: `last_active_at` and `minutes` alone; older pages show 7 days from `created_at`.",
    )
    file_id_alias: bool = _switch(
        True,
        "In a container, let the id of a copied File stand for its newest copy.",
        "seen",
        "An unknown id is 404; older pages use the File's.",
    )
    before_cursor: bool = _switch(
        True,
        "Lists take `before`, for the page in front of an object; else it is ignored, as unknown query keys are.",
        "stack",
        "Not in the published description; older pages list it.",
    )
    expiry_unasked: bool = _switch(
        True,
        "A container made without `expires_after` expires after 20 unused minutes; else never, and shows no rule.",
        "seen",
        "20 minutes in every recording; older pages say that it persists until it is deleted.",
    )
    older_fields: bool = _switch(
        False,
        "Show `expires_at` and `file_count` of containers, and `file_id` of copied Files in them.",
        "seen",
        "In no recording; on older pages.",
    )
    running_status: str = _switch(
        "running",
        "The `status` of a container that has not expired.",
        "seen",
        "`running` in every recording; the published description says `active`.",
        _one_of("running", "active"),
    )

    # What clients made for other servers send

    azure_any_version: bool = _switch(
        True,
        "On Azure's paths, take any `api-version` or none.",
        "doc",
        "Published: none, `v1` or `preview` under `/openai/v1`, a dated one under `/openai`.",
    )
    litellm_keys: bool = _switch(
        True,
        "Ignore `custom_llm_provider` and `model` in a body, which are for a LiteLLM proxy.",
        "stack",
        "Sibling routes refuse unknown keys; a proxy doesn't pass them on.",
    )

    # What nobody knows of the live API, or what it does at times

    file_routes_when_expired: int = _switch(
        400,
        "Status of an expired container's file routes.",
        "guess",
        "Clients handle all three.",
        _one_of(400, 404, 410),
    )
    expired_replaced: bool = _switch(
        False,
        "File routes of an expired container go to a new, empty one that takes its place; answers name the new one.",
        "guess",
        "Users met containers that appeared silently.",
    )
    expired_listed: bool = _switch(
        True,
        "Lists of containers show expired ones.",
        "seen",
        "They stayed listed for months.",
    )
    listing_prolongs: bool = _switch(
        False,
        "A list counts as activity of the running containers that it shows.",
        "guess",
        "Lists show all as just active (seen); whether that prolongs their life, nobody has shown.",
    )
    delete_lag: int = _switch(
        0,
        "For so long, by the world's clock, lists still show what was deleted.",
        "probe",
        "Containers were listed for minutes after their deletion, at times.",
        SECONDS,
    )
    id_prefixes: bool = _switch(
        False,
        "Refuse an unknown id in a path with 400 if it doesn't begin with `cntr`, `cfile` or `file`; else 404.",
        "stack",
        "Sibling routes refuse by the prefix; containers answer ids of other shapes.",
    )
    unknown_keys: bool = _switch(
        False,
        "Ignore keys and fields of a body that the API doesn't know, instead of refusing them.",
        "stack",
        "Sibling routes refuse them.",
    )
    private_downloads: bool = _switch(
        False,
        "Let Files of purpose `user_data` and `assistants` be downloaded.",
        "probe",
        "Refused with 400.",
    )

    # What the generated test suites of the SDKs send, and expect to work

    any_id: bool = _switch(
        False,
        "What a path or `file_ids` names and isn't there is made at that moment; so deleting always succeeds.",
        "seen",
        "404 for what nobody created.",
    )
    any_cursor: bool = _switch(
        False,
        "Ignore an `after` or `before` that names nothing in the list.",
        "guess",
        "Wrong prefixes are refused on sibling routes; the rest nobody has shown.",
    )
    zeros: bool = _switch(
        False,
        "Take `limit=0`, an empty page, and `minutes: 0`, which never expires.",
        "stack",
        "Sibling routes refuse what is below the minimum.",
    )
    any_file_form: bool = _switch(
        False,
        "Take a container file with neither `file` nor `file_id`, an empty one, or with both, of which `file` counts.",
        "guess",
        "Nobody has shown what the live API answers.",
    )


DEFAULT = Profile()
LIVE = replace(
    DEFAULT,
    max_minutes=20,
    created_at_expiry=False,
    file_id_alias=False,
    before_cursor=False,
    azure_any_version=False,
    litellm_keys=False,
)
DOCS = replace(DEFAULT, expiry_unasked=False, older_fields=True, running_status="active")
CONTRACT = replace(DEFAULT, any_id=True, any_cursor=True, zeros=True, any_file_form=True)

PROFILES = {"default": DEFAULT, "live": LIVE, "docs": DOCS, "contract": CONTRACT}


SWITCHES = {each.name: Switch(each.name, *each.metadata["told"]) for each in fields(Profile)}


def read(asked: object, server: Profile = DEFAULT) -> Profile:
    """The profile that is asked for, see `Asked`; without a base that of the server.

    Raises ValueError, which says what there is.
    """
    if isinstance(asked, str):
        base, switches = _parsed(asked)
    elif isinstance(asked, Mapping):
        switches = {str(name): value for name, value in asked.items()}
        base = switches.pop("base", None)
    else:
        raise ValueError(f"write a profile's name, {', '.join(PROFILES)}, or a mapping of `base` and switches")
    if base is not None and (not isinstance(base, str) or base not in PROFILES):
        raise ValueError(unknown("profile", base, PROFILES))
    changes: dict[str, Any] = {name: _value(name, value) for name, value in switches.items()}
    return replace(server if base is None else PROFILES[base], **changes)


def _parsed(text: str) -> tuple[str | None, dict[str, Any]]:
    base, switches = None, {}
    for place, part in enumerate(text.split(",")):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals and place == 0:
            base = name
        elif not equals:
            raise ValueError(f"{_cut(name)} has no value; write a switch behind a profile as in live,delete_lag=5m")
        elif name in switches:
            raise ValueError(f"{_cut(name)} is set twice")
        else:
            switches[name] = value
    return base, switches


def _value(name: str, value: object) -> Value:
    if name not in SWITCHES:
        raise ValueError(unknown("switch", name, SWITCHES))
    try:
        return SWITCHES[name].read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def worded(value: Value) -> str:
    """A switch's value as it is written."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def told(profile: Profile) -> str | dict[str, Value]:
    """A profile as `read` takes it: its name, or the nearest that has one and the switches that differ."""

    def changes(base: Profile) -> dict[str, Value]:
        return {name: getattr(profile, name) for name in SWITCHES if getattr(profile, name) != getattr(base, name)}

    base = min(PROFILES, key=lambda name: len(changes(PROFILES[name])))
    switches = changes(PROFILES[base])
    return {"base": base, **switches} if switches else base


def in_words(profile: Profile) -> str:
    """A profile as the command line takes it: `live,delete_lag=300`."""
    asked = told(profile)
    if isinstance(asked, str):
        return asked
    return ",".join([str(asked.pop("base")), *(f"{name}={worded(value)}" for name, value in asked.items())])


def kept(text: str) -> Profile:
    """What `told` gave as JSON, perhaps to a version that had other switches."""
    asked = json.loads(text)
    if isinstance(asked, dict):
        asked = {name: value for name, value in asked.items() if name == "base" or name in SWITCHES}
    return read(asked)


@dataclass(frozen=True, slots=True)
class Warned:
    """What an answer warns of, and the switch that let it in: fixed words, so that nothing of a client's
    gets into a header."""

    code: str
    live: str
    switch: str

    def __str__(self) -> str:
        return f"{self.code}: {self.live}"


MINUTES_BEYOND_LIMIT = Warned(
    "minutes-beyond-limit", "the live API refuses expires_after.minutes above 20", "max_minutes"
)
CREATED_AT_EXPIRY = Warned(
    "created-at-expiry", "the live API takes expires_after only as last_active_at and minutes", "created_at_expiry"
)
FILE_ID_ALIAS = Warned(
    "file-id-alias", "the live API answers 404 to a File's id here; use the container file's own id", "file_id_alias"
)
BEFORE_CURSOR = Warned("before-cursor", "the live API has no `before`, and ignores it", "before_cursor")
EXPIRED_REPLACED = Warned(
    "expired-replaced", "the container has expired, and a new one took its place", "expired_replaced"
)
UNKNOWN_KEY = Warned("unknown-key", "the live API refuses a key of this body as unknown", "unknown_keys")
PRIVATE_DOWNLOAD = Warned(
    "private-download", "the live API refuses to download Files of this purpose", "private_downloads"
)
ANY_ID = Warned("any-id", "the live API answers 404 to an id that nobody created", "any_id")
ANY_CURSOR = Warned("any-cursor", "the live API refuses a cursor that names nothing", "any_cursor")
ZERO = Warned("zero", "the live API refuses 0 here, as below the minimum of 1", "zeros")
ANY_FILE_FORM = Warned("any-file-form", "the live API wants either file or file_id", "any_file_form")
AZURE_ANY_VERSION = Warned(
    "azure-any-version",
    "Azure takes v1, preview or no api-version under /openai/v1, and a dated one under /openai",
    "azure_any_version",
)
LITELLM_KEYS = Warned(
    "litellm-keys",
    "only a LiteLLM proxy knows custom_llm_provider and model; the live API refuses them",
    "litellm_keys",
)

WARNINGS = {value.code: value for value in list(globals().values()) if isinstance(value, Warned)}
