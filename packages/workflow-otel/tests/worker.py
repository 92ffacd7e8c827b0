"""Serves the orders in the file that it is given until its input ends; writes its spans."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from workflow_core import Engine
from workflow_otel import OtelObserver, OtelSettings


def main(file: str) -> None:
    spec = importlib.util.spec_from_file_location("shop", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    shop = importlib.util.module_from_spec(spec)
    sys.modules["shop"] = shop
    spec.loader.exec_module(shop)
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("user")

    def create(run: object) -> object:
        with tracer.start_as_current_span("inside"):
            return shop.Status.PACKED

    flow = shop.make_orders(create)
    observer = OtelObserver(OtelSettings(metrics=False))
    with Engine.embedded(file, observers=[observer]) as engine, engine.serving(flow):
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
