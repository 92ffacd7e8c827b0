"""The port of the record store: where runs live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    NotSupportedError,
    RunInProgressError,
    RunNotFoundError,
    VersionConflictError,
)
from workflow_core.model import (
    HistoryEntry,
    OutboxEvent,
    Page,
    Record,
    RecordQuery,
    RunState,
)
from workflow_core.ports.adapter import Adapter
from workflow_core.ports.answers import Erasure, OutboxBacklog, Tally
from workflow_core.ports.store_transaction import Outcome, RunCopy, StoreTransaction, Write

__all__ = ["RecordStore"]


class RecordStore(Adapter, ABC):
    """Where runs live: compare-and-swap, one live run per foreign id, record and events together.

    A write is a single compare-and-swap: version 1 inserts if neither the run nor another live run
    (initiated, running, paused) of the same (workflow, foreign id) exists; version n replaces where
    n-1 stands, in the one statement that writes, never an upsert. A run ended and then made live
    again is refused the same way while another is live.

    The store stamps, by its own clock: ``created_at`` on insert and never again, ``updated_at`` on
    each write, ``entered_at`` where ``entered_version == version`` and else keeps it,
    ``next_try_at`` from ``retry_in``. Microseconds are kept. Texts are compared exactly: case,
    accents and trailing spaces count. None that the engine gives it, to keep or to look for, holds
    a NUL or half of a surrogate pair.
    """

    # -- to be written -------------------------------------------------------------------------

    @abstractmethod
    def store(self, write: Write) -> None:
        """Store one write, all or nothing: the record and its events, or neither.

        Idempotent by ``write_id``: the same write again, after a lost answer, is a success and
        files no event twice.

        Raises:
            VersionConflictError: another version stands there; ``found`` is it, None if no run.
            RunInProgressError: the foreign id has another live run, named in the error.
            AdapterUnavailableError: nobody knows whether it was stored: store it again.
            AdapterError: refused for good.
        """

    @abstractmethod
    def lookup(self, run_id: str) -> Record:
        """The run as it is now, never from a replica.

        Raises:
            RunNotFoundError: no such run.
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def latest(self, workflow: str, foreign_id: str) -> Record:
        """The live run of the foreign id; without one, the run created last.

        Of two created at the same microsecond the one with the greater run id.

        Raises:
            RunNotFoundError: no run with this foreign id.
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def list_records(self, query: RecordQuery) -> Page[Record]:
        """One page; no record twice and none missed while others are inserted.

        Raises:
            InputError: ``query.after`` is none of this store's, or ``query.search`` goes without
                ``query.workflow``.
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def list_outbox_events(self, workflows: Sequence[str], *, limit: int) -> Sequence[OutboxEvent]:
        """Events of these workflows whose delay has passed and that nobody holds, oldest due first.

        Coming out, ``event.created_at`` is stamped and ``delay`` and ``held_for`` are zero.

        Raises:
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        """File events without a write: what is tried again, a safety copy, a nudge.

        All or nothing. An event whose id is there already is left as it is.

        Raises:
            AdapterUnavailableError: nobody knows whether they were filed: file them again.
        """

    @abstractmethod
    def delete_outbox_events(self, ids: Sequence[str]) -> None:
        """Forget what was published. Unknown ids are no error.

        Raises:
            AdapterUnavailableError: nobody knows: delete them again.
        """

    # -- may be overridden: batches ------------------------------------------------------------

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Each write for itself as `store`, outcomes in order; a lost one harms no other.

        A run appears at most once in ``writes`` (ValueError otherwise). One that the database
        refuses for good (a value it cannot keep) is found by the adapter and answered as an
        AdapterError, the others are stored.

        Raises:
            AdapterUnavailableError: nobody knows what was stored: store them all again.
        """
        check_distinct(writes)
        return [self._store_one(write) for write in writes]

    def _store_one(self, write: Write) -> Outcome:
        try:
            self.store(write)
        except AdapterUnavailableError:
            raise
        except (VersionConflictError, RunInProgressError, AdapterError) as error:
            return error
        return None

    def lookup_many(self, run_ids: Sequence[str], *, primary: bool = False) -> Mapping[str, Record]:
        """Those of the runs that exist, by run id.

        Args:
            run_ids: any number, duplicates allowed.
            primary: never answer from a replica.

        Raises:
            AdapterUnavailableError: no answer.
        """
        found: dict[str, Record] = {}
        for run_id in dict.fromkeys(run_ids):
            try:
                found[run_id] = self.lookup(run_id)
            except RunNotFoundError:
                continue
        return found

    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        """Due events, oldest due first, now the caller's for ``lease``: no other claim sees them.

        A caller that dies gives them back by the lease's end. Default: `list_outbox_events`,
        which hides nothing and so is good for one relay only (no CLAIMS).

        Raises:
            AdapterUnavailableError: no answer; what was claimed comes back after the lease.
        """
        return self.list_outbox_events(workflows, limit=limit)

    def delay_outbox_events(self, ids: Sequence[str], delay: timedelta) -> None:
        """Make these not due before ``delay`` from now; zero gives them up to any relay at once.

        Unknown ids are no error. Default: they are left as they are.

        Raises:
            AdapterUnavailableError: nobody knows: delay them again.
        """

    def now(self) -> datetime:
        """The store's clock, aware and UTC. Default: the machine's.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return datetime.now(UTC)

    # -- may be overridden: waiting ------------------------------------------------------------

    def next_outbox_due(self, workflows: Sequence[str]) -> timedelta | None:
        """How long until an outbox event of these is due and unheld; zero or less: one is now.

        None: there is none, or the store cannot tell (the default); the relay then polls.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return None

    def outbox_changed(self) -> bool:
        """Whether unheld outbox events may have been filed, by any process, since the last call.

        Only a hint that spares questions: it must cost the service nothing (a counter, a
        notification, the file's change counter). Word of another process may take a moment. One
        caller at a time. Default: True, perhaps.
        """
        return True

    # -- may be overridden: for people ---------------------------------------------------------

    def count_records(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """Runs per (workflow, status, run state); ``order``, ``after`` and ``limit`` do not count.

        Default: walks `list_records` page by page.

        Raises:
            AdapterUnavailableError: no answer.
        """
        counts: Counter[tuple[str, int, RunState]] = Counter()
        query = query.replace(after=None, limit=1000)
        while True:
            page = self.list_records(query)
            counts.update((record.workflow, record.status, record.state) for record in page.items)
            if page.next is None:
                return counts
            query = query.replace(after=page.next)

    def tally_records(self, query: RecordQuery) -> Tally:
        """Counts the runs of one page, to count many without ever holding up the store for long.

        Asked with a workflow, and with all live states or none, oldest first: what it looks at is
        to be bounded by ``query.limit`` then, however many runs there are. Default: by
        `list_records`.

        Raises:
            InputError: ``query.after`` is none of this store's.
            AdapterUnavailableError: no answer.
        """
        page = self.list_records(query)
        counts = Counter((record.status, record.state) for record in page.items)
        return Tally(counts=counts, next=page.next)

    def outbox_backlog(self, workflow: str, *, most: int) -> OutboxBacklog | None:
        """What waits in the outbox of one workflow; of either sort only `most` are counted.

        None: not known (the default).

        Raises:
            AdapterUnavailableError: no answer.
        """
        return None

    def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """Every version of the run, oldest first; without HISTORY the present one alone.

        Raises:
            RunNotFoundError: no such run.
            AdapterUnavailableError: no answer.
        """
        record = self.lookup(run_id)
        return [
            HistoryEntry(
                run_id=run_id,
                version=record.version,
                at=record.updated_at,
                status=record.status,
                state=record.state,
                attempts=record.attempts,
                reason=record.reason,
                error=record.last_error,
            )
        ]

    def history_many(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[HistoryEntry]]:
        """As `history`, of those of the runs that exist, by run id. Default: one after the other.

        Raises:
            AdapterUnavailableError: no answer.
        """
        found: dict[str, Sequence[HistoryEntry]] = {}
        for run_id in dict.fromkeys(run_ids):
            try:
                found[run_id] = self.history(run_id)
            except RunNotFoundError:
                continue
        return found

    # -- may be overridden: upkeep -------------------------------------------------------------

    def erase_copies(self, run_id: str) -> Erasure:
        """Scrub the run's payload from all that is kept beside its present record.

        Search attributes are payload: the run is found by none of them any more. Answers what was
        erased, and what it could not reach, for the receipt.

        Default: nothing is kept. Twice is harmless.

        Raises:
            AdapterUnavailableError: some may be left: erase again.
        """
        return Erasure()

    def purge(
        self, query: RecordQuery, *, doomed: Callable[[Sequence[str]], None] | None = None
    ) -> int:
        """Delete at most ``query.limit`` ended runs that match, and all that is theirs.

        Live runs and runs with an outbox row are spared, whatever the query says. ``order`` and
        ``after`` do not count. Answers how many went.

        Args:
            query: which.
            doomed: told the ids of those that are about to go, perhaps in several parts; they stay
                where it raises.

        Raises:
            NotSupportedError: this store cannot purge (the default).
            AdapterUnavailableError: some may be gone: purge again.
        """
        raise NotSupportedError(f"{type(self).__name__} cannot purge ended runs")

    # -- may be overridden: moving -------------------------------------------------------------

    def adopt(self, copies: Sequence[RunCopy]) -> None:
        """Keep these runs just as they are told, in place of what is here of them; all or nothing.

        Raises:
            RunInProgressError: the foreign id of a live one has another live run here.
            NotSupportedError: nothing can be moved into this store (the default).
            AdapterUnavailableError: nobody knows: adopt them again.
        """
        raise NotSupportedError(f"{type(self).__name__} adopts no runs of another store")

    def list_outbox(self, *, after: str | None = None, limit: int = 100) -> Page[OutboxEvent]:
        """All events, in order of id by code points, ``delay`` being how long until each is due.

        Raises:
            NotSupportedError: nothing can be moved out of this store (the default).
        """
        raise NotSupportedError(f"{type(self).__name__} does not list its whole outbox")

    # -- with TRANSACTIONS only ----------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[StoreTransaction]:
        """A transaction of the engine's own: leaving commits, an exception rolls back.

        Raises:
            AdapterUnavailableError: on entering: no answer; on leaving: nobody knows whether it
                committed, do all of it again.
            NotSupportedError: no TRANSACTIONS (the default).
        """
        raise NotSupportedError(f"{type(self).__name__} lends no transactions")

    @property
    def transactions_at_once(self) -> int:
        """How many transactions users' code may hold open in this process, 1 or more.

        What is left must do for all else that the engine writes. Default: 1.
        """
        return 1

    def join(self, connection: object) -> StoreTransaction:
        """Write in the caller's open transaction, which stays the caller's to commit.

        Raises:
            InputError: this is no connection of the store's database.
            StoreBusyError: from the transaction's methods: the caller must retry the transaction.
            NotSupportedError: no TRANSACTIONS (the default).
        """
        raise NotSupportedError(f"{type(self).__name__} joins no transactions")


def check_distinct(writes: Sequence[Write]) -> None:
    """Refuse a batch in which a run appears twice: which version came first could not be told."""
    if len({write.record.run_id for write in writes}) < len(writes):
        raise ValueError("a run appears twice in one batch of writes")
