"""How a run's data becomes bytes."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Codec"]

DataT = TypeVar("DataT")


class Codec(Protocol[DataT]):
    """Turns a workflow's data into bytes and back; called from many threads at once.

    A codec for encryption wraps another and names its key inside the bytes, so that keys can be
    changed under waiting runs.
    """

    def encode(self, data: DataT, original: bytes | None, /) -> bytes:
        """The bytes to store.

        Args:
            data: a value as the step left it.
            original: the bytes it was decoded from, so that what a newer version of the code put
                there and this one does not know can be kept; None for a new run.

        Raises:
            Exception: any; a `TypeError` or `ValueError` says that the value is not of the type.
        """

    def decode(self, stored: bytes, /) -> DataT:
        """The value. Raises any exception where the bytes cannot be read as one."""
