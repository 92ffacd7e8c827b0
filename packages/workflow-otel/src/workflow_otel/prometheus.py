"""For Prometheus to scrape: a page of our own, or the registry that another page shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from workflow_core.errors import AdapterError, ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

__all__ = ["Page", "process_provider"]


@cache
def process_provider() -> MeterProvider:
    """Whose metrics are in the registry that the Prometheus client has for the whole process.

    One for all engines of the process: of two each would show the same series, and Prometheus
    takes nothing of a page that has one twice.

    Raises:
        ConfigurationError: the extra with the SDK and its exporter is not installed.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
    except ImportError as error:
        raise _missing("prometheus_registry") from error
    return MeterProvider([PrometheusMetricReader(scope_info_enabled=False)])


class Page:
    """Served on a daemon thread until it is closed.

    Args:
        host: the address to listen on.
        port: the port; 0: any that is free.
        instance: this process, as ``service.instance.id``.

    Attributes:
        provider: the meter provider whose metrics it shows.
        port: where it is.

    Raises:
        ConfigurationError: the extra with the SDK and its exporter is not installed.
        AdapterError: the port cannot be had.
    """

    provider: MeterProvider

    def __init__(self, host: str, port: int, instance: str) -> None:
        try:
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.resources import Resource
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise _missing("prometheus_port") from error
        registry = CollectorRegistry()
        reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
        resource = Resource.create({"service.instance.id": instance})
        provider = MeterProvider([reader], resource)
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            provider.shutdown()
            raise AdapterError(
                f"no page for Prometheus can be served on {host}:{port}: {error.strerror}",
                hint="Does another process of this machine have the port? Give each its own",
            ) from error

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join(2)
            provider.shutdown()

        self.provider = provider
        self.port = int(server.server_port)
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        """Serve it no more. Twice is harmless."""
        close, self._close = self._close, None
        if close is not None:
            close()


def _missing(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting} needs OpenTelemetry's SDK and its exporter for Prometheus",
        hint="They come with the extra `prometheus` of the wheel workflow-otel",
    )
