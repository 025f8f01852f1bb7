"""Identifiers. The only module that draws random numbers.

The forms are those of the live API, seen over thousands of ids: a container's starts with its
creation time in hexadecimal seconds, then goes on like a UUID of version 8. What follows the time
is a keyed hash of the world's ordinal, so a world on a frozen clock hands out the same ids again,
and the id of one world means nothing in another.
"""

import random
from hashlib import blake2b

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [low + high for high in _BASE62 for low in _BASE62]
_MIDDLE = ("8190", "8191", "8198")

_fresh = random.Random()
"""Our own: what programs do with `random.seed` in tests repeats no id here."""

FREE = r"[A-Za-z0-9_.:={}-]{1,256}"
"""The form of an id that a client or a seed gives to an object."""


def world_seed(server_seed: str, world: str) -> bytes:
    """The key of a world's ids: 32 bytes, of the server's `--id-seed` and the world's name."""
    return blake2b(world.encode(), key=blake2b(server_seed.encode()).digest()[:32], digest_size=32).digest()


def container(seed: bytes, ordinal: int, created_at: int) -> str:
    """`cntr_` and 48 hexadecimal digits: a 32-digit id, then 16 that start with a zero."""
    digest = _digest(seed, b"container", ordinal)
    return f"cntr_{_uuid8(digest, created_at)}0{digest[16:24].hex()[1:]}"


def container_file(seed: bytes, ordinal: int, created_at: int) -> str:
    """`cfile_` and 32 hexadecimal digits."""
    return f"cfile_{_uuid8(_digest(seed, b'container.file', ordinal), created_at)}"


def file(seed: bytes, ordinal: int) -> str:
    """`file-` and 22 letters or digits; nothing in it tells the time."""
    number = int.from_bytes(_digest(seed, b"file", ordinal))
    letters = ["file-"]
    for _ in range(11):
        number, rest = divmod(number, len(_PAIRS))
        letters.append(_PAIRS[rest])
    return "".join(letters)


def request() -> str:
    """`req_` and 32 hexadecimal digits, drawn afresh: a request is never asked for twice."""
    return f"req_{_fresh.getrandbits(128):032x}"


def unique() -> str:
    """12 hexadecimal digits, drawn afresh: for names that nobody else has."""
    return f"{random.SystemRandom().getrandbits(48):012x}"


def _digest(seed: bytes, kind: bytes, ordinal: int) -> bytes:
    return blake2b(b"%b:%d" % (kind, ordinal), key=seed, digest_size=24).digest()


def _uuid8(digest: bytes, created_at: int) -> str:
    hexed = digest.hex()
    variant = "89ab"[digest[2] & 3]
    return f"{created_at & 0xFFFFFFFF:08x}{hexed[:4]}{_MIDDLE[digest[3] % 3]}{variant}{hexed[8:23]}"


def draw(seed: bytes, label: str, ordinal: int) -> float:
    """A number from 0 up to 1, the same for the same three."""
    return int.from_bytes(_digest(seed, b"draw:" + label.encode(), ordinal)[:7]) / (1 << 56)


def noise(seed: int, size: int) -> bytes:
    """Bytes without a pattern, the same for the same seed."""
    return random.Random(seed).randbytes(size)
