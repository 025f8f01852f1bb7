"""Tokens of a response: a fixed share of the characters of the texts in its context and its output (guess), unless its
script gives them."""

from math import ceil

from mockserver.schema.answers import Tokens
from mockserver.schema.responses import Usage

CHARACTERS_A_TOKEN = 4
_TEXTS = {"arguments", "code", "commands", "content", "input", "logs", "output", "stderr", "stdout", "text"}
"""Keys of items whose texts a model reads or writes. Bytes of files and images, ids and names do not count."""


def characters(value: object) -> int:
    """The characters of the texts in an item, a list or a text."""
    count, left = 0, [("content", value)]
    while left:
        key, value = left.pop()
        if isinstance(value, str):
            count += len(value) if key in _TEXTS else 0
        elif isinstance(value, list):
            left += [(key, each) for each in value]
        elif isinstance(value, dict):
            left += value.items()
    return count


def usage(given: Tokens | None, read: int, written: int) -> Usage:
    """What a response shows. `read` and `written` are characters."""
    given = given or Tokens()
    tokens_in = ceil(read / CHARACTERS_A_TOKEN) if given.input is None else given.input
    tokens_out = ceil(written / CHARACTERS_A_TOKEN) if given.output is None else given.output
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": given.cached or 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": given.reasoning or 0},
        "total_tokens": tokens_in + tokens_out,
    }
