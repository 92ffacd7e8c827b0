"""Observations as spans: one trace from a run's trigger to its end, over processes.

A run is given the context of its trigger's span (W3C ``traceparent``) as headers; they are kept
with the run and travel with all its events. Each call of a step, timer, callback or hook is a span,
the child of the trigger's, in whatever process it is made and after whatever restart. So a run is
flat in its trace, however often it goes round, and needs nobody to keep a span open for as long as
it lives. Users' own spans within a function are children of its span.

Baggage is not carried: it would be kept in the store with the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from workflow_core.model import Work, WorkKind

__all__ = ["Traces"]

_W3C = TraceContextTextMapPropagator()
_KINDS = {
    WorkKind.TRIGGER: SpanKind.PRODUCER,
    WorkKind.CALLBACK: SpanKind.SERVER,
}


class Traces:
    """Any thread.

    Args:
        provider: whose tracer is used.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("workflow")

    def begun(self, run: Work) -> Mapping[str, str]:
        """A span for the trigger, and its context as headers of the run."""
        span = self._start(run, f"trigger {run.workflow}")
        span.end()
        return _headers(set_span_in_context(span))

    def carried(self) -> Mapping[str, str]:
        """The current span's context."""
        return _headers(contexts.get_current())

    def around(self, work: Work) -> AbstractContextManager[Callable[[str], None]]:
        """The current span while a function is called."""
        return _Calling(self._start(work, f"{work.kind.value} {work.name}"))

    def _start(self, work: Work, name: str) -> Span:
        here = contexts.get_current()
        parent = _W3C.extract(work.headers, context=here)
        links = _links(here, parent)
        kind = _KINDS.get(work.kind, SpanKind.CONSUMER)
        return self._tracer.start_span(name, parent, kind, _attributes(work), links)


class _Calling(AbstractContextManager[Callable[[str], None]]):
    """A span is current; entered once, and left by the same thread or task."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Callable[[str], None]:
        self._token = contexts.attach(set_span_in_context(self._span))
        return self._answered

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        contexts.detach(self._token)
        if kind is not None:
            # the type alone: what an error says may hold a run's data
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._span.end()

    def _answered(self, answer: str) -> None:
        if answer:
            self._span.set_attribute("workflow.answer", answer)


def _links(here: Context, parent: Context) -> list[Link]:
    """To what is going on here, such as the request that calls back, where that is no parent."""
    current = get_current_span(here).get_span_context()
    if not current.is_valid or get_current_span(parent).get_span_context() == current:
        return []
    return [Link(current)]


def _headers(context: Context) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    _W3C.inject(headers, context=context)
    return headers


def _attributes(work: Work) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "workflow.name": work.workflow,
        "workflow.process": work.process,
        "workflow.attempt": work.attempt,
    }
    if work.run_id:
        attributes["workflow.run_id"] = work.run_id
    if work.status:
        attributes["workflow.status"] = work.status
    return attributes
