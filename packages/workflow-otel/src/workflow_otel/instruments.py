"""Every metric there is: its name, what it counts in, its labels.

The first seven are the Go original's, with its names and labels, so that a dashboard reads both.
Its counters have no suffix ``_total``, which exporters add to all that only grows: so they are sums
that could fall too. PromQL's ``rate`` does not mind.

Labels are of a bounded number of values each: names of workflows, statuses, functions, adapters and
roles, which are in the code and the configuration, and types of errors. Never a run's id, a foreign
id or a text of an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["INSTRUMENTS", "Instrument", "Kind"]


class Kind(StrEnum):
    """What OpenTelemetry calls it."""

    COUNTER = "counter"
    SUM = "sum"
    """Only grows too, and is no counter so that its name stays as it is."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Instrument:
    """One metric.

    Attributes:
        name: OpenTelemetry's.
        kind: what it is.
        labels: the keys of its attributes.
        text: what it tells.
        unit: as OpenTelemetry writes it; "" for numbers.
        buckets: of a histogram.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str
    unit: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Its name on Prometheus's page; a histogram's has suffixes besides."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


_PROCESS = ("workflow_name", "process_name")
_CALL = ("port", "adapter", "operation")
_LATENCY = (0.01, 0.1, 1.0, 5.0, 10.0, 60.0, 300.0)
_QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)

_ALL = (
    Instrument(
        "workflow_process_lag_seconds",
        Kind.GAUGE,
        _PROCESS,
        "Age of the oldest event of those that a step took up last.",
        "s",
    ),
    Instrument(
        "workflow_process_lag_alert",
        Kind.GAUGE,
        _PROCESS,
        "1 where that is more than the step's alert, else 0.",
    ),
    Instrument(
        "workflow_process_states",
        Kind.GAUGE,
        _PROCESS,
        "What a consumer is doing in this process: 1 shut down, 2 running, 3 waiting for its role.",
    ),
    Instrument(
        "workflow_process_latency_seconds",
        Kind.HISTOGRAM,
        _PROCESS,
        "How long a call of a step, timer, callback, hook or connector takes.",
        "s",
        _LATENCY,
    ),
    Instrument(
        "workflow_process_error_count",
        Kind.SUM,
        _PROCESS,
        "Failed attempts, and failed rounds of background processes (those without a workflow).",
    ),
    Instrument(
        "workflow_process_skipped_events_count",
        Kind.SUM,
        (*_PROCESS, "reason"),
        "Events that were dropped unworked.",
    ),
    Instrument(
        "workflow_run_state_changes",
        Kind.SUM,
        ("workflow_name", "previous_run_state", "current_run_state"),
        "Changes of runs' states.",
    ),
    Instrument(
        "workflow_retries",
        Kind.COUNTER,
        _PROCESS,
        "Failed attempts that are tried again.",
    ),
    Instrument(
        "workflow_given_up",
        Kind.COUNTER,
        _PROCESS,
        "Last failed attempts: the run is paused or goes elsewhere, the letter is set aside.",
    ),
    Instrument(
        "workflow_timer_lateness_seconds",
        Kind.HISTOGRAM,
        _PROCESS,
        "How late timers' functions are called.",
        "s",
        _QUICK,
    ),
    Instrument(
        "workflow_live_runs",
        Kind.GAUGE,
        ("workflow_name", "status", "run_state"),
        "Runs that have not ended. Told by the one process that counts.",
    ),
    Instrument(
        "workflow_paused_runs",
        Kind.GAUGE,
        ("workflow_name",),
        "Runs that are paused. Told by the one process that counts.",
    ),
    Instrument(
        "workflow_dead_letters",
        Kind.GAUGE,
        ("workflow_name", "kind", "state"),
        "What hooks, connectors and deletions could not handle. Told by the process that counts.",
    ),
    Instrument(
        "workflow_outbox_events",
        Kind.GAUGE,
        ("workflow_name", "state"),
        "Events in the outbox, due or scheduled, up to 10,000. Told by the process that counts.",
    ),
    Instrument(
        "workflow_outbox_age_seconds",
        Kind.GAUGE,
        ("workflow_name",),
        "For how long the oldest due event in the outbox has been due. Told by who counts.",
        "s",
    ),
    Instrument(
        "workflow_workers",
        Kind.GAUGE,
        ("workflow_name", "state"),
        "Processes that serve, live or lost. Told by the process that counts.",
    ),
    Instrument(
        "workflow_letters",
        Kind.COUNTER,
        ("workflow_name", "kind", "name", "state"),
        "Failures of hooks and connectors that were kept, and what became of them.",
    ),
    Instrument(
        "workflow_events_published",
        Kind.COUNTER,
        ("by",),
        "Events published by who wrote them, or by a relay.",
    ),
    Instrument(
        "workflow_adapter_call_seconds",
        Kind.HISTOGRAM,
        _CALL,
        "How long an adapter takes to answer; waits for something to happen are left out.",
        "s",
        _QUICK,
    ),
    Instrument(
        "workflow_adapter_errors",
        Kind.COUNTER,
        (*_CALL, "error"),
        "Calls of an adapter that failed, by the type of the error.",
    ),
    Instrument(
        "workflow_adapter_batch_size",
        Kind.HISTOGRAM,
        _CALL,
        "Values in one call of an adapter, or in its answer.",
        "",
        _SIZES,
    ),
    Instrument(
        "workflow_idle_operations",
        Kind.COUNTER,
        _CALL,
        "Calls of an adapter that looked for work and found none.",
    ),
    Instrument(
        "workflow_roles_held",
        Kind.GAUGE,
        ("role",),
        "Roles that this process plays; all shards of a consumer are one role, counted here.",
    ),
    Instrument(
        "workflow_roles_wanted",
        Kind.GAUGE,
        ("role",),
        "How many there are of the role over all processes.",
    ),
    Instrument(
        "workflow_role_changes",
        Kind.COUNTER,
        ("role", "change"),
        "Roles gained, lost and given up.",
    ),
)

INSTRUMENTS = {instrument.name: instrument for instrument in _ALL}
"""All of them by OpenTelemetry's name."""
