"""How events of a workflow get on: what lies in the outbox, and how far its consumers are behind.

A few last values of the lag are kept here, whenever somebody looks, for a small chart: no port
remembers them, and metrics do that better where there are some.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from workflow_core.errors import AdapterError
from workflow_core.model import OutboxEvent, names

from workflow_webui.reading.health import health_of
from workflow_webui.reading.pools import pools_of
from workflow_webui.ui import Ui

__all__ = ["Consumer", "Flow", "LagPoints", "due_events", "flow_of"]

_AWAY = "does not answer"
_LOOKED_AT = 200
_POINTS = 60


@dataclass(frozen=True)
class Consumer:
    """Who reads a workflow's events, and how old the oldest is that it has not done with."""

    what: str
    name: str
    lag: timedelta | None
    """None: the streamer cannot tell."""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One workflow."""

    workflow: str
    due: int
    """Outbox events that are due and that nobody has taken; no more than `most` are counted."""
    most: int
    oldest_due: timedelta | None
    """How long ago the oldest of these was filed."""
    next_due: timedelta | None
    """How long until another event in the outbox is due; None: none, or not known."""
    consumers: Sequence[Consumer]
    next_timer: timedelta | None
    """How long until the next timer is due; None: none, or not known."""
    timer_problem: str = ""
    """Why that could not be asked."""

    @property
    def lag(self) -> timedelta | None:
        """The greatest of its consumers'."""
        return max((c.lag for c in self.consumers if c.lag is not None), default=None)


class LagPoints:
    """The last values of the lag, in seconds, by workflow. One thread at a time per workflow."""

    def __init__(self) -> None:
        self._points: dict[str, deque[tuple[datetime, float]]] = {}

    def add(self, workflow: str, at: datetime, lag: timedelta) -> None:
        """Keep this one too."""
        points = self._points.setdefault(workflow, deque(maxlen=_POINTS))
        points.append((at, lag.total_seconds()))

    def of(self, workflow: str) -> Sequence[tuple[datetime, float]]:
        """Oldest first."""
        return list(self._points.get(workflow, ()))


def flow_of(ui: Ui, workflow: str) -> Flow:
    """As it is now; at most ``refresh`` old."""
    seconds = ui.settings.refresh.total_seconds()
    return ui.remembered.get(("flow", workflow), seconds, lambda: _asked(ui, workflow))


def due_events(ui: Ui, workflow: str, limit: int) -> Sequence[OutboxEvent]:
    """The events in the outbox that are due for longest."""
    return ui.store.list_outbox_events([workflow], limit=limit)


def _asked(ui: Ui, workflow: str) -> Flow:
    now = ui.now()
    due = due_events(ui, workflow, _LOOKED_AT)
    oldest = min((event.event.created_at for event in due), default=None)
    next_timer, timer_problem = _next_timer(ui, workflow)
    found = Flow(
        workflow=workflow,
        due=len(due),
        most=_LOOKED_AT,
        oldest_due=None if oldest is None else max(timedelta(0), now - oldest),
        next_due=ui.store.next_outbox_due([workflow]),
        consumers=_consumers(ui, workflow),
        next_timer=next_timer,
        timer_problem=timer_problem,
    )
    if found.lag is not None:
        ui.lag_points.add(workflow, now, found.lag)
    return found


def _consumers(ui: Ui, workflow: str) -> list[Consumer]:
    definition = ui.workflows.get(workflow)
    if definition is None or ui.engine.adapters.event_streamer is None:
        return []
    found = [
        _lag(
            ui,
            "steps" if pool == names.MAIN_POOL else f"steps of pool {pool}",
            names.consumer(workflow, pool),
            [names.status_topic(workflow, status) for status in statuses],
        )
        for pool, statuses in pools_of(ui, workflow, list(definition.steps)).items()
    ]
    if _delivers(definition):
        topics = [names.run_state_topic(workflow)]
        found.append(_lag(ui, "hooks and deliveries", names.deliveries_consumer(workflow), topics))
    return found


def _delivers(definition: object) -> bool:
    return bool(getattr(definition, "hooks", ())) or bool(getattr(definition, "connectors", ()))


def _next_timer(ui: Ui, workflow: str) -> tuple[timedelta | None, str]:
    timers = ui.engine.adapters.timeout_store
    if timers is None:
        return None, ""
    if not _answers(ui, "timeout_store"):
        return None, _AWAY
    try:
        return timers.next_due([workflow]), ""
    except AdapterError as error:
        return None, error.message


def _answers(ui: Ui, port: str) -> bool:
    """Whether an adapter is well.

    Asked first, since that takes two seconds at most: a question to who is away may take long, and
    there is one for each workflow.
    """
    return all(each.state.value == "ok" for each in health_of(ui).adapters if each.port == port)


def _lag(ui: Ui, what: str, name: str, topics: Sequence[str]) -> Consumer:
    streamer = ui.engine.adapters.event_streamer
    if streamer is None or not topics:
        return Consumer(what, name, None)
    if not _answers(ui, "event_streamer"):
        return Consumer(what, name, None, _AWAY)
    try:
        return Consumer(what, name, streamer.lag(topics, name))
    except AdapterError as error:
        return Consumer(what, name, None, error.message)
