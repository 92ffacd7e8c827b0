"""One database behind four ports: sharing, transactions, and what is gone with a purge."""

from collections.abc import Callable
from datetime import timedelta
from threading import Event as Signal
from threading import Thread

import pytest
from workflow_core.errors import AdapterError, ClosedError, NotSupportedError, StoreBusyError
from workflow_core.memory import (
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
    MemorySettings,
    MemoryTimeoutStore,
)
from workflow_core.model import Event, Record, RecordQuery, RunState
from workflow_core.ports import AdapterContext, Outcome, Write
from workflow_core.testing import FakeClock

ZERO = timedelta(0)
MakeRecord = Callable[[], Record]
MakeEvent = Callable[[], Event]


@pytest.fixture
def store(database: MemoryDatabase) -> MemoryRecordStore:
    return MemoryRecordStore(database)


def test_ports_of_one_engine_share_a_database_when_made_from_configuration(
    clock: FakeClock,
) -> None:
    settings = MemorySettings()
    with AdapterContext(instance="one", clock=clock) as context:
        store = MemoryRecordStore.from_config(settings, context)
        streamer = MemoryEventStreamer.from_config(settings, context)
        timers = MemoryTimeoutStore.from_config(settings, context)
        roles = MemoryRoleScheduler.from_config(settings, context)
        assert streamer.joins(store)
        assert timers.joins(store)
        assert roles.database is store.database
        assert store.now() == clock.now()
        assert roles.try_acquire("role")
        assert roles.holders(["role"]) == {"role": "one"}
    with AdapterContext(instance="two") as context:
        other = MemoryRecordStore.from_config(settings, context)
        assert not streamer.joins(other), "another engine has a database of its own"


@pytest.mark.parametrize("asked", [True, False])
def test_history_has_the_data_of_successes_when_it_is_asked_for(
    clock: FakeClock, make_record: MakeRecord, asked: bool
) -> None:
    """A failed attempt changes no data. Seen to fail with the data of every version."""
    with AdapterContext(instance="one", clock=clock) as context:
        store = MemoryRecordStore.from_config(MemorySettings(history_data=asked), context)
        record = make_record()
        store.store(Write(record=record))
        failed = record.replace(version=2, attempts=1, last_error="boom")
        store.store(Write(record=failed, retry_in=timedelta(seconds=1)))
        kept = record.data if asked else None
        assert [entry.data for entry in store.history(record.run_id)] == [kept, None]


def test_nothing_joins_when_the_databases_differ(
    store: MemoryRecordStore, make_event: MakeEvent
) -> None:
    elsewhere = MemoryDatabase()
    streamer = MemoryEventStreamer(elsewhere, instance="one")
    timers = MemoryTimeoutStore(elsewhere)
    assert not streamer.joins(store)
    assert not timers.joins(store)
    with store.transaction() as transaction:
        with pytest.raises(NotSupportedError):
            streamer.send_within(transaction, [make_event()])
        with pytest.raises(NotSupportedError):
            timers.write_within(transaction, arm=[], cancel=[])


def test_writer_waits_when_another_threads_transaction_is_open(
    store: MemoryRecordStore, make_record: MakeRecord, patience: timedelta
) -> None:
    """Seen to fail when a transaction does not hold the writer's lock: both runs are then live."""
    mine, theirs = make_record(), make_record().replace(foreign_id="order-1")
    began, outcomes = Signal(), list[Outcome]()

    def write() -> None:
        began.set()
        outcomes.extend(store.store_many([Write(record=theirs)]))

    with store.transaction() as transaction:
        assert transaction.store_many([Write(record=mine)]) == [None]
        writer = Thread(target=write, daemon=True)
        writer.start()
        assert began.wait(patience.total_seconds())
        assert store.lookup_many([mine.run_id]) == {}, "a reader does not wait, and sees nothing"
    writer.join(patience.total_seconds())
    assert "already has the live run run-1" in str(outcomes[0])


def test_writer_is_told_when_its_own_thread_has_a_transaction_open(
    store: MemoryRecordStore, make_record: MakeRecord
) -> None:
    with store.transaction(), pytest.raises(StoreBusyError, match="this thread"):
        store.store(Write(record=make_record()))
    store.store(Write(record=make_record()))


def test_users_transaction_takes_the_engines_writes_when_joined(
    database: MemoryDatabase, store: MemoryRecordStore, make_record: MakeRecord
) -> None:
    first, second = make_record(), make_record()
    with database.begin() as connection:
        store.join(connection).store_many([Write(record=first)])
        connection.rollback()
    with database.begin() as connection:
        store.join(connection).store_many([Write(record=second)])
        connection.commit()
    assert set(store.lookup_many([first.run_id, second.run_id])) == {second.run_id}
    with pytest.raises(AdapterError, match="ended already"):
        store.join(connection)


def test_run_keeps_its_names_when_a_write_carries_others(
    store: MemoryRecordStore, make_record: MakeRecord
) -> None:
    record = make_record()
    store.store(Write(record=record))
    renamed = record.replace(version=2, write_id="other", foreign_id="order-9")
    (outcome,) = store.store_many([Write(record=renamed)])
    assert isinstance(outcome, AdapterError)
    assert store.lookup(record.run_id).version == 1


def test_closed_store_refuses_by_name_when_used(
    store: MemoryRecordStore, make_record: MakeRecord
) -> None:
    store.close()
    for call in (
        lambda: store.store(Write(record=make_record())),
        lambda: store.lookup("run-1"),
        store.now,
        store.check_health,
    ):
        with pytest.raises(ClosedError, match="MemoryRecordStore was closed"):
            call()


def test_nothing_of_a_run_is_left_when_it_is_purged(
    database: MemoryDatabase, store: MemoryRecordStore, make_record: MakeRecord
) -> None:
    """Seen to fail without the removal of the history: it would grow with every run ever made."""
    template = make_record()
    for round_ in range(3):
        for number in range(100):
            record = template.replace(run_id=f"run-{round_}-{number}")  # all of one foreign id
            store.store(Write(record=record))
            ended = record.replace(version=2, write_id="end", state=RunState.COMPLETED)
            store.store(Write(record=ended))
        assert store.purge(RecordQuery(limit=1000)) == 100
    runs = database.runs
    kept = (runs.rows, runs.live, runs._history, runs._of_foreign_id)
    assert [len(table) for table in kept] == [0, 0, 0, 0]
    assert not any(runs._ordered.values())
