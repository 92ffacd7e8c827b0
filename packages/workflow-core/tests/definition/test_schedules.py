"""How a schedule is declared, and what is refused right there."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core.definition import Missed, Run, Trigger, Workflow
from workflow_core.errors import DefinitionError


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Report:
    day: str = ""


@pytest.fixture
def reports() -> Workflow[Report, Status]:
    reports = Workflow("reports", Report, Status, ends=(Status.DONE,))

    @reports.step(Status.BEGUN)
    def write(run: Run[Report, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    return reports


def daily(tick: datetime) -> Trigger[Report] | None:
    return Trigger(f"report {tick:%Y-%m-%d}", Report())


def test_schedule_is_kept_by_its_name(reports: Workflow[Report, Status]) -> None:
    reports.schedule("nightly", cron="0 3 * * *", tz="Europe/Berlin")(daily)
    reports.schedule("hourly", every=timedelta(hours=1), missed=Missed.SKIP)(daily)
    nightly, hourly = reports.schedules.values()
    assert (nightly.name, nightly.missed) == ("nightly", Missed.RUN_ONCE)
    assert nightly.recurrence.told == "cron 0 3 * * * in Europe/Berlin"
    assert nightly.where.endswith(f"test_schedules.py:{daily.__code__.co_firstlineno}")
    assert (hourly.name, hourly.missed) == ("hourly", Missed.SKIP)
    assert hourly.recurrence.told == "every 1:00:00 from 1970-01-01T00:00:00+00:00"


def test_function_stays_what_it_was(reports: Workflow[Report, Status]) -> None:
    decorated = reports.schedule("nightly", cron="@daily")(daily)
    assert decorated is daily


class Reporter:
    def method(self, tick: datetime) -> Trigger[Report] | None:
        return None

    def __call__(self, tick: datetime) -> Trigger[Report] | None:
        return None


@pytest.mark.parametrize(
    "body", [Reporter().method, Reporter(), functools.partial(daily), lambda tick: None]
)
def test_anything_can_be_a_function_that_takes_the_tick(
    reports: Workflow[Report, Status], body: Any
) -> None:
    reports.schedule("nightly", cron="@daily")(body)
    assert reports.schedules["nightly"].body is body


async def asynchronous(tick: datetime) -> None: ...
def generating(tick: datetime) -> Iterator[None]:
    yield


def without_tick() -> None: ...
def with_two(tick: datetime, more: str) -> None: ...


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (asynchronous, "asynchronous (.*) is no plain function.*leave the work to the run's steps"),
        (generating, "is no plain function"),
        (without_tick, "cannot be called with the tick alone"),
        (with_two, "cannot be called with the tick alone"),
        (5, "what is decorated is no function"),
    ],
)
def test_what_cannot_take_a_tick_is_refused(
    reports: Workflow[Report, Status], body: Any, says: str
) -> None:
    with pytest.raises(DefinitionError, match=f"schedule 'nightly': .*{says}"):
        reports.schedule("nightly", cron="@daily")(body)
    assert not reports.schedules


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("n", {"cron": "61 * * * *"}, "schedule 'n': cron '61 .*: '61' is no minute.*0 to 59"),
        ("n", {"cron": "@daily", "tz": "Mars"}, "no time zone 'Mars'"),
        ("n", {"every": timedelta(0)}, "a second or more"),
        ("n", {}, "it takes either cron= or every="),
        ("n", {"cron": "@daily", "every": timedelta(1)}, "it takes either cron= or every="),
        ("n", {"cron": "@daily", "anchor": datetime(2026, 1, 1, tzinfo=UTC)}, "anchor= goes with"),
        ("n", {"every": timedelta(1), "tz": "UTC"}, "tz= goes with cron="),
        ("n", {"cron": "@daily", "missed": "skip"}, "Missed.SKIP"),
        ("", {"cron": "@daily"}, "a schedule needs a name"),
        ("a/b", {"cron": "@daily"}, "holds no slash"),
        ("a\nb", {"cron": "@daily"}, "control characters"),
        ("_a", {"cron": "@daily"}, "reserved"),
        ("n" * 250, {"cron": "@daily"}, "at most 254 characters together"),
    ],
)
def test_mistakes_are_refused_at_the_declaration(
    reports: Workflow[Report, Status], name: str, options: Any, says: str
) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        reports.schedule(name, **options)
    assert "workflow 'reports'" in str(caught.value)


def test_second_schedule_of_a_name_is_refused(reports: Workflow[Report, Status]) -> None:
    decorator = reports.schedule("nightly", cron="@daily")
    decorator(daily)
    with pytest.raises(DefinitionError, match=r"there is one of this name already \(.*test_sched"):
        decorator(daily)
    with pytest.raises(DefinitionError, match="there is one of this name already"):
        reports.schedule("nightly", every=timedelta(1))


def test_schedule_is_refused_when_the_workflow_is_in_use(
    reports: Workflow[Report, Status],
) -> None:
    reports.check()
    with pytest.raises(DefinitionError, match="in use and cannot be changed"):
        reports.schedule("nightly", cron="@daily")(daily)
