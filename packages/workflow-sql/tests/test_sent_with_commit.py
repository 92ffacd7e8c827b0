"""On PostgreSQL, what nobody waits for is sent together with the commit: one round trip for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.ports import Write
from workflow_sql import Database, SqlEventStreamer, SqlRecordStore
from workflow_sql.dialects import postgres_line
from workflow_sql.dialects.postgres_line import PostgresCursor, later

TOO_GREAT = 2**40  # for a status


@pytest.fixture
def postgres_home(new_home: Callable[[str], Any]) -> Any:
    return new_home("postgres")


@pytest.fixture
def database(postgres_home: Any) -> Iterator[Database]:
    with ExitStack() as handles:
        yield handles.enter_context(postgres_home.open())


@pytest.fixture
def store(database: Database) -> SqlRecordStore:
    return SqlRecordStore(database)


@pytest.fixture
def streamer(database: Database) -> SqlEventStreamer:
    return SqlEventStreamer(database, instance="i")


def count(database: Database, table: str) -> int:
    with database.reading("counting") as cursor:
        cursor.execute(f"select count(*) from {getattr(database.tables, table).fullname}")
        return int(cursor.fetchone()[0])


def test_transition_takes_three_round_trips(
    database: Database,
    store: SqlRecordStore,
    streamer: SqlEventStreamer,
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Begin, compare-and-swap, and all else. Seen to fail with a round trip for each statement."""
    record = make.record()
    store.store(Write(record=record))
    asked: list[str] = []
    execute = psycopg.RawCursor.execute

    def executed(cursor: Any, sql: Any, *arguments: Any, **options: Any) -> Any:
        in_pipeline = cursor.connection.pgconn.pipeline_status != 0
        asked.append("later" if in_pipeline else "at once")
        return execute(cursor, sql, *arguments, **options)

    monkeypatch.setattr(psycopg.RawCursor, "execute", executed)
    with store.transaction() as transaction:
        assert transaction.store_many([Write(record=record.replace(version=2))]) == [None]
        streamer.send_within(transaction, [make.event(record)])
    monkeypatch.undo()
    assert asked == ["at once", "at once", "later", "later", "later"]
    assert store.lookup(record.run_id).version == 2
    assert [entry.version for entry in store.history(record.run_id)] == [1, 2]
    assert count(database, "events") == 1


def test_event_that_is_refused_with_the_commit_leaves_nothing_behind(
    database: Database, store: SqlRecordStore, streamer: SqlEventStreamer, make: Any
) -> None:
    """Seen to fail where the commit went after the refusal: the record stayed without its event."""
    record = make.record()
    with (  # noqa: PT012 - it is the end of the transaction that raises
        pytest.raises(AdapterError) as refusal,
        store.transaction() as transaction,
    ):
        transaction.store_many([Write(record=record)])
        streamer.send_within(transaction, [make.event(record).replace(status=TOO_GREAT)])
    assert not isinstance(refusal.value, AdapterUnavailableError)
    assert store.lookup_many([record.run_id]) == {}
    assert (count(database, "events"), count(database, "history")) == (0, 0)
    with store.transaction() as transaction:
        assert transaction.store_many([Write(record=record)]) == [None]
        streamer.send_within(transaction, [make.event(record)])
    assert (count(database, "events"), count(database, "history")) == (1, 1)


def test_what_was_not_sent_is_forgotten_with_a_rollback(
    database: Database, store: SqlRecordStore, streamer: SqlEventStreamer, make: Any
) -> None:
    """Seen to fail where the next transaction of the connection sent it."""
    for _ in range(10):  # each connection of the pool
        with suppress(ZeroDivisionError), store.transaction() as transaction:
            streamer.send_within(transaction, [make.event()])
            raise ZeroDivisionError
    for _ in range(10):
        with store.transaction() as transaction:
            transaction.store_many([Write(record=make.record())])
    assert count(database, "events") == 0


def test_what_is_begun_anew_keeps_nothing_of_the_first_try(
    database: Database, store: SqlRecordStore, make: Any
) -> None:
    """Seen to fail where the versions of a batch were kept twice, or those of refused ones."""
    good, refused = make.record(), make.record(last_error="x" * 5, status=TOO_GREAT)
    with store.transaction() as transaction:
        outcomes = transaction.store_many([Write(record=good), Write(record=refused)])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], AdapterError)
    assert count(database, "history") == 1


def test_what_users_do_in_a_transaction_comes_after_what_was_stored_before(
    database: Database, store: SqlRecordStore, make: Any
) -> None:
    """A lent transaction keeps nothing for its commit. Seen to fail where it did."""
    with store.transaction() as transaction:
        connection = transaction.connection
        transaction.store_many([Write(record=make.record())])
        table = database.tables.history.fullname
        assert connection.exec_driver_sql(f"select count(*) from {table}").scalar() == 1


def test_what_was_stored_before_a_transaction_is_lent_is_there_for_its_user(
    database: Database, store: SqlRecordStore, make: Any
) -> None:
    """Seen to fail where it was still to be sent."""
    with store.transaction() as transaction:
        transaction.store_many([Write(record=make.record())])
        table = database.tables.history.fullname
        found = transaction.connection.exec_driver_sql(f"select count(*) from {table}")
        assert found.scalar() == 1


def test_what_is_unsent_of_a_transaction_that_somebody_ended_is_sent_by_no_other(
    database: Database, store: SqlRecordStore, make: Any
) -> None:
    """Seen to fail where the next transaction of the connection sent it."""
    for _ in range(10):  # each connection of the pool
        with suppress(ZeroDivisionError), store.transaction() as transaction:
            transaction.store_many([Write(record=make.record())])
            transaction.cursor.execute("rollback")
            raise ZeroDivisionError
    for _ in range(10):
        with store.transaction() as transaction:
            transaction.store_many([Write(record=make.record())])
    assert count(database, "history") == 10


def test_closed_id_is_contention_where_it_is_met_with_the_commit(
    database: Database, store: SqlRecordStore, streamer: SqlEventStreamer, make: Any
) -> None:
    """Seen to fail where it was a refusal for good: the event went the long way."""
    events = database.tables.events
    with store.transaction() as transaction:
        streamer.send_within(transaction, [make.event()])
    names = ", ".join(column.name for column in events.columns if column.name != "id")
    with database.writing("closing an id that is to come") as writing:
        writing.cursor.execute(
            f"insert into {events.fullname} (id, {names}) select max(id) over () + 1, {names}"
            f" from {events.fullname}"
        )
    with pytest.raises(AdapterUnavailableError), store.transaction() as transaction:
        streamer.send_within(transaction, [make.event()])
    with store.transaction() as transaction:
        streamer.send_within(transaction, [make.event()])
    assert count(database, "events") == 3


def test_pooler_is_spared_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.reading("looking") as cursor:
        assert isinstance(cursor, PostgresCursor)
        assert later(cursor) is not cursor
        monkeypatch.setattr(cursor.connection, "is_pooled", True)
        assert later(cursor) is cursor
        monkeypatch.setattr(cursor.connection, "is_pooled", False)
        monkeypatch.setattr(postgres_line, "_CAN_PIPELINE", False)
        assert later(cursor) is cursor
