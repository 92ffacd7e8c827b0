"""All ports in memory: complete, quick, and gone with the process.

For tests, for simulations, for trying things out, and as the reference of what a port means.
Adapters over one `MemoryDatabase` share what is in it: streamer and timers join the store's
transactions, and several instances over one database are a cluster in one process.
"""

from workflow_core.memory.adapter import MemorySettings
from workflow_core.memory.connector_source import MemoryConnectorSource, MemoryStreamSettings
from workflow_core.memory.database import MemoryConnection, MemoryDatabase
from workflow_core.memory.event_streamer import MemoryEventStreamer
from workflow_core.memory.record_store import MemoryRecordStore
from workflow_core.memory.role_scheduler import MemoryRoleScheduler
from workflow_core.memory.timeout_store import MemoryTimeoutStore

__all__ = [
    "MemoryConnection",
    "MemoryConnectorSource",
    "MemoryDatabase",
    "MemoryEventStreamer",
    "MemoryRecordStore",
    "MemoryRoleScheduler",
    "MemorySettings",
    "MemoryStreamSettings",
    "MemoryTimeoutStore",
]
