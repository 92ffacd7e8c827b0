"""What a move would bring over, and what stands in its way, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from workflow_core.model import RecordQuery, Value, names
from workflow_core.moving.marks import NOT_MOVED, Marks
from workflow_core.moving.stores import Stores
from workflow_core.moving.walks import outbox_page, rows, timeouts_page
from workflow_core.ports import Capability, RecordStore, RoleScheduler, TimeoutStore

__all__ = ["Plan", "plan", "served"]


class Plan(Value, frozen=True, kw_only=True):
    """What there is to be moved."""

    runs: int
    """Records of reserved workflows, such as dead letters and schedules, count too."""
    timers: int
    events: int
    stays_behind: Sequence[str]
    """What one of the two sides cannot keep or tell, a phrase each."""


def plan(source: Stores, target: Stores, *, batch: int = 500) -> Plan:
    """Check the two sides as `copy` does, and count. Writes nothing.

    That both are the same empty store is found only when something is written.

    Raises: as `copy`.
    """
    Marks(source, target).check(only_look=True)
    counts = source.records.count_records(RecordQuery())
    workflows = dict.fromkeys(name for name, _, _ in counts if name not in NOT_MOVED)
    timers = 0
    if source.timeouts is not None:
        for workflow in workflows:
            pages = partial(timeouts_page, source.timeouts, workflow, batch)
            timers += sum(1 for _ in rows(pages))
    return Plan(
        runs=sum(count for (name, _, _), count in counts.items() if name not in NOT_MOVED),
        timers=timers,
        events=sum(1 for _ in rows(partial(outbox_page, source.records, batch))),
        stays_behind=list(_stays_behind(source, target)),
    )


def served(records: RecordStore, roles: RoleScheduler) -> list[str]:
    """Who holds a role of a workflow that has runs here, as far as the scheduler can tell.

    Only roles of the main pool are asked for. An empty answer proves nothing: a scheduler need not
    know, and clients hold no roles.

    Raises:
        AdapterUnavailableError: no answer.
    """
    counts = records.count_records(RecordQuery())
    workflows = dict.fromkeys(name for name, _, _ in counts if name not in NOT_MOVED)
    wanted = [
        role
        for name in workflows
        for role in (names.reconciler_role(name, names.MAIN_POOL), names.timers_role(name))
    ]
    return [f"{role} is held by {holder}" for role, holder in roles.holders(wanted).items()]


def _stays_behind(source: Stores, target: Stores) -> Iterator[str]:
    lacks = source.records.capabilities - target.records.capabilities
    if Capability.HISTORY in lacks:
        yield "the history: the target keeps none"
    if Capability.SEARCH in lacks:
        yield "search attributes: the target keeps none"
    if (
        source.timeouts is not None
        and type(source.timeouts).closed_keys is TimeoutStore.closed_keys
    ):
        yield "which timers have fired: the source does not tell"
