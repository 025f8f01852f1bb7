"""A model of nginx's consistent hashing (`hash … consistent`): which server has a world."""

import zlib
from bisect import bisect_left
from collections.abc import Mapping

POINTS = 160
"""Points on the ring for a server of weight 1, as in nginx."""


class Ring:
    def __init__(self, addresses: Mapping[str, str]) -> None:
        """Place servers on the ring; maps their names to addresses as in `upstream`: `host:port`."""
        names: dict[int, str] = {}
        for name, address in addresses.items():
            host, _, port = address.rpartition(":")
            base, point = zlib.crc32(f"{host}\0{port}".encode()), 0
            for _ in range(POINTS):
                point = zlib.crc32(point.to_bytes(4, "little"), base)
                names.setdefault(point, name)
        self._points = sorted(names)
        self._names = [names[point] for point in self._points]

    def __getitem__(self, world: str) -> str:
        """Return the name of the server that has a world."""
        return self._names[bisect_left(self._points, zlib.crc32(world.encode())) % len(self._points)]
