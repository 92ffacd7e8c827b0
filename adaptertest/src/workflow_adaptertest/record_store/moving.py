"""What a move into another store asks for: runs taken over as they are, and the whole outbox."""

from __future__ import annotations

from datetime import timedelta

from workflow_core.errors import NotSupportedError, RunInProgressError
from workflow_core.model import Record, RecordQuery, RunState
from workflow_core.ports import Capability, RecordStore, RunCopy, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases
from workflow_adaptertest.samples import ORDERS, Samples, refuses
from workflow_adaptertest.telling import not_applicable

__all__ = ["MovingCases"]


class MovingCases(RecordStoreCases):
    """Optional: a store that adopts nothing says so by `NotSupportedError`."""

    def test_adopted_run_is_just_as_it_was_told(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        copy = self._copy(store, make, env)
        found = other.lookup(copy.record.run_id)
        if Capability.SEARCH not in store.capabilities:
            found = found.replace(search=copy.record.search)
        assert found == copy.record, "with all stamps, and search attributes where it has them"
        if Capability.HISTORY in store.capabilities:
            assert other.history(copy.record.run_id) == copy.history
        listed = other.list_records(RecordQuery(workflow=ORDERS))
        assert [record.run_id for record in listed.items] == [copy.record.run_id]

    def test_adopted_run_replaces_what_is_there_of_it(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        copy = self._copy(store, make, env)
        older = copy.record.replace(version=1, write_id=make.id(), state=RunState.PAUSED, search={})
        for told in (RunCopy(record=older), RunCopy(record=older)):
            store.adopt([told])
            assert store.lookup(older.run_id) == older
        if Capability.SEARCH in store.capabilities:
            found = store.list_records(RecordQuery(workflow=ORDERS, search={"customer": "ada"}))
            assert not found.items, "it is no longer found by what it was found by"

    def test_adopted_run_goes_on_by_compare_and_swap(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        copy = self._copy(store, make, env)
        after = make.next(copy.record)
        store.store(Write(record=after))
        found = store.lookup(after.run_id)
        assert (found.version, found.created_at) == (after.version, copy.record.created_at)

    def test_runs_are_refused_together_when_one_has_a_live_rival(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        copy = self._copy(store, make, env)
        rival = make.record(foreign_id=copy.record.foreign_id)
        stamps = dict.fromkeys(("created_at", "updated_at", "entered_at"), copy.record.created_at)
        both = [RunCopy(record=r.replace(**stamps)) for r in (make.record(), rival)]
        with refuses(RunInProgressError, "one live run per foreign id") as caught:
            store.adopt(both)
        assert caught.error.live_run_id == copy.record.run_id
        assert not store.lookup_many([told.record.run_id for told in both], primary=True)
        ended = copy.record.replace(state=RunState.COMPLETED)
        store.adopt([*both, RunCopy(record=ended)])
        assert store.latest(ORDERS, rival.foreign_id).run_id == rival.run_id

    def test_outbox_is_listed_whole_and_in_order_of_id(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        record = make.record()
        day = timedelta(days=1)
        filed = [
            make.outbox(record),
            make.outbox(record, delay=day),
            make.outbox(record, held_for=day),
            make.outbox(record.replace(workflow="refunds")),
        ]
        try:
            store.list_outbox()
        except NotSupportedError:
            not_applicable("nothing can be moved out of the store")
        store.add_outbox_events(filed)
        first = other.list_outbox(limit=3)
        second = other.list_outbox(limit=3, after=first.next)
        found = [*first.items, *second.items]
        assert [event.id for event in found] == sorted(event.id for event in filed)
        assert second.next is None
        left = {event.id: event.delay for event in found}
        assert day - env.tick * 100 < left.pop(filed[1].id) <= day
        assert set(left.values()) == {timedelta(0)}, "who holds it is no matter"

    def _copy(self, store: RecordStore, make: Samples, env: Env) -> RunCopy:
        """A run of three versions that this store has, as another one might have it."""
        try:
            store.adopt([])
        except NotSupportedError:
            not_applicable("nothing can be moved into the store")
        first = make.record()
        second = make.next(first, attempts=1, last_error="no answer")
        for record in (first, second, make.next(second, passed={1: 1})):
            store.store(Write(record=record, retry_in=env.tick, search={"customer": "ada"}))
        copy = RunCopy(
            record=self._shifted(store.lookup(first.run_id)), history=store.history(first.run_id)
        )
        store.adopt([RunCopy(record=copy.record.replace(state=RunState.COMPLETED))])
        store.adopt([copy])
        return copy

    def _shifted(self, record: Record) -> Record:
        """Stamped in another past than the store would stamp it."""
        day = timedelta(days=1)
        return record.replace(
            created_at=record.created_at - 3 * day,
            entered_at=record.entered_at - 2 * day,
            updated_at=record.updated_at - day,
            search={"customer": "ada"},
        )
