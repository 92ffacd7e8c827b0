"""The values that travel: records, events, timers, queries. Frozen, and free of any I/O."""

from workflow_core.model.codec import Codec
from workflow_core.model.dead_letter import DeadLetter, LetterKind, LetterState
from workflow_core.model.event import ConnectorEvent, Event, EventKind, OutboxEvent
from workflow_core.model.ids import uuid7, uuid_from_key
from workflow_core.model.observations import (
    AttemptFailed,
    EventSkipped,
    EventsPublished,
    LagSeen,
    LetterKept,
    Observation,
    PortCalled,
    ProcessFailed,
    ProcessStanding,
    RoleChange,
    RoleChanged,
    SkipReason,
    Standing,
    StateChanged,
    StockGone,
    StockTaken,
    TimerFired,
    Work,
    WorkDone,
    WorkKind,
)
from workflow_core.model.query import Page, RecordQuery, SortOrder
from workflow_core.model.record import HistoryEntry, PauseKind, Record, Resumed
from workflow_core.model.search import Between, SearchValue, Wanted, meets
from workflow_core.model.states import RunState
from workflow_core.model.timeout import Timeout
from workflow_core.model.value import UNSTAMPED, Value

__all__ = [
    "UNSTAMPED",
    "AttemptFailed",
    "Between",
    "Codec",
    "ConnectorEvent",
    "DeadLetter",
    "Event",
    "EventKind",
    "EventSkipped",
    "EventsPublished",
    "HistoryEntry",
    "LagSeen",
    "LetterKept",
    "LetterKind",
    "LetterState",
    "Observation",
    "OutboxEvent",
    "Page",
    "PauseKind",
    "PortCalled",
    "ProcessFailed",
    "ProcessStanding",
    "Record",
    "RecordQuery",
    "Resumed",
    "RoleChange",
    "RoleChanged",
    "RunState",
    "SearchValue",
    "SkipReason",
    "SortOrder",
    "Standing",
    "StateChanged",
    "StockGone",
    "StockTaken",
    "Timeout",
    "TimerFired",
    "Value",
    "Wanted",
    "Work",
    "WorkDone",
    "WorkKind",
    "meets",
    "uuid7",
    "uuid_from_key",
]
