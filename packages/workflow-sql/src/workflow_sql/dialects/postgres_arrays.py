"""Columns of a batch as PostgreSQL's array literals.

The driver's own way, a list a parameter, takes ten times as long: it asks for each value's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, LargeBinary, Table

from workflow_sql.dialects.base import Row
from workflow_sql.dialects.batches import chunks

__all__ = ["Columns", "columns_of", "texts"]


def texts(values: Sequence[str]) -> str:
    """An array of texts, without nulls; also good for numbers where the column tells the type."""
    return f"{{{','.join([_quoted(value) for value in values])}}}"


class Columns:
    """Some columns of a table, for statements that take arrays.

    Attributes:
        names: as in SQL, with commas between.
        unnested: ``unnest(?::bigint[], …)``.
    """

    def __init__(self, table: Table, names: tuple[str, ...]) -> None:
        kinds = [table.c[name].type for name in names]
        self.names = ", ".join(names)
        self._sized = [at for at, kind in enumerate(kinds) if not isinstance(kind, Integer)]
        self._makers = [_maker(kind) for kind in kinds]
        casts = [f"?::{_name(kind)}[]" for kind in kinds]
        self.unnested = f"unnest({', '.join(casts)})"

    def batches(self, rows: Sequence[Row]) -> list[tuple[list[str], Sequence[Row]]]:
        """The parameters of each statement that the rows need, and which rows they are."""
        return [
            (
                [
                    make(column)
                    for make, column in zip(self._makers, zip(*part, strict=True), strict=True)
                ],
                part,
            )
            for part in chunks(rows, self._sized)
        ]


@lru_cache(maxsize=256)
def columns_of(table: Table, names: tuple[str, ...]) -> Columns:
    """The same object for the same columns."""
    return Columns(table, names)


def _name(kind: object) -> str:
    if isinstance(kind, Integer):
        return "bigint"
    return "bytea" if isinstance(kind, LargeBinary) else "text"


def _maker(kind: object) -> Callable[[Sequence[Any]], str]:
    if isinstance(kind, Integer):
        return _numbers
    return _bytes if isinstance(kind, LargeBinary) else _texts


def _numbers(column: Sequence[int | None]) -> str:
    return f"{{{','.join(['NULL' if value is None else str(value) for value in column])}}}"


def _texts(column: Sequence[str | None]) -> str:
    return f"{{{','.join(['NULL' if value is None else _quoted(value) for value in column])}}}"


def _bytes(column: Sequence[bytes | None]) -> str:
    parts = ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in column]
    return f"{{{','.join(parts)}}}"


def _quoted(value: str) -> str:
    if '"' in value or "\\" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
