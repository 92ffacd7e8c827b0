"""Batches, and many writers at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from workflow_core.errors import RunInProgressError, RunNotFoundError, VersionConflictError
from workflow_core.ports import Outcome, RecordStore, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases, filed_ids
from workflow_adaptertest.samples import Samples, refuses, unstamped
from workflow_adaptertest.threads import at_once, race

__all__ = ["BatchCases"]

_WRITERS = 50
_MANY = 2_000


class BatchCases(RecordStoreCases):
    """`store_many` and `lookup_many`, and the races that compare-and-swap is for."""

    def test_store_many_answers_per_item_when_some_lose(
        self, store: RecordStore, make: Samples
    ) -> None:
        behind, live = make.record(), make.record(foreign_id="order-7")
        store.store_many([Write(record=behind), Write(record=live)])
        good = make.record()
        stale = make.next(behind, version=3, data=b"stale")
        unknown = make.next(make.record())
        second = make.record(foreign_id="order-7")
        follows = make.next(live, status=2)
        batch = [good, stale, unknown, second, follows]
        outcomes = store.store_many([make.write(record) for record in batch])
        assert [type(outcome) for outcome in outcomes] == [
            type(None),
            VersionConflictError,
            VersionConflictError,
            RunInProgressError,
            type(None),
        ], f"one outcome per item, in order, each for itself: {outcomes}"
        assert [_found(outcomes[1]), _found(outcomes[2])] == [1, None]
        refused = outcomes[3]
        assert isinstance(refused, RunInProgressError)
        assert refused.live_run_id == live.run_id
        found = store.lookup_many([record.run_id for record in (*batch, behind)])
        assert unstamped([found[good.run_id], found[live.run_id]]) == [good, follows]
        assert unstamped([found[behind.run_id]]) == [behind]
        assert set(found) == {good.run_id, live.run_id, behind.run_id}, "losers are not stored"

    def test_store_many_files_the_events_of_winners_alone_when_some_lose(
        self, store: RecordStore, make: Samples
    ) -> None:
        won, lost = make.writes(20), [make.write(make.next(make.record())) for _ in range(20)]
        mixed = [write for pair in zip(won, lost, strict=True) for write in pair]
        store.store_many(mixed)
        expected = {event.id for write in won for event in write.events}
        filed = filed_ids(store)
        assert len(filed) == len(set(filed)), "an event was filed twice"
        assert set(filed) == expected, "an event exists if and only if its write is stored"

    def test_store_many_makes_one_run_when_a_foreign_id_appears_twice(
        self, store: RecordStore, make: Samples
    ) -> None:
        writes = make.writes(3, foreign_id="order-7")
        outcomes = store.store_many(writes)
        winners = [
            write.record.run_id
            for write, outcome in zip(writes, outcomes, strict=True)
            if outcome is None
        ]
        assert len(winners) == 1, f"one live run per foreign id, within a batch too: {outcomes}"
        for outcome in outcomes:
            if outcome is not None:
                assert isinstance(outcome, RunInProgressError)
                assert outcome.live_run_id == winners[0]
        assert len(filed_ids(store)) == 1

    def test_store_many_refuses_the_batch_when_a_run_appears_twice(
        self, store: RecordStore, make: Samples
    ) -> None:
        record = make.record()
        with refuses(ValueError, "which of the two versions came first could not be told"):
            store.store_many([make.write(record), make.write(make.next(record))])
        with refuses(RunNotFoundError, "nothing of a refused batch is stored"):
            store.lookup(record.run_id)

    def test_store_many_is_a_success_when_the_same_batch_comes_again(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        first = make.writes(5)
        store.store_many(first)
        batch = [make.write(make.next(write.record, status=2)) for write in first]
        batch += make.writes(5)
        store.store_many(batch)
        filed = set(filed_ids(store))
        again = other.store_many([*batch, *make.writes(1)])  # the answer to the first try was lost
        assert list(again) == [None] * 11, "each write of one's own is known by its write_id"
        assert filed < set(filed_ids(store))
        assert len(filed_ids(store)) == len(filed) + 1, "no event is filed twice"

    def test_store_many_keeps_them_all_when_the_batch_is_large(
        self, store: RecordStore, make: Samples
    ) -> None:
        writes = make.writes(_MANY)
        assert set(store.store_many(writes)) == {None}
        updates = [make.write(make.next(write.record, status=2)) for write in writes]
        assert set(store.store_many(updates)) == {None}
        ids = [write.record.run_id for write in writes]
        found = store.lookup_many(ids)
        assert unstamped([found[run_id] for run_id in ids]) == [write.record for write in updates]
        filed = filed_ids(store)
        assert len(filed) == 2 * _MANY
        store.delete_outbox_events(filed)
        assert filed_ids(store) == []

    def test_batches_answer_nothing_when_they_are_empty(self, store: RecordStore) -> None:
        assert list(store.store_many([])) == []
        assert dict(store.lookup_many([])) == {}
        store.add_outbox_events([])
        store.delete_outbox_events([])
        assert filed_ids(store, workflows=[]) == []

    def test_lookup_many_leaves_out_what_is_unknown_when_asked_for_more(
        self, store: RecordStore, make: Samples
    ) -> None:
        records = [make.record() for _ in range(3)]
        store.store_many([Write(record=record) for record in records])
        ids = [record.run_id for record in records]
        asked = [ids[0], make.id(), ids[1], ids[0]]
        for primary in (False, True):
            found = store.lookup_many(asked, primary=primary)
            assert set(found) == {ids[0], ids[1]}, "those that exist; duplicates are allowed"
            assert found[ids[0]] == store.lookup(ids[0])

    # -- races ---------------------------------------------------------------------------------

    def test_one_writer_wins_when_fifty_update_the_same_version(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        first = make.record()
        store.store(Write(record=first))
        writes = [make.write(make.next(first, status=2)) for _ in range(_WRITERS)]
        outcomes = self._race(store, other, writes, env)
        won = [write for write, outcome in zip(writes, outcomes, strict=True) if outcome is None]
        assert len(won) == 1, f"of {_WRITERS} writers exactly one wins, not {len(won)}"
        for outcome in outcomes:
            if outcome is not None:
                assert isinstance(outcome, VersionConflictError), repr(outcome)
                assert outcome.found == 2
        assert unstamped([store.lookup(first.run_id)]) == [won[0].record]
        assert filed_ids(store) == [won[0].events[0].id], "losers leave no event"

    def test_one_run_is_made_when_fifty_trigger_the_same_foreign_id(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        writes = make.writes(_WRITERS, foreign_id="order-7")
        outcomes = self._race(store, other, writes, env)
        won = [write for write, outcome in zip(writes, outcomes, strict=True) if outcome is None]
        assert len(won) == 1, f"of {_WRITERS} triggers one makes the run, not {len(won)}"
        for outcome in outcomes:
            if outcome is not None:
                assert isinstance(outcome, RunInProgressError), repr(outcome)
                assert outcome.live_run_id == won[0].record.run_id, "49 are told the live run"
        assert filed_ids(store) == [won[0].events[0].id], "losers leave no event"

    @race
    def test_each_run_has_one_winner_when_overlapping_batches_race(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        first = [make.record() for _ in range(40)]
        store.store_many([Write(record=record) for record in first])
        batches: list[list[Write]] = []
        for _ in range(6):
            batch = [make.write(make.next(record, status=2)) for record in first]
            env.random.shuffle(batch)  # overlapping batches in different order: the deadlock test
            batches.append(batch)
        answers = at_once(
            [
                partial(handle.store_many, batch)
                for batch, handle in zip(batches, [store, other] * 3, strict=True)
            ],
            doing="storing a batch",
            patience=env.patience,
        )
        winners: list[str] = []
        for batch, answer in zip(batches, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            winners += [
                write.record.run_id
                for write, outcome in zip(batch, answer, strict=True)
                if outcome is None
            ]
        assert sorted(winners) == sorted(record.run_id for record in first)

    def _race(
        self, store: RecordStore, other: RecordStore, writes: Sequence[Write], env: Env
    ) -> list[Exception | None]:
        return at_once(
            [
                partial(handle.store, write)
                for write, handle in zip(writes, [store, other] * (len(writes) // 2), strict=True)
            ],
            doing="storing the same version",
            patience=env.patience,
        )


def _found(outcome: Outcome) -> int | None:
    assert isinstance(outcome, VersionConflictError)
    return outcome.found
