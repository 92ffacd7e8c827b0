"""A forked child starts anew: what it inherited is its parent's.

Connections, locks and threads do not survive a fork: a lock may be held by a thread that does not
exist in the child, a client that lives in threads hangs there even when it is given back, and a
SQLite connection used by both corrupts the file. So whatever holds one registers a method that lets
go of it in the child, before any other code runs there. What must not even be in use at that moment
is held over the fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["hold_over_fork", "in_forked_child", "leave_to_parent"]

_Method: TypeAlias = "weakref.WeakMethod[Callable[[], None]]"

_resets: list[_Method] = []
_holds: list[tuple[_Method, _Method]] = []
_held: list[Callable[[], None]] = []  # what ends the holds of the fork that is under way
_left: list[Any] = []
_lock = threading.Lock()  # of these lists: engines are made in several threads at once
_forking = threading.Lock()  # one fork at a time, where something is held over it


def in_forked_child(reset: Callable[[], None]) -> None:
    """Call the bound method `reset` in each forked child for as long as its object lives.

    In the order of registration. Any thread.
    """
    with _lock:
        _resets[:] = [known for known in _resets if known() is not None]
        _resets.append(weakref.WeakMethod(reset))


def hold_over_fork(hold: Callable[[], None], let_go: Callable[[], None]) -> None:
    """Call the bound method `hold` before each fork, and `let_go` after it in the parent.

    For as long as their object lives. Neither may raise, and `hold` has to come to an end by
    itself; in the child `let_go` is not called: see `in_forked_child`. Any thread.
    """
    with _lock:
        _holds[:] = [known for known in _holds if known[0]() is not None]
        _holds.append((weakref.WeakMethod(hold), weakref.WeakMethod(let_go)))


def leave_to_parent(inherited: object) -> None:
    """Keep `inherited` from being finalised in the child: closing it would harm the parent's."""
    _left.append(inherited)


def _hold_all() -> None:
    _forking.acquire()
    with _lock:
        holds = list(_holds)
    for known, ending in holds:
        hold, let_go = known(), ending()
        if hold is not None and let_go is not None:
            hold()
            _held.append(let_go)


def _let_all_go() -> None:
    while _held:
        _held.pop()()
    _forking.release()


def _reset_all() -> None:
    global _lock, _forking
    _lock, _forking = threading.Lock(), threading.Lock()
    _held.clear()
    for known in _resets:
        reset = known()
        if reset is not None:
            reset()


if hasattr(os, "register_at_fork"):  # not everywhere there is a fork
    os.register_at_fork(before=_hold_all, after_in_parent=_let_all_go, after_in_child=_reset_all)
