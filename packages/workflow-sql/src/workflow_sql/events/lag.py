"""How far a consumer is behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_sql.database import Database

__all__ = ["oldest_waiting"]


def oldest_waiting(database: Database, topics: Sequence[str], consumer: str) -> timedelta:
    """The age of the oldest event beyond the consumer's cursors; zero: there is none.

    A look into the index for each lane. Raises:
        AdapterUnavailableError: no answer.
    """
    tables = database.tables
    first = (
        f"select e.filed_at from {tables.events.fullname} e"
        " where e.topic = ? and e.part = ? and e.id > ? order by e.id limit 1"
    )
    with database.reading("measuring the lag") as cursor:
        marks = ", ".join("?" * len(topics))
        cursor.execute(
            f"select topic, part, done_to from {tables.cursors.fullname}"
            f" where consumer = ? and topic in ({marks})",
            (consumer, *topics),
        )
        done = {(topic, part): done_to for topic, part, done_to in cursor.fetchall()}
        waiting = []
        for topic in topics:
            for part in range(database.installation.partitions):
                cursor.execute(first, (topic, part, done.get((topic, part), 0)))
                waiting += [filed_at for (filed_at,) in cursor.fetchall()]
        now = database.now()
    return timedelta(microseconds=max(now - min(waiting), 0)) if waiting else timedelta(0)
