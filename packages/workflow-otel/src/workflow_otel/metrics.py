"""Observations as metrics.

What counts up is told to the meter at once. What stands at a value is kept here, and told when
somebody collects: so what holds no longer, because another process counts now, is told no more.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.metrics import (
    CallbackOptions,
    Meter,
    MeterProvider,
)
from opentelemetry.metrics import (
    Observation as Measurement,
)
from workflow_core.model import (
    AttemptFailed,
    EventSkipped,
    EventsPublished,
    LagSeen,
    LetterKept,
    LetterKind,
    LetterState,
    Observation,
    PortCalled,
    ProcessFailed,
    ProcessStanding,
    RoleChange,
    RoleChanged,
    RunState,
    StateChanged,
    StockGone,
    StockTaken,
    TimerFired,
    WorkDone,
)

from workflow_otel.instruments import INSTRUMENTS, Instrument, Kind

__all__ = ["Metrics", "metrics_of"]

_OPEN = (LetterState.RETRYING, LetterState.SET_ASIDE)
_LAGS = ("workflow_process_lag_seconds", "workflow_process_lag_alert")
_LAG_HOLDS = 900.0  # seconds for which a step's lag is told, where it takes nothing more up
_STOCK = (
    "workflow_live_runs",
    "workflow_paused_runs",
    "workflow_dead_letters",
    "workflow_outbox_events",
    "workflow_outbox_age_seconds",
    "workflow_workers",
)
_STATES = {state: state.name.replace("_", " ").title() for state in RunState}
"""As the Go original writes them: ``Data Deleted``."""


_BY_PROVIDER: WeakKeyDictionary[MeterProvider, Metrics] = WeakKeyDictionary()
_MAKING = threading.Lock()


def metrics_of(provider: MeterProvider) -> Metrics:
    """The one that all engines of a process share that report to this provider.

    Of two with gauges of the same names the provider would ask the first alone.
    """
    with _MAKING:
        found = _BY_PROVIDER.get(provider)
        if found is None:
            found = _BY_PROVIDER[provider] = Metrics(provider)
        return found


class Metrics:
    """Told and collected by any thread.

    Args:
        provider: whose meter is used.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("workflow")
        self._standing: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        self._lag_seen_at: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()
        self._add: dict[str, Callable[[float, Mapping[str, str]], None]] = {}
        for instrument in INSTRUMENTS.values():
            self._create(meter, instrument)
        self._tellers: dict[type, Callable[[Any], None]] = {
            AttemptFailed: self._attempt_failed,
            EventSkipped: self._event_skipped,
            EventsPublished: self._events_published,
            LagSeen: self._lag_seen,
            LetterKept: self._letter_kept,
            PortCalled: self._port_called,
            ProcessFailed: self._process_failed,
            ProcessStanding: self._process_standing,
            RoleChanged: self._role_changed,
            StateChanged: self._state_changed,
            StockGone: self._stock_gone,
            StockTaken: self._stock_taken,
            TimerFired: self._timer_fired,
            WorkDone: self._work_done,
        }

    def tell(self, observations: Iterable[Observation]) -> None:
        """Count them; what this version does not know is passed over."""
        for observation in observations:
            teller = self._tellers.get(type(observation))
            if teller is not None:
                teller(observation)

    # -- instruments ---------------------------------------------------------------------------

    def _create(self, meter: Meter, it: Instrument) -> None:
        name, unit, text = it.name, it.unit, it.text
        if it.kind is Kind.GAUGE:
            meter.create_observable_gauge(
                name, callbacks=[self._collector(it)], unit=unit, description=text
            )
        elif it.kind is Kind.HISTOGRAM:
            self._add[name] = meter.create_histogram(
                name, unit, text, explicit_bucket_boundaries_advisory=list(it.buckets)
            ).record
        elif it.kind is Kind.COUNTER:
            self._add[name] = meter.create_counter(name, unit, text).add
        else:
            self._add[name] = meter.create_up_down_counter(name, unit, text).add

    def _forget_old_lags(self) -> None:
        """A step that was late at last, and has had nothing to do since, is not late for ever."""
        before = time.monotonic() - _LAG_HOLDS
        with self._lock:
            for labels in [labels for labels, at in self._lag_seen_at.items() if at < before]:
                del self._lag_seen_at[labels]
                for name in _LAGS:
                    self._standing[name].pop(labels, None)

    def _collector(self, it: Instrument) -> Callable[[CallbackOptions], Iterator[Measurement]]:
        def collect(options: CallbackOptions) -> Iterator[Measurement]:
            self._forget_old_lags()
            with self._lock:
                values = list(self._standing[it.name].items())
            for labels, value in values:
                yield Measurement(value, dict(zip(it.labels, labels, strict=True)))

        return collect

    def _set(self, name: str, value: float, *labels: str) -> None:
        with self._lock:
            self._standing[name][labels] = value

    def _count(self, name: str, value: float, *labels: str) -> None:
        self._add[name](value, dict(zip(INSTRUMENTS[name].labels, labels, strict=True)))

    # -- kinds of observations -----------------------------------------------------------------

    def _work_done(self, it: WorkDone) -> None:
        labels = (it.work.workflow, it.work.process)
        self._count("workflow_process_latency_seconds", it.seconds, *labels)

    def _attempt_failed(self, it: AttemptFailed) -> None:
        self._count("workflow_process_error_count", 1, it.workflow, it.process)
        what = "workflow_given_up" if it.is_last else "workflow_retries"
        self._count(what, 1, it.workflow, it.process)

    def _process_failed(self, it: ProcessFailed) -> None:
        self._count("workflow_process_error_count", 1, "", it.process)

    def _event_skipped(self, it: EventSkipped) -> None:
        labels = (it.workflow, it.process, it.reason.value)
        self._count("workflow_process_skipped_events_count", it.count, *labels)

    def _lag_seen(self, it: LagSeen) -> None:
        self._set("workflow_process_lag_seconds", it.seconds, it.workflow, it.process)
        self._set("workflow_process_lag_alert", int(it.is_over), it.workflow, it.process)
        with self._lock:
            self._lag_seen_at[it.workflow, it.process] = time.monotonic()

    def _process_standing(self, it: ProcessStanding) -> None:
        self._set("workflow_process_states", int(it.standing), it.workflow, it.process)

    def _state_changed(self, it: StateChanged) -> None:
        before = "Unknown" if it.before is None else _STATES[it.before]
        self._count("workflow_run_state_changes", 1, it.workflow, before, _STATES[it.after])

    def _timer_fired(self, it: TimerFired) -> None:
        self._count("workflow_timer_lateness_seconds", it.late, it.workflow, it.process)

    def _letter_kept(self, it: LetterKept) -> None:
        labels = (it.workflow, it.kind.value, it.name, it.state.value)
        self._count("workflow_letters", 1, *labels)

    def _events_published(self, it: EventsPublished) -> None:
        self._count("workflow_events_published", it.count, it.by)

    def _port_called(self, it: PortCalled) -> None:
        labels = (it.port, it.adapter, it.operation)
        if not it.is_wait:
            self._count("workflow_adapter_call_seconds", it.seconds, *labels)
        if it.error:
            self._count("workflow_adapter_errors", 1, *labels, it.error)
        elif it.is_idle:
            self._count("workflow_idle_operations", 1, *labels)
        elif it.items:
            self._count("workflow_adapter_batch_size", it.items, *labels)

    def _role_changed(self, it: RoleChanged) -> None:
        self._set("workflow_roles_held", it.held, it.role)
        self._set("workflow_roles_wanted", it.of, it.role)
        if it.change is not RoleChange.WANTED:
            self._count("workflow_role_changes", 1, it.role, it.change.value)

    def _stock_taken(self, it: StockTaken) -> None:
        self._stock_gone(it)
        name = it.workflow
        for (status, state), count in it.runs.items():
            self._set("workflow_live_runs", count, name, status, _STATES[state])
        paused = sum(count for (_, s), count in it.runs.items() if s is RunState.PAUSED)
        self._set("workflow_paused_runs", paused, name)
        for kind in LetterKind:  # also where there are none: an alert wants to see it fall
            for letters in _OPEN:
                count = it.letters.get((kind, letters), 0)
                self._set("workflow_dead_letters", count, name, kind.value, letters.value)
        if it.outbox_due is not None and it.outbox_scheduled is not None:
            self._set("workflow_outbox_events", it.outbox_due, name, "due")
            self._set("workflow_outbox_events", it.outbox_scheduled, name, "scheduled")
        if it.outbox_age is not None:
            self._set("workflow_outbox_age_seconds", it.outbox_age, name)
        for standing, count in it.workers.items():
            self._set("workflow_workers", count, name, standing)

    def _stock_gone(self, it: StockGone | StockTaken) -> None:
        with self._lock:
            for name in _STOCK:
                kept = self._standing[name]
                self._standing[name] = {k: v for k, v in kept.items() if k[0] != it.workflow}
