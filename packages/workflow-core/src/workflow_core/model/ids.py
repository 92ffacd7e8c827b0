"""Identifiers: time-ordered UUIDs (version 7, RFC 9562 §5.7) and UUIDs made from a key."""

from __future__ import annotations

import random
import uuid
from datetime import datetime

__all__ = ["uuid7", "uuid_from_key"]

_KEYS = uuid.UUID("6f1d7a52-4b0e-5c1a-9c61-1f3c5f0d8b27")  # our own namespace, never to be changed
_UUID7 = "%08x-%04x-7%03x-%04x-%012x"


def uuid7(now: datetime, entropy: random.Random) -> str:
    """A version 7 UUID: 48 bits of `now` in milliseconds, 74 bits from `entropy`.

    Keys that grow with time keep clustered indexes compact. Within one millisecond the order is
    random.
    """
    milliseconds = int(now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    chance = entropy.getrandbits(74)
    return _UUID7 % (  # an f-string takes three times as long for this
        milliseconds >> 16,
        milliseconds & 0xFFFF,
        chance >> 62,
        0x8000 | chance >> 48 & 0x3FFF,
        chance & 0xFFFF_FFFF_FFFF,
    )


def uuid_from_key(workflow: str, key: str) -> str:
    """The run id that an idempotency key stands for: a version 5 UUID of (workflow, key)."""
    return str(uuid.uuid5(_KEYS, f"{len(workflow)}:{workflow}:{key}"))
