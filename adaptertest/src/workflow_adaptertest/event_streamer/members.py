"""Members of a name that divide the stream among themselves: no shards, no run with two of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import InputError
from workflow_core.model import Event, Record
from workflow_core.ports import Capability, Delivery, EventSender, EventStreamer, Receiver, Shards

from workflow_adaptertest.env import Env
from workflow_adaptertest.event_streamer.base import (
    NAME,
    TOPIC,
    EventStreamerCases,
    Subscribe,
    balances,
    drain,
    gather,
    ids_of,
    sent,
    take,
)
from workflow_adaptertest.samples import Samples, refuses
from workflow_adaptertest.telling import needs

__all__ = ["MemberCases"]

_A_TURN = timedelta(milliseconds=20)


class MemberCases(EventStreamerCases):
    """Several members of one name; most for streamers that declare BALANCES_MEMBERS."""

    def test_shards_are_refused_by_name_when_members_balance_themselves(
        self, streamer: EventStreamer
    ) -> None:
        needs(streamer, Capability.BALANCES_MEMBERS, try_it=False)
        with refuses(InputError, "who balances its members divides the stream by itself"):
            streamer.new_receiver([TOPIC], NAME, shards=Shards(count=2, held=frozenset({0})))

    def test_members_divide_the_runs_when_they_have_settled(
        self,
        streamer: EventStreamer,
        other: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        needs(streamer, Capability.BALANCES_MEMBERS, try_it=False)
        members = [subscribe(), subscribe(streamer=other)]
        runs = [make.record() for _ in range(60)]
        division: list[frozenset[str]] = []
        version = 0
        end = time.monotonic() + env.patience.total_seconds()
        while True:
            version += 1
            events = sent(sender, make, env, [run.replace(version=version) for run in runs])
            shares = _acked_shares(members, events, env)
            before, division = (
                division,
                [frozenset(each.event.run_id for each in share) for share in shares],
            )
            once = sum(map(len, shares)) == len(runs) == sum(map(len, division))
            if once and all(division) and division == before:
                return  # twice the same division, each run with one member, none without runs
            assert time.monotonic() < end, (
                f"after {version} rounds the members' shares are {[len(s) for s in shares]} of"
                f" {len(runs)} events: each run is to have one member, and each member runs"
            )

    def test_work_of_a_member_is_taken_over_when_it_is_closed(
        self,
        streamer: EventStreamer,
        other: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        needs(streamer, Capability.BALANCES_MEMBERS, try_it=False)
        leaving, staying = subscribe(), subscribe(streamer=other)
        runs = [make.record() for _ in range(60)]
        events = sent(sender, make, env, runs)
        shares = gather([leaving, staying], events, env)
        done = set(ids_of(shares[1]))
        staying.ack(shares[1])
        leaving.close()
        left = [event for event in events if event.id not in done]
        came = drain(staying, left, env) if left else []
        staying.ack(came)
        markers = sent(sender, make, env, [run.replace(version=2) for run in runs])
        assert set(ids_of(take(staying, len(markers), env))) >= {event.id for event in markers}, (
            "who stays has the whole stream"
        )

    def test_events_of_a_run_come_in_order_when_members_join_and_leave(
        self,
        streamer: EventStreamer,
        other: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        """Whoever gets a version first, somebody has had the version before it."""

        def member(handle: EventStreamer, *held: int) -> Receiver[Event]:
            shards = None if balances(handle) else Shards(count=4, held=frozenset(held))
            return subscribe(streamer=handle, shards=shards)

        runs = [make.record() for _ in range(20)]
        events = sent(sender, make, env, [_at(run, n) for n in (1, 2, 3) for run in runs])
        alone = member(streamer, 0, 1, 2, 3)
        came = take(alone, 25, env)
        alone.ack(came[:12])  # the rest is work in hand

        events += sent(sender, make, env, [_at(run, 4) for run in runs])
        stays = balances(streamer)
        if not stays:
            alone.close()
        first = alone if stays else member(streamer, 0, 1)
        second = member(other, 2, 3)
        rest = _missing(events, came)
        came += _as_they_come([first, second], rest, env)

        events += sent(sender, make, env, [_at(run, 5) for run in runs])
        first.close()
        if not stays:
            second.close()
        last = second if stays else member(other, 0, 1, 2, 3)
        came += _as_they_come([last], _missing(events, came), env)

        seen = dict.fromkeys((run.run_id for run in runs), 0)
        for delivery in came:
            event = delivery.event
            before = seen[event.run_id]
            assert event.version <= before + 1, (
                f"version {event.version} of a run came to a member, and {before + 1} to nobody yet"
            )
            seen[event.run_id] = max(before, event.version)
        assert set(seen.values()) == {5}


def _at(run: Record, version: int) -> Record:
    return run.replace(version=version)


def _missing(events: Sequence[Event], came: Sequence[Delivery[Event]]) -> list[Event]:
    known = {delivery.event.id for delivery in came}
    return [event for event in events if event.id not in known]


def _as_they_come(
    members: Sequence[Receiver[Event]], events: Sequence[Event], env: Env
) -> list[Delivery[Event]]:
    """All that comes to any of them, in the order in which it comes, until these have come."""
    missing = {event.id for event in events}
    came: list[Delivery[Event]] = []
    end = time.monotonic() + env.patience.total_seconds()
    while missing:
        assert time.monotonic() < end, f"{len(missing)} of {len(events)} events reached no member"
        for member in members:
            more = member.recv_many(10, _A_TURN)
            came += more
            missing -= {delivery.event.id for delivery in more}
    return came


def _acked_shares(
    members: Sequence[Receiver[Event]], events: Sequence[Event], env: Env
) -> list[list[Delivery[Event]]]:
    """What of these events came to each; all that came is acked."""
    wanted = {event.id for event in events}
    shares = gather(members, events, env)
    for member, share in zip(members, shares, strict=True):
        member.ack(share)
    return [[each for each in share if each.event.id in wanted] for share in shares]
