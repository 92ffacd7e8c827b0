"""Serving: what a process does for the workflows that it works on, from start to ordered stop.

The stop, in this order: receive nothing more and begin nothing more; finish what is in hand, at
most for the grace time; commit and publish it; ack it; give up the roles, so that others go on at
once; end the threads. What was not finished is reported by name, is not acked, and so comes again:
a deploy costs no attempt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from workflow_core.definition import Workflow
from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.committer import Committer, abandoned
from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.hearing import Hearing
from workflow_core.engine.intakes import Intakes
from workflow_core.engine.keeper import Duty, GateDuty, Keeper, ReadsShards, ShardDuty
from workflow_core.engine.lag import LagWatch, StoreTime
from workflow_core.engine.lane import Item, Lane
from workflow_core.engine.needs import serving_ports
from workflow_core.engine.pools import Pool
from workflow_core.engine.presence import Presence
from workflow_core.engine.process import Process
from workflow_core.engine.reception import Reception
from workflow_core.engine.relay import Relay
from workflow_core.engine.resuming import Resuming
from workflow_core.engine.rota import Rota
from workflow_core.engine.safety import Safety
from workflow_core.engine.schedules import scheduler
from workflow_core.engine.signals import stop_when_signalled
from workflow_core.engine.slots import slot_duties
from workflow_core.engine.standings import standings_of
from workflow_core.engine.suspects import take_back, withdraw
from workflow_core.engine.timers.desk import TimerDesk
from workflow_core.engine.topics import check_topics
from workflow_core.engine.transactional import TransactionalSteps
from workflow_core.engine.transition import file_again
from workflow_core.engine.upkeep_rounds import upkeep_rounds
from workflow_core.engine.window import Window
from workflow_core.engine.worker import Worker
from workflow_core.errors import AdapterUnavailableError, ServingError, StoppedError
from workflow_core.model import names
from workflow_core.ports import Capability

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["Serving"]

logger = logging.getLogger("workflow_core.engine")

_PUBLISH_GRACE = timedelta(seconds=2)
_THREAD_GRACE = timedelta(seconds=5)
_UPKEEP = "upkeep"


class Serving:
    """Works on some workflows until it is stopped; a context manager. Made by `Engine.serving`.

    Args:
        core: what all parts of the engine share.
        bodies: where async steps run.
        workflows: the definitions, checked.
        pool: on which of their statuses.
        verbs: what connectors trigger and call back with.
    """

    def __init__(
        self,
        core: Core,
        bodies: AsyncBodies,
        workflows: Sequence[Workflow[Any, Any]],
        pool: Pool,
        verbs: Client,
    ) -> None:
        self._core = core
        self._bodies = bodies
        self._workflows = list(workflows)
        self._pool = pool
        self._streamer, self._scheduler = serving_ports(core)
        check_topics(self._streamer, self._workflows)
        self._window = Window(core.clock)
        self._lag = LagWatch(StoreTime(core.store, core.clock), core.clock)
        self._whole = self._workflows if pool.is_main else []  # hooks, connectors, schedules
        self._intakes = Intakes(core, self._streamer, bodies, self._whole, verbs)
        resume, told = core.settings.auto_resume, core.observers
        self._lanes = [Lane(each, pool, core.identity, resume, told) for each in self._workflows]
        self._receptions: list[Reception] = []
        self._workers: list[Worker] = []
        self._duties: dict[str, Duty] = {}
        self._gates: dict[str, Gate] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stopping = False
        self._why_not: ServingError | None = None
        self._abandoned: Sequence[str] = []
        self._assemble()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to work; returns at once. Twice is harmless.

        Raises:
            StoppedError: it was stopped: ask the engine for a new one.
            ServingError: this process was forked from the one that serves.
        """
        with self._lock:  # a stop comes before all of it or after
            if self._why_not is not None:
                raise self._why_not
            if self._stopping:
                raise StoppedError("this serving was stopped", hint="Ask the engine for a new one")
            self._window.on_crowded = self._add_workers
            if self._standings is not None:
                self._standings.begin(self._duties)
            for process in self._processes():
                self._core.crew.add(process)
        return self

    def stop(self, grace: timedelta | None = None) -> Sequence[str]:
        """Stop in order; answers what was abandoned, by name. Twice is harmless. Any thread.

        Args:
            grace: how long to wait for work in hand; None: as the engine's settings say.

        An interruption (a second Ctrl-C) ends it at once: what is in hand is abandoned, as in a
        crash, and nothing is lost.
        """
        with self._lock:
            is_first, self._stopping = not self._stopping, True
        if not is_first:
            self._stopped.wait()
            return self._abandoned
        try:
            self._stop(self._core.settings.stop_grace if grace is None else grace)
        finally:
            self._stopped.set()
        return self._abandoned

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait until it is stopped; answers whether it is."""
        return self._stopped.wait(None if timeout is None else timeout.total_seconds())

    def run_until_signalled(self) -> Sequence[str]:
        """Work until SIGINT or SIGTERM, then stop in order; answers what was abandoned.

        From the main thread only. A second signal has its ordinary effect: it ends the process.
        """
        return stop_when_signalled(self.stop, self.wait)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def forked(self, why_not: ServingError) -> None:
        """In a forked child: it works in the parent, and is not to be stopped from here."""
        self._lock = threading.Lock()
        self._stopping, self._abandoned, self._why_not = True, [], why_not
        self._stopped = threading.Event()
        self._stopped.set()

    # -- for people ----------------------------------------------------------------------------

    @property
    def workflows(self) -> Sequence[Workflow[Any, Any]]:
        """What is served."""
        return list(self._workflows)

    @property
    def roles(self) -> Sequence[str]:
        """The roles that this process plays now."""
        return self._keeper.held

    @property
    def playing(self) -> Mapping[str, Sequence[str]]:
        """The same, each with the names of the background processes that play it."""
        return self._keeper.playing

    @property
    def blocked_for(self) -> timedelta:
        """How long a body has blocked the loop of the async ones; zero: it turns."""
        return self._bodies.blocked_for

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping

    @property
    def window(self) -> Window:
        """What is in hand."""
        return self._window

    @property
    def lag(self) -> LagWatch:
        """How late events are taken up."""
        return self._lag

    # -- assembly ------------------------------------------------------------------------------

    def _assemble(self) -> None:
        core = self._core
        self._timers = TimerDesk(
            core, self._lanes, self._bodies, partial(self._gate, player="timers")
        )
        for lane in self._lanes:
            self._window.add_lane(lane)
            self._duties.update(slot_duties(lane, self._window, core.clock))
            self._receptions.append(self._reception(lane))
        self._transactional = TransactionalSteps(core.store, core.journal, self._window, core.clock)
        self._committer = Committer(self._window, core.journal, core.store)
        self._relay = self._make_relay()
        core.journal.on_delayed = self._relay.expect
        self._safety = Safety(
            self._window, core.store, core.journal, self._bodies, core.identity, core.clock
        )
        self._duties.update(self._intakes.duties())
        letters = self._intakes.upkeep(self._gate)
        rounds = upkeep_rounds(core, self._streamer, self._lanes, self._window.has, self._gate)
        self.presence = Presence(
            core, self._lanes, self._pool.name, self._duties, lambda: self.roles
        )
        self.hearing = Hearing([*self._receptions, *self._intakes.processes], core)
        seldom = [self.presence, self.hearing, *rounds, *letters, *self._timers.upkeep]
        self._upkeep = Rota(_UPKEEP, seldom)
        self._schedules = scheduler(core, self._whole, partial(self._gate, player="schedules"))
        self._standings = standings_of(core.observers, self._lanes, self._duties)
        self._keeper = Keeper(self._scheduler, self._duties, self._standings)
        self._workers.append(self._worker())

    def _processes(self) -> list[Process]:
        return [
            *self._receptions,
            *self._intakes.processes,
            *self._workers,
            self._committer,
            self._relay,
            self._safety,
            *self._timers.processes,
            self._upkeep,
            *self._schedules,
            self._keeper,
        ]

    def _reception(self, lane: Lane) -> Reception:
        shards = self._core.settings.shards
        balances = Capability.BALANCES_MEMBERS in self._streamer.capabilities
        publisher = self._core.publisher
        deliveries = self._intakes.deliveries(lane.workflow.name)

        def may_receive() -> bool:
            # what becomes of a run is told from the place in the stream that is fixed by then
            told = deliveries is None or deliveries.is_reading
            return told and (publisher is None or not publisher.is_crowded)

        reception = Reception(
            lane,
            self._window,
            self._streamer,
            journal=self._core.journal,
            identity=self._core.identity,
            shards=None if balances else shards,
            may_receive=may_receive,
            clock=self._core.clock,
            holdings=[Resuming(lane, self._core), *self._timers.arming(lane)],
        )
        readers: list[ReadsShards] = [reception] if deliveries is None else [reception, deliveries]
        if not balances:
            for index in range(shards):
                role = names.shard_role(lane.workflow.name, lane.pool, index, shards)
                self._duties[role] = ShardDuty(readers, index)
        return reception

    def _make_relay(self) -> Relay:
        workflows = [workflow.name for workflow in self._workflows]
        claims = Capability.CLAIMS in self._core.store.capabilities
        gate = Gate(is_open=claims)
        if not claims:
            self._duties[names.relay_role("+".join(sorted(workflows)))] = GateDuty(gate, Relay.name)
        return Relay(
            self._core.store,
            self._streamer,
            workflows,
            joined=self._core.journal.joined,
            gate=gate,
            clock=self._core.clock,
            observers=self._core.observers,
        )

    def _gate(self, role: str, player: str = _UPKEEP) -> Gate:
        if role not in self._gates:
            self._gates[role] = Gate()
            self._duties[role] = GateDuty(self._gates[role], player)
        return self._gates[role]

    def _worker(self) -> Worker:
        core = self._core
        return Worker(
            f"worker {len(self._workers) + 1}",
            window=self._window,
            store=core.store,
            journal=core.journal,
            committer=self._committer,
            bodies=self._bodies,
            transactional=self._transactional,
            identity=core.identity,
            lag=self._lag,
            clock=core.clock,
        )

    def _add_workers(self, bodies: int) -> None:
        """So many bodies wait while all workers are in slow ones: twice as many workers at most."""
        most = sum(step.concurrency for lane in self._lanes for step in lane.steps.values())
        with self._lock:
            if self._stopping:
                return
            room = min(most, self._core.settings.max_threads) - len(self._workers)
            for _ in range(min(bodies, len(self._workers), room)):
                worker = self._worker()
                self._workers.append(worker)
                self._core.crew.add(worker)  # within the lock: a stop must not miss it

    # -- stop ----------------------------------------------------------------------------------

    def _stop(self, grace: timedelta) -> None:
        crew = self._core.crew
        end = self._core.clock.monotonic() + grace.total_seconds()
        begun_on_paper = self._window.close_entrance()
        self._intakes.close_entrance()
        self._timers.close_entrance()
        take_back(begun_on_paper, self._core.journal)
        crew.work_off()
        drained = self._window.wait_empty(self._until(end))
        waits = [self._intakes.wait_idle, self._timers.wait_empty]
        undone = [name for wait in waits for name in wait(self._until(end))]
        if not drained or undone:
            self._abandon([] if drained else self._window.abandon(), undone, grace)
        self._publish_rest(timedelta(0) if crew.manual else _PUBLISH_GRACE)
        # Workers in a body that never returns are left behind: their threads are daemons.
        in_bodies = [*self._workers, *self._timers.processes]
        hangs = self._abandoned or self._window.has_late
        crew.dismiss(in_bodies, timedelta(0) if hangs else _THREAD_GRACE)
        late = crew.dismiss([p for p in self._processes() if p not in in_bodies], _THREAD_GRACE)
        if late:
            logger.warning("did not end within %s: %s", _THREAD_GRACE, ", ".join(late))
        self._intakes.close(late)
        self._close([r for r in self._receptions if r.name not in late])

    def _until(self, end: float) -> timedelta:
        rest = 0.0 if self._core.crew.manual else end - self._core.clock.monotonic()
        return timedelta(seconds=max(0.0, rest))

    def _abandon(self, items: Sequence[Item], undone: Sequence[str], grace: timedelta) -> None:
        """Say what is left undone. It comes again at once, also where a safety copy drives it."""
        self._abandoned = [*abandoned(items), *undone]
        for name in self._abandoned:
            logger.warning("stopped after %s, abandoned: %s", grace, name)
        try:
            try:
                self._timers.give_back()
            finally:  # that may be another server
                copied = [it.event for it in items if it.safety_copy]
                self._core.journal.file([file_again(it, self._core.identity) for it in copied])
                withdraw(items, self._core.journal)
        except AdapterUnavailableError as error:
            logger.warning("some of it is taken up again in a minute only: %s", error)

    def _publish_rest(self, grace: timedelta) -> None:
        try:
            if self._core.publisher is not None:
                self._core.publisher.drain(grace)
        except AdapterUnavailableError as error:
            logger.warning("the last events are left to the relays: %s", error)

    def _close(self, receptions: Sequence[Reception]) -> None:
        for close in [
            *(reception.close for reception in receptions),
            self._keeper.release_all,
            self._relay.close,
            self._bodies.close,
            self.presence.leave,
        ]:
            try:
                close()
            except Exception as error:  # all others are to be closed all the same
                logger.warning("while stopping: %s", error)
        if self._standings is not None:
            self._standings.end()
