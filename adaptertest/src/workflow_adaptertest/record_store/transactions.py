"""Transactions that the store lends."""

from __future__ import annotations

from functools import partial

from workflow_core.errors import (
    AdapterUnavailableError,
    InputError,
    NotSupportedError,
    RunInProgressError,
    RunNotFoundError,
    VersionConflictError,
)
from workflow_core.ports import Capability, RecordStore, StoreTransaction, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases, filed_ids
from workflow_adaptertest.samples import OnPurposeError, Samples, refuses, unstamped
from workflow_adaptertest.telling import needs, not_applicable
from workflow_adaptertest.threads import at_once, race

__all__ = ["TransactionCases"]


class TransactionCases(RecordStoreCases):
    """With TRANSACTIONS: commit, roll back, join. Without: refused by name."""

    def test_transactions_are_refused_by_name_when_not_declared(self, store: RecordStore) -> None:
        if Capability.TRANSACTIONS in store.capabilities:
            not_applicable("it lends transactions")
        with refuses(NotSupportedError, "TRANSACTIONS is not declared"), store.transaction():
            pass
        with refuses(NotSupportedError, "TRANSACTIONS is not declared"):
            store.join(object())

    def test_transaction_stores_all_when_it_commits(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        first = make.record()
        with store.transaction() as transaction:
            assert list(transaction.store_many([make.write(first)])) == [None]
            second = make.next(first, status=2)
            assert list(transaction.store_many([make.write(second)])) == [None], (
                "a transaction sees what it wrote"
            )
        assert unstamped([other.lookup(first.run_id)]) == [second]
        assert len(filed_ids(other)) == 2

    def test_transaction_shows_nothing_when_it_has_not_committed(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        known, new = make.record(), make.record()
        store.store(make.write(known))
        (filed,) = filed_ids(store)
        with store.transaction() as transaction:
            transaction.store_many([make.write(make.next(known, status=2)), make.write(new)])
            transaction.delete_outbox_events([filed])
            assert unstamped([other.lookup(known.run_id)]) == [known]
            assert set(other.lookup_many([new.run_id])) == set()
            assert filed_ids(other) == [filed]
        assert set(other.lookup_many([new.run_id])) == {new.run_id}
        assert len(filed_ids(other)) == 2

    def test_transaction_leaves_nothing_when_it_is_rolled_back(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        known, new = make.record(), make.record(foreign_id="order-7")
        store.store(make.write(known))
        (filed,) = filed_ids(store)
        with (
            refuses(OnPurposeError, "the block's own error is passed on"),
            store.transaction() as transaction,
        ):
            transaction.store_many([make.write(make.next(known, status=2)), make.write(new)])
            transaction.delete_outbox_events([filed])
            raise OnPurposeError
        assert unstamped([other.lookup(known.run_id)]) == [known]
        with refuses(RunNotFoundError, "the insert was rolled back"):
            other.lookup(new.run_id)
        assert filed_ids(other) == [filed], "events roll back with the records"
        again = make.record(foreign_id="order-7")
        assert list(store.store_many([Write(record=again)])) == [None], "its foreign id is free"

    def test_transaction_stays_usable_when_a_write_in_it_loses(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        live = make.record(foreign_id="order-7")
        store.store(Write(record=live))
        good = make.record()
        with store.transaction() as transaction:
            lost = transaction.store_many(
                [
                    make.write(make.record(foreign_id="order-7")),
                    make.write(make.next(live, version=5)),
                    make.write(make.next(make.record())),
                ]
            )
            assert [type(outcome) for outcome in lost] == [
                RunInProgressError,
                VersionConflictError,
                VersionConflictError,
            ]
            in_progress = lost[0]
            assert isinstance(in_progress, RunInProgressError)
            assert in_progress.live_run_id == live.run_id
            write = make.write(good)
            assert list(transaction.store_many([write])) == [None]
        assert unstamped([other.lookup(good.run_id)]) == [good], "the winner is committed"
        assert filed_ids(other) == [write.events[0].id], "and losers left no event"

    def test_transaction_refuses_a_batch_when_a_run_appears_twice(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        record = make.record()
        with (
            refuses(ValueError, "which came first could not be told"),
            store.transaction() as transaction,
        ):
            transaction.store_many([Write(record=record), Write(record=make.next(record))])

    def test_transaction_knows_its_write_when_the_answer_to_the_commit_was_lost(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        write = make.write(make.record())
        for _ in range(2):
            with store.transaction() as transaction:
                assert list(transaction.store_many([write])) == [None]
        assert filed_ids(store) == [write.events[0].id]

    def test_transaction_tells_which_rows_it_deleted_when_some_are_gone(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        events = [make.outbox(make.record()) for _ in range(4)]
        store.add_outbox_events(events)
        ids = [event.id for event in events]
        store.delete_outbox_events(ids[:1])
        with store.transaction() as transaction:
            got = transaction.delete_outbox_events([*ids[:3], make.id()])
            assert sorted(got) == sorted(ids[1:3]), "the ids of those that were there"
            assert list(transaction.delete_outbox_events(ids[1:3])) == [], "they are gone here"
            assert list(transaction.delete_outbox_events([])) == []
        assert filed_ids(store) == ids[3:]

    @race
    def test_one_transaction_gets_a_row_when_several_delete_it(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        ids = [make.id() for _ in range(50)]
        record = make.record()
        store.add_outbox_events([make.outbox(record, id=id_) for id_ in ids])

        def move(handle: RecordStore) -> list[str]:
            for _ in range(20):
                try:
                    with handle.transaction() as transaction:
                        got = list(transaction.delete_outbox_events(ids))
                except AdapterUnavailableError:
                    continue  # lost to another one: do all of it again
                return got
            raise AssertionError("a transaction lost to its like for 20 times")

        answers = at_once(
            [partial(move, handle) for handle in [store, other] * 3],
            doing="moving events",
            patience=env.patience,
        )
        moved: list[str] = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            moved += answer
        assert sorted(moved) == sorted(ids), "whoever gets an id moves its event, nobody else"

    def test_join_writes_in_the_callers_transaction_when_it_commits(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        write = make.write(make.record())
        with store.transaction() as transaction:
            joined: StoreTransaction = other.join(transaction.connection)
            assert list(joined.store_many([write])) == [None]
            assert set(other.lookup_many([write.record.run_id])) == set(), "the caller commits"
        assert set(other.lookup_many([write.record.run_id])) == {write.record.run_id}
        assert filed_ids(other) == [write.events[0].id]

    def test_join_leaves_nothing_when_the_callers_transaction_is_rolled_back(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        write = make.write(make.record())
        with (
            refuses(OnPurposeError, "the block's own error is passed on"),
            store.transaction() as transaction,
        ):
            store.join(transaction.connection).store_many([write])
            raise OnPurposeError
        assert set(other.lookup_many([write.record.run_id])) == set()
        assert filed_ids(other) == []

    def test_join_refuses_what_is_no_connection_of_the_store_when_given(
        self, store: RecordStore
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        with refuses(InputError, "this is no connection of the store's database"):
            store.join(object())


def _lends_none(store: RecordStore) -> bool:
    """Then there is nothing to hold the store to but that it refuses."""
    return Capability.TRANSACTIONS not in store.capabilities
