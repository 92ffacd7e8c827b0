"""Lists, pages, filters, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from workflow_core.errors import InputError
from workflow_core.model import Record, RecordQuery, RunState, SortOrder
from workflow_core.ports import RecordStore, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases
from workflow_adaptertest.samples import ORDERS, Samples, refuses

__all__ = ["QueryCases"]

_QUERIES = 60
_INSTANT = timedelta(microseconds=1)
_ORDERS = pytest.mark.parametrize("order", list(SortOrder), ids=str)


class QueryCases(RecordStoreCases):
    """`list_records` and `count_records`, held against a model in plain Python."""

    def test_list_answers_like_the_model_when_filters_are_combined(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        records = self._population(store, make, env)
        for number in range(_QUERIES):
            query = self._random_query(records, env)
            listed = _ids(self._walk(store, query))
            assert listed == _ids(_model(records, query)), f"query {number}: {query}"

    def test_counts_are_like_the_model_when_filters_are_combined(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        records = self._population(store, make, env)
        for number in range(_QUERIES):
            query = self._random_query(records, env)
            expected = Counter(
                (each.workflow, each.status, each.state) for each in _model(records, query)
            )
            assert dict(store.count_records(query)) == dict(expected), f"query {number}: {query}"
        query = RecordQuery(limit=1, order=SortOrder.NEWEST_FIRST)
        assert sum(store.count_records(query).values()) == len(records), "limit does not count"

    def test_listed_records_are_whole_when_compared_with_a_lookup(
        self, store: RecordStore, make: Samples
    ) -> None:
        record = make.record(headers={"a": "b"})
        store.store(Write(record=record))
        page = store.list_records(RecordQuery())
        assert list(page.items) == [store.lookup(record.run_id)]
        assert page.next is None, "None: this was the last page"

    @_ORDERS
    def test_pages_are_full_and_end_when_the_last_one_is_full_too(
        self, store: RecordStore, make: Samples, order: SortOrder
    ) -> None:
        store.store_many([Write(record=make.record()) for _ in range(12)])
        query, sizes = RecordQuery(limit=4, order=order), []
        while True:
            page = store.list_records(query)
            sizes.append(len(page.items))
            if page.next is None:
                break
            query = query.replace(after=page.next)
        assert [size for size in sizes if size] == [4, 4, 4], "at most limit, and no fewer"

    @_ORDERS
    def test_pages_miss_and_repeat_nothing_when_runs_are_written_between_them(
        self, store: RecordStore, other: RecordStore, make: Samples, env: Env, order: SortOrder
    ) -> None:
        present: list[Record] = []
        for _ in range(6):  # each six share one instant, by a clock that stands still
            batch = [make.record() for _ in range(6)]
            store.store_many([Write(record=record) for record in batch])
            present += batch
            env.advance(0.01)
        expected = {record.run_id for record in present}
        seen: list[str] = []
        query = RecordQuery(limit=5, order=order)
        while True:
            page = store.list_records(query)
            seen += _ids(page.items)
            if page.next is None:
                break
            query = query.replace(after=page.next)
            if present:  # one update moves no run to another place
                other.store_many([Write(record=make.next(present.pop()))])
            if len(seen) < 100:
                other.store_many([Write(record=make.record()) for _ in range(3)])
        assert len(seen) == len(set(seen)), "a run came twice"
        missed = expected - set(seen)
        assert not missed, f"{len(missed)} runs that were there all along were missed"

    @_ORDERS
    def test_list_is_in_order_of_creation_and_run_id_when_times_are_equal(
        self, store: RecordStore, make: Samples, env: Env, order: SortOrder
    ) -> None:
        for _ in range(3):
            store.store_many([Write(record=make.record()) for _ in range(8)])
            env.advance(0.01)
        items = list(store.list_records(RecordQuery(order=order)).items)
        by_creation = sorted(items, key=lambda record: (record.created_at, record.run_id))
        assert len(items) == 24
        assert _ids(items) == _ids(
            by_creation if order is SortOrder.OLDEST_FIRST else by_creation[::-1]
        )

    def test_time_filters_are_strict_when_a_record_lies_on_the_bound(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        first = make.record()
        store.store(Write(record=first))
        env.advance(0.5)
        store.store(Write(record=make.next(first)))
        stored = store.lookup(first.run_id)
        for field in ("created", "updated"):
            at = getattr(stored, f"{field}_at")
            for bound, shift, there in (
                ("after", -_INSTANT, True),
                ("after", 0 * _INSTANT, False),
                ("before", 0 * _INSTANT, False),
                ("before", _INSTANT, True),
            ):
                query = RecordQuery(**{f"{field}_{bound}": at + shift})
                found = bool(store.list_records(query).items)
                assert found is there, f"{field}_at is {at}; {field}_{bound}={at + shift}"

    def test_list_refuses_a_page_when_it_is_none_of_the_stores(self, store: RecordStore) -> None:
        for after in ("nonsense", "", "\0", "2026-03-29", "🧾"):
            with refuses(InputError, f"after={after!r} was made by no page of this store"):
                store.list_records(RecordQuery(after=after))

    def test_filters_match_nothing_when_they_are_empty(
        self, store: RecordStore, make: Samples
    ) -> None:
        store.store(Write(record=make.record()))
        for query in (RecordQuery(run_ids=[]), RecordQuery(statuses=[]), RecordQuery(states=[])):
            assert list(store.list_records(query).items) == [], "any of no values is none"
            assert not store.count_records(query)

    def test_drivable_runs_are_those_that_nothing_drives_when_asked(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        tick = env.tick
        stuck = make.record()
        running = make.record()
        skipped = make.record(skipped=True)
        failed = make.record()
        filed, delayed, held = make.record(), make.record(), make.record()
        store.store_many(
            [
                Write(record=stuck),
                Write(record=running),
                Write(record=skipped),
                Write(record=failed, retry_in=2 * tick),
                make.write(filed),
                Write(record=delayed, events=[make.outbox(delayed, delay=9 * tick)]),
                Write(record=held, events=[make.outbox(held, held_for=9 * tick)]),
                *(Write(record=make.record(state=state)) for state in RunState if state >= 3),
            ]
        )
        store.store(Write(record=make.next(running, status=2)))
        query = RecordQuery(drivable=True)
        assert self._listed(store, query) == {stuck.run_id, running.run_id}
        env.advance(2)
        assert self._listed(store, query) == {stuck.run_id, running.run_id, failed.run_id}, (
            "the time of the failed run's next try has come, by the store's clock"
        )
        store.delete_outbox_events(
            [event.id for event in store.list_outbox_events([ORDERS], limit=9)]
        )
        assert self._listed(store, query.replace(workflow=ORDERS)) == {
            stuck.run_id,
            running.run_id,
            failed.run_id,
            filed.run_id,
        }, "a run whose event went out is not driven by the outbox any more"
        assert self._listed(store, query.replace(statuses=[2])) == {running.run_id}
        assert sum(store.count_records(query).values()) == 4

    # -- the model -----------------------------------------------------------------------------

    def _population(self, store: RecordStore, make: Samples, env: Env) -> list[Record]:
        """Runs of several workflows, foreign ids, statuses and states, as the store has them."""
        chance, ids = env.random, []
        for _ in range(8):
            batch = [
                make.record(
                    workflow=chance.choice([ORDERS, "refunds"]),
                    foreign_id=chance.choice(["a", "b", f"order-{number}"]),
                    status=chance.randint(1, 3),
                    state=chance.choice(list(RunState)),
                )
                for number in range(10)
            ]
            outcomes = store.store_many([Write(record=record) for record in batch])
            kept = [
                record for record, outcome in zip(batch, outcomes, strict=True) if outcome is None
            ]
            ids += _ids(kept)
            if chance.random() < 0.7:
                env.advance(0.01)
            changed = [record for record in kept if chance.random() < 0.3]
            store.store_many(
                [Write(record=make.next(record, state=record.state)) for record in changed]
            )
        return list(store.lookup_many(ids).values())

    def _random_query(self, records: list[Record], env: Env) -> RecordQuery:
        chance = env.random

        def moment() -> datetime:
            record = chance.choice(records)
            return chance.choice([record.created_at, record.updated_at])

        filters: dict[str, Callable[[], object]] = {
            "workflow": lambda: chance.choice([ORDERS, "refunds", "unknown"]),
            "foreign_id": lambda: chance.choice(["a", "b", "A", "order-3"]),
            "run_ids": lambda: [*_ids(chance.sample(records, 20)), "unknown"],
            "statuses": lambda: chance.sample([1, 2, 3, 4], 2),
            "states": lambda: chance.sample(list(RunState), 3),
            "created_after": moment,
            "created_before": moment,
            "updated_after": moment,
            "updated_before": moment,
        }
        chosen: dict[str, Any] = {
            name: value() for name, value in filters.items() if chance.random() < 0.25
        }
        order, limit = chance.choice(list(SortOrder)), chance.choice([1, 2, 3, 7, 100])
        return RecordQuery(order=order, limit=limit, **chosen)

    def _walk(self, store: RecordStore, query: RecordQuery) -> list[Record]:
        records: list[Record] = []
        while True:
            page = store.list_records(query)
            assert len(page.items) <= query.limit, f"a page of over {query.limit} records"
            records += page.items
            if page.next is None:
                return records
            assert page.items, "an empty page that is not the last would be asked for ever"
            query = query.replace(after=page.next)

    def _listed(self, store: RecordStore, query: RecordQuery) -> set[str]:
        return set(_ids(self._walk(store, query)))


def _ids(records: Iterable[Record]) -> list[str]:
    return [record.run_id for record in records]


def _model(records: list[Record], query: RecordQuery) -> list[Record]:
    """What the query means, said in plain Python."""

    def matches(record: Record) -> bool:
        return (
            (query.workflow is None or record.workflow == query.workflow)
            and (query.foreign_id is None or record.foreign_id == query.foreign_id)
            and (query.run_ids is None or record.run_id in query.run_ids)
            and (query.statuses is None or record.status in query.statuses)
            and (query.states is None or record.state in query.states)
            and (query.created_after is None or record.created_at > query.created_after)
            and (query.created_before is None or record.created_at < query.created_before)
            and (query.updated_after is None or record.updated_at > query.updated_after)
            and (query.updated_before is None or record.updated_at < query.updated_before)
        )

    found = [record for record in records if matches(record)]
    found.sort(key=lambda record: (record.created_at, record.run_id))
    return found if query.order is SortOrder.OLDEST_FIRST else found[::-1]
