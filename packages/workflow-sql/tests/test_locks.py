"""Batches wait for nobody who has other rows locked, such as a user's open transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from workflow_core.errors import VersionConflictError
from workflow_core.model import OutboxEvent, Timeout
from workflow_core.ports import Write
from workflow_sql import SqlRecordStore, SqlTimeoutStore

NOW = timedelta(0)
SECOND = timedelta(seconds=1)


def timer_of(record: Any) -> Timeout:
    return Timeout(
        key=f"{record.run_id}/1/late",
        workflow=record.workflow,
        run_id=record.run_id,
        status=1,
        entered_version=1,
        name="late",
        delay=NOW,
    )


@pytest.mark.parametrize("count", [3, 30])
def test_batch_goes_on_beside_a_transaction_that_stays_open(
    home: Any, make: Any, count: int
) -> None:
    """In tables that hold little else, where a server would rather look through all of it.

    Seen to fail on MySQL with the outbox's deletes, on MariaDB with them and with the timers: they
    waited for a transaction that had filed an event, until it ended.
    """
    with home.open() as other, home.open(lock_timeout=SECOND) as database:
        store, timers = SqlRecordStore(database), SqlTimeoutStore(database)
        records = [make.record() for _ in range(count)]
        events = [make.event(record) for record in records]
        writes = [
            Write(record=record, events=[OutboxEvent(event=event)], search={"customer": "a"})
            for record, event in zip(records, events, strict=True)
        ]
        assert store.store_many(writes) == [None] * count
        timers.create_many([timer_of(record) for record in records])
        theirs = make.record()
        with SqlRecordStore(other).transaction() as transaction:
            write = Write(
                record=theirs,
                events=[OutboxEvent(event=make.event(theirs))],
                search={"customer": "b"},
            )
            assert transaction.store_many([write]) == [None]
            SqlTimeoutStore(other).write_within(transaction, arm=[timer_of(theirs)], cancel=[])

            keys = [timer_of(record).key for record in records]
            timers.reschedule_many([timer_of(record).replace(attempts=1) for record in records])
            timers.park_many(keys)
            assert timers.cancel_many(keys) == [True] * count
            moved = [make.next(record) for record in records]
            lost = make.next(records[0], version=5)
            outcomes = store.store_many(
                [Write(record=record, search={"customer": "c"}) for record in (lost, *moved[1:])]
            )
            assert isinstance(outcomes[0], VersionConflictError)
            assert outcomes[1:] == [None] * (count - 1)
            filed = store.claim_outbox_events(["orders"], limit=100, lease=NOW)
            assert sorted(each.event.id for each in filed) == sorted(each.id for each in events)
            store.delete_outbox_events([event.id for event in events])
        assert len(store.list_outbox_events(["orders"], limit=100)) == 1, "theirs, once committed"
