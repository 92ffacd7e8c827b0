"""An engine as a guest in a process: when that forks, and when it ends.

In a forked child an engine of the parent's is a client: its connections, threads and locks are
made anew when they are first needed, its ids come from fresh entropy, and what the parent has
in hand, queued or awaited stays the parent's. It does not serve there: what it would need for that
(roles, receivers, the name under which others know it) is the parent's, and two processes of one
name would take each other's work for their own.

When the interpreter ends, what an engine has written and not yet published is published first, for
two seconds at most; what is left is the relays' when its lease has ended. Nothing else is done: an
engine that serves and was not stopped ends as in a crash. A process that ends by `os._exit` or a
signal says nothing; a child of `multiprocessing` ends by the former, but tells its finalizers.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from datetime import timedelta

from workflow_core.engine.publisher import Publisher
from workflow_core.errors import ServingError

__all__ = ["flush_at_exit", "leave_at_exit", "made_elsewhere"]

_PATIENCE = 2.0  # seconds, for all engines of a process together
_publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()


def flush_at_exit(publisher: Publisher) -> None:
    """Let it publish what it was given before the interpreter ends. Any thread."""
    _publishers.add(publisher)


def leave_at_exit(publisher: Publisher) -> None:
    """A test's driver polls it: nobody would at the end."""
    _publishers.discard(publisher)


def made_elsewhere(pid: int) -> ServingError:
    """Why an engine made in the process `pid` cannot serve here."""
    return ServingError(
        f"this engine was made in process {pid}, of which this one, {os.getpid()}, was forked: "
        "here it is a client only",
        hint="Make the engine that is to serve after the fork: gunicorn calls post_fork, Celery "
        "sends worker_process_init",
    )


def _flush() -> None:
    end = time.monotonic() + _PATIENCE
    for publisher in list(_publishers):
        publisher.await_sent(timedelta(seconds=max(0.0, end - time.monotonic())))


def _also_in_children() -> None:
    """In a forked child: `multiprocessing` ends it without a word to `atexit`."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # else it is none of its children
        util.register_after_fork(_publishers, lambda _: util.Finalize(None, _flush, exitpriority=0))


atexit.register(_flush)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_also_in_children)
