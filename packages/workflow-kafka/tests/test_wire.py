"""Messages to the byte, as the Go project writes and reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE
from workflow_core.model import UNSTAMPED, Event, EventKind, RunState, names
from workflow_kafka.wire import decode, encode

RUN = "254a0a41-9c1f-4a53-8f26-0a4ad5a7a2c1"
GO_HEADERS = [
    ("workflow_name", b"Order Processor"),
    ("foreign_id", b"Cust 1795425451"),
    ("topic", b"Order_Processor-2"),
    ("run_id", RUN.encode()),
    ("run_state", b"2"),
    ("record_version", b"2"),
]
STAMP = datetime(2026, 3, 29, 1, 2, 3, 456_000, tzinfo=UTC)


class Arrived:
    """A message as the library hands it over."""

    def __init__(self, key: bytes | None, value: bytes | None, headers: Any, **place: Any) -> None:
        self._parts = (key, value, headers)
        self._stamp = place.get("stamp", (TIMESTAMP_CREATE_TIME, 1_774_746_123_456))

    def key(self) -> bytes | None:
        return self._parts[0]

    def value(self) -> bytes | None:
        return self._parts[1]

    def headers(self) -> Any:
        return self._parts[2]

    def topic(self) -> str:
        return "Order_Processor-2"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 41

    def timestamp(self) -> tuple[int, int]:
        return self._stamp  # type: ignore[no-any-return]


def event(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "id": "01960000-0000-7000-8000-000000000001",
        "topic": names.status_topic("Order Processor", 2),
        "workflow": "Order Processor",
        "run_id": RUN,
        "foreign_id": "Cust 1795425451",
        "status": 2,
        "state": RunState.RUNNING,
        "version": 2,
    }
    return Event(**(values | changes))


def read(key: bytes | None, value: bytes | None, headers: Any, **place: Any) -> Event:
    message: Any = Arrived(key, value, headers, **place)
    return decode(message, "Order_Processor-2")


def test_message_is_gos_to_the_byte_when_an_event_is_written() -> None:
    key, value, headers = encode(event())
    assert key == RUN.encode()
    assert value == b"2"
    assert headers[:6] == GO_HEADERS
    assert headers[6:] == [("event_id", b"01960000-0000-7000-8000-000000000001")]


@pytest.mark.parametrize(
    ("topic", "state", "told"),
    [
        (names.status_topic("Order Processor", 1), RunState.INITIATED, b"Order_Processor-1"),
        (names.status_topic("Order Processor", -5), RunState.RUNNING, b"Order_Processor--5"),
        (
            names.run_state_topic("Order Processor"),
            RunState.COMPLETED,
            b"Order_Processor-run-state-change",
        ),
        (
            names.delete_topic("Order Processor"),
            RunState.REQUESTED_DATA_DELETED,
            b"Order_Processor-delete",
        ),
    ],
    ids=str,
)
def test_topic_is_gos_to_the_byte_whatever_the_event_tells(
    topic: str, state: RunState, told: bytes
) -> None:
    """Seen to fail with "-deleted"."""
    headers = dict(encode(event(topic=topic, state=state))[2])
    assert topic.encode() == headers["topic"] == told
    assert headers["run_state"] == str(int(state)).encode()


def test_value_is_the_decimal_status_when_it_is_below_zero() -> None:
    assert encode(event(status=-5))[1] == b"-5"


def test_further_headers_are_ours_when_an_event_is_special() -> None:
    special = event(
        kind=EventKind.RETRY,
        target="Order_Processor-main-steps",
        attempt=3,
        created_at=STAMP,
        headers={"traceparent": "00-ab-01"},
    )
    assert encode(special)[2][7:] == [
        ("event_kind", b"retry"),
        ("event_target", b"Order_Processor-main-steps"),
        ("event_attempt", b"3"),
        ("event_created_at", b"2026-03-29T01:02:03.456000+00:00"),
        ("traceparent", b"00-ab-01"),
    ]
    assert read(*encode(special)) == special


def test_event_is_read_when_a_go_process_wrote_it() -> None:
    shuffled = GO_HEADERS[::-1]
    came = read(RUN.encode(), b"2", shuffled)
    assert came.replace(id="") == event(id="", created_at=STAMP.replace(day=29, hour=1)).replace(
        created_at=came.created_at
    )
    assert came.created_at == datetime.fromtimestamp(1_774_746_123.456, UTC)
    assert came.kind is EventKind.ENTERED
    assert came.id == read(RUN.encode(), b"2", GO_HEADERS).id, "made up from where it stands"


def test_run_is_taken_from_the_key_when_no_header_names_it() -> None:
    headers = [pair for pair in GO_HEADERS if pair[0] != "run_id"]
    assert read(RUN.encode(), b"2", headers).run_id == RUN


def test_headers_survive_when_their_names_are_those_of_the_format() -> None:
    own = {"topic": "mine", "event_kind": "mine", "header.topic": "mine", "header.": "", "a": "b"}
    assert dict(read(*encode(event(headers=own))).headers) == own


def test_last_one_counts_when_a_header_comes_twice() -> None:
    assert read(None, b"2", [*GO_HEADERS, ("foreign_id", b"other")]).foreign_id == "other"


def test_kind_concerns_nobody_else_when_a_later_release_made_it_up() -> None:
    came = read(None, b"2", [*GO_HEADERS, ("event_kind", b"of tomorrow")])
    assert came.kind is EventKind.NUDGE


def test_event_has_no_time_when_the_message_has_none() -> None:
    came = read(None, b"2", GO_HEADERS, stamp=(TIMESTAMP_NOT_AVAILABLE, 0))
    assert came.created_at == UNSTAMPED


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, GO_HEADERS),
        (b"", GO_HEADERS),
        (b"two", GO_HEADERS),
        (b"2", None),
        (b"2", GO_HEADERS[:-1]),
        (b"2", [*GO_HEADERS, ("run_state", b"99")]),
        (b"2", [*GO_HEADERS, ("record_version", b"?")]),
        (b"2", [*GO_HEADERS, ("foreign_id", b"\xff")]),
        (b"2", [*GO_HEADERS, ("event_created_at", b"yesterday")]),
    ],
)
def test_message_is_no_event_when_it_lacks_what_an_event_has(
    value: bytes | None, headers: Any
) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(RUN.encode(), value, headers)


@pytest.mark.parametrize("headers", [{"nul\0": "x"}, {"surrogate": "\ud800"}])
def test_event_is_refused_when_it_cannot_be_written(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"NUL|surrogates"):
        encode(event(headers=headers))
