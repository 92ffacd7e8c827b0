"""Which bucket a timer is in, and what the bucket's keys are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar
from zlib import crc32

from workflow_core.errors import ConfigurationError

__all__ = ["Bucket", "Buckets", "layout_key"]

T = TypeVar("T")

# in the order in which the scripts take them
_TABLES = ("timers", "due", "keys", "runs", "expiry", "answers")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_AT_ONCE = 500  # a script holds up all other clients: about 5 ms for as many timers
_BYTES_AT_ONCE = 1_000_000


Bucket = tuple[str, ...]
"""The names of a bucket's tables."""


def layout_key(namespace: str) -> str:
    """The key that holds the number of buckets.

    Raises:
        ConfigurationError: the namespace would break the hash tag.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigurationError(
            f"the namespace {namespace!r} cannot be part of a key: at most 64 letters, digits,"
            " '_', '-' and '.'"
        )
    return f"workflow-timers:{{{namespace}}}:layout"


class Buckets:
    """A namespace's timers, divided by a hash of their keys.

    By the key and not by the workflow: `TimeoutStore.complete` and its like are given nothing else,
    and a workflow with a million timers is then no single slot's burden.

    Args:
        namespace: as `layout_key` takes it.
        count: how many there are.
    """

    def __init__(self, namespace: str, count: int) -> None:
        self.all: Sequence[Bucket] = tuple(
            tuple(f"workflow-timers:{{{namespace}:{number}}}:{table}" for table in _TABLES)
            for number in range(count)
        )

    def of(self, key: str) -> Bucket:
        """The bucket of the timer with this key. Raises UnicodeEncodeError for half a character."""
        if len(self.all) == 1:
            return self.all[0]
        return self.all[crc32(key.encode()) % len(self.all)]

    def parts(
        self, items: Iterable[tuple[str, int, T]]
    ) -> Iterator[tuple[Bucket, Sequence[int], Sequence[T]]]:
        """Divides `items`, each a timer's key, a size in bytes and anything, for one script each.

        Answers the bucket, the items' places in what was given, and the items; no part holds up a
        server for long.
        """
        open_parts: dict[Bucket, tuple[list[int], list[T], int]] = {}
        for place, (key, size, item) in enumerate(items):
            bucket = self.of(key)
            places, chosen, bytes_ = open_parts.get(bucket) or ([], [], 0)
            places.append(place)
            chosen.append(item)
            if len(chosen) == _AT_ONCE or bytes_ + size >= _BYTES_AT_ONCE:
                yield bucket, places, chosen
                del open_parts[bucket]
            else:
                open_parts[bucket] = places, chosen, bytes_ + size
        for bucket, (places, chosen, _) in open_parts.items():
            yield bucket, places, chosen
