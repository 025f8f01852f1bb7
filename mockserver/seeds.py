"""Seeds."""

from dataclasses import dataclass

from mockserver.clock import Clock


@dataclass
class Seed:
    pass


class SeedError(Exception):
    pass


def read_seeds(paths, max_file):
    return Seed()


def plant(seed, worlds, blobs, wall):
    now = wall.now()
    with worlds.place("*", Clock(now, now), False, None):
        pass
