"""Which rank a role belongs to, as Rink reckons it."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["fnv1a_64", "jump_hash", "rank_of"]

_MASK = 2**64 - 1


def fnv1a_64(data: bytes) -> int:
    """The 64-bit FNV-1a hash."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & _MASK
    return value


def jump_hash(key: int, buckets: int) -> int:
    """The bucket of a key, from 0; -1 where there is none. Growing moves as few as can be."""
    bucket, jump = -1, 0
    while jump < buckets:
        bucket = jump
        key = (key * 2862933555777941757 + 1) & _MASK
        jump = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


@lru_cache(maxsize=10_000)
def rank_of(role: str, size: int) -> int:
    """The rank, of so many, that the role belongs to; -1 where there is none."""
    return jump_hash(fnv1a_64(role.encode()), size)
