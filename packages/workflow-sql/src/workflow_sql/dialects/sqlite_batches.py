"""Batches in few steps of SQLite.

The driver lets go of Python's lock for each step: for each row that it inserts, updates or fetches.
It gets the lock back only when the thread that has it by then gives it up, up to five milliseconds
later where that thread computes. Row by row, a batch of five hundred beside one busy thread takes
seconds instead of milliseconds. So rows go in by the hundreds in one statement, or by fewer where
they are large, as it copies them; and an answer comes out as one row.

Where any row of a batch loses, the batch is undone, and done again in smaller parts; of a part with
a loser in it, one by one, which tells the losers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

import msgspec

from workflow_sql.dialects.base import Cursor, Row, Select, Swap

__all__ = ["delete_all", "insert_all", "insert_new", "rows_of", "swap_all", "update_each"]

_SIZES = (500, 100, 25, 5, 1)
_BYTES = 4_000_000  # in one statement; a row that has more is in one of its own
_MANY = 5  # rows; of fewer each is written for itself, in no more steps

# tuples: the collector of cycles soon leaves them alone
_decode = msgspec.json.Decoder(list[tuple[Any, ...]]).decode


# -- writing -----------------------------------------------------------------------------------


def insert_all(
    cursor: Cursor, table: str, columns: tuple[str, ...], rows: Sequence[Row]
) -> list[bool]:
    """Insert each row unless it breaks a unique key; tells which were inserted, in order."""
    return _write(cursor, lambda count: _insert(table, columns, count), rows)


def insert_new(cursor: Cursor, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert rows; one whose key is there already is left as it is."""
    for part in _parts(rows):
        cursor.execute(_insert(table, columns, len(part)), _flat(part))


def swap_all(cursor: Cursor, swap: Swap, rows: Sequence[Row]) -> list[bool]:
    """Update each row where it is as expected; tells which were, in order."""
    return _write(cursor, lambda count: _update(swap, count), rows)


def update_each(cursor: Cursor, sql: str, rows: Sequence[Row]) -> list[bool]:
    """Execute `sql`, an update of one row by key, for each; tells which changed one."""
    execute = cursor.execute
    return [execute(sql, row).rowcount == 1 for row in rows]


def delete_all(cursor: Cursor, table: str, packed_ids: str) -> list[str]:
    """Delete the rows with these ids; tells which were there."""
    mine = f"from {table} where id in (select value from json_each(?))"
    cursor.execute(f"select json_group_array(id) {mine}", (packed_ids,))
    found: list[str] = msgspec.json.decode(cursor.fetchone()[0])
    if found:
        cursor.execute(f"delete {mine}", (packed_ids,))
    return found


def _write(cursor: Cursor, statement: Callable[[int], str], rows: Sequence[Row]) -> list[bool]:
    if _write_whole(cursor, statement, rows):
        return [True] * len(rows)
    taken: list[bool] = []
    for part in _parts(rows, smaller=True):
        if _write_whole(cursor, statement, part):
            taken += [True] * len(part)
        else:
            taken += update_each(cursor, statement(1), part)
    return taken


def _write_whole(cursor: Cursor, statement: Callable[[int], str], rows: Sequence[Row]) -> bool:
    """Write all of them or none; answers which. With few rows it is not tried."""
    if len(rows) < _MANY:
        return False
    cursor.execute("savepoint workflow_batch")
    for part in _parts(rows):
        cursor.execute(statement(len(part)), _flat(part))
        if cursor.rowcount != len(part):
            cursor.execute("rollback to workflow_batch")
            cursor.execute("release workflow_batch")
            return False
    cursor.execute("release workflow_batch")
    return True


def _parts(rows: Sequence[Row], *, smaller: bool = False) -> Iterator[Sequence[Row]]:
    """Parts of few sizes: the driver keeps a prepared statement for each.

    `smaller`: none of them is all of the rows.
    """
    sizes = [size for size in _SIZES if not (smaller and size == len(rows) > 1)]
    blobs = [at for row in rows[:1] for at, value in enumerate(row) if isinstance(value, bytes)]
    begin = 0
    while rest := len(rows) - begin:
        for size in sizes:
            part = rows[begin : begin + size]
            if size == 1 or (size <= rest and _bytes(part, blobs) <= _BYTES):
                yield part
                begin += size
                break


def _bytes(rows: Sequence[Row], blobs: Sequence[int]) -> int:
    return sum(len(row[at]) for at in blobs for row in rows)


def _flat(rows: Sequence[Row]) -> list[Any]:
    return list(chain.from_iterable(rows))


# -- reading -----------------------------------------------------------------------------------


def rows_of(cursor: Cursor, select: Select, parameters: Sequence[Any]) -> Sequence[Row]:
    """The rows of an answer, as the driver would tell them."""
    try:
        cursor.execute(_select_all(select), parameters)
        text, blobs = cursor.fetchone()
    except sqlite3.DataError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_TOOBIG:
            raise
        cursor.execute(select.text, parameters)  # a gigabyte does not come out as one row
        return cursor.fetchall()
    rows = _decode(text)
    return _unpacked(rows, select.columns.index(select.blob), blobs or b"") if select.blob else rows


def _unpacked(rows: Sequence[Row], at: int, blobs: bytes) -> list[Row]:
    """Each row with its bytes in place of their length."""
    ends = accumulate(row[at] for row in rows)
    return [
        (*row[:at], blobs[end - row[at] : end], *row[at + 1 :])
        for row, end in zip(rows, ends, strict=True)
    ]


# -- statements --------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _insert(table: str, columns: tuple[str, ...], count: int) -> str:
    return (
        f"insert into {table} ({', '.join(columns)}) values {_marks(len(columns), count)}"
        " on conflict do nothing"
    )


@lru_cache(maxsize=1024)
def _update(swap: Swap, count: int) -> str:
    columns = swap.columns
    constants = [f"{column} = {literal}" for column, literal in swap.constants]
    if count == 1:
        values = ", ".join([*(f"{column} = ?" for column in columns), *constants])
        return (
            f"update or ignore {swap.table.name} set {values}"
            f" where run_id = ? and version = ? and {swap.condition}"
        )
    table, last = swap.table.name, len(columns)
    given = (f"{column} = item.column{at}" for at, column in enumerate(columns, 1))
    values = ", ".join([*given, *constants])
    return (
        f"update or ignore {table} set {values} from (values {_marks(last + 2, count)}) item"
        f" where {table}.run_id = item.column{last + 1} and {table}.version = item.column{last + 2}"
        f" and {swap.condition}"
    )


def _marks(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


@lru_cache(maxsize=256)
def _select_all(select: Select) -> str:
    names = [column.rpartition(".")[2] for column in select.columns]
    told = ", ".join(f"length({name})" if name == select.blob else name for name in names)
    # side by side in the same order as the rows, and as bytes: no text is ever made of them
    blobs = f"cast(group_concat({select.blob}, '') as blob)" if select.blob else "null"
    return f"select json_group_array(json_array({told})), {blobs} from ({select.text})"
