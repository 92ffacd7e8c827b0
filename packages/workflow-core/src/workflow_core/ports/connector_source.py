"""The port of a connector source: a foreign stream that feeds a workflow."""

from __future__ import annotations

from abc import ABC, abstractmethod

from workflow_core.model import ConnectorEvent
from workflow_core.ports.adapter import Adapter
from workflow_core.ports.event_streamer import Receiver, Shards

__all__ = ["ConnectorSource"]


class ConnectorSource(Adapter, ABC):
    """A foreign stream. Its events carry an id that is unique and stable within the source."""

    @abstractmethod
    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        """A member of ``name``, as `EventStreamer.new_receiver`; begins at the stream's start.

        Raises:
            InputError: more shards than the source can divide into.
            AdapterUnavailableError: no answer.
        """
