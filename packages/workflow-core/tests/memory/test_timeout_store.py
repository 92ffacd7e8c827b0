"""The memory timeout store under its contract."""

from contextlib import AbstractContextManager

from workflow_adaptertest import Env, TimeoutStoreContract
from workflow_core.memory import MemoryDatabase, MemoryRecordStore, MemoryTimeoutStore
from workflow_core.ports import RecordStore, TimeoutStore


def shared(env: Env) -> MemoryDatabase:
    return env.shared("database", lambda: MemoryDatabase(env.clock))


class TestMemoryTimeoutStore(TimeoutStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[TimeoutStore]:
        return MemoryTimeoutStore(shared(env))

    def joined_store(self, env: Env) -> AbstractContextManager[RecordStore]:
        return MemoryRecordStore(shared(env))
