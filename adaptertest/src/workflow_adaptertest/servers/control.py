"""Who can break a server, node by node: whoever runs its processes."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence

from workflow_adaptertest.servers import disk
from workflow_adaptertest.servers.errors import CannotBreakError
from workflow_adaptertest.servers.fleet import Fleet
from workflow_adaptertest.servers.place import Node
from workflow_adaptertest.servers.processes import find, freeze, noted, wait_until_gone

__all__ = ["Control", "FleetControl", "NoControl"]

_GONE_SECONDS = 30.0


class Control(ABC):
    """The faults that need power over a server's processes. Every verb waits until it is so."""

    @property
    @abstractmethod
    def nodes(self) -> Sequence[str]:
        """The names of the nodes, in the order of the URL's addresses."""

    @abstractmethod
    def kill(self, node: str) -> None:
        """Ends the node with all its processes at once, by SIGKILL."""

    @abstractmethod
    def end(self, node: str) -> None:
        """Ends the node in good order."""

    @abstractmethod
    def start(self, node: str) -> None:
        """Starts the node on its old data, if it does not run; does not wait for an answer."""

    @abstractmethod
    def freeze(self, node: str) -> None:
        """Stops the node where it stands: connections stay open, nothing answers."""

    @abstractmethod
    def thaw(self, node: str) -> None:
        """Lets a frozen node go on."""

    @abstractmethod
    def wait_for(self, node: str) -> None:
        """Waits until the node answers."""

    def settle(self) -> None:  # noqa: B027
        """Waits until nodes that all run are one server again."""

    def fill_disk(self, node: str) -> None:
        """Leaves no byte free on the node's disk."""
        raise CannotBreakError(f"node {node} has no disk of its own that could be filled")

    def free_disk(self, node: str) -> None:  # noqa: B027
        """Takes away what `fill_disk` wrote."""


class NoControl(Control):
    """For a server that somebody else runs, by its URL in the environment."""

    def __init__(self, name: str, variable: str) -> None:
        self._why = f"{name} is given by {variable}: only its owner could do that to its processes"

    @property
    def nodes(self) -> Sequence[str]:
        return ()

    def kill(self, node: str) -> None:
        raise CannotBreakError(self._why)

    end = start = freeze = thaw = wait_for = kill

    def fill_disk(self, node: str) -> None:
        raise CannotBreakError(self._why)


class FleetControl(Control):
    """For a server of a fleet on this machine."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self._name = name

    @property
    def nodes(self) -> Sequence[str]:
        return [node.name for node in self._fleet.nodes(self._name)]

    def kill(self, node: str) -> None:
        self._end(self._node(node), signal.SIGKILL)

    def end(self, node: str) -> None:
        one = self._node(node)
        self._end(one, signal.Signals[one.stop_signal])

    def start(self, node: str) -> None:
        one = self._node(node)
        if find(one.note) is None:
            self._fleet.start_node(self._name, one)

    def freeze(self, node: str) -> None:
        process = find(self._node(node).note)
        if process is not None:
            freeze(process)

    def thaw(self, node: str) -> None:
        process = find(self._node(node).note)
        for member in process.family() if process is not None else ():
            member.send(signal.SIGCONT)

    def wait_for(self, node: str) -> None:
        self._fleet.wait_for(self._name, [self._node(node)])

    def settle(self) -> None:
        self._fleet.settle(self._name)

    def fill_disk(self, node: str) -> None:
        disk.fill(self._node(node))

    def free_disk(self, node: str) -> None:
        one = self._node(node)
        if one.disk_megabytes:
            disk.free(one)

    def _node(self, name: str) -> Node:
        for node in self._fleet.nodes(self._name):
            if node.name == name:
                return node
        raise CannotBreakError(f"{self._name} has the nodes {', '.join(self.nodes)}, no {name!r}")

    def _end(self, node: Node, number: signal.Signals) -> None:
        process = noted(node.note)
        if process is None:
            return
        if number == signal.SIGKILL:
            family = freeze(process)  # so that none of them has a child that is not in the list
            for member in family:
                member.send(number)
        else:
            family = process.family()
            process.send(number)
        if not wait_until_gone([process, *family], seconds=_GONE_SECONDS):
            raise CannotBreakError(f"{self._name}, node {node.name}, does not end")
