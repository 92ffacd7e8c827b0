"""MySQL and MariaDB: the greeting, which comes before any word of the client."""

from __future__ import annotations

from workflow_adaptertest.servers.protocols.wire import Wire
from workflow_adaptertest.servers.url import Address

__all__ = ["server_version"]

_PROTOCOL = 10


def server_version(address: Address) -> str:
    """The version in the greeting, without what MariaDB puts before it for old clients.

    Raises:
        OSError: it does not answer, or refuses this client.
    """
    with Wire(address) as wire:
        length = int.from_bytes(wire.read(4)[:3], "little")
        packet = wire.read(length)
    if packet[:1] != bytes([_PROTOCOL]):
        raise ConnectionError(packet[1:].decode(errors="replace"))
    version = packet[1:].partition(b"\0")[0].decode(errors="replace")
    return version.removeprefix("5.5.5-").partition("-")[0]
