"""Asks adapters how they are, all at once, and never waits longer than it was told.

Each question is asked by a daemon thread of its own: a driver that hangs keeps neither the caller
nor the interpreter. Where an adapter has not answered the last question yet, no second one is
asked: at most one thread hangs per adapter, however often health is asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from workflow_core.engine.health import AdapterHealth, AdapterState
from workflow_core.errors import WorkflowError
from workflow_core.ports import Adapter

__all__ = ["Probes"]

logger = logging.getLogger("workflow_core.engine")


class Probes:
    """Any thread.

    Args:
        adapters: by their places in the configuration.
        names: by place, the names that chose them.
    """

    def __init__(self, adapters: Mapping[str, Adapter], names: Mapping[str, str]) -> None:
        self._adapters = dict(adapters)
        self._names = {
            port: names.get(port, type(adapter).__name__) for port, adapter in adapters.items()
        }
        self.forked()

    def forked(self) -> None:
        """In a forked child: what was asked is the parent's to hear."""
        self._asked: dict[str, _Probe] = {}
        self._lock = threading.Lock()

    def ask(self, timeout: timedelta) -> Sequence[AdapterHealth]:
        """How each is; takes at most `timeout`."""
        end = time.monotonic() + timeout.total_seconds()
        probes = [(port, self._begin(port)) for port in self._adapters]
        return [self._heard(port, probe, timeout, end) for port, probe in probes]

    def _begin(self, port: str) -> _Probe:
        with self._lock:
            probe = self._asked.get(port)
            if probe is None or probe.answered.is_set():
                probe = self._asked[port] = _Probe(port, self._adapters[port])
                probe.start()
            return probe

    def _heard(self, port: str, probe: _Probe, timeout: timedelta, end: float) -> AdapterHealth:
        while probe.answered.wait(max(0.0, end - time.monotonic())):
            if probe.latency <= timeout:
                return AdapterHealth(
                    port, self._names[port], probe.state, probe.latency, probe.detail
                )
            # asked long ago and answered only now: that says little about how quick it is
            probe = self._begin(port)
        waited = probe.waited
        detail = f"no answer for {waited.total_seconds():.1f} s"
        return AdapterHealth(port, self._names[port], AdapterState.SILENT, waited, detail)


class _Probe:
    """One question; its answer is there once `answered` is set."""

    def __init__(self, port: str, adapter: Adapter) -> None:
        self.answered = threading.Event()
        self.state = AdapterState.FAILING
        self.detail = ""
        self.latency = timedelta(0)
        self._port = port
        self._adapter = adapter
        self._asked_at = time.monotonic()

    @property
    def waited(self) -> timedelta:
        """Since it was asked."""
        return timedelta(seconds=time.monotonic() - self._asked_at)

    def start(self) -> None:
        """Ask."""
        thread = threading.Thread(target=self._run, name=f"health {self._port}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system's limit: worth telling, as nothing else will work either
            self._answer(AdapterState.FAILING, "no thread can be started to ask it")

    def _run(self) -> None:
        try:
            detail = self._adapter.check_health()
        except WorkflowError as error:
            self._answer(AdapterState.FAILING, "; ".join(str(error).split("\n  ")))
        except BaseException as error:  # of a driver's error the text may hold a password
            logger.warning("asking the %s for its health failed", self._port, exc_info=error)
            self._answer(AdapterState.FAILING, f"its check failed with {type(error).__name__}")
        else:
            self._answer(AdapterState.OK, detail)

    def _answer(self, state: AdapterState, detail: str) -> None:
        self.state, self.detail, self.latency = state, detail, self.waited
        self.answered.set()
