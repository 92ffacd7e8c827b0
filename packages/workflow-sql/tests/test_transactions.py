from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    InputError,
    NotSupportedError,
    RunInProgressError,
    RunNotFoundError,
    StoreBusyError,
)
from workflow_core.model import OutboxEvent
from workflow_core.ports import Write
from workflow_sql import Database, SqlEventStreamer, SqlRecordStore, SqlTimeoutStore


@pytest.fixture
def store(database: Database) -> SqlRecordStore:
    return SqlRecordStore(database)


@pytest.fixture
def engine(path: Path, store: SqlRecordStore) -> Iterator[Engine]:
    """The user's own, with a table of theirs."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("create table orders (id text)"))
    yield engine
    engine.dispose()


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("select count(*) from orders")).scalar_one())


# -- joined ------------------------------------------------------------------------------------


def test_joined_write_is_there_when_the_caller_commits(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    record = make.record()
    with engine.begin() as connection:
        connection.execute(text("insert into orders values ('1')"))
        event = OutboxEvent(event=make.event(record))
        assert store.join(connection).store_many([Write(record=record, events=[event])]) == [None]
        with pytest.raises(RunNotFoundError):
            store.lookup(record.run_id)
    assert store.lookup(record.run_id).version == 1
    assert len(store.list_outbox_events(["orders"], limit=9)) == 1
    assert count(engine) == 1


def test_joined_write_is_gone_when_the_caller_rolls_back(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    """Seen to fail with a savepoint as the first statement: its release committed."""
    record = make.record()
    with engine.connect() as connection:
        store.join(connection).store_many([Write(record=record)])
        connection.execute(text("insert into orders values ('1')"))
        connection.rollback()
    with pytest.raises(RunNotFoundError):
        store.lookup(record.run_id)
    assert count(engine) == 0


def test_joined_write_is_committed_when_it_is_all_that_the_connection_did(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    """Seen to fail where SQLAlchemy was not told of the transaction: it committed nothing."""
    record = make.record()
    with engine.connect() as connection:
        store.join(connection).store_many([Write(record=record)])
        connection.commit()
    assert store.lookup(record.run_id).version == 1


def test_session_is_joined_when_it_is_given(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    kept, dropped = make.record(), make.record()
    with Session(engine) as session:
        store.join(session).store_many([Write(record=kept)])
        session.commit()
        store.join(session).store_many([Write(record=dropped)])
        session.rollback()
    assert set(store.lookup_many([kept.run_id, dropped.run_id])) == {kept.run_id}


def test_drivers_connection_is_joined_when_it_is_given(
    store: SqlRecordStore, path: Path, make: Any
) -> None:
    kept, dropped = make.record(), make.record()
    with closing(sqlite3.connect(path)) as connection:
        store.join(connection).store_many([Write(record=kept)])
        connection.commit()
        store.join(connection).store_many([Write(record=dropped)])
        connection.rollback()
    assert set(store.lookup_many([kept.run_id, dropped.run_id])) == {kept.run_id}


def test_run_in_progress_leaves_the_callers_transaction_usable(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    live = make.record()
    store.store(Write(record=live))
    with engine.begin() as connection:
        connection.execute(text("insert into orders values ('1')"))
        again = make.record(foreign_id=live.foreign_id)
        (outcome,) = store.join(connection).store_many([Write(record=again)])
        assert isinstance(outcome, RunInProgressError)
        assert outcome.live_run_id == live.run_id
        connection.execute(text("insert into orders values ('2')"))
    assert count(engine) == 2


def test_refused_value_leaves_the_callers_transaction_usable(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    with engine.begin() as connection:
        connection.execute(text("insert into orders values ('1')"))
        (outcome,) = store.join(connection).store_many([Write(record=make.record(reason="\ud800"))])
        assert isinstance(outcome, AdapterError)
    assert count(engine) == 1


def test_connection_is_refused_when_it_is_of_another_database(
    store: SqlRecordStore,
    open_database: Callable[..., Database],
    tmp_path: Path,
) -> None:
    open_database(tmp_path / "other.db")
    for name, why in (("other.db", "other tables"), ("empty.db", "none of the tables")):
        engine = create_engine(f"sqlite:///{tmp_path / name}")
        with engine.connect() as connection, pytest.raises(InputError, match=why):
            store.join(connection)
        engine.dispose()
        with (
            closing(sqlite3.connect(tmp_path / name)) as driver,
            pytest.raises(InputError, match=why),
        ):
            store.join(driver)
    with pytest.raises(InputError, match="it is a str"):
        store.join("sqlite:///orders.db")


def test_asynchronous_connection_is_refused_with_the_way_to_do_it(store: SqlRecordStore) -> None:
    class AsyncConnection:
        def run_sync(self) -> None: ...

    with pytest.raises(InputError, match="from within its run_sync"):
        store.join(AsyncConnection())


def test_connection_is_refused_when_each_statement_commits(
    store: SqlRecordStore, path: Path, make: Any
) -> None:
    record = make.record()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(InputError, match="Begin a transaction"):
            store.join(connection).store_many([Write(record=record)])
        connection.execute("begin")
        store.join(connection).store_many([Write(record=record)])
        connection.execute("commit")
    assert store.lookup(record.run_id).version == 1


def test_caller_is_told_to_retry_when_its_snapshot_is_out_of_date(
    store: SqlRecordStore, path: Path, make: Any
) -> None:
    """A transaction that has read cannot write once another has written, however long it waits."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin")
        connection.execute("select * from workflow_records").fetchall()
        store.store(Write(record=make.record()))
        joined = store.join(connection)
        with pytest.raises(StoreBusyError, match="retry it"):
            joined.store_many([Write(record=make.record())])
        with pytest.raises(StoreBusyError):
            joined.delete_outbox_events(["it is lost"])
        connection.execute("rollback")


# -- lent --------------------------------------------------------------------------------------


def test_lent_connection_takes_the_users_rows_with_the_record(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    record = make.record()
    with store.transaction() as transaction:
        transaction.store_many([Write(record=record)])
        with Session(transaction.connection) as session:
            session.execute(text("insert into orders values ('1')"))
            session.commit()  # the session's work is done; the commit is still the lender's
        assert count(engine) == 0
    assert count(engine) == 1
    with suppress(ZeroDivisionError), store.transaction() as transaction:
        transaction.connection.execute(text("insert into orders values ('2')"))
        raise ZeroDivisionError
    assert count(engine) == 1


def test_transaction_says_so_when_its_user_ended_it(
    store: SqlRecordStore, engine: Engine, make: Any
) -> None:
    lending = store.transaction()
    transaction = lending.__enter__()
    transaction.store_many([Write(record=make.record())])
    transaction.connection.commit()
    with pytest.raises(AdapterError, match="ended while it was lent"):
        lending.__exit__(None, None, None)
    store.store(Write(record=make.record()))


def test_lost_transaction_commits_nothing_when_its_error_is_swallowed(
    store: SqlRecordStore, make: Any
) -> None:
    """Half a transaction is worse than none. Seen to fail without the look at leaving."""
    first, second = make.record(), make.record()
    lending = store.transaction()
    transaction = lending.__enter__()
    transaction.store_many([Write(record=first)])
    transaction.connection.exec_driver_sql("pragma max_page_count = 1")
    with suppress(AdapterUnavailableError):
        transaction.store_many([Write(record=second.replace(data=b"x" * 100_000))])
    with pytest.raises(AdapterUnavailableError):
        lending.__exit__(None, None, None)
    assert store.lookup_many([first.run_id, second.run_id]) == {}


def test_events_and_timers_go_with_the_record_when_it_is_rolled_back(
    store: SqlRecordStore, database: Database, make: Any
) -> None:
    streamer, timeouts = SqlEventStreamer(database, instance="i"), SqlTimeoutStore(database)
    with suppress(ZeroDivisionError), store.transaction() as transaction:
        streamer.send_within(transaction, [make.event()])
        timeouts.write_within(transaction, arm=[], cancel=["none"])
        raise ZeroDivisionError
    with database.reading("counting") as cursor:
        cursor.execute("select count(*) from workflow_events")
        assert cursor.fetchone() == (0,)


def test_refused_event_leaves_none_of_its_batch_behind_when_the_transaction_goes_on(
    store: SqlRecordStore, database: Database, make: Any
) -> None:
    """Seen to fail without the savepoint: the events before the bad one stayed."""
    streamer = SqlEventStreamer(database, instance="i")
    with store.transaction() as transaction, pytest.raises(AdapterError):
        streamer.send_within(transaction, [make.event(), make.event(target="\ud800")])
    with database.reading("counting") as cursor:
        cursor.execute("select count(*) from workflow_events")
        assert cursor.fetchone() == (0,)


def test_record_and_event_need_no_savepoint_when_the_transaction_is_the_stores_own(
    statements: list[tuple[str, Any]], database: Database, make: Any
) -> None:
    """Four round trips to a server less. Seen to fail with a savepoint for each part."""
    store, streamer = SqlRecordStore(database), SqlEventStreamer(database, instance="i")
    record = make.record()
    store.store(Write(record=record))
    statements.clear()
    with store.transaction() as transaction:
        transaction.store_many([Write(record=record.replace(version=2))])
        streamer.send_within(transaction, [make.event(record)])
    assert [sql for sql, _ in statements if "savepoint" in sql] == []
    assert store.lookup(record.run_id).version == 2


def test_refused_record_of_a_later_part_leaves_the_earlier_one_there(
    store: SqlRecordStore, make: Any
) -> None:
    """Seen to fail where the whole transaction was begun anew."""
    first, refused, last = make.record(), make.record(last_error="\ud800"), make.record()
    with store.transaction() as transaction:
        assert transaction.store_many([Write(record=first)]) == [None]
        (outcome,) = transaction.store_many([Write(record=refused)])
        assert isinstance(outcome, AdapterError)
        assert transaction.store_many([Write(record=last)]) == [None]
    ids = [first.run_id, refused.run_id, last.run_id]
    assert store.lookup_many(ids).keys() == {first.run_id, last.run_id}


def test_refused_record_of_the_first_part_is_left_out_of_the_transaction(
    store: SqlRecordStore, make: Any
) -> None:
    """It has no savepoint to go back to, and is begun anew."""
    good, refused = make.record(), make.record(last_error="\ud800")
    with store.transaction() as transaction:
        outcomes = transaction.store_many([Write(record=good), Write(record=refused)])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], AdapterError)
    assert store.lookup_many([good.run_id, refused.run_id]).keys() == {good.run_id}


def test_record_is_not_committed_without_its_event_when_the_refusal_is_swallowed(
    store: SqlRecordStore, database: Database, make: Any
) -> None:
    """Seen to fail without the note that the transaction is lost."""
    record = make.record()
    streamer = SqlEventStreamer(database, instance="i")
    with (  # noqa: PT012 - what is refused within is not what is refused in the end
        pytest.raises(AdapterUnavailableError, match="whole transaction"),
        store.transaction() as transaction,
    ):
        transaction.store_many([Write(record=record)])
        with pytest.raises(AdapterError):
            streamer.send_within(transaction, [make.event(target="\ud800")])
    assert store.lookup_many([record.run_id]) == {}


def test_send_within_is_refused_when_the_transaction_is_anothers(
    store: SqlRecordStore,
    engine: Engine,
    open_database: Callable[..., Database],
    tmp_path: Path,
    make: Any,
) -> None:
    elsewhere = SqlEventStreamer(open_database(tmp_path / "other.db"), instance="i")
    with store.transaction() as transaction, pytest.raises(NotSupportedError):
        elsewhere.send_within(transaction, [make.event()])
    here = SqlEventStreamer(store.database, instance="i")
    with engine.begin() as connection, pytest.raises(NotSupportedError, match="outbox"):
        here.send_within(store.join(connection), [make.event()])
