"""The outbox table: events on their way from the store to a streamer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count

from workflow_core.memory.agenda import Agenda, earliest
from workflow_core.model import UNSTAMPED, OutboxEvent

__all__ = ["Outbox"]


class Outbox:
    """Rows by id, one agenda per workflow, and how many rows each run has.

    The database's lock is held by whoever calls.
    """

    def __init__(self) -> None:
        self._rows: dict[str, OutboxEvent] = {}
        self._agendas: dict[str, Agenda] = {}
        self._per_run: Counter[str] = Counter()
        self._numbers = count()
        self.changes = 0
        """Grows when a row is filed that nobody holds, or is given up by its holder."""

    def add(self, row: OutboxEvent, now: datetime) -> None:
        """File a row; one whose id is there is left as it is."""
        event = row.event
        if event.id in self._rows:
            return
        stamped = event.replace(created_at=now) if event.created_at == UNSTAMPED else event
        self._rows[event.id] = OutboxEvent(event=stamped)
        self._per_run[event.run_id] += 1
        agenda = self._agendas.get(event.workflow)
        if agenda is None:
            agenda = self._agendas[event.workflow] = Agenda()
        if not row.held_for:
            self.changes += 1
        due = now + row.delay
        agenda.put(event.id, next(self._numbers), due=due, visible=max(due, now + row.held_for))

    def delete(self, id_: str) -> None:
        """Forget a row, if it is there."""
        row = self._rows.pop(id_, None)
        if row is None:
            return
        event = row.event
        self._agendas[event.workflow].discard(id_)
        self._per_run[event.run_id] -= 1
        if not self._per_run[event.run_id]:
            del self._per_run[event.run_id]

    def present(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that have a row, each once."""
        return [id_ for id_ in dict.fromkeys(ids) if id_ in self._rows]

    def rows(self) -> list[OutboxEvent]:
        """All of them, due or not, held or not: for simulations."""
        return list(self._rows.values())

    def has_rows_of(self, run_id: str) -> bool:
        """Whether an event of this run is on its way, due or not, held or not."""
        return run_id in self._per_run

    def due(self, workflows: Iterable[str], now: datetime, *, limit: int) -> list[OutboxEvent]:
        """What is due and unheld, earliest due first."""
        return [self._rows[id_] for id_ in earliest(self._of(workflows), now, limit=limit)]

    def hold(self, ids: Iterable[str], until: datetime) -> None:
        """Hide these rows until then, which also ends an earlier hold; none gets due early."""
        for id_ in ids:
            row = self._rows.get(id_)
            if row is not None:
                self._agendas[row.event.workflow].hide(id_, until)

    def delay(self, ids: Iterable[str], until: datetime) -> None:
        """As `hold`; what was held may be anybody's then."""
        self.changes += 1
        self.hold(ids, until)

    def next_due(self, workflows: Iterable[str], now: datetime) -> timedelta | None:
        """How long until a row is due and unheld; None: there is no row."""
        times = [due for agenda in self._of(workflows) if (due := agenda.next(now)) is not None]
        return min(times) - now if times else None

    def _of(self, workflows: Iterable[str]) -> Sequence[Agenda]:
        names = dict.fromkeys(workflows)
        return [self._agendas[name] for name in names if name in self._agendas]
