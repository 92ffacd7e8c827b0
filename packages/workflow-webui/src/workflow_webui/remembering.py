"""Answers that several users ask for at once, asked of the store once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

__all__ = ["Remembered"]

T = TypeVar("T")


_LONG = 60.0
_SHARE = 10.0  # an answer is kept at least so many times as long as it took
_STALE = 2.0  # for so many times its life it is still given, while a new one is asked for


class _Kept:
    """An answer, or the promise of one."""

    def __init__(self, seconds: float) -> None:
        self.answer: Future[Any] = Future()
        self.seconds = seconds
        self.fresh_until = 0.0
        self.stale_until = 0.0
        self.is_asked_anew = False

    def answered(self, answer: Any, took: float) -> None:
        # what costs much is kept longer, so that looking at it never takes a store's whole day
        life = max(self.seconds, _SHARE * took)
        self.fresh_until = time.monotonic() + life
        self.stale_until = self.fresh_until + max(0.0, _STALE * life)
        self.answer.set_result(answer)


class Remembered:
    """Keeps answers for a while, by key; who asks meanwhile waits for the one who asked first.

    An answer that has just become old is given once more, at once, while a thread asks for a new
    one: whoever watches a page never waits for a count. What failed is not kept. Any thread.

    Args:
        most: answers that are kept; the one that was asked for longest ago goes first.
    """

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, seconds: float, ask: Callable[[], T]) -> T:
        """The answer, at most three times so many seconds old. Raises what `ask` raises."""
        now = time.monotonic()
        is_mine = asks_anew = False
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or (kept.answer.done() and now > kept.stale_until):
                kept = self._kept[key] = _Kept(seconds)
                is_mine = True
            elif kept.answer.done() and now > kept.fresh_until and not kept.is_asked_anew:
                kept.is_asked_anew = asks_anew = True
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if is_mine:
            self._ask(key, kept, kept, ask)
        elif asks_anew:
            old, new = kept, _Kept(seconds)
            asking = threading.Thread(target=lambda: self._ask(key, old, new, ask), daemon=True)
            asking.start()
        return cast(T, kept.answer.result())

    def forget(self) -> None:
        """Ask anew: something was changed here. What was to be kept for long is of the past."""
        with self._lock:
            self._kept = OrderedDict(
                (key, kept)
                for key, kept in self._kept.items()
                if kept.seconds > _LONG or not kept.answer.done()
            )

    def _ask(self, key: Hashable, old: _Kept, new: _Kept, ask: Callable[[], T]) -> None:
        """Fulfil the promise `new`, and put it where `old` is, if that is there still."""
        begin = time.monotonic()
        try:
            answer = ask()
        except BaseException as error:
            with self._lock:
                if self._kept.get(key) is old:
                    del self._kept[key]
            new.answer.set_exception(error)
        else:
            new.answered(answer, time.monotonic() - begin)
            with self._lock:
                if self._kept.get(key) is old:
                    self._kept[key] = new
