"""Finding runs by declared attributes of their data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from workflow_core.errors import InputError
from workflow_core.model import Between, RecordQuery, RunState, SearchValue, SortOrder, Wanted
from workflow_core.ports import Capability, RecordStore, Write

from workflow_adaptertest.record_store.base import RecordStoreCases
from workflow_adaptertest.samples import ORDERS, Samples, refuses
from workflow_adaptertest.telling import needs

__all__ = ["SearchCases"]

_NOON = datetime(2026, 3, 29, 12, 0, 0, 123456, tzinfo=UTC)
_ALIKE = ["acme", "Acme", "acmé", "acme ", " acme", "acme\u0301", "ac%e", "a", "\U0001f600" * 255]


class SearchCases(RecordStoreCases):
    """With SEARCH: attributes are written with their record, found, changed, and erased."""

    def test_runs_are_found_by_each_attribute_when_written(
        self, store: RecordStore, other: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        attributes: dict[str, SearchValue] = {"customer": "acme", "total": 99, "due": _NOON}
        run_id = _written(store, make, attributes)
        _written(store, make, {"customer": "other", "total": 98, "due": _NOON + timedelta(1)})
        _written(store, make, {})
        for name, value in attributes.items():
            assert _found(other, {name: value}) == {run_id}
        assert _found(other, attributes) == {run_id}, "all of them are met"
        assert _found(other, {"customer": "acme", "total": 98}) == set()
        assert _found(other, {"customers": "acme"}) == set(), "no run has this attribute"
        assert dict(other.lookup(run_id).search) == attributes, "the record tells them"

    def test_texts_are_told_apart_when_they_look_alike(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        ids = {text: _written(store, make, {"customer": text}) for text in _ALIKE}
        for text, run_id in ids.items():
            assert _found(store, {"customer": text}) == {run_id}, repr(text)

    @pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
    def test_numbers_are_found_when_they_are_large(
        self, store: RecordStore, make: Samples, number: int
    ) -> None:
        needs(store, Capability.SEARCH)
        run_id = _written(store, make, {"total": number})
        assert _found(store, {"total": number}) == {run_id}
        assert dict(store.lookup(run_id).search) == {"total": number}

    def test_runs_are_found_by_a_range_when_it_is_half_open(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        by_total = [_written(store, make, {"total": total}) for total in (-5, 0, 5, 10)]
        assert _found(store, {"total": Between(at_least=0, below=10)}) == set(by_total[1:3])
        assert _found(store, {"total": Between(at_least=5)}) == set(by_total[2:])
        assert _found(store, {"total": Between(below=0)}) == set(by_total[:1])
        days = [_NOON + timedelta(days=n) for n in range(3)]
        by_day = [_written(store, make, {"due": day}) for day in days]
        assert _found(store, {"due": Between(at_least=days[1])}) == set(by_day[1:])
        names = [_written(store, make, {"name": name}) for name in ("Z", "a", "ab", "b", "é")]
        assert _found(store, {"name": Between(at_least="a", below="b")}) == set(names[1:3])
        assert _found(store, {"name": Between(at_least="b")}) == set(names[3:]), "by code points"

    def test_search_goes_with_all_other_filters_page_by_page(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        ids = []
        for number in range(12):
            record = make.record(status=1 + number % 2)
            store.store(Write(record=record, search={"customer": "acme", "total": number}))
            ids.append(record.run_id)
            _written(store, make, {"customer": "other", "total": number})
        query = RecordQuery(workflow=ORDERS, search={"customer": "acme"}, limit=5)
        for order in SortOrder:
            everything = store.list_records(RecordQuery(order=order)).items
            wanted = [record.run_id for record in everything if record.run_id in ids]
            got: list[str] = []
            page = store.list_records(query.replace(order=order))
            got += [record.run_id for record in page.items]
            while page.next is not None:
                page = store.list_records(query.replace(order=order, after=page.next))
                got += [record.run_id for record in page.items]
            assert got == wanted
        narrow = query.replace(
            statuses=[2],
            states=[RunState.INITIATED],
            search={"customer": "acme", "total": Between(at_least=6)},
        )
        assert {record.run_id for record in store.list_records(narrow).items} == set(ids[7::2])
        assert dict(store.count_records(narrow)) == {(ORDERS, 2, RunState.INITIATED): 3}

    def test_attributes_change_when_a_write_says_so_and_stay_when_it_does_not(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        first = make.record()
        store.store(Write(record=first, search={"customer": "acme", "total": 1}))
        second = make.next(first, status=2, search={"customer": "ignored"})
        store.store(Write(record=second))
        assert _found(store, {"customer": "acme"}) == {first.run_id}, "None: as it was"
        third = make.next(second, status=3)
        store.store(Write(record=third, search={"customer": "other"}))
        assert _found(store, {"customer": "acme"}) == set()
        assert _found(store, {"total": 1}) == set(), "what is left out is gone"
        assert _found(store, {"customer": "other"}) == {first.run_id}
        store.store(Write(record=make.next(third), search={}))
        assert _found(store, {"customer": "other"}) == set()
        assert dict(store.lookup(first.run_id).search) == {}

    def test_attributes_of_a_write_that_loses_are_nowhere(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        first = make.record()
        store.store(Write(record=first, search={"customer": "acme"}))
        lost = make.next(first, version=7)
        rival = make.record(foreign_id=first.foreign_id)
        store.store_many(
            [
                Write(record=lost, search={"customer": "lost"}),
                Write(record=rival, search={"customer": "lost"}),
            ]
        )
        assert _found(store, {"customer": "lost"}) == set()
        assert _found(store, {"customer": "acme"}) == {first.run_id}

    def test_attributes_are_the_workflows_own_when_another_has_the_same(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        mine = _written(store, make, {"customer": "acme"})
        other = make.record(workflow="refunds")
        store.store(Write(record=other, search={"customer": "acme"}))
        assert _found(store, {"customer": "acme"}) == {mine}
        with refuses(InputError, "attributes belong to a workflow"):
            store.list_records(RecordQuery(search={"customer": "acme"}))

    def test_nothing_is_found_of_a_run_that_was_erased_or_purged(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        first, second = make.record(), make.record()
        for record in (first, second):
            store.store(Write(record=record, search={"customer": "acme"}))
            store.store(Write(record=make.ended(record)))
        store.erase_copies(first.run_id)
        assert _found(store, {"customer": "acme"}) == {second.run_id}
        assert dict(store.lookup(first.run_id).search) == {}
        assert store.purge(RecordQuery(workflow=ORDERS, search={"customer": "acme"})) == 1
        assert _found(store, {"customer": "acme"}) == set()
        assert store.lookup(first.run_id).version == 2, "it did not match any more"

    def test_attributes_roll_back_with_their_transaction(
        self, store: RecordStore, make: Samples
    ) -> None:
        needs(store, Capability.SEARCH)
        needs(store, Capability.TRANSACTIONS)
        record = make.record()
        with refuses(ZeroDivisionError, "the block's own error"), store.transaction() as open_one:
            open_one.store_many([Write(record=record, search={"customer": "acme"})])
            raise ZeroDivisionError
        assert _found(store, {"customer": "acme"}) == set()


def _written(store: RecordStore, make: Samples, attributes: Mapping[str, SearchValue]) -> str:
    record = make.record()
    store.store(Write(record=record, search=attributes))
    return record.run_id


def _found(store: RecordStore, wanted: Mapping[str, Wanted]) -> set[str]:
    """The ids of those that are found."""
    page = store.list_records(RecordQuery(workflow=ORDERS, search=wanted))
    return {record.run_id for record in page.items}
