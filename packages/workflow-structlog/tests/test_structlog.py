"""The log of an engine that is configured with `structlog`: its own lines and those of bodies."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from io import StringIO
from typing import Any, Literal

import pytest
import structlog
from workflow_core import Engine, Retry, Run, Workflow
from workflow_core.errors import ConfigurationError
from workflow_structlog import StructlogLogging, StructlogSettings, add_run_fields

LIMIT = timedelta(seconds=60)
CARD = "4111-1111"  # what no line may tell

plain = logging.getLogger("shop.plain")
log: Any = structlog.get_logger("shop.structured")


class Status(IntEnum):
    SYNC = 1
    ASYNC = 2
    IN_TRANSACTION = 3
    DONE = 4


@dataclass
class Order:
    card: str = CARD


orders = Workflow("orders", Order, Status, ends=(Status.DONE,))


@orders.step(Status.SYNC)
def take(run: Run[Order, Status]) -> Literal[Status.ASYNC]:
    plain.info("taken", extra={"items": 3})
    log.info("taken too", items=4)
    return Status.ASYNC


@orders.step(Status.ASYNC)
async def pay(run: Run[Order, Status]) -> Literal[Status.IN_TRANSACTION]:
    await asyncio.sleep(0)
    plain.info("paid")
    log.info("paid too")
    await asyncio.to_thread(log.info, "paid in a thread")
    return Status.IN_TRANSACTION


@orders.step(Status.IN_TRANSACTION, transaction=True)
def ship(run: Run[Order, Status]) -> Literal[Status.DONE]:
    plain.info("shipped")
    return Status.DONE


Open = Callable[..., Engine]


@pytest.fixture
def open_engine() -> Iterator[Open]:
    """In memory; further settings are those of structlog. Closed at the end."""
    engines: list[Engine] = []

    def open_engine(**settings: object) -> Engine:
        ports = ("record_store", "timeout_store", "event_streamer", "role_scheduler")
        chosen = {**dict.fromkeys(ports, "memory"), "logging": "structlog"}
        given = {f"adapters.structlog.{name}": value for name, value in settings.items()}
        engine = Engine.from_config(environ={}, overrides={**chosen, **given})
        engines.append(engine)
        return engine

    yield open_engine
    for engine in engines:
        engine.close()


def run_one(engine: Engine, flow: Workflow[Any, Any] = orders, name: str = "order-1") -> str:
    run_id = engine.trigger(flow, name, Order())
    engine.wait_until_ended(flow, run_id, LIMIT)
    return run_id


def told(text: str) -> dict[str, dict[str, Any]]:
    """The lines by their message."""
    lines = [json.loads(line) for line in text.splitlines()]
    return {line["message"]: line for line in lines}


def test_lines_of_bodies_tell_their_run_whatever_the_logger_and_the_body(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail without `about` around sync bodies, and where async ones are begun."""
    engine = open_engine()
    with engine.serving(orders):
        run_id = run_one(engine)
    lines = told(capsys.readouterr().err)
    about = {"workflow": "orders", "run_id": run_id, "foreign_id": "order-1", "attempt": 1}
    expected = {
        "taken": ("SYNC", 1, "shop.plain"),
        "taken too": ("SYNC", 1, "shop.structured"),
        "paid": ("ASYNC", 2, "shop.plain"),
        "paid too": ("ASYNC", 2, "shop.structured"),
        "paid in a thread": ("ASYNC", 2, "shop.structured"),
        "shipped": ("IN_TRANSACTION", 3, "shop.plain"),
    }
    for message, (status, version, logger) in expected.items():
        line = lines[message]
        assert {name: line[name] for name in about} == about
        assert (line["status"], line["version"], line["logger"]) == (status, version, logger)
        assert line["level"] == "info"
    assert (lines["taken"]["items"], lines["taken too"]["items"]) == (3, 4)


def test_bodies_side_by_side_tell_each_its_own_run(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = Workflow("side by side", Order, Status, ends=(Status.DONE,))
    both = asyncio.Event()
    begun: list[str] = []

    @flow.step(Status.SYNC, concurrency=2)
    async def meet(run: Run[Order, Status]) -> Literal[Status.DONE]:
        begun.append(run.run_id)
        if len(begun) == 2:
            both.set()
        await both.wait()
        log.info("met", who=run.run_id)
        return Status.DONE

    engine = open_engine()
    with engine.serving(flow):
        run_ids = [engine.trigger(flow, name, Order()) for name in ("one", "two")]
        for run_id in run_ids:
            engine.wait_until_ended(flow, run_id, LIMIT)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    met = {line["who"]: line["run_id"] for line in lines if line["message"] == "met"}
    assert met == {run_id: run_id for run_id in run_ids}


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_of_a_runs_data_is_told_when_its_step_fails(
    open_engine: Open, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Seen to fail with structlog's own tracebacks where rich is there: they show variables."""
    flow = Workflow("failing", Order, Status, ends=(Status.DONE,))

    @flow.step(Status.SYNC, retry=Retry(pause_after=1))
    def fail(run: Run[Order, Status]) -> Literal[Status.DONE]:
        card = run.data.card
        log.error("refused", exc_info=RuntimeError("by the bank"))
        raise RuntimeError(f"the bank refused {len(card)} digits")

    engine = open_engine(format=form, level="debug")
    with engine.serving(flow):
        run_id = engine.trigger(flow, "one", Order())
        with pytest.raises(TimeoutError):
            engine.wait_until_ended(flow, run_id, timedelta(milliseconds=500))
    text = capsys.readouterr().err
    assert "the bank refused 9 digits" in text
    assert "Traceback" in text
    assert CARD not in text


def test_lines_are_for_people_on_a_terminal(
    open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    engine = open_engine()
    with engine.serving(orders):
        run_id = run_one(engine)
    (line,) = [line for line in terminal.getvalue().splitlines() if "taken too" in line]
    assert f"run_id={run_id}" in line
    assert "status=SYNC" in line
    assert "\x1b" not in line


def test_single_loggers_have_levels_of_their_own(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    open_engine(level="error", levels={"shop": "info"})
    plain.info("heard")
    log.info("heard too")
    logging.getLogger("other").warning("not heard")
    structlog.get_logger("other").warning("not heard either")
    assert {*told(capsys.readouterr().err)} == {"heard", "heard too"}


def test_line_goes_to_the_output_that_was_asked_for(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    open_engine(output="stdout", format="json")
    plain.warning("here")
    captured = capsys.readouterr()
    assert ("here" in captured.out, captured.err) == (True, "")


def test_engines_of_one_process_share_one_log(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail when each engine adds a handler: the line comes twice."""
    before = (logging.getLogger().handlers[:], logging.getLogger().level)
    first, second = open_engine(), open_engine()
    plain.warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(ConfigurationError, match="with other settings"):
        open_engine(level="debug")
    first.close()
    first.close()
    plain.warning("still")
    assert "still" in capsys.readouterr().err
    second.close()
    assert (logging.getLogger().handlers, logging.getLogger().level) == before
    assert not structlog.is_configured()


def test_configuration_of_the_application_is_left_alone(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[Any] = []

    def keep(logger: Any, method: str, event: Any) -> Any:
        lines.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[add_run_fields, keep])
    try:
        engine = open_engine()
        with engine.serving(orders):
            run_id = run_one(engine)
        engine.close()
        assert structlog.is_configured()
    finally:
        structlog.reset_defaults()
    assert {line["event"]: line["run_id"] for line in lines}["taken too"] == run_id
    assert told(capsys.readouterr().err)["taken"]["run_id"] == run_id


def test_what_the_application_has_bound_is_told_too(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    open_engine()
    with structlog.contextvars.bound_contextvars(tenant="acme"):
        plain.warning("plain")
        log.warning("structured")
    lines = told(capsys.readouterr().err)
    assert {line["tenant"] for line in lines.values()} == {"acme"}


def test_line_is_written_whatever_its_values_are(
    open_engine: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError

    open_engine()
    log.warning("odd", odd=Odd(), pairs={(1, 2): float("nan")}, name="\udc80")
    line = told(capsys.readouterr().err)["odd"]
    assert (line["odd"], line["pairs"]) == ("<Odd>", {"(1, 2)": "nan"})


def test_closing_twice_counts_once() -> None:
    first, second = (StructlogLogging(StructlogSettings()) for _ in range(2))
    first.close()
    first.close()
    handlers = len(logging.getLogger().handlers)
    second.close()
    assert len(logging.getLogger().handlers) == handlers - 1
