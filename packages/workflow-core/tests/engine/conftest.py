"""A cluster in one process: engines over one memory database (joined) or over two (outbox).

Joined: streamer and store are one installation, so events travel in the store's transaction.
Outbox: they are two, so events go through the outbox, the publisher and the relay.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from workflow_core.discovery import Adapters
from workflow_core.engine import Engine, EngineSettings
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.memory import (
    MemoryConnection,
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
    MemoryTimeoutStore,
)
from workflow_core.memory.event_streamer import MemoryReceiver, MemorySender
from workflow_core.memory.record_store import MemoryTransaction
from workflow_core.model import Event, OutboxEvent, Page, Record, RecordQuery, Timeout, names
from workflow_core.ports import (
    AdapterContext,
    Clock,
    Delivery,
    EventSender,
    Observer,
    OutboxBacklog,
    Outcome,
    Receiver,
    Shards,
    StoreTransaction,
    Write,
)
from workflow_core.testing import Driver, FakeClock


class Script:
    """What a test makes an adapter do: called by name before and after each call; may raise."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str], None] = lambda call: None
        self.after: Callable[[str], None] = lambda call: None

    @contextmanager
    def calling(self, call: str) -> Iterator[None]:
        self.calls[call] += 1
        self.before(call)
        yield
        self.after(call)

    def fail(self, *calls: str, took_effect: bool = False, times: int | None = None) -> None:
        """Be unavailable for these calls (all, if none is named), `times` times or for good."""
        left = [times]

        def raise_maybe(call: str) -> None:
            if (calls and call not in calls) or left[0] == 0:
                return
            if left[0] is not None:
                left[0] -= 1
            raise AdapterUnavailableError(f"the test lets {call} fail")

        self.heal()
        if took_effect:
            self.after = raise_maybe
        else:
            self.before = raise_maybe

    def heal(self) -> None:
        self.before = self.after = lambda call: None


class ScriptedTransaction(MemoryTransaction):
    def __init__(self, connection: MemoryConnection, store: ScriptedStore) -> None:
        super().__init__(connection)
        self.stored = False
        self._store = store

    @property
    def stamped_at(self) -> datetime | None:
        return super().stamped_at if self._store.tells_stamps else None

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        self.stored = True
        self._store.script.calls["commit"] += 1
        self._store.script.before("commit")
        return self._store.keep(writes, super().store_many)


class ScriptedStore(MemoryRecordStore):
    """A memory store that does as the test says. Every write is the call "commit"."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.script = Script()
        self.refuses: Callable[[Record], bool] = lambda record: False
        """Which records it will not keep, for good."""
        self.tells_stamps = True
        """Whether the engine learns how a record is stored that it commits."""
        self.loses_events = False
        """Whether what is filed for later is lost."""
        self.replica: Mapping[str, Record] | None = None
        """What look-ups see that do not insist on the primary."""

    def keep(
        self, writes: Sequence[Write], store_many: Callable[[Sequence[Write]], Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        kept = [write for write in writes if not self.refuses(write.record)]
        if self.loses_events:
            kept = [write.replace(events=[]) for write in kept]
        outcomes = iter(store_many(kept))
        return [
            AdapterError("the test refuses this row") if self.refuses(w.record) else next(outcomes)
            for w in writes
        ]

    def outbox_backlog(self, workflow: str, *, most: int) -> OutboxBacklog:
        with self.script.calling("outbox_backlog"):
            return super().outbox_backlog(workflow, most=most)

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        with self.script.calling("commit"):
            return self.keep(writes, super().store_many)

    @contextmanager
    def transaction(self) -> Iterator[StoreTransaction]:
        with self.database.begin() as connection:
            transaction = ScriptedTransaction(connection, self)
            yield transaction
        if transaction.stored:
            self.script.after("commit")

    def lookup_many(self, run_ids: Sequence[str], *, primary: bool = False) -> Mapping[str, Record]:
        with self.script.calling("lookup_primary" if primary else "lookup_many"):
            if self.replica is not None and not primary:
                return {i: self.replica[i] for i in run_ids if i in self.replica}
            return super().lookup_many(run_ids)

    def latest(self, workflow: str, foreign_id: str) -> Record:
        with self.script.calling("latest"):
            return super().latest(workflow, foreign_id)

    def list_records(self, query: RecordQuery) -> Page[Record]:
        with self.script.calling("list_records"):
            return super().list_records(query)

    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        with self.script.calling("add_outbox_events"):
            super().add_outbox_events(events)

    def delete_outbox_events(self, ids: Sequence[str]) -> None:
        with self.script.calling("delete_outbox_events"):
            super().delete_outbox_events(ids)

    def delay_outbox_events(self, ids: Sequence[str], delay: timedelta) -> None:
        with self.script.calling("delay_outbox_events"):
            super().delay_outbox_events(ids, delay)

    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        with self.script.calling("claim_outbox_events"):
            return super().claim_outbox_events(workflows, limit=limit, lease=lease)

    def next_outbox_due(self, workflows: Sequence[str]) -> timedelta | None:
        with self.script.calling("next_outbox_due"):
            return super().next_outbox_due(workflows)

    def now(self) -> datetime:
        with self.script.calling("now"):
            return super().now()

    def purge(
        self, query: RecordQuery, *, doomed: Callable[[Sequence[str]], None] | None = None
    ) -> int:
        with self.script.calling("purge"):
            return super().purge(query, doomed=doomed)


class ScriptedSender(MemorySender):
    streamer: ScriptedStreamer

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        streamer = self.streamer
        with streamer.script.calling("send_many"):
            answers = [streamer.answers(event) for event in events]
            kept = [
                event
                for event, answer in zip(events, answers, strict=True)
                if answer is None and not streamer.loses(event)
            ]
            super().send_many(kept, timeout)
            streamer.sent += kept
            return answers


class ScriptedStreamer(MemoryEventStreamer):
    """A memory streamer that does as the test says."""

    def __init__(self, database: MemoryDatabase, *, instance: str) -> None:
        super().__init__(database, instance=instance)
        self.script = Script()
        self.sent: list[Event] = []
        self.acked: list[Event] = []
        self.loses: Callable[[Event], bool] = lambda event: False
        """Which events it takes and then forgets."""
        self.answers: Callable[[Event], AdapterError | None] = lambda event: None
        self.deaf: Callable[[str], bool] = lambda name: False
        """Whose receivers answer in time that there is nothing, whatever there is."""
        self.deaf_for: Callable[[], timedelta | None] = lambda: None
        """What its receivers say of themselves."""

    def new_sender(self) -> EventSender:
        sender = ScriptedSender(self.database, forget=self._given.discard)
        sender.streamer = self
        self._given.add(sender)
        return sender

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        receiver = super().new_receiver(topics, name, shards=shards, from_latest=from_latest)
        assert isinstance(receiver, MemoryReceiver)
        return ScriptedReceiver(receiver, self, name)

    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        for event in events:
            if (refusal := self.answers(event)) is not None:
                raise refusal
        kept = [event for event in events if not self.loses(event)]
        super().send_within(transaction, kept)
        self.sent += kept


class ScriptedReceiver(Receiver[Event]):
    def __init__(self, receiver: MemoryReceiver, streamer: ScriptedStreamer, name: str) -> None:
        self._receiver = receiver
        self._streamer = streamer
        self._name = name

    def recv(self, timeout: timedelta) -> Delivery[Event] | None:
        return next(iter(self.recv_many(1, timeout)), None)

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        with self._streamer.script.calling("recv_many"):
            is_deaf = self._streamer.deaf(self._name)
            return [] if is_deaf else self._receiver.recv_many(limit, timeout)

    def deaf_for(self) -> timedelta | None:
        with self._streamer.script.calling("deaf_for"):
            return self._streamer.deaf_for()

    def ack(self, deliveries: Sequence[Delivery[Event]]) -> None:
        with self._streamer.script.calling("ack"):
            self._receiver.ack(deliveries)
            self._streamer.acked += [delivery.event for delivery in deliveries]

    def close(self) -> None:
        self._receiver.close()


class ScriptedTimeouts(MemoryTimeoutStore):
    """A memory timeout store that does as the test says. What arms and cancels is "timers"."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.script = Script()

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        with self.script.calling("create"):
            super().create_many(timeouts)

    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        with self.script.calling("complete"):
            return super().complete_many(keys)

    def cancel_many(self, keys: Sequence[str]) -> Sequence[bool]:
        with self.script.calling("cancel"):
            return super().complete_many(keys)

    def park_many(self, keys: Sequence[str]) -> None:
        with self.script.calling("park"):
            super().park_many(keys)

    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        with self.script.calling("reschedule"):
            super().reschedule_many(timeouts)

    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        with self.script.calling("list_valid"):
            return super().list_valid(workflows, limit=limit)

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        with self.script.calling("next_due"):
            return super().next_due(workflows)


class SkewedClock(Clock):
    """Ahead of the true one, or behind it, both sides."""

    def __init__(self, true: Clock, ahead: timedelta) -> None:
        self._true = true
        self._ahead = ahead

    def now(self) -> datetime:
        return self._true.now() + self._ahead

    def monotonic(self) -> float:
        return self._true.monotonic() + self._ahead.total_seconds()


class Member:
    """An engine of the cluster with its adapters."""

    def __init__(
        self,
        engine: Engine,
        store: ScriptedStore,
        streamer: ScriptedStreamer,
        timeouts: ScriptedTimeouts,
    ) -> None:
        self.engine = engine
        self.store = store
        self.streamer = streamer
        self.timeouts = timeouts


class Cluster:
    """Databases, a clock, and the engines that a driver drives. `engine` is the first of them.

    Apart: timers are kept in a database of their own, so that no transaction joins them and runs.
    """

    def __init__(
        self,
        *,
        joined: bool,
        apart: bool = False,
        settings: EngineSettings | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.joined = joined
        self.observers = observers
        self.clock = FakeClock()
        self.settings = settings
        self.records = MemoryDatabase(self.clock)
        self.stream = self.records if joined else MemoryDatabase(self.clock)
        self.timers = MemoryDatabase(self.clock) if apart else self.records
        first = self._make("first")
        self.engine, self.store, self.streamer = first.engine, first.store, first.streamer
        self.timeouts = first.timeouts
        self.driver = Driver(self.engine, clock=self.clock)

    def _make(
        self,
        instance: str,
        *,
        client: bool = False,
        clock_ahead: timedelta = timedelta(0),
        settings: EngineSettings | None = None,
    ) -> Member:
        store = ScriptedStore(self.records)
        streamer = ScriptedStreamer(self.stream, instance=instance)
        timeouts = ScriptedTimeouts(self.timers)
        adapters = Adapters(
            record_store=store,
            event_streamer=None if client else streamer,
            role_scheduler=None if client else MemoryRoleScheduler(self.records, instance=instance),
            timeout_store=None if client else timeouts,
            context=AdapterContext(instance=instance, clock=self.clock),
        )
        engine = Engine(
            adapters,
            settings=settings or self.settings,
            clock=SkewedClock(self.clock, clock_ahead),
            entropy=random.Random(instance),
            observers=self.observers,
        )
        return Member(engine, store, streamer, timeouts)

    def join(
        self,
        instance: str,
        *,
        clock_ahead: timedelta = timedelta(0),
        settings: EngineSettings | None = None,
    ) -> Member:
        """One more engine, driven too; its own clock may be off, the databases' never is."""
        member = self._make(instance, clock_ahead=clock_ahead, settings=settings)
        self.driver.add(member.engine)
        return member

    def client(self, instance: str = "client") -> Member:
        """An engine with a record store and nothing else, driven too."""
        member = self._make(instance, client=True)
        self.driver.add(member.engine)
        return member

    def kill(self, engine: Engine, instance: str) -> None:
        """As kill -9: the engine is driven no more, and what it held is taken back in time."""
        self.driver.crash(engine)
        for database in {self.records, self.stream}:
            database.vanish(instance)

    def timer_names(self) -> list[str]:
        """The names of all open timers, those whose time is still to be asked with a "?"."""
        keys = sorted(self.timers.timers._open)
        return [key.rpartition("?")[2] + "?" if "?" in key else key.rsplit("/")[-1] for key in keys]

    def record(self, run_id: str) -> Record:
        return self.records.runs.rows[run_id]

    def rows(self) -> list[Event]:
        """All outbox rows, due or not, held or not."""
        return [row.event for row in self.records.outbox._rows.values()]

    @property
    def run_ids(self) -> list[str]:
        """Of all runs that the store keeps; the engine's own records are none."""
        rows = self.records.runs.rows
        return [key for key, row in rows.items() if not names.is_reserved(row.workflow)]

    def since(self, start: datetime) -> timedelta:
        return self.clock.now() - start

    def close(self) -> None:
        for script in (self.store.script, self.streamer.script, self.timeouts.script):
            script.heal()
        self.driver.close()


@pytest.fixture(params=["joined", "outbox"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(joined=request.param == "joined")
    yield cluster
    cluster.close()


@pytest.fixture
def joined() -> Iterator[Cluster]:
    cluster = Cluster(joined=True)
    yield cluster
    cluster.close()


@pytest.fixture
def outbox() -> Iterator[Cluster]:
    cluster = Cluster(joined=False)
    yield cluster
    cluster.close()


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """For settings of one's own."""
    made: list[Cluster] = []

    def make(
        *,
        joined: bool = True,
        apart: bool = False,
        settings: EngineSettings | None = None,
        observers: Sequence[Observer] = (),
    ) -> Cluster:
        made.append(Cluster(joined=joined, apart=apart, settings=settings, observers=observers))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
