"""The event streamer: one table, divided into topics and parts, and a cursor for each reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import InputError, NotSupportedError
from workflow_core.model import Event
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Erasure,
    EventSender,
    EventStreamer,
    Receiver,
    RecordStore,
    Shards,
    StoreTransaction,
)

from workflow_sql.database import Database
from workflow_sql.events.cursors import Cursors
from workflow_sql.events.lag import oldest_waiting
from workflow_sql.events.receiver import SqlReceiver
from workflow_sql.events.sender import SqlEventSender
from workflow_sql.events.table import EventTable
from workflow_sql.events.trimming import Trimming
from workflow_sql.records import SqlRecordStore, SqlTransaction
from workflow_sql.records.upkeep import LEFT_IN_LOG
from workflow_sql.settings import SqlSettings

__all__ = ["SqlEventStreamer"]


class SqlEventStreamer(EventStreamer):
    """Events in a table. Each method does what `EventStreamer` says; any thread.

    A topic has as many parts as the installation says (16); a run's events are all in one. At rest
    a receiver costs no statement: commits of this process wake it, those of others are seen by a
    look every 15 to 20 ms at a number that the database keeps in memory.

    Args:
        database: where.
        instance: this process among its peers.
        trim_after: how long events that all consumers have done with are kept.
    """

    def __init__(
        self,
        database: Database,
        *,
        instance: str,
        trim_after: timedelta = timedelta(hours=1),
    ) -> None:
        self.database = database
        self._instance = instance
        self._table = EventTable(database)
        self._trimming = Trimming(database, trim_after)
        self._receivers: dict[SqlReceiver, str] = {}

    @classmethod
    def from_config(cls, settings: SqlSettings, context: AdapterContext) -> SqlEventStreamer:
        """The entry point."""
        return cls(
            Database.shared(settings, context),
            instance=context.instance,
            trim_after=settings.trim_after,
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A blocked receiver wakes."""
        return frozenset({Capability.WAKES})

    def check_health(self) -> str:
        """The database's and the schema's version."""
        return self.database.check_health()

    def new_sender(self) -> EventSender:
        """Costs nothing."""
        return SqlEventSender(self.database, self._table)

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """Shard i of n reads the parts whose number is i modulo n."""
        if not topics or not all(topics):
            raise InputError("a receiver needs topics, each with a name", adapter="sql")
        cursors = Cursors(self.database, name, topics, self._parts(shards))
        receiver = SqlReceiver(
            self.database,
            cursors,
            instance=self._instance,
            open_here=lambda: [receiver.id for receiver in list(self._receivers)],
            from_latest=from_latest,
            upkeep=self._trimming.trim_if_due,
            forget=lambda closed: self._receivers.pop(closed, None),
        )
        self._receivers[receiver] = name
        return receiver

    def joins(self, store: RecordStore) -> bool:
        """Goes by the id that was made with the tables."""
        return (
            isinstance(store, SqlRecordStore)
            and store.database.installation.id == self.database.installation.id
        )

    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        """Not in a caller's own transaction: while that is open, no event behind is settled."""
        if not isinstance(transaction, SqlTransaction) or (
            transaction.database.installation.id != self.database.installation.id
        ):
            raise NotSupportedError(
                f"this {type(transaction).__name__} is of another database", adapter="sql"
            )
        if transaction.joined:
            raise NotSupportedError(
                "events of a caller's own transaction go to the outbox", adapter="sql"
            )
        with transaction.part("publishing events", last=True):
            self._table.append(transaction.later, events, transaction.now)
        transaction.wakes = True

    def lag(self, topics: Sequence[str], name: str) -> timedelta | None:
        """Counts from when the event came into the table."""
        for receiver in [mine for mine, of in list(self._receivers.items()) if of == name]:
            receiver.save()
        return oldest_waiting(self.database, topics, name)

    def erase_copies(self, run_id: str, topics: Sequence[str]) -> Erasure:
        """Also overwrites what stood there in the files."""
        remains = ["its foreign id in published events, until they are trimmed"]
        if not self._table.erase(run_id, topics):
            remains.append(LEFT_IN_LOG)
        return Erasure(erased=["its published events: headers"], remains=remains)

    def trim(self) -> int:
        """Delete the events that may go now; else receivers do so about once a minute.

        Raises:
            AdapterUnavailableError: no answer; what went stays gone.
        """
        return self._trimming.trim()

    def close(self) -> None:
        """Close the receivers, which ends their blocked calls."""
        for receiver in list(self._receivers):
            receiver.close()

    def _parts(self, shards: Shards | None) -> Sequence[int]:
        parts = range(self.database.installation.partitions)
        if shards is None:
            return parts
        if shards.count > len(parts):
            raise InputError(
                f"{shards.count} shards cannot be had: topics have {len(parts)} parts",
                adapter="sql",
            )
        return [part for part in parts if part % shards.count in shards.held]
