"""Compare-and-swap, the live run of a foreign id, stamps, and writing one record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from workflow_core.errors import RunInProgressError, RunNotFoundError, VersionConflictError
from workflow_core.model import RunState
from workflow_core.ports import RecordStore, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases, assert_stamped, filed_ids
from workflow_adaptertest.samples import ORDERS, Samples, refuses, unstamped

__all__ = ["WriteCases"]

_LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
_FAR_OFF = datetime(2099, 1, 1, tzinfo=UTC)


class WriteCases(RecordStoreCases):
    """One write at a time."""

    def test_store_keeps_the_record_when_it_is_new(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        record = make.record(headers={"traceparent": "00-ab-01"})
        store.store(make.write(record))
        assert unstamped([store.lookup(record.run_id)]) == [record]
        assert unstamped([other.lookup(record.run_id)]) == [record], "seen by every handle at once"

    def test_store_replaces_the_record_when_the_version_follows(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        record = make.record()
        store.store(make.write(record))
        changed = make.next(record, status=2, data=b'{"total":1}', passed={1: 1})
        store.store(make.write(changed))
        assert unstamped([other.lookup(record.run_id)]) == [changed]

    def test_store_files_the_events_when_it_stores_the_record(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        record = make.record()
        events = [make.outbox(record), make.outbox(record, topic="orders-run-state-change")]
        store.store(Write(record=record, events=events))
        assert sorted(filed_ids(other)) == sorted(event.id for event in events)

    @pytest.mark.parametrize("version", [1, 2, 4, 5], ids=lambda version: f"at version {version}")
    def test_store_answers_a_conflict_when_another_version_stands_there(
        self, store: RecordStore, make: Samples, version: int
    ) -> None:
        first = make.record()
        second = make.next(first)
        for record in (first, second):
            store.store(Write(record=record))
        late = make.next(second, version=version, entered_version=1, data=b"late")
        if version == 2:
            late = late.replace(write_id=make.id())  # another write of the version that is there
        with refuses(VersionConflictError, "version 2 stands there") as refusal:
            store.store(make.write(late))
        assert refusal.error.run_id == first.run_id
        assert refusal.error.expected == version - 1
        assert refusal.error.found == 2, "found is the version that stands there"
        assert unstamped([store.lookup(first.run_id)]) == [second], "a loser changes nothing"
        assert filed_ids(store) == [], "a loser's events must not exist"

    def test_store_answers_a_conflict_when_the_run_is_unknown(
        self, store: RecordStore, make: Samples
    ) -> None:
        late = make.next(make.record())
        with refuses(VersionConflictError, "version 2 of a run that is not there") as refusal:
            store.store(make.write(late))
        assert refusal.error.found is None, "None says that there is no such run"
        with refuses(RunNotFoundError, "an update must never insert: the run may be purged"):
            store.lookup(late.run_id)
        assert filed_ids(store) == [], "a loser's events must not exist"

    def test_store_touches_no_other_run_when_a_late_write_meets_its_foreign_id(
        self, store: RecordStore, make: Samples
    ) -> None:
        gone = make.record(foreign_id="order-7")  # purged, say: it is not in the store
        present = make.record(foreign_id="order-7")
        store.store(Write(record=present))
        with refuses(VersionConflictError, "the run of this write is not there"):
            store.store(make.write(make.next(gone, version=8, data=b"late")))
        assert unstamped([store.lookup(present.run_id)]) == [present], (
            "a late write of one run replaced another run of the same foreign id: is it an upsert?"
        )

    def test_store_is_a_success_when_the_same_write_comes_again(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        first = make.record()
        for write in (make.write(first), make.write(make.next(first, status=2))):
            store.store(write)
            once = store.lookup(first.run_id)
            filed = filed_ids(store)
            other.store(write)  # the answer to the first try was lost
            assert store.lookup(first.run_id) == once, "the second try must change nothing"
            assert filed_ids(store) == filed, "the second try must file no event twice"

    def test_store_files_nothing_when_the_same_write_comes_again_after_its_event_went_out(
        self, store: RecordStore, make: Samples
    ) -> None:
        write = make.write(make.record())
        store.store(write)
        store.delete_outbox_events(filed_ids(store))
        store.store(write)
        assert filed_ids(store) == [], "the write is known by its write_id: its event is out"

    def test_store_refuses_a_second_live_run_when_the_foreign_id_has_one(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        live = make.record(foreign_id="order-7")
        store.store(Write(record=live))
        for state in (RunState.RUNNING, RunState.PAUSED):
            second = make.record(foreign_id="order-7")
            with refuses(
                RunInProgressError, f"the foreign id has a run, {live.state!r}"
            ) as refusal:
                other.store(make.write(second))
            assert refusal.error.live_run_id == live.run_id, "the error names the live run"
            assert refusal.error.foreign_id == "order-7"
            with refuses(RunNotFoundError, "a refused run must not be stored"):
                store.lookup(second.run_id)
            assert filed_ids(store) == [], "a refused run's events must not exist"
            live = make.next(live, state=state)
            store.store(Write(record=live))

    @pytest.mark.parametrize("state", [state for state in RunState if state.is_finished])
    def test_store_takes_a_second_run_when_the_first_has_ended(
        self, store: RecordStore, make: Samples, state: RunState
    ) -> None:
        first = make.record(foreign_id="order-7")
        store.store(Write(record=first))
        store.store(Write(record=make.ended(first, state)))
        second = make.record(foreign_id="order-7")
        store.store(Write(record=second))
        assert unstamped([store.lookup(second.run_id)]) == [second]

    def test_store_takes_a_run_when_the_foreign_id_is_live_in_another_workflow(
        self, store: RecordStore, make: Samples
    ) -> None:
        here = make.record(foreign_id="order-7")
        there = make.record(foreign_id="order-7", workflow="refunds")
        for record in (here, there):
            store.store(Write(record=record))
        assert unstamped([store.lookup(there.run_id)]) == [there]

    def test_store_takes_ended_runs_when_the_foreign_id_has_a_live_one(
        self, store: RecordStore, make: Samples
    ) -> None:
        live = make.record(foreign_id="order-7")
        born_ended = make.record(foreign_id="order-7", state=RunState.COMPLETED)
        for record in (live, born_ended):
            store.store(Write(record=record))
        assert unstamped([store.lookup(born_ended.run_id)]) == [born_ended]

    def test_store_refuses_to_revive_a_run_when_another_one_is_live(
        self, store: RecordStore, make: Samples
    ) -> None:
        first = make.record(foreign_id="order-7")
        ended = make.ended(first)
        second = make.record(foreign_id="order-7")
        for record in (first, ended, second):
            store.store(Write(record=record))
        with refuses(RunInProgressError, "a revived run needs its foreign id") as refusal:
            store.store(make.write(make.next(ended)))
        assert refusal.error.live_run_id == second.run_id
        assert unstamped([store.lookup(first.run_id)]) == [ended]
        assert filed_ids(store) == []

    def test_store_revives_a_run_when_its_foreign_id_is_free(
        self, store: RecordStore, make: Samples
    ) -> None:
        first = make.record(foreign_id="order-7")
        ended = make.ended(first)
        revived = make.next(ended)
        for record in (first, ended, revived):
            store.store(Write(record=record))
        with refuses(RunInProgressError, "the revived run is live again") as refusal:
            store.store(Write(record=make.record(foreign_id="order-7")))
        assert refusal.error.live_run_id == first.run_id

    # -- stamps ---------------------------------------------------------------------------------

    def test_now_is_the_stores_clock_when_asked(self, store: RecordStore, env: Env) -> None:
        now = store.now()
        assert now.utcoffset() == timedelta(0), "now() is aware and UTC"
        if env.clock is not None:
            assert now == env.clock.now(), "with a clock in its context the store goes by it alone"

    def test_created_at_is_stamped_once_when_the_run_is_inserted(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        after = store.now()
        first = make.record(created_at=_LONG_AGO, updated_at=_FAR_OFF, entered_at=_FAR_OFF)
        store.store(Write(record=first))
        before = store.now()
        stored = store.lookup(first.run_id)
        for what in ("created_at", "updated_at", "entered_at"):
            assert_stamped(getattr(stored, what), after=after, before=before, what=what)
        env.advance()
        store.store(Write(record=make.next(first, created_at=_FAR_OFF)))
        assert store.lookup(first.run_id).created_at == stored.created_at, "kept for ever"

    def test_updated_at_is_stamped_when_anything_is_written(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        first = make.record()
        store.store(Write(record=first))
        env.advance()
        after = store.now()
        store.store(Write(record=make.next(first, updated_at=_FAR_OFF)))
        stamp = store.lookup(first.run_id).updated_at
        assert_stamped(stamp, after=after, before=store.now(), what="updated_at")

    def test_entered_at_is_stamped_when_the_version_enters_a_status(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        first = make.record()
        store.store(Write(record=first))
        stamp = store.lookup(first.run_id).entered_at
        env.advance()
        retried = make.next(first, attempts=1, entered_at=_FAR_OFF)
        store.store(Write(record=retried))
        assert store.lookup(first.run_id).entered_at == stamp, (
            "entered_version is not this version: the run stays, and entered_at with it"
        )
        env.advance()
        after = store.now()
        again = make.next(retried, status=retried.status)  # the same status, entered anew
        store.store(Write(record=again))
        stamp = store.lookup(first.run_id).entered_at
        assert_stamped(stamp, after=after, before=store.now(), what="entered_at")

    def test_next_try_at_is_stamped_when_the_write_says_retry_in(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        delay = timedelta(minutes=5, microseconds=1)
        after = store.now()
        first = make.record(next_try_at=_LONG_AGO)
        store.store(Write(record=first, retry_in=delay))
        stamp = store.lookup(first.run_id).next_try_at
        assert stamp is not None, "retry_in sets next_try_at"
        assert_stamped(stamp - delay, after=after, before=store.now(), what="next_try_at")
        second = make.next(first, next_try_at=_FAR_OFF)
        store.store(Write(record=second))
        assert store.lookup(first.run_id).next_try_at is None, "a write without retry_in clears it"

    # -- reading one run -----------------------------------------------------------------------

    def test_lookup_fails_by_name_when_the_run_is_unknown(
        self, store: RecordStore, make: Samples
    ) -> None:
        unknown = make.id()
        with refuses(RunNotFoundError, "no such run") as refusal:
            store.lookup(unknown)
        assert refusal.error.run_id == unknown

    def test_latest_answers_the_live_run_when_there_is_one(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        live = make.record(foreign_id="order-7")
        store.store(Write(record=live))
        env.advance()
        store.store(Write(record=make.record(foreign_id="order-7", state=RunState.COMPLETED)))
        store.store(Write(record=make.record(foreign_id="order-7", workflow="refunds")))
        found = store.latest(ORDERS, "order-7")
        assert found.run_id == live.run_id, "the live run goes before one that was created later"

    def test_latest_answers_the_run_created_last_when_none_is_live(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        runs = [make.record(foreign_id="order-7") for _ in range(3)]
        for record in runs:
            store.store(Write(record=record))
            store.store(Write(record=make.ended(record)))
            env.advance(0.01)
        store.store(
            Write(record=make.next(make.ended(runs[0]), version=3, state=RunState.CANCELLED))
        )
        assert store.latest(ORDERS, "order-7").run_id == runs[-1].run_id, (
            "created last, not written"
        )

    def test_latest_answers_the_greater_run_id_when_two_were_created_at_once(
        self, store: RecordStore, make: Samples
    ) -> None:
        runs = [make.record(foreign_id="order-7", state=RunState.COMPLETED) for _ in range(12)]
        store.store_many([Write(record=record) for record in runs])
        stored = [store.lookup(record.run_id) for record in runs]
        expected = max(stored, key=lambda record: (record.created_at, record.run_id))
        assert store.latest(ORDERS, "order-7") == expected

    def test_latest_fails_by_name_when_the_foreign_id_is_unknown(
        self, store: RecordStore, make: Samples
    ) -> None:
        store.store(Write(record=make.record(foreign_id="order-7", workflow="refunds")))
        with refuses(RunNotFoundError, "no run of this workflow has the foreign id"):
            store.latest(ORDERS, "order-7")
