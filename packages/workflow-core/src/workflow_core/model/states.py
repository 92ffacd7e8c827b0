"""The state of a run, beside its status: is it to be worked on, does it wait, has it ended.

::

    INITIATED ─► RUNNING ─► COMPLETED ─► REQUESTED_DATA_DELETED ─► DATA_DELETED
        │          │ ▲                        ▲        ▲                 │
        ▼          ▼ │                        │        └─────────────────┘
      PAUSED ◄───► PAUSED ───► CANCELLED ─────┘
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["RunState"]

# Looking up a member of an enum costs more than all else in the properties that use these.
_RUNNING, _PAUSED, _CANCELLED = 2, 3, 4


class RunState(IntEnum):
    """The numbers are stored and travel in events: never renumber."""

    INITIATED = 1
    """Triggered, no step has finished yet."""
    RUNNING = 2
    PAUSED = 3
    """Stands still until somebody resumes or cancels it; still the live run of its foreign id."""
    CANCELLED = 4
    COMPLETED = 5
    DATA_DELETED = 6
    REQUESTED_DATA_DELETED = 7

    @property
    def is_finished(self) -> bool:
        """It has ended; no step will ever run again."""
        return self >= _CANCELLED

    @property
    def is_stopped(self) -> bool:
        """No step runs now: paused, cancelled or its data deleted."""
        return self in (
            RunState.PAUSED,
            RunState.CANCELLED,
            RunState.DATA_DELETED,
            RunState.REQUESTED_DATA_DELETED,
        )

    @property
    def is_live(self) -> bool:
        """It holds its foreign id: initiated, running or paused."""
        return self <= _PAUSED

    @property
    def is_driven(self) -> bool:
        """Steps work on it: initiated or running."""
        return self <= _RUNNING
