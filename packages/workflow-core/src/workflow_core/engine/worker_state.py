"""Who serves: the record of a worker, and the pure rules by which it changes and is read.

A **worker** is a process that serves. It has one record of the reserved workflow ``_workers``,
written about once a minute (a beat), and ended when it stops in order. So nobody has to find out
whether one died: its record stays live and grows old. No time of the worker's own clock is in it,
only for how long something has been so: the store's stamp says since when.

A record is begun anew now and then, in one batch with the end of the old one, so that no history
grows; what ended is purged by whoever beats (`Presence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from workflow_core.engine.transition import Identity
from workflow_core.errors import DecodeError
from workflow_core.model import Record, RunState, Value, names
from workflow_core.ports import Write

__all__ = [
    "WorkerNote",
    "WorkerState",
    "WorkerView",
    "beaten",
    "begun",
    "ended",
    "is_late",
    "note_of",
    "roles_of",
    "roles_told",
    "unreadable",
    "view",
]

_MISSED = 3  # beats, until a worker counts as lost
_STATUS = 1  # the only one of the reserved workflow
_LONGEST = 200  # characters of the instance's name in a foreign id


class WorkerState(StrEnum):
    """Whether a worker is there."""

    LIVE = "live"
    LOST = "lost"
    """Nothing was heard of it for three beats, and it has not stopped in order: it was killed, is
    frozen, or cannot reach the record store."""
    UNREADABLE = "unreadable"
    """Its record cannot be read: newer code wrote it, or it is damaged. Whether it is there is not
    known, only when it was last heard of."""


class WorkerNote(Value, frozen=True, kw_only=True):
    """The data of a worker's record: what it said of itself with a beat."""

    instance: str
    pool: str
    workflows: Sequence[str]
    versions: Mapping[str, str]
    code_version: str
    every: timedelta
    """How soon the next beat was to follow."""
    up_for: timedelta
    idle_for: timedelta | None
    """Since it last did some work; None: it has done none yet."""
    roles: Mapping[str, tuple[int, Sequence[int]]]
    """What it would play, and which it plays: shards by what they are shards of, as (of how many,
    which), all others as (0, [0] or [])."""
    statuses: Mapping[str, Sequence[int]] | None = None
    """Those whose steps it runs, by workflow; None: of older code, that did not say."""


class WorkerView(Value, frozen=True, kw_only=True):
    """A process that serves, or served until it was lost. Times are the record store's."""

    instance: str
    """This process among its peers: its adapters' `AdapterContext.instance`."""
    state: WorkerState
    pool: str
    workflows: Sequence[str]
    """What it serves."""
    roles: Sequence[str]
    """Those that it plays, sorted: as the role scheduler knows, where it can tell; else, and where
    the worker is lost, as of its last beat."""
    versions: Mapping[str, str]
    """Of workflow-core and the wheels of its adapters."""
    code_version: str
    """`EngineSettings.code_version`; "": not told."""
    started_at: datetime
    last_seen: datetime
    """Its last beat."""
    last_progress: datetime | None
    """When it last did some work, as of its last beat; None: not yet."""
    trouble: str = ""
    """Why nothing more is known of it than its name and its last beat; "": all is known."""
    statuses: Mapping[str, Sequence[int]] | None = None
    """Those whose steps it runs, by workflow; None: not known."""

    @property
    def roles_in_short(self) -> list[str]:
        """The same with all shards of one thing together: ``orders-main-steps 8 of 16``."""
        told = roles_told((), self.roles)
        return [f"{n} {len(held)} of {count}" if count else n for n, (count, held) in told.items()]

    def runs(self, workflow: str, status: int) -> bool | None:
        """Whether it runs the step at this status, as it says; None: not known."""
        return None if self.statuses is None else status in self.statuses.get(workflow, ())


def roles_told(wanted: Iterable[str], held: Iterable[str]) -> dict[str, tuple[int, list[int]]]:
    """Roles as `WorkerNote.roles` has them: hundreds of shards in few words."""
    told: dict[str, tuple[int, list[int]]] = {}
    for role in wanted:
        group, _, count = names.shard_of(role) or (role, 0, 0)
        told.setdefault(group, (count, []))
    for role in sorted(held):
        group, index, count = names.shard_of(role) or (role, 0, 0)
        told.setdefault(group, (count, []))[1].append(index)
    return {group: (count, sorted(indexes)) for group, (count, indexes) in told.items()}


def roles_of(note: WorkerNote, *, wanted: bool = False) -> list[str]:
    """The names of those that it said it plays; with `wanted` all that it would."""
    found: list[str] = []
    for group, (count, held) in note.roles.items():
        if not count:
            found += [group] if held or wanted else []
        else:
            found += [names.sharded(group, i, count) for i in (range(count) if wanted else held)]
    return sorted(found)


def note_of(record: Record) -> WorkerNote:
    """What the record tells. Raises DecodeError where it cannot be read."""
    try:
        return msgspec.json.decode(record.data, type=WorkerNote)
    except msgspec.MsgspecError as error:
        raise DecodeError(
            f"the record of worker {record.foreign_id} cannot be read", run_id=record.run_id
        ) from error


def is_late(record: Record, note: WorkerNote, now: datetime) -> bool:
    """Whether so many beats are missing that it counts as lost, by the store's clock."""
    return now - record.updated_at > _MISSED * note.every


def view(record: Record, note: WorkerNote, state: WorkerState, roles: Sequence[str]) -> WorkerView:
    """The worker as people see it."""
    seen = record.updated_at
    return WorkerView(
        instance=note.instance,
        state=state,
        pool=note.pool,
        workflows=note.workflows,
        roles=roles,
        versions=note.versions,
        code_version=note.code_version,
        started_at=seen - note.up_for,
        last_seen=seen,
        last_progress=None if note.idle_for is None else seen - note.idle_for,
        statuses=note.statuses,
    )


def unreadable(record: Record, why: DecodeError) -> WorkerView:
    """One whose record nobody here can read, as people see it: so that it is not overlooked."""
    return WorkerView(
        instance=record.foreign_id.rpartition("/")[0] or record.foreign_id,
        state=WorkerState.UNREADABLE,
        pool="",
        workflows=(),
        roles=(),
        versions={},
        code_version="",
        started_at=record.created_at,
        last_seen=record.updated_at,
        last_progress=None,
        trouble=f"{why.message}: {why.__cause__}",
    )


# -- writes ------------------------------------------------------------------------------------


def begun(note: WorkerNote, identity: Identity) -> Write:
    """A record's first version. Its foreign id is nobody else's, whatever instances are called."""
    run_id = identity.uuid()
    return Write(
        record=Record(
            workflow=names.WORKERS,
            foreign_id=f"{note.instance[:_LONGEST]}/{run_id}",
            run_id=run_id,
            status=_STATUS,
            state=RunState.RUNNING,
            version=1,
            write_id=identity.write_id(),
            data=msgspec.json.encode(note),
        )
    )


def beaten(record: Record, note: WorkerNote, identity: Identity) -> Write:
    """The next beat."""
    return Write(
        record=record.replace(
            version=record.version + 1,
            write_id=identity.write_id(),
            data=msgspec.json.encode(note),
        )
    )


def ended(record: Record, identity: Identity, state: RunState = RunState.COMPLETED) -> Write:
    """Nobody beats it any more; CANCELLED: the worker was lost long ago."""
    return Write(
        record=record.replace(version=record.version + 1, write_id=identity.write_id(), state=state)
    )
