"""The memory event streamer under its contract."""

from contextlib import AbstractContextManager

from workflow_adaptertest import Env, EventStreamerContract
from workflow_core.memory import MemoryDatabase, MemoryEventStreamer, MemoryRecordStore
from workflow_core.ports import EventStreamer, RecordStore


def shared(env: Env) -> MemoryDatabase:
    return env.shared("database", lambda: MemoryDatabase(env.clock))


class TestMemoryEventStreamer(EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[EventStreamer]:
        return MemoryEventStreamer(shared(env), instance=env.new_instance())

    def joined_store(self, env: Env) -> AbstractContextManager[RecordStore]:
        return MemoryRecordStore(shared(env))
