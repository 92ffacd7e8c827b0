"""What the four memory adapters share."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_core.errors import ClosedError
from workflow_core.memory.database import MemoryDatabase
from workflow_core.ports import Adapter, AdapterContext

__all__ = ["MemoryAdapter", "MemorySettings", "shared_database"]


@dataclass(frozen=True)
class MemorySettings:
    """What can be set for the memory adapters.

    Attributes:
        history_data: keep the run's data with each version in its history, but for failed
            attempts, which change none.
    """

    history_data: bool = False


class MemoryAdapter(Adapter):
    """A handle on a `MemoryDatabase`; closing it leaves the database as it is."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._is_open = True

    @property
    def database(self) -> MemoryDatabase:
        """The database. Raises `ClosedError` once the adapter is closed, and in a forked child."""
        if self._database.is_parents:
            raise ClosedError(
                "this process was forked from the one whose memory the runs are in: nobody else "
                "would see what it writes",
                adapter="memory",
                hint="Keep runs that processes share in a database, one SQLite file will do",
            )
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
