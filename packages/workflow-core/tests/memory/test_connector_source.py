"""The memory connector source under its contract."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from workflow_adaptertest import ConnectorSourceContract, Env
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.model import ConnectorEvent
from workflow_core.ports import ConnectorSource


def source(env: Env) -> MemoryConnectorSource:
    database = env.shared("database", lambda: MemoryDatabase(env.clock))
    return MemoryConnectorSource(database, "payments", instance=env.new_instance())


class TestMemoryConnectorSource(ConnectorSourceContract):
    def adapter(self, env: Env) -> AbstractContextManager[ConnectorSource]:
        return source(env)

    def feed(self, env: Env, events: Sequence[ConnectorEvent]) -> None:
        with source(env) as stream:
            for event in events:
                stream.send(event.key, event.value, headers=event.headers)
