"""Reflex's events as a connector source, whoever writes them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from workflow_core.errors import ClosedError
from workflow_core.model import ConnectorEvent
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Clock,
    ConnectorSource,
    Receiver,
    Shards,
)

from workflow_reflex.cursors import Cursors
from workflow_reflex.log import Log
from workflow_reflex.names import Lane, in_namespace, part_of
from workflow_reflex.receiver import ReflexReceiver
from workflow_reflex.settings import ReflexSettings
from workflow_reflex.streamer import parts_of
from workflow_reflex.wire import Entry, header_map, utc

__all__ = ["ReflexConnectorSource", "ReflexSourceSettings"]

_TOPIC = ""
"""The table is one stream."""
_VALUE = "event_value"
_TYPE = "event_type"
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class ReflexSourceSettings(ReflexSettings):
    """Which table it is; where, the table of the adapter says for all.

    Attributes:
        types: events of these types alone; none: of all.
    """

    types: frozenset[int] = frozenset()


class ReflexConnectorSource(ConnectorSource):
    """Hands out the events of one table. Does what `ConnectorSource` says; any thread.

    An event's id is its row's, its key ``foreign_id``, its value the metadata as they stand. The
    type comes as the header ``event_type``. Metadata that are a JSON map of texts, as
    luno/workflow writes them, come as headers too; who wants to send bytes beside such headers puts
    them there as ``event_value``, in base64, and they are the value.

    Args:
        settings: where, how, and which table.
        namespace: stands before the names of cursors; "" for none. The table is somebody else's.
        clock: what cursors are stamped by; None: the server's, for SQLite the machine's.
        log: one that is shared, and closed by whoever shares it; None: one of its own.
    """

    def __init__(
        self,
        settings: ReflexSourceSettings,
        *,
        namespace: str = "",
        clock: Clock | None = None,
        log: Log | None = None,
    ) -> None:
        self._owns_log = log is None
        self._log = Log.over(settings, clock) if log is None else log
        self._types = settings.types
        self._namespace = namespace
        self._receivers: set[ReflexReceiver[ConnectorEvent]] = set()
        self._closed = False

    @classmethod
    def from_config(
        cls, settings: ReflexSourceSettings, context: AdapterContext
    ) -> ReflexConnectorSource:
        """The entry point."""
        return cls(settings, namespace=context.namespace, log=Log.shared(settings, context))

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A blocked receiver wakes."""
        return frozenset({Capability.WAKES})

    def check_health(self) -> str:
        """The database's version, and whether the tables are there."""
        return self._log.database.check_health()

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        """Shard i of n reads the parts whose number is i modulo n."""
        if self._closed:
            raise ClosedError("the connector source was closed", adapter="reflex")
        parts = frozenset(parts_of(shards))

        def read(entry: Entry) -> tuple[Lane, ConnectorEvent] | None:
            if entry.is_noop or (self._types and entry.type not in self._types):
                return None
            part = part_of(entry.key)
            return ((_TOPIC, part), _event(entry)) if part in parts else None

        receiver = ReflexReceiver(
            self._log,
            Cursors(
                self._log.database, in_namespace(self._namespace, name), [_TOPIC], sorted(parts)
            ),
            read=read,
            from_latest=False,
            open_here=[receiver.mark for receiver in list(self._receivers)],
            forget=self._receivers.discard,
        )
        self._receivers.add(receiver)
        return receiver

    def close(self) -> None:
        """Close the receivers, which ends their blocked calls."""
        self._closed = True
        for receiver in list(self._receivers):
            receiver.close()
        if self._owns_log:
            self._log.close()


def _event(entry: Entry) -> ConnectorEvent:
    told = header_map(entry.metadata) or _NOTHING
    value = entry.metadata
    if _VALUE in told:
        value = _bytes(told[_VALUE], otherwise=value)
    headers = {name: text for name, text in told.items() if name != _VALUE}
    return ConnectorEvent(
        id=str(entry.id),
        key=entry.key,
        value=value,
        headers={**headers, _TYPE: str(entry.type)},
        created_at=utc(entry.at),
    )


def _bytes(text: str, *, otherwise: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return otherwise  # what it means is for the connector to say, or for whoever wrote it
