"""The outbox table: events on their way from the store to a streamer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import count

from workflow_core.memory.agenda import Agenda, earliest
from workflow_core.model import UNSTAMPED, OutboxEvent, uuid_from_key
from workflow_core.ports import OutboxBacklog

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

    def blank(self, run_id: str) -> None:
        """Empty the headers of this run's rows.

        Each gets another id: who claimed it before cannot publish it any more as it was.
        """
        if not self.has_rows_of(run_id):
            return
        for id_, row in list(self._rows.items()):
            if row.event.run_id == run_id and row.event.headers:
                new = uuid_from_key(row.event.workflow, f"{id_} without headers")
                del self._rows[id_]
                self._rows[new] = row.replace(event=row.event.replace(id=new, headers={}))
                self._agendas[row.event.workflow].rename(id_, new)

    def present(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that have a row, each once."""
        return [id_ for id_ in dict.fromkeys(ids) if id_ in self._rows]

    def rows(self) -> list[OutboxEvent]:
        """All of them, due or not, held or not: for simulations."""
        return list(self._rows.values())

    def page(self, after: str, now: datetime, limit: int) -> tuple[list[OutboxEvent], bool]:
        """Rows in order of id, with how long until each is due, and whether there are more."""
        ids = nsmallest(limit + 1, (id_ for id_ in self._rows if id_ > after))
        items = []
        for id_ in ids[:limit]:
            row = self._rows[id_]
            due = self._agendas[row.event.workflow].due_of(id_)
            items.append(row.replace(delay=max(due - now, timedelta(0))))
        return items, len(ids) > limit

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

    def backlog(self, workflow: str, now: datetime, most: int) -> OutboxBacklog:
        """What waits, of `most` rows at most."""
        agenda = self._agendas.get(workflow)
        due, scheduled, first = (0, 0, None) if agenda is None else agenda.backlog(now, most)
        oldest = timedelta(0) if first is None else now - first
        return OutboxBacklog(due=due, scheduled=scheduled, oldest=oldest)

    def _of(self, workflows: Iterable[str]) -> Sequence[Agenda]:
        names = dict.fromkeys(workflows)
        return [self._agendas[name] for name in names if name in self._agendas]
