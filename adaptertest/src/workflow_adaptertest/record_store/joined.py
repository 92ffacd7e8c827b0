"""Reading in a transaction that is open: one's own writes, locks, and what is not there."""

from __future__ import annotations

from workflow_core.errors import RunNotFoundError
from workflow_core.ports import Capability, RecordStore, Write

from workflow_adaptertest.record_store.base import RecordStoreCases
from workflow_adaptertest.samples import Samples, refuses, unstamped
from workflow_adaptertest.telling import needs

__all__ = ["JoinedReadCases"]


class JoinedReadCases(RecordStoreCases):
    """With TRANSACTIONS: what verbs in a caller's transaction read."""

    def test_transaction_reads_what_it_wrote_when_others_do_not(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        known, new = make.record(), make.record()
        store.store(Write(record=known))
        changed = make.next(known, status=2)
        with store.transaction() as transaction:
            transaction.store_many([Write(record=changed), Write(record=new)])
            wanted = [known.run_id, new.run_id, make.id()]
            for look in (transaction.lookup_many, transaction.lock_many):
                found = look(wanted)
                assert set(found) == {known.run_id, new.run_id}, "those that exist"
                assert unstamped([found[known.run_id], found[new.run_id]]) == [changed, new]
                assert dict(look([])) == {}
            assert set(other.lookup_many(wanted)) == {known.run_id}
            told = transaction.stamped_at
        if told is not None:
            stored = store.lookup(new.run_id)
            stamps = {stored.created_at, stored.updated_at, store.lookup(known.run_id).entered_at}
            assert stamps == {told}, "stamped_at is what the writes are stamped with"

    def test_transaction_finds_the_latest_run_when_it_began_or_ended_it(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        first = make.record(foreign_id="order-7")
        store.store(Write(record=first))
        with store.transaction() as transaction:
            assert transaction.latest("orders", "order-7").run_id == first.run_id
            ended = make.ended(first)
            transaction.store_many([Write(record=ended)])
            assert transaction.latest("orders", "order-7").state is ended.state
            second = make.record(foreign_id="order-7")
            assert list(transaction.store_many([Write(record=second)])) == [None]
            assert transaction.latest("orders", "order-7").run_id == second.run_id, "the live one"

    def test_transaction_stays_usable_when_it_finds_no_run(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        record = make.record()
        with store.transaction() as transaction:
            with refuses(RunNotFoundError, "no run has this foreign id"):
                transaction.latest("orders", record.foreign_id)
            assert dict(transaction.lock_many([record.run_id])) == {}
            assert list(transaction.store_many([Write(record=record)])) == [None]
        assert set(other.lookup_many([record.run_id])) == {record.run_id}

    def test_joined_transaction_reads_what_the_caller_sees(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        record = make.record()
        with store.transaction() as transaction:
            transaction.store_many([Write(record=record)])
            joined = other.join(transaction.connection)
            assert unstamped([joined.lookup_many([record.run_id])[record.run_id]]) == [record]
            assert joined.latest("orders", record.foreign_id).run_id == record.run_id

    def test_run_that_is_locked_changes_for_nobody_else_until_the_end(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.TRANSACTIONS)
        record = make.record()
        store.store(Write(record=record))
        with store.transaction() as transaction:
            locked = transaction.lock_many([record.run_id])[record.run_id]
            write = Write(record=make.next(locked, status=2))
            assert list(transaction.store_many([write])) == [None], "who has locked it wins"
        assert store.lookup(record.run_id).version == 2
