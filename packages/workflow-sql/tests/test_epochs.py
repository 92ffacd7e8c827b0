"""What a process remembers of a database that was set back, or whose server is another now."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Event
from workflow_core.ports import Delivery
from workflow_sql import Database, SqlEventStreamer, SqlRoleScheduler
from workflow_sql.dialects.server_connections import Line, ServerConnections, Told
from workflow_sql.epochs import Epochs
from workflow_sql.events.receiver import SqlReceiver
from workflow_sql.events.trimming import Trimming

NOW = timedelta(0)
SOON = timedelta(seconds=60)
PATIENCE = 60.0
ONLY_READS = {
    "postgresql": "do $$ begin raise exception using errcode = '25006'; end $$",
    "mysql": "signal sqlstate 'HY000' set mysql_errno = 1290, message_text = 'read-only'",
    "mariadb": "signal sqlstate 'HY000' set mysql_errno = 1290, message_text = 'read-only'",
}
MY_ID = {
    "postgresql": "select pg_backend_pid()",
    "mysql": "select connection_id()",
    "mariadb": "select connection_id()",
}


@pytest.fixture
def open_home(home: Any) -> Iterator[Callable[[], Database]]:
    """Each call is a handle of its own, as another process would have."""
    with ExitStack() as handles:
        yield lambda: handles.enter_context(home.open())


@pytest.fixture
def one(open_home: Callable[[], Database]) -> Database:
    return open_home()


@pytest.fixture
def other(open_home: Callable[[], Database]) -> Database:
    return open_home()


def send(database: Database, *events: Event) -> list[str]:
    sender = SqlEventStreamer(database, instance="s").new_sender()
    assert not any(sender.send_many(events, SOON))
    return [event.id for event in events]


def receiver_on(database: Database) -> SqlReceiver:
    receiver = SqlEventStreamer(database, instance="r").new_receiver(["orders-1"], "steps")
    assert isinstance(receiver, SqlReceiver)
    return receiver


def receive(receiver: SqlReceiver, count: int) -> list[Delivery[Event]]:
    """So many, and no more than there are."""
    found: list[Delivery[Event]] = []
    while len(found) < count and (more := receiver.recv_many(500, SOON)):
        found += more
    return found


def ids(deliveries: list[Delivery[Event]]) -> list[str]:
    return [each.event.id for each in deliveries]


def end_epoch(database: Database) -> None:
    database._connections.epochs.end(database.epoch, "the test says so")


@contextmanager
def set_back(database: Database) -> Iterator[None]:
    """What is written within the block is undone at its end, under open connections."""
    tables = [
        table.fullname
        for table in database.tables.metadata.tables.values()
        if table not in (database.tables.records, database.tables.outbox)
    ]
    events = database.tables.events.fullname
    with database.reading("copying") as cursor:
        for table in tables:
            cursor.execute(f"create table {table}_then as select * from {table}")
    yield
    with database.writing("setting back") as writing:
        for table in tables:
            writing.cursor.execute(f"delete from {table}")
            writing.cursor.execute(f"insert into {table} select * from {table}_then")
    with database.reading("numbering") as cursor:
        for table in tables:
            cursor.execute(f"drop table {table}_then")
        # a home that was cleared has no events, and goes on with their numbers
        settled = database.tables.installation.fullname
        cursor.execute(
            f"select 1 + case when last > settled then last else settled end from {settled}"
            f" cross join (select coalesce(max(id), 0) as last from {events}) e"
        )
        [following] = cursor.fetchone()
        if database.dialect.name == "postgresql":
            sequence = f"pg_get_serial_sequence('{events}', 'id')"
            cursor.execute(f"select setval({sequence}, {following}, false)")
        else:
            cursor.execute(f"alter table {events} auto_increment = {following}")


def test_receiver_takes_up_what_comes_after_the_tables_were_set_back(
    one: Database, other: Database, make: Any
) -> None:
    """Under open connections, and there is more by now than there was: the same ids once more.

    Seen to fail with numbers compared alone: the first five were passed over.
    """
    receiver = receiver_on(one)
    send(other, *(make.event() for _ in range(3)))
    receiver.ack(receive(receiver, 3))
    receiver.save()
    with set_back(other):
        send(other, *(make.event() for _ in range(5)))
        receiver.ack(receive(receiver, 5))
        receiver.save()
    new = send(other, *(make.event() for _ in range(7)))
    assert ids(receive(receiver, 7)) == new


def test_cursor_is_not_moved_when_the_tables_were_set_back_before_it_was_saved(
    one: Database, other: Database, make: Any
) -> None:
    """Seen to fail with no look in the transaction that saves."""
    receiver = receiver_on(one)
    with set_back(other):
        send(other, *(make.event() for _ in range(5)))
        lost = receive(receiver, 5)
    new = send(other, make.event())
    receiver.ack(lost)
    receiver.save()
    receiver.close()
    assert ids(receive(receiver_on(other), 1)) == new


def test_receipt_means_nothing_when_another_epoch_has_begun(one: Database, make: Any) -> None:
    """Its event comes again. Seen to fail with receipts and acks kept."""
    receiver = receiver_on(one)
    sent = send(one, make.event(), make.event())
    first, second = receive(receiver, 2)
    receiver.ack([first])  # not saved yet
    end_epoch(one)
    again = receive(receiver, 2)
    receiver.ack([first, second])
    receiver.save()
    end_epoch(one)
    last = receive(receiver, 2)
    assert ids(again) == ids(last) == sent
    receiver.ack(last)
    receiver.save()
    end_epoch(one)
    assert receiver.recv_many(9, NOW) == []


def test_role_is_lost_when_its_grant_went_with_the_server(
    one: Database, woken: Callable[[Callable[[], bool]], bool]
) -> None:
    """Another may have it. Seen to fail with leases believed in: both held it."""
    with SqlRoleScheduler(one, instance="one") as scheduler:
        lost, kept = scheduler.try_acquire("lost"), scheduler.try_acquire("kept")
        assert lost is not None
        assert kept is not None
        with one.reading("giving it to another") as cursor:
            cursor.execute(
                f"update {one.tables.roles.fullname} set session = 'x' where role = 'lost'"
            )
        end_epoch(one)
        assert woken(lambda: lost.lost.wait(PATIENCE))
        assert not kept.lost.is_set()


def test_nothing_is_trimmed_by_cursors_of_an_epoch_before(one: Database, make: Any) -> None:
    """Seen to fail: what nobody had done with any more was deleted."""
    send(one, *(make.event() for _ in range(3)))
    trimming = Trimming(one, NOW)
    up_to = trimming._find()
    assert up_to
    end_epoch(one)
    assert trimming._delete_some(up_to) == 0
    assert not up_to
    assert trimming.trim() == 3


def test_connections_are_given_up_when_the_server_only_reads(one: Database) -> None:
    """It may be the old primary. Seen to fail: the next call asked the same server."""

    def my_id() -> Any:
        with one.reading("asking who I am") as cursor:
            cursor.execute(MY_ID[one.dialect.name])
            return cursor.fetchone()[0]

    before = my_id()
    with (
        pytest.raises(AdapterUnavailableError, match="only reads"),
        one.writing("writing") as writing,
    ):
        writing.cursor.execute(ONLY_READS[one.dialect.name])
    assert my_id() != before


# -- without a server --------------------------------------------------------------------------


def test_epoch_ends_once_whoever_notices() -> None:
    begun: list[int] = []
    epochs = Epochs(lambda: begun.append(epochs.number))
    assert [epochs.met("one"), epochs.met("one")] == [0, 0]
    assert [epochs.met("two"), epochs.met("two")] == [1, 1]
    epochs.end(0, "too late")
    epochs.end(1, "in time")
    epochs.end(1, "too late")
    assert epochs.met("two") == 2
    assert begun == [1, 2]


class FakeConnection:
    """As SQLAlchemy's."""

    connection = SimpleNamespace(dbapi_connection=object())

    def in_transaction(self) -> bool:
        return False


class FakeLine(Line):
    """Leads to a server of the test's choice, as through a pooler."""

    errors = ()

    def __init__(self, quiet: socket.socket) -> None:
        self.leads_to = "one"
        self.opened = 0
        self._quiet = quiet

    def open(self) -> Any:
        self.opened += 1
        return FakeConnection()

    def socket(self, driver: Any) -> int:
        return self._quiet.fileno()

    def server(self, driver: Any) -> str:
        return self.leads_to

    def ask(self, driver: Any) -> Told:
        return Told(0, self.leads_to)

    def begin(self, driver: Any, patience: timedelta) -> Told:
        return Told(0, self.leads_to)

    def commit(self, driver: Any) -> None:
        pass

    def rollback(self, driver: Any) -> None:
        pass

    def in_transaction(self, driver: Any) -> bool:
        return True

    def is_sound(self, driver: Any) -> bool:
        return True


@pytest.fixture
def line() -> Iterator[FakeLine]:
    with socket.socket(type=socket.SOCK_DGRAM) as quiet:
        yield FakeLine(quiet)


def test_epoch_is_another_when_a_pooler_leads_to_another_server(line: FakeLine) -> None:
    """The connection stays the same. Seen to fail with servers asked only when it is opened."""
    connections = ServerConnections(line, size=1, patience=SOON)
    for server, epoch in (("one", 0), ("one", 0), ("two", 1), ("two", 1)):
        line.leads_to = server
        begun = connections.begin(SOON, urgent=False)
        connections.end(begun.connection, commit=True)
        assert begun.epoch == connections.epochs.number == epoch
    assert line.opened == 1


@pytest.mark.parametrize(("has_one_server", "opened"), [(True, 3), (False, 2)])
def test_connections_to_several_servers_are_kept_where_there_may_be_several(
    line: FakeLine, has_one_server: bool, opened: int
) -> None:
    """As behind the address of replicas. Seen to fail: each made the others be opened anew."""
    connections = ServerConnections(line, size=2, patience=SOON)
    connections.has_one_server = has_one_server
    with connections.reading():
        line.leads_to = "two"
        with connections.reading():
            pass
    with connections.reading(), connections.reading():
        assert line.opened == opened
