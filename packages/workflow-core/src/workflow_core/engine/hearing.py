"""Hearing: finds receivers that answer in time, that there is nothing, while events wait.

Such a receiver hangs nowhere and fails nowhere, so nothing else tells. There are two that can:

- The receiver itself, of an adapter that can compare what it asked for with what is there
  (`Receiver.deaf_for`). What it says is certain, also where it hears a part of its stream.
- The streamer, by the lag of a consumer: the age of the oldest event that it has not done with.
  Where this process has nothing in hand and was handed nothing, while an event waited for longer
  than `EngineSettings.stuck_after`, its receiver is deaf, if it is the one that should have had the
  event. That is certain where it reads all shards; where others read some, or the streamer balances
  members itself, it may be another's, and this process is not blamed: that is told, and changes no
  verdict.

Either costs a question for each topic and partition, so it is asked each five minutes; the lag only
where a receiver has answered nothing for so long. What is suspected is asked again a little later:
a process that stood still for an hour finds old events too, until it has received them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from workflow_core.engine.core import Core
from workflow_core.engine.listening import Listening
from workflow_core.engine.process import Process

__all__ = ["Hearing", "Listens"]

_EACH = 300.0  # seconds between two questions about one receiver
_AGAIN = 10.0  # to the next question where it is suspected
_NONE = timedelta(0)


class Listens(Protocol):
    """A process that receives."""

    name: str
    listening: Listening


@dataclass(eq=False)
class _Question:
    """What is asked of one receiver, again and again."""

    ask_at: float
    is_suspect: bool = False
    answer: timedelta = _NONE
    """For how long an event has waited that it does not hear, found twice; zero: it hears."""

    def answered(self, waiting: timedelta, limit: timedelta, now: float) -> None:
        """Once is a suspicion, and twice is sure."""
        is_waiting = waiting >= limit
        self.answer = waiting if is_waiting and self.is_suspect else _NONE
        self.is_suspect = is_waiting
        self.ask_at = now + (_AGAIN if is_waiting else _EACH)

    def withdraw(self) -> None:
        """It has heard something meanwhile."""
        self.is_suspect, self.answer = False, _NONE


class _Ear:
    """What is known of one process's receiver."""

    def __init__(self, process: Listens, first: float) -> None:
        self.name = process.name
        self.listening = process.listening
        self.own = _Question(first)
        self.lag = _Question(first)

    @property
    def deaf_for(self) -> timedelta:
        """Zero: it is not, or nobody knows whether it is."""
        return self.own.answer or (self.lag.answer if self.listening.reads_all else _NONE)


class Hearing(Process):
    """One per serving, for all that receives in it. Polled by one thread; the answers are for any.

    Args:
        processes: whose receivers.
        core: the engine's.
    """

    name = "hearing"
    upkeep = True

    def __init__(self, processes: Sequence[Listens], core: Core) -> None:
        self._clock = core.clock
        self._stuck_after = core.settings.stuck_after
        first = self._clock.monotonic() + self._stuck_after.total_seconds()
        self._ears = [_Ear(process, first) for process in processes]

    def poll(self, wait: timedelta) -> bool:
        """Ask about one that it is time for. Raises AdapterUnavailableError: it is asked again."""
        now = self._clock.monotonic()
        for ear in self._ears:
            if ear.own.ask_at <= now:
                self._ask(ear.own, ear.listening.deaf_for)
                return True
            if not self._listens_in_vain(ear):
                ear.lag.withdraw()
            elif ear.lag.ask_at <= now:
                self._ask(ear.lag, ear.listening.lag)
                return True
        return False

    def next_due(self) -> timedelta | None:
        """The next question, if nothing is received until then."""
        dues = [ear.own.ask_at for ear in self._ears]
        dues += [ear.lag.ask_at for ear in self._ears if self._listens_in_vain(ear)]
        if not dues:
            return None
        return timedelta(seconds=max(0.0, min(dues) - self._clock.monotonic()))

    @property
    def deaf(self) -> list[str]:
        """Those that are, for people."""
        return [
            f"{ear.name} is deaf: it is handed nothing, and an event has waited for"
            f" {_seconds(ear.deaf_for)}"
            for ear in self._ears
            if ear.deaf_for
        ]

    @property
    def suspected(self) -> list[str]:
        """Those that are, or another process is."""
        return [
            f"{ear.name} is handed nothing, and an event has waited for"
            f" {_seconds(ear.lag.answer)}: it is deaf, or another process is that reads a part"
            for ear in self._ears
            if ear.lag.answer and not ear.deaf_for
        ]

    def _ask(self, question: _Question, call: Callable[[], timedelta]) -> None:
        now = self._clock.monotonic()
        question.ask_at = now + _AGAIN  # where there is no answer: it is the others' turn first
        question.answered(call(), self._stuck_after, now)

    def _listens_in_vain(self, ear: _Ear) -> bool:
        return ear.listening.in_vain_for >= self._stuck_after


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f} s"
