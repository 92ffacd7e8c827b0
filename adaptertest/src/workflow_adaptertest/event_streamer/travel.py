"""Events arrive: whole, in order per run, in the right topic, without waiting too long."""

from __future__ import annotations

from collections import defaultdict

from workflow_core.errors import ClosedError, InputError
from workflow_core.model import UNSTAMPED, EventKind, RunState
from workflow_core.ports import OUT_OF_REACH, EventSender, EventStreamer

from workflow_adaptertest.contract import Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.event_streamer.base import (
    NAME,
    TOPIC,
    ZERO,
    EventStreamerCases,
    Subscribe,
    ids_of,
    sent,
    take,
)
from workflow_adaptertest.samples import Samples, refuses
from workflow_adaptertest.telling import not_applicable
from workflow_adaptertest.threads import Background

__all__ = ["TravelCases"]

_MANY = 2_000


class TravelCases(EventStreamerCases):
    """Sending and receiving."""

    def test_event_comes_out_as_it_went_in_when_every_field_is_set(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        record = make.record(workflow="order processor", foreign_id="ключ/№ 5 🧾 ")
        event = make.event(
            record,
            topic=TOPIC,
            status=2_147_483_647,
            state=RunState.REQUESTED_DATA_DELETED,
            version=9_000_000,
            kind=EventKind.REPEATED,
            target=NAME,
            attempt=7,
            headers={"traceparent": "00-ab-01", "ключ": "значение", "empty": ""},
        )
        receiver = subscribe()
        sender.send(event)
        (delivery,) = take(receiver, 1, env)
        assert delivery.event.created_at != UNSTAMPED, "the streamer stamps what nobody stamped"
        assert delivery.event.replace(created_at=UNSTAMPED) == event
        assert not delivery.suspect, "nobody vanished with it"

    def test_event_keeps_its_time_when_a_store_stamped_it(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        stamp = make.event(make.record()).created_at.replace(year=2020, microsecond=123_000)
        sender.send(make.event(make.record(), topic=TOPIC, created_at=stamp))
        (delivery,) = take(receiver, 1, env)
        assert delivery.event.created_at == stamp

    def test_headers_arrive_when_they_are_large(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        headers = {"large": "x" * 65_536, "wide": "🧾é" * 2_000}
        receiver = subscribe()
        sender.send(make.event(make.record(), topic=TOPIC, headers=headers))
        (delivery,) = take(receiver, 1, env)
        assert dict(delivery.event.headers) == headers

    def test_headers_of_one_run_are_scrubbed_when_its_copies_are_erased(
        self,
        streamer: EventStreamer,
        sender: EventSender,
        subscribe: Subscribe,
        make: Samples,
        env: Env,
    ) -> None:
        erased, other = make.record(foreign_id="it keeps this"), make.record()
        headers = {"traceparent": "00-ab-01", "password": "secret"}
        for record in (erased, other):
            for topic in (TOPIC, "orders-2"):
                for version in (1, 2):
                    versioned = record.replace(version=version)
                    sender.send(make.event(versioned, topic=topic, headers=headers))
        answer = streamer.erase_copies(erased.run_id, [TOPIC, "orders-2"])
        if OUT_OF_REACH in answer.remains:
            not_applicable("the streamer cannot reach what is published")
        assert answer.erased, "what was erased is told, for the receipt"
        streamer.erase_copies(erased.run_id, [TOPIC, "orders-2"])  # twice is harmless
        came = [each.event for each in take(subscribe(topics=[TOPIC, "orders-2"]), 8, env)]
        for topic in (TOPIC, "orders-2"):
            mine = [e for e in came if (e.run_id, e.topic) == (erased.run_id, topic)]
            assert [event.version for event in mine] == [1, 2], "events keep their place"
            assert {event.foreign_id for event in mine} == {"it keeps this"}
            assert [dict(event.headers) for event in mine] == [{}, {}]
        theirs = [dict(event.headers) for event in came if event.run_id == other.run_id]
        assert theirs == [headers] * 4, "other runs keep theirs"

    def test_receiver_is_not_deaf_when_it_hears(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        if receiver.deaf_for() is None:
            not_applicable("the receiver cannot tell whether it is deaf")
        assert receiver.deaf_for() == ZERO, "nothing is there to be heard"
        sent(sender, make, env, [make.record(), make.record()])
        deliveries = take(receiver, 2, env)
        assert receiver.deaf_for() == ZERO, "what was handed out and is not acked was heard"
        receiver.ack(deliveries)
        assert receiver.deaf_for() == ZERO

    def test_send_many_arrives_whole_when_the_batch_is_large(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        events = sent(sender, make, env, [make.record() for _ in range(_MANY)])
        arrived = ids_of(take(receiver, _MANY, env))
        assert len(set(arrived)) == _MANY, "one receiver is handed no event twice"
        assert set(arrived) == {event.id for event in events}

    def test_send_many_answers_nothing_when_the_batch_is_empty(self, sender: EventSender) -> None:
        assert list(sender.send_many([], ZERO)) == []

    def test_events_of_a_run_come_in_order_when_many_runs_are_mixed(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        runs = [make.record() for _ in range(20)]
        for first in (1, 11):
            versions = range(first, first + 10)
            batch = [run.replace(version=version) for version in versions for run in runs]
            sent(sender, make, env, batch)
        came: dict[str, list[int]] = defaultdict(list)
        for delivery in take(receiver, 400, env):
            came[delivery.event.run_id].append(delivery.event.version)
        for run in runs:
            assert came[run.run_id] == list(range(1, 21)), "in order per run within a topic"

    def test_topics_are_apart_when_their_names_are_alike(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        topics = ["orders-1", "orders-11", "Orders-1", "orders-run-state-change"]
        receivers = {topic: subscribe(topics=[topic]) for topic in topics}
        record = make.record()
        events = [make.event(record, topic=topic) for topic in topics]
        events += [make.event(record, topic=topic) for topic in topics]
        sender.send_many(events, env.patience)  # one sender serves all topics
        for topic, receiver in receivers.items():
            expected = [event.id for event in events if event.topic == topic]
            came = take(receiver, 2, env)
            assert ids_of(came) == expected, f"{topic} has events of its own alone"
            assert {delivery.event.topic for delivery in came} == {topic}

    def test_receiver_reads_all_its_topics_when_there_are_several(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        topics = [f"orders-{status}" for status in range(1, 6)]
        receiver = subscribe(topics=topics)
        events = [make.event(make.record(), topic=topic) for topic in topics * 4]
        sender.send_many(events, env.patience)
        assert set(ids_of(take(receiver, 20, env))) == {event.id for event in events}

    def test_receiver_begins_at_the_beginning_when_its_name_is_new(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        events = sent(sender, make, env, [make.record() for _ in range(5)])
        receiver = subscribe()
        assert set(ids_of(take(receiver, 5, env))) == {event.id for event in events}

    def test_receiver_is_handed_what_another_process_sent_when_it_reads(
        self, other: EventStreamer, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        with other.new_sender() as sender:
            events = sent(sender, make, env, [make.record() for _ in range(3)])
        assert set(ids_of(take(receiver, 3, env))) == {event.id for event in events}

    def test_topics_are_carried_or_refused_by_name_when_their_names_are_odd(
        self, streamer: EventStreamer, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        with streamer.new_sender() as sender:
            for topic in ("größe-1", "a/b-1", "a\nb-1", "%s{0}-1", "." * 3 + "-1", "x" * 300):
                refusal = _refusal(streamer, topic)
                if refusal:
                    assert repr(topic)[1:-1] in refusal, "it says which of the topics it refuses"
                    with refuses(InputError, "check_topics refuses this topic"):
                        streamer.new_receiver([topic], NAME)
                else:
                    receiver = subscribe(topics=[topic])
                    event = make.event(make.record(), topic=topic)
                    sender.send(event)
                    assert ids_of(take(receiver, 1, env)) == [event.id]
        streamer.check_topics([TOPIC])

    # -- waiting -------------------------------------------------------------------------------

    def test_recv_answers_none_when_there_is_nothing(self, subscribe: Subscribe) -> None:
        receiver = subscribe()
        assert receiver.recv(ZERO) is None, "a timeout of zero is what is there now"
        assert list(receiver.recv_many(10, ZERO)) == []

    def test_recv_hands_out_one_by_one_when_there_are_several(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        run = make.record()
        events = sent(sender, make, env, [run.replace(version=version) for version in (1, 2, 3)])
        came = [receiver.recv(env.patience) for _ in events]
        assert [each and each.event.id for each in came] == [event.id for event in events]

    def test_recv_many_answers_no_more_than_the_limit_when_there_is_more(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        events = sent(sender, make, env, [make.record() for _ in range(10)])
        came: list[str] = []
        while len(came) < 10:
            batch = receiver.recv_many(3, env.patience)
            assert 1 <= len(batch) <= 3, "waits for the first only, then at most `limit`"
            came += ids_of(batch)
        assert sorted(came) == sorted(event.id for event in events)

    def test_recv_wakes_when_an_event_is_sent(
        self, sender: EventSender, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver = subscribe()
        waiting = Background(lambda: receiver.recv(2 * env.patience), doing="a blocked recv")
        (event,) = sent(sender, make, env, [make.record()])
        delivery = waiting.result(env.patience)
        assert delivery is not None, "an event was sent while recv was waiting"
        assert delivery.event.id == event.id

    def test_recv_ends_when_the_receiver_is_closed_by_another_thread(
        self, subscribe: Subscribe, env: Env
    ) -> None:
        receiver = subscribe()
        waiting = Background(lambda: receiver.recv(10 * env.patience), doing="a blocked recv")
        receiver.close()
        with refuses(ClosedError, "the receiver was closed"):
            waiting.result(env.patience)

    def test_recv_ends_when_the_streamer_is_closed_by_another_thread(
        self, open_handle: Opener, env: Env
    ) -> None:
        streamer: EventStreamer = open_handle()
        receiver = streamer.new_receiver([TOPIC], NAME)
        waiting = Background(lambda: receiver.recv(10 * env.patience), doing="a blocked recv")
        streamer.close()
        with refuses(ClosedError, "the streamer was closed"):
            waiting.result(env.patience)

    def test_closed_ones_refuse_by_name_when_used(
        self, streamer: EventStreamer, subscribe: Subscribe, make: Samples, env: Env
    ) -> None:
        receiver, sender = subscribe(), streamer.new_sender()
        sender.send(make.event(make.record(), topic=TOPIC))
        delivery = take(receiver, 1, env)
        for each in (receiver, receiver, sender, sender):
            each.close()  # twice is harmless
        with refuses(ClosedError, "the receiver was closed"):
            receiver.recv(ZERO)
        with refuses(ClosedError, "the receiver was closed"):
            receiver.recv_many(10, ZERO)
        with refuses(ClosedError, "the receiver was closed"):
            receiver.ack(delivery)
        with refuses(ClosedError, "the sender was closed"):
            sender.send(make.event(make.record(), topic=TOPIC))
        with refuses(ClosedError, "the sender was closed"):
            sender.send_many([make.event(make.record(), topic=TOPIC)], env.patience)


def _refusal(streamer: EventStreamer, topic: str) -> str:
    """What it has against a topic that comes with one that is good; "" for nothing."""
    try:
        streamer.check_topics([TOPIC, topic])
    except InputError as error:
        return str(error)
    return ""
