"""SQLite certified by the contracts of all four ports."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from workflow_adaptertest import (
    Env,
    EventStreamerContract,
    RecordStoreContract,
    RoleSchedulerContract,
    TimeoutStoreContract,
)
from workflow_core.ports import Secret
from workflow_sql import (
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlSettings,
    SqlTimeoutStore,
)


def settings(folder: Path) -> SqlSettings:
    return SqlSettings(url=Secret(f"sqlite:///{folder / 'workflow.db'}"))


class TestSqlRecordStore(RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return SqlRecordStore.from_config(settings(env.folder), env.context())


class TestSqlEventStreamer(EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlEventStreamer]:
        return SqlEventStreamer.from_config(settings(env.folder), env.context())


class TestSqlRoleScheduler(RoleSchedulerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRoleScheduler]:
        return SqlRoleScheduler.from_config(settings(env.folder), env.context())


class TestSqlTimeoutStore(TimeoutStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlTimeoutStore]:
        return SqlTimeoutStore.from_config(settings(env.folder), env.context())
