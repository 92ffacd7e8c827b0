"""What a collector is sent by OTLP over HTTP: one in this process takes it apart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from workflow_core import Engine
from workflow_otel import OtelObserver

LIMIT = timedelta(seconds=60)


class Collector(ThreadingHTTPServer):
    """Takes spans and metrics, as any collector does, and keeps them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.spans: dict[str, Any] = {}
        """By name."""
        self.metrics: dict[str, Any] = {}
        """By name, as they were sent last."""
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for resource in traces.resource_spans:
                for scope in resource.scope_spans:
                    self.spans.update({span.name: span for span in scope.spans})
            return
        assert path == "/v1/metrics"
        for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for of_scope in of_resource.scope_metrics:
                self.metrics.update({metric.name: metric for metric in of_scope.metrics})

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.take(self.path, body)
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing is to be printed."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def live(collector: Collector, orders: Callable[..., Any]) -> None:
    """A run, from its trigger to its end, and all that is told of it sent off."""
    tracers = TracerProvider()
    spans = OTLPSpanExporter(f"{collector.url}/v1/traces", timeout=1)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    metrics = OTLPMetricExporter(f"{collector.url}/v1/metrics", timeout=1)
    meters = MeterProvider([PeriodicExportingMetricReader(metrics, 3_600_000, 1_000)])
    observer = OtelObserver(tracer_provider=tracers, meter_provider=meters)
    flow = orders()
    with Engine.in_memory(observers=[observer]) as engine, engine.serving(flow):
        run_id = engine.trigger(flow, "o-1", flow.data_type())
        engine.wait_until_ended(flow, run_id, LIMIT)
    tracers.shutdown()
    meters.shutdown()


def labels(point: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in point.attributes}


def test_collector_is_sent_the_trace_and_the_metrics_of_a_run(
    collector: Collector, orders: Callable[..., Any]
) -> None:
    """Seen to fail when `begun` answered no headers: each step is a trace of its own."""
    live(collector, orders)
    trigger = collector.spans["trigger orders"]
    for name in ("step create_it", "step pack_it"):
        span = collector.spans[name]
        assert (span.trace_id, span.parent_span_id) == (trigger.trace_id, trigger.span_id)
        assert labels(span)["workflow.name"] == "orders"
        assert span.end_time_unix_nano > span.start_time_unix_nano
    changes = collector.metrics["workflow_run_state_changes"]
    assert changes.sum.is_monotonic is False  # else an exporter adds a suffix to Go's name
    found = {
        (told["previous_run_state"], told["current_run_state"]): point.as_int or point.as_double
        for point in changes.sum.data_points
        for told in [labels(point)]
        if told["workflow_name"] == "orders"
    }
    assert found["Unknown", "Initiated"] == 1
    latency = collector.metrics["workflow_process_latency_seconds"].histogram.data_points
    assert sum(point.count for point in latency) >= 2


def test_run_is_not_held_up_by_a_collector_that_refuses(
    collector: Collector, orders: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    live(collector, orders)
    assert collector.spans == {}
    assert "workflow_core" not in {record.name.partition(".")[0] for record in caplog.records}
