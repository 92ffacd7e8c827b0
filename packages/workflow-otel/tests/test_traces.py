"""Traces: one from a run's trigger to its end, with users' own spans inside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace
from opentelemetry.trace import StatusCode
from workflow_core import ConnectorEvent, Engine, Run, Trigger, Workflow
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.testing import Driver
from workflow_otel import OtelObserver, OtelSettings

if TYPE_CHECKING:
    from tests.conftest import Lab

Orders = Callable[..., Any]


class Status(IntEnum):
    WAITING = 1
    DONE = 2


def test_one_trace_shows_a_run_from_its_trigger_to_its_end(lab: Lab, orders: Orders) -> None:
    """Seen to fail without the headers of the trigger."""
    flow, tracer = orders(), lab.tracers.get_tracer("user")
    lab.driver.serve(flow)
    with tracer.start_as_current_span("request"):
        run_id = lab.engine.trigger(flow, "o-1", flow.data_type())
    lab.driver.settle()
    spans = lab.spans
    begun, request = spans["trigger orders"], spans["request"]
    assert begun.parent is not None
    assert begun.parent.span_id == request.context.span_id
    for name, answer in [("step create_it", "PACKED"), ("step pack_it", "SENT")]:
        span = spans[name]
        assert span.context.trace_id == request.context.trace_id
        assert span.parent is not None
        assert span.parent.span_id == begun.context.span_id
        assert span.attributes is not None
        assert span.attributes["workflow.run_id"] == run_id
        assert span.attributes["workflow.answer"] == answer


def test_spans_of_a_users_own_are_within_the_steps(lab: Lab, orders: Orders) -> None:
    """Seen to fail when the span was current around the making of a coroutine alone."""
    tracer = lab.tracers.get_tracer("user")

    def spanning(name: str, answer: int) -> Callable[[Any], Any]:
        def body(run: Any) -> Any:
            with tracer.start_as_current_span(name):
                return type(run.status)(answer)

        return body

    flow = orders(spanning("sync", 2), spanning("async", 3))
    lab.driver.serve(flow)
    lab.engine.trigger(flow, "o-1", flow.data_type())
    lab.driver.settle()
    spans = lab.spans
    for inner, outer in [("sync", "step create_it"), ("async", "step pack_it")]:
        parent = spans[inner].parent
        assert parent is not None
        assert parent.span_id == spans[outer].context.span_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_failure_tells_its_type_and_not_what_it_says(lab: Lab, orders: Orders) -> None:
    def fail(run: Any) -> Any:
        raise ConnectionError("the secret of o-1")

    flow = orders(create=fail)
    lab.driver.serve(flow)
    lab.engine.trigger(flow, "o-1", flow.data_type())
    lab.driver.advance(timedelta(minutes=1))
    failed = [s for s in lab.exporter.get_finished_spans() if s.name == "step create_it"]
    assert [s.attributes["workflow.attempt"] for s in failed if s.attributes] == [1, 2]
    assert failed[0].status.status_code is StatusCode.ERROR
    assert "secret" not in "".join(span.to_json() for span in failed)
    assert "hook tell" in lab.spans


def test_a_callback_is_in_the_trace_of_its_run_and_linked_to_its_caller(lab: Lab) -> None:
    waits = Workflow("waits", dict, Status, ends=(Status.DONE,))

    @waits.callback(Status.WAITING)
    def confirm(run: Run[Any, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    run_id = lab.engine.trigger(waits, "w-1", {})
    with lab.tracers.get_tracer("user").start_as_current_span("request"):
        lab.engine.callback(confirm, run_id)
    spans = lab.spans
    called = spans["callback confirm"]
    assert called.context.trace_id == spans["trigger waits"].context.trace_id
    assert [link.context.span_id for link in called.links] == [spans["request"].context.span_id]


def test_a_connector_goes_on_with_the_trace_of_its_event(lab: Lab, orders: Orders) -> None:
    flow: Workflow[Any, Any] = orders()

    @flow.connector("payments")
    def paid(event: ConnectorEvent) -> Trigger[Any]:
        return Trigger(event.key, flow.data_type())

    database = MemoryDatabase(lab.clock)
    source = MemoryConnectorSource(database, "payments")
    observer = OtelObserver(meter_provider=lab.meters, tracer_provider=lab.tracers)
    sources = {"payments": source}
    engine = Engine.in_memory(clock=lab.clock, connectors=sources, observers=[observer])
    far = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Driver(engine, clock=lab.clock) as driver:
        source.send("o-1", b"", headers={"traceparent": far})
        driver.serve(flow)
        driver.settle()
    spans = lab.spans
    trace_id = int("0af7651916cd43dd8448eb211c80319c", 16)
    for name in ("connector payments", "trigger orders", "step create_it", "step pack_it"):
        assert spans[name].context.trace_id == trace_id
    begun, connected = spans["trigger orders"], spans["connector payments"]
    assert begun.parent is not None
    assert begun.parent.span_id == connected.context.span_id


def test_traces_can_be_switched_off(lab: Lab, orders: Orders) -> None:
    flow, settings = orders(), OtelSettings(traces=False)
    observer = OtelObserver(settings, meter_provider=lab.meters, tracer_provider=lab.tracers)
    engine = Engine.in_memory(clock=lab.clock, observers=[observer])
    with Driver(engine, clock=lab.clock) as driver:
        driver.serve(flow)
        run_id = engine.trigger(flow, "o-1", flow.data_type())
        driver.settle()
        assert engine._core.store.lookup(run_id).headers == {}
    assert lab.exporter.get_finished_spans() == ()
