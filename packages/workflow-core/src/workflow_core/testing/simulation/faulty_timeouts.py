"""Memory timers to which misfortunes happen, as the dice say; see `faults`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.memory import MemoryDatabase, MemoryTimeoutStore
from workflow_core.model import Page, Timeout
from workflow_core.ports import StoreTransaction
from workflow_core.testing.simulation.faults import Faults

__all__ = ["FaultyTimeouts"]


class FaultyTimeouts(MemoryTimeoutStore):
    """A timeout store whose calls go as `faults` lets them."""

    def __init__(self, database: MemoryDatabase, faults: Faults) -> None:
        super().__init__(database)
        self._faults = faults

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("create_many", may_take_effect=True):
            super().create_many(timeouts)

    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """As the port says, if it goes well."""
        with self._faults.call("complete_many", may_take_effect=True):
            return super().complete_many(keys)

    def cancel_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """As the port says, if it goes well."""
        with self._faults.call("cancel_many", may_take_effect=True):
            return super().complete_many(keys)

    def park_many(self, keys: Sequence[str]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("park_many", may_take_effect=True):
            super().park_many(keys)

    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("reschedule_many", may_take_effect=True):
            super().reschedule_many(timeouts)

    def forget(self, run_ids: Sequence[str]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("forget", may_take_effect=True):
            super().forget(run_ids)

    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        """As the port says, if it goes well."""
        with self._faults.call("list_valid"):
            return super().list_valid(workflows, limit=limit)

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """As the port says, if it goes well."""
        with self._faults.call("next_due"):
            return super().next_due(workflows)

    def closed_runs(
        self, workflow: str, *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """As the port says, if it goes well."""
        with self._faults.call("closed_runs"):
            return super().closed_runs(workflow, after=after, limit=limit)

    def write_within(
        self, transaction: StoreTransaction, *, arm: Sequence[Timeout], cancel: Sequence[str]
    ) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("write_within"):
            super().write_within(transaction, arm=arm, cancel=cancel)
