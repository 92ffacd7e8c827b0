from datetime import timedelta

import pytest
from workflow_core.discovery.durations import format_duration, parse_duration

SPELT = [
    ("10s", timedelta(seconds=10)),
    ("250ms", timedelta(milliseconds=250)),
    ("5m", timedelta(minutes=5)),
    ("1h", timedelta(hours=1)),
    ("2d", timedelta(days=2)),
    ("1h30m", timedelta(minutes=90)),
    ("0s", timedelta(0)),
    ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
    ("1.5ms", timedelta(microseconds=1500)),
    ("0.007ms", timedelta(microseconds=7)),
]


@pytest.mark.parametrize(("text", "duration"), SPELT)
def test_duration_is_read_as_written_and_written_as_read(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("text", "duration"), [("1.5h", timedelta(minutes=90)), ("90s", timedelta(seconds=90))]
)
def test_duration_may_be_written_in_more_than_one_way(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "-5s",
        "5 s",
        "30m1h",
        "1h1h",
        "PT10S",
        "10S",
        "1e3s",
        "٣s",
        "1.s",
        "9" * 20 + "d",
    ],
)
def test_duration_is_refused_when_it_could_be_misread(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
