"""What the four memory adapters share."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_core.errors import ClosedError
from workflow_core.memory.database import MemoryDatabase
from workflow_core.ports import Adapter, AdapterContext

__all__ = ["MemoryAdapter", "MemorySettings", "shared_database"]


@dataclass(frozen=True)
class MemorySettings:
    """The memory adapters have nothing to set."""


class MemoryAdapter(Adapter):
    """A handle on a `MemoryDatabase`; closing it leaves the database as it is."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._is_open = True

    @property
    def database(self) -> MemoryDatabase:
        """The database. Raises `ClosedError` once the adapter is closed."""
        if not self._is_open:
            raise ClosedError(f"the {type(self).__name__} was closed", adapter="memory")
        return self._database

    def close(self) -> None:
        """Give the handle back."""
        self._is_open = False

    def check_health(self) -> str:
        """Always well."""
        with self.database.lock:
            return f"memory, {len(self.database.runs.rows)} runs"


def shared_database(context: AdapterContext) -> MemoryDatabase:
    """The one database of all memory adapters of an engine."""
    return context.shared(MemoryDatabase, lambda: MemoryDatabase(context.clock))
