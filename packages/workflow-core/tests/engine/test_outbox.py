"""Streamer and store apart: the writer publishes, relays send what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Retry, Run, Workflow
from workflow_core.engine import Trigger, publisher
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.model import Event, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def orders() -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
    orders.add_step(Status.CREATED, lambda run: Status.PAID, to=(Status.PAID,))
    orders.add_step(Status.PAID, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
    return orders


def unavailable(event: Event) -> AdapterError | None:
    return AdapterUnavailableError("the test says no")


# -- the writer's publisher ------------------------------------------------------------------------


def test_writer_sends_what_it_wrote_at_once_and_deletes_its_row(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the row was not deleted: a relay sent it once more."""
    run_id = outbox.engine.trigger(orders, "o", Order())
    (row,) = outbox.rows()
    outbox.driver.run()  # no time passes, nobody serves
    assert [(e.run_id, e.id) for e in outbox.streamer.sent] == [(run_id, row.id)]
    assert outbox.rows() == []


def test_held_row_is_no_relays_until_its_lease_ends(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    """The writer dies between commit and publish. Seen to fail when rows were not held."""
    writer = outbox.join("writer")
    outbox.driver.serve(orders)
    outbox.driver.run()
    outbox.driver.crash(writer.engine)
    run_id = writer.engine.trigger(orders, "o", Order())
    outbox.driver.advance(4 * SECOND)
    assert outbox.streamer.sent == []
    outbox.driver.advance(3 * SECOND)
    assert outbox.record(run_id).state is RunState.COMPLETED


def test_publisher_sends_nothing_once_its_lease_has_ended(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    """The row may be a relay's by then. Seen to fail when the deadline was not looked at."""
    writer = outbox.join("writer")
    outbox.driver.crash(writer.engine)  # frozen: nobody polls its publisher
    run_id = writer.engine.trigger(orders, "o", Order())
    outbox.driver.advance(5 * SECOND)
    outbox.driver.add(writer.engine)  # thawed
    outbox.driver.run()
    assert writer.streamer.sent == []
    outbox.driver.serve(orders)
    outbox.driver.advance(2 * SECOND)
    assert outbox.record(run_id).state is RunState.COMPLETED
    assert [event.version for event in outbox.streamer.sent] == [1, 2, 3]


def test_streamer_that_is_away_for_an_hour_loses_nothing_and_costs_no_attempt(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    outbox.driver.serve(orders)
    outbox.driver.run()
    outbox.streamer.script.fail()
    answers = outbox.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(100)])
    outbox.driver.advance(HOUR)
    assert len(outbox.rows()) == 100
    outbox.streamer.script.heal()
    outbox.driver.settle()
    for answer in answers:
        record = outbox.record(str(answer))
        assert (record.state, record.version, record.attempts) == (RunState.COMPLETED, 3, 0)
    assert outbox.rows() == []


def test_events_that_were_not_taken_are_sent_again_without_spinning(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when a part that was not taken counted as work done: it spun on the spot."""
    outbox.streamer.answers = unavailable
    run_id = outbox.engine.trigger(orders, "o", Order())
    outbox.driver.run()
    assert outbox.streamer.script.calls["send_many"] == 1
    outbox.streamer.answers = lambda event: None
    outbox.driver.run()
    assert [event.run_id for event in outbox.streamer.sent] == [run_id]
    assert outbox.rows() == []


def test_rows_are_deleted_late_when_the_store_is_away(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    outbox.engine.trigger(orders, "o", Order())
    outbox.store.script.fail("delete_outbox_events", times=2)
    outbox.driver.advance(4 * SECOND)
    assert len(outbox.streamer.sent) == 1
    assert outbox.rows() == []


def test_full_publisher_leaves_rows_to_relays_and_never_blocks_a_trigger(
    outbox: Cluster, orders: Workflow[Order, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_LIMIT", 10)
    outbox.streamer.script.fail("send_many")
    first = outbox.engine.trigger_many(orders, [Trigger(f"a{n}", Order()) for n in range(10)])
    outbox.driver.run()
    more = outbox.engine.trigger_many(orders, [Trigger(f"b{n}", Order()) for n in range(10)])
    # what the publisher would not take is not held: any relay may send it now
    due = outbox.store.list_outbox_events(["order processor"], limit=100)
    assert {filed.event.run_id for filed in due} == {str(answer) for answer in more}
    outbox.streamer.script.heal()
    outbox.driver.serve(orders)
    outbox.driver.settle()
    assert {outbox.record(str(i)).state for i in [*first, *more]} == {RunState.COMPLETED}


def test_crowded_publisher_slows_consumers_down(
    outbox: Cluster, orders: Workflow[Order, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when the reception did not ask the publisher."""
    monkeypatch.setattr(publisher, "_SLOW_DOWN", 5)
    outbox.driver.serve(orders)
    outbox.driver.run()
    client = outbox.client().engine
    answers = client.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(10)])
    outbox.engine.trigger_many(orders, [Trigger(f"p{n}", Order()) for n in range(10)])
    outbox.streamer.script.fail("send_many")
    outbox.driver.advance(2 * SECOND)
    received = outbox.streamer.script.calls["recv_many"]
    outbox.driver.advance(SECOND)
    assert outbox.streamer.script.calls["recv_many"] == received
    outbox.streamer.script.heal()
    outbox.driver.settle()
    assert {outbox.record(str(i)).state for i in answers} == {RunState.COMPLETED}


def test_close_leaves_what_is_not_published_to_the_relays_at_once(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when close kept the lease: the rows waited for its end."""
    writer = outbox.join("writer")
    outbox.driver.serve(orders)
    outbox.driver.run()
    writer.streamer.script.fail()
    run_id = writer.engine.trigger(orders, "o", Order())
    writer.engine.close()
    outbox.driver.crash(writer.engine)
    assert len(outbox.store.list_outbox_events(["order processor"], limit=10)) == 1
    outbox.driver.advance(2 * SECOND)
    assert outbox.record(run_id).state is RunState.COMPLETED


def test_close_ends_in_order_though_all_is_away(
    outbox: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    outbox.streamer.script.fail()
    outbox.store.script.fail("delay_outbox_events", "delete_outbox_events")
    outbox.engine.trigger(orders, "o", Order())
    outbox.engine.close()
    assert "left to the relays" in caplog.text


# -- the relay -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["joined", "outbox"])
def test_relay_moves_what_clients_without_a_streamer_wrote(
    request: pytest.FixtureRequest, orders: Workflow[Order, Status], mode: str
) -> None:
    cluster: Cluster = request.getfixturevalue(mode)
    client = cluster.client().engine
    cluster.driver.serve(orders)
    answers = client.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(700)])
    assert len(cluster.rows()) == 700
    cluster.driver.settle()
    assert {cluster.record(str(i)).state for i in answers} == {RunState.COMPLETED}
    assert cluster.rows() == []
    assert len({event.id for event in cluster.streamer.sent}) == 2100


def test_relay_sends_later_what_was_not_taken(
    outbox: Cluster, orders: Workflow[Order, Status]
) -> None:
    client = outbox.client().engine
    outbox.driver.serve(orders)
    outbox.streamer.answers = unavailable
    run_id = client.trigger(orders, "o", Order())
    outbox.driver.advance(10 * SECOND)
    assert any(isinstance(each, AdapterUnavailableError) for each in outbox.driver.failures)
    assert 5 <= outbox.streamer.script.calls["send_many"] <= 15
    outbox.streamer.answers = lambda event: None
    outbox.driver.settle()
    assert outbox.record(run_id).state is RunState.COMPLETED


def test_event_that_is_refused_for_good_is_told_and_holds_up_no_other(
    outbox: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail when a refused event was claimed again at once: an error on each poll."""
    outbox.driver.serve(orders)
    outbox.streamer.answers = lambda event: (
        AdapterError("too large") if event.foreign_id == "bad" else None
    )
    bad = outbox.engine.trigger(orders, "bad", Order())
    good = outbox.engine.trigger(orders, "good", Order())
    outbox.driver.advance(30 * SECOND)
    assert outbox.record(good).state is RunState.COMPLETED
    told = [record for record in caplog.records if "is refused: too large" in record.getMessage()]
    assert len(told) == 1
    assert bad in caplog.text
    outbox.streamer.answers = lambda event: None
    outbox.driver.settle()
    assert outbox.record(bad).state is RunState.COMPLETED


def test_two_relays_share_the_work(outbox: Cluster, orders: Workflow[Order, Status]) -> None:
    client = outbox.client().engine
    second = outbox.join("second")
    outbox.driver.serve(orders)
    outbox.driver.serve(orders, engine=second.engine)
    client.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(2000)])
    outbox.driver.settle()
    sent = [event.id for event in [*outbox.streamer.sent, *second.streamer.sent]]
    assert len(sent) == len(set(sent)) == 6000
    assert second.streamer.sent
    assert outbox.streamer.sent


def test_retry_is_a_delayed_row(outbox: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, retry=Retry(first=HOUR, maximum=HOUR, jitter=False))
    def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        if run.attempt == 1:
            raise ValueError("no")
        return Status.SHIPPED

    outbox.driver.serve(orders)
    run_id = outbox.engine.trigger(orders, "o", Order())
    outbox.driver.run()
    assert len(outbox.streamer.sent) == 1
    due = outbox.store.next_outbox_due(["order processor"])
    assert due == HOUR
    outbox.driver.settle()
    assert outbox.record(run_id).state is RunState.COMPLETED


def test_joined_events_need_no_outbox(joined: Cluster, orders: Workflow[Order, Status]) -> None:
    """Seen to fail when joined events were filed in the outbox too."""
    joined.driver.serve(orders)
    run_id = joined.engine.trigger(orders, "o", Order())
    assert joined.rows() == []
    joined.driver.run()
    assert joined.record(run_id).state is RunState.COMPLETED
    assert not joined.store.script.calls["claim_outbox_events"] > 1


@pytest.mark.parametrize("mode", ["joined", "outbox"])
def test_no_event_exists_of_a_write_that_did_not_commit(
    request: pytest.FixtureRequest, orders: Workflow[Order, Status], mode: str
) -> None:
    """Seen to fail when events of refused writes were published all the same."""
    cluster: Cluster = request.getfixturevalue(mode)
    cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    sent = len(cluster.streamer.sent)
    cluster.engine.trigger_many(orders, [Trigger("o", Order())])  # in progress
    cluster.store.refuses = lambda record: True
    cluster.engine.trigger_many(orders, [Trigger("p", Order())])
    cluster.driver.settle()
    assert len(cluster.streamer.sent) == sent
    assert cluster.rows() == []


def test_batches_take_few_calls(outbox: Cluster, orders: Workflow[Order, Status]) -> None:
    """No round trip per run. Seen to fail when the committer took one outcome at a time."""
    outbox.driver.serve(orders)
    outbox.driver.run()
    for script in (outbox.store.script, outbox.streamer.script):
        script.calls.clear()
    outbox.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(500)])
    outbox.driver.run()
    calls = outbox.store.script.calls + outbox.streamer.script.calls
    assert calls["commit"] <= 10
    assert calls["lookup_many"] <= 10
    assert calls["send_many"] <= 10
    assert calls["delete_outbox_events"] <= 10
    assert calls["ack"] <= 10


# -- an event that the stream refuses for good -----------------------------------------------------


def test_event_that_is_refused_for_good_holds_up_no_other(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail, joined, when the whole batch was refused with the one event."""
    refusal = AdapterError("the topic is too odd")
    cluster.streamer.answers = lambda event: refusal if event.foreign_id == "odd" else None
    cluster.driver.serve(orders)
    batch = [Trigger(name, Order()) for name in ("before", "odd", "after")]
    before, odd, after = map(str, cluster.engine.trigger_many(orders, batch))
    others = [before, after]
    cluster.driver.advance(10 * SECOND)
    assert {cluster.record(run_id).state for run_id in others} == {RunState.COMPLETED}
    assert cluster.record(odd).state is RunState.INITIATED
    assert [row.run_id for row in cluster.rows()] == [odd], "kept, until the stream takes it"

    cluster.streamer.answers = lambda event: None
    cluster.driver.settle()
    assert cluster.record(odd).state is RunState.COMPLETED
