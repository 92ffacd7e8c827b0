"""A forked child starts anew: what it inherited is its parent's.

Connections, locks and threads do not survive a fork: a lock may be held by a thread that does not
exist in the child, and a SQLite connection used by both corrupts the file. So everything that
holds one registers a method that lets go of it in the child, before any other code runs there.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["in_forked_child", "leave_to_parent"]

_resets: list[weakref.WeakMethod[Callable[[], None]]] = []
_left: list[Any] = []


def in_forked_child(reset: Callable[[], None]) -> None:
    """Call the bound method `reset` in each forked child for as long as its object lives.

    In the order of registration.
    """
    _resets[:] = [known for known in _resets if known() is not None]
    _resets.append(weakref.WeakMethod(reset))


def leave_to_parent(inherited: object) -> None:
    """Keep `inherited` from being finalised in the child: closing it would harm the parent's."""
    _left.append(inherited)


def _reset_all() -> None:
    for known in _resets:
        reset = known()
        if reset is not None:
            reset()


if hasattr(os, "register_at_fork"):  # not everywhere there is a fork
    os.register_at_fork(after_in_child=_reset_all)
