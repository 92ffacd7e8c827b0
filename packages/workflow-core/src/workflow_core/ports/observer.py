"""The port of the observer: who is told of all that happens, for metrics and traces."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from workflow_core.model import Observation, Work
from workflow_core.ports.adapter import Closable

__all__ = ["Answered", "Observer"]

Answered: TypeAlias = Callable[[str], None]
"""Told the name of what a function answered: a status or a directive."""

_NO_HEADERS: Mapping[str, str] = {}


class Observer(Closable, ABC):
    """Is told what happens, and can do nothing about it. All methods have a default body.

    What it raises is logged once and goes no further. `notice` is called from a thread of its own,
    so that an observer that hangs holds up nobody: what it does not take in time is dropped, and
    how much is logged. `begun` and `around` are called where the work is done, since what they set
    up has to be there for it (the current span): they must neither block nor do any I/O.
    """

    def notice(self, observations: Sequence[Observation]) -> None:
        """These have happened, within the last half second or so; one call at a time.

        In order for each thread. Default: nothing.
        """

    def begun(self, run: Work) -> Mapping[str, str]:
        """A run is about to be written; answers headers to go with it and all its events.

        They replace those of the same name that the trigger brought, and that are told. The run may
        still be refused, or be there already. Any thread. Default: none.
        """
        return _NO_HEADERS

    def carried(self) -> Mapping[str, str]:
        """Within `around`: the headers by which what the function begins belongs to it.

        Any thread. Default: none.
        """
        return _NO_HEADERS

    def around(self, work: Work) -> AbstractContextManager[Answered | None]:
        """Entered before a user's function is called and left when it has returned or raised.

        On the function's thread, in the function's task where it is async. What the function raises
        is told to ``__exit__``, and cannot be suppressed there. Default: nothing.
        """
        return nullcontext()
