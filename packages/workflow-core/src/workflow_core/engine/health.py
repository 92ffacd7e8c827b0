"""What `Engine.health` answers."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from workflow_core.engine.process import ProcessState, ProcessStatus
from workflow_core.model import Value

__all__ = ["AdapterHealth", "AdapterState", "Health", "RoleHealth"]


class AdapterState(StrEnum):
    """What an adapter had to say."""

    OK = "ok"
    FAILING = "failing"
    """It answered that it is not well, or that what is behind it cannot be used as it is."""
    SILENT = "silent"
    """No answer in its time."""


@dataclass(frozen=True)
class AdapterHealth:
    """One adapter.

    Attributes:
        port: its place in the configuration, such as ``record_store`` or ``connectors.payments``.
        name: the name by which it was chosen, such as ``sql``; its class where none chose it.
        state: whether it is well.
        latency: how long its answer took; where there is none, how long it has been waited for.
        detail: what it says of itself, such as "PostgreSQL 15.4, schema 0003", or what is wrong.
    """

    port: str
    name: str
    state: AdapterState
    latency: timedelta
    detail: str


@dataclass(frozen=True)
class RoleHealth:
    """A role that this process plays.

    Attributes:
        role: its name.
        state: of the background processes that play it, the worst one's.
        last_progress: when they last did some work, by the engine's clock; None: not yet.
        processes: their names.
    """

    role: str
    state: ProcessState
    last_progress: datetime | None
    processes: tuple[str, ...]


@dataclass(frozen=True)
class Health:
    """An engine as it was at one moment.

    Attributes:
        live: every role that it plays makes progress or is idle. Where not, end the process: only
            a new one helps.
        ready: it is live and not about to stop, every adapter has answered in its time, and what
            is behind it can be used. Where not, send it no work, and wait.
        at: when, by the engine's clock.
        adapters: each of its adapters.
        roles: the roles that it plays; none where it does not serve.
        processes: all its background processes.
        problems: all that is wrong, each a sentence for people; such too that change neither
            verdict, as a background process that fails and tries again.
    """

    live: bool
    ready: bool
    at: datetime
    adapters: tuple[AdapterHealth, ...] = ()
    roles: tuple[RoleHealth, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The same for JSON: times as ISO 8601, durations as seconds."""
        return _plain_fields(self)


def _plain_fields(value: object) -> dict[str, object]:
    names = (
        value.__struct_fields__
        if isinstance(value, Value)
        else [field.name for field in fields(value)]  # type: ignore[arg-type]  # as it was asked
    )
    return {name: _plain(getattr(value, name)) for name in names}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Value) or is_dataclass(value):
        return _plain_fields(value)
    return value
