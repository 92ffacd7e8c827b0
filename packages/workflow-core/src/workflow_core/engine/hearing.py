"""Hearing: finds receivers that answer in time, that there is nothing, while events wait.

Such a receiver hangs nowhere and fails nowhere, so nothing else tells. The streamer does: its lag
is the age of the oldest event that its consumer has not done with. Where this process has nothing
in hand and was handed nothing, while an event waited for longer than `EngineSettings.stuck_after`,
its receiver is deaf, if it is the one that should have had the event. That is certain where it
reads all shards; where others read some, or the streamer balances members itself, it may be
another's, and this process is not blamed: that is told, and changes no verdict.

The lag costs a question for each topic and partition, so it is asked for only where a receiver has
answered nothing for so long, and then each five minutes. What is suspected is asked again a little
later: a process that stood still for an hour finds old events too, until it has received them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from workflow_core.engine.core import Core
from workflow_core.engine.process import Process
from workflow_core.engine.reception import Reception
from workflow_core.ports import EventStreamer

__all__ = ["Hearing"]

_EACH = 300.0  # seconds between two questions about one receiver
_AGAIN = 10.0  # to the next question where it is suspected


@dataclass(eq=False)
class _Ear:
    """What is known of one receiver."""

    reception: Reception
    ask_at: float
    is_suspect: bool = False
    waiting: timedelta = timedelta(0)
    """For how long an event has waited that it does not hear; zero: it hears."""


class Hearing(Process):
    """One per serving, for all its lanes. Polled by one thread; the answers are for any.

    Args:
        receptions: whose receivers.
        streamer: the engine's.
        core: the engine's.
    """

    name = "hearing"
    upkeep = True

    def __init__(
        self, receptions: Sequence[Reception], streamer: EventStreamer, core: Core
    ) -> None:
        self._streamer = streamer
        self._clock = core.clock
        self._stuck_after = core.settings.stuck_after
        first = self._clock.monotonic() + self._stuck_after.total_seconds()
        self._ears = [_Ear(reception, first) for reception in receptions]

    def poll(self, wait: timedelta) -> bool:
        """Ask about one that it is time for."""
        now = self._clock.monotonic()
        for ear in self._ears:
            if not self._listens_in_vain(ear):
                ear.is_suspect, ear.waiting = False, timedelta(0)
            elif ear.ask_at <= now:
                self._ask(ear, now)
                return True
        return False

    def next_due(self) -> timedelta | None:
        """The next question, if nothing is received until then."""
        dues = [ear.ask_at for ear in self._ears if self._listens_in_vain(ear)]
        if not dues:
            return None
        return timedelta(seconds=max(0.0, min(dues) - self._clock.monotonic()))

    @property
    def deaf(self) -> list[str]:
        """Those that are, for people."""
        return [
            f"{ear.reception.name} is deaf: it is handed nothing, and an event has waited for"
            f" {_seconds(ear.waiting)}"
            for ear in self._ears
            if ear.waiting and ear.reception.reads_all
        ]

    @property
    def suspected(self) -> list[str]:
        """Those that are, or another process is."""
        return [
            f"{ear.reception.name} is handed nothing, and an event has waited for"
            f" {_seconds(ear.waiting)}: it is deaf, or another process is that reads a part"
            for ear in self._ears
            if ear.waiting and not ear.reception.reads_all
        ]

    def _listens_in_vain(self, ear: _Ear) -> bool:
        return ear.reception.in_vain_for >= self._stuck_after

    def _ask(self, ear: _Ear, now: float) -> None:
        """Raises AdapterUnavailableError: it is asked again."""
        lag = self._streamer.lag(ear.reception.topics, ear.reception.consumer)
        is_waiting = lag is not None and lag >= self._stuck_after
        ear.waiting = lag if lag is not None and is_waiting and ear.is_suspect else timedelta(0)
        ear.is_suspect = is_waiting
        ear.ask_at = now + (_AGAIN if is_waiting else _EACH)


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f} s"
