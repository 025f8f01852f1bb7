"""Switches for behaviour on which reality and documentation disagree, and the named sets of them.

Each switch is described once, here: what it does, its default, what is known about the live API and how well.
The manual, `--help` and the control plane's description use this text or are compared with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mockserver.choices import unknown
from mockserver.switches import MAX_MINUTES as MAX_MINUTES
from mockserver.switches import MINUTES, SECONDS, Switch, Value, cut, one_of, switch
from mockserver.switches import yes_or_no as yes_or_no

Requested = str | Mapping[str, Any]
"""`live`, `live,delete_lag=5m`, or a mapping of switches and `base`, a profile's name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a world behaves where more than one behavior is known. Rules check a switch, never a profile's name.

    A switch that is on allows, or does, what its name says.
    """

    # What existing documentation shows and the live API does not do

    max_minutes: int = switch(
        MAX_MINUTES,
        "The largest `expires_after.minutes`; more than 20 adds a warning.",
        "probe: 20 was measured; older pages show 60 and 120.",
        MINUTES,
    )
    created_at_expiry: bool = switch(
        True,
        "Accept `expires_after` with the anchor `created_at`, or in `days`, and apply it.",
        "doc: Published: `last_active_at` and `minutes` alone; older pages show 7 days from `created_at`.",
    )
    file_id_alias: bool = switch(
        True,
        "In a container, accept the id of a copied File for its newest copy.",
        "seen: An unknown id is 404; older pages use the File's.",
    )
    before_cursor: bool = switch(
        True,
        "Lists of objects accept `before`, for the page before an object; otherwise they ignore it, like unknown query keys.",
        "stack: Not in the published description; older pages list it.",
    )
    expiry_unasked: bool = switch(
        True,
        "A container created without `expires_after` expires after 20 unused minutes; otherwise never, and it shows no rule.",
        "seen: 20 minutes in every recording; older pages say that it exists until it is deleted.",
    )
    older_fields: bool = switch(
        False,
        "Show `expires_at` and `file_count` of containers, and `file_id` of copied Files in them.",
        "seen: In no recording; on older pages.",
    )
    running_status: str = switch(
        "running",
        "The `status` of a container that has not expired.",
        "seen: `running` in every recording; the published description says `active`.",
        one_of("running", "active"),
    )

    # What clients that were written for other servers send

    azure_any_version: bool = switch(
        True,
        "On Azure's paths, accept any `api-version` or none.",
        "doc: Published: none, `v1` or `preview` under `/openai/v1`, a dated one under `/openai`.",
    )
    litellm_keys: bool = switch(
        True,
        "Ignore `custom_llm_provider`, `model` and `target_model_names` in a body, which are meant for a LiteLLM proxy.",
        "stack: Sibling routes reject unknown keys; a proxy doesn't pass them on.",
    )

    text_as_file: bool = switch(
        True,
        "Add a container file from JSON whose `file` is text, which the official command line client sends.",
        "stack: Published: a form; sibling routes reject unknown keys of JSON.",
    )

    # What is not known about the live API, or what it does only sometimes

    file_routes_when_expired: int = switch(
        404,
        "Status that the file routes of an expired container return.",
        "doc: Published: 404, not found or expired. A run that uses the container gets 400 (seen).",
        one_of(400, 404, 410),
    )
    expired_replaced: bool = switch(
        False,
        "File routes of an expired container use a new, empty one that replaces it; responses name the new one.",
        "guess: Users met containers that appeared silently.",
    )
    expired_listed: bool = switch(
        True, "Lists of containers show expired ones.", "seen: They stayed listed for months."
    )
    listing_prolongs: bool = switch(
        False,
        "Listing a running container counts as activity.",
        "guess: Lists show all as just active (seen); whether that postpones their expiry is not known.",
    )
    delete_lag: int = switch(
        0,
        "How long, by the world's clock, lists still show deleted objects.",
        "probe: Containers were sometimes listed for minutes after their deletion.",
        SECONDS,
    )
    create_lag: int = switch(
        0,
        "How long, by the world's clock, lists don't show a new container yet.",
        "probe: A new container was missing from the list for some seconds (one report).",
        SECONDS,
    )
    id_prefixes: bool = switch(
        False,
        "Return 400 for an unknown id in a path that doesn't begin with the prefix of its kind, such as `cntr`; otherwise 404.",
        "stack: Sibling routes reject by the prefix; container routes respond to ids of other forms.",
    )
    unknown_keys: bool = switch(
        False,
        "Ignore unknown keys and fields of a body instead of rejecting them.",
        "stack: Sibling routes reject them.",
    )
    private_downloads: bool = switch(
        False, "Allow downloads of Files with purpose `user_data` or `assistants`.", "probe: Rejected with 400."
    )

    new_skill_lag: int = switch(
        0,
        "How long, by the world's clock, lists do not show a new skill or skill version.",
        "seen: A new skill was missing in the list for about a second, twice of two.",
        SECONDS,
    )
    malformed_skill_cursor: int = switch(
        404,
        "Status that a list of skills returns for an `after` that does not begin with `skill_`.",
        "probe: 500, twice; a list of versions returns 400.",
        one_of(404, 500),
    )
    folded_inline_skills: bool = switch(
        True,
        "Accept an inline skill whose description is written on several lines in its SKILL.md, as YAML allows.",
        "probe: Rejected in one measurement, as if front matter were read line by line; creating a skill accepts it.",
    )

    # Runs of `/responses`

    unscripted: str = switch(
        "default",
        "What a run does for which no script was given: `default` writes the files that the prompt names, `echo` only "
        "repeats the prompt, `refuse` returns 400.",
        "guess: There is no model.",
        one_of("default", "echo", "refuse"),
    )
    auto_expired: str = switch(
        "refuse",
        "What a run in an automatic container of an earlier turn does when that has expired: `refuse` returns 400, "
        "`replace` creates another one.",
        "seen: 400 in 2025 and 2026; the guide reads as if it were replaced.",
        one_of("refuse", "replace"),
    )
    auto_lazy: bool = switch(
        False,
        "A run creates its automatic container at its first call; otherwise before, even if it makes no call.",
        "seen: A container was older than the message before the first call.",
    )
    flat_error_events: bool = switch(
        False,
        "The error event of a stream has its fields at the top; otherwise under `error`.",
        "seen: Nested in every recording; flat in the published description.",
    )
    background_outputs: bool = switch(
        True,
        "Runs in the background show the outputs of calls when `include` asks for them; otherwise an empty list.",
        "seen: Users saw an empty list in 2026.",
    )
    stream_minutes: int = switch(
        MAX_MINUTES,
        "Minutes after which a stream in the background can no longer be resumed.",
        "seen: 400 after 5 minutes was reported.",
        MINUTES,
    )
    kept_alive: bool = switch(
        True,
        "A run completes although its container expires in the middle of a step; otherwise it fails there.",
        "guess: Nobody has shown whether a running call keeps its container alive.",
    )

    # What the generated test suites of the SDKs send and expect to succeed

    any_id: bool = switch(
        False,
        "Create a missing object when a path, `file_ids`, `skills` or `previous_response_id` names it, and a new upload for one that has ended; so deleting and completing always succeed.",
        "seen: 404 for objects that were never created.",
    )
    any_cursor: bool = switch(
        False,
        "Ignore an `after` or `before` that names no object of the list.",
        "guess: Sibling routes reject wrong prefixes; the rest is not known.",
    )
    zeros: bool = switch(
        False,
        "Accept `limit=0`, which returns an empty page, and `minutes: 0`, which never expires.",
        "stack: Sibling routes reject values below the minimum.",
    )
    any_file_form: bool = switch(
        False,
        "Accept a container file with neither `file` nor `file_id`, which is empty, or with both, of which `file` is used.",
        "guess: What the live API returns is not known.",
    )

    any_md5: bool = switch(
        False,
        "Ignore the `md5` with which an upload is completed.",
        "guess: Published: it is compared with the content.",
    )
    any_skill: bool = switch(
        False,
        "Accept a skill whose files are missing or no skill; a placeholder is created.",
        "doc: 400 for files that are no skill.",
    )
    any_run: bool = switch(
        False,
        "Accept a run without a model or an input, or with both `previous_response_id` and `conversation`; cancel and stream responses that are not in the background.",
        "doc: 400 for each of them.",
    )

    # What is configured with a base URL that isn't quite the API's

    bare_paths: bool = switch(
        True,
        "Take paths without `/v1`, from a base URL that lacks it; else 404, as for an unknown URL.",
        "stack: Published paths begin with `/v1`; an unknown route is 404 `Invalid URL` (seen on other paths).",
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
    text_as_file=False,
    bare_paths=False,
)
DOCS = replace(DEFAULT, expiry_unasked=False, older_fields=True, running_status="active")
CONTRACT = replace(
    DEFAULT,
    any_id=True,
    any_cursor=True,
    zeros=True,
    any_file_form=True,
    any_md5=True,
    any_skill=True,
    any_run=True,
)

PROFILES = {"default": DEFAULT, "live": LIVE, "docs": DOCS, "contract": CONTRACT}


SWITCHES = {each.name: Switch(each.name, *each.metadata["switch"]) for each in fields(Profile)}


def read(requested: object, server: Profile = DEFAULT) -> Profile:
    """Return the requested profile, see `Requested`; without a base the switches change that of the server.

    Raises ValueError, whose message names the choices.
    """
    if isinstance(requested, str):
        base, switches = parsed(requested)
    elif isinstance(requested, Mapping):
        switches = {str(name): value for name, value in requested.items()}
        base = switches.pop("base", None)
    else:
        raise ValueError(f"write a profile's name, {', '.join(PROFILES)}, or a mapping of `base` and switches")
    if base is not None and (not isinstance(base, str) or base not in PROFILES):
        raise ValueError(unknown("profile", base, PROFILES))
    changes: dict[str, Any] = {name: _value(name, value) for name, value in switches.items()}
    return replace(server if base is None else PROFILES[base], **changes)


def parsed(text: str) -> tuple[str | None, dict[str, Any]]:
    """Return the base, if there is one, and the switches of a profile as it is written on the command line."""
    base, switches = None, {}
    for place, part in enumerate(text.split(",")):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals and place == 0:
            base = name
        elif not equals:
            raise ValueError(f"{cut(name)} has no value; write switches after a profile, as in live,delete_lag=5m")
        elif name in switches:
            raise ValueError(f"{cut(name)} is set twice")
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
    """Return a switch's value as it is written on the command line."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def as_json(profile: Profile) -> str | dict[str, Value]:
    """Return a profile as `read` takes it: its name, or the most similar named one and the switches that differ."""

    def changes(base: Profile) -> dict[str, Value]:
        return {name: getattr(profile, name) for name in SWITCHES if getattr(profile, name) != getattr(base, name)}

    base = min(PROFILES, key=lambda name: len(changes(PROFILES[name])))
    switches = changes(PROFILES[base])
    return {"base": base, **switches} if switches else base


def in_words(profile: Profile) -> str:
    """Return a profile as the command line takes it: `live,delete_lag=300`."""
    written = as_json(profile)
    if isinstance(written, str):
        return written
    return ",".join([str(written.pop("base")), *(f"{name}={worded(value)}" for name, value in written.items())])


def from_json(text: str) -> Profile:
    """Parse what `as_json` returned, without the switches that only another version has."""
    written = json.loads(text)
    if isinstance(written, dict):
        written = {name: value for name, value in written.items() if name == "base" or name in SWITCHES}
    return read(written)


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning of a response, and the switch that allowed the request.

    The text is fixed, so that nothing a client sent gets into a header.
    """

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
    "expired-replaced", "the container has expired and was replaced by a new one", "expired_replaced"
)
UNKNOWN_KEY = Warned("unknown-key", "the live API rejects a key of this body as unknown", "unknown_keys")
PRIVATE_DOWNLOAD = Warned(
    "private-download", "the live API rejects downloads of Files with this purpose", "private_downloads"
)
ANY_ID = Warned("any-id", "the live API returns 404 for an id that was never created", "any_id")
ANY_CURSOR = Warned("any-cursor", "the live API rejects a cursor that names no object", "any_cursor")
ZERO = Warned("zero", "the live API rejects 0 here; the minimum is 1", "zeros")
ANY_FILE_FORM = Warned("any-file-form", "the live API requires either file or file_id", "any_file_form")
ANY_MD5 = Warned("any-md5", "the live API rejects an md5 that differs from the content's", "any_md5")
ANY_SKILL = Warned("any-skill", "the live API rejects files that are no skill", "any_skill")
ANY_RUN = Warned("any-run", "the live API rejects this", "any_run")
AZURE_ANY_VERSION = Warned(
    "azure-any-version",
    "Azure accepts v1, preview or no api-version under /openai/v1, and a dated one under /openai",
    "azure_any_version",
)
LITELLM_KEYS = Warned(
    "litellm-keys",
    "only a LiteLLM proxy knows custom_llm_provider, model, target_model_names; the live API rejects them",
    "litellm_keys",
)

TEXT_AS_FILE = Warned(
    "text-as-file", "the live API takes a file in a form (multipart/form-data), not in JSON", "text_as_file"
)

WARNINGS = {value.code: value for value in list(globals().values()) if isinstance(value, Warned)}
