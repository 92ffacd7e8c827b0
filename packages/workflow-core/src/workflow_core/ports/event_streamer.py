"""The port of the event streamer: how events travel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from workflow_core.errors import AdapterError, InputError, NotSupportedError
from workflow_core.model import Event, Value
from workflow_core.ports.adapter import Adapter, Closable
from workflow_core.ports.answers import Erasure
from workflow_core.ports.record_store import RecordStore
from workflow_core.ports.store_transaction import StoreTransaction

__all__ = ["OUT_OF_REACH", "Delivery", "EventSender", "EventStreamer", "Receiver", "Shards"]

T = TypeVar("T")

OUT_OF_REACH = "its foreign id and headers in published events, until the stream forgets them"
"""What remains of a run's payload in a stream that is not scrubbed."""


class Shards(Value, frozen=True, kw_only=True):
    """The part of a stream that one member reads.

    Which run falls into which shard is the adapter's: disjoint, complete, and stable for one
    ``count``. One receiver covers all shards that a process holds, so that holding many of them
    costs no more than holding one.
    """

    count: int
    held: frozenset[int]
    """Indexes from 0 to count-1."""

    def __post_init__(self) -> None:
        if not self.held or not all(0 <= index < self.count for index in self.held):
            raise InputError(f"shards {sorted(self.held)} are not within 0 to {self.count - 1}")


class Delivery(Value, Generic[T], frozen=True, kw_only=True, gc=False):
    """An event as one receiver handed it out. The collector of cycles does not look into it."""

    event: T
    receipt: object
    """The adapter's own: partition and offset, row id, stream id."""
    suspect: bool = False
    """Its last holder vanished without resigning: perhaps the event killed it."""


class Receiver(Closable, Generic[T], ABC):
    """One member's view of a stream. One thread at a time, except ``close``.

    Closing gives up what was received and not acked: it comes again, to some member of the name.
    """

    @abstractmethod
    def recv(self, timeout: timedelta) -> Delivery[T] | None:
        """The next event, or None when there is none within ``timeout``.

        What was handed out by this receiver is not handed out by it again, unless acks were lost in
        a fail-over; what is never acked comes again to some later receiver of the name.

        Raises:
            AdapterUnavailableError: no answer; nothing was handed out.
            ClosedError: the receiver was closed.
        """

    @abstractmethod
    def ack(self, deliveries: Sequence[Delivery[T]]) -> None:
        """These are done, in any order and number.

        On return it is kept well enough that a receiver opened after this one's ``close`` does not
        see them; a crash may bring back what was acked within the last second or so. Late acks
        (the shard or partition moved on) are harmless. Twice is harmless.

        Raises:
            AdapterUnavailableError: some may come again; ack them again.
            ClosedError: the receiver was closed; they may come again.
        """

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[T]]:
        """Wait for the first event only, then take what is there, at most ``limit``.

        In order per run. Raises as `recv`. Default: loops over `recv`.
        """
        deliveries: list[Delivery[T]] = []
        while len(deliveries) < limit:
            delivery = self.recv(timeout if not deliveries else timedelta(0))
            if delivery is None:
                break
            deliveries.append(delivery)
        return deliveries

    def deaf_for(self) -> timedelta | None:
        """For how long an event has been there that it asks for and does not get; zero: it hears.

        For health, which ends a process whose receiver hears nothing: a receiver that is rather
        slow is not deaf. Time counts neither before the event was there nor before the receiver had
        the event's part of the stream, nor while it had no room for more. Any thread; asked seldom,
        so it may cost some round trips.

        Default: None, not known.

        Raises:
            AdapterUnavailableError: no answer.
            ClosedError: the receiver was closed.
        """
        return None


class EventSender(Closable, ABC):
    """Publishes events. Any thread."""

    @abstractmethod
    def send(self, event: Event) -> None:
        """Publish to ``event.topic``; durable on return.

        Raises:
            AdapterUnavailableError: nobody knows whether it was published: send it again.
            AdapterError: refused for good.
            ClosedError: the sender was closed.
        """

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        """Over any number of topics, in order per run; outcomes in order, None is published.

        What is not acknowledged within ``timeout`` is an `AdapterUnavailableError` among the
        outcomes and is not sent later. Default: loops over `send`.

        Raises:
            AdapterUnavailableError: nobody knows for any of them: send them again.
            ClosedError: the sender was closed.
        """
        outcomes: list[AdapterError | None] = []
        for event in events:
            try:
                self.send(event)
            except AdapterError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes


class EventStreamer(Adapter, ABC):
    """How events travel: at least once, in order per run within a topic."""

    @abstractmethod
    def new_sender(self) -> EventSender:
        """One sender for all topics: an event names its own.

        Raises:
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """A member of ``name``: members share the cursor, each name sees every event.

        The position is fixed before this returns. Cursors belong to (name, topic): adding a topic
        to a name starts that topic at its beginning (with ``from_latest``: at its end) and moves
        no other; a stored cursor always wins. Changing the number of shards loses and skips
        nothing.

        Args:
            topics: the topics to read; they need not exist yet.
            name: the consumer's name, the same for all shards.
            shards: the part to read; None: everything, and where the streamer BALANCES_MEMBERS a
                fair part of it.
            from_latest: without a stored cursor, start after what is there now.

        Raises:
            InputError: more shards than the streamer can divide into, or a topic it cannot name.
            AdapterUnavailableError: no answer.
        """

    def check_topics(self, topics: Sequence[str]) -> None:
        """Refuse names that this streamer cannot carry, before a workflow is served; no I/O.

        A definition knows no adapter, so nobody could say it earlier. Default: all can be carried.

        Raises:
            InputError: which name, and what is wrong with it.
        """

    def joins(self, store: RecordStore) -> bool:
        """Whether `send_within` works with transactions of this very store. Default: no.

        True only if both are one installation: the same database and tables, whatever the URLs.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return False

    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        """Publish on the store's transaction: they exist if and only if it commits.

        To be the last statement of the transaction. Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
            NotSupportedError: it does not join (the default).
        """
        raise NotSupportedError(f"{type(self).__name__} cannot publish within a transaction")

    def erase_copies(self, run_id: str, topics: Sequence[str]) -> Erasure:
        """Scrub the headers of the run's events that are kept in these topics.

        Asked for once nothing more is published that has any. Events keep their place, and their
        foreign id. Answers what was erased, and what it could not reach, for the receipt.

        Default: none can be reached. Twice is harmless.

        Raises:
            AdapterUnavailableError: some may be left: erase again.
        """
        return Erasure(remains=[OUT_OF_REACH])

    def lag(self, topics: Sequence[str], name: str) -> timedelta | None:
        """Age of the oldest event of ``topics`` that ``name`` has not acked; zero: none waits.

        Default: None, not known.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return None
