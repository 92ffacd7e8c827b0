"""The memory role scheduler under its contract."""

from contextlib import AbstractContextManager
from datetime import timedelta

from workflow_adaptertest import Env, RoleSchedulerContract
from workflow_core.memory import MemoryDatabase, MemoryRoleScheduler
from workflow_core.ports import RoleScheduler


class TestMemoryRoleScheduler(RoleSchedulerContract):
    def adapter(self, env: Env) -> AbstractContextManager[RoleScheduler]:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        return MemoryRoleScheduler(database, instance=env.new_instance())

    def crash(self, env: Env, handle: RoleScheduler) -> timedelta:
        assert isinstance(handle, MemoryRoleScheduler)
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        database.vanish(handle._member.instance)
        return timedelta(seconds=10)
