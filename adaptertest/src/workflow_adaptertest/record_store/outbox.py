"""The outbox: events on their way to the streamer."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

from workflow_core.model import OutboxEvent
from workflow_core.ports import Capability, RecordStore, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases, filed_ids
from workflow_adaptertest.samples import ORDERS, Samples
from workflow_adaptertest.telling import needs, not_applicable
from workflow_adaptertest.threads import at_once, race

__all__ = ["OutboxCases"]

_ZERO = timedelta(0)


class OutboxCases(RecordStoreCases):
    """Delay, hold, order, claims."""

    def test_outbox_hides_an_event_when_its_delay_has_not_passed(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        record = make.record()
        event = make.outbox(record, delay=3 * env.tick)
        store.store(Write(record=record, events=[event]))
        assert filed_ids(store) == [], "a delayed event is a retry: early is wrong"
        env.advance(2.5)
        assert filed_ids(store) == [], "the delay is three ticks"
        env.advance(0.5)
        assert filed_ids(store) == [event.id], "the delay has passed"

    def test_outbox_hides_an_event_when_its_writer_holds_it(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        record = make.record()
        event = make.outbox(record, held_for=3 * env.tick)
        store.store(Write(record=record, events=[event]))
        env.advance(2.5)
        assert filed_ids(other) == [], "it belongs to its writer, which publishes it itself"
        env.advance(0.5)
        assert filed_ids(other) == [event.id], "the writer's lease is over: any relay may take it"

    def test_outbox_hides_an_event_until_the_later_of_the_two_when_delayed_and_held(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        record = make.record()
        held_longer = make.outbox(record, delay=env.tick, held_for=3 * env.tick)
        delayed_longer = make.outbox(record, delay=3 * env.tick, held_for=env.tick)
        store.add_outbox_events([held_longer, delayed_longer])
        env.advance(2)
        assert filed_ids(store) == []
        env.advance(1)
        assert filed_ids(store) == [held_longer.id, delayed_longer.id], "that was due earlier"

    def test_outbox_lists_the_oldest_due_first_when_there_are_many(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        record = make.record()
        delays = [0.3, 0.1, 0.4, 0.2, 0.0]
        events = [make.outbox(record, delay=delay * env.tick) for delay in delays]
        store.add_outbox_events(events)
        env.advance()
        by_due = sorted(events, key=lambda event: event.delay)
        assert filed_ids(store) == [event.id for event in by_due]
        assert filed_ids(store, limit=2) == [event.id for event in by_due[:2]]

    def test_outbox_lists_events_of_the_asked_workflows_alone_when_there_are_others(
        self, store: RecordStore, make: Samples
    ) -> None:
        events = [make.outbox(make.record(workflow=name)) for name in ("a", "b", "c")]
        store.add_outbox_events(events)
        assert filed_ids(store, workflows=["b"]) == [events[1].id]
        assert sorted(filed_ids(store, workflows=["a", "c"])) == sorted(
            [events[0].id, events[2].id]
        )
        assert filed_ids(store, workflows=["unknown"]) == []
        assert filed_ids(store, workflows=[]) == []

    def test_listing_leaves_the_outbox_as_it_is_when_repeated(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        events = [make.outbox(make.record()) for _ in range(3)]
        store.add_outbox_events(events)
        assert filed_ids(store) == filed_ids(store)
        assert sorted(filed_ids(other)) == sorted(event.id for event in events)

    def test_added_events_are_filed_when_there_is_no_run(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        now, later = make.outbox(make.record()), make.outbox(make.record(), delay=env.tick)
        store.add_outbox_events([now, later])
        assert filed_ids(store) == [now.id]
        env.advance()
        assert filed_ids(store) == [now.id, later.id]

    def test_added_event_keeps_its_time_when_it_is_filed_again(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        store.add_outbox_events([make.outbox(make.record())])
        (first,) = store.list_outbox_events([ORDERS], limit=10)
        store.delete_outbox_events([first.id])
        env.advance()
        store.add_outbox_events([first])  # tried again: its age is the age of the matter
        (again,) = store.list_outbox_events([ORDERS], limit=10)
        assert again.event == first.event, "created_at is stamped where it is not yet"

    def test_added_event_is_left_as_it_is_when_its_id_is_there(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        event = make.outbox(make.record(), delay=env.tick)
        store.add_outbox_events([event])
        twin = event.replace(delay=_ZERO, event=event.event.replace(attempt=9))
        fresh = make.outbox(make.record())
        store.add_outbox_events([twin, fresh])
        assert filed_ids(store) == [fresh.id], "the event that was there keeps its delay"
        env.advance()
        found = {row.id: row for row in store.list_outbox_events([ORDERS], limit=10)}
        assert found[event.id].event.attempt == 0, "and its contents"
        assert len(found) == 2, "and is there once"

    def test_deleted_events_are_gone_when_deleted_twice_and_with_unknown_ids(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        events = [make.outbox(make.record()) for _ in range(3)]
        store.add_outbox_events(events)
        gone = [events[0].id, make.id(), events[2].id]
        store.delete_outbox_events(gone)
        other.delete_outbox_events(gone)
        assert filed_ids(store) == [events[1].id]

    def test_held_and_delayed_events_are_deleted_when_asked(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        events = [
            make.outbox(make.record(), held_for=env.tick),
            make.outbox(make.record(), delay=env.tick),
        ]
        store.add_outbox_events(events)
        store.delete_outbox_events([event.id for event in events])  # the writer published it itself
        env.advance(2)
        assert filed_ids(store) == []

    def test_next_outbox_due_is_exact_or_unknown_when_asked(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        assert store.next_outbox_due([ORDERS]) is None, "None: there is none"
        delayed = make.outbox(make.record(), delay=3 * env.tick)
        held = make.outbox(make.record(), held_for=2 * env.tick)
        store.add_outbox_events([delayed, held, make.outbox(make.record(workflow="refunds"))])
        self._assert_due(store, env, 2 * env.tick)
        store.delete_outbox_events([held.id])
        self._assert_due(store, env, 3 * env.tick)
        env.advance(3)
        self._assert_due(store, env, _ZERO)
        store.delete_outbox_events([delayed.id])
        assert store.next_outbox_due([ORDERS]) is None

    def test_outbox_changed_is_soon_told_when_another_process_filed(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        for _ in range(2):
            store.outbox_changed()
            other.add_outbox_events([make.outbox(make.record())])
            assert _is_told(store, env), "an unheld event was filed since the last call"
            store.outbox_changed()
            record = make.record()
            other.store(make.write(record))
            assert _is_told(store, env), "an unheld event was filed with a run"

    # -- claims --------------------------------------------------------------------------------

    def test_claim_answers_what_is_due_when_asked(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        record = make.record()
        delays = [0.2, 0.1, 0.0, 2.0]
        events = [make.outbox(record, delay=delay * env.tick) for delay in delays]
        store.add_outbox_events([*events, make.outbox(make.record(workflow="refunds"))])
        env.advance()
        claimed = store.claim_outbox_events([ORDERS], limit=2, lease=env.tick)
        assert [row.id for row in claimed] == [events[2].id, events[1].id], "oldest due first"
        assert (claimed[0].delay, claimed[0].held_for) == (_ZERO, _ZERO)

    def test_claim_hides_events_when_another_one_claims(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        needs(store, Capability.CLAIMS)  # without claims the relay is a role: there is one
        events = [make.outbox(make.record()) for _ in range(4)]
        store.add_outbox_events(events)
        first = store.claim_outbox_events([ORDERS], limit=3, lease=2 * env.tick)
        second = other.claim_outbox_events([ORDERS], limit=10, lease=2 * env.tick)
        assert len(first) == 3
        assert sorted(row.id for row in (*first, *second)) == sorted(event.id for event in events)
        assert filed_ids(other) == [], "claimed events are held"
        env.advance(1)
        assert list(store.claim_outbox_events([ORDERS], limit=10, lease=env.tick)) == []
        env.advance(1)
        again = other.claim_outbox_events([ORDERS], limit=10, lease=env.tick)
        assert len(again) == 4, "whoever claimed them died: they come back at the lease's end"

    @race
    def test_claims_share_no_event_when_many_claim_at_once(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        needs(store, Capability.CLAIMS, try_it=False)  # without it, this would never end
        events = [make.outbox(make.record()) for _ in range(400)]
        store.add_outbox_events(events)

        def drain(handle: RecordStore) -> list[str]:
            taken: list[str] = []
            while rows := handle.claim_outbox_events([ORDERS], limit=7, lease=100 * env.tick):
                taken += [row.id for row in rows]
            return taken

        answers = at_once(
            [partial(drain, handle) for handle in [store, other] * 4],
            doing="claiming events",
            patience=env.patience,
        )
        taken: list[str] = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            taken += answer
        assert len(taken) == len(set(taken)), "an event was claimed by two at once"
        # a claim that lost a race may answer [] early; what it left is there for the next
        taken += drain(store)
        assert sorted(taken) == sorted(event.id for event in events)

    def test_delay_hides_events_and_gives_them_up_when_zero(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        events: list[OutboxEvent] = [make.outbox(make.record()) for _ in range(2)]
        store.add_outbox_events(events)
        ids = [event.id for event in events]
        store.delay_outbox_events([], env.tick)
        store.delay_outbox_events([*ids, make.id()], 2 * env.tick)
        needs(store, Capability.CLAIMS)  # without it, events may be left as they are
        env.advance(1)
        assert filed_ids(other) == [], "not due before the delay"
        other.delay_outbox_events(ids[:1], _ZERO)
        assert filed_ids(store) == ids[:1], "zero gives an event up at once"
        env.advance(1)
        assert sorted(filed_ids(store)) == sorted(ids)

    def test_delay_gives_up_what_is_held_when_zero(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        needs(store, Capability.CLAIMS)  # without it, events may be left as they are
        held = make.outbox(make.record(), held_for=env.tick)
        retry = make.outbox(make.record(), delay=env.tick, held_for=env.tick)
        store.add_outbox_events([held, retry])
        store.delay_outbox_events([held.id, retry.id], _ZERO)
        assert filed_ids(other) == [held.id], "the hold ends, but no retry comes before its time"
        env.advance()
        assert filed_ids(other) == [held.id, retry.id]

    def _assert_due(self, store: RecordStore, env: Env, expected: timedelta) -> None:
        due = store.next_outbox_due([ORDERS])
        if due is None:
            not_applicable("the store cannot tell when an event is due")
        if not expected:
            assert due <= _ZERO, f"an event is due now, so zero or less, not {due}"
        elif env.clock is not None:
            assert due == expected
        else:
            assert _ZERO < due <= expected


def _is_told(store: RecordStore, env: Env) -> bool:
    """Whether the store tells of a change: word of another process may take a moment."""
    end = time.monotonic() + env.patience.total_seconds()
    while not store.outbox_changed():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
