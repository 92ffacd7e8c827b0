"""What a process that does nothing but serve asks of Python itself.

Both settings are the whole process's, so only who owns it may set them: `workflow run` does, and an
engine inside another program leaves them alone.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["tuned"]

_SWITCH = 0.001  # seconds


@contextmanager
def tuned() -> Iterator[None]:
    """For the length of the block, which is entered when all that stays for good is there.

    - What is there is no garbage to look for. Looked through again and again, some hundred modules
      take a tenth of a second in which no timer fires.
    - A thread that computes lets others have Python's lock after 1 ms instead of 5. A thread that
      writes to a database wants the lock back at each answer, so beside one busy body everything
      else of the process goes at this pace.
    """
    before = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(min(before, _SWITCH))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()
