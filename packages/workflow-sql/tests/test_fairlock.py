from __future__ import annotations

import threading

import pytest
from workflow_sql.fairlock import FairLock


class Waiter:
    """A thread that asks for the lock, notes that it had it, and hands it on."""

    def __init__(self, lock: FairLock, name: str, log: list[str], *, urgent: bool = False) -> None:
        self._work = (lock, name, log, urgent)
        self._thread = threading.Thread(target=self._run, daemon=True)
        queued = len(lock._queue)
        self._thread.start()
        while len(lock._queue) == queued:
            self._thread.join(0.001)

    def _run(self) -> None:
        lock, name, log, urgent = self._work
        assert lock.acquire(30, urgent=urgent)
        log.append(name)
        lock.release()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_lock_is_handed_on_in_order_of_asking_when_several_wait() -> None:
    """Seen to fail with a plain `threading.Lock` behind the same methods."""
    lock, log = FairLock(), list[str]()
    assert lock.acquire(1)
    waiters = [Waiter(lock, name, log) for name in "abcdef"]
    lock.release()
    for waiter in waiters:
        waiter.join()
    assert log == list("abcdef")


def test_lock_goes_to_the_urgent_first_when_others_wait_longer() -> None:
    """Seen to fail with ``append`` for the urgent too."""
    lock, log = FairLock(), list[str]()
    assert lock.acquire(1)
    waiters = [Waiter(lock, "batch", log), Waiter(lock, "roles", log, urgent=True)]
    lock.release()
    for waiter in waiters:
        waiter.join()
    assert log == ["roles", "batch"]


def test_lock_is_free_for_others_when_one_gave_up_waiting() -> None:
    lock = FairLock()
    assert lock.acquire(1)
    gave_up: list[bool] = []
    thread = threading.Thread(target=lambda: gave_up.append(lock.acquire(0)))
    thread.start()
    thread.join(30)
    assert gave_up == [False]
    lock.release()
    assert lock.acquire(0), "whoever gave up is not in the queue"


def test_lock_refuses_a_thread_that_holds_it_already() -> None:
    lock = FairLock()
    assert lock.acquire(1)
    with pytest.raises(RuntimeError):
        lock.acquire(1)
