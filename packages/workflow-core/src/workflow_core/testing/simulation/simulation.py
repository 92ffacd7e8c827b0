"""One seed, one story."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import Any

from workflow_core.definition import Run, Workflow
from workflow_core.engine import Engine, EngineSettings
from workflow_core.engine.transition import Identity, status_event
from workflow_core.errors import AdapterUnavailableError, RunError
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Event, EventKind, Record
from workflow_core.ports import Capability
from workflow_core.testing.clock import FakeClock
from workflow_core.testing.simulation.faults import Chances, Crash, Faults
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.invariants import DriveInvariant, Executions, check_end
from workflow_core.testing.simulation.member import Member, SkewedClock

__all__ = ["Simulation"]

WORLDS = (
    Chances(),
    Chances(doubled=0.1, lost=0.05),
    Chances(unavailable=0.03, doubled=0.05),
    Chances(unavailable=0.02, crash=0.003, lost=0.03, doubled=0.05),
)
"""From a calm one, where only order and time are random, to one where anything goes wrong."""

_OPTIONAL = (Capability.CLAIMS, Capability.WAKES)
_SETTINGS = EngineSettings(
    shards=4, reconcile_every=timedelta(seconds=30), reconcile_age=timedelta(seconds=10)
)
_MEMBERS = 3  # at most at a time
_FOREIGN_IDS = 8
_LONGEST_STEP = timedelta(seconds=2)
_PATIENCE = timedelta(minutes=30)  # after the last misfortune all runs are to have ended by then
_TICK = timedelta(milliseconds=1)
_A_WHILE = timedelta(seconds=5)
_QUIET = 500  # sweeps after which something is said to spin


class Simulation:
    """A cluster whose every move the dice decide; ends when all runs have ended.

    Args:
        seed: decides everything.
        workflow: what is served; its bodies call `body` and may take chance from `dice`.
        make_data: a new run's data.
        moves: how many random moves there are before calm returns.

    Attributes:
        dice: the one source of chance.
        is_calm: whether all is to go well from now on: bodies should no longer fail then.
        story: what happened, move by move.
    """

    def __init__(
        self,
        seed: int,
        workflow: Workflow[Any, Any],
        make_data: Callable[[], Any],
        *,
        moves: int = 250,
    ) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.is_calm = False
        self.story: list[str] = []
        self._workflow = workflow
        self._make_data = make_data
        self._moves = moves
        self._clock = FakeClock()
        self._identity = Identity(self._clock, self.dice)
        joined = self.dice.random() < 0.5
        self._records = MemoryDatabase(self._clock)
        self._stream = self._records if joined else MemoryDatabase(self._clock)
        self._chances = self.dice.choice(WORLDS)
        self._without = frozenset(c for c in _OPTIONAL if self.dice.random() < 0.25)
        self._drive = DriveInvariant(workflow, self._records, self._stream)
        self._executions = Executions(self._records)
        self._members: list[Member] = []
        self._gone: list[Member] = []
        self._acting: Member | None = None
        self._broken: InvariantError | None = None
        self._sent: list[Event] = []
        self._checked = 0
        without = " and ".join(sorted(capability.name for capability in self._without))
        self._tell(f"{'joined' if joined else 'outbox'}, {self._chances}, without {without or '-'}")

    def run(self) -> None:
        """Tell the whole story.

        Raises:
            InvariantError: an invariant does not hold; the seed and the story are its notes.
        """
        try:
            self._join()
            for _ in range(self._moves):
                self._move()
            self._come_to_an_end()
            check_end(self._records)
        except Exception as failure:
            failure.add_note(f"seed {self.seed}, the story so far:")
            failure.add_note("\n".join(self.story))
            raise
        finally:
            for member in [*self._members, *self._gone]:
                member.clean_up()

    def records(self) -> list[Record]:
        """All runs as they are."""
        return list(self._records.runs.rows.values())

    @contextmanager
    def body(self, run: Run[Any, Any], status: IntEnum) -> Iterator[None]:
        """Around each body of the workflow, where it awaits too; `status` is the step's."""
        member = self._acting
        assert member is not None
        self._tell(f"{member.name} executes {run.status.name} of {run.run_id}, {run.version}")
        try:
            self._executions.begin(run, status, member, self._clock.now())
        except InvariantError as broken:
            self._broken = broken  # the engine takes whatever a body raises for a failed attempt
            raise
        try:
            yield
        finally:
            self._executions.end(run, member, self._clock.now())

    def _check(self) -> None:
        if len(self.story) == self._checked:
            return  # nothing has happened
        self._checked = len(self.story)
        if self._broken is not None:
            raise self._broken
        self._drive.check(self._members)

    # -- moves ---------------------------------------------------------------------------------

    def _move(self) -> None:
        fate = self.dice.random()
        if fate < 0.70:
            self._poll_some(self.dice.choice(self._members))
        elif fate < 0.80:
            self._let_time_pass()
        elif fate < 0.93:
            self._let_somebody_act()
        elif fate < 0.98:
            self._let_an_event_come_again()
        else:
            self._change_members()
        self._check()

    def _poll_some(self, member: Member) -> None:
        """One of its activities, some, or each once."""
        activities = member.activities
        self.dice.shuffle(activities)
        for name, poll in activities[: self.dice.choice((1, 3, len(activities)))]:
            if member.is_alive:
                self._do(member, name, poll)
                self._check()

    def _do(self, member: Member, what: str, act: Callable[[], object]) -> bool:
        """Something that `member` does; answers whether it was of use."""
        self._acting = member
        try:
            useful = bool(act())
        except AdapterUnavailableError:
            useful = False
        except RunError as error:
            self._tell(f"{member.name}: {what}: {type(error).__name__}")
            useful = False
        except Crash:
            self._tell(f"{member.name} dies while {what}")
            self._bury(member)
            return True
        finally:
            self._acting = None
        if useful:
            self._tell(f"{member.name}: {what}")
        return useful

    def _let_time_pass(self) -> None:
        by = _LONGEST_STEP * self.dice.random()
        self._clock.advance(by)
        self._tell(f"{by} pass")

    def _let_somebody_act(self) -> None:
        member = self.dice.choice(self._members)
        engine = member.engine
        run_ids = list(self._records.runs.rows)
        verb = self.dice.choice(("trigger", "trigger", "pause", "resume", "interrupt", "cancel"))
        if verb == "trigger" or not run_ids:
            foreign_id = f"foreign-{self.dice.randrange(_FOREIGN_IDS)}"
            key = self.dice.choice((None, f"key-{self.dice.randrange(20)}"))
            data = self._make_data()
            self._do(
                member,
                f"trigger {foreign_id}",
                lambda: engine.trigger(self._workflow, foreign_id, data, idempotency_key=key),
            )
            return
        run_id = self.dice.choice(run_ids)
        verbs: dict[str, Callable[[], None]] = {
            "pause": lambda: engine.pause(run_id, reason="simulated"),
            "resume": lambda: engine.resume(run_id, who="simulated"),
            "interrupt": lambda: _interrupt(engine, run_id),
            "cancel": lambda: engine.cancel(run_id, reason="simulated"),
        }
        if verb != "cancel" or self.dice.random() < 0.2:
            self._tell(f"{member.name} is to {verb} {run_id}")
            self._do(member, verb, verbs[verb])

    def _let_an_event_come_again(self) -> None:
        """An old one, as after a rewind, or one of the present version, as from a reconciler.

        Among the old ones are such of writes that were never kept, as after a fail-over.
        """
        records = [r for r in self.records() if r.status in self._workflow.steps]
        if self._sent and self.dice.random() < 0.5:
            event = self.dice.choice(self._sent)
        elif records:
            record = self.dice.choice(records)
            event = status_event(record, self._identity, kind=EventKind.NUDGE).event
        else:
            return
        self._tell(f"an event of version {event.version} of {event.run_id} comes again")
        with self._stream.lock:
            self._stream.log.append(event, self._clock.now())

    def _change_members(self) -> None:
        if len(self._members) < _MEMBERS and self.dice.random() < 0.5:
            self._join()
            return
        member = self.dice.choice(self._members)
        self._tell(f"{member.name} is told to stop")
        self._do(member, "stopping", member.stop)
        if member.is_alive:
            raise InvariantError(f"{member.name} did not stop")
        self._part_with(member)

    def _join(self) -> None:
        name = f"member-{len(self._members) + len(self._gone) + 1}"
        faults = Faults(self.dice, self._chances, tell=self._tell, post=self._post)
        try:
            member = Member(
                name,
                records=self._records,
                stream=self._stream,
                workflow=self._workflow,
                settings=_SETTINGS,
                faults=faults,
                without=self._without,
                clock=SkewedClock(self._clock, timedelta(hours=self.dice.uniform(-1, 1))),
                dice=random.Random(self.dice.getrandbits(64)),
            )
        except (AdapterUnavailableError, Crash):
            self._tell(f"{name} fails to start")
            return
        self._members.append(member)
        self._tell(f"{name} joins")

    def _bury(self, member: Member) -> None:
        member.die()
        self._part_with(member)

    def _part_with(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._gone.append(member)
        if not self._members:
            self._join()

    def _post(self, event: Event, is_lost: bool) -> None:
        self._sent.append(event)
        if is_lost:
            self._drive.lose(event.run_id, event.version)

    def _tell(self, what: str) -> None:
        self.story.append(what)

    # -- the end -------------------------------------------------------------------------------

    def _come_to_an_end(self) -> None:
        """From now on all goes well, and whatever is paused is resumed."""
        self._tell("calm returns")
        self.is_calm = True
        self._chances = Chances()
        for member in self._members:
            member.faults.chances = self._chances
        end = self._clock.now() + _PATIENCE
        while self._clock.now() < end:
            self._sweep_until_quiet()
            if self._all_ended():
                return
            due = min(
                (due for member in self._members if (due := member.next_due()) is not None),
                default=_A_WHILE,
            )
            self._clock.advance(min(max(due, _TICK), _A_WHILE))

    def _sweep_until_quiet(self) -> None:
        for _ in range(_QUIET):
            if not self._sweep():
                return
        raise InvariantError("something spins: there is always work, and time stands still")

    def _sweep(self) -> bool:
        useful = False
        for member in list(self._members):
            activities = member.activities
            self.dice.shuffle(activities)
            for name, poll in activities:
                useful |= self._do(member, name, poll)
                self._check()
        return useful

    def _all_ended(self) -> bool:
        running = False
        engine = self._members[0].engine
        for record in list(self._records.runs.rows.values()):
            if record.state.is_finished:
                continue
            running = True
            if not record.state.is_driven:
                engine.resume(record.run_id, who="the end")
        return not running


def _interrupt(engine: Engine, run_id: str) -> None:
    engine.pause(run_id, reason="simulated")
    engine.resume(run_id, who="simulated")
