"""Cutting batches to what a server takes in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workflow_sql.dialects.base import Row

__all__ = ["chunks"]

_ROWS = 1_000
_BYTES = 4_000_000  # as sent it is a third to twice more, and a server's limit may be 16 MB


def chunks(rows: Sequence[Row], sized: Sequence[int]) -> Iterator[Sequence[Row]]:
    """The rows in order, cut by number and by the length of what is in the columns `sized`.

    A row that is larger than the limit is a chunk of its own.
    """
    start = size = 0
    for at, row in enumerate(rows):
        length = 0
        for column in sized:
            value = row[column]
            if value:
                length += len(value)
        if at - start >= _ROWS or (size + length > _BYTES and at > start):
            yield rows[start:at]
            start, size = at, 0
        size += length
    if start < len(rows):
        yield rows[start:]
