"""Redis: RESP2, as much as a clean-up and a cluster's forming need."""

from __future__ import annotations

from typing import Any

from workflow_adaptertest.servers.protocols.wire import Wire
from workflow_adaptertest.servers.url import Address

__all__ = ["Redis", "RedisError"]


class RedisError(ConnectionError):
    """The server answered a command with an error."""


class Redis(Wire):
    """A connection that knows commands."""

    def __init__(self, address: Address, *, user: str = "", password: str = "") -> None:
        super().__init__(address)
        if password:
            self.call("AUTH", *filter(None, (user, password)))

    def call(self, *words: str | bytes | int) -> Any:
        """Sends one command; answers bytes, an int, None, or a list of these.

        Raises:
            RedisError: the command was refused.
            OSError: the connection is gone.
        """
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        lines = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
        self.send(b"*%d\r\n%b" % (len(encoded), lines))
        return self._answer()

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO, or what CLUSTER INFO tells for ``cluster``."""
        words = ("CLUSTER", "INFO") if section == "cluster" else ("INFO", section)
        text: bytes = self.call(*words)
        lines = (line.partition(":") for line in text.decode().splitlines())
        return {name: value for name, colon, value in lines if colon}

    def _answer(self) -> Any:
        line = self.read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        raise ConnectionError("the server does not speak Redis's protocol")
