"""The inbox between the poller and the engine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.ports import Delivery
from workflow_kafka.inbox import Hungry, Inbox, Place, Received

NOW = timedelta(0)
LONG = timedelta(seconds=60)
A, B = ("orders-1", 0), ("orders-1", 1)


def opened(limit: int = 100) -> Inbox[str]:
    inbox: Inbox[str] = Inbox(limit)
    inbox.assign([Place(*A, 0, 0), Place(*B, 0, 0)])
    return inbox


def put(inbox: Inbox[str], key: tuple[str, int], *offsets: int) -> None:
    inbox.put([Received(key, offset, f"{key[1]}:{offset}") for offset in offsets])


def items(deliveries: Sequence[Delivery[str]]) -> list[str]:
    return [delivery.event for delivery in deliveries]


def committed(inbox: Inbox[str]) -> dict[tuple[str, int], int]:
    return {partition.key: safe for partition, safe in inbox.progress(inbox.held())}


def test_items_come_in_order_when_they_are_taken() -> None:
    inbox = opened()
    put(inbox, A, 0, 1)
    put(inbox, B, 0)
    assert items(inbox.take(2, NOW)) == ["0:0", "0:1"]
    assert items(inbox.take(2, NOW)) == ["1:0"]
    assert inbox.take(2, NOW) == []


def test_what_tells_nothing_is_done_when_it_comes() -> None:
    inbox = opened()
    inbox.put([Received(A, 0, None)])
    assert inbox.take(1, NOW) == []
    assert inbox.has_news
    assert committed(inbox)[A] == 1


def test_only_what_was_handed_out_and_acked_is_safe() -> None:
    inbox = opened()
    put(inbox, A, 0, 1, 2)
    inbox.ack(inbox.take(1, NOW))
    assert committed(inbox) == {A: 1, B: 0}


def test_taken_partition_vanishes_with_what_waits_when_it_is_dropped() -> None:
    inbox = opened()
    put(inbox, A, 0, 1)
    put(inbox, B, 0)
    inbox.drop([A])
    put(inbox, A, 2)
    assert items(inbox.take(10, NOW)) == ["1:0"]
    assert set(committed(inbox)) == {B}


def test_late_ack_counts_for_nothing_when_the_partition_is_gone() -> None:
    inbox = opened()
    put(inbox, A, 0, 1)
    first = inbox.take(1, NOW)
    inbox.drop([A])
    inbox.assign([Place(*A, 5, 5)])
    inbox.ack(first)
    assert committed(inbox)[A] == 5, "another member came further meanwhile"


def test_partition_goes_on_where_it_was_when_it_comes_back_unmoved() -> None:
    inbox = opened()
    put(inbox, A, 0, 1, 2)
    in_hand = inbox.take(2, NOW)
    inbox.drop([A])
    [back] = inbox.assign([Place(*A, 0, 0)])
    assert back.next == 2, "0 and 1 are in hand here, 2 was never handed out"
    put(inbox, A, 2)
    assert items(inbox.take(10, NOW)) == ["0:2"]
    inbox.ack(in_hand)
    assert committed(inbox)[A] == 2


def test_partition_begins_anew_when_its_offset_was_moved_back() -> None:
    inbox = opened()
    put(inbox, A, 0, 1)
    inbox.ack(inbox.take(1, NOW))
    for partition, safe in inbox.progress(inbox.held()):
        partition.committed = safe
    inbox.take(1, NOW)
    inbox.drop([A])
    [back] = inbox.assign([Place(*A, 0, 0)])
    assert back.next == 0


def test_partition_begins_anew_when_the_topic_was_made_anew() -> None:
    inbox = opened()
    put(inbox, A, 0, 1, 2)
    in_hand = inbox.take(3, NOW)
    put(inbox, A, 0)
    assert items(inbox.take(1, NOW)) == ["0:0"]
    inbox.ack(in_hand)
    assert committed(inbox)[A] == 0, "the offsets of the old topic mean nothing in the new one"


def test_items_are_suspect_when_they_were_in_the_hands_of_one_that_vanished() -> None:
    inbox: Inbox[str] = Inbox(100)
    inbox.assign([Place(*A, 3, 5)])
    put(inbox, A, 3, 4, 5)
    assert [delivery.suspect for delivery in inbox.take(3, NOW)] == [True, True, False]


def test_withdrawal_waits_for_work_in_hand_and_hands_out_no_more() -> None:
    inbox = opened()
    put(inbox, A, 0, 1)
    put(inbox, B, 0)
    in_hand = inbox.take(1, NOW)
    withdrawing = threading.Thread(target=inbox.withdraw, args=([A], 60.0))
    withdrawing.start()
    while inbox.held([A])[0].next != 1:  # until what waited was taken back
        pass
    assert items(inbox.take(10, NOW)) == ["1:0"]
    assert withdrawing.is_alive()
    inbox.ack(in_hand)
    withdrawing.join(60)
    assert not withdrawing.is_alive()
    assert committed(inbox)[A] == 1


def test_withdrawal_gives_up_when_work_takes_too_long() -> None:
    inbox = opened()
    put(inbox, A, 0)
    inbox.take(1, NOW)
    inbox.withdraw([A], 0.01)
    assert committed(inbox)[A] == 0


def test_there_is_no_room_when_too_much_waits() -> None:
    inbox = opened(limit=2)
    assert inbox.room(0) == 2
    put(inbox, A, 0, 1, 2)
    assert inbox.room(0) == -1
    inbox.take(2, NOW)
    assert inbox.room(60) == 1


def test_trouble_is_told_once_and_after_what_waits() -> None:
    inbox = opened()
    put(inbox, A, 0)
    inbox.fail(AdapterUnavailableError("nobody answers"))
    assert items(inbox.take(1, NOW)) == ["0:0"]
    with pytest.raises(AdapterUnavailableError, match="nobody answers"):
        inbox.take(1, LONG)
    assert inbox.take(1, NOW) == []


def test_closed_inbox_refuses_and_wakes_who_waits() -> None:
    inbox = opened()
    refused: list[ClosedError] = []

    def wait() -> None:
        try:
            inbox.take(1, LONG)
        except ClosedError as error:
            refused.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert inbox.close()
    assert not inbox.close(), "twice is harmless"
    waiting.join(60)
    assert refused
    with pytest.raises(ClosedError):
        inbox.ack([])


def test_inbox_is_hungry_for_what_it_has_asked_for_since_it_could(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail when only what came last counts: what it just took over, or had no room for."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    inbox = opened(limit=2)
    now = 10.0
    put(inbox, B, 0)
    now = 15.0
    assert inbox.hungry() == [Hungry(A, 0, 15.0), Hungry(B, 1, 5.0)]
    put(inbox, B, 1)
    now = 20.0
    assert inbox.hungry() == [], "it is full"
    inbox.take(1, NOW)
    now = 21.0
    assert inbox.hungry() == [Hungry(A, 0, 1.0), Hungry(B, 2, 1.0)], "it was full until now"
    inbox.drop([A, B])
    now = 30.0
    inbox.assign([Place(*A, 7, 7), Place(*B, 0, 0)])
    assert inbox.hungry() == [Hungry(A, 7, 0.0), Hungry(B, 1, 0.0)], "they are ours only now"
    inbox.close()
    assert inbox.hungry() == []
