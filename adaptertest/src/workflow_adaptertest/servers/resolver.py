"""Finds a server for whoever needs one: given by its URL, in a container, or started here."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from workflow_adaptertest.servers.control import Control, FleetControl, NoControl
from workflow_adaptertest.servers.docker import Container, engine_answers
from workflow_adaptertest.servers.errors import DidNotStartError, NotAvailableError, ServersError
from workflow_adaptertest.servers.fleet import Fleet
from workflow_adaptertest.servers.kinds import Image, Kind, kind
from workflow_adaptertest.servers.server import Server

__all__ = ["FOLDER_VARIABLE", "Docker", "Given", "Here", "Servers", "Source", "usual_sources"]

FOLDER_VARIABLE = "WORKFLOW_TEST_SERVERS"


class Source(ABC):
    """One place from which servers may come."""

    @abstractmethod
    def foretell(self, kind: Kind) -> str:
        """What `offer` would give, in words and without starting anything.

        Raises:
            NotAvailableError: it would give nothing.
        """

    @abstractmethod
    def offer(self, kind: Kind) -> Server:
        """A server that answers.

        Raises:
            NotAvailableError: there is none from here; the next source may have one.
            BadUrlError: what somebody gave is no URL.
            DidNotStartError: there should be one, and it does not answer.
        """

    def close(self) -> None:  # noqa: B027
        """Ends what was started for `offer`."""


class Given(Source):
    """Servers that run already, by URLs in the environment."""

    def __init__(self, fleet: Fleet, environment: Mapping[str, str]) -> None:
        self._fleet = fleet
        self._environment = environment

    def foretell(self, kind: Kind) -> str:
        return f"{self.offer(kind).version} by {kind.variable}".strip()

    def offer(self, kind: Kind) -> Server:
        text = self._environment.get(kind.variable, "")
        if not text:
            raise NotAvailableError(f"{kind.variable} is not set")
        url = kind.parse(text)
        try:
            version = kind.hello(url)
        except OSError as error:
            raise DidNotStartError(
                f"{kind.variable} names a {kind.name} that does not answer: {error}"
            ) from error
        ours = self._fleet.entries().get(kind.name)
        if ours is None or str(self._fleet.url(kind.name)) != text:
            control: Control = NoControl(kind.name, kind.variable)
            return Server(kind, url, version, f"by {kind.variable}", control, self._fleet.tools)
        return Server(
            kind,
            url,
            version or ours.version,
            f"by {kind.variable}, of {self._fleet.folder}",
            FleetControl(self._fleet, kind.name),
            self._fleet.tools,
            self._fleet.place(kind.name),
        )


class Docker(Source):
    """Servers in containers of this session."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._running: list[Container] = []

    def foretell(self, kind: Kind) -> str:
        return f"{_image(kind).name} in a container"

    def offer(self, kind: Kind) -> Server:
        image = _image(kind)
        container = Container(kind, image)
        self._running.append(container)
        source = f"{image.name} in a container"
        tools = self._fleet.tools
        return Server(kind, container.url, container.version, source, container, tools)

    def close(self) -> None:
        while self._running:
            self._running.pop().close()


def _image(kind: Kind) -> Image:
    if kind.image is None or kind.disk_megabytes:
        raise NotAvailableError(f"there is no container for {kind.name}")
    why_not = engine_answers()
    if why_not:
        raise NotAvailableError(why_not)
    return kind.image


class Here(Source):
    """Servers from this machine's own programs, shared by all sessions with the same folder."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._using = ExitStack()
        self._used = False

    def foretell(self, kind: Kind) -> str:
        missing = kind.missing(self._fleet.tools)
        if missing:
            raise NotAvailableError(missing)
        return f"{kind.version(self._fleet.tools)} on this machine"

    def offer(self, kind: Kind) -> Server:
        self.foretell(kind)
        if not self._used:
            self._using.enter_context(self._fleet.used())
            self._used = True
        self._fleet.start([kind.name])
        return Server(
            kind,
            self._fleet.url(kind.name),
            self._fleet.entries()[kind.name].version,
            f"on this machine, in {self._fleet.folder}",
            FleetControl(self._fleet, kind.name),
            self._fleet.tools,
            self._fleet.place(kind.name),
        )

    def close(self) -> None:
        self._using.close()


def usual_sources(
    folder: Path, environment: Mapping[str, str] = os.environ
) -> tuple[Source, Source, Source]:
    """A URL in the environment, then Docker, then this machine.

    Args:
        folder: for the servers of this machine; `FOLDER_VARIABLE` names another one.
        environment: where the URLs are looked for.
    """
    fleet = Fleet(Path(environment.get(FOLDER_VARIABLE) or folder).resolve())
    return Given(fleet, environment), Docker(fleet), Here(fleet)


class Servers:
    """The servers of one test session; a context manager that ends what it started.

    Thread-safe; a server is looked for once, whether that is found or not.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._found: dict[str, Server | ServersError] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Server:
        """The server of that name, from the first source that has one.

        Raises:
            NotAvailableError: none has; the text says why, for each of them.
            BadUrlError: the one that was given is no URL.
            DidNotStartError: one should have, and it does not answer.
        """
        with self._lock:
            if name not in self._found:
                try:
                    self._found[name] = self._look_for(kind(name))
                except ServersError as error:
                    self._found[name] = error
            found = self._found[name]
        if isinstance(found, ServersError):
            raise found
        return found

    def foretell(self, name: str) -> str:
        """What `get` would answer, in a few words; nothing is started for it."""
        reasons: list[str] = []
        for source in self._sources:
            try:
                return source.foretell(kind(name))
            except NotAvailableError as error:
                reasons.append(str(error))
            except ServersError as error:
                return str(error)
        return f"none: {'; '.join(reasons)}"

    def heal(self) -> None:
        """Makes every server whole that somebody broke by its verbs."""
        with self._lock:
            found = [server for server in self._found.values() if isinstance(server, Server)]
        for server in found:
            if server.is_broken:
                server.heal()

    def _look_for(self, kind: Kind) -> Server:
        reasons: list[str] = []
        for source in self._sources:
            try:
                return source.offer(kind)
            except NotAvailableError as error:
                reasons.append(str(error))
        raise NotAvailableError(f"no {kind.name}: {'; '.join(reasons)}")

    def close(self) -> None:
        """Ends what was started; a server that others use too stays for them."""
        with self._lock:
            self._found.clear()
            for source in self._sources:
                source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
