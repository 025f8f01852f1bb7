"""Every setting, once: its name, type, default and help. Flags and environment follow from it."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from mockserver import profiles
from mockserver.choices import unknown
from mockserver.clock import parse_duration

ENVIRONMENT = "MOCKSERVER_"
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_LOG_LEVEL_ALIASES = {"warn": "warning", "fatal": "critical"}  # logging has them too


class SeedError(Exception):
    """A seed that can't be used: where, why, and what to do."""


def address(text: str) -> str:
    """An address or a name, without the spaces that may follow a comma in the environment."""
    given = text.strip()
    with suppress(ValueError):
        if re.fullmatch(r"[^\s/:\[\]]+", given) or ipaddress.IPv6Address(given):
            return given
    raise ValueError(f"{text!r} is not a host; give an address, such as 0.0.0.0 or ::1, or a name, without a port")


def port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65_536:
        return int(text)
    raise ValueError(f"{text!r} is not a port; give 0 (any free one) to 65535")


def size(text: str) -> int:
    """Bytes in `1048576`, `512MB` or `1g`; the units are powers of 1024."""
    if match := re.fullmatch(r"(\d{1,15})\s*([kmg]?)i?b?", text.strip(), re.IGNORECASE):
        return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]
    raise ValueError(f"{text!r} is not a size; give a number of bytes, or 512MB, 1GB")


def count(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000_000:
        return int(text)
    raise ValueError(f"{text!r} is not a count; give a whole number from 1")


def period(text: str) -> float:
    """Seconds in `90m`."""
    if (seconds := parse_duration(text)) > 0:
        return seconds
    raise ValueError(f"{text!r} is no time to wait; give a duration, as 2m or 90 (seconds)")


def lifetime(text: str) -> float:
    """Seconds in `90m`; endless in `never`."""
    return float("inf") if text == "never" else period(text)


def log_level(text: str) -> str:
    level = _LOG_LEVEL_ALIASES.get(text.lower(), text.lower())
    if level in LOG_LEVELS:
        return level
    raise ValueError(unknown("log level", text, LOG_LEVELS))


def key(text: str) -> str:
    if text and text.isascii() and text.isprintable() and " " not in text:
        return text
    raise ValueError("not a key or token; give printable ASCII without spaces")


def path(text: str) -> Path:
    if text:
        return Path(text)
    raise ValueError("an empty path; give the name of a file or directory")


def profile(text: str) -> str:
    profiles.read(text)
    return text


def _setting(default: Any, help: str, parse: Callable[[str], Any] = str, many: bool = False, shown: str = "") -> Any:
    """A field; `shown` is its default in words."""
    return field(default=default, metadata={"help": help, "parse": parse, "many": many, "shown": shown})


@dataclass(frozen=True, slots=True)
class Settings:
    host: tuple[str, ...] = _setting(
        ("127.0.0.1", "::1"),
        "Address to listen on; 0.0.0.0 and :: open the server to the network.",
        address,
        many=True,
        shown="127.0.0.1,::1",
    )
    port: int = _setting(8080, "Port to listen on; 0 takes a free one and prints it.", port, shown="8080")
    data: Path | None = _setting(
        None, "Directory that keeps everything; without it a temporary one that is removed at the end.", path
    )
    seed: tuple[Path, ...] = _setting(
        (), "Seed file, or directory of seed files or of plain files, that new worlds start from.", path, many=True
    )
    api_key: tuple[str, ...] = _setting((), "The only keys let in; without it any key is.", key, many=True)
    profile: profiles.Requested = _setting(
        "default",
        f"How to behave: {', '.join(profiles.PROFILES)}; with single switches as live,delete_lag=5m.",
        profile,
        shown="default",
    )
    max_upload: int = _setting(512 << 20, "Largest file that can be uploaded.", size, shown="512MB")
    max_body: int = _setting(80 << 20, "Largest JSON body; inline skills may take 67 MB each.", size, shown="80MB")
    body_timeout: float = _setting(
        120.0, "How long a request's body may stop, or be slower than --min-body-rate.", period, shown="2m"
    )
    min_body_rate: int = _setting(
        500, "Least rate of a request's body, in bytes a second; 0 sets none.", size, shown="500"
    )
    max_import: int = _setting(4 << 30, "Largest archive that can be imported, packed or unpacked.", size, shown="4GB")
    max_worlds: int = _setting(
        10_000, "How many worlds may exist at once, and besides them how many snapshots.", count, shown="10000"
    )
    world_ttl: float | None = _setting(
        None, "Worlds unused for so long make room for others, or none do; 1h where the data are temporary.", lifetime
    )
    journal_entries: int = _setting(
        10_000, "How many exchanges the journals of all worlds remember.", count, shown="10000"
    )
    journal_bytes: int = _setting(2 << 20, "How many bytes of headers and bodies they keep.", size, shown="2MB")
    max_streams: int = _setting(
        500, "How many event streams and waits of the control plane may be open at once.", count, shown="500"
    )
    control_token: str | None = _setting(None, "Token that the control plane asks for.", key)
    control_open: bool = _setting(False, "Open the control plane to the network without a token.", profiles.yes_or_no)
    allow_host: tuple[str, ...] = _setting(
        (), "Host name under which the control plane answers too.", address, many=True
    )
    id_seed: str = _setting(
        "mockserver", "What ids are derived from; another seed gives other ids.", shown="mockserver"
    )
    log_level: str = _setting(
        "warning", f"Least severe messages to log: {', '.join(LOG_LEVELS)}.", log_level, shown="warning"
    )

    @property
    def idle_seconds(self) -> float:
        """How long a world may be unused before it is retired."""
        if self.world_ttl is not None:
            return self.world_ttl
        return float("inf") if self.data else 3_600.0


class Options(TypedDict, total=False):
    """The settings as keyword arguments, for type checkers; a test compares it with `Settings`."""

    host: tuple[str, ...]
    port: int
    data: Path | None
    seed: tuple[Path, ...]
    api_key: tuple[str, ...]
    profile: profiles.Requested
    max_upload: int
    max_body: int
    body_timeout: float
    min_body_rate: int
    max_import: int
    max_worlds: int
    world_ttl: float | None
    journal_entries: int
    journal_bytes: int
    max_streams: int
    control_token: str | None
    control_open: bool
    allow_host: tuple[str, ...]
    id_seed: str
    log_level: str


def environment_name(setting: str) -> str:
    return ENVIRONMENT + setting.upper()


def flag(setting: str) -> str:
    return "--" + setting.replace("_", "-")


NAMES = [each.name for each in fields(Settings)]


def parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name from values that may be written as for the command line. Raises ValueError."""
    known = {each.name: each.metadata for each in fields(Settings)}

    def value(parse: Callable[[str], Any], given: Any) -> Any:
        if isinstance(given, list | tuple):
            return tuple(value(parse, each) for each in given)
        return parse(given) if isinstance(given, str) else given

    return {
        name: value(known[name]["parse"], [given] if known[name]["many"] and isinstance(given, str | Path) else given)
        for name, given in values.items()
    }


def url(host: str, port: int) -> str:
    """Where a client on this machine reaches a server that listens on `host`."""
    # A server on :: takes both families, or IPv4 alone on a machine without IPv6: localhost is what there is.
    host = {"0.0.0.0": "127.0.0.1", "::": "localhost", "127.0.0.1": "localhost"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
