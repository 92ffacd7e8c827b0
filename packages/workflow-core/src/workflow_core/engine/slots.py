"""Slots: a limit of a step's bodies over all processes.

Each of the ``at_most`` bodies that may run at once stands for a role, which at most one process
holds; so the limit holds wherever roles do. A process asks for slots while it has runs at the
status, and for no more of them than it has runs. Those that want for slots are spread by the
scheduler like all roles, but there may be fewer slots than processes, each with runs of its own to
work on: so a slot is given up after a while, and left to others for a moment, whoever they are.
"""

from __future__ import annotations

from workflow_core.definition import Step
from workflow_core.engine.keeper import Duty
from workflow_core.engine.lane import Lane
from workflow_core.engine.window import Window
from workflow_core.model import names
from workflow_core.ports import Clock

__all__ = ["slot_duties"]

_TENURE = 10.0  # seconds after which a slot is left to others
_REST = 0.5  # seconds for which it is
_UNUSED = 1.0  # seconds without a use for it after which it is given up


def slot_duties(lane: Lane, window: Window, clock: Clock) -> dict[str, Duty]:
    """The duties of all slots of a lane's limited steps, by role."""
    duties: dict[str, Duty] = {}
    for status in lane.slots:
        step = lane.steps[status]
        assert step.at_most is not None
        held: list[SlotDuty] = []
        for index in range(step.at_most):
            role = names.slot_role(lane.workflow.name, status, index)
            duties[role] = SlotDuty(lane, step, held, window, clock)
    return duties


class SlotDuty(Duty):
    """One slot. The keeper's thread."""

    def __init__(
        self, lane: Lane, step: Step, held: list[SlotDuty], window: Window, clock: Clock
    ) -> None:
        self.players = [f"step {step.name}"]
        self._lane = lane
        self._status = step.status
        self._held = held  # those of the step that this process has, in the order of their grants
        self._window = window
        self._clock = clock
        self._since = self._used_at = self._rests_until = 0.0
        self._leaves = False

    def begin(self) -> None:
        """One more body may run here."""
        self._since = self._used_at = self._clock.monotonic()
        self._leaves = False
        self._held.append(self)
        self._tell()

    def end(self) -> None:
        """One less may begin."""
        self._leaves = False
        self._begin_no_more()

    @property
    def is_ended(self) -> bool:
        """Whether no more bodies run than there are slots left."""
        with self._window.lock:
            return self._lane.running[self._status] <= self._lane.slots[self._status]

    def wants(self) -> bool:
        """Whether there is a run for it here, and it is not left to others for a while."""
        now = self._clock.monotonic()
        runs = self._lane.at[self._status]
        if self._leaves:
            return not self.is_ended
        if self not in self._held:
            return now >= self._rests_until and runs > len(self._held)
        if self._held.index(self) < runs:
            self._used_at = now
        if now - self._since < _TENURE and now - self._used_at < _UNUSED:
            return True
        # what runs in it keeps it, but nothing more begins; so a long body costs no rounds
        self._leaves = True
        self._rests_until = now + _REST
        self._begin_no_more()
        return not self.is_ended

    def _begin_no_more(self) -> None:
        if self in self._held:
            self._held.remove(self)
            self._tell()

    def _tell(self) -> None:
        with self._window.lock:
            self._lane.slots[self._status] = len(self._held)
        self._window.ease()
