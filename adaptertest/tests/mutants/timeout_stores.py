"""Timeout stores that break one promise each, and the case that has to notice."""

from __future__ import annotations

import time
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
        for key in keys:
            self.database.timers._closed.pop(key, None)
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


class TellsOfWhatIsParkedToo(MemoryTimeoutStore):
    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        found = list(super().list_soon(workflows, within=within, limit=limit))
        return (found + [t for t in self.database.timers._open.values() if t.parked])[:limit]


class TellsLateHowLongUntilThen(MemoryTimeoutStore):
    """It forgets that some of the delay has passed."""

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        found = super().list_soon(workflows, within=within, limit=limit)
        return [timeout.replace(delay=max(timeout.delay, within)) for timeout in found]


class TakesWhatIsDueSoonForDue(MemoryTimeoutStore):
    """Being listed makes it due."""

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        with self.database.lock:
            until = self.database.clock.now() + within
            self.database.timers.due(workflows, until, limit=limit)
        return super().list_soon(workflows, within=within, limit=limit)


class ForgetsByPrefix(MemoryTimeoutStore):
    def forget(self, run_ids: Sequence[str]) -> None:
        known = list(self.database.timers._keys_of_run)
        super().forget([each for run_id in run_ids for each in known if each.startswith(run_id)])


class LosesTheError(MemoryTimeoutStore):
    def reschedule(
        self, key: str, delay: timedelta, *, attempts: int, error: str, repeat: int = 0
    ) -> None:
        super().reschedule(key, delay, attempts=attempts, error="", repeat=repeat)


class CountsNoRepeats(MemoryTimeoutStore):
    def _reschedule(
        self, key: str, delay: timedelta, attempts: int, error: str, repeat: int
    ) -> None:
        super()._reschedule(key, delay, attempts, error, 0)


class LetsALateCallTurnRepeatsBack(MemoryTimeoutStore):
    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        super().reschedule_many(timeouts)
        table = self.database.timers._open
        table.update({t.key: table[t.key].replace(repeat=t.repeat) for t in timeouts})


class TellsNoClosedRunsBeyondAPage(MemoryTimeoutStore):
    def closed_runs(
        self, workflow: str, *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        return super().closed_runs(workflow, after=after, limit=limit).replace(next=None)


class RevivesOnReschedule(MemoryTimeoutStore):
    def reschedule(
        self, key: str, delay: timedelta, *, attempts: int, error: str, repeat: int = 0
    ) -> None:
        self.database.timers._closed.pop(key, None)
        super().reschedule(key, delay, attempts=attempts, error=error, repeat=repeat)


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


class FindsRunsByPrefix(MemoryTimeoutStore):
    def of_run(self, workflow: str, run_id: str) -> Sequence[Timeout]:
        timers = self.database.timers._open.values()
        return [each for each in timers if each.key.startswith(run_id)]


class ArmsBeforeTheCommit(MemoryTimeoutStore):
    def write_within(
        self, transaction: StoreTransaction, *, arm: Sequence[Timeout], cancel: Sequence[str]
    ) -> None:
        self.create_many(arm)
        self.cancel_many(cancel)


class ReadsAllToTellTheNext(MemoryTimeoutStore):
    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        return super().next_due(workflows)


class TellsClosedTimersOfNone(MemoryTimeoutStore):
    def closed_keys(self, run_ids: Sequence[str]) -> Sequence[str]:
        return []


NOTICED_BY: dict[type[MemoryTimeoutStore], str] = {
    ReadsAllToTellTheNext: "test_timers_cost_next_to_nothing_when_none_is_due",
    FiresEarly: "test_timer_is_due_when_its_delay_has_passed",
    ForgetsClosedKeys: "test_closed_key_is_not_armed_when_it_is_created_late",
    LetsEveryPollerWin: "test_each_timer_is_closed_by_one_when_pollers_race",
    NeverParks: "test_parked_timer_is_hidden_when_it_is_due",
    ParksForEver: "test_parked_timer_keeps_its_time_when_it_is_created_again",
    ArmsAnewOnCreate: "test_create_changes_nothing_when_the_key_is_armed",
    TellsOfWhatIsParkedToo: "test_what_is_due_soon_is_listed_with_how_long_until_then_when_asked",
    TellsLateHowLongUntilThen: (
        "test_what_is_due_soon_is_listed_with_how_long_until_then_when_asked"
    ),
    TakesWhatIsDueSoonForDue: (
        "test_what_is_due_soon_is_listed_with_how_long_until_then_when_asked"
    ),
    ListsByKey: "test_due_timers_are_listed_earliest_first_when_there_are_many",
    ForgetsByPrefix: "test_forget_drops_the_run_alone_when_others_look_like_it",
    LosesTheError: "test_rescheduled_timer_is_due_later_when_it_failed",
    CountsNoRepeats: "test_repeats_are_counted_and_never_fall_when_a_late_call_knows_fewer",
    LetsALateCallTurnRepeatsBack: (
        "test_repeats_are_counted_and_never_fall_when_a_late_call_knows_fewer"
    ),
    TellsNoClosedRunsBeyondAPage: (
        "test_runs_with_closed_timers_are_told_once_when_the_store_tells_them"
    ),
    RevivesOnReschedule: "test_reschedule_does_nothing_when_the_key_is_closed_or_unknown",
    CountsParkedOnesAsDue: "test_next_due_is_exact_or_unknown_when_asked",
    HidesParkedOnes: "test_parked_timer_is_hidden_when_it_is_due",
    FindsRunsByPrefix: "test_forget_drops_the_run_alone_when_others_look_like_it",
    TellsClosedTimersOfNone: "test_closed_timers_of_runs_are_told_when_the_store_keeps_them",
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
