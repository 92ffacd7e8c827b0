"""What people and programs outside do to the cluster, as the dice say."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any

from workflow_core.definition import Trigger, Workflow
from workflow_core.engine import Engine
from workflow_core.memory import MemoryDatabase
from workflow_core.ports import Capability
from workflow_core.testing.simulation.invariants import Executions
from workflow_core.testing.simulation.member import Member

__all__ = ["People"]

_VERBS = ("trigger", "trigger", "pause", "resume", "interrupt", "cancel", "call", "call")
_FOREIGN_IDS = 8
_LONGEST_TAKE_OVER = timedelta(minutes=2)


class People:
    """Base of `Simulation`, which has all that is named here."""

    dice: random.Random
    _workflow: Workflow[Any, Any]
    _make_data: Callable[[], Any]
    _starts: Sequence[IntEnum]
    _verbs: Sequence[str] = _VERBS
    _calls: Sequence[Callable[[Engine, str], None]]
    _move_to: Sequence[IntEnum]
    _records: MemoryDatabase
    _members: list[Member]
    _executions: Executions
    _without: frozenset[Capability]

    def _do(self, member: Member, what: str, act: Callable[[], object]) -> bool:
        raise NotImplementedError

    def _tell(self, what: str) -> None:
        raise NotImplementedError

    def _let_somebody_act(self) -> None:
        member = self.dice.choice(self._members)
        engine = member.engine
        run_ids = list(self._records.runs.rows)
        verb = self.dice.choice(self._verbs)
        if self._workflow.schedules and self.dice.random() < 0.3:
            self._steer_schedules(member)
            return
        if verb == "trigger" or not run_ids:
            self._trigger(member)
            return
        if verb == "move":
            self._move_some_run(member)
            return
        run_id = self.dice.choice(run_ids)
        verbs: dict[str, Callable[[], None]] = {
            "pause": lambda: engine.pause(run_id, reason="simulated"),
            "resume": lambda: engine.resume(run_id, who="simulated"),
            "retry": lambda: engine.retry_now(run_id, who="simulated"),
            "interrupt": lambda: _interrupt(engine, run_id),
            "cancel": lambda: engine.cancel(run_id, reason="simulated"),
            "call": lambda: self.dice.choice(self._calls or [_call_nobody])(engine, run_id),
        }
        if verb != "cancel" or self.dice.random() < 0.2:
            self._tell(f"{member.name} is to {verb} {run_id}")
            self._do(member, verb, verbs[verb])

    def _trigger(self, member: Member) -> None:
        begin = self._new()
        self._do(
            member,
            f"trigger {begin.foreign_id}",
            lambda: member.engine.trigger(
                self._workflow,
                begin.foreign_id,
                begin.data,
                status=begin.status,
                idempotency_key=begin.idempotency_key,
                start_at=begin.start_at,
                headers=begin.headers,
            ),
        )

    def _move_some_run(self, member: Member) -> None:
        rows = self._records.runs.rows.values()
        ours = [r.run_id for r in rows if r.workflow == self._workflow.name and r.state.is_live]
        if not ours:
            return
        run_id, goal = self.dice.choice(ours), self.dice.choice(self._move_to)
        self._tell(f"{member.name} is to move {run_id} to {goal.name}")
        engine, flow = member.engine, self._workflow
        self._do(member, "move", lambda: engine.move(flow, run_id, goal, who="simulated"))

    def _new(self) -> Trigger[Any]:
        """A run that somebody wants to begin."""
        foreign_id = f"foreign-{self.dice.randrange(_FOREIGN_IDS)}"
        key = self._some_key()
        return Trigger(foreign_id, self._make_data(), self.dice.choice(self._starts), key)

    def _some_key(self) -> str | None:
        return self.dice.choice((None, f"key-{self.dice.randrange(20)}"))

    def _steer_schedules(self, member: Member) -> None:
        engine, name = member.engine, self._workflow.name
        schedule = self.dice.choice(list(self._workflow.schedules))
        verb = self.dice.choice(("pause", "resume", "resume", "purge"))
        verbs: dict[str, Callable[[], object]] = {
            "pause": lambda: engine.pause_schedule(name, schedule, reason="simulated"),
            "resume": lambda: engine.resume_schedule(name, schedule, who="simulated"),
        }
        if verb == "purge":
            self._purge(member)
            return
        self._tell(f"{member.name} is to {verb} {schedule}")
        self._do(member, verb, verbs[verb])

    def _purge(self, member: Member) -> None:
        # A store without transactions keeps runs for longer than it takes to settle their tick.
        is_exact = Capability.TRANSACTIONS not in self._without
        keep = timedelta(0) if is_exact else _LONGEST_TAKE_OVER
        self._tell(f"{member.name} is to purge")
        self._do(member, "purge", lambda: member.engine.purge(self._workflow, older_than=keep))
        self._executions.forget_purged()


def _call_nobody(engine: Engine, run_id: str) -> None:
    """The workflow has no callbacks."""


def _interrupt(engine: Engine, run_id: str) -> None:
    engine.pause(run_id, reason="simulated")
    engine.resume(run_id, who="simulated")
