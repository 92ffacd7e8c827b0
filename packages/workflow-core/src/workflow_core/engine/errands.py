"""Blocking calls on a few daemon threads: verbs called by asyncio code, slow functions of timers.

Not a `ThreadPoolExecutor`: that one joins its threads when the interpreter exits, so a database
that hangs would keep the process alive.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Errands"]

T = TypeVar("T")

_THREADS = 8
_IDLE = 10.0  # seconds after which a thread without an errand ends


class Errands:
    """Threads come with errands and go when there are none.

    Args:
        threads: at most so many.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._most = threads
        self._begin()

    def _begin(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = 0
        self._idle = 0  # threads that wait and have no errand coming
        self._backlog = 0  # errands for which there is no thread yet
        self._lock = threading.Lock()

    def forked(self) -> None:
        """In a forked child: threads and errands stayed with the parent."""
        self._begin()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run `call` soon; a future of its answer. Any thread."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.put((future, call))
            # Counted here and not when it is taken: else two errands could count on one thread.
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._serve, name="errands", daemon=True).start()
            else:
                self._backlog += 1
        return future

    def close(self) -> None:
        """Let the threads end as soon as they are through; nothing is to be asked for any more."""
        with self._lock:
            for _ in range(self._threads):
                self._waiting.put(None)

    def _serve(self) -> None:
        while True:
            try:
                errand = self._waiting.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if not self._idle:
                        continue  # an errand has just been given to us
                    self._idle -= 1
                    self._threads -= 1
                    return
            if errand is None:
                with self._lock:
                    self._idle -= 1
                    self._threads -= 1
                return
            future, call = errand
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            with self._lock:
                if self._backlog:
                    self._backlog -= 1
                else:
                    self._idle += 1
