"""The sides of a move."""

from workflow_core.model import Value
from workflow_core.ports import RecordStore, TimeoutStore

__all__ = ["Stores"]


class Stores(Value, frozen=True, kw_only=True):
    """One side of a move; the two may be in one database or in two."""

    records: RecordStore
    timeouts: TimeoutStore | None = None
    """None: no workflow here has timers."""
