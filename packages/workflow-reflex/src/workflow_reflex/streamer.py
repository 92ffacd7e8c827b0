"""The event streamer: Reflex's events table, shared by all workflows and with whoever else."""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from workflow_core.errors import (
    AdapterUnavailableError,
    ClosedError,
    InputError,
    NotSupportedError,
)
from workflow_core.model import Event
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Clock,
    EventSender,
    EventStreamer,
    Receiver,
    RecordStore,
    Shards,
    StoreTransaction,
)

from workflow_reflex.cursors import Cursors
from workflow_reflex.lag import oldest_waiting
from workflow_reflex.log import Log
from workflow_reflex.names import PARTS, Lane, in_namespace, part_of
from workflow_reflex.receiver import ReflexReceiver
from workflow_reflex.sender import ReflexEventSender, rows_of
from workflow_reflex.settings import ReflexSettings
from workflow_reflex.wire import Entry, decode

__all__ = ["ReflexEventStreamer", "parts_of"]

logger = logging.getLogger(__name__)


class ReflexEventStreamer(EventStreamer):
    """Events in Reflex's table. Each method does what `EventStreamer` says; any thread.

    A topic has 16 parts, a run's events are all in one. At rest a process looks for what others
    have committed a few times a second, however many receivers it has; its own commits wake them.

    Args:
        settings: where, and how.
        namespace: stands before the names of topics and cursors; "" for none.
        clock: what to stamp by; None: the server's, for SQLite the machine's.
        log: one that is shared, and closed by whoever shares it; None: one of its own.
    """

    def __init__(
        self,
        settings: ReflexSettings,
        *,
        namespace: str = "",
        clock: Clock | None = None,
        log: Log | None = None,
    ) -> None:
        self._owns_log = log is None
        self._log = Log.over(settings, clock) if log is None else log
        self._namespace = namespace
        self._receivers: dict[ReflexReceiver[Event], str] = {}
        self._joined: weakref.WeakKeyDictionary[RecordStore, bool] = weakref.WeakKeyDictionary()
        self._closed = False

    @classmethod
    def from_config(cls, settings: ReflexSettings, context: AdapterContext) -> ReflexEventStreamer:
        """The entry point."""
        return cls(settings, namespace=context.namespace, log=Log.shared(settings, context))

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A blocked receiver wakes."""
        return frozenset({Capability.WAKES})

    def check_health(self) -> str:
        """The database's version, and whether the tables are there."""
        return self._log.database.check_health()

    def new_sender(self) -> EventSender:
        """Costs nothing."""
        return ReflexEventSender(self._log, self._in_namespace)

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """Shard i of n reads the parts whose number is i modulo n."""
        if self._closed:
            raise ClosedError("the event streamer was closed", adapter="reflex")
        if not topics or not all(topics):
            raise InputError("a receiver needs topics, each with a name", adapter="reflex")
        parts = parts_of(shards)
        whole = {in_namespace(self._namespace, topic): topic for topic in topics}
        consumer = in_namespace(self._namespace, name)
        receiver = ReflexReceiver(
            self._log,
            Cursors(self._log.database, consumer, list(whole), parts),
            read=_Reading(whole, frozenset(parts)).read,
            from_latest=from_latest,
            open_here=[receiver.mark for receiver in list(self._receivers)],
            forget=lambda closed: self._receivers.pop(closed, None),
        )
        self._receivers[receiver] = name
        return receiver

    # -- beside the record store ---------------------------------------------------------------

    def joins(self, store: RecordStore) -> bool:
        """Goes by trying: what is committed here has to be found on the store's connection.

        Whoever lends a connection of SQLAlchemy's to the same tables is joined, whatever the URLs.
        No, for now, while this streamer's database is away: events wait in the store's outbox.
        """
        if Capability.TRANSACTIONS not in store.capabilities:
            return False
        known = self._joined.get(store)
        if known is None:
            id = f"workflow-reflex joins/{uuid.uuid4()}"
            try:
                self._put_mark(id)
            except AdapterUnavailableError as error:
                logger.info("not known whether events go into the store's transactions: %s", error)
                return False
            known = self._joined[store] = self._finds_mark_in(store, id)
        return known

    def _put_mark(self, id: str) -> None:
        database = self._log.database
        cursors, mark = database.tables.cursors, database.ways.mark
        now, stamp = database.stamped()
        database.transact(
            "marking the database",
            lambda connection: connection.exec_driver_sql(
                f"insert into {cursors} (id, last_event_id, updated_at) values ({mark}, 0, {now})",
                (id, *stamp),
            ),
        )

    def _finds_mark_in(self, store: RecordStore, id: str) -> bool:
        database = self._log.database
        try:
            with store.transaction() as transaction:
                raise _FoundError(self._sees(transaction, id))
        except _FoundError as found:
            return found.is_found
        finally:
            database.transact(
                "taking the mark away",
                lambda connection: connection.exec_driver_sql(
                    f"delete from {database.tables.cursors} where id = {database.ways.mark}", (id,)
                ),
            )

    def _sees(self, transaction: StoreTransaction, id: str) -> bool:
        connection, database = transaction.connection, self._log.database
        if not isinstance(connection, Connection) or not self._is_of_our_kind(connection):
            return False
        question = f"select 1 from {database.tables.cursors} where id = {database.ways.mark}"
        try:
            return connection.exec_driver_sql(question, (id,)).first() is not None
        except DBAPIError:
            return False  # it has no such table

    def _is_of_our_kind(self, connection: Connection) -> bool:
        kin = {"mariadb": "mysql"}
        theirs, ours = connection.dialect.name, self._log.database.dialect_name
        return kin.get(theirs, theirs) == kin.get(ours, ours)

    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        """See `EventStreamer.send_within`.

        Raises:
            AdapterError: an event is refused for good; what the transaction did is to be undone.
            AdapterUnavailableError: the transaction is lost.
            NotSupportedError: it is of no store that this streamer joins.
        """
        connection, database = transaction.connection, self._log.database
        if not isinstance(connection, Connection) or not self._is_of_our_kind(connection):
            raise NotSupportedError(
                f"this {type(transaction).__name__} is of another database", adapter="reflex"
            )
        rows = rows_of(map(self._in_namespace, events))
        with database.told("publishing events"):
            database.ways.append(connection, database.tables, rows, database.stamp())
        self._log.hope()

    # -- the rest ------------------------------------------------------------------------------

    def lag(self, topics: Sequence[str], name: str) -> timedelta | None:
        """Counts from the row's timestamp."""
        for receiver in [mine for mine, of in list(self._receivers.items()) if of == name]:
            receiver.save()
        whole = [in_namespace(self._namespace, topic) for topic in dict.fromkeys(topics)]
        cursors = Cursors(
            self._log.database, in_namespace(self._namespace, name), whole, range(PARTS)
        )
        with self._log.database.reading("measuring the lag") as connection:
            stored = cursors.stored(connection)
        return oldest_waiting(self._log, {lane: stored.get(lane, 0) for lane in cursors.lanes})

    def close(self) -> None:
        """Close the receivers, which ends their blocked calls."""
        self._closed = True
        for receiver in list(self._receivers):
            receiver.close()
        if self._owns_log:
            self._log.close()

    def _in_namespace(self, event: Event) -> Event:
        if not self._namespace:
            return event
        return event.replace(topic=in_namespace(self._namespace, event.topic))


class _Reading:
    """What of the table is of one receiver's topics and parts, and how it is handed out."""

    def __init__(self, topics: dict[str, str], parts: frozenset[int]) -> None:
        self._topics = topics
        self._parts = parts

    def read(self, entry: Entry) -> tuple[Lane, Event] | None:
        event = decode(entry)
        if event is None:
            return None
        topic = self._topics.get(event.topic)
        if topic is None:
            return None
        part = part_of(event.run_id)
        if part not in self._parts:
            return None
        lane = (event.topic, part)
        return lane, event if topic == event.topic else event.replace(topic=topic)


class _FoundError(Exception):
    """Ends a transaction in which there was only to be looked."""

    def __init__(self, is_found: bool) -> None:
        super().__init__()
        self.is_found = is_found


def parts_of(shards: Shards | None) -> Sequence[int]:
    """The numbers of the parts that these shards are.

    Raises:
        InputError: there are more shards than parts.
    """
    if shards is None:
        return range(PARTS)
    if shards.count > PARTS:
        raise InputError(
            f"{shards.count} shards cannot be had: the table has {PARTS} parts", adapter="reflex"
        )
    return [part for part in range(PARTS) if part % shards.count in shards.held]
