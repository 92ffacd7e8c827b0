"""Cursors: what is acked is done, what is not comes again, whoever reads."""

from __future__ import annotations

from workflow_core.model import Event
from workflow_core.ports import EventSender, EventStreamer, Shards

from workflow_adaptertest.env import Env
from workflow_adaptertest.event_streamer.base import (
    BALANCED,
    NAME,
    EventStreamerCases,
    Subscribe,
    balances,
    drain,
    gather,
    ids_of,
    sent,
    take,
)
from workflow_adaptertest.samples import Samples
from workflow_adaptertest.telling import not_applicable

__all__ = ["CursorCases"]


class CursorCases(EventStreamerCases):
    """At least once, per name."""

    def test_acked_events_are_done_when_a_receiver_is_opened_after_the_close(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        runs = [make.record() for _ in range(10)]
        sent(sender, make, env, runs)
        first = subscribe()
        first.ack(take(first, 10, env))
        first.close()
        markers = sent(sender, make, env, runs)
        came = drain(subscribe(), markers, env)
        assert sorted(ids_of(came)) == sorted(_ids(markers)), "what was acked must not come again"

    def test_unacked_events_come_again_when_the_receiver_is_closed(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        runs = [make.record() for _ in range(10)]
        sent(sender, make, env, runs)
        first = subscribe()
        came = take(first, 10, env)
        first.ack(came[:4])
        first.close()
        markers = sent(sender, make, env, runs)
        again = ids_of(drain(subscribe(), markers, env))
        missing = set(ids_of(came[4:])) - set(again)
        assert not missing, "what was received and not acked comes again to the name"

    def test_events_are_done_when_acked_in_any_order(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        runs = [make.record(), make.record()]
        sent(sender, make, env, [run.replace(version=n) for n in range(1, 9) for run in runs])
        first = subscribe()
        came = take(first, 16, env)
        env.random.shuffle(came)
        for delivery in came:
            first.ack([delivery])
        first.close()
        markers = sent(sender, make, env, [run.replace(version=9) for run in runs])
        assert set(ids_of(drain(subscribe(), markers, env))) == set(_ids(markers))

    def test_a_gap_comes_again_when_all_after_it_is_acked(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        run = make.record()
        events = sent(sender, make, env, [run.replace(version=n) for n in range(1, 6)])
        first = subscribe()
        came = take(first, 5, env)
        first.ack([came[4], came[0], came[3]])
        first.ack([came[2]])
        first.close()
        markers = sent(sender, make, env, [run.replace(version=6)])
        again = ids_of(drain(subscribe(), markers, env))
        assert events[1].id in again, "the one that was not acked was lost behind those that were"
        assert events[0].id not in again, "what was acked before the gap is done"

    def test_ack_is_harmless_when_repeated_empty_or_late(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        run = make.record()
        sent(sender, make, env, [run, run.replace(version=2)])
        first = subscribe()
        came = take(first, 2, env)
        first.ack([])
        first.ack(came)
        first.ack(came)
        first.ack([came[0], came[0]])
        first.close()
        markers = sent(sender, make, env, [run.replace(version=3)])
        assert ids_of(drain(subscribe(), markers, env)) == _ids(markers)

    def test_receiver_hands_out_an_event_once_when_it_is_not_acked(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        runs = [make.record() for _ in range(5)]
        sent(sender, make, env, runs)
        receiver = subscribe()
        take(receiver, 5, env)
        env.advance()  # nothing is handed out again by time alone
        markers = sent(sender, make, env, runs)
        came = drain(receiver, markers, env)
        assert sorted(ids_of(came)) == sorted(_ids(markers)), "handed out again by one receiver"

    def test_each_name_sees_every_event_when_there_are_two(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        events = sent(sender, make, env, [make.record() for _ in range(10)])
        for name in (NAME, "orders-other-steps"):
            receiver = subscribe(name)
            came = take(receiver, 10, env)
            assert set(ids_of(came)) == set(_ids(events))
            receiver.ack(came)  # moves this name's cursor and no other

    def test_latest_starts_after_what_is_there_when_the_name_is_new(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        runs = [make.record() for _ in range(5)]
        sent(sender, make, env, runs)
        receiver = subscribe(from_latest=True)
        after = sent(sender, make, env, runs)  # the position was fixed before this was sent
        assert sorted(ids_of(drain(receiver, after, env))) == sorted(_ids(after))

    def test_stored_cursor_wins_when_the_receiver_asks_for_the_latest(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        runs = [make.record() for _ in range(3)]
        first = subscribe(from_latest=True)
        sent(sender, make, env, runs)
        first.ack(take(first, 3, env))
        first.close()
        missed = sent(sender, make, env, runs)  # while nobody of the name was there
        again = subscribe(from_latest=True)
        came = drain(again, missed, env)
        assert sorted(ids_of(came)) == sorted(_ids(missed)), "the name has a cursor: it wins"

    def test_new_topic_starts_at_its_beginning_when_added_to_a_name(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        run = make.record()
        old = make.event(run, topic="orders-1")
        waiting = make.event(run, topic="orders-2")
        sender.send_many([old, waiting], env.patience)
        first = subscribe(topics=["orders-1"])
        first.ack(take(first, 1, env))
        first.close()
        fresh = make.event(run, topic="orders-1")
        sender.send(fresh)
        both = subscribe(topics=["orders-1", "orders-2"])
        came = drain(both, [waiting, fresh], env)
        assert set(ids_of(came)) == {waiting.id, fresh.id}, (
            "the new topic is read from its beginning, and the other one's cursor stays"
        )

    def test_removed_topic_keeps_its_cursor_when_it_comes_back(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        run = make.record()
        sender.send(make.event(run, topic="orders-2"))
        both = subscribe(topics=["orders-1", "orders-2"])
        both.ack(take(both, 1, env))
        both.close()
        subscribe(topics=["orders-1"]).close()
        fresh = make.event(run, topic="orders-2")
        sender.send(fresh)
        again = subscribe(topics=["orders-2", "orders-1"])
        assert ids_of(drain(again, [fresh], env)) == [fresh.id]

    # -- members and shards --------------------------------------------------------------------

    def test_members_of_a_name_miss_nothing_when_they_read_at_once(
        self,
        sender: EventSender,
        other: EventStreamer,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        members = [subscribe(), subscribe(streamer=other)]
        events = sent(sender, make, env, [make.record() for _ in range(60)])
        shares = gather(members, events, env)
        for member, share in zip(members, shares, strict=True):
            member.ack(share)

    def test_shards_divide_the_stream_when_each_is_read_by_one_member(
        self,
        streamer: EventStreamer,
        other: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        if balances(streamer):
            not_applicable(BALANCED)
        runs = [make.record() for _ in range(60)]
        held = [frozenset({0, 2}), frozenset({1}), frozenset({3})]
        members = [
            subscribe(shards=Shards(count=4, held=indexes), streamer=handle)
            for indexes, handle in zip(held, [streamer, other, other], strict=True)
        ]
        came: list[set[str]] = [set(), set(), set()]
        total = 0
        for version in (1, 2):
            events = sent(sender, make, env, [run.replace(version=version) for run in runs])
            for share, runs_of_member in zip(gather(members, events, env), came, strict=True):
                runs_of_member |= {delivery.event.run_id for delivery in share}
                total += len(share)
        assert total == 120, f"shards are disjoint, but {total - 120} events came to two members"
        assert sum(len(share) for share in came) == 60, "a run belongs to one shard"
        assert all(came), "60 runs fall into all shards"

    def test_change_of_the_count_loses_and_skips_nothing_when_work_is_in_hand(
        self,
        streamer: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        if balances(streamer):
            not_applicable(BALANCED)
        runs = [make.record() for _ in range(60)]
        sent(sender, make, env, runs)
        done: set[str] = set()
        for index in range(2):
            member = subscribe(shards=Shards(count=2, held=frozenset({index})))
            batch = member.recv_many(20, env.patience)
            acked = batch[: len(batch) // 2]
            member.ack(acked)
            member.close()
            done |= {delivery.event.run_id for delivery in acked}
        markers = sent(sender, make, env, [run.replace(version=2) for run in runs])
        everything = Shards(count=3, held=frozenset(range(3)))
        came = drain(subscribe(shards=everything), markers, env)
        first = {each.event.run_id for each in came if each.event.version == 1}
        assert first >= {run.run_id for run in runs} - done, "events were lost by the change"
        assert not first & done, "acked events came again after the change"

    def test_shards_agree_when_a_run_is_read_by_another_member(
        self,
        streamer: EventStreamer,
        other: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        if balances(streamer):
            not_applicable(BALANCED)
        events = sent(sender, make, env, [make.record() for _ in range(40)])
        shares: list[set[str]] = []
        for name, handle in ((NAME, streamer), ("orders-other-steps", other)):
            one, rest = frozenset({1}), frozenset({0, 2, 3})
            members = [
                subscribe(name, shards=Shards(count=4, held=held), streamer=handle)
                for held in (one, rest)
            ]
            shares.append(set(ids_of(gather(members, events, env)[0])))
        assert shares[0] == shares[1], "which run falls into which shard is stable"


def _ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]
