"""Presence: says about once a minute that this process serves, and at last that it does no more.

Each beat is one compare-and-swap of this process's record, in the store that runs are in: there is
no port for it, and whoever reads the store knows who works on its runs. A beat whose answer was
lost is written again as it was, so it is never taken for somebody else's. Every tenth one is
followed by a look at what others left: records of workers that were lost long ago are ended, and
what has ended is purged. Any number of processes may do that at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version

from workflow_core.engine.core import Core
from workflow_core.engine.lane import Lane
from workflow_core.engine.observed_ports import adapter_of
from workflow_core.engine.overlaps import Overlaps
from workflow_core.engine.process import Process
from workflow_core.engine.settings import ENDED
from workflow_core.engine.worker_state import WorkerNote, beaten, begun, ended, roles_told
from workflow_core.errors import NotSupportedError, VersionConflictError, WorkflowError
from workflow_core.model import Record, RecordQuery, RunState, names
from workflow_core.ports import Write

__all__ = ["LOST_KEPT", "Presence"]

logger = logging.getLogger("workflow_core.engine")

LOST_KEPT = timedelta(days=1)
"""For how long a lost worker is told of, if beats are not seldom."""
_ENDED_KEPT = timedelta(hours=1)
_RENEWED_AFTER = 60  # versions of one record: its history goes with it
_TIDIED_EACH = 10  # beats
_ROLES_SETTLE = 5.0  # seconds from a beat to one that only tells other roles
_BATCH = 500
_LEAVE_GRACE = 2.0  # seconds that a stop waits for the last word


class Presence(Process):
    """One per serving. Polled by one thread; `leave` by another, after or while that hangs.

    Args:
        core: the engine's.
        lanes: what is served.
        pool: in which pool.
        roles: those that it would play; there may come more.
        held: asked for those that it plays.
    """

    name = "presence"
    upkeep = True

    def __init__(
        self,
        core: Core,
        lanes: Sequence[Lane],
        pool: str,
        roles: Iterable[str],
        held: Callable[[], Sequence[str]],
    ) -> None:
        self._core = core
        self._workflows = sorted(lane.workflow.name for lane in lanes)
        self._pool = pool
        self._roles = roles
        self._held = held
        self.overlaps = Overlaps(core, lanes)
        self._versions = _versions(core)
        self._began = self._beat_at = self._last_beat = core.clock.monotonic()
        self._told: frozenset[str] = frozenset()
        self._record: Record | None = None
        self._unsure: Sequence[Write] = ()
        self._beats = 0
        self._has_left = False

    def poll(self, wait: timedelta) -> bool:
        """Beat, if it is time."""
        if self._has_left or self._rest() > 0:
            return False
        self._beat()
        seldom = self._beats % _TIDIED_EACH == 1
        if seldom or self.overlaps.told:
            self.overlaps.look()
        if seldom:
            self._tidy_up()
        return True

    def next_due(self) -> timedelta | None:
        """The next beat."""
        return None if self._has_left else timedelta(seconds=max(0.0, self._rest()))

    def leave(self) -> None:
        """This process serves no more. Waits at most for two seconds; never raises.

        Where the store does not take it, the worker is reported as lost in a while.
        """
        self._has_left = True
        if self._core.crew.manual:
            self._end()
            return
        end = threading.Thread(target=self._end, name=f"{self.name} end", daemon=True)
        end.start()
        end.join(_LEAVE_GRACE)
        if end.is_alive():
            logger.warning("the store does not answer: this worker will count as lost, not stopped")

    # ------------------------------------------------------------------------------------------

    def _rest(self) -> float:
        """Seconds until the next beat; one that only tells other roles comes sooner."""
        if self._unsure:
            return 0.0
        at = self._beat_at
        if self._record is not None and frozenset(self._held()) != self._told:
            at = min(at, self._last_beat + _ROLES_SETTLE)
        return at - self._core.clock.monotonic()

    def _beat(self) -> None:
        """Raises AdapterUnavailableError: nobody knows; the next poll writes the same again."""
        writes = self._unsure or self._writes()
        self._unsure = writes
        outcome = self._core.journal.commit(writes)[-1]
        self._unsure = ()
        self._last_beat = self._core.clock.monotonic()
        if isinstance(outcome, VersionConflictError):
            self._record = None  # it was away for so long that its record was ended: a new one
            return
        self._beats += 1
        self._beat_at = self._last_beat + self._core.settings.beat_every.total_seconds()
        if outcome is None:
            self._record = writes[-1].record
        else:
            logger.error("the store refuses the record of this worker: %s", outcome)

    def _writes(self) -> Sequence[Write]:
        held = frozenset(self._held())
        note, identity, record = self._note(held), self._core.identity, self._record
        self._told = held
        if record is None:
            return [begun(note, identity)]
        if record.version < _RENEWED_AFTER:
            return [beaten(record, note, identity)]
        return [ended(record, identity), begun(note, identity)]

    def _note(self, held: frozenset[str]) -> WorkerNote:
        clock, settings = self._core.clock, self._core.settings
        progress = self._core.crew.last_progress
        return WorkerNote(
            instance=self._core.instance,
            pool=self._pool,
            workflows=self._workflows,
            versions=self._versions,
            code_version=settings.code_version,
            every=settings.beat_every,
            up_for=timedelta(seconds=clock.monotonic() - self._began),
            idle_for=None if progress is None else max(timedelta(0), clock.now() - progress),
            roles=roles_told(self._roles, held),
            statuses=self.overlaps.statuses,
        )

    def _tidy_up(self) -> None:
        """Raises AdapterUnavailableError: the next one does it."""
        store, identity = self._core.store, self._core.identity
        now, workers = store.now(), RecordQuery(workflow=names.WORKERS, limit=_BATCH)
        kept = max(LOST_KEPT, _TIDIED_EACH * self._core.settings.beat_every)
        lost = workers.replace(states=[RunState.RUNNING], updated_before=now - kept)
        self._core.journal.commit(
            [ended(r, identity, RunState.CANCELLED) for r in store.list_records(lost).items]
        )
        try:
            store.purge(workers.replace(states=ENDED, updated_before=now - _ENDED_KEPT))
        except NotSupportedError:
            return  # one that keeps everything keeps these too

    def _end(self) -> None:
        try:
            self._end_record()
        except WorkflowError as error:
            logger.warning("that this worker has stopped could not be written: %s", error)

    def _end_record(self) -> None:
        """Whatever became of the last beat."""
        record = self._unsure[-1].record if self._unsure else self._record
        while record is not None and not record.state.is_finished:
            outcome = self._core.journal.commit([ended(record, self._core.identity)])[0]
            if not isinstance(outcome, VersionConflictError):
                return
            record = self._core.store.lookup_many([record.run_id], primary=True).get(record.run_id)


def _versions(core: Core) -> Mapping[str, str]:
    """Of the wheels that the engine and its adapters come in."""
    adapters = [core.store, core.streamer, core.scheduler, core.timeouts, *core.connectors.values()]
    modules = {type(adapter_of(a)).__module__ for a in adapters if a is not None}
    wheels = {"workflow-core", *(m.partition(".")[0].replace("_", "-") for m in modules)}
    found: dict[str, str] = {}
    for wheel in sorted(wheels):
        try:
            found[wheel] = version(wheel)
        except PackageNotFoundError:  # an adapter of the user's own, in no wheel of that name
            continue
    return found
