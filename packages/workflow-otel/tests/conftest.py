"""An engine that reports to a reader and an exporter in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from workflow_core import Engine, Pause, Retry, Run, RunView, Skip, Workflow
from workflow_core.testing import Driver, FakeClock
from workflow_otel import OtelObserver

SECOND = timedelta(seconds=1)
RETRY = Retry(first=SECOND, jitter=False, pause_after=2)


class Status(IntEnum):
    CREATED = 1
    PACKED = 2
    SENT = 3


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
Body = Callable[[OrderRun], Any]


class Lab:
    """An engine on one thread, and what it has reported."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        observer = OtelObserver(meter_provider=self.meters, tracer_provider=self.tracers)
        self.engine = Engine.in_memory(clock=self.clock, observers=[observer])
        self.driver = Driver(self.engine, clock=self.clock)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """By name, the last of each."""
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def points(self) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
        """By metric and labels, what was told: a value, or a histogram's point."""
        self.driver.run()  # tells what is in the queue
        data = self.reader.get_metrics_data()
        found: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
        if data is None:
            return found
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = tuple(sorted((point.attributes or {}).items()))
                        value = getattr(point, "value", point)
                        found.setdefault(metric.name, {})[labels] = value
        return found

    def value(self, metric: str, **labels: str) -> Any:
        return self.points()[metric][tuple(sorted(labels.items()))]

    def close(self) -> None:
        self.driver.close()
        self.meters.shutdown()
        self.tracers.shutdown()


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def make_orders(
    create: Body = lambda run: Status.PACKED, pack: Body = lambda run: Status.SENT
) -> Workflow[Order, Status]:
    flow = Workflow("orders", Order, Status, ends=(Status.SENT,), retry=RETRY)

    @flow.step(Status.CREATED)
    def create_it(run: OrderRun) -> Literal[Status.PACKED] | Pause | Skip:
        return create(run)  # type: ignore[no-any-return]

    @flow.step(Status.PACKED)
    async def pack_it(run: OrderRun) -> Literal[Status.SENT]:
        return pack(run)  # type: ignore[no-any-return]

    @flow.timeout(Status.CREATED, after=timedelta(hours=1))
    def remind(run: OrderRun) -> Literal[Status.PACKED]:
        return Status.PACKED

    @flow.on_pause(retry=RETRY)
    def tell(run: RunView[Order, Status]) -> None:
        raise ConnectionError("somebody's address")

    return flow


@pytest.fixture
def orders() -> Callable[..., Workflow[Order, Status]]:
    return make_orders
