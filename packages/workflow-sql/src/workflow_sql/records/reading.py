"""Looking records up by their keys, on whatever cursor: fixed texts, as this is the hot path."""

from __future__ import annotations

from collections.abc import Sequence

from workflow_core.errors import RunNotFoundError
from workflow_core.model import Record

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor, Select
from workflow_sql.rows import RECORD, RECORD_COLUMNS, record_of
from workflow_sql.schema import LIVE

__all__ = ["Reader"]


class Reader:
    """Reads. Any thread."""

    def __init__(self, database: Database) -> None:
        self._dialect = database.dialect
        records = database.tables.records.fullname
        one = f"select {RECORD} from {records}"
        mine = "workflow = ? and foreign_id = ?"
        self._one = f"{one} where run_id = ?"
        many = f"from {records} where {self._dialect.within('run_id')}"
        self._many = Select(RECORD_COLUMNS, many, blob="data")
        # in one order over all who lock, lest two of them wait for each other
        locked = f"{many} order by run_id{self._dialect.locking}"
        self._locked = Select(RECORD_COLUMNS, locked, blob="data")
        self._live = f"{one} where {mine} and {LIVE}"
        self._last = f"{one} where {mine} order by created_at desc, run_id desc limit 1"

    def lookup(self, cursor: Cursor, run_id: str) -> Record:
        """One by its key. Raises RunNotFoundError."""
        cursor.execute(self._one, (run_id,))
        row = cursor.fetchone()
        if row is None:
            raise RunNotFoundError("no such run", run_id=run_id, adapter="sql")
        return record_of(row)

    def lookup_many(self, cursor: Cursor, run_ids: Sequence[str]) -> dict[str, Record]:
        """Those that exist, a statement for each thousand."""
        return self._ask(cursor, self._many, run_ids)

    def lock_many(self, cursor: Cursor, run_ids: Sequence[str]) -> dict[str, Record]:
        """Those that exist, as last committed, and locked until the transaction's end."""
        return self._ask(cursor, self._locked, sorted(run_ids))

    def latest(self, cursor: Cursor, workflow: str, foreign_id: str) -> Record:
        """The live one by its unique key, else the last by index. Raises RunNotFoundError."""
        for statement in (self._live, self._last):
            cursor.execute(statement, (workflow, foreign_id))
            row = cursor.fetchone()
            if row is not None:
                return record_of(row)
        raise RunNotFoundError(
            f"no run with the foreign id {foreign_id!r}", workflow=workflow, adapter="sql"
        )

    def _ask(self, cursor: Cursor, select: Select, run_ids: Sequence[str]) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for packed in self._dialect.packs(run_ids):
            for row in self._dialect.rows(cursor, select, (packed,)):
                found[row[0]] = record_of(row)
        return found
