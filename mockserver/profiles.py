"""Switches for behaviour on which reality and documentation disagree, and the named sets of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """What a world lets in. A rule asks for its switch, never for a profile's name."""

    minutes_beyond_limit: bool = True
    """Take `expires_after.minutes` above the live API's 20."""
    created_at_expiry: bool = True
    """Take `expires_after` with the anchor `created_at`, or in `days`."""
    file_id_alias: bool = True
    """In a container, let the id of a copied File stand for its newest copy."""
    azure_any_version: bool = True
    """Take any `api-version` on Azure's paths, or none."""
    litellm_keys: bool = True
    """Ignore what tells a LiteLLM proxy where to go: `custom_llm_provider` and `model` in a body."""


PROFILES = {
    "default": Profile(),
    "live": Profile(
        minutes_beyond_limit=False,
        created_at_expiry=False,
        file_id_alias=False,
        azure_any_version=False,
        litellm_keys=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Warned:
    """What an answer warns of: fixed words, so that nothing of a client's gets into a header."""

    code: str
    live: str

    def __str__(self) -> str:
        return f"{self.code}: {self.live}"


MINUTES_BEYOND_LIMIT = Warned("minutes-beyond-limit", "the live API refuses expires_after.minutes above 20")
CREATED_AT_EXPIRY = Warned("created-at-expiry", "the live API takes expires_after only as last_active_at and minutes")
FILE_ID_ALIAS = Warned("file-id-alias", "the live API answers 404 to a File's id here; use the container file's own id")
AZURE_ANY_VERSION = Warned(
    "azure-any-version", "Azure takes v1, preview or no api-version under /openai/v1, and a dated one under /openai"
)
LITELLM_KEYS = Warned(
    "litellm-keys", "only a LiteLLM proxy knows custom_llm_provider and model; the live API refuses them"
)
