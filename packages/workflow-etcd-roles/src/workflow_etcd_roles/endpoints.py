"""Where one member of an etcd cluster is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

__all__ = ["Endpoint"]

_ENDPOINT = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[^\s:/@\[\]]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?/?"
)
_PORT = 2379


@dataclass(frozen=True)
class Endpoint:
    """An address as gRPC wants it, and whether it is spoken to with TLS."""

    target: str
    secure: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``host:port``, ``http://host:port`` or ``https://host:port``.

        Raises:
            ValueError: it is no such thing; the text is not repeated, it may hold a password.
        """
        found = _ENDPOINT.fullmatch(text.strip())
        if found is None or found["scheme"] not in (None, "http", "https"):
            raise ValueError("expected host:port, http://host:port or https://host:port")
        return cls(f"{found['host']}:{found['port'] or _PORT}", found["scheme"] == "https")
