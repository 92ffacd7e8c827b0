"""How an engine is: whether it works, and whether what it works with answers.

A process that lives and no longer listens is found by its polls: each is bounded by what adapters
take, but for functions of the user's, which say so (`Process.doing`). One that goes on for longer
than `EngineSettings.stuck_after` is stuck: its thread hangs in a lock, its receiver never returns.

One that listens, and is told that there is nothing while events wait, is found by `Hearing`.

Two things look the same and are no reason to end a process, which is what not being live leads to:

- An adapter does not answer: whoever waits for it would wait in a new process too. So no poll
  counts as stuck that was under way when an adapter was last seen not to answer, until it has had
  the same time again.
- The whole machine or process stood still (suspended, SIGSTOP): then all polls look old. So one
  that looks stuck is looked at again a moment later, and counts only if it is the same poll still.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from workflow_core.engine.crew import Crew
from workflow_core.engine.health import AdapterHealth, AdapterState, Health, RoleHealth
from workflow_core.engine.probes import Probes
from workflow_core.engine.process import ProcessState, ProcessStatus
from workflow_core.errors import InputError
from workflow_core.ports import Adapter, Clock

if TYPE_CHECKING:
    from workflow_core.engine.serving import Serving

__all__ = ["Checkup"]

_SECOND_LOOK = 1.0  # seconds; several times as long as a poll with nothing to do
_LOOK_EVERY = 0.02
_FROM_WORST = (
    ProcessState.STOPPED,
    ProcessState.STUCK,
    ProcessState.FAILING,
    ProcessState.RUNNING,
    ProcessState.IDLE,
)


class Checkup:
    """Any thread; what is asked twice at once is asked of each adapter once.

    Args:
        adapters: by their places in the configuration.
        names: by place, the names that chose them.
        crew: the engine's.
        clock: the engine's.
        stuck_after: as in the settings.
    """

    def __init__(
        self,
        adapters: Mapping[str, Adapter],
        names: Mapping[str, str],
        crew: Crew,
        clock: Clock,
        stuck_after: timedelta,
    ) -> None:
        self._probes = Probes(adapters, names)
        self._crew = crew
        self._clock = clock
        self._stuck_after = stuck_after
        self._unwell_at: float | None = None

    def forked(self) -> None:
        """In a forked child: begin anew."""
        self._probes.forked()
        self._unwell_at = None

    def closed(self) -> Health:
        """What a closed engine answers."""
        problems = ("this engine is closed",)
        return Health(live=False, ready=False, at=self._clock.now(), problems=problems)

    def health(self, serving: Serving | None, timeout: timedelta) -> Health:
        """See `Engine.health`; `serving`: what is under way, None for a client."""
        if timeout <= timedelta(0):
            raise InputError("the time that adapters have to answer must be greater than zero")
        adapters = self._probes.ask(timeout)
        processes = self._look()
        if any(each.state is not AdapterState.OK for each in adapters):
            self._unwell_at = self._clock.monotonic()
        told = _told_unwell(adapters)
        deaf, hanging = self._deaf(processes)
        if serving is not None:
            deaf += self._blocked(serving.blocked_for) + serving.hearing.deaf
            hanging += [*serving.hearing.suspected, *serving.presence.overlaps.told]
        stopping = ["it is stopping"] if serving is not None and serving.is_stopping else []
        failing = [f"{p.name} fails: {p.error}" for p in processes if p.failures]
        return Health(
            live=not deaf,
            ready=not (deaf or told or stopping),
            at=self._clock.now(),
            adapters=tuple(adapters),
            roles=_roles({} if serving is None else serving.playing, processes),
            processes=tuple(processes),
            problems=(*deaf, *told, *stopping, *hanging, *failing),
        )

    def _look(self) -> Sequence[ProcessStatus]:
        """All processes. Those are stuck that are in the very same poll a moment later."""
        statuses = self._crew.statuses()
        end = time.monotonic() + _SECOND_LOOK
        first = _stuck(statuses)
        while first & _stuck(statuses) and time.monotonic() < end:
            time.sleep(_LOOK_EVERY)
            statuses = self._crew.statuses()
        return statuses

    def _deaf(self, processes: Sequence[ProcessStatus]) -> tuple[list[str], list[str]]:
        """What only a new process helps against; and what may hang because of an adapter."""
        deaf: list[str] = []
        excused: list[str] = []
        for each in processes:
            if each.state is ProcessState.STOPPED:
                deaf.append(f"the thread of {each.name} has ended")
            elif each.state is ProcessState.STUCK:
                hangs = f"{each.name} has hung for {_seconds(each.polling_for)}"
                (excused if self._was_unwell_lately() else deaf).append(hangs)
            elif (
                each.failures and not each.is_unavailable and each.failing_for >= self._stuck_after
            ):
                deaf.append(f"{each.name} has failed for {_seconds(each.failing_for)}")
        return deaf, excused

    def _was_unwell_lately(self) -> bool:
        if self._unwell_at is None:
            return False
        return self._clock.monotonic() - self._unwell_at < self._stuck_after.total_seconds()

    def _blocked(self, blocked_for: timedelta) -> list[str]:
        if blocked_for < self._stuck_after:
            return []
        return [
            f"a body has blocked the loop of the async ones for {_seconds(blocked_for)}:"
            " await in it, or make it a plain function"
        ]


def _stuck(statuses: Sequence[ProcessStatus]) -> set[tuple[str, int]]:
    return {(each.name, each.polls) for each in statuses if each.state is ProcessState.STUCK}


def _told_unwell(adapters: Sequence[AdapterHealth]) -> list[str]:
    return [
        f"{each.port} ({each.name}): {each.detail}"
        for each in adapters
        if each.state is not AdapterState.OK
    ]


def _roles(
    playing: Mapping[str, Sequence[str]], processes: Sequence[ProcessStatus]
) -> tuple[RoleHealth, ...]:
    by_name = {each.name: each for each in processes}
    roles = []
    for role, names in playing.items():
        players = [by_name[name] for name in names if name in by_name]
        times = [p.last_progress for p in players if p.last_progress is not None]
        states = [player.state for player in players]
        worst = min(states, key=_FROM_WORST.index, default=ProcessState.STOPPED)
        roles.append(RoleHealth(role, worst, max(times, default=None), tuple(names)))
    return tuple(roles)


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f} s"
