"""Names as the tables have them: the namespace before them, and the ids of cursors."""

from __future__ import annotations

import hashlib
from typing import TypeAlias
from zlib import crc32

__all__ = ["PARTS", "Lane", "cursor_id", "in_namespace", "mark_prefix", "part_of"]

PARTS = 16
"""Each topic has so many parts; never to be changed: cursors are of parts."""

Lane: TypeAlias = tuple[str, int]
"""A topic, in its namespace, and the number of one of its parts."""

_READABLE = 200  # characters; an id has 255 at most


def in_namespace(namespace: str, name: str) -> str:
    """The topic or consumer that carries this name."""
    return f"{namespace}.{name}" if namespace else name


def part_of(key: str) -> int:
    """The part of its topic that a run's events are in.

    The same in every process and release. CRC-32 because every language has it.
    """
    return crc32(key.encode(errors="surrogatepass")) % PARTS


def cursor_id(consumer: str, lane: Lane) -> str:
    """The id of a lane's cursor: readable, and not to be taken for another whatever the collation.

    Some tables take "orders" for "Orders", and some "a " for "a": a digest of the very names tells
    them apart.
    """
    topic, part = lane
    return f"{_readable(consumer, topic)}/{part}/{_digest(consumer, topic)}"


def mark_prefix(consumer: str) -> str:
    """What the ids of a consumer's open receivers begin with."""
    return f"{_readable(consumer, 'open')}/{_digest(consumer)}/"


def _readable(consumer: str, what: str) -> str:
    return f"{consumer}/{what}"[:_READABLE]


def _digest(*names: str) -> str:
    told = "\0".join(names).encode(errors="surrogatepass")
    return hashlib.sha256(told).hexdigest()[:16]
