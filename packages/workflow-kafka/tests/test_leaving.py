"""Members that leave while their group is being rebalanced, or whose client does not let them."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer
from workflow_adaptertest.servers import Space
from workflow_core.model import Event, RunState
from workflow_kafka import KafkaEventStreamer
from workflow_kafka.member import Member
from workflow_kafka.receiver import KafkaReceiver
from workflow_kafka.settings import Assignor

OpenStreamer = Callable[..., KafkaEventStreamer]
Hears = KafkaReceiver[Event]

PATIENCE = 60.0
TOPIC, NAME = "orders-1", "orders-main-steps"


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def listen(streamer: KafkaEventStreamer) -> Hears:
    receiver = streamer.new_receiver([TOPIC], NAME)
    assert isinstance(receiver, KafkaReceiver)
    return receiver


def send(streamer: KafkaEventStreamer, count: int) -> None:
    sent = [
        Event(
            id=str(uuid.uuid4()),
            topic=TOPIC,
            workflow="orders",
            run_id="run",
            foreign_id="order",
            status=1,
            state=RunState.RUNNING,
            version=number,
        )
        for number in range(1, count + 1)
    ]
    with streamer.new_sender() as sender:
        assert list(sender.send_many(sent, timedelta(seconds=PATIENCE))) == [None] * count


class Watch:
    """What members are called back for, and by clients that are being closed; a member held up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.within_close: list[str] = []
        self._calls: list[tuple[Member[Any], str]] = []
        self._held: dict[Member[Any], tuple[str, threading.Event, threading.Event]] = {}
        self._go_on = Member._round
        closing: set[Consumer] = set()

        class Watched(Consumer):
            def close(self) -> None:
                closing.add(self)
                super().close()

        def watched(name: str, call: Callable[..., None]) -> Callable[..., None]:
            def called(member: Member[Any], consumer: Consumer, partitions: Any) -> None:
                call(member, consumer, partitions)
                self._calls.append((member, name))
                if consumer in closing:
                    self.within_close.append(name)

            return called

        for name in ("_on_assign", "_on_revoke", "_on_lost"):
            monkeypatch.setattr(Member, name, watched(name, getattr(Member, name)))
        monkeypatch.setattr(Member, "_round", lambda *args: self._round(*args))
        monkeypatch.setattr("workflow_kafka.member.Consumer", Watched)

    @contextmanager
    def held(self, receiver: Hears, after: str) -> Iterator[Callable[[], bool]]:
        """It does not poll, from the callback of that name on; answers whether it is so."""
        began, ends = threading.Event(), threading.Event()
        self._held[receiver._member] = (after, began, ends)
        try:
            yield began.is_set
        finally:
            ends.set()

    def _round(self, member: Member[Any], consumer: Consumer) -> None:
        after, began, ends = self._held.get(member, ("never", None, None))
        if began is not None and ends is not None and (member, after) in self._calls:
            began.set()
            assert ends.wait(PATIENCE)
        else:
            self._go_on(member, consumer)


@pytest.mark.parametrize(
    ("assignor", "after"),
    [(Assignor.COOPERATIVE_STICKY, "_on_assign"), (Assignor.RANGE, "_on_revoke")],
    ids=str,
)
def test_rebalance_is_over_before_the_client_is_closed(
    open_streamer: OpenStreamer, monkeypatch: pytest.MonkeyPatch, assignor: Assignor, after: str
) -> None:
    """A callback within the close may wait for ever, with Python's lock held.

    Seen to stand still where closing left the group by itself, and no thread ran any more.
    """
    one, two = (open_streamer(partitions=1, assignor=assignor) for _ in range(2))
    send(one, 3)
    watch = Watch(monkeypatch)
    first = listen(one)
    taken = first.recv_many(1, timedelta(seconds=PATIENCE))
    closing = threading.Thread(target=first.close)
    with watch.held(first, after) as is_held:
        second = listen(two)
        eventually(second._member._positioned.is_set, "the second has joined")
        assert is_held()
        closing.start()
        eventually(lambda: first._inbox.is_closed, "the first is told to leave")
    closing.join(PATIENCE)
    eventually(lambda: not first._member._thread.is_alive(), "the first has left")
    came = second.recv_many(1, timedelta(seconds=PATIENCE))
    second.close()
    assert watch.within_close == []
    assert [each.event.version for each in taken] == [each.event.version for each in came] == [1]
    assert not came[0].suspect, "it vanished, for what the others can see"


def test_stop_ends_when_the_client_never_lets_go(
    open_streamer: OpenStreamer,
    kafka_space: Space,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the library waits for, it waits on a thread that nobody waits for."""
    let_go = threading.Event()

    class Stuck(Consumer):
        def close(self) -> None:
            let_go.wait(PATIENCE)
            super().close()

    monkeypatch.setattr("workflow_kafka.member.Consumer", Stuck)
    streamer = open_streamer()
    receiver = listen(streamer)
    eventually(lambda: bool(receiver._inbox.held()), "it has its partitions")
    with caplog.at_level(logging.WARNING, "workflow_kafka"):
        streamer.close()
    assert receiver._member._thread.is_alive()
    assert receiver._member._thread.daemon
    assert f"group {kafka_space.name}.{NAME} was not left within" in caplog.text
    let_go.set()
    eventually(lambda: not receiver._member._thread.is_alive(), "it ends once it can")
