"""Engines within somebody else's process: forked, not closed at its end, many at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core import Engine, RecordQuery, Run, Trigger, Workflow
from workflow_core.engine.runtime import ThreadRuntime
from workflow_core.engine.step_transaction import lent
from workflow_core.errors import ClosedError, ServingError

if TYPE_CHECKING:
    from tests.embedding.conftest import InChild, Open, Settings

pytestmark = pytest.mark.filterwarnings(  # what is said of it from 3.12 on is what is tested here
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
LONG = timedelta(seconds=60)  # only a hang takes that long
ALL = RecordQuery()


class Status(IntEnum):
    BEGUN = 1
    WAITING = 2
    DONE = 3


@dataclass
class Parcel:
    word: str = ""


parcels = Workflow("parcels", Parcel, Status, ends=(Status.DONE,))


@parcels.step(Status.BEGUN)
def begin(run: Run[Parcel, Status]) -> Literal[Status.WAITING]:
    return Status.WAITING


@parcels.callback(Status.WAITING)
async def told(run: Run[Parcel, Status], word: str) -> Literal[Status.DONE]:
    run.data.word = word
    return Status.DONE


def take_through(engine: Engine, name: str) -> None:
    """All that a client does for a run: begin it, wait, call back, wait for its end, look."""
    run_id = engine.trigger(parcels, name, Parcel())
    engine.wait_for(parcels, run_id, Status.WAITING, LONG)
    engine.callback(told, run_id, name)
    engine.wait_until_ended(parcels, run_id, LONG)
    seen = asyncio.run(engine.aio.view(parcels, run_id))
    assert seen.data.word == name


def test_parents_engine_is_a_client_in_the_child(
    settings: Settings, open_engine: Open, in_child: InChild
) -> None:
    """Its threads run and its connections are in use when it forks, and the parent serves on."""
    engine = open_engine(settings)

    def work() -> None:
        take_through(engine, "childs")
        engine.close()

    with engine.serving(parcels) as serving:
        take_through(engine, "parents")
        assert in_child(work) == 0
        take_through(engine, "parents again")
        assert serving.roles


def test_client_is_one_in_each_of_several_children_at_once(
    settings: Settings, open_engine: Open, in_child: InChild
) -> None:
    """As behind a preload: the parent only made it, or triggered once, and never serves."""
    client, server = open_engine(settings), open_engine(settings)
    client.trigger(parcels, "warming up", Parcel())
    with server.serving(parcels):
        codes: list[int] = []

        def child(name: str) -> None:
            codes.append(in_child(lambda: take_through(client, name)))

        children = [threading.Thread(target=child, args=(f"child {at}",)) for at in range(3)]
        for thread in children:
            thread.start()
        for thread in children:
            thread.join()
        assert codes == [0, 0, 0]
        take_through(client, "parents")


def test_child_does_not_serve_and_stops_nothing_of_the_parents(
    settings: Settings, open_engine: Open, in_child: InChild
) -> None:
    """Seen to fail without the checks: the child waited for ever for its parent's threads."""
    engine = open_engine(settings)

    def work() -> None:
        with pytest.raises(ServingError, match="forked") as refused:
            engine.serving(parcels)
        assert "after the fork" in refused.value.hint
        with pytest.raises(ServingError, match="forked"):
            serving.start()
        assert serving.stop() == []  # as by leaving a `with` that the child was made in
        assert engine.processes() == []
        engine.close()

    with engine.serving(parcels) as serving:
        take_through(engine, "before")
        assert in_child(work) == 0
        take_through(engine, "after")


def test_engine_made_in_the_child_serves_though_the_parent_does(
    settings: Settings, open_engine: Open, in_child: InChild
) -> None:
    parent = open_engine(settings)

    def work() -> None:
        with (
            Engine.from_config(environ={}, overrides=settings) as engine,
            engine.serving(parcels),
        ):
            take_through(engine, "childs")

    with parent.serving(parcels):
        take_through(parent, "parents")
        assert in_child(work) == 0
        take_through(parent, "parents again")


def test_no_lock_is_inherited_held(
    settings: Settings, open_engine: Open, in_child: InChild
) -> None:
    """Each lock of the engine is held by another thread at the fork, as one of them may be.

    Seen to fail (to hang) with any of them not made anew.
    """
    engine = open_engine(settings)
    assert isinstance(engine._runtime, ThreadRuntime)

    def work() -> None:
        codes.append(in_child(lambda: _as_client(engine)))

    codes: list[int] = []
    with engine.serving(parcels):
        take_through(engine, "parents")
        locks: list[Any] = [
            engine._lock,
            engine._core.crew._lock,
            engine._waiter._news,
            engine._core.journal.gathering._lock,
            engine._callback_lock,
            engine._runtime._errands._lock,
            engine._adapters.context._lock,
        ]
        if engine._core.publisher is not None:
            locks.append(engine._core.publisher._ready)
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            forker = threading.Thread(target=work)
            forker.start()
            forker.join()
    assert codes == [0]


def _as_client(engine: Engine) -> None:
    """What needs nobody who serves: the parent cannot, its locks are held."""
    run_id = engine.trigger(parcels, "childs", Parcel(), status=Status.WAITING)
    engine.wait_for(parcels, run_id, Status.WAITING, LONG)
    engine.callback(told, run_id, "childs")
    engine.wait_until_ended(parcels, run_id, LONG)
    assert asyncio.run(engine.aio.view(parcels, run_id)).data.word == "childs"
    engine.close()


def test_children_make_ids_of_their_own(
    beside: Settings, open_engine: Open, in_child: InChild, tmp_path: Path
) -> None:
    """Seen to fail with inherited entropy: siblings made the same ids, one after the other."""
    engine = open_engine(beside)

    def work() -> None:
        with (tmp_path / "ids").open("a") as file:
            file.write(engine._core.identity.write_id() + "\n")

    for _ in range(3):
        assert in_child(work) == 0
    work()
    assert len(set((tmp_path / "ids").read_text().split())) == 4


def test_memory_refuses_in_the_child(in_child: InChild) -> None:
    """What it wrote there nobody would see. Seen to fail with a copy that takes everything."""

    def work() -> None:
        with pytest.raises(ClosedError, match="forked") as refused:
            engine.trigger(parcels, "lost", Parcel())
        assert "SQLite" in refused.value.hint
        engine.close()

    with Engine.in_memory() as engine, engine.serving(parcels):
        take_through(engine, "before")
        with engine._core.store.transaction():  # and hangs at no lock of it
            assert in_child(work) == 0
        take_through(engine, "after")


def test_body_that_forks_keeps_its_transaction(
    beside: Settings, open_engine: Open, in_child: InChild
) -> None:
    """Seen to fail with the lent transaction inherited: it was the parent's connection."""
    engine = open_engine(beside)
    flow = Workflow("forking", Parcel, Status, ends=(Status.DONE,))
    codes: list[int] = []

    @flow.step(Status.BEGUN, transaction=True)
    def fork(run: Run[Parcel, Status]) -> Literal[Status.DONE]:
        assert lent(engine._core.store) is not None
        codes.append(in_child(work))
        return Status.DONE

    def work() -> None:
        assert lent(engine._core.store) is None
        engine.view(flow, engine.live_run(flow, "one"))

    with engine.serving(flow):
        run_id = engine.trigger(flow, "one", Parcel())
        engine.wait_until_ended(flow, run_id, LONG)
    assert codes == [0]


# -- the end of the process ---------------------------------------------------------------------

MANY = 300


def rows_left(settings: Settings) -> int:
    """Rows in the outbox: what was triggered and is left to the relays."""
    file = str(settings["adapters.sql.url"]).removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as database:
        (count,) = database.execute("select count(*) from workflow_outbox").fetchone()
        assert isinstance(count, int)
        return count


def trigger_many(engine: Engine) -> None:
    engine.trigger_many(parcels, [Trigger(f"parcel {at}", Parcel()) for at in range(MANY)])


def trigger_and_end(settings: Settings) -> None:
    trigger_many(Engine.from_config(environ={}, overrides=settings))


def test_interpreter_publishes_before_it_ends_when_nobody_closed(beside: Settings) -> None:
    """Seen to fail without a word at the exit: the rows waited for their leases and a relay."""
    program = f"""
import runpy
runpy.run_path({__file__!r})["trigger_and_end"]({dict(beside)!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows_left(beside) == 0


@pytest.mark.parametrize("made", ["before the fork", "in the child"])
def test_child_of_multiprocessing_publishes_before_it_ends(
    beside: Settings, open_engine: Open, made: str
) -> None:
    """It ends without `atexit`. Seen to fail without a finalizer."""
    engine = open_engine(beside)
    forking = multiprocessing.get_context("fork")
    child = (
        forking.Process(target=trigger_many, args=(engine,))
        if made == "before the fork"
        else forking.Process(target=trigger_and_end, args=(dict(beside),))
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert rows_left(beside) == 0


def test_client_publishes_before_it_closes(beside: Settings) -> None:
    with Engine.from_config(environ={}, overrides=beside) as engine:
        trigger_many(engine)
    assert rows_left(beside) == 0


# -- many in one process ------------------------------------------------------------------------


def test_engines_of_one_process_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    """Eight installations, a workflow of the same name in each; one closes while others work."""
    with ExitStack() as stack:
        engines = [
            stack.enter_context(Engine.embedded(tmp_path / f"{number}.db")) for number in range(8)
        ]
        for engine in engines:
            stack.enter_context(engine.serving(parcels))
        take_through(engines[0], "first")
        engines[0].close()
        for number, engine in enumerate(engines[1:]):
            take_through(engine, f"of {number}")
            assert [key[0] for key in engine.counts(ALL)] == ["parcels"]
            assert sum(engine.counts(ALL).values()) == 1


def test_no_lock_is_shared_by_engines(tmp_path: Path) -> None:
    """Seen to fail when the class of engines had one for all: a callback of another waited."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(Engine.embedded(tmp_path / f"{name}.db")) for name in "ab"
        )
        done = threading.Thread(target=_as_client, args=(second,), daemon=True)
        with first._callback_lock:
            done.start()
            done.join(60)
            assert not done.is_alive()


# -- a server that forks ------------------------------------------------------------------------

SHOP_GUNICORN = Path(__file__).with_name("shop_gunicorn.py")


@pytest.fixture
def address() -> Iterator[Path]:
    """Of a socket: its path has to be shorter than that of a test's folder may be."""
    with tempfile.TemporaryDirectory(prefix="shop") as folder:
        yield Path(folder) / "socket"


def test_engine_works_behind_a_real_preload(tmp_path: Path, address: Path) -> None:
    """Two workers, forked with the engine made; each triggers with it, and serves with its own.

    Both have answered, what one triggered the other may have packed, and all end in order.
    """
    log = tmp_path / "log"
    command = ["-m", "gunicorn", "shop:app", "--config", f"file:{SHOP_GUNICORN}"]
    options = ["--bind", f"unix:{address}", "--log-level", "info", "--log-file", str(log)]
    environment = {**os.environ, "SHOP_DATABASE": str(tmp_path / "shop.db")}
    server = subprocess.Popen(
        [sys.executable, *command, *options], cwd=SHOP_GUNICORN.parent, env=environment
    )
    try:
        answered: set[str] = set()
        for number in range(500):
            _, asked = order(address, f"/order/{number}")
            answered.add(asked)
            if len(answered) == 2 and number >= 20:
                break
        assert len(answered) == 2
    finally:
        server.terminate()
        code = server.wait(60)
    told = log.read_text()
    assert code == 0, told
    assert told.count("the parent's engine: this engine was made in process") == 2
    assert "Traceback" not in told
    assert "SIGKILL" not in told


def order(address: Path, path: str) -> list[str]:
    """What the server answers, once it is there."""
    for _ in range(600):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            try:
                connection.connect(str(address))
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
                continue
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b" 200 " in head, answer
            return body.decode().split()
    raise AssertionError("the server never came")
