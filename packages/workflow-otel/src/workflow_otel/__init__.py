"""workflow-core's metrics and traces by OpenTelemetry."""

from workflow_otel.instruments import INSTRUMENTS, Instrument
from workflow_otel.observer import OtelObserver
from workflow_otel.settings import OtelSettings

__all__ = ["INSTRUMENTS", "Instrument", "OtelObserver", "OtelSettings"]
