"""Four adapters of which one breaks a promise that shows in whole workflows, and what notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

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
from workflow_core.model import OutboxEvent, Timeout
from workflow_core.ports import Adapter


class NeverFires(MemoryTimeoutStore):
    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        return []

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        return []


class LosesDelayedEvents(MemoryRecordStore):
    """What is due at once goes through the stream; a retry is a delayed row, and is never due."""

    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        return []


NOTICED_BY: dict[type[Adapter], str] = {
    NeverFires: "test_run_goes_all_the_way_when_one_process_serves",
    LosesDelayedEvents: "test_run_goes_all_the_way_when_one_process_serves",
}


def certified(mutant: type[Adapter]) -> type[AcceptanceContract]:
    """The class that an author who ships these four would write."""
    store = mutant if issubclass(mutant, MemoryRecordStore) else MemoryRecordStore
    timers = mutant if issubclass(mutant, MemoryTimeoutStore) else MemoryTimeoutStore

    def adapter(self: object, env: Env) -> AbstractContextManager[Adapters]:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        context = env.context()
        return Adapters(
            record_store=store(database),
            event_streamer=MemoryEventStreamer(database, instance=context.instance),
            role_scheduler=MemoryRoleScheduler(database, instance=context.instance),
            timeout_store=timers(database),
            context=context,
        )

    body: Mapping[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "patience": timedelta(seconds=1),
    }
    return type(f"Test{mutant.__name__}", (AcceptanceContract,), dict(body))


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
