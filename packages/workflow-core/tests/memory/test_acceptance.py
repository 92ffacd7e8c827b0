"""The four memory adapters under the acceptance contract."""

from contextlib import AbstractContextManager

from workflow_adaptertest import Env
from workflow_adaptertest.acceptance import AcceptanceContract
from workflow_core.discovery import Adapters
from workflow_core.memory import (
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
    MemoryTimeoutStore,
)


class TestMemoryTogether(AcceptanceContract):
    def adapter(self, env: Env) -> AbstractContextManager[Adapters]:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        context = env.context()
        return Adapters(
            record_store=MemoryRecordStore(database),
            event_streamer=MemoryEventStreamer(database, instance=context.instance),
            role_scheduler=MemoryRoleScheduler(database, instance=context.instance),
            timeout_store=MemoryTimeoutStore(database),
            context=context,
        )
