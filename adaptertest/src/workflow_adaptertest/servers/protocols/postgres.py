"""PostgreSQL: the start of a session, protocol 3.0."""

from __future__ import annotations

import struct

from workflow_adaptertest.servers.protocols.wire import Wire
from workflow_adaptertest.servers.url import Address

__all__ = ["server_version"]

_PROTOCOL = 3 << 16
_AUTHENTICATED = 0


def server_version(address: Address, *, user: str, database: str) -> str:
    """The version that the server tells; empty where it asks for a password first.

    Raises:
        OSError: it does not answer, or is still starting.
    """
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database))
    body = struct.pack("!i", _PROTOCOL) + words + b"\0"
    with Wire(address) as wire:
        wire.send(struct.pack("!i", len(body) + 4) + body)
        version = ""
        while True:
            kind = wire.read(1)
            content = wire.read(struct.unpack("!i", wire.read(4))[0] - 4)
            if kind == b"E":
                raise ConnectionError(content.replace(b"\0", b" ").decode(errors="replace"))
            if kind == b"R" and struct.unpack("!i", content[:4])[0] != _AUTHENTICATED:
                return ""
            if kind == b"S":
                name, value = content.split(b"\0")[:2]
                version = value.decode().split()[0] if name == b"server_version" else version
            if kind == b"Z":  # ready for a query
                wire.send(b"X\0\0\0\4")  # a goodbye keeps the server's log quiet
                return version
            if kind not in b"RSKNZ":
                raise ConnectionError(f"{address[0]}:{address[1]} speaks another protocol")
