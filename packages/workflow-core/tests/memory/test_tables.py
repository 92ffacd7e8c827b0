"""The structures below the tables, held against plain Python."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from workflow_core.memory.agenda import Agenda, earliest
from workflow_core.memory.sorted_keys import SortedKeys

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(5))
def test_sorted_keys_walk_like_a_sorted_list_when_keys_come_and_go(seed: int) -> None:
    """Seen to fail with ``bisect_left`` for ``bisect_right`` in ``after``."""
    chance = random.Random(seed)
    keys: SortedKeys[str] = SortedKeys()
    model: set[str] = set()
    for _ in range(12_000):
        key = f"{chance.randrange(20_000):05}"
        if key in model:
            keys.discard(key)
            model.discard(key)
        else:
            keys.discard(key)  # not there, no harm
            keys.add(key)
            model.add(key)
    for border in [None, "00000", "99999", *chance.sample(sorted(model), 20), "12345", "05000"]:
        expected = sorted(key for key in model if border is None or key > border)
        assert list(keys.after(border)) == expected
        expected = sorted((key for key in model if border is None or key < border), reverse=True)
        assert list(keys.before(border)) == expected
    for key in model:
        keys.discard(key)
    assert not keys
    assert list(keys.after(None)) == list(keys.before(None)) == []


@pytest.mark.parametrize("seed", range(5))
def test_agenda_tells_what_is_due_like_a_plain_list_when_things_are_hidden(seed: int) -> None:
    """Seen to fail when ``hide`` forgets the due time, and when dead heap entries are believed."""
    chance = random.Random(seed)
    agenda = Agenda()
    model: dict[str, tuple[datetime, datetime, int]] = {}
    now = START
    for number in range(3_000):
        choice = chance.random()
        if choice < 0.5 or not model:
            due = now + timedelta(seconds=chance.randrange(100))
            visible = max(due, now + timedelta(seconds=chance.choice([0, 0, 50])))
            agenda.put(str(number), number, due=due, visible=visible)
            model[str(number)] = (due, visible, number)
        elif choice < 0.7:
            id_ = chance.choice(list(model))
            due, _, order = model[id_]
            until = now + timedelta(seconds=chance.choice([0, 30]))
            agenda.hide(id_, until)
            model[id_] = (due, max(due, until), order)
        elif choice < 0.95:
            id_ = chance.choice(list(model))
            agenda.discard(id_)
            agenda.discard(id_)
            del model[id_]
        else:
            now += timedelta(seconds=chance.randrange(20))
        if number % 10 == 0:
            there = [id_ for id_, (_, visible, _) in model.items() if visible <= now]
            there.sort(key=lambda id_: (model[id_][0], model[id_][2]))
            assert earliest([agenda], now, limit=5000) == there
            times = [visible for _, visible, _ in model.values()]
            expected = None if not times else max(now, min(times))
            assert agenda.next(now) == expected


def test_agenda_stays_small_when_everything_is_discarded_before_it_is_due() -> None:
    """A writer's own events: held for seconds, published and deleted at once.

    Seen to fail without the rebuild: the heap then holds all 100,000 until their time.
    """
    agenda = Agenda()
    for number in range(100_000):
        agenda.put(str(number), number, due=START, visible=START + timedelta(seconds=5))
        agenda.discard(str(number))
    assert len(agenda._hidden) < 1_000


def test_agendas_are_merged_by_due_time_when_several_are_asked() -> None:
    first, second = Agenda(), Agenda()
    for number in range(10):
        due = START + timedelta(seconds=number)
        (first if number % 3 else second).put(str(number), number, due=due, visible=due)
    now = START + timedelta(seconds=7)
    assert earliest([first, second], now, limit=100) == [str(number) for number in range(8)]
    assert earliest([second, first], now, limit=3) == ["0", "1", "2"]
    assert earliest([], now, limit=3) == []
