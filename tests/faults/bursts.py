"""Orders that are begun together, and waiting for what becomes of them.

In an ordinary run bursts are short; FAULTS_BURST sets how many orders they have.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.conftest import Fleet

BURST = int(os.environ.get("FAULTS_BURST", "120"))
PATIENCE = 120.0  # seconds after which something is lost, however slow the machine


def named(count: int, word: str) -> list[str]:
    return [f"{number}-{word}" for number in range(count)]


def did(fleet: Fleet) -> int:
    """How often steps did something to the outside world."""
    return sum(fleet.did.values())


def eventually(holds: Callable[[], bool], what: str, *, within: float = PATIENCE) -> float:
    """Answers after how many seconds it held."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() < begin + within, f"never: {what}"
        time.sleep(0.02)
    return time.monotonic() - begin
