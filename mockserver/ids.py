"""Create ids. The only module that draws random numbers.

The forms are those of the live API, seen in thousands of ids: a container's id starts with its creation time in
hexadecimal seconds and continues like a UUID of version 8. The part after the time is a keyed hash of the world's
ordinal, so a world on a frozen clock creates the same ids again, and ids of different worlds differ.
"""

import random
import re
from hashlib import blake2b

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [low + high for high in _BASE62 for low in _BASE62]
_MIDDLE = ("8190",) * 39 + ("8191",) * 7 + ("8198",) * 6 + ("8193",) * 2
"""The digits of version and of what follows it, in the proportions of 54 ids of the live API."""
_SKILL_MIDDLE = ("8190", "8191", "8193")
_LONG = re.compile(r"[a-z]+_[0-9a-f]{48}")

_fresh = random.Random()
"""A separate generator: calls of `random.seed` in tests don't make ids repeat."""

FREE = r"[A-Za-z0-9_.:={}-]{1,256}"
"""The pattern of an id that a client or a seed chooses for an object."""


def world_seed(server_seed: str, world: str) -> bytes:
    """Return the key of a world's ids: 32 bytes from the server's `--id-seed` and the world's name."""
    return blake2b(world.encode(), key=blake2b(server_seed.encode()).digest()[:32], digest_size=32).digest()


# Of the objects of lists, from the columns of their rows; those that an id does not depend on are ignored.


def container(seed: bytes, ordinal: int, created_at: int, **_: object) -> str:
    """Return `cntr_` and 48 hexadecimal digits: a 32-digit id, then 16 digits that start with a zero."""
    digest = _digest(seed, b"container", ordinal)
    return f"cntr_{_uuid8(digest, created_at)}0{digest[16:24].hex()[1:]}"


def container_file(seed: bytes, ordinal: int, created_at: int, **_: object) -> str:
    """Return `cfile_` and 32 hexadecimal digits."""
    return f"cfile_{_uuid8(_digest(seed, b'container.file', ordinal), created_at)}"


def timed(prefix: str, seed: bytes, ordinal: int, created_at: int, **_: object) -> str:
    """Return a prefix, `upload` or `part`, and 32 hexadecimal digits."""
    return f"{prefix}_{_uuid8(_digest(seed, prefix.encode(), ordinal), created_at)}"


def file(seed: bytes, ordinal: int, **_: object) -> str:
    """Return `file-` and 22 letters or digits, which don't depend on the time."""
    return f"file-{_letters(_digest(seed, b'file', ordinal), 22)}"


def skill(seed: bytes, ordinal: int, created_at: int, **_: object) -> str:
    """Return `skill_` and 48 hexadecimal digits, like a container's."""
    digest = _digest(seed, b"skill", ordinal)
    return f"skill_{_uuid8(digest, created_at, _SKILL_MIDDLE)}0{digest[16:24].hex()[1:]}"


def skill_version(seed: bytes, ordinal: int, created_at: int, skill_id: str, **_: object) -> str:
    """Return `skillver_` and 48 hexadecimal digits, the last 16 of which are its skill's (seen)."""
    digest = _digest(seed, b"skill.version", ordinal)
    end = skill_id[-16:] if _LONG.fullmatch(skill_id) else f"0{digest[16:24].hex()[1:]}"
    return f"skillver_{_uuid8(digest, created_at, _SKILL_MIDDLE)}{end}"


# Of responses


def chain(seed: bytes, ordinal: int, conversation: str | None = None) -> str:
    """Return the 16 hexadecimal digits that the ids of a chain of responses share: the last ones of its conversation's
    id (seen), if that is of the live API's form."""
    if conversation and conversation.startswith("conv_") and _LONG.fullmatch(conversation):
        return conversation[-16:]
    return _digest(seed, b"chain", ordinal)[:8].hex()


def response_part(prefix: str, seed: bytes, ordinal: int, chain: str, stored: bool, at: int) -> str:
    """Return the id of a response or of an item of one: the chain's digits, `00` (`01` if not stored), a 32-digit id."""
    return f"{prefix}_{chain}{'00' if stored else '01'}{_uuid8(_digest(seed, b'response', ordinal), at)}"


def call(seed: bytes, ordinal: int) -> str:
    """Return `call_` and 24 letters or digits."""
    return f"call_{_letters(_digest(seed, b'call', ordinal), 24)}"


# Others


def request() -> str:
    """Return `req_` and 32 random hexadecimal digits."""
    return f"req_{_fresh.getrandbits(128):032x}"


def as_uuid(request_id: str) -> str:
    """Return the digits of a request's id in the form of a UUID, as the text of a 500 shows them."""
    digits = request_id.removeprefix("req_")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def unique() -> str:
    """Return 12 random hexadecimal digits, for unique names."""
    return f"{random.SystemRandom().getrandbits(48):012x}"


def _digest(seed: bytes, kind: bytes, ordinal: int) -> bytes:
    return blake2b(b"%b:%d" % (kind, ordinal), key=seed, digest_size=24).digest()


def _letters(digest: bytes, count: int) -> str:
    """Return an even number of letters or digits."""
    number, pairs = int.from_bytes(digest), []
    for _ in range(count // 2):
        number, rest = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[rest])
    return "".join(pairs)


def _uuid8(digest: bytes, created_at: int, middle: tuple[str, ...] = _MIDDLE) -> str:
    hexed = digest.hex()
    variant = "89ab"[digest[2] & 3]
    middle_digits = middle[(int.from_bytes(digest[2:4]) >> 2) % len(middle)]
    return f"{created_at & 0xFFFFFFFF:08x}{hexed[:4]}{middle_digits}{variant}{hexed[8:23]}"


def draw(seed: bytes, label: str, ordinal: int) -> float:
    """Return a number from 0 up to but not including 1, the same for the same arguments."""
    return int.from_bytes(_digest(seed, b"draw:" + label.encode(), ordinal)[:7]) / (1 << 56)


def noise(seed: int, size: int) -> bytes:
    """Return random bytes that are the same for the same seed."""
    return random.Random(seed).randbytes(size)
