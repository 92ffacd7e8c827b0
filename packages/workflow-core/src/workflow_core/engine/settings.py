"""What can be set about an engine: the table ``[workflow.engine]``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from workflow_core.errors import ConfigurationError

__all__ = ["EngineSettings"]


@dataclass(frozen=True)
class EngineSettings:
    """How an engine behaves; every value has a default that suits most.

    Attributes:
        stop_grace: how long a stop waits for work in hand before it abandons it.
        shards: into how many parts each workflow's runs are divided among the processes; also the
            greatest number of processes that can share one workflow. Not asked where the streamer
            balances its members itself.
        max_threads: most threads for step functions in one process.
        reconcile_every: how often live runs without a driver are looked for.
        reconcile_age: how long a run must have stood still to be looked at; more where the
            stream lags more.
        retention: how long ended runs are kept; None: for ever.
    """

    stop_grace: timedelta = timedelta(seconds=25)
    shards: int = 16
    max_threads: int = 32
    reconcile_every: timedelta = timedelta(minutes=10)
    reconcile_age: timedelta = timedelta(minutes=5)
    retention: timedelta | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name}: must be greater than zero"
            for name in ("shards", "max_threads", "reconcile_every", "reconcile_age")
            if not getattr(self, name) > type(getattr(self, name))(0)
        ]
        if self.stop_grace < timedelta(0):
            problems.append("stop_grace: must not be negative")
        if self.retention is not None and self.retention < timedelta(0):
            problems.append("retention: must not be negative")
        if problems:
            raise ConfigurationError("the engine's settings are wrong", problems=tuple(problems))
