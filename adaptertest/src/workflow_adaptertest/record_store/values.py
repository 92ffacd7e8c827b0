"""What goes in comes out: texts, bytes, numbers, times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from workflow_core.errors import AdapterError, AdapterUnavailableError, RunNotFoundError
from workflow_core.model import PauseKind, Record, Resumed, RunState
from workflow_core.ports import RecordStore, Write

from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store.base import RecordStoreCases, filed_ids
from workflow_adaptertest.samples import Samples, refuses, unstamped
from workflow_adaptertest.telling import not_applicable

__all__ = ["ALIKE", "STRANGE", "ValueCases"]

ALIKE = [
    "order-1",
    "order-1 ",
    " order-1",
    "Order-1",
    "ordér-1",
    "orde\u0301r-1",
    "ørder-1",
    "order-\uff11",
]
"""Texts that databases like to take for equal: spaces, case, accents (composed and not), width."""
STRANGE = ["ключ/№ 5", "注文-一", "🧾-9", "o'rder\"1\\", "%_*?[a]", "a:b|c,d;e\tf"]
"""Texts that want to be escaped, or need four bytes a character."""


class ValueCases(RecordStoreCases):
    """Values survive the round trip, and texts are compared exactly."""

    def test_record_comes_out_as_it_went_in_when_every_field_is_set(
        self, store: RecordStore, make: Samples
    ) -> None:
        first = make.record()
        store.store(Write(record=first))
        full = _full(make, first)
        store.store(Write(record=full))
        assert unstamped([store.lookup(first.run_id)]) == [full]
        plain = make.next(full, state=RunState.RUNNING, passed={}, headers={})
        plain = plain.replace(
            pause_kind=None, resumed=None, skipped=False, reason="", last_error=""
        )
        store.store(Write(record=plain))
        assert unstamped([store.lookup(first.run_id)]) == [plain], "fields can be emptied again"

    @pytest.mark.parametrize("state", [RunState.RUNNING, RunState.COMPLETED])
    def test_every_field_is_empty_again_when_a_run_moves_on_beside_others(
        self, store: RecordStore, make: Samples, state: RunState
    ) -> None:
        """Of each run but one field is left: a store may write plain transitions in fewer values.

        Seen to fail when attempts and who resumed are forgotten where that is decided.
        """
        kept: list[set[str]] = [set(), *({field} for field in _OF_A_STAY), set(), set(_OF_A_STAY)]
        runs = [make.record() for _ in kept]
        full = [_full(make, record) for record in runs]
        moved = [
            make.next(before, status=2, state=state).replace(
                **{field: getattr(runs[0], field) for field in _OF_A_STAY if field not in keeps}
            )
            for before, keeps in zip(full, kept, strict=True)
        ]
        moved[-1] = make.next(full[-1], state=state)  # enters no status
        for batch in (runs, full, moved):
            outcomes = store.store_many([Write(record=record) for record in batch])
            assert not any(outcomes)
        found = store.lookup_many([record.run_id for record in runs])
        assert unstamped([found[record.run_id] for record in runs]) == moved

    @pytest.mark.parametrize(
        "data",
        [b"", bytes(range(256)), b'{"n":9007199254740993}', "🧾".encode() * 250_000],
        ids=["empty", "every byte", "a large number", "1 MB"],
    )
    def test_data_comes_out_byte_for_byte_when_it_is_any_bytes(
        self, store: RecordStore, make: Samples, data: bytes
    ) -> None:
        record = make.record(data=data)
        store.store(Write(record=record))
        assert store.lookup(record.run_id).data == data
        changed = make.next(record, data=data + b" ")
        store.store(Write(record=changed))
        assert store.lookup(record.run_id).data == data + b" "

    def test_batch_of_large_data_is_stored_when_each_is_a_megabyte(
        self, store: RecordStore, make: Samples
    ) -> None:
        records = [make.record(data=bytes([number]) * 1_000_000) for number in range(12)]
        outcomes = store.store_many([Write(record=record) for record in records])
        assert list(outcomes) == [None] * len(records)
        found = store.lookup_many([record.run_id for record in records])
        assert all(found[record.run_id].data == record.data for record in records)

    @pytest.mark.parametrize("texts", [ALIKE, STRANGE], ids=["alike", "strange"])
    def test_foreign_ids_are_told_apart_when_they_look_alike(
        self, store: RecordStore, make: Samples, texts: list[str]
    ) -> None:
        records = [make.record(foreign_id=text) for text in texts]
        outcomes = store.store_many([Write(record=record) for record in records])
        taken = [text for text, outcome in zip(texts, outcomes, strict=True) if outcome is not None]
        assert not taken, f"these were taken for another foreign id: {taken}"
        for record in records:
            found = store.latest(record.workflow, record.foreign_id)
            assert (found.run_id, found.foreign_id) == (record.run_id, record.foreign_id)

    def test_workflows_are_told_apart_when_their_names_look_alike(
        self, store: RecordStore, make: Samples
    ) -> None:
        names = ["order processor", "Order processor", "order processor ", "order_processor"]
        records = [make.record(foreign_id="order-7", workflow=name) for name in names]
        writes = [make.write(record) for record in records]
        assert list(store.store_many(writes)) == [None] * len(names)
        for write in writes:
            name = write.record.workflow
            assert store.latest(name, "order-7").run_id == write.record.run_id
            assert filed_ids(store, workflows=[name]) == [event.id for event in write.events]

    def test_event_comes_out_as_it_went_in_when_every_field_is_set(
        self, store: RecordStore, make: Samples
    ) -> None:
        record = make.record()
        event = make.outbox(
            record,
            kind="retry",
            target="orders-main-steps",
            attempt=3,
            headers={"ключ": "🧾" * 500, "empty": ""},
            foreign_id="ключ/№ 5 ",
        )
        after = store.now()
        store.store(Write(record=record, events=[event]))
        (filed,) = store.list_outbox_events([record.workflow], limit=10)
        stamp = filed.event.created_at
        assert after <= stamp <= store.now(), "created_at is stamped by the store's clock"
        assert filed == event.replace(event=event.event.replace(created_at=stamp)), (
            "the rest is as it was filed; delay and held_for are zero coming out"
        )

    def test_nul_in_an_error_is_stored_or_refused_alone_when_it_is_in_a_batch(
        self, store: RecordStore, make: Samples
    ) -> None:
        first = [make.record() for _ in range(5)]
        store.store_many([Write(record=record) for record in first])
        batch = [make.next(record, last_error="bad byte") for record in first]
        batch[2] = batch[2].replace(last_error="bad \0 byte")
        outcomes = store.store_many([make.write(record) for record in batch])
        nul = outcomes[2]
        assert [*outcomes[:2], *outcomes[3:]] == [None] * 4, "one bad row must not block its batch"
        expected = list(batch)
        if nul is not None:
            assert isinstance(nul, AdapterError), f"refused for good, by name: {nul!r}"
            assert not isinstance(nul, AdapterUnavailableError), "asking again would not help"
            expected[2] = first[2]
        found = store.lookup_many([record.run_id for record in first])
        assert unstamped([found[record.run_id] for record in first]) == expected
        assert len(filed_ids(store)) == (5 if nul is None else 4), "events if and only if stored"

    def test_nul_in_a_foreign_id_is_stored_or_refused_when_the_run_is_new(
        self, store: RecordStore, make: Samples
    ) -> None:
        record = make.record(foreign_id="order\0seven")
        (outcome,) = store.store_many([make.write(record)])
        if outcome is None:
            assert unstamped([store.lookup(record.run_id)]) == [record]
            return
        assert isinstance(outcome, AdapterError)
        assert not isinstance(outcome, AdapterUnavailableError), "asking again would not help"
        with refuses(RunNotFoundError, "a refused run must not be stored"):
            store.lookup(record.run_id)

    def test_times_keep_their_microseconds_when_stamped(
        self, store: RecordStore, make: Samples, env: Env
    ) -> None:
        if env.clock is None:
            not_applicable("the server's clock cannot be told what to show")
        record = make.record()
        store.store(Write(record=record))
        assert store.lookup(record.run_id).created_at == env.clock.now(), "to the microsecond"


_OF_A_STAY = (
    *("repeat", "attempts", "last_error", "reason", "pause_kind"),
    *("auto_resumes", "skipped", "resumed"),
)
"""What a run leaves behind when its step succeeds."""


def _full(make: Samples, first: Record) -> Record:
    """The next version, with every field set."""
    return make.next(
        first,
        status=2_147_483_647,
        state=RunState.PAUSED,
        repeat=3,
        attempts=7,
        last_error="ValueError: größer als 9 €\n  at line 3",
        reason="ждёт решения 🕰",
        pause_kind=PauseKind.AUTOMATIC,
        auto_resumes=2,
        skipped=True,
        passed={1: 1, 2_147_483_646: 2},
        resumed=Resumed(
            who="ops@example.org",
            why="tried “again”",
            at=datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
        ),
        headers={"traceparent": "00-ab-01", "ключ": "значение", "empty": ""},
    )
