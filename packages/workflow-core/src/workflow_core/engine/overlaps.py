"""Overlaps: statuses that this process works on, and another pool too.

Both pools would run their steps. While a deploy moves a status from one pool to another that is as
it should be, so nothing is refused: it is told in the log once, and in the health while it lasts.
Each worker writes its record before it looks, so of two that begin at once one sees the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from workflow_core.engine.core import Core
from workflow_core.engine.lane import Lane
from workflow_core.engine.worker_state import is_late, note_of
from workflow_core.engine.worker_verbs import live_records
from workflow_core.errors import DecodeError

__all__ = ["Overlaps"]

logger = logging.getLogger("workflow_core.engine")


class Overlaps:
    """One per serving. `look` by one thread, `told` by any."""

    def __init__(self, core: Core, lanes: Iterable[Lane]) -> None:
        self._core = core
        self._lanes = {lane.workflow.name: lane for lane in lanes}
        self.statuses = {name: sorted(lane.steps) for name, lane in self._lanes.items()}
        """Those whose steps run here, by workflow."""
        self.told: Sequence[str] = ()

    def look(self) -> None:
        """Raises AdapterUnavailableError: the next look finds out."""
        found: set[str] = set()
        now = self._core.store.now()
        for record in live_records(self._core):
            try:
                note = note_of(record)
            except DecodeError:  # of newer code: nothing is known of it
                continue
            if is_late(record, note, now):
                continue
            for name, statuses in (note.statuses or {}).items():
                lane = self._lanes.get(name)
                if lane is not None and lane.pool != note.pool:
                    both = set(statuses) & set(lane.steps)
                    found.update(_tell(lane, status, note.pool) for status in both)
        for told in sorted(found - set(self.told)):
            logger.warning("%s", told)
        self.told = sorted(found)


def _tell(lane: Lane, status: int, other: str) -> str:
    return (
        f"the pools {lane.pool!r} and {other!r} both run the step at "
        f"{lane.workflow.status(status).name} of {lane.workflow.name!r}: unless a deploy is moving "
        "it, leave it out of statuses= in one of them"
    )
