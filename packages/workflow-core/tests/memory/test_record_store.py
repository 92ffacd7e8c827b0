"""The memory record store under its contract."""

from contextlib import AbstractContextManager

from workflow_adaptertest import Env, RecordStoreContract
from workflow_core.memory import MemoryDatabase, MemoryRecordStore
from workflow_core.ports import RecordStore


class TestMemoryRecordStore(RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[RecordStore]:
        return MemoryRecordStore(env.shared("database", lambda: MemoryDatabase(env.clock)))
