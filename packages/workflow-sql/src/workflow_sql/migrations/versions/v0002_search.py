"""Search attributes: a column with the record, and a table to find runs by."""

from __future__ import annotations

import sqlalchemy as sa
from workflow_sql.migrations.changes import Changes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; no row is rewritten, and the release before leaves them alone."""
    changes = Changes()
    kinds = changes.kinds
    changes.column("records", sa.Column("search", kinds.words))
    changes.table(
        "search",
        sa.Column("run_id", kinds.id, primary_key=True),
        sa.Column("name", kinds.id, primary_key=True),
        *changes.required(kinds.name, "workflow"),
        sa.Column("text_value", kinds.name),
        sa.Column("number_value", sa.BigInteger),
        *changes.required(kinds.instant, "created_at"),
        sqlite_with_rowid=False,
    )
    for kind, value in (("text", "text_value"), ("number", "number_value")):
        columns = ("workflow", "name", value, "created_at", "run_id")
        changes.index(
            f"search_by_{kind}",
            "search",
            *columns,
            where=f"{value} is not null",
            instead=columns,
        )
