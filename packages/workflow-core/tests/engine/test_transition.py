"""The pure rules: what an answer, a failure or an operator makes of a record."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import pytest
from workflow_core.definition import Cancel, Pause, Repeat, Retry, Run, Skip, Step, Workflow
from workflow_core.engine.steering import cancelled_by, paused_by_operator, resumed_by
from workflow_core.engine.transition import (
    Failure,
    Identity,
    Transition,
    clean_text,
    file_again,
    status_event,
)
from workflow_core.model import Event, EventKind, PauseKind, Record, RunState
from workflow_core.ports import Write
from workflow_core.testing import FakeClock

CONSUMER = "order_processor-main-steps"
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3
    REFUSED = 4


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]


def a_workflow(retry: Retry | None = None, lag: timedelta | None = None) -> Workflow[Order, Status]:
    """Generated, so that its steps may answer everything."""
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))
    to = (Status.CREATED, Status.PAID, Status.REFUSED)
    orders.add_step(Status.CREATED, lambda run: None, to=to, retry=retry or Retry(jitter=False))
    orders.add_step(Status.PAID, lambda run: None, to=(Status.SHIPPED, Status.CREATED), lag=lag)
    orders.check()
    return orders


def a_record(**changes: object) -> Record:
    record = Record(
        workflow="order processor",
        foreign_id="order-1",
        run_id="run-1",
        status=1,
        state=RunState.RUNNING,
        version=7,
        write_id="before",
        data=b'{"total":1}',
        entered_version=5,
        repeat=2,
        attempts=3,
        last_error="ValueError: no",
        headers={"trace": "abc"},
        passed={2: 3},
    )
    return record.replace(**changes)


@pytest.fixture
def identity() -> Identity:
    return Identity(FakeClock(), random.Random(1))


@pytest.fixture
def transition(identity: Identity) -> Transition:
    return Transition(a_workflow(), CONSUMER, identity)


def the_event(write: Write) -> Event:
    (filed,) = write.events
    event = filed.event
    after = write.record
    assert (event.run_id, event.workflow, event.foreign_id) == (
        after.run_id,
        after.workflow,
        after.foreign_id,
    )
    assert (event.version, event.state, event.status) == (after.version, after.state, after.status)
    assert event.headers == after.headers
    return event


def a_step(workflow: Workflow[Order, Status]) -> Step:
    return workflow.steps[1]


# -- trigger ---------------------------------------------------------------------------------------


def test_trigger_makes_version_one_and_its_event(transition: Transition) -> None:
    write = transition.triggered(
        run_id="run-1",
        foreign_id="order-1",
        status=1,
        data=b"{}",
        headers={"trace": "abc"},
        delay=timedelta(0),
    )
    after = write.record
    assert (after.version, after.entered_version, after.state) == (1, 1, RunState.INITIATED)
    assert (after.repeat, after.attempts, after.passed) == (0, 0, {})
    event = the_event(write)
    assert (event.topic, event.kind, event.target) == (
        "order_processor-1",
        EventKind.ENTERED,
        "",
    )
    assert (write.events[0].delay, write.retry_in) == (timedelta(0), None)


def test_trigger_delays_by_the_longer_of_start_and_lag(identity: Identity) -> None:
    transition = Transition(a_workflow(lag=timedelta(minutes=5)), CONSUMER, identity)

    def delay_of(delay: timedelta) -> timedelta:
        write = transition.triggered(
            run_id="r", foreign_id="f", status=2, data=b"", headers={}, delay=delay
        )
        assert write.retry_in == write.events[0].delay
        return write.events[0].delay

    assert delay_of(timedelta(minutes=-9)) == timedelta(minutes=5)
    assert delay_of(timedelta(minutes=1)) == timedelta(minutes=5)
    assert delay_of(timedelta(minutes=9)) == timedelta(minutes=9)


# -- answers ---------------------------------------------------------------------------------------


def test_status_begins_a_new_stay(transition: Transition) -> None:
    before = a_record(
        resumed=None, auto_resumes=2, skipped=True, reason="why", pause_kind=PauseKind.STEP
    )
    write = transition.answered(before, 2, lambda: b"new")
    after = write.record
    assert (after.status, after.state, after.version) == (2, RunState.RUNNING, 8)
    assert (after.entered_version, after.repeat, after.attempts) == (8, 0, 0)
    assert (after.data, after.last_error, after.reason, after.pause_kind) == (b"new", "", "", None)
    assert (after.auto_resumes, after.skipped, after.resumed) == (0, False, None)
    assert after.passed == {2: 3, 1: 5}
    assert after.write_id != before.write_id
    event = the_event(write)
    assert (event.topic, event.kind, event.target, event.attempt) == (
        "order_processor-2",
        EventKind.ENTERED,
        "",
        0,
    )
    assert write.retry_in is None


def test_status_waits_for_its_lag(identity: Identity) -> None:
    transition = Transition(a_workflow(lag=timedelta(minutes=5)), CONSUMER, identity)
    write = transition.answered(a_record(), 2, lambda: b"")
    assert write.events[0].delay == write.retry_in == timedelta(minutes=5)


def test_same_status_is_a_new_stay_too(transition: Transition) -> None:
    after = transition.answered(a_record(), 1, lambda: b"").record
    assert (after.status, after.entered_version, after.passed[1]) == (1, 8, 5)


def test_end_completes_and_tells_the_run_state(transition: Transition) -> None:
    write = transition.answered(a_record(), 4, lambda: b"new")
    after = write.record
    assert (after.state, after.status, after.data) == (RunState.COMPLETED, 4, b"new")
    assert (after.entered_version, after.passed) == (8, {2: 3, 1: 5})
    assert the_event(write).topic == "order_processor-run-state-change"


def test_pause_keeps_the_stay_and_saves_data(transition: Transition) -> None:
    write = transition.answered(a_record(), Pause("look at it"), lambda: b"new")
    after = write.record
    assert (after.state, after.pause_kind, after.reason) == (
        RunState.PAUSED,
        PauseKind.STEP,
        "look at it",
    )
    assert (after.data, after.status, after.entered_version, after.repeat) == (b"new", 1, 5, 2)
    assert the_event(write).topic == "order_processor-run-state-change"


def test_cancel_ends_where_it_stands_and_saves_data(transition: Transition) -> None:
    write = transition.answered(a_record(), Cancel("sold out"), lambda: b"new")
    after = write.record
    assert (after.state, after.reason, after.data) == (RunState.CANCELLED, "sold out", b"new")
    assert (after.status, after.passed, after.last_error) == (1, {2: 3}, "")
    assert the_event(write).topic == "order_processor-run-state-change"


@pytest.mark.parametrize("after", [timedelta(0), timedelta(minutes=3)])
def test_repeat_keeps_the_stay_and_counts(transition: Transition, after: timedelta) -> None:
    write = transition.answered(a_record(), Repeat(after), lambda: b"new")
    record = write.record
    assert (record.repeat, record.attempts, record.last_error) == (3, 0, "")
    assert (record.entered_version, record.status, record.data) == (5, 1, b"new")
    event = the_event(write)
    assert (event.kind, event.target, event.topic) == (
        EventKind.REPEATED,
        CONSUMER,
        "order_processor-1",
    )
    assert write.events[0].delay == after
    assert write.retry_in == (after or None)


def test_skip_leaves_no_event_and_saves_no_data(transition: Transition) -> None:
    def refuse() -> bytes:
        raise AssertionError("Skip saves no data")

    write = transition.answered(a_record(), Skip(), refuse)
    after = write.record
    assert not write.events
    assert (after.skipped, after.data, after.attempts) == (True, b'{"total":1}', 0)


@pytest.mark.parametrize("answer", [2, Pause("p"), Cancel("c"), Repeat()])
def test_first_answer_leaves_initiated(transition: Transition, answer: int | Pause) -> None:
    before = a_record(state=RunState.INITIATED)
    assert transition.answered(before, answer, lambda: b"").record.state is not RunState.INITIATED


# -- failures --------------------------------------------------------------------------------------


def test_failure_is_counted_and_tried_again(identity: Identity) -> None:
    workflow = a_workflow(Retry(first=timedelta(seconds=2), jitter=False))
    transition = Transition(workflow, CONSUMER, identity)
    write = transition.failed(a_record(), Failure.of(ValueError("no")), a_step(workflow))
    after = write.record
    assert (after.attempts, after.last_error, after.data) == (4, "ValueError: no", b'{"total":1}')
    assert (after.state, after.status, after.entered_version, after.repeat) == (
        RunState.RUNNING,
        1,
        5,
        2,
    )
    event = the_event(write)
    assert (event.kind, event.target, event.attempt) == (EventKind.RETRY, CONSUMER, 4)
    assert write.events[0].delay == write.retry_in == timedelta(seconds=16)


def test_failure_delays_grow_to_the_maximum(identity: Identity) -> None:
    workflow = a_workflow(
        Retry(first=timedelta(seconds=1), maximum=timedelta(seconds=10), jitter=False)
    )
    transition = Transition(workflow, CONSUMER, identity)
    delays = [
        transition.failed(a_record(attempts=n), Failure.of(ValueError()), a_step(workflow)).retry_in
        for n in range(6)
    ]
    assert delays == [timedelta(seconds=s) for s in (1, 2, 4, 8, 10, 10)]


def test_failure_delays_are_drawn_from_their_upper_half(identity: Identity) -> None:
    workflow = a_workflow(Retry(first=timedelta(seconds=8)))
    transition = Transition(workflow, CONSUMER, identity)
    record = a_record(attempts=0)
    delays = {
        transition.failed(record, Failure.of(ValueError()), a_step(workflow)).retry_in
        for _ in range(50)
    }
    assert len(delays) == 50
    assert all(
        delay is not None and timedelta(seconds=4) <= delay <= timedelta(seconds=8)
        for delay in delays
    )


def test_failure_pauses_automatically_when_attempts_are_used_up(identity: Identity) -> None:
    workflow = a_workflow(Retry(pause_after=4))
    transition = Transition(workflow, CONSUMER, identity)
    write = transition.failed(a_record(), Failure.of(ValueError("no")), a_step(workflow))
    after = write.record
    assert (after.state, after.pause_kind) == (RunState.PAUSED, PauseKind.AUTOMATIC)
    assert (after.attempts, after.last_error, after.data) == (4, "ValueError: no", b'{"total":1}')
    assert "failed 4 times" in after.reason
    assert "ValueError: no" in after.reason
    assert the_event(write).topic == "order_processor-run-state-change"
    assert write.retry_in is None


def test_failure_gives_up_at_once_on_an_error_of_never(identity: Identity) -> None:
    workflow = a_workflow(Retry(never=(LookupError,)))
    transition = Transition(workflow, CONSUMER, identity)
    record = a_record(attempts=0)
    after = transition.failed(record, Failure.of(KeyError("k")), a_step(workflow)).record
    assert (after.state, after.attempts) == (RunState.PAUSED, 1)
    after = transition.failed(record, Failure.of(ValueError("k")), a_step(workflow)).record
    assert (after.state, after.attempts) == (RunState.RUNNING, 1)


def test_failure_goes_where_then_says(identity: Identity) -> None:
    workflow = a_workflow(Retry(pause_after=1, then=Status.REFUSED))
    transition = Transition(workflow, CONSUMER, identity)
    write = transition.failed(a_record(), Failure.of(ValueError("no")), a_step(workflow))
    after = write.record
    assert (after.status, after.state) == (4, RunState.COMPLETED)
    assert (after.data, after.last_error, after.attempts) == (b'{"total":1}', "ValueError: no", 0)
    assert after.passed == {2: 3, 1: 5}


# -- operators -------------------------------------------------------------------------------------


def test_operator_pauses_every_live_run_once(identity: Identity) -> None:
    write = paused_by_operator(a_record(), identity, "stop\0it")
    assert write is not None
    after = write.record
    assert (after.state, after.pause_kind, after.reason, after.version) == (
        RunState.PAUSED,
        PauseKind.OPERATOR,
        "stop\\0it",
        8,
    )
    assert (after.entered_version, after.repeat, after.attempts) == (5, 2, 3)
    assert paused_by_operator(after, identity, "again") is None
    automatic = after.replace(pause_kind=PauseKind.AUTOMATIC)
    taken_over = paused_by_operator(automatic, identity, "mine")
    assert taken_over is not None
    assert taken_over.record.pause_kind is PauseKind.OPERATOR


def test_resume_goes_on_with_the_stay_and_counts_anew(identity: Identity) -> None:
    paused = a_record(state=RunState.PAUSED, pause_kind=PauseKind.AUTOMATIC, reason="why")
    write = resumed_by(paused, identity, "ann\0", "fixed\udc80", AT)
    after = write.record
    assert (after.state, after.pause_kind) == (RunState.RUNNING, None)
    assert after.reason == "resumed by ann\\0: fixed\\udc80"
    assert (after.attempts, after.entered_version, after.repeat) == (0, 5, 2)
    assert after.resumed is not None
    assert (after.resumed.who, after.resumed.why, after.resumed.at) == (
        "ann\\0",
        "fixed\\udc80",
        AT,
    )
    event = the_event(write)
    assert (event.topic, event.kind) == ("order_processor-1", EventKind.RESUMED)


def test_cancel_by_operator_ends_where_it_stands(identity: Identity) -> None:
    write = cancelled_by(a_record(), identity, "sold out")
    assert (write.record.state, write.record.reason) == (RunState.CANCELLED, "sold out")
    assert the_event(write).topic == "order_processor-run-state-change"


# -- the stay's name, and texts --------------------------------------------------------------------


def test_idempotency_key_is_new_only_after_repeat_or_on_a_new_stay(
    transition: Transition, identity: Identity
) -> None:
    """Seen to fail when a failed attempt set entered_version: a payment would be made twice."""

    def key(record: Record) -> str:
        return Run(
            data=Order(),
            status=Status.CREATED,
            run_id=record.run_id,
            entered_version=record.entered_version,
            repeat=record.repeat,
        ).idempotency_key

    step = a_step(a_workflow())
    first = a_record(attempts=0)
    failed = transition.failed(first, Failure.of(ValueError()), step).record
    paused = paused_by_operator(failed, identity, "")
    assert paused is not None
    resumed = resumed_by(paused.record, identity, "ann", "", AT).record
    by_step = transition.answered(resumed, Pause(""), lambda: b"").record
    same = [first, failed, paused.record, resumed, by_step]
    repeated = transition.answered(resumed, Repeat(), lambda: b"").record
    again = transition.answered(repeated, 1, lambda: b"").record
    assert {key(record) for record in same} == {"run-1/5/2"}
    assert len({key(first), key(repeated), key(again)}) == 3


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain", "plain"),
        ("a\0b", "a\\0b"),
        ("lone \ud800 half", "lone \\ud800 half"),
        ("café ☕", "café ☕"),
        ("x" * 4096, "x" * 4096),
        ("x" * 5000, "x" * 4093 + "…"),
        ("☕" * 2000, "☕" * 1364 + "…"),
    ],
)
def test_text_is_kept_as_every_store_can(text: str, kept: str) -> None:
    assert clean_text(text) == kept
    assert len(kept.encode()) <= 4096


def test_failure_tells_its_type_and_text() -> None:
    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert Failure.of(KeyError("k")).text == "KeyError: 'k'"
    assert Failure.of(ValueError("a\0b")).text == "ValueError: a\\0b"
    assert Failure.of(RudeError()).text.startswith("RudeError: ")


# -- the same hint again ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        (EventKind.ENTERED, EventKind.NUDGE),
        (EventKind.RETRY, EventKind.RETRY),
        (EventKind.RESUMED, EventKind.RESUMED),
        (EventKind.REPEATED, EventKind.REPEATED),
    ],
)
def test_event_filed_again_wakes_no_strangers(
    identity: Identity, kind: EventKind, becomes: EventKind
) -> None:
    """Seen to fail with the kind kept: a connector on the stream would take it as entered again."""
    event = status_event(a_record(), identity, kind=kind, target="me").event
    again = file_again(event, identity, delay=timedelta(seconds=5))
    assert again.event.kind is becomes
    assert again.event.id != event.id
    assert again.delay == timedelta(seconds=5)
    assert again.event.replace(id=event.id, kind=kind) == event


def entered(t: Transition, record: Record) -> Write:
    return t.answered(record, 2, lambda: b"")


def repeated(t: Transition, record: Record) -> Write:
    return t.answered(record, Repeat(timedelta(hours=1)), lambda: b"")


def failed(t: Transition, record: Record) -> Write:
    return t.failed(record, Failure.of(ValueError()), a_step(a_workflow()))


def resumed(t: Transition, record: Record) -> Write:
    paused = record.replace(state=RunState.PAUSED)
    return resumed_by(paused, Identity(FakeClock(), random.Random(0)), "ann", "", AT)


@pytest.mark.parametrize("decide", [entered, repeated, failed, resumed])
def test_each_write_of_a_driven_run_leaves_an_event_of_its_version(
    transition: Transition, decide: Callable[[Transition, Record], Write]
) -> None:
    """The drive invariant. Seen to fail when Repeat filed no event."""
    write = decide(transition, a_record())
    assert write.record.state.is_driven
    event = the_event(write)
    assert event.topic == f"order_processor-{write.record.status}"
