"""All that a serving does for timers; there is none where no workflow has any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.lane import Lane
from workflow_core.engine.process import Process
from workflow_core.engine.timers.arming import Arming, ArmingRounds
from workflow_core.engine.timers.leftovers import ClosedRounds, LeftoverRounds
from workflow_core.engine.timers.poller import TimerPoller
from workflow_core.engine.timers.served import Served
from workflow_core.errors import ServingError
from workflow_core.model import names
from workflow_core.ports import TimeoutStore

__all__ = ["TimerDesk"]


class TimerDesk:
    """The poller, what arms, and their roles.

    Args:
        core: the engine's.
        lanes: all lanes of the serving.
        bodies: where async functions run.
        gate: makes the gate of a role.

    Raises:
        ServingError: a workflow has timers, and the engine no timeout store.
    """

    def __init__(
        self,
        core: Core,
        lanes: Sequence[Lane],
        bodies: AsyncBodies,
        gate: Callable[[str], Gate],
    ) -> None:
        self._core = core
        self._poller: TimerPoller | None = None
        self._arming: dict[str, Arming] = {}
        self.processes: list[Process] = []
        self.upkeep: list[Process] = []
        for lane in lanes:
            core.timers.learn(lane.workflow)
        timed = [lane for lane in lanes if lane.workflow.timeouts]
        if timed:
            self._open(timed, _needed(core, timed), bodies, gate)

    def _open(
        self,
        lanes: Sequence[Lane],
        timeouts: TimeoutStore,
        bodies: AsyncBodies,
        gate: Callable[[str], Gate],
    ) -> None:
        core = self._core
        served: dict[str, Served] = {}
        poller = self._poller = TimerPoller(core, timeouts, served, bodies)
        self.processes.append(poller)
        for lane in lanes:
            name = lane.workflow.name
            timers = core.timers.of(name)
            assert timers is not None
            self._arming[name] = Arming(timers, core.store, timeouts, poller.expect)
            if not lane.is_main:
                continue  # it arms what it receives; main lets fire
            role = gate(names.timers_role(name))
            served[name] = Served(timers, lane.transition, role)
            self.upkeep += [
                ArmingRounds(timers, core, timeouts, poller.expect, role),
                LeftoverRounds(timers, core, timeouts, role),
                ClosedRounds(name, core, timeouts, role),
            ]
        clerk = core.journal.clerk
        assert clerk is not None
        clerk.on_armed, clerk.on_ended = poller.expect, poller.ended

    def arming(self, lane: Lane) -> Sequence[Arming]:
        """What the lane's reception arms with, where its workflow has timers."""
        arming = self._arming.get(lane.workflow.name)
        return [] if arming is None else [arming]

    # -- stop ----------------------------------------------------------------------------------

    def close_entrance(self) -> None:
        """Let nothing more fire."""
        if self._poller is not None:
            self._poller.close_entrance()

    def wait_empty(self, timeout: timedelta) -> Sequence[str]:
        """After `close_entrance`: wait for what has begun; answers what has not ended, by name."""
        if self._poller is None or self._poller.wait_empty(timeout):
            return []
        return self._poller.in_hand()

    def give_back(self) -> None:
        """What has not ended is due at once, for others. Raises AdapterUnavailableError."""
        if self._poller is not None:
            self._poller.give_back()


def _needed(core: Core, lanes: Sequence[Lane]) -> TimeoutStore:
    if core.timeouts is None:
        name = lanes[0].workflow.name
        raise ServingError(
            f"workflow {name!r} has timers, and this engine has no timeout_store",
            workflow=name,
            hint='Configure one, e.g. timeout_store = "sql"',
        )
    return core.timeouts
