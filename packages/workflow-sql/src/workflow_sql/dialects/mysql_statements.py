"""The statements of batches, as MySQL and MariaDB take them.

What locks rows goes from the batch to each row by its key, in this order and by this index. To look
for the rows in a table that is small, or that the server takes for small, means to lock them all,
and to wait for whoever has one of them locked: such as a user's transaction that stays open.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Table

from workflow_sql.dialects.base import Change, Swap
from workflow_sql.dialects.mysql_tables import Documents, documents_of

__all__ = [
    "changed",
    "changing",
    "insert",
    "insert_new",
    "keyed",
    "keys",
    "swapped",
    "swapping",
]


@lru_cache(maxsize=64)
def insert(table: Table, columns: tuple[str, ...]) -> str:
    """Rows of these columns."""
    marks = ", ".join("?" * len(columns))
    return f"insert into {table.fullname} ({', '.join(columns)}) values ({marks})"


@lru_cache(maxsize=64)
def insert_new(table: Table, columns: tuple[str, ...]) -> str:
    """The same; those that are there stay as they are."""
    # never "insert ignore", which would also ignore that a value does not fit
    return f"{insert(table, columns)} on duplicate key update {columns[0]} = {columns[0]}"


def swapped(swap: Swap, collation: str) -> Documents:
    """The parameter of `swapping`."""
    return documents_of(
        swap.table,
        (*swap.columns, "run_id", "version"),
        (*(f"new_{name}" for name in swap.columns), "run_id", "version_before"),
        collation,
    )


@lru_cache(maxsize=64)
def swapping(swap: Swap, collation: str) -> str:
    """See `Dialect.compare_and_swap`."""
    documents = swapped(swap, collation)
    given = (f"r.{name} = {documents.value(f'new_{name}')}" for name in swap.columns)
    values = ", ".join([*given, *(f"r.{name} = {literal}" for name, literal in swap.constants)])
    return (
        f"update {documents.joined} straight_join {swap.table.fullname} r force index (primary)"
        " on r.run_id = d.run_id and r.version = d.version_before"
        f" set {values} where {swap.condition}"
    )


def changed(change: Change, collation: str) -> Documents:
    """The parameter of `changing`."""
    names = (*change.columns, *change.keys)
    return documents_of(change.table, names, names, collation)


@lru_cache(maxsize=64)
def changing(change: Change, collation: str) -> str:
    """See `Dialect.update_each`."""
    documents = changed(change, collation)
    conditions = [f"r.{key} = d.{key}" for key in change.keys]
    if change.not_beyond:
        conditions.append(f"r.{change.not_beyond} <= d.{change.not_beyond}")
    told = {name: documents.value(name) for name in change.columns}
    if change.rising:
        told[change.rising] = f"greatest(coalesce(r.{change.rising}, 0), {told[change.rising]})"
    values = ", ".join(f"r.{name} = {value}" for name, value in told.items())
    return (
        f"update {documents.joined} straight_join {change.table.fullname} r force index (primary)"
        f" on {' and '.join(conditions)} set {values} where {change.condition}"
    )


def keys(table: Table, key: str, collation: str) -> Documents:
    """The parameter of `keyed`."""
    return documents_of(table, (key,), ("wanted",), collation)


@lru_cache(maxsize=64)
def keyed(table: Table, key: str, collation: str) -> str:
    """The rows ``r`` of these keys, each by the primary key, which begins with `key`."""
    documents = keys(table, key, collation)
    return (
        f"{documents.joined} straight_join {table.fullname} r force index (primary)"
        f" on r.{key} = d.wanted"
    )
