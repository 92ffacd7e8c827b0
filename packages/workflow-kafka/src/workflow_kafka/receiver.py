"""One member's view of a stream, as the engine sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from confluent_kafka import Message
from workflow_core.ports import Delivery, Receiver, in_forked_child, leave_to_parent

from workflow_kafka.cluster import Cluster
from workflow_kafka.errors import unavailable
from workflow_kafka.inbox import Inbox
from workflow_kafka.lag import unheard_for
from workflow_kafka.member import Member
from workflow_kafka.settings import KafkaSettings

__all__ = ["KafkaReceiver"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST_ASSIGNMENT = 30.0  # seconds; a group that has lost a member waits for it so long
_LEAVE = 5.0  # seconds for committing and leaving the group
_SAVE = 5.0


class KafkaReceiver(Receiver[T]):
    """Hands out what its member receives. One thread, except ``close``.

    Args:
        settings: of the adapter.
        cluster: makes missing topics.
        topics: as Kafka names them.
        group: the consumer group, as Kafka names it.
        instance: this process among its peers.
        from_latest: where a partition without a committed offset begins.
        decode: answers the item that a message tells, or None where there is none for us.
        forget: told when it is closed.

    Raises:
        AdapterUnavailableError: no answer.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        cluster: Cluster,
        *,
        topics: Sequence[str],
        group: str,
        instance: str,
        from_latest: bool,
        decode: Callable[[Message], T | None],
        forget: Callable[[KafkaReceiver[T]], object],
    ) -> None:
        self.group = group
        self._settings = settings
        self._cluster = cluster
        self._forget = forget
        self._inbox: Inbox[T] = Inbox(settings.window)
        self._member = Member(
            self._inbox,
            settings=settings,
            cluster=cluster,
            topics=topics,
            group=group,
            instance=instance,
            from_latest=from_latest,
            decode=decode,
        )
        in_forked_child(self._forked)
        self._member.start()
        # Only a place at the end moves: to have it fixed means to have it committed.
        if from_latest and not self._member.wait_positioned(_FIRST_ASSIGNMENT):
            self.close()
            raise unavailable(f"group {group} has assigned no partitions in time")

    def recv(self, timeout: timedelta) -> Delivery[T] | None:
        """As `recv_many` of one."""
        deliveries = self._inbox.take(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[T]]:
        """As the port says."""
        return self._inbox.take(limit, timeout)

    def ack(self, deliveries: Sequence[Delivery[T]]) -> None:
        """Kept in memory; committed about once a second, on closing, and before a hand-over."""
        self._inbox.ack(deliveries)

    def deaf_for(self) -> timedelta:
        """As the port says: by what its own partitions have beyond what it has received."""
        hungry = self._inbox.hungry()
        return unheard_for(self._settings, self._cluster, hungry) if hungry else timedelta(0)

    def save(self) -> None:
        """Commit what is acked, as far as it can be committed now."""
        self._member.save(_SAVE)

    def close(self) -> None:
        """Commit and leave the group; gives up after some seconds, and the group's session ends."""
        if not self._inbox.close():
            return
        self._forget(self)
        if not self._member.join(_LEAVE):
            logger.warning(
                "group %s was not left within %s s: what was acked just now may come again",
                self.group,
                _LEAVE,
            )

    def _forked(self) -> None:
        """The member is the parent's; what the child inherited is closed."""
        leave_to_parent(self._member.client)
        self._inbox = Inbox(1)
        self._inbox.close()
