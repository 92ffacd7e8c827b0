"""Foreign events arrive: whole, in order per key, without waiting too long."""

from __future__ import annotations

from collections import defaultdict

import pytest
from workflow_core.errors import ClosedError
from workflow_core.model import UNSTAMPED, ConnectorEvent
from workflow_core.ports import ConnectorSource

from workflow_adaptertest.connector_source.base import (
    NAME,
    OTHER,
    ZERO,
    ConnectorSourceCases,
    Subscribe,
    events_of,
    ids,
    take,
    values,
    values_of,
)
from workflow_adaptertest.env import Env
from workflow_adaptertest.threads import Background

__all__ = ["ArrivalCases"]


class ArrivalCases(ConnectorSourceCases):
    """Receiving."""

    def test_event_comes_out_as_it_went_in(self, subscribe: Subscribe, env: Env) -> None:
        headers = {"traceparent": "00-ab-01", "empty": "", "ключ": "значение"}
        event = ConnectorEvent(id="1", key="ключ/№ 5 🧾", value=bytes(range(256)), headers=headers)
        self.feed(env, [event])
        (delivery,) = take(subscribe(), 1, env)
        came = delivery.event
        assert (came.key, came.value) == (event.key, event.value)
        assert {name: came.headers.get(name) for name in headers} == headers
        assert came.id
        assert came.created_at != UNSTAMPED, "when it came into the stream, or about then"
        assert came.created_at.tzinfo is not None

    def test_headers_arrive_when_they_are_large(self, subscribe: Subscribe, env: Env) -> None:
        headers = {"large": "x" * 65_536, "wide": "🧾é" * 2_000}
        self.feed(env, [ConnectorEvent(id="1", key="key", value=b"1", headers=headers)])
        (delivery,) = take(subscribe(), 1, env)
        came = delivery.event.headers
        assert {name: came.get(name) for name in headers} == headers

    def test_values_arrive_when_they_are_empty_or_large(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        values = [b"", b"x" * 100_000, b"\0"]
        self.feed(env, [ConnectorEvent(id=f"{n}", key="k", value=v) for n, v in enumerate(values)])
        assert [each.event.value for each in take(subscribe(), 3, env)] == values

    def test_new_name_begins_at_the_start_of_the_stream(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, before := events_of(10))
        receiver = subscribe()
        self.feed(env, after := events_of(10, "later"))
        assert values(take(receiver, 20, env)) == values_of(before + after)

    def test_ids_are_unique_and_the_same_for_whoever_reads(
        self, source: ConnectorSource, other: ConnectorSource, subscribe: Subscribe, env: Env
    ) -> None:
        self.feed(env, events_of(200))
        first = subscribe()
        came = ids(take(first, 200, env))
        first.close()
        again = ids(take(subscribe(source=other), 200, env))
        theirs = ids(take(subscribe(OTHER), 200, env))
        assert len(set(came.values())) == 200, "an id names one event of the stream"
        assert came == again == theirs, "an event keeps its id when it comes again"

    def test_events_of_a_key_come_in_order(self, subscribe: Subscribe, env: Env) -> None:
        keys = [f"key-{n}" for n in range(20)]
        self.feed(
            env,
            [
                ConnectorEvent(id=f"{key}-{n}", key=key, value=f"{n}".encode())
                for n in range(20)
                for key in keys
            ],
        )
        came: dict[str, list[int]] = defaultdict(list)
        for delivery in take(subscribe(), 400, env):
            came[delivery.event.key].append(int(delivery.event.value))
        assert came == {key: list(range(20)) for key in keys}

    def test_recv_answers_at_once_when_its_timeout_is_zero(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        receiver = subscribe()
        assert receiver.recv(ZERO) is None
        assert list(receiver.recv_many(10, ZERO)) == []

    def test_recv_many_answers_no_more_than_its_limit(self, subscribe: Subscribe, env: Env) -> None:
        self.feed(env, events_of(10))
        receiver = subscribe()
        assert len(receiver.recv_many(3, env.patience)) <= 3
        assert receiver.recv(env.patience) is not None

    def test_blocked_recv_sees_what_comes(self, subscribe: Subscribe, env: Env) -> None:
        receiver = subscribe()
        waiting = Background(lambda: receiver.recv(env.patience), doing="recv")
        self.feed(env, events_of(1))
        delivery = waiting.result(env.patience)
        assert delivery is not None
        assert delivery.event.value == b"event-0"

    def test_blocked_recv_ends_when_its_receiver_is_closed(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        receiver = subscribe()

        def receive() -> bool:
            try:
                receiver.recv(env.patience * 10)
            except ClosedError:
                return True
            return False

        waiting = Background(receive, doing="recv of a receiver that is closed")
        receiver.close()
        receiver.close()
        assert waiting.result(env.patience), "close ends what is blocked, with ClosedError"

    def test_receivers_are_closed_with_their_source(
        self, source: ConnectorSource, subscribe: Subscribe
    ) -> None:
        receiver = subscribe()
        source.close()
        source.close()
        with pytest.raises(ClosedError):
            receiver.recv(ZERO)
        with pytest.raises(ClosedError):
            source.new_receiver(NAME)

    def test_health_is_told_in_a_phrase(self, source: ConnectorSource) -> None:
        assert source.check_health().strip()
