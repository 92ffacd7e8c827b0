"""Cursors: what is acked is done, what is not comes again."""

from __future__ import annotations

from workflow_core.model import ConnectorEvent
from workflow_core.ports import ConnectorSource

from workflow_adaptertest.connector_source.base import (
    NAME,
    OTHER,
    ConnectorSourceCases,
    Subscribe,
    events_of,
    gather,
    take,
    values,
    values_of,
)
from workflow_adaptertest.env import Env

__all__ = ["CursorCases"]


class CursorCases(ConnectorSourceCases):
    """At least once, per name."""

    def test_acked_events_are_done_when_a_receiver_is_opened_after_the_close(
        self, other: ConnectorSource, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, events_of(10))
        first = subscribe()
        first.ack(take(first, 10, env))
        first.close()
        self.feed(env, later := events_of(10, "later"))
        came = take(subscribe(source=other), 10, env)
        assert values(came) == values_of(later), "what was acked must not come again"

    def test_unacked_events_come_again_when_the_receiver_is_closed(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, events_of(10))
        first = subscribe()
        came = take(first, 10, env)
        first.ack(came[:4])
        first.close()
        again = take(subscribe(), 6, env)
        assert values(again) >= values(came[4:]), "what was not acked comes again to the name"

    def test_a_gap_comes_again_when_all_after_it_is_acked(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, [ConnectorEvent(id=f"{n}", key="k", value=b"%d" % n) for n in range(5)])
        first = subscribe()
        came = take(first, 5, env)
        first.ack([came[4], came[0], came[3]])
        first.ack([came[2]])
        first.close()
        (again, *_) = take(subscribe(), 1, env)
        assert again.event.value == b"1", "the one not acked was lost, or the one before it is back"

    def test_ack_is_harmless_when_repeated_empty_or_late(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, events_of(4))
        first = subscribe()
        came = take(first, 4, env)
        first.ack([])
        first.ack([*came, came[0]])
        first.ack(came)
        first.close()
        self.feed(env, later := events_of(1, "later"))
        assert values(take(subscribe(), 1, env)) == values_of(later)

    def test_receiver_hands_out_an_event_once_when_it_is_not_acked(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, events_of(5))
        receiver = subscribe()
        take(receiver, 5, env)
        env.advance()
        self.feed(env, later := events_of(5, "later"))
        assert values(take(receiver, 5, env)) == values_of(later)

    def test_poison_event_comes_again_and_holds_up_no_other_when_it_is_never_acked(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        """An event that nobody can handle, among others of its key."""
        poison = ConnectorEvent(id="poison", key="key", value=b"\xff\x00 neither text nor JSON")

        def others(told: str) -> list[ConnectorEvent]:
            return [each.replace(key="key") for each in events_of(5, told)]

        self.feed(env, [*others("before"), poison, *others("after")])
        for turn in range(3):
            receiver = subscribe()
            self.feed(env, later := others(f"turn-{turn}"))
            (came,) = gather([receiver], [poison, *later], env)
            receiver.ack([each for each in came if each.event.value != poison.value])
            receiver.close()

    def test_each_name_sees_every_event(self, subscribe: Subscribe, env: Env) -> None:
        self.feed(env, events := events_of(10))
        for name in (NAME, OTHER):
            receiver = subscribe(name)
            came = take(receiver, 10, env)
            assert values(came) == values_of(events)
            receiver.ack(came)  # moves this name's cursor and no other
