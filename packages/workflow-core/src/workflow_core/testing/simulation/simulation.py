"""One seed, one story."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import Any

from workflow_core.definition import Run, Workflow
from workflow_core.engine import Engine
from workflow_core.engine.transition import Identity, status_event
from workflow_core.errors import AdapterUnavailableError, InputError, RunError, StoppedError
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Event, EventKind, Record
from workflow_core.ports import Capability
from workflow_core.testing.clock import FakeClock
from workflow_core.testing.simulation.faults import WORLDS, Chances, Crash
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.invariants import (
    DriveInvariant,
    Executions,
    Limits,
    check_end,
    check_one_is_live,
)
from workflow_core.testing.simulation.member import Member
from workflow_core.testing.simulation.membership import Membership
from workflow_core.testing.simulation.people import People
from workflow_core.testing.simulation.pools import Pools
from workflow_core.testing.simulation.ticks import TickInvariant
from workflow_core.testing.simulation.timer_invariants import TimerInvariants

__all__ = ["Simulation"]

_OPTIONAL = (Capability.CLAIMS, Capability.WAKES)
_LENT = (Capability.TRANSACTIONS,)  # what schedules do without, where nothing else needs it
_LONGEST_STEP = timedelta(seconds=2)
_PATIENCE = timedelta(minutes=75)  # for the end: what seemed to hang is tried again in an hour
_LONGEST_TIMER = timedelta(minutes=5)
_TICK = timedelta(milliseconds=1)
_A_WHILE = timedelta(seconds=5)
_QUIET = 500  # sweeps after which something is said to spin


class Simulation(Membership, People):
    """A cluster whose every move the dice decide; ends when all runs have ended.

    Args:
        seed: decides everything.
        workflow: what is served; its bodies call `body` and may take chance from `dice`.
        make_data: a new run's data.
        starts: where runs begin; left out, at the workflow's start.
        calls: call a run back; each is given an engine and the run's id.
        moves: how many random moves there are before calm returns.
        beside: workflows that are served too; nobody triggers them from outside.
        pools: statuses that members of their own work on, by the pool's name.
        move_to: statuses of the workflow to which operators move runs.

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
        starts: Sequence[IntEnum] = (),
        calls: Sequence[Callable[[Engine, str], None]] = (),
        moves: int = 250,
        beside: Sequence[Workflow[Any, Any]] = (),
        pools: Mapping[str, Collection[IntEnum]] = {},
        move_to: Sequence[IntEnum] = (),
    ) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.is_calm = False
        self.story: list[str] = []
        self._workflow = workflow
        self._served = {each.name: each for each in (workflow, *beside)}
        self._pools = Pools([workflow, *beside], pools)
        self._move_to = move_to
        if move_to:
            self._verbs = (*self._verbs, "move", "move")
        self._make_data = make_data
        self._starts = starts or [workflow.start]
        self._calls = calls
        self._moves = moves
        self._clock = FakeClock()
        self._identity = Identity(self._clock, self.dice)
        joined = self.dice.random() < 0.5
        self._records = MemoryDatabase(self._clock)
        self._stream = self._records if joined else MemoryDatabase(self._clock)
        timed = self.dice.random() < 0.5
        self._timers = self._records if timed else MemoryDatabase(self._clock)
        self._chances = self.dice.choice(WORLDS)
        optional = _OPTIONAL if joined or not workflow.schedules else (*_OPTIONAL, *_LENT)
        self._without = frozenset(c for c in optional if self.dice.random() < 0.25)
        self._drive = DriveInvariant(self._served, self._records, self._stream, self._pools)
        self._ticks = [TickInvariant(each, self._records) for each in self._served.values()]
        where = (self._records, self._stream, self._timers, self._pools)
        self._timing = {name: TimerInvariants(w, *where) for name, w in self._served.items()}
        self._executions = Executions(self._records, self._pools)
        self._limits = Limits(self._served)
        self._members: list[Member] = []
        self._gone: list[Member] = []
        self._acting: Member | None = None
        self._stopping: Member | None = None
        self._activity = ""
        self._broken: InvariantError | None = None
        self._sent: list[Event] = []
        self._checked = 0
        without = " and ".join(sorted(capability.name for capability in self._without))
        told = f"{'joined' if joined else 'outbox'}, timers {'joined' if timed else 'apart'}"
        self._tell(f"{told}, {self._chances}, without {without or '-'}")

    def run(self) -> None:
        """Tell the whole story.

        Raises:
            InvariantError: an invariant does not hold; the seed and the story are its notes.
        """
        try:
            self._man_all_pools()
            for _ in range(self._moves):
                self._move()
            self._come_to_an_end()
            self._check_end()
            self._let_timers_run_out()
        except Exception as failure:
            failure.add_note(f"seed {self.seed}, the story so far:")
            failure.add_note("\n".join(self.story))
            raise
        finally:
            for member in [*self._members, *self._gone]:
                member.clean_up()

    def records(self) -> list[Record]:
        """All runs as they are."""
        return [r for r in self._records.runs.rows.values() if r.workflow in self._served]

    @contextmanager
    def body(self, run: Run[Any, Any], status: IntEnum) -> Iterator[None]:
        """Around each body of the workflow, where it awaits too; `status` is the step's."""
        member = self._acting
        assert member is not None
        self._tell(f"{member.name} executes {run.status.name} of {run.run_id}, {run.version}")
        try:
            self._executions.begin(run, status, member, self._clock.now())
            self._limits.begin(run, status, member)
        except InvariantError as broken:
            self._broken = broken  # the engine takes whatever a body raises for a failed attempt
            raise
        try:
            yield
        finally:
            self._limits.end(run, status)
            self._executions.end(run, member, self._clock.now())

    def meanwhile(self, busy: str) -> None:
        """What happens while the process named `busy` of the acting member takes its time.

        Others play on, and so do the member's other processes, so that it may lose its role.
        """
        acting = self._acting
        assert acting is not None
        if acting is self._stopping:  # what it had received is nowhere until its receiver is closed
            return
        chances, acting.faults.chances = acting.faults.chances, Chances()  # it is not to die here
        for _ in range(self.dice.choice((0, 0, 8))):
            member = self.dice.choice(self._members)
            activities = member.activities
            self.dice.shuffle(activities)
            for name, poll in activities:
                if member.is_alive and (member is not acting or name != busy):
                    self._do(member, name, poll)
            if self.dice.random() < 0.5:
                self._purge(self.dice.choice(self._members))
            try:
                self._check()
            except InvariantError as broken:
                self._broken = broken  # as above
        acting.faults.chances = chances

    @contextmanager
    def firing(self, run: Run[Any, Any], *, at_once: bool) -> Iterator[None]:
        """Around each timer's function; `at_once`: it is no async one, that begins later."""
        member = self._acting
        assert member is not None
        self._tell(f"{member.name} fires {run.timer} of {run.run_id}, {run.version}")
        try:
            self._timing[run.workflow].begin(run, self._clock.now(), at_once=at_once)
        except InvariantError as broken:
            self._broken = broken
            raise
        yield

    def _check(self) -> None:
        if len(self.story) == self._checked:
            return  # nothing has happened
        self._checked = len(self.story)
        if self._broken is not None:
            raise self._broken
        check_one_is_live(self._records)
        self._drive.check(self._members)
        for ticks in self._ticks:
            ticks.check(self._clock.now())
        for timing in self._timing.values():
            timing.check(self._members)

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
        before, self._acting, self._activity = (self._acting, self._activity), member, what
        try:
            useful = bool(act())
        except AdapterUnavailableError:
            useful = False
        except (RunError, InputError) as error:
            self._tell(f"{member.name}: {what}: {type(error).__name__}")
            useful = False
        except (Crash, StoppedError):
            if not member.faults.is_dead:
                raise
            self._tell(f"{member.name} dies while {what}")
            for timing in self._timing.values():
                timing.somebody_died = True
            self._bury(member)
            return True
        finally:
            self._acting, self._activity = before
        if useful:
            self._tell(f"{member.name}: {what}")
        return useful

    def _let_time_pass(self) -> None:
        by = _LONGEST_STEP * self.dice.random()
        self._clock.advance(by)
        self._tell(f"{by} pass")

    def _let_an_event_come_again(self) -> None:
        """An old one, as after a rewind, or one of the present version, as from a reconciler.

        Among the old ones are such of writes that were never kept, as after a fail-over.
        """
        records = [r for r in self.records() if r.status in self._served[r.workflow].steps]
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

    def _post(self, event: Event, is_lost: bool) -> None:
        self._sent.append(event)
        if is_lost:
            self._drive.lose(event.run_id, event.version)
            if event.workflow in self._timing:
                self._timing[event.workflow].lose(event)

    def _suffer(self, misfortune: str) -> None:
        self._tell(misfortune)
        if self._acting is not None and self._activity.startswith("worker"):
            self._executions.excuse(self._acting)

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

    def _check_end(self) -> None:
        check_end(self._records)

    def _let_timers_run_out(self) -> None:
        """What was left open by somebody's misfortune finds its run gone on."""
        end = self._clock.now() + _LONGEST_TIMER
        while self._clock.now() < end:
            self._clock.advance(_A_WHILE)
            self._sweep_until_quiet()
        for timing in self._timing.values():
            timing.check_end()

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
        for record in self.records():
            if record.state.is_finished:
                continue
            running = True
            if not record.state.is_driven:
                engine.resume(record.run_id, who="the end")
        return not running
