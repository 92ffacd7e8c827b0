"""Search attributes: a row each beside their record, written with it and found by index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, and_, select
from workflow_core.errors import InputError
from workflow_core.model import Between, RecordQuery, SearchValue, Wanted
from workflow_core.ports import Write

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor, Row
from workflow_sql.instants import microseconds
from workflow_sql.schema import Tables

__all__ = ["SearchWriter", "Searching"]

_COLUMNS = ("run_id", "name", "workflow", "text_value", "number_value", "created_at")


class SearchWriter:
    """Replaces the rows of runs whose attributes change. Any thread."""

    def __init__(self, database: Database) -> None:
        self._dialect = database.dialect
        self._table = database.tables.search
        within = self._dialect.within("run_id")
        self._births = (
            f"select run_id, created_at from {database.tables.records.fullname} where {within}"
        )

    def write(self, cursor: Cursor, stored: Sequence[Write], now: int) -> None:
        """Write the attributes of what has just been stored; nothing where none has changed."""
        changed = [write for write in stored if write.search is not None]
        if not changed:
            return
        births = self._clear(cursor, [w.record.run_id for w in changed if w.record.version != 1])
        rows = [
            row for write in changed for row in _rows(write, births.get(write.record.run_id, now))
        ]
        if rows:
            # in one order over all writers, lest two of them wait for each other
            self._dialect.insert_new(cursor, self._table, _COLUMNS, sorted(rows, key=_key))

    def _clear(self, cursor: Cursor, run_ids: Sequence[str]) -> Mapping[str, int]:
        """Drop what these runs had; answers when they were created."""
        if not run_ids:
            return {}
        births: dict[str, int] = {}
        self._dialect.delete_of(cursor, self._table, "run_id", sorted(run_ids))
        for packed in self._dialect.packs(run_ids):
            cursor.execute(self._births, (packed,))
            births.update(cursor.fetchall())
        return births


class Searching:
    """Composes the part of a question that is about attributes. Any thread."""

    def __init__(self, tables: Tables) -> None:
        self._records = tables.records
        self._search = tables.search

    def conditions(self, query: RecordQuery) -> list[ColumnElement[bool]]:
        """Each attribute that is asked for, as a condition on records.

        Raises:
            InputError: attributes are asked for without their workflow.
        """
        if not query.search:
            return []
        if query.workflow is None:
            raise InputError(
                "search attributes are asked for without their workflow", adapter="sql"
            )
        return [
            self._records.c.run_id.in_(
                select(self._search.c.run_id).where(self._has(self._search, query.workflow, *asked))
            )
            for asked in query.search.items()
        ]

    def ordered(self, query: RecordQuery) -> tuple[FromClause, ColumnElement[bool]] | None:
        """Rows that hold one of the exact values asked for: in the index by the runs' creation.

        None: there is no exact value to go by.
        """
        for name, wanted in (query.search or {}).items():
            if not isinstance(wanted, Between) and query.workflow is not None:
                by = self._search.alias("found")
                return by, self._has(by, query.workflow, name, wanted)
        return None

    def _has(
        self, rows: FromClause, workflow: str, name: str, wanted: Wanted
    ) -> ColumnElement[bool]:
        return and_(rows.c.workflow == workflow, rows.c.name == name, *_tests(rows, wanted))


def _tests(rows: FromClause, wanted: Wanted) -> list[ColumnElement[bool]]:
    if not isinstance(wanted, Between):
        column, value = _stored(rows, wanted)
        return [column == value]
    tests = []
    if wanted.at_least is not None:
        column, value = _stored(rows, wanted.at_least)
        tests.append(column >= value)
    if wanted.below is not None:
        column, value = _stored(rows, wanted.below)
        tests.append(column < value)
    return tests


def _stored(rows: FromClause, value: SearchValue) -> tuple[ColumnElement[str | int], str | int]:
    if isinstance(value, str):
        return rows.c.text_value, value
    return rows.c.number_value, microseconds(value) if isinstance(value, datetime) else value


def _rows(write: Write, created_at: int) -> list[Row]:
    record = write.record
    return [
        (
            record.run_id,
            name,
            record.workflow,
            value if isinstance(value, str) else None,
            _number(value),
            created_at,
        )
        for name, value in (write.search or {}).items()
    ]


def _number(value: SearchValue) -> int | None:
    if isinstance(value, str):
        return None
    return microseconds(value) if isinstance(value, datetime) else value


def _key(row: Row) -> tuple[str, str]:
    return row[0], row[1]
