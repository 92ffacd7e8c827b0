"""What can be set about an engine: the table ``[workflow.engine]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from workflow_core.engine.transition import AutoResume
from workflow_core.errors import ConfigurationError
from workflow_core.model import RunState

__all__ = ["ENDED", "EngineSettings"]

ENDED = (RunState.COMPLETED, RunState.CANCELLED, RunState.DATA_DELETED)


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
        auto_resume_after: how long a run that was paused because it failed waits until it is
            resumed automatically.
        auto_resumes: at most so many times in a row, then it waits for a person; 0: never.
        retention: how long ended runs are kept; None: for ever.
        retention_of: the same for runs that ended in one way: ``completed``, ``cancelled`` or
            ``data_deleted``; what is not in it goes by ``retention``.
        stuck_after: how long a background process may be in one piece of work, but for functions
            of the user's, until `Engine.health` takes it for deaf; more than any of the adapters'
            own limits of time.
        beat_every: how often a process that serves says that it is there; one that has not for
            three times as long, and has not stopped in order, counts as lost.
        code_version: what the version of the user's own code is called, such as a commit, for
            `Engine.workers`; "": not told.
        dead_letter_retention: how long dead letters are kept after their last change; None: for
            ever.
    """

    stop_grace: timedelta = timedelta(seconds=25)
    shards: int = 16
    max_threads: int = 32
    reconcile_every: timedelta = timedelta(minutes=10)
    reconcile_age: timedelta = timedelta(minutes=5)
    auto_resume_after: timedelta = timedelta(hours=1)
    auto_resumes: int = 10
    retention: timedelta | None = None
    retention_of: Mapping[str, timedelta] = field(default_factory=dict)
    stuck_after: timedelta = timedelta(minutes=1)
    beat_every: timedelta = timedelta(minutes=1)
    code_version: str = ""
    dead_letter_retention: timedelta | None = timedelta(days=30)

    def __post_init__(self) -> None:
        problems = [
            f"{name}: must be greater than zero"
            for name in (
                "shards",
                "max_threads",
                "reconcile_every",
                "reconcile_age",
                "auto_resume_after",
                "stuck_after",
                "beat_every",
            )
            if not getattr(self, name) > type(getattr(self, name))(0)
        ]
        if self.stop_grace < timedelta(0):
            problems.append("stop_grace: must not be negative")
        if self.auto_resumes < 0:
            problems.append("auto_resumes: must not be negative")
        problems += [
            f"{name}: must not be negative"
            for name in ("retention", "dead_letter_retention")
            if (keep := getattr(self, name)) is not None and keep < timedelta(0)
        ]
        problems += [
            problem for state, age in self.retention_of.items() if (problem := _of(state, age))
        ]
        if problems:
            raise ConfigurationError("the engine's settings are wrong", problems=tuple(problems))

    @property
    def auto_resume(self) -> AutoResume:
        """When failed runs are resumed, for those who pause them."""
        return AutoResume(after=self.auto_resume_after, at_most=self.auto_resumes)


def _of(state: str, age: timedelta) -> str:
    known = [ended.name.lower() for ended in ENDED]
    if state not in known:
        return f"retention_of: {state!r} is no way to end, there are {', '.join(known)}"
    return f"retention_of.{state}: must not be negative" if age < timedelta(0) else ""
