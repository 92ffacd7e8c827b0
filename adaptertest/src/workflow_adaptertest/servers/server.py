"""A server as a test holds it: where it is, a part of it for each test, and ways to break it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from workflow_adaptertest.servers.control import Control
from workflow_adaptertest.servers.errors import CannotBreakError
from workflow_adaptertest.servers.kinds import Kind
from workflow_adaptertest.servers.place import Place, Tools
from workflow_adaptertest.servers.proxies import Proxied, proxied
from workflow_adaptertest.servers.url import Address, ServerUrl

__all__ = ["Server", "Space"]


@dataclass(frozen=True)
class Space:
    """A part of a server that belongs to one test.

    Attributes:
        url: leads into the test's own database where there is such a thing.
        name: unique over all machines, 13 lowercase letters and digits. Where there are no
            databases, keys and topics whose names hold it are removed after the test.
    """

    url: ServerUrl
    name: str


@dataclass(frozen=True)
class Server:
    """A server that answers. Fault verbs mean all its nodes, or the ones that are named.

    The verbs are for one thread at a time; whoever else uses the server feels them too. `heal`
    takes everything back; pytest does it after each test that used one.

    Attributes:
        kind: what it is.
        url: where it is.
        version: as it told; empty if it does not tell.
        source: who runs it, in words for a person.
    """

    kind: Kind
    url: ServerUrl
    version: str
    source: str
    _control: Control = field(repr=False)
    _tools: Tools = field(repr=False)
    _place: Place | None = field(default=None, repr=False)
    _broken: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def name(self) -> str:
        """Its kind's name, such as ``redis-cluster``."""
        return self.kind.name

    @property
    def nodes(self) -> Sequence[str]:
        """The names of its nodes; none if somebody else runs it."""
        return self._control.nodes

    @property
    def is_broken(self) -> bool:
        """Whether a verb was used on it since it was last healed."""
        return self._broken.is_set()

    def client(self, url: ServerUrl | None = None) -> list[str]:
        """The command of the server's own client, for this server or a URL made from its own.

        Raises:
            NotAvailableError: it is not installed.
        """
        return self.kind.client(url or self.url, self._tools)

    @contextmanager
    def own_space(self) -> Iterator[Space]:
        """A database or a prefix of one's own, removed at the end.

        Raises:
            NotAvailableError: the client program that makes it is not installed.
        """
        name = "t" + uuid.uuid4().hex[:12]
        with self.kind.own_space(self.url, name, self._tools) as url:
            yield Space(url, name)

    # -- what happens to its processes; all raise CannotBreakError where somebody else runs it

    def restart(self, *nodes: str) -> None:
        """Ends nodes in good order, starts them again on their data, waits until they answer."""
        chosen = self._chosen(nodes)
        _each(self._control.end, reversed(chosen))
        self.start(*chosen)

    def kill(self, *nodes: str) -> None:
        """Ends nodes by SIGKILL; they stay down until `start` or `heal`."""
        _each(self._control.kill, self._chosen(nodes))

    def start(self, *nodes: str) -> None:
        """Starts nodes that do not run, waits until they answer and a cluster is whole again."""
        chosen = self._chosen(nodes)
        _each(self._control.start, chosen)
        _each(self._control.wait_for, chosen)
        self._control.settle()

    def freeze(self, *nodes: str) -> None:
        """Stops nodes where they stand: connections stay open, and nothing is answered."""
        _each(self._control.freeze, self._chosen(nodes))

    def thaw(self, *nodes: str) -> None:
        """Lets frozen nodes go on."""
        _each(self._control.thaw, self._chosen(nodes))

    def fill_disk(self, *nodes: str) -> None:
        """Leaves no byte free on the nodes' disks; only for a server ``…-small-disk``."""
        _each(self._control.fill_disk, self._chosen(nodes))

    def free_disk(self, *nodes: str) -> None:
        """Takes away what `fill_disk` wrote; a server that gave up meanwhile needs `start`."""
        _each(self._control.free_disk, self._chosen(nodes))

    def heal(self) -> None:
        """Makes it whole: disks freed, frozen nodes thawed, dead ones started, all answering."""
        if self.nodes:
            self.free_disk()
            self.thaw()
            self.start()
        self._broken.clear()

    # -- what happens between a client and it

    @contextmanager
    def behind(self, toxiproxy: Server) -> Iterator[Proxied]:
        """Puts Toxiproxy before it, until the end of the block.

        Raises:
            CannotBreakError: it tells its clients addresses that this process cannot change.
        """
        name = f"{self.name}-{uuid.uuid4().hex[:12]}"
        with proxied(
            self.url, self._upstreams(), toxiproxy=toxiproxy.url.address, name=name
        ) as through:
            self._announce([port for _, port in through.url.addresses])
            try:
                yield through
            finally:
                self._announce([port for _, port in self.url.addresses])

    def _upstreams(self) -> list[tuple[int, Address]]:
        if self._place is not None:
            return self.kind.upstreams(self._place)
        if self.kind.tells_addresses:
            raise CannotBreakError(f"{self.name} tells its clients to go round any proxy")
        return [(0, address) for address in self.url.addresses]

    def _announce(self, ports: Sequence[int]) -> None:
        if self._place is not None:
            self.kind.announce(self._place, ports)

    def _chosen(self, nodes: Sequence[str]) -> Sequence[str]:
        self._broken.set()
        # with no node to name, the control still has its reason to tell
        return nodes or self.nodes or [self.name]


def _each(verb: Callable[[str], None], nodes: Iterator[str] | Sequence[str]) -> None:
    for node in nodes:
        verb(node)
