"""Beyond the contract: what it joins, with whom it shares tables, what is told of mistakes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    ClosedError,
    ConfigurationError,
    InputError,
)
from workflow_core.memory import MemoryDatabase, MemoryRecordStore
from workflow_core.ports import AdapterContext, Secret, Shards, SystemClock
from workflow_reflex import ReflexConnectorSource, ReflexEventStreamer, ReflexSettings
from workflow_reflex.log import Log
from workflow_reflex.source import ReflexSourceSettings
from workflow_sql import Database, SqlRecordStore, upgrade

NOW = timedelta(0)
Open = Callable[..., ReflexEventStreamer]


def store_on(url: str, **options: Any) -> SqlRecordStore:
    upgrade(url)
    return SqlRecordStore(Database(url, **options))


def ids(deliveries: Any) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


# -- joining -----------------------------------------------------------------------------------


def test_store_in_the_same_database_is_joined_whatever_its_url_says(
    any_home: Any, open_streamer: Open
) -> None:
    streamer = open_streamer(any_home)
    other = any_home.url.replace("127.0.0.1", "localhost")
    if any_home.is_server:
        assert other != any_home.url
    store = store_on(other)
    with store.database:
        assert streamer.joins(store)
    assert any_home.ask("select id from CURSORS") == [], "the mark is taken away"


def test_store_in_another_database_is_not_joined(
    any_home: Any, open_streamer: Open, new_home: Callable[[str], Any], tmp_path: Any
) -> None:
    """Also where it has tables of the same names. Seen to fail with a look at the names alone."""
    streamer = open_streamer(any_home)
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    other = ReflexSettings(
        url=Secret(url), events_table=any_home.events, cursors_table=any_home.cursors
    )
    with ReflexEventStreamer(other) as elsewhere, (store := store_on(url)).database:
        assert elsewhere.joins(store)
        assert not streamer.joins(store)


def test_store_whose_connection_does_not_find_the_tables_is_not_joined(
    home: Any, open_streamer: Open, request: pytest.FixtureRequest
) -> None:
    """On the same server; and its transaction is left in order."""
    name = home.engine.dialect.name
    server = request.getfixturevalue(f"{'postgres' if name == 'postgresql' else name}_server")
    with server.own_space() as space:
        plain = "" if home.is_postgres else "?ssl_disabled=true"
        store = store_on(f"{space.url}{plain}")
        with store.database:
            assert not open_streamer(home).joins(store)
            assert store.lookup_many([]) == {}


def test_store_is_not_joined_while_the_database_is_away_and_is_later(
    home: Any, open_streamer: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with the error passed on: no engine could be made though its store was there."""
    streamer = open_streamer(home, pool_size=2)
    store = store_on(home.url)
    with store.database:
        with monkeypatch.context() as away:
            away.setattr(streamer, "_put_mark", unavailable)
            assert not streamer.joins(store)
        assert streamer.joins(store)


def unavailable(*_: object) -> None:
    raise AdapterUnavailableError("away")


def test_store_in_memory_is_not_joined(any_home: Any, open_streamer: Open) -> None:
    assert not open_streamer(any_home).joins(MemoryRecordStore(MemoryDatabase(SystemClock())))


def test_events_of_a_lost_transaction_leave_no_hole_for_ever(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    receiver = streamer.new_receiver(["orders-1"], "steps")
    store = store_on(any_home.url)
    with store.database:
        with suppress(ZeroDivisionError), store.transaction() as transaction:
            streamer.send_within(transaction, [make.event(), make.event()])
            raise ZeroDivisionError
        with store.transaction() as transaction:
            streamer.send_within(transaction, [kept := make.event()])
    assert ids(tools.received(receiver, 1)) == [kept.id]


def test_event_that_can_be_no_row_is_refused_within_a_transaction_by_name(
    any_home: Any, open_streamer: Open, make: Any
) -> None:
    """Not as unavailable: the engine would commit the same again, for ever."""
    streamer = open_streamer(any_home)
    store = store_on(any_home.url)
    with store.database:
        for bad in (make.event(status=2**40), make.event(run_id="x" * 400)):
            if bad.run_id.startswith("xx") and not any_home.is_server:
                continue  # its texts have no length
            with pytest.raises(AdapterError) as caught, store.transaction() as transaction:
                streamer.send_within(transaction, [bad])
            assert not isinstance(caught.value, AdapterUnavailableError)
            assert "xxx" not in str(caught.value), "no value is told"


def test_refused_event_is_found_among_others(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    good = [make.event() for _ in range(4)]
    with streamer.new_sender() as sender:
        outcomes = sender.send_many(
            [*good[:2], make.event(status=2**40), *good[2:]], timedelta(seconds=30)
        )
    assert [type(outcome) for outcome in outcomes].count(type(None)) == 4
    assert isinstance(outcomes[2], AdapterError)
    receiver = streamer.new_receiver(["orders-1"], "steps")
    assert ids(tools.received(receiver, 4)) == [event.id for event in good]


# -- sharing -----------------------------------------------------------------------------------


def test_go_and_python_read_each_others_rows(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    receiver = streamer.new_receiver(["order_processor-1"], "steps")
    metadata = (
        b'{"foreign_id":"order-1","record_version":"1","run_id":"run-1","run_state":"1",'
        b'"topic":"order_processor-1","workflow_name":"order processor"}'
    )
    with any_home.engine.begin() as connection:
        any_home.insert(connection, metadata, key="run-1")
    (delivery,) = tools.received(receiver, 1)
    event = delivery.event
    assert (event.workflow, event.run_id, event.version) == ("order processor", "run-1", 1)
    assert event.created_at.isoformat() == "2026-01-02T03:04:05+00:00"
    tools.send(streamer, event.replace(id=make.id(), version=2))
    ((key, type, written),) = any_home.ask(
        "select foreign_id, type, metadata from EVENTS where id = 2"
    )
    assert (key, type) == ("run-1", 1)
    assert b'"record_version":"2","run_id":"run-1","run_state":"1"' in bytes(written)


def test_table_as_go_makes_it_is_taken_as_it_is(
    new_home: Callable[[str], Any], open_streamer: Open, make: Any, tools: Any
) -> None:
    home = new_home("mysql")
    home.do("drop table if exists go_events, go_cursors")
    home.do(
        "create table go_events (id bigint not null auto_increment, foreign_id varchar(255)"
        " not null, created_at datetime not null, type int not null default 0, meta blob,"
        " primary key (id))"
    )
    home.do(
        "create table go_cursors (id varchar(255) not null, last_event_id bigint not null,"
        " updated_at datetime(3) not null, primary key (id))"
    )
    streamer = open_streamer(
        home,
        events_table="go_events",
        cursors_table="go_cursors",
        columns={"timestamp": "created_at", "metadata": "meta"},
    )
    receiver = streamer.new_receiver(["orders-1"], "steps")
    tools.send(streamer, sent := make.event(created_at=make.event().created_at))
    receiver.ack(deliveries := tools.received(receiver, 1))
    assert ids(deliveries) == [sent.id]
    large = make.event(headers={"large": "x" * 70_000})
    with streamer.new_sender() as sender, pytest.raises(AdapterError) as caught:
        sender.send(large)
    assert not isinstance(caught.value, AdapterUnavailableError)
    home.do("drop table go_events, go_cursors")


def test_one_process_asks_once_for_all_its_receivers(
    any_home: Any, open_streamer: Open, make: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with rows read by each receiver for itself."""
    streamer = open_streamer(any_home)
    receivers = [streamer.new_receiver(["orders-1"], f"steps-{n}") for n in range(5)]
    for receiver in receivers:
        receiver.recv(NOW)
    reads: list[int] = []
    read = Log._read_behind

    def counted(log: Log, after: int) -> Any:
        span = read(log, after)
        reads.append(len(span.entries))
        return span

    monkeypatch.setattr(Log, "_read_behind", counted)
    tools.send(streamer, *(make.event() for _ in range(50)))
    for receiver in receivers:
        assert len(tools.received(receiver, 50)) == 50
    assert sum(reads) == 50


def test_who_waits_is_told_what_another_receiver_has_seen_first(
    any_home: Any, open_streamer: Open, make: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with the thread alone telling: it found nothing new any more."""
    streamer = open_streamer(any_home)
    waits, looks = (streamer.new_receiver(["orders-1"], name) for name in ("one", "other"))
    waits.recv(NOW)
    monkeypatch.setattr(Log, "_look", lambda log: None)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(waits.recv(timedelta(minutes=10))))
    waiting.start()
    tools.wait_until(lambda: streamer._log._waiting == 1)
    tools.send(open_streamer(any_home), sent := make.event())
    assert looks.recv(NOW) is not None
    waiting.join(30)
    assert ids(got) == [sent.id]


def test_namespace_stands_before_topics_and_cursors(any_home: Any, make: Any, tools: Any) -> None:
    context = AdapterContext(instance="i", namespace="shop")
    with context, ReflexEventStreamer.from_config(any_home.settings(), context) as streamer:
        receiver = streamer.new_receiver(["orders-1"], "steps")
        tools.send(streamer, sent := make.event())
        (delivery,) = tools.received(receiver, 1)
        assert delivery.event.topic == sent.topic
    ((metadata,),) = any_home.ask("select metadata from EVENTS")
    assert b'"topic":"shop.orders-1"' in bytes(metadata)
    found = [row[0] for row in any_home.ask("select id from CURSORS")]
    assert all(id.startswith("shop.steps") for id in found)


# -- the source --------------------------------------------------------------------------------


def test_source_hands_out_what_others_write(any_home: Any, tools: Any) -> None:
    with any_home.engine.begin() as connection:
        any_home.insert(connection, b"\x08\x01", None, b'{"a":"b"}', key="p-1")
    any_home.do(
        "insert into EVENTS (foreign_id, timestamp, type) values ('p-2', '2026-01-01 00:00:00', 7)"
    )
    settings = ReflexSourceSettings(
        url=Secret(any_home.url), events_table=any_home.events, cursors_table=any_home.cursors
    )
    with ReflexConnectorSource(settings) as source:
        receiver = source.new_receiver("payments")
        events = [each.event for each in tools.received(receiver, 4)]
    assert [(each.id, each.key, each.value) for each in events] == [
        ("1", "p-1", b"\x08\x01"),
        ("2", "p-1", b""),
        ("3", "p-1", b'{"a":"b"}'),
        ("4", "p-2", b""),
    ]
    assert [dict(each.headers) for each in events] == [
        {"event_type": "1"},
        {"event_type": "1"},
        {"event_type": "1", "a": "b"},
        {"event_type": "7"},
    ]


def test_source_of_some_types_passes_the_others(any_home: Any, tools: Any) -> None:
    for type in (3, 4, 5):
        any_home.do(
            "insert into EVENTS (foreign_id, timestamp, type)"
            f" values ('k', '2026-01-01 00:00:00', {type})"
        )
    settings = ReflexSourceSettings(
        url=Secret(any_home.url),
        events_table=any_home.events,
        cursors_table=any_home.cursors,
        types=frozenset({3, 5}),
    )
    with ReflexConnectorSource(settings) as source:
        receiver = source.new_receiver("payments")
        assert [each.event.id for each in tools.received(receiver, 2)] == ["1", "3"]


# -- what is wrong -----------------------------------------------------------------------------


def test_missing_tables_are_told_and_how_to_make_them(home: Any) -> None:
    streamer = ReflexEventStreamer(home.settings(events_table="not_there"))
    with streamer:
        for call in (
            streamer.check_health,
            lambda: streamer.new_receiver(["orders-1"], "steps"),
        ):
            with pytest.raises(AdapterUnavailableError, match="create_tables"):
                call()


def test_hole_that_may_not_be_filled_is_told(
    new_home: Callable[[str], Any],
    open_streamer: Open,
    make: Any,
    tools: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A table of somebody else's, who has forgotten that noops have no metadata."""
    home = new_home("mysql")
    streamer = open_streamer(home)
    receiver = streamer.new_receiver(["orders-1"], "steps")
    tools.send(streamer, make.event())
    home.do("alter table EVENTS modify metadata mediumblob not null")
    try:
        with home.engine.connect() as connection:
            home.insert(connection, b"{}")
            connection.rollback()
        tools.send(streamer, make.event())
        with caplog.at_level(logging.ERROR):
            assert len(tools.received(receiver, 1)) == 1
            tools.wait_until(lambda: "cannot be filled" in caplog.text)
    finally:
        home.do("alter table EVENTS modify metadata mediumblob")
    assert len(tools.received(receiver, 1)) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "no database URL"),
        ("oracle://u:secret@h/d", "known are"),
        ("mysql+mysqldb://u:secret@h/d", "pymysql"),
        ("postgresql+asyncpg://u:secret@h/d", "psycopg"),
        ("sqlite://", "in memory"),
    ],
)
def test_wrong_url_is_refused_and_not_shown(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        ReflexEventStreamer(ReflexSettings(url=Secret(url)))
    assert "secret" not in str(caught.value)


def test_wrong_settings_are_told_all_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ReflexSettings(
            url=Secret("sqlite:///x.db"),
            events_table="drop table",
            cursors_table="",
            columns={"kind": "type"},
            pool_size=1,
            poll_at_rest=NOW,
            lock_timeout=NOW,
            statement_timeout=NOW,
        )
    named = [problem.partition(":")[0] for problem in caught.value.problems]
    assert named == [
        *("events_table", "cursors_table", "columns.kind", "poll_at_rest", "lock_timeout"),
        *("statement_timeout", "pool_size"),
    ]


def test_more_shards_than_parts_and_no_topic_are_refused(
    new_home: Callable[[str], Any], open_streamer: Open
) -> None:
    streamer = open_streamer(new_home("sqlite"))
    with pytest.raises(InputError, match="16 parts"):
        streamer.new_receiver(["a-1"], "s", shards=Shards(count=17, held=frozenset({0})))
    with pytest.raises(InputError, match="topics"):
        streamer.new_receiver([], "s")
    streamer.close()
    with pytest.raises(ClosedError):
        streamer.new_receiver(["a-1"], "s")
