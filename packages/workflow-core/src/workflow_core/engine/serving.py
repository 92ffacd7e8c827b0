"""Serving: what a process does for the workflows that it works on, from start to ordered stop.

The stop, in this order: receive nothing more and begin nothing more; finish what is in hand, at
most for the grace time; commit and publish it; ack it; give up the roles, so that others go on at
once; end the threads. What was not finished is reported by name, is not acked, and so comes again:
a deploy costs no attempt.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from datetime import timedelta
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Self

from workflow_core.definition import Workflow
from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.committer import Committer, abandoned
from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.keeper import Duty, GateDuty, Keeper, ShardDuty
from workflow_core.engine.lag import LagWatch, StoreTime
from workflow_core.engine.lane import Item, Lane
from workflow_core.engine.process import Process
from workflow_core.engine.reception import Reception
from workflow_core.engine.reconciler import Reconciler
from workflow_core.engine.relay import Relay
from workflow_core.engine.rota import Rota
from workflow_core.engine.safety import Safety
from workflow_core.engine.transition import file_again
from workflow_core.engine.upkeep import Retention
from workflow_core.engine.window import Window
from workflow_core.engine.worker import Worker
from workflow_core.errors import AdapterUnavailableError, ServingError, StoppedError
from workflow_core.model import names
from workflow_core.ports import Capability, EventStreamer, RoleScheduler

__all__ = ["Serving"]

logger = logging.getLogger("workflow_core.engine")

_PUBLISH_GRACE = timedelta(seconds=2)
_THREAD_GRACE = timedelta(seconds=5)
_POOL = "main"


class Serving:
    """Works on some workflows until it is stopped; a context manager. Made by `Engine.serving`.

    Args:
        core: what all parts of the engine share.
        bodies: where async steps run.
        workflows: the definitions, checked.
    """

    def __init__(
        self, core: Core, bodies: AsyncBodies, workflows: Sequence[Workflow[Any, Any]]
    ) -> None:
        self._core = core
        self._bodies = bodies
        self._workflows = list(workflows)
        self._streamer, self._scheduler = _needed(core)
        self._window = Window(core.clock)
        self._lag = LagWatch(StoreTime(core.store, core.clock), core.clock)
        self._lanes = [Lane(workflow, _POOL, core.identity) for workflow in self._workflows]
        self._receptions: list[Reception] = []
        self._workers: list[Worker] = []
        self._duties: dict[str, Duty] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stopping = False
        self._abandoned: Sequence[str] = []
        self._assemble()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to work; returns at once. Twice is harmless.

        Raises:
            StoppedError: it was stopped: ask the engine for a new one.
        """
        with self._lock:  # a stop comes before all of it or after
            if self._stopping:
                raise StoppedError("this serving was stopped", hint="Ask the engine for a new one")
            self._window.on_crowded = self._add_workers
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
        # Not an event: a handler that sets one may have interrupted the very thread that holds its
        # lock. This queue's put is made for handlers.
        told: SimpleQueue[int] = SimpleQueue()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def tell(number: int, frame: FrameType | None) -> None:
            for known in before:
                signal.signal(known, signal.SIG_DFL)
            told.put(number)

        for number in before:
            signal.signal(number, tell)
        try:
            came = self._next_signal(told)
            if came is not None:
                logger.info("%s: stopping; again to end at once", signal.Signals(came).name)
            return self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _next_signal(self, told: SimpleQueue[int]) -> int | None:
        while not self._stopped.is_set():
            try:
                return told.get(timeout=1)  # with a limit: another thread may stop us too
            except Empty:
                continue
        return None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

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
    def lag(self) -> LagWatch:
        """How late events are taken up."""
        return self._lag

    # -- assembly ------------------------------------------------------------------------------

    def _assemble(self) -> None:
        core = self._core
        for lane in self._lanes:
            self._window.add_lane(lane)
            self._receptions.append(self._reception(lane))
        self._committer = Committer(self._window, core.journal, core.store)
        self._relay = self._make_relay()
        core.journal.on_delayed = self._relay.expect
        self._safety = Safety(
            self._window, core.store, core.journal, self._bodies, core.identity, core.clock
        )
        self._upkeep = Rota("upkeep", [*self._reconcilers(), *self._retentions()])
        self._keeper = Keeper(self._scheduler, self._duties)
        self._workers.append(self._worker())

    def _processes(self) -> list[Process]:
        return [
            *self._receptions,
            *self._workers,
            self._committer,
            self._relay,
            self._safety,
            self._upkeep,
            self._keeper,
        ]

    def _reception(self, lane: Lane) -> Reception:
        shards = self._core.settings.shards
        balances = Capability.BALANCES_MEMBERS in self._streamer.capabilities
        publisher = self._core.publisher
        reception = Reception(
            lane,
            self._window,
            self._streamer,
            journal=self._core.journal,
            identity=self._core.identity,
            shards=None if balances else shards,
            may_receive=lambda: publisher is None or not publisher.is_crowded,
        )
        if not balances:
            for index in range(shards):
                role = names.shard_role(lane.workflow.name, lane.pool, index, shards)
                self._duties[role] = ShardDuty(reception, index)
        return reception

    def _make_relay(self) -> Relay:
        workflows = [workflow.name for workflow in self._workflows]
        claims = Capability.CLAIMS in self._core.store.capabilities
        gate = Gate(is_open=claims)
        if not claims:
            self._duties[names.relay_role("+".join(sorted(workflows)))] = GateDuty(gate)
        return Relay(
            self._core.store,
            self._streamer,
            workflows,
            joined=self._core.journal.joined,
            gate=gate,
            clock=self._core.clock,
        )

    def _reconcilers(self) -> list[Process]:
        core = self._core
        reconcilers: list[Process] = []
        for lane in self._lanes:
            gate = self._gate(names.reconciler_role(lane.workflow.name))
            reconcilers.append(
                Reconciler(
                    lane,
                    core.store,
                    self._streamer,
                    core.journal,
                    core.identity,
                    in_hand=self._window.has,
                    gate=gate,
                    settings=core.settings,
                    clock=core.clock,
                )
            )
        return reconcilers

    def _retentions(self) -> list[Process]:
        core = self._core
        keep = core.settings.retention
        if keep is None:
            return []
        return [
            Retention(
                workflow.name,
                core.store,
                keep,
                gate=self._gate(names.upkeep_role(workflow.name)),
                clock=core.clock,
            )
            for workflow in self._workflows
        ]

    def _gate(self, role: str) -> Gate:
        gate = Gate()
        self._duties[role] = GateDuty(gate)
        return gate

    def _worker(self) -> Worker:
        core = self._core
        return Worker(
            f"worker {len(self._workers) + 1}",
            window=self._window,
            store=core.store,
            journal=core.journal,
            bodies=self._bodies,
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
        self._window.close_entrance()
        crew.work_off()
        drained = self._window.wait_empty(timedelta(0) if crew.manual else grace)
        if not drained:
            self._abandon(self._window.in_hand(), grace)
        self._publish_rest(timedelta(0) if crew.manual else _PUBLISH_GRACE)
        # Workers in a body that never returns are left behind: their threads are daemons.
        crew.dismiss(self._workers, _THREAD_GRACE if drained else timedelta(0))
        late = crew.dismiss([p for p in self._processes() if p not in self._workers], _THREAD_GRACE)
        if late:
            logger.warning("did not end within %s: %s", _THREAD_GRACE, ", ".join(late))
        self._close([r for r in self._receptions if r.name not in late])

    def _abandon(self, items: Sequence[Item], grace: timedelta) -> None:
        """Say what is left undone. It comes again at once, also where a safety copy drives it."""
        self._abandoned = abandoned(items)
        for name in self._abandoned:
            logger.warning("stopped after %s, abandoned: %s", grace, name)
        try:
            acked = [item.event for item in items if item.safety_copy]
            self._core.journal.file([file_again(event, self._core.identity) for event in acked])
        except AdapterUnavailableError as error:
            logger.warning("some long steps are taken up again in a minute only: %s", error)

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
        ]:
            try:
                close()
            except Exception as error:  # all others are to be closed all the same
                logger.warning("while stopping: %s", error)


def _needed(core: Core) -> tuple[EventStreamer, RoleScheduler]:
    missing = [
        port
        for port, adapter in (
            ("event_streamer", core.streamer),
            ("role_scheduler", core.scheduler),
        )
        if adapter is None
    ]
    if core.streamer is None or core.scheduler is None:
        raise ServingError(
            f"this engine has no {' and no '.join(missing)}, so it is a client only",
            hint="Configure it to serve workflows",
        )
    return core.streamer, core.scheduler
