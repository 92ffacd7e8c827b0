"""The structures below the tables, held against plain Python."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from workflow_core.memory.agenda import Agenda, earliest
from workflow_core.memory.run_table import RunTable
from workflow_core.memory.sorted_keys import SortedKeys
from workflow_core.model import Record, RecordQuery, RunState

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


def test_sorted_keys_keep_nothing_of_what_has_come_and_gone() -> None:
    """Seen to fail with lists that were noted as changed and never forgotten: there were 1,000."""
    keys: SortedKeys[str] = SortedKeys()
    elsewhere = []
    for number in range(1_000):
        keys.add(f"{number:05}")
        keys.discard(f"{number:05}")
        elsewhere.append([number])  # where the list of keys was: the next one is somewhere else
    assert len(keys._changed) <= 1


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


@pytest.mark.parametrize("seed", range(5))
def test_kept_counts_are_those_of_a_walk_when_runs_change_end_and_go(seed: int) -> None:
    """Seen to fail when a purged run, or the place that a run has left, stays counted."""
    chance = random.Random(seed)
    table = RunTable()
    for number in range(2_000):
        run_id = str(chance.randrange(200))
        old = table.rows.get(run_id)
        if old is not None and not old.state.is_live and chance.random() < 0.5:
            table.remove(run_id)
            continue
        table.put(
            Record(
                workflow=f"w{int(run_id) % 2}",
                foreign_id=run_id,
                run_id=run_id,
                status=chance.randrange(3),
                state=chance.choice(list(RunState)),
                version=1 if old is None else old.version + 1,
                write_id=str(number),
                data=b"",
                created_at=START,
                updated_at=START,
            )
        )
        workflow = chance.choice(["w0", "w1", "unknown", None])
        statuses = chance.choice([None, [], [0, 2]])
        states = chance.choice([None, [RunState.RUNNING, RunState.COMPLETED]])
        query = RecordQuery(workflow=workflow, statuses=statuses, states=states, limit=7)
        walked = Counter(
            (record.workflow, record.status, record.state)
            for record in table.matching(query, lambda record: False)
        )
        assert table.counts(query, lambda record: False) == walked
        narrowed = query.replace(created_after=START)  # of which there is none
        assert table.counts(narrowed, lambda record: False) == {}
