"""How the engine and its adapters are, and who serves."""

from __future__ import annotations

from collections.abc import Sequence

from workflow_core import Health, WorkerView

from workflow_webui.ui import Ui

__all__ = ["health_of", "workers_of"]

_SECONDS = 1.0  # probes and pages come from several sides


def health_of(ui: Ui) -> Health:
    """As it was some seconds ago at most; asking takes two seconds at most."""
    return ui.remembered.get("health", _SECONDS, ui.engine.health)


def workers_of(ui: Ui) -> Sequence[WorkerView]:
    """All that serve over the store, in whatever process, and those that were lost."""
    return ui.remembered.get("workers", ui.settings.refresh.total_seconds(), ui.engine.workers)
