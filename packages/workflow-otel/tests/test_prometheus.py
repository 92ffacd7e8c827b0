"""The page for Prometheus, scraped over HTTP, of an engine made from a configuration."""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest
from workflow_core import Engine, RecordQuery
from workflow_core.errors import AdapterError, ConfigurationError
from workflow_otel import INSTRUMENTS, OtelObserver
from workflow_otel.prometheus import Page, process_provider

LIMIT = timedelta(seconds=60)


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def scrape_until(port: int, wanted: str) -> str:
    """What an observer is told it is told a moment later, on a thread of its own."""
    end = time.monotonic() + LIMIT.total_seconds()
    while True:
        text = scrape(port)
        told = re.search(rf"^workflow_process_states\{{.*{wanted}.*\}} 1.0$", text, re.MULTILINE)
        if told or time.monotonic() > end:
            return text


def shown_until(metric: str, label: str, value: str) -> str:
    """The registry of this process, once it has told that."""
    end = time.monotonic() + LIMIT.total_seconds()
    while True:
        text = generate_latest().decode()
        if re.search(rf"^{metric}\{{.*{label}.*\}} {value}$", text, re.MULTILINE):
            return text
        assert time.monotonic() < end, text
        time.sleep(0.02)


def engine_of(**settings: object) -> Engine:
    chosen = {
        **dict.fromkeys(("record_store", "event_streamer", "role_scheduler"), "memory"),
        "timeout_store": "memory",
        "observers": ["otel"],
    }
    return Engine.from_config(environ={}, overrides={**chosen, **settings})


def engine_with_page(**settings: object) -> Engine:
    page = {"adapters.otel.prometheus_host": "127.0.0.1", "adapters.otel.prometheus_port": 0}
    return engine_of(**{**page, **settings})


def page_of(engine: Engine) -> Page:
    (observer,) = engine._adapters.observers
    assert isinstance(observer, OtelObserver)
    assert observer.page is not None
    return observer.page


def test_a_scrape_shows_the_metrics_under_their_names(orders: Callable[..., Any]) -> None:
    """Seen to fail when the counters of the Go original were counters: they had a suffix."""
    flow = orders()
    with engine_with_page() as engine:
        with engine.serving(flow):
            run_id = engine.trigger(flow, "o-1", flow.data_type())
            engine.wait_until_ended(flow, run_id, LIMIT)
        text = scrape_until(page_of(engine).port, 'process_name="packed-consumer"')
    want = {
        'workflow_run_state_changes{current_run_state="Completed",previous_run_state="Running"'
        ',workflow_name="orders"} 1.0',
        'workflow_process_states{process_name="created-consumer",workflow_name="orders"} 1.0',
        'workflow_process_latency_seconds_count{process_name="packed-consumer"'
        ',workflow_name="orders"} 1.0',
    }
    assert want <= set(text.splitlines())
    le = set(re.findall(r'workflow_process_latency_seconds_bucket\{.*le="([^"]+)"', text))
    assert le == {"0.01", "0.1", "1.0", "5.0", "10.0", "60.0", "300.0", "+Inf"}
    names = {instrument.prometheus for instrument in INSTRUMENTS.values()}
    shown = set(re.findall(r"^# TYPE (workflow_\w+)", text, re.MULTILINE))
    assert shown <= names
    assert len(shown) >= 12


def test_the_page_is_closed_with_the_engine() -> None:
    with engine_with_page() as engine:
        port = page_of(engine).port
        scrape(port)
    with pytest.raises(OSError, match="refused"):
        scrape(port)


def test_a_port_that_is_taken_is_told_of() -> None:
    with engine_with_page() as engine:
        port = page_of(engine).port
        with pytest.raises(AdapterError, match="no page for Prometheus"):
            engine_with_page(**{"adapters.otel.prometheus_port": port})


@pytest.mark.parametrize("setting", ["prometheus_port", "prometheus_registry"])
def test_without_the_extra_it_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.prometheus", None)
    monkeypatch.setattr("workflow_otel.observer.process_provider", process_provider.__wrapped__)
    with pytest.raises(ConfigurationError, match=f"{setting} needs OpenTelemetry's SDK"):
        engine_of(**{f"adapters.otel.{setting}": 0 if setting == "prometheus_port" else True})


def test_engines_of_one_process_share_its_registry(orders: Callable[..., Any]) -> None:
    """Seen to fail when each observer has metrics of its own: the second's gauges are not there."""
    settings = {"adapters.otel.prometheus_registry": True}
    with engine_of(**settings) as one, engine_of(**settings) as other:
        for engine in (one, other):
            engine.runs(RecordQuery())
        with other.serving(orders()):
            shown_until("workflow_process_states", 'process_name="created-consumer"', "2.0")
        text = shown_until(
            "workflow_adapter_call_seconds_count", 'operation="list_records"', r"\S+"
        )
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert len(series) == len(set(series))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"adapters.otel.prometheus_port": 70000}, "expected a port"),
        ({"adapters.otel.metrics": False}, "goes with metrics"),
        ({"adapters.otel.prometheus_registry": True}, "is there instead"),
    ],
)
def test_a_wrong_setting_is_told_of(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        engine_with_page(**wrong)
