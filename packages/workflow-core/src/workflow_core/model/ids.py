"""Identifiers: time-ordered UUIDs (version 7, RFC 9562 §5.7) and UUIDs made from a key."""

from __future__ import annotations

import random
import uuid
from datetime import datetime

__all__ = ["uuid7", "uuid_from_key"]

_KEYS = uuid.UUID("6f1d7a52-4b0e-5c1a-9c61-1f3c5f0d8b27")  # our own namespace, never to be changed


def uuid7(now: datetime, entropy: random.Random) -> str:
    """A version 7 UUID: 48 bits of `now` in milliseconds, 74 bits from `entropy`.

    Keys that grow with time keep clustered indexes compact. Within one millisecond the order is
    random.
    """
    milliseconds = int(now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    low = entropy.getrandbits(74)
    number = (
        (milliseconds << 80)
        | (0x7 << 76)
        | ((low >> 62) << 64)
        | (0b10 << 62)
        | (low & (1 << 62) - 1)
    )
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid_from_key(workflow: str, key: str) -> str:
    """The run id that an idempotency key stands for: a version 5 UUID of (workflow, key)."""
    return str(uuid.uuid5(_KEYS, f"{len(workflow)}:{workflow}:{key}"))
