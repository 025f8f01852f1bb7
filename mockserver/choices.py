"""Find the nearest of known names, say what to write in place of an unknown one, list names, and check new ones."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

MAX_SHOWN = 100
"""Characters of an unknown name that are compared and shown: comparing takes the square of the length."""

FEW = 12
"""As many names are listed beside a good guess."""
LISTED = {
    "error": "docs/reference/errors.md",
    "operation": "docs/reference/control-plane.md",
    "switch": "`mockserver serve --help`",
}
"""Where the names of a kind are listed."""

NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""The pattern of the names of worlds, snapshots, faults and answers."""


def valid_name(text: str) -> str:
    if re.fullmatch(NAME, text):
        return text
    raise ValueError(
        f"{text[:MAX_SHOWN]!r} can't be a name; use up to 64 letters, digits, dots, underscores and hyphens, the first a "
        "letter or digit"
    )


def some(names: Iterable[str]) -> str:
    """Return the first five, and how many more there are."""
    shown = list(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another, in any case; None if none is near."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(name[:MAX_SHOWN].lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """Return the message for an unknown name of a kind: what was probably meant, and the known names or where they are
    listed."""
    names = [str(each) for each in known]
    near = nearest(name, names) if isinstance(name, str) and not name.isdecimal() else None
    shown = repr(name[:MAX_SHOWN] if isinstance(name, str) else name)[: MAX_SHOWN + 2]
    choice = f"choose one of: {', '.join(names)}" if names else "remove it"
    if near and len(names) == 1:
        choice = ""
    elif near and len(names) > FEW:
        choice = f"see {LISTED[kind]} for all" if kind in LISTED else ""
    return f"unknown {kind} {shown}; {f'did you mean {near!r}? ' if near else ''}{choice}".rstrip()
