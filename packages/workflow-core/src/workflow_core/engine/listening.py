"""Listening: how one process receives, noted at each of its polls and looked at by `Hearing`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from workflow_core.errors import ClosedError
from workflow_core.ports import Clock, Receiver

__all__ = ["Listening"]

_NONE = timedelta(0)


class Listening:
    """Noted by the process's thread; read by any.

    Args:
        name: what it is called for people.
        clock: for how long it has received nothing.
        lag: answers the age of the oldest event that its consumer has not done with, over all
            members; None: nobody knows.
    """

    def __init__(self, name: str, clock: Clock, lag: Callable[[], timedelta | None] | None) -> None:
        self.name = name
        self._lag = lag
        self.reads_all = False
        """Whether nobody else reads any of it, as far as roles say."""
        self._clock = clock
        self._receiver: Receiver[Any] | None = None
        self._in_vain_since: float | None = None

    def note(self, receiver: Receiver[Any] | None, *, reads_all: bool, in_vain: bool) -> None:
        """What a poll has come to.

        Args:
            receiver: what it receives from.
            reads_all: whether that reads all shards.
            in_vain: whether it asked, was handed nothing, and had nothing in hand.
        """
        self._receiver, self.reads_all = receiver, reads_all
        if not in_vain:
            self._in_vain_since = None
        elif self._in_vain_since is None:
            self._in_vain_since = self._clock.monotonic()

    @property
    def in_vain_for(self) -> timedelta:
        """For how long it has asked, was handed nothing, and has had nothing in hand."""
        since = self._in_vain_since
        return timedelta(seconds=0.0 if since is None else self._clock.monotonic() - since)

    def deaf_for(self) -> timedelta:
        """What its receiver says of itself; zero where it does not know.

        Raises:
            AdapterUnavailableError: no answer.
        """
        try:
            told = None if self._receiver is None else self._receiver.deaf_for()
        except ClosedError:  # another took its place meanwhile
            return _NONE
        return _NONE if told is None else told

    def lag(self) -> timedelta:
        """The age of the oldest event that its consumer has not done with; zero: not known.

        Raises:
            AdapterUnavailableError: no answer.
        """
        told = None if self._lag is None else self._lag()
        return _NONE if told is None else told
