"""One trace over two processes that share a SQLite file: one triggers, the other works."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from workflow_core import Engine
from workflow_otel import OtelObserver, OtelSettings

LIMIT = timedelta(seconds=60)


def test_one_trace_goes_over_two_processes(tmp_path: Path, orders: Callable[..., Any]) -> None:
    """Seen to fail when `begun` answered no headers."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = OtelObserver(OtelSettings(metrics=False), tracer_provider=tracers)
    file, flow = tmp_path / "orders.db", orders()
    with Engine.embedded(file, observers=[observer]) as engine:
        worker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            run_id = engine.trigger(flow, "o-1", flow.data_type())
            engine.wait_until_ended(flow, run_id, LIMIT)
            told, _ = worker.communicate("", timeout=60)
        finally:
            worker.kill()
            worker.wait()
    tracers.shutdown()
    (begun,) = exporter.get_finished_spans()
    spans = {span["name"]: span for span in map(json.loads, told.splitlines())}
    assert set(spans) == {"step create_it", "step pack_it", "inside"}
    trace_id = f"0x{begun.context.trace_id:032x}"
    assert {span["context"]["trace_id"] for span in spans.values()} == {trace_id}
    assert spans["step pack_it"]["parent_id"] == f"0x{begun.context.span_id:016x}"
    assert spans["inside"]["parent_id"] == spans["step create_it"]["context"]["span_id"]
