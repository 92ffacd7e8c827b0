"""What a reception holds back until something has been done that its ack would forget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from workflow_core.model import Event, Record
from workflow_core.ports import Delivery, Receiver

__all__ = ["Deliveries", "Holding"]

Deliveries: TypeAlias = Sequence[Delivery[Event]]

_MOST = 2000  # deliveries; while so many are held nothing more is received


class Holding(ABC):
    """Holds some deliveries until they are seen to; while it cannot, they wait and no others.

    One thread, but for `has`.
    """

    def __init__(self) -> None:
        self._held: list[tuple[Receiver[Event], Delivery[Event]]] = []

    @abstractmethod
    def wants(self, event: Event) -> bool:
        """Whether something is to be done before this event is handed on."""

    @abstractmethod
    def see_to(self, events: Sequence[Event]) -> None:
        """Do it. Raises AdapterUnavailableError: see to them again."""

    @property
    def is_full(self) -> bool:
        """Whether so much is held that no more is to be received."""
        return len(self._held) >= _MOST

    def holds(self, receiver: Receiver[Event]) -> bool:
        """Whether anything of this receiver's is held."""
        return any(source is receiver for source, _ in self._held)

    def has(self, record: Record) -> bool:
        """Whether an event of the run as it is, is held. Any thread."""
        return any(
            (delivery.event.run_id, delivery.event.version) == (record.run_id, record.version)
            for _, delivery in list(self._held)
        )

    def hold(self, receiver: Receiver[Event], deliveries: Deliveries) -> Deliveries:
        """Keep what it wants; answers the others."""
        mine = [delivery for delivery in deliveries if self.wants(delivery.event)]
        if not mine:
            return deliveries
        self._held += [(receiver, delivery) for delivery in mine]
        return [delivery for delivery in deliveries if not self.wants(delivery.event)]

    def release(self) -> Sequence[tuple[Receiver[Event], Deliveries]]:
        """See to all that is held, and answer it: it is the caller's again.

        Raises:
            AdapterUnavailableError: it is still held: release it again.
        """
        if not self._held:
            return []
        self.see_to([delivery.event for _, delivery in self._held])
        held, self._held = self._held, []
        by_receiver: dict[Receiver[Event], list[Delivery[Event]]] = {}
        for receiver, delivery in held:
            by_receiver.setdefault(receiver, []).append(delivery)
        return list(by_receiver.items())
