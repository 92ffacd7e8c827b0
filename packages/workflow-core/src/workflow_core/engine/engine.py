"""The engine: the one object that users hold."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from workflow_core.definition import Workflow
from workflow_core.discovery import Adapters, Config, embedded, in_memory
from workflow_core.engine.client import Client
from workflow_core.engine.core import Core
from workflow_core.engine.crew import Crew
from workflow_core.engine.journal import Journal
from workflow_core.engine.process import ProcessStatus
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.questions import check_workflow
from workflow_core.engine.runtime import Runtime
from workflow_core.engine.serving import Serving
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.transition import Identity
from workflow_core.errors import DefinitionError, ServingError, StoppedError, WorkflowError
from workflow_core.model import names
from workflow_core.ports import Clock, SystemClock

__all__ = ["Engine"]

logger = logging.getLogger("workflow_core.engine")

_PUBLISH_GRACE = timedelta(seconds=2)
_THREAD_GRACE = timedelta(seconds=5)


class Engine(Client):
    """Triggers, waits for and steers runs; and, while serving, works on them.

    An engine that does not serve is a client: it needs a record store and nothing else. Any thread
    may use it. Close it, or use it as a context manager: what it was given is closed with it.

    Args:
        adapters: the ports, as `Config.build` makes them or put together by hand.
        settings: how it behaves.
        clock: for ages and waits within this process, never for stored times; a test's fake clock.
        entropy: where ids and jitter come from; a seeded one makes a simulation repeatable.
    """

    def __init__(
        self,
        adapters: Adapters,
        *,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
    ) -> None:
        clock = clock or adapters.context.clock or SystemClock()
        store, streamer = adapters.record_store, adapters.event_streamer
        crew = Crew(clock)
        publisher: Publisher | None = None
        if streamer is not None and not streamer.joins(store):
            publisher = Publisher(store, streamer.new_sender, clock, crew.add)
        super().__init__(
            Core(
                store=store,
                streamer=streamer,
                scheduler=adapters.role_scheduler,
                timeouts=adapters.timeout_store,
                settings=settings or EngineSettings(),
                clock=clock,
                identity=Identity(clock, entropy or random.Random()),
                crew=crew,
                journal=Journal(store, streamer, publisher),
                publisher=publisher,
            )
        )
        self._adapters = adapters
        self._serving: Serving | None = None
        self._closing = False
        self._lock = threading.Lock()

    # -- making one ----------------------------------------------------------------------------

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> Self:
        """The engine that a configuration file and the environment describe.

        Args:
            path: the file; None: the one that WORKFLOW_CONFIG names, or the environment alone.
            environ: instead of the process's environment.
            overrides: settings by dotted key, before all others.

        Raises:
            ConfigurationError: lists every problem with its source.
        """
        sections = {"engine": EngineSettings}
        return cls._of(Config.load(path, environ=environ, overrides=overrides, sections=sections))

    @classmethod
    def embedded(cls, path: str | Path, *, settings: EngineSettings | None = None) -> Self:
        """Everything in one SQLite file, made if it is missing; several processes may share it.

        Raises:
            ConfigurationError: the SQL adapters are not installed.
        """
        return cls._of(embedded(path), settings)

    @classmethod
    def in_memory(
        cls,
        *,
        clock: Clock | None = None,
        settings: EngineSettings | None = None,
        entropy: random.Random | None = None,
    ) -> Self:
        """Everything in this process's memory, and gone with it: for tests and trying out."""
        return cls._of(in_memory(), settings, clock, entropy)

    @classmethod
    def _of(
        cls,
        config: Config,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
    ) -> Self:
        settings = settings or config.section("engine", EngineSettings)
        return cls(config.build(clock=clock), settings=settings, clock=clock, entropy=entropy)

    # -- serving -------------------------------------------------------------------------------

    def serving(self, *workflows: Workflow[Any, Any]) -> Serving:
        """Work on these workflows, within a ``with``; any number of processes may.

        Raises:
            ServingError: the engine is a client only, or serves already.
            DefinitionError: a workflow is declared wrongly, or two would share their topics.
        """
        with self._lock:
            if self._closing:
                raise StoppedError("this engine is closed")
            if self._serving is not None and not self._serving.wait(timedelta(0)):
                raise ServingError(
                    "this engine serves already", hint="Give all workflows to one serving()"
                )
            _check_workflows(workflows)
            self._serving = Serving(self._core, self._runtime.bodies(), workflows)
            return self._serving

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
        self._runtime = runtime
        return self._core.crew

    def _close_rest(self) -> None:
        crew, publisher = self._core.crew, self._core.publisher
        crew.work_off()
        self._waiter.close()
        try:
            if publisher is not None:
                publisher.drain(timedelta(0) if crew.manual else _PUBLISH_GRACE)
        except WorkflowError as error:
            logger.warning("the last events are left to the relays: %s", error)
        finally:
            crew.disband(_THREAD_GRACE)
            if publisher is not None:
                publisher.close()
            self._adapters.close()


def _check_workflows(workflows: Sequence[Workflow[Any, Any]]) -> None:
    if not workflows:
        raise ServingError("there is no workflow to serve", hint="Give serving() at least one")
    topics: dict[str, str] = {}
    for workflow in workflows:
        check_workflow(workflow)
        workflow.check()
        if workflow.timeouts:
            raise DefinitionError("timeouts cannot be served yet", workflow=workflow.name)
        topic = names.run_state_topic(workflow.name)
        if topic in topics:
            raise DefinitionError(
                f"the workflows {topics[topic]!r} and {workflow.name!r} would share their topics",
                hint="Spaces and underscores in a workflow's name count as the same: rename one",
            )
        topics[topic] = workflow.name
