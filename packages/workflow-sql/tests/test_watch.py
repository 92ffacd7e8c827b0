"""Who looks after a commit: one of those who wait, and not who has committed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
from workflow_sql.horizon import Marks
from workflow_sql.watch import Watch

LIMIT = 60.0


class Table:
    """What was committed, and who has looked at it. Its pulse tells of nothing by itself."""

    knows_all = False
    rhythm = (600.0, 600.0)

    def __init__(self) -> None:
        self.events = 0
        self.lookers: list[str] = []

    def pulse(self) -> int:
        return self.events

    def attend(self) -> None:
        pass

    def read(self) -> Marks:
        self.lookers.append(threading.current_thread().name)
        return Marks(self.events, 0)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def watch(table: Table) -> Iterator[Watch]:
    watch = Watch(table, table.read, lambda: False, lambda doing: nullcontext())
    yield watch
    watch.close()


Wait = Callable[[str, int], threading.Thread]


@pytest.fixture
def wait_for(watch: Watch) -> Iterator[Wait]:
    """A thread of this name that waits until so many events are there."""
    threads: list[threading.Thread] = []

    def start(name: str, events: int) -> threading.Thread:
        waits = threading.Event()

        def is_there() -> bool:
            waits.set()
            return watch.marks.events >= events

        thread = threading.Thread(target=lambda: watch.wait(is_there, 10 * LIMIT), name=name)
        thread.start()
        threads.append(thread)
        assert waits.wait(LIMIT)
        return thread

    yield start
    watch.close()
    for thread in threads:
        thread.join(LIMIT)


def test_one_of_those_who_wait_looks_and_wakes_all(
    table: Table, watch: Watch, wait_for: Wait
) -> None:
    """Seen to fail when who had committed looked: it went on a round trip later."""
    waiting = [wait_for(f"receiver {number}", 1) for number in range(3)]
    table.events = 1
    watch.stir()
    assert "MainThread" not in table.lookers
    for thread in waiting:
        thread.join(LIMIT)
        assert not thread.is_alive()
    receivers = [name for name in table.lookers if name.startswith("receiver")]
    assert len(receivers) == 1


def test_nobody_looks_where_nobody_waits(table: Table, watch: Watch) -> None:
    """Such as in a client. Seen to fail when each commit was followed by a look."""
    for _ in range(10):
        table.events += 1
        watch.stir()
    assert table.lookers == []


def test_who_waits_afterwards_looks_at_once(table: Table, watch: Watch, wait_for: Wait) -> None:
    """Seen to fail when a commit that found nobody waiting was forgotten."""
    table.events = 1
    watch.stir()
    thread = wait_for("receiver", 1)
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_wait_goes_on_where_a_look_finds_nothing_for_it(
    table: Table, watch: Watch, wait_for: Wait
) -> None:
    """Seen to fail when a stirred call returned, whatever it had found."""
    thread = wait_for("receiver", 2)
    table.events = 1
    watch.stir()
    while "receiver" not in table.lookers:
        thread.join(0.01)
    assert thread.is_alive()
    table.events = 2
    watch.stir()
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_stirred_is_a_call_and_not_the_thread_that_looks_besides(
    table: Table, watch: Watch, wait_for: Wait
) -> None:
    """Seen to fail when both waited for the same word: it went to who had waited longest."""
    waits = threading.Event()

    def never() -> bool:
        waits.set()
        return False

    short = threading.Thread(target=lambda: watch.wait(never, 0.3))
    short.start()  # as the roles do: it begins before the thread, and ends before the receiver
    assert waits.wait(LIMIT)
    receiver = wait_for("receiver", 1)
    short.join(LIMIT)
    table.events = 1
    watch.stir()
    receiver.join(LIMIT)
    assert not receiver.is_alive()
