"""The ports: what an adapter implements, and all that the engine knows of the world.

Rules for every port:

- The engine calls only the batch methods and ``acquire``. Their default bodies loop over the small
  methods, so an author writes the small ones; an adapter that overrides a batch method writes the
  small one as one line above it.
- A batch method answers per item, in order, and never raises for one item. It raises
  `AdapterUnavailableError` only when nobody knows for any item what happened; the engine then asks
  again with the same arguments.
- Going in, times are delays; the store stamps and compares by its own clock: the one that its
  context gives (tests, memory, SQLite), else its server's, never a worker's. A worker whose clock
  is off changes nothing.
- A blocking call takes a ``timeout`` (zero: what is there now) and also ends within a second of
  ``close()`` from another thread, with `ClosedError`. No stop flags are passed on.
- Only errors of `workflow_core.errors` come out, the driver's own as ``__cause__``.
- Methods may be called from several threads at once unless their docstring says otherwise.
"""

from workflow_core.ports.adapter import (
    Adapter,
    AdapterContext,
    AdapterFactory,
    Capability,
    Closable,
)
from workflow_core.ports.answers import Erasure, OutboxBacklog, Tally
from workflow_core.ports.clock import Clock, SystemClock
from workflow_core.ports.connector_source import ConnectorSource
from workflow_core.ports.event_streamer import (
    OUT_OF_REACH,
    Delivery,
    EventSender,
    EventStreamer,
    Receiver,
    Shards,
)
from workflow_core.ports.forking import hold_over_fork, in_forked_child, leave_to_parent
from workflow_core.ports.observer import Answered, Observer
from workflow_core.ports.record_store import RecordStore
from workflow_core.ports.role_scheduler import Lease, RoleScheduler
from workflow_core.ports.settings import Secret
from workflow_core.ports.store_transaction import Outcome, RunCopy, StoreTransaction, Write
from workflow_core.ports.timeout_store import TimeoutStore

__all__ = [
    "OUT_OF_REACH",
    "Adapter",
    "AdapterContext",
    "AdapterFactory",
    "Answered",
    "Capability",
    "Clock",
    "Closable",
    "ConnectorSource",
    "Delivery",
    "Erasure",
    "EventSender",
    "EventStreamer",
    "Lease",
    "Observer",
    "OutboxBacklog",
    "Outcome",
    "Receiver",
    "RecordStore",
    "RoleScheduler",
    "RunCopy",
    "Secret",
    "Shards",
    "StoreTransaction",
    "SystemClock",
    "Tally",
    "TimeoutStore",
    "Write",
    "hold_over_fork",
    "in_forked_child",
    "leave_to_parent",
]
