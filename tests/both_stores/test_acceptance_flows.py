"""The acceptance flows of the project in Go whose topics we speak, meant the same here.

Theirs run against the memory stores by a clock of their own; ours on memory and on SQLite.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from workflow_core import ConnectorEvent, RecordQuery, Run, Trigger, Workflow

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@dataclass
class User:
    country: str = ""
    email: str = ""
    uid: str = ""


class Status(IntEnum):
    STARTED = 1
    EMAIL_SET = 2
    REMINDED = 3
    COMPLETED = 4


UserRun = Run[User, Status]


def test_sync_user_goes_on_after_an_hour_in_one_country(cluster: Cluster) -> None:
    """Statuses 1 to 4, two steps with five at once, a timer of an hour for one country alone."""
    cluster.clock.advance(datetime(2026, 4, 9, 8, 30, tzinfo=UTC) - cluster.clock.now())
    flow = Workflow("sync user 2", User, Status, ends=(Status.COMPLETED,), concurrency=5)

    @flow.step(Status.STARTED)
    def set_email(run: UserRun) -> Literal[Status.EMAIL_SET]:
        run.data.email = f"{run.foreign_id}@example.com"
        return Status.EMAIL_SET

    def when(run: UserRun, now: datetime) -> datetime | None:
        return now + HOUR if run.data.country == "GB" else None

    @flow.timeout(Status.EMAIL_SET, fires_at=when)
    def remind(run: UserRun) -> Literal[Status.REMINDED]:
        return Status.REMINDED

    @flow.step(Status.REMINDED)
    def complete(run: UserRun) -> Literal[Status.COMPLETED]:
        run.data.uid = run.run_id
        return Status.COMPLETED

    for engine in (cluster.engine, cluster.second):
        cluster.driver.serve(flow, engine=engine)
    ours = cluster.engine.trigger(flow, "andrew", User("GB"))
    theirs = cluster.engine.trigger(flow, "bea", User("IE"))
    cluster.driver.run()
    (timeout,) = cluster.timeouts.list_timeouts("sync user 2").items
    assert (timeout.run_id, timeout.name) == (ours, "remind")
    assert timeout.due_at == cluster.clock.now() + HOUR
    cluster.driver.advance(HOUR - SECOND)
    assert cluster.record(ours).status == Status.EMAIL_SET
    cluster.driver.advance(SECOND)
    done = cluster.engine.wait_for(flow, ours, Status.COMPLETED, SECOND)
    assert (done.status.name, done.data.email) == ("COMPLETED", "andrew@example.com")
    assert done.data.uid == ours
    assert cluster.record(theirs).status == Status.EMAIL_SET, "for others no timer was armed"


class Synced(IntEnum):
    STARTED = 1
    EMAIL_SET = 2


def test_connector_begins_a_run_for_each_event(cluster: Cluster) -> None:
    """Two events that are there before anybody reads; each run ends with what its event named."""
    flow = Workflow("sync user", User, Synced, ends=(Synced.EMAIL_SET,))

    @flow.connector("payments")
    def tester(event: ConnectorEvent) -> Trigger[User]:
        return Trigger(event.key, User(uid=event.key))

    @flow.step(Synced.STARTED)
    def set_email(run: Run[User, Synced]) -> Literal[Synced.EMAIL_SET]:
        run.data.email = f"{run.data.uid}@example.com"
        return Synced.EMAIL_SET

    cluster.payments.send("andrew", b"", id="1")
    cluster.payments.send("bea", b"", id="2")
    for engine in (cluster.engine, cluster.second):
        cluster.driver.serve(flow, engine=engine)
    cluster.driver.run()
    runs = cluster.engine.runs(RecordQuery(workflow="sync user")).items
    assert sorted(run.foreign_id for run in runs) == ["andrew", "bea"]
    for run in runs:
        done = cluster.engine.wait_for(flow, run.run_id, Synced.EMAIL_SET, SECOND)
        wanted = (run.foreign_id, f"{run.foreign_id}@example.com")
        assert (done.data.uid, done.data.email) == wanted
