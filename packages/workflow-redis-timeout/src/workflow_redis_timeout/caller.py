"""Goes on calling while a server restarts, moves or cannot serve, for a bounded time.

Every script may be run twice: arming, parking and forgetting do nothing the second time, and a call
that closes timers carries a token by which the server knows it again and answers what it answered
before. So a call whose answer was lost is simply repeated, and the caller learns the truth. Only
when `retry_for` is over does nobody know, and the port's rule for that begins.

A call that gave up has found the server *away*. The engine cancels timers right behind each commit,
so if every call were as patient then, every commit would take as long. So while it is away one call
in half a second looks once whether it is back, and all others fail without a look.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.ports import in_forked_child

from workflow_redis_timeout.failures import ADAPTER, DRIVER_ERRORS, is_silence, may_pass, translated
from workflow_redis_timeout.links import Call, Link

__all__ = ["Caller"]

T = TypeVar("T")

_FIRST_WAIT = 0.02
_LONGEST_WAIT = 0.5
_LOOKED_FOR_EACH = 0.5  # seconds, while the server is away


class Caller:
    """Sends calls by a link. Any thread.

    Args:
        connect: makes the link when it is first needed; may raise `DRIVER_ERRORS`, and is called
            again then.
        retry_for: how long one call goes on.
    """

    def __init__(self, connect: Callable[[], Link], *, retry_for: timedelta) -> None:
        self._connect = connect
        self._retry_for = retry_for / timedelta(seconds=1)
        self._made: Link | None = None
        self._is_away = False
        self._look_at = 0.0  # not before then, while it is away
        self._forked()
        in_forked_child(self._forked)

    def _forked(self) -> None:
        """The locks may be held by threads that a child does not have; redis-py does the rest."""
        self._making = threading.Lock()
        self._closing = threading.Event()

    def ask(self, calls: Sequence[Call], *, doing: str) -> Sequence[Any]:
        """What the scripts answered, in order.

        Raises:
            AdapterUnavailableError: a part of them was not answered in time; any may have run.
            AdapterError: the server refuses one of them for good.
            ClosedError: it was closed.
        """
        answers: list[Any] = [None] * len(calls)
        left = list(range(len(calls)))

        def send(link: Link) -> Exception | None:
            found = link.send([calls[place] for place in left])
            failed: list[int] = []
            reason: Exception | None = None
            for place, answer in zip(left, found, strict=True):
                if isinstance(answer, Exception):
                    failed.append(place)
                    reason = reason if reason and not may_pass(reason) else answer
                else:
                    answers[place] = answer
            left[:] = failed
            return reason

        if calls:
            self._patiently(send, doing)
        return answers

    def direct(self, call: Callable[[Link], T], *, doing: str) -> T:
        """What `call` answers, with the same patience. Raises as `ask`."""
        answers: list[T] = []

        def attempt(link: Link) -> None:
            answers.append(call(link))

        self._patiently(attempt, doing)
        return answers[-1]

    def close(self) -> None:
        """End calls that wait or are to come, with `ClosedError`."""
        self._closing.set()
        with self._making:
            if self._made is not None:
                self._made.close()

    def _link(self) -> Link:
        with self._making:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def _patiently(self, attempt: Callable[[Link], Exception | None], doing: str) -> None:
        """Repeat `attempt` until it neither answers nor raises an error."""
        until = self._until(doing)
        for wait in _waits():
            if self._closing.is_set():
                raise ClosedError(f"{doing}: the timeout store was closed", adapter=ADAPTER)
            error = self._attempted(attempt)
            if error is None:
                self._is_away = False
                return
            left = until - time.monotonic()
            if self._closing.is_set():
                continue
            if left <= 0 or not may_pass(error):
                if is_silence(error):
                    self._is_away, self._look_at = True, time.monotonic() + _LOOKED_FOR_EACH
                raise translated(error, doing) from error
            self._closing.wait(min(wait, left))

    def _until(self, doing: str) -> float:
        """Until when this call may go on, by the monotonic clock; raises where it need not try."""
        now = time.monotonic()
        if not self._is_away:
            return now + self._retry_for
        if now < self._look_at and not self._closing.is_set():
            raise AdapterUnavailableError(
                f"{doing}: Redis did not answer a moment ago", adapter=ADAPTER
            )
        self._look_at = now + _LOOKED_FOR_EACH
        return now

    def _attempted(self, attempt: Callable[[Link], Exception | None]) -> Exception | None:
        try:
            return attempt(self._link())
        except Exception as raised:
            # redis-py stumbles in ways of its own when its connections are closed under it
            if not isinstance(raised, DRIVER_ERRORS) and not self._closing.is_set():
                raise
            return raised


def _waits() -> Iterator[float]:
    wait = _FIRST_WAIT
    while True:
        yield wait * random.uniform(0.5, 1)
        wait = min(2 * wait, _LONGEST_WAIT)
