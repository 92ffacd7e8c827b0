"""What is said of an adapter that costs too much at rest."""

from __future__ import annotations

import sys
import threading

import pytest
from workflow_adaptertest import idle


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells of single threads")
def test_threads_are_told_that_spend_what_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without the threads' own times."""
    monkeypatch.setattr(idle, "_WINDOW", 0.1)
    enough = threading.Event()

    def spin() -> None:
        while not enough.is_set():
            pass

    spinner = threading.Thread(target=spin, name="left by another test")
    spinner.start()
    cost = idle._cost(None, 1)
    enough.set()
    spinner.join()
    assert cost.busiest.startswith("left by another test ")
    assert cost.busiest in str(cost)
