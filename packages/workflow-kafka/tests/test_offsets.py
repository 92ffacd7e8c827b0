"""What may be committed, whatever order work is acked in."""

from __future__ import annotations

import random

from workflow_kafka.offsets import Partition


def received(*offsets: int, start: int = 0) -> Partition:
    partition = Partition("orders-1", 0, start)
    for offset in offsets:
        partition.receive(offset)
    return partition


def test_nothing_is_safe_when_nothing_is_done() -> None:
    assert received(5, 6, start=5).safe == 5


def test_safe_is_behind_the_last_when_all_is_done() -> None:
    partition = received(5, 6, start=5)
    assert partition.finish(5)
    assert partition.finish(6)
    assert partition.safe == 7
    assert partition.in_hand == 0


def test_safe_stops_at_the_gap_when_what_follows_is_done() -> None:
    partition = received(0, 1, 2, 3)
    for offset in (3, 0, 2):
        partition.finish(offset)
    assert partition.safe == 1
    partition.finish(1)
    assert partition.safe == 4


def test_finishing_counts_once_when_it_is_repeated_or_unknown() -> None:
    partition = received(0, 1)
    assert partition.finish(0)
    assert not partition.finish(0)
    assert not partition.finish(7)
    assert partition.safe == 1


def test_holes_of_a_compacted_log_are_passed_when_all_is_done() -> None:
    partition = received(3, 9)
    partition.finish(3)
    assert partition.safe == 9
    partition.finish(9)
    assert partition.safe == 10


def test_safe_never_skips_and_ends_behind_all_when_acks_come_in_any_order() -> None:
    chance = random.Random(7)
    for _ in range(200):
        offsets = sorted(chance.sample(range(60), 20))
        partition = received(*offsets)
        order = chance.sample(offsets, len(offsets))
        for count, offset in enumerate(order, start=1):
            partition.finish(offset)
            left = set(offsets) - set(order[:count])
            assert partition.safe == (min(left) if left else offsets[-1] + 1)


def test_given_back_is_received_again_when_it_was_not_handed_out() -> None:
    partition = received(0, 1, 2, 3)
    partition.finish(0)
    partition.give_back(2)
    assert partition.next == 2
    assert partition.in_hand == 1
    assert partition.safe == 1
    partition.receive(2)
    partition.finish(1)
    partition.finish(2)
    assert partition.safe == 3


def test_what_another_member_did_is_passed_when_a_partition_comes_back() -> None:
    partition = received(0, 1, 2)
    partition.skip_to(2)
    assert partition.safe == 2
    assert not partition.finish(1), "its work was in vain"
    partition.finish(2)
    assert partition.safe == 3
    partition.skip_to(9)
    assert partition.safe == 9
