"""What migrations do, so that one that was killed half-way is simply done again.

Where changes of tables are no part of a transaction (MySQL, MariaDB) each of them asks first
whether it was made before. Printing SQL for a person asks nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import context, op

__all__ = ["Changes"]

_UNIQUE = {
    "sqlite": "lower(hex(randomblob(16)))",
    "postgresql": "md5(random()::text || clock_timestamp()::text)",
    "mysql": "uuid()",
    "mariadb": "uuid()",
}


class Changes:
    """The changes of one migration, under the prefix and with the types that it is run for."""

    def __init__(self) -> None:
        attributes = context.config.attributes
        self.kinds: Any = attributes["kinds"]
        self._prefix: str = attributes["prefix"]
        self._schema: str | None = attributes["schema"]
        self._asks: bool = not attributes["transactional"] and not context.is_offline_mode()

    def table(self, name: str, *columns: sa.schema.SchemaItem, **options: Any) -> None:
        """Make a table of the ordinary kind."""
        table = self._prefix + name
        if not (self._asks and self._there().has_table(table, self._schema)):
            options = {**self.kinds.options, **options}
            op.create_table(table, *columns, schema=self._schema, **options)

    def busy(self, name: str, *columns: sa.schema.SchemaItem, **options: Any) -> None:
        """Make a table whose rows change all the time."""
        self.table(name, *columns, **{**self.kinds.busy_options, **options})

    def column(self, of: str, column: sa.Column[Any]) -> None:
        """Add a column, which may be null: older releases write rows without it."""
        table = self._prefix + of
        if self._asks and column.name in _names(self._there().get_columns(table, self._schema)):
            return
        op.add_column(table, column, schema=self._schema)

    def index(
        self,
        name: str,
        of: str,
        *columns: str,
        unique: bool = False,
        where: str = "",
        instead: Sequence[str] = (),
    ) -> None:
        """Make an index: `where` of these rows only, or `instead` one on these columns."""
        table = self._prefix + of
        if self._asks and self._prefix + name in _names(
            self._there().get_indexes(table, self._schema)
        ):
            return
        partial: dict[str, Any] = {}
        if where and not self.kinds.partial_indexes:
            columns = tuple(instead)
        elif where:
            partial = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
        op.create_index(
            self._prefix + name,
            table,
            list(columns),
            unique=unique,
            schema=self._schema,
            **partial,
        )

    def only_row(self, of: str, values: Mapping[str, Any]) -> None:
        """Fill a table that has one row and no more."""
        columns: list[sa.ColumnClause[Any]] = [sa.column(column) for column in values]
        table = sa.table(self._prefix + of, *columns, schema=self._schema)
        if self._asks and op.get_bind().scalar(sa.select(sa.func.count()).select_from(table)):
            return
        told = {k: sa.literal(v) if isinstance(v, int) else v for k, v in values.items()}
        op.execute(table.insert().values(**told))

    @staticmethod
    def _there() -> sa.Inspector:
        return sa.inspect(op.get_bind())

    @staticmethod
    def unique_id() -> Any:
        """An id that nobody else has; printed as what makes one, for whoever executes it."""
        if not context.is_offline_mode():
            return sa.literal(str(uuid.uuid4()))
        return sa.text(_UNIQUE[op.get_context().dialect.name])

    @staticmethod
    def required(kind: Any, *names: str) -> list[sa.Column[Any]]:
        """Columns that are never null."""
        return [sa.Column(name, kind, nullable=False) for name in names]


def _names(found: Sequence[Any]) -> set[str]:
    return {each["name"] for each in found}
