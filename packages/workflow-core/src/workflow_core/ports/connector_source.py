"""The port of a connector source: a foreign stream that feeds a workflow."""

from __future__ import annotations

from abc import ABC, abstractmethod

from workflow_core.model import ConnectorEvent
from workflow_core.ports.adapter import Adapter
from workflow_core.ports.event_streamer import Receiver, Shards

__all__ = ["ConnectorSource"]


class ConnectorSource(Adapter, ABC):
    """A foreign stream.

    Its events carry an id that is unique within the source and the same whenever, and to whomever,
    an event is handed out: what is triggered by an event is triggered once for its id. Events of
    one key come in order. ``created_at`` is when the event came into the stream, as well as the
    source can tell.
    """

    @abstractmethod
    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        """A member of ``name``: members share the cursor, each name sees every event.

        As `EventStreamer.new_receiver`, but a new name begins at the start of what the stream still
        keeps. Which key falls into which shard is the source's, by a hash that is stable over
        processes and never negative: the shards of one count are disjoint, and together they are
        the whole stream. Changing the number of shards loses and skips nothing.

        Args:
            name: the consumer's name, the same for all shards.
            shards: the part to read; None: everything, and where the source BALANCES_MEMBERS a
                fair part of it.

        Raises:
            InputError: more shards than the source can divide into.
            AdapterUnavailableError: no answer.
        """
