"""Keys in order, for tables that are read page by page while they change."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

__all__ = ["SortedKeys"]

K = TypeVar("K", str, tuple[datetime, str], tuple[datetime, int, str])

_FULL = 1024  # a chunk of more keys is split in two


class SortedKeys(Generic[K]):
    """Distinct keys in order; adding and discarding stay cheap however many there are.

    A list of short sorted chunks: one long list would move half of its keys for each one that is
    added or discarded in the middle. What is not changed for a while becomes a tuple, which
    Python's collector of cycles soon leaves alone; it would walk over a million keys in lists many
    times a second. Not thread-safe, and not to be changed while iterated.
    """

    def __init__(self) -> None:
        self._chunks: list[list[K] | tuple[K, ...]] = []
        self._greatest: list[K] = []  # of each chunk
        self._changed: set[int] = set()  # ids of the lists that were, since the last split

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def add(self, key: K) -> None:
        """Put in a key that is not there yet."""
        if not self._chunks:
            self._chunks.append([key])
            self._greatest.append(key)
            return
        at = bisect_left(self._greatest, key)
        if at == len(self._chunks):
            at -= 1
            chunk = self._to_change(at)
            chunk.append(key)
            self._greatest[at] = key
        else:
            chunk = self._to_change(at)
            insort(chunk, key)
        if len(chunk) > _FULL:
            self._split(at, chunk)
            self._settle()

    def _to_change(self, at: int) -> list[K]:
        chunk = self._chunks[at]
        if isinstance(chunk, tuple):
            chunk = self._chunks[at] = list(chunk)
        self._changed.add(id(chunk))
        return chunk

    def _settle(self) -> None:
        for at, chunk in enumerate(self._chunks):
            if isinstance(chunk, list) and id(chunk) not in self._changed:
                self._chunks[at] = tuple(chunk)
        self._changed.clear()

    def _split(self, at: int, chunk: list[K]) -> None:
        half = len(chunk) // 2
        self._chunks[at : at + 1] = [chunk[:half], chunk[half:]]
        self._greatest.insert(at, chunk[half - 1])

    def discard(self, key: K) -> None:
        """Take the key out, if it is there."""
        at = bisect_left(self._greatest, key)
        if at == len(self._chunks):
            return
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if chunk[place] != key:
            return
        chunk = self._to_change(at)
        del chunk[place]
        if chunk:
            self._greatest[at] = chunk[-1]
        else:
            del self._chunks[at], self._greatest[at]
            self._changed.discard(id(chunk))  # where keys come and go there may never be a split

    def after(self, key: K | None) -> Iterator[K]:
        """Upwards from the first key greater than this one; None: from the first of all."""
        first = 0 if key is None else bisect_right(self._greatest, key)
        for at in range(first, len(self._chunks)):
            chunk = self._chunks[at]
            skip = bisect_right(chunk, key) if key is not None and at == first else 0
            yield from chunk[skip:] if skip else chunk

    def before(self, key: K | None) -> Iterator[K]:
        """Downwards from the last key smaller than this one; None: from the last of all."""
        last = len(self._chunks) if key is None else bisect_left(self._greatest, key) + 1
        for at in range(min(last, len(self._chunks)) - 1, -1, -1):
            chunk = self._chunks[at]
            keep = bisect_left(chunk, key) if key is not None and at == last - 1 else len(chunk)
            yield from reversed(chunk[:keep] if keep < len(chunk) else chunk)
