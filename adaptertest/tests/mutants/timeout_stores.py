"""Timeout stores that break one promise each, and the case that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from workflow_adaptertest import Env, TimeoutStoreContract
from workflow_core.memory import MemoryDatabase, MemoryRecordStore, MemoryTimeoutStore
from workflow_core.model import Page, Timeout
from workflow_core.ports import RecordStore, StoreTransaction, TimeoutStore


class FiresEarly(MemoryTimeoutStore):
    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        super().create_many([timeout.replace(delay=timeout.delay / 2) for timeout in timeouts])


class ForgetsClosedKeys(MemoryTimeoutStore):
    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        answers = super().complete_many(keys)
        self.database.timers._closed.difference_update(keys)
        return answers


class LetsEveryPollerWin(MemoryTimeoutStore):
    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        super().complete_many(keys)
        return [True] * len(keys)


class NeverParks(MemoryTimeoutStore):
    def park_many(self, keys: Sequence[str]) -> None:
        pass


class ParksForEver(MemoryTimeoutStore):
    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        parked = {key for key, timeout in self.database.timers._open.items() if timeout.parked}
        super().create_many([timeout for timeout in timeouts if timeout.key not in parked])


class ArmsAnewOnCreate(MemoryTimeoutStore):
    """An upsert: the same key again moves the timer."""

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        super().create_many(timeouts)
        for timeout in timeouts:
            self.reschedule(timeout.key, timeout.delay, attempts=0, error="")


class ListsByKey(MemoryTimeoutStore):
    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        due = super().list_valid(workflows, limit=100_000)
        return sorted(due, key=lambda timeout: timeout.key)[:limit]


class ForgetsByPrefix(MemoryTimeoutStore):
    def forget(self, run_ids: Sequence[str]) -> None:
        known = list(self.database.timers._keys_of_run)
        super().forget([each for run_id in run_ids for each in known if each.startswith(run_id)])


class LosesTheError(MemoryTimeoutStore):
    def reschedule(self, key: str, delay: timedelta, *, attempts: int, error: str) -> None:
        super().reschedule(key, delay, attempts=attempts, error="")


class RevivesOnReschedule(MemoryTimeoutStore):
    def reschedule(self, key: str, delay: timedelta, *, attempts: int, error: str) -> None:
        self.database.timers._closed.discard(key)
        super().reschedule(key, delay, attempts=attempts, error=error)


class CountsParkedOnesAsDue(MemoryTimeoutStore):
    """A poller that goes by it would spin."""

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        now = self.database.clock.now()
        timers = self.database.timers._open.values()
        return min(
            (each.due_at - now for each in timers if each.workflow in workflows), default=None
        )


class HidesParkedOnes(MemoryTimeoutStore):
    def list_timeouts(
        self, workflow: str, *, after: str | None = None, limit: int = 100
    ) -> Page[Timeout]:
        page = super().list_timeouts(workflow, after=after, limit=limit)
        return page.replace(items=[each for each in page.items if not each.parked])


class ArmsBeforeTheCommit(MemoryTimeoutStore):
    def write_within(
        self, transaction: StoreTransaction, *, arm: Sequence[Timeout], cancel: Sequence[str]
    ) -> None:
        self.create_many(arm)
        self.cancel_many(cancel)


NOTICED_BY: dict[type[MemoryTimeoutStore], str] = {
    FiresEarly: "test_timer_is_due_when_its_delay_has_passed",
    ForgetsClosedKeys: "test_closed_key_is_not_armed_when_it_is_created_late",
    LetsEveryPollerWin: "test_each_timer_is_closed_by_one_when_pollers_race",
    NeverParks: "test_parked_timer_is_hidden_when_it_is_due",
    ParksForEver: "test_parked_timer_keeps_its_time_when_it_is_created_again",
    ArmsAnewOnCreate: "test_create_changes_nothing_when_the_key_is_armed",
    ListsByKey: "test_due_timers_are_listed_earliest_first_when_there_are_many",
    ForgetsByPrefix: "test_forget_drops_the_run_alone_when_others_look_like_it",
    LosesTheError: "test_rescheduled_timer_is_due_later_when_it_failed",
    RevivesOnReschedule: "test_reschedule_does_nothing_when_the_key_is_closed_or_unknown",
    CountsParkedOnesAsDue: "test_next_due_is_exact_or_unknown_when_asked",
    HidesParkedOnes: "test_parked_timer_is_hidden_when_it_is_due",
    ArmsBeforeTheCommit: "test_write_within_leaves_nothing_when_the_transaction_is_rolled_back",
}


def certified(mutant: type[MemoryTimeoutStore]) -> type[TimeoutStoreContract]:
    """The class that an author of this store would write."""

    def shared(env: Env) -> MemoryDatabase:
        return env.shared("database", lambda: MemoryDatabase(env.clock))

    def adapter(self: object, env: Env) -> AbstractContextManager[TimeoutStore]:
        return mutant(shared(env))

    def joined_store(self: object, env: Env) -> AbstractContextManager[RecordStore]:
        return MemoryRecordStore(shared(env))

    body: dict[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "joined_store": joined_store,
        "patience": timedelta(seconds=2),
    }
    return type(f"Test{mutant.__name__}", (TimeoutStoreContract,), body)


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
