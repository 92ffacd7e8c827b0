"""What an engine must have been given to serve."""

from __future__ import annotations

from workflow_core.engine.core import Core
from workflow_core.errors import ServingError
from workflow_core.ports import EventStreamer, RoleScheduler

__all__ = ["serving_ports"]


def serving_ports(core: Core) -> tuple[EventStreamer, RoleScheduler]:
    """The ports that a client can do without. Raises ServingError, naming what is missing."""
    missing = [
        port
        for port, adapter in (
            ("event_streamer", core.streamer),
            ("role_scheduler", core.scheduler),
        )
        if adapter is None
    ]
    if core.streamer is None or core.scheduler is None:
        raise ServingError(
            f"this engine has no {' and no '.join(missing)}, so it is a client only",
            hint="Configure it to serve workflows",
        )
    return core.streamer, core.scheduler
