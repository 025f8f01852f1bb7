"""The settings: name, type, default and help of each. Flags and environment variables are derived from them."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, TypedDict, get_args, get_origin

from mockserver import profiles
from mockserver.choices import unknown
from mockserver.clock import parse_duration

ENVIRONMENT = "MOCKSERVER_"
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_LOG_LEVEL_ALIASES = {"warn": "warning", "fatal": "critical"}  # logging has them too


class SeedError(Exception):
    """A seed is invalid; the message says where, why, and what to do."""


def address(text: str) -> str:
    """Parse an address or host name; spaces may follow a comma in the environment."""
    given = text.strip()
    with suppress(ValueError):
        # Looking up a name that can't be encoded, such as one with more than 63 characters in a row, fails differently.
        if (re.fullmatch(r"[^\s/:\[\]\0]+", given) and given.encode("idna")) or ipaddress.IPv6Address(given):
            return given
    raise ValueError(f"{text[:80]!r} is not a host; give an address, such as 0.0.0.0 or ::1, or a name, without a port")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_pattern(text: str) -> str:
    """Parse a host name, in which each `*` stands for any text."""
    try:
        return address(text.replace("*", "x")) and text.strip().lower().rstrip(".")
    except ValueError:
        raise ValueError(
            f"{text!r} is not a host name; give one like mock.example.test, or a pattern like *.example.test, without a port"
        ) from None


def path_prefix(text: str) -> str:
    if re.fullmatch(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+/?", text):
        return text.rstrip("/")
    raise ValueError(f"{text!r} is not the path of a proxy; write it like /mock or /proxy/8080")


def port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65_536:
        return int(text)
    raise ValueError(f"{text!r} is not a port; give 0 (any free one) to 65535")


def size(text: str) -> int:
    """Parse a number of bytes: `1048576`, `512MB` or `1g`. Units are powers of 1024."""
    if match := re.fullmatch(r"(\d{1,15})\s*([kmg]?)i?b?", text.strip(), re.IGNORECASE | re.ASCII):
        return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]
    raise ValueError(f"{text[:80]!r} is not a size; give a number of bytes, or 512MB, 1GB")


def count(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000_000:
        return int(text)
    raise ValueError(f"{text!r} is not a count; give a whole number from 1")


def period(text: str) -> float:
    """Parse a positive duration into seconds: `90m`."""
    if (seconds := parse_duration(text)) > 0:
        return seconds
    raise ValueError(f"{text!r} is not a positive duration; give one like 2m or 90 (seconds)")


def lifetime(text: str) -> float:
    """Parse a duration into seconds; `never` is infinite."""
    if text in ("never", "inf"):
        return float("inf")
    try:
        return period(text)
    except ValueError as error:
        raise ValueError(f"{error}, or never") from None


def log_level(text: str) -> str:
    level = _LOG_LEVEL_ALIASES.get(text.lower(), text.lower())
    if level in LOG_LEVELS:
        return level
    raise ValueError(unknown("log level", text, LOG_LEVELS))


def key(text: str) -> str:
    if text and text.isascii() and text.isprintable() and " " not in text:
        return text
    raise ValueError("not a key or token; give printable ASCII without spaces")


def server_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", text):
        return text
    raise ValueError(
        f"{text[:80]!r} is not a name for a server; give up to 253 letters, digits, dots, underscores or hyphens, the "
        "first a letter or digit"
    )


def utf8(text: str) -> str:
    with suppress(UnicodeEncodeError):
        text.encode()
        return text
    raise ValueError(f"{text[:80]!r} is not UTF-8")


def delay(text: str) -> float:
    """Parse a duration into seconds, which may be 0."""
    if (seconds := parse_duration(text)) >= 0:
        return seconds
    raise ValueError(f"{text!r} is not a duration; give 0, or one like 5s or 1m")


def skill(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        return text
    raise ValueError(f"{text[:80]!r} is not a skill's id; give 1 to 64 letters, digits, dots, hyphens or underscores")


def path(text: str) -> Path:
    if text:
        return Path(text)
    raise ValueError("an empty path; give the name of a file or directory")


def profile(text: str) -> str:
    profiles.read(text)
    return text


def _setting(default: Any, help: str, parse: Callable[[str], Any] = str) -> Any:
    """Define a setting. Texts of the default are written as for the command line, whose help shows them; a tuple means
    that several values can be given."""
    many = isinstance(default, tuple)
    shown = ",".join(default) if many else default if isinstance(default, str) else ""
    if shown:
        default = tuple(map(parse, default)) if many else parse(default)
    return field(default=default, metadata={"help": help, "parse": parse, "many": many, "shown": shown})


def _taken(setting: "Field[Any]", given: Any) -> Any:
    """Return a setting's value, which may be given as text of the command line. Raises TypeError or ValueError."""
    kinds = {get_origin(each) or each for each in get_args(setting.type) or (setting.type,)} - {...}
    if given is None and type(None) in kinds:
        return None
    many, parse = setting.metadata["many"], setting.metadata["parse"]
    taken = (str, *kinds, int) if float in kinds else (str, *kinds)
    values = []
    for each in given if many and isinstance(given, list | tuple) else [given]:
        if not isinstance(each, taken):
            names = dict.fromkeys(kind.__name__ for kind in taken if kind is not type(None))
            listed = ", or a list or tuple of these" if many else ""
            raise TypeError(f"{setting.name} takes {' or '.join(names)}{listed}, not {type(each).__name__}")
        try:
            number = f"{each:.9f}" if isinstance(each, float) and isfinite(each) else each
            values.append(parse(str(number) if isinstance(number, int | float | Path) else number))
        except ValueError as error:
            raise ValueError(f"{setting.name}: {error}") from None
    return tuple(values) if many else values[0]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings. Each takes what its parser takes, too: `Settings(max_upload="1MB", seed="a.yaml")`."""

    host: tuple[str, ...] = _setting(
        ("127.0.0.1", "::1"), "Address to listen on; 0.0.0.0 and :: open the server to the network.", address
    )
    port: int = _setting("8080", "Port to listen on; 0 chooses a free one and prints it.", port)
    name: str | None = _setting(
        None, "Name of this server among several: each response has it in the header x-mock-server.", server_name
    )
    tls_cert: Path | None = _setting(
        None, "Certificate in PEM format, with its chain: serve HTTPS instead of HTTP; needs --tls-key.", path
    )
    tls_key: Path | None = _setting(None, "Private key of the certificate, in PEM format without a passphrase.", path)
    path_prefix: str | None = _setting(
        None,
        "Path below which a proxy serves the server, such as /mock; the proxy may remove it or keep it.",
        path_prefix,
    )
    data: Path | None = _setting(
        None, "Directory for all data; by default a temporary one that is removed at the end.", path
    )
    seed: tuple[Path, ...] = _setting(
        (), "Seed file, or directory of seed files or plain files, for the contents of new worlds.", path
    )
    api_key: tuple[str, ...] = _setting((), "The only accepted API keys; by default any key is accepted.", key)
    profile: profiles.Requested = _setting(
        "default", f"How to behave: {', '.join(profiles.PROFILES)}; add switches like live,delete_lag=5m.", profile
    )
    max_upload: int = _setting("512MB", "Largest file that can be uploaded.", size)
    max_body: int = _setting("80MB", "Largest JSON body; inline skills can be 67 MB each.", size)
    body_timeout: float = _setting(
        "2m", "How long a request's body may pause or be slower than --min-body-rate.", period
    )
    min_body_rate: int = _setting("500", "Minimum rate of a request's body in bytes a second; 0 for none.", size)
    max_import: int = _setting("4GB", "Largest archive that can be imported, compressed or not.", size)
    max_worlds: int = _setting("10000", "Maximum number of worlds, and separately of snapshots.", count)
    world_ttl: float | None = _setting(
        None,
        "How long a world must be unused before it can be removed to make room; default: never with --data, else 1h.",
        lifetime,
    )
    journal_entries: int = _setting(
        "10000", "Maximum number of exchanges in the journals of all worlds together.", count
    )
    journal_bytes: int = _setting("2MB", "Maximum size of the headers and bodies in them.", size)
    max_streams: int = _setting("500", "Maximum number of open event streams and waits of the control plane.", count)
    shutdown_delay: float = _setting("0", "How long to go on serving after SIGTERM while /health returns 503.", delay)
    shutdown_grace: float = _setting(
        "5s", "How long requests in progress may then take to end, while no new ones are accepted.", delay
    )
    curated_skill: tuple[str, ...] = _setting(
        ("openai-spreadsheets",),
        "Id of a skill by OpenAI, which a container can have although nobody created it.",
        skill,
    )
    control_token: str | None = _setting(None, "Token that the control plane requires.", key)
    control_open: bool = _setting(False, "Open the control plane to the network without a token.", profiles.yes_or_no)
    allow_host: tuple[str, ...] = _setting(
        (), "Additional host name that the control plane accepts, or a pattern such as *.example.test.", host_pattern
    )
    id_seed: str = _setting("mockserver", "Seed from which ids are derived; another seed gives other ids.", utf8)
    log_level: str = _setting(
        "info", f"Minimum severity of log messages: {', '.join(LOG_LEVELS)}; requests are info.", log_level
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _taken(each, getattr(self, each.name)))

    @property
    def control_closed(self) -> bool:
        """Whether the control plane refuses everybody, since the network could reach it."""
        return not (self.control_token or self.control_open or all(map(_is_loopback, self.host)))

    @property
    def idle_seconds(self) -> float:
        """How long a world may be unused before it can be removed."""
        if self.world_ttl is not None:
            return self.world_ttl
        return float("inf") if self.data else 3_600.0


class Options(TypedDict, total=False):
    """The settings as keyword arguments, for type checkers; a test compares it with `Settings`."""

    host: str | Sequence[str]
    port: int | str
    name: str | None
    tls_cert: str | Path | None
    tls_key: str | Path | None
    path_prefix: str | None
    data: str | Path | None
    seed: str | Path | Sequence[str | Path]
    api_key: str | Sequence[str]
    profile: profiles.Requested
    max_upload: int | str
    max_body: int | str
    body_timeout: float | str
    min_body_rate: int | str
    max_import: int | str
    max_worlds: int | str
    world_ttl: float | str | None
    journal_entries: int | str
    journal_bytes: int | str
    max_streams: int | str
    shutdown_delay: float | str
    shutdown_grace: float | str
    curated_skill: str | Sequence[str]
    control_token: str | None
    control_open: bool | str
    allow_host: str | Sequence[str]
    id_seed: str
    log_level: str


def environment_name(setting: str) -> str:
    return ENVIRONMENT + setting.upper()


def flag(setting: str) -> str:
    return "--" + setting.replace("_", "-")


NAMES = [each.name for each in fields(Settings)]


def url(host: str, port: int, tls: bool = False) -> str:
    """Return the URL at which a client on this machine reaches a server that listens on `host`."""
    # A server on :: listens on both families, or only on IPv4 if the machine has no IPv6: localhost finds either.
    host = {"0.0.0.0": "127.0.0.1", "::": "localhost", "127.0.0.1": "localhost"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
