"""What a kind of server has to tell so that it can be installed, started, asked and broken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

from workflow_adaptertest.servers.errors import NotAvailableError
from workflow_adaptertest.servers.place import Node, Place, Tools
from workflow_adaptertest.servers.recipes import Recipe
from workflow_adaptertest.servers.url import Address, ServerUrl

__all__ = ["Image", "Kind"]


@dataclass(frozen=True)
class Image:
    """How the server runs in a container.

    Attributes:
        name: the image, with its tag.
        port: where it listens inside.
        environment: what it is configured with; ``{port}`` stands for the port outside.
        command: replaces the image's own where it is not empty.
    """

    name: str
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()


class Kind(ABC):
    """One kind of server, or a variant of one. It keeps no state: all is in folders and processes.

    Args:
        disk_megabytes: the size of a small disk of its own, which a test can fill.

    Attributes:
        title: e.g. ``redis-cluster``.
        port_names: the ports that it needs on this machine.
        default_port: where a URL names none.
        needs: what has to be on the machine to run it.
        image: how it runs in a container; None where a container would not do.
        tells_addresses: whether clients are told where to go on, past any proxy.
        one_by_one: whether a node can only be made once the one before it answers.
    """

    title: ClassVar[str]
    port_names: ClassVar[Sequence[str]]
    default_port: ClassVar[int]
    needs: ClassVar[tuple[Recipe, ...]]
    image: ClassVar[Image | None] = None
    tells_addresses: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = False

    def __init__(self, *, disk_megabytes: int = 0) -> None:
        self.disk_megabytes = disk_megabytes

    @property
    def name(self) -> str:
        """What people and state files call it; also names its environment variable."""
        return f"{self.title}-small-disk" if self.disk_megabytes else self.title

    def missing(self, tools: Tools) -> str:
        """Why it cannot run here; empty if it can."""
        return "; ".join(filter(None, (need.missing(tools) for need in self.needs)))

    @property
    def variable(self) -> str:
        """The environment variable that names a server of this kind which runs already."""
        return f"WORKFLOW_TEST_{self.name.upper().replace('-', '_')}_URL"

    def parse(self, text: str) -> ServerUrl:
        """Reads the URL of a server of this kind."""
        return ServerUrl.parse(text, port=self.default_port)

    @abstractmethod
    def nodes(self, place: Place) -> list[Node]:
        """The processes of a server at this place, in the order in which they are to start."""

    def prepare(self, node: Node, place: Place) -> None:  # noqa: B027
        """Makes the node's data, unless it is there; called before each start of the node.

        Interrupted, it leaves no ``node.data`` behind, so the next call begins anew.
        """

    def form(self, place: Place) -> None:  # noqa: B027
        """Makes one server of nodes that all answer, unless they are one already."""

    @abstractmethod
    def url(self, place: Place) -> ServerUrl:
        """How clients reach the server at this place."""

    def upstreams(self, place: Place) -> list[tuple[int, Address]]:
        """For each address of the URL: where a proxy is to listen (0: anywhere) and lead to."""
        return [(0, address) for address in self.url(place).addresses]

    def announce(self, place: Place, ports: Sequence[int]) -> None:  # noqa: B027
        """Makes the nodes tell their clients these ports, for servers that tell addresses."""

    @abstractmethod
    def hello(self, url: ServerUrl) -> str:
        """Talks to the first address in the server's own protocol; answers its version.

        The version is empty where the server does not tell it.

        Raises:
            OSError: nobody answers there, or not yet, or in no such protocol.
        """

    @abstractmethod
    def version(self, tools: Tools) -> str:
        """The version of the installed programs.

        Raises:
            NotAvailableError: they are not installed.
        """

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        """The server's own command-line client, connected to the first address.

        Raises:
            NotAvailableError: there is no such client, or it is not installed.
        """
        raise NotAvailableError(f"{self.name} has no command-line client")

    @abstractmethod
    def own_space(
        self, url: ServerUrl, name: str, tools: Tools
    ) -> AbstractContextManager[ServerUrl]:
        """A part of the server that is nobody else's, made here and removed at the end.

        A database where there is such a thing, and the URL leads into it. Elsewhere the URL stays
        the same, and what has ``name`` in its own name (keys, topics) is removed at the end.

        Raises:
            NotAvailableError: a program needed for that is missing.
        """
