"""Servers in containers, by testcontainers, on machines where a Docker engine answers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workflow_adaptertest.servers.control import Control
from workflow_adaptertest.servers.errors import DidNotStartError, NotAvailableError
from workflow_adaptertest.servers.kinds import Image, Kind
from workflow_adaptertest.servers.place import Place, Tools
from workflow_adaptertest.servers.ports import free_ports
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["Container", "engine_answers"]

_SOCKET = "/var/run/docker.sock"
_NODE = "container"
_PING_SECONDS = 2.0
_ANSWER_SECONDS = 120.0
_LOOK_SECONDS = 0.1


def engine_answers() -> str:
    """Why containers are no way here; empty if they are."""
    if importlib.util.find_spec("testcontainers") is None:
        return "testcontainers is not installed"
    host = os.environ.get("DOCKER_HOST", f"unix://{_SOCKET}")
    parts = urlsplit(host)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as engine:
                _ping(engine, parts.path)
        else:
            address = (parts.hostname or "127.0.0.1", parts.port or 2375)
            socket.create_connection(address, timeout=_PING_SECONDS).close()
    except OSError as error:
        return f"no Docker engine answers at {host}: {error}"
    return ""


class Container(Control):
    """One running container. Made on the main thread, used by one thread at a time."""

    def __init__(self, kind: Kind, image: Image) -> None:
        """Starts it and waits until the server in it answers.

        Raises:
            NotAvailableError: the image cannot be had.
            DidNotStartError: the server does not answer.
        """
        self._kind = kind
        self._port = free_ports(1)[0]
        containers = importlib.import_module("testcontainers.core.container")
        # a port chosen by us stays the same over a restart, and Kafka has to know it beforehand
        container: Any = containers.DockerContainer(image.name)
        container.with_bind_ports(image.port, self._port)
        for key, value in image.environment.items():
            container.with_env(key, value.format(port=self._port))
        if image.command:
            container.with_command([word.format(port=self._port) for word in image.command])
        try:
            container.start()
        except Exception as error:  # whatever the engine's client may raise
            raise NotAvailableError(f"{image.name} cannot be started: {error}") from error
        self._container = container
        try:
            self.version = self._answer()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> ServerUrl:
        """Where it answers."""
        ports = dict.fromkeys(self._kind.port_names, self._port)
        return self._kind.url(Place(Path(), ports, Tools(Path())))

    @property
    def nodes(self) -> Sequence[str]:
        return (_NODE,)

    def close(self) -> None:
        """Removes it."""
        self._container.stop()

    def kill(self, node: str) -> None:
        self._do("kill")

    def end(self, node: str) -> None:
        self._do("stop")

    def start(self, node: str) -> None:
        self._do("start")

    def freeze(self, node: str) -> None:
        self._do("pause")

    def thaw(self, node: str) -> None:
        self._do("unpause")

    def wait_for(self, node: str) -> None:
        self._answer()

    def _do(self, verb: str) -> None:
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        wanted = {"start": "exited", "unpause": "paused"}.get(verb, "running")
        if wrapped.status == wanted:
            action: Callable[[], None] = getattr(wrapped, verb)
            action()

    def _answer(self) -> str:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return self._kind.hello(self.url)
            except OSError as error:
                if time.monotonic() > deadline:
                    logs = b""
                    with suppress(Exception):  # the text is worth more than why there is no log
                        logs = b"\n".join(self._container.get_logs())[-2_000:]
                    said = f"{self._kind.name} does not answer ({error}); its container said\n"
                    raise DidNotStartError(said + logs.decode(errors="replace")) from error
            time.sleep(_LOOK_SECONDS)


def _ping(engine: socket.socket, path: str) -> None:
    engine.settimeout(_PING_SECONDS)
    engine.connect(path)
    engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
    if b" 200 " not in engine.recv(64):
        raise ConnectionError("it answers, but not as Docker does")
