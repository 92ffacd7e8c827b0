"""No statement that runs often looks at a whole table, however it was worded."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from workflow_core.model import (
    Between,
    OutboxEvent,
    RecordQuery,
    RunState,
    SortOrder,
    Timeout,
    Wanted,
)
from workflow_core.ports import Shards, Write
from workflow_core.testing import FakeClock
from workflow_sql import (
    Database,
    History,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlTimeoutStore,
)
from workflow_sql.dialects.mysql_line import MysqlCursor
from workflow_sql.dialects.postgres_line import PostgresCursor
from workflow_sql.epochs import Epochs
from workflow_sql.horizon import ServerHorizon

ZERO = timedelta(0)
HOUR = timedelta(hours=1)
PATIENCE = 60.0  # seconds

# a handful of rows each, whatever is stored
SMALL = {"installation", "schema", "sessions", "roles", "consumers", "receivers"}


@pytest.fixture
def explained(
    statements: list[tuple[str, Any]], database: Database, clock: FakeClock, path: Path, make: Any
) -> list[tuple[str, str]]:
    """All statements of a life in the service, each with each step of its plan."""
    exercise(database, clock, make)
    database.close()
    connection = sqlite3.connect(path)
    plans = [
        (sql, row[3])
        # with parameters as parameters: a value in their place could be planned otherwise
        for sql, parameters in dict(statements).items()
        if re.match(r"(?i)\s*(select|insert|update|delete|with)\b", sql)
        for row in connection.execute(f"explain query plan {sql}", parameters)
    ]
    connection.close()
    return plans


def exercise(database: Database, clock: FakeClock, make: Any) -> None:
    store = SqlRecordStore(database, history=History.WITH_DATA, history_keep=1)
    streamer = SqlEventStreamer(database, instance="i")
    work_on_records(store, streamer, make)
    ask_for_people(store)
    work_on_timers(SqlTimeoutStore(database), make)
    receiver = streamer.new_receiver(
        ["orders-1", "orders-2"], "steps", shards=Shards(count=2, held=frozenset({0}))
    )
    sender = streamer.new_sender()
    sender.send_many([make.event() for _ in range(20)], HOUR)
    receiver.ack(receiver.recv_many(5, ZERO))
    streamer.lag(["orders-1", "unknown"], "steps")
    clock.advance(2 * HOUR)
    streamer.trim()
    receiver.recv_many(5, ZERO)
    receiver.close()
    roles = SqlRoleScheduler(database, instance="i")
    leases = roles.acquire(["a", "b"], ZERO)
    roles.try_acquire("c")
    roles.renew()
    leases[0].release()
    roles.holders(["a", "b"])
    roles.close()


def work_on_records(store: SqlRecordStore, streamer: SqlEventStreamer, make: Any) -> None:
    records = [make.record() for _ in range(5)]
    store.store_many(
        [Write(record=record, events=[OutboxEvent(event=make.event(record))]) for record in records]
    )
    moved = [make.next(record, entered_version=2) for record in records]
    with store.transaction() as transaction:
        transaction.store_many([Write(record=record) for record in moved])
        streamer.send_within(transaction, [make.event(record) for record in moved])
    store.store_many([Write(record=record) for record in moved])
    ended = make.next(moved[0], state=RunState.COMPLETED)
    store.store(Write(record=ended))
    store.store(Write(record=make.next(ended, state=RunState.RUNNING)))
    store.store_many([Write(record=make.record(foreign_id=records[1].foreign_id))])
    long = moved[1]
    for _ in range(62):
        long = make.next(long)
        store.store(Write(record=long, retry_in=HOUR))
    store.lookup_many([record.run_id for record in records])
    store.lookup(records[0].run_id)
    store.latest("orders", records[0].foreign_id)
    store.history(records[0].run_id)
    store.next_outbox_due(["orders", "other"])
    store.outbox_backlog("orders", most=10)
    live = [RunState.INITIATED, RunState.RUNNING, RunState.PAUSED]
    tally = store.tally_records(RecordQuery(workflow="orders", states=live, limit=1))
    store.tally_records(RecordQuery(workflow="orders", after=tally.next, limit=1))
    store.list_outbox_events(["orders", "other"], limit=3)
    claimed = store.claim_outbox_events(["orders", "other"], limit=3, lease=HOUR)
    ids = [event.id for event in claimed]
    store.delay_outbox_events(ids, ZERO)
    store.add_outbox_events([OutboxEvent(event=make.event())])
    with store.transaction() as transaction:
        transaction.delete_outbox_events(ids[:1])
    store.delete_outbox_events(ids)
    store.erase_copies(records[0].run_id)


_ENDED = [state for state in RunState if state.is_finished]


def ask_for_people(store: SqlRecordStore) -> None:
    for order in SortOrder:
        page = store.list_records(RecordQuery(order=order, limit=2))
        for query in (
            RecordQuery(workflow="orders", order=order),
            RecordQuery(workflow="orders", order=order, statuses=[1, 2], drivable=True),
            RecordQuery(order=order),
        ):
            store.list_records(query)
            store.list_records(query.replace(after=page.next))
    store.list_records(RecordQuery(workflow="orders", foreign_id="order-1"))
    store.list_records(RecordQuery(run_ids=["a", "b"]))
    hour_ago = store.now() - HOUR
    store.count_records(RecordQuery(workflow="orders", updated_after=hour_ago, states=_ENDED))
    search_for_people(store, store.list_records(RecordQuery(limit=2)).next)
    store.purge(RecordQuery(workflow="orders", updated_before=store.now() + HOUR))


def search_for_people(store: SqlRecordStore, after: str | None) -> None:
    for order in SortOrder:
        wanted: list[dict[str, Wanted]] = [
            {"customer": "acme"},
            {"total": 9, "customer": Between(below="b")},
        ]
        for search in wanted:
            query = RecordQuery(workflow="orders", search=search, order=order)
            store.list_records(query)
            store.list_records(query.replace(after=after))
    store.list_records(RecordQuery(workflow="orders", search={"total": Between(at_least=9)}))
    store.count_records(RecordQuery(workflow="orders", search={"customer": "acme"}))


def work_on_timers(timeouts: SqlTimeoutStore, make: Any) -> None:
    timers = [
        Timeout(
            key=make.id(),
            workflow="orders",
            run_id=make.id(),
            status=1,
            entered_version=1,
            name="n",
        )
        for _ in range(5)
    ]
    keys = [timer.key for timer in timers]
    timeouts.create_many(timers)
    timeouts.create_many(timers)
    timeouts.list_valid(["orders", "other"], limit=3)
    timeouts.next_due(["orders", "other"])
    timeouts.list_timeouts("orders", limit=2)
    timeouts.closed_runs("orders", limit=2)
    timeouts.closed_keys([timers[0].run_id, timers[1].run_id])
    timeouts.park_many(keys)
    timeouts.reschedule(keys[0], HOUR, attempts=1, error="e")
    timeouts.complete_many(keys)
    timeouts.forget([timers[0].run_id])


def test_no_statement_scans_a_table_that_grows(explained: list[tuple[str, str]]) -> None:
    """Seen to fail without the indexes of the outbox by run and by time."""
    assert len({sql for sql, _ in explained}) > 60, "the statements were seen"
    scans = [
        (step, sql)
        for sql, step in explained
        if (found := re.match(r"SCAN (\w+)(.*)", step)) and is_scan_of_all(found, sql)
    ]
    assert scans == []


def is_scan_of_all(found: re.Match[str], sql: str) -> bool:
    name, how = found.groups()
    if name in {"json_each", "sqlite_master", "sqlite_sequence", "part", "t", "p", "CONSTANT"}:
        return False  # lists of parameters, and what was selected before
    if name == "item" or how.startswith(" CONSTANT"):
        return False  # the rows that are written
    tables = dict(re.findall(r"workflow_(\w+) (\w+)\b", sql))
    by_alias = {alias: table for table, alias in tables.items()}
    if "min(c.done_to)" in sql:
        return False  # all lanes of all consumers, which are few, once a minute
    table = by_alias.get(name, name.removeprefix("workflow_"))
    if table in SMALL:
        return False
    # in order of an index and cut off by a limit: only what is answered is looked at
    return not (" USING " in how and "limit" in sql.lower())


def test_every_index_is_of_use_to_a_statement(
    explained: list[tuple[str, str]], database: Database
) -> None:
    """Seen to fail without an index, and with a condition that is not the index's own."""
    steps = " ".join(step for _, step in explained)
    indexes = {
        str(index.name)
        for table in database.tables.metadata.tables.values()
        for index in table.indexes
    }
    assert {name for name in indexes if f"INDEX {name} " not in f"{steps} "} == set()


def test_pages_and_purges_start_where_they_should(explained: list[tuple[str, str]]) -> None:
    """Seen to fail with the states left out of a purge's statement: it read all that had ended."""
    steps = {step for _, step in explained}
    assert any("(created_at,run_id)>(?,?)" in step for step in steps)
    assert any("(created_at,run_id)<(?,?)" in step for step in steps)
    assert any("workflow=? AND state=? AND updated_at<?" in step for step in steps)


def test_no_list_is_sorted_that_an_index_has_in_order(explained: list[tuple[str, str]]) -> None:
    """Seen to fail without the index on (workflow, created_at, run_id)."""
    sorted_lists = [
        sql
        for sql, step in explained
        if step == "USE TEMP B-TREE FOR ORDER BY" and "created_at," in sql.lower().split("from")[0]
        if "workflow_records" in sql and "foreign_id =" not in sql and "run_id in" not in sql
    ]
    assert sorted_lists == []


# -- servers -----------------------------------------------------------------------------------

# all lanes of all consumers, and all topics that there are: few, once a minute
FEW = re.compile(r"min\(c\.done_to\)|with recursive")


class Asked:
    """What a server was asked, each statement once, and whether within a transaction."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fixed: dict[str, tuple[Any, bool]] = {}
        self.composed: dict[str, Any] = {}
        for kind in (PostgresCursor, MysqlCursor):
            monkeypatch.setattr(kind, "execute", self._noting(kind.execute))
        event.listen(Engine, "before_cursor_execute", self._compose)

    def _noting(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def noted(cursor: Any, sql: Any, parameters: Any = None, **options: Any) -> Any:
            if parameters and isinstance(sql, str) and not sql.startswith("explain"):
                driver = cursor.connection
                within = getattr(driver, "info", None)
                self.fixed[sql] = parameters, within is None or within.transaction_status != 0
            return execute(cursor, sql, parameters, **options)

        return noted

    def _compose(self, *called: Any) -> None:
        _, _, sql, parameters, *_ = called
        if "workflow_" in sql:
            self.composed[sql] = parameters

    def stop(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._compose)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    noted = Asked(monkeypatch)
    yield noted
    noted.stop()


def fill(database: Database, make: Any) -> None:
    """So much that a scan is no good plan any more."""
    store = SqlRecordStore(database, history=History.WITH_DATA)
    timeouts = SqlTimeoutStore(database)
    sender = SqlEventStreamer(database, instance="i").new_sender()
    for _ in range(6):
        records = [make.record(data=b"x" * 500) for _ in range(500)]
        store.store_many(
            [
                Write(record=record, events=[OutboxEvent(event=make.event(record))])
                for record in records
            ]
        )
        ended = [make.next(record, state=RunState.COMPLETED) for record in records[:400]]
        store.store_many([Write(record=record) for record in ended])
        sender.send_many([make.event() for _ in range(500)], HOUR)
        timeouts.create_many(
            [
                Timeout(
                    key=make.id(),
                    workflow="orders",
                    run_id=make.id(),
                    status=1,
                    entered_version=1,
                    name="n",
                    delay=HOUR,
                )
                for _ in range(500)
            ]
        )
    analyze = "analyze" if database.dialect.name == "postgresql" else "analyze table"
    for name in database.tables.metadata.tables:
        with database.reading("analyzing") as cursor:
            cursor.execute(f"{analyze} {name}")  # as statements write it


def scanned(database: Database, asked: Asked) -> list[tuple[str, str]]:
    """Tables that are looked through whole, and by which statement."""
    explain = "explain (format json)" if database.dialect.name == "postgresql" else "explain"
    if database.dialect.name == "mysql":
        explain = "explain format=traditional"
    found = []
    for sql, (parameters, within) in asked.fixed.items():
        if FEW.search(sql) or not re.match(r"(?i)\s*(select|insert|update|delete|with)\b", sql):
            continue
        if within:
            with database.writing("explaining") as writing:
                writing.cursor.execute(f"{explain} {sql}", parameters)
                found += [(name, sql) for name in scans_in(writing.cursor, sql)]
        else:
            with database.reading("explaining") as cursor:
                cursor.execute(f"{explain} {sql}", parameters)
                found += [(name, sql) for name in scans_in(cursor, sql)]
    for sql, parameters in asked.composed.items():
        # at this size some of people's questions are rightly answered by a scan: as ours are asked,
        # none is left for which there is an index
        with database.writing("explaining") as writing:
            plain = writing.cursor.connection.cursor()  # type: ignore[attr-defined]
            plain.execute(f"{explain} {sql}", parameters)
            found += [(name, sql) for name in scans_in(plain, sql)]
    return found


def scans_in(cursor: Any, sql: str) -> list[str]:
    by_alias = {alias: table for table, alias in re.findall(r"workflow_(\w+) (\w)\b", sql)}
    rows = cursor.fetchall()
    if isinstance(rows[0][0], list):
        names = list(seq_scans(rows[0][0][0]["Plan"]))
    else:
        columns = [column[0] for column in cursor.description]
        table, kind = columns.index("table"), columns.index("type")
        names = [row[table] for row in rows if row[kind] == "ALL" and row[table]]
    tables = [by_alias.get(name, name.rpartition("workflow_")[2]) for name in names]
    known = {"records", "outbox", "history", "timers", "events", "search"}
    return [name for name in tables if name in known - SMALL]


def seq_scans(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for below in plan.get("Plans", ()):
        yield from seq_scans(below)


def test_no_statement_scans_a_table_that_grows_on_a_server(
    home_apart: Any, asked: Asked, clock: FakeClock, make: Any
) -> None:
    """Seen to fail on each without the index of the outbox by time.

    Without that of the events by lane on PostgreSQL: the others go through them by their id. In a
    schema that the url does not name: whoever forgets to name it finds no table.
    """
    with home_apart.open(clock=clock) as database:
        fill(database, make)
        asked.fixed.clear()
        asked.composed.clear()
        exercise(database, clock, make)
        assert len(asked.fixed) > 40, "the statements were seen"
        assert len(asked.composed) >= 8
        assert scanned(database, asked) == []


def test_each_event_is_read_a_few_times_when_the_outbox_is_taken_to_be_empty(
    new_home: Callable[[str], Any], make: Any
) -> None:
    """Seen to fail with "id in (select …)": 600 events were each read 600 times over.

    An outbox is filled and emptied all day long; statistics of a moment when all but one had gone
    tell of large pages with next to nothing on them.
    """
    events = [OutboxEvent(event=make.event()) for _ in range(600)]
    with new_home("postgres").open() as database:
        store, table = SqlRecordStore(database), database.tables.outbox
        store.add_outbox_events(events)
        with database.reading("asking") as cursor:
            cursor.execute(f"select id from {table.fullname} order by ctid desc")
            ids = [row[0] for row in cursor.fetchall()]
        store.delete_outbox_events(ids[1:])  # the last keeps the pages from being given back
        analyze(database, table.fullname)
        more = [OutboxEvent(event=make.event()) for _ in range(600)]
        store.add_outbox_events(more)
        with database.writing("counting") as writing:
            taken = database.dialect.delete_taken(
                writing.cursor, table, [event.event.id for event in more]
            )
            reads = rows_read(writing.cursor, table.name)
    assert len(taken) == 600
    assert reads < 10 * 600


def test_batch_reads_its_own_rows_alone_when_next_to_none_is_taken_to_be_live(
    new_home: Callable[[str], Any], make: Any
) -> None:
    """Seen to fail with "live = 1": all 1,000 live runs were read, to be compared 200 times.

    Most runs have ended, most of the time, and statistics of that moment tell of a handful that
    are live, which is a good reason to begin with them. Then there is a burst.
    """
    ended = [make.record(state=RunState.COMPLETED) for _ in range(2000)]
    live = [make.record() for _ in range(1000)]
    with new_home("postgres").open() as database:
        store, table = SqlRecordStore(database), database.tables.records
        store.store_many([Write(record=record) for record in [*ended, live[0]]])
        analyze(database, table.fullname)
        store.store_many([Write(record=record) for record in live[1:]])
        with database.writing("counting") as writing:
            before = rows_read(writing.cursor, table.name)
            with_key = [make.next(record, entered_version=2) for record in live[:200]]
            outcomes = store._writer.store(
                writing.cursor,
                [Write(record=record) for record in with_key],
                0,
                later=writing.cursor,
            )
            reads = rows_read(writing.cursor, table.name) - before
    assert outcomes == [None] * 200
    assert reads < 3 * 200


def test_horizon_of_a_table_without_statistics_reads_what_is_new_alone(
    new_home: Callable[[str], Any], make: Any
) -> None:
    """Each commit looks. Seen to fail with a look that no index serves, and, where it counts, with
    "id > ?" alone: all 3,000 events were read.
    """
    with new_home("postgres").open() as database:
        horizon, table = ServerHorizon(database.tables, Epochs()), database.tables.events
        sender = SqlEventStreamer(database, instance="i").new_sender()
        with psycopg.connect(url_of(database)) as connection:
            connection.execute(
                f"alter table {table.fullname} set (autovacuum_enabled = off)".encode()
            )
            connection.commit()
            cursor = PostgresCursor(connection)
            # a server that was killed goes on some numbers later
            cursor.execute(f"select nextval(pg_get_serial_sequence('{table.fullname}', 'id'))")
            for _ in range(6):
                sender.send_many([make.event() for _ in range(500)], HOUR)
            cursor.execute(f"select max(id) from {table.fullname}")
            newest = cursor.fetchall()[0][0]
            end = time.monotonic() + PATIENCE
            while horizon.read(cursor).events < newest:
                assert time.monotonic() < end
                database.watch.refresh(anyway=True)  # closes the gap, when it is old enough
            sender.send_many([make.event() for _ in range(10)], HOUR)
            before = rows_read(cursor, table.name)
            assert horizon.read(cursor).events == newest + 10
            reads = rows_read(cursor, table.name) - before
    assert reads <= 20


@pytest.mark.parametrize("verb", ["close", "put off"])
def test_timers_are_found_by_their_key_when_next_to_none_is_taken_to_be_open(
    new_home: Callable[[str], Any], make: Any, verb: str
) -> None:
    """Seen to fail with "closed = 0": all that were open were read."""
    timers = [
        Timeout(
            key=make.id(),
            workflow="orders",
            run_id=make.id(),
            status=1,
            entered_version=1,
            name="n",
            delay=HOUR,
        )
        for _ in range(3000)
    ]
    closed, opened = timers[:2000], timers[2000:]
    keys = [timer.key for timer in opened[:100]]
    with new_home("postgres").open() as database:
        timeouts, table = SqlTimeoutStore(database), database.tables.timers
        timeouts.create_many([*closed, opened[0]])
        timeouts.complete_many([timer.key for timer in closed])
        analyze(database, table.fullname)
        timeouts.create_many(opened[1:])
        with database.writing("counting") as writing:
            before = rows_read(writing.cursor, table.name)
            if verb == "close":
                assert timeouts._close(writing.cursor, keys) == set(keys)
            else:
                rows = [(0, 1, "", 0, key) for key in keys]
                database.dialect.update_each(writing.cursor, timeouts._reschedule, rows)
            reads = rows_read(writing.cursor, table.name) - before
    assert reads < 3 * 100


def analyze(database: Database, table: str) -> None:
    """Tell PostgreSQL what the table is like, as it does by itself now and then."""
    with psycopg.connect(url_of(database), autocommit=True) as connection:
        connection.execute(f"vacuum analyze {table}".encode())


def url_of(database: Database) -> str:
    """What its connections are to, in PostgreSQL's own words."""
    with database.reading("asking") as cursor:
        return str(cursor.connection.info.dsn)  # type: ignore[attr-defined]


def rows_read(cursor: Any, table: str) -> int:
    """How many rows of a table this transaction has read so far."""
    cursor.execute(
        "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = ?",
        (table,),
    )
    return int(cursor.fetchall()[0][0])
