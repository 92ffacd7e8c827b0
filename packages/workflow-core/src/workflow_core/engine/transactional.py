"""Steps that write the user's rows in the transaction of their transition.

Each such body has a transaction of its own: begun at the first use of ``run.connection``, or by the
first verb of the engine within, and committed with the transition in it. A lost compare-and-swap
rolls the user's rows back with it; so of all executions of one stay in a status exactly one leaves
rows, whatever is killed, freezes or is handed over meanwhile.

A body that fails is rolled back and its failed attempt committed like any other. A transaction that
was lost to others, or whose commit nobody knows the end of, costs no attempt: the run is looked up
again, which tells. After a few such losses in a row it is a failed attempt, so that it backs off.
"""

from __future__ import annotations

import logging

from workflow_core.engine.execution import Execution
from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import Chunk, Item
from workflow_core.engine.step_transaction import Slots, StepTransaction
from workflow_core.engine.telling import of_record, tell_pause
from workflow_core.engine.transition import Failure
from workflow_core.engine.window import Window
from workflow_core.errors import AdapterError, AdapterUnavailableError, VersionConflictError
from workflow_core.model import Record
from workflow_core.ports import Clock, RecordStore, Write

__all__ = ["TransactionalSteps"]

logger = logging.getLogger("workflow_core.engine")

_LOSSES = 3  # lost transactions of one item in a row that cost no attempt
_PAUSE = 0.05  # seconds before the first of them is tried again; doubled each time


class TransactionalSteps:
    """Runs bodies in transactions. Any thread; one for all workers of a process."""

    def __init__(self, store: RecordStore, journal: Journal, window: Window, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._window = window
        self._clock = clock
        self._slots = Slots(store)

    def run(self, item: Item, record: Record, chunk: Chunk) -> None:
        """Run the body and hand its outcome on: committed, to be committed, or to be run again."""
        name = f"workflow {record.workflow!r}, run {record.run_id}: step {item.step.name}"
        transaction = StepTransaction(self._store, self._slots, self._clock, name)
        execution = Execution(item, record, transaction.connection)
        try:
            with transaction:
                write = execution.run()
                if not self._window.returned(item):
                    return  # and all that it wrote is rolled back
                if execution.error is None and transaction.is_open:
                    self._commit(execution, write, transaction)
                    return
                lost = transaction.has_lost(execution.error)
        except AdapterUnavailableError as error:
            self._again(execution, error)
        except Exception as error:  # refused for good, or ended by the body, which is not to do so
            self._failed(execution, error)
        else:
            if lost and item.lost_transactions < _LOSSES:
                assert execution.error is not None
                self._again(execution, execution.error)
            else:
                self._window.finish(item, record, write, chunk=chunk)

    def _commit(self, execution: Execution, write: Write, transaction: StepTransaction) -> None:
        item = execution.item
        outcome = self._journal.store_within(transaction.joined, write)
        if outcome is None:
            transaction.commit()
            self._journal.announce_within(write, filed=transaction.has_verbs)
            item.lane.changed(execution.record, write)
            self._settle(item)
        elif isinstance(outcome, VersionConflictError):
            # Whoever moved the run on has filed the event of its new version.
            logger.debug(
                "run %s was changed meanwhile: %s",
                outcome.run_id,
                outcome,
                extra=_about(execution),
            )
            transaction.roll_back()
            self._settle(item)
        else:
            transaction.roll_back()
            self._failed(execution, outcome)

    def _settle(self, item: Item) -> None:
        if item.safety_copy:
            try:
                self._store.delete_outbox_events([item.safety_copy])
            except AdapterError as error:  # it drives nothing any more, and is dropped when due
                logger.debug("a copy of a settled event stays until it is due: %s", error)
        self._window.settle([item])

    def _again(self, execution: Execution, error: BaseException) -> None:
        item, record = execution.item, execution.record
        if item.lost_transactions >= _LOSSES:
            self._failed(execution, error)
            return
        item.lost_transactions += 1
        logger.info(
            "run %s: the transaction of step %s was lost, it runs again: %s",
            record.run_id,
            item.step.name,
            type(error).__name__,
            extra=_about(execution),
        )
        self._window.postpone(item, _PAUSE * 2**item.lost_transactions)

    def _failed(self, execution: Execution, error: BaseException) -> None:
        item, record = execution.item, execution.record
        logger.warning(
            "workflow %r, run %s: the transaction of step %s cannot be committed: %s",
            record.workflow,
            record.run_id,
            item.step.name,
            type(error).__name__,
            extra=_about(execution),
        )
        failure = item.lane.transition.failed(record, Failure.of(error), item.step)
        item.lane.attempt_failed(item.step, error, failure)
        tell_pause(failure, item.lane.workflow)
        self._window.finish(item, record, failure)


def _about(execution: Execution) -> dict[str, object]:
    record = execution.record
    return of_record(record, execution.item.lane.workflow, attempt=record.attempts + 1)
