"""Members of a name, and shards of the foreign stream."""

from __future__ import annotations

from workflow_core.model import ConnectorEvent
from workflow_core.ports import ConnectorSource, Shards

from workflow_adaptertest.connector_source.base import (
    ConnectorSourceCases,
    Subscribe,
    balances,
    events_of,
    gather,
    values,
    values_of,
)
from workflow_adaptertest.env import Env
from workflow_adaptertest.telling import not_applicable

__all__ = ["MemberCases"]


class MemberCases(ConnectorSourceCases):
    """Several receivers of one name."""

    def test_members_of_a_name_miss_nothing_when_they_read_at_once(
        self, other: ConnectorSource, subscribe: Subscribe, env: Env
    ) -> None:
        members = [subscribe(), subscribe(source=other)]
        self.feed(env, events := events_of(60))
        for member, share in zip(members, gather(members, events, env), strict=True):
            member.ack(share)

    def test_five_shards_are_the_whole_stream(
        self,
        source: ConnectorSource,
        other: ConnectorSource,
        subscribe: Subscribe,
        env: Env,
    ) -> None:
        """Of 100 events 100 are handed out: a hash that is taken as signed loses most of them."""
        if balances(source):
            not_applicable("members divide the stream by themselves: no shards")
        self.feed(
            env,
            events := [
                ConnectorEvent(id=f"{n}", key=f"{n}", value=f"event-{n}".encode())
                for n in range(100, 200)
            ],
        )
        members = [
            subscribe(shards=Shards(count=5, held=frozenset({i})), source=(source, other)[i % 2])
            for i in range(5)
        ]
        shares = gather(members, events, env)
        assert sum(len(share) for share in shares) == 100, "an event is in one shard alone"
        assert all(shares), "100 keys fall into all shards"

    def test_key_stays_in_its_shard(
        self, source: ConnectorSource, other: ConnectorSource, subscribe: Subscribe, env: Env
    ) -> None:
        if balances(source):
            not_applicable("members divide the stream by themselves: no shards")
        held = [frozenset({0, 2}), frozenset({1}), frozenset({3})]
        members = [
            subscribe(shards=Shards(count=4, held=indexes), source=handle)
            for indexes, handle in zip(held, (source, other, other), strict=True)
        ]
        keys: list[set[str]] = [set(), set(), set()]
        for told in ("first", "second"):
            self.feed(env, events := events_of(60, told))
            for share, theirs in zip(gather(members, events, env), keys, strict=True):
                theirs |= {delivery.event.key for delivery in share}
        assert sum(len(share) for share in keys) == 60, "a key belongs to one shard"

    def test_change_of_the_count_loses_nothing_when_work_is_in_hand(
        self, source: ConnectorSource, subscribe: Subscribe, env: Env
    ) -> None:
        if balances(source):
            not_applicable("members divide the stream by themselves: no shards")
        self.feed(env, events := events_of(60))
        done: set[bytes] = set()
        for index in range(2):
            member = subscribe(shards=Shards(count=2, held=frozenset({index})))
            batch = member.recv_many(20, env.patience)
            acked = batch[: len(batch) // 2]
            member.ack(acked)
            member.close()
            done |= values(acked)
        everything = Shards(count=3, held=frozenset(range(3)))
        rest = [event for event in events if event.value not in done]
        came = gather([subscribe(shards=everything)], rest, env)[0]
        assert values(came) == values_of(rest), "what was acked came again after the change"
