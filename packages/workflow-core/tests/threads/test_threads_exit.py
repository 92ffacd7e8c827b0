"""The end of the interpreter: prompt whatever still runs, in order when a signal asks for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

PATIENCE = 60.0  # seconds; only a hang takes that long

PROGRAM = """
import asyncio, logging, sys, threading
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal
from workflow_core import Engine, Run, Workflow

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

class Status(IntEnum):
    SYNC = 1
    ASYNC = 2
    QUICK = 3
    DONE = 4

@dataclass
class Data:
    number: int = 0

flow = Workflow("ending", Data, Status, ends=(Status.DONE,),
                starts=(Status.SYNC, Status.ASYNC, Status.QUICK))
begun = threading.Semaphore(0)

@flow.step(Status.SYNC)
def sync(run: Run[Data, Status]) -> Literal[Status.DONE]:
    begun.release()
    threading.Event().wait()
    return Status.DONE

@flow.step(Status.ASYNC)
async def asynchronous(run: Run[Data, Status]) -> Literal[Status.DONE]:
    begun.release()
    await asyncio.Event().wait()
    return Status.DONE

@flow.step(Status.QUICK)
def quick(run: Run[Data, Status]) -> Literal[Status.DONE]:
    return Status.DONE

def block() -> None:
    for status in (Status.SYNC, Status.ASYNC):
        engine.trigger(flow, status.name, Data(), status=status)
        begun.acquire()

engine = Engine.in_memory()
"""


def ended(code: str) -> subprocess.CompletedProcess[str]:
    """The program with this at its end, after it has run."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_interpreter_exits_when_bodies_never_end_and_nothing_was_stopped() -> None:
    """Seen to fail with threads that are no daemons."""
    child = ended("engine.serving(flow).start(); block(); sys.exit(3)")
    assert child.returncode == 3, child.stdout + child.stderr
    assert child.stderr == ""


def test_interpreter_exits_when_coroutines_asked_for_errands() -> None:
    """Seen to fail with errands in threads that are no daemons."""
    child = ended(
        """
engine.serving(flow).start()
engine._core.store.lookup_many = lambda *args, **more: threading.Event().wait()
async def main():
    asyncio.create_task(engine.aio.view(flow, "run"))
    await asyncio.sleep(0.05)
try:
    asyncio.run(main())
finally:
    sys.exit(3)
"""
    )
    assert child.returncode == 3, child.stdout + child.stderr


def test_context_exits_in_order_when_bodies_never_end() -> None:
    child = ended(
        """
with engine:
    serving = engine.serving(flow).start()
    block()
    left = serving.stop(timedelta(0))
assert sorted(name.split(" of ")[0] for name in left) == [
    "ending: step asynchronous", "ending: step sync"], left
sys.exit(3)
"""
    )
    assert child.returncode == 3, child.stdout + child.stderr


Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """The program with this at its end, running; it has said "ready"."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(child)
        read_until(child, "ready")
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def read_until(child: subprocess.Popen[str], words: str) -> None:
    assert child.stdout is not None
    seen = ""
    for line in child.stdout:
        if words in line:
            return
        seen += line
    raise AssertionError(f"{words!r} was never said, but:\n{seen}")


SIGNALS = [signal.SIGTERM, signal.SIGINT]
SERVE = """
import signal, time

def tell_when_ready():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.01)
    print("ready")

with engine:
    serving = engine.serving(flow)
    with serving:
        {begin}
        threading.Thread(target=tell_when_ready, daemon=True).start()
        left = serving.run_until_signalled()
        print("left", left)
sys.exit(3)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_stops_in_order_when_it_is_waited_for(start: Start, number: signal.Signals) -> None:
    child = start(SERVE.format(begin="engine.trigger(flow, 'quick', Data(), status=Status.QUICK)"))
    child.send_signal(number)
    output, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == 3, output
    assert "left []" in output
    assert number.name in output


@pytest.mark.parametrize("number", SIGNALS)
def test_second_signal_ends_at_once_when_the_stop_waits(
    start: Start, number: signal.Signals
) -> None:
    """Seen to fail when the handlers stayed: the stop waited for all of its grace."""
    child = start(SERVE.format(begin="block()"))
    child.send_signal(signal.SIGTERM)
    read_until(child, "again to end at once")
    child.send_signal(number)
    output, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == -number, output


def test_handlers_are_as_before_when_the_serving_was_stopped_by_another_thread() -> None:
    child = ended(
        """
import signal
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
with engine:
    serving = engine.serving(flow).start()
    threading.Timer(0.05, serving.stop).start()
    assert serving.run_until_signalled() == []
assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
sys.exit(3)
"""
    )
    assert child.returncode == 3, child.stdout + child.stderr
