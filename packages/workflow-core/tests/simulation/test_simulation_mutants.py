"""The simulation is worth what it catches: engines with one planted mistake each.

Each mutant must be caught by some seed of a small budget; the unchanged engine passes all of them
(`test_simulation_seeds`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from workflow_core.definition import Step
from workflow_core.engine.committer import Committer
from workflow_core.engine.journal import Journal
from workflow_core.engine.keeper import ShardDuty
from workflow_core.engine.lane import Finished, Item, Lane
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.reconciler import Reconciler
from workflow_core.engine.relay import Relay
from workflow_core.engine.transition import Transition, resumed_by
from workflow_core.engine.triage import Triage, Verdict, triage
from workflow_core.engine.window import Window
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Event, EventKind, OutboxEvent, Record
from workflow_core.ports import Delivery, Receiver, Write
from workflow_core.testing.simulation import InvariantError, Simulation

BUDGET = 100
"""Seeds; most mutants are caught by one of the first ten."""

Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


def without_events(make: Callable[..., Write]) -> Callable[..., Write]:
    return lambda *args, **more: make(*args, **more).replace(events=[])


@mutant
def acks_before_it_stores(patch: pytest.MonkeyPatch) -> None:
    take, settle = Window.take_finished, Window.settle

    def settle_rest(window: Window, items: Iterable[Item]) -> None:
        held = window._items
        settle(window, [i for i in items if held.get(i.key) is i])

    def take_and_settle(window: Window, wait: timedelta) -> list[Finished]:
        batch = take(window, wait)
        settle_rest(window, [finished.item for finished in batch])
        return batch

    patch.setattr(Window, "take_finished", take_and_settle)
    patch.setattr(Window, "settle", settle_rest)


@mutant
def takes_any_event_for_the_present_one(patch: pytest.MonkeyPatch) -> None:
    """Compares no versions, nor statuses: those follow from the version."""

    def lenient(event: Event, record: Record | None, step: Step, now: datetime | None) -> Triage:
        if record is not None:
            event = event.replace(version=record.version, status=record.status)
        return triage(event, record, step, now)

    patch.setattr("workflow_core.engine.worker.triage", lenient)


@mutant
def runs_before_the_next_try(patch: pytest.MonkeyPatch) -> None:
    def hasty(event: Event, record: Record | None, step: Step, now: datetime | None) -> Triage:
        verdict = triage(event, record, step, now)
        return Triage(Verdict.RUN) if verdict.verdict is Verdict.EARLY else verdict

    patch.setattr("workflow_core.engine.worker.triage", hasty)


@mutant
def publisher_deletes_before_it_publishes(patch: pytest.MonkeyPatch) -> None:
    send = Publisher._send

    def delete_and_send(publisher: Publisher, batch: list[tuple[Event, float]]) -> None:
        publisher._store.delete_outbox_events([event.id for event, _ in batch])
        send(publisher, batch)

    patch.setattr(Publisher, "_send", delete_and_send)


@mutant
def publisher_deletes_what_was_not_acknowledged(patch: pytest.MonkeyPatch) -> None:
    put_back = Publisher._put_back

    def forget(publisher: Publisher, batch: list[tuple[Event, float]]) -> None:
        publisher._published += [event.id for event, _ in batch]
        put_back(publisher, batch)

    patch.setattr(Publisher, "_put_back", forget)


@mutant
def relay_drops_delayed_events(patch: pytest.MonkeyPatch) -> None:
    move = Relay._move

    def drop(relay: Relay, events: Sequence[OutboxEvent]) -> None:
        delayed = [row for row in events if row.event.kind is EventKind.RETRY]
        relay._store.delete_outbox_events([row.id for row in delayed])
        move(relay, [row for row in events if row not in delayed])

    patch.setattr(Relay, "_move", drop)


@mutant
def reconciler_is_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "poll", lambda reconciler, wait: False)
    patch.setattr(Reconciler, "next_due", lambda reconciler: None)


@mutant
def committer_drops_its_batch_when_the_store_is_unavailable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "give_back_finished", lambda window, batch: None)


@mutant
def committer_settles_its_batch_when_the_store_is_unavailable(patch: pytest.MonkeyPatch) -> None:
    def settle(window: Window, batch: Sequence[Finished]) -> None:
        window.settle([finished.item for finished in batch])

    patch.setattr(Window, "give_back_finished", settle)


@mutant
def window_forgets_what_it_has(patch: pytest.MonkeyPatch) -> None:
    """A second delivery of a version in hand is taken for another one."""

    def admit(
        window: Window,
        lane: Lane,
        receiver: Receiver[Event],
        deliveries: Sequence[Delivery[Event]],
    ) -> None:
        now = window._clock.monotonic()
        for delivery in deliveries:
            item = Item(lane, delivery.event, (receiver, delivery), now)
            lane.queues[item.event.status].append(item)
            window._items.setdefault(item.key, item)

    def drop(window: Window, item: Item) -> None:
        window._items.pop(item.key, None)

    def settle(window: Window, items: Iterable[Item]) -> None:
        for item in items:
            drop(window, item)
            item.lane.to_ack.extend(item.receipts)

    patch.setattr(Window, "admit", admit)
    patch.setattr(Window, "_settle", settle)
    patch.setattr(Window, "_drop", drop)
    patch.setattr(Window, "_forget", drop)


@mutant
def window_runs_versions_of_a_run_side_by_side(patch: pytest.MonkeyPatch) -> None:
    def add(window: Window, item: Item) -> None:
        window._items[item.key] = item
        item.lane.in_hand += 1
        item.lane.queues[item.event.status].append(item)

    def settle(window: Window, items: Iterable[Item]) -> None:
        for item in items:
            window._drop(item)
            item.lane.to_ack.extend(item.receipts)
            window._executing.discard(item)

    patch.setattr(Window, "_add", add)
    patch.setattr(Window, "_settle", settle)
    patch.setattr(Window, "_forget", Window._drop)


@mutant
def stop_acks_what_it_drops(patch: pytest.MonkeyPatch) -> None:
    drop = Window._drop

    def ack_and_drop(window: Window, item: Item) -> None:
        drop(window, item)
        if window._closing:
            item.lane.to_ack.extend(item.receipts)

    patch.setattr(Window, "_drop", ack_and_drop)


@mutant
def failed_attempt_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transition, "failed", without_events(Transition.failed))


@mutant
def resume_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("workflow_core.engine.operators.resumed_by", without_events(resumed_by))


@mutant
def shard_is_handed_over_with_work_in_hand(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShardDuty, "is_ended", property(lambda duty: True))


@mutant
def receiver_is_closed_with_work_in_hand(patch: pytest.MonkeyPatch) -> None:
    """And is said to be free of what it gave, while that still runs."""
    patch.setattr(Window, "holds", lambda window, receiver: False)


@mutant
def writer_sends_events_before_it_stores(patch: pytest.MonkeyPatch) -> None:
    """The record and its events are no longer one write: the rows come after it."""
    commit = Journal._commit_to_outbox

    def commit_apart(journal: Journal, writes: Sequence[Write]) -> Sequence[Any]:
        outcomes = commit(journal, [write.replace(events=[]) for write in writes])
        for write in writes:
            journal._store.add_outbox_events(write.events)
        return outcomes

    patch.setattr(Journal, "_commit_to_outbox", commit_apart)


@mutant
def committer_forgets_who_lost(patch: pytest.MonkeyPatch) -> None:
    """Settles nothing of a batch in which somebody lost a compare-and-swap."""
    poll = Committer.poll

    def hold_on(committer: Committer, wait: timedelta) -> bool:
        window = committer._window
        settle = window.settle

        def settle_winners(items: Iterable[Item]) -> None:
            won = [i for i in items if _stands_after(committer, i)]
            settle(won)

        window.settle = settle_winners  # type: ignore[method-assign]
        try:
            return poll(committer, wait)
        finally:
            del window.settle

    patch.setattr(Committer, "poll", hold_on)


def _stands_after(committer: Committer, item: Item) -> bool:
    try:
        record = committer._store.lookup(item.event.run_id)
    except AdapterUnavailableError:
        return True
    return record.version == item.event.version + 1


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Mutants complain a lot."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(
    simulate: Callable[[int], Simulation], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    MUTANTS[name](monkeypatch)
    for seed in range(BUDGET):
        try:
            simulate(seed)
        except InvariantError:
            return
    pytest.fail(f"an engine that {name.replace('_', ' ')} passes {BUDGET} seeds")
