"""What can be set: the table ``[workflow.adapters.otel]``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OtelSettings"]


@dataclass(frozen=True)
class OtelSettings:
    """Every value has a default that suits most.

    Attributes:
        metrics: whether there are metrics.
        traces: whether there are spans, and runs carry their trace's context.
        prometheus_port: serve a page for Prometheus there, with the metrics of this process; None:
            metrics go to the provider that the application has set up.
        prometheus_host: where that page is served; every address of the machine if left out, as
            Prometheus is on another one.
        prometheus_registry: count into the registry that the Prometheus client has for the whole
            process, which whatever page the application has shows: the web UI's ``/metrics``.
    """

    metrics: bool = True
    traces: bool = True
    prometheus_port: int | None = None
    prometheus_host: str = "0.0.0.0"
    prometheus_registry: bool = False

    def __post_init__(self) -> None:
        if self.prometheus_port is not None:
            if not 0 <= self.prometheus_port <= 65535:
                raise ValueError("prometheus_port: expected a port, 0 to 65535")
            if not self.metrics:
                raise ValueError("prometheus_port: goes with metrics, and they are switched off")
            if self.prometheus_registry:
                raise ValueError("prometheus_registry: is there instead of prometheus_port")
        if self.prometheus_registry and not self.metrics:
            raise ValueError("prometheus_registry: goes with metrics, and they are switched off")
