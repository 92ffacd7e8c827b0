"""A batch as one JSON document, which MySQL and MariaDB read as a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from sqlalchemy import Integer, Table
from sqlalchemy.dialects.mysql import LONGBLOB

from workflow_sql.dialects.base import Row
from workflow_sql.dialects.batches import chunks

__all__ = ["Documents", "documents_of"]

_encode = msgspec.json.Encoder().encode  # bytes become base64


class Documents:
    """Some columns of a table, for statements that join a JSON document.

    The kinds are wider than the columns: MariaDB cuts to fit while it reads the document, and says
    nothing; when the column is set it is strict.

    Args:
        table: whose columns.
        names: the columns.
        calls: what each is called in the statement.
        collation: of its texts; with another one a key would not be found by its index.

    Attributes:
        joined: the document as a table, with one parameter.
    """

    def __init__(
        self, table: Table, names: tuple[str, ...], calls: tuple[str, ...], collation: str
    ) -> None:
        self._sized = [
            at for at, name in enumerate(names) if not isinstance(table.c[name].type, Integer)
        ]
        self._bytes = {
            call
            for name, call in zip(names, calls, strict=True)
            if isinstance(table.c[name].type, LONGBLOB)
        }
        parts = []
        for at, (name, call) in enumerate(zip(names, calls, strict=True)):
            kind = table.c[name].type
            if isinstance(kind, Integer):
                written = "decimal(20)"
            elif isinstance(kind, LONGBLOB):
                written = "longtext"
            else:
                length = getattr(kind, "length", None)
                shape = f"varchar({length + 1})" if length else "longtext"
                written = f"{shape} character set utf8mb4 collate {collation}"
            parts.append(f"{call} {written} path '$[{at}]'")
        self.joined = f"json_table(?, '$[*]' columns ({', '.join(parts)})) d"

    def value(self, call: str) -> str:
        """What a column is set to."""
        return f"from_base64(d.{call})" if call in self._bytes else f"d.{call}"

    def batches(self, rows: Sequence[Row]) -> list[tuple[str, Sequence[Row]]]:
        """The document of each statement that the rows need, and which rows they are."""
        return [(_encode(part).decode(), part) for part in chunks(rows, self._sized)]


@lru_cache(maxsize=256)
def documents_of(
    table: Table, names: tuple[str, ...], calls: tuple[str, ...], collation: str
) -> Documents:
    """The same object for the same columns."""
    return Documents(table, names, calls, collation)
