"""A cache whose limit is the size of its values. That of functools counts values, however large they are."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Values that were made of texts: those used last, as many as have `limit` bytes together, and at least one.

    Several threads can use it, because each step is one operation of the dictionary.
    """

    def __init__(self, limit: int, make: Callable[[str], tuple[T, int]]) -> None:
        """`make` returns a value and its approximate size in bytes, that of its text included."""
        self._limit, self._make = limit, make
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def __call__(self, text: str) -> T:
        found = self._values.pop(text, None)
        if found is None:
            found = self._make(text)
            excess = found[1] + sum(size for _, size in tuple(self._values.values())) - self._limit
            with suppress(KeyError):  # raised if it is empty
                while excess > 0:
                    excess -= self._values.popitem(last=False)[1][1]
        self._values[text] = found
        return found[0]
