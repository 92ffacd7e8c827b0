"""A transaction that is open."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from workflow_sql.dialects import Cursor

__all__ = ["Writing"]


@dataclass
class Writing:
    """An open transaction of one's own.

    Attributes:
        connection: SQLAlchemy's.
        cursor: the driver's own, for statements that are to be quick.
        now: the time of this transaction in microseconds, read once it could write.
        epoch: the number of the epoch that it belongs to.
        wakes: set it where the commit is of interest to waiting calls.
        tells: set it where it is of interest to other processes alone.
    """

    connection: Connection
    cursor: Cursor
    now: int
    epoch: int
    wakes: bool = False
    tells: bool = False
