"""What only several processes can show."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from workflow_core.ports import Write
from workflow_sql import Database, SqlEventStreamer, SqlRecordStore

SOON = timedelta(seconds=30)
MINUTES = timedelta(minutes=10)

PRELUDE = """
    import sys
    from datetime import timedelta
    from workflow_core.model import Event, Record, RunState
    from workflow_core.ports import Write
    from workflow_sql import Database, SqlEventStreamer, SqlRecordStore

    def event(number):
        return Event(id=f"e{number}", topic="orders-1", workflow="orders", run_id=f"run-{number}",
                     foreign_id=f"f{number}", status=1, state=RunState.INITIATED, version=1)

    def record(number):
        return Record(workflow="orders", foreign_id=f"f{number}", run_id=f"run-{number}", status=1,
                      state=RunState.INITIATED, version=1, write_id=f"w{number}", data=b"{}")

    database = Database(sys.argv[1])
    store = SqlRecordStore(database)
    streamer = SqlEventStreamer(database, instance="child")
"""

DIES_IN_A_TRANSACTION = (
    PRELUDE
    + """
    with store.transaction() as transaction:
        transaction.store_many([Write(record=record(n)) for n in range(200)])
        streamer.send_within(transaction, [event(n) for n in range(200)])
        print("written", flush=True)
        sys.stdin.readline()
"""
)

SENDS_WHEN_TOLD = (
    PRELUDE
    + """
    print("ready", flush=True)
    for line in sys.stdin:
        streamer.new_sender().send(event(int(line)))
"""
)

WRITES_IN_BATCHES = (
    PRELUDE
    + """
    first = int(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    for start in range(first, first + 200, 10):
        numbers = range(start, start + 10)
        with store.transaction() as transaction:
            assert transaction.store_many([Write(record=record(n)) for n in numbers]) == [None] * 10
            streamer.send_within(transaction, [event(n) for n in numbers])
    database.close()
    print("done", flush=True)
"""
)


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_nothing_is_left_of_a_transaction_when_its_process_is_killed(
    open_database: Callable[..., Database], path: Path, child: Callable[..., Any], make: Any
) -> None:
    """Seen to fail with the child's work committed before it is killed."""
    database = open_database(lock_timeout=SOON)
    killed = child(DIES_IN_A_TRANSACTION, url(path))
    assert killed.hear() == "written"
    killed.kill()
    store, streamer = SqlRecordStore(database), SqlEventStreamer(database, instance="i")
    assert store.lookup_many([f"run-{number}" for number in range(200)]) == {}
    record = make.record()
    store.store(Write(record=record))  # the lock went with the process
    receiver = streamer.new_receiver(["orders-1"], "steps")
    assert receiver.recv_many(500, timedelta(0)) == []
    receiver.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_receiver_wakes_when_another_process_sends(
    open_database: Callable[..., Database],
    path: Path,
    child: Callable[..., Any],
    woken: Callable[..., Any],
) -> None:
    """One after the other, so that each is a wake-up of its own. Seen to fail without the pulse."""
    streamer = SqlEventStreamer(open_database(), instance="i")
    receiver = streamer.new_receiver(["orders-1"], "steps")
    sender = child(SENDS_WHEN_TOLD, url(path))
    assert sender.hear() == "ready"
    for number in range(5):
        sender.say(str(number))
        (delivery,) = woken(lambda: receiver.recv_many(10, MINUTES))
        assert delivery.event.id == f"e{number}"
        receiver.ack([delivery])
    assert sender.end() == 0


def test_two_processes_write_in_turns_and_a_third_receives_all(
    open_database: Callable[..., Database], path: Path, child: Callable[..., Any]
) -> None:
    streamer = SqlEventStreamer(open_database(), instance="i")
    receiver = streamer.new_receiver(["orders-1"], "steps")
    writers = [child(WRITES_IN_BATCHES, url(path), str(first)) for first in (0, 200)]
    for writer in writers:
        assert writer.hear() == "ready"
    for writer in writers:
        writer.say("go")
    seen: list[str] = []
    while len(seen) < 400:
        batch = receiver.recv_many(50, SOON)
        assert batch, f"{len(seen)} came, then none any more"
        seen += [delivery.event.id for delivery in batch]
        receiver.ack(batch)
    assert sorted(seen) == sorted(f"e{number}" for number in range(400)), "each of them once"
    for writer in writers:
        assert writer.hear() == "done"
        assert writer.end() == 0
