"""A cache whose limit is the size of its values. That of functools counts values, however large they are."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Values that were made of texts: those used last, as many as have `limit` bytes together, and at least one.

    Several threads can use it: each step is one operation of the dictionary, and what they miscount is counted again
    when values are dropped.
    """

    def __init__(self, limit: int, make: Callable[[str], tuple[T, int]]) -> None:
        """`make` returns a value and its approximate size in bytes, that of its text included."""
        self._limit, self._make = limit, make
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._size = 0

    def __call__(self, text: str) -> T:
        found = self._values.pop(text, None)
        if found is None:
            found = self._make(text)
            self._size += found[1]
            if self._size > self._limit:
                self._drop_half(found[1])
        self._values[text] = found
        return found[0]

    def _drop_half(self, new: int) -> None:
        """So that the sizes are added up rarely."""
        self._size = new + sum(size for _, size in tuple(self._values.values()))
        with suppress(KeyError):  # raised if it is empty
            while self._size > self._limit // 2:
                self._size -= self._values.popitem(last=False)[1][1]
