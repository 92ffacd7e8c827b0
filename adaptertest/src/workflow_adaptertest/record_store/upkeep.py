"""History, erasing, purging, and what an adapter says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from workflow_core.errors import NotSupportedError, RunNotFoundError, VersionConflictError
from workflow_core.model import Record, RecordQuery, RunState
from workflow_core.ports import Capability, RecordStore, Write

from workflow_adaptertest.contract import Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases, filed_ids
from workflow_adaptertest.samples import ORDERS, OnPurposeError, Samples, refuses
from workflow_adaptertest.telling import not_applicable

__all__ = ["UpkeepCases"]


class UpkeepCases(RecordStoreCases):
    """What is kept beside the present records, and how it goes."""

    def test_history_tells_every_version_when_the_store_keeps_it(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        first = make.record()
        failed = make.next(first, attempts=1, last_error="no answer")
        paused = make.next(failed, state=RunState.PAUSED, reason="too many attempts")
        times = []
        for record in (first, failed, paused):
            store.store(Write(record=record))
            times.append(store.lookup(first.run_id).updated_at)
            env.advance(0.01)
        entries = other.history(first.run_id)
        told = [
            (e.run_id, e.version, e.status, e.state, e.attempts, e.reason, e.error) for e in entries
        ]
        expected = [
            (r.run_id, r.version, r.status, r.state, r.attempts, r.reason, r.last_error)
            for r in (first, failed, paused)
        ]
        if Capability.HISTORY not in store.capabilities:
            expected, times = expected[-1:], times[-1:]  # the present version alone
        assert told == expected, "oldest first"
        assert [entry.at for entry in entries] == times

    def test_history_tells_of_stored_versions_alone_when_a_write_lost(
        self, store: RecordStore, make: Samples
    ) -> None:
        first = make.record()
        store.store(Write(record=first))
        store.store_many([Write(record=make.next(first, version=7, last_error="lost"))])
        assert [entry.version for entry in store.history(first.run_id)] == [1]

    def test_histories_of_many_are_told_by_run_when_some_exist(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        runs = [make.record() for _ in range(3)]
        later = [make.next(runs[0]), make.next(runs[1])]
        for records in (runs, later, [make.next(later[0])]):
            store.store_many([Write(record=record) for record in records])
        wanted = [runs[1].run_id, make.id(), runs[0].run_id, runs[0].run_id]
        found = other.history_many(wanted)
        assert set(found) == {runs[0].run_id, runs[1].run_id}
        for run_id, entries in found.items():
            assert list(entries) == list(other.history(run_id))
        assert dict(other.history_many([])) == {}

    def test_history_fails_by_name_when_the_run_is_unknown(
        self, store: RecordStore, make: Samples
    ) -> None:
        with refuses(RunNotFoundError, "no such run"):
            store.history(make.id())

    def test_erase_leaves_no_payload_beside_the_record_when_repeated(
        self, store: RecordStore, make: Samples
    ) -> None:
        neighbour = make.record(last_error="kept")
        first = make.record(data=b"bob@example.org", reason="bob@example.org")
        failed = make.next(first, data=b"bob@example.org", last_error="invalid: bob@example.org")
        ended = make.ended(failed).replace(data=b"", last_error="", reason="")
        for record in (neighbour, first, failed, ended):
            store.store(Write(record=record))
        present = store.lookup(first.run_id)
        for _ in range(2):
            store.erase_copies(first.run_id)
            assert "bob@" not in repr(store.history(first.run_id)), "data, errors and reasons go"
        assert store.lookup(first.run_id) == present, "the record itself is the engine's to blank"
        assert [entry.error for entry in store.history(neighbour.run_id)] == ["kept"]

    # -- purge ---------------------------------------------------------------------------------

    def test_purge_deletes_ended_runs_when_they_match(
        self, store: RecordStore, make: Samples
    ) -> None:
        ended = [make.record(state=state) for state in RunState if state.is_finished]
        elsewhere = make.record(state=RunState.COMPLETED, workflow="refunds")
        self._store(store, *ended, elsewhere)
        count = self._purge(store, RecordQuery(workflow=ORDERS))
        if count is None:
            not_applicable("the store cannot purge")
        assert count == len(ended), "answers how many went"
        assert self._left(store) == {elsewhere.run_id}
        assert self._purge(store, RecordQuery(workflow=ORDERS)) == 0
        with refuses(RunNotFoundError, "the run was purged"):
            store.lookup(ended[0].run_id)
        with refuses(RunNotFoundError, "all that is the run's goes with it"):
            store.history(ended[0].run_id)
        with refuses(RunNotFoundError, "its foreign id has no run any more"):
            store.latest(ORDERS, ended[0].foreign_id)

    def test_purge_spares_live_runs_and_those_in_the_outbox_when_the_query_names_them(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        live = [make.record(state=state) for state in RunState if state.is_live]
        filed = [make.record(state=RunState.COMPLETED) for _ in range(2)]
        gone = make.record(state=RunState.COMPLETED)
        self._store(store, *live, gone)
        delayed = make.outbox(filed[1], delay=env.tick)
        store.store_many([make.write(filed[0]), Write(record=filed[1], events=[delayed])])
        named = RecordQuery(run_ids=[record.run_id for record in (*live, *filed, gone)])
        count = self._purge(store, named)
        if count is None:
            not_applicable("the store cannot purge")
        assert count == 1
        assert self._left(store) == {record.run_id for record in (*live, *filed)}
        store.delete_outbox_events([*filed_ids(store), delayed.id])
        assert self._purge(store, named) == 2, "their events are out: now they may go"

    def test_purge_tells_of_those_that_go_before_they_have_gone(
        self, store: RecordStore, make: Samples
    ) -> None:
        ended = [make.record(state=RunState.CANCELLED) for _ in range(3)]
        self._store(store, *ended, make.record())
        if self._purge(store, RecordQuery(run_ids=[])) is None:
            not_applicable("the store cannot purge")
        told: list[str] = []

        def refuse(run_ids: Sequence[str]) -> None:
            raise OnPurposeError

        with refuses(OnPurposeError, "what the caller raises is passed on"):
            store.purge(RecordQuery(), doomed=refuse)
        assert len(self._left(store)) == 4, "they stay where the caller cannot let them go"
        assert store.purge(RecordQuery(), doomed=told.extend) == 3
        assert sorted(told) == sorted(record.run_id for record in ended)
        assert store.purge(RecordQuery(), doomed=refuse) == 0, "nobody is about to go"

    def test_purge_deletes_no_more_than_the_limit_when_more_match(
        self, store: RecordStore, make: Samples
    ) -> None:
        self._store(store, *(make.record(state=RunState.CANCELLED) for _ in range(5)))
        query = RecordQuery(limit=2)
        counts = [self._purge(store, query) for _ in range(4)]
        if counts[0] is None:
            not_applicable("the store cannot purge")
        assert counts == [2, 2, 1, 0]

    def test_purge_keeps_to_the_filters_when_there_are_some(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        old = make.record(state=RunState.COMPLETED)
        cancelled = make.record(state=RunState.CANCELLED)
        self._store(store, old, cancelled)
        env.advance(1)
        young = make.record(state=RunState.COMPLETED)
        self._store(store, young)
        before = store.lookup(young.run_id).updated_at
        query = RecordQuery(states=[RunState.COMPLETED], updated_before=before)
        count = self._purge(store, query)
        if count is None:
            not_applicable("the store cannot purge")
        assert count == 1
        assert self._left(store) == {cancelled.run_id, young.run_id}

    def test_late_write_loses_when_its_run_was_purged(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        first = make.record()
        ended = make.ended(first)
        self._store(store, first, ended)
        if self._purge(store, RecordQuery()) is None:
            not_applicable("the store cannot purge")
        with refuses(VersionConflictError, "a purged run must not come back") as refusal:
            other.store(make.write(make.next(ended, state=RunState.DATA_DELETED)))
        assert refusal.error.found is None
        assert self._left(store) == set()
        assert filed_ids(store) == []

    # -- the adapter ---------------------------------------------------------------------------

    def test_store_keeps_to_its_namespace_when_there_is_another(
        self, store: RecordStore, make: Samples, env: Env, open_handle: Opener
    ) -> None:
        stranger: RecordStore = open_handle(env.elsewhere())
        write = make.write(make.record(foreign_id="order-7"))
        store.store(write)
        assert self._left(stranger) == set(), "another namespace's run is seen"
        assert filed_ids(stranger) == [], "another namespace's event is seen"
        stranger.store(make.write(make.record(foreign_id="order-7")))
        assert filed_ids(store) == [write.events[0].id]

    def test_health_is_a_phrase_when_all_is_well(self, store: RecordStore) -> None:
        assert store.check_health().strip()

    def test_closing_is_harmless_when_repeated(self, open_handle: Opener, make: Samples) -> None:
        handle, other = open_handle(), open_handle()
        record = make.record()
        handle.store(make.write(record))
        handle.close()
        handle.close()
        assert other.lookup(record.run_id).run_id == record.run_id, "closing loses nothing"

    def _store(self, store: RecordStore, *records: Record) -> None:
        for record in records:
            store.store(Write(record=record))

    def _left(self, store: RecordStore) -> set[str]:
        return {record.run_id for record in store.list_records(RecordQuery()).items}

    def _purge(self, store: RecordStore, query: RecordQuery) -> int | None:
        """None where the store cannot purge, which it may say."""
        try:
            return store.purge(query)
        except NotSupportedError:
            assert type(store).purge is RecordStore.purge, "overridden, so it is supported"
            return None
