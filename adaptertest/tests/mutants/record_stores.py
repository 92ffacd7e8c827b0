"""Record stores that break one promise each, and the case that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

from workflow_adaptertest import Env, RecordStoreContract
from workflow_core.errors import RunInProgressError, VersionConflictError
from workflow_core.memory import MemoryDatabase, MemoryRecordStore
from workflow_core.model import HistoryEntry, OutboxEvent, Page, Record, RecordQuery, SortOrder
from workflow_core.ports import Erasure, Outcome, RecordStore, RunCopy, StoreTransaction, Write


class Forcing(MemoryRecordStore):
    """Base: some outcomes are overruled and the record is put all the same."""

    def overrules(self, outcome: Outcome) -> bool:
        raise NotImplementedError

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        return [
            self._forced(write) if self.overrules(outcome) else outcome
            for write, outcome in zip(writes, super().store_many(writes), strict=True)
        ]

    def _forced(self, write: Write) -> Outcome:
        with self.database.lock:
            now = self.now()
            old = self.database.runs.rows.get(write.record.run_id)
            created = now if old is None else old.created_at
            self.database.runs.put(
                write.record.replace(created_at=created, updated_at=now, entered_at=now)
            )
            for event in write.events:
                self.database.outbox.add(event, now)
        return None


class LosesUpdates(Forcing):
    def overrules(self, outcome: Outcome) -> bool:
        return isinstance(outcome, VersionConflictError) and outcome.found is not None


class InsertsOnUpdate(Forcing):
    def overrules(self, outcome: Outcome) -> bool:
        return isinstance(outcome, VersionConflictError) and outcome.found is None


class AllowsTwoLiveRuns(Forcing):
    def overrules(self, outcome: Outcome) -> bool:
        return isinstance(outcome, RunInProgressError)


class UpsertsByForeignId(MemoryRecordStore):
    """An upsert meets the unique key of the live foreign id, and replaces another run's row."""

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for write, outcome in zip(writes, super().store_many(writes), strict=True):
            live = self.database.runs.live.get((write.record.workflow, write.record.foreign_id))
            if isinstance(outcome, VersionConflictError) and outcome.found is None and live:
                there = self.database.runs.rows[live]
                self.database.runs.rows[live] = there.replace(data=write.record.data)
            outcomes.append(outcome)
        return outcomes


class ForgetsItsOwnWrites(MemoryRecordStore):
    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        before = self.lookup_many([write.record.run_id for write in writes])
        return [
            VersionConflictError(run_id=run_id, expected=version - 1, found=version)
            if (run_id := write.record.run_id) in before
            and before[run_id].version == (version := write.record.version)
            else outcome
            for write, outcome in zip(writes, super().store_many(writes), strict=True)
        ]


class FilesEventsOfKnownWritesAgain(MemoryRecordStore):
    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        outcomes = super().store_many(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is None:
                self.add_outbox_events(write.events)
        return outcomes


class FilesEventsOfLosers(MemoryRecordStore):
    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        for write in writes:
            self.add_outbox_events(write.events)
        return super().store_many([write.replace(events=()) for write in writes])


class FailsTheWholeBatch(MemoryRecordStore):
    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        with self.database.begin() as connection:
            outcomes = connection.store_many(writes)
            lost = [outcome for outcome in outcomes if outcome is not None]
            if lost:
                connection.rollback()
                return lost[:1] * len(writes)
            return outcomes


class Spelling(MemoryRecordStore):
    """Base: texts are compared after a change that makes different ones equal."""

    def fold(self, text: str) -> str:
        raise NotImplementedError

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        return super().store_many(
            [
                write.replace(
                    record=write.record.replace(foreign_id=self.fold(write.record.foreign_id))
                )
                for write in writes
            ]
        )

    def latest(self, workflow: str, foreign_id: str) -> Record:
        return super().latest(workflow, self.fold(foreign_id)).replace(foreign_id=foreign_id)


class IgnoresTrailingSpaces(Spelling):
    def fold(self, text: str) -> str:
        return text.rstrip(" ")


class IgnoresCase(Spelling):
    def fold(self, text: str) -> str:
        return text.lower()


class LosesMicroseconds(MemoryRecordStore):
    def lookup(self, run_id: str) -> Record:
        record = super().lookup(run_id)
        return record.replace(created_at=record.created_at.replace(microsecond=0))


class TrustsTheWriter(MemoryRecordStore):
    """Keeps the times that the writer's clock told."""

    def lookup(self, run_id: str) -> Record:
        record = super().lookup(run_id)
        told = self._told.get(run_id, record.created_at)
        return record.replace(created_at=told)

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        self._told = {write.record.run_id: write.record.created_at for write in writes}
        return super().store_many(writes)

    _told: Mapping[str, datetime] = {}


class EntersWithEachVersion(MemoryRecordStore):
    def lookup(self, run_id: str) -> Record:
        record = super().lookup(run_id)
        return record.replace(entered_at=record.updated_at)


class PagesByTimeAlone(MemoryRecordStore):
    """Goes on after the last time, and so misses what shares it."""

    def list_records(self, query: RecordQuery) -> Page[Record]:
        if query.after is not None and " " in query.after:
            at, _, _ = query.after.partition(" ")
            border = "\U0010ffff" if query.order is SortOrder.OLDEST_FIRST else "\0"
            query = query.replace(after=f"{at} {border}")
        return super().list_records(query)


class PagesByOffset(MemoryRecordStore):
    """Counts rows, which move when others are inserted before them."""

    def list_records(self, query: RecordQuery) -> Page[Record]:
        skip = int(query.after or 0)
        rows = super().list_records(query.replace(after=None, limit=100_000)).items
        page = rows[skip : skip + query.limit]
        more = skip + query.limit < len(rows)
        return Page(items=page, next=str(skip + query.limit) if more else None)


class IgnoresDelay(MemoryRecordStore):
    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        super().add_outbox_events([event.replace(delay=timedelta(0)) for event in events])


class IgnoresTheHold(MemoryRecordStore):
    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        return super().store_many(
            [
                write.replace(
                    events=[event.replace(held_for=timedelta(0)) for event in write.events]
                )
                for write in writes
            ]
        )


class ListsTheNewestFirst(MemoryRecordStore):
    def list_outbox_events(self, workflows: Sequence[str], *, limit: int) -> Sequence[OutboxEvent]:
        return super().list_outbox_events(workflows, limit=100_000)[::-1][:limit]


class ClaimsHideNothing(MemoryRecordStore):
    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        return self.list_outbox_events(workflows, limit=limit)


class DrivesWhatIsInTheOutbox(MemoryRecordStore):
    def _is_driven(self, record: Record) -> bool:
        return not record.state.is_driven or record.skipped or record.next_try_at is not None


class PurgesWhatIsInTheOutbox(MemoryRecordStore):
    def purge(
        self, query: RecordQuery, *, doomed: Callable[[Sequence[str]], None] | None = None
    ) -> int:
        ids = [record.run_id for record in self.list_records(query).items]
        going = [run_id for run_id in ids if not self.lookup(run_id).state.is_live]
        for run_id in going:
            self.database.runs.remove(run_id)
        return len(going)


class TellsOfTheDoomedTooLate(MemoryRecordStore):
    def purge(
        self, query: RecordQuery, *, doomed: Callable[[Sequence[str]], None] | None = None
    ) -> int:
        going: list[str] = []
        gone = super().purge(query, doomed=going.extend)
        if doomed is not None:
            doomed(going)
        return gone


class KeepsErrorsAfterErasing(MemoryRecordStore):
    def erase_copies(self, run_id: str) -> Erasure:
        return Erasure()


class _ThroughTransaction(StoreTransaction):
    """No transaction at all: each call commits for itself."""

    def __init__(self, store: MemoryRecordStore) -> None:
        self.connection = object()
        self._store = store

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        return self._store.store_many(writes)

    def delete_outbox_events(self, ids: Sequence[str]) -> Sequence[str]:
        self._store.delete_outbox_events(ids)
        return ids

    def lookup_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        return self._store.lookup_many(run_ids)

    def latest(self, workflow: str, foreign_id: str) -> Record:
        return self._store.latest(workflow, foreign_id)


class CommitsAtOnce(MemoryRecordStore):
    @contextmanager
    def _transaction(self) -> Iterator[StoreTransaction]:
        yield _ThroughTransaction(self)


class TellsAnotherStamp(MemoryRecordStore):
    """In whole milliseconds, as another column has it."""

    @contextmanager
    def _transaction(self) -> Iterator[StoreTransaction]:
        with self.database.begin() as connection:
            transaction = self.join(connection)
            told = property(lambda it: it.connection.stamped_at.replace(microsecond=0))
            transaction.__class__ = type("Rounded", (type(transaction),), {"stamped_at": told})
            yield transaction


class AbortsWhenAWriteLoses(MemoryRecordStore):
    """As PostgreSQL does with a transaction in which a statement failed."""

    @contextmanager
    def _transaction(self) -> Iterator[StoreTransaction]:
        with self.database.begin() as connection:
            inner = self.join(connection)
            lost: list[Outcome] = []

            class Aborting(_ThroughTransaction):
                def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
                    if lost:
                        return lost[:1] * len(writes)
                    outcomes = inner.store_many(writes)
                    lost.extend(outcome for outcome in outcomes if outcome is not None)
                    return outcomes

            yield Aborting(self)


class KeepsOldAttributes(MemoryRecordStore):
    """Adds what a write names, and takes nothing away."""

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        known = self.lookup_many([write.record.run_id for write in writes])
        return super().store_many(
            [
                write
                if write.search is None or write.record.run_id not in known
                else write.replace(search={**known[write.record.run_id].search, **write.search})
                for write in writes
            ]
        )


class FindsErasedRuns(MemoryRecordStore):
    def erase_copies(self, run_id: str) -> Erasure:
        kept = self.lookup(run_id).search
        erasure = super().erase_copies(run_id)
        with self.database.lock:
            self.database.runs.put(self.database.runs.rows[run_id].replace(search=kept))
        return erasure


class ReadsBesideItsTransaction(MemoryRecordStore):
    """Looks runs up on another connection than it writes on."""

    @contextmanager
    def _transaction(self) -> Iterator[StoreTransaction]:
        with self.database.begin() as connection:
            inner = self.join(connection)

            class Beside(_ThroughTransaction):
                def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
                    return inner.store_many(writes)

            yield Beside(self)


class AsksItsServiceToTell(MemoryRecordStore):
    """Each look for changes is a round of requests."""

    def outbox_changed(self) -> bool:
        vars(self.database)["asked"] = vars(self.database).get("asked", 0) + 10
        return super().outbox_changed()


class StampsWhatItAdopts(MemoryRecordStore):
    def adopt(self, copies: Sequence[RunCopy]) -> None:
        now = self.now()
        super().adopt([copy.replace(record=copy.record.replace(updated_at=now)) for copy in copies])


class AdoptsNoHistory(MemoryRecordStore):
    def adopt(self, copies: Sequence[RunCopy]) -> None:
        super().adopt([copy.replace(history=()) for copy in copies])


class TellsHistoriesBackwards(MemoryRecordStore):
    def history_many(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[HistoryEntry]]:
        found = super().history_many(run_ids)
        return {run_id: list(reversed(entries)) for run_id, entries in found.items()}


class ListsNothingOfTheOutboxThatIsHeld(MemoryRecordStore):
    def list_outbox(self, *, after: str | None = None, limit: int = 100) -> Page[OutboxEvent]:
        return Page(items=self.list_outbox_events(["orders", "refunds"], limit=limit))


NOTICED_BY: dict[type[MemoryRecordStore], str] = {
    AsksItsServiceToTell: "test_empty_outbox_costs_next_to_nothing_when_a_relay_watches_it",
    LosesUpdates: "test_one_writer_wins_when_fifty_update_the_same_version",
    InsertsOnUpdate: "test_store_answers_a_conflict_when_the_run_is_unknown",
    AllowsTwoLiveRuns: "test_one_run_is_made_when_fifty_trigger_the_same_foreign_id",
    UpsertsByForeignId: "test_store_touches_no_other_run_when_a_late_write_meets_its_foreign_id",
    ForgetsItsOwnWrites: "test_store_is_a_success_when_the_same_write_comes_again",
    FilesEventsOfKnownWritesAgain: (
        "test_store_files_nothing_when_the_same_write_comes_again_after_its_event_went_out"
    ),
    FilesEventsOfLosers: "test_store_many_files_the_events_of_winners_alone_when_some_lose",
    FailsTheWholeBatch: "test_store_many_answers_per_item_when_some_lose",
    IgnoresTrailingSpaces: "test_foreign_ids_are_told_apart_when_they_look_alike[alike]",
    IgnoresCase: "test_foreign_ids_are_told_apart_when_they_look_alike[alike]",
    LosesMicroseconds: "test_times_keep_their_microseconds_when_stamped",
    TrustsTheWriter: "test_created_at_is_stamped_once_when_the_run_is_inserted",
    EntersWithEachVersion: "test_entered_at_is_stamped_when_the_version_enters_a_status",
    PagesByTimeAlone: "test_list_answers_like_the_model_when_filters_are_combined",
    PagesByOffset: (
        "test_pages_miss_and_repeat_nothing_when_runs_are_written_between_them[newest first]"
    ),
    IgnoresDelay: "test_outbox_lists_the_oldest_due_first_when_there_are_many",
    IgnoresTheHold: "test_outbox_hides_an_event_when_its_writer_holds_it",
    ListsTheNewestFirst: "test_outbox_lists_the_oldest_due_first_when_there_are_many",
    ClaimsHideNothing: "test_claim_hides_events_when_another_one_claims",
    DrivesWhatIsInTheOutbox: "test_drivable_runs_are_those_that_nothing_drives_when_asked",
    PurgesWhatIsInTheOutbox: (
        "test_purge_spares_live_runs_and_those_in_the_outbox_when_the_query_names_them"
    ),
    TellsOfTheDoomedTooLate: "test_purge_tells_of_those_that_go_before_they_have_gone",
    KeepsErrorsAfterErasing: "test_erase_leaves_no_payload_beside_the_record_when_repeated",
    CommitsAtOnce: "test_transaction_shows_nothing_when_it_has_not_committed",
    KeepsOldAttributes: ("test_attributes_change_when_a_write_says_so_and_stay_when_it_does_not"),
    FindsErasedRuns: "test_nothing_is_found_of_a_run_that_was_erased_or_purged",
    ReadsBesideItsTransaction: "test_transaction_reads_what_it_wrote_when_others_do_not",
    StampsWhatItAdopts: "test_adopted_run_is_just_as_it_was_told",
    AdoptsNoHistory: "test_adopted_run_is_just_as_it_was_told",
    TellsHistoriesBackwards: "test_histories_of_many_are_told_by_run_when_some_exist",
    ListsNothingOfTheOutboxThatIsHeld: "test_outbox_is_listed_whole_and_in_order_of_id",
    TellsAnotherStamp: "test_transaction_reads_what_it_wrote_when_others_do_not",
    AbortsWhenAWriteLoses: "test_transaction_stays_usable_when_a_write_in_it_loses",
}


def certified(mutant: type[MemoryRecordStore]) -> type[RecordStoreContract]:
    """The class that an author of this store would write."""

    def adapter(self: object, env: Env) -> AbstractContextManager[RecordStore]:
        return mutant(env.shared("database", lambda: MemoryDatabase(env.clock)))

    def operations(self: object, env: Env) -> Callable[[], int]:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        return lambda: getattr(database, "asked", 0)

    body: dict[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "operations": operations,
        "patience": timedelta(seconds=2),
    }
    return type(f"Test{mutant.__name__}", (RecordStoreContract,), body)


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
