"""Deletion of a run's data: what goes, what may stay, and what an interruption leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core.definition import Retry, Run, RunView, Workflow
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    DecodeError,
    DefinitionError,
    InputError,
    RunNotFoundError,
    RunStateError,
)
from workflow_core.memory import MemoryEventStreamer
from workflow_core.model import Event, OutboxEvent, RecordQuery, RunState, names
from workflow_core.ports import OUT_OF_REACH, EventStreamer

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR = timedelta(hours=1)
SECRET = "bob@example.org"


class Status(IntEnum):
    CREATED = 1
    DONE = 2


@dataclass
class Order:
    email: str
    total: int = 0


Flow = Workflow[Order, Status]


def orders_with(keep: Callable[[Order], Order | None] | None = None) -> Flow:
    orders = Workflow("orders", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED, retry=Retry(pause_after=1))
    def fail(run: Run[Order, Status]) -> Literal[Status.DONE]:
        raise ValueError(f"invalid e-mail {run.data.email}")

    if keep is not None:
        orders.keep_after_deletion(keep)
    return orders


def ended(cluster: Cluster, orders: Flow) -> str:
    """A run with the secret in its data, its errors, its reasons and its headers."""
    run_id = cluster.engine.trigger(orders, "order-1", Order(SECRET, 7), headers={"mail": SECRET})
    cluster.driver.run()
    assert SECRET in cluster.record(run_id).last_error
    cluster.engine.cancel(run_id, reason=f"{SECRET} asked for it")
    cluster.driver.run()
    return run_id


def holds_secret(value: object) -> bool:
    return SECRET in repr(value)


def test_nothing_of_the_payload_is_left_in_the_store(cluster: Cluster) -> None:
    """Seen to fail without the erasure of copies, of events, and with the record's errors kept."""
    orders = orders_with()
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    assert holds_secret(cluster.engine.history(run_id))
    assert holds_secret(published(cluster))
    receipt = cluster.engine.delete_data(orders, run_id, who="ada", why="ticket 7")
    record = cluster.record(run_id)
    assert (record.state, record.data, record.headers) == (RunState.DATA_DELETED, b"", {})
    assert not holds_secret(record)
    assert not holds_secret(cluster.engine.history(run_id))
    assert not holds_secret(cluster.rows())
    assert not holds_secret(published(cluster))
    assert record.reason == "data deleted by ada: ticket 7"
    assert (receipt.who, receipt.why, receipt.kept) == ("ada", "ticket 7", False)
    assert receipt.at == cluster.clock.now()
    with pytest.raises(DecodeError, match=r"the data of run .* was deleted"):
        cluster.engine.view(orders, run_id)


def event_of(cluster: Cluster, run_id: str) -> Event:
    """Of the run as it is, with the secret in its headers."""
    record = cluster.record(run_id)
    return Event(
        id="late",
        topic=names.run_state_topic("orders"),
        workflow="orders",
        run_id=run_id,
        foreign_id=record.foreign_id,
        status=record.status,
        state=record.state,
        version=record.version,
        headers={"mail": SECRET},
    )


def published(cluster: Cluster) -> list[Event]:
    """All events that the stream keeps."""
    topics = cluster.streamer.database.log._topics.values()
    return [event for parts in topics for part in parts for event in part.events]


def test_receipt_names_every_place_and_what_cannot_be_reached(cluster: Cluster) -> None:
    """Seen to fail without the stream's part, and with a follower left out."""
    orders = orders_with()
    mails = followed(orders)
    cluster.driver.serve(orders, mails)
    receipt = cluster.engine.delete_data(orders, ended(cluster, orders), who="ada")
    assert receipt.erased == [
        "the record: data, errors, reasons, headers",
        "its history: errors and reasons",  # in memory it has no data
        "its search attributes",
        "its events in the outbox: headers",
        "its published events: headers",
        "dead letters about it: errors and headers",
        "dead letters of mails, which follows it: errors and headers",
    ]
    apart = cluster.timeouts.database is not cluster.store.database
    assert receipt.remains == [
        "its foreign id in published events, until all have read them",
        "errors and headers in dead letters of workflows that follow it and are not declared in"
        " this process, until processes that serve those come to it, each ten minutes or so",
        "what was logged or sent elsewhere",
        *([] if cluster.joined else [ON_THEIR_WAY]),
        *(["errors of its timers, in the timeout store, until that forgets it"] if apart else []),
    ]


ON_THEIR_WAY = (
    "headers of events that were just on their way from the outbox to the stream: the same call"
    " again, a minute later, reaches them"
)


def test_event_on_its_way_is_told_and_reached_by_the_next_call(cluster: Cluster) -> None:
    """Published by a writer that had it in hand while the data was deleted.

    Seen to fail where a deletion that is done erases nothing again.
    """
    orders = orders_with()
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    cluster.engine.delete_data(orders, run_id, who="ada")
    cluster.streamer.new_sender().send(event_of(cluster, run_id))
    assert holds_secret(published(cluster))
    cluster.engine.delete_data(orders, run_id, who="ada")
    assert not holds_secret(published(cluster))


def test_receipt_tells_of_a_stream_that_cannot_be_scrubbed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of streamers that were written without it."""
    monkeypatch.setattr(MemoryEventStreamer, "erase_copies", EventStreamer.erase_copies)
    orders = orders_with()
    cluster.driver.serve(orders)
    receipt = cluster.engine.delete_data(orders, ended(cluster, orders), who="ada")
    assert OUT_OF_REACH in receipt.remains
    assert not any("published" in place for place in receipt.erased)


def test_event_that_a_relay_has_claimed_is_not_published_as_it_was(joined: Cluster) -> None:
    """It is claimed, the data is deleted, and then it is moved.

    Seen to fail where the rows that are blanked keep their ids.
    """
    orders = orders_with()
    joined.driver.serve(orders)
    run_id = ended(joined, orders)
    late = event_of(joined, run_id)
    joined.store.add_outbox_events([OutboxEvent(event=late)])
    claim = joined.store.claim_outbox_events

    def claim_and_wait(*args: Any, **kwargs: Any) -> Sequence[OutboxEvent]:
        claimed = claim(*args, **kwargs)
        if any(filed.id == late.id for filed in claimed):
            joined.engine.delete_data(orders, run_id, who="ada")
        return claimed

    joined.store.claim_outbox_events = claim_and_wait  # type: ignore[method-assign]
    joined.driver.advance(timedelta(minutes=1))
    assert joined.record(run_id).state is RunState.DATA_DELETED
    assert not any(event.topic == late.topic for event in joined.rows()), "it is published"
    assert not holds_secret(published(joined))


def test_function_of_the_workflow_says_what_may_stay(cluster: Cluster) -> None:
    orders = orders_with(lambda order: Order("", order.total))
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    assert cluster.engine.delete_data(orders, run_id, who="ada").kept
    view = cluster.engine.view(orders, run_id)
    assert (view.data, view.state) == (Order("", 7), RunState.DATA_DELETED)
    assert not holds_secret(cluster.record(run_id))


def test_what_the_function_raises_leaves_the_run_as_it_was(cluster: Cluster) -> None:
    def refuse(order: Order) -> Order | None:
        raise RuntimeError("the other system is down")

    orders = orders_with(refuse)
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    before = cluster.record(run_id)
    with pytest.raises(RuntimeError, match="the other system"):
        cluster.engine.delete_data(orders, run_id, who="ada")
    assert cluster.record(run_id) == before


def test_data_that_cannot_be_read_goes_as_a_whole(cluster: Cluster) -> None:
    orders = orders_with(lambda order: order)
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    with cluster.records.lock:
        rows = cluster.records.runs.rows
        rows[run_id] = rows[run_id].replace(data=SECRET.encode())
    assert not cluster.engine.delete_data(orders, run_id, who="ada").kept
    assert cluster.record(run_id).data == b""


def test_hooks_are_told_once(cluster: Cluster) -> None:
    orders = orders_with()
    told: list[object] = []

    @orders.on_data_deleted()
    def note(view: Any) -> None:
        told.append((view.run_id, view.data))

    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    for _ in range(2):
        cluster.engine.delete_data(orders, run_id, who="ada")
        cluster.driver.run()
    assert told == [(run_id, None)]


def test_live_run_and_strange_run_are_refused(cluster: Cluster) -> None:
    orders = orders_with()
    run_id = cluster.engine.trigger(orders, "order-1", Order(SECRET))
    with pytest.raises(RunStateError, match="Cancel it first"):
        cluster.engine.delete_data(orders, run_id, who="ada")
    with pytest.raises(RunNotFoundError):
        cluster.engine.delete_data(orders, "nobody", who="ada")
    others = Workflow("others", Order, Status, ends=(Status.DONE,))
    others.add_step(Status.CREATED, lambda run: Status.DONE, to=[Status.DONE])
    with pytest.raises(RunNotFoundError):
        cluster.engine.delete_data(others, run_id, who="ada")


def test_call_again_finishes_what_was_interrupted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where the record says that it is done before the copies are gone."""
    orders = orders_with()
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    erase = type(cluster.store).erase_copies

    def fail(store: Any, run_id: str) -> Any:
        raise AdapterUnavailableError("gone")

    monkeypatch.setattr(type(cluster.store), "erase_copies", fail)
    with pytest.raises(AdapterUnavailableError):
        cluster.engine.delete_data(orders, run_id, who="ada")
    assert cluster.record(run_id).state is RunState.REQUESTED_DATA_DELETED
    assert not holds_secret(cluster.record(run_id))
    monkeypatch.setattr(type(cluster.store), "erase_copies", erase)
    cluster.engine.delete_data(orders, run_id, who="bob")
    assert cluster.record(run_id).state is RunState.DATA_DELETED
    assert not holds_secret(cluster.engine.history(run_id))


def interrupted(
    cluster: Cluster, orders: Flow, monkeypatch: pytest.MonkeyPatch, *, runs: int = 1
) -> list[str]:
    """Runs whose deletion ended before the copies were erased, as with the caller's process."""

    def fail(store: Any, run_id: str) -> Any:
        raise AdapterUnavailableError("gone")

    run_ids = []
    for _ in range(runs):
        run_ids.append(ended(cluster, orders))
        with monkeypatch.context() as patch:
            patch.setattr(type(cluster.store), "erase_copies", fail)
            with pytest.raises(AdapterUnavailableError):
                cluster.engine.delete_data(orders, run_ids[-1], who="ada")
    return run_ids


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_interrupted_is_finished_by_who_serves_the_workflow(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, restarts: bool
) -> None:
    """Seen to fail without rounds that look for it: it waited to be called again for ever."""
    orders = orders_with()
    told: list[str] = []

    @orders.on_data_deleted()
    def note(view: Any) -> None:
        told.append(view.run_id)

    serving = cluster.driver.serve(orders)
    (run_id,) = interrupted(cluster, orders, monkeypatch)
    if restarts:
        serving.stop()
        cluster.driver.advance(HOUR)
        assert cluster.record(run_id).state is RunState.REQUESTED_DATA_DELETED
        cluster.driver.serve(orders)
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).state is RunState.DATA_DELETED
    assert not holds_secret(cluster.engine.history(run_id))
    assert not holds_secret(cluster.rows())
    assert told == [run_id]


def test_one_that_cannot_be_finished_holds_up_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail where the round ends with the first error."""
    orders = orders_with()
    cluster.driver.serve(orders)
    bad, good = interrupted(cluster, orders, monkeypatch, runs=2)
    erase = type(cluster.store).erase_copies

    def refuse(store: Any, run_id: str) -> Any:
        if run_id == bad:
            raise AdapterError("refused")
        return erase(store, run_id)

    with monkeypatch.context() as patch:
        patch.setattr(type(cluster.store), "erase_copies", refuse)
        cluster.driver.advance(HOUR)
    assert cluster.record(bad).state is RunState.REQUESTED_DATA_DELETED
    assert cluster.record(good).state is RunState.DATA_DELETED
    assert f"run {bad}: its deletion cannot be finished" in caplog.text
    cluster.driver.advance(HOUR)
    assert cluster.record(bad).state is RunState.DATA_DELETED


def test_call_that_is_overtaken_by_who_serves_the_workflow_answers_its_receipt(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where the lost swap was reported."""
    orders = orders_with()
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    erase = type(cluster.store).erase_copies

    def slow(store: Any, run_id: str) -> Any:
        monkeypatch.setattr(type(cluster.store), "erase_copies", erase)
        cluster.driver.advance(HOUR)
        assert cluster.record(run_id).state is RunState.DATA_DELETED
        return erase(store, run_id)

    monkeypatch.setattr(type(cluster.store), "erase_copies", slow)
    assert cluster.engine.delete_data(orders, run_id, who="ada").run_id == run_id


def test_verb_is_there_for_asyncio(cluster: Cluster) -> None:
    orders = orders_with()
    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    receipt = asyncio.run(cluster.engine.aio.delete_data(orders, run_id, who="ada"))
    assert receipt.run_id == run_id


async def asynchronous(order: Order) -> Order | None: ...
def with_two(order: Order, more: str) -> Order | None: ...


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (asynchronous, "must be a plain function"),
        (with_two, "cannot be called with the data alone"),
    ],
)
def test_function_that_cannot_be_used_is_refused(body: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        orders_with(body)


def test_second_function_and_one_that_comes_late_are_refused() -> None:
    orders = orders_with(lambda order: None)
    with pytest.raises(DefinitionError, match="there is one already"):
        orders.keep_after_deletion(lambda order: None)
    late = orders_with()
    late.check()
    with pytest.raises(DefinitionError, match="in use"):
        late.keep_after_deletion(lambda order: None)


# -- workflows that follow it ----------------------------------------------------------------------


def followed(orders: Flow) -> Flow:
    """Another workflow, whose connector fails on each run of the first and quotes its data."""
    mails = Workflow("mails", Order, Status, ends=(Status.DONE,))

    @mails.step(Status.CREATED)
    def send(run: Run[Order, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    @mails.follow(orders, retry=Retry(pause_after=1))
    def fail(order: RunView[Order, Status]) -> None:
        raise ValueError(f"invalid e-mail {order.data.email}")

    return mails


def test_errors_of_followers_go_and_the_receipt_names_them(cluster: Cluster) -> None:
    """Seen to fail with the letters of the run's own workflow only, and with their headers kept."""
    orders = orders_with()
    mails = followed(orders)
    cluster.driver.serve(orders, mails)
    run_id = ended(cluster, orders)
    other = cluster.engine.trigger(orders, "order-2", Order(""))
    cluster.driver.run()
    receipt = cluster.engine.delete_data(orders, run_id, who="ada")
    assert not holds_errors_with_secret(cluster, mails)
    kept = [cluster.record(letter.id) for letter in cluster.engine.dead_letters(mails).items]
    assert not holds_secret([record for record in kept if record.foreign_id == run_id])
    letters = cluster.engine.dead_letters(mails).items
    assert {letter.run_id for letter in letters} == {run_id, other}
    assert not any(letter.error for letter in letters if letter.run_id == run_id)
    assert all(letter.error for letter in letters if letter.run_id == other)
    assert "dead letters of mails, which follows it: errors and headers" in receipt.erased


def test_interrupted_deletion_is_finished_with_the_errors_of_followers(cluster: Cluster) -> None:
    orders = orders_with()
    mails = followed(orders)
    cluster.driver.serve(orders, mails)
    run_id = ended(cluster, orders)
    cluster.engine._empty(orders, run_id, "ada", "")
    assert holds_errors_with_secret(cluster, mails)
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).state is RunState.DATA_DELETED
    assert not holds_errors_with_secret(cluster, mails)


def holds_errors_with_secret(cluster: Cluster, workflow: Flow) -> bool:
    return any(SECRET in letter.error for letter in cluster.engine.dead_letters(workflow).items)


def test_errors_of_followers_go_that_other_processes_alone_have_declared(cluster: Cluster) -> None:
    """Seen to fail without the rounds: nothing in the deleting process knows of the follower."""
    orders, unaware = orders_with(), orders_with()
    mails = followed(orders)
    cluster.driver.serve(orders, mails)
    run_id = ended(cluster, orders)
    client = cluster.client().engine
    client.delete_data(unaware, run_id, who="ada")
    assert cluster.record(run_id).state is RunState.DATA_DELETED
    assert holds_errors_with_secret(cluster, mails)
    cluster.driver.advance(HOUR)
    assert not holds_errors_with_secret(cluster, mails)
    letters = cluster.engine.dead_letters(mails).items
    versions = [cluster.record(letter.id).version for letter in letters]
    cluster.driver.advance(HOUR)
    assert [cluster.record(letter.id).version for letter in letters] == versions, "once is enough"
    client.retry_dead_letter(letters[0])
    client.discard_dead_letter(letters[1])
    cluster.driver.run()
    left = {letter.id for letter in client.dead_letters("mails").items}
    assert left == {letter.id for letter in letters} - {letters[1].id}, "the verbs reach it by name"


def test_error_that_is_kept_while_the_data_is_deleted_goes_too(cluster: Cluster) -> None:
    """A hook that had read the data fails after the deletion. Seen to fail without the rounds."""
    orders = orders_with()

    @orders.on_cancel(retry=Retry(pause_after=1))
    def fail(order: RunView[Order, Status]) -> None:
        cluster.engine.delete_data(orders, order.run_id, who="ada")
        raise ValueError(f"invalid e-mail {order.data.email}")

    cluster.driver.serve(orders)
    run_id = ended(cluster, orders)
    assert cluster.record(run_id).state is RunState.DATA_DELETED
    assert holds_errors_with_secret(cluster, orders)
    cluster.driver.advance(HOUR)
    assert not holds_errors_with_secret(cluster, orders)


# -- many ------------------------------------------------------------------------------------------


def test_bulk_deletes_the_data_of_what_has_ended(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where what was deleted before is erased, and counted as changed, again."""
    monkeypatch.setattr("workflow_core.engine.bulk._DELETED_AT_ONCE", 2)
    orders = orders_with()
    cluster.driver.serve(orders)
    over = [begun(cluster, orders, number) for number in range(5)]
    live = cluster.engine.trigger(orders, "live", Order(SECRET))
    cluster.driver.run()
    for run_id in over:
        cluster.engine.cancel(run_id, reason="closed")
    cluster.driver.run()
    seen: list[int] = []
    receipts: list[str] = []
    chosen = cluster.engine.bulk(
        RecordQuery(workflow=orders.name),
        everything=True,
        on_progress=lambda p: seen.append(p.seen),
    )
    done = chosen.delete_data(
        orders,
        who="ada",
        why="ticket 7",
        on_receipt=lambda receipt: receipts.append(receipt.run_id),
    )
    assert (done.changed, done.unchanged, done.refused) == (5, 0, 1)
    assert isinstance(done.errors[live], RunStateError)
    assert seen == [2, 4, 6]
    assert sorted(receipts) == sorted(over)
    for run_id in over:
        assert cluster.record(run_id).state is RunState.DATA_DELETED
        assert cluster.record(run_id).reason == "data deleted by ada: ticket 7"
        assert not holds_secret(cluster.record(run_id))
    again = cluster.engine.bulk(RecordQuery(run_ids=over)).delete_data(orders, who="ada")
    assert (again.changed, again.unchanged) == (0, 5)


def test_bulk_deletion_refuses_what_is_too_wide_and_other_workflows_runs(cluster: Cluster) -> None:
    orders = orders_with()
    other = Workflow("others", Order, Status, ends=(Status.DONE,))
    other.add_step(Status.CREATED, lambda run: Status.DONE, to=(Status.DONE,))
    cluster.driver.serve(orders, other)
    with pytest.raises(InputError, match="every run"):
        cluster.engine.bulk(RecordQuery(workflow=orders.name))
    run_id = cluster.engine.trigger(other, "order-1", Order(SECRET))
    cluster.driver.run()
    done = cluster.engine.bulk(RecordQuery(run_ids=[run_id])).delete_data(orders, who="ada")
    assert isinstance(done.errors[run_id], RunNotFoundError)
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_bulk_deletion_that_the_store_interrupts_goes_on_when_it_begins_again(
    joined: Cluster,
) -> None:
    orders = orders_with()
    joined.driver.serve(orders)
    over = [begun(joined, orders, number) for number in range(3)]
    joined.driver.run()
    for run_id in over:
        joined.engine.cancel(run_id, reason="closed")

    def break_down(receipt: object) -> None:
        joined.store.script.fail()

    query = RecordQuery(run_ids=over)
    with pytest.raises(AdapterUnavailableError):
        joined.engine.bulk(query).delete_data(orders, who="ada", on_receipt=break_down)
    joined.store.script.heal()
    done = asyncio.run(joined.engine.aio.bulk(query).delete_data(orders, who="ada"))
    assert (done.changed, done.unchanged) == (2, 1)


def begun(cluster: Cluster, orders: Flow, number: int) -> str:
    return cluster.engine.trigger(orders, f"order-{number}", Order(SECRET, number))
