"""The values that travel: records, events, timers, queries. Frozen, and free of any I/O."""

from workflow_core.model.codec import Codec
from workflow_core.model.event import ConnectorEvent, Event, EventKind, OutboxEvent
from workflow_core.model.ids import uuid7, uuid_from_key
from workflow_core.model.query import Page, RecordQuery, SortOrder
from workflow_core.model.record import HistoryEntry, PauseKind, Record, Resumed
from workflow_core.model.states import RunState
from workflow_core.model.timeout import Timeout
from workflow_core.model.value import UNSTAMPED, Value

__all__ = [
    "UNSTAMPED",
    "Codec",
    "ConnectorEvent",
    "Event",
    "EventKind",
    "HistoryEntry",
    "OutboxEvent",
    "Page",
    "PauseKind",
    "Record",
    "RecordQuery",
    "Resumed",
    "RunState",
    "SortOrder",
    "Timeout",
    "Value",
    "uuid7",
    "uuid_from_key",
]
