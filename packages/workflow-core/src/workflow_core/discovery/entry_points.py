"""Finds the installed adapters, by entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.metadata import EntryPoint

from workflow_core.discovery.groups import PORTS, Port

__all__ = ["Catalogue", "InstalledAdapter", "adapters"]


@dataclass(frozen=True)
class InstalledAdapter:
    """An adapter that is installed here, whether or not it can be imported.

    Attributes:
        name: what it is chosen by.
        port: the port that it fills, such as "record_store".
        distribution: the wheel that it came in.
        version: the wheel's version.
        entry_point: what leads to its factory.
    """

    name: str
    port: str
    distribution: str
    version: str
    entry_point: EntryPoint = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name!r} of the distribution {self.distribution} {self.version}"


def _entry_points(group: str) -> Iterable[EntryPoint]:
    return metadata.entry_points(group=group)


class Catalogue:
    """What is installed, by port. Asks anew each time; any thread.

    Args:
        entry_points: answers those of a group; the default asks the interpreter.
    """

    def __init__(self, entry_points: Callable[[str], Iterable[EntryPoint]] = _entry_points) -> None:
        self._entry_points = entry_points

    def adapters(self, port: Port) -> Sequence[InstalledAdapter]:
        """All that are installed for the port, by name; two distributions may give one name."""
        found = [_adapter(port, entry_point) for entry_point in self._entry_points(port.group)]
        return sorted(found, key=lambda adapter: (adapter.name, adapter.distribution))

    def names(self) -> set[str]:
        """The names of all installed adapters, of whatever port."""
        return {adapter.name for port in PORTS for adapter in self.adapters(port)}


def adapters(group: str | None = None) -> Sequence[InstalledAdapter]:
    """The adapters that are installed here: of one entry-point group, or of all.

    Args:
        group: such as "workflow_core.record_stores".

    Raises:
        ValueError: there is no such group.
    """
    ports = [port for port in PORTS if group in (None, port.group)]
    if not ports:
        raise ValueError(f"no group {group!r}; there are {', '.join(port.group for port in PORTS)}")
    catalogue = Catalogue()
    return [adapter for port in ports for adapter in catalogue.adapters(port)]


def _adapter(port: Port, entry_point: EntryPoint) -> InstalledAdapter:
    distribution = entry_point.dist
    return InstalledAdapter(
        name=entry_point.name,
        port=port.key,
        distribution=distribution.name if distribution else "an unknown one",
        version=distribution.version if distribution else "",
        entry_point=entry_point,
    )
