"""All workflows at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from workflow_core import Record, RecordQuery, RunState, SortOrder

from workflow_webui.reading.flow import Flow, flow_of
from workflow_webui.reading.pools import Unserved, unserved_of
from workflow_webui.reading.throughput import Throughput, throughput
from workflow_webui.ui import Ask, Ui

__all__ = ["Overview", "WorkflowSummary", "overview"]

_MOST = 30  # workflows that get a chart of their own: more are a table, and each costs questions
_DRIVEN = [state for state in RunState if state.is_driven]


@dataclass(frozen=True, kw_only=True)
class WorkflowSummary:
    """One workflow."""

    name: str
    is_known: bool
    """Its definition is at hand."""
    by_state: Mapping[RunState, int]
    by_status: Mapping[int, int]
    """Live runs."""
    names: Mapping[int, str]
    throughput: Throughput | None
    oldest: Record | None
    """Of the runs that steps are to work on, the one that was begun first."""
    flow: Flow | None
    unserved: Sequence[Unserved]
    """Where runs wait and no process works."""

    @property
    def live(self) -> int:
        """Runs that have not ended."""
        return sum(number for state, number in self.by_state.items() if state.is_live)

    @property
    def total(self) -> int:
        """All that are kept."""
        return sum(self.by_state.values())


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All of them."""

    workflows: Sequence[WorkflowSummary]
    now: datetime
    letters: Mapping[str, int]
    """Dead letters that are kept, by workflow, in whatever state."""


def overview(ask: Ask) -> Overview:
    """Everything at once; what others asked for a moment ago is not asked for again."""
    ui = ask.ui
    now = ui.now()
    states: dict[str, Counter[RunState]] = {name: Counter() for name in ui.workflows}
    statuses: dict[str, Counter[int]] = {name: Counter() for name in ui.workflows}
    driven: dict[str, Counter[int]] = {}
    letters: Counter[str] = Counter()
    for (name, status, state), number in ui.counts(RecordQuery()).items():
        if name.startswith("_dead letters of "):
            letters[name.removeprefix("_dead letters of ")] += number
        if name.startswith("_"):
            continue
        states.setdefault(name, Counter())[state] += number
        if state.is_live:
            statuses.setdefault(name, Counter())[status] += number
        if state.is_driven:
            driven.setdefault(name, Counter())[status] += number
    busiest = sorted(states, key=lambda name: (-_live(states[name]), name))
    summaries = [
        WorkflowSummary(
            name=name,
            is_known=name in ui.workflows,
            by_state=dict(states[name]),
            by_status=dict(statuses.get(name, {})),
            names=ui.status_names(name),
            throughput=throughput(ui, name, now) if place < _MOST else None,
            oldest=_oldest(ui, name) if place < _MOST else None,
            flow=flow_of(ui, name) if place < _MOST else None,
            unserved=unserved_of(ui, name, driven.get(name, {})),
        )
        for place, name in enumerate(busiest)
    ]
    return Overview(workflows=summaries, now=now, letters=dict(letters))


def _live(states: Mapping[RunState, int]) -> int:
    return sum(number for state, number in states.items() if state.is_live)


def _oldest(ui: Ui, workflow: str) -> Record | None:
    query = RecordQuery(workflow=workflow, states=_DRIVEN, order=SortOrder.OLDEST_FIRST, limit=1)

    def ask() -> Record | None:
        return next(iter(ui.engine.runs(query).items), None)

    return ui.remembered.get(("oldest", workflow), ui.settings.refresh.total_seconds(), ask)
