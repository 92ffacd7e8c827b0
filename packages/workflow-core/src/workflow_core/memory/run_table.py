"""The table of runs: records, their history, and the indexes that queries go by."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from workflow_core.errors import InputError
from workflow_core.memory.search_index import SearchIndex
from workflow_core.memory.sorted_keys import SortedKeys
from workflow_core.model import HistoryEntry, Page, Record, RecordQuery, RunState, SortOrder, meets

__all__ = ["RunTable"]

_Key: TypeAlias = tuple[datetime, str]  # created_at, run id
_Place: TypeAlias = tuple[str, int, RunState]  # workflow, status, state
_LIVE = frozenset(state for state in RunState if state.is_live)
_ALL = RecordQuery()
_OF_PLACES = {  # what a query may ask for that the counts tell, and what counting leaves aside
    "workflow": None,
    "statuses": None,
    "states": None,
    "order": _ALL.order,
    "after": None,
    "limit": _ALL.limit,
}


class RunTable:
    """Committed records.

    ``rows`` and ``live`` may be read by whoever may write runs; all else with the database's lock
    held. Live and ended runs of a workflow are ordered apart, so that looking for live ones does
    not walk over all that ever ended; and how many there are of each status and state is kept, so
    that counting walks over none.

    Attributes:
        history_data: whether the history keeps each version's data.
    """

    def __init__(self) -> None:
        self.history_data = False
        self.rows: dict[str, Record] = {}
        self.live: dict[tuple[str, str], str] = {}
        # Python's collector of cycles walks over a dict again and again while tuples are put into
        # it, and never over one of texts and values. So what grows with all runs that ever ended
        # has texts for keys, and a set only for a foreign id's second run: most have one.
        self._of_foreign_id: dict[str, dict[str, str | set[str]]] = {}  # by workflow
        self._ordered: dict[tuple[str, bool], SortedKeys[_Key]] = {}
        self._history: dict[str, HistoryEntry] = {}
        self._search = SearchIndex()
        self._counts: dict[_Place, int] = {}

    def put(self, record: Record) -> None:
        """Replace the run's record, or insert it, and note the version in its history."""
        run_id, workflow = record.run_id, record.workflow
        foreign_key = (workflow, record.foreign_id)
        is_live = record.state.is_live
        old = self.rows.get(run_id)
        self.rows[run_id] = record
        if old is None:
            runs = self._of_foreign_id.setdefault(workflow, {})
            same = runs.setdefault(record.foreign_id, run_id)
            if isinstance(same, set):
                same.add(run_id)
            elif same != run_id:
                runs[record.foreign_id] = {same, run_id}
            self._order(workflow, is_live).add((record.created_at, run_id))
        elif old.state.is_live != is_live:
            self._order(workflow, not is_live).discard((record.created_at, run_id))
            self._order(workflow, is_live).add((record.created_at, run_id))
        if is_live:
            self.live[foreign_key] = run_id
        elif self.live.get(foreign_key) == run_id:
            del self.live[foreign_key]
        if old is not None:
            self._count(old, -1)
        self._count(record, 1)
        self._search.change(record, {} if old is None else old.search)
        key = _version_key(run_id, record.version)
        self._history[key] = _history_entry(record, self.history_data)

    def remove(self, run_id: str) -> None:
        """Delete a run and all that is kept of it."""
        record = self.rows.pop(run_id)
        runs = self._of_foreign_id[record.workflow]
        same = runs[record.foreign_id]
        if isinstance(same, set) and len(same) > 1:
            same.discard(run_id)
        else:
            del runs[record.foreign_id]
            if not runs:
                del self._of_foreign_id[record.workflow]
        is_live = record.state.is_live
        self._order(record.workflow, is_live).discard((record.created_at, run_id))
        if is_live:
            del self.live[record.workflow, record.foreign_id]
        self._count(record, -1)
        self._search.change(record.replace(search={}), record.search)
        for version in range(1, record.version + 1):
            self._history.pop(_version_key(run_id, version), None)

    def adopt(self, record: Record, history: Iterable[HistoryEntry]) -> None:
        """Keep a run that is not here with all that another store has of it."""
        self.put(record)
        for entry in history:
            self._history[_version_key(entry.run_id, entry.version)] = entry

    def latest(self, workflow: str, foreign_id: str) -> Record | None:
        """The live run of the foreign id, else the one created last."""
        live = self.live.get((workflow, foreign_id))
        if live is not None:
            return self.rows[live]
        runs = self._of_foreign_id.get(workflow, {}).get(foreign_id)
        if not runs:
            return None
        return max((self.rows[same] for same in _as_set(runs)), key=_creation)

    def history(self, run_id: str) -> list[HistoryEntry]:
        """All versions, oldest first; [] for a run that is not there."""
        record = self.rows.get(run_id)
        versions = range(1, record.version + 1) if record is not None else ()
        keys = (_version_key(run_id, version) for version in versions)
        # of a run that was moved here the store before may not have kept all
        return [self._history[key] for key in keys if key in self._history]

    def blank_copies(self, run_id: str) -> None:
        """Drop from the run's history and from the index what may tell of its data."""
        record = self.rows.get(run_id)
        if record is not None and record.search:
            self.rows[run_id] = record.replace(search={})
            self._search.change(self.rows[run_id], record.search)
        for entry in self.history(run_id):
            blank = entry.replace(reason="", error="", data=None)
            self._history[_version_key(run_id, entry.version)] = blank

    def counts(self, query: RecordQuery, is_driven: Callable[[Record], bool]) -> dict[_Place, int]:
        """How many records meet the filters, by workflow, status and state; pages do not matter.

        As many steps as there are such places, unless something else is asked for as well.
        """
        if query.replace(**_OF_PLACES) != _ALL:
            matching = self.matching(query.replace(after=None), is_driven)
            return Counter((record.workflow, record.status, record.state) for record in matching)
        return {
            (workflow, status, state): count
            for (workflow, status, state), count in self._counts.items()
            if query.workflow in (None, workflow)
            and (query.statuses is None or status in query.statuses)
            and (query.states is None or state in query.states)
        }

    def page(self, query: RecordQuery, is_driven: Callable[[Record], bool]) -> Page[Record]:
        """One page. ``is_driven`` tells what a query for drivable runs leaves out.

        Raises:
            InputError: ``query.after`` was not made here, the limit is less than 1, or it searches
                without a workflow.
        """
        if query.limit < 1:
            raise InputError(f"a page of {query.limit} records cannot be asked for")
        if query.search and query.workflow is None:
            raise InputError("search attributes are asked for without their workflow")
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
                and (query.search is None or meets(record.search, query.search))
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
            runs = self._of_foreign_id.get(query.workflow, {})
            run_ids = _as_set(runs.get(query.foreign_id, set()))
        elif query.workflow is not None and query.search:
            found = self._search.runs(query.workflow, query.search)
            if found is None:
                return None
            run_ids = found
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

    def _count(self, record: Record, change: int) -> None:
        place = (record.workflow, record.status, record.state)
        count = self._counts.get(place, 0) + change
        if count:
            self._counts[place] = count
        else:
            del self._counts[place]

    def _order(self, workflow: str, is_live: bool) -> SortedKeys[_Key]:
        keys = self._ordered.get((workflow, is_live))
        if keys is None:
            keys = self._ordered[workflow, is_live] = SortedKeys()
        return keys


def _as_set(runs: str | set[str]) -> set[str]:
    return {runs} if isinstance(runs, str) else runs


def _version_key(run_id: str, version: int) -> str:
    return f"{version} {run_id}"


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


def _history_entry(record: Record, with_data: bool) -> HistoryEntry:
    return HistoryEntry(
        run_id=record.run_id,
        version=record.version,
        at=record.updated_at,
        status=record.status,
        state=record.state,
        attempts=record.attempts,
        reason=record.reason,
        error=record.last_error,
        data=record.data if with_data and not record.last_error else None,
    )
