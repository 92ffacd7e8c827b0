"""Connector sources that break one promise each, and the case that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import count

from workflow_adaptertest import ConnectorSourceContract, Env
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.model import UNSTAMPED, ConnectorEvent
from workflow_core.ports import ConnectorSource, Delivery, Receiver, Shards


class Through(Receiver[ConnectorEvent]):
    """Base: a receiver that hands all on to the real one."""

    def __init__(self, real: Receiver[ConnectorEvent]) -> None:
        self.real = real

    def recv(self, timeout: timedelta) -> Delivery[ConnectorEvent] | None:
        deliveries = self.recv_many(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
        return [
            each.replace(event=self.told(each.event))
            for each in self.real.recv_many(limit, timeout)
        ]

    def told(self, event: ConnectorEvent) -> ConnectorEvent:
        return event

    def ack(self, deliveries: Sequence[Delivery[ConnectorEvent]]) -> None:
        self.real.ack(deliveries)

    def close(self) -> None:
        self.real.close()


class Wrapping(MemoryConnectorSource):
    """Base: answers its own kind of receiver."""

    receiver: type[Through] = Through

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        return self.receiver(super().new_receiver(name, shards=shards))


class AcksBeforeTheWork(Wrapping):
    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
            deliveries = super().recv_many(limit, timeout)
            self.real.ack(deliveries)
            return deliveries


class NeverAcks(Wrapping):
    class receiver(Through):  # noqa: N801
        def ack(self, deliveries: Sequence[Delivery[ConnectorEvent]]) -> None:
            super().ack([])


class AcksAllBeforeTheHighest(Wrapping):
    class receiver(Through):  # noqa: N801
        def __init__(self, real: Receiver[ConnectorEvent]) -> None:
            super().__init__(real)
            self._seen: list[Delivery[ConnectorEvent]] = []

        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
            deliveries = super().recv_many(limit, timeout)
            self._seen += deliveries
            return deliveries

        def ack(self, deliveries: Sequence[Delivery[ConnectorEvent]]) -> None:
            super().ack(self._seen[: self._seen.index(deliveries[-1]) + 1] if deliveries else [])


class HandsOutTwice(Wrapping):
    class receiver(Through):  # noqa: N801
        last: Sequence[Delivery[ConnectorEvent]] = ()

        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
            again = self.last[:1]
            self.last = super().recv_many(limit - len(again), timeout)
            return [*again, *self.last]


class ReversesBatches(Wrapping):
    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
            return super().recv_many(limit, timeout)[::-1]


class AnswersMoreThanTheLimit(Wrapping):
    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
            return super().recv_many(limit + 1, timeout)


class StaysBlockedWhenClosed(Wrapping):
    class receiver(Through):  # noqa: N801
        def close(self) -> None:
            pass


class MakesUpIdsAnew(Wrapping):
    class receiver(Through):  # noqa: N801
        numbers = count()

        def told(self, event: ConnectorEvent) -> ConnectorEvent:
            return event.replace(id=f"{next(self.numbers)}")


class NamesEventsByTheirKey(Wrapping):
    class receiver(Through):  # noqa: N801
        def told(self, event: ConnectorEvent) -> ConnectorEvent:
            return event.replace(id=event.key[:5])


class DropsHeaders(Wrapping):
    class receiver(Through):  # noqa: N801
        def told(self, event: ConnectorEvent) -> ConnectorEvent:
            return event.replace(headers={})


class CutsHeadersShort(Wrapping):
    class receiver(Through):  # noqa: N801
        def told(self, event: ConnectorEvent) -> ConnectorEvent:
            return event.replace(headers={n: v[:4096] for n, v in event.headers.items()})


class TakesValuesForText(Wrapping):
    class receiver(Through):  # noqa: N801
        def told(self, event: ConnectorEvent) -> ConnectorEvent:
            return event.replace(value=event.value.decode("utf-8", "replace").encode())


class TellsNoTime(Wrapping):
    class receiver(Through):  # noqa: N801
        def told(self, event: ConnectorEvent) -> ConnectorEvent:
            return event.replace(created_at=UNSTAMPED)


class SharesOneCursor(MemoryConnectorSource):
    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        return super().new_receiver("all", shards=shards)


class BeginsWithTheLatest(MemoryConnectorSource):
    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        receiver = super().new_receiver(name, shards=shards)
        while there := receiver.recv_many(100, timedelta(0)):
            receiver.ack(there)
        return receiver


class IgnoresShards(MemoryConnectorSource):
    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        return super().new_receiver(name)


class TakesTheHashForSigned(MemoryConnectorSource):
    """As the Go project does: what hashes below zero is in no shard, and acked unseen."""

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        receiver = super().new_receiver(name, shards=shards)
        if shards is None:
            return receiver

        class Losing(Through):
            def recv_many(
                self, limit: int, timeout: timedelta
            ) -> Sequence[Delivery[ConnectorEvent]]:
                came = super().recv_many(limit, timeout)
                self.ack(lost := [each for each in came if _fnv_1(each.event.key) >= 2**63])
                return [each for each in came if each not in lost]

        return Losing(receiver)


class KeepsCursorsPerShard(MemoryConnectorSource):
    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        cursor = name if shards is None else f"{name}-of-{shards.count}"
        return super().new_receiver(cursor, shards=shards)


class ShardsByWhoAsks(MemoryConnectorSource):
    """Which key is in which shard depends on the process, as Python's own hash does."""

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        if shards is not None:
            turn = int(self._instance.rpartition("-")[2])
            held = frozenset((index + turn) % shards.count for index in shards.held)
            shards = Shards(count=shards.count, held=held)
        return super().new_receiver(name, shards=shards)


def _fnv_1(text: str) -> int:
    digest = 0xCBF29CE484222325
    for byte in text.encode():
        digest = (digest * 0x100000001B3 & 2**64 - 1) ^ byte
    return digest


class StopsAtWhatItCannotRead(Wrapping):
    """What came in one batch with a value that is no text, and after it, is dropped."""

    class receiver(Through):  # noqa: N801
        def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
            came = super().recv_many(limit, timeout)
            poison = [each for each in came if b"\xff\x00" in each.event.value]
            return came[: came.index(poison[0]) + 1] if poison else came


NOTICED_BY: dict[type[MemoryConnectorSource], str] = {
    AcksBeforeTheWork: "test_unacked_events_come_again_when_the_receiver_is_closed",
    NeverAcks: "test_acked_events_are_done_when_a_receiver_is_opened_after_the_close",
    AcksAllBeforeTheHighest: "test_a_gap_comes_again_when_all_after_it_is_acked",
    StopsAtWhatItCannotRead: (
        "test_poison_event_comes_again_and_holds_up_no_other_when_it_is_never_acked"
    ),
    HandsOutTwice: "test_receiver_hands_out_an_event_once_when_it_is_not_acked",
    ReversesBatches: "test_events_of_a_key_come_in_order",
    AnswersMoreThanTheLimit: "test_recv_many_answers_no_more_than_its_limit",
    StaysBlockedWhenClosed: "test_blocked_recv_ends_when_its_receiver_is_closed",
    MakesUpIdsAnew: "test_ids_are_unique_and_the_same_for_whoever_reads",
    NamesEventsByTheirKey: "test_ids_are_unique_and_the_same_for_whoever_reads",
    DropsHeaders: "test_event_comes_out_as_it_went_in",
    CutsHeadersShort: "test_headers_arrive_when_they_are_large",
    TakesValuesForText: "test_event_comes_out_as_it_went_in",
    TellsNoTime: "test_event_comes_out_as_it_went_in",
    SharesOneCursor: "test_each_name_sees_every_event",
    BeginsWithTheLatest: "test_new_name_begins_at_the_start_of_the_stream",
    IgnoresShards: "test_key_stays_in_its_shard",
    TakesTheHashForSigned: "test_five_shards_are_the_whole_stream",
    KeepsCursorsPerShard: "test_change_of_the_count_loses_nothing_when_work_is_in_hand",
    ShardsByWhoAsks: "test_key_stays_in_its_shard",
}


def certified(mutant: type[MemoryConnectorSource]) -> type[ConnectorSourceContract]:
    """The class that an author of this source would write."""

    def source(env: Env) -> MemoryConnectorSource:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        return mutant(database, "payments", instance=env.new_instance())

    def adapter(self: object, env: Env) -> AbstractContextManager[ConnectorSource]:
        return source(env)

    def feed(self: object, env: Env, events: Sequence[ConnectorEvent]) -> None:
        for event in events:
            source(env).send(event.key, event.value, headers=event.headers)

    body: dict[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "feed": feed,
        "patience": timedelta(milliseconds=200),
    }
    return type(f"Test{mutant.__name__}", (ConnectorSourceContract,), body)


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
