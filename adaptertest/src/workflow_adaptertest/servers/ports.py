"""Free ports, chosen so that they stay free while a server is down."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

__all__ = ["free_ports", "is_free", "wait_until_free"]

_LOOK_SECONDS = 0.01
_LOWEST = 15_000
_USUAL_EPHEMERAL = 32_768
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_random = random.SystemRandom()  # a test's seed must not make two sessions choose alike


def free_ports(count: int, *, besides: Collection[int] = ()) -> list[int]:
    """That many different ports of the loopback interface on which nobody listens.

    Those in ``besides`` are somebody's who does not listen yet, and never among them.

    They lie below the range from which the system picks the ports of outgoing connections. Were
    they in it, a client that tries to reach a killed server could be given the server's own port
    and so talk to itself, or keep the server from coming back.
    """
    found: list[int] = []
    highest = _highest()
    while len(found) < count:
        port = _random.randrange(_LOWEST, highest)
        if port not in found and port not in besides and is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # what a server does too: else the waiting remains of old connections keep a port taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until_free(ports: Collection[int], *, seconds: float) -> bool:
    """Waits until a server could listen on all of these; whether it could in time."""
    deadline = time.monotonic() + seconds
    while not all(map(is_free, ports)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _highest() -> int:
    with suppress(OSError, ValueError, IndexError):
        lowest_ephemeral = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
        if lowest_ephemeral > _LOWEST + 1_000:
            return lowest_ephemeral
    return _USUAL_EPHEMERAL
