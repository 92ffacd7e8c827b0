"""The engine: the one object that users hold."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

from workflow_core.definition import Workflow
from workflow_core.discovery import Adapters, Config, embedded, in_memory
from workflow_core.engine.checkup import Checkup
from workflow_core.engine.client import Client
from workflow_core.engine.core import Core
from workflow_core.engine.crew import Crew
from workflow_core.engine.embedding import flush_at_exit, leave_at_exit, made_elsewhere
from workflow_core.engine.fresh import FreshRecords
from workflow_core.engine.journal import Journal
from workflow_core.engine.ledger import check_transactional
from workflow_core.engine.observed_ports import observed_adapters, observed_sources
from workflow_core.engine.observers import Observers
from workflow_core.engine.pools import Pool
from workflow_core.engine.process import ProcessStatus
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.questions import check_workflow
from workflow_core.engine.runtime import Runtime
from workflow_core.engine.serving import Serving
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.timers.book import TimerBook
from workflow_core.engine.timers.clerk import TimerClerk
from workflow_core.engine.transition import Identity
from workflow_core.errors import DefinitionError, ServingError, StoppedError, WorkflowError
from workflow_core.model import names
from workflow_core.ports import (
    Adapter,
    Clock,
    ConnectorSource,
    Observer,
    SystemClock,
    in_forked_child,
)

__all__ = ["Engine"]

logger = logging.getLogger("workflow_core.engine")

_NONE: Mapping[str, ConnectorSource] = {}
_PUBLISH_GRACE = timedelta(seconds=2)
_THREAD_GRACE = timedelta(seconds=5)


class Engine(Client):
    """Triggers, waits for and steers runs; and, while serving, works on them.

    An engine that does not serve is a client: it needs a record store and nothing else. Any thread
    may use it. Close it, or use it as a context manager: what it was given is closed with it.

    In a forked child it is a client, as good as one made there, and to be closed there too: that
    does nothing to the parent's. It serves only in the process that made it. Where the interpreter
    ends before it was closed, what it has written is published first, for two seconds at most.

    Args:
        adapters: the ports, as `Config.build` makes them or put together by hand.
        settings: how it behaves.
        clock: for ages and waits within this process, never for stored times; a test's fake clock.
        entropy: where ids and jitter come from; a seeded one makes a simulation repeatable.
        connectors: sources of connectors, by the name that a workflow gives them, beside those of
            ``adapters``; closed with the engine.
        observers: who is told of all that happens, beside those of ``adapters``; closed with the
            engine.
    """

    def __init__(
        self,
        adapters: Adapters,
        *,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
        connectors: Mapping[str, ConnectorSource] = _NONE,
        observers: Sequence[Observer] = (),
    ) -> None:
        clock = clock or adapters.context.clock or SystemClock()
        settings = settings or EngineSettings()
        crew = Crew(clock, settings.stuck_after)
        self._adapters = adapters
        self._own = [*connectors.values(), *observers]
        checked = _checked(adapters, connectors)
        told = [*adapters.observers, *observers]
        observing = Observers(told, crew.add) if told else None
        if observing is not None:
            connectors = observed_sources(connectors, observing, {})
            adapters = observed_adapters(adapters, observing)
            crew.on_failed = observing.failed
        store, streamer = adapters.record_store, adapters.event_streamer
        publisher: Publisher | None = None
        if streamer is not None and not streamer.joins(store):
            publisher = Publisher(store, streamer.new_sender, clock, crew.add, observing)
        timers, timeouts = TimerBook(), adapters.timeout_store
        clerk = None if timeouts is None else TimerClerk(timers, timeouts, store)
        super().__init__(
            Core(
                store=store,
                streamer=streamer,
                scheduler=adapters.role_scheduler,
                timeouts=timeouts,
                timers=timers,
                settings=settings,
                clock=clock,
                identity=Identity(clock, entropy or random.Random()),
                crew=crew,
                journal=Journal(store, streamer, publisher, FreshRecords(clock), clerk, observing),
                publisher=publisher,
                instance=adapters.context.instance,
                connectors={**adapters.connectors, **connectors},
                observers=observing,
            )
        )
        self._checkup = Checkup(checked, adapters.names, crew, clock, settings.stuck_after)
        self._serving: Serving | None = None
        self._closing = False
        self._lock = threading.Lock()
        self._pid = os.getpid()
        in_forked_child(self._forked)  # after the adapters' own: theirs go first
        if publisher is not None:
            flush_at_exit(publisher)

    # -- making one ----------------------------------------------------------------------------

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        connectors: Mapping[str, ConnectorSource] = _NONE,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """The engine that a configuration file and the environment describe.

        Args:
            path: the file; None: the one that WORKFLOW_CONFIG names, or the environment alone.
            environ: instead of the process's environment.
            overrides: settings by dotted key, before all others.
            connectors: as for `Engine`; those that are not configured.
            observers: the same.

        Raises:
            ConfigurationError: lists every problem with its source.
        """
        sections = {"engine": EngineSettings}
        config = Config.load(path, environ=environ, overrides=overrides, sections=sections)
        return cls._of(config, connectors=connectors, observers=observers)

    @classmethod
    def embedded(
        cls,
        path: str | Path,
        *,
        settings: EngineSettings | None = None,
        connectors: Mapping[str, ConnectorSource] = _NONE,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Everything in one SQLite file, made if it is missing; several processes may share it.

        Raises:
            ConfigurationError: the SQL adapters are not installed.
        """
        return cls._of(embedded(path), settings, connectors=connectors, observers=observers)

    @classmethod
    def in_memory(
        cls,
        *,
        clock: Clock | None = None,
        settings: EngineSettings | None = None,
        entropy: random.Random | None = None,
        connectors: Mapping[str, ConnectorSource] = _NONE,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Everything in this process's memory, and gone with it: for tests and trying out."""
        return cls._of(in_memory(), settings, clock, entropy, connectors, observers)

    @classmethod
    def _of(
        cls,
        config: Config,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
        connectors: Mapping[str, ConnectorSource] = _NONE,
        observers: Sequence[Observer] = (),
    ) -> Self:
        settings = settings or config.section("engine", EngineSettings)
        return cls(
            config.build(clock=clock),
            settings=settings,
            clock=clock,
            entropy=entropy,
            connectors=connectors,
            observers=observers,
        )

    # -- serving -------------------------------------------------------------------------------

    def serving(
        self,
        *workflows: Workflow[Any, Any],
        pool: str = names.MAIN_POOL,
        statuses: Collection[IntEnum] | None = None,
    ) -> Serving:
        """Work on these workflows, within a ``with``; any number of processes may.

        Args:
            workflows: what to work on.
            pool: the members of a pool share the runs at its statuses. The pool ``main`` also sees
                to what is a workflow's as a whole: timers, hooks, connectors, schedules, upkeep.
            statuses: those that the pool works on; None, for main alone: all. A status belongs to
                one pool: what another works on is left out here, or its steps run in both.

        Raises:
            InputError: the pool has no statuses or a name that it cannot have, or a status is of
                none of the workflows.
            ServingError: the engine is a client only, or serves already, or was made before this
                process was forked, or a connector is bound to no source.
            DefinitionError: a workflow is declared wrongly, or two would share their topics.
        """
        with self._lock:
            if self._closing:
                raise StoppedError("this engine is closed")
            if self._pid != os.getpid():
                raise made_elsewhere(self._pid)
            if self._serving is not None and not self._serving.wait(timedelta(0)):
                raise ServingError(
                    "this engine serves already",
                    hint="Give all workflows to one serving(), and each pool an engine of its own",
                )
            _check_workflows(workflows)
            check_transactional(workflows, self._core)
            checked_pool = Pool.checked(pool, workflows, statuses)
            self._serving = Serving(
                self._core, self._runtime.bodies(), workflows, checked_pool, self
            )
            return self._serving

    @property
    def adapters(self) -> Adapters:
        """The adapters that it was made with, for tools that look at them; it closes them."""
        return self._adapters

    def processes(self) -> Sequence[ProcessStatus]:
        """What each background process of this engine is doing."""
        return self._core.crew.statuses()

    def close(self) -> None:
        """Stop serving in order, publish what is left, and close the adapters. Twice is harmless.

        Any thread. An interruption leaves nothing lost; what is open then closes with the process.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
        try:
            if self._serving is not None:
                self._serving.stop()  # steps that finish in its grace time may still use the verbs
        finally:
            self._closed = True
            self._close_rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------------

    def be_driven(self, runtime: Runtime) -> Crew:
        """Let a test driver run this engine instead of threads; answers what to poll.

        Raises:
            ServingError: its threads have started already.
        """
        self._core.crew.let_drive()
        if self._core.publisher is not None:
            leave_at_exit(self._core.publisher)
        self._runtime = runtime
        return self._core.crew

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._fork_client()
        self._checkup.forked()
        if self._serving is not None:
            self._serving.forked(made_elsewhere(self._pid))

    def _close_rest(self) -> None:
        crew, publisher = self._core.crew, self._core.publisher
        observers = self._core.observers
        crew.work_off()
        self._close_callbacks()
        self._waiter.close()
        try:
            if publisher is not None:
                publisher.drain(timedelta(0) if crew.manual else _PUBLISH_GRACE)
        except WorkflowError as error:
            logger.warning("the last events are left to the relays: %s", error)
        finally:
            late = crew.disband(_THREAD_GRACE)
            if observers is not None:
                observers.finish(late)
            if publisher is not None:
                publisher.close()
            with ExitStack() as closing:
                closing.callback(self._adapters.close)
                for own in self._own:  # what feeds work in goes before what keeps it
                    closing.callback(own.close)


def _checked(adapters: Adapters, connectors: Mapping[str, ConnectorSource]) -> dict[str, Adapter]:
    """Whose health there is to ask for, by the place in the configuration."""
    ports: dict[str, Adapter | None] = {
        "record_store": adapters.record_store,
        "event_streamer": adapters.event_streamer,
        "role_scheduler": adapters.role_scheduler,
        "timeout_store": adapters.timeout_store,
    }
    sources = {**adapters.connectors, **connectors}
    ports.update({f"connectors.{name}": source for name, source in sources.items()})
    return {port: adapter for port, adapter in ports.items() if adapter is not None}


def _check_workflows(workflows: Sequence[Workflow[Any, Any]]) -> None:
    if not workflows:
        raise ServingError("there is no workflow to serve", hint="Give serving() at least one")
    topics: dict[str, str] = {}
    for workflow in workflows:
        check_workflow(workflow)
        workflow.check()
        topic = names.run_state_topic(workflow.name)
        if topic in topics:
            raise DefinitionError(
                f"the workflows {topics[topic]!r} and {workflow.name!r} would share their topics",
                hint="Spaces and underscores in a workflow's name count as the same: rename one",
            )
        topics[topic] = workflow.name
