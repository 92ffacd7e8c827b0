from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    ClosedError,
    ConfigurationError,
)
from workflow_core.ports import AdapterContext, Secret, Write
from workflow_sql import (
    Database,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlSettings,
    SqlTimeoutStore,
)

SHORT = timedelta(milliseconds=30)


# -- settings and urls -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("not a url", "no database URL"),
        ("oracle://scott:tiger@host/db", "known are: mariadb, mysql, postgresql, sqlite"),
        ("sqlite://", "names no SQLite file"),
        ("sqlite:///:memory:", "names no SQLite file"),
        ("sqlite:///orders.db?mode=ro", "options that SQLite does not take"),
    ],
)
def test_url_is_refused_by_what_is_wrong_with_it(url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as caught:
        Database(url)
    assert "tiger" not in str(caught.value)


def test_sqlite_is_refused_when_it_is_too_old(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match=r"3\.35 or newer"):
        Database(f"sqlite:///{tmp_path}/new.db")


@pytest.mark.parametrize("namespace", ["Shop", "a-b", "1st", "x" * 31, "a;drop"])
def test_namespace_is_refused_when_it_cannot_be_part_of_a_name(
    namespace: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        Database(f"sqlite:///{tmp_path}/new.db", namespace=namespace)


def test_settings_tell_all_problems_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SqlSettings(
            url=Secret("sqlite:///x.db"),
            lock_timeout=timedelta(0),
            history_keep=0,
            trim_after=timedelta(seconds=-1),
            role_lease=timedelta(0),
        )
    assert len(caught.value.problems) == 4


def test_nothing_shows_the_url_when_it_is_printed_or_fails(tmp_path: Path) -> None:
    secret = "hunter2"
    settings = SqlSettings(url=Secret(f"sqlite:///{tmp_path}/{secret}/x.db"))
    assert secret not in repr(settings)
    with pytest.raises(AdapterUnavailableError, match="cannot be opened") as caught:
        Database(settings.url)
    assert secret not in str(caught.value)
    assert secret not in repr(caught.value)
    with Database(f"sqlite:///{tmp_path}/{secret}.db") as database:
        assert secret not in repr(database)


def test_four_adapters_share_one_database_when_they_have_one_context(path: Path) -> None:
    settings = SqlSettings(url=Secret(f"sqlite:///{path}"))
    with AdapterContext(instance="i") as context:
        store = SqlRecordStore.from_config(settings, context)
        streamer = SqlEventStreamer.from_config(settings, context)
        timeouts = SqlTimeoutStore.from_config(settings, context)
        roles = SqlRoleScheduler.from_config(settings, context)
        assert store.database is streamer.database is timeouts.database is roles.database
        assert streamer.joins(store)
        assert timeouts.joins(store)
    with pytest.raises(ClosedError):
        store.lookup("run")


def test_joins_goes_by_the_installation_when_urls_differ(
    open_database: Callable[..., Database], path: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.db").symlink_to(path)
    store = SqlRecordStore(open_database())
    assert SqlEventStreamer(open_database(tmp_path / "link.db"), instance="i").joins(store)
    assert not SqlEventStreamer(open_database(tmp_path / "other.db"), instance="i").joins(store)
    apart = open_database(namespace="shop")
    assert not SqlEventStreamer(apart, instance="i").joins(store), "other tables, same file"


# -- writing -----------------------------------------------------------------------------------


def test_second_transaction_of_a_thread_is_refused_when_it_would_wait_for_itself(
    database: Database, make: Any
) -> None:
    store = SqlRecordStore(database)
    with store.transaction(), pytest.raises(AdapterError, match="wait for it for ever"):
        store.store(Write(record=make.record()))
    store.store(Write(record=make.record()))


def test_write_is_unavailable_when_another_thread_holds_on_too_long(
    open_database: Callable[..., Database], make: Any
) -> None:
    store = SqlRecordStore(open_database(lock_timeout=SHORT))
    failures: list[AdapterError] = []

    def write() -> None:
        try:
            store.store(Write(record=make.record()))
        except AdapterError as error:
            failures.append(error)

    with store.transaction():
        other = threading.Thread(target=write)
        other.start()
        other.join(30)
    assert [type(failure) for failure in failures] == [AdapterUnavailableError]


def test_write_is_unavailable_when_another_process_holds_on_too_long(
    open_database: Callable[..., Database], path: Path, make: Any
) -> None:
    store = SqlRecordStore(open_database(lock_timeout=SHORT))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(AdapterUnavailableError, match="another writer"):
        store.store(Write(record=make.record()))
    other.execute("rollback")
    other.close()
    store.store(Write(record=make.record()))


def test_write_waits_its_turn_when_another_process_is_soon_done(
    database: Database, path: Path, make: Any
) -> None:
    """A deferred begin that reads first would fail at once, whatever the time-out."""
    store = SqlRecordStore(database)
    record = make.record()
    store.store(Write(record=record))
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    waits = threading.Event()
    execute_first = threading.Thread(
        target=lambda: (waits.wait(30), other.execute("commit")), daemon=True
    )
    execute_first.start()
    waits.set()
    store.store(Write(record=make.next(record)))
    execute_first.join(30)
    other.close()
    assert store.lookup(record.run_id).version == 2


def test_store_goes_on_when_the_disk_was_full(database: Database, make: Any) -> None:
    """Seen to fail without SQLITE_FULL among the errors that are told in words."""
    store = SqlRecordStore(database)
    kept = make.record()
    store.store(Write(record=kept))
    with database.writing("limiting the file") as writing:
        pages = writing.connection.exec_driver_sql("pragma page_count").scalar_one()
        writing.connection.exec_driver_sql(f"pragma max_page_count = {pages + 2}")
    large = [Write(record=make.record(data=b"x" * 4096)) for _ in range(20)]
    with pytest.raises(AdapterUnavailableError, match="is full"):
        store.store_many(large)
    assert store.lookup_many([write.record.run_id for write in large]) == {}
    assert store.lookup(kept.run_id).version == 1
    with database.writing("giving it room") as writing:
        writing.connection.exec_driver_sql("pragma max_page_count = 1000000")
    assert store.store_many(large) == [None] * 20


def test_value_is_refused_alone_when_it_can_never_be_stored(database: Database, make: Any) -> None:
    """Seen to fail with the whole batch raised for one row."""
    store = SqlRecordStore(database)
    records = [make.record() for _ in range(9)]
    records[4] = records[4].replace(last_error="half a pair: \ud800")
    records[7] = records[7].replace(attempts=2**70)
    outcomes = store.store_many(
        [Write(record=record, events=[]) for record in records],
    )
    refused = [at for at, outcome in enumerate(outcomes) if outcome is not None]
    assert refused == [4, 7]
    for at in refused:
        outcome = outcomes[at]
        assert isinstance(outcome, AdapterError)
        assert not isinstance(outcome, AdapterUnavailableError)
        assert outcome.run_id == records[at].run_id
        assert outcome.__cause__ is not None
    assert len(store.lookup_many([record.run_id for record in records])) == 7


# -- waiting -----------------------------------------------------------------------------------


def test_reads_keep_no_snapshot_when_they_are_done(
    database: Database, path: Path, make: Any
) -> None:
    """Else the write-ahead log could never be cut. Seen to fail with cursors left open."""
    store = SqlRecordStore(database)
    records = [make.record() for _ in range(5)]
    store.store_many([Write(record=record) for record in records])
    with database.reading("reading a part") as cursor:
        cursor.execute(f"select * from {database.tables.records.name}")
        cursor.fetchone()
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    other.close()
