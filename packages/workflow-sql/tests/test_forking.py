"""A process that forks while its threads hold locks of ours."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.ports import Write
from workflow_sql import (
    Database,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlTimeoutStore,
)
from workflow_sql.dialects.sqlite_quiet import Quiet

pytestmark = pytest.mark.filterwarnings(  # what is said of it from 3.12 on is what is tested here
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
PATIENCE = 30  # seconds; only a hang takes that long
SOON = timedelta(seconds=PATIENCE)
LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)


@pytest.fixture(params=["sqlite", "postgres", "mysql", "mariadb"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, new_home: Callable[[str], Any]
) -> Iterator[Database]:
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'forked.db'}")
    else:
        opened = new_home(request.param).open()
    with opened:
        yield opened


def locks_of(*roots: object) -> list[Any]:
    """Every lock that these objects hold, themselves or by others of this wheel's."""
    seen: dict[int, object] = {}
    found: list[Any] = []
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        # what is held over a fork by itself is free in the parent and made anew in the child
        if id(each) in seen or isinstance(each, Quiet):
            continue
        seen[id(each)] = each
        if isinstance(each, LOCKS):
            found.append(each)
        elif type(each).__module__.startswith("workflow_sql"):
            slots = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(each, name, None) for name in slots]
            waiting += getattr(each, "__dict__", {}).values()
    return found


def hold(locks: list[Any], held: ExitStack) -> None:
    """All of them; whoever holds one and waits for another is let through."""
    end = time.monotonic() + PATIENCE
    while True:
        with ExitStack() as got:
            for lock in locks:
                if not lock.acquire(timeout=0.5):
                    break
                got.callback(lock.release)
            else:
                held.push(got.pop_all())
                return
        assert time.monotonic() < end, "they are never free"


def in_child(work: Callable[[], object], codes: list[int]) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            faulthandler.register(signal.SIGALRM, file=2, chain=True)  # a hang says where it is
            signal.alarm(PATIENCE)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def test_no_lock_is_held_in_the_child_whoever_held_it_at_the_fork(
    database: Database, make: Any
) -> None:
    """The horizon's, the watch's, the pools' … are made anew there, and free.

    Seen to fail, by a hang, with the horizon or the trimming inherited as they were, and with the
    lock that a receiver is closed under.
    """
    store, timers = SqlRecordStore(database), SqlTimeoutStore(database)
    streamer = SqlEventStreamer(database, instance="one", trim_after=timedelta(0))
    roles = SqlRoleScheduler(database, instance="one")
    receiver = streamer.new_receiver(["orders-1"], "steps")
    use_all(store, timers, streamer, roles, make)
    (received,) = receiver.recv_many(9, SOON)
    receiver.ack([received])
    assert roles.try_acquire("parents") is not None
    record = make.record()  # as in the parent, so that both know it

    def work() -> None:
        receiver.close()
        assert streamer._trimming._turn.acquire(blocking=False)
        streamer._trimming._turn.release()
        store.store(Write(record=record))
        use_all(store, timers, streamer, roles, make)
        database.close()

    codes: list[int] = []
    locks = locks_of(database, store, timers, streamer, roles, receiver)
    assert len(locks) >= 6
    with ExitStack() as held:
        hold(locks, held)
        forker = threading.Thread(target=in_child, args=(work, codes))
        forker.start()
        forker.join()
    assert codes == [0]
    assert store.lookup(record.run_id).version == 1
    use_all(store, timers, streamer, roles, make)
    receiver.close()
    roles.close()


def use_all(
    store: SqlRecordStore,
    timers: SqlTimeoutStore,
    streamer: SqlEventStreamer,
    roles: SqlRoleScheduler,
    make: Any,
) -> None:
    name = f"used by {os.getpid()}"
    store.store(Write(record=make.record()))
    timers.list_valid(["orders"], limit=9)
    other = streamer.new_receiver(["orders-1"], name)
    streamer.new_sender().send(make.event())
    assert other.recv_many(9, SOON)
    other.close()
    roles.try_acquire(name)
