"""Lists and counts runs; the engine's own records are among them only where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workflow_core.engine.core import Core
from workflow_core.engine.searching import checked_query
from workflow_core.model import Page, Record, RecordQuery, RunState, names
from workflow_core.ports import RecordStore

__all__ = ["ListingVerbs"]

_ROUNDS = 10  # pages of the store's for one of ours: among millions of dead letters it is short


class ListingVerbs:
    """Part of `Engine`. Any thread."""

    _core: Core

    if TYPE_CHECKING:

        def _check_open(self) -> None: ...

    def runs(self, query: RecordQuery, *, reserved: bool = False) -> Page[Record]:
        """One page of runs; it may be shorter than was asked for before the last one.

        The engine's own records are left out unless ``reserved``, or the query names one.

        Raises:
            InputError: the query asks for what cannot be.
            NotSupportedError: it searches by attributes, and the record store cannot.
        """
        self._check_open()
        store = self._core.store
        return _list_runs(store, checked_query(store, query), reserved=reserved)

    def counts(
        self, query: RecordQuery, *, reserved: bool = False
    ) -> Mapping[tuple[str, int, RunState], int]:
        """Runs per (workflow, status, run state). Leaves out and raises as `runs`."""
        self._check_open()
        store = self._core.store
        return _count_runs(store, checked_query(store, query), reserved=reserved)


def _list_runs(store: RecordStore, query: RecordQuery, *, reserved: bool) -> Page[Record]:
    """One page. It may be short, and even empty, where much was left out; ``next`` tells.

    Args:
        store: the engine's.
        query: what is asked for.
        reserved: whether to list the engine's own records too.
    """
    if reserved or _are_asked_for(query):
        return store.list_records(query)
    found: list[Record] = []
    after = query.after
    for _ in range(_ROUNDS):
        page = store.list_records(query.replace(after=after, limit=query.limit - len(found)))
        found += [record for record in page.items if not names.is_reserved(record.workflow)]
        after = page.next
        if after is None or len(found) == query.limit:
            break
    return Page(items=found, next=after)


def _count_runs(
    store: RecordStore, query: RecordQuery, *, reserved: bool
) -> Mapping[tuple[str, int, RunState], int]:
    """Runs per (workflow, status, run state)."""
    counts = store.count_records(query)
    if reserved or _are_asked_for(query):
        return counts
    return {key: number for key, number in counts.items() if not names.is_reserved(key[0])}


def _are_asked_for(query: RecordQuery) -> bool:
    """By their workflow's name or their ids; then nothing else is found anyway."""
    by_name = query.workflow is not None and names.is_reserved(query.workflow)
    return by_name or query.run_ids is not None
