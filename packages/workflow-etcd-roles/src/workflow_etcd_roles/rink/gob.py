"""Ranks as the leader writes them: Go's gob encoding of a ``map[string]int32``.

A gob is a row of messages, each preceded by its length. Types come first, under negative numbers;
the value follows under the number that its type was given.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["decode", "encode"]

# the definition of the type "ranks", number 64, a map from string to int
_TYPE = bytes.fromhex("147f0401010572616e6b7301ff8000010c01040000")
_NUMBER = 64
_LARGEST = 2**31 - 1


def encode(ranks: Mapping[str, int]) -> bytes:
    """The bytes that Go reads the same ranks from."""
    value = bytearray(_signed(_NUMBER) + b"\0" + _unsigned(len(ranks)))
    for name, rank in ranks.items():
        text = name.encode()
        value += _unsigned(len(text)) + text + _signed(rank)
    return _TYPE + _unsigned(len(value)) + bytes(value)


def decode(data: bytes) -> dict[str, int]:
    """The ranks in what Go, or `encode`, has written.

    Raises:
        ValueError: it is no such thing.
    """
    rest = _Reader(data)
    while rest:
        message = _Reader(rest.take(rest.unsigned()))
        if message.signed() < 0:
            continue  # the definition of a type
        if message.unsigned() != 0:
            raise ValueError("no map at the top")
        ranks: dict[str, int] = {}
        for _ in range(message.unsigned()):
            name = message.take(message.unsigned()).decode()
            rank = message.signed()
            if not 0 <= rank <= _LARGEST:
                raise ValueError("a rank out of range")
            ranks[name] = rank
        return ranks
    raise ValueError("no value")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("it ends too early")
        self._at += count
        return taken

    def unsigned(self) -> int:
        first = self.take(1)[0]
        if first < 0x80:
            return first
        width = 0x100 - first
        if width > 8:
            raise ValueError("a number of more than 8 bytes")
        return int.from_bytes(self.take(width), "big")

    def signed(self) -> int:
        number = self.unsigned()
        return ~(number >> 1) if number & 1 else number >> 1


def _unsigned(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    width = (number.bit_length() + 7) // 8
    return bytes([0x100 - width]) + number.to_bytes(width, "big")


def _signed(number: int) -> bytes:
    return _unsigned(number << 1 if number >= 0 else ~number << 1 | 1)
