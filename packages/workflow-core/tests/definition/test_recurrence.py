"""When ticks are due: cron in a zone, over changes of the clock, and fixed intervals."""

from __future__ import annotations

import random
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from workflow_core.definition.recurrence import Cron, Interval, Recurrence
from workflow_core.errors import DefinitionError

BERLIN = "Europe/Berlin"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def told(recurrence: Recurrence, after: datetime, count: int) -> list[str]:
    """The next ticks on the wall of the zone, with their distance from UTC."""
    ticks = islice(recurrence.after(after), count)
    return [f"{tick.astimezone(recurrence.zone):%d %H:%M%z}" for tick in ticks]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * *", ["01 03:00", "02 03:00", "03 03:00"]),
        ("15,45 8-9 * * *", ["01 08:15", "01 08:45", "01 09:15"]),
        ("*/20 * * * *", ["01 00:20", "01 00:40", "01 01:00"]),
        ("10-40/15 5 * * *", ["01 05:10", "01 05:25", "01 05:40"]),
        ("0 0 * * mon-wed", ["05 00:00", "06 00:00", "07 00:00"]),
        ("0 0 * * 7", ["04 00:00", "11 00:00", "18 00:00"]),
        ("0 0 * JAN,FEB SUN", ["04 00:00", "11 00:00", "18 00:00"]),
        ("0 12 10 * FRI", ["02 12:00", "09 12:00", "10 12:00"]),
        ("0 0 L * *", ["31 00:00", "28 00:00", "31 00:00"]),
        ("0 9 * * MON#2", ["12 09:00", "09 09:00", "09 09:00"]),
        ("@daily", ["02 00:00", "03 00:00", "04 00:00"]),
        ("@Hourly", ["01 01:00", "01 02:00", "01 03:00"]),
        ("  0   3  *  *  * ", ["01 03:00", "02 03:00", "03 03:00"]),
    ],
)
def test_cron_has_five_full_fields(expression: str, expected: list[str]) -> None:
    """From Thursday, 1 January 2026; a day of the month and one of the week mean either."""
    found = told(Cron(expression), utc(2026, 1, 1), 3)
    assert found == [f"{tick}+0000" for tick in expected]


def test_29_february_is_due_in_leap_years_alone() -> None:
    leap = Cron("0 0 29 2 *")
    found = [tick.year for tick in islice(leap.after(utc(2028, 2, 29)), 3)]
    assert found == [2032, 2036, 2040]
    assert leap.next(utc(2096, 2, 29)) == utc(2104, 2, 29)  # 2100 is none


# -- changes of the clock: in 2026 Berlin leaves out 2:00 to 3:00 on 29 March, and has it twice
# on 25 October


def test_time_that_is_left_out_is_due_right_after_the_gap() -> None:
    daily = Cron("30 2 * * *", BERLIN)
    assert told(daily, utc(2026, 3, 28), 3) == ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]


def test_times_that_are_left_out_together_are_due_once() -> None:
    twice = Cron("0,30 2,3 * * *", BERLIN)
    expected = ["29 03:00+0200", "29 03:30+0200", "30 02:00+0200"]
    assert told(twice, utc(2026, 3, 29), 3) == expected


def test_time_that_comes_twice_is_due_the_first_time() -> None:
    daily = Cron("30 2 * * *", BERLIN)
    expected = ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]
    assert told(daily, utc(2026, 10, 24), 3) == expected


def test_time_that_comes_twice_is_due_no_more_within_its_second_time() -> None:
    """Seen to fail by the library's own rules: it begins again with the hour's first time."""
    daily = Cron("30 2 * * *", BERLIN)
    for within in (utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 10), utc(2026, 10, 25, 1, 30)):
        assert told(daily, within, 1) == ["26 02:30+0100"]


def test_starred_times_go_by_the_clock_on_the_wall() -> None:
    half_hourly = Cron("*/30 * * * *", BERLIN)
    spring = told(half_hourly, utc(2026, 3, 29, 0, 29), 3)
    assert spring == ["29 01:30+0100", "29 03:00+0200", "29 03:30+0200"]
    autumn = told(half_hourly, utc(2026, 10, 24, 23, 59), 5)
    assert autumn == [
        "25 02:00+0200",
        "25 02:30+0200",
        "25 02:00+0100",
        "25 02:30+0100",
        "25 03:00+0100",
    ]


def test_starred_times_of_the_hour_that_is_left_out_are_not_due() -> None:
    """2:00, 4:00 …: 2:00 of that day is not made up for at 3:00."""
    each_second_hour = Cron("0 */2 * * *", BERLIN)
    expected = ["29 00:00+0100", "29 04:00+0200", "29 06:00+0200"]
    assert told(each_second_hour, utc(2026, 3, 28, 22), 3) == expected


def test_midnight_that_is_left_out_makes_no_tick_of_its_own() -> None:
    """Cairo leaves out 0:00 to 1:00 on Friday, 24 April 2026.

    Seen to fail by the library's own rules.
    """
    in_the_hour = Cron("*/30 0 * 4 FRI", "Africa/Cairo")
    assert told(in_the_hour, utc(2026, 4, 20), 2) == ["02 00:00+0200", "02 00:30+0200"]
    any_hour = Cron("*/30 * * 4 FRI", "Africa/Cairo")
    assert told(any_hour, utc(2026, 4, 20), 2) == ["24 01:00+0300", "24 01:30+0300"]
    daily = Cron("0 0 * * *", "Africa/Cairo")
    assert told(daily, utc(2026, 4, 23), 2) == ["24 01:00+0300", "25 00:00+0300"]


ZONES = ("UTC", BERLIN, "Africa/Cairo", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu")
EXPRESSIONS = (
    "30 2 * * *",
    "0,30 1-3 * * *",
    "*/15 * * * *",
    "0 */3 * * *",
    "*/20 2 * * *",
    "15 0 * * FRI",
    "0 0 1,31 * *",
)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_ticks_are_the_same_wherever_one_begins(expression: str, zone: str) -> None:
    """So a process that starts in the middle of a change comes to no other ticks than the rest."""
    cron, dice = Cron(expression, zone), random.Random(f"{expression} {zone}")
    for change in (utc(2026, 3, 28), utc(2026, 10, 24), utc(2026, 4, 3), utc(2026, 4, 23)):
        end = change + timedelta(days=3)
        ticks = [tick for tick in islice(cron.after(change), 400) if tick <= end]
        assert all(earlier < later for earlier, later in pairwise(ticks))
        for _ in range(12):
            begin = change + timedelta(seconds=dice.uniform(0, 3 * 86_400))
            assert cron.next(begin) == next((t for t in ticks if t > begin), cron.next(end))
            expected = [tick for tick in ticks if begin < tick][-3:]
            assert cron.latest(begin, end, most=3) == expected


# -- intervals


def test_interval_does_not_drift_whenever_it_is_asked() -> None:
    quarterly = Interval(timedelta(minutes=15))
    assert quarterly.next(utc(2026, 1, 1, 8, 31, 7)) == utc(2026, 1, 1, 8, 45)
    assert quarterly.next(utc(2026, 1, 1, 8, 45)) == utc(2026, 1, 1, 9)


def test_interval_counts_from_its_anchor_into_both_directions() -> None:
    anchor = datetime(2026, 6, 1, 6, 10, tzinfo=ZoneInfo(BERLIN))
    shifted = Interval(timedelta(hours=7), anchor)
    assert shifted.next(utc(2026, 6, 1)) == utc(2026, 6, 1, 4, 10)
    assert shifted.next(utc(2026, 5, 31, 20)) == utc(2026, 5, 31, 21, 10)
    assert shifted.next(utc(2026, 6, 1, 4, 10)) == utc(2026, 6, 1, 11, 10)


def test_interval_goes_by_real_time_over_changes_of_the_clock() -> None:
    anchor = datetime(2026, 3, 1, 6, tzinfo=ZoneInfo(BERLIN))
    daily = Interval(timedelta(days=1), anchor)
    ticks = list(islice(daily.after(utc(2026, 3, 27, 12)), 4))
    assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(days=1)}


def test_recurrences_are_told_alike_when_their_ticks_are_the_same() -> None:
    day = timedelta(days=1)
    assert Interval(day, utc(2026, 1, 1, 6)).told == Interval(day, utc(2025, 1, 1, 6)).told
    assert Interval(day, utc(2026, 1, 1, 6)).told != Interval(day, utc(2026, 1, 1, 7)).told
    assert Cron("0 3 * * mon").told == Cron(" 0 3 *  * MON").told
    assert Cron("@daily").told == Cron("0 0 * * *").told
    assert Cron("@daily").told != Cron("@daily", BERLIN).told


@pytest.mark.parametrize(
    "recurrence",
    [Interval(timedelta(seconds=1)), Cron("* * * * *"), Cron("0 0 29 2 *"), Cron("* * 1 1 *")],
    ids=lambda recurrence: recurrence.told,
)
def test_latest_ticks_cost_no_walk_through_the_years(recurrence: Recurrence) -> None:
    """Ten years of seconds are 3e8 ticks: walking through them would take minutes."""
    until = utc(2035, 6, 1, 0, 0, 30)
    found = recurrence.latest(utc(2025, 1, 1), until, most=3)
    assert found == sorted(found)
    assert recurrence.next(found[-1]) > until  # type: ignore[operator]
    assert len(found) == (2 if "29 2" in recurrence.told else 3)


def test_ticks_end_with_the_calendar() -> None:
    assert Interval(timedelta(days=400)).next(utc(9999, 12, 1)) is None
    assert Cron("0 0 1 1 *").next(utc(9999, 12, 1)) is None


# -- refused at definition


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "'61' is no minute. A minute is 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of month"),
        ("0 0 * 13 *", "'13' is no month. A month is 1 to 12 or JAN to DEC"),
        ("0 0 * * MOON", "'MOON' is no day of week"),
        ("0 0 * * FRI-MON", "ranges go upwards"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("0 " + "9" * 5000 + " * * *", "cannot be read"),
        ("0 3 * *", "has 4 fields and not five"),
        ("0 0 3 * * *", "There are no seconds"),
        ("", "has 0 fields"),
        ("0 0 31 2 *", "where one of the months has it"),
        ("@every 5m", "Use every=timedelta"),
        ("@fortnightly", "@weekly"),
        (5, "must be a text, not a int"),
    ],
)
def test_cron_that_cannot_be_meant_is_refused_with_a_hint(expression: str, says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Cron(expression)
    assert says in str(caught.value)


def test_cron_that_is_never_due_is_refused() -> None:
    with pytest.raises(DefinitionError, match="never due"):
        Cron("0 0 */31 * TUE#5")  # the first of a month that is a fifth Tuesday


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Europe/Berlim", "Did you mean 'Europe/Berlin'?"),
        ("europe/berlin ", "Did you mean 'Europe/Berlin'?"),
        ("../etc/passwd", "no time zone"),
        ("Europe", "no time zone"),
        ("", "no time zone"),
        ("\0", "no time zone"),
        (None, "must be a zone's name"),
    ],
)
def test_unknown_zone_is_refused_with_a_hint(zone: str, says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Cron("@daily", zone)
    assert says in str(caught.value)


def test_zone_is_refused_with_what_to_install_when_the_system_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a slim image: no database of zones and no package tzdata. UTC is there all the same."""
    monkeypatch.setattr("importlib.resources.open_binary", _not_there)
    monkeypatch.setattr("importlib.resources.files", _not_there)
    monkeypatch.setitem(__import__("sys").modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=[])
    ZoneInfo.clear_cache()
    try:
        with pytest.raises(DefinitionError, match="install its package tzdata") as caught:
            Cron("@daily", BERLIN)
        assert "or the Python package tzdata" in str(caught.value)
        assert Cron("@daily", "UTC").next(utc(2026, 1, 1)) == utc(2026, 1, 2)
    finally:
        zoneinfo.reset_tzpath()


def _not_there(*args: object, **more: object) -> None:
    raise ModuleNotFoundError("the test has no packages with data")


@pytest.mark.parametrize(
    "every", [timedelta(0), timedelta(milliseconds=999), -timedelta(hours=1), 60]
)
def test_interval_of_less_than_a_second_is_refused(every: timedelta) -> None:
    with pytest.raises(DefinitionError, match="a timedelta of a second or more"):
        Interval(every)


def test_naive_anchor_is_refused() -> None:
    with pytest.raises(DefinitionError, match="aware datetime"):
        Interval(timedelta(days=1), datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake itself
