"""A connection that reads exactly as many bytes as it is asked for."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import Self

from workflow_adaptertest.servers.url import Address

__all__ = ["Wire"]

_SECONDS = 5.0


class Wire:
    """A connection to a server; a context manager that closes it. For one thread.

    Args:
        address: host and port.
        tls: for an encrypted connection.

    Raises:
        OSError: nobody listens there. Every method raises it too: the connection broke, or the
            server fell silent for five seconds.
    """

    def __init__(self, address: Address, *, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(address, timeout=_SECONDS)
        if tls is not None:
            try:
                self._socket = tls.wrap_socket(self._socket, server_hostname=address[0])
            except BaseException:
                self._socket.close()
                raise

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count > 0:
            part = self._socket.recv(count)
            if not part:
                raise ConnectionError("the server closed the connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def read_line(self) -> bytes:
        """Up to and without CR LF."""
        line = b""
        while not line.endswith(b"\r\n"):
            line += self.read(1)
        return line[:-2]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
