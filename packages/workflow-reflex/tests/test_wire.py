"""Rows to the byte as the Go project luno/workflow writes and reads them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from workflow_core.model import Event, EventKind, RunState
from workflow_reflex.wire import Entry, decode, encode, utc

RUN_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
# what Go writes as the metadata of its event
GO = (
    b'{"foreign_id":"order-1","record_version":"1","run_id":"3f2504e0-4f89-41d3-9a0c-0305e82c3301",'
    b'"run_state":"1","topic":"order_processor-1","workflow_name":"order processor"}'
)
AT = datetime(2024, 4, 9, 8, 30)  # noqa: DTZ001 - as drivers tell it
EVENT = Event(
    id="018ebf7a-0000-7000-8000-000000000001",
    topic="order_processor-1",
    workflow="order processor",
    run_id=RUN_ID,
    foreign_id="order-1",
    status=1,
    state=RunState.INITIATED,
    version=1,
)


def read(metadata: bytes | None, *, key: str = RUN_ID, type: int = 1) -> Event | None:
    return decode(Entry(17, key, AT, type, metadata))


def test_row_of_go_is_an_event() -> None:
    event = read(GO)
    assert event is not None
    assert event.replace(id=EVENT.id) == EVENT.replace(created_at=AT.replace(tzinfo=UTC))
    assert read(GO) == event, "its id is made of its place, the same whenever it is read"


def test_row_is_what_go_reads_and_more() -> None:
    """Seen to fail with keys in the order in which they are made."""
    key, type, metadata = encode(EVENT)
    assert (key, type) == (RUN_ID, 1)
    ours = b'"event_id":"018ebf7a-0000-7000-8000-000000000001",'
    assert metadata == GO[:1] + ours + GO[1:]


def test_texts_are_escaped_as_go_does_it() -> None:
    """Seen to fail without the escapes for web pages."""
    event = EVENT.replace(foreign_id='a<b & "c" é \u2028\u2029\n\t\x01>')
    _, _, metadata = encode(event)
    written = (
        '"foreign_id":"a\\u003cb \\u0026 \\"c\\" é \\u2028\\u2029\\n\\t\\u0001\\u003e"'.encode()
    )
    assert written in metadata
    assert read(metadata) == event.replace(created_at=AT.replace(tzinfo=UTC))


def test_event_comes_out_as_it_went_in_when_every_field_is_set() -> None:
    event = EVENT.replace(
        status=-(2**31),
        state=RunState.COMPLETED,
        kind=EventKind.RETRY,
        target="orders-main-steps",
        attempt=3,
        headers={"traceparent": "00-ab-01", "topic": "mine", "event_x": "y", "header.": "z"},
        created_at=datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC),
    )
    key, type, metadata = encode(event)
    assert read(metadata, key=key, type=type) == event
    assert all(isinstance(text, str) for text in json.loads(metadata).values()), "Go reads texts"


def test_kind_of_a_later_release_is_for_the_workflow_alone() -> None:
    event = read(GO[:-1] + b',"event_kind":"pondered"}')
    assert event is not None
    assert event.kind is EventKind.NUDGE


@pytest.mark.parametrize(
    "metadata",
    [None, b"", b"\x08\x01\xff", b"not JSON", b"[]", b'{"a":1}', b'{"a":"b"}', b'{"topic":"x"}'],
)
def test_foreign_row_is_no_event(metadata: bytes | None) -> None:
    assert read(metadata) is None


def test_noop_is_no_event() -> None:
    assert Entry(1, "0", AT, 0, None).is_noop
    assert read(GO, key="0", type=0) is None
    assert not Entry(1, "0", AT, 1, None).is_noop


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"run_state":"1"', b'"run_state":"99"'),
        (b'"record_version":"1"', b'"record_version":"one"'),
        (b'"foreign_id":"order-1",', b""),
        (b"}", b',"event_created_at":"soon"}'),
    ],
)
def test_broken_event_is_passed_over_and_told_once(
    before: bytes, after: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    entry = Entry(17, RUN_ID, AT, 1, GO.replace(before, after))
    with caplog.at_level(logging.WARNING):
        assert decode(entry) is None
        assert decode(entry) is None
    (record,) = caplog.records
    assert "row 17" in record.getMessage()
    assert "order-1" not in record.getMessage()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 2**31},
        {"run_id": "0", "status": 0},
        {"foreign_id": "\ud800"},
    ],
)
def test_event_that_can_be_no_row_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        encode(EVENT.replace(**changes))


def test_timestamps_are_read_as_drivers_tell_them() -> None:
    there = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert utc(datetime(2026, 1, 1, 12)) == there  # noqa: DTZ001
    assert utc("2026-01-01 12:00:00") == there
    assert utc(datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))) == there
