"""Freezes a process, but not while it writes to a file that others are to write to meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["freeze"]


def freeze(pid: int, database: Path | None) -> None:
    """Until SIGCONT. In the midst of a write nobody else could write to the file either."""
    stop(pid)
    while database is not None and not can_write(database, patience=0):
        os.kill(pid, signal.SIGCONT)
        assert can_write(database, patience=60)
        stop(pid)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


def can_write(database: Path, *, patience: float) -> bool:
    with closing(sqlite3.connect(database, timeout=patience, isolation_level=None)) as connection:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError:
            return False
        connection.execute("rollback")
        return True
