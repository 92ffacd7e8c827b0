"""Memory adapters to which misfortunes happen, as the dice say.

What the ports' contracts allow and no more: a call is refused (it had no effect), its answer is
lost (it had its effect, where the port says "nobody knows"), or the process dies at it, before or
after. Events get lost or come twice on their way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.memory import (
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
)
from workflow_core.model import Event, OutboxEvent, Page, Record, RecordQuery
from workflow_core.ports import (
    Capability,
    Delivery,
    EventSender,
    Lease,
    Outcome,
    Receiver,
    Shards,
    StoreTransaction,
    Write,
)

__all__ = [
    "WORLDS",
    "Chances",
    "Crash",
    "Faults",
    "FaultyReceiver",
    "FaultyRoles",
    "FaultyStore",
    "FaultyStreamer",
]


T = TypeVar("T")

_CHANGES = 4  # how much likelier it is that a call fails which changes something


class Crash(BaseException):
    """The process dies at this very call; nothing in it runs any more."""


@dataclass(frozen=True)
class Chances:
    """How likely each misfortune is; without any, all goes well."""

    unavailable: float = 0.0
    """Per call of a port; four times as likely for one that changes something."""
    crash: float = 0.0
    """Per call of a port."""
    lost: float = 0.0
    """Per event."""
    doubled: float = 0.0
    """Per event."""


WORLDS = (
    Chances(),
    Chances(doubled=0.1, lost=0.05),
    Chances(unavailable=0.03, doubled=0.05),
    Chances(unavailable=0.02, crash=0.003, lost=0.03, doubled=0.05),
)
"""From a calm one, where only order and time are random, to one where anything goes wrong."""


class Faults:
    """What happens to the calls of one process.

    Args:
        dice: where chance comes from.
        chances: may be changed at any time.
        tell: told each misfortune.
        post: told each event that is sent, and whether it gets lost.
    """

    def __init__(
        self,
        dice: random.Random,
        chances: Chances,
        *,
        tell: Callable[[str], None],
        post: Callable[[Event, bool], None],
    ) -> None:
        self.chances = chances
        self._dice = dice
        self._tell = tell
        self._post = post
        self.is_dead = False
        """Whether a call was the process's last; a stop that it ended may raise what it likes."""

    @contextmanager
    def call(self, name: str, *, may_take_effect: bool = False) -> Iterator[None]:
        """Around a call. `may_take_effect`: it may raise although it did what it should."""
        if self.is_dead:  # whatever caught the crash: nothing of this process has effect any more
            raise Crash
        fate = self._dice.random()
        crashes = fate < self.chances.crash
        unavailable = self.chances.unavailable * (_CHANGES if may_take_effect else 1)
        if not crashes and fate >= self.chances.crash + unavailable:
            yield
            return
        takes_effect = (crashes or may_take_effect) and self._dice.random() < 0.5
        if takes_effect:
            yield
        end = "dies" if crashes else "is unavailable"
        self._tell(f"{name} {end} {'after' if takes_effect else 'before'} its effect")
        if crashes:
            self.is_dead = True
            raise Crash
        raise AdapterUnavailableError(f"the simulation let {name} fail")

    def travelled(self, events: Sequence[Event]) -> list[Event]:
        """What arrives of events that are sent."""
        arrived: list[Event] = []
        for event in events:
            fate = self._dice.random()
            is_lost = fate < self.chances.lost
            self._post(event, is_lost)
            if is_lost:
                self._tell(f"the event of version {event.version} of {event.run_id} is lost")
            elif fate < self.chances.lost + self.chances.doubled:
                self._tell(f"the event of version {event.version} of {event.run_id} is doubled")
                arrived += [event, event]
            else:
                arrived.append(event)
        return arrived


class FaultyStore(MemoryRecordStore):
    """A record store whose calls go as `faults` lets them.

    Args:
        database: where the runs are.
        faults: what happens to the calls.
        without: capabilities that it does without.
    """

    def __init__(
        self, database: MemoryDatabase, faults: Faults, *, without: frozenset[Capability]
    ) -> None:
        super().__init__(database)
        self._faults = faults
        self._without = without

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What is left."""
        return super().capabilities - self._without

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """As the port says, if it goes well."""
        with self._faults.call("store_many", may_take_effect=True):
            return super().store_many(writes)

    def lookup_many(self, run_ids: Sequence[str], *, primary: bool = False) -> Mapping[str, Record]:
        """As the port says, if it goes well."""
        with self._faults.call("lookup_many"):
            return super().lookup_many(run_ids, primary=primary)

    def list_records(self, query: RecordQuery) -> Page[Record]:
        """As the port says, if it goes well."""
        with self._faults.call("list_records"):
            return super().list_records(query)

    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("add_outbox_events", may_take_effect=True):
            super().add_outbox_events(events)

    def delete_outbox_events(self, ids: Sequence[str]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("delete_outbox_events", may_take_effect=True):
            super().delete_outbox_events(ids)

    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        """As the port says, if it goes well."""
        with self._faults.call("claim_outbox_events", may_take_effect=True):
            if Capability.CLAIMS in self._without:
                return self.list_outbox_events(workflows, limit=limit)
            return super().claim_outbox_events(workflows, limit=limit, lease=lease)

    def delay_outbox_events(self, ids: Sequence[str], delay: timedelta) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("delay_outbox_events", may_take_effect=True):
            super().delay_outbox_events(ids, delay)

    def next_outbox_due(self, workflows: Sequence[str]) -> timedelta | None:
        """As the port says, if it goes well."""
        with self._faults.call("next_outbox_due"):
            if Capability.WAKES in self._without:
                return None
            return super().next_outbox_due(workflows)

    @contextmanager
    def _transaction(self) -> Iterator[StoreTransaction]:
        going = self._faults.call("transaction", may_take_effect=True)
        with going, super()._transaction() as transaction:
            yield transaction


class _FaultySender(EventSender):
    def __init__(self, sender: EventSender, faults: Faults) -> None:
        self._sender = sender
        self._faults = faults

    def send(self, event: Event) -> None:
        with self._faults.call("send", may_take_effect=True):
            self._sender.send_many(self._faults.travelled([event]), timedelta(0))

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        """Each for itself: some may be published while others are not."""
        with self._faults.call("send_many", may_take_effect=True):
            outcomes: list[AdapterError | None] = []
            for event in events:
                try:
                    self.send(event)
                except AdapterUnavailableError as error:
                    outcomes.append(error)
                else:
                    outcomes.append(None)
            return outcomes

    def close(self) -> None:
        self._sender.close()


class FaultyReceiver(Receiver[T]):
    """A receiver whose calls go as `faults` lets them."""

    def __init__(self, receiver: Receiver[T], faults: Faults) -> None:
        self._receiver = receiver
        self._faults = faults

    def recv(self, timeout: timedelta) -> Delivery[T] | None:
        """As the port says, if it goes well."""
        return next(iter(self.recv_many(1, timeout)), None)

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[T]]:
        """As the port says, if it goes well."""
        with self._faults.call("recv_many"):
            return self._receiver.recv_many(limit, timeout)

    def ack(self, deliveries: Sequence[Delivery[T]]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("ack", may_take_effect=True):
            self._receiver.ack(deliveries)

    def close(self) -> None:
        """Never fails."""
        self._receiver.close()


class FaultyStreamer(MemoryEventStreamer):
    """An event streamer whose calls go as `faults` lets them, and its events too."""

    def __init__(self, database: MemoryDatabase, faults: Faults, *, instance: str) -> None:
        super().__init__(database, instance=instance)
        self._faults = faults

    def new_sender(self) -> EventSender:
        """As the port says, if it goes well."""
        with self._faults.call("new_sender"):
            return _FaultySender(super().new_sender(), self._faults)

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """As the port says, if it goes well."""
        with self._faults.call("new_receiver"):
            receiver = super().new_receiver(topics, name, shards=shards, from_latest=from_latest)
            return FaultyReceiver(receiver, self._faults)

    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        """As the port says, if it goes well."""
        with self._faults.call("send_within"):
            super().send_within(transaction, self._faults.travelled(events))

    def lag(self, topics: Sequence[str], name: str) -> timedelta | None:
        """As the port says, if it goes well."""
        with self._faults.call("lag"):
            return super().lag(topics, name)


class FaultyRoles(MemoryRoleScheduler):
    """A role scheduler whose calls go as `faults` lets them."""

    def __init__(self, database: MemoryDatabase, faults: Faults, *, instance: str) -> None:
        super().__init__(database, instance=instance)
        self._faults = faults

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        """As the port says, if it goes well."""
        with self._faults.call("acquire"):
            return super().acquire(roles, timeout)
