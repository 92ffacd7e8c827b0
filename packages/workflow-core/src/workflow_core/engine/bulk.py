"""The operator's verbs on many runs at once, in bounded batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.decisions import Decide, Decisions, check_live
from workflow_core.engine.deletion import DeletionReceipt
from workflow_core.engine.ledger import OwnLedger
from workflow_core.engine.patience import patiently
from workflow_core.engine.searching import checked_query
from workflow_core.errors import (
    AdapterUnavailableError,
    InputError,
    RunStateError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import Page, Record, RecordQuery, RunState, SortOrder, names
from workflow_core.ports import Write

__all__ = ["AsyncBulk", "Bulk", "BulkProgress"]

StatusT = TypeVar("StatusT", bound=IntEnum)
OnProgress = Callable[["BulkProgress"], object]
OnReceipt = Callable[[DeletionReceipt], object]

_BATCH = 500
_DELETED_AT_ONCE = 50  # a run's deletion is some transactions of its own
_TRIES = 5
_MOST_TOLD = 100  # errors that are kept; the rest is counted
_NARROWING = (
    "foreign_id",
    "run_ids",
    "statuses",
    "states",
    "created_after",
    "created_before",
    "updated_after",
    "updated_before",
    "search",
)


@dataclass(frozen=True)
class BulkProgress:
    """How far a verb on many runs has come.

    Attributes:
        changed: runs that were changed.
        unchanged: runs that were so already.
        refused: runs whose state the verb does not fit, or that others kept changing.
        errors: why, by run id; of the first hundred.
    """

    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    errors: dict[str, WorkflowError] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Runs that were looked at."""
        return self.changed + self.unchanged + self.refused


class Deletes(Protocol):
    """`Engine.delete_data`."""

    def __call__(
        self, workflow: Workflow[Any, Any], run_id: str, *, who: str, why: str
    ) -> DeletionReceipt:
        """See there."""


class Bulk:
    """Runs that match a filter, to be steered together. Made by `Engine.bulk`.

    Each verb goes through the runs that exist when it begins, oldest first, 500 in a transaction;
    each run is decided and written for itself, as by the verb on one run. An interruption leaves
    the rest: begin again, what is done already counts as unchanged or refused.

    All of them raise AdapterUnavailableError: the last batch may have been written; begin again.
    """

    def __init__(
        self,
        core: Core,
        query: RecordQuery,
        *,
        everything: bool,
        on_progress: OnProgress | None,
        delete: Deletes,
    ) -> None:
        if not everything and all(getattr(query, name) is None for name in _NARROWING):
            raise InputError(
                "this would be every run" + (f" of {query.workflow!r}" if query.workflow else ""),
                hint="Narrow it by statuses=, states=, times …, or say everything=True",
            )
        if query.workflow is not None and names.is_reserved(query.workflow):
            raise InputError(f"{query.workflow!r} is the engine's own, and has no runs")
        self._core = core
        self._query = checked_query(core.store, query)
        self._on_progress = on_progress
        self._delete = delete
        self._decisions = Decisions(core)
        self._ledger = OwnLedger(core)

    def pause(self, *, reason: str, who: str = "") -> BulkProgress:
        """As `Engine.pause` on each."""
        return self._each(self._decisions.pausing(reason, who))

    def resume(self, *, who: str, why: str = "") -> BulkProgress:
        """As `Engine.resume` on each that is paused."""
        return self._each(self._decisions.resuming(who, why))

    def cancel(self, *, reason: str, who: str = "") -> BulkProgress:
        """As `Engine.cancel` on each."""
        return self._each(self._decisions.cancelling(reason, who))

    def retry_now(self, *, who: str, why: str = "") -> BulkProgress:
        """As `Engine.retry_now` on each."""
        return self._each(self._decisions.hurrying(who, why))

    def move(
        self, workflow: Workflow[Any, StatusT], status: StatusT, *, who: str, why: str = ""
    ) -> BulkProgress:
        """As `Engine.move` on each of this workflow.

        Raises:
            UnknownStatusError: none of its statuses, or one from where nothing would move it on.
        """
        return self._each(self._decisions.moving(workflow, status, who, why))

    def delete_data(
        self,
        workflow: Workflow[Any, Any],
        *,
        who: str,
        why: str = "",
        on_receipt: OnReceipt | None = None,
    ) -> BulkProgress:
        """As `Engine.delete_data` on each of this workflow that has ended; it cannot be undone.

        Each for itself, in transactions of its own. Runs that are live, or another workflow's, are
        refused; those whose data was deleted already are unchanged.

        Args:
            workflow: whose runs; says what may stay.
            who: kept with each run.
            why: kept with each run.
            on_receipt: given each receipt as soon as it is there; what it raises ends the verb.
        """
        progress = BulkProgress()
        for runs in self._pages(_DELETED_AT_ONCE):
            for record in runs:
                progress = self._deleted(workflow, record, who, why, on_receipt, progress)
            self._tell(progress)
        return progress

    def _deleted(
        self,
        workflow: Workflow[Any, Any],
        record: Record,
        who: str,
        why: str,
        on_receipt: OnReceipt | None,
        progress: BulkProgress,
    ) -> BulkProgress:
        if record.state is RunState.DATA_DELETED:
            return replace(progress, unchanged=progress.unchanged + 1)
        try:
            receipt = self._delete(workflow, record.run_id, who=who, why=why)
        except AdapterUnavailableError:
            raise
        except WorkflowError as error:
            return _refused(progress, record.run_id, error)
        if on_receipt is not None:
            on_receipt(receipt)
        return replace(progress, changed=progress.changed + 1)

    def _each(self, decide: Decide) -> BulkProgress:
        progress = BulkProgress()
        for runs in self._pages(_BATCH):
            self._ledger.saw(runs)
            progress = self._batch(runs, decide, progress)
            self._tell(progress)
        return progress

    def _tell(self, progress: BulkProgress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)

    def _pages(self, size: int) -> Iterator[Sequence[Record]]:
        """The runs of this moment, oldest first."""
        # Runs that are begun meanwhile would let it go on for ever; those of this moment are in.
        end = self._ledger.now() + timedelta(microseconds=1)
        before = self._query.created_before
        query = self._query.replace(
            created_before=end if before is None else min(end, before),
            order=SortOrder.OLDEST_FIRST,
            after=None,
            limit=size,
        )
        while True:
            page = self._page(query)
            runs = [record for record in page.items if not names.is_reserved(record.workflow)]
            if runs:
                yield runs
            if page.next is None:
                return
            query = query.replace(after=page.next)

    def _page(self, query: RecordQuery) -> Page[Record]:
        return patiently(lambda: self._core.store.list_records(query), self._core.crew.manual)

    def _batch(
        self, runs: Sequence[Record], decide: Decide, progress: BulkProgress
    ) -> BulkProgress:
        """One transaction; and a few more for those that others wrote meanwhile."""
        clock = _ReadOnce(self._ledger.now)
        left = list(runs)
        lost: dict[str, WorkflowError] = {}
        for _ in range(_TRIES):
            writes: list[Write] = []
            for record in left:
                try:
                    check_live(record)
                    write = decide(record, clock.now)
                except (RunStateError, InputError) as error:
                    progress = _refused(progress, record.run_id, error)
                    continue
                if write is None:
                    progress = replace(progress, unchanged=progress.unchanged + 1)
                else:
                    writes.append(write)
            lost, progress = self._commit(writes, progress)
            if not lost:
                return progress
            left = list(self._ledger.lookup(list(lost)).values())
        for run_id, conflict in lost.items():
            progress = _refused(progress, run_id, conflict)
        return progress

    def _commit(
        self, writes: Sequence[Write], progress: BulkProgress
    ) -> tuple[dict[str, WorkflowError], BulkProgress]:
        """Answers those that lost against another write."""
        lost: dict[str, WorkflowError] = {}
        outcomes = self._ledger.commit(writes) if writes else []
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is None:
                progress = replace(progress, changed=progress.changed + 1)
            elif isinstance(outcome, VersionConflictError):
                lost[write.record.run_id] = outcome
            else:
                progress = _refused(progress, write.record.run_id, outcome)
        return lost, progress


class _ReadOnce:
    """The store's clock, asked once a batch."""

    def __init__(self, ask: Callable[[], datetime]) -> None:
        self._ask = ask
        self._read: datetime | None = None

    def now(self) -> datetime:
        if self._read is None:
            self._read = self._ask()
        return self._read


def _refused(progress: BulkProgress, run_id: str, error: WorkflowError) -> BulkProgress:
    errors = progress.errors
    if len(errors) < _MOST_TOLD:
        errors = {**errors, run_id: error}
    return replace(progress, refused=progress.refused + 1, errors=errors)


class AsyncBulk:
    """As `Bulk`, for asyncio code; ``on_progress`` is called from another thread."""

    def __init__(
        self, bulk: Bulk, do: Callable[[Callable[[], BulkProgress]], Awaitable[BulkProgress]]
    ) -> None:
        self._bulk = bulk
        self._do = do

    async def pause(self, *, reason: str, who: str = "") -> BulkProgress:
        """As `Bulk.pause`."""
        return await self._do(lambda: self._bulk.pause(reason=reason, who=who))

    async def resume(self, *, who: str, why: str = "") -> BulkProgress:
        """As `Bulk.resume`."""
        return await self._do(lambda: self._bulk.resume(who=who, why=why))

    async def cancel(self, *, reason: str, who: str = "") -> BulkProgress:
        """As `Bulk.cancel`."""
        return await self._do(lambda: self._bulk.cancel(reason=reason, who=who))

    async def retry_now(self, *, who: str, why: str = "") -> BulkProgress:
        """As `Bulk.retry_now`."""
        return await self._do(lambda: self._bulk.retry_now(who=who, why=why))

    async def move(
        self, workflow: Workflow[Any, StatusT], status: StatusT, *, who: str, why: str = ""
    ) -> BulkProgress:
        """As `Bulk.move`."""
        return await self._do(lambda: self._bulk.move(workflow, status, who=who, why=why))

    async def delete_data(
        self,
        workflow: Workflow[Any, Any],
        *,
        who: str,
        why: str = "",
        on_receipt: OnReceipt | None = None,
    ) -> BulkProgress:
        """As `Bulk.delete_data`; ``on_receipt`` is called from another thread."""
        return await self._do(
            lambda: self._bulk.delete_data(workflow, who=who, why=why, on_receipt=on_receipt)
        )
