"""All that a serving has beside its steps: put together where a workflow declares it, and stopped.

A workflow without hooks and connectors costs nothing here: no process, thread, role or receiver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from workflow_core.definition import Connector, Workflow
from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.connectors import (
    ConnectorIntake,
    ConnectorOutlet,
    FollowingIntake,
    source_of,
)
from workflow_core.engine.core import Core
from workflow_core.engine.dead_letters import LetterReconciler
from workflow_core.engine.desk import Desk, Outlet, Pool
from workflow_core.engine.errands import Errands
from workflow_core.engine.gate import Gate
from workflow_core.engine.hooks import Deliveries, HookOutlet
from workflow_core.engine.intake import Intake
from workflow_core.engine.keeper import Duty, ShardDuty
from workflow_core.engine.letter_erasing import LetterErasing
from workflow_core.engine.observed_tasks import calling
from workflow_core.engine.process import Process
from workflow_core.engine.settings import ENDED
from workflow_core.engine.upkeep import Purge, Retention
from workflow_core.model import names
from workflow_core.ports import Adapter, Capability, EventStreamer

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["Intakes"]

logger = logging.getLogger("workflow_core.engine")


class Intakes:
    """The intakes of one serving.

    Args:
        core: the engine's.
        streamer: the engine's.
        bodies: where async bodies run.
        workflows: what is served.
        verbs: what connectors trigger and call back with.

    Raises:
        ServingError: a connector is bound to no source.
    """

    def __init__(
        self,
        core: Core,
        streamer: EventStreamer,
        bodies: AsyncBodies,
        workflows: Sequence[Workflow[Any, Any]],
        verbs: Client,
    ) -> None:
        self._core = core
        self._streamer = streamer
        self._bodies = bodies
        # As many as may be at work at once, so that none that hangs keeps others from theirs.
        # They come when bodies do, and are not those of the verbs for asyncio.
        self._errands = Errands(sum(_threads(workflow) for workflow in workflows))
        self._pool: Pool = _at_once if core.crew.manual else self._errands.submit
        self._verbs = verbs
        self._deliveries: dict[str, Deliveries] = {}
        self._connectors: list[tuple[Workflow[Any, Any], Connector, Intake[Any]]] = []
        for workflow in workflows:
            if workflow.hooks or workflow.connectors:
                self._add(workflow)
        self._all = [*self._deliveries.values(), *(intake for _, _, intake in self._connectors)]

    @property
    def processes(self) -> Sequence[Intake[Any]]:
        """To be driven."""
        return self._all

    def deliveries(self, workflow: str) -> Deliveries | None:
        """What shares the shards of the workflow's steps; None: it has nothing to be delivered."""
        return self._deliveries.get(workflow)

    def duties(self) -> dict[str, Duty]:
        """By role: the shards of connectors whose streams do not balance their members."""
        return {
            names.connector_role(
                workflow.name, connector.name, index, connector.parallel
            ): ShardDuty([intake], index)
            for workflow, connector, intake in self._connectors
            if intake.shards is not None
            for index in range(intake.shards)
        }

    def upkeep(self, gate_of: Callable[[str], Gate]) -> list[Process]:
        """The seldom work on dead letters, while the gates of these roles are open."""
        core, keep = self._core, self._core.settings.dead_letter_retention
        upkeep: list[Process] = []
        for workflow in self._deliveries:
            gate = gate_of(names.upkeep_role(workflow))
            reconciler = LetterReconciler(
                workflow,
                core.store,
                core.journal,
                core.identity,
                gate=gate,
                settings=core.settings,
                clock=core.clock,
            )
            upkeep += [reconciler, LetterErasing(workflow, core, gate)]
            if keep is not None:
                letters = names.dead_letters(workflow)
                purge = Purge(core.store, None)  # letters have no timers
                upkeep.append(Retention(letters, purge, {keep: ENDED}, gate=gate, clock=core.clock))
        return upkeep

    # -- stop ----------------------------------------------------------------------------------

    def close_entrance(self) -> None:
        """Receive and begin nothing more."""
        for intake in self._all:
            intake.close_entrance()

    def wait_idle(self, timeout: timedelta) -> list[str]:
        """Wait until all that was begun is committed; answers the names of what was not."""
        end = self._core.clock.monotonic() + timeout.total_seconds()
        for intake in self._all:
            while not intake.is_idle:
                rest = end - self._core.clock.monotonic()
                if rest <= 0:
                    break
                intake.await_progress(timedelta(seconds=min(rest, 0.05)))
        return [name for intake in self._all for name in intake.unfinished()]

    def close(self, late: Sequence[str]) -> None:
        """Ack what is done and close the receivers; after the threads have ended, but for these."""
        for intake in self._all:
            if intake.name in late:
                continue
            try:
                intake.close()
            except Exception as error:  # all others are to be closed all the same
                logger.warning("while stopping %s: %s", intake.name, error)
        self._errands.close()

    # ------------------------------------------------------------------------------------------

    def _add(self, workflow: Workflow[Any, Any]) -> None:
        core = self._core
        hooks: list[Outlet] = [HookOutlet(workflow, hook, core.store) for hook in workflow.hooks]
        connectors: list[Outlet] = []
        for connector in workflow.connectors:
            outlet = ConnectorOutlet(workflow, connector, self._verbs, core)
            connectors.append(outlet)
            intake = self._intake_of(workflow, connector, outlet)
            self._connectors.append((workflow, connector, intake))
        self._deliveries[workflow.name] = Deliveries(
            workflow,
            core,
            self._streamer,
            shards=None if _balances(self._streamer) else core.settings.shards,
            desk=self._desk(),
            outlets={outlet.origin.target: outlet for outlet in [*hooks, *connectors]},
        )

    def _intake_of(
        self, workflow: Workflow[Any, Any], connector: Connector, outlet: Outlet
    ) -> Intake[Any]:
        core, desk = self._core, self._desk()
        if connector.follows is not None:
            shards = None if _balances(self._streamer) else connector.parallel
            return FollowingIntake(
                outlet, connector, core, self._streamer, shards=shards, desk=desk
            )
        source = source_of(workflow, connector, core.connectors)
        shards = None if _balances(source) else connector.parallel
        return ConnectorIntake(outlet, core, source, shards=shards, desk=desk)

    def _desk(self) -> Desk:
        core = self._core
        return Desk(self._pool, self._bodies, core.clock.monotonic, calling(core.observers))


def _threads(workflow: Workflow[Any, Any]) -> int:
    of_hooks = HookOutlet.limit * len(workflow.hooks)
    return of_hooks + sum(connector.parallel for connector in workflow.connectors)


def _balances(adapter: Adapter) -> bool:
    return Capability.BALANCES_MEMBERS in adapter.capabilities


def _at_once(call: Callable[[], None]) -> None:
    """Where a test driver runs everything on one thread."""
    call()
