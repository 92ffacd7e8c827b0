"""Run data as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from workflow_core.definition.json_formats import format_of
from workflow_core.definition.unknown_keys import keep_unknown
from workflow_core.errors import DecodeError, PayloadError

__all__ = ["JsonCodec"]

DataT = TypeVar("DataT")

# every digit of a number that this code knows nothing of comes out as it went in
_read_tree = msgspec.json.Decoder(float_hook=Decimal).decode
_write_tree = msgspec.json.Encoder(decimal_format="number").encode


class JsonCodec(Generic[DataT]):
    """The codec of a workflow that names no other. Safe to share among threads.

    Strict both ways: what is encoded is read back before it is handed out, so nothing is stored
    that could not be read again, and no type is bent into another. Integers are exact at any size.
    NaN and infinities, which JSON does not have, are refused.

    Keys that the data type does not know, written by newer code, survive decoding, changing and
    encoding: at each object within the data, by its path. In lists they are matched only where
    that is safe: elements left as they were keep theirs wherever they went, changed ones if a field
    (an id) tells them from all their neighbours; others lose them.

    Args:
        data_type: a dataclass, msgspec Struct, attrs class, pydantic model (2.11 or later) or
            TypedDict, or any other type that msgspec can read.

    Raises:
        DefinitionError: the type, or one within it, has no JSON form that keeps everything.
    """

    def __init__(self, data_type: type[DataT]) -> None:
        self._format = format_of(data_type)
        self._name = getattr(data_type, "__name__", str(data_type))

    def encode(self, data: DataT, original: bytes | None, /) -> bytes:
        """The JSON of this value, with the unknown keys of ``original``.

        Raises:
            PayloadError: the value, or one within it, is not of the declared type.
            DecodeError: ``original`` cannot be read.
        """
        encoded = self._checked(data, original)
        if original is None or original == encoded:
            return encoded
        seen = self._format.write(self.decode(original))
        if seen == original:  # nothing in it is unknown
            return encoded
        merged = keep_unknown(
            _read_tree(original), _read_tree(seen), _read_tree(encoded), self._format.tags
        )
        return _write_tree(merged)

    def decode(self, stored: bytes, /) -> DataT:
        """The value.

        Raises:
            DecodeError: these bytes are no JSON of the type; the message holds none of them.
        """
        try:
            value: DataT = self._format.read(stored)
        except Exception as error:
            raise DecodeError(self._told(error, "the stored data is no")) from error
        return value

    def _checked(self, data: DataT, original: bytes | None) -> bytes:
        try:
            encoded = self._format.write(data)
            if encoded != original:  # which has been read already, and most steps change nothing
                self._format.read(encoded)
        except Exception as error:
            raise PayloadError(self._told(error, "the data is no")) from error
        plain = self._format.plain
        if plain is not None and b"null" in encoded and _holds_no_number(plain(data)):
            raise PayloadError(f"the data is no {self._name}: JSON has neither NaN nor infinity")
        return encoded

    def _told(self, error: Exception, what: str) -> str:
        if isinstance(error, UnicodeEncodeError):
            why = "a text in it holds half of a surrogate pair, which is no text"
        else:
            why = self._format.explain(error) or type(error).__name__
        return f"{what} {self._name}: {why}"


def _holds_no_number(plain: Any) -> bool:
    """Whether a NaN or an infinity is somewhere in the tree."""
    waiting = [plain]
    while waiting:
        value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return True
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            waiting.extend(value)
    return False
