"""Several processes, forked ones, killed ones, and servers that stand still."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from workflow_adaptertest.servers import Server
from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_reflex import ReflexEventStreamer
from workflow_reflex.ways import mysql, postgres

NOW = timedelta(0)
SOON = timedelta(seconds=30)
Open = Callable[..., ReflexEventStreamer]

DIES_WITHIN_A_TRANSACTION = """
    import sys
    from sqlalchemy import create_engine, text

    with create_engine(sys.argv[1]).connect() as connection:
        connection.execute(
            text(
                f"insert into {sys.argv[2]} (foreign_id, timestamp, type)"
                " values ('k', '2026-01-01 00:00:00', 1)"
            )
        )
        print("written", flush=True)
        sys.stdin.readline()
"""


def receiver_of(streamer: ReflexEventStreamer, name: str = "steps") -> Any:
    return streamer.new_receiver(["orders-1"], name)


def ids(deliveries: Any) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


def test_event_of_a_killed_process_is_waited_for_and_its_id_filled(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(home)
    receiver = receiver_of(streamer)
    tools.send(streamer, before := make.event())
    url = home.engine.url.render_as_string(hide_password=False)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DIES_WITHIN_A_TRANSACTION), url, home.events],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "written"
        tools.send(streamer, after := make.event())
        assert ids(tools.received(receiver, 1)) == [before.id]
        assert receiver.recv_many(9, NOW) == []
        child.kill()
        child.wait()
    assert ids(tools.received(receiver, 1)) == [after.id]
    assert home.noops() == [2]


def test_event_of_another_process_wakes_who_waits(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    receiver = receiver_of(open_streamer(any_home))
    other = open_streamer(any_home)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(receiver.recv(timedelta(minutes=10))))
    waiting.start()
    tools.send(other, sent := make.event())
    waiting.join(30)
    assert ids(got) == [sent.id]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to test without fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_child_has_connections_of_its_own(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """While a thread of the parent's looks, and others write.

    Seen to fail with the parent's connections used on: answers of one came to the other.
    """
    streamer = open_streamer(any_home)
    receiver = receiver_of(streamer)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            tools.send(streamer, make.event(topic="others-1"))

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    mine = [make.event() for _ in range(4)]
    got: list[Any] = []
    for event in mine:
        got += receiver.recv_many(9, timedelta(milliseconds=150))  # the thread is there
        child = os.fork()
        if not child:
            try:
                try:
                    receiver.recv(NOW)
                    os._exit(2)  # it is the parent's
                except ClosedError:
                    pass
                tools.send(streamer, event)
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ended.set()
    for writer in writers:
        writer.join(30)
    got += tools.received(receiver, len(mine) - len(got))
    assert set(ids(got)) == {event.id for event in mine}


def test_calls_end_when_the_server_stands_still(
    home: Any,
    open_streamer: Open,
    make: Any,
    tools: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail on PostgreSQL with the server's own time limits alone: it never came back."""
    for ways in (mysql, postgres):
        monkeypatch.setattr(ways, "GRACE", 1.0)
    name = home.engine.dialect.name
    server: Server = request.getfixturevalue(
        f"{'postgres' if name == 'postgresql' else name}_server"
    )
    streamer = open_streamer(home, statement_timeout=timedelta(seconds=1))
    receiver = receiver_of(streamer)
    first, second = make.event(), make.event()
    tools.send(streamer, first)
    assert ids(tools.received(receiver, 1)) == [first.id]
    told: list[type[BaseException]] = []

    def call(what: Callable[[], object]) -> None:
        try:
            what()
        except AdapterUnavailableError as error:
            told.append(type(error))

    with ExitStack() as frozen:
        server.freeze()
        frozen.callback(server.thaw)
        calls = [
            lambda: streamer.new_sender().send(second),
            lambda: receiver.recv(NOW),
            streamer.check_health,
        ]
        threads = [threading.Thread(target=call, args=(each,), daemon=True) for each in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        assert told == [AdapterUnavailableError] * 3
    end = time.monotonic() + 60
    while True:  # as a relay does
        try:
            tools.send(streamer, second)
            break
        except AdapterUnavailableError:
            assert time.monotonic() < end
    assert second.id in ids(tools.received(receiver, 1))
