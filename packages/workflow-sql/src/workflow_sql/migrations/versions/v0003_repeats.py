"""How often a timer has answered Repeat, so that each repeat has an idempotency key of its own."""

from __future__ import annotations

import sqlalchemy as sa
from workflow_sql.migrations.changes import Changes

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; no row is rewritten, and what the release before arms has not repeated yet."""
    Changes().column("timers", sa.Column("repeats", sa.BigInteger))
