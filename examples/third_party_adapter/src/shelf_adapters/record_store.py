"""A record store in one file of keys and values, which the standard library's sqlite3 keeps."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from workflow_core.errors import (
    AdapterUnavailableError,
    ClosedError,
    InputError,
    RunInProgressError,
    RunNotFoundError,
    VersionConflictError,
)
from workflow_core.model import UNSTAMPED, OutboxEvent, Page, Record, RecordQuery, SortOrder
from workflow_core.ports import AdapterContext, RecordStore, SystemClock, Write

__all__ = ["ShelfRecordStore", "ShelfSettings"]

SCHEMA = """
create table if not exists records (
    run_id text primary key, workflow text, foreign_id text, live integer, version integer,
    created integer, body blob);
create unique index if not exists one_live on records (workflow, foreign_id) where live;
create table if not exists outbox (
    id text primary key, workflow text, run_id text, due integer, hidden integer, body blob);
"""


@dataclass(frozen=True)
class ShelfSettings:
    """What may be configured.

    Attributes:
        folder: where the files are kept; it must exist.
        patience: how long a write waits for other processes.
    """

    folder: Path
    patience: timedelta = timedelta(seconds=30)


class ShelfRecordStore(RecordStore):
    """Every method is one transaction, one at a time over all processes."""

    def __init__(self, settings: ShelfSettings, context: AdapterContext) -> None:
        self._clock = context.clock or SystemClock()
        self._lock = threading.Lock()
        self._is_open = True
        self._connection = sqlite3.connect(
            settings.folder / f"{context.namespace or 'shelf'}.db",
            timeout=settings.patience.total_seconds(),
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._is_open = False
            self._connection.close()

    def now(self) -> datetime:
        """The machine's clock."""
        return self._clock.now()

    def check_health(self) -> str:
        """Reads one page of the file."""
        with self._transaction() as db:
            return f"shelf, {db.execute('select count(*) from records').fetchone()[0]} runs"

    def store(self, write: Write) -> None:
        """Check, stamp and write under the one lock."""
        record, now = write.record, self.now()
        with self._transaction() as db:
            before = self._find(db, record.run_id)
            if before and (before.version, before.write_id) == (record.version, record.write_id):
                return
            if (before.version if before else 0) != record.version - 1:
                found = before.version if before else None
                raise VersionConflictError(
                    run_id=record.run_id, expected=record.version - 1, found=found
                )
            live = db.execute(
                "select run_id from records where workflow = ? and foreign_id = ? and live",
                (record.workflow, record.foreign_id),
            ).fetchone()
            if record.state.is_live and live and live[0] != record.run_id:
                raise RunInProgressError(
                    workflow=record.workflow, foreign_id=record.foreign_id, live_run_id=live[0]
                )
            entered = before is None or record.entered_version == record.version
            stamped = record.replace(
                created_at=before.created_at if before else now,
                updated_at=now,
                entered_at=now if entered or before is None else before.entered_at,
                next_try_at=None if write.retry_in is None else now + write.retry_in,
            )
            self._write(db, stamped)
            self._file(db, write.events)

    def lookup(self, run_id: str) -> Record:
        """The row."""
        with self._transaction() as db:
            record = self._find(db, run_id)
        if record is None:
            raise RunNotFoundError("no such run", run_id=run_id)
        return record

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """Live before ended, young before old."""
        with self._transaction() as db:
            row = db.execute(
                "select body from records where workflow = ? and foreign_id = ?"
                " order by live desc, created desc, run_id desc limit 1",
                (workflow, foreign_id),
            ).fetchone()
        if row is None:
            raise RunNotFoundError(f"no run of {foreign_id!r}", workflow=workflow)
        return msgspec.msgpack.decode(row[0], type=Record)

    def list_records(self, query: RecordQuery) -> Page[Record]:
        """Reads all of them; a shelf is small."""
        newest_first = query.order is SortOrder.NEWEST_FIRST
        after = place_of(query.after)
        now = self.now()
        with self._transaction() as db:
            rows = db.execute("select body from records order by created, run_id").fetchall()
            filed = {row[0] for row in db.execute("select run_id from outbox")}
        records = [msgspec.msgpack.decode(row[0], type=Record) for row in rows]
        found = [
            record
            for record in (reversed(records) if newest_first else records)
            if matches(query, record)
            and not (query.drivable and (record.run_id in filed or not is_drivable(record, now)))
            and (
                after is None or (place(record) < after if newest_first else place(record) > after)
            )
        ]
        items = found[: query.limit]
        more = len(found) > len(items)
        return Page(items=items, next="{} {}".format(*place(items[-1])) if more else None)

    def list_outbox_events(self, workflows: Sequence[str], *, limit: int) -> Sequence[OutboxEvent]:
        """What is due and not hidden."""
        places = ", ".join("?" * len(workflows))
        with self._transaction() as db:
            rows = db.execute(
                f"select body from outbox where workflow in ({places}) and hidden <= ?"
                " order by due, id limit ?",
                (*workflows, micros(self.now()), limit),
            ).fetchall()
        return [msgspec.msgpack.decode(row[0], type=OutboxEvent) for row in rows]

    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        """All or none."""
        with self._transaction() as db:
            self._file(db, events)

    def delete_outbox_events(self, ids: Sequence[str]) -> None:
        """By their keys."""
        with self._transaction() as db:
            db.executemany("delete from outbox where id = ?", [(id_,) for id_ in ids])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._is_open:
                raise ClosedError("the shelf was closed", adapter="shelf")
            try:
                with self._connection:  # commits, or rolls back
                    self._connection.execute("begin immediate")
                    yield self._connection
            except sqlite3.OperationalError as problem:
                raise AdapterUnavailableError.of("shelf", problem, doing="the query") from problem

    def _find(self, db: sqlite3.Connection, run_id: str) -> Record | None:
        row = db.execute("select body from records where run_id = ?", (run_id,)).fetchone()
        return msgspec.msgpack.decode(row[0], type=Record) if row else None

    def _write(self, db: sqlite3.Connection, record: Record) -> None:
        body = msgspec.msgpack.encode(record)
        if record.version == 1:
            db.execute(
                "insert into records values (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.run_id,
                    record.workflow,
                    record.foreign_id,
                    record.state.is_live,
                    record.version,
                    micros(record.created_at),
                    body,
                ),
            )
        else:
            db.execute(
                "update records set live = ?, version = ?, body = ?"
                " where run_id = ? and version = ?",
                (record.state.is_live, record.version, body, record.run_id, record.version - 1),
            )

    def _file(self, db: sqlite3.Connection, events: Sequence[OutboxEvent]) -> None:
        now = self.now()
        for filed in events:
            created = filed.event.created_at
            event = filed.event.replace(created_at=now if created == UNSTAMPED else created)
            row = (
                filed.id,
                event.workflow,
                event.run_id,
                micros(now + filed.delay),
                micros(now + max(filed.delay, filed.held_for)),
                msgspec.msgpack.encode(OutboxEvent(event=event)),
            )
            db.execute("insert or ignore into outbox values (?, ?, ?, ?, ?, ?)", row)


def micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def place(record: Record) -> tuple[int, str]:
    """Where the record stands in the list."""
    return micros(record.created_at), record.run_id


def place_of(after: str | None) -> tuple[int, str] | None:
    if after is None:
        return None
    created, _, run_id = after.partition(" ")
    if not created.isdecimal() or not run_id:
        raise InputError("this page is none of the shelf's")
    return int(created), run_id


def matches(query: RecordQuery, record: Record) -> bool:
    return (
        (query.workflow is None or record.workflow == query.workflow)
        and (query.foreign_id is None or record.foreign_id == query.foreign_id)
        and (query.run_ids is None or record.run_id in query.run_ids)
        and (query.statuses is None or record.status in query.statuses)
        and (query.states is None or record.state in query.states)
        and (query.created_after is None or record.created_at > query.created_after)
        and (query.created_before is None or record.created_at < query.created_before)
        and (query.updated_after is None or record.updated_at > query.updated_after)
        and (query.updated_before is None or record.updated_at < query.updated_before)
    )


def is_drivable(record: Record, now: datetime) -> bool:
    due = record.next_try_at is None or record.next_try_at <= now
    return record.state.is_driven and not record.skipped and due
