"""Event streamers that break one promise each, and the case that has to notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from workflow_adaptertest import Env, EventStreamerContract
from workflow_core.errors import AdapterError
from workflow_core.memory import MemoryDatabase, MemoryEventStreamer, MemoryRecordStore
from workflow_core.model import Event
from workflow_core.ports import (
    Capability,
    Delivery,
    Erasure,
    EventSender,
    EventStreamer,
    Receiver,
    RecordStore,
    Shards,
    StoreTransaction,
)

ZERO = timedelta(0)


class Through(Receiver[Event]):
    """Base: a receiver that hands all on to the real one."""

    def __init__(self, real: Receiver[Event]) -> None:
        self.real = real

    def recv(self, timeout: timedelta) -> Delivery[Event] | None:
        deliveries = self.recv_many(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        return self.real.recv_many(limit, timeout)

    def ack(self, deliveries: Sequence[Delivery[Event]]) -> None:
        self.real.ack(deliveries)

    def close(self) -> None:
        self.real.close()


class Wrapping(MemoryEventStreamer):
    """Base: answers its own kind of receiver."""

    receiver: type[Through] = Through

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        real = super().new_receiver(topics, name, shards=shards, from_latest=from_latest)
        return self.receiver(real)


class AcksBeforeTheWork(Wrapping):
    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
            deliveries = super().recv_many(limit, timeout)
            self.real.ack(deliveries)
            return deliveries


class NeverAcks(Wrapping):
    class receiver(Through):  # noqa: N801
        def ack(self, deliveries: Sequence[Delivery[Event]]) -> None:
            super().ack([])


class AcksAllBeforeTheHighest(Wrapping):
    """As a single offset does that is committed without looking for gaps."""

    class receiver(Through):  # noqa: N801
        def __init__(self, real: Receiver[Event]) -> None:
            super().__init__(real)
            self._seen: list[Delivery[Event]] = []

        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
            deliveries = super().recv_many(limit, timeout)
            self._seen += deliveries
            return deliveries

        def ack(self, deliveries: Sequence[Delivery[Event]]) -> None:
            super().ack(self._seen[: self._seen.index(deliveries[-1]) + 1] if deliveries else [])


class ReversesBatches(Wrapping):
    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
            return super().recv_many(limit, timeout)[::-1]


class AnswersMoreThanTheLimit(Wrapping):
    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
            return super().recv_many(limit + 1, timeout)


class StaysBlockedWhenClosed(Wrapping):
    class receiver(Through):  # noqa: N801
        def close(self) -> None:
            pass


class SharesOneCursor(Wrapping):
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        return super().new_receiver(topics, "all", shards=shards, from_latest=from_latest)


class KeepsCursorsPerShard(Wrapping):
    """Names each shard's cursor after index and count: a new count starts from the beginning."""

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        cursor = name if shards is None else f"{name}-{sorted(shards.held)}-of-{shards.count}"
        return super().new_receiver(topics, cursor, shards=shards, from_latest=from_latest)


class IgnoresShards(Wrapping):
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        return super().new_receiver(topics, name, from_latest=from_latest)


class StartsLateWithTheFirstRecv(MemoryEventStreamer):
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        opened: list[Receiver[Event]] = []
        new_receiver = super().new_receiver

        class Late(Through):
            def __init__(self) -> None:
                pass

            @property
            def real(self) -> Receiver[Event]:  # type: ignore[override]
                if not opened:
                    opened.append(
                        new_receiver(topics, name, shards=shards, from_latest=from_latest)
                    )
                return opened[0]

        return Late()


class StartsLatestEachTime(Wrapping):
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        receiver = super().new_receiver(topics, name, shards=shards, from_latest=from_latest)
        while from_latest and (skipped := receiver.recv_many(100, timedelta(0))):
            receiver.ack(skipped)
        return receiver


class FoldsTopics(MemoryEventStreamer):
    """Topic names are taken for the same when they differ in case alone."""

    def new_sender(self) -> EventSender:
        real = super().new_sender()

        class Folding(EventSender):
            def send(self, event: Event) -> None:
                self.send_many([event], timedelta(0))

            def send_many(
                self, events: Sequence[Event], timeout: timedelta
            ) -> Sequence[AdapterError | None]:
                return real.send_many(
                    [event.replace(topic=event.topic.lower()) for event in events], timeout
                )

            def close(self) -> None:
                real.close()

        return Folding()


class PublishesBeforeTheCommit(MemoryEventStreamer):
    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        self.new_sender().send_many(events, timedelta(0))


class Balanced(MemoryEventStreamer):
    """Base: says that members divide the stream, and lets each read all of it."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {Capability.BALANCES_MEMBERS}


class LeavesShardsToTheCaller(Balanced):
    pass


class HandsAllToEveryMember(Balanced):
    pass


FIRST_COMERS: dict[int, str] = {}


class KeepsTheShareOfTheClosed(Balanced):
    """The first member has one half for ever, the next ones have the other."""

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        first = FIRST_COMERS.setdefault(id(self.database), self._instance)
        half = frozenset({int(first != self._instance)})
        return super().new_receiver(
            topics, name, shards=Shards(count=2, held=half), from_latest=from_latest
        )


class CarriesNotWhatItAccepts(MemoryEventStreamer):
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        plain = [topic.encode("ascii", "ignore").decode() for topic in topics]
        return super().new_receiver(plain, name, shards=shards, from_latest=from_latest)


class Spinning(Through):
    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        end = time.monotonic() + timeout.total_seconds()
        deliveries = self.real.recv_many(limit, ZERO)
        while not deliveries and time.monotonic() < end:
            deliveries = self.real.recv_many(limit, ZERO)
        return deliveries


class SpinsWhileItWaits(MemoryEventStreamer):
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        return Spinning(super().new_receiver(topics, name, shards=shards, from_latest=from_latest))


class HandsOverTheNewestFirst(Wrapping):
    """Who takes over from another member begins at the wrong end of what there is."""

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        real = super().new_receiver(topics, name, shards=shards, from_latest=from_latest)
        held = frozenset(range(4))
        if shards is not None and shards.count == 4 and shards.held != held:
            return Backwards(real)
        return real


class Backwards(Through):
    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        return list(reversed(super().recv_many(500, timeout)))


class ErasesNothing(MemoryEventStreamer):
    def erase_copies(self, run_id: str, topics: Sequence[str]) -> Erasure:
        return Erasure(erased=["headers"])


class ErasesTheHeadersOfAll(MemoryEventStreamer):
    def erase_copies(self, run_id: str, topics: Sequence[str]) -> Erasure:
        parts = [part for topic in topics for part in self.database.log._topics[topic]]
        for each in {event.run_id for part in parts for event in part.events}:
            super().erase_copies(each, topics)
        return Erasure(erased=["headers"])


class ErasesOfTheFirstTopicOnly(MemoryEventStreamer):
    def erase_copies(self, run_id: str, topics: Sequence[str]) -> Erasure:
        return super().erase_copies(run_id, topics[:1])


class Deaf(Through):
    def deaf_for(self) -> timedelta:
        return timedelta(seconds=1)


class TellsThatItIsDeaf(Wrapping):
    receiver = Deaf


NOTICED_BY: dict[type[MemoryEventStreamer], str] = {
    ErasesNothing: "test_headers_of_one_run_are_scrubbed_when_its_copies_are_erased",
    ErasesTheHeadersOfAll: "test_headers_of_one_run_are_scrubbed_when_its_copies_are_erased",
    ErasesOfTheFirstTopicOnly: "test_headers_of_one_run_are_scrubbed_when_its_copies_are_erased",
    TellsThatItIsDeaf: "test_receiver_is_not_deaf_when_it_hears",
    SpinsWhileItWaits: "test_waiting_receiver_costs_next_to_nothing_when_nothing_is_sent",
    AcksBeforeTheWork: "test_unacked_events_come_again_when_the_receiver_is_closed",
    NeverAcks: "test_acked_events_are_done_when_a_receiver_is_opened_after_the_close",
    AcksAllBeforeTheHighest: "test_a_gap_comes_again_when_all_after_it_is_acked",
    ReversesBatches: "test_events_of_a_run_come_in_order_when_many_runs_are_mixed",
    AnswersMoreThanTheLimit: "test_recv_many_answers_no_more_than_the_limit_when_there_is_more",
    StaysBlockedWhenClosed: "test_recv_ends_when_the_receiver_is_closed_by_another_thread",
    SharesOneCursor: "test_each_name_sees_every_event_when_there_are_two",
    KeepsCursorsPerShard: ("test_change_of_the_count_loses_and_skips_nothing_when_work_is_in_hand"),
    IgnoresShards: "test_shards_divide_the_stream_when_each_is_read_by_one_member",
    StartsLateWithTheFirstRecv: "test_latest_starts_after_what_is_there_when_the_name_is_new",
    StartsLatestEachTime: "test_stored_cursor_wins_when_the_receiver_asks_for_the_latest",
    FoldsTopics: "test_topics_are_apart_when_their_names_are_alike",
    LeavesShardsToTheCaller: "test_shards_are_refused_by_name_when_members_balance_themselves",
    HandsAllToEveryMember: "test_members_divide_the_runs_when_they_have_settled",
    KeepsTheShareOfTheClosed: "test_work_of_a_member_is_taken_over_when_it_is_closed",
    HandsOverTheNewestFirst: "test_events_of_a_run_come_in_order_when_members_join_and_leave",
    CarriesNotWhatItAccepts: (
        "test_topics_are_carried_or_refused_by_name_when_their_names_are_odd"
    ),
    PublishesBeforeTheCommit: "test_events_never_arrive_when_the_transaction_is_rolled_back",
}


def certified(mutant: type[MemoryEventStreamer]) -> type[EventStreamerContract]:
    """The class that an author of this streamer would write."""

    def shared(env: Env) -> MemoryDatabase:
        return env.shared("database", lambda: MemoryDatabase(env.clock))

    def adapter(self: object, env: Env) -> AbstractContextManager[EventStreamer]:
        return mutant(shared(env), instance=env.new_instance())

    def joined_store(self: object, env: Env) -> AbstractContextManager[RecordStore]:
        return MemoryRecordStore(shared(env))

    body: dict[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "joined_store": joined_store,
        "patience": timedelta(milliseconds=200),
    }
    return type(f"Test{mutant.__name__}", (EventStreamerContract,), body)


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
