"""What an engine asks of its adapters while there is nothing to do."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import pytest
from workflow_core import Engine, Run, Workflow
from workflow_core.discovery import in_memory
from workflow_core.model import Event
from workflow_core.ports import Receiver

LIMIT = timedelta(seconds=60)
QUIET = 0.5  # seconds without an operation: it has come to rest
WINDOW = 10.0  # seconds of rest that are measured
FEW = 5 * WINDOW  # statements
# Waits that end by themselves after a while, and a look at a number; no work for any service.
NO_OPERATIONS = {"acquire", "recv_many", "outbox_changed"}


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Nothing:
    pass


class Operations:
    """Those of all threads, in order."""

    def __init__(self) -> None:
        self._all: list[str] = []
        self._more = threading.Condition()

    def note(self, operation: str) -> None:
        with self._more:
            self._all.append(operation)
            self._more.notify_all()

    def come_to_rest(self) -> None:
        """Wait until there has been none for a moment; fails where there is never such a moment."""
        end = time.monotonic() + LIMIT.total_seconds()
        with self._more:
            while self._more.wait(QUIET):
                assert time.monotonic() < end, f"it never rests: {self._all[-50:]}"

    def at_rest(self, report: Callable[[str, Any], None]) -> list[str]:
        """Those of the next few seconds; tells the process's CPU time in them."""
        self.come_to_rest()
        with self._more:
            begin, used = len(self._all), time.process_time()
            self._more.wait_for(lambda: False, WINDOW)
            used = time.process_time() - used
            made = self._all[begin:]
        percent = f"{used / WINDOW:.2%}"
        print(f"at rest: {percent} of a core, {made}")
        report("CPU at rest", percent)
        report("operations at rest", len(made))
        return made


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture
def counted_sqlite(operations: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection tells its statements, but for the look whether anybody has committed."""
    connect = sqlite3.connect

    def note(statement: str) -> None:
        if statement != "pragma data_version":
            operations.note(statement)

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(note)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)


def serve_once(engine: Engine) -> Iterator[None]:
    """A served engine that has done some work."""
    flow = Workflow("idle", Nothing, Status, ends=(Status.DONE,))

    @flow.step(Status.BEGUN)
    def end(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    with engine, engine.serving(flow):
        run_id = engine.trigger(flow, "once", Nothing())
        engine.wait_for(flow, run_id, Status.DONE, LIMIT)
        yield


@pytest.fixture
def served_on_sqlite(counted_sqlite: None, tmp_path: Path) -> Iterator[None]:
    yield from serve_once(Engine.embedded(tmp_path / "idle.db"))


@pytest.fixture
def served_in_memory(operations: Operations) -> Iterator[None]:
    """Each call of the record store, the streamer, its receivers and the scheduler is told."""
    adapters = in_memory().build()
    for adapter in (adapters.record_store, adapters.event_streamer, adapters.role_scheduler):
        tell_calls(adapter, operations)
    tell_calls_of_receivers(adapters.event_streamer, operations)
    yield from serve_once(Engine(adapters))


def tell_calls(adapter: Any, operations: Operations) -> None:
    for name in dir(type(adapter)):
        method = getattr(adapter, name, None)
        if name[0] != "_" and callable(method) and name not in NO_OPERATIONS:
            setattr(adapter, name, told(method, operations))


def tell_calls_of_receivers(streamer: Any, operations: Operations) -> None:
    open_receiver: Callable[..., Receiver[Event]] = streamer.new_receiver

    def new_receiver(*arguments: Any, **options: Any) -> Receiver[Event]:
        receiver = open_receiver(*arguments, **options)
        tell_calls(receiver, operations)
        return receiver

    streamer.new_receiver = new_receiver


def told(method: Callable[..., Any], operations: Operations) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        operations.note(method.__name__)
        return method(*arguments, **options)

    return call


def test_engine_makes_few_statements_on_sqlite_when_at_rest(
    served_on_sqlite: None,
    operations: Operations,
    record_property: Callable[[str, Any], None],
) -> None:
    """Seen to fail when the relay asks for what is due twenty times a second.

    And when the record store did not say that it tells of changes: it was asked each second.
    """
    made = operations.at_rest(record_property)
    assert len(made) < FEW
    looks = [statement for statement in made if statement.startswith("select min(hidden_until)")]
    # after each commit, and once in five seconds anyway; one commit may have been before
    assert len(looks) <= made.count("commit") + 2


def test_engine_asks_nothing_of_memory_when_at_rest(
    served_in_memory: None,
    operations: Operations,
    record_property: Callable[[str, Any], None],
) -> None:
    """Seen to fail when the relay asks for what is due twenty times a second.

    And when a process says with each poll that it is there.
    """
    # once in five seconds the relay looks by itself: a wake-up is quick, polling makes it sure
    made = operations.at_rest(record_property)
    assert set(made) <= {"next_outbox_due", "now", "transaction"}
    assert made.count("next_outbox_due") <= WINDOW / 5 + 2
    # a beat is due once a minute, and once where it has other roles to tell of
    assert made.count("transaction") <= 2
