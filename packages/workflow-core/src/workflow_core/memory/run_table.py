"""The table of runs: records, their history, and the indexes that queries go by."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from workflow_core.errors import InputError
from workflow_core.memory.sorted_keys import SortedKeys
from workflow_core.model import HistoryEntry, Page, Record, RecordQuery, RunState, SortOrder

__all__ = ["RunTable"]

_Key: TypeAlias = tuple[datetime, str]  # created_at, run id
_LIVE = frozenset(state for state in RunState if state.is_live)


class RunTable:
    """Committed records.

    ``rows`` and ``live`` may be read by whoever may write runs; all else with the database's lock
    held. Live and ended runs of a workflow are ordered apart, so that looking for live ones does
    not walk over all that ever ended.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Record] = {}
        self.live: dict[tuple[str, str], str] = {}
        # a set only from the second run on: most foreign ids have one, and a million little sets
        # are what Python's garbage collector would be busy with
        self._of_foreign_id: dict[tuple[str, str], str | set[str]] = {}
        self._ordered: dict[tuple[str, bool], SortedKeys[_Key]] = {}
        self._history: dict[tuple[str, int], HistoryEntry] = {}

    def put(self, record: Record) -> None:
        """Replace the run's record, or insert it, and note the version in its history."""
        run_id, workflow = record.run_id, record.workflow
        foreign_key = (workflow, record.foreign_id)
        is_live = record.state.is_live
        old = self.rows.get(run_id)
        self.rows[run_id] = record
        if old is None:
            same = self._of_foreign_id.setdefault(foreign_key, run_id)
            if isinstance(same, set):
                same.add(run_id)
            elif same != run_id:
                self._of_foreign_id[foreign_key] = {same, run_id}
            self._order(workflow, is_live).add((record.created_at, run_id))
        elif old.state.is_live != is_live:
            self._order(workflow, not is_live).discard((record.created_at, run_id))
            self._order(workflow, is_live).add((record.created_at, run_id))
        if is_live:
            self.live[foreign_key] = run_id
        elif self.live.get(foreign_key) == run_id:
            del self.live[foreign_key]
        self._history[run_id, record.version] = _history_entry(record)

    def remove(self, run_id: str) -> None:
        """Delete an ended run and all that is kept of it."""
        record = self.rows.pop(run_id)
        foreign_key = (record.workflow, record.foreign_id)
        same = self._of_foreign_id[foreign_key]
        if isinstance(same, set) and len(same) > 1:
            same.discard(run_id)
        else:
            del self._of_foreign_id[foreign_key]
        self._order(record.workflow, False).discard((record.created_at, run_id))
        for version in range(1, record.version + 1):
            del self._history[run_id, version]

    def latest(self, workflow: str, foreign_id: str) -> Record | None:
        """The live run of the foreign id, else the one created last."""
        live = self.live.get((workflow, foreign_id))
        if live is not None:
            return self.rows[live]
        runs = self._of_foreign_id.get((workflow, foreign_id))
        if not runs:
            return None
        return max((self.rows[same] for same in _as_set(runs)), key=_creation)

    def history(self, run_id: str) -> list[HistoryEntry]:
        """All versions, oldest first; [] for a run that is not there."""
        record = self.rows.get(run_id)
        versions = range(1, record.version + 1) if record is not None else ()
        return [self._history[run_id, version] for version in versions]

    def blank_history(self, run_id: str) -> None:
        """Drop from the run's history what may tell of its data."""
        for entry in self.history(run_id):
            blank = entry.replace(reason="", error="", data=None)
            self._history[run_id, entry.version] = blank

    def page(self, query: RecordQuery, is_driven: Callable[[Record], bool]) -> Page[Record]:
        """One page. ``is_driven`` tells what a query for drivable runs leaves out.

        Raises:
            InputError: ``query.after`` was not made here, or the limit is less than 1.
        """
        if query.limit < 1:
            raise InputError(f"a page of {query.limit} records cannot be asked for")
        items: list[Record] = []
        for record in self.matching(query, is_driven):
            if len(items) == query.limit:
                last = items[-1]
                return Page(items=items, next=f"{last.created_at.isoformat()} {last.run_id}")
            items.append(record)
        return Page(items=items)

    def matching(self, query: RecordQuery, is_driven: Callable[[Record], bool]) -> Iterator[Record]:
        """All records after ``query.after`` that meet the filters, in the query's order."""
        after = None if query.after is None else _parse(query.after)
        statuses = None if query.statuses is None else frozenset(query.statuses)
        states = None if query.states is None else frozenset(query.states)
        run_ids = None if query.run_ids is None else frozenset(query.run_ids)
        for _, run_id in self._candidates(query, after):
            record = self.rows[run_id]
            if (
                (query.workflow is None or record.workflow == query.workflow)
                and (query.foreign_id is None or record.foreign_id == query.foreign_id)
                and (run_ids is None or run_id in run_ids)
                and (statuses is None or record.status in statuses)
                and (states is None or record.state in states)
                and (query.created_after is None or record.created_at > query.created_after)
                and (query.created_before is None or record.created_at < query.created_before)
                and (query.updated_after is None or record.updated_at > query.updated_after)
                and (query.updated_before is None or record.updated_at < query.updated_before)
                and not (query.drivable and is_driven(record))
            ):
                yield record

    def _candidates(self, query: RecordQuery, after: _Key | None) -> Iterator[_Key]:
        newest_first = query.order is SortOrder.NEWEST_FIRST
        few = self._few(query)
        if few is not None:
            keys = sorted(map(_creation, few), reverse=newest_first)
            if after is None:
                return iter(keys)
            return (key for key in keys if (key < after if newest_first else key > after))
        ordered = self._of(query)
        if newest_first:
            return heapq.merge(*(keys.before(after) for keys in ordered), reverse=True)
        return heapq.merge(*(keys.after(after) for keys in ordered))

    def _few(self, query: RecordQuery) -> Iterable[Record] | None:
        """The records that the most selective index names, where it is selective at all."""
        run_ids: Iterable[str]
        if query.run_ids is not None:
            run_ids = frozenset(query.run_ids)
        elif query.workflow is not None and query.foreign_id is not None:
            run_ids = _as_set(self._of_foreign_id.get((query.workflow, query.foreign_id), set()))
        else:
            return None
        return [self.rows[run_id] for run_id in run_ids if run_id in self.rows]

    def _of(self, query: RecordQuery) -> list[SortedKeys[_Key]]:
        wanted = frozenset(query.states) if query.states is not None else frozenset(RunState)
        liveness = {state in _LIVE for state in wanted}
        if query.drivable:
            liveness &= {True}
        return [
            keys
            for (workflow, is_live), keys in self._ordered.items()
            if is_live in liveness and query.workflow in (None, workflow)
        ]

    def _order(self, workflow: str, is_live: bool) -> SortedKeys[_Key]:
        keys = self._ordered.get((workflow, is_live))
        if keys is None:
            keys = self._ordered[workflow, is_live] = SortedKeys()
        return keys


def _as_set(runs: str | set[str]) -> set[str]:
    return {runs} if isinstance(runs, str) else runs


def _creation(record: Record) -> _Key:
    return record.created_at, record.run_id


def _parse(after: str) -> _Key:
    created_at, _, run_id = after.partition(" ")
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError as error:
        raise InputError(f"{after!r} is no page of this store") from error
    if moment.tzinfo is None or not run_id:
        raise InputError(f"{after!r} is no page of this store")
    return moment, run_id


def _history_entry(record: Record) -> HistoryEntry:
    return HistoryEntry(
        run_id=record.run_id,
        version=record.version,
        at=record.updated_at,
        status=record.status,
        state=record.state,
        attempts=record.attempts,
        reason=record.reason,
        error=record.last_error,
    )
