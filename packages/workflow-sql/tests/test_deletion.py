"""After the deletion of a run's data no byte of it is left in the files of the database."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from workflow_core import Engine, Retry, Run, RunState, RunView, Workflow
from workflow_core.discovery import Adapters, embedded
from workflow_core.model import OutboxEvent, names
from workflow_core.ports import AdapterContext
from workflow_core.testing import Driver, FakeClock
from workflow_sql import (
    Database,
    History,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlTimeoutStore,
)

SECRET = "4111-1111-1111-1111"
PATIENCE = timedelta(seconds=60)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Status(IntEnum):
    CREATED = 1
    CHECKED = 2
    DONE = 3


@dataclass
class Order:
    card: str
    looks: int = 0


orders = Workflow("orders", Order, Status, ends=(Status.DONE,))


@orders.step(Status.CREATED, retry=Retry(first=timedelta(milliseconds=1)))
def check(run: Run[Order, Status]) -> Literal[Status.CHECKED]:
    if run.attempt < 3:
        raise ValueError(f"card {run.data.card} refused")
    run.data.looks += 1
    return Status.CHECKED


@orders.step(Status.CHECKED)
def finish(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@orders.timeout(Status.CHECKED, after=timedelta(days=1))
def give_up(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@orders.on_complete(retry=Retry(first=timedelta(milliseconds=1), pause_after=2))
def tell(view: Any) -> None:
    raise ValueError(f"nobody to be told of {view.data.card}")


def test_no_file_holds_the_payload_of_a_run_whose_data_was_deleted(tmp_path: Path) -> None:
    """Its data in each version, the errors of its attempts, of its dead letter, its reasons.

    Seen to fail without the emptying of the record, and of its dead letters.
    """
    overrides = {"adapters.sql.history": "with_data"}
    config = embedded(tmp_path / "orders.db", overrides=overrides)
    with Engine(config.build()) as engine, engine.serving(orders):
        run_id = engine.trigger(orders, "order-1", Order(SECRET * 50))
        engine.wait_until_ended(orders, run_id, timeout=PATIENCE)
        while not engine.dead_letters(orders).items:
            engine.wait_until_ended(orders, run_id, timeout=PATIENCE)
        assert files_with_secret(tmp_path)  # else the search finds nothing anywhere
        engine.delete_data(orders, run_id, who="ada", why="ticket 7")
        (record,) = [r for r in engine.history(run_id) if r.state is RunState.DATA_DELETED]
        assert record.data in (None, b"")
        assert files_with_secret(tmp_path) == []
    assert files_with_secret(tmp_path) == []


def files_with_secret(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if SECRET.encode() in file.read_bytes()]


# -- planted wherever the engine can leave it ------------------------------------------------------


sales = Workflow(
    "sales", Order, Status, ends=(Status.DONE,), search={"card": lambda order: order.card}
)


@sales.step(Status.CREATED)
def accept(run: Run[Order, Status]) -> Literal[Status.CHECKED]:
    if run.data.looks == 0 and run.attempt == 1:
        raise ValueError(f"card {run.data.card} refused")
    return Status.CHECKED


@sales.step(Status.CHECKED, retry=Retry(first=30 * DAY, maximum=30 * DAY))
def charge(run: Run[Order, Status]) -> Literal[Status.DONE]:
    raise ValueError(f"card {run.data.card} is empty")


@sales.timeout(Status.CHECKED, after=MINUTE, retry=Retry(first=DAY, maximum=DAY))
def remind(run: Run[Order, Status]) -> Literal[Status.DONE]:
    raise ValueError(f"the owner of {run.data.card} has no address")


@sales.on_cancel(retry=Retry(pause_after=1))
def refund(view: RunView[Order, Status]) -> None:
    raise ValueError(f"card {view.data.card} takes nothing back")


mails = Workflow("mails", Order, Status, ends=(Status.DONE,))


@mails.step(Status.CREATED)
def send(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@mails.follow(sales, retry=Retry(pause_after=1))
def write(view: RunView[Order, Status]) -> None:
    raise ValueError(f"card {view.data.card} is nobody's")


class House:
    """One SQLite file with a history of data, and an engine on it that a driver drives."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock = FakeClock()
        self.database = Database(f"sqlite:///{file}", clock=self.clock)
        self.engine = Engine(self._adapters("first"), clock=self.clock, entropy=random.Random(0))
        self.driver = Driver(self.engine, clock=self.clock)
        without_timers = replace(self._adapters("client"), timeout_store=None)
        client = Engine(without_timers, clock=self.clock, entropy=random.Random(1))
        self.client = self.driver.add(client)

    def _adapters(self, instance: str) -> Adapters:
        database = self.database
        return Adapters(
            record_store=SqlRecordStore(database, history=History.WITH_DATA),
            event_streamer=SqlEventStreamer(database, instance=instance),
            role_scheduler=SqlRoleScheduler(database, instance=instance),
            timeout_store=SqlTimeoutStore(database),
            context=AdapterContext(instance=instance, clock=self.clock),
        )

    def sell(self) -> str:
        """A run that leaves the secret in each place, cancelled at last.

        By a client that knows no timeout store, so that the timer stays for now.
        """
        headers = {"card": SECRET}
        run_id = self.engine.trigger(sales, "sale-1", Order(SECRET), headers=headers)
        self.driver.advance(2 * MINUTE)
        self.client.cancel(run_id, who="bob", reason=f"{SECRET} is stolen")
        self.driver.run()
        return run_id

    def tables_with_secret(self) -> set[str]:
        """Those that hold it in any column of any row."""
        with closing(sqlite3.connect(self.file)) as connection:
            tables = connection.execute("select name from sqlite_master where type = 'table'")
            rows = {name: connection.execute(f"select * from {name}") for (name,) in tables}
            found = {name for name, held in rows.items() if SECRET in repr(held.fetchall())}
        return {name.removeprefix("workflow_") for name in found}

    def letters_with_secret(self) -> set[tuple[str, str]]:
        """Workflow and place of each dead letter that holds it: its error, or what it is about."""
        found = set()
        with closing(sqlite3.connect(self.file)) as connection:
            for workflow in ("sales", "mails"):
                letters = connection.execute(
                    "select last_error, data from workflow_records where workflow = ?",
                    (names.dead_letters(workflow),),
                )
                for error, data in letters:
                    found |= {(workflow, "error")} if SECRET in error else set()
                    found |= {(workflow, "event")} if SECRET.encode() in bytes(data) else set()
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "sales.db")
    yield house
    house.driver.close()
    house.database.close()


PLACES = {"records", "history", "outbox", "events", "timers", "search"}


def test_payload_is_gone_from_every_table_that_held_it(house: House) -> None:
    """The outbox keeps the next try, the stream what was published, each with its headers.

    Seen to fail without the erasure of each: the outbox, the events, headers in dead letters; and
    the search in the bytes of the files without the cutting of the log of pages.
    """
    house.driver.serve(sales, mails)
    run_id = house.sell()
    assert house.tables_with_secret() == PLACES, "else nothing is shown"
    letters = {(flow, place) for flow in ("sales", "mails") for place in ("error", "event")}
    assert house.letters_with_secret() == letters
    house.engine.delete_data(sales, run_id, who="ada", why="ticket 7")
    assert house.tables_with_secret() == set()
    assert files_with_secret(house.file.parent) == []
    house.driver.advance(11 * MINUTE)  # a round of all that is looked after
    assert house.tables_with_secret() == set(), "nothing of what goes on brings it back"
    house.driver.close()
    house.database.close()
    assert files_with_secret(house.file.parent) == []


def test_receipt_names_every_place_and_what_cannot_be_reached(house: House) -> None:
    """Seen to fail without the event table's part."""
    house.driver.serve(sales, mails)
    receipt = house.engine.delete_data(sales, house.sell(), who="ada")
    assert receipt.erased == [
        "the record: data, errors, reasons, headers",
        "its history: data, errors and reasons",
        "its search attributes",
        "its events in the outbox: headers",
        "its timers: errors",
        "free pages of the database's file, where it is one (SQLite)",
        "its published events: headers",
        "dead letters about it: errors and headers",
        "dead letters of mails, which follows it: errors and headers",
    ]
    assert receipt.remains == [
        "the database's replicas and backups; where it is a server, its logs, and dead rows until"
        " they are vacuumed or purged",
        "its foreign id in published events, until they are trimmed",
        "errors and headers in dead letters of workflows that follow it and are not declared in"
        " this process, until processes that serve those come to it, each ten minutes or so",
        "what was logged or sent elsewhere",
    ]


def test_receipt_tells_of_a_reader_that_keeps_the_log_of_pages(house: House) -> None:
    """And once it has ended, the same call leaves nothing."""
    house.driver.serve(sales, mails)
    run_id = house.sell()
    reader = sqlite3.connect(house.file, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from workflow_records").fetchall()
    receipt = house.engine.delete_data(sales, run_id, who="ada")
    assert "pages in the write-ahead log, until a long read has ended" in receipt.remains
    assert files_with_secret(house.file.parent) != []
    reader.close()
    again = house.engine.delete_data(sales, run_id, who="ada")
    assert not any("write-ahead" in place for place in again.remains)
    assert files_with_secret(house.file.parent) == []


# -- on servers ------------------------------------------------------------------------------------


def test_events_and_outbox_of_one_run_alone_are_emptied(home: Any, make: Any) -> None:
    """And what was claimed before is gone under its id. Seen to fail where the ids stayed."""
    with home.open() as database:
        store, stream = SqlRecordStore(database), SqlEventStreamer(database, instance="first")
        records = [make.record(headers={"card": SECRET}) for _ in range(2)]
        events = [make.event(record, headers={"card": SECRET}) for record in records]
        assert stream.new_sender().send_many(events, PATIENCE) == [None, None]
        delayed = [make.event(record, headers={"card": SECRET}) for record in records]
        store.add_outbox_events([OutboxEvent(event=event) for event in delayed])
        erased = records[0].run_id
        for _ in range(2):
            store.erase_copies(erased)
            stream.erase_copies(erased, ["orders-1", "orders-2"])
        receiver = stream.new_receiver(["orders-1"], "steps")
        published = [receiver.recv(PATIENCE), receiver.recv(PATIENCE)]
        filed = store.list_outbox_events(["orders"], limit=9)
        for found in ([each.event for each in published if each], [each.event for each in filed]):
            headers = {event.run_id: dict(event.headers) for event in found}
            assert headers == {erased: {}, records[1].run_id: {"card": SECRET}}
        assert delayed[1].id in {each.id for each in filed}
        with store.transaction() as transaction:
            ours = transaction.delete_outbox_events([event.id for event in delayed])
        assert list(ours) == [delayed[1].id]
