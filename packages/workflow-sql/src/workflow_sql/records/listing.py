"""Questions of people and of the reconciler, composed as they come."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    exists,
    func,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.types import NullType
from workflow_core.errors import InputError
from workflow_core.model import Page, Record, RecordQuery, RunState, SortOrder
from workflow_core.ports import Tally

from workflow_sql.database import Database
from workflow_sql.instants import microseconds
from workflow_sql.records.counting import count_statement
from workflow_sql.records.searching import Searching
from workflow_sql.rows import RECORD_COLUMNS, record_of
from workflow_sql.schema import ENDED, LIVE

__all__ = ["Listing"]


class Listing:
    """Composes selections of records. Any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records = database.tables.records
        self._outbox = database.tables.outbox
        self._searching = Searching(database.tables)

    def page(self, query: RecordQuery) -> Page[Record]:
        """One page, in order of creation."""
        if query.limit < 1:
            raise InputError(f"a page of {query.limit} records cannot be asked for", adapter="sql")
        rows = self._database.select(self.page_statement(query), "listing records")
        items = [record_of(tuple(row)) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return Page(items=items, next=_bookmark(items[-1]) if more else None)

    def counts(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """Runs per workflow, status and state."""
        statement = count_statement(self._database.tables, query, self.conditions)
        rows = self._database.select(statement, "counting records")
        return {(row[0], row[1], RunState(row[2])): row[3] for row in rows}

    def tally(self, query: RecordQuery) -> Tally:
        """Of one page: its rows, and where it ends; both walk along the index, no further."""
        columns = self._records.c
        key = (columns.created_at, columns.run_id)
        conditions = [*self.conditions(query)]
        if query.after is not None:
            conditions.append(tuple_(*key) > _place(query.after))
        page = select(columns.status, columns.state).where(*conditions).order_by(*key)
        part = page.limit(query.limit).subquery("part")
        group = (part.c.status, part.c.state)
        rows = self._database.select(
            select(*group, func.count()).group_by(*group), "counting records"
        )
        counts = {(row[0], RunState(row[1])): row[2] for row in rows}
        if sum(counts.values()) < query.limit:
            return Tally(counts=counts)
        last = select(*key).where(*conditions).order_by(*key).offset(query.limit - 1).limit(1)
        ends = self._database.select(last, "counting records")
        return Tally(counts=counts, next=_told(tuple(ends[0])) if ends else None)

    def page_statement(self, query: RecordQuery) -> Select[tuple[object, ...]]:
        """The rows of a page and one more."""
        records: FromClause = self._records
        statement = select(*(records.c[name] for name in RECORD_COLUMNS))
        by_value = self._searching.ordered(query)
        if by_value is not None:
            found, condition = by_value
            statement = statement.select_from(
                found.join(records, records.c.run_id == found.c.run_id)
            ).where(condition)
            records = found
        key = (records.c.created_at, records.c.run_id)
        newest_first = query.order is SortOrder.NEWEST_FIRST
        statement = (
            statement.where(*self.conditions(query))
            .order_by(*(column.desc() if newest_first else column for column in key))
            .limit(query.limit + 1)
        )
        if query.after is not None:
            place = _place(query.after)
            beyond = tuple_(*key) < place if newest_first else tuple_(*key) > place
            statement = statement.where(beyond)
        return statement

    def conditions(self, query: RecordQuery) -> Sequence[ColumnElement[bool]]:
        """The query's filters; ``order``, ``after`` and ``limit`` are none."""
        columns = self._records.c
        found: list[ColumnElement[bool]] = [true()]
        if query.workflow is not None:
            found.append(columns.workflow == query.workflow)
        if query.foreign_id is not None:
            found.append(columns.foreign_id == query.foreign_id)
        if query.run_ids is not None:
            found.append(self._among("run_id", query.run_ids))
        if query.statuses is not None:
            found.append(columns.status.in_(query.statuses))
        if query.states is not None:
            found += self._in_states(query.states)
        if query.created_after is not None:
            found.append(columns.created_at > microseconds(query.created_after))
        if query.created_before is not None:
            found.append(columns.created_at < microseconds(query.created_before))
        if query.updated_after is not None:
            found.append(columns.updated_at > microseconds(query.updated_after))
        if query.updated_before is not None:
            found.append(columns.updated_at < microseconds(query.updated_before))
        found += self._searching.conditions(query)
        if query.drivable:
            found += self._drivable()
        return found

    def without_events(self) -> ColumnElement[bool]:
        """No row in the outbox."""
        return ~exists().where(self._outbox.c.run_id == self._records.c.run_id)

    def _in_states(self, states: Sequence[RunState]) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [
            self._records.c.state.in_([int(state) for state in states])
        ]
        # says nothing new, but lets the database see that a partial index will do
        if all(state.is_live for state in states):
            found.append(_literal(LIVE))
        elif not any(state.is_live for state in states):
            found.append(_literal(ENDED))
        return found

    def _drivable(self) -> list[ColumnElement[bool]]:
        columns = self._records.c
        due = columns.next_try_at.is_(None) | (columns.next_try_at <= self._database.now())
        return [
            *self._in_states([state for state in RunState if state.is_driven]),
            columns.skipped == 0,
            due,
            self.without_events(),
        ]

    def _among(self, column: str, values: Sequence[str]) -> ColumnElement[bool]:
        dialect = self._database.dialect
        # the fixed text knows its parameter as "?", a composed statement by name
        condition = dialect.within(f"{self._records.fullname}.{column}").replace("?", ":among")
        return text(condition).bindparams(  # type: ignore[return-value]
            # of no type: the driver's own way with it is what the condition is written for
            bindparam("among", dialect.pack(values), type_=NullType())
        )


def _literal(condition: str) -> ColumnElement[bool]:
    return text(condition)  # type: ignore[return-value]


def _bookmark(record: Record) -> str:
    return _told((microseconds(record.created_at), record.run_id))


def _told(place: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _place(bookmark: str) -> tuple[int, str]:
    try:
        place = base64.b64decode(bookmark, altchars=b"-_", validate=True)
        return msgspec.json.decode(place, type=tuple[int, str])
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{bookmark!r} is no page of this record store", adapter="sql") from error
