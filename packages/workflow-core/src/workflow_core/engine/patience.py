"""Patience with a store that does not answer: ask again, briefly, with the same write."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from workflow_core.errors import AdapterUnavailableError, StoreBusyError

__all__ = ["patiently"]

T = TypeVar("T")

_PAUSES = (0.05, 0.2, 0.8)  # seconds before the second, third and fourth try


def patiently(call: Callable[[], T], at_once: bool) -> T:
    """The answer of `call`, asked up to four times within about a second.

    Asking again is safe: a write carries an id by which the store knows it. `at_once` leaves out
    the pauses, for a test driver whose time stands still.

    Raises:
        AdapterUnavailableError: no answer to the last try either; nobody knows what happened.
    """
    for pause in _PAUSES:
        try:
            return call()
        except StoreBusyError:
            raise  # the caller's own transaction: only the caller can retry it
        except AdapterUnavailableError:
            if not at_once:
                time.sleep(pause * random.uniform(0.5, 1))
    return call()
