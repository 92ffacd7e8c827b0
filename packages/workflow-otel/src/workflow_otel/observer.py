"""The observer: metrics and traces by OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self

from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.trace import TracerProvider, get_tracer_provider
from workflow_core.model import Observation, Work
from workflow_core.ports import AdapterContext, Observer

from workflow_otel.metrics import metrics_of
from workflow_otel.prometheus import Page, process_provider
from workflow_otel.settings import OtelSettings
from workflow_otel.traces import Traces

__all__ = ["OtelObserver"]


class OtelObserver(Observer):
    """Reports to the providers of the application.

    They are left open: who set them up shuts them down, after the engine is closed.

    Args:
        settings: what is reported.
        meter_provider: for metrics; None: the global one.
        tracer_provider: for traces; None: the global one.
        page: the page for Prometheus that shows the metrics, closed with this.

    Attributes:
        page: as above.
    """

    def __init__(
        self,
        settings: OtelSettings | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        page: Page | None = None,
    ) -> None:
        settings = settings or OtelSettings()
        self.page = page
        self._metrics = (
            metrics_of(meter_provider or get_meter_provider()) if settings.metrics else None
        )
        self._traces = Traces(tracer_provider or get_tracer_provider()) if settings.traces else None

    @classmethod
    def from_config(cls, settings: OtelSettings, context: AdapterContext) -> Self:
        """With a page of its own, or into the process's registry, where that is configured.

        Raises:
            ConfigurationError: that needs what is not installed.
            AdapterError: its port cannot be had.
        """
        if settings.prometheus_registry:
            return cls(settings, meter_provider=process_provider())
        if settings.prometheus_port is None:
            return cls(settings)
        page = Page(settings.prometheus_host, settings.prometheus_port, context.instance)
        return cls(settings, meter_provider=page.provider, page=page)

    def notice(self, observations: Sequence[Observation]) -> None:
        """Count them."""
        if self._metrics is not None:
            self._metrics.tell(observations)

    def begun(self, run: Work) -> Mapping[str, str]:
        """The trace that the run belongs to from now on."""
        return {} if self._traces is None else self._traces.begun(run)

    def carried(self) -> Mapping[str, str]:
        """The trace of what is going on here."""
        return {} if self._traces is None else self._traces.carried()

    def around(self, work: Work) -> AbstractContextManager[Callable[[str], None] | None]:
        """A span around the call."""
        return nullcontext() if self._traces is None else self._traces.around(work)

    def close(self) -> None:
        """Close the page, where there is one."""
        if self.page is not None:
            self.page.close()
