"""The environment variables by which OpenAI clients find a mock server and nothing else."""

from collections.abc import Mapping


def client_environment(given: Mapping[str, str], base_url: str, api_key: str) -> dict[str, str | None]:
    """Return the variables to set, and with None those to remove, so that clients reach `base_url`.

    Azure's variables go, because the `openai` package prefers Azure when it sees them. Proxies stay in
    use for other hosts.
    """
    changes: dict[str, str | None] = {name: None for name in given if name.startswith("AZURE_OPENAI_")}
    changes |= {"OPENAI_API_TYPE": None, "OPENAI_API_VERSION": None}
    changes |= {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": api_key}
    if "OPENAI_API_BASE" in given:  # the name in older clients, which some prefer
        changes["OPENAI_API_BASE"] = base_url
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        direct = (given.get(name) or given.get(other) or "").split(",")
        changes[name] = ",".join(dict.fromkeys([*filter(None, direct), "localhost", "127.0.0.1"]))
    return changes
