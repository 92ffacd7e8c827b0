"""The simulation is worth what it catches: engines with one planted mistake each.

Each mutant must be caught by some seed of a small budget; the unchanged engine passes all of them
(`test_simulation_seeds`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from workflow_core.definition import Step
from workflow_core.engine.committer import Committer
from workflow_core.engine.executing import Executing
from workflow_core.engine.holding import Holding
from workflow_core.engine.in_hand import InHand
from workflow_core.engine.journal import Journal
from workflow_core.engine.keeper import ShardDuty
from workflow_core.engine.lane import Finished, Item, Receipt
from workflow_core.engine.outcomes import Outcomes
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.reconciler import Reconciler
from workflow_core.engine.relay import Relay
from workflow_core.engine.steering import resumed_automatically, resumed_by
from workflow_core.engine.timers.arming import ArmingRounds
from workflow_core.engine.timers.book import WorkflowTimers
from workflow_core.engine.timers.clerk import TimerChanges
from workflow_core.engine.timers.firing import Firing
from workflow_core.engine.timers.firing import Verdict as FiringVerdict
from workflow_core.engine.timers.leftovers import ClosedRounds
from workflow_core.engine.timers.settling import Settling
from workflow_core.engine.transition import Transition
from workflow_core.engine.triage import Triage, Verdict, triage
from workflow_core.engine.window import Window
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Event, EventKind, OutboxEvent, Record, Timeout
from workflow_core.ports import Delivery, Receiver, Write
from workflow_core.testing.simulation import InvariantError, Simulation

BUDGET = 800  # seeds; the rarest flaws, both of timers, show in some few of 800
"""Seeds; most mutants are caught by one of the first ten."""

NOWHERE: Mapping[Item, Event] = {}
Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


def without_events(make: Callable[..., Write]) -> Callable[..., Write]:
    return lambda *args, **more: make(*args, **more).replace(events=[])


@mutant
def acks_before_it_stores(patch: pytest.MonkeyPatch) -> None:
    commit, settle = Committer._commit, Window.settle

    def settle_rest(
        window: Window, items: Iterable[Item], onward: Mapping[Item, Event] = NOWHERE
    ) -> None:
        held = window._in_hand._items
        settle(window, [i for i in items if held.get(i.key) is i], onward)

    def settle_and_commit(committer: Committer, batch: Sequence[Finished]) -> None:
        settle_rest(committer._window, [finished.item for finished in batch])
        commit(committer, batch)

    patch.setattr(Committer, "_commit", settle_and_commit)
    patch.setattr(Window, "settle", settle_rest)


@mutant
def acks_what_has_gone_onward_and_is_not_done(patch: pytest.MonkeyPatch) -> None:
    find, deliver = InHand.find, Item.deliver
    onward: set[Item] = set()

    def find_and_tell(in_hand: InHand, event: Event) -> Item | None:
        known = find(in_hand, event)
        if known is not None and not known.receipts:
            onward.add(known)
        return known

    def ack_at_once(item: Item, receipt: Receipt) -> None:
        if item in onward:
            item.lane.to_ack.append(receipt)
        else:
            deliver(item, receipt)

    patch.setattr(InHand, "find", find_and_tell)
    patch.setattr(Item, "deliver", ack_at_once)


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
    patch.setattr(Outcomes, "give_back", lambda outcomes, batch: None)


@mutant
def committer_settles_its_batch_when_the_store_is_unavailable(patch: pytest.MonkeyPatch) -> None:
    commit = Committer._commit

    def commit_or_settle(committer: Committer, batch: Sequence[Finished]) -> None:
        try:
            commit(committer, batch)
        except AdapterUnavailableError:
            committer._window.settle([finished.item for finished in batch])
            raise

    patch.setattr(Outcomes, "give_back", lambda outcomes, batch: None)
    patch.setattr(Committer, "_commit", commit_or_settle)


@mutant
def window_forgets_what_it_has(patch: pytest.MonkeyPatch) -> None:
    """A second delivery of a version in hand is taken for another one."""

    def add(in_hand: InHand, item: Item) -> bool:
        in_hand._items.setdefault(item.key, item)
        return True

    def move(in_hand: InHand, item: Item, event: Event) -> None:
        item.event = event
        add(in_hand, item)

    def release(in_hand: InHand, item: Item, *_: object) -> None:
        in_hand._items.pop(item.key, None)

    def forget(in_hand: InHand, items: Iterable[Item]) -> None:
        for item in items:
            release(in_hand, item)

    patch.setattr(InHand, "find", lambda in_hand, event: None)
    patch.setattr(InHand, "add", add)
    patch.setattr(InHand, "move", move)
    patch.setattr(InHand, "release", release)
    patch.setattr(InHand, "forget", forget)


@mutant
def window_runs_versions_of_a_run_side_by_side(patch: pytest.MonkeyPatch) -> None:
    def add(in_hand: InHand, item: Item) -> bool:
        in_hand._items[item.key] = item
        item.lane.in_hand += 1
        return True

    def release(in_hand: InHand, item: Item, *_: object) -> None:
        in_hand._drop(item)

    def forget(in_hand: InHand, items: Iterable[Item]) -> None:
        for item in items:
            in_hand._drop(item)

    patch.setattr(InHand, "add", add)
    patch.setattr(InHand, "release", release)
    patch.setattr(InHand, "forget", forget)


@mutant
def stop_acks_what_it_drops(patch: pytest.MonkeyPatch) -> None:
    forget = InHand.forget

    def ack_and_forget(in_hand: InHand, items: Iterable[Item]) -> None:
        dropped = list(items)
        forget(in_hand, dropped)
        for item in dropped:
            item.lane.to_ack.extend(item.receipts)

    patch.setattr(InHand, "forget", ack_and_forget)


@mutant
def late_answers_count(patch: pytest.MonkeyPatch) -> None:
    """What exceeded its time answers all the same, or fails once more."""
    patch.setattr(Executing, "returned", lambda executing, item: True)


@mutant
def failed_attempt_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transition, "failed", without_events(Transition.failed))


@mutant
def resume_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("workflow_core.engine.decisions.resumed_by", without_events(resumed_by))


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

    def commit_apart(
        journal: Journal, writes: Sequence[Write], timers: TimerChanges | None
    ) -> Sequence[Any]:
        outcomes = commit(journal, [write.replace(events=[]) for write in writes], timers)
        for write in writes:
            journal._store.add_outbox_events(write.events)
        return outcomes

    patch.setattr(Journal, "_commit_to_outbox", commit_apart)


@mutant
def committer_forgets_who_lost(patch: pytest.MonkeyPatch) -> None:
    """Settles nothing of a batch in which somebody lost a compare-and-swap."""
    commit = Committer._commit

    def hold_on(committer: Committer, batch: Sequence[Finished]) -> None:
        window = committer._window
        settle = window.settle

        def settle_winners(items: Iterable[Item], onward: Mapping[Item, Event]) -> None:
            won = [i for i in items if _stands_after(committer, i)]
            settle(won, onward)

        window.settle = settle_winners  # type: ignore[method-assign, assignment]
        try:
            commit(committer, batch)
        finally:
            del window.settle

    patch.setattr(Committer, "_commit", hold_on)


def _stands_after(committer: Committer, item: Item) -> bool:
    try:
        record = committer._store.lookup(item.event.run_id)
    except AdapterUnavailableError:
        return True
    return record.version == item.event.version + 1


@mutant
def second_live_run_of_a_foreign_id_is_let_in(patch: pytest.MonkeyPatch) -> None:
    """No mistake of the engine's but of a store: it shows that somebody looks."""
    patch.setattr("workflow_core.memory.database.MemoryConnection._live_run", lambda *given: None)


# -- timers, callbacks, automatic resume -----------------------------------------------------------


@mutant
def acks_before_it_arms(patch: pytest.MonkeyPatch) -> None:
    def hold(
        holding: Holding, receiver: Receiver[Event], deliveries: Sequence[Delivery[Event]]
    ) -> Sequence[Delivery[Event]]:
        wanted = [delivery.event for delivery in deliveries if holding.wants(delivery.event)]
        with suppress(AdapterUnavailableError):
            holding.see_to(wanted)
        return deliveries

    patch.setattr(Holding, "hold", hold)


@mutant
def resume_leaves_timers_parked(patch: pytest.MonkeyPatch) -> None:
    is_to_arm = WorkflowTimers.is_to_arm

    def is_entered(timers: WorkflowTimers, event: Event) -> bool:
        return event.kind is not EventKind.RESUMED and is_to_arm(timers, event)

    patch.setattr(WorkflowTimers, "is_to_arm", is_entered)
    patch.setattr("workflow_core.testing.simulation.timer_invariants.WorkflowTimers", Untouched)


@mutant
def writer_says_that_it_armed_and_did_not(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TimerChanges, "write_within", lambda changes, transaction, outcomes: None)


@mutant
def writer_cancels_though_it_lost(patch: pytest.MonkeyPatch) -> None:
    def all_of(changes: Sequence[Sequence[Any]], outcomes: Sequence[Any]) -> list[Any]:
        return [change for some in changes for change in some]

    patch.setattr("workflow_core.engine.timers.clerk._of_stored", all_of)


@mutant
def leaving_cancels_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkflowTimers, "cancelled_by", lambda timers, record: [])


@mutant
def arming_rounds_are_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ArmingRounds, "poll", lambda rounds, wait: False)
    patch.setattr(ArmingRounds, "next_due", lambda rounds: None)


@mutant
def closed_timers_are_left_by_who_dies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClosedRounds, "_go_on", lambda rounds: False)


@mutant
def timer_fires_for_whatever_stay_its_run_is_in(patch: pytest.MonkeyPatch) -> None:
    def of_any(timeout: Timeout, record: Record) -> bool:
        return record.status == timeout.status and not record.state.is_finished

    patch.setattr("workflow_core.engine.timers.poller.is_of_stay", of_any)


@mutant
def timer_is_due_when_it_is_armed(patch: pytest.MonkeyPatch) -> None:
    armed_by = WorkflowTimers.armed_by
    patch.setattr(
        WorkflowTimers,
        "armed_by",
        lambda timers, write: [
            timeout.replace(delay=timedelta(0)) for timeout in armed_by(timers, write)
        ],
    )


@mutant
def timer_is_complete_before_its_run_has_moved_on(patch: pytest.MonkeyPatch) -> None:
    settle = Settling.settle

    def complete_and_settle(
        settling: Settling, batch: Sequence[tuple[Firing, FiringVerdict]]
    ) -> None:
        settling._timeouts.complete_many([firing.timeout.key for firing, _ in batch])
        settle(settling, batch)

    patch.setattr(Settling, "settle", complete_and_settle)


@mutant
def failed_timer_is_complete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Firing, "failed", lambda firing, error: FiringVerdict(is_over=True))


@mutant
def timers_of_live_runs_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    committed = TimerChanges.committed

    def forget_all(changes: TimerChanges, outcomes: Sequence[Any]) -> None:
        committed(changes, outcomes)
        changes._clerk.on_ended([write.record.run_id for write in changes.writes])

    patch.setattr(TimerChanges, "committed", forget_all)


@mutant
def callback_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transition, "called_back", without_events(Transition.called_back))


@mutant
def data_kept_without_a_move_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transition, "kept", without_events(Transition.kept))


@mutant
def automatic_resume_has_no_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "workflow_core.engine.resuming.resumed_automatically",
        without_events(resumed_automatically),
    )


class Untouched(WorkflowTimers):
    """For the invariants, which are not to believe a mutant."""

    is_to_arm = WorkflowTimers.is_to_arm


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
        except (InvariantError, ValueError):  # a port's own refusal, such as of doubled writes
            return
    pytest.fail(f"an engine that {name.replace('_', ' ')} passes {BUDGET} seeds")
