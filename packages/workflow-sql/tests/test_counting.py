"""Counts for observers: in bounded parts, on all databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from workflow_adaptertest.servers import Space
from workflow_core.model import OutboxEvent, RecordQuery, RunState
from workflow_core.ports import Write
from workflow_sql import Database, SqlRecordStore, upgrade

LIVE = [RunState.INITIATED, RunState.RUNNING, RunState.PAUSED]
HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgres", "mysql", "mariadb"])
def store(request: pytest.FixtureRequest) -> Iterator[SqlRecordStore]:
    if request.param == "sqlite":
        yield SqlRecordStore(request.getfixturevalue("database"))
        return
    space: Space = request.getfixturevalue(f"{request.param}_space")
    upgrade(str(space.url))
    with Database(str(space.url)) as database:
        yield SqlRecordStore(database)


def test_a_tally_counts_all_live_runs_once_page_by_page(store: SqlRecordStore, make: Any) -> None:
    """Seen to fail when the last row of a page was counted with the next one too."""
    states = [RunState.INITIATED, RunState.PAUSED, RunState.INITIATED, RunState.COMPLETED] * 3
    records = [make.record(state=state, status=n % 2) for n, state in enumerate(states)]
    store.store_many([Write(record=record) for record in records])
    store.store(Write(record=make.record(workflow="others")))
    query = RecordQuery(workflow="orders", states=LIVE, limit=4)
    counts: Counter[tuple[int, RunState]] = Counter()
    pages = 0
    while True:
        tally = store.tally_records(query)
        counts.update(tally.counts)
        pages += 1
        if tally.next is None:
            break
        assert sum(tally.counts.values()) == 4
        query = query.replace(after=tally.next)
    assert pages == 3
    assert counts == {(0, RunState.INITIATED): 6, (1, RunState.PAUSED): 3}


def test_a_backlog_tells_what_is_due_from_what_is_scheduled(
    store: SqlRecordStore, make: Any
) -> None:
    """Seen to fail when rows that somebody holds counted as scheduled."""
    assert store.outbox_backlog("orders", most=10).due == 0
    due = [OutboxEvent(event=make.event()) for _ in range(3)]
    held = [OutboxEvent(event=make.event(), held_for=HOUR) for _ in range(2)]
    later = [OutboxEvent(event=make.event(), delay=HOUR)]
    store.add_outbox_events([*due, *held, *later])
    backlog = store.outbox_backlog("orders", most=10)
    assert (backlog.due, backlog.scheduled) == (5, 1)
    assert backlog.oldest < HOUR
    assert store.outbox_backlog("orders", most=2).due == 2
    assert store.outbox_backlog("others", most=2).due == 0
