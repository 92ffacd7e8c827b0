"""The deploy guard: does the new code have all that live runs need?

Code may change under running runs, as long as nothing goes that one of them stands on. What they
stand on is in the stores, not in the old code: the statuses of live runs, and the timers that are
open. Only the edges (what a step, a callback or a timer may answer) are nowhere but in the code, so
the shape of a definition can be kept with a deploy and held against the next one.

The guard reads; it moves runs along a mapping, or pauses those that would be stranded, only where
it is told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from workflow_core.definition import Workflow
from workflow_core.engine.bulk import Bulk, BulkProgress
from workflow_core.engine.core import Core
from workflow_core.engine.questions import check_workflow
from workflow_core.errors import InputError
from workflow_core.model import RecordQuery, RunState

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = [
    "AsyncGuardVerb",
    "DefinitionShape",
    "GuardFinding",
    "GuardReport",
    "GuardVerb",
    "Missing",
]

T = TypeVar("T")
StatusT = TypeVar("StatusT", bound=IntEnum)

_LIVE = (RunState.INITIATED, RunState.RUNNING, RunState.PAUSED)
_DRIVEN = (RunState.INITIATED, RunState.RUNNING)
_PAGE = 1000


class Missing(StrEnum):
    """What the new code lacks."""

    STATUS = "the status"
    MOVER = "anything that moves runs on from there"
    LIFE = "anything but an end there"
    TIMER = "the timer"
    EDGE = "the edge"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFinding:
    """Something that live runs need and the new code lacks.

    Attributes:
        missing: what kind.
        status: the status where they stand.
        name: the status's name, the timer's, or the edge's, as far as it is known.
        runs: how many live runs stand there; of a timer, how many are open.
        detail: what exactly, a sentence for people.
        todo: what to do, a sentence for people.
    """

    missing: Missing
    status: int
    name: str
    runs: int
    detail: str
    todo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """What the guard found.

    Attributes:
        workflow: the workflow's name.
        findings: what is missing; empty: it is safe to deploy.
        looked_at: how many live runs there are.
        moved: what became of runs along the mapping; None: none were to be moved.
        parked: what became of runs that were to be paused; None: none were.
    """

    workflow: str
    findings: tuple[GuardFinding, ...]
    looked_at: int
    moved: BulkProgress | None = None
    parked: BulkProgress | None = None

    @property
    def is_safe(self) -> bool:
        """Whether nothing is missing."""
        return not self.findings


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionShape:
    """The statuses and edges of a definition, to be kept with a deploy.

    Attributes:
        workflow: the workflow's name.
        statuses: their names by number.
        edges: for each status the numbers of those that something there may lead to.
    """

    workflow: str
    statuses: Mapping[int, str]
    edges: Mapping[int, frozenset[int]]

    @classmethod
    def of(cls, workflow: Workflow[Any, Any]) -> DefinitionShape:
        """The shape of this definition. Raises DefinitionError: it is declared wrongly."""
        check_workflow(workflow)
        workflow.check()
        edges: dict[int, frozenset[int]] = {}
        for consumer in [*workflow.steps.values(), *workflow.callbacks, *workflow.timeouts]:
            known = edges.get(consumer.status, frozenset())
            edges[consumer.status] = known | consumer.targets
        names = {int(status): status.name for status in workflow.statuses}
        return cls(workflow=workflow.name, statuses=names, edges=edges)

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "workflow": self.workflow,
            "statuses": {str(number): name for number, name in sorted(self.statuses.items())},
            "edges": {str(number): sorted(to) for number, to in sorted(self.edges.items())},
        }

    @classmethod
    def from_dict(cls, told: Any) -> DefinitionShape:
        """What `to_dict` answered. Raises InputError: it is something else."""
        try:
            return cls(
                workflow=str(told["workflow"]),
                statuses={int(number): str(name) for number, name in told["statuses"].items()},
                edges={
                    int(number): frozenset(map(int, to)) for number, to in told["edges"].items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("this is no shape of a definition") from error


class GuardVerb:
    """Part of `Engine`. Any thread."""

    _core: Core

    if TYPE_CHECKING:

        def _check_open(self) -> None: ...

    def guard(
        self,
        workflow: Workflow[Any, StatusT],
        *,
        before: DefinitionShape | None = None,
        mapping: Mapping[int, StatusT] | None = None,
        move: bool = False,
        park: bool = False,
        who: str = "deploy guard",
    ) -> GuardReport:
        """Whether this definition has all that live runs of its workflow need.

        Run it before the new code serves: while the old one still does, runs go on moving, so
        with ``move`` and ``park`` stop the old code first, or run it again afterwards.

        Args:
            workflow: the new definition.
            before: the shape of the one that runs now, for the edges; None: they are not compared.
            mapping: from numbers of statuses that are gone to those that take their place.
            move: put driven runs at mapped statuses where the mapping says, each as
                `Engine.move`. Paused ones stay, since moving would resume them, and are found.
            park: pause the driven runs that would be stranded, with the reason; what is missing
                is found all the same.
            who: kept with the runs that are moved.

        Raises:
            DefinitionError: it is declared wrongly.
            UnknownStatusError: the mapping leads to none of its statuses.
            InputError: ``before`` is another workflow's, or a status that is there is mapped.
            AdapterUnavailableError: some may be moved or paused: call again.
        """
        self._check_open()
        check_workflow(workflow)
        workflow.check()
        goals = _checked(workflow, before, mapping or {})
        moved = self._move(workflow, goals, who) if move and goals else None
        counts = self._counts(workflow)
        kept = () if move else goals.keys()
        findings = [
            *_statuses(workflow, counts, before, kept),
            *self._timers(workflow, goals),
            *([] if before is None else _edges(workflow, before, counts)),
        ]
        parked = self._park(workflow, findings) if park else None
        return GuardReport(
            workflow=workflow.name,
            findings=tuple(findings),
            looked_at=counts.total(),
            moved=moved,
            parked=parked,
        )

    def _counts(self, workflow: Workflow[Any, Any]) -> Counter[int]:
        counts: Counter[int] = Counter()
        query = RecordQuery(workflow=workflow.name, states=_LIVE)
        for (_, status, _state), count in self._core.store.count_records(query).items():
            counts[status] += count
        return counts

    def _bulk(self, query: RecordQuery) -> Bulk:
        return cast("Client", self).bulk(query)

    def _move(
        self, workflow: Workflow[Any, Any], mapping: Mapping[int, IntEnum], who: str
    ) -> BulkProgress:
        total = BulkProgress()
        for old, new in mapping.items():
            query = RecordQuery(workflow=workflow.name, statuses=[old], states=_DRIVEN)
            done = self._bulk(query).move(workflow, new, who=who, why=f"status {old} is gone")
            total = _added(total, done)
        return total

    def _park(self, workflow: Workflow[Any, Any], findings: Iterable[GuardFinding]) -> BulkProgress:
        total = BulkProgress()
        stranded = {
            finding.status: finding
            for finding in findings
            if finding.missing in (Missing.STATUS, Missing.MOVER, Missing.LIFE)
        }
        for status, finding in stranded.items():
            query = RecordQuery(workflow=workflow.name, statuses=[status], states=_DRIVEN)
            done = self._bulk(query).pause(reason=f"deploy guard: {finding.detail}")
            total = _added(total, done)
        return total

    def _timers(
        self, workflow: Workflow[Any, Any], mapping: Mapping[int, IntEnum]
    ) -> list[GuardFinding]:
        timeouts = self._core.timeouts
        if timeouts is None:
            return []
        known = {(step.status, step.name) for step in workflow.timeouts}
        gone: Counter[tuple[int, str]] = Counter()
        after: str | None = None
        while True:
            page = timeouts.list_timeouts(workflow.name, after=after, limit=_PAGE)
            gone.update((it.status, it.name) for it in page.items)
            if page.next is None:
                break
            after = page.next
        return [
            GuardFinding(
                missing=Missing.TIMER,
                status=status,
                name=name,
                runs=count,
                detail=f"{count} timers {name!r} are open at {_told(workflow, status)}, and the "
                "code has none of that name there",
                todo="Keep the timer, under its name, until none is open",
            )
            for (status, name), count in sorted(gone.items())
            # those of a status that is gone go with it
            if (status, name) not in known and status not in mapping
        ]


def _statuses(
    workflow: Workflow[Any, Any],
    counts: Counter[int],
    before: DefinitionShape | None,
    mapped: Iterable[int],
) -> list[GuardFinding]:
    known = {int(status) for status in workflow.statuses}
    movers = {
        consumer.status
        for consumer in [*workflow.steps.values(), *workflow.callbacks, *workflow.timeouts]
    }
    findings: list[GuardFinding] = []
    for status, count in sorted(counts.items()):
        if status in mapped:
            continue
        name = _told(workflow, status, before)
        if status not in known:
            missing, what = Missing.STATUS, "the code has no such status"
            todo = "Keep the status until no run stands there, or map it to another"
        elif workflow.is_end(status):
            missing, what = Missing.LIFE, "it is an end in the code, where nothing ends them"
            todo = "Give the end another status, or move the runs on first"
        elif status not in movers:
            missing, what = Missing.MOVER, "the code has no step, callback or timer there"
            todo = "Keep what moves them on (is its module imported?), or move the runs first"
        else:
            continue
        findings.append(
            GuardFinding(
                missing=missing,
                status=status,
                name=name,
                runs=count,
                detail=f"{count} live runs stand at {name}, and {what}",
                todo=todo,
            )
        )
    return findings


def _edges(
    workflow: Workflow[Any, Any], before: DefinitionShape, counts: Counter[int]
) -> list[GuardFinding]:
    now = DefinitionShape.of(workflow)
    return [
        GuardFinding(
            missing=Missing.EDGE,
            status=status,
            name=f"{_told(workflow, status, before)} to {_told(workflow, goal, before)}",
            runs=counts[status],
            detail=f"{counts[status]} live runs stand at {_told(workflow, status, before)}, from "
            f"where the code no longer leads to {_told(workflow, goal, before)}",
            todo="Keep the edge until they have moved on, or see that they may go another way",
        )
        for status, goals in sorted(before.edges.items())
        for goal in sorted(goals - now.edges.get(status, frozenset()))
        if counts[status] and status in now.edges  # a status without any is found already
    ]


def _checked(
    workflow: Workflow[Any, Any],
    before: DefinitionShape | None,
    mapping: Mapping[int, IntEnum],
) -> dict[int, IntEnum]:
    if before is not None and before.workflow != workflow.name:
        raise InputError(
            f"this is the shape of {before.workflow!r}, not of {workflow.name!r}",
            workflow=workflow.name,
        )
    known = {int(status): status.name for status in workflow.statuses}
    for old in mapping:
        if old in known:
            raise InputError(
                f"status {known[old]} ({old}) is there, and is not to be mapped",
                workflow=workflow.name,
                hint="Runs at a status that is there are moved by Engine.bulk(…).move",
            )
    return {int(old): workflow.parse_status(new) for old, new in mapping.items()}


def _told(workflow: Workflow[Any, Any], number: int, before: DefinitionShape | None = None) -> str:
    names: dict[int, str] = {} if before is None else dict(before.statuses)
    names.update({int(status): status.name for status in workflow.statuses})
    return names.get(number, f"status {number}")


def _added(one: BulkProgress, other: BulkProgress) -> BulkProgress:
    return BulkProgress(
        changed=one.changed + other.changed,
        unchanged=one.unchanged + other.unchanged,
        refused=one.refused + other.refused,
        errors={**one.errors, **other.errors},
    )


class AsyncGuardVerb:
    """Part of `AsyncEngine`."""

    _engine: Client

    if TYPE_CHECKING:

        async def _do(self, verb: Callable[[], T]) -> T: ...

    async def guard(
        self,
        workflow: Workflow[Any, StatusT],
        *,
        before: DefinitionShape | None = None,
        mapping: Mapping[int, StatusT] | None = None,
        move: bool = False,
        park: bool = False,
        who: str = "deploy guard",
    ) -> GuardReport:
        """As `Engine.guard`."""
        return await self._do(
            lambda: self._engine.guard(
                workflow, before=before, mapping=mapping, move=move, park=park, who=who
            )
        )
