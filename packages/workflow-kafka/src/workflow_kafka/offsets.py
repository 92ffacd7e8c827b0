"""What a member has received of one partition, and up to where all of it is done.

A partition has one committed offset, and work is acked in any order: what may be committed is the
first offset that is not done. What was acked beyond it comes again after a crash.
"""

from __future__ import annotations

import time
from collections import deque

__all__ = ["Partition"]


class Partition:
    """One assignment of one partition. Its owner holds a lock.

    Attributes:
        topic, number: which one it is.
        next: the offset that is received next.
        committed: what the group's coordinator is known to have.
        fed_at: when something of it was received at last, or it became ours; monotonic.
        suspect_to: offsets below were perhaps in the hands of a member that vanished.
    """

    __slots__ = (
        "_open",
        "_order",
        "committed",
        "fed_at",
        "next",
        "number",
        "suspect_to",
        "topic",
    )

    def __init__(self, topic: str, number: int, start: int) -> None:
        self.topic = topic
        self.number = number
        self.next = start
        self.committed = start
        self.fed_at = time.monotonic()
        self.suspect_to = start
        self._order: deque[int] = deque()  # received, from the first that is not done
        self._open: set[int] = set()  # received and not done

    @property
    def key(self) -> tuple[str, int]:
        """Topic and number."""
        return self.topic, self.number

    @property
    def safe(self) -> int:
        """All offsets below are done."""
        return self._order[0] if self._order else self.next

    @property
    def in_hand(self) -> int:
        """How many are received and not done."""
        return len(self._open)

    def receive(self, offset: int) -> None:
        """Offsets come in order, with holes where the log has been compacted."""
        self._order.append(offset)
        self._open.add(offset)
        self.next = offset + 1

    def finish(self, offset: int) -> bool:
        """It is done; False if it is none of what is in hand, or was done before."""
        if offset not in self._open:
            return False
        self._open.discard(offset)
        while self._order and self._order[0] not in self._open:
            self._order.popleft()
        return True

    def give_back(self, first: int) -> None:
        """Everything from this offset on was not handed out: it will be received again."""
        while self._order and self._order[-1] >= first:
            self._open.discard(self._order.pop())
        self.next = min(self.next, first)

    def skip_to(self, offset: int) -> None:
        """Another member has finished everything below."""
        while self._order and self._order[0] < offset:
            self._open.discard(self._order.popleft())
        self.next = max(self.next, offset)
