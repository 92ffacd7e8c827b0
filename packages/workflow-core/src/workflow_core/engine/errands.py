"""Short blocking calls made from asyncio code, on a few daemon threads.

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
    """Threads come with errands and go when there are none."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = (
            queue.SimpleQueue()
        )
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run `call` soon; a future of its answer. Any thread."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.put((future, call))
            if self._idle < self._waiting.qsize() and self._threads < _THREADS:
                self._threads += 1
                threading.Thread(target=self._serve, name="errands", daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                future, call = self._waiting.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._waiting.qsize():
                        continue
                    self._threads -= 1
                    return
            with self._lock:
                self._idle -= 1
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
