"""The worker: looks up what was received, runs the steps, and hands on their outcomes.

While there is more to begin it does not commit: while one thread waits for the store, another runs
Python. Where nothing waits it does, since to wake another thread would take longer than to write.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.committer import Committer
from workflow_core.engine.deadlines import Deadlines
from workflow_core.engine.execution import Execution
from workflow_core.engine.journal import Journal
from workflow_core.engine.lag import LagWatch
from workflow_core.engine.lane import FRESH, Chunk, Item, Lane
from workflow_core.engine.lookups import look_up
from workflow_core.engine.process import Process
from workflow_core.engine.suspects import Suspects, withdraw
from workflow_core.engine.telling import of_event, of_record
from workflow_core.engine.transactional import TransactionalSteps
from workflow_core.engine.transition import Identity, file_again
from workflow_core.engine.triage import Verdict, needs_time, triage, why_dropped
from workflow_core.engine.window import Window
from workflow_core.errors import AdapterUnavailableError
from workflow_core.logs import About
from workflow_core.model import EventSkipped, OutboxEvent, Record
from workflow_core.ports import Clock, RecordStore, Write

__all__ = ["Worker"]

logger = logging.getLogger("workflow_core.engine")

_BEHIND_LIMIT = 30.0  # seconds after which a record that never arrives is given up


class Worker(Process):
    """One thread's worth of work on all lanes of a process."""

    def __init__(
        self,
        name: str,
        *,
        window: Window,
        store: RecordStore,
        journal: Journal,
        committer: Committer,
        bodies: AsyncBodies,
        transactional: TransactionalSteps,
        identity: Identity,
        lag: LagWatch,
        clock: Clock,
    ) -> None:
        self.name = name
        self._window = window
        self._store = store
        self._journal = journal
        self._committer = committer
        self._bodies = bodies
        self._transactional = transactional
        self._identity = identity
        self._suspects = Suspects(window, journal)
        self._deadlines = Deadlines(window, clock, bodies)
        self._lag = lag
        self._clock = clock
        self._in_body: Item | None = None

    @property
    def doing(self) -> str:
        """The step that it runs."""
        item = self._in_body
        return "" if item is None else item.told

    def next_due(self) -> timedelta | None:
        """When what was postponed is to be looked at again."""
        due = self._window.next_due()
        return None if due is None else timedelta(seconds=max(0.0, due - self._clock.monotonic()))

    def poll(self, wait: timedelta) -> bool:
        """Look up and run one chunk of one step."""
        chunk = self._window.claim(wait)
        if chunk is None:
            return False
        try:
            if self._work_off(chunk):
                self._committer.commit_finished()
        except AdapterUnavailableError:
            self._window.doubt()
            raise
        finally:
            self._window.leave(chunk)
        return True

    def _work_off(self, chunk: Chunk) -> bool:
        """Look up and run; answers whether the worker itself is to commit."""
        claimed = len(chunk.pending)
        try:
            found = self._look_up(chunk)
            records = self._suspects.write_ahead(chunk, found)
            if records is not found:  # what is written ahead was not changed meanwhile
                chunk.looked_up_at = self._clock.monotonic()
            if chunk.step.is_async:
                self._start_bodies(chunk, records)
            else:
                self._run_bodies(chunk, records)
        finally:
            self._in_body = None
            self._window.put_back(chunk.take_back())
            if chunk.step.is_async:
                self._window.end_async(chunk.lane, chunk.step.status, claimed - chunk.started)
            commits = self._window.end_chunk(chunk)
        return commits

    # -- looking up ----------------------------------------------------------------------------

    def _look_up(self, chunk: Chunk) -> dict[Item, Record]:
        """Keep in the chunk what is to run; see to all else."""
        items = list(chunk.pending)
        wanted = {item.event.run_id: item.event.version for item in items}
        found, chunk.looked_up_at = self._known(chunk.lane, items)
        unknown = {run: version for run, version in wanted.items() if run not in found}
        if unknown:
            found.update(look_up(self._store, unknown))
            if len(unknown) == len(wanted):
                chunk.looked_up_at = self._clock.monotonic()
        now = self._now_if_needed(chunk, found)
        ready: dict[Item, Record] = {}
        done: list[Item] = []
        behind: list[Item] = []
        early: list[tuple[Item, timedelta]] = []
        for item in items:
            record = found.get(item.event.run_id)
            opinion = triage(item.event, record, chunk.step, now)
            if opinion.verdict is Verdict.RUN:
                assert record is not None
                ready[item] = record
            elif opinion.verdict is Verdict.DROP:
                done.append(item)
                self._tell_drop(item, record)
            elif opinion.verdict is Verdict.EARLY:
                early.append((item, opinion.rest))
            else:
                behind.append(item)
        # What may raise comes first: until then nothing has left the chunk.
        self._lag.observe(chunk.lane, chunk.step, [item.event for item in ready])
        dropped = list(done)
        if early:
            self._file_early(early)
            done += [item for item, _ in early]
        given_up = self._given_up(behind, found)
        if chunk.lane.observers is not None:
            self._tell_skipped(chunk, [*dropped, *given_up], found)
        later = [item for item in behind if item not in given_up]
        self._window.looked_up(chunk, ready, [*done, *given_up], later)
        return ready

    def _known(self, lane: Lane, items: Sequence[Item]) -> tuple[dict[str, Record], float]:
        """What was committed here a moment ago, and since then by nobody else; and since when."""
        reading = lane.reading
        if reading is None:
            return {}, self._clock.monotonic()
        own = {i.event.run_id: i.event.version for i in items if i.receiver is reading.receiver}
        return self._journal.fresh.of(own, after=reading.since)

    def _tell_skipped(
        self, chunk: Chunk, items: Sequence[Item], found: Mapping[str, Record]
    ) -> None:
        observers = chunk.lane.observers
        assert observers is not None
        workflow, process = chunk.lane.workflow.name, chunk.lane.process_of(chunk.step)
        reasons = Counter(why_dropped(i.event, found.get(i.event.run_id)) for i in items)
        for reason, count in reasons.items():
            observers.tell(
                EventSkipped(workflow=workflow, process=process, reason=reason, count=count)
            )

    def _now_if_needed(self, chunk: Chunk, found: Mapping[str, Record]) -> datetime | None:
        if any(needs_time(record, chunk.step) for record in found.values()):
            return self._store.now()
        return None

    def _file_early(self, early: Sequence[tuple[Item, timedelta]]) -> None:
        copies: list[OutboxEvent] = [
            file_again(item.event, self._identity, delay=rest) for item, rest in early
        ]
        self._journal.file(copies)

    def _given_up(self, behind: Sequence[Item], found: Mapping[str, Record]) -> set[Item]:
        """Those whose record has been missing, or older than their event, for too long."""
        now = self._clock.monotonic()
        given_up: set[Item] = set()
        for item in behind:
            if item.behind_since is None:
                item.behind_since = now
            if now - item.behind_since < _BEHIND_LIMIT:
                continue
            record = found.get(item.event.run_id)
            logger.error(
                "run %s: its event is about version %d, but the store has %s; dropped",
                item.event.run_id,
                item.event.version,
                "no such run" if record is None else f"version {record.version}",
                extra=of_event(item.event, item.lane.workflow, process_name=self.name),
            )
            given_up.add(item)
        return given_up

    def _tell_drop(self, item: Item, record: Record | None) -> None:
        if record is None or not logger.isEnabledFor(logging.DEBUG):
            return
        workflow, event = item.lane.workflow, item.event
        logger.debug(
            "workflow %r, run %s: the event of version %d is skipped: %s",
            event.workflow,
            event.run_id,
            event.version,
            f"the record has version {record.version}"
            if record.version > event.version
            else f"the run is {record.state.name.lower()}",
            extra=of_record(record, workflow, event_id=event.id, process_name=self.name),
        )

    # -- running -------------------------------------------------------------------------------

    def _run_bodies(self, chunk: Chunk, records: Mapping[Item, Record]) -> None:
        """One after the other; what would be stale by its turn is looked up again later."""
        first = True
        for item in chunk.take():
            if self._deadlines.refuses(item, records[item]):
                continue
            now = self._clock.monotonic()
            is_stale = not first and now - chunk.looked_up_at > FRESH
            if is_stale or not self._window.begin(item, records[item]):
                self._not_begun([item, *chunk.take_back()])
                return
            first = False
            chunk.body_since = now
            self._in_body = item
            if chunk.step.transaction:
                self._transactional.run(item, records[item], chunk)
                chunk.body_since = self._in_body = None
                continue
            write = Execution(item, records[item]).run()
            chunk.body_since = self._in_body = None
            if self._window.returned(item):
                self._window.finish(item, records[item], write, chunk=chunk)

    def _start_bodies(self, chunk: Chunk, records: Mapping[Item, Record]) -> None:
        """Begin them all side by side."""
        for item in chunk.take():
            if self._deadlines.refuses(item, records[item]):
                continue
            if not self._window.begin(item, records[item]):
                self._not_begun([item])
                return
            execution = Execution(item, records[item])
            body = execution.coroutine()
            if isinstance(body, Write):
                if self._window.returned(item):
                    self._window.finish(item, records[item], body, chunk=chunk)
            else:
                chunk.started += 1
                item.body = body
                with About(execution.about):
                    self._bodies.start(body, partial(self._body_ended, item, execution))

    def _not_begun(self, items: Sequence[Item]) -> None:
        if not self._window.put_back(items):
            withdraw(items, self._journal)

    def _body_ended(
        self, item: Item, execution: Execution, answer: object, error: BaseException | None
    ) -> None:
        self._window.end_async(item.lane, item.event.status)
        if isinstance(error, CancelledError) and self._bodies.is_closed:
            return  # abandoned by a stop, it comes again; any other cancellation is its own failure
        if self._window.returned(item):
            self._window.finish(item, execution.record, execution.concluded(answer, error))
