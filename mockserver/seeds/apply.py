"""Place the objects of seeds into templates and worlds: first the contents, then all rows at once."""

from contextlib import closing
from functools import partial

from mockserver.clock import Clock, Wall
from mockserver.context import World
from mockserver.profiles import Profile
from mockserver.seeds import models
from mockserver.seeds.contents import Store
from mockserver.seeds.entry import Placing
from mockserver.seeds.loader import Seed
from mockserver.seeds.models import LISTS
from mockserver.seeds.scope import Scope
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Uploads
from mockserver.storage.database import in_thread
from mockserver.worlds import Worlds

LARGE = 500
"""More objects than this are placed in a thread, not on the event loop."""


LARGE_TEXT = 1 << 20
"""More bytes of names than this are placed in a thread, too."""


def make_templates(seed: Seed, worlds: Worlds, uploads: Uploads, wall: Wall) -> None:
    """Create the templates that a seed describes."""
    with closing(Store(uploads)) as store, closing(seed):
        scopes = list(seed.scopes())
        for _, scope in scopes:
            store.store(scope.contents())
        for name, scope in scopes:
            clock, restarts = _clock(scope, wall.now())
            fill = partial(_fill, scope, Placing(name, store))
            worlds.add_template(name, clock, fill, restarts=restarts, profile=_profile(scope, worlds))


async def place(
    scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str, *, only_objects: bool = False
) -> dict[str, list[str]]:
    """Place all objects of a document into a world at once, and set its clock and profile unless `only_objects`.

    Relative times are relative to the world's time. Returns the ids of the objects, in the order of the document, by
    the keys of their lists.
    """
    clock = _clock(scope, wall.now())[0] if scope.clock and not only_objects else None
    profile = None if only_objects else _profile(scope, worlds)
    with closing(Store(uploads)) as store:
        large = await in_thread(_prepare, scope, store)
        into = Placing(name, store)
        await worlds.add(name, partial(_fill, scope, into), clock=clock, profile=profile, large=large)
    return {key: into.ids[entry] for key, entry in LISTS.items()}


async def become(scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str) -> World:
    """Replace a world's whole state by what a document describes, in one step."""
    with closing(Store(uploads)) as store:
        await in_thread(store.store, scope.contents())
        clock, _ = _clock(scope, wall.now())
        fill = partial(_fill, scope, Placing(name, store))
        return await worlds.become(name, fill, clock, _profile(scope, worlds))


def _clock(scope: Scope, wall: float) -> tuple[Clock, bool]:
    """Return the clock, and whether every new world starts at its instant."""
    given = scope.clock[0] if scope.clock else models.Clock()
    if given.at is not None:
        return Clock(given.at, wall, given.rate), True
    return Clock(wall + (given.offset or 0), wall, given.rate), False


def _profile(scope: Scope, worlds: Worlds) -> Profile | None:
    return worlds.profile(scope.profile[0]) if scope.profile else None


def _prepare(scope: Scope, store: Store) -> bool:
    """Store the contents, and return whether there is too much to place for the event loop."""
    store.store(scope.contents())
    return sum(scope.counts().values()) > LARGE or scope.text() > LARGE_TEXT


def _fill(scope: Scope, into: Placing, put: Placement) -> None:
    into.put = put
    put.ordinal = max(put.ordinal, scope.last_seq())  # so that the ids of an export are not used a second time
    for key, entries in scope.lists.items():
        LISTS[key].place_all(entries, into)
