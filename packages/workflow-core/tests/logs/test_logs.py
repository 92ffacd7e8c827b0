"""Lines of JSON, and which run a line is about."""

from __future__ import annotations

import json
import logging
import queue
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from io import StringIO
from logging.handlers import QueueHandler
from typing import Any

import pytest
from workflow_core.definition import Run
from workflow_core.logs import About, JsonLines, RunFields, json_line, run_fields


class Status(IntEnum):
    PAID = 3


@dataclass
class Data:
    card: str = "4111"


RUN = Run(
    data=Data(),
    status=Status.PAID,
    run_id="run-1",
    foreign_id="order-1",
    workflow="orders",
    version=2,
    attempt=4,
)
FIELDS = {
    "workflow": "orders",
    "run_id": "run-1",
    "foreign_id": "order-1",
    "status": "PAID",
    "version": 2,
    "attempt": 4,
}


class Log:
    """A logger of the test's own, and what it wrote."""

    def __init__(self) -> None:
        self.stream = StringIO()
        self.logger = logging.Logger("test", logging.DEBUG)  # noqa: LOG001 - seen by nobody else
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonLines())
        self.logger.addHandler(handler)

    @property
    def line(self) -> dict[str, Any]:
        """The only line."""
        (text,) = self.stream.getvalue().splitlines()
        line: dict[str, Any] = json.loads(text)
        return line


@pytest.fixture
def log() -> Log:
    return Log()


def test_line_tells_when_who_and_what_when_it_is_written(log: Log) -> None:
    before = datetime.now(UTC)
    log.logger.info("two of %d\nlines", 3, extra={"order": 5, "workflow": "orders"})
    line = log.line
    assert before <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
    assert line == {
        "level": "info",
        "logger": "test",
        "message": "two of 3\nlines",
        "order": 5,
        "workflow": "orders",
    }


def test_line_is_about_the_run_when_its_body_writes_it(log: Log) -> None:
    with About(RUN):
        log.logger.info("paid")
    assert {name: log.line[name] for name in FIELDS} == FIELDS
    assert "4111" not in log.stream.getvalue()
    assert run_fields() == {}


def test_line_is_about_the_run_that_it_names_when_a_body_writes_of_another(log: Log) -> None:
    """Seen to fail when fields are mixed: the other run would have this one's foreign id."""
    with About(RUN):
        log.logger.info("begun", extra={"run_id": "run-2"})
    assert log.line["run_id"] == "run-2"
    assert not {"foreign_id", "status", "attempt"} & {*log.line}


def test_what_a_body_calls_is_about_the_inner_run_and_then_the_outer_again() -> None:
    inner = Run(data=Data(), status=Status.PAID, run_id="run-2")
    with About(RUN):
        with About(inner):
            assert run_fields()["run_id"] == "run-2"
        with About(None):
            assert run_fields() == {}
        assert run_fields()["run_id"] == "run-1"


def test_run_is_kept_when_the_line_is_written_by_another_thread(log: Log) -> None:
    """Seen to fail without the filter: the other thread knows of no run."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    passing_on = QueueHandler(records)
    passing_on.addFilter(RunFields())
    logger = logging.Logger("passing on")  # noqa: LOG001 - seen by nobody else
    logger.addHandler(passing_on)
    with About(RUN):
        logger.warning("paid")
        logger.warning("another", extra={"run_id": "run-2"})
    writing = threading.Thread(target=log.logger.handle, args=(records.get(),))
    writing.start()
    writing.join()
    assert {name: log.line[name] for name in FIELDS} == FIELDS
    assert not hasattr(records.get(), "foreign_id")


def test_error_is_told_with_its_traceback_and_without_variables(log: Log) -> None:
    card = "4111"
    try:
        raise ValueError(f"{len(card)} digits refused")
    except ValueError:
        log.logger.exception("failed", stack_info=True)
    assert "ValueError: 4 digits refused" in log.line["exception"]
    assert "Stack" in log.line["stack"]
    assert list(log.line)[-2:] == ["exception", "stack"]
    assert "4111" not in log.line["exception"]


def test_field_gives_way_when_it_has_a_name_of_the_lines_own(log: Log) -> None:
    log.logger.info("mine", extra={"time": "theirs", "level": 1, "exception": "none"})
    assert (log.line["message"], log.line["time_"], log.line["level_"]) == ("mine", "theirs", 1)
    assert log.line["exception_"] == "none"


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def nested() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, True),
        (Status.PAID, "PAID"),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (timedelta(seconds=2), 2.0),
        ({(1, 2): {3}}, {"(1, 2)": [3]}),
        (b"bytes", "b'bytes'"),
        (Unspeakable(), "<Unspeakable>"),
        ("\udc80 ü", "\udc80 ü"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_told_in_some_way(value: object, told: object) -> None:
    text = json_line({"value": value})
    text.encode("utf-8")
    assert json.loads(text)["value"] == told


def test_what_holds_itself_ends() -> None:
    assert len(json_line({"value": nested()})) < 1000


def test_line_comes_when_its_arguments_do_not_fit(log: Log) -> None:
    """Seen to fail when the message is formatted as it is: the line is lost."""
    log.logger.info("%d of %d", "one")
    assert log.line["message"] == "%d of %d (TypeError while formatting)"
